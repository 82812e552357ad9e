"""Games with sparse transitions: by branches or by rows whose zeros are found, against dense ones and numpy."""

import dataclasses

import numpy as np
import pytest
from branching import ByBranches, ByRows, S, arrays, flow
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles import random_policy

from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import Engine, InducedGame
from mfenvs.meanfield import transition_tables

KINDS = [(kind, sparse) for kind in (ByBranches, ByRows) for sparse in (False, True)]
ALL = pytest.mark.parametrize(("kind", "sparse"), KINDS)


def plain_values(policy, p, r, choose):
    """Q by backward induction; ``choose`` maps Q (S, A) and the policy to V (S,)."""
    q = np.zeros(r.shape)
    ahead = np.zeros(S)
    for h in reversed(range(len(r))):
        q[h] = r[h] + p[h] @ ahead
        ahead = choose(q[h], policy[h])
    return q


@given(st.integers(0, 10**6), st.integers(0, 3))
def test_one_game_in_all_forms(seed, shift):
    rng = np.random.default_rng(seed)
    game = ByBranches(tables=seed, shift=shift)
    policy, other = random_policy(rng, 2, *game.policy_shape)
    mu, p, r = flow(game, policy)
    own = plain_values(policy, p, r, lambda q, law: (q * law).sum(axis=-1))
    best = plain_values(policy, p, r, lambda q, law: q.max(axis=-1))
    values = game.initial_distribution @ best[0].max(axis=-1), (mu[0] * own[0]).sum()
    for kind, sparse in KINDS:
        induced = InducedGame(kind(tables=seed, shift=shift), sparse=sparse)
        found = induced.flow(policy)
        assert (found.successors is not None) == sparse == induced.is_sparse
        assert_allclose(found.mu, mu, atol=1e-14)
        assert_allclose(found.rewards, r, atol=1e-14)
        assert_allclose(found.dense().transitions, p, atol=1e-14)
        assert_allclose(induced.evaluate(policy, found), own, atol=1e-13)
        assert_allclose(induced.evaluate(policy, found.dense()), own, atol=1e-13)
        assert_allclose(induced.optimal_q(found), best, atol=1e-13)
        assert induced.exploitability(policy) == pytest.approx(values[0] - values[1], abs=1e-13)
        assert induced.response_values(policy, found) == pytest.approx(values, abs=1e-13)
        for time in range(game.horizon):
            assert_allclose(induced.arrays(mu[time], time)[0], p[time], atol=1e-14)
        assert_allclose(induced.frozen(mu).dense().transitions, p, atol=1e-14)
        assert_allclose(induced.next_population(other, mu), flow(game, other)[0], atol=1e-14)


@ALL
def test_discounted(kind, sparse):
    """Values, the stationary law and one step of the population, by linear equations in numpy."""
    gamma, rng = 0.9, np.random.default_rng(7)
    game = kind(tables=3, discount=gamma)
    induced, policy = InducedGame(game, sparse=sparse), random_policy(rng, *game.policy_shape)
    found = induced.flow(policy)
    p, r = arrays(game, found.mu[0])
    law = found.mu[0].sum(axis=1)
    moves = np.einsum("sa,sat->st", policy[0], p)
    assert_allclose(law @ moves, law, atol=1e-12)
    assert_allclose(found.mu[0], law[:, None] * policy[0])
    assert_allclose(found.dense().transitions[0], p, atol=1e-14)
    v = np.linalg.solve(np.eye(S) - gamma * moves, (policy[0] * r).sum(axis=1))
    assert_allclose(induced.evaluate(policy, found)[0], r + gamma * p @ v, atol=1e-12)
    best = np.zeros(S)
    for _ in range(1000):
        best = (r + gamma * p @ best).max(axis=1)
    assert_allclose(induced.optimal_q(found)[0], r + gamma * p @ best, atol=1e-12)
    assert induced.exploitability(policy) == pytest.approx(game.initial_distribution @ (best - v), abs=1e-12)
    mu, other = random_policy(rng, 1, 2 * S).reshape(game.policy_shape), random_policy(rng, *game.policy_shape)
    after = np.einsum("sa,sat->t", mu[0].sum(axis=1)[:, None] * other[0], arrays(game, mu[0])[0])
    assert_allclose(induced.next_population(other, mu)[0], after[:, None] * other[0], atol=1e-14)


