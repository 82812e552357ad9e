"""Games estimated from environments whose answer is known, and policies taken back there.

Random checks have an error rate below 1e-6 for all their comparisons together, by Student's law, and fixed seeds.
"""

import dataclasses
import functools

import numpy as np
import pytest
from foreign import Coins, Disguised, looks
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import stdtrit
from scipy.stats import binom

import mfenvs
from mfenvs import InducedGame, from_parallel_env, n_player_exploitability
from mfenvs.baselines import OnlineMirrorDescent, SymmPMD

ERROR = 1e-7

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=40, horizon=8, heterogeneity=0.0)


def radius(n_groups: int, n_comparisons: int) -> float:
    """Student quantile for that many two-sided comparisons."""
    return float(stdtrit(n_groups - 1, 1.0 - ERROR / (2 * n_comparisons)))


@functools.cache
def disguised_epidemic():
    return from_parallel_env(Disguised(EPIDEMIC), looks, 2, n_episodes=128, seed=5)


@functools.cache
def solution():
    solver = OnlineMirrorDescent(disguised_epidemic().game)
    solver.run(2000)
    return solver.policy.probabilities


def populations(n: int):
    rng = np.random.default_rng(3)
    return [np.full((2, 2), 0.25), *rng.dirichlet(np.ones(4), n - 1).reshape(n - 1, 2, 2)]


def test_an_epidemic_in_disguise_is_recovered_within_its_errors() -> None:
    found, true = disguised_epidemic(), InducedGame(EPIDEMIC)
    z = radius(len(found.estimates.without), 8 * 20)
    for mu in populations(20):
        transitions, rewards = true.arrays(mu)
        there = found.at(mu)
        assert (abs(there.transitions - transitions) <= z * there.transition_errors).all()
        assert there.transition_errors.max() < 0.08  # the errors say something
        assert_allclose(there.rewards, rewards, atol=1e-6)
        assert_allclose(there.reward_errors, 0.0, atol=1e-9)
    assert found.unvisited == []
    assert found.estimates.visits.sum() == 128 * 8 * 40


def test_errors_of_probabilities_are_not_too_large_either() -> None:
    """The mean squared z-score of P(I | s, a) in the three random rows, over 24 fits.

    Errors of different pairs are uncorrelated, so that 72 scores are a chi-squared sample: its mean is about 1
    (Student, 31 degrees: 1.07), and outside (0.3, 3) with less than 1e-8.
    """
    game = dataclasses.replace(EPIDEMIC, n_agents=10, horizon=4)
    true, mu = InducedGame(game).arrays(np.full((2, 2), 0.25))[0], np.full((2, 2), 0.25)
    scores = []
    for seed in range(24):
        there = from_parallel_env(Disguised(game), looks, 2, n_episodes=32, seed=seed).at(mu)
        z = (there.transitions - true) / there.transition_errors
        scores.append([z[0, 0, 0], z[0, 1, 0], z[1, 1, 0]])
    assert 0.3 < np.mean(np.square(scores)) < 3.0


@pytest.mark.slow
def test_its_equilibrium_is_one_within_the_predicted_error() -> None:
    """The largest of 300 draws from the predicted law of the exploitability, and the bound at 1 - 1e-6."""
    found, law = disguised_epidemic(), solution()
    true = InducedGame(EPIDEMIC)
    there = true.exploitability(law)
    assert InducedGame(found.game).exploitability(law) < 1e-3
    draws = found.exploitability_draws(law, 300)
    assert there <= draws.max()
    assert there < 0.03 < true.exploitability(true.uniform_policy())
    assert np.median(draws) < 0.01
    assert there <= found.exploitability_bound(law, 1 - 1e-6)
    predicted = found.predicted_return(law)
    assert abs(true.value(law) - predicted.value) <= radius(predicted.n_samples, 1) * predicted.standard_error


