"""Speed measurements: every row compares two systems in one run, by medians of interleaved repetitions.

``python -m benchmarks speed`` sets one thread before this module is imported.
"""

import dataclasses
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from baselines.solvers.fixed_point import OnlineMirrorDescent
from baselines.solvers.population_iteration import GMFV
from baselines.tabular.independent_q import MFQ, IndependentQ
from baselines.tabular.q_learning import q_learning
from baselines.tabular.temporal_difference import QEstimate, td_update
from baselines.versions import versions
from benchmarks.measuring import N, Row, medians, million_per_second
from benchmarks.speed_counterparts import NumpyEpidemic, NumpyEpidemicWithObservations
from benchmarks.speed_of_equilibria import linear_quadratic, stationary, torus
from benchmarks.speed_of_networks import ppo, products
from benchmarks.speed_of_readers import readers
from benchmarks.speed_of_symmetry import symmetry
from mfenvs import Engine, FiniteGame, Game, make, n_player_exploitability, uniform
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import new_sums
from mfenvs.engine.cpu import build_kernels
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import agent_key, step_key
from mfenvs.files import write_json
from mfenvs.games.classic.epidemics import SusceptibleInfected
from mfenvs.games.classic.rock_paper_scissors import WeightedRockPaperScissors
from mfenvs.meanfield.induced import InducedGame

RESULTS = Path("runs") / "speed.json"


@dataclasses.dataclass
class Flags:
    """Measure the speeds that the project claims, as ratios; print a table and write it as JSON."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of the measurements to run, by default all: engine, apis, episodes, solvers, exploitability, taxi,
    ppo, products, auction, energy, stationary, torus, linear-quadratic, symmetry, readers."""
    repetitions: int = 7
    """Number of repetitions of each measurement, at least 5; medians are reported."""
    out: Path = RESULTS
    """JSON file to write; the committed one is benchmarks/results/speed.json."""


