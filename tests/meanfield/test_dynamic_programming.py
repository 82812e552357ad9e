"""Dynamic programming against enumeration and linear algebra on small random decision problems."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles import best_forever, deterministic_policies, forever, random_policy, value

from mfenvs.meanfield.bellman import entropy, soft_maximum
from mfenvs.meanfield.dynamic_programming import best_response_kernel, evaluate_kernel, gap, value_scratch
from mfenvs.meanfield.many_problems import answer_each, solve_each

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


def dense(p):
    """A table of all states."""
    return p, None


def sparse(p):
    """The same as a sparse table: successors in another order, half of each mass twice, and room left over."""
    half, other = 0.5 * p[..., ::-1], 0.25 * p
    states = np.broadcast_to(np.arange(S)[::-1], p.shape)
    successors = np.concatenate([states, states[..., ::-1], states[..., ::-1], 0 * states], axis=-1)
    return np.concatenate([half, other, other, 0 * p], axis=-1), successors.astype(np.int32)


forms = st.sampled_from([dense, sparse])


def scratch_for(form, discount):
    return np.full_like(value_scratch(S, discount, is_sparse=form is sparse), np.nan)


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


@given(problems, forms, st.sampled_from([0.0, 0.5]))
def test_evaluation(given_problem, form, temperature):
    policy, p, r, _ = given_problem
    q = np.full(r.shape, np.nan)
    evaluate_kernel(policy, *form(p), r, temperature, 1.0, q, scratch_for(form, 1.0))
    assert_allclose(q, plain_q(policy, p, r, temperature), atol=1e-12)


@given(problems, forms)
def test_the_best_of_all_deterministic_policies(given_problem, form):
    policy, p, r, initial = given_problem
    q, found = np.empty(r.shape), np.empty(r.shape)
    best, own = gap(policy, initial, *form(p), r, None, 0.0, 1.0, q, scratch_for(form, 1.0))
    everything = [value(initial, other, p, r) for other in deterministic_policies(H, S, A)]
    assert best == pytest.approx(max(everything), abs=1e-12)
    assert own == pytest.approx(value(initial, policy, p, r), abs=1e-12)
    best_response_kernel(*form(p), r, None, 0.0, 1.0, q, scratch_for(form, 1.0), found)
    assert value(initial, found, p, r) == pytest.approx(best, abs=1e-12)


def value_of(s, policy, p, r, discount):
    return value(np.eye(S)[s], policy, p, r, discount)


@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 4]),
    st.sampled_from([1, H]),
    st.sampled_from([1.0, 0.6]),
    st.sampled_from([None, 1, 4]),
)
def test_many_problems_at_once(seed, copies, times, discount, masks):
    """One policy for all or each its own, stationary or not, masks likewise; only the asked agents are written."""
    rng = np.random.default_rng(seed)
    policies, p, r, _ = problem(rng, 4)
    policies = policies[:copies, :times]
    allowed = None
    if masks is not None:
        allowed = rng.random((masks, times, S, A)) < 0.6
        allowed[..., rng.integers(A)] = True
    own, best = np.full((4, H + 1, S), np.nan), np.full((4, H + 1, S), np.nan)
    answers = np.full(r.shape, np.nan)
    solve_each(policies, p, r, allowed, discount, own, best, answers, np.empty(r.shape[1:]), 1, 4)
    assert np.isnan(own[0]).all()
    assert np.isnan(answers[0]).all()
    at_once = np.full(r.shape, np.nan)
    answer_each(p, r, allowed, discount, at_once, np.empty(r.shape[1:]))
    assert_array_equal(at_once[1:], answers[1:])
    for i in range(1, 4):
        policy = np.broadcast_to(policies[i % copies], (H, S, A))
        may = np.broadcast_to(True if allowed is None else allowed[i % masks], (H, S, A))
        for h, s in np.ndindex(H, S):
            rest = p[i, h:], r[i, h:], discount
            others = [other for other in deterministic_policies(H - h, S, A) if not other[~may[h:]].any()]
            everything = [value_of(s, other, *rest) for other in others]
            assert best[i, h, s] == pytest.approx(max(everything), abs=1e-12)
            assert value_of(s, answers[i, h:], *rest) == pytest.approx(max(everything), abs=1e-12)
            assert own[i, h, s] == pytest.approx(value_of(s, policy[h:], *rest), abs=1e-12)
        assert (own[i, H] == 0).all()
        assert (best[i, H] == 0).all()


masks = st.integers(0, 10**6)


def random_mask(seed, n_times):
    """Which actions are allowed: at least one in every state."""
    mask = np.random.default_rng(seed).random((n_times, S, A)) < 0.5
    mask[..., 1] |= ~mask.any(axis=-1)
    return mask


@given(problems, forms, masks, st.sampled_from([1, H]))
def test_the_best_of_all_policies_by_allowed_actions(given_problem, form, seed, n_times):
    policy, p, r, initial = given_problem
    allowed = random_mask(seed, n_times)
    q, found = np.full(r.shape, np.nan), np.empty(r.shape)
    best_response_kernel(*form(p), r, allowed, 0.0, 1.0, q, scratch_for(form, 1.0), found)
    whole = np.broadcast_to(allowed, r.shape)
    others = [other for other in deterministic_policies(H, S, A) if (whole[other > 0]).all()]
    assert (whole[found > 0]).all()
    best = max(value(initial, other, p, r) for other in others)
    assert value(initial, found, p, r) == pytest.approx(best, abs=1e-12)
    assert gap(policy, initial, *form(p), r, allowed, 0.0, 1.0, q, scratch_for(form, 1.0))[0] == pytest.approx(
        best, abs=1e-12
    )
    best_response_kernel(*form(p), r, allowed, 0.5, 1.0, q, scratch_for(form, 1.0), found)
    assert (found[~whole] == 0).all()
    assert_allclose(found.sum(axis=-1), 1.0)
    assert (found[whole] > 0).all()


@given(problems, forms, masks)
def test_the_best_of_all_stationary_policies_by_allowed_actions(given_problem, form, seed):
    """Masked actions may as well cost more than all rewards together."""
    _, p, r, _ = (x[:1] for x in given_problem)
    allowed, discount = random_mask(seed, 1), 0.9
    fined = np.where(allowed, r, -1e4)
    q, found = np.full(r.shape, np.nan), np.empty(r.shape)
    best_response_kernel(*form(p), r, allowed, 0.0, discount, q, scratch_for(form, discount), found)
    expected = best_forever(p[0], fined[0], discount)
    assert (allowed[found > 0]).all()
    assert_allclose(q[0].max(axis=-1), expected, atol=1e-9)
    assert_allclose(forever(found[0], p[0], r[0], discount), expected, atol=1e-9)


discounts = st.sampled_from([1e-9, 0.3, 0.9, 0.99])


def settled(discount):
    """Sweeps end at changes of 1e-14 of values <= 5 / (1 - gamma): 1 / (1 - gamma) times that is left."""
    return 1e-12 + 5e-14 / (1 - discount) ** 2


@given(problems, forms, discounts, st.sampled_from([0.0, 0.5]))
def test_evaluation_for_ever_solves_the_linear_equations(given_problem, form, discount, temperature):
    policy, p, r, _ = (x[:1] for x in given_problem)
    q = np.full(r.shape, np.nan)
    evaluate_kernel(policy, *form(p), r, temperature, discount, q, scratch_for(form, discount))
    entropies = np.array([entropy(law) for law in policy[0]])
    v = forever(policy[0], p[0], r[0] + temperature * entropies[:, None], discount)
    expected = r[0] + temperature * entropies[:, None] + discount * p[0] @ v
    assert_allclose(q[0], expected, atol=settled(discount))


@given(problems, forms, discounts)
def test_the_best_of_all_stationary_policies(given_problem, form, discount):
    policy, p, r, _ = (x[:1] for x in given_problem)
    initial = given_problem[3]
    q, system, found = np.full(r.shape, np.nan), scratch_for(form, discount), np.empty(r.shape)
    best, own = gap(policy, initial, *form(p), r, None, 0.0, discount, q, system)
    expected = best_forever(p[0], r[0], discount)
    assert best == pytest.approx(initial @ expected, abs=settled(discount))
    assert own == pytest.approx(initial @ forever(policy[0], p[0], r[0], discount), abs=settled(discount))
    q[:], system[:] = np.nan, np.nan
    best_response_kernel(*form(p), r, None, 0.0, discount, q, system, found)
    assert_allclose(q[0], r[0] + discount * p[0] @ expected, atol=settled(discount))
    assert_allclose(forever(found[0], p[0], r[0], discount), expected, atol=settled(discount))


@given(problems, forms, discounts, st.sampled_from([0.01, 0.5, 5.0]))
def test_the_soft_optimum_is_that_of_soft_policy_iteration(given_problem, form, discount, temperature):
    """Each round: evaluate with entropy, then take the softmax of the values; it increases to the fixed point."""
    _, p, r, _ = (x[0] for x in given_problem)
    policy = np.full((S, A), 1 / A)
    for _ in range(200):
        bonus = temperature * np.array([entropy(law) for law in policy])
        expected = r + discount * p @ forever(policy, p, r + bonus[:, None], discount)
        weights = np.exp((expected - expected.max(axis=1, keepdims=True)) / temperature)
        policy = weights / weights.sum(axis=1, keepdims=True)
    q, system, found = np.full((1, S, A), np.nan), scratch_for(form, discount), np.empty((1, S, A))
    best_response_kernel(*form(p[None]), r[None], None, temperature, discount, q, system, found)
    assert_allclose(q[0], expected, atol=10 * settled(discount))
    assert_allclose(found[0], policy, atol=10 * settled(discount) / temperature)


@pytest.mark.parametrize("discount", [0.999, 0.99999])
@pytest.mark.parametrize("successors", [None, np.zeros((1, 1, 1, 1), np.int32)], ids=["dense", "sparse"])
def test_a_slow_problem_is_not_left_early(discount, successors):
    """One state, reward 1: 1 / (1 - gamma)."""
    table, ones, q = (np.ones((1, 1, 1, 1)), successors), np.ones((1, 1, 1)), np.empty((1, 1, 1))
    scratch = value_scratch(1, discount, is_sparse=successors is not None)
    evaluate_kernel(ones, *table, ones, 0.0, discount, q, scratch)
    assert q[0, 0, 0] == pytest.approx(1 / (1 - discount), rel=1e-8)
    best_response_kernel(*table, ones, None, 0.0, discount, q, scratch, np.empty((1, 1, 1)))
    assert q[0, 0, 0] == pytest.approx(1 / (1 - discount), rel=1e-8)


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
        best_response_kernel(p, None, r, None, temperature, 1.0, q, value_scratch(S, 1.0), policy)
        assert_allclose(policy, np.broadcast_to(expected, policy.shape), atol=1e-6)


def test_ties_go_to_the_lowest_action():
    q, policy = np.empty((H, S, A)), np.empty((H, S, A))
    best_response_kernel(
        np.full((H, S, A, S), 0.5), None, np.zeros((H, S, A)), None, 0.0, 1.0, q, value_scratch(S, 1.0), policy
    )
    assert_allclose(policy, np.broadcast_to([1.0, 0.0, 0.0], policy.shape))
