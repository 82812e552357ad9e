"""Files that are never half-written: everything is written beside its place and then renamed into it."""

import contextlib
import importlib.metadata
import json
import os
import platform
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

VERSIONED_PACKAGES = ("mfenvs", "numpy", "numba", "scipy", "gymnasium", "pettingzoo", "torch", "stable-baselines3")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file whose content takes the place of ``path`` only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON; numpy numbers and arrays become plain ones."""
    text = json.dumps(content, indent=2, default=_plain) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file; ValueError naming the file if it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def read_arrays(path: str | Path, what: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file; ValueError naming the file if it is not ``what`` that was saved."""
    try:
        with zipfile.ZipFile(path) as members:
            members.testzip()
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a saved {what}: {error}") from None


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write {value!r} as JSON")
