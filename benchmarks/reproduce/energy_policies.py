"""Version 1 of the energy market: what rules of thumb and a receding-horizon planner earn of what can be earned.

All policies are played on the same days, spread evenly over the series, with the same weather and errors. Of each
there are three figures, with bootstrap intervals over the days:

- the pooled efficiency (W - W_0) / (W* - W_0): 0 is no trade with idle batteries, 1 a planner who knows the day;
- the second efficiency (W - W_idle) / (W_MPC - W_idle), against a planner who does not know the future either;
- the step from the policy before it, as a share of what that one leaves: clear if its interval is above 0.

The market is ours [O]; there is no published figure to compare with.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from baselines.market.model_predictive import ModelPredictive
from baselines.market.policies import EveningRule, Idle, SelfConsumption
from baselines.versions import versions
from benchmarks.reproduce.tasks import Tasks, run_all
from mfenvs.energy.outcomes import best_plans, market_outcome, relative_efficiency
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.energy.record import record_days
from mfenvs.files import write_json
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.traits import IMBALANCES

RESULTS = Path("runs") / "energy-policies"

IDLE, PLANNER = "idle batteries", "receding horizon"
POLICIES: dict[str, Callable[[EnergyMarket], Any]] = {
    "random": lambda game: None,
    IDLE: Idle,
    "self-consumption": SelfConsumption,
    "evening rule": EveningRule,
    PLANNER: ModelPredictive,
    "receding horizon, 10 scenarios": lambda game: ModelPredictive(game, n_scenarios=10),
}
"""The policies by name, each to be better than the one before it."""


@dataclasses.dataclass(frozen=True)
class Flags:
    """Efficiency of rules of thumb and of a receding-horizon planner in the energy market, version 1."""

    n_agents: int = 1000
    """Number of prosumers."""
    n_days: int = 36
    """Days on which all policies are played, spread evenly over the series; at least 2."""
    imbalance: str = EnergyMarket.imbalance
    """How deviations from the forecast are settled: pooled, individual or ex-post."""
    seed: int = 0
    """Random seed of weather and errors."""
    jobs: int = 2
    """Processes that play at a time, one thread each."""
    out: Path = RESULTS
    """Where results.json goes."""


def spread_days(n_days: int, n_in_series: int) -> list[int]:
    """Days in the middle of as many equal parts of a series."""
    return [int((k + 0.5) * n_in_series / n_days) for k in range(n_days)]


def play_day(flags: Flags, day: int) -> dict[str, Any]:
    """Welfare of each policy on one day, EUR, and the two yardsticks."""
    game = EnergyMarket(n_agents=flags.n_agents, imbalance=flags.imbalance, first_day=day, n_days=1)
    found: dict[str, Any] = {"day": day, "date": game.days.dates[day], "welfare": {}}
    plans = None
    for name, make_policy in POLICIES.items():
        record = record_days(game, make_policy(game), n_worlds=1, seed=flags.seed + day)
        plans = best_plans(record) if plans is None else plans
        outcome = market_outcome(record, plans=plans)
        found["welfare"][name] = float(outcome.welfare[0])
    return found | {"no trade": float(outcome.no_trade[0]), "perfect foresight": float(outcome.best[0])}


def summarise(days: list[dict[str, Any]]) -> dict[str, dict[str, Interval | None]]:
    """The three figures of each policy, from all days."""
    welfare = {name: np.array([day["welfare"][name] for day in days]) for name in POLICIES}
    floor, best = (np.array([day[name] for day in days]) for name in ("no trade", "perfect foresight"))
    rows: dict[str, dict[str, Interval | None]] = {}
    before: str | None = None
    for name in POLICIES:
        rows[name] = {
            "efficiency": relative_efficiency(welfare[name], floor, best).pooled,
            "second efficiency": relative_efficiency(welfare[name], welfare[IDLE], welfare[PLANNER]).pooled,
            "step": relative_efficiency(welfare[name], welfare[before], best).pooled if before else None,
        }
        before = name
    return rows


def main(words: list[str]) -> int:
    """Play all days; 130 if interrupted, when the days that are complete were written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce energy-policies")
    if flags.imbalance not in IMBALANCES or flags.n_days < 2:
        raise SystemExit(f"--imbalance must be one of {', '.join(IMBALANCES)}, and --n-days at least 2")
    began = time.perf_counter()
    chosen = spread_days(flags.n_days, EnergyMarket().days.n_days)
    tasks: Tasks = {("day", day): functools.partial(play_day, flags, day) for day in chosen}
    found, interrupted = run_all(tasks, flags.jobs, "days")
    days = [found["day", day] for day in chosen if ("day", day) in found]
    rows = summarise(days) if len(days) > 1 else {}
    seconds = time.perf_counter() - began
    content = {
        "complete": not interrupted,
        "game": EnergyMarket(n_agents=flags.n_agents, imbalance=flags.imbalance).describe(),
        "seeds": [flags.seed],
        "days": days,
        "policies": {
            name: {figure: each and each._asdict() for figure, each in row.items()} for name, row in rows.items()
        },
        "seconds": seconds,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    Console().print(table(rows))
    print(f"{'interrupted, ' if interrupted else ''}{seconds:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def table(rows: dict[str, dict[str, Interval | None]]) -> Table:
    """The figures as a table."""
    made = Table("policy", "efficiency", "second efficiency", "step over the one before", caption="95 % over days")
    for name, row in rows.items():
        made.add_row(name, *(_text(row[figure]) for figure in ("efficiency", "second efficiency", "step")))
    return made


def _text(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
