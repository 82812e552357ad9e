"""The study of modulated steps under drift, on small cases; the real one is run by hand."""

import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks.reproduce import modulation
from mfenvs import make

TINY = modulation.Protocol(
    n_agents=10,
    horizon=3,
    updates=8,
    gain_horizon=3,
    gain_updates=2,
    gain_seeds=2,
    energy_updates=1,
    energy_seeds=2,
    energy_agents=10,
)


def test_intervals_are_students() -> None:
    found = modulation.interval([1.0, 2.0, 6.0])
    assert found["mean"] == 3.0
    half = 4.302653 * math.sqrt(7 / 3)  # t_{.975, 2} s / sqrt(3), with s = sqrt(7)
    np.testing.assert_allclose(found["interval_95"], [3 - half, 3 + half], rtol=1e-6)
    assert modulation.interval([1.0])["interval_95"] == [-math.inf, math.inf]


@pytest.mark.parametrize(
    ("variant", "rate", "tau_0", "beta"),
    [
        ("constant 0.5", 0.002, math.inf, 0.0),
        ("constant 1", 0.004, math.inf, 0.0),
        ("decay", 0.004, 20.0, 0.0),
        ("beta 8", 0.004, math.inf, 8.0),
        ("decay, beta 2", 0.004, 20.0, 2.0),
    ],
)
def test_variants(variant, rate, tau_0, beta) -> None:
    found = modulation.schedule_of(modulation.Protocol(), variant)
    assert (found.initial_rate, found.tau_0, found.beta) == (rate, tau_0, beta)


@pytest.mark.parametrize("regime", modulation.REGIMES)
def test_games_drift_but_not_the_unit_of_what_agents_see(regime) -> None:
    games = [make(modulation.GAME, **modulation.constants_at(regime, update)) for update in range(96)]
    assert {game.scale for game in games} == {games[0].scale}
    different = len({game.initial_mean for game in games})
    assert {"same game": different == 1, "slow drift": different > 20, "jumps": different == 2}[regime]


def test_a_run_meets_the_games_of_its_regime(monkeypatch) -> None:
    played = []
    real = modulation.environment
    monkeypatch.setattr(modulation, "environment", lambda game, *a: played.append(game) or real(game, *a))
    protocol = dataclasses.replace(TINY, updates=28)
    found = modulation.study_run(protocol, "jumps", "decay, beta 8", 0)
    assert len(played) == 2
    assert played[1].state_cost == pytest.approx((1.8, 0.2))
    assert (len(found["losses"]), len(found["rates"])) == (7, 28)
    assert found["distances"][0] == 0.0
    # The population has jumped in the first rollout of the new game.
    assert np.argmax(found["distances"]) == 24
    for update, (rate, distance) in enumerate(zip(found["rates"], found["distances"], strict=True), start=1):
        assert rate == pytest.approx(0.004 * min(1.0, 20 / update) / (1 + 8 * distance))


@pytest.mark.slow
def test_the_study_writes_results_and_figures(tmp_path, capsys) -> None:
    assert modulation.main(["--seeds", "2", "--jobs", "1", "--out", str(tmp_path)], TINY) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["seeds"] == [0, 1]
    assert "stable-baselines3" in results["versions"]
    for regime in modulation.REGIMES:
        entries = results["study"][regime]["summary"]
        assert {"constant 1", "decay", "beta 2", "same mean as beta 2", "decay, beta 8"} <= entries.keys()
        # Constant steps of the same mean size are of the same mean size.
        for beta in ("beta 2", "beta 8"):
            mean = entries[f"same mean as {beta}"]["mean_rate"]
            assert mean == pytest.approx(entries[beta]["mean_rate"], abs=1e-6)
            assert mean < 0.004
        assert entries["constant 1"]["difference"]["mean"] == 0.0
    assert len(results["gains"]["network"]) == 2
    assert len(results["energy"]["runs"]) == 2
    for name in ("gains", "modulation"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "jumps" in capsys.readouterr().out
