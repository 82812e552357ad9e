"""A game whose rewards depend on the time: what others do counts for -1, 0, 1, ... times its share."""

import dataclasses
from typing import Any

from mfenvs import FiniteGame, rule, share
from mfenvs.game import NO_PARAMETERS


@dataclasses.dataclass(kw_only=True)
class Rising(FiniteGame):
    """One state, two actions, R(a, sigma) = (h - 1) sigma(a) at step h."""

    n_agents: int = 5
    horizon: int = 3

    agent_dtype = NO_PARAMETERS
    n_states = 1
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return (world.time - 1.0) * share(world, action)
