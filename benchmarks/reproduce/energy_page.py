"""The page of the energy reproduction: what was found, put into figures, tables and words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
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
    settlement_table,
    with_half,
    write_report,
)
from mfenvs.energy.forecast_scores import Evaluation

UNITS = {"price": "EUR/MWh", "load": "kWh", "PV": "kW/kWp"}

IDLE = "idle batteries"
"""The policy that others are compared with, day by day."""
EQUILIBRIUM = "mean-field equilibrium"

Content = Mapping[str, Any]
"""What the JSON holds."""


def write(path: Path, found: Mapping[tuple[Any, ...], Any], content: Content) -> None:
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


def policy_table(content: Content) -> Table:
    """Every policy's figures, means over the days with 95 % intervals."""
    policies = content["policies"]
    rows = []
    for name, one in policies.items():
        outcome = one["outcome"]
        rows.append(
            (
                name,
                _mean(outcome["efficiency"], ".3f"),
                "" if name == IDLE else _mean(_to_idle(content, name, "efficiency"), "+.3f"),
                _mean(outcome["mean_return"], ".2f"),
                _interval(one["risk"]["cvar"]),
                _mean(outcome["peak_import"], ".0f"),
                _mean(100 * np.array(outcome["local_share"]), ".0f"),
            )
        )
    columns = (
        Column("policy"),
        Column("efficiency"),
        Column("less that of idle"),
        Column("return", "EUR/agent"),
        Column("CVaR 5 %", "EUR/agent"),
        Column("peak import", "kW"),
        Column("local", "%"),
    )
    note = (
        f"A day's figures: means over {len(content['days'])} days ± half of their 95 % intervals; differences to"
        " idle batteries are taken day by day; CVaR with a bootstrap interval. Efficiency: 0 is no trade with idle"
        " batteries, 1 the planner who knows the day. Local: traded within the community, of what is traded there"
        " or imported. Charge that is missing at the end of a day is money in these figures, not energy."
    )
    return Table(columns, tuple(rows), note)


def console_table(content: Content) -> ConsoleTable:
    """The first figures of it for the terminal."""
    given, shown = policy_table(content), 4
    table = ConsoleTable(title="The energy market", caption=given.note, box=box.SIMPLE)
    for i, column in enumerate(given.columns[:shown]):
        table.add_column(f"{column.name}\n{column.unit}", justify="right" if i else "left", no_wrap=True)
    for row in given.rows:
        table.add_row(*row[:shown])
    return table


def _summary_text(content: Content) -> str:
    policies = content["policies"]
    means = {name: float(np.nanmean(one["outcome"]["efficiency"])) for name, one in policies.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    idle = policies[IDLE]
    gain = float(np.mean(np.array(idle["outcome"]["best"]) - np.array(idle["outcome"]["no_trade"])))
    n = content["protocol"]["n_agents"]
    return (
        f"{n:,} prosumers trade in an hourly call auction between the grid's two tariffs, on"
        f" {len(content['days'])} days of real load, sun, wind and prices. A planner who knew each day in advance"
        f" would gain {gain / n:.2f} EUR per agent and day over no trade at all; efficiencies are shares of a"
        f" day's gain. Trade alone, with idle batteries, has {means[IDLE]:.2f} on average, bids at random"
        f" {means['random']:.2f}: netting within the community is most of what there is to gain. The most has"
        f" {ranked[0]} ({means[ranked[0]]:.2f}), the least {ranked[-1]} ({means[ranked[-1]]:.2f}). Errors of"
        " forecasts, which the planner does not have and which settle with the retailer one by one, cost"
        f" {np.mean(idle['imbalance']) / gain:.2f} with idle batteries."
    )


def _market_sections(
    found: Mapping[tuple[Any, ...], Any], content: Content, styles: Mapping[str, figures.Style]
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
            _price_table(content),
            caption=f"Prices of all {24 * n_days} hours.",
        ),
        Section(
            "Batteries",
            "Those who own a battery also own panels. Self-consumption stores what the own roof makes and uses it"
            " in the evening.",
            _storage_figure(found, content, styles),
            caption="State of charge, mean over owners and days with 10 to 90 % of the owners; power that"
            " batteries draw (above 0) or deliver, mean per owner.",
        ),
        Section(
            "The grid, with and without the market",
            f"Day {shown['day']} of the series, that of the most varied prices. Trade alone moves energy within"
            " the community: what it exchanges with the grid is changed by batteries and flexible loads.",
            figures.grid_exchange(shown["load"], shown["generation"], shown["exchange"], styles),
            caption="Load and generation by type, and the community's net exchange with the grid.",
        ),
    ]


def _price_table(content: Content) -> Table:
    names = {
        "price_mean": "mean",
        "price_sd": "sd within a day",
        "price_min": "lowest of a day",
        "price_max": "highest of a day",
    }
    rows = [
        (name, *(_mean(100 * np.array(one["outcome"][key]), ".1f") for key in names))
        for name, one in content["policies"].items()
    ]
    columns = (Column("policy"), *(Column(label, "ct/kWh") for label in names.values()))
    note = f"Means over {len(content['days'])} days ± half of their 95 % intervals."
    return Table(columns, tuple(rows), note)


def _storage_figure(
    found: Mapping[tuple[Any, ...], Any], content: Content, styles: Mapping[str, figures.Style]
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


def _policy_sections(content: Content, styles: Mapping[str, figures.Style]) -> list[Section]:
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
            f" variance of an agent's loss {content['between_days']:.0%} is between days, which nobody chooses."
            "\n\nRisk-averse PPO is trained on the risk-adjusted loss. Whether that pays is what the last column"
            f" says: its difference to PPO is {_risk_difference(content)}, of one training run each.",
            figures.risk(expected, tails, styles),
            _risk_table(content),
            "Means over agents, 95 % bootstrap intervals over days.",
        ),
    ]


