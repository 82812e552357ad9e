"""Infinite discounted games against linear algebra, root finding, closed forms and enumeration."""

import dataclasses
import functools
import itertools
import types
import warnings

import numpy as np
import pytest
from ferry import Ferry
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles import (
    best_forever,
    chain,
    epidemic_reward,
    epidemic_row,
    forever,
    mean_arrays,
    random_policy,
    rps_reward,
    rps_row,
    stationary,
)
from scipy import optimize
from shy import Shy

from mfenvs import Engine, FiniteGame, InducedGame, evaluate, make, n_player_exploitability, rule, tabulate
from mfenvs.api.population import Population
from mfenvs.evaluation import deviation_gain
from mfenvs.games.classic.epidemics import DiscountedEpidemic
from mfenvs.games.classic.left_right import LeftRight
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors

UP = 1
"""The action of going out, and healthy."""
seeds = st.integers(0, 10**6)


@functools.cache
def auction_rounds(n_budgets, n_bids, n_bidders, worth, penalty, fulfilment):
    """Every combination of the opponents' bids, and P (S, A, S) and R (S, A) against it."""
    found = []
    for others in itertools.product(range(n_bids), repeat=n_bidders - 1):
        p, r, price = np.zeros((n_budgets, n_bids, n_budgets)), np.zeros((n_budgets, n_bids)), max(others)
        for s, a in np.ndindex(n_budgets, n_bids):
            won = 1.0 if a > price else (1 / (1 + others.count(a)) if a == price else 0.0)
            r[s, a] = won * (worth - price - (1 + penalty) * max(price - s, 0))
            for left, how in ((max(s - price, 0), won), (s, 1 - won)):
                p[s, a, left] += how * (1 - fulfilment)
                p[s, a, min(left + 1, n_budgets - 1)] += how * fulfilment
        found.append((others, p, r))
    return found


def auction_arrays(game, mu):
    """P(mu) and R(mu) of the auction: the rounds, each with its probability."""
    bids, worth = mu.sum(axis=0), game.agents["appeal"].astype(float).mean() * np.mean(game.conversions)
    sizes = game.n_budgets, game.n_bids, game.n_bidders
    rounds = auction_rounds(*sizes, worth, float(np.float32(game.penalty)), game.fulfilment)
    chances = [bids[list(others)].prod() for others, _, _ in rounds]
    return tuple(sum(c * x[k] for c, x in zip(chances, rounds, strict=True)) for k in (1, 2))


def epidemic(**constants):
    return Epidemic(**{"n_agents": 7, "horizon": 6, "discount": 0.9, "initial_infected": 0.3, **constants})


def rock_paper_scissors(**constants):
    return RockPaperScissors(**{"n_agents": 6, "horizon": 3, "beta": 0.4, "discount": 0.7, **constants})


def auction(**constants):
    small = {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "heterogeneity": 0.25, "horizon": 4}
    return make("Auction-v0", **(small | constants))


CASES = {
    "epidemic": (epidemic(), lambda game, mu: mean_arrays(game.agents, epidemic_row, epidemic_reward, mu)),
    "rps": (rock_paper_scissors(), lambda game, mu: mean_arrays(game.agents, rps_row, rps_reward, mu)),
    "auction": (auction(), auction_arrays),
}
by_case = pytest.mark.parametrize("name", CASES)


def stationary_flow(game, arrays, policy):
    """The state law with law = law P(law, pi) that the population reaches, by scipy, with P and R there.

    The search begins after 50 half steps of the population from its first law, so that of several laws it is
    that one.
    """
    law = game.initial_distribution
    for _ in range(50):
        law = law @ (np.eye(len(law)) + chain(policy, arrays(game, law[:, None] * policy)[0])) / 2
        law = law / law.sum()

    def error(head):
        law = np.append(head, 1 - head.sum())
        return (law @ chain(policy, arrays(game, law[:, None] * policy)[0]) - law)[:-1]

    found = optimize.root(error, law[:-1], tol=1e-14)
    assert np.abs(found.fun).max() < 1e-13
    law = np.append(found.x, 1 - found.x.sum())
    return law[:, None] * policy, *arrays(game, law[:, None] * policy)


@by_case
@settings(max_examples=6)
@given(seed=seeds)
def test_the_flow_is_the_stationary_law(name, seed):
    game, arrays = CASES[name]
    policy = random_policy(np.random.default_rng(seed), game.n_states, game.n_actions) * 0.9 + 0.1 / game.n_actions
    flow = InducedGame(game).flow(policy[None])
    for mine, expected in zip(
        (flow.mu, flow.transitions, flow.rewards), stationary_flow(game, arrays, policy), strict=True
    ):
        assert_allclose(mine, expected[None], atol=1e-10)
    # ... and of the chain in that population it is the eigenvector.
    assert_allclose(flow.mu[0].sum(axis=1), stationary(chain(policy, flow.transitions[0])), atol=1e-10)
    assert flow.residual <= 1e-13
    assert flow.mu.shape == game.policy_shape == (1, game.n_states, game.n_actions)


