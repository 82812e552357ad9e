"""Callbacks say for which trainers they are, and measure again after a training that failed."""

import pytest
from stable_baselines3.common.env_util import make_vec_env

from baselines import PPO, SymmPMD
from baselines.callbacks import EvaluationCallback, ExploitabilityCallback, SaveEvery, StopOnInterrupt
from mfenvs import make

GAME = make("Epidemic-v0", n_agents=3, horizon=4)
SMALL = {"policy_kwargs": {"net_arch": [4]}, "device": "cpu", "seed": 0}


@pytest.mark.parametrize("kind", [EvaluationCallback, ExploitabilityCallback])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be an integer >= 1, got 0"),
        ({"every": None}, TypeError, "every must be an integer >= 1, got None"),
        ({"n_worlds": 1}, ValueError, "n_worlds must be an integer >= 2, got 1"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
    ],
    ids=str,
)
def test_arguments_that_are_not_allowed(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_other_arguments_that_are_not_allowed():
    with pytest.raises(ValueError, match="deviators_per_world must be an integer >= 1, got 0"):
        ExploitabilityCallback(deviators_per_world=0)
    with pytest.raises(ValueError, match="seconds must be a finite number"):
        SaveEvery(-1.0, print)
    with pytest.raises(TypeError, match="save must be a function without arguments, got None"):
        SaveEvery(1.0, None)


def test_trainers_of_the_other_kind_are_refused():
    with pytest.raises(TypeError, match="ExploitabilityCallback is for tabular trainers, got PPO"):
        PPO("MlpPolicy", GAME, **SMALL).learn(1, callback=ExploitabilityCallback())
    with pytest.raises(
        TypeError, match=r"EvaluationCallback is for baselines\.PPO and its subclasses, got SymmPMD"
    ):
        SymmPMD(GAME).learn(1, callback=EvaluationCallback())


def test_environments_of_others_are_refused():
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 2), **SMALL)
    with pytest.raises(TypeError, match="needs an environment of a game of mfenvs"):
        model.learn(1, callback=EvaluationCallback())


def test_a_training_that_failed_is_measured_once_when_it_goes_on():
    callback, model, fails = EvaluationCallback(n_worlds=2), PPO("MlpPolicy", GAME, **SMALL), [True]

    def failing(*_):
        if fails:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        model.learn(12, callback=[callback, _as_callback(failing)])
    fails.clear()
    model.learn(24, callback=callback)
    assert [done for done, _ in callback.measured] == [1, 2]
    assert model.after_update == []


def _as_callback(function):
    callback = StopOnInterrupt()
    callback._on_step = function
    return callback
