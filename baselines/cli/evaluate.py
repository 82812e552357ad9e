"""``mfenvs evaluate``: mean return and exploitability of a run's policy."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.evaluation import evaluate
from mfenvs.files import write_json
from mfenvs.game import FiniteGame, Game
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import Estimate, n_player_exploitability
from mfenvs.meanfield.relative_exploitability import relative_exploitability
from mfenvs.play import tabulate

from ..neural.best_response import approximate_best_response
from ..runs import read_run
from .saved_run import SavedRunFlags, read_command_line

MEANING_OF_E = "E_i: what agent i could gain by deviating alone, 0 at an equilibrium."


@dataclasses.dataclass(kw_only=True)
class EvaluateFlags(SavedRunFlags):
    """How to evaluate the policy of a run."""

    n_worlds: int = 64
    """Number of worlds that are simulated, at least 2."""
    deviators_per_world: int = 16
    """For tabular policies: number of agents that deviate in each world, one at a time. Their gains give the lower
    bound on the mean exploitability over agents."""
    best_response_timesteps: int = 0
    """For neural policies: number of timesteps for which a deviator is trained; 0: no deviator is trained.
    The deviator's gain is a lower bound on the exploitability."""

    def check(self) -> None:
        """Raise a ValueError if a number is not allowed."""
        super().check()
        checks.integer("n_worlds", self.n_worlds, 2)
        checks.integer("deviators_per_world", self.deviators_per_world, 1)
        checks.integer("best_response_timesteps", self.best_response_timesteps, 0)


def run(words: list[str]) -> int:
    """Print the mean return and exploitability of a run's policy; write ``evaluation.json`` to its folder."""
    folder, flags = read_command_line(
        "evaluate",
        words,
        EvaluateFlags,
        "Measure the return and the exploitability of a run's policy, and write them to evaluation.json in the run"
        " folder.",
    )
    game, policy, config = read_run(folder)
    title = f"{config['algorithm']} on {config['game']}"
    law = _table(game, policy)
    if isinstance(game, FiniteGame) and law is not None:
        summary = _evaluate_table(game, law, flags, title)
    else:
        summary = _evaluate_network(game, policy, flags, title)
    write_json(folder / "evaluation.json", {"settings": dataclasses.asdict(flags), **summary})
    return 0


def _table(game: Game, policy: Any) -> NDArray[np.float64] | None:
    """A policy as a table of probabilities; None if it has none, as it depends on what the others do."""
    if not isinstance(game, FiniteGame):
        return None
    try:
        return tabulate(game, policy)
    except TypeError:
        return None


def _evaluate_network(game: Game, policy: Any, flags: EvaluateFlags, title: str) -> dict[str, Any]:
    found = evaluate(game, policy, n_worlds=flags.n_worlds, seed=flags.seed)
    summary = found.summary()
    trains_deviator = flags.best_response_timesteps > 0
    table = Table(
        *("measure", "value", "95 % interval"),
        title=title,
        caption=MEANING_OF_E if trains_deviator else "--best-response-timesteps bounds exploitability from below.",
    )
    table.add_row("mean return of an agent", f"{found.mean_return.value:.4f}", _interval(found.mean_return))
    for name, shares in found.region_shares.items():
        table.add_row(f"{name} at the end", f"{shares[:, -1].mean():.1%}", "")
    if trains_deviator:
        best = approximate_best_response(
            game,
            policy,
            total_timesteps=flags.best_response_timesteps,
            evaluation_worlds=flags.n_worlds,
            seed=flags.seed,
        )
        table.add_row("mean_i E_i >=", f"{best.gain.value:.4f}", _interval(best.gain))
        summary |= {"mean_lower_bound": best.gain.value, "mean_lower_bound_95": list(best.gain.interval)}
    Console().print(table)
    return summary


def _evaluate_table(
    game: FiniteGame, law: NDArray[np.float64], flags: EvaluateFlags, title: str
) -> dict[str, Any]:
    found = n_player_exploitability(
        game,
        law,
        n_worlds=flags.n_worlds,
        deviators_per_world=min(flags.deviators_per_world, game.n_agents),
        seed=flags.seed,
    )
    worlds = Engine(game, flags.n_worlds).rollout(law, seed=flags.seed)
    mean_return = Estimate.of(worlds.returns.mean(axis=1))
    summary = {**found.summary(), "return": mean_return.value, "return_95": list(mean_return.interval)}
    table = Table(
        *("measure", "value", "95 % interval"),
        title=title,
        caption=f"{MEANING_OF_E} Estimates average simulated worlds (error O(1/N) and noise); lower bounds are"
        " gains of found deviations in fresh simulations.",
    )
    table.add_row("mean return of an agent", f"{mean_return.value:.4f}", _interval(mean_return))
    table.add_row("max_i E_i, estimate", f"{found.max:.4f}", "")
    table.add_row("max_i E_i >=", f"{found.max_lower_bound.value:.4f}", _interval(found.max_lower_bound))
    table.add_row("mean_i E_i, estimate", f"{found.mean:.4f}", "")
    table.add_row("mean_i E_i >=", f"{found.mean_lower_bound.value:.4f}", _interval(found.mean_lower_bound))
    if game.is_infinite:
        relative = relative_exploitability(game, law, seed=flags.seed)
        summary |= {f"C_{name}": value for name, value in relative.summary().items()}
        table.add_row("C(pi), relative", f"{relative.relative.value:.4f}", _interval(relative.relative))
        table.add_row("C(pi), absolute gap", f"{relative.absolute.value:.4f}", _interval(relative.absolute))
    if law.ndim == 3:
        summary["mean_field_exploitability"] = InducedGame(game).exploitability(law)
        table.add_row("mean-field exploitability", f"{summary['mean_field_exploitability']:.4f}", "exact")
    Console().print(table)
    return summary


def _interval(estimate: Any) -> str:
    low, high = estimate.interval
    return f"[{low:.4f}, {high:.4f}]"
