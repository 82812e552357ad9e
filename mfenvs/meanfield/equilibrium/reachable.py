"""Mirror descent over the pairs of a state and an action that can be reached at each time, and no others.

In a large game that begins somewhere, such as traffic through a network, few of all states can be reached at each
time. Here those are listed that some policy reaches from the initial law, in the populations that have occurred so
far, with the actions that are allowed there. Laws, rows and values are computed for them alone. Lists are closed
under all allowed actions: so values of best responses are exact, and so is the exploitability of every policy on
the way.

Where the best actions are better than others by a margin, as where travel times are whole numbers, mirror descent
forgets the others exponentially, but never quite. So policies that leave them out are tried as well [O].
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import int64
from numpy.typing import NDArray

from mfenvs.checks import PROBABILITY_TOLERANCE
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import no_aggregate, own_count_rules
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rules
from mfenvs.meanfield.bellman import is_open
from mfenvs.meanfield.induced import InducedGame
from mfenvs.rules import World, rule

Array = NDArray[np.float64]

LARGE = 200_000
"""Number of states at all times together from which on lists are worth their compilation."""
FEW = 0.25
"""Largest share of them that can be reached against the uniform policy."""
MARGINS = 1e-2, 1e-4
"""Actions whose Q is so much below the best are left out, in units of the largest gain over the uniform policy."""
FIRST_PAUSE, PAUSE = 0.5, 3.0
"""Seconds until a policy is told that is not good enough, and later how many times as long as what the caller does
with one takes."""
GAINS, PATIENCE, LEVELLED = 0.9, 3, 0.25
"""If so many attempts, and later twice as many, do not bring the exploitability to this share of the least one,
the rate is halved and scores keep this share."""
AT_A_TIME = 8
"""Number of iterations after which policies without bad actions are tried."""


class Pairs(NamedTuple):
    """Pairs of a state and an allowed action, and what is known of each.

    A state of a time has its pairs next to each other: those from ``firsts`` up to ``lasts``.
    """

    sizes: Any
    """Number of states listed at each time, (T,)."""
    states: Any
    """The states, (T, S); only the first ``sizes`` of a row count."""
    firsts: Any
    lasts: Any
    """Where their pairs begin and end, (T, S)."""
    is_listed: Any
    """Whether a state is listed at a time, (T, S)."""
    total: Any
    """Number of pairs, (1,)."""
    actions: Any
    """The action of a pair, (n,)."""
    policy: Any
    """Its probability, (n,)."""
    sharp: Any
    """Its probability under the policy that leaves bad actions out, (n,)."""
    scores: Any
    """Its score in mirror descent, (n,)."""
    rewards: Any
    """R, (n,)."""
    q: Any
    """Q of the policy that was evaluated last, (n,)."""
    chances: Any
    """Probabilities of its successors, (n, K)."""
    successors: Any
    """Its successors, (n, K)."""


@functools.cache
def count_pair_rule(rules: Rules, n_actions: int, counts_state_actions: bool) -> Callable[..., Any]:
    """Make the rule that adds the mass of one pair to the counts."""
    add = rules.count
    if add is not None:

        @rule
        def count_added(mass: Any, s: Any, a: Any, agents: Any, shares: Any, world: Any) -> None:
            for i in range(len(agents)):
                add(world.counts, mass * shares[i], s, a, agents[i], world)

        return count_added
    cell, weight = own_count_rules(rules)

    @rule
    def count_pair(mass: Any, s: Any, a: Any, agents: Any, shares: Any, world: Any) -> None:
        if counts_state_actions:
            world.counts[s * n_actions + a] += mass
        else:
            for i in range(len(agents)):
                world.counts[cell(s, a, agents[i])] += mass * shares[i] * weight(s, a, agents[i])

    return count_pair


@rule
def keep_row(p: Any, s: Any, world: Any, pairs: Any, arrays: Any) -> Any:
    """Leave the row of a pair, which is always the same; return True."""
    return True


@functools.cache
def branch_row_rule(branch: Callable[..., Any], n_branches: int) -> Callable[..., Any]:
    """Make the rule that tabulates the row of a pair by a game's rule ``branch``, for an only agent."""

    @rule
    def branch_row(p: Any, s: Any, world: Any, pairs: Any, arrays: Any) -> Any:
        """Write the successors of a pair and their probabilities; return whether they are a law over states."""
        n_states, total, lowest = arrays.present.shape[0], 0.0, 0.0
        for k in range(n_branches):
            given, probability = branch(k, s, pairs.actions[p], arrays.agents[0], world)
            successor = int64(given)
            if not (successor == given and successor >= 0 and successor < n_states):
                return False
            pairs.successors[p, k], pairs.chances[p, k] = successor, probability
            total += probability
            lowest = min(lowest, probability)
        # Written such that a NaN fails the comparison.
        return abs(total - 1.0) <= PROBABILITY_TOLERANCE and lowest >= -PROBABILITY_TOLERANCE

    return branch_row


