"""Contraction game: two places between which it is dear to switch, so that the best response map contracts."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame
from mfenvs.rules import crowd, rule

STAY, SWITCH = 0, 1


class Costs(NamedTuple):
    """The constants of the contraction game, as its rules read them."""

    switching: float
    congestion: float


@dataclasses.dataclass(kw_only=True)
class ContractionGame(StateCountingGame):
    """Contraction game: agents in one of two places may switch, at a cost, and avoid the crowd.

    ``contraction_game`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: places 0 and 1. Actions: 0 stay, 1 switch; both certain [S].

    * r = -switching_cost 1{switch} - congestion mu(s) [S]
    * the first place is uniform [S]

    Known: with switching_cost > congestion / (1 - gamma), staying is the best response to every population, and
    one best response solves the game. The source's own constants, the default here, do not satisfy that: 2 < 20.
    Staying is an equilibrium all the same, since the population stays uniform. The uniform policy has value
    -20 and exploitability 10.
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    switching_cost: float = 2.0
    """Cost of a switch [S]."""
    congestion: float = 2.0
    """Cost of a place where everybody is [S]."""

    action_names = ("stay", "switch")
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action)."""
        return 1.0 if (next_state == state) == (action == STAY) else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu)."""
        costs = world.constants
        return -costs.congestion * crowd(world, state) - (costs.switching if action == SWITCH else 0.0)

    def check(self) -> None:
        """Check the costs."""
        for name in ("switching_cost", "congestion"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()

    @property
    def constants(self) -> Costs:
        """The costs."""
        return Costs(self.switching_cost, self.congestion)
