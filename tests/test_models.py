"""Models of Stable-Baselines3 and sb3-contrib as policies: played on what they were trained on."""

import pickle
import re

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import supersuit
import torch
from numpy.testing import assert_allclose, assert_array_equal
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

import baselines
import mfenvs
from mfenvs import Engine, deviation_gain, evaluate, make, tabulate, vec_env
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.api.vector_env_as_vec_env import VectorEnvAsVecEnv
from mfenvs.play import Player
from mfenvs.wrappers.rewards import ScaledRewards

GAME = make("Epidemic-v0", n_agents=5, horizon=4)
MASKED = make("EnergyMarket-v0", actions="discrete", n_agents=9, horizon=4, n_days=1, weather_sd=0.0)
SMALL = {"n_steps": 4, "batch_size": 4, "n_epochs": 1, "device": "cpu"}


def stock_ppo(env=None):
    """A network far from uniform."""
    torch.manual_seed(0)
    model = stable_baselines3.PPO("MlpPolicy", vec_env(GAME) if env is None else env, **SMALL)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(300)
    return model


def stock_dqn():
    return stable_baselines3.DQN("MlpPolicy", vec_env(GAME), buffer_size=100, seed=0, device="cpu")


def everything_seen(rows):
    """Observations of every time and state, (4, 2, 3), as ``rows(observations)`` has them."""
    seen = [[[s == 0, s == 1, h / 4] for s in range(2)] for h in range(4)]
    return rows(np.array(seen, np.float32).reshape(8, 3)).reshape(4, 2, -1)


def by_hand(model, rows):
    """The law of an actor-critic's actions from its weights, in numpy."""
    with torch.no_grad():
        for layer in model.policy.mlp_extractor.policy_net:
            rows = layer(torch.as_tensor(rows, dtype=torch.float32))
        logits = model.policy.action_net(rows).double().numpy()
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def normalising(norm):
    norm.obs_rms = RunningMeanStd(shape=(3,))
    norm.obs_rms.mean, norm.obs_rms.var = np.array([0.25, -1.0, 0.5]), np.array([0.04, 4.0, 0.25])
    return norm


def test_an_actor_critic_acts_by_the_law_of_its_network():
    model = stock_ppo()
    table = tabulate(GAME, model)
    assert_allclose(table, everything_seen(lambda rows: by_hand(model, rows)), rtol=1e-5)
    assert table.max() > 0.8
    assert_array_equal(evaluate(GAME, model, seed=3).returns, evaluate(GAME, table, seed=3).returns)
    assert_array_equal(evaluate(GAME, model.policy, seed=3).returns, evaluate(GAME, table, seed=3).returns)


def test_a_deviators_network_is_drawn_on_the_populations_numbers():
    model = stock_ppo()
    assert deviation_gain(GAME, tabulate(GAME, model), model, n_worlds=20).value == 0.0


def test_a_value_network_takes_its_best_action():
    model = stock_dqn()
    model.exploration_rate = 1.0

    def best(rows):
        with torch.no_grad():
            q = model.policy.q_net.q_net(torch.as_tensor(rows))
        return np.eye(2)[q.numpy().argmax(axis=1)]

    table = tabulate(GAME, model)
    assert_array_equal(table, everything_seen(best))
    assert_array_equal(evaluate(GAME, model, seed=3).returns, evaluate(GAME, table, seed=3).returns)


@pytest.mark.parametrize("model_class", [stable_baselines3.PPO, baselines.PPO, baselines.IndependentPPO])
def test_observations_are_normalised_as_in_training(model_class):
    model = stock_ppo(normalising(VecNormalize(VecCheckNan(VecMonitor(vec_env(GAME))))))
    if model_class is stable_baselines3.PPO:
        expected = everything_seen(
            lambda rows: by_hand(model, (rows - [0.25, -1.0, 0.5]) / np.sqrt(np.array([0.04, 4.0, 0.25]) + 1e-8))
        )
        assert_allclose(tabulate(GAME, model), expected, rtol=1e-5)
        assert abs(expected - everything_seen(lambda rows: by_hand(model, rows))).max() > 0.1
    else:
        model = model_class("MlpPolicy", normalising(VecNormalize(vec_env(GAME))), seed=0, device="cpu")
        raw = model_class("MlpPolicy", vec_env(GAME), seed=0, device="cpu")
        raw.policy.load_state_dict(model.policy.state_dict())
        agents = (np.arange(5),) if model_class is baselines.IndependentPPO else ()
        rows = np.tile(np.array([1.0, 0.0, 0.5], np.float32), (5, 1))
        shifted = ((rows - [0.25, -1.0, 0.5]) / np.sqrt([0.04, 4.0, 0.25])).astype(np.float32)
        assert_allclose(
            model.action_probabilities(rows, *agents), raw.action_probabilities(shifted, *agents), rtol=1e-4
        )
        table = tabulate(GAME, model)
    table = tabulate(GAME, model)
    assert_array_equal(evaluate(GAME, model, seed=3).returns, evaluate(GAME, table, seed=3).returns)
    assert model.get_vec_normalize_env().obs_rms.mean.tolist() == [0.25, -1.0, 0.5]


