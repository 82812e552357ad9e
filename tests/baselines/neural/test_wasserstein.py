"""Learning rates that follow the population: the formula, and what optimisers get of it."""

import math

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from linear_quadratic_games import two
from scipy.stats import wasserstein_distance
from small_ppo import SMALL, StopAt, assert_same, parameters
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import mfenvs
from baselines import PPO, WassersteinCallback, WassersteinSchedule
from baselines.neural.rollout_law import RolloutLaw

GAME = {"n_agents": 10, "horizon": 4}


def law(*states):
    """The law of one step of agents of one type."""
    return RolloutLaw.of(np.array([[states]], np.float32), np.zeros(len(states), int))


def env(n_worlds=2, seed=5, **kwargs):
    made = mfenvs.vec_env(two(**GAME), n_worlds, **kwargs)
    made.seed(seed)
    return made


def schedule(**kwargs):
    return WassersteinSchedule(0.02, **{"tau_0": 2.0, "beta": 3.0, **kwargs})


def stock(rate, environment=None, **kwargs):
    made = env() if environment is None else environment
    choices = {"n_steps": 4, "batch_size": 40, "n_epochs": 1, "seed": 1, "device": "cpu", **kwargs}
    return stable_baselines3.PPO("MlpPolicy", made, learning_rate=rate, **choices)


def ours(rate, environment=None, **kwargs):
    return PPO("UnitBoxPolicy", env() if environment is None else environment, seed=1, learning_rate=rate, **SMALL)


class Laws:
    """Keeps the states that agents act on."""

    def __init__(self, vec_env):
        self.states, step = [], vec_env.step

        def keeping(actions):
            self.states.append(vec_env.engine.states.copy())
            return step(actions)

        vec_env.step = keeping

    def distance(self, update, n_steps=4):
        """W1 between the laws of an update's rollout and the one before, by scipy."""
        types = two(**GAME).agents["type"]
        now, before = (self.states[(update - k) * n_steps : (update - k + 1) * n_steps] for k in (1, 2))
        total = 0.0
        for one, other in zip(now, before, strict=True):
            for kind, share in ((0, 0.7), (1, 0.3)):
                of = types == kind
                total += share * wasserstein_distance(one[:, of].ravel(), other[:, of].ravel())
        return total / n_steps


def test_the_formula_by_hand() -> None:
    made = schedule()
    assert made.rate == 0.02
    for number, (states, distance, rate) in enumerate(
        [
            ((0.0, 1.0), 0.0, 0.02),
            ((2.0, 1.0), 1.0, 0.02 / 4),  # 0 to 1 and 1 to 2; t = 2 = tau_0
            ((2.0, 1.0), 0.0, 0.02 * 2 / 3),
            ((1.0, 6.0), 2.0, 0.02 * 0.5 / 7),
        ]
    ):
        made.observe(law(*states), 100 * (number + 1))
        assert made.updates == number + 1
        assert made.distance == pytest.approx(distance)
        assert made(0.3) == made.rate == pytest.approx(rate)


def test_without_decay_and_modulation_the_rate_is_constant() -> None:
    made = WassersteinSchedule(0.5, beta=0.0)
    for k in range(3):
        made.observe(law(float(k)), k + 1)
        assert made.rate == 0.5
    assert made.distance == 1.0


def test_a_repeated_rollout_replaces_the_last_one() -> None:
    made = schedule()
    made.observe(law(0.0), 10)
    made.observe(law(7.0), 20)
    made.observe(law(2.0), 20)
    assert (made.updates, made.distance) == (2, 2.0)
    made.observe(law(3.0), 30)
    assert (made.updates, made.distance) == (3, 1.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initial_rate": 0.0}, r"initial_rate must be .* \(0"),
        ({"initial_rate": math.inf}, "initial_rate must be a finite number"),
        ({"tau_0": 0.0}, "tau_0 must be"),
        ({"tau_0": math.nan}, "tau_0 must be"),
        ({"tau_0": -math.inf}, "tau_0 must be"),
        ({"beta": -1.0}, "beta must be"),
        ({"beta": math.inf}, "beta must be"),
        ({"beta": "1"}, "beta must be"),
        ({"coordinate": 3}, "coordinate must be a text"),
    ],
)
def test_arguments_that_are_not_allowed(wrong, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        WassersteinSchedule(**{"initial_rate": 0.1, **wrong})


@pytest.mark.parametrize("make_model", [stock, ours])
def test_the_optimiser_steps_at_the_rate_of_the_formula(make_model) -> None:
    environment, rate = env(), schedule()
    laws, seen = Laws(environment), []
    model = make_model(rate, environment)
    step = model.policy.optimizer.step
    model.policy.optimizer.step = lambda *a: seen.append(model.policy.optimizer.param_groups[0]["lr"]) or step(*a)
    model.learn(5 * 80, callback=WassersteinCallback() if make_model is stock else None)
    assert rate.updates == 5
    assert len(laws.states) == 20
    expected = [0.02]
    for update in range(2, 6):
        distance = laws.distance(update)
        assert distance > 0.01
        expected.append(0.02 * min(1.0, 2.0 / update) / (1.0 + 3.0 * distance))
    steps = len(seen) // 5
    np.testing.assert_allclose(seen[::steps], expected, rtol=1e-5)
    np.testing.assert_allclose(seen[steps - 1 :: steps], expected, rtol=1e-5)


def test_a_wrapped_environment_is_found() -> None:
    rate = schedule()
    stock(rate, VecMonitor(env())).learn(160, callback=[WassersteinCallback()])
    assert rate.updates == 2
    assert rate.distance > 0.0


def test_the_distance_is_logged() -> None:
    model = ours(schedule())
    model.learn(160)
    assert model.measured["train/wasserstein_distance"] == pytest.approx(model.learning_rate.distance)
    assert model.measured["train/learning_rate"] == pytest.approx(model.learning_rate.rate)


def test_learning_anew_restarts_the_schedule_and_learning_more_does_not() -> None:
    model = ours(schedule())
    model.learn(160)
    model.learn(160, reset_num_timesteps=False)
    assert model.learning_rate.updates == 4
    model.learn(80)
    assert (model.learning_rate.updates, model.learning_rate.distance) == (1, 0.0)


def test_stock_ppo_without_the_callback_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match=r"callback=WassersteinCallback\(\)"):
        stock(schedule()).learn(160)


