# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "mfenvs", "tianshou==2.0.1", "gymnasium==1.4.0", "pettingzoo==1.27.0"]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""Tianshou 2: PPO with one network for all agents (parameter sharing), over a vector environment of our own.

Tianshou's way to PettingZoo lets agents act one after the other and wants a policy for each. Here every agent
is an environment of one vector, which Tianshou's collectors, buffers and trainers take as they are.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.env.pettingzoo_env import PettingZooEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

import mfenvs
from mfenvs import Game
from mfenvs.api.pettingzoo import env as turn_env
from mfenvs.api.tianshou import PopulationTianshouEnv

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""


class PolicyPlayer:
    """Tianshou's policy in the form that :func:`mfenvs.evaluate` takes."""

    def __init__(self, policy: DiscreteActorPolicy) -> None:
        self.policy = policy

    @torch.no_grad()
    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of actions, (n_rows, n_actions)."""
        logits = self.policy(Batch(obs=observations, info=Batch())).logits
        return logits.double().softmax(dim=-1).numpy()


def ppo(env: PopulationTianshouEnv) -> PPO:
    """PPO for an environment with discrete actions."""
    space, n_actions = env.observation_space[0], int(env.action_space[0].n)
    nets = [Net(state_shape=space.shape, hidden_sizes=(64, 64), activation=torch.nn.Tanh) for _ in range(2)]
    actor = DiscreteActor(preprocess_net=nets[0], action_shape=n_actions, softmax_output=False)
    return PPO(
        policy=DiscreteActorPolicy(actor=actor, action_space=env.action_space[0]),
        critic=DiscreteCritic(preprocess_net=nets[1]),
        optim=AdamOptimizerFactory(lr=2e-3),
        gamma=0.98,
        ent_coef=0.01,
        max_grad_norm=0.5,
        max_batchsize=4096,
    )


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""
    ours, turns = PopulationTianshouEnv(game), DummyVectorEnv([lambda: PettingZooEnv(turn_env(game))])
    ours.reset(seed=0)
    turns.reset(seed=0)
    actions = ours.engine.random_actions()[0]

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            *_, terminated, truncated, _ = ours.step(actions)
            if terminated[0] or truncated[0]:
                ours.reset()

    def take_turns(n_steps: int) -> None:
        for _ in range(n_steps):
            for action in actions:
                *_, terminated, truncated, _ = turns.step([action])
                if terminated[0] or truncated[0]:
                    turns.reset()
                    break

    return {"PopulationTianshouEnv": take, "PettingZooEnv": take_turns}


def main(n_updates: int = 30) -> tuple[float, float]:
    """Train on A-Taxi; print and return what an agent earns by random actions and by the trained network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # Tianshou shuffles minibatches by this generator
    game = mfenvs.make("Taxi-v0", **SMALL_CITY)
    env = PopulationTianshouEnv(game, n_worlds=4)
    env.seed(0)
    algorithm = ppo(env)
    per_update = len(env) * game.horizon
    collector = Collector[CollectStats](algorithm, env, VectorReplayBuffer(per_update, len(env)))
    began = time.perf_counter()
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=n_updates * per_update,
            collection_step_num_env_steps=per_update,
            update_step_num_repetitions=8,
            batch_size=1280,
            verbose=False,
            show_progress=False,
        )
    )
    speed = n_updates * per_update / (time.perf_counter() - began)
    trained = mfenvs.evaluate(game, PolicyPlayer(algorithm.policy), n_worlds=16).mean_return
    at_random = mfenvs.evaluate(game, None, n_worlds=16).mean_return
    print(f"random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning")
    return at_random.value, trained.value


if __name__ == "__main__":
    main()
