"""What of a game is compiled into its kernels beside its rules, and rules whose source depends on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mfenvs.game import Game
from mfenvs.rules import rule


@dataclasses.dataclass(frozen=True)
class Layout:
    """What of a game's sizes is compiled into its kernels."""

    n_cells: int
    n_actions: int | None
    """None: actions are not discrete, and no tabular policy can be played."""
    state_fields: tuple[str, ...] | None
    """None: the state is a scalar."""

    @classmethod
    def of(cls, game: Game) -> "Layout":
        """The layout of a game."""
        n_actions = getattr(game.action_space, "n", None)
        return cls(
            n_cells=game.n_cells,
            n_actions=None if n_actions is None else int(n_actions),
            state_fields=game.state_dtype.names,
        )


def rule_from(source: str, name: str, **scope: Any) -> Callable[..., Any]:
    """Compile a rule whose source depends on the game's sizes or names."""
    exec(source, scope)
    return rule(scope[name])
