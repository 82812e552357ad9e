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

import abc
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.files import ArraySpecification
from mfenvs.game import FiniteGame
from mfenvs.meanfield.contraction import ContractionModuli, contraction_moduli
from mfenvs.meanfield.dynamic_programming import FORBIDDEN, is_open, optimise
from mfenvs.meanfield.induced import Flow
from mfenvs.meanfield.net import round_to_net
from mfenvs.meanfield.responses import respond_rule

from ..config import TrainerConfig
from ..trainer import LARGEST
from .fixed_point import MeanFieldSolver

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
    """Resolution m of the eps-net: populations are projected to multiples of 1/m [O]; 0 for no projection."""

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


class PopulationIteration(MeanFieldSolver):
    """Base class of solvers that alternate between answer and population; an iteration is one outer step k."""

    @property
    def q(self) -> Array:
        """Q values against the population that was answered last, shape (T, S, A)."""
        return self._q.copy()

    @property
    def population(self) -> Array:
        """The population L_k, shape (T, S, A); L_0 is the initial law under the uniform policy, or its flow."""
        return self._population.copy()

    @property
    @abc.abstractmethod
    def _inverse_temperature(self) -> float:
        """Inverse temperature c; infinite for argmax-e."""

    @property
    def _net(self) -> int:
        """Resolution m of the eps-net; 0 for none."""
        return 0

    def _set_up(self) -> None:
        super()._set_up()
        self._q = np.zeros(self.induced.policy_shape)
        if self.game.is_infinite:
            self._population = self.induced.initial[None, :, None] * self._law
        else:
            self._population = self.induced.flow(self._law).mu
        self._remainders = np.empty(self._law[0].size)
        kernels = self.induced.kernels
        self._kernel = _iteration_kernel(kernels.freeze_rule, kernels.advance_rule)

    def _advance(self, n_before: int, n_iterations: int) -> None:
        self._answer(n_iterations, is_learned=False)

    def _answer(self, n_iterations: int, *, is_learned: bool) -> float:
        """Do iterations in place, with the exact or a learned Q; return the error of the learned one."""
        population = self._population
        while True:
            exact, arrays = self._work
            done, error = self._kernel(
                *(n_iterations, is_learned, self._inverse_temperature, self._net, self._q, self._law),
                *(population, population.reshape(len(population), -1), self._remainders, arrays, exact),
            )
            if done == n_iterations:
                return float(error)
            n_iterations -= int(done)
            self._work = exact, self.induced.more_room(arrays)

    def _faced(self) -> Flow:
        return self.induced.frozen(self._population)

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
        shape = game.policy_shape
        return {
            **super()._state_specification(game, config, iteration),
            "q": ArraySpecification(np.float64, shape, -LARGEST, LARGEST),
            "population": ArraySpecification(np.float64, shape, low=0.0, total=1.0, summed_axes=2),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "q": self._q, "population": self._population}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._q, self._population = state["q"], state["population"]


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

    @property
    def _inverse_temperature(self) -> float:
        return self.config.inverse_temperature

    @property
    def _net(self) -> int:
        return self.config.net


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

    @property
    def _inverse_temperature(self) -> float:
        return self.config.inverse_temperature

    @property
    def has_converged(self) -> bool:
        """Whether the last iteration changed the population by no more than the tolerance."""
        return self._change <= self.config.tolerance

    def _advance(self, n_before: int, n_iterations: int) -> None:
        if n_iterations > 1:
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


@functools.cache
def _iteration_kernel(freeze: Callable[..., Any], advance: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def iterate(
        n_iterations: Any,
        is_learned: Any,
        inverse_temperature: Any,
        net: Any,
        q: Any,
        law: Any,
        population: Any,
        flat: Any,
        remainders: Any,
        arrays: Any,
        exact: Any,
    ) -> Any:
        """Do iterations on Q, the answer and the population (T, S, A) in place; the rest is scratch.

        ``flat`` is the population again, as (T, S A).
        Returns the number of iterations done, which is less if a population could not be tabulated. With a learned
        Q in ``q`` it is one iteration; the relative l2 distance of ``q`` to the exact Q is returned too.
        """
        transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
        horizon, n_states, n_actions = q.shape
        error, size = 0.0, 0.0
        for done in range(n_iterations):
            error, size = 0.0, 0.0
            if not freeze(population, arrays):
                return done, 0.0
            optimise(
                *(transitions, successors, rewards, arrays.allowed, 0.0),
                *(arrays.discount, exact, arrays.values),
            )
            for h in range(horizon):
                for s in range(n_states):
                    for a in range(n_actions):
                        if not is_open(arrays.allowed, h, s, a):
                            q[h, s, a] = FORBIDDEN
                        elif is_learned:
                            error += (q[h, s, a] - exact[h, s, a]) ** 2
                            size += exact[h, s, a] ** 2
                        else:
                            q[h, s, a] = exact[h, s, a]
            respond_rule(q, inverse_temperature, law)
            if not advance(law, population, arrays):
                return done, 0.0
            if net > 0:
                for h in range(horizon):
                    round_to_net(flat[h], net, remainders)
        return n_iterations, math.sqrt(error / size) if size > 0.0 else 0.0

    return iterate
