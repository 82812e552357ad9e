"""The contract of the trainers of generalised mean-field games and their baselines, on every finite game."""

import csv
import dataclasses
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_games import auction, crowd
from tabulated import CORRIDOR, HOME

from baselines.logging import configure
from baselines.solvers.population_iteration import GMFV, ThreeStepFixedPoint
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from baselines.tabular.independent_q import MFQ, IndependentQ
from mfenvs import FiniteGame, make, registered_games
from mfenvs.rules import Public

quietly = pytest.mark.filterwarnings("ignore:the three-step iteration need not converge")

NEW = {
    "gmf-q": (GMFQ, {"inner_iterations": 7}),
    "gmf-q-async": (GMFQ, {"inner_iterations": 70, "asynchronous": True}),
    "gmf-v": (GMFV, {}),
    "naive-q": (NaiveQ, {"inner_iterations": 7}),
    "naive-q-exact": (NaiveQ, {"exact": True}),
    "three-step": (ThreeStepFixedPoint, {"inverse_temperature": 0.5}),
    "independent-q": (IndependentQ, {"episodes": 2}),
    "mf-q": (MFQ, {"episodes": 2}),
}
SMALL = {
    "Auction-v0": {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4},
    "Taxi-v0": {"n_agents": 2, "horizon": 2},
    "BinnedEnergyMarket-v0": {"n_bins": 2},
    "BinnedEnergyMarket-v1": {"n_bins": 2},
    "Malware-v0": {"n_levels": 4},
}
FINITE_ONLY = {"BinnedEnergyMarket-v0", "BinnedEnergyMarket-v1"}
"""A day ends."""
GAMES = {
    f"{name}-{gamma}": (name, {"n_agents": 6, "horizon": 4, **SMALL.get(name, {}), "discount": gamma})
    for name in registered_games("")
    if isinstance(make(name), FiniteGame)
    for gamma in (1.0, 0.8)
    if gamma == 1.0 or name not in FINITE_ONLY
}
by_trainer = pytest.mark.parametrize("name", NEW)
QUICK = ("Auction-v0-0.8", "Epidemic-v0-1.0")
"""One game of each kind, with and without an end; to compile the kernels of all games takes a minute."""
by_game = pytest.mark.parametrize(
    "game", [game if game in QUICK else pytest.param(game, marks=pytest.mark.slow) for game in GAMES]
)
STOCHASTIC = ["gmf-q", "gmf-q-async", "naive-q", "independent-q", "mf-q"]


def new(name, game="Auction-v0-0.8", seed=3, **options):
    trainer_class, defaults = NEW[name]
    game_name, constants = GAMES[game]
    return trainer_class(make(game_name, **constants), **(defaults | options), seed=seed)


def learned(trainer):
    return {**trainer._state(), "policy": trainer.policy.probabilities}


def assert_same(one, other) -> None:
    assert (one.iteration, one.num_timesteps) == (other.iteration, other.num_timesteps)
    mine, others = learned(one), learned(other)
    assert mine.keys() == others.keys()
    for key, value in mine.items():
        assert_array_equal(value, others[key], err_msg=key)


def test_the_games_of_the_contract() -> None:
    assert {"Auction-v0-1.0", "Auction-v0-0.8", "Epidemic-v0-1.0", "RockPaperScissors-v0-0.8"} <= GAMES.keys()


@quietly
@by_trainer
@by_game
def test_a_resumed_run_equals_an_uninterrupted_one(name, game, tmp_path) -> None:
    whole, part = new(name, game), new(name, game)
    step = whole.timesteps_per_iteration
    whole.learn(5 * step)
    part.learn(2 * step).save(tmp_path / "part.npz")
    resumed = type(part).load(tmp_path / "part.npz")
    assert resumed.config == part.config
    assert resumed.game == part.game
    assert_same(resumed.learn(3 * step), whole)
    assert_same(part.learn(3 * step), whole)


@quietly
@by_trainer
@by_game
def test_the_policy_plays_the_game(name, game) -> None:
    trainer = new(name, game)
    table = trainer.game.policy_shape
    own = (6 if "Taxi" not in game else 2, *table) if name in ("independent-q", "mf-q") else table
    assert trainer.policy.probabilities.shape == own
    # Before it has learned: all actions alike, or all that are allowed.
    first = trainer.induced.uniform_policy() if hasattr(trainer, "induced") else 1 / trainer.game.n_actions
    assert_allclose(trainer.policy.probabilities, np.broadcast_to(first, own), atol=1e-15)
    trainer.learn(1)
    assert trainer.policy.probabilities.shape == own
    assert np.isfinite(list(trainer.measured.values())).all()
    observations = np.zeros((trainer.game.n_agents, trainer.game.n_features), np.float32)
    now = Public(np.zeros(trainer.game.n_signals, np.float32), trainer.game.constants, 0, np.float32(0.0))
    for row, agent in zip(observations, trainer.game.agents, strict=True):
        trainer.game.rules.observe(row, 1, agent, now)
    actions, memory = trainer.predict(observations)
    assert memory is None
    assert actions.shape == (trainer.game.n_agents,)
    assert set(actions.tolist()) <= set(range(trainer.game.n_actions))
    law = trainer.policy.probabilities[..., 0, 1, :]
    best, _ = trainer.predict(observations, deterministic=True)
    assert_array_equal(best, np.broadcast_to(law.argmax(axis=-1), actions.shape))


