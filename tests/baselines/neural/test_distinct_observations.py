"""Distinct observations and their parts, against np.unique, plain sums and the observations themselves."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from baselines.neural.distinct_observations import DistinctObservations, DistinctRows, Part, numbered

VALUES = np.array([0.0, 1.0, 0.5, -1.0], np.float32)


def reconstructed(found, width):
    """Every row's observation, put together from its parts."""
    parts = [*found.known_parts, found.private]
    tables = [torch.eye(part.n_rows) if part.table is None else part.table for part in parts]
    out = np.full((len(found.places), width), np.nan, np.float32)
    first = 0
    for k, (part, table) in enumerate(zip(parts, tables, strict=True)):
        # Places of the common part and of the identity follow each other; those of the private part begin at 0.
        rows = found.places[:, k] - (0 if part is found.private else first)
        out[:, part.columns] = table.numpy()[rows]
        first += part.n_rows
    return out[found.numbers]


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.integers(0, 3)), st.data())
def test_rows_are_numbered_as_they_differ(codes, data):
    counts = np.array(data.draw(st.lists(st.booleans(), min_size=codes.shape[1], max_size=codes.shape[1])))
    kept = [tuple(row) for row in np.where(counts, codes, 0).tolist()]
    bits = VALUES[codes].view(np.uint32)
    n_distinct = len(set(kept))
    numbers, firsts = numbered(bits, counts, n_distinct)
    assert firsts.tolist() == [kept.index(row) for row in dict.fromkeys(kept)]
    assert [kept[firsts[number]] for number in numbers] == kept
    assert n_distinct == 1 or numbered(bits, counts, n_distinct - 1) is None


def test_rows_that_collide_in_the_hash_table_are_told_apart():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 300, (3000, 2), np.uint32) << 23  # like floating-point numbers with short mantissas
    numbers, firsts = numbered(bits, None, 3000)
    expected, inverse = np.unique(bits, axis=0, return_inverse=True)
    assert len(firsts) == len(expected)
    assert len(set(zip(numbers.tolist(), inverse.tolist(), strict=True))) == len(expected)
    np.testing.assert_array_equal(bits[firsts[numbers]], bits)


def rollout(rng, n_steps, n_envs, n_values, n_private=3, n_common=2):
    """Observations with private columns of a few values, and columns that are common to a step, in any order."""
    private = VALUES[rng.integers(0, n_values, (n_steps, n_envs, n_private))]
    common = np.repeat(rng.integers(0, 3, (n_steps, 1, n_common)), n_envs, axis=1).astype(np.float32)
    order = rng.permutation(n_private + n_common)
    return np.ascontiguousarray(np.concatenate([private, common], axis=2)[..., order])


@pytest.mark.parametrize("n_values", [1, 2, 3])
@pytest.mark.parametrize(("n_steps", "n_envs"), [(1, 40), (9, 60), (60, 9), (200, 1)])
def test_observations_are_put_together_from_their_parts(n_steps, n_envs, n_values):
    rng = np.random.default_rng(n_steps + n_values)
    observations = rollout(rng, n_steps, n_envs, n_values)
    found = DistinctObservations.of(observations, 10**6)
    rows = observations.reshape(-1, 5)
    assert found is not None
    np.testing.assert_array_equal(reconstructed(found, 5), rows)
    assert len(found.places) == len(np.unique(rows, axis=0))
    if n_envs == 1:  # everything is common then
        assert (found.private.n_rows, found.common.n_rows) == (1, len(found.places))
    elif n_values > 1 and n_steps > 1:
        commons = observations[:, 0][:, found.common.columns]
        assert found.common.n_rows == len(np.unique(commons, axis=0))
        assert commons.shape[1] == 2


def test_an_identity_is_a_part_of_its_own():
    rng = np.random.default_rng(1)
    n_agents, n_steps, n_rows = 4, 10, 12
    own = rollout(rng, n_steps, n_rows, 2)
    agents = rng.integers(0, n_agents, (n_steps, n_rows), np.int32)
    one_hot = np.eye(n_agents, dtype=np.float32)[agents]
    whole = np.concatenate([own[..., :2], one_hot, own[..., 2:]], axis=2).reshape(-1, 9)
    columns = np.array([0, 1, 6, 7, 8])
    found = DistinctObservations.of(own, 10**6, columns, Part(slice(2, 6), None, n_agents), agents)
    np.testing.assert_array_equal(reconstructed(found, 9), whole)
    assert len(found.places) == len(np.unique(whole, axis=0))


