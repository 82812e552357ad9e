"""The trainer: runs, files, mean fields, what is logged, and every finite discounted game."""

import csv
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from chain import chain, objective, stationary_law
from numpy.testing import assert_allclose, assert_array_equal
from tabulated import Tabulated

from baselines.cli.main import main
from baselines.logging import configure
from baselines.stationary.policy_gradient import StationaryPolicyGradient
from mfenvs import FiniteGame, make, registered_games, rule
from mfenvs.game import Game

SHORT = {"mean_field_steps": 4, "mean_field_batch": 3, "n_trajectories": 2, "trajectory_length": 5}
GAMES = {
    "Auction-v0": {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "heterogeneity": 0.5},
    "Investment-v0": {"states": "grid", "n_levels": 3},
}
"""Constants with which the registered games are small and finite."""
WITHOUT_DISCOUNT = {"BinnedEnergyMarket-v0", "BinnedEnergyMarket-v1"}
"""A day ends."""


def finite_discounted_games() -> list[str]:
    found = []
    for name, game_class in registered_games("").items():
        if name not in WITHOUT_DISCOUNT and game_class.__module__.startswith("mfenvs."):
            is_finite = issubclass(game_class, FiniteGame) or hasattr(game_class, "forms")
            found += [name] * is_finite
    return found


def new(name="Malware-v0", **options) -> StationaryPolicyGradient:
    game = name if isinstance(name, Game) else make(name, **({"discount": 0.8} | GAMES.get(name, {})))
    return StationaryPolicyGradient(game, **(SHORT | {"seed": 3} | options))


def steps(trainer: StationaryPolicyGradient, n: int) -> StationaryPolicyGradient:
    return trainer.learn(n * trainer.timesteps_per_iteration)


def assert_same(one: StationaryPolicyGradient, other: StationaryPolicyGradient, runs=slice(None)) -> None:
    assert_array_equal(one.parameters[runs], other.parameters[runs])
    assert_array_equal(one.mean_fields[runs], other.mean_fields[runs])
    assert_array_equal(one.policies[runs], other.policies[runs])


VARIANTS = {
    "threshold": {},
    "network": {"policy": "network"},
    "tabular": {"policy": "tabular", "baseline": False},
    "social": {"objective": "social-welfare", "common_random_numbers": False},
    "two timescales": {"optimizer": "sgd", "mean_field_start": "last"},
    "social, two timescales": {
        "objective": "social-welfare",
        "policy": "network",
        "optimizer": "sgd",
        "mean_field_start": "last",
    },
}
variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def test_the_games() -> None:
    assert {"Auction-v0", "Epidemic-v0", "RockPaperScissors-v0", "Malware-v0", "Investment-v0"} <= set(
        finite_discounted_games()
    )


@pytest.mark.parametrize(
    "name",
    [
        name if name == "Epidemic-v0" else pytest.param(name, marks=pytest.mark.slow)
        for name in finite_discounted_games()
    ],
)
@pytest.mark.parametrize("objective_", ["equilibrium", "social-welfare"])
def test_every_finite_discounted_game_can_be_learned(name, objective_) -> None:
    trainer = new(name, objective=objective_, n_runs=2, evaluation_interval=0)
    before = trainer.parameters
    steps(trainer, 2)
    game = trainer.game
    assert trainer.policies.shape == (2, 1, game.n_states, game.n_actions)
    assert_array_equal(trainer.policy.probabilities, trainer.policies[0])
    assert_allclose(trainer.policies.sum(axis=3), 1.0, atol=1e-12)
    assert_allclose(trainer.mean_fields.sum(axis=1), 1.0, atol=1e-12)
    assert np.isfinite(list(trainer.measured.values())).all()
    # SPSA moves every parameter, unless no state lies between the perturbed thresholds.
    assert (trainer.parameters != before).any() or trainer._kind == "threshold"


@variants
def test_no_run_depends_on_how_many_there_are(options) -> None:
    many, few = (steps(new(n_runs=n, evaluation_interval=0, **options), 3) for n in (9, 2))
    assert_same(few, many, slice(2))
    assert len(np.unique(many.parameters[:, 0])) == 9


