"""Exploitability among N agents against exact enumeration of the joint chain, for N <= 4.

Random checks compare within 6 standard errors (2e-9) unless they say otherwise; seeds are fixed.
"""

import dataclasses
import functools

import ferry
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joint_chain import JointChain, from_the_population
from numpy.testing import assert_allclose
from oracles import random_policy
from scipy import stats

from mfenvs import Engine, InducedGame, n_player_exploitability
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.meanfield import n_player
from mfenvs.meanfield.n_player import Estimate

UNLIKE = {"alpha_width": 0.1, "beta_width": 0.4}
"""Very different agents."""


def epidemic(n, horizon, discount=1.0):
    game = Epidemic(n_agents=n, horizon=horizon, discount=discount, initial_infected=0.4, **UNLIKE)
    return JointChain(game, *map(from_the_population, (oracles.epidemic_row, oracles.epidemic_reward)))


def rock_paper_scissors(n, horizon, discount=1.0):
    game = RockPaperScissors(n_agents=n, horizon=horizon, discount=discount, beta=1.0)
    return JointChain(game, *map(from_the_population, (oracles.rps_row, oracles.rps_reward)))


CHAINS = {
    "epidemic-2": functools.partial(epidemic, 2, 3),
    "epidemic-3": functools.partial(epidemic, 3, 3),
    "epidemic-4": functools.partial(epidemic, 4, 2),
    "epidemic-2-forever": functools.partial(epidemic, 2, 3, 0.7),
    "rps-2-forever": functools.partial(rock_paper_scissors, 2, 2, 0.4),
    "rps-3": functools.partial(rock_paper_scissors, 3, 2),
    "ferry-3": lambda: JointChain(ferry.Ferry(n_agents=3, horizon=3, slope=0.3), ferry.row, ferry.earned),
}


@functools.cache
def case(name, same):
    """The chain, the policies as given, as (N, H, S, A), E_i, and what the estimate tends to."""
    chain = CHAINS[name]()
    game = chain.game
    shape = game.policy_shape
    rng = np.random.default_rng(4)
    given_policy = random_policy(rng, *shape) if same else random_policy(rng, game.n_agents, *shape)
    policies = np.broadcast_to(given_policy, (game.n_agents, game.horizon, *shape[1:])).copy()
    agents = range(game.n_agents)
    exact = np.array([chain.exploitability(policies, i) for i in agents])
    limit = np.array([chain.limit_of_the_estimate(policies, i) for i in agents])
    return chain, given_policy, policies, exact, limit


LARGE = ("epidemic-3", "epidemic-4", "rps-3")
"""Chains of which the exact gains take long to enumerate."""
by_case = pytest.mark.parametrize(
    ("name", "same"),
    [
        pytest.param(name, same, marks=pytest.mark.slow if name in LARGE else ())
        for name in CHAINS
        for same in (True, False)
    ],
    ids=str,
)


def as_policy(actions, n_actions):
    return np.eye(n_actions)[actions]


@by_case
def test_the_estimate_tends_to_the_gain_in_the_averaged_problem(name, same):
    """The mean of 40 estimates within 8 standard errors (t, 39 degrees: 1e-9) and .001 for a bias O(1/K)."""
    chain, given_policy, _, _, limit = case(name, same)
    runs = [n_player_exploitability(chain.game, given_policy, n_worlds=2000, seed=k).per_agent for k in range(40)]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert error.max() < 0.02
    assert (np.abs(np.mean(runs, axis=0) - limit) <= 8 * error + 1e-3).all()


@by_case
def test_the_limit_of_the_estimate_is_within_the_deviators_influence(name, same):
    """Exact where the others cannot notice (A-RPS, two steps of A-SIS); else of order 1 / (N - 1).

    In three steps of A-SIS own infectiousness at step 0 moves each other's infection by <= alpha / (N - 1),
    hence their share at step 1 by as much, own infection at step 2 by alpha^2 / (N - 1) and two returns,
    costing 1 each, by twice that.
    """
    chain, _, _, exact, limit = case(name, same)
    assert exact.max() > 0.05
    if name.startswith("rps") or chain.game.horizon < 3:
        assert_allclose(limit, exact, atol=1e-12)
    elif name.startswith("epidemic"):
        alpha = float(chain.game.agents["susceptibility"].max())
        assert np.abs(limit - exact).max() <= 2 * alpha**2 / (chain.game.n_agents - 1)


