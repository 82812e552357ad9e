"""Products of small matrices against NumPy's."""

import numpy as np
import pytest
from numba.core.errors import TypingError
from numpy.testing import assert_allclose

from baselines.neural import small_products
from baselines.neural.small_products import AVX2, AVX512, COLUMNS, multiply, multiply_transposed, tile_product
from mfenvs.engine.compile import solver
from mfenvs.engine.fingerprint import fingerprint


def factors(n_rows, n_inner, n_columns, dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, n_inner)).astype(dtype), rng.normal(size=(n_inner, n_columns)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(16, 64, 128), (8, 1, 16), (8, 128, 32), (24, 5, 48), (7, 9, 5), (16, 8, 17), (2, 3, 16), (1, 1, 1)]
)
def test_products_are_those_of_numpy_whether_they_consist_of_tiles_or_not(shape, dtype) -> None:
    a, b = factors(*shape, dtype)
    out = np.full((shape[0], shape[2]), np.nan, dtype)
    tolerance = {"rtol": 0.0, "atol": 200 * np.finfo(dtype).eps}
    multiply(a, b, out)
    assert_allclose(out, a @ b, **tolerance)
    out[:] = np.nan
    multiply_transposed(np.ascontiguousarray(a.T), b, out)
    assert_allclose(out, a @ b, **tolerance)


@pytest.mark.parametrize("tile", [AVX2, AVX512])
def test_a_tile_is_written_where_it_belongs_and_nowhere_else(tile) -> None:
    write_tile = tile_product(tile)

    @solver
    def write(a, b, out, row, column):
        write_tile(a, a.shape[1], 1, b, out, row, column, a.shape[1])

    a, b = factors(3 * tile.n_rows, 11, 3 * COLUMNS)
    out = np.full((len(a), b.shape[1]), np.nan, np.float32)
    write(a, b, out, tile.n_rows, COLUMNS)
    there = np.s_[tile.n_rows : 2 * tile.n_rows, COLUMNS : 2 * COLUMNS]
    assert_allclose(out[there], (a @ b)[there], rtol=0.0, atol=2e-5)
    assert np.isfinite(out).sum() == tile.n_rows * COLUMNS


def test_arrays_in_another_order_are_refused() -> None:
    a, b = factors(16, 16, 16)
    with pytest.raises(TypingError, match="a tile is of C-contiguous arrays, got"):
        multiply(a, b.T, np.empty_like(a))


def test_code_for_another_tile_is_not_taken_from_the_cache(monkeypatch) -> None:
    prints = []
    for tile in (AVX2, AVX512):
        monkeypatch.setattr(small_products, "write_tile", tile_product(tile))
        prints.append(fingerprint(small_products.multiply.py_func))
    assert prints[0] != prints[1]
