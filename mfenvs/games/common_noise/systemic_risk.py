"""Systemic risk: banks lend to and borrow from a central bank, under a shock that hits all of them."""

import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import StateCountingGame
from mfenvs.games.classic.line import held
from mfenvs.games.classic.linear_quadratic import mean_place
from mfenvs.public_chain import ChainTables, PublicChain, public_state
from mfenvs.rules import rule

Array = NDArray[np.float64]

DOWN, NONE, UP = 0, 1, 2
"""Public states: the shock of the step before; there is none at first."""
MOST = 1e6
"""Largest size of a coefficient."""


class Banks(NamedTuple):
    """The constants of the game, as its rules read them."""

    public_chain: ChainTables
    reach: int
    most: int
    n_steps: int
    dt: float
    width: float
    """Length of a cell of reserves."""
    unit: float
    """Difference of neighbouring rates."""
    shock: int
    """Shock, in cells."""
    spread: int
    """Length w of a jump of an agent's own noise, -w, 0 or w, in cells."""
    variance: float
    """Variance of an agent's own noise in a step, that of the rounding included, in squared cells."""
    most_behind: int
    """Number of cells by which the first branch is behind the drift for the mean in the middle."""
    reversion: float
    incentive: float
    aversion: float
    final: float


@rule
def rounding(away: Any) -> Any:
    """Probability that a number is rounded to the integer that is ``away`` from it: the mean is the number."""
    return max(0.0, 1.0 - abs(away))


@dataclasses.dataclass(frozen=True)
class SystemicRiskEquilibrium:
    """The equilibrium of the game without ends of the scale and with any rate, in closed form."""

    gains: Array
    """k_h, shape (n_steps,): the equilibrium rate at step h is k_h (m - X)."""
    curvature: Array
    """eta_h, shape (n_steps + 1,): from step h on a bank expects the costs eta_h (m - X)^2 / 2 and a constant."""
    value: float
    """Value of the game, given the law of the first reserves."""


