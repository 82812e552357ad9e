"""One prosumer's step as rules: what it offers, and what becomes of it once the market is cleared.

All amounts are kWh of a step. Load and generation of one home are netted behind its meter before anything is
offered [O]. Inelastic load bids the retail tariff, so it is always served. So no bid can break the physics.

Of one limit price for battery and flexible load (:func:`plan_at_one_price`): flexible load and charging bid it and
happen as far as they are filled; surplus generation and discharging are offered at it, and what is not filled is
not discharged, or if it is generation sold to the grid at the feed-in tariff [R].

Of separate limit prices (:func:`plan_at_separate_prices`) [O]: own surplus generation serves own flexible load
first, then the vehicle, then the battery's charging, and the rest is offered at the feed-in tariff, at which the
grid takes it. Discharging serves own load likewise, and the rest is offered at the battery's limit price. What
flexible load, vehicle and charging need beyond that is bid for at the limit price of each.
"""

from typing import Any, NamedTuple

from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.rules import rule


class Wish(NamedTuple):
    """What a prosumer wants its devices to do in a step, in kWh."""

    flexible: Any
    """Flexible load to be served."""
    vehicle: Any
    """Charging of the vehicle."""
    draw: Any
    """Charging, at the battery's terminals."""
    deliver: Any
    """Discharging, at the battery's terminals."""


class Plan(NamedTuple):
    """The orders that a wish takes, in kWh."""

    firm: Any
    """To be bought at any price."""
    surplus: Any
    """Generation to be sold at any price."""
    flexible_buy: Any
    """To be bought for flexible load, at its limit price or below."""
    vehicle_buy: Any
    """To be bought for the vehicle, at its limit price or below."""
    battery_buy: Any
    """To be bought for charging (of one limit price: for flexible load too) at the limit price or below."""
    battery_sell: Any
    """To be sold from the battery (of one limit price: generation too) at the limit price or above."""


class Execution(NamedTuple):
    """What a prosumer does after the clearing, in kWh."""

    flexible: Any
    """Flexible load served."""
    vehicle: Any
    """Charging of the vehicle."""
    draw: Any
    """Charging, at the battery's terminals."""
    deliver: Any
    """Discharging, at the battery's terminals."""
    bought: Any
    """Bought by orders, from others or from the grid."""
    sold: Any
    """Sold by orders, to others or to the grid."""
    exported: Any
    """Generation that found no buyer and is sold to the grid."""
    curtailed: Any
    """Generation that the transformer's limit does not let through."""


@rule
def battery_plan(wanted: Any, charge: Any, capacity: Any, power: Any, efficiency: Any) -> Any:
    """Charging and discharging, in kWh at the terminals, for an action in [-1, 1], within the battery's limits.

    ``charge``, ``capacity`` and ``power``, the most that can be done in a step, are in kWh. Charging 1 kWh stores
    ``efficiency`` kWh; discharging 1 kWh takes 1 / ``efficiency`` kWh from the store.
    """
    draw = max(min(wanted * power, (capacity - charge) / efficiency), ZERO)
    deliver = max(min(-wanted * power, charge * efficiency), ZERO)
    return draw, deliver


@rule
def charge_after(charge: Any, draw: Any, deliver: Any, capacity: Any, efficiency: Any) -> Any:
    """The charge at the end of a step; rounding cannot take it out of [0, capacity]."""
    return min(max(charge + efficiency * draw - deliver / efficiency, ZERO), capacity)


@rule
def plan_at_one_price(inelastic: Any, generation: Any, wish: Any) -> Any:
    """Net behind the meter: own generation and discharge serve inelastic load first, then the rest."""
    supply = generation + wish.deliver
    firm, spare = max(inelastic - supply, ZERO), max(supply - inelastic, ZERO)
    elastic = wish.flexible + wish.draw
    return Plan(firm, ZERO, ZERO, ZERO, max(elastic - spare, ZERO), max(spare - elastic, ZERO))


@rule
def execute_at_one_price(planned: Any, wish: Any, filled: Any) -> Any:
    """Do of a plan what the filled share of its order, a buy or a sell (never both), allows."""
    elastic = wish.flexible + wish.draw
    unfilled = ONE - filled
    missing = unfilled * planned.battery_buy
    done = ONE - missing / elastic if missing > ZERO else ONE
    unsold = unfilled * planned.battery_sell
    kept = min(unsold, wish.deliver)
    return Execution(
        done * wish.flexible,
        ZERO,
        done * wish.draw,
        wish.deliver - kept,
        planned.firm + filled * planned.battery_buy,
        filled * planned.battery_sell,
        unsold - kept,
        ZERO,
    )


@rule
def plan_at_separate_prices(inelastic: Any, generation: Any, wish: Any) -> Any:
    """Net behind the meter: own generation, then the battery, serve inelastic load, flexible load and vehicle."""
    need, spare = max(inelastic - generation, ZERO), max(generation - inelastic, ZERO)
    # What each device still needs, and what is left of the surplus, one device after the other.
    flexible, spare = max(wish.flexible - spare, ZERO), max(spare - wish.flexible, ZERO)
    vehicle, spare = max(wish.vehicle - spare, ZERO), max(spare - wish.vehicle, ZERO)
    draw, spare = max(wish.draw - spare, ZERO), max(spare - wish.draw, ZERO)
    need, stored = max(need - wish.deliver, ZERO), max(wish.deliver - need, ZERO)
    flexible, stored = max(flexible - stored, ZERO), max(stored - flexible, ZERO)
    vehicle, stored = max(vehicle - stored, ZERO), max(stored - vehicle, ZERO)
    return Plan(need, spare, flexible, vehicle, draw, stored)


@rule
def execute_at_separate_prices(
    planned: Any, wish: Any, flexible_filled: Any, vehicle_filled: Any, battery_filled: Any, sell_kept: Any
) -> Any:
    """Do of a plan what the filled shares of its orders allow.

    ``battery_filled`` is the share of the battery's buy or sell (never both), ``sell_kept`` that of the surplus
    generation that the transformer lets through.
    """
    flexible, vehicle = flexible_filled * planned.flexible_buy, vehicle_filled * planned.vehicle_buy
    charged, discharged = battery_filled * planned.battery_buy, battery_filled * planned.battery_sell
    through = sell_kept * planned.surplus
    return Execution(
        wish.flexible - (planned.flexible_buy - flexible),
        wish.vehicle - (planned.vehicle_buy - vehicle),
        wish.draw - (planned.battery_buy - charged),
        wish.deliver - (planned.battery_sell - discharged),
        planned.firm + flexible + vehicle + charged,
        through + discharged,
        ZERO,
        planned.surplus - through,
    )
