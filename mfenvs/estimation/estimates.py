"""Estimates of a finite game's transition probabilities and rewards from episodes, with standard errors.

For every pair (s, a), next states and rewards are regressed on phi, the shares of the *others* in groups of pairs
at the time of the transition. Given the others' states and actions, an agent's transition does not depend on
how they were chosen. So the regression is right for whatever policies were played if P and R are linear in phi;
else it is the linear function that fits best at the populations that were met.

Agents are taken together. Where they differ, the estimates are means over agents weighted by their visits. In an
(alpha, beta)-symmetric game they are within alpha (P, in l1) and beta (R) of every agent's own, and so of the
induced game (Yardim & He, arXiv 2408.15173, Definitions 6 and 7).
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.estimation.regression import regress
from mfenvs.estimation.rollouts import Episodes
from mfenvs.meanfield.extension import project_to_simplex

Array = NDArray[np.float64]

FEATURES = ("state-action", "state", "action", "none")
"""Names of ways to group pairs of a state and an action."""

MOST_GROUPS_OF_EPISODES = 64
"""Number of groups of episodes that are left out in turn; with fewer episodes each is a group."""
MOST_NUMBERS = 2**27
"""Largest number of entries of all tables: a gigabyte."""
SEEN = 1e-6
"""Largest part of a population that may lie in directions in which the population never varied."""


def pair_groups(features: Any, n_states: int, n_actions: int) -> NDArray[np.int64]:
    """The group of every pair of a state and an action, shape (S, A), from the name of a feature or an array.

    Raises
    ------
    TypeError, ValueError
        If ``features`` is none of the names and no array of integers from 0 on of this shape.
    """
    states, actions = np.indices((n_states, n_actions))
    if isinstance(features, str) and features in FEATURES:
        named = {
            "state-action": states * n_actions + actions,
            "state": states,
            "action": actions,
            "none": 0 * states,
        }
        return named[features].astype(np.int64)
    if isinstance(features, str):
        allowed = ", ".join(map(repr, FEATURES))
        raise ValueError(f"features must be one of {allowed}, or an array of groups, got {features!r}")
    return checks.indices("features", features, (n_states, n_actions), 0, n_states * n_actions - 1)


@dataclasses.dataclass(frozen=True)
class PopulationEstimates:
    """Estimates of P and R at one population, for all states and actions."""

    transitions: Array
    """P(s' | s, a, mu), shape (S, A, S)."""
    transition_errors: Array
    """Standard errors of P, shape (S, A, S); infinite where P is not known."""
    rewards: Array
    """R(s, a, mu), shape (S, A)."""
    reward_errors: Array
    """Standard errors of R, shape (S, A); infinite where R is not known."""
    visits: NDArray[np.int64]
    """Number of visits of each pair at all populations (at this time, if the game depends on time), (S, A)."""


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Fitted linear functions of the population for every time, state and action, with their errors.

    T is the horizon if they depend on time, else 1; F is the number of groups of pairs, G that of groups of
    episodes that were left out in turn.
    """

    groups: NDArray[np.int64]
    """Group of every pair, shape (S, A)."""
    values: Array
    """Rows of P and, last, the reward where all others are in one group, shape (T, S, A, S + 1, F)."""
    without: Array
    """The same without each group of episodes, shape (G, T, S, A, S + 1, F)."""
    first_states: Array
    """Share of agents that begin in each state, shape (S,)."""
    first_states_without: Array
    """The same without each group of episodes, shape (G, S)."""
    visits: NDArray[np.int64]
    """Number of visits, shape (T, S, A)."""
    episode_groups: NDArray[np.int64]
    """Number of groups of episodes with a visit, shape (T, S, A)."""
    is_constant: NDArray[np.bool_]
    """Where too few populations were met to see what the population does, shape (T, S, A): there the mean over
    visits is used, and errors are those of the mean."""
    unseen: Array
    """Projection onto directions in which the population never varied, shape (T, S, A, F, F)."""
    centres: Array
    """Mean population that was met, shape (T, S, A, F)."""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Where there are visits in two groups of episodes at least, so that there is an error, (T, S, A)."""
        return self.episode_groups >= 2

    def shares(self, mu: Array) -> Array:
        """phi(mu), shape (F,), of a law (S, A)."""
        return np.bincount(self.groups.ravel(), mu.ravel(), self.values.shape[-1]).astype(np.float64)

    def at(self, mu: ArrayLike, time: int = 0) -> PopulationEstimates:
        """Estimates at a population, a law over states and actions of shape (S, A).

        Standard errors are those of the fitted function before it is projected onto the simplex. They are infinite
        where a pair was not visited in two episodes, or mu differs from all populations met there in a direction
        that never varied. Where one state followed all n visits, the error of P is 1 / (n + 2) and not 0.

        Raises
        ------
        TypeError, ValueError
            If ``mu`` is no law or ``time`` out of range.
        """
        law = checks.shaped("mu", mu, self.groups.shape, np.float64)
        checks.whole_law("mu", law)
        time = checks.integer("time", time, 0, len(self.values) - 1)
        phi = self.shares(law)
        found = self.values[time] @ phi
        errors = self.errors_of(np.concatenate([found[None], self.without[:, time] @ phi]))
        least = 1.0 / (self.visits[time] + 2.0)
        errors[..., :-1] = np.maximum(errors[..., :-1], least[..., None])
        errors[~self.covers(phi, time)] = np.inf
        return PopulationEstimates(
            transitions=project_to_simplex(found[..., :-1]),
            transition_errors=errors[..., :-1],
            rewards=found[..., -1],
            reward_errors=errors[..., -1],
            visits=self.visits[time],
        )

    def covers(self, phi: Array, time: int) -> NDArray[np.bool_]:
        """Whether P and R are known at a population phi (F,) and a time, shape (S, A)."""
        away = np.einsum("saef,saf->sae", self.unseen[time], phi - self.centres[time])
        seen = np.asarray(np.abs(away).max(axis=-1) <= SEEN)
        return np.asarray(self.is_known[time] & (self.is_constant[time] | seen))

    @staticmethod
    def errors_of(found: Array) -> Array:
        """Jackknife standard errors of estimates (1 + G, ...): of all data, and without each group."""
        n_groups = len(found) - 1
        variances = ((found[1:] - found[0]) ** 2).sum(axis=0) * (n_groups - 1) / n_groups
        errors: Array = np.sqrt(variances)
        return errors


def estimate(
    episodes: Episodes,
    groups: NDArray[np.int64],
    *,
    time_dependent: bool,
    ridge: float = 0.0,
) -> Estimates:
    """Fit P and R to episodes, with the population described by groups (S, A) of pairs.

    Pairs that were never visited lead back to their own state, for the smallest reward that was seen.

    Raises
    ------
    ValueError
        If the tables would not fit into memory.
    """
    n_states, n_actions = groups.shape
    n_episodes, horizon, _ = episodes.actions.shape
    n_times, n_features = (horizon if time_dependent else 1), int(groups.max()) + 1
    n_left_out = min(n_episodes, MOST_GROUPS_OF_EPISODES)
    shape = n_times, n_states, n_actions
    size = int(np.prod(shape)) * n_features * ((n_left_out + 1) * (n_states + 1) + n_features)
    if size > MOST_NUMBERS:
        raise ValueError(
            f"the tables would have {size} entries, more than {MOST_NUMBERS}: give features with fewer groups, or"
            f" time_dependent=False (T = {n_times}, S = {n_states}, A = {n_actions}, {n_features} groups)"
        )
    left_out = np.arange(n_episodes) * n_left_out // n_episodes
    values = np.zeros((1 + n_left_out, *shape, n_states + 1, n_features))
    values[..., -1, :] = episodes.rewards.min()
    for s in range(n_states):
        values[:, :, s, :, s] = 1.0
    visits, seen_in = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    is_constant, unseen = np.zeros(shape, np.bool_), np.zeros((*shape, n_features, n_features))
    centres = np.zeros((*shape, n_features))
    data = _rows_of(episodes, groups)
    times = data.times if time_dependent else np.zeros_like(data.times)
    keys = times * n_states * n_actions + data.cells
    order = np.argsort(keys, kind="stable")
    present, first = np.unique(keys[order], return_index=True)
    for key, rows in zip(present, np.split(order, first[1:]), strict=True):
        pair = np.unravel_index(key, shape)
        of_episodes = left_out[data.episodes[rows]]
        fit = regress(data.phi(rows), data.weights[rows], data.outcomes[rows], of_episodes, n_left_out, ridge)
        values[0][pair], is_constant[pair] = fit.values, fit.is_constant
        values[(slice(1, None), *pair)] = fit.without
        unseen[pair], centres[pair] = fit.unseen, fit.centre
        visits[pair], seen_in[pair] = data.weights[rows].sum(), len(np.unique(of_episodes))
    start, law = _first_states(episodes, left_out, n_left_out, n_states)
    return Estimates(
        groups=groups,
        values=values[0],
        without=values[1:],
        first_states=law,
        first_states_without=start,
        visits=visits,
        episode_groups=seen_in,
        is_constant=is_constant,
        unseen=unseen,
        centres=centres,
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Transitions, one row for all agents who were in one pair at one time: they met the same others."""

    episodes: NDArray[np.int64]
    times: NDArray[np.int64]
    cells: NDArray[np.int64]
    """The pair, s * A + a."""
    weights: Array
    """Number of agents."""
    outcomes: Array
    """Shares of the next states and mean reward of these agents, shape (n, S + 1)."""
    counts: Array
    """Number of all agents in each group of pairs, shape (n_episodes, H, F)."""
    group_of_cell: NDArray[np.int64]
    n_agents: int

    def phi(self, rows: NDArray[np.int64]) -> Array:
        """Shares of the others in groups, shape (len(rows), F)."""
        others = self.counts[self.episodes[rows], self.times[rows]].copy()
        others[np.arange(len(rows)), self.group_of_cell[self.cells[rows]]] -= 1.0
        shares: Array = others / (self.n_agents - 1)
        return shares


def _rows_of(episodes: Episodes, groups: NDArray[np.int64]) -> _Rows:
    n_states, n_actions = groups.shape
    n_episodes, horizon, n_agents = episodes.actions.shape
    n_cells, n_features = n_states * n_actions, int(groups.max()) + 1
    cells = episodes.states[:, :-1] * n_actions + episodes.actions
    moments = np.arange(n_episodes * horizon).reshape(n_episodes, horizon, 1)
    keys, row = np.unique((moments * n_cells + cells).ravel(), return_inverse=True)
    row = row.reshape(-1)
    weights = np.bincount(row).astype(np.float64)
    outcomes = np.empty((len(keys), n_states + 1))
    arrived = np.bincount(row * n_states + episodes.states[:, 1:].ravel(), minlength=len(keys) * n_states)
    outcomes[:, :-1] = arrived.reshape(-1, n_states)
    outcomes[:, -1] = np.bincount(row, episodes.rewards.ravel())
    outcomes /= weights[:, None]
    in_groups = (moments * n_features + groups.ravel()[cells]).ravel()
    counts = np.bincount(in_groups, minlength=n_episodes * horizon * n_features)
    moment, cell = keys // n_cells, keys % n_cells
    return _Rows(
        episodes=moment // horizon,
        times=moment % horizon,
        cells=cell,
        weights=weights,
        outcomes=outcomes,
        counts=counts.reshape(n_episodes, horizon, n_features).astype(np.float64),
        group_of_cell=groups.ravel(),
        n_agents=n_agents,
    )


def _first_states(
    episodes: Episodes, left_out: NDArray[np.int64], n_left_out: int, n_states: int
) -> tuple[Array, Array]:
    """Laws of the initial state, without each group of episodes (G, S) and of all (S,)."""
    begun = np.zeros((n_left_out, n_states))
    np.add.at(begun, (np.repeat(left_out, episodes.states.shape[2]), episodes.states[:, 0].ravel()), 1.0)
    without = begun.sum(axis=0) - begun
    return without / without.sum(axis=1, keepdims=True), begun.sum(axis=0) / begun.sum()
