"""The best response of one among N agents, exact for every N, and what the mean-field feedback costs more.

One agent, the deviator, may play any feedback while the N - 1 others play the mean-field feedback. Its problem is
linear-quadratic in its own state x and in the sums of the others' states by type: xbar contains x with weight
1 / N, and these sums follow linear equations. A matrix Riccati equation gives its optimal cost.

Time is continuous. In the game, a step of length dt changes costs by the order of dt.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from mfenvs import checks
from mfenvs.game import MAX_AGENTS
from mfenvs.games.typed_agents import stratified

from .costs import ACCURACY
from .solution import LinearQuadraticSolution

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class NPlayerBestResponse:
    """The best response of an agent of one type among N agents, in continuous time."""

    kind: int
    """Index of the agent's type."""
    numbers: NDArray[np.int64]
    """Number of agents of each type, itself included, shape (n_types,)."""
    cost: float
    """Expected cost of the mean-field feedback among N agents who all play it."""
    gap: float
    """What the best response costs less: the exploitability of the mean-field feedback, at least 0."""
    response: float
    """b / r of the agent's type."""
    _gains: Any

    @property
    def best_cost(self) -> float:
        """Expected cost of the best response."""
        return self.cost - self.gap

    def gains(self, time: float) -> Array:
        """Coefficients f of the best response at a time in [0, T], shape (n_types + 2,).

        Its control is u = -(f[0] x + sum_k f[1 + k] d_k + f[-1]), where d_k is the sum, over the other agents of
        type k, of the distance of their states from the mean-field mean of the type, divided by N.
        """
        n = len(self.numbers) + 2
        matrix = self._gains(time)[: n * n].reshape(n, n)
        gains: Array = self.response * matrix[0]
        return gains


def n_player_best_response(
    solution: LinearQuadraticSolution,
    kind: int,
    n_agents: int | None = None,
    *,
    follows_means: bool | None = None,
) -> NPlayerBestResponse:
    """The best response of an agent to N - 1 others who play a mean-field solution's feedback, and the gap to it.

    Parameters
    ----------
    solution:
        The competitive equilibrium (or the social optimum) of the mean field, at the game's proportions.
    kind:
        Index of the agent's type.
    n_agents:
        Number of agents N, by default that of the game. Numbers of types are rounded from the proportions.
    follows_means:
        Whether the feedback follows the mean states of the N agents, as under common noise it must; by default if
        there is common noise. Otherwise it follows the means of the mean field.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or there is no agent of the type among N.
    """
    c, n = solution.parameters, len(solution.parameters.share)
    kind = checks.integer("kind", kind, 0, n - 1)
    total = solution.game.n_agents if n_agents is None else checks.integer("n_agents", n_agents, 2, MAX_AGENTS)
    follows = (
        c.common_volatility > 0.0 if follows_means is None else checks.boolean("follows_means", follows_means)
    )
    numbers = stratified(solution.game.proportions, total)
    if numbers[kind] == 0:
        raise ValueError(
            f"kind must be a type with agents, got {solution.game.types[kind]!r} among {numbers.tolist()} agents"
        )
    if follows:
        solution.xi_of_means(0.0)  # Raises an error if the feedback on the means is infinite somewhere.
    setting = _Setting(solution, kind, numbers, follows)
    size = n + 2

    def rate(to_go: float, values: Array) -> Array:
        best, more = values[: size * size].reshape(size, size), values[size * size : -2].reshape(size, size)
        flow, played, running = setting.at(c.duration - to_go)
        optimal = c.response[kind] * best[0]
        with_control = flow.copy()
        with_control[0] -= c.control_gain[kind] * optimal
        moved = with_control.T @ best
        # Written with the optimal control in the flow: F'W + W F + C + r f f', of the same value as the equation.
        of_best = moved + moved.T + running + c.control_cost[kind] * np.outer(optimal, optimal)
        flow[0] -= c.control_gain[kind] * played
        moved = flow.T @ more
        of_more = moved + moved.T + c.control_cost[kind] * np.outer(played - optimal, played - optimal)
        noise = [np.vdot(setting.noise, best), np.vdot(setting.noise, more)]
        return np.concatenate([of_best.ravel(), of_more.ravel(), noise])

    last = np.zeros(2 * size * size + 2)
    last[0] = c.terminal_cost[kind]
    found = solve_ivp(rate, (0.0, c.duration), last, dense_output=True, **ACCURACY)
    end = found.y[:, -1]
    best, more = (end[k * size * size : (k + 1) * size * size].reshape(size, size) for k in range(2))
    best_cost = 0.5 * (np.vdot(setting.first_moments, best) + end[-2])
    gap = float(0.5 * (np.vdot(setting.first_moments, more) + end[-1]))

    def gains(time: float) -> Any:
        return found.sol(c.duration - time)

    return NPlayerBestResponse(
        kind=kind,
        numbers=numbers,
        cost=float(best_cost) + gap,
        gap=gap,
        response=float(c.response[kind]),
        _gains=gains,
    )


