"""One prosumer's step as rules: what it offers, and what becomes of it once the market is cleared.

All amounts are kWh of a step. Load and generation of one home are netted behind its meter before anything is
offered [O]. Inelastic load bids the retail tariff, so it is always served; flexible load and charging bid the
agent's limit price and happen as far as they are filled; surplus generation and discharging are offered at that
price, and what is not filled is not discharged, or if it is generation sold to the grid at the feed-in tariff [R].
So no bid can break the physics.
"""

from typing import Any, NamedTuple

from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.rules import rule


class Plan(NamedTuple):
    """What a prosumer wants to do in a step, and the orders that this takes, in kWh."""

    flexible: Any
    """Flexible load to be served."""
    draw: Any
    """Charging, at the battery's terminals."""
    deliver: Any
    """Discharging, at the battery's terminals."""
    firm: Any
    """To be bought at any price."""
    buy: Any
    """To be bought at the limit price or below."""
    sell: Any
    """To be sold at the limit price or above."""


class Execution(NamedTuple):
    """What a prosumer does after the clearing, in kWh."""

    flexible: Any
    """Flexible load served."""
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
def plan(inelastic: Any, generation: Any, flexible: Any, draw: Any, deliver: Any) -> Any:
    """Net behind the meter: own generation and discharge serve inelastic load first, then the rest."""
    supply = generation + deliver
    firm, spare = max(inelastic - supply, ZERO), max(supply - inelastic, ZERO)
    elastic = flexible + draw
    return Plan(flexible, draw, deliver, firm, max(elastic - spare, ZERO), max(spare - elastic, ZERO))


@rule
def execute(planned: Any, filled: Any) -> Any:
    """Do of a plan what the filled share of its order, ``buy`` or ``sell`` (never both), allows."""
    elastic = planned.flexible + planned.draw
    unfilled = ONE - filled
    missing = unfilled * planned.buy
    done = ONE - missing / elastic if missing > ZERO else ONE
    unsold = unfilled * planned.sell
    kept = min(unsold, planned.deliver)
    return Execution(
        done * planned.flexible,
        done * planned.draw,
        planned.deliver - kept,
        planned.firm + filled * planned.buy,
        filled * planned.sell,
        unsold - kept,
    )
