"""Rewards on arrival and at the horizon, rules that read the time, and masked actions: by hand and brute force."""

import dataclasses
import doctest
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracles import deterministic_policies

import mfenvs.finite_game
from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import Engine, FiniteGame, InducedGame, n_player_exploitability, rule
from mfenvs.game import NO_PARAMETERS

H, S, A = 2, 3, 2


@rule
def goal(state: Any, action: Any, world: Any) -> Any:
    return (state + action + world.time) % S


@rule
def to_goal(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    return goal(state, action, world), 1.0


@rule
def at_goal(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    return 1.0 if next_state == goal(state, action, world) else 0.0


@dataclasses.dataclass(kw_only=True)
class Journey(FiniteGame):
    """From s one goes to s + a + h modulo 3, and earns what is said below: nothing is left to chance."""

    n_agents: int = 4
    horizon: int = H
    start_in: int = 0
    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    n_states = S
    n_actions = A

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 0.25 * world.time - 0.5 * action

    @staticmethod
    @rule
    def arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 2.0 * next_state + (1.0 if next_state == state else 0.0)

    @staticmethod
    @rule
    def terminal(state: Any, agent: Any, world: Any) -> Any:
        return 8.0 if state == 1 else 0.0

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return action == 1 or (state > 0 and public.time == 0)

    @property
    def initial_distribution(self) -> np.ndarray:
        return np.eye(S)[self.start_in]


@dataclasses.dataclass(kw_only=True)
class JourneyByBranches(Journey):
    n_branches = 1
    branch = staticmethod(to_goal)


@dataclasses.dataclass(kw_only=True)
class JourneyByRows(Journey):
    transition = staticmethod(at_goal)


def total(state: int, actions: tuple[int, ...]) -> float:
    """What a journey earns, step by step."""
    earned = 0.0
    for h, action in enumerate(actions):
        after = (state + action + h) % S
        earned += 0.25 * h - 0.5 * action + 2 * after + (after == state) + 8 * (h == H - 1 and after == 1)
        state = after
    return earned


def is_allowed(state: int, action: int, h: int) -> bool:
    return action == 1 or (state > 0 and h == 0)


kinds = pytest.mark.parametrize("kind", [JourneyByBranches, JourneyByRows])


@pytest.mark.parametrize("kind", [pytest.param(JourneyByBranches, marks=pytest.mark.slow), JourneyByRows])
def test_everybody_earns_what_the_rules_say(kind):
    for first in range(S):
        game = kind(start_in=first)
        induced = InducedGame(game, sparse=first == 1 and kind is JourneyByBranches)
        for policy in deterministic_policies(H, S, A):
            second = (first + int(policy[0, first].argmax())) % S
            actions = int(policy[0, first].argmax()), int(policy[1, second].argmax())
            assert induced.value(policy) == pytest.approx(total(first, actions), abs=1e-12)
        run = Engine(game).rollout(policy, seed=0)
        assert_allclose(run.returns, total(first, actions))


def test_by_hand():
    """From 0 by 0 to 0 and by 1 to 2; from 1 by 1 to 2 and by 1 to 1."""
    assert total(0, (0, 1)) == 4.75
    assert total(1, (1, 1)) == -0.5 + 4 + 0.25 - 0.5 + 2 + 8


def test_the_best_that_is_allowed():
    for first in range(S):
        induced = InducedGame(JourneyByBranches(start_in=first), sparse=first == 1)
        uniform = induced.uniform_policy()
        mask = np.array([[[is_allowed(s, a, h) for a in range(A)] for s in range(S)] for h in range(H)])
        assert_allclose(uniform, mask / mask.sum(axis=-1, keepdims=True))
        ways = [
            (a, b) for a, b in np.ndindex(A, A) if is_allowed(first, a, 0) and is_allowed((first + a) % S, b, 1)
        ]
        best = max(total(first, way) for way in ways)
        found = induced.flow(uniform)
        answer = induced.best_response(found)
        assert not (answer[~mask] > 0).any()
        assert induced.value(answer) == pytest.approx(best, abs=1e-12)
        assert induced.exploitability(uniform) == pytest.approx(best - induced.value(uniform), abs=1e-12)
        assert (induced.optimal_q(found)[~mask] == -np.inf).all()
        soft = induced.best_response(found, temperature=0.5)
        assert ((soft > 0) == mask).all()


@pytest.mark.slow
def test_solvers_take_no_masked_action():
    for solver in (OnlineMirrorDescent, FictitiousPlay):
        trained = solver(JourneyByBranches())
        trained.run(30)
        mask = np.array([[[is_allowed(s, a, h) for a in range(A)] for s in range(S)] for h in range(H)])
        assert not (trained.policy.probabilities[~mask] > 0).any()
        assert trained.induced.exploitability(trained.policy) < 0.3


def test_a_policy_that_gains_by_masked_actions_is_refused():
    """From 0 the masked action leads to 0 and, once more, to 1."""
    induced = InducedGame(JourneyByBranches())
    policy = induced.uniform_policy()
    policy[:, 0] = [1.0, 0.0]
    assert total(0, (1, 1)) == 1.25
    assert total(0, (0, 0)) == 1 + 0.25 + 2 + 8
    message = r"actions that the rule allowed of JourneyByBranches masks, and gains by them: its value is 11\.25,"
    with pytest.raises(ValueError, match=message + r" that of a best response by allowed actions 1\.25"):
        induced.exploitability(policy)


def test_among_n_agents_arrivals_and_the_end_count():
    """Nobody meets anybody: the gain of a best response is that in the mean-field game without masks."""
    game = JourneyByRows(start_in=1)
    policy = np.full(game.policy_shape, 0.5)
    found = n_player_exploitability(game, policy, n_worlds=4)
    ways = [total(1, way) for way in np.ndindex(A, A)]
    assert found.max == pytest.approx(max(ways) - np.mean(ways), abs=1e-6)


@dataclasses.dataclass(kw_only=True)
class Paid(FiniteGame):
    """One state and action, which pay .7 and agents' pulls, of .1 and .3 by turns."""

    n_agents: int = 4
    horizon: int = 1
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("pull", np.float64)])
    n_states = 1
    n_actions = 1
    constants = (0.7,)

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return agent.pull + world.constants[0]

    def draw_agents(self, rng: np.random.Generator) -> np.ndarray:
        return np.resize([0.1, 0.3], self.n_agents).astype(self.agent_dtype)


def test_double_precision_is_kept():
    """In single precision the mean would be off by 1e-8."""
    induced = InducedGame(Paid())
    assert abs(induced.value(induced.uniform_policy()) - 0.9) < 1e-15


def test_an_infinite_game_has_no_end():
    with pytest.raises(TypeError, match=r"goes on for ever, and must not declare the rule terminal\(state, agent"):
        JourneyByRows(discount=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("documented", [mfenvs.finite_game, FiniteGame])
def test_documented_examples(documented):
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, "example", globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
    assert len(example.examples) > 3
