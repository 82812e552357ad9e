"""Routes through a payment-channel network: channels are pruned and weighted, and paths ranked."""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import yen

from mfenvs import checks
from mfenvs.energy.settlement.network import MOST_MSAT, MSAT_PER_SAT, PaymentNetwork

MILLION = 1_000_000

MOST_WEIGHT = 1e9
"""Largest of the four weights of a :class:`Router`: products with them stay finite."""

MOST_ROUTES = 2**31 - 1
"""Most routes of a ranking, and most rankings of a cache."""

Route = tuple[int, ...]
"""Directed channels from sender to receiver: 2c is channel c from its first end, 2c + 1 from its second."""


class _Graph(NamedTuple):
    """The directed channels that survive pruning, as a sparse matrix of compressed rows (CSR)."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    weights: NDArray[np.float64]
    """Weights of the channels with their fees."""
    own_weights: NDArray[np.float64]
    """Weights without fees, which hold for a sender's own channels."""


class Router:
    """Prunes a network and ranks the routes through it, with a cache.

    Channels with ``capacity < theta x amount`` are left out [S]. The weight of a channel is ``alpha x fee + beta x
    (1 - capacity / largest capacity) + gamma x latency`` [S]; its fee is that of the amount, zero on the sender's
    own channels. The ``k`` shortest loopless paths by these weights are found by
    :func:`scipy.sparse.csgraph.yen`. Both rules use the *amount class*, the least power of two (msat) that is not
    below the amount [O], so a channel may be left out for an amount that it could just carry, by a factor below
    two.

    Rankings depend on capacities, fees and latencies, which never change, and not on balances, which do. A ranking
    is therefore never invalid: the cache lives as long as the router, and any number of markets on one network can
    share it. Amount classes that prune and charge alike, to the msat, share their rankings; the cache forgets the
    least recently used of them beyond ``cache_size``.

    Routes of equal weight come in scipy's order, which may depend on its version.

    Parameters
    ----------
    network:
        The network.
    alpha:
        Weight of the fee, per satoshi, in [0, 1e9].
    beta:
        Weight of a small capacity, in [0, 1e9].
    gamma:
        Weight of the latency, per millisecond, in [0, 1e9].
    theta:
        Least capacity of a channel, as a share of the amount, in [0, 1e9]. The default leaves out what cannot
        carry one of four equal parts. All four defaults are ours [O].
    cache_size:
        Number of rankings kept, at least 1: some 1 kB each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; the message names it.

    References
    ----------
    The two rules: "Math Deep Dive: Understanding Mean-Field-Type Games", section 7.
    """

    def __init__(
        self,
        network: PaymentNetwork,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 0.01,
        theta: float = 0.25,
        cache_size: int = 100_000,
    ) -> None:
        if not isinstance(network, PaymentNetwork):
            raise TypeError(f"network must be a PaymentNetwork, got {network!r}")
        self.network = network
        self.alpha, self.beta, self.gamma, self.theta = (
            checks.real(name, value, 0.0, MOST_WEIGHT)
            for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma), ("theta", theta))
        )
        heads, tails = network.ends.ravel().tolist(), network.ends[:, ::-1].ravel().tolist()
        self._channel = {pair: channel for channel, pair in enumerate(zip(heads, tails, strict=True))}
        # Edges in the order of compressed rows, so that pruning is a selection.
        self._order = np.lexsort((tails, heads))
        self._graphs: list[_Graph] = []
        self._alike: dict[bytes, int] = {}
        self._graph_of = functools.cache(self._prune)
        self.cache_size = checks.integer("cache_size", cache_size, 1, MOST_ROUTES)
        self._rank = functools.lru_cache(self.cache_size)(self._search)

    def __reduce__(self) -> Any:
        # Pickled without its cache, which knows this router.
        make = functools.partial(
            Router,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            theta=self.theta,
            cache_size=self.cache_size,
        )
        return make, (self.network,)

    @property
    def n_ranked(self) -> int:
        """Number of rankings that were computed because the cache did not hold them."""
        return self._rank.cache_info().misses

    def routes(self, source: int, target: int, amount_msat: int, k: int) -> tuple[Route, ...]:
        """The first ``k`` routes for an amount, best first.

        Parameters
        ----------
        source, target:
            Different nodes, in [0, n_nodes).
        amount_msat:
            The amount that is to arrive, msat, at least 1.
        k:
            Most routes, at least 1.

        Returns
        -------
        tuple of Route
            At most ``k`` routes, empty if no channel leads there.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed; the message names it.
        """
        source = checks.integer("source", source, 0, self.network.n_nodes - 1)
        target = checks.integer("target", target, 0, self.network.n_nodes - 1)
        if source == target:
            raise ValueError(f"target must differ from source, got {target} for both")
        amount = checks.integer("amount_msat", amount_msat, 1, MOST_MSAT)
        amount_class = 1 << (amount - 1).bit_length()
        return self._rank(source, target, self._graph_of(amount_class), checks.integer("k", k, 1, MOST_ROUTES))

    def _prune(self, amount: int) -> int:
        """Number of the pruned, weighted graph of an amount class."""
        net = self.network
        capacity = np.repeat(net.capacity_msat, 2)
        fee = (
            np.repeat(net.base_fee_msat + np.floor(amount * net.fee_ppm.astype(float) / MILLION), 2) / MSAT_PER_SAT
        )
        own = self.beta * (1 - capacity / capacity.max()) + self.gamma * np.repeat(net.latency_ms, 2)
        order = self._order[capacity[self._order] >= self.theta * amount]
        fee, own = fee[order], own[order]
        number = self._alike.setdefault(order.tobytes() + fee.tobytes(), len(self._graphs))
        if number == len(self._graphs):
            indptr = np.searchsorted(net.ends.ravel()[order], np.arange(net.n_nodes + 1))
            tails = net.ends[:, ::-1].ravel()[order]
            # yen takes 32-bit indices only.
            graph = _Graph(indptr.astype(np.int32), tails.astype(np.int32), own + self.alpha * fee, own)
            self._graphs.append(graph)
        return number

    def _search(self, source: int, target: int, number: int, k: int) -> tuple[Route, ...]:
        graph, n = self._graphs[number], self.network.n_nodes
        # A loopless path leaves its source once, so that a free first channel is a matter of weights.
        weights, row = graph.weights.copy(), slice(graph.indptr[source], graph.indptr[source + 1])
        weights[row] = graph.own_weights[row]
        matrix = csr_array((weights, graph.indices, graph.indptr), shape=(n, n))
        _, predecessors = yen(matrix, source, target, k, return_predecessors=True)
        return tuple(self._route(source, target, before) for before in predecessors.tolist())

    def _route(self, source: int, target: int, before: list[int]) -> Route:
        nodes = [target]
        while nodes[-1] != source:
            nodes.append(before[nodes[-1]])
        nodes.reverse()
        return tuple(self._channel[pair] for pair in itertools.pairwise(nodes))