def main(words: list[str]) -> int:
    """Measure, print and write; return the exit status."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks speed")
    unknown = [name for name in flags.names if name not in MEASUREMENTS]
    if unknown or flags.repetitions < 5:
        bad = f"unknown name {unknown[0]!r}; known: {', '.join(MEASUREMENTS)}" if unknown else "repetitions < 5"
        print(f"python -m benchmarks speed: {bad}")
        return 2
    rows: list[Row] = []
    table = Table("what", "median", "target", "met")
    for name in flags.names or MEASUREMENTS:
        for row in MEASUREMENTS[name](flags.repetitions):
            rows.append(row)
            met = {True: "yes", False: "NO", None: ""}[row.met]
            table.add_row(row.what, f"{row.value:.4g} {row.unit}", row.target, met)
    Console().print(table)
    write_json(
        flags.out,
        {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread used",
            "repetitions": flags.repetitions,
            "rows": [dataclasses.asdict(row) for row in rows],
            "versions": versions(),
        },
    )
    return 0


def engine(repetitions: int) -> Iterator[Row]:
    """Measure the array core against a kernel that only draws and stores one number per agent."""
    game = make("Epidemic-v0", n_agents=N, horizon=10**9)
    assert isinstance(game, FiniteGame)
    stepped = Engine(game)
    stepped.reset(seed=1)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, (1, N), dtype=np.int32)
    rewards, numbers = np.empty((1, N), np.float32), np.empty((1, N), np.float32)
    other = NumpyEpidemic(game)
    times = medians(
        repetitions,
        (lambda: stepped.step(actions, rewards), 5000),
        (lambda: draw_numbers(numbers, 1, 7, 3), 5000),
        (lambda: other.step(actions[0]), 2000),
    )
    speed = million_per_second(times[0], N)
    yield Row("A-SIS arrays, step() from Python, one world", speed, "M/s", ">= 200", speed >= 200)
    ratio = times[1] / times[0]
    yield Row("  over drawing only, both from Python", ratio, "x", ">= 0.25", ratio >= 0.25)
    yield Row("  over vectorised numpy", times[2] / times[0], "x", "", None)
    loop, steps = step_loop(game), 2000
    in_loop = medians(repetitions, (lambda: loop(steps), 1), (lambda: draw_numbers_often(numbers, steps, 7, 3), 1))
    speed = million_per_second(in_loop[0] / steps, N)
    yield Row("A-SIS arrays, stepped in compiled code, one world", speed, "M/s", ">= 200", speed >= 200)
    ratio = in_loop[1] / in_loop[0]
    yield Row("  over drawing only, both in compiled code", ratio, "x", ">= 0.25 (stretch .5)", ratio >= 0.25)
    batch = Engine(game, 64)
    batch.reset(seed=1)
    many = rng.integers(0, 2, (64, N), dtype=np.int32)
    out = np.empty((64, N), np.float32)
    (seconds,) = medians(repetitions, (lambda: batch.step(many, out), 200))
    yield Row("A-SIS arrays, 64 worlds", million_per_second(seconds, 64 * N), "M/s", "", None)


@kernel
def draw_numbers(out: Any, seed: Any, episode: Any, time: Any) -> None:
    """Draw one uniform number per agent and store it, as a step of the engine would."""
    for w in range(out.shape[0]):
        key = step_key(seed, w, episode, time, 2)
        for i in range(out.shape[1]):
            out[w, i] = uniform(agent_key(key, i), 0)


@kernel
def draw_numbers_often(out: Any, n_steps: Any, seed: Any, episode: Any) -> None:
    """Call :func:`draw_numbers` in compiled code."""
    for step in range(n_steps):
        draw_numbers(out, seed, episode, step)


def step_loop(game: FiniteGame) -> Callable[[int], None]:
    """Make a function that takes one world through n steps of fixed actions, all in compiled code."""
    step = build_kernels(game.rules, Layout.of(game)).step
    rng = np.random.default_rng(0)
    states = rng.integers(0, game.n_states, (2, 1, game.n_agents)).astype(game.state_dtype)
    actions = rng.integers(0, game.n_actions, (1, game.n_agents), dtype=np.int32)
    rewards = np.empty((1, game.n_agents), np.float32)
    counts, signal = np.empty((1, game.n_cells), np.float32), np.empty((1, 0), np.float32)
    ids, agents, constants = np.zeros(1, np.uint64), game.agents.view(np.ndarray), game.constants

    @kernel
    def loop(
        n: Any, now: Any, then: Any, a: Any, r: Any, who: Any, c: Any, k: Any, sums: Any, z: Any, w: Any
    ) -> None:
        for h in range(n):
            before, after = (now, then) if h % 2 == 0 else (then, now)
            step(before, a, after, r, who, c, k, sums, z, w, h, 7, 3, 0, 1)

    sums = new_sums(game.rules, 1, game.n_cells)
    return lambda n: loop(n, states[0], states[1], actions, rewards, agents, constants, counts, sums, signal, ids)


def apis(repetitions: int) -> Iterator[Row]:
    """Measure the public APIs with float32 observations."""
    import gymnasium

    from mfenvs.api.pettingzoo import parallel_env
    from mfenvs.api.sb3 import vec_env

    rng = np.random.default_rng(0)
    constants = {"n_agents": N, "horizon": 10**9}
    actions = rng.integers(0, 2, N)
    vector = gymnasium.make_vec("mfenvs/Epidemic-v0", **constants)
    vector.reset(seed=1)
    buffered = gymnasium.make_vec("mfenvs/Epidemic-v0", copy=False, **constants)
    buffered.reset(seed=1)
    sb3 = vec_env("Epidemic-v0", **constants)
    sb3.seed(1)
    sb3.reset()
    dicts = parallel_env("Epidemic-v0", **constants)
    dicts.reset(seed=1)
    chosen = dict(zip(dicts.agents, actions.tolist(), strict=True))
    numpy_env = NumpyEpidemicWithObservations(make("Epidemic-v0", n_agents=N))
    times = medians(
        repetitions,
        (lambda: vector.step(actions), 2000),
        (lambda: buffered.step(actions), 2000),
        (lambda: sb3.step(actions), 2000),
        (lambda: dicts.step(chosen), 200),
        (lambda: numpy_env.step(actions), 2000),
    )
    labels = ("gymnasium VectorEnv", "gymnasium VectorEnv, copy=False", "SB3 VecEnv", "PettingZoo ParallelEnv")
    for label, seconds, bar in zip(labels, times, (60, 60, 60, 2.5), strict=False):
        speed = million_per_second(seconds, N)
        yield Row(f"A-SIS {label}", speed, "M/s", f">= {bar}", speed >= bar)
    yield Row("  VectorEnv over vectorised numpy with observations", times[4] / times[0], "x", "", None)


def episodes(repetitions: int) -> Iterator[Row]:
    """Measure whole episodes with a tabular policy, and with the TD update."""
    for name in ("Epidemic-v0", "RockPaperScissors-v0"):
        game = make(name)
        assert isinstance(game, FiniteGame)
        worlds = 20
        runner = Engine(game, worlds)
        policy = np.full((game.horizon, game.n_states, game.n_actions), 1.0 / game.n_actions)
        zeros = QEstimate.zeros((1, *policy.shape))

        def play(runner: Engine = runner, policy: NDArray[np.float64] = policy) -> Any:
            return runner.rollout(policy, seed=1)

        def learn(
            play: Callable[[], Any] = play, zeros: QEstimate = zeros, policy: NDArray[np.float64] = policy
        ) -> Any:
            return td_update(zeros, play(), policy[None], temperature=0.02)

        times = medians(repetitions, (play, 10), (learn, 10))
        steps = worlds * game.n_agents * game.horizon
        speed = million_per_second(times[0], steps)
        yield Row(f"{name} whole episodes, tabular policy", speed, "M/s", "", None)
        speed = million_per_second(times[1], steps)
        target = (">= 60", speed >= 60) if name == "Epidemic-v0" else ("", None)
        yield Row(f"{name} whole episodes with TD update", speed, "M/s", *target)


def solvers(repetitions: int) -> Iterator[Row]:
    """Measure online mirror descent and exploitability against MFGLib on MFGLib's own two games."""
    import torch
    from mfglib.alg import OnlineMirrorDescent as TheirMirrorDescent
    from mfglib.env import Environment
    from mfglib.scoring import exploitability_score

    torch.set_num_threads(1)
    pairs = (
        ("RPS", WeightedRockPaperScissors(), Environment.rock_paper_scissors(T=1)),
        ("SIS", SusceptibleInfected(), Environment.susceptible_infected(T=50)),
    )
    for label, game, theirs in pairs:
        solver = OnlineMirrorDescent(game, learning_rate=1.0)
        algorithm = TheirMirrorDescent(alpha=1.0)
        uniform_policy = torch.full((game.horizon, game.n_states, game.n_actions), 1.0 / game.n_actions)
        state = algorithm.init_state(theirs, uniform_policy)
        for _ in range(3):
            state = algorithm.step_next_state(state, None, None)
        solver.run(3)
        policy = solver.policy.probabilities
        difference = float(np.abs(policy - state.pi.numpy()).max())
        gap = abs(solver.induced.exploitability(policy) - exploitability_score(theirs, state.pi))
        if difference > 1e-3 or gap > 1e-3:
            raise RuntimeError(f"not the same game: policies differ by {difference}, exploitabilities by {gap}")
        start = state
        calls = 20 if label == "RPS" else 3
        times = medians(
            repetitions,
            (lambda solver=solver: solver.run(100), 20),  # type: ignore[misc]
            (lambda a=algorithm, s=start: a.step_next_state(s, None, None), calls),  # type: ignore[misc]
            (lambda solver=solver, p=policy: solver.induced.exploitability(p), 2000),  # type: ignore[misc]
            (lambda e=theirs, s=start: exploitability_score(e, s.pi), calls),  # type: ignore[misc]
        )
        iteration = times[0] / 100
        ratios = times[1] / iteration, times[3] / times[2]
        yield Row(f"{label} mirror-descent iteration", iteration * 1e6, "us", "", None)
        yield Row("  MFGLib's over ours", ratios[0], "x", ">= 100", ratios[0] >= 100)
        yield Row(f"{label} exploitability", times[2] * 1e6, "us", "", None)
        yield Row("  MFGLib's over ours", ratios[1], "x", ">= 100", ratios[1] >= 100)


