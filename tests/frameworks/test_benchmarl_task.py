"""BenchMARL tasks: what experiments are told of a game, and that experiments run on them."""

import warnings

import pytest

pytest.importorskip("benchmarl")

import gymnasium
import numpy as np
import torch
from benchmarl.algorithms import IppoConfig, IqlConfig, MappoConfig, QmixConfig
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from framework_examples import GOES_ON, assert_batch_is_the_engines, assert_routes_step, load

import mfenvs
from mfenvs.api.benchmarl import GameTask, benchmarl_task

example = load("benchmarl_task")

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=5, horizon=4)
TAXI = mfenvs.make("Taxi-v0", n_agents=4, horizon=6)
MARKET = mfenvs.make("EnergyMarket-v0", actions="discrete", n_agents=9, n_days=1, weather_sd=0.0, horizon=4)
TRACKING = mfenvs.make("LinearQuadratic-v0", n_agents=6, horizon=4)


def env_of(task, n_worlds=3, seed=0):
    return task.get_env_fun(n_worlds, task.supports_continuous_actions(), seed, "cpu")()


class Batches(Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_batch_collected(self, batch):
        self.seen.append(batch.clone())


def experiment(task, algorithm, folder, n_iterations=2, **changes):
    config = ExperimentConfig.get_from_yaml()
    config.max_n_iters, config.max_n_frames = n_iterations, None
    config.on_policy_collected_frames_per_batch = config.off_policy_collected_frames_per_batch = 24
    config.on_policy_n_envs_per_worker = config.off_policy_n_envs_per_worker = 3
    config.on_policy_minibatch_size = config.off_policy_train_batch_size = 8
    config.on_policy_n_minibatch_iters = config.off_policy_n_optimizer_steps = 2
    config.off_policy_memory_size = 100
    config.evaluation, config.evaluation_interval, config.evaluation_episodes = True, 24, 2
    config.render, config.loggers, config.create_json = False, [], False
    config.save_folder = str(folder)
    for name, value in changes.items():
        setattr(config, name, value)
    network = MlpConfig(num_cells=[8], layer_class=torch.nn.Linear, activation_class=torch.nn.Tanh)
    batches = Batches()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SyncDataCollector has been deprecated")
        made = Experiment(
            task=task,
            algorithm_config=algorithm.get_from_yaml(),
            model_config=network,
            critic_model_config=network,
            seed=0,
            config=config,
            callbacks=[batches],
        )
        made.run()
    return made, batches.seen


@pytest.mark.parametrize(
    "game", [EPIDEMIC, MARKET, TRACKING, TAXI], ids=["epidemic", "market", "tracking", "taxi"]
)
@pytest.mark.parametrize("group_map", [None, "types"])
def test_what_experiments_are_told(game, group_map):
    task = benchmarl_task(game, group_map=group_map)
    env = env_of(task)
    is_discrete = isinstance(game.action_space, gymnasium.spaces.Discrete)
    assert (task.supports_discrete_actions(), task.supports_continuous_actions()) == (is_discrete, not is_discrete)
    assert env.batch_size == (3,)
    assert task.max_steps(env) == game.horizon
    assert task.group_map(env) == env.group_map
    assert task.info_spec(env) is None
    assert task.state_spec(env)["state"].shape == env.reset()["state"].shape[1:]
    assert list(task.state_spec(env).keys()) == ["state"]
    assert not task.has_render(env)
    seen, actions, masks = task.observation_spec(env), task.action_spec(env), task.action_mask_spec(env)
    assert set(seen.keys()) == set(actions.keys()) == set(env.group_map)
    assert (masks is None) == (game.rules.allowed is None)
    for group, members in env.group_map.items():
        assert list(seen[group].keys()) == ["observation"]
        assert seen[group, "observation"].shape == (len(members), game.n_features)
        assert list(actions[group].keys()) == ["action"]
        assert actions[group, "action"].shape == (len(members), *game.action_space.shape)
        if masks is not None:
            assert list(masks[group].keys()) == ["action_mask"]
            assert masks[group, "action_mask"].shape == (len(members), game.action_space.n)


def test_names_and_equality():
    assert [benchmarl_task(name).name for name in ("Epidemic-v0", "mfenvs/Epidemic-v0", EPIDEMIC)] == [
        "Epidemic-v0"
    ] * 3
    assert benchmarl_task("Epidemic-v0", n_agents=5) == benchmarl_task("Epidemic-v0", n_agents=5)
    assert benchmarl_task("Epidemic-v0", n_agents=5) != benchmarl_task("Epidemic-v0", n_agents=6)
    assert GameTask("Epidemic-v0", {"n_agents": 5}).get_env_fun(2, False, 0, "cpu")().n_agents == 5
    assert GameTask.env_name() == "mfenvs"


def test_wrong_arguments_are_refused_at_once():
    with pytest.raises(TypeError, match="did you mean 'n_agents'"):
        benchmarl_task("Epidemic-v0", n_agent=3)
    with pytest.raises(ValueError, match="did you mean 'Epidemic-v0'"):
        benchmarl_task("Epidemc-v0")
    with pytest.raises(ValueError, match="observe must be among"):
        benchmarl_task(EPIDEMIC, observe="nothing")


def test_the_seed_is_the_engines():
    engine = mfenvs.Engine(EPIDEMIC, 3)
    engine.reset(8)
    assert np.array_equal(
        env_of(benchmarl_task(EPIDEMIC), seed=8).reset()["agents", "observation"], engine.observe()
    )


def test_state_and_images_are_optional():
    task = benchmarl_task(TAXI, return_state=False, render_mode="rgb_array")
    env = env_of(task)
    assert task.state_spec(env) is None
    assert task.has_render(env)
    now = env.reset()
    assert GameTask.render_callback(None, env, now).dtype == torch.uint8


@pytest.mark.parametrize("algorithm", [IppoConfig, MappoConfig, IqlConfig, QmixConfig])
def test_algorithms_of_discrete_actions(algorithm, tmp_path):
    """Rewards are summed over each episode, of which every batch holds two in each of three worlds."""
    made, batches = experiment(benchmarl_task(EPIDEMIC), algorithm, tmp_path)
    assert made.n_iters_performed == 2
    for batch in batches:
        assert batch.shape == (3, 8)
        ends = batch["next", "done"][..., 0]
        assert ends[0].tolist() == [False, False, False, True] * 2
        total = batch["next", "agents", "reward"].reshape(3, 2, 4, 5, 1).sum(dim=2)
        found = batch["next", "agents", "episode_reward"][ends].reshape(3, 2, 5, 1)
        torch.testing.assert_close(found, total)


@pytest.mark.parametrize("game", [EPIDEMIC, GOES_ON, MARKET], ids=["ends", "goes-on", "masked"])
def test_batches_of_an_experiment_hold_what_the_engine_did(game, tmp_path):
    n_frames = 3 * 2 * game.horizon
    _, batches = experiment(
        benchmarl_task(game), IppoConfig, tmp_path, on_policy_collected_frames_per_batch=n_frames, evaluation=False
    )
    for k, batch in enumerate(batches):
        assert batch.shape == (3, 2 * game.horizon)
        assert_batch_is_the_engines(batch, game, seed=0, n_before=2 * k)


def test_action_masks_are_kept_to(tmp_path):
    _, batches = experiment(benchmarl_task(MARKET, group_map="types"), MappoConfig, tmp_path)
    for batch in batches:
        for group in ("consumer", "storage"):
            assert batch[group, "action_mask"].gather(-1, batch[group, "action"].unsqueeze(-1)).all()


def test_actions_of_a_box(tmp_path):
    made, _ = experiment(benchmarl_task(TRACKING), IppoConfig, tmp_path)
    assert made.continuous_actions


def test_infos_are_logged_as_means(tmp_path):
    _, batches = experiment(benchmarl_task(TAXI), IppoConfig, tmp_path)
    told = GameTask.log_info(batches[0])
    assert set(told) == {f"info/share_{name}" for name in TAXI.regions}
    for name in TAXI.regions:
        assert told[f"info/share_{name}"] == pytest.approx(
            batches[0]["next", "info", f"share_{name}"].mean().item()
        )
    assert GameTask.log_info(env_of(benchmarl_task(EPIDEMIC)).rollout(2)) == {}


def test_experiments_are_saved_and_loaded(tmp_path):
    made, _ = experiment(benchmarl_task(EPIDEMIC), IppoConfig, tmp_path, checkpoint_at_end=True)
    (checkpoint,) = made.folder_name.glob("checkpoints/*.pt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SyncDataCollector has been deprecated")
        loaded = Experiment.reload_from_file(str(checkpoint))
    assert loaded.task == made.task
    for ours, theirs in zip(made.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_the_example_learns():
    """The equilibrium of the epidemic earns -7.0; what the taxis could earn is not known."""
    found = example.main()
    assert set(found) == {(game, algorithm) for game in ("A-SIS", "A-Taxi") for algorithm in ("Ippo", "Mappo")}
    for (game, _), (at_random, trained) in found.items():
        assert trained > (at_random + 3.0 if game == "A-SIS" else 4.0 * at_random)
