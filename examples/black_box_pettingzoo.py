"""Two of PettingZoo's environments as mean-field games: rock-paper-scissors, and pursuit by many.

``python examples/black_box_pettingzoo.py`` estimates a finite game from each, solves it, plays the policy in the
environment and measures what a deviator gains there. Both environments need pygame: ``pip install pygame-ce``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo.classic import rps_v2
from pettingzoo.sisl import pursuit_v5

import mfenvs
from mfenvs.baselines import OnlineMirrorDescent

HERE, LEFT, RIGHT, UP, DOWN, NOWHERE = range(6)
"""Where a pursuer sees the nearest evader."""


def rock_paper_scissors(n_episodes: int = 60) -> tuple[float, NDArray[np.float64]]:
    """Recover the payoffs of rock-paper-scissors from play, and return the exploitability of its solution.

    The local state is the observation itself, the opponent's last move (3 before the first). The population of the
    others is the one opponent, so that payoffs are exactly linear in it.
    """
    env = rps_v2.parallel_env(max_cycles=8)
    found = mfenvs.from_parallel_env(env, features="action", n_episodes=n_episodes)
    payoffs = np.empty((3, 3))
    for theirs in range(3):
        mu = np.zeros((4, 3))
        mu[0, theirs] = 1.0
        payoffs[:, theirs] = found.at(mu).rewards[0]
    print("payoffs of rock, paper, scissors against each of them:\n", payoffs.round(3))
    solver = OnlineMirrorDescent(found.game)
    solver.run(500)
    law = solver.policy.probabilities
    played, gain = found.play(law, n_episodes), found.deviation_gain(law, n_episodes=n_episodes)
    print(f"first move {law[0, 3].round(3)}, return {played.mean_return}, a deviator gains {gain.gain}")
    return mfenvs.InducedGame(found.game).exploitability(law), payoffs


def nearest(observation: NDArray[Any], agent: str) -> int:
    """In which direction the nearest evader is, by the longer leg of the way to it."""
    centre = observation.shape[0] // 2
    ways = np.argwhere(observation[..., 2] > 0) - centre
    if not len(ways):
        return NOWHERE
    y, x = ways[np.abs(ways).sum(axis=1).argmin()]
    if x == y == 0:
        return HERE
    if abs(x) >= abs(y):
        return LEFT if x < 0 else RIGHT
    return UP if y > 0 else DOWN


def pursuit(n_episodes: int = 40, n_steps: int = 25) -> tuple[float, float]:
    """Estimate, solve and play pursuit by eight; return what an agent earns at random and by the solution."""
    env = pursuit_v5.parallel_env(
        n_pursuers=8, n_evaders=30, shared_reward=False, tag_reward=1.0, urgency_reward=0.0, max_cycles=500
    )
    found = mfenvs.from_parallel_env(
        env, nearest, 6, features="state", horizon=n_steps, n_episodes=n_episodes, ridge=1e-3
    )
    at_random = found.play(None, n_episodes)
    print(f"return of random actions {at_random.mean_return}, predicted {at_random.predicted_return}")
    for kind in ("random policies", "the first solution too"):
        solver = OnlineMirrorDescent(found.game)
        solver.run(1000)
        law = solver.policy.probabilities
        solved, gain = found.play(law, n_episodes), found.deviation_gain(law, n_episodes=n_episodes)
        print(f"solution of what {kind} showed: return {solved.mean_return}, predicted {solved.predicted_return};")
        print(f"  a deviator gains {gain.gain}, predicted {gain.predicted_gain:.3f}")
        found = found.more_episodes([law], n_episodes)
    print("its actions (left, right, up, down, stay) at the start, with the nearest evader")
    for state, where in enumerate(("here", "left", "right", "up", "down", "nowhere")):
        print(f"  {where:8}", law[0, state].round(2))
    return at_random.mean_return.value, solved.mean_return.value


if __name__ == "__main__":
    rock_paper_scissors()
    pursuit()