def exploitability(repetitions: int) -> Iterator[Row]:
    """Measure the N-player exploitability of A-SIS with 64 worlds."""
    game = make("Epidemic-v0")
    assert isinstance(game, FiniteGame)
    policy = np.full((game.horizon, game.n_states, game.n_actions), 1.0 / game.n_actions)
    (seconds,) = medians(repetitions, (lambda: n_player_exploitability(game, policy, n_worlds=64), 1))
    yield Row("A-SIS N-player exploitability, 64 worlds", seconds, "s", "< 3", seconds < 3)


def taxi(repetitions: int) -> Iterator[Row]:
    """Measure whole episodes of the taxis' array core, with and without observations."""
    game = make("Taxi-v0", n_agents=N)
    stepped = Engine(game)
    stepped.reset(seed=1)
    actions = np.random.default_rng(0).integers(0, 5, (game.horizon, 1, N), dtype=np.int32)
    rewards, observations = np.empty((1, N), np.float32), np.empty((1, N, game.n_features), np.float32)

    def play(observing: bool) -> None:
        stepped.reset()
        for now in actions:
            stepped.step(now, rewards)
            if observing:
                stepped.observe(observations)

    times = medians(repetitions, (lambda: play(False), 20), (lambda: play(True), 20))
    for what, seconds, bar in zip(("", " with observations"), times, (30, 12), strict=True):
        speed = million_per_second(seconds, N * game.horizon)
        yield Row(f"A-Taxi arrays{what}, one world", speed, "M/s", f">= {bar}", speed >= bar)