class _Setting:
    """The deviator's linear-quadratic problem, in the vector of x, the d_k of each type, and 1.

    d_k is the sum over the others of type k of x_j - m_k(t), divided by N. Its mean is zero up to the order of 1 /
    N: measured from m, the gap, of the order of 1 / N, is not the difference of large numbers.
    """

    def __init__(
        self, solution: LinearQuadraticSolution, kind: int, numbers: NDArray[np.int64], follows: bool
    ) -> None:
        self._solution, self._kind, self._follows = solution, kind, follows
        c = self._c = solution.parameters
        n, total = len(c.share), int(numbers.sum())
        others = numbers - (np.arange(n) == kind)
        self._weights, self._total = others / total, total
        first = np.zeros(n + 2)
        first[0], first[-1] = c.first_mean[kind], 1.0
        self.first_moments = np.outer(first, first)
        spread = np.concatenate([[c.first_variance[kind]], others * c.first_variance / total**2, [0.0]])
        self.first_moments += np.diag(spread)
        common = c.common_volatility * np.concatenate([[1.0], self._weights, [0.0]])
        own = np.concatenate([[c.volatility[kind] ** 2], others * c.volatility**2 / total**2, [0.0]])
        self.noise = np.outer(common, common) + np.diag(own)
        # The means of the N agents by type, less those of the mean field, as far as they are linear in the vector.
        self._excess = np.zeros((n, n + 2))
        some = numbers > 0
        self._excess[some, 1 + np.flatnonzero(some)] = total / numbers[some]
        self._excess[kind, 0] = 1.0 / numbers[kind]
        self._number = int(numbers[kind])

    def at(self, time: float) -> tuple[Array, Array, Array]:
        """Flow without control, gains of the mean-field feedback, and running cost matrix without control."""
        c, kind, n = self._c, self._kind, len(self._c.share)
        both, gain = self._solution.path(time), self._solution.riccati(time)
        mean, xi = both[:n], both[n:] - gain * both[:n]
        xbar = np.concatenate([[1.0 / self._total], np.ones(n), [self._weights @ mean]])
        flow = np.zeros((n + 2, n + 2))
        flow[0] = c.coupling[kind] * xbar
        flow[0, 0] += c.drift[kind]
        flow[1:-1] = (self._weights * c.coupling)[:, None] * xbar
        flow[1:-1, -1] -= self._weights * c.coupling * (c.share @ mean)
        flow[1:-1, 1:-1] += np.diag(c.drift - c.strength * gain)
        played = np.zeros(n + 2)
        played[0], played[-1] = gain[kind], xi[kind]
        if self._follows:
            excess = self._excess.copy()
            excess[kind, -1] = -mean[kind] / self._number
            follow = self._solution.xi_of_means(time) @ excess
            flow[1:-1] -= (self._weights * c.strength)[:, None] * follow
            played += follow[kind]
        with_mean = np.zeros((n + 2, n + 2))
        with_mean[0] = c.coupling_cost[kind] * xbar
        running = with_mean + with_mean.T
        running[0, 0] += c.state_cost[kind]
        return flow, c.response[kind] * played, running


def n_player_gaps(
    solution: LinearQuadraticSolution, n_agents: ArrayLike, *, follows_means: bool | None = None
) -> Array:
    """The gap of the mean-field feedback for each type and several numbers of agents.

    Parameters
    ----------
    solution:
        The competitive equilibrium.
    n_agents:
        Numbers of agents, shape (k,).
    follows_means:
        As of :func:`n_player_best_response`.

    Returns
    -------
    Shape (k, n_types); NaN for a type without agents.
    """
    sizes = np.atleast_1d(checks.array("n_agents", n_agents))
    gaps = np.full((len(sizes), len(solution.parameters.share)), np.nan)
    for row, size in zip(gaps, sizes, strict=True):
        size = checks.integer("n_agents", size, 2, MAX_AGENTS)
        for kind in np.flatnonzero(stratified(solution.game.proportions, size)):
            row[kind] = n_player_best_response(solution, int(kind), size, follows_means=follows_means).gap
    return gaps
