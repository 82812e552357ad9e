"""Devices by name, and what is said where one is missing."""

import dataclasses
import importlib.util
import math
import subprocess
import sys

import numpy as np
import pytest
from dry_cuda import DryDevice

from mfenvs import Engine, FiniteGame, n_player_exploitability, rule
from mfenvs.engine.cuda.device import device_index
from mfenvs.game import NO_PARAMETERS


@dataclasses.dataclass(kw_only=True)
class Fading(FiniteGame):
    """The reward fades exponentially with the state; one of the two ways to say so compiles for CUDA."""

    n_agents: int = 5
    horizon: int = 2
    with_numpy: bool = False
    agent_dtype = NO_PARAMETERS
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @property
    def reward(self):
        return by_numpy if self.with_numpy else by_math


@rule
def by_numpy(state, action, agent, world):
    return np.rint(-1.0 * state)


@rule
def by_math(state, action, agent, world):
    return math.exp(-1.0 * state)


def test_names_of_devices():
    assert device_index("cpu") is None
    assert (device_index("cuda"), device_index("cuda:3")) == (0, 3)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CUDA", "", None, 0])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match='device must be "cpu", "cuda" or "cuda:<number>", got'):
        Engine(Fading(), device=name)


def test_where_numba_cuda_is_not_installed_the_error_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else found(name))
    with pytest.raises(ImportError, match=r'device="cuda" needs numba-cuda: pip install "mfenvs\[cuda\]"'):
        Engine(Fading(), device="cuda")


def test_where_there_is_no_gpu_the_error_says_so(monkeypatch):
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a GPU of NVIDIA with its driver"):
        Engine(Fading(), device="cuda")
    with pytest.raises(RuntimeError, match="needs a GPU of NVIDIA with its driver"):
        n_player_exploitability(Fading(), np.full((2, 2, 2), 0.5), device="cuda")


def test_without_a_gpu_nothing_of_cuda_is_imported():
    code = (
        "import sys, mfenvs; mfenvs.Engine('Epidemic-v0').reset(0); print([m for m in sys.modules if 'cuda' in m])"
    )
    command = [
        sys.executable,
        "-c",
        code + "; assert not any(m.startswith('mfenvs.engine.cuda') for m in sys.modules)",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def test_rules_are_debugged_on_the_cpu():
    with pytest.raises(ValueError, match='debug must be False with device="cuda"'):
        Engine(Fading(), device="cuda", debug=True)


def test_a_rule_that_does_not_compile_for_cuda_is_told_what_to_call(monkeypatch):
    monkeypatch.setattr("mfenvs.engine.cuda.engine.open_device", lambda index: DryDevice((9, 0)))
    actions = np.zeros((1, 5), np.int32)
    engine = Engine(Fading(with_numpy=True), device="cuda")
    engine.reset(0)
    with pytest.raises(TypeError, match=r"(?s)Fading does not compile for CUDA.*rint.*math\.exp"):
        engine.step(actions)
    engine = Engine(Fading(), device="cuda")
    engine.reset(0)
    engine.step(actions)


def test_arrays_have_the_shapes_that_they_must_have(monkeypatch):
    monkeypatch.setattr("mfenvs.engine.cuda.engine.open_device", lambda index: DryDevice((9, 0)))
    engine = Engine(Fading(), device="cuda")
    with pytest.raises(RuntimeError, match="before reset"):
        engine.step(np.zeros((1, 5), np.int32))
    engine.reset(0)
    with pytest.raises(TypeError, match="rewards must be an array on the device"):
        engine.step(np.zeros((1, 5), np.int32), np.zeros((1, 5), np.float32))
