"""The policies that are compared: rules of thumb, an equilibrium, a trained network and a planner."""

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from baselines import PPO
from baselines.market.model_predictive import ModelPredictive
from baselines.market.policies import BinnedPolicy, EveningRule, Idle, SelfConsumption
from benchmarks.reproduce.energy.protocol import Protocol, binned_market, day_market, training_market
from mfenvs import evaluate, solve, vec_env
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.wrappers.rewards import ScaledRewards

RANDOM, IDLE, GREEDY, EVENING, EQUILIBRIUM, NEURAL, PLANNER = POLICIES = (
    "random",
    "idle batteries",
    "self-consumption",
    "evening rule",
    "mean-field equilibrium",
    "symmetrised PPO",
    "receding horizon",
)
"""Names of the policies."""

OBSERVED = ("own-parameters", "type-means")
"""What the network sees beside members' own observations: not who they are, but what they are like, and the mean
field by types."""

PPO_SETTINGS: dict[str, Any] = {
    "n_epochs": 3,
    "batch_size": 4096,
    "gamma": 1.0,
    "gae_lambda": 0.9,
    "ent_coef": 4e-3,
    "learning_rate": LinearSchedule(2e-3, 1e-4, 1.0),
    "policy_kwargs": {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": nn.Tanh},
}
"""Chosen by hand in a few runs on other days [O]."""


class Deterministic:
    """A network's best action, without exploration."""

    def __init__(self, model: PPO) -> None:
        self.model, self.observe = model, model.observe

    def predict(self, observation: NDArray[np.float32], **_: Any) -> tuple[NDArray[Any], None]:
        """Every row's action and None."""
        return self.model.predict(observation, deterministic=True)[0], None


def train(protocol: Protocol, path: Path) -> dict[str, Any]:
    """Train the network on all days but the test days, save it, and return its learning curve.

    Returns
    -------
    dict
        ``timesteps``, and ``returns``: mean return of the policy without exploration on days of training with
        other weather and errors, EUR per member and day; ``idle``, that of idle batteries on the same days.
    """
    torch.set_num_threads(1)
    game = training_market(protocol)
    env = ScaledRewards(vec_env(game, protocol.ppo_worlds, observe=OBSERVED))
    model = PPO("UnitBoxPolicy", env, seed=protocol.seed, device="cpu", **PPO_SETTINGS)
    curve: dict[str, Any] = {"timesteps": [], "returns": []}
    every = max(1, protocol.ppo_updates // protocol.measured)

    def mean_return(policy: Any) -> float:
        return evaluate(game, policy, n_worlds=32, seed=protocol.seed + 1_000_000).mean_return.value

    def measure() -> None:
        if model.num_timesteps // (model.n_steps * model.n_envs) % every == 0:
            curve["timesteps"].append(float(model.num_timesteps))
            curve["returns"].append(mean_return(Deterministic(model)))

    model.after_update.append(measure)
    model.learn(protocol.ppo_updates * model.n_steps * model.n_envs)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return curve | {"idle": mean_return(Idle(game))}


def find_equilibrium(protocol: Protocol, day: int) -> dict[str, Any]:
    """The policy of least exploitability that is found in the binned game of a day, and that exploitability.

    Returns
    -------
    dict
        ``policy``, shape (H, S, A); ``exploitability``, EUR per member and day; ``method``.
    """
    found = solve(
        binned_market(protocol, day),
        tolerance=protocol.solver_tolerance,
        seconds=protocol.solver_seconds,
        seed=protocol.seed,
        clock=time.process_time,
    )
    return {"policy": found.policy, "exploitability": found.exploitability, "method": found.method}


@functools.cache
def load_network(path: Path) -> PPO:
    """A trained network; loaded once in a process."""
    model = PPO.load(path, device="cpu")
    assert isinstance(model, PPO)
    return model


def players(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, tuple[EnergyMarket, Any]]:
    """Every policy on one day, with the market in which it is played.

    Parameters
    ----------
    protocol:
        Sizes.
    day:
        Day of the series, counted from 0.
    table:
        Policy of the binned game of that day, shape (H, S, A).
    model:
        File of the trained network.
    """
    box, discrete = (day_market(protocol, day, actions) for actions in ("box", "discrete"))
    network = load_network(model)
    # A trained network's actions tell in which market it was trained.
    trained_in = discrete if hasattr(network.action_space, "n") else box
    found: dict[str, tuple[EnergyMarket, Any]] = {
        RANDOM: (box, None),
        IDLE: (box, Idle(box)),
        GREEDY: (box, SelfConsumption(box)),
        EVENING: (box, EveningRule(box)),
        EQUILIBRIUM: (discrete, BinnedPolicy(binned_market(protocol, day), np.asarray(table), discrete)),
        NEURAL: (trained_in, Deterministic(network)),
        PLANNER: (box, ModelPredictive(box)),
    }
    assert tuple(found) == POLICIES
    return found
