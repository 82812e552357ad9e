"""Kernels of the CPU engine, compiled for one game's rules.

All arrays have the worlds first: states and rewards (n_worlds, n_agents), counts (n_worlds, n_cells).
Kernels work on the worlds ``first <= w < last``, so that threads can share a batch, and take
``world_ids``: a world's random numbers follow its id, not its place in the batch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from numba import float32, float64, int32

from mfenvs.engine.acting import act_kernel, act_world_rule, first_invalid_action
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import count_rule, no_aggregate, own_count_rules
from mfenvs.engine.layout import Layout, rule_from
from mfenvs.engine.random import ACT, ADVANCE, NOBODY, START, agent_key, step_key
from mfenvs.game import Rules
from mfenvs.rules import Public, World, rule


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The compiled functions of a game, by their purpose."""

    start: Callable[..., Any]
    step: Callable[..., Any]
    observe: Callable[..., Any]
    occupancy: Callable[..., Any] | None
    """Shares of agents by place; None if the game has no rule ``place``."""
    masks: Callable[..., Any] | None
    """Action masks; None if the game has no rule ``allowed``."""
    accounts: Callable[..., Any] | None
    """Accounts of a step; None if the game has no rule ``account``."""
    act: Callable[..., Any]
    rollout: Callable[..., Any]


@functools.cache
def build_kernels(rules: Rules, layout: Layout) -> Kernels:
    """Compile the kernels of a game; equal rules and layouts share them."""
    start_world = start_world_rule(rules, layout)
    act_world = act_world_rule(layout.n_actions or 1, layout.states_of_chain)
    advance_world = advance_world_rule(rules, layout)
    return Kernels(
        start=_start_kernel(start_world, rules.publish or no_news),
        step=_step_kernel(advance_world, layout),
        observe=_observe_kernel(rules.observe),
        occupancy=None if rules.place is None else _occupancy_kernel(rules.place),
        masks=None if rules.allowed is None else _masks_kernel(rules.allowed),
        accounts=None if rules.account is None else _accounts_kernel(rules, layout),
        act=act_kernel(act_world),
        rollout=_rollout_kernel(start_world, advance_world, act_world, rules.publish or no_news, layout),
    )


def store_rule(fields: tuple[str, ...] | None) -> Callable[..., Any]:
    """Make the rule that writes a state, as the game's rules return it, into an array of states."""
    if fields is None:

        @rule
        def store(states: Any, i: Any, state: Any) -> None:
            states[i] = state

        return store
    # A record is written field by field, and numba needs the fields' names in the source.
    lines = [f"    record.{name} = state[{index}]" for index, name in enumerate(fields)]
    source = "\n".join(["def store(states, i, state):", "    record = states[i]", *lines])
    return rule_from(source, "store")


def start_world_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """Make the rule that draws the initial states of all agents of one world."""
    start, store = rules.start, store_rule(layout.state_fields)

    @rule
    def start_world(states: Any, agents: Any, initial: Any, key: Any) -> None:
        for i in range(len(states)):
            store(states, i, start(agents[i], initial, agent_key(key, i)))

    return start_world


