"""Constants of the classic games: what is refused, and that games are made again from what they say."""

import dataclasses

import numpy as np
import pytest

from mfenvs import make, registered_games
from mfenvs.games.classic.garnet import GarnetTables
from mfenvs.games.classic.mean_field_garnet import MeanFieldGarnetTables
from mfenvs.games.classic.random_linear import RandomLinearTables

LINEAR = RandomLinearTables.drawn(5, 1.0, 0)
GARNET = GarnetTables.drawn(10, 3, 3, 1.0, 0)
NETWORK = MeanFieldGarnetTables.drawn(4, 2, 2, "potential", 1.0, 0)


def network(**changed):
    return {"n_nodes": 4, "n_choices": 2, "tables": dataclasses.replace(NETWORK, **changed)}


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("BeachBar-v0", {"bar": 4}, r"bar must be an integer in \[0, 3\], got 4"),
        ("TreasureHunting-v0", {"treasures": 3}, "treasures must hold the treasure of each place, got 3"),
        ("TreasureHunting-v0", {"treasures": (1.0, "x")}, r"treasures\[1\] must be a finite number"),
        ("CrowdMotion-v0", {"bar": [(0, 0)]}, r"bar must have shape \(4, 2\)"),
        ("CrowdMotion-v0", {"bar": [(0, 20)] * 4}, r"bar\[:, 1\]\[0\] must be an integer in \[0, 19\], got 20"),
        ("CrowdModelling2D-v0", {"layout": ("  ", "   ")}, "layout must hold 2 to 1000 rows of equal length"),
        ("CrowdModelling2D-v0", {"layout": ("##", "##")}, "layout must have free cells, got walls only"),
        ("CrowdModelling2D-v0", {"layout": ("  ", 3)}, r"layout\[1\] must be a text, got 3"),
        ("FourRooms-v0", {"noise": (0.5, 0.5)}, r"noise must have shape \(5,\)"),
        ("FourRooms-v0", {"noise": (0.5, 0.5, 0.5, 0.0, 0.0)}, "noise must be probabilities"),
        ("MultipleEquilibria-v0", {"bars": (2, 7)}, r"bars\[1\] must be an integer in \[0, 6\], got 7"),
        ("KineticCongestion-v0", {"target": 25}, r"target must be an integer in \[0, 24\], got 25"),
        ("KineticCongestion-v0", {"success": "smooth"}, "success must be one of 'linear', 'exponential'"),
        ("NormalForm-v0", {"payoffs": "coop"}, "payoffs must be one of 'cooperation'"),
        ("RandomLinear-v0", {"tables": GARNET}, "tables must be None or RandomLinearTables, got"),
        ("RandomLinear-v0", {"tables": LINEAR, "n": 4}, r"tables.coupled_moves must have shape \(4, 4, 4\)"),
        (
            "RandomLinear-v0",
            {"tables": dataclasses.replace(LINEAR, rewards=np.full((5, 5), np.nan))},
            r"tables.rewards\[0, 0\] must be finite",
        ),
        (
            "Garnet-v0",
            {"tables": dataclasses.replace(GARNET, successors=np.full((10, 3, 3), 10.0))},
            r"tables.successors\[0, 0, 0\] must be an integer in \[0, 9\], got 10",
        ),
        (
            "Garnet-v0",
            {"tables": dataclasses.replace(GARNET, successors=np.full((10, 3, 3), 0.5))},
            "tables.successors must hold whole numbers",
        ),
        (
            "Garnet-v0",
            {"tables": dataclasses.replace(GARNET, probabilities=np.full((10, 3, 3), 0.5))},
            "tables.probabilities.* must be probabilities",
        ),
        ("MeanFieldGarnet-v0", network(base=-NETWORK.base), "tables.base must hold numbers that are not negative"),
        ("MeanFieldGarnet-v0", network(base_factor=2.0), "tables.base_factor must be a finite number in"),
        ("MeanFieldGarnet-v0", {"n_nodes": 1000}, r"n_nodes\^3 \* n_choices"),
    ],
)
def test_wrong_constants_are_named(name, constants, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(name, **constants)


@pytest.mark.parametrize("name", registered_games("classic"))
def test_games_are_made_again_from_their_constants(name):
    game = make(name, n_agents=12)
    again = make(name, **game.describe())
    assert again == game
    assert again.describe() == game.describe()
    assert again.n_agents == 12


def test_tables_are_copied():
    moves = np.zeros((5, 5, 5))
    game = make("RandomLinear-v0", tables=dataclasses.replace(LINEAR, moves=moves))
    moves[:] = 1.0
    assert not game.constants.moves.any()


def test_states_of_maps_have_names():
    assert make("CrowdModelling2D-v0", layout=("S #", "   ")).state_name(2) == "0, 1"
    assert make("BuildingEvacuation-v0").state_name(100 + 23) == "floor 1, 2, 3"
    assert make("LinearQuadraticChain-v0").state_name(0) == "-5"
