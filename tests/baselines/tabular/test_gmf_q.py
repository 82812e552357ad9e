"""GMF-Q, GMF-V, the naive algorithm and the three-step fixed point; and the contract of all six new trainers."""

import csv
import dataclasses
import itertools
import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import chain, epidemic_reward, epidemic_row, mean_arrays
from scipy import optimize
from tabulated import CORRIDOR, HOME, Tabulated, optimal_q, softmax, tabulated_arrays

from baselines.logging import configure
from baselines.solvers.population_iteration import GMFV, ThreeStepFixedPoint
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from baselines.tabular.independent_q import MFQ, IndependentQ
from mfenvs import FiniteGame, InducedGame, make, registered_games

quietly = pytest.mark.filterwarnings("ignore:the three-step iteration need not converge")


def auction(**constants):
    small = {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4}
    # A penalty that single precision holds.
    return make("Auction-v0", **({"penalty": 0.25} | small | constants))


def epidemic(**constants):
    return make("Epidemic-v0", **({"n_agents": 6, "horizon": 4, "initial_infected": 0.3} | constants))


def crowd(**constants) -> Tabulated:
    """Everybody at home, action 0 worth 1 and action 1 worth .8, less the share of those who do the same."""
    return Tabulated(
        **{
            "moves": HOME,
            "pay": ((1.0, 0.8),) * 3,
            "crowding": 1.0,
            "discount": 0.5,
            "first": (1, 0, 0),
            **constants,
        }
    )


# The iteration in plain numpy.


def auction_arrays(game, mu):
    """P(mu) and R(mu): every combination of the opponents' bids, each with its probability."""
    bids, worth = mu.sum(axis=0), game.agents["appeal"].astype(float).mean() * np.mean(game.conversions)
    n_states, n_bids = mu.shape
    p, r = np.zeros((n_states, n_bids, n_states)), np.zeros((n_states, n_bids))
    for others in itertools.product(range(n_bids), repeat=game.n_bidders - 1):
        price, chance = max(others), np.prod([bids[b] for b in others])
        for s, bid in np.ndindex(n_states, n_bids):
            won = float(bid > price) + (bid == price) / (1 + others.count(bid))
            r[s, bid] += chance * won * (worth - price - (1 + game.penalty) * max(price - s, 0))
            for left, how in ((max(s - price, 0), won), (s, 1 - won)):
                p[s, bid, left] += chance * how * (1 - game.fulfilment)
                p[s, bid, min(left + 1, n_states - 1)] += chance * how * game.fulfilment
    return p, r


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


# Q that is learned.


@pytest.mark.parametrize(
    "game", [auction(), epidemic(), epidemic(discount=0.7)], ids=["auction", "ends", "epidemic"]
)
def test_gmf_q_comes_close_to_gmf_v_with_many_sweeps(game) -> None:
    options = {"inverse_temperature": 1.0, "net": 1000}
    exact = GMFV(game, **options).learn(4)
    away, errors = [], []
    for sweeps in (30, 10_000):
        trainer = GMFQ(game, inner_iterations=sweeps, seed=1, **options)
        trainer.learn(4 * trainer.timesteps_per_iteration)
        away.append(np.abs(trainer.policy.probabilities - exact.policy.probabilities).max())
        errors.append(trainer.measured["train/q_error"])
    assert away[1] < 0.02 < away[0]
    assert errors[1] < 0.02 < errors[0]


def test_the_error_of_q_is_relative_to_the_exact_one() -> None:
    game = auction()
    trainer = GMFQ(game, inner_iterations=50, seed=4)
    before = trainer.population
    trainer.learn(1)
    exact = optimal_q(*(table[None] for table in auction_arrays(game, before[0])), game.discount)
    expected = np.linalg.norm(trainer.q - exact) / np.linalg.norm(exact)
    assert expected > 0.01
    assert trainer.measured["train/q_error"] == pytest.approx(expected, rel=1e-9)
    assert "train/q_error" not in GMFV(game).learn(1).measured
    # The answer is to the learned Q, not to the exact one.
    assert_allclose(trainer.policy.probabilities, softmax(4.0 * trainer.q), atol=1e-12)


def test_every_iteration_has_draws_of_its_own() -> None:
    """Nobody is coupled: all populations face the same problem, and Q differs by luck alone."""
    trainer = GMFQ(Tabulated(discount=0.5), inner_iterations=50)
    found = []
    for _ in range(3):
        trainer.run(1)
        found.append(trainer.q)
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_timesteps_are_the_transitions_that_are_sampled(asynchronous) -> None:
    for game, entries in ((auction(), 9), (auction(discount=1.0), 4 * 9)):
        for trainer_class in (GMFQ, NaiveQ):
            trainer = trainer_class(game, inner_iterations=25, asynchronous=asynchronous)
            assert trainer.timesteps_per_iteration == (25 if asynchronous else 25 * entries)
    assert NaiveQ(auction(), exact=True, inner_iterations=25).timesteps_per_iteration == 1
    assert GMFV(auction()).timesteps_per_iteration == 1


