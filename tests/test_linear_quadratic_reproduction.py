"""The linear-quadratic game by three routes, on small cases."""

import json

import numpy as np
import pytest

from baselines.continuous.hjb_fokker_planck import Grid, solve
from baselines.continuous.linear_quadratic import competitive_equilibrium, continuous_game
from benchmarks.__main__ import main as run
from benchmarks.reproduce import linear_quadratic
from mfenvs import make

SMALL = linear_quadratic.Protocol(
    grids=(40, 80),
    n_agents=20,
    steps=(4, 12),
    worlds_at_a_time=6,
    n_bins=2,
    gap_sizes=(10, 1000),
    scales=(0.0, 1.0),
    learners=("affine",),
    learned_updates=2,
)


@pytest.mark.slow
def test_the_reproduction_writes_results_and_figures(tmp_path, capsys) -> None:
    arguments = ["--worlds", "12", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert linear_quadratic.main(arguments, SMALL) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    assert (results["seed"], results["worlds"]) == (0, 12)
    assert "numba" in results["versions"]
    closed = results["closed_form"]
    assert closed["costs"] == pytest.approx([0.67853438, 0.24482372], abs=5e-9)
    assert closed["gains"][0] == pytest.approx([0.813406, 0.493481 * 2.4], abs=3e-6)
    assert closed["xi"][0] == pytest.approx([0.1159375, 0.0713902], abs=5e-8)
    assert closed["price_of_anarchy"] == closed["anarchy"]["coupling_cost"][1] > 1.0
    assert results["gaps"]["n_times_gap"][-1] == pytest.approx([0.0031, 0.0037], abs=5e-5)
    solved = results["solver"]["hybrid"]["80"]
    assert solved["converged"]
    assert solved["mass_error"] < 1e-12
    assert solved["costs"] == pytest.approx(closed["costs"], abs=3e-3)
    assert solved["xi"][0] == pytest.approx(closed["xi"][0], abs=3e-3)
    assert solved["gains"][0] == pytest.approx(closed["gains"][0], abs=2e-2)
    # On grids as coarse as these the hybrid scheme is not at its order yet.
    assert set(results["orders"]) == {"upwind", "hybrid"}
    for quantity in ("costs", "values", "means"):
        np.testing.assert_allclose(results["orders"]["upwind"][quantity], 1.0, atol=0.1)
    assert results["simulation"]["12"]["worlds"] == 12
    fine, coarse = (results["simulation"][n] for n in ("12", "4"))
    # With steps of a third of the length, c_0 + c_1 dt is 3/2 of the finer cost less half of the coarser.
    extrapolated = results["costs"]["N = 20, simulated, extrapolated to dt = 0"]
    assert extrapolated["costs"] == pytest.approx(1.5 * np.array(fine["costs"]) - 0.5 * np.array(coarse["costs"]))
    assert extrapolated["errors"] == pytest.approx(
        np.hypot(1.5 * np.array(fine["half_widths"]), 0.5 * np.array(coarse["half_widths"]))
    )
    assert results["learning_seeds"] == [0, 1]
    first, second = results["learned"]["affine"]
    assert np.array(first["gain"]).shape == np.array(first["scheme_gain"]).shape == (20, 2)
    assert first["gain"] != second["gain"]
    assert first["scheme_gain"][-1] == pytest.approx([0.98 * 0.5 / 1.05, 0.99 * 1.2 * 0.5 / (0.5 + 0.144 * 0.5)])
    for name in ("equilibrium.png", "limits.png", "learned_gains.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "Expected cost of an agent" in printed
    assert "HJB-FP against the closed form" in printed
    assert "Gains learned by the actor-critic" in printed


def test_the_simulation_agrees_with_the_closed_form() -> None:
    """Half the interval of 95 % times 3.1 is 6 standard errors (2e-9), beside the scheme's bias, about .8 dt."""
    protocol = linear_quadratic.Protocol(n_agents=100)
    batches = [linear_quadratic.simulate(protocol, 50, part, 1) for part in (range(40), range(40, 120))]
    found = linear_quadratic.pooled(batches)
    solution = competitive_equilibrium(make("LinearQuadratic-v0"))
    assert found["worlds"] == 120
    for cost, half, exact in zip(found["costs"], found["half_widths"], solution.costs, strict=True):
        assert abs(cost - exact) < 3.1 * half + 0.04
        assert cost > exact - 3.1 * half
    times = np.linspace(0.0, 2.0, 51)
    allowed = 3.1 * np.array(found["half_widths_of_means"]) + 0.02
    assert np.all(np.abs(np.array(found["means"]) - solution.mean(times)) < allowed)
    np.testing.assert_allclose(found["deviations"], np.sqrt(solution.variance(times)), atol=0.03)
    states, values = np.array(found["states"]).T, np.array(found["values"]).T
    exact = 0.5 * solution.riccati(0.0) * states**2 + solution.xi(0.0) * states + solution.zeta(0.0)
    allowed = 3.1 * np.array(found["half_widths_of_values"]).T + 0.05
    assert np.all(np.abs(values - exact) < allowed)
    # Values of 70 agents in each of 120 worlds are told apart from a constant.
    assert values[-1, 0] - values[0, 0] > 0.5


def test_the_feedback_is_read_from_a_value_function() -> None:
    """Of a quadratic value, whatever the density: its gain and constant are found exactly."""
    game = make("LinearQuadratic-v0")
    found = solve(continuous_game(game), Grid(low=-4.0, high=4.0, n_cells=40, n_steps=4))
    gains = np.array([[2.0, 0.5]]) + np.linspace(0.0, 1.0, 5)[:, None]
    constants = np.array([[-0.3, 0.7]]) * np.linspace(1.0, 2.0, 5)[:, None]
    values = 0.5 * gains.T[..., None] * found.x**2 + constants.T[..., None] * found.x + 3.0
    # Differences of a quadratic are exact but at the ends, where hardly anybody is.
    p, xi = linear_quadratic.fitted_feedback(type(found)(**{**vars(found), "values": values}))
    np.testing.assert_allclose(p, gains, atol=1e-6)
    np.testing.assert_allclose(xi, constants, atol=1e-6)


def test_an_interrupted_reproduction_keeps_what_is_complete(tmp_path, monkeypatch) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(linear_quadratic, "simulate", interrupted)
    assert (
        linear_quadratic.main(["--worlds", "2", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)], SMALL)
        == 130
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert results["simulation"] == {}
    assert set(results["solver"]["upwind"]) == {"40", "80"}
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", ["worlds", "seeds"])
def test_intervals_need_two_worlds_and_seeds(name, tmp_path, capsys) -> None:
    assert run(["reproduce", "linear-quadratic", f"--{name}", "1", "--out", str(tmp_path / "none")]) == 2
    assert f"--{name} must be at least 2, got 1" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
