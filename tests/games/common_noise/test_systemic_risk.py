"""Systemic risk against its closed form, in discrete and in continuous time."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mfenvs import Engine, InducedGame, World, make

WIDE = {"horizon": 4, "reach": 25, "most": 16, "unit": 0.5, "first": 2, "duration": 0.75}
"""Nobody reaches an end of the scale, and no rate is out of range."""


def mean_of(history):
    """The mean place given a history: what the shocks before the last one have moved."""
    return sum(z - 1 for z in history[:-1])


def mixed_policy(game, induced, gains):
    """The policy of the nodes whose mean rate is k_h (m - X), which mixes two rates; and its variances."""
    tree = induced.tree
    rates = (np.arange(game.n_actions) - game.most) * game.unit
    places = np.arange(game.n_states) - game.reach
    law = np.zeros((tree.horizon, tree.width, game.n_states, game.n_actions))
    law[..., 0] = 1.0
    variance = np.zeros(law.shape[:3])
    for h, node in np.argwhere(tree.exists[: game.horizon - 1]):
        wanted = gains[h] * (mean_of(tree.history(h, node)) - places) * game.width
        wanted = np.clip(wanted, rates[0], rates[-1])
        below = np.clip(np.searchsorted(rates, wanted, side="right") - 1, 0, len(rates) - 2)
        part = (wanted - rates[below]) / game.unit
        law[h, node] = 0.0
        rows = np.arange(game.n_states)
        law[h, node, rows, below], law[h, node, rows, below + 1] = 1.0 - part, part
        variance[h, node] = part * (1.0 - part) * game.unit**2
    return law.reshape(induced.policy_shape), variance


def test_value_and_exploitability_are_those_of_the_closed_form():
    """Mixing two rates costs (1 + eta dt) dt / 2 times its variance: all that differs from the closed form."""
    game = make("SystemicRisk-v0", **WIDE)
    induced = InducedGame(game)
    exact = game.equilibrium()
    policy, variance = mixed_policy(game, induced, exact.gains)
    flow = induced.flow(policy)
    places = flow.mu.reshape(*variance.shape, game.n_actions).sum(axis=-1)
    assert places[..., [0, -1]].max() < 1e-12
    factors = 0.5 * game.dt * (1.0 + exact.curvature[1:] * game.dt)
    extra = factors @ (places * variance).sum(axis=(1, 2))[:-1]
    assert 0.0 < extra < 0.05
    assert induced.value(policy, flow) == pytest.approx(exact.value - extra, abs=1e-9)
    assert 0.0 <= induced.exploitability(policy) <= extra + 1e-9


def test_a_step_has_the_mean_and_the_variance_of_euler_and_maruyama():
    game = make("SystemicRisk-v0", **WIDE)
    places = np.arange(game.n_states) - game.reach
    for mean, public in itertools.product((0.0, -0.3, 4.7), range(3)):
        world = World(np.zeros(0), np.array([mean, public]), game.constants, 0, -1, 0.0, 1.0, 1.0)
        for state, action in itertools.product((20, 25, 29), range(12, 21)):
            found = [game.branch(k, state, action, 0, world) for k in range(game.n_branches)]
            to, chance = places[[s for s, _ in found]], np.array([p for _, p in found])
            assert chance.min() >= 0.0
            assert chance.sum() == pytest.approx(1.0, abs=1e-12)
            here, rate = places[state], (action - game.most) * game.unit
            drift = game.reversion * (mean - here) * game.dt + rate * game.dt / game.width
            assert chance @ to == pytest.approx(here + drift + (public - 1) * game.shock, abs=1e-12)
            spread = (chance @ (to - chance @ to) ** 2) * game.width**2
            assert spread == pytest.approx(game.volatility**2 * (1 - game.correlation**2) * game.dt, abs=1e-12)


@pytest.mark.parametrize(
    "coefficients",
    [
        {},
        {"reversion": 0.5, "incentive": 0.3, "aversion": 2.0, "final": 0.0, "duration": 3.0},
        {"reversion": 0.0, "incentive": 0.0, "aversion": 0.0, "final": 2.0},
    ],
)
def test_continuous_curvature_solves_the_riccati_equation(coefficients):
    game = make("SystemicRisk-v0", **coefficients)
    a, q, rest = game.reversion, game.incentive, game.aversion - game.incentive**2
    backwards = solve_ivp(
        lambda _, eta: -(2 * (a + q) * eta + eta**2 - rest),
        (0.0, game.duration),
        [game.final],
        rtol=1e-10,
        atol=1e-12,
        dense_output=True,
    )
    for left in np.linspace(0.0, game.duration, 7):
        found = game.continuous_curvature(game.duration - left)
        assert found == pytest.approx(float(backwards.sol(left)[0]), abs=1e-7)


def test_discrete_time_tends_to_continuous_time():
    """Of first order in the length of a step."""
    errors = []
    for n_steps in (100, 200, 400):
        game = make("SystemicRisk-v0", horizon=n_steps + 1)
        times = np.arange(n_steps) * game.dt
        limit = [game.incentive + game.continuous_curvature(time) for time in times]
        errors.append(np.abs(game.equilibrium().gains - limit).max())
    assert errors[-1] < 0.03
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert 1.8 < errors[1] / errors[2] < 2.2


def test_banks_move_together_by_the_shocks():
    """The mean of 4000 banks who do nothing follows the shocks of its world, within 6 standard errors."""
    game = make("SystemicRisk-v0", n_agents=4000, **WIDE)
    still = np.zeros(game.policy_shape)
    still[..., game.most] = 1.0
    run = Engine(game, 8).rollout(still, seed=1)
    shocks = np.concatenate([np.zeros((8, 1)), np.cumsum(run.public_states - 1, axis=1)], axis=1)
    away = (run.states.astype(int) - game.reach).mean(axis=2) - shocks
    assert len(np.unique(run.public_states, axis=0)) > 2
    assert np.abs(away).max() <= 6 * np.sqrt((4 + 4 * 1.1) / 4000)


def test_costs_must_be_convex_and_noise_their_own():
    with pytest.raises(ValueError, match=r"aversion must be at least incentive\^2 = 1, .* got 0.5"):
        make("SystemicRisk-v0", aversion=0.5)
    with pytest.raises(ValueError, match=r"correlation must leave banks a noise of their own.* correlation=0.95"):
        make("SystemicRisk-v0", correlation=0.95)
    make("SystemicRisk-v0", correlation=0.95, shock=2)
