"""Speeds of trainers with networks: PPO and independent networks, populations of networks, small products."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.measuring import N, Row, medians
from mfenvs import Game, evaluate, make
from mfenvs.engine.compile import solver


def ppo(repetitions: int) -> Iterator[Row]:
    """Measure PPO on A-Taxi end to end, one episode of all taxis and four passes, against stock SB3's."""
    import stable_baselines3
    import supersuit
    import torch

    from baselines.neural.hyper_parameters import TABLE_2
    from baselines.neural.independent_ppo import IndependentPPO
    from baselines.neural.ppo import PPO
    from mfenvs.api.pettingzoo import parallel_env
    from mfenvs.api.sb3 import vec_env

    torch.set_num_threads(1)
    game = make("Taxi-v0", n_agents=N)
    converted = supersuit.pettingzoo_env_to_vec_env_v1(parallel_env(game))
    converted = supersuit.concat_vec_envs_v1(converted, 1, base_class="stable_baselines3")
    stock = {**TABLE_2, "n_steps": game.horizon, "device": "cpu"}
    models: list[Any] = [
        PPO("MlpPolicy", vec_env(game), device="cpu", seed=0),
        PPO("MlpPolicy", vec_env(game, observe="one-hot-identity"), device="cpu", seed=0),
        stable_baselines3.PPO("MlpPolicy", vec_env(game), seed=0, **stock),
        stable_baselines3.PPO("MlpPolicy", converted, **stock),
        IndependentPPO("MlpPolicy", vec_env(game), device="cpu", seed=0),
    ]
    per_epoch = N * game.horizon

    def epoch(model: Any) -> Callable[[], Any]:
        return lambda: model.learn(per_epoch, reset_num_timesteps=False)

    times = medians(repetitions, *((epoch(model), 1) for model in models))
    ours, one_hot, sb3, through_supersuit, independent = times
    yield Row("A-Taxi PPO, one episode and four passes", ours, "s", "", None)
    ratio = through_supersuit / ours
    yield Row("  stock SB3 PPO through SuperSuit over ours", ratio, "x", ">= 2.5", ratio >= 2.5)
    ratio = sb3 / ours
    yield Row("  stock SB3 PPO on our VecEnv over ours", ratio, "x", ">= 2", ratio >= 2)
    yield Row("  with one-hot identity (OH-NN) over without", one_hot / ours, "x", "<= 1.2", one_hot <= 1.2 * ours)
    yield Row("  independent networks (Ind-NN) over ours", independent / ours, "x", "paper: 20 and more", None)
    yield from _populations(repetitions, game, models[0], models[1])
    epidemic = PPO("MlpPolicy", vec_env("Epidemic-v0"), device="cpu", seed=0)
    epidemic.learn(1)

    def row_by_row() -> Any:
        return epidemic._minibatch

    def update(by_rows: bool) -> Callable[[], Any]:
        """A function that updates from the last rollout, by distinct observations or row by row."""

        def run() -> None:
            epidemic._minibatches = row_by_row if by_rows else kept  # type: ignore[method-assign]
            epidemic.train()

        return run

    kept = epidemic._minibatches

    distinct, rows = medians(repetitions, (update(False), 5), (update(True), 1))
    yield Row("A-SIS PPO, an update by distinct observations", distinct * 1e3, "ms", "", None)
    yield Row("  row by row over by distinct observations", rows / distinct, "x", ">= 20", rows >= 20 * distinct)


def _populations(repetitions: int, game: Game, shared: Any, one_hot: Any) -> Iterator[Row]:
    """Measure how a population of trained networks is played in eight worlds."""
    from baselines.neural.policy_and_value import PolicyAndValue

    def episode(model: Any) -> Callable[[], Any]:
        return lambda: evaluate(game, model, n_worlds=8)

    def with_all_rows() -> None:
        with mock.patch.object(PolicyAndValue, "_distinct", lambda self, observations: (observations, None)):
            episode(shared)()

    def with_columns() -> None:
        with mock.patch.object(type(one_hot), "takes_agents_by_index", return_value=False):
            episode(one_hot)()

    tasks = (episode(shared), 1), (with_all_rows, 1), (episode(one_hot), 1), (with_columns, 1)
    distinct, rows, by_index, columns = medians(repetitions, *tasks)
    yield Row("A-Taxi, Symm-NN evaluated in 8 worlds", distinct, "s", "", None)
    yield Row("  every row over those that differ", rows / distinct, "x", "", None)
    yield Row("A-Taxi, OH-NN evaluated in 8 worlds", by_index, "s", "", None)
    yield Row("  identities in columns over by index", columns / by_index, "x", "", None)


def products(repetitions: int) -> Iterator[Row]:
    """Measure the products of minibatches of independent networks in tiles against BLAS's."""
    from baselines.neural.small_products import multiply, multiply_transposed

    for rows, inner, columns in ((16, 64, 128), (16, 128, 128), (128, 128, 16)):
        of_sizes = f"of {rows} x {inner} x {columns}: BLAS over tiles"
        a, b, out = (np.ones(shape, np.float32) for shape in ((rows, inner), (inner, columns), (rows, columns)))
        plain = _ratio(repetitions, multiply, multiply_by_blas, a, b, out)
        yield Row(f"A B {of_sizes}", plain, "x", "", None)
        turned = _ratio(repetitions, multiply_transposed, multiply_transposed_by_blas, a.T.copy(), b, out)
        yield Row(f"A^T B {of_sizes}", turned, "x", "", None)


def _ratio(repetitions: int, ours: Callable[..., Any], theirs: Callable[..., Any], *arguments: Any) -> float:
    """Time that their function takes over that of ours."""
    first, second = medians(repetitions, *((lambda f=f: f(*arguments), 1000) for f in (ours, theirs)))
    return second / first


@solver
def multiply_by_blas(a: Any, b: Any, out: Any) -> None:
    """Write a b to ``out``."""
    np.dot(a, b, out)


@solver
def multiply_transposed_by_blas(a: Any, b: Any, out: Any) -> None:
    """Write a^T b to ``out``."""
    np.dot(a.T, b, out)
