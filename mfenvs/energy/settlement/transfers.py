"""Payments in whole units of money, and the transfers from debtors to creditors that make them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks

BALANCE_TOLERANCE = 1e-9
"""Largest sum of payments, which should be zero, relative to the total that is paid."""

MOST_UNITS = 2**44
"""Most money of one step, in units: below it, float64 rounds a share of the total by less than .01 units."""


class Transfers(NamedTuple):
    """Transfers of money between agents; arrays of one shape (n_transfers,)."""

    debtor: NDArray[np.int64]
    """Index of the agent that pays."""
    creditor: NDArray[np.int64]
    """Index of the agent that is paid."""
    amount: NDArray[np.int64]
    """Amount in units of money, > 0."""


def whole_units(payments: ArrayLike, units_per_eur: float) -> NDArray[np.int64]:
    """Payments in whole units that sum to zero exactly.

    The total is rounded to the nearest unit, and then shared out among the debtors and among the creditors in
    proportion, each by the largest remainder (of equal remainders, the agents that come first get the unit).

    Parameters
    ----------
    payments:
        Payment that each agent makes (> 0) or receives (< 0), EUR, shape (n_agents,), with sum zero.
    units_per_eur:
        Units of money in one EUR, > 0.

    Returns
    -------
    NDArray
        The payments in units, shape (n_agents,), each within 1.5 units of what is owed.

    Raises
    ------
    TypeError
        If payments are not numbers.
    ValueError
        If payments have another shape, are not finite, do not sum to zero within 1e-9 of what is paid, or exceed
        2^44 units, or ``units_per_eur`` is not positive.
    """
    units_per_eur = checks.real("units_per_eur", units_per_eur, 0.0, exclude_low=True)
    eur = checks.finite_numbers("payments", payments, (checks.array("payments", payments).size,))
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
    is done is passed. This greedy rule [O] needs a few transfers more than the least number, which is
    NP-hard to find.

    Parameters
    ----------
    face:
        Payment that each agent makes (> 0) or receives (< 0), units, integers of shape (n_agents,), with sum zero.

    Returns
    -------
    Transfers
        In the order of the walk: the largest debts come first.

    Raises
    ------
    TypeError
        If ``face`` does not hold integers.
    ValueError
        If it has another shape, an entry beyond 2^44 units, or another sum than zero.
    """
    face = checks.indices("face", face, (checks.array("face", face).size,), -MOST_UNITS, MOST_UNITS)
    if face.sum():
        raise ValueError(f"face must sum to zero, got {int(face.sum())}")
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


def _apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """``total`` units in proportion to ``shares``, by the largest remainder; shape of ``shares``."""
    if total == 0:
        return np.zeros(len(shares), np.int64)
    exact = shares * (total / shares.sum())
    units: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    missing = total - int(units.sum())
    units[np.argsort(units - exact, kind="stable")[:missing]] += 1
    return units
