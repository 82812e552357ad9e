"""Policy mirror descent from samples of the N-player game: Symm-PMD and IPMD (Yardim & He, Algorithm 2)."""

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame

from ..config import SimulationConfig
from ..exploitability_measures import exploitability_measures
from ..policies import TabularPolicy
from ..trainer import MOST_EPISODES, Trainer
from .temporal_difference import QEstimate, td_update

Array = NDArray[np.float64]

SMALLEST = float(np.finfo(np.float64).tiny)
"""Smallest probability of an action. Its logarithm is taken in the next epoch: underflow must not make an action
impossible for ever."""

REWARD_SPAN = 12.0
"""Difference between the largest and the smallest reward after scaling: that of A-RPS, whose rewards stay as they
are. The paper's rewards are in [0, 1] in theory and up to 9 in size in A-RPS; its step sizes xi_t fit no game's
rewards in particular."""
MOST_POPULATIONS = 64
"""Largest number of populations in which :func:`reward_span` looks at rewards."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PMDConfig(SimulationConfig):
    """Hyper-parameters of policy mirror descent.

    Yardim & He publish neither tau, nor M, nor the scale of rewards: the defaults are our own choice [O].
    """

    temperature: float = 0.02
    """Entropy regularisation tau, 0 <= tau < 1 so that tau xi_t < 1 [O on the value]."""
    episodes: int = 20
    """Number M of episodes that an epoch simulates, with all agents [O]."""
    agents: Literal["all", "first"] = "all"
    """Agents from whose transitions a shared Q is learned: all [O], or only the first, as Yardim & He analyse."""
    delta: float | None = None
    """Parameter of the TD step sizes (2/delta) / (m + 2/delta) of Yardim & He at the m-th trajectory [S]; by
    default steps are 1 / (number of visits) [R]."""
    mixing: Literal["shifted", "paper", "none"] = "shifted"
    """Weight of the uniform policy that is mixed in after epoch t: "shifted" is 1/(t+2) [R], "none" is 0, "paper"
    is the 1/(t+1) that Yardim & He print, which makes pi_1 uniform."""
    step_exponent: float = 0.5
    """Exponent p >= 0 of the step sizes xi_t = (t + 1)^-p, 0.5 in the paper [S]."""
    reward_scale: float | None = None
    """Factor by which rewards are multiplied before Q is learned from them; by default that by which they span
    :data:`REWARD_SPAN` (:func:`reward_span`) [O]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0, 1.0, exclude_high=True)
        checks.integer("episodes", self.episodes, 1, MOST_EPISODES)
        checks.real("step_exponent", self.step_exponent, 0.0)
        if self.reward_scale is not None:
            checks.real("reward_scale", self.reward_scale, 0.0, exclude_low=True)
        if self.delta is not None:
            checks.real("delta", self.delta, 0.0, 1.0, exclude_low=True)


