"""Draws of the engine that are rare: only they tell `<` from `<=`."""

import numba

from mfenvs import uniform
from mfenvs.engine.random import agent_key, step_key


@numba.njit
def first_zero(purpose, n_agents):
    """World and agent whose first draw (stream 0) of this purpose is exactly 0, at seed 0 and time 0.

    One draw in 2^24 is.
    """
    for world in range(10**6):
        key = step_key(0, world, 0, 0, purpose)
        for agent in range(n_agents):
            if uniform(agent_key(key, agent), 0) == 0:
                return world, agent
    return -1, -1
