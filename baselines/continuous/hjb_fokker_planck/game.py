"""A typed mean-field game on an interval, given by plain functions, and the grid on which it is solved."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

from .mean_field import MeanField

Array = NDArray[np.float64]

MASS_TOLERANCE = 0.01
"""Largest distance from one of an initial density's integral over the grid; the density is then normalised."""

SAMPLES_PER_CELL = 16
"""Number of points at which an initial density is averaged in each cell."""

WEIGHT_TOLERANCE = 1e-9
"""Largest distance from one of the sum of the types' proportions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentType:
    """One type of agents: its dynamics dx = b dt + sigma dW, its costs, its controls and how it starts.

    The functions take NumPy arrays that broadcast with each other, and return an array that broadcasts to their
    common shape: time ``t`` (n_times, 1), state ``x`` (n_cells,), control ``u`` or gradient ``p``
    (..., n_times, n_cells), and the :class:`~.mean_field.MeanField` of these times. The arrays are read-only.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not of its kind, the control interval is reversed, or it is unbounded and there is no
        ``minimiser``.
    """

    name: str
    """Name of the type, such as ``consumer``."""
    weight: float
    """Proportion lambda of the type in the population, in (0, 1]."""
    drift: Callable[[Array, Array, Array, MeanField], Any]
    """Drift b(t, x, u, mean field)."""
    diffusion: Callable[[Array, Array], Any]
    """Diffusion coefficient sigma(t, x) >= 0; zero where the state has no noise."""
    running_cost: Callable[[Array, Array, Array, MeanField], Any]
    """Running cost f(t, x, u, mean field), a rate per unit of time."""
    terminal_cost: Callable[[Array, MeanField], Any]
    """Terminal cost g(x, mean field at the horizon)."""
    controls: tuple[float, float]
    """Interval [low, high] of controls; it may be unbounded if ``minimiser`` is given."""
    initial_density: Callable[[Array], Any]
    """Density of the initial state: at least 0, with integral 1 over the grid."""
    minimiser: Callable[[Array, Array, Array, MeanField], Any] | None = None
    """The control u*(t, x, p, mean field) that minimises f + b p; clipped to ``controls``. None to search."""

    def __post_init__(self) -> None:
        checks.text("name", self.name)
        place = f"of type {self.name!r}"
        weight = checks.real(f"weight {place}", self.weight, 0.0, 1.0, exclude_low=True)
        object.__setattr__(self, "weight", weight)
        for function in ("drift", "diffusion", "running_cost", "terminal_cost", "initial_density", "minimiser"):
            value = getattr(self, function)
            if not callable(value) and not (function == "minimiser" and value is None):
                raise TypeError(f"{function} {place} must be a function, got {checks.shown(value)}")
        object.__setattr__(self, "controls", _interval(f"controls {place}", self.controls, self.minimiser is None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinuousGame:
    """A mean-field game of any number of types of agents, with a one-dimensional state and a horizon.

    Raises
    ------
    TypeError, ValueError
        If there is no type, two types share a name, or the proportions of the types do not sum to 1.
    """

    types: Sequence[AgentType]
    """The types of agents."""
    horizon: float
    """Duration T > 0 of the game."""

    def __post_init__(self) -> None:
        types = checks.sequence("types", self.types, "be a list of AgentType")
        for kind in types:
            if not isinstance(kind, AgentType):
                raise TypeError(f"types must be a list of AgentType, got {checks.shown(kind)} in it")
        names = [kind.name for kind in types]
        if not types or len(set(names)) < len(names):
            raise ValueError(f"types must be one type or more with different names, got the names {names}")
        total = math.fsum(kind.weight for kind in types)
        if abs(total - 1.0) > WEIGHT_TOLERANCE:
            raise ValueError(f"the weights of the types must sum to 1, got {[k.weight for k in types]}: {total!r}")
        object.__setattr__(self, "types", types)
        horizon = checks.real("horizon", self.horizon, 0.0, exclude_low=True)
        object.__setattr__(self, "horizon", horizon)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the types."""
        return tuple(kind.name for kind in self.types)

    @property
    def weights(self) -> Array:
        """Proportions of the types, shape (n_types,)."""
        return np.array([kind.weight for kind in self.types])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells of equal width on an interval, with walls at its ends, and time steps of equal length.

    The walls reflect: nothing flows through them, and the value function has slope 0 there. Where the state
    space is the line, choose an interval that the agents hardly ever leave.

    Raises
    ------
    TypeError, ValueError
        If the interval is empty, or there are fewer than 3 cells or 2 time steps.
    """

    low: float
    """Lower end of the interval of states."""
    high: float
    """Upper end of the interval of states."""
    n_cells: int = 200
    """Number of cells, at least 3."""
    n_steps: int = 200
    """Number of time steps, at least 2."""

    def __post_init__(self) -> None:
        low = checks.real("low", self.low)
        high = checks.real("high", self.high, low, exclude_low=True)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "n_cells", checks.integer("n_cells", self.n_cells, 3))
        object.__setattr__(self, "n_steps", checks.integer("n_steps", self.n_steps, 2))

    @property
    def width(self) -> float:
        """Width of a cell."""
        return (self.high - self.low) / self.n_cells

    @property
    def x(self) -> Array:
        """Centres of the cells, shape (n_cells,)."""
        centres: Array = self.low + self.width * (np.arange(self.n_cells, dtype=np.float64) + 0.5)
        return centres

    def times(self, horizon: float) -> Array:
        """Times 0, dt, ..., ``horizon``, shape (n_steps + 1,)."""
        return np.linspace(0.0, horizon, self.n_steps + 1)

    def halved(self) -> "Grid":
        """The grid with half as many cells and steps; ValueError if a number is odd or too small."""
        if self.n_cells % 2 or self.n_steps % 2 or self.n_cells < 6 or self.n_steps < 4:
            raise ValueError(
                "an error estimate needs an even number of cells (at least 6) and of steps (at least 4), got"
                f" n_cells = {self.n_cells}, n_steps = {self.n_steps}"
            )
        return dataclasses.replace(self, n_cells=self.n_cells // 2, n_steps=self.n_steps // 2)

    def initial_density(self, kind: AgentType) -> Array:
        """Averages over the cells of a type's initial density, normalised.

        Raises
        ------
        TypeError, ValueError
            If the density is not finite or negative somewhere, or its integral is not 1 within
            ``MASS_TOLERANCE``.
        """
        name = f"initial_density of type {kind.name!r}"
        offsets = (np.arange(SAMPLES_PER_CELL) + 0.5) / SAMPLES_PER_CELL - 0.5
        points = (self.x[:, None] + self.width * offsets).ravel()
        samples: Array = np.broadcast_to(checks.numbers(name, kind.initial_density(points)), points.shape)
        wrong = ~(np.isfinite(samples) & (samples >= 0.0))
        if wrong.any():
            where = int(wrong.argmax())
            raise ValueError(f"{name} must be finite and >= 0, got {samples[where]} at x = {points[where]:g}")
        averages: Array = samples.reshape(self.n_cells, SAMPLES_PER_CELL).mean(axis=1)
        mass = float(averages.sum()) * self.width
        if not abs(mass - 1.0) <= MASS_TOLERANCE:
            raise ValueError(
                f"{name} must have integral 1 on [{self.low:g}, {self.high:g}], got {mass:g}: normalise it, or"
                " choose a wider interval"
            )
        normalised: Array = averages / mass
        return normalised


def _interval(name: str, value: Any, is_bounded: bool) -> tuple[float, float]:
    ends = checks.sequence(name, value, "be a pair (low, high)")
    if len(ends) != 2:
        raise ValueError(f"{name} must be a pair (low, high), got {checks.shown(value)}")
    low, high = (
        end if end in (-math.inf, math.inf) else checks.real(name, end) for end in map(checks.scalar, ends)
    )
    if not low <= high or low == math.inf or high == -math.inf:
        raise ValueError(f"{name} must be a pair (low, high) with low <= high, got {checks.shown(value)}")
    if is_bounded and math.isinf(high - low):
        raise ValueError(f"{name} must be bounded unless a minimiser is given, got {checks.shown(value)}")
    return float(low), float(high)
