"""Exact C(pi) against the auction written out in plain Python, and against cases that can be worked out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracles import random_policy
from small_auction import TERMS, SmallAuction
from tabulated import HOME, Tabulated

from mfenvs import make
from mfenvs.meanfield.joint_enumeration import exact_relative_exploitability


def by_value_iteration(problem, discount, own=None):
    """Values of a policy of the joint state (X, A), or the optimal ones."""
    p, r = problem
    values = np.zeros(len(p))
    for _ in range(200):
        q = r + discount * p @ values
        values = q.max(axis=1) if own is None else (own * q).sum(axis=1)
    return values


@pytest.mark.parametrize("terms", [TERMS, {**TERMS, "n_agents": 2, "discount": 0.75}], ids=["three", "two"])
def test_it_is_the_auction_in_plain_python(terms) -> None:
    oracle, game = SmallAuction(**terms), make("Auction-v0", **terms)
    shape = oracle.n_agents, 1, oracle.n_budgets, oracle.n_bids
    policy = random_policy(np.random.default_rng(2), *shape)
    found = exact_relative_exploitability(game, policy, safeguard=0.25)
    states = oracle.tables()[0]
    assert [tuple(joint) for joint in found.joint_states] == states
    gaps, ratios, bests = [], [], []
    for i in range(oracle.n_agents):
        problem = oracle.deviators_problem(policy[:, 0], i)
        best = by_value_iteration(problem, oracle.discount)
        own = np.array([policy[i, 0, joint[i]] for joint in states])
        gaps.append(best - by_value_iteration(problem, oracle.discount, own))
        ratios.append(gaps[-1] / (abs(best) + 0.25))
        bests.append(best)
    assert_allclose(found.gains, gaps, atol=1e-6)
    assert found.relative == pytest.approx(np.mean(ratios), abs=1e-6)
    assert found.absolute == pytest.approx(np.mean(gaps), abs=1e-6)
    assert found.best_value == pytest.approx(np.mean(bests), abs=1e-6)
    assert found.absolute > 0.1


def test_one_policy_for_all_is_everybodys() -> None:
    game = make("Auction-v0", **TERMS)
    policy = random_policy(np.random.default_rng(3), 1, 3, 3)
    one = exact_relative_exploitability(game, policy)
    assert_allclose(one.gains, exact_relative_exploitability(game, np.stack([policy] * 3)).gains)


def test_cases_by_hand() -> None:
    """Everybody is in state 0 from the first round on, where 0 earns 1 a round and 1 nothing."""
    game = Tabulated(n_agents=2, moves=HOME, pay=((1.0, 0.0),) * 3, discount=0.5)
    last = np.broadcast_to([0.0, 1.0], (1, 3, 2))
    found = exact_relative_exploitability(game, last)
    assert (found.absolute, found.best_value, found.relative) == pytest.approx((2.0, 2.0, 2.0 / 2.1))
    assert exact_relative_exploitability(game, last[..., ::-1]).relative == pytest.approx(0.0, abs=1e-12)


def test_the_deviator_knows_where_the_others_are() -> None:
    """Doing as the other does costs 1. All play 1 in state 1, else 0, and come home: then each costs the other 1.

    A deviator loses nothing. Who follows the policy loses 1 in the first round if both or neither are in state 1,
    and 1 in every later round, which adds up to 1.
    """
    game = Tabulated(n_agents=2, moves=HOME, pay=((0.0, 0.0),) * 3, crowding=1.0, discount=0.5)
    policy = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    found = exact_relative_exploitability(game, policy)
    expected = [1.0 + ((mine == 1) == (other == 1)) for mine, other in found.joint_states]
    assert_allclose(found.gains, [expected, expected], atol=1e-12)
    assert found.best_value == pytest.approx(0.0, abs=1e-12)
    assert found.relative == pytest.approx(np.mean(expected) / 0.1)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Tabulated(), "game must be infinite, with a discount below 1, got 1"),
        (Tabulated(n_agents=10, discount=0.5), r"\|S\|\^N \|A\|\^N \|S\|\^N must be at most 67108864"),
    ],
)
def test_games_that_are_refused(game, message) -> None:
    with pytest.raises(ValueError, match=message):
        exact_relative_exploitability(game, np.full(game.policy_shape, 0.5))


def test_other_errors_name_the_argument() -> None:
    with pytest.raises(
        TypeError, match=r"must be a FiniteGame, got str \(mfenvs.make makes a game from its name\)$"
    ):
        exact_relative_exploitability("Auction-v0", None)
    with pytest.raises(ValueError, match="safeguard must be a finite number"):
        exact_relative_exploitability(Tabulated(discount=0.5), np.full((1, 3, 2), 0.5), safeguard=0.0)
