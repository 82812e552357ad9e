"""Rewards, observations and parameters that are not finite are refused, and nothing is learned from them."""

import copy
import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize
from torch import nn

import mfenvs
from baselines import PPO, IndependentPPO, RiskAversePPO
from baselines.neural.policy_and_value import PolicyAndValue
from mfenvs import FiniteGame, rule, share
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.evaluation import evaluate
from mfenvs.wrappers.risk import RiskAverseVecEnv

AGENTS, HORIZON, WORLDS = 5, 4, 2
SMALL = {"seed": 3, "n_steps": 6, "batch_size": 20, "n_epochs": 2, "device": "cpu"}
SMALL |= {"policy_kwargs": {"net_arch": [8]}}


@dataclasses.dataclass(kw_only=True)
class Alone(FiniteGame):
    """An agent earns its share of the others who did the same, over itself: 0/0 where nobody else did."""

    n_agents: int = 2
    horizon: int = HORIZON
    agent_dtype: ClassVar[np.dtype] = np.dtype([("unused", np.float32)])
    n_states = 1
    n_actions = 4

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        s = share(world, action)
        return s / s


class Spoiled(VecEnvWrapper):
    """Puts a number in the place of one reward or one observation, in one step."""

    def __init__(self, env, what, value, step, row):
        super().__init__(env)
        self.game, self.observe = env.game, env.observe
        self.what, self.value, self.spoiled, self.row, self.n_done = what, value, step, row, 0

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        if self.n_done == self.spoiled:
            if self.what == "reward":
                rewards[self.row] = self.value
            elif self.what == "observation":
                observations[self.row, 1] = self.value
            else:
                infos = [dict(info) for info in infos]
                infos[self.row]["terminal_observation"] = np.full(observations.shape[1], self.value, np.float32)
        self.n_done += 1
        return observations, rewards, dones, infos


def epidemic(**kwargs):
    return mfenvs.vec_env("Epidemic-v0", WORLDS, n_agents=AGENTS, horizon=HORIZON, **kwargs)


def state_of(model):
    optimizer = model.policy.optimizer.state_dict()["state"]
    return copy.deepcopy([model.policy.state_dict(), optimizer, model._n_updates])


def assert_unchanged(model, before):
    now = state_of(model)
    assert now[2] == before[2]
    assert now[1].keys() == before[1].keys()
    for mine, theirs in ((now[0], before[0]), *((now[1][key], before[1][key]) for key in before[1])):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture(params=["compiled", "autograd"])
def path(request, monkeypatch):
    """Both ways in which networks are run and trained."""
    if request.param == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
        monkeypatch.setattr(IndependentPPO, "_build_networks", lambda self: None)
    return request.param


# Rewards and observations.


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_a_reward_of_a_game_that_is_not_a_number_is_named(trainer, path):
    """Two agents seldom do the same: the first of them who is alone is agent 0, and its action is told."""
    model = trainer("MlpPolicy", Alone(), **SMALL)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan of agent 0 in world 0 .* action \d"):
        model.learn(1000)
    assert_unchanged(model, before)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("step", "row", "time", "of_rollout"), [(0, 0, 0, 0), (7, 8, 3, 1), (17, 4, 1, 5)])
def test_one_reward_of_many_is_found(trainer, value, step, row, time, of_rollout):
    """In steps of the run; a rollout has 6 steps, an episode 4. Row 8 of 10 is agent 3 in world 1."""
    env = Spoiled(epidemic(), "reward", value, step, row)
    model = trainer("MlpPolicy", env, **SMALL)
    agent, world = row % AGENTS, row // AGENTS
    where = f"got {value:g} of agent {agent} in world {world} at time {time} "
    # On an environment of others' making the time is known once an episode has begun in the rollout.
    if step == 7:
        where = f"got {value:g} of agent {agent} in world {world} in step 1 of the rollout"
    good = step // 6 * 60
    model.learn(max(good, 1) if good else 0)
    before = state_of(model)
    with pytest.raises(ValueError, match=where) as error:
        model.learn(1000, reset_num_timesteps=False)
    assert f"step {of_rollout} of the rollout" in str(error.value)
    assert_unchanged(model, before)


def test_the_time_is_known_where_a_rollout_begins_within_an_episode(monkeypatch):
    """Steps 6 to 11 of the run are a rollout; step 7 is the last of an episode of 4."""
    env = epidemic()
    advance, steps = env._advance, []

    def spoiled(actions):
        rewards = advance(actions)
        steps.append(1)
        if len(steps) == 8:
            rewards[6] = np.nan
        return rewards

    monkeypatch.setattr(env, "_advance", spoiled)
    model = PPO("MlpPolicy", env, **SMALL).learn(60)
    before, observations = state_of(model), model._last_obs.copy()
    with pytest.raises(ValueError, match=r"agent 1 in world 1 at time 3 \(step 1 of the rollout\)"):
        model.learn(60, reset_num_timesteps=False)
    assert_unchanged(model, before)
    # The environment is where the rollout began: what went wrong once is done again.
    assert (model.num_timesteps, env.engine.time) == (60, 2)
    assert_array_equal(model._last_obs, observations)
    whole = PPO("MlpPolicy", epidemic(), **SMALL).learn(120)
    model.learn(60, reset_num_timesteps=False)
    assert_unchanged(model, state_of(whole))
    assert model.num_timesteps == 120


