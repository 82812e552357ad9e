"""Settlement over a payment-channel network: prune, rank, route, with multi-part payments."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.settlement.balances import ChannelBalances
from mfenvs.energy.settlement.books import Settlement
from mfenvs.energy.settlement.network import MOST_LATENCY_MS, MOST_LOG_SD, MSAT_PER_SAT, PaymentNetwork
from mfenvs.energy.settlement.routing import Route, Router
from mfenvs.energy.settlement.transfers import net_transfers, whole_units

SAT_PER_EUR = 1000.0
"""Satoshis in one EUR: one bitcoin (1e8 satoshis) at 100,000 EUR, a round number [O], not a quotation."""

MOST_PATHS, MOST_RETRIES = 1024, 20
"""Most routes of a first attempt, and most further attempts, each of which doubles them."""

LATENCY_MEDIAN_MS = 47.0
"""Median latency of a payment in one part, in milliseconds, of the tutorial \"Math Deep Dive: Understanding
Mean-Field-Type Games\" [S]."""


class PaymentChannels:
    """Settlement over a payment-channel network: prune, rank, route, with multi-part payments [S].

    Transfers are made one after another, the largest debts first. Each is split over the best ``n_paths`` routes,
    in their order; each route carries as much as its balances allow. If the routes do not carry all of it, it is
    tried again over twice as many, and fails if there are no more routes or ``retries`` is used up. The sender is
    assumed to know the balances [O], so that an attempt fails only if this greedy split does.
    Between agents at one node no channel is needed. Balances persist from step to step; :class:`Settlement` says
    what a failed transfer means.

    Latency is *configured, not observed* [S]: each part draws it from a lognormal law with the given median,
    whatever its route. An attempt takes as long as its slowest part, and attempts add up [O]. Payments in one part
    therefore have that median, and others a larger one.

    Parameters
    ----------
    network:
        The network, or a router on one, for example to share its cache with other markets.
    agent_nodes:
        Node of each agent, shape (n_agents,); :meth:`PaymentNetwork.place_agents` draws them.
    n_paths:
        Number of routes that the first attempt uses, 1 to 1,024.
    retries:
        Most further attempts, 0 to 20.
    penalty_share:
        Penalty that the debtor of a failed transfer pays, as a share of its amount, in [0, 1] [O].
    sat_per_eur:
        Satoshis in one EUR, > 0 [O].
    latency_median_ms:
        Median latency of a part in milliseconds, >= 0 (47 ms [S]).
    latency_log_sd:
        Standard deviation of the logarithm of a part's latency, in [0, 10] [O].
    seed:
        Random seed of the latencies, >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; the message names it.

    References
    ----------
    Prune, rank, route with multi-part payments, and the median latency of 47 ms: "Math Deep Dive: Understanding
    Mean-Field-Type Games", section 7.
    """

    def __init__(
        self,
        network: PaymentNetwork | Router,
        agent_nodes: ArrayLike,
        *,
        n_paths: int = 4,
        retries: int = 1,
        penalty_share: float = 0.05,
        sat_per_eur: float = SAT_PER_EUR,
        latency_median_ms: float = LATENCY_MEDIAN_MS,
        latency_log_sd: float = 0.5,
        seed: int = 0,
    ) -> None:
        if not isinstance(network, PaymentNetwork | Router):
            raise TypeError(f"network must be a PaymentNetwork or a Router, got {network!r}")
        self.router = network if isinstance(network, Router) else Router(network)
        self.network = self.router.network
        n_agents = checks.array("agent_nodes", agent_nodes).size
        nodes = checks.indices("agent_nodes", agent_nodes, (n_agents,), 0, self.network.n_nodes - 1)
        self.agent_nodes = nodes.copy()
        self.n_paths = checks.integer("n_paths", n_paths, 1, MOST_PATHS)
        self.retries = checks.integer("retries", retries, 0, MOST_RETRIES)
        self.penalty_share = checks.real("penalty_share", penalty_share, 0.0, 1.0)
        self.sat_per_eur = checks.real("sat_per_eur", sat_per_eur, 0.0, exclude_low=True)
        self.latency_median_ms = checks.real("latency_median_ms", latency_median_ms, 0.0, MOST_LATENCY_MS)
        self.latency_log_sd = checks.real("latency_log_sd", latency_log_sd, 0.0, MOST_LOG_SD)
        self.seed, self.n_settled = checks.integer("seed", seed, 0), 0
        self._balances = ChannelBalances(self.network)

    @property
    def balances_msat(self) -> NDArray[np.int64]:
        """Balances of the two ends of each channel now, msat, shape (n_channels, 2); they sum to its capacity."""
        return self._balances.array()

    def reset_balances(self) -> None:
        """Return to the opening balances, as if all channels had been rebalanced.

        Latencies are not drawn anew: the next settlement goes on with the random numbers.
        """
        self._balances.reset()

    def settle(self, payments: ArrayLike) -> Settlement:
        """Settle the payments of one step.

        Parameters
        ----------
        payments:
            Payment that each agent makes (> 0) or receives (< 0), EUR, shape (n_agents,), with sum zero.

        Returns
        -------
        Settlement
            The books, in msat. The same calls after the same seed give the same settlements.

        Raises
        ------
        TypeError, ValueError
            If payments are not as they should be; see :func:`whole_units`.
        """
        units_per_eur = self.sat_per_eur * MSAT_PER_SAT
        eur = checks.finite_numbers("payments", payments, self.agent_nodes.shape)
        face = whole_units(eur, units_per_eur)
        debtor, creditor, amount = net_transfers(face)
        rng = np.random.default_rng((self.seed, self.n_settled))
        before, earned = self._balances.by_node(), np.zeros(self.network.n_nodes, np.int64)
        n = len(amount)
        succeeded, latency = np.zeros(n, np.bool_), np.zeros(n)
        n_parts, fee = np.zeros(n, np.int64), np.zeros(n, np.int64)
        ends = zip(
            self.agent_nodes[debtor].tolist(), self.agent_nodes[creditor].tolist(), amount.tolist(), strict=True
        )
        for i, (source, target, msat) in enumerate(ends):
            succeeded[i], n_parts[i], fee[i], latency[i] = self._transfer(source, target, msat, earned, rng)
        self.n_settled += 1
        return Settlement(
            payments_eur=eur.copy(),
            units_per_eur=units_per_eur,
            face_units=face,
            debtor=debtor,
            creditor=creditor,
            amount_units=amount,
            succeeded=succeeded,
            n_parts=n_parts,
            fee_units=fee,
            penalty_units=np.where(succeeded, 0, np.rint(self.penalty_share * amount).astype(np.int64)),
            configured_latency_ms=latency,
            operator_income_units=0,
            agent_nodes=self.agent_nodes,
            routing_income_node_units=earned,
            node_balance_change_units=self._balances.by_node() - before,
        )

    def _transfer(
        self, source: int, target: int, amount: int, earned: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[bool, int, int, float]:
        """Whether it succeeded, its parts, fee (msat) and latency (ms); adds to what the nodes have earned."""
        latency, n_tried = 0.0, 0
        if source == target:
            return True, 0, 0, latency
        for attempt in range(1 + self.retries):
            routes = self._routes(source, target, amount, self.n_paths << attempt)
            if len(routes) == n_tried:
                break
            n_tried = len(routes)
            delivery = self._balances.send(routes, amount)
            slowest = rng.standard_normal(max(delivery.n_parts, 1)).max()
            latency += self.latency_median_ms * math.exp(self.latency_log_sd * slowest)
            if delivery.delivered:
                for node, msat in delivery.earned.items():
                    earned[node] += msat
                return True, delivery.n_parts, delivery.fee_msat, latency
        return False, 0, 0, latency

    def _routes(self, source: int, target: int, amount: int, k: int) -> tuple[Route, ...]:
        """The best k routes, or only the best if the whole amount has room there: that is quicker to find."""
        best = self.router.routes(source, target, amount, 1)
        alone = not best or self._balances.room(best[0], {}) >= amount
        return best if alone else self.router.routes(source, target, amount, k)
