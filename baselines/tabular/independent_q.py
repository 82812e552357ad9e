"""Tabular Q-learners who play the N-player game, each with a table of its own: independent learners and MF-Q.

They are the baselines of Guo et al. (arXiv 1901.09585). All agents learn at once, in one compiled loop over
rounds.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import new_sums, own_count_rules
from mfenvs.engine.cpu import advance_world_rule, start_world_rule
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import ACT, ADVANCE, START, agent_key, step_key, uniform
from mfenvs.files import ArraySpecification
from mfenvs.game import FiniteGame, Game, Rules
from mfenvs.meanfield.responses import respond
from mfenvs.rules import World, rule

from ..config import TrainerConfig
from ..policies import TabularPolicy
from ..trainer import LARGEST, MOST_EPISODES, Trainer
from .q_learning import STEP_EXPONENT, greatest

Array = NDArray[np.float64]

TABULATED_STEPS = 4096
"""Number of visits whose step sizes are tabulated; the step sizes of later visits are computed."""
SMALLEST_WEIGHT = 1e-30
"""The weights of a row are computed anew when the largest of them leaves [SMALLEST_WEIGHT, 1 /
SMALLEST_WEIGHT]."""
MOST_STEPS = 2**31 - 1
"""Largest number of steps in an episode."""
MOST_VISITS = 2**31 - 1
"""Largest number of visits that is counted, in 32 bits; further visits have the step size of this one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndependentQConfig(TrainerConfig):
    """Hyper-parameters of independent Q-learners."""

    inverse_temperature: float = 4.0
    """Inverse temperature c of the Boltzmann policy softmax_c(Q) by which agents act [O: as GMF-Q's]."""
    episodes: int = 20
    """Number of episodes in an iteration; an episode has as many rounds as the game's horizon."""
    step_exponent: float = STEP_EXPONENT
    """Exponent omega of the step size 1 / n^omega at the n-th visit of a table entry, 1/2 < omega <= 1 [O: as
    GMF-Q's]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.integer("episodes", self.episodes, 1, MOST_EPISODES)
        checks.real("step_exponent", self.step_exponent, 0.5, 1.0, exclude_low=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MFQConfig(IndependentQConfig):
    """Hyper-parameters of MF-Q."""

    n_bins: int = 0
    """Number of bins into which the mean action is sorted; 0 for as many as there are actions [O]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("n_bins", self.n_bins, 0, 2**31 - 1)


class Tables(NamedTuple):
    """What the agents have learned, and what they need to go on."""

    q: Any
    """Q values, shape (n_agents, T, S, B, A), with B bins of the mean action."""
    visits: Any
    """Number of updates of every entry, shaped like ``q``."""
    seen: Any
    """Number of times that an agent acted in a state on a mean action, shape (n_agents, T, S, B)."""
    bins: Any
    """Bin of the mean action on which every agent acts, shape (n_agents,): that of its last round, at first the
    middle one."""
    weights: Any
    """exp(c (q - level)), shaped like ``q``: kept so that an update takes one exponential, and a decision none."""
    levels: Any
    """Level of every row, shape (n_agents, T, S, B): its largest value when its weights were last made anew."""


