"""Debug mode: check that the rows which a finite game's ``transition`` returns are probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.checks import PROBABILITY_TOLERANCE, first_invalid_row
from mfenvs.engine.model import in_double_precision, model_kernels
from mfenvs.game import FiniteGame


def check_rows(game: FiniteGame, states: NDArray[Any], actions: NDArray[Any], time: int) -> None:
    """Check the transition rows of all agents where they are.

    Parameters
    ----------
    states, actions:
        Shape (n_worlds, n_agents).

    Raises
    ------
    ValueError
        Naming the first agent, state and action whose row is not a probability vector, and the row.
    """
    outside = (actions < 0) | (actions >= game.n_actions)
    if outside.any():
        return  # The step itself refuses these, and the rules are not made for them.
    rows = np.empty((game.n_agents, game.n_states))
    counts, signal = np.empty(game.n_cells), np.empty(game.n_signals)
    agents = in_double_precision(game.agents)
    for w in range(len(states)):
        model_kernels(game).rows(states[w], actions[w], agents, game.constants, counts, signal, time, rows)
        i = first_invalid_row(rows, PROBABILITY_TOLERANCE, -PROBABILITY_TOLERANCE)
        if i >= 0:
            raise ValueError(
                f"{type(game).__name__}.transition must return probabilities that sum to 1 over"
                f" next_state, got {rows[i].tolist()} with sum {float(rows[i].sum())!r} for agent {i} in state"
                f" {states[w, i]} with action {actions[w, i]} at time {time} of world {w}"
            )
