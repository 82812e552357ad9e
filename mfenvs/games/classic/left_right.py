"""Left or right: one choice between two places, of which one is twice as bad when crowded."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.classic.classic_game import StateCountingGame
from mfenvs.rules import rule, share

LEFT, RIGHT = 1, 2


@dataclasses.dataclass(kw_only=True)
class LeftRight(StateCountingGame):
    """Left or right: agents choose one of two places once, and suffer from all who choose the same.

    ``left_right`` of MFGLib, after Cui & Koeppl, "Approximately solving mean field games via entropy-regularized
    deep reinforcement learning" (AISTATS 2021); tags as in :mod:`mfenvs.games`.

    States: 0 centre, 1 left, 2 right. Actions: 0 left, 1 right.

    * the next state is the place that was chosen; all begin in the centre [S]
    * r = -mu(left) on the left, -2 mu(right) on the right, 0 in the centre [S]

    Known: in equilibrium two thirds go left. The uniform policy has value -.75 and exploitability .25.
    """

    horizon: int = 2
    """Number of steps H [S]."""

    state_names = ("centre", "left", "right")
    action_names = ("left", "right")
    n_states = 3
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action): the place that was chosen."""
        return 1.0 if next_state == 1 + action else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu)."""
        weight = 1.0 if state == LEFT else (2.0 if state == RIGHT else 0.0)
        return -weight * share(world, state)

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """All begin in the centre."""
        return np.array([1.0, 0.0, 0.0])
