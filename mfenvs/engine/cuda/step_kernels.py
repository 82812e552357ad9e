"""Kernels of a step on a CUDA device: check, count, aggregate, step every agent, publish.

The parts of a step wait for each other: agents are counted before they move. Blocks can wait for each other only
by the end of a launch, so that a step of a large world is a launch for each part: count and advance, between them
settle in games with weights or a rule ``aggregate``, and at last publish in games with this rule. A small world is
stepped by one block, whose threads can wait within a launch: a step is two launches then.

Nothing is copied to the host in a step, and so errors are kept on the device. ``status`` holds the smallest flat
index of an agent with an error, or :data:`NO_ERROR`, and the time of the step. As soon as it holds an error all
later steps do nothing, until the host looks: the states before the wrong step are then still there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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
"""Entries of ``status``: what is wrong, and time of the step, which is -1 as long as there was no error.

What is wrong is said by the flat index of an agent, plus the number of all agents times the kind of error; in the
kind ``OF_TABLE`` it is not the index of an agent, but of a row of a policy's table."""
OF_ACTION, OF_STATE, OF_PLACE, OF_LAW, OF_TABLE = range(5)
"""Kinds of errors: an action that is out of range, a next state or a place that does not exist, probabilities of
actions that are none, and a row of a table that is not a cumulative distribution."""

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


class StepArguments(NamedTuple):
    """What the kernels of a step are given, in the order in which they take it (:func:`_kernel`)."""

    states: Any
    """Local states, shape (n_worlds, N)."""
    actions: Any
    """Actions, shape (n_worlds, N) or (n_worlds, N, K)."""
    next_states: Any
    """Where the next local states are written, shape (n_worlds, N)."""
    rewards: Any
    """Where the rewards are written, shape (n_worlds, N)."""
    low: Any
    """Lower bounds of a Box of actions, shape (K,); an empty tuple if actions are discrete."""
    high: Any
    """Upper bounds of a Box of actions, shape (K,); an empty tuple if actions are discrete."""
    agents: Any
    """Parameters of the agents, shape (N,)."""
    constants: Any
    """The game's ``constants``."""
    counts: Any
    """Weight of all agents in each cell, shape (n_worlds, n_cells)."""
    sums: Any
    """Where agents are counted, shape (n_worlds, n_cells), which must hold zeros: the counts themselves, or in a
    game with weights an array in double precision: sums of many weights in single precision would be rounded in
    every addition."""
    spare: Any
    """The array that will hold the next step's counts, shape (n_worlds, n_cells); an empty tuple in a step that
    does not set it to zero."""
    signal: Any
    """The public signal, shape (n_worlds, n_signals)."""
    world_ids: Any
    """Ids of the worlds, shape (n_worlds,)."""
    time: Any
    """Time of the step."""
    seed: Any
    """Random seed."""
    episode: Any
    """Number of the episode."""
    status: Any
    """Whether there was an error (:data:`WRONG`, :data:`TIME`)."""
    per_other: Any
    """1 / (N - 1)."""
    per_agent: Any
    """1 / N."""


def _kernel(name: str, body: Callable[..., Any]) -> Kernel:
    """Make a kernel of a step from a function of :class:`StepArguments`, which all its threads call."""

    def kernel(
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
        spare: Any,
        signal: Any,
        world_ids: Any,
        time: Any,
        seed: Any,
        episode: Any,
        status: Any,
    ) -> None:
        n_agents = states.shape[1]
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        # fmt: off
        body(StepArguments(
            states, actions, next_states, rewards, low, high, agents, constants, counts, sums, spare,
            signal, world_ids, time, seed, episode, status, per_other, per_agent,
        ))
        # fmt: on

    kernel.__name__ = kernel.__qualname__ = name
    return kernel


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def _world(given: Any, w: Any, own_cell: Any, own_weight: Any) -> Any:
    """World ``w`` as the rules of an agent see it, who is counted in ``own_cell`` with this weight."""
    counts, signal = given.counts[w], given.signal[w]
    return World(
        counts, signal, given.constants, given.time, own_cell, own_weight, given.per_other, given.per_agent
    )


