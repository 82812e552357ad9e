"""Rewards divided by a scale per agent, for networks that are shared by agents with very different rewards."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv
from mfenvs.wrappers.risk import WARM_UP_SEED, losses_of_random_play, spread_of


class ScaledRewards(VecEnvWrapper):
    """A VecEnv whose rewards are divided by a positive constant per agent.

    This changes neither an agent's preferences nor the equilibria. Where one agent's rewards are ten times those
    of another (a business and a home in the energy market), a network that both share would otherwise learn mainly
    for the larger one.

    Parameters
    ----------
    venv:
        The environment with all agents of all worlds (:func:`mfenvs.vec_env`).
    scale:
        The number > 0 by which each agent's rewards are divided, shape (n_agents,). By default the mean absolute
        deviation of its total reward from the median, over 64 episodes of random actions, divided by the square
        root of the horizon [O].

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game is infinite and ``scale`` is not given.
    """

    def __init__(self, venv: PopulationVecEnv, scale: ArrayLike | None = None) -> None:
        if not isinstance(venv, PopulationVecEnv):
            raise TypeError(f"venv must be a PopulationVecEnv (mfenvs.vec_env), got {venv!r}")
        super().__init__(venv)
        game = venv.game
        if scale is None:
            scale = spread_of(losses_of_random_play(game, 64, WARM_UP_SEED)) / np.sqrt(game.horizon)
        self.scale: NDArray[np.float64] = checks.shaped("scale", scale, (game.n_agents,), np.float64)
        """The number by which each agent's rewards are divided, shape (n_agents,)."""
        wrong = np.flatnonzero(~((self.scale > 0.0) & np.isfinite(self.scale)))
        if len(wrong):
            raise ValueError(f"scale must be > 0 and finite, got {self.scale[wrong[0]]} of agent {wrong[0]}")
        self._factors = np.tile(1.0 / self.scale, venv.num_envs // game.n_agents).astype(np.float32)

    def reset(self) -> VecEnvObs:
        """Begin episodes; return the observations, which are left as they are."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step; return the environment's results with scaled rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards * self._factors, dones, infos
