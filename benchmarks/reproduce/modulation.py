"""Does it help to shrink the actor's steps while the population changes? An actor-critic on games that drift.

"Math Deep Dive: Understanding Mean-Field-Type Games", section 4.2, modulates the actor's steps by the Wasserstein
distance between successive laws of the population, alpha_t = alpha_0 min(1, tau_0 / t) / (1 + beta W1(mu_t,
mu_{t-1})), "for stability", and bounds the dynamic regret sum_t [l_t(theta_t) - min l_t] of convex losses. Here
l_t is exact and convex: the linear-quadratic game is replaced by another one while an actor-critic with an affine
policy learns, and l_t is the cost of the errors of the policy's controls in the present game's equilibrium
(``control_error``). The source has no experiment [O].

Modulated steps are smaller on average too. So every modulated variant is compared with constant steps of the same
mean size, which know nothing of the population.

Beside the study: the learned gains beside the Riccati gains in the game that stays the same, and the energy
market.
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import stats
from stable_baselines3.common.vec_env import VecEnvWrapper

from baselines.continuous.actor_critic.actor_critic import ActorCritic
from baselines.continuous.actor_critic.affine_policy import AffinePolicy
from baselines.continuous.actor_critic.feedback import control_error, fitted_feedback, step_gains
from baselines.continuous.linear_quadratic import (
    LinearQuadraticSolution,
    competitive_equilibrium,
    deviation_cost,
    population_costs,
)
from baselines.neural.wasserstein import WassersteinSchedule
from baselines.versions import versions
from benchmarks.reproduce.modulation_figures import draw_gains, draw_study
from benchmarks.reproduce.tasks import Tasks, run_all
from mfenvs import evaluate, make
from mfenvs.api.sb3 import vec_env
from mfenvs.files import write_json
from mfenvs.games.linear_quadratic.game import LinearQuadratic

RESULTS = Path("runs") / "modulation"
GAME = "LinearQuadratic-v0"
ENERGY = "EnergyMarket-v0"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How large everything is [O]."""

    n_agents: int = 100
    horizon: int = 10
    """Steps of an episode in the study."""
    n_worlds: int = 2
    updates: int = 96
    """Updates of a run of the study, each from one episode."""
    block: int = 4
    """Updates from one game to the next, and from one measurement to the next."""
    rate: float = 4e-3
    """alpha_0."""
    tau_0: float = 20.0
    critic_rate: float = 2e-2
    beta: tuple[float, ...] = (2.0, 8.0)
    constant: tuple[float, ...] = (0.5,)
    """Constant steps besides alpha_0, in units of alpha_0."""
    gain_horizon: int = 20
    """Steps of an episode where gains are learned."""
    gain_updates: int = 240
    gain_seeds: int = 5
    energy_updates: int = 60
    energy_seeds: int = 3
    energy_agents: int = 100


SMALL_STEPS = {"policy": {"degree": 2, "log_std_init": math.log(0.1)}, "n_epochs": 4, "gae_lambda": 0.5}
"""Hyper-parameters of the runs with an affine policy: polynomials of degree 2, a fixed exploration with standard
deviation 1, four passes of the critic, and lambda 1/2, since the critic's features hold the game's value."""

REGIMES = {
    "same game": "the same game: only the population drifts, as all agents learn",
    "slow drift": "costs and first means move along a sine wave, with a period of 48 updates",
    "jumps": "two games in turn, 24 updates each",
}


