"""A small chain in which everything about stationary policies is computed exactly by numpy."""

from typing import Any

import numpy as np
from tabulated import Tabulated, softmax, tabulated_arrays

POLICY = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
LAW = np.array([0.125, 0.625, 0.25])


def chain(**constants: Any) -> Tabulated:
    """Others pull an agent home, and take what it earns; agents differ by their tastes."""
    pay = ((0.0, -1.0), (0.5, 2.0), (1.0, 4.0))
    defaults = {"discount": 0.75, "pay": pay, "tastes": (0.5, -0.25), "crowding": 1.0, "pull": 0.5}
    return Tabulated(**(defaults | constants))


def next_law(game: Tabulated, law: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Phi(z, pi)."""
    mu = law[:, None] * policy
    found: np.ndarray = np.einsum("sa,sat->t", mu, tabulated_arrays(game, mu)[0])
    return found


def law_after(game: Tabulated, law: np.ndarray, policy: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The mean field after steps z <- z + beta (Phi(z, pi) - z)."""
    for rate in rates:
        law = (1 - rate) * law + rate * next_law(game, law, policy)
    return law


def stationary_law(game: Tabulated, policy: np.ndarray) -> np.ndarray:
    return law_after(game, np.array(game.first), policy, np.full(2000, 0.5))


def decision_problem(game: Tabulated, law: np.ndarray, population: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P and R of an agent in a mean field of agents who play ``population``."""
    return tabulated_arrays(game, law[:, None] * population)


def values(game: Tabulated, policy: np.ndarray, law: np.ndarray, population: np.ndarray) -> np.ndarray:
    """V of a policy in every state, against a mean field that is held."""
    p, r = decision_problem(game, law, population)
    moves = np.einsum("sa,sat->st", policy, p)
    return np.linalg.solve(np.eye(3) - game.discount * moves, (policy * r).sum(axis=1))


def objective(game: Tabulated, policy: np.ndarray, law: np.ndarray, population: np.ndarray) -> float:
    """J(pi, z)."""
    return float(np.array(game.first) @ values(game, policy, law, population))


def tabular(theta: np.ndarray) -> np.ndarray:
    """The policy with these logits, shape (6,)."""
    return softmax(theta.reshape(3, 2))


def assert_means(samples: np.ndarray, expected: np.ndarray | float) -> None:
    """Means of thousands of independent runs (along the first axis), within 5.5 standard errors of exact numbers.

    Each is wrong with a probability of 4e-8; beyond that, 2e-6 for single precision.
    """
    mean, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert (np.abs(mean - expected) <= 5.5 * error + 2e-6).all(), f"{mean} +- {error} instead of {expected}"
