"""Runs of PPO that are saved, loaded, stopped and continued, and their random numbers."""

import random

import numpy as np
import pytest
import torch
from line import Line
from small_ppo import Recorder, StopAt, are_equal, assert_same, epidemic, parameters, small
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import VecMonitor
from torch import nn

import mfenvs
from baselines.neural.ppo import PPO
from mfenvs.evaluation import evaluate


@pytest.mark.parametrize("n_steps", [5, 3, 7], ids=["horizon", "shorter", "longer"])
@pytest.mark.parametrize("stop", [1, 8, 14])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, n_steps, stop):
    total = 4 * n_steps * 14
    whole, part, recorder = small(n_steps=n_steps), small(n_steps=n_steps), Recorder()
    whole.learn(total, callback=recorder)
    part.learn(total, callback=StopAt(stop))
    assert part.num_timesteps == (stop - 1) // n_steps * n_steps * 14
    part.save(tmp_path / "part")
    resumed = PPO.load(tmp_path / "part", env=epidemic(), device="cpu")
    assert resumed.seed == 3
    for model in (resumed, part):
        again = Recorder()
        model.learn(total - model.num_timesteps, reset_num_timesteps=False, callback=again)
        assert_same(model, whole)
        assert again.returns == recorder.returns[4 - len(again.returns) :]
        assert again.rates == recorder.rates[4 - len(again.rates) :]
    assert resumed.learn(total, reset_num_timesteps=False).num_timesteps == 2 * total


def test_a_run_that_is_resumed_often(tmp_path):
    whole = small(n_steps=3, learning_rate=1e-3).learn(8 * 42)
    path = tmp_path / "model.zip"
    small(n_steps=3, learning_rate=1e-3).learn(42).save(path)
    for steps in (42, 3 * 42, 2 * 42, 1):
        model = PPO.load(path, env=VecMonitor(epidemic()), device="cpu")
        model.save(path)
        PPO.load(path, device="cpu").save(path)  # without an environment, nothing is lost
        model = PPO.load(path, device="cpu")
        model.set_env(epidemic())
        model.learn(steps, reset_num_timesteps=False).save(path)
    assert_same(model, whole)


def test_a_checkpoint_from_within_a_rollout_begins_with_the_rollout(tmp_path):
    total = 5 * 5 * 14
    whole = small()
    # In steps 4, 8, ..., 24 of 25: within the rollouts, at the end of one and at the beginning of another.
    whole.learn(total, callback=CheckpointCallback(4, tmp_path, "at"))
    found = sorted(tmp_path.glob("at_*_steps.zip"))
    assert len(found) == 6
    for path in found:
        resumed = PPO.load(path, env=epidemic(), device="cpu")
        calls = int(path.stem.split("_")[1]) // 14
        assert resumed.num_timesteps == (calls - 1) // 5 * 5 * 14
        resumed.learn(total - resumed.num_timesteps, reset_num_timesteps=False)
        assert_same(resumed, whole)


class SaveAt(BaseCallback):
    def __init__(self, folder):
        super().__init__()
        self.folder, self.n = folder, 0

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.model.save(self.folder / f"start{self.n}")

    def _on_rollout_end(self):
        self.model.save(self.folder / f"end{self.n}")
        self.n += 1

    def _on_training_end(self):
        self.model.save(self.folder / "finish")


def test_saves_around_a_rollout_resume_too(tmp_path):
    total = 3 * 5 * 14
    whole = small().learn(total, callback=SaveAt(tmp_path))
    for name, done in {"start0": 0, "end0": 0, "start1": 70, "end2": 140, "finish": 210}.items():
        resumed = PPO.load(tmp_path / name, env=epidemic(), device="cpu")
        assert resumed.num_timesteps == done
        if done < total:
            resumed.learn(total - done, reset_num_timesteps=False)
        else:
            assert are_equal(parameters(resumed), parameters(whole))
            continue
        assert_same(resumed, whole)


def test_an_exception_in_a_rollout_costs_the_rollout_only(tmp_path):
    total = 4 * 3 * 14
    whole = small(n_steps=3).learn(total)
    model = small(n_steps=3)
    with pytest.raises(KeyboardInterrupt):
        model.learn(total, callback=StopAt(8, KeyboardInterrupt()))
    model.save(tmp_path / "model")
    resumed = PPO.load(tmp_path / "model", env=epidemic(), device="cpu")
    for each in (resumed, model):
        each.learn(2 * 3 * 14, reset_num_timesteps=False)
        assert_same(each, whole)
    with pytest.raises(KeyboardInterrupt):
        model.learn(total, callback=StopAt(2, KeyboardInterrupt()))
    model.learn(42)  # begins anew
    assert model.num_timesteps == 42


