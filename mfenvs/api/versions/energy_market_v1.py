"""The energy market, version 1, as a module, as PettingZoo has its own games.

``from mfenvs import energy_market_v1; energy_market_v1.parallel_env(preset="village")``
"""

import functools

from mfenvs.api import pettingzoo

parallel_env = functools.partial(pettingzoo.parallel_env, "EnergyMarket-v1")
"""Make a ParallelEnv: takes the arguments of :func:`mfenvs.api.pettingzoo.parallel_env` without the game."""
env = functools.partial(pettingzoo.env, "EnergyMarket-v1")
"""Make an AECEnv: takes the arguments of :func:`mfenvs.api.pettingzoo.env` without the game."""
raw_env = env
"""PettingZoo's name of the environment without wrappers; here there are none."""

__all__ = ["env", "parallel_env", "raw_env"]
