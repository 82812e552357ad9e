"""Optimal plans of a single taxi in a given flow of jams, by exact or relaxed dynamic programming.

What other taxis do reaches a taxi through jams only. Where the others do not react to it, its decision problem is
therefore a Markov decision process with the states of a single taxi: place, passenger's target, own customers and
time. On the paper's map a taxi that has left the start serves one zone of nine places, which has 9 * 10 * 2^9
states of this kind: few enough to be solved exactly. Larger parts of a city are relaxed.

**Relaxation.** Only the customers of some places, the tracked ones, are in the state. In an untracked place the
taxi may choose, each time it is there, whether a customer waits. The value of the relaxed problem is an upper
bound on what any policy can earn: by induction backwards in time. At the horizon both values are zero. If the
relaxed value of the next time is at least the true one in every state, then so is that of this time, since what an
action does depends on the customer of the own place only, and for either of its two values the relaxed problem
offers the true one's rewards and successors among its choices. Whoever tracks all places has the true value.

**Uncertain jams.** With a tolerance d, the taxi may choose its jam probability at every step within d of the given
one. By the same induction the value then bounds what any policy can earn in every flow of jams that is within d of
the given one, whatever the taxi's own influence on it.

Tags as in :mod:`mfenvs.games`. All of this is ours [O]; the rules are the game's own.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.games.taxi.taxi import NOBODY, Taxi

from .planning_kernels import (
    N_ACTIONS,
    expect_arrivals,
    solve_departure,
    solve_step,
    tabulate_departures,
    tabulate_jams,
    tabulate_outcomes,
)

Array = NDArray[np.float64]

MAX_TRACKED = 16
"""Largest number of tracked places of a part of the city that can be asked for."""
MOST_PLAN_BYTES = 2**33
"""Largest number of bytes of a plan that can be asked for."""
MAX_TRACKED_AT_START = 18
"""Largest number of tracked places of all parts together: up to there a taxi at a start knows their customers."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a taxi does in every state, and what it can expect."""

    value: float
    """The largest expected total reward of an episode, or an upper bound on it in a relaxed problem."""
    problem: "LoneTaxi"
    """The decision problem that it solves."""
    jams: Array
    """The jam probabilities that it expects, shape (H, n_places)."""
    tolerance: float
    """Largest distance of the true ones from these under which the value is a bound."""
    departures: NDArray[np.uint8]
    """Actions at the starts by set of customers, shape (H, n_starts, n_sets)."""
    services: tuple[NDArray[np.uint8], ...]
    """Actions in each part of the city, shape (H, 1 or 2, n_rows, n_sets) each: by what is known of an untracked
    customer in the own place, row and set (:mod:`baselines.taxi.planning_kernels`)."""
    effects: tuple[NDArray[np.float32], ...]
    """By how much a jam changes what can be earned from there on, in the shapes of ``services``; empty, as
    ``entry_values``, where values are bounds: by a relaxed problem or a tolerance."""
    entry_values: tuple[Array, ...]
    """Values of taxis without a passenger in each part, shape (H, m, n_sets) each."""
    start_values: Array
    """Values at the starts where a customer waits in every place, shape (H, n_starts)."""

    def actions(self, time: int, states: NDArray[Any]) -> NDArray[np.int64]:
        """The actions of taxis in the given states at a time: states of the game, shape (n,)."""
        return np.array([self._action(time, state) for state in states], np.int64)

    def _action(self, time: int, state: Any) -> int:
        cell = int(state["cell"])
        if cell in self.problem.starts:
            known = self.problem.set_at_start(int(state["customers"]))
            return int(self.departures[time, self.problem.starts.index(cell), known])
        which, where = self._entry(state)
        return int(self.services[which][time, *where])

    def _entry(self, state: Any) -> tuple[int, tuple[int, int, int]]:
        """The part of the city that a taxi is in, and where its state is in the part's arrays."""
        cell, target, customers = int(state["cell"]), int(state["target"]), int(state["customers"])
        which = int(self.problem.part_of[cell])
        part = self.problem.parts[which]
        wants = len(part.places) if target == NOBODY else int(part.index[target])
        row = int(part.index[cell]) * (len(part.places) + 1) + wants
        option = min(customers >> cell & 1, self.services[which].shape[1] - 1)
        return which, (option, row, part.set_of(customers))

    def _luck_at_start(self, time: int, state: Any, next_cell: int, jam: float) -> float:
        """What a taxi at a start has gained by luck with a jam of known probability; zero in the mean."""
        places = self.problem.departures[self.problem.starts.index(int(state["cell"])), self._action(time, state)]
        free, stuck = (self._value_with_all_customers(time + 1, int(place)) for place in places)
        return (float(next_cell == places[1]) - jam) * (stuck - free) if places[0] != places[1] else 0.0

    def _value_with_all_customers(self, time: int, place: int) -> float:
        """The plan's value for a taxi without a passenger where a customer waits in every place."""
        if place in self.problem.starts:
            return float(self.start_values[time, self.problem.starts.index(place)])
        which = int(self.problem.part_of[place])
        return float(self.entry_values[which][time, self.problem.parts[which].index[place], -1])

    def conditional_return(self, states: NDArray[Any], rewards: Array, jams: Array) -> float:
        """An unbiased sample of what a taxi that follows the plan earns, with most of its own luck averaged out.

        From when the taxi is in a part of the city, what it earned is replaced by the plan's value in the state
        that it entered, and the sum of (p_h - q_h) e_h over the times h from then on: p_h is the jam probability
        that it met, q_h the one that the plan expected, and e_h the effect of a jam. Both differ by a martingale:
        at each step by how the draws of the jam, the target and the customers turned out, given p_h. At a start
        only the luck with jams is taken out, as far as it would matter with a customer in every place.

        Parameters
        ----------
        states:
            The taxi's states, shape (H,).
        rewards:
            Its rewards, shape (H,).
        jams:
            The jam probabilities of the places where it was, shape (H,).

        Returns
        -------
        The sample; the total reward itself if the values are bounds, by a relaxed problem or a tolerance.
        """
        if not self.problem.values_are_exact(self.tolerance):
            return float(rewards.sum())
        total, is_inside = 0.0, False
        for time, state in enumerate(states):
            cell = int(state["cell"])
            if cell in self.problem.starts:
                total += rewards[time]
                if time + 1 < len(states):
                    total -= self._luck_at_start(time, state, int(states[time + 1]["cell"]), jams[time])
                continue
            which, where = self._entry(state)
            if not is_inside:
                total += self.entry_values[which][time, self.problem.parts[which].index[cell], where[-1]]
                is_inside = True
            total += (jams[time] - self.jams[time, cell]) * self.effects[which][time, *where]
        return float(total)


