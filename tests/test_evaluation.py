"""What a policy earns when everyone plays it."""

import re

import numpy as np
import pytest
import torch
from line import Line
from numpy.testing import assert_allclose, assert_array_equal
from oracles import random_policy
from scipy import stats
from tabulated import Tabulated

import mfenvs
from mfenvs.evaluation import Evaluation, deviation_gain, evaluate
from mfenvs.wrappers.symmetrise import joint_policy, shared_policy

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=5, horizon=4)
CITY = {"n_agents": 3, "horizon": 5, "city": ("111", "HSH", "222"), "jam": 0.0}


class Laws:
    def __init__(self, law, observe=()):
        self.law, self.observe = law, observe

    def action_probabilities(self, observations):
        return self.law(observations)


class Table:
    def __init__(self, probabilities):
        self.probabilities = probabilities


def always(action):
    return Laws(lambda seen: np.eye(5)[np.full(len(seen), action)])


@pytest.mark.parametrize("how", ["shared", "one each", "object", "joint of tables", "average"])
def test_tables_earn_what_they_earn_in_a_rollout(how):
    each = random_policy(np.random.default_rng(0), 5, 4, 2, 2)
    policy, table = {
        "shared": (each[0], each[0]),
        "one each": (each, each),
        "object": (Table(each), each),
        "joint of tables": (joint_policy([*each]), each),
        "average": (shared_policy(each), each.mean(axis=0)),
    }[how]
    run = mfenvs.Engine(EPIDEMIC, 6).rollout(table, seed=9)
    found = evaluate(EPIDEMIC, policy, n_worlds=6, seed=9)
    assert_allclose(found.returns, run.returns, rtol=1e-14)
    assert found.region_shares == {}
    assert not np.array_equal(evaluate(EPIDEMIC, policy, n_worlds=6, seed=8).returns, run.returns)


def test_no_policy_is_uniform():
    uniform = np.full((4, 2, 2), 0.5)
    assert_array_equal(evaluate(EPIDEMIC, seed=3).returns, evaluate(EPIDEMIC, uniform, n_worlds=8, seed=3).returns)


def test_policies_of_observations_earn_what_their_tables_do():
    """Multiples of 1/8: the same law, the same draws."""
    each = np.random.default_rng(1).multinomial(8, [0.5, 0.5], (5, 4, 2)) / 8

    mean = each.mean(axis=0)
    joint = joint_policy([observing(table) for table in each])
    assert_array_equal(evaluate(EPIDEMIC, joint, seed=2).returns, evaluate(EPIDEMIC, each, seed=2).returns)
    shared = shared_policy(joint)
    assert_array_equal(evaluate(EPIDEMIC, shared, seed=2).returns, evaluate(EPIDEMIC, mean, seed=2).returns)


def test_predictions_are_played():
    class OutOrDistance:
        def predict(self, observations):
            return np.array([1, 0, 1, 0, 0] * 4), None

    table = np.eye(2)[np.array([1, 0, 1, 0, 0])][:, None, None].repeat(4, axis=1).repeat(2, axis=2)
    found = evaluate(EPIDEMIC, OutOrDistance(), n_worlds=4, seed=2)
    assert_array_equal(found.returns, evaluate(EPIDEMIC, table, n_worlds=4, seed=2).returns)


def test_where_the_taxis_are():
    """Up, up, ...: nobody jammed, everyone in zone 1 from the first step on; down likewise; left nobody leaves."""
    for action, zone_1, zone_2 in ((0, 1, 0), (1, 0, 1), (2, 0, 0)):
        found = evaluate("Taxi-v0", always(action), n_worlds=2, **CITY)
        assert set(found.region_shares) == {"share_zone_1", "share_zone_2"}
        for name, share in (("share_zone_1", zone_1), ("share_zone_2", zone_2)):
            assert found.region_shares[name].tolist() == [[0.0] + [share] * 5] * 2
        assert (found.returns == 0).all()


def test_blocks_are_what_the_policy_names_or_is_given():
    """By its identity: taxi 0 up, taxi 1 down, taxi 2 stays."""
    identity = Laws(lambda seen: np.eye(5)[np.array([0, 1, 4])[(seen[:, -1] * 2).astype(int)]], "integer-identity")
    one_hot = Laws(lambda seen: seen[:, -3:] @ np.eye(5)[[0, 1, 4]])
    for policy, observe in ((identity, None), (one_hot, "one-hot-identity")):
        found = evaluate("Taxi-v0", policy, observe=observe, n_worlds=2, **CITY)
        for shares in found.region_shares.values():
            assert_allclose(shares, [[0] + [1 / 3] * 5] * 2)


