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
from mfenvs.energy.weather_scenarios import Scenarios, draw_scenarios
from mfenvs.energy.welfare import PlanningProblem, Pool, plan, plan_scenarios, pool
from mfenvs.engine.engine import Engine
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.actions import box_actions, within
from mfenvs.games.energy.conditions import DAY, StepData
from mfenvs.games.energy.market import EnergyMarket

Array = NDArray[np.float64]


class ModelPredictive:
    """Receding-horizon planner of the whole community: model predictive control [O].

    In every step it plans the rest of the episode by a linear program: batteries from their actual charge on,
    flexible load, and the community's exchange with the grid, with load and generation as they are expected given
    the weather that has been seen. The first step of the plan is carried out; then it plans again. It knows the
    data of the day and all agents' parameters and states, but neither the weather nor the forecast errors to come.
    So it is a ceiling for policies that know no more, lower than the planner with perfect foresight.

    With ``n_scenarios`` = 0 it is certainty-equivalent: it plans for what is expected. Else it draws scenarios of
    weather and errors by the market's own laws, and plans batteries and vehicles such that they do best in all of
    them together, while flexible load and exchange follow the scenario
    (:func:`mfenvs.energy.welfare.plan_scenarios`); of flexible load it takes the scenarios' mean.

    What it wants is bought at the retail tariff and offered at the feed-in tariff, so that the auction fills all
    of its orders, whatever their kind: a plan is carried out as it is. The community's welfare depends on the plan
    alone, since payments within it are transfers.

    It reads the engine (:class:`mfenvs.play.EnginePolicy`), so that :func:`mfenvs.energy.record.record_days` and
    :func:`mfenvs.evaluate` play it as any policy; as an agent's deviation it cannot be played.

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
    n_scenarios:
        Number of scenarios of each plan, >= 0.
    risk_aversion:
        Weight of the Conditional Value-at-Risk of the scenarios' costs, in [0, 1]; the rest is that of their mean.
    tail:
        Tail share of that Conditional Value-at-Risk, in (0, 1].
    seed:
        Random seed of the scenarios, >= 0.

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
        n_scenarios: int = 0,
        risk_aversion: float = 0.0,
        tail: float = 0.05,
        seed: int = 0,
    ) -> None:
        if not isinstance(game, EnergyMarket):
            raise TypeError(f"game must be an EnergyMarket, got {checks.shown(game)}")
        if game.actions != "box":
            raise ValueError(f"game must have continuous actions, actions='box', got actions={game.actions!r}")
        self._game, self._space, self._sessions = game, game.action_space, charging_sessions(game)
        self._tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
        self._value_tolerance = checks.real("value_tolerance", value_tolerance, 0.0, exclude_low=True)
        self._n_scenarios = checks.integer("n_scenarios", n_scenarios, 0)
        if self._n_scenarios and game.traits.peak == "member":
            raise ValueError(
                f"n_scenarios must be 0 where members pay for their own peaks, got {self._n_scenarios}: scenarios"
                " are of the community's sums"
            )
        self._risk_aversion = checks.real("risk_aversion", risk_aversion, 0.0, 1.0)
        self._tail = checks.real("tail", tail, 0.0, 1.0, exclude_low=True)
        self._seed = checks.integer("seed", seed, 0)
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
            self._actions_in_world(
                engine.time, signals[world], states[world], first_day, (*engine.drawing_key, world)
            )
            for world, first_day in enumerate(first_days)
        ]
        assert isinstance(self._space, gymnasium.spaces.Box)
        return within(self._space, np.stack(chosen))

    def _actions_in_world(
        self, time: int, signal: Array, states: NDArray[Any], first_day: int, key: tuple[int, ...]
    ) -> Array:
        """What all agents do, (N, shape of the Box); ``key`` is that of the scenarios."""
        scenarios = self._scenarios(time, signal, first_day, key) if self._n_scenarios else None
        problem = self._problem(time, signal, states, first_day, scenarios)
        pooled = pool(problem, tolerance=self._tolerance, value_tolerance=self._value_tolerance)
        flow, served, vehicles = self._first_step(pooled, scenarios)
        battery = _share(flow, problem.power)
        flexible = _share(served, problem.arrivals[:, : problem.shift_steps + 1].sum(axis=1))
        buy, sell = np.full((2, len(flow)), [[problem.retail[0]], [problem.feed_in[0]]])
        sells = flow < 0
        if self._game.prices == "one":
            sells = problem.generation[:, 0] - problem.load[:, 0] > served + flow
        most = self._game.agents["vehicle_power"] * np.float64(self._game.constants.step_hours)
        vehicle = _share(problem.sessions.of_agents(vehicles, len(flow))[:, 0], most)
        traits = self._game.traits
        return box_actions(traits, battery, np.where(sells, sell, buy), flexible, buy, vehicle, buy)

    def _scenarios(self, time: int, signal: Array, first_day: int, key: tuple[int, ...]) -> Scenarios:
        steps = slice(time, time + self._most_steps)
        data = StepData(*(entry[:, steps] for entry in self._data[first_day]))
        # By another hash than the engine's: the scenarios must not be what is to come.
        seed = np.random.SeedSequence([self._seed, *key]).generate_state(1, np.uint64)[0]
        return draw_scenarios(self._game, data, signal, self._n_scenarios, int(seed))

    def _first_step(self, pooled: Pool, scenarios: Scenarios | None) -> tuple[Array, Array, Array]:
        """Battery flow (N,) and flexible load served (N,) of the first step, and charging of vehicles (S, H)."""
        if scenarios is None:
            found = plan(pooled.problem)
            flow, served, vehicles = found.charge - found.discharge, found.served, found.vehicles
        else:
            shape = len(scenarios.load), *pooled.problem.load.shape
            load, generation = np.zeros((2, *shape))
            load[:, 0, : scenarios.load.shape[1]] = scenarios.load
            generation[:, 0, : scenarios.load.shape[1]] = scenarios.generation
            robust = plan_scenarios(pooled.problem, load, generation, gamma=self._risk_aversion, alpha=self._tail)
            flow, served = robust.charge - robust.discharge, robust.served.mean(axis=0)
            vehicles = robust.vehicles
        return pooled.batteries(flow)[:, 0], pooled.served(served[:, :1])[:, 0], pooled.vehicles(vehicles)

    def _problem(
        self, time: int, signal: Array, states: NDArray[Any], first_day: int, scenarios: Scenarios | None
    ) -> PlanningProblem:
        """The rest of the episode as it is expected."""
        game, data = self._game, self._data[first_day]
        expected = outlook(game, data, signal, time, self._most_steps)
        capacity = game.agents["capacity"].astype(np.float64)
        # Where inelastic load is above the limit, what is not elastic is bought all the same.
        net = (expected.load - expected.generation).sum(axis=0)
        if scenarios is not None:
            net = np.maximum(net, (scenarios.load - scenarios.generation).max(axis=0))
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
