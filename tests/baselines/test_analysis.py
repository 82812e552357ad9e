"""The report on a game: its parts agree with the functions behind it and with what is known of small games."""

import dataclasses
import json

import numpy as np
import pytest
from random_game import RandomGame

from baselines.analysis import AnalysisSettings, analyse, solve
from baselines.cli.analyse import report
from mfenvs import InducedGame, make
from mfenvs.files import plain
from mfenvs.games.taxi import Taxi

FAST = AnalysisSettings(n_iterations=64, n_worlds=8, seconds=1000.0)


def test_the_report_on_an_epidemic():
    game = make("Epidemic-v0", n_agents=20, horizon=3, heterogeneity=0)
    found = analyse(game, FAST)
    assert found.constants.k_mu.value == pytest.approx(0.9)
    assert found.symmetry.alpha == found.symmetry.beta == 0
    assert found.symmetry.kind == "exact"
    assert found.bound_is_certain
    assert found.free.is_monotone is False
    assert found.equilibrium.exploitability == InducedGame(game).exploitability(found.equilibrium.policy)
    assert found.bound.equilibrium_error == found.equilibrium.exploitability
    # One kind of agents: one stands for all. The gain is below the bound, by far.
    assert len(found.measured.agents) == 1
    assert found.measured.max_lower_bound.interval[1] < found.bound.total
    assert found.printed_bound is None
    assert any("as printed" in line for line in found.missing)
    summary = json.loads(json.dumps(found.summary(), default=plain))
    assert summary["lipschitz"]["regime"] == "expansive"
    assert summary["theorem_1"]["total"] == found.bound.total
    assert summary["n_player_exploitability"]["n_agents_measured"] == 1


@pytest.mark.slow
def test_rewards_of_length_one_have_the_printed_bound_too():
    found = analyse(RandomGame(n_agents=4, horizon=2), FAST)
    assert found.bound_is_certain
    assert found.printed_bound is not None
    assert found.missing == ()
    assert found.dominance.c_1.is_exact
    assert found.symmetry.alpha > 0.01


def test_affine_games_have_exact_asymmetries_at_any_size():
    """All corners are tried, and the largest deviation of affine rules is at one of them."""
    found = analyse(make("Epidemic-v0", n_agents=300, horizon=2), dataclasses.replace(FAST, n_worlds=2))
    assert found.symmetry.kind == "exact"
    assert found.bound_is_certain
    agents = found.game.agents
    mean = agents["aversion"].astype(float).mean()
    assert found.symmetry.beta == pytest.approx(np.abs(agents["aversion"].astype(float) - mean).max())
    assert len(found.measured.agents) == 64


def test_problems_that_are_too_large_are_not_measured(monkeypatch):
    monkeypatch.setattr("baselines.analysis.LARGEST_PROBLEM", 15)
    found = analyse(make("Epidemic-v0", n_agents=6, horizon=2, heterogeneity=0), FAST)
    assert found.measured is None
    assert found.bound is not None
    assert any("in 2 steps have 16 entries, more than 15" in line for line in found.missing)
    assert found.summary()["n_player_exploitability"] is None
    assert report(found, "Epidemic-v0").row_count > 10


@pytest.mark.slow
def test_games_without_an_end_have_no_bound():
    game = make("Auction-v0", n_budgets=3, n_bids=3, n_bidders=3, n_agents=6, horizon=4)
    found = analyse(game, FAST)
    assert found.bound is None
    assert any(line.startswith("Theorem 1: it is about games that end") for line in found.missing)
    assert json.loads(json.dumps(found.summary(), default=plain))["theorem_1"] is None


@pytest.mark.parametrize("solver", ["omd", "fictitious-play", "best"])
def test_the_solver_improves_on_the_uniform_policy(solver):
    game = make("RockPaperScissors-v0", n_agents=10, horizon=3, heterogeneity=0)
    found = solve(game, dataclasses.replace(FAST, solver=solver, n_iterations=300))
    induced = InducedGame(game)
    assert found.exploitability == induced.exploitability(found.policy)
    assert found.exploitability < 0.2 * induced.exploitability(induced.uniform_policy())
    assert 0 < found.n_iterations <= 300
    assert found.solver.startswith("omd" if solver == "omd" else "fictitious" if solver != "best" else "")


def test_an_equilibrium_is_left_as_it_is():
    """Nobody is infected: the solver's first step goes out, and that is all there is to find."""
    found = solve(make("Epidemic-v0", n_agents=4, horizon=2, initial_infected=0.0), FAST)
    assert found.exploitability < 1e-2


def test_games_that_are_not_finite():
    with pytest.raises(ValueError, match="Taxi-v0 is not a finite game"):
        analyse(Taxi(n_agents=3), FAST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "newton"}, "solver must be one of 'best', 'omd', 'fictitious-play', got 'newton'"),
        ({"seconds": 0}, "seconds must be a finite number"),
        ({"n_iterations": 0}, "n_iterations must be an integer >= 1, got 0"),
        ({"n_worlds": 1}, "n_worlds must be an integer >= 2, got 1"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        analyse(make("Epidemic-v0", n_agents=4, horizon=2), AnalysisSettings(**settings))
