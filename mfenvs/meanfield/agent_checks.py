"""Checks of a finite game's rules before they are averaged over agents."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import check_model
from mfenvs.engine.tabulation import new_status
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.action_masks import later_times, reads_time
from mfenvs.meanfield.public_tree_game import PublicTreeGame
from mfenvs.meanfield.transition_tables import TransitionTables
from mfenvs.rules import World

Array = NDArray[np.float64]

NUMBERS_AT_A_TIME = 2**22
"""Number of entries of agents' own tables that are checked at a time: 32 MB."""


def check_every_agent(tables: TransitionTables) -> None:
    """Check all agents' own rows at one population: in the average, wrong rows could cancel.

    Parameters
    ----------
    tables:
        The transition tables of a game, which know the game, its compiled rules and its agents.

    Raises
    ------
    ValueError
        If probabilities of an agent do not sum to 1, or numbers are not finite; it names the agent's parameters.
    """
    game, agents = tables.game, tables.model[0]
    mu = _even_law(game)
    if isinstance(game, PublicTreeGame):
        mu = game.with_node_masses(mu, 0)
    if tables.is_sparse:
        _check_every_sparse_row(tables, mu)
        return
    at_a_time = max(1, NUMBERS_AT_A_TIME // (game.n_states * mu.size))
    for first in range(0, len(agents), at_a_time):
        some = agents[first : first + at_a_time]
        transitions, rewards = _own_tables(tables, mu, some)
        try:
            check_model(game, transitions, rewards)
        except ValueError:
            for agent, own_transitions, own_rewards in zip(some, transitions, rewards, strict=True):
                check_model(game, own_transitions, own_rewards, _whose(agent))


def check_no_time(tables: TransitionTables) -> None:
    """Raise a ValueError if the rules of an infinite game read the time."""
    game = tables.game
    mu = _even_law(game)
    first = [np.array(table) for table in tables.at(mu, 0) if table is not None]
    for time in later_times(game):
        now = [table for table in tables.at(mu, time) if table is not None]
        if all(np.array_equal(a, b) for a, b in zip(first, now, strict=True)):
            continue
        raise reads_time(game, "world.time")


def _even_law(game: FiniteGame) -> Array:
    """The uniform law of states and actions, (S, A)."""
    return np.full((game.n_states, game.n_actions), 1.0 / (game.n_states * game.n_actions))


def _whose(agent: Any) -> str:
    return f" for an agent with parameters {agent}"


def _own_tables(tables: TransitionTables, law: Array, agents: NDArray[Any]) -> tuple[Array, Array]:
    """P (n, S, A, S) and R (n, S, A) of n agents at time 0."""
    game = tables.game
    shape = len(agents), game.n_states, game.n_actions
    transitions, rewards, status = np.empty((*shape, game.n_states)), np.empty(shape), new_status()
    try:
        is_filled = tables.kernels.mean_fields(
            *(law, agents, np.ones(len(agents)), np.arange(len(agents) + 1), game.constants, 0, *tables.scratch()),
            *(transitions, rewards, status),
        )
    except COMPILE_ERRORS as error:
        raise explained(game, error) from None
    if not is_filled:
        tables.more_room(status)
    return transitions, rewards


def _check_every_sparse_row(tables: TransitionTables, mu: Array) -> None:
    game, agents = tables.game, tables.model[0]
    scratch = tables.scratch()
    _, successors, _ = tables.at(mu, 0)
    n_found = tables.n_found
    wrong = tables.kernels.first_wrong_agent(
        *(mu, *tables.model, *scratch, successors, n_found, checks.PROBABILITY_TOLERANCE)
    )
    if wrong[0] < 0:
        return
    i, state, action = (int(k) for k in wrong)
    # The rules themselves, called once more, tell what is wrong: the kernel left the world in its scratch.
    agent, world = agents[i], World(*scratch, game.constants, 0, -1, 0.0, 1.0, 1.0)
    if game.branch is not None:
        row = [float(game.branch(k, state, action, agent, world)[1]) for k in range(game.n_branches)]
    else:
        assert successors is not None
        known = successors[state, action, : n_found[state, action]].tolist()
        row = [float(game.transition(t, state, action, agent, world)) for t in known]
    earned = float(game.reward(state, action, agent, world))
    own = np.zeros((game.n_states, game.n_actions, len(row))), np.zeros((game.n_states, game.n_actions))
    own[0][..., 0] = 1.0
    own[0][state, action], own[1][state, action] = row, earned
    check_model(game, *own, _whose(agent))
