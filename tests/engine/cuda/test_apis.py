"""Environments and trainers on a device: what they do on the CPU, without copies.

The device is numba's simulator, and a GPU as well, where there is one.
"""

import os
import pickle
import re
import subprocess
import sys

import pytest

pytest.importorskip("torchrl")

import cuda_apis
import cuda_errors
from cuda_plays import compare, needs_a_gpu
from numpy.testing import assert_allclose, assert_array_equal

pytestmark = pytest.mark.slow  # All are played in the simulator: twenty seconds, whatever is compared.


@pytest.fixture(scope="module", params=["simulator", pytest.param("gpu", marks=needs_a_gpu)])
def seen(request, tmp_path_factory):
    """What was seen on the device."""
    out = tmp_path_factory.mktemp("cuda") / "seen.pickle"
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    environment |= {"NUMBA_ENABLE_CUDASIM": "1"} if request.param == "simulator" else {}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, cuda_apis.__file__, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return pickle.loads(out.read_bytes())


@pytest.mark.parametrize("name", cuda_apis.COMPARED)
def test_what_is_seen_on_the_device_is_what_is_seen_on_the_cpu(seen, name):
    expected, found = cuda_apis.COMPARED[name]("cpu"), seen[name]
    assert expected.keys() == found.keys()
    assert expected
    for what, array in expected.items():
        assert (found[what].shape, found[what].dtype) == (array.shape, array.dtype), what
        if array.dtype.kind == "f":
            # Python computes in double precision where compiled rules compute in single precision.
            assert_allclose(found[what], array, rtol=1e-4, atol=1e-4, err_msg=what)
        else:
            assert_array_equal(found[what], array, err_msg=what)


def test_an_error_that_is_looked_at_late_is_that_of_the_first_wrong_step(seen):
    errors = seen["errors"]
    for later in (1, 2):
        assert "actions[1, 3] at time 0 must be in [0, 1]" in errors[f"action {later}"]
        assert errors[f"action {later} kept"] == (True, 0)
        assert "states in [0, 1], which they do not for agent 2 of world 1 at time 1" in errors[f"state {later}"]
        assert errors[f"state {later} kept"] == (True, 1)
        wrong_place = "in [0, 0] for all agents, which it is not for agent 2 of world 1 at time 2"
        assert f"place of Misplaced must be {wrong_place}" in errors[f"place {later}"]
        assert errors[f"place {later} kept"] == (True, 2)


def test_a_snapshot_of_an_agent_in_no_place_is_refused(seen):
    allowed, wrong = "must be in [0, 0] for all agents", "which it is not for agent 2 in state 1 of world 0"
    assert seen["errors"]["snapshot"] == f"snapshot.states: place of Misplaced {allowed}, {wrong}"
    assert seen["errors"]["snapshot kept"] == (True, "")


def test_wrong_probabilities_are_found_on_the_device(seen):
    errors = seen["errors"]
    row = r"must be a cumulated law \(rising from 0 to at least 1, as mfenvs.cumulated.cumulative makes it\)"
    for name, place, why, value in (
        ("laws", r"probabilities\[1, 3\] at time 1", "must be non-negative and sum to 1", r"\[0.5, 0.75\]"),
        ("table", r"policy\[0, 1, 1\]", row, r"\[0.75, 0.5\]"),
        ("table of an agent", r"policy\[4, 1, [01]\]", row, r"\[nan, nan\]"),
    ):
        for later in (0, 1, 2):
            assert re.fullmatch(f"{place} {why}, got {value}", errors[f"{name} {later}"])
            assert errors[f"{name} {later} kept"] == (True, 1)
            assert errors[f"{name} {later} at once"] == errors[f"{name} {later}"]


def test_a_step_copies_nothing(seen):
    copies = seen["copies"]
    for route in ("torchrl", "random actions", "tables and laws"):
        assert copies[route] == 0, route
    assert copies["another table"] == 1
    # Actions there; from there whether they were valid, rewards, observations and the shares of regions.
    n_shares = 2 * bool(cuda_errors.EPIDEMIC.regions)
    for route in ("vec_env", "vector_env", "PettingZoo"):
        assert copies[route] == {"upload": 1, "download": 3 + n_shares, "copy": 0}, route
    # The others' actions come from the device first.
    assert copies["representative agent"] == {"upload": 1, "download": 5 + n_shares, "copy": 0}
    # What a rollout copies (a snapshot before it, observations and returns after it) hangs not on its length.
    assert copies["ppo 2"] == copies["ppo 6"] > 0


def test_tensors_are_the_memory_of_the_device(seen):
    memory = seen["memory"]
    assert memory["states"]
    game = cuda_errors.EPIDEMIC
    assert memory["out"].shape == (2, 5, game.n_features)
    assert memory["out"].any()
    assert_array_equal(memory["wide"][..., 1:-2], memory["out"])
    assert not memory["wide"][..., 0].any()
    assert not memory["wide"][..., -2:].any()
    for on_device, copied in memory["run"]:
        assert_array_equal(on_device, copied)
    assert memory["records"] == "array must hold numbers, got records with the fields a"


def test_a_state_that_does_not_exist_is_no_index(seen):
    """Nothing is written after the error, and so states of later times are whatever the memory holds."""
    for most in (0, 4096):
        assert "rules of Leaving must return states in [0, 1]" in seen["faults"][f"rollout {most}"]


def test_a_step_that_was_interrupted_between_launches_leaves_no_counts(seen):
    for name in ("counted", "weighed", "aggregated"):
        for begins_anew in (True, False):
            found, expected = seen["faults"][f"interrupted {name} {begins_anew}"]
            compare(expected, found, name)


def test_nothing_is_learned_from_steps_that_were_not_taken(seen):
    for name, game in (("wrong rule", "Lost"), ("wrong rule and rewards", "Leaving")):
        message, is_unchanged = seen["faults"][name]
        assert f"rules of {game} must return states in [0, 1]" in message
        assert is_unchanged
    assert seen["faults"]["wrong last step"] == [True, False, True]


def test_every_look_at_the_host_raises_the_error(seen):
    faults = seen["faults"]
    for name in ("states", "counts", "returns", "signal"):
        assert "actions[0, 0] at time 0 must be in [0, 1], got 7" in faults[f"look at {name}"]
    assert faults["another draw"] == "probabilities[1, 3] at time 0 must be non-negative and sum to 1"


def test_actions_of_a_box_are_single_precision_as_on_the_cpu(seen):
    assert_allclose(seen["faults"]["box"], cuda_errors.bounded_steps("cpu"), rtol=1e-4, atol=1e-4)
    assert seen["faults"]["doubles"] == "actions must be an array of float32, got dtype float64"


def test_engines_share_a_device_and_begin_without_errors(seen):
    assert seen["faults"]["one device"]
    assert seen["faults"]["error before the first episode"] == 1
    assert (seen["faults"]["rollout before the first episode"] == cuda_errors.EPIDEMIC.n_agents).all()


def test_to_synchronize_is_to_wait_also_where_there_can_be_no_error(seen):
    """Observations may be on their way when all steps have been looked at."""
    assert seen["faults"]["waits"] == 2
