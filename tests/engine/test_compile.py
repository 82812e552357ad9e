"""Which code is shared by games, and which machine code another process finds on disk."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from mfenvs import Engine, InducedGame
from mfenvs.engine.compile import for_types_of, kernel
from mfenvs.engine.cpu import Layout, build_kernels
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors


def test_kernels_are_shared_by_games_of_equal_rules():
    a, b = (
        build_kernels(g.rules, Layout.of(g)) for g in (Epidemic(n_agents=3), Epidemic(n_agents=9, recovery=0.5))
    )
    assert a is b
    c = RockPaperScissors(n_agents=3)
    assert build_kernels(c.rules, Layout.of(c)) is not a


@kernel
def add_up(numbers, factor, out):
    total = 0.0
    for x in numbers:
        total += factor * x
    out[0] = total


def test_machine_code_for_known_types():
    """It is compiled once for equal types, whatever the values; for other types it is other code."""
    out, numbers = np.zeros(1), np.arange(3.0)
    found = for_types_of(add_up, numbers, 2.0, out)
    assert found is for_types_of(add_up, np.ones(9), 0.5, np.ones(4))
    for one in (numbers, np.ones(7)):
        found(one, 3.0, out)
        assert out[0] == 3.0 * one.sum()
    single = numbers.astype(np.float32)
    other = for_types_of(add_up, single, 2.0, out)
    assert other is not found
    other(single, 2.0, out)
    assert out[0] == 6.0
    assert len(add_up.overloads) == 2
    with pytest.raises(TypeError, match="Signature mismatch"):
        for_types_of(add_up, numbers, out)


SCRIPT = """
import dataclasses, json, pathlib, sys
from typing import NamedTuple
import numpy as np
from mfenvs import Engine, FiniteGame, InducedGame, rule
from mfenvs.engine import kernel_cache

GAIN = {gain}

class Terms(NamedTuple):
    {first}: float
    {second}: float

@rule
def gain(x):
    return x * GAIN

@dataclasses.dataclass(kw_only=True)
class Mine(FiniteGame):
    n_agents: int = 3
    horizon: int = 9
    agent_dtype = np.dtype([("unused", np.float32)])
    n_states = 2
    n_actions = 2

    @property
    def constants(self):
        return Terms(win=10.0, lose=-3.0)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return gain(world.constants.win + action)

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = public.constants.win

    @property
    def observation_size(self):
        return 1

reads, read = [], kernel_cache._read
kernel_cache._read = lambda path, key: (reads.append(path), read(path, key))[1]
game = Mine()
engine = Engine(game)
engine.reset(seed=0)
rewards = [engine.step(np.ones((1, 3), int))[0, 0].item()]
before = len(reads)
rewards += [engine.step(np.ones((1, 3), int))[0, 0].item() for _ in range(3)]
later = len(reads) - before
kernels = [engine._kernels.start, engine._kernels.step, engine._kernels.observe]
value = None
if {in_the_limit}:
    induced = InducedGame(game)
    value = induced.value(np.full((9, 2, 2), 0.5))
    kernels.append(induced.kernels.flow)
result = dict(
    reads_in_later_steps=later,
    rewards=rewards,
    observation=engine.observe()[0, 0, 0].item(),
    value=value,
    hits=sum(sum(k.stats.cache_hits.values()) for k in kernels),
    misses=sum(sum(k.stats.cache_misses.values()) for k in kernels),
    has_imported=sorted({{"first_script", "second_script"}} & set(sys.modules)),
)
print(json.dumps(result))
"""


def run(folder, name: str, **parts) -> dict:
    script = folder / f"{name}.py"
    script.write_text(SCRIPT.format(**parts))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("in_the_limit", [False, True])
@pytest.mark.slow
def test_another_script_finds_the_code_without_importing_the_first_and_edits_are_not_mistaken_for_it(
    tmp_path, in_the_limit
):
    """Rewards: gain times (win + the action 1); the mean-field players choose either action, for nine steps."""
    n_kernels = 4 if in_the_limit else 3

    def expected(gain, **hits):
        value = pytest.approx(9 * gain * 10.5) if in_the_limit else None
        alone = {"has_imported": [], "reads_in_later_steps": 0}
        return {"rewards": [11 * gain] * 4, "observation": 10.0, "value": value} | alone | hits

    first = run(tmp_path, "first_script", gain=0.5, first="win", second="lose", in_the_limit=in_the_limit)
    assert first == expected(0.5, hits=0, misses=n_kernels)
    files = sorted(p.name for p in (tmp_path / "cache").rglob("*.nbc"))

    # Another script of equal rules: the first is importable from it, and has no guard.
    second = run(tmp_path, "second_script", gain=0.5, first="win", second="lose", in_the_limit=in_the_limit)
    assert second == expected(0.5, hits=n_kernels, misses=0)
    assert sorted(p.name for p in (tmp_path / "cache").rglob("*.nbc")) == files

    # A number and the order of the fields are edited.
    edited = run(tmp_path, "first_script", gain=0.25, first="lose", second="win", in_the_limit=in_the_limit)
    assert edited == expected(0.25, hits=0, misses=n_kernels)


def test_no_two_processes_number_their_functions_alike() -> None:
    """Symbols of rules hold numba's number: equal ones of different rules would be taken for each other."""
    code = (
        "import os, mfenvs; from numba.core.bytecode import FunctionIdentity as F\n"
        "print(F.from_function(lambda: 0).unique_id, flush=True)\n"
        "pid = os.fork()\n"
        "if pid: os.waitpid(pid, 0)\n"
        "print(F.from_function(lambda: 0).unique_id, flush=True)"
    )
    numbers = []
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        numbers += [int(word) for word in run.stdout.split()]
    parent, child, _, *others = numbers  # the child prints before its parent goes on
    assert len(set(numbers)) == len(numbers) == 6
    assert abs(parent - child) > 2**20
    assert min(abs(parent - number) for number in others) > 2**20


def test_engines_and_induced_games_that_were_used_can_be_pickled():
    game = Epidemic(n_agents=3, horizon=4)
    engine, induced = Engine(game, 2), InducedGame(game)
    engine.reset(seed=1)
    actions, policy = np.zeros((2, 3), np.int32), induced.uniform_policy()
    engine.step(actions)
    expected = induced.exploitability(policy)
    again, same = pickle.loads(pickle.dumps((engine, induced)))
    assert np.array_equal(again.step(actions), engine.step(actions))
    assert np.array_equal(again.states, engine.states)
    assert same.exploitability(policy) == expected
