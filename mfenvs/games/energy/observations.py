"""What a prosumer of the energy market observes: numbers in [0, 1].

Version 0 shows 30 numbers (``short``). The ``full`` observation has the same places first and more behind them:
the weather of sun and wind, the tariffs and the community's net demand of the coming hours, and what there is to
know of peaks, of flexible load that waits and of vehicles in markets that have them.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.actions import within_unit
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.community import PEAK
from mfenvs.games.energy.conditions import CLOCK, DAY, FEED_IN, RETAIL, WEATHER_SEEN, load_day, step_data
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.single_precision import HALF, ONE, ZERO
from mfenvs.games.energy.traits import Traits
from mfenvs.games.squashing import squashed
from mfenvs.rules import rule

STEPS_AHEAD = 4
"""Forecasts are of so many hours (in version 0: steps), the coming one first."""

(
    CHARGE_SEEN,
    ERROR_SEEN,
    ELAPSED_SEEN,
    SINE_SEEN,
    COSINE_SEEN,
    LAST_WEATHER_SEEN,
    PRICE_SEEN,
    FEED_IN_SEEN,
    RETAIL_SEEN,
    CAPACITY_SEEN,
    SHARE_SEEN,
    VALUE_SEEN,
    SPREAD_SEEN,
    NET_SEEN,
) = range(len(TYPES), len(TYPES) + 14)
"""Entries of an observation, behind the type one-hot (0 to 4).

State of charge; last forecast error; elapsed time of the episode; sine and cosine of the time of day; last weather
factor of the load; last price, as a level between the tariffs; feed-in tariff; retail tariff; battery capacity;
share of the load that is flexible; value of flexible load, as half a level between the tariffs; spread of the
forecast errors; then forecasts of the net demand (load less generation): the quantiles .1, .5 and .9 for each hour
ahead.
"""
N_FEATURES = NET_SEEN + 3 * STEPS_AHEAD
"""Length of a short observation."""

SUN_SEEN, WIND_SEEN = N_FEATURES, N_FEATURES + 1
"""Entries of a full observation: the last weather factors of sun and wind."""
FEED_IN_AHEAD_SEEN = WIND_SEEN + 1
"""First of four entries of a full observation: the feed-in tariffs at the beginning of the next hours, that which
follows the coming one first."""
RETAIL_AHEAD_SEEN = FEED_IN_AHEAD_SEEN + STEPS_AHEAD
"""First of four entries of a full observation: the retail tariffs likewise."""
COMMUNITY_SEEN = RETAIL_AHEAD_SEEN + STEPS_AHEAD
"""First of four entries of a full observation: forecasts of the community's net demand per agent, the coming hour
first."""
N_COMMON_FEATURES = COMMUNITY_SEEN + STEPS_AHEAD
"""Length of a full observation of a market without peak charge, waiting load and vehicles. Behind it are, as far
as the market has them: the highest import of the day so far, of the community per agent or of the member; the
flexible load that waits; the vehicle's need, its power, and the time until it departs, as a share of a day."""

ERROR_SCALE, EUR_SCALE, CAPACITY_SCALE, NET_SCALE = (np.float32(scale) for scale in (0.2, 0.2, 10.0, 2.0))
"""Scales by which quantities are squashed: relative errors and spreads, EUR/kWh, capacities and net demand in
kWh."""


def n_features(traits: Traits) -> int:
    """Length of an observation."""
    if traits.observations == "short":
        return N_FEATURES
    return vehicle_seen(traits) + 3 * traits.has_vehicles


def step_of_episode(rows: NDArray[Any], horizon: int) -> NDArray[np.int64]:
    """The step in [0, horizon - 1] of an episode that each observation is of, shape (n_rows,)."""
    steps: NDArray[np.int64] = np.rint(rows[:, ELAPSED_SEEN] * horizon).astype(np.int64)
    return steps.clip(0, horizon - 1)


def vehicle_seen(traits: Traits) -> int:
    """First of the three entries of a full observation that are about the vehicle, in a market that has them."""
    return N_COMMON_FEATURES + (traits.peak != "") + traits.shifts