@variants
def test_a_resumed_run_equals_an_uninterrupted_one(options, tmp_path) -> None:
    whole = steps(new(n_runs=3, evaluation_interval=0, **options), 4)
    part = steps(new(n_runs=3, evaluation_interval=0, **options), 2)
    part.save(tmp_path / "part.npz")
    resumed = StationaryPolicyGradient.load(tmp_path / "part.npz")
    assert_same(resumed, part)
    assert resumed.config == part.config
    assert_same(steps(resumed, 2), whole)
    assert resumed.num_timesteps == whole.num_timesteps


def test_a_saved_square_is_not_negative(tmp_path) -> None:
    trainer = steps(new(), 1)
    trainer._moments[1] -= 1.0
    trainer.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match=r"run\.npz .*moments\[1\] must be >= 0"):
        StationaryPolicyGradient.load(tmp_path / "run.npz")


def test_timesteps_are_transitions() -> None:
    """Of a run: 4 x 3 for a mean field and 2 x 5 for a value, of each as many as the estimate needs."""
    for options, expected in (
        ({}, 12 + 2 * 10),
        ({"n_runs": 3}, 3 * (12 + 2 * 10)),
        ({"policy": "network"}, 12 + 10),
        ({"policy": "network", "gradient": "spsa"}, 12 + 2 * 10),
        ({"objective": "social-welfare"}, 2 * 12 + 2 * 10),
    ):
        assert new(**options).timesteps_per_iteration == expected


def test_first_thresholds_are_uniform() -> None:
    """The largest distance of 1000 draws' distribution from the uniform one is above .09 with probability 2e-7."""
    thetas = np.sort(new(n_runs=1000).thresholds[:, 0])
    assert np.abs(thetas - (np.arange(1000) + 0.5) / 1000).max() < 0.09
    with pytest.raises(AttributeError, match="policies are 'network': only 'threshold' policies have thresholds"):
        _ = new(policy="network").thresholds


@pytest.mark.parametrize(
    ("options", "low", "high"), [({}, 0.0, 1.0), ({"policy": "tabular", "bound": 2.0}, -2.0, 2.0)]
)
def test_parameters_stay_in_their_box(options, low, high) -> None:
    parameters = steps(new(n_runs=20, learning_rate=5.0, evaluation_interval=0, **options), 3).parameters
    assert parameters.min() == low
    assert parameters.max() == high


def test_where_mean_fields_begin() -> None:
    """With no step to speak of they stay at the initial law, or at the last estimate."""
    still = {"mean_field_rate": 1e-12, "mean_field_steps": 1}
    game = chain()
    for start in ("initial", "last"):
        trainer = new(game, **still, mean_field_start=start, n_runs=2)
        trainer._laws[:] = [0.0, 0.25, 0.75]
        steps(trainer, 1)
        expected = game.first if start == "initial" else (0.0, 0.25, 0.75)
        assert_allclose(trainer.mean_fields, [expected] * 2, atol=1e-9)


