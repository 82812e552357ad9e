"""Conformance tests of a game's rules: what they compute, and where their random numbers come from.

Every test raises an error if it fails.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from mfenvs.conformance.subject import Subject
from mfenvs.engine.counting import own_count_rules
from mfenvs.engine.engine import Engine
from mfenvs.engine.snapshot import Snapshot
from mfenvs.finite_game import FiniteGame
from mfenvs.rules import World, plain

N_EPISODES = 2

NOT_DETERMINED = (
    "differ between two runs with one seed: rules must draw random numbers from their key only, and remember"
    " nothing between their calls"
)

LAW_WORLDS = 20_000
"""Number of worlds in which a step is repeated to compare its results with their law."""
LAW_TIMES = 4
"""Largest number of times of an episode at which they are compared."""
LAW_ERROR = 1e-7
"""Probability with which a game whose steps follow their law fails the test (at most; numbers of single precision
are taken as exact)."""


def debug_mode(subject: Subject) -> None:
    """Episodes of random actions in debug mode, which checks what :class:`mfenvs.Engine` says."""
    engine = Engine(subject.game, 2, debug=True)
    for episode in range(N_EPISODES):
        engine.reset(0 if episode == 0 else None)
        while engine.is_playing:
            _look(engine)
            engine.step(engine.random_actions())
        _look(engine)


def action_masks(subject: Subject) -> None:
    """Action masks allow every agent an action, at all times of episodes of random actions."""
    engine = subject.engine(2)
    for episode in range(N_EPISODES):
        engine.reset(0 if episode == 0 else None)
        while engine.is_playing:
            stuck = ~engine.action_masks().any(axis=2)
            if stuck.any():
                world, agent = (int(i) for i in np.argwhere(stuck)[0])
                raise AssertionError(
                    f"the rule allowed must allow an action, but allows none for agent {agent} in state"
                    f" {engine.states[world, agent]} at time {engine.time} of world {world}"
                )
            engine.step(engine.random_actions())


def seeds(subject: Subject) -> None:
    """The seed and a world's id determine its trajectory, whatever is simulated beside it.

    The test fails if a rule draws random numbers by ``np.random``, or remembers something between its calls.
    """
    n_worlds = 3
    together = subject.engine(n_worlds)
    alone = [subject.engine(1, first_world=world) for world in range(n_worlds)]
    for episode in range(N_EPISODES):
        seed = 0 if episode == 0 else None
        for engine in (together, *alone):
            engine.reset(seed)
        _compare(together, alone)
        while together.is_playing:
            actions = together.random_actions()
            rewards = together.step(actions)
            for world, engine in enumerate(alone):
                earned = engine.step(actions[world : world + 1])
                where = f"at time {engine.time - 1} of world {world}"
                assert np.array_equal(rewards[world], earned[0]), f"the rewards {where} {NOT_DETERMINED}"
            _compare(together, alone)


def _compare(together: Engine, alone: list[Engine]) -> None:
    """Check that worlds in one engine are the same as worlds in an engine each."""
    seen = together.observe()
    for world, engine in enumerate(alone):
        for what, batch, own in (
            ("the states", together.states[world], engine.states[0]),
            ("the public signal", together.signal[world], engine.signal[0]),
            ("the observations", seen[world], engine.observe()[0]),
        ):
            assert np.array_equal(batch, own), f"{what} at time {engine.time} of world {world} {NOT_DETERMINED}"


def step_follows_its_law(subject: Subject) -> None:
    """A finite game's own rule ``step`` draws from its ``transition``, and earns its ``reward`` in the mean.

    One step from one profile of states and actions is simulated in many worlds. A game whose step follows its law
    fails with probability ``LAW_ERROR`` at most.
    """
    game = subject.game
    assert isinstance(game, FiniteGame)
    played = subject.engine(1)
    played.reset(seed=1)
    times = np.unique(np.linspace(0, game.horizon - 1, LAW_TIMES).astype(int))
    n_comparisons = len(times) * game.n_agents * (game.n_states + 1)
    while played.is_playing:
        states, actions, time = played.states[0].copy(), played.random_actions()[0], played.time
        if time in times:
            _compare_with_law(subject, states, actions, time, LAW_ERROR / n_comparisons)
        played.step(actions[None])


def _compare_with_law(
    subject: Subject, states: NDArray[Any], actions: NDArray[Any], time: int, error: float
) -> None:
    game = subject.game
    assert isinstance(game, FiniteGame)
    engine = subject.engine(LAW_WORLDS)
    placed = np.broadcast_to(states, (LAW_WORLDS, game.n_agents)).astype(game.state_dtype)
    engine.restore(Snapshot(seed=2, episode=0, time=time, states=placed))
    rewards = engine.step(np.broadcast_to(actions, placed.shape)).astype(np.float64)
    for agent, mine in enumerate(_rule_arguments(game, engine, states, actions, time)):
        who = f"agent {agent} in state {states[agent]} with action {actions[agent]} at time {time}"
        row = [float(plain(game.transition)(successor, *mine)) for successor in range(game.n_states)]
        chances = np.clip(row, 0.0, 1.0)  # in which it is only nearly
        counts = np.bincount(engine.states[:, agent], minlength=game.n_states)
        at_most, at_least = bdtr(counts, LAW_WORLDS, chances), bdtrc(counts - 1, LAW_WORLDS, chances)
        worst = int(np.minimum(at_most, at_least).argmin())
        assert min(at_most[worst], at_least[worst]) >= error / 2, (
            f"the rule step must draw the next state from transition: {who} came to state {worst} in"
            f" {counts[worst]} of {LAW_WORLDS} worlds, and should with probability {chances[worst]:.4g}"
        )
        earned, expected = rewards[:, agent], float(plain(game.expected_reward)(*mine))
        # Maurer & Pontil's empirical Bernstein bound (2009, Theorem 4), with the range that was seen.
        log, width = math.log(4 / error), float(max(np.ptp(earned), 1e-2))
        allowed = math.sqrt(2 * earned.var(ddof=1) * log / LAW_WORLDS) + 7 * width * log / (3 * (LAW_WORLDS - 1))
        allowed += 1e-5 * (width + abs(expected))  # single precision
        assert abs(earned.mean() - expected) <= allowed, (
            f"the rule step must earn reward in the mean: {who} earned {earned.mean():.6g} in the mean of"
            f" {LAW_WORLDS} worlds, and {expected:.6g} by reward"
        )


def _rule_arguments(
    game: FiniteGame, engine: Engine, states: NDArray[Any], actions: NDArray[Any], time: int
) -> Iterator[tuple[Any, ...]]:
    """What the rules of every agent were given in the engine's last step: state, action, agent and world."""
    counts, signal = engine.counts[0].astype(np.float64), engine.signal[0].astype(np.float64)
    if game.public_chain is not None:
        signal[-1] = 0.0  # The public state of the step: that of a snapshot without a signal.
    cell, weight = (plain(function) for function in own_count_rules(game.rules))
    per = 1.0 / (game.n_agents - 1), 1.0 / game.n_agents
    for state, action, agent in zip(states.tolist(), actions.tolist(), game.agents, strict=True):
        own = cell(state, action, agent), float(weight(state, action, agent))
        yield state, action, agent, World(counts, signal, game.constants, time, *own, *per)


def _look(engine: Engine) -> None:
    """Compute all that APIs show of an engine."""
    engine.observe()
    if engine.game.rules.place is not None:
        engine.occupancy()
