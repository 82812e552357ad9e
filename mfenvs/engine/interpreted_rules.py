"""Rules run by Python itself, so that a wrong index is an error before compiled code reads or writes there.

Compiled rules do not check indices: one that is out of range reads other memory, or ends the process. Debug mode
compiles every rule once more with checks, which takes seconds (:mod:`mfenvs.engine.checked_rules`). Here a
thousand calls of each rule are interpreted, in some ten milliseconds.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.checked_rules import crowd_of_existing_cells, share_of_existing_cells
from mfenvs.engine.rebinding import rebound
from mfenvs.finite_game import FiniteGame
from mfenvs.rules import Public, World, crowd, plain, share

MOST_CALLS = 1000
"""Number of calls up to which a rule is tried out for all its arguments; beyond, for that many drawn ones."""
MOST_AGENTS = 4
"""Number of agents whose parameters are tried out."""

CHECKED = {share: plain(share_of_existing_cells), crowd: plain(crowd_of_existing_cells)}


def check_indices(game: FiniteGame) -> None:
    """Try out a game's rules at a population that is spread evenly over all cells.

    A rule that Python cannot run as the compiler does is left out. Games of this package are, too: tests check
    them in debug mode.

    Parameters
    ----------
    game:
        The game, as its user declares it.

    Raises
    ------
    ValueError
        If a rule reads or writes outside of an array, asks for the share of a cell that does not exist, or the
        rule ``cell`` returns none; the message names the rule and its arguments.
    """
    if type(game).__module__.partition(".")[0] != __name__.partition(".")[0]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _Trial(game).run()


class _Trial:
    def __init__(self, game: FiniteGame) -> None:
        self._game, self._constants = game, game.constants
        self._counts = np.full(game.n_cells, 1.0 / max(1, game.n_cells))
        self._signal = np.zeros(game.n_signals)
        self._times = sorted({0, game.horizon // 2, game.horizon - 1})
        self._agents = [game.agents[i] for i in range(min(MOST_AGENTS, game.n_agents))]

    def run(self) -> None:
        game, rules = self._game, self._game.rules
        states, actions = game.n_states, game.n_actions
        if not self._publish():
            return
        for name, sizes, call in (
            ("cell", (states, actions), self._check_cell),
            ("weight", (states, actions), self._of_agent),
            ("count", (states, actions), self._count),
            ("aggregate", (), self._aggregate),
        ):
            if getattr(rules, name) is not None:
                self._try(name, getattr(rules, name), sizes, call)
        if rules.allowed is not None:
            self._try("allowed", rules.allowed, (actions, states), self._of_public)
        law = ("transition", states) if game.branch is None else ("branch", game.n_branches)
        for name, *more in (law, ("reward",), ("terminal",), ("arrival", states)):
            rule = getattr(game, name)
            if rule is not None:
                of = (states,) if name == "terminal" else (*more, states, actions)
                self._try(name, rule, of, self._of_agent_and_world)

    def _publish(self) -> bool:
        """Write what rules read at the beginning; whether that succeeded. A public chain begins in state 0."""
        publish = self._game.rules.publish
        try:
            if publish is not None and self._game.public_chain is None:
                # Compiled: its draws depend on integers that wrap, as Python's do not.
                publish(self._signal, self._constants, 0, np.uint32(0))
        except Exception:
            return False
        return True

    def _try(self, name: str, rule: Any, sizes: tuple[int, ...], call: Callable[..., None]) -> None:
        try:
            function = interpreted(rule)
            for time, agent, *numbers in _drawn((len(self._times), len(self._agents), *sizes)):
                call(function, numbers, self._agents[agent], self._times[time])
        except IndexError as error:
            said = _of_wrong_index(error)
            if said:
                named = [f"{argument} {k}" for argument, k in zip(_arguments(rule), numbers, strict=False)]
                where = " and ".join([*named, f"time {self._times[time]}"])
                raise ValueError(f"the rule {name} of {type(self._game).__name__} {said} at {where}") from None
        except Exception:
            return  # Python need not run all that the compiler does.

    def _world(self, time: int) -> World:
        return World(self._counts, self._signal, self._constants, time, -1, 0.0, 1.0, 1.0)

    def _of_agent(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        function(*numbers, agent)

    def _check_cell(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        cell = function(*numbers, agent)
        if not 0 <= cell < len(self._counts):
            raise IndexError(f"must return a cell in [0, {len(self._counts) - 1}], got {cell}")

    def _count(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        function(self._counts.copy(), 1.0, *numbers, agent, self._world(time))

    def _aggregate(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        function(self._world(time), self._signal)

    def _of_public(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        elapsed = time / self._game.horizon
        function(*numbers, agent, Public(self._signal, self._constants, time, elapsed))

    def _of_agent_and_world(self, function: Callable[..., Any], numbers: list[int], agent: Any, time: int) -> None:
        function(*numbers, agent, self._world(time))


def interpreted(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule as a function of Python, and all the rules that it calls, with a ``share`` that checks its cell."""
    return CHECKED[rule] if rule in CHECKED else rebound(rule, interpreted)


def _drawn(sizes: tuple[int, ...]) -> Iterator[list[int]]:
    """All indices of an array of these sizes if they are few, else the first, the last and drawn ones."""
    total = int(np.prod(sizes, dtype=np.float64))
    if total <= MOST_CALLS:
        numbers: NDArray[np.int64] = np.arange(total)
    else:
        drawn = np.random.default_rng(0).integers(0, total, MOST_CALLS - 2)
        numbers = np.unique(np.concatenate([[0, total - 1], drawn]))
    for number in numbers.tolist():
        yield [int(k) for k in np.unravel_index(number, sizes)]


def _arguments(rule: Any) -> tuple[str, ...]:
    code = plain(rule).__code__
    return code.co_varnames[: code.co_argcount]


def _of_wrong_index(error: IndexError) -> str:
    """What to say of an error that a rule raised; nothing of one for which the rule is not to blame."""
    text = str(error)
    if text.startswith(("asked", "must")):
        return text
    is_out = "out of bounds" in text or "out of range" in text
    return f"uses an index that does not exist ({text})" if is_out else ""
