"""Estimates from episodes, against regressions of single transitions."""

import numpy as np
import pytest
from foreign import Coins
from numpy.testing import assert_allclose

from mfenvs import from_parallel_env
from mfenvs.estimation import estimates as module
from mfenvs.estimation.estimates import estimate, pair_groups
from mfenvs.estimation.rollouts import Episodes

PAIRS = pair_groups("state-action", 2, 2)


def random_episodes(n_episodes=12, horizon=6, n_agents=5, seed=0):
    rng = np.random.default_rng(seed)
    states = rng.integers(2, size=(n_episodes, horizon + 1, n_agents))
    actions = rng.integers(2, size=(n_episodes, horizon, n_agents))
    return Episodes(states, actions, rng.normal(size=actions.shape))


def single_transitions(episodes, s, a, groups):
    """phi and outcomes of all transitions from (s, a), one by one, and their episodes."""
    n_features = groups.max() + 1
    phi, outcomes, whose = [], [], []
    for k, h, i in np.argwhere((episodes.states[:, :-1] == s) & (episodes.actions == a)):
        others = np.zeros(n_features)
        for j in range(episodes.actions.shape[2]):
            if j != i:
                others[groups[episodes.states[k, h, j], episodes.actions[k, h, j]]] += 1
        phi.append(others / (episodes.actions.shape[2] - 1))
        after = episodes.states[k, h + 1, i]
        outcomes.append([after == 0, after == 1, episodes.rewards[k, h, i]])
        whose.append(k)
    return np.array(phi), np.array(outcomes, float), np.array(whose)


@pytest.mark.parametrize("features", ["state-action", "state", [[0, 1], [2, 0]]])
def test_every_transition_counts_once(features) -> None:
    """Least squares over single transitions, with the N - 1 others counted one by one."""
    episodes, groups = random_episodes(), pair_groups(features, 2, 2)
    found = estimate(episodes, groups, time_dependent=False)
    for s, a in np.ndindex(2, 2):
        phi, outcomes, whose = single_transitions(episodes, s, a, groups)
        slopes = np.linalg.lstsq(phi, outcomes)[0]
        assert_allclose(found.values[0, s, a], slopes.T, atol=1e-9)
        without = np.linalg.lstsq(phi[whose != 3], outcomes[whose != 3])[0]
        assert_allclose(found.without[3, 0, s, a], without.T, atol=1e-9)
        assert found.visits[0, s, a] == len(phi)
    assert_allclose(found.first_states, np.bincount(episodes.states[:, 0].ravel()) / 60)
    assert_allclose(
        found.first_states_without[2], np.bincount(np.delete(episodes.states[:, 0], 2, 0).ravel()) / 55
    )


def test_errors_at_a_population_are_those_of_the_jackknife() -> None:
    episodes = random_episodes()
    found = estimate(episodes, PAIRS, time_dependent=False)
    mu = np.array([[0.4, 0.3], [0.2, 0.1]])
    there = found.at(mu)
    for s, a in np.ndindex(2, 2):
        phi, outcomes, whose = single_transitions(episodes, s, a, PAIRS)
        fits = [mu.ravel() @ np.linalg.lstsq(phi[whose != k], outcomes[whose != k])[0] for k in range(-1, 12)]
        errors = np.sqrt(((np.array(fits[1:]) - fits[0]) ** 2).sum(axis=0) * 11 / 12)
        assert_allclose(there.rewards[s, a], fits[0][2], atol=1e-9)
        assert_allclose(there.reward_errors[s, a], errors[2], atol=1e-9)
        assert_allclose(there.transition_errors[s, a], errors[:2], atol=1e-9)


def test_rows_are_laws_also_far_from_what_was_met() -> None:
    """At the corners of the simplex the regression leaves it; the nearest laws are given, with its errors."""
    found = estimate(random_episodes(6, seed=3), PAIRS, time_dependent=False)
    left = 0
    for corner in np.eye(4):
        there = found.at(corner.reshape(2, 2))
        outside = there.transitions.min(axis=-1) == 0.0
        left += outside.sum()
        assert there.transitions.min() >= 0.0
        assert_allclose(there.transitions.sum(axis=-1), 1.0)
        assert (there.transition_errors[outside] > 0.1).all()
    assert left > 0


