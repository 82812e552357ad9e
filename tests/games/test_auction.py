"""The repeated auction against rounds by hand, enumeration of all opponents, and rounds simulated in plain numpy.

The oracles know the specification only: who is drawn, who bids highest, what the second-highest bid is.
Frequencies are compared by exact binomial tails, and means by empirical Bernstein bounds, of 1e-9 or less each
(:mod:`bounds`): a whole run errs with less than 1e-6, and the seeds are fixed.
"""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from bounds import assert_frequencies, assert_mean
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import mfenvs
from mfenvs import Engine, InducedGame, World, uniform
from mfenvs.engine.compile import kernel
from mfenvs.engine.model import in_double_precision, model_kernels
from mfenvs.engine.random import ADVANCE, agent_key, step_key
from mfenvs.engine.snapshot import Snapshot
from mfenvs.games.auction import FULFILMENT, MOST_BIDDERS, ROUND, Auction

AGGREGATE, TRANSITION, REWARD = Auction.aggregate, Auction.transition, Auction.reward
STEP, MET = Auction.step, Auction.met


# Oracles.


def round_of(bid, others):
    """Of a single round: the chance to win, and the price."""
    first, second = sorted((bid, *others))[:-3:-1]
    return (1 / (1 + others.count(bid)) if bid == first else 0.0), second


def without_replacement(others, n_opponents):
    """All ways to meet some of the other agents: (probability, their bids)."""
    groups = list(itertools.combinations(range(len(others)), n_opponents))
    return [(1 / len(groups), tuple(int(others[j]) for j in group)) for group in groups]


def independent(law, n_opponents):
    """All ways to meet independent opponents: (probability, their bids)."""
    possible = [bid for bid in range(len(law)) if law[bid] > 0]
    groups = itertools.product(possible, repeat=n_opponents)
    return [(math.prod(law[b] for b in group), group) for group in groups]


def outcomes(game, budget, bid, meetings, appeal=1.0):
    """The law of a whole round, by enumeration: {(next budget, reward, mean bid of those met): probability}."""
    law = Counter()
    penalty, values = float(np.float32(game.penalty)), [appeal * v for v in game.conversions]
    for chance, others in meetings:
        win, price = round_of(bid, list(others))
        mean = sum(others) / len(others)
        results = [(1 - win, budget, 0.0)]
        for v in values:
            over = price - budget if budget < price else 0
            left = budget - price if price <= budget else 0
            results.append((win / len(values), left, (v - price) - (1 + penalty) * over))
        for probability, left, reward in results:
            for fill, weight in ((0, 1 - game.fulfilment), (1, game.fulfilment)):
                key = min(left + fill, game.n_budgets - 1), round(reward, 4), round(mean, 4)
                law[key] += chance * probability * weight
    return {key: p for key, p in law.items() if p > 0}


def row_and_mean(game, law):
    """Probabilities of the next budget, and the mean reward."""
    row = np.zeros(game.n_budgets)
    for (after, _, _), p in law.items():
        row[after] += p
    return row, sum(p * reward for (_, reward, _), p in law.items())


# What is tested.


@kernel
def aggregated(world):
    """Write the law of a round from the counts."""
    AGGREGATE(world, world.signal)


@kernel
def tabulated(budget, bid, agents, i, world, row):
    """Agent i's row; returns its reward."""
    for after in range(len(row)):
        row[after] = TRANSITION(after, budget, bid, agents[i], world)
    return REWARD(budget, bid, agents[i], world)


def seen_by_agents(game, bids, dtype=np.float64):
    """The world of every agent of N, counted here."""
    n = game.n_agents
    counts = np.bincount(bids, minlength=game.n_bids).astype(dtype)
    signal, per = np.zeros(game.n_signals, dtype), (dtype(1 / (n - 1)), dtype(1 / n))
    aggregated(World(counts, signal, game.constants, 0, -1, dtype(0), *per))
    return [World(counts, signal, game.constants, 0, int(bid), dtype(1), *per) for bid in bids]


def seen_in_the_limit(game, law):
    """The world of everybody in the mean-field: own weight 0, counts are masses."""
    signal = np.zeros(game.n_signals)
    world = World(np.array(law, float), signal, game.constants, 0, -1, 0.0, 1.0, 1.0)
    aggregated(world)
    return world


def model(game, budget, bid, agent, world):
    """Row and reward of the game's rules for the agent of this number."""
    row = np.empty(game.n_budgets)
    return row, tabulated(int(budget), int(bid), game.agents.view(np.ndarray), agent, world, row)


def played(game, budgets, bids, n_worlds, seed=0):
    """One round from the same budgets with the same bids in many worlds: next budgets and rewards, (worlds, N)."""
    engine = Engine(game, n_worlds)
    placed = np.tile(budgets, (n_worlds, 1)).astype(game.state_dtype)
    engine.restore(Snapshot(seed=seed, episode=0, time=0, states=placed))
    rewards = engine.step(np.tile(bids, (n_worlds, 1)))
    return engine.states.astype(int), rewards.astype(float)


@kernel
def draw_rounds(budget, bid, agents, i, world, seed, budgets, rewards, means):
    """Steps of agent i, the k-th from the key of world k, and whom it met in them."""
    for k in range(len(budgets)):
        key = agent_key(step_key(seed, k, 0, 0, ADVANCE), i)
        budgets[k], rewards[k] = STEP(budget, bid, agents[i], world, key)
        means[k] = MET(budget, bid, agents[i], world, key)


