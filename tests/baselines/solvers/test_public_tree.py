"""Games with common noise are solved on their trees of public histories, and refused as they are."""

import numpy as np
import pytest
from weather import Weather

from baselines.analysis import check_is_finite
from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import InducedGame


@pytest.mark.parametrize("solver", [OnlineMirrorDescent, FictitiousPlay])
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


def test_policies_are_measured_by_play():
    """Without N-player exploitability, which is not made for games with common noise."""
    found = measure_policy(Weather(n_agents=6), np.full((3, 2, 2, 2), 0.5), MeasurementSettings(n_worlds=8))
    assert [name for name, *_ in found.rows] == ["mean return of an agent"]
