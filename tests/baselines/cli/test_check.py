"""``mfenvs check`` on the command line."""

import pytest

from baselines.cli.main import main
from mfenvs.conformance.check import ConformanceTest


def passes(subject):
    assert subject.game.recovery == 0.2


@pytest.fixture
def _one_test(monkeypatch):
    monkeypatch.setattr("mfenvs.conformance.check.TESTS", (ConformanceTest("recovery", passes),))


@pytest.mark.usefixtures("_one_test")
def test_constants_and_flags_reach_the_tests(capsys):
    words = ["check", "Epidemic-v0", "--game.recovery", "0.2", "--max-agents", "7", "--observe", "mean-field"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Epidemic-v0 with 7 agents and a horizon of 20",
        "n_agents is 7 in place of 1000, for the tests' sake",
        "passed  recovery",
        "1 passed, 0 failed, 0 skipped",
    ]


@pytest.mark.usefixtures("_one_test")
def test_a_failure_is_the_exit_status(capsys):
    assert main(["check", "mfenvs/Epidemic-v0"]) == 1
    assert "failed  recovery: " in capsys.readouterr().out


def test_help_and_errors(capsys):
    assert main(["check", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: mfenvs check GAME")
    assert main(["check"]) == 2
    assert main(["check", "Epidemc-v0"]) == 2
    assert "did you mean 'Epidemic-v0'?" in capsys.readouterr().err
    assert main(["check", "Epidemic-v0", "--max-agents", "1"]) == 2
    assert "max_agents must be an integer >= 2, got 1" in capsys.readouterr().err
