"""Derivatives of social welfare against difference quotients of values along random directions."""

import numpy as np
import pytest
from malware_arrays import repair_from
from numpy.testing import assert_allclose
from oracles import chain, deterministic_policies, forever, stationary
from small_games import auction
from tabulated import Tabulated, tabulated_arrays

from mfenvs import InducedGame, make
from mfenvs.games.epidemic import Epidemic
from mfenvs.meanfield.stationary import NotDifferentiableError, welfare_gradient

BUSY = Tabulated(discount=0.8, pull=0.7, crowding=0.6)
MALWARE = InducedGame(make("Malware-v0"))
GAMES = {
    "malware": MALWARE,
    "auction": InducedGame(auction(discount=0.8)),
    "busy": InducedGame(BUSY),
}
by_game = pytest.mark.parametrize("name", GAMES)


def a_policy(rng, induced):
    return rng.dirichlet(np.ones(induced.n_actions), induced.n_states)[None]


def central(f, step=1e-3):
    """The derivative at 0, to fourth order."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def forward(f, step=2e-4):
    """The derivative at 0 from the right, to fourth order."""
    return (-25 * f(0) + 48 * f(step) - 36 * f(2 * step) + 16 * f(3 * step) - 3 * f(4 * step)) / (12 * step)


@by_game
@pytest.mark.parametrize("seed", range(3))
def test_the_derivatives_at_random_policies(name, seed):
    induced, rng = GAMES[name], np.random.default_rng(seed)
    # Away from the edges, so that steps of a few thousandths lead to policies.
    policy = 0.9 * a_policy(rng, induced) + 0.1 * induced.uniform_policy()
    found, own = welfare_gradient(induced, policy), induced.flow(policy)
    assert_allclose(found.value, induced.value(policy), atol=1e-11)
    for _ in range(4):
        direction = a_policy(rng, induced) - policy
        total = central(lambda t, d=direction: induced.value(policy + t * d))
        partial = central(lambda t, d=direction: induced.value(policy + t * d, own))
        assert_allclose((found.total * direction[0]).sum(), total, atol=2e-8)
        assert_allclose((found.partial * direction[0]).sum(), partial, atol=2e-8)
        assert abs(total - partial) > 1e-4


@by_game
def test_the_derivatives_at_corners(name):
    """Counts are at the ends of their ranges there, where difference quotients must be one-sided.

    Beyond the ends the auction's rules cut off what is negative: a central quotient would be wrong.
    """
    induced, rng = GAMES[name], np.random.default_rng(1)
    eye = np.eye(induced.n_actions)
    for _ in range(3):
        policy = eye[rng.integers(0, induced.n_actions, induced.n_states)][None]
        policy[0, 0] = eye[0]  # Nobody stays at level 0 of malware for ever, beside those who stay at 1.
        found = welfare_gradient(induced, policy)
        for _ in range(3):
            direction = a_policy(rng, induced) - policy
            total = forward(lambda t, p=policy, d=direction: induced.value(p + t * d))
            assert_allclose((found.total * direction[0]).sum(), total, rtol=1e-6, atol=1e-6)


def test_against_plain_numpy():
    """The value by an eigenvector and linear algebra, at tables made from the description."""
    rng = np.random.default_rng(2)
    policy = 0.9 * rng.dirichlet(np.ones(2), 3) + 0.05

    def value(table):
        law = np.full(3, 1 / 3)
        for _ in range(200):
            p, r = tabulated_arrays(BUSY, law[:, None] * table)
            law = stationary(chain(table, p))
        return np.array(BUSY.first) @ forever(table, p, r, 0.8)

    found = welfare_gradient(GAMES["busy"], policy)
    for _ in range(3):
        direction = rng.dirichlet(np.ones(2), 3) - policy
        expected = central(lambda t, d=direction: value(policy + t * d))
        assert_allclose((found.total * direction).sum(), expected, atol=1e-6)


def test_without_interaction_both_are_the_gradient_of_a_decision_problem():
    induced = InducedGame(Tabulated(discount=0.8))
    found = welfare_gradient(induced, a_policy(np.random.default_rng(3), induced))
    assert_allclose(found.total, found.partial, rtol=1e-14)


CLOSED = (
    ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    ((0.75, 0.0, 0.25), (0.125, 0.5, 0.375)),
    ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
)
"""States 0 and 2 are never left."""


@pytest.mark.parametrize("crowding", [0.6, -0.9])
def test_the_limit_is_differentiated_where_classes_stay(crowding):
    induced = InducedGame(Tabulated(discount=0.8, moves=CLOSED, crowding=crowding))
    rng = np.random.default_rng(5)
    policy = 0.8 * a_policy(rng, induced) + 0.1
    found = welfare_gradient(induced, policy)
    for _ in range(4):
        direction = a_policy(rng, induced) - policy
        total = central(lambda t, d=direction: induced.value(policy + t * d))
        assert_allclose((found.total * direction[0]).sum(), total, atol=2e-8)
    # The middle state's choice moves mass between the two classes, which everybody feels.
    assert abs((found.total - found.partial)[1, 1] - (found.total - found.partial)[1, 0]) > 1e-3


def test_a_population_that_moves_masses_between_classes_has_no_derivative():
    induced = InducedGame(
        Tabulated(discount=0.8, moves=(((1.0, 0, 0),) * 2, ((0, 1.0, 0),) * 2, ((0, 0, 1.0),) * 2))
    )
    welfare_gradient(induced, induced.uniform_policy())
    leaving = InducedGame(
        Tabulated(
            discount=0.8, crowding=0.5, moves=(((1.0, 0, 0), (0, 1.0, 0)), ((0, 1.0, 0),) * 2, ((0, 0, 1.0),) * 2)
        )
    )
    with pytest.raises(NotDifferentiableError, match=r"jumps at this policy: .* action 1 in state 0"):
        welfare_gradient(leaving, [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    # Played with any probability, the class is no class.
    welfare_gradient(leaving, [[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])


def test_a_class_that_an_unplayed_action_leaves():
    """Malware that is repaired below a level only: level 0 is never left, and neither is level 1."""
    policy = np.ascontiguousarray(repair_from(50)[:, ::-1])
    with pytest.raises(NotDifferentiableError, match=r"jumps at this policy: .* action 0 in state 0"):
        welfare_gradient(MALWARE, policy)


def test_an_epidemic_at_its_threshold_has_no_derivative():
    """Half of the infected go out, and the healthy with twice recovery / susceptibility: it just dies out."""
    game = Epidemic(n_agents=7, horizon=6, discount=0.9, initial_infected=0.3, heterogeneity=0.0)
    susceptibility, recovery = (float(game.agents[name].mean()) for name in ("susceptibility", "recovery"))
    out = 2.0 * recovery / susceptibility
    with pytest.raises(NotDifferentiableError, match="no derivative"):
        welfare_gradient(InducedGame(game), [[0.5, 0.5], [1.0 - out, out]])
    welfare_gradient(InducedGame(game), [[0.5, 0.5], [0.9 - out, out + 0.1]])


def test_every_deterministic_policy_of_a_small_game():
    induced = GAMES["busy"]
    for (policy,) in deterministic_policies(1, 3, 2):
        found = welfare_gradient(induced, policy)
        direction = (induced.uniform_policy() - policy)[0]
        total = forward(lambda t, p=policy, d=direction: induced.value((p + t * d)[None]))
        assert_allclose((found.total * direction).sum(), total, rtol=1e-6, atol=1e-6)
