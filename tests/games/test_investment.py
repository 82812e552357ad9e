"""Investments against the paper's values, linear algebra in NumPy, its own products, and hand-worked steps."""

import numpy as np
import pytest
from bounds import assert_mean
from numpy.testing import assert_allclose

from mfenvs import Engine, FiniteGame, InducedGame, rule
from mfenvs.engine.snapshot import Snapshot
from mfenvs.games.investment import Investment

PAPER = tuple(zip((0.31, 0.32, 0.33), (0.21, 0.22, 0.23), (0.20, 0.21, 0.22), strict=True))
"""d_j, c_j and lambda_j."""
TWO = {"benefits": (0.31, 0.5), "crowding_costs": (0.21, 0.1), "investment_costs": (0.2, 0.05)}
ONE = {"benefits": (0.4,), "crowding_costs": (0.25,), "investment_costs": (0.5,)}
FORMS = pytest.mark.parametrize("states", ["grid", "continuous"])


class Oracle:
    """One product on a grid: investments lead to the nearest cell, at half the speed in a crowd."""

    def __init__(self, benefit, crowding, cost, n=401, gamma=0.9, crowded=True):
        self.n, self.gamma, self.numbers = n, gamma, (benefit, crowding, cost)
        self.x = np.arange(n) / (n - 1)
        invest = np.zeros((n, n))
        for s in range(n):
            length = (n - 1 - s) * (0.5 if crowded else 1.0)
            edges = np.clip(np.arange(n + 1) - 0.5 - s, 0, length)  # cell j is nearest to [j - .5, j + .5)
            invest[s] = np.diff(edges) / length if length else np.eye(n)[s]
        self.moves = np.stack([np.eye(n), invest])

    def mean(self, actions):
        law = np.full(self.n, 1 / self.n)
        return np.linalg.matrix_power(self.moves[actions, np.arange(self.n)], 2**12).T @ law @ self.x

    def rewards(self, mean):
        benefit, crowding, cost = self.numbers
        return np.stack([benefit * self.x - crowding * mean, benefit * self.x - crowding * mean - cost])

    def value(self, actions, mean):
        moves, cells = self.moves[actions, np.arange(self.n)], np.arange(self.n)
        return np.linalg.solve(np.eye(self.n) - self.gamma * moves, self.rewards(mean)[actions, cells])

    def best_value(self, mean):
        actions = np.zeros(self.n, int)
        while True:
            values = self.value(actions, mean)
            better = (self.rewards(mean) + self.gamma * self.moves @ values).argmax(axis=0)
            if (better == actions).all():
                return values
            actions = better


def below(threshold, n_levels=401):
    """Invest below this cell."""
    return np.eye(2)[(np.arange(n_levels) < threshold).astype(int)][None]


class TestKnownAnswers:
    """On 401 levels a product, added up over the three products."""

    @pytest.fixture(scope="class")
    @staticmethod
    def products():
        game = Investment()
        return [InducedGame(game.one_product(product)) for product in range(3)]

    def test_never_investing_is_no_equilibrium(self, products):
        assert sum(induced.value(below(0)) for induced in products) == pytest.approx(1.5, abs=1e-6)
        gaps = [induced.exploitability(below(0)) for induced in products]
        assert sum(gaps) == pytest.approx(1.017, abs=5e-4)
        idle = np.zeros(401, int)
        for numbers, gap in zip(PAPER, gaps, strict=True):
            oracle = Oracle(*numbers)
            exact = (oracle.best_value(0.5) - oracle.value(idle, 0.5)).mean()
            assert gap == pytest.approx(exact, abs=1e-6)

    def test_the_equilibrium_of_thresholds(self, products):
        total = 0.0
        for induced, threshold, numbers in zip(products, (286, 284, 282), PAPER, strict=True):
            policy, actions = below(threshold), (np.arange(401) < threshold).astype(int)
            assert induced.exploitability(policy) == pytest.approx(0.0, abs=1e-12)
            oracle = Oracle(*numbers)
            exact = oracle.value(actions, oracle.mean(actions)).mean()
            assert induced.value(policy) == pytest.approx(exact, abs=1e-6)
            total += exact
        assert total == pytest.approx(0.6007, abs=5e-5)

    def test_the_stationary_law_is_that_which_is_reached_from_the_first_one(self, products):
        """No quality falls: without investments every law is stationary, and the first one stays."""
        assert_allclose(products[0].flow(below(0)).mu[0].sum(axis=1), 1 / 401, rtol=1e-12)
        flow = products[0].flow(below(286))
        oracle, law = Oracle(*PAPER[0]), np.full(401, 1 / 401)
        for _ in range(3000):
            law = law @ oracle.moves[(np.arange(401) < 286).astype(int), np.arange(401)]
        assert flow.residual < 1e-12
        assert_allclose(flow.mu[0].sum(axis=1), law, atol=1e-12)


