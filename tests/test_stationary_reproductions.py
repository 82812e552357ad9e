"""The reproductions of malware spread and of investments, on small cases."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.reproduce import investments, malware, stationary_curves
from benchmarks.reproduce.stationary_curves import Valuation
from mfenvs import InducedGame, make
from mfenvs.meanfield.stationary import find_equilibrium, threshold_policy


def moves_and_rewards(induced, policy, mean):
    """The malware chain by hand: uniform over the cells above, or repair."""
    n, top = induced.n_states, induced.n_states - 1
    levels, repair = np.arange(n) / top, policy[0, :, 1]
    moves = np.zeros((n, n))
    for s in range(top):
        moves[s, s + 1 :] = (1 - repair[s]) / (top - s)
    moves[top, top] = 1 - repair[top]
    moves[:, 0] += repair
    return levels, moves, -(0.2 + mean) * levels - 0.5 * repair


class TestValuation:
    @pytest.mark.parametrize("n_steps", [0, 1, 3])
    def test_by_hand(self, n_steps):
        induced = InducedGame(make("Malware-v0", n_levels=5))
        policy = threshold_policy(induced, 0.5)
        levels, moves, _ = moves_and_rewards(induced, policy, 0.0)
        law = np.linalg.matrix_power(moves, n_steps).T @ np.full(5, 0.2)
        _, _, rewards = moves_and_rewards(induced, policy, levels @ law)
        value = np.linalg.solve(np.eye(5) - 0.9 * moves, rewards).mean()
        assert Valuation(induced, n_steps)(policy) == pytest.approx(value, abs=1e-7)

    def test_dynamics_that_change_on_the_way(self):
        """The mean of a product passes the threshold on its way up: investments are then worth less."""
        game = make("Investment-v0", threshold=0.7).one_product(0, n_levels=11)
        induced = InducedGame(game)
        policy = np.zeros((1, 11, 2))
        policy[..., 1] = 1.0
        law = induced.initial.copy()
        for _ in range(6):
            transitions, _ = induced.arrays(law[:, None] * policy[0])
            law = law @ transitions[:, 1]
        transitions, rewards = induced.arrays(law[:, None] * policy[0])
        value = np.linalg.solve(np.eye(11) - 0.9 * transitions[:, 1], rewards[:, 1]).mean()
        assert Valuation(induced, 6)(policy) == pytest.approx(value, abs=1e-12)


def test_the_exact_gap_among_few_agents_is_that_of_brute_force():
    """A deviator among three agents whose others stay at the stationary law; all threshold deviations by hand."""
    induced = InducedGame(make("Malware-v0", n_levels=4))
    smfe = find_equilibrium(induced)
    game = malware.SettledMalware(n_agents=3, n_levels=4, first_law=tuple(smfe.state_law / smfe.state_law.sum()))
    mean = np.arange(4) / 3 @ smfe.state_law

    def value(policy):
        levels, moves, _ = moves_and_rewards(induced, policy, 0.0)
        rewards = -(0.2 + 2 / 3 * mean + levels / 3) * levels - 0.5 * policy[0, :, 1]
        return np.array(game.first_law) @ np.linalg.solve(np.eye(4) - 0.9 * moves, rewards)

    best = max(
        value(np.stack([1.0 - acts, acts], axis=-1)[None])
        for acts in np.array(np.meshgrid(*[[0.0, 1.0]] * 4)).reshape(4, -1).T
    )
    assert_allclose(malware.exact_gap(game, smfe.policy), best - value(smfe.policy), atol=1e-7)


@pytest.mark.slow
def test_malware(tmp_path, capsys):
    flags = ["--runs", "3", "--iterations", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert malware.main(flags, {4: 2, 6: 2}) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"]
    assert results["exact"]["threshold_smfe"] == pytest.approx(
        {"threshold": 0.49, "value": -3.9105, "gap": 1e-5}, abs=1e-4
    )
    assert results["exact"]["threshold_smf_so"]["value"] == pytest.approx(-3.7809, abs=5e-5)
    assert list(results["curves"]) == list(malware.VARIANTS)
    assert np.shape(results["curves"]["network-welfare"]["values"]) == (2, 3)
    assert [row["n_agents"] for row in results["n_player"]] == [4, 6]
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "-3.7809 at 0.21" in capsys.readouterr().out


@pytest.mark.slow
def test_investments(tmp_path):
    flags = ["--runs", "2", "--iterations", "1", "--levels", "21", "--jobs", "1", "--out", str(tmp_path)]
    assert investments.main(flags) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"]
    assert results["exact"]["never"] == pytest.approx(1.5, abs=1e-6)
    curve = results["curves"]["network"]
    values = np.sum([part["values"] for part in curve["products"]], axis=0)
    assert_allclose(curve["median"], np.median(values, axis=1))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_an_interrupted_reproduction_keeps_what_is_complete(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(stationary_curves, "learning_curve", interrupted)
    assert malware.main(["--jobs", "1", "--out", str(tmp_path)], {}) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert not results["complete"]
    assert results["exact"]["smfe"]["converged"]
    assert not (tmp_path / "figure.png").exists()
