"""The energy market on real days: baselines against a planner, and a page that a grid planner can read.

There is no published figure to compare with: the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games"
states aims, and the market is ours [O]. So what is shown is measured, on days spread evenly over the year:

1. Efficiency (W - W_0) / (W* - W_0) of every policy, peaks, prices, CVaR, with intervals over the days.
2. How far policies are from equilibrium: in the induced mean-field game of each day, and what single prosumers
   would gain by deviating in the N-player market.
3. Forecasts of the real series with their scores, settlement over payment channels, the planner's Pareto front.

The policies that learn are trained here, for minutes, not hours. Two of them, the mean-field equilibrium and
Symm-PMD, are computed for each day from that day's data (a day-ahead plan: they know the day, not the weather that
disturbs it nor anyone's errors); the others act on any day from what agents observe.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from baselines import PPO, OnlineMirrorDescent, RiskAversePPO, SymmPMD
from baselines.market.policies import BinnedPolicy, Idle, SelfConsumption
from baselines.market.student_t_network import StudentTHead
from baselines.versions import versions
from benchmarks.reproduce import energy_page
from benchmarks.reproduce.energy_figures import order_book
from benchmarks.reproduce.energy_policies import spread_days
from benchmarks.reproduce.tasks import Tasks, run_all
from mfenvs import Engine, InducedGame, evaluate, vec_env
from mfenvs.energy.embedded_data import germany_2018, homes
from mfenvs.energy.exploitability import market_exploitability
from mfenvs.energy.forecast import Forecaster
from mfenvs.energy.forecast_scores import evaluate_forecasters, pit, rolling_origin
from mfenvs.energy.linear_forecasters import LinearGaussian, LinearStudentT, SeasonalNaive
from mfenvs.energy.outcomes import (
    best_plans,
    market_outcome,
    planning_problem,
    realised_welfare,
    risk_outcome,
    settle,
)
from mfenvs.energy.record import MarketRecord, record_days
from mfenvs.energy.welfare import no_trade, pareto_front, plan
from mfenvs.files import write_json
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0
from mfenvs.play import Player
from mfenvs.wrappers.rewards import ScaledRewards
from mfenvs.wrappers.risk import RiskAverseVecEnv

RESULTS = Path("runs") / "energy"

RANDOM, IDLE, GREEDY, EQUILIBRIUM, PMD, NEURAL, AVERSE = POLICIES = (
    "random",
    "idle batteries",
    "self-consumption",
    "mean-field equilibrium",
    "Symm-PMD",
    "symmetrised PPO",
    "risk-averse PPO",
)
DISCRETE = (EQUILIBRIUM, PMD)
"""Policies of the market with discrete actions, which are computed for each day; the others' actions are a Box."""

OBSERVED = ("own-parameters", "type-means")
"""What the networks see beside agents' own observations: not who they are, but what they are like, and the mean
field by types."""

