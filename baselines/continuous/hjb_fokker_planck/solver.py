"""Equilibria of typed mean-field games on an interval: Hamilton-Jacobi-Bellman and Fokker-Planck equations."""

import dataclasses
import warnings

from mfenvs import checks

from .fictitious_play import FictitiousPlay
from .fixed_point import FixedPoint
from .game import ContinuousGame, Grid
from .result import Equilibrium, estimated_error
from .settings import Settings


class ConvergenceWarning(UserWarning):
    """The solver gave up before its residuals reached the tolerance."""


class BoundaryWarning(UserWarning):
    """Agents come to the ends of the grid, whose walls then change the solution."""


def solve(
    game: ContinuousGame,
    grid: Grid,
    settings: Settings | None = None,
    *,
    start: Equilibrium | None = None,
    estimate_error: bool = False,
) -> Equilibrium:
    """Solve a typed mean-field game: each type's control is optimal against the densities that all types make.

    The Hamilton-Jacobi-Bellman equation of each type is discretised by implicit monotone differences, of first
    order in time and of first (``upwind``) or second order (``hybrid``) in space, and solved by policy iteration.
    The Fokker-Planck equation is its exact adjoint. Every time step is stable, since no part is explicit. The
    fixed point in the densities is found by a damped iteration with Anderson's acceleration, or by fictitious
    play (see :class:`Settings`).

    Parameters
    ----------
    game:
        The game.
    grid:
        Cells and time steps.
    settings:
        Scheme, tolerance and iteration; the defaults if None.
    start:
        An equilibrium of a game with equally many types from which to start, on any grid. By default agents stay
        where they begin.
    estimate_error:
        Whether to solve on the grid of half as many cells and steps too, and to estimate the error from both.

    Returns
    -------
    The equilibrium. Its ``converged`` is False, and a :class:`ConvergenceWarning` is given, if the tolerance was
    not reached. A :class:`BoundaryWarning` is given if agents come to the ends of the grid.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, a function of the game returns something that is not a finite number, a
        diffusion coefficient is negative, or an initial density is negative or has not the integral 1.

    References
    ----------
    Achdou & Capuzzo-Dolcetta, "Mean field games: numerical methods", SIAM Journal on Numerical Analysis 48, 2010.
    """
    for name, value, kind in (("game", game, ContinuousGame), ("grid", grid, Grid)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {checks.shown(value)}")
    settings = Settings() if settings is None else settings
    if not isinstance(settings, Settings):
        raise TypeError(f"settings must be Settings, got {checks.shown(settings)}")
    if start is not None and (not isinstance(start, Equilibrium) or len(start.densities) != len(game.types)):
        raise ValueError(f"start must be an Equilibrium of {len(game.types)} types, got {checks.shown(start)}")
    iteration = FixedPoint if settings.method == "fixed-point" else FictitiousPlay
    if checks.boolean("estimate_error", estimate_error):
        coarse = iteration(game, grid.halved(), settings, start).run()
        _warn_of_residuals(coarse)
        fine = iteration(game, grid, settings, coarse).run()
        found = dataclasses.replace(fine, error=estimated_error(fine, coarse))
    else:
        found = iteration(game, grid, settings, start).run()
    _warn_of_residuals(found)
    _warn_of_walls(found)
    return found


def _warn_of_residuals(found: Equilibrium) -> None:
    if not found.converged:
        warnings.warn(
            f"on {found.grid.n_cells} cells and {found.grid.n_steps} steps the equilibrium is not reached to the"
            f" tolerance {found.settings.tolerance:g} after {found.n_iterations} iterations: the residuals are"
            f" {found.density_residuals[-1]:g} (densities) and {found.value_residuals[-1]:g} (values), the"
            f" exploitability {found.exploitability.max():g}. Allow more iterations or shorter steps (damping)."
            " Where controls jump, use more cells, or fictitious play",
            ConvergenceWarning,
            stacklevel=3,
        )


def _warn_of_walls(found: Equilibrium) -> None:
    for kind, mass in zip(found.game.types, found.boundary_mass, strict=True):
        if mass > found.settings.boundary_mass:
            warnings.warn(
                f"up to {mass:g} of the agents of type {kind.name!r} are in the outermost 2 per cent of the grid"
                f" [{found.grid.low:g}, {found.grid.high:g}]: choose a wider one, or raise boundary_mass if the"
                " walls are part of the game",
                BoundaryWarning,
                stacklevel=3,
            )
