"""Actions in the energy market: what a prosumer's battery, flexible load, vehicle and limit prices are to be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import rule

ACTIONS = ("box", "discrete")
"""Kinds of action spaces."""
BATTERY_LEVELS, FLEXIBLE_LEVELS, VEHICLE_LEVELS, PRICE_LEVELS = 3, 2, 2, 5
"""Discrete actions: discharge, idle or charge at full power; no or all flexible load; no charging of the vehicle
or at full power; five limit prices."""
N_DISCRETE = BATTERY_LEVELS * FLEXIBLE_LEVELS * PRICE_LEVELS
"""Number of discrete actions without vehicles; there are ``VEHICLE_LEVELS`` times as many with them."""
PRICE_COLUMNS = {"one": (2,), "separate": (1, 3)}
"""Where limit prices are in a continuous action without vehicles, by the market's ``prices``."""


class Choice(NamedTuple):
    """An action, read: levels of limit prices are 0 at the feed-in and 1 at the retail tariff."""

    battery: Any
    """Power of the battery relative to its largest, in [-1, 1], charging if positive."""
    battery_level: Any
    """Level of the battery's limit price, in [0, 1]."""
    flexible: Any
    """Fraction of the flexible load that is wanted, in [0, 1]."""
    flexible_level: Any
    """Level of the flexible load's limit price, in [0, 1]."""
    vehicle: Any
    """Charging power of the vehicle relative to its largest, in [0, 1]."""
    vehicle_level: Any
    """Level of the vehicle's limit price, in [0, 1]."""


@rule
def within_unit(value: Any) -> Any:
    """A number cut off at 0 and 1; 0 for nan, so that no index is made of one."""
    return min(max(ZERO, value), ONE)


@rule
def level_of(price: Any, feed_in: Any, retail: Any) -> Any:
    """The level of a limit price."""
    return within_unit((price - feed_in) / (retail - feed_in))


@rule
def read_one_price(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read Box(3): battery power, fraction of flexible load, limit price of both."""
    level = level_of(action[2], feed_in, retail)
    return Choice(action[0], level, action[1], level, ZERO, ZERO)


@rule
def read_separate_prices(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read Box(4): battery power and limit price, fraction of flexible load and limit price."""
    battery_level = level_of(action[1], feed_in, retail)
    flexible_level = level_of(action[3], feed_in, retail)
    return Choice(action[0], battery_level, action[2], flexible_level, ZERO, ZERO)


@rule
def read_with_vehicle(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read Box(6): as Box(4), then the vehicle's charging power and limit price."""
    battery_level = level_of(action[1], feed_in, retail)
    flexible_level = level_of(action[3], feed_in, retail)
    vehicle_level = level_of(action[5], feed_in, retail)
    return Choice(action[0], battery_level, action[2], flexible_level, action[4], vehicle_level)


@rule
def read_discrete(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read a discrete action, ((battery * 2) + flexible) * 5 + price."""
    price = action % PRICE_LEVELS
    flexible = action // PRICE_LEVELS % FLEXIBLE_LEVELS
    battery = action // (PRICE_LEVELS * FLEXIBLE_LEVELS)
    level = np.float32(1.0 / (PRICE_LEVELS - 1)) * price
    return Choice(np.float32(battery - 1), level, np.float32(flexible), level, ZERO, ZERO)


@rule
def read_discrete_with_vehicle(action: Any, feed_in: Any, retail: Any) -> Any:
    """Read a discrete action, (((battery * 2) + flexible) * 2 + vehicle) * 5 + price."""
    price = action % PRICE_LEVELS
    vehicle = action // PRICE_LEVELS % VEHICLE_LEVELS
    flexible = action // (PRICE_LEVELS * VEHICLE_LEVELS) % FLEXIBLE_LEVELS
    battery = action // (PRICE_LEVELS * VEHICLE_LEVELS * FLEXIBLE_LEVELS)
    level = np.float32(1.0 / (PRICE_LEVELS - 1)) * price
    return Choice(np.float32(battery - 1), level, np.float32(flexible), level, np.float32(vehicle), level)


def reader(traits: Traits) -> Callable[..., Any]:
    """The rule ``read(action, feed_in, retail)`` that reads a market's actions as a :class:`Choice`."""
    if traits.actions == "discrete":
        return read_discrete_with_vehicle if traits.has_vehicles else read_discrete
    if traits.has_vehicles:
        return read_with_vehicle
    return read_one_price if traits.prices == "one" else read_separate_prices


@rule
def is_idle_use(choice: Any, charge: Any, agent: Any) -> Any:
    """Whether a choice wants what is impossible: of a battery or flexible load that one has not, or beyond it."""
    charges, discharges = choice.battery > 0, choice.battery < 0
    idle = agent.capacity == 0 and choice.battery != 0
    full, empty = charges and charge >= 1, discharges and charge <= 0
    return idle or full or empty or (choice.flexible > 0 and agent.flexible_share == 0)


@rule
def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Mask discrete actions that cannot do anything.

    These are: using a battery that one has not, charging a full and discharging an empty one, and choosing
    flexible load that one has not.
    """
    return not is_idle_use(read_discrete(action, ZERO, ONE), state.charge, agent)


@rule
def allowed_with_vehicle(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Mask discrete actions as :func:`allowed` does, and charging a vehicle that is absent or needs nothing."""
    choice = read_discrete_with_vehicle(action, ZERO, ONE)
    return not (is_idle_use(choice, state.charge, agent) or (choice.vehicle > 0 and state.vehicle_need <= 0))


def action_space(traits: Traits, lowest: float, highest: float) -> "gymnasium.Space[Any]":
    """The space of a market's actions, whose limit prices are in [``lowest``, ``highest``]."""
    if traits.actions == "discrete":
        return gymnasium.spaces.Discrete(N_DISCRETE * (VEHICLE_LEVELS if traits.has_vehicles else 1))
    if traits.prices == "one":
        bounds = [(-1.0, 1.0), (0.0, 1.0), (lowest, highest)]
    else:
        bounds = [(-1.0, 1.0), (lowest, highest), (0.0, 1.0), (lowest, highest)]
    if traits.has_vehicles:
        bounds += [(0.0, 1.0), (lowest, highest)]
    low, high = np.array(bounds, np.float32).T
    return gymnasium.spaces.Box(low.copy(), high.copy(), dtype=np.float32)


def box_actions(
    traits: Traits,
    battery: NDArray[Any],
    battery_price: NDArray[Any],
    flexible: NDArray[Any],
    flexible_price: NDArray[Any],
    vehicle: NDArray[Any] | None = None,
    vehicle_price: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Continuous actions as the readers above take them apart, shape (n_rows, 3, 4 or 6).

    All arguments but the first have shape (n_rows,): powers, fraction, limit prices in EUR/kWh. In a market with
    one limit price it is ``battery_price``; the vehicle's are needed in a market with vehicles only.
    """
    if traits.prices == "one":
        return np.stack([battery, flexible, battery_price], axis=1)
    columns = [battery, battery_price, flexible, flexible_price]
    if traits.has_vehicles:
        assert vehicle is not None
        assert vehicle_price is not None
        columns += [vehicle, vehicle_price]
    return np.stack(columns, axis=1)


def within(space: "gymnasium.spaces.Box", actions: NDArray[Any]) -> NDArray[np.float32]:
    """Continuous actions, cut off at the bounds: prices that were computed may miss a tariff by rounding."""
    bounded: NDArray[np.float32] = np.clip(actions.astype(np.float32), space.low, space.high)
    return bounded
