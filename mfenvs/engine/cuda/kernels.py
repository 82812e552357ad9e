"""Kernels of the CUDA engine, compiled for one game's rules.

Each kernel is launched on a grid of two axes: blocks of threads along the agents (x) and along the worlds (y),
both in strides, so that any grid does all the work. Arrays have the worlds first, as on the CPU
(:mod:`mfenvs.engine.cpu`), and every agent draws the same random numbers there and here.

The parts of a step wait for each other: agents are counted before they move. Blocks can wait for each other only
by the end of a launch, so that a step of a large world is a launch for each part. A small world is stepped by one
block, whose threads can wait within a launch: a step is two launches then.

Nothing is copied to the host in a step, and so errors are kept on the device. ``status`` holds the smallest flat
index of an agent with an error, or :data:`NO_ERROR`, and the time of the step. As soon as it holds an error all
later steps do nothing, until the host looks: the states before the wrong step are then still there.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from numba import cuda, float32, float64, int32

from mfenvs.checks import is_row
from mfenvs.engine.acting import ROW_TOLERANCE, draw_from_row, first_row_rule, sample_rule
from mfenvs.engine.counting import own_count_rules
from mfenvs.engine.cpu import store_rule
from mfenvs.engine.cuda.adder import Adder, add_atomically
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import ACT, ADVANCE, NOBODY, START, agent_key, step_key, uniform
from mfenvs.game import Rules
from mfenvs.rules import Public, World

NO_ERROR = 2**62
"""What ``status[WRONG]`` holds as long as there was no error."""
WRONG, TIME = 0, 1
"""Entries of ``status``: flat index of an agent (plus the number of all agents if its next state does not exist,
or twice that number if its place does not), and time of the step, which is -1 as long as there was no error."""

MAX_SHARED_CELLS = 4096
"""Largest number of cells that a block of threads counts in its shared memory (32 KB in double precision)."""
AGENTS_PER_SHARED_CELL = 4
"""Number of agents per cell of a world from which blocks count by themselves, before they add to the world."""

Kernel = Callable[..., None]


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def note_error(status: Any, time: Any, index: Any) -> None:
    """Note an error of this time. One of an earlier time is kept: what was computed since is void."""
    if status[TIME] == -1 or status[TIME] == time:
        cuda.atomic.min(status, WRONG, index)
        cuda.atomic.max(status, TIME, time)


@dataclasses.dataclass(frozen=True)
class CudaKernels:
    """The kernels of a game by their purpose: Python functions that the device compiles when it launches them."""

    start: Kernel
    clear: Kernel
    """Kernel that sets an array (n_worlds, n) to zero."""
    check: Kernel
    """Kernel that checks actions, before ``step``."""
    step: Kernel
    """Kernel of a whole step of small worlds, in the place of the next ones up to ``publish``."""
    count: Kernel
    round_sums: Kernel | None
    """Kernel that copies sums of weights to the counts; None if the game has no weights."""
    aggregate: Kernel | None
    advance: Kernel
    publish: Kernel | None
    observe: Kernel
    masks: Kernel | None
    act: Kernel | None
    """Kernel that draws actions from tabular policies; None if actions are not discrete."""
    draw: Kernel | None
    """Kernel that draws actions from probabilities; None if actions are not discrete."""
    draw_box: Kernel | None
    """Kernel that draws actions uniformly from a box; None if actions are discrete."""
    count_places: Kernel | None
    divide: Kernel
    add_returns: Kernel
    read_public_states: Kernel


@functools.cache
def build_cuda_kernels(rules: Rules, layout: Layout, in_blocks: bool) -> CudaKernels:
    """Make the kernels of a game.

    Parameters
    ----------
    rules, layout:
        The rules and sizes of the game.
    in_blocks:
        Whether every block of threads first counts its own agents, in shared memory.
    """
    is_discrete = layout.n_actions is not None
    count, advance = _count_function(rules, layout, in_blocks), _advance_function(rules, layout)
    return CudaKernels(
        start=_start_kernel(rules, layout),
        clear=clear,
        check=_check_kernel(layout),
        step=_step_kernel(rules, count, advance),
        count=_count_kernel(count),
        round_sums=None if rules.weight is None and rules.count is None else round_sums,
        aggregate=None if rules.aggregate is None else _aggregate_kernel(rules.aggregate),
        advance=_advance_kernel(advance),
        publish=None if rules.publish is None else _publish_kernel(rules.publish),
        observe=_observe_kernel(rules.observe),
        masks=None if rules.allowed is None else _masks_kernel(rules.allowed),
        act=None if layout.n_actions is None else _act_kernel(layout.n_actions, layout.states_of_chain),
        draw=draw if is_discrete else None,
        draw_box=None if is_discrete else draw_box,
        count_places=None if rules.place is None else _count_places_kernel(rules.place),
        divide=divide,
        add_returns=add_returns,
        read_public_states=read_public_states,
    )


def _start_kernel(rules: Rules, layout: Layout) -> Kernel:
    start_rule, store = rules.start, store_rule(layout.state_fields)

    def start(
        states: Any, agents: Any, initial: Any, signal: Any, counts: Any, seed: Any, episode: Any, world_ids: Any
    ) -> None:
        """Draw the initial states of all agents, and clear the signal and the counts."""
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            key = step_key(seed, world_ids[w], episode, 0, START)
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                store(states[w], i, start_rule(agents[i], initial, agent_key(key, i)))
            for k in range(cuda.grid(1), signal.shape[1], cuda.gridsize(1)):
                signal[w, k] = 0
            for c in range(cuda.grid(1), counts.shape[1], cuda.gridsize(1)):
                counts[w, c] = 0

    return start


def clear(array: Any) -> None:
    """Set an array (n_worlds, n) to zero."""
    for w in range(cuda.blockIdx.y, array.shape[0], cuda.gridDim.y):
        for k in range(cuda.grid(1), array.shape[1], cuda.gridsize(1)):
            array[w, k] = 0


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


def _count_function(rules: Rules, layout: Layout, in_blocks: bool) -> Callable[..., Any]:
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


def _count_kernel(count: Callable[..., Any]) -> Kernel:
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

    return count_all


def _check_kernel(layout: Layout) -> Kernel:
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


def _aggregate_kernel(aggregate: Callable[..., Any]) -> Kernel:
    def aggregate_all(counts: Any, signal: Any, constants: Any, time: Any, n_agents: Any, status: Any) -> None:
        """Compute the public quantities of every world, by one thread each."""
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        if status[WRONG] == NO_ERROR:
            for w in range(cuda.grid(1), counts.shape[0], cuda.gridsize(1)):
                world = World(counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent)
                aggregate(world, signal[w])

    return aggregate_all


def _advance_function(rules: Rules, layout: Layout) -> Callable[..., Any]:
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


def _advance_kernel(advance_agents: Callable[..., Any]) -> Kernel:
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


def _step_kernel(rules: Rules, count: Callable[..., Any], advance_agents: Callable[..., Any]) -> Kernel:
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


def _publish_kernel(publish: Callable[..., Any]) -> Kernel:
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


def _observe_kernel(observe: Callable[..., Any]) -> Kernel:
    def observe_all(
        out: Any, states: Any, agents: Any, constants: Any, signal: Any, time: Any, elapsed: Any
    ) -> None:
        """Write all agents' observations into ``out`` (n_worlds, N, n_features)."""
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            public = Public(signal[w], constants, time, elapsed)
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                for k in range(out.shape[2]):
                    out[w, i, k] = 0
                observe(out[w, i], states[w, i], agents[i], public)

    return observe_all


