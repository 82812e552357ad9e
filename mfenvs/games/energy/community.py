"""What the clearing of a step means for the community as a whole: limits, matched imbalances, the daily peak.

Behind the orders three sums over all agents are counted, in kWh: what is bought at any price, shortages and
surpluses against the forecasts.
"""

from collections.abc import Callable
from typing import Any

from mfenvs.games.energy.clearing import BOUGHT, LOCAL_BUY, LOCAL_SELL, N_CLEARED, SOLD
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import rule

FIRM_SUM, SHORT_SUM, SURPLUS_SUM = range(3)
"""Cells behind those of the orders."""
N_SUMS = 3

SHORT_MATCHED, SURPLUS_MATCHED, BUY_KEPT, SELL_KEPT, PEAK, PEAK_RISE, PEAK_PRICE = range(N_CLEARED, N_CLEARED + 7)
"""Entries of the public signal, behind what the clearing wrote.

The shares of shortages and of surpluses that are matched with each other; the shares of purchases with a limit
price and of sales that the transformer lets through; the highest import of the community on this day so far, and
its rise in the step, kW per agent; what that rise costs for each kWh that is imported in the step, EUR/kWh.
"""
N_COMMUNITY = N_CLEARED + 7


@rule
def nothing(world: Any, signal: Any) -> None:
    """Stands for a part of the settlement that a market does not have."""


@rule
def apply_limits(world: Any, signal: Any) -> None:
    """Cut purchases with a limit price, or sales, in proportion, where the transformer's limits are exceeded."""
    constants = world.constants
    bought, sold = signal[BOUGHT], signal[SOLD]
    buy_kept, sell_kept = ONE, ONE
    too_much = bought - sold - constants.import_limit
    if too_much > ZERO:
        elastic = max(bought - world.counts[constants.n_order_cells + FIRM_SUM] * world.per_agent, ZERO)
        cut = min(too_much, elastic)
        buy_kept = ONE - cut / elastic if elastic > ZERO else ONE
        bought -= cut
        signal[LOCAL_BUY] = min(sold / bought, ONE) if bought > ZERO else ZERO
    too_much = sold - bought - constants.export_limit
    if too_much > ZERO:
        sell_kept = ONE - too_much / sold
        sold -= too_much
        signal[LOCAL_SELL] = min(bought / sold, ONE) if sold > ZERO else ZERO
    signal[BUY_KEPT], signal[SELL_KEPT] = buy_kept, sell_kept
    signal[BOUGHT], signal[SOLD] = bought, sold


@rule
def match_imbalances(world: Any, signal: Any) -> None:
    """Match shortages with surpluses; the rest of the larger side is the retailer's, in proportion."""
    short = world.counts[world.constants.n_order_cells + SHORT_SUM]
    surplus = world.counts[world.constants.n_order_cells + SURPLUS_SUM]
    matched = min(short, surplus)
    signal[SHORT_MATCHED] = matched / short if short > 0.0 else 0.0
    signal[SURPLUS_MATCHED] = matched / surplus if surplus > 0.0 else 0.0


@rule
def price_peak(world: Any, signal: Any, short: Any, surplus: Any, settled: Any) -> None:
    """Find by how much the day's peak rises, and share out what that costs over what is imported in the step.

    ``short`` and ``surplus`` are the sums of the imbalances, ``settled`` what is imported for them, kWh per agent.
    """
    constants = world.constants
    cleared = signal[BOUGHT] - signal[SOLD]
    imported = max(cleared, 0.0) + settled
    power = (cleared + short - surplus) / constants.step_hours
    before = signal[PEAK] if world.time % constants.load.shape[1] > 0 else signal[PEAK] * 0.0
    rise = max(power - before, 0.0)
    signal[PEAK], signal[PEAK_RISE] = before + rise, rise
    signal[PEAK_PRICE] = constants.peak_charge * rise / imported if imported > 0.0 else 0.0


def settlement_rule(traits: Traits) -> Callable[..., Any]:
    """The rule ``settle(world, signal)`` that follows the clearing of a market."""
    limit = apply_limits if traits.has_limits else nothing
    match = match_imbalances if traits.imbalance == "pooled" else nothing
    peak = _peak_rule(traits.imbalance) if traits.peak == "community" else nothing

    @rule
    def settle(world: Any, signal: Any) -> None:
        limit(world, signal)
        match(world, signal)
        peak(world, signal)

    return settle


def _peak_rule(imbalance: str) -> Callable[..., Any]:
    is_pooled = imbalance == "pooled"

    @rule
    def peak_as_metered(world: Any, signal: Any) -> None:
        price_peak(world, signal, ZERO, ZERO, ZERO)

    @rule
    def peak(world: Any, signal: Any) -> None:
        first = world.constants.n_order_cells
        short = world.counts[first + SHORT_SUM] * world.per_agent
        surplus = world.counts[first + SURPLUS_SUM] * world.per_agent
        price_peak(world, signal, short, surplus, max(short - surplus, 0.0) if is_pooled else short)

    return peak_as_metered if imbalance == "ex-post" else peak
