"""First part of the page: the answer, where the gain comes from, and what each policy earns of it."""

from collections.abc import Mapping

import numpy as np

from benchmarks.reproduce.energy.figures import policies as figures
from benchmarks.reproduce.energy.figures.style import Style
from benchmarks.reproduce.energy.players import (
    EQUILIBRIUM,
    EVENING,
    GREEDY,
    IDLE,
    NEURAL,
    PLANNER,
    POLICIES,
    RANDOM,
)
from benchmarks.reproduce.energy.protocol import Protocol
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import OPTIMUM, STEPS, Content
from benchmarks.reproduce.energy.tables import Column, Table, interval_text, mean_text, percent

MONEY = "EUR per member and year"
STEP_WORDS = {
    "netting": "netting",
    "flexible": "flexible load",
    "storage": "storage",
    "imbalance": "errors of forecasts",
}
"""What the page calls the steps of a gain."""


def answer(protocol: Protocol, content: Content) -> str:
    """The sentences at the top of the page."""
    gain, efficiency = content["gain"], content["efficiency"]
    best, planned = gain[OPTIMUM], gain[PLANNER]

    def share(step: str) -> str:
        return percent(best[step][0] / best["total"][0], 0)

    first, *others = (
        (name, percent(efficiency[name]["pooled"][0], 0))
        for name in (IDLE, GREEDY, EVENING, EQUILIBRIUM, NEURAL, PLANNER)
    )
    earned = f"{first[0].capitalize()} earn {first[1]}, " + ", ".join(" ".join(pair) for pair in others)
    return (
        f"{protocol.n_agents:,} members trade in an hourly auction, on {len(content['dates'])} days of real load,"
        " sun and prices. Without a market each of them settles its own meter with the retailer, and batteries are"
        f" idle. Who knew every day in advance could gain {mean_text(best['total'], '.0f')} {MONEY} over that."
        f"\n\nWhere does it come from? Netting, one member's surplus for another one's demand, makes"
        f" {mean_text(best['netting'], '.0f')} ({share('netting')}); flexible load"
        f" {mean_text(best['flexible'], '.0f')} ({share('flexible')}); batteries"
        f" {mean_text(best['storage'], '.0f')} ({share('storage')}). Members do not know the day in advance:"
        f" settling the errors of their forecasts costs {mean_text(_cost(gain[IDLE]['imbalance']), '.0f')} with"
        f" idle batteries, and {mean_text(_cost(planned['imbalance']), '.0f')} with the receding-horizon planner."
        "\n\nWhere there is no market today, batteries serve their owner. Over that, members gain"
        f" {mean_text(content['members'][IDLE]['gained'], '.0f')} by trade with idle batteries, and"
        f" {mean_text(content['members'][PLANNER]['gained'], '.0f')} by trade with the receding-horizon planner."
        f"\n\nWhat does each policy earn of what can be earned? {earned}; random play"
        f" {percent(efficiency[RANDOM]['pooled'][0], 0)}."
    )


def _cost(figure: tuple[float, float]) -> tuple[float, float]:
    return -figure[0], figure[1]


def key_table(content: Content) -> Table:
    """What each policy earns, and what members see of it."""
    rows = []
    for name in POLICIES:
        efficiency, members = content["efficiency"][name], content["members"][name]
        rows.append(
            (
                name,
                mean_text(content["gain"][name]["total"], ".0f"),
                mean_text(members["gained"], ".0f"),
                interval_text(efficiency["pooled"], ".3f"),
                interval_text(efficiency["of planner"], ".2f"),
                interval_text(members["better_off"]["self_consumption"]["community"], ".0f", 100),
                mean_text(content["grid"][name]["daily_peak"], ".2f"),
            )
        )
    columns = (
        Column("policy"),
        Column("gain over no market", MONEY),
        Column("over self-consumption", MONEY),
        Column("efficiency"),
        Column("of the planner's storage gain"),
        Column("better off", "% of members"),
        Column("daily peak import", "kW per member"),
    )
    note = (
        f"{len(content['dates'])} days; ± half of the 95 % interval over days, or in brackets a 95 % bootstrap"
        " interval. Efficiency: all days together, 0 is no market with idle batteries, 1 perfect foresight. Of the"
        " planner's storage gain: 0 is idle batteries in the market, 1 the receding-horizon planner."
        " Over self-consumption, and better off: than without a market with a battery that serves its owner alone."
    )
    return Table(columns, tuple(rows), note)


