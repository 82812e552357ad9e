"""A game of many states: the crowd on a torus, whose law and values under a drift follow from Fourier series."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.crowd_on_torus import CrowdOnTorus
from mfenvs import InducedGame

STEPS = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
MIX = np.array([0.25, 0.5, 0.0, 0.125, 0.125])
"""The same probabilities of actions everywhere: a random walk with a drift."""


def laws(game):
    """The laws of the state at times 0..H-1, (H, side, side): products of characteristic functions."""
    n, noise = game.side, np.array([1 - game.noise, *[game.noise / 4] * 4])
    k = np.fft.fftfreq(n) * n
    phases = np.exp(-2j * np.pi * (STEPS[:, 0, None, None] * k[:, None] + STEPS[:, 1, None, None] * k) / n)
    factor = np.tensordot(MIX, phases, 1) * np.tensordot(noise, phases, 1)
    start = np.fft.fft2(game.initial_distribution.reshape(n, n))
    return np.array([np.fft.ifft2(start * factor**h).real for h in range(game.horizon)])


def rewards(game, law):
    """R(s, a) in a population with this law (side, side), shape (S, A)."""
    away = np.abs(np.arange(game.side) - game.side // 2)
    place = 1 - (away[:, None] + away) / game.side - game.aversion * np.log(law + 1e-20)
    return place.reshape(-1, 1) - game.cost * np.array([0, 1, 1, 1, 1])


def test_law_and_value_of_a_drift():
    game = CrowdOnTorus(side=30, horizon=12)
    induced = InducedGame(game)
    assert induced.is_sparse
    policy = np.broadcast_to(MIX, game.policy_shape).copy()
    flow, expected = induced.flow(policy), laws(game)
    assert flow.successors.shape == (12, 900, 5, 5)
    assert_allclose(flow.mu.sum(axis=2).reshape(expected.shape), expected, atol=1e-14)
    # Where nobody is, FFTs return rounding errors.
    earned = [rewards(game, np.where(law > 1e-14, law, 0.0)) for law in expected]
    seen = expected.reshape(12, -1) > 1e-10
    assert_allclose(flow.rewards[seen], np.array(earned)[seen], atol=1e-5)
    worth = sum((law.reshape(-1, 1) * MIX * paid).sum() for law, paid in zip(expected, earned, strict=True))
    assert induced.value(policy, flow) == pytest.approx(worth, abs=1e-9)


@pytest.mark.slow
def test_the_best_response_knows_what_each_step_is_worth():
    """Backward induction in numpy, by rolling the values along the axes."""
    game = CrowdOnTorus(side=12, horizon=6)
    induced = InducedGame(game)
    policy = np.broadcast_to(MIX, game.policy_shape).copy()
    flow, ahead = induced.flow(policy), np.zeros((12, 12))
    noise = [1 - game.noise, *[game.noise / 4] * 4]
    for h in reversed(range(6)):
        smooth = sum(p * np.roll(ahead, (-dx, -dy), (0, 1)) for p, (dx, dy) in zip(noise, STEPS, strict=True))
        moved = np.stack([np.roll(smooth, (-dx, -dy), (0, 1)) for dx, dy in STEPS], axis=-1)
        q = flow.rewards[h] + moved.reshape(144, 5)
        assert_allclose(induced.optimal_q(flow)[h], q, atol=1e-12)
        ahead = q.max(axis=-1).reshape(12, 12)
    best = game.initial_distribution @ ahead.ravel()
    assert induced.exploitability(policy) == pytest.approx(best - induced.value(policy), abs=1e-12)


def test_what_is_too_large_for_dense_arrays_is_refused():
    game = CrowdOnTorus(side=100)
    with pytest.raises(ValueError, match=r"a dense table of transitions, of shape \(10000, 5, 10000\), has more"):
        InducedGame(game, sparse=False)
    induced = InducedGame(game)
    flow = induced.flow(induced.uniform_policy())
    with pytest.raises(ValueError, match=r"entries T S A S of dense .* at most 268435456, got 25000000000"):
        flow.dense()
    with pytest.raises(ValueError, match="a dense table of transitions"):
        induced.arrays(flow.mu[0])
    for table in (flow.transitions, flow.successors):
        assert table.base.size == 250_000


SCALE = """
from pathlib import Path
import numpy as np
from benchmarks.crowd_on_torus import {kind}
from mfenvs import InducedGame

induced = InducedGame({kind}(side={side}))
policy = induced.uniform_policy()
flow = induced.flow(policy)
answer = induced.best_response(flow)
assert induced.exploitability(policy) > 1.0 and answer.max() == 1.0
assert abs(flow.mu.sum() - induced.n_times) < 1e-8
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "side", "gigabytes"),
    [("CrowdOnTorus", 100, 1.0), ("CrowdOnTorus", 316, 4.0), ("JostlingCrowdOnTorus", 316, 4.0)],
)
def test_memory(kind, side, gigabytes):
    """Peak memory of a process that computes a flow of 50 steps, its best response and its exploitability.

    The jostling crowd's table of transitions is another one at every time. The peak of ``resource.getrusage``
    would be at least that of the process which started it.
    """
    found = subprocess.run(
        [sys.executable, "-c", SCALE.format(kind=kind, side=side)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert float(found.stdout) < gigabytes
