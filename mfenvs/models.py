"""Policies that act on observations, and models of Stable-Baselines3 and sb3-contrib as such policies.

A model's ``predict`` expects its inputs as in training: observations normalised by ``VecNormalize``, action masks,
the memory of a recurrent network. This module rebuilds these inputs from the model alone, and refuses models whose
environment changed observations or actions in a way that it cannot rebuild. Neither package is imported here.
"""

import contextlib
import inspect
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo.utils.wrappers import BaseParallelWrapper, BaseWrapper

from mfenvs.engine.engine import Engine

Rows = NDArray[np.float32]
"""Observations, shape (n_rows, width)."""

TRANSPARENT = {
    "gymnasium": (
        "Autoreset",
        "DictInfoToList",
        "HumanRendering",
        "OrderEnforcing",
        "PassiveEnvChecker",
        "RecordEpisodeStatistics",
        "RecordVideo",
        "RenderCollection",
        "TimeLimit",
    ),
    "mfenvs": ("ScaledRewards",),
    "pettingzoo": ("AssertOutOfBoundsWrapper", "OrderEnforcingWrapper"),
    "stable_baselines3": ("Monitor", "VecCheckNan", "VecMonitor", "VecVideoRecorder"),
    "supersuit": ("SB3VecEnvWrapper", "aec_reward_lambda"),
}
"""Wrappers that leave observations and actions as they are, by package."""

INNER = ("venv", "env", "vector", "par_env", "aec_env", "gym_env", "envs", "vec_envs")
"""Attributes in which wrappers and vector environments keep what they wrap."""


@runtime_checkable
class ObservationPolicy(Protocol):
    """A policy that returns the probabilities of its actions, given the agents' observations.

    An attribute ``observe`` names the observation blocks that it expects beside an agent's own observation.
    """

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[Any]:
        """Return the probabilities of each row's actions.

        Parameters
        ----------
        observations:
            Shape (n_worlds * n_agents, width), ordered by world, then by agent: a policy may treat agents
            differently.

        Returns
        -------
        Probabilities, shape (n_worlds * n_agents, n_actions); rows sum to one.
        """


def environment_layers(model: Any) -> list[Any]:
    """The training environment of a model and the ones that it wraps, from the outside in; [] if there is none."""
    layers: list[Any] = []
    find = getattr(model, "get_env", None)
    env = find() if callable(find) else None
    while env is not None and not any(env is layer for layer in layers):
        layers.append(env)
        # Not by getattr(), which wrappers pass on to the environment that they wrap.
        kept = vars(env) if hasattr(env, "__dict__") else {}
        env = next((kept[name] for name in INNER if kept.get(name) is not None), None)
        if isinstance(env, list | tuple):
            env = env[0] if env else None
    return layers


def observed_blocks(policy: Any) -> Any:
    """The observation blocks that a policy expects: its attribute ``observe``, else its training environment's."""
    if hasattr(policy, "observe"):
        return policy.observe
    inside_out = reversed(environment_layers(policy))
    # An AECEnv of PettingZoo has a method of that name.
    found = (layer.observe for layer in inside_out if "observe" in dir(layer) and not callable(layer.observe))
    return next(found, ())


class TrainedOn:
    """The spaces and the normalisation of observations of a policy's training, as far as the policy holds them.

    Parameters
    ----------
    policy:
        A model with the interface of Stable-Baselines3, or any other policy, about which nothing is assumed.
    name:
        Name of the policy in error messages.

    Raises
    ------
    TypeError, ValueError
        If the training environment changed observations or actions in a way that cannot be rebuilt, or the model
        was trained under ``VecNormalize`` and comes without it.
    """

    def __init__(self, policy: Any, name: str) -> None:
        self._policy, self._name = policy, name
        layers = environment_layers(policy)
        for layer in layers:
            _refuse_unknown(layer, name)
        if sum(map(_is_vec_normalize, layers)) > 1:
            raise TypeError(f"{name} was trained under two VecNormalize, which cannot be rebuilt: use one")
        find = getattr(policy, "get_vec_normalize_env", None)
        self._vec_normalize = find() if callable(find) else None
        # SB3's on-policy models have this attribute set only by training under VecNormalize, and save it.
        remembers = getattr(policy, "_last_original_obs", None) is not None and hasattr(
            policy, "rollout_buffer_class"
        )
        if self._vec_normalize is None and remembers and callable(find):
            raise ValueError(
                f"{name} was trained under VecNormalize, whose statistics a saved model does not hold: load it"
                " with them, PPO.load(path, env=VecNormalize.load(path_of_statistics, venv))"
            )

    def check_spaces(self, observation: gymnasium.Space[Any], action: gymnasium.Space[Any], observe: Any) -> None:
        """Raise a ValueError if the policy was trained on observations or actions of another shape."""
        seen = getattr(self._policy, "observation_space", None)
        if isinstance(seen, gymnasium.Space) and seen.shape != observation.shape:
            raise ValueError(
                f"{self._name} was trained on observations of shape {seen.shape}, but agents observe"
                f" {observation.shape} with observe={_names(observe)}: give observe= as in training (a loaded"
                " model does not know it), or is it another game?"
            )
        chosen = getattr(self._policy, "action_space", None)
        if isinstance(chosen, gymnasium.Space) and _size(chosen) != _size(action):
            raise ValueError(f"{self._name} was trained to act in {chosen}, but actions of this game are {action}")

    def normalised(self, observations: Rows) -> Rows:
        """Observations normalised as in training, with the normalisation's present statistics."""
        if self._vec_normalize is None:
            return observations
        normalised: Rows = self._vec_normalize.normalize_obs(observations)
        return normalised


