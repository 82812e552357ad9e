"""What a planner of an energy market knows of coming steps: data, expected load and generation, devices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.welfare import PlanningProblem
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.conditions import StepData, expected_factor, step_data
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.rules import plain

Array = NDArray[np.float64]


def data_of_day(game: EnergyMarket, day: int) -> StepData:
    """All agents' load and generation on a day of the series, before weather and errors.

    Parameters
    ----------
    game:
        The market.
    day:
        Index of the day in the series.

    Returns
    -------
    StepData
        Its entries have shape (N, H), kWh.
    """
    constants, steps = game.constants, np.arange(game.horizon)
    agents = in_double_precision(game.agents).view(np.recarray)
    by_agent = [plain(step_data)(agent, day, steps, constants) for agent in agents]
    return StepData(*(np.array(entry) for entry in zip(*by_agent, strict=True)))


def expected_factors(game: EnergyMarket, conditions: Any, n_steps: int) -> Array:
    """Expected load and generation of the next ``n_steps`` steps relative to the data, given the last weather."""
    memory = np.float64(game.constants.weather_memory)
    last = conditions.last_weather * memory ** np.arange(n_steps)
    return np.asarray(plain(expected_factor)(conditions._replace(last_weather=last), game.constants))


def problem_of(game: EnergyMarket, **terms: Any) -> PlanningProblem:
    """A planning problem of the market's agents, with their batteries and worths of flexible load.

    Parameters
    ----------
    game:
        The market.
    terms:
        All other fields of the problem (:class:`~mfenvs.energy.welfare.PlanningProblem`).
    """
    agents, constants = in_double_precision(game.agents), game.constants
    return PlanningProblem(
        flexible_value=agents["flexible_value"],
        capacity=agents["capacity"],
        power=agents["power"] * np.float64(constants.step_hours),
        efficiency=np.full(game.n_agents, constants.efficiency, np.float64),
        degradation=np.full(game.n_agents, constants.degradation, np.float64),
        **terms,
    )
