"""Policies for the energy market that are not learned in it: rules of thumb, and policies of its binned game."""

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.games.energy.actions import (
    BATTERY_LEVELS,
    FLEXIBLE_LEVELS,
    PRICE_LEVELS,
    VEHICLE_LEVELS,
    box_actions,
    within,
)
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.observations import (
    CAPACITY_SCALE,
    CAPACITY_SEEN,
    CHARGE_SEEN,
    COSINE_SEEN,
    EUR_SCALE,
    FEED_IN_SEEN,
    NET_SCALE,
    NET_SEEN,
    RETAIL_SEEN,
    SHARE_SEEN,
    SINE_SEEN,
    STEPS_AHEAD,
    VALUE_SEEN,
    step_of_episode,
    vehicle_seen,
)
from mfenvs.games.energy.tables import community_net
from mfenvs.games.squashing import unsquashed
from mfenvs.wrappers.symmetrise import rows_of_agents

Array = NDArray[np.float64]

LEAST_CAPACITY = 1e-3
"""A battery of which less is seen is none: observations are in single precision, kWh."""


class Situation(NamedTuple):
    """What rules of thumb read from observations, each of shape (n_rows,); energies are kWh of a step."""

    step: NDArray[np.int64]
    """Step of the day."""
    net: Array
    """Net demand that is expected, flexible load included; negative for a surplus."""
    surplus_ahead: Array
    """Surplus expected in the forecast steps after the coming one, as far as the battery can take it up."""
    feed_in: Array
    """Feed-in tariff, EUR/kWh."""
    retail: Array
    """Retail tariff, EUR/kWh."""
    worth: Array
    """Value of flexible load, as a level between the tariffs, at most 1."""
    capacity: Array
    """Battery capacity; 0 without a battery."""
    power: Array
    """Most that the battery draws or delivers in a step."""
    stored: Array
    """What the battery can deliver until it is empty."""
    vehicle_need: Array
    """Energy that the vehicle needs before it departs; 0 without a vehicle, or while it is away."""
    vehicle_power: Array
    """Most that the vehicle draws in a step."""
    vehicle_steps: Array
    """Number of steps until the vehicle departs."""


class BatteryUse(NamedTuple):
    """What a rule of thumb does with batteries in a step, each of shape (n_rows,)."""

    charge: Array
    """Own surplus to be stored, kWh."""
    cover: Array
    """Own demand to be covered, kWh."""
    sell: Array
    """To be delivered beyond that, kWh."""
    limit: Array
    """Limit price of what is to be sold, as a level between the tariffs in [0, 1]."""


