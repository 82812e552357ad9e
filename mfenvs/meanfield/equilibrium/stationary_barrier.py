"""The smoothed equilibrium of an infinite game with the population's law as an unknown of Newton's method.

A policy near an equilibrium may move the population ever more slowly, as actions that lead out of a place become
rare. Its stationary law then takes ever more steps to find. Here the law is not searched for: that inflow and
outflow of every state balance is one more condition beside those of the policy [O].
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mfenvs.meanfield.equilibrium.barrier import MOST_FALL, BarrierProblem
from mfenvs.meanfield.equilibrium.directions import ALONG, NEWTON, Linearised
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

LEAST_MASS = 1e-100
"""No mass of a state becomes smaller than this while Newton's method works."""
LEAST_OUTFLOW = 1e-9
"""Imbalances of inflow and outflow are relative to the outflow, or to this: what is smaller does not count."""
MOST_SETTLING_STEPS = 8
"""Number of corrections of the law under a policy that stays as it is."""
SETTLED = 2e-15
"""The l1 distance by which one more step changes a law that needs no correction."""


class StationaryProblem(BarrierProblem):
    """The smoothed equilibrium conditions of an infinite game, for its policy and its law together.

    Unknowns are arrays of shape (1, S, A + 1): the policy, and in the last column the law of states. So are errors
    and changes of logarithms.

    Parameters
    ----------
    induced, sensitivity, reference:
        As for :class:`~mfenvs.meanfield.equilibrium.barrier.BarrierProblem`.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity, reference: Array) -> None:
        super().__init__(induced, sensitivity, reference)
        game = induced.game
        self._populations = np.eye(game.n_populations, dtype=np.bool_)[game.population_of_state]
        self._gained = np.zeros(induced.n_states)
        self._last: Linearised | None = None

    def unknowns(self, policy: Array) -> Array:
        """The unknowns that belong to a policy and its stationary law."""
        return self._joined(policy, self._flow(policy).mu[0].sum(axis=-1))

    def policy_of(self, unknowns: Array) -> Array:
        """The policy that is part of unknowns, (1, S, A), or its changes that are part of those of unknowns."""
        return np.ascontiguousarray(unknowns[..., :-1])

    def law_of(self, unknowns: Array) -> Array:
        """The stationary law of the policy that is part of unknowns, near the law that is, (S,)."""
        policy, mass = self.policy_of(unknowns), unknowns[0, :, -1].copy()
        if self._last is None:
            return mass
        n = len(mass)
        conserved = (self._populations @ self._populations.T) / n
        factors, pivots, info = lapack.dgetrf(np.eye(n) - self._last.moves() + conserved)
        best, least = mass, np.inf
        for _ in range(MOST_SETTLING_STEPS if info == 0 else 0):
            self._tabulate(policy, mass)
            distance = float(np.abs(self._gained).sum())
            if distance < least:
                best, least = mass, distance
            if distance <= SETTLED:
                break
            mass = self._conserved(np.maximum(mass + lapack.dgetrs(factors, pivots, self._gained)[0], 0.0))
        return best

    def errors(self, policy: Array, eps: float) -> Array:
        """Relative errors of the policy's conditions, and of the balance of every state, (1, S, A + 1)."""
        law, mass = self.policy_of(policy), policy[0, :, -1]
        outflow = self._tabulate(law, mass)
        of_law = self._gained / np.maximum(outflow, LEAST_OUTFLOW)
        return self._joined(self._policy_errors(law, eps), of_law)

    def directions(self, policy: Array, eps: float, errors: Array) -> tuple[Array, Array]:
        """Changes of logarithms towards the path and along it, by log eps, (1, S, A + 1) each."""
        law, mass = self.policy_of(policy), policy[0, :, -1]
        self._last = self._linearised(law, eps)
        changes, of_mass = self._last.directions(self._towards(law, errors[..., :-1]), self._gained)
        logs = np.concatenate((self._relative(changes, law), (of_mass / mass[:, None])[None, :, None]), axis=2)
        if not np.isfinite(logs).all():
            raise np.linalg.LinAlgError("the smoothed equilibrium conditions are singular")
        return logs[..., NEWTON], logs[..., ALONG]

    def moved(self, policy: Array, log_change: Array) -> Array:
        """The unknowns after a change of logarithms."""
        mass = policy[0, :, -1] * np.exp(np.clip(log_change[0, :, -1], -MOST_FALL, MOST_FALL))
        law = super().moved(self.policy_of(policy), log_change[..., :-1])
        return self._joined(law, self._conserved(np.maximum(mass, LEAST_MASS)))

    def _tabulate(self, policy: Array, mass: Array) -> Array:
        """Tabulate a law of states under a policy, and what each state gains in a step; return outflows, (S,)."""
        law = mass[None, :, None] * policy
        freeze = self.induced.kernels.freeze
        _, arrays = self.induced.filled(lambda tables: freeze(law, tables), self._arrays)
        arrays.mu[...] = law
        self._arrays = arrays
        moved = law[0][..., None] * arrays.transitions[0]
        n_states, _, n_kept = moved.shape
        ahead = np.arange(n_kept) if arrays.successors is None else arrays.successors[0]
        leaves = np.where(ahead == np.arange(n_states)[:, None, None], 0.0, moved)
        places = np.broadcast_to(ahead, moved.shape).ravel()
        inflow, outflow = np.bincount(places, leaves.ravel(), n_states), leaves.sum(axis=(1, 2))
        self._gained = inflow - outflow
        return np.asarray(outflow, np.float64)

    def _conserved(self, mass: Array) -> Array:
        """Mass with the sum that belongs to every population."""
        wanted = self._populations.T @ self.induced.initial
        return np.asarray(mass * (self._populations @ (wanted / (self._populations.T @ mass))), np.float64)

    def _joined(self, of_policy: Array, of_law: Array) -> Array:
        return np.concatenate((of_policy, of_law[None, :, None]), axis=-1)