def test_the_mean_and_its_interval_by_hand():
    shares = {"share_east": np.array([[0.0, 0.5], [1, 1], [0, 0]])}
    found = Evaluation(np.array([[1.0, 3.0], [2.0, 8.0], [0.0, 4.0]]), shares)
    estimate = found.mean_return
    assert (estimate.value, estimate.n_samples) == (3.0, 3)
    error = np.std([2.0, 5.0, 2.0], ddof=1) / np.sqrt(3)
    low, high = stats.t.interval(0.95, 2, 3.0, error)
    assert found.summary() == {
        "return": 3.0,
        "return_95": [pytest.approx(low), pytest.approx(high)],
        "return_least_agent": 1.0,
        "return_best_agent": 5.0,
        "n_worlds": 3,
        "share_east": 0.5,
    }


EIGHTHS = np.random.default_rng(7).multinomial(8, [0.5, 0.5], (2, 4, 2)) / 8
"""Two tables whose laws add up without rounding, so that drawn actions do not depend on who adds."""


def observing(table, seen=None):
    """A table as a policy of observations, which appends what it saw to ``seen``."""

    def law(observations):
        if seen is not None:
            seen.append(observations.copy())
        return table[(observations[:, 2] * 4).round().astype(int), observations[:, :2].argmax(axis=1)]

    return Laws(law)


class Noisy:
    """Draws its actions from the global generators of torch and NumPy, as models of Box actions do."""

    def __init__(self):
        self.chosen = []

    def predict(self, observations):
        noise = torch.randn((len(observations), 1)).numpy()
        noise = noise + np.random.normal(size=noise.shape)  # noqa: NPY002
        self.chosen.append(np.clip(0.3 * noise, -1.0, 1.0).astype(np.float32))
        return self.chosen[-1], None


def test_what_a_policy_draws_from_global_generators_follows_from_the_seed():
    game, found = Line(n_agents=4, horizon=3), []
    for others in (0, 1):
        torch.manual_seed(others)
        np.random.seed(others)  # noqa: NPY002
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first = torch.initial_seed()
        found.append(evaluate(game, Noisy(), n_worlds=3, seed=5).returns)
        assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
        assert torch.initial_seed() == first
        after = torch.randn(3)
        torch.manual_seed(others)
        assert_array_equal(after, torch.randn(3))
    assert_array_equal(*found)
    assert not np.array_equal(evaluate(game, Noisy(), n_worlds=3, seed=6).returns, found[0])
    policy = Noisy()
    evaluate(game, policy, n_worlds=3, seed=5)
    assert len({chosen.tobytes() for chosen in policy.chosen}) == 3  # other draws in every step


def test_a_deviator_changes_nothing_that_others_draw_from_global_generators():
    policy, deviation = Noisy(), Noisy()
    game = Line(n_agents=4, horizon=3)
    gain = deviation_gain(game, policy, deviation, agent=0, n_worlds=2, seed=5)
    without, beside = policy.chosen[:3], policy.chosen[3:]
    assert_array_equal(without, beside)
    for all_chosen, own in zip(beside, deviation.chosen, strict=True):
        assert own.shape == (2, 1)
        assert not np.isin(own, all_chosen).any()
    assert gain == deviation_gain(game, Noisy(), Noisy(), agent=0, n_worlds=2, seed=5)


@pytest.mark.parametrize("population", ["table", "observing"])
def test_the_gain_of_a_deviator_is_that_of_two_rollouts(population):
    policy, deviation = EIGHTHS
    found = deviation_gain(
        EPIDEMIC,
        policy if population == "table" else observing(policy),
        observing(deviation),
        agent=3,
        n_worlds=9,
        seed=5,
    )
    engine, threes = mfenvs.Engine(EPIDEMIC, 9), np.full(9, 3)
    alone = engine.rollout(policy, seed=5, deviators=threes, deviations=np.stack([deviation] * 9)).returns[:, 3]
    gains = alone - engine.rollout(policy, seed=5).returns[:, 3]
    assert np.ptp(gains) > 0
    assert_allclose([found.value, found.standard_error], [gains.mean(), gains.std(ddof=1) / 3], rtol=1e-12)
    assert found.n_samples == 9


def test_who_deviates_to_the_common_policy_gains_exactly_nothing():
    for agent in (None, 0):
        found = deviation_gain(EPIDEMIC, EIGHTHS[0], observing(EIGHTHS[0]), agent=agent, n_worlds=20)
        assert (found.value, found.standard_error) == (0.0, 0.0)


