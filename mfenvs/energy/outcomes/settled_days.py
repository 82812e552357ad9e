"""Settlement of the local trade of played days."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.record import MarketRecord, world_of
from mfenvs.energy.settlement import (
    Ledger,
    PaymentChannels,
    PaymentNetwork,
    Settlement,
    SettlementSummary,
    summary,
)

Array = NDArray[np.float64]

N_NODES = 300
"""Nodes of the payment-channel network that :func:`settle` draws."""

HOW = ("ledger", "payment-channels")
"""Ways of settlement by name."""


def local_payments(record: MarketRecord, world: int) -> Array:
    """Payments that each agent owes (> 0) or is owed for local trade in each step of a day, EUR, shape (H, N).

    They are price x (energy bought - energy sold locally), and sum to zero over the agents, up to rounding.

    Raises
    ------
    TypeError, ValueError
        If ``record`` is no record, or ``world`` no index of its days.
    """
    world = world_of(record, world)
    net: Array = record.account("local_bought")[world] - record.account("local_sold")[world]
    return record.price[world, :, None] * net


def settle(
    record: MarketRecord, world: int, how: str | Ledger | PaymentChannels = "ledger", *, seed: int = 0
) -> tuple[list[Settlement], SettlementSummary]:
    """Settle the local trade of a played day, step by step.

    Parameters
    ----------
    record:
        The played days.
    world:
        Index of the day in the record.
    how:
        ``ledger``; or ``payment-channels`` for a fresh scale-free network of 300 nodes, with each agent at
        ``agents["node"] % 300``; or a :class:`~mfenvs.energy.settlement.Ledger` or
        :class:`~mfenvs.energy.settlement.PaymentChannels` of one's own, whose balances go on from where they are.
    seed:
        Random seed of the network and its latencies, >= 0.

    Returns
    -------
    tuple
        The settlement of each step, and their figures together. Payments that failed became credit of the retailer
        with a penalty; :func:`settlement_charges` gives what the agents pay for settlement.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    AssertionError
        If money was not conserved (:meth:`Settlement.check_conservation`).
    """
    payments, seed = local_payments(record, world), checks.integer("seed", seed, 0)
    if isinstance(how, Ledger | PaymentChannels):
        books = how
    elif checks.choice("how", how, HOW) == "ledger":
        books = Ledger()
    else:
        network = PaymentNetwork.scale_free(N_NODES, seed=seed)
        books = PaymentChannels(network, record.game.agents["node"] % N_NODES, seed=seed)
    settlements = [books.settle(of_step) for of_step in payments]
    for one in settlements:
        one.check_conservation()
    return settlements, summary(settlements)


def settlement_charges(settlements: Sequence[Settlement]) -> Array:
    """Charges for settlement of each agent, fees and penalties of all steps together: EUR, shape (N,).

    Raises
    ------
    TypeError
        If ``settlements`` is no sequence of settlements.
    ValueError
        If there is no settlement.
    """
    if not isinstance(settlements, Sequence) or not all(isinstance(one, Settlement) for one in settlements):
        raise TypeError(f"settlements must be a sequence of settlements, got {settlements!r}")
    if not settlements:
        raise ValueError("settlements must be at least one, got none")
    charged: Array = np.sum([one.net_eur - one.payments_eur for one in settlements], axis=0)
    return charged
