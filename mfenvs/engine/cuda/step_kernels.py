"""Kernels of a step on a CUDA device: check, count, aggregate, step every agent, publish.

The parts of a step wait for each other: agents are counted before they move. Blocks can wait for each other only
by the end of a launch, so that a step of a large world is a launch for each part. A small world is stepped by one
block, whose threads can wait within a launch: a step is two launches then.

Nothing is copied to the host in a step, and so errors are kept on the device. ``status`` holds the smallest flat
index of an agent with an error, or :data:`NO_ERROR`, and the time of the step. As soon as it holds an error all
later steps do nothing, until the host looks: the states before the wrong step are then still there.
"""

from collections.abc import Callable
from typing import Any

from numba import cuda, float32, float64, int32

from mfenvs.engine.counting import own_count_rules
from mfenvs.engine.cpu import store_rule
from mfenvs.engine.cuda.adder import Adder, add_atomically
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import ADVANCE, NOBODY, START, agent_key, step_key
from mfenvs.game import Rules
from mfenvs.rules import World

NO_ERROR = 2**62
"""What ``status[WRONG]`` holds as long as there was no error."""
WRONG, TIME = 0, 1
"""Entries of ``status``: flat index of an agent (plus the number of all agents if its next state does not exist,
or twice that number if its place does not), and time of the step, which is -1 as long as there was no error."""

Kernel = Callable[..., None]


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def note_error(status: Any, time: Any, index: Any) -> None:
    """Note an error of this time. One of an earlier time is kept: what was computed since is void."""
    if status[TIME] == -1 or status[TIME] == time:
        cuda.atomic.min(status, WRONG, index)
        cuda.atomic.max(status, TIME, time)


