"""The bounds against exact enumeration of small games, hand-worked numbers and their recursions."""

import dataclasses
import itertools
import math

import numpy as np
import oracles
import pytest
import random_game
from hypothesis import given
from hypothesis import strategies as st
from joint_chain import JointChain
from numpy.testing import assert_allclose
from oracles import random_policy
from random_game import RandomGame
from tabulated import Tabulated

from baselines.solvers.fixed_point import MirrorDescentConfig, OnlineMirrorDescent
from mfenvs import InducedGame
from mfenvs.meanfield.bounds import (
    GameConstants,
    dominance_moduli,
    empirical_distance,
    regularisation_bias,
    theorem_1,
    theorem_2,
    theorem_3,
)
from mfenvs.meanfield.lipschitz import lipschitz_constants

PLAIN = GameConstants(
    n_agents=100, n_states=2, n_actions=3, horizon=4, l_pop=0.5, k_mu=0.2, l_mu=0.3, alpha=0.1, beta=0.05
)


def asymmetry(game):
    """alpha and beta of Definition 7 by trying all others' configurations."""
    n, found = game.n_agents, np.zeros(2)
    for cells in itertools.combinations_with_replacement(range(4), n - 1):
        sigma = np.bincount(cells, minlength=4).reshape(2, 2) / (n - 1)
        own = [random_game.arrays(game, i, sigma) for i in range(n)]
        p, r = np.mean([x for x, _ in own], axis=0), np.mean([x for _, x in own], axis=0)
        for q, t in own:
            found = np.maximum(found, [np.abs(q - p).sum(axis=-1).max(), np.abs(t - r).max()])
    return found


def constants_of(game):
    found, (alpha, beta) = lipschitz_constants(InducedGame(game)), asymmetry(game)
    return GameConstants(
        n_agents=game.n_agents,
        n_states=game.n_states,
        n_actions=game.n_actions,
        horizon=game.horizon,
        l_pop=found.l_pop.value,
        k_mu=found.k_mu.value,
        l_mu=found.l_mu.value,
        reward_span=found.reward_span.value,
        alpha=alpha,
        beta=beta,
    ), found


@pytest.mark.parametrize("number", range(50))
def test_no_agent_of_a_random_game_gains_more_than_theorem_1_says(number):
    """Two or three agents, the joint chain enumerated: everyone's gain, and E||mu^N_h - mu_h||_1 <= E(h)."""
    rng = np.random.default_rng(number)
    n, horizon = (3, 2) if number % 2 else (2, 3)
    pull, interest = rng.choice([0.0, 0.1, 0.7], 2)
    game = RandomGame(
        n_agents=n, horizon=horizon, pull=pull, interest=interest, heterogeneity=rng.random(), tables=number
    )
    induced, (constants, found) = InducedGame(game), constants_of(game)
    policy = random_policy(rng, *game.policy_shape) if number % 5 else np.tile(np.eye(2)[0], (horizon, 2, 1))
    delta = induced.exploitability(policy)
    chain = JointChain(game, random_game.row, random_game.earned)
    policies = np.stack([policy] * n)
    worst = max(chain.exploitability(policies, i) for i in range(n))
    bound = theorem_1(constants, equilibrium_error=delta)
    assert all(part.is_exact for part in (found.l_pop, found.k_mu, found.l_mu, found.reward_span))
    assert worst <= bound.total
    assert worst <= theorem_1(constants, equilibrium_error=delta, form="paper", l_a=found.l_a.value).total
    # The sharper step behind it: the population's distance, one agent playing something else.
    policies[0] = random_policy(rng, *game.policy_shape)
    _, visited = chain.play(policies)
    mu = induced.flow(policy).mu
    for h in range(horizon):
        distance = 0.0
        for x, u in itertools.product(range(len(chain.states)), range(len(chain.actions))):
            empirical = np.zeros((2, 2))
            np.add.at(empirical, (chain.states[x], chain.actions[u]), 1 / n)
            distance += visited[h][x, u] * np.abs(empirical - mu[h]).sum()
        assert distance <= empirical_distance(constants)[h]


