"""The comparison of rules of thumb and planners in the energy market: figures by hand, and a small run."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.reproduce import energy_training
from benchmarks.reproduce.energy_policies import (
    IDLE,
    NETWORK,
    PLANNER,
    POLICIES,
    of_networks,
    spread_days,
    summarise,
)


def test_days_are_the_middles_of_equal_parts() -> None:
    assert spread_days(3, 12) == [2, 6, 10]


def test_figures_by_hand() -> None:
    """Two days that are alike, so that intervals are points: gains of 0, 1, ... 6 of 8 EUR over no trade."""
    names = list(POLICIES)
    assert names.index(IDLE) == 1
    assert names.index(PLANNER) == 5
    day = {
        "welfare": {name: -10.0 + k for k, name in enumerate(names)},
        "no trade": -10.0,
        "perfect foresight": -2.0,
    }
    rows = summarise([day, day])
    efficiency = {name: row["efficiency"].value for name, row in rows.items()}
    assert efficiency == pytest.approx({name: k / 8 for k, name in enumerate(names)})
    second = {name: row["second efficiency"].value for name, row in rows.items()}
    assert second == pytest.approx({name: (k - 1) / 4 for k, name in enumerate(names)})
    assert rows[names[0]]["step"] is None
    for k, name in enumerate(names[1:], 1):
        # One EUR more, of what the policy before it leaves of 8.
        assert rows[name]["step"] == pytest.approx([1 / (8 - (k - 1))] * 3)


def test_each_network_by_hand() -> None:
    day = {"networks": [-10.0, -4.0], "no trade": -10.0, "perfect foresight": -2.0}
    assert [each.value for each in of_networks([day, day])] == pytest.approx([0.0, 0.75])


def test_networks_never_train_on_test_days(monkeypatch, tmp_path) -> None:
    """What is given to the worlds in which a network is trained."""
    trained_in = []

    def stop_at(game, *_, **__):
        trained_in.append(game)
        raise KeyboardInterrupt

    monkeypatch.setattr(energy_training, "vec_env", stop_at)
    test_days = spread_days(36, 363)
    with pytest.raises(KeyboardInterrupt):
        energy_training.train(energy_training.Training(n_agents=20), test_days, 0, tmp_path / "model.zip")
    assert trained_in[0].played_days.tolist() == [day for day in range(363) if day not in test_days]


@pytest.mark.slow
def test_a_small_run(tmp_path) -> None:
    flags = ["--n-agents", "20", "--n-days", "2", "--jobs", "1", "--out", str(tmp_path)]
    flags += ["--ppo-seeds", "2", "--ppo-updates", "2", "--models", str(tmp_path / "models")]
    assert main(["reproduce", "energy-policies", *flags]) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["complete"] is True
    assert content["game"]["n_agents"] == 20
    # Days 90 and 272 from 1 August on, of a series without 28 October and 25 March.
    assert [day["date"] for day in content["days"]] == ["10-31", "05-02"]
    for day in content["days"]:
        assert max(day["welfare"].values()) <= day["perfect foresight"]
        assert day["welfare"][PLANNER] > day["welfare"][IDLE]
        assert day["welfare"][NETWORK] == pytest.approx(sum(day["networks"]) / 2)
        assert day["networks"][0] != day["networks"][1]
    assert content["policies"]["evening rule"]["efficiency"]["value"] < 1
    # Trained networks are taken from their files, unless one is missing or the settings are others.
    first, second = sorted((tmp_path / "models").glob("*/ppo-seed-*.zip"))
    kept = first.stat().st_mtime_ns
    second.unlink()
    assert main(["reproduce", "energy-policies", *flags]) == 0
    assert first.stat().st_mtime_ns == kept
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["days"] == content["days"]
    assert main(["reproduce", "energy-policies", *flags, "--ppo-updates", "3"]) == 0
    assert first.stat().st_mtime_ns == kept
    assert len(list((tmp_path / "models").glob("*/ppo-seed-*.zip"))) == 4


@pytest.mark.parametrize("wrong", [["--n-days", "1"], ["--ppo-seeds", "0"], ["--ppo-updates", "0"]])
def test_flags_that_are_not_allowed(wrong) -> None:
    with pytest.raises(SystemExit, match="--n-days at least 2, --ppo-seeds and --ppo-updates at least 1"):
        main(["reproduce", "energy-policies", *wrong])