def test_values_and_gaps_are_exact() -> None:
    game = chain()
    trainer = steps(new(game, n_runs=3, policy="network"), 2)
    policies = trainer.policies[:, 0]
    for policy, value, gap in zip(policies, trainer.values(), trainer.gaps(), strict=True):
        law = stationary_law(game, policy)
        assert value == pytest.approx(objective(game, policy, law, policy), abs=1e-9)
        deterministic = [np.eye(2)[[a, b, c]] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        best = max(objective(game, other, law, policy) for other in deterministic)
        assert gap == pytest.approx(best - value, abs=1e-9)
    assert len(np.unique(trainer.values())) == 3


def test_the_policy_of_run_0_acts_on_what_agents_see() -> None:
    trainer = new(n_runs=2)
    trainer._theta[:, 0] = 0.3, 0.9
    actions, memory = trainer.predict(np.array([[0.29], [0.3], [0.31], [0.95]], np.float32))
    assert actions.tolist() == [0, 1, 1, 1]
    assert memory is None


def test_what_is_logged(tmp_path) -> None:
    trainer = new(n_runs=4, evaluation_interval=3)
    trainer.set_logger(configure(tmp_path))
    steps(trainer, 6)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = ("lower_quartile", "median", "upper_quartile")
    exact = [f"eval/{name}_{part}" for name in ("value", "exploitability") for part in parts]
    assert set(rows[0]) == {
        *exact,
        *("train/return", "time/iterations", "time/total_timesteps", "time/seconds"),
    }
    assert [row["time/iterations"] for row in rows if row["eval/value_median"]] == ["1", "3", "6"]
    found = [np.quantile(numbers, (0.25, 0.5, 0.75)) for numbers in (trainer.values(), trainer.gaps())]
    assert_allclose([float(rows[-1][name]) for name in exact], np.concatenate(found), rtol=1e-6)


def test_games_that_are_too_large_for_exact_values_are_not_evaluated_unless_asked() -> None:
    game = make("Investment-v0", states="grid", n_levels=15)
    trainer = steps(new(game, direction="below"), 1)
    assert trainer.measured.keys() == {"train/return"}
    large = make("Investment-v0", states="grid", n_levels=21)
    message = (
        r"at most 268435456 transition probabilities, got 686128968: Investment has 9261 states and 8 actions"
    )
    with pytest.raises(ValueError, match=message):
        new(large, evaluation_interval=1)
    with pytest.raises(ValueError, match=message):
        new(large).values()


@dataclasses.dataclass(kw_only=True)
class Astray(Tabulated):
    """Whoever acts in state 2 leaves the game."""

    @staticmethod
    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        return (3 if state == 2 and action == 1 else state), 1.0


def assert_refused(trainer: StationaryPolicyGradient, message: str) -> None:
    """Within a few iterations an error is raised, and the trainer is as before the iteration that raised it."""
    before: dict[str, Any] = {}

    def remember(*_: Any) -> bool:
        before.update({name: array.copy() for name, array in trainer._state().items()}, n=trainer.iteration)
        return True

    remember()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        trainer.learn(20 * trainer.timesteps_per_iteration, callback=remember)
    assert trainer.iteration == before.pop("n") < 20
    for name, array in trainer._state().items():
        assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("options", [{}, {"gradient": "spsa"}, {"objective": "social-welfare"}])
def test_wrong_rewards_and_states_are_refused(options) -> None:
    options = {"evaluation_interval": 0, **options}
    assert_refused(
        new(Astray(discount=0.75), **options),
        r"Astray.step must return a state in \[0, 2\], got 3 at time 0, in state 2 with action 1",
    )
    for value in (math.nan, math.inf):
        game = chain(pay=((0.0, 0.0), (0.0, value), (0.0, 0.0)))
        assert_refused(new(game, **options), rf"Tabulated's reward must be finite, got {value} .* in state 1 with")


@pytest.mark.parametrize("options", [{}, {"gradient": "spsa"}, {"baseline": False}])
@pytest.mark.parametrize("size", [1e308, 1e200])
def test_values_and_gradients_that_overflow_are_refused(options, size) -> None:
    game = chain(pay=((0.0, 0.0), (0.0, size), (size, -size)))
    trainer = new(game, evaluation_interval=0, **options)
    assert_refused(trainer, r"the values of Tabulated overflow|must be finite, got")


def test_trajectories_are_refused_too() -> None:
    """Where nobody is in the mean field: the agent alone goes astray."""
    trainer = new(Astray(discount=0.75, first=(0.0, 0.0, 1.0)), evaluation_interval=0, mean_field_start="last")
    trainer._laws[:] = [1.0, 0.0, 0.0]
    for gradient in ("likelihood-ratio", "spsa"):
        trainer._gradient = gradient
        assert_refused(trainer, r"Astray.step must return a state in \[0, 2\], got 3 .* in state 2 with action 1")


def test_the_command_line(tmp_path, capsys) -> None:
    flags = ["--n-runs", "2", "--mean-field-steps", "4", "--trajectory-length", "5", "--no-progress"]
    folder = tmp_path / "run"
    command = ["train", "stationary-pg", "Malware-v0", "--folder", str(folder), *flags]
    assert main([*command, "--total-timesteps", "1", "--objective", "social-welfare"]) == 0
    assert "done: 1 iterations" in capsys.readouterr().out
    with np.load(folder / "policy.npz") as arrays:
        assert arrays["probabilities"].shape == (1, 101, 2)
    assert main(["train", "stationary-pg", "Epidemic-v0", "--folder", str(tmp_path / "other")]) == 2
    assert "make it with discount < 1" in " ".join(capsys.readouterr().err.split())
