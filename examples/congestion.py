"""Two crowds that change places, for whom moving costs more where it is crowded: a game solved by its equations.

``python examples/congestion.py`` prints what crossing costs, and when the crowds cross, for growing congestion.
"""

import numpy as np
from numpy.typing import NDArray

from mfenvs.baselines.continuous.hjb_fokker_planck import (
    AgentType,
    ContinuousGame,
    Equilibrium,
    Grid,
    MeanField,
    solve,
)

Array = NDArray[np.float64]

NOISE = 0.3
"""Diffusion coefficient of every agent."""

SPREAD = 0.1
"""Standard deviation of a crowd's first positions."""


def crowd(name: str, start: float, congestion: float) -> AgentType:
    """Agents near ``start`` who want to be near ``-start``, and pay u^2 / 2 (1 + congestion * density)^(3/2)."""

    def effort(field: MeanField) -> Array:
        return (1.0 + congestion * field.density) ** 1.5

    return AgentType(
        name=name,
        weight=0.5,
        drift=lambda t, x, u, field: u,
        diffusion=lambda t, x: NOISE,
        running_cost=lambda t, x, u, field: 0.5 * u**2 * effort(field),
        terminal_cost=lambda x, field: 5.0 * (x + start) ** 2,
        controls=(-np.inf, np.inf),
        initial_density=lambda x: np.exp(-(((x - start) / SPREAD) ** 2) / 2.0) / (SPREAD * np.sqrt(2.0 * np.pi)),
        # The minimiser of u^2 / 2 * effort + u p: given, it need not be searched.
        minimiser=lambda t, x, p, field: -p / effort(field),
    )


def equilibrium(congestion: float, n_cells: int = 160, n_steps: int = 80) -> Equilibrium:
    """The equilibrium of the game that lasts until time 1, with an estimate of its error."""
    game = ContinuousGame(types=[crowd("left", -0.5, congestion), crowd("right", 0.5, congestion)], horizon=1.0)
    return solve(game, Grid(low=-2.0, high=2.0, n_cells=n_cells, n_steps=n_steps), estimate_error=True)


def main(n_cells: int = 160, n_steps: int = 80) -> list[Equilibrium]:
    """Solve for four strengths of congestion, print what comes out, and return the equilibria."""
    found = []
    for congestion in (0.0, 0.5, 1.0, 2.0):
        result = equilibrium(congestion, n_cells, n_steps)
        found.append(result)
        left, error = result.means[0], result.error
        assert error is not None
        print(
            f"congestion {congestion:.1f}: cost {result.costs[0]:.4f} +- {error.costs[0]:.4f}, exploitability"
            f" {result.exploitability.max():.1e}, {result.n_iterations} iterations; the left crowd goes from"
            f" {left[0]:.2f} to {left[-1]:.2f} and is at {left[len(left) // 2]:.3f} half-way"
        )
    return found


if __name__ == "__main__":
    main()
