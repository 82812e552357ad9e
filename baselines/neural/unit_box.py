"""An actor-critic policy whose network acts in [-1, 1] whatever the bounds of the action space are."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy


class UnitBoxPolicy(ActorCriticPolicy):
    """SB3's policy for Box actions, with each component of an action scaled from [-1, 1] to its bounds.

    A Gaussian of unit scale fits [-1, 1]. Where bounds are as different as a battery's power and a price in
    EUR/kWh, SB3's own policy, which clips actions at the bounds, plays hardly anything but the bounds. Here
    actions are clipped at -1 and 1, then scaled; as in SB3, probabilities are those of actions before clipping.

    Raises
    ------
    TypeError
        If the action space is not a Box.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"UnitBoxPolicy needs actions of a Box, got {self.action_space}")
        # SB3 then asks unscale_action for what is played, in prediction and, as our PPO does, in rollouts.
        self._squash_output = True

    def unscale_action(self, scaled_action: NDArray[Any]) -> NDArray[Any]:
        """Actions of the network, clipped at -1 and 1 and scaled to the bounds of the Box."""
        assert isinstance(self.action_space, spaces.Box)
        played = super().unscale_action(scaled_action)
        # Actions beyond -1 and 1 are beyond the bounds, and by rounding those at -1 and 1 may be.
        bounded: NDArray[Any] = np.clip(played, self.action_space.low, self.action_space.high)
        return bounded