def rounds(game, budget, bid, world, n_rounds, seed=0, agent=0):
    """Next budgets, rewards and mean bids met, (n_rounds,) each."""
    arrays = np.empty(n_rounds, int), np.empty(n_rounds, np.float32), np.empty(n_rounds, np.float32)
    draw_rounds(int(budget), int(bid), game.agents.view(np.ndarray), agent, world, seed, *arrays)
    return arrays


@kernel
def met_at(budget, bid, agents, i, world, at):
    """Whom agent i met in the world numbered so."""
    return MET(budget, bid, agents[i], world, agent_key(step_key(0, at, 0, 0, ADVANCE), i))


@kernel
def world_that_draws(value, stream, agent):
    """A world in whose first step, at seed 0, an agent's draw is exactly this: one in 2^24 is."""
    for world in range(10**9):
        if uniform(agent_key(step_key(0, world, 0, 0, ADVANCE), agent), stream) == value:
            return world
    return -1


def point(n_bids, bid):
    return np.eye(n_bids)[bid]


def with_bids(game, law):
    """A state-action law with these bids in all budgets."""
    return np.outer(np.full(game.n_budgets, 1 / game.n_budgets), law)


# By hand.

HAND = {"n_agents": 2, "n_bidders": 2, "n_budgets": 4, "n_bids": 5, "conversions": (4.0,), "penalty": 0.5}
BY_HAND = [
    # budget, bid, the other's bid, reward, budget after
    (3, 2, 1, 3.0, 2),  # wins at 1
    (2, 1, 2, 0.0, 2),  # loses
    (0, 0, 4, 0.0, 0),
    (3, 0, 1, 0.0, 3),
    (3, 4, 0, 4.0, 3),  # wins for nothing
    (0, 1, 0, 4.0, 0),
    (2, 3, 2, 2.0, 0),  # all that it has
    (1, 4, 2, 0.5, 0),  # 4 - 2, and 1.5 for the one beyond
    (1, 4, 3, -2.0, 0),  # 4 - 3, and 1.5 for each of two beyond
    (0, 4, 3, -3.5, 0),
    (3, 4, 3, 1.0, 0),
    (3, 3, 2, 2.0, 1),  # pays the second price, not its bid
]


@pytest.mark.parametrize("fulfilment", [0.0, 1.0])
@pytest.mark.parametrize(("budget", "bid", "other", "reward", "after"), BY_HAND)
def test_two_bidders_by_hand(budget, bid, other, reward, after, fulfilment):
    after = min(after + int(fulfilment), 3)
    game = Auction(**HAND, fulfilment=fulfilment)
    for me in (0, 1):  # on either side
        budgets, rewards = played(game, np.roll([budget, 2], me), np.roll([bid, other], me), 20)
        assert (budgets[:, me] == after).all()
        assert_allclose(rewards[:, me], reward, atol=1e-6)
    transitions, means = InducedGame(game).arrays(with_bids(game, point(5, other)))
    assert_allclose(transitions[budget, bid], point(4, after), atol=1e-12)
    assert means[budget, bid] == pytest.approx(reward, abs=1e-6)


@pytest.mark.parametrize(("budget", "reward", "after"), [(3, 2.0, 1), (2, 2.0, 0), (1, 0.5, 0)])
def test_a_tie_of_two_by_hand(budget, reward, after):
    """Both bid 2 for 4: half of the time it is mine, for 2, or with a budget of 1 for 2 + 1.5."""
    game, n = Auction(**HAND, fulfilment=0.0), 10_000
    budgets, rewards = played(game, [budget, 0], [2, 2], n)
    won = rewards[:, 0] != 0
    assert set(zip(budgets[:, 0], rewards[:, 0], strict=True)) == {(after, reward), (budget, 0.0)}
    assert_array_equal(won, budgets[:, 0] == after)
    assert_frequencies(won.sum(), n, 0.5)
    transitions, means = InducedGame(game).arrays(with_bids(game, point(5, 2)))
    assert_allclose(transitions[budget, 2], 0.5 * point(4, after) + 0.5 * point(4, budget), atol=1e-12)
    assert means[budget, 2] == pytest.approx(reward / 2)


def test_all_meet_all_by_hand():
    """Four of four, bids 4 2 2 1: the first wins at 2."""
    game = Auction(**HAND | {"n_agents": 4, "n_bidders": 4}, fulfilment=0.0)
    budgets, rewards = played(game, [3, 3, 2, 0], [4, 2, 2, 1], 50)
    assert_array_equal(budgets, np.tile([1, 3, 2, 0], (50, 1)))
    assert_array_equal(rewards, np.tile([2, 0, 0, 0], (50, 1)))


def test_conversions_are_equally_likely():
    game, n = Auction(**HAND | {"conversions": (1.0, 2.5, 7.0)}, fulfilment=0.0), 30_000
    _, rewards = played(game, [3, 3], [2, 1], n)
    assert_frequencies([(rewards[:, 0] == v - 1).sum() for v in (1.0, 2.5, 7.0)], n, np.full(3, 1 / 3))


# The mean-field.

LAWS = {
    "uniform": [0.2, 0.2, 0.2, 0.2, 0.2],
    "one bid": [0.0, 0.0, 1.0, 0.0, 0.0],
    "two atoms": [0.6, 0.0, 0.0, 0.0, 0.4],
    "gaps": [0.0, 0.7, 0.0, 0.3, 0.0],
    "rare highest": [0.05, 0.1, 0.8, 0.049, 0.001],
}
FIVE = {"n_agents": 8, "n_budgets": 4, "n_bids": 5, "n_bidders": 5, "fulfilment": 0.3, "penalty": 0.4}


