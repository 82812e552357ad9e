"""What is the same for every prosumer in a step: the day, its weather and tariffs, and the series they come from.

The public signal holds what the last clearing wrote (:data:`mfenvs.games.energy.clearing.PRICE` and the entries
behind it), what it means for the community (:mod:`mfenvs.games.energy.community`) and then, for the coming step,
the day and the step of the day, the weather factors and the tariffs.
"""

from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.random import normal, uniform
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.community import N_COMMUNITY
from mfenvs.games.energy.single_precision import ONE
from mfenvs.rules import rule

CLOCK, DAY = range(N_COMMUNITY, N_COMMUNITY + 2)
"""Entries of the public signal: the step of the day, and the day's index in the series."""
WEATHER_SEEN = DAY + 1
"""First of three entries of the public signal: the weather factors of load, sun and wind in the step before, which
agents observe."""
WEATHER = WEATHER_SEEN + 3
"""First of three entries of the public signal: the same of the coming step, which agents do not observe."""
FEED_IN, RETAIL = range(WEATHER + 3, WEATHER + 5)
"""Entries of the public signal: the coming step's tariffs, EUR/kWh."""
N_SIGNALS = RETAIL + 1

WORST_WEATHER = np.float32(0.9)
"""Weather factors are cut off here, on both sides, so that load and generation cannot become negative."""


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
    start_days: Any
    """Days with which an episode can begin, shape (n,)."""
    step_hours: Any
    """Length of a step in hours."""
    last_step: Any
    """The last step of an episode."""
    last_of_days: Any
    """The last step of an episode's days; the episode may end before."""
    degradation: Any
    """Battery wear cost, EUR per kWh charged or discharged."""
    fee: Any
    """Settlement fee on local trade, EUR/kWh."""
    initial_charge: Any
    """State of charge of batteries at the beginning, as a fraction of their capacity."""
    weather_memory: Any
    """Autocorrelation of the weather factors from step to step."""
    weather_renewal: Any
    """sqrt(1 - memory^2), by which what is new in a step is scaled."""
    weather_mixing: Any
    """The weather factors of load, sun and wind as combinations of three independent standard normal numbers: a
    lower triangular matrix (3, 3), whose product with its transpose is their covariance."""
    book: Any
    """Terms of the auction, a :class:`mfenvs.games.energy.clearing.Book`."""
    n_order_cells: Any
    """Number of cells in which orders are counted; sums of the community are counted behind them."""
    peak_charge: Any
    """Charge on the day's highest import, EUR/kW."""
    import_limit: Any
    """Most that the community may import in a step, kWh per agent."""
    export_limit: Any
    """Most that the community may export in a step, kWh per agent."""
    recent_load: Any
    """Load of the last steps for which flexible load waits, as ``load``; (1, 1, 1) where none waits."""
    vehicle_penalty: Any
    """Cost of the energy that a vehicle lacks when it departs, EUR/kWh."""
    forecast_stride: Any
    """Number of steps from one observed forecast to the next."""
    forecast_memory: Any
    """Autocorrelation of the weather factors over that time."""
    load_ahead: Any
    """Load of the ``forecast_stride`` steps from each on, as ``load``."""
    pv_ahead: Any
    """PV generation likewise, as ``pv``."""
    wind_ahead: Any
    """Wind generation likewise, as ``wind``."""
    net_ahead: Any
    """Net demand of the community likewise, kWh per agent, as ``wind``."""


class StepData(NamedTuple):
    """A prosumer's load and generation in a step of the series, before weather and forecast errors, in kWh."""

    inelastic: Any
    """Load that is served at any price."""
    flexible: Any
    """Load that the prosumer may forgo."""
    sun: Any
    """Generation by PV."""
    wind: Any
    """Generation by wind."""


@rule
def load_day(agent: Any, day: Any, constants: Any) -> Any:
    """The day of the series from which an agent's load is taken."""
    shifted = int(day) + agent.shift
    return shifted - len(constants.load) if shifted >= len(constants.load) else shifted


