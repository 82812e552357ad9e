"""A-Taxi: taxis with private customers in a city of zones, which jam the places where they meet."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.random import uniform
from mfenvs.game import Game
from mfenvs.games.taxi.city import MAX_PLACES, City, CityArrays, city_rows
from mfenvs.rules import crowd, rule

UP, DOWN, LEFT, RIGHT, WAIT = range(5)

NOBODY = np.uint8(MAX_PLACES)
"""The target of a taxi without a passenger."""

ONE_BIT, NO_BIT = np.uint64(1), np.uint64(0)
ZERO, ONE = np.float32(0.0), np.float32(1.0)

LARGEST = 1e9
"""Largest base reward, in absolute value: rewards are in single precision."""

ONE_HOT, COORDINATES = "one-hot", "coordinates"
"""How places are observed."""

JAM, TARGET, ARRIVALS = 0, 1, 2
"""Streams of an agent's random numbers: for jams, for its passenger's target, and from 2 on for arrivals."""


class TaxiConstants(NamedTuple):
    """The constants that the rules read as ``world.constants``."""

    city: CityArrays
    base_rewards: NDArray[np.float32]
    """Base reward of a delivery by zone, shape (n_zones,)."""
    arrival: np.float32
    jam_cap: np.float32
    coordinates: NDArray[np.float32]
    """Row and column of each place, scaled to [0, 1], shape (n_places, 2)."""
    observes_coordinates: np.int32
    """1 if agents observe coordinates, 0 if they observe places one-hot."""


@rule
def jam_probability(world: Any, place: Any) -> Any:
    """The probability with which a taxi that wants to leave a place is jammed: min(sum_j w_j, jam_cap) [S]."""
    return min(crowd(world, place), world.constants.jam_cap)


@rule
def serve(state: Any, action: Any, agent: Any, constants: Any, is_jammed: Any, draw: Any) -> Any:
    """What a taxi's action does, before customers appear.

    Parameters
    ----------
    state, action, agent, constants:
        As in the rule ``step``.
    is_jammed:
        Whether a move fails.
    draw:
        Number in [0, 1) that decides where a passenger who is picked up wants to go.

    Returns
    -------
    The next place, target and customers, and the reward.
    """
    city = constants.city
    cell, target, customers = state.cell, state.target, state.customers
    reward = ZERO
    if action == WAIT:
        customer_here = customers & (ONE_BIT << np.uint64(cell))
        zone = city.zone[cell]
        if target == cell:
            reward = constants.base_rewards[zone] * agent.multiplier[zone]
            target = NOBODY
        elif target == NOBODY and customer_here != NO_BIT:
            n = city.n_targets[zone]
            target = city.targets[zone, min(int(draw * n), n - 1)]
            customers ^= customer_here
    elif not is_jammed:
        cell = city.moves[cell, action]
    return (cell, target, customers), reward


@dataclasses.dataclass(kw_only=True)
class Taxi(Game):
    """A-Taxi: taxis serve private customers in the zones of a city, and jam each other.

    Yardim & He, appendix E.2; tags as in :mod:`mfenvs.games`.

    State: the taxi's place, its passenger's target (64 for none) and its own customers, a bit per place. There are
    about 2^30 local states on the paper's map [S]. Actions: 0 up, 1 down, 2 left, 3 right, 4 wait [S]. The order
    of events in a step is [O]:

    * An agent that moves stays with probability min(sum_j w_j 1{cell_j = cell_i}, jam_cap), the sum over all
      agents, itself included, in the same place [R]. Starts and barriers cannot be entered [S].
    * An agent that waits delivers its passenger if this is the target, for base_reward * multiplier of
      the zone [S]; without a passenger it picks up its customer here, if there is one, whose target is then drawn
      uniformly in the same zone [S], the present place included [O].
    * A customer appears with probability ``arrival`` in every place of a zone that has none, *private to each
      agent* [R: with shared arrivals reward per agent could not exceed about .51; the paper's curve reaches 23].

    All begin at the start without a passenger and without customers [O].

    Agents (``game.agents``): ``weight`` N w_j = jam (1 + U[-jam_width, jam_width]) and ``multiplier`` beta^i, one
    per zone, 1 + U[-reward_width, reward_width] [O].

    Observation: own place one-hot, the passenger's target one-hot (zeros without one), own customers (a bit per
    place), time h / H [O]: 3 * 21 + 1 features on the paper's map. With ``observation="coordinates"``: row and
    column of the own place, scaled to [0, 1], whether there is a passenger, row and column of its target (zeros
    without one), own customers, time: 21 + 6 features. The agent's identity and parameters are observed only if
    ``observe`` asks for them.

    Since customers are private, agents affect each other by jams only: the population matters through the weighted
    occupancy of places.
    """

    n_agents: int = 1000
    """Number of agents N [S]."""
    horizon: int = 128
    """Number of steps H [S]."""
    city: tuple[str, ...] = ("111", "111", "111", "HSH", "222", "222", "222")
    """The map, one text per row: S start, H barrier, 1 to 9 zones [S]; at most 64 places."""
    base_rewards: tuple[float, ...] = (1.1, 1.0)
    """Reward of a delivery by zone [S; the text to the source's figure 2 has them the other way round]."""
    arrival: float = 0.2
    """Probability per step that a customer appears in a place without one [S]."""
    jam: float = 10.0
    """Expected sum of all jam weights: w_j = jam / N * (1 + U[-jam_width, jam_width]) [O]."""
    jam_cap: float = 0.7
    """Largest probability of being jammed [S]."""
    jam_width: float = 0.1
    """Half-width of the relative differences of the jam weights w_j [O]."""
    reward_width: float = 0.1
    """Half-width of the range of the reward multipliers beta^i around 1 [O]."""
    heterogeneity: float = 1.0
    """Factor on both half-widths; 0 makes the game exactly symmetric [O]."""
    observation: str = ONE_HOT
    """How agents observe places: ``"one-hot"`` or ``"coordinates"`` [O]."""

    agent_prefix = "taxi"
    state_dtype = np.dtype([("cell", np.uint8), ("target", np.uint8), ("customers", np.uint64)], align=True)
    action_names: ClassVar[tuple[str, ...]] = ("up", "down", "left", "right", "wait")

    @staticmethod
    @rule
    def start(agent: Any, initial: Any, key: Any) -> Any:
        """Begin at a start, drawn uniformly if there are several."""
        which = min(int(uniform(key, 0) * len(initial)), len(initial) - 1)
        return np.uint8(initial[which]), NOBODY, NO_BIT

    @staticmethod
    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        """The cell of a taxi is its place, which it jams."""
        return state.cell

    @staticmethod
    @rule
    def weight(state: Any, action: Any, agent: Any) -> Any:
        """The taxi's jam weight, N w_j."""
        return agent.weight

    @staticmethod
    @rule
    def place(state: Any) -> Any:
        """The place in which others see the taxi."""
        return state.cell

    @staticmethod
    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        """Move (or be jammed), pick up or deliver; then customers appear."""
        constants = world.constants
        is_jammed = action != WAIT and uniform(key, JAM) < jam_probability(world, state.cell)
        served, reward = serve(state, action, agent, constants, is_jammed, uniform(key, TARGET))
        cell, target, customers = served
        # Draws are made for places without a customer only, in their order: most places soon have one.
        empty = constants.city.customer_places & ~customers
        stream = ARRIVALS
        while empty != NO_BIT:
            lowest = empty & (~empty + ONE_BIT)
            customers |= lowest if uniform(key, stream) < constants.arrival else NO_BIT
            empty ^= lowest
            stream += 1
        return (cell, target, customers), reward

    @staticmethod
    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        """Write own place, target, customers and elapsed time."""
        coordinates = public.constants.coordinates
        n_places = len(coordinates)
        if public.constants.observes_coordinates:
            first = 5
            out[0], out[1] = coordinates[state.cell, 0], coordinates[state.cell, 1]
            if state.target != NOBODY:
                out[2] = ONE
                out[3], out[4] = coordinates[state.target, 0], coordinates[state.target, 1]
        else:
            first = 2 * n_places
            out[state.cell] = ONE
            if state.target != NOBODY:
                out[n_places + state.target] = ONE
        for place in range(n_places):
            out[first + place] = np.float32((state.customers >> np.uint64(place)) & ONE_BIT)
        out[first + n_places] = public.elapsed

    def check(self) -> None:
        """Check the map and every constant."""
        self.city = city_rows(self.city)
        self.map = City(self.city)
        base_rewards = checks.sequence("base_rewards", self.base_rewards, "hold one number per zone of city")
        if len(base_rewards) != self.map.n_zones:
            raise ValueError(
                f"base_rewards must hold one number per zone of city ({self.map.n_zones}),"
                f" got {checks.shown(base_rewards)}"
            )
        self.base_rewards = tuple(
            checks.real(f"base_rewards[{zone}]", reward, -LARGEST, LARGEST)
            for zone, reward in enumerate(base_rewards)
        )
        self.arrival = checks.real("arrival", self.arrival, 0.0, 1.0)
        self.jam = checks.real("jam", self.jam, 0.0)
        self.jam_cap = checks.real("jam_cap", self.jam_cap, 0.0, 1.0)
        self.jam_width = checks.real("jam_width", self.jam_width, 0.0)
        self.reward_width = checks.real("reward_width", self.reward_width, 0.0)
        self.heterogeneity = checks.real("heterogeneity", self.heterogeneity, 0.0)
        self.observation = checks.choice("observation", self.observation, (ONE_HOT, COORDINATES))
        for name in ("jam_width", "reward_width"):
            # Weights and multipliers stay positive.
            checks.real(f"heterogeneity * {name}", self.heterogeneity * getattr(self, name), 0.0, 1.0)
        super().check()

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.Game.check_snapshot`.

        Taxis are at a start or in a zone, customers in zones, and targets are places that the taxi can reach. At a
        start a taxi has no passenger.
        """
        super().check_snapshot(states, signal)
        zones, starts = self.map.zone_places, self.map.starts
        targets = int(NOBODY), *zones
        parts = np.full(256, -1)  # of all that fits into the field of a place
        parts[: self.n_places] = self.map.parts
        customers = states["customers"] & ~self.map.arrays().customer_places
        for field, what, is_right in (
            ("cell", "a start or a place of a zone", np.isin(states["cell"], (*starts, *zones))),
            (
                "target",
                f"a place of a zone or {NOBODY} for none",
                np.isin(states["target"], targets),
            ),
            (
                "target",
                f"a place that the taxi can reach, or {NOBODY} for none",
                (states["target"] == NOBODY) | (parts[states["target"]] == parts[states["cell"]]),
            ),
            ("customers", "bits of places of zones", customers == NO_BIT),
        ):
            if not is_right.all():
                world, agent = (int(i) for i in np.argwhere(~is_right)[0])
                raise ValueError(
                    f"snapshot.states[{world}, {agent}][{field!r}] must be {what}, got"
                    f" {states[field][world, agent]}"
                )

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw w_j and beta^i independently and uniformly around their centres."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["weight"] = self.jam * self._spread(rng, self.jam_width, (self.n_agents,))
        agents["multiplier"] = self._spread(rng, self.reward_width, (self.n_agents, self.map.n_zones))
        return agents

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """Fields ``weight``, and ``multiplier`` with a number per zone."""
        return np.dtype([("weight", np.float32), ("multiplier", np.float32, (self.map.n_zones,))])

    @property
    def constants(self) -> TaxiConstants:
        """The city's arrays and the numbers that rules read."""
        return TaxiConstants(
            city=self.map.arrays(),
            base_rewards=np.array(self.base_rewards, np.float32),
            arrival=np.float32(self.arrival),
            jam_cap=np.float32(self.jam_cap),
            coordinates=self.map.coordinates(),
            observes_coordinates=np.int32(self.observation == COORDINATES),
        )

    @property
    def initial(self) -> NDArray[np.float32]:
        """The places where taxis may start."""
        return np.array(self.map.starts, np.float32)

    @property
    def n_cells(self) -> int:
        """Number of places of the map."""
        return self.map.n_places

    @property
    def n_places(self) -> int:
        """Number of places of the map."""
        return self.map.n_places

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """The zones: ``zone_1``, ``zone_2``, ..."""
        return {f"zone_{zone + 1}": self.map.places(zone) for zone in range(self.map.n_zones)}

    @property
    def n_features(self) -> int:
        """A feature per place for each of place, target and customers, or six and one per place, and the time."""
        return self.map.n_places + 6 if self.observation == COORDINATES else 3 * self.map.n_places + 1

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Discrete(5): up, down, left, right, wait."""
        return gymnasium.spaces.Discrete(len(self.action_names))

    def place_name(self, place: int) -> str:
        """The row and column of a place."""
        row, column = self.map.where(place)
        return f"{self.map.symbols[place]} ({row}, {column})"

    def _spread(self, rng: np.random.Generator, width: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return 1.0 + self.heterogeneity * width * rng.uniform(-1.0, 1.0, shape)