def duel(horizon, own, pay):
    """Two agents who do not see each other, with their own rows (2, S, A, S) and rewards (2, S, A)."""
    game = RandomGame(n_agents=2, horizon=horizon, pull=0.0, interest=0.0)
    agents = np.zeros(2, game.agent_dtype)
    agents["own"], agents["pay"], agents["led"] = own, pay, 0.5

    @dataclasses.dataclass(kw_only=True)
    class Given(RandomGame):
        def draw_agents(self, rng):
            return agents

    return Given(n_agents=2, horizon=horizon, pull=0.0, interest=0.0)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_part_of_beta_is_attained(horizon):
    """Agent 0 has 1 for action 1 and 0 for action 0, agent 1 the opposite: on average 1/2, and beta = 1/2."""
    pay = np.stack([np.tile([0.0, 1.0], (2, 1)), np.tile([1.0, 0.0], (2, 1))])
    game = duel(horizon, 0.5, pay)
    constants, _ = constants_of(game)
    policy = np.tile(np.eye(2)[0], (horizon, 2, 1))
    assert InducedGame(game).exploitability(policy) == pytest.approx(0)
    chain = JointChain(game, random_game.row, random_game.earned)
    gain = chain.exploitability(np.stack([policy] * 2), 0)
    bound = theorem_1(constants)
    assert gain == pytest.approx(horizon)
    assert bound.total == bound.beta == pytest.approx(2 * 0.5 * horizon) == pytest.approx(gain)


def test_the_part_of_alpha_is_attained_by_rewards_that_no_action_changes():
    """State 1 pays 1. Agent 0 gets there by action 1 with 3/4, by 0 with 1/4; on average 1/2, and alpha = 1/2.

    L_a = 0 here: with L_a for the span of rewards, the bound would leave out what the gain consists of.
    """
    own = np.zeros((2, 2, 2, 2))
    own[0, :, :, 1], own[1, :, :, 1] = [0.25, 0.75], [0.75, 0.25]
    own[..., 0] = 1 - own[..., 1]
    game = duel(2, own, np.tile([[0.0, 0.0], [1.0, 1.0]], (2, 1, 1)))
    constants, found = constants_of(game)
    assert found.l_a.value == 0
    policy = np.tile(np.eye(2)[0], (2, 2, 1))
    chain = JointChain(game, random_game.row, random_game.earned)
    gain = chain.exploitability(np.stack([policy] * 2), 0)
    bound = theorem_1(constants)
    assert gain == pytest.approx(0.5)
    assert bound.total == bound.alpha == pytest.approx(0.5)


def test_theorem_1_by_hand():
    """N = 100, H = 2, L = 1/2: E = (c, 1.5 c) with c = 6 / 10 + (2 + .6) / 100 + .1 = .726."""
    game = dataclasses.replace(PLAIN, horizon=2)
    assert_allclose(empirical_distance(game), [0.726, 1.089])
    assert_allclose(empirical_distance(game, "paper"), [0.71, 1.065])
    found = theorem_1(game, equilibrium_error=0.01)
    # 2 [.3 (.726 + 1.089) + .1 * .726] + 6 * 2 * .3 / 100 + 2 * .05 * 2 + 1 (.1 + .006)
    assert found.total == pytest.approx(0.01 + 2 * (0.5445 + 0.0726) + 0.036 + 0.2 + 0.106)
    assert found.beta == pytest.approx(0.2)
    # alpha = .1 in E: 2 [.3 (.1 + .15) + .1 * .1], and .1 at the end.
    assert found.alpha == pytest.approx(0.17 + 0.1)
    printed = theorem_1(game, equilibrium_error=0.01, form="paper", l_a=0.4)
    assert printed.total == pytest.approx(0.01 + 2 * (0.3 * 1.775 + 0.04 * 0.71) + 0.036 + 0.2 + 8 * 0.106)
    assert found.summary()["total"] == found.total


