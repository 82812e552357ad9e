"""Pictures of a city: taxis and customers in each place, and deliveries in each zone, as text and as an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.taxi.city import BARRIER, START
from mfenvs.games.taxi.taxi import NOBODY, Taxi
from mfenvs.rendering import (
    bar,
    caption,
    check_recorded,
    make_recorder,
    new_figure,
    pixels,
    show_whole_episode,
    sparkline,
)

if TYPE_CHECKING:
    from mfenvs.engine.engine import Engine

FULL_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares that a full bar or the darkest colour may stand for: few, so that pictures of an episode are
comparable."""

PLACE_WIDTH = 9
"""Width of a place in characters: eight places in a row fit into 80 columns."""
HISTORY_WIDTH = 26
BARRIER_CHARACTER = "▒"

HEAT, CUSTOMERS_COLOUR = "Purples", "C9"
"""Colour map of the taxis and colour of the customers; zones are drawn in the colours C0 to C8."""
POINTS_OF_MAP = 220
"""Approximate width and height of the map in an image, in points."""
SMALLEST_FONT = 4.5
"""Smallest font of numbers, in points; numbers that would be smaller are left out."""


class Moment(NamedTuple):
    """Taxis, customers and deliveries in a city at one time."""

    taxis: NDArray[np.float64]
    """Share of the taxis in each place, shape (n_places,)."""
    customers: NDArray[np.float64]
    """Share of the taxis for whom a customer waits in each place, shape (n_places,)."""
    carrying: NDArray[np.int64]
    """Number of taxis with a passenger in each zone, shape (n_zones,)."""
    deliveries: NDArray[np.int64]
    """Number of deliveries in each zone in the step to this time, shape (n_zones,)."""


