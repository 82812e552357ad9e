"""Approximate equilibrium of the N-player energy market: agents improve planned policies of their own, in turn."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.exploitability import Planner, check_plannable, planned_place
from mfenvs.energy.record import record_days
from mfenvs.games.energy.actions import N_DISCRETE
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.wrappers.symmetrise import rows_of_agents

from .policies import Idle

Array = NDArray[np.float64]


class PlannedPolicies:
    """A deterministic policy for each agent of an energy market with discrete actions.

    An agent's action depends on the time and on its state of charge, of which the nearest that was planned counts.

    Parameters
    ----------
    game:
        Market with discrete actions.
    actions:
        Action of each agent by step and state of charge, from empty to full, shape (n_agents, H, C), C >= 2.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(self, game: EnergyMarket, actions: ArrayLike) -> None:
        _check_market(game)
        given = checks.array("actions", actions)
        n_charges = max(2, given.shape[2]) if given.ndim == 3 else 2
        shape = game.n_agents, game.horizon, n_charges
        table = checks.indices("actions", given, shape, 0, N_DISCRETE - 1)
        self.actions: NDArray[np.int8] = table.astype(np.int8)
        """Action of each agent by step and state of charge, shape (n_agents, H, C)."""
        self.n_agents = game.n_agents
        """Number of agents of the market; rows of observations are told apart by agent."""

    def action_probabilities(
        self, observations: NDArray[np.float32], agents: NDArray[np.int64] | None = None
    ) -> Array:
        """Probabilities of each row's actions, shape (n_rows, 30): 1 for the action that is planned.

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
        who = rows_of_agents(len(rows), self.n_agents, agents)
        time, charge = planned_place(rows, *self.actions.shape[1:])
        laws = np.zeros((len(rows), N_DISCRETE))
        laws[np.arange(len(rows)), self.actions[who, time, charge]] = 1.0
        return laws


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedEquilibrium:
    """Approximate equilibrium of an energy market, and how it was approached."""

    policy: PlannedPolicies
    """The agents' policies, those of the iteration with the smallest mean regret."""
    iteration: int
    """That iteration, counted from 0."""
    regrets: Array
    """Mean regret of an agent in each iteration, EUR a day, shape (n_iterations,): what a reply that is planned
    for it earns more than its policy, both valued against the prices of that iteration.

    It is estimated from the agents that were looked at; with weather it is too high, as such replies know the
    weather of the records. What the policy leaves to gain in play is measured by
    :func:`mfenvs.energy.exploitability.market_exploitability`."""
    prices: Array
    """Local price of each step in each iteration, EUR/kWh, on average over its records, (n_iterations, H)."""


