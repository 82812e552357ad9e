"""Step sizes of two timescales: the actor's become small beside the critic's."""

import dataclasses
import math

from mfenvs import checks

from ...neural.wasserstein import WassersteinSchedule


@dataclasses.dataclass(frozen=True)
class CriticSteps:
    """Step sizes eta_t = eta_0 min(1, tau_0 / t)^power of the critic, with the actor's t and tau_0 [O].

    Raises
    ------
    TypeError, ValueError
        If a value is not allowed.
    """

    initial_rate: float
    """eta_0, above 0."""
    power: float = 0.6
    """Power with which the steps decay."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "initial_rate", checks.real("initial_rate", self.initial_rate, 0.0, exclude_low=True)
        )
        object.__setattr__(self, "power", checks.real("power", self.power, 0.0))

    def rate_at(self, update: int, tau_0: float) -> float:
        """eta_t for t = ``update``, from 1."""
        return self.initial_rate * float(min(1.0, tau_0 / update) ** self.power)


def check_timescales(actor: WassersteinSchedule, critic: CriticSteps) -> None:
    """Check the conditions under which a critic follows a slower actor.

    The actor's steps alpha_t and the critic's eta_t must satisfy alpha_t / eta_t -> 0 [S], and have infinite sums
    and finite sums of squares, as in all stochastic approximation [R: the source does not say so]. They do if
    tau_0 is finite and the critic's power in (1/2, 1), as long as W1 is bounded. That alpha_0 is at most eta_0 is
    ours [O].

    Raises
    ------
    ValueError
        If a condition is not met; the message names it.
    """
    if actor.tau_0 == math.inf:
        raise ValueError(
            "tau_0 must be finite, so that the actor's steps become small beside the critic's, got inf"
        )
    if not 0.5 < critic.power < 1.0:
        raise ValueError(
            "critic_power must be in (0.5, 1): above 1/2 for a finite sum of squares, below 1 for steps that the"
            f" actor's become small beside, got {critic.power:g}"
        )
    if actor.initial_rate > critic.initial_rate:
        raise ValueError(
            f"learning_rate must be at most critic_learning_rate = {critic.initial_rate:g}, as the actor is the"
            f" slow one, got {actor.initial_rate:g}"
        )