class NetworkLaws:
    """Action probabilities of a stock model with discrete actions and without memory.

    Actor-critics (PPO, A2C, MaskablePPO) act by the probabilities of their network. All others (DQN, QR-DQN) take
    their best action: exploration in training is not part of the learned policy.

    Parameters
    ----------
    network:
        The model's policy network, as :func:`stock_network` finds it.
    trained_on:
        The spaces and the normalisation of the model's training.
    """

    def __init__(self, network: Any, trained_on: TrainedOn) -> None:
        self._network, self._trained_on = network, trained_on
        self._n_actions = int(network.action_space.n)
        self._is_stochastic = hasattr(network, "get_distribution")
        self.takes_masks = self._is_stochastic and "action_masks" in _parameters(network.get_distribution)
        """Whether the network was trained with action masks."""

    def __call__(self, observations: Rows, masks: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """The probabilities of each row's actions, shape (n_rows, n_actions).

        Parameters
        ----------
        observations:
            As the game gives them, shape (n_rows, width).
        masks:
            Action masks, shape (n_rows, n_actions), if the network takes masks: True for an allowed action.
        """
        rows = self._trained_on.normalised(observations)
        if not self._is_stochastic:
            best = self._network.predict(rows, deterministic=True)[0]
            greedy: NDArray[np.float32] = np.eye(self._n_actions, dtype=np.float32)[best]
            return greedy
        torch = sys.modules["torch"]
        self._network.set_training_mode(False)
        with torch.no_grad():
            tensor, _ = self._network.obs_to_tensor(rows)
            masked = {"action_masks": masks} if self.takes_masks else {}
            laws: NDArray[np.float32] = (
                self._network.get_distribution(tensor, **masked).distribution.probs.cpu().numpy()
            )
        return laws


def stock_network(policy: Any) -> Any:
    """The network of a stock model that :class:`NetworkLaws` can evaluate; None for any other policy.

    Models with a ``predict`` of their own, recurrent models, and models without discrete actions are not stock
    models.
    """
    base, policies = (sys.modules.get(f"stable_baselines3.common.{name}") for name in ("base_class", "policies"))
    if base is None or policies is None:
        return None
    network = policy.policy if isinstance(policy, base.BaseAlgorithm) else policy
    if not isinstance(network, policies.BasePolicy):
        return None
    if not isinstance(network.action_space, gymnasium.spaces.Discrete):
        return None
    for each in (policy, network):
        if type(each).predict.__module__.partition(".")[0] not in ("stable_baselines3", "sb3_contrib"):
            return None
    law = getattr(network, "get_distribution", None)
    needed = [p.name for p in _parameters(law).values() if p.default is p.empty] if law else []
    return network if len(needed) <= 1 and "lstm_states" not in needed else None


class Predictions:
    """Actions of a policy's ``predict``, which is called as in training.

    ``predict`` is given ``action_masks`` if it takes them, and ``state`` and ``episode_start`` if it takes those:
    the state that it returns is kept from step to step of an episode. What it draws from the global generators of
    torch and NumPy follows from the engine's seed, episode, first world and time, and from the policy's name.

    Parameters
    ----------
    policy:
        An object with ``predict(observations, ...) -> (actions, state)``.
    trained_on:
        The spaces and the normalisation of the policy's training.
    action_shape:
        The shape of one agent's action: () if actions are discrete.
    name:
        Name of the policy in error messages.
    """

    def __init__(self, policy: Any, trained_on: TrainedOn, action_shape: tuple[int, ...], name: str) -> None:
        self._predict, self._trained_on, self._name = policy.predict, trained_on, name
        self._action_shape = action_shape
        parameters = _parameters(policy.predict)
        self.takes_masks = "action_masks" in parameters
        self._takes_state = "state" in parameters
        self._takes_start = "episode_start" in parameters
        self._before: Any = None
        self._after: Any = None
        self._when: tuple[Engine | None, int, int] = (None, -1, -1)
        """Engine, episode and time of the last call."""

    def __call__(self, engine: Engine, observations: Rows, masks: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """The actions of the rows, shape (n_rows,), followed by the shape of a Box.

        Parameters
        ----------
        engine:
            The engine in which the rows act, now.
        observations:
            As the game gives them, shape (n_rows, width).
        masks:
            Action masks, shape (n_rows, n_actions), if ``predict`` takes masks: True for an allowed action.

        Raises
        ------
        TypeError, ValueError
            If ``predict`` returns anything else than actions and a state, or a state although it takes none.
        RuntimeError
            If a policy with memory has missed steps of the episode.
        """
        asked: dict[str, Any] = {"action_masks": masks} if self.takes_masks else {}
        has_gap = False
        if self._takes_state:
            asked["state"], has_gap = self._recalled(engine)
        if self._takes_start:
            asked["episode_start"] = np.full(len(observations), engine.time == 0)
        with _seeded(*engine.drawing_key, zlib.crc32(self._name.encode())):
            answer = self._predict(self._trained_on.normalised(observations), **asked)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"predict of {self._name} must return (actions, state), got {answer!r}")
        actions, state = answer
        if state is not None and not self._takes_state:
            raise TypeError(
                f"predict of {self._name} returns a state, which it must be given back in the next step: let it"
                " take an argument state"
            )
        if state is not None and has_gap:
            raise RuntimeError(
                f"{self._name} has a memory and must act in every step of an episode, got time {engine.time}"
                f" without time {engine.time - 1}"
            )
        expected = (len(observations), *self._action_shape)
        chosen = np.asarray(actions)
        if chosen.size != np.prod(expected):
            raise ValueError(
                f"predict of {self._name} must return actions of shape {expected}, got {chosen.shape}"
            )
        self._after = state
        self._when = engine, engine.episode, engine.time
        return chosen.reshape(expected)

    def _recalled(self, engine: Engine) -> tuple[Any, bool]:
        """The state for the prediction now, and whether the last step was missed.

        A second prediction for the same step starts from the same state.
        """
        where, episode, time = self._when
        is_here = where is engine and episode == engine.episode
        if is_here and time == engine.time:
            return self._before, False
        goes_on = is_here and time == engine.time - 1
        self._before = self._after if goes_on else None
        return self._before, engine.time > 0 and not goes_on


@contextlib.contextmanager
def _seeded(*entropy: int) -> Iterator[None]:
    """Seed the global generators of NumPy, and of torch if it is loaded; in the end they are as they were."""
    words = np.random.SeedSequence(entropy).generate_state(2)
    torch = sys.modules.get("torch")
    generators: list[Any] = []
    if torch is not None:
        # torch.manual_seed() would also queue a call for GPUs that are not in use.
        generators = [torch.default_generator]
        generators += torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    before = np.random.get_state()  # noqa: NPY002 - it is others who draw from it
    states = [generator.get_state() for generator in generators]
    try:
        np.random.seed(words[0])  # noqa: NPY002
        for generator in generators:
            generator.manual_seed(int(words[1]))
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _refuse_unknown(layer: Any, name: str) -> None:
    """Raise a TypeError if a layer of a training environment may change observations or actions unknown to us."""
    if isinstance(layer, gymnasium.RewardWrapper | gymnasium.vector.VectorRewardWrapper):
        return
    kinds = [
        *_vec_env_wrappers(),
        gymnasium.Wrapper,
        gymnasium.vector.VectorWrapper,
        BaseParallelWrapper,
        BaseWrapper,
    ]
    changing: Any = None
    if isinstance(layer, tuple(kinds)):
        package = type(layer).__module__.partition(".")[0]
        known = type(layer).__name__ in TRANSPARENT.get(package, ())
        changing = None if known or _is_vec_normalize(layer) else type(layer).__name__
    elif type(layer).__name__ == "SubprocVecEnv" and not layer.closed:
        # Its environments are in other processes.
        for kind in (gymnasium.ObservationWrapper, gymnasium.ActionWrapper):
            changing = changing or (kind.__name__ if any(layer.env_is_wrapped(kind)) else None)
    if changing is not None:
        raise TypeError(
            f"{name} was trained in an environment wrapped in {changing}, which may change what it observes or"
            " does, and cannot be rebuilt here: pass an object whose predict(observations) does what the wrapper"
            " did and asks the model"
        )


def _vec_env_wrappers() -> Iterator[type]:
    module = sys.modules.get("stable_baselines3.common.vec_env")
    if module is not None:
        yield module.VecEnvWrapper


def _is_vec_normalize(layer: Any) -> bool:
    module = sys.modules.get("stable_baselines3.common.vec_env")
    return module is not None and isinstance(layer, module.VecNormalize)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name; empty if they are unknown."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _size(space: gymnasium.Space[Any]) -> Any:
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else (type(space), space.shape)


def _names(observe: Any) -> list[str]:
    return [str(getattr(block, "name", block)) for block in observe]
