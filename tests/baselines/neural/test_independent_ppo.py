"""Independent PPO against N learners written plainly with torch, each on its own rows."""

import contextlib
import copy

import gymnasium
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from tastes import OwnTastes
from torch import nn

import mfenvs
from baselines import IndependentPPO
from baselines.neural.hyper_parameters import TABLE_2
from baselines.neural.independent_networks import IndependentNetworks
from baselines.neural.independent_policies import IndependentPolicies
from baselines.neural.ppo import PPO
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.evaluation import evaluate
from mfenvs.wrappers.symmetrise import shared_policy

N, WORLDS, STEPS = 5, 2, 7
ROWS = STEPS * WORLDS
NETS = {"pi": [7, 9], "vf": [5]}
SMALL = {"n_steps": STEPS, "batch_size": 4 * N + 1, "n_epochs": 3, "device": "cpu"}


def players(n_worlds=WORLDS, n_agents=N, **kwargs):
    """Rewards are hardly ever equal, episodes end within rollouts."""
    return mfenvs.vec_env(
        "RockPaperScissors-v0", n_worlds, n_agents=n_agents, horizon=5, observe=["mean-field"], **kwargs
    )


def small(env=None, seed=3, net_arch=NETS, activation_fn=nn.LeakyReLU, **kwargs):
    env = players() if env is None else env
    chosen = {"net_arch": net_arch, "activation_fn": activation_fn}
    return IndependentPPO("MlpPolicy", env, seed=seed, policy_kwargs=chosen, **{**SMALL, **kwargs})


class Witness(BaseCallback):
    """What the environment returned in the last rollout."""

    def _on_rollout_start(self):
        self.rewards, self.dones, self.cut = [], [], []

    def _on_step(self):
        self.rewards.append(np.copy(self.locals["rewards"]))
        self.dones.append(self.locals["dones"])
        infos = self.locals["infos"]
        self.cut.append([info.get("TimeLimit.truncated") and info["terminal_observation"] for info in infos])
        return True


def begun(model):
    """A model that can collect and train, and a callback that saw what it collected."""
    model._setup_learn(10_000)
    witness = Witness()
    witness.init_callback(model)
    return model, witness


def collect(model, witness):
    assert model.collect_rollouts(model.env, witness, model.rollout_buffer, model.n_steps)


def collected(**kwargs):
    model, witness = begun(small(**kwargs))
    collect(model, witness)
    return model


def perceptron(row, layers, activation):
    modules = []
    for n_in, n_out, weights, bias in layers:
        linear = nn.Linear(n_in, n_out)
        linear.weight.data = row[weights : weights + n_in * n_out].reshape(n_in, n_out).t().clone()
        linear.bias.data = row[bias : bias + n_out].clone()
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


class Learner:
    """PPO of one agent, as in the paper and in SB3, with autograd and ``torch.optim.Adam``."""

    def __init__(self, model, agent):
        self.model, self.agent = model, agent
        policies = model.policy
        row, activation = policies.flat.detach()[agent], policies.activation_fn
        self.policy = perceptron(row, policies.policy_layers, activation)
        self.value = perceptron(row, policies.value_layers, activation)
        self.parameters = [*self.policy.parameters(), *self.value.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=1.0, eps=1e-5)

    def values(self, observations):
        with torch.no_grad():
            return self.value(torch.as_tensor(observations)).numpy()[..., 0]

    def advantages(self, world, rollout, witness, last_observations, gamma, lam):
        """Step by step, from the definition: the sum of discounted errors until the episode's end."""
        row = world * N + self.agent
        values = self.values(rollout.observations[:, row])
        following = [*values[1:], self.values(last_observations[row])]
        errors = []
        for step in range(STEPS):
            done, cut = witness.dones[step][row], witness.cut[step][row]
            later = 0.0 if done else following[step]
            if cut is not None and cut is not False:
                later = self.values(cut)
            errors.append(witness.rewards[step][row] + gamma * later - values[step])
        found = []
        for step in range(STEPS):
            total, weight = 0.0, 1.0
            for later in range(step, STEPS):
                total += weight * errors[later]
                weight *= gamma * lam
                if witness.dones[later][row]:
                    break
            found.append(total)
        return np.array(found), np.array(found) + values

    def update(self, observations, actions, old, advantages, returns, orders, size, rate):
        self.adam.param_groups[0]["lr"] = rate
        for order in orders:
            for first in range(0, ROWS, size):
                rows = order[first : first + size]
                a = advantages[rows]
                if self.model.normalize_advantage and len(rows) > 1:
                    a = (a - a.mean()) / (a.std() + 1e-8)
                law = torch.distributions.Categorical(logits=self.policy(observations[rows]))
                ratio = torch.exp(law.log_prob(actions[rows]) - old[rows])
                clipped = torch.clamp(ratio, 0.8, 1.2)
                loss = (
                    -torch.min(a * ratio, a * clipped).mean()
                    - self.model.ent_coef * law.entropy().mean()
                    + self.model.vf_coef * ((self.value(observations[rows])[:, 0] - returns[rows]) ** 2).mean()
                )
                self.adam.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters, self.model.max_grad_norm)
                self.adam.step()


