"""Documents of the platform's web API (``xml``)."""

import io
import itertools
import re
from collections.abc import Iterator

from mfenvs.energy.entsoe.file import MAX_STEPS, SourceFile, shown
from mfenvs.energy.entsoe.rows import PRODUCTION_TYPES, Row, Selection, sequence_number
from mfenvs.energy.entsoe.xml_tree import Element, read_tree

ROOTS = ("Publication_MarketDocument", "GL_MarketDocument")
PARENTS = {"TimeSeries": ROOTS, "Period": ("TimeSeries",), "Point": ("Period",)}
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?Z", re.ASCII)
AREAS = ("in_Domain.mRID", "out_Domain.mRID", "inBiddingZone_Domain.mRID", "outBiddingZone_Domain.mRID")
UNITS = {"MAW": "MW", "MWH": "MWh"}
SEQUENCE = "classificationSequence_AttributeInstanceComponent.position"
MAX_REASONS = 3
"""Reasons of an acknowledgement that its error quotes."""


def xml_rows(source: SourceFile, stream: io.BufferedReader, encoding: str, selection: Selection) -> Iterator[Row]:
    """The wanted steps of a document, in the order of its time series."""
    rows: list[Row] = []

    def begin_root(root: Element) -> None:
        if root.tag not in (*ROOTS, "Acknowledgement_MarketDocument"):
            raise source.error(
                f"the document must be {' or '.join(ROOTS)}, got {shown(root.tag)}", root.line, root.tag
            )

    def take(child: Element) -> bool:
        if child.tag != "TimeSeries":
            return False
        # One step beyond the limit is enough for the error.
        rows.extend(itertools.islice(_rows_of(source, child, selection), MAX_STEPS + 1 - len(rows)))
        return True

    root = read_tree(source, stream, encoding, PARENTS, begin_root, take)
    if root.tag == "Acknowledgement_MarketDocument":
        reasons = [
            f"{reason.written('code', '?')}: {reason.written('text')}"
            for reason in root.all("Reason")[:MAX_REASONS]
        ]
        raise source.error(
            f"is an acknowledgement, so the API returned no data ({'; '.join(reasons) or 'no reason'})",
            root.line,
            root.tag,
        )
    yield from rows


def _rows_of(source: SourceFile, series: Element, selection: Selection) -> Iterator[Row]:
    """The steps of a TimeSeries, if it is wanted."""
    # A type's consumption (pumps, auxiliaries) comes as a series of its own, out of the zone.
    if series.find("MktPSRType") is not None and series.find("outBiddingZone_Domain.mRID") is not None:
        return
    area = next((name for tag in AREAS if (name := series.written(tag))), "")
    production = series.written("MktPSRType/psrType")
    production = PRODUCTION_TYPES.get(production, production)
    place = series.written(SEQUENCE)
    sequence = sequence_number(source, place, series.line_of(SEQUENCE)) if place else None
    if not selection.admits(area, production, sequence):
        return
    quantity = "price.amount" if series.find("quantity_Measure_Unit.name") is None else "quantity"
    unit = _unit(source, series, quantity)
    column = f"TimeSeries/Period/Point/{quantity}"
    curve = series.written("curveType", "A01")
    for period in series.all("Period"):
        for start, minutes, value, line in _steps(source, period, curve, quantity):
            yield Row(start, minutes, value, line, column, unit, area, production, sequence)


def _unit(source: SourceFile, series: Element, quantity: str) -> str:
    if quantity == "quantity":
        unit, _ = series.required(source, "quantity_Measure_Unit.name")
        return UNITS.get(unit, unit)
    per, _ = series.required(source, "price_Measure_Unit.name")
    return f"{series.required(source, 'currency_Unit.name')[0]}/{UNITS.get(per, per)}"


def _steps(
    source: SourceFile, period: Element, curve: str, quantity: str
) -> Iterator[tuple[int, int, float, int]]:
    """Start, minutes, value and line of each step; curve A03 leaves out the points that repeat the last value."""
    if curve not in ("A01", "A03"):
        raise source.error(
            f"curve type must be A01 or A03, got {shown(curve)}", period.line, "TimeSeries/curveType"
        )
    begin, end = (
        source.instant(TIME, text, "yyyy-mm-ddThh:mmZ", line, f"Period/{path}")
        for path in ("timeInterval/start", "timeInterval/end")
        for text, line in (period.required(source, path),)
    )
    minutes = source.minutes(*period.required(source, "resolution"), "Period/resolution")
    n_steps, rest = divmod(end - begin, 60 * minutes)
    if n_steps < 1 or rest:
        raise source.error(
            f"the interval must be a whole number >= 1 of {minutes} minutes, got {(end - begin) / 60:g} minutes",
            period.line_of("timeInterval"),
            "Period/timeInterval",
        )
    if n_steps > MAX_STEPS:
        raise source.error(
            f"the interval must have at most {MAX_STEPS} steps, got {n_steps} of {minutes} minutes",
            period.line_of("timeInterval"),
            "Period/timeInterval",
        )
    points: list[tuple[int, float, int]] = []
    for point in period.all("Point"):
        cell, line = point.required(source, "position")
        least = points[-1][0] + 1 if points else 1
        position = int(cell) if re.fullmatch(r"\d{1,9}", cell, re.ASCII) else 0
        if not least <= position <= n_steps:
            raise source.error(
                f"must be an integer in [{least}, {n_steps}], growing from point to point, got {shown(cell)}",
                line,
                "Period/Point/position",
            )
        if curve == "A03" and not points and position != 1:
            raise source.error(f"the first of curve type A03 must be 1, got {cell}", line, "Period/Point/position")
        text, _ = point.required(source, quantity)
        line = point.line_of(quantity)
        points.append((position, source.number(text, line, f"Point/{quantity}"), line))
    if not points:
        raise source.error("has no Point", period.line, "TimeSeries/Period")
    followings = [position for position, _, _ in points[1:]] + [n_steps + 1]
    for (position, value, line), following in zip(points, followings, strict=True):
        for step in range(position, following if curve == "A03" else position + 1):
            yield begin + 60 * minutes * (step - 1), minutes, value, line
