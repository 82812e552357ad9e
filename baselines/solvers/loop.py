"""The base class of solvers that are corners of one loop (:mod:`mfenvs.meanfield.loop`)."""

import abc
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.loop import FLOW, GIVEN, LoopOptions, keeps_population, loop_kernel, weight_of_population
from mfenvs.meanfield.net import fixed_masses
from mfenvs.meanfield.population_flow import Flow

from ..trainer import LARGEST
from .solver import MeanFieldSolver


class LoopSolver(MeanFieldSolver):
    """Base class of the corners of the loop: a subclass fixes the :class:`LoopOptions`."""

    @classmethod
    @abc.abstractmethod
    def _loop_options(cls, config: Any) -> LoopOptions:
        """The options of the loop, from the hyper-parameters."""

    def _set_up(self) -> None:
        super()._set_up()
        self._options = self._loop_options(self.config)
        options, shape, unused = self._options, self.induced.policy_shape, np.empty((0, 0, 0))
        self._work = np.empty(shape), self.induced.flow_arrays()
        self._prior = np.zeros(shape) if options.prior_period else unused
        self._population = unused
        if keeps_population(options):
            self._population = self._first_population() * weight_of_population(options, 0)
        self._answer = self._law.copy() if options.averages else unused
        self._exact_q = np.empty(shape) if options.values == GIVEN else unused
        self._fixed = fixed_masses(self.induced.game)

    def _first_population(self) -> NDArray[np.float64]:
        """The population before the first iteration, shape (T, S, A): the flow of the first policy."""
        return self.induced.flow(self._law).mu

    def _advance(self, n_before: int, n_iterations: int) -> None:
        self._run_loop(n_before, n_iterations, self._options)

    def _run_loop(self, n_before: int, n_iterations: int, options: LoopOptions) -> float:
        """Do iterations in place; return the relative l2 distance of given values to those of a best response."""
        answer = self._answer if options.averages else self._law
        population = self._population
        flat = population.reshape(len(population), math.prod(population.shape[1:]))
        iterate = loop_kernel(self.induced.kernels, options)
        last, has_answered, error = n_before + n_iterations, False, 0.0
        while True:
            q, arrays = self._work
            n_before, has_answered, error = iterate(
                *(n_before, last, has_answered, error, options, self._law, answer, self._prior),
                *(population, flat, q, self._exact_q, self._fixed, arrays),
            )
            if n_before == last:
                return float(error)
            # A sparse table has too little room.
            self._work = q, self.induced.more_room(arrays)

    def _faced(self) -> Flow:
        if self._options.population == FLOW:
            return super()._faced()
        return self.induced.frozen(self._population)

    def _is_finite(self) -> bool:
        return super()._is_finite() and bool(np.isfinite(self._work[0]).all())

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        options, shape = cls._loop_options(config), game.policy_shape
        specification = dict(super()._state_specification(game, config, iteration))
        if options.prior_period:
            specification["prior"] = ArraySpecification(np.float64, shape, -LARGEST, LARGEST)
        if keeps_population(options):
            total = weight_of_population(options, iteration)
            specification["population"] = ArraySpecification(np.float64, shape, 0.0, total=total, summed_axes=2)
        if options.averages:
            specification["answer"] = ArraySpecification(np.float64, shape, low=0.0, total=1.0)
        return specification

    def _state(self) -> dict[str, NDArray[Any]]:
        state = super()._state()
        if self._options.prior_period:
            state["prior"] = self._prior
        if keeps_population(self._options):
            state["population"] = self._population
        if self._options.averages:
            state["answer"] = self._answer
        return state

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._prior = state.get("prior", self._prior)
        self._population = state.get("population", self._population)
        self._answer = state.get("answer", self._answer)
