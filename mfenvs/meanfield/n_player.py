"""Exploitability in the N-player game itself (Yardim & He, Definition 2), by simulation.

E_i(pi) = max_{pi'} J_i(pi', pi^{-i}) - J_i(pi), over time-dependent policies pi' of agent i's own state. Where a
game has action masks, pi' takes allowed actions only, as best responses on the mean-field side do [O]. There are
three steps:

1. Simulate worlds in which all agents play pi, and average over them the transitions and rewards of agent i for
   every state and action: a decision problem (Pbar^i, Rbar^i) per agent.
2. Backward induction gives, per agent, a candidate best response and the *estimate* of E_i. Its errors are
   the deviator's own influence, O(1/N), and (upwards) the noise of the averages over the worlds.
3. Play the candidate against pi in fresh worlds, one deviator per world, and compare with the same worlds
   without a deviator (the same random numbers). The difference is an unbiased estimate of the candidate's gain,
   and so of a *lower bound* on E_i.

In step 3 the variance of the deviator's own return would hide the gain: its standard deviation is near 1. So the
return is not summed from the rewards received. With any fixed functions V_h, and D_h the expectation over the
agent's next action and transition *given* the others' states and actions of step h (known exactly from the
rules),

    J_i = E[V_0(s_0)] + sum_h gamma^h E[ D_h(R^i + gamma V_{h+1}) - V_h(s_h) ]

holds without bias, and with V of the agent's averaged decision problem the bracket is small in every world.

In an infinite game (``discount`` gamma < 1) only the first H = ``horizon`` steps count: the rest is worth no more
than gamma^H max|R| / (1 - gamma).
"""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.engine.model import check_model, in_double_precision, model_kernels
from mfenvs.engine.threads import run_in_threads
from mfenvs.engine.trajectories import Trajectories
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED, kind_of
from mfenvs.meanfield.action_masks import actions_of_agents, masks_of
from mfenvs.meanfield.many_problems import solve_each
from mfenvs.meanfield.transition_tables import MOST_DENSE_ENTRIES
from mfenvs.play import tabulate
from mfenvs.public_chain import refuse_public_chain

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number estimated from a sample, with its standard error."""

    value: float
    standard_error: float
    n_samples: int
    """Number of independent samples (worlds)."""
    confidence: float = 0.95

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided Student interval at this confidence."""
        quantile = stdtrit(self.n_samples - 1, 0.5 + self.confidence / 2)
        half = float(quantile * self.standard_error)
        return self.value - half, self.value + half

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} [{low:.4f}, {high:.4f}]"

    @classmethod
    def of(cls, samples: Array) -> "Estimate":
        """The mean of independent samples, shape (n,), n >= 2."""
        n = len(samples)
        return cls(float(samples.mean()), float(samples.std(ddof=1) / np.sqrt(n)), n)


@dataclasses.dataclass(frozen=True)
class Exploitability:
    """Estimated gains of the agents of an N-player game from deviating alone from a policy."""

    agents: NDArray[np.int64]
    """Indices of the n agents whose gains were estimated, by default all, shape (n,)."""
    per_agent: Array
    """Estimate of E_i for each of these agents, shape (n,)."""
    candidates: NDArray[np.int64]
    """The best response found for each of these agents: its action, shape (n, H, S)."""
    max_lower_bound: Estimate
    """Gain, in fresh simulations, of the agent with the largest estimate: a lower bound on max_i E_i."""
    mean_lower_bound: Estimate
    """Mean gain, in fresh simulations, of agents drawn at random from these: a lower bound on mean_i E_i."""
    n_worlds: int
    """Number K of worlds in step 1, and again in step 3."""

    @property
    def max(self) -> float:
        """Maximum over agents of the estimates: the exploitability of Definition 2."""
        return float(self.per_agent.max())

    @property
    def mean(self) -> float:
        """Mean over agents of the estimates."""
        return float(self.per_agent.mean())

    def summary(self) -> dict[str, float | int | list[float]]:
        """The main results as a dict for JSON."""
        return {
            "max": self.max,
            "max_lower_bound": self.max_lower_bound.value,
            "max_lower_bound_95": list(self.max_lower_bound.interval),
            "mean": self.mean,
            "mean_lower_bound": self.mean_lower_bound.value,
            "mean_lower_bound_95": list(self.mean_lower_bound.interval),
            "n_worlds": self.n_worlds,
        }


