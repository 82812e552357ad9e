"""The actor-critic: its steps against autograd by hand, its two timescales, saving, and what it learns."""

import math

import numpy as np
import pytest
import torch
from linear_quadratic_games import one, two
from small_ppo import StopAt, assert_same, parameters
from torch import nn

import mfenvs
from baselines import PPO, ActorCritic, WassersteinSchedule
from baselines.continuous.actor_critic.affine_policy import AffinePolicy
from baselines.continuous.actor_critic.feedback import fitted_feedback
from baselines.continuous.linear_quadratic import competitive_equilibrium, deviation_cost

GAME = {"n_agents": 10, "horizon": 4}
NETWORK = {"net_arch": {"pi": [6], "vf": [6]}, "activation_fn": nn.Tanh}
ITERATION = 80
"""Agent-steps of an update: two worlds of ten agents, four steps."""


def made(seed=1, environment=None, rate=None, **kwargs):
    game = mfenvs.vec_env(two(**GAME), 2, observe="type-means") if environment is None else environment
    schedule = WassersteinSchedule(0.01, tau_0=2.0, beta=2.0) if rate is None else rate
    choices = {"critic_learning_rate": 0.02, "policy_kwargs": NETWORK, "batch_size": 32, "n_epochs": 2, **kwargs}
    return ActorCritic("UnitBoxPolicy", game, seed=seed, learning_rate=schedule, device="cpu", **choices)


def kept(model):
    """The optimiser's groups by step: whose parameters have a gradient, and both rates."""
    steps, optimizer = [], model.policy.optimizer
    step = optimizer.step

    def keeping(*arguments):
        groups = optimizer.param_groups
        has_gradient = [any(p.grad is not None for p in group["params"]) for group in groups]
        steps.append((has_gradient, [group["lr"] for group in groups]))
        return step(*arguments)

    optimizer.step = keeping
    return steps


def test_the_actor_takes_one_step_an_update_and_the_critic_several() -> None:
    model = made()
    steps = kept(model)
    model.learn(4 * ITERATION)
    # Two passes of three minibatches (80 rows, 32 each).
    assert [has for has, _ in steps] == 4 * ([[True, False]] + 6 * [[False, True]])


def test_both_rates_are_those_of_the_formulas() -> None:
    model = made(critic_power=0.75)
    schedule, steps, expected = model.learning_rate, kept(model), []

    def note():
        t, distance = schedule.updates, schedule.distance
        actor = 0.01 * min(1.0, 2.0 / t) / (1.0 + 2.0 * distance)
        expected.append([actor, 0.02 * min(1.0, 2.0 / t) ** 0.75])

    model.after_update.append(note)
    model.learn(4 * ITERATION)
    assert schedule.distance > 0.0
    np.testing.assert_allclose([rates for _, rates in steps[::7]], expected)
    np.testing.assert_allclose([rates for _, rates in steps[6::7]], expected)
    assert model.measured["train/learning_rate"] == pytest.approx(expected[-1][0])
    assert model.measured["train/critic_learning_rate"] == pytest.approx(expected[-1][1])


class Plain(torch.optim.SGD):
    """Plain gradient steps, whose size is that of the gradient."""

    def __init__(self, params, lr, eps=0.0):
        super().__init__(params, lr)


