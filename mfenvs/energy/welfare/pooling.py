"""Agents of a planning problem pooled where they are alike: a program of dozens of agents instead of thousands."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.welfare.charging_sessions import ChargingSessions
from mfenvs.energy.welfare.planner import Plan
from mfenvs.energy.welfare.problem import PlanningProblem, check_problem, has_battery

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """A planning problem of pooled agents, and how its schedules are shared out among the agents.

    The planner only sees sums of load and generation, so these are all put on the first pooled agent. Batteries
    are pooled if they have the same efficiency, wear, power per capacity and state of charge per capacity, now and
    at the end. A schedule of the pooled battery, shared out in proportion to capacity, is one that each battery
    can follow; and schedules of the batteries add up to one of the pooled battery. Flexible demand is pooled by
    its worth, and what is served is taken from the oldest first, from all agents in proportion to what they
    demand; charging sessions by their steps, penalty and energy per power. So where agents are exactly alike the
    pooled optimum is that of the whole problem, unless burning energy pays
    (:func:`~mfenvs.energy.welfare.burning_pays`): then of two batteries that are alike one may charge while the
    other discharges, which a pooled battery may not. Where members are charged for peaks of their own nobody is
    pooled.
    """

    problem: PlanningProblem
    """The pooled problem."""
    whole: PlanningProblem
    """The problem of all agents."""
    battery: NDArray[np.int64]
    """Pooled agent of each agent's battery, -1 without one, shape (N,)."""
    demand: NDArray[np.int64]
    """Pooled agent of each agent's flexible demand, shape (N,)."""
    session: NDArray[np.int64]
    """Pooled session of each charging session, shape (S,)."""

    def plan(self, pooled: Plan) -> Plan:
        """A plan of the pooled problem, shared out among the agents."""
        return dataclasses.replace(
            pooled,
            charge=self.batteries(pooled.charge),
            discharge=self.batteries(pooled.discharge),
            soc=np.where(self.battery[:, None] >= 0, self.batteries(pooled.soc), self.whole.soc0[:, None]),
            served=self.served(pooled.served),
            vehicles=self.vehicles(pooled.vehicles),
        )

    def batteries(self, flows: Array) -> Array:
        """Flows of the pooled batteries (n pooled, H), shared out among the agents: shape (N, H)."""
        share = np.zeros(self.whole.n_agents)
        own = self.battery >= 0
        share[own] = self.whole.capacity[own] / self.problem.capacity[self.battery[own]]
        return share[:, None] * flows[self.battery]

    def served(self, served: Array) -> Array:
        """Flexible demand served of the pooled agents (n pooled, H), shared out among the agents: shape (N, H)."""
        window, arrivals = self.problem.shift_steps, self.problem.arrivals
        left, total = arrivals.copy(), self.whole.arrivals
        out = np.zeros((self.whole.n_agents, served.shape[1]))
        for step in range(served.shape[1]):
            wanted = served[:, step].copy()
            for arose in range(step, step + window + 1):
                taken = np.minimum(wanted, left[:, arose])
                left[:, arose] -= taken
                wanted -= taken
                part = np.divide(taken, arrivals[:, arose], out=np.zeros(len(taken)), where=arrivals[:, arose] > 0)
                out[:, step] += part[self.demand] * total[:, arose]
        return out

    def vehicles(self, drawn: Array) -> Array:
        """Energy that the pooled sessions draw (n pooled, H), shared out among the sessions: shape (S, H)."""
        energy = self.problem.sessions.energy[self.session]
        share = np.divide(self.whole.sessions.energy, energy, out=np.zeros(len(energy)), where=energy > 0)
        return share[:, None] * drawn[self.session]


