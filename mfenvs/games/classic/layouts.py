"""Maps as texts, one for each row: ``#`` is a wall, ``S`` a place where agents start, anything else is free."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

OPEN = (" " * 10,) * 10
"""OpenSpiel's open square of ten by ten."""

FOUR_ROOMS = (
    "#############",
    "#S    #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#     #     #",
    "### ##### ###",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#     #     #",
    "#############",
)
"""OpenSpiel's four rooms with doors between them."""

MAZE = (
    "######################",
    "#S     #     #     # #",
    "#      #     #     # #",
    "######    #  # ##  # #",
    "#         #  # #   # #",
    "#         #  # ### # #",
    "#  ########  #   #   #",
    "#    # # #  ##   #   #",
    "#    # # #     # # ###",
    "#    # # #     # # # #",
    "###### # ####### # # #",
    "#  #         #   # # #",
    "#  # ## ###  #   # # #",
    "## # #    #  ##### # #",
    "## # # #  #      # # #",
    "#    # ####        # #",
    "# ####  # ########   #",
    "#       #  #   # ### #",
    "#  #  # #  # # #   # #",
    "# ##### #    # #     #",
    "#            #       #",
    "######################",
)
"""OpenSpiel's maze."""

MOVES = ((0, -1), (-1, 0), (0, 0), (1, 0), (0, 1))
"""Columns and rows by which the actions 0 .. 4 move: row before, column before, stay, next column, next row."""
STAY = 2


class Layout(NamedTuple):
    """The free cells of a map, numbered row by row, and the ways between them."""

    columns: NDArray[np.int64]
    """Column of each cell, shape (n_cells,)."""
    rows: NDArray[np.int64]
    """Row of each cell, shape (n_cells,)."""
    neighbours: NDArray[np.int64]
    """The cell that each move leads to, shape (n_cells, 5); a move into a wall leads to the cell itself."""
    is_open: NDArray[np.bool_]
    """Whether a move does not lead into a wall, shape (n_cells, 5)."""
    starts: NDArray[np.float64]
    """The law of the first cell, shape (n_cells,)."""


@functools.cache
def layout_of(text: tuple[str, ...]) -> Layout:
    """The layout of a map whose opposite borders are joined."""
    n_rows, n_columns = len(text), len(text[0])
    places = [(row, column) for row in range(n_rows) for column in range(n_columns) if text[row][column] != "#"]
    number = {place: k for k, place in enumerate(places)}
    neighbours = np.empty((len(places), len(MOVES)), np.int64)
    is_open = np.empty(neighbours.shape, np.bool_)
    for k, (row, column) in enumerate(places):
        for move, (across, down) in enumerate(MOVES):
            target = (row + down) % n_rows, (column + across) % n_columns
            is_open[k, move] = target in number
            neighbours[k, move] = number.get(target, k)
    marked = np.array([text[row][column] == "S" for row, column in places])
    starts = marked if marked.any() else np.ones(len(places))
    rows, columns = np.array(places).T
    return Layout(columns, rows, neighbours, is_open, starts / starts.sum())


def checked_text(name: str, value: Any, most: int) -> tuple[str, ...]:
    """A map, checked: from 2 to ``most`` rows of one length, which is from 2 to ``most``, and not all walls.

    Raises
    ------
    TypeError
        If ``value`` is not a sequence of texts.
    ValueError
        If the map is none of this kind.
    """
    rows = checks.sequence(name, value, "hold a text for each row of the map")
    text = tuple(checks.text(f"{name}[{k}]", row) for k, row in enumerate(rows))
    sizes: Sequence[int] = [len(text), *map(len, text)]
    if min(sizes) < 2 or max(sizes) > most or len(set(sizes[1:])) > 1:
        raise ValueError(
            f"{name} must hold 2 to {most} rows of equal length, from 2 to {most}, got {checks.shown(value)}"
        )
    if all(set(row) == {"#"} for row in text):
        raise ValueError(f"{name} must have free cells, got walls only")
    return text
