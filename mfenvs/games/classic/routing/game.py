"""Dynamic routing: vehicles choose their ways through a road network whose links take longer in a crowd."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS
from mfenvs.games.classic.classic_game import ClassicGame
from mfenvs.games.classic.routing.data import (
    BRAESS_LINKS,
    BRAESS_TRIPS,
    SIOUX_FALLS_LINKS,
    SIOUX_FALLS_TWO_TRIPS,
)
from mfenvs.games.classic.routing.network import Network, checked_network
from mfenvs.rules import crowd, rule

LinkRow = tuple[str, str, float, float, float, float]
TripRow = tuple[str, str, float, float]

DOWN: Final = "down"
RANDOM: Final = "random"
NO_LINK = -1
NEARLY = 1e-9
"""A travel time that is less than a whole number of steps by so much counts as that number: rounding in the sums
of vehicles would decide otherwise."""
MOST_FEATURES = 2**27
"""Largest number of features of all states together: a gigabyte."""
MOST_STEPS = 100_000
"""Largest horizon, and so the largest number of steps on a link."""


class Roads(NamedTuple):
    """The constants of the routing game, as its rules read them."""

    link_of: NDArray[np.int32]
    """The link on which a vehicle is in each state, shape (n_states,); NO_LINK off the road."""
    left_of: NDArray[np.int32]
    """Number of steps for which it must stay there, shape (n_states,)."""
    goal_of: NDArray[np.int32]
    """Number of its destination, shape (n_states,)."""
    turns: NDArray[np.int32]
    """The link that each action leads to from the end of a link, shape (n_links, n_actions), or NO_LINK."""
    first_states: NDArray[np.int32]
    """The state in which a vehicle enters a link and need not stay, shape (n_goals, n_links)."""
    most_left: NDArray[np.int32]
    """Largest number of steps for which a vehicle that enters a link must stay, shape (n_links,)."""
    free_flow_times: NDArray[np.float64]
    capacities: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    powers: NDArray[np.float64]
    total: float
    """Number of vehicles for which the agents stand."""
    step_length: float
    arrived: int
    """The state of vehicles that have arrived; those that can arrive no more are in the next one."""
    rounds_down: bool
    most_steps: float
    last_time: int


@rule
def next_link(roads: Any, state: Any, action: Any) -> Any:
    """The link on which a vehicle is after a step, or NO_LINK off the road."""
    link = roads.link_of[state]
    if link >= 0 and roads.left_of[state] == 0:
        turn = roads.turns[link, action]
        link = link if turn < 0 else turn
        return link if roads.first_states[roads.goal_of[state], link] < roads.arrived else NO_LINK
    return link


@rule
def steps_on(roads: Any, link: Any, share: Any) -> Any:
    """Travel time of a link, in steps and not rounded, if this share of all vehicles is on it."""
    volume = roads.total * share
    congestion = roads.coefficients[link] * (volume / roads.capacities[link]) ** roads.powers[link]
    steps = roads.free_flow_times[link] * (1.0 + congestion) / roads.step_length + NEARLY
    return min(steps, roads.most_steps)


@dataclasses.dataclass(kw_only=True)
class DynamicRouting(ClassicGame):
    """Dynamic routing: vehicles seek the fastest way to their destinations, and slow each other down.

    ``python_mfg_dynamic_routing`` of OpenSpiel, after Cabannes et al., "Solving N-player dynamic routing games
    with congestion: a mean field approach" (arXiv 2110.11943); tags as in :mod:`mfenvs.games`. By default the
    network of Braess's paradox.

    States: the link on which a vehicle is, the steps for which it must stay there, and its destination; and two
    more for those who have arrived and those who are in a dead end. Actions: which of the links that begin at the
    end of its link it takes, in their order in ``links``. A vehicle that must stay has the action 0 only; others
    are masked, and so are actions beyond the number of links, which stay. (In OpenSpiel, actions are numbers of
    links.)

    * a vehicle stays on a link that it enters for max(1, floor(time / step_length)) steps, where time =
      free_flow_time (1 + coefficient (v / capacity)^power), v is the number of vehicles of all trips times mu, and
      mu the share of the agents who are on the link after the step, the agent itself included [S]. With
      ``rounding="random"`` the fraction of a step is the probability of one step more [O]: transitions are then
      continuous in the population, so that there is an equilibrium. With ``"down"`` there need not be one
    * it arrives when it enters the only link into its destination. Its total reward is -step_length times the
      number of steps before that, or -step_length (horizon + 1) if it does not arrive [S]. Here every step on the
      way costs step_length, and the last one twice as much: totals are equal [O]
    * a vehicle's trip is drawn in proportion to the trips' vehicles. It departs after floor(departure /
      step_length) steps, in which it is on its first link [S]

    Networks of one's own are given as ``links`` and ``trips``, or read from files by
    :func:`~mfenvs.games.classic.routing.tntp.read_tntp` [O]. OpenSpiel leaves out of v those who must stay for
    ``horizon`` steps or more; here they count [R].

    Known: on the network of Braess with ``step_length`` .05, an equilibrium sends 3/4 of the vehicles from A to B
    and 2/3 of these to C, so that all ways take 3.75. Without the link from B to C half of them go to B, and all
    ways take 3.5: Braess's paradox.
    """

    horizon: int = 100
    """Number of steps H [S]."""
    links: Sequence[LinkRow] = BRAESS_LINKS
    """One-way roads: start and end (names of nodes), free-flow travel time, capacity, coefficient and power of
    congestion (:class:`~mfenvs.games.classic.routing.network.Link`) [S]."""
    trips: Sequence[TripRow] = BRAESS_TRIPS
    """Trips: origin (a node with one link out), destination (a node with one link in), number of vehicles and time
    of departure (:class:`~mfenvs.games.classic.routing.network.Trip`) [S]."""
    step_length: float = 0.05
    """Length of a step, in the unit of travel times [S]."""
    rounding: Literal["down", "random"] = DOWN
    """How travel times become whole numbers of steps: rounded down, or to either side at random [O]."""

    n_branches = 2

    @staticmethod
    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        """Count an agent on the link on which it is after the step."""
        link = next_link(world.constants, state, action)
        if link >= 0:
            counts[link] += mass

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Where a vehicle is after the step: k = 1 takes a step longer on a new link than k = 0."""
        roads = world.constants
        link, left = roads.link_of[state], roads.left_of[state]
        turn = NO_LINK
        if link >= 0 and left == 0:
            turn = roads.turns[link, action]
        if turn < 0:
            return state - (1 if left > 0 else 0), 1.0 if k == 0 else 0.0
        entered = roads.first_states[roads.goal_of[state], turn]
        if entered >= roads.arrived:
            return entered, 1.0 if k == 0 else 0.0
        steps = steps_on(roads, turn, crowd(world, turn))
        whole = math.floor(steps)
        fraction = 0.0 if roads.rounds_down or steps < 1.0 else max(0.0, steps - whole - NEARLY)
        stays = min(max(whole - 1, 0) + k, roads.most_left[turn])
        return entered + int(stays), fraction if k == 1 else 1.0 - fraction

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """What a step costs in which a vehicle does not arrive, and has not arrived before: twice in the end."""
        roads = world.constants
        link = roads.link_of[state]
        is_there = state == roads.arrived
        if link >= 0 and roads.left_of[state] == 0:
            turn = roads.turns[link, action]
            is_there = turn >= 0 and roads.first_states[roads.goal_of[state], turn] == roads.arrived
        n_costs = 0.0 if is_there else 2.0 if world.time == roads.last_time else 1.0
        return -n_costs * roads.step_length

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        """Whether an action leads to a link; action 0 if a vehicle must stay where it is."""
        roads = public.constants
        link = roads.link_of[state]
        if link >= 0 and roads.left_of[state] == 0:
            return roads.turns[link, action] >= 0
        return action == 0

    @staticmethod
    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        """Link and destination, one-hot, whether it has arrived, the steps that it must stay; and the time."""
        roads = public.constants
        n_goals, n_links = roads.first_states.shape
        link = roads.link_of[state]
        if link >= 0:
            out[link] = 1.0
            out[n_links + roads.goal_of[state]] = 1.0
        out[n_links + n_goals] = 1.0 if state == roads.arrived else 0.0
        out[n_links + n_goals + 1] = roads.left_of[state] / roads.most_steps
        out[n_links + n_goals + 2] = public.elapsed

    def check(self) -> None:
        """Check the network, its trips and the length of a step."""
        checks.at_most("horizon", self.horizon, MOST_STEPS)
        self.step_length = checks.real("step_length", self.step_length, 0.0, 1e9, exclude_low=True)
        self.rounding = checks.choice("rounding", self.rounding, (DOWN, RANDOM))
        network = checked_network(self.links, self.trips)
        self.links, self.trips = network.links, network.trips
        self._network = network
        self._waits = tuple(self._departure(f"trips[{k}]", trip.departure) for k, trip in enumerate(network.trips))
        self._roads = self._numbered(network)
        super().check()

    def _departure(self, name: str, time: float) -> int:
        steps = math.floor(time / self.step_length + NEARLY)
        if steps >= self.horizon:
            raise ValueError(
                f"{name}.departure must be before the end, at {self.horizon * self.step_length:g}, got {time:g}"
            )
        return steps

    def _numbered(self, network: Network) -> Roads:
        n_links, n_goals = len(network.links), len(network.last_links)
        checks.at_most("the number of links times that of destinations", n_links * n_goals, MAX_CELLS)
        most_left = np.zeros(n_links, np.int32)
        for k in range(n_links):
            steps = min(network.travel_time(k, network.total) / self.step_length + NEARLY, float(self.horizon))
            least = math.floor(steps) if self.rounding == DOWN else math.ceil(steps - 2 * NEARLY)
            most_left[k] = min(max(least - 1, 0), self.horizon - 1)
        sizes = most_left.astype(np.int64) + 1
        for wait, link in zip(self._waits, network.first_links, strict=True):
            sizes[link] = max(sizes[link], wait + 1)
        is_dead_end = np.array([not turns for turns in network.turns])
        on_the_way = np.broadcast_to(~is_dead_end, (n_goals, n_links)).copy()
        on_the_way[np.arange(n_goals), network.last_links] = False
        starts = np.concatenate([[0], np.cumsum(np.where(on_the_way, sizes, 0).ravel())])
        arrived = int(starts[-1])
        checks.at_most("the number of states (links, steps on them and destinations)", arrived + 2, MAX_CELLS)
        n_features = (arrived + 2) * (n_links + n_goals + 2)
        checks.at_most("the number of states times that of links and destinations", n_features, MOST_FEATURES)
        first_states = np.where(on_the_way, starts[:-1].reshape(n_goals, n_links), arrived + 1)
        first_states[np.arange(n_goals), network.last_links] = arrived
        link_of, left_of, goal_of = (np.full(arrived + 2, value, np.int32) for value in (NO_LINK, 0, 0))
        goals, links = np.nonzero(on_the_way)
        lengths = sizes[links]
        link_of[:arrived], goal_of[:arrived] = np.repeat(links, lengths), np.repeat(goals, lengths)
        left_of[:arrived] = np.arange(arrived) - np.repeat(first_states[goals, links], lengths)
        turns = np.full((n_links, max(map(len, network.turns))), NO_LINK, np.int32)
        for link, ahead in enumerate(network.turns):
            turns[link, : len(ahead)] = ahead
        columns = np.array([link[2:] for link in network.links], np.float64).T.copy()
        return Roads(
            link_of=link_of,
            left_of=left_of,
            goal_of=goal_of,
            turns=turns,
            first_states=first_states.astype(np.int32),
            most_left=most_left,
            free_flow_times=columns[0],
            capacities=columns[1],
            coefficients=columns[2],
            powers=columns[3],
            total=network.total,
            step_length=self.step_length,
            arrived=arrived,
            rounds_down=self.rounding == DOWN,
            most_steps=float(self.horizon),
            last_time=self.horizon - 1,
        )

    @property
    def n_states(self) -> int:
        """|S|: links, steps on them and destinations, and two states off the road."""
        return len(self._roads.link_of)

    @property
    def n_actions(self) -> int:
        """|A|: the largest number of links that begin at one node."""
        return int(self._roads.turns.shape[1])

    @property
    def n_cells(self) -> int:
        """A cell for every link."""
        return len(self._roads.turns)

    @property
    def n_features(self) -> int:
        """Links, destinations, the arrival, the steps to stay, and the time."""
        return sum(self._roads.first_states.shape) + 3

    @property
    def state_levels(self) -> NDArray[np.float64]:
        """What an agent sees of its state."""
        roads = self._roads
        n_goals, n_links = roads.first_states.shape
        levels, states = np.zeros((self.n_states, n_links + n_goals + 2)), np.arange(roads.arrived)
        levels[states, roads.link_of[states]] = 1.0
        levels[states, n_links + roads.goal_of[states]] = 1.0
        levels[roads.arrived, n_links + n_goals] = 1.0
        levels[:, n_links + n_goals + 1] = roads.left_of / roads.most_steps
        return levels

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Trips, in proportion to their vehicles."""
        network, law = self._network, np.zeros(self.n_states)
        for trip, link, goal, wait in zip(
            network.trips, network.first_links, network.goals, self._waits, strict=True
        ):
            law[self._roads.first_states[goal, link] + wait] += trip.vehicles / network.total
        normalised: NDArray[np.float64] = law / law.sum()
        return normalised

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Those who have arrived."""
        return {"arrived": (self._roads.arrived,)}

    def state_name(self, state: int) -> str:
        """The link, the steps to stay, and the destination."""
        roads = self._roads
        if state >= roads.arrived:
            return "arrived" if state == roads.arrived else "dead end"
        link = self._network.links[roads.link_of[state]]
        goal = self._network.links[self._network.last_links[roads.goal_of[state]]].end
        return f"{link.start} -> {link.end}, {roads.left_of[state]} steps to stay, to {goal}"

    @property
    def constants(self) -> Roads:
        """The network."""
        return self._roads


