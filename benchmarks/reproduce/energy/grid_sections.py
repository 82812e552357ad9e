"""Second part of the page: the community and the grid."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.reproduce.energy.figures import grid as figures
from benchmarks.reproduce.energy.figures import market
from benchmarks.reproduce.energy.figures.style import Style
from benchmarks.reproduce.energy.players import EQUILIBRIUM, EVENING, GREEDY, NEURAL, PLANNER, POLICIES, RANDOM
from benchmarks.reproduce.energy.protocol import MONTHS, Protocol, date_in_words, typical_day
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import OPTIMUM, Content, Found
from benchmarks.reproduce.energy.tables import Column, Table, interval_text, mean_text, number

SHOWN = (GREEDY, EVENING, NEURAL, PLANNER)
"""Policies in figures of single days, between no market and perfect foresight."""
NOT_RANDOM = tuple(name for name in POLICIES if name != RANDOM)
"""Policies in figures with a panel for each."""


def sections(
    protocol: Protocol, days: list[Any], found: Found, content: Content, styles: Mapping[str, Style]
) -> list[Section]:
    """Typical days, the year's hours, prices, batteries and figures of merit of the grid."""
    n, typical = (
        protocol.n_agents,
        {season: _day_of(days, date) for season, date in content["typical_days"].items()},
    )
    titles = {season: f"{season}, {date_in_words(day['date'])}" for season, day in typical.items()}
    charge, power, prices = (
        {name: np.array([day["policies"][name][key] for day in days]) for name in NOT_RANDOM}
        for key in ("charge", "battery", "price")
    )
    metered = {name: np.array([day["policies"][name]["metered"] for day in days]).ravel() / n for name in POLICIES}
    metered = {"no market": np.array([day["no trade"]["net"] for day in days]).ravel() / n} | {
        name: metered[name] for name in (*SHOWN, EQUILIBRIUM)
    }
    metered[OPTIMUM] = np.array([day[OPTIMUM]["metered"] for day in days]).ravel() / n
    hour = found["hour", typical_day(protocol, "summer")]
    tariffs = [np.array([day[key] for day in days]).mean(axis=0) for key in ("feed_in", "retail")]
    return [
        Section(
            "A typical summer and a typical winter day",
            f"{date_in_words(typical['summer']['date'])} and {date_in_words(typical['winter']['date'])} are the"
            " test days whose load and sun are nearest to the mean of their season. Wide grey: no market, idle"
            " batteries. Trade alone does not change what the community as a whole exchanges with the grid;"
            " batteries and flexible load do.",
            figures.typical_days({titles[season]: _shown_day(day, n) for season, day in typical.items()}, styles),
            caption="Load and generation by type, the community's net exchange with the grid, and the mean charge"
            " of all batteries.",
        ),
        Section(
            "Load-duration curve",
            f"All {24 * len(days)} hours of the test days, ordered by what the community imports. The charge that"
            " batteries lack at the end of a day, or have left, is added in equal parts to all hours of that"
            " day, so that nobody has a low peak by an empty battery.",
            figures.load_duration(metered, styles),
            caption="Exchange with the grid in all hours, and in the tenth with the largest import.",
        ),
        Section(
            "Figures of merit of the grid",
            "A higher self-sufficiency is less import, a higher self-consumption less export. Nothing in this"
            f" market charges for peaks: they are highest with {_highest_peak(content)}.",
            table=grid_table(content),
            caption="Grid and batteries, with as much charge at the end of each day as at its beginning.",
        ),
        Section(
            "Hours long and short, by month",
            "The community is long in hours in which it has more than it needs, and short in all others. Bars:"
            " what the data of the whole year say. Points: what was left to export on the test days, of which a"
            f" month has about {max(1, round(len(days) / 12))}.",
            figures.long_hours(content["long_hours"]["expected"], content["long_hours"]["played"], styles, MONTHS),
            caption="Mean hours a day with more than is needed. In the rest of 24 the community is short, or needs"
            " no grid.",
        ),
        Section(
            "Prices",
            "The price is at the feed-in tariff in hours in which the community is long, and at the retail tariff,"
            " which has a higher network charge in the evening, where it is short. Only where demand and supply"
            " nearly balance do bids decide.",
            market.price_of_day(prices, tariffs[0], tariffs[1], styles),
            price_table(content),
            f"Median and 10 to 90 % of the price over {len(days)} days, by policy.",
        ),
        Section(
            "One hour's auction",
            "Inelastic load is bought at any price, surplus of sun is offered at the feed-in tariff, and batteries"
            " and flexible load bid prices of their own. The grid stands behind both at its tariffs.",
            market.merit_order(**hour["book"]),
            caption=f"Demand and supply on {date_in_words(typical['summer']['date'])}, {hour['hour']}:00 to"
            f" {hour['hour'] + 1}:00, when all play the {EQUILIBRIUM}.",
        ),
        Section(
            "Batteries",
            "Self-consumption fills batteries with the own surplus and empties them in the evening, as far as the"
            " owner needs it. The evening rule sells what its owner does not need while the network charge is"
            " high.",
            figures.storage(charge, power, styles),
            caption="Mean state of charge of all batteries with 10 to 90 % of days; power drawn (above 0) or"
            " delivered by a battery on average.",
        ),
    ]


