"""City maps of A-Taxi: read from text, checked, and turned into the arrays that the game's rules read."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mfenvs.checks import shown

START, BARRIER = "S", "H"
ZONES = "123456789"

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Row and column steps of the actions up, down, left and right."""

MAX_PLACES = 64
"""Largest number of places: customers are bits of one 64-bit word."""


class CityArrays(NamedTuple):
    """The arrays of a city that the rules read."""

    moves: NDArray[np.uint8]
    """Place to which each move leads, the present place if the way is blocked, shape (n_places, 4)."""
    zone: NDArray[np.uint8]
    """Zone of each place, from 0, without meaning for starts and barriers, shape (n_places,)."""
    targets: NDArray[np.uint8]
    """The places of each zone, shape (n_zones, number of places of the largest zone)."""
    n_targets: NDArray[np.int32]
    """Number of places of each zone, shape (n_zones,)."""
    customer_places: np.uint64
    """Set of the places that belong to a zone: bit p stands for place p."""


@dataclasses.dataclass(frozen=True)
class City:
    """A rectangular map, whose places are numbered row by row.

    Parameters
    ----------
    rows:
        One text per row with a character per place: ``S`` a start, ``H`` a barrier, ``1`` to ``9`` the zone.

    Raises
    ------
    TypeError
        If ``rows`` are not texts.
    ValueError
        If the map is not rectangular, has another character, no start, no zone, zones that are not numbered from
        1 on, a start that no taxi can leave, a place that none can reach, a zone in parts that no taxi can travel
        between, or more than 64 places.
    """

    rows: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(row, str) for row in self.rows):
            raise TypeError(f"city must be rows of text, got {shown(self.rows)}")
        if not self.rows:
            raise ValueError("city must have at least one row, got none")
        for number, row in enumerate(self.rows):
            if len(row) != len(self.rows[0]) or not row:
                raise ValueError(
                    f"city must be rectangular: row 0 ({shown(self.rows[0])}) has {len(self.rows[0])} places, row"
                    f" {number} ({shown(row)}) has {len(row)}"
                )
            for column, symbol in enumerate(row):
                if symbol not in START + BARRIER + ZONES:
                    raise ValueError(
                        f"city[{number}][{column}] must be {START} (start), {BARRIER} (barrier) or a zone 1 to 9,"
                        f" got {symbol!r}"
                    )
        if self.n_places > MAX_PLACES:
            raise ValueError(f"city must have at most {MAX_PLACES} places, got {self.n_places}")
        if START not in self.symbols:
            raise ValueError(f"city must have a start ({START}), got {shown(self.rows)}")
        found = sorted(set(self.symbols) & set(ZONES))
        if not found or found != list(ZONES[: len(found)]):
            given = ", ".join(found) or "none"
            raise ValueError(f"the zones of city must be 1, 2, ... without a gap, got {given}")
        self._check_ways()

    @property
    def width(self) -> int:
        """Number of places in a row."""
        return len(self.rows[0])

    @property
    def symbols(self) -> str:
        """The characters of all places, row by row."""
        return "".join(self.rows)

    @property
    def n_places(self) -> int:
        """Number of places, starts and barriers included."""
        return len(self.symbols)

    @property
    def n_zones(self) -> int:
        """Number of zones."""
        return len(set(self.symbols) & set(ZONES))

    @property
    def starts(self) -> tuple[int, ...]:
        """The places where taxis may start."""
        return tuple(place for place, symbol in enumerate(self.symbols) if symbol == START)

    @property
    def zone_places(self) -> tuple[int, ...]:
        """The places of all zones."""
        return tuple(place for place, symbol in enumerate(self.symbols) if symbol in ZONES)

    def places(self, zone: int) -> tuple[int, ...]:
        """The places of a zone; zone 0 is the one that the map calls 1."""
        return tuple(place for place, symbol in enumerate(self.symbols) if symbol == ZONES[zone])

    def where(self, place: int) -> tuple[int, int]:
        """Row and column of a place."""
        return divmod(place, self.width)

    def coordinates(self) -> NDArray[np.float32]:
        """Row and column of each place, scaled to [0, 1], shape (n_places, 2)."""
        largest = max(len(self.rows) - 1, 1), max(self.width - 1, 1)
        places = np.array([self.where(place) for place in range(self.n_places)]) / np.array(largest)
        scaled: NDArray[np.float32] = places.astype(np.float32)
        return scaled

    def after(self, place: int, move: int) -> int:
        """The place to which a move leads; moves into starts are blocked, so that a start is left for good."""
        row, column = self.where(place)
        row, column = row + MOVES[move][0], column + MOVES[move][1]
        inside = 0 <= row < len(self.rows) and 0 <= column < self.width
        return row * self.width + column if inside and self.rows[row][column] in ZONES else place

    @functools.cached_property
    def parts(self) -> NDArray[np.int64]:
        """Number of the part of the city that each place is in, -1 for starts and barriers, shape (n_places,).

        A part is a set of places between which a taxi can travel: a zone, or several that adjoin.
        """
        in_zone = [place for place, symbol in enumerate(self.symbols) if symbol in ZONES]
        ways = np.array([(place, self.after(place, move)) for place in in_zone for move in range(len(MOVES))])
        # Ways between zones' places go in both directions, so that weak components tell what can be reached.
        graph = coo_array((np.ones(len(ways)), ways.T), shape=(self.n_places, self.n_places))
        labels = connected_components(graph, directed=False)[1]
        found = np.full(self.n_places, -1)
        found[in_zone] = np.unique(labels[in_zone], return_inverse=True)[1]
        found.flags.writeable = False
        return found

    def arrays(self) -> CityArrays:
        """The arrays that the rules read."""
        zones = [self.places(zone) for zone in range(self.n_zones)]
        targets = np.zeros((self.n_zones, max(map(len, zones))), np.uint8)
        zone_of = np.zeros(self.n_places, np.uint8)
        for zone, places in enumerate(zones):
            targets[zone, : len(places)] = places
            zone_of[list(places)] = zone
        moves = [[self.after(place, move) for move in range(len(MOVES))] for place in range(self.n_places)]
        return CityArrays(
            moves=np.array(moves, np.uint8),
            zone=zone_of,
            targets=targets,
            n_targets=np.array([len(places) for places in zones], np.int32),
            customer_places=np.uint64(sum(1 << place for places in zones for place in places)),
        )

    def _check_ways(self) -> None:
        """Check that every place of a zone can be reached from a start and from every other place of the zone."""
        part = self.parts
        entered: set[int] = set()
        for start in self.starts:
            ways_out = {self.after(start, move) for move in range(len(MOVES))} - {start}
            if not ways_out:
                raise ValueError(f"no taxi can leave the start city[{_at(self.where(start))}]: {self.rows!r}")
            entered |= {int(part[place]) for place in ways_out}
        for zone in range(self.n_zones):
            first, *others = self.places(zone)
            for place in (first, *others):
                if part[place] not in entered:
                    where = _at(self.where(place))
                    raise ValueError(f"no taxi can reach city[{where}] from a start: {self.rows!r}")
                if part[place] != part[first]:
                    raise ValueError(
                        f"zone {zone + 1} is in parts: no taxi can get from city[{_at(self.where(first))}] to"
                        f" city[{_at(self.where(place))}] to deliver a customer: {self.rows!r}"
                    )


def city_rows(city: str | Sequence[str]) -> tuple[str, ...]:
    """A map, given as a sequence of rows or a text with line breaks, as a tuple of rows; TypeError for others."""
    if not isinstance(city, str | Sequence):
        raise TypeError(f"city must be rows of text, got {shown(city)}")
    return tuple(city.split()) if isinstance(city, str) else tuple(city)


def _at(place: tuple[int, int]) -> str:
    return f"{place[0]}][{place[1]}"
