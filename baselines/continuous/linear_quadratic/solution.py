"""Solutions of the linear-quadratic game: gains, means, costs and value."""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from mfenvs import checks
from mfenvs.games.linear_quadratic.game import LinearQuadratic

from .coefficients import Coefficients
from .riccati import ScalarRiccati
from .two_point import NODES, WEIGHTS, LinearPath, TwoPointProblem

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearQuadraticSolution:
    """Equilibrium or social optimum of a linear-quadratic game, as the module ``equilibrium`` makes it.

    Times are in [0, T]; results have the shape of the times, followed by (n_types,).
    """

    game: LinearQuadratic
    """The game."""
    parameters: Coefficients
    """The game's parameters as arrays."""
    is_equilibrium: bool
    """Whether it is the competitive equilibrium; otherwise it is the social optimum."""
    riccati: ScalarRiccati
    """P(t), by calling it with times."""
    problem: TwoPointProblem
    """The boundary-value problem of the means and the costates."""
    path: LinearPath
    """Its solution."""

    def mean(self, times: ArrayLike) -> Array:
        """Mean state of each type (under common noise: its expectation)."""
        return self.path(self._times(times))[..., : self.problem.n]

    def costate(self, times: ArrayLike) -> Array:
        """Costate y = P m + xi of each type's mean."""
        return self.path(self._times(times))[..., self.problem.n :]

    def xi(self, times: ArrayLike) -> Array:
        """Constant part xi of each type's costate P x + xi (under common noise: its expectation)."""
        n, times = self.problem.n, self._times(times)
        both = self.path(times)
        return both[..., n:] - self.riccati(times) * both[..., :n]

    def xi_of_means(self, times: ArrayLike) -> Array:
        """The matrix Pi - diag(P) that makes xi from the means given the common noise, (*times.shape, n, n).

        Raises
        ------
        ValueError
            If the problem of a shorter duration than T has no unique solution: the matrix is infinite at one time.
        """
        if self.problem.critical_horizons:
            raise ValueError(
                "xi as a function of the means needs a unique equilibrium from every time on, but there is none"
                f" with the time to go {self.problem.critical_horizons[0]:.6g}"
            )
        times, n = self._times(times), self.problem.n
        found = self.problem.feedback(times)
        found[..., np.arange(n), np.arange(n)] -= self.riccati(times)
        return found

    def variance(self, times: ArrayLike) -> Array:
        """Variance of each type's states, of which a part is due to the common noise if there is any."""
        times = self._times(times)
        own = self._own_variance(times)
        if self.parameters.common_volatility == 0.0:
            return own
        n = self.problem.n
        shared = self._shared(times.ravel())[: n * n].reshape(n, n, -1)
        variance: Array = own + np.einsum("kkt->tk", shared).reshape(own.shape)
        return variance

    def _own_variance(self, times: Array) -> Array:
        """Variances v of v' = 2 (a - S P) v + sigma^2, v(0) = V_0, by the flow of the Riccati equation."""
        c, panel = self.parameters, self.problem.panel
        knots = panel * np.arange(self.problem.n_panels + 1)
        flow = self.riccati.log_flow(knots)
        inside = knots[:-1, None] + panel * NODES
        added = panel * np.einsum(
            "j,kjn->kn", WEIGHTS, np.exp(2.0 * (flow[1:, None] - self.riccati.log_flow(inside)))
        )
        factor = np.exp(2.0 * np.diff(flow, axis=0))
        at_knots = np.empty_like(flow)
        at_knots[0] = c.first_variance
        for j in range(self.problem.n_panels):
            at_knots[j + 1] = factor[j] * at_knots[j] + c.volatility**2 * added[j]
        k = np.clip((times / panel).astype(np.int64), 0, self.problem.n_panels - 1)
        within = times - knots[k]
        end = self.riccati.log_flow(times)
        nodes = self.riccati.log_flow(knots[k][..., None] + within[..., None] * NODES)
        rest = within[..., None] * np.einsum("j,...jn->...n", WEIGHTS, np.exp(2.0 * (end[..., None, :] - nodes)))
        variance: Array = np.exp(2.0 * (end - flow[k])) * at_knots[k] + c.volatility**2 * rest
        return variance

    def control(self, time: float, states: ArrayLike, kind: int, means: ArrayLike | None = None) -> Array:
        """The control of agents of one type, u = -(b / r) (P x + xi).

        Parameters
        ----------
        time:
            Time in [0, T].
        states:
            States of the agents, of any shape.
        kind:
            Index of the type.
        means:
            Mean states of the types now, shape (n_types,), which xi follows, as under common noise it must; by
            default their expectations.

        Raises
        ------
        ValueError
            If an argument is not allowed, or ``means`` are given and :meth:`xi_of_means` is not defined.
        """
        c, n = self.parameters, self.problem.n
        kind, now = checks.integer("kind", kind, 0, n - 1), self._times(time)
        if means is None:
            constant = self.xi(now)[kind]
        else:
            constant = self.xi_of_means(now)[kind] @ checks.finite_numbers("means", means, (n,))
        controls: Array = -c.response[kind] * (self.riccati(now)[kind] * np.asarray(states, np.float64) + constant)
        return controls

    @functools.cached_property
    def costs(self) -> Array:
        """Expected cost J of an agent of each type, shape (n_types,).

        The deviation of a state from its mean costs P(0) V_0 / 2 and sigma^2 / 2 times the integral of P; the rest
        is the cost of the mean, and that of the common noise.
        """
        c, n = self.parameters, self.problem.n
        times, weights = self._quadrature
        gain, both = self.riccati(times), self.path(times)
        m, y = both[:, :n], both[:, n:]
        xbar = (m @ c.share)[:, None]
        running = (
            0.5 * (c.state_cost * m**2 + c.strength * y**2 + c.volatility**2 * gain) + c.coupling_cost * m * xbar
        )
        last = self.path(np.asarray(c.duration))[:n]
        first = 0.5 * self.riccati(np.asarray(0.0)) * c.first_variance
        found: Array = first + weights @ running + 0.5 * c.terminal_cost * last**2
        if c.common_volatility > 0.0:
            at_end = self._shared(c.duration)
            covariance = at_end[: n * n].reshape(n, n)
            found = found + at_end[n * n :] + 0.5 * c.terminal_cost * np.diag(covariance)
        return found

    @property
    def total_cost(self) -> float:
        """Sum of lambda_tau J_tau: the expected cost of an agent drawn from the population."""
        return float(self.parameters.share @ self.costs)

    def zeta(self, times: ArrayLike) -> Array:
        """Constant part zeta of each type's value function v(t, x) = P x^2 / 2 + xi x + zeta in equilibrium.

        -zeta' = kappa xbar xi - S xi^2 / 2 + sigma^2 P / 2, zeta(T) = 0.

        Raises
        ------
        ValueError
            In the social optimum, in which the value of one agent is of no such form, and under common noise,
            where zeta depends on the means.
        """
        if not self.is_equilibrium or self.parameters.common_volatility > 0.0:
            raise ValueError("zeta is defined in the competitive equilibrium of a game without common noise only")
        times, panel = self._times(times), self.problem.panel
        starts = panel * np.arange(self.problem.n_panels)
        whole = panel * np.einsum("j,kjn->kn", WEIGHTS, self._zeta_rate(starts[:, None] + panel * NODES))
        to_go = np.concatenate([np.cumsum(whole[::-1], axis=0)[::-1], np.zeros((1, self.problem.n))])
        k = np.clip((times / panel).astype(np.int64), 0, self.problem.n_panels - 1)
        left = panel * (k + 1) - times
        rest = self._zeta_rate(times[..., None] + left[..., None] * NODES)
        found: Array = to_go[k + 1] + left[..., None] * np.einsum("j,...jn->...n", WEIGHTS, rest)
        return found

    def _zeta_rate(self, times: Array) -> Array:
        c = self.parameters
        xi, xbar = self.xi(times), (self.mean(times) @ c.share)[..., None]
        rate: Array = c.coupling * xbar * xi - 0.5 * c.strength * xi**2
        return rate + 0.5 * c.volatility**2 * self.riccati(times)

    @functools.cached_property
    def _quadrature(self) -> tuple[Array, Array]:
        """Nodes in [0, T] and their weights: Gauss-Legendre on each panel."""
        panel = self.problem.panel
        starts = panel * np.arange(self.problem.n_panels)
        return (starts[:, None] + panel * NODES).ravel(), panel * np.tile(WEIGHTS, self.problem.n_panels)

    @functools.cached_property
    def _shared(self) -> Any:
        """Covariance of the means under common noise, (n * n,), and each type's running cost of it, by time.

        C' = G C + C G' + sigma_0^2 1 1', with the matrix G = diag(a) - S Pi + kappa lambda' of the means.
        """
        c, n = self.parameters, self.problem.n
        self.xi_of_means(0.0)  # Raises an error if the feedback on the means is infinite somewhere.
        free = np.diag(c.drift) + np.outer(c.coupling, c.share)

        def rate(time: float, values: Array) -> Array:
            covariance, pi = values[: n * n].reshape(n, n), self.problem.feedback(time)
            flow = free - c.strength[:, None] * pi
            moved = flow @ covariance
            cost = 0.5 * c.state_cost * np.diag(covariance) + c.coupling_cost * (covariance @ c.share)
            cost = cost + 0.5 * c.strength * np.einsum("ki,ij,kj->k", pi, covariance, pi)
            return np.concatenate([(moved + moved.T + c.common_volatility**2).ravel(), cost])

        start = np.zeros(n * n + n)
        found = solve_ivp(rate, (0.0, c.duration), start, "DOP853", dense_output=True, rtol=1e-11, atol=1e-13)
        return found.sol

    def _times(self, times: ArrayLike) -> Array:
        """Times as an array; a ValueError unless they are in [0, T]."""
        found = checks.finite_numbers("times", times)
        last = self.parameters.duration
        if found.size and (found.min() < 0.0 or found.max() > last * (1.0 + 1e-12)):
            raise ValueError(f"times must be in [0, {last:g}], got {found.min():g} to {found.max():g}")
        return found
