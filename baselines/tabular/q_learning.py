"""Q-learning in a frozen population: the inner loop of GMF-Q (Guo et al., arXiv 1901.09585), compiled.

A single agent meets a population L that does not change, so that it faces a Markov decision problem with the
transitions P(. | s, a, L) and noisy rewards. Transitions are drawn by the game's own rule ``step``, as in the
simulator, in the mean-field world of L and for an agent drawn from the game's agents: the learner does not know
the model.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.flow import FlowArrays
from mfenvs.engine.model import model_kernels
from mfenvs.engine.random import ACT, ADVANCE, START, agent_key, step_key, uniform
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.rules import World, rule

Array = NDArray[np.float64]

STEP_EXPONENT = 0.87
"""Default exponent omega of the step sizes 1 / (t + 1)^omega [R]."""

FINE, STATE, REWARD = range(3)
"""Codes that the kernels return: the game's ``step`` is right, or the part of its result that is not allowed."""


class FrozenPopulation(NamedTuple):
    """The data that a game's rules read of a population at every time, and the agents who may meet it."""

    counts: Any
    """Mass counted in each cell, shape (T, n_cells)."""
    signals: Any
    """The public signal, shape (T, n_signals)."""
    agents: Any
    """All agents' parameters, (n_agents,)."""
    constants: Any
    """The game's ``constants``."""
    initial: Any
    """The law of the first state, shape (S,)."""
    discount: Any
    """The game's discount."""


class QKernels(NamedTuple):
    """The compiled functions of a game."""

    freeze: Callable[..., Any]
    sweep: Callable[..., Any]
    walk: Callable[..., Any]


def q_kernels(game: FiniteGame) -> QKernels:
    """Q-learning's kernels for a game, shared between games of equal rules and sizes."""
    return _build(game.rules.step, model_kernels(game).count_rule)


@functools.cache
def _build(step: Callable[..., Any], count: Callable[..., Any]) -> QKernels:
    @kernel
    def freeze(population: Any, arrays: Any, counts: Any, signals: Any) -> None:
        """Write the data that rules read of a population (T, S, A)."""
        agents, shares, constants = arrays.agents, arrays.shares, arrays.constants
        for h in range(len(population)):
            count(population[h], agents, shares, constants, h, counts[h], signals[h])

    @rule
    def sample(h: Any, s: Any, a: Any, frozen: Any, key: Any, who: Any) -> Any:
        """One transition of an agent drawn from all: its next state and its reward."""
        agent = frozen.agents[int(uniform(who, 0) * np.float32(len(frozen.agents)))]
        world = World(frozen.counts[h], frozen.signals[h], frozen.constants, h, -1, 0.0, 1.0, 1.0)
        return step(s, a, agent, world, key)

    @kernel
    def sweep(q: Any, v: Any, frozen: Any, n_sweeps: Any, exponent: Any, seed: Any, stage: Any) -> Any:
        """Do synchronous sweeps on Q (T, S, A): every entry learns from one transition and the Q before the sweep.

        Returns the code of what is not allowed in a result of the game's ``step`` (FINE for nothing), the value,
        the time, the state and the action. ``v`` (T + 1, S) is scratch. Random numbers are functions of (seed,
        stage, sweep, entry).
        """
        horizon, n_states, n_actions = q.shape
        is_infinite, beyond = frozen.discount < 1.0, uint64(n_states)
        v[horizon] = 0.0
        for t in range(n_sweeps):
            rate = (t + 1.0) ** -exponent
            moves, draws = step_key(seed, stage, t, 0, ADVANCE), step_key(seed, stage, t, 0, START)
            for h in range(horizon):
                for s in range(n_states):
                    v[h, s] = greatest(q[h, s])
            for h in range(horizon):
                ahead = v[0] if is_infinite else v[h + 1]
                for s in range(n_states):
                    for a in range(n_actions):
                        entry = (h * n_states + s) * n_actions + a
                        key, who = agent_key(moves, entry), agent_key(draws, entry)
                        successor, reward = sample(h, s, a, frozen, key, who)
                        # A state below 0 is beyond all states as an unsigned number.
                        if uint64(successor) >= beyond or not math.isfinite(reward):
                            return wrong_transition(successor, reward, beyond, h, s, a)
                        target = reward + frozen.discount * ahead[successor]
                        q[h, s, a] += rate * (target - q[h, s, a])
        return FINE, 0.0, 0, 0, 0

    @kernel
    def walk(q: Any, visits: Any, frozen: Any, n_updates: Any, exponent: Any, seed: Any, stage: Any) -> Any:
        """Asynchronous Q-learning: single updates on Q (T, S, A) along the path of one agent who acts at random.

        ``visits`` (T, S, A) counts the updates of every entry, whose step is 1 / visits^exponent. Returns what
        ``sweep`` returns.
        """
        horizon, n_states, n_actions = q.shape
        is_infinite, beyond = frozen.discount < 1.0, uint64(n_states)
        h, s = 0, 0
        for t in range(n_updates):
            acts = agent_key(step_key(seed, stage, t, 0, ACT), 0)
            if t == 0 or (not is_infinite and h == horizon):
                h, s, draw = 0, 0, uniform(acts, 0)
                reached = frozen.initial[0]
                while s < n_states - 1 and draw >= reached:
                    s += 1
                    reached += frozen.initial[s]
            a = int(uniform(acts, 1) * np.float32(n_actions))
            key = agent_key(step_key(seed, stage, t, 0, ADVANCE), 0)
            who = agent_key(step_key(seed, stage, t, 0, START), 0)
            successor, reward = sample(h, s, a, frozen, key, who)
            if uint64(successor) >= beyond or not math.isfinite(reward):
                return wrong_transition(successor, reward, beyond, h, s, a)
            target = np.float64(reward)
            if is_infinite:
                target += frozen.discount * greatest(q[0, successor])
            elif h + 1 < horizon:
                target += greatest(q[h + 1, successor])
            visits[h, s, a] += 1
            q[h, s, a] += visits[h, s, a] ** -exponent * (target - q[h, s, a])
            s = successor
            if not is_infinite:
                h += 1
        return FINE, 0.0, 0, 0, 0

    return QKernels(freeze, sweep, walk)


