"""The rules of a market of N agents, and the accounts and conservation laws of its steps."""

import functools
from typing import Any

import numpy as np

from mfenvs.engine.random import student_t
from mfenvs.game import Rules
from mfenvs.games.energy.actions import allowed, allowed_with_vehicle, within_unit
from mfenvs.games.energy.clearing import clearing_rules
from mfenvs.games.energy.community import settlement_rule
from mfenvs.games.energy.conditions import CLOCK, FEED_IN, RETAIL, expected_amounts, publish, published, step_data
from mfenvs.games.energy.devices import need_at_midnight
from mfenvs.games.energy.observations import observation_rule
from mfenvs.games.energy.prosumer_types import STORAGE
from mfenvs.games.energy.single_precision import ZERO
from mfenvs.games.energy.trading import agent_rules, imbalance_of, metered_amounts, reward_of
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import rule

STATE = np.dtype(
    [
        ("type", np.int32),
        ("charge", np.float32),
        ("error", np.float32),
        ("coming_error", np.float32),
        ("backlog", np.float32),
        ("vehicle_need", np.float32),
        ("peak", np.float32),
    ]
)
"""Local state of an agent.

``type``: index of its type. ``charge``: of its battery, in [0, 1]. ``error``: its relative forecast error in the
step before, which it observes. ``coming_error``: that of the coming step, which is drawn beforehand and which
nobody observes. ``backlog``: flexible load that waits, kWh. ``vehicle_need``: energy that its vehicle needs before
it departs, kWh. ``peak``: its highest import of the day, kW, where members' peaks are charged.
"""

CHARGE_PLACES = 10
"""Others see how full the batteries of storage owners are in so many parts."""


@rule
def start(agent: Any, initial: Any, key: Any) -> Any:
    """Batteries begin partly charged, and nobody with a forecast error."""
    charge = initial[0] if agent.capacity > 0 else np.float32(0.0)
    coming = agent.error_scale * student_t(key, 0, agent.degrees_of_freedom)
    return agent.type, charge, np.float32(0.0), coming, np.float32(0.0), need_at_midnight(agent), np.float32(0.0)


@rule
def place(state: Any) -> Any:
    """Others see an agent's type and, of storage owners, how full the battery is, in tenths."""
    if state.type < STORAGE:
        return int(state.type)
    if state.type > STORAGE:
        return int(state.type) + CHARGE_PLACES - 1
    return STORAGE + min(int(within_unit(state.charge) * CHARGE_PLACES), CHARGE_PLACES - 1)


@rule
def no_member_peak(state: Any, imported: Any, world: Any) -> Any:
    """Stands for :func:`member_peak` where members' peaks are not charged: no peak, and no charge."""
    return ZERO, ZERO


@rule
def member_peak(state: Any, imported: Any, world: Any) -> Any:
    """A member's highest import of the day, kW, and the charge on its rise, EUR."""
    constants = world.constants
    before = state.peak if world.signal[CLOCK] > 0 else state.peak * ZERO
    after = max(before, imported / constants.step_hours)
    return after, constants.peak_charge * (after - before)


@functools.cache
def market_rules(traits: Traits) -> Rules:
    """The rules of a market of one kind."""
    own = agent_rules(traits)
    offer, bargain, add_imbalance, realise = own.offer, own.bargain, own.add_imbalance, own.realise
    clear, settle = clearing_rules(traits.orders).clear, settlement_rule(traits)
    counts_imbalance = traits.counts_imbalance
    peak_of = member_peak if traits.peak == "member" else no_member_peak

    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        conditions = published(world.signal)
        offer(counts, mass, state, action, agent, world, conditions)
        if counts_imbalance:
            data = step_data(agent, conditions.day, int(conditions.clock), world.constants)
            forecast = expected_amounts(data, conditions, world.constants)
            metered = metered_amounts(data, conditions, state.coming_error)
            short, surplus = imbalance_of(forecast, metered)
            add_imbalance(counts, mass, short, surplus, world)

    @rule
    def aggregate(world: Any, signal: Any) -> None:
        clear(world.counts, world.per_agent, signal[FEED_IN], signal[RETAIL], world.constants.book, signal)
        settle(world, signal)

    @rule
    def outcome(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """All that happens to an agent in a step: bargain, realisation, its peak and what that costs, reward."""
        conditions = published(world.signal)
        got = bargain(state, action, agent, world, conditions)
        actual = realise(got.data, state.coming_error, world, conditions)
        bought, sold = got.done.bought + actual.short + actual.local_short, got.done.sold + got.done.exported
        imported = bought - sold - actual.surplus - actual.local_surplus
        peak, charge = peak_of(state, imported, world)
        reward = reward_of(got, actual.payment + actual.fee + actual.peak + charge)
        return got, actual, peak, charge, reward

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        got, _, peak, _, reward = outcome(state, action, agent, world)
        charge = got.stored / agent.capacity if agent.capacity > 0 else got.stored
        coming = agent.error_scale * student_t(key, 0, agent.degrees_of_freedom)
        after = (
            agent.type,
            np.float32(charge),
            np.float32(state.coming_error),
            np.float32(coming),
            np.float32(got.backlog),
            np.float32(got.vehicle_need),
            np.float32(peak),
        )
        return after, reward

    @rule
    def account(out: Any, state: Any, action: Any, agent: Any, world: Any, key: Any) -> None:
        got, actual, _, charge, reward = outcome(state, action, agent, world)
        done = got.done
        out[0], out[1], out[2] = actual.load, done.flexible, actual.generation
        out[3], out[4] = done.draw, done.deliver
        out[5], out[6] = done.bought - got.local_bought + actual.short, got.exported + actual.surplus
        out[7], out[8] = got.local_bought + actual.local_short, got.local_sold + actual.local_surplus
        out[9], out[10], out[11] = got.trade, actual.payment, got.fee + actual.fee
        out[12], out[13], out[14], out[15] = got.utility, got.wear, got.terminal, reward
        out[16], out[17] = done.curtailed, done.vehicle
        out[18], out[19] = got.peak + actual.peak + charge, got.vehicle_penalty

    masks = allowed_with_vehicle if traits.has_vehicles else allowed
    return Rules(
        start=start,
        step=step,
        observe=observation_rule(traits),
        count=count,
        aggregate=aggregate,
        publish=publish,
        place=place,
        allowed=masks if traits.actions == "discrete" else None,
        account=account,
    )
