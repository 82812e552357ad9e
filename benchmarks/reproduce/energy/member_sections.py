"""Third part of the page: members' bills, who takes part, and trade-offs of the community."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.reproduce.energy.figures import policies as figures
from benchmarks.reproduce.energy.figures.style import Style
from benchmarks.reproduce.energy.gain_sections import MONEY
from benchmarks.reproduce.energy.players import GREEDY, IDLE, POLICIES
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words, typical_day
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import Content, Found
from benchmarks.reproduce.energy.tables import Column, Table, interval_text, mean_text


def sections(
    protocol: Protocol, days: list[Any], found: Found, content: Content, styles: Mapping[str, Style]
) -> list[Section]:
    """Bills by type, participation and fairness, and the planner's trade-offs."""
    saved = {name: one["saved"] for name, one in content["members"].items()}
    summer = next(day for day in days if day["date"] == content["typical_days"]["summer"])
    fronts, points = front_points(protocol, found, summer)
    return [
        Section(
            "Bills by type",
            "The status quo has no market: every member settles its own meter with the retailer, and a battery"
            " serves its owner alone. A bill is what a member pays less what it earns, with what the battery lacks"
            " at the end of the day. It leaves out what flexible load is worth and the wear of batteries.",
            figures.gain_by_type(saved, styles, f"bill lower than without a market\n({MONEY})"),
            bill_table(content),
            "What bills are lower than in the status quo, mean over the members of each type with 95 % intervals"
            " over days; every type on its own scale.",
        ),
        Section(
            "Who takes part, and fairness",
            "A member takes part gladly if it is better off with the market than without, on average over all"
            " days: counting flexible load and wear, and by more than a millionth of a EUR. It is compared with"
            " an idle battery, and with a battery that serves its owner alone.",
            table=participation_table(content),
            caption="Shares of members that are better off with the market, and how unequal bills are.",
        ),
        Section(
            "Cost, peak and emissions",
            f"{date_in_words(summer['date'])}. The grey line is the best that a planner who knows the day can do:"
            " no point has both a lower cost and a lower peak, or lower emissions. What batteries lack at the"
            " end of a policy's day is imported in equal parts in all hours of it, where it could not always be"
            " charged in time: so a point may lie a little beyond the line.",
            figures.pareto_fronts(fronts, points, styles),
            caption="Cost of the day against the largest exchange with the grid, and against emissions; with as"
            " much charge at the end as at the beginning.",
        ),
    ]


def front_points(
    protocol: Protocol, found: Found, day: Any
) -> tuple[dict[str, Any], dict[str, dict[str, tuple[float, float]]]]:
    """The fronts of a day per member, and where each policy is."""
    n = protocol.n_agents
    fronts = {
        name: np.array(values) / n for name, values in found["fronts", typical_day(protocol, "summer")].items()
    }
    points: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in fronts}
    for policy in POLICIES:
        one = day["policies"][policy]
        cost = -one["outcome"]["welfare"] / n
        points["peak"][policy] = cost, max(one["grid"]["peak_import"], one["grid"]["peak_export"]) / n
        points["co2"][policy] = cost, one["grid"]["co2"] / n
    return fronts, points


def bill_table(content: Content) -> Table:
    """Bills by type, in the status quo and under each policy."""
    members = content["members"]
    first = members[IDLE]
    columns = [("no market, idle battery", first["bills_idle"])]
    columns.append(("no market, self-consumption", first["bills_self_consumption"]))
    columns += [(f"market, {name}", members[name]["bills"]) for name in POLICIES]
    types = list(first["bills"])
    rows = tuple((name, *(mean_text(bills[kind], ".0f") for kind in types)) for name, bills in columns)
    note = f"{MONEY}; ± half of the 95 % interval over days, which differ by season. Negative: the member earns."
    return Table((Column("bill"), *(Column(kind, "EUR") for kind in types)), rows, note)


def participation_table(content: Content) -> Table:
    """Shares of members that are better off than without a market, and Gini."""
    members = content["members"]
    groups = list(members[IDLE]["better_off"]["self_consumption"])
    rows = []
    for name in POLICIES:
        better = members[name]["better_off"]
        rows.append(
            (
                name,
                interval_text(better["idle"]["community"], ".0f", 100),
                *(interval_text(better["self_consumption"][group], ".0f", 100) for group in groups),
                interval_text(members[name]["gini"], ".2f"),
            )
        )
    columns = (
        Column("policy"),
        Column("better off than idle", "% of members"),
        *(
            Column(f"than {GREEDY}", "% of members" if group == "community" else f"% of {group}")
            for group in groups
        ),
        Column("Gini of bills"),
    )
    note = "In brackets 95 % bootstrap intervals over days. Gini: 0 if all bills are equal, 1 at most."
    return Table(columns, tuple(rows), note)
