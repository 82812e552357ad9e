"""Checkpoints of data only: training goes on from them exactly, and files of strangers are refused unharmed."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
import stable_baselines3
import torch
from numpy.testing import assert_array_equal

from baselines import PPO, IndependentPPO
from baselines.neural.checkpoint import save_checkpoint
from baselines.neural.config import PPOConfig, RiskAversePPOConfig
from baselines.neural.trainers import IndependentPPOTrainer, PPOTrainer, RiskAversePPOTrainer
from baselines.runs import read_run, save_results, write_config
from mfenvs import make
from mfenvs.evaluation import evaluate

SMALL = {"device": "cpu", "hidden": (6,), "n_worlds": 2, "batch_size": 16, "n_epochs": 2, "schedule": "constant"}
SMALL |= {"n_steps": 5, "learning_rate": 1e-2}
KINDS = {"ppo": PPOTrainer, "ind-ppo": IndependentPPOTrainer, "risk-ppo": RiskAversePPOTrainer}


def made(kind="ppo", seed=3):
    """A new trainer; a rollout has 5 steps, an episode 4."""
    if kind == "risk-ppo":
        game = make("EnergyMarket-v0", n_agents=6, horizon=4, actions="discrete")
        return KINDS[kind](game, RiskAversePPOConfig(seed=seed, step_size=0.3, **SMALL))
    return KINDS[kind](make("Taxi-v0", n_agents=6, horizon=4), PPOConfig(seed=seed, **SMALL))


def loaded(path, trainer):
    return type(trainer).load(path, trainer.game, trainer.config)


def state_of(trainer):
    model = trainer.model
    found = {name: value.numpy().copy() for name, value in model.policy.state_dict().items()}
    for number, (_, state) in enumerate(model.policy.optimizer.state.items()):
        found |= {f"{number} {key}": np.asarray(value) for key, value in state.items()}
    engine = model.env.engine
    found |= {"last": model._last_obs, "starts": model._last_episode_starts, "returns": model._returns}
    found |= {"states": engine.states.copy(), "signal": engine.signal.copy()}
    found |= {"counters": np.array([model.num_timesteps, model._n_updates, engine.time, engine.episode])}
    if hasattr(model, "budget"):
        found |= {"z": model.budget.z.copy(), "scale": model.budget.scale.copy()}
    return found


def assert_same(a, b):
    one, other = state_of(a), state_of(b)
    assert one.keys() == other.keys()
    for name in one:
        assert_array_equal(one[name], other[name], err_msg=name)


def members_of(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def npy(array, **kwargs):
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def header_of(members):
    return json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())


def with_header(members, text):
    return members | {"header.npy": npy(np.frombuffer(text, np.uint8))}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A trainer after one update, and its checkpoint."""
    trainer = made()
    trainer.learn(60, [])
    path = tmp_path_factory.mktemp("run") / "checkpoint.zip"
    trainer.save(path)
    return trainer, path


# Going on.


@pytest.mark.parametrize("kind", ["ppo", "risk-ppo", pytest.param("ind-ppo", marks=pytest.mark.slow)])
@pytest.mark.parametrize("updates", [0, 1, 3])
def test_a_loaded_trainer_ends_where_an_uninterrupted_one_does(tmp_path, kind, updates):
    whole, part = made(kind), made(kind)
    whole.learn(60 * 4, [])
    if updates:
        part.learn(60 * updates, [])
    part.save(tmp_path / "checkpoint.zip")
    resumed = loaded(tmp_path / "checkpoint.zip", part)
    if updates:
        assert_same(resumed, part)
    resumed.learn(60 * (4 - updates), [])
    assert_same(resumed, whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 8, 13])
def test_a_checkpoint_from_within_a_rollout_begins_with_the_rollout(tmp_path, kind, step):
    whole, part, steps = made(kind), made(kind), []

    def save(*_):
        steps.append(1)
        if len(steps) == step:
            part.save(tmp_path / "checkpoint.zip")
        return True

    whole.learn(60 * 4, [])
    part.model.learn(60 * 4, save)
    resumed = loaded(tmp_path / "checkpoint.zip", part)
    assert resumed.num_timesteps == (step - 1) // 5 * 60
    resumed.learn(60 * 4 - resumed.num_timesteps, [])
    assert_same(resumed, whole)


