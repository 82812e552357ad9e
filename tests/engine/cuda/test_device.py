"""Devices by name, and what is said where one is missing."""

import contextlib
import dataclasses
import importlib.util
import math
import subprocess
import sys
import types
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from dry_cuda import DryDevice
from numba import cuda

import mfenvs
from baselines import OnlineMirrorDescent, SymmPMD
from baselines.callbacks import EvaluationCallback, ExploitabilityCallback
from baselines.cli.main import main as command_line
from baselines.neural.best_response import approximate_best_response
from baselines.neural.collecting import is_same_device
from baselines.neural.hyper_parameters import environment_device
from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.tabular.temporal_difference import TDLearning
from mfenvs import Engine, FiniteGame, n_player_exploitability, rule
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.engine.cuda.device import CudaDevice, device_index
from mfenvs.engine.tensors import after_and_before_torch
from mfenvs.game import NO_PARAMETERS
from mfenvs.games.linear_quadratic import LinearQuadratic
from mfenvs.meanfield.relative_exploitability import relative_exploitability


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


class Constant:
    """Takes action 0."""

    def action_probabilities(self, observations):
        return np.tile(np.float32([1.0, 0.0]), (len(observations), 1))


def test_callbacks_refuse_names_of_no_device():
    for callback in (EvaluationCallback, ExploitabilityCallback):
        with pytest.raises(ValueError, match=r"device must be .cpu., .cuda..*got 'gpu'"):
            callback(device="gpu")


def test_a_device_of_torch_for_the_cpu_is_the_cpu():
    device = torch.device("cpu")
    assert Engine(Fading(), device=device).device == "cpu"
    assert mfenvs.vector_env(Fading(), device=device).num_envs == mfenvs.vec_env(Fading(), device=device).num_envs


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


@pytest.mark.parametrize(
    "make",
    [
        lambda device: mfenvs.vec_env(Fading(), device=device),
        lambda device: mfenvs.vector_env(Fading(), device=device),
        lambda device: mfenvs.torchrl_env(Fading(), device=device),
        lambda device: mfenvs.parallel_env(Fading(), device=device),
        lambda device: RepresentativeAgentEnv(Fading(), device=device),
        lambda device: RepresentativeVecEnv(Fading(), device=device),
        lambda device: mfenvs.evaluate(Fading(), n_worlds=2, device=device),
        lambda device: mfenvs.deviation_gain(Fading(), None, Constant(), n_worlds=2, device=device),
        lambda device: relative_exploitability(Fading(), np.full((2, 2, 2), 0.5), device=device),
        lambda device: approximate_best_response(Fading(), None, simulation_device=device),
        lambda device: SymmPMD(Fading(), device=device),
        lambda device: TDLearning(Fading(), device=device),
        lambda device: measure_policy(Fading(), None, MeasurementSettings(device=device)),
    ],
)
def test_every_way_to_a_device_says_what_is_missing(make, monkeypatch):
    for wrong in ("gpu", "cuda:x"):
        with pytest.raises(ValueError, match=f'device must be "cpu", "cuda".*got {wrong!r}'):
            make(wrong)
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a GPU of NVIDIA with its driver"):
        make("cuda:1")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else found(name))
    with pytest.raises(ImportError, match=r'device="cuda" needs numba-cuda: pip install "mfenvs\[cuda\]"'):
        make("cuda")


def test_the_command_line_refuses_a_device_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    folder = tmp_path / "run"
    words = ["train", "symm-pmd", "Epidemic-v0", "--folder", str(folder), "--device"]
    for device, message in (("cuda", "needs a GPU of NVIDIA"), ("gpu", 'device must be "cpu", "cuda"')):
        assert command_line([*words, device]) == 2
        assert message in capsys.readouterr().err
    assert not folder.exists()


def test_worlds_are_where_the_networks_are(monkeypatch):
    assert environment_device("cpu") == "cpu"
    for there, expected in ((True, "cuda:1"), (False, "cpu")):
        monkeypatch.setattr("baselines.neural.hyper_parameters.is_available", lambda there=there: there)
        monkeypatch.setattr("baselines.neural.hyper_parameters.get_device", lambda name: torch.device("cuda:1"))
        assert environment_device("auto") == expected
        # Who asks for a GPU is told if the worlds cannot be on it.
        assert environment_device("cuda") == "cuda:1"


def test_a_device_of_torch_has_several_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    cpu, current, first, second = map(torch.device, ("cpu", "cuda", "cuda:0", "cuda:1"))
    assert is_same_device(cpu, cpu)
    assert is_same_device(current, second)
    assert not is_same_device(current, first)
    assert not is_same_device(cpu, first)


def test_a_trainer_of_another_device_can_be_loaded_here(tmp_path, monkeypatch):
    trainer = SymmPMD(Fading(), episodes=1).learn(1)
    trainer.config = dataclasses.replace(trainer.config, device="cuda")
    trainer.save(tmp_path / "trainer.npz")
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    with pytest.raises((ValueError, RuntimeError), match="needs a GPU of NVIDIA"):
        SymmPMD.load(tmp_path / "trainer.npz", Fading())
    loaded = SymmPMD.load(tmp_path / "trainer.npz", Fading(), device="cpu")
    assert loaded.config.device == "cpu"
    assert loaded.iteration == 1
    trainer = OnlineMirrorDescent(Fading())
    trainer.save(tmp_path / "solver.npz")
    with pytest.raises((TypeError, ValueError), match="unknown hyper-parameter 'device'"):
        OnlineMirrorDescent.load(tmp_path / "solver.npz", Fading(), device="cpu")


