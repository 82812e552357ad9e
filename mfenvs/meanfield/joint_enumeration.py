"""C(pi) of a small game exactly: the N-player game written out over all joint states and joint actions.

The best response is that of Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585): a policy of the
joint state, S^N -> P(A), of a deviator who influences the others. Nothing is simulated and nothing neglected, so
that :func:`mfenvs.relative_exploitability`, which works for large games, can be compared with it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import count_rule
from mfenvs.engine.interpreted_rules import try_out
from mfenvs.engine.layout import Layout
from mfenvs.engine.model import check_model, in_double_precision, model_kernels
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rules, kind_of
from mfenvs.meanfield.action_masks import Masks, actions_of_agents, masks_of
from mfenvs.play import tabulate
from mfenvs.public_chain import refuse_public_chain
from mfenvs.rules import World

Array = NDArray[np.float64]

MOST_JOINT_TRANSITIONS = 2**26
"""Largest number of transition probabilities between joint states, |S|^N |A|^N |S|^N: 512 MB."""
MOST_IMPROVEMENTS = 1000
"""Number of policies after which policy iteration gives up; it needs some ten."""


@dataclasses.dataclass(frozen=True)
class ExactRelativeExploitability:
    """Results of :func:`exact_relative_exploitability`."""

    relative: float
    """The relative exploitability C(pi)."""
    absolute: float
    """The gap max V_i - V_i, averaged over agents and joint states, in units of discounted reward."""
    best_value: float
    """The best response's value max V_i, averaged over agents and joint states."""
    gains: Array
    """The gap of every agent in every joint state, shape (n_agents, |S|^N)."""
    joint_states: NDArray[np.int64]
    """The joint states in the order of ``gains``, shape (|S|^N, n_agents)."""


def exact_relative_exploitability(
    game: FiniteGame, policy: Any, *, safeguard: float = 0.1
) -> ExactRelativeExploitability:
    """Compute C(pi) of a joint policy in a small infinite game by enumerating joint states and actions.

    Parameters
    ----------
    game:
        A finite game without end, with |S|^N |A|^N |S|^N at most 2^26.
    policy:
        One stationary policy for all agents, shape (1, S, A), or one for each, (n_agents, 1, S, A); or any other
        policy that :func:`mfenvs.tabulate` takes.
    safeguard:
        The constant eps_0 > 0 in the denominator [S: 0.1].

    Returns
    -------
    C(pi), the gap and the best responses' value. Best responses are policies of the joint state, and take actions
    that the rule ``allowed`` allows and no others.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the game ends, has several populations or is too large, or its transition
        rows are not probabilities or its rewards not finite.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585.
    """
    if not isinstance(game, FiniteGame):
        raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
    refuse_public_chain(game, "exact_relative_exploitability")
    if not game.is_infinite:
        raise ValueError(f"game must be infinite, with a discount below 1, got {game.discount:g}")
    if game.n_populations > 1:
        raise ValueError(f"game must have one population, got {game.n_populations}")
    safeguard = checks.real("safeguard", safeguard, 0.0, exclude_low=True)
    n, n_states, n_actions = game.n_agents, game.n_states, game.n_actions
    checks.at_most(
        "the number of transition probabilities between joint states |S|^N |A|^N |S|^N",
        (n_states * n_actions * n_states) ** n,
        MOST_JOINT_TRANSITIONS,
    )
    law = np.broadcast_to(tabulate(game, policy).reshape(-1, *game.policy_shape), (n, *game.policy_shape))[:, 0]
    states = np.indices((n_states,) * n).reshape(n, -1).T
    actions = np.indices((n_actions,) * n).reshape(n, -1).T
    rows, rewards = _joint_tables(game)
    allowed = actions_of_agents(game)
    moves = np.ones((len(states), len(actions), len(states)))
    for i in range(n):
        moves *= rows[i][:, :, states[:, i]]
    chances = np.stack([law[i][states[:, i]][:, actions[:, i]] for i in range(n)])
    gains, bests = np.empty((2, n, len(states)))
    for i in range(n):
        of_others = np.delete(chances, i, axis=0).prod(axis=0)
        own, p, r = law[i][states[:, i]], [], []
        for a in range(n_actions):
            taken = actions[:, i] == a
            p.append(np.einsum("xu,xuy->xy", of_others[:, taken], moves[:, taken]))
            r.append((of_others[:, taken] * rewards[i][:, taken]).sum(axis=1))
        problem = np.stack(p, axis=1), np.stack(r, axis=1)
        masks = masks_of(allowed, [i])
        bests[i] = best_values(*problem, game.discount, None if masks is None else masks[0, 0][states[:, i]])
        gains[i] = bests[i] - policy_values(own, *problem, game.discount)
    relative = gains / (np.abs(bests) + safeguard)
    return ExactRelativeExploitability(
        float(relative.mean()), float(gains.mean()), float(bests.mean()), gains, states
    )


