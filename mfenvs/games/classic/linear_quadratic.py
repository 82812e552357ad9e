"""Discretised linear-quadratic games: agents steer towards the mean of all, on a line and on a ring."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mfenvs import checks
from mfenvs.games.classic.classic_game import ClassicGame, StateCountingGame
from mfenvs.games.classic.line import held
from mfenvs.rules import crowd, rule

TIE = 1e-9
"""Numbers that are as near as this to half an integer count as half: the rest is rounding."""


@rule
def nearest(number: Any) -> Any:
    """The nearest integer; of two, the even one."""
    below = math.floor(number)
    part = number - below
    up = part > 0.5 + TIE or (part >= 0.5 - TIE and below % 2 != 0)
    return int(below) + (1 if up else 0)


class Line(NamedTuple):
    """The constants of the linear-quadratic chain, as its rules read them."""

    reach: int
    most: int
    last_time: int
    pull: float
    dt: float
    cross: float
    kappa: float
    final: float
    shifts: NDArray[np.float64]
    """Noise, in places."""
    weights: NDArray[np.float64]
    """Its probabilities."""


@rule
def mean_place(world: Any, n_cells: Any, first: Any) -> Any:
    """The mean place of all agents, counted by place; ``first`` is the number of the first one."""
    total = 0.0
    for cell in range(n_cells):
        total += (first + cell) * crowd(world, cell)
    return total


@dataclasses.dataclass(kw_only=True)
class LinearQuadraticChain(StateCountingGame):
    """Linear-quadratic chain: agents on a line steer towards the mean of all, at quadratic costs.

    ``linear_quadratic`` of MFGLib, after Perrin et al., "Fictitious play for mean field games" (NeurIPS 2020);
    tags as in :mod:`mfenvs.games`.

    States: places x = -reach .. reach, numbered from 0. Actions: velocities a = -most .. most, numbered from 0.
    m is the mean place of all.

    * x' = x + (pull (m - x) + a) dt + volatility e sqrt(dt), rounded to the nearest place, of two to the even one,
      and held back at the ends; e is in {-3, ..., 3}, with probabilities proportional to exp(-e^2 / 2) [S]
    * r = dt (-a^2 / 2 + cross a (m - x) - (kappa / 2) (m - x)^2) before the last step, and
      -(final / 2) (m - x)^2 in the last [S]
    * the first place is uniform [S]

    In the source the volatility enters the noise twice, in the values of e and as a factor, so that e = 0 with
    probability .978 and the game is nearly without noise. Here it enters once [R]; ``twice=True`` is the source's
    game [S].

    Known: the uniform policy has value -5.047866 and exploitability 1.796656; with ``twice=True`` -4.538123 and
    2.138123.
    """

    horizon: int = 4
    """Number of steps H [S]."""
    reach: int = 5
    """Largest place [S]."""
    most: int = 2
    """Largest velocity [S]."""
    pull: float = 1.0
    """Strength k of the pull towards the mean [S]."""
    dt: float = 0.1
    """Length of a step [S]."""
    volatility: float = 3.0
    """Standard deviation sigma of the noise in a unit of time [S]."""
    cross: float = 0.01
    """Coefficient q of the product of the velocity and the distance from the mean [S]."""
    kappa: float = 0.5
    """Coefficient kappa of the squared distance from the mean [S]."""
    final: float = 1.0
    """Coefficient c of the last squared distance from the mean [S]."""
    twice: bool = False
    """Whether the volatility enters twice, as in the source."""

    n_signals = 1
    n_branches = 7

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the mean place into the signal."""
        reach = world.constants.reach
        signal[0] = mean_place(world, 2 * reach + 1, -reach)

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that the k-th noise leads to, given the mean place, and its probability."""
        line = world.constants
        place, velocity = state - line.reach, action - line.most
        ahead = place + (line.pull * (world.signal[0] - place) + velocity) * line.dt
        return held(nearest(ahead + line.shifts[k]) + line.reach, 2 * line.reach), line.weights[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, m) at the present time."""
        line = world.constants
        velocity, away = action - line.most, world.signal[0] - (state - line.reach)
        running = -0.5 * velocity * velocity + line.cross * velocity * away - 0.5 * line.kappa * away * away
        return line.dt * running if world.time < line.last_time else -0.5 * line.final * away * away

    def check(self) -> None:
        """Check sizes and coefficients."""
        self.reach = checks.integer("reach", self.reach, 0, 10_000)
        self.most = checks.integer("most", self.most, 0, 10_000)
        for name in ("pull", "cross", "kappa", "final"):
            setattr(self, name, checks.real(name, getattr(self, name), -1e6, 1e6))
        self.dt = checks.real("dt", self.dt, 0.0, 1e6, exclude_low=True)
        self.volatility = checks.real("volatility", self.volatility, 0.0, 1e6)
        self.twice = checks.choice("twice", self.twice, (False, True))
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return 2 * self.reach + 1

    @property
    def n_actions(self) -> int:
        """|A|: velocities."""
        return 2 * self.most + 1

    def state_name(self, state: int) -> str:
        """The place."""
        return str(state - self.reach)

    @property
    def constants(self) -> Line:
        """The line, the coefficients and the noise."""
        values = np.arange(-3.0, 4.0) * (self.volatility if self.twice else 1.0)
        weights = np.exp(-0.5 * values**2)
        return Line(
            self.reach,
            self.most,
            self.horizon - 1,
            self.pull,
            self.dt,
            self.cross,
            self.kappa,
            self.final,
            self.volatility * values * math.sqrt(self.dt),
            weights / weights.sum(),
        )


