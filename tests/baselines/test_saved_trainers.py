"""Every trainer's file, damaged in hundreds of ways: refused by an error that names it, or good to go on with.

The damaged files are loaded in another process (this file, run as a script): one that corrupts memory kills it.
"""

import copy
import faulthandler
import functools
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.runs import ALGORITHMS
from baselines.trainer import Trainer
from mfenvs import make
from mfenvs.files import FileError

Members = dict[str, np.ndarray]

EPIDEMIC = {"n_agents": 5, "horizon": 3}
AUCTION = {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4, "discount": 0.8}
FAST = {
    "gmf-q": {"inner_iterations": 5},
    "naive-q": {"inner_iterations": 5},
    "three-step": {"n_pairs": 2},
    "symm-pmd": {"episodes": 2},
    "ipmd": {"episodes": 2},
    "td": {"episodes": 2},
    "independent-q": {"episodes": 2},
    "mf-q": {"episodes": 2},
    "deep-mirror-descent": {"n_updates": 8, "hidden": (3,)},
    "deep-fictitious-play": {"n_updates": 8, "n_average_updates": 8, "hidden": (3,), "reservoir_size": 12},
    "stationary-pg": {"n_runs": 2, "mean_field_steps": 3, "n_trajectories": 2, "trajectory_length": 4},
}
TABULAR = [name for name, trainer in ALGORITHMS.items() if issubclass(trainer, Trainer)]
CASES = [(name, "Epidemic-v0") for name in TABULAR if name != "stationary-pg"] + [
    (name, "Auction-v0") for name in ("gmf-v", "three-step", "naive-q", "independent-q", "stationary-pg")
]
QUICK = CASES[:2]
"""What every run of the tests tries."""

WORDS = (None, True, "x", [], {}, -1, 1.5, float("nan"), 2**70, -(2**70), [1], "9" * 400)
"""What no number in a header may be; some are no constant either, and none is slow."""


def trained(name: str, game: str) -> Trainer[Any]:
    constants = EPIDEMIC if game == "Epidemic-v0" else AUCTION
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = ALGORITHMS[name](make(game, **constants), **FAST.get(name, {}))
        return trainer.learn(2 * trainer.timesteps_per_iteration)


def read_members(path: Path) -> Members:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def damaged_arrays(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """An array in other shapes, of other dtypes and with other numbers."""
    flat = array.ravel()
    first = np.zeros(array.size, bool)
    first[:1] = True
    first = first.reshape(array.shape)
    yield "scalar", np.array(flat[0])
    yield "flat", np.append(flat, flat)[: flat.size + (array.ndim == 1)]
    yield "with an axis more", array[None]
    yield "empty", flat[:0]
    if array.ndim:
        yield "shorter", array[:-1]
        yield "longer", np.concatenate([array, array])
        yield "short in the last axis", array[..., :-1]
        yield "long in the last axis", np.concatenate([array, array], -1)
        yield "transposed", np.ascontiguousarray(array.T)
        yield "in Fortran's order", np.asfortranarray(array)
    for dtype in ("f4", "f8", ">f8", "i4", "i8", "u1", "?", "M8[s]", "m8[s]", "c16", "U4", "S3"):
        if np.dtype(dtype) != array.dtype:
            yield f"as {dtype}", flat.astype(np.int64).astype(dtype).reshape(array.shape)
    numbers = [0, -1, 1, 2, 2**31 - 1, -(2**31)]
    if array.dtype.kind == "f":
        numbers += [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 0.5, 1e6]
    elif array.dtype.itemsize == 8:
        numbers += [2**63 - 1, -(2**63)]
    for number in numbers:
        value = np.array(number, array.dtype)
        yield f"full of {number}", np.full_like(array, value)
        yield f"beginning with {number}", np.where(first, value, array)


def damages(members: Members) -> Iterator[tuple[str, Members]]:
    """The arrays of a file with one damage each."""
    for name in sorted(members.keys() - {"header"}):
        for damage, array in damaged_arrays(members[name]):
            yield f"{name} {damage}", {**members, name: array}
        yield f"without {name}", {other: members[other] for other in members if other != name}
        yield f"{name} renamed", {other + "_" * (other == name): members[other] for other in members}
    yield "another array", {**members, "more": np.zeros(3)}
    yield "without a header", {name: array for name, array in members.items() if name != "header"}
    yield "header of floats", {**members, "header": members["header"].astype(float)}
    yield "half a header", {**members, "header": members["header"][:40]}
    for damage, header in damaged_headers(json.loads(members["header"].tobytes())):
        text = json.dumps(header).encode()
        yield f"header: {damage}", {**members, "header": np.frombuffer(text, np.uint8)}


def damaged_headers(header: Any) -> Iterator[tuple[str, Any]]:
    for word in WORDS:
        yield repr(word), word
    for key in header:
        yield f"without {key}", {other: header[other] for other in header if other != key}
        for word in WORDS:
            yield f"{key} {word!r}", {**header, key: word}
    yield "more", {**header, "more": 1}
    yield "fewer iterations", {**header, "iteration": 0}
    yield "more iterations", {**header, "iteration": 10}
    yield "too many iterations", {**header, "iteration": 2**62}
    for part in ("constants", "config"):
        for key in header[part]:
            for word in (*WORDS, 0, 1, 7, 10**12, 12 * 10**18):
                if key not in ("inner_iterations", "episodes") or word != 10**12:
                    changed = copy.deepcopy(header)
                    changed[part][key] = word
                    yield f"{key} {word!r}", changed
        yield f"{part} without one", {**header, part: dict(list(header[part].items())[1:])}
        yield f"{part} with more", {**header, part: {**header[part], "more": 1}}


def files(path: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Ways to write the file again, each with one damage."""
    for damage, members in damages(read_members(path)):
        yield damage, functools.partial(np.savez, **members)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 10)):
        flipped = whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :]
        yield f"a bit of byte {place}", functools.partial(Path.write_bytes, data=flipped)
        yield f"{place} bytes", functools.partial(Path.write_bytes, data=whole[:place])


def try_all(path: Path, name: str) -> tuple[int, int]:
    """Load every damaged file and learn from what can be; return how many were refused and how many were not."""
    trainer_class: Any = ALGORITHMS[name]
    refused = good = 0
    target = path.with_name("damaged.npz")
    for damage, write in files(path):
        print(damage, file=sys.stderr)
        write(target)
        try:
            trainer = trainer_class.load(target)
        except FileError:
            refused += 1
        else:
            try:
                trainer.learn(1)
            except ValueError as error:  # Of a game with rewards whose squares a network's loss cannot hold.
                if "the loss must be finite" not in str(error):
                    raise
            assert np.isfinite(trainer.policy.probabilities).all(), damage
            good += 1
    return refused, good


def main(first: int, last: int) -> None:
    """Save some of the trainers, damage and load their files; print one line of JSON a trainer."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for name, game in CASES[first:last]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "whole.npz"
            trained(name, game).save(path)
            refused, good = try_all(path, name)
            print(json.dumps([name, game, refused, good]), flush=True)


@pytest.mark.parametrize(
    ("first", "last"), [(0, len(QUICK)), pytest.param(len(QUICK), len(CASES), marks=pytest.mark.slow)]
)
def test_damaged_files_are_refused_or_good_for_another_iteration(first: int, last: int) -> None:
    command = [sys.executable, __file__, str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [tuple(row[:2]) for row in rows] == CASES[first:last]
    for name, _, refused, good in rows:
        # What is good are other seeds, parameters and values that a trainer may have.
        assert refused > 300, name
        assert good < refused / 2, name


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