def _highest_peak(content: Content) -> str:
    return max(POLICIES, key=lambda name: content["grid"][name]["daily_peak"][0])


def _day_of(days: list[Any], date: str) -> Any:
    return next(day for day in days if day["date"] == date)


def _shown_day(day: Any, n_agents: int) -> figures.DayOfGrid:
    """A day's energies per member, and the policies that are shown."""
    nets = {"no market": day["no trade"]["net"]} | {name: day["policies"][name]["net"] for name in SHOWN}
    nets[OPTIMUM] = day[OPTIMUM]["net"]
    charge = {name: day["policies"][name]["charge"] for name in SHOWN} | {OPTIMUM: day[OPTIMUM]["charge"]}
    return figures.DayOfGrid(
        np.array(day["load"]) / n_agents,
        np.array(day["generation"]) / n_agents,
        {name: np.array(net) / n_agents for name, net in nets.items()},
        {name: np.clip(level, 0.0, 1.0) for name, level in charge.items()},
    )


def grid_table(content: Content) -> Table:
    """Figures of merit of the grid and of batteries, by policy."""
    rows = []
    for name in POLICIES:
        one = content["grid"][name]
        rows.append(
            (
                name,
                interval_text(one["self_sufficiency"], ".0f", 100),
                interval_text(one["self_consumption"], ".0f", 100),
                mean_text(one["daily_peak"], ".2f"),
                number(one["winter_peak"], ".2f"),
                number(one["summer_peak"], ".2f"),
                mean_text(one["load_factor"], ".2f"),
                mean_text(one["ramping"], ".1f"),
                mean_text(one["co2"], ".0f"),
                mean_text(one["cycles"], ".2f"),
            )
        )
    columns = (
        Column("policy"),
        Column("self-sufficiency", "%"),
        Column("self-consumption", "%"),
        Column("daily peak import", "kW per member"),
        Column("winter peak", "kW per member"),
        Column("summer peak", "kW per member"),
        Column("load factor"),
        Column("ramping", "kW per member and day"),
        Column("CO₂", "kg per member and year"),
        Column("cycles", "per day"),
    )
    note = (
        "± half of the 95 % interval over days; in brackets 95 % bootstrap intervals over days."
        " Self-sufficiency: 1 - import / consumption. Self-consumption: 1 - export / generation. Load factor:"
        " mean over peak import. Ramping: sum of the changes of the exchange from hour to hour. Winter and"
        " summer peaks are the largest of the test days, without an interval. A cycle fills and empties all"
        " batteries once."
    )
    return Table(columns, tuple(rows), note)


def price_table(content: Content) -> Table:
    """Mean price, and how often it is at a tariff."""
    rows = []
    for name in POLICIES:
        one = content["prices"][name]
        shares = (mean_text(one[key], ".0f", 100) for key in ("at_feed_in", "between", "at_retail"))
        rows.append((name, mean_text(one["mean"], ".3f"), *shares))
    columns = (
        Column("policy"),
        Column("mean price", "EUR/kWh"),
        Column("at the feed-in tariff", "% of hours"),
        Column("between", "% of hours"),
        Column("at the retail tariff", "% of hours"),
    )
    return Table(columns, tuple(rows), "Means over days ± half of their 95 % intervals.")