@pytest.mark.slow
def test_products_do_not_affect_each_other():
    """Values and best responses of the game of two products are the sums of those of each alone."""
    whole = Investment(states="grid", n_levels=4, n_agents=8, **TWO)
    induced, parts = InducedGame(whole), [InducedGame(whole.one_product(j, n_levels=4)) for j in range(2)]
    rng = np.random.default_rng(5)
    for _ in range(3):
        invest = rng.random((2, 4)) * (rng.random((2, 4)) < 0.6)  # qualities at which nobody invests remain
        own = [np.stack([1 - p, p], axis=1)[None] for p in invest]
        # State s_0 + 4 s_1, action a_0 + 2 a_1.
        joint = np.einsum("sa,tb->tsba", own[0][0], own[1][0]).reshape(1, 16, 4)
        flow, flows = induced.flow(joint), [part.flow(policy) for part, policy in zip(parts, own, strict=True)]
        by_product = flow.mu[0].sum(axis=1).reshape(4, 4)
        assert_allclose(by_product.sum(axis=0), flows[0].mu[0].sum(axis=1), atol=1e-10)
        assert_allclose(by_product.sum(axis=1), flows[1].mu[0].sum(axis=1), atol=1e-10)
        first, second = (part.value(policy) for part, policy in zip(parts, own, strict=True))
        assert induced.value(joint) == pytest.approx(first + second, abs=1e-8)
        gaps = [part.exploitability(policy) for part, policy in zip(parts, own, strict=True)]
        assert induced.exploitability(joint) == pytest.approx(sum(gaps), abs=1e-8)
        best = [part.optimal_q(own_flow)[0] for part, own_flow in zip(parts, flows, strict=True)]
        total = best[1][:, None, :, None] + best[0][None, :, None, :]
        assert_allclose(induced.optimal_q(flow)[0], total.reshape(16, 4), atol=1e-8)


def placed(game, qualities, n_worlds=1):
    """An engine whose agents have these qualities, shape (n_agents, n_products)."""
    qualities = np.asarray(qualities)
    if game.states == "grid":
        states = np.rint(qualities * (game.n_levels - 1)) @ game.n_levels ** np.arange(qualities.shape[1])
    else:
        states = np.zeros(len(qualities), game.state_dtype)
        if states.dtype.names is None:
            states[:] = qualities[:, 0]
        for name, column in zip(states.dtype.names or (), qualities.T, strict=False):
            states[name] = column
    engine = Engine(game, n_worlds)
    everyone = np.tile(states.astype(game.state_dtype), (n_worlds, 1))
    engine.restore(Snapshot(seed=0, episode=0, time=0, states=everyone))
    return engine


