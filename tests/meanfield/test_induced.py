"""The induced game against plain recursions, the brute-force construction of 003 and enumeration of policies."""

import dataclasses
import itertools
import math
import types

import numpy as np
import oracles
import pytest
from ferry import Ferry
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from oracles import (
    deterministic_policies,
    epidemic_reward,
    epidemic_row,
    mean_arrays,
    mean_field_flow,
    random_policy,
    rps_reward,
    rps_row,
)
from tabulated import Tabulated

from mfenvs import FiniteGame, InducedGame, n_player_exploitability, relative_exploitability, rule, share
from mfenvs.game import Game
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors

CASES = [
    (Epidemic(n_agents=7, horizon=5, initial_infected=0.3), epidemic_row, epidemic_reward),
    (RockPaperScissors(n_agents=6, horizon=3, beta=0.4), rps_row, rps_reward),
]
by_case = pytest.mark.parametrize(("game", "row", "reward"), CASES, ids=["Epidemic", "RockPaperScissors"])
seeds = st.integers(0, 10**6)


def random_law(rng, *shape):
    return random_policy(rng, math.prod(shape)).reshape(shape)


@by_case
@settings(max_examples=15)
@given(seed=seeds)
def test_arrays_are_the_mean_of_the_formulas_over_the_agents(game, row, reward, seed):
    mu = random_law(np.random.default_rng(seed), game.n_states, game.n_actions)
    expected = mean_arrays(game.agents, row, reward, mu)
    for mine, plain in zip(InducedGame(game).arrays(mu), expected, strict=True):
        assert_allclose(mine, plain, rtol=1e-12, atol=1e-14)


def test_arrays_by_hand():
    """Two agents: alpha .8 and .9 make .85; a quarter of the mass is infected and goes out."""
    game = Epidemic(n_agents=2, heterogeneity=0)
    game.agents.flags.writeable = True
    game.agents["susceptibility"] = 0.5, 1.0
    game.agents["recovery"] = 0.25, 0.75
    game.agents["aversion"] = 0.0, 1.0
    p, r = InducedGame(game).arrays([[0.5, 0.25], [0.25, 0.0]])
    assert_allclose(p[..., 0], [[0.5, 0.5], [0.0, 0.75 * 0.25]], atol=1e-15)
    assert_allclose(p.sum(axis=-1), 1.0, atol=1e-15)
    assert_allclose(r, [[-1.5, -1.0], [-0.5, 0.0]], atol=1e-15)


def test_rock_paper_scissors_arrays_by_hand():
    """Half in rock playing paper, half in scissors playing scissors; crowding 3."""
    mu = np.zeros((3, 3))
    mu[0, 1] = mu[2, 2] = 0.5
    p, r = InducedGame(RockPaperScissors(n_agents=4, heterogeneity=0)).arrays(mu)
    assert_allclose(p, np.tile(np.eye(3), (3, 1, 1)))
    base = np.array([0.5 * 1, -0.5 * 4 + 0.5 * 2, -0.5 * 6])  # rock, paper, scissors
    assert_allclose(r, base[:, None] - np.array([0.0, 1.5, 1.5]), atol=1e-6)


@by_case
@settings(max_examples=15)
@given(seed=seeds)
def test_flow_is_the_recursion_and_conserves_mass(game, row, reward, seed):
    policy = random_policy(np.random.default_rng(seed), game.horizon, game.n_states, game.n_actions)
    flow = InducedGame(game).flow(policy)
    plain = mean_field_flow(game.agents, row, reward, game.initial_distribution, policy)
    for mine, expected in zip((flow.mu, flow.transitions, flow.rewards), plain, strict=True):
        assert_allclose(mine, expected, rtol=1e-10, atol=1e-13)
    assert_allclose(flow.mu.sum(axis=(1, 2)), 1.0, atol=1e-13)
    assert_allclose(flow.transitions.sum(axis=-1), 1.0, atol=1e-13)
    assert flow.mu.min() >= 0


