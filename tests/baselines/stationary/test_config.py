"""Hyper-parameters that are refused, and the conditions on the two timescales."""

import math
import re

import numpy as np
import pytest
from chain import chain
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from baselines.stationary.config import StationaryPGConfig, check_two_timescales
from baselines.stationary.policy_gradient import StationaryPolicyGradient
from mfenvs import make


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_the_conditions_hold_between_one_half_and_one(p: float, q: float) -> None:
    """Sums of k^-p diverge for p <= 1 and converge for p > 1, and k^-p / k^-q goes to 0 for p > q."""
    diverges, converges = (lambda e: e <= 1), (lambda e: e > 1)
    good = diverges(p) and diverges(q) and converges(2 * p) and converges(2 * q) and p > q
    if good:
        check_two_timescales(p, q)
    else:
        with pytest.raises(ValueError, match=r"(learning_rate|mean_field)_exponent must be"):
            check_two_timescales(p, q)


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (1.5, 0.6, "learning_rate_exponent must be at most 1, so that the sum of alpha_k diverges, got 1.5"),
        (0.5, 0.4, "learning_rate_exponent must be above 1/2, so that the sum of alpha_k^2 converges, got 0.5"),
        (1.0, 1.1, "mean_field_exponent must be at most 1, so that the sum of beta_k diverges, got 1.1"),
        (1.0, 0.5, "mean_field_exponent must be above 1/2, so that the sum of beta_k^2 converges, got 0.5"),
        (0.75, 0.75, "above mean_field_exponent, so that alpha_k / beta_k goes to 0, got 0.75 and 0.75"),
    ],
)
def test_the_condition_that_does_not_hold_is_named(p: float, q: float, message: str) -> None:
    exponents = {"learning_rate_exponent": p, "mean_field_exponent": q}
    with pytest.raises(ValueError, match=re.escape(message)):
        StationaryPGConfig(optimizer="sgd", **exponents)
    StationaryPGConfig(optimizer="adam", **exponents)


def test_step_sizes_of_the_mean_field() -> None:
    decreasing = {"mean_field_rate": 0.5, "mean_field_exponent": 0.75, "mean_field_steps": 3}
    within = StationaryPGConfig(**decreasing)
    for iteration in (0, 5):
        assert_allclose(within.mean_field_rates(iteration), 0.5 / np.array([1.0, 2.0, 3.0]) ** 0.75)
    across = StationaryPGConfig(**decreasing, mean_field_start="last")
    assert_allclose(across.mean_field_rates(0), [0.5] * 3)
    assert_allclose(across.mean_field_rates(15), [0.5 / 8] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "both"}, "objective must be one of 'equilibrium', 'social-welfare', got 'both'"),
        ({"gradient": "exact"}, "gradient must be one of 'auto', 'likelihood-ratio', 'spsa', got 'exact'"),
        ({"policy": "linear"}, "policy must be one of 'auto', 'threshold', 'network', 'tabular', got 'linear'"),
        ({"direction": "up"}, "direction must be one of 'above', 'below', got 'up'"),
        ({"mean_field_start": 0}, "mean_field_start must be one of 'initial', 'last', got 0"),
        ({"optimizer": "rmsprop"}, "optimizer must be one of 'adam', 'sgd', got 'rmsprop'"),
        ({"hidden_sizes": ()}, r"hidden_sizes must hold at least one number of units, got \(\)"),
        ({"hidden_sizes": (5, 0)}, r"hidden_sizes\[1\] must be an integer in \[1, 4096\], got 0"),
        *(
            ({name: 0}, rf"{name} must be an integer in \[1, \d+\], got 0")
            for name in (
                *("n_runs", "n_trajectories", "trajectory_length"),
                *("mean_field_steps", "mean_field_batch"),
            )
        ),
        (
            {"n_trajectories": 2**12, "trajectory_length": 2**20},
            r"n_trajectories \* trajectory_length must be at most 2147483648, got 4294967296",
        ),
        (
            {"mean_field_batch": 2**12, "mean_field_steps": 2**20},
            r"mean_field_steps \* mean_field_batch must be at most 2147483648, got 4294967296",
        ),
        *(
            ({name: value}, rf"{name} must be a finite number in \(0, 1e\+06\]")
            for name in ("bound", "perturbation", "learning_rate")
            for value in (0.0, -1.0, math.nan, math.inf)
        ),
        ({"mean_field_rate": 1.5}, r"mean_field_rate must be a finite number in \(0, 1\], got 1\.5"),
        ({"mean_field_exponent": -0.1}, r"mean_field_exponent must be a finite number in \[0, inf\), got -0\.1"),
        ({"learning_rate_exponent": math.nan}, "learning_rate_exponent must be a finite number"),
        ({"evaluation_interval": -1}, "evaluation_interval must be an integer >= 0, got -1"),
        ({"baseline": 1}, "baseline must be True or False, got 1"),
    ],
)
def test_hyper_parameters_that_are_refused(options, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        StationaryPGConfig(**options)


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        (
            "Malware-v0",
            {"gradient": "likelihood-ratio"},
            "gradient 'likelihood-ratio' needs policies with a gradient: threshold policies need 'spsa'",
        ),
        (
            "Malware-v0",
            {"gradient": "likelihood-ratio", "policy": "network", "objective": "social-welfare"},
            "is the derivative with the mean field held: objective 'social-welfare' needs 'spsa'",
        ),
        (
            "Auction-v0",
            {"policy": "threshold"},
            r"needs a game with ordered states \(state_levels of d coordinates\) and 2\^d actions, got Auction"
            " with states with 1 coordinates and 10 actions",
        ),
        (chain(), {"policy": "threshold"}, "got Tabulated with no ordered states and 2 actions"),
        (
            "Malware-v0",
            {"n_runs": 2**20, "policy": "tabular"},
            r"n_runs \* n_states \* n_actions must be at most \d+, got 211812352",
        ),
        (
            "Malware-v0",
            {"n_runs": 2**16, "policy": "network", "hidden_sizes": (4096,)},
            r"n_runs \* n_parameters must be at most \d+, got 1073872896",
        ),
    ],
)
def test_combinations_that_are_refused(game, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        StationaryPolicyGradient(game, **options)


def test_games_that_are_refused() -> None:
    message = "StationaryPolicyGradient needs a game with an infinite horizon: make it with discount < 1, got 1"
    with pytest.raises(ValueError, match=message):
        StationaryPolicyGradient(make("Malware-v0", discount=1.0))
    with pytest.raises(TypeError, match="StationaryPolicyGradient needs a finite game, got Malware"):
        StationaryPolicyGradient(make("Malware-v0", states="continuous"))
