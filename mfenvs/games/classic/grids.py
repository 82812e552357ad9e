"""Maps on which OpenSpiel's games with several populations are played."""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOVES = ((0, 0), (1, 0), (0, 1), (0, -1), (-1, 0))
"""Columns and rows by which the actions 0 .. 4 move: stay, next column, next row, row before, column before."""
MOVE_NAMES = "stay", "next column", "next row", "row before", "column before"


class Grid(NamedTuple):
    """The free cells of a map, numbered row by row."""

    number: dict[tuple[int, int], int]
    """The number of the free cell in a column and row."""
    neighbours: NDArray[np.int64]
    """The cell that each move leads to, shape (n_cells, 5); a move into a wall or beyond a border stays."""


@functools.cache
def grid_of(text: tuple[str, ...], joined: bool = False) -> Grid:
    """The grid of a map, a text for each row with ``#`` for walls; its opposite borders may be joined."""
    n_rows, n_columns = len(text), len(text[0])
    cells = [(x, y) for y in range(n_rows) for x in range(n_columns) if text[y][x] != "#"]
    number = {cell: k for k, cell in enumerate(cells)}
    neighbours = np.empty((len(cells), len(MOVES)), np.int64)
    for k, (x, y) in enumerate(cells):
        for move, (across, down) in enumerate(MOVES):
            target = x + across, y + down
            if joined:
                target = target[0] % n_columns, target[1] % n_rows
            neighbours[k, move] = number.get(target, k)
    neighbours.flags.writeable = False
    return Grid(number, neighbours)


def noise_of(probability: float) -> NDArray[np.float64]:
    """The probability of each move as noise: that of a move is divided equally between the four directions."""
    return np.array([1.0 - probability, *[probability / 4.0] * 4])
