"""What is learned, beside the values that Subramanian & Mahajan print and the exact values of small games."""

import numpy as np
import pytest
from chain import chain

from baselines.stationary.policy_gradient import StationaryPolicyGradient
from mfenvs import make

EQUILIBRIUM, SOCIAL_OPTIMUM = -3.9105, -3.7809
"""Exact values of malware spread, at thresholds .49 and .21."""
SHORT = {"trajectory_length": 40, "evaluation_interval": 0}


def learned(game, n_iterations: int, **options) -> StationaryPolicyGradient:
    trainer = StationaryPolicyGradient(game, **({"evaluation_interval": 0} | options))
    return trainer.learn(n_iterations * trainer.timesteps_per_iteration)


def test_two_timescales_approach_an_equilibrium() -> None:
    """One step of the mean field for each step of the parameters, under the conditions of the theorem."""
    game, options = chain(crowding=2.0), {"n_runs": 10, **SHORT}
    before = np.median(StationaryPolicyGradient(game, **options).gaps())
    recursion = {"optimizer": "sgd", "mean_field_start": "last", "mean_field_steps": 1, "learning_rate": 5.0}
    assert np.median(learned(game, 400, **options, **recursion).gaps()) < 0.1 * before


@pytest.mark.parametrize("gradient", ["likelihood-ratio", "spsa"])
def test_without_interaction_it_is_an_ordinary_policy_gradient(gradient) -> None:
    game, options = chain(crowding=0.0, pull=0.0), {"n_runs": 10, "mean_field_steps": 1, **SHORT}
    before = np.median(StationaryPolicyGradient(game, **options).gaps())
    assert np.median(learned(game, 150, gradient=gradient, **options).gaps()) < 0.05 * before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "exact", "threshold"),
    [("equilibrium", EQUILIBRIUM, 0.49), ("social-welfare", SOCIAL_OPTIMUM, 0.21)],
)
def test_malware_as_in_the_paper(objective, exact, threshold) -> None:
    """100 runs of 200 iterations of 200 steps of the mean field: in the median within .02 of the exact value."""
    trainer = learned(make("Malware-v0"), 200, objective=objective, n_runs=100)
    values = trainer.values()
    assert abs(np.median(values) - exact) < 0.02
    assert np.median(np.abs(values - exact)) < 0.02
    assert abs(np.median(trainer.thresholds) - threshold) < 0.04
    gaps = trainer.gaps()
    assert np.median(gaps) < 0.005 if objective == "equilibrium" else np.median(gaps) > 0.05


@pytest.mark.slow
def test_malware_with_networks_as_in_the_paper() -> None:
    trainer = learned(make("Malware-v0"), 200, policy="network", n_runs=100)
    assert np.median(trainer.gaps()) < 0.05
    assert abs(np.median(trainer.values()) - EQUILIBRIUM) < 0.1


@pytest.mark.slow
def test_without_interaction_both_objectives_find_the_same_threshold() -> None:
    game = make("Malware-v0", interaction=0.0, risk=0.7)
    ours = [learned(game, 200, objective=o, n_runs=50) for o in ("equilibrium", "social-welfare")]
    medians = [np.median(trainer.thresholds) for trainer in ours]
    assert abs(medians[0] - medians[1]) < 0.03
    assert max(np.median(trainer.gaps()) for trainer in ours) < 0.005