def test_the_three_regimes():
    """At L = 1 the ratio is h + 1, the limit from both sides."""
    source = empirical_distance(PLAIN)[0]
    for l_pop, ratios in ((1.0, [1, 2, 3, 4]), (2.0, [1, 3, 7, 15]), (0.0, [1, 1, 1, 1])):
        assert_allclose(empirical_distance(dataclasses.replace(PLAIN, l_pop=l_pop)), source * np.array(ratios))
    beside = empirical_distance(dataclasses.replace(PLAIN, l_pop=1 + 1e-9))
    assert_allclose(beside, empirical_distance(dataclasses.replace(PLAIN, l_pop=1.0)), rtol=1e-7)
    long = theorem_1(dataclasses.replace(PLAIN, l_pop=3.0, horizon=2000))
    assert long.total == math.inf
    without = theorem_1(dataclasses.replace(PLAIN, l_pop=3.0, horizon=2000, k_mu=0.0, l_mu=0.0))
    assert without.total == pytest.approx(2 * 0.05 * 2000 + 0.1 * 2000 * 1999 / 2)


@given(st.floats(0.1, 100.0), st.floats(0.0, 2.0), st.floats(0.0, 3.0))
def test_the_bound_is_in_the_unit_of_the_rewards(unit, alpha, l_pop):
    game = dataclasses.replace(PLAIN, alpha=alpha, l_pop=l_pop)
    scaled = dataclasses.replace(
        game, l_mu=unit * game.l_mu, beta=unit * game.beta, reward_span=unit * game.reward_span
    )
    found = theorem_1(scaled, equilibrium_error=unit * 0.3).total
    assert found == pytest.approx(unit * theorem_1(game, equilibrium_error=0.3).total)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_regularised_equilibria_are_as_exploitable_as_lemma_11_allows(temperature):
    game = Tabulated(crowding=1.0)
    solver = OnlineMirrorDescent(game, MirrorDescentConfig(learning_rate=0.1, temperature=temperature))
    solver.run(3000)
    induced, policy = solver.induced, solver.policy.probabilities
    assert induced.exploitability(policy, temperature=temperature) < 1e-9
    bias = regularisation_bias(temperature, game.horizon, 2)
    assert bias == pytest.approx(2 * temperature * 3 * math.log(2))
    assert 0 < induced.exploitability(policy) <= bias
    for seed in range(5):
        other = random_policy(np.random.default_rng(seed), *game.policy_shape)
        assert abs(induced.value(other, temperature=temperature) - induced.value(other)) <= bias / 2


def test_lemma_2_by_hand():
    assert dominance_moduli(0.01, 0.02, 100, 4) == pytest.approx((2.0, 4.0))
    assert dominance_moduli(0.01, 0.02, 100, 0) == (0.0, 0.0)


def recursion(game, delta, n_iterations):
    """The inequality of appendix C.1 iterated: bounds on E||Qhat_h^m - Q_h||^2 after m iterations, (M + 1, H)."""
    q_max, h_last = game.horizon * (1 + math.log(game.n_actions)), game.horizon - 1
    n, u = game.n_agents, 2 / delta
    root, others = 0.0, []
    for h in range(game.horizon):
        noise = math.sqrt(game.n_states * game.n_actions / n)
        root = noise if h == 0 else game.l_pop * root + noise + 3 * game.k_mu / n + game.alpha
        others.append((root + 3 / n) ** 2)
    e = np.full(game.horizon, q_max**2)
    history = [e.copy()]
    for m in range(n_iterations):
        eta, after = u / (m + u), np.empty(game.horizon)
        bias = 2 * game.beta**2 + 2 * game.l_mu**2 * others[h_last]
        after[h_last] = (1 - delta * eta) * e[h_last] + (1 + q_max**2) * eta**2 + eta * bias
        for h in range(h_last):
            k = game.horizon - h + 1
            drift = 0.5 * q_max**2 * (game.alpha**2 + game.k_mu**2 * others[h])
            bias = 2 * (1 + k**2) * (drift + 2 * game.beta**2 + 2 * game.l_mu**2 * others[h])
            after[h] = (1 - delta * eta) * e[h] + 2 * eta**2 * q_max**2
            after[h] += eta * ((1 + 1 / k**2) * e[h + 1] + bias)
        e = after
        history.append(e.copy())
    return np.array(history)