@quietly
@by_trainer
def test_learn_rounds_up_to_iterations(name) -> None:
    trainer = new(name)
    step = trainer.timesteps_per_iteration
    trainer.learn(2 * step + 1)
    assert trainer.iteration == 3
    assert trainer.num_timesteps == 3 * step
    trainer.learn(1)
    assert trainer.iteration == 4
    if name in ("independent-q", "mf-q"):
        assert step == 2 * 6 * 4  # episodes, agents, rounds


@quietly
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_seed_decides(name) -> None:
    one, same, other = (new(name, seed=seed).learn(100) for seed in (3, 3, 4))
    assert_same(one, same)
    assert any(not np.array_equal(value, other._state()[key]) for key, value in one._state().items())


@quietly
@by_trainer
@pytest.mark.parametrize("game", ["Auction-v0-0.8", "Epidemic-v0-1.0"])
def test_run_is_learn_without_the_rest(name, game) -> None:
    one, other = new(name, game), new(name, game)
    if not hasattr(one, "run"):
        pytest.skip("plays the game itself")
    step = one.timesteps_per_iteration
    one.run(2)
    one.run(3)
    for _ in range(5):
        other.learn(step)
    assert_same(one, other)
    # Exploitability is measured on the side: learning at once is the same again.
    assert_same(new(name, game).learn(5 * step), one)


@quietly
@by_trainer
def test_what_is_logged(name, tmp_path) -> None:
    trainer = new(name)
    trainer.set_logger(configure(tmp_path))
    trainer.learn(2 * trainer.timesteps_per_iteration)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {
        "independent-q": {"train/return", "train/unvisited"},
        "mf-q": {"train/return", "train/unvisited"},
    }.get(name, {"train/change_l1", "train/change_linf", "eval/mean_field_exploitability"})
    if name in ("gmf-q", "gmf-q-async", "naive-q"):
        keys = keys | {"train/q_error"}
    assert rows[0].keys() == keys | {"time/iterations", "time/total_timesteps", "time/seconds"}
    assert [int(row["time/iterations"]) for row in rows] == [1, 2]
    assert [int(row["time/total_timesteps"]) for row in rows] == [
        trainer.timesteps_per_iteration * k for k in (1, 2)
    ]
    assert trainer.measured.keys() == keys


@quietly
@by_trainer
def test_what_was_taken_does_not_change(name) -> None:
    trainer = new(name).learn(1)
    taken = [trainer.policy.probabilities, trainer.q if hasattr(trainer, "q") else None]
    if hasattr(trainer, "population"):
        taken.append(trainer.population)
    before = [array.copy() for array in taken]
    trainer.learn(3 * trainer.timesteps_per_iteration)
    for array, copy in zip(taken, before, strict=True):
        assert_array_equal(array, copy)
    if hasattr(trainer, "population"):
        for array in (trainer.population, trainer.q):
            array[:] = 7.0
        assert (trainer.population <= 1).all()
        assert not (trainer.q == 7).any()


@pytest.mark.parametrize(
    ("name", "argument", "value", "message"),
    [
        *(
            (name, "seed", -1, r"seed must be an integer in \[0, 9223372036854775807\], got -1")
            for name in ("gmf-q", "gmf-v", "naive-q", "three-step", "independent-q", "mf-q")
        ),
        *(
            (name, "inverse_temperature", value, r"inverse_temperature must be a finite number in \(0, inf\)")
            for name in ("gmf-q", "gmf-v", "three-step", "independent-q", "mf-q")
            for value in (0.0, -1.0, math.nan)
        ),
        *(
            (name, "inverse_temperature", math.inf, "inverse_temperature must be")
            for name in ("gmf-q", "gmf-v", "mf-q")
        ),
        *((name, "net", -1, "net must be an integer in") for name in ("gmf-q", "gmf-v")),
        *(
            (name, "inner_iterations", 0, r"inner_iterations must be an integer in \[1, 1099511627776\], got 0")
            for name in ("gmf-q", "naive-q")
        ),
        *(
            (name, "step_exponent", value, r"step_exponent must be a finite number in \(0\.5, 1\]")
            for name in ("gmf-q", "naive-q", "independent-q", "mf-q")
            for value in (0.5, 1.5)
        ),
        ("three-step", "tolerance", -1.0, "tolerance must be a finite number"),
        ("three-step", "n_pairs", 0, r"n_pairs must be an integer in \[1, 65536\], got 0"),
        *(
            (name, "episodes", 0, r"episodes must be an integer in \[1, 4194304\], got 0")
            for name in ("independent-q", "mf-q")
        ),
        ("mf-q", "n_bins", -1, r"n_bins must be an integer in \[0, 2147483647\], got -1"),
    ],
)
def test_hyper_parameters_that_are_refused(name, argument, value, message) -> None:
    with pytest.raises(ValueError, match=message):
        NEW[name][0].config_class(**{argument: value})
    with pytest.raises(ValueError, match=message):
        NEW[name][0](auction(), **{argument: value})


@by_trainer
def test_games_and_names_that_are_refused(name) -> None:
    with pytest.raises(TypeError, match=f"{NEW[name][0].__name__} needs a finite game"):
        NEW[name][0]("Taxi-v0") if not issubclass(registered_games()["Taxi-v0"], FiniteGame) else NEW[name][0](3)
    with pytest.raises(TypeError, match="unknown hyper-parameter 'temperature'; allowed: seed"):
        NEW[name][0](auction(), temperature=1.0)


def test_moves_are_not_used_up() -> None:
    assert dataclasses.asdict(crowd())["moves"] == HOME != CORRIDOR


def test_what_has_converged_does_nothing_more():
    trainer = new("three-step", "Epidemic-v0-1.0", tolerance=1e9).learn(5)
    assert trainer.iteration == 1
    assert trainer.learn(5).iteration == 1
