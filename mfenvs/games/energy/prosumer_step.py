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
    """What an agent wants in a step, and what it offers for it."""

    flexible: Any
    """Flexible load."""
    draw: Any
    """What the battery takes from the home."""
    deliver: Any
    """What the battery gives to the home."""
    firm: Any
    """Bought at any price."""
    buy: Any
    """Bought at the limit price."""
    sell: Any
    """Sold at the limit price."""


class Execution(NamedTuple):
    """What came of a plan."""

    flexible: Any
    draw: Any
    deliver: Any
    """As in :class:`Plan`, as far as orders were filled."""
    bought: Any
    sold: Any
    """Filled, by others or by the grid."""
    exported: Any
    """Generation that found no buyer: sold to the grid."""


@rule
def battery_plan(wanted: Any, charge: Any, capacity: Any, power: Any, efficiency: Any) -> Any:
    """What a battery draws and delivers for an action in [-1, 1] within its limits, both at the terminals.

    ``power`` is the most it can do in a step; a kWh drawn stores ``efficiency``, a kWh delivered takes 1 /
    efficiency.
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
    """Do what can be done if such a part of the order is filled: ``buy`` or ``sell``, never both."""
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
