"""The schedule of maximal welfare of an energy community."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.welfare.linear_program import LinearProgram
from mfenvs.energy.welfare.problem import PlanningProblem, burning_pays, check_problem
from mfenvs.energy.welfare.solver import Clock, Solution, optimise

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A schedule of the community, and how close to the optimum it is known to be.

    The flows hold to the solver's tolerance, 1e-7 of the largest energy of one agent; ``soc``, ``imported`` and
    ``exported`` are computed from them, so that the balances hold to rounding.
    """

    status: str
    """``"optimal"``, or ``"limit"`` if the time limit was reached."""
    method: str
    """``"lp"`` if the linear program is exact here, ``"milp"`` if directions had to be chosen, ``"relaxation"`` if
    they were left free though they matter (only of ``pareto_front`` and ``plan_scenarios``)."""
    welfare: float
    """Welfare W of this schedule, EUR."""
    bound: float
    """Upper bound of the optimal welfare W*, EUR (of a Pareto point: its own welfare)."""
    mip_gap: float
    """Relative gap (bound - welfare) / |welfare|, 0 if the linear program is exact."""
    charge: Array
    """Energy that each battery draws at its terminals, kWh, shape (N, H)."""
    discharge: Array
    """Energy that each battery delivers at its terminals, kWh, shape (N, H)."""
    soc: Array
    """State of charge of each battery before each step and at the end, kWh, shape (N, H + 1)."""
    served: Array
    """Flexible demand served, kWh, shape (N, H)."""
    curtailed: Array
    """Generation of the community that is curtailed, kWh, shape (H,)."""
    imported: Array
    """The community's import from the grid, kWh, shape (H,)."""
    exported: Array
    """The community's export to the grid, kWh, shape (H,)."""
    emissions: float
    """Emissions of the imported energy, kg CO2."""
    vehicles: Array
    """Energy that each charging session draws in each step, kWh, shape (S, H)."""

    @property
    def peak(self) -> float:
        """Peak: largest import or export of a step, kWh."""
        return float(max(self.imported.max(), self.exported.max()))


def plan(problem: PlanningProblem, *, mip_gap: float = 1e-4, time_limit: float = math.inf) -> Plan:
    """The schedule of maximal welfare W* with perfect foresight of the day.

    W = flexible_value x served - degradation x (charge + discharge) - (retail x import - feed_in x export), summed
    over agents and steps, less the penalties of energy that vehicles lack and the charges for the rise of the
    days' peaks, where the sum over agents of (load + served + charge - discharge + vehicles - generation) +
    curtailed = import - export in each step.

    The linear program comes first. If the schedule made of it by taking simultaneous flows apart is as good as its
    optimum, that is W*. Else every battery's direction is fixed to its net one where it matters and the program
    solved again; and only if that loses more than ``mip_gap``, the MILP is solved, with a binary for each battery
    and step in which simultaneous flows could pay.

    Parameters
    ----------
    problem:
        The day.
    mip_gap:
        Largest relative gap of the MILP, (bound - W) / |W|, >= 0.
    time_limit:
        Time limit of the whole call in seconds, > 0; the solver checks it now and then.

    Returns
    -------
    Plan
        The schedule. If the time limit is reached once the linear program is solved, it is the best one known,
        with status ``"limit"`` and an upper bound of W* in ``bound``.

    Raises
    ------
    TimeoutError
        If not even the linear program is solved within the time limit.
    RuntimeError
        If the solver fails, for instance since the problem's numbers differ too much in size.
    TypeError, ValueError
        If an argument is not allowed, or nothing keeps the problem's limits.
    """
    check_problem(problem)
    mip_gap = checks.real("mip_gap", mip_gap, 0.0)
    clock = Clock(time_limit)
    model = LinearProgram(problem)
    solution = optimise(model, model.vectors["cost"], [], burning_pays(problem), mip_gap, clock)
    return as_plan(model, solution, solution.bound)


def as_plan(model: LinearProgram, solution: Solution, bound: float) -> Plan:
    """A solution in kWh and EUR, for all agents; ``bound`` is a lower bound of the cost, in the model's units."""
    x = solution.x
    welfare = -float(model.vectors["cost"] @ x) * model.units["cost"]
    bound = max(welfare, -bound * model.units["cost"])
    imported = model.block(x, "import")[0] * model.energy
    return Plan(
        status=solution.status,
        method=solution.method,
        welfare=welfare,
        bound=bound,
        mip_gap=(bound - welfare) / abs(welfare) if bound > welfare else 0.0,
        charge=model.of_agents(x, "charge"),
        discharge=model.of_agents(x, "discharge"),
        soc=model.soc(x),
        served=model.served(x)[0],
        curtailed=model.block(x, "curtailed")[0] * model.energy,
        imported=imported,
        exported=model.block(x, "export")[0] * model.energy,
        emissions=float(model.problem.co2 @ imported),
        vehicles=model.vehicles(x),
    )
