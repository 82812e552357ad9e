"""Policies of all kinds played in an engine: who chooses everyone's actions, and on which random numbers."""

from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.game import FiniteGame, Game, cumulative
from mfenvs.rules import Public
from mfenvs.wrappers.observations import Observe, Observer


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


class Player:
    """Chooses the actions of all agents of an engine.

    Parameters
    ----------
    game:
        The game.
    policy:
        What everybody plays. One of

        * None: uniformly random actions;
        * a table, for a finite game: probabilities of its ``policy_shape`` (T, S, A), or (n_agents, T, S, A) for a
          policy each, or an object with these as its attribute ``probabilities``;
        * an :class:`ObservationPolicy`: an object with ``action_probabilities``;
        * any object with Stable-Baselines3's ``predict(observations) -> (actions, state)``.

        All but the last are played on the engine's own random numbers, so that two runs that differ in one
        agent's actions share everything else; ``predict`` draws its own.
    observe:
        What the policy sees beside agents' own observations; by default its attribute ``observe``, if it has one.
    name:
        What error messages call the policy.

    Raises
    ------
    TypeError, ValueError
        If the policy is none of these, or does not fit the game.
    """

    def __init__(
        self, game: Game, policy: Any, observe: Observe | None = None, name: str = "population_policy"
    ) -> None:
        self._game = game
        self._policy = policy
        self._table: NDArray[np.float32] | None = None
        self._observer = Observer(game, getattr(policy, "observe", ()) if observe is None else observe)
        self.width = self._observer.width
        """Number of features that the policy sees."""
        n_actions = getattr(game.action_space, "n", None)
        self._has_laws = _has_laws(game, policy)
        _check_agents(game, policy, name)
        if hasattr(policy, "probabilities") or isinstance(policy, np.ndarray | list):
            if not isinstance(game, FiniteGame):
                raise TypeError(f"{name} is a table, which needs a FiniteGame, got {type(game).__name__}")
            self._table = cumulative_policy(game, policy, name)
        elif self._has_laws:
            if n_actions is None:
                raise TypeError(f"{name} has action_probabilities, but actions are {game.action_space}")
        elif policy is not None and not hasattr(policy, "predict"):
            raise TypeError(
                f"{name} must be None, a table of probabilities, or an object with action_probabilities or"
                f" predict, got {policy!r}"
            )

    def actions(self, engine: Engine) -> NDArray[Any]:
        """Everyone's actions now, shape (n_worlds, n_agents), with a Box's shape behind.

        Raises
        ------
        RuntimeError
            Outside an episode.
        ValueError
            If the policy returns something else.
        """
        if self._table is not None:
            return engine.sample_actions(self._table)
        if self._policy is None:
            return engine.random_actions()
        shape = (engine.n_worlds, self._game.n_agents)
        observations = self._observer(engine).reshape(-1, self._observer.width)
        if self._has_laws:
            return engine.draw_actions(_laws(self._game, self._policy, observations).reshape(*shape, -1))
        chosen = np.asarray(self._policy.predict(observations)[0])
        return chosen.reshape(*shape, *(self._game.action_space.shape or ()))


class Deviator:
    """Chooses the action of one agent of each world, on the random numbers on which it would otherwise act.

    Parameters
    ----------
    game:
        The game.
    policy:
        An object with ``action_probabilities``, which takes the rows' ``agents`` too if it has ``n_agents`` (a
        joint policy), or with SB3's ``predict``.
    observe:
        What it sees beside the agent's own observation; by default its attribute ``observe``, if it has one.

    Raises
    ------
    TypeError, ValueError
        If the policy is neither, or the blocks do not fit the game.
    """

    def __init__(self, game: Game, policy: Any, observe: Observe | None = None) -> None:
        if not isinstance(policy, ObservationPolicy) and not hasattr(policy, "predict"):
            raise TypeError(f"deviation must have action_probabilities or predict, got {policy!r}")
        _check_agents(game, policy, "deviation")
        self._policy = policy
        self._has_laws = _has_laws(game, policy)
        self._observer = Observer(game, getattr(policy, "observe", ()) if observe is None else observe)
        self.width = self._observer.width
        """Number of features that it sees."""

    def replace(self, actions: NDArray[Any], engine: Engine, agents: NDArray[Any]) -> NDArray[Any]:
        """Everyone's actions with those of ``agents``, one in each world, in the place of their own.

        Parameters
        ----------
        actions:
            Shape (n_worlds, n_agents), with a Box's shape behind.
        engine:
            Where they act.
        agents:
            The deviator of each world, shape (n_worlds,).
        """
        worlds = np.arange(engine.n_worlds)
        own = self._observer(engine)[worlds, agents]
        if self._has_laws:
            # A joint policy acts for each deviator as the agent that it is.
            laws = _laws(engine.game, self._policy, own, agents if hasattr(self._policy, "n_agents") else None)
            # Draws belong to places in the batch: the others' laws are of no meaning here.
            everyone = np.full((*actions.shape[:2], laws.shape[1]), 1.0 / laws.shape[1], np.float32)
            everyone[worlds, agents] = laws
            chosen: NDArray[Any] = engine.draw_actions(everyone)[worlds, agents]
        else:
            chosen = np.asarray(self._policy.predict(own)[0])
        # Of a type that holds both: fractions are the engine's to refuse, not to be cut off here.
        replaced = actions.astype(np.result_type(actions, chosen), copy=True)
        replaced[worlds, agents] = chosen
        return replaced


