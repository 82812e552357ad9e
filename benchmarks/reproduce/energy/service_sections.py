"""Last part of the page: forecasts, settlement of payments, and what to know about all figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.reproduce.energy.figures import market
from benchmarks.reproduce.energy.figures.forecasts import forecast_calibration
from benchmarks.reproduce.energy.forecasting import FORECASTERS, UNITS
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words
from benchmarks.reproduce.energy.report import Section
from benchmarks.reproduce.energy.summary import Content, Found
from benchmarks.reproduce.energy.tables import forecast_table, number, settlement_table
from mfenvs.energy.forecast_scores import Evaluation
from mfenvs.energy.settlement import SettlementSummary


def sections(protocol: Protocol, found: Found, content: Content) -> list[Section]:
    """Forecasts, settlement, and the limits of what is shown."""
    evaluations = {name: evaluation_of(one) for name, one in content["forecasts"].items()}
    pits, settled = found["forecasts",]["pits"], found["settled",]
    last = dict(settled["summaries"][-1])
    date = last.pop("date")
    summary = SettlementSummary(**last)
    routed = np.array(settled["routed"], np.bool_)
    return [
        Section(
            "Forecasts",
            "Day-ahead forecasts of the real series, fitted to the first three quarters and scored on the last. PV"
            " is scored in hours of daylight only: that nights are dark is no merit. A calibrated forecast has a"
            f" flat histogram.\n\n{_student_against_gauss(evaluations)}",
            forecast_calibration(
                {name: {k: one[k] for k in FORECASTERS} for name, one in pits.items()},
                {name: one["day"] for name, one in pits.items()},
            ),
            forecast_table(evaluations, UNITS, "seasonal naive"),
            "Histograms of the probability integral transform, with 95 % intervals that allow for dependence.",
        ),
        Section(
            "Settlement of payments",
            f"Local payments of {len(settled['summaries'])} test days under self-consumption, over a made-up"
            " network of payment channels with 300 nodes. A payment is split where one path does not carry it."
            " What fails becomes credit of the retailer with a penalty; no money is lost. It is settled after"
            " the fact, so that fees are not in any figure above.",
            market.settlement(np.array(settled["latency"])[routed], settled["amount"], settled["succeeded"]),
            settlement_table(summary),
            "Latencies as configured (median 47 ms), not observed; the table is of"
            f" {date_in_words(date)}, the last of these days.",
        ),
        _what_to_know(content),
    ]


def evaluation_of(kept: Mapping[str, Any]) -> Evaluation:
    """The scores as they were before they were written as JSON."""
    arrays = {key: np.array(value) for key, value in kept.items() if key not in ("names", "n_days", "hours")}
    return Evaluation(names=tuple(kept["names"]), n_days=kept["n_days"], **arrays)


def _what_to_know(content: Content) -> Section:
    return Section(
        "What to know about these figures",
        "Nothing here reproduces a published figure: the market is ours, its parameters too; its series are real."
        "\n\nMeans over a year are 365 times the mean of the test days. Their intervals take days as independent."
        " Days are spread evenly over the year, so that the intervals are rather too wide."
        "\n\nThe equilibrium and the planner are computed from the day's own data, as from a perfect forecast of"
        " what is usual on that day; the weather that disturbs the day and everyone's errors they do not know."
        "\n\nBoundaries of the steps of the gain are a choice: flexible load is counted before storage, so that"
        " load served from a battery in the evening counts as dear there, and its gain is storage's."
        "\n\nDays are played apart: a battery begins every day half full, and what it lacks at the end is bought"
        " at the last tariff.",
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
