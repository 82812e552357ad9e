"""Debug mode: the results of a game's rules are checked, agent by agent, before the engine uses them.

Every check runs on copies. When it finds an error, no agent has moved.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import float32
from numpy.typing import NDArray

from mfenvs.checks import PROBABILITY_TOLERANCE, first_invalid_row, shown
from mfenvs.engine.checked_rules import checked_rules
from mfenvs.engine.compile import checked_kernel
from mfenvs.engine.counting import count_rule, new_sums, no_aggregate, own_count_rules
from mfenvs.engine.cpu import no_news
from mfenvs.engine.layout import Layout, rule_from
from mfenvs.engine.model import in_double_precision, model_kernels
from mfenvs.engine.random import ADVANCE, NOBODY, START, agent_key, step_key
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game, Rules
from mfenvs.rules import Public, World

START_RULE, CELL, COUNT, AGGREGATE, STEP, PUBLISH, OBSERVE = range(7)
STAGES = ("start", "cell", "count", "aggregate", "step", "publish", "observe")
"""Names of the rules, by the number that a check leaves when it stops."""


class RuleChecks:
    """Checks of one game's rules in the worlds of an engine.

    Parameters
    ----------
    game:
        The game.
    world_ids:
        Ids of the worlds.
    """

    def __init__(self, game: Game, world_ids: NDArray[np.uint64]) -> None:
        self._game, self._world_ids = game, world_ids
        self._kernels = _check_kernels(game.rules, Layout.of(game), game.state_dtype)
        self._agents, self._constants = game.agents.view(np.ndarray), game.constants
        n_worlds = len(world_ids)
        self._states = np.zeros((n_worlds, game.n_agents), game.state_dtype)
        self._counts = np.zeros((n_worlds, game.n_cells), np.float32)
        self._sums = new_sums(game.rules, n_worlds, game.n_cells)
        self._at = np.zeros(3, np.int64)
        """The rule, the world and the agent that are being checked."""

    def check_start(self, seed: int, episode: int) -> None:
        """Check that ``start`` returns states that the state's dtype can hold; ValueError if not."""
        with self._explained(0, self._states, None):
            wrong = self._kernels["start"](
                *(self._states, self._agents, self._game.initial, self._at, seed, episode, self._world_ids)
            )
        self._refuse_state(wrong, self._states, None, 0)

    def check_step(
        self,
        states: NDArray[Any],
        actions: NDArray[Any],
        signal: NDArray[np.float32],
        time: int,
        seed: int,
        episode: int,
    ) -> None:
        """Check that rules count, read and write within their arrays, and that ``step`` returns states.

        Parameters
        ----------
        states, actions:
            Shape (n_worlds, n_agents), that of actions followed by the shape of a Box.
        signal:
            The public signal before the step, shape (n_worlds, n_signals).

        Raises
        ------
        ValueError
            If a check fails; the message names the rule, the agent, its state and its action.
        """
        n_cells = self._game.n_cells
        with self._explained(time, states, actions):
            wrong, cell = self._kernels["cells"](states, actions, self._agents, self._at, n_cells)
        if wrong >= 0:
            raise ValueError(
                f"{self._rule('cell')} must return a cell in [0, {n_cells - 1}], got {cell}"
                f" {self._whose(divmod(wrong, self._game.n_agents), states, actions, time)}"
            )
        with self._explained(time, states, actions):
            wrong = self._kernels["step"](
                *(states, actions, self._states, self._agents, self._constants, self._counts, self._sums),
                *(signal.copy(), self._at, self._world_ids, time, seed, episode),
            )
        self._refuse_state(wrong, states, actions, time)

    def check_observations(
        self, states: NDArray[Any], signal: NDArray[np.float32], time: int, elapsed: np.float32
    ) -> None:
        """Check that ``observe`` writes within ``out``, and only features within the observation space.

        Raises
        ------
        ValueError
            If it does not; the message names the agent, its state and the feature.
        """
        game = self._game
        space = game.observation_space
        low, high = (np.broadcast_to(bound, (game.n_features,)) for bound in (space.low, space.high))
        row = np.zeros(game.n_features, np.float32)
        with self._explained(time, states, None):
            feature = self._kernels["observe"](
                *(row, states, self._agents, self._constants, signal.copy(), self._at, time, elapsed),
                *(np.ascontiguousarray(low), np.ascontiguousarray(high)),
            )
        if feature >= 0:
            raise ValueError(
                f"{self._rule('observe')} must write what is in the observation space: out[{feature}] must be in"
                f" [{low[feature]:g}, {high[feature]:g}], got {row[feature]}"
                f" {self._whose(self._at[1:], states, None, time)}"
            )

    def _rule(self, name: str) -> str:
        return f"the rule {name} of {type(self._game).__name__}"

    def _whose(self, where: Any, states: NDArray[Any], actions: NDArray[Any] | None, time: int) -> str:
        world, agent = (int(i) for i in where)
        action = "" if actions is None else f" with action {actions[world, agent]}"
        return f"for agent {agent} in state {states[world, agent]}{action} at time {time} of world {world}"

    def _refuse_state(self, wrong: int, states: NDArray[Any], actions: NDArray[Any] | None, time: int) -> None:
        if wrong < 0:
            return
        where = divmod(int(wrong), self._game.n_agents)
        name = "start" if actions is None else "step"
        whose = self._whose(where, states, actions, time)
        if actions is None:
            whose = f"for agent {where[1]} of world {where[0]}"
        raise ValueError(
            f"{self._rule(name)} must return a state of dtype {self._game.state_dtype}, got one that this does not"
            f" hold (it would become {self._states[where]}) {whose}"
        )

    @contextmanager
    def _explained(self, time: int, states: NDArray[Any], actions: NDArray[Any] | None) -> Iterator[None]:
        """Turn an IndexError into an error that names the rule and the agent."""
        try:
            yield
        except IndexError as error:
            stage, world, agent = (int(i) for i in self._at)
            what = str(error) if "share" in str(error) else "reads or writes outside of an array"
            whose = f"at time {time} of world {world}"
            if agent >= 0:
                whose = self._whose((world, agent), states, None if stage == OBSERVE else actions, time)
            raise ValueError(f"{self._rule(STAGES[stage])} {what} {whose}") from None


