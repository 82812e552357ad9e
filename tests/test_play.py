"""Who acts how when a policy is played. Random checks fail with probability below 1e-7; seeds are fixed."""

import dataclasses
import re

import gymnasium
import numpy as np
import pytest
from draws import first_zero
from numpy.testing import assert_allclose, assert_array_equal
from oracles import random_policy
from scipy import stats

from mfenvs import Engine, evaluate
from mfenvs.cumulated import cumulative
from mfenvs.engine.random import ACT
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi
from mfenvs.play import Player, tabulate
from mfenvs.wrappers import IntegerIdentity
from mfenvs.wrappers.symmetrise import joint_policy

GAME = RockPaperScissors(n_agents=4, horizon=3)
CITY = Taxi(n_agents=3, horizon=6, city=("111", "HSH", "222"))


class Laws:
    """Whatever ``law(observations)`` says."""

    def __init__(self, law, observe=None):
        self.law, self.seen = law, []
        if observe is not None:
            self.observe = observe

    def action_probabilities(self, observations):
        self.seen.append(observations.copy())
        return self.law(observations)


class Predicts:
    def __init__(self, actions, observe=None):
        self.chosen, self.seen = actions, []
        if observe is not None:
            self.observe = observe

    def predict(self, observations):
        self.seen.append(observations.copy())
        return np.asarray(self.chosen), None


class Table:
    def __init__(self, probabilities):
        self.probabilities = probabilities


def begun(game, n_worlds=1, seed=0):
    engine = Engine(game, n_worlds)
    engine.reset(seed=seed)
    return engine


def test_rows_are_agents_by_world_and_see_their_own_observation():
    engine = begun(CITY, 2, seed=1)
    wanted = np.array([[0, 1, 2], [4, 3, 0]])
    for policy in (Laws(lambda seen: np.eye(5)[wanted.ravel()]), Predicts(wanted.ravel())):
        actions = Player(CITY, policy).actions(engine)
        assert_array_equal(actions, wanted)
        assert_array_equal(policy.seen[0], engine.observe().reshape(6, -1))


@pytest.mark.parametrize("kind", [Laws, Predicts])
def test_a_policy_sees_the_blocks_that_it_names_or_those_it_is_given(kind):
    answer = {Laws: lambda seen: np.eye(5)[np.zeros(6, int)], Predicts: np.zeros(6, int)}[kind]
    own, engine = CITY.n_features, begun(CITY, 2)
    for observe, argument, columns in [
        (None, None, []),
        ("integer-identity", None, [0, 0.5, 1]),
        ([IntegerIdentity()], None, [0, 0.5, 1]),
        ("integer-identity", (), []),
        (None, "integer-identity", [0, 0.5, 1]),
    ]:
        policy = kind(answer, observe)
        Player(CITY, policy, argument).actions(engine)
        assert policy.seen[0][:, own:].ravel().tolist() == columns * 2


def test_tables_of_all_kinds_are_played_on_the_draws_of_a_rollout():
    each = random_policy(np.random.default_rng(0), 4, 3, 3, 3)
    for policy in (each[0], each[0].tolist(), each, Table(each), Table(each[1])):
        table = np.asarray(getattr(policy, "probabilities", policy))
        run, engine, player = Engine(GAME, 5).rollout(table, seed=7), begun(GAME, 5, seed=7), Player(GAME, policy)
        for h in range(3):
            actions = player.actions(engine)
            assert_array_equal(actions, run.actions[:, h])
            engine.step(actions)


def test_a_table_of_another_library_is_a_table():
    torch = pytest.importorskip("torch")
    table = random_policy(np.random.default_rng(0), *GAME.policy_shape)
    expected = evaluate(GAME, table, n_worlds=2).returns
    assert_array_equal(evaluate(GAME, torch.from_numpy(table), n_worlds=2).returns, expected)
    with pytest.raises(TypeError, match=r"policy must be an array, got tensor.*requires grad"):
        evaluate(GAME, torch.from_numpy(table).requires_grad_())


