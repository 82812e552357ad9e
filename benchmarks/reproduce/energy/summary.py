"""What the JSON holds of the results: figures of each policy with intervals over the test days.

All are per member: money in EUR a year, which is 365 times the mean of the test days, and power in kW. Two numbers
are a mean and half of its 95 % Student interval over days; three are a value and the ends of its interval by a
bootstrap over days.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.deviation_summary import summarise_deviations
from benchmarks.reproduce.energy.figures.style import TYPE_WORDS, mean_interval, without_nan
from benchmarks.reproduce.energy.gain_steps import GainSteps
from benchmarks.reproduce.energy.players import EQUILIBRIUM, GREEDY, IDLE, PLANNER, POLICIES
from benchmarks.reproduce.energy.protocol import Protocol, test_days, typical_day, whole_market
from benchmarks.reproduce.energy.ratios import ratio
from mfenvs.energy.calendar import DAYS_PER_YEAR, month_of
from mfenvs.energy.merit import MemberFigures
from mfenvs.energy.merit.seasons import season_of
from mfenvs.energy.outcomes import price_of_anarchy, relative_efficiency
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.tables import community_net

Array = NDArray[np.float64]
Found = Mapping[tuple[Any, ...], Any]
"""What the tasks found, by their keys."""
Content = Mapping[str, Any]
"""What the JSON holds: entries of :func:`summarise`, and what the command adds."""

OPTIMUM = "perfect foresight"
STEPS = GainSteps._fields


def summarise(protocol: Protocol, found: Found) -> dict[str, Any]:
    """The results of all tasks: what the tables and most figures of the page show."""
    days = [found["day", day] for day in test_days(protocol)]
    return {
        "dates": [day["date"] for day in days],
        "typical_days": {
            season: whole_market(protocol.n_agents).days.dates[typical_day(protocol, season)]
            for season in ("summer", "winter")
        },
        "gain": gains(protocol, days),
        "efficiency": efficiencies(days),
        "grid": grid_table(protocol, days),
        "members": member_table(protocol, days),
        "prices": price_table(days),
        "long_hours": long_hours(protocol, days),
        "equilibrium": {
            "exploitability": [found["equilibrium", day]["exploitability"] for day in test_days(protocol)],
            "methods": sorted({found["equilibrium", day]["method"] for day in test_days(protocol)}),
        },
        **summarise_deviations(found),
        "forecasts": found["forecasts",]["evaluations"],
        "settlement": found["settled",]["summaries"],
    }


def per_year(protocol: Protocol, of_days: ArrayLike) -> tuple[float, float]:
    """Mean and half of its 95 % interval of a community's daily figures, per member and year."""
    mean, half = mean_interval(np.asarray(of_days, np.float64) * DAYS_PER_YEAR / protocol.n_agents)
    return mean, half


def welfare_of(days: list[Any], name: str) -> Array:
    """Welfare of each day, EUR: of a policy, or ``no trade`` or ``perfect foresight``."""
    if name in POLICIES:
        return np.array([day["policies"][name]["outcome"]["welfare"] for day in days])
    return np.array([day[name]["welfare"] for day in days])


