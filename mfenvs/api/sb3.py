"""Stable-Baselines3: all agents of all worlds as the environments of a VecEnv, without a wrapper between."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.api.population import Population
from mfenvs.game import Game

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices
except ModuleNotFoundError as error:
    raise ImportError("vec_env needs stable-baselines3: pip install 'mfenvs[baselines]'") from error


class PopulationVecEnv(VecEnv):
    """All agents of all worlds of a game: one environment per agent, ordered by world, then by agent.

    All run in lockstep. When an episode ends, at the game's horizon or cut before, the next one begins in
    the same step; the infos then hold each agent's ``terminal_observation`` and ``TimeLimit.truncated``
    (False at the horizon, where the game is really over).

    Parameters
    ----------
    game:
        A registered name, or a game.
    n_worlds:
        Number of worlds.
    observe_population:
        Append the share of all N agents in each state to every observation (finite games).
    render_mode:
        None, ``"ansi"`` or ``"rgb_array"``.
    debug:
        Check the game's probability rows in every step.
    max_episode_steps:
        Truncate episodes after so many steps, if the horizon has not come before; by default never.
    constants:
        The game's constants, such as ``n_agents=100``, if it is given by name.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(
        self,
        game: str | Game,
        n_worlds: int = 1,
        *,
        observe_population: bool = False,
        render_mode: str | None = None,
        debug: bool = False,
        max_episode_steps: int | None = None,
        **constants: Any,
    ) -> None:
        self._population = Population(
            game,
            constants,
            n_worlds,
            observe_population=observe_population,
            max_steps=max_episode_steps,
            render_mode=render_mode,
            debug=debug,
        )
        self.game = self._population.game
        self.engine = self._population.engine
        self.n_worlds = n_worlds
        self.render_mode = render_mode
        self._actions: NDArray[Any] | None = None
        super().__init__(
            self._population.n_rows, self._population.observation_space, self._population.action_space
        )

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in all worlds, with the seed given to :meth:`seed` since the last reset, if any.

        Returns
        -------
        Observations, shape (num_envs, width of the space).
        """
        # The random numbers of all worlds follow from one seed: that of the first environment.
        self._population.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return self._population.observe()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take one step in all worlds with the actions of :meth:`step_async`.

        Returns
        -------
        Observations (num_envs, width of the space), rewards and ends of episodes (num_envs,), infos.

        Raises
        ------
        RuntimeError
            Before the first reset, or without actions.
        ValueError, TypeError
            If an action is out of range or the array has the wrong shape or kind. No world has moved then.
        """
        population = self._population
        if self._actions is None:
            raise RuntimeError("step_wait() was called without actions: call step_async() first")
        actions, self._actions = self._actions, None
        rewards = population.step(actions)
        if population.is_over:
            dones = np.ones(self.num_envs, np.bool_)
            truncated = population.truncated
            infos: list[dict[str, Any]] = [
                {"terminal_observation": last, "TimeLimit.truncated": truncated} for last in population.observe()
            ]
            population.reset()
        else:
            dones = np.zeros(self.num_envs, np.bool_)
            # One empty dict for all: building one each would cost several times the step itself.
            infos = [{}] * self.num_envs
        return population.observe(), rewards, dones, infos

    def close(self) -> None:
        """Nothing to release."""

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One image, of world 0, for all environments."""
        return [self._population.render() if self.render_mode == "rgb_array" else None]

    def render(self, mode: str | None = None) -> Any:
        """World 0 since its last reset: a text (``"ansi"``), an image (height, width, 3), or None."""
        if self.render_mode == "ansi" and mode in (None, "ansi"):
            return self._population.render()
        return super().render(mode)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The value of an attribute, once for each index: all environments share it."""
        return [getattr(self, attr_name)] * self._number(indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute for all environments; ValueError if ``indices`` are not all of them."""
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ValueError(
                f"indices must be None or all {self.num_envs}, since attributes are shared, got {indices!r}"
            )
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method once, and return its result once for each index: all environments share it."""
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        return [result] * self._number(indices)

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """No environment is wrapped."""
        return [False] * self._number(indices)

    def _number(self, indices: VecEnvIndices) -> int:
        return len(list(self._get_indices(indices)))


def vec_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationVecEnv:
    """A game as a Stable-Baselines3 VecEnv: see :class:`PopulationVecEnv`."""
    return PopulationVecEnv(game, n_worlds, **kwargs)