@pytest.mark.parametrize("normalises", [False, True])
def test_the_actors_step_is_along_the_policy_gradient(normalises, monkeypatch) -> None:
    """Against the gradient of every row's log-probability, by itself."""
    model = made(
        normalize_advantage=normalises,
        ent_coef=0.3,
        max_grad_norm=1e9,
        policy_kwargs={**NETWORK, "optimizer_class": Plain},
        rate=WassersteinSchedule(0.01, tau_0=5.0),
    )
    monkeypatch.setattr(model, "_critic_steps", lambda optimizer: 0.0)
    before = parameters(model)
    model.learn(ITERATION)
    rollout = model.rollout_buffer
    advantages = rollout.advantages.flatten().clone()
    if normalises:
        advantages = (advantages - advantages.mean()) / advantages.std()
    after = parameters(model)
    model.policy.load_state_dict(before)
    mean = model.policy.action_net(model.policy.mlp_extractor.policy_net(rollout.observations.flatten(0, 1)))
    spread = model.policy.log_std.exp()
    actions = rollout.actions.flatten(0, 1)
    log_probs = -0.5 * ((actions - mean) / spread) ** 2 - model.policy.log_std - 0.5 * math.log(2 * math.pi)
    entropy = model.policy.log_std + 0.5 + 0.5 * math.log(2 * math.pi)
    objective = (advantages * log_probs[:, 0]).mean() + 0.3 * entropy.sum()
    names = [name for name, _ in model.policy.named_parameters() if "value" not in name]
    wanted = torch.autograd.grad(objective, [dict(model.policy.named_parameters())[name] for name in names])
    assert len(names) == 5
    for name, gradient in zip(names, wanted, strict=True):
        assert gradient.abs().max() > 0.0
        np.testing.assert_allclose((after[name] - before[name]) / 0.01, gradient, rtol=2e-3, atol=2e-5)
    for name, value in after.items():
        if "value" in name:
            assert torch.equal(value, before[name])


def test_the_gradients_of_actor_and_critic_are_clipped_apart() -> None:
    model = made(
        max_grad_norm=1e-3,
        n_epochs=1,
        batch_size=ITERATION,
        policy_kwargs={**NETWORK, "optimizer_class": Plain},
        rate=WassersteinSchedule(0.01, tau_0=5.0),
    )
    before = parameters(model)
    model.learn(ITERATION)
    moved = {name: value - before[name] for name, value in parameters(model).items()}
    for is_critic, rate in ((False, 0.01), (True, 0.02)):
        norms = [value.norm() for name, value in moved.items() if ("value" in name) == is_critic]
        assert torch.stack(norms).norm().item() == pytest.approx(rate * 1e-3, rel=1e-2)


def test_the_critic_learns_the_td_lambda_returns() -> None:
    model = made(n_epochs=200, critic_learning_rate=0.03)
    model.learn(ITERATION)
    rollout = model.rollout_buffer
    targets = rollout.value_targets.flatten()
    with torch.no_grad():
        values = model.policy.predict_values(rollout.observations.flatten(0, 1)).flatten()
    before = ((rollout.value_estimates.flatten() - targets) ** 2).mean()
    assert ((values - targets) ** 2).mean() < 0.5 * before
    # TD(lambda) by its definition, for one agent.
    gamma, lambda_ = model.gamma, model.gae_lambda
    assert gamma == 1.0
    rewards, estimates = rollout.rewards[:, 3].numpy(), [*rollout.value_estimates[:, 3].numpy(), 0.0]
    errors = [rewards[t] + gamma * estimates[t + 1] - estimates[t] for t in range(4)]
    wanted = estimates[1] + sum((gamma * lambda_) ** (t - 1) * errors[t] for t in range(1, 4))
    assert rollout.value_targets[1, 3].item() == pytest.approx(wanted, rel=1e-4)


def test_a_game_shows_the_population_by_default() -> None:
    network = {"policy_kwargs": NETWORK, "seed": 0, "device": "cpu"}
    assert ActorCritic("UnitBoxPolicy", two(**GAME), **network).observation_space.shape == (4 + 2,)
    epidemic = mfenvs.make("Epidemic-v0", n_agents=6, horizon=3)
    model = ActorCritic("MlpPolicy", epidemic, **network)
    assert [block.name for block in model.observe] == ["mean-field"]
    model.learn(18)
    assert ActorCritic("UnitBoxPolicy", two(**GAME), observe=(), **network).observation_space.shape == (4,)


def test_the_discount_is_the_games_own() -> None:
    network = {"policy_kwargs": NETWORK, "seed": 0, "device": "cpu"}
    infinite = mfenvs.make("Epidemic-v0", n_agents=6, horizon=3, discount=0.9)
    assert ActorCritic("MlpPolicy", infinite, **network).gamma == 0.9
    assert ActorCritic("MlpPolicy", mfenvs.vec_env(infinite), **network).gamma == 0.9
    assert ActorCritic("MlpPolicy", infinite, gamma=0.5, **network).gamma == 0.5
    assert ActorCritic("UnitBoxPolicy", two(**GAME), **network).gamma == 1.0


