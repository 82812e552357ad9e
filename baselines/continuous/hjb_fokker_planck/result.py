"""What the solver returns: the equilibrium on the grid, with its residuals and errors."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .game import ContinuousGame, Grid
from .policy import FeedbackPolicy, Reading
from .settings import Settings

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorEstimate:
    """Discretisation errors, estimated from the same game on the grid with half as many cells and steps.

    With errors of first order in the time step, the error of the finer grid is about the distance between the two
    (Richardson). Where the error is of second order, this is three times too large.
    """

    costs: Array
    """Expected costs by type, shape (n_types,)."""
    means: Array
    """Mean states by type, the largest error at any time, shape (n_types,)."""
    values: Array
    """Value functions by type, averaged over the agents, the largest at any time, shape (n_types,)."""
    densities: Array
    """L1 distances of the densities by type, the largest at any time, shape (n_types,)."""
    extrapolated_costs: Array
    """Costs by type less their first-order errors, shape (n_types,)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equilibrium:
    """An equilibrium on a grid, or, if ``converged`` is False, the last iterate."""

    game: ContinuousGame
    """The game that was solved."""
    grid: Grid
    """The grid on which it was solved."""
    settings: Settings
    """Settings of the solver."""
    t: Array
    """Times, shape (n_steps + 1,)."""
    x: Array
    """Centres of the cells, shape (n_cells,)."""
    densities: Array
    """Densities of the types' states, shape (n_types, n_steps + 1, n_cells)."""
    values: Array
    """Expected remaining cost of the controls against these densities, shape (n_types, n_steps + 1, n_cells)."""
    controls: Array
    """Feedback controls u(t, x), shape (n_types, n_steps + 1, n_cells). Those at the horizon are never played."""
    costs: Array
    """Expected cost by type, shape (n_types,)."""
    exploitability: Array
    """By type, expected cost less that of a best response to these densities, on this grid, shape (n_types,)."""
    converged: bool
    """Whether both residuals reached the tolerance, and the best responses theirs."""
    density_residuals: Array
    """By iteration, the largest L1 distance at any time between the flow responded to and the one that is made."""
    value_residuals: Array
    """By iteration, the largest change of the values, relative to 1 plus the largest value; infinite at first. In
    fictitious play, the largest exploitability, relative to 1 plus the cost."""
    n_policy_iterations: int
    """Number of policies that were evaluated, over all types and iterations."""
    mass_error: float
    """Largest distance of a density's total mass from one."""
    boundary_mass: Array
    """By type, the largest mass at any time in the outermost 2 per cent of the grid, shape (n_types,)."""
    error: ErrorEstimate | None = None
    """Discretisation errors, if they were asked for."""

    @property
    def n_iterations(self) -> int:
        """Number of iterations of the fixed point."""
        return len(self.density_residuals)

    @property
    def means(self) -> Array:
        """Mean states by type, shape (n_types, n_steps + 1)."""
        found: Array = (self.densities * self.x).sum(axis=-1) * self.grid.width
        return found

    @property
    def mean(self) -> Array:
        """Mean state of the population, shape (n_steps + 1,)."""
        found: Array = self.game.weights @ self.means
        return found

    def policy(self, read: Reading | None = None) -> FeedbackPolicy:
        """The feedback controls as a policy; ``read`` says how observations are read, see there."""
        return FeedbackPolicy(self.t, self.x, self.controls, read)


def estimated_error(fine: Equilibrium, coarse: Equilibrium) -> ErrorEstimate:
    """Error estimate of ``fine`` from ``coarse``, which has half as many cells and steps."""

    def restricted(array: Array) -> Array:
        return 0.5 * (array[:, ::2, ::2] + array[:, ::2, 1::2])

    value_distance = np.abs(restricted(fine.values) - coarse.values)
    density_distance = np.abs(restricted(fine.densities) - coarse.densities)
    width = coarse.grid.width
    return ErrorEstimate(
        costs=np.abs(fine.costs - coarse.costs),
        means=np.abs(fine.means[:, ::2] - coarse.means).max(axis=1),
        values=(value_distance * coarse.densities).sum(axis=-1).max(axis=1) * width,
        densities=density_distance.sum(axis=-1).max(axis=1) * width,
        extrapolated_costs=2.0 * fine.costs - coarse.costs,
    )
