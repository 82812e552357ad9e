"""Derivatives of P(L) and R(L) with respect to a population L, by difference quotients on their sparsity pattern.

Rules are compiled functions of the counts, without derivatives. Pairs (s, a) that count alike have equal
derivatives, and are one. Pairs are moved at once if no row depends on two of them: where rules are local, as on a
map where an agent minds those who are where it is, a few tabulations give the whole derivative; in the worst case
as many are needed as there are different pairs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.flow import FlowArrays
from mfenvs.engine.tabulation import at_time
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.moving_together import columns_moved_together
from mfenvs.rules import rule

Array = NDArray[np.float64]

STEP = 1e-5
"""Mass by which a pair is moved. Quotients are one-sided and of second order: laws stay above zero."""
PROBE = 1e-3
"""Mass by which pairs are moved to see what depends on them."""
TIMES = 4
"""Number of times at which dependence is looked for, with a random population each: rules may read the time."""

MOST_NUMBERS = 2**27
"""Largest number of entries of the table of counts: a gigabyte."""


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Which pairs (s, a) are moved together, and what depends on which of them."""

    group: NDArray[np.int64]
    """The group of pairs that count alike, of each pair, (S A,)."""
    moved: NDArray[np.int64]
    """The pair that is moved for a group, by colour and state and action that depend on it, (C, S A); -1 for none.

    The rewards and rows of a state and action depend on at most one group of a colour.
    """
    members: Array
    """The mass by which each colour moves each pair: 1 or 0, (C, S A)."""


def find_pattern(induced: InducedGame, seed: int = 0) -> Pattern:
    """Find what depends on what, by moving one pair after the other at random populations."""
    n_times, n_states, n_actions = induced.policy_shape
    n_pairs = n_states * n_actions
    arrays = induced.flow_arrays()
    group, leaders = _groups(induced, arrays)
    rng = np.random.default_rng(seed)
    times = np.unique(np.linspace(0, n_times - 1, min(TIMES, n_times)).astype(int))
    touched = np.zeros((n_pairs, len(leaders)), bool)
    population = rng.dirichlet(np.ones(n_pairs), n_times).reshape(induced.policy_shape)
    _, arrays = induced.filled(lambda arrays: induced.kernels.freeze(population, arrays), arrays)
    before = _rows(arrays, times)
    for number, leader in enumerate(leaders):
        moved = population.copy()
        moved.reshape(n_times, n_pairs)[:, leader] += PROBE
        _, arrays = induced.filled(lambda arrays: induced.kernels.freeze(moved, arrays), arrays)  # noqa: B023
        after = _rows(arrays, times)
        if after.shape != before.shape:
            # A table has grown: what was seen before is looked at in the new form.
            _, arrays = induced.filled(lambda arrays: induced.kernels.freeze(population, arrays), arrays)
            before = _rows(arrays, times)
            _, arrays = induced.filled(lambda arrays: induced.kernels.freeze(moved, arrays), arrays)  # noqa: B023
            after = _rows(arrays, times)
        touched[:, number] = (after != before).any(axis=(0, 2))
    colours = columns_moved_together(touched)
    moved_mass = np.zeros((len(colours), n_pairs))
    for colour, read in enumerate(colours):
        moved_mass[colour, np.array(leaders)[np.unique(read[read >= 0])]] = 1.0
    return Pattern(group, np.array(colours, np.int64).reshape(len(colours), n_pairs), moved_mass)


def _groups(induced: InducedGame, arrays: FlowArrays) -> tuple[NDArray[np.int64], list[int]]:
    """The group of each pair (s, a) by the counts of a unit of mass in it, and a pair of each group."""
    n_pairs = induced.n_states * induced.n_actions
    checks.at_most("n_cells * n_states * n_actions, for derivatives,", n_pairs * len(arrays.counts), MOST_NUMBERS)
    counts = np.empty((n_pairs, len(arrays.counts)))
    kernel_ = _counts_kernel(induced.kernels.count_rule)
    kernel_(arrays.agents, arrays.shares, arrays.constants, arrays.counts, arrays.signal, arrays.mu[0], counts)
    _, leaders, group = np.unique(counts, axis=0, return_index=True, return_inverse=True)
    return group.ravel().astype(np.int64), [int(leader) for leader in leaders]