@by_case
@settings(max_examples=6)
@given(seed=seeds, discount=st.sampled_from([1e-6, 0.5, 0.98]))
def test_values_and_exploitability_by_linear_algebra_and_enumeration(name, seed, discount):
    game, arrays = CASES[name]
    game = dataclasses.replace(game, discount=discount)
    induced, rng = InducedGame(game), np.random.default_rng(seed)
    policy, other = (
        random_policy(rng, game.n_states, game.n_actions) * 0.9 + 0.1 / game.n_actions for _ in range(2)
    )
    _, p, r = stationary_flow(game, arrays, policy)
    rho, at = game.initial_distribution, 1e-8 / (1 - discount)
    own, best = forever(policy, p, r, discount), best_forever(p, r, discount)
    assert induced.value(policy[None]) == pytest.approx(rho @ own, abs=at)
    flow = induced.flow(policy[None])
    assert induced.value(other[None], flow) == pytest.approx(rho @ forever(other, p, r, discount), abs=at)
    assert_allclose(induced.evaluate(policy[None])[0], r + discount * p @ own, atol=at)
    assert_allclose(induced.optimal_q(flow)[0], r + discount * p @ best, atol=at)
    assert induced.exploitability(policy[None]) == pytest.approx(rho @ (best - own), abs=at)
    assert induced.exploitability(policy[None]) > 1e-3
    response = induced.best_response(flow)[0]
    assert set(np.unique(response)) <= {0.0, 1.0}
    assert_allclose(forever(response, p, r, discount), best, atol=at)


@by_case
def test_the_regularised_game_for_ever(name):
    """Its optimum by iterating the soft maximum; a policy's value with its entropy in the rewards."""
    (game, arrays), tau = CASES[name], 0.3
    policy = random_policy(np.random.default_rng(5), game.n_states, game.n_actions) * 0.9 + 0.1 / game.n_actions
    _, p, r = stationary_flow(game, arrays, policy)
    entropies = -(policy * np.log(policy)).sum(axis=1)
    own = forever(policy, p, r + tau * entropies[:, None], game.discount)
    best = np.zeros(game.n_states)
    for _ in range(1000):
        q = r + game.discount * p @ best
        best = tau * np.log(np.exp(q / tau).sum(axis=1))
    induced, rho = InducedGame(game), game.initial_distribution
    gap = induced.exploitability(policy[None], temperature=tau)
    assert gap == pytest.approx(rho @ (best - own), abs=1e-8)
    assert induced.value(policy[None], temperature=tau) == pytest.approx(rho @ own, abs=1e-8)
    answer = induced.best_response(induced.flow(policy[None]), temperature=tau)[0]
    assert_allclose(answer, np.exp((q - best[:, None]) / tau), atol=1e-8)


@by_case
def test_the_optimum_is_that_of_a_linear_program(name):
    """Min rho V subject to V >= r_a + gamma P_a V."""
    game, arrays = CASES[name]
    policy = np.full((game.n_states, game.n_actions), 1 / game.n_actions)
    _, p, r = stationary_flow(game, arrays, policy)
    rows = (game.discount * p - np.eye(game.n_states)[:, None]).reshape(-1, game.n_states)
    found = optimize.linprog(np.ones(game.n_states), rows, -r.ravel(), bounds=(None, None))
    induced = InducedGame(game)
    best = induced.optimal_q(induced.flow(policy)).max(axis=-1)[0]
    assert_allclose(best, found.x, atol=1e-7)


