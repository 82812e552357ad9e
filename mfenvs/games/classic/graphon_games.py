"""Games on graphons: an epidemic and competing investments among agents who have different neighbours."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST
from mfenvs.graphons import GraphonGame, neighbours_in
from mfenvs.rules import rule

INFECTED = 1


@dataclasses.dataclass(kw_only=True)
class ClassicGraphonGame(GraphonGame):
    """A classic game on a graphon, whose agents are counted by state."""

    n_agents: int = 1000
    """Number of agents N [O]."""
    horizon: int = 50
    """Number of steps H [S]."""

    family: ClassVar[str] = "classic"
    counts_actions: ClassVar[bool] = False


class GraphonDisease(NamedTuple):
    """The constants of the epidemic on a graphon, as its rules read them."""

    infection: float
    recovery: float
    illness_cost: float
    protection_cost: float


@dataclasses.dataclass(kw_only=True)
class GraphonEpidemic(ClassicGraphonGame):
    """Epidemic on a graphon: agents are infected by their neighbours, unless they protect themselves at a cost.

    ``SISGraphon`` of gmfg-learning, of Cui & Koeppl, "Learning graphon mean field games and approximate Nash
    equilibria" (ICLR 2022); tags as in :mod:`mfenvs.games`.

    States: 0 susceptible, 1 infected. Actions: 0 none, 1 protect oneself.

    * P(infected | susceptible, a) = infection (1 - a) G(infected), P(susceptible | infected, .) = recovery, with
      the neighbourhood G = integral of W(alpha, beta) mu_beta d beta [S]
    * r = -illness_cost 1{infected} - protection_cost a [S]
    * half of all are infected at the start [S]

    The source samples a network in every simulation; here edges are averaged over, and positions are the middles
    of ``n_points`` intervals, and not ends of 100 intervals [O].

    Known: the uniform policy has exploitabilities from 8.039870 (fourth interval) to 11.611438 (last one). A hard
    game, as :class:`mfenvs.games.classic.epidemics.SusceptibleInfected` is.
    """

    infection: float = 0.8
    """Probability of infection when all others are infected neighbours [S]."""
    recovery: float = 0.2
    """Probability of recovery in a step [S]."""
    illness_cost: float = 2.0
    """Cost of a step of illness [S]."""
    protection_cost: float = 0.5
    """Cost of a step of protection [S]."""
    initial_infected: float = 0.5
    """Probability that an agent is infected at the start [S]."""

    n_local_states = 2
    n_actions_each = 2
    local_state_names = ("susceptible", "infected")
    action_names = ("none", "protect")

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, neighbourhood)."""
        disease = world.constants
        caught = disease.infection * neighbours_in(world, agent.population, INFECTED) if action == 0 else 0.0
        infected = 1.0 - disease.recovery if state == INFECTED else caught
        return infected if next_state == INFECTED else 1.0 - infected

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action)."""
        disease = world.constants
        return -(disease.illness_cost if state == INFECTED else 0.0) - disease.protection_cost * action

    def check(self) -> None:
        """Check probabilities and costs; infections must be probabilities in the densest neighbourhood."""
        for name in ("recovery", "initial_infected", "infection"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, 1.0))
        for name in ("illness_cost", "protection_cost"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()
        sizes = self.tables.sizes
        degrees = self._blocks @ sizes
        # Among N agents an agent has N - 1 neighbours, without itself.
        others = (degrees - self._blocks.diagonal()) / (sizes.sum() - 1.0)
        most = self.infection * float(max(others.max(), degrees.max() / sizes.sum()))
        if most > 1.0 + 1e-9:
            raise ValueError(f"infection times the largest degree of the graphon must be at most 1, got {most}")

    @property
    def initial_local(self) -> NDArray[np.float64]:
        """The law of an agent's first state."""
        return np.array([1.0 - self.initial_infected, self.initial_infected])

    @property
    def constants(self) -> GraphonDisease:
        """Probabilities and costs."""
        return GraphonDisease(self.infection, self.recovery, self.illness_cost, self.protection_cost)


class Competition(NamedTuple):
    """The constants of the investments on a graphon, as their rules read them."""

    n_qualities: int
    payoff: float
    cost: float


@dataclasses.dataclass(kw_only=True)
class GraphonInvestment(ClassicGraphonGame):
    """Investment on a graphon: firms improve their products, which earn less the better those of neighbours are.

    ``InvestmentGraphon`` of gmfg-learning, of Cui & Koeppl, "Learning graphon mean field games and approximate
    Nash equilibria" (ICLR 2022); tags as in :mod:`mfenvs.games`.

    States: qualities 0 .. n_qualities - 1. Actions: 0 none, 1 invest.

    * an investment in quality x raises it by 1 with probability (n_qualities - 1 - x) / n_qualities [S]
    * r = payoff x / (1 + mean quality of the neighbours) - cost a, the mean being weighted by W [S]
    * all start with quality 0 [S]

    Positions are the middles of ``n_points`` intervals, and not ends of 100 intervals [O].

    Known: the uniform policy has exploitabilities from 33.726102 (first interval) to 29.712233 (ninth one).
    """

    n_qualities: int = 10
    """Number of qualities |S| [S]."""
    payoff: float = 0.3
    """Factor of the earnings [S]."""
    cost: float = 2.0
    """Cost of an investment [S]."""

    n_actions_each = 2
    action_names = ("none", "invest")

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action)."""
        n_qualities = world.constants.n_qualities
        rises = (n_qualities - 1.0 - state) / n_qualities if action == 1 else 0.0
        return rises if next_state == state + 1 else (1.0 - rises if next_state == state else 0.0)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, neighbourhood)."""
        competition = world.constants
        quality = 0.0
        for other in range(1, competition.n_qualities):
            quality += other * neighbours_in(world, agent.population, other)
        return competition.payoff * state / (1.0 + quality) - competition.cost * action

    def check(self) -> None:
        """Check the number of qualities, the payoff and the cost."""
        self.n_qualities = checks.integer("n_qualities", self.n_qualities, 1, 1000)
        for name in ("payoff", "cost"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()

    @property
    def n_local_states(self) -> int:  # type: ignore[override]
        """Qualities."""
        return self.n_qualities

    @property
    def initial_local(self) -> NDArray[np.float64]:
        """Quality 0."""
        law = np.zeros(self.n_qualities)
        law[0] = 1.0
        return law

    @property
    def constants(self) -> Competition:
        """Payoff and cost."""
        return Competition(self.n_qualities, self.payoff, self.cost)
