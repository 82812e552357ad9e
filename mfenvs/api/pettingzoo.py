"""PettingZoo: one world of a game as a ParallelEnv, and through PettingZoo's conversion as an AECEnv.

This API wants dictionaries with an entry for each agent, of which there may be thousands: they are built without a
Python loop over agents.
"""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
import pettingzoo
from numpy.typing import NDArray
from pettingzoo.utils import parallel_to_aec

from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import FRAMES_PER_SECOND, RENDER_MODES, Population, render_modes
from mfenvs.game import Game
from mfenvs.registry import name_of
from mfenvs.wrappers.observations import Observe


@with_common_parameters
class PopulationParallelEnv(pettingzoo.ParallelEnv):  # type: ignore[misc]  # PettingZoo is untyped
    """One world of a game; all agents act at once.

    Agents are named ``game.agent_names`` and share one observation space and one action space.

    {horizon}

    Parameters
    ----------
    {game}
    {observe}
    {render_mode}
    max_cycles:
        Number of steps after which episodes are truncated, if the horizon has not come before; by default they are
        not.
    {debug}
    {device}
        Dicts hold values of the host all the same: actions are copied to the device, and what is returned from
        there.
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """

    metadata: dict[str, Any] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        game: str | Game,
        *,
        observe: Observe = (),
        render_mode: str | None = None,
        max_cycles: int | None = None,
        debug: bool = False,
        device: Any = "cpu",
        **constants: Any,
    ) -> None:
        self._population = Population(
            game,
            constants,
            observe=observe,
            max_steps=max_cycles,
            max_steps_name="max_cycles",
            render_mode=render_mode,
            debug=debug,
            device=device,
        )
        self.game = self._population.game
        self.engine = self._population.engine
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata,
            "name": name_of(self.game) or type(self.game).__name__,
            "render_modes": render_modes(self.game),
        }
        self.possible_agents = self.game.agent_names
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, self._population.observation_space)
        self.action_spaces = dict.fromkeys(self.possible_agents, self._population.action_space)
        self.state_space = self._population.state_space
        """The space of :meth:`state`."""
        self._np_random: np.random.Generator | None = None
        self._all_false = dict.fromkeys(self.possible_agents, False)
        self._actions_in_order = operator.itemgetter(*self.possible_agents)

    @property
    def max_cycles(self) -> int:
        """Number of steps after which an episode ends; a value below the horizon truncates episodes."""
        return self._population.max_steps

    @max_cycles.setter
    def max_cycles(self, value: int | None) -> None:
        self._population.max_steps = value

    @property
    def np_random(self) -> np.random.Generator:
        """A generator for wrappers that draw random numbers, seeded by :meth:`reset`; the game does not use it."""
        if self._np_random is None:
            self._np_random = np.random.default_rng()
        return self._np_random

    def observation_space(self, agent: str) -> "gymnasium.Space[Any]":
        """The observation space, one object for all agents; KeyError if the agent is unknown."""
        space: gymnasium.Space[Any] = self.observation_spaces[agent]
        return space

    def action_space(self, agent: str) -> "gymnasium.Space[Any]":
        """The action space, one object for all agents; KeyError if the agent is unknown."""
        space: gymnasium.Space[Any] = self.action_spaces[agent]
        return space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Begin an episode; without a seed, the next episode of the last seed. ``options`` are ignored.

        Returns
        -------
        Observations, each of shape (n_features,), and infos, by agent. Infos hold the share of agents in each of
        the game's regions, the entries that the game reports, and an ``action_mask`` if the game has action masks.
        """
        self._population.reset(seed)
        if seed is not None:
            self._np_random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        return self._by_agent(self._population.observe()), self._infos()

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Take one step.

        Parameters
        ----------
        actions:
            An action for each live agent, and for no other.

        Returns
        -------
        Observations, rewards, terminations, truncations and infos by agent.

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of the episode.
        ValueError, TypeError
            If ``actions`` is not a mapping, agents are missing or unknown, or an action is out of range or of the
            wrong kind. The world has not moved then.
        """
        population, names = self._population, self.possible_agents
        population.check_playing()
        if not isinstance(actions, Mapping):
            raise TypeError(
                f"actions must be a mapping from each of the {len(names)} live agents to its action, got"
                f" {actions!r}"
            )
        try:
            chosen = self._actions_in_order(actions)
        except KeyError:
            raise self._wrong_agents(actions) from None
        if len(actions) != len(names):
            raise self._wrong_agents(actions)
        rewards = self._by_agent(population.step(chosen).tolist())
        terminations, truncations = self._all_false.copy(), self._all_false.copy()
        if population.is_over:
            self.agents = []
            terminations = dict.fromkeys(names, population.terminated)
            truncations = dict.fromkeys(names, population.truncated)
        return self._by_agent(population.observe()), rewards, terminations, truncations, self._infos()

    def state(self) -> NDArray[np.float32]:
        """The population as one vector in ``state_space``, for centralised critics and mixers (MAPPO, QMIX).

        The share of agents in each place (in a finite game: in each state), or the mean of all agents' own
        observations where the game has no rule ``place``; then the elapsed time h / horizon. RuntimeError before
        the first reset.
        """
        state: NDArray[np.float32] = self._population.state()[0]
        return state

    def render(self) -> Any:
        """Show the world since its last reset: as a text, an image (height, width, 3), or None."""
        return self._population.render()

    def _by_agent(self, values: Iterable[Any]) -> dict[str, Any]:
        # Updating a copied dict is faster than building one: its table has its final size already.
        result: dict[str, Any] = self._all_false.copy()
        result.update(zip(self.possible_agents, values, strict=True))
        return result

    def _infos(self) -> dict[str, dict[str, Any]]:
        told = {name: float(value[0]) for name, value in self._population.reports().items()}
        masks = self._population.action_masks()
        if masks is None:
            return {name: told.copy() for name in self.possible_agents}
        rows = zip(self.possible_agents, masks, strict=True)
        return {name: {**told, "action_mask": mask} for name, mask in rows}

    def _wrong_agents(self, actions: Mapping[str, Any]) -> ValueError:
        missing = [name for name in self.possible_agents if name not in actions]
        unknown = [name for name in actions if name not in self.action_spaces]
        faults = [
            f"{what} {', '.join(map(str, names[:5]))}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
            for what, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        return ValueError(f"actions must name exactly the {len(self.agents)} live agents: {'; '.join(faults)}")


@with_common_parameters
def parallel_env(
    game: str | Game,
    *,
    observe: Observe = (),
    render_mode: str | None = None,
    max_cycles: int | None = None,
    debug: bool = False,
    device: Any = "cpu",
    **constants: Any,
) -> PopulationParallelEnv:
    """Make a PettingZoo ParallelEnv of one world of a game.

    Parameters
    ----------
    {game}
    {observe}
    {render_mode}
    max_cycles:
        Number of steps after which the episode is truncated; by default it is not.
    {debug}
    {device}
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationParallelEnv(
        game,
        observe=observe,
        render_mode=render_mode,
        max_cycles=max_cycles,
        debug=debug,
        device=device,
        **constants,
    )


@with_common_parameters
def env(game: str | Game, **kwargs: Any) -> Any:
    """Make a PettingZoo AECEnv of a game, in which agents act one after the other, all on the same population.

    A step costs microseconds per agent: with many agents use the other APIs.

    Parameters
    ----------
    {game}
    kwargs:
        Options of :func:`parallel_env` (``observe``, ``max_cycles``, ...), and the game's constants if it is given
        by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return parallel_to_aec(parallel_env(game, **kwargs))
