"""Fictitious play, where it is needed and where it is not."""

import numpy as np
import pytest
from continuous_games import HeatBetweenWalls, gaussian, walk

from baselines.continuous.hjb_fokker_planck import ContinuousGame, ConvergenceWarning, Grid, Settings, solve
from baselines.continuous.hjb_fokker_planck.best_response import ControlProblem
from baselines.continuous.hjb_fokker_planck.fictitious_play import _average
from baselines.continuous.hjb_fokker_planck.functions import GridFunctions

GRID = Grid(low=-2, high=2, n_cells=50, n_steps=25)


def queue() -> ContinuousGame:
    """Moving at a speed of at most 1 is free, being away from 0 is not, and neither is being in a crowd.

    Best responses are at full speed, but in the equilibrium agents also wait where neither way is better.
    """
    kind = walk(
        diffusion=lambda t, x: 0.1,
        running_cost=lambda t, x, u, field: np.abs(x) + 0.3 * field.density,
        terminal_cost=lambda x, field: 0.0,
        controls=(-1.0, 1.0),
        minimiser=lambda t, x, p, field: -np.sign(p),
        initial_density=gaussian(0.6, 0.02),
    )
    return ContinuousGame(types=[kind], horizon=1.0)


@pytest.mark.filterwarnings("ignore::baselines.continuous.hjb_fokker_planck.ConvergenceWarning")
def test_controls_that_jump_are_averaged_until_little_is_gained_by_deviating() -> None:
    fixed_point = solve(queue(), GRID, Settings(max_iterations=100))
    assert not fixed_point.converged
    assert fixed_point.exploitability[0] > 0.05
    short, long = (
        solve(queue(), GRID, Settings(method="fictitious-play", max_iterations=n, tolerance=1e-9))
        for n in (10, 100)
    )
    assert 0.0 < long.exploitability[0] < 0.01
    assert long.exploitability[0] < 0.2 * short.exploitability[0]
    assert not long.converged
    assert long.mass_error < 1e-12
    assert np.abs(long.controls).max() <= 1.0
    assert (np.abs(long.controls) < 0.5).any()
    np.testing.assert_allclose(long.value_residuals[-1], long.exploitability[0] / (1.0 + long.costs[0]), rtol=1e-6)


def test_it_stops_at_the_tolerance_and_finds_the_known_solution() -> None:
    case = HeatBetweenWalls(coupling=2.0)
    grid = Grid(low=0, high=1, n_cells=40, n_steps=40)
    settings = Settings(method="fictitious-play", tolerance=1e-4, boundary_mass=1.0)
    found = solve(case.game(), grid, settings)
    assert found.converged
    assert found.value_residuals[-1] <= 1e-4 < found.value_residuals[-2]
    assert (found.exploitability <= 1e-4 * (1.0 + np.abs(found.costs))).all()
    assert np.abs(found.densities[0] - case.density(found.t[:, None], found.x)).max() < 0.05
    exact = solve(case.game(), grid, Settings(boundary_mass=1.0))
    np.testing.assert_allclose(found.costs, exact.costs, atol=0.002)


def test_drifts_that_see_the_law_are_made_consistent() -> None:
    kind = walk(drift=lambda t, x, u, field: u + field.mean, initial_density=gaussian(0.5, 0.05))
    game = ContinuousGame(types=[kind], horizon=0.5)
    found = solve(game, GRID, Settings(method="fictitious-play", tolerance=1e-5))
    assert found.converged
    assert found.density_residuals[-1] <= 1e-5
    assert found.density_residuals[0] > 1e-3
    exact = solve(game, GRID)
    np.testing.assert_allclose(found.means, exact.means, atol=0.005)


def test_it_warns_when_it_gives_up() -> None:
    with pytest.warns(ConvergenceWarning, match="after 3 iterations"):
        found = solve(queue(), GRID, Settings(method="fictitious-play", max_iterations=3))
    assert found.n_iterations == 3


def test_averages_are_weighted_by_the_agents_that_are_there() -> None:
    """A quarter of the step with three times the agents counts as much; where nobody is, the response counts."""
    flow, other_flow = np.array([[9.0, 9.0, 9.0], [1.0, 2.0, 0.0]]), np.array([[9.0, 9.0, 9.0], [3.0, 0.0, 0.0]])
    average = _average(0.25, flow, np.array([[1.0, 1.0, 1.0]]), other_flow, np.array([[5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(average, [[3.0, 1.0, 5.0]])


def test_the_average_of_controls_makes_the_average_of_the_flows() -> None:
    """The drift is the control, and diffusion is so strong that there is no numerical diffusion."""
    functions = GridFunctions(walk(), 0, GRID, horizon=1.0)
    problem = ControlProblem(functions, Settings())
    controls = [np.full((25, 50), 0.8), np.broadcast_to(-np.sin(functions.x), (25, 50)).copy()]
    flows = [problem.forward(control) for control in controls]
    average = _average(0.3, flows[0], controls[0], flows[1], controls[1])
    np.testing.assert_allclose(problem.forward(average), 0.7 * flows[0] + 0.3 * flows[1], rtol=1e-10, atol=1e-14)