@dataclasses.dataclass(frozen=True)
class Part:
    """Places between which a taxi can travel, and what actions lead to there."""

    places: NDArray[np.int64]
    """The places, shape (m,)."""
    index: NDArray[np.int64]
    """The inverse: index of each place of the city in ``places``, -1 for others."""
    tracked: tuple[int, ...]
    """The tracked places: the k-th is bit k of a set of customers."""
    tracked_bit: NDArray[np.int64]
    """The bit of each of ``places``, -1 for untracked ones, shape (m,)."""
    outcomes: tuple[NDArray[Any], ...]
    """The outcomes of actions, as :func:`planning_kernels.tabulate_outcomes` lists them."""

    @property
    def n_rows(self) -> int:
        """Number of pairs of a place and a passenger's target."""
        return len(self.places) * (len(self.places) + 1)

    @property
    def n_sets(self) -> int:
        """Number of sets of tracked customers."""
        return int(2 ** len(self.tracked))

    def set_of(self, customers: int) -> int:
        """The tracked customers among those of a taxi's state."""
        return sum((customers >> place & 1) << bit for bit, place in enumerate(self.tracked))

    def row_without_passenger(self, place: int) -> int:
        """The row of a taxi without a passenger in a place of the city."""
        m = len(self.places)
        return int(self.index[place]) * (m + 1) + m