@pytest.mark.parametrize(("n_values", "batch_size", "pays"), [(2, 1000, True), (2, 8, False), (4, 1000, True)])
def test_few_distinct_private_parts_are_looked_for(n_values, batch_size, pays):
    """There are n_values^3 private parts: a minibatch of 8 rows has some 5 of 8 distinct ones."""
    observations = rollout(np.random.default_rng(2), 20, 50, n_values)
    assert (DistinctObservations.of(observations, batch_size) is not None) == pays


def test_continuous_observations_are_left_alone():
    observations = np.random.default_rng(3).random((20, 50, 2), np.float32)
    assert DistinctObservations.of(observations, 1000) is None


@pytest.mark.parametrize("normalises", [False, True])
def test_sums_of_a_minibatch_are_plain_sums(normalises):
    rng = np.random.default_rng(4)
    observations = rollout(rng, 8, 30, 2)
    found = DistinctObservations.of(observations, 200)
    actions, rows = rng.integers(0, 3, 240), rng.permutation(240)[:200]
    old = np.log(rng.random((len(found.places), 3), np.float32))[found.numbers, actions]
    advantages, returns = rng.normal(0.3, 2.0, (2, 240)).astype(np.float32)
    advantages[rows[:5]] = 0.0
    minibatches = DistinctRows(found, actions, old, advantages, returns, 3)
    minibatches.minibatch(torch.arange(7), normalises)  # its buffers are used again
    batch = minibatches.minibatch(torch.from_numpy(rows), normalises)
    sums, flat = batch.sums, observations.reshape(240, 5)
    weighed = advantages.astype(float)
    if normalises:
        weighed = (weighed - weighed[rows].mean()) / (weighed[rows].std(ddof=1) + 1e-8)
    expected = collections.defaultdict(lambda: np.zeros(11))
    for row in rows:
        of_row, action = expected[tuple(flat[row])], actions[row]
        of_row[action] += 1
        of_row[3 + action] += max(weighed[row], 0.0)
        of_row[6 + action] += min(weighed[row], 0.0)
        of_row[9:] += float(returns[row]), float(returns[row]) ** 2
    seen = np.zeros((len(sums.places), 5), np.float32)
    table, first = np.zeros((sum(part.n_rows for part in batch.parts), 5), np.float32), 0
    for part in batch.parts:
        table[first : first + part.n_rows, part.columns] = part.table
        first += part.n_rows
    for place in sums.places.T:
        seen += table[place]
    assert (len(seen), batch.n_rows) == (len(expected), 200)
    for k, observation in enumerate(map(tuple, seen)):
        mine = np.concatenate([sums.counts[k], sums.gains[k], sums.losses[k], sums.returns[k]])
        np.testing.assert_allclose(mine, expected[observation], atol=1e-12)
    numbers = {tuple(row): k for k, row in enumerate(seen)}
    for row in rows:
        assert sums.log_probs[numbers[tuple(flat[row])], actions[row]] == old[row]


def test_rows_of_other_log_probabilities_are_not_grouped():
    found = DistinctObservations.of(np.zeros((4, 30, 2), np.float32), 120)
    zeros, every = np.zeros(120, np.float32), torch.arange(120)
    old = np.repeat(np.array([-1.0, -2.0, -1.0 - 1e-6], np.float32), 40)
    rows = np.arange(120)
    for order in (rows, rows[::-1], np.random.default_rng(5).permutation(120)):
        made = DistinctRows(found, zeros.astype(np.int64), old[order], zeros, zeros, 1)
        sums = made.minibatch(every, False).sums
        assert sums.counts.sum() == 120
        assert np.round(sums.log_probs, 3).min() == -2.0
        assert sums.counts[np.round(sums.log_probs, 3) == -2.0].sum() == 40
    together = DistinctRows(found, zeros.astype(np.int64), zeros - 1.0, zeros, zeros, 1)
    assert together.minibatch(every, False).sums.counts.tolist() == [[120]]
    # One row has no standard deviation.
    alone = DistinctRows(found, zeros.astype(np.int64), zeros - 1.0, zeros + 3.0, zeros, 1)
    assert alone.minibatch(every[:1], True).sums.gains.tolist() == [[3.0]]
