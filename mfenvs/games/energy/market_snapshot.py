"""What a snapshot of a market must hold, before an engine continues from it: rules use it as indices unchecked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.conditions import CLOCK, DAY, FEED_IN, RETAIL, WEATHER, WEATHER_SEEN, WORST_WEATHER

ROUNDING = 1e-4
"""Of what is in single precision."""


def check_snapshot(
    states: NDArray[Any], signal: NDArray[np.float32], types: NDArray[Any], days: NDArray[np.int64], steps: int
) -> None:
    """Check states and public signals of a market.

    Parameters
    ----------
    states:
        Local states, shape (n_worlds, n_agents), of :data:`mfenvs.games.energy.market_rules.STATE`.
    signal:
        The public signal, shape (n_worlds, n_signals).
    types:
        The agents' types, shape (n_agents,).
    days:
        Days that may be played, in order, shape (n,).
    steps:
        Steps of a day.

    Raises
    ------
    ValueError
        If agents have not kept their types, a number is out of its range, or the day is not one of those played.
    """
    day, clock = signal[:, DAY], signal[:, CLOCK]
    weather = signal[:, WEATHER_SEEN : WEATHER + 3]
    amounts = ("backlog", "vehicle_need", "peak")
    for what, is_right in (
        ("states['type'] must be the types of the game's agents", states["type"] == types),
        ("states['charge'] must be in [0, 1]", abs(states["charge"] - 0.5) <= 0.5 + ROUNDING),
        *((f"states[{name!r}] must be >= 0", states[name] >= 0) for name in amounts),
        (f"signal must name one of the {len(days)} days from {days[0]} to {days[-1]}", np.isin(day, days)),
        (
            f"signal must name a step of the day in [0, {steps - 1}]",
            (clock == np.rint(clock)) & (clock >= 0) & (clock < steps),
        ),
        ("signal must hold weather in [-0.9, 0.9]", abs(weather) <= WORST_WEATHER + ROUNDING),
        ("signal must hold a feed-in tariff below the retail tariff", signal[:, FEED_IN] < signal[:, RETAIL]),
    ):
        if not np.all(is_right):
            where = [int(i) for i in np.argwhere(~is_right)[0]]
            raise ValueError(f"snapshot.{what}, which is not so at {where}")
