"""The tree of public histories of a game with common noise.

In a game with a public chain (:attr:`mfenvs.FiniteGame.public_chain`) the law of the population is random: it
depends on all public states so far. The induced mean-field game therefore lives on a tree. A *node* at time h is a
history (z_0, ..., z_h) of positive probability. Each node has a law of the population of its own, given the
history, and each policy a row for every node and local state: it is *adapted*, that is, it knows the history and
not the future. A best response is one among the adapted policies.

Which histories are one node: those that are equal as sequences of public states. So random draws that lead to the
same public state are merged, histories that cannot happen are left out, and a chain that moves deterministically
for a while adds no nodes. Nothing else could be merged without loss. Two histories that end in the same state have
different populations, in general, and at different times different decisions are left.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.public_chain import PublicChain

Array = NDArray[np.float64]

MOST_NODES = 2**20
"""Largest number of nodes of a tree, those that pad layers to equal widths included."""
NO_NODE = -1
"""In the place of the public state of a node that does not exist."""


@dataclasses.dataclass(frozen=True, repr=False)
class PublicTree:
    """The tree of public histories, or independent paths through it.

    All layers are padded to the same width W. If no two histories end in the same public state at the same time,
    then W = M and the number of a node is its public state.
    """

    n_public_states: int
    """Number M of public states."""
    states: NDArray[np.int32]
    """The public state of each node at each time, shape (T, W); -1 where there is no node."""
    probability: Array
    """The probability of each history, shape (T, W); 0 where there is no node."""
    parents: NDArray[np.int32]
    """The node at the time before, shape (T, W); -1 at time 0 and where there is no node."""
    children: NDArray[np.int32]
    """The nodes at the next time, shape (T, W, B); those of the last time are unused."""
    chances: Array
    """The probabilities of the children given the node, shape (T, W, B)."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(horizon={self.horizon}, n_public_states={self.n_public_states},"
            f" n_nodes={self.n_nodes}, width={self.width})"
        )

    @property
    def horizon(self) -> int:
        """Number of times T."""
        return len(self.states)

    @property
    def width(self) -> int:
        """Number of nodes W of each layer, those that do not exist included."""
        return int(self.states.shape[1])

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether there is a node, shape (T, W)."""
        found: NDArray[np.bool_] = self.states != NO_NODE
        return found

    @property
    def n_nodes(self) -> int:
        """Number of nodes of all times together."""
        return int(self.exists.sum())

    def history(self, time: int, node: int) -> tuple[int, ...]:
        """The public states z_0, ..., z_h of a node at time h.

        Raises
        ------
        TypeError, ValueError
            If there is no such node.
        """
        time = checks.integer("time", time, 0, self.horizon - 1)
        node = checks.integer("node", node, 0, self.width - 1)
        if self.states[time, node] == NO_NODE:
            raise ValueError(f"there is no node {node} at time {time}")
        found = []
        for h in range(time, -1, -1):
            found.append(int(self.states[h, node]))
            node = int(self.parents[h, node])
        return tuple(reversed(found))

    def node(self, history: ArrayLike) -> int:
        """The node of a history z_0, ..., z_h at time h.

        Raises
        ------
        ValueError
            If the history is not possible.
        """
        given = checks.array("history", history)
        if given.ndim != 1 or not 1 <= len(given) <= self.horizon:
            raise ValueError(f"history must hold 1 to {self.horizon} public states, got {checks.shown(history)}")
        node = NO_NODE
        for time, state in enumerate(given):
            here = (self.states[time] == state) & (self.parents[time] == node)
            if not here.any():
                raise ValueError(f"history must be possible, got {given.tolist()}, which ends at time {time}")
            node = int(np.argmax(here))
        return node

    def per_node(self, policy: Array) -> Array:
        """A policy that knows the time and the public state, (T, M S, A), as one of the nodes, (T, W S, A)."""
        n_times, _, n_actions = policy.shape
        table = policy.reshape(n_times, self.n_public_states, -1, n_actions)
        found = table[np.arange(n_times)[:, None], np.maximum(self.states, 0)]
        return np.ascontiguousarray(found.reshape(n_times, -1, n_actions))

    def by_public_state(self, policy: Array, mu: Array) -> tuple[Array, float]:
        """The policy that is nearest to one of the nodes among those that know the time and the public state.

        Parameters
        ----------
        policy:
            A policy of the nodes, shape (T, W S, A).
        mu:
            State-action laws of its flow, shape (T, W S, A).

        Returns
        -------
        The average over the nodes with the same public state, weighted by the mass in the local state, shape (T,
        M, S, A), and the largest l1 distance of a node's row, in a local state that is reached, from that average:
        0 if the policy depends on the time and the public state alone. Rows that are never reached are averages
        without weights, and uniform for public states that are impossible at that time.
        """
        n_times, _, n_actions = policy.shape
        by_node = policy.reshape(n_times, self.width, -1, n_actions)
        mass = mu.reshape(by_node.shape).sum(axis=-1)
        n_states = by_node.shape[2]
        found = np.full((n_times, self.n_public_states, n_states, n_actions), 1.0 / n_actions)
        distance = 0.0
        for time, state in np.ndindex(n_times, self.n_public_states):
            here = self.states[time] == state
            if not here.any():
                continue
            rows, weights = by_node[time, here], mass[time, here]
            total = weights.sum(axis=0)
            weights = np.where(total > 0.0, weights / np.where(total > 0.0, total, 1.0), 1.0 / len(rows))
            found[time, state] = np.einsum("ns,nsa->sa", weights, rows)
            apart = np.abs(rows - found[time, state]).sum(axis=-1)
            distance = max(distance, float(np.where(weights * total > 0.0, apart, 0.0).max()))
        return found, distance


def n_histories(chain: PublicChain, horizon: int) -> list[int]:
    """Number of histories of positive probability at each time; computed without listing them."""
    counts = (chain.initial > 0.0).astype(object).astype(int).astype(object)
    found = [int(counts.sum())]
    for time in range(horizon - 1):
        counts = counts @ (chain.at(time) > 0.0).astype(int).astype(object)
        found.append(int(counts.sum()))
    return found


def public_tree(chain: PublicChain, horizon: int) -> PublicTree:
    """The tree of all histories of positive probability.

    Raises
    ------
    ValueError
        If it has too many nodes.
    """
    sizes = n_histories(chain, horizon)
    n_public = chain.n_states
    if horizon * max(*sizes, n_public) > MOST_NODES:
        raise ValueError(
            f"the tree of public histories must have at most {MOST_NODES} nodes, got {max(sizes)} histories at a"
            f" time and horizon {horizon}: mfenvs.path_exploitability estimates exploitability from samples"
        )
    layers = [[(NO_NODE, int(z), float(chain.initial[z])) for z in np.flatnonzero(chain.initial)]]
    for time in range(horizon - 1):
        moves = chain.at(time)
        layers.append(
            [
                (parent, int(z), probability * float(moves[state, z]))
                for parent, (_, state, probability) in enumerate(layers[-1])
                for z in np.flatnonzero(moves[state])
            ]
        )
    has_one_history = all(len({state for _, state, _ in layer}) == len(layer) for layer in layers)
    width = max(sizes)
    if has_one_history:
        width = n_public
    elif width == n_public:
        width += 1  # So that policies of nodes and of public states differ in shape.
    n_children = max(int((chain.transition > 0.0).sum(axis=-1).max()), 1)
    states = np.full((horizon, width), NO_NODE, np.int32)
    parents, probability = np.full_like(states, NO_NODE), np.zeros(states.shape)
    children = np.zeros((horizon, width, n_children), np.int32)
    chances = np.zeros(children.shape)
    chances[..., 0] = 1.0
    numbers: list[int] = []
    for time, layer in enumerate(layers):
        before, numbers = numbers, [state if has_one_history else i for i, (_, state, _) in enumerate(layer)]
        n_found = np.zeros(width, int)
        for number, (parent, state, mass) in zip(numbers, layer, strict=True):
            states[time, number], probability[time, number] = state, mass
            if time:
                above = parents[time, number] = before[parent]
                k = n_found[above]
                children[time - 1, above, k] = number
                chances[time - 1, above, k] = chain.at(time - 1)[states[time - 1, above], state]
                n_found[above] += 1
    return PublicTree(n_public, states, probability, parents, children, chances)


def tree_of_paths(chain: PublicChain, paths: NDArray[np.int64]) -> PublicTree:
    """Independent paths (K, T) of a chain as a tree without branches, of which all have the probability 1 / K.

    A best response in it knows the path's future from the beginning.
    """
    n_paths, horizon = paths.shape
    states = np.ascontiguousarray(paths.T).astype(np.int32)
    numbers = np.broadcast_to(np.arange(n_paths, dtype=np.int32), states.shape)
    parents = numbers.copy()
    parents[0] = NO_NODE
    return PublicTree(
        n_public_states=chain.n_states,
        states=states,
        probability=np.full(states.shape, 1.0 / n_paths),
        parents=parents,
        children=numbers[..., None].copy(),
        chances=np.ones((horizon, n_paths, 1)),
    )
