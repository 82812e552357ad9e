"""What a prosumer of the energy market observes: 30 numbers in [0, 1]."""

import math
from typing import Any

import numpy as np

from mfenvs.games.energy.actions import within_unit
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.conditions import DAY, FEED_IN, RETAIL, WEATHER_SEEN, step_data
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.single_precision import HALF, ONE
from mfenvs.games.squashing import squashed
from mfenvs.rules import rule

STEPS_AHEAD = 4
"""Forecasts of the net demand are of so many steps, the coming one first."""

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
factor; last price, as a level between the tariffs; feed-in tariff; retail tariff; battery capacity; share of the
load that is flexible; value of flexible load, as half a level between the tariffs; spread of the forecast errors;
then forecasts of the net demand (load less generation): the quantiles .1, .5 and .9 for each step ahead.
"""
N_FEATURES = NET_SEEN + 3 * STEPS_AHEAD

ERROR_SCALE, EUR_SCALE, CAPACITY_SCALE, NET_SCALE = (np.float32(scale) for scale in (0.2, 0.2, 10.0, 2.0))
"""Scales by which quantities are squashed: relative errors and spreads, EUR/kWh, capacities and net demand in
kWh."""


@rule
def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Write what a prosumer observes: its type, :data:`CHARGE_SEEN` and the entries behind it."""
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
    weather = signal[WEATHER_SEEN]
    for ahead in range(STEPS_AHEAD):
        time = min(public.time + ahead, constants.load.shape[1] - 1)
        weather *= constants.weather_memory
        data, factor = step_data(agent, signal[DAY], time, constants), ONE + weather
        net = factor * (data.inelastic + data.flexible - data.generation)
        spread = factor * agent.spread * (data.inelastic + data.generation)
        for q in range(3):
            out[NET_SEEN + 3 * ahead + q] = squashed(net + (q - 1) * spread, NET_SCALE)