class Idle:
    """Batteries idle; flexible load bids what it is worth, surplus is offered at the feed-in tariff [O].

    Shows what trade alone is worth: the baseline W_0 of the efficiency has neither batteries nor trade. Vehicles
    charge at full power as soon as they can, at any price.

    Parameters
    ----------
    game:
        Market with either kind of actions.

    Raises
    ------
    TypeError
        If it is another game.
    """

    def __init__(self, game: EnergyMarket) -> None:
        if not isinstance(game, EnergyMarket):
            raise TypeError(f"game must be an EnergyMarket, got {game!r}")
        self._space, self._traits = game.action_space, game.traits
        self._step_hours, self._steps = game.days.step_hours, game.days.steps
        self._forecast_steps = 1 if game.observations == "short" else int(game.constants.forecast_stride)
        # Members do not observe the power and the efficiency of their battery: those of all batteries together.
        size, power, efficiency = (
            game.agents[name].astype(np.float64) for name in ("capacity", "power", "efficiency")
        )
        capacity = size.sum()
        self._power_per_capacity = power.sum() / capacity if capacity > 0.0 else 0.0
        self._efficiency = float(efficiency @ size / capacity) if capacity > 0.0 else game.efficiency

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], None]:
        """Every row's action and None, as in SB3: shape (n_rows,) of Discrete actions, else that of the Box.

        Parameters
        ----------
        observation:
            Observations of the market's agents, shape (n_rows, n_features or more).
        state, episode_start, deterministic:
            Not used.
        """
        seen = self._read(np.atleast_2d(np.asarray(observation)))
        use, vehicle = self._use_battery(seen), self._charge_vehicle(seen)
        if isinstance(self._space, gymnasium.spaces.Box):
            return within(self._space, self._continuous(seen, use, vehicle)), None
        return self._nearest(seen, use, vehicle), None

    def _continuous(self, seen: Situation, use: BatteryUse, vehicle: Array) -> Array:
        """The action of each row in a Box."""
        wanted = use.charge - use.cover - use.sell
        battery = np.divide(wanted, seen.power, out=np.zeros(len(wanted)), where=seen.power > 0.0)
        everything = np.ones(len(wanted))

        def price(level: Array) -> Array:
            return seen.feed_in + level * (seen.retail - seen.feed_in)

        # A buyer bids what flexible load is worth to it; for a seller any price above the grid's is a gain.
        if self._traits.prices == "one":
            otherwise = np.where(seen.net < 0.0, 0.0, seen.worth)
        else:
            # Nothing is to be bought for the battery, nor sold of what is for its owner.
            otherwise = np.where(use.cover > 0.0, 1.0, 0.0)
        battery_price = price(np.where(use.sell > 0.0, use.limit, otherwise))
        return box_actions(
            self._traits, battery, battery_price, everything, price(seen.worth), vehicle, seen.retail
        )

    def _nearest(self, seen: Situation, use: BatteryUse, vehicle: Array) -> NDArray[np.int64]:
        """The discrete action of each row: batteries know full power only, and all has one limit price.

        A battery charges if that is at least half of its power, and discharges if it is to cover at least half of
        what its owner needs or to deliver half of its power. What is left of the own demand is offered at the
        limit price if half of the power is to be delivered, else at the retail tariff, where it is hardly ever
        sold; and charging is bid at the feed-in tariff, so that nothing is bought for it.
        """
        most = np.minimum(seen.power, seen.stored)
        charges = (seen.power > 0.0) & (use.charge >= seen.power / 2)
        covers = (use.cover > 0.0) & (use.cover >= np.minimum(seen.net, most) / 2)
        sells = (use.sell > 0.0) & (use.cover + use.sell >= seen.power / 2)
        level = np.where(seen.net < 0.0, 0.0, np.where(vehicle > 0.0, 1.0, seen.worth))
        level = np.where(covers & (most > seen.net), 1.0, level)
        level = np.where(sells, use.limit, level)
        # The step below: a bid above what it is worth would buy at a loss, and an offer above often sells nothing.
        price_step = np.floor(level * (PRICE_LEVELS - 1) + 1e-6).astype(np.int64)
        battery_step = BATTERY_LEVELS // 2 + charges.astype(np.int64) - (covers | sells)
        action = battery_step * FLEXIBLE_LEVELS + FLEXIBLE_LEVELS - 1
        if self._traits.has_vehicles:
            action = action * VEHICLE_LEVELS + (vehicle > 0.0)
        return action * PRICE_LEVELS + price_step

    def _read(self, rows: NDArray[np.float32]) -> Situation:
        feed_in, retail = (unsquashed(rows[:, k], EUR_SCALE) for k in (FEED_IN_SEEN, RETAIL_SEEN))
        sine, cosine = (2.0 * rows[:, k].astype(np.float64) - 1.0 for k in (SINE_SEEN, COSINE_SEEN))
        share_of_day = np.arctan2(sine, cosine) / (2.0 * math.pi)
        seen = rows[:, CAPACITY_SEEN].astype(np.float64)
        capacity = CAPACITY_SCALE * seen / (1.0 - seen)
        capacity[capacity < LEAST_CAPACITY] = 0.0
        power = capacity * self._power_per_capacity * self._step_hours
        net = unsquashed(rows[:, NET_SEEN + 1 : NET_SEEN + 3 * STEPS_AHEAD : 3], NET_SCALE)
        takes_up = self._forecast_steps * power[:, None]
        return Situation(
            step=np.rint(share_of_day * self._steps).astype(np.int64) % self._steps,
            net=net[:, 0] / self._forecast_steps,
            surplus_ahead=np.clip(-net[:, 1:], 0.0, takes_up).sum(axis=1),
            feed_in=feed_in,
            retail=retail,
            worth=np.minimum(2.0 * rows[:, VALUE_SEEN].astype(np.float64), 1.0),
            capacity=capacity,
            power=power,
            stored=rows[:, CHARGE_SEEN] * capacity * self._efficiency,
            **self._read_vehicle(rows),
        )

    def _read_vehicle(self, rows: NDArray[np.float32]) -> dict[str, Array]:
        """The entries of a :class:`Situation` that are about vehicles."""
        need, power, share = np.zeros((3, len(rows)))
        if self._traits.has_vehicles and self._traits.observations == "short":
            need = np.ones(len(rows))  # It is not seen, so it is to be charged whenever it can.
        elif self._traits.has_vehicles:
            need, power, share = rows[:, vehicle_seen(self._traits) :][:, :3].T.astype(np.float64)
            need, power = CAPACITY_SCALE * need / (1.0 - need), CAPACITY_SCALE * power / (1.0 - power)
        return {
            "vehicle_need": need,
            "vehicle_power": power * self._step_hours,
            "vehicle_steps": share * self._steps,
        }

    def _use_battery(self, seen: Situation) -> BatteryUse:
        """What batteries do."""
        return BatteryUse(*np.zeros((4, len(seen.net))))

    def _charge_vehicle(self, seen: Situation) -> Array:
        """Charging power of vehicles, as a share of their largest."""
        return (seen.vehicle_need > 0.0).astype(np.float64)


