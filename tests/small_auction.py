"""The repeated auction of a few bidders in plain Python, from the rules as they are printed: an oracle."""

import dataclasses
import itertools

import numpy as np

TERMS = {
    "n_agents": 3,
    "n_budgets": 3,
    "n_bids": 3,
    "n_bidders": 2,
    "penalty": 0.25,
    "conversions": (1.0, 2.5),
    "fulfilment": 0.25,
    "discount": 0.5,
}
"""An auction whose joint states can be enumerated."""


@dataclasses.dataclass(frozen=True)
class SmallAuction:
    """Bidders, their budgets and bids, and what a round does to one of them."""

    n_agents: int
    n_budgets: int
    n_bids: int
    n_bidders: int
    penalty: float
    conversions: tuple[float, ...]
    fulfilment: float
    discount: float

    def outcomes(self, i, budgets, bids):
        """(probability, next budget, reward) of all that can happen to agent i in a round."""
        others = [bids[j] for j in range(self.n_agents) if j != i]
        rounds = list(itertools.combinations(others, self.n_bidders - 1))
        found = []
        for met in rounds:
            chance = 1 / len(rounds)
            top = max(met)
            if bids[i] > top:
                win = 1.0
            elif bids[i] == top:
                win = 1 / (1 + sum(bid == top for bid in met))
            else:
                win = 0.0
            # The second-highest of all bids, if agent i wins, is the highest of the others'.
            beyond = max(top - budgets[i], 0)
            for v in self.conversions:
                reward = (v - top) - (1 + self.penalty) * beyond
                found.append((chance * win / len(self.conversions), max(budgets[i] - top, 0), reward))
            found.append((chance * (1 - win), budgets[i], 0.0))
        filled = []
        for chance, budget, reward in found:
            filled.append((chance * self.fulfilment, min(budget + 1, self.n_budgets - 1), reward))
            filled.append((chance * (1 - self.fulfilment), budget, reward))
        return filled

    def tables(self):
        """All joint states and bids, every agent's rows (N, X, U, S) and expected rewards (N, X, U)."""
        states = list(itertools.product(range(self.n_budgets), repeat=self.n_agents))
        bids = list(itertools.product(range(self.n_bids), repeat=self.n_agents))
        rows = np.zeros((self.n_agents, len(states), len(bids), self.n_budgets))
        rewards = np.zeros(rows.shape[:-1])
        for i, x, u in itertools.product(range(self.n_agents), range(len(states)), range(len(bids))):
            for chance, budget, reward in self.outcomes(i, states[x], bids[u]):
                rows[i, x, u, budget] += chance
                rewards[i, x, u] += chance * reward
        return states, bids, rows, rewards

    def deviators_problem(self, policy, i):
        """What deviator i faces when the others play ``policy`` (N, S, A): P (X, A, X) and R (X, A)."""
        states, bids, rows, rewards = self.tables()
        p, r = np.zeros((len(states), self.n_bids, len(states))), np.zeros((len(states), self.n_bids))
        for x, u in itertools.product(range(len(states)), range(len(bids))):
            chance = 1.0
            for j in range(self.n_agents):
                if j != i:
                    chance *= policy[j][states[x][j]][bids[u][j]]
            if chance == 0.0:
                continue
            r[x, bids[u][i]] += chance * rewards[i, x, u]
            for y, following in enumerate(states):
                moves = [rows[j, x, u, following[j]] for j in range(self.n_agents)]
                p[x, bids[u][i], y] += chance * np.prod(moves)
        return p, r
