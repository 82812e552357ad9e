"""The page of the energy reproduction: what was found, put into figures, tables and words."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich import box
from rich.table import Table as ConsoleTable

from benchmarks.reproduce import energy_figures as figures
from benchmarks.reproduce.energy_report import (
    Column,
    Section,
    Summary,
    Table,
    efficiency_table,
    forecast_table,
    number,
    provenance,
    risk_table,
    settlement_table,
    with_half,
    write_report,
)

UNITS = {"price": "EUR/MWh", "load": "kWh", "PV": "kW/kWp"}

Columns = tuple[tuple[Column, Callable[[Mapping[str, Any]], tuple[float, float]], str], ...]
"""Head, value and half its 95 % interval, format."""

COLUMNS: Columns = (
    (Column("efficiency"), lambda one: figures.mean_interval(one["outcome"]["efficiency"]), ".2f"),
    (Column("return", "EUR/agent"), lambda one: figures.mean_interval(one["outcome"]["mean_return"]), ".2f"),
    (Column("CVaR 5 %", "EUR/agent"), lambda one: _of_interval(one["risk"]["cvar"]), ".2f"),
    (Column("risk-adjusted loss", "EUR/agent"), lambda one: _of_interval(one["risk"]["adjusted"]), ".2f"),
    (Column("peak import", "kW"), lambda one: figures.mean_interval(one["outcome"]["peak_import"]), ".0f"),
    (Column("local", "% of use"), lambda one: _percent(one["outcome"]["local_share"]), ".0f"),
)

PRICE_COLUMNS: Columns = (
    (Column("mean", "ct/kWh"), lambda one: _cents(one["outcome"]["price_mean"]), ".1f"),
    (Column("sd within a day", "ct/kWh"), lambda one: _cents(one["outcome"]["price_sd"]), ".1f"),
    (Column("lowest of a day", "ct/kWh"), lambda one: _cents(one["outcome"]["price_min"]), ".1f"),
    (Column("highest of a day", "ct/kWh"), lambda one: _cents(one["outcome"]["price_max"]), ".1f"),
)
"""Of the table of prices."""


def write(path: Path, found: Mapping[tuple[Any, ...], Any], content: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path:
        Where to.
    found:
        What the tasks returned, by their keys.
    content:
        What the JSON holds.
    """
    policies, protocol = content["policies"], content["protocol"]
    styles = figures.policy_styles(["no trade", *policies, "planner"])
    n_days = len(content["days"])
    summary = Summary(_summary_text(content), policy_table(content))
    sections = [
        *_market_sections(found, content, styles),
        *_policy_sections(content, styles),
        *_equilibrium_sections(content, styles),
        *_service_sections(found, content),
        _what_differs(content),
    ]
    more = {
        "days": f"{n_days} of the series, spread evenly",
        "agents": f"{protocol['n_agents']:,}",
        "seconds": f"{content['seconds']:.0f}",
    }
    title = f"A local energy market of {protocol['n_agents']:,} prosumers"
    write_report(path, title, summary, sections, provenance(content["seeds"], **more))


def policy_table(content: Mapping[str, Any]) -> Table:
    """Every policy's figures, means over the days with 95 % intervals."""
    note = (
        f"A day's figures: means over {len(content['days'])} days with halves of their 95 % intervals (CVaR and"
        " risk-adjusted: bootstrap over days). Efficiency: 0 is no trade with idle batteries, 1 the planner who"
        " knows the day. Local: traded within the community, of what is traded there or imported."
    )
    return _table(content, COLUMNS, note)


def _table(content: Mapping[str, Any], columns: Columns, note: str) -> Table:
    rows = [
        (name, *(with_half(*value(one), spec) for _, value, spec in columns))
        for name, one in content["policies"].items()
    ]
    return Table((Column("policy"), *(column for column, *_ in columns)), tuple(rows), note)


