"""What :func:`mfenvs.solve` needs for a game."""

import time

from benchmarks.peers.runs import QUICK, REACHED, REPETITIONS, THRESHOLDS, TIME, Run, medians, seconds_to
from mfenvs import FiniteGame, solve
from mfenvs.meanfield.equilibrium.solve import Solution

COMPILATION = 20.0
"""Seconds that the first call gets besides, for compilation."""


def run(name: str, game: FiniteGame, seconds: float) -> Run:
    """Solve a game; compile before, and count the time of everything else that the call does.

    That is more than what is counted of other libraries: tabulation of the game and all evaluations.
    """

    def once(limit: float) -> Solution:
        return solve(game, tolerance=THRESHOLDS[-1], seconds=limit, clock=time.process_time)

    first, found = once(seconds + COMPILATION), [once(seconds)]
    while len(found) < REPETITIONS and found[0].is_solved and found[0].seconds < QUICK:
        found.append(once(seconds))
    curves = [curve(each) for each in found]
    return Run(
        game=name,
        solver="mfenvs",
        algorithm=found[0].method,
        ended=REACHED if found[0].is_solved else TIME,
        seconds_to=medians([seconds_to(each) for each in curves]),
        best=found[0].exploitability,
        seconds=found[0].seconds,
        n_policies=found[0].iterations,
        curve=curves[0],
        seconds_of_first_call=seconds_to(curve(first)),
    )


def curve(solution: Solution) -> list[tuple[float, float]]:
    """Seconds and exploitability, whenever it was less than before."""
    points: list[tuple[float, float]] = []
    for report in solution.history:
        assert report.exploitability is not None
        if not points or report.exploitability < points[-1][1]:
            points.append((report.seconds, report.exploitability))
    return points
