"""Plans of a single taxi against brute force on streets (one_taxi.py)."""

import itertools
import math
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from one_taxi import NOBODY, arrivals, outcomes, value_of_street

import mfenvs
from baselines.taxi import planning
from baselines.taxi.planning import MOST_PLAN_BYTES, LoneTaxi, jams_among_others
from baselines.taxi.planning_kernels import solve_step
from mfenvs.games.taxi import Taxi

NOTHING = 64


def on_street(street, rewards=None, **constants):
    rewards = tuple(rewards or (1.5, 1.0, 2.0)[: len(set(street) - set("SH"))])
    same = {"n_agents": 2, "horizon": 6, "arrival": 0.3, "heterogeneity": 0.0}
    return Taxi(city=(street,), base_rewards=rewards, **{**same, **constants})


def random_jams(game, seed=0):
    return np.random.default_rng(seed).uniform(0.0, 0.9, (game.horizon, game.n_places))


def plan_of(game, jams, **kwargs):
    return LoneTaxi(game, 0, **kwargs).solve(jams)


def state_of(place, target, customers):
    bits = sum(1 << p for p in customers)
    return np.array(
        [(place, NOTHING if target is NOBODY else target, bits)],
        Taxi.state_dtype,
    )


STREETS = ["S11", "11S2", "1S22", "1S2", "12S3", "111S"]


@pytest.mark.parametrize("street", STREETS)
@pytest.mark.parametrize("arrival", [0.3, 1.0])
def test_the_value_is_the_optimum_by_brute_force(street, arrival):
    game = on_street(street, arrival=arrival)
    jams = random_jams(game)
    problem = LoneTaxi(game, 0)
    assert problem.is_exact
    plan = problem.solve(jams)
    best = value_of_street(street, game.base_rewards, arrival, jams)
    assert best > 0.0
    assert_allclose(plan.value, best, rtol=1e-6)
    assert_allclose(problem.solve(jams, keep_plan=False).value, plan.value, rtol=1e-14)
    # Whoever follows the plan earns its value.
    followed = value_of_street(
        street,
        game.base_rewards,
        arrival,
        jams,
        lambda time, *state: int(plan.actions(time, state_of(*state))[0]),
    )
    assert_allclose(followed, best, rtol=1e-6)


def test_multipliers_are_the_agents_own():
    game = on_street("1S2", heterogeneity=1.0, reward_width=0.9, n_agents=4)
    jams = random_jams(game)
    for agent in range(4):
        own = np.array(game.base_rewards) * game.agents["multiplier"][agent]
        value = LoneTaxi(game, agent).solve(jams).value
        assert_allclose(value, value_of_street("1S2", own, game.arrival, jams), rtol=1e-6)


@pytest.mark.parametrize("street", ["S11", "11S2", "S111"])
def test_relaxed_values_are_upper_bounds(street):
    game = on_street(street)
    jams = random_jams(game)
    exact = plan_of(game, jams).value
    bounds = [plan_of(game, jams, max_tracked=n).value for n in range(4)]
    assert bounds == sorted(bounds, reverse=True)
    assert_allclose(bounds[-1], exact, rtol=1e-12)
    assert bounds[0] > exact * 1.01
    # A customer in every place from the first step on is no less than the best case.
    assert bounds[0] <= value_of_street(street, game.base_rewards, 1.0, jams) + 1e-9


def test_the_plan_of_a_relaxed_problem_can_be_followed():
    """It earns no more than the optimum, but more than a plan for other jams would show."""
    game = on_street("S111", horizon=7)
    jams = random_jams(game)
    plan = plan_of(game, jams, max_tracked=1)
    assert not plan.problem.is_exact
    followed = value_of_street(
        "S111",
        game.base_rewards,
        game.arrival,
        jams,
        lambda time, *state: int(plan.actions(time, state_of(*state))[0]),
    )
    best = value_of_street("S111", game.base_rewards, game.arrival, jams)
    assert 0.8 * best < followed <= best + 1e-9 < plan.value


def test_a_tolerance_bounds_all_flows_within_it():
    game = on_street("11S2")
    jams, problem = random_jams(game), LoneTaxi(game, 0)
    values = [problem.solve(jams, tolerance=d).value for d in (0.0, 0.05, 0.2)]
    assert values[0] < values[1] < values[2]
    rng = np.random.default_rng(1)
    for _ in range(10):
        other = np.clip(jams + rng.choice([-0.05, 0.05], jams.shape), 0.0, 1.0)
        assert value_of_street("11S2", game.base_rewards, game.arrival, other) <= values[1] + 1e-9


