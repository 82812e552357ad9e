"""Settlement: how the payments of the market's agents to each other are made.

In each step of the market every agent owes or is owed money for the energy that it traded locally. These payments
are rounded to whole units of money and netted into transfers from debtors to creditors
(:mod:`~mfenvs.energy.settlement.transfers`). The transfers are made at once in a central ledger (:class:`Ledger`),
or over a payment-channel network such as Bitcoin's Lightning Network (:class:`PaymentChannels`). A
:class:`Settlement` says what became of them, and its books balance exactly, in integers.
"""

from mfenvs.energy.settlement.balances import ChannelBalances, Delivery
from mfenvs.energy.settlement.books import Settlement, SettlementSummary, summary
from mfenvs.energy.settlement.ledger import LEDGER_UNITS_PER_EUR, Ledger
from mfenvs.energy.settlement.network import MOST_MSAT, MSAT_PER_SAT, PaymentNetwork
from mfenvs.energy.settlement.payment_channels import LATENCY_MEDIAN_MS, SAT_PER_EUR, PaymentChannels
from mfenvs.energy.settlement.routing import Route, Router
from mfenvs.energy.settlement.transfers import MOST_UNITS, Transfers, net_transfers, whole_units

__all__ = [
    "LATENCY_MEDIAN_MS",
    "LEDGER_UNITS_PER_EUR",
    "MOST_MSAT",
    "MOST_UNITS",
    "MSAT_PER_SAT",
    "SAT_PER_EUR",
    "ChannelBalances",
    "Delivery",
    "Ledger",
    "PaymentChannels",
    "PaymentNetwork",
    "Route",
    "Router",
    "Settlement",
    "SettlementSummary",
    "Transfers",
    "net_transfers",
    "summary",
    "whole_units",
]
