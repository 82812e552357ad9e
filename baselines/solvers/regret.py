"""Regret minimisers over finitely many choices: Hedge, polynomial weights, regret matching, and Blum & Mansour's.

A minimiser gives weights over n choices, is told what each choice would have paid, and so on. Its external regret
is what the best single choice would have paid more than it was paid; its internal regret is what the best
replacement of every choice by another one would have paid more. Averages of both over the rounds vanish as 1 /
sqrt(rounds).
"""

import abc
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MinimiserName = Literal["hedge", "polynomial-weights", "regret-matching"]


def learning_rate(n_choices: int, n_rounds: int) -> float:
    """The rate min(sqrt(log n / rounds), 1/2), at which Hedge's regret is at most 2 sqrt(rounds log n)."""
    return min(math.sqrt(math.log(max(n_choices, 2)) / n_rounds), 0.5)


class RegretMinimiser(abc.ABC):
    """Base class of external-regret minimisers.

    Parameters
    ----------
    n_choices:
        Number of choices.
    n_rounds:
        Number of rounds for which the learning rate is meant.
    """

    def __init__(self, n_choices: int, n_rounds: int) -> None:
        self.rate = learning_rate(n_choices, n_rounds)
        self.weights = np.full(n_choices, 1.0 / n_choices)
        """Probabilities of the choices in the next round, (n,)."""

    @abc.abstractmethod
    def observe(self, payoffs: Array) -> None:
        """Learn what every choice would have paid, (n,), in the round that was played with :attr:`weights`."""


class Hedge(RegretMinimiser):
    """Hedge: weights are multiplied by exp(rate * payoff) (Freund & Schapire 1997)."""

    def observe(self, payoffs: Array) -> None:
        """Multiply the weights."""
        weights = self.weights * np.exp(self.rate * (payoffs - payoffs.max()))
        self.weights = weights / weights.sum()


class PolynomialWeights(RegretMinimiser):
    """Polynomial weights: weights are multiplied by 1 + rate * payoff (Cesa-Bianchi, Mansour & Stoltz 2007).

    Payoffs are taken less the weighted mean, and relative to the largest deviation met so far.
    """

    def __init__(self, n_choices: int, n_rounds: int) -> None:
        super().__init__(n_choices, n_rounds)
        self._largest = 0.0

    def observe(self, payoffs: Array) -> None:
        """Multiply the weights."""
        gains = payoffs - self.weights @ payoffs
        self._largest = max(self._largest, float(np.abs(gains).max()))
        if self._largest > 0.0:
            weights = self.weights * (1.0 + self.rate * gains / self._largest)
            self.weights = weights / weights.sum()


class RegretMatching(RegretMinimiser):
    """Regret matching: weights are proportional to positive regrets (Hart & Mas-Colell 2000), or uniform."""

    def __init__(self, n_choices: int, n_rounds: int) -> None:
        super().__init__(n_choices, n_rounds)
        self._regrets = np.zeros(n_choices)

    def observe(self, payoffs: Array) -> None:
        """Add up the regrets."""
        self._regrets += payoffs - self.weights @ payoffs
        positive = np.maximum(self._regrets, 0.0)
        total = positive.sum()
        self.weights = positive / total if total > 0.0 else np.full(len(positive), 1.0 / len(positive))


MINIMISERS: dict[str, Callable[[int, int], RegretMinimiser]] = {
    "hedge": Hedge,
    "polynomial-weights": PolynomialWeights,
    "regret-matching": RegretMatching,
}
"""The external-regret minimisers by name."""


class InternalRegret(RegretMinimiser):
    """Blum & Mansour's minimiser of internal regret, from one external-regret minimiser for each choice.

    The weights p are a fixed point p = p W, where row i of W are the weights of the minimiser of choice i. That
    minimiser is told p_i times the payoffs.

    References
    ----------
    Blum & Mansour, "From external to internal regret", JMLR 8, 2007.
    """

    def __init__(self, n_choices: int, n_rounds: int, of: MinimiserName = "hedge") -> None:
        super().__init__(n_choices, n_rounds)
        self._rows = [MINIMISERS[of](n_choices, n_rounds) for _ in range(n_choices)]

    def observe(self, payoffs: Array) -> None:
        """Tell each row its share of the payoffs, and find the fixed point."""
        for weight, row in zip(self.weights, self._rows, strict=True):
            row.observe(weight * payoffs)
        self.weights = stationary_weights(np.array([row.weights for row in self._rows]))


def stationary_weights(matrix: Array) -> Array:
    """A law p = p W of a stochastic matrix W (n, n): a least-squares solution, exact to rounding."""
    n = len(matrix)
    system = np.vstack([matrix.T - np.eye(n), np.ones((1, n))])
    found, *_ = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)
    positive = np.maximum(found, 0.0)
    law: Array = positive / positive.sum()
    return law
