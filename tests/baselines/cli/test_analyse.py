"""``mfenvs analyse`` through its entry point."""

import json

import pytest

from baselines.cli.main import main

FAST = ["--n-iterations", "20", "--n-worlds", "4", "--game.n-agents", "8", "--game.horizon", "2"]


def test_the_report_is_printed_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    output = tmp_path / "report.json"
    assert main(["analyse", "Epidemic-v0", *FAST, "--game.heterogeneity", "0", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for words in ("K_mu", "= 0.9", "expansive", "alpha, beta", "Theorem 1", "max_i E_i", "not monotone"):
        assert words in printed
    assert "found by best responses" in printed  # the first of the methods of mfenvs.solve
    assert "not in the report: Theorem 1 as printed" in printed
    report = json.loads(output.read_text())
    assert report["game"] == "Epidemic-v0"
    assert report["settings"]["n_worlds"] == 4
    assert report["constants_of_game"]["n_agents"] == 8
    assert report["symmetry"]["alpha_kind"] == report["symmetry"]["beta_kind"] == "exact"
    assert report["equilibrium"]["n_iterations"] <= 20


@pytest.mark.slow
def test_what_is_seen_but_not_proven_is_not_certain(tmp_path, capsys, monkeypatch):
    """Curved costs: nothing speaks against monotonicity and a potential, at the populations that were tried."""
    monkeypatch.setenv("COLUMNS", "200")
    small = ["--game.n-sites", "3", "--game.n-routes", "2", "--output", str(tmp_path / "report.json")]
    assert main(["analyse", "Congestion-v0", *FAST, *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    for words in ("monotone, all populations", "monotone, along flows", "potential, along flows"):
        assert any(words in line and "not certain" in line for line in lines)
    assert any("alpha, beta" in line and "= 0, >= 0." in line for line in lines)
    assert any("L_mu" in line and ">= " in line for line in lines)


def test_by_default_it_is_written_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["analyse", "mfenvs/Epidemic-v0", *FAST]) == 0
    assert (tmp_path / "analysis-Epidemic-v0.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Taxi-v0"], "Taxi-v0 is not a finite game: its agents have other states"),
        (["EnergyMarket-v0"], "EnergyMarket-v0 is not a finite game"),
        (["Epidemc-v0"], "unknown game 'Epidemc-v0' (did you mean 'Epidemic-v0'?)"),
        (["Epidemic-v0", "--n-worlds", "1"], "n_worlds must be an integer >= 2, got 1"),
        (["Epidemic-v0", "--output", "/nowhere/at/all.json"], "output must be in a folder that exists"),
        (["Epidemic-v0", "--output", "/"], "output must be a file, got the folder /"),
    ],
)
def test_mistakes_are_named(words, message, capsys):
    assert main(["analyse", *words]) == 2
    assert message in capsys.readouterr().err


def test_usage(capsys):
    assert main(["analyse"]) == 2
    usage = capsys.readouterr().err
    assert "mfenvs analyse GAME" in usage
    assert "Congestion-v0" in usage
    assert not any(name in usage for name in ("Taxi-v0", "PredatorPrey-v0", "ClosingBeachBar-v0"))
    assert main(["analyse", "--help"]) == 0
    assert main(["--help"]) == 0
    assert "mfenvs analyse GAME" in capsys.readouterr().out
