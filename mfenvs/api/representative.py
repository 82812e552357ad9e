"""Single agents among a population that plays a given policy: the common base of the APIs for best responses."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.api.population import Population
from mfenvs.game import Game
from mfenvs.play import Player
from mfenvs.wrappers.observations import Observe, Observer


class RepresentativeAgents:
    """Worlds of a game in which some agents act and all others play a given policy.

    Rows are ordered by world, then in the order in which the acting agents were drawn.

    Parameters
    ----------
    game, constants, render_mode, debug, device:
        As in :class:`mfenvs.api.population.Population`.
    population_policy:
        Policy of all other agents, of any kind that :class:`mfenvs.play.Player` takes.
    agent:
        Index of the agent that acts; None draws the acting agents in every episode.
    n_worlds:
        Number of independent copies of the game.
    agents_per_world:
        Number of acting agents in each world. More than one make samples cheaper, but they affect each other: the
        problem then differs by O(1/N) from that of a single deviator, which defines a best response.
    observe:
        Observation blocks that the acting agents see beside their own observation.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    ImportError, RuntimeError
        If the software for the device is not installed, or there is no such device.
    """

    def __init__(
        self,
        game: str | Game,
        constants: dict[str, Any],
        population_policy: Any,
        agent: int | None,
        n_worlds: int = 1,
        agents_per_world: int = 1,
        *,
        observe: Observe = (),
        render_mode: str | None = None,
        debug: bool = False,
        device: Any = "cpu",
    ) -> None:
        self.population = Population(
            game, constants, n_worlds, observe=observe, render_mode=render_mode, debug=debug, device=device
        )
        n_agents = self.population.game.n_agents
        self._player = Player(self.population.game, population_policy)
        self.agent = None if agent is None else checks.integer("agent", agent, 0, n_agents - 1)
        most = n_agents if agent is None else 1
        self.per_world = checks.integer("agents_per_world", agents_per_world, 1, most)
        self.n_rows = n_worlds * self.per_world
        self._worlds = np.arange(n_worlds)[:, None]
        self.acting = np.full((n_worlds, self.per_world), self.agent or 0)
        """Indices of the acting agents of this episode, shape (n_worlds, agents_per_world)."""

    def reset(self, seed: int | None, rng: np.random.Generator) -> None:
        """Begin an episode; ``rng`` draws the acting agents."""
        self.population.reset(seed)
        if self.agent is None:
            n_agents = self.population.game.n_agents
            for world in self._worlds[:, 0]:
                self.acting[world] = rng.choice(n_agents, self.per_world, replace=False)

    def step(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Take one step; return the acting agents' rewards, shape (n_rows,).

        Parameters
        ----------
        actions:
            Actions of the acting agents, shape (n_rows,), followed by the shape of a Box.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As in :meth:`mfenvs.Engine.step`; no world has moved then.
        """
        population = self.population
        population.check_playing()
        action_shape = population.action_space.shape or ()
        own = np.asarray(actions)
        if own.shape != (self.n_rows, *action_shape):
            raise ValueError(f"actions must have shape {(self.n_rows, *action_shape)}, got {own.shape}")
        everyone = self._player.actions(population.engine)
        own = own.reshape(*self.acting.shape, *action_shape)
        # In a dtype that holds both kinds of numbers: the engine refuses fractions, which must not be cut off.
        everyone = everyone.astype(np.result_type(everyone, own), copy=True)
        everyone[self._worlds, self.acting] = own
        rewards = population.step(everyone.reshape(-1, *everyone.shape[2:]))
        own_rewards: NDArray[np.float32] = rewards.reshape(everyone.shape[:2])[self._worlds, self.acting]
        return own_rewards.reshape(-1)

    def observe(self, observer: Observer | None = None) -> NDArray[np.float32]:
        """The acting agents' observations now, shape (n_rows, width): a new array.

        Parameters
        ----------
        observer:
            What observes in place of the population's observer.
        """
        population = self.population
        seen = (observer or population.observer).of_agents(population.engine, self.acting)
        return seen.reshape(self.n_rows, -1)