class SelfConsumption(Idle):
    """Greedy self-consumption: batteries store their owner's surplus and cover its demand [O].

    Flexible load and limit prices are those of :class:`Idle`. The usual rule of home batteries. Discrete actions
    know full power only. With them a battery charges if the surplus is at least half of its power; charging is bid
    at the feed-in tariff and discharging offered at the retail tariff, so that what goes beyond the own surplus or
    demand is hardly ever traded.
    """

    def _use_battery(self, seen: Situation) -> BatteryUse:
        none = np.zeros(len(seen.net))
        charge, cover = own_use(seen)
        return BatteryUse(charge, cover, none, none)


class EveningRule(Idle):
    """Store the own surplus by day, and use and sell it in the evening, when energy is dear [O].

    The evening are the hours with the highest retail tariff on average over the market's days; among equal ones
    (all, with a flat tariff) those with the community's highest net demand. Then:

    - Own surplus is stored, in any hour but these.
    - In the evening a battery covers its owner's demand and sells as much as lasts for all of these hours, at a
      limit price of what it costs to replace: the retail tariff of the episode's last step, for which charge that
      is missing then is bought, over the efficiency of a cycle, plus the wear. Where the tariff of the evening is
      below that, as a flat tariff is, it uses only what it has beyond its first charge, at any price.
    - Before, it covers its owner's demand only as far as the surplus that it forecasts will fill it again.
    - Afterwards it covers its owner's demand with what it has beyond its first charge.
    - Vehicles do not charge in the evening, unless what they need could not be charged after it.

    Flexible load and other limit prices are those of :class:`Idle`. Discrete actions know full power only: a
    battery that would charge or sell less than half of it rests.

    Parameters
    ----------
    game:
        Market with either kind of actions.
    hours:
        Length of the evening, in hours; at least one step, and less than the market's day.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(self, game: EnergyMarket, hours: float = 4.0) -> None:
        super().__init__(game)
        steps = min(game.horizon, self._steps)
        longest = (steps - 1) * self._step_hours
        n_evening = max(1, round(checks.real("hours", hours, self._step_hours, longest) / self._step_hours))
        retail = game.constants.retail.astype(np.float64).mean(axis=0)
        # Single precision leaves traces in the means of equal tariffs.
        series, agents = game.days, game.agents.view(np.ndarray)
        net = community_net(agents, series.load, series.pv, series.wind).mean(axis=0)
        ranked = np.lexsort((-net[:steps], -np.round(retail[:steps], 6)))
        self.evening: NDArray[np.bool_] = np.isin(np.arange(self._steps), ranked[:n_evening])
        """Whether each step of the day belongs to the evening, shape (steps,)."""
        self._evening_left = np.cumsum(self.evening[::-1])[::-1]
        last = retail[(game.horizon - 1) % self._steps]
        self._replacement = last / self._efficiency**2 + game.degradation
        self._first_charge = game.initial_charge

    def _use_battery(self, seen: Situation) -> BatteryUse:
        is_evening, n_left = self.evening[seen.step], self._evening_left[seen.step]
        is_later = ~is_evening & (n_left == 0)
        is_dear = seen.retail > self._replacement
        beyond_first = np.maximum(seen.stored - self._first_charge * seen.capacity * self._efficiency, 0.0)
        refilled = seen.surplus_ahead * self._efficiency**2
        free = np.where(is_evening & is_dear, seen.stored, beyond_first)
        free = np.where(is_evening | is_later, free, np.minimum(seen.stored, refilled))
        charge, cover = own_use(seen)
        cover = np.minimum(cover, free)
        pace = np.minimum(free / np.maximum(n_left, 1), seen.power)
        sell = np.where(is_evening, np.maximum(pace - cover, 0.0), 0.0)
        level = (self._replacement - seen.feed_in) / (seen.retail - seen.feed_in)
        limit = np.where(is_dear, np.clip(level, 0.0, 1.0), 0.0)
        return BatteryUse(np.where(is_evening, 0.0, charge), cover, sell, limit)

    def _charge_vehicle(self, seen: Situation) -> Array:
        n_left = np.where(self.evening[seen.step], self._evening_left[seen.step], 0)
        n_after = np.ceil(seen.vehicle_steps - 1e-3) - n_left  # Vehicles depart at the end of a step.
        can_wait = seen.vehicle_need <= seen.vehicle_power * n_after
        return np.where((n_left > 0) & can_wait, 0.0, super()._charge_vehicle(seen))


def own_use(seen: Situation) -> tuple[Array, Array]:
    """What self-consumption charges, of the own surplus, and delivers, of the own demand, kWh: (n_rows,) each."""
    charge = np.clip(-seen.net, 0.0, seen.power)
    return charge, np.clip(seen.net, 0.0, np.minimum(seen.power, seen.stored))


class BinnedPolicy:
    """A policy of :class:`BinnedEnergyMarket`, played in the energy market with discrete actions.

    Agents act as the group to which they would belong. Between two bins of charge they follow the law of either,
    with the probability with which the binned game would put them there [O].

    Parameters
    ----------
    binned:
        Game of the policy.
    policy:
        Table of the policy, shape (H, S, 30), or an object with such a table as its attribute ``probabilities``.
    market:
        Market in which it is played; by default the one of which ``binned`` is the image. It may have other
        agents, days and weather, but not other hours.
    truthful:
        Whether an agent whose battery rests bids as :class:`Idle` does: all of its flexible load at what that is
        worth to itself, its surplus at the feed-in tariff. Otherwise it bids what is best for its group's
        representative, whose flexible load is worth more or less, and which may be long where the agent is short
        [O]: in version 0 of the market agents then gain about twice as much by deviating.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or an agent of the market belongs to a group that ``binned`` lacks.
    """

    def __init__(
        self,
        binned: BinnedEnergyMarket,
        policy: ArrayLike | Any,
        market: EnergyMarket | None = None,
        *,
        truthful: bool = True,
    ) -> None:
        if not isinstance(binned, BinnedEnergyMarket):
            raise TypeError(f"binned must be a BinnedEnergyMarket, got {binned!r}")
        market = binned.market if market is None else market
        if not isinstance(market, EnergyMarket):
            raise TypeError(f"market must be an EnergyMarket, got {market!r}")
        if market.ev_share > 0.0:
            raise ValueError(f"market must have no electric vehicles, got ev_share={market.ev_share!r}")
        if market.actions != "discrete" or (market.horizon, market.step_minutes) != (binned.horizon, 60):
            raise ValueError(
                f"market must have discrete actions and {binned.horizon} steps of an hour, got actions"
                f" {market.actions!r} and {market.horizon} steps of {market.step_minutes} minutes"
            )
        shape = binned.policy_shape
        table = checks.policy_table("policy", policy, shape, 1)
        self._table = table.reshape(shape)
        self._group = binned.groups_of(market)
        self._first, self._n_bins = binned.first_states, binned.bins
        self._idle = Idle(market) if checks.boolean("truthful", truthful) else None
        self.n_agents = market.n_agents
        """Number of agents of the market; rows of observations are told apart by agent."""

    def action_probabilities(
        self, observations: NDArray[np.float32], agents: NDArray[np.int64] | None = None
    ) -> Array:
        """Probabilities of each row's actions, shape (n_rows, 30).

        Parameters
        ----------
        observations:
            Observations of the market's agents, shape (n_rows, n_features or more).
        agents:
            Index of each row's agent; by default rows are whole worlds, in the agents' order.

        Raises
        ------
        ValueError
            If the rows are not whole worlds and ``agents`` is not given.
        """
        rows = np.asarray(observations)
        group = self._group[rows_of_agents(len(rows), self.n_agents, agents)]
        time = step_of_episode(rows, len(self._table))
        last = self._n_bins[group] - 1
        position = np.clip(rows[:, CHARGE_SEEN].astype(np.float64), 0.0, 1.0) * last
        lower = np.minimum(position.astype(np.int64), np.maximum(last - 1, 0))
        upper = np.minimum(lower + 1, last)
        above = (position - lower)[:, None]
        first = self._first[group]
        laws: Array = (1.0 - above) * self._table[time, first + lower] + above * self._table[time, first + upper]
        return laws if self._idle is None else self._told_truly(laws, rows, self._idle)

    def _told_truly(self, laws: Array, rows: NDArray[np.float32], idle: Idle) -> Array:
        """The laws of actions, but what a resting battery's owner bids is the truth."""
        rests = slice(RESTS, RESTS + FLEXIBLE_LEVELS * PRICE_LEVELS)
        truth, _ = idle.predict(rows)
        without = rows[:, SHARE_SEEN] <= 0.0
        truth[without] -= PRICE_LEVELS  # Who has no flexible load must not ask for it.
        told = laws.copy()
        told[:, rests] = 0.0
        told[np.arange(len(rows)), truth] = laws[:, rests].sum(axis=1)
        return told


RESTS = BATTERY_LEVELS // 2 * FLEXIBLE_LEVELS * PRICE_LEVELS
"""The first of the discrete actions with which a battery rests."""
