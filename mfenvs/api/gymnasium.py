"""Gymnasium: all agents as the slots of a VectorEnv, and one agent among a population as an Env."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import FRAMES_PER_SECOND, RENDER_MODES, Population, render_modes
from mfenvs.api.representative import RepresentativeAgents
from mfenvs.api.view import PopulationView
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.wrappers.observations import Observe

Observations = NDArray[np.float32]
Flags = NDArray[np.bool_]


@with_common_parameters
class PopulationVectorEnv(PopulationView, gymnasium.vector.VectorEnv[Observations, Any, NDArray[Any]]):
    """All agents of all worlds of a game: one environment (slot) per agent, ordered by world, then by agent.

    {horizon}

    ``gymnasium.make_vec("mfenvs/<Name>-v0")`` makes such an environment once mfenvs has been imported.
    ``gymnasium.make_vec("mfenvs:mfenvs/<Name>-v0")`` imports mfenvs itself, as worker processes need it.

    Parameters
    ----------
    {game}
    num_envs:
        Number of slots, n_worlds * n_agents; 1, which ``gymnasium.make_vec`` passes by default, is ignored.
    n_worlds:
        Number of independent copies of the game; by default the number that ``num_envs`` implies, or 1.
    {observe}
    autoreset_mode:
        When a new episode begins after one has ended: ``"NextStep"``, in the next step, whose actions are then
        ignored; ``"SameStep"``, in the same step, with the last observations of the old episode in
        ``infos["final_obs"]``; or ``"Disabled"``, only by :meth:`reset`.
    copy:
        Whether every call returns new arrays. If False, the arrays of the last call are overwritten.
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

    metadata: dict[str, Any] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        game: str | Game,
        num_envs: int = 1,
        n_worlds: int | None = None,
        *,
        observe: Observe = (),
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        render_mode: str | None = None,
        debug: bool = False,
        max_episode_steps: int | None = None,
        device: Any = "cpu",
        **constants: Any,
    ) -> None:
        self.copy = checks.boolean("copy", copy)
        made = make(game, **constants)
        population = Population(
            made,
            {},
            _number_of_worlds(num_envs, n_worlds, made.n_agents),
            observe=observe,
            max_steps=max_episode_steps,
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        self._show(population)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "autoreset_mode": self.autoreset_mode,
            "render_modes": render_modes(self.game),
        }
        self.num_envs = population.n_rows
        self.single_observation_space = population.observation_space
        self.single_action_space = population.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self._observations: Observations | None = None
        self._rewards: NDArray[np.float32] | None = None
        self._terminations, self._truncations = np.zeros((2, self.num_envs), np.bool_)
        if not copy:
            self._observations = np.zeros(
                (self.num_envs, *(self.single_observation_space.shape or ())), np.float32
            )
            self._rewards = np.zeros((self.n_worlds, self.game.n_agents), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in all worlds; without a seed, the next episode of the last seed.

        Parameters
        ----------
        seed:
            Random seed of the episodes from now on.
        options:
            ``options["reset_mask"]``, as in gymnasium's own vector environments, must select all slots: they share
            one clock. Other options are ignored.

        Returns
        -------
        Observations, shape (num_envs, n_features), and infos: the share of agents in each of the game's regions,
        the entries that the game reports, and an ``action_mask`` (num_envs, n_actions) if the game has action
        masks.
        """
        if options is not None and not isinstance(options, dict):
            raise TypeError(f"options must be a dict or None, got {options!r}")
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.all():
                raise ValueError(
                    f"options['reset_mask'] must be True for all {self.num_envs} slots, which share one clock,"
                    f" got {options['reset_mask']!r}"
                )
        seed = self._population.first_seed(seed)
        super().reset(seed=seed)
        self._population.reset(seed)
        return self._population.observe(self._observations), self._infos()

    def step(self, actions: ArrayLike) -> tuple[Observations, NDArray[np.float32], Flags, Flags, dict[str, Any]]:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Integers of shape (num_envs,); for a Box, numbers of shape (num_envs, *shape of the Box).

        Returns
        -------
        Observations (num_envs, n_features), rewards, terminations and truncations (num_envs,), and infos as of
        :meth:`reset`.

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of an episode if resets are disabled.
        {action errors}
        """
        population = self._population
        ended: dict[str, Any] = {}
        if population.is_over and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            population.reset()
            rewards = np.zeros(self.num_envs, np.float32) if self._rewards is None else self._rewards.reshape(-1)
            rewards.fill(0.0)
        else:
            rewards = population.step(actions, self._rewards)
        terminated, truncated = population.terminated, population.truncated
        if population.is_over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = _final_infos(population.observe(), self._infos())
            population.reset()
        if self.copy:
            terminations = np.full(self.num_envs, terminated) if terminated else np.zeros(self.num_envs, np.bool_)
            truncations = np.full(self.num_envs, truncated) if truncated else np.zeros(self.num_envs, np.bool_)
        else:
            terminations, truncations = self._terminations, self._truncations
            terminations.fill(terminated)
            truncations.fill(truncated)
        infos = self._infos() | ended
        return population.observe(self._observations), rewards, terminations, truncations, infos

    def render(self) -> tuple[Any, ...] | None:
        """Show world 0 since its last reset as a text or an image, the same one for every slot, or None.

        A video of all slots would show it as often as there are agents: record one with
        ``gymnasium.wrappers.vector.RecordVideo(env, folder, record_first_only=True)``.
        """
        frame = self._population.render()
        return None if frame is None else (frame,) * self.num_envs

    def _infos(self) -> dict[str, Any]:
        """Infos of every slot, in the format of gymnasium's vector environments."""
        told: dict[str, Any] = {
            name: np.repeat(values, self.game.n_agents) for name, values in self._population.reports().items()
        }
        masks = self._population.action_masks()
        if masks is not None:
            told["action_mask"] = masks
        infos = dict(told)
        for name in told:
            infos[f"_{name}"] = np.ones(self.num_envs, np.bool_)
        return infos


@with_common_parameters
class RepresentativeAgentEnv(PopulationView, gymnasium.Env[Any, Any]):
    """One agent of an N-player game; all others play a given policy.

    A single-agent learner that maximises its return here computes a best response to the policy. The game,
    its N agents and their influence on each other are as in every other API. ``info["agent"]`` is the index of the
    acting agent.

    ``gymnasium.make("mfenvs/<Name>-v0")`` makes such an environment once mfenvs has been imported.
    ``gymnasium.make("mfenvs:mfenvs/<Name>-v0")`` imports mfenvs itself, as worker processes need it.

    Parameters
    ----------
    {game}
    {population_policy}
    {agent}
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

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": FRAMES_PER_SECOND}

    def __init__(
        self,
        game: str | Game,
        population_policy: Any = None,
        agent: int | None = None,
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
            observe=observe,
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        self._show(self._core.population)
        self.agent = self._core.agent
        self.metadata = {**self.metadata, "render_modes": render_modes(self.game)}
        self.observation_space = self._population.observation_space
        self.action_space = self._population.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode; without a seed, the next episode of the last seed. ``options`` are ignored.

        Returns
        -------
        The acting agent's observation, shape (n_features,), and infos, with its index as ``info["agent"]``.
        """
        seed = self._population.first_seed(seed)
        super().reset(seed=seed)
        self._core.reset(seed, self.np_random)
        return self._core.observe()[0], self._info()

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Take one step: the acting agent takes ``action``, all others act by their policy.

        Returns
        -------
        The acting agent's observation (n_features,), reward, termination and truncation, and infos.

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of the episode.
        ValueError, TypeError
            If the action is not in the action space.
        """
        population = self._population
        population.check_playing()
        if isinstance(self.action_space, gymnasium.spaces.Discrete):
            action = checks.integer("action", action, 0, int(self.action_space.n) - 1)
        reward = float(self._core.step([action])[0])
        return self._core.observe()[0], reward, population.terminated, population.truncated, self._info()

    def action_masks(self) -> NDArray[np.bool_]:
        """Action mask of the acting agent for sb3-contrib, shape (n_actions,): False for an action of no use now.

        Raises
        ------
        TypeError
            If actions are not discrete.
        """
        mask: NDArray[np.bool_] = self.engine.action_masks()[0, self._core.acting[0, 0]]
        return mask

    def _info(self) -> dict[str, Any]:
        told: dict[str, Any] = {name: float(value[0]) for name, value in self._population.reports().items()}
        if self._population.has_masks:
            told["action_mask"] = self.action_masks().astype(np.int8)
        return {"agent": int(self._core.acting[0, 0]), **told}


@with_common_parameters
def vector_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationVectorEnv:
    """Make a gymnasium VectorEnv of a game, with one environment per agent of each world.

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`PopulationVectorEnv` (``observe``, ``autoreset_mode``, ``device``, ...), and the
        game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationVectorEnv(game, n_worlds=n_worlds, **kwargs)


def _number_of_worlds(num_envs: int, n_worlds: int | None, n_agents: int) -> int:
    num_envs = checks.integer("num_envs", num_envs, 1)
    worlds = None if n_worlds is None else checks.integer("n_worlds", n_worlds, 1)
    if num_envs == 1:
        return worlds or 1
    if num_envs % n_agents or worlds not in (None, num_envs // n_agents):
        given = "" if worlds is None else f" and n_worlds={worlds}"
        raise ValueError(
            f"num_envs must be n_worlds * n_agents (or 1, for what n_worlds says), got num_envs={num_envs}"
            f" with n_agents={n_agents}{given}"
        )
    return num_envs // n_agents


def _autoreset_mode(value: str | AutoresetMode) -> AutoresetMode:
    checks.choice(
        "autoreset_mode",
        value.value if isinstance(value, AutoresetMode) else value,
        [mode.value for mode in AutoresetMode],
    )
    return AutoresetMode(value)


def _final_infos(observations: Observations, infos: dict[str, Any]) -> dict[str, Any]:
    """Infos in gymnasium's format for a step in which all slots end one episode and begin the next."""
    everyone = np.ones(len(observations), np.bool_)
    return {
        "final_obs": np.fromiter(observations, dtype=object, count=len(observations)),
        "_final_obs": everyone,
        "final_info": infos,
        "_final_info": everyone.copy(),
    }
