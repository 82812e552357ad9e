# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.13.0",
#     "mfenvs",
#     "stable-baselines3==2.9.2",
#     "supersuit==3.11.0",
#     "gymnasium==1.4.0",
#     "pettingzoo==1.27.0",
# ]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""Stable-Baselines3: PPO with one network for all agents (parameter sharing), over three kinds of VecEnv.

``mfenvs.vec_env`` is the route to take. A vector environment of gymnasium can be wrapped first, by gymnasium's own
wrappers; SuperSuit's conversion of the PettingZoo environment is what a game from elsewhere would take.
"""

import time
from collections.abc import Callable

import gymnasium
import numpy as np
import supersuit
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import mfenvs
from mfenvs import Game
from mfenvs.api.vector_env_as_vec_env import VectorEnvAsVecEnv
from mfenvs.registry import name_of

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""


def own_vec_env(game: Game, n_worlds: int = 1) -> VecEnv:
    """The package's own VecEnv: every agent of every world is one of its environments."""
    return mfenvs.vec_env(game, n_worlds)


def gymnasium_make_vec(game: Game, n_worlds: int = 1) -> VecEnv:
    """The gymnasium vector environment as a VecEnv."""
    vector = gymnasium.make_vec(f"mfenvs/{name_of(game)}", game=game, n_worlds=n_worlds, autoreset_mode="SameStep")
    return VectorEnvAsVecEnv(vector)


def supersuit_vec_env(game: Game, n_worlds: int = 1) -> VecEnv:
    """SuperSuit's VecEnv over the PettingZoo environment.

    Two things to know of SuperSuit 3.11: infos lack ``TimeLimit.truncated``, so that the end of a game that
    goes on is taken for its end, and the VecEnv cannot be seeded (``PPO(seed=...)`` fails).
    """
    one_world = supersuit.pettingzoo_env_to_vec_env_v1(mfenvs.parallel_env(game))
    converted: VecEnv = supersuit.concat_vec_envs_v1(one_world, n_worlds, base_class="stable_baselines3")
    return converted


ROUTES = {
    "vec_env": own_vec_env,
    "gymnasium.make_vec": gymnasium_make_vec,
    "SuperSuit": supersuit_vec_env,
}
"""Constructors of the three VecEnvs, which take a game and a number of worlds."""


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""

    def stepper(env: VecEnv) -> Callable[[int], None]:
        env.reset()
        actions = np.array([env.action_space.sample() for _ in range(env.num_envs)])

        def take(n_steps: int) -> None:
            for _ in range(n_steps):
                env.step(actions)

        return take

    return {name: stepper(make(game)) for name, make in ROUTES.items()}


def main(n_steps: int = 80_000) -> dict[str, tuple[float, float]]:
    """Train for some agent-steps over each route.

    Returns
    -------
    By route, the mean total reward of an agent for random actions and for the trained network.
    """
    torch.set_num_threads(1)
    game = mfenvs.make("Taxi-v0", **SMALL_CITY)
    at_random = mfenvs.evaluate(game, None, n_worlds=16).mean_return
    found = {}
    for name, make in ROUTES.items():
        env = make(game, n_worlds=4)
        torch.manual_seed(0)
        # No `seed=0` here, which SuperSuit's VecEnv refuses.
        model = PPO(
            "MlpPolicy",
            env,
            n_steps=game.horizon,
            batch_size=1280,
            n_epochs=8,
            learning_rate=2e-3,
            gamma=0.98,
            ent_coef=0.01,
            device="cpu",
        )
        began = time.perf_counter()
        model.learn(n_steps)
        speed = model.num_timesteps / (time.perf_counter() - began)
        trained = mfenvs.evaluate(game, model, n_worlds=16).mean_return
        found[name] = at_random.value, trained.value
        print(
            f"{name}: random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning", flush=True
        )
    return found


if __name__ == "__main__":
    main()