def planned_equilibrium(
    game: EnergyMarket,
    *,
    n_iterations: int = 60,
    n_records: int = 4,
    memory: int = 4,
    n_charges: int = 21,
    share_planned: float = 0.2,
    share_switching: float = 0.1,
    seed: int = 0,
) -> PlannedEquilibrium:
    """Approach an equilibrium of the N-player market in which every agent has a policy of its own [O].

    In each iteration all agents' policies are played in the market, and its prices are recorded. For some of the
    agents a reply is planned with their own parameters against the prices of the last ``memory`` iterations, by
    dynamic programming over time and state of charge (:class:`mfenvs.energy.exploitability.Planner`). Those who
    regret their policy most then switch to their reply, fewer from iteration to iteration. At the beginning
    everyone replies to the prices of a market with idle batteries.

    This is a better-reply dynamic with memory, close to fictitious play, without a guarantee that it converges.
    Only those who regret most switch, and of actions that are worth the same one is drawn for each agent, so that
    agents do not all move together. Without weather (``weather_sd`` = 0) prices of single hours may go on jumping.
    :func:`mfenvs.energy.exploitability.market_exploitability` measures what is left to gain by deviating.

    The solution of :class:`mfenvs.games.energy.binned.BinnedEnergyMarket` is another one: there the mean field is
    in equilibrium, with one policy for all agents of a group. Here agents of the N-player market reply to each
    other with policies that know the agent, the time and the charge.

    Parameters
    ----------
    game:
        Market with discrete actions; agents do not know which day it is if it has several (``n_days`` > 1).
    n_iterations:
        Number of iterations, at least ``memory``.
    n_records:
        Number of days that are recorded in each iteration.
    memory:
        Number of iterations against whose prices replies are planned.
    n_charges:
        Number of states of charge for which batteries are planned, at least 2.
    share_planned:
        Share of the owners of batteries for whom a reply is planned in an iteration, in (0, 1]. The others'
        replies take little time, and are always planned.
    share_switching:
        Share of the agents that may switch, in (0, 1], divided by 1 + (k + 1) / 10 in iteration k, counted from
        0; at least one agent may.
    seed:
        Random seed of the records and of the choice of agents.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the market has more than a battery to plan: electric vehicles, flexible
        load that waits, or orders as metered.
    """
    _check_market(game)
    memory = checks.integer("memory", memory, 1)
    n_iterations = checks.integer("n_iterations", n_iterations, memory)
    n_records = checks.integer("n_records", n_records, 1)
    n_charges = checks.integer("n_charges", n_charges, 2)
    share_planned = checks.real("share_planned", share_planned, math.ulp(0.0), 1.0)
    share_switching = checks.real("share_switching", share_switching, math.ulp(0.0), 1.0)
    seed = checks.integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    has_battery = game.agents["capacity"] > 0

    signals = [record_days(game, Idle(game), n_worlds=n_records, seed=seed).signals]
    planner = Planner(game, signals[0], n_charges)
    everyone = np.arange(game.n_agents)
    actions = np.stack([_widened(_reply(planner, i, rng)[0], n_charges) for i in everyone.tolist()])
    regrets, prices = np.empty(n_iterations), np.empty((n_iterations, game.horizon))
    best, best_iteration = actions, -1
    for k in range(n_iterations):
        # No seed is used twice.
        record = record_days(game, PlannedPolicies(game, actions), n_worlds=n_records, seed=seed + 1 + k)
        prices[k] = record.signals[:, :, PRICE].mean(axis=0)
        signals = [*signals, record.signals][-memory:]
        planner = Planner(game, np.concatenate(signals), n_charges)
        is_planned = ~has_battery | (rng.random(game.n_agents) < share_planned)
        agents = np.flatnonzero(is_planned)
        replies, gains = _replies(planner, actions, agents, has_battery, rng)
        _, own = _replies(Planner(game, record.signals, n_charges), actions, agents, has_battery, rng)
        regrets[k] = _mean_regret(own, agents, has_battery)
        if k >= memory - 1 and (best_iteration < 0 or regrets[k] < regrets[best_iteration]):
            best, best_iteration = actions.copy(), k
        n_switching = max(1, round(share_switching * game.n_agents / (1.0 + (k + 1) / 10)))
        switching = np.argsort(-gains, kind="stable")[:n_switching]
        switching = switching[gains[switching] > LEAST_REGRET]
        actions[agents[switching]] = replies[switching]
    return PlannedEquilibrium(PlannedPolicies(game, best), best_iteration, regrets, prices)


LEAST_REGRET = 1e-3
"""Regret up to which nobody switches, EUR a day: values are computed in single precision."""


def _check_market(game: object) -> None:
    """Raise an error unless policies can be planned in a market with discrete actions."""
    if not isinstance(game, EnergyMarket):
        raise TypeError(f"game must be an EnergyMarket, got {game!r}")
    if game.actions != "discrete":
        raise ValueError(f"game must have discrete actions, got actions={game.actions!r}")
    check_plannable(game)


def _reply(planner: Planner, agent: int, rng: np.random.Generator) -> tuple[NDArray[Any], float]:
    """An agent's reply and its value; of actions that are worth the same, any one is taken."""
    return planner.reply(agent, rng.permutation(N_DISCRETE))


def _widened(choices: NDArray[Any], n_charges: int) -> NDArray[np.int8]:
    """Actions (H, C) for all states of charge, also of who has no battery and so but one."""
    wide: NDArray[np.int8] = np.broadcast_to(choices, (len(choices), n_charges)).astype(np.int8)
    return wide


def _replies(
    planner: Planner,
    actions: NDArray[np.int8],
    agents: NDArray[np.int64],
    has_battery: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int8], Array]:
    """Replies of agents, shape (n, H, C), and how much better they are than what the agents do, EUR, (n,)."""
    n_charges = actions.shape[2]
    replies, gains = np.empty((len(agents), *actions.shape[1:]), np.int8), np.empty(len(agents))
    for k, agent in enumerate(agents.tolist()):
        chosen, value = _reply(planner, agent, rng)
        replies[k] = _widened(chosen, n_charges)
        gains[k] = value - planner.value(agent, actions[agent, :, : n_charges if has_battery[agent] else 1])
    return replies, gains


def _mean_regret(gains: Array, agents: NDArray[np.int64], has_battery: NDArray[np.bool_]) -> float:
    """Mean over all agents: owners of batteries have the mean of those that were looked at, if any were."""
    own = has_battery[agents]
    total = gains[~own].sum()
    if own.any():
        total += gains[own].mean() * has_battery.sum()
    return float(total / len(has_battery))
