"""Typed mean-field games on an interval that several tests solve, with what is known of their solutions."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_bvp

from baselines.continuous.hjb_fokker_planck import AgentType, ContinuousGame

LINE = (-np.inf, np.inf)


def gaussian(mean: float, variance: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearQuadratic:
    """The linear-quadratic game of "Understanding Mean-Field-Type Games", section 8; an entry a type."""

    weight: tuple[float, ...] = (0.7, 0.3)
    a: tuple[float, ...] = (-0.2, -0.1)
    b: tuple[float, ...] = (1.0, 1.2)
    kappa: tuple[float, ...] = (0.15, 0.25)
    sigma: tuple[float, ...] = (0.4, 0.6)
    q: tuple[float, ...] = (1.0, 0.8)
    r: tuple[float, ...] = (1.0, 0.5)
    s: tuple[float, ...] = (0.3, 0.2)
    q_final: tuple[float, ...] = (0.5, 0.5)
    mean: tuple[float, ...] = (1.0, -0.5)
    variance: tuple[float, ...] = (0.09, 0.16)
    horizon: float = 2.0

    def game(self, controls: tuple[float, float] | None = None) -> ContinuousGame:
        """The game; with bounded ``controls`` the minimiser of the Hamiltonian is not declared."""
        return ContinuousGame(
            types=[self._type(i, controls) for i in range(len(self.weight))], horizon=self.horizon
        )

    def _type(self, i: int, controls: tuple[float, float] | None) -> AgentType:
        a, b, kappa, q, r, s = self.a[i], self.b[i], self.kappa[i], self.q[i], self.r[i], self.s[i]
        return AgentType(
            name=f"type_{i}",
            weight=self.weight[i],
            drift=lambda t, x, u, field: a * x + b * u + kappa * field.mean,
            diffusion=lambda t, x: self.sigma[i],
            running_cost=lambda t, x, u, field: 0.5 * q * x * x + 0.5 * r * u * u + s * x * field.mean,
            terminal_cost=lambda x, field: 0.5 * self.q_final[i] * x * x,
            controls=LINE if controls is None else controls,
            initial_density=gaussian(self.mean[i], self.variance[i]),
            minimiser=(lambda t, x, p, field: -b / r * p) if controls is None else None,
        )

    def closed_form(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """P, xi, zeta and means, each (n_types, n_times), by scipy's solver of boundary-value problems."""
        n = len(self.weight)
        weight, a, b, kappa, sigma, q, r, s, q_final, mean = (
            np.array(getattr(self, name))[:, None]
            for name in ("weight", "a", "b", "kappa", "sigma", "q", "r", "s", "q_final", "mean")
        )
        strength = b * b / r

        def slope(_: np.ndarray, y: np.ndarray) -> np.ndarray:
            p, xi, _, m = y.reshape(4, n, -1)
            total = (weight * m).sum(axis=0)
            d_p = -(q + 2 * a * p - strength * p**2)
            d_xi = -((a - strength * p) * xi + (s + kappa * p) * total)
            d_zeta = -(kappa * total * xi - strength * xi**2 / 2 + sigma**2 * p / 2)
            return np.concatenate([d_p, d_xi, d_zeta, (a - strength * p) * m - strength * xi + kappa * total])

        def boundary(start: np.ndarray, end: np.ndarray) -> np.ndarray:
            p, xi, zeta = end[: 3 * n].reshape(3, n)
            return np.concatenate([p - q_final[:, 0], xi, zeta, start[3 * n :] - mean[:, 0]])

        found = solve_bvp(slope, boundary, np.linspace(0, self.horizon, 50), np.ones((4 * n, 50)), tol=1e-9)
        assert found.success
        p, xi, zeta, m = found.sol(t).reshape(4, n, -1)
        return p, xi, zeta, m

    def costs(self) -> np.ndarray:
        """Expected costs by type: the quadratic value function, averaged over the initial states."""
        p, xi, zeta, m = (array[:, 0] for array in self.closed_form(np.zeros(1)))
        return 0.5 * p * (np.array(self.variance) + m**2) + xi * m + zeta


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatBetweenWalls:
    """Agents between walls at 0 and 1 with dx = u dt + sigma dW and cost u^2 / 2 + c (density - phi(t, x)).

    phi solves the backward heat equation with reflecting walls. With v = -sigma^2 log(phi) at the end, it follows
    from the transform of Cole and Hopf that v is the value function at all times, and phi the density, for any c.
    """

    sigma: float = 0.5
    coupling: float = 0.0
    horizon: float = 1.0

    def density(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        decay = np.exp(-(self.sigma**2) * np.pi**2 * (self.horizon - t) / 2)
        return 1.0 + 0.8 * decay * np.cos(np.pi * x)

    def value(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        return -(self.sigma**2) * np.log(self.density(t, x))

    def game(self) -> ContinuousGame:
        kind = AgentType(
            name="agent",
            weight=1.0,
            drift=lambda t, x, u, field: u,
            diffusion=lambda t, x: self.sigma,
            running_cost=lambda t, x, u, field: (
                0.5 * u**2 + self.coupling * (field.own_density - self.density(t, x))
            ),
            terminal_cost=lambda x, field: self.value(np.float64(self.horizon), x),
            controls=LINE,
            initial_density=lambda x: self.density(np.float64(0.0), x),
            minimiser=lambda t, x, p, field: -p,
        )
        return ContinuousGame(types=[kind], horizon=self.horizon)


def walk(**changes) -> AgentType:
    """A type with dx = u dt + dW / 2, costs u^2 / 2 and x^2 / 2, that starts near the middle of [-2, 2]."""
    functions = {
        "name": "walker",
        "weight": 1.0,
        "drift": lambda t, x, u, field: u,
        "diffusion": lambda t, x: 0.5,
        "running_cost": lambda t, x, u, field: 0.5 * u * u,
        "terminal_cost": lambda x, field: 0.5 * x * x,
        "controls": (-3.0, 3.0),
        "initial_density": gaussian(0.0, 0.05),
        "minimiser": lambda t, x, p, field: -p,
    }
    return AgentType(**{**functions, **changes})


def walks(**changes) -> ContinuousGame:
    """The game of one such type, until time 1/2."""
    return ContinuousGame(types=[walk(**changes)], horizon=0.5)