def step_table(content: Content) -> Table:
    """The steps of each policy's gain."""
    rows = [
        (name, *(mean_text(content["gain"][name][step], ".0f") for step in (*STEPS, "total", "missed")))
        for name in (*POLICIES, OPTIMUM)
    ]
    columns = (Column(STEP_WORDS[step], "EUR") for step in STEPS)
    note = (
        f"{MONEY}; ± half of the 95 % interval over days. The steps add up exactly. Days differ by season, so that"
        " the intervals of sums are wide; missed, what perfect foresight gains more, is taken day by day."
    )
    return Table((Column("policy"), *columns, Column("sum", "EUR"), Column("missed", "EUR")), tuple(rows), note)


def efficiency_table(content: Content) -> Table:
    """The shares of what can be earned, and the price of anarchy."""
    rows = [
        (
            name,
            interval_text(one["pooled"], ".3f"),
            interval_text(one["of planner"], ".2f"),
            interval_text(one["anarchy"], ".2f"),
        )
        for name, one in content["efficiency"].items()
    ]
    columns = (
        Column("policy"),
        Column("efficiency", "all days together"),
        Column("of the planner's storage gain"),
        Column("possible over realised gain"),
    )
    note = (
        "In brackets 95 % bootstrap intervals over days. The possible over the realised gain is the price of"
        " anarchy where the policy is an equilibrium."
    )
    return Table(columns, tuple(rows), note)


def sections(protocol: Protocol, content: Content, styles: Mapping[str, Style]) -> list[Section]:
    """Where the gain comes from, and what each policy earns of it."""
    daily = {name: np.array(one["daily"], np.float64) for name, one in content["efficiency"].items()}
    gain = {name: content["gain"][name] for name in (*POLICIES, OPTIMUM)}
    return [
        Section(
            "Where the gain comes from",
            "Each step is what the community gains when one thing more is allowed, with the load and generation of"
            " the day as they turned out. Netting: all do as without a market, but the community has one meter, so"
            " that one member's surplus serves another one's demand. Flexible load: members serve the flexible"
            " load that the policy serves, with idle batteries. Storage: batteries do what the policy does;"
            " their wear and the charge at the end are counted."
            "\n\nErrors of forecasts: the market is cleared on forecasts, and errors are settled apart. Where that"
            " makes the community buy from the retailer and sell to it in the same hour, it loses the difference"
            " of the two tariffs. Netting is the same for all policies, as it asks nothing of them.",
            figures.gain_steps(gain, STEP_WORDS),
            step_table(content),
            "Steps of the gain over no market. What costs is left of zero.",
        ),
        Section(
            "What each policy earns of what can be earned",
            "Efficiency is (W - W₀) / (W* - W₀): W is the welfare of all members, W₀ that without a market and"
            " with idle batteries, W* that of a planner who knows the day. The receding-horizon planner knows"
            " the day's data, as a forecaster would, but not the weather and the errors to come: nobody who"
            " knows no more can be expected to do much better. Random play, idle batteries, self-consumption and"
            " the evening rule need no computing; the equilibrium is solved for each day; the network was trained"
            " on other days (one run: energy-policies compares several).",
            figures.efficiency_of_policies(daily, styles),
            efficiency_table(content),
            caption="Every day a point; mean and 95 % interval over days.",
        ),
    ]
