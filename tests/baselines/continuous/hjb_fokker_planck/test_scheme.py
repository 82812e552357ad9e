"""The compiled equations against dense matrices that are put together from the scheme's definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.continuous.hjb_fokker_planck.scheme import hamiltonians, solve_backward, solve_forward, take_best


def generator(drift: np.ndarray, half_variance: np.ndarray, width: float, is_upwind: bool) -> np.ndarray:
    """Rates between cells, from central differences plus diffusion, or from one-sided differences."""
    n = len(drift)
    rates = np.zeros((n, n))
    for i in range(n):
        b, h = drift[i], half_variance[i]
        is_central = not is_upwind and abs(b) * width <= 2 * h
        up = h / width**2 + b / (2 * width) if is_central else max(b, 0) / width
        down = h / width**2 - b / (2 * width) if is_central else max(-b, 0) / width
        if is_upwind:
            up, down = up + h / width**2, down + h / width**2
        if i + 1 < n:
            rates[i, i + 1] = up
        if i > 0:
            rates[i, i - 1] = down
        rates[i, i] = -rates[i].sum()
    return rates


def problem(n_steps: int, n_cells: int, seed: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    drift = size * rng.normal(size=(n_steps, n_cells))
    return drift, rng.normal(size=drift.shape), size * rng.uniform(size=drift.shape) ** 4


def backward(drift, cost, half, width, dt, is_upwind, last) -> np.ndarray:
    value = np.vstack([np.zeros_like(drift), last])
    solve_backward(drift, cost, half, width, dt, is_upwind, value, np.empty(drift.shape[1]))
    return value


def forward(drift, half, width, dt, is_upwind, first) -> np.ndarray:
    density = np.vstack([first, np.zeros_like(drift)])
    solve_forward(drift, half, width, dt, is_upwind, density, np.empty(drift.shape[1]))
    return density


@pytest.mark.parametrize("is_upwind", [True, False])
@pytest.mark.parametrize("n_cells", [3, 8])
def test_steps_solve_the_implicit_equations(is_upwind, n_cells) -> None:
    drift, cost, half = problem(5, n_cells, seed=1)
    width, dt = 0.3, 0.2
    last, first = np.arange(n_cells) ** 2.0, np.linspace(1.0, 2.0, n_cells)
    value = backward(drift, cost, half, width, dt, is_upwind, last)
    density = forward(drift, half, width, dt, is_upwind, first)
    np.testing.assert_array_equal(value[-1], last)
    np.testing.assert_array_equal(density[0], first)
    for n in range(5):
        matrix = np.eye(n_cells) - dt * generator(drift[n], half[n], width, is_upwind)
        np.testing.assert_allclose(matrix @ value[n], value[n + 1] + dt * cost[n], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(matrix.T @ density[n + 1], density[n], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("is_upwind", [True, False])
def test_hamiltonians_are_cost_plus_generator(is_upwind) -> None:
    drift, cost, half = problem(4, 6, seed=2)
    value = np.random.default_rng(3).normal(size=(4, 6))
    found = np.empty((1, 4, 6))
    hamiltonians(drift[None], cost[None], half, value, 0.4, is_upwind, found)
    for n in range(4):
        exact = cost[n] + generator(drift[n], half[n], 0.4, is_upwind) @ value[n]
        np.testing.assert_allclose(found[0, n], exact, rtol=1e-12, atol=1e-12)


def test_the_best_candidate_is_taken_where_it_is_better_and_none_in_a_tie() -> None:
    """Without drift and diffusion the Hamiltonian is the cost."""
    costs = np.array([[[3.0, 1.0, 5.0]], [[2.0, 4.0, 5.0]]])
    controls = np.array([[[30.0, 10.0, 50.0]], [[20.0, 40.0, 50.0]]])
    control, drift, cost = np.full((1, 3), 7.0), np.zeros((1, 3)), np.array([[4.0, 4.0, 5.0]])
    candidates = controls, np.zeros((2, 1, 3)), costs
    gain = take_best(*candidates, np.zeros((1, 3)), np.zeros((1, 3)), 1.0, True, control, drift, cost)
    assert gain == 3.0
    assert control.tolist() == [[20.0, 10.0, 7.0]]
    assert cost.tolist() == [[2.0, 1.0, 5.0]]


cases = {
    "seed": st.integers(0, 2**32),
    "n_cells": st.integers(3, 40),
    "size": st.sampled_from([1e-6, 1.0, 1e3, 1e8]),
    "dt": st.sampled_from([1e-4, 0.1, 50.0]),
    "is_upwind": st.booleans(),
}


@given(**cases)
@settings(max_examples=60)
def test_mass_is_conserved_and_densities_are_not_negative_for_any_step(seed, n_cells, size, dt, is_upwind) -> None:
    drift, _, half = problem(20, n_cells, seed, size)
    first = np.random.default_rng(seed + 1).exponential(size=n_cells) * (np.arange(n_cells) % 3 > 0)
    density = forward(drift, half, 0.1, dt, is_upwind, first / first.sum())
    assert (density >= 0.0).all()
    assert np.abs(density.sum(axis=1) - 1.0).max() < 1e-12


@given(**cases)
@settings(max_examples=60)
def test_values_lie_between_the_bounds_of_the_costs(seed, n_cells, size, dt, is_upwind) -> None:
    """The comparison principle: v is an expectation, and it increases with the costs."""
    drift, cost, half = problem(20, n_cells, seed, size)
    last = np.random.default_rng(seed + 1).normal(size=n_cells)
    value = backward(drift, cost, half, 0.1, dt, is_upwind, last)
    left = dt * np.arange(20, -1, -1)[:, None]
    slack = 1e-12 * (1.0 + 20 * dt * np.abs(cost).max())
    assert (value <= last.max() + left * cost.max() + slack).all()
    assert (value >= last.min() + left * cost.min() - slack).all()
    higher = backward(drift, cost + (cost > 1.0), half, 0.1, dt, is_upwind, last)
    assert (higher >= value - slack).all()


@given(seed=st.integers(0, 2**32), is_upwind=st.booleans())
@settings(max_examples=20)
def test_forward_is_the_adjoint_of_backward(seed, is_upwind) -> None:
    """The expected cost is the same by the value function and by the densities, to rounding."""
    drift, cost, half = problem(30, 25, seed)
    rng = np.random.default_rng(seed + 1)
    last, first = rng.normal(size=25), rng.dirichlet(np.ones(25))
    value = backward(drift, cost, half, 0.1, 0.05, is_upwind, last)
    density = forward(drift, half, 0.1, 0.05, is_upwind, first)
    paid = 0.05 * (density[1:] * cost).sum() + density[-1] @ last
    assert abs(first @ value[0] - paid) < 1e-12
