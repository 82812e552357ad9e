"""Checkpoints of neural trainers that hold data only: reading one runs no code of whoever wrote it.

A checkpoint is a zip file of ``header.json`` (counters, and where the environment was) and of arrays in numpy's
format: the networks' parameters, the optimiser's moments, the states of all agents. Everything else is made again
from the game and the hyper-parameters, so that the name, shape and dtype of every array are known before it is
read; a file that holds anything else is refused. Stable-Baselines3's own files, which :meth:`baselines.PPO.save`
writes, hold pickled Python objects instead.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv
from mfenvs.engine.engine import Snapshot
from mfenvs.wrappers.risk import RiskSnapshot

from ..files import replacing
from .collecting import RolloutCollector, population_env

FORMAT = 1
HEADER = "header.json"
"""The member that tells a checkpoint from a file of Stable-Baselines3."""
LARGEST_HEADER = 2**16
"""Bytes."""
LARGEST_ARRAY_HEADER = 2**14
"""Bytes of numpy's description of an array, and more than zip adds for each."""
CHUNK = 2**20
"""Bytes that are read at a time."""

DAMAGES = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, RecursionError),
    *(NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error, struct.error),
)
"""What the libraries that read a damaged file raise."""

COUNTERS = {"num_timesteps": 0, "n_updates": 0, "seed": 0, "episode": 0, "time": 0}
"""The numbers of the header, and the least of each."""

Arrays = dict[str, NDArray[Any]]

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and dtype by name."""


def save_checkpoint(path: str | Path, model: RolloutCollector) -> None:
    """Write everything from which training can go on, at once or not at all.

    Parameters
    ----------
    path:
        The file.
    model:
        A model on one of our VecEnvs. Within a rollout, the state at its beginning is written.

    Raises
    ------
    TypeError
        If its environment is another.
    """
    header, arrays = _state_of(model)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as members:
        members.writestr(HEADER, json.dumps(header))
        for name, array in arrays.items():
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_checkpoint(path: str | Path, model: RolloutCollector) -> None:
    """Put a new model where the one was that :func:`save_checkpoint` wrote.

    Parameters
    ----------
    path:
        The file.
    model:
        A model of the same class, game and hyper-parameters. It is changed only if the whole file is in order.

    Raises
    ------
    ValueError
        If the file is damaged or was written for another model, or one of its numbers is not allowed.
    TypeError
        If the environment of ``model`` is not one of our VecEnvs.
    """
    kind = type(model).__name__
    _environment(model)
    try:
        header, arrays = _read(Path(path), model)
        _check_numbers(arrays)
        _set_state(model, header, arrays)
    except DAMAGES as error:
        raise ValueError(f"{path} is not a saved {kind}: {error}") from error


def is_checkpoint(path: Any) -> bool:
    """Whether a file is one that :func:`save_checkpoint` wrote, and not one of Stable-Baselines3."""
    try:
        with zipfile.ZipFile(path) as members:
            return HEADER in members.namelist()
    except DAMAGES:
        return False


def _state_of(model: RolloutCollector) -> tuple[dict[str, Any], Arrays]:
    env = _environment(model)
    header: dict[str, Any] = {
        "format": FORMAT,
        "algorithm": type(model).__name__,
        "num_timesteps": model.num_timesteps,
        "n_updates": model._n_updates,
        "optimized": [name for name, parameter in _trained(model) if parameter in model.policy.optimizer.state],
        "seed": 0,
        "episode": 0,
        "time": 0,
        "has_begun": model._last_obs is not None,
    }
    arrays = {f"parameters/{name}": _as_array(value) for name, value in model.policy.state_dict().items()}
    for name, parameter in _trained(model):
        for key, value in model.policy.optimizer.state.get(parameter, {}).items():
            arrays[f"optimizer/{name}/{key}"] = _as_array(value)
    if header["has_begun"]:
        boundary = model._boundary or model._where_it_is(env)
        snapshot: Snapshot = boundary["snapshot"]
        header |= {"num_timesteps": boundary["num_timesteps"], "seed": snapshot.seed}
        header |= {"episode": snapshot.episode, "time": snapshot.time}
        arrays |= {name: np.asarray(boundary[name]) for name in ("returns", "episode_starts")}
        arrays |= _arrays_of_snapshot(snapshot)
    return header, arrays


def _set_state(model: RolloutCollector, header: dict[str, Any], arrays: Arrays) -> None:
    env = _environment(model)
    if header["has_begun"]:
        content: dict[str, Any] = {name: header[name] for name in ("seed", "episode", "time")}
        content |= {name: arrays[f"snapshot/{name}"] for name in _arrays_in_snapshot(env)}
        model._last_obs = env.restore((RiskSnapshot if "z" in content else Snapshot)(**content))
        model._returns = arrays["returns"].copy()
        model._last_episode_starts = arrays["episode_starts"].copy()
    model.num_timesteps, model._n_updates = header["num_timesteps"], header["n_updates"]
    with torch.no_grad():
        for name, tensor in model.policy.state_dict().items():
            tensor.copy_(torch.from_numpy(arrays[f"parameters/{name}"]))
    parameters = dict(_trained(model))
    for name in header["optimized"]:
        parameter = parameters[name]
        first, second, step = (torch.from_numpy(arrays[f"optimizer/{name}/{key}"]) for key in ADAM)
        state = {"step": step, "exp_avg": first.to(parameter.device), "exp_avg_sq": second.to(parameter.device)}
        model.policy.optimizer.state[parameter] = state


ADAM = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps of every parameter: the first two moments of its gradient, and the number of steps."""


