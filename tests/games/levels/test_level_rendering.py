"""Pictures of games of levels: every number of a small population where it belongs."""

import numpy as np
import pytest
from recordings import record

import mfenvs
from mfenvs.games.investment import Investment
from mfenvs.games.levels.rendering import SHADES, full_scale, histograms, shade
from mfenvs.games.malware import Malware
from mfenvs.rendering import make_recorder

TWO = {"benefits": (0.3, 0.4), "crowding_costs": (0.2, 0.1), "investment_costs": (0.2, 0.25)}


def recorded(game, *times):
    """A recorder that has seen these states."""
    return record(make_recorder(game), game, *times)


def test_text_of_continuous_levels():
    """Shares of 1/2 and 1/4, then 3/4 and 1/4, of a full scale of 1: the shades are █ from 9/16 on, ▓ from 1/4."""
    game = Malware(n_agents=4, horizon=3, states="continuous")
    lines = recorded(game, [0.0, 0.05, 0.55, 1.0], [0.25, 0.25, 0.28, 1.0]).ansi().splitlines()
    assert lines[:2] == ["Malware-v0, 4 agents, time 1 of 3", "infection: mean 0.445"]
    rows = {line[:9]: (line.split("|")[1].rstrip(), line.split("|")[2]) for line in lines[2:-1]}
    assert [*rows] == [f"{i / 10:.1f} - {(i + 1) / 10:.1f}" for i in reversed(range(10))]
    assert rows["0.9 - 1.0"] == ("▒▒", "  25.0%")
    assert rows["0.5 - 0.6"] == ("▒", "   0.0%")
    assert rows["0.2 - 0.3"] == (" █", "  75.0%")
    assert rows["0.0 - 0.1"] == ("▓", "   0.0%")
    assert all(rows[name] == ("", "   0.0%") for name in rows if name[:3] in ("0.1", "0.3", "0.4", "0.6", "0.8"))
    assert lines[-1] == "Share of agents, up to: ░ 6.2%, ▒ 25.0%, ▓ 56.2%, █ 100.0%"


def test_text_of_a_coarse_grid_names_its_levels():
    game = Investment(n_agents=4, horizon=3, states="grid", n_levels=3, **TWO)
    # (0, 0), (1, 0), (1, .5) and (.5, 1). The full scale is 1/2.
    lines = recorded(game, [0, 2, 5, 7]).ansi().splitlines()
    assert [line.replace(" ", "") for line in lines[1:-1]] == [
        "quality0:mean0.625",
        *("1.000|█|50.0%", "0.500|▓|25.0%", "0.000|▓|25.0%"),
        "quality1:mean0.375",
        *("1.000|▓|25.0%", "0.500|▓|25.0%", "0.000|█|50.0%"),
    ]


def test_text_shows_the_last_forty_times():
    game = Malware(n_agents=2, n_levels=2, horizon=99)
    recorder = recorded(game, *([[0, 0]] * 30), *([[1, 1]] * 35))
    low, high = (line.split("|")[1] for line in (recorder.ansi().splitlines()[k] for k in (3, 2)))
    assert low == "█" * 5 + " " * 35
    assert high == " " * 5 + "█" * 35


def plot_areas(image, n):
    """The images within the frames of the n panels: black lines that cross most of the picture's width."""
    black = (image == 0).all(axis=2)
    columns = np.flatnonzero(black.mean(axis=0) > 0.5)
    rows = np.flatnonzero(black[:, columns[0] : columns[1]].mean(axis=1) > 0.9)
    edges = [row for row in rows if row - 1 not in rows]
    assert len(edges) == 2 * n
    inside = slice(columns[0] + 2, next(c for c in columns[1:] if c > columns[0] + 50) - 1)
    return [image[top + 2 : bottom - 1, inside] for top, bottom in zip(edges[::2], edges[1::2], strict=True)]


class TestImages:
    def test_a_cell_is_as_dark_as_the_square_root_of_its_share(self):
        """Three levels; all agents at 0, then a quarter of them at 1; the rest of the episode is blank."""
        image = recorded(Malware(n_agents=4, n_levels=3, horizon=3), [0] * 4, [0, 0, 0, 2]).rgb_array()
        assert image.dtype == np.uint8
        assert image.shape == (440, 720, 3)
        (area,) = plot_areas(image, 1)
        height, width = area.shape[:2]

        def cell(level, time):
            return area[int(height * (2.5 - level) / 3) - 12, int(width * (time + 0.3) / 4)].astype(int)

        darkest, white = np.array([8, 48, 107]), np.array([247, 251, 255])  # the ends of matplotlib's Blues
        assert abs(cell(0, 0) - darkest).max() <= 3
        assert abs(cell(1, 0) - white).max() <= 3
        assert abs(cell(2, 0) - white).max() <= 3
        middle = np.array([107, 174, 214])  # Blues at a half
        assert abs(cell(2, 1) - middle).max() <= 5
        assert darkest.sum() < cell(0, 1).sum() < middle.sum()
        assert (cell(1, 2) == 255).all()

    def test_there_is_a_panel_for_every_product(self):
        game = Investment(n_agents=4, horizon=2, **TWO)
        image = recorded(game, [(0.0, 1.0)] * 4, [(0.0, 1.0)] * 4, [(0.0, 1.0)] * 4).rgb_array()
        for area, is_dark_below in zip(plot_areas(image, 2), (True, False), strict=True):
            below, above = area[-6, 20].sum(), area[6, 20].sum()
            assert bool(below < above) is is_dark_below


def test_nothing_recorded():
    recorder = make_recorder(Malware(n_agents=2))
    for show in (recorder.ansi, recorder.rgb_array):
        with pytest.raises(RuntimeError, match="call reset"):
            show()


def test_another_episode_begins_anew():
    game, engine = Malware(n_agents=2), mfenvs.Engine(Malware(n_agents=2))
    engine.reset(seed=0)
    again, new = recorded(game, [0, 1], [5, 6]), make_recorder(game)
    again.clear()
    with pytest.raises(RuntimeError, match="call reset"):
        again.ansi()
    for recorder in (again, new):
        recorder.record(engine)
    assert again.ansi() == new.ansi()
    assert np.array_equal(again.rgb_array(), new.rgb_array())


def test_levels_at_the_edge_of_a_bin_belong_to_the_upper_one():
    levels = np.arange(101)[:, None] / 100
    assert histograms(levels, 20)[0] * 101 == pytest.approx([5] * 19 + [6])
    levels = np.arange(7)[:, None] / 6
    assert histograms(levels, 7)[0] * 7 == pytest.approx([1] * 7)


def test_scales_and_shades():
    assert full_scale(np.array([0.0, 0.2])) == 0.2
    assert full_scale(np.array([0.21])) == 0.5
    assert full_scale(np.array([1.0])) == 1.0
    assert [shade(part) for part in (0.0, 1e-6, 1 / 16, 0.07, 0.25, 0.26, 9 / 16, 0.57, 1.0)] == [
        *(" ", SHADES[0], SHADES[0], SHADES[1], SHADES[1], SHADES[2], SHADES[2], SHADES[3], SHADES[3])
    ]
