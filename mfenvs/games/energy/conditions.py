"""What is the same for every prosumer in a step: the day, its weather and tariffs, and the series they come from.

The public signal holds what the last clearing wrote (:data:`mfenvs.games.energy.clearing.PRICE` and the entries
behind it) and then, for the coming step, the day, the weather factor and the tariffs.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.random import normal, uniform
from mfenvs.games.energy.clearing import N_CLEARED, PRICE
from mfenvs.games.energy.single_precision import ONE
from mfenvs.rules import rule

DAY, WEATHER_SEEN, WEATHER, FEED_IN, RETAIL = range(N_CLEARED, N_CLEARED + 5)
"""Entries of the public signal: the day's index in the series, the weather factor of the step before (which agents
observe) and of the coming step (which they do not), and the coming step's tariffs in EUR/kWh."""
N_SIGNALS = N_CLEARED + 5


class MarketConstants(NamedTuple):
    """What the rules read as ``world.constants``."""

    load: Any
    """Load of each day, step and home profile, kWh."""
    pv: Any
    """PV generation of each day, step and home profile, kWh per kWp."""
    wind: Any
    """Wind generation of each day and step, kWh per kW."""
    feed_in: Any
    """Feed-in tariff of each day and step, EUR/kWh."""
    retail: Any
    """Retail tariff of each day and step, EUR/kWh."""
    first_day: Any
    """Index of the first day that can be drawn."""
    n_days: Any
    """Number of days, from ``first_day`` on, that can be drawn."""
    step_hours: Any
    """Length of a step in hours."""
    last_step: Any
    """The last step of an episode."""
    efficiency: Any
    """One-way battery efficiency."""
    degradation: Any
    """Battery wear cost, EUR per kWh charged or discharged."""
    fee: Any
    """Settlement fee on local trade, EUR/kWh."""
    initial_charge: Any
    """State of charge of batteries at the beginning, as a fraction of their capacity."""
    weather_memory: Any
    """Autocorrelation of the weather factor from step to step."""
    weather_sd: Any
    """Standard deviation of the weather factor."""
    book: Any
    """Terms of the auction, a :class:`mfenvs.games.energy.clearing.Book`."""


class StepData(NamedTuple):
    """A prosumer's load and generation in a step of the series, before weather and forecast errors, in kWh."""

    inelastic: Any
    """Load that is served at any price."""
    flexible: Any
    """Load that the prosumer may forgo."""
    generation: Any
    """PV and wind."""


@rule
def step_data(agent: Any, day: Any, time: Any, constants: Any) -> Any:
    """Look up a prosumer's load and generation in the series."""
    today = int(day)
    load_day = today + agent.shift
    if load_day >= len(constants.load):
        load_day -= len(constants.load)
    load = agent.load_scale * constants.load[load_day, time, agent.profile]
    sun = agent.pv_kwp * constants.pv[today, time, agent.profile]
    wind = agent.wind_kw * constants.wind[today, time]
    flexible = agent.flexible_share * load
    return StepData(load - flexible, flexible, sun + wind)


class Conditions(NamedTuple):
    """Day, weather and tariffs of a step."""

    day: Any
    """Index in the series."""
    last_weather: Any
    """Weather factor of the step before: what forecasts are made from."""
    weather: Any
    """Weather factor of this step: a relative change of all load and generation."""
    feed_in: Any
    """Feed-in tariff, EUR/kWh."""
    retail: Any
    """Retail tariff, EUR/kWh."""


@rule
def published(signal: Any) -> Any:
    """Read the conditions of a step from the public signal."""
    return Conditions(signal[DAY], signal[WEATHER_SEEN], signal[WEATHER], signal[FEED_IN], signal[RETAIL])


@rule
def expected_factor(conditions: Any, constants: Any) -> Any:
    """The factor by which load and generation are expected to differ from the series, given the last weather."""
    return ONE + constants.weather_memory * conditions.last_weather


@rule
def publish(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Write the coming step's weather, a first-order autoregression, and tariffs; draw the day at midnight."""
    if time == 0:
        signal[DAY] = constants.first_day + int(uniform(key, 4) * constants.n_days)
        signal[WEATHER] = bounded_weather(constants.weather_sd * normal(key, 2))
    memory = constants.weather_memory
    fresh = math.sqrt(1 - memory * memory) * constants.weather_sd * normal(key, 0)
    signal[WEATHER_SEEN] = signal[WEATHER]
    signal[WEATHER] = bounded_weather(memory * signal[WEATHER_SEEN] + fresh)
    day, now = int(signal[DAY]), min(time, constants.load.shape[1] - 1)
    signal[FEED_IN], signal[RETAIL] = constants.feed_in[day, now], constants.retail[day, now]
    if time == 0:
        signal[PRICE] = 0.5 * (signal[FEED_IN] + signal[RETAIL])


@rule
def bounded_weather(weather: Any) -> Any:
    """Keep the weather factor within [-.9, .9]: load and generation cannot become negative."""
    return min(max(weather, np.float32(-0.9)), np.float32(0.9))
