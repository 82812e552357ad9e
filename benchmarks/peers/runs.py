"""A timed run of a solver: the clock stops while its policies are measured, all by the same exploitability."""

import dataclasses
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame, InducedGame

Array = NDArray[np.float64]

THRESHOLDS = (1e-2, 1e-3, 1e-6)
"""Exploitabilities to reach."""
ALWAYS_MEASURED = 20
"""So many first policies are measured each; later ones only after ``SPACING`` times the time of the last."""
SPACING = 1.02
SHORTEST = 1e-3
"""Seconds after which it is looked again whether the time is up."""
COMPILATION = 60.0
"""Seconds that a warming up gets besides: compiling and importing must not be broken off."""
QUICK, REPETITIONS = 1.0, 3
"""Runs that take less than so many seconds of CPU time are done so often, and medians are reported."""

REACHED, TIME, FAILED = "reached", "time", "failed"
"""Why a run ended: at the smallest threshold, at the time limit, or by an error."""


class RunOverError(Exception):
    """Ends the run of a solver that has no way to stop it from outside."""


@dataclasses.dataclass
class Run:
    """What came of one algorithm on one game."""

    game: str
    solver: str
    """Name of the library."""
    algorithm: str
    """Name of the algorithm, with its parameters."""
    ended: str
    """``"reached"``, ``"time"`` or ``"failed"``."""
    seconds_to: dict[str, float | None]
    """CPU seconds to each threshold; None if it was not reached."""
    best: float | None
    """Least exploitability of the policies measured; None if there was no policy."""
    seconds: float
    """CPU seconds of the run."""
    n_policies: int
    """Number of policies that the algorithm produced."""
    curve: list[tuple[float, float]]
    """CPU seconds and exploitability, whenever it was a tenth less than before, and at the end."""
    error: str = ""
    """The error that ended the run."""
    rounded: bool = False
    """Whether the library rounds the game's probabilities, so that it solves a game that is only near ours."""
    seconds_of_first_call: dict[str, float | None] | None = None
    """CPU seconds to each threshold in the first call of the process, with compilation or loading of compiled
    code; of mfenvs only."""


@dataclasses.dataclass
class Contest:
    """A library's algorithms on its own copy of one of our games."""

    game: FiniteGame
    """The same game of ours."""
    algorithms: dict[str, Callable[["Recorder"], None]]
    """By name a function that runs an algorithm from its beginning until the recorder ends it."""
    rounded: bool = False
    warm_up: int = 0
    """Number of policies after which compilation is over."""


class Recorder:
    """Takes the policies of a running algorithm; counts the CPU time between them; ends the run.

    Parameters
    ----------
    induced:
        Our game, which measures the policies.
    seconds:
        Limit of the CPU time, that of measuring not counted.
    most_policies:
        Number of policies after which the run ends.
    clock:
        Function that returns the CPU time in seconds.
    """

    def __init__(
        self,
        induced: InducedGame,
        seconds: float,
        most_policies: float = math.inf,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.clock = clock
        self.induced, self.limit, self.most_policies = induced, seconds, most_policies
        self.used, self.n_policies, self.ended = 0.0, 0, TIME
        self.curve: list[tuple[float, float]] = []
        self.best = math.inf
        self._measured_at, self._is_running, self._since = 0.0, False, 0.0

    def run(self, algorithm: Callable[["Recorder"], None]) -> str:
        """Run an algorithm to its end; return the error that ended it, or an empty string."""
        before = signal.signal(signal.SIGALRM, self._time_is_up)
        self.start()
        try:
            algorithm(self)
            return "the algorithm stopped by itself" if self.ended == TIME and self.used < self.limit else ""
        except RunOverError:
            return ""
        except Exception as error:
            self.ended = FAILED
            return f"{type(error).__name__}: {error}"[:300]
        finally:
            self.stop()
            signal.signal(signal.SIGALRM, before)

    def start(self) -> None:
        """Let the clock run."""
        # A timer of CPU time would make the clock of CPU time as coarse as the kernel's ticks.
        signal.setitimer(signal.ITIMER_REAL, max(self.limit - self.used, SHORTEST))
        self._since, self._is_running = self.clock(), True

    def stop(self) -> None:
        """Stop the clock."""
        if self._is_running:
            self._is_running = False
            self.used += self.clock() - self._since
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def __call__(self, policy: Callable[[], Any]) -> None:
        """Take a policy: a function that returns it as an array of our shape, or of that number of entries."""
        self.stop()
        self.n_policies += 1
        is_last = self.used >= self.limit or self.n_policies >= self.most_policies
        if is_last or self.n_policies <= ALWAYS_MEASURED or self.used >= SPACING * self._measured_at:
            self._measured_at = self.used
            self._measure(policy())
        if is_last or self.ended == REACHED:
            raise RunOverError
        self.start()

    def _measure(self, policy: Any) -> None:
        law = np.asarray(policy, np.float64).reshape(self.induced.policy_shape)
        if not np.isfinite(law).all():
            raise FloatingPointError("the policy holds numbers that are not finite")
        law = np.maximum(law, 0.0)
        # In single precision sums are one only nearly.
        exploitability = float(self.induced.exploitabilities(law / law.sum(-1, keepdims=True)).max())
        if exploitability < self.best:
            self.best = exploitability
            self.curve.append((self.used, exploitability))
        if self.best <= THRESHOLDS[-1]:
            self.ended = REACHED

    def _time_is_up(self, signum: int, frame: FrameType | None) -> None:
        if self._is_running:
            left = self.limit - self.used - (self.clock() - self._since)
            if left <= SHORTEST:
                raise RunOverError
            signal.setitimer(signal.ITIMER_REAL, left)


def seconds_to(curve: list[tuple[float, float]]) -> dict[str, float | None]:
    """CPU seconds to each threshold along a curve; None if it is not reached."""
    return {
        f"{threshold:g}": next((at for at, value in curve if value <= threshold), None) for threshold in THRESHOLDS
    }


def compete(name: str, solver: str, contest: Contest, seconds: float) -> Iterator[Run]:
    """Run all algorithms of a library on a game, one after the other."""
    induced = InducedGame(contest.game)
    induced.exploitabilities(induced.uniform_policy())  # compiles
    for algorithm, start in contest.algorithms.items():
        if contest.warm_up:
            Recorder(induced, seconds + COMPILATION, contest.warm_up).run(start)
        recorders: list[Recorder] = []
        while len(recorders) < REPETITIONS:
            recorder = Recorder(induced, seconds)
            error = recorder.run(start)
            recorders.append(recorder)
            if recorder.ended != REACHED or recorder.used > QUICK:
                break
        yield Run(
            game=name,
            solver=solver,
            algorithm=algorithm,
            ended=recorder.ended,
            seconds_to=medians([seconds_to(each.curve) for each in recorders]),
            best=None if recorder.best == math.inf else recorder.best,
            seconds=statistics.median(each.used for each in recorders),
            n_policies=recorder.n_policies,
            curve=thinned(recorder.curve),
            error=error,
            rounded=contest.rounded,
        )


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a curve at which it is a tenth lower than at the last one, and the last."""
    kept = curve[:1]
    for point in curve[1:]:
        if point[1] <= 0.9 * kept[-1][1]:
            kept.append(point)
    return kept if kept[-1:] == curve[-1:] else [*kept, curve[-1]]


def medians(found: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Medians of the seconds to each threshold; None where a run did not reach it."""
    columns = {key: [each[key] for each in found] for key in found[0]}
    return {
        key: None if None in column else statistics.median(at for at in column if at is not None)
        for key, column in columns.items()
    }
