"""Epidemics among agents who are all alike: a short one that ends, and one that goes on for ever."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame
from mfenvs.rules import rule, share

SUSCEPTIBLE, INFECTED = 0, 1
GO_OUT = 0


class Disease(NamedTuple):
    """The constants of an epidemic, as its rules read them."""

    infection: float
    recovery: float
    illness_cost: float
    isolation_cost: float


@rule
def becomes(next_state: Any, state: Any, caught: Any, recovery: Any) -> Any:
    """Probability of the next state, given those of catching the disease and of recovering from it."""
    infected = 1.0 - recovery if state == INFECTED else caught
    return infected if next_state == INFECTED else 1.0 - infected


@dataclasses.dataclass(kw_only=True)
class SusceptibleInfected(StateCountingGame):
    """Susceptible-infected: agents go out and may be infected, or keep their distance at a cost.

    ``susceptible_infected`` of MFGLib, after Cui & Koeppl, "Approximately solving mean field games via
    entropy-regularized deep reinforcement learning" (AISTATS 2021); tags as in :mod:`mfenvs.games`.

    States: 0 susceptible, 1 infected. Actions: 0 go out, 1 keep distance.

    * P(infected | susceptible, go out) = infection mu(infected), P(infected | susceptible, distance) = 0,
      P(susceptible | infected, .) = recovery [S]
    * r = -1{infected} - isolation_cost 1{distance} [S]

    Known: the uniform policy has value -27.969819 and exploitability 5.466874. A hard game: mirror descent and
    fictitious play do not converge.
    """

    horizon: int = 51
    """Number of steps H [S]."""
    infection: float = 0.81
    """Probability of infection when all others are infected, .9^2 [S]."""
    recovery: float = 0.3
    """Probability of recovery in a step [S]."""
    isolation_cost: float = 0.5
    """Cost of a step at a distance [S]."""
    initial_infected: float = 0.6
    """Probability that an agent is infected at the start [S]."""

    state_names = ("susceptible", "infected")
    action_names = ("go out", "distance")
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, mu)."""
        disease = world.constants
        caught = disease.infection * share(world, INFECTED) if action == GO_OUT else 0.0
        return becomes(next_state, state, caught, disease.recovery)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action)."""
        disease = world.constants
        illness = disease.illness_cost if state == INFECTED else 0.0
        return -illness - (0.0 if action == GO_OUT else disease.isolation_cost)

    def check(self) -> None:
        """Check that rates are probabilities and the cost is not negative."""
        for name in ("infection", "recovery", "initial_infected"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, 1.0))
        self.isolation_cost = checks.real("isolation_cost", self.isolation_cost, 0.0, LARGEST)
        super().check()

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The distribution (1 - initial_infected, initial_infected) of initial states."""
        return np.array([1.0 - self.initial_infected, self.initial_infected])

    @property
    def constants(self) -> Disease:
        """The disease."""
        return Disease(self.infection, self.recovery, 1.0, self.isolation_cost)


class Exposure(NamedTuple):
    """The constants of the discounted epidemic, as its rules read them."""

    infection: float
    recovery: float
    illness_cost: float
    per_action: float
    """Contacts of action 1, as a share of all: one by the number of actions less one."""


@dataclasses.dataclass(kw_only=True)
class DiscountedEpidemic(StateCountingGame):
    """Discounted epidemic: agents choose how many contacts to have, which are worth something and infect.

    ``sis_epidemic`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: 0 susceptible, 1 infected. Actions: 0 .. n_levels - 1, a share u = a / (n_levels - 1) of all contacts.

    * P(infected | susceptible, u) = infection u mu(infected), P(susceptible | infected, .) = recovery [S]
    * r = u - illness_cost 1{infected} [S]
    * the first state is uniform [S]

    The source rounds P(infected | .) to hundredths, as its noise has a hundred values; here it is exact [R].

    Known: the stationary law of the uniform policy is (.25, .75); weighing by it, the policy has value -70 and
    exploitability 34.473684.
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    n_levels: int = 5
    """Number of actions |A|: levels of contacts [S]."""
    infection: float = 0.8
    """Probability of infection with all contacts when all others are infected [S]."""
    recovery: float = 0.1
    """Probability of recovery in a step [S]."""
    illness_cost: float = 10.0
    """Cost of a step of illness [S]."""

    state_names = ("susceptible", "infected")
    n_states = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, mu)."""
        exposure = world.constants
        caught = exposure.infection * (action * exposure.per_action) * share(world, INFECTED)
        return becomes(next_state, state, caught, exposure.recovery)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action)."""
        exposure = world.constants
        return action * exposure.per_action - (exposure.illness_cost if state == INFECTED else 0.0)

    def check(self) -> None:
        """Check that there are at least two levels, rates are probabilities and the cost is not negative."""
        self.n_levels = checks.integer("n_levels", self.n_levels, 2, 10_000)
        for name in ("infection", "recovery"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, 1.0))
        self.illness_cost = checks.real("illness_cost", self.illness_cost, 0.0, LARGEST)
        super().check()

    @property
    def n_actions(self) -> int:
        """|A|: levels of contacts."""
        return self.n_levels

    @property
    def constants(self) -> Exposure:
        """The disease, and how actions expose to it."""
        return Exposure(self.infection, self.recovery, self.illness_cost, 1.0 / (self.n_levels - 1))
