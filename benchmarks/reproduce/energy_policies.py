"""Version 1 of the energy market: what rules of thumb, symmetrised PPO and a planner earn of what can be earned.

All policies are played on the same days, spread evenly over the series, with the same weather and errors. The
networks are trained on all other days, several of them from different seeds; what is shown of them is the mean. Of
each policy there are three figures, with bootstrap intervals over the days:

- the pooled efficiency (W - W_0) / (W* - W_0): 0 is no trade with idle batteries, 1 a planner who knows the day;
- the second efficiency (W - W_idle) / (W_MPC - W_idle), against a planner who does not know the future either;
- the step from the policy before it, as a share of what that one leaves: clear if its interval is above 0.

The market is ours [O]; there is no published figure to compare with.
"""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from baselines import PPO
from baselines.market.model_predictive import ModelPredictive
from baselines.market.policies import EveningRule, Idle, SelfConsumption
from baselines.versions import versions
from benchmarks.reproduce.energy_training import Deterministic, Training, train
from benchmarks.reproduce.tasks import Tasks, file_name, kept_in, run_all
from mfenvs.energy.outcomes import best_plans, market_outcome, realised_welfare, relative_efficiency
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.energy.record import record_days
from mfenvs.files import write_json
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.traits import IMBALANCES

RESULTS = Path("runs") / "energy-policies"

IDLE, NETWORK, PLANNER = "idle batteries", "symmetrised PPO", "receding horizon"
MAKERS: dict[str, Callable[[EnergyMarket], Any]] = {
    "random": lambda game: None,
    IDLE: Idle,
    "self-consumption": SelfConsumption,
    "evening rule": EveningRule,
    PLANNER: ModelPredictive,
    "receding horizon, 10 scenarios": lambda game: ModelPredictive(game, n_scenarios=10),
}
"""Policies that are not learned, by name."""

POLICIES = ("random", IDLE, "self-consumption", "evening rule", NETWORK, PLANNER, "receding horizon, 10 scenarios")
"""All policies in the order of the table, each to be better than the one before it."""


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
    ppo_seeds: int = 5
    """Networks that are trained, with random seeds 0, 1, ...; at least 1."""
    ppo_updates: int = Training.n_updates
    """Updates of each network."""
    jobs: int = 2
    """Processes that play at a time, one thread each."""
    out: Path = RESULTS
    """Where results.json goes."""
    models: Path = RESULTS / "models"
    """Where trained networks are kept, a folder for each setting; those that are there are not trained again."""


def spread_days(n_days: int, n_in_series: int) -> list[int]:
    """Days in the middle of as many equal parts of a series."""
    return [int((k + 0.5) * n_in_series / n_days) for k in range(n_days)]


def train_networks(flags: Flags, test_days: list[int]) -> tuple[list[Path], list[dict[str, float]], bool]:
    """The trained networks' files, how long each took, and whether training was interrupted."""
    training = Training(imbalance=flags.imbalance, n_updates=flags.ppo_updates)
    settings = [dataclasses.asdict(training), test_days, versions()]
    # A folder for each setting: so no network is ever taken for one of other settings, whenever a run was killed.
    folder = flags.models / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    paths = [folder / f"ppo-seed-{seed}.zip" for seed in range(flags.ppo_seeds)]
    tasks: Tasks = {
        ("ppo", seed): functools.partial(train, training, test_days, seed, path) for seed, path in enumerate(paths)
    }
    for key, path in zip(tasks, paths, strict=True):
        if not path.exists():
            (folder / file_name(key)).unlink(missing_ok=True)
    found, interrupted = run_all(kept_in(folder, tasks, settings), flags.jobs, "training")
    return paths, [found[key] for key in tasks if key in found], interrupted


def play_day(flags: Flags, networks: list[Path], day: int) -> dict[str, Any]:
    """Welfare of each policy on one day, EUR, of each network, and the two yardsticks."""
    torch.set_num_threads(1)
    terms: dict[str, Any] = {
        "n_agents": flags.n_agents,
        "imbalance": flags.imbalance,
        "first_day": day,
        "n_days": 1,
    }
    game = EnergyMarket(**terms)
    found: dict[str, Any] = {"day": day, "date": game.days.dates[day], "welfare": {}}
    plans = None
    for name, make_policy in MAKERS.items():
        record = record_days(game, make_policy(game), n_worlds=1, seed=flags.seed + day)
        plans = best_plans(record) if plans is None else plans
        outcome = market_outcome(record, plans=plans)
        found["welfare"][name] = float(outcome.welfare[0])
    discrete = EnergyMarket(**terms, actions="discrete")
    found["networks"] = [
        float(realised_welfare(record_days(discrete, policy, n_worlds=1, seed=flags.seed + day))[0])
        for policy in (Deterministic(PPO.load(path, device="cpu")) for path in networks)
    ]
    found["welfare"][NETWORK] = float(np.mean(found["networks"]))
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


def of_networks(days: list[dict[str, Any]]) -> list[Interval]:
    """The efficiency of each network."""
    floor, best = (np.array([day[name] for day in days]) for name in ("no trade", "perfect foresight"))
    welfare = np.array([day["networks"] for day in days])
    return [relative_efficiency(each, floor, best).pooled for each in welfare.T]


def main(words: list[str]) -> int:
    """Play all days; 130 if interrupted, when the days that are complete were written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce energy-policies")
    if flags.imbalance not in IMBALANCES or flags.n_days < 2 or flags.ppo_seeds < 1 or flags.ppo_updates < 1:
        raise SystemExit(
            f"--imbalance must be one of {', '.join(IMBALANCES)}, --n-days at least 2,"
            " --ppo-seeds and --ppo-updates at least 1"
        )
    began = time.perf_counter()
    chosen = spread_days(flags.n_days, EnergyMarket().days.n_days)
    networks, trained, interrupted = train_networks(flags, chosen)
    found: dict[tuple[Any, ...], Any] = {}
    if not interrupted:
        tasks: Tasks = {("day", day): functools.partial(play_day, flags, networks, day) for day in chosen}
        found, interrupted = run_all(tasks, flags.jobs, "days")
    days = [found["day", day] for day in chosen if ("day", day) in found]
    rows = summarise(days) if len(days) > 1 else {}
    seconds = time.perf_counter() - began
    content = {
        "complete": not interrupted,
        "game": EnergyMarket(n_agents=flags.n_agents, imbalance=flags.imbalance).describe(),
        "seeds": [flags.seed],
        "ppo_seeds": list(range(flags.ppo_seeds)),
        "ppo_updates": flags.ppo_updates,
        "training": trained,
        "networks": [each._asdict() for each in of_networks(days)] if len(days) > 1 else [],
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
    if len(days) > 1:
        print("efficiency of each network:", ", ".join(f"{each.value:.3f}" for each in of_networks(days)))
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
