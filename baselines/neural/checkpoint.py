"""Checkpoints of neural trainers that hold data only: reading one runs no code from the file.

A checkpoint holds a header of counters, and arrays of the networks' parameters, the optimiser's moments and the
environment's state, in the format of :mod:`mfenvs.files`. Everything else is made again from the game and the
hyper-parameters, so that the name, shape and dtype of every array are known before it is read; a file that holds
anything else is refused. Stable-Baselines3's own files, which :meth:`baselines.PPO.save` writes, hold pickled
Python objects instead.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv
from mfenvs.engine.snapshot import Snapshot
from mfenvs.files import HEADER, ArraySpecification, SavedArrays, replacing
from mfenvs.game import MAX_SEED
from mfenvs.wrappers.risk import RiskSnapshot

from .collecting import RolloutCollector, population_env
from .rollout_law import agent_types
from .wasserstein import LAWS, WassersteinSchedule

FORMAT = 1

COUNTERS = {
    "num_timesteps": 2**63 - 1,
    "n_updates": 2**63 - 1,
    "seed": MAX_SEED,
    "episode": 2**63 - 1,
    "time": 2**63 - 1,
}
"""Names of the numbers in the header, and the largest allowed value of each: counters of the training, and the
position of the environment."""

ADAM = ("exp_avg", "exp_avg_sq", "step")
"""The state of Adam for each parameter: the first two moments of its gradient, and the number of steps."""

Arrays = dict[str, NDArray[Any]]


def save_checkpoint(path: str | Path, model: RolloutCollector) -> None:
    """Write everything that training needs to be continued, as a whole or not at all.

    Parameters
    ----------
    path:
        Path of the file.
    model:
        A model on one of our VecEnvs. Within a rollout, the state at the beginning of the rollout is written.

    Raises
    ------
    TypeError
        If the environment of ``model`` is not one of our VecEnvs.
    """
    header, arrays = _state_of(model)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with replacing(path) as file:
        # Not compressed: weights hardly shrink, and those of many agents take seconds.
        np.savez(file, **{HEADER: text, **arrays})  # type: ignore[arg-type]


def load_checkpoint(path: str | Path, model: RolloutCollector) -> None:
    """Restore the state that :func:`save_checkpoint` wrote in a new model.

    Parameters
    ----------
    path:
        Path of the file.
    model:
        A model of the same class, game and hyper-parameters. It is changed only if the whole file is valid.

    Raises
    ------
    mfenvs.files.FileError
        If the file is damaged or was written for another model, or one of its numbers is not allowed.
    TypeError
        If the environment of ``model`` is not one of our VecEnvs.
    """
    env = _environment(model)
    with SavedArrays(path, type(model).__name__) as saved, saved.blamed():
        header = _checked_header(saved.header(), model)
        arrays = saved.arrays(_specifications(model, env, header))
        _set_state(model, env, header, arrays)


def is_checkpoint(path: Any) -> bool:
    """Whether a file is one that :func:`save_checkpoint` wrote, and not one of Stable-Baselines3."""
    try:
        with zipfile.ZipFile(path) as members:
            return f"{HEADER}.npy" in members.namelist()
    except (OSError, TypeError, ValueError, zipfile.BadZipFile):
        return False


def _state_of(model: RolloutCollector) -> tuple[dict[str, Any], Arrays]:
    env, optimizer = _environment(model), model.policy.optimizer
    header: dict[str, Any] = {
        "format": FORMAT,
        "algorithm": type(model).__name__,
        "num_timesteps": model.num_timesteps,
        "n_updates": model._n_updates,
        "optimized": [name for name, parameter in _trained(model) if parameter in optimizer.state],
        "has_begun": model._last_obs is not None,
        **{"seed": 0, "episode": 0, "time": 0},
    }
    arrays = {f"parameters/{name}": _as_array(value) for name, value in model.policy.state_dict().items()}
    for name, parameter in _trained(model):
        for key, value in optimizer.state.get(parameter, {}).items():
            arrays[f"optimizer/{name}/{key}"] = _as_array(value)
    if header["has_begun"]:
        start = model._rollout_start or model._training_position(env)
        snapshot: Snapshot = start["snapshot"]
        header["num_timesteps"] = start["num_timesteps"]
        header |= {name: getattr(snapshot, name) for name in ("seed", "episode", "time")}
        arrays |= {name: np.asarray(start[name]) for name in ("returns", "episode_starts")}
        arrays |= {f"snapshot/{name}": array for name, array in _arrays_of(snapshot).items()}
        arrays["snapshot/states"] = _as_bytes(snapshot.states)
    if isinstance(model.learning_rate, WassersteinSchedule):
        header["schedule"], laws = model.learning_rate.state()
        arrays |= {f"schedule/{name}": array for name, array in laws.items()}
    return header, arrays


def _set_state(model: RolloutCollector, env: PopulationVecEnv, header: dict[str, Any], arrays: Arrays) -> None:
    if header["has_begun"]:
        content: dict[str, Any] = {name: header[name] for name in ("seed", "episode", "time")}
        content |= {name: arrays[f"snapshot/{name}"] for name in _arrays_of(env.snapshot())}
        content["states"] = content["states"].view(env.engine.states.dtype)[..., 0]
        model._last_obs = env.restore((RiskSnapshot if "z" in content else Snapshot)(**content))
        model._returns, model._last_episode_starts = arrays["returns"], arrays["episode_starts"]
    if isinstance(model.learning_rate, WassersteinSchedule):
        laws = {name: arrays[f"schedule/{name}"] for name in LAWS if f"schedule/{name}" in arrays}
        model.learning_rate.set_state(header["schedule"], laws, agent_types(env.game), env.n_worlds)
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


def _specifications(
    model: RolloutCollector, env: PopulationVecEnv, header: dict[str, Any]
) -> dict[str, ArraySpecification]:
    """The specification of every array of a checkpoint of this model."""
    found = {
        f"parameters/{name}": ArraySpecification(np.float32, tuple(value.shape))
        for name, value in model.policy.state_dict().items()
    }
    shapes = {name: tuple(parameter.shape) for name, parameter in _trained(model)}
    for name in header["optimized"]:
        moments = f"optimizer/{name}"
        found[f"{moments}/exp_avg"] = ArraySpecification(np.float32, shapes[name])
        found[f"{moments}/exp_avg_sq"] = ArraySpecification(np.float32, shapes[name], low=0.0)
        found[f"{moments}/step"] = ArraySpecification(np.float32, (), low=0.0)
    if header["has_begun"]:
        found["returns"] = ArraySpecification(np.float64, (model.n_envs,))
        found["episode_starts"] = ArraySpecification(np.bool_, (model.n_envs,))
        for name, array in _arrays_of(env.snapshot()).items():
            # Whether states are possible ones, the environment finds out when it goes on from them.
            content = _as_bytes(array) if name == "states" else array
            low = np.finfo(np.float64).tiny if name == "scale" else -np.inf
            found[f"snapshot/{name}"] = ArraySpecification(content.dtype, content.shape, low=low)
    if isinstance(model.learning_rate, WassersteinSchedule):
        for name in LAWS[: header["schedule"]["updates"]]:
            found[f"schedule/{name}"] = ArraySpecification(np.float32, (model.n_steps, model.n_envs))
    return found


def _checked_header(header: Any, model: RolloutCollector) -> dict[str, Any]:
    has_schedule = isinstance(model.learning_rate, WassersteinSchedule)
    fields = {"format", "algorithm", "optimized", "has_begun", *COUNTERS, *(["schedule"] if has_schedule else [])}
    if not isinstance(header, dict) or set(header) != fields:
        raise ValueError(f"its header must have the fields {', '.join(sorted(fields))}, got {header!r:.200}")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}; this version of mfenvs reads {FORMAT}")
    if header["algorithm"] != type(model).__name__:
        raise ValueError(f"it holds a model of {header['algorithm']!r}")
    checks.boolean("has_begun", header["has_begun"])
    for name, most in COUNTERS.items():
        checks.integer(name, header[name], 0, most)
    if has_schedule:
        _check_counters("schedule", header["schedule"])
    known = [name for name, _ in _trained(model)]
    optimized = header["optimized"]
    if not isinstance(optimized, list) or any(name not in known for name in optimized):
        raise ValueError(f"optimized must be names of parameters ({', '.join(known)}), got {optimized!r:.200}")
    if len(set(optimized)) != len(optimized):
        raise ValueError(f"optimized must name each parameter once, got {optimized!r}")
    return header


def _check_counters(name: str, value: Any) -> None:
    if not isinstance(value, dict) or set(value) != {"updates", "num_timesteps"}:
        raise ValueError(f"{name} must hold updates and num_timesteps, got {value!r:.200}")
    for key, number in value.items():
        checks.integer(f"{name}: {key}", number, 0, 2**63 - 1)


def _environment(model: RolloutCollector) -> PopulationVecEnv:
    env = None if model.env is None else population_env(model.env)
    if env is None:
        raise TypeError(f"a checkpoint needs a model on a VecEnv of mfenvs.vec_env, got {model.env!r}")
    return env


def _arrays_of(snapshot: Snapshot) -> Arrays:
    named = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def _trained(model: RolloutCollector) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return model.policy.named_parameters()


def _as_array(value: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.detach().cpu().numpy()
    return array


def _as_bytes(states: NDArray[Any]) -> NDArray[np.uint8]:
    """States of any dtype as bytes, shape (n_worlds, n_agents, bytes of a state)."""
    return np.ascontiguousarray(states)[..., None].view(np.uint8)
