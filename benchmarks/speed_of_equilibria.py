"""Speeds of stationary and of continuous games: exact solvers, policy gradient, closed forms."""

import functools
from collections.abc import Iterator

import numpy as np

from baselines.continuous.hjb_fokker_planck import Grid, solve
from baselines.continuous.linear_quadratic import competitive_equilibrium, continuous_game, n_player_gaps
from baselines.stationary.policy_gradient import StationaryPolicyGradient
from benchmarks.crowd_on_torus import CrowdOnTorus
from benchmarks.measuring import N, Row, medians, million_per_second
from mfenvs import Engine, FiniteGame, make
from mfenvs.games.linear_quadratic.game import LinearQuadratic
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.stationary import find_equilibrium, find_social_optimum, threshold_search


def stationary(repetitions: int) -> Iterator[Row]:
    """Measure exact solvers and policy gradient of stationary games on malware's grid of 101 levels."""
    game = make("Malware-v0")
    assert isinstance(game, FiniteGame)
    induced = InducedGame(game)
    starts = [induced.uniform_policy()]
    times = medians(
        repetitions,
        (lambda: find_equilibrium(induced), 5),
        (lambda: threshold_search(induced), 5),
        (lambda: find_social_optimum(induced, starts), 5),
    )
    names = (
        "Malware, exact equilibrium",
        "Malware, all 204 threshold policies: equilibria and social optimum",
        "Malware, social optimum by gradients from the uniform policy",
    )
    for name, seconds in zip(names, times, strict=True):
        yield Row(name, seconds, "s", "< 0.05", seconds < 0.05)
    # 100 runs of 200 iterations, as in the paper.
    for objective in ("equilibrium", "social-welfare"):
        trainer = StationaryPolicyGradient(game, objective=objective, n_runs=100, evaluation_interval=0)
        at_a_time = 10
        learn = functools.partial(trainer.learn, at_a_time * trainer.timesteps_per_iteration)
        (seconds,) = medians(repetitions, (learn, 1))
        whole = seconds * 200 / at_a_time
        yield Row(f"Malware stationary-pg, {objective}, 100 runs x 200 iterations", whole, "s", "< 60", whole < 60)


def torus(repetitions: int) -> Iterator[Row]:
    """Measure flow, best response and exploitability on maps of many states, of which few can come next."""
    large, small = InducedGame(CrowdOnTorus()), CrowdOnTorus(side=20)
    policy = large.uniform_policy()

    def solve_once() -> None:
        flow = large.flow(policy)
        large.best_response(flow)

    sparse, dense = InducedGame(small, sparse=True), InducedGame(small, sparse=False)
    some = sparse.uniform_policy()
    one, whole, by_few, by_all = medians(
        repetitions,
        (lambda: large.exploitability(policy), 1),
        (solve_once, 1),
        (lambda: sparse.exploitability(some), 5),
        (lambda: dense.exploitability(some), 1),
    )
    yield Row("Torus 100 x 100, 50 steps: exploitability", one, "s", "< 0.15", one < 0.15)
    yield Row("Torus 100 x 100, 50 steps: flow and best response", whole, "s", "< 0.15", whole < 0.15)
    yield Row("Torus 20 x 20, 50 steps: exploitability", 1000 * by_few, "ms", "", None)
    yield Row("  the same by a dense table over ours", by_all / by_few, "x", ">= 10", by_all / by_few >= 10)


def linear_quadratic(repetitions: int) -> Iterator[Row]:
    """Measure the linear-quadratic game's closed form, its partial differential equations and its array core."""
    game = LinearQuadratic(n_agents=N, horizon=1000)
    equilibrium = competitive_equilibrium(game)
    times = np.linspace(0.0, game.duration, 101)

    def closed_form() -> None:
        found = competitive_equilibrium(game)
        found.riccati(times), found.xi(times), found.mean(times), found.costs

    seconds, gaps = medians(repetitions, (closed_form, 20), (lambda: n_player_gaps(equilibrium, [N]), 1))
    yield Row("LQ closed form: P, xi, means and costs", 1000 * seconds, "ms", "< 5", seconds < 5e-3)
    yield Row("LQ gap of the mean-field feedback among N, both types", gaps, "s", "", None)
    equations, grid = continuous_game(game), Grid(low=-4.0, high=4.0, n_cells=400, n_steps=400)
    (seconds,) = medians(repetitions, (lambda: solve(equations, grid), 1))
    yield Row("LQ HJB-Fokker-Planck, 400 x 400, two types", seconds, "s", "< 2", seconds < 2)
    stepped = Engine(game)
    controls = np.random.default_rng(0).uniform(-1.0, 1.0, (game.horizon, 1, N, 1)).astype(np.float32)
    rewards = np.empty((1, N), np.float32)

    def play() -> None:
        stepped.reset(seed=1)
        for now in controls:
            stepped.step(now, rewards)

    (seconds,) = medians(repetitions, (play, 5))
    speed = million_per_second(seconds, N * game.horizon)
    yield Row("LQ arrays, N = 1000, one world", speed, "M/s", ">= 60", speed >= 60)
