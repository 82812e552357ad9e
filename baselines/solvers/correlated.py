"""Coarse correlated and correlated equilibria of mean-field games, by mean-field PSRO.

A device draws a mixture nu over policies pi_1, ..., pi_n, the same for all, and recommends to each agent privately
a policy drawn from nu; so the crowd's flow is mu(nu) = sum_i nu(i) mu^i. The device is a coarse correlated
equilibrium if no agent gains by a policy of its own, chosen before the recommendation; it is a correlated
equilibrium if none gains by policies that may depend on the recommendation. A gap is the largest such gain, in
expectation.

The functions need a game that ends and whose transitions do not depend on the population: then laws mix as
policies do, and against a drawn, unseen mixture only the mean reward matters, so that gaps are exact.

References
----------
Muller et al., "Learning equilibria in mean-field games: introducing mean-field PSRO", AAMAS 2022 (arXiv
2111.08350).
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.population_flow import Flow
from mfenvs.meanfield.stopping import Stopped
from mfenvs.registry import make

from ..policies import TabularPolicy
from .regret import MINIMISERS, InternalRegret, MinimiserName, RegretMinimiser

Array = NDArray[np.float64]

Concept = Literal["coarse-correlated", "correlated"]
CONCEPTS: tuple[Concept, ...] = ("coarse-correlated", "correlated")

NEGLIGIBLE = 1e-9
"""Weight below which a mixture or a recommendation is dropped."""
SAME = 1e-9
"""Largest difference of two laws that count as one."""
MOST_ROUNDS = 64_000
"""Largest number of rounds of the regret minimiser; they are doubled when best responses are known already."""


@dataclasses.dataclass(frozen=True)
class CorrelatedEquilibrium:
    """A device that recommends policies, and how far it is from an equilibrium."""

    policies: tuple[TabularPolicy, ...]
    """The n policies that are recommended."""
    mixtures: Array
    """Mixtures nu over the policies, shape (m, n)."""
    weights: Array
    """Probabilities of the mixtures, shape (m,)."""
    gap: float
    """The largest gain by leaving the device, of the kind that ``concept`` rules out; exact."""
    concept: Concept
    """``coarse-correlated`` or ``correlated``."""
    iterations: int
    """Number of times that the restricted game was solved."""
    seconds: float
    """Time that was taken."""
    stopped: Stopped
    """Why the solver stopped."""


class _Policies:
    """Policies of a game, and their laws."""

    def __init__(self, induced: InducedGame, policies: Sequence[Any]) -> None:
        if induced.game.is_infinite:
            raise ValueError(
                f"correlated equilibria need a game that ends, got discount {induced.game.discount:g}"
            )
        if induced.game.n_populations > 1:
            raise ValueError(
                "correlated equilibria need a game with one population, to which all recommendations are made, got"
                f" {induced.game.n_populations} populations"
            )
        self.induced = induced
        self.tables: list[Array] = []
        self.laws: list[Array] = []
        self._flow: Flow | None = None
        for number, policy in enumerate(policies):
            self.add(induced.policy(f"policies[{number}]", policy))

    def add(self, policy: Array) -> bool:
        """Add a policy; return whether its law is a new one."""
        flow = self._checked(self.induced.flow(policy))
        if any(np.abs(law - flow.mu).max() <= SAME for law in self.laws):
            return False
        self.tables.append(policy.copy())
        self.laws.append(flow.mu)
        return True

    def _checked(self, flow: Flow) -> Flow:
        """``flow``, whose transitions must be those of all others."""
        if self._flow is None:
            self._flow = flow.dense()
        elif not np.allclose(flow.dense().transitions, self._flow.transitions, atol=1e-12):
            raise ValueError(
                f"correlated equilibria need transitions that do not depend on the population, which those of"
                f" {type(self.induced.game).__name__} do"
            )
        return flow

    def rewards(self, mixture: Array) -> Array:
        """R(mu(nu)) (T, S, A) of a mixture (n,)."""
        return self._checked(self.induced.frozen(np.tensordot(mixture, np.array(self.laws), 1))).rewards

    def values(self, rewards: Array) -> Array:
        """Values of the policies in given rewards, (n,)."""
        return np.tensordot(np.array(self.laws), rewards, 3)

    def best_response(self, rewards: Array) -> tuple[Array, float]:
        """The best policy in given rewards, and its value."""
        assert self._flow is not None
        flow = dataclasses.replace(self._flow, rewards=np.ascontiguousarray(rewards))
        policy = self.induced.best_response(flow)
        return policy, self.induced.value(policy, flow)

    def gains(
        self, mixtures: Array, weights: Array, rewards: Array, concept: Concept
    ) -> list[tuple[Array, float]]:
        """Best deviations (T, S, A) from a device, with what each gains in expectation.

        ``rewards`` (m, T, S, A) are those of the mixtures (m, n). There is one deviation from a coarse correlated
        equilibrium, and one for each policy that is recommended from a correlated one.
        """
        values = np.array([self.values(table) for table in rewards])
        if concept == "coarse-correlated":
            policy, best = self.best_response(np.tensordot(weights, rewards, 1))
            return [(policy, best - float(weights @ (mixtures * values).sum(axis=1)))]
        found = []
        for i in range(len(self.tables)):
            chances = weights * mixtures[:, i]
            if chances.sum() > NEGLIGIBLE:
                policy, best = self.best_response(np.tensordot(chances, rewards, 1))
                found.append((policy, best - float(chances @ values[:, i])))
        return found


def coarse_correlated_gap(
    induced: InducedGame, policies: Sequence[Any], mixtures: ArrayLike, weights: ArrayLike
) -> float:
    """The largest gain by a policy that is chosen before the recommendation of a device.

    Parameters
    ----------
    induced:
        The mean-field game; it must end, and its transitions must not depend on the population.
    policies:
        The n policies that the device recommends, each (T, S, A) or a policy object.
    mixtures:
        Mixtures over the policies, shape (m, n).
    weights:
        Probabilities of the mixtures, shape (m,).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    return _gap(induced, policies, mixtures, weights, "coarse-correlated")


