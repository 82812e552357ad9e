"""Budgets for losses: what agents observe of them, what they pay for exceeding them, how they are learned."""

import dataclasses
import functools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from risky import CHOOSE, Gamble, Lottery
from stable_baselines3.common.vec_env import VecCheckNan, VecMonitor

from mfenvs import Engine, evaluate, make, vec_env
from mfenvs.energy.risk_measures import cvar, risk_adjusted
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi
from mfenvs.wrappers import risk
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget, RiskSnapshot

GAMES = {
    "gamble": Gamble(),
    "epidemic": Epidemic(n_agents=4, horizon=3),
    "taxi": Taxi(n_agents=3, horizon=4, city=("12", "SS"), jam=0.6, arrival=0.5),
    "market": make("EnergyMarket-v0", n_agents=5, horizon=3),
}
by_game = pytest.mark.parametrize("name", GAMES)


def budget_of(game, seed=0, **arguments):
    rng = np.random.default_rng(seed)
    gamma, z, scale = rng.random(game.n_agents), rng.normal(size=game.n_agents), 0.1 + rng.random(game.n_agents)
    return RiskBudget(gamma, z, scale, **arguments)


def play(env, n_steps, seed=None):
    """What SB3 gets to see of so many steps of random actions, and the actions."""
    if seed is not None:
        env.seed(seed)
        env.reset()
    told = []
    for _ in range(n_steps):
        actions = env.unwrapped.engine.random_actions()
        actions = actions.reshape(env.num_envs, *actions.shape[2:])
        told.append((actions, *env.step(actions)))
    return told


# The rewards.


@functools.cache
def plain(name, n_worlds):
    return vec_env(GAMES[name], n_worlds)


@given(st.data())
@settings(max_examples=40)
def test_the_total_reward_is_minus_the_objective_of_rockafellar_and_uryasev(data):
    name = data.draw(st.sampled_from(list(GAMES)))
    game, n_worlds = GAMES[name], data.draw(st.integers(1, 3))
    numbers = functools.partial(st.lists, min_size=game.n_agents, max_size=game.n_agents)
    gamma = np.array(data.draw(numbers(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0))))
    z = np.array(data.draw(numbers(st.floats(-20.0, 20.0))))
    alpha, seed = data.draw(st.sampled_from([0.05, 0.3, 1.0])), data.draw(st.integers(0, 2**31))
    budget = RiskBudget(gamma, z, np.ones(game.n_agents), alpha=alpha)
    env = RiskAverseVecEnv(game, n_worlds, observe=budget)
    shaped, paid = play(env, game.horizon, seed), play(plain(name, n_worlds), game.horizon, seed)
    assert [dones.any() for _, _, _, dones, _ in shaped] == [False] * (game.horizon - 1) + [True]
    for row in range(env.num_envs):
        agent = row % game.n_agents
        g, budget_z = float(gamma[agent]), float(z[agent])
        c = -sum(float(rewards[row]) for _, _, rewards, _, _ in paid)
        total = sum(float(rewards[row]) for _, _, rewards, _, _ in shaped)
        expected = -((1 - g) * c + g * (budget_z + max(c - budget_z, 0.0) / alpha))
        assert total == pytest.approx(expected, rel=1e-6, abs=1e-5)
        for (_, _, mine, _, _), (_, _, theirs, _, _) in zip(shaped[:-1], paid, strict=False):
            assert float(mine[row]) == pytest.approx((1 - g) * float(theirs[row]), rel=1e-6)


@by_game
def test_without_risk_aversion_rewards_are_the_game_s(name):
    game = GAMES[name]
    budget = RiskBudget(np.zeros(game.n_agents), np.full(game.n_agents, -3.0), np.ones(game.n_agents))
    steps = 2 * game.horizon
    for mine, theirs in zip(
        play(RiskAverseVecEnv(game, 2, observe=budget), steps, 7), play(vec_env(game, 2), steps, 7), strict=True
    ):
        assert_array_equal(mine[2], theirs[2])
        assert mine[2].dtype == np.float32


