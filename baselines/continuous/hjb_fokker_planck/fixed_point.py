"""The fixed point between the densities that agents respond to and those that their responses make."""

import numpy as np
from numpy.typing import NDArray

from .best_response import ControlProblem, Response
from .functions import GridFunctions
from .game import ContinuousGame, Grid
from .mean_field import MeanField
from .mixing import Mixing
from .result import Equilibrium
from .settings import Settings

Array = NDArray[np.float64]

BOUNDARY_SHARE = 0.02
"""Share of the grid at each end in which the mass of agents is watched."""

RESPONSE_PRECISION = 0.01
"""Precision of best responses as a multiple of the tolerance, or of the last residual while that is larger."""

EXPLOITABILITY_PRECISION = 1e-10
"""Precision of the best responses that measure exploitability, relative to 1 plus the largest value."""


class FixedPoint:
    """The iteration on one grid: responses to a flow, the flow that they make, and the next guess."""

    def __init__(self, game: ContinuousGame, grid: Grid, settings: Settings, start: Equilibrium | None) -> None:
        self.game, self.grid, self.settings = game, grid, settings
        self.problems = [
            ControlProblem(GridFunctions(kind, index, grid, game.horizon), settings)
            for index, kind in enumerate(game.types)
        ]
        initial = np.stack([problem.initial for problem in self.problems])
        if start is None:
            self.flow = np.repeat(initial[:, None], grid.n_steps + 1, axis=1)
            self.controls = [problem.first_control() for problem in self.problems]
        else:
            self.flow = _moved(start.densities, start, game, grid)
            mass = self.flow.sum(axis=-1, keepdims=True) * grid.width
            if not mass.min() > 0.0:
                raise ValueError(f"start must have agents on the grid [{grid.low:g}, {grid.high:g}] at all times")
            self.flow /= mass
            self.flow[:, 0] = initial
            moved = _moved(start.controls, start, game, grid)[:, :-1]
            self.controls = [np.clip(u, *kind.controls) for u, kind in zip(moved, game.types, strict=True)]
        self.n_sweeps = 0

    def run(self) -> Equilibrium:
        """Iterate until the residuals reach the tolerance, or for the largest number of iterations."""
        settings, width = self.settings, self.grid.width
        mixing = Mixing(settings.damping, settings.memory)
        density_residuals: list[float] = []
        value_residuals: list[float] = []
        values: Array | None = None
        precision, converged = RESPONSE_PRECISION, False
        for _ in range(settings.max_iterations):
            responses = self._respond(self.flow, precision)
            image = np.stack([p.forward(r.drift) for p, r in zip(self.problems, responses, strict=True)])
            density_residuals.append(largest_distance(image, self.flow) * width)
            new_values = np.stack([response.value for response in responses])
            value_residuals.append(np.inf if values is None else _relative_change(new_values, values))
            values = new_values
            residual = max(density_residuals[-1], value_residuals[-1])
            is_precise = all(r.gap <= settings.tolerance * (1.0 + np.abs(r.value).max()) for r in responses)
            if residual <= settings.tolerance and is_precise:
                converged = True
                break
            precision = RESPONSE_PRECISION * min(1.0, max(settings.tolerance, residual))
            self.flow = mixing.next_guess(self.flow, image)
        return self._result(image, converged, density_residuals, value_residuals)

    def _field(self, flow: Array) -> MeanField:
        return MeanField(self.problems[0].functions.x, self.grid.width, self.game.names, self.game.weights, flow)

    def _respond(self, flow: Array, precision: float) -> list[Response]:
        """Best responses to a flow, which are kept as the first guesses of the next ones."""
        field = self._field(flow)
        responses = []
        for index, problem in enumerate(self.problems):
            response = problem.respond(field, problem.evaluate(field, self.controls[index]), precision)
            self.controls[index] = response.control
            self.n_sweeps += response.n_sweeps + 1
            responses.append(response)
        return responses

    def _result(
        self, densities: Array, converged: bool, density_residuals: list[float], value_residuals: list[float]
    ) -> Equilibrium:
        """The equilibrium whose controls made ``densities``, evaluated against them."""
        field, width = self._field(densities), self.grid.width
        played = [
            problem.evaluate(field, control) for problem, control in zip(self.problems, self.controls, strict=True)
        ]
        values = np.stack([response.value for response in played])
        initial = densities[:, 0]
        last = np.stack([p.last_control(field, r) for p, r in zip(self.problems, played, strict=True)])
        controls = np.concatenate([np.stack([response.control for response in played]), last[:, None]], axis=1)
        costs = (initial * values[:, 0]).sum(axis=-1) * width
        best = self._respond(densities, EXPLOITABILITY_PRECISION)
        least = (initial * np.stack([response.value[0] for response in best])).sum(axis=-1) * width
        edge = max(1, round(BOUNDARY_SHARE * self.grid.n_cells))
        at_ends = densities[:, :, :edge].sum(axis=-1), densities[:, :, -edge:].sum(axis=-1)
        return Equilibrium(
            game=self.game,
            grid=self.grid,
            settings=self.settings,
            t=self.grid.times(self.game.horizon),
            x=self.grid.x,
            densities=densities,
            values=values,
            controls=controls,
            costs=costs,
            exploitability=costs - least,
            converged=converged,
            density_residuals=np.array(density_residuals),
            value_residuals=np.array(value_residuals),
            n_policy_iterations=self.n_sweeps,
            mass_error=float(np.abs(densities.sum(axis=-1) * width - 1.0).max()),
            boundary_mass=np.maximum(*at_ends).max(axis=1) * width,
        )


def largest_distance(one: Array, other: Array) -> float:
    """Largest sum over the cells of the distance of two flows, at any time and for any type."""
    return float(np.abs(one - other).sum(axis=-1).max())


def _relative_change(new: Array, old: Array) -> float:
    return float(np.abs(new - old).max() / (1.0 + np.abs(new).max()))


def _moved(arrays: Array, start: Equilibrium, game: ContinuousGame, grid: Grid) -> Array:
    """Arrays (n_types, n_times, n_cells) of an equilibrium, interpolated to a grid; times are relative."""
    in_x = np.array([[np.interp(grid.x, start.x, row) for row in rows] for rows in arrays])
    place = np.linspace(0.0, len(start.t) - 1.0, grid.n_steps + 1)
    before = np.minimum(place.astype(np.int64), len(start.t) - 2)
    fraction = (place - before)[:, None]
    moved: Array = (1.0 - fraction) * in_x[:, before] + fraction * in_x[:, before + 1]
    return moved
