"""The trainers under the name that they are installed with, in a clone.

Installed, the trainers are the package ``mfenvs.baselines``. In a clone (or an editable install) they are the
folder ``baselines`` beside this package, and this module makes the installed name mean the same modules:
``mfenvs.baselines.x`` *is* ``baselines.x``, so that a class imported by either name is one class.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import baselines

if TYPE_CHECKING:
    from baselines import *  # noqa: F403

_PREFIX = f"{__name__}."


class _SameModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``mfenvs.baselines.x`` as the module ``baselines.x``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for the modules below this one."""
        return importlib.machinery.ModuleSpec(name, self) if name.startswith(_PREFIX) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the folder in the place of an empty one."""
        name = module.__name__
        sys.modules[name] = importlib.import_module(f"{baselines.__name__}.{name.removeprefix(_PREFIX)}")


sys.meta_path.insert(0, _SameModules())
sys.modules[__name__] = baselines
