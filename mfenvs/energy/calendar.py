"""The calendar of the market's series, and the annual load that homes are scaled to."""

import re
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mfenvs import checks

HOURS_PER_DAY = 24
DAYS_PER_YEAR = 365
STEP_MINUTES = (15, 60)
"""Lengths in minutes that a step of the market may have."""

ANNUAL_LOAD_KWH = 10_400.0
"""Electricity that a home uses in a year, kWh, and the median of homes [O]."""


DATE = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)", re.ASCII)


def month_of(label: str) -> int:
    """The month of a day's label ``mm-dd`` or ``yyyy-mm-dd``; ValueError if it is neither."""
    match = DATE.fullmatch(label)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise ValueError(f"dates must be mm-dd or yyyy-mm-dd for prices by month, got {checks.shown(label)}")
    return int(match[2])


def weekday_of(label: str) -> int | None:
    """The day of the week, 0 (Monday) to 6, of a label ``yyyy-mm-dd``; None of any other."""
    match = DATE.fullmatch(label)
    if match is None or match[1] is None:
        return None
    try:
        return date(*map(int, match.groups())).weekday()
    except ValueError:
        return None


def whole_days(start: datetime, n_steps: int, minutes: int, zone: zoneinfo.ZoneInfo) -> dict[date, int]:
    """First step of each local day of 24 hours that lies wholly within ``n_steps`` steps from ``start`` (UTC)."""
    first_of = {}
    last = start + n_steps * timedelta(minutes=minutes)
    day = start.astimezone(zone).date()
    while (begin := datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)) < last:
        following = day + timedelta(days=1)
        end = datetime(following.year, following.month, following.day, tzinfo=zone).astimezone(UTC)
        if start <= begin and end <= last and end - begin == timedelta(hours=HOURS_PER_DAY):
            first_of[day] = (begin - start) // timedelta(minutes=minutes)
        day = following
    return first_of


def time_zone(name: str, value: Any) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name such as ``Europe/Berlin``; TypeError or ValueError if ``value`` is none."""
    key = checks.text(name, value)
    try:
        return zoneinfo.ZoneInfo(key)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as Europe.
        raise ValueError(f"{name} must be the name of an IANA time zone, got {checks.shown(value)}") from error
