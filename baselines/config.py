"""Hyper-parameters: dataclasses whose fields hold plain Python values of their declared types."""

import dataclasses
import numbers
import types
import typing
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.engine.cuda.device import device_index


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Hyper-parameters that all trainers have.

    NumPy's numbers are converted to Python's, so that they can be written to a file. Arrays and tensors are
    refused, even those of a single number.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    seed: int = 0
    """Random seed of the training."""

    def __post_init__(self) -> None:
        for name, kind in _field_types(type(self)).items():
            object.__setattr__(self, name, _plain(name, getattr(self, name), kind))
        checks.integer("seed", self.seed, 0, 2**63 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulationConfig(TrainerConfig):
    """Hyper-parameters of trainers that learn tables from whole simulated episodes.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    device: str = "cpu"
    """Device on which episodes are simulated: cpu, cuda, cuda:1, ... (a GPU of NVIDIA, with the extra cuda).
    Tables are learned on the CPU: the episodes of an iteration are copied from the device when they have ended."""

    def __post_init__(self) -> None:
        super().__post_init__()
        device_index(self.device)


def _field_types(config_class: type[TrainerConfig]) -> dict[str, Any]:
    hints = typing.get_type_hints(config_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def _plain(name: str, value: Any, kind: Any) -> Any:
    """``value`` as a plain Python value of this type; its range is checked by the class."""
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType) and types.NoneType in arguments:
        rest = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else _plain(name, value, rest[0]) if len(rest) == 1 else value
    if typing.get_origin(kind) is typing.Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, arguments))}, got {value!r}")
        return value
    if typing.get_origin(kind) is tuple and arguments[0] in (int, float) and isinstance(value, list | tuple):
        return tuple(_plain(f"{name}[{place}]", entry, arguments[0]) for place, entry in enumerate(value))
    if kind is bool:
        # A number of numpy's is one value, an array without axes is none here.
        if hasattr(value, "ndim") and not isinstance(value, np.generic):
            raise TypeError(f"{name} must be True or False, got {value!r}")
        return checks.boolean(name, value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        return int(value)
    if kind is float:
        return _plain_float(name, value)
    if kind is str and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r}")
    return value


def _plain_float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold, got {value!r}") from None
