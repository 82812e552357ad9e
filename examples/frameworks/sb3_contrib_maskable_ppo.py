# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.13.0",
#     "mfenvs",
#     "stable-baselines3==2.9.2",
#     "sb3-contrib==2.9.2",
#     "gymnasium==1.4.0",
# ]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""sb3-contrib: MaskablePPO with one network for all agents (parameter sharing), on a game with action masks.

MaskablePPO asks the VecEnv for its ``action_masks()``, also through wrappers. On the energy market they keep
agents from using batteries and flexible load that they do not have. Recurrent policies and DQN's relatives work
on the same VecEnv, without masks.
"""

import time
from collections.abc import Callable

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks

import mfenvs
from mfenvs import Game
from mfenvs.wrappers.rewards import ScaledRewards

ONE_DAY = {"n_agents": 20, "n_days": 1, "first_day": 200, "actions": "discrete"}
"""The energy market on one summer's day, the same in every episode, with 30 discrete actions."""


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions, and asks for masks."""
    env = mfenvs.vec_env(game)
    env.reset()
    actions = env.engine.random_actions()[0]

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            get_action_masks(env)
            env.step(actions)

    return {"vec_env with masks": take}


def main(n_steps: int = 100_000) -> tuple[float, float]:
    """Train on the market; print and return what an agent earns by random actions and by the trained network."""
    torch.set_num_threads(1)
    game = mfenvs.make("EnergyMarket-v0", **ONE_DAY)
    # What agents own differs by orders of magnitude: they observe it, and rewards are put on each agent's scale.
    env = ScaledRewards(mfenvs.vec_env(game, n_worlds=4, observe="own-parameters"))
    model = MaskablePPO(
        "MlpPolicy",
        env,
        seed=0,
        n_steps=game.horizon,
        batch_size=240,
        n_epochs=8,
        learning_rate=1e-3,
        gamma=1.0,
        device="cpu",
    )
    began = time.perf_counter()
    model.learn(n_steps)
    speed = model.num_timesteps / (time.perf_counter() - began)
    at_random, trained = (mfenvs.evaluate(game, who, n_worlds=64).mean_return for who in (None, model))
    print(f"random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning")
    return at_random.value, trained.value


if __name__ == "__main__":
    main()