def test_a_policy_of_observations_is_played_on_the_draws_of_a_table():
    """Multiples of 1/8 add up without rounding, so that the same law gives the same action."""
    weights = np.random.default_rng(1).multinomial(8, [1 / 3] * 3, (3, 3)) / 8
    observing = Laws(lambda seen: weights[(seen[:, 3] * 3).round().astype(int), seen[:, :3].argmax(axis=1)])
    one, other = begun(GAME, 50, seed=2), begun(GAME, 50, seed=2)
    for _ in range(3):
        actions = Player(GAME, observing).actions(one)
        assert_array_equal(actions, Player(GAME, weights).actions(other))
        one.step(actions)
        other.step(actions)


LAWS = np.array([[0.0, 0.3, 0.0, 0.45, 0.25], [0.6, 0.0, 0.1, 0.3, 0.0], [0.2] * 5])


def chi_square(actions, law):
    counts = np.bincount(actions.ravel(), minlength=len(law))
    assert counts[law == 0].sum() == 0
    return stats.chisquare(counts[law > 0], law[law > 0] * counts.sum()).pvalue


def test_actions_have_the_laws_of_their_agents_and_are_independent():
    n = 40_000
    engine = begun(CITY, n, seed=3)
    player = Player(CITY, Laws(lambda seen: np.tile(LAWS, (n, 1))))
    first = player.actions(engine)
    assert first.dtype.kind == "i"
    engine.step(first)
    second = player.actions(engine)
    for drawn in (first, second):
        for i, law in enumerate(LAWS):
            assert chi_square(drawn[:, i], law) > 1e-8
    for a, b in [(first[:, 0], first[:, 1]), (first[:, 1], first[:, 2]), (first[:, 2], second[:, 2])]:
        table = np.histogram2d(a, b, bins=np.arange(6) - 0.5)[0]
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        assert stats.chi2_contingency(table).pvalue > 1e-8


def test_no_policy_is_uniform():
    engine = begun(CITY, 20_000, seed=3)
    assert chi_square(Player(CITY, None).actions(engine), np.full(5, 0.2)) > 1e-7


def test_what_is_missing_from_a_sum_goes_to_no_impossible_action():
    """Rows may be 1e-4 short: 600,000 draws, of which 54 would fall behind the last possible action."""
    engine = begun(CITY, 200_000, seed=4)
    for law in ([0.5, 0.49991, 0, 0, 0], [0.0, 0.3, 0.69991, 0, 0]):
        actions = engine.draw_actions(np.broadcast_to(np.array(law, np.float32), (200_000, 3, 5)))
        assert set(np.unique(actions)) == set(np.flatnonzero(law))


def test_the_smallest_draw_takes_the_first_possible_action():
    world, agent = first_zero(ACT, 1000)
    engine = Engine(dataclasses.replace(CITY, n_agents=1000), first_world=world)
    engine.reset(seed=0)
    for first in range(4):
        law = np.eye(5)[first] / 2 + np.eye(5)[4] / 2
        assert engine.draw_actions(np.broadcast_to(law, (1, 1000, 5)))[0, agent] == first


def test_runs_that_differ_in_one_agents_actions_share_everyone_elses_draws():
    player = Player(CITY, Laws(lambda seen: np.tile([0.1, 0.2, 0.3, 0.2, 0.2], (len(seen), 1))))
    one, other = begun(CITY, 30, seed=5), begun(CITY, 30, seed=5)
    for _ in range(6):
        mine, theirs = player.actions(one), player.actions(other)
        assert_array_equal(mine, theirs)
        theirs[:, 1] = (theirs[:, 1] + 1) % 5
        one.step(mine)
        other.step(theirs)
    assert not np.array_equal(one.states["cell"][:, 1], other.states["cell"][:, 1])


