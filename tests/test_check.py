"""``mfenvs.check`` reports faults that were planted in a game, and none where there is none."""

import dataclasses
import importlib.util
import random
import re
import warnings
from typing import ClassVar

import gymnasium
import numba
import numpy as np
import pytest

import mfenvs
from mfenvs import FiniteGame, Game, crowd, rule
from mfenvs.conformance import rules
from mfenvs.conformance.check import TESTS, ConformanceTest
from mfenvs.conformance.subject import Subject
from mfenvs.engine.random import uniform

SOUND, TOO_BRIGHT, UNSEEDED, INFINITE, STUCK = range(5)


@numba.njit
def unseeded():
    """A draw that :func:`mfenvs.rule` does not see."""
    return random.random()


@dataclasses.dataclass(kw_only=True)
class Suspect(Game):
    """Agents walk at random over three places; the rules have the fault ``fault``, if any."""

    n_agents: int = 4
    horizon: int = 4
    fault: int = SOUND
    fewest: int = 2
    agent_dtype: ClassVar[np.dtype] = mfenvs.game.NO_PARAMETERS
    state_dtype: ClassVar[np.dtype] = np.dtype(np.int32)
    n_cells = 3
    n_features = 2
    action_space = gymnasium.spaces.Discrete(2)

    def check(self):
        super().check()
        mfenvs.checks.integer("n_agents", self.n_agents, self.fewest)

    @property
    def constants(self):
        return (self.fault,)

    @staticmethod
    @rule
    def start(agent, initial, key):
        return int(uniform(key, 0) * 3)

    @staticmethod
    @rule
    def cell(state, action, agent):
        return state

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        fault = world.constants[0]
        draw = unseeded() if fault == UNSEEDED else uniform(key, 0)
        reward = np.float32(np.inf) if fault == INFINITE and world.time == 2 else crowd(world, state)
        return (state + int(draw * 2) + action) % 3, reward

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = 1.5 if public.constants[0] == TOO_BRIGHT and public.time == 3 else state / 2
        out[1] = public.elapsed

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return not (public.constants[0] == STUCK and state == 2)


@dataclasses.dataclass(kw_only=True)
class Drifting(FiniteGame):
    """The next state is 1 with probability .4, and the reward is .5 in the mean, but for what ``step`` adds."""

    n_agents: int = 3
    horizon: int = 3
    drift: float = 0.0
    bonus: float = 0.0
    leak: float = 0.0
    n_states = 3
    n_actions = 2
    agent_dtype: ClassVar[np.dtype] = mfenvs.game.NO_PARAMETERS

    @property
    def constants(self):
        return np.float32(self.drift), np.float32(self.bonus), np.float32(self.leak)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 0.6 if next_state == 0 else (0.4 if next_state == 1 else 0.0)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 0.5

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        chance = 0.4 + world.constants[0] * world.time
        draw = uniform(key, 0)
        next_state = 1 if draw < chance else (2 if draw > 1.0 - world.constants[2] else 0)
        return next_state, uniform(key, 1) + world.constants[1]


@pytest.fixture(scope="module")
def report():
    """The report on a game with a fault, made once."""
    found = {}

    def of(fault):
        if fault not in found:
            found[fault] = mfenvs.check(Suspect(fault=fault), quiet=True)
        return found[fault]

    return of


def failures(report):
    return {result.name: result.reason for result in report.failed}


def test_a_sound_game_passes(report):
    found = report(SOUND)
    assert failures(found) == {}
    assert [result.name for result in found.results] == [test.name for test in TESTS]
    skipped = {result.name: result.reason for result in found.skipped}
    assert skipped.pop("rules: step follows its law") == "the game is not a FiniteGame"
    if importlib.util.find_spec("torchrl") is None:
        assert skipped.pop("TorchRL: check_env_specs") == "torchrl is not installed"
    assert skipped == {}
    assert all(result.remarks == () for result in found.results)
    assert found.changes == ()


def test_observations_outside_their_space(report):
    found = failures(report(TOO_BRIGHT))
    message = (
        r"ValueError: the rule observe of Suspect must write what is in the observation space: out\[0\] must be in"
        r" \[0, 1\], got 1.5 for agent 0 in state \d at time 3 of world 0"
    )
    assert re.fullmatch(message, found["rules: debug mode"])
    assert {"PettingZoo: parallel_api_test", "PettingZoo: api_test", "gymnasium: vector environment"} <= set(found)


def test_chance_that_does_not_come_from_the_seed(report):
    """Two runs agree with probability 2^-96: 4 agents, 4 steps, 2 episodes, 3 worlds."""
    found = failures(report(UNSEEDED))
    message = (
        r"the (states|rewards) at time \d of world \d differ between two runs with one seed: rules must draw .*"
    )
    assert re.fullmatch(message, found["rules: same seed, same trajectory"])
    assert "rules: debug mode" not in found
    assert "rules: action masks" not in found


def test_rewards_that_are_not_finite(report):
    found = failures(report(INFINITE))
    message = r"ValueError: the rewards of Suspect must be finite, got inf for agent 0 in .* at time 2 of world 0"
    assert re.fullmatch(message, found["rules: debug mode"])