def has_weights(rules: Rules) -> bool:
    """Whether agents are counted with weights, which are added up in double precision."""
    return rules.weight is not None or rules.count is not None


def count_function(rules: Rules, layout: Layout, in_blocks: bool) -> Callable[..., Any]:
    """Make the function by which a thread checks and counts every ``stride``-th agent of a world from ``first``.

    All threads of a block must call it.
    """
    tally, is_valid, n_cells = _tally(rules), _valid(layout.n_actions), layout.n_cells
    in_sums = float64 if has_weights(rules) else int32

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_into(sums: Any, given: Any, w: Any, first: Any, stride: Any) -> None:
        """Add every agent whose action is valid to ``sums``, (n_cells,); nobody after an error.

        The states are then those of no step, and may have no cell.
        """
        n_agents = given.states.shape[1]
        goes_on = given.status[WRONG] == NO_ERROR
        world = _world(given, w, -1, float32(0.0))
        for i in range(first, n_agents, stride):
            if not goes_on:
                continue
            if is_valid(given.actions[w, i], given.low, given.high):
                tally(sums, given.states[w, i], given.actions[w, i], given.agents[i], world)
            else:
                note_error(given.status, given.time, w * n_agents + i)

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_in_block(given: Any, w: Any, first: Any, stride: Any) -> None:
        """Count in the shared memory of the block first, and add that to the world's counts."""
        here, sums = cuda.shared.array(n_cells, in_sums), given.sums
        for c in range(cuda.threadIdx.x, n_cells, cuda.blockDim.x):
            here[c] = 0
        cuda.syncthreads()
        count_into(here, given, w, first, stride)
        cuda.syncthreads()
        for c in range(cuda.threadIdx.x, n_cells, cuda.blockDim.x):
            if here[c] != 0:
                cuda.atomic.add(sums, (w, c), sums.dtype.type(here[c]))
        # Before the next world's zeros are written.
        cuda.syncthreads()

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_in_world(given: Any, w: Any, first: Any, stride: Any) -> None:
        """Add every agent to the world's counts at once: for few agents, or too many cells for shared memory."""
        count_into(given.sums[w], given, w, first, stride)

    return count_in_block if in_blocks else count_in_world  # type: ignore[no-any-return]


def count_kernel(count: Callable[..., Any]) -> Kernel:
    """Make the kernel that checks all actions and counts all agents of worlds of any size."""

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def count_all(given: Any) -> None:
        first, stride = cuda.grid(1), cuda.gridsize(1)
        for w in range(cuda.blockIdx.y, given.states.shape[0], cuda.gridDim.y):
            count(given, w, first, stride)

    return _kernel("count_all", count_all)


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


def settle_kernel(rules: Rules) -> Kernel | None:
    """Make the kernel that completes the counts of all worlds, by one block each; None if they are complete.

    In a game with weights it copies their sums, in double precision, to the counts, and sets the sums to zero for
    the next step. Then it computes the public quantities.
    """
    if not has_weights(rules) and rules.aggregate is None:
        return None
    rounds, has_aggregate = has_weights(rules), rules.aggregate is not None
    aggregate = rules.aggregate or aggregate_nothing

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def settle(given: Any) -> None:
        for w in range(cuda.blockIdx.y, given.counts.shape[0], cuda.gridDim.y):
            if rounds:
                for c in range(cuda.threadIdx.x, given.counts.shape[1], cuda.blockDim.x):
                    given.counts[w, c] = given.sums[w, c]
                    given.sums[w, c] = 0
                cuda.syncthreads()
            if has_aggregate and cuda.threadIdx.x == 0 and given.status[WRONG] == NO_ERROR:
                aggregate(_world(given, w, -1, float32(0.0)), given.signal[w])

    return _kernel("settle", settle)


