"""The linear-quadratic game against its closed form, from scipy's solver of boundary-value problems."""

import itertools

import numpy as np
import pytest
from continuous_games import LinearQuadratic
from scipy.interpolate import CubicSpline

from baselines.continuous.hjb_fokker_planck import ConvergenceWarning, Equilibrium, Grid, Settings, solve

DEFAULT = LinearQuadratic()
THREE_TYPES = LinearQuadratic(
    weight=(0.5, 0.2, 0.3),
    a=(0.1, -0.4, 0.0),
    b=(1.0, 0.7, 1.5),
    kappa=(-0.3, 0.2, 0.1),
    sigma=(0.5, 0.4, 0.7),
    q=(0.5, 1.5, 1.0),
    r=(0.8, 1.0, 1.2),
    s=(0.4, 0.0, -0.2),
    q_final=(1.0, 0.2, 0.6),
    mean=(0.5, -0.8, 0.9),
    variance=(0.1, 0.2, 0.05),
    horizon=1.5,
)


def errors(case: LinearQuadratic, found: Equilibrium) -> np.ndarray:
    """Errors of the costs, the values at the first means, and the paths of means; shape (3, n_types)."""
    p, xi, zeta, means = case.closed_form(found.t)
    first = np.array(case.mean)
    exact = 0.5 * p[:, 0] * first**2 + xi[:, 0] * first + zeta[:, 0]
    at_means = [CubicSpline(found.x, values[0])(m) for m, values in zip(first, found.values, strict=True)]
    return np.abs([found.costs - case.costs(), at_means - exact, np.abs(found.means - means).max(axis=1)])


def test_the_oracle_has_the_known_answer() -> None:
    p, xi, *_ = DEFAULT.closed_form(np.zeros(1))
    np.testing.assert_allclose(p[:, 0], [0.813406, 0.493481], atol=5e-7)
    np.testing.assert_allclose(xi[:, 0], [0.1159375, 0.0713902], atol=5e-8)
    np.testing.assert_allclose(DEFAULT.costs(), [0.67853438, 0.24482372], atol=5e-9)


@pytest.mark.parametrize(
    ("case", "scheme", "sizes", "largest"),
    [
        (DEFAULT, "upwind", (50, 100, 200), 0.02),
        (THREE_TYPES, "upwind", (50, 100, 200), 0.03),
        (DEFAULT, "hybrid", (100, 200, 400), 0.001),
    ],
)
def test_the_error_is_of_first_order_in_cells_and_steps(case, scheme, sizes, largest) -> None:
    found = [
        errors(case, solve(case.game(), Grid(low=-4, high=4, n_cells=n, n_steps=n), Settings(scheme=scheme)))
        for n in sizes
    ]
    for coarse, fine in itertools.pairwise(found):
        orders = np.log2(coarse / fine)
        assert (orders > 0.8).all(), orders
        assert (orders < 1.3).all(), orders
    assert found[-1].max() < largest


def test_the_control_is_the_riccati_feedback() -> None:
    found = solve(DEFAULT.game(), Grid(low=-4, high=4, n_cells=200, n_steps=200))
    p, xi, *_ = DEFAULT.closed_form(found.t)
    gain = np.array(DEFAULT.b) / np.array(DEFAULT.r)
    exact = -gain[:, None, None] * (p[..., None] * found.x + xi[..., None])
    middle = np.abs(found.x) < 2.0
    np.testing.assert_allclose(found.controls[..., middle], exact[..., middle], atol=0.02)


@pytest.mark.parametrize("scheme", ["hybrid", "upwind"])
def test_controls_that_are_searched_are_those_of_the_minimiser(scheme) -> None:
    grid, settings = Grid(low=-4, high=4, n_cells=50, n_steps=25), Settings(scheme=scheme, tolerance=1e-9)
    exact = solve(DEFAULT.game(), grid, settings)
    searched = solve(DEFAULT.game((-9.0, 9.0)), grid, settings)
    np.testing.assert_allclose(searched.values, exact.values, atol=1e-9)
    # The Hamiltonian is flat at its minimum: 1e-16 in it is 1e-8 in the control, and more where it is large.
    np.testing.assert_allclose(searched.controls, exact.controls, atol=1e-5)


def test_the_estimate_from_two_grids_is_the_error() -> None:
    grid = Grid(low=-4, high=4, n_cells=200, n_steps=200)
    found = solve(DEFAULT.game(), grid, Settings(scheme="upwind"), estimate_error=True)
    costs, _, means = errors(DEFAULT, found)
    np.testing.assert_allclose(found.error.costs, costs, rtol=0.05)
    np.testing.assert_allclose(found.error.means, means, rtol=0.1)
    np.testing.assert_allclose(found.error.extrapolated_costs, DEFAULT.costs(), atol=2e-4)
    p, xi, zeta, _ = DEFAULT.closed_form(found.t)
    exact = 0.5 * p[..., None] * found.x**2 + xi[..., None] * found.x + zeta[..., None]
    weighted = (np.abs(found.values - exact) * found.densities).sum(axis=-1).max(axis=1) * grid.width
    np.testing.assert_allclose(found.error.values, weighted, rtol=0.1)
    assert (found.error.densities > 0.0).all()


def test_a_coarse_grid_on_which_the_iteration_gives_up_is_warned_of() -> None:
    grid = Grid(low=-4, high=4, n_cells=60, n_steps=60)
    with pytest.warns(ConvergenceWarning, match="on 30 cells and 30 steps the equilibrium is not reached"):
        solve(DEFAULT.game(), grid, Settings(max_iterations=6), estimate_error=True)


def test_an_estimate_starts_from_the_coarse_grid_and_finds_the_same() -> None:
    grid = Grid(low=-4, high=4, n_cells=60, n_steps=60)
    plain, estimated = solve(DEFAULT.game(), grid), solve(DEFAULT.game(), grid, estimate_error=True)
    assert estimated.converged
    assert estimated.n_iterations < plain.n_iterations
    np.testing.assert_allclose(estimated.densities, plain.densities, atol=1e-6)
    assert plain.error is None