def _risk_table(content: Content) -> Table:
    rows = [
        (name, *(_interval(one["risk"][key]) for key in ("expected", "cvar", "adjusted")))
        for name, one in content["policies"].items()
    ]
    unit = "EUR/agent"
    columns = (
        Column("policy"),
        Column("expected loss", unit),
        Column("CVaR 5 %", unit),
        Column("risk-adjusted", unit),
    )
    note = (
        "Mean over agents with a 95 % bootstrap interval over days. Risk-adjusted: (1 - gamma) times the expected"
        " loss and gamma times the CVaR, with each agent's own risk aversion gamma."
    )
    return Table(columns, tuple(rows), note)


def _risk_difference(content: Content) -> str:
    risks = [content["policies"][name]["risk"]["adjusted"][0] for name in ("risk-averse PPO", "symmetrised PPO")]
    difference = risks[0] - risks[1]
    return f"{number(difference, '+.2f')} EUR per agent and day ({'worse' if difference > 0 else 'better'})"


def _equilibrium_sections(content: Content, styles: Mapping[str, figures.Style]) -> list[Section]:
    found, learning = content["exploitability"], content["learning"]
    curves = {name: np.array(runs) for name, runs in found["mean_field"].items()}
    n_points = next(iter(curves.values())).shape[1]
    protocol = content["protocol"]
    by_day = {name: np.array([np.mean(gains) for gains in days]) for name, days in found["market"].items()}
    rows = [
        (
            name,
            _mean(means, ".3f"),
            "" if name == EQUILIBRIUM else _mean(means - by_day[EQUILIBRIUM], "+.3f"),
            number(float(np.median(np.concatenate(found["market"][name]))), ".3f"),
        )
        for name, means in by_day.items()
    ]
    table = Table(
        (
            Column("all play"),
            Column("mean gain", "EUR/day"),
            Column("less that of the equilibrium", "EUR/day"),
            Column("median gain", "EUR/day"),
        ),
        tuple(rows),
        f"{protocol['n_sampled']} agents drawn on each of {len(by_day[EQUILIBRIUM])} days, the same for all"
        f" policies; {protocol['n_pairs']} pairs of simulations for each agent; ± half of the 95 % interval over"
        " days.",
    )
    references = {IDLE: content["learning"][IDLE]}
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
            " market: a lower bound on its gain, in expected EUR. The equilibrium gives all of a group one policy,"
            " so those who differ from their group's mean can gain.",
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


def _service_sections(found: Mapping[tuple[Any, ...], Any], content: Content) -> list[Section]:
    predicted, settled = found["forecasts",], found["settled",]
    routed, summary = settled["routed"], settled["summaries"]["payment-channels"][-1]
    return [
        Section(
            "Forecasts",
            "Day-ahead forecasts of the real series, fitted to the first three quarters. A calibrated forecast has"
            " a flat histogram. Photovoltaics have a peak in the middle: nights are known to be dark."
            f"\n\n{_student_against_gauss(predicted['evaluations'])}",
            figures.forecast_calibration(predicted["pits"]),
            forecast_table(predicted["evaluations"], UNITS, "seasonal naive"),
            "Histograms of the probability integral transform, with intervals that allow for dependence.",
        ),
        Section(
            "Settlement",
            f"Local payments of {content['protocol']['settled_days']} days under self-consumption, over a made-up"
            " payment-channel network of 300 nodes: channels that are too small for a payment are pruned, paths"
            " ranked, payments split over them where one does not carry them. Payments of single hours are"
            f" small against these channels: {summary.parts_per_payment:.2f} parts per payment. What fails becomes"
            " credit of the retailer with a penalty; no money is lost. It is settled after the fact: fees of"
            " routing are not in the policies' returns, and a ledger, the default, settles everything.",
            figures.settlement(settled["latency"][routed], settled["amount"], settled["succeeded"]),
            settlement_table(summary),
            "Latencies as configured (median 47 ms), not observed; the table is of the last of these days.",
        ),
    ]


def _what_differs(content: Content) -> Section:
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


def _student_against_gauss(evaluations: Mapping[str, Evaluation]) -> str:
    """CRPS of Student-t errors against Gaussian ones, which "Math Deep Dive" claims to be better, as measured."""
    told = []
    for name, one in evaluations.items():
        student, gauss = one.names.index("linear Student-t"), one.names.index("linear Gaussian")
        change = one.crps[student] / one.crps[gauss] - 1
        told.append(f"{name} {number(100 * change, '+.1f')} % (p = {one.p_value[student, gauss]:.2g})")
    return (
        "Linear forecasts with Student-t errors against the same with Gaussian ones, change of the CRPS"
        f" (Diebold-Mariano): {', '.join(told)}. The log score, in which heavy tails count more, is in the table."
    )


def _to_idle(content: Content, name: str, key: str) -> NDArray[np.float64]:
    """A figure of a policy less that of idle batteries, day by day."""
    of_policy, of_idle = (np.array(content["policies"][who]["outcome"][key]) for who in (name, IDLE))
    difference: NDArray[np.float64] = of_policy - of_idle
    return difference


def _mean(samples: ArrayLike, spec: str) -> str:
    """The mean over days with half of its 95 % interval."""
    mean, half = figures.mean_interval(figures.without_nan(samples))
    sign = "+" if spec.startswith("+") and mean >= 0 else ""
    return sign + with_half(mean, half, spec.removeprefix("+"))


def _interval(interval: Any) -> str:
    value, low, high = (number(float(x), ".2f") for x in interval)
    return f"{value} [{low}, {high}]"
