"""Rock-paper-scissors, played by a whole population: once with weights, and for ever without."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.classic.classic_game import StateCountingGame
from mfenvs.rules import rule, share

START = 0


@dataclasses.dataclass(kw_only=True)
class WeightedRockPaperScissors(StateCountingGame):
    """Rock-paper-scissors played once, in which a win with scissors is worth more than one with rock.

    ``rock_paper_scissors`` of MFGLib, after Cui & Koeppl, "Approximately solving mean field games via
    entropy-regularized deep reinforcement learning" (AISTATS 2021); tags as in :mod:`mfenvs.games`.

    States: 0 start, 1 rock, 2 paper, 3 scissors. Actions: 0 rock, 1 paper, 2 scissors.

    * the next state is what was played; all begin at the start [S]
    * r = 2 mu(scissors) - mu(paper) with rock, 4 mu(rock) - 2 mu(scissors) with paper, 6 mu(paper) - 3 mu(rock)
      with scissors, 0 at the start [S]

    Known: the uniform policy has value 2/3 and exploitability 1/3.
    """

    horizon: int = 2
    """Number of steps H [S]."""

    state_names = ("start", "rock", "paper", "scissors")
    action_names = ("rock", "paper", "scissors")
    n_states = 4
    n_actions = 3

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action): the state that was chosen."""
        return 1.0 if next_state == 1 + action else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu)."""
        rock, paper, scissors = share(world, 1), share(world, 2), share(world, 3)
        with_scissors = 6.0 * paper - 3.0 * rock
        with_paper = 4.0 * rock - 2.0 * scissors
        with_rock = 2.0 * scissors - paper
        later = with_rock if state == 1 else (with_paper if state == 2 else with_scissors)
        return 0.0 if state == START else later

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """All begin at the start."""
        return np.array([1.0, 0.0, 0.0, 0.0])


@dataclasses.dataclass(kw_only=True)
class RepeatedRockPaperScissors(StateCountingGame):
    """Rock-paper-scissors repeated for ever against the whole population.

    ``rock_paper_scissors`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States and actions: 0 rock, 1 paper, 2 scissors.

    * the next state is what was played; the first state is uniform [S]
    * r = mu(what s beats) - mu(what beats s) [S]

    Known: the uniform policy is the equilibrium.
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""

    state_names = action_names = ("rock", "paper", "scissors")
    n_states = 3
    n_actions = 3

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action): the state that was chosen."""
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu)."""
        return share(world, (state + 2) % 3) - share(world, (state + 1) % 3)
