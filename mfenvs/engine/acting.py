"""Kernels that draw agents' actions from tables or from probabilities, and check given actions."""

from collections.abc import Callable
from typing import Any

from numba import float32, int32

from mfenvs.checks import is_row
from mfenvs.engine.compile import kernel
from mfenvs.engine.random import ACT, agent_key, step_key, uniform
from mfenvs.rules import rule


@kernel
def first_invalid_action(actions: Any, n_actions: Any, first: Any, last: Any) -> Any:
    """Flat index of the first action outside 0..n_actions-1 in the worlds ``first <= w < last``, or -1."""
    n_agents = actions.shape[1]
    wrong = int32(0)
    for w in range(first, last):
        for i in range(n_agents):
            wrong |= int32(actions[w, i] < 0) | int32(actions[w, i] >= n_actions)
    if wrong:
        for w in range(first, last):
            for i in range(n_agents):
                if actions[w, i] < 0 or actions[w, i] >= n_actions:
                    return w * n_agents + i
    return -1


SMALL_ACTION_COUNT = 8
"""Up to this many actions the draw is compared with all cumulative probabilities, which vectorises; with more
actions the search stops at the action that is drawn."""


def sample_rule(n_actions: int) -> Callable[..., Any]:
    """Make the rule that finds the action to which a draw leads in a policy cumulated over actions.

    Called as ``sample(cumulative, group, time, state, draw)``, with policies of shape (n, T, S, A).
    """
    last = n_actions - 1

    @rule
    def sample_small(cumulative: Any, group: Any, time: Any, state: Any, draw: Any) -> Any:
        index = 0
        for k in range(last):
            index += draw >= cumulative[group, time, state, k]
        return index

    @rule
    def sample_large(cumulative: Any, group: Any, time: Any, state: Any, draw: Any) -> Any:
        index = 0
        while index < last and draw >= cumulative[group, time, state, index]:
            index += 1
        return index

    return sample_small if n_actions <= SMALL_ACTION_COUNT else sample_large


def first_row_rule(states_of_chain: int | None) -> Callable[..., Any]:
    """Make the rule that finds the first row of a policy table that belongs to the public state in a signal.

    The table has a block of ``states_of_chain`` rows for each public state; without a public chain (None) it is
    one block.
    """
    n_rows = states_of_chain or 0

    @rule
    def first_row(signal: Any) -> Any:
        return n_rows * int32(signal[len(signal) - 1])

    @rule
    def no_row(signal: Any) -> Any:
        return 0

    return no_row if states_of_chain is None else first_row


def act_world_rule(n_actions: int, states_of_chain: int | None = None) -> Callable[..., Any]:
    """Make the rule that draws the actions of all agents of a world from policies cumulated over actions.

    The policies have shape (1 or n_agents, T, S, A); with T = 1 they are the same at all times. In a game with a
    public chain they have a block of ``states_of_chain`` rows for each public state.
    """
    sample, first_row = sample_rule(n_actions), first_row_rule(states_of_chain)

    @rule
    def act_world(
        cumulative: Any, deviator: Any, deviation: Any, states: Any, actions: Any, signal: Any, time: Any, key: Any
    ) -> None:
        """Draw the actions of a world's agents from cumulated policies; agent ``deviator`` plays ``deviation``.

        ``signal`` is the world's public signal.
        """
        now = time if cumulative.shape[1] > 1 else 0
        first = first_row(signal)
        if len(cumulative) == 1:
            for i in range(len(states)):
                actions[i] = sample(cumulative, 0, now, first + states[i], uniform(agent_key(key, i), 0))
        else:
            for i in range(len(states)):
                actions[i] = sample(cumulative, i, now, first + states[i], uniform(agent_key(key, i), 0))
        if deviator >= 0:
            now = time if deviation.shape[1] > 1 else 0
            draw = uniform(agent_key(key, deviator), 0)
            actions[deviator] = sample(deviation, 0, now, first + states[deviator], draw)

    return act_world


