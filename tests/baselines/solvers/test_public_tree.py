"""Games with common noise are solved on their trees of public histories, and refused as they are."""

import numpy as np
import pytest
from weather import Weather

from baselines import DeepMirrorDescent
from baselines.analysis import check_is_finite
from baselines.callbacks import ExploitabilityCallback
from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import InducedGame


@pytest.mark.parametrize("solver", [OnlineMirrorDescent, pytest.param(FictitiousPlay, marks=pytest.mark.slow)])
def test_solvers_take_the_game_on_the_tree(solver):
    induced = InducedGame(Weather(horizon=4))
    trained = solver(induced.game)
    trained.run(300)
    policy = trained.policy.probabilities
    assert policy.shape == induced.policy_shape
    assert induced.exploitability(policy) < 0.1 * induced.exploitability(induced.uniform_policy())


def test_trainers_and_analyses_refuse_a_public_chain():
    with pytest.raises(ValueError, match=r"needs a game without common noise, got Weather, .* mfenvs.InducedGame"):
        OnlineMirrorDescent(Weather())
    with pytest.raises(ValueError, match="Weather has a public chain"):
        check_is_finite(Weather())


POLICY = np.where(np.array([[True], [False]])[:, :, None], 0.5, (1.0, 0.0)) * np.ones((3, 2, 2, 2))
"""Half of the agents choose to go out in good weather, all to stay at home in bad."""


@pytest.mark.slow
def test_policies_are_measured_by_play_and_on_the_tree():
    """Without N-player exploitability, which is not made for games with common noise."""
    game = Weather(n_agents=6)
    found = measure_policy(game, POLICY, MeasurementSettings(n_worlds=8))
    assert [name for name, *_ in found.rows] == ["mean return of an agent", "mean-field exploitability"]
    assert found.summary["mean_field_exploitability"] == InducedGame(game).exploitability(POLICY) > 0.1
    assert found.rows[-1][1:] == (f"{InducedGame(game).exploitability(POLICY):.4f}", "exact")
    everyone = measure_policy(game, np.stack([POLICY.reshape(game.policy_shape)] * 6), MeasurementSettings())
    assert len(everyone.rows) == 1
    induced, at_random = InducedGame(game), measure_policy(game, None, MeasurementSettings(n_worlds=8))
    expected = induced.exploitability(induced.uniform_policy())
    assert at_random.summary["mean_field_exploitability"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_large_trees_are_measured_by_paths():
    game = Weather(n_agents=6, horizon=30, first=(0.6, 0.4))
    found = measure_policy(game, np.tile(POLICY[:1], (30, 1, 1, 1)), MeasurementSettings(n_worlds=50))
    assert [name for name, *_ in found.rows[1:]] == [
        "mean-field exploitability >=",
        "mean-field exploitability <=",
    ]
    lower, upper = (found.summary[f"mean_field_exploitability_{side}_bound"] for side in ("lower", "upper"))
    assert 0.0 < lower <= upper


def test_deviations_are_not_simulated():
    """It is said before anything is learned."""
    trainer = DeepMirrorDescent(Weather(n_agents=6), n_updates=5)
    with pytest.raises(
        TypeError, match=r"ExploitabilityCallback.* is for games without common noise, got Weather"
    ):
        trainer.learn(1, callback=ExploitabilityCallback())
    assert trainer.iteration == 0