def constants_at(regime: str, update: int) -> dict[str, Any]:
    """Constants of the game that is played from this update on."""
    level = {
        "same game": 0.0,
        "slow drift": math.sin(2.0 * math.pi * update / 48.0),
        "jumps": float(update // 24 % 2),
    }[regime]
    # The scale of states, the unit of what agents see of the means, stays the same.
    return {
        "state_cost": (1.0 + 0.8 * level, 0.8 - 0.6 * level),
        "coupling_cost": (0.3 + 0.5 * level, 0.2 + 0.5 * level),
        "initial_mean": (1.0 - 1.8 * abs(level), -0.5 + 1.4 * abs(level)),
    }


@functools.cache
def solved(protocol: Protocol, regime: str, update: int, horizon: int) -> LinearQuadraticSolution:
    """The game of an update, and its equilibrium."""
    game = make(GAME, n_agents=protocol.n_agents, horizon=horizon, **constants_at(regime, update))
    assert isinstance(game, LinearQuadratic)
    return competitive_equilibrium(game)


class SameSpace(VecEnvWrapper):
    """The agents of a game, with the observation space of another one: the bounds of states depend on the game."""

    def reset(self) -> Any:
        """Begin an episode."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Take a step."""
        return self.venv.step_wait()


def environment(game: LinearQuadratic, n_worlds: int, seed: int, space: Any = None) -> SameSpace:
    """The game's environment, in which agents see the means of the types."""
    env = vec_env(game, n_worlds, observe="type-means")
    env.seed(seed)
    return SameSpace(env, observation_space=space or env.observation_space)


def actor_critic(protocol: Protocol, schedule: WassersteinSchedule, env: Any, seed: int) -> ActorCritic:
    """A new actor-critic with an affine policy."""
    game = env.get_attr("game")[0]
    return ActorCritic(
        "AffinePolicy",
        env,
        n_steps=game.horizon,
        learning_rate=schedule,
        critic_learning_rate=protocol.critic_rate,
        check_steps=False,  # constant steps are among the variants
        n_epochs=SMALL_STEPS["n_epochs"],
        gae_lambda=SMALL_STEPS["gae_lambda"],
        policy_kwargs={**AffinePolicy.arguments(game), **SMALL_STEPS["policy"]},
        seed=seed,
        device="cpu",
    )


def schedule_of(protocol: Protocol, variant: str) -> WassersteinSchedule:
    """The schedule of a variant: "constant 0.5", "decay", "beta 4" or "decay, beta 4"."""
    kind, _, number = variant.rpartition(" ")
    if kind == "constant":
        return WassersteinSchedule(protocol.rate * float(number), beta=0.0)
    tau_0 = protocol.tau_0 if variant.startswith("decay") else math.inf
    return WassersteinSchedule(protocol.rate, tau_0=tau_0, beta=float(number) if "beta" in variant else 0.0)


def study_run(protocol: Protocol, regime: str, variant: str, seed: int) -> dict[str, Any]:
    """Learn while the game drifts: loss after every block of updates, and rate and distance of every update."""
    torch.set_num_threads(1)
    schedule = schedule_of(protocol, variant)
    first = solved(protocol, regime, 0, protocol.horizon)
    env = environment(first.game, protocol.n_worlds, 1000 * seed)
    model = actor_critic(protocol, schedule, env, seed)
    rates: list[float] = []
    distances: list[float] = []
    model.after_update += [lambda: rates.append(schedule.rate), lambda: distances.append(schedule.distance)]
    losses = []
    game = first.game
    for update in range(0, protocol.updates, protocol.block):
        solution = solved(protocol, regime, update, protocol.horizon)
        if solution.game != game:
            game = solution.game
            space = model.observation_space
            model.set_env(environment(game, protocol.n_worlds, 1000 * seed + update, space))
        met = loss(solution, model)
        model.learn(protocol.block * model.n_steps * model.n_envs, reset_num_timesteps=False)
        losses.append((met + loss(solution, model)) / 2)
    return {"losses": losses, "rates": rates, "distances": distances}


def loss(solution: LinearQuadraticSolution, model: ActorCritic) -> float:
    """Cost of the errors of a policy's controls in an equilibrium, of an agent drawn from the population."""
    times = solution.game.dt * np.arange(solution.game.horizon)
    policy = model.policy
    assert isinstance(policy, AffinePolicy)
    coefficients = np.stack([policy.coefficients(time / solution.game.duration) for time in times])
    return float(solution.parameters.share @ control_error(solution, coefficients, times))


def gains_run(protocol: Protocol, policy: str, seed: int) -> dict[str, Any]:
    """Learn the game that stays the same, with steps as in the source's formula; compare with the closed form."""
    torch.set_num_threads(1)
    solution = solved(protocol, "same game", 0, protocol.gain_horizon)
    game = solution.game
    schedule = WassersteinSchedule(protocol.rate, tau_0=protocol.tau_0, beta=1.0)
    if policy == "affine":
        model = actor_critic(protocol, schedule, environment(game, 1, 1000 * seed), seed)
    else:
        kwargs = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh}
        model = ActorCritic(
            "UnitBoxPolicy",
            vec_env(game, observe="type-means"),
            learning_rate=WassersteinSchedule(2e-3, tau_0=100.0, beta=1.0),
            critic_learning_rate=1e-2,
            gae_lambda=0.8,
            policy_kwargs={**kwargs, "log_std_init": math.log(0.1)},
            seed=seed,
            device="cpu",
        )
    model.learn(protocol.gain_updates * model.n_steps * model.n_envs)
    found = fitted_feedback(game, model)
    response, times = solution.parameters.response, found.times
    gain, xi = response * solution.riccati(times), response * solution.xi(times)
    deviation = [
        deviation_cost(solution, kind, functools.partial(_feedback_at, found, kind)) - solution.costs[kind]
        for kind in range(len(game.types))
    ]
    costs = population_costs(game, lambda t: _at(t, times, found.gain), lambda t: _at(t, times, found.constant))
    return {
        "times": times.tolist(),
        "gain": found.gain.tolist(),
        "constant": found.constant.tolist(),
        "unexplained": float(found.unexplained.max()),
        "gain_error": float(np.sqrt(np.mean((found.gain - gain) ** 2))),
        "step_gain_error": float(np.sqrt(np.mean((found.gain - step_gains(game)) ** 2))),
        "step_gain": step_gains(game).tolist(),
        "constant_error": float(np.sqrt(np.mean((found.constant - xi) ** 2))),
        "deviation_loss": deviation,
        "population_cost": costs.tolist(),
        "equilibrium_cost": solution.costs.tolist(),
        "riccati_gain": gain.tolist(),
        "equilibrium_constant": xi.tolist(),
    }