def correlated_gap(
    induced: InducedGame, policies: Sequence[Any], mixtures: ArrayLike, weights: ArrayLike
) -> float:
    """The largest gain by policies that may depend on the recommendation of a device.

    The arguments are those of :func:`coarse_correlated_gap`.
    """
    return _gap(induced, policies, mixtures, weights, "correlated")


def _gap(
    induced: InducedGame, policies: Sequence[Any], mixtures: ArrayLike, weights: ArrayLike, concept: Concept
) -> float:
    if not isinstance(induced, InducedGame):
        raise TypeError(f"induced must be an InducedGame, got {checks.shown(induced)}")
    known = _Policies(induced, [])
    for number, policy in enumerate(policies):
        # Equal ones are kept: the mixtures have a place for each.
        table = induced.policy(f"policies[{number}]", policy)
        known.tables.append(table)
        known.laws.append(known._checked(induced.flow(table)).mu)
    n = len(known.tables)
    shares = checks.numbers("weights", weights)
    shares = checks.probabilities("weights", shares, shares.shape)
    nus = checks.probabilities("mixtures", checks.numbers("mixtures", mixtures), (len(shares), n))
    rewards = np.array([known.rewards(nu) for nu in nus])
    return sum(max(gain, 0.0) for _, gain in known.gains(nus, shares, rewards, concept))


