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

from mfenvs.checks import is_row
from mfenvs.engine.compile import kernel
from mfenvs.engine.random import ACT, ADVANCE, NOBODY, START, agent_key, step_key, uniform
from mfenvs.game import Game, Rules
from mfenvs.rules import Public, World, rule

SMALL_CELL_COUNT = 16
"""Up to here agents are counted in one vectorised pass, beyond by scattered increments."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What of a game's sizes is compiled into its kernels."""

    n_cells: int
    n_actions: int | None
    """None: actions are not discrete, and no tabular policy can be played."""
    state_fields: tuple[str, ...] | None
    """None: the state is a scalar."""

    @classmethod
    def of(cls, game: Game) -> "Layout":
        """The layout of a game."""
        n_actions = getattr(game.action_space, "n", None)
        return cls(
            n_cells=game.n_cells,
            n_actions=None if n_actions is None else int(n_actions),
            state_fields=game.state_dtype.names,
        )


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The compiled functions of a game."""

    start: Callable[..., Any]
    step: Callable[..., Any]
    observe: Callable[..., Any]
    occupancy: Callable[..., Any] | None
    """None: the game has no rule ``place``."""
    masks: Callable[..., Any] | None
    """None: the game has no rule ``allowed``."""
    accounts: Callable[..., Any] | None
    """None: the game has no rule ``account``."""
    act: Callable[..., Any]
    rollout: Callable[..., Any]


@functools.cache
def build_kernels(rules: Rules, layout: Layout) -> Kernels:
    """Compile the kernels of a game; equal rules and layouts share them."""
    start_world = start_world_rule(rules, layout)
    act_world = _act_world(layout.n_actions or 1)
    advance_world = advance_world_rule(rules, layout)
    return Kernels(
        start=_start_kernel(start_world, rules.publish or no_news),
        step=_step_kernel(advance_world, layout.n_actions),
        observe=_observe_kernel(rules.observe),
        occupancy=None if rules.place is None else _occupancy_kernel(rules.place),
        masks=None if rules.allowed is None else _masks_kernel(rules.allowed),
        accounts=None if rules.account is None else _accounts_kernel(rules, layout),
        act=_act_kernel(act_world),
        rollout=_rollout_kernel(start_world, advance_world, act_world),
    )


def _store(fields: tuple[str, ...] | None) -> Callable[..., Any]:
    """A rule that writes what a game's rules return as a state into an array of states."""
    if fields is None:

        @rule
        def store(states: Any, i: Any, state: Any) -> None:
            states[i] = state

        return store
    # A record is written field by field, and numba needs the fields' names in the source.
    lines = [f"    record.{name} = state[{index}]" for index, name in enumerate(fields)]
    source = "\n".join(["def store(states, i, state):", "    record = states[i]", *lines])
    return _rule_from(source, "store")


def start_world_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """A rule that draws the first states of all agents of one world."""
    start, store = rules.start, _store(layout.state_fields)

    @rule
    def start_world(states: Any, agents: Any, initial: Any, key: Any) -> None:
        for i in range(len(states)):
            store(states, i, start(agents[i], initial, agent_key(key, i)))

    return start_world


def count_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """A rule that counts all agents of a world, into ``world.counts``."""
    cell, weight, add, n_cells = rules.cell, rules.weight, rules.count, layout.n_cells
    if add is not None:

        @rule
        def count_added(states: Any, actions: Any, agents: Any, world: Any) -> None:
            world.counts[:] = 0
            for i in range(len(states)):
                add(world.counts, float32(1.0), states[i], actions[i], agents[i], world)

        return count_added
    assert cell is not None
    if weight is not None:

        @rule
        def count_weights(states: Any, actions: Any, agents: Any, world: Any) -> None:
            world.counts[:] = 0
            for i in range(len(states)):
                place = cell(states[i], actions[i], agents[i])
                world.counts[place] += weight(states[i], actions[i], agents[i])

        return count_weights
    if n_cells > SMALL_CELL_COUNT:

        @rule
        def count_scattered(states: Any, actions: Any, agents: Any, world: Any) -> None:
            world.counts[:] = 0
            for i in range(len(states)):
                world.counts[cell(states[i], actions[i], agents[i])] += 1

        return count_scattered

    # One sum per cell, each a variable of its own: a single pass that vectorises. As a loop over the cells
    # around the loop over the agents it takes three times as long.
    cells = range(n_cells)
    source = "\n".join(
        [
            "def count_in_sums(states, actions, agents, world):",
            *(f"    sum_{c} = int32(0)" for c in cells),
            "    for i in range(len(states)):",
            "        place = int32(cell(states[i], actions[i], agents[i]))",
            *(f"        sum_{c} += int32(place == {c})" for c in cells),
            *(f"    world.counts[{c}] = sum_{c}" for c in cells),
        ]
    )
    return _rule_from(source, "count_in_sums", cell=cell, int32=int32)


def _rule_from(source: str, name: str, **scope: Any) -> Callable[..., Any]:
    """Compile a rule whose source depends on the game's sizes or names."""
    exec(source, scope)
    return rule(scope[name])


def own_count_rules(rules: Rules) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two rules: in which cell an agent is counted, and with what weight.

    A game that counts by a rule ``count`` has no such cell: -1, with weight 0.
    """
    if rules.count is not None:
        return _in_no_cell, _weightless
    assert rules.cell is not None
    return rules.cell, rules.weight or _one


@rule
def _in_no_cell(state: Any, action: Any, agent: Any) -> Any:
    return -1


@rule
def _weightless(state: Any, action: Any, agent: Any) -> Any:
    return float32(0.0)


@rule
def _one(state: Any, action: Any, agent: Any) -> Any:
    return float32(1.0)


@rule
def no_aggregate(world: Any, signal: Any) -> None:
    """The aggregate of a game whose rules read the counts themselves."""


@rule
def no_news(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """What is published in a game without a rule ``publish``."""


def advance_world_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """A rule that takes all agents of one world through one step."""
    count, store = count_rule(rules, layout), _store(layout.state_fields)
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
        signal: Any,
        time: Any,
        key: Any,
    ) -> None:
        """Count everyone, aggregate, step each agent against that world, publish; all arrays are one world's."""
        n_agents = len(states)
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        everyone = World(counts, signal, constants, time, -1, float32(0.0), per_other, per_agent)
        count(states, actions, agents, everyone)
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


