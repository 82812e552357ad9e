"""Approximate best responses in games without tables: one deviator, trained against a frozen population."""

import dataclasses
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import MaybeCallback

from mfenvs import checks
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.evaluation import deviation_gain
from mfenvs.game import Game
from mfenvs.meanfield.n_player import Estimate
from mfenvs.registry import make
from mfenvs.wrappers.observations import Observe

from .ppo import PPO

MINIBATCHES = 8
"""Minibatches a pass, as the paper's 16384 of 128000 samples."""


@dataclasses.dataclass(frozen=True)
class BestResponse:
    """What :func:`approximate_best_response` found."""

    gain: Estimate
    """What the deviator gains in fresh paired simulations, in units of reward an episode: a lower bound on the
    exploitability of the agent, or on its mean over agents, with the interval of ``gain.interval``."""
    policy: PPO
    """What it plays."""
    agent: int | None
    """Who deviates; None: agents drawn uniformly."""


def approximate_best_response(
    game: Game | str,
    policy: Any,
    *,
    agent: int | None = None,
    total_timesteps: int = 500_000,
    n_worlds: int = 4,
    deviators_per_world: int | None = None,
    evaluation_worlds: int = 64,
    observe: Observe | None = None,
    warm_start: bool = True,
    seed: int = 0,
    callback: MaybeCallback = None,
    **hyper_parameters: Any,
) -> BestResponse:
    """Train one deviator by PPO against a population that plays ``policy``, and measure what it gains.

    The deviator learns in the representative-agent environment (:class:`mfenvs.api.sb3.RepresentativeVecEnv`) and
    is evaluated in worlds of seeds that it has not seen, each with a single deviator, beside the same worlds
    without it. However well it has learned, its mean gain is a lower bound on exploitability without bias; how
    tight it is is not known. The paper does not say how it would do this in A-Taxi: all defaults are ours [O].

    Parameters
    ----------
    game:
        A game, or the name of a registered one, with discrete actions.
    policy:
        What the population plays, of any kind that :class:`mfenvs.play.Player` takes.
    agent:
        Who deviates; None for an agent drawn in each episode: the bound is then on the mean over agents.
    total_timesteps:
        Steps of the deviators in training, over all worlds.
    n_worlds, deviators_per_world:
        Worlds that are simulated together in training, and deviators in each (1 if ``agent`` is given, by
        default else one in fifty agents, at most 16): more than one disturb each other, which costs tightness,
        never validity.
    evaluation_worlds:
        Worlds of the paired evaluation.
    observe:
        What the deviator sees beside its own observation; by default what ``policy`` sees.
    warm_start:
        Begin with the networks of ``policy``, if it is a :class:`baselines.PPO` of the same shape.
    seed:
        Of training and evaluation.
    callback:
        For the training, as of SB3's ``learn``.
    hyper_parameters:
        Of :class:`baselines.PPO`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    made = make(game)
    total_timesteps = checks.integer("total_timesteps", total_timesteps, 1)
    evaluation_worlds = checks.integer("evaluation_worlds", evaluation_worlds, 2)
    seed = checks.integer("seed", seed, 0)
    if deviators_per_world is None:
        deviators_per_world = max(1, min(16, made.n_agents // 50)) if agent is None else 1
    most = made.n_agents if agent is None else 1
    deviators_per_world = checks.integer("deviators_per_world", deviators_per_world, 1, most)
    seen: Observe = getattr(policy, "observe", ()) if observe is None else observe
    env = RepresentativeVecEnv(made, policy, agent, n_worlds, deviators_per_world, observe=seen)
    training_seed, evaluation_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
    batch_size = max(2, made.horizon * env.num_envs // MINIBATCHES)
    learner = PPO("MlpPolicy", env, seed=training_seed, **{"batch_size": batch_size, **hyper_parameters})
    if warm_start and isinstance(policy, PPO) and type(policy.policy) is type(learner.policy):
        wanted = {name: value.shape for name, value in learner.policy.state_dict().items()}
        if wanted == {name: value.shape for name, value in policy.policy.state_dict().items()}:
            learner.policy.load_state_dict(policy.policy.state_dict())
    learner.learn(total_timesteps, callback)
    gain = deviation_gain(
        made, policy, learner, agent=agent, observe=seen, n_worlds=evaluation_worlds, seed=evaluation_seed
    )
    return BestResponse(gain, learner, agent)
