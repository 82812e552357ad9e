"""Equilibria of finite mean-field games without tuning: several methods in turn, and a certificate."""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import kind_of
from mfenvs.meanfield.equilibrium.barrier import BarrierProblem
from mfenvs.meanfield.equilibrium.barrier_path import BarrierPath
from mfenvs.meanfield.equilibrium.candidate import Candidate
from mfenvs.meanfield.equilibrium.interior_point import InteriorPoint, can_use_interior_point
from mfenvs.meanfield.equilibrium.reachable import ReachableDescent, can_list
from mfenvs.meanfield.equilibrium.revisions import can_revise, revise
from mfenvs.meanfield.equilibrium.sensitivity import NoDerivatives, Reads, Sensitivity
from mfenvs.meanfield.equilibrium.shooting import can_shoot, shoot
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.loop import ANSWER, LoopOptions, loop_kernel
from mfenvs.meanfield.population_flow import Flow
from mfenvs.meanfield.stopping import Report, Stopped
from mfenvs.registry import make

Array = NDArray[np.float64]
C = TypeVar("C", Candidate, Candidate | None)

RESPONSES, REVISIONS, SHOOTING, INTERIOR, BARRIER, PROXIMAL, DESCENT, POLISH, DETOUR = (
    "best responses",
    "asynchronous best responses",
    "shooting",
    "interior point",
    "barrier path",
    "proximal barrier paths",
    "mirror descent",
    "barrier from the best",
    "another barrier path",
)
"""Names of methods."""
RATES = 1.0, 10.0, 0.1
"""Learning rates of mirror descent, in units of the inverse of what deviations from uniform play gain at most."""
REACHABLE_RATES = 2.0, 0.5, 8.0
"""The same for mirror descent over what can be reached. The first is tried before all else."""
REACHABLE_TURN = 3.0
"""Seconds of that trial at most, or :data:`LONGEST_TURN` of the time limit if that is more."""
PATIENCE = 2
"""Number of best responses that are not better than an earlier one, after which they are given up."""
FIRST_TURN, TURN, LONGEST_TURN = 0.05, 0.5, 0.1
"""Seconds that a method gets in its first turn, and at most, absolutely or as a share of the time limit if that is
more. In between, turns are doubled."""
SLOW_RULES = 0.02
"""Where an exploitability takes so many seconds, mirror descent begins before derivatives are looked for."""
SLICE = 0.05
"""Seconds that compiled iterations run at a time."""
SAFETY = 0.5
"""The exploitability that methods are asked for, relative to the tolerance."""
FEWEST_STEPS, OPERATIONS_PER_SECOND = 30, 5e9
"""The barrier path is tried if so many Newton steps fit into the time limit."""
STALL = 400
"""A barrier path is left for a while if so many Newton steps in a row have found nothing better on it."""
PROXIMITIES = 0.1, 0.01, 0.001, 1e-4
"""Shares of the uniform policy in the references of proximal barrier paths, the rest being the best policy of the
chain. The next one is tried where a path has not led to a better policy."""
PROXIMAL_STEPS, VAIN_PATHS = 80, 8
"""Newton steps on each of them at most, and number of paths in a row without a better policy that end a chain."""
FIRST_CHAINS = 0.25
"""Share of the time limit that passes, with the turns of revisions in between, before other methods take turns."""


@dataclasses.dataclass(frozen=True)
class Solution:
    """What :func:`solve` returns."""

    policy: Array
    """The policy of least exploitability that was found, shape (T, S, A). In a game with a public chain S counts
    pairs of a public history and a local state (:class:`~mfenvs.InducedGame`)."""
    flow: Flow
    """Its population flow, and the decision problem in it. In an infinite game, :meth:`~mfenvs.InducedGame.flow`
    finds it from ``start=flow.mu[0].sum(axis=-1)``, and may take long from the initial law."""
    exploitability: float
    """Its exploitability in the mean-field game: the certificate. With several populations it is the largest of
    theirs."""
    exploitabilities: Array
    """Its exploitability for each population, shape (P,); one entry in a game with one population."""
    policies: Array
    """The policy of each population, shape (P, T, S, A), padded with zeros; (1, T, S, A) with one population."""
    method: str
    """The method that found it."""
    iterations: int
    """Number of best responses, Newton steps and iterations of all methods together."""
    seconds: float
    """Time that the call took, with that of compilation."""
    stopped: Stopped
    """Why it stopped: ``tolerance``, ``time``, ``callback`` or ``interrupted``."""
    history: tuple[Report, ...]
    """A report for every policy that was evaluated."""
    public_policy: Array | None = None
    """In a game with a public chain, the nearest policy that knows the time and the public state and not the whole
    history (:meth:`~mfenvs.meanfield.public_tree.PublicTree.by_public_state`), shape (T, M, S, A)."""
    public_exploitability: float | None = None
    """The exploitability of ``public_policy``: near that of ``policy`` if the history does not matter."""

    @property
    def is_solved(self) -> bool:
        """Whether the exploitability that was asked for was reached."""
        return self.stopped is Stopped.TOLERANCE


