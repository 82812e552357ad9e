"""Pages of the classic games: what they say is what the classes say, and they are committed for every game."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mfenvs
from benchmarks.__main__ import main
from benchmarks.reproduce.classic_games import FAMILIES
from benchmarks.reproduce.classic_games_figure import draw
from benchmarks.reproduce.classic_games_page import (
    constants_table,
    field_meanings,
    game_page,
    heading,
    markdown,
    slug,
)

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "classic-games"
NAMES = [name for family in FAMILIES for name in mfenvs.registered_games(family)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("BeachBar-v0", "beach-bar"), ("CrowdModelling2D-v0", "crowd-modelling-2d"), ("Garnet-v0", "garnet")],
)
def test_names_of_files(name, expected):
    assert slug(name) == expected


def test_titles():
    assert heading("BeachBar-v0", "Beach bar: agents want a towel.") == ("Beach bar", "agents want a towel")
    assert heading("LeftRight-v0", "A choice of two.") == ("Left right", "A choice of two")


def test_docstrings_as_markdown():
    text = "``beach_bar``, see :class:`~mfenvs.games.Beach`, :mod:`mfenvs.games` and :meth:`equilibrium`"
    assert markdown(text) == "`beach_bar`, see `Beach`, `mfenvs.games` and `equilibrium`"


def test_every_constant_has_a_row_also_those_that_are_inherited():
    game = mfenvs.make("FourRoomsExploration-v0")
    assert field_meanings(type(game))["n_agents"] == "Number of agents N [O]."
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", constants_table(game), re.MULTILINE))
    assert rows == {
        name: "see the class" if name == "layout" else f"`{value!r}`"
        for name, value in vars(game).items()
        if name in rows
    }
    assert {"n_agents", "horizon", "discount", "layout", "noise", "least"} <= set(rows)


@pytest.mark.parametrize("name", NAMES)
def test_committed_pages_say_what_the_classes_say(name):
    """A page is that which would be written now, with the numbers of the committed run."""
    row = json.loads((RESULTS / "results.json").read_text("utf-8"))["games"][name]
    assert (RESULTS / f"{slug(name)}.md").read_text("utf-8") == game_page(name, mfenvs.make(name), row)
    assert (RESULTS / f"{slug(name)}.png").stat().st_size > 5000
    assert f"({slug(name)}.md)" in (RESULTS / "README.md").read_text("utf-8")


ROW_FIRST = "FourRooms-v0", "CrowdMotion-v0", "KineticCongestion-v0"
"""Games whose states are named by row and column; others name the column first."""
WITH_MAPS = (
    *ROW_FIRST,
    "CrowdModelling2D-v0",
    "FourRoomsExploration-v0",
    "MazeExploration-v0",
    "PredatorPrey-v0",
    "FourPopulationPredatorPrey-v0",
    "CrowdAvoidance-v0",
)


@pytest.mark.parametrize("name", WITH_MAPS)
def test_maps_show_states_where_their_names_say(name):
    game = mfenvs.make(name)
    cells = game.map_of_states
    n_shown = 0
    for row, column in zip(*np.nonzero(cells >= 0), strict=True):
        place = (row, column) if name in ROW_FIRST else (column, row)
        assert game.state_name(cells[row, column]).rpartition(": ")[2] == f"{place[0]}, {place[1]}"
        n_shown += 1
    layout = getattr(game, "layout", None)
    n_walls = 0 if layout is None else sum(row.count("#") for row in layout)
    assert n_shown == cells.size - n_walls


def test_games_without_a_map_have_none():
    with_maps = {name for name in NAMES if getattr(mfenvs.make(name), "map_of_states", None) is not None}
    assert with_maps == {*WITH_MAPS, "BuildingEvacuation-v0"}


def test_floors_of_a_building_stand_side_by_side():
    building = mfenvs.make("BuildingEvacuation-v0", n_floors=2, length=2, width=3)
    assert building.map_of_states.tolist() == [[0, 1, 2, -1, 6, 7, 8], [3, 4, 5, -1, 9, 10, 11]]


def test_a_game_is_solved_and_drawn(tmp_path, capsys):
    words = ["reproduce", "classic-games", "--games", "LeftRight-v0", "--jobs", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    assert str(tmp_path) in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert not found["complete"]
    assert not (tmp_path / "README.md").exists()
    row = found["games"]["LeftRight-v0"]
    # Another game is added to it.
    assert main([*words[:3], "TreasureHunting-v0", *words[4:]]) == 0
    both = json.loads((tmp_path / "results.json").read_text("utf-8"))["games"]
    assert list(both) == ["LeftRight-v0", "TreasureHunting-v0"]
    assert both["LeftRight-v0"] == row
    assert row["is_solved"]
    assert row["exploitability"] <= 1e-6
    assert (tmp_path / "left-right.png").stat().st_size > 5000


def test_unknown_games_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"games must be among .*got 'Taxi-v0'"):
        main(["reproduce", "classic-games", "--games", "Taxi-v0", "--out", str(tmp_path)])


@pytest.mark.slow
def test_the_figure_of_common_noise_shows_two_histories():
    game = mfenvs.make("ClosingBeachBar-v0", n_places=11, bar=5, closing_time=2, horizon=6)
    left, right = draw(game, mfenvs.solve(game, seconds=0.1), "Beach").axes[:2]
    assert left.get_title() != right.get_title()
