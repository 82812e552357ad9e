"""Which code is shared, and which machine code is found again on disk."""

import importlib.util
import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from mfenvs import Engine
from mfenvs.engine import compile as compile_module
from mfenvs.engine.compile import _fingerprint
from mfenvs.engine.cpu import Layout, build_kernels
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi
from mfenvs.rules import rule

FIRST = """
@rule
def inner(x):
    return x * FACTOR

@rule
def outer(x):
    return inner(x) + CONSTANT
"""


def make(source: str, name: str = "outer", **scope):
    """A rule from source; every call makes new objects, as another process would."""
    namespace = {"rule": rule, "np": np, **scope}
    exec(source, namespace)
    return namespace[name]


def module(**values):
    made = types.ModuleType("users_constants")
    vars(made).update(values)
    return made


class TestFingerprint:
    def test_equal_sources_have_equal_fingerprints(self):
        a, b = (_fingerprint(make(FIRST, FACTOR=2.0, CONSTANT=1)) for _ in range(2))
        assert a is not None
        assert a == b

    @pytest.mark.parametrize(
        ("source", "scope"),
        [
            (FIRST.replace("x * FACTOR", "x / FACTOR"), {}),  # code of a rule that is reached
            (FIRST.replace("+ CONSTANT", "+ CONSTANT + 1"), {}),  # a literal
            (FIRST, {"FACTOR": 2.5}),  # a number that is reached
            (FIRST, {"FACTOR": 2}),  # of another type
            (FIRST, {"FACTOR": np.float32(2)}),
            (FIRST, {"CONSTANT": True}),
        ],
    )
    def test_whatever_is_edited_changes_it(self, source, scope):
        before = _fingerprint(make(FIRST, FACTOR=2.0, CONSTANT=1))
        assert _fingerprint(make(source, **{"FACTOR": 2.0, "CONSTANT": 1} | scope)) != before

    def test_defaults_of_helpers_count(self):
        source = "@rule\ndef inner(x, p=0.3): return x * p\n@rule\ndef outer(x): return inner(x)"
        a, b = (make(s) for s in (source, source.replace("0.3", "0.4")))
        assert (a(1.0), b(1.0)) == (0.3, 0.4)
        assert _fingerprint(a) != _fingerprint(b)

    def test_numbers_in_a_users_module_count(self):
        source = "@rule\ndef outer(x): return x * constants.RATE"
        a, b, c = (make(source, constants=module(RATE=r, OTHER=o)) for r, o in ((0.3, 1), (0.4, 1), (0.3, 2)))
        assert (a(1.0), b(1.0)) == (0.3, 0.4)
        assert _fingerprint(a) != _fingerprint(b)
        assert _fingerprint(a) == _fingerprint(c)
        nested = [
            make("@rule\ndef outer(x): return x * k.sub.RATE", k=module(sub=module(RATE=r))) for r in (0.3, 0.4)
        ]
        assert _fingerprint(nested[0]) != _fingerprint(nested[1])

    def test_modules_that_hold_each_other_end(self):
        a, b = module(RATE=1.0), module()
        a.b, b.a = b, a
        assert _fingerprint(make("@rule\ndef outer(x): return x * a.b.a.RATE", a=a)) is not None

    def test_which_of_two_reached_rules_is_used_twice_counts(self):
        source = "@rule\ndef outer(x): return f(x) + g(x) + h(x)"
        f, g = make("@rule\ndef outer(x): return x"), make("@rule\ndef outer(x): return -x")
        assert _fingerprint(make(source, f=f, g=g, h=f)) != _fingerprint(make(source, f=f, g=g, h=g))

    def test_closures_count(self):
        source = "def maker(k):\n    @rule\n    def inner(x): return x * k\n    return inner"
        a, b, c = (make(source, "maker")(k) for k in (2, 3, 2))
        assert _fingerprint(a) == _fingerprint(c) != _fingerprint(b)

    def test_recursion_ends(self):
        assert _fingerprint(make("@rule\ndef outer(x): return x if x < 1 else outer(x - 1)"))

    def test_what_cannot_be_told_is_not_cached(self):
        assert _fingerprint(make("@rule\ndef outer(x): return x + table[0]", table=np.ones(2))) is None


def test_kernels_are_shared_by_games_of_equal_rules():
    a, b = (
        build_kernels(g.rules, Layout.of(g)) for g in (Epidemic(n_agents=3), Epidemic(n_agents=9, recovery=0.5))
    )
    assert a is b
    c = RockPaperScissors(n_agents=3)
    assert build_kernels(c.rules, Layout.of(c)) is not a


def outer_of(path, source):
    """The function ``outer`` of a module that is written to a file: only such functions are kept on disk."""
    path.write_text(f"import numpy as np\nfrom mfenvs.engine.compile import solver\n{source}")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found.outer