def test_draws_differ_by_seed_world_episode_and_time():
    law = np.full((2, 200, 5), 0.2, np.float32)
    game = dataclasses.replace(CITY, n_agents=200)
    engine, drawn = Engine(game, 2), set()
    for seed in (0, 1, None, None):
        engine.reset(seed)
        for _ in range(3):
            actions = engine.draw_actions(law)
            assert_array_equal(engine.draw_actions(law), actions)
            drawn |= {row.tobytes() for row in actions}
            engine.step(actions)
    assert len(drawn) == 2 * 4 * 3


def test_draws_follow_the_id_of_the_world():
    law = random_policy(np.random.default_rng(0), 6, 3, 5).astype(np.float32)
    wide, part = Engine(CITY, 6), Engine(CITY, 2, first_world=3)
    wide.reset(seed=1)
    part.reset(seed=1)
    assert_array_equal(wide.draw_actions(law)[3:5], part.draw_actions(law[3:5]))


@pytest.mark.parametrize(
    "row", [[0.5, 0.4, 0, 0, 0], [1.2, -0.2, 0, 0, 0], [np.nan, 1, 0, 0, 0], [0.6, 0.5, 0, 0, 0], [0] * 5]
)
def test_rows_that_are_no_laws_are_refused_with_their_place(row):
    laws = np.full((6, 5), 0.2)
    laws[4] = row
    engine = begun(CITY, 2)
    with pytest.raises(ValueError, match=r"probabilities\[1, 1\] must be non-negative and sum to 1, got \["):
        Player(CITY, Laws(lambda seen: laws)).actions(engine)


@pytest.mark.parametrize("shape", [(6, 4), (5, 5), (2, 3, 5), (30,)])
def test_laws_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"of Laws must return shape (6, 5), got {shape}")):
        Player(CITY, Laws(lambda seen: np.full(shape, 0.2))).actions(begun(CITY, 2))
    with pytest.raises(ValueError, match=re.escape("probabilities must have shape (2, 3, 5)")):
        begun(CITY, 2).draw_actions(np.full((1, 3, 5), 0.2))


@pytest.mark.parametrize("policy", [None, Laws(lambda seen: np.full((3, 5), 0.2))], ids=["none", "laws"])
def test_nobody_acts_outside_an_episode(policy):
    engine = Engine(CITY)
    with pytest.raises(RuntimeError, match=r"draw_actions\(\) was called outside an episode: call reset"):
        Player(CITY, policy).actions(engine)
    engine.reset(seed=0)
    for _ in range(6):
        engine.step(np.zeros((1, 3), int))
    with pytest.raises(RuntimeError, match="outside an episode"):
        Player(CITY, policy).actions(engine)


class Continuous(Taxi):
    action_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)