def test_masks_that_allow_nothing(report):
    message = (
        r"the rule allowed must allow an action, but allows none for agent \d in state 2 at time \d of world \d"
    )
    found = failures(report(STUCK))
    assert set(found) == {"rules: action masks"}
    assert re.fullmatch(message, found["rules: action masks"])


def test_warnings_are_kept_but_for_advice(monkeypatch):
    def warn(subject):
        warnings.warn("\x1b[33mThe reward is odd\x1b[0m", stacklevel=1)
        warnings.warn("For Box action spaces, we recommend using a symmetric and normalized space", stacklevel=1)

    monkeypatch.setattr("mfenvs.conformance.check.TESTS", (ConformanceTest("warns", warn),))
    found = mfenvs.check(Suspect(), quiet=True)
    assert found.passed[0].remarks == ("The reward is odd",)
    assert "passed  warns\n        warning: The reward is odd\n" in str(found)


class TestLaws:
    """A sound game fails with probability 1e-7; the faults are 8 standard errors or more."""

    @pytest.mark.parametrize("bonus", [0.0, 1e-4])
    def test_a_step_that_follows_its_law(self, bonus):
        """A bonus far below the standard error of a mean (.002) is not seen."""
        rules.step_follows_its_law(Subject(Drifting(bonus=bonus)))

    def test_another_law_of_the_next_state(self):
        """At time 1 the next state is 1 with probability .43: .03 is 8.7 standard errors."""
        message = (
            r"the rule step must draw the next state from transition: agent 0 in state \d with action \d at time 1"
            r" came to state [01] in \d+ of 20000 worlds, and should with probability 0.[46]"
        )
        with pytest.raises(AssertionError, match=f"^{message}$"):
            rules.step_follows_its_law(Subject(Drifting(drift=0.03)))

    def test_a_state_that_cannot_come(self):
        """About 20 of 20000 agents come to state 2: too few for a lack in another state."""
        message = r"agent 0 .* at time 0 came to state 2 in \d+ of 20000 worlds, and should with probability 0$"
        with pytest.raises(AssertionError, match=message):
            rules.step_follows_its_law(Subject(Drifting(leak=1e-3)))

    def test_another_mean_reward(self):
        message = r"must earn reward in the mean: agent 0 .* at time 0 earned 0.5[23]\d* in .* and 0.5 by reward"
        with pytest.raises(AssertionError, match=message):
            rules.step_follows_its_law(Subject(Drifting(bonus=0.03)))


def test_the_report_is_printed_and_raised(report, capsys):
    fault = Suspect(fault=STUCK)
    printed = mfenvs.check(fault)
    out = capsys.readouterr().out
    assert out == f"{printed}\n"
    lines = out.splitlines()
    assert lines[0] == "Suspect with 4 agents and a horizon of 4"
    assert lines[1] == "passed  rules: debug mode"
    assert any(line.startswith("failed  rules: action masks: the rule allowed must") for line in lines)
    n_passed, n_skipped = len(printed.passed), len(printed.skipped)
    assert lines[-1] == f"{n_passed} passed, 1 failed, {n_skipped} skipped"
    with pytest.raises(AssertionError, match="failed  rules: action masks"):
        mfenvs.check(fault, raise_on_failure=True)
    assert capsys.readouterr().out == ""


def test_large_games_are_made_smaller(monkeypatch):
    monkeypatch.setattr("mfenvs.conformance.check.TESTS", ())
    found = mfenvs.check(Suspect(n_agents=500, horizon=90, fewest=5), quiet=True)
    assert (found.game.n_agents, found.game.horizon) == (10, 20)
    assert found.changes == (
        "n_agents is 10 in place of 500, for the tests' sake",
        "horizon is 20 in place of 90, for the tests' sake",
    )
    found = mfenvs.check(Suspect(n_agents=500, horizon=90, fewest=400), max_horizon=None, quiet=True)
    assert (found.game.n_agents, found.game.horizon) == (500, 90)
    assert found.changes == (
        "n_agents stays 500, since 10 is not allowed: n_agents must be an integer >= 400, got 10",
    )
    found = mfenvs.check("Epidemic-v0", n_agents=7, horizon=9, quiet=True)
    assert (found.game.n_agents, found.game.horizon, found.changes) == (7, 9, ())


def test_what_is_not_installed_is_skipped(monkeypatch):
    needing = tuple(test for test in TESTS if test.package is not None)
    monkeypatch.setattr("mfenvs.conformance.check.TESTS", needing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = mfenvs.check(Suspect(), quiet=True)
    assert [result.reason for result in found.skipped] == [f"{test.package} is not installed" for test in needing]
    assert len(found.skipped) == 2


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"max_agents": 1}, ValueError, "max_agents must be an integer >= 2, got 1"),
        ({"max_horizon": 0.5}, TypeError, "max_horizon must be an integer >= 1, got 0.5"),
        ({"quiet": "no"}, TypeError, "quiet must be True or False, got 'no'"),
        ({"raise_on_failure": 1}, TypeError, "raise_on_failure must be True or False, got 1"),
        ({"n_agents": 3}, ValueError, "cannot be set on a game that is already made"),
        ({"observe": "nothing"}, ValueError, "observe must be among"),
    ],
)
def test_arguments_that_are_not_allowed(kwargs, error, message):
    with pytest.raises(error, match=re.escape(message)):
        mfenvs.check(Suspect(), **kwargs)
