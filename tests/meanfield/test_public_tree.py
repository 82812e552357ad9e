"""Common noise of finite games: the tree of public histories, flows and adapted best responses."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import weather
from oracles import random_policy
from weather import MOVES, Weather

from mfenvs import Engine, FiniteGame, InducedGame, PublicChain, crowd, public_state, rule, solve
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.monotonicity import monotonicity
from mfenvs.meanfield.public_tree import public_tree
from mfenvs.peers.handed_over import HandedOver
from mfenvs.public_chain import ChainTables

MIXED = (0.6, 0.4)


def table_policy(tree, table):
    """A policy of the nodes (T, W S, A) as a function of the history."""
    by_node = table.reshape(tree.horizon, tree.width, -1, table.shape[-1])
    return lambda history: by_node[len(history) - 1, tree.node(history)]


def masked(policy, tree):
    """A random policy without the actions that are not allowed."""
    found = policy.reshape(tree.horizon, tree.width, 2, 2).copy()
    found[tree.states == weather.BAD, 0] = [1.0, 0.0]
    return found.reshape(policy.shape)


def test_histories_are_those_of_positive_probability():
    chain = PublicChain([0.5, 0.5, 0.0], [[0, 1, 0], [0.5, 0, 0.5], [0, 0, 1]])
    tree = public_tree(chain, 4)
    listed = weather.histories(chain.initial, chain.transition[0], 4)
    assert tree.n_nodes == sum(map(len, listed)) == 2 + 3 + 4 + 5
    for time, layer in enumerate(listed):
        found = {tree.history(time, int(n)): tree.probability[time, n] for n in np.flatnonzero(tree.exists[time])}
        assert found == pytest.approx(layer)
        assert all(
            tree.node(history) == n
            for n in np.flatnonzero(tree.exists[time])
            for history in [tree.history(time, int(n))]
        )
    with pytest.raises(ValueError, match=r"history must be possible, got \[0, 2\], which ends at time 1"):
        tree.node([0, 2])
    with pytest.raises(ValueError, match="no node 2 at time 0"):
        tree.history(0, 2)


def test_a_tree_is_shown_in_a_line():
    tree = public_tree(PublicChain([0.5, 0.5], [[0.5, 0.5], [0.0, 1.0]]), 3)
    assert repr(tree) == "PublicTree(horizon=3, n_public_states=2, n_nodes=9, width=4)"


def test_deterministic_stretches_add_no_nodes():
    """A public state that goes round a ring of 5 from one of two places, and one fork, at time 3."""
    ring = np.roll(np.eye(5), 1, axis=1)
    fork = ring.copy()
    fork[3] = [0.5, 0, 0, 0, 0.5]
    assert public_tree(PublicChain([1, 0, 0, 0, 0], ring), 40).n_nodes == 40
    assert public_tree(PublicChain([1, 0, 0, 0, 0], [ring] * 3 + [fork] + [ring] * 5), 10).n_nodes == 4 + 2 * 6


def test_flow_and_value_are_those_of_the_description():
    for first, horizon in (((1.0, 0.0), 4), (MIXED, 3)):
        game = Weather(first=first, horizon=horizon)
        induced = InducedGame(game)
        tree = induced.tree
        for seed in range(3):
            policy = masked(random_policy(np.random.default_rng(seed), *induced.policy_shape), tree)
            laws, problem = weather.flow(table_policy(tree, policy), first, MOVES, horizon)
            found = induced.flow(policy)
            mu = found.mu.reshape(horizon, tree.width, 2, 2)
            rewards = found.rewards.reshape(mu.shape)
            for layer in weather.histories(first, MOVES, horizon):
                for history, chance in layer.items():
                    here = len(history) - 1, tree.node(history)
                    np.testing.assert_allclose(mu[here], chance * laws[history], atol=1e-14)
                    np.testing.assert_allclose(rewards[here], problem[history][1], atol=1e-14)
            assert mu[~tree.exists].sum() == 0.0
            own = weather.value(table_policy(tree, policy), problem, first, MOVES, horizon)
            assert induced.value(policy) == pytest.approx(own, abs=1e-13)


@pytest.mark.parametrize(("first", "horizon"), [((1.0, 0.0), 3), (MIXED, 2)])
def test_best_response_is_the_best_of_all_adapted_policies(first, horizon):
    """Every adapted deterministic policy is tried: up to 2^14 of them."""
    induced = InducedGame(Weather(first=first, horizon=horizon))
    tree = induced.tree
    policy = masked(random_policy(np.random.default_rng(7), *induced.policy_shape), tree)
    _, problem = weather.flow(table_policy(tree, policy), first, MOVES, horizon)
    rows = [
        (history, state)
        for layer in weather.histories(first, MOVES, horizon)
        for history in layer
        for state in range(2)
    ]
    choices = [[a for a in range(2) if weather.is_allowed(history, state, a)] for history, state in rows]
    best = -np.inf
    actions = np.eye(2)
    where = {row: k for k, row in enumerate(rows)}
    for chosen in itertools.product(*choices):
        tried = weather.value(
            lambda history, chosen=chosen: actions[[chosen[where[history, s]] for s in range(2)]],
            problem,
            first,
            MOVES,
            horizon,
        )
        best = max(best, tried)
    flow = induced.flow(policy)
    assert induced.response_values(policy, flow)[0] == pytest.approx(best, abs=1e-12)
    assert induced.value(induced.best_response(flow), flow) == pytest.approx(best, abs=1e-12)
    assert induced.exploitability(policy) == pytest.approx(best - induced.value(policy), abs=1e-12)


class PlainConstants(NamedTuple):
    crowding: float
    period: int


@dataclasses.dataclass(kw_only=True)
class Scheduled(Weather):
    """Weather without a chain: bad in every ``period``-th step, as its ``aggregate`` tells by the time."""

    period: int = 2

    public_chain = None
    allowed = None

    @property
    def constants(self):
        return PlainConstants(self.crowding, self.period)

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        signal[0] = crowd(world, 1) + crowd(world, 3)
        signal[1] = 1.0 if world.time % world.constants.period == world.constants.period - 1 else 0.0


@dataclasses.dataclass(kw_only=True)
class Free(Weather):
    """Weather in which all actions are always allowed."""

    allowed = None


@pytest.mark.parametrize(
    ("first", "moves", "period"),
    [
        pytest.param((1.0,), ((1.0,),), 1000, marks=pytest.mark.slow),
        ((1.0, 0.0), ((0.0, 1.0), (1.0, 0.0)), 2),
    ],
)
def test_a_chain_without_chance_is_a_game_that_reads_the_time(first, moves, period):
    """A chain with one state is the plain game, and one that alternates is a game whose rules read the time."""
    noisy = InducedGame(Free(horizon=4, first=first, moves=moves))
    plain = InducedGame(Scheduled(horizon=4, period=period))
    assert noisy.tree is not None
    assert noisy.tree.width == len(first)
    exists = noisy.tree.exists
    rng = np.random.default_rng(2)
    for _ in range(3):
        policy = random_policy(rng, *plain.policy_shape)
        lifted = np.repeat(policy[:, None], len(first), axis=1)
        flow, same = plain.flow(policy), noisy.flow(lifted)
        on_path = same.mu.reshape(4, len(first), 2, 2)[exists]
        np.testing.assert_allclose(on_path, flow.mu, rtol=0, atol=1e-15)
        np.testing.assert_allclose(same.rewards.reshape(4, len(first), 2, 2)[exists], flow.rewards, atol=1e-14)
        assert noisy.exploitability(lifted) == pytest.approx(plain.exploitability(policy), abs=1e-13)


def test_histories_that_end_alike_have_populations_of_their_own():
    """Two histories that end in bad weather: their laws, and what is best there, differ. None may be merged."""
    induced = InducedGame(Weather(horizon=4))
    tree = induced.tree
    policy = masked(np.full(induced.policy_shape, 0.5), tree)
    mu = induced.flow(policy).mu.reshape(4, tree.width, 2, 2)
    laws = [mu[3, n] / tree.probability[3, n] for n in (tree.node((0, 0, 0, 1)), tree.node((0, 1, 1, 1)))]
    assert np.abs(laws[0] - laws[1]).max() > 0.01


def test_policies_by_public_state_are_lifted_to_the_nodes():
    game = Weather(horizon=4)
    induced = InducedGame(game)
    tree = induced.tree
    table = random_policy(np.random.default_rng(3), 4, 2, 2, 2)
    table[:, 1, 0] = [1.0, 0.0]
    nodes = induced.policy("policy", table).reshape(4, tree.width, 2, 2)
    for time, node in np.argwhere(tree.exists):
        assert np.array_equal(nodes[time, node], table[time, tree.history(time, node)[-1]])
    for form in (table.reshape(game.policy_shape), nodes.reshape(induced.policy_shape)):
        assert induced.value(form) == induced.value(table)
    flow = induced.flow(table)
    back, distance = tree.by_public_state(nodes.reshape(induced.policy_shape), flow.mu)
    assert distance < 1e-15
    reached = np.ones((4, 2, 1, 1), bool)
    reached[0, 1] = False  # The weather is good at first.
    np.testing.assert_allclose(np.where(reached, back, 0.5), np.where(reached, table, 0.5), atol=1e-15)
    one_node = nodes.copy()
    node = tree.node((0, 1, 1))
    one_node[2, node, 1] = [1.0, 0.0]
    moved = one_node.reshape(induced.policy_shape)
    there = induced.flow(moved).mu.reshape(nodes.shape).sum(axis=-1)
    _, distance = tree.by_public_state(moved, induced.flow(moved).mu)
    others = [n for n in np.flatnonzero(tree.states[2] == 1) if n != node]
    shares = there[2, [node, *others], 1]
    assert distance == pytest.approx(2 * table[2, 1, 1, 1] * max(shares[0], shares[1]) / shares.sum(), abs=1e-12)
    with pytest.raises(ValueError, match="policy must be one policy for all"):
        induced.policy("policy", np.stack([table.reshape(game.policy_shape)] * 50))


def test_simulated_populations_are_those_of_their_history():
    """The mean law of 20 000 agents in the worlds with a history is that of its node, within 6 standard errors."""
    n, n_worlds = 20_000, 40
    game = Weather(n_agents=n, horizon=3)
    induced = InducedGame(game)
    tree = induced.tree
    table = np.array([0.8, 0.3, 0.6, 0.1]).reshape(1, 2, 2, 1) * np.array([[1.0], [0.9], [0.7]]).reshape(
        3, 1, 1, 1
    )
    table = np.concatenate([1.0 - table, table], axis=-1)
    table[:, 1, 0] = [1.0, 0.0]
    mu = induced.flow(table).mu.reshape(3, tree.width, 2, 2)
    run = Engine(game, n_worlds).rollout(table, seed=11)
    seen = 0
    for time, node in np.argwhere(tree.exists):
        history = tree.history(time, node)
        same = (run.public_states[:, : time + 1] == history).all(axis=1)
        if not same.any():
            continue
        seen += 1
        shares = run.counts[same, time].reshape(-1, 2, 2) / n
        law = mu[time, node] / tree.probability[time, node]
        # Noise of earlier steps moves the law too; it is damped, as probabilities change by .3 at most.
        error = 2.0 * np.sqrt(0.25 / (n * same.sum()))
        np.testing.assert_allclose(shares.mean(axis=0), law, rtol=0, atol=6 * error + 2 / n)
    assert seen == 7
    earned = run.returns.mean(axis=1)
    values = dict(zip(map(tuple, run.public_states.tolist()), earned, strict=True))
    laws, problem = weather.flow(table_policy(tree, induced.policy("policy", table)), (1.0, 0.0), MOVES, 3)
    for history, found in values.items():
        exact = sum((laws[history[: h + 1]] * problem[history[: h + 1]][1]).sum() for h in range(3))
        assert abs(found - exact) < 0.05


class CrowdConstants(NamedTuple):
    public_chain: ChainTables
    reach: float


@dataclasses.dataclass(kw_only=True)
class Counted(FiniteGame):
    """A game with branches whose agents have weights and count in two cells by a rule ``count``."""

    n_agents: int = 20
    horizon: int = 2

    agent_dtype = np.dtype([("size", np.float32)])
    n_states = 3
    n_actions = 2
    n_branches = 2
    n_cells = 2
    n_signals = 1
    public_chain = PublicChain([0.5, 0.5], [[0.25, 0.75], [0.5, 0.5]])

    def draw_agents(self, rng):
        return np.tile(np.float32([1.0, 3.0]), self.n_agents // 2).view(self.agent_dtype)

    @property
    def constants(self):
        return CrowdConstants(self.public_chain.tables, 0.5)

    @staticmethod
    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        counts[0] += mass * agent.size * state
        counts[1] += mass * action * (2.0 if public_state(world) == 1 else 1.0)

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        ahead = world.constants.reach * crowd(world, 1) / (2.0 + public_state(world))
        return (state + action + k) % 3, ahead if k == 1 else 1.0 - ahead

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return crowd(world, 0) * (1.0 - 2.0 * public_state(world)) - 0.1 * action * agent.size


@pytest.mark.slow
def test_games_that_count_in_their_own_way():
    """Hand-worked: the mean size is 2, agents begin uniformly in states 0, 1, 2 and play 1 with probability .5."""
    induced = InducedGame(Counted())
    flow = induced.flow(induced.uniform_policy())
    tree = induced.tree
    rewards = flow.rewards.reshape(2, tree.width, 3, 2)
    good, bad = tree.node((0,)), tree.node((1,))
    # Count 0 is 2 x 1, the mean state; count 1 is .5 in the state 0 and 1 in the state 1.
    np.testing.assert_allclose(rewards[0, good], [[2.0, 1.8]] * 3)
    np.testing.assert_allclose(rewards[0, bad], [[-2.0, -2.2]] * 3)
    transitions = flow.dense().transitions.reshape(2, tree.width, 3, 2, tree.width, 3)
    for node, z, ahead in ((good, 0, 0.5 * 0.5 / 2), (bad, 1, 0.5 * 1.0 / 3)):
        for then, chance in enumerate(Counted.public_chain.transition[0, z]):
            row = transitions[0, node, 1, 1, tree.node((z, then))]
            np.testing.assert_allclose(row, [chance * ahead, 0.0, chance * (1 - ahead)], atol=1e-15)
    assert induced.exploitability(induced.uniform_policy()) == pytest.approx(0.2 * 0.5 * 2)


@dataclasses.dataclass(kw_only=True)
class Weighted(Counted):
    """Agents are counted by state, with their sizes as weights, and go where they choose."""

    count = None
    n_cells = 3

    @staticmethod
    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        return state

    @staticmethod
    @rule
    def weight(state: Any, action: Any, agent: Any) -> Any:
        return agent.size if state < 2 else 2.0 * agent.size

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return action + public_state(world), 1.0 if k == 0 else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return crowd(world, state)


@pytest.mark.slow
def test_games_that_count_by_cells_and_weights():
    """Hand-worked: sizes are 2 on average, in the state 2 agents count twice, and all mix both actions."""
    induced = InducedGame(Weighted())
    tree = induced.tree
    rewards = induced.flow(induced.uniform_policy()).rewards.reshape(2, tree.width, 3, 2)[..., 0]
    for z in (0, 1):
        np.testing.assert_allclose(rewards[0, tree.node((z,))], [2 / 3, 2 / 3, 4 / 3])
        for then in (0, 1):
            found = rewards[1, tree.node((z, then))]
            np.testing.assert_allclose(found, [1.0, 1.0, 0.0] if z == 0 else [0.0, 1.0, 2.0], atol=1e-15)


@pytest.mark.slow
def test_branches_that_lead_nowhere_are_refused():
    @dataclasses.dataclass(kw_only=True)
    class Lost(Counted):
        @staticmethod
        @rule
        def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
            return state + 3 * public_state(world), 1.0 if k == 0 else 0.0

    with pytest.raises(ValueError, match="branch must return a next_state"):
        InducedGame(Lost())


@pytest.mark.slow
def test_solve_finds_the_equilibrium_on_the_tree():
    found = solve(Weather(horizon=4), tolerance=1e-8, seconds=60)
    assert found.is_solved
    induced = InducedGame(Weather(horizon=4))
    assert found.policy.shape == induced.policy_shape
    assert induced.exploitability(found.policy) <= 1e-8
    assert found.public_policy is not None
    assert found.public_policy.shape == (4, 2, 2, 2)
    assert found.public_exploitability == pytest.approx(induced.exploitability(found.public_policy), abs=1e-12)
    # The history matters in this game: the population that it has led to is another one.
    assert found.public_exploitability > 1e-4


def test_what_looks_at_any_population_refuses_the_tree():
    induced = InducedGame(Weather())
    for look in (lipschitz_constants, monotonicity):
        with pytest.raises(TypeError, match=f"{look.__name__} looks at arbitrary populations"):
            look(induced)
    with pytest.raises(TypeError, match="handing over to MFGLib is for games without common noise"):
        HandedOver(Weather(), "MFGLib")


def test_game_on_the_tree_is_not_simulated():
    with pytest.raises(TypeError, match="is for the mean-field side: simulate its attribute game"):
        Engine(InducedGame(Weather()).game)


def test_trees_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match="at most 1048576 nodes, got 1099511627776 histories at a time"):
        InducedGame(Weather(first=MIXED, horizon=40))


@dataclasses.dataclass(kw_only=True)
class Pushed(Counted):
    """Where a branch leads depends on the crowd, and only populations, whose counts sum to 1, lead to states."""

    @staticmethod
    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        counts[0] += mass * state / 2
        counts[1] += mass

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return int(2.0 * crowd(world, 0)) + (1 if crowd(world, 1) > 1.5 else 0) * 3, 1.0 if k == action else 0.0


@pytest.mark.slow
def test_rules_are_asked_about_populations_only():
    """A node of small probability never seems to hold a crowd of its own; solving looks at random populations."""
    game = Pushed(horizon=3)
    assert solve(game, seconds=20).is_solved
