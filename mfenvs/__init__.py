"""Games with very many agents, the mean-field games that they induce, and their APIs."""

from mfenvs.engine.engine import Engine, Trajectories
from mfenvs.engine.random import uniform
from mfenvs.game import FiniteGame, Game
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import n_player_exploitability
from mfenvs.registry import make, register, registered_games
from mfenvs.rules import World, crowd, rule, share

__all__ = [
    "Engine",
    "FiniteGame",
    "Game",
    "InducedGame",
    "Trajectories",
    "World",
    "crowd",
    "make",
    "n_player_exploitability",
    "register",
    "registered_games",
    "rule",
    "share",
    "uniform",
]
