"""Policies on observations as tables of finite games."""

import dataclasses
import re

import numpy as np
import pytest
import stable_baselines3
import torch
from hunt import Hunt
from numpy.testing import assert_allclose, assert_array_equal
from oracles import random_policy
from weather import Weather

from baselines import PPO, TDLearning
from baselines.policies import TabularPolicy
from mfenvs import (
    Engine,
    InducedGame,
    evaluate,
    make,
    n_player_exploitability,
    play,
    relative_exploitability,
    rule,
    tabulate,
    vec_env,
)
from mfenvs.games.epidemic import Epidemic
from mfenvs.wrappers import joint_policy, shared_policy

GAME = make("Epidemic-v0", n_agents=5, horizon=4)


def network(observe=(), game=GAME, model_class=PPO, **arguments):
    """A network far from uniform."""
    env = vec_env(game, observe=observe)
    model = model_class("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [4]}, **arguments)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(300)
    return model


def stock_ppo(observe=(), game=GAME):
    return network(observe, game, stable_baselines3.PPO, n_steps=4, batch_size=20)


def stock_dqn():
    return stable_baselines3.DQN("MlpPolicy", vec_env(GAME), buffer_size=100, seed=0, device="cpu")


class Reading:
    """Looks its law up in a table by what it observes."""

    def __init__(self, table):
        self.table = table

    def action_probabilities(self, observations):
        state = observations[:, :2].argmax(axis=1)
        time = np.rint(observations[:, 2] * 4).astype(int)
        return self.table[time, state]


def test_a_table_is_found_again():
    table = random_policy(np.random.default_rng(0), 4, 2, 2)
    np.testing.assert_allclose(tabulate(GAME, Reading(table)), table, rtol=1e-12)


def test_a_joint_policy_gives_a_table_each():
    tables = [random_policy(np.random.default_rng(i), 4, 2, 2) for i in range(5)]
    found = tabulate(GAME, joint_policy([Reading(table) for table in tables]))
    np.testing.assert_allclose(found, np.stack(tables), rtol=1e-12)


def test_a_network_plays_as_its_table_does():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    table = tabulate(GAME, model)
    assert TabularPolicy(table).is_shared
    as_network, as_table = (evaluate(GAME, policy, n_worlds=40, seed=1).returns for policy in (model, table))
    np.testing.assert_array_equal(as_network, as_table)


def test_exploitability_takes_a_network():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    by_network, by_table = (
        n_player_exploitability(GAME, policy, n_worlds=8, deviators_per_world=2).per_agent
        for policy in (model, tabulate(GAME, model))
    )
    np.testing.assert_array_equal(by_network, by_table)


def test_what_else_is_observed_has_no_place_in_a_table():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", observe="mean-field")
    with pytest.raises(TypeError, match="policy observes 'mean-field', which changes with what all agents do"):
        tabulate(GAME, model)


def parameters_seen(game):
    """Each agent's parameters between the least and the greatest, by hand."""
    plain = np.stack([game.agents[name] for name in game.agents.dtype.names], axis=1).astype(float)
    return (plain - plain.min(axis=0)) / np.ptp(plain, axis=0)


@pytest.mark.parametrize("make_model", [network, stock_ppo])
def test_who_observes_its_parameters_has_a_table_of_its_own(make_model, monkeypatch):
    model = make_model("own-parameters")
    table = tabulate(GAME, model)
    assert table.shape == (5, 4, 2, 2)
    for agent, theta in enumerate(parameters_seen(GAME)):
        for time in range(4):
            rows = np.array([[1, 0, time / 4, *theta], [0, 1, time / 4, *theta]], np.float32)
            with torch.no_grad():
                expected = model.policy.get_distribution(torch.as_tensor(rows)).distribution.probs
            assert_allclose(table[agent, time], expected, rtol=1e-5)
    assert np.ptp(table, axis=0).max() > 0.1
    assert_array_equal(evaluate(GAME, model, seed=1).returns, evaluate(GAME, table, seed=1).returns)
    monkeypatch.setattr(play, "BATCH_FEATURES", 50)
    assert_allclose(tabulate(GAME, model), table, rtol=1e-5)


def test_whoever_is_alike_acts_alike():
    """Agents of one kind have one table; three kinds of agents are asked for once each."""
    equal = dataclasses.replace(GAME, heterogeneity=0.0)
    assert tabulate(equal, stock_ppo("own-parameters", equal)).shape == (4, 2, 2)
    for identity in ("one-hot-identity", "integer-identity"):
        table = tabulate(equal, stock_ppo(identity, equal))
        assert table.shape == (5, 4, 2, 2)
        assert len(np.unique(table, axis=0)) == 5


@pytest.mark.parametrize("make_model", [stock_ppo, stock_dqn, network, lambda: stock_ppo("own-parameters")])
def test_exploitability_takes_what_can_be_tabulated(make_model):
    model = make_model()
    table = tabulate(GAME, model)
    by_network, by_table = (
        n_player_exploitability(GAME, policy, n_worlds=4, deviators_per_world=2).per_agent
        for policy in (model, table)
    )
    assert_array_equal(by_network, by_table)
    by_network, by_table = (
        relative_exploitability(GAME, policy, n_joint_states=4, n_worlds=4).absolute.value
        for policy in (model, table)
    )
    assert by_network == by_table
    induced = InducedGame(GAME)
    if table.ndim == 3:
        assert induced.exploitability(model) == induced.exploitability(table)
        assert_array_equal(induced.flow(model).mu, induced.flow(table).mu)
    else:
        message = (
            "policy must be one policy for all, of shape (4, 2, 2), got one for each agent, of shape (5, 4, 2, 2)"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            induced.exploitability(model)
        assert induced.exploitability(shared_policy(table)) > 0


def test_tables_and_nothing_are_policies_too():
    each = np.stack([random_policy(np.random.default_rng(i), 4, 2, 2) for i in range(5)])
    assert_array_equal(tabulate(GAME, each), each)
    assert_array_equal(tabulate(GAME, TabularPolicy(each[0])), each[0])
    assert_array_equal(tabulate(GAME, None), np.full((4, 2, 2), 0.5))


def test_nothing_is_uniform_over_what_is_allowed():
    """Careful: whoever is infected (state 0) may only do 1, but in the first step."""
    expected = np.full((4, 2, 2), 0.5)
    expected[1:, 0] = [0.0, 1.0]
    game = Careful(n_agents=5, horizon=4)
    assert_array_equal(tabulate(game, None), expected)
    assert_array_equal(TabularPolicy.uniform(game).probabilities, expected)
    assert_array_equal(InducedGame(game).policy("policy", None), expected)
    assert_array_equal(evaluate(game, None, seed=3).returns, evaluate(game, expected, seed=3).returns)


def test_nothing_in_games_of_other_kinds():
    """Weather allows going only in fine weather (public state 0) to those at home (state 0); doves have no third
    action."""
    table = tabulate(Weather(), None).reshape(3, 2, 2, 2)
    assert_array_equal(table[:, 1, 0], np.broadcast_to([1.0, 0.0], (3, 2)))
    assert_array_equal(table[:, 0], 0.5)
    assert_array_equal(table[:, 1, 1], 0.5)
    hunt = InducedGame(Hunt())
    assert_array_equal(hunt.policy("policy", None), hunt.uniform_policy())
    assert (hunt.uniform_policy()[:, 2:, 2] == 0.0).all()


def test_agents_who_are_allowed_different_actions_have_a_table_each():
    game = Reckless(n_agents=5, horizon=4)
    table = tabulate(game, None)
    assert table.shape == (5, 4, 2, 2)
    for own, aversion in zip(table, game.agents.aversion, strict=True):
        assert_array_equal(own, np.full((4, 2, 2), 0.5) if aversion > 0.5 else np.full((4, 2, 2), [0.0, 1.0]))
    assert len(np.unique(table, axis=0)) == 2
    with pytest.raises(ValueError, match="the rule allowed of Reckless must allow all agents the same"):
        TDLearning(game)
    with pytest.raises(TypeError, match="rule allowed of Signalled reads the public signal, which a table does"):
        tabulate(Signalled(n_agents=5, horizon=4), None)
    with pytest.raises(ValueError, match="the rule allowed of Stuck must allow an action in state 1 at time 2"):
        tabulate(Stuck(n_agents=5, horizon=4), None)


def test_random_actions_are_uniform_over_what_is_allowed():
    engine = Engine(Careful(n_agents=1000, horizon=4), 4)
    engine.reset(seed=1)
    for time in range(4):
        actions = engine.random_actions()
        is_bound = (engine.states == 0) & (time > 0)
        assert is_bound.sum() > 100 or time == 0
        assert (actions[is_bound] == 1).all()
        n_free = (~is_bound).sum()
        # Six standard deviations: exceeded with a probability of 2e-9 a step.
        assert abs(actions[~is_bound].sum() - n_free / 2) <= 3 * n_free**0.5
        engine.step(actions)
    with pytest.raises(RuntimeError, match=r"random_actions\(\) was called outside an episode"):
        engine.random_actions()
    stuck = Engine(Stuck(n_agents=5, horizon=4), 2)
    stuck.reset(seed=0)
    for _ in range(2):
        stuck.step(stuck.random_actions())
    assert not stuck.action_masks()[stuck.states == 1].any()
    stuck.step(stuck.random_actions())  # Where nothing is allowed, all actions are drawn from.


class Aware(Epidemic):
    """Agents observe their state and how much they mind distance: no signal."""

    n_features = 2

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = state
        out[1] = agent.aversion


class Careful(Epidemic):
    """Whoever is infected (state 0) is not to keep its distance (action 0), but in the first step."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 1 or state == 1 or public.time == 0


class Reckless(Epidemic):
    """Whoever does not mind distance much is always to keep it (action 1)."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 1 or agent.aversion > 0.5


class Stuck(Epidemic):
    """In state 1 nothing is allowed at time 2."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return state == 0 or public.time != 2


class Signalled(Epidemic):
    """A public signal, which nobody writes, tells whether action 0 is allowed."""

    n_signals = 1

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 1 or public.signal[0] > 0.5


class Told(Aware):
    """The same, with a public signal that the rule observe might read."""

    n_signals = 1

    @staticmethod
    @rule
    def aggregate(world, signal):
        signal[0] = world.counts[0]


class ByAversion:
    def action_probabilities(self, observations):
        state, aversion = observations.T
        go_out = np.where(state == 1, 1 / (1 + aversion), 0.25)
        return np.stack([go_out, 1 - go_out], axis=1)


def test_a_game_may_observe_by_a_rule_of_its_own():
    game = Aware(n_agents=5, horizon=4)
    aversion = game.agents["aversion"].astype(float)
    table = tabulate(game, ByAversion())
    assert table.shape == (5, 4, 2, 2)
    assert_allclose(table[:, :, 1, 0], np.tile(1 / (1 + aversion), (4, 1)).T, rtol=1e-6)
    assert_array_equal(table[:, :, 0, 0], 0.25)
    assert_array_equal(tabulate(dataclasses.replace(game, heterogeneity=0.0), ByAversion()).shape, (4, 2, 2))
    with pytest.raises(
        TypeError, match="the rule observe or allowed of Told says, which may read the public signal"
    ):
        tabulate(Told(n_agents=5, horizon=4), ByAversion())


class MaskedNetwork(stable_baselines3.common.policies.ActorCriticPolicy):
    """An actor-critic whose law takes masks, as that of MaskablePPO does."""

    def get_distribution(self, obs, action_masks=None):
        law = super().get_distribution(obs)
        return law.proba_distribution(law.distribution.logits.masked_fill(~torch.as_tensor(action_masks), -1e8))


def test_masks_are_those_of_the_state():
    game = Careful(n_agents=5, horizon=4)
    model = stable_baselines3.PPO(MaskedNetwork, vec_env(GAME), n_steps=4, batch_size=20, device="cpu")
    table = tabulate(game, model)
    assert table.shape == (4, 2, 2)
    assert_array_equal(table[0] > 0, [[True, True], [True, True]])
    assert_array_equal(table[1:] > 0, [[[False, True], [True, True]]] * 3)
    assert (tabulate(GAME, model) > 0).all()


class Predicting:
    def predict(self, observations):
        return np.zeros(len(observations), int), None


class Constant:
    def __init__(self, law):
        self.law = law

    def action_probabilities(self, observations):
        return np.tile(self.law, (len(observations), 1))


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (
            Predicting(),
            TypeError,
            "it has a memory, or tells its actions by predict() and not their probabilities",
        ),
        ("best", TypeError, "policy must be a table of probabilities, an object with action_probabilities"),
        (np.ones((4, 2)), ValueError, "policy must have shape (4, 2, 2), got (4, 2)"),
        (
            Constant([0.5, 0.6]),
            ValueError,
            "the laws of policy must be non-negative and sum to 1, got sums from 1.1",
        ),
        (Constant([1.5, -0.5]), ValueError, "the laws of policy must be non-negative"),
        (Constant([np.nan, 1.0]), ValueError, "the laws of policy must be non-negative"),
        (Constant([1.0]), ValueError, "action_probabilities of Constant must return shape (8, 2), got (8, 1)"),
    ],
)
def test_what_is_no_table(policy, error, message):
    for function in (tabulate, n_player_exploitability, relative_exploitability):
        with pytest.raises(error, match=re.escape(message)):
            function(GAME, policy)
    with pytest.raises(error, match=re.escape(message)):
        InducedGame(GAME).exploitability(policy)