@by_case
def test_the_lower_bounds_are_the_exact_gains_of_the_candidates(name, same):
    chain, given_policy, policies, exact, _ = case(name, same)
    game = chain.game
    found = n_player_exploitability(game, given_policy, n_worlds=10_000, deviators_per_world=2, seed=1)
    gains = np.array(
        [chain.gain(policies, i, as_policy(found.candidates[i], game.n_actions)) for i in range(game.n_agents)]
    )
    assert (gains <= exact + 1e-9).all()
    assert gains.max() > 0.05
    worst = found.per_agent.argmax()
    for bound, expected in ((found.max_lower_bound, gains[worst]), (found.mean_lower_bound, gains.mean())):
        assert bound.n_samples == 10_000
        assert bound.standard_error < 0.04
        # Single precision in simulation shows at 1e-6.
        assert abs(bound.value - expected) <= 6 * bound.standard_error + 2e-6
    # Where the estimate is exact in the limit, the candidate is a best response but for near ties.
    if name.startswith("rps"):
        assert_allclose(gains, exact, atol=0.02)


def test_the_interval_covers_the_exact_gain_as_often_as_it_says():
    """400 intervals at 95 %; were they at 94 %, fewer than 352 would cover with probability 4e-7."""
    chain, given_policy, policies, _, _ = case("epidemic-3", True)
    gain = functools.cache(
        lambda i, code: chain.gain(policies, i, as_policy(np.array(code).reshape(3, 2), 2)),
    )
    covered = {"max": 0, "mean": 0}
    for seed in range(400):
        found = n_player_exploitability(chain.game, given_policy, n_worlds=50, deviators_per_world=1, seed=seed)
        gains = [gain(i, tuple(found.candidates[i].ravel().tolist())) for i in range(3)]
        worst = int(found.per_agent.argmax())
        for name, bound, value in (
            ("max", found.max_lower_bound, gains[worst]),
            ("mean", found.mean_lower_bound, np.mean(gains)),
        ):
            low, high = bound.interval
            covered[name] += low <= value <= high
    assert min(covered.values()) >= 352
    assert max(covered.values()) < 400  # and they are not too wide to say anything


@pytest.mark.parametrize("game", [Epidemic(n_agents=20, horizon=6), RockPaperScissors(n_agents=200, horizon=4)])
def test_the_lower_bound_agrees_with_returns_that_were_received_and_is_sharper(game):
    """Against paired differences of plain returns in other worlds: no bias from the control variate.

    What is left of the variance is that of the others' shares, of order 1 / N.
    """
    policy = random_policy(np.random.default_rng(3), game.horizon, game.n_states, game.n_actions)
    found = n_player_exploitability(game, policy, n_worlds=2000, seed=5)
    worst = int(found.per_agent.argmax())
    deviation = as_policy(found.candidates[worst], game.n_actions)
    n = 10_000
    engine = Engine(game, n)
    without = engine.rollout(policy, seed=77).returns[:, worst]
    with_it = engine.rollout(
        policy, seed=77, deviators=np.full(n, worst), deviations=np.broadcast_to(deviation, (n, *policy.shape))
    ).returns[:, worst]
    raw = Estimate.of(with_it - without)
    bound = found.max_lower_bound
    assert abs(bound.value - raw.value) <= 6 * np.hypot(bound.standard_error, raw.standard_error)
    per_world = bound.standard_error * np.sqrt(2000), raw.standard_error * np.sqrt(n)
    assert per_world[0] < per_world[1] / 2


def test_one_policy_for_all_is_the_same_as_everyones_copy():
    game = Epidemic(n_agents=6, horizon=4)
    policy = random_policy(np.random.default_rng(0), 4, 2, 2)
    one = n_player_exploitability(game, policy, n_worlds=10, deviators_per_world=3, seed=2)
    each = n_player_exploitability(game, np.stack([policy] * 6), n_worlds=10, deviators_per_world=3, seed=2)
    assert_allclose(one.per_agent, each.per_agent, rtol=1e-12)
    for name, number in one.summary().items():
        assert number == pytest.approx(each.summary()[name]), name


def test_chosen_agents_are_measured_as_among_all():
    chain, everyone, *_ = case("epidemic-3", False)
    game = chain.game
    whole = n_player_exploitability(game, everyone, n_worlds=8, seed=3)
    some = n_player_exploitability(game, everyone, n_worlds=8, seed=3, agents=[2, 0])
    assert some.agents.tolist() == [2, 0]
    assert_allclose(some.per_agent, whole.per_agent[[2, 0]], rtol=0, atol=0)
    assert (some.candidates == whole.candidates[[2, 0]]).all()
    alone = n_player_exploitability(game, everyone, n_worlds=8, seed=3, agents=[int(whole.per_agent.argmax())])
    assert alone.max_lower_bound == whole.max_lower_bound
    assert alone.mean_lower_bound == whole.max_lower_bound