def _rows(arrays: FlowArrays, times: NDArray[np.int64]) -> Array:
    """Rewards and probabilities of each state and action at some times, (times, S A, 1 + K)."""
    n_times, n_states, n_actions = arrays.rewards.shape
    shape = len(times), n_states * n_actions, -1
    table = np.broadcast_to(arrays.transitions, (n_times, *arrays.transitions.shape[1:]))[times].reshape(shape)
    return np.concatenate([arrays.rewards[times].reshape(shape), table], axis=-1)


@functools.cache
def _counts_kernel(count: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def counts_of_pairs(
        agents: Any, shares: Any, constants: Any, counts: Any, signal: Any, population: Any, out: Any
    ) -> None:
        """Write the counts (S A, n_cells) of a unit of mass in each pair; ``population`` (S, A) is scratch."""
        n_states, n_actions = population.shape
        population[:] = 0.0
        for s in range(n_states):
            for a in range(n_actions):
                population[s, a] = 1.0
                count(population, agents, shares, constants, 0, counts, signal)
                for c in range(len(counts)):
                    out[s * n_actions + a, c] = counts[c]
                population[s, a] = 0.0

    return counts_of_pairs


@rule
def _weigh(weights: Any, ends: Any, starts: Any, values: Any, arrays: Any, successors: Any, out: Any) -> None:
    """Write weights R + sum_s' P(s') (starts ends(s') + weights values(s')) to ``out`` (T, S, A).

    ``weights`` and ``starts`` have shape (T, S, A), ``ends`` and ``values`` (T, S).
    """
    n_times, n_states, n_actions = out.shape
    for t in range(n_times):
        table = at_time(arrays.transitions, t)
        for s in range(n_states):
            for a in range(n_actions):
                total = weights[t, s, a] * arrays.rewards[t, s, a]
                if t + 1 < n_times:
                    for k in range(table.shape[2]):
                        if successors is None:  # noqa: SIM108 (the compiler drops one branch)
                            end = k
                        else:
                            end = at_time(successors, t)[s, a, k]
                        weight = starts[t, s, a] * ends[t, end] + weights[t, s, a] * values[t, end]
                        total += table[s, a, k] * weight
                out[t, s, a] = total


@functools.cache
def slopes_kernel(freeze: Callable[..., Any]) -> Callable[..., Any]:
    """Make the kernel of derivatives of the game with this rule that tabulates a population."""

    @kernel
    def slopes(
        population: Any,
        weights: Any,
        ends: Any,
        starts: Any,
        values: Any,
        step: Any,
        members: Any,
        moved: Any,
        other: Any,
        base: Any,
        once: Any,
        twice: Any,
        by_group: Any,
        arrays: Any,
    ) -> Any:
        """Write the derivatives of sum weights R + P (starts ends' + weights values') to ``by_group`` (T, groups).

        ``population`` is (T, S, A); ``other``, ``base``, ``once`` and ``twice`` are scratch of that shape. Returns
        whether all populations could be tabulated.
        """
        n_times, n_states, n_actions = population.shape
        by_group[:] = 0.0
        if not freeze(population, arrays):
            return False
        _weigh(weights, ends, starts, values, arrays, arrays.successors, base)
        for colour in range(len(members)):
            for multiple in range(1, 3):
                for t in range(n_times):
                    for s in range(n_states):
                        for a in range(n_actions):
                            moving = multiple * step * members[colour, s * n_actions + a]
                            other[t, s, a] = population[t, s, a] + moving
                if not freeze(other, arrays):
                    return False
                out = once if multiple == 1 else twice
                _weigh(weights, ends, starts, values, arrays, arrays.successors, out)
            for t in range(n_times):
                for s in range(n_states):
                    for a in range(n_actions):
                        group = moved[colour, s * n_actions + a]
                        if group >= 0:
                            # Less the base first: equal numbers give exactly zero.
                            first, second = once[t, s, a] - base[t, s, a], twice[t, s, a] - base[t, s, a]
                            by_group[t, group] += (4.0 * first - second) / (2.0 * step)
        # What the caller reads is that of the population itself.
        return freeze(population, arrays)

    return slopes
