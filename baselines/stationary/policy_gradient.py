"""Two-timescale policy gradient for stationary mean-field games (Subramanian & Mahajan, AAMAS 2019)."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game

from ..policies import TabularPolicy
from ..trainer import LARGEST, Trainer
from .config import MOST_NUMBERS, RATES, StationaryPGConfig, gradient_of, policy_of
from .evaluation import MOST_ENTRIES_BY_DEFAULT, Evaluation, Evaluator, check_size, n_entries
from .optimizers import adam_step, sgd_step
from .policies import normalised, policy_class
from .simulation import Population, Simulator

Array = NDArray[np.float64]

THETA, SIGNS, FIELD, OTHER_FIELD, PLAY, OTHER_PLAY = range(6)
"""Stages of an iteration that draw random numbers of their own."""


class StationaryPolicyGradient(Trainer[StationaryPGConfig]):
    """Policy gradient for stationary mean-field equilibria and social optima of finite discounted games.

    In every iteration, each of ``n_runs`` independent runs estimates the mean field z of its policy from
    minibatches, z <- z + beta_k (Phihat(z, pi_theta) - z), estimates a gradient G from trajectories of single
    agents in that mean field, and takes a projected ascent step theta <- Proj[theta + alpha_k G]:

    * for an equilibrium, the gradient of J(pi_theta, z) with z held, by the likelihood ratio or by SPSA;
    * for the social optimum, that of J(pi_theta, z_theta), by SPSA with a mean field for each of the two values.

    Hyper-parameters: :class:`StationaryPGConfig`. Logs ``train/return``, the median over runs of the estimated J,
    and every ``evaluation_interval`` iterations, and in the first, the median and quartiles over runs of the exact
    value and of the exploitability.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-Field Games", AAMAS 2019.
    """

    config_class = StationaryPGConfig
    name = "stationary-pg"

    @classmethod
    def _check_game(cls, game: Game) -> FiniteGame:
        made = super()._check_game(game)
        if not made.is_infinite:
            raise ValueError(
                f"{cls.__name__} needs a game with an infinite horizon: make it with discount < 1, got"
                f" {made.discount:g}"
            )
        if made.n_populations > 1:
            raise ValueError(
                f"{cls.__name__} needs a game with one population, whose agents all start alike, got"
                f" {made.n_populations} populations"
            )
        return made

    @property
    def policy(self) -> TabularPolicy:
        """The policy of run 0."""
        return self._as_policy(normalised(self._class.tables(self._theta[:1])))

    @property
    def policies(self) -> Array:
        """The policies of all runs, shape (R, 1, S, A)."""
        return normalised(self._class.tables(self._theta))[:, None]

    @property
    def parameters(self) -> Array:
        """The parameters theta of all runs, shape (R, P)."""
        return self._theta.copy()

    @property
    def thresholds(self) -> Array:
        """The thresholds of all runs, shape (R, d); AttributeError if their policies are of another kind."""
        if self._kind != "threshold":
            raise AttributeError(f"policies are {self._kind!r}: only 'threshold' policies have thresholds")
        return self._theta.copy()

    @property
    def mean_fields(self) -> Array:
        """The last estimates of the mean field of all runs, shape (R, S): the initial law before any iteration."""
        return self._laws.copy()

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of transitions that all runs sample in an iteration, for the mean fields and for trajectories."""
        config = self.config
        n_fields = 2 if config.objective == "social-welfare" else 1
        n_values = 2 if self._gradient == "spsa" else 1
        of_fields = n_fields * config.mean_field_steps * config.mean_field_batch
        return config.n_runs * (of_fields + n_values * config.n_trajectories * config.trajectory_length)

    def evaluate(self) -> Evaluation:
        """The exact values and gaps of all runs' policies, each at its own stationary mean field.

        Raises
        ------
        ValueError
            If the game has more than 2^28 transition probabilities S A S.
        """
        return self._evaluator.evaluate(self.policies[:, 0])

    def values(self) -> Array:
        """J(pi, z_pi) of all runs, exactly, shape (R,)."""
        return self.evaluate().values

    def gaps(self) -> Array:
        """Exploitabilities of all runs, exactly, shape (R,)."""
        return self.evaluate().gaps

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.game)

    def _set_up(self) -> None:
        game, config = self.game, self.config
        self._kind = policy_of(game, config)
        self._gradient = gradient_of(config, self._kind)
        self._class = policy_class(game, config)
        for what, n in (
            ("n_states * n_actions", game.n_states * game.n_actions),
            ("n_parameters", self._class.n_parameters),
        ):
            checks.at_most(f"n_runs * {what}", config.n_runs * n, MOST_NUMBERS)
        if config.evaluation_interval:
            check_size(game)
        self._simulator = Simulator(game, config.n_runs, config.seed)
        low, high = self._class.first
        self._theta = low + (high - low) * self._simulator.uniform(len(low), 0, THETA)
        self._moments = np.zeros((2, *self._theta.shape))
        self._laws = np.tile(game.initial_distribution.astype(np.float64), (config.n_runs, 1))

    def _iterate(self) -> dict[str, float]:
        config, k = self.config, self.iteration
        if config.objective == "social-welfare":
            gradient, values, laws = self._social_gradient()
        else:
            gradient, values, laws = self._equilibrium_gradient()
        checks.finite("the gradient", gradient)
        rate = RATES[self._kind] if config.learning_rate is None else config.learning_rate
        moments = self._moments
        if config.optimizer == "adam":
            step, moments = adam_step(gradient, moments, k, rate)
            checks.finite("the average of the squared gradients", moments)
        else:
            step = sgd_step(gradient, k, rate, config.learning_rate_exponent)
        theta = self._class.project(self._theta + step)
        self._theta, self._moments, self._laws = theta, moments, laws
        measured = {"train/return": float(np.median(values))}
        every = self._evaluation_interval
        if every and (k == 0 or (k + 1) % every == 0):
            found = self.evaluate()
            for name, numbers in (("value", found.values), ("exploitability", found.gaps)):
                for part, level in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75)):
                    measured[f"eval/{name}_{part}"] = float(np.quantile(numbers, level))
        return measured

    @property
    def _evaluation_interval(self) -> int:
        if self.config.evaluation_interval is not None:
            return self.config.evaluation_interval
        return 10 if n_entries(self.game) <= MOST_ENTRIES_BY_DEFAULT else 0

    def _equilibrium_gradient(self) -> tuple[Array, Array, Array]:
        """Estimates of dJ(theta, z)/dtheta with z held, of J, and the mean fields."""
        config, theta = self.config, self._theta
        tables = self._class.tables(theta)
        population = self._population(tables, FIELD)
        if self._gradient == "likelihood-ratio":
            weights, values = self._simulator.weights(
                *(tables, population, config.n_trajectories, config.trajectory_length, self.iteration, PLAY),
                has_baseline=config.baseline and config.n_trajectories > 1,
            )
            return self._class.gradient(theta, weights), values, population.laws
        steps = self._perturbations()
        above = self._values(self._class.tables(theta + steps), population, PLAY)
        below = self._values(self._class.tables(theta - steps), population, self._other(OTHER_PLAY, PLAY))
        return _spsa(above, below, steps), (above + below) / 2, population.laws

    def _social_gradient(self) -> tuple[Array, Array, Array]:
        """Estimates of dJ(theta, z_theta)/dtheta, of J, and the mean fields: the averages of the two of SPSA."""
        steps, values, laws = self._perturbations(), [], []
        for sign, field, play in (
            (1.0, FIELD, PLAY),
            (-1.0, self._other(OTHER_FIELD, FIELD), self._other(OTHER_PLAY, PLAY)),
        ):
            tables = self._class.tables(self._theta + sign * steps)
            population = self._population(tables, field)
            values.append(self._values(tables, population, play))
            laws.append(population.laws)
        above, below = values
        return _spsa(above, below, steps), (above + below) / 2, (laws[0] + laws[1]) / 2

    def _other(self, stage: int, common: int) -> int:
        """The stage of SPSA's second value: that of the first if both are estimated with the same numbers."""
        return common if self.config.common_random_numbers else stage

    def _perturbations(self) -> Array:
        """SPSA's perturbations c Delta of all runs, shape (R, P); the signs Delta are +1 or -1."""
        draws = self._simulator.uniform(self._class.n_parameters, self.iteration, SIGNS)
        return self.config.perturbation * np.where(draws < 0.5, -1.0, 1.0)

    def _population(self, tables: NDArray[np.float32], stage: int) -> Population:
        config = self.config
        laws = self._laws
        if config.mean_field_start == "initial":
            laws = np.broadcast_to(self.game.initial_distribution, laws.shape)
        rates = config.mean_field_rates(self.iteration)
        return self._simulator.mean_fields(tables, laws, rates, config.mean_field_batch, self.iteration, stage)

    def _values(self, tables: NDArray[np.float32], population: Population, stage: int) -> Array:
        config = self.config
        return self._simulator.returns(
            tables, population, config.n_trajectories, config.trajectory_length, self.iteration, stage
        )

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: StationaryPGConfig, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        policies = policy_class(game, config)
        shape = config.n_runs, policies.n_parameters
        return {
            "theta": ArraySpecification(np.float64, shape, *policies.bounds),
            "moments": ArraySpecification(np.float64, (2, *shape), -LARGEST, LARGEST),
            "laws": ArraySpecification(np.float64, (config.n_runs, game.n_states), low=0.0, total=1.0),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"theta": self._theta, "moments": self._moments, "laws": self._laws}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        if (state["moments"][1] < 0.0).any():
            raise ValueError("moments[1] must be >= 0: it holds averages of squares")
        self._theta, self._moments, self._laws = state["theta"], state["moments"], state["laws"]


def _spsa(above: Array, below: Array, steps: Array) -> Array:
    """SPSA's estimate of the gradient of every run, (R, P), from the values at theta +- ``steps``, (R,) each."""
    estimate: Array = (above - below)[:, None] / (2.0 * steps)
    return estimate
