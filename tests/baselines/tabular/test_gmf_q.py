"""GMF-Q and the naive algorithm: what is learned from samples, against the exact Q."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_games import auction, auction_arrays, crowd, epidemic
from tabulated import Tabulated, optimal_q, softmax

from baselines.solvers.population_iteration import GMFV
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from mfenvs import InducedGame, make

# Q that is learned.


@pytest.mark.parametrize(
    "game", [auction(), epidemic(), epidemic(discount=0.7)], ids=["auction", "ends", "epidemic"]
)
def test_gmf_q_comes_close_to_gmf_v_with_many_sweeps(game) -> None:
    options = {"inverse_temperature": 1.0, "net": 1000}
    exact = GMFV(game, **options).learn(4)
    away, errors = [], []
    for sweeps in (30, 10_000):
        trainer = GMFQ(game, inner_iterations=sweeps, seed=1, **options)
        trainer.learn(4 * trainer.timesteps_per_iteration)
        away.append(np.abs(trainer.policy.probabilities - exact.policy.probabilities).max())
        errors.append(trainer.measured["train/q_error"])
    assert away[1] < 0.02 < away[0]
    assert errors[1] < 0.02 < errors[0]


def test_the_error_of_q_is_relative_to_the_exact_one() -> None:
    game = auction()
    trainer = GMFQ(game, inner_iterations=50, seed=4)
    before = trainer.population
    trainer.learn(1)
    exact = optimal_q(*(table[None] for table in auction_arrays(game, before[0])), game.discount)
    expected = np.linalg.norm(trainer.q - exact) / np.linalg.norm(exact)
    assert expected > 0.01
    assert trainer.measured["train/q_error"] == pytest.approx(expected, rel=1e-9)
    assert "train/q_error" not in GMFV(game).learn(1).measured
    # The answer is to the learned Q, not to the exact one.
    assert_allclose(trainer.policy.probabilities, softmax(4.0 * trainer.q), atol=1e-12)


@pytest.mark.slow
def test_every_iteration_has_draws_of_its_own() -> None:
    """Nobody is coupled: all populations face the same problem, and Q differs by luck alone."""
    trainer = GMFQ(Tabulated(discount=0.5), inner_iterations=50)
    found = []
    for _ in range(3):
        trainer.run(1)
        found.append(trainer.q)
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_timesteps_are_the_transitions_that_are_sampled(asynchronous) -> None:
    for game, entries in ((auction(), 9), (auction(discount=1.0), 4 * 9)):
        for trainer_class in (GMFQ, NaiveQ):
            trainer = trainer_class(game, inner_iterations=25, asynchronous=asynchronous)
            assert trainer.timesteps_per_iteration == (25 if asynchronous else 25 * entries)
    assert NaiveQ(auction(), exact=True, inner_iterations=25).timesteps_per_iteration == 1
    assert GMFV(auction()).timesteps_per_iteration == 1


def test_the_hyper_parameters_by_default() -> None:
    config = GMFQ(auction()).config
    assert (config.inverse_temperature, config.inner_iterations) == (4.0, 2000)
    assert (config.step_exponent, config.asynchronous) == (0.87, False)


# The naive algorithm.


def period(trainer, most=12, settle=200):
    """After how many iterations the population returns; None if it does not."""
    trainer.run(settle)
    population = trainer.population
    for k in range(1, most + 1):
        trainer.run(1)
        if np.abs(trainer.population - population).max() < 1e-9:
            return k
    return None


def test_naive_by_hand_ends_in_a_cycle_of_two_while_gmf_v_settles() -> None:
    """From (1/2, 1/2): Q = (.5, .3), all play 0; then (0, .8), all play 1; then (1, -.2), all play 0, ..."""
    trainer = NaiveQ(crowd(), exact=True)
    for values, all_play in ([(0.5, 0.3), 0], [(0.0, 0.8), 1], [(1.0, -0.2), 0], [(0.0, 0.8), 1]):
        trainer.learn(1)
        assert_allclose(trainer.q[0, 0], np.array(values) + max(values), atol=1e-9)  # for ever, at gamma = 1/2
        assert_array_equal(trainer.policy.probabilities[0, 0], np.eye(2)[all_play])
        assert_array_equal(trainer.population[0].sum(axis=0), np.eye(2)[all_play])
    assert trainer.measured["train/change_l1"] == 2.0
    assert period(NaiveQ(crowd(), exact=True)) == 2
    # softmax_1 contracts by c k / 2; softmax_8, too sharp, ends in a cycle as well.
    assert period(GMFV(crowd(), inverse_temperature=1.0, net=0)) == 1
    assert period(GMFV(crowd(), inverse_temperature=8.0, net=0)) == 2


def test_naive_starts_from_a_tie() -> None:
    """Where both are worth the same in the uniform population, argmax-e has found the equilibrium at once."""
    trainer = NaiveQ(crowd(pay=((1.0, 1.0),) * 3), exact=True)
    trainer.learn(1)
    assert trainer.measured["train/change_l1"] == 0.0
    assert_array_equal(trainer.policy.probabilities, np.full((1, 3, 2), 0.5))


@pytest.mark.slow
def test_naive_ends_in_a_cycle_of_two_on_the_auction() -> None:
    """With other numbers of bids it may end otherwise: at once (3, 4), or in longer cycles (5)."""
    for game in (make("Auction-v0"), auction(n_bidders=2)):
        assert period(NaiveQ(game, exact=True)) == 2
        mild = GMFV(game, inverse_temperature=0.5, net=0)
        assert period(mild) == 1
    game = make("Auction-v0")
    naive, mild = NaiveQ(game, exact=True), GMFV(game, inverse_temperature=0.5, net=0)
    gaps = []
    for trainer in (naive, mild):
        trainer.run(200)
        gaps.append(InducedGame(game).exploitability(trainer.policy))
    assert gaps[0] > 2 * gaps[1]
    # In turn all bid high and all bid nothing: the whole population moves.
    assert naive.learn(1).measured["train/change_l1"] == pytest.approx(2.0)


def test_naive_learning_fluctuates() -> None:
    """Nothing that it does dies out: changes at the end are as large as at the beginning."""
    trainer = NaiveQ(auction(), inner_iterations=200)
    changes = []
    for _ in range(40):
        changes.append(trainer.learn(1).measured["train/change_l1"])
    assert np.mean(np.array(changes[20:]) > 0.1) > 0.5
    calm = GMFQ(auction(), inner_iterations=2000, inverse_temperature=0.5)
    last = [calm.learn(1).measured["train/change_l1"] for _ in range(20)][10:]
    assert max(last) < 0.1 * np.mean(changes[20:])
