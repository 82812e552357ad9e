"""The fixed point: optimality against brute force, residuals, warnings, and where it starts."""

import warnings

import numpy as np
import pytest
from continuous_games import LINE, gaussian, walk, walks

from baselines.continuous.hjb_fokker_planck import (
    AgentType,
    BoundaryWarning,
    ContinuousGame,
    ConvergenceWarning,
    Equilibrium,
    Grid,
    Settings,
    solve,
)

GRID = Grid(low=-2.5, high=2.5, n_cells=50, n_steps=20)


def crossing(aversion: float, congestion: float = 0.0) -> ContinuousGame:
    """Two crowds that change places: u^2 / 2 * (1 + congestion * density)^(3/2) + aversion * density."""

    def weight(field):
        return (1.0 + congestion * field.density) ** 1.5

    def crowd(name: str, start: float) -> AgentType:
        return AgentType(
            name=name,
            weight=0.5,
            drift=lambda t, x, u, field: u,
            diffusion=lambda t, x: 0.6,
            running_cost=lambda t, x, u, field: 0.5 * u * u * weight(field) + aversion * field.density,
            terminal_cost=lambda x, field: 2.0 * (x + start) ** 2,
            controls=LINE,
            initial_density=gaussian(start, 0.05),
            minimiser=lambda t, x, p, field: -p / weight(field),
        )

    return ContinuousGame(types=[crowd("left", -0.5), crowd("right", 0.5)], horizon=1.0)


def discrete_costs(found: Equilibrium, index: int, controls: np.ndarray, is_upwind: bool) -> float:
    """Expected cost of a type's controls (n_steps, n_cells) against the densities of ``found``, by dense matrices.

    For games with drift u and the costs of :func:`crossing` without congestion, at aversion 3.
    """
    grid, dt = found.grid, found.t[1]
    width, half = grid.width, 0.18
    total = 0.5 * found.densities.sum(axis=0)
    value = 2.0 * (found.x + (-0.5, 0.5)[index]) ** 2
    for n in reversed(range(grid.n_steps)):
        u = controls[n]
        diffusion = half + abs(u) * width / 2 if is_upwind else np.maximum(half, abs(u) * width / 2)
        up, down = diffusion / width**2 + u / (2 * width), diffusion / width**2 - u / (2 * width)
        up[-1] = down[0] = 0.0
        matrix = np.diag(1.0 + dt * (up + down)) - dt * np.diag(up[:-1], 1) - dt * np.diag(down[1:], -1)
        value = np.linalg.solve(matrix, value + dt * (0.5 * u * u + 3.0 * total[n + 1]))
    return float(found.densities[index, 0] @ value * width)


@pytest.mark.parametrize("scheme", ["hybrid", "upwind"])
def test_no_deviation_from_the_equilibrium_pays(scheme) -> None:
    found = solve(crossing(3.0), GRID, Settings(scheme=scheme, tolerance=1e-9))
    assert found.converged
    rng = np.random.default_rng(4)
    for index in range(2):
        own = found.controls[index, :-1]
        assert discrete_costs(found, index, own, scheme == "upwind") == pytest.approx(
            found.costs[index], abs=1e-10
        )
        for size in (0.01, 0.1, 1.0):
            for _ in range(10):
                other = own + size * rng.normal(size=own.shape)
                assert discrete_costs(found, index, other, scheme == "upwind") > found.costs[index]
    assert (np.abs(found.exploitability) < 1e-9).all()


def test_exploitability_is_what_a_best_response_gains() -> None:
    """One iteration answers the first guess only; here the flow that this makes is answered too."""
    with pytest.warns(ConvergenceWarning):
        found = solve(crossing(3.0), GRID, Settings(max_iterations=1))
    assert (found.exploitability > 0.01).all()
    answer = solve(without_interaction(found), GRID)
    for index in range(2):
        least = discrete_costs(found, index, answer.controls[index, :-1], is_upwind=False)
        assert found.costs[index] - least == pytest.approx(found.exploitability[index], rel=1e-6)


def without_interaction(found: Equilibrium) -> ContinuousGame:
    """The decision problems against the densities of ``found``, as a game without interaction."""
    dt = found.t[1]

    def aversion(t: np.ndarray) -> np.ndarray:
        return 3.0 * 0.5 * found.densities.sum(axis=0)[np.rint(t[:, 0] / dt).astype(int) + 1]

    types = [
        AgentType(
            name=kind.name,
            weight=0.5,
            drift=kind.drift,
            diffusion=kind.diffusion,
            running_cost=lambda t, x, u, field: 0.5 * u * u + aversion(t),
            terminal_cost=kind.terminal_cost,
            controls=LINE,
            initial_density=kind.initial_density,
            minimiser=lambda t, x, p, field: -p,
        )
        for kind in found.game.types
    ]
    return ContinuousGame(types=types, horizon=1.0)