def n_player_exploitability(
    game: FiniteGame,
    policy: Any,
    *,
    n_worlds: int = 64,
    deviators_per_world: int | None = None,
    agents: ArrayLike | None = None,
    seed: int = 0,
    device: Any = "cpu",
) -> Exploitability:
    """Measure the exploitability of policies in the N-player game, with its error.

    Deviators take actions that the rule ``allowed`` allows and no others.

    Parameters
    ----------
    game:
        A finite game.
    policy:
        One policy for all agents, shape (T, S, A), or one for each, (n_agents, T, S, A), with (T, S, A) the game's
        ``policy_shape``; or any other policy that :func:`mfenvs.tabulate` takes, such as a trained network.
    n_worlds:
        Number K of simulated worlds, at least 2.
    deviators_per_world:
        Number of agents, drawn at random in each world, that deviate one at a time for the lower bound on the
        mean; by default 16, or all of ``agents`` if there are fewer.
    agents:
        Indices of the agents whose gains are estimated, shape (n,), all different; by default all agents. Where
        agents with equal parameters play one policy, one of them stands for all: memory and time then do not grow
        with the N decision problems, but only with the simulation.
    seed:
        Random seed of the simulations, an integer in [0, 2^64 - 1].
    device:
        Device of the simulations, as for :class:`mfenvs.Engine`. Best responses are computed on the CPU.

    Returns
    -------
    Estimates per agent, their maximum and mean, and lower bounds on both with intervals. Estimate and bound come
    from different simulations: with few worlds the noise of the one can put it below the other.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game's transition rows are not probabilities or its rewards not
        finite; if the rule ``allowed`` reads the public signal, which deviations do not see.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 2.
    """
    if not isinstance(game, FiniteGame):
        raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
    refuse_public_chain(game, "n_player_exploitability")
    n_worlds = checks.integer("n_worlds", n_worlds, 2)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    who = _checked_agents(game, agents)
    if deviators_per_world is None:
        deviators_per_world = min(16, len(who))
    deviators_per_world = checks.integer("deviators_per_world", deviators_per_world, 1, len(who))
    table = game.policy_shape
    law = tabulate(game, policy).reshape(-1, *table)
    engine = Engine(game, n_worlds, device=device)

    played: Array = law[0] if len(law) == 1 else law

    population = engine.rollout(played, seed=seed, episode=0)
    answers = _best_answers(game, law if len(law) == 1 else law[who], population, who, engine.n_threads)

    fresh = engine.rollout(played, seed=seed, episode=1)
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.choice(len(who), deviators_per_world, False) for _ in range(n_worlds)])
    worst = np.full(n_worlds, np.argmax(answers.gains))
    gains = []
    for chosen in (worst, *drawn.T):
        deviators, deviations = who[chosen], answers.best_policies[chosen]
        deviated = engine.rollout(played, seed=seed, episode=1, deviators=deviators, deviations=deviations)
        own = law[deviators % len(law)]
        without = _conditional_returns(game, fresh, deviators, own, answers.own_values[chosen])
        with_it = _conditional_returns(game, deviated, deviators, deviations, answers.best_values[chosen])
        gains.append(with_it - without)
    return Exploitability(
        agents=who,
        per_agent=answers.gains,
        candidates=answers.best_policies.argmax(axis=-1),
        max_lower_bound=Estimate.of(gains[0]),
        mean_lower_bound=Estimate.of(np.mean(gains[1:], axis=0)),
        n_worlds=n_worlds,
    )


def _checked_agents(game: FiniteGame, agents: ArrayLike | None) -> NDArray[np.int64]:
    if agents is None:
        return np.arange(game.n_agents)
    found = np.asarray(agents)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise ValueError(f"agents must be a sequence of at least one index, got {checks.shown(agents)}")
    if ((found < 0) | (found >= game.n_agents)).any() or len(np.unique(found)) < len(found):
        raise ValueError(
            f"agents must hold different indices in [0, {game.n_agents - 1}], got {checks.shown(agents)}"
        )
    return found.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class _Answers:
    """Values of n agents' policies and best responses in their averaged decision problems."""

    own_values: Array
    best_values: Array
    """Values of the policy and of the best response, shape (n, H + 1, S) each."""
    best_policies: Array
    """Best responses, shape (n, H, S, A)."""
    gains: Array
    """Gain of the best response, averaged over the initial state, shape (n,)."""