def test_what_is_saved_plays_the_same(tmp_path):
    trainer = made("risk-ppo")
    trainer.learn(120, [])
    trainer.save(tmp_path / "checkpoint.zip")
    again = loaded(tmp_path / "checkpoint.zip", trainer)
    assert (again.model.budget.z != made("risk-ppo").model.budget.z).any()
    mine, theirs = (evaluate(trainer.game, each.model, n_worlds=2).returns for each in (trainer, again))
    assert_array_equal(mine, theirs)


def test_a_checkpoint_needs_one_of_our_environments():
    with pytest.raises(TypeError, match=r"a checkpoint needs a model on a VecEnv of mfenvs\.vec_env"):
        save_checkpoint("unwritten.zip", PPO("MlpPolicy", "CartPole-v1", device="cpu"))


# Strangers' files.


def test_it_holds_arrays_and_numbers_only(checkpoint):
    members = members_of(checkpoint[1])
    assert header_of(members)["num_timesteps"] == 60
    for content in members.values():
        assert np.load(io.BytesIO(content), allow_pickle=False).dtype.kind in "biuf"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def run_folder(folder, trainer):
    folder.mkdir()
    write_config(folder, trainer, 60)
    save_results(folder, trainer)
    return folder / "checkpoint.zip"


@pytest.mark.parametrize("what", ["model of Stable-Baselines3", "pickled array", "pickled tensors"])
def test_reading_a_run_runs_no_code(tmp_path, what):
    trainer, mark = made(), tmp_path / "mark"
    path = run_folder(tmp_path / "run", trainer)
    game, model, _ = read_run(tmp_path / "run")
    assert game == trainer.game
    assert model.n_envs == 12
    if what == "model of Stable-Baselines3":
        trainer.model.tensorboard_log = Payload(mark)
        trainer.model.save(path)
    else:
        members = members_of(path)
        name = "parameters/action_net.bias.npy"
        payload = np.array([Payload(mark)], object)
        buffer = io.BytesIO()
        torch.save({"a": Payload(mark)}, buffer)
        members[name] = npy(payload, allow_pickle=True) if what == "pickled array" else buffer.getvalue()
        write(path, members)
    with pytest.raises(ValueError, match=r"checkpoint.zip is not a saved PPO: "):
        read_run(tmp_path / "run")
    assert not mark.exists()
    if what == "model of Stable-Baselines3":
        PPO.load(path, device="cpu")  # what its docstring warns of
        assert mark.exists()


WRONG = {
    "another shape": ("parameters/action_net.weight", lambda a: a[:, :-1], "must have shape"),
    "transposed": ("parameters/action_net.weight", lambda a: a.T.copy(), "must have shape"),
    "flat": ("parameters/action_net.weight", np.ravel, "must have shape"),
    "columns first": ("parameters/action_net.weight", np.asfortranarray, "is described by"),
    "double precision": ("parameters/action_net.bias", lambda a: a.astype(np.float64), "must have dtype float32"),
    "another byte order": ("parameters/action_net.bias", lambda a: a.astype(">f4"), "must have dtype float32"),
    "nan": ("parameters/action_net.bias", lambda a: a * np.nan, "action_net.bias\\[0\\] must be a finite"),
    "infinite moments": ("optimizer/action_net.bias/exp_avg", lambda a: a + np.inf, "must be a finite number"),
    "negative squares": ("optimizer/action_net.bias/exp_avg_sq", lambda a: a - 1, "must be a finite number in"),
    "negative steps": (
        "optimizer/action_net.bias/step",
        lambda a: np.float32(-1.0),
        "step must be a finite",
    ),
    "fewer agents": ("snapshot/states", lambda a: a[:, 1:], "must have shape"),
    "other states": ("snapshot/states", lambda a: a[..., :4], "must have shape"),
    "fewer returns": ("returns", lambda a: a[:-1], "must have shape"),
    "returns that are not finite": ("returns", lambda a: a + np.nan, "returns\\[0\\] must be a finite"),
    "dates": ("episode_starts", lambda a: a.astype("M8[s]"), "must have dtype bool"),
}


