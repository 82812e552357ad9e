"""The books of a step's settlement, and figures of many."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class Settlement:
    """The books of one step's payments. Money in ``_units`` is exact; the properties in EUR are float64.

    A failed transfer becomes credit of the retailer, the company that supplies the community with energy: the
    retailer pays the creditor, and the debtor owes the retailer the amount and a penalty. Creditors are therefore
    always paid in full.
    """

    payments_eur: NDArray[np.float64]
    """Payment that each agent owed (> 0) or was owed (< 0), EUR, shape (n_agents,)."""
    units_per_eur: float
    """Units of money in one EUR (1 unit = 1 msat in a payment network)."""
    face_units: NDArray[np.int64]
    """The payments in whole units, shape (n_agents,)."""
    debtor: NDArray[np.int64]
    """Index of the agent that pays each transfer, shape (n_transfers,) as all arrays up to the latency."""
    creditor: NDArray[np.int64]
    """Index of the agent that is paid."""
    amount_units: NDArray[np.int64]
    """Amount that the creditor gets, units."""
    succeeded: NDArray[np.bool_]
    """Whether the transfer was made, and did not become credit of the retailer."""
    n_parts: NDArray[np.int64]
    """Number of parts in which the money moved: 0 if the transfer failed or both agents are at one node."""
    fee_units: NDArray[np.int64]
    """Fees that the debtor pays to routing nodes and the ledger's operator, units."""
    penalty_units: NDArray[np.int64]
    """Penalty that the debtor pays to the retailer if the transfer failed, units."""
    configured_latency_ms: NDArray[np.float64]
    """Latency in milliseconds, drawn from a law that was *configured*, not observed in the network."""
    operator_income_units: int
    """Fees that the ledger's operator earned, units."""
    agent_nodes: NDArray[np.int64]
    """Node of each agent, shape (n_agents,); empty for a ledger."""
    routing_income_node_units: NDArray[np.int64]
    """Fees that each node earned by forwarding, units, shape (n_nodes,); empty for a ledger."""
    node_balance_change_units: NDArray[np.int64]
    """Growth of each node's balances in its channels, units, shape (n_nodes,); empty for a ledger."""

    @property
    def amount_eur(self) -> NDArray[np.float64]:
        """Amount that the creditor of each transfer gets, EUR, shape (n_transfers,)."""
        return self._eur(self.amount_units)

    @property
    def fee_eur(self) -> NDArray[np.float64]:
        """Fees of each transfer, EUR, shape (n_transfers,)."""
        return self._eur(self.fee_units)

    @property
    def net_units(self) -> NDArray[np.int64]:
        """Total payment of each agent with fees and penalties, before routing income, units, shape (n_agents,)."""
        return self.face_units + self._by_debtor(self.fee_units + self.penalty_units)

    @property
    def rounding_eur(self) -> NDArray[np.float64]:
        """Part of each payment that rounding to whole units left out, EUR, shape (n_agents,).

        It is booked with the retailer, who gains and loses nothing by it: it sums to zero as the payments do.
        """
        return self.payments_eur - self._eur(self.face_units)

    @property
    def net_eur(self) -> NDArray[np.float64]:
        """Total payment of each agent with fees and penalties, before routing income, EUR, shape (n_agents,)."""
        return self._eur(self.net_units) + self.rounding_eur

    @property
    def retailer_credit_eur(self) -> NDArray[np.float64]:
        """Amount that each agent owes the retailer for failed transfers, without penalties, EUR, (n_agents,)."""
        return self._eur(self._by_debtor(np.where(self.succeeded, 0, self.amount_units)))

    @property
    def penalties_eur(self) -> NDArray[np.float64]:
        """Penalties that each agent pays to the retailer, EUR, shape (n_agents,)."""
        return self._eur(self._by_debtor(self.penalty_units))

    @property
    def routing_income_node_eur(self) -> NDArray[np.float64]:
        """Fees that each node earned by forwarding, EUR, shape (n_nodes,)."""
        return self._eur(self.routing_income_node_units)

    @property
    def routing_income_units(self) -> NDArray[np.int64]:
        """Fees that each agent earned by forwarding, units, shape (n_agents,).

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
        """Fees that each agent earned by forwarding, EUR, shape (n_agents,); see ``routing_income_units``."""
        return self._eur(self.routing_income_units)

    @property
    def operator_income_eur(self) -> float:
        """Fees that the ledger's operator earned, EUR."""
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


@dataclasses.dataclass(frozen=True)
class SettlementSummary:
    """Figures of one or many settlements; nan where no transfer has the figure.

    Transfers of one run share the channels and are not independent, so no standard errors are given; repeat the
    run with other seeds for them.
    """

    n_transfers: int
    """Number of transfers."""
    success_rate: float
    """Share of the transfers that succeeded."""
    success_rate_by_value: float
    """Share of the transfers' value (EUR) that succeeded."""
    fees_eur: float
    """Fees to routing nodes and the ledger's operator, EUR."""
    fees_per_eur: float
    """Fees per EUR of transfers that succeeded."""
    penalties_eur: float
    """Penalties of failed transfers, EUR."""
    n_routed: int
    """Number of transfers that succeeded over channels, in at least one part; the figures below are of these."""
    parts_per_payment: float
    """Mean number of parts of a routed transfer."""
    configured_latency_p50_ms: float
    """Median latency of routed transfers, milliseconds; latency is configured, not observed."""
    configured_latency_p95_ms: float
    """95 % quantile of their latency, milliseconds."""
    configured_latency_p99_ms: float
    """99 % quantile of their latency, milliseconds."""


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
    TypeError
        If ``settlements`` is neither a settlement nor a sequence of them.
    ValueError
        If there is no settlement.
    """
    if not isinstance(settlements, Settlement | Sequence):
        raise TypeError(f"settlements must be a Settlement or a sequence of them, got {settlements!r}")
    several = [settlements] if isinstance(settlements, Settlement) else list(settlements)
    for at, one in enumerate(several):
        if not isinstance(one, Settlement):
            raise TypeError(f"settlements[{at}] must be a Settlement, got {one!r}")
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


def _balance(what: str, found: Any, expected: Any) -> None:
    if not np.array_equal(found, expected):
        raise AssertionError(f"money is not conserved: {what} must be {expected!r}, got {found!r}")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
