"""Transition rows of games on maps, from the few places that an agent can reach."""

import functools
from typing import Any

from mfenvs.game import Rule
from mfenvs.rules import rule


@functools.cache
def row_of(branch: Rule, n_branches: int) -> Rule:
    """Make the rule ``transition`` from ``branch(k, state, action, agent, world) -> (state, probability)``."""
    branch = getattr(branch, "__func__", branch)  # In the body of a class it is a static method.

    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action)."""
        total = 0.0
        for k in range(n_branches):
            reached, probability = branch(k, state, action, agent, world)
            total += probability if reached == next_state else 0.0
        return total

    return transition