@dataclasses.dataclass(kw_only=True)
class SystemicRisk(StateCountingGame):
    """Systemic risk: banks control their rate of borrowing so that their reserves stay near the mean of all.

    The mean-field game with common noise of Carmona, Fouque & Sun, "Mean field games and systemic risk" (arXiv
    1308.2172), on a grid in discrete time; tags as in :mod:`mfenvs.games`. The log-reserves X of a bank follow

        dX = (a (m - X) + alpha) dt + sigma (sqrt(1 - rho^2) dW + rho dW0),

    m being the mean of all banks [S]. It pays alpha^2 / 2 - q alpha (m - X) + epsilon (m - X)^2 / 2 in a unit of
    time, and c (m - X)^2 / 2 at the end, with q^2 <= epsilon [S].

    States: X before the last shock, in ``2 reach + 1`` cells. Actions: rates alpha = -most .. most times ``unit``.
    Public states: 0, 2 after a shock down or up, and 1 before the first. All discretisation is ours [O]:

    * the shock of a step moves all banks by ``shock`` cells up or down, with probability 1/2 each; the length of a
      cell is sigma rho sqrt(dt) / shock, with dt = duration / n_steps
    * in a step the drift of a bank is rounded at random to a neighbouring cell, and noise of -w, 0 or w cells is
      added, such that mean and variance are exactly those of the Euler-Maruyama scheme. So the equilibrium is that
      of the linear-quadratic game in discrete time, :meth:`equilibrium`, as far as rates between the given ones do
      not matter and no bank reaches an end of the scale, where it is held back
    * at the end comes a step more, in which nothing is to be decided, for the last costs: H = n_steps + 1

    Known: at equilibrium a bank's rate is k_h (m - X), whatever the shocks; they drive m, and with it the share of
    banks that fall below any threshold.
    """

    horizon: int = 4
    """Number of steps H: ``n_steps`` of the dynamics and one for the last costs [O]."""
    duration: float = 1.0
    """T: time at which an episode ends [O]."""
    reach: int = 8
    """Largest number of cells from the middle [O]."""
    most: int = 4
    """Largest rate of borrowing or lending, in units [O]."""
    unit: float = 1.0
    """Difference of neighbouring rates [O]."""
    shock: int = 1
    """Shock of a step, in cells [O]."""
    first: int = 1
    """Number of cells by which first reserves lie above or below the middle, with probability 1/2 each [O]."""
    volatility: float = 1.0
    """sigma: volatility of the reserves [O]."""
    correlation: float = 0.7
    """rho in (0, 1): share of the volatility that all banks have in common [O]."""
    reversion: float = 1.0
    """a: rate at which reserves revert to the mean by themselves [O]."""
    incentive: float = 1.0
    """q: incentive to borrow below the mean and to lend above it [O]."""
    aversion: float = 10.0
    """epsilon: cost of being away from the mean [O]."""
    final: float = 1.0
    """c: cost of being away from the mean at the end [O]."""

    family: ClassVar[str] = "common-noise"
    n_signals = 2

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the mean place into the signal."""
        reach = world.constants.reach
        signal[0] = mean_place(world, 2 * reach + 1, -reach)

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that the k-th noise leads to after the shock, and its probability."""
        banks = world.constants
        place, moved = state - banks.reach, (action - banks.most) * banks.unit * banks.dt / banks.width
        reverted = banks.reversion * banks.dt
        drift = moved + reverted * (world.signal[0] - place)
        # The places do not depend on the mean, so that probabilities change continuously with it.
        to = math.floor(moved - reverted * place) + k - banks.most_behind
        part = drift - math.floor(drift)
        side = 0.5 * (banks.variance - part * (1.0 - part)) / (banks.spread * banks.spread)
        at_sides = rounding(to - banks.spread - drift) + rounding(to + banks.spread - drift)
        probability = (1.0 - 2.0 * side) * rounding(to - drift) + side * at_sides
        shock = (public_state(world) - 1) * banks.shock
        return held(place + int(to) + shock + banks.reach, 2 * banks.reach), probability

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, m) at the present time."""
        banks = world.constants
        away = (world.signal[0] - (state - banks.reach)) * banks.width
        rate = (action - banks.most) * banks.unit
        running = 0.5 * rate * rate - banks.incentive * rate * away + 0.5 * banks.aversion * away * away
        return -banks.dt * running if world.time < banks.n_steps else -0.5 * banks.final * away * away

    def check(self) -> None:
        """Check sizes and coefficients."""
        self.reach = checks.integer("reach", self.reach, 1, 10_000)
        self.most = checks.integer("most", self.most, 0, 10_000)
        self.shock = checks.integer("shock", self.shock, 1, 10_000)
        self.first = checks.integer("first", self.first, 0, self.reach)
        for name in ("duration", "unit", "volatility"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, MOST, exclude_low=True))
        self.correlation = checks.real("correlation", self.correlation, 0.0, 1.0, exclude_low=True)
        for name in ("reversion", "incentive", "aversion", "final"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, MOST))
        if self.incentive**2 > self.aversion:
            raise ValueError(
                f"aversion must be at least incentive^2 = {self.incentive**2:g}, for costs to be convex, got"
                f" {self.aversion:g}"
            )
        if self._variance < 0.25:
            raise ValueError(
                "correlation must leave banks a noise of their own: shock^2 (1 - correlation^2) / correlation^2"
                f" must be at least 1/4, got {self._variance:g} with correlation={self.correlation:g} and"
                f" shock={self.shock}"
            )
        super().check()

    @property
    def n_steps(self) -> int:
        """Number of steps of the dynamics."""
        return self.horizon - 1

    @property
    def dt(self) -> float:
        """Length of a step."""
        return self.duration / max(1, self.n_steps)

    @property
    def width(self) -> float:
        """Length of a cell of reserves."""
        return self.volatility * self.correlation * math.sqrt(self.dt) / self.shock

    @property
    def _variance(self) -> float:
        """Variance of an agent's own noise in a step, in squared cells."""
        return self.shock**2 * (1.0 - self.correlation**2) / self.correlation**2

    @property
    def _spread(self) -> int:
        return math.ceil(math.sqrt(self._variance))

    @property
    def _most_behind(self) -> int:
        return math.ceil(self.reversion * self.dt * self.reach) + self._spread

    @property
    def n_branches(self) -> int:
        """Cells to which a bank may go, wherever the mean is."""
        return 2 * self._most_behind + 2

    @property
    def n_states(self) -> int:
        """|S|: cells."""
        return 2 * self.reach + 1

    @property
    def n_actions(self) -> int:
        """|A|: rates."""
        return 2 * self.most + 1

    @property
    def initial_distribution(self) -> Array:
        """Half of the banks begin ``first`` cells above the middle, half as many below."""
        law = np.zeros(self.n_states)
        law[self.reach - self.first] += 0.5
        law[self.reach + self.first] += 0.5
        return law

    @functools.cached_property
    def public_chain(self) -> PublicChain:
        """No shock at first, then shocks down and up, which are independent."""
        return PublicChain([0.0, 1.0, 0.0], [[0.5, 0.0, 0.5]] * 3)

    @property
    def constants(self) -> Banks:
        """The coefficients, in cells and steps."""
        return Banks(
            public_chain=self.public_chain.tables,
            reach=self.reach,
            most=self.most,
            n_steps=self.n_steps,
            dt=self.dt,
            width=self.width,
            unit=self.unit,
            shock=self.shock,
            spread=self._spread,
            variance=self._variance,
            most_behind=self._most_behind,
            reversion=self.reversion,
            incentive=self.incentive,
            aversion=self.aversion,
            final=self.final,
        )

    def equilibrium(self) -> SystemicRiskEquilibrium:
        """The equilibrium in discrete time, without ends of the scale and with any rate.

        The distance y = m - X of a bank from the mean does not depend on the shocks. If all others play k y, m
        changes by shocks alone, and y becomes (1 - a dt) y - alpha dt with a noise of its own. With the costs
        eta y^2 / 2 ahead,

            k_h = (q + eta_{h+1} (1 - a dt)) / (1 + eta_{h+1} dt),
            eta_h = (k_h^2 - 2 q k_h + epsilon) dt + eta_{h+1} (1 - (a + k_h) dt)^2,  eta_{n_steps} = c.

        As dt goes to 0, k = q + eta, and eta follows the Riccati equation of the source,
        :meth:`continuous_curvature`.
        """
        dt, a, q = self.dt, self.reversion, self.incentive
        gains, curvature, costs = np.zeros(self.n_steps), np.full(self.n_steps + 1, self.final), 0.0
        noise = self._variance * self.width**2
        for h in reversed(range(self.n_steps)):
            eta = curvature[h + 1]
            k = gains[h] = (q + eta * (1.0 - a * dt)) / (1.0 + eta * dt)
            curvature[h] = (k * k - 2.0 * q * k + self.aversion) * dt + eta * (1.0 - (a + k) * dt) ** 2
            costs += 0.5 * eta * noise
        first = (self.first * self.width) ** 2
        return SystemicRiskEquilibrium(gains, curvature, -(0.5 * float(curvature[0]) * first + costs))

    def continuous_curvature(self, time: float) -> float:
        """eta(t) in continuous time with infinitely many banks, in closed form (Carmona, Fouque & Sun).

        It solves eta' = 2 (a + q) eta + eta^2 - (epsilon - q^2) with eta(T) = c; the equilibrium rate is (q + eta)
        (m - X).

        Parameters
        ----------
        time:
            t in [0, duration].

        Raises
        ------
        TypeError, ValueError
            If it is not.
        """
        left = self.duration - checks.real("time", time, 0.0, self.duration)
        a, q, c, rest = self.reversion, self.incentive, self.final, self.aversion - self.incentive**2
        root = math.sqrt((a + q) ** 2 + rest)
        if root == 0.0:
            return c / (1.0 + c * left)
        high, low = -(a + q) + root, -(a + q) - root
        # Multiplied by exp(-2 root left), which cannot overflow.
        decay = math.exp(-2.0 * root * left)
        over = rest * (1.0 - decay) + c * (high - low * decay)
        return over / ((high * decay - low) + c * (1.0 - decay))