def test_an_infinite_game_is_taken_as_far_as_its_horizon():
    """What a stationary policy gains in H steps is what it gains in the game of H steps that repeats it.

    With a discount of one but for rounding it is the same number, and the candidates depend on the time.
    """
    game = Epidemic(n_agents=6, horizon=4, initial_infected=0.4, discount=np.nextafter(1.0, 0.0), **UNLIKE)
    ending = dataclasses.replace(game, discount=1.0)
    policy = random_policy(np.random.default_rng(0), 1, 2, 2)
    asked = {"n_worlds": 10, "deviators_per_world": 3, "seed": 2}
    found = n_player_exploitability(game, policy, **asked)
    same = n_player_exploitability(ending, np.repeat(policy, 4, axis=0), **asked)
    assert_allclose(found.per_agent, same.per_agent, rtol=1e-12)
    assert np.array_equal(found.candidates, same.candidates)
    assert found.candidates.shape == (6, 4, 2)
    for name, number in found.summary().items():
        assert number == pytest.approx(same.summary()[name]), name


def test_discounted_costs_by_hand():
    """Without an infection isolation costs xi_i (1 + gamma + gamma^2 + gamma^3)."""
    game = Epidemic(n_agents=5, horizon=4, initial_infected=0.0, discount=0.5)
    found = n_player_exploitability(game, [[1.0, 0.0]] * 2, n_worlds=3, deviators_per_world=5)
    costs = 1.875 * game.agents["aversion"].astype(float)
    assert_allclose(found.per_agent, costs, rtol=1e-9)
    assert found.max_lower_bound.value == pytest.approx(costs.max())
    assert found.mean_lower_bound.value == pytest.approx(costs.mean())


def test_a_large_discounted_population_is_as_exploitable_as_the_mean_field_says():
    """Begun in the stationary law, over 60 steps of .8: what is cut off is worth .8^60 * 5 < 1e-4."""
    constants = {"n_agents": 1000, "horizon": 60, "discount": 0.8, "heterogeneity": 0}
    policy = np.array([[0.1, 0.9], [0.2, 0.8]])
    infected = InducedGame(Epidemic(**constants)).flow(policy).mu[0, 0].sum()
    game = Epidemic(**constants, initial_infected=infected)
    found = n_player_exploitability(game, policy, n_worlds=16, deviators_per_world=4)
    expected = InducedGame(game).exploitability(policy)
    assert expected > 0.15
    assert found.max == pytest.approx(expected, abs=0.02)
    assert found.max_lower_bound.value == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("discount", [1.0, 0.7])
@pytest.mark.parametrize("same", [True, False])
def test_problems_are_tabulated_in_batches(monkeypatch, discount, same):
    """All at once, two by two with one left over, or one by one: the same numbers."""
    game = Epidemic(n_agents=5, horizon=3, discount=discount, **UNLIKE)
    policy = random_policy(np.random.default_rng(0), *(() if same else (5,)), *game.policy_shape)
    found = []
    for numbers in (n_player.NUMBERS_AT_A_TIME, 2 * 3 * 2 * 2 * 2, 1):
        monkeypatch.setattr(n_player, "NUMBERS_AT_A_TIME", numbers)
        assert len(n_player.batches_of_problems(game, 5)) == {48: 3, 1: 5}.get(numbers, 1)
        found.append(n_player_exploitability(game, policy, n_worlds=7, deviators_per_world=2, seed=3))
    assert found[0].max > 0
    for other in found[1:]:
        assert np.array_equal(other.per_agent, found[0].per_agent)
        assert np.array_equal(other.candidates, found[0].candidates)
        assert other.summary() == found[0].summary()


def test_seeds_repeat_and_differ():
    game = RockPaperScissors(n_agents=4, horizon=2)
    policy = np.full((2, 3, 3), 1 / 3)
    a, b, c = (n_player_exploitability(game, policy, n_worlds=8, deviators_per_world=2, seed=s) for s in (1, 1, 2))
    assert a.summary() == b.summary()
    assert np.array_equal(a.candidates, b.candidates)
    assert a.max != c.max
    assert a.max_lower_bound.value != c.max_lower_bound.value


