"""The list of games: what it says, how wide it is, and what it needs."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.cli.list import as_table, game_row
from baselines.cli.main import EXTRA_PACKAGES, main
from mfenvs import make, registered_games
from mfenvs.games.epidemic import Epidemic


@dataclasses.dataclass(kw_only=True)
class Undocumented(Epidemic):
    pass


def test_it_is_made_from_the_live_games(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name in registered_games():
        if make(name).__module__.startswith("mfenvs."):
            assert f"mfenvs/{name} " in shown
    assert re.search(r"\nmfenvs/RockPaperScissors-v0 +2000 +10 +3 +3\n", shown)
    others, classic = shown.split("\n\nclassic games\n\n")
    assert "mfenvs/Taxi-v0" in others
    assert re.match(r"id +N +H +states +actions\nmfenvs/BeachBar-v0 +1000 +3 +4 +3\n +Beach bar: ", classic)
    assert all(f"mfenvs/{name} " in classic for name in registered_games("classic"))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_is_as_wide_as_the_terminal(width, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        row = next(i for i, line in enumerate(lines) if line.startswith("mfenvs/Epidemic-v0"))
        assert lines[row].split() == ["mfenvs/Epidemic-v0", "1000", "20", "2", "2"]
        assert lines[row + 1].startswith("    A-SIS: an epidemic among agents")


def test_a_game_without_a_docstring_has_no_title() -> None:
    assert game_row(Undocumented(n_agents=5)) == ("5", "20", "2", "2", "")
    assert as_table({"mfenvs/U-v0": ("5", "20", "2", "2", "")}, 80).splitlines() == [
        "id           N  H   states  actions",
        "mfenvs/U-v0  5  20  2       2",
    ]


def test_help_is_help_and_anything_else_an_error(capsys) -> None:
    assert main(["list", "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: mfenvs list")
    assert shown.err == ""
    assert main(["list", "games"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "unknown argument 'games'" in shown.err


CORE_ONLY = f"""
import sys

class Missing:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {EXTRA_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from baselines.cli.main import main
for words in (["list"], [], ["train", "omd", "Epidemic-v0"]):
    print("status", main(words))
"""


def test_it_needs_no_more_than_the_core_installation(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CORE_ONLY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert "mfenvs/Taxi-v0" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("status")] == [
        "status 0",
        "status 2",
        "status 2",
    ]
    assert "run `pip install mfenvs[baselines]`" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_that_nobody_reads_is_no_error(tmp_path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "baselines.cli", "list"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
