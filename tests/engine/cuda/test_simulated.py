"""The CUDA engine in numba's simulator of a device does what the CPU's engine does."""

import os
import pickle
import subprocess
import sys

import cuda_plays
import numpy as np
import pytest
from cuda_plays import BY_ONE_BLOCK, IN_PARTS, compare

from mfenvs import registered_games

FEW = ["Epidemic-v0", "Malware-v0", "LinearQuadratic-v0", "CrowdModelling2D-v0"]
"""Games that are counted in cells, by a rule of their own, by weights, and a game with branches."""
OTHERS = [name for name in registered_games() if name not in FEW]


def assert_same(names, tmp_path, most=IN_PARTS):
    out = tmp_path / "simulated.pickle"
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, cuda_plays.__file__, str(out), str(most), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    simulated = pickle.loads(out.read_bytes())
    for name in names:
        compare(cuda_plays.play(cuda_plays.small(name), "cpu"), simulated[name], name)


def test_trajectories_and_errors_are_those_of_the_cpu(tmp_path):
    assert_same(FEW, tmp_path)


def test_trajectories_of_worlds_that_are_stepped_by_one_block_are_those_of_the_cpu(tmp_path):
    assert_same(["Malware-v0"], tmp_path, BY_ONE_BLOCK)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*(name for name in registered_games() if name != "Malware-v0"), *cuda_plays.VARIANTS]
)
def test_trajectories_of_all_other_games_by_one_block_are_those_of_the_cpu(name, tmp_path):
    assert_same([name], tmp_path, BY_ONE_BLOCK)


@pytest.mark.slow
def test_trajectories_of_all_other_games_are_those_of_the_cpu(tmp_path):
    assert_same([*OTHERS, *cuda_plays.VARIANTS], tmp_path)


def test_the_comparison_sees_a_difference():
    expected = cuda_plays.play(cuda_plays.small("Epidemic-v0"), "cpu")
    assert expected["error"]
    moved = expected | {"states 1": 1 - expected["states 1"]}
    with pytest.raises(AssertionError, match="states 1"):
        compare(expected, moved, "Epidemic-v0")
    other = expected | {"rewards 0": expected["rewards 0"] + np.float32(1e-3)}
    with pytest.raises(AssertionError, match="rewards 0"):
        compare(expected, other, "Epidemic-v0")
