"""Fourth part of the page: how near to an equilibrium policies are."""

import numpy as np

from benchmarks.reproduce.energy.figures import equilibrium as figures
from benchmarks.reproduce.energy.figures.style import TYPE_WORDS
from benchmarks.reproduce.energy.gain_sections import MONEY
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import Content
from benchmarks.reproduce.energy.tables import Column, Table, mean_text, number
from mfenvs.energy.calendar import DAYS_PER_YEAR


def sections(protocol: Protocol, content: Content) -> list[Section]:
    """Exploitability in the binned game and in the market."""
    found = content["equilibrium"]
    left = np.maximum(found["exploitability"], 0.0) * DAYS_PER_YEAR
    dates = [date_in_words(date) for date in content["dates"]]
    asked = protocol.solver_tolerance * DAYS_PER_YEAR
    solved = int((left <= asked).sum())
    return [
        Section(
            "What is left to gain in the binned game",
            "Each day's market with charges in bins, by groups of members and hour, is a finite mean-field game"
            " with infinitely many members. Its equilibrium is searched for"
            f" {protocol.solver_seconds:.0f} seconds of processor time a day. Exploitability is what a member"
            f" could still gain there. It is {number(float(np.median(left)), '.2f')} {MONEY} at the median and"
            f" {number(float(left.max()), '.2f')} on the worst day; what was asked for,"
            f" {number(asked, '.3g')}, was reached on {solved} of {len(left)} days.",
            figures.exploitability_of_days(dates, left, asked),
            caption="Remaining exploitability of each day's policy in its own mean-field game, on a log scale.",
        ),
        Section(
            "What single members would gain by deviating",
            "In the market itself members differ within their groups, and are finitely many. For each drawn member"
            " a reply is planned that knows its own load, sun and battery, against recorded prices of the day, and"
            " it is then played in fresh simulations of the whole market. So what is measured is a lower bound on"
            " what the member could gain. 0.03 EUR a day are 11 EUR a year."
            f"\n\n{_deviations_in_words(content)}",
            table=deviation_table(content),
            caption="Gains by planned replies.",
        ),
    ]


def _deviations_in_words(content: Content) -> str:
    rows = content["deviations"]
    order = sorted(rows, key=lambda name: rows[name]["mean"][0])
    return (
        f"The least is to be gained against {order[0]} ({mean_text(rows[order[0]]['mean'], '.0f')} EUR a year),"
        f" the most against {order[-1]} ({mean_text(rows[order[-1]]['mean'], '.0f')}). Random play and the"
        " receding-horizon planner, which plans for all members together, are left out."
    )


def deviation_table(content: Content) -> Table:
    """Gains of single members by planned replies, by policy."""
    rows = content["deviations"]
    kinds = [kind for kind in TYPE_WORDS.values() if any(kind in one["by_type"] for one in rows.values())]
    lines = [
        (
            name,
            mean_text(one["mean"], ".1f"),
            number(one["median"], ".1f"),
            number(one["largest"], ".1f"),
            *(number(one["by_type"][kind], ".1f") if kind in one["by_type"] else "" for kind in kinds),
        )
        for name, one in rows.items()
    ]
    unit = "EUR a year"
    columns = (
        Column("all others play"),
        *(Column(name, unit) for name in ("mean", "median", "largest")),
        *(Column(f"mean of {kind}", unit) for kind in kinds),
    )
    n_members = next(iter(rows.values()))["n"]
    note = (
        f"{n_members} members in all, drawn on {content['n_deviation_days']} of the test days: the same for all"
        " policies. ± half of the 95 % interval over days. Estimates of single members may be negative."
    )
    return Table(columns, tuple(lines), note)