@rule
def observe_own(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the entries before the forecasts."""
    signal, constants = public.signal, public.constants
    feed_in, retail = signal[FEED_IN], signal[RETAIL]
    out[state.type] = 1.0
    out[CHARGE_SEEN] = state.charge
    out[ERROR_SEEN] = squashed(state.error, ERROR_SCALE)
    out[ELAPSED_SEEN] = public.elapsed
    angle = np.float32(2 * math.pi) * np.float32(public.time) / np.float32(constants.load.shape[1])
    out[SINE_SEEN], out[COSINE_SEEN] = 0.5 + 0.5 * math.sin(angle), 0.5 + 0.5 * math.cos(angle)
    out[LAST_WEATHER_SEEN] = 0.5 + signal[WEATHER_SEEN] / np.float32(1.8)
    out[PRICE_SEEN] = within_unit((signal[PRICE] - feed_in) / (retail - feed_in))
    out[FEED_IN_SEEN], out[RETAIL_SEEN] = squashed(feed_in, EUR_SCALE), squashed(retail, EUR_SCALE)
    out[CAPACITY_SEEN] = agent.capacity / (CAPACITY_SCALE + agent.capacity)
    out[SHARE_SEEN] = agent.flexible_share
    out[VALUE_SEEN] = within_unit(HALF * (agent.flexible_value - feed_in) / (retail - feed_in))
    out[SPREAD_SEEN] = agent.spread / (ERROR_SCALE + agent.spread)


@rule
def observe_quantiles(out: Any, ahead: Any, net: Any, spread: Any) -> None:
    """Write the quantiles of a forecast of the own net demand."""
    for q in range(3):
        out[NET_SEEN + 3 * ahead + q] = squashed(net + (q - 1) * spread, NET_SCALE)


@rule
def observe_steps(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Write a short observation, whose forecasts are of steps up to the end of the day."""
    observe_own(out, state, agent, public)
    signal, constants = public.signal, public.constants
    load_weather, sun_weather = signal[WEATHER_SEEN], signal[WEATHER_SEEN + 1]
    wind_weather = signal[WEATHER_SEEN + 2]
    for ahead in range(STEPS_AHEAD):
        time = min(int(signal[CLOCK]) + ahead, constants.load.shape[1] - 1)
        load_weather *= constants.weather_memory
        sun_weather *= constants.weather_memory
        wind_weather *= constants.weather_memory
        data = step_data(agent, signal[DAY], time, constants)
        made = (ONE + sun_weather) * data.sun + (ONE + wind_weather) * data.wind
        net = (ONE + load_weather) * (data.inelastic + data.flexible) - made
        spread = agent.spread * ((ONE + load_weather) * data.inelastic + made)
        observe_quantiles(out, ahead, net, spread)


@rule
def observe_hours(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Write a full observation's common part, whose forecasts go on beyond midnight."""
    observe_own(out, state, agent, public)
    signal, constants = public.signal, public.constants
    n_days, steps = constants.wind.shape[0], constants.wind.shape[1]
    load_weather, sun_weather = signal[WEATHER_SEEN], signal[WEATHER_SEEN + 1]
    wind_weather = signal[WEATHER_SEEN + 2]
    out[SUN_SEEN], out[WIND_SEEN] = 0.5 + sun_weather / np.float32(1.8), 0.5 + wind_weather / np.float32(1.8)
    day, time = int(signal[DAY]), int(signal[CLOCK])
    for ahead in range(STEPS_AHEAD):
        load_weather *= constants.forecast_memory
        sun_weather *= constants.forecast_memory
        wind_weather *= constants.forecast_memory
        load = agent.load_scale * constants.load_ahead[load_day(agent, day, constants), time, agent.profile]
        sun = agent.pv_kwp * constants.pv_ahead[day, time, agent.profile]
        wind = agent.wind_kw * constants.wind_ahead[day, time]
        load, made = (ONE + load_weather) * load, (ONE + sun_weather) * sun + (ONE + wind_weather) * wind
        spread = agent.spread * ((ONE - agent.flexible_share) * load + made)
        observe_quantiles(out, ahead, load - made, spread)
        out[COMMUNITY_SEEN + ahead] = squashed(constants.net_ahead[day, time], NET_SCALE)
        time += constants.forecast_stride
        if time >= steps:
            time -= steps
            day = day + 1 if day + 1 < n_days else 0
        out[FEED_IN_AHEAD_SEEN + ahead] = squashed(constants.feed_in[day, time], EUR_SCALE)
        out[RETAIL_AHEAD_SEEN + ahead] = squashed(constants.retail[day, time], EUR_SCALE)


@rule
def nothing_seen(out: Any, at: Any, state: Any, agent: Any, public: Any) -> None:
    """Stands for an entry that a market does not have."""


@rule
def observe_community_peak(out: Any, at: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the community's highest import of the day, per agent; 0 at midnight."""
    peak = public.signal[PEAK] if public.signal[CLOCK] > ZERO else ZERO
    out[at] = peak / (NET_SCALE + peak)


@rule
def observe_member_peak(out: Any, at: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the member's highest import of the day; 0 at midnight."""
    peak = state.peak if public.signal[CLOCK] > ZERO else ZERO
    out[at] = peak / (NET_SCALE + peak)


@rule
def observe_backlog(out: Any, at: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the flexible load that waits."""
    out[at] = state.backlog / (NET_SCALE + state.backlog)


@rule
def observe_vehicle(out: Any, at: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the vehicle's need and power, and the time until it departs; all 0 without a vehicle."""
    need, power = state.vehicle_need, agent.vehicle_power
    out[at], out[at + 1] = need / (CAPACITY_SCALE + need), power / (CAPACITY_SCALE + power)
    hour = public.signal[CLOCK] * public.constants.step_hours
    left = agent.vehicle_departure - hour
    share = (left if left > ZERO else left + np.float32(24.0)) / np.float32(24.0)
    out[at + 2] = within_unit(share) if power > ZERO else ZERO


@functools.cache
def observation_rule(traits: Traits) -> Callable[..., Any]:
    """The rule ``observe`` of a market."""
    if traits.observations == "short":
        return observe_steps
    peaks = {"": nothing_seen, "community": observe_community_peak, "member": observe_member_peak}
    of_peak = peaks[traits.peak]
    of_backlog = observe_backlog if traits.shifts else nothing_seen
    of_vehicle = observe_vehicle if traits.has_vehicles else nothing_seen
    at_backlog, at_vehicle = N_COMMON_FEATURES + (traits.peak != ""), vehicle_seen(traits)

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        observe_hours(out, state, agent, public)
        of_peak(out, N_COMMON_FEATURES, state, agent, public)
        of_backlog(out, at_backlog, state, agent, public)
        of_vehicle(out, at_vehicle, state, agent, public)

    return observe