@functools.cache
def _check_kernels(rules: Rules, layout: Layout, state_dtype: np.dtype[Any]) -> dict[str, Callable[..., Any]]:
    compiled = checked_rules(rules)
    keep = _keep_rule(state_dtype)
    return {
        "start": _start_kernel(compiled, keep),
        "cells": _cells_kernel(compiled),
        "step": _step_kernel(compiled, layout, keep),
        "observe": _observe_kernel(compiled),
    }


def _keep_rule(dtype: np.dtype[Any]) -> Callable[..., Any]:
    """Make the rule that writes a state into an array, and returns whether its integers are kept unchanged."""
    names = dtype.names or ()
    lines = ["def keep(states, i, state):", "    same = True"]
    if names:
        lines.append("    record = states[i]")
    for index, name in enumerate(names or ("",)):
        kept, given = (f"record.{name}", f"state[{index}]") if names else ("states[i]", "state")
        lines.append(f"    {kept} = {given}")
        if (dtype[name] if name else dtype).kind in "iub":
            lines.append(f"    same = same and float({kept}) == float({given})")
    return rule_from("\n".join([*lines, "    return same"]), "keep")


def _start_kernel(rules: Rules, keep: Callable[..., Any]) -> Callable[..., Any]:
    start = rules.start

    @checked_kernel
    def check_start(out: Any, agents: Any, initial: Any, at: Any, seed: Any, episode: Any, world_ids: Any) -> Any:
        at[0] = START_RULE
        for w in range(len(out)):
            key = step_key(seed, world_ids[w], episode, 0, START)
            for i in range(len(agents)):
                at[1], at[2] = w, i
                if not keep(out[w], i, start(agents[i], initial, agent_key(key, i))):
                    return w * len(agents) + i
        return -1

    return check_start


def _cells_kernel(rules: Rules) -> Callable[..., Any]:
    if rules.count is not None:

        @checked_kernel
        def no_cells(states: Any, actions: Any, agents: Any, at: Any, n_cells: Any) -> Any:
            return -1, -1

        return no_cells
    cell = rules.cell
    assert cell is not None

    @checked_kernel
    def check_cells(states: Any, actions: Any, agents: Any, at: Any, n_cells: Any) -> Any:
        """Flat index of the first agent whose cell does not exist, and the cell; (-1, -1) if there is none."""
        at[0] = CELL
        for w in range(len(states)):
            for i in range(len(agents)):
                at[1], at[2] = w, i
                where = cell(states[w, i], actions[w, i], agents[i])
                if not (where >= 0 and where < n_cells):
                    return w * len(agents) + i, where
        return -1, -1

    return check_cells


