"""Stable-Baselines3: the agents of a game as the environments of one VecEnv, without a wrapper between."""

import abc
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import Population, checked_seed
from mfenvs.api.representative import RepresentativeAgents
from mfenvs.api.view import PopulationView
from mfenvs.engine.snapshot import Snapshot
from mfenvs.game import Game
from mfenvs.wrappers.observations import Observe, Observer

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

    from mfenvs.api.tensors import TensorPopulation  # Needs torch, which Stable-Baselines3 needs too.
except ModuleNotFoundError as error:
    raise ImportError("vec_env needs stable-baselines3: pip install 'mfenvs[baselines]'") from error


class UniformVecEnv(VecEnv):
    """Base class of VecEnvs whose environments are rows of one object and share all attributes."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next reset; ValueError or TypeError if ``seed`` is neither None nor an integer >= 0.

        Returns
        -------
        A seed for each environment. Only the first has an effect: the random numbers of all follow from it.
        """
        return super().seed(checked_seed(seed))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The value of an attribute, repeated for each index: all environments share it."""
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
        """Call a method once, and return its result for each index: all environments share it.

        ``action_masks`` returns a row for each environment: there each index gets its own row.
        """
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        if method_name == "action_masks":
            return [result[i] for i in self._get_indices(indices)]
        return [result] * self._number(indices)

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """False for each index: the environments are not wrapped one by one."""
        return [False] * self._number(indices)

    def _number(self, indices: VecEnvIndices) -> int:
        return len(list(self._get_indices(indices)))


@with_common_parameters
class LockstepVecEnv(UniformVecEnv, PopulationView):
    """Base class of VecEnvs that show a population: all environments begin and end together."""

    _observer: Observer | None = None
    """What observes in place of the population's observer."""

    def __init__(self, population: Population, n_rows: int) -> None:
        self._show(population)
        self._actions: NDArray[Any] | None = None
        super().__init__(n_rows, population.observation_space, population.action_space)

    @abc.abstractmethod
    def _begin(self, seed: int | None) -> None:
        """Begin an episode in all worlds; without a seed, the next episode of the last seed."""

    @abc.abstractmethod
    def _advance(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Take one step; return each row's reward."""

    def _rows_of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Select the environments' rows (num_envs, any) of an array for all agents (n_worlds, n_agents, any)."""
        return values.reshape(self.num_envs, -1)

    @abc.abstractmethod
    def _observe_rows(self) -> NDArray[np.float32]:
        """Each row's observation now, shape (num_envs, n_features): a new array."""

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in all worlds, with the seed given to :meth:`seed` since the last reset, if any.

        Returns
        -------
        Observations, shape (num_envs, width of the space).
        """
        # The random numbers of all worlds follow from one seed: that of the first environment.
        self._begin(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._infos()
        return self._observe_rows()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take one step in all worlds with the actions of :meth:`step_async`.

        Returns
        -------
        Observations (num_envs, n_features), rewards (num_envs,), whether the episode ended (num_envs,), and infos:
        the share of agents in each of the game's regions and the entries that the game reports; at the end of an
        episode also ``terminal_observation`` and ``TimeLimit.truncated``.

        Raises
        ------
        RuntimeError
            Before the first reset, or without actions.
        {action errors}
        """
        population = self._population
        if self._actions is None:
            raise RuntimeError("step_wait() was called without actions: call step_async() first")
        actions, self._actions = self._actions, None
        rewards = self._advance(actions)
        infos = self._infos()
        if population.is_over:
            dones = np.ones(self.num_envs, np.bool_)
            truncated = population.truncated
            infos = [
                {**info, "terminal_observation": last, "TimeLimit.truncated": truncated}
                for info, last in zip(infos, self._observe_rows(), strict=True)
            ]
            self._begin(None)
            self.reset_infos = self._infos()
        else:
            dones = np.zeros(self.num_envs, np.bool_)
        return self._observe_rows(), rewards, dones, infos

    @property
    @abc.abstractmethod
    def row_agents(self) -> NDArray[np.int64]:
        """Index of each row's agent in this episode, shape (num_envs,)."""

    @property
    def identity_columns(self) -> slice | None:
        """The columns of observations with the agent's one-hot identity; None if agents do not observe it."""
        return self._population.observer.identity

    @contextlib.contextmanager
    def without_identity(self) -> Iterator[None]:
        """Within this context, observations of steps lack the columns of the one-hot identity.

        They are as many as there are agents, and say no more than :attr:`row_agents`. The observation space stays
        as it is.
        """
        self._observer = self._population.observer.without_identity
        try:
            yield
        finally:
            self._observer = None

    def observe_rows(self) -> NDArray[np.float32]:
        """Every row's observation now, shape (num_envs, width of the space): a new array."""
        return self._observe_rows()

    def action_masks(self) -> NDArray[np.bool_]:
        """Action masks for sb3-contrib, shape (num_envs, n_actions): False for an action that has no use now.

        Raises
        ------
        TypeError
            If actions are not discrete.
        """
        return self._rows_of(self.engine.action_masks())

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The image of world 0, as a single frame for all environments."""
        return [self._population.render() if self.render_mode == "rgb_array" else None]

    def render(self, mode: str | None = None) -> Any:
        """Show world 0 since its last reset: as a text (mode ``"ansi"``), an image (height, width, 3), or None."""
        if self.render_mode in ("ansi", "human") and mode in (None, self.render_mode):
            return self._population.render()
        return super().render(mode)

    def _infos(self) -> list[dict[str, Any]]:
        # One dict for all rows of a world: building one each would cost several times the step itself.
        told = self._population.reports()
        per_world = self.num_envs // self.n_worlds
        if not told:
            return [{}] * self.num_envs
        by_world = [dict(zip(told, row, strict=True)) for row in np.stack([*told.values()], axis=1).tolist()]
        return [info for info in by_world for _ in range(per_world)]


@with_common_parameters
class PopulationVecEnv(LockstepVecEnv):
    """All agents of all worlds of a game: one environment per agent, ordered by world, then by agent.

    {horizon}

    The next episode begins in the same step. The infos then hold each agent's ``terminal_observation`` and
    ``TimeLimit.truncated``. Within an episode all agents of a world share one dict of infos.

    Stable-Baselines3 wants NumPy arrays. With ``device="cuda"`` the worlds are stepped on the device; each step
    copies actions there, and one array of observations and one of rewards from there.
    :class:`mfenvs.baselines.PPO` goes without these copies: its networks on the same device read and write
    :attr:`tensors`.

    Parameters
    ----------
    {game}
    {n_worlds}
    {observe}
    {render_mode}
    {debug}
    {max_episode_steps}
    {device}
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """

    _population: TensorPopulation

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
        population = TensorPopulation(
            game,
            constants,
            n_worlds,
            observe=observe,
            max_steps=max_episode_steps,
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        super().__init__(population, population.n_rows)

    @property
    def tensors(self) -> TensorPopulation | None:
        """The population as tensors on a CUDA device; None on the CPU.

        What is done to the one is done to the other. Episodes do not begin by themselves there: call its
        ``reset``.
        """
        return None if self._population.is_on_cpu else self._population

    def snapshot(self) -> Snapshot:
        """Copy the state of the environments, from which :meth:`restore` can continue."""
        return self.engine.snapshot()

    def restore(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """Continue from a snapshot of an environment of the same game and number of worlds.

        Returns
        -------
        Observations, shape (num_envs, width of the space).

        Raises
        ------
        ValueError
            If the snapshot does not fit, or was taken outside an episode.
        """
        self._population.restore(snapshot)
        return self._population.observe()

    @property
    def row_agents(self) -> NDArray[np.int64]:
        """Index of each row's agent, shape (num_envs,)."""
        return np.tile(np.arange(self.game.n_agents), self.n_worlds)

    def _begin(self, seed: int | None) -> None:
        self._population.reset(seed)

    def _advance(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        return self._population.step(actions)

    def _observe_rows(self) -> NDArray[np.float32]:
        if self._observer is None:
            return self._population.observe()
        return self._observer(self.engine).reshape(self.num_envs, -1)


@with_common_parameters
class RepresentativeVecEnv(LockstepVecEnv):
    """Single agents among a population that plays a given policy: one environment per acting agent.

    A learner that maximises its return here computes a best response to the policy: the batched form of
    :class:`mfenvs.api.gymnasium.RepresentativeAgentEnv`.

    Parameters
    ----------
    {game}
    {population_policy}
    {agent}
    {n_worlds}
    agents_per_world:
        Number of acting agents in each world. More than one make samples cheaper, but they affect each other: the
        problem then differs by O(1/N) from that of a single deviator.
    {observe}
    {render_mode}
    {debug}
    {device}
        The population's policy acts on the host all the same: every step copies all agents' actions to the device,
        and their rewards and observations from there.
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """

    def __init__(
        self,
        game: str | Game,
        population_policy: Any = None,
        agent: int | None = None,
        n_worlds: int = 1,
        agents_per_world: int = 1,
        *,
        observe: Observe = (),
        render_mode: str | None = None,
        debug: bool = False,
        device: Any = "cpu",
        **constants: Any,
    ) -> None:
        self._core = RepresentativeAgents(
            game,
            constants,
            population_policy,
            agent,
            n_worlds,
            agents_per_world,
            observe=observe,
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        self._rng = np.random.default_rng()
        super().__init__(self._core.population, self._core.n_rows)

    @property
    def acting(self) -> NDArray[Any]:
        """Indices of the acting agents of this episode, shape (n_worlds, agents_per_world)."""
        return self._core.acting

    @property
    def row_agents(self) -> NDArray[np.int64]:
        """Index of each row's agent in this episode, shape (num_envs,)."""
        return self.acting.reshape(-1).copy()

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._core.reset(seed, self._rng)

    def _advance(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        return self._core.step(actions)

    def _observe_rows(self) -> NDArray[np.float32]:
        return self._core.observe(self._observer)

    def _rows_of(self, values: NDArray[Any]) -> NDArray[Any]:
        acting: NDArray[Any] = values[np.arange(self.n_worlds)[:, None], self.acting]
        return acting.reshape(self.num_envs, -1)


@with_common_parameters
def vec_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationVecEnv:
    """Make a Stable-Baselines3 VecEnv of a game, with one environment per agent of each world.

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`PopulationVecEnv` (``observe``, ``max_episode_steps``, ``device``, ...), and the
        game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationVecEnv(game, n_worlds, **kwargs)