def test_two_steps_of_an_epidemic_by_hand():
    """All go out: mu_0(I, U) = 1/2, so infected_1 = .5 * .7 + .5 * .9 * .5 = .575."""
    game = Epidemic(n_agents=4, horizon=2, heterogeneity=0)
    policy = np.tile([0.0, 1.0], (2, 2, 1))
    induced = InducedGame(game)
    assert_allclose(induced.flow(policy).mu, [[[0, 0.5], [0, 0.5]], [[0, 0.575], [0, 0.425]]], atol=1e-7)
    assert induced.value(policy) == pytest.approx(-1.075, abs=1e-6)
    # Isolated throughout: infected .5, then .35; each step costs .5.
    isolated = np.tile([1.0, 0.0], (2, 2, 1))
    assert induced.value(isolated) == pytest.approx(-0.5 - 0.35 - 2 * 0.5, abs=1e-6)
    # Against that flow going out is free, for nobody who is out is ill.
    assert induced.value(policy, induced.flow(isolated)) == pytest.approx(-0.85, abs=1e-6)
    assert induced.exploitability(isolated) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_epidemic_equals_the_brute_force_construction_on_the_lattice(n):
    check_brute_force(Epidemic(n_agents=n, horizon=2), n, epidemic_row, epidemic_reward)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rock_paper_scissors_equals_the_brute_force_construction_on_the_lattice(n):
    check_brute_force(RockPaperScissors(n_agents=n, horizon=2, beta=0.5), n, rps_row, rps_reward)


