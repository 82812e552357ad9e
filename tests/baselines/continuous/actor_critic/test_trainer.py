"""The actor-critic on the command line: hyper-parameters, checkpoints and run folders."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from linear_quadratic_games import two
from small_ppo import assert_same

import mfenvs
from baselines.cli.main import main
from baselines.continuous.actor_critic.affine_policy import AffinePolicy
from baselines.continuous.actor_critic.trainer import ActorCriticConfig, ActorCriticTrainer
from baselines.runs import algorithm, read_run
from mfenvs.files import FileError

GAME = {"n_agents": 10, "horizon": 4}
SMALL = {"n_worlds": 2, "hidden": (6,), "batch_size": 32, "n_epochs": 2, "tau_0": 2.0, "device": "cpu", "seed": 4}
ITERATION = 80


def trainer(**kwargs):
    return ActorCriticTrainer(two(**GAME), ActorCriticConfig(**{**SMALL, **kwargs}))


def loaded(path, like):
    return ActorCriticTrainer.load(path, like.game, like.config)


@pytest.mark.parametrize("policy", ["network", "affine"])
@pytest.mark.parametrize("updates", [0, 1, 3])
def test_a_loaded_trainer_ends_where_an_uninterrupted_one_does(tmp_path, updates, policy) -> None:
    whole, part = trainer(policy=policy), trainer(policy=policy)
    whole.learn(4 * ITERATION, [])
    if updates:
        part.learn(updates * ITERATION, [])
    part.save(tmp_path / "checkpoint.zip")
    again = loaded(tmp_path / "checkpoint.zip", part)
    assert again.model.learning_rate.distance == part.model.learning_rate.distance
    again.learn((4 - updates) * ITERATION, [])
    assert_same(whole.model, again.model)
    assert again.model.learning_rate.rate == whole.model.learning_rate.rate


@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_checkpoint_from_within_a_rollout_begins_with_the_rollout(tmp_path, step) -> None:
    whole, part, steps = trainer(), trainer(), []

    def save(*_):
        steps.append(1)
        if len(steps) == step:
            part.save(tmp_path / "checkpoint.zip")
        return True

    whole.learn(4 * ITERATION, [])
    part.model.learn(4 * ITERATION, save)
    again = loaded(tmp_path / "checkpoint.zip", part)
    again.learn(4 * ITERATION - again.num_timesteps, [])
    assert_same(whole.model, again.model)
    assert again.model.learning_rate.rate == whole.model.learning_rate.rate


def damaged(path, change_header=None, **arrays):
    """The checkpoint with another header or other arrays."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    header = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())
    if change_header is not None:
        change_header(header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        members[f"{name}.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.pop("schedule"), "header must have the fields"),
        (lambda header: header.update(schedule=3), "schedule must hold updates and num_timesteps"),
        (lambda header: header.update(schedule={"updates": -1, "num_timesteps": 0}), "schedule: updates must be"),
        (
            lambda header: header.update(schedule={"updates": 2, "num_timesteps": 0.5}),
            "schedule: num_timesteps must",
        ),
        (lambda header: header.update(schedule={"updates": 1, "num_timesteps": 160}), "law_before"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, change, message) -> None:
    part, path = trainer(), tmp_path / "checkpoint.zip"
    part.learn(2 * ITERATION, [])
    part.save(path)
    damaged(path, change)
    with pytest.raises(FileError, match=message):
        loaded(path, part)


def test_damaged_laws_are_refused(tmp_path) -> None:
    part, path = trainer(), tmp_path / "checkpoint.zip"
    part.learn(2 * ITERATION, [])
    for array, message in (
        (np.zeros((4, 19), np.float32), "schedule/law"),
        (np.full((4, 20), np.nan, np.float32), "schedule/law"),
        (
            np.tile(np.arange(20, 0, -1, dtype=np.float32), (4, 1)),
            "the states of law must be sorted",
        ),
    ):
        part.save(path)
        damaged(path, **{"schedule/law": array})
        other = trainer()
        with pytest.raises(FileError, match=message):
            ActorCriticTrainer.load(path, other.game, other.config)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tau_0": float("inf")}, "tau_0 must be"),
        ({"beta": -1.0}, "beta must be"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"learning_rate": 0.5}, "learning_rate must be at most critic_learning_rate"),
        ({"critic_learning_rate": 0.0}, "critic_learning_rate must be"),
        ({"critic_power": 0.5}, "critic_power must be"),
        ({"policy": "linear"}, "policy must be one of"),
        ({"log_std_init": float("nan")}, "log_std_init must be"),
        ({"hidden": (0,)}, r"hidden\[0\] must be"),
        ({"observe": ("nothing",)}, "observe must be among"),
    ],
)
def test_hyper_parameters_that_are_not_allowed(wrong, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ActorCriticConfig(**wrong)


def test_hyper_parameters_reach_the_model() -> None:
    made = trainer(policy="affine", beta=0.5, critic_power=0.7, log_std_init=-1.0)
    model = made.model
    assert isinstance(model.policy, AffinePolicy)
    assert (model.learning_rate.beta, model.learning_rate.tau_0, model.critic_steps.power) == (0.5, 2.0, 0.7)
    assert model.policy.log_std.item() == -1.0
    assert trainer(log_std_init=-0.5).model.policy.log_std.item() == -0.5
    other, config = mfenvs.make("Epidemic-v0", **GAME), ActorCriticConfig(policy="affine", observe=())
    with pytest.raises(TypeError, match="policy 'affine' is for LinearQuadratic games"):
        ActorCriticTrainer(other, config)


def test_a_game_with_discrete_actions_is_learned() -> None:
    epidemic = mfenvs.make("Epidemic-v0", **GAME)
    made = ActorCriticTrainer(epidemic, ActorCriticConfig(**SMALL, observe=("mean-field",)))
    made.learn(ITERATION, [])
    assert made.iteration == 1


def test_the_command_line_trains_and_resumes_it(tmp_path) -> None:
    assert algorithm("actor-critic") is ActorCriticTrainer
    game = ["--game.n-agents", "10", "--game.horizon", "4"]
    words = ["train", "actor-critic", "LinearQuadratic-v0", *game, "--hidden", "6", "--batch-size", "32"]
    words += ["--device", "cpu", "--no-progress", "--folder", str(tmp_path / "run")]
    assert main([*words, "--total-timesteps", "80"]) == 0
    assert main([*words, "--total-timesteps", "120", "--resume"]) == 0
    _, model, config = read_run(tmp_path / "run")
    assert config["algorithm"] == "actor-critic"
    assert config["hyper_parameters"].keys() == {f.name for f in dataclasses.fields(ActorCriticConfig)}
    assert model.learning_rate.updates == 2 + 3
