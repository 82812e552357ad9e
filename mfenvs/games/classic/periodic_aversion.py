"""Periodic aversion: agents on a ring pay for speed, avoid crowds and like one side of the ring."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mfenvs import checks
from mfenvs.games.classic.classic_game import StateCountingGame
from mfenvs.rules import crowd, rule


class Circle(NamedTuple):
    """The constants of the periodic aversion, as its rules read them."""

    n_places: int
    most: int
    last_time: int
    dt: float
    dx: float
    aversion: float
    least: float
    noise: NDArray[np.float64]
    """Probability of a shift by -most .. most places."""
    worth: NDArray[np.float64]
    """The reward for each place, per unit of time."""


@functools.cache
def shifts(most: int, dx: float, deviation: float) -> NDArray[np.float64]:
    """Probabilities of shifts by -most .. most places: the normal density there, normalised."""
    density = norm.pdf(dx * np.arange(-most, most + 1), scale=deviation)
    return np.asarray(density / density.sum(), np.float64)


@dataclasses.dataclass(kw_only=True)
class PeriodicAversion(StateCountingGame):
    """Periodic aversion: a diffusion on a ring whose drift agents choose, with an aversion to crowds.

    ``python_mfg_periodic_aversion`` of OpenSpiel, after Elie et al., "On the convergence of model free learning in
    mean field games" (AAAI 2020), who discretise a game of Almulla, Ferreira & Gomes, "Two numerical approaches to
    stationary mean-field games" (2017); tags as in :mod:`mfenvs.games`.

    States: places x = 0 .. n_places - 1 of a ring, at z = x dx with dx = 1 / (n_places - 1). Actions: shifts
    a = -most .. most, numbered from 0.

    * x' = x + a + e on the ring; e in {-most, ..., most} has probabilities proportional to the normal density of
      variance volatility^2 dt at e dx [S]
    * r = dt (-(a dx / dt)^2 / 2 - aversion log(mu(x) / dx + least) + volatility 2 pi^2 sin(2 pi z) - 2 pi^2
      cos(2 pi z)^2 + (2 / volatility^2) sin(2 pi z)); the last action is free [S, where it is paid for one
      step later]
    * the first place is uniform [S]

    The first place and the last one have the same z modulo 1, and are two places all the same [S].

    Known: the uniform policy has value -89.141492 and exploitability 88.091167.
    """

    horizon: int = 20
    """Number of steps H [S]."""
    n_places: int = 21
    """Number of places |S| [S]."""
    most: int = 10
    """Largest shift, of an action and of the noise [S]."""
    dt: float = 0.01
    """Length of a step [S]."""
    volatility: float = 1.0
    """Standard deviation of the noise in a unit of time [S]."""
    aversion: float = 1.0
    """Factor of the aversion to crowds [S]."""
    least: float = 1e-15
    """What is added to mu(x) / dx in its logarithm [S]."""

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that noise k - most leads to, and its probability."""
        circle = world.constants
        return (state + action + k - 2 * circle.most) % circle.n_places, circle.noise[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu) at the present time."""
        circle = world.constants
        speed = (action - circle.most) * circle.dx / circle.dt
        paid = 0.5 * speed * speed if world.time < circle.last_time else 0.0
        dense = math.log(crowd(world, state) / circle.dx + circle.least)
        return circle.dt * (circle.worth[state] - paid - circle.aversion * dense)

    def check(self) -> None:
        """Check sizes and coefficients."""
        self.n_places = checks.integer("n_places", self.n_places, 2, 10_000)
        self.most = checks.integer("most", self.most, 0, 1000)
        self.dt = checks.real("dt", self.dt, 1e-6, 1e6)
        self.volatility = checks.real("volatility", self.volatility, 1e-3, 1e3)
        self.aversion = checks.real("aversion", self.aversion, -1e6, 1e6)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_places

    @property
    def n_actions(self) -> int:
        """|A|: shifts."""
        return 2 * self.most + 1

    @property
    def n_branches(self) -> int:
        """Number of shifts by the noise."""
        return 2 * self.most + 1

    @property
    def constants(self) -> Circle:
        """The ring, the noise and the rewards."""
        dx, around = 1.0 / (self.n_places - 1), 2.0 * np.pi * np.linspace(0.0, 1.0, self.n_places)
        squared = 2.0 * np.pi**2
        worth = (self.volatility * squared + 2.0 / self.volatility**2) * np.sin(around)
        return Circle(
            self.n_places,
            self.most,
            self.horizon - 1,
            self.dt,
            dx,
            self.aversion,
            self.least,
            shifts(self.most, dx, self.volatility * math.sqrt(self.dt)),
            worth - squared * np.cos(around) ** 2,
        )
