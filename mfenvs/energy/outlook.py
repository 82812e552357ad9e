"""What a planner of an energy market knows of an episode: data, expected load and generation, devices, limits."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.welfare import ChargingSessions, PlanningProblem
from mfenvs.engine.compile import kernel
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.community import PEAK
from mfenvs.games.energy.conditions import (
    CLOCK,
    WEATHER,
    WEATHER_SEEN,
    StepData,
    expected_amounts,
    expected_factor,
    published,
    step_data,
)
from mfenvs.games.energy.devices import need_at_midnight, vehicle_after
from mfenvs.games.energy.market import EnergyMarket

Array = NDArray[np.float64]


N_FACTORS = WEATHER - WEATHER_SEEN
"""Number of weather factors."""


class Outlook(NamedTuple):
    """Amounts of all agents in the steps from one on, kWh, shape (N, n_steps) each."""

    load: Array
    """Inelastic load."""
    generation: Array
    """PV and wind."""
    flexible: Array
    """Flexible load that arises."""


@kernel
def _tabulate(agents: Any, constants: Any, first_day: Any, written: Any) -> None:
    """Write all agents' data of all steps from the beginning of a day on, entries of shape (N, n_steps)."""
    steps = constants.load.shape[1]
    for i in range(len(agents)):
        for time in range(written.inelastic.shape[1]):
            data = step_data(agents[i], first_day + time // steps, time % steps, constants)
            written.inelastic[i, time], written.flexible[i, time] = data.inelastic, data.flexible
            written.sun[i, time], written.wind[i, time] = data.sun, data.wind


@kernel
def _expect(constants: Any, signals: Any, known: Any, written: Any) -> None:
    """Write expected load, generation and flexible load, given the public signal of each step."""
    for time in range(len(signals)):
        conditions = published(signals[time])
        factor = expected_factor(conditions, constants)
        for i in range(len(known.sun)):
            flexible = known.flexible[i, time]
            data = StepData(known.inelastic[i, time], flexible, known.sun[i, time], known.wind[i, time])
            amounts = expected_amounts(data, conditions, constants)
            written.load[i, time], written.generation[i, time] = amounts.load, amounts.generation
            written.flexible[i, time] = factor * flexible


@kernel
def _leave_uncharged(agents: Any, constants: Any, signal: Any, need: Any, lacked: Any) -> None:
    """Write what vehicles need before each step and at the end, and lack when they depart, if none is charged."""
    steps = constants.load.shape[1]
    for i in range(len(agents)):
        need[i, 0] = need_at_midnight(agents[i])
        for time in range(lacked.shape[1]):
            signal[CLOCK] = time % steps
            state = Vehicle(need[i, time])
            after = vehicle_after(state, 0.0, agents[i], published(signal), constants)
            need[i, time + 1], lacked[i, time] = after


class Vehicle(NamedTuple):
    """A state of which only the vehicle's need counts."""

    vehicle_need: Any


def data_of_episode(game: EnergyMarket, first_day: int) -> StepData:
    """All agents' load and generation in an episode, as the series has it: before weather and errors.

    Parameters
    ----------
    game:
        The market.
    first_day:
        Index of its first day in the series.

    Returns
    -------
    StepData
        Its entries have shape (N, H), kWh.
    """
    data = StepData(*np.empty((4, game.n_agents, game.horizon)))
    _tabulate(in_double_precision(game.agents), game.constants, int(first_day), data)
    return data


def expected(game: EnergyMarket, data: StepData, signals: Array) -> Outlook:
    """What is expected in each step, given the public signal of that step.

    Parameters
    ----------
    game:
        The market.
    data:
        Data of the steps, each entry of shape (N, n_steps).
    signals:
        Public signal in each of them, shape (n_steps, n_signals).
    """
    found = Outlook(*np.empty((3, *data.inelastic.shape)))
    known = StepData(*(np.ascontiguousarray(entry) for entry in data))
    _expect(game.constants, np.ascontiguousarray(signals, np.float64), known, found)
    # Load that can be shifted comes as the series has it: see mfenvs.games.energy.devices.
    return found._replace(flexible=data.flexible) if game.traits.shifts else found


def outlook(game: EnergyMarket, data: StepData, signal: Array, time: int, most_steps: int) -> Outlook:
    """What is expected of the steps from ``time`` on, given the weather that has been seen by then.

    Parameters
    ----------
    game:
        The market.
    data:
        The episode's data (:func:`data_of_episode`).
    signal:
        Public signal at that time, shape (n_signals,).
    time:
        The coming step.
    most_steps:
        Largest number of steps; all that are left if there are no more.
    """
    n_ahead = min(game.horizon - time, most_steps)
    signals = np.tile(signal, (n_ahead, 1))
    # The mean of a first-order autoregression decays step by step.
    decay = np.float64(game.constants.weather_memory) ** np.arange(n_ahead)
    signals[:, WEATHER_SEEN : WEATHER_SEEN + N_FACTORS] *= decay[:, None]
    return expected(game, StepData(*(entry[:, time : time + n_ahead] for entry in data)), signals)


def waiting_load(game: EnergyMarket, data: StepData, backlog: Array, time: int) -> Array | None:
    """Flexible load that waits before a step, by the step in which it arose: kWh, shape (N, w); None without any.

    What waits is the latest that has arisen (:mod:`mfenvs.games.energy.devices`). ``backlog`` has shape (N,).
    """
    if not game.traits.shifts:
        return None
    window = shift_steps(game)
    arisen = np.pad(data.flexible[:, max(time - window, 0) : time], ((0, 0), (max(window - time, 0), 0)))
    later = np.cumsum(arisen[:, ::-1], axis=1)[:, ::-1] - arisen
    waiting: Array = np.clip(backlog[:, None] - later, 0.0, arisen)
    return waiting


def shift_steps(game: EnergyMarket) -> int:
    """Number of steps for which flexible load waits."""
    return round(game.shift_hours / game.days.step_hours)


def charging_sessions(game: EnergyMarket) -> ChargingSessions:
    """Charging sessions of all vehicles in an episode, found by letting none be charged.

    The session of a vehicle that has not departed by the end of the last step ends behind it, at H + 1.
    """
    if not game.traits.has_vehicles:
        return ChargingSessions()
    agents = in_double_precision(game.agents)
    own = np.flatnonzero(agents["vehicle_energy"] > 0)
    need, lacked = np.empty((len(own), game.horizon + 1)), np.empty((len(own), game.horizon))
    _leave_uncharged(agents[own], game.constants, np.zeros(game.n_signals), need, lacked)
    found = []
    for i, needs, lacks in zip(own, need, lacked, strict=True):
        departures = np.flatnonzero(lacks > 0) + 1
        # A vehicle has come where it needs energy and before did not, or departed just then.
        came = np.flatnonzero((needs > 0) & (np.append(0.0, needs[:-1]) * np.append(True, lacks == 0) == 0))
        for first, last in itertools.zip_longest(came, departures, fillvalue=game.horizon + 1):
            found.append((i, first, last, needs[first], game.ev_penalty))
    agent, arrival, departure, energy, penalty = np.array(found).reshape(-1, 5).T
    power = agents["vehicle_power"][agent.astype(np.int64)] * np.float64(game.constants.step_hours)
    agent, arrival, departure = (field.astype(np.int64) for field in (agent, arrival, departure))
    return ChargingSessions(agent, arrival, departure, energy, power, penalty)


def sessions_from(sessions: ChargingSessions, time: int, need: Array) -> ChargingSessions:
    """The charging sessions of an episode that are not over at a step, by steps from there on.

    Parameters
    ----------
    sessions:
        Sessions of the episode.
    time:
        The coming step.
    need:
        What each agent's vehicle still needs, kWh, shape (N,).
    """
    left = sessions.departure > time
    kept = {name: getattr(sessions, name)[left] for name in ("agent", "energy", "power", "penalty")}
    arrival, departure = sessions.arrival[left] - time, sessions.departure[left] - time
    has_come = arrival <= 0
    energy = np.where(has_come, need[kept["agent"]], kept.pop("energy"))
    return ChargingSessions(arrival=np.maximum(arrival, 0), departure=departure, energy=energy, **kept)


def problem_of(
    game: EnergyMarket, day: int, time: int, expected: Outlook, *, sessions: ChargingSessions, **terms: Any
) -> PlanningProblem:
    """The planning problem of the steps from one on, with the market's devices, tariffs and daily peaks.

    Parameters
    ----------
    game:
        The market.
    day:
        First day of the episode, as an index into the series.
    time:
        First step that is planned.
    expected:
        Amounts of the steps from there on, expected or realised.
    sessions:
        The episode's charging sessions that are not over, by steps from ``time`` on. What a vehicle lacks at the
        end of the planned steps is bought at the last retail tariff then.
    terms:
        More fields of the problem (:class:`~mfenvs.energy.welfare.PlanningProblem`), such as the states of charge.
    """
    agents, constants, n_steps = in_double_precision(game.agents), game.constants, game.days.steps
    n_ahead = expected.load.shape[1]
    days, clock = np.divmod(np.arange(time, time + n_ahead), n_steps)
    retail, feed_in = (
        table[day + days, clock].astype(np.float64) for table in (constants.retail, constants.feed_in)
    )
    return PlanningProblem(
        load=expected.load,
        generation=expected.generation,
        flexible=expected.flexible,
        flexible_value=agents["flexible_value"],
        capacity=agents["capacity"],
        power=agents["power"] * np.float64(constants.step_hours),
        efficiency=game.agents["efficiency"].astype(np.float64),
        degradation=np.full(game.n_agents, constants.degradation, np.float64),
        retail=retail,
        feed_in=feed_in,
        day=days - days[0],
        step_hours=float(constants.step_hours),
        peak_charge=float(constants.peak_charge),
        peak_of=game.peak_of,
        shift_steps=shift_steps(game),
        sessions=_sessions_within(sessions, n_ahead, n_ahead + time == game.horizon, retail[-1]),
        curtailment=bool(np.isfinite(constants.export_limit)),
        **terms,
    )


def _sessions_within(sessions: ChargingSessions, n_steps: int, is_last: bool, retail: float) -> ChargingSessions:
    """Sessions that begin within ``n_steps`` steps; those that go on behind them are over then.

    At the end of the episode a vehicle that has come just then needs energy too.
    """
    begins = sessions.arrival < n_steps + is_last
    names = ("agent", "arrival", "departure", "energy", "power", "penalty")
    agent, arrival, departure, energy, power, penalty = (getattr(sessions, name)[begins] for name in names)
    goes_on = departure > n_steps
    # Nothing can be charged where arrival and departure are one.
    last = np.where(arrival == n_steps, n_steps - 1, np.minimum(departure, n_steps))
    first = np.minimum(arrival, n_steps - 1)
    return ChargingSessions(agent, first, last, energy, power, np.where(goes_on, retail, penalty))


def paid_peak(game: EnergyMarket, signal: Array, member_peaks: Array, time: int, n_ahead: int) -> Array:
    """Peak of import that each day of the ``n_ahead`` steps from ``time`` on has reached before, in kW.

    The shape is (n days,), or (N, n days) where members pay for peaks of their own, ``member_peaks`` (N,) so far.
    """
    n_steps = game.days.steps
    n_days = (time + n_ahead - 1) // n_steps - time // n_steps + 1
    of_members = game.peak_of == "member"
    reached = np.zeros((game.n_agents, n_days) if of_members else n_days)
    if game.traits.peak and time % n_steps > 0:
        reached[..., 0] = member_peaks if of_members else signal[PEAK] * game.n_agents
    return reached
