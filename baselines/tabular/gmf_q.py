"""Learning in generalised mean-field games from samples: GMF-Q and the naive algorithm.

They are from Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585). Both alternate between answer
and population as :mod:`..solvers.population_iteration` does, with a Q that is learned from sampled transitions.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.meanfield.loop import GIVEN, LoopOptions

from ..config import TrainerConfig
from ..solvers.population_iteration import GMFV, GMFVConfig, PopulationIteration, stepping
from ..trainer import MOST_ITERATIONS
from .q_learning import STEP_EXPONENT, q_learning


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearningConfig(TrainerConfig):
    """Hyper-parameters of Q-learning in a frozen population."""

    inner_iterations: int = 2000
    """Number T_k of Q-learning iterations on each population [O]."""
    asynchronous: bool = False
    """Whether a Q-learning iteration is a single update on the path of one agent who acts at random [O]; if not,
    it is a sweep that samples one transition for every (h, s, a) [R]."""
    step_exponent: float = STEP_EXPONENT
    """Exponent omega of the step sizes 1 / (t + 1)^omega, 1/2 < omega <= 1 [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("inner_iterations", self.inner_iterations, 1, MOST_ITERATIONS)
        checks.real("step_exponent", self.step_exponent, 0.5, 1.0, exclude_low=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GMFQConfig(QLearningConfig, GMFVConfig):
    """Hyper-parameters of GMF-Q: those of GMF-V and of Q-learning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaiveQConfig(QLearningConfig):
    """Hyper-parameters of the naive algorithm."""

    exact: bool = False
    """Whether the exact Q of the model takes the place of Q-learning; the algorithm then ends in a cycle, and with
    Q-learning in noise."""


class _QLearner(PopulationIteration):
    """Base class of population iterations whose Q is learned from sampled transitions."""

    config: Any

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of transitions that Q-learning samples on one population."""
        updates = 1 if self.config.asynchronous else self._q.size
        n: int = self.config.inner_iterations * updates
        return n

    def _set_up(self) -> None:
        super()._set_up()
        self._exact_q = np.empty(self.induced.policy_shape)
        self._error: float | None = None

    def _advance(self, n_before: int, n_iterations: int) -> None:
        config = self.config
        for stage in range(n_before, n_before + n_iterations):
            self._q[:] = q_learning(
                self.induced,
                self._population,
                config.inner_iterations,
                asynchronous=config.asynchronous,
                step_exponent=config.step_exponent,
                seed=config.seed,
                stage=stage,
            )
            self._error = self._run_loop(stage, 1, self._options._replace(values=GIVEN))

    def _iterate(self) -> dict[str, float]:
        measured = super()._iterate()
        return measured if self._error is None else {**measured, "train/q_error": self._error}


class GMFQ(_QLearner, GMFV):
    """GMF-Q: Q-learning in the frozen population, the policy softmax_c(Q), projection to an eps-net.

    Hyper-parameters: :class:`GMFQConfig`. Logs ``train/q_error``, the relative l2 distance of the learned Q to the
    exact one. The next population is computed by the model, which takes the place of Guo et al.'s simulator G.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585, algorithm 2.
    """

    config_class = GMFQConfig
    name = "gmf-q"
    config: GMFQConfig


class NaiveQ(_QLearner):
    """The naive algorithm: Q-learning, argmax-e, no projection. It is here to show that it fails to converge.

    Hyper-parameters: :class:`NaiveQConfig`.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585, algorithm 1.
    """

    config_class = NaiveQConfig
    name = "naive-q"
    config: NaiveQConfig

    @classmethod
    def _loop_options(cls, config: NaiveQConfig) -> LoopOptions:
        return stepping(math.inf)

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of transitions that Q-learning samples on one population; 1 with the exact Q."""
        return 1 if self.config.exact else super().timesteps_per_iteration

    def _advance(self, n_before: int, n_iterations: int) -> None:
        if self.config.exact:
            self._run_loop(n_before, n_iterations, self._options)
        else:
            super()._advance(n_before, n_iterations)
