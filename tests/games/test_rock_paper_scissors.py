"""A-RPS against hand-worked numbers and the printed formulas."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracles import rps_reward, wide
from scipy import stats

from mfenvs import Engine
from mfenvs.games.rock_paper_scissors import RockPaperScissors

R, P, S = 0, 1, 2


def step(game, profiles):
    """Rewards and next states of given profiles, (n_worlds, n_agents, 2), through the engine."""
    states, actions = np.moveaxis(np.array(profiles), -1, 0)
    engine = Engine(game, len(states))
    engine.reset(seed=0)[...] = states
    rewards = engine.step(actions)
    return rewards, engine.states


@pytest.mark.parametrize(
    ("orientation", "mine", "other", "expected"),
    [
        # (state, action) of mine and the other's; crowding 3. Losses 2, 4, 6 and wins 1, 2, 3 in the paper.
        ("paper", (R, R), (P, P), -2.0),  # rock loses to paper, and nobody else plays rock
        ("paper", (R, R), (S, P), +1.0),  # rock beats scissors
        ("paper", (R, P), (S, P), +1.0 - 3.0),  # and plays what the other plays
        ("paper", (P, P), (S, P), -4.0 - 3.0),
        ("paper", (P, S), (R, R), +2.0),
        ("paper", (S, S), (R, S), -6.0 - 3.0),
        ("paper", (S, R), (P, S), +3.0),
        ("paper", (R, R), (R, R), -3.0),  # a draw: crowding alone
        ("cui-koeppl", (R, R), (P, P), -1.0),
        ("cui-koeppl", (R, R), (S, P), +2.0),
        ("cui-koeppl", (P, P), (S, P), -2.0 - 3.0),
        ("cui-koeppl", (P, S), (R, R), +4.0),
        ("cui-koeppl", (S, S), (R, S), -3.0 - 3.0),
        ("cui-koeppl", (S, R), (P, S), +6.0),
    ],
)
def test_two_agents_by_hand(orientation, mine, other, expected):
    """The population is the other one alone."""
    game = RockPaperScissors(n_agents=2, heterogeneity=0, orientation=orientation)
    rewards, following = step(game, [[mine, other]])
    assert rewards[0, 0] == pytest.approx(expected, abs=1e-6)
    assert following.tolist() == [[mine[1], other[1]]]


def test_three_agents_by_hand():
    """In rock, playing paper; one in scissors plays paper, one in paper plays rock: 1/2 - 1 - 3/2 = -2."""
    game = RockPaperScissors(n_agents=3, heterogeneity=0)
    rewards, _ = step(game, [[(R, P), (S, P), (P, R)]])
    # Scissors: beats paper (3/2), loses to rock (-3), paper played by one of two (-3/2).
    # Paper: beats rock (2/2), loses to scissors (-4/2), nobody else plays rock.
    assert_allclose(rewards[0], [-2.0, 1.5 - 3 - 1.5, 1 - 2], atol=1e-6)


@pytest.mark.parametrize("orientation", ["paper", "cui-koeppl"])
def test_every_profile_of_three_different_agents_agrees_with_the_printed_formulas(orientation):
    game = RockPaperScissors(n_agents=3, beta=0.5, orientation=orientation, agents_seed=2)
    pairs = list(itertools.product(range(3), range(3)))
    profiles = np.array(list(itertools.product(pairs, repeat=3)))
    rewards, following = step(game, profiles)
    assert np.array_equal(following, profiles[..., 1])
    people = wide(game.agents)
    for profile, found in zip(profiles[::7], rewards[::7], strict=True):
        for i in range(3):
            sigma = np.zeros((3, 3))
            for j in {0, 1, 2} - {i}:
                sigma[tuple(profile[j])] += 1 / 2
            assert found[i] == pytest.approx(rps_reward(people[i], *profile[i], sigma), abs=1e-5)


def test_first_states_are_uniform():
    states = Engine(RockPaperScissors(), 20).reset(seed=0)
    assert stats.chisquare(np.bincount(states.ravel(), minlength=3)).pvalue > 1e-8


@pytest.mark.parametrize(
    ("orientation", "losses", "wins"), [("paper", (2, 4, 6), (1, 2, 3)), ("cui-koeppl", (1, 2, 3), (2, 4, 6))]
)
def test_coefficients_are_uniform_around_their_centres_and_independent(orientation, losses, wins):
    """Seven tests each at 1e-8, seed fixed."""
    agents = RockPaperScissors(orientation=orientation).agents
    assert (agents["crowding"] == 3).all()
    noise = []
    for kind, centres in (("lose", losses), ("win", wins)):
        for name, centre in zip(("rock", "paper", "scissors"), centres, strict=True):
            noise.append((agents[f"{kind}_{name}"].astype(float) - centre) / 0.1)
            assert np.abs(noise[-1]).max() <= 1 + 1e-5
            assert stats.kstest((noise[-1] + 1) / 2, "uniform").pvalue > 1e-8
    assert np.abs(np.corrcoef(noise)[np.triu_indices(6, 1)]).max() * math.sqrt(2000) < stats.norm.isf(1e-8 / 30)


def test_heterogeneity_scales_beta_and_zero_makes_all_agents_the_same():
    assert len(np.unique(RockPaperScissors(heterogeneity=0).agents)) == 1
    assert len(np.unique(RockPaperScissors(beta=0).agents)) == 1
    agents = RockPaperScissors(beta=0.2, heterogeneity=2).agents
    assert np.ptp(agents["win_paper"]) == pytest.approx(0.8, rel=0.02)


def test_agents_are_drawn_by_their_seed():
    a, b, c = (RockPaperScissors(agents_seed=seed).agents["win_rock"] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert (a != c).mean() > 0.99


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"crowding": -1}, r"crowding must be a finite number in \[0, inf\), got -1"),
        ({"beta": -0.1}, r"beta must be a finite number in \[0, inf\), got -0.1"),
        ({"beta": math.inf}, "beta must be a finite number .* got inf"),
        ({"heterogeneity": -1}, r"heterogeneity must be a finite number in \[0, inf\), got -1"),
        ({"orientation": "other"}, "orientation must be one of 'paper', 'cui-koeppl', got 'other'"),
        ({"n_agents": 1}, r"n_agents must be an integer in \[2, 16777216\], got 1"),
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        RockPaperScissors(**constants)
