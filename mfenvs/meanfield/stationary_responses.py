"""Stationary best responses to a population that is simulated: of the own state, or of the others' as well.

A policy of all joint states S^N cannot be searched for where N is large. Here a deviator sees the others through
one number: the mean action that they are about to take, given their states, sorted into bins. All worlds in which
everyone plays the policy are pooled into one decision problem over (bin, own state), which is solved by policy
iteration. The response is optimal in that problem; its value must be measured in other worlds.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.trajectories import Trajectories
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.joint_enumeration import best_policy

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class StationaryResponse:
    """A stationary policy of the own state and the bin of the others' expected mean action."""

    edges: Array
    """The bounds between bins, ascending, shape (B - 1,)."""
    table: Array
    """Action probabilities, shape (B, S, A)."""

    def in_worlds(self, levels: Array) -> Array:
        """What is played at every time in W worlds, by the others' expected mean action (W, H): (W, H, S, A)."""
        return np.asarray(self.table[self.bins(levels)])

    def bins(self, levels: Array) -> NDArray[np.int64]:
        """The bin of each level."""
        return np.searchsorted(self.edges, levels, side="right")


def expected_mean_actions(law: Array, run: Trajectories, agents: NDArray[np.int64]) -> Array:
    """The mean index of the actions that an agent's others are about to take, given their states, shape (W, H).

    Parameters
    ----------
    law:
        Stationary policies (1 or n_agents, 1, S, A).
    run:
        W worlds.
    agents:
        The agent of each world, shape (W,).
    """
    means = law[:, 0] @ np.arange(law.shape[-1])
    states = run.states[:, :-1].astype(np.int64)
    of_all = means[np.zeros(states.shape[2], np.int64) if len(law) == 1 else np.arange(len(law)), states]
    own = np.take_along_axis(of_all, agents[:, None, None], axis=2)[:, :, 0]
    return np.asarray((of_all.sum(axis=2) - own) / (states.shape[2] - 1))


def pooled_response(
    game: FiniteGame,
    problems: tuple[Array, Array],
    levels: Array,
    n_bins: int,
    allowed: NDArray[np.bool_] | None = None,
) -> StationaryResponse:
    """Find a stationary best response in worlds in which everyone plays a policy.

    Parameters
    ----------
    game:
        An infinite game.
    problems:
        The transitions (W, H, S, A, S) and rewards (W, H, S, A) of one agent in each of W worlds.
    levels:
        What :func:`expected_mean_actions` says of these worlds, shape (W, H).
    n_bins:
        Largest number B of bins, which are about equally full; with 1 the response is a policy of the own state.
    allowed:
        The actions that the response may take, shape (S, A); by default all.

    Returns
    -------
    The optimal policy of the pooled problem, in which a time counts with the discount to its power.
    """
    transitions, rewards = problems
    _, horizon, n_states, n_actions = rewards.shape
    cuts = np.unique(np.quantile(levels, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
    response = StationaryResponse(cuts[cuts > levels.min()], np.empty(0))
    n_found = len(response.edges) + 1
    is_in = np.eye(n_found)[response.bins(levels)]
    weights = game.discount ** np.arange(horizon)
    # Where a world goes from its last step is not simulated: that step says nothing about the next bin.
    n_moves = max(1, horizon - 1)
    pairs = np.einsum("h,whb,whc->whbc", weights[:n_moves], is_in[:, :n_moves], is_in[:, -n_moves:])
    moves = np.tensordot(pairs, transitions[:, :n_moves], axes=((0, 1), (0, 1)))
    total = pairs.sum(axis=(0, 1, 3))
    moves[total > 0] /= total[total > 0, None, None, None, None]
    moves[total == 0] = moves[total > 0].mean(axis=0)
    in_bins = is_in * weights[:, None]
    earned = np.tensordot(in_bins, rewards, axes=((0, 1), (0, 1))) / in_bins.sum(axis=(0, 1))[:, None, None]
    size = n_found * n_states
    problem = moves.transpose(0, 2, 3, 1, 4).reshape(size, n_actions, size), earned.reshape(size, n_actions)
    may = None if allowed is None else np.tile(allowed, (n_found, 1))
    table = best_policy(*problem, game.discount, may).reshape(n_found, n_states, n_actions)
    return dataclasses.replace(response, table=table)
