"""The planning problem as a linear program, in units in which its largest numbers are 1."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfenvs.energy.welfare.problem import SETTLEMENT, PlanningProblem, has_battery

Array = NDArray[np.float64]

SLACK = 1e-7
"""Relative relaxation of a bound on an objective: the solver's own tolerance of feasibility."""


class LinearProgram:
    """The planning problem as a linear program, in units in which the largest energy and the largest price are 1.

    Columns: charge, discharge and state of charge of every battery and step; energy that every charging session
    draws in each step, and lacks in the end; then for each of K scenarios the flexible demand served (where there
    can be any), import, export and curtailment of every step and the rise of every day's peak; and the largest
    exchange of all. K is 1 if the day is known. Where flexible demand can be shifted there are columns, too, of
    the demand that is admitted to be served, by the step in which it arises, and of what waits after each step.

    The state of charge has columns of its own: eliminating it makes the program as large as the square of H and
    takes longer (N = 1000: by a quarter).
    """

    def __init__(
        self, problem: PlanningProblem, load: Array | None = None, generation: Array | None = None
    ) -> None:
        load = problem.load[None] if load is None else load
        generation = problem.generation[None] if generation is None else generation
        self.problem = problem
        self.batteries = np.flatnonzero(has_battery(problem))
        sessions, arrivals = problem.sessions, problem.arrivals
        self.plugged = np.nonzero(sessions.is_plugged_in(problem.n_steps))
        self.flexible = np.nonzero(_may_be_served(problem))
        self.shifts = problem.shift_steps > 0
        self.admitted = np.nonzero(arrivals if self.shifts else 0 * arrivals)
        self.shifters = np.flatnonzero(arrivals.any(axis=1)) if self.shifts else np.zeros(0, np.intp)
        n_scenarios, n_steps, n_batteries = len(load), problem.n_steps, len(self.batteries)
        n_flexible = len(self.flexible[0])
        self.shapes = {
            "charge": (n_batteries, n_steps),
            "discharge": (n_batteries, n_steps),
            "soc": (n_batteries, n_steps),
            "vehicles": (1, len(self.plugged[0])),
            "missing": (1, len(sessions)),
            "served": (n_scenarios, n_flexible),
            "admitted": (n_scenarios, len(self.admitted[0])),
            "waiting": (n_scenarios, len(self.shifters) * n_steps),
            "import": (n_scenarios, n_steps),
            "export": (n_scenarios, n_steps),
            "curtailed": (n_scenarios, n_steps),
            "rise": (n_scenarios, problem.paid_peak.size if problem.peak_charge > 0 else 0),
            "peak": (1, 1),
        }
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes.values())]).tolist()
        self.columns = {
            name: slice(*pair) for name, pair in zip(self.shapes, itertools.pairwise(ends), strict=True)
        }
        self.n_columns = ends[-1]

        self.peak_price = problem.peak_charge / problem.step_hours
        energies = (load, generation, arrivals, problem.capacity, sessions.energy)
        prices = (
            *(problem.retail, problem.feed_in, problem.degradation, problem.flexible_value),
            *(sessions.penalty, np.array([self.peak_price])),
        )
        self.energy = max(float(array.max(initial=0.0)) for array in energies) or 1.0
        price = max(float(np.abs(array).max(initial=0.0)) for array in prices) or 1.0
        intensity = float(problem.co2.max()) or 1.0
        self.units = {"cost": self.energy * price, "peak": self.energy, "co2": self.energy * intensity}

        own = self.batteries
        self.efficiency = problem.efficiency[own, None]
        self.soc0 = problem.soc0[own, None] / self.energy
        capacity = problem.capacity[own, None] / self.energy
        power = problem.power[own, None] / self.energy
        self.own_net = (load - generation) / self.energy
        self.net = self.own_net.sum(axis=1)
        self.low, self.high = np.zeros(self.n_columns), np.full(self.n_columns, np.inf)
        # No flow in one direction can be larger than what fills or empties the battery: the tightest big M.
        self._set(self.high, "charge", np.minimum(power, capacity / self.efficiency))
        self._set(self.high, "discharge", np.minimum(power, capacity * self.efficiency))
        self._set(self.high, "soc", capacity)
        self.block(self.low, "soc")[:, -1:] = problem.end_soc[own, None] / self.energy
        self._set(self.high, "vehicles", sessions.power[self.plugged[0]] / self.energy)
        self._set(self.high, "missing", sessions.energy / self.energy)
        if self.shifts:
            self._set(self.high, "admitted", arrivals[self.admitted] / self.energy)
        else:
            self._set(self.high, "served", problem.flexible[self.flexible] / self.energy)
        self._set(self.high, "import", problem.import_limit / self.energy)
        self._set(self.high, "export", problem.export_limit / self.energy)
        may_curtail = generation.sum(axis=1) / self.energy if problem.curtailment else 0.0
        self._set(self.high, "curtailed", may_curtail)

        self.to_steps = _sums(self.flexible[1], n_steps)
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
        """All constraints: rows, lower and upper bounds."""
        peaks = self._member_peak_rows if self.problem.has_member_peaks else self._peak_rows
        parts = [
            self._session_rows(),
            *self._battery_rows(),
            *self._shift_rows(),
            *self._exchange_rows(),
            *peaks(),
        ]
        ends = np.cumsum([len(part.low) for part in parts])
        # Put together once, which is faster than blocks of blocks.
        entries = [
            (block, first, self.columns[name].start)
            for part, first in zip(parts, ends - [len(part.low) for part in parts], strict=True)
            for name, block in ((name, block.tocoo()) for name, block in part.blocks.items())
        ]
        values = np.concatenate([block.data for block, _, _ in entries])
        row = np.concatenate([block.row + first for block, first, _ in entries])
        column = np.concatenate([block.col + first for block, _, first in entries])
        rows = sparse.csr_array((values, (row, column)), shape=(ends[-1], self.n_columns))
        return rows, np.concatenate([part.low for part in parts]), np.concatenate([part.high for part in parts])

    def _battery_rows(self) -> Iterator["_Rows"]:
        """The state of charge follows from the flows."""
        n_batteries, n_steps = self.shapes["soc"]
        efficiency = np.repeat(self.efficiency[:, 0], n_steps)
        change = sparse.eye_array(n_steps) - sparse.eye_array(n_steps, k=-1)
        start = np.zeros((n_batteries, n_steps))
        start[:, :1] = -self.soc0
        blocks = {
            "charge": sparse.diags_array(efficiency),
            "discharge": sparse.diags_array(-1 / efficiency),
            "soc": -sparse.kron(sparse.eye_array(n_batteries), change),
        }
        if n_batteries:
            yield _Rows(blocks, start.ravel(), start.ravel())

    def _session_rows(self) -> "_Rows":
        """What a vehicle draws and what it lacks is what it needs."""
        sessions = self.problem.sessions
        needs = sessions.energy / self.energy
        blocks = {"vehicles": _sums(self.plugged[0], len(sessions)), "missing": sparse.eye_array(len(sessions))}
        return _Rows(blocks, needs, needs)

    def _shift_rows(self) -> Iterator["_Rows"]:
        """What waits after a step, and what may: only demand that was admitted in that step and w - 1 before it.

        So what is admitted in a step is served by w steps later, first in first out.
        """
        if not len(self.shifters):
            return
        (n_scenarios, _), n_steps = self.shapes["served"], self.problem.n_steps
        n_shifters, window = len(self.shifters), self.problem.shift_steps
        place = np.full(self.problem.n_agents, -1)
        place[self.shifters] = np.arange(n_shifters)
        cells = n_shifters * n_steps

        def by_cell(agents: Any, steps: Any, columns: Any, n_columns: int) -> Any:
            rows = place[agents] * n_steps + steps
            return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(cells, n_columns))

        agents, arose = self.admitted[0], self.admitted[1] - window
        each = np.arange(len(agents))
        joins = by_cell(agents, np.maximum(arose, 0), each, len(each))
        served = by_cell(
            self.flexible[0], self.flexible[1], np.arange(len(self.flexible[0])), len(self.flexible[0])
        )
        # What is admitted may wait after the steps from the one in which it arose to w - 1 later.
        after = arose[:, None] + np.arange(window)
        which, place_of = np.nonzero((after >= 0) & (after < n_steps))
        waiters = by_cell(agents[which], after[which, place_of], which, len(each))
        change = sparse.eye_array(n_steps) - sparse.eye_array(n_steps, k=-1)
        scenarios = sparse.eye_array(n_scenarios)
        waiting = sparse.kron(scenarios, sparse.kron(sparse.eye_array(n_shifters), change))
        zero, free = np.zeros(n_scenarios * cells), np.full(n_scenarios * cells, -np.inf)
        balance = {"admitted": sparse.kron(scenarios, joins), "served": -sparse.kron(scenarios, served)}
        yield _Rows({**balance, "waiting": -waiting}, zero, zero)
        most = {"admitted": -sparse.kron(scenarios, waiters), "waiting": sparse.eye_array(n_scenarios * cells)}
        yield _Rows(most, free, zero)

    def _exchange_rows(self) -> Iterator["_Rows"]:
        """The balance of each step, the rise of each day's peak and the largest exchange."""
        n_scenarios, n_steps = self.net.shape
        scenarios, each = sparse.eye_array(n_scenarios), sparse.eye_array(n_scenarios * n_steps)
        everyone = np.ones((n_scenarios, 1))
        pooled = sparse.kron(np.ones((n_scenarios, len(self.batteries))), sparse.eye_array(n_steps))
        blocks = {
            "charge": pooled,
            "discharge": -pooled,
            "vehicles": sparse.kron(everyone, _sums(self.plugged[1], n_steps)),
            "served": sparse.kron(scenarios, self.to_steps),
            "import": -each,
            "export": each,
            "curtailed": each,
        }
        yield _Rows(blocks, -self.net.ravel(), -self.net.ravel())
        ones = sparse.csr_array(np.ones((n_scenarios * n_steps, 1)))
        free, zero = np.full(n_scenarios * n_steps, -np.inf), np.zeros(n_scenarios * n_steps)
        yield _Rows({"import": each, "peak": -ones}, free, zero)
        yield _Rows({"export": each, "peak": -ones}, free, zero)

    def _peak_rows(self) -> Iterator["_Rows"]:
        """The rise of the peak of each day of the community."""
        if not self.problem.peak_charge:
            return
        (n_scenarios, n_steps), days = self.net.shape, self.problem.days
        counted = np.flatnonzero(days != SETTLEMENT)
        scenarios = sparse.eye_array(n_scenarios)
        pick = sparse.eye_array(n_steps, format="csr")[counted]
        of_day = _sums(days[counted], self.problem.n_days).T
        paid = np.tile(self._paid()[days[counted]], n_scenarios)
        rise = {"import": sparse.kron(scenarios, pick), "rise": -sparse.kron(scenarios, of_day)}
        yield _Rows(rise, np.full(len(paid), -np.inf), paid)

    def _member_peak_rows(self) -> Iterator["_Rows"]:
        """The rise of the peak of each day of every member, by what it imports at its own meter."""
        problem, n_scenarios = self.problem, len(self.net)
        n_steps, n_days = problem.n_steps, problem.n_days
        steps = np.flatnonzero(problem.days != SETTLEMENT)
        rows, place = problem.n_agents * len(steps), np.full(n_steps, -1)
        place[steps] = np.arange(len(steps))

        def at_meters(agents: Any, at: Any) -> Any:
            """Put the column of each agent and step into its row, of which there is none for settlement."""
            kept = np.flatnonzero(place[at] >= 0)
            row = agents[kept] * len(steps) + place[at[kept]]
            return sparse.csr_array((np.ones(len(kept)), (row, kept)), shape=(rows, len(at)))

        owners, all_steps = np.repeat(self.batteries, n_steps), np.tile(np.arange(n_steps), len(self.batteries))
        battery = at_meters(owners, all_steps)
        vehicles = at_meters(problem.sessions.agent[self.plugged[0]], self.plugged[1])
        served = at_meters(*self.flexible)
        day = np.repeat(np.arange(problem.n_agents), len(steps)) * n_days
        of_day = _sums(day + np.tile(problem.days[steps], problem.n_agents), problem.n_agents * n_days).T
        scenarios, everyone = sparse.eye_array(n_scenarios), np.ones((n_scenarios, 1))
        blocks = {
            "charge": sparse.kron(everyone, battery),
            "discharge": -sparse.kron(everyone, battery),
            "vehicles": sparse.kron(everyone, vehicles),
            "served": sparse.kron(scenarios, served),
            "rise": -sparse.kron(scenarios, of_day),
        }
        paid = self._paid()[:, problem.days[steps]] - self.own_net[:, :, steps]
        yield _Rows(blocks, np.full(paid.size, -np.inf), paid.ravel())

    def _paid(self) -> Array:
        """Import of a step up to which each day's peak is paid, in the program's unit."""
        return self.problem.paid_peak * self.problem.step_hours / self.energy

    def _costs(self, price: float) -> Any:
        """Coefficients of the cost -W of each scenario, sparse, shape (K, n columns)."""
        problem = self.problem
        rows = []
        for scenario in range(len(self.net)):
            row = np.zeros(self.n_columns)
            self._set(row, "charge", problem.degradation[self.batteries, None] / price)
            self._set(row, "discharge", problem.degradation[self.batteries, None] / price)
            self._set(row, "missing", problem.sessions.penalty / price)
            self.block(row, "served")[scenario] = -problem.flexible_value[self.flexible[0]] / price
            self.block(row, "import")[scenario] = problem.retail / price
            self.block(row, "export")[scenario] = -problem.feed_in / price
            self.block(row, "rise")[scenario] = self.peak_price / price
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
        vehicles = self.block(x, "vehicles")[0]
        total = np.bincount(self.plugged[0], vehicles, len(self.problem.sessions))
        self._set(x, "missing", np.maximum(self.problem.sessions.energy / self.energy - total, 0.0))
        self._set(x, "soc", self.soc0 + np.cumsum(self.efficiency * charge - discharge / self.efficiency, axis=1))
        curtailed = self.block(x, "curtailed")
        curtailed[...] = np.minimum(curtailed + burned - drawn, self.block(self.high, "curtailed"))
        drawn = drawn + np.bincount(self.plugged[1], vehicles, self.problem.n_steps)
        net = self.net + drawn + (self.to_steps @ self.block(x, "served").T).T + curtailed
        self._set(x, "import", np.maximum(net, 0))
        self._set(x, "export", np.maximum(-net, 0))
        self._set(x, "peak", np.abs(net).max())
        if self.shapes["rise"][1]:
            self._set(x, "rise", self._rises(x))
        return x

    def _rises(self, x: Array) -> Array:
        """The rise of every peak that follows from a solution's exchange, shape (K, n peaks)."""
        imports = self.block(x, "import")[:, None]
        if self.problem.has_member_peaks:
            imports = self.own_net + self.served(x) / self.energy
            imports = imports + (self.of_agents(x, "charge") - self.of_agents(x, "discharge")) / self.energy
            imports += self.problem.sessions.of_agents(self.vehicles(x), self.problem.n_agents) / self.energy
        of_days = [imports[:, :, self.problem.days == day].max(axis=2) for day in range(self.problem.n_days)]
        rises = np.maximum(np.stack(of_days, axis=2) - self._paid(), 0.0)
        return rises.reshape(len(rises), -1)

    def keeps_limits(self, x: Array) -> bool:
        """Whether import and export are within their limits, as far as the solver can tell."""
        return all(
            (self.block(x, name) <= self.block(self.high, name) + SLACK * (1 + self.block(x, name))).all()
            for name in ("import", "export")
        )

    def burns(self, x: Array) -> bool:
        """Whether a battery charges and discharges in the same step."""
        return bool((np.minimum(self.block(x, "charge"), self.block(x, "discharge")) > SLACK).any())

    def of_agents(self, x: Array, name: str) -> Array:
        """Columns ``name`` of the batteries in kWh, for all agents (0 without a battery), shape (N, H)."""
        full = np.zeros(self.problem.load.shape)
        full[self.batteries] = self.block(x, name) * self.energy
        return full

    def vehicles(self, x: Array) -> Array:
        """Energy that each charging session draws in each step, kWh, shape (S, H)."""
        full = np.zeros((len(self.problem.sessions), self.problem.n_steps))
        full[self.plugged] = self.block(x, "vehicles")[0] * self.energy
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


class _Rows(NamedTuple):
    """Constraints: coefficients by the name of their columns (0 elsewhere), lower and upper bounds."""

    blocks: dict[str, Any]
    low: Array
    high: Array


def _sums(group: NDArray[Any], n_groups: int) -> Any:
    """The matrix that sums columns by their group, shape (n_groups, len(group))."""
    return sparse.csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=(n_groups, len(group)))


def _may_be_served(problem: PlanningProblem) -> NDArray[np.bool_]:
    """Whether flexible demand of each agent can be served in each step, shape (N, H)."""
    if not problem.shift_steps:
        return problem.flexible > 0
    total = np.cumsum(problem.arrivals, axis=1)
    before = np.pad(total, ((0, 0), (1, 0)))[:, : problem.n_steps]
    recent: NDArray[np.bool_] = (total[:, problem.shift_steps :] > before) & (problem.days != SETTLEMENT)
    return recent
