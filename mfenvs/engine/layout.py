"""Sizes of a game that are compiled into its kernels, and rules whose source depends on them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.rules import rule


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of a game that are compiled into its kernels."""

    n_cells: int
    n_actions: int | None
    """Number of actions; None if actions are not discrete, so that no tabular policy can be played."""
    state_fields: tuple[str, ...] | None
    """Names of the fields of a state; None if the state is a scalar."""
    n_states: int | None = None
    """Number of states, for a game with branches, whose next states are checked in every step; else None."""
    states_of_chain: int | None = None
    """Number of states, for a game with a public chain, whose policies have a block of rows for each public state;
    else None."""

    @classmethod
    def of(cls, game: Game) -> "Layout":
        """The layout of a game."""
        n_actions = getattr(game.action_space, "n", None)
        return cls(
            n_cells=game.n_cells,
            n_actions=None if n_actions is None else int(n_actions),
            state_fields=game.state_dtype.names,
            n_states=game.n_states if isinstance(game, FiniteGame) and game.branch is not None else None,
            states_of_chain=game.n_states
            if isinstance(game, FiniteGame) and game.public_chain is not None
            else None,
        )


def rule_from(source: str, name: str, **scope: Any) -> Callable[..., Any]:
    """Compile a rule whose source depends on the game's sizes or names."""
    exec(source, scope)
    return rule(scope[name])