def test_a_given_callback_does_not_count_twice() -> None:
    model = ours(schedule())
    model.learn(160, callback=[WassersteinCallback()])
    assert model.learning_rate.updates == 2


@pytest.mark.parametrize("given", [None, "function", "callback", "list"])
def test_other_callbacks_are_called_beside_it(given) -> None:
    calls, stop = [], StopAt(99)
    callback = {"function": lambda *_: calls.append(1) or True, "callback": stop, "list": [stop], None: None}[
        given
    ]
    model = ours(schedule())
    model.learn(160, callback=callback)
    assert len(calls) == (8 if given == "function" else 0)
    assert stop.n_calls == (8 if given in ("callback", "list") else 0)
    assert model.learning_rate.updates == 2


def test_a_rollout_that_was_stopped_does_not_count() -> None:
    whole, part = ours(schedule()), ours(schedule())
    whole.learn(4 * 80)
    part.learn(4 * 80, callback=StopAt(6))
    assert part.learning_rate.updates == 1
    part.learn(3 * 80, reset_num_timesteps=False)
    assert_same(whole, part)
    assert part.learning_rate.rate == whole.learning_rate.rate


def test_an_update_that_failed_is_not_counted_twice(monkeypatch) -> None:
    whole, part = ours(schedule()), ours(schedule())
    whole.learn(4 * 80)
    part.learn(80)
    update = part._update

    def failing():
        raise ValueError("no")

    monkeypatch.setattr(part, "_update", failing)
    with pytest.raises(ValueError, match="no"):
        part.learn(80, reset_num_timesteps=False)
    monkeypatch.setattr(part, "_update", update)
    part.learn(3 * 80, reset_num_timesteps=False)
    assert_same(whole, part)
    assert part.learning_rate.rate == whole.learning_rate.rate


def test_our_saved_model_ends_where_an_uninterrupted_one_does(tmp_path) -> None:
    whole, part = ours(schedule()), ours(schedule())
    whole.learn(4 * 80)
    part.learn(2 * 80)
    part.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env(seed=9), device="cpu")
    again.learn(2 * 80, reset_num_timesteps=False)
    assert_same(whole, again)
    assert again.learning_rate.rate == whole.learning_rate.rate
    assert again.learning_rate.distance > 0.0


def test_a_saved_model_of_stock_ppo_goes_on_with_the_schedule(tmp_path) -> None:
    model = stock(schedule())
    model.learn(160, callback=WassersteinCallback())
    model.save(tmp_path / "model")
    again = stable_baselines3.PPO.load(tmp_path / "model", env(), device="cpu")
    assert again.learning_rate.rate == model.learning_rate.rate
    law_before = again.learning_rate.law
    again.learn(80, callback=WassersteinCallback(), reset_num_timesteps=False)
    assert again.learning_rate.updates == 3
    assert again.learning_rate.law_before is law_before
    assert parameters(again)


def test_other_models_and_environments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"learning_rate is a WassersteinSchedule, got 0\.001"):
        stock(1e-3).learn(80, callback=WassersteinCallback())
    other = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
    with pytest.raises(TypeError, match=r"environment of mfenvs.vec_env, got"):
        stock(schedule(), other).learn(80, callback=WassersteinCallback())
    with pytest.raises(ValueError, match="plain numbers, got 'charge'"):
        ours(schedule(coordinate="charge")).learn(80)