@pytest.mark.parametrize("max_tracked", [4, 5])
def test_a_step_is_the_best_of_all_choices_whatever_comes_after(max_tracked):
    """In the middle of three by three places, with random numbers for what can be earned later.

    There is no wall to drive against: who does not want to move must wait, and pick up the customer if there is
    one. Jams and customers do good or harm.
    """
    game = Taxi(city=("111", "111", "111", "HSH"), base_rewards=(1.0,), n_agents=2, heterogeneity=0.0)
    (part,) = LoneTaxi(game, 0, max_tracked=max_tracked).parts
    rng = np.random.default_rng(max_tracked)
    ahead, values = rng.normal(size=(part.n_rows, part.n_sets)), np.zeros((part.n_rows, part.n_sets))
    low, high = np.full(12, 0.2), np.full(12, 0.7)
    actions, effects = np.zeros((2, *values.shape), np.uint8), np.zeros((2, *values.shape), np.float32)
    where = part.places, part.tracked_bit, low, high
    solve_step(values, actions, effects, ahead, np.zeros((5, part.n_sets)), *where, *part.outcomes)
    for a_set in range(part.n_sets):
        is_known = max_tracked == 5
        stay, choices = ahead[49, a_set], []
        for place, jam in itertools.product((1, 7, 3, 5), (0.2, 0.7)):
            choices.append((1 - jam) * ahead[place * 10 + 9, a_set] + jam * stay)
        for customer in [a_set >> 4] if is_known else [0, 1]:
            picked_up = ahead[40:49, a_set - 16 * (customer and is_known)].mean()
            choices.append(picked_up if customer else stay)
        best = max(choices)
        assert_allclose(values[49, a_set], best, rtol=1e-12)


def test_the_conditional_return_has_the_mean_of_the_return_and_less_variance():
    """Of a taxi that meets other jams than it has planned for; six standard errors."""
    game = on_street("11S2", horizon=8)
    expected, met = 0.1 * random_jams(game), random_jams(game, seed=1)
    plan = plan_of(game, expected)
    rng, returns, conditional = np.random.default_rng(2), [], []

    def drawn(cases):
        chances, *_ = zip(*cases, strict=True)
        return cases[rng.choice(len(cases), p=np.array(chances) / sum(chances))][1:]

    for _ in range(225):
        states, rewards, jams = np.zeros(8, Taxi.state_dtype), np.zeros(8), np.zeros(8)
        place, target, customers = 2, NOBODY, frozenset()
        for time in range(8):
            states[time], jams[time] = state_of(place, target, customers)[0], met[time, place]
            action = int(plan.actions(time, states[time : time + 1])[0])
            cases = outcomes("11S2", game.base_rewards, jams[time], place, target, customers, action)
            rewards[time], place, target, customers = drawn(list(cases))
            (customers,) = drawn(list(arrivals("11S2", game.arrival, customers)))
        returns.append(rewards.sum())
        conditional.append(plan.conditional_return(states, rewards, jams))
    exact = value_of_street(
        "11S2",
        game.base_rewards,
        game.arrival,
        met,
        lambda time, *state: int(plan.actions(time, state_of(*state))[0]),
    )
    assert exact < 0.85 * plan.value
    errors = [np.std(found) / 15 for found in (returns, conditional)]
    assert abs(np.mean(returns) - exact) < 6 * errors[0]
    assert abs(np.mean(conditional) - exact) < 6 * errors[1]
    assert errors[1] < 0.75 * errors[0]
    # Values that are but bounds do not take the place of returns.
    for other in (LoneTaxi(game, 0, max_tracked=1).solve(met), LoneTaxi(game, 0).solve(met, tolerance=0.1)):
        assert other.conditional_return(states, rewards, jams) == rewards.sum()


@pytest.mark.parametrize("street", ["S11", "1S22"])
def test_a_start_that_does_not_know_the_customers_is_relaxed(street, monkeypatch):
    game = on_street(street)
    jams = random_jams(game)
    exact = plan_of(game, jams).value
    monkeypatch.setattr(planning, "MAX_TRACKED_AT_START", 1)
    relaxed = plan_of(game, jams)
    assert not relaxed.problem.is_exact
    assert relaxed.departures.shape[2] == 1
    assert exact * 1.001 < relaxed.value < value_of_street(street, game.base_rewards, 1.0, jams) + 1e-9


