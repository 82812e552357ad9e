"""A-SIS against hand-worked numbers, the printed formulas, and frequencies in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from oracles import epidemic_reward, epidemic_row, wide
from scipy import stats

from mfenvs import Engine, World
from mfenvs.games.epidemic import Epidemic
from mfenvs.rules import plain

I, H, D, U = 0, 1, 0, 1  # noqa: E741


def rows(game, states, actions):
    """Transition rows and rewards of all agents, from the plain rules and a world counted here."""
    n = game.n_agents
    cells = 2 * np.array(states) + np.array(actions)
    counts = np.bincount(cells, minlength=4).astype(float)
    found, rewards = np.empty((n, 2)), np.empty(n)
    for i in range(n):
        world = World(counts, np.zeros(0), (), 0, cells[i], 1.0, 1 / (n - 1), 1 / n)
        where = (states[i], actions[i], game.agents[i], world)
        found[i] = [plain(game.transition)(t, *where) for t in (I, H)]
        rewards[i] = plain(game.reward)(*where)
    return found, rewards


def test_three_agents_by_hand():
    """Agent 0, healthy, goes out among one infected who goes out and one who stays: .9 * 1/2 = .45."""
    found, rewards = rows(Epidemic(n_agents=3, heterogeneity=0), [H, I, I], [U, U, D])
    assert_allclose(found, [[0.45, 0.55], [0.7, 0.3], [0.7, 0.3]], rtol=1e-6)
    assert_allclose(rewards, [0.0, -1.0, -1.5], rtol=1e-6)


def test_two_agents_by_hand():
    """The population is the other one alone: sigma(I, U) is 0 or 1, never 1/2."""
    game = Epidemic(n_agents=2, heterogeneity=0)
    for actions, infected in (([U, U], 0.9), ([U, D], 0.0), ([D, U], 0.0), ([D, D], 0.0)):
        found, rewards = rows(game, [H, I], actions)
        assert_allclose(found[0], [infected, 1 - infected], atol=1e-6)
        assert_allclose(rewards, [-0.5 * (actions[0] == D), -1 - 0.5 * (actions[1] == D)], atol=1e-6)
    # Both healthy: nobody to catch it from, least of all oneself.
    assert_allclose(rows(game, [H, H], [U, U])[0], [[0, 1], [0, 1]], atol=1e-7)


@given(st.integers(0, 10**6))
def test_every_profile_of_three_different_agents_agrees_with_the_printed_formulas(seed):
    rng = np.random.default_rng(seed)
    game = Epidemic(n_agents=3, agents_seed=seed)
    states, actions = rng.integers(0, 2, (2, 3))
    found, rewards = rows(game, states, actions)
    for i, agent in enumerate(wide(game.agents)):
        sigma = np.zeros((2, 2))
        for j in {0, 1, 2} - {i}:
            sigma[states[j], actions[j]] += 1 / 2
        assert_allclose(found[i], epidemic_row(agent, states[i], actions[i], sigma), atol=1e-6)
        assert_allclose(rewards[i], epidemic_reward(agent, states[i], actions[i], sigma), atol=1e-6)


def test_simulated_transitions_have_the_probabilities_of_the_formula():
    """Pearson's z by (state, action) over 10^5 agent-steps; six tests at 1e-8 each, seed fixed."""
    game = Epidemic(n_agents=25, horizon=4)
    policy = np.full((4, 2, 2), 0.5)
    run = Engine(game, 1000).rollout(policy, seed=2)
    people = wide(game.agents)
    s, a, t = run.states[:, :-1].astype(int), run.actions.astype(int), run.states[:, 1:].astype(int)
    out = ((s == I) & (a == U)).sum(axis=-1, keepdims=True)
    sigma_out = (out - ((s == I) & (a == U))) / (game.n_agents - 1)
    alpha, theta = (np.array([x[k] for x in people]) for k in ("susceptibility", "recovery"))
    expected = np.where(s == I, 1 - theta, np.where(a == U, alpha * sigma_out, 0.0))
    limit = stats.norm.isf(0.5e-8)
    for state, action in ((I, D), (I, U), (H, U)):
        at = (s == state) & (a == action)
        p, x = expected[at], t[at] == I
        assert at.sum() > 10_000
        assert abs((x - p).sum()) / math.sqrt((p * (1 - p)).sum()) < limit
    assert (t[(s == H) & (a == D)] == H).all()
    # Not only the level: infections follow sigma(I, U), up and down.
    at = (s == H) & (a == U)
    p, x = expected[at], t[at] == I
    slope = (x - p) * (p - p.mean())
    assert abs(slope.sum()) / math.sqrt((p * (1 - p) * (p - p.mean()) ** 2).sum()) < limit
    # And every agent has its own parameters.
    each = (((t == I) - expected).sum(axis=(0, 1))) / np.sqrt((expected * (1 - expected)).sum(axis=(0, 1)))
    assert stats.chi2.sf((each**2).sum(), game.n_agents) > 1e-8
    start = run.states[:, 0] == I
    assert abs(start.mean() - 0.5) * 2 * math.sqrt(start.size) < limit
    expected_rewards = -1.0 * (s == I) - np.array([x["aversion"] for x in people]) * (a == D)
    assert_allclose(run.rewards, expected_rewards, atol=1e-6)


