"""Policies of all kinds played in an engine: they choose the agents' actions."""

import inspect
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.cumulated import cumulative
from mfenvs.engine.engine import Engine
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game, kind_of
from mfenvs.meanfield.action_masks import uniform_table
from mfenvs.models import NetworkLaws, ObservationPolicy, Predictions, TrainedOn, observed_blocks, stock_network
from mfenvs.rules import Public
from mfenvs.wrappers.observations import Observe, Observer


class EnginePolicy(Protocol):
    """A policy that reads the engine, and so can know more than agents observe: a planner of all agents, say."""

    def actions(self, engine: Engine) -> NDArray[Any]:
        """Return the actions of all agents now.

        Parameters
        ----------
        engine:
            The engine in which they act; it must be left as it is.

        Returns
        -------
        Actions, shape (n_worlds, n_agents), followed by the shape of a Box.
        """


class Player:
    """A policy that chooses the actions of all agents of an engine.

    Parameters
    ----------
    game:
        The game.
    policy:
        Policy of all agents, one of

        * None: uniformly random actions among those that the game's rule ``allowed`` allows;
        * a table, for a finite game: probabilities of its ``policy_shape`` (T, S, A), or (n_agents, T, S, A) for a
          policy each, or an object with these as its attribute ``probabilities``;
        * an :class:`ObservationPolicy`: an object with ``action_probabilities``, which is given ``action_masks``
          if it takes an argument of this name;
        * an :class:`EnginePolicy`: an object with a method ``actions`` that is given the engine (with arrays of
          NumPy, whatever its device), and with none of the methods of those below;
        * a model of Stable-Baselines3 or sb3-contrib, with inputs as in its training: observations normalised by
          its
          ``VecNormalize``, action masks (MaskablePPO) and memory (RecurrentPPO). With discrete actions
          actor-critics act by the probabilities of their network, and DQN and QR-DQN take their best action;
        * any other object with their ``predict(observations) -> (actions, state)``. It is given ``action_masks``,
          and ``state`` and ``episode_start``, if it takes arguments of these names.

        Most policies are played with the engine's own random numbers, so that two runs that differ in one agent's
        actions share everything else. Models of Box actions, recurrent models and objects that only ``predict``
        draw their own from the global generators of torch and NumPy, which are seeded for each of their calls
        from the engine's seed, episode, first world and time, and are left as they were. Only what they draw from
        other generators does not follow from the seed.
    observe:
        Observation blocks that the policy sees beside agents' own observations; by default its attribute
        ``observe``, if it has one, or the blocks of a model's training environment. A loaded model does not know
        them.
    name:
        Name of the policy in error messages.

    Raises
    ------
    TypeError, ValueError
        If the policy is none of these, does not fit the game, or is a model whose training environment changed
        observations or actions in a way that cannot be rebuilt.
    """

    def __init__(
        self, game: Game, policy: Any, observe: Observe | None = None, name: str = "population_policy"
    ) -> None:
        self._table: NDArray[np.float32] | None = None
        self._observing: _Observing | None = None
        self._reads_engine: EnginePolicy | None = None
        _check_agents(game, policy, name)
        if policy is None or _is_table(policy):
            self.width = _observer(game, policy, observe).width
            """Number of features that the policy sees."""
            if policy is not None and not isinstance(game, FiniteGame):
                raise TypeError(f"{name} is a table, which needs a FiniteGame, got {kind_of(game)}")
            if policy is not None:
                self._table = cumulative_policy(game, policy, name)  # type: ignore[arg-type]
        elif _reads_engine(policy):
            if observe is not None:
                raise ValueError(f"observe must be None, as {name} reads the engine, got {observe!r}")
            self._reads_engine = policy
            self.width = game.n_features
        else:
            needs = "must be None, a table of probabilities, or an object with action_probabilities, predict or"
            needs += " actions"
            self._observing = _Observing(game, policy, observe, name, needs)
            self.width = self._observing.observer.width

    def actions(self, engine: Engine) -> NDArray[Any]:
        """The actions of all agents now, shape (n_worlds, n_agents), followed by the shape of a Box.

        Raises
        ------
        RuntimeError
            Outside an episode.
        TypeError, ValueError
            If the policy returns anything else than actions, or probabilities, of the right shape.
        """
        if self._table is not None:
            return engine.sample_actions(self._table)
        if self._reads_engine is not None:
            asked = np.asarray(self._reads_engine.actions(engine.on_host))
            if asked.shape[:2] != (engine.n_worlds, engine.game.n_agents):
                raise ValueError(
                    f"actions of {type(self._reads_engine).__name__} must return shape"
                    f" ({engine.n_worlds}, {engine.game.n_agents}), followed by that of a Box, got {asked.shape}"
                )
            return asked
        if self._observing is None:
            return engine.random_actions()
        shape = (engine.n_worlds, engine.game.n_agents)
        if self._observing.takes_agents_by_index:
            return engine.draw_actions(self._observing.laws_by_index(engine).reshape(*shape, -1))
        observations = self._observing.observer(engine).reshape(-1, self.width)
        masks = engine.action_masks().reshape(len(observations), -1) if self._observing.takes_masks else None
        if self._observing.has_laws:
            return engine.draw_actions(self._observing.laws(observations, masks).reshape(*shape, -1))
        chosen = self._observing.predictions(engine, observations, masks)
        return chosen.reshape(*shape, *chosen.shape[1:])