def test_the_hyper_parameters_by_default() -> None:
    config = GMFQ(auction()).config
    assert (config.inverse_temperature, config.inner_iterations) == (4.0, 2000)
    assert (config.step_exponent, config.asynchronous) == (0.87, False)


# The naive algorithm.


def period(trainer, most=12, settle=200):
    """After how many iterations the population returns; None if it does not."""
    trainer.run(settle)
    population = trainer.population
    for k in range(1, most + 1):
        trainer.run(1)
        if np.abs(trainer.population - population).max() < 1e-9:
            return k
    return None


def test_naive_by_hand_ends_in_a_cycle_of_two_while_gmf_v_settles() -> None:
    """From (1/2, 1/2): Q = (.5, .3), all play 0; then (0, .8), all play 1; then (1, -.2), all play 0, ..."""
    trainer = NaiveQ(crowd(), exact=True)
    for values, all_play in ([(0.5, 0.3), 0], [(0.0, 0.8), 1], [(1.0, -0.2), 0], [(0.0, 0.8), 1]):
        trainer.learn(1)
        assert_allclose(trainer.q[0, 0], np.array(values) + max(values), atol=1e-9)  # for ever, at gamma = 1/2
        assert_array_equal(trainer.policy.probabilities[0, 0], np.eye(2)[all_play])
        assert_array_equal(trainer.population[0].sum(axis=0), np.eye(2)[all_play])
    assert trainer.measured["train/change_l1"] == 2.0
    assert period(NaiveQ(crowd(), exact=True)) == 2
    # softmax_1 contracts by c k / 2; softmax_8, too sharp, ends in a cycle as well.
    assert period(GMFV(crowd(), inverse_temperature=1.0, net=0)) == 1
    assert period(GMFV(crowd(), inverse_temperature=8.0, net=0)) == 2


def test_naive_starts_from_a_tie() -> None:
    """Where both are worth the same in the uniform population, argmax-e has found the equilibrium at once."""
    trainer = NaiveQ(crowd(pay=((1.0, 1.0),) * 3), exact=True)
    trainer.learn(1)
    assert trainer.measured["train/change_l1"] == 0.0
    assert_array_equal(trainer.policy.probabilities, np.full((1, 3, 2), 0.5))


def test_naive_ends_in_a_cycle_of_two_on_the_auction() -> None:
    """With other numbers of bids it may end otherwise: at once (3, 4), or in longer cycles (5)."""
    for game in (make("Auction-v0"), auction(n_bidders=2)):
        assert period(NaiveQ(game, exact=True)) == 2
        mild = GMFV(game, inverse_temperature=0.5, net=0)
        assert period(mild) == 1
    game = make("Auction-v0")
    naive, mild = NaiveQ(game, exact=True), GMFV(game, inverse_temperature=0.5, net=0)
    gaps = []
    for trainer in (naive, mild):
        trainer.run(200)
        gaps.append(InducedGame(game).exploitability(trainer.policy))
    assert gaps[0] > 2 * gaps[1]
    # In turn all bid high and all bid nothing: the whole population moves.
    assert naive.learn(1).measured["train/change_l1"] == pytest.approx(2.0)


def test_naive_learning_fluctuates() -> None:
    """Nothing that it does dies out: changes at the end are as large as at the beginning."""
    trainer = NaiveQ(auction(), inner_iterations=200)
    changes = []
    for _ in range(40):
        changes.append(trainer.learn(1).measured["train/change_l1"])
    assert np.mean(np.array(changes[20:]) > 0.1) > 0.5
    calm = GMFQ(auction(), inner_iterations=2000, inverse_temperature=0.5)
    last = [calm.learn(1).measured["train/change_l1"] for _ in range(20)][10:]
    assert max(last) < 0.1 * np.mean(changes[20:])


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


# The contract.

