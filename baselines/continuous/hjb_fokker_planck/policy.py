"""A feedback policy u(t, x) by type, interpolated from a grid, with SB3's ``predict``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks

Array = NDArray[np.float64]

Reading = Callable[[Array], tuple[ArrayLike, ArrayLike, ArrayLike]]
"""Reads observations (n, n_features) as times, states and indices of types, each (n,)."""


class StateTypeTime:
    """Reads observations of own state, type one-hot, elapsed time in [0, 1], and then anything.

    Raises
    ------
    TypeError, ValueError
        If the parameters are not allowed, or observations have too few features.
    """

    def __init__(self, n_types: int, horizon: float) -> None:
        self.n_types = checks.integer("n_types", n_types, 1)
        self.horizon = checks.real("horizon", horizon, 0.0, exclude_low=True)

    def __call__(self, observations: Array) -> tuple[Array, Array, NDArray[np.int64]]:
        """Times, states and indices of types of observations (n, n_features)."""
        needed = self.n_types + 2
        if observations.shape[1] < needed:
            raise ValueError(
                f"observation must have shape (..., at least {needed}), got (..., {len(observations.T)})"
            )
        kinds = observations[:, 1 : needed - 1].argmax(axis=1)
        return self.horizon * observations[:, needed - 1], observations[:, 0], kinds


class FeedbackPolicy:
    """Controls by time, state and type, linear between the points of a grid.

    Times and states beyond the grid get the control at its nearest point.

    Parameters
    ----------
    t:
        Times, increasing by equal steps, shape (n_times,).
    x:
        States, increasing by equal steps, shape (n_states,).
    controls:
        Controls, shape (n_types, n_times, n_states).
    read:
        How :meth:`predict` reads observations; by default own state, type one-hot and elapsed time in [0, 1], see
        :class:`StateTypeTime`.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not hold finite numbers or their shapes do not match.
    """

    def __init__(self, t: ArrayLike, x: ArrayLike, controls: ArrayLike, read: Reading | None = None) -> None:
        self.t, self.x = _axis("t", t), _axis("x", x)
        self.controls = checks.finite_numbers("controls", controls).copy()
        """Controls at the points of the grid, shape (n_types, n_times, n_states)."""
        shape = self.controls.shape
        if len(shape) != 3 or not shape[0] or shape[1:] != (len(self.t), len(self.x)):
            raise ValueError(
                f"controls must have shape (n_types, {len(self.t)}, {len(self.x)}), n_types > 0, got {shape}"
            )
        if read is not None and not callable(read):
            raise TypeError(f"read must be a function, got {checks.shown(read)}")
        self._read: Reading = StateTypeTime(shape[0], self.t[-1]) if read is None else read

    def __call__(self, t: ArrayLike, x: ArrayLike, kind: ArrayLike) -> Array:
        """Controls at times ``t`` and states ``x`` of agents whose type has the index ``kind``; they broadcast."""
        times, states = checks.finite_numbers("t", t), checks.finite_numbers("x", x)
        given = checks.array("kind", kind)
        kinds = checks.indices("kind", given, given.shape, 0, len(self.controls) - 1)
        n, later = _position(self.t, times)
        i, above = _position(self.x, states)
        before = (1.0 - above) * self.controls[kinds, n, i] + above * self.controls[kinds, n, i + 1]
        after = (1.0 - above) * self.controls[kinds, n + 1, i] + above * self.controls[kinds, n + 1, i + 1]
        found: Array = (1.0 - later) * before + later * after
        return found

    def predict(
        self,
        observation: ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], None]:
        """Actions for observations (SB3's signature).

        Parameters
        ----------
        observation:
            Shape (..., n_features), as ``read`` reads it.
        state, episode_start, deterministic:
            Ignored: the policy has no memory and does not sample.

        Returns
        -------
        Actions, float32, shape (..., 1), and None.

        Raises
        ------
        TypeError, ValueError
            If the observations are not finite numbers or have the wrong shape, or ``read`` does not return times,
            states and types, one for each observation.
        """
        features = checks.finite_numbers("observation", observation)
        if features.ndim < 1:
            raise ValueError(f"observation must have shape (..., n_features), got {features.shape}")
        rows = features.reshape(-1, features.shape[-1])
        actions = self(*self._read(rows))
        if actions.shape != rows.shape[:1]:
            raise ValueError(f"read must return arrays of shape ({len(rows)},), got {actions.shape}")
        return actions.astype(np.float32).reshape(*features.shape[:-1], 1), None


def _axis(name: str, value: ArrayLike) -> Array:
    axis = checks.finite_numbers(name, value).copy()
    steps = np.diff(axis) if axis.ndim == 1 else axis[:0]
    if axis.ndim != 1 or len(axis) < 2 or not np.allclose(steps, steps[0], rtol=1e-6) or steps[0] <= 0.0:
        raise ValueError(f"{name} must be at least 2 numbers increasing by equal steps, got {checks.shown(value)}")
    return axis


def _position(axis: Array, points: Array) -> tuple[NDArray[np.int64], Array]:
    """Indices of the grid points below ``points``, and the fractions of the way to the next ones."""
    last = len(axis) - 1
    place = np.clip((points - axis[0]) / (axis[-1] - axis[0]) * last, 0.0, last)
    below = np.minimum(place.astype(np.int64), last - 1)
    return below, place - below
