"""Extensions from finitely many points: equality there, Lipschitz moduli, and the formulas that they implement."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import mfenvs.meanfield.extension as module
from mfenvs.meanfield.extension import (
    Kirszbraun,
    McShaneWhitney,
    McShaneWhitneyRows,
    interpolate_counts,
    lipschitz_modulus,
    project_to_simplex,
)
from mfenvs.meanfield.simplex_program import minimise_on_simplex

NORMS = {"l1": 1, "l2": 2, "largest": np.inf}
seeds = st.integers(0, 10**6)


def lattice_points(n_outcomes: int, n_agents: int) -> np.ndarray:
    every = itertools.product(range(n_agents + 1), repeat=n_outcomes)
    return np.array([c for c in every if sum(c) == n_agents]) / n_agents


def norm_of(rows: np.ndarray, norm: str) -> np.ndarray:
    return np.linalg.norm(rows, NORMS[norm], axis=-1)


def random_laws(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Some with zeros, some close together."""
    spread = rng.dirichlet(np.full(d, 0.5), n)
    return np.concatenate([spread, 0.99 * spread + 0.01 * rng.dirichlet(np.ones(d), n)])


@given(seed=seeds, d=st.integers(1, 7), scale=st.sampled_from([1e-8, 1.0, 1e9]))
def test_the_projection_is_the_nearest_law(seed, d, scale):
    """In a convex set r is nearest to v iff <v - r, e_j - r> <= 0 for all vertices e_j."""
    vectors = scale * np.random.default_rng(seed).normal(size=(5, d))
    rows = project_to_simplex(vectors)
    assert_allclose(rows.sum(axis=-1), 1.0, atol=1e-12)
    assert rows.min() >= 0.0
    for v, r in zip(vectors, rows, strict=True):
        assert ((np.eye(d) - r) @ (v - r)).max() <= 1e-9 * max(scale, 1.0)


def test_the_projection_by_hand():
    assert_allclose(project_to_simplex([0.5, 0.5, 0.5]), [1 / 3] * 3)
    assert_allclose(project_to_simplex([[2.0, 0.0], [0.3, 0.1], [-1.0, -1.0]]), [[1, 0], [0.6, 0.4], [0.5, 0.5]])
    assert_allclose(project_to_simplex([0.2, 0.7, 0.1]), [0.2, 0.7, 0.1], atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_the_modulus_is_the_largest_slope(norm):
    rng = np.random.default_rng(1)
    points, values = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    slopes = [
        np.linalg.norm(values[i] - values[j]) / norm_of(points[i] - points[j], norm)
        for i, j in itertools.combinations(range(9), 2)
    ]
    assert lipschitz_modulus(points, values, norm) == pytest.approx(max(slopes), rel=1e-12)


def test_many_points_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(4)
    points, values, x = rng.normal(size=(30, 2)), rng.normal(size=(30, 3)), rng.normal(size=(50, 2))
    whole = lipschitz_modulus(points, values), McShaneWhitney(points, values)(x)
    monkeypatch.setattr(module, "NUMBERS_AT_A_TIME", 600)
    assert lipschitz_modulus(points, values) == whole[0]
    assert (McShaneWhitney(points, values)(x) == whole[1]).all()


def test_mcshane_and_whitney_by_hand():
    """f(0) = 0, f(1) = 1 on the line: outside the slope is 1, up or down, but cut off at the range."""
    points, values = [[0.0], [1.0]], [0.0, 1.0]
    x = [[0.25], [2.0], [-1.0]]
    for side, expected in (("upper", [0.25, 1.0, 1.0]), ("lower", [0.25, 0.0, 0.0]), ("middle", [0.25, 1.0, 0.0])):
        extension = McShaneWhitney(points, values, side=side)
        assert extension.modulus == 1.0
        assert_allclose(extension(x), expected, atol=1e-15)
    # With the modulus 3: min(0 + .75, 1 + 2.25) = .75, max(0 - .75, 1 - 2.25) = -.75, cut off at 0.
    assert_allclose(McShaneWhitney(points, values, 3.0, side="upper")([[0.25]]), [0.75])
    assert_allclose(McShaneWhitney(points, values, 3.0, side="middle")([[0.25]]), [0.0])


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=20)
@given(
    seed=seeds, shape=st.sampled_from([(2, 3), (3, 2), (4, 2)]), side=st.sampled_from(["middle", "upper", "lower"])
)
def test_mcshane_and_whitney_equal_the_function_and_keep_modulus_and_range(norm, seed, shape, side):
    rng = np.random.default_rng(seed)
    points = lattice_points(*shape)
    values = rng.uniform(-3.0, 5.0, len(points))
    extension = McShaneWhitney(points, values, norm=norm, side=side)
    assert_allclose(extension(points), values, atol=1e-12)
    x = np.concatenate([points, random_laws(rng, 15, shape[0])])
    found = extension(x)
    assert found.min() >= values.min()
    assert found.max() <= values.max()
    for k, at in enumerate(x):
        assert (np.abs(found - found[k]) <= extension.modulus * norm_of(x - at, norm) + 1e-12).all()
    # The modulus is no larger than it must be.
    assert extension.modulus == pytest.approx(lipschitz_modulus(points, values, norm), rel=1e-12)