@pytest.mark.parametrize(("share", "infected"), [(0.0, 0), (1.0, 1)])
def test_nobody_or_everybody_infected_at_the_start(share, infected):
    game = Epidemic(n_agents=50, initial_infected=share)
    assert (Engine(game, 20).reset(seed=1) == 1 - infected).all()


def test_a_share_of_infected_at_the_start():
    """Binomial, |z| < 5.7: 1e-8."""
    states = Engine(Epidemic(n_agents=1000, initial_infected=0.2), 100).reset(seed=1)
    assert abs((states == I).mean() - 0.2) / math.sqrt(0.2 * 0.8 / states.size) < 5.7


def test_default_agents_lie_in_the_ranges_of_the_specification():
    agents = Epidemic().agents
    ranges = {"susceptibility": (0.85, 0.95), "recovery": (0.25, 0.35), "aversion": (0.4, 0.6)}
    assert set(agents.dtype.names) == set(ranges)
    for name, (low, high) in ranges.items():
        values = agents[name].astype(float)
        assert low - 1e-6 <= values.min() < low + 0.01 * (high - low) * 2
        assert high - 0.01 * (high - low) * 2 < values.max() <= high + 1e-6
        assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 1e-7
    correlations = np.corrcoef([agents[n] for n in ranges])[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() * math.sqrt(1000) < 5.7


def test_widths_scale_the_ranges_one_by_one():
    half = Epidemic(heterogeneity=0.5).agents
    assert np.ptp(half["aversion"]) == pytest.approx(0.1, rel=0.02)
    assert np.ptp(half["recovery"]) == pytest.approx(0.05, rel=0.02)
    only_beta = Epidemic(alpha_width=0, beta_width=0.3).agents
    assert np.ptp(only_beta["susceptibility"]) == np.ptp(only_beta["recovery"]) == 0
    assert np.ptp(only_beta["aversion"]) == pytest.approx(0.6, rel=0.02)


def test_without_heterogeneity_all_agents_are_the_same():
    agents = Epidemic(heterogeneity=0).agents
    assert len(np.unique(agents)) == 1
    assert_allclose([agents[0][n] for n in ("susceptibility", "recovery", "aversion")], [0.9, 0.3, 0.5], rtol=1e-6)


def test_agents_are_drawn_by_their_seed():
    assert np.array_equal(Epidemic(agents_seed=4).agents, Epidemic(agents_seed=4).agents)
    assert (Epidemic(agents_seed=4).agents["recovery"] != Epidemic(agents_seed=5).agents["recovery"]).all()


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"alpha_width": -0.1}, r"alpha_width must be a finite number in \[0, inf\), got -0.1"),
        ({"beta_width": -0.1}, r"beta_width must be a finite number in \[0, inf\), got -0.1"),
        ({"heterogeneity": -1}, r"heterogeneity must be a finite number in \[0, inf\), got -1"),
        ({"heterogeneity": math.nan}, "heterogeneity must be a finite number .* got nan"),
        ({"initial_infected": 1.5}, r"initial_infected must be a finite number in \[0, 1\], got 1.5"),
        ({"susceptibility": -0.1}, r"susceptibility must satisfy susceptibility - 0.05 >= 0 .* <= 1, got -0.1"),
        ({"susceptibility": 0.97}, r"susceptibility must satisfy .* susceptibility \+ 0.05 <= 1, got 0.97"),
        ({"recovery": 0.01}, r"recovery must satisfy recovery - 0.05 >= 0 .*, got 0.01"),
        ({"aversion": 0.05}, r"aversion must satisfy aversion - 0.1 >= 0, got 0.05"),
        ({"n_agents": 1}, r"n_agents must be an integer in \[2, 16777216\], got 1"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        Epidemic(**constants)


def test_text_is_no_number():
    with pytest.raises(TypeError, match=r"aversion must be a finite number .* got '0.5'"):
        Epidemic(aversion="0.5")
