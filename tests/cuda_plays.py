"""What an engine does in a few steps of a game, for comparisons of devices; run as a script in numba's simulator.

``python cuda_plays.py OUT MOST NAME...`` plays the games on a simulated CUDA device, where one block steps a world
of at most MOST agents, and pickles what it saw to OUT.
"""

import dataclasses
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs import Engine, FiniteGame, make
from mfenvs.engine import engine as cpu_engine
from mfenvs.engine.cuda import device as device_module
from mfenvs.engine.cuda import engine as engine_module
from mfenvs.games.energy.market import EnergyMarket

N_AGENTS, N_WORLDS, SEED = 7, 3, 2**63 - 5
IN_PARTS, BY_ONE_BLOCK = 0, 4096
"""Largest numbers of agents that are stepped by one block, so that a step is several launches, or two."""

needs_a_gpu = pytest.mark.skipif(
    device_module.CudaDevice.is_simulated or not device_module.is_available(), reason="needs a GPU of NVIDIA"
)
"""Mark of tests that run where there is a GPU, and nowhere else."""

VARIANTS = {"BinnedEnergyMarket-v1 in weathers": ("BinnedEnergyMarket-v1", {"weather_sd": 0.2, "n_weathers": 4})}
"""Games whose kernels differ from those of the registered one: name and constants."""


def small(name):
    """A registered game, or a variant of one, with few agents, where that is possible."""
    registered, constants = VARIANTS.get(name, (name, {}))
    game = make(registered, **constants)
    try:
        return dataclasses.replace(game, n_agents=N_AGENTS)
    except ValueError:
        return game


def on_host(array):
    """A copy of an array or a tensor of any device."""
    if hasattr(array, "cpu"):
        array = array.cpu()
    return np.array(array.copy_to_host() if hasattr(array, "copy_to_host") else array)


def play(game, device):
    """Arrays of a short episode, by what they are."""
    engine = Engine(game, N_WORLDS, first_world=2, device=device, keep_accounts=bool(game.account_names))
    engine.keep_returns()
    found = {"start": on_host(engine.reset(SEED))}
    n_steps = min(3, game.horizon)
    for h in range(n_steps):
        found[f"observed {h}"] = on_host(engine.observe())
        actions = on_host(engine.random_actions())
        found[f"actions {h}"] = actions
        if hasattr(game.action_space, "n"):
            found[f"masks {h}"] = on_host(engine.action_masks())
        if h == 1:
            found["error"] = refused(engine, actions)
        found[f"rewards {h}"] = on_host(engine.step(actions))
        found[f"states {h}"] = on_host(engine.states)
        found[f"counts {h}"] = on_host(engine.counts)
        found[f"signal {h}"] = on_host(engine.signal)
        if game.rules.place is not None:
            found[f"occupancy {h}"] = on_host(engine.occupancy())
        if game.account_names:
            found[f"accounts {h}"] = engine.accounts()
    found["returns"] = on_host(engine.returns)
    kept = engine.snapshot()
    other = Engine(game, N_WORLDS, first_world=2, device=device)
    other.keep_returns()
    other.restore(kept)
    found["restored"], found["restored signal"] = on_host(other.states), on_host(other.signal)
    if isinstance(game, FiniteGame):
        found |= sampled(engine, game) | episode(engine, game)
    return found


def refused(engine, actions):
    """The error of an invalid action of agent 2 in world 1, after which nothing may have moved."""
    wrong = actions.copy()
    wrong[1, 2] = 10_000
    before = on_host(engine.states)
    try:
        engine.step(wrong)
        if engine.is_playing:
            engine.step(actions)  # Only later does the host look: a second step is taken in vain.
        engine.synchronize()
    except ValueError as error:
        assert np.array_equal(before, on_host(engine.states)), "states moved"
        assert engine.time == 1, engine.time
        return np.array("actions[1, 2" in str(error))
    return np.array(False)