# What SB3 sees.


@by_game
def test_agents_observe_what_is_left_and_their_aversion(name):
    game, n_worlds = GAMES[name], 2
    budget = budget_of(game, step_size=0.5)
    env, other = RiskAverseVecEnv(game, n_worlds, observe=["integer-identity", budget]), vec_env(game, n_worlds)
    width = game.n_features
    assert env.observation_space.shape == (width + 3,)
    agents = np.tile(np.arange(game.n_agents), n_worlds)

    def check(seen, own, z, losses):
        assert seen.dtype == np.float32
        assert all(env.observation_space.contains(row) for row in seen)
        assert_array_equal(seen[:, :width], own)
        assert_allclose(seen[:, width], agents / (game.n_agents - 1), rtol=1e-6)
        for row, i in enumerate(agents):
            y, s = float(z[i] - losses[row]), float(budget.scale[i])
            assert seen[row, width + 1] == pytest.approx(0.5 + 0.5 * y / (s + abs(y)), abs=1e-6)
            assert seen[row, width + 2] == pytest.approx(budget.gamma[i], abs=1e-7)

    for each in (env, other):
        each.seed(3)
    z, losses = budget.z, np.zeros(env.num_envs)
    check(env.reset(), other.reset(), z, losses)
    for _ in range(2 * game.horizon + 1):
        actions = env.engine.random_actions()
        actions = actions.reshape(env.num_envs, *actions.shape[2:])
        seen, _, dones, infos = env.step(actions)
        own, rewards, _, other_infos = other.step(actions)
        losses = losses - rewards
        if dones.any():
            assert dones.all()
            last = [np.stack([info["terminal_observation"] for info in each]) for each in (infos, other_infos)]
            check(*last, z, losses)
            assert not any(info["TimeLimit.truncated"] for info in infos)
            assert (budget.z != z).any()
            z, losses = budget.z, np.zeros(env.num_envs)
        else:
            assert budget.z is z
        check(seen, own, z, losses)


def test_it_is_the_last_block_and_made_by_random_play_unless_it_is_given():
    env = RiskAverseVecEnv("EnergyMarket-v0", 2, n_agents=6, horizon=2, observe="mean-field")
    assert [block.name for block in env.observe] == ["mean-field", "risk-budget"]
    expected = RiskBudget.from_random_play(env.game)
    assert env.budget == expected
    assert_array_equal(env.budget.z, expected.z)
    assert_array_equal(env.budget.gamma, env.game.agents["risk_aversion"])
    first = RiskAverseVecEnv(env.game, observe=[env.budget, "mean-field"])
    assert first.budget is env.budget
    assert [block.name for block in first.observe] == ["risk-budget", "mean-field"]


def test_monitors_report_the_objective():
    game = GAMES["gamble"]
    env = VecCheckNan(VecMonitor(RiskAverseVecEnv(game, 3, observe=budget_of(game))), raise_exception=True)
    told = play(env, 3, seed=2)
    totals = sum(rewards for _, _, rewards, _, _ in told)
    for row, info in enumerate(told[-1][-1]):
        assert info["episode"]["r"] == pytest.approx(totals[row], abs=1e-5)
        assert info["episode"]["l"] == 3
    assert env.unwrapped.measured["objective"] == pytest.approx(-totals.mean(), abs=1e-5)


# The budgets.


