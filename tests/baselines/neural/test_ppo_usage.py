"""PPO in the hands of users of SB3: arguments, callbacks, wrappers, environments of others."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import supersuit
import torch
from small_ppo import EPIDEMIC, Recorder, StopAt, are_equal, epidemic, parameters, small
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from torch import nn

import mfenvs
from baselines.neural.independent_ppo import IndependentPPO
from baselines.neural.ppo import PPO
from mfenvs import make, vec_env
from mfenvs.evaluation import evaluate


def test_defaults_are_the_paper_s_and_can_be_overridden():
    game = mfenvs.make("Taxi-v0", n_agents=3, horizon=6)
    model = PPO(env=game)
    assert (model.n_steps, model.n_envs, model.batch_size, model.n_epochs) == (6, 3, 16_384, 4)
    assert (model.gamma, model.gae_lambda, model.ent_coef, model.vf_coef) == (0.999, 0.95, 6e-3, 0.9)
    assert (model.max_grad_norm, model.clip_range(1.0), model.normalize_advantage) == (0.5, 0.2, True)
    assert [model.lr_schedule(left) for left in (1.0, 0.5)] == [2.5e-4, 1.25e-4]
    for module in (model.policy.mlp_extractor.policy_net, model.policy.mlp_extractor.value_net):
        assert [type(layer) for layer in module] == [nn.Linear, nn.LeakyReLU] * 2
        assert [layer.out_features for layer in module[::2]] == [128, 128]
    kwargs = {"net_arch": [5], "activation_fn": nn.Tanh, "optimizer_class": torch.optim.SGD}
    model = PPO("MlpPolicy", "Epidemic-v0", policy_kwargs=kwargs, n_steps=2, learning_rate=0.1)
    assert model.n_envs == 1000
    before = parameters(model)
    model.learn(1)
    assert model.num_timesteps == 2000
    assert isinstance(model.policy.optimizer, torch.optim.SGD)
    assert [type(layer) for layer in model.policy.mlp_extractor.policy_net] == [nn.Linear, nn.Tanh]
    assert not are_equal(before, parameters(model))
    assert PPO(env="mfenvs/Epidemic-v0").n_steps == 20
    assert PPO(env="CartPole-v1", device="cpu").n_steps == 128


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="observe='mean-field' is for a game"):
        PPO(env=epidemic(), observe="mean-field")
    with pytest.raises(TypeError, match="learning_rat"):
        PPO(env=epidemic(), learning_rat=1.0)
    with pytest.raises(ValueError, match="observe must be among"):
        PPO(env=epidemic().game, observe="means")


def test_learning_rates():
    def rates(**kwargs):
        recorder = Recorder()
        small(n_steps=5, **kwargs).learn(4 * 70, callback=recorder)
        assert [log["train/learning_rate"] for log in recorder.logs] == recorder.rates
        return recorder.rates

    assert rates() == pytest.approx([2.5e-4, 1.875e-4, 1.25e-4, 0.625e-4])
    assert rates(learning_rate=1e-3) == [1e-3] * 4
    assert rates(learning_rate=lambda left: left**2) == pytest.approx([1.0, 0.5625, 0.25, 0.0625])


def test_a_resumed_schedule_goes_on():
    recorder = Recorder()
    model = small(clip_range=lambda left: 0.4 * left)
    model.learn(4 * 70, callback=[StopAt(13), recorder])
    model.learn(2 * 70, callback=recorder, reset_num_timesteps=False)
    assert recorder.rates[-2:] == pytest.approx([1.25e-4, 0.625e-4])
    assert recorder.logs[-1]["train/clip_range"] == pytest.approx(0.1)


def test_learns_twice_and_rounds_up():
    model = small(n_steps=3).learn(43)
    assert model.num_timesteps == 84
    before = parameters(model)
    model.learn(42)
    assert model.num_timesteps == 42
    assert not are_equal(before, parameters(model))
    assert not model._returns.any() or model._last_episode_starts.sum() == 0


def test_logs_and_callbacks(tmp_path):
    model = small(VecMonitor(epidemic()), tensorboard_log=str(tmp_path / "tb"), stats_window_size=14)
    evaluation = EvalCallback(
        VecMonitor(epidemic(1)),
        n_eval_episodes=7,
        eval_freq=5,
        log_path=tmp_path,
        best_model_save_path=tmp_path,
        verbose=0,
    )
    recorder = Recorder()
    model.learn(
        210, callback=[evaluation, CheckpointCallback(5, tmp_path / "checkpoints"), recorder], progress_bar=False
    )
    assert list((tmp_path / "tb").glob("PPO_1/events.out.tfevents*"))
    assert np.load(tmp_path / "evaluations.npz")["results"].shape == (3, 7)
    assert len(list((tmp_path / "checkpoints").glob("*.zip"))) == 3
    best = PPO.load(tmp_path / "best_model", device="cpu")
    assert np.isfinite(evaluate_policy(best, VecMonitor(epidemic()), n_eval_episodes=14)[0])
    assert len(recorder.actions) == 15
    assert recorder.actions[0].shape == (14,)
    assert len(model.ep_info_buffer) == 14
    assert {info["l"] for info in model.ep_info_buffer} == {5}
    names = {"loss", "entropy_loss", "value_loss", "approx_kl", "explained_variance", "learning_rate", "n_updates"}
    assert {f"train/{name}" for name in names} <= recorder.logs[-1].keys()
    # The mean that is logged without a Monitor is the same.
    monitored = np.mean([info["r"] for info in model.ep_info_buffer])
    assert recorder.returns[-1] == pytest.approx(monitored, abs=1e-5)


def test_functions_are_callbacks():
    seen = []
    model = small()
    model.learn(70, callback=lambda local, _global: bool(seen.append(local["self"])) or True)
    assert seen == [model] * 5


def test_normalised_environments():
    env = VecNormalize(epidemic(), gamma=0.9)
    model = small(env, n_steps=4)
    model.learn(112)
    model.learn(112, callback=StopAt(2), reset_num_timesteps=False)
    # What the next rollout begins with is what the wrapper showed last.
    np.testing.assert_allclose(model._last_obs, env.normalize_obs(env.get_original_obs()), atol=1e-5)
    model.learn(56, reset_num_timesteps=False)
    assert np.isfinite(model.rollout_buffer.returns).all()


def test_a_normalised_run_is_loaded_with_its_wrapper(tmp_path):
    env = VecNormalize(epidemic())
    model = small(env, n_steps=4).learn(112)
    model.save(tmp_path / "model")
    env.save(tmp_path / "normalize.pkl")
    again = VecNormalize.load(tmp_path / "normalize.pkl", epidemic())
    resumed = PPO.load(tmp_path / "model", env=again, device="cpu")
    first = []
    resumed.learn(
        56,
        callback=lambda local, _: bool(first.append(local["observations"].clone())) or True,
        reset_num_timesteps=False,
    )
    assert resumed.num_timesteps == 168
    np.testing.assert_allclose(resumed._returns, resumed.rollout_buffer.rewards.sum(dim=0), atol=1e-5)
    assert first[0].abs().max() > 1.01  # features of the game are within [0, 1]: these are normalised


def test_supersuit_s_conversion():
    parallel = supersuit.pettingzoo_env_to_vec_env_v1(mfenvs.parallel_env("Epidemic-v0", **EPIDEMIC))
    env = supersuit.concat_vec_envs_v1(parallel, 2, base_class="stable_baselines3")
    recorder = Recorder()
    with pytest.warns(UserWarning, match="SB3VecEnvWrapper cannot be seeded"):
        model = small(env, n_steps=5).learn(140, callback=recorder)
    assert model.num_timesteps == 140
    assert recorder.dones[4].all()
    assert recorder.dones[4].dtype == bool
    assert not model._returns.any()
    assert len(recorder.returns) == 2
    assert recorder.returns[-1] == pytest.approx(float(model.rollout_buffer.rewards.sum() / 14), abs=1e-5)
    assert model.rollout_buffer.episode_starts.sum() == 14


@pytest.mark.parametrize("trainer", [stable_baselines3.PPO, PPO])
def test_single_agents_made_by_gymnasium(trainer):
    """SB3 takes no VectorEnv of gymnasium's; ``make_vec_env`` is its way from an id to several environments."""
    constants = {"n_agents": 5, "horizon": 6}
    env = make_vec_env("mfenvs/Taxi-v0", 2, seed=0, env_kwargs=constants)
    model = trainer("MlpPolicy", env, n_steps=12, batch_size=12, device="cpu").learn(48)
    assert model.num_timesteps == 48
    assert {info["l"] for info in model.ep_info_buffer} == {6}
    model = trainer(
        "MlpPolicy", gymnasium.make("mfenvs/Taxi-v0", **constants), n_steps=12, batch_size=12, device="cpu"
    )
    assert model.learn(24).num_timesteps == 24


