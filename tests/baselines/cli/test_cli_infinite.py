"""The command line on an infinite game, with every algorithm that learns one."""

import csv
import json

import numpy as np
import pytest

from baselines.cli.main import main
from baselines.runs import ALGORITHMS

SMALL = [
    *("--game.n-agents", "6", "--game.n-budgets", "3", "--game.n-bids", "3"),
    *("--game.n-bidders", "3", "--game.horizon", "4", "--no-progress"),
]
NEW = {
    "gmf-q": ["--inner-iterations", "10"],
    "gmf-v": ["--inverse-temperature", "2"],
    "naive-q": ["--inner-iterations", "10", "--asynchronous"],
    "three-step": ["--inverse-temperature", "0.5"],
    "independent-q": ["--episodes", "2"],
    "mf-q": ["--episodes", "2", "--n-bins", "2"],
}
quietly = pytest.mark.filterwarnings("ignore:the three-step iteration need not converge")


def timesteps(name: str) -> int:
    """Of an iteration: 3 states, 3 bids, 6 agents, 4 rounds."""
    return {"gmf-q": 10 * 9, "naive-q": 10, "independent-q": 2 * 6 * 4, "mf-q": 2 * 6 * 4}.get(name, 1)


def train(name, folder, *flags) -> int:
    return main(["train", name, "Auction-v0", "--folder", str(folder), *SMALL, *NEW[name], *flags])


@quietly
@pytest.mark.parametrize(
    "name",
    [name if name == "independent-q" else pytest.param(name, marks=pytest.mark.slow) for name in NEW],
)
def test_train_resume_and_evaluate(name, tmp_path, capsys) -> None:
    total = str(2 * timesteps(name))
    assert train(name, tmp_path / "run", "--total-timesteps", total, "--seed", "5") == 0
    assert f"done: 2 iterations, {total} timesteps" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["algorithm"] == name
    assert config["constants"]["n_bids"] == 3
    assert config["hyper_parameters"]["seed"] == 5
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert [row["time/iterations"] for row in csv.DictReader(file)] == ["1", "2"]
    own = name in ("independent-q", "mf-q")
    with np.load(tmp_path / "run" / "policy.npz") as arrays:
        assert arrays["probabilities"].shape == ((6, 1, 3, 3) if own else (1, 3, 3))

    assert main(["evaluate", str(tmp_path / "run"), "--n-worlds", "4", "--deviators-per-world", "2"]) == 0
    assert "C(pi), relative" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["C_relative_95"][0] <= found["C_relative"] <= found["C_relative_95"][1]
    assert found["C_safeguard"] == 0.1
    assert ("mean_field_exploitability" in found) != own

    # Four iterations at once are two and two.
    train(name, tmp_path / "whole", "--total-timesteps", str(4 * timesteps(name)), "--seed", "5")
    assert train(name, tmp_path / "run", "--total-timesteps", total, "--seed", "5", "--resume") == 0
    tables = []
    for folder in ("run", "whole"):
        with np.load(tmp_path / folder / "policy.npz") as arrays:
            tables.append(arrays["probabilities"])
    assert np.array_equal(*tables)


def test_every_new_algorithm_is_known(capsys) -> None:
    assert NEW.keys() <= ALGORITHMS.keys()
    assert main(["train", "gmf-q"]) == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in NEW)


@pytest.mark.parametrize("name", ["symm-pmd", "ipmd", "td"])
def test_those_for_games_that_end_say_so(name, tmp_path, capsys) -> None:
    assert main(["train", name, "Auction-v0", "--folder", str(tmp_path / "run"), *SMALL]) == 2
    assert "needs a game that ends: make it with discount=1, got 0.8" in capsys.readouterr().err


@quietly
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gmf-q", "Auction-v0", "--inner-iterations", "0"], "inner_iterations must be an integer in [1"),
        (["gmf-v", "Auction-v0", "--inverse-temperature", "0"], "inverse_temperature must be"),
        (["mf-q", "Auction-v0", "--n-bins", "-1"], "n_bins must be an integer in [0"),
        (["gmf-v", "Auction-v0", "--game.n-bidders", "1"], "n_bidders must be an integer in [2,"),
    ],
)
def test_errors_name_what_is_wrong(words, message, capsys) -> None:
    try:
        status = main(["train", *words])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())