class TestEpidemic:
    """Equal agents, so that everything has a closed form."""

    game = epidemic(heterogeneity=0, n_agents=5)
    alpha, theta, cost = map(float, game.agents[0])

    @pytest.mark.parametrize(("sick", "healthy"), [(1, 1), (0.8, 0.9), (1, 0.5), (0.6, 1)])
    def test_the_endemic_equilibrium(self, sick, healthy):
        """theta I = (1 - I) p alpha q I, with q and p how often the infected and the healthy go out."""
        policy = np.array([[1 - sick, sick], [1 - healthy, healthy]])
        infected = 1 - self.theta / (self.alpha * sick * healthy)
        assert infected > 0.1
        flow = InducedGame(self.game).flow(policy)
        assert_allclose(flow.mu[0], np.array([[infected], [1 - infected]]) * policy, atol=1e-11)
        assert_allclose(flow.transitions[0, 1, :, 0], [0, self.alpha * infected * sick], atol=1e-11)

    def test_below_the_threshold_the_epidemic_dies_out(self):
        flow = InducedGame(self.game).flow([[[0.5, 0.5], [0.5, 0.5]]])
        assert_allclose(flow.mu[0].sum(axis=1), [0, 1], atol=1e-11)

    def test_where_it_never_began_it_is_not(self):
        """Both laws are stationary: the flow's is the one that the population reaches from its first law."""
        flow = InducedGame(epidemic(initial_infected=0.0, heterogeneity=0)).flow([[[0, 1], [0, 1]]])
        assert_allclose(flow.mu[0], [[0, 0], [0, 1]], atol=0)
        assert flow.residual == 0

    def equilibrium(self, discount):
        """The infected go out; the healthy are indifferent: their mass makes an infection worth a step's cost."""
        healthy = -self.cost / (1 - discount)
        infected = (-1 + discount * self.theta * healthy) / (1 - discount * (1 - self.theta))
        mass = self.cost / (discount * self.alpha * (healthy - infected))
        out = self.theta / (self.alpha * (1 - mass))
        assert 0 < out < 1
        assert 0 < mass < 1
        return mass, np.array([infected, healthy]), np.array([[[0, 1], [1 - out, out]]])

    @pytest.mark.parametrize("discount", [0.85, 0.9, 0.95])
    def test_the_equilibrium_in_closed_form(self, discount):
        game = epidemic(heterogeneity=0, discount=discount)
        mass, v, policy = self.equilibrium(discount)
        induced = InducedGame(game)
        flow = induced.flow(policy)
        assert flow.mu[0, 0].sum() == pytest.approx(mass, abs=1e-10)
        assert_allclose((policy * induced.evaluate(policy))[0].sum(axis=1), v, rtol=1e-9)
        assert_allclose(induced.optimal_q(flow)[0, 1], v[1], rtol=1e-9)
        assert induced.value(policy) == pytest.approx(game.initial_distribution @ v, rel=1e-9)
        assert induced.exploitability(policy) < 1e-8
        # And it is one by its mass: with a little more or less going out somebody gains.
        for step in (-0.02, 0.02):
            assert induced.exploitability(policy + np.array([[0, 0], [-step, step]])) > 1e-3


def test_the_registered_epidemic():
    """make("Epidemic-v0", discount=.9): all of the paper's thousand agents."""
    game = make("Epidemic-v0", discount=0.9)
    policy = np.array([[0.1, 0.9], [0.3, 0.7]])
    _, p, r = stationary_flow(
        game, lambda game, mu: mean_arrays(game.agents, epidemic_row, epidemic_reward, mu), policy
    )
    own, best = forever(policy, p, r, 0.9), best_forever(p, r, 0.9)
    assert InducedGame(game).exploitability(policy) == pytest.approx(
        game.initial_distribution @ (best - own), abs=1e-8
    )


def test_rock_paper_scissors_forgets_where_it_was():
    """The next state is the action: in a stationary law the states' is law = sum_s law(s) pi(. | s)."""
    policy = random_policy(np.random.default_rng(3), 3, 3)
    flow = InducedGame(rock_paper_scissors()).flow(policy)
    assert_allclose(flow.mu[0].sum(axis=1), stationary(policy), atol=1e-12)
    assert_allclose(flow.mu[0].sum(axis=0), stationary(policy), atol=1e-12)


# Games of this file: two actions, the chain of each drawn at random or made for the purpose.


@rule
def own_number(state, action, agent, world):
    return 1.0 * state + 0.5 * action


@rule
def around(next_state, state, action, agent, world):
    """Round a circle of three with action 0, stay with action 1."""
    return 1.0 if next_state == (state if action == 1 else (state + 1) % 3) else 0.0


@dataclasses.dataclass(kw_only=True)
class Circle(FiniteGame):
    n_agents: int = 4
    horizon: int = 5
    discount: float = 0.9
    n_states = 3
    n_actions = 2
    agent_dtype = np.dtype([("unused", np.float32)])
    transition = staticmethod(around)
    reward = staticmethod(own_number)
    initial_distribution = np.array([0.7, 0.2, 0.1])