class Normalising:
    """Predicts, and has been trained under a VecNormalize."""

    def __init__(self):
        self.seen = []

    def get_vec_normalize_env(self):
        return normalising(VecNormalize(vec_env(GAME)))

    def predict(self, observations):
        self.seen.append(observations)
        return np.zeros(len(observations), int), None


def test_predictions_are_asked_on_normalised_observations():
    policy = Normalising()
    engine = Engine(GAME, 2)
    engine.reset(seed=1)
    Player(GAME, policy).actions(engine)
    raw = engine.observe().reshape(10, 3)
    assert_allclose(policy.seen[0], (raw - [0.25, -1.0, 0.5]) / np.sqrt([0.04, 4.0, 0.25]), rtol=1e-5)


def test_two_normalisations_are_refused():
    model = stock_ppo(VecNormalize(VecNormalize(vec_env(GAME))))
    with pytest.raises(TypeError, match="policy was trained under two VecNormalize, which cannot be rebuilt"):
        evaluate(GAME, model)


def test_a_saved_model_without_its_statistics_is_refused(tmp_path):
    model = stock_ppo(VecNormalize(vec_env(GAME))).learn(20)
    model.save(tmp_path / "model")
    loaded = stable_baselines3.PPO.load(tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"policy was trained under VecNormalize, .* PPO.load\(path, env=VecNormalize"
    ):
        evaluate(GAME, loaded)
    with_them = stable_baselines3.PPO.load(tmp_path / "model", env=model.get_env())
    assert_array_equal(evaluate(GAME, with_them).returns, evaluate(GAME, model).returns)
    plain = stock_ppo().learn(20)
    plain.save(tmp_path / "plain")
    loaded = stable_baselines3.PPO.load(tmp_path / "plain")
    assert_array_equal(evaluate(GAME, loaded).returns, evaluate(GAME, plain).returns)


class Halved(VecEnvWrapper):
    """Shows half of what there is to see."""

    def reset(self):
        return self.venv.reset() / 2

    def step_wait(self):
        observations, *rest = self.venv.step_wait()
        return observations / 2, *rest