@rule
def no_news(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """The rule ``publish`` of a game that declares none: nothing is published."""


def advance_world_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """Make the rule that takes all agents of one world through one step."""
    count, store = count_rule(rules, layout), store_rule(layout.state_fields)
    step, aggregate, publish = rules.step, rules.aggregate or no_aggregate, rules.publish or no_news
    cell, own_weight = own_count_rules(rules)

    @rule
    def advance_world(
        states: Any,
        actions: Any,
        next_states: Any,
        rewards: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        time: Any,
        key: Any,
    ) -> None:
        """Count everyone, aggregate, step each agent against that world, publish; all arrays are one world's."""
        n_agents = len(states)
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        everyone = World(counts, signal, constants, time, -1, float32(0.0), per_other, per_agent)
        count(states, actions, agents, everyone, sums)
        aggregate(everyone, signal)
        for i in range(n_agents):
            state, action, agent = states[i], actions[i], agents[i]
            weight = float32(own_weight(state, action, agent))
            own = cell(state, action, agent)
            world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
            next_state, reward = step(state, action, agent, world, agent_key(key, i))
            store(next_states, i, next_state)
            rewards[i] = reward
        publish(signal, constants, time + 1, agent_key(key, NOBODY))

    return advance_world


def _start_kernel(start_world: Callable[..., Any], publish: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def start(
        states: Any,
        agents: Any,
        initial: Any,
        constants: Any,
        signal: Any,
        seed: Any,
        episode: Any,
        world_ids: Any,
        first: Any,
        last: Any,
    ) -> None:
        for w in range(first, last):
            key = step_key(seed, world_ids[w], episode, 0, START)
            start_world(states[w], agents, initial, key)
            signal[w] = 0
            publish(signal[w], constants, 0, agent_key(key, NOBODY))

    return start


@rule
def first_missing_state(states: Any, n_states: Any) -> Any:
    """Index of the first agent of a world whose state is not in [0, n_states), or -1."""
    wrong = False
    for i in range(len(states)):
        wrong |= states[i] < 0 or states[i] >= n_states
    if wrong:
        for i in range(len(states)):
            if states[i] < 0 or states[i] >= n_states:
                return i
    return -1


def _step_kernel(advance_world: Callable[..., Any], layout: Layout) -> Callable[..., Any]:
    n_actions, n_states = layout.n_actions, layout.n_states
    discrete, has_branches = n_actions is not None, n_states is not None

    @kernel
    def step(
        states: Any,
        actions: Any,
        next_states: Any,
        rewards: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        world_ids: Any,
        time: Any,
        seed: Any,
        episode: Any,
        first: Any,
        last: Any,
    ) -> Any:
        """Take worlds through one step, and return -1; with an invalid action, only return its flat index.

        If a branch leads to a state that does not exist, the agent's flat index plus the number of all agents is
        returned.
        """
        if discrete:
            wrong = first_invalid_action(actions, n_actions, first, last)
            if wrong >= 0:
                return wrong
        for w in range(first, last):
            advance_world(
                states[w],
                actions[w],
                next_states[w],
                rewards[w],
                agents,
                constants,
                counts[w],
                sums[w],
                signal[w],
                time,
                step_key(seed, world_ids[w], episode, time, ADVANCE),
            )
            if has_branches:
                wrong = first_missing_state(next_states[w], n_states)
                if wrong >= 0:
                    return (states.shape[0] + w) * states.shape[1] + wrong
        return -1

    return step


def _observe_kernel(observe: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def observe_all(
        out: Any,
        states: Any,
        agents: Any,
        constants: Any,
        signal: Any,
        time: Any,
        elapsed: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Write all agents' observations into ``out`` (n_worlds, N, n_features)."""
        for w in range(first, last):
            out[w] = 0
            public = Public(signal[w], constants, time, elapsed)
            for i in range(states.shape[1]):
                observe(out[w, i], states[w, i], agents[i], public)

    return observe_all


def _masks_kernel(allowed: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def masks(
        out: Any,
        states: Any,
        agents: Any,
        constants: Any,
        signal: Any,
        time: Any,
        elapsed: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Write the action masks, by the rule ``allowed``, into ``out`` (n_worlds, N, A)."""
        for w in range(first, last):
            public = Public(signal[w], constants, time, elapsed)
            for i in range(states.shape[1]):
                for action in range(out.shape[2]):
                    out[w, i, action] = allowed(action, states[w, i], agents[i], public)

    return masks


def _accounts_kernel(rules: Rules, layout: Layout) -> Callable[..., Any]:
    count, aggregate, account = count_rule(rules, layout), rules.aggregate or no_aggregate, rules.account
    cell, own_weight = own_count_rules(rules)
    assert account is not None

    @kernel
    def accounts(
        out: Any,
        states: Any,
        actions: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        signal: Any,
        world_ids: Any,
        time: Any,
        seed: Any,
        episode: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Write every agent's account of a step into ``out`` (n_worlds, N, n_accounts), without taking the step.

        ``signal`` (n_worlds, n_signals) is the public signal before the step, and is overwritten.
        """
        n_agents = states.shape[1]
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for w in range(first, last):
            key = step_key(seed, world_ids[w], episode, time, ADVANCE)
            everyone = World(counts[w], signal[w], constants, time, -1, 0.0, per_other, per_agent)
            count(states[w], actions[w], agents, everyone, counts[w])
            aggregate(everyone, signal[w])
            for i in range(n_agents):
                state, action, agent = states[w, i], actions[w, i], agents[i]
                own, weight = cell(state, action, agent), float64(own_weight(state, action, agent))
                world = World(counts[w], signal[w], constants, time, own, weight, per_other, per_agent)
                account(out[w, i], state, action, agent, world, agent_key(key, i))

    return accounts


def _occupancy_kernel(place: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def occupancy(out: Any, states: Any, first: Any, last: Any) -> Any:
        """Write the share of agents in each place, (n_worlds, n_places), and return -1.

        If an agent's place does not exist, the agent's flat index is returned.
        """
        n_agents, n_places = states.shape[1], out.shape[1]
        for w in range(first, last):
            out[w] = 0
            for i in range(n_agents):
                where = int32(place(states[w, i]))
                if where < 0 or where >= n_places:
                    return w * n_agents + i
                out[w, where] += float32(1.0)
            for k in range(n_places):
                out[w, k] /= n_agents
        return -1

    return occupancy


def _rollout_kernel(
    start_world: Callable[..., Any],
    advance_world: Callable[..., Any],
    act_world: Callable[..., Any],
    publish: Callable[..., Any],
    layout: Layout,
) -> Callable[..., Any]:
    n_states = layout.n_states
    has_branches, has_chain = n_states is not None, layout.states_of_chain is not None

    @kernel
    def rollout(
        cumulative: Any,
        deviators: Any,
        deviations: Any,
        states: Any,
        actions: Any,
        rewards: Any,
        agents: Any,
        constants: Any,
        initial: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        public_states: Any,
        seed: Any,
        episode: Any,
        world_ids: Any,
        is_placed: Any,
        first: Any,
        last: Any,
    ) -> Any:
        """Play whole episodes by tabular policies, and return -1.

        ``cumulative`` (1 or n_agents, T, S, A) holds all agents' policies, cumulated over actions. In world w,
        agent ``deviators[w]`` (if not -1) plays ``deviations[w]`` (T, S, A) instead, on the same random numbers.
        Writes states (n_worlds, H + 1, N), actions and rewards (n_worlds, H, N), counts (n_worlds, H, n_cells)
        and, in a game with a public chain, public states (n_worlds, H). Initial states are drawn, unless
        ``is_placed`` says that they are in ``states`` already. If a branch leads to a state that does not exist,
        the flat index of the action (in ``actions``) is returned.
        """
        horizon = actions.shape[1]
        for w in range(first, last):
            first_key = step_key(seed, world_ids[w], episode, 0, START)
            if not is_placed:
                start_world(states[w, 0], agents, initial, first_key)
            signal[w] = 0
            publish(signal[w], constants, 0, agent_key(first_key, NOBODY))
            for h in range(horizon):
                if has_chain:
                    public_states[w, h] = int32(signal[w, signal.shape[1] - 1])
                key = step_key(seed, world_ids[w], episode, h, ACT)
                own, chosen = states[w, h], actions[w, h]
                act_world(cumulative, deviators[w], deviations[w : w + 1], own, chosen, signal[w], h, key)
                advance_world(
                    own,
                    chosen,
                    states[w, h + 1],
                    rewards[w, h],
                    agents,
                    constants,
                    counts[w, h],
                    sums[w],
                    signal[w],
                    h,
                    step_key(seed, world_ids[w], episode, h, ADVANCE),
                )
                if has_branches:
                    wrong = first_missing_state(states[w, h + 1], n_states)
                    if wrong >= 0:
                        return (w * horizon + h) * actions.shape[2] + wrong
        return -1

    return rollout