def _masks_kernel(allowed: Callable[..., Any]) -> Kernel:
    def masks(out: Any, states: Any, agents: Any, constants: Any, signal: Any, time: Any, elapsed: Any) -> None:
        """Write the action masks, by the rule ``allowed``, into ``out`` (n_worlds, N, A)."""
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            public = Public(signal[w], constants, time, elapsed)
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                for action in range(out.shape[2]):
                    out[w, i, action] = allowed(action, states[w, i], agents[i], public)

    return masks


def _act_kernel(n_actions: int, states_of_chain: int | None) -> Kernel:
    sample, first_row = sample_rule(n_actions), first_row_rule(states_of_chain)

    def act(
        cumulative: Any,
        deviators: Any,
        deviations: Any,
        states: Any,
        actions: Any,
        signal: Any,
        time: Any,
        seed: Any,
        episode: Any,
        world_ids: Any,
    ) -> None:
        """Draw everyone's actions from cumulated policies (1 or N, T, S, A); deviators play ``deviations``."""
        now = time if cumulative.shape[1] > 1 else 0
        deviating = time if deviations.shape[1] > 1 else 0
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            key, first = step_key(seed, world_ids[w], episode, time, ACT), first_row(signal[w])
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                draw, row = uniform(agent_key(key, i), 0), first + states[w, i]
                if i == deviators[w]:
                    actions[w, i] = sample(deviations, w, deviating, row, draw)
                else:
                    actions[w, i] = sample(cumulative, i if cumulative.shape[0] > 1 else 0, now, row, draw)

    return act


