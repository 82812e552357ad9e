"""The next guess in a fixed-point iteration on flows: Anderson's acceleration with adaptive damping."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST_GROWTH = 4.0
"""Ratio of a residual to the smallest one so far above which the iteration goes back to the best guess."""

LONGER, SHORTER = 1.2, 0.5
"""Factors of the step after a residual that is smaller than the last one, and after one that is not."""

SHORTEST_STEP = 2.0**-12
"""Steps are not shortened below this."""

CUTOFF = 1e-12
"""Singular values below this multiple of the largest one are left out of the least-squares problem."""


class Mixing:
    """Chooses guesses x with image G(x) such that x = G(x) in the limit.

    A step goes from a combination of the last guesses towards the same combination of their images, where the
    combination minimises the residual in least squares. Steps are shortened while the residual does not decrease.
    If it is much larger than the smallest one so far, the history is forgotten, and the best guess is taken up
    again.

    References
    ----------
    Walker & Ni, "Anderson acceleration for fixed-point iterations", SIAM Journal on Numerical Analysis 49, 2011.
    """

    def __init__(self, damping: float, memory: int) -> None:
        self.step, self._longest, self._memory = damping, damping, memory
        self._guesses: list[Array] = []
        self._residuals: list[Array] = []
        self._last = np.inf
        self._best: tuple[float, Array, Array] = np.inf, np.empty(0), np.empty(0)

    def next_guess(self, guess: Array, image: Array) -> Array:
        """The next flow to respond to; flows have shape (n_types, n_times, n_cells) and equal, positive masses."""
        residual = image - guess
        size = float(np.linalg.norm(residual))
        if size < self._last:
            self.step = min(LONGER * self.step, self._longest)
        else:
            self.step = max(SHORTER * self.step, SHORTEST_STEP)
        if size > LARGEST_GROWTH * self._best[0]:
            self._guesses.clear()
            self._residuals.clear()
            size, guess, residual = self._best
        elif size < self._best[0]:
            self._best = size, guess, residual
        self._last = size
        self._guesses.append(guess)
        self._residuals.append(residual)
        del self._guesses[: -self._memory - 1], self._residuals[: -self._memory - 1]
        mixed = guess + self.step * residual
        if len(self._guesses) > 1:
            mixed -= self._correction()
        return _as_densities(mixed, guess)

    def _correction(self) -> Array:
        older = zip(self._guesses[:-1], self._residuals[:-1], strict=True)
        steps = [(self._guesses[-1] - g, self._residuals[-1] - r) for g, r in older]
        gram = np.array([[float(np.vdot(a, b)) for _, b in steps] for _, a in steps])
        right = np.array([float(np.vdot(a, self._residuals[-1])) for _, a in steps])
        weights = np.linalg.lstsq(gram, right, rcond=CUTOFF)[0]
        total = np.zeros_like(self._guesses[-1])
        for weight, (guess, residual) in zip(weights, steps, strict=True):
            total += weight * (guess + self.step * residual)
        return total


def _as_densities(mixed: Array, like: Array) -> Array:
    """``mixed`` without its negative entries, and with the masses of ``like``."""
    if mixed.min() < 0.0:
        mixed = np.maximum(mixed, 0.0)
        mixed *= like.sum(axis=-1, keepdims=True) / mixed.sum(axis=-1, keepdims=True)
    return mixed
