"""Populations of typed agents: how many agents each type has, and the agents' names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stratified(proportions: Sequence[float], n: int) -> NDArray[np.int64]:
    """Numbers of agents of each type among n: proportions, rounded by largest remainders (ties to the first)."""
    exact = np.array(proportions) / sum(proportions) * n
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts


def names_by_type(types: Sequence[str], kinds: NDArray[Any]) -> list[str]:
    """Names ``<type>_<int>`` of agents, counted within each type.

    Parameters
    ----------
    types:
        Names of the types.
    kinds:
        Each agent's index in ``types``, in ascending order, shape (n_agents,).
    """
    first = np.searchsorted(kinds, np.arange(len(types)))
    return [f"{types[kind]}_{i - first[kind]}" for i, kind in enumerate(kinds)]
