"""Policies for the energy market that are not learned in it: rules of thumb, and policies of its binned game."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.games.energy.actions import BATTERY_LEVELS, FLEXIBLE_LEVELS, PRICE_LEVELS, within
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.observations import (
    CAPACITY_SCALE,
    CAPACITY_SEEN,
    CHARGE_SEEN,
    ELAPSED_SEEN,
    EUR_SCALE,
    FEED_IN_SEEN,
    NET_SCALE,
    NET_SEEN,
    RETAIL_SEEN,
    VALUE_SEEN,
)
from mfenvs.games.squashing import unsquashed
from mfenvs.wrappers.symmetrise import rows_of_agents

Array = NDArray[np.float64]


class Idle:
    """Batteries idle; flexible load bids what it is worth, surplus is offered at the feed-in tariff [O].

    Shows what trade alone is worth: the baseline W_0 of the efficiency has neither batteries nor trade.

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
        self._space = game.action_space
        self._is_discrete = isinstance(self._space, gymnasium.spaces.Discrete)
        self._power_per_capacity = game.law.c_rate * game.days.step_hours
        self._efficiency = game.efficiency

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], None]:
        """Every row's action and None, as in SB3: shape (n_rows,) of Discrete or (n_rows, 3) of Box actions.

        Parameters
        ----------
        observation:
            Observations of the market's agents, shape (n_rows, n_features or more).
        state, episode_start, deterministic:
            Not used.
        """
        rows = np.atleast_2d(np.asarray(observation))
        net = unsquashed(rows[:, NET_SEEN + 1], NET_SCALE)
        feed_in, retail = (unsquashed(rows[:, k], EUR_SCALE) for k in (FEED_IN_SEEN, RETAIL_SEEN))
        # A buyer bids what flexible load is worth to it; for a seller any price above the grid's is a gain.
        level = np.minimum(2.0 * rows[:, VALUE_SEEN].astype(np.float64), 1.0)
        level[net < 0.0] = 0.0
        battery = self._use_battery(rows, net, level)
        if isinstance(self._space, gymnasium.spaces.Box):
            price = feed_in + level * (retail - feed_in)
            return within(self._space, np.stack([battery, np.ones(len(rows)), price], axis=1)), None
        # The step below what it is worth: a bid above would buy at a loss.
        price_step = np.floor(level * (PRICE_LEVELS - 1) + 1e-6).astype(np.int64)
        battery_step = np.rint(battery).astype(np.int64) + BATTERY_LEVELS // 2
        return (battery_step * FLEXIBLE_LEVELS + FLEXIBLE_LEVELS - 1) * PRICE_LEVELS + price_step, None

    def _use_battery(self, rows: NDArray[np.float32], net: Array, level: Array) -> Array:
        """What the batteries do, in [-1, 1]; ``level`` of the limit prices may be adapted in place."""
        return np.zeros(len(rows))


class SelfConsumption(Idle):
    """Greedy self-consumption: batteries store their owner's surplus and cover its demand [O].

    Flexible load and limit prices are those of :class:`Idle`. The usual rule of home batteries. Discrete actions
    know full power only. With them a battery charges if the surplus is at least half of its power; charging is bid
    at the feed-in tariff and discharging offered at the retail tariff, so that what goes beyond the own surplus or
    demand is hardly ever traded.
    """

    def _use_battery(self, rows: NDArray[np.float32], net: Array, level: Array) -> Array:
        seen = rows[:, CAPACITY_SEEN].astype(np.float64)
        capacity = CAPACITY_SCALE * seen / (1.0 - seen)
        power = capacity * self._power_per_capacity
        has_battery = capacity > 1e-3
        wanted: Array = np.zeros(len(rows))
        # To cover a demand is to discharge, which is negative.
        np.divide(-net, power, out=wanted, where=has_battery)
        wanted = np.clip(wanted, -1.0, 1.0)
        if not self._is_discrete:
            return wanted
        stored = np.minimum(power, rows[:, CHARGE_SEEN] * capacity * self._efficiency)
        level[has_battery & (net > 0.0) & (stored > net)] = 1.0
        return np.where(wanted >= 0.5, 1.0, np.where(has_battery & (net > 0.0), -1.0, 0.0))


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

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or an agent of the market belongs to a group that ``binned`` lacks.
    """

    def __init__(
        self, binned: BinnedEnergyMarket, policy: ArrayLike | Any, market: EnergyMarket | None = None
    ) -> None:
        if not isinstance(binned, BinnedEnergyMarket):
            raise TypeError(f"binned must be a BinnedEnergyMarket, got {binned!r}")
        market = binned.market if market is None else market
        if not isinstance(market, EnergyMarket):
            raise TypeError(f"market must be an EnergyMarket, got {market!r}")
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
        horizon = len(self._table)
        time = np.clip(np.rint(rows[:, ELAPSED_SEEN] * horizon).astype(np.int64), 0, horizon - 1)
        last = self._n_bins[group] - 1
        position = np.clip(rows[:, CHARGE_SEEN].astype(np.float64), 0.0, 1.0) * last
        lower = np.minimum(position.astype(np.int64), np.maximum(last - 1, 0))
        upper = np.minimum(lower + 1, last)
        above = (position - lower)[:, None]
        first = self._first[group]
        laws: Array = (1.0 - above) * self._table[time, first + lower] + above * self._table[time, first + upper]
        return laws