def auction(repetitions: int) -> Iterator[Row]:
    """Measure the auction's array core, Q-learning on it, its learners, and GMF-V against MFGLib's."""
    import torch
    from mfglib.alg import PriorDescent
    from mfglib.env import Environment

    torch.set_num_threads(1)
    game = make("Auction-v0", n_agents=N, horizon=10**9)
    stepped = Engine(game)
    stepped.reset(seed=1)
    actions, rewards = (
        np.random.default_rng(0).integers(0, 10, (1, N), dtype=np.int32),
        np.empty((1, N), np.float32),
    )
    (seconds,) = medians(repetitions, (lambda: stepped.step(actions, rewards), 1000))
    yield Row("Auction arrays, N = 1000, one world", million_per_second(seconds, N), "M/s", "", None)
    large = make("Auction-v0", n_budgets=20, n_bids=20)
    assert isinstance(large, FiniteGame)
    induced = InducedGame(large)
    population = np.full(induced.policy_shape, 1.0 / 400)
    (seconds,) = medians(repetitions, (lambda: q_learning(induced, population, 10_000), 1))
    yield Row("Auction Q-learning, 10,000 sweeps, |S| = |A| = 20", seconds, "s", "< 2", seconds < 2)
    forty = make("Auction-v0", n_agents=40)
    assert isinstance(forty, FiniteGame)
    for trainer_class in (IndependentQ, MFQ):
        trainer = trainer_class(forty)
        (seconds,) = medians(repetitions, (lambda trainer=trainer: trainer.learn(1), 1))  # type: ignore[misc]
        speed = million_per_second(seconds, trainer.timesteps_per_iteration)
        yield Row(f"Auction {trainer.name}, 40 agents, learning", speed, "M/s", "", None)
    pairs = (
        ("RPS", WeightedRockPaperScissors(), Environment.rock_paper_scissors(T=1)),
        ("SIS", SusceptibleInfected(), Environment.susceptible_infected(T=50)),
    )
    for label, shared, theirs in pairs:
        ours = GMFV(shared, inverse_temperature=1.0, net=0)
        algorithm = PriorDescent(eta=1.0, n_inner=None)
        uniform_policy = torch.full(shared.policy_shape, 1.0 / shared.n_actions)
        state = algorithm.init_state(theirs, uniform_policy)
        for _ in range(3):
            state = algorithm.step_next_state(state, None, None)
        ours.run(3)
        difference = float(np.abs(ours.policy.probabilities - state.pi.numpy()).max())
        if difference > 1e-4:
            raise RuntimeError(f"not the same iteration: policies differ by {difference}")
        times = medians(
            repetitions,
            (lambda ours=ours: ours.run(100), 20),  # type: ignore[misc]
            (lambda a=algorithm, s=state: a.step_next_state(s, None, None), 3),  # type: ignore[misc]
        )
        iteration = times[0] / 100
        yield Row(f"{label} GMF-V iteration", iteration * 1e6, "us", "", None)
        ratio = times[1] / iteration
        yield Row("  MFGLib's over ours", ratio, "x", ">= 50", ratio >= 50)


