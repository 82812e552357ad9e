"""The benchmarks' own code, on small cases; the real ones are run by hand and their results committed."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import speed
from benchmarks.__main__ import main
from benchmarks.reproduce import asymmetric_games, gmf_q
from benchmarks.speed_counterparts import NumpyEpidemic
from mfenvs import InducedGame, make


@pytest.fixture
def small(monkeypatch) -> None:
    """Both games, three epochs of one episode each."""
    experiments = [
        dataclasses.replace(e, n_epochs=3, hyper_parameters={**e.hyper_parameters, "episodes": 1})
        for e in asymmetric_games.EXPERIMENTS
    ]
    monkeypatch.setattr(asymmetric_games, "EXPERIMENTS", tuple(experiments))
    monkeypatch.setattr(asymmetric_games, "SHOWN_EPOCHS", (0, 1))


@pytest.mark.slow
def test_the_reproduction_writes_results_and_figure(small, tmp_path, capsys) -> None:
    assert main(["reproduce", "asymmetric-games", "--seeds", "2", "--n-worlds", "2", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    assert results["seeds"] == [0, 1]
    assert "numba" in results["versions"]
    for title in ("A-RPS", "A-SIS"):
        for algorithm in ("Symm-PMD", "IPMD"):
            curves = results["curves"][title][algorithm]
            assert [curve["seed"] for curve in curves] == [0, 1]
            assert all(len(curve[quantity]) == 3 for curve in curves for quantity in asymmetric_games.QUANTITIES)
            # Epoch 0 is the uniform policy, whatever the algorithm and the seed.
            assert len({curve["mean"][0] for curve in curves}) == 1
    assert (tmp_path / "exploitability.png").read_bytes().startswith(b"\x89PNG")
    assert "A-SIS: exploitability" in capsys.readouterr().out


def test_an_interrupted_reproduction_keeps_what_is_complete(small, tmp_path, monkeypatch) -> None:
    calls = []
    real = asymmetric_games.learning_curve

    def interrupted(*arguments, **choices):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **choices)

    monkeypatch.setattr(asymmetric_games, "learning_curve", interrupted)
    assert (
        main(["reproduce", "asymmetric-games", "--seeds", "1", "--n-worlds", "2", "--out", str(tmp_path)]) == 130
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert set(results["curves"]["A-RPS"]) == {"Symm-PMD", "IPMD"}
    assert "A-SIS" not in results["curves"]


def test_band_is_lowest_median_highest() -> None:
    curves = [{"mean": [1.0, 5.0]}, {"mean": [3.0, 4.0]}, {"mean": [2.0, 9.0]}]
    assert asymmetric_games.band(curves, "mean").tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 9.0]]


def test_the_numpy_peer_plays_the_same_game() -> None:
    """Rewards agree in kind and infections follow the induced game's law: 6 standard errors, 2e-9."""
    game = make("Epidemic-v0", n_agents=200_000, heterogeneity=0.0)
    peer = NumpyEpidemic(game)
    before, actions = peer.states.copy(), np.tile([0, 1], 100_000)
    rewards = peer.step(actions)
    assert rewards == pytest.approx(-1.0 * (before == 0) - 0.5 * (actions == 0))
    mu = np.array([[np.mean((before == s) & (actions == a)) for a in (0, 1)] for s in (0, 1)])
    transitions, _ = InducedGame(game).arrays(mu)
    for s in (0, 1):
        for a in (0, 1):
            chosen = (before == s) & (actions == a)
            chance = transitions[s, a, 0]
            error = np.sqrt(chance * (1 - chance) / chosen.sum()) + 1e-5
            assert abs(np.mean(peer.states[chosen] == 0) - chance) < 6 * error


def test_medians_are_of_interleaved_calls() -> None:
    order = []
    found = speed.medians(5, (lambda: order.append("a"), 2), (lambda: order.append("b"), 1))
    assert order[2:] == ["a", "a", "b"] * 5  # after one warm-up call each
    assert len(found) == 2


@pytest.mark.parametrize("words", [["reproduce", "nothing"], ["fly"], []])
def test_unknown_names_are_refused(words: list[str], capsys) -> None:
    assert main(words) == 2
    assert "asymmetric-games" in capsys.readouterr().err


def test_unknown_speeds_are_refused(capsys, tmp_path) -> None:
    assert speed.main(["warp", "--out", str(tmp_path / "x.json")]) == 2
    assert "unknown name 'warp'; known: engine, apis" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


TINY_AUCTION = gmf_q.Protocol(
    configurations=((3, 6), (4, 6)),
    tables=(3,),
    outer_iterations=2,
    inner_iterations=20,
    delta_q_iterations=(20, 200),
    measured_at=(1, 2),
    evaluated_rounds=4,
    n_joint_states=2,
    n_worlds=2,
)


@pytest.mark.slow
def test_the_auctions_reproduction_writes_results_and_figures(tmp_path, capsys) -> None:
    assert gmf_q.main(["--paths", "2", "--jobs", "1", "--out", str(tmp_path)], TINY_AUCTION) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"]
    assert [len(results["fluctuation"][name]) for name in ("naive", "GMF-Q", "exact")] == [3, 3, 1]
    assert {name: len(paths) for name, paths in results["comparison"]["3-6"].items()} == {
        "GMF-Q": 2,
        "MF-Q": 2,
        "IL": 2,
    }
    assert all(len(path["absolute"]) == 2 for path in results["comparison"]["4-6"]["IL"])
    # Ten times the transitions: a better Q.
    assert all(path["200"] < path["20"] for path in results["delta_q"]["3"])
    for name in ("fluctuation", "q_tables", "comparison"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert "Delta Q" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_auction_keeps_what_is_done(tmp_path, monkeypatch) -> None:
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(gmf_q, "learning_curve", interrupted)
    assert gmf_q.main(["--paths", "2", "--jobs", "1", "--out", str(tmp_path)], TINY_AUCTION) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert not results["complete"]
    assert len(results["delta_q"]["3"]) == 2
    assert not (tmp_path / "comparison.png").exists()
