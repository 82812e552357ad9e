"""Rewards that are no finite numbers, or too large: an error says which, and nothing wrong is kept."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from tabulated import Tabulated

from baselines.runs import ALGORITHMS
from baselines.tabular.temporal_difference import QEstimate, td_update
from baselines.trainer import Trainer
from mfenvs import rule, share
from mfenvs.engine.trajectories import Trajectories

FEW = {
    "gmf-q": {"inner_iterations": 3},
    "naive-q": {"inner_iterations": 3},
    **{name: {"episodes": 2} for name in ("symm-pmd", "ipmd", "td", "independent-q", "mf-q")},
}
MODEL_BASED = ["omd", "fictitious-play", "gmf-v"]
FROZEN = ["gmf-q", "naive-q"]
PLAYERS = ["symm-pmd", "ipmd", "td"]
LEARNERS = ["independent-q", "mf-q"]


def quickly(quick: list[str], names: list[str]) -> list[Any]:
    """Names as parameters; those that are not quick are for ``make test-slow``."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def assert_as_before(trainer: Trainer[Any], before: dict[str, np.ndarray]) -> None:
    assert trainer.iteration == trainer.num_timesteps == 0
    for name, array in trainer._state().items():
        assert np.array_equal(array, before[name]), name


def copy_of(trainer: Trainer[Any]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in trainer._state().items()}


@pytest.mark.parametrize("name", quickly(["ipmd", "independent-q"], PLAYERS + LEARNERS))
def test_a_reward_that_is_infinite_in_the_simulation_is_refused(name: str, tmp_path) -> None:
    """1e39 is a number in double precision, but none in single precision, in which rewards are simulated."""
    game = Tabulated(pay=((0.0, 0.0), (0.0, 0.0), (0.0, 1e39)))
    trainer = ALGORITHMS[name](game, **FEW[name])
    before = copy_of(trainer)
    message = r"reward must be finite, got inf at step [0-2] for agent [0-3], in state 2 with action 1"
    with pytest.raises(ValueError, match=message):
        trainer.learn(1)
    if name in PLAYERS:
        assert_as_before(trainer, before)
        return
    for use in (lambda: trainer.policy, lambda: trainer.q, lambda: trainer.save(tmp_path / "x"), trainer.learn):
        with pytest.raises(ValueError, match=rf"stopped within an iteration \(.*{message}\)"):
            use(*[1] * (use == trainer.learn))
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", quickly(["omd", "naive-q"], MODEL_BASED + FROZEN))
def test_values_that_overflow_are_refused(name: str) -> None:
    """Each reward of 1e308 is a number, two of them are not."""
    trainer = ALGORITHMS[name](Tabulated(pay=((1e308, 1e308),) * 3), **FEW.get(name, {}))
    before = copy_of(trainer)
    with pytest.raises(ValueError, match="Tabulated overflow"):
        trainer.learn(1)
    assert_as_before(trainer, before)
    with pytest.raises(ValueError, match="Tabulated overflow"):
        trainer.run(3)
    assert_as_before(trainer, before)


@dataclasses.dataclass(kw_only=True)
class Alone(Tabulated):
    """Pays 0 / 0 to an agent of whose state and action there is no other."""

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        others = share(world, 2 * state + action)
        return others / others


@pytest.mark.parametrize("name", ["ipmd", "independent-q"])
def test_a_reward_of_nan_in_the_simulation_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"reward must be finite, got nan at step \d for agent \d, in state"):
        ALGORITHMS[name](Alone(), episodes=2).learn(1)


@pytest.mark.parametrize("options", [{"exact": True}, {"asynchronous": True}, {}], ids=["exact", "walk", "sweep"])
def test_a_reward_of_nan_in_a_population_is_refused(options: dict[str, Any]) -> None:
    """The first answer leaves some actions to nobody."""
    trainer = ALGORITHMS["naive-q"](Alone(pull=0.5), inner_iterations=20, **options)
    trainer._population[:] = 0.0
    trainer._population[:, :, 0] = 1 / 3
    before = copy_of(trainer)
    with pytest.raises(ValueError, match=r"Alone.*reward must .*finite.*, got nan.* in state [0-2] with action 1"):
        trainer.learn(1)
    assert_as_before(trainer, before)


def trajectories(rewards: np.ndarray) -> Trajectories:
    n_worlds, horizon, n_agents = rewards.shape
    states = np.zeros((n_worlds, horizon + 1, n_agents), np.uint8)
    return Trajectories(
        states, np.ones(rewards.shape, np.uint8), rewards, np.zeros((n_worlds, horizon, 2), np.float32)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_td_names_the_reward_the_step_and_the_agent(value: float) -> None:
    rewards = np.zeros((2, 3, 4), np.float32)
    rewards[1, 2, 3] = value
    estimate = QEstimate.zeros((1, 3, 1, 2))
    with pytest.raises(ValueError, match=rf"got {value} at step 2 for agent 3, in state 0 with action 1"):
        td_update(estimate, trajectories(rewards), np.full((1, 3, 1, 2), 0.5), temperature=0.0)
    assert not estimate.q.any()
    assert not estimate.visits.any()


def test_td_refuses_values_that_overflow() -> None:
    rewards = np.full((1, 1, 2), 3e38, np.float32)
    with pytest.raises(ValueError, match=r"rewards of up to 3e\+38, times 1e\+300, are too large"):
        td_update(
            *(QEstimate.zeros((1, 1, 1, 2)), trajectories(rewards), np.full((1, 1, 1, 2), 0.5)),
            temperature=0.0,
            reward_scale=1e300,
        )
