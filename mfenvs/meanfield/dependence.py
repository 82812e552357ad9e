"""Proof that a finite game's rules are affine in the population, or do not depend on it.

The rules are run as plain Python functions, once for every state, action, next state and time step. In the place
of the counts stand marks that only remember what was done with them: sums of counts and multiples are affine; a
product of two counts, or whatever else is done with them, is not. A rule that compares a count with anything, to
branch or in ``max`` or ``abs``, stops there, and nothing is proven. So what is proven holds at every population,
which no number of trials at random populations can show: a rule can react to a narrow range of populations only.

The proof is about rules in exact arithmetic. What is not proven need not be false.
"""

import functools
import math
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.counting import own_count_rules
from mfenvs.engine.model import in_double_precision
from mfenvs.engine.rebinding import rebound
from mfenvs.finite_game import FiniteGame
from mfenvs.rules import World, plain

ProvenDependence = Literal["none", "affine", "unknown"]
"""What is proven of how a rule depends on the population."""

MOST_CALLS = 2**18
"""Largest number of runs of a rule in a proof: about a second."""

CONSTANT, AFFINE, OTHER = range(3)
"""What a mark stands for: an unknown number that the population does not change; an affine function of the
population; any function of it."""

KINDS: tuple[ProvenDependence, ...] = ("none", "affine", "unknown")


class ProvenDependences(NamedTuple):
    """What is proven of a game's rules, for all agents, states, actions and time steps."""

    transitions: ProvenDependence
    rewards: ProvenDependence


def proven_dependences(game: FiniteGame, *, in_mean_field: bool) -> ProvenDependences:
    """What can be proven of how a game's transitions and rewards depend on the population.

    Parameters
    ----------
    game:
        A finite game.
    in_mean_field:
        Whether rules see the mean-field limit; else N agents, and the population is that of the others.

    Returns
    -------
    ``none``, ``affine`` or ``unknown`` for each. ``unknown`` also if there are more than 2^18 entries of a table
    to prove it for.
    """
    population = _MeanField(game) if in_mean_field else _Others(game)
    return ProvenDependences(
        _of_rule(population, game.transition, (range(game.n_states),)),
        _of_rule(population, game.expected_reward, ()),
    )


def times_that_matter(game: FiniteGame) -> range:
    """The times at which rules can differ: all of them if a rule reads the time, else 0 only."""
    rules = game.rules
    read = game.transition, game.expected_reward, rules.aggregate, rules.cell, rules.weight, rules.count
    reads_time = not game.is_infinite and any(_names_time(function) for function in read if function)
    return range(game.horizon if reads_time else 1)


def _names_time(function: Any) -> bool:
    """Whether a rule, or a rule that it calls, mentions an attribute ``time``: only such a rule can read it."""
    return any("time" in code.co_names for code in _codes(plain(function), set()))


