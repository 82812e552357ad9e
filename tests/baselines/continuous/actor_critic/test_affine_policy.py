"""The policy that is affine in the state and the types' means: its features and coefficients, by hand."""

import numpy as np
import pytest
import torch
from linear_quadratic_games import three, two

import mfenvs
from baselines import PPO, ActorCritic
from baselines.continuous.actor_critic.affine_policy import AffineFeatures, AffinePolicy

SMALL = {"n_agents": 10, "horizon": 4}


def model(game=None, observe="type-means", **kwargs):
    game = two(**SMALL) if game is None else game
    arguments = {**AffinePolicy.arguments(game), **kwargs}
    env = mfenvs.vec_env(game, 2, observe=observe)
    return ActorCritic("AffinePolicy", env, seed=2, device="cpu", policy_kwargs=arguments)


def test_features_by_hand() -> None:
    features = AffineFeatures(2, 2, scale=2.0, degree=2)
    # State 3, second type, a quarter of the time gone; 3/4 shows a mean of the scale 2, and 1/4 one of -2.
    row = torch.tensor([[3.0, 0.0, 1.0, 0.25, 0.75, 0.25]])
    actor, critic = features(row)
    time = [1.0, -0.5, 1.5 * 0.25 - 0.5]  # Legendre polynomials at -1/2
    moments = [3.0, 2.0, -2.0, 1.0]
    products = [9.0, 6.0, -6.0, 3.0, 4.0, -4.0, 2.0, 4.0, -2.0, 1.0]
    np.testing.assert_allclose(actor[0], [0.0] * 12 + [t * f for t in time for f in moments], rtol=1e-6)
    np.testing.assert_allclose(critic[0], [0.0] * 30 + [t * f for t in time for f in products], rtol=1e-6)
    assert (features.latent_dim_pi, features.latent_dim_vf) == (actor.shape[1], critic.shape[1])


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_polynomials_are_those_of_legendre(degree) -> None:
    times = np.linspace(0.0, 1.0, 5)
    rows = torch.tensor([[0.0, 1.0, time] for time in times], dtype=torch.float32)
    found = AffineFeatures(1, 0, 1.0, degree).forward_actor(rows).numpy()[:, 1::2]
    np.testing.assert_allclose(found, np.polynomial.legendre.legvander(2 * times - 1, degree), atol=1e-6)


@pytest.mark.parametrize("observe", ["type-means", ()])
@pytest.mark.parametrize("make_game", [two, three])
def test_coefficients_are_those_of_the_mean_action(make_game, observe) -> None:
    game = make_game(**SMALL)
    made = model(game, observe)
    with torch.no_grad():
        made.policy.action_net.weight.normal_(0.0, 0.005)
        made.policy.action_net.bias.fill_(0.01)
    env = made.env
    rows = env.reset()
    for _ in range(3):
        rows = env.step(made.predict(rows, deterministic=True)[0])[0]
    elapsed = float(rows[0, game.n_features - 1])
    assert elapsed == 0.75
    means = [env.engine.states[:, game.agents["type"] == k].mean(axis=1) for k in range(len(game.types))]
    by_row = np.repeat(np.stack(means, axis=1), game.n_agents, axis=0)
    moments = np.concatenate([rows[:, :1], by_row, np.ones((len(rows), 1))], axis=1)
    found = made.policy.coefficients(elapsed)
    if not observe:
        assert (found[:, 1:-1] == 0.0).all()
    expected = (found[np.tile(game.agents["type"], 2)] * moments).sum(axis=1)
    assert np.abs(expected).max() < game.control_bound
    np.testing.assert_allclose(made.predict(rows, deterministic=True)[0][:, 0], expected, rtol=1e-4, atol=1e-4)


def test_exploration_is_learned_only_if_asked_for() -> None:
    for learns in (False, True):
        made = model(learns_exploration=learns)
        before = made.policy.log_std.item()
        made.learn(160)
        assert (made.policy.log_std.item() != before) == learns


def test_other_games_and_observations_are_refused() -> None:
    with pytest.raises(TypeError, match="needs a LinearQuadratic game, got"):
        AffinePolicy.arguments(mfenvs.make("Epidemic-v0"))
    with pytest.raises(ValueError, match="got 24 features"):
        model(observe="mean-field")
    with pytest.raises(ValueError, match="n_types must be"):
        model(n_types=0)
    with pytest.raises(ValueError, match="scale must be"):
        model(scale=0.0)
    with pytest.raises(ValueError, match="degree must be"):
        model(degree=-1)
    with pytest.raises(ValueError, match="elapsed must be"):
        model().policy.coefficients(1.5)
    with pytest.raises(ValueError, match="policy must be one of"):
        PPO("AffinePolicy", two(**SMALL))
