"""Tables of the page: their form, numbers as text, and those of forecasts and settlement."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mfenvs import checks
from mfenvs.energy.forecast_scores import INTERVALS, Evaluation
from mfenvs.energy.settlement import SettlementSummary


class Column(NamedTuple):
    """Head of a table's column."""

    name: str
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: the first column names the rows, the others hold numbers as text, aligned to the right.

    Raises
    ------
    ValueError
        If a row does not have as many cells as there are columns.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """What the intervals are, and of how many samples."""

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"rows[{i}] must have {len(self.columns)} cells, got {len(row)}: {row!r}")

    def markdown(self) -> str:
        """The table as Markdown, without its note."""
        head = [f"{column.name} ({column.unit})" if column.unit else column.name for column in self.columns]
        lines = (head, ["---", *["---:"] * (len(head) - 1)], *self.rows)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def forecast_table(evaluations: Mapping[str, Evaluation], units: Mapping[str, str], against: str) -> Table:
    """Scores of the forecasters on each series.

    Parameters
    ----------
    evaluations:
        By series.
    units:
        Of each series.
    against:
        Forecaster with which the others' CRPS is compared (Diebold-Mariano).

    Raises
    ------
    ValueError
        If a series has no unit or no such forecaster.
    """
    rows = []
    for series, found in evaluations.items():
        if series not in units:
            raise ValueError(f"units must name {series!r}, got {dict(units)!r}")
        other = found.names.index(checks.choice("against", against, found.names))
        for i, name in enumerate(found.names):
            compared = "", ""
            if i != other:
                change, chance = found.crps[i] / found.crps[other] - 1, found.p_value[i, other]
                compared = percent(change, 1, "+"), "< 0.001" if chance < 0.001 else f"{chance:.3f}"
            rows.append(
                (
                    f"{series} ({units[series]}): {name}",
                    with_half(found.crps[i], 1.96 * found.crps_standard_error[i], three_digits(found.crps[i])),
                    *compared,
                    number(found.log_score[i], ".2f"),
                    *(percent(share, 1) for share in found.coverage[i]),
                )
            )
    columns = (
        Column("series (unit): forecaster"),
        Column("CRPS", "± 95 %"),
        Column("CRPS to", against),
        Column("p-value", "Diebold-Mariano"),
        Column("log score"),
        *(Column(f"in {percent(level, 0)}", "of hours") for level in INTERVALS),
    )
    days = " or ".join(map(str, sorted({found.n_days for found in evaluations.values()})))
    note = f"{days} days forecast; CRPS in the series' unit ± 1.96 HAC standard errors of daily means; in 50 %:"
    return Table(
        columns, tuple(rows), f"{note} share of the hours within the central interval of that probability."
    )


def settlement_table(found: SettlementSummary) -> Table:
    """Figures of the settlement, one a row."""
    rows = (
        ("transfers", f"{found.n_transfers:,}"),
        ("settled as they should, of their number", percent(found.success_rate, 1)),
        ("settled as they should, of their value", percent(found.success_rate_by_value, 1)),
        ("routed transfers (between different nodes)", f"{found.n_routed:,}"),
        ("parts per routed transfer", f"{found.parts_per_payment:.2f}"),
        ("fees (EUR)", f"{found.fees_eur:.2f}"),
        ("fees per EUR settled (EUR)", f"{found.fees_per_eur:.4f}"),
        ("penalties of failed transfers (EUR)", f"{found.penalties_eur:.2f}"),
        ("configured latency p50 (ms)", f"{found.configured_latency_p50_ms:.1f}"),
        ("configured latency p95 (ms)", f"{found.configured_latency_p95_ms:.1f}"),
        ("configured latency p99 (ms)", f"{found.configured_latency_p99_ms:.1f}"),
    )
    note = "The latencies' law is configured, not observed. Transfers share channels: no intervals are given."
    return Table((Column("figure"), Column("value")), rows, note)


def number(value: float, spec: str) -> str:
    """A number as Python formats it, but with a minus that is as wide as a plus, and none before a zero."""
    text = f"{value:{spec}}"
    return (text if text.strip("-0.") else text.lstrip("-")).replace("-", "−")


def with_half(value: float, half: float, spec: str) -> str:
    """A number and half of its interval in one format; the number alone if the other is nan."""
    return number(value, spec) if math.isnan(half) else f"{number(value, spec)} ± {half:{spec}}"


def three_digits(value: float) -> str:
    """The format that shows a number with three significant digits, and its interval with as many decimals."""
    return f".{max(0, 2 - math.floor(math.log10(abs(value))))}f" if value else ".2f"


def percent(share: float, digits: int, sign: str = "") -> str:
    """A share in per cent."""
    return number(100 * share, f"{sign}.{digits}f") + " %"


def mean_text(figure: Sequence[float], spec: str, factor: float = 1.0) -> str:
    """A mean with half of its interval, such as ``12.3 ± 0.4``; both are multiplied by ``factor``."""
    mean, half = (factor * float(x) for x in figure)
    return with_half(mean, half, spec)


def interval_text(figure: Sequence[float] | None, spec: str, factor: float = 1.0) -> str:
    """A value with the ends of its interval, such as ``0.62 [0.59, 0.65]``; nothing for None."""
    if figure is None:
        return ""
    value, *ends = (factor * float(x) for x in figure)
    if any(math.isnan(end) for end in ends):
        return number(value, spec)
    return f"{number(value, spec)} [{', '.join(number(end, spec) for end in ends)}]"
