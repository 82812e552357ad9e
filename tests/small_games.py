"""Small games on which iterations of the population are tested, and their arrays from their descriptions."""

import itertools

import numpy as np
from tabulated import HOME, Tabulated

from mfenvs import make


def auction(**constants):
    small = {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4}
    # A penalty that single precision holds.
    return make("Auction-v0", **({"penalty": 0.25} | small | constants))


def epidemic(**constants):
    return make("Epidemic-v0", **({"n_agents": 6, "horizon": 4, "initial_infected": 0.3} | constants))


def crowd(**constants) -> Tabulated:
    """Everybody at home, action 0 worth 1 and action 1 worth .8, less the share of those who do the same."""
    return Tabulated(
        **{
            "moves": HOME,
            "pay": ((1.0, 0.8),) * 3,
            "crowding": 1.0,
            "discount": 0.5,
            "first": (1, 0, 0),
            **constants,
        }
    )


def auction_arrays(game, mu):
    """P(mu) and R(mu): every combination of the opponents' bids, each with its probability."""
    bids, worth = mu.sum(axis=0), game.agents["appeal"].astype(float).mean() * np.mean(game.conversions)
    n_states, n_bids = mu.shape
    p, r = np.zeros((n_states, n_bids, n_states)), np.zeros((n_states, n_bids))
    for others in itertools.product(range(n_bids), repeat=game.n_bidders - 1):
        price, chance = max(others), np.prod([bids[b] for b in others])
        for s, bid in np.ndindex(n_states, n_bids):
            won = float(bid > price) + (bid == price) / (1 + others.count(bid))
            r[s, bid] += chance * won * (worth - price - (1 + game.penalty) * max(price - s, 0))
            for left, how in ((max(s - price, 0), won), (s, 1 - won)):
                p[s, bid, left] += chance * how * (1 - game.fulfilment)
                p[s, bid, min(left + 1, n_states - 1)] += chance * how * game.fulfilment
    return p, r
