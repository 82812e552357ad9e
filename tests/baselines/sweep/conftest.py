"""Games for sweeps."""

import importlib
import sys

import pytest
from tiny_sweeps import write_game


@pytest.fixture
def game_in_cwd(tmp_path, monkeypatch):
    """A game that waits, dies or fails, in a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    name = write_game(tmp_path)
    yield name
    sys.modules.pop(name.partition(":")[0], None)
