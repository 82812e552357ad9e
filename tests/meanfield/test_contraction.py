"""Lipschitz moduli where they are known."""

import itertools
import math

import numpy as np
import pytest
from tabulated import CORRIDOR, HOME, RING, Tabulated

from mfenvs import InducedGame, make
from mfenvs.meanfield.contraction import ContractionModuli, contraction_moduli

ROUNDING = 1e-9
"""Ratios of differences of nearly equal numbers."""


def game(**constants) -> InducedGame:
    return InducedGame(Tabulated(**{"discount": 0.5, **constants}))


def total_variation(one, other) -> float:
    return 0.5 * np.abs(np.subtract(one, other)).sum()


def dobrushin(moves) -> float:
    """The largest distance of two rows of P: with whatever actions, as some policy takes those."""
    return max(
        total_variation(moves[s][a], moves[t][b])
        for s, t in itertools.combinations(range(3), 2)
        for a, b in itertools.product(range(2), repeat=2)
    )


@pytest.mark.parametrize("c", [1.0, 50.0, math.inf])
@pytest.mark.parametrize("discount", [0.5, 1.0])
def test_without_coupling_the_answer_is_always_the_same(c, discount) -> None:
    found = contraction_moduli(game(discount=discount), c, n_pairs=8)
    assert found.d1 == 0.0
    assert found.modulus == found.d3


@pytest.mark.parametrize("first", [0.0, 0.25, 0.5])
def test_d3_is_dobrushins_coefficient(first) -> None:
    """Rows (1, 0, 0), (1 - first, first, 0), (0, 0, 1), whatever one does: the last is apart from both by 1."""
    one_row = ((1.0, 0.0, 0.0), (1.0 - first, first, 0.0), (0.0, 0.0, 1.0))
    near = ((1.0, 0.0, 0.0), (1.0 - first, first, 0.0), (1.0 - first, 0.0, first))
    far = contraction_moduli(game(moves=tuple((row, row) for row in one_row)), 1.0, n_pairs=200)
    assert 0.4 < far.d3 <= 1.0 + ROUNDING
    # |1 - first, first, 0| - |1 - first, 0, first|, or of the others: all rows are within `first` of each other.
    close = contraction_moduli(game(moves=tuple((row, row) for row in near)), 1.0, n_pairs=200)
    assert dobrushin([(row, row) for row in near]) == first
    assert 0.4 * first <= close.d3 <= first + ROUNDING


def test_d2_is_one_where_actions_do_not_move() -> None:
    """L' = mu' x pi with mu' free of pi: the mean over states of the policies' distances, at most their largest.

    With everybody at home the mean is the distance at home, and d2 is 1 where home is the farthest.
    """
    assert contraction_moduli(game(moves=HOME), 1.0, n_pairs=100).d2 == pytest.approx(1.0, abs=ROUNDING)
    spread = contraction_moduli(game(moves=tuple((row[0],) * 2 for row in CORRIDOR)), 1.0, n_pairs=100)
    assert 0.5 < spread.d2 <= 1.0 + ROUNDING
    # Where actions move, by at most eta of total variation in each state, d2 <= 1 + eta.
    for moves, eta in ((CORRIDOR, 0.5), (RING, 1.0)):
        assert max(total_variation(*moves[s]) for s in range(3)) == eta
        found = contraction_moduli(game(moves=moves), 1.0, n_pairs=200)
        assert 0.5 < found.d2 <= 1 + eta + ROUNDING
        assert 0.2 < found.d3 <= dobrushin(moves) + ROUNDING
    assert found.d2 > 1.0


def test_everybody_going_home_forgets_where_they_were() -> None:
    assert contraction_moduli(game(moves=HOME), 1.0).d3 == pytest.approx(0.0, abs=ROUNDING)


@pytest.mark.parametrize(("c", "crowding"), [(1.0, 1.0), (0.5, 3.0), (0.1, -2.0)])
def test_d1_of_a_crowd_is_c_k_over_two(c, crowding) -> None:
    """Q(1) - Q(0) = const - k (2 l - 1), with l the share of those who play 1.

    So p = sigma(c (const - k (2 l - 1))), of which |dp/dl| <= 2 c k / 4.
    """
    found = contraction_moduli(game(moves=HOME, pay=((0.0, 0.0),) * 3, crowding=crowding), c, n_pairs=400)
    bound = c * abs(crowding) / 2
    assert found.d1 <= bound + ROUNDING
    assert found.d1 > 0.9 * bound


def test_the_discount_makes_the_answer_depend_on_later_crowds() -> None:
    """Where 0 stays and 1 moves on, what is earned there counts, the more the longer one waits."""
    moves = tuple((tuple(np.eye(3)[s]), tuple(np.eye(3)[(s + 1) % 3])) for s in range(3))
    d1 = [contraction_moduli(game(moves=moves, pull=0.5, discount=gamma), 1.0).d1 for gamma in (0.01, 0.5, 0.9)]
    assert 0 < d1[0] < 0.1 * d1[1]
    assert d1[1] < d1[2]


def test_argmax_e_is_as_steep_as_the_pairs_are_near() -> None:
    crowd = game(moves=HOME, pay=((0.0, 0.0),) * 3, crowding=1.0)
    sharp, soft = (contraction_moduli(crowd, c, n_pairs=400) for c in (math.inf, 1.0))
    assert sharp.d1 > 15  # of pairs that are far apart it is less than 10
    assert not sharp.may_contract
    assert soft.may_contract
    assert sharp.d2 == soft.d2  # the same pairs
    assert contraction_moduli(crowd, n_pairs=400) == sharp  # the default


def test_more_pairs_find_no_less_and_the_seed_decides() -> None:
    crowd = game(crowding=1.0, pull=0.5)
    few, many, again = (contraction_moduli(crowd, 1.0, n_pairs=n, seed=3) for n in (5, 50, 5))
    assert few == again
    assert few.n_pairs == 5
    assert many.d1 >= few.d1
    assert many.d2 >= few.d2
    assert many.d3 >= few.d3
    assert contraction_moduli(crowd, 1.0, n_pairs=5, seed=4) != few


def test_a_flow_that_is_replayed_does_not_depend_on_the_population() -> None:
    found = contraction_moduli(InducedGame(make("Epidemic-v0", n_agents=20, horizon=4)), 0.5)
    assert found.d3 == 0.0
    assert found.d1 > 0
    assert found.d2 > 0


def test_the_condition() -> None:
    moduli = ContractionModuli(0.5, 1.25, 0.25, 3)
    assert moduli.modulus == 0.875
    assert moduli.may_contract
    assert not ContractionModuli(0.5, 1.5, 0.25, 3).may_contract


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_pairs": 0}, "n_pairs must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"inverse_temperature": 0.0}, "inverse_temperature must be"),
    ],
)
def test_errors_name_the_argument(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        contraction_moduli(game(), **arguments)
