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
    "shape",
    [
        *((16, 64, 128), (8, 1, 16), (8, 128, 32), (24, 5, 48), (7, 9, 5), (16, 8, 17), (2, 3, 16), (1, 1, 1)),
        *((6, 3, 16), (4, 3, 16), (10, 3, 16), (14, 3, 16), (9, 3, 16), (128, 16, 64)),
    ],
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


@pytest.mark.parametrize(("height", "lanes"), [(6, 8), (4, 8), (8, 16)])
def test_a_tile_is_written_where_it_belongs_and_nowhere_else(height, lanes) -> None:
    write_tile = tile_product(height, lanes)

    @solver
    def write(a, b, out, row, column):
        write_tile(a, a.shape[1], 1, b, out, row, column, a.shape[1])

    a, b = factors(3 * height, 11, 3 * COLUMNS)
    out = np.full((len(a), b.shape[1]), np.nan, np.float32)
    write(a, b, out, height, COLUMNS)
    there = np.s_[height : 2 * height, COLUMNS : 2 * COLUMNS]
    assert_allclose(out[there], (a @ b)[there], rtol=0.0, atol=2e-5)
    assert np.isfinite(out).sum() == height * COLUMNS


@pytest.mark.parametrize("tiles", [AVX2, AVX512])
def test_tiles_cover_a_product_once(tiles, monkeypatch) -> None:
    """In Python, with the places of tiles noted down."""
    covered: list[tuple[int, int]] = []

    def note(height):
        return lambda a, _, __, b, out, row, column, n: covered.extend(
            (i, j) for i in range(row, row + height) for j in range(column, column + COLUMNS)
        )

    monkeypatch.setattr(small_products, "TILES", tiles)
    monkeypatch.setattr(small_products, "write_tall", note(tiles.tall))
    monkeypatch.setattr(small_products, "write_short", note(tiles.short))
    fit = []
    for n_rows in range(1, 40):
        out = np.empty((n_rows, 2 * COLUMNS))
        n_short = small_products.number_of_short.py_func(out)
        if n_short >= 0:
            covered.clear()
            small_products.write_product.py_func(None, 1, 1, 1, None, out, n_short)
            assert sorted(covered) == list(np.ndindex(out.shape))
            fit.append(n_rows)
    expected = range(8, 40, 8) if tiles is AVX512 else range(4, 40, 2)
    assert fit == list(expected)
    assert small_products.number_of_short.py_func(np.empty((24, COLUMNS + 1))) == -1


def test_arrays_in_another_order_are_refused() -> None:
    a, b = factors(16, 16, 16)
    with pytest.raises(TypingError, match="a tile is of C-contiguous arrays, got"):
        multiply(a, b.T, np.empty_like(a))


def test_code_for_other_tiles_is_not_taken_from_the_cache(monkeypatch) -> None:
    prints = []
    for tiles in (AVX2, AVX512):
        monkeypatch.setattr(small_products, "TILES", tiles)
        monkeypatch.setattr(small_products, "write_tall", tile_product(tiles.tall, tiles.lanes))
        prints.append(fingerprint(small_products.write_product.py_func))
    assert prints[0] != prints[1]
