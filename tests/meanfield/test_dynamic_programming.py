"""Backward induction against enumeration on small random decision problems."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from oracles import deterministic_policies, random_policy, value

from mfenvs.meanfield.dynamic_programming import (
    best_response_kernel,
    entropy,
    evaluate_kernel,
    gap,
    soft_maximum,
    solve_each,
)

H, S, A = 2, 2, 3
problems = st.integers(0, 10**6).map(lambda seed: problem(np.random.default_rng(seed)))


def problem(rng, *n):
    """Policy, P, R, rho_0."""
    return (
        random_policy(rng, *n, H, S, A),
        random_policy(rng, *n, H, S, A, S),
        rng.normal(size=(*n, H, S, A)),
        random_policy(rng, S),
    )


def plain_q(policy, p, r, temperature):
    """Q^{tau,pi}_h(s, a) by recursion over trajectories (003, Definition 9)."""

    def q(h, s, a):
        law = policy[h, s]
        bonus = -temperature * sum(x * math.log(x) for x in law if x > 0)
        after = 0.0
        if h + 1 < H:
            after = sum(p[h, s, a, t] * policy[h + 1, t, b] * q(h + 1, t, b) for t in range(S) for b in range(A))
        return r[h, s, a] + bonus + after

    return np.array([[[q(h, s, a) for a in range(A)] for s in range(S)] for h in range(H)])


@given(problems, st.sampled_from([0.0, 0.5]))
def test_evaluation(given_problem, temperature):
    policy, p, r, _ = given_problem
    q = np.full(r.shape, np.nan)
    evaluate_kernel(policy, p, r, temperature, q)
    assert_allclose(q, plain_q(policy, p, r, temperature), atol=1e-12)


@given(problems)
def test_the_best_of_all_deterministic_policies(given_problem):
    policy, p, r, initial = given_problem
    q, found = np.empty(r.shape), np.empty(r.shape)
    best, own = gap(policy, initial, p, r, 0.0, q)
    everything = [value(initial, other, p, r) for other in deterministic_policies(H, S, A)]
    assert best == pytest.approx(max(everything), abs=1e-12)
    assert own == pytest.approx(value(initial, policy, p, r), abs=1e-12)
    best_response_kernel(p, r, 0.0, q, found)
    assert value(initial, found, p, r) == pytest.approx(best, abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([1, 4]))
def test_many_problems_at_once(seed, copies):
    """One policy for all or each its own; only the asked agents are written."""
    rng = np.random.default_rng(seed)
    policies, p, r, _ = problem(rng, 4)
    policies = policies[:copies]
    own, best = np.full((4, H + 1, S), np.nan), np.full((4, H + 1, S), np.nan)
    answers = np.full(r.shape, np.nan)
    solve_each(policies, p, r, own, best, answers, np.empty(r.shape[1:]), 1, 4)
    assert np.isnan(own[0]).all()
    assert np.isnan(answers[0]).all()
    for i in range(1, 4):
        for s in range(S):
            start = np.eye(S)[s]
            everything = [value(start, other, p[i], r[i]) for other in deterministic_policies(H, S, A)]
            assert best[i, 0, s] == pytest.approx(max(everything), abs=1e-12)
            assert value(start, answers[i], p[i], r[i]) == pytest.approx(max(everything), abs=1e-12)
            assert own[i, 0, s] == pytest.approx(value(start, policies[i % copies], p[i], r[i]), abs=1e-12)
        assert (own[i, H] == 0).all()
        assert (best[i, H] == 0).all()


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6), st.floats(1e-3, 10))
def test_soft_maximum_is_the_maximum_over_laws(values, temperature):
    """Its maximiser is the softmax; the bound is |softmax - max| <= tau log n."""
    values = np.array(values)
    found = soft_maximum(values, temperature)
    law = np.exp((values - values.max()) / temperature)
    law /= law.sum()
    assert found == pytest.approx(law @ values + temperature * entropy(law), abs=1e-9)
    assert values.max() - 1e-9 <= found <= values.max() + temperature * math.log(len(values)) + 1e-9
    assert soft_maximum(values, 0.0) == values.max()


def test_entropy_in_nats():
    assert entropy(np.array([0.5, 0.5, 0.0])) == pytest.approx(math.log(2))
    assert entropy(np.array([0.0, 1.0])) == 0.0


def test_huge_and_tiny_temperatures_stay_finite():
    p, r = np.full((H, S, A, S), 0.5), np.arange(H * S * A, dtype=float).reshape(H, S, A) * 100
    q, policy = np.empty(r.shape), np.empty(r.shape)
    for temperature, expected in ((1e-8, np.eye(A)[2]), (1e10, np.full(A, 1 / 3))):
        best_response_kernel(p, r, temperature, q, policy)
        assert_allclose(policy, np.broadcast_to(expected, policy.shape), atol=1e-6)


def test_ties_go_to_the_lowest_action():
    q, policy = np.empty((H, S, A)), np.empty((H, S, A))
    best_response_kernel(np.full((H, S, A, S), 0.5), np.zeros((H, S, A)), 0.0, q, policy)
    assert_allclose(policy, np.broadcast_to([1.0, 0.0, 0.0], policy.shape))