def sampled(engine, game):
    """Actions drawn from tables: one for all, one that was changed since, and one for each agent."""
    rng = np.random.default_rng(1)
    found, table = {}, np.cumsum(rng.dirichlet(np.ones(game.n_actions), (1, *game.policy_shape[:2])), axis=-1)
    table = table.astype(np.float32)
    table[..., -1] = 1.0
    for h in range(2):
        engine.reset(h)
        found[f"sampled {h}"] = on_host(engine.sample_actions(table))
        table[...] = table[..., -1:]  # Action 0 for sure.
        found[f"sampled from changed {h}"] = on_host(engine.sample_actions(table))
        table = np.repeat(table, game.n_agents, axis=0) if h == 0 else table
        table[..., 0] = rng.random(table.shape[:-1])
    return found


def episode(engine, game):
    """A whole episode by tabular policies, with an agent that deviates."""
    rng = np.random.default_rng(0)
    policies = rng.dirichlet(np.ones(game.n_actions), (N_WORLDS, *game.policy_shape[:2]))
    if game.n_states * game.horizon > 200:  # The simulator is slow.
        return {}
    run = engine.rollout(policies[0], seed=3, deviators=[-1, 0, 4], deviations=policies)
    starts = run.states[:, -1].astype(np.int64)
    placed = engine.rollout(policies[1], seed=4, world_ids=[9, 1], starts=starts[:2])
    names = ("states", "actions", "rewards", "counts")
    return {f"run {n}": getattr(run, n) for n in names} | {f"placed {n}": getattr(placed, n) for n in names}


def compare(expected, found, name):
    """Assert that two devices gave the same arrays: equal integers, numbers equal up to rounding."""
    assert expected.keys() == found.keys(), name
    for what, array in expected.items():
        assert (found[what].shape, found[what].dtype) == (array.shape, array.dtype), (name, what)
        fields = array.dtype.names or (None,)
        for field in fields:
            one, other = (a if field is None else a[field] for a in (array, found[what]))
            if one.dtype.kind == "f":
                # The simulator computes in double precision what compiled rules compute in single precision, and
                # a GPU rounds once where a processor rounds a product and then a sum.
                assert_allclose(other, one, rtol=1e-4, atol=1e-4, err_msg=f"{name}: {what}")
            else:
                assert_array_equal(other, one, err_msg=f"{name}: {what}")


def simulate_compiled_arithmetic():
    """Let the simulator's arrays give numbers as compiled rules have them: indices in 64 bits, sums in 64 bits.

    NumPy's own scalars keep 8 and 32 bits when Python numbers are added to them.
    """
    from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray

    as_it_is = FakeWithinKernelCUDAArray.__getitem__

    def getitem(self, index):
        number = as_it_is(self, index)
        if isinstance(number, np.float32):
            return np.float64(number)
        return int(number) if isinstance(number, np.uint8 | np.int32 | np.int64) else number

    FakeWithinKernelCUDAArray.__getitem__ = getitem

    # Kernels of the CPU, which compute accounts, are Python functions too, and read fields of records by name.
    compute = engine_module.CudaEngine._accounts

    def accounts(self, states, actions, signal_before, constants):
        records = states.view(np.recarray) if states.dtype.names else states
        return compute(self, records, actions, signal_before, constants)

    engine_module.CudaEngine._accounts = accounts
    widen = cpu_engine.in_double_precision
    cpu_engine.in_double_precision = lambda records: widen(records).view(np.recarray)
    # They balance up to single precision only: NumPy adds a Python number to a number in single precision in that.
    EnergyMarket.audit = lambda self, accounts, signal: None


def use_few_threads():
    """Launch kernels on few threads: a simulated one is a thread of Python, and is to take several agents."""
    device_module.WARP = device_module.THREADS_IN_BLOCK = device_module.THREADS_IN_BLOCK_OF_WORLD = 4
    device_module.MOST_BLOCKS = 3
    device_module.MOST_BLOCKS_OF_WORLDS = 2


def main():
    simulate_compiled_arithmetic()
    use_few_threads()
    out, most_agents_of_block, *names = sys.argv[1:]
    engine_module.MOST_AGENTS_OF_BLOCK = int(most_agents_of_block)
    Path(out).write_bytes(pickle.dumps({name: play(small(name), "cuda") for name in names}))


if __name__ == "__main__":
    main()
