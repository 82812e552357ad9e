"""Learning in generalised mean-field games: GMF-Q, GMF-V, the naive algorithm and the three-step fixed point.

Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585). All iterate the same two maps on the
population L, a law over states and actions: Gamma_1, an answer to L, and Gamma_2, one step of the population
under that answer (:meth:`mfenvs.InducedGame.next_population`). They differ in how Q is found (learned from
sampled transitions, or by value iteration on the model), in how it is acted on (softmax_c or argmax-e), and in
whether L is projected to an eps-net.

On an infinite game L is one law and one step is one step of the game; on a game that ends, L is a whole flow and
its next one is the flow of the answer [O]: GMF-V is then Boltzmann iteration, as in Cui & Koeppl (AISTATS 2021).
"""

import abc
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.meanfield.contraction import ContractionModuli, contraction_moduli
from mfenvs.meanfield.dynamic_programming import optimise
from mfenvs.meanfield.net import round_to_net
from mfenvs.meanfield.responses import respond_rule

from ..solvers.fixed_point import MeanFieldSolver
from ..trainer import TrainerConfig
from .q_learning import STEP_EXPONENT, q_learning

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GMFVConfig(TrainerConfig):
    """Hyper-parameters of GMF-V; the paper publishes no values."""

    inverse_temperature: float = 4.0
    """c of softmax_c(x)_i = exp(c x_i) / sum_j exp(c x_j), positive [O]."""
    net: int = 10_000
    """m: populations are projected to multiples of 1/m [O]; 0: no projection."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.integer("net", self.net, 0, 2**31)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearningConfig(TrainerConfig):
    """Hyper-parameters of Q-learning in a frozen population."""

    inner_iterations: int = 2000
    """T_k, Q-learning iterations on each population [O]."""
    asynchronous: bool = False
    """What such an iteration is: a sweep that samples one transition for every (h, s, a) [R], or, asynchronous, a
    single update on the path of one agent who acts at random [O]."""
    step_exponent: float = STEP_EXPONENT
    """omega: steps are 1 / (t + 1)^omega, 1/2 < omega <= 1 [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("inner_iterations", self.inner_iterations, 1)
        checks.real("step_exponent", self.step_exponent, 0.5, 1.0, exclude_low=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GMFQConfig(QLearningConfig, GMFVConfig):
    """Hyper-parameters of GMF-Q: those of GMF-V and of Q-learning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaiveQConfig(QLearningConfig):
    """Hyper-parameters of the naive algorithm."""

    exact: bool = False
    """Use the exact Q of the model in the place of Q-learning: then it ends in a cycle, rather than in noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeStepConfig(TrainerConfig):
    """Hyper-parameters of the three-step fixed-point iteration."""

    inverse_temperature: float = math.inf
    """c of the answer softmax_c; infinite: the optimal policy (argmax-e), as in the paper."""
    tolerance: float = 1e-10
    """Stop when a step changes the population by no more than this, in l1."""
    n_pairs: int = 32
    """Number of random pairs from which the Lipschitz moduli are estimated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inverse_temperature != math.inf:
            checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.real("tolerance", self.tolerance, 0.0)
        checks.integer("n_pairs", self.n_pairs, 1)


class _PopulationIteration(MeanFieldSolver):
    """Iterates answer and population; an iteration is one outer step k."""

    @property
    def q(self) -> Array:
        """Q of the last answered population, shape (T, S, A)."""
        return self._q.copy()

    @property
    def population(self) -> Array:
        """L_k, shape (T, S, A): at first the initial law under the uniform policy, or its flow."""
        return self._population.copy()

    @property
    @abc.abstractmethod
    def _inverse_temperature(self) -> float:
        """c, infinite for argmax-e."""

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

    def _advance(self, n_iterations: int) -> None:
        self._answer(n_iterations, is_learned=False)

    def _answer(self, n_iterations: int, *, is_learned: bool) -> float:
        """Do iterations in place, with the exact Q or the one that was learned; return the error of the latter."""
        exact, arrays = self._work
        population = self._population
        error = self._kernel(
            *(n_iterations, is_learned, self._inverse_temperature, self._net, self._q, self._law),
            *(population, population.reshape(len(population), -1), self._remainders, arrays, exact),
        )
        return float(error)

    def _iterate(self) -> dict[str, float]:
        before = self._population.copy()
        measured = super()._iterate()
        change = np.abs(self._population - before)
        moved = {"l1": change.sum(axis=(1, 2)).max(), "linf": change.max()}
        return {**{f"train/change_{norm}": float(value) for norm, value in moved.items()}, **measured}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"law": self._law, "q": self._q, "population": self._population}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._law, self._q, self._population = state["law"], state["q"], state["population"]


class GMFV(_PopulationIteration):
    """GMF-V: Q by value iteration on the model, softmax_c, projection to an eps-net.

    Guo et al., arXiv 1901.09585. Hyper-parameters: :class:`GMFVConfig`. Q is computed until nothing changes, in
    the place of a number of iterations (the paper's 5000 are beyond that).
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


class _QLearner(_PopulationIteration):
    """An iteration of which Q is learned from sampled transitions."""

    config: Any

    @property
    def timesteps_per_iteration(self) -> int:
        """Transitions that Q-learning samples on one population."""
        updates = 1 if self.config.asynchronous else self._q.size
        n: int = self.config.inner_iterations * updates
        return n

    def _set_up(self) -> None:
        super()._set_up()
        self._error: float | None = None

    def _advance(self, n_iterations: int) -> None:
        config = self.config
        for done in range(n_iterations):
            self._q = q_learning(
                self.induced,
                self._population,
                config.inner_iterations,
                asynchronous=config.asynchronous,
                step_exponent=config.step_exponent,
                seed=config.seed,
                stage=self.iteration + done,
            )
            self._error = self._answer(1, is_learned=True)

    def _iterate(self) -> dict[str, float]:
        measured = super()._iterate()
        return measured if self._error is None else {**measured, "train/q_error": self._error}


class GMFQ(_QLearner, GMFV):
    """GMF-Q: Q-learning on the frozen population, softmax_c, projection to an eps-net.

    Guo et al., arXiv 1901.09585, algorithm 2. Hyper-parameters: :class:`GMFQConfig`. Logs ``train/q_error``, the
    relative l2 distance of the learned Q to the exact one. The step of the population is that of the model, the
    paper's simulator G.
    """

    config_class = GMFQConfig
    name = "gmf-q"
    config: GMFQConfig


class NaiveQ(_QLearner):
    """The naive algorithm: Q-learning, argmax-e, no projection. It is there to be seen to fail.

    Guo et al., arXiv 1901.09585, algorithm 1. Hyper-parameters: :class:`NaiveQConfig`.
    """

    config_class = NaiveQConfig
    name = "naive-q"
    config: NaiveQConfig

    @property
    def _inverse_temperature(self) -> float:
        return math.inf

    @property
    def timesteps_per_iteration(self) -> int:
        """Transitions that Q-learning samples on one population; 1 with the exact Q."""
        return 1 if self.config.exact else super().timesteps_per_iteration

    def _advance(self, n_iterations: int) -> None:
        if self.config.exact:
            self._answer(n_iterations, is_learned=False)
        else:
            super()._advance(n_iterations)


class ThreeStepFixedPoint(_PopulationIteration):
    """The three-step fixed-point iteration on the model: answer, one step of the population, again.

    Guo et al., arXiv 1901.09585, theorem 1. Hyper-parameters: :class:`ThreeStepConfig`. ``learn`` ends when the
    population no longer changes.

    Warns
    -----
    UserWarning
        When it is made, if the estimated moduli have d1 d2 + d3 >= 1: then it need not converge.
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

    def _advance(self, n_iterations: int) -> None:
        if n_iterations > 1:
            super()._advance(n_iterations - 1)
        before = self._population.copy()
        super()._advance(1)
        self._change = float(np.abs(self._population - before).sum(axis=(1, 2)).max())

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
        With a learned Q in ``q`` it is one iteration; returns the relative l2 distance of ``q`` to the exact Q.
        """
        horizon, n_states, n_actions = q.shape
        error, size = 0.0, 0.0
        for _ in range(n_iterations):
            freeze(population, arrays)
            optimise(arrays.transitions, arrays.rewards, 0.0, arrays.discount, exact, arrays.values)
            for h in range(horizon):
                for s in range(n_states):
                    for a in range(n_actions):
                        if is_learned:
                            error += (q[h, s, a] - exact[h, s, a]) ** 2
                            size += exact[h, s, a] ** 2
                        else:
                            q[h, s, a] = exact[h, s, a]
            respond_rule(q, inverse_temperature, law)
            advance(law, population, arrays)
            if net > 0:
                for h in range(horizon):
                    round_to_net(flat[h], net, remainders)
        return math.sqrt(error / size) if size > 0.0 else 0.0

    return iterate