def test_groups_of_episodes_are_left_out_where_there_are_many(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_GROUPS_OF_EPISODES", 4)
    episodes = random_episodes()
    found = estimate(episodes, PAIRS, time_dependent=False)
    assert len(found.without) == 4
    phi, outcomes, whose = single_transitions(episodes, 1, 0, PAIRS)
    kept = whose // 3 != 2
    assert_allclose(found.without[2, 0, 1, 0], np.linalg.lstsq(phi[kept], outcomes[kept])[0].T, atol=1e-9)


def test_each_time_alone() -> None:
    """Fitted apart, each time has its own mean reward and rows; fitted together, the mean over times."""
    env = Coins(6, length=3, bonus=10.0)
    apart = from_parallel_env(env, n_episodes=40, features="action", time_dependent=True)
    together = from_parallel_env(env, n_episodes=40, features="action")
    mu = np.array([[0.1, 0.2], [0.3, 0.4]])
    for time in range(3):
        assert_allclose(apart.at(mu, time).rewards, np.array([[0.4, 0.6]] * 2) + 10 * time, atol=1e-9)
    assert apart.at(mu, 1).visits.sum() == 40 * 6
    assert not apart.estimates.is_constant.any()
    assert (abs(together.at(mu).rewards - 10.5) < 6 * together.at(mu).reward_errors).all()
    assert (together.at(mu).reward_errors > 0.1).all()
    with pytest.raises(ValueError, match=r"time must be an integer in \[0, 2\], got 3"):
        apart.at(mu, 3)


def test_what_was_never_seen_has_no_error() -> None:
    """Everybody shows tails: heads are unknown, and so is what happens where others show heads."""
    tails = np.zeros((3, 2, 2))
    tails[..., 1] = 1.0
    found = from_parallel_env(Coins(4), n_episodes=10, policies=[tails], exploration=0.0)
    assert found.unvisited == [(0, 0), (1, 0)]
    assert (found.estimates.visits[0, :, 0] == 0).all()
    like_them = found.at([[0.0, 0.0], [0.0, 1.0]])
    assert np.isinf(like_them.reward_errors[:, 0]).all()
    assert np.isinf(like_them.transition_errors[:, 0]).all()
    assert_allclose(like_them.reward_errors[1, 1], 0.0, atol=1e-9)
    assert_allclose(like_them.rewards[1, 1], 1.0)
    # Such pairs lead back to their state, for the smallest reward.
    assert_allclose(like_them.transitions[:, 0], np.eye(2))
    assert_allclose(like_them.rewards[:, 0], found.episodes.rewards.min())
    assert np.isinf(found.at([[0.5, 0.0], [0.0, 0.5]]).reward_errors).all()


def test_one_state_after_all_visits_does_not_make_its_probability_certain() -> None:
    found = from_parallel_env(Coins(4), n_episodes=20)
    there = found.at(np.full((2, 2), 0.25))
    assert_allclose(there.transitions, np.stack([np.eye(2)] * 2), atol=1e-9)
    assert_allclose(there.transition_errors, np.repeat(1 / (there.visits + 2.0), 2).reshape(2, 2, 2), rtol=1e-6)


def test_one_episode_is_not_enough_for_an_error() -> None:
    episodes = random_episodes()
    episodes.actions[:, :, :] = 0
    episodes.actions[4, 0, 0] = 1
    found = estimate(episodes, PAIRS, time_dependent=False)
    s = episodes.states[4, 0, 0]
    assert found.visits[0, s, 1] == 1
    met = found.centres[0, s, 1].reshape(2, 2)  # the only population that was met there
    assert np.isinf(found.at(met).reward_errors[s, 1])
    assert np.isinf(found.at(met).transition_errors[s, 1]).all()
    assert found.values[0, s, 1, 2] == pytest.approx(np.full(4, episodes.rewards[4, 0, 0]))


def test_tables_that_do_not_fit_into_memory_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 1000)
    with pytest.raises(ValueError, match=r"features with fewer groups, or time_dependent=False \(T = 6, S = 2"):
        estimate(random_episodes(), PAIRS, time_dependent=True)


@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        ("states", ValueError, "features must be one of 'state-action', 'state', 'action', 'none', or an array"),
        ([0, 1], ValueError, r"features must have shape \(2, 2\), got \(2,\)"),
        ([[0.5, 1], [2, 3]], TypeError, r"features must be integers in \[0, 3\], got dtype float64"),
        ([[0, 1], [2, 4]], ValueError, r"features\[1, 1\] must be an integer in \[0, 3\], got 4"),
        (None, ValueError, "features must have shape"),
    ],
)
def test_features_that_are_none_are_refused(features, error, match) -> None:
    with pytest.raises(error, match=match):
        pair_groups(features, 2, 2)