def test_too_many_customers_for_the_start():
    """Two zones of ten places each: 20 customers are more than a taxi at the start keeps in mind."""
    game = Taxi(city=("11111", "11111", "HSHHH", "22222", "22222"), n_agents=2, horizon=4, heterogeneity=0.0)
    problem = LoneTaxi(game, 0)
    assert not problem.is_exact
    assert not problem.has_untracked
    assert LoneTaxi(game, 0, max_tracked=9).has_untracked


@pytest.mark.parametrize("max_tracked", [12, 3])
def test_a_plan_is_as_large_as_is_told(max_tracked):
    """It holds values only if they are what the plan is worth."""
    problem = LoneTaxi(Taxi(n_agents=2, horizon=4), 0, max_tracked=max_tracked)
    plan = problem.solve(np.zeros((4, 21)))
    sizes = [array.nbytes for arrays in (plan.services, plan.effects, plan.entry_values) for array in arrays]
    assert sum(sizes) + plan.departures.nbytes == problem.plan_bytes
    assert (sum(sizes[2:]) > 0) is problem.is_exact
    bounded = problem.solve(np.zeros((4, 21)), tolerance=0.1)
    assert not any(array.size for array in (*bounded.effects, *bounded.entry_values))


def test_a_plan_that_is_too_large_is_refused():
    """Of a city of 62 places, of which 16 are tracked."""
    game = Taxi(city=("S" + "1" * 7, *["1" * 8] * 7), base_rewards=(1.0,), n_agents=2)
    problem = LoneTaxi(game, 0, max_tracked=16)
    assert problem.plan_bytes > MOST_PLAN_BYTES
    with pytest.raises(ValueError, match=f"max_tracked must be .* it has {problem.plan_bytes} in this city"):
        problem.solve(np.zeros((128, 64)))
    assert LoneTaxi(game, 0).plan_bytes < MOST_PLAN_BYTES


def test_parts_are_what_a_taxi_can_travel_between():
    assert Taxi(n_agents=2).map.parts.tolist() == [0] * 9 + [-1] * 3 + [1] * 9
    assert on_street("12S3").map.parts.tolist() == [0, 0, -1, 1]


def test_jams_among_others_by_hand():
    """Four taxis of weight 0.8: others' weights 0, 1.6 and 4 make crowds 0.2, 0.6 and 1.2; the cap is 0.7."""
    game = on_street("S11", n_agents=4, jam=0.8)
    assert_allclose(jams_among_others(game, 0, [[0.0, 1.6, 4.0]]), [[0.2, 0.6, 0.7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LoneTaxi(mfenvs.make("Epidemic-v0"), 0), TypeError, "game must be a Taxi, got"),
        (lambda: LoneTaxi(on_street("S1"), 2), ValueError, "agent must be an integer in [0, 1], got 2"),
        (lambda: LoneTaxi(on_street("S1"), 0, max_tracked=17), ValueError, "max_tracked must be an integer in"),
        (
            lambda: plan_of(on_street("S1"), np.zeros((5, 2))),
            ValueError,
            "jams must hold probabilities of shape (6, 2)",
        ),
        (lambda: plan_of(on_street("S1"), np.full((6, 2), 1.1)), ValueError, "jams must hold probabilities"),
        (lambda: plan_of(on_street("S1"), np.full((6, 2), np.nan)), ValueError, "jams must hold probabilities"),
        (
            lambda: LoneTaxi(on_street("S1"), 0).solve(np.zeros((6, 2)), tolerance=-1),
            ValueError,
            "tolerance must be a finite number in [0, 1], got -1",
        ),
        (
            lambda: jams_among_others(on_street("S1"), 0, np.zeros((6, 3))),
            ValueError,
            "others must have shape (..., 2), got (6, 3)",
        ),
        (
            lambda: jams_among_others(on_street("S1"), 0, [[0.0, -0.5]]),
            ValueError,
            "others must hold finite numbers >= 0, got [[0.0, -0.5]]",
        ),
        (
            lambda: jams_among_others(on_street("S1"), 0, [[math.inf, 0.5]]),
            ValueError,
            "others must hold finite numbers >= 0, got [[inf, 0.5]]",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
