"""Minimisation of the discrete Hamiltonian over the control interval, at all cells of a block of times."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .functions import GridFunctions
from .mean_field import MeanField
from .scheme import hamiltonians

Array = NDArray[np.float64]

GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
"""Ratio by which golden-section search shrinks its interval."""

MAX_SECANT_STEPS, SECANT_PRECISION = 40, 1e-12
"""Most steps of the search for a control with a given drift, and its precision relative to the first misses."""


class CandidateSearch(Protocol):
    """Finds controls among which the best one is, up to the search's precision."""

    n_candidates: int
    """Number of controls at which functions are called at once."""

    def __call__(
        self, functions: GridFunctions, steps: slice, field: MeanField, value: Array, half_variance: Array
    ) -> tuple[Array, Array, Array]:
        """Controls, drifts and running costs, each (n_candidates, n_times, n_cells), C-contiguous.

        ``value`` holds the values at the block's times, ``half_variance`` half the squared diffusion coefficient,
        both (n_times, n_cells).
        """
        ...


class AnalyticSearch:
    """The declared minimiser at the differences that the scheme uses, and the controls at the scheme's kinks.

    The Hamiltonian has the forward difference where the drift is above some edge, the backward one where it is
    below minus the edge, and the central one in between. Its minimum is the declared minimiser at one of these, or
    a control at which the drift is on an edge.
    """

    n_candidates = 3

    def __init__(self, width: float, is_upwind: bool) -> None:
        self.width, self.is_upwind = width, is_upwind

    def __call__(
        self, functions: GridFunctions, steps: slice, field: MeanField, value: Array, half_variance: Array
    ) -> tuple[Array, Array, Array]:
        """See :class:`CandidateSearch`; there may be one candidate more."""
        gradients = np.zeros((3, *value.shape))
        gradients[0, :, :-1] = gradients[1, :, 1:] = np.diff(value, axis=1) / self.width
        gradients[2] = 0.5 * (gradients[0] + gradients[1])
        controls = functions.minimiser(steps, gradients, field)
        found = controls, *functions.drift_and_cost(steps, controls, field)
        edge = np.zeros_like(value) if self.is_upwind else 2.0 / self.width * half_variance
        forward, backward, central = found[1]
        is_above = (central > edge) & (forward < edge)
        is_at_kink = is_above | ((central < -edge) & (backward > -edge))
        if not is_at_kink.any():
            return found
        other = np.where(is_above, 0, 1)
        target = np.where(is_above, edge, -edge)
        kinks = _at_drift(functions, steps, field, target, is_at_kink, controls, found[1], other)
        controls, drifts, costs = (np.concatenate(pair) for pair in zip(found, kinks, strict=True))
        return controls, drifts, costs


def _at_drift(
    functions: GridFunctions,
    steps: slice,
    field: MeanField,
    target: Array,
    is_sought: NDArray[np.bool_],
    controls: Array,
    drifts: Array,
    other: NDArray[np.int64],
) -> tuple[Array, Array, Array]:
    """Controls whose drift is ``target``, between the central candidate and the one with index ``other``.

    Found by the Illinois variant of the secant rule, which needs one step if drifts are affine in the control.
    Returns controls, drifts and costs, each (1, n_times, n_cells); where ``is_sought`` is False, any control.
    """
    index = other[None]
    near, far = controls[2], np.take_along_axis(controls, index, axis=0)[0]
    near_miss, far_miss = drifts[2] - target, np.take_along_axis(drifts, index, axis=0)[0] - target
    scale = np.abs(near_miss) + np.abs(far_miss)
    for _ in range(MAX_SECANT_STEPS):
        slope = np.where(is_sought, near_miss - far_miss, 1.0)
        control = np.where(is_sought, near - near_miss / slope * (near - far), near)
        drift, cost = functions.drift_and_cost(steps, control[None], field)
        miss = drift[0] - target
        if not (is_sought & (np.abs(miss) > SECANT_PRECISION * scale)).any():
            break
        # The end on the miss's side is replaced. The other end stays, its miss halved, so that it will move too.
        is_near = (miss > 0.0) == (near_miss > 0.0)
        far_miss = np.where(is_near, 0.5 * far_miss, miss)
        far = np.where(is_near, far, control)
        near_miss = np.where(is_near, miss, 0.5 * near_miss)
        near = np.where(is_near, control, near)
    return control[None], drift, cost


class GridSearch:
    """The best of a grid of controls, refined by golden-section search between its neighbours.

    Functions of several minima are handled as far as the grid tells the best one's neighbourhood apart.
    """

    def __init__(self, width: float, is_upwind: bool, n_controls: int, precision: float) -> None:
        self.width, self.is_upwind, self.n_candidates = width, is_upwind, n_controls
        shrinking = max(precision * (n_controls - 1) / 2.0, 1e-16)
        self.n_refinements = max(0, int(np.ceil(np.log(shrinking) / np.log(GOLDEN))))
        """Number of golden-section steps after which the interval is ``precision`` times the controls' range."""

    def __call__(
        self, functions: GridFunctions, steps: slice, field: MeanField, value: Array, half_variance: Array
    ) -> tuple[Array, Array, Array]:
        """See :class:`CandidateSearch`."""

        def evaluate(controls: Array) -> tuple[Array, Array, Array]:
            drifts, costs = functions.drift_and_cost(steps, controls, field)
            found = np.empty(drifts.shape)
            hamiltonians(drifts, costs, half_variance, value, self.width, self.is_upwind, found)
            return found, drifts, costs

        low, high = functions.kind.controls
        choices = np.linspace(low, high, self.n_candidates)
        best = evaluate(choices[:, None, None])[0].argmin(axis=0)
        left, right = choices[np.maximum(best - 1, 0)], choices[np.minimum(best + 1, self.n_candidates - 1)]
        inner_left, inner_right = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
        at_left, at_right = evaluate(np.stack([inner_left, inner_right]))[0]
        for _ in range(self.n_refinements):
            # The better inner point stays inside; the other one becomes an end.
            is_left = at_left <= at_right
            left, right = np.where(is_left, left, inner_left), np.where(is_left, inner_right, right)
            kept, at_kept = np.where(is_left, inner_left, inner_right), np.where(is_left, at_left, at_right)
            fresh = np.where(is_left, right - GOLDEN * (right - left), left + GOLDEN * (right - left))
            at_fresh = evaluate(fresh[None])[0][0]
            inner_left, inner_right = np.where(is_left, fresh, kept), np.where(is_left, kept, fresh)
            at_left, at_right = np.where(is_left, at_fresh, at_kept), np.where(is_left, at_kept, at_fresh)
        refined = np.where(at_left <= at_right, inner_left, inner_right)
        controls = np.stack([choices[best], refined])
        _, drifts, costs = evaluate(controls)
        return controls, drifts, costs