def decision_problems(
    game: FiniteGame,
    run: Trajectories,
    agents: NDArray[np.int64],
    world_bounds: NDArray[np.int64],
    n_threads: int = 1,
) -> tuple[Array, Array]:
    """Pbar (n, H, S, A, S) and Rbar (n, H, S, A) of n agents, each averaged over its range of worlds."""
    shape = (len(agents), game.horizon, game.n_states, game.n_actions)
    checks.at_most(
        "the number of transition probabilities H S A S of an agent's averaged decision problem",
        math.prod(shape[1:]) * game.n_states,
        MOST_DENSE_ENTRIES,
    )
    transitions, rewards = np.zeros((*shape, game.n_states)), np.zeros(shape)
    kernel, parameters = model_kernels(game).responses, in_double_precision(game.agents)

    def tabulate(first: int, last: int) -> None:
        scratch = np.empty(game.n_cells), np.empty(game.n_signals)
        kernel(
            *(run.states, run.actions, run.counts, agents, world_bounds, game.own_states, parameters),
            *(game.constants, *scratch, transitions, rewards, first, last),
        )

    run_in_threads(n_threads, len(agents), tabulate)
    check_model(game, transitions, rewards)
    return transitions, rewards


NUMBERS_AT_A_TIME = 2**25
"""Largest number of entries of decision problems that are held in memory at a time: 256 MB."""


def batches_of_problems(game: FiniteGame, n_problems: int) -> list[slice]:
    """Batches of n decision problems of H steps that are tabulated together."""
    size = max(1, NUMBERS_AT_A_TIME // (game.horizon * game.n_states**2 * game.n_actions))
    return [slice(first, min(first + size, n_problems)) for first in range(0, n_problems, size)]


def _best_answers(
    game: FiniteGame, law: Array, run: Trajectories, who: NDArray[np.int64], n_threads: int
) -> _Answers:
    n, horizon = len(who), game.horizon
    allowed = actions_of_agents(game)
    whole_run = np.tile([0, len(run.states)], (n, 1))
    own, best = (np.empty((n, horizon + 1, game.n_states)) for _ in range(2))
    policies = np.empty((n, horizon, game.n_states, game.n_actions))
    q = np.empty(policies.shape[1:])
    for some in batches_of_problems(game, n):
        problems = decision_problems(game, run, who[some], whole_run[some], n_threads)
        played = law if len(law) == 1 else law[some]
        size = some.stop - some.start
        may = masks_of(allowed, who[some])
        solve_each(played, *problems, may, game.discount, own[some], best[some], policies[some], q, 0, size)
    checks.finite("the values of the best responses and of the policy", best[:, 0] - own[:, 0])
    gains = np.maximum(0.0, _at_start(game, who, best[:, 0] - own[:, 0]))
    return _Answers(own, best, policies, gains)


def _conditional_returns(
    game: FiniteGame, run: Trajectories, who: NDArray[np.int64], policies: Array, values: Array
) -> Array:
    """One unbiased sample of J_i per world: the sum over h of the module's docstring, shape (n_worlds,).

    In world w it is the return of agent ``who[w]``, which played ``policies[w]`` (T, S, A); V is ``values[w]``
    (H + 1, S).
    """
    return surplus_returns(game, run, who, policies, values) + _at_start(game, who, values[:, 0])


def surplus_returns(
    game: FiniteGame, run: Trajectories, who: NDArray[np.int64], policies: Array, values: Array
) -> Array:
    """One unbiased sample per world of J_i less V_0 at the agent's initial state, shape (n_worlds,).

    In world w it is the return of agent ``who[w]``, which played ``policies[w]`` (T, S, A); V is ``values[w]``
    (H + 1, S).
    """
    n_worlds = len(who)
    each_its_own = np.stack([np.arange(n_worlds), np.arange(n_worlds) + 1], axis=1)
    surplus = np.empty((n_worlds, game.horizon, game.n_states))
    for some in batches_of_problems(game, n_worlds):
        transitions, rewards = decision_problems(game, run, who[some], each_its_own[some])
        ahead = rewards + game.discount * np.einsum("whsat,wht->whsa", transitions, values[some, 1:])
        surplus[some] = (policies[some] * ahead).sum(axis=-1) - values[some, :-1]
    visited = run.states[np.arange(n_worlds), :-1, who].astype(np.int64)
    met = np.take_along_axis(surplus, visited[:, :, None], axis=2)[:, :, 0]
    return np.asarray(met @ game.discount ** np.arange(game.horizon))


def _at_start(game: FiniteGame, who: NDArray[np.int64], values: Array) -> Array:
    """Values of states (n, S) averaged over the initial law of each of n agents, shape (n,)."""
    laws = game.initial_by_population
    if len(laws) > 1:
        laws = laws[game.population_of_agent[who]]
        return np.asarray((values * laws).sum(axis=1))
    found: Array = values @ laws[0]
    return found