def all_in_zero(game):
    """A policy under which the first crowd is as large as it can be, and the later ones are not."""
    policy = np.full(game.policy_shape, 0.5)
    policy[0] = [1.0, 0.0]
    return policy


@pytest.mark.parametrize("shift", [0, 2])
@ALL
def test_successors_that_only_a_crowd_makes_possible(kind, sparse, shift):
    """The populations at which successors are searched at first do not show them; tables then grow."""
    game = kind(tables=11, crowd=0.9, first=0, shift=shift)
    induced, policy = InducedGame(game, sparse=sparse), all_in_zero(game)
    kept = induced.flow(induced.uniform_policy()).transitions.shape[-1]
    mu, p, r = flow(game, policy)
    found = induced.flow(policy)
    assert_allclose(found.dense().transitions, p, atol=1e-14)
    assert_allclose(found.mu, mu, atol=1e-14)
    own = plain_values(policy, p, r, lambda q, law: (q * law).sum(axis=-1))
    best = plain_values(policy, p, r, lambda q, law: q.max(axis=-1))
    expected = best[0, 0].max() - own[0, 0, 0]
    assert InducedGame(game, sparse=sparse).exploitability(policy) == pytest.approx(expected, abs=1e-13)
    if sparse and kind is ByRows:
        assert kept == 1
        assert 1 < found.transitions.shape[-1] <= S
    # What was found is remembered, and costs nothing where it is impossible.
    again = induced.flow(induced.uniform_policy())
    assert_allclose(again.dense().transitions, flow(game, induced.uniform_policy())[1], atol=1e-14)


