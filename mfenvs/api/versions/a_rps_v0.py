"""A-RPS as PettingZoo users expect a game: ``from mfenvs import a_rps_v0; a_rps_v0.parallel_env(n_agents=9)``."""

import functools

from mfenvs.api import pettingzoo

parallel_env = functools.partial(pettingzoo.parallel_env, "RockPaperScissors-v0")
"""Arguments of :func:`mfenvs.api.pettingzoo.parallel_env` but the game."""
env = functools.partial(pettingzoo.env, "RockPaperScissors-v0")
"""Likewise, of :func:`mfenvs.api.pettingzoo.env`."""
raw_env = env

__all__ = ["env", "parallel_env", "raw_env"]
