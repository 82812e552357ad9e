# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "mfenvs", "ray[rllib]==2.60.0", "gymnasium==1.2.2", "pettingzoo==1.27.0"]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""RLlib, new API stack: PPO with one module for all agents (parameter sharing), as a vector or by agents' names.

RLlib 2.60 pins gymnasium 1.2.2, with which this package works too.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import register_env

import mfenvs
from mfenvs import Game
from mfenvs.api.rllib import PopulationMultiAgentEnv
from mfenvs.registry import name_of

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""


def base_config(n_envs: int) -> PPOConfig:
    """PPO that plays and learns in this process, in some environments at a time."""
    return (
        PPOConfig()
        .env_runners(num_env_runners=0, num_envs_per_env_runner=n_envs)
        .training(lr=2e-3, gamma=0.98, entropy_coeff=0.01, num_epochs=8, minibatch_size=1280, grad_clip=0.5)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh"))
        .debugging(seed=0, log_level="ERROR")
    )


def vector_config(name: str, n_worlds: int, **constants: Any) -> PPOConfig:
    """All agents of all worlds are the environments of one vector: the faster route.

    RLlib's single-agent runner then steps the package's own gymnasium VectorEnv.
    """
    n_envs = n_worlds * mfenvs.make(name, **constants).n_agents
    config = base_config(n_envs).environment(f"mfenvs:mfenvs/{name}", env_config=constants)
    return config.env_runners(gym_env_vectorize_mode="vector_entry_point")


def multi_agent_config(name: str, n_worlds: int, **constants: Any) -> PPOConfig:
    """Agents by name, all mapped to one module: for modules by type, or for agents that do not all learn."""
    register_env("agents", lambda config: PopulationMultiAgentEnv(name, **config))
    config = base_config(n_worlds).environment("agents", env_config=constants)
    return config.multi_agent(
        policies={"shared"},
        policy_mapping_fn=lambda agent, episode, **kwargs: "shared",
        count_steps_by="agent_steps",
    )


ROUTES = {"vector": vector_config, "multi-agent": multi_agent_config}
"""Makers of the configurations, which take a game's name, a number of worlds and the game's constants."""


class ModulePolicy:
    """A trained module as a policy that :func:`mfenvs.evaluate` takes."""

    def __init__(self, module: RLModule) -> None:
        self.module = module

    @torch.no_grad()
    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of actions, (n_rows, n_actions)."""
        logits = self.module.forward_inference({Columns.OBS: torch.as_tensor(observations)})
        return logits[Columns.ACTION_DIST_INPUTS].double().softmax(dim=-1).numpy()


def runner_of(config: PPOConfig) -> EnvRunner:
    """What collects RLlib's episodes, without an algorithm."""
    return (MultiAgentEnvRunner if config.is_multi_agent else SingleAgentEnvRunner)(config=config)


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""
    name, constants = str(name_of(game)), {"n_agents": game.n_agents, "horizon": game.horizon}

    def stepper(config: PPOConfig) -> Callable[[int], None]:
        runner = runner_of(config)
        return lambda n_steps: runner.sample(num_timesteps=n_steps * game.n_agents, random_actions=True)

    return {route: stepper(make(name, 1, **constants)) for route, make in ROUTES.items()}


def main(n_iterations: int = 30) -> dict[str, tuple[float, float]]:
    """Train over both routes.

    Returns
    -------
    By route, the mean total reward of an agent for random actions and for the trained module.
    """
    torch.set_num_threads(1)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    game, n_worlds = mfenvs.make("Taxi-v0", **SMALL_CITY), 4
    at_random = mfenvs.evaluate(game, None, n_worlds=16).mean_return
    found = {}
    for route, make in ROUTES.items():
        config = make("Taxi-v0", n_worlds, **SMALL_CITY)
        algorithm = config.training(
            train_batch_size_per_learner=n_worlds * game.n_agents * game.horizon
        ).build_algo()
        began = time.perf_counter()
        for _ in range(n_iterations):
            algorithm.train()
        speed = n_iterations * n_worlds * game.n_agents * game.horizon / (time.perf_counter() - began)
        module = algorithm.get_module("shared" if config.is_multi_agent else "default_policy")
        trained = mfenvs.evaluate(game, ModulePolicy(module), n_worlds=16).mean_return
        algorithm.stop()
        found[route] = at_random.value, trained.value
        print(
            f"{route}: random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning", flush=True
        )
    ray.shutdown()
    return found


if __name__ == "__main__":
    main()
