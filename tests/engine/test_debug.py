"""Debug mode finds what rules do outside of their arrays, and names the rule and the agent."""

import dataclasses
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

import mfenvs
from mfenvs import Engine, FiniteGame, Game, crowd, rule, share
from mfenvs.engine.checked_rules import checked
from mfenvs.rules import World

NO_CELL, CELL_BEHIND, SHARE_BEFORE, CROWD_BEHIND, NO_INTEGER, TOO_LARGE, TOO_BRIGHT, NAN_SEEN = range(1, 9)
SEEN_BEHIND, READ_BEHIND, START_BETWEEN, SIGNAL_BEHIND = range(9, 13)


@dataclasses.dataclass(kw_only=True)
class Faulty(Game):
    """Agents stay where they are; the rules of agent 2 have the fault ``fault``, if any."""

    n_agents: int = 4
    horizon: int = 3
    fault: int = 0
    agent_dtype: ClassVar[np.dtype] = np.dtype([("fault", np.int32)])
    state_dtype: ClassVar[np.dtype] = np.dtype(np.uint8)
    n_cells = 20
    n_features = 2
    n_signals = 1
    action_space = gymnasium.spaces.Discrete(2)

    @property
    def constants(self):
        return self.fault, np.arange(3, dtype=np.float32)

    def draw_agents(self, rng):
        agents = np.zeros(self.n_agents, self.agent_dtype)
        agents["fault"][2] = self.fault
        return agents

    @staticmethod
    @rule
    def start(agent, initial, key):
        return np.float32(0.5) if agent.fault == START_BETWEEN else np.float32(3.0)

    @staticmethod
    @rule
    def cell(state, action, agent):
        return -1 if agent.fault == NO_CELL else (20 if agent.fault == CELL_BEHIND else state)

    @staticmethod
    @rule
    def aggregate(world, signal):
        entry = 1 if world.constants[0] == SIGNAL_BEHIND else 0
        signal[entry] = crowd(world, 3)

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        others = share(world, -1 if agent.fault == SHARE_BEFORE else 3)
        everyone = crowd(world, 20 if agent.fault == CROWD_BEHIND else 3)
        read = world.constants[1][3 if agent.fault == READ_BEHIND else 0]
        next_state = np.float32(0.7 if agent.fault == NO_INTEGER else (300.0 if agent.fault == TOO_LARGE else 3.0))
        return next_state, others + everyone + read

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        bright = np.float32(1.5) if agent.fault == TOO_BRIGHT else np.float32(0.5)
        out[2 if agent.fault == SEEN_BEHIND else 1] = np.float32(np.nan) if agent.fault == NAN_SEEN else bright


def started(fault, debug=True):
    engine = Engine(Faulty(fault=fault), 2, debug=debug)
    engine.reset(seed=0)
    return engine


ACTIONS = np.ones((2, 4), int)
WHOSE = "for agent 2 in state 3 with action 1 at time 0 of world 0"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (NO_CELL, rf"^the rule cell of Faulty must return a cell in \[0, 19\], got -1 {WHOSE}"),
        (CELL_BEHIND, rf"^the rule cell of Faulty must return a cell in \[0, 19\], got 20 {WHOSE}"),
        (SHARE_BEFORE, rf"^the rule step of Faulty asked share or crowd for a cell that is not in .* {WHOSE}"),
        (CROWD_BEHIND, rf"^the rule step of Faulty asked share or crowd for a cell that is not in .* {WHOSE}"),
        (READ_BEHIND, rf"^the rule step of Faulty reads or writes outside of an array {WHOSE}"),
        (NO_INTEGER, rf"^the rule step of Faulty must return a state of dtype uint8, .*become 0\) {WHOSE}"),
        (TOO_LARGE, rf"^the rule step of Faulty must return a state of dtype uint8, .* {WHOSE}"),
        (SIGNAL_BEHIND, "^the rule aggregate of Faulty reads or writes outside of an array at time 0 of world 0"),
    ],
)
def test_a_faulty_step_is_refused_before_anything_has_moved(fault, message):
    engine = started(fault)
    before = engine.states.copy(), engine.signal.copy(), engine.counts.copy()
    with pytest.raises(ValueError, match=message):
        engine.step(ACTIONS)
    assert engine.time == 0
    for now, then in zip((engine.states, engine.signal, engine.counts), before, strict=True):
        assert np.array_equal(now, then)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            TOO_BRIGHT,
            r"must write what is in the observation space: out\[1\] must be in \[0, 1\], got 1.5 for agent 2",
        ),
        (
            NAN_SEEN,
            r"must write what is in the observation space: out\[1\] must be in \[0, 1\], got nan for agent 2",
        ),
        (SEEN_BEHIND, r"reads or writes outside of an array for agent 2 in state 3 at time 0 of world 0"),
    ],
)
def test_observations_outside_their_space_are_refused(fault, message):
    engine = started(fault)
    out = np.full((2, 4, 2), 7.0, np.float32)
    with pytest.raises(ValueError, match=rf"^the rule observe of Faulty {message}"):
        engine.observe(out)
    assert (out == 7.0).all()


def test_a_start_between_two_states_is_refused():
    engine = Engine(Faulty(fault=START_BETWEEN), debug=True)
    with pytest.raises(
        ValueError, match=r"^the rule start of Faulty must return a state .* for agent 2 of world 0"
    ):
        engine.reset(seed=0)
    assert (engine.episode, engine.is_playing) == (-1, False)


def test_what_is_right_passes_and_is_the_same():
    engines = started(0), started(0, debug=False)
    for _ in range(3):
        one, other = (engine.step(ACTIONS) for engine in engines)
        assert np.array_equal(one, other)
        assert np.array_equal(*(engine.observe() for engine in engines))
    assert one.tolist() == [[2.0] * 4] * 2  # the share of the others, and of all, who are in state 3


@dataclasses.dataclass(kw_only=True)
class OutOfRange(FiniteGame):
    """A finite game whose reward asks for a cell of its four by a formula of another size."""

    n_agents: int = 3
    horizon: int = 2
    agent_dtype: ClassVar[np.dtype] = np.dtype([("unused", np.float32)])
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return share(world, 4 * state + action)


def test_rules_of_which_a_step_is_made_are_checked_too():
    engine = Engine(OutOfRange(), debug=True)
    assert (engine.reset(seed=0) == 1).any()
    message = r"^the rule step of OutOfRange asked share or crowd for a cell .* in state 1 with action 1"
    with pytest.raises(ValueError, match=message):
        engine.step(np.array([[1, 1, 1]]))


@rule
def by_module(world, cell):
    return mfenvs.share(world, cell) + mfenvs.rules.crowd(world, cell - 1)


def test_rules_are_found_in_modules():
    numbers = np.array([2.0, 1.0], np.float32)
    world = World(numbers, numbers, (), 0, -1, np.float32(0), np.float32(0.5), np.float32(0.25))
    assert checked(by_module)(world, 1) == 0.5 + 0.5
    for cell in (2, 0):
        with pytest.raises(IndexError, match="asked share or crowd for a cell"):
            checked(by_module)(world, cell)
    assert mfenvs.share is share
