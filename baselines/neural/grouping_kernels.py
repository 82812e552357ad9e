"""The compiled loops by which PPO learns from distinct observations instead of rows.

Rows with the same observation have the same logits and the same value. Of a minibatch PPO's loss then needs only
sums for each distinct observation: the number of rows, the sum and the sum of squares of the returns, and for each
action the number of rows and the sums of positive and of negative advantages, which are clipped at different
ratios.
"""

import math
from typing import Any

import numpy as np

from mfenvs.engine.compile import solver

from .ppo_kernels import CLIPPED, ENTROPY, KL, ONE, POLICY_LOSS, TWO, VALUE_LOSS, ZERO, write_law

ROW = np.dtype(
    [
        ("number", np.int32),
        ("action", np.int32),
        ("log_prob", np.float32),
        ("advantage", np.float32),
        ("target", np.float32),
    ]
)
"""What belongs to a row of a rollout: the number of its observation, the action with the log-probability when it
was drawn, the advantage, and the target of the value."""

SAME_LOG_PROB = np.float32(1e-5)
"""Rows are grouped if log-probabilities of the same action agree to this, which is above round-off."""


@solver
def mark_differing_columns(bits: Any, differs: Any) -> None:
    """Mark the columns in which rows of the same step differ.

    ``bits`` are observations as 32-bit integers, (n_steps, n_envs, n_columns). ``differs``, (n_columns,), holds
    zeros; in these columns it is not zero afterwards.
    """
    for step in range(bits.shape[0]):
        for env in range(1, bits.shape[1]):
            for column in range(bits.shape[2]):
                differs[column] |= bits[step, env, column] ^ bits[step, 0, column]


@solver
def number_rows(bits: Any, multipliers: Any, masks: Any, slots: Any, numbers: Any, firsts: Any) -> Any:
    """Number the distinct rows of an array in the order in which they first appear.

    Parameters
    ----------
    bits:
        The rows as 32-bit integers, shape (n, n_columns).
    multipliers:
        Odd 64-bit integers of the hash function, 0 in the columns that do not count; shape (n_columns,).
    masks:
        All ones in the columns that count, else 0; shape (n_columns,).
    slots:
        A hash table filled with -1; its length is a power of two, larger than that of ``firsts``.
    numbers:
        The number of each row, which is written; shape (n,).
    firsts:
        The first row of each number, which is written. Its length is the largest number of distinct rows.

    Returns
    -------
    The number of distinct rows; -1 if there are more than ``firsts`` holds.
    """
    n_found, last = 0, np.uint64(len(slots) - 1)
    for i in range(bits.shape[0]):
        code = np.uint64(0)
        for column in range(bits.shape[1]):
            code += np.uint64(bits[i, column]) * multipliers[column]
        code ^= code >> np.uint64(32)
        slot = np.int64(code & last)
        while True:
            known = slots[slot]
            if known < 0:
                if n_found == len(firsts):
                    return -1
                slots[slot], firsts[n_found], numbers[i] = n_found, i, n_found
                n_found += 1
                break
            difference, first = np.uint32(0), firsts[known]
            for column in range(bits.shape[1]):
                difference |= (bits[i, column] ^ bits[first, column]) & masks[column]
            if difference == 0:
                numbers[i] = known
                break
            slot = (slot + 1) & np.int64(last)
    return n_found


@solver
def advantage_scale(records: Any, rows: Any) -> Any:
    """The mean of the rows' advantages, and 1 over their standard deviation.

    Differences from the first one are summed, so that the sum of squares does not lose digits to a large mean.
    """
    n, total, squares, first = len(rows), 0.0, 0.0, np.float64(records[rows[0]]["advantage"])
    for row in rows:
        difference = records[row]["advantage"] - first
        total += difference
        squares += difference * difference
    variance = max(squares - total * total / n, 0.0) / (n - 1)
    return first + total / n, 1.0 / (math.sqrt(variance) + 1e-8)