@rule
def is_cumulative(cumulative: Any, group: Any, time: Any, row: Any) -> Any:
    """Whether a row of policies (n, T, S, A) is a cumulative distribution: rising from 0 to at least 1."""
    # Written such that a NaN fails the comparisons.
    valid, reached = True, float32(0.0)
    for a in range(cumulative.shape[3]):
        valid &= cumulative[group, time, row, a] >= reached
        reached = cumulative[group, time, row, a]
    return valid and reached >= float32(0.999999)


@kernel
def first_invalid_table_row(cumulative: Any, states: Any, first_rows: Any, time: Any) -> Any:
    """Flat index, in shape (1 or n_agents, T, S), of a row that is not a cumulative distribution, or -1.

    For a table that all agents share, all rows at time ``time`` are checked. For a table per agent, only the rows
    of the agents' current states (n_worlds, n_agents) are, counted from ``first_rows`` (n_worlds,).
    """
    n_tables, n_times, n_states, _ = cumulative.shape
    now = time if n_times > 1 else 0
    n_worlds = states.shape[0] if n_tables > 1 else 1
    n_rows = n_tables if n_tables > 1 else n_states
    for w in range(n_worlds):
        for i in range(n_rows):
            group, state = (i, first_rows[w] + int(states[w, i])) if n_tables > 1 else (0, i)
            if not is_cumulative(cumulative, group, now, state):
                return (group * n_times + now) * n_states + state
    return -1


def act_kernel(act_world: Callable[..., Any]) -> Callable[..., Any]:
    """Make the kernel that draws all agents' actions by a rule of :func:`act_world_rule`."""

    @kernel
    def act(
        cumulative: Any,
        states: Any,
        actions: Any,
        signal: Any,
        time: Any,
        seed: Any,
        episode: Any,
        world_ids: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Draw everyone's actions (n_worlds, N) from cumulated policies, (1 or n_agents, T, S, A)."""
        for w in range(first, last):
            key = step_key(seed, world_ids[w], episode, time, ACT)
            act_world(cumulative, -1, cumulative, states[w], actions[w], signal[w], time, key)

    return act


ROW_TOLERANCE = 1e-4
"""Largest distance from one that is allowed for the sum of a row of single-precision probabilities."""


@rule
def draw_from_row(law: Any, draw: Any) -> Any:
    """The action to which a uniform draw leads in a row of probabilities (A,)."""
    total = 0.0
    for p in law:
        total += p
    # Against the actual sum: an action of probability zero at the end can never be reached.
    goal = draw * total
    reached, action = 0.0, 0
    for k in range(len(law) - 1):
        reached += law[k]
        action += goal >= reached
    return action


@kernel
def draw_actions(
    probabilities: Any,
    actions: Any,
    time: Any,
    seed: Any,
    episode: Any,
    world_ids: Any,
    first: Any,
    last: Any,
) -> Any:
    """Draw every agent's action from its own distribution; return the index of an invalid one, or -1.

    ``probabilities`` has shape (n_worlds, N, A), ``actions`` (n_worlds, N). The random numbers are those with
    which tabular policies are played.
    """
    n_agents = probabilities.shape[1]
    for w in range(first, last):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(n_agents):
            law = probabilities[w, i]
            if not is_row(law, ROW_TOLERANCE, 0.0):
                return w * n_agents + i
            actions[w, i] = draw_from_row(law, uniform(agent_key(key, i), 0))
    return -1


@kernel
def draw_box_actions(
    low: Any,
    high: Any,
    actions: Any,
    time: Any,
    seed: Any,
    episode: Any,
    world_ids: Any,
    first: Any,
    last: Any,
) -> None:
    """Draw actions (n_worlds, N, K) uniformly from a box with these bounds, (K,)."""
    for w in range(first, last):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(actions.shape[1]):
            for k in range(len(low)):
                actions[w, i, k] = low[k] + (high[k] - low[k]) * uniform(agent_key(key, i), k)