@pytest.mark.parametrize(("aversion", "congestion"), [(10.0, 0.0), (0.0, 5.0), (2.0, 1.0)])
def test_crowds_that_change_places_are_mirror_images(aversion, congestion) -> None:
    found = solve(crossing(aversion, congestion), GRID)
    assert found.converged
    assert found.density_residuals[-1] <= 1e-7
    np.testing.assert_allclose(found.densities[0], found.densities[1, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(found.costs[0], found.costs[1], atol=1e-6)
    assert (found.densities >= 0.0).all()
    assert found.mass_error < 1e-12
    without = solve(crossing(0.0), GRID)
    assert (found.costs > without.costs).all()


def test_acceleration_and_plain_damping_find_the_same() -> None:
    accelerated = solve(crossing(10.0), GRID)
    damped = solve(crossing(10.0), GRID, Settings(memory=0, damping=0.5))
    assert accelerated.converged
    assert damped.converged
    np.testing.assert_allclose(accelerated.densities, damped.densities, atol=1e-5)
    assert accelerated.n_iterations < damped.n_iterations


def test_an_undamped_iteration_without_shorter_steps_would_not_converge(monkeypatch) -> None:
    """The damping does something: at steps of 1 the residual stays large."""
    monkeypatch.setattr("baselines.continuous.hjb_fokker_planck.mixing.SHORTER", 1.0)
    with pytest.warns(ConvergenceWarning):
        found = solve(crossing(10.0), GRID, Settings(memory=0, max_iterations=40))
    assert found.density_residuals[-1] > 0.1


def test_the_result_says_that_it_did_not_converge() -> None:
    with pytest.warns(ConvergenceWarning, match=r"after 3 iterations: the residuals are .* \(densities\)"):
        found = solve(crossing(3.0), GRID, Settings(max_iterations=3))
    assert not found.converged
    assert found.n_iterations == 3
    assert found.density_residuals[-1] > 1e-7
    assert found.value_residuals[0] == np.inf
    assert found.mass_error < 1e-12


def test_policy_iteration_that_is_cut_short_is_not_called_converged() -> None:
    with pytest.warns(ConvergenceWarning):
        found = solve(walks(), GRID, Settings(max_policy_iterations=1, max_iterations=2))
    assert not found.converged


@pytest.mark.parametrize("method", ["fixed-point", "fictitious-play"])
def test_responses_that_are_not_optimal_are_not_called_converged(method, monkeypatch) -> None:
    def respond(self, field, start, tolerance):
        return start._replace(gap=1.0)

    monkeypatch.setattr("baselines.continuous.hjb_fokker_planck.best_response.ControlProblem.respond", respond)
    with pytest.warns(ConvergenceWarning):
        found = solve(walks(), GRID, Settings(method=method, max_iterations=5))
    assert max(found.density_residuals[-1], found.value_residuals[-1]) < 1e-7
    assert not found.converged


def test_the_terminal_cost_sees_the_laws_at_the_horizon() -> None:
    """All are drawn to the final mean; they drift at speed 1 whatever they do, so it is 1/2 at time 1/2."""
    seen = []

    def terminal_cost(x, field):
        seen.append(field)
        return 0.5 * (x - field.mean) ** 2

    found = solve(walks(drift=lambda t, x, u, field: u + 1.0, terminal_cost=terminal_cost), GRID)
    np.testing.assert_allclose(seen[-1].means[:, 0, 0], found.means[:, -1], atol=1e-12)
    np.testing.assert_array_equal(seen[-1].densities[:, 0], found.densities[:, -1])
    np.testing.assert_allclose(found.values[0, -1], 0.5 * (found.x - found.mean[-1]) ** 2, atol=1e-12)
    assert found.mean[-1] == pytest.approx(0.5, abs=0.02)


def test_controls_at_the_horizon_answer_the_terminal_cost() -> None:
    """The minimiser of u^2 / 2 + u x; central differences of x^2 / 2 are exact."""
    found = solve(walks(), GRID)
    middle = np.abs(found.x) < 1.0
    np.testing.assert_allclose(found.controls[0, -1, middle], -found.x[middle], atol=1e-12)


def test_a_start_at_the_equilibrium_needs_two_iterations_and_finds_it_again() -> None:
    first = solve(crossing(3.0), GRID)
    again = solve(crossing(3.0), GRID, start=first)
    assert again.n_iterations == 2 < first.n_iterations
    np.testing.assert_allclose(again.densities, first.densities, atol=1e-6)
    finer = solve(crossing(3.0), Grid(low=-2.5, high=2.5, n_cells=60, n_steps=30), start=first)
    assert finer.converged


def test_agents_at_the_walls_are_warned_of_unless_the_walls_are_meant() -> None:
    push = {"drift": lambda t, x, u, field: u + 3.0 + 0.0 * x}
    with pytest.warns(BoundaryWarning, match=r"agents of type 'walker' .* \[-2.5, 2.5\]"):
        solve(walks(**push), GRID)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(walks(**push), GRID, Settings(boundary_mass=1.0))
        solve(walks(), GRID)


@pytest.mark.parametrize("scheme", ["hybrid", "upwind"])
def test_a_drift_that_is_not_affine_in_the_control(scheme) -> None:
    """The control u with w = u + u^3 gives the same game as the control w. Slopes jump where the goal is."""

    def root(w):
        return 2.0 / np.sqrt(3.0) * np.sinh(np.arcsinh(1.5 * np.sqrt(3.0) * w) / 3.0)

    plain = walks(
        diffusion=lambda t, x: 0.2,
        drift=lambda t, x, w, field: w + 0.5,
        running_cost=lambda t, x, w, field: 0.5 * w**2,
        terminal_cost=lambda x, field: 5.0 * np.abs(x - 0.22),
        controls=LINE,
    )
    curved = walks(
        diffusion=lambda t, x: 0.2,
        drift=lambda t, x, u, field: u + u**3 + 0.5,
        running_cost=lambda t, x, u, field: 0.5 * (u + u**3) ** 2,
        terminal_cost=lambda x, field: 5.0 * np.abs(x - 0.22),
        controls=LINE,
        minimiser=lambda t, x, p, field: root(-p),
    )
    one, other = (solve(game, GRID, Settings(scheme=scheme)) for game in (plain, curved))
    np.testing.assert_allclose(other.values, one.values, atol=1e-10)
    np.testing.assert_allclose(other.controls + other.controls**3, one.controls, atol=1e-6)


def test_control_bounds_hold_and_matter() -> None:
    bounded = solve(walks(controls=(-0.1, 0.1), initial_density=gaussian(0.8, 0.02)), GRID)
    free = solve(walks(initial_density=gaussian(0.8, 0.02)), GRID)
    assert np.abs(bounded.controls).max() == 0.1
    assert bounded.costs[0] > free.costs[0]
    fixed = solve(walks(controls=(0.5, 0.5), minimiser=None), GRID, Settings(boundary_mass=1.0))
    assert (fixed.controls == 0.5).all()
    np.testing.assert_allclose(np.diff(fixed.means[0]) / fixed.t[1], 0.5, rtol=1e-3)


def test_functions_see_their_own_type_and_the_population() -> None:
    seen = {}

    def cost(name):
        def running_cost(t, x, u, field):
            seen[name] = field
            return 0.5 * u * u + field.mean + 0.0 * field.own_density

        return running_cost

    types = [
        walk(name=name, weight=weight, running_cost=cost(name), initial_density=gaussian(mean, 0.05))
        for name, weight, mean in (("few", 0.25, -0.4), ("many", 0.75, 0.4))
    ]
    found = solve(ContinuousGame(types=types, horizon=0.5), GRID)
    field = seen["many"]
    n_times = field.densities.shape[1]
    assert field.own_density.base is not None
    np.testing.assert_array_equal(field.own_density, field.density_of("many"))
    np.testing.assert_array_equal(seen["few"].own_density, seen["few"].density_of("few"))
    np.testing.assert_allclose(field.means[:, 0, 0], field.densities[:, 0] @ found.x * GRID.width)
    np.testing.assert_allclose(field.mean, 0.25 * field.means[0] + 0.75 * field.means[1])
    np.testing.assert_array_equal(field.own_mean, field.means[1])
    np.testing.assert_allclose(field.density, 0.25 * field.densities[0] + 0.75 * field.densities[1])
    np.testing.assert_allclose(field.expectation(np.ones(50)), np.ones((n_times, 1)))
    np.testing.assert_allclose(field.expectation(found.x), field.mean)
    np.testing.assert_allclose(
        field.expectations(found.x**2)[0], (field.densities[0] @ found.x**2)[:, None] * GRID.width
    )
    with pytest.raises(ValueError, match="name must be one of 'few', 'many', got 'all'"):
        field.density_of("all")
    with pytest.raises(ValueError, match="read-only"):
        field.densities[0, 0, 0] = 1.0
