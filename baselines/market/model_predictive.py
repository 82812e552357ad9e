"""Model predictive control of the energy market: a planner who knows the data and sees the weather as it comes."""

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.outcomes.planning import with_settlement
from mfenvs.energy.outlook import data_of_day, expected_factors, problem_of
from mfenvs.energy.welfare import PlanningProblem, plan, pool
from mfenvs.engine.engine import Engine
from mfenvs.games.energy.actions import within
from mfenvs.games.energy.conditions import DAY, StepData, published
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.rules import plain

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

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Bemporad and Morari, Robust model predictive control: a survey, Lecture Notes in Control and Information
    Sciences 245, 1999.
    """

    def __init__(self, game: EnergyMarket, *, tolerance: float = 0.01, value_tolerance: float = 0.005) -> None:
        if not isinstance(game, EnergyMarket):
            raise TypeError(f"game must be an EnergyMarket, got {checks.shown(game)}")
        if game.actions != "box":
            raise ValueError(f"game must have continuous actions, actions='box', got actions={game.actions!r}")
        self._game, self._space = game, game.action_space
        self._tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
        self._value_tolerance = checks.real("value_tolerance", value_tolerance, 0.0, exclude_low=True)
        self._days: dict[int, StepData] = {}

    def actions(self, engine: Engine) -> NDArray[np.float32]:
        """The actions of all agents now, shape (n_worlds, n_agents, 3).

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
        signal, charge = engine.signal.astype(np.float64), engine.states["charge"].astype(np.float64)
        days = [int(day) for day in signal[:, DAY]]
        self._days = {day: self._days.get(day) or data_of_day(self._game, day) for day in set(days)}
        chosen = [
            self._actions_in_world(engine.time, signal[world], charge[world], self._days[day])
            for world, day in enumerate(days)
        ]
        assert isinstance(self._space, gymnasium.spaces.Box)
        return within(self._space, np.stack(chosen))

    def _actions_in_world(self, time: int, signal: Array, charge: Array, data: StepData) -> Array:
        problem = self._problem(time, signal, charge, data)
        pooled = pool(problem, tolerance=self._tolerance, value_tolerance=self._value_tolerance)
        found = plan(pooled.problem)
        flow = pooled.batteries(found.charge[:, :1] - found.discharge[:, :1])[:, 0]
        served = pooled.served(found.served[:, :1])[:, 0]
        battery = np.divide(flow, problem.power, out=np.zeros_like(flow), where=problem.power > 0)
        flexible = problem.flexible[:, 0]
        fraction = np.divide(served, flexible, out=np.zeros_like(served), where=flexible > 0)
        sells = problem.generation[:, 0] - problem.load[:, 0] > served + flow
        price = np.where(sells, problem.feed_in[0], problem.retail[0])
        return np.stack([battery, fraction, price], axis=1)

    def _problem(self, time: int, signal: Array, charge: Array, data: StepData) -> PlanningProblem:
        """The rest of the episode as it is expected."""
        game, conditions = self._game, plain(published)(signal)
        steps = slice(time, game.horizon)
        factor = expected_factors(game, conditions, game.horizon - time)
        tariffs = game.constants.retail, game.constants.feed_in
        retail, feed_in = (tariff[int(conditions.day), steps].astype(np.float64) for tariff in tariffs)
        capacity = game.agents["capacity"].astype(np.float64)
        return with_settlement(
            problem_of(
                game,
                load=factor * data.inelastic[:, steps],
                generation=factor * data.generation[:, steps],
                flexible=factor * data.flexible[:, steps],
                soc0=charge * capacity,
                soc_end=game.initial_charge * capacity,
                retail=retail,
                feed_in=feed_in,
                co2=np.zeros(len(retail)),
            )
        )