@pytest.mark.parametrize("what", WRONG)
def test_arrays_of_another_kind_are_refused(tmp_path, checkpoint, what):
    trainer, path = checkpoint
    name, change, message = WRONG[what]
    members = members_of(path)
    array = np.load(io.BytesIO(members[f"{name}.npy"]))
    members[f"{name}.npy"] = npy(change(array))
    write(tmp_path / "checkpoint.zip", members)
    with pytest.raises(ValueError, match=rf"checkpoint.zip is not a saved PPO: .*{message}"):
        loaded(tmp_path / "checkpoint.zip", trainer)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("z", np.nan, "snapshot/z[2] must be a finite number"),
        ("scale", np.inf, "snapshot/scale[2] must be a finite number"),
        ("scale", 0.0, "snapshot/scale[2] must be a finite number"),
        ("signal", np.nan, "snapshot/signal[0, 2] must be a finite number"),
        ("returns", -np.inf, "snapshot/returns[0, 2] must be a finite number"),
    ],
)
def test_budgets_and_signals_are_checked(tmp_path, name, value, message):
    trainer = made("risk-ppo")
    trainer.learn(60, [])
    trainer.save(tmp_path / "checkpoint.zip")
    members = members_of(tmp_path / "checkpoint.zip")
    array = np.load(io.BytesIO(members[f"snapshot/{name}.npy"]))
    array.reshape(-1)[2] = value
    write(tmp_path / "checkpoint.zip", members | {f"snapshot/{name}.npy": npy(array)})
    with pytest.raises(ValueError, match=rf"checkpoint.zip is not a saved RiskAversePPO: {re.escape(message)}"):
        loaded(tmp_path / "checkpoint.zip", trainer)


def test_arrays_that_are_missing_or_too_many_are_named(tmp_path, checkpoint):
    trainer, path = checkpoint
    bias = "parameters/value_net.bias.npy"
    for change, message in (
        (lambda members: members.pop(bias), "it must hold the arrays .*'parameters/value_net.bias'"),
        (lambda members: members.update({"more.npy": members[bias]}), "got 'episode_starts', 'more', "),
        (lambda members: members.pop("header.npy"), "it has no header"),
    ):
        members = members_of(path)
        change(members)
        write(tmp_path / "checkpoint.zip", members)
        with pytest.raises(ValueError, match=message):
            loaded(tmp_path / "checkpoint.zip", trainer)
    twice = tmp_path / "twice.zip"
    write(twice, members_of(path))
    with zipfile.ZipFile(twice, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(bias, members_of(path)[bias])
    with pytest.raises(ValueError, match="not the only one of this name"):
        loaded(twice, trainer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_timesteps": -1}, "num_timesteps must be an integer in"),
        ({"num_timesteps": 1.5}, "num_timesteps must be an integer in"),
        ({"num_timesteps": True}, "num_timesteps must be an integer in"),
        ({"n_updates": 2**70}, "n_updates must be an integer in"),
        ({"seed": "3"}, "seed must be an integer in"),
        ({"time": 4}, "snapshot must be from within an episode"),
        ({"has_begun": 1}, "has_begun must be True or False"),
        ({"optimized": ["action_net"]}, "optimized must be names of parameters"),
        ({"optimized": [[]]}, "optimized must be names of parameters"),
        ({"optimized": "action_net.bias"}, "optimized must be names of parameters"),
        ({"optimized": ["action_net.bias"] * 2}, "optimized must name each parameter once"),
        ({"algorithm": "IndependentPPO"}, "it holds a model of 'IndependentPPO'"),
        ({"format": 2}, "its format is 2"),
        ({"more": 1}, "must have the fields"),
    ],
    ids=str,
)
def test_headers_of_another_kind_are_refused(tmp_path, checkpoint, changes, message):
    trainer, path = checkpoint
    members = members_of(path)
    members = with_header(members, json.dumps(header_of(members) | changes).encode())
    write(tmp_path / "checkpoint.zip", members)
    with pytest.raises(ValueError, match=rf"checkpoint.zip is not a saved PPO: .*{message}"):
        loaded(tmp_path / "checkpoint.zip", trainer)