PPO_SETTINGS: dict[str, Any] = {
    "n_epochs": 3,
    "batch_size": 4096,
    "gamma": 1.0,
    "gae_lambda": 0.9,
    "ent_coef": 4e-3,
    "learning_rate": LinearSchedule(2e-3, 1e-4, 1.0),
    "policy_kwargs": {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": nn.Tanh},
}
"""Chosen by hand in a few runs with other weather and errors [O]: the paper's settings are for its own games."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How large everything is."""

    n_agents: int = 1000
    n_days: int = 36
    """Days on which all policies are compared, spread evenly over the series."""
    n_repeats: int = 6
    """Times that each day is played for the CVaR, with other weather and errors."""
    mirror_descent: int = 400
    """Iterations of mirror descent on the model, per day; the rate is .5."""
    pmd_epochs: int = 50
    pmd_episodes: int = 50
    """Of Symm-PMD per day: epochs, and episodes of the N-player game in each."""
    ppo_updates: int = 600
    ppo_worlds: int = 2
    """Updates of PPO, and worlds in each; an episode per update."""
    measured: int = 20
    """Points of the learning curves."""
    exploited_days: int = 9
    n_sampled: int = 12
    n_pairs: int = 8
    """Of the exploitability in the market: days, agents and pairs of simulations for each."""
    few: int = 100
    """Agents of a smaller market in which the equilibrium is tried."""
    front_points: int = 5
    settled_days: int = 3
    seed: int = 0


@dataclasses.dataclass
class Flags:
    """Train, evaluate and describe policies of the energy market; write report.html and results.json."""

    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the page, the JSON and the trained models go."""


def main(words: list[str], protocol: Protocol = Protocol()) -> int:
    """Run everything; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce energy")
    began = time.perf_counter()
    flags.out.mkdir(parents=True, exist_ok=True)
    models = {name: str(flags.out / f"{name.replace(' ', '_')}.zip") for name in (NEURAL, AVERSE)}
    days = played_days(protocol)
    first: Tasks = {("train", name): functools.partial(train, protocol, name, models[name]) for name in models}
    first["forecasts",] = forecasts
    found, interrupted = run_all(first, flags.jobs, "training and forecasts")
    if not interrupted:
        tasks: Tasks = {
            ("day", day): functools.partial(play_day, protocol, day, models) for day in range(len(days))
        }
        for day in range(0, len(days), -(-len(days) // protocol.exploited_days)):
            tasks["market", day] = functools.partial(exploit, protocol, day, models)
        more, interrupted = run_all(tasks, flags.jobs, "days")
        found |= more
    complete = not interrupted
    if complete:
        shown = choose_day(found, len(days))
        more, interrupted = run_all(
            {
                ("shown",): functools.partial(show_day, protocol, shown, models),
                ("settled",): functools.partial(settle_days, protocol, shown),
            },
            flags.jobs,
            "a day in detail",
        )
        found |= more
        complete = not interrupted
    seconds = time.perf_counter() - began
    content = {
        "complete": complete,
        "seeds": [protocol.seed],
        "days": days,
        "protocol": dataclasses.asdict(protocol),
        "game": market(protocol, None, "box").describe(),
        **(summarise(protocol, found, len(days)) if complete else {}),
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(flags.out / "results.json", content)
    if complete:
        energy_page.write(flags.out / "report.html", found, content)
        Console().print(energy_page.console_table(content))
    print(f"{'interrupted, ' if interrupted else ''}{seconds:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def played_days(protocol: Protocol) -> list[int]:
    """The days that are played, spread evenly over the series."""
    return spread_days(protocol.n_days, market(protocol, None, "box").days.n_days)


def market(protocol: Protocol, day: int | None, actions: str, n_agents: int | None = None) -> EnergyMarketV0:
    """The market on one of the days that are played, or on all days of the series."""
    one: dict[str, Any] = {} if day is None else {"first_day": played_days(protocol)[day], "n_days": 1}
    return EnergyMarketV0(n_agents=n_agents or protocol.n_agents, actions=actions, **one)


class Deterministic:
    """What a network thinks best, without exploration."""

    def __init__(self, model: PPO) -> None:
        self.model, self.observe = model, model.observe

    def predict(self, observation: NDArray[np.float32], **_: Any) -> tuple[NDArray[Any], None]:
        """Every row's action and None."""
        return self.model.predict(observation, deterministic=True)[0], None


def train(protocol: Protocol, name: str, path: str) -> dict[str, list[float]]:
    """Train one of the networks on all days, save it, and return its learning curve."""
    torch.set_num_threads(1)
    game = market(protocol, None, "box")
    kind: Callable[..., Any] = RiskAverseVecEnv if name == AVERSE else vec_env
    env = ScaledRewards(kind(game, protocol.ppo_worlds, observe=OBSERVED))
    trainer = RiskAversePPO if name == AVERSE else PPO
    model = trainer("UnitBoxPolicy", env, seed=protocol.seed, device="cpu", **PPO_SETTINGS)
    curve: dict[str, list[float]] = {"timesteps": [], "returns": []}
    every = max(1, protocol.ppo_updates // protocol.measured)

    def measure() -> None:
        if model.num_timesteps // (model.n_steps * model.n_envs) % every == 0:
            curve["timesteps"].append(float(model.num_timesteps))
            curve["returns"].append(evaluate_apart(protocol, game, Deterministic(model)))

    model.after_update.append(measure)
    model.learn(protocol.ppo_updates * model.n_steps * model.n_envs)
    model.save(path)
    return curve


def evaluate_apart(protocol: Protocol, game: EnergyMarketV0, policy: Any) -> float:
    """The mean return on days drawn from all, with other weather and errors than where policies are compared."""
    return evaluate(game, policy, n_worlds=32, seed=protocol.seed + 1_000_000).mean_return.value


def players(protocol: Protocol, models: dict[str, str], tables: dict[str, Any], day: int) -> dict[str, Any]:
    """Every policy on one day."""
    box = market(protocol, day, "box")
    networks = {NEURAL: PPO, AVERSE: RiskAversePPO}
    binned = image(protocol, day)
    return {
        RANDOM: None,
        IDLE: Idle(box),
        GREEDY: SelfConsumption(box),
        **{name: BinnedPolicy(binned, tables[name]) for name in DISCRETE},
        **{name: Deterministic(kind.load(models[name], device="cpu")) for name, kind in networks.items()},
    }


def image(protocol: Protocol, day: int, n_agents: int | None = None) -> BinnedEnergyMarketV0:
    """The binned game of a day."""
    return BinnedEnergyMarketV0(n_agents=n_agents or protocol.n_agents, day=played_days(protocol)[day])


def solve(protocol: Protocol, day: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The tables of mirror descent and of Symm-PMD on one day, and their exploitability on the way."""
    binned = image(protocol, day)
    induced = InducedGame(binned)
    known = OnlineMirrorDescent(binned, learning_rate=0.5, seed=protocol.seed)
    sampled = SymmPMD(
        binned,
        seed=protocol.seed,
        episodes=protocol.pmd_episodes,
        reward_scale=2.0,
        temperature=0.0,
        mixing="none",
    )
    curves: dict[str, list[float]] = {EQUILIBRIUM: [], PMD: []}
    n_points = 10
    for name, trainer, n in ((EQUILIBRIUM, known, protocol.mirror_descent), (PMD, sampled, protocol.pmd_epochs)):
        for _ in range(n_points):
            trainer.learn(max(1, n // n_points) * trainer.timesteps_per_iteration)
            curves[name].append(max(0.0, induced.exploitability(trainer.policy)))
    return {EQUILIBRIUM: known.policy.probabilities, PMD: sampled.policy.probabilities}, curves


def play_day(protocol: Protocol, day: int, models: dict[str, str]) -> dict[str, Any]:
    """Everything that is compared of one day."""
    torch.set_num_threads(1)
    tables, curves = solve(protocol, day)
    seed = protocol.seed + day
    found: dict[str, Any] = {"curves": curves, "policies": {}}
    plans = None
    for name, policy in players(protocol, models, tables, day).items():
        game = market(protocol, day, "discrete" if name in DISCRETE else "box")
        record = record_days(game, policy, n_worlds=1, seed=seed)
        plans = best_plans(record) if plans is None else plans
        outcome = market_outcome(record, plans=plans)
        alone = no_trade(planning_problem(record, 0)).welfare
        by_type = (record.returns[0] - alone, game.agents["type"])
        losses = -evaluate(game, policy, n_worlds=protocol.n_repeats, seed=seed + 10_000).returns
        found["policies"][name] = {
            "outcome": {f.name: float(getattr(outcome, f.name)[0]) for f in dataclasses.fields(outcome)},
            "price": record.price[0],
            "imbalance": imbalance_cost(record),
            "gains": [float(by_type[0][by_type[1] == kind].mean()) for kind in range(len(TYPES))],
            "losses": losses,
            **batteries(record),
        }
    return found


def imbalance_cost(record: MarketRecord) -> float:
    """What a day's imbalances cost more since they settle one by one, not with the community's position: EUR.

    Agents that are short pay the retail tariff while others, or the auction, sell at the feed-in tariff.
    """
    signals, paid = record.signals[0], record.account("imbalance_payment")[0]
    retail, feed_in = signals[:, RETAIL], signals[:, FEED_IN]
    imbalance = np.where(paid > 0.0, paid / retail[:, None], paid / feed_in[:, None]).sum(axis=1)
    net = (record.account("imports") - record.account("exports"))[0].sum(axis=1)

    def of_grid(energy: NDArray[np.float64]) -> NDArray[np.float64]:
        cost: NDArray[np.float64] = retail * np.maximum(energy, 0.0) - feed_in * np.maximum(-energy, 0.0)
        return cost

    return float((paid.sum(axis=1) - of_grid(net) + of_grid(net - imbalance)).sum())


def batteries(record: MarketRecord) -> dict[str, NDArray[np.float32]]:
    """State of charge (H + 1, owners) of those who have a battery, and what they draw less deliver (H, owners)."""
    owners = record.game.agents["capacity"] > 0
    power = record.account("charge")[0] - record.account("discharge")[0]
    return {
        "charge": record.charge[0][:, owners].astype(np.float32),
        "power": power[:, owners].astype(np.float32),
    }


def exploit(protocol: Protocol, day: int, models: dict[str, str]) -> dict[str, list[float]]:
    """What single agents gain by deviating on one day, from every policy, and from the equilibrium of few."""
    torch.set_num_threads(1)
    tables, _ = solve(protocol, day)
    sizes = {"n_sampled": protocol.n_sampled, "n_worlds": protocol.n_pairs, "seed": protocol.seed + day}
    gains = {}
    for name, policy in players(protocol, models, tables, day).items():
        game = market(protocol, day, "discrete" if name in DISCRETE else "box")
        gains[name] = market_exploitability(game, policy, **sizes).gains.tolist()
    few = image(protocol, day, protocol.few)
    solved = OnlineMirrorDescent(few, learning_rate=0.5).learn(protocol.mirror_descent)
    game = market(protocol, day, "discrete", protocol.few)
    found = market_exploitability(game, BinnedPolicy(few, solved.policy, game), **sizes)
    gains[f"{EQUILIBRIUM}, N = {protocol.few}"] = found.gains.tolist()
    return gains


def choose_day(found: dict[tuple[Any, ...], Any], n_days: int) -> int:
    """The day on which prices vary most under the equilibrium: the one that is shown in detail."""
    variation = [found["day", day]["policies"][EQUILIBRIUM]["price"].std() for day in range(n_days)]
    return int(np.argmax(variation))


def show_day(protocol: Protocol, day: int, models: dict[str, str]) -> dict[str, Any]:
    """One day in detail: an hour's orders, load, generation and exchange with the grid, and the Pareto front."""
    torch.set_num_threads(1)
    tables, _ = solve(protocol, day)
    policies, seed = players(protocol, models, tables, day), protocol.seed + day
    found: dict[str, Any] = {"day": played_days(protocol)[day], "exchange": {}, "points": {}}
    problem = None
    for name, policy in policies.items():
        game = market(protocol, day, "discrete" if name in DISCRETE else "box")
        record = record_days(game, policy, n_worlds=1, seed=seed)
        if problem is None:
            co2 = game.days.co2[found["day"], : game.horizon]
            problem = planning_problem(record, 0, co2=co2, settles_charge=False)
        net = (record.account("imports") - record.account("exports"))[0].sum(axis=1)
        found["exchange"][name] = net
        found["points"][name] = _point(float(realised_welfare(record)[0]), net, problem.co2)
        if name == EQUILIBRIUM:
            kinds = game.agents["type"][:, None] == np.arange(len(TYPES))
            used = record.account("load")[0] + record.account("flexible")[0]
            found["load"], found["generation"] = (used @ kinds).T, (record.account("generation")[0] @ kinds).T
            inside = np.abs(record.price[0] - 0.5 * (game.feed_in + game.retail))
            found["hour"] = int(inside.argmin())
            found["book"] = _book(game, policy, seed, found["hour"])
    assert problem is not None
    alone = no_trade(problem)
    best = plan(problem)
    for name, welfare, net in (
        ("no trade", float(alone.welfare.sum()), alone.net.sum(axis=0)),
        ("planner", best.welfare, best.imported - best.exported),
    ):
        found["exchange"][name] = net
        found["points"][name] = _point(welfare, net, problem.co2)
    front = pareto_front(problem, n_points=protocol.front_points)
    found["front"] = {"objectives": front.objectives, "values": front.values}
    return found


def _point(welfare: float, net: NDArray[np.float64], co2: NDArray[np.float64]) -> tuple[float, float, float]:
    """Cost, largest exchange and emissions of a day: the objectives of the front."""
    return -welfare, float(np.abs(net).max()), float(co2 @ np.maximum(net, 0.0))


def _book(game: EnergyMarketV0, policy: Any, seed: int, hour: int) -> dict[str, Any]:
    """The orders of an hour, when the day is played again."""
    engine, player = Engine(game), Player(game, policy)
    engine.reset(seed)
    for _ in range(hour + 1):
        engine.step(player.actions(engine))
    return order_book(engine)._asdict()


def settle_days(protocol: Protocol, day: int) -> dict[str, Any]:
    """Local payments of a few days under the rule of self-consumption, over payment channels and by the ledger."""
    shown: dict[str, list[Any]] = {"payment-channels": [], "ledger": []}
    transfers: dict[str, list[NDArray[Any]]] = {"latency": [], "amount": [], "succeeded": [], "routed": []}
    for k in range(protocol.settled_days):
        game = market(protocol, (day + k) % protocol.n_days, "box")
        record = record_days(game, SelfConsumption(game), n_worlds=1, seed=protocol.seed + day + k)
        for how, found in shown.items():
            settlements, total = settle(record, 0, how, seed=protocol.seed + k)
            found.append(total)
            if how == "payment-channels":
                for step in settlements:
                    transfers["latency"].append(step.configured_latency_ms)
                    transfers["amount"].append(step.amount_eur)
                    transfers["succeeded"].append(step.succeeded)
                    transfers["routed"].append(step.succeeded & (step.n_parts > 0))
    return {"summaries": shown, **{name: np.concatenate(parts) for name, parts in transfers.items()}}


def forecasts() -> dict[str, Any]:
    """Scores and PITs of day-ahead forecasts of the real series: price, load of all homes, PV."""
    torch.set_num_threads(1)
    made: dict[str, Callable[[], Forecaster]] = {
        "seasonal naive": SeasonalNaive,
        "linear Gaussian": LinearGaussian,
        "linear Student-t": LinearStudentT,
        "network Student-t": StudentTHead,
    }
    evaluations, pits = {}, {}
    for name, series in real_series().items():
        evaluations[name] = evaluate_forecasters(series, {k: make() for k, make in made.items()})
        first = len(series) // 24 - evaluations[name].n_days
        pits[name] = {
            k: pit(rolling_origin(series, make(), first), series[24 * first :]) for k, make in made.items()
        }
    return {"evaluations": evaluations, "pits": pits}


def real_series() -> dict[str, NDArray[np.float64]]:
    """Whole days of the day-ahead price (EUR/MWh), the load of all homes (kWh) and PV (kWh per kWp)."""
    prices, people = germany_2018().day_ahead_price_eur_per_mwh, homes()
    series = {"price": prices, "load": people.load_kwh.sum(axis=1), "PV": people.pv_kw_per_kwp.mean(axis=1)}
    return {name: np.asarray(x[: len(x) // 24 * 24], np.float64) for name, x in series.items()}


def summarise(protocol: Protocol, found: dict[tuple[Any, ...], Any], n_days: int) -> dict[str, Any]:
    """What the JSON holds of the results."""
    aversion = market(protocol, 0, "box").agents["risk_aversion"].astype(np.float64)
    by_policy: dict[str, Any] = {}
    for name in POLICIES:
        of_days = [found["day", day]["policies"][name] for day in range(n_days)]
        risk = risk_outcome(np.stack([one["losses"] for one in of_days]), aversion)
        by_policy[name] = {
            "outcome": {key: [one["outcome"][key] for one in of_days] for key in of_days[0]["outcome"]},
            "price": [one["price"].tolist() for one in of_days],
            "imbalance": [one["imbalance"] for one in of_days],
            "gains": [one["gains"] for one in of_days],
            "risk": {field: list(getattr(risk, field)) for field in ("expected", "cvar", "adjusted")},
        }
    idle = np.stack([found["day", day]["policies"][IDLE]["losses"] for day in range(n_days)])
    exploited = [value for key, value in found.items() if key[0] == "market"]
    shown, settled = found["shown",], found["settled",]
    return {
        "policies": by_policy,
        "exploitability": {
            "mean_field": {
                name: [found["day", day]["curves"][name] for day in range(n_days)] for name in DISCRETE
            },
            "market": {name: [gains[name] for gains in exploited] for name in exploited[0]},
        },
        "between_days": float((idle.mean(axis=1).var(axis=0) / idle.var(axis=(0, 1))).mean()),
        "learning": {
            **{name: found["train", name] for name in (NEURAL, AVERSE)},
            IDLE: evaluate_apart(protocol, market(protocol, None, "box"), Idle(market(protocol, None, "box"))),
        },
        "forecasts": {
            name: {
                "names": list(one.names),
                "crps": one.crps.tolist(),
                "crps_standard_error": one.crps_standard_error.tolist(),
                "log_score": one.log_score.tolist(),
                "coverage_50_90": one.coverage.tolist(),
                "diebold_mariano_p": one.p_value.tolist(),
            }
            for name, one in found["forecasts",]["evaluations"].items()
        },
        "settlement": {
            how: [dataclasses.asdict(one) for one in each] for how, each in settled["summaries"].items()
        },
        "shown_day": {
            "day": shown["day"],
            "hour": shown["hour"],
            "points": shown["points"],
            "front": {key: np.asarray(value).tolist() for key, value in shown["front"].items()},
        },
    }