def test_functions_of_a_table_are_extended_one_by_one():
    rng = np.random.default_rng(2)
    points, values = lattice_points(3, 3), rng.normal(size=(10, 4))
    x = rng.dirichlet(np.ones(3), 6)
    alone = np.stack([McShaneWhitney(points, column)(x) for column in values.T], axis=-1)
    assert_allclose(McShaneWhitney(points, values)(x), alone, atol=1e-15)
    assert McShaneWhitney(points, values)(x.reshape(2, 3, 3)).shape == (2, 3, 4)


@settings(max_examples=20)
@given(seed=seeds, shape=st.sampled_from([(2, 4), (3, 3), (4, 2)]), n=st.integers(1, 4))
def test_extended_rows_are_probabilities_of_the_stated_modulus(seed, shape, n):
    rng = np.random.default_rng(seed)
    points = lattice_points(*shape)
    rows = rng.dirichlet(np.full(n, 0.4), len(points))
    extension = McShaneWhitneyRows(points, rows)
    x = np.concatenate([points, random_laws(rng, 12, shape[0])])
    found = extension(x)
    assert_allclose(found[: len(points)], rows, atol=1e-12)
    assert found.min() >= 0.0
    assert_allclose(found.sum(axis=-1), 1.0, atol=1e-12)
    for k, at in enumerate(x):
        change = np.linalg.norm(found - found[k], axis=-1)
        assert (change <= extension.modulus * np.linalg.norm(x - at, axis=-1) + 1e-12).all()


def test_two_probabilities_need_no_projection():
    """The mean of the largest and the smallest extension of p and of 1 - p sums to one."""
    rng = np.random.default_rng(3)
    points, chance = lattice_points(3, 3), rng.random(10)
    x = rng.dirichlet(np.ones(3), 8)
    rows = McShaneWhitneyRows(points, np.stack([chance, 1 - chance], axis=-1))(x)
    assert_allclose(rows[:, 0], McShaneWhitney(points, chance)(x), atol=1e-12)


@settings(max_examples=60)
@given(seed=seeds, n=st.integers(1, 12), d=st.integers(1, 6), whole=st.booleans())
def test_the_quadratic_programme_is_solved_to_optimality(seed, n, d, whole):
    """A convex programme is solved iff no vertex of the simplex is in a descent direction."""
    rng = np.random.default_rng(seed)
    vectors, linear = rng.normal(size=(n, d)), rng.normal(size=n)
    if whole:  # Many vectors that depend on each other, and ties.
        vectors, linear = np.round(2 * vectors), np.round(linear)
    weights = minimise_on_simplex(vectors, linear)
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    gradient = 2 * vectors @ (weights @ vectors) + linear
    assert gradient.min() >= weights @ gradient - 1e-9 * np.abs(gradient).max()


@settings(max_examples=20)
@given(seed=seeds, shape=st.sampled_from([(2, 3), (3, 3), (4, 2)]), n=st.integers(1, 4), law=st.booleans())
def test_kirszbraun_equals_the_function_and_keeps_its_modulus(seed, shape, n, law):
    rng = np.random.default_rng(seed)
    points = lattice_points(*shape)
    values = rng.dirichlet(np.full(n, 0.4), len(points)) if law else rng.normal(size=(len(points), n))
    extension = Kirszbraun(points, values)
    assert extension.modulus == pytest.approx(lipschitz_modulus(points, values), rel=1e-12)
    x = np.concatenate([points, random_laws(rng, 12, shape[0]), 2 * random_laws(rng, 2, shape[0])])
    found = extension(x)
    assert_allclose(found[: len(points)], values, atol=1e-9)
    for k, at in enumerate(x):
        change = np.linalg.norm(found - found[k], axis=-1)
        assert (change <= extension.modulus * np.linalg.norm(x - at, axis=-1) + 1e-8).all()
    if law:  # Values stay in the convex hull.
        assert found.min() >= 0.0
        assert_allclose(found.sum(axis=-1), 1.0, atol=1e-12)