def mean_field_psro(
    game: FiniteGame | str,
    *,
    concept: Concept = "coarse-correlated",
    tolerance: float = 1e-3,
    seconds: float | None = None,
    iterations: int = 200,
    minimiser: MinimiserName = "regret-matching",
    rounds: int = 1000,
    clock: Callable[[], float] = time.perf_counter,
) -> CorrelatedEquilibrium:
    """Find a coarse correlated or correlated equilibrium by mean-field PSRO.

    Parameters
    ----------
    game:
        A finite game that ends, whose transitions do not depend on the population; or a registered name.
    concept:
        ``coarse-correlated`` or ``correlated``.
    tolerance:
        Gap at which to stop, >= 0.
    seconds:
        Time limit, > 0.
    iterations:
        Largest number of times that the restricted game is solved, >= 1.
    minimiser:
        Regret minimiser: ``hedge``, ``polynomial-weights`` or ``regret-matching``; of a correlated equilibrium,
        Blum & Mansour's with this one inside.
    rounds:
        Number of its rounds at first, >= 1; it is doubled when the best responses are known already.
    clock:
        Function that returns the time in seconds.

    Returns
    -------
    The device with the least gap that was found.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    checks.choice("concept", concept, CONCEPTS)
    checks.choice("minimiser", minimiser, tuple(MINIMISERS))
    checks.real("tolerance", tolerance, 0.0)
    if seconds is not None:
        checks.real("seconds", seconds, 0.0, exclude_low=True)
    checks.integer("iterations", iterations, 1)
    checks.integer("rounds", rounds, 1, MOST_ROUNDS)
    made = make(game)
    induced = InducedGame(made)  # type: ignore[arg-type]
    known = _Policies(induced, [induced.uniform_policy()])
    began, iteration = clock(), 0
    best: CorrelatedEquilibrium | None = None
    stopped: Stopped | None = None
    while best is None or stopped is None:
        iteration += 1
        mixtures, rewards = _play(known, concept, minimiser, rounds)
        weights = _compressed(known, mixtures, rewards, concept)
        kept = weights > NEGLIGIBLE
        mixtures, rewards, weights = mixtures[kept], rewards[kept], weights[kept] / weights[kept].sum()
        deviations = known.gains(mixtures, weights, rewards, concept)
        gap = sum(max(gain, 0.0) for _, gain in deviations)
        if iteration == iterations:
            stopped = Stopped.ITERATIONS
        if seconds is not None and clock() - began >= seconds:
            stopped = Stopped.TIME
        if gap <= tolerance:
            stopped = Stopped.TOLERANCE
        else:
            news = [known.add(policy) for policy, gain in deviations if gain > 0.0]
            if not any(news):
                rounds *= 2
                if rounds > MOST_ROUNDS:
                    stopped = stopped or Stopped.STALL
        if best is None or gap < best.gap:
            n = mixtures.shape[1]
            best = CorrelatedEquilibrium(
                policies=tuple(TabularPolicy(table) for table in known.tables[:n]),
                mixtures=mixtures,
                weights=weights,
                gap=gap,
                concept=concept,
                iterations=iteration,
                seconds=clock() - began,
                stopped=stopped or Stopped.ITERATIONS,
            )
    return dataclasses.replace(best, iterations=iteration, seconds=clock() - began, stopped=stopped)


def _play(known: _Policies, concept: Concept, minimiser: MinimiserName, rounds: int) -> tuple[Array, Array]:
    """Let a regret minimiser play the restricted game; return its mixtures (m, n) and their rewards.

    Equal mixtures are returned once.
    """
    n = len(known.tables)
    learner: RegretMinimiser = MINIMISERS[minimiser](n, rounds)
    if concept == "correlated":
        learner = InternalRegret(n, rounds, minimiser)
    mixtures: list[Array] = []
    rewards: list[Array] = []
    low, high = np.inf, -np.inf
    for _ in range(rounds):
        table = known.rewards(learner.weights)
        values = known.values(table)
        if not mixtures or np.abs(mixtures[-1] - learner.weights).max() > SAME:
            mixtures.append(learner.weights.copy())
            rewards.append(table)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if high <= low:
            break
        learner.observe((values - low) / (high - low))
    return np.array(mixtures), np.array(rewards)


def _compressed(known: _Policies, mixtures: Array, rewards: Array, concept: Concept) -> Array:
    """Weights of the mixtures (m,) at which the regret in the restricted game is least, by a linear program."""
    values = np.array([known.values(table) for table in rewards])
    m, n = mixtures.shape
    if concept == "coarse-correlated":
        own = (mixtures * values).sum(axis=1)
        blocks = [(values - own[:, None]).T]
    else:
        blocks = [(mixtures[:, i, None] * (values - values[:, i, None])).T for i in range(n)]
    # Unknowns: the weights, and the regret of each block.
    upper = np.vstack(
        [np.hstack([block, np.tile(-np.eye(len(blocks))[i], (n, 1))]) for i, block in enumerate(blocks)]
    )
    found = linprog(
        np.append(np.zeros(m), np.ones(len(blocks))),
        A_ub=upper,
        b_ub=np.zeros(len(upper)),
        A_eq=np.append(np.ones(m), np.zeros(len(blocks)))[None],
        b_eq=[1.0],
        method="highs",
    )
    if found.x is None:
        return np.full(m, 1.0 / m)
    positive = np.maximum(found.x[:m], 0.0)
    weights: Array = positive / positive.sum()
    return weights