def test_steps_of_z_by_hand():
    budget = RiskBudget([0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [2.0, 2.0, 10.0], alpha=0.25, step_size=0.1)
    # Exceeded by none, by half and, since 1 does not exceed 1, by a quarter.
    budget.learn(np.array([[0.0, 3.0, 1.0], [1.0, 2.0, 1.0], [0.5, 0.0, 1.0], [0.9, 0.9, 1.1]]))
    assert_allclose(budget.z, [1.0 - 0.2, 1.0 + 0.2, 1.0], rtol=1e-15)


def test_z_goes_to_the_quantile():
    """The losses are uniform on [0, i]: the .9 quantile is .9 i.

    Near it a step multiplies the error by 1 - s / alpha, s = step_size scale / i = .005, and adds noise of
    variance s^2 (1 - alpha) / (alpha W), all times i: with W = 200 a stationary standard deviation of .0034 i, of
    which 7 are allowed: an error rate below 1e-8 in six numbers, the skewness of 200 draws of .1 included.
    """
    alpha, n_worlds, i = 0.1, 200, np.array([1.0, 2.0, 3.0])
    game = Lottery(n_agents=4)
    step = 0.005
    sd = np.sqrt(step**2 * (1 - alpha) / (alpha * n_worlds) / (1 - (1 - step / alpha) ** 2))
    for begin in (0.0, 1.5):
        budget = RiskBudget(
            [0.0, 0.3, 0.7, 1.0], begin * np.arange(4), [1.0, 1.0, 2.0, 3.0], alpha=alpha, step_size=step
        )
        play(RiskAverseVecEnv(game, n_worlds, observe=budget), 2 * 300, seed=1)
        assert (np.abs(budget.z[1:] - (1 - alpha) * i) < 7 * sd * i).all()
        # Agent 0 always loses nothing, which is within any budget z >= 0, and a step below it is one too low.
        assert abs(budget.z[0]) < step / alpha


def test_it_begins_with_quantiles_of_random_play(monkeypatch):
    """Of K = 4000 losses uniform on [0, i], within 6 standard deviations: an error rate below 1e-7 in all."""
    game, i, k = Lottery(n_agents=4), np.arange(4.0), 4000
    found = RiskBudget.from_random_play(game, 0.25, alpha=0.1, step_size=0.5, n_episodes=k)
    assert (np.abs(found.z - 0.9 * i) <= 6 * np.sqrt(0.09 / k) * i).all()
    assert (np.abs(found.scale - 0.25 * i)[1:] <= 6 * np.sqrt(1 / 48 / k) * i[1:]).all()
    assert (found.z[0], found.scale[0]) == (0.0, 1.0)
    assert_array_equal(found.gamma, np.full(4, 0.25))
    assert (found.alpha, found.step_size) == (0.1, 0.5)
    monkeypatch.setattr(risk, "WARM_UP_AGENT_STEPS", 4 * 999)
    again = RiskBudget.from_random_play(game, 0.25, alpha=0.1, n_episodes=k)
    assert_array_equal(again.z, found.z)
    other = RiskBudget.from_random_play(game, 0.25, alpha=0.1, n_episodes=k, seed=1)
    assert (other.z[1:] != found.z[1:]).all()


def test_measures_are_those_of_a_sample_whose_quantile_z_is():
    rng = np.random.default_rng(4)
    losses, gamma = rng.standard_t(3, (40, 5)), rng.random(5)
    z = np.sort(losses, axis=0)[-4]  # the worst tenth of 40 are 4: any z between the fourth and the fifth
    found = RiskBudget(gamma, z, np.ones(5), alpha=0.1).measures(losses)
    assert found["expected_loss"] == pytest.approx(losses.mean(), rel=1e-12)
    assert found["cvar"] == pytest.approx(cvar(losses.T, 0.1).mean(), rel=1e-12)
    assert found["objective"] == pytest.approx(risk_adjusted(losses.T, gamma, 0.1).mean(), rel=1e-12)
    assert found["z_mean"] == pytest.approx(z.mean(), rel=1e-12)
    assert found["exceeded"] == pytest.approx(3 / 40, rel=1e-12)
    worse = RiskBudget(gamma, z + 0.5, np.ones(5), alpha=0.1).measures(losses)
    assert worse["cvar"] > found["cvar"]


def test_measures_are_of_the_episodes_that_ended_at_the_z_they_were_played_with():
    game = GAMES["gamble"]
    budget = budget_of(game)
    z = budget.z
    env = RiskAverseVecEnv(game, 4, observe=budget)
    assert env.measured == {}
    losses = -sum(rewards for _, _, rewards, _, _ in play(vec_env(game, 4), 3, seed=8)).reshape(4, 2)
    play(env, 3, seed=8)
    assert env.measured["z_mean"] == z.mean()
    assert env.measured["expected_loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert_allclose(budget.z, z - 0.02 * budget.scale * (1 - (losses > z).mean(axis=0) / 0.05), rtol=1e-12)


def test_z_may_be_kept():
    game = GAMES["gamble"]
    budget = budget_of(game)
    z = budget.z.copy()
    env = RiskAverseVecEnv(game, observe=budget, learns_z=False)
    play(env, 7, seed=0)
    assert_array_equal(budget.z, z)
    assert env.measured


def test_an_episode_that_is_not_finished_teaches_nothing():
    game = GAMES["gamble"]
    env = RiskAverseVecEnv(game, observe=budget_of(game))
    z = env.budget.z
    play(env, 2, seed=0)
    env.reset()
    assert env.budget.z is z
    assert env.measured == {}


def test_equal_budgets_are_of_the_same_aversions_and_tail():
    one = RiskBudget([0.1, 0.2], [1.0, 2.0], [1.0, 1.0])
    assert one == RiskBudget([0.1, 0.2], [3.0, 2.0], [1.0, 5.0], step_size=1.0)
    assert one != RiskBudget([0.1, 0.3], [1.0, 2.0], [1.0, 1.0])
    assert one != RiskBudget([0.1, 0.2], [1.0, 2.0], [1.0, 1.0], alpha=0.1)
    assert one != RiskBudget([0.1], [1.0], [1.0])
    assert one != "risk-budget"
    assert repr(one) == "RiskBudget(2 agents, mean gamma 0.15, alpha 0.05)"


# Playing a policy that observes its budget.


class GamblesIfItCanAffordIt:
    """Gambles where something is left of the budget."""

    def __init__(self, budget):
        self.observe = (budget,)

    def action_probabilities(self, observations):
        gambles = (observations[:, CHOOSE] == 1.0) & (observations[:, -2] > 0.5)
        return np.stack([~gambles, gambles], axis=1).astype(np.float64)


def test_policies_are_evaluated_with_their_own_budgets():
    game = Gamble(n_agents=50)
    # Agent 0 can afford to lose before and after a windfall of 4, the last one never, the others after it.
    z = np.full(50, -2.0)
    z[0], z[-1] = 1.0, -5.0
    policy = GamblesIfItCanAffordIt(RiskBudget(np.zeros(50), z, np.ones(50)))
    returns = evaluate(game, policy, n_worlds=64).returns
    assert set(returns[:, 0].tolist()) == {-4.0, 2.0, 0.0, 6.0}
    assert set(returns[:, -1].tolist()) == {0.0, 4.0}
    middle = returns[:, 1:-1]
    assert set(middle.ravel().tolist()) == {0.0, 6.0}
    # Half have no windfall, a fifth of the others lose it: .6 of 3072, within 6 standard deviations (2e-9).
    assert abs((middle == 0.0).mean() - 0.6) < 6 * np.sqrt(0.24 / middle.size)


# Going on from where it was.


@by_game
@pytest.mark.parametrize("steps", [1, 5])
def test_a_fresh_environment_goes_on_from_a_snapshot(name, steps):
    game = GAMES[name]

    def fresh(seed):
        return RiskAverseVecEnv(game, 2, observe=budget_of(game, seed))

    env = fresh(0)
    other = RiskAverseVecEnv(game, 2, observe=RiskBudget(env.budget.gamma, *np.ones((2, game.n_agents))))
    play(env, steps, seed=6)
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    told = play(env, 2 * game.horizon)
    z = env.budget.z
    other.seed(0)
    other.reset()
    for each in (other, env):
        assert_array_equal(each.restore(snapshot), each._observe_rows())
        for mine, theirs in zip(play(each, 2 * game.horizon), told, strict=True):
            for a, b in zip(mine[:4], theirs[:4], strict=True):
                assert_array_equal(a, b)
        assert_array_equal(each.budget.z, z)
        assert_array_equal(each.budget.scale, env.budget.scale)


def test_other_snapshots_are_refused():
    env = RiskAverseVecEnv(GAMES["gamble"])
    env.seed(0)
    env.reset()
    with pytest.raises(TypeError, match="must be a RiskSnapshot, which holds z, got a Snapshot"):
        env.restore(env.engine.snapshot())
    z = env.budget.z
    with pytest.raises(ValueError, match=re.escape("snapshot.z must have shape (2,), got (3,)")):
        env.restore(dataclasses.replace(env.snapshot(), z=np.zeros(3)))
    with pytest.raises(ValueError, match="snapshot must be from within an episode"):
        env.restore(dataclasses.replace(env.snapshot(), time=3, z=np.zeros(2)))
    assert env.budget.z is z
    assert isinstance(env.snapshot(), RiskSnapshot)


# Errors.


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"gamma": [0.5, 1.5]}, ValueError, "gamma[1] must be a finite number in [0, 1], got"),
        ({"gamma": 0.5}, ValueError, "gamma must have shape (n_agents,), got ()"),
        ({"gamma": [0.5, np.nan]}, ValueError, "gamma[1] must be"),
        ({"z": [1.0]}, ValueError, "z must have shape (2,), got (1,)"),
        ({"z": [np.inf, 1.0]}, ValueError, "z[0] must be a finite number"),
        ({"scale": [1.0, 0.0]}, ValueError, "scale[1] must be"),
        ({"scale": ["a", "b"]}, TypeError, "scale must be an array of numbers"),
        ({"alpha": 0.0}, ValueError, "alpha must be a finite number in (0, 1], got 0.0"),
        ({"step_size": 0}, ValueError, "step_size must be a finite number in (0, inf), got 0"),
    ],
)
def test_budgets_that_are_none(changes, error, message):
    arguments = {"gamma": [0.5, 0.5], "z": [1.0, 1.0], "scale": [1.0, 1.0]}
    with pytest.raises(error, match=re.escape(message)):
        RiskBudget(**(arguments | changes))


