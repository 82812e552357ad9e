"""The summary of a sweep: interquartile means with intervals, by game and over all games."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mfenvs import checks

from .cells import Cell
from .results import Result
from .statistics import bootstrap_interval, interquartile_mean

EXPLOITABILITIES = ("mean_field_exploitability", "max", "mean")
"""Measures that are 0 at an equilibrium and never below, so that their logarithms are summarised. The first is
exact, the others are estimates among N agents."""

SMALLEST_SHARE = 1e-12
"""Exploitabilities below this share of the uniform policy's count as this share: what is left is rounding, and 0
has no logarithm."""

ALL_GAMES = "all games"

TITLES = {
    "mean_field_exploitability": "Mean-field exploitability, exact",
    "max": "max_i E_i among N agents, estimate",
    "mean": "mean_i E_i among N agents, estimate",
    "return": "Mean return of an agent",
}
"""The measures in words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SummarySettings:
    """How the results of a sweep are summarised."""

    measure: str | None = None
    """The measure in the printed table: mean_field_exploitability, max or mean (exploitability among N agents), or
    return; by default the first that all finished cells have."""
    confidence: float = 0.95
    """Probability with which an interval is meant to contain the interquartile mean."""
    resamples: int = 10_000
    """Number of bootstrap resamples."""
    seed: int = 0
    """Random seed of the resamples."""

    def check(self) -> None:
        """Raise a TypeError or ValueError if a value is not allowed."""
        if self.measure is not None:
            checks.choice("measure", self.measure, (*EXPLOITABILITIES, "return"))
        checks.real("confidence", self.confidence, 0.0, 1.0, exclude_low=True, exclude_high=True)
        checks.integer("resamples", self.resamples, 1, 10**7)
        checks.integer("seed", self.seed, 0, 2**63 - 1)


def normalised_score(exploitability: float, uniform: float) -> float:
    """log10 of an exploitability as a share of the uniform policy's in the same game.

    0 is as exploitable as uniform play, -1 a tenth of that; at least log10 of :data:`SMALLEST_SHARE`. ``uniform``
    must be above 0.
    """
    return math.log10(max(exploitability / uniform, SMALLEST_SHARE))


def summarise(
    cells: Sequence[Cell], results: Sequence[Result | None], settings: SummarySettings
) -> dict[str, Any]:
    """Summarise the results of a sweep.

    Parameters
    ----------
    cells:
        The cells.
    results:
        The result of each; None for those that have not been run.
    settings:
        What to summarise, and how.

    Returns
    -------
    For JSON. ``measures`` holds, for each measure, the lists ``by_game`` and ``over_games``, with the
    interquartile mean over runs (and games) of each algorithm and its interval, null if there is none. Of
    exploitabilities these are means of :func:`normalised_score`, and ``share`` is 10 to their power. Of returns,
    there are no means over games. ``measure`` is the one to show; ``left_out`` tells what could not be summarised,
    and why.
    """
    done = [(cell, found) for cell, found in zip(cells, results, strict=True) if found and found.status == "done"]
    left_out: list[str] = []
    measures = {}
    for measure in (*EXPLOITABILITIES, "return"):
        scores = _scores(done, measure, left_out)
        if scores:
            measures[measure] = _summary_of(scores, measure, settings)
    shared = [name for name in measures if all(name in result.measures for _, result in done)]
    counts = collections.Counter("left" if result is None else result.status for result in results)
    return {
        "settings": dataclasses.asdict(settings),
        "cells": {"all": len(cells), **{name: counts[name] for name in ("done", "failed", "killed", "left")}},
        "measure": settings.measure or next(iter(shared), None),
        "measures": measures,
        "left_out": left_out,
        "not_done": [
            {"cell": cell.name, "status": result.status, "error": (result.error or "").strip().split("\n")[-1]}
            for cell, result in zip(cells, results, strict=True)
            if result is not None and result.status != "done"
        ],
        "versions": _versions([result for _, result in done]),
    }


Scores = dict[str, dict[str, list[float]]]
"""Scores of all runs, by algorithm and game."""