class _TabularLearners(Trainer[Any]):
    """Base class of trainers with a Q table for every agent; an iteration is a number of episodes of one world.

    The tables are large and change in place, so that an iteration that fails is not undone: the trainer cannot be
    used any more, and raises an error that says so.
    """

    @classmethod
    def _check_game(cls, game: Game) -> FiniteGame:
        finite = super()._check_game(game)
        checks.integer("horizon", finite.horizon, 1, MOST_STEPS)
        return finite

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps in an iteration's episodes."""
        n: int = self.config.episodes * self.game.n_agents * self.game.horizon
        return n

    @property
    def policy(self) -> TabularPolicy:
        """The policy of every agent, softmax_c(Q_i), shape (n_agents, T, S, A).

        With MF-Q a policy depends on the mean action of the last round. It is averaged over the mean actions on
        which the agent has acted in that state (over all of them, where it never acted).
        """
        tables = self._whole_tables()
        seen = tables.seen.astype(np.float64)
        weights = np.where(seen.sum(axis=-1, keepdims=True) > 0, seen, 1.0)
        weights /= weights.sum(axis=-1, keepdims=True)
        laws = respond(tables.q, self.config.inverse_temperature)
        return self._as_policy(np.einsum("itsb,itsba->itsa", weights, laws))

    looks_at_others: ClassVar[bool]
    """Whether the tables have an axis of mean actions, and targets average Q over the policy instead of taking its
    maximum."""

    @staticmethod
    def _n_bins(game: FiniteGame, config: Any) -> int:
        """Number B of bins of the mean action."""
        return 1

    def _set_up(self) -> None:
        game, n_bins = self.game, self._n_bins(self.game, self.config)
        n_times, n_states, n_actions = game.policy_shape
        shape = (game.n_agents, n_times, n_states, n_bins, n_actions)
        self._failure: str | None = None
        self._n_whole = np.zeros(1, np.int64)
        self._tables = Tables(
            q=np.zeros(shape),
            visits=np.zeros(shape, np.int32),
            seen=np.zeros(shape[:-1], np.int32),
            bins=np.full(game.n_agents, (n_bins - 1) // 2, np.int32),
            weights=np.ones(shape),
            levels=np.zeros(shape[:-1]),
        )
        self._steps = np.arange(1, TABULATED_STEPS + 1) ** -self.config.step_exponent
        self._kernel = _learning_kernel(game.rules, Layout.of(game), self.looks_at_others)

    def _iterate(self) -> dict[str, float]:
        game, config = self.game, self.config
        n = game.n_agents
        total, wrong, value, *where = self._kernel(
            *self._tables,
            *(np.empty((2, n), game.state_dtype), np.empty(n, np.int32), np.empty(n, np.float32)),
            *(np.empty(game.n_cells, np.float32), new_sums(game.rules, 1, game.n_cells)[0]),
            np.empty(game.n_signals, np.float32),
            *(game.agents.view(np.ndarray), game.constants, game.initial, game.discount, game.horizon),
            *(config.inverse_temperature, config.step_exponent, self._steps),
            *(config.seed, self.iteration * config.episodes, config.episodes, self._n_whole),
        )
        try:
            _refuse(game, wrong, value, *where)
        except ValueError as error:
            self._failure = str(error)
            raise
        return {
            "train/return": float(total / (n * config.episodes)),
            "train/unvisited": float((self._tables.visits == 0).mean()),
        }

    @contextlib.contextmanager
    def _undone_if_it_fails(self) -> Iterator[dict[str, NDArray[Any]]]:
        self._whole_tables()
        self._n_whole[0] = 0
        try:
            yield {}
        except BaseException:
            # Ctrl-C does not stop compiled code: the iteration has not begun, or it was done and counts.
            self.iteration += int(self._n_whole[0])
            self.num_timesteps += int(self._n_whole[0]) * self.timesteps_per_iteration
            raise

    def _whole_tables(self) -> Tables:
        """The tables after the last whole iteration; ValueError if an iteration has failed."""
        if self._failure is not None:
            raise ValueError(
                f"{type(self).__name__} stopped within an iteration ({self._failure}), so its tables are of no"
                " use: make it anew, or load what was saved before"
            )
        return self._tables

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        n_bins = cls._n_bins(game, config)
        n_times, n_states, n_actions = game.policy_shape
        rows = (game.n_agents, n_times, n_states, n_bins)
        entries = (*rows, n_actions)
        return {
            "q": ArraySpecification(np.float64, entries, -LARGEST, LARGEST),
            "visits": ArraySpecification(np.int32, entries, 0, MOST_VISITS),
            "seen": ArraySpecification(np.int32, rows, 0, MOST_VISITS),
            "bins": ArraySpecification(np.int32, (game.n_agents,), 0, n_bins - 1),
            "weights": ArraySpecification(np.float64, entries, 0.0, 1.0 / SMALLEST_WEIGHT),
            "levels": ArraySpecification(np.float64, rows, -LARGEST, LARGEST),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._whole_tables()._asdict()

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        tables = Tables(**state)
        if not (tables.weights.max(axis=-1) >= SMALLEST_WEIGHT).all():
            raise ValueError(f"weights must be at least {SMALLEST_WEIGHT:g} for some action of every row")
        with np.errstate(over="ignore"):
            exponents = self.config.inverse_temperature * (tables.q - tables.levels[..., None])
        if not np.allclose(tables.weights, np.exp(np.minimum(exponents, 700.0)), rtol=1e-6, atol=1e-300):
            raise ValueError("weights must be exp(c (q - level)), c being the inverse temperature")
        self._tables, self._failure = tables, None


class IndependentQ(_TabularLearners):
    """Independent learners (IL): every agent learns Q_i(s, a), with the others as part of its environment.

    Q_i(s, a) <- Q_i(s, a) + step [r + gamma max_b Q_i(s', b) - Q_i(s, a)] on the agent's own path, on which it
    acts by softmax_c(Q_i). Hyper-parameters: :class:`IndependentQConfig`.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585 (the baseline IL).
    """

    config_class = IndependentQConfig
    name = "independent-q"
    looks_at_others = False
    config: IndependentQConfig

    @property
    def q(self) -> Array:
        """The Q table of every agent, shape (n_agents, T, S, A)."""
        return self._whole_tables().q[:, :, :, 0].copy()  # type: ignore[no-any-return]


class MFQ(_TabularLearners):
    """Mean-field Q-learning (MF-Q): every agent learns Q_i(s, a, abar), abar the mean action of those whom it met.

    Q_i(s, a, abar) <- Q_i(s, a, abar) + step [r + gamma sum_b pi_i(b | s', abar) Q_i(s', b, abar) -
    Q_i(s, a, abar)] with pi_i = softmax_c(Q_i), by which the agent acts on the abar of its last round. abar is the
    mean of the action indices of the opponents that the game draws (its rule ``met``), or of all other agents if
    the game has no such rule, rounded to the nearest of ``n_bins`` equally spaced numbers [O]. Hyper-parameters:
    :class:`MFQConfig`.

    References
    ----------
    Yang et al., "Mean field multi-agent reinforcement learning", ICML 2018; tabular, as in the comparison of Guo,
    Hu, Xu & Zhang, arXiv 1901.09585.
    """

    config_class = MFQConfig
    name = "mf-q"
    looks_at_others = True
    config: MFQConfig

    @property
    def q(self) -> Array:
        """The Q table of every agent, shape (n_agents, T, S, B, A), with B bins of the mean action."""
        return self._whole_tables().q.copy()  # type: ignore[no-any-return]

    @staticmethod
    def _n_bins(game: FiniteGame, config: MFQConfig) -> int:
        return config.n_bins or game.n_actions


FINE, MET, STEP, REWARD = range(4)
"""Codes that the kernel returns: all rules of the game are right, or the rule (``met``, ``step``) or reward whose
value is not allowed."""


def _refuse(game: FiniteGame, wrong: int, value: float, step: int, agent: int, state: int, action: int) -> None:
    kind, last = type(game).__name__, game.n_actions - 1
    where = f"at step {step} for agent {agent}, in state {state} with action {action}"
    if wrong == MET:
        raise ValueError(f"{kind}.met must return a mean action in [0, {last}], got {value:g} {where}")
    if wrong == STEP:
        raise ValueError(f"{kind}.step must return a state in [0, {game.n_states - 1}], got {value:g} {where}")
    if wrong == REWARD:
        raise ValueError(f"{kind}'s reward must be finite, got {value:g} {where}")


@rule
def draw_by(weights: Any, draw: Any) -> Any:
    """Draw an action with probabilities proportional to its weights."""
    total = 0.0
    for weight in weights:
        total += weight
    reached, action = weights[0], 0
    while action < len(weights) - 1 and draw * total >= reached:
        action += 1
        reached += weights[action]
    return action


@rule
def mean_by(weights: Any, values: Any) -> Any:
    """The mean of values with these weights."""
    total, weighted = 0.0, 0.0
    for a in range(len(values)):
        total += weights[a]
        weighted += weights[a] * values[a]
    return weighted / total


@rule
def reweigh(values: Any, weights: Any, action: Any, level: Any, inverse_temperature: Any) -> Any:
    """Bring the weights of a row up to date with the value of one action; return the row's level.

    The level is moved to the largest value before weights can leave the range of numbers.
    """
    weights[action] = math.exp(min(inverse_temperature * (values[action] - level), 700.0))
    largest = greatest(weights)
    if SMALLEST_WEIGHT <= largest <= 1.0 / SMALLEST_WEIGHT:
        return level
    best = greatest(values)
    for a in range(len(values)):
        weights[a] = math.exp(inverse_temperature * (values[a] - best))
    return best


@functools.cache
def _mean_action_rule(rules: Rules) -> Callable[..., Any]:
    """A rule for the mean action of those whom an agent met: the game's own, or the mean over all other agents."""
    (cell, own_weight), met = own_count_rules(rules), rules.met

    if met is None:

        @rule
        def of_all_others(
            i: Any,
            state: Any,
            actions: Any,
            total: Any,
            agent: Any,
            counts: Any,
            signal: Any,
            constants: Any,
            time: Any,
            key: Any,
        ) -> Any:
            """The mean action of all agents but agent i."""
            return (total - actions[i]) / (len(actions) - 1)

        return of_all_others

    @rule
    def of_those_met(
        i: Any,
        state: Any,
        actions: Any,
        total: Any,
        agent: Any,
        counts: Any,
        signal: Any,
        constants: Any,
        time: Any,
        key: Any,
    ) -> Any:
        """The mean action that the game's rule ``met`` draws for agent i."""
        n, action = len(actions), actions[i]
        per_other, per_agent = np.float32(1.0 / (n - 1)), np.float32(1.0 / n)
        own, weight = cell(state, action, agent), np.float32(own_weight(state, action, agent))
        world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
        return met(state, action, agent, world, key)

    return of_those_met


@functools.cache
def _learning_kernel(rules: Rules, layout: Layout, looks_at_others: bool) -> Callable[..., Any]:
    start_world, advance_world = start_world_rule(rules, layout), advance_world_rule(rules, layout)
    mean_action = _mean_action_rule(rules)
    last_action = max(1, (layout.n_actions or 1) - 1)

    @kernel
    def learn(
        q: Any,
        visits: Any,
        seen: Any,
        bins: Any,
        weights: Any,
        levels: Any,
        states: Any,
        actions: Any,
        rewards: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        agents: Any,
        constants: Any,
        initial: Any,
        discount: Any,
        horizon: Any,
        inverse_temperature: Any,
        exponent: Any,
        steps: Any,
        seed: Any,
        first_episode: Any,
        n_episodes: Any,
        n_whole: Any,
    ) -> Any:
        """Play episodes of world 0 and learn from every step; return the sum of all agents' (discounted) returns.

        The loop stops at a value of the game's rules that is not allowed. The code of the rule (FINE if there is
        none), the value, the step, the agent, its state and its action are returned too. The tables are changed in
        place, and ``n_whole`` (1,) counts the calls that have not stopped. Random numbers are those of the
        engine's world 0 with this seed.
        """
        n_agents, n_states, n_bins, is_infinite = len(actions), q.shape[2], q.shape[3], discount < 1.0
        returns = 0.0
        for episode in range(first_episode, first_episode + n_episodes):
            now, then = states[0], states[1]
            start_world(now, agents, initial, step_key(seed, 0, episode, 0, START))
            worth = 1.0
            for h in range(horizon):
                t = 0 if is_infinite else h
                acts, moves = step_key(seed, 0, episode, h, ACT), step_key(seed, 0, episode, h, ADVANCE)
                total = 0
                for i in range(n_agents):
                    actions[i] = draw_by(weights[i, t, now[i], bins[i]], uniform(agent_key(acts, i), 0))
                    seen[i, t, now[i], bins[i]] = min(seen[i, t, now[i], bins[i]], MOST_VISITS - 1) + 1
                    total += actions[i]
                advance_world(now, actions, then, rewards, agents, constants, counts, sums, signal, h, moves)
                for i in range(n_agents):
                    state, action, following, bin_now = now[i], actions[i], then[i], 0
                    if following >= n_states:
                        return returns, STEP, np.float64(following), h, i, np.int64(state), np.int64(action)
                    if not math.isfinite(rewards[i]):
                        return returns, REWARD, np.float64(rewards[i]), h, i, np.int64(state), np.int64(action)
                    if looks_at_others:
                        mean = mean_action(
                            i, state, actions, total, agents[i], counts, signal, constants, h, agent_key(moves, i)
                        )
                        if not (0.0 <= mean <= last_action):
                            return returns, MET, np.float64(mean), h, i, np.int64(state), np.int64(action)
                        bin_now = int(mean / last_action * (n_bins - 1) + 0.5)
                        bins[i] = bin_now
                    target = np.float64(rewards[i])
                    if is_infinite or h + 1 < horizon:
                        after = 0 if is_infinite else h + 1
                        ahead = q[i, after, following, bin_now]
                        if looks_at_others:
                            target += discount * mean_by(weights[i, after, following, bin_now], ahead)
                        else:
                            target += discount * greatest(ahead)
                    row = q[i, t, state, bin_now]
                    n = min(visits[i, t, state, bin_now, action], MOST_VISITS - 1) + 1
                    visits[i, t, state, bin_now, action] = n
                    step = steps[n - 1] if n <= len(steps) else np.float64(n) ** -exponent
                    row[action] += step * (target - row[action])
                    levels[i, t, state, bin_now] = reweigh(
                        row,
                        weights[i, t, state, bin_now],
                        action,
                        levels[i, t, state, bin_now],
                        inverse_temperature,
                    )
                    returns += worth * rewards[i]
                worth *= discount
                now, then = then, now
        n_whole[0] += 1
        return returns, FINE, 0.0, 0, 0, np.int64(0), np.int64(0)

    return learn
