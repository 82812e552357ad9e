"""Exploitability in a game with common noise from sampled public paths, where the tree of histories is too large.

Given a path of public states z = (z_0, ..., z_{T-1}), the flow of a policy is deterministic. With V_z its value,
the exploitability among adapted policies pi', which know the history and not the future, is

    E(pi) = max_{pi'} E_z[V_z(pi') - V_z(pi)].

Two bounds are estimated without bias from fresh paths, each with its error:

* below: the gain of one adapted policy. It knows the time and the public state, and was found by backward
  induction on other paths.
* above: what a best response gains that knows the whole path, but is charged for what it knows too early. With any
  function W_h(z, s), the charge for the action a in the state s at time h is

      c_h(s, a) = sum_{s'} P_h(s' | s, a) (W_{h+1}(z_{h+1}, s') - sum_z' Q_h(z_h, z') W_{h+1}(z', s')).

  and W_0(z_0) less its mean is charged in the beginning. An adapted policy pays 0 on average, so that none gains
  more [1]_ [2]_. W is the value of the policy of the lower bound. Without charges the bound is that of a
  clairvoyant best response, which is what other libraries report as exploitability.

The values of adapted policies are estimated with charges too, by their own values W: that leaves their means as
they are, and makes them vary less.

References
----------
.. [1] Rogers (2002). Monte Carlo valuation of American options. Mathematical Finance 12.
.. [2] Brown, Smith & Sun (2010). Information relaxations and duality in stochastic dynamic programs. Operations
   Research 58.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED, kind_of
from mfenvs.meanfield.action_masks import allowed_actions
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import Estimate
from mfenvs.meanfield.population_flow import Flow
from mfenvs.meanfield.public_tree import tree_of_paths
from mfenvs.meanfield.public_tree_game import PublicTreeGame
from mfenvs.play import tabulate
from mfenvs.public_chain import PublicChain

Array = NDArray[np.float64]
HistoryPolicy = Callable[[tuple[int, ...]], Any]

NUMBERS_AT_A_TIME = 2**22
"""Number of transition probabilities of the paths whose flows are computed together."""
NUMBERS_IN_TRAINING = 2**25
"""The same of all paths on which the deviation is found."""


@dataclasses.dataclass(frozen=True)
class PathExploitability:
    """Estimates of :func:`path_exploitability`, each the mean over fresh paths."""

    value: Estimate
    """Value of the policy, V(pi)."""
    lower: Estimate
    """Gain of the deviation: a lower bound on the exploitability."""
    upper: Estimate
    """Gain of a best response that knows the path and is charged for it: an upper bound on the exploitability."""
    clairvoyant: Estimate
    """Gain of a best response that knows the path and is not charged, a looser upper bound."""
    deviation: Array = dataclasses.field(repr=False)
    """The policy of the lower bound, which knows the time and the public state, shape (T, M, S, A)."""

    @property
    def interval(self) -> tuple[float, float]:
        """Interval that holds the exploitability with the confidence of the estimates, at least."""
        return max(0.0, self.lower.interval[0]), max(0.0, self.upper.interval[1])


def path_exploitability(
    game: FiniteGame,
    policy: Any,
    *,
    n_paths: int = 256,
    n_training_paths: int = 256,
    seed: int = 0,
) -> PathExploitability:
    """Estimate bounds on the exploitability of a policy in a game with a public chain, from sampled public paths.

    Parameters
    ----------
    game:
        A finite game with a public chain.
    policy:
        A policy that knows the time and the public state, of the game's ``policy_shape`` or (T, M, S, A), or any
        other that :func:`mfenvs.tabulate` takes; or a function of the history (z_0, ..., z_h) that returns the
        probabilities (S, A) of the actions at time h.
    n_paths:
        Number of fresh paths, at least 2.
    n_training_paths:
        Number of paths on which the deviation is found, at least 1; fewer are taken if memory is short.
    seed:
        Random seed of the paths.

    Returns
    -------
    The estimates. Rounding apart, ``lower <= upper <= clairvoyant`` holds for their expectations.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game has no public chain.
    """
    if not isinstance(game, FiniteGame):
        raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
    if game.public_chain is None:
        raise TypeError(
            f"game must have a public chain, got {type(game).__name__}, whose exploitability InducedGame tells"
        )
    n_paths = checks.integer("n_paths", n_paths, 2)
    n_training_paths = checks.integer("n_training_paths", n_training_paths, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    sampler = _Sampler(game, game.public_chain, policy, max(n_paths, n_training_paths), rng)
    trained = sampler.trained_on(n_training_paths)
    charge, own_charge = (_Charge(game, game.public_chain, w) for w in (trained.values, trained.own_values))
    columns: list[list[Array]] = [[], [], [], []]
    for n_fresh, paths, induced, law, flow in sampler.batches(n_paths):
        fair = charge.flow(paths, flow)
        answer = np.ascontiguousarray(trained.deviation[np.arange(game.horizon)[:, None], paths.T])
        own = sampler.values(induced, law, own_charge.flow(paths, flow))
        answered = sampler.values(induced, answer.reshape(induced.policy_shape), fair)
        bound = sampler.best_values(induced, fair) - own
        # Both without charges: what a path is worth to everybody cancels.
        looser = sampler.best_values(induced, flow) - sampler.values(induced, law, flow)
        for column, found in zip(columns, (own, answered - own, bound, looser), strict=True):
            column.append(found[:n_fresh])
    value, lower, upper, clairvoyant = (Estimate.of(np.concatenate(column)) for column in columns)
    return PathExploitability(value, lower, upper, clairvoyant, trained.deviation)


@dataclasses.dataclass(frozen=True)
class _Trained:
    deviation: Array = dataclasses.field(repr=False)
    """The policy of the lower bound, shape (T, M, S, A)."""
    values: Array
    """Its values W_h(z, s), averaged over the paths, shape (T, M, S)."""
    own_values: Array
    """Those of the policy whose exploitability is estimated."""


class _Sampler:
    """Draws paths and computes the flow of the policy along them, a batch of equal size at a time."""

    def __init__(
        self, game: FiniteGame, chain: PublicChain, policy: Any, n_paths: int, rng: np.random.Generator
    ) -> None:
        self.game, self.chain, self.rng = game, chain, rng
        n_entries = game.horizon * game.n_states * game.n_actions * (game.n_branches or game.n_states)
        # Batches of one size, because kernels are compiled for a number of states.
        self.size = min(n_paths, max(1, NUMBERS_AT_A_TIME // n_entries))
        self.most_in_training = max(self.size, NUMBERS_IN_TRAINING // n_entries)
        self.n_sizes = game.horizon, self.size, game.n_states, game.n_actions
        is_function = callable(policy) and not hasattr(policy, "probabilities")
        has_laws = hasattr(policy, "action_probabilities") or hasattr(policy, "predict")
        self._of_history: HistoryPolicy | None = policy if is_function and not has_laws else None
        self._table: Array | None = None
        if self._of_history is None:
            self._table = tabulate(game, policy)
            if self._table.ndim == 4:
                raise ValueError(
                    f"policy must be one policy for all, of shape {game.policy_shape}, got one for each agent, of"
                    f" shape {self._table.shape}"
                )

    def batches(self, n_paths: int) -> Iterator[tuple[int, NDArray[np.int64], InducedGame, Array, Flow]]:
        """Paths (size, T), the mean-field game along them, the policy there and its flow.

        The first number of each batch says how many of its paths are fresh. The others, behind them, repeat one.
        """
        for first in range(0, n_paths, self.size):
            n_fresh = min(self.size, n_paths - first)
            fresh = self.chain.paths(n_fresh, self.game.horizon, self.rng)
            paths = fresh[np.minimum(np.arange(self.size), n_fresh - 1)]
            tree = tree_of_paths(self.chain, paths)
            induced = InducedGame(PublicTreeGame(game=self.game, tree=tree), sparse=True)
            law = self._along(paths) if self._table is None else tree.per_node(self._table)
            yield n_fresh, paths, induced, law, induced.flow(law)

    def values(self, induced: InducedGame, law: Array, flow: Flow) -> Array:
        """Value of a policy against a flow on every path, shape (size,)."""
        return self._from_start((law[0] * induced.evaluate(law, flow)[0]).sum(axis=-1))

    def best_values(self, induced: InducedGame, flow: Flow) -> Array:
        """Value of a best response that knows the path, shape (size,)."""
        return self._from_start(induced.optimal_q(flow)[0].max(axis=-1))

    def trained_on(self, n_paths: int) -> _Trained:
        """Find a deviation by backward induction over the time, along several paths at once.

        In each public state it takes the actions that are best on average over the paths that are there then; what
        is ahead of a path is what the deviation found so far earns on that path.
        """
        game, (n_times, _, n_states, n_actions) = self.game, self.n_sizes
        n_public = self.chain.n_states
        found = list(self.batches(min(n_paths, self.most_in_training)))
        paths = np.concatenate([some for _, some, *_ in found])
        is_fresh = np.concatenate([np.arange(self.size) < n_fresh for n_fresh, *_ in found])
        allowed, shape = _allowed(game, self.chain), (len(paths), n_states, n_actions)
        ahead, own_ahead = np.zeros((2, *shape[:2]))
        deviation = np.zeros((n_times, n_public, n_states, n_actions))
        values, own_values = np.zeros((2, n_times, n_public, n_states))
        for h in reversed(range(n_times)):
            q, own_q = (
                np.concatenate(
                    [
                        flow.rewards[h] + _expected(flow, h, then.reshape(-1))
                        for (*_, flow), then in zip(found, np.split(later, len(found)), strict=True)
                    ]
                ).reshape(shape)
                for later in (ahead, own_ahead)
            )
            here = paths[:, h]
            mean = _mean_by_state(q[is_fresh], here[is_fresh], n_public)
            best = np.where(allowed[h], mean, -np.inf).argmax(axis=-1)
            deviation[h] = np.eye(n_actions)[best]
            values[h] = np.take_along_axis(mean, best[..., None], axis=-1)[..., 0]
            ahead = np.take_along_axis(q, best[here][..., None], axis=-1)[..., 0]
            laws = np.concatenate([law[h] for *_, law, _ in found]).reshape(shape)
            own_ahead = (laws * own_q).sum(axis=-1)
            own_values[h] = _mean_by_state(own_ahead[is_fresh], here[is_fresh], n_public)
        return _Trained(deviation, values, own_values)

    def _from_start(self, values: Array) -> Array:
        found: Array = values.reshape(self.size, -1) @ self.game.initial_distribution
        return found

    def _along(self, paths: NDArray[np.int64]) -> Array:
        """A policy that is a function of the history, along paths, (T, size S, A)."""
        assert self._of_history is not None
        n_times, size, n_states, n_actions = self.n_sizes
        known: dict[tuple[int, ...], Array] = {}
        found = np.empty((n_times, size, n_states, n_actions))
        for k, h in np.ndindex(size, n_times):
            history = tuple(int(z) for z in paths[k, : h + 1])
            if history not in known:
                law = self._of_history(history)
                known[history] = checks.probabilities(f"policy({history})", law, (n_states, n_actions))
            found[h, k] = known[history]
        return found.reshape(n_times, -1, n_actions)


class _Charge:
    """What is charged along a path, from values W_h(z, s), shape (T, M, S)."""

    def __init__(self, game: FiniteGame, chain: PublicChain, values: Array) -> None:
        at_first = values[0] @ game.initial_distribution
        self._first_surprise = at_first - chain.initial @ at_first
        self._values = values
        # Not a table over pairs of public states, of which there may be millions.
        self._expected = [chain.at(h) @ values[h + 1] for h in range(game.horizon - 1)]

    def flow(self, paths: NDArray[np.int64], flow: Flow) -> Flow:
        """The decision problem along the paths with the charges taken off its rewards."""
        rewards = flow.rewards.copy()
        n_states, first = self._values.shape[-1], self._first_surprise[paths[:, 0]]
        rewards[0] -= np.repeat(first, n_states)[:, None]
        for h in range(len(rewards) - 1):
            surprise = self._values[h + 1][paths[:, h + 1]] - self._expected[h][paths[:, h]]
            rewards[h] -= _expected(flow, h, surprise.reshape(-1))
        return dataclasses.replace(flow, rewards=rewards)


def _expected(flow: Flow, time: int, values: Array) -> Array:
    """Expectation of values (size S,) of the next state, shape (size S, A)."""
    assert flow.successors is not None
    found: Array = np.einsum("sak,sak->sa", flow.transitions[time], values[flow.successors[time]])
    return found


def _mean_by_state(numbers: Array, states: NDArray[np.int64], n_states: int) -> Array:
    """Averages of the rows of ``numbers`` (K, ...) by state, (n_states, ...).

    Where a state has no row, it is the average of all.
    """
    total, n_there = np.zeros((n_states, *numbers.shape[1:])), np.bincount(states, minlength=n_states)
    np.add.at(total, states, numbers)
    weights = n_there.reshape(-1, *([1] * (numbers.ndim - 1)))
    return np.where(weights > 0, total / np.maximum(weights, 1), numbers.mean(axis=0))


def _allowed(game: FiniteGame, chain: PublicChain) -> NDArray[np.bool_]:
    """Whether actions are allowed, by time and public state, (T, M, S, A)."""
    shape = game.horizon, chain.n_states, game.n_states, game.n_actions
    found = allowed_actions(game)
    if found is None:
        return np.ones(shape, np.bool_)
    return np.broadcast_to(found, game.policy_shape).reshape(shape)
