# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.13.0",
#     "mfenvs",
#     "agilerl==2.58.0",
#     "peft==0.21.0",  # AgileRL imports it, but names it in an extra only
#     "gymnasium==1.4.0",
#     "pettingzoo==1.26.1",
# ]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""AgileRL: PPO over the gymnasium vector, IPPO by agents' names; one network for all agents (parameter sharing).

IPPO gives agents whose names differ only in their number, such as taxi_0 to taxi_19, one network. AgileRL
handles each name by itself, though: with many agents take PPO. What to know of AgileRL 2.58 (the tests show each):

* IPPO puts the observations of agents that share a network in another order than their rewards, and learns
  nothing; ``train_multi_agent_on_policy`` is affected too. :func:`of_one_agent` is the way around.
* PPO reads action masks from the infos; IPPO fails on them.
* PPO's advantages are cut one step early: an episode's last reward reaches the last action only.
* Both take a truncated episode for one that terminated.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from agilerl.algorithms import IPPO, PPO
from agilerl.rollouts.on_policy import collect_rollouts
from agilerl.vector import AsyncPettingZooVecEnv, PzDummyVecEnv
from numpy.typing import NDArray

import mfenvs
from mfenvs import Game
from mfenvs.api.gymnasium import PopulationVectorEnv

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""

SETTINGS: dict[str, Any] = {
    "batch_size": 640,
    "lr": 2e-3,
    "gamma": 0.98,
    "update_epochs": 8,
    "ent_coef": 0.01,
    "net_config": {"encoder_config": {"hidden_size": [64]}, "head_config": {"hidden_size": [64]}},
}
"""Hyper-parameters of both."""


class ActorPolicy:
    """AgileRL's actor as a policy that :func:`mfenvs.evaluate` takes."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    @torch.no_grad()
    def predict(
        self, observations: NDArray[np.float32], action_masks: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], None]:
        """Sampled actions."""
        actions, _, _ = self.actor(torch.as_tensor(observations), action_mask=action_masks)
        return actions.numpy(), None


def vector_env(game: Game, n_worlds: int = 1) -> PopulationVectorEnv:
    """The vector of all agents; AgileRL wants the next episode to begin in the step in which the last one ends."""
    return PopulationVectorEnv(game, n_worlds=n_worlds, autoreset_mode="SameStep")


def pettingzoo_env(game: Game, n_worlds: int = 1) -> AsyncPettingZooVecEnv:
    """AgileRL's vector of PettingZoo environments, a process each."""
    return AsyncPettingZooVecEnv([lambda: mfenvs.parallel_env(game)] * n_worlds)


def train_ppo(game: Game, n_worlds: int, n_updates: int) -> ActorPolicy:
    """Train PPO on the vector of all agents."""
    env = vector_env(game, n_worlds)
    learn_step = env.num_envs * game.horizon
    agent = PPO(
        env.single_observation_space,
        env.single_action_space,
        num_envs=env.num_envs,
        learn_step=learn_step,
        **SETTINGS,
    )
    env.reset(seed=0)
    for _ in range(n_updates):
        # A rollout begins with a new episode: the last one has just ended.
        collect_rollouts(agent, env, n_steps=game.horizon)
        agent.learn()
    return ActorPolicy(agent.actor)


def train_ippo(game: Game, n_worlds: int, n_updates: int) -> ActorPolicy:
    """Train IPPO by agents' names."""
    env = pettingzoo_env(game, n_worlds)
    names = game.agent_names
    agent = IPPO(
        [env.single_observation_space(name) for name in names],
        [env.single_action_space(name) for name in names],
        agent_ids=names,
        learn_step=n_worlds * game.horizon,
        **SETTINGS,
    )
    observations, infos = env.reset(seed=0)
    for _ in range(n_updates):
        rows: dict[str, list[Any]] = {
            what: [] for what in ("states", "actions", "log_probs", "rewards", "dones", "values")
        }
        ended = dict.fromkeys(names, np.zeros(n_worlds))
        for _ in range(game.horizon):
            actions, log_probs, _, values = agent.get_action(observations, infos)
            following, rewards, terminated, truncated, infos = env.step(actions)
            for what, now in zip(rows, (observations, actions, log_probs, rewards, ended, values), strict=True):
                rows[what].append(now)
            observations = following
            ended = {name: np.logical_or(terminated[name], truncated[name]).astype(float) for name in names}
        experiences = ([of_one_agent(now)[names[0]] for now in steps] for steps in rows.values())
        by_name = ({names[0]: steps} for steps in experiences)
        agent.learn((*by_name, of_one_agent(observations), of_one_agent(ended)))
    env.close()
    return ActorPolicy(agent.actors[agent.get_group_id(names[0])])


def of_one_agent(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What agents who share a network have seen or got, as if one agent had in that many environments.

    For one name all orders are the same. See this file's beginning for why it must be.
    """
    return {next(iter(values)): np.concatenate(list(values.values()))}


ROUTES = {"PPO": train_ppo, "IPPO": train_ippo}
"""The two trainers, which take a game, a number of worlds and a number of updates, each from an episode."""


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""
    vector, dicts = vector_env(game), PzDummyVecEnv(mfenvs.parallel_env(game))
    vector.reset(seed=0)
    dicts.reset(seed=0)
    rows = vector.action_space.sample()
    by_name = {name: rows[i : i + 1] for i, name in enumerate(game.agent_names)}

    def take(env: Any, actions: Any, n_steps: int) -> None:
        for _ in range(n_steps):
            env.step(actions)

    return {
        "gymnasium VectorEnv": lambda n_steps: take(vector, rows, n_steps),
        "PzDummyVecEnv": lambda n_steps: take(dicts, by_name, n_steps),
    }


def main(n_updates: int = 30) -> dict[str, tuple[float, float]]:
    """Train over both routes.

    Returns
    -------
    By route, the mean total reward of an agent for random actions and for the trained network.
    """
    torch.set_num_threads(1)
    game, n_worlds = mfenvs.make("Taxi-v0", **SMALL_CITY), 4
    at_random = mfenvs.evaluate(game, None, n_worlds=16).mean_return
    found = {}
    for route, train in ROUTES.items():
        torch.manual_seed(0)
        began = time.perf_counter()
        policy = train(game, n_worlds, n_updates)
        speed = n_updates * n_worlds * game.n_agents * game.horizon / (time.perf_counter() - began)
        trained = mfenvs.evaluate(game, policy, n_worlds=16).mean_return
        found[route] = at_random.value, trained.value
        print(
            f"{route}: random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning", flush=True
        )
    return found


if __name__ == "__main__":
    main()
