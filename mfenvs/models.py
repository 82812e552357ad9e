"""What a policy of observations is, and models of Stable-Baselines3 and sb3-contrib as such policies.

A model's ``predict`` expects what its training environment gave it: observations that ``VecNormalize`` has
normalised, action masks, the memory of a recurrent network. This module rebuilds that from the model alone, and
refuses models whose environment changed observations or actions in a way that it cannot rebuild. Neither package
is imported here.
"""

import inspect
import sys
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
    """A policy that says with which probabilities it would act, given what agents observe.

    An attribute ``observe`` names the observation blocks that it expects beside an agent's own observation.
    """

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[Any]:
        """Return the law of each row's action.

        Parameters
        ----------
        observations:
            Shape (n_worlds * n_agents, width), ordered by world, then by agent: a policy may treat agents
            differently.

        Returns
        -------
        Shape (n_worlds * n_agents, n_actions); rows sum to one.
        """


def environment_layers(model: Any) -> list[Any]:
    """The training environment of a model and all that it wraps, from the outside in; [] if it has none."""
    layers: list[Any] = []
    find = getattr(model, "get_env", None)
    env = find() if callable(find) else None
    while env is not None and not any(env is layer for layer in layers):
        layers.append(env)
        # Not by getattr(), which wrappers answer for what they wrap.
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
    """What a policy was trained on, as far as it tells: its spaces, and how observations were normalised.

    Parameters
    ----------
    policy:
        A model of Stable-Baselines3's kind, or any other policy, which is left alone.
    name:
        What error messages call it.

    Raises
    ------
    TypeError, ValueError
        If its training environment changed observations or actions in a way that cannot be rebuilt, or the model
        was trained under ``VecNormalize`` and has come without it.
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
        # Of SB3's on-policy models this is set by nothing but training under VecNormalize, and is saved.
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
        """Observations as the policy saw them in training, with the statistics as they are."""
        if self._vec_normalize is None:
            return observations
        normalised: Rows = self._vec_normalize.normalize_obs(observations)
        return normalised


class NetworkLaws:
    """The laws of the actions of a stock model with discrete actions and without memory.

    Actor-critics (PPO, A2C, MaskablePPO) act by the law of their network. All others (DQN, QR-DQN) take their best
    action: that they explore in training is no part of what they have learned.

    Parameters
    ----------
    network:
        The model's policy network, as :func:`stock_network` finds it.
    trained_on:
        What the model was trained on.
    """

    def __init__(self, network: Any, trained_on: TrainedOn) -> None:
        self._network, self._trained_on = network, trained_on
        self._n_actions = int(network.action_space.n)
        self._is_stochastic = hasattr(network, "get_distribution")
        self.takes_masks = self._is_stochastic and "action_masks" in _parameters(network.get_distribution)
        """Whether the network was trained with action masks."""

    def __call__(self, observations: Rows, masks: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """The law of each row's action, shape (n_rows, n_actions).

        Parameters
        ----------
        observations:
            As the game gives them, shape (n_rows, width).
        masks:
            Which actions are allowed, shape (n_rows, n_actions), if the network takes masks.
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
    """The network of a stock model whose laws :class:`NetworkLaws` knows; None of any other policy.

    A model that has a ``predict`` of its own, a recurrent one and one without discrete actions are none.
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
    """What a policy's ``predict`` answers, asked as in training.

    With ``action_masks`` where it takes them. With ``state`` and ``episode_start`` where it takes those: what it
    remembers is kept from step to step of an episode.

    Parameters
    ----------
    policy:
        An object with ``predict(observations, ...) -> (actions, state)``.
    trained_on:
        What it was trained on.
    action_shape:
        The shape of one agent's action: () if actions are discrete.
    name:
        What error messages call it.
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
        """The actions of the rows, shape (n_rows,), with a Box's shape behind.

        Parameters
        ----------
        engine:
            Where the rows act, at its present time.
        observations:
            As the game gives them, shape (n_rows, width).
        masks:
            Which actions are allowed, shape (n_rows, n_actions), if ``predict`` takes masks.

        Raises
        ------
        TypeError, ValueError
            If ``predict`` returns something else, or a state although it takes none.
        RuntimeError
            If a policy with memory has missed steps of the episode.
        """
        asked: dict[str, Any] = {"action_masks": masks} if self.takes_masks else {}
        has_gap = False
        if self._takes_state:
            asked["state"], has_gap = self._recalled(engine)
        if self._takes_start:
            asked["episode_start"] = np.full(len(observations), engine.time == 0)
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
        """The state with which to predict now, and whether the step before was missed.

        A step that is asked for twice is answered from the same state.
        """
        where, episode, time = self._when
        is_here = where is engine and episode == engine.episode
        if is_here and time == engine.time:
            return self._before, False
        goes_on = is_here and time == engine.time - 1
        self._before = self._after if goes_on else None
        return self._before, engine.time > 0 and not goes_on


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
    """The parameters of a function by name; none if it does not tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _size(space: gymnasium.Space[Any]) -> Any:
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else (type(space), space.shape)


def _names(observe: Any) -> list[str]:
    return [str(getattr(block, "name", block)) for block in observe]
