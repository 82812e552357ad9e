"""A-RPS: rock-paper-scissors in a population whose members value wins and losses differently."""

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.rules import rule, share

ROCK, PAPER, SCISSORS = 0, 1, 2

ZERO, ONE = np.float32(0.0), np.float32(1.0)

SMALL_COEFFICIENTS = (1.0, 2.0, 3.0)
LARGE_COEFFICIENTS = (2.0, 4.0, 6.0)


@rule
def in_state(world: Any, state: Any) -> Any:
    """sigma_states(state): share of the others who are in ``state``."""
    return share(world, 3 * state) + share(world, 3 * state + 1) + share(world, 3 * state + 2)


@rule
def playing(world: Any, action: Any) -> Any:
    """sigma_actions(action): share of the others who play ``action``."""
    return share(world, action) + share(world, action + 3) + share(world, action + 6)


@dataclasses.dataclass(kw_only=True)
class RockPaperScissors(FiniteGame):
    """A-RPS: rock-paper-scissors in a population, members value wins and losses differently.

    Yardim & He, appendix E.2; tags as in :mod:`mfenvs.games`.

    States and actions: 0 rock, 1 paper, 2 scissors [S]; the next state is the action [S]; the first
    state is uniform [O]. With s beaten by l(s) and beating w(s):

        r(s, a) = -c_i sigma_actions(a) - u_s^i sigma_states(l(s)) + v_s^i sigma_states(w(s))  [S]

    Agents (``game.agents``): ``crowding`` c_i; ``lose_rock`` ... u_s^i; ``win_rock`` ... v_s^i, the latter
    (2, 4, 6) and (1, 2, 3) plus noise uniform in [-beta, beta], independent per agent and
    coefficient [S on centres and beta, O on the law]. The population is that of the N-1 others [R].

    Remarks. Rewards are outside [0, 1]: theorems of the paper that assume [0, 1] apply after
    rescaling. alpha = 0 exactly. Monotonicity in the sense of Definition 10 (free joint mu) fails
    for every c; along flows (the next state is the action) the game is monotone iff c > 2.53 with the
    paper's orientation, iff c > 0.53 with Cui & Koeppl's.
    """

    n_agents: int = 2000
    """Number of agents N [S]."""
    horizon: int = 10
    """Number of steps H [S]."""
    crowding: float = 3.0
    """The penalty c_i for playing what others play [O]."""
    beta: float = 0.1
    """Half-width of the noise on u^i and v^i: the asymmetry of the rewards [S]."""
    heterogeneity: float = 1.0
    """Factor on beta; 0 makes the game exactly symmetric [O]."""
    orientation: Literal["paper", "cui-koeppl"] = "paper"
    """``"paper"``: losses (2, 4, 6), wins (1, 2, 3), as the paper prints; ``"cui-koeppl"``: wins
    (2, 4, 6), losses (1, 2, 3), as in the game that it cites [R, the two disagree]."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype(
        [
            (name, np.float32)
            for name in (
                *("crowding", "lose_rock", "lose_paper", "lose_scissors"),
                *("win_rock", "win_paper", "win_scissors"),
            )
        ]
    )
    state_names = action_names = ("rock", "paper", "scissors")
    n_states = 3
    n_actions = 3

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The next state is the action."""
        return ONE if next_state == action else ZERO

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R^i(state, action, others)."""
        rock, paper, scissors = (in_state(world, ROCK), in_state(world, PAPER), in_state(world, SCISSORS))
        as_rock = agent.win_rock * scissors - agent.lose_rock * paper
        as_paper = agent.win_paper * rock - agent.lose_paper * scissors
        as_scissors = agent.win_scissors * paper - agent.lose_scissors * rock
        duel = as_rock if state == ROCK else (as_paper if state == PAPER else as_scissors)
        return duel - agent.crowding * playing(world, action)

    def check(self) -> None:
        """Check that the constants are finite, widths non-negative and the orientation known."""
        super().check()
        self.crowding = checks.real("crowding", self.crowding, 0.0)
        self.beta = checks.real("beta", self.beta, 0.0)
        self.heterogeneity = checks.real("heterogeneity", self.heterogeneity, 0.0)
        self.orientation = checks.choice("orientation", self.orientation, ("paper", "cui-koeppl"))

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the six win and loss coefficients of every agent."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["crowding"] = self.crowding
        paper = self.orientation == "paper"
        losses, wins = LARGE_COEFFICIENTS, SMALL_COEFFICIENTS
        if not paper:
            losses, wins = wins, losses
        for kind, centres in (("lose", losses), ("win", wins)):
            for name, centre in zip(self.state_names, centres, strict=True):
                noise = self.heterogeneity * self.beta * rng.uniform(-1.0, 1.0, self.n_agents)
                agents[f"{kind}_{name}"] = centre + noise
        return agents