@rule
def list_state(h: Any, s: Any, pairs: Any, arrays: Any) -> None:
    """Add a state to those of a time, with its allowed actions, which are equally probable at first."""
    first = pairs.total[0]
    last = first
    is_fixed = len(arrays.transitions) == 1
    for a in range(arrays.rewards.shape[2]):
        if is_open(arrays.allowed, h, s, a):
            pairs.actions[last] = a
            if is_fixed:
                for k in range(pairs.chances.shape[1]):
                    pairs.chances[last, k] = arrays.transitions[0, s, a, k]
                    pairs.successors[last, k] = arrays.successors[0, s, a, k]
            last += 1
    for p in range(first, last):
        pairs.policy[p] = pairs.sharp[p] = 1.0 / (last - first)
        pairs.scores[p] = 0.0
    place = pairs.sizes[h]
    pairs.states[h, place], pairs.firsts[h, place], pairs.lasts[h, place] = s, first, last
    pairs.is_listed[h, s], pairs.sizes[h], pairs.total[0] = True, place + 1, last


@kernel
def list_initial(pairs: Any, arrays: Any) -> None:
    """List the states in which agents begin."""
    for s in range(len(arrays.initial)):
        if arrays.initial[s] > 0.0:
            list_state(0, s, pairs, arrays)


@kernel
def sharpen(margin: Any, pairs: Any) -> None:
    """Write the policy that leaves out actions whose Q is by more than the margin below the best one."""
    for h in range(len(pairs.sizes)):
        for i in range(pairs.sizes[h]):
            first, last = pairs.firsts[h, i], pairs.lasts[h, i]
            best, total = -math.inf, 0.0
            for p in range(first, last):
                best = max(best, pairs.q[p])
            for p in range(first, last):
                if pairs.q[p] >= best - margin:
                    total += pairs.policy[p]
            for p in range(first, last):
                if total > 0.0:
                    pairs.sharp[p] = pairs.policy[p] / total if pairs.q[p] >= best - margin else 0.0
                else:
                    pairs.sharp[p] = pairs.policy[p]


@kernel
def largest_gain(pairs: Any) -> Any:
    """The largest gain of a single action over the policy whose Q is in ``pairs``."""
    gain = 0.0
    for h in range(len(pairs.sizes)):
        for i in range(pairs.sizes[h]):
            mean = 0.0
            for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                mean += pairs.policy[p] * pairs.q[p]
            for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                gain = max(gain, pairs.q[p] - mean)
    return gain


@kernel
def write_policy(pairs: Any, given: Any, policy: Any) -> None:
    """Write the probabilities of pairs, ``given``, into a policy (T, S, A)."""
    for h in range(len(pairs.sizes)):
        for i in range(pairs.sizes[h]):
            s = pairs.states[h, i]
            for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                policy[h, s, pairs.actions[p]] = given[p]


@rule
def value_pairs(policy: Any, pairs: Any, arrays: Any, values: Any) -> Any:
    """Write Q of a policy against the rows in ``pairs``; return how much a best response gains.

    ``values`` (4, S) is scratch: those of the policy and of the best response, at two times.
    """
    gain = 0.0
    horizon, n_kept = len(pairs.sizes), pairs.chances.shape[1]
    for step in range(horizon):
        h = horizon - 1 - step
        now, later = 2 * (h % 2), 2 * ((h + 1) % 2)
        for i in range(pairs.sizes[h]):
            s, own_value, best_value = pairs.states[h, i], 0.0, -math.inf
            for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                own = pairs.rewards[p]
                best = own
                for k in range(n_kept if step > 0 else 0):
                    chance = pairs.chances[p, k]
                    if chance != 0.0:
                        to = pairs.successors[p, k]
                        own += chance * values[later, to]
                        best += chance * values[later + 1, to]
                pairs.q[p] = own
                own_value += policy[p] * own
                best_value = max(best_value, best)
            values[now, s], values[now + 1, s] = own_value, best_value
            if h == 0:
                gain += arrays.initial[s] * (best_value - own_value)
    return gain