class Deviator:
    """A policy that chooses the action of one agent in each world, from the agent's own random numbers.

    Parameters
    ----------
    game:
        The game.
    policy:
        An object with ``action_probabilities``, which takes the rows' ``agents`` too if it has ``n_agents`` (a
        joint policy), a model, or an object with SB3's ``predict``, as in :class:`Player`.
    observe:
        Observation blocks that it sees beside the agent's own observation, as in :class:`Player`.

    Raises
    ------
    TypeError, ValueError
        If the policy is none of these, or the blocks do not fit the game.
    """

    def __init__(self, game: Game, policy: Any, observe: Observe | None = None) -> None:
        _check_agents(game, policy, "deviation")
        needs = "must have action_probabilities or predict"
        self._observing = _Observing(game, policy, observe, "deviation", needs)
        self._is_joint = hasattr(policy, "n_agents")
        self.width = self._observing.observer.width
        """Number of features that the policy observes."""

    def replace(self, actions: NDArray[Any], engine: Engine, agents: NDArray[Any]) -> NDArray[Any]:
        """The actions of all agents, with those of the deviators ``agents`` replaced.

        Parameters
        ----------
        actions:
            Shape (n_worlds, n_agents), followed by the shape of a Box.
        engine:
            The engine in which the agents act.
        agents:
            Index of the deviator in each world, shape (n_worlds,).
        """
        worlds = np.arange(engine.n_worlds)
        own = self._observing.observer.of_agents(engine, agents[:, None])[:, 0]
        masks = engine.action_masks()[worlds, agents] if self._observing.takes_masks else None
        if self._observing.has_laws:
            laws = self._observing.laws(own, masks, agents if self._is_joint else None)
            # Random draws belong to positions in the batch; the other agents' probabilities are placeholders.
            everyone = np.full((*actions.shape[:2], laws.shape[1]), 1.0 / laws.shape[1], np.float32)
            everyone[worlds, agents] = laws
            chosen: NDArray[Any] = engine.draw_actions(everyone)[worlds, agents]
        else:
            chosen = self._observing.predictions(engine, own, masks)
        # In a dtype that holds both kinds of numbers: the engine refuses fractions, which must not be cut off.
        replaced = actions.astype(np.result_type(actions, chosen), copy=True)
        replaced[worlds, agents] = chosen
        return replaced


