"""A-SIS: an epidemic among agents who differ in susceptibility, recovery and aversion to isolation."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.rules import rule, share

INFECTED, HEALTHY = 0, 1
DISTANCE, GO_OUT = 0, 1
INFECTED_AND_OUT = INFECTED * 2 + GO_OUT
"""The cell sigma(I, U): the infected who go out."""

ZERO, ONE = np.float32(0.0), np.float32(1.0)


@dataclasses.dataclass(kw_only=True)
class Epidemic(FiniteGame):
    """A-SIS: an epidemic among agents of different susceptibility and patience.

    Yardim & He, appendix E.2; tags as in :mod:`mfenvs.games`.

    States: 0 infected (I), 1 healthy (H). Actions: 0 keep distance (D), 1 go out (U) [S].

    * P(I | H, D) = 0, P(I | H, U) = alpha_i sigma(rho^{-i})(I, U), P(I | I, .) = 1 - theta_i [S]
    * r = -1{s = I} - xi_i 1{a = D}, in [-1 - xi_i, 0] [S]
    * first states i.i.d. uniform [S]

    Agents (``game.agents``): ``susceptibility`` alpha_i, ``recovery`` theta_i, ``aversion`` xi_i, each
    uniform around its centre with half-width heterogeneity * width [O]. The population sigma is that of the
    N-1 others [R].
    """

    n_agents: int = 1000
    """Number of agents N [S]."""
    horizon: int = 20
    """Number of steps H [S]."""
    susceptibility: float = 0.9
    """Centre of the infection rates alpha_i [O, the value of the symmetric reference game]."""
    recovery: float = 0.3
    """Centre of the recovery probabilities theta_i [O, the value of the symmetric reference game]."""
    aversion: float = 0.5
    """Centre of the costs xi_i of a step in isolation [O, the value of the symmetric reference game]."""
    alpha_width: float = 0.05
    """Half-width of the ranges of alpha_i and theta_i: the asymmetry of the dynamics [O]."""
    beta_width: float = 0.1
    """Half-width of the range of xi_i: the asymmetry of the rewards [O]."""
    heterogeneity: float = 1.0
    """Factor on all half-widths; 0 makes the game exactly symmetric [O]."""
    initial_infected: float = 0.5
    """Probability that an agent is infected at the start [S]."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype(
        [("susceptibility", np.float32), ("recovery", np.float32), ("aversion", np.float32)]
    )
    state_names = ("infected", "healthy")
    action_names = ("distance", "go out")
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P^i(next_state | state, action, others)."""
        caught = agent.susceptibility * share(world, INFECTED_AND_OUT) if action == GO_OUT else ZERO
        infected = ONE - agent.recovery if state == INFECTED else caught
        return infected if next_state == INFECTED else ONE - infected

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R^i(state, action), which does not depend on the others."""
        illness = ONE if state == INFECTED else ZERO
        return -illness - (agent.aversion if action == DISTANCE else ZERO)

    def check(self) -> None:
        """Check that every agent's infection and recovery are probabilities and no rate is negative."""
        self.initial_infected = checks.real("initial_infected", self.initial_infected, 0.0, 1.0)
        super().check()
        self.alpha_width = checks.real("alpha_width", self.alpha_width, 0.0)
        self.beta_width = checks.real("beta_width", self.beta_width, 0.0)
        self.heterogeneity = checks.real("heterogeneity", self.heterogeneity, 0.0)
        alpha, beta = self.heterogeneity * self.alpha_width, self.heterogeneity * self.beta_width
        self.susceptibility = checks.centre("susceptibility", self.susceptibility, alpha, 0.0, 1.0)
        self.recovery = checks.centre("recovery", self.recovery, alpha, 0.0, 1.0)
        self.aversion = checks.centre("aversion", self.aversion, beta, 0.0)

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw alpha_i, theta_i, xi_i independently and uniformly around their centres."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        for name, width in (
            ("susceptibility", self.alpha_width),
            ("recovery", self.alpha_width),
            ("aversion", self.beta_width),
        ):
            noise = self.heterogeneity * width * rng.uniform(-1.0, 1.0, self.n_agents)
            agents[name] = getattr(self, name) + noise
        return agents

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The distribution (initial_infected, 1 - initial_infected) of initial states."""
        return np.array([self.initial_infected, 1.0 - self.initial_infected])