class Ring(NamedTuple):
    """The constants of the linear-quadratic ring, as its rules read them."""

    n_places: int
    most: int
    last_time: int
    pull: float
    dt: float
    cross: float
    kappa: float
    shifts: NDArray[np.int64]
    """Noise, in places."""
    weights: NDArray[np.float64]
    """Its probabilities."""


@functools.cache
def ring_noise(most: int, scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The noise on the ring: shifts in places, and their probabilities."""
    values = np.arange(-most, most + 1)
    cuts = np.concatenate([[-np.inf], values[:-1] + 0.5, [np.inf]])
    return np.rint(values * scale).astype(np.int64), np.diff(norm.cdf(cuts))


@rule
def steered(ring: Any, place: Any, action: Any, mean: Any) -> Any:
    """The place on the ring that an action leads to, before the noise."""
    return (place + nearest((action - ring.most + ring.pull * (mean - place)) * ring.dt)) % ring.n_places


@rule
def mean_after(ring: Any, place: Any, action: Any, mean: Any) -> Any:
    """The expected next place of an agent."""
    ahead, total = steered(ring, place, action, mean), 0.0
    for k in range(len(ring.shifts)):
        total += ring.weights[k] * ((ahead + ring.shifts[k]) % ring.n_places)
    return total


@dataclasses.dataclass(kw_only=True)
class LinearQuadraticRing(ClassicGame):
    """Linear-quadratic ring: agents on a ring steer towards the mean of all, at quadratic costs.

    ``mean_field_lin_quad`` of OpenSpiel, after Perrin et al., "Fictitious play for mean field games" (NeurIPS
    2020); tags as in :mod:`mfenvs.games`.

    States: places x = 0 .. n_places - 1 of a ring. Actions: velocities a = -most .. most, numbered from 0. m is
    the mean place of all.

    * x' = x + (pull (m - x) + a) dt, rounded, + volatility e sqrt(dt), rounded, on the ring; e in {-most, ...,
      most} has the probabilities of a standard normal number rounded to these [S]
    * r = (dt / 2) (-a^2 + 2 cross a (m' - x') - kappa (m - x)^2), where x' is the next place and m' the expected
      next mean, as the source pays for an action then [S]. In the last step only the last term is paid [S]
    * the first place is uniform [S]

    The mean is that of the numbers of the places, although they lie on a ring [S]. Of the source's terminal cost,
    which it never pays, nothing is left here [R]; its volatility enters twice, here once [R; the same at the
    default of 1].

    Known: the uniform policy has value -38.625 and exploitability 29.522579.
    """

    horizon: int = 10
    """Number of steps H [S]."""
    n_places: int = 10
    """Number of places |S| [S]."""
    most: int = 3
    """Largest velocity [S]."""
    pull: float = 0.0
    """Strength K of the pull towards the mean [S]."""
    dt: float = 1.0
    """Length of a step [S]."""
    volatility: float = 1.0
    """Standard deviation of the noise in a unit of time [S]."""
    cross: float = 0.01
    """Coefficient q of the product of the velocity and the distance from the mean [S]."""
    kappa: float = 0.5
    """Coefficient kappa of the squared distance from the mean [S]."""

    n_signals = 2

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the mean place and the expected next one into the signal."""
        ring = world.constants
        n_actions = 2 * ring.most + 1
        mean, after = 0.0, 0.0
        for cell in range(ring.n_places * n_actions):
            mean += cell // n_actions * crowd(world, cell)
        for cell in range(ring.n_places * n_actions):
            if crowd(world, cell) > 0.0:
                after += mean_after(ring, cell // n_actions, cell % n_actions, mean) * crowd(world, cell)
        signal[0] = mean
        signal[1] = after

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that the k-th noise leads to, given the mean place, and its probability."""
        ring = world.constants
        ahead = steered(ring, state, action, world.signal[0])
        return (ahead + ring.shifts[k]) % ring.n_places, ring.weights[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The part of R(state, action, L) that does not depend on the next place."""
        ring = world.constants
        velocity, away = action - ring.most, world.signal[0] - state
        paid = velocity * velocity if world.time < ring.last_time else 0.0
        return -0.5 * ring.dt * (paid + ring.kappa * away * away)

    @staticmethod
    @rule
    def arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """What a velocity towards or away from the next mean is worth, but in the last step."""
        ring = world.constants
        product = (action - ring.most) * (world.signal[1] - next_state)
        return ring.dt * ring.cross * product if world.time < ring.last_time else 0.0

    def check(self) -> None:
        """Check sizes and coefficients."""
        self.n_places = checks.integer("n_places", self.n_places, 1, 10_000)
        self.most = checks.integer("most", self.most, 0, 1000)
        for name in ("pull", "cross", "kappa"):
            setattr(self, name, checks.real(name, getattr(self, name), -1e6, 1e6))
        self.dt = checks.real("dt", self.dt, 0.0, 1e6, exclude_low=True)
        self.volatility = checks.real("volatility", self.volatility, 0.0, 1e6)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_places

    @property
    def n_actions(self) -> int:
        """|A|: velocities."""
        return 2 * self.most + 1

    @property
    def n_branches(self) -> int:
        """Number of values of the noise."""
        return 2 * self.most + 1

    @property
    def constants(self) -> Ring:
        """The ring, the coefficients and the noise."""
        shifts, weights = ring_noise(self.most, self.volatility * math.sqrt(self.dt))
        return Ring(
            self.n_places,
            self.most,
            self.horizon - 1,
            self.pull,
            self.dt,
            self.cross,
            self.kappa,
            shifts,
            weights,
        )