def solve(
    game: str | FiniteGame,
    *,
    tolerance: float = 1e-6,
    seconds: float = 60.0,
    callback: Callable[[Report], Any] | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    **constants: Any,
) -> Solution:
    """Find an equilibrium of the mean-field game that a finite game induces, without tuning.

    Best responses come first, as long as they become better. In games that end,

    * with two states, shooting comes next;
    * with a P that hangs on no population, and rewards that read the mass in the own state only, an interior-point
      method: if crowds are avoided it solves the game in some ten to twenty-five linear systems;
    * with many states of which few can be reached at each time, mirror descent over these, before all else.

    Then the log-barrier path from the uniform policy is followed by Newton's method: it solves most other games in
    some twenty to fifty linear systems. Where it folds, and the game ends, it takes turns with best responses of
    some states at a time. If the path stalls, others follow whose references are near the best policy found so
    far. After these, mirror descent with several learning rates, asynchronous best responses and more barrier
    paths, from the best policy, from random ones and from the uniform one, take turns until the time is over.
    Where rules jump, as by rounding, no derivatives exist, and there are no paths. Every policy is certified by
    its exact exploitability [O].

    Parameters
    ----------
    game:
        A finite game with an end or without, or the name of a registered one.
    tolerance:
        Exploitability to be reached, >= 0: by every population, if there are several.
    seconds:
        Time limit, > 0, that counts all of the call: a game's first one compiles its rules, which takes some
        seconds, even minutes on a busy machine. It is checked between steps, and none is broken off: not the
        first evaluation, and not a Newton step, which takes a second at S = 1000 or so.
    callback:
        Function of a :class:`~mfenvs.meanfield.stopping.Report`, called after every evaluation; the search stops
        when it returns False.
    seed:
        Random seed of the populations at which it is found out what the rules read, and of random policies.
    clock:
        Function that returns the time in seconds.
    constants:
        Constants of a game that is given by name.

    Returns
    -------
    The best policy, whether it is good enough or not. Ctrl-C ends the call and not the program.

    Raises
    ------
    TypeError, ValueError
        If the game is not finite or an argument is not allowed; if rules return values that are not allowed.
    """
    made = make(game, **constants)
    if not isinstance(made, FiniteGame):
        raise TypeError(f"game must be a finite game, got {kind_of(made)}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of a Report, got {checks.shown(callback)}")
    if not callable(clock):
        raise TypeError(f"clock must be a function that returns the time, got {checks.shown(clock)}")
    search = _Search(
        made,
        checks.real("tolerance", tolerance, 0.0),
        checks.real("seconds", seconds, 0.0, exclude_low=True),
        callback,
        checks.integer("seed", seed, 0),
        clock,
    )
    return search.run()


