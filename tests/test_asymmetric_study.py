"""The study of policy mirror descent's unpublished choices, on a tiny grid and on numbers worked out by hand."""

import json

import numpy as np
import pytest

from baselines.tabular.mirror_descent import SymmPMD
from benchmarks.reproduce import asymmetric_study
from benchmarks.reproduce.asymmetric_study import Grid
from mfenvs import n_player_exploitability


def row(game, settings, symm, independent):
    final = {"Symm-PMD": symm, "IPMD": independent}
    return {
        "game": game,
        "settings": settings,
        "final": {
            name: [dict.fromkeys(asymmetric_study.EVALUATED, value) for value in values]
            for name, values in final.items()
        },
    }


def test_ratios_are_of_medians_and_ranked_by_the_worse_game():
    rows = [
        row("A-RPS", {}, [1.0, 9.0, 2.0], [4.0, 5.0, 3.0]),
        row("A-SIS", {}, [1.0], [5.0]),
        row("A-RPS", {"episodes": 5}, [1.0], [4.0]),
        row("A-SIS", {"episodes": 5}, [1.0], [3.0]),
    ]
    assert asymmetric_study.ratio(rows[0], "last") == 0.5
    first, *_, last = asymmetric_study.ranked(rows)
    assert first == (pytest.approx(1 / 3), (("episodes", 5),), "average", [0.25, pytest.approx(1 / 3)])
    assert last[0] == 0.5
    assert len(asymmetric_study.ranked(rows)) == 2 * len(asymmetric_study.EVALUATED)


def test_settings_are_tried_once_each():
    settings = Grid().settings
    assert settings[0] == {}
    assert len({json.dumps(entry, sort_keys=True) for entry in settings}) == len(settings)


def test_the_late_average_is_that_of_the_second_half(monkeypatch):
    monkeypatch.setitem(asymmetric_study.GAMES, "A-SIS", ("Epidemic-v0", 5))
    chosen = (("episodes", 1), ("mixing", "none"))
    found = asymmetric_study.final_exploitability("A-SIS", "Symm-PMD", chosen, 3, 2)
    # Epoch 0 is the uniform policy: of five iterates the last three are the second half.
    trainer = SymmPMD("Epidemic-v0", seed=3, episodes=1, mixing="none")
    iterates = [trainer.last_policy.probabilities]
    for _ in range(4):
        trainer.learn(1)
        iterates.append(trainer.last_policy.probabilities)
    expected = {
        "average": np.mean(iterates, axis=0),
        "late average": np.mean(iterates[2:], axis=0),
        "last": iterates[-1],
    }
    for name, policy in expected.items():
        exploitability = n_player_exploitability(
            trainer.game, policy, n_worlds=2, deviators_per_world=2, seed=1_000_000
        )
        assert found[name] == pytest.approx(exploitability.mean, rel=1e-6)


@pytest.mark.slow
def test_the_study_is_resumed_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        asymmetric_study, "GAMES", {"A-RPS": ("RockPaperScissors-v0", 4), "A-SIS": ("Epidemic-v0", 4)}
    )
    grid = Grid((1.0, 3.0), (1,), ("none",), (2.0,), (0.02,), (1.0,), n_worlds=2)
    calls = []
    real = asymmetric_study.final_exploitability

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(asymmetric_study, "final_exploitability", interrupted)
    assert asymmetric_study.study(1, 1, tmp_path, tmp_path / "kept", grid) == 130
    assert json.loads((tmp_path / "study.json").read_text())["complete"] is False
    assert asymmetric_study.study(1, 1, tmp_path, tmp_path / "kept", grid) == 0
    # Two games, two algorithms, four settings; what was interrupted was begun twice.
    assert len(calls) == 2 * 2 * 4 + 1
    content = json.loads((tmp_path / "study.json").read_text())
    assert content["complete"] is True
    assert all(len(entry["final"]["IPMD"]) == 1 for entry in content["rows"])
    assert (tmp_path / "study-average.png").exists()
    assert (tmp_path / "study-last.png").exists()
    assert "smallest ratios" in capsys.readouterr().out
