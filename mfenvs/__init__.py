"""Games with very many agents, the mean-field games that they induce, and their APIs.

The contract of a game is :mod:`mfenvs.game`, its rules :mod:`mfenvs.rules`, its name :mod:`mfenvs.registry`; games
with several populations are :mod:`mfenvs.populations`, those on graphons :mod:`mfenvs.graphons`.
The packages:

* ``games``: the games, one file or folder each;
* ``engine``: compiled kernels that step many worlds of a game, on CPUs and GPUs, and their random numbers;
* ``api``: PettingZoo, gymnasium, Stable-Baselines3 and TorchRL as views of the engine;
* ``wrappers``: what agents observe, rewards, risk, and policies of one for all or one each;
* ``conformance``: tests of games and their environments, as :func:`check` runs them;
* ``meanfield``: the induced mean-field game, best responses, exploitability, how symmetric a game is and what
  follows from it, stationary equilibria and optima;
* ``estimation``: finite games estimated from somebody's PettingZoo environment;
* ``peers``: finite games handed over to other libraries for mean-field games;
* ``energy``: what surrounds the energy market: data, forecasts, welfare, settlement, records of played days.

Imports go one way: games, engine, api and meanfield, wrappers. ``mfenvs`` never imports the trainers.
"""

import importlib.metadata
from typing import TYPE_CHECKING, Any

from mfenvs.api.gymnasium import vector_env
from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.pettingzoo import parallel_env
from mfenvs.api.versions import (
    a_rps_v0,
    a_sis_v0,
    a_taxi_v0,
    auction_v0,
    classic,
    congestion_v0,
    energy_market_v0,
    energy_market_v1,
    investment_v0,
    linear_quadratic_v0,
    malware_v0,
)
from mfenvs.conformance.check import check
from mfenvs.engine.engine import Engine
from mfenvs.engine.random import normal, student_t, uniform
from mfenvs.engine.trajectories import Trajectories
from mfenvs.estimation.estimated_game import from_parallel_env
from mfenvs.evaluation import Evaluation, deviation_gain, evaluate
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.games import catalogue as _catalogue  # noqa: F401  # registers the games
from mfenvs.meanfield.black_box import BlackBoxGame
from mfenvs.meanfield.bounds import GameConstants
from mfenvs.meanfield.equilibrium.solve import solve
from mfenvs.meanfield.history_policy import HistoryPolicy
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import n_player_exploitability
from mfenvs.meanfield.public_paths import path_exploitability
from mfenvs.meanfield.relative_exploitability import relative_exploitability
from mfenvs.meanfield.symmetrised_game import SymmetrisedGame
from mfenvs.meanfield.symmetry import approximate_symmetry
from mfenvs.play import tabulate
from mfenvs.population_rules import crowd_in, share_in
from mfenvs.populations import Population, PopulationGame
from mfenvs.public_chain import PublicChain, public_state
from mfenvs.registry import make, register, registered_games
from mfenvs.rules import World, crowd, individual, rule, share

if TYPE_CHECKING:
    from mfenvs.api.sb3 import PopulationVecEnv
    from mfenvs.api.torchrl import PopulationTorchRLEnv

try:
    __version__ = importlib.metadata.version("mfenvs")
except importlib.metadata.PackageNotFoundError:  # a clone that is only on the path
    __version__ = "0+unknown"

__all__ = [
    "BlackBoxGame",
    "Engine",
    "Evaluation",
    "FiniteGame",
    "Game",
    "GameConstants",
    "HistoryPolicy",
    "InducedGame",
    "Population",
    "PopulationGame",
    "PublicChain",
    "SymmetrisedGame",
    "Trajectories",
    "World",
    "a_rps_v0",
    "a_sis_v0",
    "a_taxi_v0",
    "approximate_symmetry",
    "auction_v0",
    "check",
    "classic",
    "congestion_v0",
    "crowd",
    "crowd_in",
    "deviation_gain",
    "energy_market_v0",
    "energy_market_v1",
    "evaluate",
    "from_parallel_env",
    "individual",
    "investment_v0",
    "linear_quadratic_v0",
    "make",
    "malware_v0",
    "n_player_exploitability",
    "normal",
    "parallel_env",
    "path_exploitability",
    "public_state",
    "register",
    "registered_games",
    "relative_exploitability",
    "rule",
    "share",
    "share_in",
    "solve",
    "student_t",
    "tabulate",
    "torchrl_env",
    "uniform",
    "vec_env",
    "vector_env",
]


@with_common_parameters
def vec_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> "PopulationVecEnv":
    """Make a Stable-Baselines3 VecEnv of a game, with one environment per agent of each world.

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`mfenvs.api.sb3.PopulationVecEnv` (``observe``, ``max_episode_steps``, ``device``, ...),
        and the game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
        Or if stable-baselines3 is not installed: it is imported here, never by ``import mfenvs``.
    """
    from mfenvs.api.sb3 import vec_env as make_vec_env

    return make_vec_env(game, n_worlds, **kwargs)


def torchrl_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> "PopulationTorchRLEnv":
    """A game as a TorchRL environment: see :class:`mfenvs.api.torchrl.PopulationTorchRLEnv`.

    Raises
    ------
    ImportError
        If torchrl is not installed: it is imported here, never by ``import mfenvs``.
    """
    from mfenvs.api.torchrl import torchrl_env as make_torchrl_env

    return make_torchrl_env(game, n_worlds, **kwargs)
