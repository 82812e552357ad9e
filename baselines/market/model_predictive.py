"""Model predictive control of the energy market: a planner who knows the data and sees the weather as it comes."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.outcomes.planning import with_settlement
from mfenvs.energy.outlook import (
    charging_sessions,
    data_of_episode,
    outlook,
    paid_peak,
    problem_of,
    sessions_from,
    waiting_load,
)
from mfenvs.energy.welfare import PlanningProblem, plan, pool
from mfenvs.engine.engine import Engine
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.actions import within
from mfenvs.games.energy.conditions import DAY, StepData
from mfenvs.games.energy.market import EnergyMarket

Array = NDArray[np.float64]


class ModelPredictive:
    """Receding-horizon planner of the whole community: certainty-equivalent model predictive control [O].

    In every step it plans the rest of the episode by a linear program: batteries from their actual charge on,
    flexible load, and the community's exchange with the grid, with load and generation as they are expected given
    the weather that has been seen. The first step of the plan is carried out; then it plans again. It knows the
    data of the day and all agents' parameters and states, but neither the weather nor the forecast errors to come.
    So it is a ceiling for policies that know no more, lower than the planner with perfect foresight.

    What it wants is bought at the retail tariff and offered at the feed-in tariff, so that the auction fills all
    of its orders, whatever their kind: a plan is carried out as it is. The community's welfare depends on the plan
    alone, since payments within it are transfers.

    Parameters
    ----------
    game:
        Market with continuous actions.
    tolerance:
        Batteries whose efficiency, wear, power per capacity and charge per capacity are equal up to this are
        planned as one (:func:`mfenvs.energy.welfare.pool`), > 0.
    value_tolerance:
        Worths of flexible load that are equal up to this are planned as one, EUR/kWh, > 0.
    lookahead_hours:
        Length of the plans in hours, > 0, as if the episode ended then: at the end of a plan batteries are brought
        to their charge of the beginning. None plans the rest of the episode.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Bemporad and Morari, Robust model predictive control: a survey, Lecture Notes in Control and Information
    Sciences 245, 1999.
    """

    def __init__(
        self,
        game: EnergyMarket,
        *,
        tolerance: float = 0.01,
        value_tolerance: float = 0.005,
        lookahead_hours: float | None = None,
    ) -> None:
        if not isinstance(game, EnergyMarket):
            raise TypeError(f"game must be an EnergyMarket, got {checks.shown(game)}")
        if game.actions != "box":
            raise ValueError(f"game must have continuous actions, actions='box', got actions={game.actions!r}")
        self._game, self._space, self._sessions = game, game.action_space, charging_sessions(game)
        self._tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
        self._value_tolerance = checks.real("value_tolerance", value_tolerance, 0.0, exclude_low=True)
        self._most_steps = game.horizon
        if lookahead_hours is not None:
            hours = checks.real("lookahead_hours", lookahead_hours, 0.0, exclude_low=True)
            self._most_steps = max(1, round(min(hours / game.days.step_hours, game.horizon)))
        self._data: dict[int, StepData] = {}

    def actions(self, engine: Engine) -> NDArray[np.float32]:
        """The actions of all agents now, shape (n_worlds, n_agents), followed by that of the action space.

        Parameters
        ----------
        engine:
            An engine of the game, within an episode.

        Raises
        ------
        ValueError
            If it is an engine of another game.
        """
        if engine.game is not self._game:
            raise ValueError(f"engine must be one of the planner's game, got one of {checks.shown(engine.game)}")
        signals, states = engine.signal.astype(np.float64), in_double_precision(engine.states)
        first_days = [int(day) - engine.time // self._game.days.steps for day in signals[:, DAY]]
        self._data = {day: self._data.get(day) or data_of_episode(self._game, day) for day in set(first_days)}
        chosen = [
            self._actions_in_world(engine.time, signals[world], states[world], first_day)
            for world, first_day in enumerate(first_days)
        ]
        assert isinstance(self._space, gymnasium.spaces.Box)
        return within(self._space, np.stack(chosen))

    def _actions_in_world(self, time: int, signal: Array, states: NDArray[Any], first_day: int) -> Array:
        problem = self._problem(time, signal, states, first_day)
        pooled = pool(problem, tolerance=self._tolerance, value_tolerance=self._value_tolerance)
        found = pooled.plan(plan(pooled.problem))
        flow, served = found.charge[:, 0] - found.discharge[:, 0], found.served[:, 0]
        battery = _share(flow, problem.power)
        flexible = _share(served, problem.arrivals[:, : problem.shift_steps + 1].sum(axis=1))
        buy, sell = np.full((2, len(flow)), [[problem.retail[0]], [problem.feed_in[0]]])
        if self._game.prices == "one":
            sells = problem.generation[:, 0] - problem.load[:, 0] > served + flow
            return np.stack([battery, flexible, np.where(sells, sell, buy)], axis=1)
        columns = [battery, np.where(flow < 0, sell, buy), flexible, buy]
        if self._game.traits.has_vehicles:
            most = self._game.agents["vehicle_power"] * np.float64(self._game.constants.step_hours)
            columns += [_share(problem.sessions.of_agents(found.vehicles, len(flow))[:, 0], most), buy]
        return np.stack(columns, axis=1)

    def _problem(self, time: int, signal: Array, states: NDArray[Any], first_day: int) -> PlanningProblem:
        """The rest of the episode as it is expected."""
        game, data = self._game, self._data[first_day]
        expected = outlook(game, data, signal, time, self._most_steps)
        capacity = game.agents["capacity"].astype(np.float64)
        # Where inelastic load is above the limit, what is not elastic is bought all the same.
        net = (expected.load - expected.generation).sum(axis=0)
        most_in, most_out = (
            game.n_agents * np.float64(limit)
            for limit in (game.constants.import_limit, game.constants.export_limit)
        )
        return with_settlement(
            problem_of(
                game,
                first_day,
                time,
                expected,
                sessions=sessions_from(self._sessions, time, states["vehicle_need"]),
                soc0=np.clip(states["charge"], 0.0, 1.0) * capacity,
                soc_end=game.initial_charge * capacity,
                co2=np.zeros(len(net)),
                backlog=waiting_load(game, data, states["backlog"], time),
                peak_so_far=paid_peak(game, signal, states["peak"], time, len(net)),
                import_limit=np.maximum(most_in, net),
                export_limit=most_out,
            )
        )


def _share(part: Array, whole: Array) -> Array:
    """``part / whole``, 0 of nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
