"""Road networks: links with congestion, and the trips of vehicles, checked and numbered."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mfenvs import checks

LARGEST_NUMBER = 1e30
"""Largest travel time, volume or coefficient of a network."""
MOST_LINKS = 100_000
"""Largest number of links, and of trips."""


class Link(NamedTuple):
    """A one-way road from a node to a node.

    With v vehicles on it when a vehicle enters, that vehicle's travel time is
    ``free_flow_time * (1 + coefficient * (v / capacity) ** power)``, the function of the U.S. Bureau of Public
    Roads.
    """

    start: str
    """Name of the node where the link begins."""
    end: str
    """Name of the node where it ends."""
    free_flow_time: float
    """Travel time on the empty link, >= 0."""
    capacity: float
    """Capacity in vehicles, > 0."""
    coefficient: float = 0.15
    """Coefficient of congestion, >= 0."""
    power: float = 4.0
    """Power of congestion, >= 0."""


class Trip(NamedTuple):
    """Vehicles that travel from one node to another."""

    origin: str
    """Name of the origin, a node with one link out: the vehicles begin at the end of that link."""
    destination: str
    """Name of the destination, a node with one link in: the vehicles arrive when they enter that link."""
    vehicles: float
    """Number of vehicles, > 0."""
    departure: float = 0.0
    """Time of departure, >= 0, in the unit of travel times."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A checked network, with links, nodes and destinations by their numbers."""

    links: tuple[Link, ...]
    trips: tuple[Trip, ...]
    total: float
    """Number of vehicles of all trips."""
    turns: tuple[tuple[int, ...], ...]
    """Of every link, the links that begin where it ends."""
    first_links: tuple[int, ...]
    """Of every trip, the link at whose end its vehicles begin."""
    last_links: tuple[int, ...]
    """The links on which vehicles arrive, each once."""
    goals: tuple[int, ...]
    """Of every trip, the position of its last link among ``last_links``."""

    def travel_time(self, link: int, vehicles: float) -> float:
        """The travel time of a link with so many vehicles; infinity if it is too large for a float."""
        road = self.links[link]
        try:
            return float(road.free_flow_time * (1.0 + road.coefficient * (vehicles / road.capacity) ** road.power))
        except OverflowError:
            return math.inf


def checked_network(links: Any, trips: Any) -> Network:
    """Check links and trips, and number them.

    Parameters
    ----------
    links:
        Links, each with the entries of :class:`Link`.
    trips:
        Trips, each with the entries of :class:`Trip`.

    Raises
    ------
    TypeError
        If they are not sequences of such entries.
    ValueError
        If a number is not allowed; if there are two links between the same nodes in the same direction, or a link
        from a node to itself; if an origin has not exactly one link out, or a destination not exactly one link in;
        if two trips are the same but for their numbers of vehicles; if a destination cannot be reached.
    """
    roads = tuple(_link(f"links[{k}]", row) for k, row in enumerate(_rows("links", links, "link")))
    travels = tuple(_trip(f"trips[{k}]", row) for k, row in enumerate(_rows("trips", trips, "trip")))
    number: dict[tuple[str, str], int] = {}
    outgoing: dict[str, list[int]] = {}
    incoming: dict[str, list[int]] = {}
    for k, road in enumerate(roads):
        if (road.start, road.end) in number:
            first = number[road.start, road.end]
            raise ValueError(f"links[{k}] must not go from {road.start!r} to {road.end!r} as links[{first}] does")
        number[road.start, road.end] = k
        outgoing.setdefault(road.start, []).append(k)
        incoming.setdefault(road.end, []).append(k)
    turns = tuple(tuple(outgoing.get(road.end, ())) for road in roads)
    first_links, ends = [], []
    reached: dict[int, set[int]] = {}
    seen: dict[tuple[str, str, float], int] = {}
    for k, trip in enumerate(travels):
        first_links.append(_only(f"trips[{k}].origin", trip.origin, outgoing, "out of"))
        ends.append(_only(f"trips[{k}].destination", trip.destination, incoming, "into"))
        same = seen.setdefault((trip.origin, trip.destination, trip.departure), k)
        if same != k:
            raise ValueError(f"trips[{k}] must not be the same trip as trips[{same}]: add their vehicles up")
        if first_links[k] == ends[k]:
            raise ValueError(f"trips[{k}] must lead to another link, got {trip.origin!r} to {trip.destination!r}")
        if first_links[k] not in reached:
            reached[first_links[k]] = _ahead(first_links[k], turns)
        if ends[k] not in reached[first_links[k]]:
            raise ValueError(
                f"trips[{k}] must be possible: no way leads from {trip.origin!r} to {trip.destination!r}"
            )
    last_links = tuple(dict.fromkeys(ends))
    goals = tuple(last_links.index(end) for end in ends)
    total = math.fsum(trip.vehicles for trip in travels)
    network = Network(roads, travels, total, turns, tuple(first_links), last_links, goals)
    for k, road in enumerate(roads):
        if not network.travel_time(k, total) < LARGEST_NUMBER:
            raise ValueError(
                f"links[{k}] must have a travel time below {LARGEST_NUMBER:g} with all {total:g} vehicles on it,"
                f" got {road}"
            )
    return network