@kernel
def first_invalid_action(actions: Any, n_actions: Any, first: Any, last: Any) -> Any:
    """Flat index of the first action outside 0..n_actions-1 in these worlds, or -1."""
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


def _step_kernel(advance_world: Callable[..., Any], n_actions: int | None) -> Callable[..., Any]:
    discrete = n_actions is not None

    @kernel
    def step(
        states: Any,
        actions: Any,
        next_states: Any,
        rewards: Any,
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
    ) -> Any:
        """Take worlds through one step; return the flat index of an invalid action, with nothing moved, or -1."""
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
                signal[w],
                time,
                step_key(seed, world_ids[w], episode, time, ADVANCE),
            )
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
        """Which actions the rule ``allowed`` allows, into ``out`` (n_worlds, N, A)."""
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
        """Every agent's account of a step into ``out`` (n_worlds, N, n_accounts), without taking the step.

        ``signal`` (n_worlds, n_signals) is what was public before the step, and is overwritten.
        """
        n_agents = states.shape[1]
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for w in range(first, last):
            key = step_key(seed, world_ids[w], episode, time, ADVANCE)
            everyone = World(counts[w], signal[w], constants, time, -1, 0.0, per_other, per_agent)
            count(states[w], actions[w], agents, everyone)
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
        """Write the share of agents in each place, (n_worlds, n_places); the flat index of one in none, or -1."""
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


SMALL_ACTION_COUNT = 8
"""Up to here all of a cumulative law is compared with the draw, beyond the search stops when it is found."""


def _act_world(n_actions: int) -> Callable[..., Any]:
    """A rule that draws the actions of all agents of a world from cumulated policies, (1 or n_agents, T, S, A).

    With T = 1 a policy is the same at all times.
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

    sample = sample_small if n_actions <= SMALL_ACTION_COUNT else sample_large

    @rule
    def act_world(
        cumulative: Any, deviator: Any, deviation: Any, states: Any, actions: Any, time: Any, key: Any
    ) -> None:
        now = time if cumulative.shape[1] > 1 else 0
        if len(cumulative) == 1:
            for i in range(len(states)):
                actions[i] = sample(cumulative, 0, now, states[i], uniform(agent_key(key, i), 0))
        else:
            for i in range(len(states)):
                actions[i] = sample(cumulative, i, now, states[i], uniform(agent_key(key, i), 0))
        if deviator >= 0:
            now = time if deviation.shape[1] > 1 else 0
            draw = uniform(agent_key(key, deviator), 0)
            actions[deviator] = sample(deviation, 0, now, states[deviator], draw)

    return act_world


def _act_kernel(act_world: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def act(
        cumulative: Any,
        states: Any,
        actions: Any,
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
            act_world(cumulative, -1, cumulative, states[w], actions[w], time, key)

    return act


ROW_TOLERANCE = 1e-4
"""How far a row of single-precision probabilities may be from summing to one."""


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
    """Draw actions (n_worlds, N) from one law each, (n_worlds, N, A); the flat index of a wrong law, or -1.

    The random numbers are those with which tabular policies are played.
    """
    n_agents, n_actions = probabilities.shape[1:]
    for w in range(first, last):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(n_agents):
            law = probabilities[w, i]
            if not is_row(law, ROW_TOLERANCE, 0.0):
                return w * n_agents + i
            total = 0.0
            for p in law:
                total += p
            # Against the actual sum: an action of probability zero at the end can never be reached.
            draw = uniform(agent_key(key, i), 0) * total
            reached, action = 0.0, 0
            for k in range(n_actions - 1):
                reached += law[k]
                action += draw >= reached
            actions[w, i] = action
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


def _rollout_kernel(
    start_world: Callable[..., Any], advance_world: Callable[..., Any], act_world: Callable[..., Any]
) -> Callable[..., Any]:
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
        signal: Any,
        seed: Any,
        episode: Any,
        world_ids: Any,
        is_placed: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Play whole episodes by tabular policies.

        ``cumulative`` (1 or n_agents, T, S, A) are everyone's policies, cumulated over actions. In world
        w agent ``deviators[w]`` (if not -1) plays ``deviations[w]`` (T, S, A) instead, on the same
        random numbers. Writes states (n_worlds, H + 1, N), actions and rewards (n_worlds, H, N) and
        counts (n_worlds, H, n_cells). The first states are drawn, unless they are there: ``is_placed``.
        """
        horizon = actions.shape[1]
        for w in range(first, last):
            if not is_placed:
                start_world(states[w, 0], agents, initial, step_key(seed, world_ids[w], episode, 0, START))
            for h in range(horizon):
                key = step_key(seed, world_ids[w], episode, h, ACT)
                own, chosen = states[w, h], actions[w, h]
                act_world(cumulative, deviators[w], deviations[w : w + 1], own, chosen, h, key)
                advance_world(
                    own,
                    chosen,
                    states[w, h + 1],
                    rewards[w, h],
                    agents,
                    constants,
                    counts[w, h],
                    signal[w],
                    h,
                    step_key(seed, world_ids[w], episode, h, ADVANCE),
                )

    return rollout