def policy_values(policy: Array, transitions: Array, rewards: Array, discount: float) -> Array:
    """Values (X,) of a policy (X, A) with transitions (X, A, X) and rewards (X, A), discounted for ever."""
    moves = np.einsum("xa,xay->xy", policy, transitions)
    earned = (policy * rewards).sum(axis=1)
    return np.asarray(np.linalg.solve(np.eye(len(policy)) - discount * moves, earned))


def best_values(transitions: Array, rewards: Array, discount: float, allowed: Masks | None = None) -> Array:
    """Optimal values (X,) with transitions (X, A, X) and rewards (X, A), discounted for ever."""
    return policy_values(best_policy(transitions, rewards, discount, allowed), transitions, rewards, discount)


def best_policy(transitions: Array, rewards: Array, discount: float, allowed: Masks | None = None) -> Array:
    """An optimal policy (X, A) with transitions (X, A, X) and rewards (X, A), by policy iteration.

    It takes actions that are ``allowed``, shape (X, A); by default all are.
    """
    eye = np.eye(rewards.shape[1])
    handicap = 0.0 if allowed is None else np.where(allowed, 0.0, -np.inf)
    policy = eye[(rewards + handicap).argmax(axis=1)]
    for _ in range(MOST_IMPROVEMENTS):
        values = policy_values(policy, transitions, rewards, discount)
        q = rewards + discount * transitions @ values + handicap
        if (q.max(axis=1) <= values + 1e-12 * max(1.0, float(np.abs(values).max()))).all():
            return np.asarray(policy)
        policy = eye[q.argmax(axis=1)]
    raise ValueError(f"policy iteration has not ended after {MOST_IMPROVEMENTS} policies")


def _joint_tables(game: FiniteGame) -> tuple[list[Array], list[Array]]:
    """Every agent's transition rows (X, U, S) and rewards (X, U) at all joint states and joint actions."""
    try_out(game)
    n, n_states, n_actions = game.n_agents, game.n_states, game.n_actions
    pairs, parameters = n_states * n_actions, in_double_precision(game.agents)
    count, tables = _counting_kernel(game.rules, Layout.of(game)), model_kernels(game).responses
    n_worlds = pairs ** (n - 1)
    found: tuple[list[Array], list[Array]] = [], []
    for i in range(n):
        # A world for all that the others may be and do; the kernel tries everything that the agent may.
        others = np.zeros((n_worlds, n), np.int64)
        others[:, np.arange(n) != i] = np.indices((pairs,) * (n - 1)).reshape(n - 1, -1).T
        states = (others // n_actions).astype(game.state_dtype)[:, None]
        actions = (others % n_actions).astype(np.int32)[:, None]
        counts = np.zeros((n_worlds, 1, game.n_cells))
        count(states, actions, parameters, game.constants, counts, np.empty(game.n_signals))
        rows = np.zeros((n_worlds, 1, n_states, n_actions, n_states))
        rewards = np.zeros((n_worlds, 1, n_states, n_actions))
        each = np.stack([np.arange(n_worlds), np.arange(n_worlds) + 1], axis=1)
        tables(
            *(states, actions, counts, np.full(n_worlds, i), each, game.own_states, parameters, game.constants),
            *(np.empty(game.n_cells), np.empty(game.n_signals), rows, rewards, 0, n_worlds),
        )
        check_model(game, rows, rewards)
        for table, results in zip((rows, rewards[..., None]), found, strict=True):
            # From (others' states and actions in turn, own state, own action) to all states, then all actions.
            axes = table.reshape(*(n_states, n_actions) * n, -1)
            order = [j if j < i else j - 1 for j in range(n)]
            order[i] = n - 1
            by_agent = [2 * place for place in order] + [2 * place + 1 for place in order] + [2 * n]
            results.append(axes.transpose(by_agent).reshape(n_states**n, n_actions**n, -1))
    return found[0], [table[..., 0] for table in found[1]]


@functools.cache
def _counting_kernel(rules: Rules, layout: Layout) -> Callable[..., Any]:
    count = count_rule(rules, layout)

    @kernel
    def count_all(states: Any, actions: Any, agents: Any, constants: Any, counts: Any, signal: Any) -> None:
        """Count the agents of every world (n_worlds, 1, n_agents) into ``counts`` (n_worlds, 1, n_cells)."""
        per_other, per_agent = 1.0 / (len(agents) - 1), 1.0 / len(agents)
        for w in range(len(states)):
            world = World(counts[w, 0], signal, constants, 0, -1, 0.0, per_other, per_agent)
            count(states[w, 0], actions[w, 0], agents, world, counts[w, 0])

    return count_all
