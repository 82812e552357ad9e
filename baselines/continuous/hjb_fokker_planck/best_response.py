"""Best response of one type to given flows of all types, by policy iteration over the whole horizon.

The discrete problem is a Markov decision process on the cells. Howard's policy iteration alternates the linear
equation of the current policy, backward over all steps, with the minimisation of the discrete Hamiltonian at all
steps at once. Values decrease from one policy to the next, and near the solution it converges quadratically.

References
----------
Bokanowski, Maroso & Zidani, "Some convergence results for Howard's algorithm", SIAM Journal on Numerical Analysis
47, 2009.

Cacace, Camilli & Goffi, "A policy iteration method for mean field games", ESAIM: COCV 27, 2021.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .functions import GridFunctions
from .hamiltonian import AnalyticSearch, CandidateSearch, GridSearch
from .mean_field import MeanField
from .scheme import solve_backward, solve_forward, take_best
from .settings import Settings

Array = NDArray[np.float64]


class Response(NamedTuple):
    """A policy and its value against given flows of all types."""

    control: Array
    """Controls, shape (n_steps, n_cells)."""
    drift: Array
    """Drift under these controls, of the same shape."""
    cost: Array
    """Running cost of these controls, of the same shape."""
    value: Array
    """Expected cost from every time and cell on, shape (n_steps + 1, n_cells)."""
    gap: float
    """Bound on how much lower the optimal value is, at any time and in any cell."""
    n_sweeps: int
    """Number of policies that were evaluated."""


class ControlProblem:
    """The decision problem of one type against given flows of all types.

    Flows have shape (n_types, n_steps + 1, n_cells). In the step from t_n to t_(n+1) the functions get the time
    t_n and the laws at t_(n+1), as in the implicit scheme of Achdou & Capuzzo-Dolcetta (SIAM Journal on Numerical
    Analysis 48, 2010), for which monotone games have one discrete equilibrium.
    """

    def __init__(self, functions: GridFunctions, settings: Settings) -> None:
        grid, kind = functions.grid, functions.kind
        self.functions, self.settings = functions, settings
        self.width, self.is_upwind = grid.width, settings.scheme == "upwind"
        self.dt = float(functions.t[1, 0] - functions.t[0, 0])
        self.horizon = float(functions.t[-1, 0])
        self.search: CandidateSearch = (
            GridSearch(grid.width, self.is_upwind, settings.n_controls, settings.control_precision)
            if kind.minimiser is None
            else AnalyticSearch(grid.width, self.is_upwind)
        )
        self.initial = grid.initial_density(kind)
        self._scratch = np.empty(grid.n_cells)

    def first_control(self) -> Array:
        """The control nearest to zero, at all steps and cells."""
        return np.full(self.functions.half_variance.shape, np.clip(0.0, *self.functions.kind.controls))

    def evaluate(self, field: MeanField, control: Array) -> Response:
        """Value of given controls; their ``gap`` is not known (infinite)."""
        functions = self.functions
        control, drift, cost = control.copy(), np.empty(control.shape), np.empty(control.shape)
        for steps in functions.blocks():
            law = self._law(field, steps)
            drift[steps], cost[steps] = functions.drift_and_cost(steps, control[steps], law)
        response = Response(control, drift, cost, np.empty((len(control) + 1, control.shape[1])), np.inf, 0)
        last = field.densities.shape[1]
        response.value[-1] = functions.terminal_cost(field.at(last - 1, last, functions.index))
        return self._with_value(response)

    def respond(self, field: MeanField, start: Response, tolerance: float) -> Response:
        """Improve ``start``, which was evaluated against this field, until its gap is at most ``tolerance``.

        ``tolerance`` is relative to 1 plus the largest value. After ``max_policy_iterations`` policies the last
        one is returned, with its gap.
        """
        response = start
        for _ in range(self.settings.max_policy_iterations):
            gap = self._improve(field, response)
            if gap <= tolerance * (1.0 + float(np.abs(response.value).max())):
                return response._replace(gap=gap)
            response = self._with_value(response._replace(n_sweeps=response.n_sweeps + 1, gap=gap))
        return response

    def last_control(self, field: MeanField, response: Response) -> Array:
        """The control of the last step, (n_cells,), once it is improved against the terminal cost.

        It continues the feedback to the horizon, where no control is played.
        """
        steps = slice(len(response.control) - 1, len(response.control))
        own = response.control[steps].copy(), response.drift[steps].copy(), response.cost[steps].copy()
        self._improve_at(steps, field, response.value[-1:], own)
        last: Array = own[0][0]
        return last

    def forward(self, drift: Array) -> Array:
        """Densities of the type's states under this drift, shape (n_steps + 1, n_cells)."""
        density = np.empty((len(drift) + 1, drift.shape[1]))
        density[0] = self.initial
        solve_forward(
            drift, self.functions.half_variance, self.width, self.dt, self.is_upwind, density, self._scratch
        )
        return density

    def _improve(self, field: MeanField, response: Response) -> float:
        """Minimise the Hamiltonian in place; the horizon times the largest decrease bounds the gap in value."""
        largest = 0.0
        for steps in self.functions.blocks(self.search.n_candidates):
            own = response.control[steps], response.drift[steps], response.cost[steps]
            largest = max(largest, self._improve_at(steps, field, response.value[steps], own))
        return self.horizon * largest

    def _improve_at(self, steps: slice, field: MeanField, value: Array, own: tuple[Array, Array, Array]) -> float:
        half = self.functions.half_variance[steps]
        found = self.search(self.functions, steps, self._law(field, steps), value, half)
        return float(take_best(*found, half, value, self.width, self.is_upwind, *own))

    def _law(self, field: MeanField, steps: slice) -> MeanField:
        return field.at(steps.start + 1, steps.stop + 1, self.functions.index)

    def _with_value(self, response: Response) -> Response:
        half, value = self.functions.half_variance, response.value
        arrays = response.drift, response.cost, half
        solve_backward(*arrays, self.width, self.dt, self.is_upwind, value, self._scratch)
        if not np.isfinite(value).all():
            largest = (float(np.abs(array).max()) for array in (response.drift, response.cost))
            raise ValueError(
                "the values of type {!r} must be finite: its drift, up to {:g}, or its costs, up to {:g}, are too"
                " large".format(self.functions.kind.name, *largest)
            )
        return response
