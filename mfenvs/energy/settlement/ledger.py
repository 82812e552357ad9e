"""A central ledger: every payment is made at once."""

import numpy as np
from numpy.typing import ArrayLike

from mfenvs import checks
from mfenvs.energy.settlement.books import Settlement
from mfenvs.energy.settlement.transfers import MOST_UNITS, net_transfers, whole_units

LEDGER_UNITS_PER_EUR = 100_000_000
"""The ledger's unit of money is 1e-8 EUR."""


class Ledger:
    """A central ledger that makes every transfer at once, with latency 0; none fails.

    Parameters
    ----------
    fee_per_payment:
        Fee in EUR that the debtor of each transfer pays to the ledger's operator, >= 0, rounded to 1e-8 EUR.

    Raises
    ------
    TypeError, ValueError
        If the fee is not a finite number >= 0.
    """

    def __init__(self, *, fee_per_payment: float = 0.0) -> None:
        most = MOST_UNITS / LEDGER_UNITS_PER_EUR
        self.fee_per_payment = checks.real("fee_per_payment", fee_per_payment, 0.0, most)

    def settle(self, payments: ArrayLike) -> Settlement:
        """Settle the payments of one step.

        Parameters
        ----------
        payments:
            Payment that each agent makes (> 0) or receives (< 0), EUR, shape (n_agents,), with sum zero.

        Returns
        -------
        Settlement
            The books, in units of 1e-8 EUR. Without a fee, ``net_eur`` equals the payments up to rounding.

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
