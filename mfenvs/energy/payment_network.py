"""A payment-channel network: its channels, the routes through it, and the payments that move its balances.

Prune - rank - route with multi-part payments after seed 000, section 7 [S]. Fees follow the Lightning Network's
BOLT 7: a node that forwards an amount asks ``base + floor(amount x ppm / 10^6)`` for the channel it sends it on
by, and a sender's own channel is free. Money is whole millisatoshi (msat) throughout, so that nothing is ever lost
to rounding.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import networkx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import yen

from mfenvs import checks

MSAT_PER_SAT = 1000
MILLION = 1_000_000

MOST_MSAT = 21_000_000 * 100_000_000 * MSAT_PER_SAT
"""All the bitcoin there will ever be: a network's channels hold no more, and sums of them fit int64."""

CAPACITY_MEDIAN_SAT, CAPACITY_LOG_SD = 800_000, 1.88
BASE_FEE_SAT, BASE_FEE_SHARE = 1, 0.58
FEE_PPM, FEE_PPM_SHARE = 1, 0.67

Route = tuple[int, ...]
"""Directed channels from sender to receiver: 2c is channel c from its first end, 2c + 1 from its second."""


@dataclasses.dataclass(frozen=True, eq=False)
class PaymentNetwork:
    """Nodes, and channels between them with their capacities, opening balances, fees and latencies.

    Parameters
    ----------
    n_nodes:
        Number of nodes, at least 2.
    ends:
        The two nodes of each channel, shape (n_channels, 2). At most one channel joins two nodes.
    capacity_msat:
        Money in each channel, msat, shape (n_channels,).
    balance_msat:
        How much of it is the first end's at the start, msat, shape (n_channels,).
    base_fee_msat, fee_ppm:
        Fee for forwarding over the channel, in either direction: msat, and millionths of the amount; shapes
        (n_channels,).
    latency_ms:
        What a channel adds to a route's latency *when routes are ranked*, shape (n_channels,).

    Raises
    ------
    TypeError
        If an array is not of numbers, or money or fees are not integers.
    ValueError
        If a shape or a number is not allowed, a channel joins a node with itself or two nodes that another joins.
    """

    n_nodes: int
    ends: NDArray[np.int64]
    capacity_msat: NDArray[np.int64]
    balance_msat: NDArray[np.int64]
    base_fee_msat: NDArray[np.int64]
    fee_ppm: NDArray[np.int64]
    latency_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        checks.integer("n_nodes", self.n_nodes, 2)
        n_channels = np.shape(self.capacity_msat)[0] if np.ndim(self.capacity_msat) else 0
        if n_channels == 0:
            raise ValueError(
                f"capacity_msat must have shape (n_channels,), n_channels >= 1, got {self.capacity_msat!r}"
            )
        ends = integers("ends", self.ends, (n_channels, 2), 0, self.n_nodes - 1)
        capacity = integers("capacity_msat", self.capacity_msat, (n_channels,), 1, MOST_MSAT)
        if sum(capacity.tolist()) > MOST_MSAT:
            raise ValueError(f"capacity_msat must sum to at most {MOST_MSAT}, got {sum(capacity.tolist())}")
        arrays: dict[str, NDArray[Any]] = {"ends": ends, "capacity_msat": capacity}
        for name in ("balance_msat", "base_fee_msat", "fee_ppm"):
            arrays[name] = integers(name, getattr(self, name), (n_channels,), 0, MOST_MSAT)
        if (over := np.flatnonzero(arrays["balance_msat"] > capacity)).size:
            c = int(over[0])
            raise ValueError(
                f"balance_msat[{c}] must be in [0, {capacity[c]}], the capacity, got {arrays['balance_msat'][c]}"
            )
        latency = checks.shaped("latency_ms", self.latency_ms, (n_channels,), np.float64)
        if (bad := np.flatnonzero(~((latency >= 0) & np.isfinite(latency)))).size:
            raise ValueError(f"latency_ms[{bad[0]}] must be a finite number >= 0, got {latency[bad[0]]}")
        seen: dict[tuple[int, int], int] = {}
        for c, (a, b) in enumerate(np.sort(ends, axis=1).tolist()):
            if a == b:
                raise ValueError(f"ends[{c}] must be two different nodes, got {ends[c].tolist()}")
            if seen.setdefault((a, b), c) != c:
                raise ValueError(
                    f"ends[{c}] must join nodes that no other channel joins, got those of {seen[a, b]}"
                )
        arrays["latency_ms"] = latency
        for name, array in arrays.items():
            frozen = array.copy()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.capacity_msat)

    @classmethod
    def scale_free(
        cls,
        n_nodes: int = 300,
        channels_per_node: int = 3,
        *,
        seed: int,
        balance_split: Literal["uniform", "half"] = "uniform",
        channel_latency_median_ms: float = 15.0,
        channel_latency_log_sd: float = 0.5,
    ) -> "PaymentNetwork":
        """Draw a Barabasi-Albert network with the figures of a public snapshot of 2021.

        Capacities are lognormal (median .8 M sat, log-sd 1.88); 58 % of the channels, to the nearest one, ask a
        base fee of 1 sat and 67 % a proportional fee of 1 ppm (the spec's figures). That these do not depend on
        each other, on the direction or on the node is ours [O], and so are the defaults below.

        Parameters
        ----------
        n_nodes:
            Number of nodes; the spec asks for 200 to 500.
        channels_per_node:
            Channels that each new node opens, in [1, n_nodes - 1].
        seed:
            Seed, a non-negative integer.
        balance_split:
            ``uniform``: the first end starts with a uniform share of the capacity; ``half``: with half of it.
        channel_latency_median_ms, channel_latency_log_sd:
            The lognormal law of a channel's latency (ms), which only ranks routes.

        Returns
        -------
        PaymentNetwork
            The network; the same for the same arguments.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed; they name it.
        """
        n_nodes = checks.integer("n_nodes", n_nodes, 2)
        channels_per_node = checks.integer("channels_per_node", channels_per_node, 1, n_nodes - 1)
        checks.choice("balance_split", balance_split, ("uniform", "half"))
        median = checks.real("channel_latency_median_ms", channel_latency_median_ms, 0.0, exclude_low=True)
        log_sd = checks.real("channel_latency_log_sd", channel_latency_log_sd, 0.0)
        rng = np.random.default_rng(checks.integer("seed", seed, 0))
        graph = networkx.barabasi_albert_graph(n_nodes, channels_per_node, seed=int(rng.integers(2**31)))
        ends = np.array(sorted(graph.edges), np.int64)
        n = len(ends)
        sat = np.maximum(np.rint(CAPACITY_MEDIAN_SAT * np.exp(CAPACITY_LOG_SD * rng.standard_normal(n))), 1)
        capacity = sat.astype(np.int64) * MSAT_PER_SAT
        balance = rng.integers(0, capacity, endpoint=True) if balance_split == "uniform" else capacity // 2
        return cls(
            n_nodes=n_nodes,
            ends=ends,
            capacity_msat=capacity,
            balance_msat=balance,
            base_fee_msat=rng.permutation(np.arange(n) < round(BASE_FEE_SHARE * n))
            * (BASE_FEE_SAT * MSAT_PER_SAT),
            fee_ppm=rng.permutation(np.arange(n) < round(FEE_PPM_SHARE * n)) * FEE_PPM,
            latency_ms=median * np.exp(log_sd * rng.standard_normal(n)),
        )

    def place_agents(self, n_agents: int, *, seed: int) -> NDArray[np.int64]:
        """Draw a node for each agent, uniformly and independently [O], shape (n_agents,)."""
        rng = np.random.default_rng(checks.integer("seed", seed, 0))
        return rng.integers(self.n_nodes, size=checks.integer("n_agents", n_agents, 1), dtype=np.int64)


