"""The functions of one type of agents on a grid, called on blocks of times; what they return is checked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

from .game import AgentType, Grid
from .mean_field import MeanField

Array = NDArray[np.float64]

BLOCK_ENTRIES = 2**14
"""Number of entries of the arrays that functions are called with: few enough to stay in the processor's cache."""


class GridFunctions:
    """The drift, the diffusion, the costs and the minimiser of one type, on the cells of a grid.

    Raises
    ------
    TypeError, ValueError
        By every method, if a function returns something that is not a finite number; the message says which
        function, and at which time, state and control. On construction, if the diffusion is negative.
    """

    def __init__(self, kind: AgentType, index: int, grid: Grid, horizon: float) -> None:
        self.kind, self.index, self.grid = kind, index, grid
        self.x, self.t = grid.x, grid.times(horizon)[:, None]
        for array in (self.x, self.t):
            array.flags.writeable = False
        t = self.t[:-1]
        sigma = self._checked("diffusion", kind.diffusion(t, self.x), (len(t), grid.n_cells), t)
        if (sigma < 0.0).any():
            n, i = np.argwhere(sigma < 0.0)[0]
            raise ValueError(
                f"diffusion of type {kind.name!r} must be >= 0, got {sigma[n, i]} at t = {t[n, 0]:g}, x ="
                f" {self.x[i]:g}"
            )
        self.half_variance: Array = 0.5 * sigma * sigma
        """Half the squared diffusion coefficient, shape (n_steps, n_cells)."""

    def blocks(self, n_candidates: int = 1) -> Iterator[slice]:
        """Slices of time steps small enough to call functions with this number of candidate controls."""
        n_steps = self.grid.n_steps
        size = max(1, BLOCK_ENTRIES // (n_candidates * self.grid.n_cells))
        for first in range(0, n_steps, size):
            yield slice(first, min(first + size, n_steps))

    def drift_and_cost(self, steps: slice, control: Array, field: MeanField) -> tuple[Array, Array]:
        """Drift and running cost, both (..., n_times, n_cells), for controls that broadcast to that shape."""
        t = self.t[steps]
        shape = (*control.shape[:-2], len(t), self.grid.n_cells)
        control = control.view()
        control.flags.writeable = False
        drift = self.kind.drift(t, self.x, control, field)
        cost = self.kind.running_cost(t, self.x, control, field)
        return (
            self._checked("drift", drift, shape, t, control),
            self._checked("running_cost", cost, shape, t, control),
        )

    def terminal_cost(self, field: MeanField) -> Array:
        """Terminal cost, shape (n_cells,)."""
        found = self.kind.terminal_cost(self.x, field)
        cost: Array = self._checked("terminal_cost", found, (1, self.grid.n_cells), self.t[-1:])[0]
        return cost

    def minimiser(self, steps: slice, gradient: Array, field: MeanField) -> Array:
        """The declared minimiser of f + b p, clipped to the control interval."""
        assert self.kind.minimiser is not None
        t = self.t[steps]
        found = self.kind.minimiser(t, self.x, gradient, field)
        control = self._checked("minimiser", found, gradient.shape, t)
        clipped: Array = np.clip(control, *self.kind.controls)
        return clipped

    def _checked(
        self, function: str, values: Any, shape: tuple[int, ...], t: Array, control: Array | None = None
    ) -> Array:
        name = f"{function} of type {self.kind.name!r}"
        found = checks.numbers(name, values)
        try:
            full = np.broadcast_to(found, shape)
        except ValueError:
            raise ValueError(
                f"{name} must return an array that broadcasts to {shape}, got shape {found.shape}"
            ) from None
        wrong = ~np.isfinite(found)
        if wrong.any():
            where = tuple(np.argwhere(~np.isfinite(full))[0])
            place = f"t = {t[where[-2], 0]:g}, x = {self.x[where[-1]]:g}"
            if control is not None:
                place += f", u = {np.broadcast_to(control, shape)[where]:g}"
            raise ValueError(f"{name} must be finite, got {full[where]} at {place}")
        return np.ascontiguousarray(full)
