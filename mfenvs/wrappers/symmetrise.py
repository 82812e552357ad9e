"""Conversions between joint policies, one per agent, and shared policies, one for all agents.

A *joint* policy has a policy for every agent; a *shared* policy is played by all (parameter sharing). All
functions and environments that play policies (:func:`mfenvs.evaluate`, the representative-agent environments) take
both; the functions here turn one into the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.models import ObservationPolicy
from mfenvs.wrappers.observations import Observe, observation_blocks


class JointPolicy:
    """N policies as one joint policy: in every world agent i acts by policy i.

    Parameters
    ----------
    policies:
        One policy with ``action_probabilities`` per agent, in the agents' order. Agents with the same policy
        object are evaluated together.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two policies, one is of another kind, or they expect different observation blocks.
    """

    def __init__(self, policies: Sequence[ObservationPolicy]) -> None:
        if not isinstance(policies, Sequence):
            raise TypeError(f"policies must be a sequence with one policy per agent, got {policies!r}")
        self.policies = tuple(policies)
        self.n_agents = checks.integer("number of policies", len(self.policies), 2)
        for i, policy in enumerate(self.policies):
            if not isinstance(policy, ObservationPolicy):
                raise TypeError(f"policies[{i}] must have a method action_probabilities, got {policy!r}")
            if _blocks(policy) != _blocks(self.policies[0]):
                raise ValueError(
                    f"policies must observe the same: policies[0] observes {_blocks(self.policies[0])},"
                    f" policies[{i}] {_blocks(policy)}"
                )
        self.observe: Observe = _blocks(self.policies[0])
        """The observation blocks that every policy expects."""
        self._distinct = list({id(policy): policy for policy in self.policies}.values())
        order = {id(policy): k for k, policy in enumerate(self._distinct)}
        self._which = np.array([order[id(policy)] for policy in self.policies])

    def action_probabilities(
        self, observations: NDArray[np.float32], agents: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """The probabilities of each row's actions, shape (n_rows, n_actions).

        Parameters
        ----------
        observations:
            Shape (n_rows, width).
        agents:
            Index of each row's agent, shape (n_rows,); by default rows are whole worlds, in the agents' order.

        Raises
        ------
        ValueError
            If the rows are not whole worlds and ``agents`` is not given.
        """
        which = self._which[rows_of_agents(len(observations), self.n_agents, agents)]
        laws: NDArray[np.float64] | None = None
        for k, policy in enumerate(self._distinct):
            rows = np.flatnonzero(which == k)
            if len(rows):
                found = np.asarray(policy.action_probabilities(observations[rows]))
                if laws is None:
                    laws = np.empty((len(observations), found.shape[1]))
                laws[rows] = found
        assert laws is not None
        return laws


class SharedPolicy:
    """The average of a joint policy over its agents, as one policy that all share.

    It acts like an agent who draws in every step, uniformly at random, an agent whose policy to follow.

    Parameters
    ----------
    joint:
        A policy with ``n_agents`` and ``action_probabilities(observations, agents)``: a :class:`JointPolicy`, or
        a trainer of independent policies. The policy of every agent is evaluated for every row.

    Raises
    ------
    TypeError
        If ``joint`` is not a joint policy.
    """

    def __init__(self, joint: Any) -> None:
        if not isinstance(joint, ObservationPolicy) or not hasattr(joint, "n_agents"):
            raise TypeError(
                f"joint must have n_agents and action_probabilities(observations, agents), got {joint!r}"
            )
        self.joint = joint
        self.observe: Observe = getattr(joint, "observe", ())
        """The observation blocks that the policies expect."""

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """The average probabilities of each row's actions, shape (n_rows, n_actions)."""
        joint: Any = self.joint
        total: Any = 0.0
        for agent in range(joint.n_agents):
            total = total + np.asarray(
                joint.action_probabilities(observations, np.full(len(observations), agent)), np.float64
            )
        mean: NDArray[np.float64] = total / joint.n_agents
        return mean


def joint_policy(policies: Sequence[Any]) -> Any:
    """Make a joint policy from one policy per agent.

    Parameters
    ----------
    policies:
        One per agent, in the agents' order: tables (T, S, A), or policies with ``action_probabilities``.

    Returns
    -------
    The tables stacked, (n_agents, T, S, A), or a :class:`JointPolicy`.

    Raises
    ------
    TypeError, ValueError
        If the policies are of different kinds or shapes.
    """
    if not isinstance(policies, Sequence | np.ndarray):
        raise TypeError(f"policies must be a sequence with one policy per agent, got {policies!r}")
    tables = [getattr(policy, "probabilities", policy) for policy in policies]
    if tables and all(isinstance(table, np.ndarray) for table in tables):
        shapes = {table.shape for table in tables}
        if len(shapes) > 1 or tables[0].ndim != 3:
            raise ValueError(f"policies must be tables of one shape (T, S, A), got {sorted(shapes)}")
        return np.stack(tables)
    return JointPolicy(policies)


def shared_policy(joint: Any, game: FiniteGame | None = None) -> Any:
    """Average a joint policy over its agents, to a policy that all agents share.

    In a game with several populations each state's probabilities are averages over the agents of its population.

    Parameters
    ----------
    joint:
        A table (n_agents, T, S, A), an object with such a table as its attribute ``probabilities``, or a joint
        policy with ``action_probabilities(observations, agents)``.
    game:
        The game, which must be given if it has several populations; ``joint`` must then be a table.

    Returns
    -------
    The average table (T, S, A), or a :class:`SharedPolicy`.

    Raises
    ------
    TypeError, ValueError
        If ``joint`` is not a joint policy, or not one of the game.
    """
    table = getattr(joint, "probabilities", joint)
    if game is not None and game.n_populations > 1:
        found = game.policy_table("joint", joint)
        if found.ndim != 4:
            raise ValueError(f"joint must be a table of shape (n_agents, T, S, A), got {found.shape}")
        whose = game.population_of_agent
        means = np.stack([found[whose == p].mean(axis=0) for p in range(game.n_populations)])
        of_state = game.population_of_state
        # (S, T, A) at first: the population and the state are two lists of indices.
        return np.ascontiguousarray(means[of_state, :, np.arange(len(of_state))].transpose(1, 0, 2))
    if isinstance(table, np.ndarray):
        if table.ndim != 4:
            raise ValueError(f"joint must be a table of shape (n_agents, T, S, A), got {table.shape}")
        return table.mean(axis=0)
    return SharedPolicy(joint)


def rows_of_agents(n_rows: int, n_agents: int, agents: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The agent of each row of observations: ``agents``, or whole worlds in the agents' order.

    Raises
    ------
    ValueError
        If ``agents`` has another length or an entry out of range, or the rows are not whole worlds.
    """
    if agents is None:
        if n_rows % n_agents:
            raise ValueError(f"observations must hold a multiple of n_agents = {n_agents} rows, got {n_rows}")
        return np.arange(n_rows) % n_agents
    agents = np.asarray(agents)
    outside = agents.shape != (n_rows,) or agents.min(initial=0) < 0 or agents.max(initial=0) >= n_agents
    if outside or agents.dtype.kind not in "iu":
        raise ValueError(f"agents must be {n_rows} integers in [0, {n_agents - 1}], got {agents!r}")
    return agents


def _blocks(policy: Any) -> Any:
    return observation_blocks(getattr(policy, "observe", ()))
