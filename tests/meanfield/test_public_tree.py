"""Common noise of finite games: the tree of public histories, flows and adapted best responses."""

import itertools

import numpy as np
import pytest
import weather
from oracles import random_policy
from weather import MOVES, Weather

from mfenvs import InducedGame, PublicChain
from mfenvs.meanfield.public_tree import public_tree

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
