"""Population flows: the laws of a population over time, and the decision problem of one agent in it."""

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.transition_tables import MOST_DENSE_ENTRIES

Array = NDArray[np.float64]

NEARLY_STATIONARY = 1e-8
"""Residual of a stationary flow above which a warning is given."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """The population flow of a policy and the decision problem that a single agent faces in it."""

    mu: Array
    """State-action laws Lambda(pi), shape (T, S, A)."""
    transitions: Array
    """P(s, a, mu_h) of every step: shape (T, S, A, S), of all states, or (T, S, A, K), of ``successors``."""
    rewards: Array
    """R(s, a, mu_h) of every step, shape (T, S, A)."""
    residual: float = 0.0
    """Residual of a stationary flow: the l1 distance by which one more step changes its law; 0 in a game that
    ends. Where the population moves ever more slowly, as at the threshold of an epidemic, the law itself may be
    farther off."""
    successors: NDArray[np.int32] | None = None
    """The states to which ``transitions`` belong, shape (T, S, A, K), in a game with many states; None if they
    belong to all states in their order. A row may name a state several times, and zeros fill it up."""

    def dense(self) -> "Flow":
        """The same flow with probabilities of all states, shape (T, S, A, S), and without ``successors``.

        Raises
        ------
        ValueError
            If there are too many states for that.
        """
        if self.successors is None:
            return self
        n_times, n_states, n_actions = self.rewards.shape
        checks.at_most(
            "the number of entries T S A S of dense transitions (Flow.successors spares them)",
            n_times * n_states**2 * n_actions,
            MOST_DENSE_ENTRIES,
        )
        whole = np.zeros((n_times, n_states, n_actions, n_states))
        rows = np.arange(self.rewards.size).reshape(*self.rewards.shape, 1)
        np.add.at(whole.reshape(-1, n_states), (rows, self.successors), self.transitions)
        return dataclasses.replace(self, transitions=whole, successors=None)


def flow_of(arrays: FlowArrays, residual: float = 0.0) -> Flow:
    """The flow in the arrays of a compiled one.

    Tables that are the same at all times are read-only views of one that several flows have in common.
    """
    transitions, successors, n_times = arrays.transitions, arrays.successors, len(arrays.mu)
    if len(transitions) == 1:
        transitions = _repeated(transitions, n_times)
    if successors is not None and len(successors) == 1:
        successors = _repeated(successors, n_times)
    return Flow(arrays.mu, transitions, arrays.rewards, residual, successors)


def _repeated(table: NDArray[Any], n_times: int) -> NDArray[Any]:
    """A read-only view (T, ...) of a table (1, ...), as np.broadcast_to makes it in four times the time."""
    shape, strides = (n_times, *table.shape[1:]), (0, *table.strides[1:])
    view: NDArray[Any] = np.ndarray(shape, table.dtype, table, 0, strides)
    view.flags.writeable = False
    return view


def checked_flow(flow: Flow, policy_shape: tuple[int, int, int]) -> Flow:
    """The same flow, if its tables are those of a game.

    Parameters
    ----------
    flow:
        The flow.
    policy_shape:
        Numbers of times, states and actions (T, S, A) of the game.

    Raises
    ------
    TypeError, ValueError
        If it is no flow, or has other shapes or dtypes.
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a Flow, as InducedGame.flow() returns it, got {flow!r}")
    n_kept = policy_shape[1]
    if flow.successors is not None and np.ndim(flow.transitions):
        n_kept = np.shape(flow.transitions)[-1]
    for name, found, shape in (
        ("transitions", flow.transitions, (*policy_shape, n_kept)),
        ("rewards", flow.rewards, policy_shape),
    ):
        if type(found) is np.ndarray and found.shape == shape and found.dtype is checks.FLOAT64:
            continue  # The usual case, kept short: solving a small game takes microseconds.
        if np.shape(found) != shape or np.asarray(found).dtype != np.float64:
            raise ValueError(
                f"flow.{name} must be float64 of shape {shape}, as this game's flows are, got shape"
                f" {np.shape(found)} of {np.asarray(found).dtype}"
            )
    if flow.successors is not None:
        _check_successors(flow, policy_shape[1])
    return flow


def _check_successors(flow: Flow, n_states: int) -> None:
    found, shape = flow.successors, np.shape(flow.transitions)
    if type(found) is not np.ndarray or found.shape != shape or found.dtype != np.int32:
        raise ValueError(
            f"flow.successors must be None or int32 of the shape of flow.transitions, {shape}, got"
            f" {checks.shown(found)}"
        )
    once = _once(found)
    if once.size and not (once.min() >= 0 and once.max() < n_states):
        raise ValueError(
            f"flow.successors must be states in [0, {n_states - 1}], got {once.min()} to {once.max()}"
        )


def _once(table: NDArray[Any]) -> NDArray[Any]:
    """A table (T, ...) for kernels, or (1, ...) if it is the same at all times because it is a view of one."""
    if table.flags.c_contiguous and table.flags.writeable:
        return table
    if len(table) > 1 and table.strides[0] != 0:
        return np.array(table)
    base = table.base
    if isinstance(base, np.ndarray) and base.shape == (1, *table.shape[1:]) and base.dtype == table.dtype:
        return base
    return np.array(table[:1])


def tables_of(flow: Flow) -> tuple[Array, NDArray[np.int32] | None]:
    """The tables of a flow for kernels."""
    return _once(flow.transitions), None if flow.successors is None else _once(flow.successors)


def warn_unless_stationary(residual: float) -> None:
    """Warn if the law of a stationary flow is not at rest."""
    if residual > NEARLY_STATIONARY:
        warnings.warn(
            f"the population does not settle: a step changes the law found by {residual:.1e} in l1",
            RuntimeWarning,
            stacklevel=3,
        )