def reward_span(induced: InducedGame) -> float:
    """Difference between the largest and the smallest reward R_h(s, a, mu) of allowed actions.

    Looked at are the first, middle and last step, and the populations in which everybody is in one state and
    plays one action (at most ``MOST_POPULATIONS`` of them, spread evenly), or all states and actions are equally
    frequent. Rewards that are linear in the population, as those of A-RPS, are extreme there.
    """
    n_states, n_actions = induced.n_states, induced.n_actions
    n_cells = n_states * n_actions
    corners = np.unique(np.linspace(0, n_cells - 1, min(n_cells, MOST_POPULATIONS)).astype(int))
    populations = np.concatenate([np.eye(n_cells)[corners], np.full((1, n_cells), 1.0 / n_cells)])
    low, high = math.inf, -math.inf
    for time in {0, induced.n_times // 2, induced.n_times - 1}:
        allowed = np.broadcast_to(True if induced.allowed is None else induced.allowed, induced.policy_shape)[time]
        for population in populations:
            rewards = induced.table(population.reshape(n_states, n_actions), time)[-1][allowed]
            low, high = min(low, float(rewards.min())), max(high, float(rewards.max()))
    return high - low


def mirror_descent_step(
    policy: Array, q: Array, epoch: int, temperature: float, step_exponent: float = 0.5
) -> Array:
    """Take the policy mirror descent update of Yardim & He, Algorithm 2, line 5, before mixing.

    pihat_{t+1} is proportional to pi_t^{1 - tau xi_t} exp(xi_t q) with xi_t = (t + 1)^-p, the closed form of
    argmax_u xi_t/(1 - tau xi_t) (<u, q> + tau H(u)) - KL(u | pi_t).

    Parameters
    ----------
    policy, q:
        pi_t, positive, and q_t = Q_t - tau H(pi_t); shape (..., A).
    epoch:
        Number t of the epoch, from 0.
    temperature:
        Entropy regularisation tau.
    step_exponent:
        Exponent p >= 0 of the step size; 0.5 in the paper.

    Returns
    -------
    pihat_{t+1}, shape (..., A).
    """
    step = (epoch + 1.0) ** -step_exponent
    logits = (1.0 - temperature * step) * np.log(policy) + step * q
    logits -= logits.max(axis=-1, keepdims=True)
    weights: Array = np.exp(logits)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


class _PolicyMirrorDescent(Trainer[PMDConfig]):
    """Base class of policy mirror descent on ``n_tables`` policies; an iteration is an epoch."""

    config_class = PMDConfig
    needs_horizon = True

    reward_scale: float
    """Factor by which rewards are multiplied before Q is learned from them."""

    @staticmethod
    @abc.abstractmethod
    def _n_tables(game: FiniteGame) -> int:
        """Number of policies that are learned: one, or one per agent."""

    @property
    def n_tables(self) -> int:
        """Number of policies that are learned: one, or one per agent."""
        return self._n_tables(self.game)

    @property
    def policy(self) -> TabularPolicy:
        """The algorithm's output: the average of pi_0, ..., pi_t (Algorithm 2, line 7)."""
        return self._as_policy(self._squeezed(self._sum / (self.iteration + 1)))

    @property
    def last_policy(self) -> TabularPolicy:
        """The last iterate pi_t."""
        return self._as_policy(self._squeezed(self._law))

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps in an epoch's episodes: M N H."""
        return self.config.episodes * self.game.n_agents * self.game.horizon

    def _set_up(self) -> None:
        shape = (self.n_tables, self.game.horizon, self.game.n_states, self.game.n_actions)
        self._law = np.full(shape, 1.0 / self.game.n_actions)
        self._sum = self._law.copy()
        self._engine = Engine(self.game, self.config.episodes, device=self.config.device)
        if self.config.reward_scale is not None:
            self.reward_scale = self.config.reward_scale
        else:
            span = reward_span(self._induced)
            self.reward_scale = REWARD_SPAN / span if span > 0.0 else 1.0

    @functools.cached_property
    def _induced(self) -> InducedGame:
        return InducedGame(self.game)

    def _iterate(self) -> dict[str, float]:
        config, law = self.config, self._law
        run = self._engine.rollout(self._squeezed(law), seed=config.seed, episode=self.iteration)
        estimate = td_update(
            QEstimate.zeros(law.shape),
            run,
            law,
            temperature=config.temperature,
            agents=config.agents,
            delta=config.delta,
            reward_scale=self.reward_scale,
        )
        # Yardim & He's q = Q - tau H(pi) differs from Q by a constant over actions, which the step ignores.
        stepped = mirror_descent_step(law, estimate.q, self.iteration, config.temperature, config.step_exponent)
        weight = {"shifted": 1.0 / (self.iteration + 2), "paper": 1.0 / (self.iteration + 1), "none": 0.0}[
            config.mixing
        ]
        mixed = np.maximum((1.0 - weight) * stepped + weight / self.game.n_actions, SMALLEST)
        self._law, self._sum = mixed, self._sum + mixed
        return {
            "train/return": float(run.returns.mean()),
            "train/entropy": float(-(mixed * np.log(mixed)).sum(axis=-1).mean()),
            "train/unvisited": float((estimate.visits == 0).mean()),
        }

    def _squeezed(self, tables: Array) -> Array:
        return tables[0] if self.n_tables == 1 else tables

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: PMDConfig, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        shape = (cls._n_tables(game), *game.policy_shape)
        return {
            "law": ArraySpecification(np.float64, shape, low=SMALLEST, total=1.0),
            "sum": ArraySpecification(np.float64, shape, low=SMALLEST, total=iteration + 1.0),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"law": self._law, "sum": self._sum}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._law, self._sum = state["law"], state["sum"]


class SymmPMD(_PolicyMirrorDescent):
    """Symmetrised policy mirror descent (Symm-PMD): all agents share one policy, and one Q from all trajectories.

    Hyper-parameters: :class:`PMDConfig`. Logs the mean-field exploitability of the average policy.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Algorithm 2.
    """

    name = "symm-pmd"

    @staticmethod
    def _n_tables(game: FiniteGame) -> int:
        return 1

    def _iterate(self) -> dict[str, float]:
        measured = super()._iterate()
        average = self._sum[0] / (self.iteration + 2)
        return {**measured, **exploitability_measures(self._induced, average)}


class IPMD(_PolicyMirrorDescent):
    """Independent policy mirror descent (IPMD): every agent has its own policy and Q, from its own trajectories.

    The tables of the N agents are one array. Hyper-parameters: :class:`PMDConfig`.

    References
    ----------
    Yardim & He, arXiv 2408.15173, section 3 (the baseline).
    """

    name = "ipmd"

    @staticmethod
    def _n_tables(game: FiniteGame) -> int:
        return game.n_agents
