"""Solvers that alternate between a policy and the population, on the model: GMF-V and the three-step fixed point.

They are from Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585). They iterate two maps on the
population L, a distribution over states and actions: Gamma_1 gives a policy that answers L (the answer), and
Gamma_2 moves the population by one step under that policy (:meth:`mfenvs.InducedGame.next_population`). The
algorithms differ in how Q is found (here by value iteration on the model; those of :mod:`..tabular.gmf_q` learn it
from sampled transitions), in how the policy follows from Q (softmax_c or argmax-e), and in whether L is projected
to an eps-net.

On an infinite game L is one distribution, and one step is one step of the game. On a game that ends, L is a whole
flow, and the next L is the flow of the answer [O]: GMF-V is then Boltzmann iteration, as in Cui & Koeppl (AISTATS
2021).
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.contraction import ContractionModuli, contraction_moduli
from mfenvs.meanfield.loop import STEP, LoopOptions

from ..config import TrainerConfig
from ..trainer import LARGEST
from .loop import LoopSolver

Array = NDArray[np.float64]

MOST_PAIRS = 2**16
"""Largest number of pairs from which moduli are estimated: each takes a fraction of a millisecond or more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GMFVConfig(TrainerConfig):
    """Hyper-parameters of GMF-V; Guo et al. publish no values."""

    inverse_temperature: float = 4.0
    """Inverse temperature c > 0 of the policy softmax_c(Q), with softmax_c(x)_i = exp(c x_i) / sum_j exp(c x_j)
    [O]."""
    net: int = 10_000
    """Resolution m of the eps-net: populations are projected to multiples of 1/m [O]; 0 for no projection. Where
    there are several populations, or public histories, the law within each is projected, and keeps its mass."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.integer("net", self.net, 0, 2**31)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeStepConfig(TrainerConfig):
    """Hyper-parameters of the three-step fixed-point iteration."""

    inverse_temperature: float = math.inf
    """Inverse temperature c > 0 of the policy softmax_c(Q); infinite for the optimal policy (argmax-e), as in Guo
    et al."""
    tolerance: float = 1e-10
    """Largest l1 distance between two successive populations at which the iteration stops."""
    n_pairs: int = 32
    """Number of random pairs from which the Lipschitz moduli are estimated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inverse_temperature != math.inf:
            checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.real("tolerance", self.tolerance, 0.0)
        checks.integer("n_pairs", self.n_pairs, 1, MOST_PAIRS)


class PopulationIteration(LoopSolver):
    """Base class of solvers that alternate between answer and population; an iteration is one outer step k."""

    @property
    def q(self) -> Array:
        """Q values against the population that was answered last, shape (T, S, A)."""
        return self._q.copy()

    @property
    def population(self) -> Array:
        """The population L_k, shape (T, S, A); L_0 is the initial law under the uniform policy, or its flow."""
        return self._population.copy()

    def _set_up(self) -> None:
        super()._set_up()
        self._q = np.zeros(self.induced.policy_shape)
        self._work = self._q, self._work[1]

    def _first_population(self) -> Array:
        """The initial law under the uniform policy, or its flow, shape (T, S, A)."""
        if self.game.is_infinite:
            return self.induced.initial[None, :, None] * self._law
        return super()._first_population()

    def _iterate(self) -> dict[str, float]:
        before = self._population.copy()
        measured = super()._iterate()
        change = np.abs(self._population - before)
        moved = {"l1": change.sum(axis=(1, 2)).max(), "linf": change.max()}
        return {**{f"train/change_{norm}": float(value) for norm, value in moved.items()}, **measured}

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        q = ArraySpecification(np.float64, game.policy_shape, -LARGEST, LARGEST)
        return {**super()._state_specification(game, config, iteration), "q": q}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "q": self._q}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._q = state["q"]
        self._work = self._q, self._work[1]


def stepping(inverse_temperature: float, net: int = 0) -> LoopOptions:
    """Options of the loop: answer by softmax_c (argmax-e if c is infinite), move the population by one step."""
    return LoopOptions(rate=inverse_temperature, shares_ties=True, population=STEP, net=net)


class GMFV(PopulationIteration):
    """GMF-V: value iteration on the model, the policy softmax_c(Q), projection to an eps-net.

    Hyper-parameters: :class:`GMFVConfig`. Value iteration runs until Q no longer changes, in place of a fixed
    number of iterations (Guo et al.'s 5000 go beyond that).

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585.
    """

    config_class: ClassVar[type[GMFVConfig]] = GMFVConfig
    name = "gmf-v"
    config: GMFVConfig

    @classmethod
    def _loop_options(cls, config: GMFVConfig) -> LoopOptions:
        return stepping(config.inverse_temperature, config.net)


class ThreeStepFixedPoint(PopulationIteration):
    """The three-step fixed-point iteration on the model: answer the population, move it by one step, repeat.

    Hyper-parameters: :class:`ThreeStepConfig`. ``learn`` ends when the population no longer changes.

    Warns
    -----
    UserWarning
        When the solver is made, if the estimated moduli have d1 d2 + d3 >= 1: then it need not converge.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585, theorem 1.
    """

    config_class = ThreeStepConfig
    name = "three-step"
    config: ThreeStepConfig

    @classmethod
    def _loop_options(cls, config: ThreeStepConfig) -> LoopOptions:
        return stepping(config.inverse_temperature)

    @property
    def has_converged(self) -> bool:
        """Whether the last iteration changed the population by no more than the tolerance."""
        return self._change <= self.config.tolerance

    def _advance(self, n_before: int, n_iterations: int) -> None:
        if n_iterations == 0:
            return
        super()._advance(n_before, n_iterations - 1)
        before = self._population.copy()
        super()._advance(n_before + n_iterations - 1, 1)
        self._change = float(np.abs(self._population - before).sum(axis=(1, 2)).max())

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        change = ArraySpecification(np.float64, (), low=0.0, may_be_infinite=True)
        return {**super()._state_specification(game, config, iteration), "change": change}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "change": np.array(self._change)}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._change = float(state["change"])

    def _set_up(self) -> None:
        super()._set_up()
        self._change = math.inf
        config = self.config
        self.moduli: ContractionModuli = contraction_moduli(
            self.induced, config.inverse_temperature, n_pairs=config.n_pairs, seed=config.seed
        )
        """Estimated Lipschitz moduli of the iteration."""
        if not self.moduli.may_contract:
            warnings.warn(
                "the three-step iteration need not converge here: d1 d2 + d3 is at least"
                f" {self.moduli.modulus:.3g} (d1 {self.moduli.d1:.3g}, d2 {self.moduli.d2:.3g}, d3"
                f" {self.moduli.d3:.3g}), not below 1",
                UserWarning,
                stacklevel=3,
            )
