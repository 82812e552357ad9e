"""Seasons of dates."""

import re

SEASONS = ("winter", "spring", "summer", "autumn")
"""Meteorological seasons of the northern half of the earth; winter is December to February."""


def season_of(date: str) -> str | None:
    """The season of a date ``mm-dd`` or ``yyyy-mm-dd``; None for other texts.

    Parameters
    ----------
    date:
        Label of a day, as in :class:`~mfenvs.energy.series.MarketSeries`.
    """
    found = re.fullmatch(r"(?:\d{4}-)?(0[1-9]|1[0-2])-\d{2}", date)
    return SEASONS[int(found[1]) % 12 // 3] if found else None