def energy(repetitions: int) -> Iterator[Row]:
    """Measure days of the energy market in arrays, by size, actions and orders, and the planner's optimum."""
    from mfenvs.energy.outcomes import planning_problem
    from mfenvs.energy.record import record_days
    from mfenvs.energy.welfare import plan
    from mfenvs.games.energy.market import EnergyMarket
    from mfenvs.games.energy.version_0 import EnergyMarketV0

    def day(market: type[EnergyMarket] = EnergyMarketV0, **constants: Any) -> Callable[[], None]:
        """A function that plays a day of one world; actions are drawn beforehand."""
        game = market(**constants)
        stepped, rng = Engine(game), np.random.default_rng(0)
        stepped.reset(seed=1)
        shape = (game.horizon, 1, game.n_agents)
        if game.actions == "discrete":
            actions = rng.integers(0, 30, shape, dtype=np.int32)
        else:
            bounds = _bounds(game)
            actions = rng.uniform(*bounds, (*shape, len(bounds[0]))).astype(np.float32)
        rewards = np.empty(shape[1:], np.float32)

        def play() -> None:
            stepped.reset()
            for now in actions:
                stepped.step(now, rewards)

        return play

    numbers = np.empty((1, N), np.float32)
    kinds = [("box", "interpolated"), ("box", "step"), ("box", "linear"), ("discrete", "interpolated")]
    days = [(day(n_agents=N, actions=actions, orders=orders), 20) for actions, orders in kinds]
    *times, drawing = medians(repetitions, *days, (lambda: draw_numbers(numbers, 1, 7, 3), 5000))
    for (actions, orders), seconds in zip(kinds, times, strict=True):
        speed = million_per_second(seconds, 24 * N)
        label = f"Energy market arrays, N = 1000, {actions}, {orders} orders"
        yield Row(label, speed, "M/s", ">= 10", speed >= 10)
    yield Row("  the first over drawing one number per agent", times[0] / 24 / drawing, "x", "", None)
    limits = {"import_limit_kw": 1.0, "export_limit_kw": 1.0}
    everything = {"shift_hours": 4.0, "ev_share": 0.3, "peak_charge": 0.3, **limits}
    newer = medians(
        repetitions, (day(EnergyMarket, n_agents=N), 20), (day(EnergyMarket, n_agents=N, **everything), 20)
    )
    for what, seconds in zip(("default", "with limits, peaks, shifting, vehicles"), newer, strict=True):
        speed = million_per_second(seconds, 24 * N)
        yield Row(f"Energy market, version 1, {what}", speed, "M/s", ">= 12", speed >= 12)
    large, small = medians(repetitions, (day(n_agents=100 * N), 1), (day(n_agents=N), 20))
    ratio = large / small / 100
    yield Row("  cost per agent, N = 100,000 over N = 1000", ratio, "x", "<= 2", ratio <= 2)
    problem = planning_problem(record_days(EnergyMarketV0(n_agents=N), n_worlds=1), 0)
    (seconds,) = medians(max(5, repetitions // 2), (lambda: plan(problem), 1))
    yield Row("Welfare of a day, N = 1000 x 24 hours, LP", seconds, "s", "< 3", seconds < 3)


def _bounds(game: Game) -> tuple[Any, Any]:
    space = game.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    return space.low, space.high


MEASUREMENTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "engine": engine,
    "apis": apis,
    "episodes": episodes,
    "solvers": solvers,
    "exploitability": exploitability,
    "taxi": taxi,
    "ppo": ppo,
    "products": products,
    "auction": auction,
    "energy": energy,
    "stationary": stationary,
    "torus": torus,
    "linear-quadratic": linear_quadratic,
    "symmetry": symmetry,
    "readers": readers,
}