def test_a_normalised_reward_is_that_of_its_agent():
    """VecNormalize spreads one nan over all."""
    env = VecNormalize(Spoiled(epidemic(), "reward", math.nan, 2, 7))
    with pytest.raises(ValueError, match=r"got nan of agent 2 in world 1 at time 2 .* \[[^\]]*\]\. The networks"):
        PPO("MlpPolicy", env, **SMALL).learn(1000)


@pytest.fixture(params=[True, False], ids=["validated", "unvalidated"])
def validation(request):
    """Whether torch checks distributions: TorchRL, imported by the same program, switches that off."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(request.param)
    yield
    torch.distributions.Distribution.set_default_validate_args(before)


@pytest.mark.usefixtures("validation")
@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
@pytest.mark.parametrize(("step", "time"), [(1, 2), (3, 0), (5, 2)])
def test_an_observation_that_is_not_finite_is_found(trainer, path, step, time):
    """Step 5 is the last of the rollout: what is seen after it gives the value of the rest."""
    model = trainer("MlpPolicy", Spoiled(epidemic(), "observation", math.nan, step, 9), **SMALL)
    before = state_of(model)
    with pytest.raises(
        ValueError, match=r"observations must be finite, got \[.*nan.*\] of agent 4 in world 1.*"
    ) as e:
        model.learn(1000)
    assert f"at time {time} (step {step + 1} of the rollout)" in str(e.value)
    assert_unchanged(model, before)


@pytest.mark.usefixtures("validation")
def test_an_observation_that_is_not_finite_is_found_with_box_actions():
    """A normal distribution about nan can be drawn from, where torch does not check it."""
    env = mfenvs.vec_env("LinearQuadratic-v0", 2, n_agents=AGENTS, horizon=HORIZON)
    model = PPO("MlpPolicy", Spoiled(env, "observation", math.nan, 1, 9), **SMALL)
    with pytest.raises(ValueError, match=r"observations must be finite, got \[.*nan.*\] of agent"):
        model.learn(1000)


def test_a_deviator_is_named_by_its_world(monkeypatch):
    env = RepresentativeVecEnv("Epidemic-v0", None, None, 3, 2, n_agents=AGENTS, horizon=HORIZON)
    advance = env._advance
    monkeypatch.setattr(env, "_advance", lambda actions: advance(actions) * [1, 1, 1, 1, 1, np.nan])
    with pytest.raises(ValueError, match="rewards must be finite, got nan of deviator 1 in world 2 at time 0"):
        PPO("MlpPolicy", env, **SMALL).learn(100)


def test_the_last_observation_of_a_truncated_episode_is_checked():
    env = Spoiled(epidemic(max_episode_steps=3), "terminal", math.inf, 2, 1)
    with pytest.raises(ValueError, match="one that is not at the end of a truncated episode"):
        PPO("MlpPolicy", env, **SMALL).learn(100)


def test_sums_of_rewards_that_overflow_are_refused():
    """Rewards of 3e38 are single-precision numbers; the sum of two is not."""
    env = epidemic()
    env.step_wait = lambda wait=env.step_wait: (lambda o, r, d, i: (o, np.full_like(r, 3e38), d, i))(*wait())
    model = PPO("MlpPolicy", env, **SMALL, gae_lambda=1.0)
    before = state_of(model)
    with pytest.raises(ValueError, match="sums of rewards overflow single precision"):
        model.learn(100)
    assert_unchanged(model, before)


def test_averse_agents_keep_their_budgets_when_rewards_fail(monkeypatch):
    """The nan is paid in the last step of an episode, whose losses move the budgets."""
    game = mfenvs.make("EnergyMarket-v0", n_agents=6, horizon=HORIZON, actions="discrete")
    env = RiskAverseVecEnv(game, WORLDS)
    model = RiskAversePPO("MlpPolicy", env, **SMALL)
    z, step = model.budget.z.copy(), env.engine.step
    done = []

    def spoiled(actions, rewards=None):
        found = step(actions, rewards)
        done.append(1)
        if len(done) == HORIZON:
            found[1, 2] = np.nan
            env.engine.returns[1, 2] = np.nan
        return found

    monkeypatch.setattr(env.engine, "step", spoiled)
    before = state_of(model)
    with pytest.raises(ValueError, match="got nan of agent 2 in world 1 at time 3"):
        model.learn(1000)
    assert_unchanged(model, before)
    assert_array_equal(model.budget.z, z)
    assert np.isfinite(evaluate(game, model, n_worlds=2).returns).all()


# Updates.


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_a_learning_rate_that_is_too_large_is_named_and_leaves_the_networks(trainer, path):
    model = trainer("MlpPolicy", epidemic(), learning_rate=1e-3, **SMALL).learn(120)
    before = state_of(model)
    model.lr_schedule = lambda _: 1e30
    with pytest.raises(ValueError, match=r"the update is not finite .* learning_rate is 1e\+30") as error:
        model.learn(60, reset_num_timesteps=False)
    assert "stay as they were" in str(error.value)
    assert_unchanged(model, before)
    assert model.num_timesteps == 120
    model.lr_schedule = lambda _: 1e-3
    model.learn(60, reset_num_timesteps=False)
    assert all(torch.isfinite(value).all() for value in model.policy.state_dict().values())


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_a_first_update_that_fails_leaves_no_moments(trainer):
    model = trainer("MlpPolicy", epidemic(), learning_rate=1e30, **SMALL)
    before = state_of(model)
    assert before[1] == {}
    with pytest.raises(ValueError, match="the update is not finite"):
        model.learn(1000)
    assert_unchanged(model, before)


def test_parameters_that_overflow_only_when_they_act_are_named(path):
    """One step an update: parameters of 1e30 are finite, what the network makes of them is not."""
    networks = {"net_arch": [8], "activation_fn": nn.LeakyReLU}
    settings = {**SMALL, "batch_size": 1000, "n_epochs": 1, "policy_kwargs": networks}
    model = PPO("MlpPolicy", epidemic(), learning_rate=1e30, **settings)
    with pytest.raises(ValueError, match=r"outputs overflow single precision: .*parameters as [1-9].*e\+\d\d"):
        model.learn(1000)


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
def test_rewards_that_are_too_large_to_square_are_named(trainer, path):
    """Gradients whose norm overflows are clipped to zero: without an error nothing would be learned."""
    env = epidemic()
    env.step_wait = lambda wait=env.step_wait: (lambda o, r, d, i: (o, np.full_like(r, 1e30), d, i))(*wait())
    model = trainer("MlpPolicy", env, **SMALL)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"rewards that are too large: value targets of [0-9.]*e\+30"):
        model.learn(100)
    assert_unchanged(model, before)


def test_an_interrupted_update_leaves_the_networks(monkeypatch):
    model = PPO("MlpPolicy", epidemic(), **SMALL).learn(60)
    before = state_of(model)
    step, steps = model.policy.optimizer.step, []

    def interrupted():
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr(model.policy.optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.learn(60, reset_num_timesteps=False)
    assert_unchanged(model, before)
    assert model.num_timesteps == 60


def test_box_actions_are_checked_too():
    game = mfenvs.make("EnergyMarket-v0", n_agents=4, horizon=4)
    model = PPO("UnitBoxPolicy", game, learning_rate=1e30, **SMALL)
    before = state_of(model)
    with pytest.raises(ValueError, match="not finite"):
        model.learn(1000)
    assert_unchanged(model, before)


# Loading.


@pytest.mark.parametrize("trainer", [PPO, IndependentPPO])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["parameters", "moments"])
def test_a_model_that_is_not_finite_is_not_loaded(tmp_path, trainer, value, what):
    model = trainer("MlpPolicy", epidemic(), **SMALL).learn(60)
    first = next(model.policy.parameters())
    place = first.data if what == "parameters" else model.policy.optimizer.state[first]["exp_avg"]
    place.view(-1)[3] = value
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="parameters must be finite, those of policy"):
        trainer.load(tmp_path / "model", env=epidemic(), device="cpu")


def test_parameters_that_are_set_are_checked_before_any_is_changed():
    model = PPO("MlpPolicy", epidemic(), **SMALL)
    before, given = state_of(model), copy.deepcopy(model.get_parameters())
    given["policy"]["action_net.bias"][1] = math.nan
    given["policy"]["value_net.bias"][0] = 5.0
    with pytest.raises(ValueError, match=r"those of policy\.action_net\.bias are not"):
        model.set_parameters(given)
    assert_unchanged(model, before)


def test_observations_without_axes_are_no_obstacle():
    """States of FrozenLake are whole numbers: one a row, and not a vector."""
    model = PPO("MlpPolicy", "FrozenLake-v1", **{**SMALL, "n_steps": 8})
    with torch.no_grad():
        model.policy.action_net.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"must be finite, those of action_net\.weight are not"):
        model.learn(8)


def test_a_network_that_was_spoiled_by_hand_is_named(path):
    model = PPO("MlpPolicy", epidemic(), **SMALL)
    with torch.no_grad():
        model.policy.mlp_extractor.value_net[0].weight[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"must be finite, those of mlp_extractor.value_net.0.weight are not"):
        model.learn(60)