@pytest.mark.parametrize("header", ["", "[]", "nothing", "[" * 20_000, "\xff\xfe", "1e999", "{}"])
def test_headers_that_are_no_json_objects_are_refused(tmp_path, checkpoint, header):
    trainer, path = checkpoint
    write(tmp_path / "checkpoint.zip", with_header(members_of(path), header.encode("latin-1")))
    with pytest.raises(ValueError, match=r"checkpoint.zip is not a saved PPO: "):
        loaded(tmp_path / "checkpoint.zip", trainer)


def test_checkpoints_of_other_networks_games_and_classes_are_refused(tmp_path, checkpoint):
    trainer, path = checkpoint
    wider = PPOConfig(seed=3, **{**SMALL, "hidden": (7,)})
    other = make("Taxi-v0", n_agents=7, horizon=4)
    for game, config in ((trainer.game, wider), (other, trainer.config)):
        with pytest.raises(ValueError, match=r"is not a saved PPO: .* must have shape"):
            PPOTrainer.load(path, game, config)
    with pytest.raises(ValueError, match="is not a saved IndependentPPO: it holds a model of 'PPO'"):
        IndependentPPOTrainer.load(path, trainer.game, trainer.config)


@pytest.mark.parametrize("name", ["header.npy", "parameters/action_net.bias.npy", "returns.npy"])
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_before_it_is_unpacked(tmp_path, checkpoint, name):
    trainer, path = checkpoint
    content = npy(np.zeros(300_000_000, np.uint8))
    write(tmp_path / "bomb.zip", members_of(path) | {name: content}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.zip").stat().st_size < 500_000
    with pytest.raises(ValueError, match=r"bomb.zip is not a saved PPO: its content would take \d+ bytes"):
        loaded(tmp_path / "bomb.zip", trainer)


def test_numbers_behind_those_of_an_array_are_refused(tmp_path, checkpoint):
    trainer, path = checkpoint
    members = members_of(path)
    members["returns.npy"] += b"0"
    write(tmp_path / "checkpoint.zip", members)
    with pytest.raises(ValueError, match="returns does not have the length of its shape"):
        loaded(tmp_path / "checkpoint.zip", trainer)


def test_damaged_files_are_refused_or_are_not_different(tmp_path, checkpoint):
    """One byte changed, or the end cut off: what is read is what was written, or nothing."""
    trainer, path = checkpoint
    content, rng, messages = path.read_bytes(), np.random.default_rng(0), []
    for number in range(120):
        damaged = bytearray(content)
        if number % 3:
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(content)) :]
        (tmp_path / "checkpoint.zip").write_bytes(damaged)
        try:
            assert_same(loaded(tmp_path / "checkpoint.zip", trainer), trainer)
        except ValueError as error:
            messages.append(str(error))
    assert all("checkpoint.zip is not a saved PPO: " in message for message in messages)
    assert 80 < len(messages) <= 120


@pytest.mark.parametrize("kind", [PPO, IndependentPPO])
def test_a_foreign_file_is_no_saved_model(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as file:
        file.writestr("some.txt", "text")
    stable_baselines3.DQN("MlpPolicy", "CartPole-v1").save(tmp_path / "dqn.zip")
    (tmp_path / "text.zip").write_text("text")
    for name in ("foreign", "dqn"):
        with pytest.raises(ValueError, match=rf"{name}\.zip is not a saved {kind.__name__}: "):
            kind.load(tmp_path / f"{name}.zip")
    with pytest.raises(ValueError, match=r"text\.zip wasn't a zip-file"):
        kind.load(tmp_path / "text.zip")


def test_each_kind_of_file_is_told_from_the_other(tmp_path, checkpoint):
    trainer, path = checkpoint
    with pytest.raises(ValueError, match=r"is the checkpoint of a run folder.*baselines.runs.read_run"):
        PPO.load(path)
    trainer.model.save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match=r"model.zip is not a saved PPO: .*is no array"):
        loaded(tmp_path / "model.zip", trainer)
    with pytest.raises(ValueError, match=r"cannot read .*none.zip: No such file"):
        loaded(tmp_path / "none.zip", trainer)
