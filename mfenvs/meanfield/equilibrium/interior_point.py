"""Equilibria by an interior-point method, where P is fixed and rewards read the mass in the own state only.

The unknowns are the masses x of pairs of a state and an action at each time, the values V and the slacks
z = V - Q. An equilibrium has x >= 0, z >= 0 and x z = 0, x is a flow, and V = max Q. If rewards fall with mass,
for all actions alike, these are the optimality conditions of a convex program (the game is a potential game, and
monotone), and Mehrotra's predictor-corrector method finds them in ten to twenty-five linear systems. On the
barrier path (:mod:`mfenvs.meanfield.equilibrium.barrier`) pi z tends to 0 alike for all pairs; here x z does, and
states of little mass need not be near their optimum before they matter [O].

Linearised, with g = V - R - P V' - z, c = dR / dm <= 0 and D = x / z,

    dz = g + dV - c dm - P dV',   dx = (target - x z) / z - D dz,   sum_a dx = dm,   dm' = sum P dx.

The changes of mass m follow from those of V state by state, and what is left is one sparse system for V.

References
----------
S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optim. 2, 575-601 (1992).
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.pairs import Pairs, reachable_pairs
from mfenvs.meanfield.equilibrium.sensitivity import Reads, Sensitivity
from mfenvs.meanfield.equilibrium.value_system import ValueSystem
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MOST_ITERATIONS, PATIENCE, GAINS = 200, 12, 0.9
"""Iterations at most, and number of iterations that must bring the mean of x z to this share of what it was."""
ROUNDING = 1e-13
"""The method ends where x z of all pairs together is this share of the largest value."""
SHORTEST, MOST_SHORT = 1e-3, 3
"""The method ends after so many steps in a row of which less than this share can be made."""
NEAR_BOUNDARY = 0.995
"""Share of the way to the boundary that a step goes at most."""
CENTERING = 3
"""Power of the share of x z that a step without centering would leave: the smaller it is, the less is centered."""
LEAST = 1e-300
"""Masses and slacks are never smaller."""
SHOWN = 10.0
"""Policies are shown from this multiple of the wanted exploitability on, and before when the sum of x z has fallen
by this factor."""
LEAST_MASS = 1e-30
"""The method is not for games in which a state has less mass under the uniform policy: no step could be made."""


def can_use_interior_point(induced: InducedGame, sensitivity: Sensitivity, rng: np.random.Generator) -> bool:
    """Whether a game ends, has one population, and a P that hangs on no population, and reads its own state only.

    Neither may there be states that next to nobody reaches by chance.

    Parameters
    ----------
    induced, sensitivity:
        The game, and what its rows read.
    rng:
        Random numbers of a population at which P is looked at.
    """
    if induced.game.is_infinite or induced.game.n_populations > 1:
        return False
    if sensitivity.reads not in (Reads.NOTHING, Reads.OWN_STATE):
        return False
    uniform = induced.flow(induced.uniform_policy())
    mass = uniform.mu.sum(axis=-1)
    if mass[mass > 0.0].min() < LEAST_MASS:
        return False
    if not induced.kernels.varies:
        return True
    weights = rng.exponential(size=induced.policy_shape) * (induced.uniform_policy() > 0.0)
    other = induced.flow(weights / weights.sum(axis=-1, keepdims=True))
    if not np.array_equal(uniform.transitions, other.transitions):
        return False
    if uniform.successors is None or other.successors is None:
        return uniform.successors is other.successors
    return np.array_equal(uniform.successors, other.successors)


class InteriorPoint:
    """The method for one game, for which :func:`can_use_interior_point` holds.

    Where rewards read no population, now and wherever one can get to, values are those of a single agent's
    decision problem. They are computed once, with a best policy, and such states are no part of the method: a best
    policy is not unique there, in general, and it would come near to one in many short steps.

    Parameters
    ----------
    induced, sensitivity:
        The game, and its derivatives.

    Raises
    ------
    MemoryError
        If the linear system is too large.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity) -> None:
        self.induced, self._sensitivity = induced, sensitivity
        uniform, self._arrays = induced.uniform_policy(), induced.flow_arrays()
        mass = self._flow(uniform).mu.copy()
        everything = reachable_pairs(self._arrays, uniform > 0.0)
        self._pairs, self._known_ahead = everything, np.zeros(len(everything.own))
        rewards, slopes = self._at(mass[everything.index])
        values = everything.best_values(rewards)
        self._policy_elsewhere = _best_policy(everything, everything.losses(values, rewards), uniform)
        # The flow of that policy has crowds, so that rewards differ if they read them.
        in_crowds = self._flow(self._policy_elsewhere).rewards[everything.index]
        do_read = ((slopes != 0.0) | (rewards != in_crowds)).astype(float)
        is_open = everything.leading_to(everything.sums(do_read) > 0.0)
        self._pairs = pairs = everything.kept(is_open)
        self._known_ahead = (everything.moves @ np.where(is_open, 0.0, values))[is_open[everything.own]]
        """The mean of the known values that are ahead of each pair."""
        self._uniform_mass = mass[pairs.index]
        self._is_first = pairs.times == 0
        self._system = ValueSystem(pairs, self._is_first)

    def policies(self, wanted: float = math.inf) -> Iterator[Array | None]:
        """Policies (T, S, A) that come nearer to an equilibrium, as far as rounding lets them.

        Parameters
        ----------
        wanted:
            The exploitability that is looked for. The sum of x z of all pairs is near the exploitability. Where it
            is much larger than this, None is yielded in the place of most policies: they need not be evaluated.
        """
        pairs, x = self._pairs, self._uniform_mass
        if pairs.n == 0:
            yield self._policy_elsewhere
            return
        rewards, slopes = self._at(x)
        values = pairs.best_values(rewards)
        loss = float(x @ pairs.losses(values, rewards))
        above = max(loss, ROUNDING * float(np.abs(values).max()), LEAST) / self.induced.n_times
        values = pairs.best_values(rewards, above)
        z = np.maximum(pairs.losses(values, rewards), LEAST)
        products, n_short = [float(x @ z)], 0
        last_shown = math.inf
        for _ in range(MOST_ITERATIONS):
            try:
                dx, dz, dv, share = self._step(x, z, values, rewards, slopes)
            except np.linalg.LinAlgError:
                return
            x, z, values = (
                np.maximum(x + share * dx, LEAST),
                np.maximum(z + share * dz, LEAST),
                values + share * dv,
            )
            products.append(float(x @ z))
            n_short = n_short + 1 if share < SHORTEST else 0
            is_stuck = len(products) > PATIENCE and not products[-1] <= GAINS * products[-1 - PATIENCE]
            is_done = products[-1] <= ROUNDING * float(np.abs(values).max())
            is_last = is_done or is_stuck or n_short >= MOST_SHORT
            if is_last or products[-1] <= max(SHOWN * wanted, last_shown / SHOWN):
                last_shown = products[-1]
                yield self._policy(x)
            else:
                yield None
            if is_last:
                return
            rewards, slopes = self._at(x)

    def _step(
        self, x: Array, z: Array, values: Array, rewards: Array, slopes: Array
    ) -> tuple[Array, Array, Array, float]:
        """The changes of x, z and V, and how much of them is to be made."""
        pairs = self._pairs
        missing, weights = pairs.losses(values, rewards) - z, x / z
        bent = weights * slopes
        total, fall = pairs.sums(weights), 1.0 - pairs.sums(bent)
        if not (fall > 0.0).all():
            raise np.linalg.LinAlgError("rewards rise with the crowd")
        answer = np.where(self._is_first, 0.0, 1.0 / fall)
        solved = self._system.solver(weights, slopes, total, answer)

        def changes(target: Array) -> tuple[Array, Array, Array]:
            """The changes by which x z becomes what it is plus the target."""
            h = target / z - weights * missing
            left = pairs.sums(h)
            answered = answer * left
            known = np.where(self._is_first, left, answered) - pairs.back @ (h + bent * answered[pairs.own])
            dv = solved(known)
            moved = pairs.moves @ dv
            dm = answer * (left - total * dv + pairs.sums(weights * moved))
            dz = missing + dv[pairs.own] - moved - slopes * dm[pairs.own]
            return (target - x * dz) / z, dz, dv

        dx, dz, _ = changes(-x * z)
        share = _farthest(x, dx, z, dz)
        mean = float(x @ z) / len(x)
        ahead = float((x + share * dx) @ (z + share * dz)) / len(x)
        dx, dz, dv = changes((ahead / mean) ** CENTERING * mean - x * z - dx * dz)
        if not (np.isfinite(dx).all() and np.isfinite(dz).all()):
            raise np.linalg.LinAlgError("the linear system is singular")
        return dx, dz, dv, _farthest(x, dx, z, dz)

    def _at(self, x: Array) -> tuple[Array, Array]:
        """Rewards of the pairs in a population, with known values ahead, and their slopes by the mass here."""
        index = self._pairs.index
        law = np.zeros(self.induced.policy_shape)
        law[index] = x
        freeze = self.induced.kernels.freeze
        _, self._arrays = self.induced.filled(lambda arrays: freeze(law, arrays), self._arrays)
        self._arrays.mu[:] = law
        slopes = self._sensitivity.reward_slopes(self._arrays)
        return self._arrays.rewards[index] + self._known_ahead, slopes[index]

    def _policy(self, x: Array) -> Array:
        """The policy whose flow x is."""
        pairs, policy = self._pairs, self._policy_elsewhere.copy()
        policy[pairs.index] = x / pairs.sums(x)[pairs.own]
        return policy

    def _flow(self, policy: Array) -> FlowArrays:
        """The flow of a policy."""
        flow = self.induced.kernels.flow
        _, self._arrays = self.induced.filled(lambda arrays: flow(policy, arrays), self._arrays)
        return self._arrays


def _best_policy(pairs: Pairs, losses: Array, policy: Array) -> Array:
    """A policy that plays a pair of least loss in every state that is listed, and ``policy`` in others."""
    best = policy.copy()
    best[pairs.index] = 0.0
    by_loss = np.lexsort((losses, pairs.own))[pairs.firsts]
    best[tuple(places[by_loss] for places in pairs.index)] = 1.0
    return best


def _farthest(x: Array, dx: Array, z: Array, dz: Array) -> float:
    """The share of a step that keeps x and z positive."""
    fastest = max(float((-dx / x).max()), float((-dz / z).max()))
    return min(1.0, NEAR_BOUNDARY / max(fastest, NEAR_BOUNDARY))
