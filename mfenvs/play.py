"""Policies of all kinds played in an engine: who chooses everyone's actions, and on which random numbers."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.game import FiniteGame, Game, cumulative
from mfenvs.models import NetworkLaws, ObservationPolicy, Predictions, TrainedOn, observed_blocks, stock_network
from mfenvs.rules import Public
from mfenvs.wrappers.observations import Observe, Observer


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
        * a model of Stable-Baselines3 or sb3-contrib, on what it was trained on: observations normalised by its
          ``VecNormalize``, with action masks (MaskablePPO) and memory (RecurrentPPO). With discrete actions
          actor-critics act by the law of their network, and DQN and QR-DQN take their best action;
        * any other object with their ``predict(observations) -> (actions, state)``. It is given ``action_masks``,
          and ``state`` and ``episode_start``, if it takes arguments of these names.

        Most are played on the engine's own random numbers, so that two runs that differ in one agent's actions
        share everything else. Models of Box actions, recurrent ones and objects that only ``predict`` draw their
        own.
    observe:
        What the policy sees beside agents' own observations; by default its attribute ``observe``, if it has one,
        or what agents saw in a model's training environment. A model that was loaded does not know it.
    name:
        What error messages call the policy.

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
        _check_agents(game, policy, name)
        if policy is None or _is_table(policy):
            self.width = _observer(game, policy, observe).width
            """Number of features that the policy sees."""
            if policy is not None and not isinstance(game, FiniteGame):
                raise TypeError(f"{name} is a table, which needs a FiniteGame, got {type(game).__name__}")
            if policy is not None:
                self._table = cumulative_policy(game, policy, name)  # type: ignore[arg-type]
        else:
            needs = "must be None, a table of probabilities, or an object with action_probabilities or predict"
            self._observing = _Observing(game, policy, observe, name, needs)
            self.width = self._observing.observer.width

    def actions(self, engine: Engine) -> NDArray[Any]:
        """Everyone's actions now, shape (n_worlds, n_agents), with a Box's shape behind.

        Raises
        ------
        RuntimeError
            Outside an episode.
        TypeError, ValueError
            If the policy returns something else.
        """
        if self._table is not None:
            return engine.sample_actions(self._table)
        if self._observing is None:
            return engine.random_actions()
        shape = (engine.n_worlds, engine.game.n_agents)
        observations = self._observing.observer(engine).reshape(-1, self.width)
        masks = engine.action_masks().reshape(len(observations), -1) if self._observing.takes_masks else None
        if self._observing.has_laws:
            return engine.draw_actions(self._observing.laws(observations, masks).reshape(*shape, -1))
        chosen = self._observing.predictions(engine, observations, masks)
        return chosen.reshape(*shape, *chosen.shape[1:])


class Deviator:
    """Chooses the action of one agent of each world, on the random numbers on which it would otherwise act.

    Parameters
    ----------
    game:
        The game.
    policy:
        An object with ``action_probabilities``, which takes the rows' ``agents`` too if it has ``n_agents`` (a
        joint policy), a model, or an object with SB3's ``predict``, as in :class:`Player`.
    observe:
        What it sees beside the agent's own observation, as in :class:`Player`.

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
        own = self._observing.observer(engine)[worlds, agents]
        masks = engine.action_masks()[worlds, agents] if self._observing.takes_masks else None
        if self._observing.has_laws:
            laws = self._observing.laws(own, masks, agents if self._is_joint else None)
            # Draws belong to places in the batch: the others' laws are of no meaning here.
            everyone = np.full((*actions.shape[:2], laws.shape[1]), 1.0 / laws.shape[1], np.float32)
            everyone[worlds, agents] = laws
            chosen: NDArray[Any] = engine.draw_actions(everyone)[worlds, agents]
        else:
            chosen = self._observing.predictions(engine, own, masks)
        # Of a type that holds both: fractions are the engine's to refuse, not to be cut off here.
        replaced = actions.astype(np.result_type(actions, chosen), copy=True)
        replaced[worlds, agents] = chosen
        return replaced