def draw(
    probabilities: Any, actions: Any, time: Any, seed: Any, episode: Any, world_ids: Any, status: Any
) -> None:
    """Draw every agent's action from its own distribution, ``probabilities`` (n_worlds, N, A)."""
    n_worlds, n_agents, _ = probabilities.shape
    for w in range(cuda.blockIdx.y, n_worlds, cuda.gridDim.y):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(cuda.grid(1), n_agents, cuda.gridsize(1)):
            law = probabilities[w, i]
            if is_row(law, ROW_TOLERANCE, 0.0):
                actions[w, i] = draw_from_row(law, uniform(agent_key(key, i), 0))
            else:
                note_error(status, time, w * n_agents + i)


def draw_box(low: Any, high: Any, actions: Any, time: Any, seed: Any, episode: Any, world_ids: Any) -> None:
    """Draw actions (n_worlds, N, K) uniformly from a box with these bounds, (K,)."""
    for w in range(cuda.blockIdx.y, actions.shape[0], cuda.gridDim.y):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(cuda.grid(1), actions.shape[1], cuda.gridsize(1)):
            for k in range(len(low)):
                actions[w, i, k] = low[k] + (high[k] - low[k]) * uniform(agent_key(key, i), k)


def _count_places_kernel(place: Callable[..., Any]) -> Kernel:
    def count_places(out: Any, states: Any, time: Any, status: Any) -> None:
        """Count every agent at its place in ``out`` (n_worlds, n_places), which holds zeros."""
        n_worlds, n_agents = states.shape
        for w in range(cuda.blockIdx.y, n_worlds, cuda.gridDim.y):
            for i in range(cuda.grid(1), n_agents, cuda.gridsize(1)):
                where = int32(place(states[w, i]))
                if where >= 0 and where < out.shape[1]:
                    cuda.atomic.add(out, (w, where), float32(1.0))
                else:
                    note_error(status, time, (2 * n_worlds + w) * n_agents + i)

    return count_places


def divide(array: Any, number: Any) -> None:
    """Divide an array (n_worlds, n) by a number."""
    for w in range(cuda.blockIdx.y, array.shape[0], cuda.gridDim.y):
        for k in range(cuda.grid(1), array.shape[1], cuda.gridsize(1)):
            array[w, k] /= number


def read_public_states(signal: Any, out: Any) -> None:
    """Write the public state of every world, the last entry of its signal, into ``out`` (n_worlds,)."""
    for w in range(cuda.grid(1), signal.shape[0], cuda.gridsize(1)):
        out[w] = int32(signal[w, signal.shape[1] - 1])


def add_returns(returns: Any, rewards: Any, factor: Any, status: Any) -> None:
    """Add the rewards of a step, times ``factor``, to the returns (n_worlds, N)."""
    if status[WRONG] == NO_ERROR:
        for w in range(cuda.blockIdx.y, returns.shape[0], cuda.gridDim.y):
            for i in range(cuda.grid(1), returns.shape[1], cuda.gridsize(1)):
                returns[w, i] += factor * rewards[w, i]