@make_recorder.register(Taxi)
class CityRecorder:
    """Recorder of the taxis, customers and deliveries of one world, which it shows as text or image.

    Parameters
    ----------
    game:
        The game that the taxis play.
    """

    def __init__(self, game: Taxi) -> None:
        self._game = game
        self._city = city = game.map
        # Starts belong to no zone: they are counted in one more, which is not shown.
        self._zone = np.full(city.n_places, city.n_zones)
        for zone in range(city.n_zones):
            self._zone[list(city.places(zone))] = zone
        self._moments: list[Moment] = []
        self._targets = np.full(game.n_agents, NOBODY)

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""
        self._moments.clear()
        self._targets.fill(NOBODY)

    def record(self, engine: "Engine") -> None:
        """Record the taxis of world 0; a taxi without the passenger that it had has delivered it where it is."""
        states = engine.states[0]
        cells, targets, customers = states["cell"], states["target"], states["customers"]
        carries = targets != NOBODY
        delivers = (self._targets != NOBODY) & ~carries
        waiting = [np.count_nonzero(customers & np.uint64(1 << place)) for place in range(self._city.n_places)]
        self._moments.append(
            Moment(
                taxis=np.bincount(cells, minlength=self._city.n_places) / len(states),
                customers=np.array(waiting) / len(states),
                carrying=self._by_zone(cells[carries]),
                deliveries=self._by_zone(cells[delivers]),
            )
        )
        self._targets[:] = targets

    def ansi(self) -> str:
        """A block of text: the map, then each zone's taxis and deliveries.

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        """
        check_recorded(self._moments)
        return "\n".join([self._caption(), *self._map_lines(), *self._zone_lines()])

    def rgb_array(self) -> NDArray[np.uint8]:
        """The map, and beside it each zone's taxis and deliveries over time, shape (height, width, 3).

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        ImportError
            If matplotlib is not installed.
        """
        check_recorded(self._moments)
        figure, canvas = new_figure()
        figure.suptitle(self._caption(), fontsize="medium")
        left, right = figure.subfigures(1, 2)
        self._draw_map(left)
        self._draw_zones(right)
        return pixels(canvas)

    def _caption(self) -> str:
        return caption(self._game, len(self._moments) - 1)

    def _by_zone(self, cells: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Number of the given places in each zone, shape (n_zones,)."""
        return np.bincount(self._zone[cells], minlength=self._city.n_zones + 1)[:-1]

    def _zone_shares(self) -> NDArray[np.float64]:
        """Share of the taxis in each zone over time, shape (times, n_zones)."""
        taxis = np.stack([moment.taxis for moment in self._moments])
        return np.column_stack([taxis[:, self._zone == zone].sum(axis=1) for zone in range(self._city.n_zones)])

    def _delivered(self) -> NDArray[np.int64]:
        """Deliveries in each zone since the episode began, over time, shape (times, n_zones)."""
        return np.cumsum([moment.deliveries for moment in self._moments], axis=0)

    def _map_lines(self) -> list[str]:
        """Two lines per row of the city: bars, then numbers."""
        now = self._moments[-1]
        full = full_scale(now.taxis)
        lines = []
        for row in np.arange(self._city.n_places).reshape(-1, self._city.width):
            pairs = [self._place_lines(place, now, full) for place in row]
            lines += ["│".join(line).rstrip() for line in zip(*pairs, strict=True)]
        return [
            *lines,
            "",
            f"Share of taxis (full bar: {full:.0%}) and customers per taxi in each place;"
            f" {BARRIER_CHARACTER} barrier.",
            "",
        ]

    def _place_lines(self, place: int, now: Moment, full: float) -> tuple[str, str]:
        symbol = self._city.symbols[place]
        if symbol == BARRIER:
            return BARRIER_CHARACTER * PLACE_WIDTH, BARRIER_CHARACTER * PLACE_WIDTH
        customers = "" if symbol == START else per_taxi(now.customers[place])
        share = percent(now.taxis[place])
        return (
            f"{symbol} {bar(now.taxis[place] / full, PLACE_WIDTH - 2)}",
            share + customers.rjust(PLACE_WIDTH - len(share)),
        )

    def _zone_lines(self) -> list[str]:
        """A table with a line per zone."""
        now, shares, delivered = self._moments[-1], self._zone_shares(), self._delivered()[-1]
        lines = [f"{'taxis':>13}  {'over time':<{HISTORY_WIDTH}} carrying  delivered  per taxi    now"]
        for zone, history in enumerate(shares.T):
            lines.append(
                f"zone {zone + 1} {history[-1]:6.1%}  {sparkline(history, HISTORY_WIDTH):<{HISTORY_WIDTH}}"
                f" {now.carrying[zone]:8d} {delivered[zone]:10d} {delivered[zone] / self._game.n_agents:9.2f}"
                f" {now.deliveries[zone]:6d}"
            )
        return lines

    def _draw_map(self, figure: Any) -> None:
        """The city as a heat map of taxis, with a bar of customers in each place."""
        city, now = self._city, self._moments[-1]
        shape = len(city.rows), city.width
        full = full_scale(now.taxis)
        axes = figure.add_subplot()
        axes.set_axis_off()
        percents = 100.0 * now.taxis.reshape(shape)
        heat = axes.imshow(percents, cmap=HEAT, vmin=0.0, vmax=100.0 * full, aspect="auto")
        figure.colorbar(heat, ax=axes, location="bottom", label="share of taxis, %", aspect=30, pad=0.02)
        barriers = [place for place, symbol in enumerate(city.symbols) if symbol == BARRIER]
        self._draw_tiles(axes, barriers, facecolor="0.25", edgecolor="0.6", hatch="///", linewidth=0.0)
        for zone in range(city.n_zones):
            self._draw_tiles(axes, city.places(zone), edgecolor=f"C{zone}")
            self._draw_customers(axes, city.places(zone))
        self._draw_tiles(axes, city.starts, edgecolor="black", linestyle=":")
        self._write_numbers(axes, dark=now.taxis > 0.55 * full)

    def _tile_points(self) -> NDArray[np.float64]:
        """Approximate width and height of a place in an image, in points."""
        return POINTS_OF_MAP / np.array([self._city.width, len(self._city.rows)])

    def _draw_tiles(self, axes: Any, places: Sequence[int], **style: Any) -> None:
        """Places with a frame that touches, but does not cover, the frames around."""
        tile = self._tile_points()
        line = min(1.5, 0.1 * tile.min())
        width, height = 1.0 - line / tile
        rows, columns = np.divmod(places, self._city.width)
        style = {"facecolor": "none", "linewidth": line, **style}
        axes.bar(columns, height, width, bottom=rows - height / 2, **style)

    def _draw_customers(self, axes: Any, places: Sequence[int]) -> None:
        """At the bottom of each place a bar, full if a customer waits for every taxi."""
        rows, columns = np.divmod(places, self._city.width)
        waiting = self._moments[-1].customers[list(places)]
        height = min(0.1, 4.0 / self._tile_points()[1])
        bottom_left = {"y": rows + 0.42 - height / 2, "left": columns - 0.42, "height": height}
        axes.barh(width=0.84, color="white", edgecolor=CUSTOMERS_COLOUR, linewidth=0.4, **bottom_left)
        axes.barh(width=0.84 * waiting, color=CUSTOMERS_COLOUR, **bottom_left)

    def _write_numbers(self, axes: Any, dark: NDArray[np.bool_]) -> None:
        """In each place the share of taxis and the customers per taxi, or that it is a start; the map's title."""
        # Five characters, as well as two lines above a bar, take about 3.8 times the size of their font.
        font = min(9.0, self._tile_points().min() / 3.8)
        has_numbers = font >= SMALLEST_FONT
        what = "above: share of taxis\nbelow and bar" if has_numbers else "colour: share of taxis\nbar"
        axes.set_title(f"{what}: customers waiting per taxi", fontsize="small")
        if not has_numbers:
            return
        now = self._moments[-1]
        for place, symbol in enumerate(self._city.symbols):
            if symbol == BARRIER:
                continue
            row, column = self._city.where(place)
            below = "start" if symbol == START else per_taxi(now.customers[place])
            style = {
                "ha": "center",
                "va": "center",
                "fontsize": font,
                "color": "white" if dark[place] else "black",
            }
            axes.text(column, row - 0.22, percent(now.taxis[place]), **style)
            axes.text(column, row + 0.12, below, **style)

    def _draw_zones(self, figure: Any) -> None:
        """Taxis and deliveries of each zone over time."""
        above, below = figure.subplots(2, sharex=True)
        delivered = self._delivered() / self._game.n_agents
        self._draw_history(above, self._zone_shares())
        self._draw_history(below, delivered)
        above.set_ylim(0.0, 1.0)
        above.yaxis.set_major_formatter("{x:.0%}")
        above.set_ylabel("share of taxis")
        # Up to a tenth at least: the first few deliveries should not fill the plot.
        below.set_ylim(0.0, 1.05 * max(delivered.max(), 0.1))
        below.set_ylabel("deliveries per taxi")
        show_whole_episode(below, self._game)
        figure.legend(
            *above.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=min(self._city.n_zones, 5),
            fontsize="small",
            frameon=False,
            columnspacing=1.0,
            handlelength=1.0,
        )

    def _draw_history(self, axes: Any, values: NDArray[np.float64]) -> None:
        """A stepped line per zone: the value at time h from h - 1/2 to h + 1/2."""
        edges = np.arange(len(values) + 1) - 0.5
        for zone, history in enumerate(values.T):
            axes.stairs(history, edges, baseline=None, color=f"C{zone}", linewidth=1.5, label=f"zone {zone + 1}")


def full_scale(shares: NDArray[np.float64]) -> float:
    """The share of a full bar and of the darkest colour."""
    return min(scale for scale in FULL_SCALES if scale >= shares.max())


def percent(share: float) -> str:
    """A share in at most five characters."""
    return f"{share:.1%}".replace("100.0%", "100%")


def per_taxi(customers: float) -> str:
    """A number from 0 to 1 in three characters: .00 to .99, 1.0."""
    return f"{customers:.2f}".removeprefix("0")[:3]