def _expected(model: RolloutCollector, header: dict[str, Any]) -> Layout:
    """Shape and dtype of every array of a checkpoint of this model."""
    single = np.dtype(np.float32)
    found: Layout = {
        f"parameters/{name}": (tuple(value.shape), single) for name, value in model.policy.state_dict().items()
    }
    shapes = {name: tuple(parameter.shape) for name, parameter in _trained(model)}
    for name in header["optimized"]:
        found |= {f"optimizer/{name}/{key}": (() if key == "step" else shapes[name], single) for key in ADAM}
    if header["has_begun"]:
        found |= {"returns": ((model.n_envs,), np.dtype(np.float64))}
        found |= {"episode_starts": ((model.n_envs,), np.dtype(np.bool_))}
        for name, array in _arrays_in_snapshot(_environment(model)).items():
            found[f"snapshot/{name}"] = (array.shape, array.dtype)
    return found


def _read(path: Path, model: RolloutCollector) -> tuple[dict[str, Any], Arrays]:
    """Read what is expected, and nothing else."""
    everything = {"optimized": [name for name, _ in _trained(model)], "has_begun": True}
    largest = LARGEST_HEADER + sum(
        2 * LARGEST_ARRAY_HEADER + _n_bytes(*what) for what in _expected(model, everything).values()
    )
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"it has {size} bytes, more than the {largest} of the largest checkpoint of this model")
    with zipfile.ZipFile(path) as members:
        header = _checked_header(json.loads(_read_member(members, HEADER, LARGEST_HEADER)), model)
        expected = _expected(model, header)
        names = {HEADER, *(f"{name}.npy" for name in expected)}
        found = members.namelist()
        if set(found) != names or len(found) != len(names):
            different = sorted(names.symmetric_difference(found)) or ["a name twice"]
            raise ValueError(f"it does not hold the arrays of this model; different: {', '.join(different[:3])}")
        return header, {name: _read_array(members, name, *what) for name, what in expected.items()}


def _read_member(members: zipfile.ZipFile, name: str, largest: int) -> bytes:
    info = members.getinfo(name)
    if info.file_size > largest:
        raise ValueError(f"{name} has {info.file_size} bytes, more than {largest}")
    with members.open(info) as member:
        content = member.read(largest)
        if member.read(1):
            raise ValueError(f"{name} has more than {largest} bytes")
    return content


def _read_array(members: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = _n_bytes(shape, dtype)
    info = members.getinfo(f"{name}.npy")
    if info.file_size > size + LARGEST_ARRAY_HEADER:
        raise ValueError(f"{name} must have {size} bytes, got {info.file_size}")
    with members.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} must be in version 1.0 of numpy's format")
        found_shape, in_columns, found_dtype = np.lib.format.read_array_header_1_0(member)
        if (found_shape, found_dtype) != (shape, dtype) or (in_columns and len(shape) > 1):
            raise ValueError(
                f"{name} must have shape {shape} and dtype {dtype}, got {found_shape} and {found_dtype}"
            )
        array = np.empty(shape, dtype)
        data, n_read = array.reshape(-1).view(np.uint8), 0
        while chunk := member.read(min(CHUNK, size - n_read)):
            data[n_read : n_read + len(chunk)] = np.frombuffer(chunk, np.uint8)
            n_read += len(chunk)
        # At its end zipfile compares the checksum.
        if n_read < size or member.read(1):
            raise ValueError(f"{name} must have {size} bytes")
    return array


def _checked_header(header: Any, model: RolloutCollector) -> dict[str, Any]:
    fields = {"format", "algorithm", "optimized", "has_begun", *COUNTERS}
    if not isinstance(header, dict) or set(header) != fields:
        raise ValueError(f"{HEADER} must have the fields {', '.join(sorted(fields))}, got {header!r}")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}; this version of mfenvs reads {FORMAT}")
    if header["algorithm"] != type(model).__name__:
        raise ValueError(f"it holds a model of {header['algorithm']!r}")
    checks.boolean("has_begun", header["has_begun"])
    for name, least in COUNTERS.items():
        checks.integer(name, header[name], least, 2**64 - 1 if name == "seed" else 2**63 - 1)
    known = [name for name, _ in _trained(model)]
    optimized = header["optimized"]
    if not isinstance(optimized, list) or any(name not in known for name in optimized):
        raise ValueError(f"optimized must be names of parameters ({', '.join(known)}), got {optimized!r}")
    if len(set(optimized)) != len(optimized):
        raise ValueError(f"optimized must name each parameter once, got {optimized!r}")
    return header


def _check_numbers(arrays: Arrays) -> None:
    """Refuse what a model or an environment cannot have; the environment checks its states itself."""
    for name, array in arrays.items():
        if array.dtype.names is None and not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        if name.endswith(("/exp_avg_sq", "/step")) and (array < 0.0).any():
            raise ValueError(f"{name} must not be negative")
    if "snapshot/scale" in arrays and not (arrays["snapshot/scale"] > 0.0).all():
        raise ValueError("snapshot/scale must be positive")


def _environment(model: RolloutCollector) -> PopulationVecEnv:
    env = None if model.env is None else population_env(model.env)
    if env is None:
        raise TypeError(f"a checkpoint needs a model on a VecEnv of mfenvs.vec_env, got {model.env!r}")
    return env


def _arrays_of_snapshot(snapshot: Snapshot) -> Arrays:
    named = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
    return {f"snapshot/{name}": value for name, value in named.items() if isinstance(value, np.ndarray)}


def _arrays_in_snapshot(env: PopulationVecEnv) -> Arrays:
    """The arrays of a snapshot of this environment, by the snapshot's own names."""
    return {name.removeprefix("snapshot/"): array for name, array in _arrays_of_snapshot(env.snapshot()).items()}


def _trained(model: RolloutCollector) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return model.policy.named_parameters()


def _as_array(value: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.detach().cpu().numpy()
    return array


def _n_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size
