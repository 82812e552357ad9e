"""What games of levels have in common, and their two forms."""

import dataclasses
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS, FiniteGame
from mfenvs.game import NO_PARAMETERS, Game, Rule
from mfenvs.games.levels.rules import (
    Form,
    LevelRules,
    continuous_form,
    grid_form,
    law_of_cells,
    level_names,
    level_rules,
)
from mfenvs.games.levels.two_forms import TwoForms
from mfenvs.rule_checks import check_arguments

GRID, CONTINUOUS = "grid", "continuous"
MOST_LEVELS = 2**16
"""Largest number of levels on a grid: a uniform draw has 2^24 values."""
MOST_COMPONENTS = 16
"""Largest number of components of a state."""
LARGEST = 1e9
"""Largest number in a payoff: rewards are in single precision."""
BINS, MOST_PLACES = 20, 64
"""Number of bins in which others see a continuous level; largest number of places of states of several levels."""


class ContinuousLevels(Game):
    """The continuous form of a game of levels: levels are numbers in [0, 1], in single precision."""

    n_components: int

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """float32, or with d > 1 components a record of a float32 ``level_<c>_of_<d>`` for each."""
        if self.n_components == 1:
            return np.dtype(np.float32)
        return np.dtype([(name, np.float32) for name in level_names(self.n_components)])

    @property
    def n_bins(self) -> int:
        """Number of bins in which others see a level."""
        return BINS if self.n_components == 1 else max(2, int(MOST_PLACES ** (1 / self.n_components) + 1e-9))

    @property
    def n_places(self) -> int:
        """Number of combinations of bins."""
        return int(self.n_bins**self.n_components)

    @property
    def form(self) -> Form:
        """How a state holds levels."""
        return continuous_form(self.n_components, self.n_bins)

    def levels_of(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """The levels in states of this game, in [0, 1], shape (*states.shape, n_components)."""
        names = states.dtype.names
        return np.stack([states[name] for name in names] if names else [states], axis=-1).astype(np.float64)

    def place_name(self, place: int) -> str:
        """The ranges of the levels."""
        bins = [place // self.n_bins**component % self.n_bins for component in range(self.n_components)]
        return ", ".join(f"{i / self.n_bins:.2g}-{(i + 1) / self.n_bins:.2g}" for i in bins)

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.Game.check_snapshot`; levels must be in [0, 1]."""
        super().check_snapshot(states, signal)
        for field in states.dtype.names or ("",):
            levels, name = states[field] if field else states, f"snapshot.states{field and f'[{field!r}]'}"
            outside = (levels < 0.0) | (levels > 1.0)
            if outside.any():
                where = tuple(int(i) for i in np.argwhere(outside)[0])
                raise ValueError(f"{name} must hold levels in [0, 1], got {levels[where]} at {list(where)}")


class GridLevels(FiniteGame):
    """The finite form of a game of levels: the state is sum_c s_c n_levels^c, of the cells s_c of its levels."""

    n_levels: int
    n_components: int
    n_actions: int
    offset: np.float32
    rise: ClassVar[Rule]
    remedy: ClassVar[str]

    def check(self) -> None:
        """Check that there are not too many pairs of a state and an action."""
        n_pairs = self.n_states * self.n_actions
        if n_pairs > MAX_CELLS:
            most = int((MAX_CELLS / self.n_actions) ** (1 / self.n_components) + 1e-9)
            allowed = (
                f"n_levels must be at most {most} on this grid" if most > 1 else "states must be 'continuous'"
            )
            raise ValueError(
                f"{allowed}: {self.n_levels} ** {self.n_components} states and {self.n_actions} actions make"
                f" {n_pairs:.2g} pairs, more than {MAX_CELLS}. Take {self.remedy}"
            )
        super().check()

    @property
    def n_states(self) -> int:
        """n_levels to the power of the number of components."""
        return int(self.n_levels**self.n_components)

    @property
    def state_levels(self) -> NDArray[np.float64]:
        """The level of every component in every state, shape (n_states, n_components)."""
        return self.levels_of(np.arange(self.n_states))

    def levels_of(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """The levels in states of this game, in [0, 1], shape (*states.shape, n_components)."""
        numbers = states.astype(np.int64)
        cells = [numbers // self.n_levels**component % self.n_levels for component in range(self.n_components)]
        return np.stack(cells, axis=-1) / (self.n_levels - 1)

    @property
    def form(self) -> Form:
        """How a state holds levels."""
        return grid_form(self.n_components, self.offset)

    @property
    def transition(self) -> Rule:
        """The rule of the law of the next state."""
        return law_of_cells(self.form, self.rise, self.n_components, self.offset)

    def state_name(self, state: int) -> str:
        """The levels of a state."""
        return ", ".join(f"{level:.4g}" for level in self.levels_of(np.array(state)))


class _LevelRule:
    """A rule of a game of levels, which depends on the game's form and number of components."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, game: Any, owner: type | None = None) -> Any:
        return self if game is None else getattr(game.level_rules, self._name)


@dataclasses.dataclass(kw_only=True)
class LevelGame(TwoForms):
    """A game whose local state is one or more levels in [0, 1].

    A subclass declares the fields ``states`` and ``n_levels``, ``n_components``, ``n_actions``, ``offset``, the
    rules ``rise`` and ``component_reward`` (:mod:`mfenvs.games.levels.rules`) and ``constants``, a named tuple
    with the fields ``n_levels`` and ``top``, which is ``n_levels - 1`` in single precision.

    The initial levels are independent and uniform. The population enters by the mean levels of all agents only.
    """

    n_levels: int
    """Number of levels of a component on a grid: 0, 1/(n_levels - 1), ..., 1."""

    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    forms = {GRID: GridLevels, CONTINUOUS: ContinuousLevels}
    offset: ClassVar[np.float32]
    """What is added to a new level, in cells of the grid, before it is rounded down."""
    form: ClassVar[Any]
    """How a state holds levels."""
    levels_of: ClassVar[Any]
    """The levels in an array of states, in [0, 1], shape (*states.shape, n_components)."""
    remedy: ClassVar[str] = "fewer levels, or states='continuous'"
    """What to do if a grid is too large."""
    rise: ClassVar[Rule]
    start: ClassVar[Any] = _LevelRule()
    step: ClassVar[Any] = _LevelRule()
    observe: ClassVar[Any] = _LevelRule()
    count: ClassVar[Any] = _LevelRule()
    place: ClassVar[Any] = _LevelRule()
    reward: ClassVar[Any] = _LevelRule()

    def check(self) -> None:
        """Check the number of levels and the rules."""
        self.n_levels = checks.integer("n_levels", self.n_levels, 2, MOST_LEVELS)
        super().check()

    @property
    def component_reward(self) -> Rule:
        """The rule of the reward for a component."""
        raise TypeError(f"{type(self).__name__} must declare component_reward")

    @property
    def n_components(self) -> int:
        """Number of levels of a state."""
        return 1

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        raise TypeError(f"{type(self).__name__} must declare n_actions")

    @property
    def component_names(self) -> tuple[str, ...]:
        """What the levels are, for pictures."""
        return ("level",)

    @property
    def level_rules(self) -> LevelRules:
        """The rules of this form of the game."""
        return level_rules(self.form, self.rise, self.component_reward, self.n_components, not self.is_infinite)

    @property
    def initial(self) -> NDArray[np.float32]:
        """The number of levels, shape (1,)."""
        return np.array([self.n_levels], np.float32)

    @property
    def n_cells(self) -> int:
        """One for every component: in it, levels are added up."""
        return self.n_components

    @property
    def n_features(self) -> int:
        """The own levels, and the elapsed time in a game that ends."""
        return self.n_components + (not self.is_infinite)

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Discrete(n_actions)."""
        return gymnasium.spaces.Discrete(self.n_actions)


def check_component_rule(game: LevelGame, name: str, arguments: tuple[str, ...]) -> None:
    """Check a rule that a user gave as the constant ``name``, where None stands for the game's own.

    Raises
    ------
    TypeError
        If it is no rule, or takes other arguments.
    """
    function = getattr(game, name)
    if function is None:
        return
    if not isinstance(function, Dispatcher):
        raise TypeError(
            f"{name} must be None or a rule {name}({', '.join(arguments)}), a function under @mfenvs.rule, got"
            f" {checks.shown(function)}"
        )
    check_arguments(game, name, function, arguments)
