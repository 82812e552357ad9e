"""Q-learning in a frozen population against hand-worked numbers, value iteration and a replay in plain Python."""

import dataclasses

import numpy as np
import pytest
from bounds import assert_mean
from numpy.testing import assert_allclose, assert_array_equal
from oracles import epidemic_reward, epidemic_row, mean_arrays
from tabulated import RING, Tabulated, optimal_q, tabulated_arrays

from baselines.tabular.q_learning import STEP_EXPONENT, q_learning
from mfenvs import InducedGame, make
from mfenvs.engine.random import ACT, START, agent_key, step_key, uniform

CROWD = np.array([[0.125, 0.25], [0.0, 0.375], [0.125, 0.125]])
"""A population over states and actions: a share .75 of it is busy."""


def learn(game, n, population=None, **options):
    induced = InducedGame(game)
    if population is None:
        population = np.full(induced.policy_shape, 1 / (induced.n_states * induced.n_actions))
    return q_learning(induced, population, n, **options)


def mdp(**constants) -> Tabulated:
    """What one earns does not depend on others; with discount .5 the values are of the size of one reward."""
    return Tabulated(**{"discount": 0.5, **constants})


PAY = np.array(mdp().pay)


def exact(game: Tabulated) -> np.ndarray:
    p, r = tabulated_arrays(game, np.full((3, 2), 1 / 6))
    n_times = game.policy_shape[0]
    return optimal_q(np.array([p] * n_times), np.array([r] * n_times), game.discount)


# By hand.


@pytest.mark.parametrize("exponent", [0.6, STEP_EXPONENT, 1.0])
def test_the_first_three_sweeps_on_a_ring(exponent) -> None:
    """States on a ring, 0 -> 1 or 2, 1 -> 2 or 0, 2 -> 0 or 1; rewards (0, -1/4), (1/2, 0), (1, 3/2); gamma 1/2.

    Sweep 0 has step 1: Q = R, whose maxima are 0, 1/2, 3/2. The targets of sweep 1 are R + maxima / 2.
    """
    game = mdp(moves=RING)
    assert_array_equal(learn(game, 1, step_exponent=exponent)[0], PAY)
    target = np.array([[0.25, 0.5], [1.25, 0.0], [1.0, 1.75]])
    step = 2.0**-exponent
    second = PAY + step * (target - PAY)
    assert_allclose(learn(game, 2, step_exponent=exponent)[0], second, rtol=1e-14, atol=1e-15)
    best = second.max(axis=1)
    target = PAY + 0.5 * best[[[1, 2], [2, 0], [0, 1]]]
    third = second + 3.0**-exponent * (target - second)
    assert_allclose(learn(game, 3, step_exponent=exponent)[0], third, rtol=1e-14, atol=1e-15)


def test_the_default_step_is_the_papers() -> None:
    assert STEP_EXPONENT == 0.87
    game = mdp(moves=RING)
    assert_array_equal(learn(game, 3), learn(game, 3, step_exponent=0.87))
    assert not np.array_equal(learn(game, 3), learn(game, 3, step_exponent=0.86))


def test_a_game_that_ends_looks_ahead_undiscounted_and_to_nothing_at_the_end() -> None:
    game = mdp(moves=RING, discount=1.0, horizon=3)
    q = learn(game, 1)
    assert_array_equal(q, [PAY] * 3)
    q = learn(game, 2, step_exponent=1.0)
    target = PAY + np.array([0.0, 0.5, 1.5])[[[1, 2], [2, 0], [0, 1]]]
    assert_allclose(q, [(PAY + target) / 2, (PAY + target) / 2, PAY], rtol=1e-14)
    # Without noise the last step is right at once and never changes.
    q = learn(game, 4000)
    assert_array_equal(q[2], PAY)
    assert_allclose(q, exact(game), atol=0.01)


def test_the_others_are_those_of_the_population() -> None:
    """Crowding 1: who plays a earns the share of a, .25 or .75, less; agents like action 1 by 0 or 1/2."""
    game = mdp(moves=RING, crowding=1.0)
    assert_allclose(learn(game, 1, CROWD[None])[0], PAY - [0.25, 0.75], rtol=1e-14)
    last = np.eye(6)[1].reshape(3, 2)
    ends = dataclasses.replace(game, discount=1.0, horizon=2)
    assert_allclose(learn(ends, 1, np.stack([CROWD, last])), [PAY - [0.25, 0.75], PAY - [0, 1]], rtol=1e-14)


# Against value iteration.


