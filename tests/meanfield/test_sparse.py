"""Games with sparse transitions: by branches or by rows whose zeros are found, against dense ones and numpy."""

import numpy as np
import pytest
from branching import ByBranches, ByRows, S, flow
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from oracles import random_policy

from mfenvs import InducedGame

KINDS = [(kind, sparse) for kind in (ByBranches, ByRows) for sparse in (False, True)]
seeds = st.integers(0, 10**6)


def plain_values(policy, p, r, choose):
    """Q by backward induction; ``choose`` maps Q (S, A) and the policy to V (S,)."""
    q = np.zeros(r.shape)
    ahead = np.zeros(S)
    for h in reversed(range(len(r))):
        q[h] = r[h] + p[h] @ ahead
        ahead = choose(q[h], policy[h])
    return q


@given(seeds)
def test_one_game_in_all_forms(seed):
    rng = np.random.default_rng(seed)
    game = ByBranches(tables=seed)
    policy = random_policy(rng, *game.policy_shape)
    mu, p, r = flow(game, policy)
    own = plain_values(policy, p, r, lambda q, law: (q * law).sum(axis=-1))
    best = plain_values(policy, p, r, lambda q, law: q.max(axis=-1))
    gap = game.initial_distribution @ (best[0].max(axis=-1) - (policy[0] * own[0]).sum(axis=-1))
    for kind, sparse in KINDS:
        induced = InducedGame(kind(tables=seed), sparse=sparse)
        found = induced.flow(policy)
        assert (found.successors is not None) == sparse == induced.is_sparse
        assert_allclose(found.mu, mu, atol=1e-14)
        assert_allclose(found.rewards, r, atol=1e-14)
        assert_allclose(found.dense().transitions, p, atol=1e-14)
        assert_allclose(induced.evaluate(policy, found), own, atol=1e-13)
        assert_allclose(induced.optimal_q(found), best, atol=1e-13)
        assert induced.exploitability(policy) == pytest.approx(gap, abs=1e-13)
        assert induced.response_values(policy, found) == pytest.approx(
            (game.initial_distribution @ best[0].max(axis=-1), induced.value(policy)), abs=1e-13
        )
        for time in range(game.horizon):
            assert_allclose(induced.arrays(mu[time], time)[0], p[time], atol=1e-14)
        frozen = induced.frozen(mu).dense()
        assert_allclose(frozen.transitions, p, atol=1e-14)
        other = random_policy(rng, *game.policy_shape)
        assert_allclose(induced.next_population(other, mu), flow(game, other)[0], atol=1e-14)
