"""The calendar of the market's series, and the home that they are scaled to."""

HOURS_PER_DAY = 24
DAYS_PER_YEAR = 365
STEP_MINUTES = (15, 60)
"""Lengths that a step may have."""

ANNUAL_LOAD_KWH = 10_400.0
"""A home's consumption in a year, and the median of homes [O]."""
