"""Every wrong argument, and everything wrong that a game's function returns, is named."""

import dataclasses

import numpy as np
import pytest
from continuous_games import LINE, gaussian, walk, walks

from baselines.continuous.hjb_fokker_planck import ContinuousGame, Grid, Settings, solve

GRID = Grid(low=-2, high=2, n_cells=8, n_steps=4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": 3}, TypeError, "name must be a text, got 3"),
        ({"weight": 0.0}, ValueError, r"weight of type 'walker' must be a finite number in \(0, 1\], got 0.0"),
        ({"drift": 1.0}, TypeError, "drift of type 'walker' must be a function, got 1.0"),
        ({"terminal_cost": None}, TypeError, "terminal_cost of type 'walker' must be a function, got None"),
        ({"minimiser": 2}, TypeError, "minimiser of type 'walker' must be a function, got 2"),
        ({"controls": (2.0, -1.0)}, ValueError, r"controls .* with low <= high, got \(2.0, -1.0\)"),
        ({"controls": (np.nan, 1.0)}, ValueError, "controls of type 'walker' must be a finite number"),
        (
            {"controls": (1.0,)},
            ValueError,
            r"controls of type 'walker' must be a pair \(low, high\), got \(1.0,\)",
        ),
        ({"controls": 3.0}, TypeError, r"controls of type 'walker' must be a pair \(low, high\), got 3.0"),
        ({"controls": (np.inf, np.inf)}, ValueError, "controls of type 'walker' must be a pair"),
        ({"controls": LINE, "minimiser": None}, ValueError, "must be bounded unless a minimiser is given"),
    ],
)
def test_wrong_types_of_agents(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        walk(**changes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"types": []}, ValueError, "types must be one type or more with different names"),
        ({"types": [walk(weight=0.5), walk(weight=0.5)]}, ValueError, "with different names, got the names"),
        ({"types": [walk(weight=0.5)]}, ValueError, r"the weights of the types must sum to 1, got \[0.5\]: 0.5"),
        ({"types": walk()}, TypeError, "types must be a list of AgentType"),
        ({"types": [3]}, TypeError, "types must be a list of AgentType, got 3 in it"),
        ({"horizon": 0.0}, ValueError, "horizon must be a finite number"),
        ({"horizon": np.inf}, ValueError, "horizon must be a finite number"),
    ],
)
def test_wrong_games(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        ContinuousGame(**{"types": [walk()], "horizon": 1.0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_cells": 2}, ValueError, "n_cells must be an integer >= 3, got 2"),
        ({"n_steps": 1}, ValueError, "n_steps must be an integer >= 2, got 1"),
        ({"n_cells": 10.0}, TypeError, "n_cells must be an integer >= 3, got 10.0"),
        ({"high": -2.0}, ValueError, r"high must be a finite number in \(-2, inf\), got -2.0"),
        ({"low": np.nan}, ValueError, "low must be a finite number"),
    ],
)
def test_wrong_grids(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        Grid(**{"low": -2.0, "high": 2.0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "central"}, "scheme must be one of 'hybrid', 'upwind', got 'central'"),
        ({"method": "newton"}, "method must be one of 'fixed-point', 'fictitious-play', got 'newton'"),
        ({"tolerance": 0.0}, "tolerance must be a finite number"),
        ({"max_iterations": 0}, "max_iterations must be an integer >= 1, got 0"),
        ({"damping": 1.5}, "damping must be a finite number in"),
        ({"memory": -1}, "memory must be an integer in"),
        ({"max_policy_iterations": 0}, "max_policy_iterations must be an integer >= 1"),
        ({"n_controls": 2}, "n_controls must be an integer >= 3"),
        ({"control_precision": 0.0}, "control_precision must be a finite number"),
        ({"boundary_mass": -1.0}, "boundary_mass must be a finite number"),
    ],
)
def test_wrong_settings(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**arguments)


