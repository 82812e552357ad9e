"""Predators of MAgent2 as a mean-field game: its adversarial pursuit, estimated, solved and played.

``python examples/black_box_magent2.py`` needs ``pip install magent2``. Prey move at random and are part of the
environment; the agents of the game are the predators.
"""

from typing import Any

import numpy as np
import pettingzoo
from magent2.environments import adversarial_pursuit_v4, battle_v4
from numpy.typing import NDArray

import mfenvs
from mfenvs.baselines import OnlineMirrorDescent

BESIDE = [(3, 4), (3, 5), (6, 4), (6, 5), (4, 3), (5, 3), (4, 6), (5, 6)]
"""Squares beside the two by two squares of a predator, in its view."""
N_STATES = len(BESIDE) + 5
"""Prey on one of these squares; else in sight in one of four directions; else none."""


class Predators(pettingzoo.ParallelEnv):  # type: ignore[misc]  # PettingZoo is untyped
    """The predators of adversarial pursuit, whose prey move at random."""

    metadata = {"name": "predators_v0", "render_modes": []}

    def __init__(self, **arguments: Any) -> None:
        self._env = adversarial_pursuit_v4.parallel_env(**arguments)
        self.possible_agents = [name for name in self._env.possible_agents if name.startswith("predator")]
        self._prey = [name for name in self._env.possible_agents if name.startswith("prey")]
        self.agents: list[str] = []
        self._rng = np.random.default_rng()

    def observation_space(self, agent: str) -> Any:
        """The predator's view."""
        return self._env.observation_space(agent)

    def action_space(self, agent: str) -> Any:
        """Stay, move or tag."""
        return self._env.action_space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode."""
        self._rng = np.random.default_rng(seed)
        found = self._env.reset(seed=seed, options=options)
        return self._of_predators(found)

    def step(self, actions: dict[str, int]) -> Any:
        """Move the predators as they say and the prey at random."""
        moves = self._rng.integers(self._env.action_space(self._prey[0]).n, size=len(self._prey))
        found = self._env.step({**actions, **dict(zip(self._prey, moves.tolist(), strict=True))})
        return self._of_predators(found)

    def _of_predators(self, found: Any) -> Any:
        self.agents = [name for name in self._env.agents if name.startswith("predator")]
        return tuple({name: each[name] for name in self.possible_agents if name in each} for each in found)


def where_prey_is(view: NDArray[Any], agent: str) -> int:
    """The local state: where the predator sees prey."""
    prey = view[..., 3] > 0
    for k, square in enumerate(BESIDE):
        if prey[square]:
            return k
    ways = np.argwhere(prey) - 4.5
    if not len(ways):
        return N_STATES - 1
    row, column = ways[np.abs(ways).sum(axis=1).argmin()]
    along_rows = abs(row) >= abs(column)
    return len(BESIDE) + 2 * int(not along_rows) + int((row if along_rows else column) > 0)


def main(n_episodes: int = 150, n_steps: int = 30) -> tuple[float, float]:
    """Estimate, solve and play; return what a predator earns at random and by the solution."""
    env = Predators(map_size=30, max_cycles=n_steps)
    found = mfenvs.from_parallel_env(
        env, where_prey_is, N_STATES, n_episodes=n_episodes, features="state", ridge=1e-3
    )
    print(found.summary())
    uniform = np.full((N_STATES, 13), 1 / (13 * N_STATES))
    estimates = found.at(uniform)
    best = estimates.rewards[: len(BESIDE)].argmax(axis=1)
    for k, action in enumerate(best):
        reward, error = estimates.rewards[k, action], estimates.reward_errors[k, action]
        print(f"prey on square {BESIDE[k]}: action {action} earns {reward:.3f} (standard error {error:.3f})")
    solver = OnlineMirrorDescent(found.game)
    solver.run(300)
    law = solver.policy.probabilities
    at_random, solved = found.play(None, 64), found.play(law, 64)
    print(f"return of random actions {at_random.mean_return}, predicted {at_random.predicted_return}")
    print(f"return of the solution {solved.mean_return}, predicted {solved.predicted_return}")
    gain = found.deviation_gain(law)
    print(f"a deviator from the solution gains {gain.gain}, predicted {gain.predicted_gain:.4f}")
    gain = found.deviation_gain(None)
    print(f"a deviator from random actions gains {gain.gain}, predicted {gain.predicted_gain:.4f}")
    try:
        mfenvs.from_parallel_env(battle_v4.parallel_env(map_size=16, max_cycles=200), lambda view, name: 0, 1)
    except ValueError as error:
        print("In battle_v4 agents die, so that it is refused:", error)
    return at_random.mean_return.value, solved.mean_return.value


if __name__ == "__main__":
    main()