class _Graph(NamedTuple):
    """The channels that survive pruning, as compressed rows, with their weights."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    weights: NDArray[np.float64]
    own_weights: NDArray[np.float64]
    """Weights of a sender's own channels, without a fee."""


class Router:
    """Prunes a network and ranks the routes through it, with a cache.

    The weight of a channel is ``alpha fee + beta (1 - capacity / largest capacity) + gamma latency`` [S], its fee
    that of the amount, zero on the sender's own channels; channels with ``capacity < theta amount`` are left out
    [S]; then come the ``k`` shortest loopless paths by :func:`scipy.sparse.csgraph.yen`. Both rules use the
    *amount class*, the least power of two (msat) that is not below the amount [O], so a channel may be left out
    for an amount that it could just carry, by a factor below two.

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
        Weight of the fee, per sat.
    beta:
        Weight of a small capacity.
    gamma:
        Weight of the latency, per ms.
    theta:
        Least capacity of a channel, as a share of the amount. The default leaves out what cannot carry one of four
        equal parts. All four defaults are ours [O].
    cache_size:
        Number of rankings kept: some 1 kB each.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; they name it.
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
        self.network = network
        self.alpha, self.beta = checks.real("alpha", alpha, 0.0), checks.real("beta", beta, 0.0)
        self.gamma, self.theta = checks.real("gamma", gamma, 0.0), checks.real("theta", theta, 0.0)
        heads, tails = network.ends.ravel().tolist(), network.ends[:, ::-1].ravel().tolist()
        self._channel = {pair: channel for channel, pair in enumerate(zip(heads, tails, strict=True))}
        # Edges in the order of compressed rows, so that pruning is a selection.
        self._order = np.lexsort((tails, heads))
        self._graphs: list[_Graph] = []
        self._alike: dict[bytes, int] = {}
        self._graph_of = functools.cache(self._prune)
        self.cache_size = checks.integer("cache_size", cache_size, 1)
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
        """How many rankings were computed, that is, not found in the cache."""
        return self._rank.cache_info().misses

    def routes(self, source: int, target: int, amount_msat: int, k: int) -> tuple[Route, ...]:
        """The first ``k`` routes for an amount, best first.

        Parameters
        ----------
        source, target:
            Different nodes, in [0, n_nodes).
        amount_msat:
            The amount, at least 1.
        k:
            Most routes, at least 1.

        Returns
        -------
        tuple of Route
            At most ``k`` routes, empty if no channel leads there.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed; they name it.
        """
        source = checks.integer("source", source, 0, self.network.n_nodes - 1)
        target = checks.integer("target", target, 0, self.network.n_nodes - 1)
        if source == target:
            raise ValueError(f"target must differ from source, got {target} for both")
        amount = checks.integer("amount_msat", amount_msat, 1, MOST_MSAT)
        amount_class = 1 << (amount - 1).bit_length()
        return self._rank(source, target, self._graph_of(amount_class), checks.integer("k", k, 1))

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


class Delivery(NamedTuple):
    """What became of one attempt at a payment."""

    delivered: bool
    n_parts: int
    """Parts that found room, whether all did or not."""
    fee_msat: int
    """Paid by the sender on top of the amount; 0 if nothing moved."""
    earned: dict[int, int]
    """The same by the node that earns it, msat."""


class ChannelBalances:
    """Who has how much in the channels of a network, and payments that move it.

    Parameters
    ----------
    network:
        The network, whose opening balances these start from.
    """

    def __init__(self, network: PaymentNetwork) -> None:
        self.network = network
        self._head: list[int] = network.ends.ravel().tolist()
        self._base: list[int] = np.repeat(network.base_fee_msat, 2).tolist()
        self._ppm: list[int] = np.repeat(network.fee_ppm, 2).tolist()
        self.reset()

    def reset(self) -> None:
        """Return to the opening balances."""
        net = self.network
        # Python's integers: they are exact at any size, and quicker one by one than numpy's.
        self._spendable: list[int] = (
            np.stack([net.balance_msat, net.capacity_msat - net.balance_msat], 1).ravel().tolist()
        )

    def array(self) -> NDArray[np.int64]:
        """Balances of the channels' two ends, msat, shape (n_channels, 2)."""
        return np.array(self._spendable, np.int64).reshape(-1, 2)

    def by_node(self) -> NDArray[np.int64]:
        """What each node has in all its channels, msat, shape (n_nodes,)."""
        total = np.zeros(self.network.n_nodes, np.int64)
        np.add.at(total, self.network.ends, self.array())
        return total

    def hops(self, route: Route, amount: int) -> list[int]:
        """What each channel of a route carries so that ``amount`` arrives: the amount and the fees ahead, msat."""
        carried = [amount]
        for channel in reversed(route[1:]):
            carried.append(carried[-1] + self._base[channel] + carried[-1] * self._ppm[channel] // MILLION)
        return carried[::-1]

    def room(self, route: Route, locked: dict[int, int]) -> int:
        """The largest amount (msat) that can arrive by a route beside what is locked there, 0 if none."""
        most = self._spendable[route[0]] - locked.get(route[0], 0)
        for channel in route[1:]:
            # The largest a with a + base + floor(a ppm / 10^6) <= most.
            after_fee = ((most - self._base[channel] + 1) * MILLION - 1) // (MILLION + self._ppm[channel])
            most = min(after_fee, self._spendable[channel] - locked.get(channel, 0))
        return max(most, 0)

    def send(self, routes: Sequence[Route], amount: int) -> Delivery:
        """Send an amount in parts, by each route in turn as much as it has room for: all of it or nothing.

        Parts wait for one another, as in Lightning: what one part takes from a channel is locked for the others,
        and what it brings in the other direction is theirs only once the payment is complete.

        Parameters
        ----------
        routes:
            Routes with the same two ends, best first.
        amount:
            What is to arrive, msat.

        Returns
        -------
        Delivery
            Whether all arrived, in how many parts and at what fees. If not, no balance has changed.
        """
        locked: dict[int, int] = {}
        parts: list[tuple[Route, list[int]]] = []
        missing = amount
        for route in routes:
            part = min(missing, self.room(route, locked))
            if part > 0:
                carried = self.hops(route, part)
                for channel, msat in zip(route, carried, strict=True):
                    locked[channel] = locked.get(channel, 0) + msat
                parts.append((route, carried))
                missing -= part
            if missing == 0:
                break
        if missing:
            return Delivery(False, len(parts), 0, {})
        earned: dict[int, int] = {}
        for route, carried in parts:
            for channel, before, after in zip(route[1:], carried, carried[1:], strict=False):
                node = self._head[channel]
                earned[node] = earned.get(node, 0) + before - after
        for channel, msat in locked.items():
            self._spendable[channel] -= msat
            self._spendable[channel ^ 1] += msat
        return Delivery(True, len(parts), sum(carried[0] for _, carried in parts) - amount, earned)


def integers(name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
    """``value`` as an int64 array of this shape, each entry within [low, high]."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an array of integers, got dtype {array.dtype}")
    outside = (array < low) | (array > high)
    if array.shape == shape and outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name}[{', '.join(map(str, where))}] must be in [{low}, {high}], got {array[where]}")
    checked: NDArray[np.int64] = checks.shaped(name, array, shape, np.int64)
    return checked