BELOW = """
@solver
def outer(x):
    return inner(x) + 1


@solver
def inner(x):
    return x * {factor}
"""


def test_a_function_that_stands_below_its_caller_is_part_of_the_content(tmp_path):
    found = [outer_of(tmp_path / f"module_{i}.py", BELOW.format(factor=f)) for i, f in enumerate((2, 3, 2))]
    assert [outer(5) for outer in found] == [11, 16, 11]
    assert [outer._cache._fingerprint == found[0]._cache._fingerprint for outer in found] == [True, False, True]


def test_what_cannot_be_told_is_compiled_in_every_process(tmp_path):
    source = "table = np.ones(2)\n@solver\ndef outer(x): return x + table[0]"
    outer = outer_of(tmp_path / "module.py", source)
    assert outer._cache._fingerprint is None
    assert outer(1.0) == 2.0


def test_without_a_place_to_write_kernels_still_compile(monkeypatch):
    def nowhere(self, function, fingerprint):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compile_module._ContentCache, "__init__", nowhere)

    @compile_module.kernel
    def twice(x):
        return 2 * x

    assert twice(3) == 6


SCRIPT = """
import dataclasses, json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from mfenvs import Engine, FiniteGame, rule, InducedGame

GAIN = {gain}

@rule
def gain(x):
    return x * GAIN

@dataclasses.dataclass(kw_only=True)
class Mine(FiniteGame):
    n_agents: int = 3
    horizon: int = 2
    agent_dtype = np.dtype([("unused", np.float32)])
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return gain(1.0 + action)

game = Mine()
engine = Engine(game)
engine.reset(seed=0)
rewards = engine.step(np.ones((1, 3), int))
value = InducedGame(game).value(np.full((2, 2, 2), 0.5))
kernels = [engine._kernels.start, engine._kernels.step, InducedGame(game).kernels.flow]
hits, misses = (sum(sum(getattr(k.stats, s).values()) for k in kernels) for s in ("cache_hits", "cache_misses"))
print(json.dumps(dict(reward=float(rewards[0, 0]), value=value, hits=hits, misses=misses)))
"""


def run(tmp_path, gain: float) -> dict:
    return run_script(tmp_path, SCRIPT.replace("{gain}", str(gain)))


def run_script(tmp_path, source: str) -> dict:
    script = tmp_path / "users_game.py"
    script.write_text(source)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout)


def test_a_second_process_finds_the_code_and_an_edited_rule_is_not_mistaken_for_it(tmp_path):
    first = run(tmp_path, 0.5)
    assert first == {"reward": 1.0, "value": pytest.approx(1.5), "hits": 0, "misses": 3}
    files = sorted(p.name for p in (tmp_path / "cache").rglob("*.nbc"))
    assert run(tmp_path, 0.5) == first | {"hits": 3, "misses": 0}
    assert sorted(p.name for p in (tmp_path / "cache").rglob("*.nbc")) == files
    edited = run(tmp_path, 0.75)
    # The start of an episode does not read the edited number.
    assert edited == {"reward": 1.5, "value": pytest.approx(2.25), "hits": 1, "misses": 2}


NAMED_CONSTANTS = """
import dataclasses, json
from typing import NamedTuple
import numpy as np
from mfenvs import Engine, FiniteGame, rule
from mfenvs.engine import compile

class Constants(NamedTuple):
    gain: float

@dataclasses.dataclass(kw_only=True)
class Mine(FiniteGame):
    n_agents: int = 3
    horizon: int = 9
    agent_dtype = np.dtype([("unused", np.float32)])
    n_states = 2
    n_actions = 2

    @property
    def constants(self):
        return Constants(0.5)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return world.constants.gain * (1.0 + action)

reads, load = [], compile._OneFilePerKey._load_data
compile._OneFilePerKey._load_data = lambda self, name: (reads.append(name), load(self, name))[1]
engine = Engine(Mine())
engine.reset(seed=0)
rewards = [engine.step(np.ones((1, 3), int))[0, 0].item()]
before = len(reads)
for _ in range(5):
    rewards.append(engine.step(np.ones((1, 3), int))[0, 0].item())
print(json.dumps(dict(rewards=rewards, reads=len(reads) - before)))
"""


def test_code_for_a_class_of_the_main_script_is_not_read_in_every_step(tmp_path):
    for _ in range(2):
        assert run_script(tmp_path, NAMED_CONSTANTS) == {"rewards": [1.0] * 6, "reads": 0}


def test_the_games_of_the_package_can_be_cached():
    for game in (Epidemic(n_agents=3), RockPaperScissors(n_agents=3), Taxi(n_agents=3)):
        kernels = Engine(game)._kernels
        for name in ("start", "step", "observe", "occupancy", "act", "rollout"):
            assert getattr(kernels, name)._cache._fingerprint is not None, name


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
