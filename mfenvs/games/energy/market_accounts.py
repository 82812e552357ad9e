"""The accounts of a market's step, and what must be conserved in them."""

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.community import PEAK_RISE
from mfenvs.games.energy.conditions import FEED_IN, RETAIL

Array = NDArray[np.float64]

ACCOUNTS = (
    "load",
    "flexible",
    "generation",
    "charge",
    "discharge",
    "imports",
    "exports",
    "local_bought",
    "local_sold",
    "trade_payment",
    "imbalance_payment",
    "fee",
    "utility",
    "degradation",
    "terminal",
    "reward",
    "curtailed",
    "ev_charge",
    "peak_payment",
    "ev_penalty",
)
"""What an agent's step is made up of: kWh up to ``local_sold``, then EUR, but ``curtailed`` and ``ev_charge``.

Realised inelastic load, flexible load served, generation, charging and discharging at the battery's terminals;
imports from and exports to the grid, imbalance included; energy bought and sold within the community, imbalance
that is matched there included; payments for the cleared position and for the imbalance (negative if they are
revenues); settlement fee; value of the flexible load; battery wear cost; cost of the charge that is missing at the
end of the episode, of vehicles too; reward; generation that a transformer's limit does not let through; energy
charged into the vehicle; charge on the daily peak; cost of the energy that a vehicle lacks when it departs.

Curtailment is of the generation that was expected, as it was sold [O]: less generation is imbalance as ever.
"""

COSTS = (
    "trade_payment",
    "imbalance_payment",
    "fee",
    "degradation",
    "terminal",
    "peak_payment",
    "ev_penalty",
)
"""Accounts that lower the reward."""

TOLERANCE = 1e-9
"""Energy and money must be conserved up to this part of all that is moved in a step."""


def audit(accounts: Array, signal: Array, peak_charge: float = 0.0) -> None:
    """Check that energy and money are conserved in every world, within 1e-9 of what is moved.

    Parameters
    ----------
    accounts:
        Accounts of all agents, shape (n_worlds, n_agents, len(ACCOUNTS)).
    signal:
        Public signal of that step, shape (n_worlds, n_signals).
    peak_charge:
        Charge on the community's daily peak, EUR/kW; 0 if it is not charged.

    Raises
    ------
    ValueError
        Naming the world and what does not balance.
    """
    total = dict(zip(ACCOUNTS, np.moveaxis(accounts.sum(axis=1), -1, 0), strict=True))
    moved = np.abs(accounts).sum(axis=(1, 2))
    net = total["imports"] - total["exports"]
    used = total["load"] + total["flexible"] + total["ev_charge"] + total["charge"] - total["discharge"]
    used -= total["generation"] - total["curtailed"]
    paid = total["trade_payment"] + total["imbalance_payment"]
    owed = signal[:, RETAIL] * total["imports"] - signal[:, FEED_IN] * total["exports"]
    balances: dict[str, Array] = {
        "energy used - imports + exports (kWh)": used - net,
        "bought - sold locally (kWh)": total["local_bought"] - total["local_sold"],
        "payments - retail imports + feed-in exports (EUR)": paid - owed,
        "rewards - utility + costs (EUR)": total["reward"] - total["utility"] + sum(total[name] for name in COSTS),
    }
    if peak_charge > 0.0:
        rise = signal[:, PEAK_RISE] * accounts.shape[1]
        balances["peak payments - charge x rise of the peak (EUR)"] = total["peak_payment"] - peak_charge * rise
    for name, balance in balances.items():
        wrong = np.flatnonzero(~(np.abs(balance) <= TOLERANCE * moved))
        if len(wrong):
            raise ValueError(f"{name} must be 0, got {balance[wrong[0]]:g} in world {wrong[0]}")