def test_other_environments_are_those_of_ppo() -> None:
    network = {"policy_kwargs": NETWORK, "seed": 0, "device": "cpu"}
    assert ActorCritic("MlpPolicy", "CartPole-v1", n_steps=4, **network).observation_space.shape == (4,)
    assert ActorCritic("UnitBoxPolicy", "LinearQuadratic-v0", **network).observation_space.shape == (6,)
    with pytest.raises(ValueError, match="observe='mean-field' is for a game"):
        ActorCritic("UnitBoxPolicy", mfenvs.vec_env(two(**GAME)), observe="mean-field", **network)
    with pytest.raises((TypeError, ValueError), match=r"NoSuch-v0"):
        ActorCritic("UnitBoxPolicy", "NoSuch-v0", **network)
    with pytest.raises(TypeError, match="env must be"):
        ActorCritic("UnitBoxPolicy", 3, **network)


def test_the_policy_sees_the_law_by_moments_and_by_histogram() -> None:
    game = two(**GAME)
    env = mfenvs.vec_env(game, 2, observe=("type-means", "mean-field"))
    model = made(environment=env)
    assert model.observation_space.shape == (4 + 2 + 20,)
    rows = env.reset()
    with torch.no_grad():
        model.policy.mlp_extractor.policy_net[0].weight.fill_(0.5)
        model.policy.action_net.weight.fill_(0.02)
    means = [model.predict(rows + np.eye(26, dtype=np.float32)[k], deterministic=True)[0] for k in (4, 5, 7)]
    without = model.predict(rows, deterministic=True)[0]
    assert all(np.abs(found - without).min() > 1e-4 for found in means)


@pytest.mark.parametrize("updates", [1, 3])
def test_a_saved_model_ends_where_an_uninterrupted_one_does(tmp_path, updates) -> None:
    whole, part = made(), made()
    whole.learn(4 * ITERATION)
    part.learn(updates * ITERATION)
    part.save(tmp_path / "model")
    again = ActorCritic.load(tmp_path / "model", two(**GAME), device="cpu")
    assert len(again.policy.optimizer.param_groups) == 2
    again.learn((4 - updates) * ITERATION, reset_num_timesteps=False)
    assert_same(whole, again)
    assert again.learning_rate.rate == whole.learning_rate.rate
    rates = [[g["lr"] for g in model.policy.optimizer.param_groups] for model in (whole, again)]
    assert rates[0] == rates[1]


def test_an_update_that_fails_is_undone(monkeypatch) -> None:
    model = made()
    model.learn(ITERATION)
    before, step = parameters(model), model._critic_steps

    def failing(optimizer):
        step(optimizer)
        raise ValueError("no")

    monkeypatch.setattr(model, "_critic_steps", failing)
    with pytest.raises(ValueError, match="no"):
        model.learn(ITERATION, reset_num_timesteps=False)
    after = parameters(model)
    assert all(torch.equal(after[name], before[name]) for name in before)
    monkeypatch.setattr(model, "_critic_steps", step)
    model.learn(ITERATION, callback=StopAt(99), reset_num_timesteps=False)
    whole = made()
    whole.learn(2 * ITERATION)
    assert_same(model, whole)