@pytest.mark.parametrize("name", LAWS)
def test_the_closed_form_against_a_million_simulated_rounds(name):
    game, law, n = Auction(**FIVE), np.array(LAWS[name]), 10**6
    rng = np.random.default_rng(len(name))
    opponents = rng.choice(5, (4, n), p=law).astype(np.int8)
    ranked = np.sort(opponents, axis=0)
    value, filled, ticket = rng.integers(0, 4, n), rng.random(n) < 0.3, rng.random(n)
    transitions, means = InducedGame(game).arrays(with_bids(game, law))
    for bid in range(5):
        rivals = (opponents == bid).sum(axis=0)
        won = (ranked[-1] < bid) | ((ranked[-1] == bid) & (ticket * (rivals + 1) < 1))
        # An agent who wins has the highest bid, so the second-highest is the highest of the others.
        codes = np.ravel_multi_index((won, ranked[-1], value, filled), (2, 5, 4, 2))
        times = np.bincount(codes, minlength=80)
        w, p, v, fill = np.indices((2, 5, 4, 2)).reshape(4, -1)
        for budget in range(4):
            left = np.where(w == 1, np.maximum(budget - p, 0), budget)
            after = np.minimum(left + fill, 3)
            reward = w * ((v + 1.0 - p) - (1.0 + 0.4) * (budget < p) * (p - budget))
            assert_frequencies(np.bincount(after, times, 4).astype(int), n, transitions[budget, bid])
            mean = times @ reward / n
            assert_mean(mean, times @ (reward - mean) ** 2 / n, n, means[budget, bid], np.ptp(reward))


@st.composite
def laws(draw, size):
    """Laws with atoms, zeros and tiny probabilities."""
    weights = draw(st.lists(st.sampled_from([0.0, 1e-6, 0.1, 1.0, 3.0]), min_size=size, max_size=size))
    weights[draw(st.integers(0, size - 1))] += 0.5
    return np.array(weights) / sum(weights)


@st.composite
def auctions(draw, max_agents=6):
    n_agents = draw(st.integers(2, max_agents))
    return Auction(
        n_agents=n_agents,
        n_budgets=draw(st.integers(1, 5)),
        n_bids=draw(st.integers(1, 5)),
        n_bidders=draw(st.integers(2, min(n_agents, 5))),
        fulfilment=draw(st.sampled_from([0.0, 0.25, 1.0])),
        penalty=draw(st.sampled_from([0.0, 0.5, 3.0])),
        conversions=draw(st.sampled_from([(2.0,), (1.0, 2.0, 3.0, 4.0), (0.0, 0.3)])),
        heterogeneity=draw(st.sampled_from([0.0, 0.5])),
    )


@settings(max_examples=100)
@given(st.data())
def test_the_rules_in_the_limit_are_those_of_enumerated_opponents(data):
    game = data.draw(auctions())
    law = data.draw(laws(game.n_bids))
    world = seen_in_the_limit(game, law)
    meetings = independent(law, game.n_bidders - 1)
    for budget, bid in itertools.product(range(game.n_budgets), range(game.n_bids)):
        expected = row_and_mean(game, outcomes(game, budget, bid, meetings, float(game.agents.appeal[0])))
        row, mean = model(game, budget, bid, 0, world)
        assert_allclose(row, expected[0], atol=1e-9)
        assert mean == pytest.approx(expected[1], abs=2e-4)  # rewards are enumerated to 4 digits


def test_the_mean_field_is_that_of_the_average_agent():
    """Rewards are linear in the appeal, and nothing else depends on it."""
    game = Auction(**FIVE, heterogeneity=0.7, agents_seed=1)
    law = LAWS["rare highest"]
    transitions, means = InducedGame(game).arrays(with_bids(game, law))
    appeal = float(game.agents.appeal.astype(float).mean())
    assert abs(appeal - 1) > 0.05
    for budget, bid in itertools.product(range(4), range(5)):
        expected = row_and_mean(game, outcomes(game, budget, bid, independent(law, 4), appeal))
        assert_allclose(transitions[budget, bid], expected[0], atol=1e-7)
        assert means[budget, bid] == pytest.approx(expected[1], abs=1e-4)


def test_only_bids_matter():
    """Who bids, rich or poor, does not."""
    game, rng = Auction(**FIVE), np.random.default_rng(3)
    mu = rng.dirichlet(np.full(20, 0.5)).reshape(4, 5)
    for array, same in zip(
        InducedGame(game).arrays(mu), InducedGame(game).arrays(with_bids(game, mu.sum(0))), strict=True
    ):
        assert_allclose(array, same, atol=1e-12)


def test_the_flow_of_a_policy_is_stationary():
    game = Auction(**FIVE)
    policy = np.random.default_rng(0).dirichlet(np.ones(5), 4)
    flow = InducedGame(game).flow(policy)
    mu = flow.mu[0]
    expected, _ = InducedGame(game).arrays(mu)
    assert_allclose(np.einsum("sa,sat->t", mu, expected), mu.sum(axis=1), atol=1e-12)
    assert_allclose(mu, mu.sum(axis=1, keepdims=True) * policy, atol=1e-14)