def test_nobody_gains_where_going_out_is_free():
    """Without an infection going out is best; isolation costs everyone H xi_i, and that is E_i exactly."""
    game = Epidemic(n_agents=5, horizon=4, initial_infected=0.0)
    out, isolated = (np.tile(np.eye(2)[a], (4, 2, 1)) for a in (1, 0))
    best = n_player_exploitability(game, out, n_worlds=3, deviators_per_world=5)
    assert best.max == best.mean == 0.0
    assert best.max_lower_bound.value == best.max_lower_bound.standard_error == 0.0
    worst = n_player_exploitability(game, isolated, n_worlds=3, deviators_per_world=5)
    costs = 4 * game.agents["aversion"].astype(float)
    assert_allclose(worst.per_agent, costs, rtol=1e-9)
    assert (worst.candidates[:, :, 1] == 1).all()
    assert worst.max == pytest.approx(costs.max())
    assert worst.max_lower_bound.value == pytest.approx(costs.max())
    assert worst.mean_lower_bound.value == pytest.approx(costs.mean())
    assert worst.mean_lower_bound.standard_error < 1e-9


def test_many_equal_agents_are_as_exploitable_as_the_mean_field_says():
    """At N = 1000 the finite population's noise is about 1 / sqrt(N) times the gain's slope: .02 is generous."""
    game = Epidemic(n_agents=1000, horizon=10, heterogeneity=0)
    policy = random_policy(np.random.default_rng(1), 10, 2, 2)
    found = n_player_exploitability(game, policy, n_worlds=32)
    expected = InducedGame(game).exploitability(policy)
    assert expected > 0.3
    assert found.max == pytest.approx(expected, abs=0.02)
    assert np.ptp(found.per_agent) < 0.02
    assert found.max_lower_bound.value == pytest.approx(expected, abs=0.02)
    assert found.mean_lower_bound.standard_error < 0.01


class TestEstimate:
    @given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda x: np.ptp(x) > 1e-3))
    def test_against_scipy(self, samples):
        found = Estimate.of(np.array(samples))
        assert found.n_samples == len(samples)
        assert found.value == pytest.approx(np.mean(samples), abs=1e-9)
        assert found.standard_error == pytest.approx(stats.sem(samples))
        expected = stats.t.interval(0.95, len(samples) - 1, np.mean(samples), stats.sem(samples))
        assert_allclose(found.interval, expected, rtol=1e-9, atol=1e-9)

    def test_another_confidence(self):
        low, high = Estimate(1.0, 0.5, 11, confidence=0.99).interval
        assert (high - low) / 2 / 0.5 == pytest.approx(3.16927, abs=1e-5)  # t(10) at 99.5 %, from a printed table

    def test_text(self):
        assert str(Estimate(1.0, 0.0, 5)) == "1.0000 [1.0000, 1.0000]"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"game": "Epidemic-v0"}, TypeError, "game must be a FiniteGame, got str"),
        ({"n_worlds": 1}, ValueError, "n_worlds must be an integer >= 2, got 1"),
        ({"deviators_per_world": 6}, ValueError, r"deviators_per_world must be an integer in \[1, 5\], got 6"),
        ({"policy": np.full((2, 2), 0.5)}, ValueError, r"policy must have shape \(3, 2, 2\), got \(2, 2\)"),
        ({"policy": np.full((4, 3, 2, 2), 0.5)}, ValueError, r"policy must have shape \(5, 3, 2, 2\)"),
        ({"policy": np.full((3, 2, 2), 0.6)}, ValueError, r"policy\[0, 0\] must be probabilities"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
        ({"agents": []}, ValueError, r"agents must be a sequence of at least one index, got \[\]"),
        ({"agents": [0.0, 1.0]}, ValueError, "agents must be a sequence of at least one index"),
        ({"agents": [0, 5]}, ValueError, r"agents must hold different indices in \[0, 4\], got \[0, 5\]"),
        ({"agents": [1, 3, 1]}, ValueError, r"agents must hold different indices"),
        ({"agents": [1]}, ValueError, r"deviators_per_world must be an integer in \[1, 1\], got 2"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    given_arguments = {
        "game": Epidemic(n_agents=5, horizon=3),
        "policy": np.full((3, 2, 2), 0.5),
        "deviators_per_world": 2,
    }
    with pytest.raises(error, match=message):
        n_player_exploitability(**(given_arguments | arguments))