def test_coordinates_by_themselves_do_not_keep_the_modulus_of_a_vector():
    """Kirszbraun's theorem is needed: the identity of a hexagon is extended with a slope above 1."""
    rng, angles = np.random.default_rng(12), np.arange(6) * np.pi / 3
    points = values = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    modulus, x = lipschitz_modulus(points, values), rng.normal(size=(300, 2))
    assert modulus == pytest.approx(1.0)
    steepest = {}
    for extension in (McShaneWhitney(points, values), Kirszbraun(points, values)):
        step = 1e-4 * rng.normal(size=x.shape)
        slopes = np.linalg.norm(extension(x + step) - extension(x), axis=1) / np.linalg.norm(step, axis=1)
        steepest[type(extension)] = slopes.max()
    assert steepest[McShaneWhitney] > 1.05 * modulus
    assert steepest[Kirszbraun] <= modulus * (1 + 1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kirszbraun_is_the_gradient_of_the_convex_envelope(seed):
    """The envelope by its conjugate: conv(g)(w) = max_p <p, w> - max_i (|p - b_i|^2 / 4M - c_i), whose maximiser p
    is the gradient; g = min_i M |w|^2 + <b_i, w> + c_i with b_i = (-M z_i, f_i) and c_i = M/2 |z_i|^2."""
    rng = np.random.default_rng(seed)
    points, values = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    extension = Kirszbraun(points, values)
    m = extension.modulus
    b, c = np.concatenate([-m * points, values], axis=1), 0.5 * m * (points**2).sum(axis=1)
    for x in rng.normal(size=(4, 2)):
        w = np.concatenate([x, np.zeros(2)])
        found = minimize(
            lambda pt, w=w: pt[4] - pt[:4] @ w,
            [0.0, 0.0, 0.0, 0.0, 100.0],
            constraints={"type": "ineq", "fun": lambda pt: pt[4] - ((pt[:4] - b) ** 2).sum(axis=1) / (4 * m) + c},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert found.status in (0, 8)  # Done, or, on some processors, no lower to working precision.
        assert_allclose(extension(x), found.x[2:4], atol=1e-5)


def test_kirszbraun_of_a_constant_function_is_constant():
    assert_allclose(Kirszbraun([[0.0], [1.0]], [[0.25, 0.75]] * 2)([[3.0], [0.5]]), [[0.25, 0.75]] * 2)


def test_counts_are_interpolated_by_hand():
    """h(0), h(1), h(2) = 1, .5, 0: a quarter of two agents is half an agent."""
    assert_allclose(interpolate_counts([1.0, 0.5, 0.2], [0.0, 0.25, 0.5, 0.75, 1.0]), [1.0, 0.75, 0.5, 0.35, 0.2])
    table = np.array([[0.0, 1.0], [2.0, 3.0]])
    assert_allclose(interpolate_counts(table, 0.25), [0.5, 1.5])


@given(seed=seeds, n=st.integers(1, 30))
def test_interpolated_counts_keep_values_modulus_and_monotonicity(seed, n):
    rng = np.random.default_rng(seed)
    h = -np.sort(-rng.random(n + 1))
    assert_allclose(interpolate_counts(h, np.arange(n + 1) / n), h, atol=1e-12)
    shares = np.sort(rng.random(40))
    found = interpolate_counts(h, shares)
    assert (np.diff(found) <= 1e-15).all()
    assert (np.abs(np.diff(found)) <= n * np.abs(np.diff(h)).max() * np.diff(shares) + 1e-12).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: project_to_simplex([np.nan, 0.0]), ValueError, r"vectors\[0\] must be finite"),
        (lambda: project_to_simplex(1.0), ValueError, "vectors must have shape"),
        (lambda: lipschitz_modulus([[0.0], [0.0]], [1.0, 2.0]), ValueError, "points must all be different"),
        (lambda: lipschitz_modulus([0.0, 1.0], [1.0, 2.0]), ValueError, r"points must have shape \(n, d\)"),
        (lambda: lipschitz_modulus([[0.0]], [1.0, 2.0]), ValueError, r"values must have shape \(1,\)"),
        (lambda: lipschitz_modulus([[0.0]], [1.0], "l3"), ValueError, "norm must be one of"),
        (lambda: McShaneWhitney([[0.0], [1.0]], [0.0, 2.0], 1.5), ValueError, "at least that of the values, 2"),
        (lambda: McShaneWhitney([[0.0]], [0.0], side="up"), ValueError, "side must be one of"),
        (lambda: McShaneWhitney([[0.0]], [np.inf]), ValueError, r"values\[0\] must be finite"),
        (lambda: McShaneWhitney([[0.0]], [0.0])([0.0, 1.0]), ValueError, r"x must have shape \(\.\.\., 1\)"),
        (lambda: McShaneWhitneyRows([[0.0]], [[0.4, 0.4]]), ValueError, r"rows\[0\] must be probabilities"),
        (lambda: Kirszbraun([[0.0]], [0.0]), ValueError, r"values must have shape \(1, D\)"),
        (lambda: interpolate_counts([1.0], 0.5), ValueError, "values must hold"),
        (lambda: interpolate_counts([1.0, 0.0], 1.5), ValueError, r"share must hold numbers in \[0, 1\], got 1.5"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