class _Observing:
    """A policy that acts on observations: asked for the laws of actions if it knows them, else for actions.

    ``needs`` says in the error message what the policy must be.
    """

    def __init__(self, game: Game, policy: Any, observe: Observe | None, name: str, needs: str) -> None:
        is_discrete = isinstance(game.action_space, gymnasium.spaces.Discrete)
        can_predict = hasattr(policy, "predict")
        if isinstance(policy, type) or not (isinstance(policy, ObservationPolicy) or can_predict):
            raise TypeError(f"{name} {needs}, got {policy!r}")
        self.observer = _observer(game, policy, observe)
        trained_on = TrainedOn(policy, name)
        trained_on.check_spaces(self.observer.space, game.action_space, self.observer.blocks)
        self._game, self._policy = game, policy
        self._network_laws: NetworkLaws | None = None
        self.has_laws = isinstance(policy, ObservationPolicy) and (is_discrete or not can_predict)
        """Whether the policy knows the laws of its actions; trainers have both methods, and no laws for a Box."""
        self.takes_masks = False
        """Whether the policy is to be given action masks."""
        if self.has_laws:
            if not is_discrete:
                raise TypeError(f"{name} has action_probabilities, but actions are {game.action_space}")
        elif (network := stock_network(policy)) is not None:
            self._network_laws = NetworkLaws(network, trained_on)
            self.has_laws, self.takes_masks = True, self._network_laws.takes_masks
        else:
            self.predictions = Predictions(policy, trained_on, game.action_space.shape or (), name)
            """Asks the policy for actions, if it knows no laws."""
            self.takes_masks = self.predictions.takes_masks and is_discrete

    def laws(
        self,
        observations: NDArray[np.float32],
        masks: NDArray[Any] | None = None,
        agents: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """The laws of the rows' actions, (n_rows, n_actions); with ``agents`` where rows are not whole worlds."""
        if self._network_laws is not None:
            return self._network_laws(observations, masks)
        assert isinstance(self._game.action_space, gymnasium.spaces.Discrete)
        rows = (observations,) if agents is None else (observations, agents)
        laws = np.asarray(self._policy.action_probabilities(*rows))
        expected = (len(observations), int(self._game.action_space.n))
        if laws.shape != expected:
            raise ValueError(
                f"action_probabilities of {type(self._policy).__name__} must return shape {expected}, got"
                f" {laws.shape}"
            )
        return laws


def _observer(game: Game, policy: Any, observe: Observe | None) -> Observer:
    return Observer(game, observed_blocks(policy) if observe is None else observe)


def _is_table(policy: Any) -> bool:
    return hasattr(policy, "probabilities") or isinstance(policy, np.ndarray | list)


def _check_agents(game: Game, policy: Any, name: str) -> None:
    """Raise a ValueError if a joint policy is that of another number of agents."""
    n_agents = getattr(policy, "n_agents", game.n_agents)
    if n_agents != game.n_agents:
        raise ValueError(f"{name} must be of the game's {game.n_agents} agents, got one of {n_agents}")


def cumulative_policy(game: FiniteGame, policy: ArrayLike | Any, name: str) -> NDArray[np.float32]:
    """A table of probabilities as the engine samples from it, shape (1 or n_agents, T, S, A)."""
    table = game.policy_shape
    return cumulative(checks.policy_table(name, policy, table, game.n_agents).reshape(-1, *table))


ROUNDING = 1e-4
"""How far the sum of a network's probabilities, which are in single precision, may be from one."""

BATCH_FEATURES = 2**22
"""So many numbers are given to a policy at a time: 16 MB."""


def tabulate(game: FiniteGame, policy: Any, name: str = "policy") -> NDArray[np.float64]:
    """A policy as a table of probabilities, as exploitability and the induced game take it.

    Parameters
    ----------
    game:
        A finite game.
    policy:
        A table, an :class:`mfenvs.models.ObservationPolicy`, or a model of Stable-Baselines3 or sb3-contrib with
        discrete actions and without memory (:class:`mfenvs.play.Player`); None for uniformly random actions. Its
        law may depend on the agent's own state, the time, and who the agent is (its parameters or its identity).
        One with ``n_agents`` is taken for a joint policy, whose ``action_probabilities`` takes the rows'
        ``agents``.
    name:
        What error messages call the policy.

    Returns
    -------
    Probabilities of the game's ``policy_shape`` (T, S, A) if all agents act alike, else (n_agents, T, S, A).

    Raises
    ------
    TypeError
        If the game is not finite, or the policy has no such law: it depends on what the others do (a mean-field
        observation, a public signal) or on the past.
    ValueError
        If the policy does not fit the game.
    """
    if not isinstance(game, FiniteGame):
        raise TypeError(f"game must be a FiniteGame, got {type(game).__name__}")
    if policy is None:
        return np.full(game.policy_shape, 1.0 / game.n_actions)
    if _is_table(policy):
        return checks.policy_table(name, policy, game.policy_shape, game.n_agents)
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
    """Raise a TypeError if a policy's law depends on more than an agent's own state, the time and who it is."""
    needs = (
        f"a table needs a policy that observes an agent's own state, its parameters and the time only, but {name}"
    )
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
    if reads_signal and game.n_signals:
        raise TypeError(
            f"{needs} acts on what the rule observe or allowed of {type(game).__name__} says, which may read the"
            " public signal"
        )


def _what_agents_see(
    game: FiniteGame, asks_agents: bool, takes_masks: bool
) -> tuple[NDArray[np.int64], list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """Own observations (T * S, n_features) and action masks (T * S, A) at every time in every state.

    Returns the kind of each agent, shape (n_agents,), and what each kind sees. All are of one kind unless
    ``asks_agents``; masks allow everything unless ``takes_masks``.
    """
    n_times, n_states, n_actions = game.policy_shape
    signal = np.zeros(game.n_signals, np.float32)
    everyone = game.agents.view(np.ndarray)
    distinct, parameters_of = np.zeros(1, np.int64), np.zeros(game.n_agents, np.int64)
    if asks_agents:
        _, distinct, parameters_of = np.unique(everyone, return_index=True, return_inverse=True)
    kinds: dict[bytes, int] = {}
    seen, kind_of_parameters = [], np.zeros(len(distinct), np.int64)
    for k, agent in enumerate(distinct):
        observations = np.zeros((n_times, n_states, game.n_features), np.float32)
        masks = np.ones((n_times, n_states, n_actions), np.bool_)
        for time, state in np.ndindex(n_times, n_states):
            told = state, game.agents[agent], Public(signal, game.constants, time, np.float32(time / game.horizon))
            game.rules.observe(observations[time, state], *told)
            if takes_masks:
                assert game.rules.allowed is not None
                masks[time, state] = [game.rules.allowed(action, *told) for action in range(n_actions)]
        key = observations.tobytes() + masks.tobytes()
        if key not in kinds:
            seen.append((observations.reshape(n_times * n_states, -1), masks.reshape(n_times * n_states, -1)))
        kind_of_parameters[k] = kinds.setdefault(key, len(kinds))
    return kind_of_parameters[parameters_of], seen
