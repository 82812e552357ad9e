"""Empirical laws of agents' states in a rollout, and the Wasserstein distance between them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class RolloutLaw:
    """The empirical laws of agents' local states by type, at each step of a rollout.

    The states of all worlds are pooled.
    """

    states: Floats
    """States at each step, shape (n_steps, n_states): type after type, sorted within each type."""
    types: NDArray[Any]
    """The types that there are, ascending, shape (n_types,)."""
    numbers: NDArray[np.int64]
    """Number of states of each type, shape (n_types,)."""

    @classmethod
    def of(cls, states: Floats, types: NDArray[Any]) -> RolloutLaw:
        """The laws of agents' states.

        Parameters
        ----------
        states:
            Shape (n_steps, n_worlds, n_agents).
        types:
            Each agent's type, shape (n_agents,).
        """
        kinds, numbers = np.unique(types, return_counts=True)
        by_type = [np.sort(states[..., types == kind].reshape(len(states), -1), axis=1) for kind in kinds]
        return cls(np.ascontiguousarray(np.concatenate(by_type, axis=1)), kinds, numbers * states.shape[1])

    def by_type(self) -> dict[Any, Floats]:
        """The sorted states of each type, each of shape (n_steps, any)."""
        parts = np.split(self.states, np.cumsum(self.numbers)[:-1], axis=1)
        return dict(zip(self.types.tolist(), parts, strict=True))

    def distance(self, other: RolloutLaw) -> float:
        """The Wasserstein distance W1 to another law: mean over the steps of sum_tau lambda_tau W1_tau.

        W1_tau is the distance between the laws of type tau at the same step, and lambda_tau the share of the type
        in this law [O]: mass does not move from one type to another. Types that only one law has do not count.

        Raises
        ------
        ValueError
            If the rollouts have different numbers of steps.
        """
        if len(self.states) != len(other.states):
            raise ValueError(
                "the laws of two rollouts are compared step by step, which needs rollouts of equal length, got"
                f" {len(other.states)} and {len(self.states)} steps"
            )
        others, total = other.by_type(), np.float64(0.0)
        for kind, mine in self.by_type().items():
            if kind in others:
                total += mine.shape[1] * wasserstein_1(mine, others[kind]).mean()
        return float(total / self.states.shape[1])


def wasserstein_1(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """The Wasserstein distance W1 between empirical laws on the line, exactly.

    W1 is the integral of |F - G|, where F and G are the distribution functions; for samples of equal size it is
    the mean distance between sorted samples.

    Parameters
    ----------
    first, second:
        Samples along the last axis, sorted; the axes before it are the same for both.

    Returns
    -------
    Distances, of the shape without the last axis.
    """
    if first.shape == second.shape:
        gaps: NDArray[np.float64] = np.abs(first.astype(np.float64) - second)
        return np.asarray(gaps.mean(axis=-1))
    # The quantile functions are constant between these levels.
    n, m = first.shape[-1], second.shape[-1]
    levels = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    lengths = np.diff(levels, prepend=0) / (n * m)
    quantile = first[..., (levels - 1) // m].astype(np.float64), second[..., (levels - 1) // n]
    distances: NDArray[np.float64] = np.abs(quantile[0] - quantile[1]) @ lengths
    return distances


def coordinate_of(states: NDArray[Any], coordinate: str | None) -> Floats:
    """One number of every local state, as a copy.

    Raises
    ------
    ValueError
        If the states have no such component, or ``coordinate`` is None and they are not plain numbers.
    """
    names = states.dtype.names
    if names is None:
        if coordinate is not None:
            raise ValueError(
                f"coordinate must be None for a game whose states are plain numbers, got {coordinate!r}"
            )
        return states.astype(np.float32)
    numbers = [name for name in names if states.dtype[name].kind in "iuf" and not states.dtype[name].shape]
    if coordinate not in numbers:
        raise ValueError(
            f"coordinate must name a component of the game's states ({', '.join(numbers)}), got {coordinate!r}"
        )
    return states[coordinate].astype(np.float32)


def agent_types(game: Any) -> NDArray[Any]:
    """Each agent's type, shape (n_agents,); 0 for all in a game whose agents have no parameter ``type``."""
    agents = game.agents
    if "type" not in (agents.dtype.names or ()):
        return np.zeros(game.n_agents, np.int64)
    types: NDArray[Any] = np.asarray(agents["type"])
    return types
