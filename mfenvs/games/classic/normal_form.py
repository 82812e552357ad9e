"""Normal-form games of a population: one choice among three actions, whose payoffs depend on their shares."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import ClassicGame
from mfenvs.rules import rule, share

PAYOFFS = ("cooperation", "dominated", "biased rock-paper-scissors")
COOPERATION, DOMINATED = 0, 1


class Payoffs(NamedTuple):
    """The constants of the normal-form game, as its rules read them."""

    which: int
    """Number of the payoffs in :data:`PAYOFFS`."""


@dataclasses.dataclass(kw_only=True)
class NormalForm(ClassicGame):
    """Normal form: one choice among three actions, with payoffs that depend on how many choose each.

    ``mean_field_nfg`` of OpenSpiel; tags as in :mod:`mfenvs.games`.

    One state, one step, actions 0, 1, 2, chosen by shares a, b, c of the others. ``payoffs`` [S]:

    ``"cooperation"``
        10 a - (200/9) (a - c) c - 20 b, 20 (a - b) - 2380 c, (2000/9) (a - c) c. Uniform policy: exploitability
        265.555556.
    ``"dominated"``
        a + c, b, a + c - .25. Uniform policy: exploitability .194444.
    ``"biased rock-paper-scissors"``
        v_b - v_c, v_c - v_a, v_a - v_b with v = (.7 a, .5 b, .3 c). Uniform policy: exploitability .066667.
    """

    horizon: int = 1
    """Number of steps H [S]."""
    payoffs: str = "cooperation"
    """Which payoffs are played [S]."""

    n_states = 1
    n_actions = 3

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action) = 1."""
        return 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(action, shares)."""
        a, b, c = share(world, 0), share(world, 1), share(world, 2)
        first = 10.0 * a - 200.0 / 9.0 * (a - c) * c - 20.0 * b
        second, third = 20.0 * (a - b) - 2380.0 * c, 2000.0 / 9.0 * (a - c) * c
        cooperation = first if action == 0 else (second if action == 1 else third)
        dominated = b if action == 1 else a + c - (0.25 if action == 2 else 0.0)
        rock, paper, scissors = 0.7 * a, 0.5 * b, 0.3 * c
        with_rock, with_paper, with_scissors = paper - scissors, scissors - rock, rock - paper
        biased = with_rock if action == 0 else (with_paper if action == 1 else with_scissors)
        which = world.constants.which
        return cooperation if which == COOPERATION else (dominated if which == DOMINATED else biased)

    def check(self) -> None:
        """Check that the payoffs are known."""
        self.payoffs = checks.choice("payoffs", self.payoffs, PAYOFFS)
        super().check()

    @property
    def constants(self) -> Payoffs:
        """Which payoffs are played."""
        return Payoffs(PAYOFFS.index(self.payoffs))
