"""Tabular Q-learners who play the N-player game, each with a table of its own: independent learners and MF-Q.

They are the baselines of Guo et al. (arXiv 1901.09585). All agents learn at once, in one compiled loop over
rounds.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.counting import new_sums
from mfenvs.engine.layout import Layout
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.meanfield.responses import respond

from ..config import TrainerConfig
from ..policies import TabularPolicy
from ..trainer import LARGEST, MOST_EPISODES, Trainer
from .independent_q_kernel import MOST_VISITS, SMALLEST_WEIGHT, learning_kernel, refuse
from .q_learning import STEP_EXPONENT

Array = NDArray[np.float64]

TABULATED_STEPS = 4096
"""Number of visits whose step sizes are tabulated; the step sizes of later visits are computed."""
MOST_STEPS = 2**31 - 1
"""Largest number of steps in an episode."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndependentQConfig(TrainerConfig):
    """Hyper-parameters of independent Q-learners."""

    inverse_temperature: float = 4.0
    """Inverse temperature c of the Boltzmann policy softmax_c(Q) by which agents act [O: as GMF-Q's]."""
    exploration: Literal["boltzmann", "epsilon-greedy"] = "boltzmann"
    """Policy by which agents act: the Boltzmann policy, or the best action with probability 1 - epsilon and a
    uniform one else; equally good actions share evenly [S: Guo et al. name both for Q-learning]."""
    epsilon: float = 0.1
    """Probability epsilon of a uniform action in epsilon-greedy exploration [O]."""
    episodes: int = 20
    """Number of episodes in an iteration; an episode has as many rounds as the game's horizon."""
    step_exponent: float = STEP_EXPONENT
    """Exponent omega of the step size 1 / n^omega at the n-th visit of a table entry, 1/2 < omega <= 1 [O: as
    GMF-Q's]."""
    constant_step: float = 0.0
    """Constant step size in (0, 1] in the place of 1 / n^omega; 0 for none. Yang et al.'s code for tables has 0.1
    [O]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("inverse_temperature", self.inverse_temperature, 0.0, exclude_low=True)
        checks.real("epsilon", self.epsilon, 0.0, 1.0)
        checks.real("constant_step", self.constant_step, 0.0, 1.0)
        checks.integer("episodes", self.episodes, 1, MOST_EPISODES)
        checks.real("step_exponent", self.step_exponent, 0.5, 1.0, exclude_low=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MFQConfig(IndependentQConfig):
    """Hyper-parameters of MF-Q."""

    mean_action: Literal["met", "others"] = "met"
    """Whose mean action an agent looks at: that of the opponents whom it met, if the game says whom (its rule
    ``met``) [O], or that of all other agents, abar_i = sum_{j != i} a_j / (N - 1), the neighbourhood of Yang et
    al. being everybody [S]."""
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
    """Weights of the actions by which an agent acts, shaped like ``q``: exp(c (q - level)), or the epsilon-greedy
    policy. They are kept so that an update takes one exponential at most, and a decision none."""
    levels: Any
    """Level of every row, shape (n_agents, T, S, B): its largest value when its weights were last made anew; with
    epsilon-greedy exploration 0."""


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
        """The policy by which every agent acts, shape (n_agents, T, S, A).

        With MF-Q a policy depends on the mean action of the last round. It is averaged over the mean actions on
        which the agent has acted in that state (over all of them, where it never acted).
        """
        tables = self._whole_tables()
        if self._is_greedy:
            laws = tables.weights / tables.weights.sum(axis=-1, keepdims=True)
            return self._as_policy(self._averaged(laws))
        return self.policy_at(self.config.inverse_temperature)

    def policy_at(self, inverse_temperature: float, *, usual_only: bool = False) -> TabularPolicy:
        """Every agent's Boltzmann policy for its values at a given inverse temperature, shape (n_agents, T, S, A).

        Parameters
        ----------
        inverse_temperature:
            The factor c > 0 of softmax_c(Q); infinite for the greedy policy (argmax-e).
        usual_only:
            Of MF-Q, read the values at the mean action on which the agent has acted most often in that state, in
            place of averaging the policies over all of them.

        Raises
        ------
        TypeError, ValueError
            If the inverse temperature is not a number above 0, or an iteration has failed.
        """
        return self._as_policy(self._averaged(respond(self._whole_tables().q, inverse_temperature), usual_only))

    def _averaged(self, laws: Array, usual_only: bool = False) -> Array:
        """Laws (n_agents, T, S, B, A) averaged over the mean actions that agents have seen."""
        seen = self._tables.seen.astype(np.float64)
        if usual_only:
            seen = np.eye(seen.shape[-1])[seen.argmax(axis=-1)]
        weights = np.where(seen.sum(axis=-1, keepdims=True) > 0, seen, 1.0)
        weights /= weights.sum(axis=-1, keepdims=True)
        means: Array = np.einsum("itsb,itsba->itsa", weights, laws)
        return np.asarray(means / means.sum(axis=-1, keepdims=True))

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
        constant = self.config.constant_step
        self._scale: float = constant or 1.0
        self._exponent: float = 0.0 if constant else self.config.step_exponent
        self._steps = self._scale * np.arange(1, TABULATED_STEPS + 1) ** -self._exponent
        of_all = getattr(self.config, "mean_action", "met") == "others"
        self._kernel = learning_kernel(game.rules, Layout.of(game), self.looks_at_others, of_all, self._is_greedy)

    @property
    def _is_greedy(self) -> bool:
        return bool(self.config.exploration == "epsilon-greedy")

    def _iterate(self) -> dict[str, float]:
        game, config = self.game, self.config
        n = game.n_agents
        total, wrong, value, *where = self._kernel(
            *self._tables,
            *(np.empty((2, n), game.state_dtype), np.empty(n, np.int32), np.empty(n, np.float32)),
            *(np.empty(game.n_cells, np.float32), new_sums(game.rules, 1, game.n_cells)[0]),
            np.empty(game.n_signals, np.float32),
            *(game.agents.view(np.ndarray), game.constants, game.initial, game.discount, game.horizon),
            *(config.epsilon if self._is_greedy else config.inverse_temperature,),
            *(self._scale, self._exponent, self._steps),
            *(config.seed, self.iteration * config.episodes, config.episodes, self._n_whole),
        )
        try:
            refuse(game, wrong, value, *where)
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
        self._check_weights(tables)
        self._tables, self._failure = tables, None

    def _check_weights(self, tables: Tables) -> None:
        """Raise ValueError unless the weights of tables from a file are those of their values."""
        if self._is_greedy:
            # Rows that were never updated are all ones, which means the same.
            laws = tables.weights / tables.weights.sum(axis=-1, keepdims=True)
            best = tables.q == tables.q.max(axis=-1, keepdims=True)
            epsilon = self.config.epsilon
            expected = epsilon / tables.q.shape[-1] + (1.0 - epsilon) * best / best.sum(axis=-1, keepdims=True)
            if not np.allclose(laws, expected, rtol=1e-6, atol=1e-12):
                raise ValueError("weights must be those of the epsilon-greedy policy of the values")
            return
        with np.errstate(over="ignore"):
            exponents = self.config.inverse_temperature * (tables.q - tables.levels[..., None])
        if not np.allclose(tables.weights, np.exp(np.minimum(exponents, 700.0)), rtol=1e-6, atol=1e-300):
            raise ValueError("weights must be exp(c (q - level)), c being the inverse temperature")


class IndependentQ(_TabularLearners):
    """Independent learners (IL): every agent learns Q_i(s, a), with the others as part of its environment.

    Q_i(s, a) <- Q_i(s, a) + step [r + gamma max_b Q_i(s', b) - Q_i(s, a)] on the agent's own path, on which it
    acts by softmax_c(Q_i), or epsilon-greedily. Hyper-parameters: :class:`IndependentQConfig`.

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
    the game has no such rule or ``mean_action`` is "others", rounded to the nearest of ``n_bins`` equally spaced
    numbers [O]. pi_i is the epsilon-greedy policy where agents explore so. Hyper-parameters: :class:`MFQConfig`.

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
