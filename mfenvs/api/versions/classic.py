"""The classic games, each as if it were a module, as PettingZoo has its own games.

``from mfenvs import classic; classic.beach_bar_v0.parallel_env(n_agents=9)``. The names are those of
:data:`mfenvs.games.classic.catalogue.CLASSIC_GAMES`, in lower case: ``"CrowdModelling2D-v0"`` is
``crowd_modelling_2d_v0``.
"""

import dataclasses
import functools
import re
from typing import Any

from pettingzoo import AECEnv

from mfenvs.api import pettingzoo
from mfenvs.api.pettingzoo import PopulationParallelEnv
from mfenvs.games.classic.catalogue import CLASSIC_GAMES


@dataclasses.dataclass(frozen=True)
class GameModule:
    """What PettingZoo's modules of games have."""

    name: str
    """Registered name of the game."""

    def parallel_env(self, **constants: Any) -> PopulationParallelEnv:
        """Make a ParallelEnv, by the arguments of :func:`mfenvs.api.pettingzoo.parallel_env` but the game."""
        return pettingzoo.parallel_env(self.name, **constants)

    def env(self, **constants: Any) -> "AECEnv[Any, Any, Any]":
        """Make an AECEnv, by the arguments of :func:`mfenvs.api.pettingzoo.env` but the game."""
        return pettingzoo.env(self.name, **constants)

    raw_env = env


@functools.cache
def _modules() -> dict[str, GameModule]:
    return {_module_name(name): GameModule(name) for name in CLASSIC_GAMES}


def _module_name(name: str) -> str:
    stem, version = name.split("-")
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "_", stem).lower() + f"_{version}"


def __getattr__(name: str) -> GameModule:
    if name not in _modules():
        raise AttributeError(f"module {__name__!r} has no game {name!r}")
    return _modules()[name]


def __dir__() -> list[str]:
    return sorted(_modules())
