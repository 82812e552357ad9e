"""Every kernel of every registered game compiles for a GPU, with the arguments that the engine gives it."""

import re

import numpy as np
import pytest
from cuda_plays import VARIANTS, small
from dry_cuda import DryDevice

from mfenvs import Engine, FiniteGame, make, registered_games
from mfenvs.cumulated import cumulative

AMPERE, HOPPER = (8, 0), (9, 0)
ADDITIONS = {memory: rf"\b(red|atom)\.{memory}\.add\." for memory in ("shared", "global")}
"""Atomic additions by which agents are counted, by the memory in which they are."""
FEW = ["Epidemic-v0"]
OTHERS = [name for name in registered_games() if name not in FEW]


def compiled(game, capability, monkeypatch):
    """The device after all that an engine launches, for a step in parts too."""
    device = DryDevice(capability)
    monkeypatch.setattr("mfenvs.engine.cuda.engine.open_device", lambda index: device)
    launch_everything(game)
    with monkeypatch.context() as in_parts:
        in_parts.setattr("mfenvs.engine.cuda.engine.MOST_AGENTS_OF_BLOCK", 0)
        launch_everything(game)
    return device


def launch_everything(game):
    engine = Engine(game, 2, device="cuda")
    engine.keep_returns()
    engine.reset(0)
    engine.observe()
    is_discrete = hasattr(game.action_space, "n")
    shape = (2, game.n_agents) + (() if is_discrete else game.action_space.shape)
    dtypes = (np.int32, np.int64) if is_discrete else (np.float32,)
    actions = [np.zeros(shape, dtype) for dtype in dtypes]
    for chosen in actions:
        if engine.is_playing:
            engine.step(chosen)
    engine.reset(0)
    engine.random_actions()
    if is_discrete:
        engine.action_masks()
    if game.rules.place is not None:
        engine.occupancy()
    if isinstance(game, FiniteGame):
        policy = np.full(game.policy_shape, 1.0 / game.n_actions)
        engine.sample_actions(cumulative(policy[None]))
        engine.rollout(policy, seed=0)


def assert_compiles(game, capability, monkeypatch):
    device = compiled(game, capability, monkeypatch)
    programs = {name for name, _ in device.ptx}
    assert {"start", "clear", "count_all", "advance", "check_actions", "step_worlds", "observe_all"} < programs
    assert ("publish_all" in programs) == (game.rules.publish is not None)
    completes_counts = (game.rules.aggregate, game.rules.weight, game.rules.count) != (None, None, None)
    assert ("settle" in programs) == completes_counts
    assert ("count_places" in programs) == (game.rules.place is not None)
    assert ("act" in programs) == ("check_table" in programs) == isinstance(game, FiniteGame)
    target = f".target sm_{capability[0]}{capability[1]}"
    assert all(target in ptx for ptx in device.ptx.values())
    assert_counts_atomically(device, game)


def assert_counts_atomically(device, game):
    """Both kernels that count do it where they should; return where."""
    memory = "shared" if game.n_agents >= 4 * game.n_cells and game.n_cells <= 4096 else "global"
    for name in ("count_all", "step_worlds"):
        assert re.search(ADDITIONS[memory], device.code(name)), f"{name}: agents are not counted atomically"
    return memory


@pytest.mark.parametrize("name", FEW)
def test_kernels_compile(name, monkeypatch):
    assert_compiles(make(name), HOPPER, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_kernels_of_other_games_compile(name, monkeypatch):
    assert_compiles(make(name), HOPPER, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_kernels_of_variants_compile(name, monkeypatch):
    assert_compiles(small(name), HOPPER, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", registered_games())
def test_kernels_compile_for_older_devices(name, monkeypatch):
    assert_compiles(make(name), AMPERE, monkeypatch)


@pytest.mark.slow
def test_rules_written_for_one_thread_count_atomically(monkeypatch):
    few, many = small("EnergyMarket-v0"), make("Malware-v0")
    assert assert_counts_atomically(compiled(few, HOPPER, monkeypatch), few) == "global"
    assert assert_counts_atomically(compiled(many, HOPPER, monkeypatch), many) == "shared"


def test_observations_compile_into_a_part_of_a_larger_tensor(monkeypatch):
    """As where observation blocks follow: the array is not contiguous."""
    device = DryDevice(HOPPER)
    monkeypatch.setattr("mfenvs.engine.cuda.engine.open_device", lambda index: device)
    game = make("Epidemic-v0")
    engine = Engine(game, 2, device="cuda")
    wide = np.zeros((2, game.n_agents, game.n_features + 2), np.float32)
    engine._launch(engine._programs.observe, game.n_agents, wide[..., 1:-1], *engine._public())
    assert ".visible .entry" in device.code("observe_all")
