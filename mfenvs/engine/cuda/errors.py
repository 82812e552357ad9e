"""Errors that were found on a device, in words."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.acting import ROW_TOLERANCE, is_cumulative
from mfenvs.engine.cuda.step_kernels import OF_ACTION, OF_LAW, OF_STATE, OF_TABLE
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game


def describe_error(
    game: Game,
    n_worlds: int,
    wrong: int,
    time: int,
    actions: Any | None,
    rows: Any | None,
    download: Callable[[Any], NDArray[Any]],
) -> str:
    """The message of an error that kernels have noted.

    Parameters
    ----------
    game, n_worlds:
        The game and the number of its worlds.
    wrong, time:
        What is wrong, and when: the entries of ``status`` (:mod:`mfenvs.engine.cuda.step_kernels`).
    actions:
        The actions of that step, on the device; None if they are not known any more.
    rows:
        The probabilities or the table from which actions were last drawn then, which need not be the wrong ones;
        None if they are not known any more.
    download:
        Function that copies an array from the device.
    """
    kind, place = divmod(wrong, n_worlds * game.n_agents)
    if kind >= OF_TABLE:
        return _describe_row(game, wrong - OF_TABLE * n_worlds * game.n_agents, rows, download)
    world, agent = divmod(place, game.n_agents)
    if kind == OF_ACTION:
        n_actions = getattr(game.action_space, "n", None)
        allowed = f"in {game.action_space}" if n_actions is None else f"in [0, {n_actions - 1}]"
        value = ", which it was not" if actions is None else f", got {download(actions)[world, agent]}"
        return f"actions[{world}, {agent}] at time {time} must be {allowed}{value}"
    if kind == OF_LAW:
        shown = ""
        if rows is not None and len(rows.shape) == 3 and rows.shape[:2] == (n_worlds, game.n_agents):
            law = download(rows)[world, agent]
            shown = "" if checks.is_row(law, ROW_TOLERANCE, 0.0) else f", got {checks.shown(law.tolist())}"
        return f"probabilities[{world}, {agent}] at time {time} must be non-negative and sum to 1{shown}"
    if kind == OF_STATE:
        return describe_next_state(game, world, agent, time)
    return (
        f"place of {type(game).__name__} must be in [0, {game.n_places - 1}] for all agents, which it is not for"
        f" agent {agent} of world {world} at time {time}"
    )


def describe_next_state(game: Game, world: int, agent: int, time: int | None) -> str:
    """The message that an agent is led to a state that does not exist; ``time`` is None if it is not known."""
    assert isinstance(game, FiniteGame)
    when = "" if time is None else f" at time {time}"
    return (
        f"the rules of {type(game).__name__} must return states in [0, {game.n_states - 1}], which they do not for"
        f" agent {agent} of world {world}{when} (debug=True on the CPU names the rule)"
    )


def _describe_row(game: Game, index: int, rows: Any | None, download: Callable[[Any], NDArray[Any]]) -> str:
    """The message that a row of a table, by its flat index in (1 or n_agents, T, S), is no cumulated law."""
    assert isinstance(game, FiniteGame)
    n_times, n_states, _ = game.policy_shape
    group, row = divmod(index, n_times * n_states)
    where = group, *divmod(row, n_states)
    shown = ""
    if rows is not None and len(rows.shape) == 4 and group < rows.shape[0]:
        table = download(rows)
        shown = "" if is_cumulative(table, *where) else f", got {checks.shown(table[where].tolist())}"
    return (
        f"policy[{', '.join(map(str, where))}] must be a cumulated law (rising from 0 to at least 1, as"
        f" mfenvs.cumulated.cumulative makes it){shown}"
    )
