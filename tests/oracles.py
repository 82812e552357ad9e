"""What tests of several files compare with, written from the specification in plain numpy."""

from collections.abc import Callable, Iterator

import numpy as np

M32, M64 = 2**32 - 1, 2**64 - 1


def mix64(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014), on Python's unbounded integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def mix32(x: int) -> int:
    """hash-prospector's [16 21f0aaad 15 d35a2d97 15]."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & M32
    x = ((x ^ (x >> 15)) * 0xD35A2D97) & M32
    return x ^ (x >> 15)


def random_policy(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Policies with some zeros in them, so that edges are met too."""
    weights = rng.exponential(size=shape) * (rng.random(shape) < 0.8)
    weights[..., 0] += 1e-3
    return weights / weights.sum(axis=-1, keepdims=True)


def deterministic_policies(horizon: int, n_states: int, n_actions: int) -> Iterator[np.ndarray]:
    """All deterministic time-dependent policies, as (H, S, A) tables."""
    eye = np.eye(n_actions)
    for choice in np.ndindex(*[n_actions] * (horizon * n_states)):
        yield eye[np.array(choice)].reshape(horizon, n_states, n_actions)


# The two games' formulas for one agent, with `sigma` (S, A) the others' empirical distribution.


def epidemic_row(agent, state: int, action: int, sigma: np.ndarray) -> np.ndarray:
    """P^i(. | s, a, sigma) of A-SIS: states (I, H) = (0, 1), actions (D, U) = (0, 1)."""
    infected = (1 - agent["recovery"]) if state == 0 else (agent["susceptibility"] * sigma[0, 1] if action else 0)
    return np.array([infected, 1 - infected])


def epidemic_reward(agent, state: int, action: int, sigma: np.ndarray) -> float:
    return -float(state == 0) - agent["aversion"] * float(action == 0)


def rps_row(agent, state: int, action: int, sigma: np.ndarray) -> np.ndarray:
    return np.eye(3)[action]


def rps_reward(agent, state: int, action: int, sigma: np.ndarray) -> float:
    """The printed lines of A-RPS, with (R, P, S) = (0, 1, 2)."""
    in_state, playing = sigma.sum(axis=1), sigma.sum(axis=0)
    r, p, s = in_state
    line = {
        0: -agent["lose_rock"] * p + agent["win_rock"] * s,
        1: -agent["lose_paper"] * s + agent["win_paper"] * r,
        2: -agent["lose_scissors"] * r + agent["win_scissors"] * p,
    }[state]
    return -agent["crowding"] * playing[action] + line


def wide(agents) -> list[dict[str, float]]:
    """Agents' records as dictionaries of double-precision numbers."""
    return [{name: float(a[name]) for name in agents.dtype.names} for a in agents]


def mean_arrays(agents, row: Callable, reward: Callable, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(mu) and R(mu): the mean over agents, by an explicit loop."""
    n_states, n_actions = mu.shape
    people = wide(agents)
    p, r = np.zeros((n_states, n_actions, n_states)), np.zeros((n_states, n_actions))
    for s in range(n_states):
        for a in range(n_actions):
            p[s, a] = np.mean([row(x, s, a, mu) for x in people], axis=0)
            r[s, a] = np.mean([reward(x, s, a, mu) for x in people])
    return p, r


def mean_field_flow(agents, row, reward, initial, policy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu (H, S, A), P(mu_h) and R(mu_h) by the recursion of algorithms.md section 1."""
    horizon, n_states = policy.shape[:2]
    mu = np.zeros(policy.shape)
    p, r = np.zeros((*policy.shape, n_states)), np.zeros(policy.shape)
    mu[0] = initial[:, None] * policy[0]
    for h in range(horizon):
        p[h], r[h] = mean_arrays(agents, row, reward, mu[h])
        if h + 1 < horizon:
            mu[h + 1] = np.einsum("sa,sat->t", mu[h], p[h])[:, None] * policy[h + 1]
    return mu, p, r


def value(initial, policy, p, r, discount=1.0) -> float:
    """Expected total reward against frozen arrays (H, ...), by pushing the state's law forwards."""
    law, total = np.array(initial, float), 0.0
    for h in range(len(policy)):
        pairs = law[:, None] * policy[h]
        total += discount**h * (pairs * r[h]).sum()
        law = np.einsum("sa,sat->t", pairs, p[h])
    return total


# Infinite discounted problems: policy (S, A), p (S, A, S), r (S, A).


def chain(policy, p) -> np.ndarray:
    """The Markov chain (S, S) of who plays a policy."""
    return np.einsum("sa,sat->st", policy, p)


def forever(policy, p, r, discount: float) -> np.ndarray:
    """V = (1 - gamma P_pi)^-1 R_pi of every state, shape (S,)."""
    return np.linalg.solve(np.eye(len(r)) - discount * chain(policy, p), (policy * r).sum(axis=1))


def best_forever(p, r, discount: float) -> np.ndarray:
    """The best V of every state over all deterministic stationary policies, by trying each."""
    return np.max([forever(policy, p, r, discount) for (policy,) in deterministic_policies(1, *r.shape)], axis=0)


def stationary(moves: np.ndarray) -> np.ndarray:
    """The law with law = law @ moves of a chain that has one such law only: an eigenvector."""
    values, vectors = np.linalg.eig(moves.T)
    is_one = np.abs(values - 1) < 1e-9
    assert is_one.sum() == 1
    law = np.real(vectors[:, is_one][:, 0])
    return law / law.sum()