@contextlib.contextmanager
def cycles_allowed() -> Iterator[None]:
    """No warnings of populations that do not settle: against best responses they may cycle for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


class _Search:
    """One call of :func:`solve`."""

    def __init__(
        self,
        game: FiniteGame,
        tolerance: float,
        seconds: float,
        callback: Callable[[Report], Any] | None,
        seed: int,
        clock: Callable[[], float],
    ) -> None:
        self.tolerance, self.seconds, self.callback, self.clock = tolerance, seconds, callback, clock
        self.began = clock()
        self.induced = InducedGame(game)
        self.rng = np.random.default_rng(seed)
        self.iterations = 0
        self.history: list[Report] = []
        self.best, self.best_method = np.inf, BARRIER
        self.best_gaps = np.full(game.n_populations, np.inf)
        self.best_candidate = Candidate(self.induced.uniform_policy())

    def run(self) -> Solution:
        """Let the methods search until there is a reason to stop."""
        try:
            stopped = self._judge(self.best_candidate, BARRIER)
            for method, candidate in self._candidates() if stopped is None else ():
                if stopped := self._judge(candidate, method):
                    break
        except KeyboardInterrupt:
            stopped = Stopped.INTERRUPTED
        policy, law = self.best_candidate.policy, self.best_candidate.law
        flow, public_policy, public_gap = self.induced.flow(policy, start=law), None, None
        if self.induced.tree is not None:
            public_policy, _ = self.induced.tree.by_public_state(policy, flow.mu)
            public_gap = self.induced.exploitability(public_policy)
        return Solution(
            policy=policy,
            flow=flow,
            exploitability=self.best,
            exploitabilities=self.best_gaps,
            policies=self.induced.game.policies_by_population(policy),
            method=self.best_method,
            iterations=self.iterations,
            seconds=self._elapsed(),
            stopped=stopped or Stopped.TIME,
            history=tuple(self.history),
            public_policy=public_policy,
            public_exploitability=public_gap,
        )

    def _elapsed(self) -> float:
        return self.clock() - self.began

    def _judge(self, candidate: Candidate | None, method: str) -> Stopped | None:
        """Evaluate a policy, if there is one; say why to stop now, if there is a reason."""
        if candidate is not None:
            with cycles_allowed() if method == RESPONSES else contextlib.nullcontext():
                gaps = self.induced.exploitabilities(candidate.policy, start=candidate.law)
            gap = candidate.exploitability = float(gaps.max())
            if gap < self.best:
                self.best, self.best_method, self.best_gaps = gap, method, gaps
                self.best_candidate = dataclasses.replace(candidate, policy=candidate.policy.copy())
            report = Report(self.iterations, self._elapsed(), gap)
            self.history.append(report)
            if self.best <= self.tolerance:
                return Stopped.TOLERANCE
            if self.callback is not None and self.callback(report) is False:
                return Stopped.CALLBACK
        return Stopped.TIME if self._elapsed() >= self.seconds else None

    def _candidates(self) -> Iterator[tuple[str, Candidate | None]]:
        """The policies of all methods, with the names of these; None where a step has found no policy."""
        uniform, length = self.induced.uniform_policy(), FIRST_TURN
        response = self.induced.last_best_response()
        if can_list(self.induced):
            descents = [self._reachable_descent(rate) for rate in REACHABLE_RATES]
            yield from self._turn(DESCENT, descents[0], max(REACHABLE_TURN, LONGEST_TURN * self.seconds))
        else:
            descents = [self._descent(rate) for rate in RATES]
        for answer in self._responses(response):
            yield RESPONSES, answer
        if self._seconds_to_judge() > SLOW_RULES:
            for descent in descents:
                yield from self._turn(DESCENT, descent, length)
        sensitivity, revisions = self._sensitivity(), self._revisions()
        if sensitivity is not None:
            if can_shoot(self.induced, reads_actions=sensitivity.reads is Reads.PAIRS):
                found = shoot(self.induced)
                yield SHOOTING, None if found is None else Candidate(found)
            if can_use_interior_point(self.induced, sensitivity, self.rng):
                for policy in self._interior_point(sensitivity):
                    yield INTERIOR, None if policy is None else Candidate(policy)
            barrier, least = self._barrier(sensitivity, uniform), np.inf
            for candidate in self._counted(barrier, barrier.by_curves()):
                yield BARRIER, candidate
                least = min(least, candidate.exploitability)
            path, chains = self._counted(barrier, barrier.followed()), self._proximal_chains(sensitivity)
            yield from self._beside_revisions(self._first_paths(path, chains, least), revisions)
        while True:
            before, reached = self.best, []
            for descent in descents:
                reached.append((yield from self._turn(DESCENT, descent, length)))
            # The best rate gets half of the time.
            best_rate = int(np.argmin(reached))
            yield from self._turn(DESCENT, descents[best_rate], (len(RATES) - 2) * length)
            yield from self._turn(REVISIONS, revisions, length)
            if sensitivity is not None:
                yield from self._turn(BARRIER, path, length)
                yield from self._turn(PROXIMAL, chains, length)
                if self.best < before:
                    polish = self._barrier_points(sensitivity, uniform, self.best_candidate.policy)
                    yield from self._turn(POLISH, polish, length)
                detour = self._barrier_points(sensitivity, self._random_policy())
                yield from self._turn(DETOUR, detour, length)
            # Whatever is left of the methods, the time is looked at.
            yield DESCENT, None
            length = self._longer(length)

    def _responses(self, response: Array) -> Iterator[Candidate]:
        """Best responses, each to the flow of the one before, as long as they become better.

        They cost next to nothing, and end at once where an action is the best whatever others do.
        """
        n_in_vain = 0
        while n_in_vain < PATIENCE:
            before, self.iterations = self.best, self.iterations + 1
            yield Candidate(response)
            n_in_vain = 0 if self.best < before else n_in_vain + 1
            # The certificate's own values tell the best response.
            response = self.induced.last_best_response()

    def _seconds_to_judge(self) -> float:
        """How long an exploitability takes."""
        began = self.clock()
        self.induced.exploitability(self.best_candidate.policy, start=self.best_candidate.law)
        return self.clock() - began

    def _turn(
        self, method: str, candidates: Iterator[Candidate | None], length: float
    ) -> Generator[tuple[str, Candidate | None], None, float]:
        """What a method finds in a turn of so many seconds; the least exploitability of that is returned."""
        end, least = self.clock() + length, np.inf
        for candidate in candidates:
            yield method, candidate
            if candidate is not None:
                least = min(least, candidate.exploitability)
            if self.clock() >= end:
                break
        return least

    def _longer(self, length: float) -> float:
        """The length of the next turns."""
        return min(2.0 * length, max(TURN, LONGEST_TURN * self.seconds))

    def _sensitivity(self) -> Sensitivity | None:
        """The derivatives of the game; None if the barrier path cannot be afforded."""
        try:
            sensitivity = Sensitivity(self.induced, self.rng)
        except NoDerivatives:
            return None
        problem = BarrierProblem(self.induced, sensitivity, self.induced.uniform_policy())
        affordable = problem.work * FEWEST_STEPS < self.seconds * OPERATIONS_PER_SECOND
        return sensitivity if affordable else None

    def _first_paths(
        self, path: Iterator[Candidate | None], chains: Iterator[Candidate | None], least: float
    ) -> Iterator[tuple[str, Candidate | None]]:
        """What is found on a barrier path, as long as it gets better from time to time, and then on chains.

        ``least`` is the least exploitability that was found beside the path so far.
        """
        last = self.iterations
        for candidate in path:
            yield BARRIER, candidate
            if candidate is not None and candidate.exploitability < least:
                least, last = candidate.exploitability, self.iterations
            if self.iterations - last > STALL:
                break
        yield from self._turn(PROXIMAL, chains, FIRST_CHAINS * self.seconds)

    def _beside_revisions(
        self, paths: Iterator[tuple[str, Candidate | None]], revisions: Iterator[Candidate | None]
    ) -> Iterator[tuple[str, Candidate | None]]:
        """What paths find until they end, and what revisions find in the same time, by turns."""
        length = FIRST_TURN
        while True:
            yield from self._turn(REVISIONS, revisions, length)
            end = self.clock() + length
            for method, candidate in paths:
                yield method, candidate
                if self.clock() >= end:
                    break
            else:
                return
            length = self._longer(length)

    def _revisions(self) -> Iterator[Candidate | None]:
        """Policies of asynchronous best responses from the best policy at the time of the first turn."""
        if can_revise(self.induced):
            for policy in revise(self.induced, self.best_candidate.policy, SAFETY * self.tolerance, self.rng):
                self.iterations += 1
                yield None if policy is None else Candidate(policy)

    def _proximal_chains(self, sensitivity: Sensitivity) -> Iterator[Candidate | None]:
        """Chains of barrier paths, each with a reference near the best policy of the chain so far.

        Actions that the reference hardly plays have next to no barrier. So where a path folds again and again, as
        each of many thresholds is passed, a path from near by has fewer to pass. The first chain begins with the
        uniform policy, others with random ones.
        """
        uniform = reference = self.induced.uniform_policy()
        while True:
            policy, least, n_in_vain, n_tried = reference, np.inf, 0, 0
            while n_in_vain < VAIN_PATHS:
                before, n_steps, began = least, 0, self.iterations
                for candidate in self._barrier_points(sensitivity, reference):
                    n_steps += self.iterations - began
                    yield candidate
                    # While this method waits for its turn, others add to the iterations.
                    began = self.iterations
                    if candidate is not None and candidate.exploitability < least:
                        policy, least = candidate.policy.copy(), candidate.exploitability
                    if n_steps > PROXIMAL_STEPS:
                        break
                n_in_vain = 0 if least < before else n_in_vain + 1
                n_tried += least >= before
                share = PROXIMITIES[n_tried % len(PROXIMITIES)]
                reference = (1.0 - share) * policy + share * uniform
            reference = self._random_policy()

    def _interior_point(self, sensitivity: Sensitivity) -> Iterator[Array | None]:
        """Policies of the interior-point method, or None in the place of those that need no evaluation.

        There are none if its linear system is too large.
        """
        try:
            method = InteriorPoint(self.induced, sensitivity)
        except MemoryError:
            return
        for policy in method.policies(SAFETY * self.tolerance):
            self.iterations += 1
            yield policy

    def _barrier(self, sensitivity: Sensitivity, reference: Array, start: Array | None = None) -> BarrierPath:
        """The barrier path of a reference policy, from that policy or from near another one."""
        return BarrierPath(
            self.induced, sensitivity, reference, SAFETY * self.tolerance, start=start, exploitability=self.best
        )

    def _barrier_points(
        self, sensitivity: Sensitivity, reference: Array, start: Array | None = None
    ) -> Iterator[Candidate | None]:
        """What is found on that path."""
        path = self._barrier(sensitivity, reference, start)
        return self._counted(path, path.points())

    def _counted(self, path: BarrierPath, found: Iterator[C]) -> Iterator[C]:
        """What is found on a barrier path, while its Newton steps are added to the iterations."""
        for candidate in found:
            self.iterations += path.n_new_steps()
            yield candidate

    def _descent(self, rate: float) -> Iterator[Candidate | None]:
        """Policies of online mirror descent, after ever more iterations."""
        induced = self.induced
        options = LoopOptions(values=ANSWER, rate=rate / self._largest_gain(), retained=1.0, prior_period=1)
        iterate = loop_kernel(induced.kernels, options)
        policy, prior, unused = induced.uniform_policy(), np.zeros(induced.policy_shape), np.empty((0, 0, 0))
        arrays, q, remainders = induced.flow_arrays(), np.empty(induced.policy_shape), np.empty(0)
        done, chunk = 0, 1
        while True:
            began, last, has_answered = self.clock(), done + chunk, False
            while done < last:
                done, has_answered, _ = iterate(
                    *(done, last, has_answered, 0.0, options, policy, policy, prior),
                    *(unused, unused.reshape(0, 0), q, unused, remainders, arrays),
                )
                if done < last:
                    arrays = induced.more_room(arrays)
            self.iterations += chunk
            if not np.isfinite(prior).all():
                return
            yield Candidate(policy)
            chunk = max(1, min(2 * chunk, int(chunk * SLICE / max(self.clock() - began, 1e-9))))

    def _reachable_descent(self, rate: float) -> Iterator[Candidate | None]:
        """Policies of mirror descent over what can be reached, and what is left of them without bad actions."""
        descent = ReachableDescent(self.induced)
        for n, policy in descent.candidates(rate, SAFETY * self.tolerance, self.clock):
            self.iterations += n
            yield None if policy is None else Candidate(policy)

    def _largest_gain(self) -> float:
        """The largest gain of a single action over the uniform policy: the scale of learning rates."""
        uniform = self.induced.uniform_policy()
        q = self.induced.evaluate(uniform)
        gains = (q - (uniform * q).sum(axis=-1, keepdims=True))[uniform > 0.0]
        return max(float(gains.max()), np.finfo(float).tiny)

    def _random_policy(self) -> Array:
        """A random policy, which plays every allowed action."""
        weights = self.rng.exponential(size=self.induced.policy_shape) * (self.induced.uniform_policy() > 0.0)
        law: Array = weights / weights.sum(axis=-1, keepdims=True)
        return law
