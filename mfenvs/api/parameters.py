"""What the parameters mean that all APIs have in common: written once, shown in the help of each."""

import inspect
from typing import TypeVar

Documented = TypeVar("Documented")

COMMON_PARAMETERS = {
    "game": "A registered name, or a game.",
    "n_worlds": "Number of independent copies of the game, which are simulated together.",
    "observe": """What agents see beside their own observation: names or objects of observation blocks, as in
        ``["one-hot-identity", "mean-field"]`` (:mod:`mfenvs.wrappers.observations`).""",
    "population_policy": """What all others play: None for uniformly random actions, a table of probabilities, a
        model of Stable-Baselines3, or an object with ``action_probabilities`` or ``predict``; one policy for all
        or one for each (:class:`mfenvs.play.Player`).""",
    "agent": "Index of the agent that acts; None draws the acting agents uniformly in each episode.",
    "render_mode": """None; ``"ansi"``: ``render()`` returns a text; ``"rgb_array"``: an image, shape (height,
        width, 3); ``"human"``: every step prints the text (in a terminal over the last one). Shown is world 0
        since its last reset. Games that have nothing to show (no rule ``place``) allow None only.""",
    "max_episode_steps": """Truncate episodes after so many steps, if the horizon has not come before; by default
        never.""",
    "debug": "Check in every step what the game's rules return, as :class:`mfenvs.Engine` says (slower).",
    "constants": "The game's constants, such as ``n_agents=100``, if it is given by name.",
}
"""Parameters by name, as numpydoc describes them."""


def with_common_parameters(documented: type[Documented]) -> type[Documented]:
    """Describe the parameters in a class's docstring that stand there as ``{name}`` on a line of their own.

    Raises
    ------
    KeyError
        If no common parameter has such a name.
    """
    if documented.__doc__ is not None:  # as under python -OO
        lines = inspect.cleandoc(documented.__doc__).splitlines()
        documented.__doc__ = "\n".join(_described(line) for line in lines)
    return documented


def _described(line: str) -> str:
    if not (line.startswith("{") and line.endswith("}")):
        return line
    name = line[1:-1]
    text = inspect.cleandoc(COMMON_PARAMETERS[name])
    return f"{name}:\n" + "\n".join(f"    {row}" for row in text.splitlines())
