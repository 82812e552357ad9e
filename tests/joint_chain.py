"""The N-player game written out over all joint states and actions, for N <= 4."""

import itertools

import numpy as np
import oracles
from oracles import deterministic_policies


def from_the_population(formula):
    """A formula of (agent, s, a, sigma) as one of everyone's states and actions."""

    def of_everyone(game, i, states, actions, time):
        sigma = np.zeros((game.n_states, game.n_actions))
        for j in range(game.n_agents):
            if j != i:
                sigma[states[j], actions[j]] += 1 / (game.n_agents - 1)
        return formula(oracles.wide(game.agents[i : i + 1])[0], states[i], actions[i], sigma)

    return of_everyone


class JointChain:
    """The N-player game written out over all joint states and actions."""

    def __init__(self, game, row, reward):
        self.game = game
        n, s, a = game.n_agents, game.n_states, game.n_actions
        self.states = np.array(list(itertools.product(range(s), repeat=n)))
        self.actions = np.array(list(itertools.product(range(a), repeat=n)))
        size = len(self.states), len(self.actions)
        times = range(game.horizon)
        self.rows = np.empty((game.horizon, n, *size, s))
        self.rewards = np.empty((game.horizon, n, *size))
        for h, i, x, u in itertools.product(times, range(n), range(size[0]), range(size[1])):
            self.rows[h, i, x, u] = row(game, i, self.states[x], self.actions[u], h)
            self.rewards[h, i, x, u] = reward(game, i, self.states[x], self.actions[u], h)
        self.joint = np.ones((game.horizon, *size, len(self.states)))
        for i in range(n):
            self.joint *= self.rows[:, i][..., self.states[:, i]]
        self.start = game.initial_distribution[self.states].prod(axis=1)

    def play(self, policies):
        """J_i of all agents under policies (N, H, S, A), and the law of (state, action) at every time."""
        law, returns, visited = self.start, np.zeros(self.game.n_agents), []
        for h in range(self.game.horizon):
            pairs = law[:, None] * np.ones(len(self.actions))
            for i, policy in enumerate(policies):
                pairs = pairs * policy[h][self.states[:, i][:, None], self.actions[:, i]]
            visited.append(pairs)
            returns += self.game.discount**h * (pairs * self.rewards[h]).sum(axis=(1, 2))
            law = np.einsum("xu,xuy->y", pairs, self.joint[h])
        return returns, visited

    def gain(self, policies, i, deviation):
        """J_i(deviation, pi^{-i}) - J_i(pi), exactly."""
        deviated = policies.copy()
        deviated[i] = deviation
        return self.play(deviated)[0][i] - self.play(policies)[0][i]

    def exploitability(self, policies, i):
        """E_i, by trying every deterministic policy of the own state."""
        own = self.play(policies)[0][i]
        deviated, best = policies.copy(), -np.inf
        for other in deterministic_policies(*policies.shape[1:]):
            deviated[i] = other
            best = max(best, self.play(deviated)[0][i])
        return best - own

    def limit_of_the_estimate(self, policies, i):
        """The gain in the decision problem averaged over the others' exact law, as K grows without end.

        The others' law is that under everyone's policy, whatever agent i does: hence O(1/N) off E_i.
        """
        game, (_, visited) = self.game, self.play(policies)
        p = np.zeros((*policies.shape[1:], game.n_states))
        r = np.zeros(policies.shape[1:])
        place = {tuple(x): k for k, x in enumerate(self.states)}
        order = {tuple(u): k for k, u in enumerate(self.actions)}
        for h, x, u in itertools.product(range(game.horizon), range(len(self.states)), range(len(self.actions))):
            for s, a in itertools.product(range(game.n_states), range(game.n_actions)):
                there, then = list(self.states[x]), list(self.actions[u])
                there[i], then[i] = s, a
                k, m = place[tuple(there)], order[tuple(then)]
                p[h, s, a] += visited[h][x, u] * self.rows[h, i, k, m]
                r[h, s, a] += visited[h][x, u] * self.rewards[h, i, k, m]
        problem = p, r, game.discount
        values = [
            oracles.value(game.initial_distribution, other, *problem) for other in deterministic_policies(*r.shape)
        ]
        return max(values) - oracles.value(game.initial_distribution, policies[i], *problem)
