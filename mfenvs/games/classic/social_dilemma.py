"""Social dilemma: cooperate or defect, with payoffs that are linear in the share of cooperators."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, ClassicGame
from mfenvs.rules import rule, share

COOPERATE, DEFECT = 0, 1


class Dilemma(NamedTuple):
    """The constants of the social dilemma, as its rules read them."""

    reward: float
    sucker: float
    temptation: float
    punishment: float


@dataclasses.dataclass(kw_only=True)
class SocialDilemma(ClassicGame):
    """Social dilemma: agents cooperate or defect, and earn by the share of the others who cooperate.

    The mean-field limit of the prisoner's dilemma played against everybody (Schelling, "Hockey helmets, concealed
    weapons, and daylight saving", 1973), a kind of game that OpenSpiel is about to have; tags as in
    :mod:`mfenvs.games`.

    One state, one step. Actions: 0 cooperate, 1 defect. x is the share of the other agents who cooperate.

    * cooperators earn mutual_reward x + sucker (1 - x), defectors temptation x + punishment (1 - x) [O]

    Known: with temptation > mutual_reward > punishment > sucker, the default, everybody defects; the uniform
    policy has exploitability |temptation + punishment - mutual_reward - sucker| / 4. With mutual_reward >
    temptation and punishment > sucker (a stag hunt) all cooperate or all defect. With temptation > mutual_reward
    and sucker > punishment (a snowdrift game) a share (sucker - punishment) / (sucker - punishment + temptation -
    mutual_reward) cooperates.
    """

    horizon: int = 1
    """Number of steps H [O]."""
    mutual_reward: float = 3.0
    """Payoff of a cooperator among cooperators [O]."""
    sucker: float = 0.0
    """Payoff of a cooperator among defectors [O]."""
    temptation: float = 5.0
    """Payoff of a defector among cooperators [O]."""
    punishment: float = 1.0
    """Payoff of a defector among defectors [O]."""

    action_names = ("cooperate", "defect")
    n_states = 1
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action) = 1."""
        return 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(action, share of cooperators)."""
        dilemma, others = world.constants, share(world, COOPERATE)
        cooperator = dilemma.reward * others + dilemma.sucker * (1.0 - others)
        defector = dilemma.temptation * others + dilemma.punishment * (1.0 - others)
        return cooperator if action == COOPERATE else defector

    def check(self) -> None:
        """Check the payoffs."""
        for name in ("mutual_reward", "sucker", "temptation", "punishment"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()

    @property
    def constants(self) -> Dilemma:
        """The payoffs."""
        return Dilemma(self.mutual_reward, self.sucker, self.temptation, self.punishment)