@pytest.mark.parametrize(
    ("game", "changes", "error", "message"),
    [
        (
            Lottery(),
            {},
            TypeError,
            "gamma, the risk aversion, must be given, since agents of Lottery have no",
        ),
        (Gamble(), {"gamma": -0.1}, ValueError, "gamma must be a finite number in [0, 1], got -0.1"),
        (Gamble(), {"gamma": [0.1] * 3}, ValueError, "gamma must have shape (2,), got (3,)"),
        (Gamble(), {"alpha": 2}, ValueError, "alpha must be"),
        (Gamble(), {"n_episodes": 1}, ValueError, "n_episodes must be an integer >= 2, got 1"),
        (Gamble(), {"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        (
            RockPaperScissors(discount=0.9),
            {"gamma": 0.5},
            TypeError,
            "a game that ends, got a RockPaperScissors with discount 0.9",
        ),
    ],
)
def test_random_play_of_what_it_is_not_for(game, changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        RiskBudget.from_random_play(game, **changes)


def test_budgets_that_do_not_fit():
    game, two = Gamble(), RiskBudget([0.5, 0.5], [1.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="risk budget of 2 agents does not fit a game of 3"):
        RiskAverseVecEnv(Gamble(n_agents=3), observe=two)
    with pytest.raises(TypeError, match="game that ends"):
        RiskAverseVecEnv(RockPaperScissors(n_agents=2, discount=0.9), observe=two)
    with pytest.raises(ValueError, match="one RiskBudget at most"):
        RiskAverseVecEnv(game, observe=[two, RiskBudget([0.1, 0.5], [1.0, 1.0], [1.0, 1.0])])
    with pytest.raises(TypeError, match="learns_z must be True or False"):
        RiskAverseVecEnv(game, observe=two, learns_z=1)
    engine = Engine(game)
    engine.reset(seed=0)
    engine.step(engine.random_actions())
    with pytest.raises(RuntimeError, match="when an episode begins, got time 1"):
        two.bind(game)(np.zeros((1, 2, 2), np.float32), engine)