def test_among_many_agents_it_is_as_in_the_limit():
    """Half of the agents bid 0, a quarter 1, a quarter 3; the distance falls like 1/N."""

    def distance(n_agents, n_bidders):
        game = Auction(**FIVE | {"n_agents": n_agents, "n_bidders": n_bidders})
        bids = np.resize([0, 1, 0, 3], n_agents)
        worlds, limit = seen_by_agents(game, bids), seen_in_the_limit(game, [0.5, 0.25, 0.0, 0.25, 0.0])
        found = 0.0
        for i, budget in itertools.product(range(min(4, n_agents)), range(4)):
            me = game, budget, bids[i], i
            (row, mean), (other, same) = model(*me, worlds[i]), model(*me, limit)
            found = max(found, np.abs(row - other).sum(), abs(mean - same))
        return found

    for n_bidders, sizes in ((2, (2, 20, 200, 2000)), (5, (8, 80, 800, 8000))):
        far = [distance(n, n_bidders) for n in sizes]
        assert far[0] > 0.1
        for here, next_one in itertools.pairwise(far):
            assert next_one < here / 5
        assert far[-1] < 0.005


# Among N agents.


@settings(max_examples=100)
@given(st.data())
def test_the_rules_of_every_agent_are_those_of_enumerated_opponents(data):
    game = data.draw(auctions())
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    budgets = rng.integers(0, game.n_budgets, game.n_agents)
    bids = rng.integers(0, game.n_bids, game.n_agents)
    for i, world in enumerate(seen_by_agents(game, bids)):
        me = int(budgets[i]), int(bids[i])
        meetings = without_replacement(np.delete(bids, i), game.n_bidders - 1)
        row, mean = model(game, *me, i, world)
        expected = row_and_mean(game, outcomes(game, *me, meetings, float(game.agents.appeal[i])))
        assert_allclose(row, expected[0], atol=1e-9)
        assert mean == pytest.approx(expected[1], abs=2e-4)


SIX = {"n_agents": 6, "n_budgets": 4, "n_bids": 5, "n_bidders": 4, "conversions": (0.7, 2.3), "penalty": 0.5}
PROFILES = [
    # budgets, bids
    ([3, 0, 2, 1, 3, 2], [4, 2, 2, 0, 3, 2]),
    ([0, 1, 2, 3, 1, 0], [3, 3, 3, 3, 3, 3]),
    ([2, 2, 3, 0, 1, 3], [4, 4, 0, 0, 1, 0]),
    ([1, 3, 0, 2, 2, 3], [0, 1, 2, 3, 4, 4]),
]


@pytest.mark.parametrize(("budgets", "bids"), PROFILES)
def test_what_an_agent_would_meet_if_it_did_otherwise(budgets, bids):
    """The kernels that the exploitability among N agents and debug mode are made of."""
    game = Auction(**SIX, fulfilment=0.25, heterogeneity=0.4)
    kernels, agents = model_kernels(game), in_double_precision(game.agents)
    states, actions = (np.array(x, np.uint8)[None, None] for x in (budgets, bids))
    counts = np.bincount(bids, minlength=5).astype(np.float32)[None, None]
    transitions, rewards = np.zeros((6, 1, 4, 5, 4)), np.zeros((6, 1, 4, 5))
    kernels.responses(
        *(states, actions, counts, np.arange(6), np.tile([0, 1], (6, 1)), game.own_states, agents),
        *(game.constants, np.empty(5), np.empty(game.n_signals), transitions, rewards, 0, 6),
    )
    rows = np.empty((6, 4))
    kernels.rows(
        states[0, 0], actions[0, 0], agents, game.constants, np.empty(5), np.empty(game.n_signals), 0, rows
    )
    for i in range(6):
        meetings = without_replacement(np.delete(bids, i), 3)
        for budget, bid in itertools.product(range(4), range(5)):
            law = outcomes(game, budget, bid, meetings, float(game.agents.appeal[i]))
            row, mean = row_and_mean(game, law)
            assert_allclose(transitions[i, 0, budget, bid], row, atol=1e-6)
            assert rewards[i, 0, budget, bid] == pytest.approx(mean, abs=1e-4)
        assert_allclose(rows[i], transitions[i, 0, budgets[i], bids[i]], atol=1e-9)


def told_apart(law, budgets, rewards, means=None):
    """How often each outcome of a law was drawn, in its order; every draw must be one of them."""
    expected = np.array(list(law))
    found = np.column_stack([budgets, rewards, np.zeros(len(budgets)) if means is None else means])
    distinct, times = np.unique(np.round(found, 3), axis=0, return_counts=True)
    far = np.abs(distinct[:, None] - expected[None]).max(axis=2)
    assert far.min(axis=1).max() < 2e-3, f"{distinct[far.min(axis=1).argmax()]} cannot happen"
    return np.bincount(far.argmin(axis=1), times, len(expected)).astype(int)


def without_the_met(law):
    pooled = Counter()
    for (after, reward, _), p in law.items():
        pooled[after, reward, 0.0] += p
    return pooled


@pytest.mark.parametrize(
    "constants", [{}, {"n_agents": 4, "n_bidders": 2}, {"n_agents": 5, "n_bidders": 5}], ids=str
)
@pytest.mark.parametrize(("budgets", "bids"), PROFILES)
def test_simulated_rounds_are_those_of_enumerated_opponents(budgets, bids, constants):
    """Budget and reward jointly: the price that makes one makes the other."""
    game = Auction(**SIX | constants, fulfilment=0.25, heterogeneity=0.4)
    n_agents, n_worlds = game.n_agents, 30_000
    budgets, bids = budgets[:n_agents], bids[:n_agents]
    after, rewards = played(game, budgets, bids, n_worlds, seed=4)
    for i in range(n_agents):
        meetings = without_replacement(np.delete(bids, i), game.n_bidders - 1)
        law = without_the_met(outcomes(game, budgets[i], bids[i], meetings, float(game.agents.appeal[i])))
        times = told_apart(law, after[:, i], rewards[:, i])
        assert_frequencies(times, n_worlds, list(law.values()), 1e-10)