class Halving(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return observation / 2


class Doubling(gymnasium.vector.VectorWrapper):
    def step(self, actions):
        observations, *rest = self.env.step(actions)
        return 2 * observations, *rest


def single(wrapper=None):
    env = gymnasium.make("mfenvs/Epidemic-v0", n_agents=5, horizon=4)
    return env if wrapper is None else wrapper(env)


@pytest.mark.parametrize(
    ("make_env", "wrapper"),
    [
        (lambda: Halved(vec_env(GAME)), "Halved"),
        (lambda: VecMonitor(VecNormalize(Halved(vec_env(GAME)))), "Halved"),
        (lambda: VecFrameStack(vec_env(GAME), 2), "VecFrameStack"),
        (lambda: of_supersuit(lambda env: supersuit.delay_observations_v0(env, 1)), "shared_wrapper_parr"),
        (lambda: DummyVecEnv([lambda: single(Halving)]), "Halving"),
        (lambda: SubprocVecEnv([lambda: single(Halving)], start_method="fork"), "ObservationWrapper"),
        (lambda: DummyVecEnv([lambda: single(gymnasium.wrappers.NormalizeObservation)]), "NormalizeObservation"),
        (
            lambda: VectorEnvAsVecEnv(Doubling(mfenvs.vector_env(GAME, autoreset_mode="SameStep"))),
            "Doubling",
        ),
    ],
)
def test_wrappers_that_cannot_be_rebuilt_are_refused(make_env, wrapper):
    env = make_env()
    model = stable_baselines3.PPO("MlpPolicy", env, **SMALL)
    for function in (lambda: evaluate(GAME, model), lambda: deviation_gain(GAME, None, model)):
        with pytest.raises(
            TypeError, match=f"was trained in an environment wrapped in {wrapper}, which may change"
        ):
            function()
    env.close()


def of_supersuit(wrapper=lambda env: env):
    venv = supersuit.pettingzoo_env_to_vec_env_v1(wrapper(mfenvs.parallel_env(GAME)))
    return supersuit.concat_vec_envs_v1(venv, 1, base_class="stable_baselines3")


@pytest.mark.parametrize(
    "make_env",
    [
        lambda: VecMonitor(ScaledRewards(vec_env(GAME), np.ones(5))),
        lambda: VecNormalize(vec_env(GAME), norm_obs=False),
        lambda: single(),
        lambda: single(lambda env: gymnasium.wrappers.ClipReward(env, -1, 1)),
        of_supersuit,
        lambda: of_supersuit(supersuit.clip_reward_v0),
    ],
)
def test_wrappers_that_change_no_observation_are_played_through(make_env):
    model = stable_baselines3.PPO("MlpPolicy", make_env(), **SMALL)
    assert_allclose(tabulate(GAME, model), everything_seen(lambda rows: by_hand(model, rows)), rtol=1e-5)


def test_an_environment_that_a_policy_keeps_for_itself_is_its_own_affair():
    policy = Normalising()
    policy.env = Halved(vec_env(GAME))
    evaluate(GAME, policy, n_worlds=2)


class MaskablePPO:
    """With the ``predict`` of sb3-contrib 2.9: uniform on what is allowed, and remembers what it was asked."""

    def __init__(self, rng=None):
        self.rng, self.masks = np.random.default_rng(0), []

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        self.masks.append(action_masks)
        return (self.rng.random(action_masks.shape) * action_masks).argmax(axis=1), state


def test_masks_reach_the_policies_that_take_them():
    policy = MaskablePPO()
    engine, player = Engine(MASKED, 2), Player(MASKED, policy)
    engine.reset(seed=0)
    while engine.is_playing:
        masks = engine.action_masks()
        assert not masks.all()
        actions = player.actions(engine)
        assert_array_equal(policy.masks[-1], masks.reshape(18, -1))
        assert np.take_along_axis(masks, actions[..., None], axis=2).all()
        engine.step(actions)


def test_masks_reach_deviators():
    policy = MaskablePPO()
    deviation_gain(MASKED, None, policy, agent=3, n_worlds=2)
    engine = Engine(MASKED, 2)
    engine.reset(seed=0)
    assert_array_equal(policy.masks[0], engine.action_masks()[:, 3])
    assert len(policy.masks) == 4


def test_without_masks_everything_is_allowed():
    policy = MaskablePPO()
    evaluate(GAME, policy, n_worlds=2)
    assert all(mask.shape == (10, 2) and mask.all() for mask in policy.masks)


class MaskedNetwork(stable_baselines3.common.policies.ActorCriticPolicy):
    """An actor-critic whose law takes masks, as that of MaskablePPO does."""

    def get_distribution(self, obs, action_masks=None):
        law = super().get_distribution(obs)
        if action_masks is not None:
            hidden = law.distribution.logits.masked_fill(~torch.as_tensor(action_masks), -1e8)
            law = law.proba_distribution(hidden)
        return law


def test_masks_reach_networks():
    model = stable_baselines3.PPO(MaskedNetwork, vec_env(MASKED), **SMALL)
    # A class of the packages: one with a predict of its own is asked for predictions.
    engine, player = Engine(MASKED, 2), Player(MASKED, model)
    engine.reset(seed=0)
    while engine.is_playing:
        masks, actions = engine.action_masks(), player.actions(engine)
        assert np.take_along_axis(masks, actions[..., None], axis=2).all()
        engine.step(actions)


class RecurrentPPO:
    """With the ``predict`` of sb3-contrib 2.9: each row counts its steps, and acts by the parity of the count."""

    def __init__(self):
        self.starts = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.starts.append(episode_start)
        before = np.zeros(len(observation), int) if state is None else state[0]
        now = np.where(episode_start, 0, before + 1)
        return now % 2, (now,)


BY_PARITY = np.eye(2)[np.arange(4) % 2][:, None, :].repeat(2, axis=1)
"""The table of what it does."""


def test_a_memory_lasts_for_an_episode():
    policy = RecurrentPPO()
    expected = evaluate(GAME, BY_PARITY, n_worlds=3, seed=2)
    assert_array_equal(evaluate(GAME, policy, n_worlds=3, seed=2).returns, expected.returns)
    assert [starts.tolist() for starts in policy.starts] == [[True] * 15] + [[False] * 15] * 3


def test_deviators_have_memories_too():
    other = 1.0 - BY_PARITY
    run = Engine(GAME, 6).rollout(other, seed=4, deviators=[2] * 6, deviations=np.stack([BY_PARITY] * 6))
    gain = (run.returns - Engine(GAME, 6).rollout(other, seed=4).returns)[:, 2].mean()
    assert gain != 0
    found = deviation_gain(GAME, other, RecurrentPPO(), agent=2, n_worlds=6, seed=4)
    assert found.value == pytest.approx(gain, rel=1e-12)


def test_a_population_remembers_through_episodes_and_refused_steps():
    recurrent, table = (RepresentativeVecEnv(GAME, policy, agent=0) for policy in (RecurrentPPO(), BY_PARITY))
    for env in (recurrent, table):
        env.seed(0)
        env.reset()
    for _ in range(9):
        with pytest.raises(ValueError, match="must be in"):
            recurrent.step([7])
        recurrent.step([1])
        table.step([1])
        assert_array_equal(recurrent.engine.states, table.engine.states)


def test_a_population_with_a_memory_can_be_pickled():
    env = RepresentativeVecEnv(GAME, RecurrentPPO(), agent=0)
    env.seed(0)
    env.reset()
    env.step([1])
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        assert_array_equal(env.step([1])[0], twin.step([1])[0])
        assert_array_equal(env.engine.states, twin.engine.states)


def test_a_memory_with_a_gap_is_refused():
    engine, player = Engine(GAME), Player(GAME, RecurrentPPO())
    engine.reset(seed=0)
    player.actions(engine)
    for _ in range(2):
        engine.step(np.zeros((1, 5), int))
    with pytest.raises(RuntimeError, match="got time 2 without time 1"):
        Player(GAME, RecurrentPPO()).actions(engine)
    with pytest.raises(
        RuntimeError, match="has a memory and must act in every step of an episode, got time 2 without time 1"
    ):
        player.actions(engine)


def test_a_memory_that_cannot_be_given_back_is_refused():
    class Forgetful:
        def predict(self, observations):
            return np.zeros(len(observations), int), "something"

    with pytest.raises(TypeError, match="predict of policy returns a state, which it must be given back"):
        evaluate(GAME, Forgetful())


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (np.zeros(10, int), TypeError, "predict of policy must return (actions, state), got array("),
        ((np.zeros(3, int), None), ValueError, "predict of policy must return actions of shape (10,), got (3,)"),
    ],
)
def test_what_is_no_prediction(answer, error, message):
    class Wrong:
        def predict(self, observations):
            return answer

    with pytest.raises(error, match=re.escape(message)):
        evaluate(GAME, Wrong(), n_worlds=2)


