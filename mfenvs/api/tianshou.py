"""Tianshou: all agents of a game as the environments of one vector environment.

Tianshou's own way to PettingZoo, ``PettingZooEnv``, lets one agent act at a time, and ends the episode with the
first of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import Population, checked_seed
from mfenvs.api.view import PopulationView
from mfenvs.game import Game
from mfenvs.wrappers.observations import Observe

try:
    from tianshou.data import Batch  # type: ignore[import-not-found, unused-ignore]
    from tianshou.env import BaseVectorEnv  # type: ignore[import-not-found, unused-ignore]
except ModuleNotFoundError as error:
    raise ImportError("tianshou_env needs Tianshou 2: pip install 'tianshou>=2'") from error

Ids = int | Sequence[int] | NDArray[np.integer[Any]] | None


@with_common_parameters
class PopulationTianshouEnv(PopulationView, BaseVectorEnv):  # type: ignore[misc, unused-ignore]
    """All agents of all worlds of a game: one environment per agent, ordered by world, then by agent.

    {horizon}

    Environments can therefore only be reset and stepped together: collect a multiple of ``len(env)`` steps or
    episodes. Infos are empty: they would cost more than the step.

    If the game has action masks, observations are a Batch of ``obs`` and ``mask``, as Tianshou's Q-learners take
    them.

    Parameters
    ----------
    {game}
    {n_worlds}
    {observe}
    {render_mode}
    {debug}
    {max_episode_steps}
    {device}
        Arrays are NumPy's all the same: actions are copied to the device, and what is returned from there.
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """

    def __init__(
        self,
        game: str | Game,
        n_worlds: int = 1,
        *,
        observe: Observe = (),
        render_mode: str | None = None,
        debug: bool = False,
        max_episode_steps: int | None = None,
        device: Any = "cpu",
        **constants: Any,
    ) -> None:
        # Not the base's constructor, which makes a worker for each environment.
        population = Population(
            game,
            constants,
            n_worlds,
            observe=observe,
            max_steps=max_episode_steps,
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        self._show(population)
        self.env_num = self.wait_num = population.n_rows
        self.workers: list[Any] = []
        self.waiting_conn: list[Any] = []
        self.waiting_id: list[int] = []
        self.ready_id = list(range(self.env_num))
        self.timeout = None
        self.is_async = self.is_closed = False
        self._seed: int | None = None
        self._shared = {
            "action_space": population.action_space,
            "observation_space": population.observation_space,
            "metadata": {"render_modes": [render_mode] if render_mode else []},
            "spec": None,
            "reward_range": (-float("inf"), float("inf")),
        }
        self._infos = np.array([{} for _ in range(self.env_num)])

    def seed(self, seed: int | Sequence[int] | None = None) -> list[int | None]:
        """Seed the next reset, and the action space.

        Parameters
        ----------
        seed:
            Random seed, or several, of which the first counts: the random numbers of all follow from one.

        Returns
        -------
        The seed for each environment.
        """
        first = seed if seed is None or not isinstance(seed, Sequence) else seed[0]
        self._seed = checked_seed(first)
        if self._seed is not None:
            self._population.action_space.seed(self._seed % 2**32)
        return [self._seed] * self.env_num

    def reset(
        self, env_id: Ids = None, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, NDArray[Any]]:
        """Begin an episode in all worlds; without a seed here or from :meth:`seed`, the next of the last seed.

        Parameters
        ----------
        env_id:
            None, or the numbers of all environments.
        seed:
            Random seed.
        options:
            Ignored.

        Returns
        -------
        Observations, shape (n, n_features), and infos, shape (n,).

        Raises
        ------
        ValueError
            If ``env_id`` are not all environments.
        """
        self._check_all("env_id", env_id)
        self._population.reset(self._seed if seed is None else seed)
        self._seed = None
        return self._observations(), self._infos.copy()

    def step(
        self, action: ArrayLike | None, id: Ids = None
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
        """Take one step in all worlds.

        Parameters
        ----------
        action:
            Integers of shape (n,); for a Box, numbers of shape (n, *shape of the Box).
        id:
            None, or the numbers of all environments.

        Returns
        -------
        Observations, shape (n, n_features), rewards, terminations, truncations and infos, shape (n,). At the
        end of an episode the observations are its last ones.

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of the episode.
        ValueError
            If ``id`` are not all environments.
        {action errors}
        """
        self._check_all("id", id)
        population = self._population
        rewards = population.step(action)  # type: ignore[arg-type]  # None is refused there
        ends = np.full((2, self.env_num), [[population.terminated], [population.truncated]])
        return self._observations(), rewards, ends[0], ends[1], self._infos.copy()

    def get_env_attr(self, key: str, id: Ids = None) -> list[Any]:
        """The value of an attribute, repeated for each environment of ``id``: all share it."""
        value = self._shared[key] if key in self._shared else getattr(self, key)
        return [value] * len(self._wrap_id(id))

    def set_env_attr(self, key: str, value: Any, id: Ids = None) -> None:
        """Set an attribute for all environments; ValueError if ``id`` are not all of them."""
        self._check_all("id", id)
        setattr(self, key, value)

    def render(self, **kwargs: Any) -> list[Any]:
        """Show world 0 since its last reset, once for all environments."""
        return [self._population.render()]

    def close(self) -> None:
        """Mark the environment as closed: there is nothing to release."""
        self.is_closed = True

    def _observations(self) -> Any:
        observations = self._population.observe()
        if not self._population.has_masks:
            return observations
        return Batch(obs=observations, mask=self.action_masks())

    def _check_all(self, name: str, ids: Ids) -> None:
        if ids is not None and not np.array_equal(np.atleast_1d(ids), self.ready_id):
            raise ValueError(
                f"{name} must be None or all {self.env_num} environments, which run in lockstep, got"
                f" {checks.shown(ids)}: collect a multiple of {self.env_num} steps or episodes"
            )


@with_common_parameters
def tianshou_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationTianshouEnv:
    """Make a Tianshou vector environment of a game, with one environment per agent of each world.

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`PopulationTianshouEnv` (``observe``, ``max_episode_steps``, ``device``, ...), and the
        game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationTianshouEnv(game, n_worlds, **kwargs)
