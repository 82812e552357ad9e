"""Kernels of the CUDA engine, compiled for one game's rules.

Each kernel is launched on a grid of two axes: blocks of threads along the agents (x) and along the worlds (y),
both in strides, so that any grid does all the work. Arrays have the worlds first, as on the CPU
(:mod:`mfenvs.engine.cpu`), and every agent draws the same random numbers there and here.

Those of a step, and how errors are kept on the device, are in :mod:`mfenvs.engine.cuda.step_kernels`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from numba import cuda, float32, int32

from mfenvs.checks import is_row
from mfenvs.engine.acting import ROW_TOLERANCE, draw_from_row, first_row_rule, is_cumulative, sample_rule
from mfenvs.engine.cpu import store_rule
from mfenvs.engine.cuda.step_kernels import (
    NO_ERROR,
    OF_LAW,
    OF_PLACE,
    OF_TABLE,
    WRONG,
    Kernel,
    advance_function,
    advance_kernel,
    check_kernel,
    count_function,
    count_kernel,
    has_weights,
    note_error,
    publish_kernel,
    settle_kernel,
    step_kernel,
)
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import ACT, START, agent_key, step_key, uniform
from mfenvs.game import Rules
from mfenvs.rules import Public, rule

MAX_SHARED_CELLS = 4096
"""Largest number of cells that a block of threads counts in its shared memory (32 KB in double precision)."""
AGENTS_PER_SHARED_CELL = 4
"""Number of agents per cell of a world from which blocks count by themselves, before they add to the world."""


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
    settle: Kernel | None
    """Kernel that completes the counts, and computes the public quantities; None if there is nothing to do."""
    advance: Kernel
    publish: Kernel | None
    observe: Kernel
    masks: Kernel | None
    """Kernel that writes action masks; None if actions are not discrete."""
    check_table: Kernel | None
    """Kernel that checks the rows of a table before ``act``; None if actions are not discrete."""
    act: Kernel | None
    """Kernel that draws actions from tabular policies; None if actions are not discrete."""
    draw: Kernel | None
    """Kernel that draws actions from probabilities; None if actions are not discrete."""
    uniform_laws: Kernel
    """Kernel that makes equal probabilities of action masks."""
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
    count, advance = count_function(rules, layout, in_blocks), advance_function(rules, layout)
    return CudaKernels(
        start=_start_kernel(rules, layout),
        clear=clear,
        check=check_kernel(layout),
        step=step_kernel(rules, count, advance),
        count=count_kernel(count),
        settle=settle_kernel(rules),
        advance=advance_kernel(advance, clears=not has_weights(rules)),
        publish=None if rules.publish is None else publish_kernel(rules.publish),
        observe=_observe_kernel(rules.observe),
        masks=_masks_kernel(rules.allowed or _allow_all) if is_discrete else None,
        check_table=_check_table_kernel(layout.states_of_chain) if is_discrete else None,
        act=None if layout.n_actions is None else _act_kernel(layout.n_actions, layout.states_of_chain),
        draw=draw if is_discrete else None,
        uniform_laws=uniform_laws,
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


@rule
def _allow_all(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Stand for the rule ``allowed`` in a game without one."""
    return True


def _masks_kernel(allowed: Callable[..., Any]) -> Kernel:
    def masks(out: Any, states: Any, agents: Any, constants: Any, signal: Any, time: Any, elapsed: Any) -> None:
        """Write the action masks, by the rule ``allowed``, into ``out`` (n_worlds, N, A)."""
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            public = Public(signal[w], constants, time, elapsed)
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                for action in range(out.shape[2]):
                    out[w, i, action] = allowed(action, states[w, i], agents[i], public)

    return masks


