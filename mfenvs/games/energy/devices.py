"""Devices beside the battery: flexible load that waits, and electric vehicles.

Flexible load that is not served in its step may wait (:func:`backlog_after`). What has waited longest is served
first, and what would have to wait for more than the window is lost. So one number is the whole state: at the end
of a step the load that waits is the latest that has arrived. Arrivals are those of the series [O]: without weather
their sum over the window is known beforehand.

An electric vehicle comes home at an hour of the day and then needs an amount of energy by its hour of departure
[O]. What it lacks then costs a penalty. A vehicle that is home at midnight begins an episode with all of its need.
"""

from typing import Any

import numpy as np

from mfenvs.games.energy.conditions import load_day
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.rules import rule

DAY_HOURS = np.float32(24.0)


@rule
def wanted_now(share: Any, data: Any, factor: Any, state: Any) -> Any:
    """Flexible load that is wanted, of that of this step alone, kWh."""
    return share * factor * data.flexible


@rule
def wanted_of_waiting(share: Any, data: Any, factor: Any, state: Any) -> Any:
    """Flexible load that is wanted, of what waits and of what comes in this step, kWh."""
    return share * (state.backlog + data.flexible)


@rule
def nothing_waits(state: Any, data: Any, served: Any, agent: Any, conditions: Any, constants: Any) -> Any:
    """Stands for :func:`backlog_after` where flexible load does not wait."""
    return ZERO


@rule
def backlog_after(state: Any, data: Any, served: Any, agent: Any, conditions: Any, constants: Any) -> Any:
    """Flexible load that waits at the end of a step: no more than what came within the window, kWh."""
    day, clock = load_day(agent, conditions.day, constants), int(conditions.clock)
    recent = agent.load_scale * constants.recent_load[day, clock, agent.profile]
    return max(min(state.backlog + data.flexible - served, agent.flexible_share * recent), ZERO)


@rule
def no_vehicle(choice: Any, state: Any, agent: Any, constants: Any) -> Any:
    """Stands for :func:`vehicle_draw` where there are no vehicles."""
    return ZERO


@rule
def vehicle_draw(choice: Any, state: Any, agent: Any, constants: Any) -> Any:
    """What is to be charged into a vehicle, kWh; one that is away needs nothing."""
    return min(max(choice, ZERO) * agent.vehicle_power * constants.step_hours, state.vehicle_need)


@rule
def no_vehicle_after(state: Any, charged: Any, agent: Any, conditions: Any, constants: Any) -> Any:
    """Stands for :func:`vehicle_after` where there are no vehicles."""
    return ZERO, ZERO


@rule
def vehicle_after(state: Any, charged: Any, agent: Any, conditions: Any, constants: Any) -> Any:
    """What a vehicle needs at the end of a step, and what it lacked if it departed then, kWh."""
    need, lacked = max(state.vehicle_need - charged, ZERO), ZERO
    coming = (conditions.clock + ONE) * constants.step_hours
    if begins_at(coming, agent.vehicle_departure, constants):
        need, lacked = ZERO, need
    if begins_at(coming, agent.vehicle_arrival, constants):
        need = agent.vehicle_energy
    return need, lacked


@rule
def begins_at(begin: Any, hour: Any, constants: Any) -> Any:
    """Whether a step that begins so many hours after midnight is the first one at or after an hour of the day."""
    later = begin - hour
    later = later - DAY_HOURS if later >= DAY_HOURS else later
    return later >= ZERO and later < constants.step_hours


@rule
def need_at_midnight(agent: Any) -> Any:
    """What a vehicle needs at the beginning of an episode, kWh: all, if it is at home overnight."""
    is_home = agent.vehicle_arrival > agent.vehicle_departure
    return agent.vehicle_energy if is_home else np.float32(0.0)