def test_agents_meet_opponents_of_their_own():
    """Four agents with one bid in pairs: all win independently of each other, by the same odds."""
    game, n = Auction(**SIX | {"n_agents": 4, "n_bidders": 2}), 20_000
    won = played(game, [3] * 4, [2] * 4, n)[1] != 0
    joint = np.bincount(won @ [1, 2, 4, 8], minlength=16)
    assert_frequencies(joint, n, np.full(16, 1 / 16))


# Whom an agent met.


@pytest.mark.parametrize("bid", range(5))
@pytest.mark.parametrize("n_bidders", [2, 4, 6])
def test_whom_an_agent_met_hangs_together_with_what_it_came_to(bid, n_bidders):
    """Next budget, reward and mean bid of the opponents jointly, against all groups of opponents."""
    game = Auction(**SIX | {"n_bidders": n_bidders}, fulfilment=0.25)
    others, n = np.array([4, 2, 2, 0, 3]), 100_000
    bids = np.insert(others, 2, bid)
    world = seen_by_agents(game, bids, np.float32)[2]
    after, rewards, means = rounds(game, 2, bid, world, n, seed=7, agent=2)
    law = outcomes(game, 2, bid, without_replacement(others, n_bidders - 1))
    assert_frequencies(told_apart(law, after, rewards, means), n, list(law.values()), 1e-11)
    # These are the rounds of the engine.
    budgets, earned = played(game, [0, 0, 2, 0, 0, 0], bids, 1000, seed=7)
    assert_array_equal(budgets[:, 2], after[:1000])
    assert_allclose(earned[:, 2], rewards[:1000], atol=1e-6)


@pytest.mark.parametrize("bid", range(5))
@pytest.mark.parametrize("name", LAWS)
def test_whom_an_agent_met_in_the_limit(name, bid):
    game, n = Auction(**SIX, fulfilment=0.25), 100_000
    world = seen_in_the_limit(game, LAWS[name])
    after, rewards, means = rounds(game, 2, bid, world, n, seed=3)
    law = outcomes(game, 2, bid, independent(LAWS[name], 3))
    assert_frequencies(told_apart(law, after, rewards, means), n, list(law.values()), 1e-11)


def test_the_mean_of_those_met_is_that_of_all_others():
    """Whatever one bids, opponents are drawn without a look at it: M = 30 of N = 100."""
    game, rng = Auction(n_agents=100, n_bidders=30, penalty=0.0), np.random.default_rng(0)
    bids = rng.integers(0, 8, 100)
    for i in range(3):
        others = np.delete(bids, i)
        for world, variance in (
            (seen_by_agents(game, bids, np.float32)[i], others.var() / 29 * (99 - 29) / (99 - 1)),
            (seen_in_the_limit(game, np.bincount(others, minlength=10) / 99), others.var() / 29),
        ):
            _, _, means = rounds(game, 5, bids[i], world, 50_000, seed=i)
            assert_mean(means.mean(dtype=float), means.var(dtype=float), 50_000, others.mean(), 7.0)
            assert means.var(dtype=float) == pytest.approx(variance, rel=0.06)  # 9 standard errors


@settings(max_examples=30)
@given(st.data())
def test_those_met_explain_the_outcome(data):
    game = data.draw(auctions(max_agents=9))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    bids, n_opponents = rng.integers(0, game.n_bids, game.n_agents), game.n_bidders - 1
    i = int(rng.integers(game.n_agents))
    bid, others = int(bids[i]), np.sort(np.delete(bids, i))
    world = seen_by_agents(game, bids, np.float32)[i]
    before = game.n_budgets + 100  # so that what was paid can be told
    after, rewards, means = rounds(game, before, bid, world, 500, agent=i)
    total = np.round(means * n_opponents)
    assert_allclose(means * n_opponents, total, atol=1e-4)
    lowest, highest = others[:n_opponents].sum(), others[-n_opponents:].sum()
    assert (total >= lowest).all()
    assert (total <= highest).all()
    if game.fulfilment == 0.0:
        paid = before - after
        won = (rewards != 0) | (paid > 0)
        assert (means[won] <= paid[won] + 1e-5).all()
        assert (paid[won] <= total[won]).all()
        if 0.0 not in game.conversions:
            assert (total[~won] >= bid).all()


# Rare draws.

SMALLEST, LARGEST = 0.0, 1.0 - 2.0**-24


def one_round(game, budgets, bids, world):
    engine = Engine(game, first_world=world)
    engine.restore(Snapshot(seed=0, episode=0, time=0, states=np.array([budgets], game.state_dtype)))
    rewards = engine.step([bids])
    return engine.states[0].astype(int), rewards[0]


@pytest.fixture(scope="module")
def rare():
    return {
        (value, stream): world_that_draws(value, stream, 0)
        for value, stream in ((SMALLEST, ROUND), (LARGEST, ROUND), (SMALLEST, FULFILMENT), (LARGEST, FULFILMENT))
    }