class TestSteps:
    @FORMS
    def test_rewards_by_hand(self, states):
        """Qualities (1, .25) and (.5, .75), means .75, .5: .31 x_0 + .5 x_1 less .1575 + .05 and investments."""
        engine = placed(Investment(n_agents=2, n_levels=5, states=states, **TWO), [[1, 0.25], [0.5, 0.75]])
        rewards = engine.step([[0b01, 0b10]])
        assert_allclose(rewards, [[0.435 - 0.2075 - 0.2, 0.53 - 0.2075 - 0.05]], rtol=1e-5)

    @FORMS
    def test_an_action_invests_in_the_products_of_its_bits(self, states):
        game = Investment(n_agents=4, n_levels=101, states=states, **TWO)
        engine = placed(game, [[0.2, 0.1]] * 4)
        engine.step([[0b00, 0b01, 0b10, 0b11]])
        after = game.levels_of(engine.states[0])
        assert_allclose(after[[0, 2], 0], 0.2, rtol=1e-6)
        assert_allclose(after[[0, 1], 1], 0.1, rtol=1e-6)
        assert (after[[1, 3], 0] > 0.2).all()
        assert (after[[2, 3], 1] > 0.1).all()

    @FORMS
    @pytest.mark.parametrize("n_agents", [3, 25, 100])
    @pytest.mark.parametrize(("quality", "share"), [(0.3, 1.0), (0.4, 0.5), (0.5, 0.5)])
    def test_growth_is_slower_from_the_threshold_on(self, states, n_agents, quality, share):
        """8000 draws each: the largest comes within 1 % of what is possible (fails with 1e-34), none goes beyond.

        A mean that is the threshold counts as above it, although with 25 and 100 agents it is rounded down.
        """
        game = Investment(n_agents=n_agents, n_levels=1001, states=states, **ONE)
        n_worlds = 8000 // n_agents + 1
        engine = placed(game, np.full((n_agents, 1), quality), n_worlds)
        engine.step(np.ones((n_worlds, n_agents), int))
        gained = (game.levels_of(engine.states) - quality) / (1 - quality)
        assert gained.min() >= -1e-6
        assert 0.99 * share < gained.max() <= share * (1 + 1e-6)

    @FORMS
    def test_draws_of_products_are_independent(self, states):
        """The covariance of two qualities of 20 000 firms, first and after a step. Four bounds of 1e-8."""
        game = Investment(n_agents=20_000, n_levels=101, states=states, **TWO)
        engine = Engine(game)
        engine.reset(seed=0)
        again = placed(game, np.full((20_000, 2), 0.5))
        again.step(np.full((1, 20_000), 3))
        for levels, centre in ((game.levels_of(engine.states[0]), 0.5), (game.levels_of(again.states[0]), 0.625)):
            products = (levels[:, 0] - centre) * (levels[:, 1] - centre)
            assert_mean(products.mean(), products.var(), 20_000, 0.0, 0.5, 1e-8)

    def test_the_population_moves_as_the_mean_field(self):
        """Mean qualities of 20 000 firms, in a crowd from the first step on. 20 bounds of 1e-8."""
        game = Investment(n_agents=20_000, n_levels=5, states="grid", **TWO)
        oracles = [Oracle(0, 0, 0, n=5) for _ in range(2)]
        policies = np.array([[0.5, 0.3, 0.0, 0.2, 0.0], [0.1, 0.2, 0.3, 0.0, 0.0]])
        laws, rng = [np.full(5, 0.2)] * 2, np.random.default_rng(2)
        engine = Engine(game)
        engine.reset(seed=4)
        for _ in range(10):
            levels = game.levels_of(engine.states[0])
            bits = np.stack(
                [rng.random(20_000) < policies[j][np.rint(4 * levels[:, j]).astype(int)] for j in (0, 1)]
            )
            for j in range(2):
                mean = laws[j] @ oracles[j].x
                assert_mean(levels[:, j].mean(), levels[:, j].var(), 20_000, mean, 1.0, 1e-8)
                p = policies[j][:, None]
                laws[j] = laws[j] @ ((1 - p) * oracles[j].moves[0] + p * oracles[j].moves[1])
            engine.step((bits[0] + 2 * bits[1])[None].astype(int))


@rule
def prestige(product, quality, invests, mean, constants):
    return constants.benefits[product] * (quality - mean) - 0.1 * invests + product


class TestPayoff:
    """Another reward for a product, given as a rule."""

    @FORMS
    def test_it_is_added_up_over_the_products(self, states):
        game = Investment(n_agents=2, n_levels=5, states=states, payoff=prestige, **TWO)
        engine = placed(game, [[1, 0.25], [0.5, 0.75]])
        rewards = engine.step([[0b01, 0b11]])
        assert_allclose(rewards, [[0.0775 - 0.125 - 0.1 + 1, -0.0775 + 0.125 - 0.2 + 1]], rtol=1e-5)

    def test_what_is_no_payoff(self):
        message = r"payoff must be None or a rule payoff\(product, quality, invests, mean, constants\), a function"
        with pytest.raises(TypeError, match=message):
            Investment(payoff="profit")


def test_one_product_has_the_products_constants():
    game = Investment(n_agents=50, threshold=0.3, growth=0.9, crowded_growth=0.2)
    one = game.one_product(1)
    assert isinstance(one, FiniteGame)
    assert (one.n_states, one.n_actions, one.n_agents) == (401, 2, 50)
    assert (one.benefits, one.crowding_costs, one.investment_costs) == ((0.32,), (0.22,), (0.21,))
    assert (one.threshold, one.growth, one.crowded_growth) == (0.3, 0.9, 0.2)
    assert game.one_product(2, n_levels=5).n_states == 5
    with pytest.raises(ValueError, match=r"product must be an integer in \[0, 2\], got 3"):
        game.one_product(3)