def console_table(content: Mapping[str, Any]) -> ConsoleTable:
    """The first figures of it for the terminal."""
    given, shown = policy_table(content), 5
    table = ConsoleTable(title="The energy market", caption=given.note, box=box.SIMPLE)
    for i, column in enumerate(given.columns[:shown]):
        table.add_column(f"{column.name}\n{column.unit}", justify="right" if i else "left", no_wrap=True)
    for row in given.rows:
        table.add_row(*row[:shown])
    return table


def _summary_text(content: Mapping[str, Any]) -> str:
    policies = content["policies"]
    means = {name: float(np.nanmean(one["outcome"]["efficiency"])) for name, one in policies.items()}
    best = max(means, key=lambda name: means[name])
    gain = np.mean(np.array(policies[best]["outcome"]["best"]) - np.array(policies[best]["outcome"]["no_trade"]))
    n = content["protocol"]["n_agents"]
    return (
        f"{n:,} prosumers trade in an hourly call auction between the grid's two tariffs, on"
        f" {len(content['days'])} days of real load, sun, wind and prices. A planner who knew each day in advance"
        f" would gain {gain / n:.2f} EUR per agent and day over no trade at all. Of that gain,"
        f" {best} realises {means[best]:.0%} on average, the most of the policies tried;"
        f" {min(means, key=lambda name: means[name])} {min(means.values()):.0%}, the least. Errors of forecasts,"
        " which the planner does not have and which settle with the retailer one by one, cost"
        f" {np.mean(content['imbalance']) / gain:.0%} of it under any policy."
    )


def _market_sections(
    found: Mapping[tuple[Any, ...], Any], content: Mapping[str, Any], styles: Mapping[str, figures.Style]
) -> list[Section]:
    policies, shown = content["policies"], found["shown",]
    feed_in, retail = content["game"]["feed_in"], content["game"]["retail"]
    prices = {name: np.array(one["price"]) for name, one in policies.items()}
    n_days = len(content["days"])
    hour = shown["hour"]
    return [
        Section(
            "One hour's auction",
            "Every agent bids on its forecasts. Inelastic load bids the retail tariff, surplus from sun and wind"
            " is offered at a limit price, and the grid stands behind both at its tariffs.",
            figures.merit_order(**shown["book"]),
            caption=f"Demand and supply per agent, {hour}:00 to {hour + 1}:00 on day {shown['day']} of the series,"
            " when all play the mean-field equilibrium.",
        ),
        Section(
            "Price through the day",
            "The auction's price lies at a tariff whenever the community as a whole is short of energy or has too"
            " much, which is most of the time: only where demand and supply nearly balance do bids decide.",
            figures.price_of_day(prices, feed_in, retail, styles),
            caption=f"Median and 10 to 90 % of the price over {n_days} days, by policy.",
        ),
        Section(
            "How often which price",
            "",
            figures.price_distribution({name: p.ravel() for name, p in prices.items()}, feed_in, retail, styles),
            _table(content, PRICE_COLUMNS, f"Means over {n_days} days and halves of their 95 % intervals."),
            caption=f"Prices of all {24 * n_days} hours.",
        ),
        Section(
            "Batteries",
            "Those who own a battery also own panels. Self-consumption stores what the own roof makes and uses it"
            " in the evening; the equilibrium trades with its neighbours' surplus too.",
            _storage_figure(found, content, styles),
            caption="State of charge, mean over owners and days with 10 to 90 % of the owners; power that"
            " batteries draw (above 0) or deliver, mean per owner.",
        ),
        Section(
            "The grid, with and without the market",
            f"Day {shown['day']} of the series, that of the most varied prices. Local trade alone does not change"
            " what the community exchanges with the grid: batteries and flexible loads do.",
            figures.grid_exchange(shown["load"], shown["generation"], shown["exchange"], styles),
            caption="Load and generation by type, and the community's net exchange with the grid.",
        ),
    ]


