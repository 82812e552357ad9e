"""Step sizes of two timescales."""

import math

import pytest

from baselines import WassersteinSchedule
from baselines.continuous.actor_critic.timescales import CriticSteps, check_timescales


def test_the_critics_steps_by_hand() -> None:
    steps = CriticSteps(0.3, 0.5)
    assert [steps.rate_at(t, 4.0) for t in (1, 4, 16, 100)] == pytest.approx([0.3, 0.3, 0.15, 0.06])
    assert steps.rate_at(10**6, math.inf) == 0.3


def test_the_actors_steps_become_small_beside_the_critics() -> None:
    actor, critic = WassersteinSchedule(0.1, tau_0=10.0), CriticSteps(0.1, 0.75)
    check_timescales(actor, critic)
    ratios = [actor.rate_at(10**k, 0.0) / critic.rate_at(10**k, 10.0) for k in range(1, 9, 2)]
    assert ratios == pytest.approx([1.0, 10**-0.5, 10**-1.0, 10**-1.5])


@pytest.mark.parametrize(
    ("tau_0", "rate", "power", "message"),
    [
        (math.inf, 0.1, 0.75, "tau_0 must be finite"),
        (10.0, 0.1, 0.5, r"critic_power must be in \(0.5, 1\)"),
        (10.0, 0.1, 1.0, r"critic_power must be in \(0.5, 1\)"),
        (10.0, 0.3, 0.75, "learning_rate must be at most critic_learning_rate = 0.2"),
    ],
)
def test_other_step_sizes_are_refused(tau_0, rate, power, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_timescales(WassersteinSchedule(rate, tau_0=tau_0), CriticSteps(0.2, power))


@pytest.mark.parametrize("wrong", [{"initial_rate": 0.0}, {"power": -0.1}, {"power": math.nan}])
def test_arguments_that_are_not_allowed(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        CriticSteps(**{"initial_rate": 0.1, "power": 0.6, **wrong})