def test_exploitability_of_a_bad_policy_is_predicted_too() -> None:
    found, true = disguised_epidemic(), InducedGame(EPIDEMIC)
    uniform = true.uniform_policy()
    there = true.exploitability(uniform)
    draws = found.exploitability_draws(uniform, 300)
    assert draws.min() <= there <= draws.max()
    assert abs(np.median(draws) / there - 1) < 0.1
    assert there <= found.exploitability_bound(uniform, 1 - 1e-6)
    assert found.exploitability_bound(uniform, 0.5) < found.exploitability_bound(uniform, 0.99)


def test_policies_are_played_back_and_meet_the_prediction() -> None:
    """Against the N-player game itself, played by our own engine, and against the prediction."""
    found, law = disguised_epidemic(), solution()
    played = found.play(law, 48)
    assert played.returns.shape == (48, 40)
    ours = mfenvs.evaluate(EPIDEMIC, law, n_worlds=48, seed=1).mean_return
    for other in (ours, played.predicted_return):
        error = np.hypot(played.mean_return.standard_error, other.standard_error)
        assert abs(played.mean_return.value - other.value) <= radius(48, 4) * error
    assert played.state_shares.shape == (9, 2)
    assert_allclose(played.state_shares.sum(axis=1), 1.0)
    flow = InducedGame(EPIDEMIC).flow(law).mu.sum(axis=2)
    assert abs(played.state_shares[:-1] - flow).max() < 0.12  # N = 40, 48 episodes: five standard errors of .023


def test_a_deviator_gains_nothing_from_the_solution_and_much_from_random_actions() -> None:
    """The gain from random actions is the exploitability of the game itself, which our own engine measures."""
    found = disguised_epidemic()
    at_solution = found.deviation_gain(solution(), n_episodes=48)
    assert abs(at_solution.gain.value) <= radius(48, 1) * at_solution.gain.standard_error + 0.03
    assert at_solution.is_paired
    at_random = found.deviation_gain(None, n_episodes=48)
    error = at_random.gain.standard_error
    assert abs(at_random.gain.value - at_random.predicted_gain) <= radius(48, 1) * error + 0.1
    assert at_random.gain.value - radius(48, 1) * error > 0.0
    assert_allclose(at_random.deviation.sum(axis=-1), 1.0)
    exact = n_player_exploitability(EPIDEMIC, InducedGame(EPIDEMIC).uniform_policy(), agents=[0], n_worlds=64)
    assert abs(at_random.gain.value - exact.max) <= radius(48, 1) * error + 0.1


def test_a_policy_against_itself_gains_exactly_nothing() -> None:
    """Paired episodes differ in nothing but the deviation."""
    found = disguised_epidemic()
    same = found.deviation_gain(solution(), solution(), agent="someone7", n_episodes=3)
    assert same.gain.value == same.gain.standard_error == 0.0
    assert same.predicted_gain == 0.0
    assert same.deviators.tolist() == [7, 7, 7]


def test_unlike_agents_are_averaged_within_alpha_and_beta() -> None:
    """Yardim & He, Definition 7: no agent's row is farther than alpha from the mean one, no reward than beta."""
    game = mfenvs.make("Epidemic-v0", n_agents=24, horizon=8, alpha_width=0.1, beta_width=0.4)
    found, true = from_parallel_env(Disguised(game), looks, 2, n_episodes=64), InducedGame(game)
    z = radius(64, 12 * 5)
    for mu in populations(5):
        there = found.at(mu)
        transitions, rewards = true.arrays(mu)
        # From the mean of the agents, drawn around the centre, an agent is at most twice the half-width away.
        assert (abs(there.transitions - transitions) <= z * there.transition_errors + 0.2).all()
        assert (abs(there.rewards - rewards) <= z * there.reward_errors + 0.8).all()
        distance = abs(there.rewards[:, 0] - rewards[:, 0])
        assert (distance <= z * there.reward_errors[:, 0] + 0.05).all()  # visits hardly depend on the aversion


