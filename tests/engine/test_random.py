"""Random numbers. Every statistic below fails a perfect generator with probability < 2e-9; seeds are fixed.

Together they are fewer than 300, so that all of them fail a perfect generator with probability < 1e-6.
"""

import itertools

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mfenvs.engine.random import ACT, ADVANCE, START, agent_key, mix32, mix64, step_key, uniform

ALPHA = 2e-9
Z = stats.norm.isf(ALPHA / 2)
AXES = ("seed", "world", "episode", "time", "purpose", "agent", "stream")
SEED, WORLD, EPISODE, TIME, PURPOSE, AGENT, STREAM = range(7)


@numba.njit
def fill(out, base, i, j):
    """out[x, y] = the draw at `base` with x added on axis i and y on axis j."""
    for x in range(out.shape[0]):
        for y in range(out.shape[1]):
            at = base.copy()
            at[i] += np.uint64(x)
            at[j] += np.uint64(y)
            key = step_key(at[0], at[1], at[2], at[3], at[4])
            out[x, y] = uniform(agent_key(key, at[5]), at[6])


BASE = (12345, 3, 2, 5, ADVANCE, 17, 0)


def draws(i: int, n: int, j: int, m: int, base=BASE) -> np.ndarray:
    out = np.empty((n, m), np.float32)
    fill(out, np.array(base, np.uint64), i, j)
    return out


@pytest.fixture(scope="module")
def along():
    """2^17 consecutive draws along every axis but the purpose."""
    return {axis: draws(axis, 2**17, axis, 1)[:, 0] for axis in range(7) if axis != PURPOSE}


def test_splitmix64_published_vector():
    golden = 0x9E3779B97F4A7C15
    published = [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
        0xF88BB8A8724C81EC,
        0x1B39896A51A8749B,
    ]
    for k, expected in enumerate(published, start=1):
        assert int(mix64(np.uint64(k * golden & oracles.M64))) == expected


@given(st.integers(0, oracles.M64))
def test_mix64_is_the_published_function(x):
    assert int(mix64(np.uint64(x))) == oracles.mix64(x)


@given(st.integers(0, oracles.M32))
def test_mix32_is_the_published_function(x):
    assert int(mix32(np.uint32(x))) == oracles.mix32(x)


@given(
    *(st.integers(0, oracles.M64) for _ in range(3)),
    st.integers(0, 2**31),
    st.sampled_from([START, ACT, ADVANCE]),
    st.integers(0, 2**24),
    st.integers(0, 1000),
)
def test_a_draw_is_the_documented_function_of_its_seven_numbers(
    seed, world, episode, time, purpose, agent, stream
):
    """The whole chain in unbounded integers: a change here alters every game's trajectories."""
    golden = 0x9E3779B97F4A7C15
    key = oracles.mix64((seed + golden) & oracles.M64)
    for part in (world, episode, time * 4 + purpose):
        key = oracles.mix64(key ^ ((part + golden) & oracles.M64))
    own = oracles.mix32(((key & oracles.M32) + agent * 0x9E3779B1) & oracles.M32) ^ (key >> 32)
    bits = oracles.mix32((own + stream * 0x85EBCA6B) & oracles.M32)
    # Called from Python, numba takes an int for signed: widths are said explicitly.
    step = np.uint64(step_key(np.uint64(seed), np.uint64(world), np.uint64(episode), time, purpose))
    found = uniform(np.uint32(agent_key(step, agent)), stream)
    assert isinstance(found, float | np.floating)
    assert float(found) == (bits >> 8) / 2**24


def test_scramblers_are_injective():
    n = 2**20
    x = np.random.default_rng(0).choice(2**32, n, replace=False)

    @numba.njit
    def all32(x, out):
        for i in range(len(x)):
            out[i] = mix32(x[i])

    @numba.njit
    def all64(x, out):
        for i in range(len(x)):
            out[i] = mix64(x[i])

    short, long = np.empty(n, np.uint32), np.empty(n, np.uint64)
    all32(x.astype(np.uint32), short)
    all64(x.astype(np.uint64), long)
    assert len(np.unique(short)) == n  # about 128 collisions among 2^20 of 2^32, were they random
    assert len(np.unique(long)) == n


def test_keys_of_steps_are_distinct():
    grid = itertools.product((0, 1, 2**63), (0, 1, 2, 1000), (0, 1, 2, 1000), range(20), (START, ACT, ADVANCE))
    keys = [
        step_key(*map(np.uint64, (seed, world, episode)), time, purpose)
        for seed, world, episode, time, purpose in grid
    ]
    assert len(set(map(int, keys))) == len(keys) == 3 * 4 * 4 * 20 * 3


@numba.njit
def both(key, other, shift, mine, theirs):
    for i in range(len(mine)):
        mine[i] = uniform(agent_key(key, i), 0)
        theirs[i] = uniform(agent_key(other, i + shift), 0)