class LoneTaxi:
    """The decision problem of one taxi among others that do not react to it.

    Parameters
    ----------
    game:
        A game of A-Taxi.
    agent:
        Index of the taxi.
    max_tracked:
        Largest number of places of each part of the city whose customers are in the state, from 0 to 16; a part is
        a set of places between which a taxi can travel. The problem is relaxed where a part has more places, and
        at the starts where all parts together track more than 18 places.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game does not end.
    """

    def __init__(self, game: Taxi, agent: int, *, max_tracked: int = 12) -> None:
        self.game = checked_game(game)
        self.agent = checks.integer("agent", agent, 0, game.n_agents - 1)
        max_tracked = checks.integer("max_tracked", max_tracked, 0, MAX_TRACKED)
        city = game.map
        self.starts = city.starts
        """The places where taxis may start."""
        self.part_of = city.parts
        """Part of each place, -1 for starts and barriers, shape (n_places,)."""
        self.parts = [self._part(part, max_tracked) for part in range(self.part_of.max() + 1)]
        """The parts of the city."""
        tracked = [place for part in self.parts for place in part.tracked]
        self._shifts = np.cumsum([0, *(len(part.tracked) for part in self.parts)])[:-1]
        self.has_untracked = any(len(part.tracked) < len(part.places) for part in self.parts)
        """Whether there are places whose customers are not in the state."""
        self._tracked_at_start = tracked if len(tracked) <= MAX_TRACKED_AT_START else []
        self.is_exact = len(self._tracked_at_start) == len(city.zone_places)
        """Whether the problem is the taxi's own; otherwise it is relaxed, and its value an upper bound."""
        self.departures = np.zeros((len(self.starts), N_ACTIONS, 2), np.int64)
        """Places to which actions lead from the starts, unjammed and jammed, shape (n_starts, n_actions, 2)."""
        tabulate_departures(
            self.departures, np.array(self.starts), game.agents.view(np.ndarray), self.agent, game.constants
        )

    @property
    def plan_bytes(self) -> int:
        """Approximate number of bytes of a plan without a tolerance."""
        options = 2 if self.has_untracked else 1
        of_parts = sum(part.n_sets * options * part.n_rows for part in self.parts)
        if self.values_are_exact(0.0):
            of_parts += sum(part.n_sets * (4 * part.n_rows + 8 * len(part.places)) for part in self.parts)
        return int(self.game.horizon * (of_parts + len(self.starts) * 2 ** len(self._tracked_at_start)))

    def values_are_exact(self, tolerance: float) -> bool:
        """Whether values in the city are what a plan is worth, and not bounds on it."""
        return tolerance == 0.0 and not self.has_untracked

    def set_at_start(self, customers: int) -> int:
        """The tracked customers among those of the state of a taxi at a start."""
        return sum((customers >> place & 1) << bit for bit, place in enumerate(self._tracked_at_start))

    def solve(self, jams: ArrayLike, *, tolerance: float = 0.0, keep_plan: bool = True) -> Plan:
        """Solve the problem in a flow of jams.

        Parameters
        ----------
        jams:
            Probability with which a taxi that wants to leave a place is jammed, by time and place, shape
            (H, n_places): those of :func:`jams_among_others`.
        tolerance:
            Largest distance of the true jam probabilities from these: the value bounds what can be earned in any
            such flow.
        keep_plan:
            Whether the plan holds actions; otherwise its arrays are empty.

        Returns
        -------
        The value and the best actions.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or the plan would be too large.
        """
        if keep_plan and self.plan_bytes > MOST_PLAN_BYTES:
            raise ValueError(
                f"max_tracked must be so small that a plan has at most {MOST_PLAN_BYTES} bytes: with the one given"
                f" it has {self.plan_bytes} in this city"
            )
        game = self.game
        given = checks.array("jams", jams)
        shape = game.horizon, game.n_places
        if given.shape != shape or not ((given >= 0.0) & (given <= 1.0)).all():
            raise ValueError(f"jams must hold probabilities of shape {shape}, got {checks.shown(jams)}")
        tolerance = checks.real("tolerance", tolerance, 0.0, 1.0)
        low, high = (np.clip(given.astype(np.float64) + d, 0.0, 1.0) for d in (-tolerance, tolerance))
        arrival, n_starts = float(game.constants.arrival), len(self.starts)
        length = game.horizon if keep_plan else 0
        judged = keep_plan and self.values_are_exact(tolerance)
        length_judged = game.horizon if judged else 0
        options = 2 if self.has_untracked else 1
        services = [np.zeros((length, options, p.n_rows, p.n_sets), np.uint8) for p in self.parts]
        effects = [np.zeros((length_judged, *service.shape[1:]), np.float32) for service in services]
        entry_values = [np.zeros((length_judged, len(p.places), p.n_sets)) for p in self.parts]
        start_values = np.zeros((game.horizon, n_starts))
        no_set, no_action = np.zeros(0, np.uint8), np.zeros((0, 1, 1), np.uint8)
        no_effect = np.zeros((0, 1, 1), np.float32)
        scratches = [np.zeros((5, part.n_sets)) for part in self.parts]
        ahead = [np.zeros((part.n_rows, part.n_sets)) for part in self.parts]
        values = [np.zeros_like(of_part) for of_part in ahead]
        at_start = np.zeros((n_starts, 2 ** len(self._tracked_at_start)))
        departures = np.zeros((length, *at_start.shape), np.uint8)
        for time in reversed(range(game.horizon)):
            waiting = at_start.copy()
            for after in (*ahead, waiting):
                expect_arrivals(after, arrival)
            for s in range(n_starts):
                chosen, here = departures[time, s] if keep_plan else no_set, self.starts[s]
                jam = low[time, here], high[time, here]
                solve_departure(at_start[s], chosen, waiting[s], *jam, *self._ways_out(s, ahead))
            start_values[time] = at_start[:, -1]
            for k, part in enumerate(self.parts):
                solve_step(
                    values[k],
                    services[k][time] if keep_plan else no_action,
                    effects[k][time] if judged else no_effect,
                    ahead[k],
                    scratches[k],
                    part.places,
                    part.tracked_bit,
                    low[time],
                    high[time],
                    *part.outcomes,
                )
                if judged:
                    entry_values[k][time] = values[k][len(part.places) :: len(part.places) + 1]
            values, ahead = ahead, values
        value = float(at_start[:, 0].mean())
        return Plan(
            value,
            self,
            given.astype(np.float64),
            tolerance,
            departures,
            tuple(services),
            tuple(effects),
            tuple(entry_values),
            start_values,
        )

    def _part(self, which: int, max_tracked: int) -> Part:
        game = self.game
        places = np.flatnonzero(self.part_of == which)
        m = len(places)
        index = np.full(game.n_places, -1)
        index[places] = np.arange(m)
        tracked = tuple(int(place) for place in places[:max_tracked])
        tracked_bit = np.where(np.arange(m) < max_tracked, np.arange(m), -1)
        n_pairs, constants = m * (m + 1) * 2 * N_ACTIONS * 2, game.constants
        room = n_pairs * int(constants.city.n_targets.max())
        first = np.zeros(n_pairs + 1, np.int64)
        outcomes = np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room), np.zeros(room)
        agents = game.agents.view(np.ndarray)
        found = tabulate_outcomes(first, *outcomes, places, index, agents, self.agent, constants)
        listed = tuple(values[:found].copy() for values in outcomes)
        return Part(places, index, tracked, tracked_bit, (first, *listed))

    def _ways_out(self, s: int, ahead: list[Array]) -> tuple[NDArray[Any], ...]:
        """The arguments ``entered`` to ``entry_of`` of :func:`planning_kernels.solve_departure` for start s."""
        entered = sorted(set(self.departures[s].ravel().tolist()) - set(self.starts))
        knows = bool(self._tracked_at_start)
        width = max(part.n_sets for part in self.parts) if knows else 1
        values = np.zeros((len(entered), width))
        shifts, masks = np.zeros(len(entered), np.int64), np.zeros(len(entered), np.int64)
        for e, place in enumerate(entered):
            which = int(self.part_of[place])
            part = self.parts[which]
            of_place = ahead[which][part.row_without_passenger(place)]
            if knows:
                values[e, : part.n_sets] = of_place
                shifts[e], masks[e] = self._shifts[which], part.n_sets - 1
            else:
                values[e, 0] = of_place.max()
        entry_of = np.full((N_ACTIONS, 2), -1)
        for action, jam in np.ndindex(*entry_of.shape):
            place = int(self.departures[s, action, jam])
            if place in entered:
                entry_of[action, jam] = entered.index(place)
        entry_of, choices = np.unique(entry_of, axis=0, return_index=True)
        return values, shifts, masks, choices, entry_of