def with_connectors(links: Iterable[Any], trips: Iterable[Any]) -> tuple[tuple[Link, ...], tuple[Trip, ...]]:
    """Add origins and destinations to a network in which trips go from an inner node to an inner node.

    Every node k where trips begin gets a link from a new node ``bef_k``, and every node k where trips end gets a
    link to a new node ``aft_k``; both have travel time 0. This is OpenSpiel's way.

    Parameters
    ----------
    links:
        Links, each with the entries of :class:`Link`.
    trips:
        Trips, each with the entries of :class:`Trip`, between nodes of these links.

    Returns
    -------
    The links with the new ones behind them, and the trips between the new nodes.
    """
    travels = [Trip(*trip) for trip in trips]
    origins = dict.fromkeys(trip.origin for trip in travels)
    destinations = dict.fromkeys(trip.destination for trip in travels)
    before = [Link(f"bef_{node}", node, 0.0, 1.0, 0.0) for node in origins]
    after = [Link(node, f"aft_{node}", 0.0, 1.0, 0.0) for node in destinations]
    moved = [trip._replace(origin=f"bef_{trip.origin}", destination=f"aft_{trip.destination}") for trip in travels]
    return (*(Link(*link) for link in links), *before, *after), tuple(moved)


def _rows(name: str, value: Any, what: str) -> Sequence[Any]:
    rows = checks.sequence(name, value, f"hold an entry for each {what}")
    if not 1 <= len(rows) <= MOST_LINKS:
        raise ValueError(f"{name} must hold from 1 to {MOST_LINKS} entries, got {len(rows)}")
    return rows


def _link(name: str, row: Any) -> Link:
    link = Link(*_entries(name, row, Link))
    start, end = _node(f"{name}.start", link.start), _node(f"{name}.end", link.end)
    if start == end:
        raise ValueError(f"{name} must lead to another node, got a link from {start!r} to itself")
    return Link(
        start,
        end,
        checks.real(f"{name}.free_flow_time", link.free_flow_time, 0.0, LARGEST_NUMBER),
        checks.real(f"{name}.capacity", link.capacity, 0.0, LARGEST_NUMBER, exclude_low=True),
        checks.real(f"{name}.coefficient", link.coefficient, 0.0, LARGEST_NUMBER),
        checks.real(f"{name}.power", link.power, 0.0, 100.0),
    )


def _trip(name: str, row: Any) -> Trip:
    trip = Trip(*_entries(name, row, Trip))
    return Trip(
        _node(f"{name}.origin", trip.origin),
        _node(f"{name}.destination", trip.destination),
        checks.real(f"{name}.vehicles", trip.vehicles, 0.0, LARGEST_NUMBER, exclude_low=True),
        checks.real(f"{name}.departure", trip.departure, 0.0, LARGEST_NUMBER),
    )


def _entries(name: str, row: Any, kind: Any) -> tuple[Any, ...]:
    """The entries of a link or trip; those that have defaults may be left out at the end."""
    fields, defaults = kind._fields, kind._field_defaults
    entries = checks.sequence(name, row, f"hold {', '.join(fields)}")
    if not len(fields) - len(defaults) <= len(entries) <= len(fields):
        raise ValueError(f"{name} must hold {', '.join(fields)}, got {checks.shown(row)}")
    return entries


def _node(name: str, value: Any) -> str:
    node = checks.text(name, value)
    if not node:
        raise ValueError(f"{name} must be the name of a node, got an empty text")
    return node


def _only(name: str, node: str, links: dict[str, list[int]], way: str) -> int:
    found = links.get(node, [])
    if len(found) != 1:
        raise ValueError(f"{name} must be a node with exactly one link {way} it, got {node!r} with {len(found)}")
    return found[0]


def _ahead(link: int, turns: tuple[tuple[int, ...], ...]) -> set[int]:
    """The links that can be reached from the end of a link."""
    found: set[int] = set()
    waiting = [link]
    while waiting:
        for turn in turns[waiting.pop()]:
            if turn not in found:
                found.add(turn)
                waiting.append(turn)
    return found
