"""GMF-V and the three-step fixed point: the iteration in plain numpy, and equilibria by root finding."""

import math
import warnings

import numpy as np
import pytest
from hunt import Hunt
from numpy.testing import assert_allclose, assert_array_equal
from oracles import chain, epidemic_reward, epidemic_row, mean_arrays
from scipy import optimize
from small_games import auction, auction_arrays, crowd, epidemic
from tabulated import Tabulated, optimal_q, softmax, tabulated_arrays
from weather import Weather

from baselines.solvers.population_iteration import GMFV, ThreeStepFixedPoint
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from mfenvs import InducedGame, make

# The iteration in plain numpy.


def epidemic_arrays(game, mu):
    return mean_arrays(game.agents, epidemic_row, epidemic_reward, mu)


def on_the_net(law, m):
    """Largest remainders: what is lost by rounding down is given to those who lost most."""
    scaled = law.ravel() * m
    # The product of m and a multiple of 1/m may be less by a rounding.
    whole = np.floor(scaled + 1e-9)
    most = np.argsort(whole - scaled, kind="stable")[: round(m - whole.sum())]
    whole[most] += 1
    return (whole / m).reshape(law.shape)


class Iteration:
    """Gamma_1 and Gamma_2 on one law (infinite games), or on a flow."""

    def __init__(self, game, arrays, answer, net=0):
        self.game, self.arrays, self.answer, self.net = game, arrays, answer, net
        n_times, n_states, n_actions = game.policy_shape
        self.policy = np.full((n_times, n_states, n_actions), 1 / n_actions)
        self.population = self.move(first=True)

    def move(self, first=False):
        rho = self.game.initial_distribution
        if self.game.discount < 1:
            if first:
                return rho[None, :, None] * self.policy
            before = self.population[0]
            p, _ = self.arrays(self.game, before)
            return (before.sum(axis=1) @ chain(self.policy[0], p))[None, :, None] * self.policy
        flow = []
        for law in self.policy:
            flow.append(rho[:, None] * law)
            rho = np.einsum("sa,sat->t", flow[-1], self.arrays(self.game, flow[-1])[0])
        return np.array(flow)

    def step(self):
        tables = [self.arrays(self.game, mu) for mu in self.population]
        self.q = optimal_q(*(np.array(table) for table in zip(*tables, strict=True)), self.game.discount)
        self.policy = self.answer(self.q)
        self.population = self.move()
        if self.net:
            self.population = np.array([on_the_net(mu, self.net) for mu in self.population])


@pytest.mark.parametrize("net", [0, 250])
@pytest.mark.parametrize("c", [0.5, 4.0])
@pytest.mark.parametrize(
    ("game", "arrays"),
    [
        (auction(heterogeneity=0.25), auction_arrays),
        (auction(heterogeneity=0.25, discount=1.0), auction_arrays),
        (epidemic(discount=0.9), epidemic_arrays),
        (epidemic(), epidemic_arrays),
        (Tabulated(pull=0.5, crowding=1.0, tastes=(0.0, 0.5), discount=0.5), tabulated_arrays),
    ],
    ids=["auction", "auction-ends", "epidemic", "epidemic-ends", "tabulated"],
)
def test_gmf_v_is_the_iteration(game, arrays, c, net) -> None:
    trainer = GMFV(game, inverse_temperature=c, net=net)
    expected = Iteration(game, arrays, lambda q: softmax(c * q), net)
    assert_allclose(trainer.population, expected.population, atol=1e-15)
    assert_allclose(trainer.policy.probabilities, 1 / game.n_actions)
    for _ in range(5):
        before = expected.population
        expected.step()
        trainer.learn(1)
        assert_allclose(trainer.q, expected.q, rtol=1e-9, atol=1e-9)
        assert_allclose(trainer.policy.probabilities, expected.policy, atol=1e-9)
        assert_allclose(trainer.population, expected.population, atol=1e-9)
        change = np.abs(expected.population - before)
        assert trainer.measured["train/change_l1"] == pytest.approx(change.sum(axis=(1, 2)).max(), abs=1e-8)
        assert trainer.measured["train/change_linf"] == pytest.approx(change.max(), abs=1e-8)
        exploitability = InducedGame(game).exploitability(expected.policy)
        assert trainer.measured["eval/mean_field_exploitability"] == pytest.approx(exploitability, abs=1e-8)


def test_on_a_game_that_ends_it_is_boltzmann_iteration() -> None:
    """Cui & Koeppl: pi_{k+1} = softmax(Q*(Lambda(pi_k)) / eta)."""
    game = make("RockPaperScissors-v0", n_agents=6, horizon=3)
    induced, trainer = InducedGame(game), GMFV(game, net=0, inverse_temperature=0.7)
    policy = induced.uniform_policy()
    for _ in range(4):
        policy = softmax(0.7 * induced.optimal_q(induced.flow(policy)))
        trainer.run(1)
        assert_allclose(trainer.policy.probabilities, policy, atol=1e-10)


@pytest.mark.parametrize("trainer_class", [GMFV, GMFQ])
@pytest.mark.parametrize("net", [7, 250])
@pytest.mark.parametrize("game", [auction(), auction(discount=1.0)], ids=["infinite", "ends"])
def test_populations_lie_on_the_net(trainer_class, net, game) -> None:
    options = {} if trainer_class is GMFV else {"inner_iterations": 20}
    trainer = trainer_class(game, net=net, **options)
    for _ in range(3):
        trainer.run(1)
        numerators = trainer.population * net
        assert_allclose(numerators, np.rint(numerators), atol=1e-9)
        assert_allclose(trainer.population.sum(axis=(1, 2)), 1.0, atol=1e-12)