def late(value: float):
    """A function of time and more that returns ``value`` after time 0.3 and elsewhere zeros."""
    return lambda t, *others: np.where((t > 0.3) & (others[0] > 1.0), value, 0.0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"diffusion": late(-0.1)},
            ValueError,
            r"diffusion of type 'walker' must be >= 0, got -0.1 at t = 0.375, x",
        ),
        ({"diffusion": late(np.nan)}, ValueError, r"diffusion .* must be finite, got nan at t = 0.375, x = 1.25"),
        ({"drift": late(np.inf)}, ValueError, r"drift .* must be finite, got inf at t = 0.375, x = 1.25, u = 0"),
        ({"running_cost": late(np.nan)}, ValueError, r"running_cost .* got nan at t = 0.375, x = 1.25, u = 0"),
        ({"minimiser": late(np.nan)}, ValueError, r"minimiser .* got nan at t = 0.375, x = 1.25"),
        (
            {"terminal_cost": lambda x, field: np.where(x < 0.0, np.nan, 0.0)},
            ValueError,
            r"terminal_cost .* got nan at t = 0.5, x = -1.75",
        ),
        (
            {"drift": lambda t, x, u, field: u[0, :3]},
            ValueError,
            r"drift .* that broadcasts to \(4, 8\), got shape",
        ),
        (
            {"drift": lambda t, x, u, field: u + 1j},
            TypeError,
            "drift of type 'walker' must be an array of numbers",
        ),
        ({"drift": lambda t, x, u, field: None}, TypeError, "drift of type 'walker' must be an array of numbers"),
        (
            {"running_cost": lambda t, x, u, field: 1.7e308, "terminal_cost": lambda x, field: 1.7e308},
            ValueError,
            "must be finite: its drift, up to 0, or its costs, up to 1.7e.308, are too large",
        ),
        ({"drift": lambda t, x, u, field: 1e308}, ValueError, r"its drift, up to 1e\+308, .* too large"),
        ({"initial_density": gaussian(5.0, 0.1)}, ValueError, r"integral 1 on \[-2, 2\], got .* wider interval"),
        ({"initial_density": lambda x: 0.0 * x + 0.5}, ValueError, "must have integral 1"),
        ({"initial_density": lambda x: x}, ValueError, "initial_density .* must be finite and >= 0, got -1.98"),
        ({"initial_density": lambda x: x / 0}, ValueError, "initial_density .* must be finite and >= 0, got -inf"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_values_of_functions(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        solve(walks(**changes), GRID)


def test_arguments_cannot_be_changed_by_functions() -> None:
    def drift(t, x, u, field):
        u += 1.0
        return u

    with pytest.raises(ValueError, match="read-only"):
        solve(walks(drift=drift), GRID)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_wrong_arguments_of_solve() -> None:
    with pytest.raises(TypeError, match="game must be a ContinuousGame, got 3"):
        solve(3, GRID)
    with pytest.raises(TypeError, match="grid must be a Grid, got None"):
        solve(walks(), None)
    with pytest.raises(TypeError, match="settings must be Settings, got 4"):
        solve(walks(), GRID, 4)
    with pytest.raises(ValueError, match="start must be an Equilibrium of 1 types, got 5"):
        solve(walks(), GRID, start=5)
    two = ContinuousGame(types=[walk(name="a", weight=0.5), walk(name="b", weight=0.5)], horizon=0.5)
    with pytest.raises(ValueError, match="start must be an Equilibrium of 1 types"):
        solve(walks(), GRID, start=solve(two, GRID))
    nobody = dataclasses.replace(solve(walks(), GRID), densities=np.zeros((1, 5, 8)))
    with pytest.raises(ValueError, match=r"start must have agents on the grid \[-2, 2\] at all times"):
        solve(walks(), GRID, start=nobody)
    with pytest.raises(TypeError, match="estimate_error must be True or False"):
        solve(walks(), GRID, estimate_error=1)
    with pytest.raises(ValueError, match="an error estimate needs an even number of cells"):
        solve(walks(), Grid(low=-2, high=2, n_cells=9, n_steps=4), estimate_error=True)