def checked_game(game: Any) -> Taxi:
    """Check that a game is one of A-Taxi that ends; TypeError or ValueError otherwise."""
    if not isinstance(game, Taxi):
        raise TypeError(f"game must be a Taxi, got {checks.shown(game)}")
    if game.is_infinite:
        raise ValueError(f"game must end after its horizon (discount=1), got discount={game.discount}")
    return game


def jams_among_others(game: Taxi, agent: int, others: ArrayLike) -> Array:
    """The jam probabilities that a taxi meets, by the game's rules.

    Parameters
    ----------
    game:
        A game of A-Taxi.
    agent:
        Index of the taxi, whose own weight counts wherever it is.
    others:
        Total jam weight of all others in each place, shape (..., n_places): the engine's ``counts`` without the
        taxi.

    Returns
    -------
    Probabilities, shape (..., n_places).
    """
    game = checked_game(game)
    agent = checks.integer("agent", agent, 0, game.n_agents - 1)
    given = np.asarray(checks.array("others", others), np.float64)
    if given.shape[-1:] != (game.n_places,):
        raise ValueError(f"others must have shape (..., {game.n_places}), got {given.shape}")
    if not (np.isfinite(given) & (given >= 0.0)).all():
        raise ValueError(f"others must hold finite numbers >= 0, got {checks.shown(others)}")
    crowds = (given + np.float64(game.agents["weight"][agent])).reshape(-1, game.n_places)
    found = np.zeros_like(crowds)
    tabulate_jams(found, crowds, game.constants, game.n_agents)
    return found.reshape(given.shape)
