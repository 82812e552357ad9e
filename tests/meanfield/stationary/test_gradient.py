"""Derivatives of social welfare against difference quotients of values along random directions."""

import functools

import numpy as np
import pytest
from malware_arrays import repair_from
from numpy.testing import assert_allclose
from oracles import chain, deterministic_policies, forever, stationary
from small_games import auction
from stationary_models import BUSY, busy, malware
from tabulated import Tabulated, tabulated_arrays

from mfenvs import InducedGame
from mfenvs.games.epidemic import Epidemic
from mfenvs.meanfield.stationary import NotDifferentiableError, welfare_gradient

by_game = pytest.mark.parametrize("name", ["malware", "auction", "busy"])


@functools.cache
def induced_game(name):
    if name == "auction":
        return InducedGame(auction(discount=0.8, heterogeneity=0.25))
    return {"malware": malware, "busy": busy}[name]()


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
    induced, rng = induced_game(name), np.random.default_rng(seed)
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
    """Counts are at the ends of their ranges there."""
    induced, rng = induced_game(name), np.random.default_rng(1)
    eye = np.eye(induced.n_actions)
    for _ in range(3):
        policy = eye[rng.integers(0, induced.n_actions, induced.n_states)][None]
        policy[0, 0] = eye[0]  # Nobody stays at level 0 of malware for ever, beside those who stay at 1.
        found = welfare_gradient(induced, policy)
        for _ in range(3):
            direction = a_policy(rng, induced) - policy
            total = forward(lambda t, p=policy, d=direction: induced.value(p + t * d))
            assert_allclose((found.total * direction[0]).sum(), total, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bid", [1, 2])
def test_a_count_at_the_end_of_its_range_has_a_one_sided_derivative(bid):
    """Nobody bids 0, and the auction's rules cut off negative counts: a central quotient would give the half."""
    induced = InducedGame(auction(discount=0.8, n_bidders=2))
    policy = np.tile(np.eye(3)[bid], (1, 3, 1))
    found = welfare_gradient(induced, policy)
    for other in (0, 1, 2):
        direction = np.tile(np.eye(3)[other], (1, 3, 1)) - policy
        total = forward(lambda t, d=direction: induced.value(policy + t * d))
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

    found = welfare_gradient(busy(), policy)
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
        welfare_gradient(malware(), policy)


def test_an_epidemic_at_its_threshold_has_no_derivative():
    """Half of the infected go out, and the healthy with twice recovery / susceptibility: it just dies out."""
    game = Epidemic(n_agents=7, horizon=6, discount=0.9, initial_infected=0.3, heterogeneity=0.0)
    susceptibility, recovery = (float(game.agents[name].mean()) for name in ("susceptibility", "recovery"))
    out = 2.0 * recovery / susceptibility
    induced = InducedGame(game)
    with pytest.raises(NotDifferentiableError, match="no derivative where the population does not settle"):
        welfare_gradient(induced, [[0.5, 0.5], [1.0 - out, out]])
    # Near it the population settles, but its law has an error that would be one of 2 % in the derivative.
    near = out + 6.3e-4
    assert induced.flow([[[0.5, 0.5], [1.0 - near, near]]]).residual < 1e-8
    with pytest.raises(NotDifferentiableError, match="or nearly not"):
        welfare_gradient(induced, [[0.5, 0.5], [1.0 - near, near]])
    welfare_gradient(induced, [[0.5, 0.5], [0.9 - out, out + 0.1]])


def test_every_deterministic_policy_of_a_small_game():
    induced = busy()
    for (policy,) in deterministic_policies(1, 3, 2):
        found = welfare_gradient(induced, policy)
        direction = (induced.uniform_policy() - policy)[0]
        total = forward(lambda t, p=policy, d=direction: induced.value((p + t * d)[None]))
        assert_allclose((found.total * direction).sum(), total, rtol=1e-6, atol=1e-6)
