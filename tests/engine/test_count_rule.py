"""Games that count by a rule of their own, against the same game counted by cells.

What is counted by cells is tested against oracles elsewhere: here two ways through the engine must agree.
"""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs import Engine, FiniteGame, InducedGame, crowd, n_player_exploitability, rule
from mfenvs.games.epidemic import Epidemic


@dataclasses.dataclass(kw_only=True)
class ByCells(FiniteGame):
    """Three places; a crowd, of different weights, makes one's own poorer and drives people on."""

    n_agents: int = 7
    horizon: int = 3
    agent_dtype = np.dtype([("weight", np.float32)])
    n_states = 3
    n_actions = 2
    n_signals = 1

    def draw_agents(self, rng):
        agents = np.zeros(self.n_agents, self.agent_dtype)
        agents["weight"] = np.resize([0.5, 1.0, 2.0], self.n_agents)
        return agents

    @staticmethod
    @rule
    def weight(state, action, agent):
        return agent.weight

    @staticmethod
    @rule
    def aggregate(world, signal):
        signal[0] = crowd(world, 1) + crowd(world, 3) + crowd(world, 5)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        moves = 0.25 + 0.25 * min(world.signal[0], 1.0) if action == 1 else world.signal[0] * 0 + 0.25
        ahead = (state + 1) % 3
        return moves if next_state == ahead else (1 - moves if next_state == state else moves * 0)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 0.5 * state - agent.weight * crowd(world, 2 * state + action) + 0.25 * action * world.signal[0]


@dataclasses.dataclass(kw_only=True)
class ByRule(ByCells):
    """The same, each agent counted in two halves."""

    weight = None
    n_cells = 6

    @staticmethod
    @rule
    def count(counts, mass, state, action, agent, world):
        counts[2 * state + action] += 0.25 * mass * agent.weight
        counts[2 * state + action] += 0.75 * mass * agent.weight


class ByCellsOfOneWeight(ByCells):
    def draw_agents(self, rng):
        return np.full(self.n_agents, 0.7, np.float32).view(self.agent_dtype)


class ByRuleOfOneWeight(ByRule):
    draw_agents = ByCellsOfOneWeight.draw_agents


class ByFewCells(ByCellsOfOneWeight):
    """Counted by state alone, in so few cells that the sums are variables."""

    n_cells = 3

    @staticmethod
    @rule
    def cell(state, action, agent):
        return state

    @staticmethod
    @rule
    def aggregate(world, signal):
        signal[0] = crowd(world, 1)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return crowd(world, state)


def test_a_million_weights_in_few_cells_are_not_rounded_away():
    n_agents = 10**6
    engine = Engine(ByFewCells(n_agents=n_agents))
    states = engine.reset(seed=0).copy()
    rewards = engine.step(np.ones((1, n_agents), np.int32))
    expected = 0.7 * np.bincount(states[0], minlength=3)
    assert_allclose(engine.counts[0], expected, rtol=1e-6)
    assert_allclose(rewards[0], expected[states[0]] / n_agents, rtol=1e-6)


@pytest.mark.parametrize("kind", [ByCellsOfOneWeight, ByRuleOfOneWeight])
def test_a_million_weights_are_not_rounded_away(kind):
    n_agents = 10**6
    engine = Engine(kind(n_agents=n_agents))
    states = engine.reset(seed=0).copy()
    engine.step(np.ones((1, n_agents), np.int32))
    expected = 0.7 * np.bincount(2 * states[0].astype(int) + 1, minlength=6)
    assert_allclose(engine.counts[0], expected, rtol=1e-6)


def test_steps_are_the_same():
    engines = [Engine(game, 3, debug=True) for game in (ByCells(), ByRule())]
    rng = np.random.default_rng(0)
    for engine in engines:
        engine.reset(1)
    for _ in range(3):
        actions = rng.integers(2, size=(3, 7))
        one, other = (engine.step(actions) for engine in engines)
        assert_allclose(one, other, rtol=1e-6)
        assert_array_equal(engines[0].states, engines[1].states)
        assert_allclose(engines[0].counts, engines[1].counts, rtol=1e-6)
        assert_allclose(engines[0].signal, engines[1].signal, rtol=1e-6)


def test_mean_fields_are_the_same():
    one, other = InducedGame(ByCells()), InducedGame(ByRule())
    policy = np.random.default_rng(0).dirichlet(np.ones(2), one.policy_shape[:2])
    policy[1, :, 0] = 0.0, 1.0, 0.0  # some actions are played by nobody
    policy[..., 1] = 1 - policy[..., 0]
    flows = one.flow(policy), other.flow(policy)
    assert_allclose(flows[0].mu, flows[1].mu, atol=1e-14)
    assert_allclose(flows[0].rewards, flows[1].rewards, atol=1e-14)
    assert one.exploitability(policy) == pytest.approx(other.exploitability(policy), abs=1e-13)


@pytest.mark.slow
def test_exploitability_in_the_n_player_game_is_the_same():
    """Each deviation is counted where it goes, and taken out where the agent was."""
    policy = np.full((3, 3, 2), 0.5)
    one, other = (n_player_exploitability(game, policy, n_worlds=6, seed=2) for game in (ByCells(), ByRule()))
    assert_allclose(one.per_agent, other.per_agent, atol=1e-6)
    assert_array_equal(one.candidates, other.candidates)
    assert one.mean_lower_bound.value == pytest.approx(other.mean_lower_bound.value, abs=1e-6)


# What a game may not declare.


@rule
def count(counts, mass, state, action, agent, world):
    counts[0] += mass


@rule
def says(signal, constants, time, key):
    signal[0] = 1.0


@rule
def books(out, state, action, agent, world, key):
    out[0] = 1.0


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"count": count, "weight": ByCells.weight},
            "by the rule count or by weight, not by both",
        ),
        ({"publish": says, "n_signals": 1}, "is a finite game, .*: its rule publish must be left out"),
        ({"account": books}, "must declare account_names and the rule account together"),
        ({"account_names": ("all",)}, "must declare account_names and the rule account together"),
        (
            {"count": books},
            "count is called as count",
        ),
    ],
)
def test_rules_that_do_not_go_together(declared, message):
    kind = type("Variant", (Epidemic,), {k: staticmethod(v) if callable(v) else v for k, v in declared.items()})
    with pytest.raises(TypeError, match=message):
        kind()


def test_accounts_need_an_engine_that_keeps_them():
    engine = Engine(ByCells())
    engine.reset(0)
    engine.step(np.zeros((1, 7), int))
    with pytest.raises(RuntimeError, match="needs an engine that keeps them"):
        engine.accounts()
    with pytest.raises(TypeError, match="keep_accounts needs a game with a rule account, got ByCells"):
        Engine(ByCells(), keep_accounts=True)


def test_masks_of_a_game_without_a_rule_allow_all():
    engine = Engine(ByCells(), 2)
    engine.reset(0)
    assert engine.action_masks().shape == (2, 7, 2)
    assert engine.action_masks().all()