def _tally(rules: Rules) -> Callable[..., Any]:
    """Make the function that counts one agent in an array (n_cells,) to which other threads add too."""
    cell, weight, count = rules.cell, rules.weight, rules.count
    if count is not None:

        @cuda.jit(device=True)  # type: ignore[untyped-decorator]
        def tally_parts(sums: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
            count(Adder(sums), float32(1.0), state, action, agent, world)

        return tally_parts  # type: ignore[no-any-return]
    assert cell is not None
    if weight is not None:

        @cuda.jit(device=True)  # type: ignore[untyped-decorator]
        def tally_weight(sums: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
            add_atomically(sums, cell(state, action, agent), float64(weight(state, action, agent)))

        return tally_weight  # type: ignore[no-any-return]

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def tally_one(sums: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        add_atomically(sums, cell(state, action, agent), 1)

    return tally_one  # type: ignore[no-any-return]


def _valid(n_actions: int | None) -> Callable[..., Any]:
    """Make the function that tells whether an action is one: a number below ``n_actions``, or in a box."""
    if n_actions is not None:

        @cuda.jit(device=True)  # type: ignore[untyped-decorator]
        def is_action(action: Any, low: Any, high: Any) -> Any:
            return action >= 0 and action < n_actions

        return is_action  # type: ignore[no-any-return]

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def is_in_box(action: Any, low: Any, high: Any) -> Any:
        inside = True
        for k in range(len(low)):
            # Written such that a NaN is outside.
            inside = inside and action[k] >= low[k] and action[k] <= high[k]
        return inside

    return is_in_box  # type: ignore[no-any-return]


def count_function(rules: Rules, layout: Layout, in_blocks: bool) -> Callable[..., Any]:
    """Make the function by which a thread checks and counts every ``stride``-th agent of a world from ``first``.

    All threads of a block must call it. ``sums`` (n_worlds, n_cells) must be zero. It is the counts themselves, or
    in a game with weights an array in double precision: sums of many weights in single precision would be rounded
    in every addition.
    """
    tally, is_valid, n_cells = _tally(rules), _valid(layout.n_actions), layout.n_cells
    in_sums = float64 if rules.weight is not None or rules.count is not None else int32

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_into_block(
        w: Any,
        first: Any,
        stride: Any,
        states: Any,
        actions: Any,
        low: Any,
        high: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        time: Any,
        status: Any,
    ) -> None:
        """Count in the shared memory of the block first, and add that to the world's counts."""
        here = cuda.shared.array(n_cells, in_sums)
        n_agents = states.shape[1]
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        for c in range(cuda.threadIdx.x, n_cells, cuda.blockDim.x):
            here[c] = 0
        cuda.syncthreads()
        world = World(counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent)
        for i in range(first, n_agents, stride):
            if is_valid(actions[w, i], low, high):
                tally(here, states[w, i], actions[w, i], agents[i], world)
            else:
                note_error(status, time, w * n_agents + i)
        cuda.syncthreads()
        for c in range(cuda.threadIdx.x, n_cells, cuda.blockDim.x):
            if here[c] != 0:
                cuda.atomic.add(sums, (w, c), sums.dtype.type(here[c]))
        # Before the next world's zeros are written.
        cuda.syncthreads()

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_into_world(
        w: Any,
        first: Any,
        stride: Any,
        states: Any,
        actions: Any,
        low: Any,
        high: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        time: Any,
        status: Any,
    ) -> None:
        """Add every agent to the world's counts at once: for few agents, or too many cells for shared memory."""
        n_agents = states.shape[1]
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        world = World(counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent)
        for i in range(first, n_agents, stride):
            if is_valid(actions[w, i], low, high):
                tally(sums[w], states[w, i], actions[w, i], agents[i], world)
            else:
                note_error(status, time, w * n_agents + i)

    return count_into_block if in_blocks else count_into_world  # type: ignore[no-any-return]


def count_kernel(count: Callable[..., Any]) -> Kernel:
    """Make the kernel that checks all actions and counts all agents of worlds of any size."""

    def count_all(
        states: Any,
        actions: Any,
        low: Any,
        high: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        time: Any,
        status: Any,
    ) -> None:
        """Check all actions and count all agents."""
        first, stride = cuda.grid(1), cuda.gridsize(1)
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            count(
                w, first, stride, states, actions, low, high, agents, constants, counts, sums, signal, time, status
            )

    return count_all


def check_kernel(layout: Layout) -> Kernel:
    """Make the kernel that checks all actions."""
    is_valid = _valid(layout.n_actions)

    def check_actions(actions: Any, low: Any, high: Any, time: Any, status: Any) -> None:
        """Check the actions of all worlds, before one of them moves."""
        for w in range(cuda.blockIdx.y, actions.shape[0], cuda.gridDim.y):
            for i in range(cuda.grid(1), actions.shape[1], cuda.gridsize(1)):
                if not is_valid(actions[w, i], low, high):
                    note_error(status, time, w * actions.shape[1] + i)

    return check_actions


def round_sums(sums: Any, counts: Any) -> None:
    """Copy sums in double precision to the counts, (n_worlds, n_cells) each."""
    for w in range(cuda.blockIdx.y, sums.shape[0], cuda.gridDim.y):
        for c in range(cuda.grid(1), sums.shape[1], cuda.gridsize(1)):
            counts[w, c] = sums[w, c]


def aggregate_kernel(aggregate: Callable[..., Any]) -> Kernel:
    """Make the kernel that computes the public quantities of all worlds."""

    def aggregate_all(counts: Any, signal: Any, constants: Any, time: Any, n_agents: Any, status: Any) -> None:
        """Compute the public quantities of every world, by one thread each."""
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        if status[WRONG] == NO_ERROR:
            for w in range(cuda.grid(1), counts.shape[0], cuda.gridsize(1)):
                world = World(counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent)
                aggregate(world, signal[w])

    return aggregate_all


def advance_function(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """Make the function by which a thread steps every ``stride``-th agent of world ``w`` from ``first`` on."""
    step, store = rules.step, store_rule(layout.state_fields)
    cell, own_weight = own_count_rules(rules)
    has_branches, n_states = layout.n_states is not None, layout.n_states or 0

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def advance_agents(
        w: Any,
        first: Any,
        stride: Any,
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
        status: Any,
    ) -> None:
        n_worlds, n_agents = states.shape
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        key = step_key(seed, world_ids[w], episode, time, ADVANCE)
        for i in range(first, n_agents, stride):
            state, action, agent = states[w, i], actions[w, i], agents[i]
            own, weight = cell(state, action, agent), float32(own_weight(state, action, agent))
            world = World(counts[w], signal[w], constants, time, own, weight, per_other, per_agent)
            next_state, reward = step(state, action, agent, world, agent_key(key, i))
            store(next_states[w], i, next_state)
            rewards[w, i] = reward
            if has_branches and (next_states[w, i] < 0 or next_states[w, i] >= n_states):
                note_error(status, time, (n_worlds + w) * n_agents + i)
                # A state that exists, since kernels that follow use states as indices.
                next_states[w, i] = state

    return advance_agents  # type: ignore[no-any-return]


def advance_kernel(advance_agents: Callable[..., Any]) -> Kernel:
    """Make the kernel that steps all agents of worlds of any size."""

    def advance(
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
        status: Any,
    ) -> None:
        """Take every agent through one step in the world as it was counted."""
        first, stride = cuda.grid(1), cuda.gridsize(1)
        if status[WRONG] == NO_ERROR:
            for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
                advance_agents(
                    w,
                    first,
                    stride,
                    states,
                    actions,
                    next_states,
                    rewards,
                    agents,
                    constants,
                    counts,
                    signal,
                    world_ids,
                    time,
                    seed,
                    episode,
                    status,
                )

    return advance


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def aggregate_nothing(world: Any, signal: Any) -> None:
    """Stand for the rule ``aggregate`` in a game without one."""


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def publish_nothing(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Stand for the rule ``publish`` in a game without one."""


def step_kernel(rules: Rules, count: Callable[..., Any], advance_agents: Callable[..., Any]) -> Kernel:
    """Make the kernel of a whole step of small worlds, each of which is one block's."""
    has_weights = rules.weight is not None or rules.count is not None
    has_aggregate, has_publish = rules.aggregate is not None, rules.publish is not None
    aggregate, publish = rules.aggregate or aggregate_nothing, rules.publish or publish_nothing

    def step_worlds(
        states: Any,
        actions: Any,
        next_states: Any,
        rewards: Any,
        low: Any,
        high: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        world_ids: Any,
        time: Any,
        seed: Any,
        episode: Any,
        status: Any,
    ) -> None:
        """Count, aggregate, step every agent and publish, one after the other."""
        n_worlds, n_agents = states.shape
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        first, stride = cuda.threadIdx.x, cuda.blockDim.x
        goes_on = cuda.shared.array(1, int32)
        if first == 0:
            # Once for all threads: other blocks may note errors meanwhile, and all must reach the same barriers.
            goes_on[0] = 1 if status[WRONG] == NO_ERROR else 0
        cuda.syncthreads()
        if goes_on[0] == 1:
            for w in range(cuda.blockIdx.y, n_worlds, cuda.gridDim.y):
                for c in range(first, sums.shape[1], stride):
                    sums[w, c] = 0
                cuda.syncthreads()
                count(
                    w,
                    first,
                    stride,
                    states,
                    actions,
                    low,
                    high,
                    agents,
                    constants,
                    counts,
                    sums,
                    signal,
                    time,
                    status,
                )
                cuda.syncthreads()
                if has_weights:
                    for c in range(first, sums.shape[1], stride):
                        counts[w, c] = sums[w, c]
                    cuda.syncthreads()
                if has_aggregate:
                    if first == 0:
                        world = World(
                            counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent
                        )
                        aggregate(world, signal[w])
                    cuda.syncthreads()
                advance_agents(
                    w,
                    first,
                    stride,
                    states,
                    actions,
                    next_states,
                    rewards,
                    agents,
                    constants,
                    counts,
                    signal,
                    world_ids,
                    time,
                    seed,
                    episode,
                    status,
                )
                if has_publish:
                    cuda.syncthreads()
                    if first == 0:
                        key = step_key(seed, world_ids[w], episode, time, ADVANCE)
                        publish(signal[w], constants, time + 1, agent_key(key, NOBODY))

    return step_worlds


def publish_kernel(publish: Callable[..., Any]) -> Kernel:
    """Make the kernel that draws the public news of all worlds."""

    def publish_all(
        signal: Any, constants: Any, world_ids: Any, time: Any, seed: Any, episode: Any, status: Any
    ) -> None:
        """Draw the public news that every world sees at ``time``, by one thread each."""
        purpose, key_time = (START, 0) if time == 0 else (ADVANCE, time - 1)
        if status[WRONG] == NO_ERROR:
            for w in range(cuda.grid(1), signal.shape[0], cuda.gridsize(1)):
                key = step_key(seed, world_ids[w], episode, key_time, purpose)
                publish(signal[w], constants, time, agent_key(key, NOBODY))

    return publish_all
