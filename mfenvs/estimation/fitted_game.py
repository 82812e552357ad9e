"""The finite game whose transition probabilities and rewards are linear in the population."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import NO_PARAMETERS
from mfenvs.rules import rule


@rule
def fitted(k: Any, state: Any, action: Any, world: Any) -> Any:
    """Entry k of what was fitted for a state and an action, at the population of the others."""
    values, groups = world.constants
    n_actions, n_outcomes = values.shape[2], values.shape[3]
    of_all = world.signal[(state * n_actions + action) * n_outcomes + k]
    own = world.own_cell
    if own < 0:
        return of_all * 1.0
    time = min(world.time, values.shape[0] - 1)
    own_part = world.own_weight * world.per_other
    return of_all - own_part * values[time, state, action, k, groups[own // n_actions, own % n_actions]]


@dataclasses.dataclass(kw_only=True, eq=False)
class FittedGame(FiniteGame):
    """A finite game of N agents who are all alike, whose P and R are linear functions of the others' population.

    With phi_f the share of the others in group f of the pairs (state, action),

        P(s' | s, a, others) = Proj[ sum_f values[t, s, a, :S, f] phi_f ](s')
        R(s, a, others)      = sum_f values[t, s, a, S, f] phi_f

    where Proj is the Euclidean projection onto the probability simplex. It moves no two rows apart, so that it
    keeps Lipschitz moduli (Yardim & He, arXiv 2408.15173, remark on the extension to the simplex).
    """

    values: Any
    """Probabilities of the next state and, last, the reward, where all others are in one group: float64 of shape
    (T, S, A, S + 1, F). T is the horizon if the game depends on time, else 1."""
    groups: Any
    """Group of every pair of a state and an action, integers in [0, F), shape (S, A)."""
    first_states: Any
    """Distribution of the initial state, shape (S,)."""

    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    is_average: ClassVar[bool] = True

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """What is fitted for all states and actions, with all agents counted as if they were others."""
        values, groups = world.constants
        _, n_states, n_actions, n_outcomes, n_groups = values.shape
        time = min(world.time, values.shape[0] - 1)
        # The shares of the groups are kept behind the results.
        first = n_states * n_actions * n_outcomes
        for f in range(n_groups):
            signal[first + f] = 0.0
        for s in range(n_states):
            for a in range(n_actions):
                signal[first + groups[s, a]] += world.counts[s * n_actions + a] * world.per_other
        for s in range(n_states):
            for a in range(n_actions):
                for k in range(n_outcomes):
                    total = 0.0
                    for f in range(n_groups):
                        total += values[time, s, a, k, f] * signal[first + f]
                    signal[(s * n_actions + a) * n_outcomes + k] = total

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Entry of the fitted row, projected onto the simplex by Michelot's algorithm."""
        values, _ = world.constants
        n_states = values.shape[1]
        lowest, kept, kept_before = -math.inf, n_states + 1, n_states + 2
        while kept < kept_before:
            kept_before, total, kept = kept, 0.0, 0
            for k in range(n_states):
                entry = fitted(k, state, action, world)
                if entry > lowest:
                    total += entry
                    kept += 1
            lowest = (total - 1.0) / kept
        return max(fitted(next_state, state, action, world) - lowest, 0.0)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The fitted reward."""
        values, _ = world.constants
        return fitted(values.shape[1], state, action, world)

    def check(self) -> None:
        """Check that the tables fit each other and hold finite numbers, and the groups and the law exist."""
        found = checks.finite_numbers("values", self.values)
        if found.ndim != 5 or 0 in found.shape or found.shape[3] != found.shape[1] + 1:
            raise ValueError(f"values must have shape (T, S, A, S + 1, F), got {found.shape}")
        n_times, n_states, n_actions, _, n_groups = found.shape
        if n_times not in (1, self.horizon) or (n_times > 1 and self.discount < 1.0):
            raise ValueError(
                f"values must have T = 1, or T = horizon = {self.horizon} in a game that ends, got T = {n_times}"
            )
        self.values = _read_only(found)
        self.groups = _read_only(checks.indices("groups", self.groups, (n_states, n_actions), 0, n_groups - 1))
        law = checks.probabilities("first_states", self.first_states, (n_states,))
        self.first_states = _read_only(law)
        super().check()

    @property
    def n_states(self) -> int:
        """Number of local states |S|."""
        return int(self.values.shape[1])

    @property
    def n_actions(self) -> int:
        """Number of actions |A|."""
        return int(self.values.shape[2])

    @property
    def n_signals(self) -> int:  # type: ignore[override]  # a constant of games whose sizes are fixed
        """S A (S + 1) fitted numbers and F shares."""
        return int(np.prod(self.values.shape[1:4])) + int(self.values.shape[4])

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The distribution of the initial state, shape (n_states,)."""
        law: NDArray[np.float64] = self.first_states
        return law

    @property
    def constants(self) -> tuple[Any, ...]:
        """The tables, for the rules."""
        return self.values, self.groups


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    kept = array.copy()
    kept.flags.writeable = False
    return kept