def gains(protocol: Protocol, days: list[Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """Steps of the gain over no market of each policy and of perfect foresight, their sum, and what is missed.

    ``total`` is the sum; ``missed`` is what perfect foresight gains more, with an interval of the differences day
    by day.
    """
    floor = welfare_of(days, "no trade")
    rows = {}
    for name in (*POLICIES, OPTIMUM):
        of_days = [day["policies"][name]["steps"] if name in POLICIES else day[name]["steps"] for day in days]
        rows[name] = {step: per_year(protocol, [one[step] for one in of_days]) for step in STEPS}
        rows[name]["total"] = per_year(protocol, welfare_of(days, name) - floor)
        rows[name]["missed"] = per_year(protocol, welfare_of(days, OPTIMUM) - welfare_of(days, name))
    return rows


def efficiencies(days: list[Any]) -> dict[str, dict[str, Any]]:
    """Efficiency of each policy: pooled over days, by day, and the share of what a planner makes of batteries."""
    floor, best = welfare_of(days, "no trade"), welfare_of(days, OPTIMUM)
    idle, planned = welfare_of(days, IDLE), welfare_of(days, PLANNER)
    rows: dict[str, dict[str, Any]] = {}
    for name in POLICIES:
        reached = welfare_of(days, name)
        share = relative_efficiency(reached, floor, best)
        rows[name] = {
            "pooled": share.pooled,
            "daily": share.daily.tolist(),
            "of planner": relative_efficiency(reached, idle, planned).pooled
            if planned.sum() > idle.sum()
            else None,
            "anarchy": price_of_anarchy(reached, best, floor),
        }
    return rows


def grid_table(protocol: Protocol, days: list[Any]) -> dict[str, dict[str, Any]]:
    """Figures of merit of the grid, by policy; all with as much charge at the end as at the beginning."""
    rows: dict[str, dict[str, Any]] = {}
    for name in POLICIES:
        grid = {
            key: np.array([day["policies"][name]["grid"][key] for day in days], np.float64)
            for key in days[0]["policies"][name]["grid"]
        }
        kept_in = ratio(grid["exports"] + grid["curtailed"], grid["generation"])
        imported = ratio(grid["imports"], grid["consumption"])
        peaks = {
            season: max(
                (float(peak) for peak, day in zip(grid["peak_import"], days, strict=True)
                 if season_of(day["date"]) == season),
                default=float("nan"),
            )
            for season in ("winter", "summer")
        }  # fmt: skip
        rows[name] = {
            "self_sufficiency": Interval(1 - imported.value, 1 - imported.high, 1 - imported.low),
            "self_consumption": Interval(1 - kept_in.value, 1 - kept_in.high, 1 - kept_in.low),
            "daily_peak": mean_interval(grid["peak_import"] / protocol.n_agents),
            "winter_peak": peaks["winter"] / protocol.n_agents,
            "summer_peak": peaks["summer"] / protocol.n_agents,
            "load_factor": mean_interval(without_nan(grid["load_factor"])),
            "ramping": mean_interval(grid["ramping"] / protocol.n_agents),
            "co2": per_year(protocol, grid["co2"]),
            "cycles": mean_interval(without_nan(grid["battery_cycles"])),
        }
    return rows


def member_figures_of(protocol: Protocol, days: list[Any], name: str) -> MemberFigures:
    """Bills and gains under a policy, of all members on all test days."""

    def of_days(key: str) -> Array:
        return np.array([day["policies"][name][key] for day in days], np.float64)

    without = {quo: np.array([day["status quo"][quo] for day in days], np.float64) for quo in ("idle", GREEDY)}
    return MemberFigures(
        types=whole_market(protocol.n_agents).agents["type"].astype(np.int64),
        bill=of_days("bill"),
        bill_idle=without["idle"],
        bill_self_consumption=without[GREEDY],
        gain_over_idle=of_days("gain over idle"),
        gain_over_self_consumption=of_days("gain over self-consumption"),
    )


def member_table(protocol: Protocol, days: list[Any]) -> dict[str, dict[str, Any]]:
    """Bills, participation and fairness, by policy.

    Returns
    -------
    dict
        By policy ``bills``, by type, and ``saved``, what the bill is lower than without a market and with
        self-consumption; ``gained``, what all members gain over that on average, both EUR per member and year;
        ``better_off``, by status quo and group the share of members;
        ``gini``, of the bills.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in POLICIES:
        figures = member_figures_of(protocol, days, name)
        found = figures.statistics()
        kinds = [k for k in range(len(TYPES)) if (figures.types == k).any()]

        def by_type(of_members: Array, kinds: list[int] = kinds, types: Any = figures.types) -> dict[str, Any]:
            yearly = of_members * DAYS_PER_YEAR
            return {TYPE_WORDS[TYPES[k]]: mean_interval(yearly[:, types == k].mean(axis=1)) for k in kinds}

        groups = {"community": "community"} | {TYPES[k]: TYPE_WORDS[TYPES[k]] for k in kinds}
        rows[name] = {
            "bills": by_type(figures.bill),
            "bills_idle": by_type(figures.bill_idle),
            "bills_self_consumption": by_type(figures.bill_self_consumption),
            "saved": by_type(figures.bill_self_consumption - figures.bill),
            "gained": mean_interval(figures.gain_over_self_consumption.mean(axis=1) * DAYS_PER_YEAR),
            "better_off": {
                quo: {words: found[f"better_off_than_{quo}", group] for group, words in groups.items()}
                for quo in ("idle", "self_consumption")
            },
            "gini": found["gini_of_bills", "community"],
        }
    return rows


def price_table(days: list[Any]) -> dict[str, dict[str, Any]]:
    """Mean price, EUR/kWh, and shares of the hours at the feed-in tariff, between the tariffs, and at retail."""
    rows = {}
    for name in POLICIES:
        price = np.array([day["policies"][name]["price"] for day in days])
        retail, feed_in = (np.array([day[key] for day in days]) for key in ("retail", "feed_in"))
        level = (price - feed_in) / (retail - feed_in)
        low, high = (level <= 1e-6).mean(axis=1), (level >= 1 - 1e-6).mean(axis=1)
        rows[name] = {
            "mean": mean_interval(price.mean(axis=1)),
            "at_feed_in": mean_interval(low),
            "between": mean_interval(1 - low - high),
            "at_retail": mean_interval(high),
        }
    return rows


def long_hours(protocol: Protocol, days: list[Any]) -> dict[str, Any]:
    """Hours a day in which the community has more than it needs, by month 1 to 12.

    Returns
    -------
    dict
        ``expected``: of all days of the series, with idle batteries and without flexible load, by the data alone;
        ``played``: by policy, on the test days. nan in a month without such days.
    """
    series, agents = whole_market(protocol.n_agents).days, whole_market(protocol.n_agents).agents
    net = community_net(agents.view(np.ndarray), series.load, series.pv, series.wind)
    per_step = series.step_hours

    def by_month(hours: ArrayLike, dates: list[str]) -> list[float]:
        each, months = np.asarray(hours, np.float64), np.array([month_of(date) for date in dates])
        return [float(each[months == m].mean()) if (months == m).any() else float("nan") for m in range(1, 13)]

    dates = [day["date"] for day in days]
    return {
        "expected": by_month((net < 0).sum(axis=1) * per_step, list(series.dates)),
        "played": {
            name: by_month(
                [(np.array(day["policies"][name]["net"]) < -1e-6).sum() * per_step for day in days], dates
            )
            for name in (IDLE, GREEDY, EQUILIBRIUM, PLANNER)
        },
    }
