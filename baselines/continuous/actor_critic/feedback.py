"""Learned policies of the linear-quadratic game as affine feedbacks, to compare with its closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.games.linear_quadratic.game import LinearQuadratic
from mfenvs.play import Player

from ..linear_quadratic.solution import LinearQuadraticSolution

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFeedback:
    """Affine feedback u = -(g x + o) of each type at each step of a game, fitted to what a policy does."""

    game: LinearQuadratic
    """The game."""
    gain: Array
    """g, shape (horizon, n_types); in equilibrium (b / r) P."""
    constant: Array
    """o at the population's means, shape (horizon, n_types); in equilibrium (b / r) xi."""
    unexplained: Array
    """Share of the variance of controls that is not affine in the state, shape (horizon, n_types)."""

    @property
    def times(self) -> Array:
        """Times of the steps, shape (horizon,)."""
        return np.arange(self.game.horizon, dtype=np.float64) * self.game.dt

    def at(self, time: float, kind: int) -> Array:
        """Coefficients of one type's feedback, as :func:`deviation_cost` takes them, linear between the steps."""
        found = np.zeros(len(self.game.types) + 2)
        found[0] = np.interp(time, self.times, self.gain[:, kind])
        found[-1] = np.interp(time, self.times, self.constant[:, kind])
        return found


def fitted_feedback(game: LinearQuadratic, policy: Any, *, n_worlds: int = 16, seed: int = 0) -> FittedFeedback:
    """Fit an affine feedback to the controls of a policy, by least squares at each step for each type.

    Parameters
    ----------
    game:
        The game; every type has at least one agent.
    policy:
        A model with ``predict``, whose deterministic actions are fitted.
    n_worlds:
        Number of worlds in which all agents play the policy, and whose states are fitted.
    seed:
        Random seed of the simulations.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the policy cannot be played, or a type has no agents.
    """
    if not isinstance(game, LinearQuadratic):
        raise TypeError(f"game must be a LinearQuadratic game, got {checks.shown(game)}")
    n_worlds = checks.integer("n_worlds", n_worlds, 2)
    if not game.numbers.all():
        raise ValueError(
            f"every type must have an agent, got {game.numbers.tolist()} with n_agents={game.n_agents}"
        )
    player = Player(game, _MeanActions(policy), name="policy")
    engine = Engine(game, n_worlds)
    engine.reset(checks.integer("seed", seed, 0))
    kinds = game.agents["type"]
    shape = (game.horizon, len(game.types))
    gain, constant, unexplained = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for step in range(game.horizon):
        states = engine.states.astype(np.float64)
        controls = player.actions(engine)
        for kind in range(len(game.types)):
            x, u = states[:, kinds == kind].ravel(), controls[:, kinds == kind].ravel().astype(np.float64)
            slope = np.cov(x, u)[0, 1] / x.var(ddof=1) if x.var() > 0.0 else 0.0
            gain[step, kind], constant[step, kind] = -slope, slope * x.mean() - u.mean()
            rest = u - u.mean() - slope * (x - x.mean())
            unexplained[step, kind] = rest.var() / u.var() if u.var() > 0.0 else 0.0
        engine.step(controls)
    return FittedFeedback(game, gain, constant, unexplained)


def step_gains(game: LinearQuadratic) -> Array:
    """The Riccati gains of a game in its own steps, which those of continuous time approach as dt -> 0.

    With the step x' = A x + B u + ... and its cost dt (q x^2 + r u^2) / 2, gains are g_h = A B Q_{h+1} / (dt r +
    B^2 Q_{h+1}), where Q_h = dt q + A (A - B g_h) Q_{h+1} and Q_H = q_T. They do not depend on the means.

    Returns
    -------
    Gains g of the best controls u = -(g x + o), shape (horizon, n_types).
    """
    step = game.step_coefficients
    q, r = np.array(game.state_cost), np.array(game.control_cost)
    value, gains = np.array(game.terminal_cost), np.empty((game.horizon, len(game.types)))
    for h in reversed(range(game.horizon)):
        gains[h] = step.stay * step.push * value / (game.dt * r + step.push**2 * value)
        value = game.dt * q + step.stay * (step.stay - step.push * gains[h]) * value
    return gains


class _MeanActions:
    """The deterministic actions of a model."""

    def __init__(self, model: Any) -> None:
        self._model, self.observe = model, getattr(model, "observe", ())

    def predict(self, observations: NDArray[np.float32]) -> tuple[NDArray[Any], None]:
        return self._model.predict(observations, deterministic=True)[0], None


def control_error(solution: LinearQuadraticSolution, coefficients: Array, times: Array) -> Array:
    """The expected cost of the errors of a feedback's controls, E int r (u - u*)^2 / 2 dt, in an equilibrium.

    u* is the equilibrium's control, and states have the equilibrium's law. To leading order in the error it is
    what an agent loses that plays the feedback while all others play the equilibrium (:func:`deviation_cost`).

    Parameters
    ----------
    solution:
        The equilibrium.
    coefficients:
        Coefficients f of controls u = f . (x, m_1, ..., m_n, 1), shape (len(times), n_types, n_types + 2).
    times:
        Equally spaced times, each of which stands for an equal part of the game's duration.

    Returns
    -------
    Shape (n_types,).
    """
    c = solution.parameters
    means, variances = solution.mean(times), solution.variance(times)
    ones = np.ones((len(times), 1))
    moments = np.concatenate([means, ones], axis=1)
    slope = coefficients[..., 0] + c.response * solution.riccati(times)
    rest = np.einsum("tkf,tf->tk", coefficients[..., 1:], moments) + c.response * solution.xi(times)
    squared = slope**2 * variances + (slope * means + rest) ** 2
    found: Array = 0.5 * c.control_cost * squared.mean(axis=0) * c.duration
    return found