@pytest.mark.parametrize("policy", [stable_baselines3.PPO, baselines.PPO, RecurrentPPO])
def test_a_class_is_no_policy(policy):
    for function in (evaluate, tabulate):
        with pytest.raises(TypeError, match=r"policy must be .* got <class '"):
            function(GAME, policy)


def test_what_a_model_observed_is_known_from_its_environment_or_asked_for(tmp_path):
    for env in (
        vec_env(GAME, observe="mean-field"),
        VecNormalize(vec_env(GAME, observe="mean-field")),
        gymnasium.make("mfenvs/Epidemic-v0", n_agents=5, horizon=4, observe="mean-field"),
    ):
        model = stable_baselines3.PPO("MlpPolicy", env, **SMALL)
        assert Player(GAME, model).width == 5
    model = stable_baselines3.PPO("MlpPolicy", vec_env(GAME, observe="mean-field"), **SMALL)
    model.save(tmp_path / "model")
    loaded = stable_baselines3.PPO.load(tmp_path / "model")
    message = (
        "policy was trained on observations of shape (5,), but agents observe (3,) with observe=[]: give observe="
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate(GAME, loaded)
    found = evaluate(GAME, loaded, observe="mean-field", seed=1)
    assert_array_equal(found.returns, evaluate(GAME, model, seed=1).returns)


def test_a_model_of_other_actions_is_refused():
    with pytest.raises(ValueError, match=r"trained on observations of shape \(3,\), but agents observe \(4,\)"):
        evaluate(make("RockPaperScissors-v0", n_agents=4), stock_ppo())
    other = stock_ppo()
    other.observation_space = make("RockPaperScissors-v0").observation_space
    with pytest.raises(
        ValueError, match=r"trained to act in Discrete\(2\), but actions of this game are Discrete\(3\)"
    ):
        evaluate(make("RockPaperScissors-v0", n_agents=4), other)
