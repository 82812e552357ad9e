"""What the speed table compares with: A-SIS in plain numpy, and MFGLib's two games written as games of mfenvs."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame, rule, share


class NumpyEpidemic:
    """A-SIS in plain vectorised numpy: what a careful user would write; a peer, not part of the package."""

    def __init__(self, game: FiniteGame) -> None:
        self.rng = np.random.default_rng(0)
        self.agents = game.agents
        self.n = game.n_agents
        self.states = self.rng.integers(0, 2, self.n)

    def step(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Take one step and return the rewards."""
        infected = self.states == 0
        out = actions == 1
        others = ((infected & out).sum() - (infected & out)) / (self.n - 1)
        chance = np.where(
            infected, 1 - self.agents.recovery, np.where(out, self.agents.susceptibility * others, 0.0)
        )
        rewards = -(infected.astype(np.float32)) - self.agents.aversion * ~out
        self.states = (self.rng.random(self.n) >= chance).astype(np.int64)
        return rewards  # type: ignore[no-any-return]


class NumpyEpidemicWithObservations(NumpyEpidemic):
    """A-SIS in plain numpy with float32 observations and flags, as a vector environment returns them."""

    def step(self, actions: NDArray[Any]) -> Any:
        """Take one step and return (observations, rewards, terminations, truncations, infos)."""
        rewards = super().step(actions)
        observations = np.zeros((self.n, 3), np.float32)
        observations[np.arange(self.n), self.states] = 1.0
        observations[:, 2] = 0.5
        return observations, rewards, np.zeros(self.n, bool), np.zeros(self.n, bool), {}


@dataclasses.dataclass(kw_only=True)
class LibraryRockPaperScissors(FiniteGame):
    """MFGLib's rock-paper-scissors: state 0 is the start, states 1, 2, 3 are the last action."""

    n_agents: int = 1000
    horizon: int = 2
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_states = 4
    n_actions = 3

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The next state is the action, with certainty."""
        return 1.0 if next_state == action + 1 else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Wins 2, 4, 6 and losses 1, 2, 3 times the shares of the population's states."""
        rock = share(world, 3) + share(world, 4) + share(world, 5)
        paper = share(world, 6) + share(world, 7) + share(world, 8)
        scissors = share(world, 9) + share(world, 10) + share(world, 11)
        as_scissors = 6.0 * paper - 3.0 * rock if state == 3 else 0.0
        as_paper = 4.0 * rock - 2.0 * scissors if state == 2 else as_scissors
        return 2.0 * scissors - paper if state == 1 else as_paper

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """All agents begin in the start state."""
        return np.array([1.0, 0.0, 0.0, 0.0])


@dataclasses.dataclass(kw_only=True)
class LibraryEpidemic(FiniteGame):
    """MFGLib's SIS: states susceptible, infected; actions go out, distance."""

    n_agents: int = 1000
    horizon: int = 51
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Infection with a probability that grows with the share of infected, recovery with probability 0.3."""
        caught = 0.81 * (share(world, 2) + share(world, 3)) if action == 0 else 0.0
        infected = 0.7 if state == 1 else caught
        return infected if next_state == 1 else 1.0 - infected

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Minus one if infected, minus one half for keeping distance."""
        return -(1.0 if state == 1 else 0.0) - (0.5 if action == 1 else 0.0)

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The initial distribution that MFGLib has by default."""
        return np.array([0.4, 0.6])