def rows_of(agent, tensor):
    """An agent's rows in all worlds, by step, then by world."""
    return tensor[:, agent::N].flatten(0, 1)


def assert_trained_like_learners(
    compiled, activation=nn.LeakyReLU, batch_size=4 * N + 1, size=4, env=None, updates=2, **kwargs
):
    # Large rates and gradients to be clipped, so that every part of the update can be seen in the result.
    model, witness = begun(
        small(
            env,
            activation_fn=activation,
            learning_rate=0.02,
            batch_size=batch_size,
            max_grad_norm=0.3,
            gamma=0.9,
            **kwargs,
        )
    )
    start = model.policy.flat.detach().clone()
    learners = [Learner(model, agent) for agent in range(N)]
    drawn = []
    draw = model._draw_orders
    model._draw_orders = lambda n_rows: drawn.append(draw(n_rows)) or drawn[-1]
    for _ in range(updates):
        collect(model, witness)
        rollout = copy.deepcopy(model.rollout_buffer)
        model._networks = model._networks if compiled else None
        model.train()
        orders = drawn.pop()
        assert orders.shape == (N, 3, ROWS)
        assert (orders.sort(dim=-1).values == torch.arange(ROWS)).all()
        assert len(orders.flatten(0, 1).unique(dim=0)) == N * 3
        for agent, learner in enumerate(learners):
            by_world = [
                learner.advantages(world, rollout, witness, model._last_obs, 0.9, 0.95) for world in range(WORLDS)
            ]
            advantages, returns = torch.tensor(np.array(by_world), dtype=torch.float32).permute(1, 2, 0)
            observations = rows_of(agent, rollout.observations)
            actions = rows_of(agent, rollout.actions)
            old = torch.distributions.Categorical(logits=learner.policy(observations)).log_prob(actions).detach()
            assert_allclose(rows_of(agent, rollout.advantages), advantages.flatten(), atol=1e-5)
            assert_allclose(rows_of(agent, rollout.value_targets), returns.flatten(), atol=1e-5)
            assert_allclose(rows_of(agent, rollout.log_probs), old, atol=1e-5)
            learner.update(
                observations, actions, old, advantages.flatten(), returns.flatten(), orders[agent], size, 0.02
            )
    steps = updates * 3 * -(-ROWS // size)
    state = model.policy.optimizer.state[model.policy.flat]
    assert float(state["step"]) == steps == float(learners[0].adam.state[learners[0].parameters[0]]["step"])
    for agent, learner in enumerate(learners):
        for mine, theirs in zip(Learner(model, agent).parameters, learner.parameters, strict=True):
            assert_allclose(mine.detach(), theirs.detach(), atol=2e-5)
        assert (model.policy.flat.detach()[agent] - start[agent]).abs().max() > 0.05


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("compiled", [True, False])
def test_an_update_is_that_of_separate_learners(compiled, activation):
    assert_trained_like_learners(compiled, activation)


@pytest.mark.parametrize("compiled", [True, False])
def test_so_it_is_with_last_minibatches_of_one_row_and_plain_advantages(compiled):
    """14 rows in minibatches of 13; a single row is not normalised."""
    assert_trained_like_learners(compiled, batch_size=13 * N, size=13, updates=1)
    assert_trained_like_learners(compiled, batch_size=N, size=1, normalize_advantage=False, updates=1)


@pytest.mark.parametrize("net_arch", [{"pi": [], "vf": [6, 3, 4]}, {"pi": [5], "vf": []}])
def test_so_it_is_with_other_depths(net_arch):
    assert_trained_like_learners(True, net_arch=net_arch, updates=1)


def test_where_episodes_are_cut_each_agent_continues_with_its_own_value():
    assert_trained_like_learners(True, env=players(max_episode_steps=3))
    assert_trained_like_learners(False, env=VecMonitor(players(max_episode_steps=3)))


class OneRowCut(VecMonitor):
    """Cuts a single row at every step: its last observation is that of the step."""

    def step_wait(self):
        observations, rewards, dones, infos = super().step_wait()
        dones, infos = np.zeros_like(dones), [{} for _ in infos]
        dones[7] = True
        infos[7] = {"TimeLimit.truncated": True, "terminal_observation": observations[7]}
        return observations, rewards, dones, infos


def test_where_one_row_is_cut_it_is_its_agent_that_continues():
    assert_trained_like_learners(True, env=OneRowCut(players()), updates=1)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_agent_whose_update_is_not_finite_is_named(compiled):
    model = collected()
    before = model.policy.flat.detach().clone()
    model.rollout_buffer.advantages[3, 2 + N] = np.inf
    model._networks = model._networks if compiled else None
    with pytest.raises(ValueError, match=r"the update is not finite \(flat of agent 2\)"):
        model.train()
    assert torch.equal(model.policy.flat, before)


@pytest.mark.parametrize("compiled", [True, False])
def test_agents_learn_from_their_own_rows_only(compiled):
    trained = []
    for changes in (False, True):
        model = collected()
        if changes:
            rows = slice(2, None, N)
            model.rollout_buffer.advantages[:, rows] *= torch.linspace(-1, 1, STEPS)[:, None]
            model.rollout_buffer.value_targets[:, rows] += 1.0
        model._networks = model._networks if compiled else None
        model.train()
        trained.append(model.policy.flat.detach())
    same = (trained[0] == trained[1]).all(dim=1)
    assert same.tolist() == [True, True, False, True, True]


def test_compiled_and_differentiated_updates_log_the_same():
    logged, moments = [], []
    for compiled in (True, False):
        model = collected(learning_rate=0.02)
        model._networks = model._networks if compiled else None
        model.train()
        logged.append(model.logger.name_to_value)
        moments.append(model.policy.optimizer.state[model.policy.flat])
    figures = {name for name in logged[0] if name.startswith("train/")}
    names = (
        "entropy_loss policy_gradient_loss value_loss approx_kl clip_fraction loss explained_variance clip_range"
    )
    assert figures == {f"train/{name}" for name in [*names.split(), "learning_rate", "n_updates"]}
    for name in figures:
        assert logged[0][name] == pytest.approx(logged[1][name], rel=1e-3, abs=1e-5)
    assert logged[0]["train/clip_fraction"] > 0
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert_allclose(moments[0][name], moments[1][name], atol=1e-5)


def test_the_log_is_that_of_the_losses():
    """With a rate of 0 every pass is the same: what is logged is that of the rollout."""
    model = collected(learning_rate=0.0, normalize_advantage=False)
    rollout = model.rollout_buffer
    values, targets = rollout.values, rollout.returns
    with torch.no_grad():
        entropy = float(model.policy.get_distribution(rollout.observations.flatten(0, 1)).entropy().mean())
    model.train()
    logged = model.logger.name_to_value
    loss = -float(rollout.advantages.mean())
    assert logged["train/policy_gradient_loss"] == pytest.approx(loss, rel=1e-4)
    assert logged["train/value_loss"] == pytest.approx(((values - targets) ** 2).mean(), rel=1e-4)
    assert logged["train/entropy_loss"] == pytest.approx(-entropy, rel=1e-4)
    total = loss - 6e-3 * entropy + 0.9 * float(((values - targets) ** 2).mean())
    assert logged["train/loss"] == pytest.approx(total, rel=1e-4)
    assert logged["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert logged["train/clip_fraction"] == 0.0


def test_networks_begin_as_those_of_stable_baselines():
    model = small(net_arch={"pi": [4, 9], "vf": [12]})
    flat = model.policy.flat.detach()
    for layers, head in ((model.policy.policy_layers, 0.01), (model.policy.value_layers, 1.0)):
        gains = [2**0.5] * (len(layers) - 1) + [head]
        for gain, (n_in, n_out, weights, bias) in zip(gains, layers, strict=True):
            for row in flat:
                w = row[weights : weights + n_in * n_out].reshape(n_in, n_out)
                gram = w.t() @ w if n_in >= n_out else w @ w.t()
                assert_allclose(gram, gain**2 * torch.eye(min(n_in, n_out)), atol=1e-5)
                assert (row[bias : bias + n_out] == 0).all()
            drawn = flat[:, weights]
            assert len(drawn.unique()) == N
            assert drawn.min() < 0 < drawn.max()
    assert torch.equal(flat, small(net_arch={"pi": [4, 9], "vf": [12]}).policy.flat)
    assert not torch.equal(flat, small(net_arch={"pi": [4, 9], "vf": [12]}, seed=4).policy.flat)


def test_actions_are_drawn_from_the_laws():
    """One agent in 4000 worlds, all of which observe the same: the frequencies of its actions."""
    n = 4000
    model, witness = begun(small(players(n), n_steps=1, n_epochs=1))
    model.policy.flat.data *= 3.0
    observations = np.tile(model._last_obs[:N], (n, 1))
    model._last_obs = observations
    laws = model.action_probabilities(observations[:N])
    collect(model, witness)
    actions = model.rollout_buffer.actions.reshape(n, N).numpy()
    found = np.stack([(actions == action).mean(axis=0) for action in range(3)], axis=1)
    assert np.abs(laws - 1 / 3).max() > 0.005
    assert_allclose(found, laws, atol=4 * 0.5 / np.sqrt(n))


def test_each_row_gets_the_law_of_its_agent():
    model = small()
    model.policy.flat.data += torch.randn(model.policy.flat.shape, generator=torch.Generator().manual_seed(0))
    observations = np.random.default_rng(0).random((3 * N, *model.observation_space.shape)).astype(np.float32)
    learners = [Learner(model, agent) for agent in range(N)]

    def expected(rows, agents):
        with torch.no_grad():
            return np.stack(
                [learners[i].policy(torch.from_numpy(x)).softmax(-1) for x, i in zip(rows, agents, strict=True)]
            )

    whole = expected(observations, np.arange(3 * N) % N)
    assert_allclose(model.action_probabilities(observations), whole, atol=1e-6)
    agents = np.array([3, 0, 3, 3, 1, 4, 0])
    found = model.action_probabilities(observations[:7], agents)
    assert_allclose(found, expected(observations[:7], agents), atol=1e-6)
    average = np.mean([expected(observations[:2], [agent] * 2) for agent in range(N)], axis=0)
    assert_allclose(shared_policy(model).action_probabilities(observations[:2]), average, atol=1e-6)
    assert model.n_agents == N
    with pytest.raises(ValueError, match="multiple of n_agents = 5 rows, got 7"):
        model.action_probabilities(observations[:7])
    with pytest.raises(ValueError, match=r"integers in \[0, 4\]"):
        model.action_probabilities(observations[:1], np.array([5]))


def test_observations_are_checked_and_normalised_as_those_of_ppo():
    env = VecNormalize(players(), norm_reward=False)
    model = small(env).learn(STEPS * WORLDS * N)
    raw = env.get_original_obs()
    rows = torch.from_numpy(env.normalize_obs(raw))
    with torch.no_grad():
        expected = model.policy.get_distribution(rows).distribution.probs
    assert_allclose(model.action_probabilities(raw), expected, atol=1e-6)
    assert np.abs(rows.numpy() - raw).max() > 0.1
    with pytest.raises(ValueError, match=r"observations must have shape \(n_rows, .*got \(10, 1\)"):
        model.action_probabilities(raw[:, :1])


def test_predictions_are_of_whole_worlds():
    model = small()
    model.policy.flat.data *= 5.0
    observations = model.env.reset()
    actions, state = model.predict(observations, deterministic=True)
    assert actions.shape == (WORLDS * N,)
    assert state is None
    assert_allclose(actions, model.action_probabilities(observations).argmax(axis=1))
    drawn = np.stack([model.predict(observations)[0] for _ in range(20)])
    assert drawn.std(axis=0).max() > 0
    assert model.policy(torch.from_numpy(observations))[1].shape == (WORLDS * N, 1)
    with pytest.raises(ValueError, match="multiple of n_agents"):
        model.predict(observations[0])


def test_other_actions_are_evaluated():
    model = small()
    observations = torch.from_numpy(model.env.reset())
    actions = torch.arange(WORLDS * N) % 3
    values, log_probs, entropies = model.policy.evaluate_actions(observations, actions)
    laws = model.action_probabilities(observations.numpy())
    assert values.shape == (WORLDS * N, 1)
    assert_allclose(log_probs.detach(), np.log(laws[np.arange(len(laws)), actions]), atol=1e-6)
    assert_allclose(entropies.detach(), -(laws * np.log(laws)).sum(axis=1), atol=1e-6)


def test_each_agent_learns_what_it_wants():
    game = OwnTastes(horizon=16)
    nets = {"net_arch": [16]}
    model = IndependentPPO(
        "MlpPolicy", game, learning_rate=0.02, batch_size=96, seed=0, device="cpu", policy_kwargs=nets
    )
    assert evaluate(game, model).mean_return.value < 0.5 * game.horizon
    model.learn(40 * 12 * 16)
    found = evaluate(game, model)
    assert found.returns.mean(axis=0).min() > 0.9 * game.horizon
    shared = evaluate(game, shared_policy(model)).mean_return.value
    assert shared < 0.5 * game.horizon


class SavesAt(BaseCallback):
    def __init__(self, call, path):
        super().__init__()
        self.call, self.path = call, path

    def _on_step(self):
        if self.n_calls == self.call:
            self.model.save(self.path)
        return True


def state_of(model):
    return {**model.policy.state_dict(), **model.policy.optimizer.state[model.policy.flat]}


def assert_same(a, b):
    one, other = state_of(a), state_of(b)
    assert one.keys() == other.keys() == {"flat", "step", "exp_avg", "exp_avg_sq"}
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("call", [2 * STEPS, 2 * STEPS + 3])
def test_a_run_goes_on_as_if_it_had_not_been_stopped(tmp_path, call):
    update = STEPS * WORLDS * N
    random_state = torch.get_rng_state()
    whole = small().learn(4 * update, callback=SavesAt(call, tmp_path / "run.zip"))
    loaded = IndependentPPO.load(tmp_path / "run.zip", env=players(), device="cpu")
    assert loaded.num_timesteps % update == 0
    assert loaded.num_timesteps < call * WORLDS * N
    loaded.learn(4 * update - loaded.num_timesteps, reset_num_timesteps=False)
    assert_same(whole, loaded)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_what_is_saved_plays_without_an_environment(tmp_path):
    model = small().learn(STEPS * WORLDS * N)
    model.save(tmp_path / "run")
    loaded = IndependentPPO.load(tmp_path / "run.zip", device="cpu")
    assert_same(model, loaded)
    assert loaded.n_agents == N
    assert loaded.observe == model.observe
    observations = model.env.reset()
    assert_allclose(loaded.action_probabilities(observations), model.action_probabilities(observations))
    model.policy.save(tmp_path / "policy.pt")
    policy = type(model.policy).load(tmp_path / "policy.pt", device="cpu")
    assert torch.equal(policy.flat, model.policy.flat)
    more_worlds = IndependentPPO.load(tmp_path / "run.zip", env=players(3), device="cpu")
    more_worlds.learn(3 * N * STEPS)
    with pytest.raises(ValueError, match="5 agents, as many as there are policies, got 10"):
        IndependentPPO.load(tmp_path / "run.zip", env=players(1, n_agents=10), device="cpu")
    with pytest.raises(ValueError, match="5 agents, as many as there are policies, got 10"):
        model.set_env(players(1, n_agents=10))
    model.set_env(players())
    model.learn(1)


def test_defaults_are_the_papers():
    model = IndependentPPO("MlpPolicy", mfenvs.make("Epidemic-v0", n_agents=3), seed=0, device="cpu")
    assert model.n_steps == 20
    for name in ("batch_size", "n_epochs", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm"):
        assert getattr(model, name) == TABLE_2[name]
    assert model.policy.net_arch == TABLE_2["policy_kwargs"]["net_arch"]
    assert model.policy.activation_fn is nn.LeakyReLU
    assert "n_agents" not in TABLE_2["policy_kwargs"]
    assert isinstance(model, PPO)
    settings = model._settings(n_rows=20, clip_range=0.2)
    assert settings.minibatch_size == 20
    assert settings.learning_rate == 2.5e-4


def test_minibatches_share_the_batch_among_the_agents():
    model = IndependentPPO(
        "MlpPolicy", mfenvs.make("Epidemic-v0", n_agents=1000), policy_kwargs={"net_arch": [4]}, device="cpu"
    )
    assert model._settings(n_rows=128, clip_range=0.2).minibatch_size == 16
    model.batch_size = 1500
    assert model._settings(n_rows=128, clip_range=0.2).minibatch_size == 2
    model.normalize_advantage = False
    assert model._settings(n_rows=128, clip_range=0.2).minibatch_size == 1


@contextlib.contextmanager
def flushing(on):
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def flushes():
    return float(torch.full((1,), 2e-38) * 0.1) == 0.0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the processor does not flush denormals")
@pytest.mark.parametrize("before", [True, False])
def test_denormals_are_zeros_in_updates_only(monkeypatch, before):
    model = collected()
    seen = []
    update = IndependentNetworks.update
    monkeypatch.setattr(IndependentNetworks, "update", lambda *args: seen.append(flushes()) or update(*args))
    with flushing(before):
        model.train()
        assert seen == [True]
        assert flushes() is before


@pytest.mark.parametrize("option", [{"target_kl": 0.01}, {"clip_range_vf": 0.2}])
def test_options_of_the_shared_update_are_refused(option):
    with pytest.raises(ValueError, match="supports neither target_kl nor clip_range_vf"):
        small(**option)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="unsupported activation ELU"):
        small(activation_fn=nn.ELU)
    with pytest.raises(TypeError, match="policy must be 'MlpPolicy' or IndependentPolicies"):
        IndependentPPO(PPO.policy_aliases["MlpPolicy"], players(), **SMALL)
    spaces = players().observation_space, players().action_space
    with pytest.raises(ValueError, match="use_sde must be False"):
        IndependentPolicies(*spaces, lambda _: 1.0, n_agents=2, use_sde=True)
    with pytest.raises(TypeError, match="need observations of a Box, got Discrete"):
        IndependentPolicies(gymnasium.spaces.Discrete(2), spaces[1], lambda _: 1.0, n_agents=2)
    with pytest.raises(TypeError, match="need discrete actions, got Box"):
        IndependentPolicies(spaces[0], spaces[0], lambda _: 1.0, n_agents=2)
    with pytest.raises(TypeError, match="ortho_init"):
        IndependentPPO("MlpPolicy", players(), policy_kwargs={"ortho_init": False}, **SMALL)


def test_other_environments_are_refused():
    with pytest.raises(TypeError, match="env must be a game or a VecEnv whose rows are all agents"):
        IndependentPPO("MlpPolicy", make_vec_env("CartPole-v1", 2), **SMALL)
    with pytest.raises(TypeError, match="env must be a VecEnv, a game or the name of a registered one, got None"):
        IndependentPPO("MlpPolicy", **SMALL)
    deviators = RepresentativeVecEnv("RockPaperScissors-v0", n_agents=2, n_worlds=4)
    with pytest.raises(TypeError, match="rows are all agents of a game"):
        IndependentPPO("MlpPolicy", deviators, **SMALL)
