"""In a clone the trainers have two names: ``baselines`` and, as they are installed, ``mfenvs.baselines``."""

import importlib
import os
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import baselines
from baselines import SymmPMD, TabularPolicy
from baselines.cli.main import main
from mfenvs.games.epidemic import Epidemic

CLONE = Path(__file__).parents[2]


def test_both_names_mean_the_same_modules_and_classes() -> None:
    import mfenvs.baselines as installed
    from mfenvs.baselines.policies import TabularPolicy as Installed
    from mfenvs.baselines.tabular import mirror_descent

    assert installed is baselines
    assert Installed is TabularPolicy is installed.TabularPolicy
    assert mirror_descent.SymmPMD is SymmPMD is importlib.import_module("mfenvs.baselines").SymmPMD
    trainer = SymmPMD(Epidemic(n_agents=20, horizon=3))
    assert isinstance(pickle.loads(pickle.dumps(trainer.policy)), Installed)


def test_the_installed_command_is_the_one_that_is_tested() -> None:
    script = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]["scripts"]["mfenvs"]
    module, _, function = script.partition(":")
    assert getattr(importlib.import_module(module), function) is main


def test_a_module_that_is_not_there_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mfenvs.baselines.no_such_module'"):
        importlib.import_module("mfenvs.baselines.no_such_module")


@pytest.mark.parametrize("name", ["baselines", "mfenvs.baselines"])
def test_trainers_are_listed_before_they_are_imported_and_misspelt_ones_told(name) -> None:
    code = f"import {name} as b; print('TDLearning' in dir(b), '__doc__' in dir(b)); b.SymmPDM"
    done = run("-c", code)
    assert done.stdout == "True True\n"
    assert done.stderr.strip().endswith("has no attribute 'SymmPDM'. Did you mean: 'SymmPMD'?")


def run(*words: str, first: Path = CLONE) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(first), str(CLONE)])
    return subprocess.run(
        [sys.executable, *words],
        cwd=first,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_the_command_line_runs_as_a_module_of_either_name() -> None:
    for name in ("baselines.cli", "mfenvs.baselines.cli", "mfenvs"):
        done = run("-m", name, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: mfenvs COMMAND")


def test_another_package_of_the_name_is_reported(tmp_path) -> None:
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "__init__.py").touch()
    done = run("-c", "import mfenvs.baselines", first=tmp_path)
    assert done.returncode == 1
    assert "hides the trainers of mfenvs in" in done.stderr
    assert str(tmp_path / "baselines") in done.stderr
