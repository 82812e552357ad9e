"""The closing beach bar against its definition in numpy, and against best responses that know too much."""

import numpy as np
import pytest

from mfenvs import InducedGame, World, make, path_exploitability
from mfenvs.finite_game import FiniteGame

SMALL = {"n_places": 9, "bar": 4, "horizon": 6, "closing_time": 3}


def arrays(game, mu, is_open, closes):
    """P (S, A, S) and R (S, A) at a law mu (S,) of the place; ``closes`` is the probability of z' = 0."""
    n, bar = game.n_places, game.bar

    def legal(place, before):
        place = min(max(place, 0), n - 1)
        if before < bar <= place:
            return bar - 1
        if before > bar >= place:
            return bar + 1
        return place

    p, r = np.zeros((n, 11, n)), np.zeros((n, 11))
    for s in range(n):
        for a in range(-5, 6):
            moved = legal(s + a, s)
            for e, chance in zip(range(-2, 3), game.noise, strict=True):
                p[s, a + 5, legal(moved + e, s)] += chance
            r[s, a + 5] = -abs(s - bar) * is_open - abs(a) / n - n * (abs(s - bar) == 1) * closes
            r[s, a + 5] -= game.aversion * is_open * np.log(mu[s] + game.least)
    return p, r


def uniform_policy_values(game):
    """Value and exploitability of the uniform policy among adapted ones, and among those that know the coin."""
    horizon, decided, p_close = game.horizon, game.closing_time, game.closing

    def problems(is_open_at):
        law, found = game.initial_distribution, []
        for h in range(horizon):
            is_open, then = is_open_at(h), is_open_at(h + 1)
            closes = p_close if h == decided - 1 else float(not then)
            found.append(arrays(game, law, is_open, closes))
            law = np.einsum("s,sat->t", law, found[-1][0]) / 11
        return found

    stays, shuts = problems(lambda h: True), problems(lambda h: h < decided)

    def backward(problem, ahead, first, last, best):
        for h in range(last - 1, first - 1, -1):
            p, r = problem[h]
            q = r + p @ ahead
            ahead = q.max(1) if best else q.mean(1)
        return ahead

    zero = np.zeros(game.n_places)
    found = []
    for best in (False, True):
        later = [backward(problem, zero, decided, horizon, best) for problem in (stays, shuts)]
        mixed = (1 - p_close) * later[0] + p_close * later[1]
        found.append(game.initial_distribution @ backward(stays, mixed, 0, decided, best))
    clairvoyant = game.initial_distribution @ sum(
        chance * backward(problem, zero, 0, horizon, True)
        for chance, problem in ((1 - p_close, stays), (p_close, shuts))
    )
    return found[0], found[1] - found[0], clairvoyant - found[0]


@pytest.mark.parametrize(
    "constants", [SMALL, SMALL | {"aversion": 0.0, "closing": 0.3, "bar": 2, "noise": (0.1, 0.2, 0.3, 0.3, 0.1)}]
)
def test_values_are_those_of_the_definition(constants):
    game = make("ClosingBeachBar-v0", **constants)
    induced = InducedGame(game)
    value, gap, _ = uniform_policy_values(game)
    assert induced.value(induced.uniform_policy()) == pytest.approx(value, abs=1e-10)
    assert induced.exploitability(induced.uniform_policy()) == pytest.approx(gap, abs=1e-10)


@pytest.mark.parametrize(
    ("constants", "known"), [({}, (-506.204569, 476.452771)), ({"aversion": 0.0}, (-609.390019, 485.187452))]
)
def test_numbers_of_the_docstring(constants, known):
    """The induced game of this size is looked at once, by hand: its definition has been compared above."""
    value, gap, _ = uniform_policy_values(make("ClosingBeachBar-v0", **constants))
    assert (value, gap) == pytest.approx(known, abs=5e-7)


def test_one_node_for_each_public_state_that_is_possible():
    induced = InducedGame(make("ClosingBeachBar-v0", **SMALL))
    assert induced.tree is not None
    assert induced.tree.exists.tolist() == [[False, True]] * 3 + [[True, True]] * 3
    assert induced.policy_shape == make("ClosingBeachBar-v0", **SMALL).policy_shape


@pytest.mark.slow
def test_a_coin_is_worth_knowing_before_it_is_thrown():
    """Adapted and clairvoyant gains differ, and estimates from paths agree with both."""
    game = make("ClosingBeachBar-v0", **SMALL)
    assert isinstance(game, FiniteGame)
    _, gap, clairvoyant = uniform_policy_values(game)
    assert clairvoyant > gap + 0.5
    found = path_exploitability(game, InducedGame(game).uniform_policy(), n_paths=400, seed=3)
    for estimate, exact in ((found.lower, gap), (found.upper, gap), (found.clairvoyant, clairvoyant)):
        assert abs(estimate.value - exact) <= 6 * estimate.standard_error + 1e-9
    assert found.upper.standard_error < 0.1 * found.clairvoyant.standard_error


def test_bar_that_never_closes():
    """Beyond the end of the game nothing is decided; at its last step the coin is paid for."""
    late = make("ClosingBeachBar-v0", **(SMALL | {"closing_time": 9}))
    assert (late.public_chain.transition == np.eye(2)).all()
    last = make("ClosingBeachBar-v0", **(SMALL | {"closing_time": 6}))
    assert (last.public_chain.transition == np.eye(2)).all()
    worlds = (World(np.ones(9), np.ones(1), game.constants, 5, -1, 0.0, 1.0, 1 / 9) for game in (late, last))
    paid = [late.reward(3, 5, 0, world) for world in worlds]
    assert paid[0] - paid[1] == pytest.approx(9 * 0.5)