def test_what_cannot_happen_does_not_at_the_smallest_draw(rare):
    game = Auction(**HAND | {"n_agents": 3, "n_bidders": 3}, fulfilment=0.0)
    world = rare[SMALLEST, ROUND]
    # Nobody wins with 1 against 2, or at a price that nobody bids.
    budgets, rewards = one_round(game, [3, 3, 3], [1, 2, 2], world)
    assert (budgets[0], rewards[0]) == (3, 0.0)
    budgets, rewards = one_round(game, [3, 3, 3], [3, 2, 2], world)
    assert (budgets[0], rewards[0]) == (1, 2.0)
    budgets, _ = one_round(game, [2, 2, 2], [0, 1, 1], rare[SMALLEST, FULFILMENT])
    assert budgets[0] == 2


def test_what_is_certain_happens_at_the_largest_draw(rare):
    game = Auction(**HAND | {"n_agents": 3, "n_bidders": 3}, fulfilment=1.0)
    budgets, rewards = one_round(game, [3, 3, 3], [3, 2, 2], rare[LARGEST, ROUND])
    assert (budgets[0], rewards[0]) == (2, 2.0)
    budgets, _ = one_round(game, [2, 2, 2], [0, 1, 1], rare[LARGEST, FULFILMENT])
    assert budgets[0] == 3