NEW = {
    "gmf-q": (GMFQ, {"inner_iterations": 7}),
    "gmf-q-async": (GMFQ, {"inner_iterations": 70, "asynchronous": True}),
    "gmf-v": (GMFV, {}),
    "naive-q": (NaiveQ, {"inner_iterations": 7}),
    "naive-q-exact": (NaiveQ, {"exact": True}),
    "three-step": (ThreeStepFixedPoint, {"inverse_temperature": 0.5}),
    "independent-q": (IndependentQ, {"episodes": 2}),
    "mf-q": (MFQ, {"episodes": 2}),
}
SMALL = {
    "Auction-v0": {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4},
    "Taxi-v0": {"n_agents": 2, "horizon": 2},
    "BinnedEnergyMarket-v0": {"n_bins": 2},
}
FINITE_ONLY = {"BinnedEnergyMarket-v0"}
"""A day ends."""
GAMES = {
    f"{name}-{gamma}": (name, {"n_agents": 6, "horizon": 4, **SMALL.get(name, {}), "discount": gamma})
    for name, game_class in registered_games().items()
    if issubclass(game_class, FiniteGame)
    for gamma in (1.0, 0.8)
    if gamma == 1.0 or name not in FINITE_ONLY
}
by_trainer = pytest.mark.parametrize("name", NEW)
by_game = pytest.mark.parametrize("game", GAMES)
STOCHASTIC = ["gmf-q", "gmf-q-async", "naive-q", "independent-q", "mf-q"]


def new(name, game="Auction-v0-0.8", seed=3, **options):
    trainer_class, defaults = NEW[name]
    game_name, constants = GAMES[game]
    return trainer_class(make(game_name, **constants), **(defaults | options), seed=seed)


def learned(trainer):
    return {**trainer._state(), "policy": trainer.policy.probabilities}


def assert_same(one, other) -> None:
    assert (one.iteration, one.num_timesteps) == (other.iteration, other.num_timesteps)
    mine, others = learned(one), learned(other)
    assert mine.keys() == others.keys()
    for key, value in mine.items():
        assert_array_equal(value, others[key], err_msg=key)


def test_the_games_of_the_contract() -> None:
    assert {"Auction-v0-1.0", "Auction-v0-0.8", "Epidemic-v0-1.0", "RockPaperScissors-v0-0.8"} <= GAMES.keys()


@quietly
@by_trainer
@by_game
def test_a_resumed_run_equals_an_uninterrupted_one(name, game, tmp_path) -> None:
    whole, part = new(name, game), new(name, game)
    step = whole.timesteps_per_iteration
    whole.learn(5 * step)
    part.learn(2 * step).save(tmp_path / "part.npz")
    resumed = type(part).load(tmp_path / "part.npz")
    assert resumed.config == part.config
    assert resumed.game == part.game
    assert_same(resumed.learn(3 * step), whole)
    assert_same(part.learn(3 * step), whole)


@quietly
@by_trainer
@by_game
def test_the_policy_plays_the_game(name, game) -> None:
    trainer = new(name, game)
    table = trainer.game.policy_shape
    own = (6 if "Taxi" not in game else 2, *table) if name in ("independent-q", "mf-q") else table
    assert trainer.policy.probabilities.shape == own
    assert_allclose(trainer.policy.probabilities, 1 / trainer.game.n_actions, atol=1e-15)  # before it has learned
    trainer.learn(1)
    assert trainer.policy.probabilities.shape == own
    assert np.isfinite(list(trainer.measured.values())).all()
    observations = np.zeros((trainer.game.n_agents, trainer.game.n_features), np.float32)
    observations[:, 1] = 1.0
    actions, memory = trainer.predict(observations)
    assert memory is None
    assert actions.shape == (trainer.game.n_agents,)
    assert set(actions.tolist()) <= set(range(trainer.game.n_actions))
    law = trainer.policy.probabilities[..., 0, 1, :]
    best, _ = trainer.predict(observations, deterministic=True)
    assert_array_equal(best, np.broadcast_to(law.argmax(axis=-1), actions.shape))


@quietly
@by_trainer
def test_learn_rounds_up_to_iterations(name) -> None:
    trainer = new(name)
    step = trainer.timesteps_per_iteration
    trainer.learn(2 * step + 1)
    assert trainer.iteration == 3
    assert trainer.num_timesteps == 3 * step
    trainer.learn(1)
    assert trainer.iteration == 4
    if name in ("independent-q", "mf-q"):
        assert step == 2 * 6 * 4  # episodes, agents, rounds


@quietly
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_seed_decides(name) -> None:
    one, same, other = (new(name, seed=seed).learn(100) for seed in (3, 3, 4))
    assert_same(one, same)
    assert any(not np.array_equal(value, other._state()[key]) for key, value in one._state().items())


@quietly
@by_trainer
@pytest.mark.parametrize("game", ["Auction-v0-0.8", "Epidemic-v0-1.0"])
def test_run_is_learn_without_the_rest(name, game) -> None:
    one, other = new(name, game), new(name, game)
    if not hasattr(one, "run"):
        pytest.skip("plays the game itself")
    step = one.timesteps_per_iteration
    one.run(2)
    one.run(3)
    for _ in range(5):
        other.learn(step)
    assert_same(one, other)
    # Exploitability is measured on the side: learning at once is the same again.
    assert_same(new(name, game).learn(5 * step), one)


