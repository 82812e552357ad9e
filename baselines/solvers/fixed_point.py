"""Solvers of the induced mean-field game from its model: online mirror descent and fictitious play."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.flow import follow
from mfenvs.files import ArraySpecification
from mfenvs.game import FiniteGame
from mfenvs.meanfield.dynamic_programming import act_optimally, act_softly, evaluate, optimise
from mfenvs.meanfield.induced import Flow, InducedGame

from ..config import TrainerConfig
from ..policies import TabularPolicy
from ..trainer import LARGEST, Trainer

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MirrorDescentConfig(TrainerConfig):
    """Hyper-parameters of online mirror descent."""

    learning_rate: float = 0.1
    """Step size alpha > 0 with which Q values are accumulated; too large a step diverges (A-RPS: at 1)."""
    temperature: float = 0.0
    """Entropy regularisation tau >= 0; alpha tau < 1. With tau > 0 a fixed point is the equilibrium of the
    regularised game, which is at most 2 tau H log|A|-exploitable (Yardim & He, Lemma 11)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("learning_rate", self.learning_rate, 0.0, exclude_low=True)
        checks.real("temperature", self.temperature, 0.0, 1.0 / self.learning_rate, exclude_high=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FictitiousPlayConfig(TrainerConfig):
    """Hyper-parameters of fictitious play."""

    temperature: float = 0.0
    """Temperature tau >= 0 of the soft best responses; 0 for exact best responses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0)


class MeanFieldSolver(Trainer[Any]):
    """Base class of solvers that iterate on the arrays of the induced game in compiled code.

    A timestep is an iteration.
    """

    _kernel: Callable[..., Any]
    """Does iterations in place, and returns how many."""

    @property
    def timesteps_per_iteration(self) -> int:
        """One: nothing is simulated."""
        return 1

    @property
    def policy(self) -> TabularPolicy:
        """The current policy, shared by all agents; uniform before the first iteration."""
        return self._as_policy(self._law)

    def _set_up(self) -> None:
        self.induced = InducedGame(self.game)
        """The induced mean-field game, which is solved."""
        self._law = self.induced.uniform_policy()
        self._work = np.empty(self.induced.policy_shape), self.induced.flow_arrays()

    def _repeat(self, n_iterations: int, *arguments: Any) -> None:
        """Do iterations by the compiled ``_kernel``, with more room whenever a sparse table has too little."""
        while (done := int(self._kernel(n_iterations, *arguments, *self._work))) < n_iterations:
            n_iterations -= done
            self._work = self._work[0], self.induced.more_room(self._work[1])

    @abc.abstractmethod
    def _advance(self, n_before: int, n_iterations: int) -> None:
        """Do ``n_iterations`` iterations in place, after ``n_before`` that have been done."""

    def run(self, n_iterations: int) -> None:
        """Do ``n_iterations`` iterations in compiled code, without logging, callbacks or measuring in between.

        Raises
        ------
        TypeError, ValueError
            If the number is not allowed, or a result overflows or is not a number; then nothing is done.
        """
        n_iterations = checks.integer("n_iterations", n_iterations, 0)
        if n_iterations == 0:
            return
        with self._undone_if_it_fails() as before:
            self._advance(self.iteration, n_iterations)
            if not self._is_finite():
                self._set_state({name: array.copy() for name, array in before.items()})
                self._advance_checked(n_iterations)
        self.iteration += n_iterations
        self.num_timesteps += n_iterations * self.timesteps_per_iteration

    def _iterate(self) -> dict[str, float]:
        self._advance_checked(1)
        return {"eval/mean_field_exploitability": self.induced.exploitability(self._law)}

    def _advance_checked(self, n_iterations: int) -> None:
        """Do iterations one by one; if one leaves numbers that are not finite, a ValueError says why."""
        for n_before in range(self.iteration, self.iteration + n_iterations):
            before = {name: array.copy() for name, array in self._state().items()}
            self._advance(n_before, 1)
            if not self._is_finite():
                self._set_state(before)
                largest = np.abs(self._faced().rewards).max()
                raise ValueError(
                    f"the values of {type(self.game).__name__} overflow in iteration {n_before + 1} of"
                    f" {type(self).__name__}: its rewards are too large, of up to {largest:g}"
                )

    def _faced(self) -> Flow:
        """The decision problem that the next iteration solves; ValueError if a rule returns a bad value."""
        return self.induced.flow(self._law)

    def _is_finite(self) -> bool:
        """Whether the last iteration computed finite numbers only."""
        computed = (self._work[0], *self._state().values())
        return all(bool(np.isfinite(array).all()) for array in computed)

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        return {"law": ArraySpecification(np.float64, game.policy_shape, low=0.0, total=1.0)}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"law": self._law}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._law = state["law"]


class OnlineMirrorDescent(MeanFieldSolver):
    """Online mirror descent: y <- (1 - alpha tau) y + alpha Q^{tau,pi}, pi = softmax(y).

    It solves any finite game. With tau > 0 it is the exact-model counterpart of Yardim & He's Algorithm 2, without
    its mixing. Hyper-parameters: :class:`MirrorDescentConfig`.

    References
    ----------
    Perolat et al., "Scaling up mean field games with online mirror descent", AAMAS 2022 (tau = 0).

    Yardim & He, arXiv 2408.15173, Algorithm 2.
    """

    config_class = MirrorDescentConfig
    name = "omd"
    config: MirrorDescentConfig

    def _set_up(self) -> None:
        super()._set_up()
        self._y = np.zeros(self.induced.policy_shape)
        self._kernel = _mirror_descent_kernel(self.induced.kernels.flow_rule)

    def _advance(self, n_before: int, n_iterations: int) -> None:
        config = self.config
        self._repeat(n_iterations, self._law, self._y, config.learning_rate, config.temperature)

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        accumulated = ArraySpecification(np.float64, game.policy_shape, -LARGEST, LARGEST)
        return {**super()._state_specification(game, config, iteration), "y": accumulated}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "y": self._y}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._y = state["y"]


class FictitiousPlay(MeanFieldSolver):
    """Fictitious play: the average, weighted by state mass, of best responses to the averages so far.

    It solves any finite game. Where the dynamics depend on the population, a best response's mass is that of a
    single agent in the current flow; in an infinite game, the mass of the stationary law that the agent reaches
    there [O]. Hyper-parameters: :class:`FictitiousPlayConfig`.

    References
    ----------
    Perrin et al., "Fictitious play for mean field games", NeurIPS 2020.
    """

    config_class = FictitiousPlayConfig
    name = "fictitious-play"
    config: FictitiousPlayConfig

    def _set_up(self) -> None:
        super()._set_up()
        shape = self.induced.policy_shape
        self._answer, self._mass = np.empty(shape), np.zeros(shape)
        self._kernel = _fictitious_play_kernel(self.induced.kernels.flow_rule)

    def _advance(self, n_before: int, n_iterations: int) -> None:
        if n_before == 0:
            self._mass = self.induced.flow(self._law).mu
        self._repeat(n_iterations, self._law, self._mass, self._answer, self.config.temperature)

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        # The first policy's mass of 1 is added with the first answer's.
        total = iteration + 1.0 if iteration else 0.0
        mass = ArraySpecification(np.float64, game.policy_shape, low=0.0, total=total, summed_axes=2)
        return {**super()._state_specification(game, config, iteration), "mass": mass}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {**super()._state(), "mass": self._mass}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._mass = state["mass"]


@functools.cache
def _mirror_descent_kernel(flow: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def iterate(
        n_iterations: Any,
        policy: Any,
        y: Any,
        learning_rate: Any,
        temperature: Any,
        q: Any,
        arrays: Any,
    ) -> Any:
        """Do iterations of mirror descent on ``policy`` and ``y`` (T, S, A) in place; ``q`` is scratch.

        Returns the number of iterations done, which is less if a flow could not be tabulated.
        """
        transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
        horizon, n_states, n_actions = q.shape
        for done in range(n_iterations):
            if flow(policy, arrays) < 0.0:
                return done
            evaluate(policy, transitions, successors, rewards, temperature, arrays.discount, q, arrays.values)
            for h in range(horizon):
                for s in range(n_states):
                    for a in range(n_actions):
                        y[h, s, a] += learning_rate * (q[h, s, a] - temperature * y[h, s, a])
            act_softly(y, arrays.allowed, q, policy)
        return n_iterations

    return iterate


@functools.cache
def _fictitious_play_kernel(flow: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def iterate(
        n_iterations: Any,
        policy: Any,
        mass: Any,
        answer: Any,
        temperature: Any,
        q: Any,
        arrays: Any,
    ) -> Any:
        """Do iterations of fictitious play on ``policy`` and ``mass`` (T, S, A) in place; the rest is scratch.

        Returns the number of iterations done, which is less if a flow could not be tabulated.
        """
        transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
        horizon, n_states, n_actions = q.shape
        for done in range(n_iterations):
            if flow(policy, arrays) < 0.0:
                return done
            optimise(
                *(transitions, successors, rewards, arrays.allowed),
                *(temperature, arrays.discount, q, arrays.values),
            )
            act_optimally(q, temperature, answer)
            follow(answer, arrays)
            for h in range(horizon):
                for s in range(n_states):
                    total = 0.0
                    for a in range(n_actions):
                        mass[h, s, a] += arrays.mu[h, s, a]
                        total += mass[h, s, a]
                    for a in range(n_actions):
                        policy[h, s, a] = mass[h, s, a] / total if total > 0.0 else answer[h, s, a]
        return n_iterations

    return iterate
