"""Episodes played in somebody's environment, under given policies and with reproducible random numbers."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.estimation.environment import Environment

Array = NDArray[np.float64]

PROBE, COLLECT, PLAY, DEVIATE = range(4)
"""What episodes are played for; each has random numbers of its own."""

MOST_EPISODES = 1_000_000
"""Largest number of episodes that are played at a time, and of games that are drawn."""
MOST_STEPS = 100_000
"""Number of steps after which an episode is taken to have no end."""


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes of N agents who all took part in all H steps."""

    states: NDArray[np.int64]
    """Local states, shape (n_episodes, H + 1, N)."""
    actions: NDArray[np.int64]
    """Actions, shape (n_episodes, H, N)."""
    rewards: Array
    """Rewards, shape (n_episodes, H, N)."""

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.states)

    def returns(self, discount: float) -> Array:
        """Total rewards, discounted by gamma^h, shape (n_episodes, N)."""
        worth = np.power(discount, np.arange(self.rewards.shape[1]))
        total: Array = np.einsum("khn,h->kn", self.rewards, worth)
        return total

    def followed_by(self, others: "Episodes") -> "Episodes":
        """These episodes and then others."""
        pairs = ((getattr(self, f.name), getattr(others, f.name)) for f in dataclasses.fields(self))
        return Episodes(*(np.concatenate(pair) for pair in pairs))

    @classmethod
    def of(cls, episodes: "list[Episodes]") -> "Episodes":
        """One object of many."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(e, name) for e in episodes]) for name in names))


def play(
    environment: Environment,
    policy: Array,
    horizon: int | None,
    seed: tuple[int, int, int],
    *,
    deviator: int | None = None,
    deviation: Array | None = None,
    must_end: bool = False,
) -> Episodes:
    """Play one episode, of ``horizon`` steps or (None) to its end.

    Parameters
    ----------
    policy:
        Probabilities of actions of all agents, shape (T, S, A), or of each, shape (N, T, S, A); at times from T on
        the last ones hold.
    seed:
        The user's seed, what the episode is for, and its number. Episodes of the same seed have the same
        environment seed, and every agent acts on the same uniform random number at the same time.
    deviator, deviation:
        Index of an agent and the policy (T, S, A) that it plays instead.
    must_end:
        Whether the episode must be over after ``horizon`` steps.

    Raises
    ------
    ValueError
        If the episode ends before ``horizon``, has no end, or goes on where it must be over.
    """
    env_seed, own_seed = np.random.SeedSequence(seed).spawn(2)
    rng, n_agents = np.random.default_rng(own_seed), environment.n_agents
    everyone = np.arange(n_agents)
    laws = np.broadcast_to(policy, (n_agents, *policy.shape[-3:]))
    limit = MOST_STEPS if horizon is None else horizon
    # Many environments take seeds of 31 bits only.
    now = environment.reset(int(env_seed.generate_state(1)[0] >> 1))
    states, actions, rewards, over = [now], [], [], False
    for time in range(limit):
        if over:
            break
        at = min(time, laws.shape[1] - 1)
        rows = laws[everyone, at, now]
        if deviator is not None and deviation is not None:
            rows[deviator] = deviation[min(time, len(deviation) - 1), now[deviator]]
        sums = rows.cumsum(axis=1)
        chosen = (rng.random((n_agents, 1)) * sums[:, -1:] >= sums[:, :-1]).sum(axis=1)
        now, earned, over = environment.step(chosen, time)
        states.append(now)
        actions.append(chosen)
        rewards.append(earned)
    if horizon is None and not over:
        raise ValueError(f"an episode of env did not end within {MOST_STEPS} steps: give horizon")
    length = len(actions)
    if horizon is not None and (length < horizon or (must_end and not over)):
        found = f"ended after {length}" if over else f"was not over after {length}"
        raise ValueError(
            f"episodes of env must have equal lengths: the first had {horizon} steps, another {found}. Give"
            " horizon, a number of steps that all episodes reach"
            if must_end
            else f"horizon must be a number of steps that all episodes of env reach, got {horizon} and an episode"
            f" that {found}"
        )
    return Episodes(*(np.stack(parts)[None] for parts in (states, actions, rewards)))
