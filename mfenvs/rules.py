"""Rules: the scalar functions of one agent that define a game, written once for all backends.

A rule is an ordinary Python function of numbers. :func:`rule` compiles it for the CPU; kernels inline
it into their loops, a CUDA compiler can take the same function as a device function, and
``some_rule.py_func`` is the plain Python original. Rules may call other rules and read module-level
numbers, which are constants from the moment of compilation; they may not allocate memory (a rule that does is
refused by the compiler when it is first used) and may call only scalar functions of ``math``. They draw from the
argument ``key``, never from ``random`` or ``numpy.random``, whose draws follow from no seed of an episode.

Conditionals *inside an expression* (``a if c else b``) on numbers let the compiler process several
agents at once; ``for`` loops over a fixed range are unrolled. Numbers written in single precision
(``np.float32(0.5)``) are faster than Python's double-precision literals, never different in meaning.
"""

import types
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from numba import config

from mfenvs.engine.foreign_randomness import foreign_randomness
from mfenvs.engine.inlining import RuleDispatcher

P = ParamSpec("P")
R = TypeVar("R")

COMPILE_OPTIONS: dict[str, Any] = {
    # Division by zero gives inf or nan, as in numpy: a check per division would stop vectorisation.
    "error_model": "numpy",
    # No reference counting: makes array views free, and any allocation an error at compile time.
    "_nrt": False,
    # Nobody calls these functions from C.
    "no_cfunc_wrapper": True,
}


def rule(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a scalar function as a rule of a game.

    Parameters
    ----------
    function:
        A Python function of scalars, records (``agent.field``) and a :class:`World`.

    Returns
    -------
    The compiled function. It is called like the original, from Python or from another rule; the
    original is its attribute ``py_func``.

    Raises
    ------
    TypeError
        If ``function`` is not a plain Python function, or draws from ``random`` or ``numpy.random``.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"rule(function): function must be a plain Python function, got {function!r}")
    source = foreign_randomness(function)
    if source:
        raise TypeError(
            f"the rule {function.__name__} draws from {source}, whose draws follow from no seed of an episode:"
            " draw from the rule's argument key, as by mfenvs.uniform(key, 0)"
        )
    if config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
        # numba's simulator of a GPU runs kernels as Python functions, on arrays that compiled code does not know.
        function.py_func = function  # type: ignore[attr-defined]
        return function
    # Inlined by force: a world is many words, which calls would copy.
    compiled = RuleDispatcher(function, targetoptions={"nopython": True, "forceinline": True, **COMPILE_OPTIONS})
    return cast(Callable[P, R], compiled)


class Public(NamedTuple):
    """Public information when agents act: the argument ``public`` of the rules ``observe`` and ``allowed``."""

    signal: Any
    """The public signal, shape (n_signals,), as ``aggregate`` wrote it in the last step, and ``publish`` since.

    At the start of an episode, before any step, it holds zeros and what ``publish`` wrote.
    """
    constants: Any
    """The game's property ``constants``: numbers and arrays common to all agents."""
    time: Any
    """Time step h, 0 <= h <= horizon; at the horizon the episode is over."""
    elapsed: Any
    """The elapsed time h / horizon, in [0, 1]."""


class World(NamedTuple):
    """The population as an agent's rules see it: the argument ``world`` of most rules.

    The simulator and the mean-field game fill the same fields, so that a rule is the same among N agents and in
    the limit. Rules read the population through :func:`share` (without the agent itself) and :func:`crowd` (with
    it), or the fields directly:

    ``world.constants``
        what the game's property ``constants`` returns: a (named) tuple of numbers and arrays. This is how
        a constant of the game reaches its rules; ``self`` does not.
    ``world.signal``
        what the game's ``aggregate`` and ``publish`` wrote, shape (n_signals,).
    ``world.time``
        the time step h, 0 <= h < horizon.

    ``aggregate`` runs for the whole population and not for one agent: it reads ``world.counts`` or ``crowd``. So
    do all rules of a game that counts by a rule ``count``. While ``count`` runs, there are no counts yet.
    """

    counts: Any
    """Weight of all agents in each cell, shape (n_cells,); in the mean-field, mass."""
    signal: Any
    """The public signal that the game's ``aggregate`` and ``publish`` wrote, shape (n_signals,)."""
    constants: Any
    """The game's ``constants``: a (named) tuple of numbers and arrays."""
    time: Any
    """Time step h, 0 <= h < horizon."""
    own_cell: Any
    """The cell in which the agent itself is counted; -1 in the mean-field."""
    own_weight: Any
    """The weight with which the agent itself is counted there; 0 in the mean-field."""
    per_other: Any
    """1 / (N - 1); 1 in the mean-field."""
    per_agent: Any
    """1 / N; 1 in the mean-field."""


@rule
def share(world: World, cell: Any) -> Any:
    """Share of the *other* agents that are counted in ``cell``: sigma(rho^{-i})(cell) in [0, 1].

    The population is that of the N-1 others [R]; in the mean-field limit this makes no difference. With weights,
    it is the others' total weight in the cell over N - 1.
    """
    own = world.own_weight if cell == world.own_cell else world.own_weight * 0
    return (world.counts[cell] - own) * world.per_other


@rule
def crowd(world: World, cell: Any) -> Any:
    """Total weight in ``cell``, the agent's own included, over N: for effects to which the agent itself adds."""
    return world.counts[cell] * world.per_agent


@rule
def individual(world: World) -> Any:
    """The amount that one agent adds to the counts of a game without weights: 1, and 0 in the mean-field.

    It is meant for draws without replacement: after one agent of a cell was drawn, counts[cell] -
    individual(world) are left in the cell.
    """
    return world.per_other * 0 + (1 if world.per_agent < 1.0 else 0)


def plain(function: Callable[P, R]) -> Callable[P, R]:
    """The Python function behind a rule, for reading, for debugging and for tests."""
    original: Callable[P, R] = getattr(function, "py_func", function)
    return original