@rule
def respond_softly(rate: Any, pairs: Any) -> None:
    """Add the rate times Q to the scores, and let the policy be their softmax."""
    for h in range(len(pairs.sizes)):
        for i in range(pairs.sizes[h]):
            first, last = pairs.firsts[h, i], pairs.lasts[h, i]
            if last == first + 1:
                continue
            highest, total = -math.inf, 0.0
            for p in range(first, last):
                pairs.scores[p] += rate * pairs.q[p]
                highest = max(highest, pairs.scores[p])
            for p in range(first, last):
                pairs.scores[p] -= highest
                pairs.policy[p] = math.exp(pairs.scores[p])
                total += pairs.policy[p]
            for p in range(first, last):
                pairs.policy[p] /= total


@functools.cache
def descent_kernel(
    rules: Rules,
    write_row: Callable[..., Any],
    reward: Callable[..., Any],
    n_actions: int,
    counts_state_actions: bool,
) -> Callable[..., Any]:
    """Make the kernel of mirror descent from a game's rules and the rule that tabulates a row of P."""
    count, aggregate = count_pair_rule(rules, n_actions, counts_state_actions), rules.aggregate or no_aggregate

    @rule
    def flow(policy: Any, pairs: Any, arrays: Any) -> Any:
        """Write P and R of listed pairs in the flow of a policy, and list what can be reached.

        Returns False if a row is no law over states or a reward not finite.
        """
        horizon, n_kept = len(pairs.sizes), pairs.chances.shape[1]
        agents, shares = arrays.agents, arrays.shares
        present, ahead = arrays.present, arrays.ahead
        for i in range(pairs.sizes[0]):
            present[pairs.states[0, i]] = arrays.initial[pairs.states[0, i]]
        for h in range(horizon):
            arrays.counts[:] = 0.0
            world = World(arrays.counts, arrays.signal, arrays.constants, h, -1, 0.0, 1.0, 1.0)
            for i in range(pairs.sizes[h]):
                s = pairs.states[h, i]
                if present[s] > 0.0:
                    for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                        if policy[p] > 0.0:
                            count(present[s] * policy[p], s, pairs.actions[p], agents, shares, world)
            aggregate(world, arrays.signal)
            is_last = h + 1 == horizon
            for i in range(0 if is_last else pairs.sizes[h + 1]):
                ahead[pairs.states[h + 1, i]] = 0.0
            for i in range(pairs.sizes[h]):
                s = pairs.states[h, i]
                for p in range(pairs.firsts[h, i], pairs.lasts[h, i]):
                    earned = 0.0
                    for j in range(len(agents)):
                        earned += shares[j] * reward(s, pairs.actions[p], agents[j], world)
                    pairs.rewards[p] = earned
                    if not (write_row(p, s, world, pairs, arrays) and abs(earned) < math.inf):
                        return False
                    for k in range(0 if is_last else n_kept):
                        if pairs.chances[p, k] != 0.0:
                            to = pairs.successors[p, k]
                            if not pairs.is_listed[h + 1, to]:
                                list_state(h + 1, to, pairs, arrays)
                                ahead[to] = 0.0
                            ahead[to] += present[s] * policy[p] * pairs.chances[p, k]
            present, ahead = ahead, present
        return True

    @kernel
    def descend(
        n: Any, rate: Any, tolerance: Any, policy: Any, pairs: Any, arrays: Any, values: Any
    ) -> tuple[Any, Any]:
        """Do up to n iterations, and evaluate the policy that is left.

        Returns the number of iterations, -1 if a row could not be tabulated, and the exploitability. ``policy`` is
        that of ``pairs``, or with n = 0 another one to be evaluated.
        """
        done, gain = 0, math.inf
        while True:
            if not flow(policy, pairs, arrays):
                return -1, math.inf
            gain = value_pairs(policy, pairs, arrays, values)
            if done == n or gain <= tolerance:
                return done, gain
            respond_softly(rate, pairs)
            done += 1

    return descend


def can_list(induced: InducedGame) -> bool:
    """Whether :class:`ReachableDescent` serves a game, and is worth its compilation.

    Parameters
    ----------
    induced:
        The game, whose exploitability was last computed for the uniform policy.
    """
    game, varies = induced.game, induced.kernels.varies
    if game.is_infinite or game.n_populations > 1 or not induced.is_sparse:
        return False
    if varies and (game.branch is None or len(induced.agents) > 1):
        return False
    size = induced.n_times * induced.n_states
    return size >= LARGE and int(np.count_nonzero(induced.last_population().any(axis=-1))) <= FEW * size


