"""The planning problem as a linear program, in units in which its largest numbers are 1."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfenvs.energy.welfare.problem import PlanningProblem, has_battery

Array = NDArray[np.float64]

SLACK = 1e-7
"""Relative relaxation of a bound on an objective: the solver's own tolerance of feasibility."""


class LinearProgram:
    """The planning problem as a linear program, in units in which the largest energy and the largest price are 1.

    Columns: charge, discharge and state of charge of every battery and step, then for each of K scenarios the
    flexible demand served (where there is any), import, export and curtailment of every step, and the peak. K is 1
    if the day is known. The state of charge has columns of its own: eliminating it makes the program as large as
    the square of H and takes longer (N = 1000: by a quarter).
    """

    def __init__(
        self, problem: PlanningProblem, load: Array | None = None, generation: Array | None = None
    ) -> None:
        load = problem.load[None] if load is None else load
        generation = problem.generation[None] if generation is None else generation
        self.problem = problem
        self.batteries = np.flatnonzero(has_battery(problem))
        self.flexible = np.nonzero(problem.flexible)
        n_scenarios, n_steps, n_batteries = len(load), problem.n_steps, len(self.batteries)
        n_flexible = len(self.flexible[0])
        self.shapes = {
            "charge": (n_batteries, n_steps),
            "discharge": (n_batteries, n_steps),
            "soc": (n_batteries, n_steps),
            "served": (n_scenarios, n_flexible),
            "import": (n_scenarios, n_steps),
            "export": (n_scenarios, n_steps),
            "curtailed": (n_scenarios, n_steps),
            "peak": (1, 1),
        }
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes.values())]).tolist()
        self.columns = {
            name: slice(*pair) for name, pair in zip(self.shapes, itertools.pairwise(ends), strict=True)
        }
        self.n_columns = ends[-1]

        energies = (load, generation, problem.flexible, problem.capacity)
        prices = (problem.retail, problem.feed_in, problem.degradation, problem.flexible_value)
        self.energy = max(float(array.max()) for array in energies) or 1.0
        price = max(float(np.abs(array).max()) for array in prices) or 1.0
        intensity = float(problem.co2.max()) or 1.0
        self.units = {"cost": self.energy * price, "peak": self.energy, "co2": self.energy * intensity}

        own = self.batteries
        self.efficiency = problem.efficiency[own, None]
        self.soc0 = problem.soc0[own, None] / self.energy
        capacity = problem.capacity[own, None] / self.energy
        power = problem.power[own, None] / self.energy
        self.net = (load - generation).sum(axis=1) / self.energy
        self.low, self.high = np.zeros(self.n_columns), np.full(self.n_columns, np.inf)
        # No flow in one direction can be larger than what fills or empties the battery: the tightest big M.
        self._set(self.high, "charge", np.minimum(power, capacity / self.efficiency))
        self._set(self.high, "discharge", np.minimum(power, capacity * self.efficiency))
        self._set(self.high, "soc", capacity)
        self.block(self.low, "soc")[:, -1:] = self.soc0
        self._set(self.high, "served", problem.flexible[self.flexible] / self.energy)
        may_curtail = generation.sum(axis=1) / self.energy if problem.curtailment else 0.0
        self._set(self.high, "curtailed", may_curtail)

        self.to_steps = sparse.csr_array(
            (np.ones(n_flexible), (self.flexible[1], np.arange(n_flexible))), shape=(n_steps, n_flexible)
        )
        self.rows, self.row_low, self.row_high = self._rows()
        self.costs = self._costs(price)
        emissions = np.zeros(self.n_columns)
        self._set(emissions, "import", problem.co2 / intensity)
        peak = np.zeros(self.n_columns)
        self._set(peak, "peak", 1.0)
        self.vectors = {"cost": self.costs[[0]].toarray()[0], "peak": peak, "co2": emissions}

    def block(self, x: Array, name: str) -> Array:
        """The columns of this name, as a view in their own shape."""
        return x[self.columns[name]].reshape(self.shapes[name])

    def _set(self, x: Array, name: str, value: Array | float) -> None:
        self.block(x, name)[...] = value

    def _rows(self) -> tuple[Any, Array, Array]:
        """Constraints of states of charge, of each step's balance and of the peak: rows, lower, upper bounds."""
        n_batteries, n_steps = self.shapes["soc"]
        n_scenarios = len(self.net)
        n_states, n_balances = n_batteries * n_steps, n_scenarios * n_steps
        into = sparse.diags_array(np.repeat(self.efficiency[:, 0], n_steps), shape=(n_states, n_states))
        out = sparse.diags_array(np.repeat(1 / self.efficiency[:, 0], n_steps), shape=(n_states, n_states))
        change = sparse.eye_array(n_steps) - sparse.eye_array(n_steps, k=-1)
        states = sparse.kron(sparse.eye_array(n_batteries), change)
        pooled = sparse.kron(np.ones((n_scenarios, n_batteries)), sparse.eye_array(n_steps))
        served = sparse.kron(sparse.eye_array(n_scenarios), self.to_steps)
        each, ones = sparse.eye_array(n_balances), sparse.csr_array(np.ones((n_balances, 1)))
        rows = sparse.block_array(
            [
                [into, -out, -states, None, None, None, None, None],
                [pooled, -pooled, None, served, -each, each, each, None],
                [None, None, None, None, each, None, None, -ones],
                [None, None, None, None, None, each, None, -ones],
            ],
            format="csr",
        )
        start = np.zeros((n_batteries, n_steps))
        start[:, :1] = -self.soc0
        exact = np.concatenate([start.ravel(), -self.net.ravel()])
        free, zero = np.full(2 * n_balances, -np.inf), np.zeros(2 * n_balances)
        return rows, np.concatenate([exact, free]), np.concatenate([exact, zero])

    def _costs(self, price: float) -> Any:
        """Coefficients of the cost -W of each scenario, sparse, shape (K, n columns)."""
        problem = self.problem
        rows = []
        for scenario in range(len(self.net)):
            row = np.zeros(self.n_columns)
            self._set(row, "charge", problem.degradation[self.batteries, None] / price)
            self._set(row, "discharge", problem.degradation[self.batteries, None] / price)
            self.block(row, "served")[scenario] = -problem.flexible_value[self.flexible[0]] / price
            self.block(row, "import")[scenario] = problem.retail / price
            self.block(row, "export")[scenario] = -problem.feed_in / price
            rows.append(sparse.csr_array(row[None]))
        return sparse.vstack(rows, format="csr")

    def completed(self, x: Array, apart: NDArray[np.bool_]) -> Array:
        """A solution whose derived columns follow from its decisions, with no simultaneous flows where ``apart``.

        ``apart`` has shape (N, H). Simultaneous charging and discharging is replaced by the one flow that changes
        the state of charge by as much. Energy that is no longer burned is curtailed if it may be, so that the
        exchange with the grid stays the same.
        """
        x = np.clip(x, self.low, self.high)
        charge, discharge = self.block(x, "charge"), self.block(x, "discharge")
        stored = self.efficiency * charge - discharge / self.efficiency
        both = (np.minimum(charge, discharge) > 0) & apart[self.batteries]
        burned = (charge - discharge).sum(axis=0)
        charge[both] = (np.maximum(stored, 0) / self.efficiency)[both]
        discharge[both] = (np.maximum(-stored, 0) * self.efficiency)[both]
        drawn = (charge - discharge).sum(axis=0)
        self._set(x, "soc", self.soc0 + np.cumsum(self.efficiency * charge - discharge / self.efficiency, axis=1))
        curtailed = self.block(x, "curtailed")
        curtailed[...] = np.minimum(curtailed + burned - drawn, self.block(self.high, "curtailed"))
        net = self.net + drawn + (self.to_steps @ self.block(x, "served").T).T + curtailed
        self._set(x, "import", np.maximum(net, 0))
        self._set(x, "export", np.maximum(-net, 0))
        self._set(x, "peak", np.abs(net).max())
        return x

    def burns(self, x: Array) -> bool:
        """Whether a battery charges and discharges in the same step."""
        return bool((np.minimum(self.block(x, "charge"), self.block(x, "discharge")) > SLACK).any())

    def of_agents(self, x: Array, name: str) -> Array:
        """Columns ``name`` of the batteries in kWh, for all agents (0 without a battery), shape (N, H)."""
        full = np.zeros(self.problem.load.shape)
        full[self.batteries] = self.block(x, name) * self.energy
        return full

    def soc(self, x: Array) -> Array:
        """State of charge of each battery before each step and at the end, kWh, shape (N, H + 1)."""
        full = np.repeat(self.problem.soc0[:, None], self.problem.n_steps + 1, axis=1)
        full[self.batteries, 1:] = self.block(x, "soc") * self.energy
        return full

    def served(self, x: Array) -> Array:
        """Flexible demand served, kWh, shape (K, N, H)."""
        block = self.block(x, "served")
        full = np.zeros((len(block), *self.problem.load.shape))
        agents, steps = self.flexible
        full[:, agents, steps] = block * self.energy
        return full
