"""The trainers of a clone under the name that they have when installed.

Installed, the trainers are the package ``mfenvs.baselines``. In a clone (or an editable install) they are the
folder ``baselines`` beside this package, and this module makes the installed name mean the same modules:
``mfenvs.baselines.x`` *is* ``baselines.x``, so that a class imported by either name is one class.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

import baselines

if TYPE_CHECKING:
    from baselines import *  # noqa: F403

_FOLDER = Path(__file__).resolve().parents[1] / "baselines"
_PREFIX = f"{__name__}."

# Another distribution, of that name on PyPI, has a package `baselines` too.
if baselines.__file__ is None or Path(baselines.__file__).resolve().parent != _FOLDER:
    raise ImportError(
        f"the package 'baselines' in {list(baselines.__path__)} hides the trainers of mfenvs in {_FOLDER}:"
        " uninstall it, or put the folder above the trainers before it on Python's path"
    )


class _SameModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``mfenvs.baselines.x`` as the module ``baselines.x``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for the modules below this one."""
        same = importlib.util.find_spec(_name_in_folder(name)) if name.startswith(_PREFIX) else None
        if same is None:
            return None
        is_package = same.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(name, self, origin=same.origin, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the folder in the place of an empty one."""
        sys.modules[module.__name__] = importlib.import_module(_name_in_folder(module.__name__))

    def get_code(self, name: str) -> CodeType | None:
        """The code of a module, for ``python -m``."""
        same = importlib.util.find_spec(_name_in_folder(name))
        assert same is not None
        assert isinstance(same.loader, importlib.abc.InspectLoader)
        return same.loader.get_code(same.name)


def _name_in_folder(name: str) -> str:
    return f"{baselines.__name__}.{name.removeprefix(_PREFIX)}"


sys.meta_path.insert(0, _SameModules())
sys.modules[__name__] = baselines
