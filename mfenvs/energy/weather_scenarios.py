"""Scenarios of weather and forecast errors to come, drawn by the energy market's own laws."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.random import ADVANCE, NOBODY, agent_key, step_key, student_t
from mfenvs.games.energy.conditions import (
    WEATHER,
    WEATHER_SEEN,
    StepData,
    draw_weather,
    expected_amounts,
    published,
)
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.trading import metered_amounts

Array = NDArray[np.float64]


class Scenarios(NamedTuple):
    """Sums over the community in each of K scenarios and coming steps, kWh, shape (K, n_steps) each."""

    load: Array
    """Inelastic load."""
    generation: Array
    """PV and wind."""


@kernel
def _draw(agents: Any, constants: Any, data: Any, seed: Any, is_metered: Any, signals: Any, drawn: Any) -> None:
    """Write scenarios: the weather goes on from what has been seen, and every agent errs anew in every step.

    ``signals`` holds the public signal of each scenario, and changes with its weather.
    """
    for k in range(len(signals)):
        own = signals[k]
        for factor in range(WEATHER - WEATHER_SEEN):
            own[WEATHER + factor] = own[WEATHER_SEEN + factor]
        for time in range(drawn.load.shape[1]):
            key = step_key(seed, k, 0, time, ADVANCE)
            for factor in range(WEATHER - WEATHER_SEEN):
                own[WEATHER_SEEN + factor] = own[WEATHER + factor]
            news = agent_key(key, NOBODY)
            draw_weather(own, constants, news, 0, 6, constants.weather_memory, constants.weather_renewal)
            conditions = published(own)
            load, made = 0.0, 0.0
            for i in range(len(agents)):
                step = StepData(
                    data.inelastic[i, time], data.flexible[i, time], data.sun[i, time], data.wind[i, time]
                )
                agent = agents[i]
                error = agent.error_scale * student_t(agent_key(key, i), 0, agent.degrees_of_freedom)
                if is_metered:
                    amounts = metered_amounts(step, conditions, error)
                else:
                    amounts = expected_amounts(step, conditions, constants)
                load += amounts.load
                made += amounts.generation
            drawn.load[k, time], drawn.generation[k, time] = load, made


def draw_scenarios(game: EnergyMarket, data: StepData, signal: Array, n_scenarios: int, seed: int) -> Scenarios:
    """Draw scenarios of the coming steps, given the weather that has been seen.

    Where every imbalance is the retailer's (``imbalance="individual"``), errors cost the same whatever is done and
    what the community exchanges follows the forecasts: then the scenarios are those of forecasts to come.

    Parameters
    ----------
    game:
        The market.
    data:
        Data of the coming steps (:func:`~mfenvs.energy.outlook.data_of_episode`), entries of shape (N, n_steps).
    signal:
        Public signal now, shape (n_signals,).
    n_scenarios:
        Number of scenarios K.
    seed:
        Random seed, in [0, 2^64).

    Returns
    -------
    Scenarios
        Sums over the community.
    """
    n_steps = data.inelastic.shape[1]
    drawn = Scenarios(np.empty((n_scenarios, n_steps)), np.empty((n_scenarios, n_steps)))
    _draw(
        game.agents.view(np.ndarray),
        game.constants,
        StepData(*(np.ascontiguousarray(entry) for entry in data)),
        np.uint64(seed),
        game.imbalance != "individual",
        np.tile(np.asarray(signal, np.float64), (n_scenarios, 1)),
        drawn,
    )
    return drawn
