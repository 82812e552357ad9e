"""Scalar Riccati equations with constant coefficients, in closed form."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coefficients import Coefficients

Array = NDArray[np.float64]


class ScalarRiccati:
    """Solutions of -P' = q + 2 a P - S P^2, P(T) = q_T, one for each type.

    With theta = T - t the time to go and delta = a^2 + q S, P = Y / X for

        X = C + D (S q_T - a),   Y = q_T C + D (q + a q_T),

    where (C, D) = (cosh w theta, sinh(w theta) / w) if delta = w^2 > 0, (cos w theta, sin(w theta) / w) if
    delta = -w^2 < 0, and (1, theta) if delta = 0. P escapes to infinity where X = 0.

    Parameters
    ----------
    parameters:
        Parameters of the types.
    names:
        Names of the types, for error messages.

    Raises
    ------
    ValueError
        If a solution escapes within [0, T]: the type's cost is then unbounded below. The message names the type
        and the time.
    """

    def __init__(self, parameters: Coefficients, names: tuple[str, ...]) -> None:
        self._a, self._q, self._last = parameters.drift, parameters.state_cost, parameters.terminal_cost
        self._s, self._duration = parameters.strength, parameters.duration
        self._delta = self._a**2 + self._q * self._s
        self._w = np.sqrt(np.abs(self._delta))
        for name, horizon in zip(names, self.escape_horizons(), strict=True):
            if horizon <= self._duration:
                raise ValueError(
                    f"the costs of type {name!r} are unbounded below: its Riccati equation escapes to infinity"
                    f" at the time to go {horizon:.6g}, which is at t = {self._duration - horizon:.6g}; duration"
                    f" must be shorter, got {self._duration:g} (or state_cost and terminal_cost larger)"
                )

    def escape_horizons(self) -> Array:
        """The time to go at which each type's P escapes to infinity, infinite if it never does, (n_types,)."""
        w, left = self._w, self._a - self._s * self._last
        found = np.full(len(w), np.inf)
        grows = (self._delta > 0.0) & (left > w)
        found[grows] = np.arctanh(w[grows] / left[grows]) / w[grows]
        turns = self._delta < 0.0
        found[turns] = np.arctan2(w[turns], left[turns]) / w[turns]
        flat = (self._delta == 0.0) & (left > 0.0)
        found[flat] = 1.0 / left[flat]
        return found

    def __call__(self, times: ArrayLike) -> Array:
        """P at these times in [0, T], shape (*times.shape, n_types)."""
        even, odd, _ = self._parts(times)
        value: Array = (self._last * even + odd * (self._q + self._a * self._last)) / self._growth(even, odd)
        return value

    def log_flow(self, times: ArrayLike) -> Array:
        """Logarithm of X at these times, shape (*times.shape, n_types).

        X(t) / X(s) is exp of the integral of a - S P from s to t.
        """
        even, odd, exponent = self._parts(times)
        logarithm: Array = np.log(self._growth(even, odd)) + exponent
        return logarithm

    def _growth(self, even: Array, odd: Array) -> Array:
        return even + odd * (self._s * self._last - self._a)

    def _parts(self, times: ArrayLike) -> tuple[Array, Array, Array]:
        """C and D, both times exp(-exponent), which keeps them in range; and that exponent."""
        to_go = (self._duration - np.asarray(times, np.float64))[..., None]
        angle = self._w * to_go
        grows, tiny = self._delta > 0.0, angle < 1e-8
        exponent = np.where(grows, angle, 0.0)
        decayed = np.exp(-2.0 * exponent)
        even = np.where(grows, 0.5 * (1.0 + decayed), np.cos(angle))
        over = np.where(self._w > 0.0, self._w, 1.0)
        odd = np.where(grows, 0.5 * (1.0 - decayed), np.sin(angle)) / over
        return even, np.where(tiny, to_go, odd), exponent
