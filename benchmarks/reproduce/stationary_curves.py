"""Learning curves of stationary policy gradient: values of many runs' policies by iteration, and their figures.

Shared by the two examples of Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS
2019: malware spread and investments in product quality.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from baselines.stationary.policy_gradient import StationaryPolicyGradient
from benchmarks.reproduce.tasks import Tasks
from mfenvs import FiniteGame, InducedGame
from mfenvs.files import replacing, write_json

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One learning curve: the hyper-parameters of the trainer, and how the curve is drawn."""

    title: str
    hyper_parameters: dict[str, Any]
    colour: str


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much is learned, and when it is measured."""

    n_runs: int = 100
    """Number of independent runs [S]."""
    n_iterations: int = 200
    """Number K of iterations [S]."""
    mean_field_steps: int = 200
    """Number B of steps of the mean field in an iteration [S]. An iteration counts as B steps in the figures."""
    measured_every: int = 10
    """Number of iterations from one measurement of all runs to the next [O]."""

    @property
    def measured_at(self) -> list[int]:
        """Numbers of iterations after which all runs are measured."""
        return [*range(0, self.n_iterations, self.measured_every), self.n_iterations]


@dataclasses.dataclass
class CurveFlags:
    """Flags of both reproductions."""

    runs: int = 100
    """Number of independent runs of each variant."""
    iterations: int = 200
    """Number of iterations of a run."""
    seed: int = 0
    """Random seed of everything."""
    jobs: int = 2
    """Processes at a time, one thread each."""


def learning_tasks(
    games: Sequence[Callable[[], FiniteGame]], variants: dict[str, Variant], protocol: Protocol, seed: int
) -> Tasks:
    """The learning curves of all variants on all games, as tasks with the keys (variant, index of the game)."""
    return {
        (name, place): functools.partial(learning_curve, make_game, variant, protocol, seed)
        for name, variant in variants.items()
        for place, make_game in enumerate(games)
    }


def learning_curve(
    make_game: Callable[[], FiniteGame], variant: Variant, protocol: Protocol, seed: int
) -> dict[str, Any]:
    """Learn all runs of one variant on one game.

    Returns
    -------
    ``values``: of every run at every measurement, shape (measurements, n_runs). ``thresholds``: those of all runs
    at the end, of threshold policies. ``seconds``: how long it took, measurements included.
    """
    began, game = time.perf_counter(), make_game()
    trainer = StationaryPolicyGradient(
        game,
        n_runs=protocol.n_runs,
        mean_field_steps=protocol.mean_field_steps,
        evaluation_interval=0,
        seed=seed,
        **variant.hyper_parameters,
    )
    valuation = Valuation(InducedGame(game), protocol.mean_field_steps)
    values = []
    for iteration in protocol.measured_at:
        if iteration > trainer.iteration:
            trainer.learn((iteration - trainer.iteration) * trainer.timesteps_per_iteration)
        values.append([valuation(policy) for policy in trainer.policies])
    found = {"values": values, "seconds": time.perf_counter() - began}
    if variant.hyper_parameters["policy"] == "threshold":
        found["thresholds"] = trainer.thresholds[:, 0].tolist()
    return found


class Valuation:
    """Values of policies in the mean field that a population reaches from the initial law in a number of steps.

    The steps are exact, as for infinitely many agents. This is the mean field that learners estimate. Where a
    policy hardly ever acts, the stationary mean field is far off: it is reached after all the rare acts.
    """

    def __init__(self, induced: InducedGame, n_steps: int) -> None:
        self._induced, self._n_steps = induced, n_steps
        self._known: dict[bytes, float] = {}

    def __call__(self, policy: Array) -> float:
        """J of a policy (1, S, A): the value from the initial law of the state."""
        key = policy.tobytes()
        if key not in self._known:
            self._known[key] = self._value(policy)
        return self._known[key]

    def _value(self, policy: Array) -> float:
        induced = self._induced
        law = self._reached_law(policy[0])
        transitions, rewards = induced.arrays(law[:, None] * policy[0])
        moves = np.einsum("sa,sat->st", policy[0], transitions)
        system = np.eye(len(moves)) - induced.game.discount * moves
        return float(induced.initial @ np.linalg.solve(system, (policy[0] * rewards).sum(axis=1)))

    def _reached_law(self, policy: Array) -> Array:
        law, left, chunk = self._induced.initial, self._n_steps, self._n_steps
        transitions, _ = self._induced.arrays(law[:, None] * policy)
        while left:
            # Transitions often depend on the mean field not at all, or by a threshold that it is far from.
            moves, ahead = np.einsum("sa,sat->st", policy, transitions), law
            for _ in range(min(chunk, left)):
                ahead = ahead @ moves
            ahead = np.maximum(ahead, 0.0) / np.maximum(ahead, 0.0).sum()
            after, _ = self._induced.arrays(ahead[:, None] * policy)
            if chunk > 1 and not np.array_equal(after, transitions):
                chunk = max(1, min(chunk, left) // 2)
                continue
            left -= min(chunk, left)
            law, transitions = ahead, after
        return law


def write_results(
    content: dict[str, Any], interrupted: bool, out: Path, figure: Callable[[], Figure], table: Callable[[], Table]
) -> int:
    """Write results.json and, if they are complete, figure.png; print the table.

    Returns
    -------
    The exit status: 130 if the computation was interrupted, else 0.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", content)
    if content["complete"]:
        with replacing(out / "figure.png") as file:
            figure().savefig(file, dpi=130)
        Console().print(table())
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {out}")
    return 130 if interrupted else 0


def quartiles(values: Array) -> dict[str, list[float]]:
    """Median and quartiles over runs of values (measurements, n_runs)."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    return {"lower_quartile": low.tolist(), "median": middle.tolist(), "upper_quartile": high.tolist()}


def draw_curves(
    axes: Axes, curves: dict[str, dict[str, list[float]]], variants: dict[str, Variant], protocol: Protocol
) -> None:
    """Draw medians as lines and quartiles as bands, against the number of mean-field steps in thousands."""
    steps = np.array(protocol.measured_at) * protocol.mean_field_steps / 1000.0
    for name, curve in curves.items():
        variant = variants[name]
        axes.fill_between(
            steps, curve["lower_quartile"], curve["upper_quartile"], color=variant.colour, alpha=0.2, linewidth=0.0
        )
        axes.plot(steps, curve["median"], color=variant.colour, label=variant.title)
    axes.set_xlim(0.0, steps[-1])
    axes.set_xlabel("steps (thousands): iterations x mean-field steps")
    axes.set_ylabel("value J per agent (discounted reward)")


def draw_exact(axes: Axes, lines: dict[str, float], decimals: int = 4) -> None:
    """Draw exact values as dashed lines, with their names in the legend."""
    for style, (title, value) in zip(("--", ":", "-.", (0, (1, 4))), lines.items(), strict=False):
        axes.axhline(value, color="0.25", linestyle=style, linewidth=1.0, label=f"{title}: {value:.{decimals}f}")
