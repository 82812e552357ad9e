"""Symmetrised PPO in the energy market, trained on other days than those on which it is compared."""

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from baselines import PPO
from mfenvs import vec_env
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.wrappers.rewards import ScaledRewards

OBSERVED = ("own-parameters", "type-means")
"""What the network sees beside agents' own observations: not who they are, but what they are like, and the mean
field by types."""

FIRST_RATE, LAST_RATE = 2e-3, 1e-4
"""Learning rate at the beginning and at the end; it falls linearly."""

PPO_SETTINGS: dict[str, Any] = {
    "n_epochs": 3,
    "batch_size": 4096,
    "gamma": 1.0,
    "gae_lambda": 0.9,
    "ent_coef": 4e-3,
    "policy_kwargs": {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": nn.Tanh},
}
"""Chosen by hand [O] in a few runs, compared on twelve days that are not test days; the paper's settings
are for its own games."""


@dataclasses.dataclass(frozen=True)
class Training:
    """How long a network is trained, and in how large a market.

    Days differ more than agents do: many small worlds, each with a day of its own, teach more than few large ones.
    """

    n_agents: int = 200
    """Number of prosumers in each world."""
    n_worlds: int = 10
    """Worlds that are played at a time, each on a day of its own."""
    n_updates: int = 1000
    """Updates of the networks, one after each episode of all worlds."""
    imbalance: str = EnergyMarket.imbalance
    """How deviations from the forecast are settled."""


class Deterministic:
    """What a network thinks best, without exploration.

    Parameters
    ----------
    model:
        The trained networks.
    """

    def __init__(self, model: PPO) -> None:
        self.model, self.observe = model, model.observe

    def predict(self, observation: NDArray[np.float32], **_: Any) -> tuple[NDArray[Any], None]:
        """Every row's action and None."""
        return self.model.predict(observation, deterministic=True)[0], None


def train(training: Training, test_days: Iterable[int], seed: int, path: Path) -> dict[str, float]:
    """Train one network on all days of the series but the test days, and save it.

    Parameters
    ----------
    training:
        How long, and in how large a market.
    test_days:
        Days of the series on which it is not trained.
    seed:
        Random seed of the networks, the episodes and the training.
    path:
        Where the model goes.

    Returns
    -------
    dict
        Seconds that it took, and agent-steps of experience.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    game = EnergyMarket(
        n_agents=training.n_agents,
        imbalance=training.imbalance,
        actions="discrete",
        excluded_days=tuple(test_days),
    )
    worlds = ScaledRewards(vec_env(game, training.n_worlds, observe=OBSERVED))
    rate = LinearSchedule(FIRST_RATE, LAST_RATE, 1.0)
    model = PPO("MlpPolicy", worlds, seed=seed, device="cpu", learning_rate=rate, **PPO_SETTINGS)
    model.learn(training.n_updates * model.n_steps * model.n_envs)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return {"seconds": time.perf_counter() - began, "agent_steps": float(model.num_timesteps)}
