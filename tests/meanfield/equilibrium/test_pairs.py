"""Pairs of states and actions against dense tables and brute force, on random moves."""

import numpy as np
import pytest
from scipy import sparse

from mfenvs.meanfield.equilibrium.pairs import Pairs

N_TIMES, N_STATES, N_ACTIONS = 4, 5, 3


def random_pairs(rng: np.random.Generator) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Pairs, of which some states and actions are missing; P (T, S, A, S) and which pairs exist (T, S, A)."""
    exists = rng.random((N_TIMES, N_STATES, N_ACTIONS)) < 0.7
    exists[1] &= rng.random((N_STATES, 1)) < 0.6
    exists[:, 0, 0] = True
    has_place = exists.any(axis=-1)
    p = rng.random((N_TIMES, N_STATES, N_ACTIONS, N_STATES)) * (rng.random((N_STATES, N_ACTIONS, N_STATES)) < 0.3)
    p[-1] = 0.0
    p[:-1] *= has_place[1:, None, None, :]
    number = np.cumsum(has_place.ravel()).reshape(has_place.shape) - 1
    index = np.nonzero(exists)
    moves = np.zeros((len(index[0]), int(has_place.sum())))
    for row, (t, s, a) in enumerate(zip(*index, strict=True)):
        for to in np.flatnonzero(p[t, s, a]):
            moves[row, number[t + 1, to]] = p[t, s, a, to]
    return Pairs(index, number[index[:2]], sparse.csr_array(moves)), p, exists


@pytest.mark.parametrize("seed", range(5))
def test_values_and_losses_are_those_of_backward_induction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs, p, exists = random_pairs(rng)
    rewards = np.where(exists, rng.normal(size=exists.shape), -np.inf)
    values = np.zeros((N_TIMES + 1, N_STATES))
    q = np.empty_like(rewards)
    for h in reversed(range(N_TIMES)):
        q[h] = rewards[h] + p[h] @ values[h + 1]
        values[h] = np.where(exists[h].any(axis=-1), q[h].max(axis=-1) + 0.3, 0.0)
    found = pairs.best_values(rewards[pairs.index], 0.3)
    np.testing.assert_allclose(found, values[:-1][exists.any(axis=-1)])
    losses = (values[:-1, :, None] - q)[pairs.index]
    np.testing.assert_allclose(pairs.losses(found, rewards[pairs.index]), losses, atol=1e-12)
    assert losses.min() == pytest.approx(0.3)
    np.testing.assert_allclose(
        pairs.sums(rewards[pairs.index]), np.where(exists, rewards, 0.0).sum(axis=-1)[exists.any(axis=-1)]
    )


@pytest.mark.parametrize("seed", range(5))
def test_states_that_lead_to_others_are_those_with_a_path(seed: int) -> None:
    """Paths are found one by one."""
    rng = np.random.default_rng(seed)
    pairs, p, exists = random_pairs(rng)
    has_place = exists.any(axis=-1)
    wanted = (rng.random(has_place.shape) < 0.15) & has_place

    def leads(h: int, s: int) -> bool:
        if wanted[h, s]:
            return True
        ahead = {to for a in np.flatnonzero(exists[h, s]) for to in np.flatnonzero(p[h, s, a])}
        return any(leads(h + 1, int(to)) for to in ahead)

    expected = [leads(h, s) for h, s in zip(*np.nonzero(has_place), strict=True)]
    found = pairs.leading_to(wanted[has_place])
    assert found.tolist() == expected
    kept = pairs.kept(found)
    rows = found[pairs.own]
    assert kept.n == sum(expected)
    for one, other in zip(kept.index, pairs.index, strict=True):
        np.testing.assert_array_equal(one, other[rows])
    np.testing.assert_array_equal(kept.moves.toarray(), pairs.moves.toarray()[rows][:, found])
    np.testing.assert_array_equal(kept.back.toarray(), kept.moves.toarray().T)
    assert len(kept.firsts) == kept.n
    np.testing.assert_array_equal(kept.times, np.nonzero(has_place)[0][found])
    assert pairs.kept(np.zeros_like(found)).leading_to(np.zeros(0, np.bool_)).size == 0
