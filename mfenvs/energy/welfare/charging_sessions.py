"""Charging sessions of electric vehicles, as a planner knows them."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

Array = NDArray[np.float64]

MOST_AMOUNT = 1e12
"""Largest energy (kWh) and penalty (EUR/kWh) of a session."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChargingSessions:
    """S charging sessions of electric vehicles, which draw energy and return none. There are none by default.

    Parameters
    ----------
    agent:
        Index of the agent whose vehicle it is, shape (S,).
    arrival:
        First step in which it can charge, shape (S,), >= 0.
    departure:
        Step before which it must be charged, shape (S,), at least ``arrival``; it may lie behind the last step.
    energy:
        Energy that it needs at its plug, kWh, shape (S,), >= 0.
    power:
        Largest energy that it draws in a step, kWh, shape (S,), >= 0.
    penalty:
        Cost of energy that is missing at the departure, EUR/kWh, shape (S,).

    Raises
    ------
    TypeError, ValueError
        If an array is of another shape or kind, or a value is not allowed; the message says where.
    """

    agent: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    arrival: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    departure: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    energy: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    power: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    penalty: Array = dataclasses.field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if np.ndim(self.agent) != 1:
            raise ValueError(f"agent must have shape (S,), got {np.shape(self.agent)}")
        shape = (len(self.agent),)
        for name in ("agent", "arrival", "departure"):
            self._keep(name, checks.indices(name, getattr(self, name), shape, 0, 2**31 - 1).astype(np.int64))
        for name in ("energy", "power", "penalty"):
            amounts = checks.finite_numbers(name, getattr(self, name), shape).copy()
            least = -MOST_AMOUNT if name == "penalty" else 0.0
            wrong = np.flatnonzero((amounts < least) | (amounts > MOST_AMOUNT))
            if len(wrong):
                at = int(wrong[0])
                raise ValueError(
                    f"{name}[{at}] must be in [{least:g}, {MOST_AMOUNT:g}], got {float(amounts[at])!r}"
                )
            self._keep(name, amounts)
        if (backwards := np.flatnonzero(self.departure < self.arrival)).size:
            at = int(backwards[0])
            raise ValueError(
                f"departure[{at}] must be at least arrival = {self.arrival[at]}, got {self.departure[at]}"
            )

    def _keep(self, name: str, array: NDArray[np.int64] | Array) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.agent)

    def check_within(self, n_agents: int, n_steps: int) -> None:
        """Raise a ValueError unless all sessions are of ``n_agents`` agents and begin within ``n_steps`` steps."""
        for name, most in (("agent", n_agents - 1), ("arrival", n_steps - 1)):
            checks.indices(f"sessions.{name}", getattr(self, name), (len(self),), 0, most)

    def is_plugged_in(self, n_steps: int) -> NDArray[np.bool_]:
        """Whether each vehicle can charge in each step, shape (S, n_steps)."""
        steps = np.arange(n_steps)
        plugged: NDArray[np.bool_] = (steps >= self.arrival[:, None]) & (steps < self.departure[:, None])
        return plugged

    def charged_on_arrival(self, n_steps: int) -> tuple[Array, Array]:
        """What each session draws in each step (S, n_steps) and lacks in the end (S,) without any plan, kWh.

        Every vehicle charges from its arrival on, as fast as it can.
        """
        could = np.cumsum(self.power[:, None] * self.is_plugged_in(n_steps), axis=1)
        total = np.minimum(could, self.energy[:, None])
        drawn = np.diff(total, prepend=0.0, axis=1)
        return drawn, self.energy - drawn.sum(axis=1)

    def of_agents(self, drawn: Array, n_agents: int) -> Array:
        """Energy of the sessions (S, n_steps), summed by agent, shape (n_agents, n_steps)."""
        total = np.zeros((n_agents, drawn.shape[1]))
        np.add.at(total, self.agent, drawn)
        return total


NO_SESSIONS = ChargingSessions()
"""No electric vehicles."""