class ReachableDescent:
    """Mirror descent of one game over what can be reached.

    Parameters
    ----------
    induced:
        A game for which :func:`can_list` holds.
    """

    def __init__(self, induced: InducedGame) -> None:
        self.induced = induced
        game: FiniteGame = induced.game
        n_times, n_states, n_actions = induced.policy_shape
        varies = game.branch is not None and induced.kernels.varies
        row = branch_row_rule(game.branch, game.n_branches) if varies else keep_row
        self._descend = descent_kernel(game.rules, row, game.expected_reward, n_actions, game.counts_state_actions)
        self._arrays = arrays = induced.flow_arrays()
        self._values = np.empty((4, n_states))
        # Memory is taken when it is written to: what is never reached costs none.
        n = n_times * n_states * n_actions
        n_kept = game.n_branches if varies else arrays.transitions.shape[3]
        self.pairs = Pairs(
            sizes=np.zeros(n_times, np.int64),
            states=np.empty((n_times, n_states), np.int32),
            firsts=np.empty((n_times, n_states), np.int64),
            lasts=np.empty((n_times, n_states), np.int64),
            is_listed=np.zeros((n_times, n_states), np.bool_),
            total=np.zeros(1, np.int64),
            actions=np.empty(n, np.int16),
            policy=np.empty(n),
            sharp=np.empty(n),
            scores=np.empty(n),
            rewards=np.empty(n),
            q=np.empty(n),
            chances=np.empty((n, n_kept)),
            successors=np.empty((n, n_kept), np.int32),
        )
        list_initial(self.pairs, arrays)

    def candidates(
        self, rate: float, tolerance: float, clock: Callable[[], float]
    ) -> Iterator[tuple[int, Array | None]]:
        """Run, and tell numbers of iterations done since the last time, and policies (T, S, A) if they are good.

        A policy is good if it is the best one so far, and either its exploitability is at most the tolerance or
        the last good one is a while ago. The run ends where a row is no law over states or a reward not finite.

        Parameters
        ----------
        rate:
            Learning rate, in units of the inverse of the largest gain of a single action over the uniform policy.
        tolerance:
            Exploitability at which to stop for a while, >= 0.
        clock:
            Function that returns the time in seconds.
        """
        pairs = self.pairs
        self._run(pairs.policy, 0, 0.0, 0.0)
        scale = max(float(largest_gain(pairs)), float(np.finfo(float).tiny))
        good, last, pause = math.inf, clock(), FIRST_PAUSE
        least, n_in_vain, patience, done = math.inf, 0, PATIENCE, 1
        for margin in itertools.cycle(MARGINS):
            # A policy that was good enough here and not to the caller is no reason to stop again.
            goal = tolerance if done > 0 else -1.0
            done, gap = self._run(pairs.policy, AT_A_TIME, rate / scale, goal)
            if done < 0:
                # The certificate of this policy raises the error that says what is wrong.
                found = self.induced.uniform_policy()
                write_policy(pairs, pairs.policy, found)
                yield 0, found
                return
            best, best_gap = pairs.policy, gap
            if gap > tolerance:
                sharpen(margin * scale, pairs)
                _, sharp_gap = self._run(pairs.sharp, 0, 0.0, 0.0)
                if sharp_gap < gap:
                    best, best_gap = pairs.sharp, sharp_gap
            n_in_vain = 0 if gap < GAINS * least else n_in_vain + 1
            least = min(gap, least)
            if best_gap < good and (best_gap <= tolerance or clock() - last >= pause):
                found, good, began = self.induced.uniform_policy(), best_gap, clock()
                write_policy(pairs, best, found)
                yield done, found
                last = clock()
                pause = PAUSE * (last - began)
            else:
                yield done, None
            if n_in_vain >= patience:
                # Large steps freeze in policies that are not good. Scores are levelled, and steps made smaller.
                pairs.scores[: pairs.total[0]] *= LEVELLED
                rate, least, n_in_vain, patience = 0.5 * rate, gap, 0, 2 * patience

    def _run(self, policy: Array, n: int, rate: float, tolerance: float) -> tuple[int, float]:
        """The number of iterations done, -1 if it failed, and the exploitability."""
        done, gap = self._descend(n, rate, tolerance, policy, self.pairs, self._arrays, self._values)
        return int(done), float(gap)