@pytest.mark.slow
def test_each_population_keeps_its_mass_on_the_net() -> None:
    """Hawks are a quarter of all. Shares of the whole population on the net would be 0.285714 and 0.714286."""
    game = Hunt(n_agents=4)
    trainer = GMFV(game, net=7)
    for _ in range(3):
        trainer.run(1)
        hawks = trainer.population[:, game.population_of_state == 0]
        doves = trainer.population[:, game.population_of_state == 1]
        for law, share in ((hawks, 0.25), (doves, 0.75)):
            assert_allclose(law.sum(axis=(1, 2)), share, atol=1e-14)
            numerators = law / share * 7
            assert_allclose(numerators, np.rint(numerators), atol=1e-9)


@pytest.mark.slow
def test_each_public_history_keeps_its_probability_on_the_net() -> None:
    game = InducedGame(Weather()).game
    trainer = GMFV(game, net=7)
    trainer.run(2)
    tree = game.tree
    laws = trainer.population.reshape(game.horizon, tree.width, -1)
    assert_allclose(laws.sum(axis=-1), tree.probability, atol=1e-14)
    there = tree.probability > 0.0
    numerators = laws[there] / tree.probability[there][:, None] * 7
    assert_allclose(numerators, np.rint(numerators), atol=1e-9)


# The three-step fixed point.


def test_three_steps_to_the_equilibrium_of_a_contracting_game() -> None:
    """p = sigma(c [Q(1) - Q(0)]) = sigma(c [-.2 - (2 p - 1)]), solved by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = ThreeStepFixedPoint(crowd(), inverse_temperature=1.0)
    assert trainer.moduli.modulus == pytest.approx(0.5, abs=0.05)
    trainer.learn(10_000)
    assert 10 < trainer.iteration < 60
    assert trainer.num_timesteps == trainer.iteration
    assert trainer.has_converged
    assert trainer.measured["train/change_l1"] <= 1e-10
    p = optimize.brentq(lambda p: p - 1 / (1 + math.exp(0.2 + (2 * p - 1))), 0, 1, xtol=1e-15)
    assert_allclose(trainer.policy.probabilities[0, 0], [1 - p, p], atol=1e-9)
    # One that is content earlier stops earlier.
    assert ThreeStepFixedPoint(crowd(), inverse_temperature=1.0, tolerance=1e-2).learn(10_000).iteration < 12


def test_that_three_steps_have_converged_is_saved(tmp_path) -> None:
    trainer = ThreeStepFixedPoint(crowd(), inverse_temperature=1.0).learn(10_000)
    trainer.save(tmp_path / "run.npz")
    assert ThreeStepFixedPoint.load(tmp_path / "run.npz", trainer.game).has_converged
    assert not ThreeStepFixedPoint(crowd(), inverse_temperature=1.0).has_converged


def test_three_steps_with_moving_states() -> None:
    """The equilibrium, a stationary law and its answer, by root finding."""
    game = Tabulated(discount=0.5, crowding=0.5, pull=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = ThreeStepFixedPoint(game, inverse_temperature=0.25)
    trainer.learn(1000)
    assert trainer.has_converged

    def step(flat):
        mu = flat.reshape(3, 2)
        p, r = tabulated_arrays(game, mu)
        policy = softmax(0.25 * optimal_q(p[None], r[None], 0.5))[0]
        return ((mu.sum(axis=1) @ chain(policy, p))[:, None] * policy).ravel()

    def error(flat):
        return np.append((step(flat) - flat)[:-1], flat.sum() - 1)

    found = optimize.root(error, np.full(6, 1 / 6), tol=1e-13)
    assert_allclose(trainer.population.ravel(), found.x, atol=1e-8)
    # ... and its population is that of its policy.
    flow = InducedGame(game).flow(trainer.policy.probabilities)
    assert_allclose(flow.mu, trainer.population, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"inverse_temperature": 8.0}])
def test_three_steps_warns_where_it_need_not_converge(options) -> None:
    with pytest.warns(UserWarning, match=r"need not converge here: d1 d2 \+ d3 is at least") as caught:
        trainer = ThreeStepFixedPoint(crowd(), **options)
    assert f"{trainer.moduli.modulus:.3g} " in str(caught[0].message)
    assert trainer.moduli.modulus >= 1
    trainer.learn(60)
    assert trainer.iteration == 60  # it went round and round
    assert not trainer.has_converged


def test_three_steps_warns_where_it_is_made() -> None:
    with pytest.warns(UserWarning, match="need not") as caught:
        ThreeStepFixedPoint(crowd())
    assert caught[0].filename == __file__


def test_three_steps_without_a_temperature_is_naive_with_the_exact_q() -> None:
    with pytest.warns(UserWarning, match="need not"):
        three = ThreeStepFixedPoint(auction()).learn(6)
    naive = NaiveQ(auction(), exact=True).learn(6)
    assert_array_equal(three.population, naive.population)
    # ... and with one GMF-V without a net.
    with pytest.warns(UserWarning, match="need not"):
        soft = ThreeStepFixedPoint(auction(), inverse_temperature=4.0).learn(6)
    assert_array_equal(soft.population, GMFV(auction(), inverse_temperature=4.0, net=0).learn(6).population)
