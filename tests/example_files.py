"""Examples as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"


def load_example(name: str) -> ModuleType:
    """Import ``examples/<name>.py``."""
    path = EXAMPLES / f"{name}.py"
    if path.stem not in sys.modules:
        specification = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(specification)
        sys.modules[path.stem] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
    return sys.modules[path.stem]