@rule
def step_data(agent: Any, day: Any, time: Any, constants: Any) -> Any:
    """Look up a prosumer's load and generation in the series."""
    today = int(day)
    load = agent.load_scale * constants.load[load_day(agent, day, constants), time, agent.profile]
    sun = agent.pv_kwp * constants.pv[today, time, agent.profile]
    wind = agent.wind_kw * constants.wind[today, time]
    flexible = agent.flexible_share * load
    return StepData(load - flexible, flexible, sun, wind)


class Conditions(NamedTuple):
    """Day, weather and tariffs of a step.

    Weather factors are relative changes of all load, of all PV or of all wind generation. Forecasts are made from
    those of the step before, which are the ``..._seen`` ones.
    """

    day: Any
    """Index in the series."""
    clock: Any
    """Step of the day."""
    load_seen: Any
    sun_seen: Any
    wind_seen: Any
    load_weather: Any
    sun_weather: Any
    wind_weather: Any
    feed_in: Any
    """Feed-in tariff, EUR/kWh."""
    retail: Any
    """Retail tariff, EUR/kWh."""


@rule
def published(signal: Any) -> Any:
    """Read the conditions of a step from the public signal."""
    return Conditions(
        signal[DAY],
        signal[CLOCK],
        signal[WEATHER_SEEN],
        signal[WEATHER_SEEN + 1],
        signal[WEATHER_SEEN + 2],
        signal[WEATHER],
        signal[WEATHER + 1],
        signal[WEATHER + 2],
        signal[FEED_IN],
        signal[RETAIL],
    )


@rule
def expected_factor(conditions: Any, constants: Any) -> Any:
    """The factor by which load is expected to differ from the series, given the weather of the step before."""
    return ONE + constants.weather_memory * conditions.load_seen


class Amounts(NamedTuple):
    """A prosumer's inelastic load and its generation in a step, as expected or as they turn out, kWh."""

    load: Any
    generation: Any


@rule
def expected_amounts(data: Any, conditions: Any, constants: Any) -> Any:
    """Load and generation as they are expected."""
    memory = constants.weather_memory
    sun, wind = ONE + memory * conditions.sun_seen, ONE + memory * conditions.wind_seen
    load = expected_factor(conditions, constants) * data.inelastic
    return Amounts(load, sun * data.sun + wind * data.wind)


@rule
def publish(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Write the coming step's weather, a first-order autoregression, and tariffs; draw the day at the beginning.

    At the end of an episode of whole days, the last step's tariffs stay.
    """
    steps = constants.load.shape[1]
    now = min(time, constants.last_of_days)
    if time == 0:
        signal[DAY] = constants.start_days[int(uniform(key, 4) * len(constants.start_days))]
        draw_weather(signal, constants, key, 2, 10, np.float32(0.0), ONE)
    elif now == time and now % steps == 0:
        signal[DAY] += 1
    signal[CLOCK] = now % steps
    for factor in range(3):
        signal[WEATHER_SEEN + factor] = signal[WEATHER + factor]
    draw_weather(signal, constants, key, 0, 6, constants.weather_memory, constants.weather_renewal)
    day, clock = int(signal[DAY]), int(signal[CLOCK])
    signal[FEED_IN], signal[RETAIL] = constants.feed_in[day, clock], constants.retail[day, clock]
    if time == 0:
        signal[PRICE] = 0.5 * (signal[FEED_IN] + signal[RETAIL])


@rule
def draw_weather(
    signal: Any, constants: Any, key: Any, stream: Any, others: Any, memory: Any, renewal: Any
) -> None:
    """Write the next weather factors: ``memory`` of the last ones, ``renewal`` of what is new.

    It takes two streams from ``stream`` on, of which version 0 is made, and four from ``others`` on.
    """
    mixing = constants.weather_mixing
    first, second, third = normal(key, stream), normal(key, others), normal(key, others + 2)
    for factor in range(3):
        fresh = mixing[factor, 0] * first + mixing[factor, 1] * second + mixing[factor, 2] * third
        weather = memory * signal[WEATHER + factor] + renewal * fresh
        signal[WEATHER + factor] = min(max(weather, -WORST_WEATHER), WORST_WEATHER)