def _check_table_kernel(states_of_chain: int | None) -> Kernel:
    first_row = first_row_rule(states_of_chain)

    def check_table(cumulative: Any, states: Any, signal: Any, time: Any, status: Any) -> None:
        """Check the rows of policies (1 or N, T, S, A) from which actions are drawn now.

        Of a table that all agents share all rows of this time are checked, and the worlds do not matter.
        """
        n_tables, n_times, n_rows, _ = cumulative.shape
        n_worlds, n_agents = states.shape
        now = time if n_times > 1 else 0
        is_shared = n_tables == 1
        for w in range(cuda.blockIdx.y, 1 if is_shared else n_worlds, cuda.gridDim.y):
            first = first_row(signal[w])
            for i in range(cuda.grid(1), n_rows if is_shared else n_agents, cuda.gridsize(1)):
                group, row = (0, i) if is_shared else (i, first + int32(states[w, i]))
                if not is_cumulative(cumulative, group, now, row):
                    index = (group * n_times + now) * n_rows + row
                    note_error(status, time, OF_TABLE * n_worlds * n_agents + index)

    return check_table


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
        status: Any,
    ) -> None:
        """Draw everyone's actions from cumulated policies (1 or N, T, S, A); deviators play ``deviations``.

        After an error, when states may be of any kind, they are 0.
        """
        goes_on = status[WRONG] == NO_ERROR
        now = time if cumulative.shape[1] > 1 else 0
        deviating = time if deviations.shape[1] > 1 else 0
        for w in range(cuda.blockIdx.y, states.shape[0], cuda.gridDim.y):
            key, first = step_key(seed, world_ids[w], episode, time, ACT), first_row(signal[w])
            for i in range(cuda.grid(1), states.shape[1], cuda.gridsize(1)):
                draw, row = uniform(agent_key(key, i), 0), first + states[w, i]
                if not goes_on:
                    actions[w, i] = 0
                elif i == deviators[w]:
                    actions[w, i] = sample(deviations, w, deviating, row, draw)
                else:
                    actions[w, i] = sample(cumulative, i if cumulative.shape[0] > 1 else 0, now, row, draw)

    return act


def draw(
    probabilities: Any, actions: Any, time: Any, seed: Any, episode: Any, world_ids: Any, status: Any
) -> None:
    """Draw every agent's action from its own distribution, or from one for all.

    ``probabilities`` have shape (n_worlds, N, A) or (1, 1, A), ``actions`` (n_worlds, N).
    """
    n_worlds, n_agents = actions.shape
    is_shared = probabilities.shape[0] < n_worlds or probabilities.shape[1] < n_agents
    for w in range(cuda.blockIdx.y, n_worlds, cuda.gridDim.y):
        key = step_key(seed, world_ids[w], episode, time, ACT)
        for i in range(cuda.grid(1), n_agents, cuda.gridsize(1)):
            law = probabilities[0, 0] if is_shared else probabilities[w, i]
            if is_row(law, ROW_TOLERANCE, 0.0):
                actions[w, i] = draw_from_row(law, uniform(agent_key(key, i), 0))
            else:
                # An action that exists, since kernels that follow may look at it.
                actions[w, i] = 0
                note_error(status, time, (OF_LAW * n_worlds + w) * n_agents + i)


def uniform_laws(masks: Any, laws: Any) -> None:
    """Write equal probabilities of the actions that masks (n_worlds, N, A) allow, or of all if they allow none."""
    n_worlds, n_agents, n_actions = masks.shape
    for w in range(cuda.blockIdx.y, n_worlds, cuda.gridDim.y):
        for i in range(cuda.grid(1), n_agents, cuda.gridsize(1)):
            n_allowed = 0
            for action in range(n_actions):
                if masks[w, i, action]:
                    n_allowed += 1
            each = float32(1.0 / (n_allowed if n_allowed > 0 else n_actions))
            for action in range(n_actions):
                laws[w, i, action] = each if n_allowed == 0 or masks[w, i, action] else float32(0.0)


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
                    note_error(status, time, (OF_PLACE * n_worlds + w) * n_agents + i)

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
