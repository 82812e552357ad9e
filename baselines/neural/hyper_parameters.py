"""Hyper-parameters of PPO: the defaults of Yardim & He, and checks of given values."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import LinearSchedule, get_device
from torch import nn

from mfenvs import checks
from mfenvs.engine.cuda.device import is_available

LARGEST_SEED = 2**63 - 1

LARGEST_COUNT = 2**31 - 1
"""Largest number of steps, rows, passes or neurons: more than memory holds, and within every library's
integers."""

TABLE_2: dict[str, Any] = {
    "learning_rate": LinearSchedule(2.5e-4, 0.0, 1.0),
    "batch_size": 16_384,
    "n_epochs": 4,
    "gamma": 0.999,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "normalize_advantage": True,
    "ent_coef": 6e-3,
    "vf_coef": 0.9,
    "max_grad_norm": 0.5,
    "policy_kwargs": {"net_arch": {"pi": [128, 128], "vf": [128, 128]}, "activation_fn": nn.LeakyReLU},
}
"""Hyper-parameters of Yardim & He, arXiv 2408.15173, table 2 and appendix E.2 [S]: the defaults of ``PPO``.

Separate networks for the policy and the value are the paper's too [S]; their initialisation (SB3's) and Adam's
epsilon 1e-5 (SB3's and CleanRL's) are not in the paper [O].
"""


def _positive(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0, exclude_low=True)


def _share(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0, 1.0)


def _not_negative(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0)


def _at_least(low: int, high: int = LARGEST_COUNT) -> Callable[[str, Any], int]:
    return lambda name, value: checks.integer(name, value, low, high)


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _or_schedule(check: Callable[[str, Any], float]) -> Callable[[str, Any], Any]:
    """A number, or a function of the remaining progress (from 1 to 0)."""
    return lambda name, value: value if callable(value) and not isinstance(value, type) else check(name, value)


def _folder(name: str, value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be None or the path of a folder, got {value!r}")
    return os.fspath(value)


def _layers(name: str, value: Any) -> list[int]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a list of layer widths, got {value!r}")
    return [checks.integer(f"{name}[{layer}]", width, 1) for layer, width in enumerate(value)]


def _policy_kwargs(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must be None or a dict of the policy's arguments by name, got {value!r}")
    layers, made = value.get("net_arch"), dict(value)
    if isinstance(layers, dict):
        where = f"{name}['net_arch']"
        if not set(layers) <= {"pi", "vf"}:
            raise ValueError(f"{where} must have the keys 'pi' and 'vf', got {layers!r}")
        made["net_arch"] = {key: _layers(f"{where}[{key!r}]", layers.get(key, [])) for key in ("pi", "vf")}
    elif layers is not None:
        made["net_arch"] = _layers(f"{name}['net_arch']", layers)
    if "activation_fn" in value and not callable(value["activation_fn"]):
        raise TypeError(
            f"{name}['activation_fn'] must be a class of activations such as torch.nn.Tanh, got"
            f" {value['activation_fn']!r}"
        )
    return made


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "learning_rate": _or_schedule(_not_negative),
    "n_steps": _at_least(1),
    "batch_size": _at_least(1),
    "n_epochs": _at_least(1),
    "gamma": _share,
    "gae_lambda": _share,
    "clip_range": _or_schedule(_positive),
    "clip_range_vf": _or_none(_or_schedule(_positive)),
    "normalize_advantage": checks.boolean,
    "ent_coef": checks.real,
    "vf_coef": _not_negative,
    "max_grad_norm": _positive,
    "use_sde": checks.boolean,
    "sde_sample_freq": _at_least(-1),
    "target_kl": _or_none(_positive),
    "stats_window_size": _at_least(1),
    "tensorboard_log": _or_none(_folder),
    "policy_kwargs": _or_none(_policy_kwargs),
    "verbose": _at_least(0, 2),
}
"""The check of each hyper-parameter of SB3's PPO, by its name."""


def checked_hyper_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Check hyper-parameters of PPO, and convert their numbers to Python's own.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is unknown or its value not allowed.
    """
    for name in given:
        if name not in CHECKS:
            raise TypeError(f"unknown hyper-parameter {name!r}; allowed: {', '.join(CHECKS)}")
    found = {name: CHECKS[name](name, value) for name, value in given.items()}
    if found.get("normalize_advantage", False):
        # One advantage has no standard deviation.
        checks.integer("batch_size, where advantages are normalised,", found["batch_size"], 2)
    return found


def checked_seed(seed: Any) -> int:
    """A random seed as an int; for None a seed drawn by chance."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return checks.integer("seed", seed, 0, LARGEST_SEED)


def parsed_device(device: Any) -> str | torch.device:
    """Check the name of a device, which this machine need not have; "auto" is allowed.

    Raises
    ------
    TypeError, ValueError
        If the value is not a device.
    """
    allowed = "'auto', 'cpu', 'cuda', 'cuda:1', ... or a torch.device"
    if isinstance(device, str) and device == "auto":
        return "auto"
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be {allowed}, got {device!r}")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be {allowed}, got {device!r}") from None


def checked_device(device: Any) -> str | torch.device:
    """Check that a device is one of this machine's; "auto" is allowed.

    As in SB3, "cuda" stands for the CPU on a machine without a GPU, so that a model can be loaded anywhere.

    Raises
    ------
    TypeError, ValueError
        If the value is not a device, or a device that this machine does not have.
    """
    found = parsed_device(device)
    if isinstance(found, str) or (found.type == "cuda" and not torch.cuda.is_available()):
        return found
    try:
        if found.type == "meta":
            raise RuntimeError("its tensors have no content")
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device must be one that this machine has, got {device!r}: {reason}") from None
    return found


def environment_device(device: Any) -> str:
    """Device of the worlds that are made for networks on ``device``: the same GPU, else ``"cpu"``.

    With "auto" it is the CPU where numba-cuda is not installed or finds no GPU. Where torch finds none, networks
    for "cuda" are on the CPU (:func:`checked_device`), and so are the worlds.
    """
    found = get_device(checked_device(device))
    if found.type != "cuda" or (device == "auto" and not is_available()):
        return "cpu"
    return f"cuda:{cuda_number(found)}"


def cuda_number(device: torch.device) -> int:
    """The number of a CUDA device of torch: of ``"cuda"``, that of the current one."""
    return int(torch.cuda.current_device() if device.index is None else device.index)


def checked_callback(callback: Any) -> MaybeCallback:
    """A callback of one of the kinds that SB3's ``learn`` takes; TypeError for anything else."""
    parts = callback if isinstance(callback, list) else [callback]
    is_list = isinstance(callback, list)
    for part in parts:
        if isinstance(part, BaseCallback) or (not is_list and (part is None or _is_function(part))):
            continue
        raise TypeError(
            "callback must be None, a callback of Stable-Baselines3, a list of them or a function of (locals,"
            f" globals), got {callback!r}"
        )
    found: MaybeCallback = callback
    return found


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)