def _laws(
    game: Game, policy: Any, observations: NDArray[np.float32], agents: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The laws of the rows' actions, (n_rows, n_actions); with ``agents`` where rows are not whole worlds."""
    assert isinstance(game.action_space, gymnasium.spaces.Discrete)
    rows = (observations,) if agents is None else (observations, agents)
    laws = np.asarray(policy.action_probabilities(*rows))
    expected = (len(observations), int(game.action_space.n))
    if laws.shape != expected:
        raise ValueError(
            f"action_probabilities of {type(policy).__name__} must return shape {expected}, got {laws.shape}"
        )
    return laws


def _check_agents(game: Game, policy: Any, name: str) -> None:
    """Raise a ValueError if a joint policy is that of another number of agents."""
    n_agents = getattr(policy, "n_agents", game.n_agents)
    if n_agents != game.n_agents:
        raise ValueError(f"{name} must be of the game's {game.n_agents} agents, got one of {n_agents}")


def _has_laws(game: Game, policy: Any) -> bool:
    """Whether a policy is played by its laws: trainers have both methods, and no laws for a Box."""
    is_discrete = isinstance(game.action_space, gymnasium.spaces.Discrete)
    return isinstance(policy, ObservationPolicy) and (is_discrete or not hasattr(policy, "predict"))


def cumulative_policy(game: FiniteGame, policy: ArrayLike | Any, name: str) -> NDArray[np.float32]:
    """A table of probabilities as the engine samples from it, shape (1 or n_agents, T, S, A)."""
    table = game.policy_shape
    return cumulative(checks.policy_table(name, policy, table, game.n_agents).reshape(-1, *table))


def tabulate(game: FiniteGame, policy: Any) -> NDArray[np.float64]:
    """A policy on observations as a table, as exploitability and the induced game take it.

    Parameters
    ----------
    game:
        A finite game whose agents observe their state and the time (its rule ``observe`` is the default one).
    policy:
        An :class:`ObservationPolicy` that observes nothing else; one with ``n_agents`` is taken for a joint
        policy, whose ``action_probabilities`` takes the rows' ``agents``.

    Returns
    -------
    Probabilities of the game's ``policy_shape`` (T, S, A), or (n_agents, T, S, A) for a joint policy.

    Raises
    ------
    TypeError
        If the policy observes more, or the game's agents observe something else.
    """
    if getattr(policy, "observe", ()) or hasattr(game, "observe"):
        raise TypeError("tabulate() needs a policy that observes an agent's state and the time only")
    shape = game.policy_shape[:2]
    observations = np.zeros((*shape, game.n_features), np.float32)
    signal = np.zeros(game.n_signals, np.float32)
    for (time, state), row in zip(np.ndindex(shape), observations.reshape(-1, game.n_features), strict=True):
        public = Public(signal, game.constants, time, np.float32(time / game.horizon))
        game.rules.observe(row, state, game.agents[0], public)
    rows = observations.reshape(-1, game.n_features)
    if not hasattr(policy, "n_agents"):
        laws = np.asarray(policy.action_probabilities(rows), np.float64)
    else:
        laws = np.stack(
            [policy.action_probabilities(rows, np.full(len(rows), i)) for i in range(game.n_agents)]
        ).astype(np.float64)
    # Single precision is not quite normalised.
    laws /= laws.sum(axis=-1, keepdims=True)
    return laws.reshape(*laws.shape[:-2], *shape, game.n_actions)