@dataclasses.dataclass(kw_only=True)
class SiouxFallsRouting(DynamicRouting):
    """Dynamic routing through Sioux Falls: a network of 24 nodes and 76 roads.

    The setting ``dynamic_routing_sioux_falls_dummy_demand`` of OpenSpiel: :class:`DynamicRouting` on the network
    of Sioux Falls, with 7000 vehicles each way between two of its nodes [S]. Each of the 1000 agents stands for 14
    vehicles [O].

    ``trips=mfenvs.games.classic.routing.data.SIOUX_FALLS_TRIPS`` are the source's trips between 528 pairs of
    nodes, whose game has 150 thousand states: the population flow of one policy takes gigabytes.

    States: as in :class:`DynamicRouting`. Random policies get few vehicles to their destinations.
    """

    horizon: int = 81
    """Number of steps H [S]."""
    links: Sequence[LinkRow] = SIOUX_FALLS_LINKS
    """One-way roads: start and end (names of nodes), free-flow travel time, capacity, coefficient and power of
    congestion (:class:`~mfenvs.games.classic.routing.network.Link`) [S]."""
    trips: Sequence[TripRow] = SIOUX_FALLS_TWO_TRIPS
    """Trips: origin (a node with one link out), destination (a node with one link in), number of vehicles and time
    of departure (:class:`~mfenvs.games.classic.routing.network.Trip`) [S]."""
    step_length: float = 0.5
    """Length of a step, in the unit of travel times [S]."""
