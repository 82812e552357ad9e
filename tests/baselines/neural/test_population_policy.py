"""Networks of each population: separate, trained together, and saved as other policies are."""

import numpy as np
import pytest
import torch
from hunt import Hunt

import mfenvs
from baselines import PPO
from baselines.neural.config import PPOConfig
from baselines.neural.population_policy import PopulationPolicy, population_policy
from baselines.neural.trainers import PPOTrainer
from mfenvs import InducedGame

NETWORK = {"net_arch": {"pi": [8], "vf": [8]}}


class Bold(Hunt):
    """No action is masked but that which doves lack."""

    allowed = None


def made(**constants):
    game = Hunt(n_agents=40, **constants)
    return game, PPO(env=game, seed=0, device="cpu", **population_policy(game, NETWORK))


def test_no_parameter_is_shared():
    """What a population does and is taught touches no parameter that another one acts by."""
    _, model = made()
    policy = model.policy
    assert isinstance(policy, PopulationPolicy)
    rows = torch.eye(6)[:5]
    touched = []
    for own in (rows[:2], rows[2:]):
        policy.zero_grad()
        values, log_probabilities, _ = policy.evaluate_actions(own, torch.zeros(len(own), dtype=torch.long))
        (values.sum() + log_probabilities.sum()).backward()
        entries = {name: p.grad != 0 for name, p in policy.named_parameters() if p.grad is not None}
        touched.append({(name, *k) for name, on in entries.items() for k in torch.nonzero(on).tolist()})
    assert touched[0]
    assert touched[1]
    assert not touched[0] & touched[1]
    last = {name for name, *_ in touched[0]}
    assert {"action_net.weight", "value_net.weight"} <= last
    assert not {"action_net.bias", "value_net.bias"} & last


def test_networks_are_those_of_the_population():
    """The same numbers as two perceptrons with biases of their own, by hand."""
    _, model = made()
    rows = np.eye(6, dtype=np.float32)[:5]
    rows[:, 5] = 0.5
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
                )
    found = model.action_probabilities(rows)
    weight = model.policy.action_net.weight.detach().numpy()
    for k, row in enumerate(rows):
        p = int(k >= 2)
        hidden = model.policy.mlp_extractor.extractors[p].policy_net[0]
        h = np.tanh(hidden.weight.detach().numpy() @ row + hidden.bias.detach().numpy())
        logits = weight[:, 9 * p : 9 * p + 8] @ h + weight[:, 9 * p + 8]
        law = np.exp(logits - logits.max())
        np.testing.assert_allclose(found[k], law / law.sum(), atol=1e-5)


@pytest.mark.slow
def test_training_lowers_every_population_s_exploitability(tmp_path):
    game = Bold(n_agents=400, hunger=6.0, horizon=3)
    model = PPO(
        env=game, seed=1, device="cpu", learning_rate=3e-3, batch_size=400, **population_policy(game, NETWORK)
    )
    induced = InducedGame(game)
    before = induced.exploitabilities(mfenvs.tabulate(game, model))
    model.learn(40 * 3 * 400)
    after = induced.exploitabilities(mfenvs.tabulate(game, model))
    assert (after < 0.5 * before).all(), (before, after)
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", device="cpu")
    rows = np.eye(6, dtype=np.float32)[:5]
    np.testing.assert_array_equal(again.action_probabilities(rows), model.action_probabilities(rows))


def test_the_trainer_of_the_command_line_takes_it(tmp_path):
    game = Hunt(n_agents=40)
    trainer = PPOTrainer(game, PPOConfig(hidden=(8,)))
    assert isinstance(trainer.model.policy, PopulationPolicy)
    trainer.learn(80, [])
    trainer.save(tmp_path / "checkpoint")
    again = PPOTrainer.load(tmp_path / "checkpoint", game, trainer.config)
    rows = np.eye(6, dtype=np.float32)[:5]
    np.testing.assert_array_equal(again.model.action_probabilities(rows), trainer.model.action_probabilities(rows))


def test_other_games_have_one_policy():
    assert population_policy(mfenvs.make("BeachBar-v0"))["policy"] == "MlpPolicy"


def test_what_is_refused():
    game, model = made()
    with pytest.raises(ValueError, match="must begin with the state of the union"):
        model.action_probabilities(np.full((1, 6), 0.3, np.float32))
    with pytest.raises(ValueError, match="must begin with the 9 states"):
        PPO(PopulationPolicy, game, policy_kwargs={"n_states": [4, 5]}, device="cpu")
    with pytest.raises((TypeError, ValueError), match="n_states"):
        PPO(PopulationPolicy, game, policy_kwargs={"n_states": [0, 5]}, device="cpu")
