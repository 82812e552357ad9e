"""Games that are not linear-quadratic, whose solutions are known."""

import numpy as np
import pytest
from continuous_games import LINE, HeatBetweenWalls, gaussian

from baselines.continuous.hjb_fokker_planck import AgentType, ContinuousGame, Grid, Settings, solve


@pytest.mark.parametrize("scheme", ["hybrid", "upwind"])
@pytest.mark.parametrize("coupling", [0.0, 2.0])
def test_agents_between_walls_by_the_transform_of_cole_and_hopf(scheme, coupling) -> None:
    case = HeatBetweenWalls(coupling=coupling)
    distances = []
    for n in (20, 40, 80):
        found = solve(
            case.game(), Grid(low=0, high=1, n_cells=n, n_steps=n), Settings(scheme=scheme, boundary_mass=1.0)
        )
        assert found.converged
        times = found.t[:, None]
        value, density = (
            np.abs(computed[0] - exact(times, found.x)).max()
            for computed, exact in ((found.values, case.value), (found.densities, case.density))
        )
        distances.append((value, density))
    orders = np.log2(np.array(distances[:-1]) / distances[1:])
    assert (orders > 0.8).all()
    assert (orders < 1.2).all()
    assert distances[-1][0] < 0.003
    assert distances[-1][1] < 0.015


def stationary_crowd(aversion: float, q: float, sigma: float) -> tuple[ContinuousGame, float, float, float]:
    """Cost u^2 / 2 + q x^2 / 2 + aversion * log(density): a Gaussian crowd that stays as it is.

    With v = P x^2 / 2 + zeta (T - t) the density is stationary if 2 P variance = sigma^2, and so is the Riccati
    equation if P^2 = q - aversion / variance. Returns the game, P, the variance and zeta.
    """
    p = -aversion / sigma**2 + np.sqrt(aversion**2 / sigma**4 + q)
    variance = sigma**2 / (2 * p)
    kind = AgentType(
        name="agent",
        weight=1.0,
        drift=lambda t, x, u, field: u,
        diffusion=lambda t, x: sigma,
        running_cost=lambda t, x, u, field: 0.5 * (u**2 + q * x**2) + aversion * np.log(field.density),
        terminal_cost=lambda x, field: 0.5 * p * x**2,
        controls=LINE,
        initial_density=gaussian(0.0, variance),
        minimiser=lambda t, x, p, field: -p,
    )
    zeta = sigma**2 * p / 2 - aversion * np.log(2 * np.pi * variance) / 2
    return ContinuousGame(types=[kind], horizon=1.0), p, variance, zeta


@pytest.mark.parametrize(("scheme", "order"), [("upwind", 1.0), ("hybrid", 2.0)])
def test_a_crowd_averse_population_stays_gaussian_and_the_schemes_have_their_order_in_space(scheme, order) -> None:
    game, p, variance, zeta = stationary_crowd(aversion=0.5, q=1.0, sigma=0.6)
    edge = 6.0 * np.sqrt(variance)
    distances = []
    for n in (25, 50, 100):
        found = solve(game, Grid(low=-edge, high=edge, n_cells=n, n_steps=40), Settings(scheme=scheme))
        moved = np.abs(found.densities - found.densities[:, :1]).sum(axis=-1).max() * found.grid.width
        distances.append((moved, abs(found.costs[0] - 0.5 * p * variance - zeta)))
    orders = np.log2(np.array(distances[:-1]) / distances[1:])
    np.testing.assert_allclose(orders, order, atol=0.3)


def test_agents_without_noise_follow_the_optimal_lines() -> None:
    """Cost u^2 / 2 and then x^2 / 2: v = x^2 / (2 (1 + T - t)), and all states shrink by 1 / (1 + T)."""
    errors = []
    for n in (100, 200, 400):
        kind = AgentType(
            name="agent",
            weight=1.0,
            drift=lambda t, x, u, field: u,
            diffusion=lambda t, x: 0.0,
            running_cost=lambda t, x, u, field: 0.5 * u**2,
            terminal_cost=lambda x, field: 0.5 * x**2,
            controls=LINE,
            initial_density=gaussian(1.0, 0.04),
            minimiser=lambda t, x, p, field: -p,
        )
        found = solve(ContinuousGame(types=[kind], horizon=1.0), Grid(low=-1, high=3, n_cells=n, n_steps=n))
        errors.append((abs(found.costs[0] - (1.0 + 0.04) / 4), abs(found.means[0, -1] - 0.5)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 0.8).all(), orders
    assert max(errors[-1]) < 0.005