@solver
def sum_rows_by_observation(
    records: Any, rows: Any, mean: Any, scale: Any, source: Any, slots: Any, private_slots: Any, found: Any
) -> Any:
    """Find a minibatch's distinct observations, and sum its rows for each of them.

    Rows whose log-probabilities for the same action differ by more than round-off are not grouped: the observation
    is then found again.

    Parameters
    ----------
    records:
        What belongs to each row of the rollout, of dtype ``ROW``.
    rows:
        Indices of the minibatch's rows, shape (size,).
    mean, scale:
        The advantage of a row is (its advantage - mean) * scale.
    source:
        The places of every observation of the rollout in the tables of parts, shape (n_observations, n_parts); the
        private part is the last, and the other tables come before it.
    slots, private_slots:
        Arrays filled with -1, an entry for each distinct observation, and for each private part, of the rollout.
    found:
        Arrays of a row for each distinct observation, which are written (:class:`ObservationSums`).

    Returns
    -------
    The number of distinct observations, and of distinct private parts, whose numbers are in ``found.private``.
    """
    n_found, n_private, last = 0, 0, source.shape[1] - 1
    for row in rows:
        record = records[row]
        number, action = record["number"], record["action"]
        entry = slots[number]
        if entry < 0 or (
            found.counts[entry, action] > 0
            and abs(found.log_probs[entry, action] - record["log_prob"]) > SAME_LOG_PROB
        ):
            entry = n_found
            n_found += 1
            slots[number] = entry
            private = source[number, last]
            if private_slots[private] < 0:
                private_slots[private] = n_private
                found.private[n_private] = private
                n_private += 1
            for part in range(last):
                found.places[entry, part] = source[number, part]
            found.places[entry, last] = found.first_private + private_slots[private]
            found.counts[entry, :] = 0
            found.gains[entry, :] = 0.0
            found.losses[entry, :] = 0.0
            found.returns[entry, :] = 0.0
        if found.counts[entry, action] == 0:
            found.log_probs[entry, action] = record["log_prob"]
        found.counts[entry, action] += 1
        advantage = (record["advantage"] - mean) * scale
        # Without a branch, which would be taken at random.
        found.gains[entry, action] += max(advantage, 0.0)
        found.losses[entry, action] += min(advantage, 0.0)
        target = np.float64(record["target"])
        found.returns[entry, 0] += target
        found.returns[entry, 1] += target * target
    return n_found, n_private


@solver
def policy_gradient_of_sums(
    logits: Any,
    bias: Any,
    counts: Any,
    old_log_probs: Any,
    gains: Any,
    losses: Any,
    clip_range: Any,
    entropy_coefficient: Any,
    row_weight: Any,
    out: Any,
    bias_gradient: Any,
    sums: Any,
) -> None:
    """As ``ppo_kernels.policy_gradient``, for distinct observations with sums over their rows.

    ``gains`` and ``losses`` are the sums of positive and of negative advantages of each action: a gain is clipped
    where the ratio is above 1 + clip_range, a loss where it is below 1 - clip_range.
    """
    n_actions = logits.shape[1]
    p, log_p = np.empty(n_actions, np.float32), np.empty(n_actions, np.float32)
    added = np.zeros(n_actions, np.float32)
    low, high = ONE - clip_range, ONE + clip_range
    for i in range(logits.shape[0]):
        entropy, slopes, n_rows = write_law(logits, bias, i, p, log_p), ZERO, 0
        for j in range(n_actions):
            n_rows += counts[i, j]
            out[i, j] = ZERO
            if counts[i, j] == 0:
                continue
            log_ratio = log_p[j] - old_log_probs[i, j]
            ratio = np.float32(math.exp(log_ratio))
            if gains[i, j] > 0.0:
                sums[POLICY_LOSS] -= gains[i, j] * min(ratio, high)
            if losses[i, j] < 0.0:  # a ratio may be infinite
                sums[POLICY_LOSS] -= losses[i, j] * max(ratio, low)
            sums[CLIPPED] += counts[i, j] * (abs(ratio - ONE) > clip_range)
            sums[KL] += counts[i, j] * ((ratio - ONE) - log_ratio)
            moving = (gains[i, j] if ratio <= high else 0.0) + (losses[i, j] if ratio >= low else 0.0)
            if moving != 0.0:
                out[i, j] = np.float32(-moving * ratio * row_weight)
            slopes += out[i, j]
        sums[ENTROPY] += n_rows * entropy
        entropy_weight = entropy_coefficient * row_weight * np.float32(n_rows)
        for j in range(n_actions):
            out[i, j] += entropy_weight * p[j] * (log_p[j] + entropy) - slopes * p[j]
            added[j] += out[i, j]
    for j in range(n_actions):
        bias_gradient[j] += added[j]