@pytest.mark.parametrize("difference", [1, 2**16, 2**31, 2**32 - 1, 0x9E3779B1, 0x12345678])
@pytest.mark.parametrize("shift", [0, 1, -7])
def test_steps_whose_agents_begin_alike_are_not_correlated(difference, shift):
    """Some steps have low halves by which one's agents are the other's, shifted: the high half tells."""
    key = oracles.mix64(99)
    low = ((key & oracles.M32) - shift * 0x9E3779B1) & oracles.M32
    other = ((key >> 32) ^ difference) << 32 | low
    mine, theirs = np.empty(2**16), np.empty(2**16)
    both(np.uint64(key), np.uint64(other), shift, mine, theirs)
    assert abs(np.corrcoef(mine, theirs)[0, 1]) * 2**8 < Z
    pairs = (mine * 16).astype(int) * 16 + (theirs * 16).astype(int)
    assert stats.chisquare(np.bincount(pairs, minlength=256)).pvalue > ALPHA


def test_agents_keys_of_a_step_are_distinct():
    keys = {int(agent_key(np.uint64(oracles.mix64(5)), i)) for i in range(20_000)}
    assert len(keys) == 20_000


def test_draws_are_single_precision_in_the_unit_interval(along):
    for values in along.values():
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() < 1
        assert np.array_equal(values * 2**24, np.floor(values * 2**24))


@pytest.mark.parametrize("axis", [a for a in range(7) if a != PURPOSE], ids=lambda a: AXES[a])
class TestAlongOneAxis:
    def test_uniform_by_kolmogorov_smirnov(self, along, axis):
        assert stats.kstest(along[axis].astype(float), "uniform").pvalue > ALPHA

    @pytest.mark.parametrize("shift", [0, 8, 16], ids=["high", "middle", "low"])
    def test_uniform_in_each_byte(self, along, axis, shift):
        byte = (along[axis] * 2**24).astype(np.int64) >> (16 - shift) & 255
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > ALPHA

    def test_no_lag_correlation(self, along, axis):
        x = along[axis].astype(float)
        x = (x - 0.5) * np.sqrt(12)
        for lag in (1, 2, 3, 4, 8, 64, 1024):
            assert abs((x[lag:] * x[:-lag]).sum()) / np.sqrt(len(x) - lag) < Z, lag

    def test_pairs_of_neighbours_fill_the_square(self, along, axis):
        x = (along[axis][::2] * 16).astype(int) * 16 + (along[axis][1::2] * 16).astype(int)
        assert stats.chisquare(np.bincount(x, minlength=256)).pvalue > ALPHA


def max_correlation(x: np.ndarray) -> tuple[float, int]:
    """Largest |z| among correlations of the columns of x, and the number of pairs."""
    c = np.corrcoef(x.astype(float), rowvar=False)
    above = np.triu_indices(len(c), 1)
    return float(np.abs(c[above]).max() * np.sqrt(len(x))), len(above[0])


@pytest.mark.parametrize(
    ("over", "between"),
    [pair for pair in itertools.permutations(range(7), 2) if PURPOSE not in pair],
    ids=lambda axis: AXES[axis],
)
def test_no_correlation_between_two_places_on_one_axis_over_another(over, between):
    """E.g. two agents over worlds, two times over agents, two streams over episodes."""
    largest, pairs = max_correlation(draws(over, 8192, between, 16))
    assert largest < stats.norm.isf(ALPHA / 2 / pairs)


@pytest.mark.parametrize("over", [WORLD, TIME, AGENT], ids=lambda axis: AXES[axis])
def test_no_correlation_between_purposes(over):
    largest, pairs = max_correlation(draws(over, 2**17, PURPOSE, 3, (*BASE[:PURPOSE], 0, *BASE[PURPOSE + 1 :])))
    assert largest < stats.norm.isf(ALPHA / 2 / pairs)


@numba.njit
def integers(at, out):
    for k in range(len(at)):
        key = step_key(at[k, 0], at[k, 1], at[k, 2], at[k, 3], at[k, 4])
        out[k] = np.uint32(uniform(agent_key(key, at[k, 5]), at[k, 6]) * np.float32(2**24))


@pytest.mark.parametrize("axis", range(7), ids=lambda axis: AXES[axis])
def test_every_input_bit_flips_every_output_bit_half_of_the_time(axis):
    bits = {SEED: 64, WORLD: 64, EPISODE: 64, TIME: 30, PURPOSE: 2, AGENT: 24, STREAM: 16}[axis]
    n = 4096
    rng = np.random.default_rng(axis)
    flips = np.zeros((bits, 24))

    limits = np.array([2**62, 2**62, 2**20, 2**20, 3, 2**20, 64])
    at = rng.integers(0, limits, (n, 7)).astype(np.uint64)
    before, after = np.empty(n, np.uint32), np.empty(n, np.uint32)
    integers(at, before)
    for bit in range(bits):
        other = at.copy()
        other[:, axis] ^= np.uint64(1 << bit)
        integers(other, after)
        changed = before ^ after
        flips[bit] = [(changed >> out & 1).mean() for out in range(24)]
    z = np.abs(flips - 0.5) * 2 * np.sqrt(n)
    assert z.max() < stats.norm.isf(ALPHA / 2 / flips.size)
