"""Occupation-measure inclusion, solved by forward-backward splitting (MF-OMI-FBS)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame

from ..config import TrainerConfig
from .flow_polytope import constraints, project_to_flows
from .solver import MeanFieldSolver

Array = NDArray[np.float64]

LARGEST_STEP = 1e4
"""The largest step size: rounding hides the flow that is nearest to a point far away."""
LARGEST_MULTIPLIER = 1e100
"""The largest multiplier that a saved solver may hold: its square is a number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OccupationMeasureInclusionConfig(TrainerConfig):
    """Hyper-parameters of occupation-measure inclusion."""

    step_size: float = 0.1
    """Step size alpha of the forward step, 0 < alpha <= 10,000 [O]; MFGLib's is 0.001."""
    damping: float = 0.0
    """Perturbation eta >= 0; alpha eta <= 1. With eta > 0 the method converges faster, to a point that is no exact
    equilibrium."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("step_size", self.step_size, 0.0, LARGEST_STEP, exclude_low=True)
        checks.real("damping", self.damping, 0.0, 1.0 / self.step_size)


def policy_of(measure: Array, otherwise: Array) -> Array:
    """The policy d(s, a) / d(s) of a measure (T, S, A); another one where there is no mass."""
    mass = measure.sum(axis=-1, keepdims=True)
    policy: Array = np.where(mass > 0.0, measure / np.where(mass > 0.0, mass, 1.0), otherwise)
    return policy


class OccupationMeasureInclusion(MeanFieldSolver):
    """MF-OMI-FBS: d <- the flow, in the dynamics of d, that is nearest to d + alpha (R(d) - eta d).

    An equilibrium is a flow d that no step moves: 0 in -R(d) + N(d), with N(d) the normal cone, at d, of the
    polytope of flows in the dynamics of d. The distance to equilibrium falls in games that are monotone in the
    sense of Lasry and Lions. The projection is exact (:mod:`.flow_polytope`). For games that end.

    Hyper-parameters: :class:`OccupationMeasureInclusionConfig`.

    References
    ----------
    Hu & Zhang, "MF-OML: Online mean-field reinforcement learning with occupation measures for large population
    games", arXiv 2405.00282.
    """

    config_class = OccupationMeasureInclusionConfig
    name = "mf-omi"
    config: OccupationMeasureInclusionConfig
    needs_horizon = True

    def _set_up(self) -> None:
        super()._set_up()
        self._uniform = self._law
        """The uniform policy: 0 for actions that are not allowed."""
        self._measure = self.induced.flow(self._law).mu
        self._multipliers = np.zeros(self._law.shape[:2])

    def _compile(self) -> None:
        constraints(self.induced.frozen(self._measure), self.induced.n_states)

    def _advance(self, n_before: int, n_iterations: int) -> None:
        alpha, eta = self.config.step_size, self.config.damping
        for _ in range(n_iterations):
            flow = self.induced.frozen(self._measure)
            point = self._measure + alpha * (flow.rewards - eta * self._measure)
            point[self._uniform == 0.0] = -np.inf
            matrix = constraints(flow, self.induced.n_states)
            self._measure, self._multipliers = self._projected(point, matrix)
            self._law = policy_of(self._measure, self._uniform)

    def _projected(self, point: Array, matrix: Any) -> tuple[Array, Array]:
        """The nearest flow and its multipliers: from the last ones, or from zeros where that leads nowhere."""
        try:
            return project_to_flows(point, matrix, self.induced.initial, self._multipliers)
        except ValueError:
            return project_to_flows(point, matrix, self.induced.initial, np.zeros_like(self._multipliers))

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        shape = game.policy_shape
        return {
            **super()._state_specification(game, config, iteration),
            "measure": ArraySpecification(np.float64, shape, low=0.0, total=1.0, summed_axes=2),
            "multipliers": ArraySpecification(np.float64, shape[:2], -LARGEST_MULTIPLIER, LARGEST_MULTIPLIER),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "measure": self._measure, "multipliers": self._multipliers}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._measure, self._multipliers = state["measure"], state["multipliers"]
