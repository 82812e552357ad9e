"""Rules run by Python itself, so that what compiled code would not notice is an error before it runs.

Compiled rules do not check indices: one that is out of range reads other memory, or ends the process. The
simulator draws from rows that do not sum to 1, and nothing tells whether ``aggregate`` reads what it wrote in the
last step. Debug mode compiles every rule once more with checks, which takes seconds
(:mod:`mfenvs.engine.checked_rules`). Here a thousand calls of each rule are interpreted, in some ten milliseconds.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.checked_rules import OF_EXISTING_CELLS
from mfenvs.engine.model import wrong_row
from mfenvs.engine.rebinding import rebound
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rule
from mfenvs.rule_checks import RULE_ARGUMENTS, is_of_this_package
from mfenvs.rules import Public, World, plain

MOST_CALLS = 1000
"""Number of calls up to which a rule is tried out for all its arguments; beyond, for that many drawn ones."""
BEFORE = (0.0, 0.625, -7.25)
"""What the signal holds before ``aggregate``, whose result must not depend on it."""
MOST_AGENTS = 4
"""Number of agents whose parameters are tried out."""


def try_out(game: FiniteGame, *, indices: bool = True, rows: bool = False) -> None:
    """Try out a game's rules at a population that is spread evenly over all cells.

    A rule that Python cannot run as the compiler does is left out. Games of this package are, too: tests check
    them in debug mode.

    Parameters
    ----------
    game:
        The game, as its user declares it.
    indices:
        Whether indices are checked. Debug mode checks them itself, in every step.
    rows:
        Whether it is checked that the next states' probabilities sum to 1. The mean-field side and debug mode
        check all rows themselves.

    Raises
    ------
    ValueError
        If ``aggregate`` reads what it wrote in an earlier step; if a rule reads or writes outside of an array,
        asks for the share of a cell that does not exist, or the rule ``cell`` returns none; if probabilities do
        not sum to 1. The message names the rule and its arguments.
    """
    if is_of_this_package(type(game)):
        return
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        trial = _Trial(game)
        if not trial.can_begin():
            return
        if indices:
            for name, rule in _tried(game):
                trial.check(name, rule)
        trial.check_memory()
        if rows:
            trial.check_rows()


def _tried(game: FiniteGame) -> Iterator[tuple[str, Rule]]:
    """The rules that are tried out: that of which the law is made, and those that are called as they are."""
    for owner, names in (
        (game.rules, ("cell", "weight", "count", "aggregate", "allowed")),
        (game, ("transition" if game.branch is None else "branch", "reward", "arrival", "terminal")),
    ):
        for name in names:
            rule = getattr(owner, name)
            if rule is not None:
                yield name, rule


class _Trial:
    """What rules are called with."""

    def __init__(self, game: FiniteGame) -> None:
        self._game, self._constants = game, game.constants
        self._times = sorted({0, game.horizon // 2, game.horizon - 1})
        self._agents = [game.agents[i] for i in range(min(MOST_AGENTS, game.n_agents))]
        self._counts = np.full(game.n_cells, 1.0 / max(1, game.n_cells))
        self._signal = np.zeros(game.n_signals)
        self._sizes = {
            "state": game.n_states,
            "next_state": game.n_states,
            "action": game.n_actions,
            "branch": game.n_branches,
        }

    def can_begin(self) -> bool:
        """Write what rules read at the beginning; whether that succeeded. A public chain begins in state 0."""
        publish, aggregate = self._game.rules.publish, self._game.rules.aggregate
        try:
            if publish is not None and self._game.public_chain is None:
                # Compiled: its draws depend on integers that wrap, as Python's do not.
                publish(self._signal, self._constants, 0, np.uint32(0))
            if aggregate is not None:
                interpreted(aggregate)(self._world(0), self._signal)
        except IndexError:
            return True  # It is tried out again, and named.
        except Exception:
            return False
        return True

    def check(self, name: str, rule: Rule) -> None:
        """Raise a ValueError if a rule uses a wrong index."""
        arguments = RULE_ARGUMENTS[name]
        numbered = [argument for argument in arguments if argument in self._sizes]
        sizes = len(self._times), len(self._agents), *(self._sizes[argument] for argument in numbered)
        try:
            function = interpreted(rule)
            for at, who, *numbers in _drawn(sizes):
                time = self._times[at]
                given = self._given(time, self._agents[who]) | dict(zip(numbered, numbers, strict=True))
                found = function(*(given[argument] for argument in arguments))
                if name == "cell" and not 0 <= found < len(self._counts):
                    raise IndexError(f"must return a cell in [0, {len(self._counts) - 1}], got {found}")
        except IndexError as error:
            said = _of_wrong_index(error)
            if said:
                where = " and ".join(f"{argument} {given[argument]}" for argument in (*numbered, "time"))
                raise ValueError(f"the rule {name} of {type(self._game).__name__} {said} at {where}") from None
        except Exception:
            return  # Python need not run all that the compiler does.

    def check_rows(self) -> None:
        """Raise a ValueError if probabilities of next states do not sum to 1.

        Only in games that count by state and action: others' evenly filled cells may be of no population.
        """
        game = self._game
        counted = (game.cell, game.weight, game.count)
        if game.n_populations > 1 or game.n_states > MOST_CALLS or any(rule is not None for rule in counted):
            return
        ask = interpreted(game.transition if game.branch is None else game.branch)
        n_ahead = game.n_states if game.branch is None else game.n_branches
        sizes = len(self._times), len(self._agents), game.n_states, game.n_actions
        tolerance = checks.PROBABILITY_TOLERANCE
        for at, who, state, action in _drawn(sizes, max(2, MOST_CALLS // n_ahead)):
            agent, world = self._agents[who], self._world(self._times[at])
            try:
                found = [ask(ahead, state, action, agent, world) for ahead in range(n_ahead)]
                if game.branch is not None:
                    found = [probability for _, probability in found]
                row = np.array(found, np.float64)
            except Exception:
                return  # Python need not run all that the compiler does.
            if checks.first_invalid_row(row[None], tolerance, -tolerance) >= 0:
                raise wrong_row(game, row, state, action, f" for an agent with parameters {agent}")

    def check_memory(self) -> None:
        """Raise a ValueError if the declared ``aggregate`` depends on what is in the signal before it."""
        aggregate = self._game.aggregate
        if aggregate is None:
            return
        n_written = self._game.n_signals - (self._game.public_chain is not None)
        function, left = interpreted(aggregate), []
        for time in sorted({*self._times, min(1, self._game.horizon - 1)}):
            results = []
            for before in BEFORE:
                signal = self._signal.copy()
                signal[:n_written] = before
                try:
                    function(self._world(time)._replace(signal=signal), signal)
                except Exception:
                    return  # Python need not run all that the compiler does.
                results.append(signal[:n_written])
            # An entry that is never written holds 0 for ever.
            is_left = np.all([found == before for found, before in zip(results, BEFORE, strict=True)], axis=0)
            is_same = np.all([np.array_equal(found[~is_left], results[0][~is_left], True) for found in results])
            left.append(is_left)
            if not is_same or (left[0] != is_left).any():
                kind = type(self._game).__name__
                raise ValueError(
                    f"the rule aggregate of {kind} must not use what it wrote in an earlier step, as it does at"
                    f" time {time}: a finite game's population has no memory beyond its states. Write every entry"
                    " in every step, keep what is remembered in the states, or derive from mfenvs.Game"
                )

    def _given(self, time: int, agent: Any) -> dict[str, Any]:
        """The arguments of rules that are no states and actions, by name. What rules write into are copies."""
        return {
            "agent": agent,
            "counts": self._counts.copy(),
            "mass": 1.0,
            "public": Public(self._signal, self._constants, time, time / self._game.horizon),
            "signal": self._signal.copy(),
            "time": time,
            "world": self._world(time),
        }

    def _world(self, time: int) -> World:
        return World(self._counts, self._signal, self._constants, time, -1, 0.0, 1.0, 1.0)


def interpreted(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule as a function of Python, and all the rules that it calls, with a ``share`` that checks its cell."""
    return plain(OF_EXISTING_CELLS[rule]) if rule in OF_EXISTING_CELLS else rebound(rule, interpreted)


def _drawn(sizes: tuple[int, ...], most: int = MOST_CALLS) -> Iterator[list[int]]:
    """All indices of an array of these sizes if they are few, else the first, the last and drawn ones."""
    total = int(np.prod(sizes, dtype=np.float64))
    if total <= most:
        numbers: NDArray[np.int64] = np.arange(total)
    else:
        drawn = np.random.default_rng(0).integers(0, total, most - 2)
        numbers = np.unique(np.concatenate([[0, total - 1], drawn]))
    for number in numbers.tolist():
        yield [int(k) for k in np.unravel_index(number, sizes)]


def _of_wrong_index(error: IndexError) -> str:
    """What to say of an error that a rule raised; nothing of one for which the rule is not to blame."""
    text = str(error)
    if text.startswith(("asked", "must")):
        return text
    is_out = "out of bounds" in text or "out of range" in text
    return f"uses an index that does not exist ({text})" if is_out else ""