@solver
def value_gradient_of_sums(
    values: Any,
    bias: Any,
    counts: Any,
    returns: Any,
    coefficient: Any,
    row_weight: Any,
    out: Any,
    bias_gradient: Any,
    sums: Any,
) -> None:
    """As ``ppo_kernels.value_gradient``; ``returns`` has the sum and the sum of squares of each observation's."""
    added = ZERO
    for i in range(values.shape[0]):
        n_rows = 0
        for j in range(counts.shape[1]):
            n_rows += counts[i, j]
        value = np.float64(values[i, 0] + bias[0])
        out[i, 0] = np.float32(TWO * coefficient * row_weight * (n_rows * value - returns[i, 0]))
        added += out[i, 0]
        # In single precision, so that errors whose squares overflow are noticed.
        sums[VALUE_LOSS] += np.float32((n_rows * value - TWO * returns[i, 0]) * value + returns[i, 1])
    bias_gradient[0] += added


@solver
def sum_of_parts(places: Any, table: Any, bias: Any, slope: Any, out: Any) -> None:
    """Write the leaky ReLU of the bias plus two or three rows of the table, those at ``places[i]`` for row i."""
    for i in range(out.shape[0]):
        first, second = places[i, 0], places[i, 1]
        if places.shape[1] == 2:
            for j in range(out.shape[1]):
                x = bias[j] + table[first, j] + table[second, j]
                out[i, j] = x if x > ZERO else x * slope
        else:
            third = places[i, 2]
            for j in range(out.shape[1]):
                x = bias[j] + table[first, j] + table[second, j] + table[third, j]
                out[i, j] = x if x > ZERO else x * slope


@solver
def add_to_parts(places: Any, gradients: Any, table_gradient: Any) -> None:
    """Add the gradient of every row to those of the table's rows of which it is the sum."""
    for i in range(gradients.shape[0]):
        for part in range(places.shape[1]):
            place = places[i, part]
            for j in range(gradients.shape[1]):
                table_gradient[place, j] += gradients[i, j]


@solver
def sample_actions_of(logits: Any, bias: Any, numbers: Any, draws: Any, actions: Any, log_probs: Any) -> None:
    """As ``ppo_kernels.sample_actions``, where row i has the logits at ``numbers[i]``."""
    n, n_actions = logits.shape
    reached, log_p = np.empty((n, n_actions), np.float32), np.empty((n, n_actions), np.float32)
    for i in range(n):
        largest = logits[i, 0] + bias[0]
        for j in range(1, n_actions):
            largest = max(largest, logits[i, j] + bias[j])
        total = ZERO
        for j in range(n_actions):
            log_p[i, j] = logits[i, j] + bias[j] - largest
            total += np.float32(math.exp(log_p[i, j]))
            reached[i, j] = total
        log_total = np.float32(math.log(total))
        for j in range(n_actions):
            log_p[i, j] -= log_total
    for row in range(len(numbers)):
        i = numbers[row]
        action, drawn = 0, draws[row] * reached[i, n_actions - 1]
        for j in range(n_actions - 1):
            action += drawn >= reached[i, j]
        actions[row], log_probs[row] = action, log_p[i, action]


ONE_IN_BITS = np.float32(1.0).view(np.uint32)


@solver
def read_one_hot(bits: Any, first: Any, end: Any, places: Any) -> Any:
    """Write the place of the one among the columns from ``first`` to ``end`` - 1, in each row of single numbers.

    ``bits`` are the numbers as 32-bit integers. Returns False if these columns of a row are not one-hot.
    """
    place, width = -1, end - first
    for i in range(bits.shape[0]):
        # Rows mostly follow each other in the order of the agents.
        place = (place + 1) % width
        tried = 1
        while bits[i, first + place] != ONE_IN_BITS and tried < width:
            place, tried = (place + 1) % width, tried + 1
        others = np.uint32(bits[i, first + place] != ONE_IN_BITS)
        for j in range(first, first + place):
            others |= bits[i, j]
        for j in range(first + place + 1, end):
            others |= bits[i, j]
        if others != 0:
            return False
        places[i] = place
    return True