@pytest.mark.parametrize("bids", [[0, 1, 1, 0, 1, 1], [3, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("value", [SMALLEST, LARGEST])
def test_nobody_meets_a_bid_that_nobody_makes(rare, value, bids):
    """Of five opponents who bid 1 at most, at the rarest draws."""
    for n_bidders in (2, 4, 6):
        game = Auction(**SIX | {"n_bidders": n_bidders})
        world = seen_by_agents(game, bids, np.float32)[0]
        mean = met_at(2, bids[0], game.agents.view(np.ndarray), 0, world, rare[value, ROUND])
        assert 0 <= mean <= 1


ALL_OF_32 = {"n_agents": 32, "n_bidders": 32, "n_bids": 3, "n_budgets": 3, "conversions": (5.0,)}


def test_the_only_highest_bidder_of_all_never_loses(rare):
    """All of 32 meet, one bids 1 and nobody else."""
    game = Auction(**ALL_OF_32)
    _, rewards = one_round(game, [2] * 32, point(32, 0).astype(int), rare[LARGEST, ROUND])
    assert rewards[0] == 5.0


def test_nobody_meets_more_than_all_others(rare):
    """All of 32 meet, one of 31 opponents bids 1, nobody 2."""
    game = Auction(**ALL_OF_32)
    world = seen_by_agents(game, point(32, 1).astype(int), np.float32)[0]
    mean = met_at(2, 0, game.agents.view(np.ndarray), 0, world, rare[LARGEST, ROUND])
    assert mean == pytest.approx(1 / 31)


# Properties.


def paid_for(game, reward, budget, bid):
    """The price that a reward tells, -1 for a lost round: with one conversion of a half none is the other's."""
    for price in range(bid + 1):
        due = 0.5 - price - (1 + game.penalty) * max(price - budget, 0)
        if abs(reward - due) < 1e-4 * (1 + abs(due)):
            return price
    assert reward == 0.0
    return -1


@settings(max_examples=25)
@given(
    n_agents=st.integers(2, 12),
    n_bidders=st.integers(2, 6),
    n_budgets=st.integers(1, 6),
    n_bids=st.sampled_from([1, 3, 5]),
    fulfilment=st.sampled_from([0.0, 0.3, 1.0]),
    penalty=st.sampled_from([0.0, 0.2, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_budgets_balance(n_agents, n_bidders, n_budgets, n_bids, fulfilment, penalty, seed):
    """What everybody has is what it had, less what it paid, and what was filled up, within the range."""
    n_bidders = min(n_bidders, n_agents)
    game = Auction(
        **{"n_agents": n_agents, "n_bidders": n_bidders, "n_budgets": n_budgets, "n_bids": n_bids, "horizon": 8},
        **{"fulfilment": fulfilment, "penalty": penalty, "conversions": (0.5,)},
    )
    engine, rng = Engine(game, 3), np.random.default_rng(seed)
    engine.reset(seed)
    for _ in range(8):
        bids, before = rng.integers(0, n_bids, (3, n_agents)), engine.states.astype(int)
        rewards = engine.step(bids)
        after = engine.states.astype(int)
        assert (after >= 0).all()
        assert (after < n_budgets).all()
        for w in range(3):
            prices = [paid_for(game, *x) for x in zip(rewards[w], before[w], map(int, bids[w]), strict=True)]
            due = np.maximum(before[w] - np.maximum(prices, 0), 0)
            least, most = due, np.minimum(due + 1, n_budgets - 1)
            assert (after[w] >= (least if fulfilment < 1 else most)).all()
            assert (after[w] <= (most if fulfilment > 0 else least)).all()
            for i, price in enumerate(prices):
                others = np.sort(np.delete(bids[w], i))
                if price >= 0:  # it is a bid of an opponent, of whom there are M - 1
                    assert price in others
                    assert price >= others[n_bidders - 2]
                elif others[-(n_bidders - 1) :][0] < bids[w, i]:
                    assert others[-1] >= bids[w, i]
                if n_bidders == n_agents:
                    assert price == others[-1] if bids[w, i] > others[-1] else price in (-1, bids[w, i])


@settings(max_examples=30)
@given(law=laws(5))
def test_rows_are_probabilities_at_every_law_of_bids(law):
    game = Auction(**FIVE)
    transitions, means = InducedGame(game).arrays(with_bids(game, law))
    assert transitions.min() >= -1e-12
    assert_allclose(transitions.sum(axis=2), 1.0, atol=1e-9)
    assert np.isfinite(means).all()
    # Nobody has more than it had and is given.
    assert (transitions * np.triu(np.ones((4, 4)), 2)[:, None] == 0).all()


def test_the_order_of_agents_does_not_matter():
    game, rng = Auction(**SIX, fulfilment=0.25), np.random.default_rng(1)
    kernels, agents = model_kernels(game), in_double_precision(game.agents)
    budgets, bids = rng.integers(0, 4, 6), rng.integers(0, 5, 6)

    def rows(order):
        out = np.empty((6, 4))
        scratch = np.empty(5), np.empty(game.n_signals)
        kernels.rows(budgets[order].astype(np.uint8), bids[order], agents, game.constants, *scratch, 0, out)
        return out

    for order in map(np.array, itertools.islice(itertools.permutations(range(6)), 0, 720, 37)):
        assert_allclose(rows(order), rows(np.arange(6))[order], atol=1e-14)


def test_appeal_moves_rewards_only():
    alike, unlike = (
        Auction(n_agents=12, n_budgets=4, n_bids=5, horizon=30, heterogeneity=h, conversions=(2.0,))
        for h in (0.0, 0.8)
    )
    policy = np.random.default_rng(2).dirichlet(np.ones(5), 4)[None]
    here, there = (Engine(game, 20).rollout(policy, seed=5) for game in (alike, unlike))
    assert_array_equal(here.states, there.states)
    assert_array_equal(here.actions, there.actions)
    extra = (unlike.agents.appeal - 1) * 2
    won = np.abs(there.rewards - here.rewards) > 1e-3
    assert 0.05 < won.mean() < 0.5
    assert_allclose((there.rewards - here.rewards)[won], np.broadcast_to(extra, won.shape)[won], atol=1e-4)


def test_agents_are_drawn_within_their_range_by_their_seed():
    appeal = Auction(n_agents=5000, heterogeneity=0.4, agents_seed=1).agents.appeal.astype(float)
    assert stats.kstest((appeal - 0.6) / 0.8, "uniform").pvalue > 1e-7
    assert 0.6 <= appeal.min() + 1e-6 < 0.61
    assert 1.39 < appeal.max() <= 1.4 + 1e-6
    assert (Auction(heterogeneity=0.4, agents_seed=2).agents.appeal != appeal[:20]).any()
    assert (Auction().agents.appeal == 1).all()


def test_a_large_round_of_many_agents():
    """As many bidders as there may be: products of hundreds of factors neither vanish nor overflow."""
    met = MOST_BIDDERS - 1
    game = Auction(n_agents=2000, n_bidders=MOST_BIDDERS, n_bids=3, conversions=(9.0,), penalty=0.0, n_budgets=9)
    bids = np.repeat([0, 1, 2], [1, 1990, 9])
    n_worlds, k = 50, np.arange(MOST_BIDDERS)
    _, rewards = played(game, np.full(2000, 8), bids, n_worlds)
    worlds = seen_by_agents(game, bids)
    # How many bid the same, of 255 others without replacement, where none of them bids more.
    for i, same, lower in ((1, 1989, 1), (1999, 8, 1991)):
        none_more = stats.hypergeom.pmf(0, 1999, 1999 - same - lower, met)
        ties = none_more * stats.hypergeom.pmf(k, same + lower, same, met)
        wins, bid = float(ties @ (1 / (k + 1))), int(bids[i])
        # It is won at the bid if there is a tie, else by the only one who bids 2, below.
        alone = float(ties[0])
        price = 1.0 if bid == 2 else 0.0
        expected = (wins - alone) * (9 - bid) + alone * (9 - price)
        assert model(game, 8, bid, i, worlds[i])[1] == pytest.approx(expected, rel=1e-5)
        won = rewards[:, bids == bid] != 0
        assert_frequencies(won[:, 0].sum(), n_worlds, wins)
        assert_frequencies(won.sum(), won.size, wins)
    assert not rewards[:, 0].any()


# Sizes at the edge, the two kinds of horizon, and what is refused.


def test_one_bid():
    """All bid nothing: everybody wins 1/M of the time and pays nothing."""
    game = Auction(n_agents=6, n_bidders=3, n_bids=1, n_budgets=3, fulfilment=0.0, conversions=(6.0,))
    for budget in range(3):
        row, mean = model(game, budget, 0, 0, seen_in_the_limit(game, [1.0]))
        assert_allclose(row, point(3, budget), atol=1e-12)
        assert mean == pytest.approx(2.0)
    after, rewards = played(game, [0, 1, 2, 0, 1, 2], [0] * 6, 5000)
    assert_array_equal(after, np.tile([0, 1, 2, 0, 1, 2], (5000, 1)))
    assert_frequencies((rewards == 6).sum(axis=0), 5000, np.full(6, 1 / 3))


def test_one_budget():
    game = Auction(n_agents=3, n_bidders=3, n_bids=3, n_budgets=1, conversions=(6.0,), penalty=1.0)
    world = seen_in_the_limit(game, [0.0, 1.0, 0.0])
    for bid, expected in enumerate([0.0, 1.0, 3.0]):  # 6 - 1 - 2 * 1, a third of the time if tied
        row, mean = model(game, 0, bid, 0, world)
        assert_allclose(row, [1.0])
        assert mean == pytest.approx(expected)
    after, rewards = played(game, [0] * 3, [2, 1, 0], 100)
    assert (after == 0).all()
    assert_allclose(rewards, np.tile([3.0, 0.0, 0.0], (100, 1)))


def test_defaults_are_those_of_the_specification():
    game = Auction()
    assert (game.n_agents, game.n_states, game.n_actions, game.n_bidders) == (20, 10, 10, 5)
    assert (game.penalty, game.fulfilment, game.discount) == (0.2, 0.5, 0.8)
    assert game.conversions == (1.0, 2.0, 3.0, 4.0)
    assert type(mfenvs.make("Auction-v0")) is Auction
    assert game.agent_names[:2] == ["bidder_0", "bidder_1"]
    assert Auction(**game.describe()).describe() == game.describe()


def test_first_budgets_are_uniform():
    states = Engine(Auction(n_agents=100), 200).reset(seed=1)
    assert stats.chisquare(np.bincount(states.ravel(), minlength=10)).pvalue > 1e-8


def test_it_goes_on_for_ever():
    game = Auction(n_agents=4, n_bidders=3, n_budgets=4, n_bids=5, horizon=2)
    assert game.is_infinite
    assert game.policy_shape == (1, 4, 5)
    assert game.n_features == 4
    parallel = mfenvs.parallel_env(game)
    observations, _ = parallel.reset(seed=0)
    for last in (False, True):
        assert all(x.shape == (4,) and sorted(x) == [0, 0, 0, 1] for x in observations.values())
        observations, _, terminations, truncations, _ = parallel.step(dict.fromkeys(parallel.agents, 1))
        assert set(terminations.values()) == {False}
        assert set(truncations.values()) == {last}
    rewards = Engine(game, 5).rollout(np.full((1, 4, 5), 0.2), seed=1)
    assert_allclose(rewards.returns, rewards.rewards[:, 0] + 0.8 * rewards.rewards[:, 1], rtol=1e-5, atol=1e-6)


def test_without_a_discount_it_ends():
    game = Auction(n_agents=4, n_bidders=3, n_budgets=4, n_bids=5, horizon=2, discount=1.0)
    assert not game.is_infinite
    assert game.policy_shape == (2, 4, 5)
    assert game.n_features == 5
    parallel = mfenvs.parallel_env(game)
    observations, _ = parallel.reset(seed=0)
    for t in (0, 1):
        assert all(x.shape == (5,) and x[4] == t / 2 for x in observations.values())
        observations, _, terminations, truncations, _ = parallel.step(dict.fromkeys(parallel.agents, 1))
        assert set(terminations.values()) == {t == 1}
        assert set(truncations.values()) == {False}
    flow = InducedGame(game).flow(np.full((2, 4, 5), 0.2))
    assert flow.mu.shape == (2, 4, 5)
    assert_allclose(flow.mu[0], 1 / 20)
    assert_allclose(flow.mu[1].sum(axis=1), np.einsum("sa,sat->t", flow.mu[0], flow.transitions[0]))


@pytest.mark.parametrize(
    ("constants", "error", "message"),
    [
        ({"n_budgets": 0}, ValueError, r"n_budgets must be an integer >= 1, got 0"),
        ({"n_budgets": 2.5}, TypeError, r"n_budgets must be an integer >= 1, got 2.5"),
        ({"n_bids": 0}, ValueError, r"n_bids must be an integer >= 1, got 0"),
        ({"n_bids": "3"}, TypeError, r"n_bids must be an integer >= 1, got '3'"),
        ({"n_bidders": 1}, ValueError, r"n_bidders must be an integer in \[2, 20\], got 1"),
        ({"n_bidders": 21}, ValueError, r"n_bidders must be an integer in \[2, 20\], got 21"),
        (
            {"n_agents": 1000, "n_bidders": MOST_BIDDERS + 1},
            ValueError,
            rf"n_bidders must be an integer in \[2, {MOST_BIDDERS}\], got {MOST_BIDDERS + 1}",
        ),
        ({"penalty": -0.1}, ValueError, r"penalty must be a finite number in \[0, 1e\+09\], got -0.1"),
        ({"penalty": math.nan}, ValueError, r"penalty must be a finite number in \[0, 1e\+09\], got nan"),
        ({"fulfilment": 1.1}, ValueError, r"fulfilment must be a finite number in \[0, 1\], got 1.1"),
        ({"fulfilment": -0.1}, ValueError, r"fulfilment must be a finite number in \[0, 1\], got -0.1"),
        ({"heterogeneity": 1.1}, ValueError, r"heterogeneity must be a finite number in \[0, 1\], got 1.1"),
        ({"conversions": ()}, ValueError, r"conversions must be a sequence of at least one number"),
        ({"conversions": 3.0}, TypeError, r"conversions must be a sequence of at least one number, got 3.0"),
        ({"conversions": (math.inf,)}, ValueError, r"conversions\[0\] must be a finite number .* got inf"),
        ({"conversions": (1, "a")}, TypeError, r"conversions\[1\] must be a finite number .* got 'a'"),
        ({"discount": 0.0}, ValueError, r"discount must be a finite number in \(0, 1\], got 0.0"),
        ({"discount": 1.5}, ValueError, r"discount must be a finite number in \(0, 1\], got 1.5"),
        ({"n_agents": 1}, ValueError, r"n_agents must be an integer in \[2, 16777216\], got 1"),
        ({"horizon": 0}, ValueError, r"horizon must be an integer >= 1, got 0"),
    ],
)
def test_constants_that_are_not_allowed(constants, error, message):
    with pytest.raises(error, match=message):
        Auction(**constants)


def test_budgets_are_ordered():
    assert np.array_equal(Auction(n_budgets=5).state_levels, [[0.0], [0.25], [0.5], [0.75], [1.0]])
    assert np.array_equal(Auction(n_budgets=1).state_levels, [[0.0]])