def test_a_loaded_model_may_have_more_worlds_or_another_environment(tmp_path):
    model = small(n_steps=3).learn(42)
    model.save(tmp_path / "model")
    larger = PPO.load(tmp_path / "model", env=epidemic(5), device="cpu")
    larger.learn(3 * 35, reset_num_timesteps=False)
    assert larger.num_timesteps == 42 + 3 * 35
    assert larger.rollout_buffer.observations.shape[:2] == (3, 35)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(epidemic(5))
    model.set_env(epidemic(heterogeneity=0.0))
    model.learn(42)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        PPO.load(tmp_path / "model", env=epidemic(observe="mean-field"))


def test_a_model_without_environment_predicts(tmp_path):
    model = small(epidemic(observe=["mean-field"]))
    model.learn(140)
    model.save(str(tmp_path / "model"))
    loaded = PPO.load(tmp_path / "model.zip", device="cpu")
    observations = np.random.default_rng(0).random((50, *model.observation_space.shape), np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    laws = loaded.action_probabilities(observations)
    np.testing.assert_array_equal(laws, model.action_probabilities(observations))
    game = epidemic().game
    mine, other = (evaluate(game, each, n_worlds=2).returns for each in (model, loaded))
    np.testing.assert_array_equal(mine, other)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    model = small().learn(70)
    model.save(tmp_path / "model")
    before = (tmp_path / "model.zip").read_bytes()

    def fail(file, *args, **kwargs):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("stable_baselines3.common.base_class.save_to_zip_file", fail)
    model.learn(70, reset_num_timesteps=False)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    assert (tmp_path / "model.zip").read_bytes() == before
    assert model.num_timesteps == 140


def test_saves_to_a_file_object_and_takes_exclude(tmp_path):
    model = small().learn(70)
    with (tmp_path / "file.zip").open("wb") as file:
        model.save(file, exclude=["tensorboard_log"])
    with (tmp_path / "file.zip").open("rb") as file:
        assert are_equal(parameters(PPO.load(file, device="cpu")), parameters(model))


def test_a_box_run_resumes(tmp_path):
    game = Line(n_agents=20, horizon=4)

    def make():
        return PPO(env=game, seed=0, batch_size=30, n_steps=3, policy_kwargs={"net_arch": [8]}, device="cpu")

    whole, part = make().learn(240), make()
    part.learn(240, callback=StopAt(8))
    part.save(tmp_path / "part")
    resumed = PPO.load(tmp_path / "part", env=mfenvs.vec_env(game), device="cpu")
    assert_same(resumed.learn(120, reset_num_timesteps=False), whole)


# Randomness.


def test_the_seed_decides():
    runs = [parameters(small(seed=seed).learn(140)) for seed in (3, 3, 4, 0)]
    beginnings = [parameters(small(seed=seed)) for seed in (3, 3, 4)]
    for found in (runs, beginnings):
        assert are_equal(found[0], found[1])
        assert not are_equal(found[0], found[2])
    first, second = (small(seed=None) for _ in range(2))
    assert first.seed != second.seed
    assert not are_equal(parameters(first), parameters(second))
    again = small(seed=first.seed)
    assert are_equal(parameters(first.learn(70)), parameters(again.learn(70)))


def test_every_rollout_and_update_has_random_numbers_of_its_own(monkeypatch):
    drawn = []
    original = torch.rand, torch.randperm
    monkeypatch.setattr(torch, "rand", lambda n: drawn.append(original[0](n)) or drawn[-1])
    monkeypatch.setattr(torch, "randperm", lambda n, device: drawn.append(original[1](n)) or drawn[-1])
    small(n_steps=2).learn(3 * 28)
    assert len(drawn) == 3 * (2 + 2)  # a rollout of two steps, an update of two passes
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == len(drawn)


def test_the_process_keeps_its_random_states(tmp_path):
    def states():
        of_numpy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), of_numpy[1].tolist(), of_numpy[2], torch.get_rng_state().tolist()

    for arguments in ({}, {"policy_kwargs": {"net_arch": [4], "activation_fn": nn.ELU}}):
        before = states()
        model = small(**arguments)
        assert states() == before
        model.learn(140, callback=StopAt(8))
        assert states() == before
        model.save(tmp_path / "model")
        assert states() == before
        PPO.load(tmp_path / "model", env=epidemic(), device="cpu").learn(70, reset_num_timesteps=False)
        model.action_probabilities(np.zeros((1, *model.observation_space.shape), np.float32))
        assert states() == before
    # What the caller seeds does not matter to the run.
    torch.manual_seed(17)
    mine = small().learn(70)
    torch.manual_seed(18)
    assert_same(small().learn(70), mine)
