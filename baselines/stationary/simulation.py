"""Simulation of many independent runs: mean fields, and trajectories of single agents in them."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.model import in_double_precision
from mfenvs.finite_game import FiniteGame

from ..tabular.q_learning import refuse_transition
from .kernels import FORGOTTEN, Draws, Scene, fill_uniform, simulation_kernels
from .tables import cumulate

Array = NDArray[np.float64]
Tables = NDArray[np.float32]

GUIDES_PER_STEP = 8
"""Number of places, for each step of the mean field, from which the searches for a minibatch begin."""


@dataclasses.dataclass(frozen=True)
class Population:
    """The mean fields of all runs, and what a game's rules read of them."""

    laws: Array
    """Laws z of the state, shape (R, S)."""
    counts: Array
    """Mass counted in each cell, shape (R, n_cells)."""
    signals: Array
    """The public signals, shape (R, n_signals)."""


class Simulator:
    """Simulates R independent runs of a finite discounted game in the mean-field limit.

    Parameters
    ----------
    game:
        The game.
    n_runs:
        Number R of runs. The numbers of a run do not depend on it.
    seed:
        Random seed.

    Notes ----- In each call ``iteration`` and ``stage`` are the integers >= 0 on which, with the seed and the run,
    its random numbers depend: calls with equal ones draw the same numbers. Policies are tables of probabilities in
    single precision, shape (R, S, A). Every method raises a ValueError if the game's ``step`` returns a state that
    does not exist or a reward that is not finite.
    """

    def __init__(self, game: FiniteGame, n_runs: int, seed: int) -> None:
        self.game, self.n_runs, self.seed = game, n_runs, seed
        self._kernels = simulation_kernels(game)
        self._scene = self._make_scene()

    def mean_fields(
        self, policies: Tables, laws: Array, rates: Array, batch: int, iteration: int, stage: int
    ) -> Population:
        """Estimate mean fields from samples: z <- z + beta (Phihat(z, pi) - z), a step for each rate beta.

        Phihat is the empirical law of the next states Y of a minibatch: X ~ z, A ~ pi(X), Y ~ P(X, A, z).

        Parameters
        ----------
        policies:
            The policies that the populations play.
        laws:
            The first mean fields, shape (R, S).
        rates:
            Step sizes beta in [0, 1], shape (n_steps,).
        batch:
            Number of samples in a minibatch.
        """
        game, n_steps = self.game, len(rates)
        ages, guide = _ages(rates)
        found = Population(
            np.array(laws, np.float64, order="C"),
            np.empty((self.n_runs, game.n_cells)),
            np.zeros((self.n_runs, game.n_signals)),
        )
        wrong = self._kernels.mean_fields(
            *(policies, self._cumulated(policies), found.laws, self._scene, rates, ages, guide),
            *(self._draws(iteration, stage), np.empty((n_steps, batch), np.int32), np.empty(game.n_states)),
            *(found.counts, found.signals),
        )
        refuse_transition(game, *wrong)
        return found

    def returns(
        self,
        policies: Tables,
        population: Population,
        n_trajectories: int,
        length: int,
        iteration: int,
        stage: int,
    ) -> Array:
        """Estimate J(pi, z), the discounted return from the initial law against mean fields that are held.

        Returns
        -------
        The mean over ``n_trajectories`` trajectories of ``length`` steps, shape (R,).
        """
        out = np.empty(self.n_runs)
        wrong = self._kernels.returns(
            *(self._cumulated(policies), self._scene, population.counts, population.signals),
            *(n_trajectories, length, self._draws(iteration, stage), out),
        )
        refuse_transition(self.game, *wrong)
        return _checked(self.game, out)

    def weights(
        self,
        policies: Tables,
        population: Population,
        n_trajectories: int,
        length: int,
        iteration: int,
        stage: int,
        *,
        has_baseline: bool = False,
    ) -> tuple[Array, Array]:
        """Weights of the likelihood-ratio gradient, shape (R, S, A), and the mean returns, shape (R,).

        The sum over (s, a) of the weights times the gradients of log pi(a | s) estimates dJ(pi, z)/dtheta, with z
        held: sum_t gamma^t grad log pi(A_t | X_t) (G_t - b_t), where G_t is the discounted return from t on.
        Without a baseline b_t = 0; with it, b_t is the mean of G_t over the other trajectories, which leaves the
        estimate unbiased.
        """
        weights, out = np.empty(policies.shape), np.empty(self.n_runs)
        shape = n_trajectories, length
        wrong = self._kernels.weights(
            *(self._cumulated(policies), self._scene, population.counts, population.signals, has_baseline),
            *(self._draws(iteration, stage), np.empty(shape, np.int32), np.empty(shape, np.int32)),
            *(np.empty(shape), weights, out),
        )
        refuse_transition(self.game, *wrong)
        return weights, _checked(self.game, out)

    def uniform(self, n_columns: int, iteration: int, stage: int) -> Array:
        """Uniform random numbers in [0, 1), shape (R, n_columns)."""
        out = np.empty((self.n_runs, n_columns))
        fill_uniform(self.seed, iteration, stage, out)
        return out

    def _draws(self, iteration: int, stage: int) -> Draws:
        return Draws(self.seed, iteration, stage)

    def _cumulated(self, policies: Tables) -> Tables:
        cumulated = np.empty_like(policies)
        cumulate(policies, cumulated)
        return cumulated

    def _make_scene(self) -> Scene:
        game = self.game
        agents = game.agents.view(np.ndarray)
        distinct, copies = np.unique(agents, return_counts=True)
        n_pairs = game.n_states * game.n_actions
        starts = np.arange(n_pairs + 1)
        cells, masses = starts[:-1].copy(), np.ones(n_pairs)
        if not game.counts_state_actions:
            scratch = np.empty(game.n_cells), np.zeros(game.n_signals)
            given = in_double_precision(distinct), copies / game.n_agents, game.constants, *scratch, starts
            for n_found in (0, None):
                n_found = int(starts[-1]) if n_found is None else n_found
                cells, masses = np.empty(n_found, np.int64), np.empty(n_found)
                self._kernels.contributions(game.n_actions, *given, cells, masses)
        return Scene(
            agents=distinct if len(distinct) == 1 else agents,
            constants=game.constants,
            discount=game.discount,
            reached=np.cumsum(game.initial_distribution),
            starts=starts,
            cells=cells,
            masses=masses,
        )


def _ages(rates: Array) -> tuple[Array, NDArray[np.int64]]:
    """The sums of -log(1 - beta) before each step and after the last, and where a number among them is searched.

    ``guide[k]`` is the index of the first age that is greater than k / len(guide) of the last age.
    """
    with np.errstate(divide="ignore"):
        ages = np.concatenate([[0.0], np.cumsum(np.minimum(-np.log1p(-rates), FORGOTTEN))])
    n = GUIDES_PER_STEP * len(rates)
    return ages, np.searchsorted(ages, ages[-1] * np.arange(n) / n * (1.0 - 1e-9), side="right")


def _checked(game: FiniteGame, returns: Array) -> Array:
    """Returns that are finite; else a ValueError."""
    if not np.isfinite(returns).all():
        raise ValueError(f"the values of {type(game).__name__} overflow: its rewards are too large")
    return returns