def test_a_game_between_two_is_found_exactly() -> None:
    """Others are one opponent, whose coin decides the reward: linear in the population, without any noise."""
    found = from_parallel_env(Coins(2), n_episodes=30, features="action")
    mu = np.array([[0.15, 0.3], [0.25, 0.3]])
    there = found.at(mu)
    assert_allclose(there.rewards, [[0.4, 0.6]] * 2, atol=1e-9)
    assert_allclose(there.transitions, [np.eye(2)] * 2, atol=1e-9)
    both = InducedGame(found.game)
    assert_allclose(both.flow(None).mu, 0.25, atol=0.1)
    assert found.play(None, 40).mean_return.value == pytest.approx(1.5, abs=0.8)


def test_infinite_games_have_stationary_policies() -> None:
    found = from_parallel_env(Coins(4, length=6), n_episodes=20, discount=0.9, features="action")
    assert found.game.is_infinite
    assert found.game.policy_shape == (1, 2, 2)
    heads = [[[1.0, 0.0], [1.0, 0.0]]]
    # Against others who all show heads: 1 a step for ever, and in six steps sum_h .9^h.
    induced = InducedGame(found.game)
    assert_allclose(induced.value(heads), 10.0, atol=1e-4)
    assert_allclose(found.play(heads, 2).mean_return.value, (1 - 0.9**6) / 0.1)
    assert found.exploitability_bound(heads) < 0.5
    with pytest.raises(ValueError, match="time_dependent must be False in an infinite game, got True"):
        from_parallel_env(Coins(4), discount=0.9, time_dependent=True)


def test_what_was_never_tried_bounds_nothing() -> None:
    tails = np.zeros((3, 2, 2))
    tails[..., 1] = 1.0
    found = from_parallel_env(Coins(4), n_episodes=10, policies=[tails], exploration=0.0)
    assert np.isinf(found.exploitability_bound(tails))
    assert np.isinf(found.exploitability_draws(tails, 3)).all()
    assert found.summary()["unvisited"] == [[0, 0], [1, 0]]
    # Heads as well, and the equilibrium is seen to be one: who leaves it loses.
    more = found.more_episodes([tails], 30, exploration=0.3)
    assert more.unvisited == []
    assert more.exploitability_bound(tails) < 1.0 < 3.0 == found.episodes.returns(1.0).max()
    assert len(more.episodes) == 40
    assert_array_equal(more.episodes.states[:10], found.episodes.states)
    assert more.game.n_agents == 4


def test_only_what_can_be_reached_must_be_known() -> None:
    """All begin with heads: tails at the first step are unknown and do no harm. Later unknown pairs do."""
    fits = Coins(4, begin=0)
    apart = from_parallel_env(fits, n_episodes=40, features="none", time_dependent=True)
    assert apart.unvisited == [(0, 1, 0), (0, 1, 1)]
    assert apart.exploitability_bound(None) < np.inf
    assert np.isfinite(apart.exploitability_draws(None, 5)).all()
    # From heads anything, from tails tails only: heads after tails are unknown.
    stays = np.array([[0.5, 0.5], [0.0, 1.0]])
    for discount, table in ((1.0, np.stack([stays] * 3)), (0.9, stays[None])):
        found = from_parallel_env(
            fits, n_episodes=20, policies=[table], exploration=0.0, features="none", discount=discount
        )
        assert found.unvisited == [(1, 0)]
        assert found.exploitability_bound(table) == np.inf


