"""Settlement of a market's payments: at once in a ledger, or over a payment-channel network.

One step: what each agent pays or receives is rounded to whole units of money, netted into transfers from debtors
to creditors, and settled. A :class:`Settlement` says what became of it, and its books balance exactly, in
integers.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.payment_network import (
    MSAT_PER_SAT,
    ChannelBalances,
    PaymentNetwork,
    Route,
    Router,
    integers,
)

BALANCE_TOLERANCE = 1e-9
"""How far payments may be from summing to zero, relative to what is paid."""

MOST_UNITS = 2**44
"""Most money of one step, in units: below it, float64 rounds a share of the total by less than .01 units."""

LEDGER_UNITS_PER_EUR = 100_000_000

SAT_PER_EUR = 1000.0
"""One bitcoin at 100,000 EUR: a round number [O], not a quotation."""

LATENCY_MEDIAN_MS = 47.0


class Transfers(NamedTuple):
    """Who pays whom how much; arrays of one shape (n_transfers,)."""

    debtor: NDArray[np.int64]
    creditor: NDArray[np.int64]
    amount: NDArray[np.int64]


def whole_units(payments: ArrayLike, units_per_eur: float) -> NDArray[np.int64]:
    """Payments in whole units that sum to zero exactly.

    The total is rounded to the nearest unit, and then shared out among the debtors and among the creditors in
    proportion, each by the largest remainder (of equal remainders, the agents that come first get the unit).

    Parameters
    ----------
    payments:
        What each agent pays (> 0) or receives (< 0), EUR, shape (n_agents,).
    units_per_eur:
        Units of money in one EUR.

    Returns
    -------
    NDArray
        The same in units, shape (n_agents,): within 1.5 units of it where payments sum to zero.

    Raises
    ------
    TypeError
        If payments are not numbers.
    ValueError
        If they have another shape, are not finite, do not sum to zero within 1e-9 of what is paid, or exceed 2^44
        units.
    """
    array = np.asarray(payments)
    eur = checks.shaped("payments", array, array.shape if array.ndim == 1 else (array.size,), np.float64)
    if (bad := np.flatnonzero(~np.isfinite(eur))).size:
        raise ValueError(f"payments[{bad[0]}] must be a finite number, got {eur[bad[0]]}")
    debts, credits = np.maximum(eur, 0.0), np.maximum(-eur, 0.0)
    paid, received = float(debts.sum()), float(credits.sum())
    if abs(paid - received) > BALANCE_TOLERANCE * max(paid, received):
        raise ValueError(
            f"payments must sum to zero within {BALANCE_TOLERANCE:g} of what is paid, got {paid!r} EUR paid and"
            f" {received!r} EUR received"
        )
    if not max(paid, received) * units_per_eur <= MOST_UNITS:
        raise ValueError(
            f"payments must be at most {MOST_UNITS / units_per_eur:g} EUR in total ({MOST_UNITS} units), got"
            f" {max(paid, received)!r}"
        )
    total = round((paid + received) / 2 * units_per_eur)
    return _apportion(debts, total) - _apportion(credits, total)


def net_transfers(face: NDArray[np.int64]) -> Transfers:
    """Transfers from debtors to creditors, at most n_debtors + n_creditors - 1 of them.

    Two pointers walk down the debtors and the creditors, each sorted by falling amount (of equal amounts, the
    agent that comes first): the two that are pointed at exchange the smaller of what they have left, and whoever
    is done is passed [O]. Greedy, so a few transfers above the least number, which is NP-hard to find.

    Parameters
    ----------
    face:
        What each agent pays (> 0) or receives (< 0), units, shape (n_agents,), with sum zero.

    Returns
    -------
    Transfers
        In the order of the walk: the largest debts come first.
    """
    debtors, creditors = (np.flatnonzero(side > 0) for side in (face, -face))
    debtors = debtors[np.argsort(-face[debtors], kind="stable")]
    creditors = creditors[np.argsort(face[creditors], kind="stable")]
    owed, due = np.cumsum(face[debtors]), np.cumsum(-face[creditors])
    # The walk stops wherever either cumulated amount does.
    stops = np.union1d(owed, due)
    return Transfers(
        debtor=debtors[np.searchsorted(owed, stops)],
        creditor=creditors[np.searchsorted(due, stops)],
        amount=np.diff(stops, prepend=0),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Settlement:
    """What became of one step's payments. Money in ``_units`` is exact; the properties in EUR are float64.

    A failed transfer is settled with the retailer as credit: the retailer pays the creditor, and the debtor owes
    the retailer the amount and a penalty. Creditors are therefore always paid in full.
    """

    payments_eur: NDArray[np.float64]
    """What each agent was to pay (> 0) or receive (< 0), shape (n_agents,)."""
    units_per_eur: float
    """Units of money in one EUR (1 unit = 1 msat in a payment network)."""
    face_units: NDArray[np.int64]
    """The payments in whole units, shape (n_agents,)."""
    debtor: NDArray[np.int64]
    """Who pays each transfer, shape (n_transfers,) as all arrays up to the latency."""
    creditor: NDArray[np.int64]
    """Who is paid."""
    amount_units: NDArray[np.int64]
    """What the creditor gets."""
    succeeded: NDArray[np.bool_]
    """Whether the transfer was settled as it should, and not by the retailer's credit."""
    n_parts: NDArray[np.int64]
    """Parts in which the money moved: 0 if the transfer failed or both agents are at one node."""
    fee_units: NDArray[np.int64]
    """What the debtor pays for it to routing nodes and the operator."""
    penalty_units: NDArray[np.int64]
    """What the debtor pays to the retailer because it failed."""
    configured_latency_ms: NDArray[np.float64]
    """Drawn from a law that was *configured* (its median is an argument), not observed in the network."""
    operator_income_units: int
    """Fees of the ledger's operator."""
    agent_nodes: NDArray[np.int64]
    """Node of each agent, shape (n_agents,); empty for a ledger."""
    routing_income_node_units: NDArray[np.int64]
    """What each node earned by forwarding, shape (n_nodes,); empty for a ledger."""
    node_balance_change_units: NDArray[np.int64]
    """By how much the balances of each node in its channels grew, shape (n_nodes,); empty for a ledger."""

    @property
    def amount_eur(self) -> NDArray[np.float64]:
        """What the creditor of each transfer gets, EUR, shape (n_transfers,)."""
        return self._eur(self.amount_units)

    @property
    def fee_eur(self) -> NDArray[np.float64]:
        """Fee of each transfer, EUR, shape (n_transfers,)."""
        return self._eur(self.fee_units)

    @property
    def net_units(self) -> NDArray[np.int64]:
        """What each agent pays in all: fees and penalties too, before routing income; units, shape (n_agents,)."""
        return self.face_units + self._by_debtor(self.fee_units + self.penalty_units)

    @property
    def rounding_eur(self) -> NDArray[np.float64]:
        """What rounding to whole units left out of each payment, EUR, shape (n_agents,).

        It is booked with the retailer, who gains and loses nothing by it: it sums to zero as the payments do.
        """
        return self.payments_eur - self._eur(self.face_units)

    @property
    def net_eur(self) -> NDArray[np.float64]:
        """What each agent pays in all: fees and penalties too, before routing income; EUR, shape (n_agents,)."""
        return self._eur(self.net_units) + self.rounding_eur

    @property
    def retailer_credit_eur(self) -> NDArray[np.float64]:
        """What each agent owes the retailer for failed transfers, without penalties, EUR, shape (n_agents,)."""
        return self._eur(self._by_debtor(np.where(self.succeeded, 0, self.amount_units)))

    @property
    def penalties_eur(self) -> NDArray[np.float64]:
        """Penalties of each agent, EUR, shape (n_agents,). They are the retailer's."""
        return self._eur(self._by_debtor(self.penalty_units))

    @property
    def routing_income_node_eur(self) -> NDArray[np.float64]:
        """What each node earned by forwarding, EUR, shape (n_nodes,)."""
        return self._eur(self.routing_income_node_units)

    @property
    def routing_income_units(self) -> NDArray[np.int64]:
        """What each agent earned by forwarding, units, shape (n_agents,).

        A node's income is shared equally among its agents; of a remainder, those who come first get one unit each
        [O]. A node without an agent keeps its income.
        """
        if not self.agent_nodes.size:
            return np.zeros(len(self.face_units), np.int64)
        n_at_node = np.bincount(self.agent_nodes, minlength=len(self.routing_income_node_units))
        order = np.argsort(self.agent_nodes, kind="stable")
        first = np.cumsum(n_at_node) - n_at_node
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - first[self.agent_nodes[order]]
        share, rest = np.divmod(self.routing_income_node_units, np.maximum(n_at_node, 1))
        income: NDArray[np.int64] = share[self.agent_nodes] + (rank < rest[self.agent_nodes])
        return income

    @property
    def routing_income_eur(self) -> NDArray[np.float64]:
        """What each agent earned by forwarding, EUR, shape (n_agents,); see ``routing_income_units``."""
        return self._eur(self.routing_income_units)

    @property
    def operator_income_eur(self) -> float:
        """Fees of the ledger's operator, EUR."""
        return self.operator_income_units / self.units_per_eur

    def check_conservation(self) -> None:
        """Check that no unit of money was made or lost.

        Raises
        ------
        AssertionError
            If the transfers are not the payments in whole units; what the agents pay in all is not what routing
            nodes, operator and retailer earn; a transfer succeeded with a penalty or failed with a fee; or a
            node's channels did not gain exactly what was paid to it, less what it paid, plus what it earned by
            forwarding.
        """
        moved = np.where(self.succeeded, self.amount_units, 0)
        received = np.zeros_like(self.face_units)
        np.add.at(received, self.creditor, self.amount_units)
        routed = int(self.routing_income_node_units.sum())
        earned = routed + self.operator_income_units + int(self.penalty_units.sum())
        settled = np.where(self.succeeded, self.penalty_units, self.fee_units)
        _balance("transfers by agent", self._by_debtor(self.amount_units) - received, self.face_units)
        _balance("sum of net payments", self.net_units.sum(), earned)
        _balance("penalties of succeeded and fees of failed transfers", settled, np.zeros_like(settled))
        if self.agent_nodes.size:
            change = self.routing_income_node_units.copy()
            np.add.at(change, self.agent_nodes[self.creditor], moved)
            np.subtract.at(change, self.agent_nodes[self.debtor], moved + self.fee_units)
            _balance("change of nodes' balances", self.node_balance_change_units, change)

    def _by_debtor(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.zeros_like(self.face_units)
        np.add.at(total, self.debtor, units)
        return total

    def _eur(self, units: NDArray[np.int64]) -> NDArray[np.float64]:
        eur: NDArray[np.float64] = units / self.units_per_eur
        return eur


class Ledger:
    """Settles everything at once: always succeeds, with latency 0.

    Parameters
    ----------
    fee_per_payment:
        What the debtor of each transfer pays to the operator, EUR, rounded to 1e-8 EUR.

    Raises
    ------
    TypeError, ValueError
        If the fee is not a finite number >= 0.
    """

    def __init__(self, *, fee_per_payment: float = 0.0) -> None:
        most = MOST_UNITS / LEDGER_UNITS_PER_EUR
        self.fee_per_payment = checks.real("fee_per_payment", fee_per_payment, 0.0, most)

    def settle(self, payments: ArrayLike) -> Settlement:
        """Settle one step.

        Parameters
        ----------
        payments:
            What each agent pays (> 0) or receives (< 0), EUR, shape (n_agents,), with sum zero.

        Returns
        -------
        Settlement
            Its unit is 1e-8 EUR. Without a fee, ``net_eur`` is the payments, up to the last bit.

        Raises
        ------
        TypeError, ValueError
            If payments are not as they should be; see :func:`whole_units`.
        """
        face = whole_units(payments, LEDGER_UNITS_PER_EUR)
        transfers = net_transfers(face)
        n = len(transfers.amount)
        fee = np.full(n, round(self.fee_per_payment * LEDGER_UNITS_PER_EUR), np.int64)
        nothing = np.zeros(0, np.int64)
        return Settlement(
            payments_eur=np.array(payments, np.float64),
            units_per_eur=LEDGER_UNITS_PER_EUR,
            face_units=face,
            debtor=transfers.debtor,
            creditor=transfers.creditor,
            amount_units=transfers.amount,
            succeeded=np.ones(n, np.bool_),
            n_parts=np.ones(n, np.int64),
            fee_units=fee,
            penalty_units=np.zeros(n, np.int64),
            configured_latency_ms=np.zeros(n),
            operator_income_units=int(fee.sum()),
            agent_nodes=nothing,
            routing_income_node_units=nothing,
            node_balance_change_units=nothing,
        )


class PaymentChannels:
    """Settles over a payment-channel network: prune, rank, route, with multi-part payments [S].

    Transfers are made one after another, the largest debts first. Each is split over the best ``n_paths`` routes,
    in their order, by each as much as its balances allow; if they do not carry all of it, it is tried again over
    twice as many, and fails if there are no more or ``retries`` is used up. The sender is assumed to know the
    balances [O], so that an attempt fails only if the greedy split over these routes does. Between agents of one
    node no channel is needed. Balances persist from step to step; what a failed transfer means is said in
    :class:`Settlement`.

    Latency is *configured, not observed* [S]: each part draws it from a lognormal law with the median given,
    whatever its route; an attempt takes the longest of its parts, and attempts add [O]. Payments in one part
    therefore have that median and others a larger one.

    Parameters
    ----------
    network:
        The network, or a router on one, for example to share its cache with other markets.
    agent_nodes:
        Node of each agent, shape (n_agents,); :meth:`PaymentNetwork.place_agents` draws them.
    n_paths:
        Routes of the first attempt (k), at least 1.
    retries:
        Most further attempts, at least 0.
    penalty_share:
        Penalty of a failed transfer, as a share of its amount, in [0, 1] [O].
    sat_per_eur:
        Satoshis in one EUR [O].
    latency_median_ms, latency_log_sd:
        The law of a part's latency: median (47 ms [S]) and standard deviation of the logarithm [O].
    seed:
        Seed of the latencies, a non-negative integer.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; they name it.
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
        n_agents = np.size(agent_nodes)
        self.agent_nodes = integers("agent_nodes", agent_nodes, (n_agents,), 0, self.network.n_nodes - 1).copy()
        self.n_paths, self.retries = (
            checks.integer("n_paths", n_paths, 1),
            checks.integer("retries", retries, 0, 20),
        )
        self.penalty_share = checks.real("penalty_share", penalty_share, 0.0, 1.0)
        self.sat_per_eur = checks.real("sat_per_eur", sat_per_eur, 0.0, exclude_low=True)
        self.latency_median_ms = checks.real("latency_median_ms", latency_median_ms, 0.0)
        self.latency_log_sd = checks.real("latency_log_sd", latency_log_sd, 0.0)
        self.seed, self.n_settled = checks.integer("seed", seed, 0), 0
        self._balances = ChannelBalances(self.network)

    @property
    def balances_msat(self) -> NDArray[np.int64]:
        """Balances of the channels' two ends now, msat, shape (n_channels, 2): a channel's sum to its capacity."""
        return self._balances.array()

    def reset_balances(self) -> None:
        """Return to the opening balances, as if all channels had been rebalanced; latencies are drawn on."""
        self._balances.reset()

    def settle(self, payments: ArrayLike) -> Settlement:
        """Settle one step.

        Parameters
        ----------
        payments:
            What each agent pays (> 0) or receives (< 0), EUR, shape (n_agents,), with sum zero.

        Returns
        -------
        Settlement
            Its unit is 1 msat. The same calls after the same seed give the same settlements.

        Raises
        ------
        TypeError, ValueError
            If payments are not as they should be; see :func:`whole_units`.
        """
        units_per_eur = self.sat_per_eur * MSAT_PER_SAT
        eur = checks.shaped("payments", payments, self.agent_nodes.shape, np.float64)
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


@dataclasses.dataclass(frozen=True)
class SettlementSummary:
    """Figures of one or many settlements; nan where there is nothing to take them of.

    Transfers of one run share the channels and are not independent: no standard errors are given, which repeated
    runs with other seeds give.
    """

    n_transfers: int
    """Number of transfers."""
    success_rate: float
    """Share of the transfers that succeeded."""
    success_rate_by_value: float
    """Share of their value, EUR for EUR."""
    fees_eur: float
    """Fees, to routing nodes and the operator, EUR."""
    fees_per_eur: float
    """The same per EUR of transfers that succeeded."""
    penalties_eur: float
    """Penalties of failed transfers, EUR."""
    n_routed: int
    """Number of transfers that succeeded in at least one part: what the figures below are of."""
    parts_per_payment: float
    """Their mean number of parts."""
    configured_latency_p50_ms: float
    """Median of their latency, which is configured, not observed."""
    configured_latency_p95_ms: float
    """Its 95 % quantile."""
    configured_latency_p99_ms: float
    """Its 99 % quantile."""


def summary(settlements: Settlement | Sequence[Settlement]) -> SettlementSummary:
    """Success rates, fees, latencies and parts of one or many settlements.

    Parameters
    ----------
    settlements:
        One settlement, or at least one of them, with any units.

    Returns
    -------
    SettlementSummary
        The figures, of all transfers together.

    Raises
    ------
    ValueError
        If there is no settlement.
    """
    several = [settlements] if isinstance(settlements, Settlement) else list(settlements)
    if not several:
        raise ValueError("settlements must be at least one, got none")
    succeeded = np.concatenate([s.succeeded for s in several])
    amount = np.concatenate([s.amount_eur for s in several])
    parts = np.concatenate([s.n_parts for s in several])
    latency = np.concatenate([s.configured_latency_ms for s in several])
    fees = float(sum(s.fee_eur.sum() for s in several))
    routed = succeeded & (parts > 0)
    quantiles = np.quantile(latency[routed], (0.5, 0.95, 0.99)) if routed.any() else np.full(3, math.nan)
    value = float(amount[succeeded].sum())
    return SettlementSummary(
        n_transfers=len(succeeded),
        success_rate=_ratio(int(succeeded.sum()), len(succeeded)),
        success_rate_by_value=_ratio(value, float(amount.sum())),
        fees_eur=fees,
        fees_per_eur=_ratio(fees, value),
        penalties_eur=float(sum(s.penalties_eur.sum() for s in several)),
        n_routed=int(routed.sum()),
        parts_per_payment=_ratio(int(parts[routed].sum()), int(routed.sum())),
        configured_latency_p50_ms=float(quantiles[0]),
        configured_latency_p95_ms=float(quantiles[1]),
        configured_latency_p99_ms=float(quantiles[2]),
    )


def _apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """``total`` units in proportion to ``shares``, by the largest remainder."""
    if total == 0:
        return np.zeros(len(shares), np.int64)
    exact = shares * (total / shares.sum())
    units: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    missing = total - int(units.sum())
    units[np.argsort(units - exact, kind="stable")[:missing]] += 1
    return units


def _balance(what: str, found: Any, expected: Any) -> None:
    if not np.array_equal(found, expected):
        raise AssertionError(f"money is not conserved: {what} must be {expected!r}, got {found!r}")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
