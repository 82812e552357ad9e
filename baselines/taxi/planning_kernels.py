"""Compiled parts of the dynamic programme of a single taxi (:mod:`baselines.taxi.planning`).

A state of a part of the city is a pair (row, set). The row l * (m + 1) + t stands for the l-th of the part's m
places and the passenger's target t, m for no passenger; the set holds the tracked places with a customer, a bit
each. What a taxi does depends on the customer of its own place only.
"""

from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.compile import kernel
from mfenvs.games.taxi.taxi import NO_BIT, NOBODY, ONE_BIT, WAIT, jam_probability, serve
from mfenvs.rules import World

N_ACTIONS = WAIT + 1


class TaxiState(NamedTuple):
    """The state of a taxi, as the game's rules read it."""

    cell: Any
    target: Any
    customers: Any


@kernel
def tabulate_jams(out: Any, crowds: Any, constants: Any, n_agents: Any) -> None:
    """Write the jam probabilities (n, n_places) in places in which all taxis together weigh ``crowds``."""
    for row in range(len(crowds)):
        counts = crowds[row]
        world = World(counts, counts, constants, row, -1, 0.0, 1.0 / (n_agents - 1), 1.0 / n_agents)
        for place in range(len(counts)):
            out[row, place] = jam_probability(world, place)