@pytest.mark.parametrize("discount", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_it_converges_to_value_iteration(discount, asynchronous) -> None:
    game = mdp(discount=discount)
    per_sweep = exact(game).size if asynchronous else 1
    seeds, lengths = range(6), (100, 1_000, 20_000)
    errors = np.array(
        [
            [
                np.linalg.norm(learn(game, n * per_sweep, asynchronous=asynchronous, seed=seed) - exact(game))
                for n in lengths
            ]
            for seed in seeds
        ]
    ) / np.linalg.norm(exact(game))
    means = errors.mean(axis=0)
    assert means[0] > 1.5 * means[1] > 2 * means[2], means
    assert errors[:, -1].max() < (0.25 if discount == 0.9 else 0.02), errors


def test_transitions_are_sampled_by_their_law_in_that_population() -> None:
    """Pull .5, a share .75 busy: P = .625 moves + .375 to 0. With step 1/(t+1) and nothing ahead of the last step

    but one, Q_0 - R is the mean of the values at the states that were drawn.
    """
    game = mdp(discount=1.0, horizon=2, pull=0.5)
    n = 20_000
    q = learn(game, n, np.stack([CROWD, CROWD]), step_exponent=1.0, seed=5)
    p, _ = tabulated_arrays(game, CROWD)
    value = PAY.max(axis=1)
    for s, a in np.ndindex(3, 2):
        # The first target has Q_1 = 0 ahead.
        mean = (q[0, s, a] - PAY[s, a]) * n / (n - 1)
        expected = p[s, a] @ value
        assert_mean(mean, p[s, a] @ value**2 - expected**2, n, expected, 1.5 * (1 + 2 / n), error=1e-8)


def test_agents_are_drawn_from_all() -> None:
    game = mdp(moves=RING, tastes=(0.0, 0.0, 0.0, 2.0))
    firsts = np.array([learn(game, 1, seed=seed)[0] - PAY for seed in range(300)])
    assert set(np.unique(firsts[:, :, 0])) == {0.0}
    assert set(np.unique(firsts[:, :, 1])) == {0.0, 2.0}
    assert_mean(firsts[:, :, 1].mean(), 0.75, 900, 0.5, 2.0, error=1e-8)
    n = 40_000
    far = learn(dataclasses.replace(game, discount=1e-9), n, step_exponent=1.0)[0] - PAY
    for mean in far[:, 1]:
        assert_mean(mean, 0.75, n, 0.5, 2.0, error=1e-8)


def test_agents_who_differ_are_averaged_over() -> None:
    game = make("Epidemic-v0", n_agents=5, discount=0.6, heterogeneity=2.0)
    mu = np.array([[0.25, 0.25], [0.125, 0.375]])
    p, r = mean_arrays(game.agents, epidemic_row, epidemic_reward, mu)
    q = learn(game, 40_000, mu[None], step_exponent=1.0)
    expected = optimal_q(p[None], r[None], 0.6)
    assert_allclose(q, expected, atol=0.02)
    # ... and not those of any one of them.
    for agent in game.agents:
        alone = mean_arrays(np.array([agent], game.agents.dtype), epidemic_row, epidemic_reward, mu)
        assert np.abs(optimal_q(alone[0][None], alone[1][None], 0.6) - q).max() > 0.03


@pytest.mark.slow
def test_noisy_rewards_are_unbiased() -> None:
    """One budget, bids 0 and 1, three others of whom each bids 1 with probability 1/4, gamma -> 0.

    A bid of 0 wins only if all bid 0 (27/64), one time in four: at price 0 it earns v. A bid of 1 wins at price 0
    if all bid 0, and for k others at 1 one time in k + 1 at price 1, of which all is penalised: v - 1 - 1.2.
    """
    game = make("Auction-v0", n_agents=6, n_budgets=1, n_bids=2, n_bidders=4, discount=1e-9, horizon=2)
    chances = [27 / 64, 27 / 64, 9 / 64, 1 / 64]
    worth = 2.5
    low = chances[0] / 4 * worth
    high = chances[0] * worth + sum(chances[k] / (k + 1) for k in (1, 2, 3)) * (worth - 2.2)
    n = 40_000
    q = learn(game, n, np.array([[[0.75, 0.25]]]), step_exponent=1.0, seed=2)
    second = [chances[0] / 4 * 7.5, chances[0] * 7.5 + sum(chances[k] / (k + 1) for k in (1, 2, 3)) * 1.34]
    for mean, moment, expected in zip(q[0, 0], second, (low, high), strict=True):
        assert_mean(mean, moment - expected**2, n, expected, 5.2, error=1e-8)
    # A single sweep is a single reward.
    assert set(np.unique([learn(game, 1, np.array([[[0.75, 0.25]]]), seed=s)[0, 0, 0] for s in range(200)])) == {
        *(0.0, 1.0, 2.0, 3.0, 4.0)
    }


# Asynchronous.


def key_of(seed, stage, t, purpose):
    return agent_key(np.uint64(step_key(seed, stage, t, 0, purpose)), 0)


@pytest.mark.parametrize("exponent", [0.87, 1.0])
@pytest.mark.parametrize("discount", [0.5, 1.0])
def test_single_updates_follow_one_agent(discount, exponent) -> None:
    """The same path in plain Python, on the same random numbers: the first action, who it is, and the start."""
    game = mdp(moves=RING, discount=discount, tastes=(0.0, 1.0, 0.25))
    n, seed, stage, endless = 200, 7, 3, discount < 1
    q, visits = np.zeros(game.policy_shape), np.zeros(game.policy_shape, int)
    ring = np.array(RING).argmax(axis=-1)
    h = s = 0
    for t in range(n):
        acts = key_of(seed, stage, t, ACT)
        if t == 0 or (not endless and h == game.horizon):
            h, s = 0, int(np.searchsorted(np.cumsum(game.first), uniform(acts, 0), side="right"))
        a = int(uniform(acts, 1) * 2)
        who = int(uniform(key_of(seed, stage, t, START), 0) * game.n_agents)
        target = PAY[s, a] + (float(game.agents["taste"][who]) if a else 0.0)
        if endless:
            target += discount * q[0, ring[s, a]].max()
        elif h + 1 < game.horizon:
            target += q[h + 1, ring[s, a]].max()
        visits[h, s, a] += 1
        q[h, s, a] += (target - q[h, s, a]) / visits[h, s, a] ** exponent
        h, s = (h if endless else h + 1), ring[s, a]
    assert visits.min() > 0
    found = learn(game, n, asynchronous=True, step_exponent=exponent, seed=seed, stage=stage)
    assert_allclose(found, q, rtol=1e-12, atol=1e-14)


def test_one_update_is_one_entry() -> None:
    game = mdp(moves=RING, pay=((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), first=(0.5, 0.25, 0.25))
    found = np.array([learn(game, 1, asynchronous=True, seed=s)[0].ravel() for s in range(400)])
    assert ((found != 0).sum(axis=1) == 1).all()
    for index, (chance, reward) in enumerate(
        zip([1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8], range(1, 7), strict=True)
    ):
        assert set(np.unique(found[:, index])) == {0.0, float(reward)}
        assert_mean((found[:, index] != 0).mean(), chance * (1 - chance), 400, chance, 1.0, error=1e-8)


# Randomness.


@pytest.mark.parametrize("asynchronous", [False, True])
def test_seed_and_stage_decide(asynchronous) -> None:
    game = mdp()

    def found(**key):
        return learn(game, 50, asynchronous=asynchronous, **key)

    assert_array_equal(found(seed=3, stage=2), found(seed=3, stage=2))
    assert_array_equal(found(), found(seed=0, stage=0))
    different = [found(), found(seed=1), found(stage=1), found(seed=1, stage=1), found(stage=2)]
    for i, one in enumerate(different):
        for other in different[:i]:
            assert not np.array_equal(one, other)


def test_entries_and_sweeps_have_draws_of_their_own() -> None:
    """Everybody stays or goes home with probability 1/2: equal rows, but not equal luck."""
    rows = tuple((((0.5, 0.5, 0.0),) * 2) for _ in range(3))
    game = mdp(moves=rows, pay=((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)), discount=0.5)
    q = learn(game, 500) - np.array([[0.0], [1.0], [0.0]])
    assert len(np.unique(q)) == 6
    assert_allclose(q, 0.5 * 1.0, atol=0.15)  # V(0) = v/2, V(1) = 1 + v/2 with v their mean, 1


# Errors.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_iterations": 0}, ValueError, "n_iterations must be an integer >= 1, got 0"),
        ({"n_iterations": 1.5}, TypeError, "n_iterations must be an integer >= 1"),
        ({"step_exponent": 0.5}, ValueError, r"step_exponent must be a finite number in \(0\.5, 1\]"),
        ({"step_exponent": 1.01}, ValueError, r"step_exponent must be a finite number in \(0\.5, 1\]"),
        ({"seed": -1}, ValueError, "seed must be an integer in"),
        ({"seed": 2**63}, ValueError, "seed must be an integer in"),
        ({"stage": -1}, ValueError, "stage must be an integer >= 0"),
        ({"population": np.full((1, 3, 3), 1 / 9)}, ValueError, "population must have shape"),
        ({"population": np.full((1, 3, 2), 1 / 3)}, ValueError, r"population over \(S, A\).* must be"),
    ],
)
def test_errors_name_the_argument(arguments, error, message) -> None:
    given = {"population": np.full((1, 3, 2), 1 / 6), "n_iterations": 1, **arguments}
    with pytest.raises(error, match=message):
        q_learning(InducedGame(mdp()), **given)


def test_the_population_is_left_alone() -> None:
    population = CROWD[None].copy()
    learn(mdp(crowding=1.0), 5, population)
    assert_array_equal(population, CROWD[None])
