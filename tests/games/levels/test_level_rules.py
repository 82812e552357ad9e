"""The next level at the ends of single precision, and its law against the definition, for any grid."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.games.levels.level_game import MOST_LEVELS
from mfenvs.games.levels.rules import FALLS, chance_of_cell, moved_cell, moved_level
from mfenvs.rules import plain

LAST = 1 - 2.0**-24
"""The largest uniform draw."""
draws = st.integers(0, 2**24 - 1).map(lambda n: np.float32(n * 2.0**-24))
shares = st.floats(0.0, 1.0, width=32).map(np.float32)
grids = st.integers(1, MOST_LEVELS - 1).flatmap(lambda top: st.tuples(st.integers(0, top), st.just(top)))
offsets = st.sampled_from([np.float32(0.5), np.float32(1.0)])


@given(grids, shares, draws, offsets)
@example((0, MOST_LEVELS - 1), np.float32(1.0), np.float32(LAST), np.float32(1.0))
@example((100, 100), np.float32(1.0), np.float32(LAST), np.float32(1.0))
@example((99, 100), np.float32(1.0), np.float32(LAST), np.float32(0.5))
def test_a_step_never_leaves_the_grid(grid, share, draw, offset):
    cell, top = grid
    # As in the simulator: small grids in unsigned bytes, others in 32 bits.
    held = (np.uint8 if top < 256 else np.int32)(cell)
    found = moved_cell(offset)(held, share, draw, np.float32(top))
    assert cell <= found <= top
    # The definition in exact arithmetic, up to rounding at the edge of a cell.
    exact = (top - cell) * float(share) * float(draw) + float(offset)
    near = {math.floor(exact + error * max(1.0, top - cell)) for error in (-1e-6, 0.0, 1e-6)}
    assert found in {min(cell + rise, top) for rise in near}
    assert moved_cell(offset)(held, FALLS, draw, np.float32(top)) == 0


@given(st.floats(0.0, 1.0, width=32).map(np.float32), shares, draws)
@example(np.float32(2.0**-24), np.float32(1.0), np.float32(LAST))
@example(np.float32(LAST), np.float32(1.0), np.float32(LAST))
def test_a_continuous_level_stays_within_its_range(level, share, draw):
    found = moved_level(level, share, draw)
    assert found.dtype == np.float32 if isinstance(found, np.generic) else isinstance(found, float)
    assert level <= found <= 1.0
    assert_allclose(found, level + (1 - float(level)) * float(share) * float(draw), atol=1e-6)
    assert moved_level(level, FALLS, draw) == 0.0


@given(st.integers(1, 12), st.data(), shares, offsets)
def test_the_law_is_that_of_the_steps(top, data, share, offset):
    """The chance of a cell is the length of the interval of draws that lead to it."""
    cell = data.draw(st.integers(0, top))
    # As on the mean-field side, in double precision.
    law = [plain(chance_of_cell(offset))(j, cell, np.float64(share), np.float64(top)) for j in range(top + 1)]
    length, start = (top - cell) * float(share), float(offset)
    if length < 1e-12:
        return  # where it stays or rises by a cell is the subject of the next test

    def end_of(j):
        """The draw up to which the next cell is at most j: floor(length w + start) <= j - cell."""
        return 1.0 if j >= top else min(max((j - cell + 1 - start) / length, 0.0), 1.0)

    ends = [0.0, *map(end_of, range(top + 1))]
    assert_allclose(law, np.diff(ends), atol=1e-12)
    assert abs(sum(law) - 1.0) < 1e-12


@given(st.integers(1, 12), st.data(), offsets)
def test_a_level_that_cannot_rise_stays(top, data, offset):
    chance = plain(chance_of_cell(offset))
    assert [chance(j, top, 1.0, top) for j in range(top + 1)] == [0] * top + [1]
    cell = data.draw(st.integers(0, top))
    assert [chance(j, cell, -1.0, top) for j in range(top + 1)] == [1] + [0] * top
    assert [chance(j, cell, 0.0, top) for j in range(top + 1)] == [int(j == cell) for j in range(top + 1)]
