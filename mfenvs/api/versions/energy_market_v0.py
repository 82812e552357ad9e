"""The energy market as PettingZoo users expect a game.

``from mfenvs import energy_market_v0; energy_market_v0.parallel_env(preset="village")``
"""

import functools

from mfenvs.api import pettingzoo

parallel_env = functools.partial(pettingzoo.parallel_env, "EnergyMarket-v0")
"""Arguments of :func:`mfenvs.api.pettingzoo.parallel_env` but the game."""
env = functools.partial(pettingzoo.env, "EnergyMarket-v0")
"""Likewise, of :func:`mfenvs.api.pettingzoo.env`."""
raw_env = env

__all__ = ["env", "parallel_env", "raw_env"]
