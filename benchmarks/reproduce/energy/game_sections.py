"""Fourth part of the page: how near to an equilibrium policies are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from baselines.market.planned_equilibrium import LEAST_REGRET
from benchmarks.reproduce.energy.figures import equilibrium as figures
from benchmarks.reproduce.energy.figures.style import TYPE_WORDS
from benchmarks.reproduce.energy.gain_sections import MONEY
from benchmarks.reproduce.energy.players import EQUILIBRIUM, PLANNED
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import Content
from benchmarks.reproduce.energy.tables import Column, Table, interval_text, mean_text, number
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
            f" with infinitely many members. Each type has {protocol.groups_per_type} groups: owners of batteries"
            " by what they need per kWh of battery, others by what their flexible load is worth. The market is"
            f" cleared in {protocol.n_weathers} weathers in every step, each as likely as the others. The"
            f" equilibrium is approached by fictitious play for {protocol.solver_seconds:.0f} seconds of"
            " processor time a day. Exploitability is what a member"
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
        Section(
            "What is left to gain where each member has its own policy",
            _planning_in_words(content),
            table=equilibrium_table(content),
            caption="Gains by planned replies against two equilibria.",
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
            *(interval_text(one["by_type"].get(kind), ".1f") for kind in kinds),
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
        " policies. ± half of the 95 % interval over days; in brackets 95 % bootstrap intervals over days."
        " Estimates of single members may be negative."
    )
    return Table(columns, tuple(lines), note)


def _planning_in_words(content: Content) -> str:
    planned, rows = content["planned"], content["deviations"]
    regrets = np.array(planned["regret"])
    n_at_rest = int((regrets <= LEAST_REGRET).sum())

    def gained(name: str) -> str:
        mean = rows[name]["mean"]
        return f"{mean_text(mean, '.1f')} EUR a year ({mean_text(mean, '.3f', 1 / DAYS_PER_YEAR)} a day)"

    return (
        "The mean-field equilibrium has one policy for all members of a group. The planned equilibrium has one for"
        " each member: what to do by hour and state of its battery, as a plan that is made before the day. All"
        " policies are played in the market. Then replies to the prices of the last sweeps are planned for some"
        " members, with their own load, sun and battery, and those who regret their policy most switch to their"
        f" reply. {planned['n_sweeps']} such sweeps are made for each day. There is no rule by which they stop"
        " earlier: the policies of the sweep with the smallest mean regret are taken, which is sweep"
        f" {np.median(planned['sweep']):.0f} at the median. What is regretted in it, by plans that know its"
        f" weather, is {number(float(np.median(regrets)), '.3f')} EUR per member and day at the median and"
        f" {number(float(regrets.max()), '.3f')} on the worst day; it was within {LEAST_REGRET:g} EUR, up to which"
        f" no member switches, on {n_at_rest} of {len(regrets)} days."
        f"\n\nIn fresh simulations, members gain {gained(PLANNED)} by deviating from the planned equilibrium, and"
        f" {gained(EQUILIBRIUM)} by deviating from the mean-field equilibrium. The difference is"
        f" {mean_text(content['less_to_gain']['mean'], '.1f')} EUR a year."
    )


def equilibrium_table(content: Content) -> Table:
    """Gains of single members against the mean-field and the planned equilibrium, by type."""
    binned, planned = (content["deviations"][name] for name in (EQUILIBRIUM, PLANNED))
    less = content["less_to_gain"]
    forms = (".1f", 1.0), (".3f", 1 / DAYS_PER_YEAR)

    def cells(text: Callable[..., str], *figures: Any) -> list[str]:
        """Gains against both a year and a day, and their difference."""
        *gained, difference = figures
        return [*(text(one, *form) for one in gained for form in forms), text(difference, *forms[0])]

    lines = [("all", str(planned["n"]), *cells(mean_text, *(one["mean"] for one in (binned, planned, less))))]
    for kind, n in planned["n_by_type"].items():
        of_kind = (one["by_type"][kind] for one in (binned, planned, less))
        lines.append((kind, str(n), *cells(interval_text, *of_kind)))
    columns = (
        Column("members"),
        Column("drawn"),
        *(Column(name, unit) for name in (EQUILIBRIUM, PLANNED) for unit in ("EUR a year", "EUR a day")),
        Column("less to gain", "EUR a year"),
    )
    note = (
        f"Drawn on {content['n_deviation_days']} of the test days, the same for both. ± half of the 95 % interval"
        " over days; in brackets 95 % bootstrap intervals over days. Differences are taken member by member."
    )
    return Table(columns, tuple(lines), note)