def bound_by_hand(found, policy, confidence):
    """The bound written out in loops, for a game that ends and for an infinite one."""
    games, estimates = [found.game], found.estimates
    for values, law in zip(estimates.without, estimates.first_states_without, strict=True):
        games.append(dataclasses.replace(found.game, values=values, first_states=law))
    flows, gamma = [InducedGame(game).flow(policy) for game in games], found.game.discount
    n_times, n_states, n_actions = found.game.policy_shape

    def values_of(p, r, choose):
        v = np.zeros((n_times + 1, n_states))
        for _ in range(400 if gamma < 1 else 1):
            for h in reversed(range(n_times)):
                v[h] = choose(h, r[h] + gamma * p[h] @ v[h + 1])
            if gamma < 1:
                v[1] = v[0]
        return v

    def best(h, q):
        return q.max(axis=1)

    def own(h, q):
        return (policy[h] * q).sum(axis=1)

    p, r = flows[0].transitions, flows[0].rewards
    n_intervals = 2 * n_times * n_states * n_actions + 1
    point = 1 - (1 - confidence) / n_intervals / 2
    total, start = 0.0, np.zeros(len(games))
    for sign, choose in ((1, best), (-1, own)):
        v, half = values_of(p, r, choose), np.empty(r.shape)
        for h, s, a in np.ndindex(*r.shape):
            ahead = v[h + 1]
            backups = np.array([f.rewards[h, s, a] + gamma * f.transitions[h, s, a] @ ahead for f in flows])
            error = np.sqrt(((backups[1:] - backups[0]) ** 2).sum() * (len(games) - 2) / (len(games) - 1))
            least = (ahead.max() - ahead.min()) / (estimates.visits[0, s, a] + 2)
            half[h, s, a] = max(error, least) * stdtrit(estimates.episode_groups[0, s, a] - 1, point)
        law = found.game.first_states
        total += sign * law @ v[0] + law @ values_of(p, half, choose)[0]
        start += sign * np.array([game.first_states @ v[0] for game in games])
    error = np.sqrt(((start[1:] - start[0]) ** 2).sum() * (len(games) - 2) / (len(games) - 1))
    return total + error * stdtrit(len(games) - 2, point)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_the_bound_is_the_one_that_is_written_down(discount: float) -> None:
    game = dataclasses.replace(EPIDEMIC, n_agents=10, horizon=4)
    found = from_parallel_env(Disguised(game), looks, 2, n_episodes=16, discount=discount)
    policy = np.random.default_rng(0).dirichlet(np.ones(2), found.game.policy_shape[:2])
    bound = found.exploitability_bound(policy, 0.9)
    assert_allclose(bound, bound_by_hand(found, policy, 0.9), rtol=1e-6)


def test_episodes_follow_from_the_seed_and_are_new_each_time() -> None:
    first, again, other = (from_parallel_env(Coins(4), n_episodes=6, seed=s) for s in (0, 0, 1))
    assert_array_equal(first.episodes.actions, again.episodes.actions)
    assert_array_equal(first.estimates.values, again.estimates.values)
    assert (first.episodes.actions != other.episodes.actions).any()
    more = first.more_episodes(None, 6)
    assert (more.episodes.actions[6:] != more.episodes.actions[:6]).any()
    assert len({run.tobytes() for run in more.episodes.actions}) == 12
    assert first.is_seedable
    together = from_parallel_env(Coins(4), n_episodes=12)
    assert_array_equal(together.episodes.actions, more.episodes.actions)


def test_an_environment_that_does_not_repeat_itself_is_told() -> None:
    found = from_parallel_env(Coins(6, length=1, seeded=False), n_episodes=6)
    assert not found.is_seedable
    assert not found.deviation_gain(None, n_episodes=4).is_paired


def test_policies_are_played_in_turn_and_mixed_with_random_actions() -> None:
    heads, tails = np.zeros((2, 3, 2, 2))
    heads[..., 0] = tails[..., 1] = 1.0
    pure = from_parallel_env(Coins(4), n_episodes=6, policies=[heads, tails], exploration=0.0)
    assert (pure.episodes.actions == np.array([0, 1] * 3)[:, None, None]).all()
    mixed = from_parallel_env(Coins(10), n_episodes=40, policies=[heads], exploration=0.5)
    n = mixed.episodes.actions.size
    low, high = binom.ppf([ERROR, 1 - ERROR], n, 0.25)
    assert low <= mixed.episodes.actions.sum() <= high
    each = np.stack([heads, tails, heads, heads])
    own = from_parallel_env(Coins(4), n_episodes=2, policies=[each], exploration=0.0)
    assert (own.episodes.actions == np.array([0, 1, 0, 0])).all()
    assert own.play(each, 2).predicted_return is None
    assert own.deviation_gain(each, heads, n_episodes=2).predicted_gain is None
    with pytest.raises(ValueError, match="deviation must be given where policy holds one policy for each agent"):
        own.deviation_gain(each)
    with pytest.raises(ValueError, match="policy must be one policy for all, of shape"):
        own.predicted_return(each)