def advance_function(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """Make the function by which a thread steps every ``stride``-th agent of world ``w`` from ``first`` on."""
    step, store = rules.step, store_rule(layout.state_fields)
    cell, own_weight = own_count_rules(rules)
    has_branches, n_states = layout.n_states is not None, layout.n_states or 0

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def advance_agents(given: Any, w: Any, first: Any, stride: Any) -> None:
        n_worlds, n_agents = given.states.shape
        next_states = given.next_states
        key = step_key(given.seed, given.world_ids[w], given.episode, given.time, ADVANCE)
        for i in range(first, n_agents, stride):
            state, action, agent = given.states[w, i], given.actions[w, i], given.agents[i]
            own, weight = cell(state, action, agent), float32(own_weight(state, action, agent))
            next_state, reward = step(state, action, agent, _world(given, w, own, weight), agent_key(key, i))
            store(next_states[w], i, next_state)
            given.rewards[w, i] = reward
            if has_branches and (next_states[w, i] < 0 or next_states[w, i] >= n_states):
                note_error(given.status, given.time, (OF_STATE * n_worlds + w) * n_agents + i)
                # A state that exists, since kernels that follow use states as indices.
                next_states[w, i] = state

    return advance_agents  # type: ignore[no-any-return]


def advance_kernel(advance_agents: Callable[..., Any], clears: bool) -> Kernel:
    """Make the kernel that steps all agents of worlds of any size.

    If ``clears``, it also sets the next step's counts to zero: a launch of its own would cost more.
    """

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def advance(given: Any) -> None:
        """Take every agent through one step in the world as it was counted."""
        first, stride = cuda.grid(1), cuda.gridsize(1)
        goes_on = given.status[WRONG] == NO_ERROR
        for w in range(cuda.blockIdx.y, given.states.shape[0], cuda.gridDim.y):
            if clears:
                for c in range(first, given.spare.shape[1], stride):
                    given.spare[w, c] = 0
            if goes_on:
                advance_agents(given, w, first, stride)

    return _kernel("advance", advance)


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def aggregate_nothing(world: Any, signal: Any) -> None:
    """Stand for the rule ``aggregate`` in a game without one."""


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def publish_nothing(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Stand for the rule ``publish`` in a game without one."""


def step_kernel(rules: Rules, count: Callable[..., Any], advance_agents: Callable[..., Any]) -> Kernel:
    """Make the kernel of a whole step of small worlds, each of which is one block's."""
    rounds = has_weights(rules)
    has_aggregate, has_publish = rules.aggregate is not None, rules.publish is not None
    aggregate, publish = rules.aggregate or aggregate_nothing, rules.publish or publish_nothing

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def step_world(given: Any, w: Any) -> None:
        """Count, aggregate, step every agent and publish, one after the other."""
        first, stride = cuda.threadIdx.x, cuda.blockDim.x
        for c in range(first, given.sums.shape[1], stride):
            given.sums[w, c] = 0
        cuda.syncthreads()
        count(given, w, first, stride)
        cuda.syncthreads()
        if rounds:
            for c in range(first, given.sums.shape[1], stride):
                given.counts[w, c] = given.sums[w, c]
            cuda.syncthreads()
        if has_aggregate:
            if first == 0:
                aggregate(_world(given, w, -1, float32(0.0)), given.signal[w])
            cuda.syncthreads()
        advance_agents(given, w, first, stride)
        if has_publish:
            cuda.syncthreads()
            if first == 0:
                key = step_key(given.seed, given.world_ids[w], given.episode, given.time, ADVANCE)
                publish(given.signal[w], given.constants, given.time + 1, agent_key(key, NOBODY))

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def step_worlds(given: Any) -> None:
        goes_on = cuda.shared.array(1, int32)
        if cuda.threadIdx.x == 0:
            # Once for all threads: other blocks may note errors meanwhile, and all must reach the same barriers.
            goes_on[0] = 1 if given.status[WRONG] == NO_ERROR else 0
        cuda.syncthreads()
        if goes_on[0] == 1:
            for w in range(cuda.blockIdx.y, given.states.shape[0], cuda.gridDim.y):
                step_world(given, w)

    return _kernel("step_worlds", step_worlds)


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
