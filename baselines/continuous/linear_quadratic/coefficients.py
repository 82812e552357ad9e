"""The parameters of a linear-quadratic game as arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.linear_quadratic.game import LinearQuadratic

Array = NDArray[np.float64]


class Coefficients(NamedTuple):
    """Parameters of the types, each an array of shape (n_types,), and the two numbers that they share."""

    share: Array
    """lambda: shares of the types in the population."""
    drift: Array
    """a."""
    control_gain: Array
    """b."""
    coupling: Array
    """kappa: effect of the mean state on the drift."""
    volatility: Array
    """sigma."""
    state_cost: Array
    """q."""
    control_cost: Array
    """r."""
    coupling_cost: Array
    """s: cost of the state times the mean state."""
    terminal_cost: Array
    """q_T."""
    first_mean: Array
    """m_0."""
    first_variance: Array
    """V_0."""
    duration: float
    """T."""
    common_volatility: float
    """sigma_0."""

    @property
    def strength(self) -> Array:
        """S = b^2 / r."""
        return self.control_gain**2 / self.control_cost

    @property
    def response(self) -> Array:
        """Response b / r: the optimal control is minus this, times the costate."""
        return self.control_gain / self.control_cost


def coefficients(game: LinearQuadratic) -> Coefficients:
    """The parameters of a game in its mean-field limit: shares are the game's proportions.

    Raises
    ------
    TypeError
        If it is another game.
    """
    if not isinstance(game, LinearQuadratic):
        raise TypeError(f"game must be a LinearQuadratic game, got {game!r}")
    return Coefficients(
        share=np.array(game.proportions),
        drift=np.array(game.drift),
        control_gain=np.array(game.control_gain),
        coupling=np.array(game.coupling),
        volatility=np.array(game.volatility),
        state_cost=np.array(game.state_cost),
        control_cost=np.array(game.control_cost),
        coupling_cost=np.array(game.coupling_cost),
        terminal_cost=np.array(game.terminal_cost),
        first_mean=np.array(game.initial_mean),
        first_variance=np.array(game.initial_variance),
        duration=game.duration,
        common_volatility=game.common_volatility,
    )