def test_a_joint_deviation_is_each_deviators_own():
    """Nobody gains by its own part of what all play; by the others' parts somebody does."""
    each = np.random.default_rng(8).multinomial(8, [0.5, 0.5], (5, 4, 2)) / 8
    joint = joint_policy([observing(table) for table in each])
    found = deviation_gain(EPIDEMIC, each, joint, n_worlds=20, seed=1)
    assert (found.value, found.standard_error) == (0.0, 0.0)
    assert deviation_gain(EPIDEMIC, each[::-1], joint, n_worlds=20, seed=1).standard_error > 0


def test_deviators_are_drawn_uniformly_and_seen_one_per_world():
    """Chi-square at 1e-7."""
    seen = []
    law = observing(EIGHTHS[0], seen).law
    blocks = ["one-hot-identity"]
    deviation_gain(EPIDEMIC, EIGHTHS[1], Laws(law, blocks), n_worlds=3000, seed=2)
    assert [rows.shape for rows in seen] == [(3000, 8)] * 4
    who = [rows[:, 3:].argmax(axis=1) for rows in seen]
    assert_array_equal(who, [who[0]] * 4)
    assert stats.chisquare(np.bincount(who[0], minlength=5)).pvalue > 1e-7
    deviation_gain(EPIDEMIC, EIGHTHS[1], Laws(law), agent=4, observe=blocks, n_worlds=3, seed=2)
    assert (seen[-1][:, 3:].argmax(axis=1) == 4).all()


class Always:
    """Predicts one action, in the type in which it is given."""

    def __init__(self, action):
        self.action = action

    def predict(self, observations):
        return np.full(len(observations), self.action), None


def test_a_deviator_may_predict():
    """Alone at home (-0.5 a step for agents who are all alike), against everyone out: by rollouts."""
    home = np.zeros((4, 2, 2))
    home[..., 0] = 1
    engine = mfenvs.Engine(EPIDEMIC, 9)
    alone = engine.rollout(EIGHTHS[0], seed=5, deviators=np.full(9, 1), deviations=np.stack([home] * 9))
    gains = (alone.returns - engine.rollout(EIGHTHS[0], seed=5).returns)[:, 1]
    found = deviation_gain(EPIDEMIC, EIGHTHS[0], Always(0), agent=1, n_worlds=9, seed=5)
    assert found.value == pytest.approx(gains.mean())


@pytest.mark.parametrize(
    ("deviation", "arguments", "error", "message"),
    [
        (Always(0.5), {}, TypeError, "actions must be integers, got dtype float64"),
        (Always(2), {}, ValueError, "must be in [0, 1], got 2"),
        (None, {}, TypeError, "deviation must have action_probabilities or predict, got None"),
        (EIGHTHS[0], {}, TypeError, "deviation must have action_probabilities or predict"),
        (
            Laws(lambda seen: np.ones((len(seen), 2))),
            {"agent": 3},
            ValueError,
            "probabilities[0, 3] must be non-neg",
        ),
        (Always(0), {"agent": 5}, ValueError, "agent must be an integer in [0, 4], got 5"),
        (Always(0), {"n_worlds": 1}, ValueError, "n_worlds must be an integer >= 2, got 1"),
        (Always(0), {"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        (Always(0), {"observe": "identity"}, ValueError, "observe must be among"),
        (Always(0), {"policy": "best"}, TypeError, "policy must be None, a table"),
    ],
)
def test_deviations_that_are_not_allowed(deviation, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        deviation_gain(EPIDEMIC, **{"policy": EIGHTHS[0], "deviation": deviation, "n_worlds": 2} | arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_worlds": 1}, ValueError, "n_worlds must be an integer >= 2, got 1"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"policy": "best"}, TypeError, "policy must be None, a table of probabilities"),
        ({"policy": np.ones((4, 2, 2))}, ValueError, "policy[0, 0] must be probabilities"),
        ({"observe": "identity"}, ValueError, "observe must be among"),
        ({"n_agents": 3}, ValueError, "cannot be set on a game that is already made"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        evaluate(EPIDEMIC, **arguments)


@pytest.mark.parametrize("reward", [np.nan, 2e307, -2e307])
def test_returns_that_are_not_finite_are_an_error(reward):
    game = Tabulated(pay=((reward, 0.0),) * 3)
    first = Laws(lambda seen: np.eye(2)[np.zeros(len(seen), int)])
    with pytest.raises(ValueError, match=r"returns must be finite, got (nan|-?inf) of agent 0"):
        evaluate(game, first, n_worlds=2)
    with pytest.raises(ValueError, match="returns must be finite"):
        deviation_gain(game, first, first, n_worlds=2)
    assert evaluate(game, Laws(lambda seen: np.eye(2)[np.ones(len(seen), int)]), n_worlds=2).mean_return.value == 0