def _codes(function: Any, seen: set[int]) -> Iterator[types.CodeType]:
    """The byte code of a function and of all functions that it can reach by name."""
    if id(function) in seen or not isinstance(function, types.FunctionType):
        return
    seen.add(id(function))
    yield function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = function.__code__.co_names
    reached = [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [found for found in reached if isinstance(found, types.ModuleType)]
    members = [getattr(module, name) for module in modules for name in names if hasattr(module, name)]
    for found in (*cells, *reached, *members):
        yield from _codes(plain(found), seen)


class _NothingProvenError(Exception):
    """A rule asks for the value of a mark."""


def _refuse(*_: Any) -> Any:
    raise _NothingProvenError


class Mark:
    """Stands for a number in the run of a rule, and remembers how it depends on the population."""

    __slots__ = ("kind",)
    # numpy's numbers leave operations to this class, and its functions refuse it.
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __add__(self, other: Any) -> "Mark":
        return _mark(max(self.kind, _kind(other)))

    __radd__ = __sub__ = __rsub__ = __add__

    def __neg__(self) -> "Mark":
        return self

    __pos__ = __neg__

    def __mul__(self, other: Any) -> "Mark":
        kinds = self.kind, _kind(other)
        return _mark(max(kinds) if min(kinds) == CONSTANT else OTHER)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Mark":
        return _mark(self.kind if _kind(other) == CONSTANT else OTHER)

    def __rtruediv__(self, other: Any) -> "Mark":
        return _mark(max(self.kind, _kind(other)) if self.kind == CONSTANT else OTHER)

    def __pow__(self, other: Any) -> "Mark":
        if not isinstance(other, Mark) and other == 1:
            return self
        return _mark(CONSTANT if self.kind == _kind(other) == CONSTANT else OTHER)

    def __rpow__(self, other: Any) -> "Mark":
        return _mark(CONSTANT if self.kind == _kind(other) == CONSTANT else OTHER)

    def __abs__(self) -> "Mark":
        return _mark(CONSTANT if self.kind == CONSTANT else OTHER)

    # What Python does not know of a class, it refuses by itself; these it would answer.
    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse


_MARKS = tuple(Mark(kind) for kind in (CONSTANT, AFFINE, OTHER))


def _mark(kind: int) -> Mark:
    return _MARKS[kind]


def _kind(value: Any) -> int:
    """The kind of a mark, or of a number; refuses anything else."""
    if isinstance(value, Mark):
        return value.kind
    if isinstance(value, int | float | np.number | np.bool_):
        return CONSTANT
    raise _NothingProvenError


class _MeanField:
    """The population in the mean-field limit, as marks."""

    def __init__(self, game: FiniteGame) -> None:
        self.game, self.times = game, times_that_matter(game)
        self.aggregate = game.rules.aggregate and _in_python(game.rules.aggregate)

    def numbers(self, state: int, action: int, agent: Any) -> tuple[Any, ...]:
        """What an agent's world holds behind the time."""
        return -1, 0.0, 1.0, 1.0

    def everyone(self, time: int) -> tuple[Any, Any]:
        """The counts and, from them, the public signal."""
        counts = _filled((self.game.n_cells,), AFFINE)
        signal = np.empty(self.game.n_signals, object)
        signal[:] = 0.0
        _, _, *shares = self.numbers(0, 0, None)
        if self.aggregate is not None:
            try:
                if self.game.n_cells * len(self.times) > MOST_CALLS:
                    raise _NothingProvenError
                self.aggregate(World(counts, signal, self.game.constants, time, -1, 0.0, *shares), signal)
            except Exception:
                # It takes a decision that hangs on the population, or calls what only the compiler knows.
                signal[:] = _mark(OTHER)
        signal.flags.writeable = False
        return counts, signal


class _Others(_MeanField):
    """The N - 1 others of an agent, who is counted itself."""

    def __init__(self, game: FiniteGame) -> None:
        super().__init__(game)
        self.cell, self.weight = (_in_python(function) for function in own_count_rules(game.rules))

    def numbers(self, state: int, action: int, agent: Any) -> tuple[Any, ...]:
        n = self.game.n_agents
        if agent is None:
            return -1, 0.0, 1.0 / (n - 1), 1.0 / n
        own = self.cell(state, action, agent), self.weight(state, action, agent)
        return *own, 1.0 / (n - 1), 1.0 / n


def _of_rule(
    population: _MeanField, function: Callable[..., Any], first: tuple[Sequence[int], ...]
) -> ProvenDependence:
    """What is proven of a rule ``function(*first, state, action, agent, world)``."""
    game, run = population.game, _in_python(function)
    arguments = [*first, range(game.n_states), range(game.n_actions)]
    n_calls = len(population.times) * math.prod(map(len, arguments))
    if n_calls > MOST_CALLS:
        return "unknown"
    everyone = [(time, *population.everyone(time)) for time in population.times]
    for agents in (_anyone, _every_kind):
        try:
            worst = max(
                (
                    _worst_of(population, run, agent, at_one_time, arguments)
                    for agent in agents(game, MOST_CALLS // n_calls)
                    for at_one_time in everyone
                ),
                default=OTHER,
            )
        except Exception:
            # The rule asks for the value of a mark, or calls what only the compiler knows.
            continue
        if worst < OTHER:
            return KINDS[worst]
    return "unknown"


def _worst_of(
    population: _MeanField,
    run: Callable[..., Any],
    agent: Any,
    at_one_time: tuple[int, Any, Any],
    arguments: list[Sequence[int]],
) -> int:
    time, counts, signal = at_one_time
    constants, worst = population.game.constants, CONSTANT
    with np.errstate(all="ignore"):
        for indices in np.ndindex(*map(len, arguments)):
            state, action = indices[-2:]
            world = World(counts, signal, constants, time, *population.numbers(state, action, agent))
            worst = max(worst, _kind(run(*indices, agent, world)))
            if worst == OTHER:
                return worst
    return worst


def _anyone(game: FiniteGame, most: int) -> list[Any]:
    """One agent who stands for all, with marks where agents differ (``most`` is at least 1)."""
    agents = in_double_precision(game.agents)
    names = agents.dtype.names or ()
    found = np.zeros(1, [(name, object, agents.dtype[name].shape) for name in names]).view(np.recarray)
    for name in names:
        values = agents[name]
        if (values == values[:1]).all():
            found[name][0] = values[0].item() if values.ndim == 1 else values[0]
        else:
            found[name][0] = _mark(CONSTANT) if values.ndim == 1 else _filled(values.shape[1:], CONSTANT)
    return [found[0]]


def _every_kind(game: FiniteGame, most: int) -> list[Any]:
    """One agent of every kind, for rules that branch on agents' parameters; none if there are too many."""
    kinds = in_double_precision(np.unique(game.agents.view(np.ndarray))).view(np.recarray)
    return list(kinds) if len(kinds) <= most else []


def _filled(shape: tuple[int, ...], kind: int) -> NDArray[Any]:
    marks = np.empty(shape, object)
    marks[...] = _mark(kind)
    marks.flags.writeable = False
    return marks


@functools.cache
def _in_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule as a plain Python function, which calls other rules as such."""
    return rebound(function, _in_python)
