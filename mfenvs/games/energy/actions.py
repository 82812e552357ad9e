"""Actions in the energy market: what a prosumer's battery, flexible load and limit price are to be."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.rules import rule

ACTIONS = ("box", "discrete")
"""Kinds of action spaces."""
BATTERY_LEVELS, FLEXIBLE_LEVELS, PRICE_LEVELS = 3, 2, 5
"""Discrete actions: discharge, idle or charge at full power; no or all flexible load; five limit prices."""
N_DISCRETE = BATTERY_LEVELS * FLEXIBLE_LEVELS * PRICE_LEVELS


@rule
def within_unit(value: Any) -> Any:
    """A number cut off at 0 and 1; 0 for nan, so that no index is made of one."""
    above = value if value > ZERO else ZERO
    return above if above < ONE else ONE


@rule
def read_box(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read a continuous action: battery power in [-1, 1], fraction of flexible load, level of the limit price.

    Levels are 0 at the feed-in and 1 at the retail tariff.
    """
    return action[0], action[1], within_unit((action[2] - feed_in) / (retail - feed_in))


@rule
def read_discrete(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read a discrete action, ((battery * 2) + flexible) * 5 + price, as :func:`read_box` does."""
    price = action % PRICE_LEVELS
    flexible = action // PRICE_LEVELS % FLEXIBLE_LEVELS
    battery = action // (PRICE_LEVELS * FLEXIBLE_LEVELS)
    quarter = np.float32(1.0 / (PRICE_LEVELS - 1))
    return np.float32(battery - 1), np.float32(flexible), quarter * price


@rule
def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Mask discrete actions that cannot do anything.

    These are: using a battery that one has not, charging a full and discharging an empty one, and choosing
    flexible load that one has not.
    """
    battery, flexible, _ = read_discrete(action, np.float32(0.0), np.float32(1.0))
    charges, discharges = battery > 0, battery < 0
    idle = agent.capacity == 0 and battery != 0
    full, empty = charges and state.charge >= 1, discharges and state.charge <= 0
    return not (idle or full or empty or (flexible > 0 and agent.flexible_share == 0))


def within(space: "gymnasium.spaces.Box", actions: NDArray[Any]) -> NDArray[np.float32]:
    """Continuous actions, cut off at the bounds: prices that were computed may miss a tariff by rounding."""
    bounded: NDArray[np.float32] = np.clip(actions.astype(np.float32), space.low, space.high)
    return bounded
