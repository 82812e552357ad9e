# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "mfenvs", "torchrl==0.14.1", "gymnasium==1.4.0", "pettingzoo==1.27.0"]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""TorchRL: PPO with one network for all agents (parameter sharing), on a native environment.

Parameter sharing: one network is the policy of all agents, and every agent's experience trains it. TorchRL applies
the network to the last axis of ``("agents", "observation")``, shape (n_worlds, n_agents, features), so that the
number of agents does not appear in it. TorchRL's own wrapper of the PettingZoo environment is the route of a game
from elsewhere: it goes through the agents one by one.

``python examples/frameworks/torchrl_env.py`` prints what a taxi earns in an episode, at random and after training.
"""

import time
from collections.abc import Callable

import torch
from tensordict.nn import TensorDictModule
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, PettingZooWrapper
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import mfenvs
from mfenvs import Game

OBSERVATION = "agents", "observation"
ACTION = "agents", "action"
LOGITS = "agents", "logits"
REWARD = "agents", "reward"
VALUE = "agents", "state_value"
LOG_PROB = "agents", "log_prob"
HORIZON = 24


def make_env(n_worlds: int) -> EnvBase:
    """Worlds of 50 taxis in a city of two zones of two places each."""
    return mfenvs.torchrl_env("Taxi-v0", n_worlds, n_agents=50, horizon=HORIZON, city=("1S2", "1H2"), seed=0)


def make_networks(env: EnvBase) -> tuple[ProbabilisticActor, ValueOperator]:
    """A policy and a value function, each shared by all agents."""
    width, n_actions = env.observation_spec[OBSERVATION].shape[-1], env.action_spec[ACTION].space.n
    sizes = {"num_cells": [64, 64], "activation_class": torch.nn.Tanh}
    logits = TensorDictModule(MLP(width, n_actions, **sizes), [OBSERVATION], [LOGITS])
    actor = ProbabilisticActor(
        logits,
        in_keys={"logits": LOGITS},
        out_keys=[ACTION],
        spec=env.full_action_spec_unbatched[ACTION],
        distribution_class=Categorical,
        return_log_prob=True,
        log_prob_key=LOG_PROB,
    )
    return actor, ValueOperator(MLP(width, 1, **sizes), in_keys=[OBSERVATION], out_keys=[VALUE])


def mean_return(policy: ProbabilisticActor | None) -> float:
    """What an agent earns in an episode, averaged over agents and 20 worlds; None for random actions."""
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        episodes = make_env(20).rollout(HORIZON, policy)  # shape (n_worlds, HORIZON)
    return float(episodes["next", *REWARD].sum(dim=1).mean())


def train(n_iterations: int) -> tuple[ProbabilisticActor, float]:
    """Train by PPO; return the policy, and the number of agent-steps per second of the whole training."""
    env = make_env(n_worlds=10)
    actor, critic = make_networks(env)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, normalize_advantage=True)
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    for module in (loss, advantage):
        module.set_keys(reward=REWARD, value=VALUE, done=("agents", "done"), terminated=("agents", "terminated"))
    loss.set_keys(action=ACTION, sample_log_prob=LOG_PROB)
    optimiser = torch.optim.Adam(loss.parameters(), lr=3e-3)
    n_steps = env.n_worlds * HORIZON
    collector = Collector(env, actor, frames_per_batch=n_steps, total_frames=n_steps * n_iterations)
    start = time.perf_counter()
    for batch in collector:  # shape (n_worlds, HORIZON): one episode of each world
        # All agents end together: the flags of a world are those of each of its agents.
        for flag in ("done", "terminated"):
            ends = batch["next", flag].unsqueeze(-1)
            batch["next", "agents", flag] = ends.expand(*ends.shape[:2], env.n_agents, 1)
        with torch.no_grad():
            advantage(batch)
        for _ in range(4):
            for minibatch in batch.reshape(-1)[torch.randperm(n_steps)].split(n_steps // 4):
                losses = loss(minibatch)
                optimiser.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                torch.nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    return actor, n_steps * env.n_agents * n_iterations / (time.perf_counter() - start)


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""

    def stepper(env: EnvBase) -> Callable[[int], None]:
        now = env.reset()
        actions = env.rand_action(now.copy()).select(*env.action_keys)

        def take(n_steps: int) -> None:
            nonlocal now
            for _ in range(n_steps):
                _, now = env.step_and_maybe_reset(now.update(actions))

        return take

    wrapper = PettingZooWrapper(mfenvs.parallel_env(game), seed=0)
    return {"torchrl_env": stepper(mfenvs.torchrl_env(game, seed=0)), "PettingZooWrapper": stepper(wrapper)}


def main(n_iterations: int = 20) -> tuple[float, float]:
    """Train, and print and return what a taxi earns in an episode at random and after training."""
    torch.manual_seed(0)
    at_random = mean_return(None)
    actor, speed = train(n_iterations)
    trained = mean_return(actor)
    print(f"a taxi earns {at_random:.2f} in an episode at random, {trained:.2f} after training")
    print(f"training took {speed:,.0f} agent-steps per second, by all 50 agents' shared network")
    return at_random, trained


if __name__ == "__main__":
    main()
