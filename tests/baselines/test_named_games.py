"""Games of one's own by name, in modules that are not installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.cli.main import main
from baselines.named_games import import_module, plain_name

MODULE = '''
import dataclasses
import pathlib
from mfenvs import register
from mfenvs.games.epidemic import Epidemic

@dataclasses.dataclass(kw_only=True)
class {name}(Epidemic):
    """A flu of one's own."""

    horizon: int = 3

register("{name}-v0", {name})
pathlib.Path("imported").touch()
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory that is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


SMALL = ["--game.n-agents", "30", "--total-timesteps", "2", "--no-progress"]


def test_a_module_of_the_working_directory_is_imported(here, capsys) -> None:
    (here / "flu_of_a_test.py").write_text(MODULE.format(name="FluOfATest"))
    assert main(["train", "omd", "flu_of_a_test:FluOfATest-v0", "--folder", "run", *SMALL]) == 0
    config = json.loads((here / "run" / "config.json").read_text())
    assert (config["game"], config["module"]) == ("FluOfATest-v0", "flu_of_a_test")
    capsys.readouterr()
    # In a process that has not imported the module, from a folder that has it.
    words = ["evaluate", "run", "--n-worlds", "2", "--deviators-per-world", "1"]
    resume = ["train", "omd", "flu_of_a_test:mfenvs/FluOfATest-v0", "--folder", "run", "--resume", *SMALL[2:]]
    code = f"""
import pathlib, sys
from baselines.cli.main import main
sys.path[:] = [entry for entry in sys.path if entry not in ("", {str(here)!r})]
pathlib.Path("imported").unlink()
print("status", main({words}))
print("status", main({["render", "run"]}))
print("imported", pathlib.Path("imported").exists())
print("status", main({[*words, "--module", "flu_of_a_test"]}))
print("imported", pathlib.Path("imported").exists())
print("status", main({resume}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    found = [line for line in done.stdout.splitlines() if line.startswith(("status", "imported"))]
    assert found == ["status 2", "status 2", "imported False", "status 0", "imported True", "status 0"], (
        done.stderr
    )
    told = " ".join(done.stderr.split())
    assert told.count("the run's game is flu_of_a_test:FluOfATest-v0; to import a module is to run its code") == 2
    assert "add --module flu_of_a_test if you trust that module" in told
    assert "done: 4 iterations" in done.stdout


def test_what_a_module_cannot_import_itself_is_named(here, capsys) -> None:
    (here / "module_that_lacks.py").write_text("import no_such_package_at_all\n")
    assert main(["train", "omd", "module_that_lacks:Flu-v0"]) == 2
    told = capsys.readouterr().err
    assert "No module named 'no_such_package_at_all'" in told
    assert "pip install" not in told


def test_an_error_of_a_module_is_told_with_its_place(here, capsys) -> None:
    (here / "module_with_an_error.py").write_text("import mfenvs\n\nmfenvs.register('Flu-v0', int)\n")
    (here / "module_with_a_zero.py").write_text("def share(n):\n    return 1 / n\n\nshare(0)\n")
    (here / "module_with_a_field.py").write_text(
        "import dataclasses\n\n@dataclasses.dataclass\nclass A:\n    x: list = []\n"
    )
    (here / "module_half_written.py").write_text("def share(n:\n")
    for name, said in (
        (
            "module_with_an_error",
            f"TypeError: game_class must be .* \\({here}/module_with_an_error.py, line 3\\)$",
        ),
        ("module_with_a_zero", f"ZeroDivisionError: division by zero \\({here}/module_with_a_zero.py, line 2\\)$"),
        ("module_with_a_field", f"ValueError: mutable default .* \\({here}/module_with_a_field.py, line 3\\)$"),
        ("module_half_written", r"SyntaxError: .*\(module_half_written.py, line 1\)$"),
    ):
        assert main(["check", f"{name}:Flu-v0"]) == 2
        told = capsys.readouterr().err.strip()
        assert re.search(f"^mfenvs check: error: the module {name} cannot be imported: {said}", told), told


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a..b", ".a", "a.", "1a"])
def test_only_names_of_modules_are_imported(name) -> None:
    with pytest.raises(ValueError, match="a module is named as Python imports it"):
        import_module(name)


def test_a_name_is_told_from_its_module() -> None:
    for word in ("Flu-v0", "mfenvs/Flu-v0", "package.flu:Flu-v0", "flu:mfenvs/Flu-v0"):
        assert plain_name(word) == "Flu-v0"
