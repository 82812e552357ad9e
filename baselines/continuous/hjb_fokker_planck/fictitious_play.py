"""Fictitious play: controls are averaged with best responses, for games in which best responses jump."""

import numpy as np
from numpy.typing import NDArray

from .fixed_point import EXPLOITABILITY_PRECISION, FixedPoint, largest_distance
from .result import Equilibrium

Array = NDArray[np.float64]


class FictitiousPlay(FixedPoint):
    """Fictitious play on one grid.

    In iteration k the controls of all types move to the averages of themselves and of best responses to the flow
    that they make, in each cell weighted by the agents that are there: 1 - 2 / (k + 2) times those of the current
    flow, and 2 / (k + 2) times those of the responses. If drifts are affine in the control, the averages make the
    average of the flows, up to numerical diffusion, and if costs are convex in it they cost no more. In monotone
    games the exploitability then decreases like 1 / k.

    References
    ----------
    Cardaliaguet & Hadikhanloo, "Learning in mean field games: the fictitious play", ESAIM: COCV 23, 2017.

    Lavigne & Pfeiffer, "Generalized conditional gradient and learning in potential mean field games", Applied
    Mathematics & Optimization 88, 2023 (the step 2 / (k + 2)).
    """

    def run(self) -> Equilibrium:
        """Play until the exploitability reaches the tolerance, or for the largest number of iterations."""
        width, tolerance = self.grid.width, self.settings.tolerance
        density_residuals: list[float] = []
        value_residuals: list[float] = []
        averages = [control.copy() for control in self.controls]
        flow = self._made(averages, self.flow)
        converged = False
        for k in range(self.settings.max_iterations):
            field = self._field(flow)
            played = [p.evaluate(field, u) for p, u in zip(self.problems, averages, strict=True)]
            best = self._respond(flow, EXPLOITABILITY_PRECISION)
            image = np.stack([p.forward(r.drift) for p, r in zip(self.problems, played, strict=True)])
            density_residuals.append(largest_distance(image, flow) * width)
            costs, least = (
                np.array([p.initial @ r.value[0] * width for p, r in zip(self.problems, responses, strict=True)])
                for responses in (played, best)
            )
            value_residuals.append(float(((costs - least) / (1.0 + np.abs(costs))).max()))
            is_precise = all(r.gap <= tolerance * (1.0 + np.abs(r.value).max()) for r in best)
            if max(density_residuals[-1], value_residuals[-1]) <= tolerance and is_precise:
                converged = True
                break
            if k + 1 < self.settings.max_iterations:
                step = 2.0 / (k + 2.0)
                answers = np.stack([p.forward(r.drift) for p, r in zip(self.problems, best, strict=True)])
                averages = [
                    _average(step, own, u, other, response.control)
                    for own, u, other, response in zip(image, averages, answers, best, strict=True)
                ]
                flow = self._made(averages, (1.0 - step) * image + step * answers)
        self.controls = averages
        return self._result(image, converged, density_residuals, value_residuals)

    def _made(self, controls: list[Array], flow: Array) -> Array:
        """Densities that controls make where the drift sees the laws of ``flow``."""
        field = self._field(flow)
        return np.stack(
            [p.forward(p.evaluate(field, u).drift) for p, u in zip(self.problems, controls, strict=True)]
        )


def _average(step: float, flow: Array, control: Array, other_flow: Array, other: Array) -> Array:
    """Average of two controls, weighted by 1 - step and step times the agents at every time and cell.

    The agents who use the control of a step are those at its end, since the scheme is implicit.
    """
    weight, other_weight = (1.0 - step) * flow[1:], step * other_flow[1:]
    total = weight + other_weight
    share = np.divide(other_weight, total, out=np.ones_like(total), where=total > 0.0)
    average: Array = control + share * (other - control)
    return average
