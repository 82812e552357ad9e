"""Versions of the packages that a result depends on."""

import contextlib
import importlib.metadata
import platform

VERSIONED_PACKAGES = ("mfenvs", "numpy", "numba", "scipy", "gymnasium", "pettingzoo", "torch", "stable-baselines3")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on, by name."""
    found = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
