"""Approximate best responses: a deviator, trained by PPO against a population that does not learn.

Several deviators may be trained, of which the best is taken.
"""

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

from .hyper_parameters import checked_callback
from .ppo import PPO

MINIBATCHES = 8
"""Number of minibatches in a pass over a rollout: 128000 rows in minibatches of 16384 (Yardim & He, arXiv
2408.15173)."""


@dataclasses.dataclass(frozen=True)
class BestResponse:
    """A trained deviation from a population's policy, and its gain."""

    gain: Estimate
    """Mean gain of the deviator over playing the population's policy, in total reward per episode, with its
    standard error. It is estimated in paired simulations whose random numbers differ from those of the training.
    Its expected value is a lower bound on the exploitability of ``agent``, or, if that is None, on the mean
    exploitability over all agents."""
    policy: PPO
    """The deviator's trained policy."""
    agent: int | None
    """Index of the deviating agent; None if deviating agents were drawn uniformly."""
    tried: tuple[Estimate, ...] = ()
    """Gains of all trained deviators, among whom that of ``policy`` is the largest, in the worlds in which they
    were compared: those are not the worlds of ``gain``, to which the choice would add a bias. Empty if there was
    a single one."""


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
    n_deviators: int = 1,
    seed: int = 0,
    callback: MaybeCallback = None,
    simulation_device: Any = "cpu",
    **hyper_parameters: Any,
) -> BestResponse:
    """Train a deviator by PPO against a population that plays ``policy``, and measure its gain.

    The deviator learns in the representative-agent environment (:class:`mfenvs.api.sb3.RepresentativeVecEnv`). It
    is evaluated in worlds that it has not seen, each with a single deviator, beside the same worlds without it.
    However well it has learned, the mean gain is an unbiased estimate of a lower bound on exploitability; how
    tight the bound is, is not known. Yardim & He (arXiv 2408.15173) describe no such procedure for A-Taxi: all
    defaults are our own choice [O].

    Parameters
    ----------
    game:
        A game with discrete actions, or the name of a registered one.
    policy:
        The population's policy, of any kind that :class:`mfenvs.play.Player` takes.
    agent:
        Index of the deviating agent; None draws one in each episode: the bound is then on the mean over agents.
    total_timesteps:
        Length of the training of a deviator: number of its steps in all worlds together, those of other agents
        that learn the same policy included.
    n_worlds:
        Number of worlds that are simulated together in training.
    deviators_per_world:
        Number of deviators in each world of the training; by default 1 if ``agent`` is given, else one in fifty
        agents, at least 1 and at most 16. More than one disturb each other, which makes the bound less tight, but
        no less valid.
    evaluation_worlds:
        Number of worlds of the paired evaluation, at least 2.
    observe:
        Observation blocks that the deviator sees beside its own observation; by default those of ``policy``.
    warm_start:
        Whether the deviator begins with the networks of ``policy``, if that is a :class:`baselines.PPO` of the
        same shape. Of several deviators only the first does: the others look elsewhere.
    n_deviators:
        Number of deviators that are trained one after the other, each with random numbers of its own. The one that
        gains most in ``evaluation_worlds`` worlds is taken, and evaluated in as many others.
    seed:
        Random seed of the training and the evaluation.
    callback:
        Callback of the training, as of SB3's ``learn``.
    simulation_device:
        Device on which worlds are simulated, as of :class:`mfenvs.Engine`, in training and in evaluation. Every
        step copies all agents' actions there, and their rewards and observations from there.
    hyper_parameters:
        Hyper-parameters of :class:`baselines.PPO` by name; ``device`` is that of the networks.

    Returns
    -------
    The gain with its standard error, and the deviator's policy.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    ImportError, RuntimeError
        If the software for a device is not installed, or there is no such device.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 2 (exploitability of the N-player game).
    """
    made = make(game)
    total_timesteps = checks.integer("total_timesteps", total_timesteps, 1)
    evaluation_worlds = checks.integer("evaluation_worlds", evaluation_worlds, 2)
    seed = checks.integer("seed", seed, 0)
    warm_start = checks.boolean("warm_start", warm_start)
    n_deviators = checks.integer("n_deviators", n_deviators, 1)
    callback = checked_callback(callback)
    if deviators_per_world is None:
        deviators_per_world = max(1, min(16, made.n_agents // 50)) if agent is None else 1
    most = made.n_agents if agent is None else 1
    deviators_per_world = checks.integer("deviators_per_world", deviators_per_world, 1, most)
    seen: Observe = getattr(policy, "observe", ()) if observe is None else observe
    training_seed, evaluation_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))

    def trained(number: int) -> PPO:
        """The deviator of this number, counted from 0."""
        env = RepresentativeVecEnv(
            made, policy, agent, n_worlds, deviators_per_world, observe=seen, device=simulation_device
        )
        batch_size = max(2, made.horizon * env.num_envs // MINIBATCHES)
        own_seed = training_seed + number
        learner = PPO("MlpPolicy", env, seed=own_seed, **{"batch_size": batch_size, **hyper_parameters})
        if warm_start and number == 0 and isinstance(policy, PPO) and type(policy.policy) is type(learner.policy):
            wanted = {name: value.shape for name, value in learner.policy.state_dict().items()}
            if wanted == {name: value.shape for name, value in policy.policy.state_dict().items()}:
                learner.policy.load_state_dict(policy.policy.state_dict())
        learner.learn(total_timesteps, callback)
        return learner

    def gain_of(learner: PPO, worlds_seed: int) -> Estimate:
        return deviation_gain(
            *(made, policy, learner),
            agent=agent,
            observe=seen,
            n_worlds=evaluation_worlds,
            seed=worlds_seed,
            device=simulation_device,
        )

    learners = [trained(number) for number in range(n_deviators)]
    tried: tuple[Estimate, ...] = ()
    best = learners[0]
    if n_deviators > 1:
        tried = tuple(gain_of(learner, evaluation_seed + 1) for learner in learners)
        best = learners[int(np.argmax([gain.value for gain in tried]))]
    return BestResponse(gain_of(best, evaluation_seed), best, agent, tried)
