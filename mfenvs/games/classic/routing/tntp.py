"""Reading road networks from files in the TNTP format."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mfenvs import checks
from mfenvs.files import FileError
from mfenvs.games.classic.routing.network import MOST_LINKS, Link, Trip, checked_network, with_connectors

MOST_BYTES = 2**26
"""Largest size of a file."""
METADATA = re.compile(r"<([^<>]+)>\s*(\S*)")
END = "END OF METADATA"
SAME_TOTAL = 1e-6
"""Largest relative distance of the sum of all trips from the total that the file states."""


def read_tntp(network: str | Path, trips: str | Path) -> tuple[tuple[Link, ...], tuple[Trip, ...]]:
    """Read a road network and its trips in the TNTP format.

    The format is that of the collection "Transportation Networks for Research" of the Transportation Networks for
    Research Core Team (https://github.com/bstabler/TransportationNetworks).

    Parameters
    ----------
    network:
        Path of the file of links: init node, term node, capacity, length, free-flow time, b, power and more, which
        is not read.
    trips:
        Path of the file of trips: ``Origin k`` and then pairs ``node : vehicles;``.

    Returns
    -------
    Links and trips for :class:`~mfenvs.games.classic.routing.game.DynamicRouting`, with connectors
    (:func:`~mfenvs.games.classic.routing.network.with_connectors`). Nodes below the file's first thru node are not
    driven through: they become two nodes, ``k:out`` and ``k:in``. Trips without vehicles, and from a node to
    itself, are left out.

    Raises
    ------
    mfenvs.files.FileError
        If a file cannot be read, or is not in this format: the message names the file and the line. If its links
        are not as many, or its trips not as much together, as it says; if the network is not one that
        :func:`~mfenvs.games.classic.routing.network.checked_network` allows.
    """
    with _blaming(network):
        links, first_through = _links(_lines(network))
    with _blaming(trips):
        travels = _trips(_lines(trips))

    def name(node: int, side: str) -> str:
        return f"{node}:{side}" if node < first_through else str(node)

    roads, moved = with_connectors(
        [Link(name(start, "out"), name(end, "in"), *numbers) for start, end, *numbers in links],
        [Trip(name(start, "out"), name(end, "in"), vehicles) for start, end, vehicles in travels],
    )
    with _blaming(network):
        checked_network(roads, moved)
    return roads, moved


def _links(
    text: tuple[dict[str, str], list[tuple[int, str]]],
) -> tuple[list[tuple[int, int, float, float, float, float]], int]:
    metadata, lines = text
    links = []
    for number, line in lines:
        words = line.rstrip("; \t").split()
        if len(words) < 7:
            raise ValueError(f"line {number} must hold at least 7 numbers, got {checks.shown(line)}")
        start, end = _node(number, words[0]), _node(number, words[1])
        capacity, _, time, coefficient, power = (_number(number, word) for word in words[2:7])
        links.append((start, end, time, capacity, coefficient, power))
        if len(links) > MOST_LINKS:
            raise ValueError(f"it must hold at most {MOST_LINKS} links")
    stated = _node(0, metadata["NUMBER OF LINKS"]) if "NUMBER OF LINKS" in metadata else len(links)
    if stated != len(links):
        raise ValueError(f"it must hold {stated} links, as it says, got {len(links)}")
    return links, _node(0, metadata.get("FIRST THRU NODE", "1"))


def _trips(text: tuple[dict[str, str], list[tuple[int, str]]]) -> list[tuple[int, int, float]]:
    metadata, lines = text
    trips, origin, total = [], 0, []
    for number, line in lines:
        if line.startswith("Origin"):
            origin = _node(number, line.removeprefix("Origin").strip())
            continue
        for pair in filter(None, (part.strip() for part in line.split(";"))):
            destination, found, vehicles = pair.partition(":")
            if not found or not origin:
                raise ValueError(
                    f"line {number} must hold 'node : vehicles;' after an origin, got {checks.shown(line)}"
                )
            trip = origin, _node(number, destination.strip()), _number(number, vehicles.strip())
            total.append(trip[2])
            if trip[2] != 0.0 and trip[0] != trip[1]:
                trips.append(trip)
            if len(total) > MOST_LINKS:
                raise ValueError(f"it must hold at most {MOST_LINKS} trips")
    stated, found_total = metadata.get("TOTAL OD FLOW"), math.fsum(total)
    if stated is not None and not abs(_number(0, stated) - found_total) <= SAME_TOTAL * found_total:
        raise ValueError(f"its trips must add up to {stated} vehicles, as it says, got {found_total:g}")
    return trips


def _lines(path: str | Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The metadata by name, and the lines after them with their numbers, without comments and empty lines."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError("it is not a file")
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        text = file.read(MOST_BYTES).decode()
    metadata: dict[str, str] = {}
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if END in metadata:
            if line and not line.startswith("~"):
                lines.append((number, line))
        elif found := METADATA.match(line):
            metadata[found[1].strip().upper()] = found[2]
    if END not in metadata:
        raise ValueError(f"it must have a line <{END}>")
    return metadata, lines


def _node(line: int, word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) > 0):
        raise ValueError(f"{_where(line)} must be a number of a node, 1, 2, ..., got {checks.shown(word)}")
    return int(word)


def _number(line: int, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{_where(line)} must be a finite number >= 0, got {checks.shown(word)}")
    return number


def _where(line: int) -> str:
    return f"an entry of line {line}" if line else "an entry of the metadata"


@contextlib.contextmanager
def _blaming(path: str | Path) -> Iterator[None]:
    """Turn any error into one that names the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: {error}") from error