@kernel
def tabulate_outcomes(
    first: Any,
    next_row: Any,
    next_customer: Any,
    probability: Any,
    reward: Any,
    places: Any,
    index: Any,
    agents: Any,
    i: Any,
    constants: Any,
) -> Any:
    """List what the actions of agent i lead to in a part of the city; return the number of outcomes.

    The outcomes of row, customer in the own place (0 or 1), action and jam (0 or 1) are those from ``first[k]`` to
    ``first[k + 1]``, where k is the flat index of these four in an array (n_rows, 2, n_actions, 2). ``places``
    (m,) are the part's places, ``index`` (n_places,) is the inverse. The other arrays have room for an outcome for
    every such k and every destination of a passenger.
    """
    m, found, pair = len(places), 0, 0
    agent, city = agents[i], constants.city
    for row in range(m * (m + 1)):
        cell = np.uint8(places[row // (m + 1)])
        wanted = row % (m + 1)
        target = NOBODY if wanted == m else np.uint8(places[wanted])
        n_draws = city.n_targets[city.zone[cell]]
        for customer in range(2):
            state = TaxiState(cell, target, (ONE_BIT << np.uint64(cell)) if customer else NO_BIT)
            for action in range(N_ACTIONS):
                for jam in range(2):
                    begin, depends_on_draw = found, False
                    first[pair] = begin
                    for k in range(n_draws):
                        draw = (k + 0.5) / n_draws
                        (to, wants, left), earned = serve(state, action, agent, constants, jam == 1, draw)
                        next_row[found] = index[to] * (m + 1) + (m if wants == NOBODY else index[wants])
                        next_customer[found] = (left >> np.uint64(cell)) & ONE_BIT
                        reward[found] = earned
                        probability[found] = 1.0 / n_draws
                        depends_on_draw |= next_row[found] != next_row[begin]
                        found += 1
                    if not depends_on_draw:
                        found = begin + 1
                        probability[begin] = 1.0
                    pair += 1
    first[pair] = found
    return found


@kernel
def tabulate_departures(next_place: Any, starts: Any, agents: Any, i: Any, constants: Any) -> None:
    """Write the places (n_starts, n_actions, 2) to which actions lead from the starts, unjammed and jammed."""
    for s in range(len(starts)):
        state = TaxiState(np.uint8(starts[s]), NOBODY, NO_BIT)
        for action in range(N_ACTIONS):
            for jam in range(2):
                (to, _, _), _ = serve(state, action, agents[i], constants, jam == 1, 0.0)
                next_place[s, action, jam] = to


@kernel
def expect_arrivals(values: Any, arrival: Any) -> None:
    """Replace values (n_rows, n_sets) of states after a step by their means over the customers who then appear."""
    n_sets = values.shape[1]
    for row in range(len(values)):
        ahead = values[row]
        bit = 1
        while bit < n_sets:
            for begin in range(0, n_sets, 2 * bit):
                without, waiting = ahead[begin : begin + bit], ahead[begin + bit : begin + 2 * bit]
                for x in range(bit):
                    without[x] += arrival * (waiting[x] - without[x])
            bit *= 2


@kernel
def solve_step(
    values: Any,
    actions: Any,
    effects: Any,
    ahead: Any,
    scratch: Any,
    places: Any,
    tracked_bit: Any,
    low: Any,
    high: Any,
    first: Any,
    next_row: Any,
    next_customer: Any,
    probability: Any,
    reward: Any,
) -> None:
    """One step of the dynamic programme of a part of the city.

    Parameters
    ----------
    values:
        Written: the values of this time, shape (n_rows, n_sets).
    actions:
        Written, unless it is empty: the best actions, shape (1 or 2, n_rows, n_sets). The first axis is the
        customer of the own place, where untracked places exist.
    effects:
        Written, unless it is empty, with the actions and of their shape: by how much a jam changes what can be
        earned from there on.
    ahead:
        Values of the next time, averaged over arrivals, shape (n_rows, n_sets).
    scratch:
        Five arrays of shape (n_sets,).
    places:
        The part's places, shape (m,).
    tracked_bit:
        The bit of each of them in a set, -1 for an untracked one, shape (m,).
    low, high:
        Smallest and largest jam probability of each place of the city now, shape (n_places,) each. The taxi
        meets the one that suits it.
    first, next_row, next_customer, probability, reward:
        Outcomes, as :func:`tabulate_outcomes` lists them.
    """
    m, n_sets = len(places), values.shape[1]
    free, stuck, best, best_action, best_effect = scratch
    for row in range(len(values)):
        place = row // (m + 1)
        bit = tracked_bit[place]
        p_low, p_high = low[places[place]], high[places[place]]
        own = np.int64(0) if bit < 0 else np.int64(1) << bit  # an untracked place is in no set
        values[row] = -np.inf
        for customer in range(2):
            # Loops go over sets with another own customer too, whose numbers are not used: sets that follow each
            # other in memory are done several at a time. Below ``begin`` no set has the own customer.
            begin = own * customer
            n_looked_at = n_sets - begin
            best[:] = -np.inf
            for action in range(N_ACTIONS):
                for jam in range(2):
                    reached = (stuck if jam else free)[:n_looked_at]
                    at = ((row * 2 + customer) * N_ACTIONS + action) * 2 + jam
                    reached[:] = 0.0
                    for k in range(first[at], first[at + 1]):
                        p, earned = probability[k], reward[k]
                        then = ahead[next_row[k], begin + own * (next_customer[k] - customer) :]
                        for x in range(min(len(then), n_looked_at)):
                            reached[x] += p * (earned + then[x])
                for x in range(n_looked_at):
                    gain = stuck[x] - free[x]
                    q = free[x] + max(p_low * gain, p_high * gain)
                    is_better = q > best[x]
                    best[x] = q if is_better else best[x]
                    best_action[x] = action if is_better else best_action[x]
                    best_effect[x] = gain if is_better else best_effect[x]
            for x in range(n_looked_at):
                a_set = begin + x
                if a_set & own != begin:
                    continue
                # Of an untracked customer the value supposes what is better; the plan sees it.
                values[row, a_set] = max(values[row, a_set], best[x])
                for option in range(len(actions)):
                    if bit >= 0 or option == customer:
                        actions[option, row, a_set] = np.uint8(best_action[x])
                        if len(effects):
                            effects[option, row, a_set] = best_effect[x]


@kernel
def solve_departure(
    values: Any,
    actions: Any,
    ahead: Any,
    low: Any,
    high: Any,
    entered: Any,
    shifts: Any,
    masks: Any,
    choices: Any,
    entry_of: Any,
) -> None:
    """One step of the dynamic programme at a start, which a taxi leaves for one of several parts of the city.

    Parameters
    ----------
    values:
        Written: the values of this time by set of customers, shape (n_sets,).
    actions:
        Written, unless it is empty: the best actions, shape (n_sets,).
    ahead:
        Values of the start at the next time, averaged over arrivals, shape (n_sets,).
    low, high:
        Smallest and largest jam probability of the start now.
    entered:
        Values of each place that is entered from the start, averaged over arrivals, by set of customers of its
        part of the city, shape (n_entries, any).
    shifts, masks:
        The set of the part of entry e is ``set >> shifts[e] & masks[e]``.
    choices:
        The actions, without those that do the same as an earlier one, shape (n_choices,).
    entry_of:
        Entry to which each of these leads, unjammed and jammed, -1 for none, shape (n_choices, 2).
    """
    for a_set in range(len(values)):
        best, chosen = -np.inf, 0
        for k in range(len(choices)):
            e, e_stuck = entry_of[k, 0], entry_of[k, 1]
            free = ahead[a_set] if e < 0 else entered[e, a_set >> shifts[e] & masks[e]]
            stuck = ahead[a_set] if e_stuck < 0 else entered[e_stuck, a_set >> shifts[e_stuck] & masks[e_stuck]]
            gain = stuck - free
            q = free + max(low * gain, high * gain)
            if q > best:
                best, chosen = q, choices[k]
        values[a_set] = best
        if len(actions):
            actions[a_set] = chosen