def check_brute_force(game, n, row, reward):
    """Definition 6 on the lattice of mass k / (N - 1): Sym over permutations of the others, mean over agents.

    P^i is a function of everyone's (state, action); its population is read off that vector here.
    """
    shape = game.n_states, game.n_actions
    pairs = list(itertools.product(range(shape[0]), range(shape[1])))
    people, induced = oracles.wide(game.agents), InducedGame(game)
    lattice = list(itertools.combinations_with_replacement(pairs, n - 1))
    for others in lattice[:: max(1, len(lattice) // 25)]:
        sigma = np.zeros(shape)
        for pair in others:
            sigma[pair] += 1 / (n - 1)
        p, r = induced.arrays(sigma)
        orders = list(itertools.permutations(others))
        for s, a in pairs:
            rows, rewards = [], []
            for i, agent in enumerate(people):
                for order in orders:
                    everyone = [*order[:i], (s, a), *order[i:]]
                    seen = np.zeros(shape)
                    for j, pair in enumerate(everyone):
                        if j != i:
                            seen[pair] += 1 / (n - 1)
                    rows.append(row(agent, s, a, seen))
                    rewards.append(reward(agent, s, a, seen))
            assert_allclose(p[s, a], np.mean(rows, axis=0), atol=1e-12)
            assert_allclose(r[s, a], np.mean(rewards), atol=1e-12)


@by_case
def test_value_against_pushing_the_law_forwards(game, row, reward):
    rng = np.random.default_rng(0)
    induced = InducedGame(game)
    shape = game.horizon, game.n_states, game.n_actions
    for _ in range(10):
        policy, other = random_policy(rng, *shape), random_policy(rng, *shape)
        flow = induced.flow(policy)
        _, p, r = mean_field_flow(game.agents, row, reward, game.initial_distribution, policy)
        for played in (policy, other):
            plain = oracles.value(game.initial_distribution, played, p, r)
            assert induced.value(played, flow) == pytest.approx(plain, abs=1e-10)
        assert induced.value(policy) == pytest.approx(induced.value(policy, flow), abs=1e-12)


@pytest.mark.parametrize(
    ("game", "row", "reward"),
    [
        (Epidemic(n_agents=7, horizon=3), epidemic_row, epidemic_reward),
        (RockPaperScissors(n_agents=6, horizon=2, beta=0.4), rps_row, rps_reward),
    ],
)
def test_exploitability_is_the_best_of_all_deterministic_policies(game, row, reward):
    rng = np.random.default_rng(1)
    induced, shape = InducedGame(game), (game.horizon, game.n_states, game.n_actions)
    everything = list(deterministic_policies(*shape))
    for policy in (random_policy(rng, *shape), induced.uniform_policy(), everything[3]):
        _, p, r = mean_field_flow(game.agents, row, reward, game.initial_distribution, policy)
        best = max(oracles.value(game.initial_distribution, other, p, r) for other in everything)
        own = oracles.value(game.initial_distribution, policy, p, r)
        assert best - own > 1e-3
        assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-10)
        response = induced.best_response(induced.flow(policy))
        assert set(np.unique(response)) == {0.0, 1.0}
        assert induced.value(response, induced.flow(policy)) == pytest.approx(best, abs=1e-10)


@by_case
@settings(max_examples=25)
@given(seed=seeds, temperature=st.sampled_from([0.0, 1e-3, 0.1, 2.0]))
def test_exploitability_is_never_negative_and_the_best_response_attains_it(game, row, reward, seed, temperature):
    rng = np.random.default_rng(seed)
    induced, shape = InducedGame(game), (game.horizon, game.n_states, game.n_actions)
    policy, other = random_policy(rng, *shape), random_policy(rng, *shape)
    flow = induced.flow(policy)
    gap = induced.exploitability(policy, temperature=temperature)
    own = induced.value(policy, temperature=temperature)
    best = induced.value(induced.best_response(flow, temperature=temperature), flow, temperature=temperature)
    assert gap >= 0
    assert best - own == pytest.approx(gap, abs=1e-9)
    assert induced.value(other, flow, temperature=temperature) <= best + 1e-9


@by_case
@settings(max_examples=25)
@given(seed=seeds, temperature=st.floats(1e-3, 3.0))
def test_regularisation_moves_values_by_the_expected_entropy(game, row, reward, seed, temperature):
    """V^tau - V = tau times the entropy of what is played, so within [0, tau H log |A|]."""
    policy = random_policy(np.random.default_rng(seed), game.horizon, game.n_states, game.n_actions)
    induced = InducedGame(game)
    states = induced.flow(policy).mu.sum(axis=-1)
    entropies = -(policy * np.log(np.where(policy > 0, policy, 1.0))).sum(axis=-1)
    difference = induced.value(policy, temperature=temperature) - induced.value(policy)
    assert difference == pytest.approx(temperature * (states * entropies).sum(), abs=1e-9)
    assert -1e-12 <= difference <= temperature * game.horizon * math.log(game.n_actions) + 1e-9
    uniform = induced.uniform_policy()
    largest = induced.value(uniform, temperature=temperature) - induced.value(uniform)
    assert largest == pytest.approx(temperature * game.horizon * math.log(game.n_actions), abs=1e-9)


@by_case
def test_the_soft_best_response_is_the_softmax_of_its_own_values_and_near_the_greedy_one_when_cold(
    game, row, reward
):
    policy = random_policy(np.random.default_rng(7), game.horizon, game.n_states, game.n_actions)
    induced = InducedGame(game)
    flow = induced.flow(policy)
    for tau in (0.05, 1.0):
        response = induced.best_response(flow, temperature=tau)
        # q leaves out the entropy of step h, which is one number per state: softmax does not see it.
        q = induced.evaluate(response, flow, temperature=tau)
        weights = np.exp((q - q.max(axis=-1, keepdims=True)) / tau)
        assert_allclose(response, weights / weights.sum(axis=-1, keepdims=True), atol=1e-10)
        # A small move in any direction loses: it is the maximum, not only a stationary point.
        best = induced.value(response, flow, temperature=tau)
        for k in range(20):
            other = random_policy(np.random.default_rng(k), *response.shape)
            for size in (0.5, 0.01):
                mixed = (1 - size) * response + size * other
                assert induced.value(mixed, flow, temperature=tau) < best
    assert_allclose(induced.best_response(flow, temperature=1e-6), induced.best_response(flow), atol=1e-6)
    gaps = [induced.exploitability(policy, temperature=tau) for tau in (0.0, 1e-8)]
    assert gaps[1] == pytest.approx(gaps[0], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_a_regularised_equilibrium_is_exploitable_by_at_most_twice_the_entropy(temperature):
    """Lemma 11, on a game that is monotone along flows (c = 3 > 0.53), by damped soft best responses."""
    game = RockPaperScissors(n_agents=20, horizon=4, orientation="cui-koeppl")
    induced = InducedGame(game)
    policy = induced.uniform_policy()
    for _ in range(400):
        response = induced.best_response(induced.flow(policy), temperature=temperature)
        policy = 0.9 * policy + 0.1 * response
    assert induced.exploitability(policy, temperature=temperature) < 1e-9
    gap = induced.exploitability(policy)
    assert 0.01 < gap <= 2 * temperature * game.horizon * math.log(3)


def test_equal_agents_are_evaluated_once():
    induced = InducedGame(Epidemic(n_agents=500, heterogeneity=0))
    assert len(induced.agents) == 1
    assert induced.shares.tolist() == [1.0]
    assert len(InducedGame(Epidemic(n_agents=50)).agents) == 50
    # The order and the number of copies do not matter.
    some = Epidemic(n_agents=4, heterogeneity=0)
    some.agents.flags.writeable = True
    some.agents["recovery"] = [0.5, 0.1, 0.5, 0.5]
    p, _ = InducedGame(some).arrays(np.full((2, 2), 0.25))
    assert p[0, 0, 1] == pytest.approx(0.4, abs=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.arrays(np.full((2, 3), 1 / 6)), r"mu must have shape \(2, 2\), got \(2, 3\)"),
        (lambda g: g.arrays(np.full((2, 2), 0.3)), r"mu must hold probabilities"),
        (lambda g: g.arrays(np.full((2, 2), 0.25), time=5), r"time must be an integer in \[0, 4\], got 5"),
        (lambda g: g.flow(np.full((2, 2), 0.5)), r"policy must have shape \(5, 2, 2\), got \(2, 2\)"),
        (lambda g: g.exploitability(np.full((5, 2, 2), 0.6)), r"policy\[0, 0\] must be probabilities"),
        (
            lambda g: g.exploitability(np.full((5, 2, 2), 0.5), temperature=-1),
            r"temperature must be a finite number in \[0, inf\), got -1",
        ),
    ],
)
def test_arguments_that_are_not_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call(InducedGame(CASES[0][0]))