def _storage_figure(
    found: Mapping[tuple[Any, ...], Any], content: Mapping[str, Any], styles: Mapping[str, figures.Style]
) -> Figure:
    n_days, policies = len(content["days"]), content["policies"]
    stacked = {
        part: {
            name: np.stack([found["day", day]["policies"][name][part] for day in range(n_days)])
            for name in policies
        }
        for part in ("charge", "power")
    }
    n_owners = next(iter(stacked["charge"].values())).shape[2]
    storage = 2
    return figures.storage_by_type(stacked["charge"], stacked["power"], np.full(n_owners, storage), styles)


def _policy_sections(content: Mapping[str, Any], styles: Mapping[str, figures.Style]) -> list[Section]:
    policies, shown = content["policies"], content["shown_day"]
    efficiencies = {name: np.array(one["outcome"]["efficiency"]) for name, one in policies.items()}
    gains = {name: np.array(one["gains"]) for name, one in policies.items()}
    expected = {name: one["risk"]["expected"] for name, one in policies.items()}
    tails = {name: one["risk"]["cvar"] for name, one in policies.items()}
    repeats = content["protocol"]["n_repeats"]
    return [
        Section(
            "Efficiency",
            "(W - W0) / (W* - W0): W0 without local trade and with idle batteries, W* of the planner, who knows"
            " load, sun and wind of the day in advance and leaves batteries no emptier than they were.",
            figures.efficiency_of_policies(efficiencies, styles),
            efficiency_table(efficiencies),
            "Every day a point; mean and 95 % interval over days.",
        ),
        Section(
            "Who gains",
            "",
            figures.gain_by_type(gains, styles),
            caption="What agents of each type are better off than without trade and with idle batteries, mean over"
            " days with 95 % intervals; every type on its own scale.",
        ),
        Section(
            "Cost, peak and emissions",
            f"The planner's trade-offs on day {shown['day']} of the series, and where the policies are.",
            figures.pareto_front(
                shown["front"]["objectives"], np.array(shown["front"]["values"]), shown["points"], styles
            ),
            caption="The Pareto front over cost, largest exchange with the grid in an hour and CO2 of imports.",
        ),
        Section(
            "Risk",
            f"Every day was played {repeats} times more with other weather and errors. An agent's loss is what its"
            " day costs less what flexible load is worth to it; CVaR is the mean of its worst 5 % of days. Of the"
            f" variance of an agent's loss {content['between_days']:.0%} is between days, which nobody chooses.",
            figures.risk(expected, tails, styles),
            risk_table(expected, tails),
            "Means over agents, 95 % bootstrap intervals over days.",
        ),
    ]