@pytest.mark.parametrize(
    ("solver", "options"),
    [(OnlineMirrorDescent, {"learning_rate": 0.3}), pytest.param(FictitiousPlay, {}, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("kind", [pytest.param(ByBranches, marks=pytest.mark.slow), ByRows])
def test_tables_grow_within_the_iterations_of_a_solver(kind, solver, options, monkeypatch):
    """Action 0 pays 2.5 more in state 0: the crowd there passes .6 after some iterations, not at the first."""
    game = kind(tables=17, crowd=0.6, first=0, shift=2)
    dense = solver(game, **options)
    dense.run(12)
    for kinds in ("", "_BRANCHES"):
        monkeypatch.setattr(transition_tables, f"MOST_STATES_OF_DENSE{kinds}", 0)
    monkeypatch.setattr(transition_tables, "FEW_SUCCESSORS", 0.9)
    sparse = solver(game, **options)
    assert sparse.induced.is_sparse
    assert not dense.induced.is_sparse
    kept = sparse._work[1].transitions.shape[-1]
    sparse.run(1)
    assert sparse._work[1].transitions.shape[-1] == kept
    sparse.run(11)
    assert sparse._work[1].transitions.shape[-1] > kept
    assert_allclose(sparse.policy.probabilities, dense.policy.probabilities, atol=1e-9)


@pytest.mark.slow
def test_agents_are_simulated_alike():
    """With branches in the order of their states the same draws lead to the same states."""
    for seed in range(3):
        by_branches, by_rows = (kind(tables=seed, in_order=True, n_agents=40) for kind in (ByBranches, ByRows))
        policy = random_policy(np.random.default_rng(seed), *by_rows.policy_shape)
        runs = [Engine(game, 3).rollout(policy, seed=seed) for game in (by_branches, by_rows)]
        assert_array_equal(runs[0].states, runs[1].states)
        assert_array_equal(runs[0].rewards, runs[1].rewards)


def test_simulated_agents_follow_the_rows():
    """Frequencies of next states, with several branches to one state: 5.5 standard errors (4e-8 each)."""
    game = ByBranches(tables=5, n_agents=20_000, horizon=1, first=2)
    policy = np.full(game.policy_shape, 0.5)
    run = Engine(game).rollout(policy, seed=3)
    (p, _), share = arrays(game, np.zeros((S, 2))), 0
    for action in range(2):
        after = run.states[0, 1][run.actions[0, 0] == action]
        share = np.bincount(after, minlength=S) / len(after)
        error = np.sqrt(p[2, action] * (1 - p[2, action]) / len(after))
        assert (np.abs(share - p[2, action]) <= 5.5 * error + 1e-6).all()


class TestErrors:
    @pytest.mark.parametrize("sparse", [False, True])
    @pytest.mark.parametrize(("beyond", "value"), [(100, r"10\d"), (-100, r"-\d+")])
    def test_a_branch_to_no_state(self, beyond, value, sparse):
        with pytest.raises(
            ValueError, match=rf"ByBranches.branch must return a next_state in \[0, 4\], got {value}"
        ):
            InducedGame(ByBranches(beyond=beyond), sparse=sparse)

    @pytest.mark.parametrize("sparse", [False, True])
    def test_a_branch_to_no_state_in_a_flow(self, sparse):
        game = ByBranches(tables=11, crowd=0.9, first=0, beyond=100)
        induced = InducedGame(game, sparse=sparse)
        for call in (induced.flow, induced.exploitability):
            with pytest.raises(
                ValueError, match=r"got 10\d for branch 0 in state 0 with action 0 at time 0, for an agent with"
            ):
                call(all_in_zero(game))
        assert induced.exploitability(induced.uniform_policy()) >= 0.0

    @ALL
    def test_rows_that_are_wrong_for_single_agents_only(self, kind, sparse):
        what = "branch" if kind is ByBranches else "transition"
        with pytest.raises(
            ValueError, match=rf"{kind.__name__}.{what} must return probabilities .* for an agent with parameters"
        ):
            InducedGame(kind(leak=0.1), sparse=sparse)

    @pytest.mark.slow
    def test_a_simulated_branch_to_no_state(self):
        game = ByBranches(tables=11, crowd=0.9, first=0, beyond=100)
        engine, policy = Engine(game, 2), all_in_zero(game)
        engine.reset(0)
        message = (
            r"the rule branch of ByBranches must return states in \[0, 4\], which it does not for agent \d in"
        )
        for call in (
            lambda: engine.step(np.zeros((2, 6), int)),
            lambda: engine.rollout(policy, seed=0),
        ):
            with pytest.raises(ValueError, match=message + " state 0 with action 0 at time 0 of world 0"):
                call()
        assert (engine.states == 0).all()
        checked = Engine(game, debug=True)
        checked.reset(0)
        with pytest.raises(
            ValueError, match=r"got 10\d for branch 0 for agent 1 in state 0 with action 0 at time 0"
        ):
            checked.step(np.zeros((1, 6), int))
        checked = Engine(ByBranches(leak=0.1, first=0), debug=True)
        checked.reset(0)
        with pytest.raises(ValueError, match=r"sum to 1 over the branches, got a sum of 1\.02\d* for agent 0 in"):
            checked.step(np.ones((1, 6), int))

    def test_flows_of_others(self):
        induced = InducedGame(ByBranches(), sparse=True)
        found = induced.flow(induced.uniform_policy())
        outside = found.successors.copy()
        outside[1, 2, 1, 0] = S
        with pytest.raises(ValueError, match=r"flow.successors must be states in \[0, 4\], got 0 to 5"):
            induced.best_response(dataclasses.replace(found, successors=outside))
        with pytest.raises(ValueError, match=r"flow.successors must be None or int32 of the shape"):
            induced.best_response(dataclasses.replace(found, successors=outside.astype(np.int64)))

    def test_declarations(self):
        class Both(ByBranches):
            transition = ByRows.transition

        class Missing(ByRows):
            n_branches = 3

        with pytest.raises(TypeError, match="must declare the rule branch or the rule transition, not both"):
            Both()
        with pytest.raises(TypeError, match="declares n_branches 3 and must declare the rule branch"):
            Missing()
        for wrong, error in ((0, ValueError), (2.0, TypeError), (2**21, ValueError)):
            kind = type("Wrong", (ByBranches,), {"n_branches": wrong})
            with pytest.raises(error, match="n_branches"):
                kind()