@pytest.mark.parametrize(
    ("game", "policy", "error", "message"),
    [
        (GAME, "best", TypeError, "chosen must be None, a table of probabilities, or an object with"),
        (GAME, 3, TypeError, "predict or actions, got 3"),
        (GAME, np.ones((3, 3)), ValueError, "chosen must have shape (3, 3, 3), got (3, 3)"),
        (GAME, np.full((3, 3, 3), 0.3), ValueError, "chosen[0, 0] must be probabilities"),
        (GAME, np.full((5, 3, 3, 3), 1 / 3), ValueError, "chosen must have shape (4, 3, 3, 3), got (5, 3, 3, 3)"),
        (CITY, np.ones((6, 9, 5)) / 5, TypeError, "chosen is a table, which needs a FiniteGame, got Taxi"),
        (CITY, Table(np.ones((6, 9, 5)) / 5), TypeError, "chosen is a table, which needs a FiniteGame, got Taxi"),
        (Continuous(n_agents=2), Laws(None), TypeError, "chosen has action_probabilities, but actions are Box"),
        (GAME, Laws(None, "identity"), ValueError, "observe must be among"),
    ],
)
def test_policies_that_are_not_allowed(game, policy, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Player(game, policy, name="chosen")


class ReadsEngine:
    """Everybody plays its own state, and what has been seen is kept."""

    def __init__(self, shape=None):
        self.shape, self.times = shape, []

    def actions(self, engine):
        self.times.append(engine.time)
        return engine.states.copy() if self.shape is None else np.zeros(self.shape, int)


def test_a_policy_that_reads_the_engine():
    policy, game = ReadsEngine(), Epidemic(n_agents=5, horizon=3)
    engine, player = begun(game, 2), Player(game, policy)
    while engine.is_playing:
        states = engine.states.copy()
        actions = player.actions(engine)
        assert_array_equal(actions, states)
        engine.step(actions)
    assert policy.times == [0, 1, 2]
    assert evaluate(game, policy, n_worlds=2, seed=0).returns.shape == (2, 5)
    assert evaluate(game, policy, n_worlds=2, seed=0).mean_return == evaluate(game, policy, n_worlds=2).mean_return
    with pytest.raises(ValueError, match=r"actions of ReadsEngine must return shape \(2, 5\), .* got \(2, 4\)"):
        Player(game, ReadsEngine((2, 4))).actions(begun(game, 2))
    with pytest.raises(ValueError, match="observe must be None, as chosen reads the engine, got 'identity'"):
        Player(game, policy, "identity", "chosen")
    with pytest.raises(TypeError, match="chosen must be None"):
        Player(game, ReadsEngine, name="chosen")
    # What acts on observations does so, whatever else it has.
    both = Predicts(np.zeros(10, int))
    both.actions = policy.actions
    assert_array_equal(Player(game, both).actions(begun(game, 2)), np.zeros((2, 5)))


def test_continuous_actions_are_predicted_in_their_shape():
    game = Continuous(n_agents=2)
    chosen = np.arange(8).reshape(4, 2) / 8
    engine = begun(Taxi(n_agents=2), 2)
    assert_array_equal(Player(game, Predicts(chosen)).actions(engine), chosen.reshape(2, 2, 2))
    with pytest.raises(TypeError, match="draw_actions\\(\\) needs discrete actions, got Box"):
        Engine(game).draw_actions(np.ones((1, 2, 2)))


def test_the_cumulated_law_and_the_drawn_one_agree_where_rounding_does_not_matter():
    game = Epidemic(n_agents=500, horizon=2)
    engine = begun(game, 20, seed=6)
    law = np.array([[0.25, 0.75], [0.5, 0.5]])
    table = cumulative(np.stack([law, law])[None])
    assert_array_equal(engine.sample_actions(table), engine.draw_actions(law[engine.states]))


class Observing:
    """Tables of 3 steps, 3 states and 3 actions as one policy of observations."""

    def __init__(self, table, observe=()):
        self.table, self.observe = table, observe

    def action_probabilities(self, observations):
        time, state = (observations[:, 3] * 3).round().astype(int), observations[:, :3].argmax(axis=1)
        return self.table[time, state].astype(np.float32)


class Joint(Observing):
    n_agents = 4

    def action_probabilities(self, observations, agents):
        time, state = (observations[:, 3] * 3).round().astype(int), observations[:, :3].argmax(axis=1)
        return self.table[agents, time, state]


def test_a_policy_of_observations_as_a_table():
    each = random_policy(np.random.default_rng(3), 4, 3, 3, 3)
    table = tabulate(GAME, Observing(each[0]))
    assert_allclose(table, each[0], atol=1e-7)
    assert_allclose(table.sum(axis=-1), 1, rtol=1e-14)
    assert_allclose(tabulate(GAME, Joint(each)), each, rtol=1e-12)
    joint = joint_policy([Observing(table) for table in each])
    assert_allclose(tabulate(GAME, joint), each, atol=1e-7)
    with pytest.raises(TypeError, match="policy observes 'mean-field', which changes with what all agents do"):
        tabulate(GAME, Observing(each[0], "mean-field"))
    with pytest.raises(TypeError, match="game must be a FiniteGame, got Taxi"):
        tabulate(CITY, Observing(each[0]))