def _equilibrium_sections(content: Mapping[str, Any], styles: Mapping[str, figures.Style]) -> list[Section]:
    found, learning = content["exploitability"], content["learning"]
    curves = {name: np.array(runs) for name, runs in found["mean_field"].items()}
    n_points = next(iter(curves.values())).shape[1]
    protocol = content["protocol"]
    rows = []
    for name, days in found["market"].items():
        gains = np.concatenate([np.array(day) for day in days])
        mean, half = figures.mean_interval(gains)
        rows.append((name, with_half(mean, half, ".3f"), number(float(np.median(gains)), ".3f")))
    table = Table(
        (Column("all play"), Column("mean gain", "EUR/day"), Column("median gain", "EUR/day")),
        tuple(rows),
        f"{protocol['n_sampled']} agents drawn on each of {len(next(iter(found['market'].values())))} days;"
        f" {protocol['n_pairs']} pairs of simulations for each agent; 95 % interval over agents.",
    )
    references = {"idle batteries": content["learning"]["idle batteries"]}
    trained = {
        name: (np.array(learning[name]["timesteps"]), np.array([learning[name]["returns"]]))
        for name in ("symmetrised PPO", "risk-averse PPO")
    }
    return [
        Section(
            "Equilibrium of the mean-field game",
            "Each day's market in bins of charge, by type and hour, is a finite mean-field game. Mirror descent"
            f" knows the model ({protocol['mirror_descent']} iterations); Symm-PMD sees trajectories of the"
            f" N-player game only ({protocol['pmd_epochs']} epochs of {protocol['pmd_episodes']} episodes).",
            figures.exploitability_curve(
                np.arange(1, n_points + 1) / n_points * 100, curves, styles, "training done (%)"
            ),
            caption="Exploitability in the induced game: every day thin, their mean thick.",
        ),
        Section(
            "What single prosumers would gain by deviating",
            "In the market of N agents, who differ within their types. For each drawn agent a reply is planned"
            " with its own parameters against recorded prices, and played in fresh simulations of the whole"
            " market: a lower bound on its gain. The equilibrium gives all of a type one policy, so those who"
            " differ from their type's mean can gain.",
            table=table,
            caption="Gain of a planned reply.",
        ),
        Section(
            "Learning curves",
            "Networks that all agents share, trained on all days of the year; what is shown is the return of the"
            " policies without exploration, on days drawn apart.",
            figures.learning_curves(trained, styles, references),
            caption="Mean return by agent-steps; the line is that of idle batteries on the same days.",
        ),
    ]


def _service_sections(found: Mapping[tuple[Any, ...], Any], content: Mapping[str, Any]) -> list[Section]:
    predicted, settled = found["forecasts",], found["settled",]
    routed = settled["routed"]
    return [
        Section(
            "Forecasts",
            "Day-ahead forecasts of the real series, fitted to the first three quarters. A calibrated forecast has"
            " a flat histogram. Photovoltaics have a peak in the middle: nights are known to be dark. Student-t"
            " errors against Gaussian ones: see the log score, where heavy tails count, and the CRPS, where they"
            " count less.",
            figures.forecast_calibration(predicted["pits"]),
            forecast_table(predicted["evaluations"], UNITS, "seasonal naive"),
            "Histograms of the probability integral transform, with intervals that allow for dependence.",
        ),
        Section(
            "Settlement",
            f"Local payments of {content['protocol']['settled_days']} days under self-consumption, over a made-up"
            " payment-channel network of 300 nodes: channels that are too small are pruned, paths ranked, payments"
            " split over them. What fails becomes credit of the retailer with a penalty; no money is lost. The"
            " ledger, which the market uses by default, settles everything.",
            figures.settlement(settled["latency"][routed], settled["amount"], settled["succeeded"]),
            settlement_table(settled["summaries"]["payment-channels"][-1]),
            "Latencies as configured (median 47 ms), not observed; the table is of the last of these days.",
        ),
    ]


def _what_differs(content: Mapping[str, Any]) -> Section:
    return Section(
        "What to know about these figures",
        "Nothing here reproduces a published figure: the market is ours, its parameters too, its series are real."
        "\n\nThe equilibrium and Symm-PMD are computed from each day's data, as a day-ahead plan would be; the"
        " weather that disturbs the day and everyone's errors they do not know. The other policies see forecasts"
        " of four hours."
        "\n\nThe networks were trained for minutes with settings chosen by hand, one seed each: longer training"
        " may do better, and their intervals do not tell how much training runs differ."
        "\n\nDays follow each other in the series but are played apart: a battery begins every day half full, and"
        " what it lacks at the end is bought at the last tariff.",
    )


def _of_interval(interval: Any) -> tuple[float, float]:
    value, low, high = interval
    return float(value), float(high - low) / 2


def _percent(shares: Any) -> tuple[float, float]:
    return figures.mean_interval(100 * figures.without_nan(shares))


def _cents(prices: Any) -> tuple[float, float]:
    values: NDArray[np.float64] = 100 * np.asarray(prices, np.float64)
    return figures.mean_interval(values)
