"""TD learning of mean-field Q values from trajectories of the N-player game (Yardim & He, Algorithm 1)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.engine import Engine
from mfenvs.engine.trajectories import Trajectories
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.play import tabulate

from ..config import SimulationConfig
from ..policies import TabularPolicy
from ..trainer import LARGEST, MOST_EPISODES, Trainer

Array = NDArray[np.float64]


@kernel
def td_kernel(
    states: Any,
    actions: Any,
    rewards: Any,
    bonus: Any,
    q: Any,
    visits: Any,
    delta: Any,
    reward_scale: Any,
    trajectories_before: Any,
    first: Any,
    last: Any,
) -> None:
    """Update Q by the trajectories of the agents ``first <= i < last``, one after the other.

    states (W, H + 1, N), actions and rewards (W, H, N). ``bonus`` (1 or N, H, S) is tau H(pi_h(.|s)), ``q`` and
    ``visits`` (1 or N, H S A): the agents learn in one table, or each in its own. The step is
    1 / n(h, s, a) if ``delta`` is 0, else (2 / delta) / (m + 2 / delta) at a table's m-th trajectory.
    """
    n_worlds, horizon = actions.shape[0], actions.shape[1]
    n_states, n_actions = bonus.shape[2], q.shape[1] // (horizon * bonus.shape[2])
    shared = len(q) == 1
    for w in range(n_worlds):
        for i in range(first, last):
            table = 0 if shared else i
            m = trajectories_before + (w * (last - first) + i - first if shared else w)
            schedule = (2.0 / delta) / (m + 2.0 / delta) if delta > 0.0 else 0.0
            here = states[w, 0, i] * n_actions + actions[w, 0, i]
            for h in range(horizon):
                target = reward_scale * rewards[w, h, i] + bonus[table, h, states[w, h, i]]
                ahead = here
                if h + 1 < horizon:
                    ahead = ((h + 1) * n_states + states[w, h + 1, i]) * n_actions + actions[w, h + 1, i]
                    # Not yet updated by this trajectory: the update is Algorithm 1's, at all h at once.
                    target += q[table, ahead]
                visits[table, here] += 1
                step = schedule if delta > 0.0 else 1.0 / visits[table, here]
                q[table, here] += step * (target - q[table, here])
                here = ahead


@dataclasses.dataclass(frozen=True)
class QEstimate:
    """Q values estimated from trajectories: one table (1, H, S, A), or one per agent (n_agents, H, S, A)."""

    q: Array
    """The estimates."""
    visits: NDArray[np.int64]
    """Number of visits of every (h, s, a), shaped like ``q``."""
    n_trajectories: int = 0
    """Number of trajectories from which each table was estimated."""

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "QEstimate":
        """The estimate before the first trajectory: zeros of shape ``shape``."""
        return cls(np.zeros(shape), np.zeros(shape, np.int64))


def td_update(
    estimate: QEstimate,
    run: Trajectories,
    policy: Array,
    *,
    temperature: float,
    agents: Literal["all", "first"] = "all",
    delta: float | None = None,
    reward_scale: float = 1.0,
) -> QEstimate:
    """Update an estimate by the trajectories of a run.

    Parameters
    ----------
    estimate:
        Tables for all agents together, (1, H, S, A), or one per agent, (n_agents, H, S, A).
    run:
        Episodes in which everyone played ``policy``.
    policy:
        Shape (1 or n_agents, H, S, A), as many tables as ``estimate``.
    temperature:
        tau of the entropy regularisation, >= 0.
    agents:
        Agents whose trajectories update a shared table: "all", or only the "first", as Yardim & He analyse. A
        table of a single agent is always updated by that agent's trajectories.
    delta:
        Step sizes: 1 / n(h, s, a) if None, else Yardim & He's schedule (2/delta) / (m + 2/delta).
    reward_scale:
        Factor on the rewards.

    Returns
    -------
    A new estimate; the given one is left as it is.

    Raises
    ------
    ValueError
        If a reward is not finite, or Q values overflow.
    """
    _check_rewards(run)
    q, visits = estimate.q.copy(), estimate.visits.copy()
    n_tables, n_agents = len(q), run.actions.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        bonus = -temperature * np.where(policy > 0, policy * np.log(policy), 0.0).sum(axis=-1)
    learners = n_agents if agents == "all" or n_tables > 1 else 1
    td_kernel(
        *(run.states, run.actions, run.rewards, bonus, q.reshape(n_tables, -1), visits.reshape(n_tables, -1)),
        *(0.0 if delta is None else delta, reward_scale, estimate.n_trajectories, 0, learners),
    )
    if not np.isfinite(q).all():
        largest = float(np.abs(run.rewards).max())
        raise ValueError(f"Q values overflow: rewards of up to {largest:g}, times {reward_scale:g}, are too large")
    taken = len(run.actions) * (learners if n_tables == 1 else 1)
    return QEstimate(q, visits, estimate.n_trajectories + taken)


def _check_rewards(run: Trajectories) -> None:
    """Refuse rewards that are not finite: one of them would spoil a table for good."""
    finite = np.isfinite(run.rewards)
    if not finite.all():
        world, step, agent = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"reward must be finite, got {run.rewards[world, step, agent]} at step {step} for agent {agent}, in"
            f" state {run.states[world, step, agent]} with action {run.actions[world, step, agent]}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TDConfig(SimulationConfig):
    """Hyper-parameters of TD learning."""

    temperature: float = 0.0
    """Entropy regularisation tau >= 0."""
    episodes: int = 20
    """Number of episodes that an iteration simulates, with all agents."""
    agents: Literal["all", "first"] = "all"
    """Agents whose transitions are used: all [O], or only the first, as in Yardim & He's analysis."""
    delta: float | None = None
    """Parameter of the step sizes (2/delta) / (m + 2/delta) of Yardim & He at the m-th trajectory: the smallest
    probability of a visited (h, s, a) [S]; by default steps are 1 / (number of visits) [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0)
        checks.integer("episodes", self.episodes, 1, MOST_EPISODES)
        if self.delta is not None:
            checks.real("delta", self.delta, 0.0, 1.0, exclude_low=True)


class TDLearning(Trainer[TDConfig]):
    """Evaluates one policy from trajectories of the N-player game (Yardim & He, Algorithm 1).

    Parameters
    ----------
    game, config, overrides:
        See :class:`baselines.trainer.Trainer`.
    evaluated:
        The shared policy to evaluate, shape (H, S, A); the uniform one by default.
    """

    config_class = TDConfig
    name = "td"
    needs_horizon = True

    def __init__(
        self,
        game: FiniteGame | str,
        config: TDConfig | None = None,
        *,
        evaluated: ArrayLike | None = None,
        **overrides: Any,
    ) -> None:
        self._evaluated = evaluated
        super().__init__(game, config, **overrides)

    @property
    def q(self) -> Array:
        """The estimate of Q^{tau,pi}, shape (H, S, A)."""
        return self._estimate.q[0]  # type: ignore[no-any-return]

    @property
    def policy(self) -> TabularPolicy:
        """The policy that is evaluated."""
        return self._as_policy(self._law)

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps in an iteration's episodes."""
        return self.config.episodes * self.game.n_agents * self.game.horizon

    def _set_up(self) -> None:
        # First, since it says so if agents who are allowed different actions have no policy in common.
        induced = InducedGame(self.game)
        shape = (self.game.horizon, self.game.n_states, self.game.n_actions)
        evaluated = tabulate(self.game, None) if self._evaluated is None else self._evaluated
        given = getattr(evaluated, "probabilities", evaluated)
        self._law = checks.probabilities("evaluated", given, shape).copy()
        self._estimate = QEstimate.zeros((1, *shape))
        self._engine = Engine(self.game, self.config.episodes, device=self.config.device)
        self._exact = induced.evaluate(self._law, temperature=self.config.temperature)

    def _iterate(self) -> dict[str, float]:
        run = self._engine.rollout(self._law, seed=self.config.seed, episode=self.iteration)
        self._estimate = td_update(
            self._estimate,
            run,
            self._law[None],
            temperature=self.config.temperature,
            agents=self.config.agents,
            delta=self.config.delta,
        )
        visited = self._estimate.visits[0] > 0
        error = (self.q - self._exact)[visited]
        return {
            "train/return": float(run.returns.mean()),
            "train/rms_error": float(np.sqrt(np.mean(error**2))),
        }

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: TDConfig, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        shape = game.policy_shape
        return {
            "law": ArraySpecification(np.float64, shape, low=0.0, total=1.0),
            "q": ArraySpecification(np.float64, (1, *shape), -LARGEST, LARGEST),
            "visits": ArraySpecification(np.int64, (1, *shape), 0, 2**62),
            "n_trajectories": ArraySpecification(np.int64, (), 0, 2**62),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        estimate = self._estimate
        return {
            "law": self._law,
            "q": estimate.q,
            "visits": estimate.visits,
            "n_trajectories": np.array(estimate.n_trajectories, np.int64),
        }

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._evaluated = state["law"]
        self._set_up()
        self._estimate = QEstimate(state["q"], state["visits"], int(state["n_trajectories"]))
