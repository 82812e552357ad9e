"""Arguments of the neural trainers: what is allowed, what is said of what is not, and what is kept."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

import mfenvs
from baselines import PPO, IndependentPPO, RiskAversePPO
from baselines.neural.config import PPOConfig, RiskAversePPOConfig
from baselines.neural.hyper_parameters import CHECKS, TABLE_2, checked_hyper_parameters
from baselines.neural.trainers import PPOTrainer, RiskAversePPOTrainer
from mfenvs import make

SMALL = {"policy_kwargs": {"net_arch": [4]}, "device": "cpu", "seed": 0}
GAME = make("Epidemic-v0", n_agents=3, horizon=4)


def small(trainer=PPO, **kwargs):
    return trainer("MlpPolicy", GAME, **{**SMALL, **kwargs})


# Worlds.


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
@pytest.mark.parametrize("game", [GAME, "Epidemic-v0"])
def test_a_game_is_learned_in_so_many_worlds(trainer, game):
    model = trainer("MlpPolicy", game, n_worlds=3, observe="mean-field", **SMALL)
    n_agents = model.env.game.n_agents
    assert (model.env.n_worlds, model.n_envs) == (3, 3 * n_agents)
    assert [block.name for block in model.env.observe] == ["mean-field"]
    if game is GAME:
        assert model.learn(1).num_timesteps == 3 * n_agents * 4


def test_it_is_the_vec_env_of_so_many_worlds():
    ours = small(n_worlds=2).learn(48)
    theirs = PPO("MlpPolicy", mfenvs.vec_env(GAME, 2), **SMALL).learn(48)
    assert all(map(torch.equal, ours.policy.parameters(), theirs.policy.parameters()))


def test_averse_agents_are_trained_in_many_worlds():
    game = make("EnergyMarket-v0", n_agents=4, horizon=4, actions="discrete")
    model = RiskAversePPO("MlpPolicy", game, n_worlds=3, **SMALL)
    assert model.env.n_worlds == 3
    assert model.learn(1).num_timesteps == 48


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, 2**40])
def test_numbers_of_worlds_that_are_not_allowed(value):
    with pytest.raises((TypeError, ValueError), match="n_worlds must be an integer in"):
        small(n_worlds=value)


def test_a_vec_env_has_its_worlds():
    with pytest.raises(ValueError, match="n_worlds=2 is for a game: give it to the VecEnv"):
        PPO("MlpPolicy", mfenvs.vec_env(GAME), n_worlds=2, **SMALL)


# What is not allowed.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"learning_rate": None}, TypeError, "learning_rate must be a finite number"),
        ({"learning_rate": -1e-3}, ValueError, "learning_rate must be a finite number"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be a finite number"),
        ({"learning_rate": float}, TypeError, "learning_rate must be a finite number"),
        ({"n_steps": 2.0}, TypeError, "n_steps must be an integer"),
        ({"n_steps": 0}, ValueError, "n_steps must be an integer"),
        ({"batch_size": 1}, ValueError, "batch_size, where advantages are normalised, must be an integer"),
        ({"batch_size": 10**30}, ValueError, "batch_size must be an integer"),
        ({"n_epochs": "4"}, TypeError, "n_epochs must be an integer"),
        ({"gamma": 1.5}, ValueError, "gamma must be a finite number in"),
        ({"gae_lambda": -0.1}, ValueError, "gae_lambda must be a finite number in"),
        ({"clip_range": 0}, ValueError, "clip_range must be a finite number in"),
        ({"clip_range_vf": "no"}, TypeError, "clip_range_vf must be a finite number in"),
        ({"normalize_advantage": 1}, TypeError, "normalize_advantage must be True or False"),
        ({"ent_coef": math.inf}, ValueError, "ent_coef must be a finite number"),
        ({"vf_coef": [1.0]}, TypeError, "vf_coef must be a finite number"),
        ({"max_grad_norm": 0.0}, ValueError, "max_grad_norm must be a finite number"),
        ({"use_sde": None}, TypeError, "use_sde must be True or False"),
        ({"sde_sample_freq": -2}, ValueError, "sde_sample_freq must be an integer"),
        ({"target_kl": 0.0}, ValueError, "target_kl must be a finite number"),
        ({"stats_window_size": 0}, ValueError, "stats_window_size must be an integer"),
        ({"tensorboard_log": True}, TypeError, "tensorboard_log must be None or the path of a folder"),
        ({"policy_kwargs": [8]}, TypeError, "policy_kwargs must be None or a dict"),
        ({"policy_kwargs": {"net_arch": [0]}}, ValueError, r"policy_kwargs\['net_arch'\]\[0\] must be an integer"),
        (
            {"policy_kwargs": {"net_arch": 8}},
            TypeError,
            r"\['net_arch'\] must be a list of layer widths",
        ),
        ({"policy_kwargs": {"net_arch": {"qf": [8]}}}, ValueError, "must have the keys 'pi' and 'vf'"),
        ({"policy_kwargs": {"net_arch": {"pi": [1.5]}}}, TypeError, r"\['pi'\]\[0\] must be an integer"),
        (
            {"policy_kwargs": {"activation_fn": "tanh"}},
            TypeError,
            r"\['activation_fn'\] must be a class",
        ),
        ({"verbose": 3}, ValueError, "verbose must be an integer"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
        ({"seed": 1.0}, TypeError, "seed must be an integer"),
        ({"seed": True}, ValueError, "seed must be an integer"),
        ({"device": "nonsense"}, ValueError, r"device must be 'auto', 'cpu', 'cuda', .* got 'nonsense'"),
        ({"device": None}, TypeError, r"device must be 'auto', 'cpu'"),
        ({"device": "meta"}, ValueError, "device must be one that this machine has, got 'meta'"),
        ({"observe": "everything"}, ValueError, "observe must be among"),
        ({"hidden": (8,)}, TypeError, "unknown hyper-parameter 'hidden'; allowed: learning_rate"),
        ({"rollout_buffer_class": dict}, TypeError, "unknown hyper-parameter 'rollout_buffer_class'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_arguments_that_are_not_allowed_are_named(trainer, arguments, error, message):
    with pytest.raises(error, match=message):
        small(trainer, **arguments)


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        ("Mlp", ValueError, "policy must be one of 'MlpPolicy', .*, got 'Mlp'"),
        (None, TypeError, "policy must be one of 'MlpPolicy', .*, got None"),
        (3, TypeError, "policy must be one of 'MlpPolicy', .*, got 3"),
        (nn.Linear, TypeError, "policy must be one of 'MlpPolicy', .*, got"),
    ],
)
def test_policies_that_are_none_are_named(policy, error, message):
    with pytest.raises(error, match=message):
        PPO(policy, GAME, **SMALL)


@pytest.mark.parametrize("env", [None, 3, True, [], {}])
def test_environments_that_are_none_are_named(env):
    with pytest.raises(TypeError, match="env must be a VecEnv, a game or the name of a registered one, got"):
        PPO("MlpPolicy", env, **SMALL)


def test_one_row_has_no_spread_of_advantages():
    game = make("Epidemic-v0", n_agents=2, horizon=4)
    assert PPO("MlpPolicy", game, n_steps=1, **SMALL).n_steps == 1
    with pytest.raises(ValueError, match="n_steps must be at least 2 with one agent"):
        PPO("MlpPolicy", "CartPole-v1", n_steps=1, **SMALL)  # of gymnasium: one environment


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"callback": True}, TypeError, "callback must be None, a callback .* got True"),
        ({"callback": [None]}, TypeError, "callback must be None, a callback .* got"),
        ({"callback": [lambda *_: True]}, TypeError, "callback must be None, a callback .* got"),
        ({"callback": BaseCallback}, TypeError, "callback must be None, a callback .* got"),
        ({"total_timesteps": -1}, ValueError, "total_timesteps must be an integer in"),
        ({"total_timesteps": 1.5}, TypeError, "total_timesteps must be an integer in"),
        ({"total_timesteps": math.inf}, TypeError, "total_timesteps must be an integer in"),
        ({"total_timesteps": None}, TypeError, "total_timesteps must be an integer in"),
        ({"log_interval": 0}, ValueError, "log_interval must be an integer"),
        ({"tb_log_name": None}, TypeError, "tb_log_name must be a string, got None"),
        ({"reset_num_timesteps": "no"}, TypeError, "reset_num_timesteps must be True or False"),
        ({"progress_bar": 2}, TypeError, "progress_bar must be True or False"),
    ],
)
def test_learn_names_what_is_not_allowed(arguments, error, message):
    model = small()
    with pytest.raises(error, match=message):
        model.learn(**{"total_timesteps": 12, **arguments})
    assert model.num_timesteps == 0
    assert model.learn(12.0, log_interval=None).num_timesteps == 12


# What is kept.


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_numbers_of_numpy_are_kept_as_python_s(trainer, tmp_path):
    model = small(
        trainer,
        seed=np.int64(3),
        n_steps=np.uint8(200),
        batch_size=np.int32(300),
        n_epochs=np.int8(2),
        learning_rate=np.float32(0.25),
        gamma=np.float16(0.5),
        clip_range=np.float64(0.125),
        normalize_advantage=np.bool_(True),
        n_worlds=np.uint8(2),
    )
    kept = {name: getattr(model, name) for name in ("seed", "n_steps", "batch_size", "n_epochs", "gamma")}
    assert kept == {"seed": 3, "n_steps": 200, "batch_size": 300, "n_epochs": 2, "gamma": 0.5}
    assert {type(value) for value in kept.values()} == {int, float}
    assert type(model.learning_rate) is float
    assert model.normalize_advantage is True
    # 200 steps times 6 rows are more than 255.
    model.learn(1).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"device must be 'auto', .* got 'nonsense'"):
        trainer.load(tmp_path / "model", device="nonsense")
    assert trainer.load(tmp_path / "model", env=mfenvs.vec_env(GAME, 2), device="cpu").num_timesteps == 1200


def test_configs_hold_plain_values(tmp_path):
    config = RiskAversePPOConfig(
        seed=np.int64(3),
        n_worlds=np.uint8(2),
        learning_rate=np.float32(0.25),
        hidden=[np.int16(4)],
        observe=["mean-field"],
        alpha=np.float32(0.5),
        warm_up_episodes=np.int8(9),
        device="cpu",
    )
    assert (config.hidden, config.observe) == ((4,), ("mean-field",))
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert RiskAversePPOConfig(**values) == config
    PPOTrainer(GAME, PPOConfig(seed=np.int64(3), hidden=(np.int64(4),), device="cpu")).save(tmp_path / "saved")


def test_dicts_that_are_given_are_left_alone():
    given = {"net_arch": {"pi": (np.int64(4),)}, "activation_fn": nn.Tanh}
    model = small(policy_kwargs=given)
    assert given == {"net_arch": {"pi": (4,)}, "activation_fn": nn.Tanh}
    assert model.policy.net_arch == {"pi": [4], "vf": []}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"hidden": None}, TypeError, "hidden must be a tuple, got None"),
        ({"hidden": 8}, TypeError, "hidden must be a tuple, got 8"),
        ({"hidden": (8, 0)}, ValueError, r"hidden\[1\] must be an integer"),
        ({"hidden": (8.5,)}, TypeError, r"hidden\[0\] must be an integer"),
        ({"observe": None}, TypeError, "observe must be a tuple, got None"),
        ({"observe": "mean-field"}, TypeError, "observe must be a tuple, got 'mean-field'"),
        ({"observe": (None,)}, TypeError, "observe must hold names of what is observed, got None"),
        ({"observe": ("everything",)}, ValueError, "observe must be among one-hot-identity"),
        ({"device": "nonsense"}, ValueError, "device must be 'auto', 'cpu', .* got 'nonsense'"),
        ({"device": 0}, TypeError, "device must be a string"),
        ({"schedule": ["linear"]}, ValueError, "schedule must be one of"),
        ({"activation": None}, ValueError, "activation must be one of"),
        ({"learning_rate": "1e-3"}, TypeError, "learning_rate must be a number"),
        ({"learning_rate": 10**400}, ValueError, "learning_rate must be a number that a float can hold"),
        ({"n_steps": 1.0}, TypeError, "n_steps must be an integer"),
        ({"gamma": math.nan}, ValueError, "gamma must be a finite number"),
    ],
    ids=str,
)
def test_configs_name_what_is_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        PPOConfig(**arguments)


def test_a_config_may_name_a_device_of_another_machine():
    assert PPOConfig(device="cuda:7").device == "cuda:7"


def test_a_trainer_needs_the_config_of_its_class():
    with pytest.raises(TypeError, match="config must be a RiskAversePPOConfig, got PPOConfig"):
        RiskAversePPOTrainer(GAME, PPOConfig())


# Anything.

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, -1, -(10**30), 2**31, 2**63, 2**64]),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.one_of(st.integers(-3, 3), st.floats(), st.none(), st.text(max_size=2)), max_size=3),
    st.tuples(st.one_of(st.integers(-3, 3), st.text(max_size=2))),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
    st.sampled_from([np.float32(0.5), np.int8(-1), np.nan, np.array(2), np.array([1.0, 2.0]), object, len, 1j]),
    st.sampled_from([torch.tensor(2.0), torch.zeros(2), {"net_arch": None}, {"net_arch": {"pi": None}}]),
)

BOUNDED = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@BOUNDED
@given(name=st.sampled_from(list(CHECKS)), value=ANYTHING)
def test_any_hyper_parameter_is_kept_or_named(name, value):
    try:
        found = checked_hyper_parameters({**TABLE_2, name: value})[name]
    except (TypeError, ValueError) as error:
        assert str(error).startswith(name)  # noqa: PT017 - which of both it is depends on the value
    else:
        assert not isinstance(found, np.generic | np.ndarray | torch.Tensor)


@pytest.mark.parametrize("config", [PPOConfig, RiskAversePPOConfig])
@BOUNDED
@given(data=st.data())
def test_any_config_is_made_or_its_field_named(config, data):
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(config)]))
    value = data.draw(ANYTHING)
    try:
        found = config(**{name: value})
    except (TypeError, ValueError) as error:
        assert str(error).startswith(name)  # noqa: PT017
    else:
        assert config(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


@BOUNDED
@given(
    name=st.sampled_from(["seed", "device", "n_worlds", "observe", "callback", "total_timesteps"]), value=ANYTHING
)
def test_any_other_argument_is_taken_or_named(name, value):
    is_learned = name in ("callback", "total_timesteps")
    if name in ("n_worlds", "total_timesteps") and isinstance(value, int | float) and value > 100:
        return  # allowed, but long
    try:
        model = small(**({} if is_learned else {name: value}))
        if is_learned:
            model.learn(**{"total_timesteps": 0, name: value})
    except (TypeError, ValueError) as error:
        assert str(error).startswith(name)  # noqa: PT017