@rule
def wrong_transition(successor: Any, reward: Any, beyond: Any, h: Any, s: Any, a: Any) -> Any:
    """The code of what is not allowed in a transition, its value, the time, the state and the action."""
    if uint64(successor) >= beyond:
        return STATE, np.float64(successor), h, s, a
    return REWARD, np.float64(reward), h, s, a


@rule
def greatest(values: Any) -> Any:
    """The largest of a vector's values."""
    best = values[0]
    for value in values:
        best = max(best, value)
    return best


def freeze(induced: InducedGame, population: ArrayLike, arrays: FlowArrays | None = None) -> FrozenPopulation:
    """Freeze a population (T, S, A): compute what a game's rules read of it at every time."""
    game, arrays = induced.game, induced.flow_arrays() if arrays is None else arrays
    counts = np.empty((induced.n_times, game.n_cells))
    signals = np.empty((induced.n_times, game.n_signals))
    law = induced.population("population", population)
    q_kernels(game).freeze(law, arrays, counts, signals)
    agents = game.agents.view(np.ndarray)
    return FrozenPopulation(counts, signals, agents, game.constants, induced.initial, game.discount)


def q_learning(
    induced: InducedGame,
    population: ArrayLike,
    n_iterations: int,
    *,
    asynchronous: bool = False,
    step_exponent: float = STEP_EXPONENT,
    seed: int = 0,
    stage: int = 0,
) -> Array:
    """Learn the optimal Q of an agent in a frozen population from sampled transitions.

    Parameters
    ----------
    induced:
        The mean-field game.
    population:
        The population L: a distribution over states and actions at every time, shape (T, S, A).
    n_iterations:
        Number of sweeps, each of which samples one transition for every (h, s, a) [R]; if ``asynchronous``, number
        of single updates.
    asynchronous:
        Update along the path of one agent who acts uniformly at random [O on its behaviour].
    step_exponent:
        Exponent omega in (1/2, 1]: steps are 1 / (t + 1)^omega at sweep t, or at the t-th visit of an entry.
    seed, stage:
        Random seed, and the number of the population: with equal pairs the same transitions are drawn.

    Returns
    -------
    Q, shape (T, S, A), learned from zeros. In a game that ends, the target of Q_h is undiscounted and uses
    Q_{h+1}.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game's ``step`` returns a state that does not exist or a reward that
        is not finite, or Q values overflow.
    """
    n = checks.integer("n_iterations", n_iterations, 1)
    exponent = checks.real("step_exponent", step_exponent, 0.5, 1.0, exclude_low=True)
    seed, stage = checks.integer("seed", seed, 0, 2**63 - 1), checks.integer("stage", stage, 0)
    frozen, kernels = freeze(induced, population), q_kernels(induced.game)
    q = np.zeros(induced.policy_shape)
    if asynchronous:
        found = kernels.walk(q, np.zeros(q.shape, np.int64), frozen, n, exponent, seed, stage)
    else:
        v = np.empty((induced.n_times + 1, induced.n_states))
        found = kernels.sweep(q, v, frozen, n, exponent, seed, stage)
    refuse_transition(induced.game, *found)
    if not np.isfinite(q).all():
        raise ValueError(f"the Q values of {type(induced.game).__name__} overflow: its rewards are too large")
    return q


def refuse_transition(game: FiniteGame, wrong: int, value: float, time: int, state: int, action: int) -> None:
    """Raise the ValueError for what a kernel returned, unless that was FINE."""
    kind, where = type(game).__name__, f"at time {time}, in state {state} with action {action}"
    if wrong == STATE:
        raise ValueError(f"{kind}.step must return a state in [0, {game.n_states - 1}], got {value:g} {where}")
    if wrong == REWARD:
        raise ValueError(f"{kind}'s reward must be finite, got {value:g} {where}")