def pool(problem: PlanningProblem, *, tolerance: float = 1e-6, value_tolerance: float = 1e-6) -> Pool:
    """Pool the agents of a problem that are alike.

    Parameters
    ----------
    problem:
        The problem of all agents.
    tolerance:
        Width of the bins in which batteries' efficiency, wear (EUR/kWh), power per capacity and states of charge
        per capacity, and sessions' energy per power, count as equal, > 0. Beyond rounding, an agent may not be
        able to follow its share exactly.
    value_tolerance:
        Width of the bins in which worths of flexible demand count as equal, EUR/kWh, > 0; a bin has their mean.

    Returns
    -------
    Pool
        The pooled problem, and how its schedules are shared out.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    check_problem(problem)
    tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
    value_tolerance = checks.real("value_tolerance", value_tolerance, 0.0, exclude_low=True)
    own = has_battery(problem)
    if problem.has_member_peaks:
        each = np.arange(problem.n_agents)
        return Pool(problem, problem, np.where(own, each, -1), each, np.arange(len(problem.sessions)))
    capacity = problem.capacity[own]
    kinds = [
        problem.efficiency[own],
        problem.degradation[own],
        *(field[own] / capacity for field in (problem.power, problem.soc0, problem.end_soc)),
    ]
    battery = np.full(problem.n_agents, -1)
    battery[own] = _groups(np.rint(np.stack(kinds, axis=1) / tolerance))
    n_batteries = int(battery.max()) + 1
    arrivals = problem.arrivals
    demand = np.full(problem.n_agents, n_batteries)
    demands = arrivals.any(axis=1)
    demand[demands] += _groups(np.rint(problem.flexible_value[demands, None] / value_tolerance))
    n_agents = int(demand.max()) + 1

    def summed(group: NDArray[np.int64], amounts: Array) -> Array:
        """Sums by group; agents of group -1 are left out."""
        total = np.zeros((n_agents, *amounts.shape[1:]))
        np.add.at(total, group[group >= 0], amounts[group >= 0])
        return total

    def mean(group: NDArray[np.int64], values: Array, weight: Array, otherwise: float) -> Array:
        total = summed(group, weight)
        found = np.full(n_agents, otherwise)
        np.divide(summed(group, values * weight), total, out=found, where=total > 0)
        return found

    first = np.where(np.arange(n_agents) == 0, 1.0, 0.0)[:, None]
    pooled_arrivals, window = summed(demand, arrivals), problem.shift_steps
    sessions, session = _pooled_sessions(problem.sessions, problem.n_steps, tolerance)
    pooled_capacity = summed(battery, problem.capacity)
    return Pool(
        dataclasses.replace(
            problem,
            load=first * problem.load.sum(axis=0),
            generation=first * problem.generation.sum(axis=0),
            flexible=pooled_arrivals[:, window:],
            backlog=pooled_arrivals[:, :window],
            flexible_value=mean(demand, problem.flexible_value, arrivals.sum(axis=1), 0.0),
            capacity=pooled_capacity,
            power=summed(battery, problem.power),
            efficiency=np.minimum(mean(battery, problem.efficiency, problem.capacity, 1.0), 1.0),
            soc0=np.minimum(summed(battery, problem.soc0), pooled_capacity),
            soc_end=np.minimum(summed(battery, problem.end_soc), pooled_capacity),
            degradation=mean(battery, problem.degradation, problem.capacity, 0.0),
            sessions=sessions,
        ),
        problem,
        battery,
        demand,
        session,
    )


def _groups(rows: Array) -> NDArray[np.int64]:
    """Numbers of the groups of equal rows."""
    _, group = np.unique(rows, axis=0, return_inverse=True)
    return np.asarray(group.reshape(-1), np.int64)


def _pooled_sessions(
    sessions: ChargingSessions, n_steps: int, tolerance: float
) -> tuple[ChargingSessions, NDArray[np.int64]]:
    """Sessions of the same steps, penalty and energy per power as one session, and the group of each."""
    departure = np.minimum(sessions.departure, n_steps)
    duration = np.full(len(sessions), -1.0)
    np.divide(sessions.energy, sessions.power, out=duration, where=sessions.power > 0)
    group = _groups(
        np.stack([sessions.arrival, departure, sessions.penalty, np.rint(duration / tolerance)], axis=1)
    )
    n_groups = int(group.max(initial=-1)) + 1
    _, at = np.unique(group, return_index=True)
    energy, power = np.zeros(n_groups), np.zeros(n_groups)
    np.add.at(energy, group, sessions.energy)
    np.add.at(power, group, sessions.power)
    # Whose vehicles they are makes no difference to the planner.
    nobody = np.zeros(n_groups, np.int64)
    pooled = ChargingSessions(nobody, sessions.arrival[at], departure[at], energy, power, sessions.penalty[at])
    return pooled, group