def test_weights_cells_aggregate_constants_and_time_in_the_mean_field():
    """mass(cell) = sum over (s, a) in the cell of mu(s, a) E[size] (1 + a): by an explicit loop."""
    game = Ferry()
    mu = np.array([[0.1, 0.2], [0.3, 0.4]])
    size, pull = game.agents["size"].astype(float).mean(), game.agents["pull"].astype(float)
    mass = size * np.array([0.1 + 2 * 0.2, 0.3 + 2 * 0.4])
    p, r = InducedGame(game).arrays(mu, time=2)
    for s, a in np.ndindex(2, 2):
        crossing = np.minimum(0.2 * mass[1] * pull, 1).mean() if s != a else 0.25
        assert_allclose(p[s, a], [1 - crossing, crossing], rtol=1e-12)
        assert r[s, a] == pytest.approx(pull.mean() * mass[0] + mass[s] - 0.1 * a + 2)


def test_rows_that_are_no_probabilities_are_refused_with_their_place():
    with pytest.raises(
        ValueError, match=r"Ferry.transition must return probabilities .* in state 0 with action 1"
    ):
        InducedGame(Ferry(slope=-1.0))


@rule
def wrong_in_pairs(next_state, state, action, agent, world):
    return 0.5 + agent.excess


@rule
def free(state, action, agent, world):
    return 0.0


@dataclasses.dataclass(kw_only=True)
class Cancelling(FiniteGame):
    """Half of the agents have rows that sum to 1.2, the others' sum to 0.8: right on average."""

    n_agents: int = 6
    horizon: int = 1
    excess: tuple[float, ...] = (0.1, -0.1)
    n_states = n_actions = 2
    agent_dtype = np.dtype([("excess", np.float32)])
    transition = staticmethod(wrong_in_pairs)
    reward = staticmethod(free)

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["excess"] = np.resize(self.excess, self.n_agents)
        return agents


def test_wrong_rows_that_cancel_are_found():
    with pytest.raises(ValueError, match=r"Cancelling.transition must return .*for an agent with parameters"):
        InducedGame(Cancelling())


def test_the_agent_whose_rows_are_wrong_is_named():
    """Not the first of the distinct agents, whose rows are right."""
    with pytest.raises(ValueError, match=r"Cancelling.transition must .*for an agent with parameters \(0\.1"):
        InducedGame(Cancelling(excess=(0.0, 0.1)))


@rule
def worse_than_finite(state, action, agent, world):
    return np.log(share(world, 0) - agent.limit)


@rule
def leaking_when_crowded(next_state, state, action, agent, world):
    return 0.5 if share(world, 0) < 0.9 else 0.8


@rule
def always_leaking(next_state, state, action, agent, world):
    return 0.9


@rule
def even(next_state, state, action, agent, world):
    return 0.5


@dataclasses.dataclass(kw_only=True)
class FaultyReward(FiniteGame):
    n_agents: int = 8
    horizon: int = 2
    limit: float = 0.0
    n_states = 2
    n_actions = 2
    agent_dtype = np.dtype([("limit", np.float32)])
    transition = staticmethod(even)
    reward = staticmethod(worse_than_finite)

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["limit"] = self.limit
        return agents


@rule
def no_end(state, agent, world):
    return math.nan


@dataclasses.dataclass(kw_only=True)
class FaultyEnd(FaultyReward):
    reward = staticmethod(free)
    terminal = staticmethod(no_end)