def test_what_the_forms_declare():
    continuous, grid = Investment(), Investment(states="grid", n_levels=3)
    assert not isinstance(continuous, FiniteGame)
    assert continuous.state_dtype.names == ("level_0_of_3", "level_1_of_3", "level_2_of_3")
    assert (continuous.n_actions, continuous.n_features, continuous.n_places) == (8, 3, 64)
    assert isinstance(grid, FiniteGame)
    assert (grid.n_states, grid.n_actions, grid.n_features) == (27, 8, 3)
    assert_allclose(grid.state_levels[5], [1.0, 0.5, 0.0])  # 5 = 2 + 1 * 3
    assert grid.state_name(5) == "1, 0.5, 0"


@FORMS
def test_agents_see_their_qualities(states):
    game = Investment(n_agents=2, n_levels=5, states=states, **TWO)
    qualities = [[1.0, 0.25], [0.5, 0.75]]
    assert_allclose(placed(game, qualities).observe()[0], qualities)


def test_places_are_combinations_of_bins():
    game = Investment(n_agents=2, **TWO)
    assert game.n_places == 64
    occupancy = placed(game, [[0.0, 1.0], [0.13, 0.5]]).occupancy()[0]
    assert np.flatnonzero(occupancy).tolist() == [1 + 8 * 4, 8 * 7]
    assert game.place_name(1 + 8 * 4) == "0.12-0.25, 0.5-0.62"


@pytest.mark.parametrize(
    ("constants", "error", "message"),
    [
        (
            {"benefits": (1, 2)},
            ValueError,
            "benefits, crowding_costs, investment_costs must have one number for each product, got 2, 3, 3",
        ),
        ({"benefits": ()}, ValueError, r"benefits must be a sequence of 1 to 16 numbers, .*, got \(\)"),
        ({"benefits": [0.1] * 17}, ValueError, "benefits must be a sequence of 1 to 16 numbers"),
        (
            {"investment_costs": 0.1},
            TypeError,
            "investment_costs must be a sequence of 1 to 16 numbers, .*, got 0.1",
        ),
        (
            {"crowding_costs": (1, "2", 3)},
            TypeError,
            r"crowding_costs\[1\] must be a finite number in .*, got '2'",
        ),
        ({"benefits": (1, 2, np.nan)}, ValueError, r"benefits\[2\] must be a finite number in .*, got nan"),
        ({"threshold": np.inf}, ValueError, "threshold must be a finite number"),
        ({"growth": 1.5}, ValueError, r"growth must be a finite number in \[0, 1\], got 1.5"),
        ({"crowded_growth": -0.1}, ValueError, r"crowded_growth must be a finite number in \[0, 1\], got -0.1"),
        (
            {"states": "grid", "n_levels": 401},
            ValueError,
            r"n_levels must be at most 203 on this grid: 401 \*\* 3 states and 8 actions make 5.2e\+08 pairs, more"
            r" than 67108864. Take fewer levels, a product alone \(one_product\), or states='continuous'",
        ),
        (
            {
                "states": "grid",
                **{name: [1.0] * 14 for name in ("benefits", "crowding_costs", "investment_costs")},
            },
            ValueError,
            "states must be 'continuous': ",
        ),
    ],
)
def test_wrong_constants(constants, error, message):
    with pytest.raises(error, match=message):
        Investment(**constants)


def test_the_largest_grid_that_is_allowed_is():
    """203^3 * 8 pairs are fewer than 2^26, 204^3 * 8 are more: the message tells the right limit."""
    with pytest.raises(ValueError, match="n_levels must be at most 203 on this grid: 204"):
        Investment(states="grid", n_levels=204)
    assert 203**3 * 8 <= 2**26 < 204**3 * 8


def test_a_snapshot_with_impossible_qualities_is_refused():
    with pytest.raises(
        ValueError, match=r"snapshot.states\['level_1_of_2'\] must hold levels in \[0, 1\], got 1.5 at \[0,"
    ):
        placed(Investment(n_agents=2, **TWO), [[0.5, 0.5], [0.5, 1.5]])