@pytest.mark.parametrize("observe", [(), ["own-parameters", "mean-field"]], ids=str)
def test_stock_ppo_on_a_city_of_all_agents(observe):
    env = mfenvs.vec_env("Taxi-v0", 2, n_agents=5, horizon=6, observe=observe)
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=12, batch_size=24, device="cpu").learn(240)
    assert model.num_timesteps == 240
    assert np.isfinite(evaluate(env.game, model, observe=observe, n_worlds=2).returns).all()


# What a newcomer gets wrong.


def test_a_model_is_loaded_onto_a_game_or_an_environment_that_shows_the_same(tmp_path):
    seen = ["own-parameters", "mean-field"]
    game = make("Taxi-v0", n_agents=6, horizon=4)
    model = PPO("MlpPolicy", game, observe=seen, device="cpu", seed=0).learn(24)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip", env=game, device="cpu")
    assert again.learn(24, reset_num_timesteps=False).num_timesteps == 48
    with pytest.raises(ValueError, match=r"env must show agents \(OwnParameters\(\), MeanField\(\)\)"):
        PPO.load(tmp_path / "model.zip", env=vec_env(game, observe=seen[::-1]), device="cpu")


def test_a_policy_for_each_agent_is_not_one_for_all(tmp_path):
    game = make("Taxi-v0", n_agents=4, horizon=4)
    IndependentPPO("MlpPolicy", game, device="cpu", seed=0).save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="holds a model with a policy for each agent, not a PPO"):
        PPO.load(tmp_path / "model.zip", device="cpu")