@quietly
@by_trainer
def test_what_is_logged(name, tmp_path) -> None:
    trainer = new(name)
    trainer.set_logger(configure(tmp_path))
    trainer.learn(2 * trainer.timesteps_per_iteration)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {
        "independent-q": {"train/return", "train/unvisited"},
        "mf-q": {"train/return", "train/unvisited"},
    }.get(name, {"train/change_l1", "train/change_linf", "eval/mean_field_exploitability"})
    if name in ("gmf-q", "gmf-q-async", "naive-q"):
        keys = keys | {"train/q_error"}
    assert rows[0].keys() == keys | {"time/iterations", "time/total_timesteps", "time/seconds"}
    assert [int(row["time/iterations"]) for row in rows] == [1, 2]
    assert [int(row["time/total_timesteps"]) for row in rows] == [
        trainer.timesteps_per_iteration * k for k in (1, 2)
    ]
    assert trainer.measured.keys() == keys


@quietly
@by_trainer
def test_what_was_taken_does_not_change(name) -> None:
    trainer = new(name).learn(1)
    taken = [trainer.policy.probabilities, trainer.q if hasattr(trainer, "q") else None]
    if hasattr(trainer, "population"):
        taken.append(trainer.population)
    before = [array.copy() for array in taken]
    trainer.learn(3 * trainer.timesteps_per_iteration)
    for array, copy in zip(taken, before, strict=True):
        assert_array_equal(array, copy)
    if hasattr(trainer, "population"):
        for array in (trainer.population, trainer.q):
            array[:] = 7.0
        assert (trainer.population <= 1).all()
        assert not (trainer.q == 7).any()


@pytest.mark.parametrize(
    ("name", "argument", "value", "message"),
    [
        *(
            (name, "seed", -1, r"seed must be an integer in \[0, 9223372036854775807\], got -1")
            for name in ("gmf-q", "gmf-v", "naive-q", "three-step", "independent-q", "mf-q")
        ),
        *(
            (name, "inverse_temperature", value, r"inverse_temperature must be a finite number in \(0, inf\)")
            for name in ("gmf-q", "gmf-v", "three-step", "independent-q", "mf-q")
            for value in (0.0, -1.0, math.nan)
        ),
        *(
            (name, "inverse_temperature", math.inf, "inverse_temperature must be")
            for name in ("gmf-q", "gmf-v", "mf-q")
        ),
        *((name, "net", -1, "net must be an integer in") for name in ("gmf-q", "gmf-v")),
        *(
            (name, "inner_iterations", 0, r"inner_iterations must be an integer in \[1, 1099511627776\], got 0")
            for name in ("gmf-q", "naive-q")
        ),
        *(
            (name, "step_exponent", value, r"step_exponent must be a finite number in \(0\.5, 1\]")
            for name in ("gmf-q", "naive-q", "independent-q", "mf-q")
            for value in (0.5, 1.5)
        ),
        ("three-step", "tolerance", -1.0, "tolerance must be a finite number"),
        ("three-step", "n_pairs", 0, "n_pairs must be an integer >= 1"),
        *(
            (name, "episodes", 0, r"episodes must be an integer in \[1, 4194304\], got 0")
            for name in ("independent-q", "mf-q")
        ),
        ("mf-q", "n_bins", -1, r"n_bins must be an integer in \[0, 2147483647\], got -1"),
    ],
)
def test_hyper_parameters_that_are_refused(name, argument, value, message) -> None:
    with pytest.raises(ValueError, match=message):
        NEW[name][0].config_class(**{argument: value})
    with pytest.raises(ValueError, match=message):
        NEW[name][0](auction(), **{argument: value})


@by_trainer
def test_games_and_names_that_are_refused(name) -> None:
    with pytest.raises(TypeError, match=f"{NEW[name][0].__name__} needs a finite game"):
        NEW[name][0]("Taxi-v0") if not issubclass(registered_games()["Taxi-v0"], FiniteGame) else NEW[name][0](3)
    with pytest.raises(TypeError, match="unknown hyper-parameter 'temperature'; allowed: seed"):
        NEW[name][0](auction(), temperature=1.0)


def test_moves_are_not_used_up() -> None:
    assert dataclasses.asdict(crowd())["moves"] == HOME != CORRIDOR


def test_what_has_converged_does_nothing_more():
    trainer = new("three-step", "Epidemic-v0-1.0", tolerance=1e9).learn(5)
    assert trainer.iteration == 1
    assert trainer.learn(5).iteration == 1