@pytest.mark.parametrize("delta", [1.0, 0.4, 0.05])
def test_theorem_2_bounds_its_recursion_at_every_iteration(delta):
    history = recursion(PLAIN, delta, 3000)
    for m in (0, 1, 2, 10, 100, 3000):
        found = theorem_2(PLAIN, least_visits=delta, n_iterations=m)
        assert (history[m] <= found.total * (1 + 1e-12)).all()
    if delta == 1.0:  # What is left in the limit is the bias.
        found = theorem_2(PLAIN, least_visits=delta, n_iterations=60_000)
        assert_allclose(recursion(PLAIN, delta, 60_000)[-1], found.total - found.sampling, rtol=0.1)
    assert_allclose(theorem_2(PLAIN, least_visits=delta, n_iterations=10**15).sampling, 0, atol=1e-3)


def test_each_source_of_theorem_2_alone():
    symmetric = dataclasses.replace(PLAIN, alpha=0.0, beta=0.0)
    whole, without = (theorem_2(game, least_visits=0.3, n_iterations=50) for game in (PLAIN, symmetric))
    assert_allclose(whole.population, without.population)
    assert_allclose(whole.sampling, without.sampling)
    assert (without.alpha == 0).all()
    assert (without.beta == 0).all()
    only_beta = theorem_2(dataclasses.replace(PLAIN, alpha=0.0), least_visits=0.3, n_iterations=50)
    assert_allclose(only_beta.beta, whole.beta)
    # Orders: 1 / M, 1 / N, beta^2.
    many = theorem_2(dataclasses.replace(symmetric, n_agents=10**8), least_visits=0.3, n_iterations=50)
    more = theorem_2(dataclasses.replace(symmetric, n_agents=4 * 10**8), least_visits=0.3, n_iterations=50)
    assert_allclose(many.population / more.population, 4, rtol=1e-3)
    half = theorem_2(dataclasses.replace(PLAIN, beta=PLAIN.beta / 2), least_visits=0.3, n_iterations=50)
    assert_allclose(whole.beta / half.beta, 4)


def test_td_learning_of_a_bandit_errs_less_than_theorem_2_says():
    """One state, two actions with 1/4 and 3/4, coin-toss rewards: the mean squared error of 2000 learners."""
    rng = np.random.default_rng(0)
    q, delta, prob = np.zeros((2000, 2)), 0.25, np.array([0.25, 0.75])
    game = GameConstants(n_agents=10**12, n_states=1, n_actions=2, horizon=1, l_pop=1.0, k_mu=0.0, l_mu=0.0)
    for m in range(2000):
        chosen, eta = (rng.random(2000) < 0.75).astype(int), 8 / (m + 8)
        at = np.arange(2000), chosen
        q[at] += eta * ((rng.random(2000) < 0.5) - q[at])
        if m + 1 in (10, 100, 2000):
            error = (prob * np.square(q - 0.5)).sum(axis=1).mean()
            bound = theorem_2(game, least_visits=delta, n_iterations=m + 1).total[0]
            assert 0.001 * bound < error <= bound