class _Observing:
    """A policy that acts on observations; it gives action probabilities if it knows them, else actions.

    ``needs`` is the part of the error message that says what the policy must be.
    """

    def __init__(self, game: Game, policy: Any, observe: Observe | None, name: str, needs: str) -> None:
        is_discrete = isinstance(game.action_space, gymnasium.spaces.Discrete)
        can_predict = hasattr(policy, "predict")
        if isinstance(policy, type) or not (isinstance(policy, ObservationPolicy) or can_predict):
            has_policy = isinstance(getattr(policy, "policy", None), np.ndarray)
            hint = ": did you mean its attribute policy?" if has_policy else ""
            raise TypeError(f"{name} {needs}, got {checks.shown(policy)}{hint}")
        self.observer = _observer(game, policy, observe)
        trained_on = TrainedOn(policy, name)
        trained_on.check_spaces(self.observer.space, game.action_space, self.observer.blocks)
        self._game, self._policy = game, policy
        self._network_laws: NetworkLaws | None = None
        self.has_laws = isinstance(policy, ObservationPolicy) and (is_discrete or not can_predict)
        """Whether the policy can give action probabilities; for a Box, trainers have the method but cannot."""
        self.takes_masks = False
        """Whether the policy is to be given action masks."""
        if self.has_laws:
            if not is_discrete:
                raise TypeError(f"{name} has action_probabilities, but actions are {game.action_space}")
            self.takes_masks = "action_masks" in inspect.signature(policy.action_probabilities).parameters
        elif (network := stock_network(policy)) is not None:
            self._network_laws = NetworkLaws(network, trained_on)
            self.has_laws, self.takes_masks = True, self._network_laws.takes_masks
        else:
            self.predictions = Predictions(policy, trained_on, game.action_space.shape or (), name)
            """Asks the policy for actions, if it knows no laws."""
            self.takes_masks = self.predictions.takes_masks and is_discrete

    @property
    def takes_agents_by_index(self) -> bool:
        """Whether the policy can do without the columns of the one-hot identity, as many as there are agents."""
        identity = self.observer.identity
        ask = getattr(self._policy, "takes_agents_by_index", None)
        return self.has_laws and identity is not None and ask is not None and bool(ask(identity))

    def laws_by_index(self, engine: Engine) -> NDArray[Any]:
        """Probabilities of all agents' actions, (n_worlds * n_agents, n_actions); agents are told by index."""
        n_agents = self._game.n_agents
        observations = self.observer.without_identity(engine).reshape(engine.n_worlds * n_agents, -1)
        agents = np.tile(np.arange(n_agents), engine.n_worlds)
        return np.asarray(self._policy.action_probabilities_of_agents(observations, agents))

    def laws(
        self,
        observations: NDArray[np.float32],
        masks: NDArray[Any] | None = None,
        agents: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Probabilities of the rows' actions, (n_rows, n_actions); ``agents`` if rows are not whole worlds."""
        if self._network_laws is not None:
            return self._network_laws(observations, masks)
        assert isinstance(self._game.action_space, gymnasium.spaces.Discrete)
        rows = (observations,) if agents is None else (observations, agents)
        given = {"action_masks": masks} if self.takes_masks else {}
        laws = np.asarray(self._policy.action_probabilities(*rows, **given))
        expected = (len(observations), int(self._game.action_space.n))
        if laws.shape != expected:
            raise ValueError(
                f"action_probabilities of {type(self._policy).__name__} must return shape {expected}, got"
                f" {laws.shape}"
            )
        return laws


def _observer(game: Game, policy: Any, observe: Observe | None) -> Observer:
    return Observer(game, observed_blocks(policy) if observe is None else observe)


def _reads_engine(policy: Any) -> bool:
    """Whether a policy is an :class:`EnginePolicy`, and does not act on observations."""
    observes = isinstance(policy, ObservationPolicy) or hasattr(policy, "predict")
    return callable(getattr(policy, "actions", None)) and not observes and not isinstance(policy, type)


def _is_table(policy: Any) -> bool:
    """Whether a policy is a table: an array, also of another library, a list, or an object that has one."""
    return (
        hasattr(policy, "probabilities")
        or isinstance(policy, np.ndarray | list)
        or (hasattr(policy, "__array__") and not isinstance(policy, type))
    )


def _check_agents(game: Game, policy: Any, name: str) -> None:
    """Raise a ValueError if a joint policy is for another number of agents."""
    n_agents = getattr(policy, "n_agents", game.n_agents)
    if n_agents != game.n_agents:
        raise ValueError(f"{name} must be of the game's {game.n_agents} agents, got one of {n_agents}")


def cumulative_policy(game: FiniteGame, policy: ArrayLike | Any, name: str) -> NDArray[np.float32]:
    """A table of probabilities cumulated over actions, from which the engine samples, (1 or n_agents, T, S, A)."""
    table = game.policy_shape
    return cumulative(game.policy_table(name, policy).reshape(-1, *table))


ROUNDING = 1e-4
"""Largest distance from one that is allowed for the sum of a network's probabilities, in single precision."""

BATCH_FEATURES = 2**22
"""Number of features that are given to a policy at a time: 16 MB."""


def tabulate(game: FiniteGame, policy: Any, name: str = "policy") -> NDArray[np.float64]:
    """Tabulate a policy: compute its action probabilities at every time and in every state.

    Parameters
    ----------
    game:
        A finite game.
    policy:
        A table, an :class:`mfenvs.models.ObservationPolicy`, or a model of Stable-Baselines3 or sb3-contrib with
        discrete actions and without memory (:class:`mfenvs.play.Player`); None for uniformly random actions among
        those that are allowed.
        Action probabilities may depend on the agent's own state, the time, and the agent (its parameters or its
        identity). A policy with an attribute ``n_agents`` is a joint policy, whose ``action_probabilities`` takes
        the rows' ``agents``.
    name:
        Name of the policy in error messages.

    Returns
    -------
    Probabilities of the game's ``policy_shape`` (T, S, A) if all agents act alike, else (n_agents, T, S, A).

    Raises
    ------
    TypeError
        If the game is not finite, or the policy cannot be tabulated because it depends on the past or on the other
        agents: by a mean-field observation, or a public signal, as None does where that decides what is allowed.
    ValueError
        If the policy does not fit the game.
    """
    if not isinstance(game, FiniteGame):
        raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
    if policy is None:
        return uniform_table(game)
    if _is_table(policy):
        return game.policy_table(name, policy)
    _check_agents(game, policy, name)
    needs = (
        "must be a table of probabilities, an object with action_probabilities, or a model with discrete actions"
    )
    observing = _Observing(game, policy, None, name, needs)
    takes_masks = observing.takes_masks and game.rules.allowed is not None
    asks_agents = hasattr(game, "observe") or takes_masks
    _refuse_unless_of_own_state(game, observing, name, asks_agents)

    # Agents who see the same act alike: each of these is asked for once.
    kinds, own = _what_agents_see(game, asks_agents, takes_masks)
    is_joint = hasattr(policy, "n_agents")
    fixed = observing.observer.fixed_features()
    who_they_are = [kinds, np.arange(game.n_agents) if is_joint else 0 * kinds]
    _, asked, whose = np.unique(
        np.column_stack([*who_they_are, fixed]), axis=0, return_index=True, return_inverse=True
    )
    n_times, n_states, _ = game.policy_shape
    size = max(1, BATCH_FEATURES // (n_times * n_states * observing.observer.width))
    found = np.empty((len(asked), *game.policy_shape))
    for first in range(0, len(asked), size):
        agents = asked[first : first + size]
        rows = np.concatenate([own[kinds[agent]][0] for agent in agents])
        masks = np.concatenate([own[kinds[agent]][1] for agent in agents]) if observing.takes_masks else None
        each = np.repeat(agents, n_times * n_states)
        rows = np.concatenate([rows, fixed[each]], axis=1)
        laws = observing.laws(rows, masks, each if is_joint else None)
        found[first : first + size] = laws.reshape(-1, *game.policy_shape)
    sums = found.sum(axis=-1, keepdims=True)
    if not (found.min() >= 0.0 and abs(sums - 1.0).max() <= ROUNDING):
        raise ValueError(
            f"the laws of {name} must be non-negative and sum to 1, got sums from {sums.min()} to {sums.max()}"
        )
    found /= sums
    return found[0] if len(asked) == 1 and not is_joint else found[whose.reshape(-1)]


def _refuse_unless_of_own_state(game: FiniteGame, observing: _Observing, name: str, reads_signal: bool) -> None:
    """Raise a TypeError if a policy depends on more than an agent's own state, its identity and the time."""
    if not observing.has_laws:
        raise TypeError(
            f"a table needs the probabilities of a policy's actions in its own state, but {name} has none: it has"
            " a memory, or tells its actions by predict() and not their probabilities"
        )
    needs = (
        f"a table needs a policy that observes an agent's own state, its parameters and the time only, but {name}"
    )
    for block in observing.observer.blocks:
        if not block.is_fixed:
            raise TypeError(f"{needs} observes {block.name!r}, which changes with what all agents do")
    if reads_signal and game.n_signals > (game.public_chain is not None):
        raise TypeError(
            f"{needs} acts on what the rule observe or allowed of {type(game).__name__} says, which may read the"
            " public signal"
        )


def _what_agents_see(
    game: FiniteGame, asks_agents: bool, takes_masks: bool
) -> tuple[NDArray[np.int64], list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """Own observations (T * S, n_features) and action masks (T * S, A) at every time in every state.

    Returns the kind of each agent, shape (n_agents,), and the observations and masks of each kind. All agents are
    of one kind unless ``asks_agents``; masks allow all actions unless ``takes_masks``.
    """
    n_times, n_rows, n_actions = game.policy_shape
    signal = np.zeros(game.n_signals, np.float32)
    everyone = game.agents.view(np.ndarray)
    distinct, parameters_of = np.zeros(1, np.int64), np.zeros(game.n_agents, np.int64)
    if asks_agents:
        _, distinct, parameters_of = np.unique(everyone, return_index=True, return_inverse=True)
    kinds: dict[bytes, int] = {}
    seen, kind_of_parameters = [], np.zeros(len(distinct), np.int64)
    for k, agent in enumerate(distinct):
        observations = np.zeros((n_times, n_rows, game.n_features), np.float32)
        masks = np.ones((n_times, n_rows, n_actions), np.bool_)
        for time, row in np.ndindex(n_times, n_rows):
            public, state = divmod(row, game.n_states)
            if game.public_chain is not None:
                signal[-1] = public
            told = state, game.agents[agent], Public(signal, game.constants, time, np.float32(time / game.horizon))
            game.rules.observe(observations[time, row], *told)
            if takes_masks:
                assert game.rules.allowed is not None
                masks[time, row] = [game.rules.allowed(action, *told) for action in range(n_actions)]
        key = observations.tobytes() + masks.tobytes()
        if key not in kinds:
            seen.append((observations.reshape(n_times * n_rows, -1), masks.reshape(n_times * n_rows, -1)))
        kind_of_parameters[k] = kinds.setdefault(key, len(kinds))
    return kind_of_parameters[parameters_of], seen