def test_observations_of_another_shape_are_refused():
    model = PPO("MlpPolicy", make("Taxi-v0", n_agents=4, horizon=4), device="cpu", seed=0)
    small_city = make("Taxi-v0", n_agents=4, horizon=4, city=("1S2",))
    with pytest.raises(ValueError, match=r"trained on observations of shape \(64,\), but agents observe \(10,\)"):
        evaluate(small_city, model, n_worlds=2)
    with pytest.raises(ValueError, match=r"observations must have shape \(n_rows, 64\).*got \(8, 10\)"):
        model.action_probabilities(np.zeros((8, 10), np.float32))


@pytest.mark.parametrize("name", ["Taxi-v1", "taxi"])
def test_unknown_games_are_named(name):
    with pytest.raises(ValueError, match=f"unknown game '{name}'"):
        PPO("MlpPolicy", name)


def test_an_environment_is_needed():
    with pytest.raises(TypeError, match="env must be a VecEnv, a game or the name of a registered one, got None"):
        PPO("MlpPolicy", None)


def test_normalised_observations_are_normalised_where_laws_are_asked_for():
    env = VecNormalize(vec_env(make("Taxi-v0", n_agents=6, horizon=4)), norm_reward=False)
    model = PPO("MlpPolicy", env, device="cpu", seed=0).learn(48)
    raw = env.get_original_obs()
    with torch.no_grad():
        expected = model.policy.get_distribution(
            torch.from_numpy(env.normalize_obs(raw)).float()
        ).distribution.probs
    np.testing.assert_allclose(model.action_probabilities(raw), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_functions_are_called_after_every_update():
    model = small()
    seen = []
    model.after_update.append(lambda: seen.append((model.num_timesteps, model._n_updates)))
    model.learn(140)
    assert seen == [(70, model.n_epochs), (140, 2 * model.n_epochs)]
    assert model.measured["train/n_updates"] == 2 * model.n_epochs