@pytest.mark.parametrize("is_bold", [False, True])
def test_small_grids_are_no_reason_for_a_warning(is_bold, monkeypatch):
    def nothing(array):
        pass

    def warn_in_bold(warning):  # As numba does where colorama is installed.
        warnings.warn(type(warning)(f"\x1b[1m{warning}\x1b[0m"), stacklevel=2)

    if is_bold:
        monkeypatch.setattr("numba.cuda.dispatcher.warn", warn_in_bold)
    device = CudaDevice(cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = device._configured(nothing, (1, 1), 32)
    assert device._configured(nothing, (1, 1), 32) is small
    assert device._configured(nothing, (1, 2), 32) is not small


def test_kernels_of_large_blocks_are_compiled_for_their_registers():
    """A thread of 512 may have 128 registers; the compiler gives it up to 255, and the launch would fail."""
    device = CudaDevice(cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_worlds = device._configured(lambda array: None, (1, 1), 512, 512)
    assert of_worlds.dispatcher.targetoptions["launch_bounds"] == 512


class Stream:
    """A stream of torch that writes down for which other it waits."""

    def __init__(self, name, waits):
        self.name, self.waits = name, waits

    def wait_stream(self, other):
        self.waits.append((self.name, other.name))


@pytest.mark.parametrize("fails", [False, True])
def test_work_on_a_stream_of_its_own_is_done_before_and_after_the_engines(fails, monkeypatch):
    waits = []
    default, own = Stream("default", waits), Stream("own", waits)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: default)
    for current, before, after in ((default, [], []), (own, [("default", "own")], [("own", "default")])):
        waits.clear()
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device, current=current: current)
        with contextlib.suppress(KeyError), after_and_before_torch(torch.device("cuda")):
            assert waits == before
            waits.clear()
            if fails:
                raise KeyError
        assert waits == after
    monkeypatch.delattr(torch.cuda, "current_stream")
    with after_and_before_torch(torch.device("cpu")):
        pass


def test_a_box_whose_actions_are_no_vectors_is_refused(monkeypatch):
    monkeypatch.setattr("mfenvs.engine.cuda.engine.open_device", lambda index: DryDevice((9, 0)))
    space = gymnasium.spaces.Box(0.0, 1.0, (2, 3))
    monkeypatch.setattr(LinearQuadratic, "action_space", space)
    with pytest.raises(ValueError, match=r'actions must be Discrete or a Box of shape \(K,\) with device="cuda"'):
        Engine(LinearQuadratic(n_agents=4), device="cuda")


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


class Elsewhere:
    """An array on a card, as CuPy and numba have them; its address is the card's number, the first one's 9."""

    def __init__(self, card, **attributes):
        self.__cuda_array_interface__ = {"data": (card or 9, False), "shape": (2,), "typestr": "<i4", "version": 3}
        self.__dict__ |= attributes


@pytest.mark.parametrize("of_numba", [True, False])
def test_arrays_of_another_card_are_refused(of_numba, monkeypatch):
    driver = types.SimpleNamespace(cuPointerGetAttribute=lambda what, pointer: {9: 0, 1: 1}[int(pointer)])
    monkeypatch.setattr("numba.cuda.cudadrv.driver.driver", driver)
    gpus = [contextlib.nullcontext(), contextlib.nullcontext()]
    fake_cuda = types.SimpleNamespace(gpus=gpus, as_cuda_array=lambda array: ("a view", array))
    first, second = (Elsewhere(card, __cuda_ndarray__=of_numba) for card in (0, 1))
    for index, own, other in ((0, first, second), (1, second, first)):
        device = CudaDevice(fake_cuda, index)
        assert device.borrow("actions", own) == (own if of_numba else ("a view", own))
        with pytest.raises(ValueError, match=f"actions must be on cuda:{index}, got an array on cuda:{1 - index}"):
            device.borrow("actions", other)
    empty = Elsewhere(0, __cuda_ndarray__=of_numba)
    empty.__cuda_array_interface__["data"] = 0, False
    assert device.borrow("actions", empty) is not None


def test_tensors_of_another_card_are_refused():
    tensor = types.SimpleNamespace(device=torch.device("cuda:1"), __cuda_array_interface__={})
    tensor.detach = lambda: tensor
    device = CudaDevice(types.SimpleNamespace(gpus=[contextlib.nullcontext()], as_cuda_array=lambda array: array))
    with pytest.raises(ValueError, match="rewards must be on cuda:0, got an array on cuda:1"):
        device.borrow("rewards", tensor)
    tensor.device = torch.device("cuda:0")
    assert device.borrow("rewards", tensor) is tensor
    assert device.borrow("rewards", torch.zeros(2)) is None