def test_files_of_other_classes_are_refused(tmp_path) -> None:
    env = mfenvs.vec_env(two(**GAME), 2, observe="type-means")
    PPO("UnitBoxPolicy", env, seed=0, policy_kwargs=NETWORK, device="cpu").save(tmp_path / "ppo")
    made().save(tmp_path / "ours")
    with pytest.raises(ValueError, match="is it the model of a PPO"):
        ActorCritic.load(tmp_path / "ppo", device="cpu")
    with pytest.raises(ValueError, match="parameter groups"):
        PPO.load(tmp_path / "ours", device="cpu")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"clip_range": 0.1}, TypeError, "clip_range has no use in an actor-critic"),
        ({"target_kl": None}, TypeError, "target_kl has no use"),
        ({"critic_learning_rate": 0.001}, ValueError, "learning_rate must be at most critic_learning_rate"),
        ({"critic_learning_rate": -1.0}, ValueError, "critic_learning_rate must be"),
        ({"critic_power": 1.0}, ValueError, "critic_power must be in"),
        ({"critic_power": 1.0, "check_steps": 1}, TypeError, "check_steps must be"),
        ({"rate": WassersteinSchedule(0.01)}, ValueError, "tau_0 must be finite"),
        ({"rate": "0.01"}, TypeError, "learning_rate must be"),
        ({"rate": 0.0}, ValueError, "learning_rate must be"),
        ({"gamma": 2.0}, ValueError, "gamma must be"),
    ],
)
def test_arguments_that_are_not_allowed(wrong, error, message) -> None:
    with pytest.raises(error, match=message):
        made(**wrong)


def test_constant_steps_are_allowed_if_asked_for() -> None:
    made(rate=WassersteinSchedule(0.01), check_steps=False).learn(ITERATION)


def test_shared_parameters_are_refused() -> None:
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Shared(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 3)
            self.linear = nn.Linear(space.shape[0], 3)

        def forward(self, rows):
            return self.linear(rows)

    with pytest.raises(
        TypeError, match=r"separate parameters .* those of features_extractor.linear.weight are shared"
    ):
        made(policy_kwargs={**NETWORK, "features_extractor_class": Shared})
    own = {"features_extractor_class": Shared, "share_features_extractor": False}
    model = made(policy_kwargs={**NETWORK, **own})
    model.learn(ITERATION)
    assert len(model.policy.optimizer.param_groups[0]["params"]) == 7


@pytest.mark.slow
def test_the_equilibrium_of_one_type_is_learned() -> None:
    """Gains near the Riccati gains, .74 on average; who plays the learned feedback pays less than 1.5 % more.

    Over seeds 0 to 9 the mean error of the gains was .06 to .09, and the cost .2 to .6 % above the equilibrium's.
    """
    game = one(n_agents=100, horizon=20, drift=0.1, coupling=0.2, coupling_cost=0.3, volatility=0.4)
    solution = competitive_equilibrium(game)
    model = ActorCritic(
        "AffinePolicy",
        game,
        learning_rate=WassersteinSchedule(4e-3, tau_0=20.0, beta=1.0),
        critic_learning_rate=2e-2,
        n_epochs=4,
        gae_lambda=0.5,
        policy_kwargs={**AffinePolicy.arguments(game), "degree": 2, "log_std_init": math.log(0.1)},
        seed=0,
        device="cpu",
    )
    model.learn(200 * 2000)
    found = fitted_feedback(game, model)
    wanted = solution.parameters.response * solution.riccati(found.times)
    assert np.abs(found.gain - wanted).mean() < 0.15
    assert deviation_cost(solution, 0, lambda t: found.at(t, 0)) < 1.015 * solution.costs[0]


def test_the_energy_market_is_learned_with_the_law_of_its_batteries() -> None:
    """Types of different numbers, states of several components, actions of three."""
    market = mfenvs.make("EnergyMarket-v0", n_agents=20, horizon=4)
    schedule = WassersteinSchedule(1e-3, tau_0=2.0, beta=1.0, coordinate="charge")
    model = ActorCritic(
        "UnitBoxPolicy", market, learning_rate=schedule, policy_kwargs=NETWORK, seed=0, device="cpu"
    )
    with pytest.raises(ValueError, match=r"coordinate must name a component of the game's states \(.*charge"):
        ActorCritic("UnitBoxPolicy", market, policy_kwargs=NETWORK, seed=0, device="cpu").learn(80)
    model.learn(3 * 80)
    assert schedule.updates == 3
    assert schedule.distance > 0.0
    assert schedule.law.states.shape == (4, 20)
    assert mfenvs.evaluate(market, model, n_worlds=2).returns.shape == (2, 20)
