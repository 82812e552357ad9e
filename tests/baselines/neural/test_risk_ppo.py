"""PPO for agents who are averse to risk, against optima that are found by enumeration."""

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from risky import CHOOSE, GAMBLE, P_LOSS, Gamble
from small_ppo import StopAt
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor
from torch import nn

import mfenvs
from baselines import PPO, RiskAversePPO
from baselines.cli.main import main
from baselines.neural.config import RiskAversePPOConfig
from baselines.neural.trainers import RiskAversePPOTrainer
from baselines.runs import read_run
from mfenvs import evaluate, make, vec_env
from mfenvs.energy.risk_measures import risk_adjusted
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget

SMALL = {"policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 32, "n_epochs": 2, "device": "cpu"}


# What is learned.


def objective(gambles_without, gambles_with, windfall, gamma, alpha):
    """J of the policy that gambles with these probabilities without a windfall, and with one."""
    law = []
    for got, gambles in ((0.0, gambles_without), (windfall, gambles_with)):
        law += [(-got, 0.5 * (1 - gambles)), (-got - 2.0, 0.5 * gambles * (1 - P_LOSS))]
        law += [(-got + 4.0, 0.5 * gambles * P_LOSS)]
    mean = sum(c * p for c, p in law)
    tail, left = 0.0, alpha
    for c, p in sorted(law, reverse=True):
        tail, left = tail + c * min(p, left), left - min(p, left)
    return (1 - gamma) * mean + gamma * tail / alpha


def trained(game, gamma, alpha, n_updates, n_worlds=256, seed=3):
    budget = RiskBudget.from_random_play(game, gamma, alpha=alpha)
    env = RiskAverseVecEnv(game, n_worlds, observe=budget)
    network = {"net_arch": [16, 16], "activation_fn": nn.LeakyReLU}
    arguments = {"learning_rate": 1e-2, "batch_size": 256, "ent_coef": 0.02, "policy_kwargs": network}
    model = RiskAversePPO("MlpPolicy", env, seed=seed, device="cpu", **arguments)
    return model.learn(n_updates * env.num_envs * game.horizon)


def chances(model, windfall):
    """With which probability agent 0 gambles without and with a windfall."""
    seen = np.zeros((2, model.observation_space.shape[0]), np.float32)
    left, scale = model.budget.z[0] + np.array([0.0, windfall]), model.budget.scale[0]
    seen[:, CHOOSE], seen[:, 6] = 1.0, 1 / 3
    seen[:, 7], seen[:, 8] = 0.5 + 0.5 * left / (scale + np.abs(left)), model.budget.gamma[0]
    return model.action_probabilities(seen)[:, GAMBLE]


@pytest.mark.parametrize(("gamma", "gambles"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_gamble_is_taken_by_the_neutral_and_left_by_the_averse(gamma, gambles):
    best = objective(gambles, gambles, 0.0, gamma, 0.05)
    assert best < objective(1 - gambles, 1 - gambles, 0.0, gamma, 0.05) - 0.5
    model = trained(Gamble(windfall=0.0), gamma, 0.05, n_updates=25, n_worlds=128)
    assert abs(chances(model, 0.0) - gambles).max() < 0.1


def test_what_is_risked_depends_on_what_has_been_earned():
    windfall, gamma, alpha = 4.0, 0.5, 0.25
    grid = np.linspace(0.0, 1.0, 21)
    # Every policy that observes the state alone gambles alike with and without the windfall.
    blind = min(objective(p, p, windfall, gamma, alpha) for p in grid)
    best = min((objective(p, q, windfall, gamma, alpha), p, q) for p, q in itertools.product(grid, grid))
    assert blind == pytest.approx(-1.0)
    assert best == (pytest.approx(-1.2), 0.0, 1.0)
    game = Gamble(windfall=windfall)
    model = trained(game, gamma, alpha, n_updates=60)
    without, with_it = chances(model, windfall)
    assert without < 0.1 < 0.9 < with_it
    assert objective(without, with_it, windfall, gamma, alpha) < -1.1
    # Played by mfenvs.evaluate, which pays the game's rewards: 40,000 samples, 10 standard errors.
    losses = -evaluate(game, model, n_worlds=20_000).returns.ravel()
    expected = objective(without, with_it, windfall, gamma, alpha)
    assert risk_adjusted(losses, gamma, alpha) == pytest.approx(expected, abs=0.06)


# Saving, loading and going on.


def risk_env(n_worlds=2, seed=0, **changes):
    game = make("EnergyMarket-v0", **{"n_agents": 6, "horizon": 4, "actions": "discrete", **changes})
    return RiskAverseVecEnv(game, n_worlds, observe=RiskBudget.from_random_play(game, step_size=0.3, seed=seed))


def small(env=None, **changes):
    return RiskAversePPO("MlpPolicy", risk_env() if env is None else env, seed=3, **{**SMALL, **changes})


def assert_same(a, b):
    assert a.num_timesteps == b.num_timesteps
    one, other = a.policy.state_dict(), b.policy.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert_array_equal(a._last_obs, b._last_obs)
    for model in (a, b):
        assert model.get_env() is None or model.budget is model.get_env().unwrapped.budget
    assert_array_equal(a.budget.z, b.budget.z)
    assert_array_equal(a.budget.scale, b.budget.scale)


@pytest.mark.parametrize("n_steps", [4, 3, 9], ids=["horizon", "shorter", "longer"])
@pytest.mark.parametrize("stop", [1, 15, 24])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, n_steps, stop):
    total = 5 * n_steps * 12
    whole, part = small(n_steps=n_steps).learn(total), small(n_steps=n_steps)
    part.learn(total, callback=StopAt(stop))
    part.save(tmp_path / "part")
    # Budgets of the new environment are those of other warm-up games, until the model's come.
    resumed = RiskAversePPO.load(tmp_path / "part", env=VecMonitor(risk_env(seed=5)), device="cpu")
    assert resumed.gamma == 1.0
    assert_array_equal(resumed.budget.z, part.budget.z)
    for model in (resumed, part):
        model.learn(total - model.num_timesteps, reset_num_timesteps=False)
        assert_same(model, whole)


def test_the_saved_model_has_its_budgets_without_an_environment(tmp_path):
    model = small().learn(96)
    model.save(tmp_path / "model")
    loaded = RiskAversePPO.load(tmp_path / "model", device="cpu")
    game = model.get_env().game
    assert_array_equal(loaded.budget.z, model.budget.z)
    assert loaded.budget.step_size == 0.3
    assert (model.budget.z != risk_env().budget.z).all()
    assert_array_equal(evaluate(game, loaded, n_worlds=2).returns, evaluate(game, model, n_worlds=2).returns)
    loaded.save(tmp_path / "again")
    game_given = RiskAversePPO.load(tmp_path / "again", env=game, device="cpu")
    more_worlds = RiskAversePPO.load(tmp_path / "again", env=risk_env(n_worlds=5, seed=5), device="cpu")
    assert more_worlds.get_env().num_envs == 30
    for each in (game_given, more_worlds):
        assert_array_equal(each.budget.z, model.budget.z)
        assert_array_equal(each.budget.scale, model.budget.scale)
        assert each.budget is each.get_env().budget
    loaded.set_env(risk_env(seed=5))
    for each in (model, loaded, game_given):
        each.learn(48, reset_num_timesteps=False)
        assert_same(each, model)


def test_another_z_is_another_policy():
    """What the model observes is what its environment learns."""
    model = small()
    game = model.get_env().game
    model.policy.action_net.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    before = evaluate(game, model, n_worlds=2).returns
    model.budget.z = model.budget.z - 50.0
    assert (evaluate(game, model, n_worlds=2).returns != before).any()


def test_other_environments_and_files_are_refused(tmp_path):
    model = small()
    model.save(tmp_path / "risk")
    game = model.get_env().game
    with pytest.raises(TypeError, match=r"env must be a RiskAverseVecEnv .*, got PopulationVecEnv"):
        RiskAversePPO("MlpPolicy", vec_env(game, 2), **SMALL)
    with pytest.raises(TypeError, match=r"env must be a RiskAverseVecEnv .*, got PopulationVecEnv"):
        model.set_env(vec_env(game, 2))
    with pytest.raises(ValueError, match="env must show agents"):
        model.set_env(RiskAverseVecEnv(game, 2, observe=RiskBudget.from_random_play(game, 0.3)))
    with pytest.raises(ValueError, match="env must show agents"):
        RiskAversePPO.load(tmp_path / "risk", env=risk_env(agents_seed=1))
    with pytest.raises(ValueError, match="spaces do not match"):
        PPO.load(tmp_path / "risk", env=vec_env(game, 2))
    with pytest.raises(ValueError, match=r"averse to risk \(RiskAversePPO\), not a PPO"):
        PPO.load(tmp_path / "risk", device="cpu")
    # The environment's fault, and not the file's.
    with pytest.raises(TypeError, match="env must be a RiskAverseVecEnv"):
        RiskAversePPO.load(tmp_path / "risk", env=vec_env(game, 2, observe=model.observe))
    with pytest.raises(TypeError, match="agents of RockPaperScissors have no risk_aversion"):
        RiskAversePPO("MlpPolicy", RockPaperScissors(n_agents=4))
    PPO("MlpPolicy", vec_env(game, 2), **SMALL).save(tmp_path / "plain")
    with pytest.raises(ValueError, match="observes no risk budget, not a RiskAversePPO"):
        RiskAversePPO.load(tmp_path / "plain", device="cpu")


def test_a_game_is_enough_and_total_rewards_are_not_discounted():
    game = make("EnergyMarket-v0", n_agents=6, horizon=4)
    model = RiskAversePPO("MlpPolicy", game, observe="mean-field", **SMALL)
    assert model.gamma == 1.0
    assert model.n_steps == 4
    assert [block.name for block in model.get_env().observe] == ["mean-field", "risk-budget"]
    assert RiskAversePPO("MlpPolicy", game, gamma=0.9, **SMALL).gamma == 0.9
    model.learn(24)
    actions, _ = model.predict(model.get_env().reset())
    assert actions.shape == (6, 3)


class Log(BaseCallback):
    """What the environment measured in every episode, and what was logged of every rollout."""

    def __init__(self):
        super().__init__()
        self.measured, self.logged = [], []

    def _on_step(self):
        if self.locals["dones"].any():
            self.measured.append(dict(self.locals["env"].measured))
        return True

    def _on_rollout_end(self):
        found = self.logger.name_to_value
        self.logged.append({k.removeprefix("risk/"): v for k, v in found.items() if k.startswith("risk/")})
        if self.logged[-1]:
            assert found["rollout/ep_rew_mean"] == pytest.approx(-self.measured[-1]["objective"], abs=1e-4)


def test_logs_are_of_the_episodes_that_ended():
    log = Log()
    model = small(n_steps=8).learn(3 * 8 * 12, callback=log)
    assert len(log.measured) == 6
    for i, logged in enumerate(log.logged):
        assert set(logged) == {"expected_loss", "cvar", "objective", "z_mean", "exceeded"}
        for name, value in logged.items():
            mean = (log.measured[2 * i][name] + log.measured[2 * i + 1][name]) / 2
            assert value == pytest.approx(mean, rel=1e-12)
    assert model.measured["risk/cvar"] == log.logged[-1]["cvar"]
    short = Log()
    small(n_steps=1, env=risk_env(horizon=2)).learn(2 * 12, callback=short)
    assert [bool(each) for each in short.logged] == [False, True]


# The command line.

FLAGS = ["--no-progress", "--device", "cpu", "--hidden", "8", "--game.n-agents", "5", "--game.horizon", "3"]


def test_train_evaluate_and_resume(tmp_path, capsys):
    flags = [*FLAGS, "--schedule", "constant", "--alpha", "0.2", "--step-size", "0.1", "--observe", "mean-field"]
    for name, steps in (("whole", 60), ("parts", 15)):
        words = ["--folder", str(tmp_path / name), "--total-timesteps", str(steps)]
        assert main(["train", "risk-ppo", "EnergyMarket-v0", *words, *flags]) == 0
    words = ["--folder", str(tmp_path / "parts"), "--total-timesteps", "45", "--resume", "--no-progress"]
    assert main(["train", "risk-ppo", "EnergyMarket-v0", *words]) == 0
    (game, whole, config), (_, parts, _) = read_run(tmp_path / "whole"), read_run(tmp_path / "parts")
    assert config["algorithm"] == "risk-ppo"
    assert isinstance(whole, RiskAversePPO)
    assert (whole.budget.alpha, whole.budget.step_size) == (0.2, 0.1)
    assert whole.gamma == 1.0
    assert [block.name for block in whole.observe] == ["mean-field", "risk-budget"]
    assert_array_equal(whole.budget.gamma, game.agents["risk_aversion"])
    assert_same(whole, parts)
    for name in ("whole", "parts"):
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 4
        assert all(np.isfinite(float(row["risk/objective"])) for row in rows)
    assert main(["evaluate", str(tmp_path / "whole"), "--n-worlds", "2"]) == 0
    assert "return" in json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    capsys.readouterr()


def test_other_games_take_one_aversion_for_all(tmp_path, capsys):
    words = [
        "train",
        "risk-ppo",
        "Epidemic-v0",
        "--folder",
        str(tmp_path / "run"),
        "--total-timesteps",
        "15",
        *FLAGS,
    ]
    assert main(words) == 2
    assert "agents of Epidemic have no risk_aversion" in capsys.readouterr().err
    assert main([*words, "--risk-aversion", "0.3"]) == 0
    game, model, _ = read_run(tmp_path / "run")
    assert_array_equal(model.budget.gamma, np.full(5, 0.3))
    assert evaluate(game, model, n_worlds=2).returns.shape == (2, 5)


def test_the_trainer_s_budgets_begin_with_its_warm_up():
    game = mfenvs.make("EnergyMarket-v0", n_agents=5, horizon=3)
    config = RiskAversePPOConfig(n_worlds=2, warm_up_episodes=7, device="cpu")
    budget = RiskAversePPOTrainer(game, config).model.budget
    assert_array_equal(budget.z, RiskBudget.from_random_play(game, n_episodes=7).z)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"risk_aversion": 2.0}, r"risk_aversion must be a finite number in \[0, 1\], got 2\.0"),
        ({"alpha": 0.0}, r"alpha must be a finite number in \(0, 1\], got 0\.0"),
        ({"step_size": 0.0}, "step_size must be"),
        ({"warm_up_episodes": 1}, "warm_up_episodes must be an integer >= 2, got 1"),
        ({"n_worlds": 0}, "n_worlds must be"),
    ],
)
def test_hyper_parameters_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RiskAversePPOConfig(**changes)
