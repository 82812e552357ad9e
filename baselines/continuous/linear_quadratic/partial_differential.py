"""The linear-quadratic game as input of the solver of the Hamilton-Jacobi-Bellman and Fokker-Planck equations."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.linear_quadratic.game import LinearQuadratic

from ..hjb_fokker_planck import AgentType, ContinuousGame, MeanField
from .coefficients import coefficients

Array = NDArray[np.float64]


def continuous_game(game: LinearQuadratic) -> ContinuousGame:
    """The mean-field limit of a linear-quadratic game in continuous time, with controls of any size.

    Parameters
    ----------
    game:
        The game; its ``control_bound`` and its steps are not taken over.

    Returns
    -------
    ContinuousGame
        For ``baselines.continuous.hjb_fokker_planck.solve``.

    Raises
    ------
    TypeError
        If it is another game.
    ValueError
        If there is common noise, or a type's initial variance is 0, so that it has no density.
    """
    c = coefficients(game)
    if c.common_volatility > 0.0:
        raise ValueError(
            f"a game with common noise has no deterministic flow of laws, got common_volatility"
            f" {c.common_volatility:g}: it must be 0"
        )
    if not (c.first_variance > 0.0).all():
        raise ValueError(
            f"initial_variance must be above 0, so that states have a density, got {game.initial_variance}"
        )
    of_types = zip(
        *(game.drift, game.control_gain, game.coupling, game.volatility, game.state_cost, game.control_cost),
        *(game.coupling_cost, game.terminal_cost, game.initial_mean, game.initial_variance),
        strict=True,
    )
    kinds = []
    for name, share, numbers in zip(game.types, game.proportions, of_types, strict=True):
        kind = _Type(*numbers)
        kinds.append(
            AgentType(
                name=name,
                weight=share,
                drift=kind.flow,
                diffusion=kind.diffusion,
                running_cost=kind.running_cost,
                terminal_cost=kind.cost_at_end,
                controls=(-math.inf, math.inf),
                initial_density=kind.initial_density,
                minimiser=kind.minimiser,
            )
        )
    return ContinuousGame(types=kinds, horizon=c.duration)


@dataclasses.dataclass(frozen=True)
class _Type:
    """The functions of one type."""

    drift: float
    control_gain: float
    coupling: float
    volatility: float
    state_cost: float
    control_cost: float
    coupling_cost: float
    terminal_cost: float
    initial_mean: float
    initial_variance: float

    def flow(self, t: Array, x: Array, u: Array, field: MeanField) -> Array:
        """Drift a x + b u + kappa xbar."""
        return self.drift * x + self.control_gain * u + self.coupling * field.mean

    def diffusion(self, t: Array, x: Array) -> float:
        """Volatility sigma."""
        return self.volatility

    def running_cost(self, t: Array, x: Array, u: Array, field: MeanField) -> Array:
        """Cost q x^2 / 2 + r u^2 / 2 + s x xbar."""
        return 0.5 * (self.state_cost * x * x + self.control_cost * u * u) + self.coupling_cost * x * field.mean

    def cost_at_end(self, x: Array, field: MeanField) -> Array:
        """Cost q_T x^2 / 2."""
        return 0.5 * self.terminal_cost * x * x

    def minimiser(self, t: Array, x: Array, p: Array, field: MeanField) -> Array:
        """Control -(b / r) p."""
        return -self.control_gain / self.control_cost * p

    def initial_density(self, x: Array) -> Array:
        """The density of N(m_0, V_0)."""
        scores = (x - self.initial_mean) ** 2 / self.initial_variance
        density: Array = np.exp(-0.5 * scores) / math.sqrt(2.0 * math.pi * self.initial_variance)
        return density