def _feedback_at(found: Any, kind: int, time: float) -> NDArray[np.float64]:
    return np.asarray(found.at(time, kind))


def _at(time: float, times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.interp(time, times, column) for column in values.T])


def energy_run(protocol: Protocol, seed: int) -> dict[str, Any]:
    """Learn the energy market for a short time; returns before and after, in fresh worlds."""
    torch.set_num_threads(1)
    game = make(ENERGY, n_agents=protocol.energy_agents)
    schedule = WassersteinSchedule(3e-3, tau_0=30.0, beta=1.0, coordinate="charge")
    model = ActorCritic(
        "UnitBoxPolicy",
        game,
        n_worlds=2,
        learning_rate=schedule,
        critic_learning_rate=1e-2,
        seed=seed,
        device="cpu",
    )
    before = played(game, model, seed)
    model.learn(protocol.energy_updates * model.n_steps * model.n_envs)
    return {"before": before, "after": played(game, model, seed)}


def played(game: Any, model: ActorCritic, seed: int) -> float:
    """Mean return of a model in fresh worlds."""
    torch.manual_seed(seed)  # models of Box actions draw from torch's own random numbers
    return evaluate(game, model, n_worlds=8, seed=10_000 + seed).mean_return.value


def interval(values: Any) -> dict[str, Any]:
    """Mean of independent values, and its 95 % interval by Student's t."""
    found = np.asarray(values, np.float64)
    mean, n = float(found.mean()), len(found)
    half = float(stats.t.ppf(0.975, n - 1) * found.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return {"mean": mean, "interval_95": [mean - half, mean + half], "n": n}


def variants_of(protocol: Protocol) -> list[str]:
    """The variants that are run first."""
    constant = [f"constant {factor:g}" for factor in sorted({1.0, *protocol.constant})]
    modulated = [f"{kind}beta {beta:g}" for kind in ("", "decay, ") for beta in protocol.beta]
    return [*constant, "decay", *modulated]


def matched(protocol: Protocol, runs: dict[tuple[Any, ...], Any], seeds: range) -> dict[tuple[str, str], str]:
    """For each regime and modulated variant, constant steps of the same mean size."""
    found = {}
    for regime in REGIMES:
        for beta in protocol.beta:
            rates = [runs["study", regime, f"beta {beta:g}", seed]["rates"] for seed in seeds]
            found[regime, f"beta {beta:g}"] = f"constant {float(np.mean(rates)) / protocol.rate:.4f}"
    return found


def summary(runs: dict[tuple[Any, ...], Any], regime: str, variant: str, against: str, seeds: range) -> Any:
    """Mean loss of a variant, and its difference to another one's on the same seeds, with 95 % intervals."""
    mine, others = (
        np.array([np.mean(runs["study", regime, which, seed]["losses"]) for seed in seeds])
        for which in (variant, against)
    )
    rates = np.array([runs["study", regime, variant, seed]["rates"] for seed in seeds])
    return {
        "loss": interval(mine),
        "against": against,
        "difference": interval(mine - others),
        "mean_rate": float(rates.mean()),
    }


@dataclasses.dataclass
class Flags:
    """Learned gains, and Wasserstein-modulated steps under drift."""

    seeds: int = 10
    """Seeds of the study."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the figures and the JSON go; committed are those in benchmarks/results/modulation."""


def main(words: list[str], protocol: Protocol = Protocol()) -> int:
    """Run the study; 130 if interrupted, when nothing is written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce modulation")
    began = time.perf_counter()
    seeds = range(flags.seeds)
    tasks: Tasks = {}
    for seed in range(protocol.gain_seeds):
        for policy in ("affine", "network"):
            tasks["gains", policy, seed] = functools.partial(gains_run, protocol, policy, seed)
    for seed in range(protocol.energy_seeds):
        tasks["energy", seed] = functools.partial(energy_run, protocol, seed)
    for regime in REGIMES:
        for variant in variants_of(protocol):
            for seed in seeds:
                tasks["study", regime, variant, seed] = functools.partial(
                    study_run, protocol, regime, variant, seed
                )
    runs, interrupted = run_all(tasks, flags.jobs, "modulation")
    if interrupted:
        return 130
    same_mean = matched(protocol, runs, seeds)
    tasks = {
        ("study", regime, variant, seed): functools.partial(study_run, protocol, regime, variant, seed)
        for (regime, _), variant in same_mean.items()
        for seed in seeds
    }
    more, interrupted = run_all(tasks, flags.jobs, "constant steps of the same mean")
    if interrupted:
        return 130
    content = results(protocol, runs | more, same_mean, seeds)
    content["seconds"] = time.perf_counter() - began
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    draw_gains(content["gains"], flags.out / "gains.png")
    draw_study(content, flags.out / "modulation.png")
    show(content)
    return 0


def results(
    protocol: Protocol, runs: dict[tuple[Any, ...], Any], same_mean: dict[tuple[str, str], str], seeds: range
) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    study: dict[str, Any] = {}
    for regime in REGIMES:
        entries = {name: summary(runs, regime, name, "constant 1", seeds) for name in variants_of(protocol)}
        for beta in protocol.beta:
            name, control = f"beta {beta:g}", same_mean[regime, f"beta {beta:g}"]
            entries[f"same mean as {name}"] = summary(runs, regime, control, "constant 1", seeds)
            entries[name]["against_same_mean"] = summary(runs, regime, name, control, seeds)["difference"]
            decayed = summary(runs, regime, f"decay, {name}", "decay", seeds)
            entries[f"decay, {name}"]["against_decay"] = decayed["difference"]
        curves = {
            name: [runs["study", regime, name, seed]["losses"] for seed in seeds] for name in variants_of(protocol)
        }
        distances = [runs["study", regime, "constant 1", seed]["distances"] for seed in seeds]
        study[regime] = {"summary": entries, "losses": curves, "distances": distances}
    gains = {
        policy: [runs["gains", policy, seed] for seed in range(protocol.gain_seeds)]
        for policy in ("affine", "network")
    }
    energy = [runs["energy", seed] for seed in range(protocol.energy_seeds)]
    return {
        "source": "Math Deep Dive: Understanding Mean-Field-Type Games, section 4.2",
        "protocol": dataclasses.asdict(protocol),
        "seeds": list(seeds),
        "regimes": REGIMES,
        "study": study,
        "gains": gains,
        "gains_summary": {policy: gains_summary(found) for policy, found in gains.items()},
        "energy": {"runs": energy, "rise": interval([run["after"] - run["before"] for run in energy])},
        "versions": versions(),
    }


def gains_summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of learned gains, and what they cost, with 95 % intervals over the seeds."""
    found = {
        name: interval([run[name] for run in runs]) for name in ("gain_error", "step_gain_error", "constant_error")
    }
    equilibrium = np.array(runs[0]["equilibrium_cost"])
    for kind in range(len(equilibrium)):
        found[f"deviation_loss_{kind}"] = interval([run["deviation_loss"][kind] for run in runs])
        costs = [run["population_cost"][kind] - equilibrium[kind] for run in runs]
        found[f"population_cost_above_equilibrium_{kind}"] = interval(costs)
    return found


def show(content: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    for regime, found in content["study"].items():
        table = Table(title=f"{regime}: {content['regimes'][regime]}", box=box.SIMPLE)
        for header in ("steps", "mean step", "loss", "minus constant", "minus constant of same mean, or decay"):
            table.add_column(header, justify="left" if header == "steps" else "right")
        for name, entry in found["summary"].items():
            beside = entry.get("against_same_mean") or entry.get("against_decay")
            table.add_row(
                name,
                f"{entry['mean_rate']:.5f}",
                told(entry["loss"]),
                told(entry["difference"]),
                told(beside) if beside else "",
            )
        console.print(table)
    for policy, entries in content["gains_summary"].items():
        for name, entry in entries.items():
            console.print(f"{policy}: {name} {told(entry)}")
    console.print(f"energy market: return after minus before {told(content['energy']['rise'])}")


def told(entry: dict[str, Any]) -> str:
    """A mean and its interval as text."""
    return "{:.4f} [{:.4f}, {:.4f}]".format(entry["mean"], *entry["interval_95"])
