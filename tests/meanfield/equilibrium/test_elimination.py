"""The elimination over time against one dense system of all equations."""

import numpy as np
import pytest
from compressed import compressed

from mfenvs.meanfield.equilibrium.elimination import BLOCK, eliminate

SIZES = [1, 7, 2 * BLOCK + 37, 3 * BLOCK, 5]
"""Numbers of states: some so many that they are solved for block by block."""


def random_equations(rng: np.random.Generator) -> tuple[list, list]:
    """Matrices and rests of all times, with one state of value 0 behind the last."""
    matrices, rests = [], []
    for n, n_next in zip(SIZES, [*SIZES[1:], 1], strict=True):
        shapes = (n, n_next), (n, n), (n_next, n), (n_next, n_next)
        blocks = [0.3 * rng.standard_normal(shape) * (rng.random(shape) < 0.1) for shape in shapes]
        is_last = len(matrices) == len(SIZES) - 1
        matrices.append([0.0 * block if is_last and k != 1 else block for k, block in enumerate(blocks)])
        rests.append((rng.standard_normal((n, 2)), (0.0 if is_last else 1.0) * rng.standard_normal((n_next, 2))))
    return matrices, rests


def solved_at_once(matrices: list, rests: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same changes from one linear system in the mass and the values of all times."""
    starts = 2 * np.concatenate(([0], np.cumsum(SIZES)))
    system, known = np.eye(starts[-1]), np.zeros((starts[-1], 2))
    for h, n in enumerate(SIZES):
        mass, values = slice(starts[h], starts[h] + n), slice(starts[h] + n, starts[h + 1])
        (v_v, v_m, m_m, m_v), (v_0, m_0) = matrices[h], rests[h]
        system[values, mass] -= v_m
        known[values] = v_0
        if h + 1 < len(SIZES):
            middle = starts[h + 1] + SIZES[h + 1]
            mass_ahead, values_ahead = slice(starts[h + 1], middle), slice(middle, starts[h + 2])
            system[values, values_ahead] -= v_v
            system[mass_ahead, mass] -= m_m
            system[mass_ahead, values_ahead] -= m_v
            known[mass_ahead] = m_0
    found = np.linalg.solve(system, known)
    return [
        (found[start : start + n], found[start + n : start + 2 * n])
        for start, n in zip(starts[:-1], SIZES, strict=True)
    ]


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_changes_are_those_of_one_system(is_sparse: bool) -> None:
    rng = np.random.default_rng(0)
    matrices, rests = random_equations(rng)
    given = [[compressed(block) if is_sparse else block for block in blocks] for blocks in matrices]
    changes = eliminate(lambda h: tuple(given[h]), rests)
    expected = solved_at_once(matrices, rests)
    for found, right in zip(changes, expected, strict=True):
        np.testing.assert_allclose(found[0], right[0], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found[1], right[1], rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(changes[0][0], 0.0)  # the first mass does not change


def test_singular_equations_are_refused() -> None:
    """With d mu' = dV' and dV' = d mu' + rest there is no solution, or there are many."""
    one, zero, nothing = np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 2))
    matrices = [(zero, zero, zero, one), (zero, one, zero, zero)]
    with pytest.raises(np.linalg.LinAlgError):
        eliminate(lambda h: matrices[h], [(nothing, nothing)] * 2)