def test_trainers_that_sample_take_the_fitted_game_and_are_saved(tmp_path) -> None:
    """Three iterations of policy mirror descent on samples of it; a loaded trainer needs the game itself."""
    found = disguised_epidemic()
    trainer = SymmPMD(found.game, seed=0)
    trainer.learn(3 * trainer.timesteps_per_iteration)
    trainer.save(tmp_path / "trainer.npz")
    loaded = SymmPMD.load(tmp_path / "trainer.npz", game=found.game)
    assert_array_equal(loaded.policy.probabilities, trainer.policy.probabilities)
    assert found.play(loaded.policy, 2).returns.shape == (2, 40)


def test_estimates_along_a_flow_are_those_at_its_populations() -> None:
    found = disguised_epidemic()
    flow = InducedGame(found.game).flow(solution())
    along = found.along(solution())
    assert len(along) == 8
    for mu, there, p, r in zip(flow.mu, along, flow.transitions, flow.rewards, strict=True):
        assert_allclose(there.transitions, p, atol=1e-9)
        assert_allclose(there.rewards, r, atol=1e-9)
        assert_allclose(there.transition_errors, found.at(mu / mu.sum()).transition_errors)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"n_episodes": 1}, ValueError, r"n_episodes must be an integer in \[2, 1000000\], got 1"),
        ({"policies": []}, TypeError, "policies must be a list of at least one policy, or None"),
        ({"policies": [np.ones((3, 2, 2))]}, ValueError, r"policies\[0\]\[0, 0\] must be probabilities"),
        ({"policies": [np.ones((2, 2)) / 2]}, ValueError, r"policies\[0\] must have shape \(3, 2, 2\)"),
        ({"exploration": 1.5}, ValueError, "exploration must be a finite number in"),
        ({"discount": 0.0}, ValueError, "discount must be a finite number in"),
        ({"ridge": -1.0}, ValueError, "ridge must be a finite number in"),
        ({"seed": -1}, ValueError, "seed must be an integer in"),
        ({"horizon": 0}, ValueError, "horizon must be an integer in"),
        ({"time_dependent": 1}, TypeError, "time_dependent must be True or False"),
        ({"features": "others"}, ValueError, "features must be one of"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(arguments, error, match) -> None:
    with pytest.raises(error, match=match):
        from_parallel_env(Coins(), **arguments)


def test_arguments_of_methods_are_checked() -> None:
    found = from_parallel_env(Coins(), n_episodes=4)
    for call, match in (
        (lambda: found.play(None, 1), r"n_episodes must be an integer in \[2, \d+\], got 1"),
        (lambda: found.deviation_gain(None, agent="p9"), "agent must be one of 'p0', 'p1', got 'p9'"),
        (lambda: found.at([[1.0, 0.0], [0.0, 0.5]]), "mu must hold probabilities"),
        (lambda: found.exploitability_bound(None, 1.0), "confidence must be a finite number in"),
        (lambda: found.exploitability_draws(None, 0), r"n_draws must be an integer in \[1, \d+\], got 0"),
        (lambda: found.more_episodes(None, 0), r"n_episodes must be an integer in \[1, \d+\], got 0"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_an_interruption_loses_nothing_that_was_estimated() -> None:
    """In the middle of an episode of a later call; going on gives what all episodes at once give."""

    class Interrupted(Coins):
        steps_left = 10**9

        def step(self, actions):
            self.steps_left -= 1
            if not self.steps_left:
                raise KeyboardInterrupt
            return super().step(actions)

    env = Interrupted(3)
    found = from_parallel_env(env, n_episodes=4)
    before = dataclasses.replace(found.estimates, values=found.estimates.values.copy())
    env.steps_left = 8
    with pytest.raises(KeyboardInterrupt):
        found.more_episodes(None, 5)
    assert len(found.episodes) == 4
    assert_array_equal(found.estimates.values, before.values)
    env.steps_left = 10**9
    together = from_parallel_env(Coins(3), n_episodes=9)
    assert_array_equal(found.more_episodes(None, 5).estimates.values, together.estimates.values)