def _scores(done: list[tuple[Cell, Result]], measure: str, left_out: list[str]) -> Scores:
    scores: Scores = {}
    for cell, result in done:
        value = result.measures.get(measure)
        if value is None:
            continue
        if not math.isfinite(value):
            left_out.append(f"{measure} of {cell}: {value}")
            continue
        if measure != "return":
            uniform = result.uniform.get(measure, math.nan)
            if not 0.0 < uniform < math.inf:
                reason = f"{measure} on {cell.game_label}: the uniform policy's is {uniform}, nothing to divide by"
                if reason not in left_out:
                    left_out.append(reason)
                continue
            value = normalised_score(value, uniform)
        scores.setdefault(cell.algorithm_label, {}).setdefault(cell.game_label, []).append(value)
    return scores


def _summary_of(scores: Scores, measure: str, settings: SummarySettings) -> dict[str, Any]:
    by_game = [
        _line(algorithm, [game], [runs], measure, settings)
        for algorithm, games in scores.items()
        for game, runs in games.items()
    ]
    over_games = [
        _line(algorithm, list(games), list(games.values()), measure, settings)
        for algorithm, games in scores.items()
        if measure != "return"
    ]
    return {
        "by_game": sorted(by_game, key=lambda line: (line["games"], _rank(line, measure))),
        "over_games": sorted(over_games, key=lambda line: (-len(line["games"]), _rank(line, measure))),
    }


def _line(
    algorithm: str, games: list[str], runs: list[list[float]], measure: str, settings: SummarySettings
) -> dict[str, Any]:
    mean = interquartile_mean([score for scores in runs for score in scores])
    interval = bootstrap_interval(
        runs, confidence=settings.confidence, n_resamples=settings.resamples, seed=settings.seed
    )
    line: dict[str, Any] = {
        "algorithm": algorithm,
        "games": games,
        "n_runs": sum(map(len, runs)),
        "iqm": mean,
        "interval": None if interval is None else list(interval),
    }
    if measure != "return":
        line["share"] = 10.0**mean
        line["share_interval"] = None if interval is None else [10.0**end for end in interval]
    return line


def _rank(line: dict[str, Any], measure: str) -> float:
    """Least exploitability first; greatest return first."""
    return float(-line["iqm"] if measure == "return" else line["iqm"])


def _versions(results: list[Result]) -> dict[str, list[str]]:
    """The versions of each package that the results were made with."""
    found: dict[str, set[str]] = {}
    for result in results:
        for package, version in result.versions.items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in found.items()}


def summary_table(summary: dict[str, Any]) -> Table | None:
    """The summary of the measure to show as a table; None if no cell has it."""
    measure = summary["measure"]
    if measure not in summary["measures"]:
        return None
    found, confidence = summary["measures"][measure], summary["settings"]["confidence"]
    is_return = measure == "return"
    table = Table(
        *("game", "algorithm", "runs", "IQM", f"{confidence:.0%} interval"),
        title=TITLES[measure] + ("" if is_return else ", as a share of the uniform policy's"),
        caption="Interquartile means"
        + ("" if is_return else " of logarithms")
        + " over runs, and stratified-bootstrap intervals (Agarwal et al., arXiv 2108.13264).",
    )
    for column in table.columns[:2]:
        column.overflow = "fold"
    lines = [(line["games"][0], line) for line in found["by_game"]]
    n_games = len({game for game, _ in lines})
    if n_games > 1:
        for line in found["over_games"]:
            count = len(line["games"])
            lines.append((ALL_GAMES if count == n_games else f"{count} of {n_games} games", line))
    before = None
    for name, line in lines:
        if before not in (None, name):
            table.add_section()
        table.add_row("" if name == before else name, *_fields(line, is_return))
        before = name
    return table


def _fields(line: dict[str, Any], is_return: bool) -> tuple[str, str, str, str]:
    mean = line["iqm" if is_return else "share"]
    interval = line["interval" if is_return else "share_interval"]
    shown = "one run a game" if interval is None else f"[{interval[0]:.3g}, {interval[1]:.3g}]"
    return line["algorithm"], str(line["n_runs"]), f"{mean:.3g}", shown
