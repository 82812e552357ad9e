"""A small game of your own with continuous states and actions: agents on a line who like to be near the mean.

``python examples/box_actions.py`` trains one network for all agents and compares it with random actions.
"""

import dataclasses
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

import mfenvs
from mfenvs import Game, crowd, normal, register, rule, uniform
from mfenvs.baselines import PPO
from mfenvs.baselines.neural.unit_box import UnitBoxPolicy

EDGE = np.float32(2.0)
"""The line goes from -2 to 2."""


@dataclasses.dataclass(kw_only=True)
class Flock(Game):
    """Agents on a line pay for their distance to the mean of all, squared, and for moving."""

    n_agents: int = 500
    horizon: int = 20
    noise: float = 0.05
    """Standard deviation of the noise in each step."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("cost", np.float32)])
    state_dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    n_cells = 1  # all agents are counted in one cell, with their position as weight: the sum of positions
    n_signals = 1  # the mean position
    n_features = 3
    action_space: ClassVar[gymnasium.Space[Any]] = gymnasium.spaces.Box(-0.3, 0.3, (1,), np.float32)

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Position and mean position on the line, and the elapsed time."""
        return gymnasium.spaces.Box(
            np.float32([-EDGE, -EDGE, 0.0]), np.float32([EDGE, EDGE, 1.0]), dtype=np.float32
        )

    @property
    def constants(self) -> tuple[Any, ...]:
        """The noise, for the rules."""
        return (np.float32(self.noise),)

    @staticmethod
    @rule
    def start(agent: Any, initial: Any, key: Any) -> Any:
        """Somewhere between -1 and 1."""
        return np.float32(2.0) * uniform(key, 0) - np.float32(1.0)

    @staticmethod
    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        """The only cell."""
        return 0

    @staticmethod
    @rule
    def weight(state: Any, action: Any, agent: Any) -> Any:
        """The position."""
        return state

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """The mean position."""
        signal[0] = crowd(world, 0)

    @staticmethod
    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        """Move by the action and noise; pay for the distance to the mean before the step."""
        move, distance = action[0], state - world.signal[0]
        after = state + move + world.constants[0] * normal(key, 0)
        return min(max(after, -EDGE), EDGE), -distance * distance - agent.cost * move * move

    @staticmethod
    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        """The own position, the mean position before the last step (0 at first), and the elapsed time."""
        out[0], out[1], out[2] = state, public.signal[0], public.elapsed

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Costs of moving between 0 and 1."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["cost"] = rng.uniform(0.0, 1.0, self.n_agents)
        return agents


register("Flock-v0", Flock)


def main(n_iterations: int = 30) -> tuple[float, float]:
    """Train, print what random actions and the trained network earn, and return both."""
    game = mfenvs.make("Flock-v0")
    steps = game.n_agents * game.horizon
    model = PPO(UnitBoxPolicy, game, seed=0, n_steps=game.horizon, batch_size=1000, learning_rate=1e-3, gamma=0.9)
    model.learn(n_iterations * steps)
    at_random, trained = (mfenvs.evaluate(game, policy, n_worlds=16).mean_return for policy in (None, model))
    print(f"mean return of an agent: random {at_random}, trained {trained}")
    return at_random.value, trained.value


if __name__ == "__main__":
    main()
