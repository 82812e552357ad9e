"""BenchMARL: a game as a task, for experiments with its algorithms (IPPO, MAPPO, IQL, QMIX, ...).

``Experiment(task=benchmarl_task("Epidemic-v0", n_agents=100), ...)`` trains on it. With BenchMARL's defaults one
network serves all agents of a group (parameter sharing). ``group_map="types"`` makes one group for each type of
agents.
"""

from collections.abc import Callable
from typing import Any

import gymnasium

from mfenvs.game import Game
from mfenvs.registry import make, name_of

try:
    import torch
    from benchmarl.environments.common import TaskClass
    from tensordict import TensorDictBase
    from torchrl.data import Composite
    from torchrl.envs import EnvBase
except ModuleNotFoundError as error:
    raise ImportError("benchmarl_task needs benchmarl: pip install benchmarl") from error

from mfenvs.api.torchrl import torchrl_env


class GameTask(TaskClass):  # type: ignore[misc]  # BenchMARL is untyped
    """A game as a BenchMARL task. Each of an experiment's environments is a world.

    Parameters
    ----------
    name:
        The task's name; also the game's registered name, unless ``config`` has a ``"game"``.
    config:
        The arguments of :class:`mfenvs.api.torchrl.PopulationTorchRLEnv`: the game's constants, ``observe``,
        ``group_map`` and so on.
    """

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], EnvBase]:
        """Make the function that makes ``num_envs`` worlds. The game decides on the kind of actions."""
        config = {"game": self.name, **self.config}
        return lambda: torchrl_env(n_worlds=num_envs, seed=seed, device=device, **config)

    def supports_continuous_actions(self) -> bool:
        """Whether actions are numbers of a Box."""
        return not self.supports_discrete_actions()

    def supports_discrete_actions(self) -> bool:
        """Whether actions are discrete."""
        env = self.get_env_fun(1, False, None, "cpu")()
        return isinstance(env.game.action_space, gymnasium.spaces.Discrete)

    def max_steps(self, env: EnvBase) -> int:
        """Number of steps of an episode."""
        return int(env.max_steps)

    def has_render(self, env: EnvBase) -> bool:
        """Whether the environment shows images: with ``render_mode="rgb_array"``."""
        return bool(env.render_mode == "rgb_array")

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        """Names of the agents of each group."""
        groups: dict[str, list[str]] = env.group_map
        return groups

    def observation_spec(self, env: EnvBase) -> Composite:
        """The spec of ``(group, "observation")`` for every group."""
        return _of_groups(env, "observation")

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        """The spec of ``(group, "action_mask")`` for every group, if the game has action masks."""
        return _of_groups(env, "action_mask")

    def info_spec(self, env: EnvBase) -> Composite | None:
        """None: infos are not of single agents. Experiments log their means, see :meth:`log_info`."""
        return None

    def state_spec(self, env: EnvBase) -> Composite | None:
        """The spec of ``"state"``, which centralised critics read, if the environment shows it."""
        spec = env.full_observation_spec_unbatched
        return Composite({"state": spec["state"].clone()}) if "state" in spec else None

    def action_spec(self, env: EnvBase) -> Composite:
        """The spec of ``(group, "action")`` for every group."""
        return env.full_action_spec_unbatched

    @staticmethod
    def env_name() -> str:
        """The name of the library."""
        return "mfenvs"

    @staticmethod
    def log_info(batch: TensorDictBase) -> dict[str, float]:
        """The means over a batch of what the game's infos tell, such as the share of agents in a region."""
        infos = batch.get(("next", "info"), None)
        return {} if infos is None else {f"info/{name}": float(values.mean()) for name, values in infos.items()}

    @staticmethod
    def render_callback(experiment: Any, env: EnvBase, data: TensorDictBase) -> torch.Tensor:
        """The image of world 0, shape (height, width, 3)."""
        return torch.from_numpy(env.render())


def benchmarl_task(game: str | Game, *, return_state: bool = True, **kwargs: Any) -> GameTask:
    """Make a BenchMARL task of a game.

    Parameters
    ----------
    game:
        A registered name, or a game.
    return_state:
        Whether centralised critics read the population as one vector (the mean field and the time), whose width
        does not grow with the number of agents. If False they read the observations of all agents.
    kwargs:
        Further arguments of :class:`mfenvs.api.torchrl.PopulationTorchRLEnv`: the game's constants, ``observe``,
        ``group_map``, ``max_episode_steps``, ``render_mode``.

    Returns
    -------
    A task for ``benchmarl.experiment.Experiment(task=...)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    name = name_of(make(game)) or type(game).__name__ if isinstance(game, Game) else game.removeprefix("mfenvs/")
    task = GameTask(name, {"game": game, "return_state": return_state, **kwargs})
    task.supports_discrete_actions()  # Makes an environment, which checks all arguments.
    return task


def _of_groups(env: EnvBase, key: str) -> Composite | None:
    """The spec of one entry of every group's observations, or None if they have no such entry."""
    spec = env.full_observation_spec_unbatched
    own = {group: spec[group] for group in env.group_map if key in spec[group]}
    return Composite({g: Composite({key: s[key].clone()}, shape=s.shape) for g, s in own.items()}) if own else None