@dataclasses.dataclass(kw_only=True)
class Leaking(FaultyReward):
    transition = staticmethod(leaking_when_crowded)
    reward = staticmethod(free)
    initial_distribution = np.array([1.0, 0.0])


@dataclasses.dataclass(kw_only=True)
class AlwaysLeaking(Leaking):
    transition = staticmethod(always_leaking)


def certain(shape, action):
    policy = np.zeros(shape)
    policy[..., action] = 1.0
    return policy


def test_the_payment_at_the_end_must_be_finite_too():
    message = r"FaultyEnd.reward must return finite numbers \(and so must .*terminal\), got nan"
    with pytest.raises(ValueError, match=message):
        InducedGame(FaultyEnd(horizon=1))


def test_rewards_that_are_not_finite_are_no_equilibrium():
    with pytest.raises(ValueError, match=r"FaultyReward.reward must return finite numbers, got .* in state 0"):
        InducedGame(FaultyReward(limit=0.5))  # log of a negative number at the uniform population
    induced = InducedGame(FaultyReward(limit=0.1))
    assert math.isfinite(induced.exploitability(induced.uniform_policy()))
    with pytest.raises(ValueError, match=r"FaultyReward.reward must return finite numbers"):
        induced.exploitability(certain((2, 2, 2), 1))  # nobody in cell 0: log of -0.1
    with pytest.raises(ValueError, match=r"FaultyReward.reward must return finite numbers"):
        induced.value(certain((2, 2, 2), 1))
    with pytest.raises(ValueError, match=r"FaultyReward.reward must return finite numbers"):
        n_player_exploitability(induced.game, certain((2, 2, 2), 1), n_worlds=2)


def test_rows_are_checked_in_the_flow_that_is_evaluated():
    induced = InducedGame(Leaking())
    with pytest.raises(ValueError, match=r"Leaking.transition must return probabilities"):
        induced.exploitability(certain((2, 2, 2), 0))
    with pytest.raises(ValueError, match=r"AlwaysLeaking.transition must return probabilities"):
        n_player_exploitability(AlwaysLeaking(), np.full((2, 2, 2), 0.5), n_worlds=2)


def test_a_policy_may_be_an_object():
    game = Epidemic(n_agents=5, horizon=2)
    table = np.full((2, 2, 2), 0.5)
    policy = types.SimpleNamespace(probabilities=table)
    assert InducedGame(game).exploitability(policy) == InducedGame(game).exploitability(table)
    assert InducedGame(game).value(policy) == InducedGame(game).value(table)
    found = [n_player_exploitability(game, p, n_worlds=2).max for p in (policy, table)]
    assert found[0] == found[1]


def test_only_finite_games_induce():
    with pytest.raises(TypeError, match="game must be a FiniteGame, got Game"):
        InducedGame(Game.__new__(Game))


class TestOverflow:
    """Rewards that are finite each, and add up to more than double precision holds."""

    @staticmethod
    def game(**constants):
        return Tabulated(pay=((2e307, 1.0), (2e307, 1.0), (2e307, 1.0)), horizon=50, **constants)

    @pytest.mark.parametrize("constants", [{}, {"discount": 0.99}], ids=["ends", "forever"])
    def test_no_measure_takes_it_for_an_equilibrium(self, constants):
        game = self.game(**constants)
        induced = InducedGame(game)
        law = induced.uniform_policy()
        flow = induced.flow(law)
        for measure in (
            lambda: induced.exploitability(law),
            lambda: induced.value(law),
            lambda: induced.evaluate(law),
            lambda: induced.best_response(flow),
            lambda: induced.optimal_q(flow),
            lambda: n_player_exploitability(game, law, n_worlds=2),
            lambda: relative_exploitability(game, law, n_joint_states=2, n_worlds=2),
        ):
            with pytest.raises(ValueError, match=r"values of the .* must be finite, .* more than 1.8e308"):
                measure()


def test_a_flow_of_another_game_or_of_none_is_refused():
    induced, other = (InducedGame(Epidemic(n_agents=4, horizon=h)) for h in (3, 4))
    law = induced.uniform_policy()
    with pytest.raises(ValueError, match=r"flow.transitions must be float64 of shape \(3, 2, 2, 2\)"):
        induced.evaluate(law, other.flow(other.uniform_policy()))
    for wrong in (False, "flow", law):
        with pytest.raises(TypeError, match="flow must be a Flow"):
            induced.evaluate(law, wrong)
        with pytest.raises(TypeError, match="flow must be a Flow"):
            induced.best_response(wrong)
