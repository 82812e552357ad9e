"""Descriptions of what all APIs have in common, parameters above all: written once, shown in the help of each."""

import inspect
import types
from collections.abc import Callable
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Callable[..., Any])

COMMON_PARAMETERS = {
    "game": "A registered name, or a game.",
    "n_worlds": "Number of independent copies of the game, which are simulated together.",
    "observe": """Observation blocks that agents see beside their own observation: names or objects, as in
        ``["one-hot-identity", "mean-field"]`` (:mod:`mfenvs.wrappers.observations`).""",
    "population_policy": """Policy of all other agents: None for uniformly random actions among
        those that are allowed, a table of probabilities, a model of Stable-Baselines3, or an object with
        ``action_probabilities`` or ``predict``; one policy for all agents or one for each
        (:class:`mfenvs.play.Player`).""",
    "agent": "Index of the agent that acts; None draws the acting agents uniformly in each episode.",
    "render_mode": """How world 0 is shown since its last reset. None: not at all; ``"ansi"``: ``render()``
        returns a text; ``"rgb_array"``: an image, shape (height, width, 3); ``"human"``: every step prints the
        text (in a terminal over the last one). Games that have nothing to show (no rule ``place``) allow None
        only.""",
    "max_episode_steps": """Number of steps after which episodes are truncated, if the horizon has not come
        before; by default they are not.""",
    "debug": "Whether to check the results of the game's rules in every step (slower; :class:`mfenvs.Engine`).",
    "device": """Where the worlds are simulated: ``"cpu"``, or ``"cuda"`` or ``"cuda:<number>"`` for a
        GPU of NVIDIA (extra ``cuda``).""",
    "constants": "The game's constants, such as ``n_agents=100``, if the game is given by name.",
}
"""The description of each common parameter in numpydoc's format, by the parameter's name."""

COMMON_PASSAGES = {
    "horizon": """
        The episodes of all agents begin and end together. At the horizon of a game that ends they terminate;
        observations carry the time. An infinite game goes on after its horizon, so that they are truncated there.
        """,
    "argument errors": """
        TypeError, ValueError
            If an argument is not allowed.
        """,
    "device errors": """
        ImportError, RuntimeError
            If the software for the device is not installed, or there is no such device.
        """,
    "action errors": """
        ValueError, TypeError
            If an action is out of range or the array has the wrong shape or kind. No world has moved then.
        """,
}
"""Passages of docstrings in numpydoc's format, by what they are about."""


def with_common_parameters(documented: Documented) -> Documented:
    """Complete the docstrings of a class and of its methods, or of a function.

    Each line ``{name}`` is replaced by the description of that common parameter, or by that passage.

    Raises
    ------
    KeyError
        If there is no common parameter and no passage of that name.
    """
    methods = [member for member in vars(documented).values() if isinstance(member, types.FunctionType)]
    for item in (documented, *methods):
        if item.__doc__ is not None:  # as under python -OO
            lines = inspect.cleandoc(item.__doc__).splitlines()
            item.__doc__ = "\n".join(_described(line) for line in lines)
    return documented


def _described(line: str) -> str:
    if not (line.startswith("{") and line.endswith("}")):
        return line
    name = line[1:-1]
    if name in COMMON_PASSAGES:
        return inspect.cleandoc(COMMON_PASSAGES[name])
    text = inspect.cleandoc(COMMON_PARAMETERS[name])
    return f"{name}:\n" + "\n".join(f"    {row}" for row in text.splitlines())
