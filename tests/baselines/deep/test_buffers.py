"""The replay buffer gives what it was given; the reservoir is a uniform sample."""

import numpy as np
import pytest
import torch
from scipy import stats

from baselines.deep.buffers import ReplayBuffer, Reservoir

CPU = torch.device("cpu")


def rows(numbers):
    """Rows that tell their numbers in every column."""
    numbers = np.asarray(numbers)
    observations = np.stack([numbers, 2 * numbers], axis=1).astype(np.float32)
    masks = np.stack([numbers % 2 == 0, numbers % 3 == 0], axis=1)
    return observations, masks, numbers.astype(np.int64)


def assert_whole(observations, masks, actions):
    expected = rows(actions)
    np.testing.assert_array_equal(observations, expected[0])
    np.testing.assert_array_equal(masks, expected[1])


def test_a_reservoir_keeps_everything_while_there_is_room():
    reservoir, rng = Reservoir(10, 2, 2), np.random.default_rng(0)
    for part in (range(3), range(3, 4), range(4, 10)):
        reservoir.add(*rows(part), rng)
    assert reservoir.n_stored == reservoir.n_seen == 10
    assert reservoir.actions.tolist() == list(range(10))
    assert_whole(reservoir.observations, reservoir.masks, reservoir.actions)
    found = [part.numpy() for part in reservoir.sample(1000, rng, CPU)]
    assert set(found[2].tolist()) == set(range(10))
    assert_whole(*found)


STREAM, SIZE, REPEATS = 40, 7, 4000


def kept_rows(parts, seed):
    """Which of the rows of a stream are kept, in many repetitions, shape (REPEATS, STREAM)."""
    rng, kept = np.random.default_rng(seed), np.zeros((REPEATS, STREAM))
    for repeat in range(REPEATS):
        reservoir, first = Reservoir(SIZE, 2, 2), 0
        for part in parts:
            reservoir.add(*rows(range(first, first + part)), rng)
            first += part
        assert_whole(reservoir.observations, reservoir.masks, reservoir.actions)
        kept[repeat, reservoir.actions] = 1
    assert (kept.sum(1) == SIZE).all()
    return kept


@pytest.mark.parametrize("parts", [[40], [1] * 9 + [31], [5, 20, 15]])
def test_a_reservoir_is_a_uniform_sample(parts):
    """Every row is kept with probability 7/40, every pair with 7 6 / (40 39). Tests err with probability 1e-7.

    Numbers of repetitions in which a row is kept are those of a hypergeometric law: their sum is fixed, so that
    (n - 1) / n times the sum of squared standard scores is chi-squared with n - 1 degrees of freedom.
    """
    kept, p = kept_rows(parts, seed=len(parts)), SIZE / STREAM
    scores = (kept.sum(0) - REPEATS * p) ** 2 / (REPEATS * p * (1 - p))
    assert (STREAM - 1) / STREAM * scores.sum() < stats.chi2.isf(1e-7, STREAM - 1)
    together = kept.T @ kept
    pair = SIZE * (SIZE - 1) / (STREAM * (STREAM - 1))
    pairs = together[np.triu_indices(STREAM, 1)]
    largest = np.abs(pairs - REPEATS * pair).max()
    assert largest < stats.norm.isf(1e-7 / (2 * len(pairs))) * np.sqrt(REPEATS * pair * (1 - pair)) + 1


def test_a_replay_buffer_gives_back_whole_transitions():
    buffer, rng = ReplayBuffer(12, 2, 2), np.random.default_rng(1)
    for first in (0, 5):
        seen, masks, numbers = rows(range(first, first + 5))
        later, later_masks, _ = rows(range(first + 100, first + 105))
        rewards = numbers.astype(np.float32) / 8
        buffer.add(seen, masks, numbers, rewards, later, later_masks, first == 0)
    batch = buffer.sample(2000, rng, CPU)
    numbers = batch.actions.numpy()
    assert_whole(batch.observations.numpy(), batch.masks.numpy(), numbers)
    expected = rows(numbers + 100)
    np.testing.assert_array_equal(batch.next_observations.numpy(), expected[0])
    np.testing.assert_array_equal(batch.next_masks.numpy(), expected[1])
    np.testing.assert_array_equal(batch.rewards.numpy(), numbers / 8)
    np.testing.assert_array_equal(batch.goes_on.numpy(), numbers < 5)
    counts = np.bincount(numbers, minlength=10)
    assert counts.size == 10
    assert stats.chisquare(counts).pvalue > 1e-7
    buffer.clear()
    assert buffer.n_stored == 0
