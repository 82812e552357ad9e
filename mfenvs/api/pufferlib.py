"""PufferLib: all agents of a game as the agents of one native PufferEnv, which steps in PufferLib's own arrays."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import Population, checked_seed
from mfenvs.api.view import PopulationView
from mfenvs.game import Game
from mfenvs.wrappers.observations import Observe

try:
    import pufferlib  # type: ignore[import-not-found, unused-ignore]
except ModuleNotFoundError as error:
    raise ImportError("puffer_env needs PufferLib 3: pip install pufferlib, or pufferlib-core") from error


@with_common_parameters
class PopulationPufferEnv(PopulationView, pufferlib.PufferEnv):  # type: ignore[misc, unused-ignore]  # PufferLib is untyped
    """All agents of all worlds of a game: one row of PufferLib's arrays per agent, ordered by world, then agent.

    The engine writes observations and rewards into these arrays (``observations``, ``rewards``, ``terminals``,
    ``truncations``), be they the environment's own or the shared memory of PufferLib's workers. Every call returns
    the same arrays.

    {horizon}

    The next episode begins in the same step: the row's observation is its first one, and ``terminals`` or
    ``truncations`` tell of the episode that ended. PufferLib has no place for the last observation of a truncated
    episode. Its array ``masks`` says which agents are alive, here all; the game's action masks are in
    :meth:`action_masks`.

    ``pufferlib.vector.make(PopulationPufferEnv, env_args=[game], env_kwargs={...})`` makes one too, or several in
    worker processes with ``backend=pufferlib.vector.Multiprocessing``.

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
    buf:
        PufferLib's arrays, a dict; None for new ones.
    seed:
        Random seed of the first reset, if that is given none; 0, which PufferLib passes, by default.
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
        buf: dict[str, NDArray[Any]] | None = None,
        seed: int | None = 0,
        **constants: Any,
    ) -> None:
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
        self._first_seed = checked_seed(seed)
        self.single_observation_space = population.observation_space
        self.single_action_space = population.action_space
        self.num_agents = population.n_rows
        super().__init__(buf)
        self.masks.fill(True)
        for name in ("observations", "rewards"):
            if not getattr(self, name).flags.c_contiguous:
                raise ValueError(f"buf[{name!r}] must be contiguous: the engine writes into it")
        self._world_rewards = self.rewards.reshape(n_worlds, -1)
        self._returns = np.zeros(self.num_agents, np.float32)

    def reset(self, seed: int | None = None) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """Begin an episode in all worlds; without a seed, the next episode of the last seed.

        Returns
        -------
        The array of observations, shape (num_agents, n_features), and no infos.
        """
        if seed is None and self.engine.episode < 0:
            seed = self._first_seed
        self._begin(seed)
        for array in (self.rewards, self.terminals, self.truncations):
            array.fill(0)
        self._population.observe(self.observations)
        return self.observations, []

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], list[dict[str, Any]]
    ]:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Integers of shape (num_agents,); for a Box, numbers of shape (num_agents, *shape of the Box).

        Returns
        -------
        The arrays of observations (num_agents, n_features), rewards, terminals and truncations (num_agents,), and
        infos: at the end of an episode one dict with the agents' mean ``episode_return``, the ``episode_length``
        and the means over worlds of what the game reports.

        Raises
        ------
        RuntimeError
            Before the first reset.
        {action errors}
        """
        population = self._population
        population.step(actions, self._world_rewards)
        self._returns += self.rewards
        self.terminals.fill(population.terminated)
        self.truncations.fill(population.truncated)
        infos = []
        if population.is_over:
            infos.append(self._told_of_episode())
            self._begin(None)
        population.observe(self.observations)
        return self.observations, self.rewards, self.terminals, self.truncations, infos

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _begin(self, seed: int | None) -> None:
        self._population.reset(seed)
        self._returns.fill(0.0)

    def _told_of_episode(self) -> dict[str, Any]:
        told = {name: float(values.mean()) for name, values in self._population.reports().items()}
        mean = float(self._returns.mean(dtype=np.float64))
        return {"episode_return": mean, "episode_length": self.engine.time, **told}


@with_common_parameters
def puffer_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationPufferEnv:
    """Make a PufferEnv of a game, with one row per agent of each world.

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`PopulationPufferEnv` (``observe``, ``max_episode_steps``, ``buf``, ``device``, ...), and
        the game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationPufferEnv(game, n_worlds, **kwargs)