def test_a_periodic_chain_has_a_stationary_law():
    """Mass goes round for ever; the law that stays is the uniform one."""
    induced = InducedGame(Circle())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow = induced.flow([[1.0, 0.0]] * 3)
        assert_allclose(flow.mu[0, :, 0], 1 / 3, atol=1e-12)
        # State 0 is left half as often as the others.
        flow = induced.flow([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
        assert_allclose(flow.mu[0].sum(axis=1), [0.5, 0.25, 0.25], atol=1e-12)


def test_of_several_stationary_laws_it_is_the_one_that_is_reached():
    """Who stays stays: all of state 0's mass moves on to 1, which nobody leaves."""
    flow = InducedGame(Circle()).flow([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert_allclose(flow.mu[0].sum(axis=1), [0.0, 0.9, 0.1], atol=1e-12)
    stays = InducedGame(Circle()).flow([[0.0, 1.0]] * 3)
    assert_allclose(stays.mu[0, :, 1], [0.7, 0.2, 0.1], atol=0)


def test_a_slow_chain_is_followed_to_its_end():
    """Leaving with probability 1e-5: many more steps than are taken at first."""
    policy = np.array([[1e-5, 1 - 1e-5], [2e-5, 1 - 2e-5], [4e-5, 1 - 4e-5]])
    flow = InducedGame(Circle()).flow(policy)
    assert_allclose(flow.mu[0].sum(axis=1), np.array([4, 2, 1]) / 7, atol=1e-7)


@pytest.mark.parametrize("rare", [1e-7, 1e-10])
def test_the_rarest_moves_decide_in_the_long_run(rare):
    """However rarely they leave, the population settles where the rates of leaving say; for ever is long."""
    leaving = np.array([1.0, 2.0, 4.0]) * rare
    flow = InducedGame(Circle()).flow(np.column_stack([leaving, 1 - leaving]))
    assert flow.residual < 1e-13
    assert_allclose(flow.mu[0].sum(axis=1), np.array([4, 2, 1]) / 7, atol=1e-8)
    one_way = InducedGame(Circle()).flow([[rare, 1 - rare], [rare, 1 - rare], [0.0, 1.0]])
    assert_allclose(one_way.mu[0].sum(axis=1), [0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("slope", [-0.5, 0.5, 0.9])
def test_populations_that_react_gently_settle(slope):
    flow = InducedGame(Shy(slope=slope)).flow(np.full((2, 2), 0.5))
    assert_allclose(flow.mu, 0.25, atol=1e-12)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("slope", [1.0, 1.5, 2.0, 2.9])
def test_populations_that_go_back_and_forth_settle_at_half_steps(slope):
    """Half a step at a time the slope is (1 - slope) / 2 > -1, so that the search could find 1/2."""
    flow = InducedGame(Shy(slope=slope)).flow(np.full((2, 2), 0.5))
    assert_allclose(flow.mu, 0.25, atol=1e-12)


def test_a_population_that_does_not_settle_is_told():
    game = Shy(slope=20.0)
    with pytest.warns(RuntimeWarning, match="the population does not settle: a step changes the law found by"):
        induced = InducedGame(game)
    policy = np.full((1, 2, 2), 0.5)
    for ask in (induced.flow, induced.exploitability, induced.value, induced.evaluate):
        with pytest.warns(RuntimeWarning, match="does not settle"):
            ask(policy)
    with pytest.warns(RuntimeWarning):
        flow = induced.flow(policy)
    # What is reported is what one step really changes.
    moved = flow.mu[0].sum(axis=1) @ chain(policy[0], flow.transitions[0])
    assert flow.residual == pytest.approx(np.abs(moved - flow.mu[0].sum(axis=1)).sum(), rel=1e-9)
    assert flow.residual > 0.1
    # The fixed point is there: who begins in it stays.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(InducedGame(Shy(slope=20.0, begin=0.5)).flow(policy).mu, 0.25)


def test_flows_that_end_have_no_residual():
    assert InducedGame(epidemic(discount=1.0)).flow(np.full((6, 2, 2), 0.5)).residual == 0.0


class TestDiscount:
    def test_a_long_horizon_from_the_stationary_law_earns_the_same(self):
        """Total of gamma^h r_h over 400 steps of the game that ends, begun in its stationary law."""
        policy = np.array([[0.1, 0.9], [0.2, 0.8]])
        forever_game = epidemic(heterogeneity=0, discount=0.9)
        infected = InducedGame(forever_game).flow(policy).mu[0, 0].sum()
        begun = {"heterogeneity": 0, "initial_infected": infected}
        ending = InducedGame(epidemic(**begun, discount=1.0, horizon=400))
        flow = ending.flow(np.tile(policy, (400, 1, 1)))
        # Wherever it is begun, an epidemic of equal agents stays there: so does mu, in every step.
        assert_allclose(flow.mu, np.tile(flow.mu[0], (400, 1, 1)), atol=1e-9)
        total = (0.9 ** np.arange(400)) @ (flow.mu * flow.rewards).sum(axis=(1, 2))
        assert InducedGame(epidemic(**begun)).value(policy) == pytest.approx(total, abs=1e-8)

    def test_near_one_and_near_zero(self):
        """(1 - gamma) V tends to the stationary mean reward, and V to the first reward."""
        policy = np.array([[0.1, 0.9], [0.2, 0.8]])
        flow = InducedGame(epidemic()).flow(policy)
        mean = (flow.mu * flow.rewards).sum()
        patient, myopic = (InducedGame(epidemic(discount=x)).value(policy) for x in (0.9999, 1e-9))
        assert 1e-4 * patient == pytest.approx(mean, abs=1e-3)
        first = (np.array([0.3, 0.7])[:, None] * policy * flow.rewards[0]).sum()
        assert myopic == pytest.approx(first, abs=1e-8)
        assert abs(first - mean) > 0.1

    @pytest.mark.parametrize("discount", [0.0, -0.5, 1.0001, np.nan, np.inf])
    def test_what_is_no_discount(self, discount):
        with pytest.raises(ValueError, match=r"discount must be a finite number in \(0, 1\]"):
            epidemic(discount=discount)

    def test_it_says_whether_the_game_ends(self):
        assert epidemic().is_infinite
        assert epidemic().policy_shape == (1, 2, 2)
        assert epidemic().n_features == 2
        ending = epidemic(discount=1.0)
        assert not ending.is_infinite
        assert ending.policy_shape == (6, 2, 2)
        assert ending.n_features == 3
        assert Epidemic().discount == 1.0
        assert "discount" in epidemic().describe()


class TestTime:
    def test_rules_that_read_the_time_are_refused(self):
        with pytest.raises(
            ValueError, match=r"Ferry with discount 0.9 goes on for ever, so its rules must not read world.time"
        ):
            InducedGame(Ferry(discount=0.9))

    def test_masks_that_read_the_time_are_refused(self):
        @rule
        def later(action, state, agent, public):
            return action == 0 or public.time > 2

        game = type("Later", (Epidemic,), {"allowed": staticmethod(later)})(horizon=6, discount=0.9)
        said = "Later with discount 0.9 goes on for ever, so its rules must not read public.time"
        for used in (InducedGame, lambda game: tabulate(game, None)):
            with pytest.raises(ValueError, match=said):
                used(game)

    def test_agents_do_not_observe_it(self):
        engine = Engine(epidemic(), 2)
        engine.reset(0)
        for _ in range(2):
            assert_array_equal(engine.observe(), np.eye(2, dtype=np.float32)[engine.states])
            engine.step(np.ones((2, 7), np.int64))

    def test_episodes_are_cut_not_ended(self):
        for game, is_over in ((epidemic(), False), (epidemic(discount=1.0), True)):
            population = Population(game, {}, 1)
            population.reset(0)
            for _ in range(6):
                assert not population.is_over
                population.step(np.ones(7, np.int64))
            assert (population.terminated, population.truncated) == (is_over, not is_over)
            assert population.is_over

    def test_arrays_have_one_time(self):
        induced, mu = InducedGame(epidemic()), np.full((2, 2), 0.25)
        induced.arrays(mu, time=0)
        with pytest.raises(ValueError, match=r"time must be an integer in \[0, 0\], got 1"):
            induced.arrays(mu, time=1)


class TestNextPopulation:
    def test_by_hand(self):
        """Infected: of .5 those 70 % who stay ill, of the healthy 80 % go out and meet .4 who are ill and out.

        The population's own actions decide whom one meets, the policy's what one does.
        """
        induced = InducedGame(epidemic(heterogeneity=0))
        population = [[[0.1, 0.4], [0.5, 0.0]]]
        policy = np.array([[[1.0, 0.0], [0.2, 0.8]]])
        infected = 0.5 * 0.7 + 0.5 * 0.8 * 0.9 * 0.4
        expected = [[[infected, 0.0], [0.2 * (1 - infected), 0.8 * (1 - infected)]]]
        assert_allclose(induced.next_population(policy, population), expected, atol=1e-7)

    @by_case
    def test_the_formula(self, name):
        game, arrays = CASES[name]
        rng = np.random.default_rng(2)
        policy = random_policy(rng, *game.policy_shape)
        population = random_policy(rng, game.n_states * game.n_actions).reshape(game.policy_shape)
        before = population.copy()
        p, _ = arrays(game, population[0])
        expected = (population[0].sum(axis=1) @ chain(policy[0], p))[:, None] * policy[0]
        assert_allclose(InducedGame(game).next_population(policy, population), expected[None], atol=1e-12)
        assert_array_equal(population, before)

    @by_case
    def test_the_flow_stays_and_is_where_the_steps_lead(self, name):
        game, _ = CASES[name]
        induced = InducedGame(game)
        policy = induced.uniform_policy()
        flow = induced.flow(policy)
        assert_allclose(induced.next_population(policy, flow.mu), flow.mu, atol=1e-12)
        population = game.initial_distribution[:, None] * policy
        for _ in range(400):
            population = induced.next_population(policy, population)
        assert_allclose(population, flow.mu, atol=1e-9)

    def test_in_a_game_that_ends_it_is_the_flow(self):
        induced = InducedGame(epidemic(discount=1.0))
        policy = random_policy(np.random.default_rng(1), 6, 2, 2)
        before = np.full((6, 2, 2), 0.25)
        assert_array_equal(induced.next_population(policy, before), induced.flow(policy).mu)
        assert (before == 0.25).all()

    @by_case
    def test_a_frozen_population(self, name):
        game, arrays = CASES[name]
        rng, induced = np.random.default_rng(4), InducedGame(game)
        population = random_policy(rng, game.n_states * game.n_actions).reshape(game.policy_shape)
        frozen = induced.frozen(population)
        p, r = arrays(game, population[0])
        assert_array_equal(frozen.mu, population)
        assert_allclose(frozen.transitions[0], p, atol=1e-12)
        assert_allclose(frozen.rewards[0], r, atol=1e-7)
        assert_allclose(
            induced.optimal_q(frozen)[0], r + game.discount * p @ best_forever(p, r, game.discount), atol=1e-6
        )
        frozen.mu[:] = 0
        assert population.sum() == pytest.approx(1)

    def test_a_frozen_population_at_every_time(self):
        induced, mu = InducedGame(Ferry()), np.random.default_rng(3).dirichlet(np.ones(4), 3).reshape(3, 2, 2)
        frozen = induced.frozen(mu)
        for h in range(3):
            p, r = induced.arrays(mu[h], h)
            assert_array_equal(frozen.transitions[h], p)
            assert_array_equal(frozen.rewards[h], r)


class TestShapes:
    policy = np.array([[0.1, 0.9], [0.3, 0.7]])

    def test_a_stationary_policy_may_come_without_its_axis_of_times(self):
        induced = InducedGame(epidemic())
        table = types.SimpleNamespace(probabilities=self.policy)
        for ask in (induced.value, induced.exploitability):
            assert ask(self.policy) == ask(self.policy[None]) == ask(table)
        assert_array_equal(induced.evaluate(self.policy), induced.evaluate(self.policy[None]))
        population = np.full((1, 2, 2), 0.25)
        assert_array_equal(
            induced.next_population(self.policy, population),
            induced.next_population(self.policy[None], population),
        )

    def test_so_may_that_of_agents(self):
        game = epidemic()
        runs = [Engine(game, 3).rollout(x, seed=1) for x in (self.policy, self.policy[None], [[self.policy]] * 7)]
        for run in runs[1:]:
            assert_array_equal(run.states, runs[0].states)
            assert_array_equal(run.actions, runs[0].actions)
        gaps = [n_player_exploitability(game, x, n_worlds=3).max for x in (self.policy, self.policy[None])]
        assert gaps[0] == gaps[1]
        found = [evaluate(game, x, n_worlds=2).returns for x in (self.policy, self.policy[None])]
        assert_array_equal(*found)

    def test_policies_of_observations_are_tabulated(self):
        table = self.policy

        class Seeing:
            def action_probabilities(self, observations):
                assert observations.shape[1] == 2
                return observations @ table

        assert_allclose(tabulate(epidemic(), Seeing()), table[None], rtol=1e-6)

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (
                lambda g: g.flow(np.full((6, 2, 2), 0.5)),
                ValueError,
                r"policy must have shape \(1, 2, 2\), got \(6, 2, 2\)",
            ),
            (lambda g: g.value(np.full((1, 2, 2), 0.6)), ValueError, r"policy\[0, 0\] must be probabilities"),
            (
                lambda g: g.exploitability(np.full(2, 0.5)),
                ValueError,
                r"policy must have shape \(1, 2, 2\), got \(2,\)",
            ),
            (
                lambda g: g.next_population(np.full((2, 2), 0.5), np.full((2, 2), 0.25)),
                ValueError,
                r"population must have shape \(1, 2, 2\), got \(2, 2\)",
            ),
            (
                lambda g: g.next_population(np.full((2, 2), 0.5), np.full((1, 2, 2), 0.5)),
                ValueError,
                r"population over \(S, A\)\[0\] must be probabilities",
            ),
            (lambda g: g.frozen(np.full((1, 2, 2), 0.3)), ValueError, r"population over \(S, A\)\[0\] must be"),
            (lambda g: g.frozen(np.full((3, 2), 0.3)), ValueError, r"population must have shape \(1, 2, 2\)"),
            (lambda g: g.exploitability(g.uniform_policy(), temperature=-1), ValueError, "temperature must be"),
        ],
    )
    def test_arguments_that_are_not_allowed(self, call, error, message):
        with pytest.raises(error, match=message):
            call(InducedGame(epidemic()))


class TestSimulation:
    """The engine on infinite games."""

    game = epidemic(n_agents=4, horizon=5)
    rng = np.random.default_rng(8)
    policy = random_policy(rng, 1, 2, 2)

    def test_returns_are_discounted(self):
        run = Engine(self.game, 6).rollout(self.policy, seed=3)
        expected = sum(0.9**h * run.rewards[:, h].astype(float) for h in range(5))
        assert run.discount == 0.9
        assert_allclose(run.returns, expected, rtol=1e-14)
        found = evaluate(self.game, self.policy, n_worlds=6, seed=3)
        assert_allclose(found.returns, expected, rtol=1e-6)
        assert found.mean_return.value == pytest.approx(expected.mean(), rel=1e-6)

    def test_a_policy_is_played_at_all_times(self):
        """That of the game that ends which repeats it, number for number."""
        ending = dataclasses.replace(self.game, discount=1.0)
        for policy in (self.policy, random_policy(self.rng, 4, 1, 2, 2)):
            run = Engine(self.game, 3).rollout(policy, seed=4)
            repeated = Engine(ending, 3).rollout(np.repeat(policy, 5, axis=-3), seed=4)
            assert_array_equal(run.states, repeated.states)
            assert_array_equal(run.actions, repeated.actions)
            assert_array_equal(run.rewards, repeated.rewards)
            assert_allclose(repeated.returns, run.rewards.sum(axis=1, dtype=float), rtol=1e-14)

    @pytest.mark.parametrize("times", [1, 5])
    def test_deviations_may_depend_on_the_time(self, times):
        ending = dataclasses.replace(self.game, discount=1.0)
        who, deviations = np.array([2, -1, 0]), random_policy(np.random.default_rng(1), 3, times, 2, 2)
        run = Engine(self.game, 3).rollout(self.policy, seed=4, deviators=who, deviations=deviations)
        repeated = Engine(ending, 3).rollout(
            np.repeat(self.policy, 5, axis=0),
            seed=4,
            deviators=who,
            deviations=np.broadcast_to(deviations, (3, 5, 2, 2)),
        )
        assert_array_equal(run.actions, repeated.actions)
        assert_array_equal(run.states, repeated.states)
        plain = Engine(self.game, 3).rollout(self.policy, seed=4)
        assert_array_equal(run.actions[1], plain.actions[1])
        assert not np.array_equal(run.actions[0], plain.actions[0])

    def test_deviations_by_hand(self):
        """One who goes out, out, not, not, out among those who never do."""
        choices = np.array([1, 1, 0, 0, 1])
        deviation = np.eye(2)[choices][:, None].repeat(2, axis=1)
        run = Engine(self.game, 1).rollout([[1.0, 0.0]] * 2, seed=0, deviators=[3], deviations=deviation[None])
        assert_array_equal(run.actions[0, :, 3], choices)
        assert (run.actions[0, :, :3] == 0).all()

    @pytest.mark.parametrize("discount", [0.9, 1.0])
    def test_starts(self, discount):
        game = dataclasses.replace(self.game, discount=discount)
        engine, policy = Engine(game, 3), random_policy(self.rng, *game.policy_shape)
        plain = engine.rollout(policy, seed=5, episode=2)
        assert 0 < plain.states[:, 0].sum() < 12
        # From where it would have begun: the same run, so the other numbers are untouched.
        same = engine.rollout(policy, seed=5, episode=2, starts=plain.states[:, 0])
        for field in ("states", "actions", "rewards", "counts"):
            assert_array_equal(getattr(same, field), getattr(plain, field))
        moved = 1 - plain.states[:, 0]
        other = engine.rollout(policy, seed=5, episode=2, starts=moved)
        assert_array_equal(other.states[:, 0], moved)
        # One agent elsewhere: those who never meet it do as before. Isolated, nobody meets anybody.
        isolated = np.tile([1.0, 0.0], (*game.policy_shape[:2], 1))
        starts = plain.states[:, 0].astype(int)
        starts[:, 1] = 1 - starts[:, 1]
        one = engine.rollout(isolated, seed=5, episode=2, starts=starts.tolist())
        none = engine.rollout(isolated, seed=5, episode=2)
        assert_array_equal(np.delete(one.states, 1, axis=2), np.delete(none.states, 1, axis=2))
        assert_array_equal(one.states[:, 0], starts)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"starts": np.zeros((2, 4), int)}, r"starts must have shape \(3, 4\), got \(2, 4\)"),
            ({"starts": np.full((3, 4), 2)}, r"starts\[0, 0\] must be an integer in \[0, 1\], got 2"),
            ({"starts": np.full((3, 4), -1)}, r"starts\[0, 0\] must be an integer in \[0, 1\], got -1"),
            (
                {"deviators": [0, 1, 2], "deviations": np.full((3, 2, 2, 2), 0.5)},
                r"deviations must have shape \(3, 1, 2, 2\), got \(3, 2, 2, 2\)",
            ),
            ({"policy": np.full((5, 2, 2), 0.5)}, r"policy must have shape \(1, 2, 2\), got \(5, 2, 2\)"),
            ({"policy": np.full((3, 1, 2, 2), 0.5)}, r"policy must have shape \(4, 1, 2, 2\)"),
        ],
    )
    def test_arguments_that_are_not_allowed(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Engine(self.game, 3).rollout(**({"policy": self.policy, "seed": 0} | arguments))

    def test_what_a_deviator_gains_is_discounted(self):
        """Where nobody is ill, who keeps distance instead of going out pays its aversion in every step."""
        game = epidemic(n_agents=3, horizon=4, initial_infected=0.0)

        class Distance:
            def action_probabilities(self, observations):
                return np.tile([1.0, 0.0], (len(observations), 1))

        found = deviation_gain(game, [[0.0, 1.0]] * 2, Distance(), agent=1, n_worlds=3)
        cost = float(game.agents["aversion"][1])
        assert found.value == pytest.approx(-cost * (1 + 0.9 + 0.9**2 + 0.9**3), rel=1e-6)
        assert found.standard_error < 1e-7

    def test_a_gain_is_that_of_two_rollouts(self):
        policy, deviation = np.random.default_rng(7).multinomial(8, [0.5, 0.5], (2, 1, 2)) / 8

        class Seeing:
            def action_probabilities(self, observations):
                return deviation[0][observations.argmax(axis=1)]

        found = deviation_gain(self.game, policy, Seeing(), agent=2, n_worlds=9, seed=5)
        engine, who = Engine(self.game, 9), np.full(9, 2)
        alone = engine.rollout(policy, seed=5, deviators=who, deviations=np.stack([deviation] * 9)).returns[:, 2]
        gains = alone - engine.rollout(policy, seed=5).returns[:, 2]
        assert np.ptp(gains) > 0
        assert found.value == pytest.approx(gains.mean(), rel=1e-6)

    def test_what_is_earned_by_hand(self):
        """Nobody is ill and nobody goes out: everyone pays its aversion, discounted."""
        game = epidemic(n_agents=3, horizon=4, initial_infected=0.0)
        found = evaluate(game, [[1.0, 0.0]] * 2, n_worlds=2)
        paid = game.agents["aversion"].astype(float) * (1 + 0.9 + 0.9**2 + 0.9**3)
        assert_allclose(found.returns, np.tile(-paid, (2, 1)), rtol=1e-6)


def test_a_large_population_earns_what_the_mean_field_says():
    """Begun in the stationary law, N = 2000; what comes after 150 steps is worth 10 * .9^150 = 1e-6."""
    policy = np.array([[0.1, 0.9], [0.2, 0.8]])
    constants = {"heterogeneity": 0, "n_agents": 2000, "horizon": 150}
    infected = InducedGame(epidemic(**constants)).flow(policy).mu[0, 0].sum()
    game = epidemic(**constants, initial_infected=infected)
    found = evaluate(game, policy, n_worlds=16, seed=1).mean_return
    assert abs(found.value - InducedGame(game).value(policy)) < 6 * found.standard_error + 0.01
    assert found.standard_error < 0.03


@pytest.mark.parametrize("discount", [0.99, 1 - 1e-5, 1 - 1e-9])
def test_patience_costs_no_time(discount):
    """Values of the flow against numpy's linear algebra, however near to 1 the discount is."""
    induced = InducedGame(epidemic(discount=discount))
    policy = np.array([[[0.1, 0.9], [0.2, 0.8]]])
    flow = induced.flow(policy)
    chain = np.einsum("sa,sat->st", policy[0], flow.transitions[0])
    earned = (policy[0] * flow.rewards[0]).sum(axis=1)
    v = np.linalg.solve(np.eye(2) - discount * chain, earned)
    expected = flow.rewards[0] + discount * flow.transitions[0] @ v
    assert_allclose(induced.evaluate(policy)[0], expected, rtol=1e-14 / (1 - discount))
    assert induced.exploitability(policy) >= 0.0


def test_a_stationary_law_is_searched_from_where_it_is_asked_for() -> None:
    """Nobody is infected where nobody was; with all contacts, infection m (1 - m) = recovery m where some were."""
    game = DiscountedEpidemic(infection=0.8, recovery=0.2)
    induced, policy = InducedGame(game), np.zeros((1, 2, game.n_actions))
    policy[..., -1] = 1.0
    healthy = np.array([1.0, 0.0])
    np.testing.assert_allclose(induced.flow(policy).mu[0].sum(axis=-1), [0.25, 0.75], atol=1e-12)
    np.testing.assert_allclose(induced.flow(policy, start=healthy).mu[0].sum(axis=-1), healthy, atol=1e-15)
    # Where nobody else is infected, contacts are free, so that who has them all cannot do better.
    assert induced.exploitability(policy, start=healthy) == pytest.approx(0.0, abs=1e-12)
    assert induced.exploitability(policy) > 1e-3
    np.testing.assert_array_equal(
        induced.exploitabilities(policy, start=healthy), induced.exploitability(policy, start=healthy)
    )
    with pytest.raises(ValueError, match="start"):
        induced.flow(policy, start=[0.5, 0.6])
    finite = InducedGame(LeftRight())
    with pytest.raises(ValueError, match="start is for infinite games"):
        finite.exploitability(finite.uniform_policy(), start=finite.initial)


def test_the_table_of_a_time() -> None:
    induced = InducedGame(DiscountedEpidemic())
    mu = np.random.default_rng(0).dirichlet(np.ones(10)).reshape(2, 5)
    transitions, successors, rewards = induced.table(mu)
    assert successors is None
    np.testing.assert_array_equal(transitions, induced.arrays(mu)[0])
    np.testing.assert_array_equal(rewards, induced.arrays(mu)[1])
    with pytest.raises(ValueError, match="mu"):
        induced.table(mu[:1])
    with pytest.raises(ValueError, match="time"):
        induced.table(mu, 1)
