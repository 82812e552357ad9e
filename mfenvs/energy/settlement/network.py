"""A payment-channel network: nodes, and the channels between them with their capacities and fees.

A payment channel is a joint account of two nodes: each end has a balance, the two sum to the capacity, and a
payment over the channel moves money from one end's balance to the other's. Money is in whole millisatoshi (msat;
1 bitcoin = 1e8 satoshi = 1e11 msat), so that nothing is ever lost to rounding.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

MSAT_PER_SAT = 1000

MOST_MSAT = 21_000_000 * 100_000_000 * MSAT_PER_SAT
"""All the bitcoin there will ever be, in msat: a network's channels hold no more, and sums of them fit int64."""

MOST_NODES = 1_000_000
MOST_LATENCY_MS, MOST_LOG_SD = 1e9, 10.0
"""Most latency in milliseconds (eleven days), and most standard deviation of the logarithm of a latency."""

CAPACITY_MEDIAN_SAT, CAPACITY_LOG_SD = 800_000, 1.88
"""Lognormal law of the channels' capacities: median in satoshi, standard deviation of the logarithm."""

BASE_FEE_SAT, BASE_FEE_SHARE = 1, 0.58
"""Base fee in satoshi, and the share of the channels that ask it."""

FEE_PPM, FEE_PPM_SHARE = 1, 0.67
"""Proportional fee in millionths of the amount, and the share of the channels that ask it."""


@dataclasses.dataclass(frozen=True, eq=False)
class PaymentNetwork:
    """A payment-channel network: its channels' capacities, opening balances, fees and latencies.

    Parameters
    ----------
    n_nodes:
        Number of nodes, 2 to 1,000,000.
    ends:
        The two nodes of each channel, shape (n_channels, 2). At most one channel joins two nodes.
    capacity_msat:
        Money in each channel, both ends together, msat, shape (n_channels,).
    balance_msat:
        Opening balance of each channel's first end, msat, shape (n_channels,), at most the capacity.
    base_fee_msat:
        Base fee for forwarding over the channel in either direction, msat, shape (n_channels,).
    fee_ppm:
        Proportional fee for forwarding, in millionths of the amount, shape (n_channels,).
    latency_ms:
        Latency that a channel adds to a route *when routes are ranked*, milliseconds, shape (n_channels,); it
        does not enter the latency of payments.

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
        # Kept as Python's integer: numpy's small ones overflow in sums such as n_nodes + 1.
        object.__setattr__(self, "n_nodes", checks.integer("n_nodes", self.n_nodes, 2, MOST_NODES))
        n_channels = checks.array("capacity_msat", self.capacity_msat).size
        if n_channels == 0:
            raise ValueError("capacity_msat must have shape (n_channels,), n_channels >= 1, got no channel")
        ends = checks.indices("ends", self.ends, (n_channels, 2), 0, self.n_nodes - 1)
        capacity = checks.indices("capacity_msat", self.capacity_msat, (n_channels,), 1, MOST_MSAT)
        if sum(capacity.tolist()) > MOST_MSAT:
            raise ValueError(f"capacity_msat must sum to at most {MOST_MSAT}, got {sum(capacity.tolist())}")
        arrays: dict[str, NDArray[Any]] = {"ends": ends, "capacity_msat": capacity}
        for name in ("balance_msat", "base_fee_msat", "fee_ppm"):
            arrays[name] = checks.indices(name, getattr(self, name), (n_channels,), 0, MOST_MSAT)
        if (over := np.flatnonzero(arrays["balance_msat"] > capacity)).size:
            c = int(over[0])
            raise ValueError(
                f"balance_msat[{c}] must be in [0, {capacity[c]}], the capacity, got {arrays['balance_msat'][c]}"
            )
        latency = checks.finite_numbers("latency_ms", self.latency_ms, (n_channels,))
        if (bad := np.flatnonzero((latency < 0) | (latency > MOST_LATENCY_MS))).size:
            raise ValueError(
                f"latency_ms[{bad[0]}] must be in [0, {MOST_LATENCY_MS:g}], got {float(latency[bad[0]])!r}"
            )
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
        """A random scale-free network with the figures of a public snapshot of the Lightning Network of 2021.

        The graph is drawn by preferential attachment (Barabasi and Albert, Science 286, 1999). Capacities are
        lognormal: median 0.8 million satoshi, standard deviation of the logarithm 1.88. Of the channels, to the
        nearest one, 58 % ask a base fee of 1 satoshi and 67 % a proportional fee of one millionth. That these do
        not depend on each other, on the direction or on the node is ours [O], and so are the defaults below.

        Parameters
        ----------
        n_nodes:
            Number of nodes, 2 to 1,000,000.
        channels_per_node:
            Channels that each new node opens, in [1, n_nodes - 1].
        seed:
            Random seed of the network, >= 0.
        balance_split:
            ``uniform``: the first end starts with a uniformly drawn share of the capacity; ``half``: with half of
            it.
        channel_latency_median_ms:
            Median latency of a channel in milliseconds, > 0; it only ranks routes.
        channel_latency_log_sd:
            Standard deviation of the logarithm of a channel's latency, in [0, 10].

        Returns
        -------
        PaymentNetwork
            The network; the same for the same arguments.

        Raises
        ------
        ImportError
            If the package networkx is missing, which ``pip install "mfenvs[energy]"`` installs.
        TypeError, ValueError
            If an argument is not allowed; the message names it.
        """
        n_nodes = checks.integer("n_nodes", n_nodes, 2, MOST_NODES)
        channels_per_node = checks.integer("channels_per_node", channels_per_node, 1, n_nodes - 1)
        balance_split = checks.choice("balance_split", balance_split, ("uniform", "half"))
        median = checks.real(
            "channel_latency_median_ms", channel_latency_median_ms, 0.0, MOST_LATENCY_MS, exclude_low=True
        )
        log_sd = checks.real("channel_latency_log_sd", channel_latency_log_sd, 0.0, MOST_LOG_SD)
        rng = np.random.default_rng(checks.integer("seed", seed, 0))
        # Imported here: the only user of this package is a drawn network.
        import networkx

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
            latency_ms=np.minimum(median * np.exp(log_sd * rng.standard_normal(n)), MOST_LATENCY_MS),
        )

    def place_agents(self, n_agents: int, *, seed: int) -> NDArray[np.int64]:
        """A node for each agent, drawn uniformly and independently [O], shape (n_agents,).

        Parameters
        ----------
        n_agents:
            Number of agents, at least 1.
        seed:
            Random seed of the places, >= 0.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed; the message names it.
        """
        rng = np.random.default_rng(checks.integer("seed", seed, 0))
        return rng.integers(self.n_nodes, size=checks.integer("n_agents", n_agents, 1, 2**31 - 1), dtype=np.int64)