def _step_kernel(rules: Rules, layout: Layout, keep: Callable[..., Any]) -> Callable[..., Any]:
    count, step = count_rule(rules, layout), rules.step
    aggregate, publish = rules.aggregate or no_aggregate, rules.publish or no_news
    cell, own_weight = own_count_rules(rules)

    @checked_kernel
    def check_step(
        states: Any,
        actions: Any,
        out: Any,
        agents: Any,
        constants: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        at: Any,
        world_ids: Any,
        time: Any,
        seed: Any,
        episode: Any,
    ) -> Any:
        """Flat index of the first agent whose next state does not fit the state's dtype, or -1.

        The next states are written to ``out``.
        """
        n_agents = len(agents)
        per_other, per_agent = float32(1.0 / (n_agents - 1)), float32(1.0 / n_agents)
        for w in range(len(states)):
            key = step_key(seed, world_ids[w], episode, time, ADVANCE)
            everyone = World(counts[w], signal[w], constants, time, -1, float32(0.0), per_other, per_agent)
            at[0], at[1], at[2] = COUNT, w, -1
            count(states[w], actions[w], agents, everyone, sums[w])
            at[0] = AGGREGATE
            aggregate(everyone, signal[w])
            at[0] = STEP
            for i in range(n_agents):
                at[2] = i
                state, action, agent = states[w, i], actions[w, i], agents[i]
                weight = float32(own_weight(state, action, agent))
                own = cell(state, action, agent)
                world = World(counts[w], signal[w], constants, time, own, weight, per_other, per_agent)
                next_state, _ = step(state, action, agent, world, agent_key(key, i))
                if not keep(out[w], i, next_state):
                    return w * n_agents + i
            at[0], at[2] = PUBLISH, -1
            publish(signal[w], constants, time + 1, agent_key(key, NOBODY))
        return -1

    return check_step


def _observe_kernel(rules: Rules) -> Callable[..., Any]:
    observe = rules.observe

    @checked_kernel
    def check_observe(
        row: Any,
        states: Any,
        agents: Any,
        constants: Any,
        signal: Any,
        at: Any,
        time: Any,
        elapsed: Any,
        low: Any,
        high: Any,
    ) -> Any:
        """Index of the first feature that is outside its bounds, or -1.

        ``at`` then holds the agent, and ``row`` its features.
        """
        at[0] = OBSERVE
        for w in range(len(states)):
            public = Public(signal[w], constants, time, elapsed)
            for i in range(len(agents)):
                at[1], at[2] = w, i
                row[:] = 0
                observe(row, states[w, i], agents[i], public)
                for k in range(len(row)):
                    # Written such that a NaN fails the comparison.
                    if not (row[k] >= low[k] and row[k] <= high[k]):
                        return k
        return -1

    return check_observe


def check_rows(
    game: FiniteGame, states: NDArray[Any], actions: NDArray[Any], signals: NDArray[np.float32], time: int
) -> None:
    """Check the transition probabilities of all agents in their current states.

    Parameters
    ----------
    states, actions:
        Shape (n_worlds, n_agents).
    signals:
        The public signals before the step, shape (n_worlds, n_signals).

    Raises
    ------
    ValueError
        If a row is not a probability vector; the message names the first such agent, state, action and row.
    """
    if game.branch is not None:
        _check_branches(game, states, actions, signals, time)
        return
    rows = np.empty((game.n_agents, game.n_states))
    counts, agents = np.empty(game.n_cells), in_double_precision(game.agents)
    for w in range(len(states)):
        signal = signals[w].astype(np.float64)
        model_kernels(game).rows(states[w], actions[w], agents, game.constants, counts, signal, time, rows)
        i = first_invalid_row(rows, PROBABILITY_TOLERANCE, -PROBABILITY_TOLERANCE)
        if i >= 0:
            raise ValueError(
                f"{type(game).__name__}.transition must return probabilities that sum to 1 over"
                f" next_state, got {shown(rows[i].tolist())} with sum {float(rows[i].sum())!r} for agent {i} in"
                f" state {states[w, i]} with action {actions[w, i]} at time {time} of world {w}"
            )


def _check_branches(
    game: FiniteGame, states: NDArray[Any], actions: NDArray[Any], signals: NDArray[np.float32], time: int
) -> None:
    check, agents = model_kernels(game).first_wrong_branch, in_double_precision(game.agents)
    assert check is not None
    counts = np.empty(game.n_cells)
    for w in range(len(states)):
        signal = signals[w].astype(np.float64)
        given = states[w], actions[w], agents, game.constants, counts, signal, time, PROBABILITY_TOLERANCE
        i, branch, successor, total = check(*given)
        if i < 0:
            continue
        where = f"for agent {i} in state {states[w, i]} with action {actions[w, i]} at time {time} of world {w}"
        if branch >= 0:
            raise ValueError(
                f"{type(game).__name__}.branch must return a next_state in [0, {game.n_states - 1}], got"
                f" {successor:g} for branch {branch} {where}"
            )
        raise ValueError(
            f"{type(game).__name__}.branch must return probabilities that sum to 1 over the branches, got a sum of"
            f" {total!r} {where}"
        )