@pytest.mark.parametrize("epsilon", [0.7, 0.5, 0.31, 0.2, 0.13])
def test_theorem_3_takes_the_fewest_samples_that_its_conditions_allow(epsilon):
    wanted = {"temperature": 0.1, "least_visits": 0.5}
    found = theorem_3(PLAIN, epsilon=epsilon, **wanted)

    def optimisation(epochs):
        log_actions = math.log(3)
        first = 4 * log_actions
        term = 4 * first / 0.1 + 4 * 16 / 0.1 + 4 * 0.1 * 4 * log_actions + 4 * 0.1 * math.log(epochs + 1) ** 2
        return 0.1**2 * term / math.sqrt(epochs)

    def sampling(iterations):
        return theorem_2(PLAIN, least_visits=0.5, n_iterations=int(iterations)).sampling.sum()

    assert optimisation(found.n_epochs) <= epsilon**2 < optimisation(found.n_epochs - 1)
    assert sampling(found.n_iterations) <= epsilon**2 * (1 + 1e-9)
    assert sampling(found.n_iterations - 1) > epsilon**2 * (1 - 1e-9)
    assert found.n_episodes == found.n_epochs * found.n_iterations
    finer = theorem_3(PLAIN, epsilon=epsilon / 10, **wanted)
    assert finer.n_iterations / found.n_iterations == pytest.approx(100, rel=0.01)
    assert 10**4 < finer.n_epochs / found.n_epochs < 2 * 10**4
    assert theorem_3(PLAIN, epsilon=1e9, **wanted).n_episodes == 1


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"n_agents": 1}, r"n_agents must be an integer in \[2, \d+\], got 1"),
        ({"alpha": 2.1}, r"alpha must be a finite number in \[0, 2\], got 2.1"),
        ({"beta": -0.1}, r"beta must be a finite number in \[0, inf\), got -0.1"),
        ({"l_pop": math.nan}, r"l_pop must be a finite number in \[0, inf\), got nan"),
        ({"horizon": 0}, r"horizon must be an integer in \[1, 1048576\], got 0"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **constants)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theorem_1(PLAIN, equilibrium_error=-1), "equilibrium_error must be a finite number"),
        (lambda: theorem_1(PLAIN, form="paper"), "l_a must be given for the printed form"),
        (lambda: theorem_1(PLAIN, form="other"), "form must be one of 'proved', 'paper', got 'other'"),
        (lambda: empirical_distance(PLAIN, "printed"), "form must be one of"),
        (lambda: regularisation_bias(-1.0, 3, 2), "temperature must be a finite number"),
        (lambda: dominance_moduli(0.1, -1, 3, 2), "c_2 must be a finite number"),
        (lambda: dominance_moduli(0.1, 1, 3, -2), r"sparsity must be an integer in \[0, \d+\], got -2"),
        (
            lambda: theorem_2(PLAIN, least_visits=0.0, n_iterations=3),
            r"least_visits must be .* in \(0, 1\], got 0",
        ),
        (lambda: theorem_2(PLAIN, least_visits=0.5, n_iterations=-1), "n_iterations must be an integer"),
        (lambda: theorem_3(PLAIN, epsilon=0, temperature=0.1, least_visits=0.5), "epsilon must be"),
        (lambda: theorem_3(PLAIN, epsilon=1, temperature=0.5, least_visits=0.5), r"temperature must .*\(0, 0.5\)"),
    ],
)
def test_arguments_that_are_not_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_random_game_is_what_it_says():
    """The rules of the test game against their formulas, through the induced game."""
    game = RandomGame(n_agents=4, tables=3)
    mu = np.random.default_rng(0).dirichlet(np.ones(4)).reshape(2, 2)
    p, r = InducedGame(game).arrays(mu)
    own = [random_game.arrays(game, i, mu) for i in range(4)]
    assert_allclose(p, np.mean([x for x, _ in own], axis=0), atol=1e-7)
    assert_allclose(r, np.mean([x for _, x in own], axis=0), atol=1e-7)
    assert oracles.value(game.initial_distribution, np.full((1, 2, 2), 0.5), p[None], r[None]) > 0
