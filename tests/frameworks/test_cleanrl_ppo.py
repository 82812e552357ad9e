"""PPO in one file: what it stores of a rollout is what the engine did, and it learns."""

import numpy as np
import pytest
import torch
from framework_examples import ENDS, GOES_ON, MASKED, assert_routes_step, load

from mfenvs import Engine

example = load("cleanrl_ppo")


def trainer_of(game, **settings):
    return example.Trainer(game, example.Settings(n_worlds=2, n_steps=2 * game.horizon, **settings))


@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED], ids=["ends", "goes-on", "masked"])
def test_a_rollout_is_what_the_engine_did(game):
    trainer = trainer_of(game, seed=7)
    rollout = trainer.play()
    engine, n = Engine(game, 2), 2 * game.n_agents
    for t in range(2 * game.horizon):
        if t % game.horizon == 0:
            engine.reset(7 if t == 0 else None)
        np.testing.assert_array_equal(rollout.observations[t], engine.observe().reshape(n, -1))
        if game is MASKED:
            np.testing.assert_array_equal(rollout.masks[t], engine.action_masks().reshape(n, -1))
            assert rollout.masks[t].gather(1, rollout.actions[t][:, None]).all()
        else:
            assert rollout.masks.all()
        rewards = engine.step(rollout.actions[t].numpy().reshape(2, -1))
        np.testing.assert_array_equal(rollout.rewards[t], rewards.reshape(-1))
        over = engine.time == game.horizon
        assert (rollout.ends[t] == over).all()
        with torch.no_grad():
            value = trainer.agent.value(torch.as_tensor(engine.observe().reshape(n, -1)))
        # Where the game ends, nothing follows; where it goes on, the last observation is worth something.
        expected = 0.0 * value if over and game is not GOES_ON else value
        torch.testing.assert_close(rollout.next_values[t], expected)


def test_advantages_are_sums_of_errors_up_to_the_end_of_the_episode():
    torch.manual_seed(0)
    rollout = example.Rollout.zeros(7, 3, 2, 2)
    for array in (rollout.rewards, rollout.values, rollout.next_values):
        array.normal_()
    rollout.ends[2, 0] = rollout.ends[4, 1] = rollout.ends[5, 1] = 1.0
    found = rollout.advantages(0.9, 0.8)
    errors = rollout.rewards + 0.9 * rollout.next_values - rollout.values
    for slot in range(3):
        for t in range(7):
            expected = 0.0
            for k in range(t, 7):
                expected += 0.72 ** (k - t) * float(errors[k, slot])
                if rollout.ends[k, slot]:
                    break
            assert found[t, slot] == pytest.approx(expected, abs=1e-5)


def test_the_same_seed_gives_the_same_networks():
    def weights(seed):
        trainer = trainer_of(ENDS, seed=seed, n_updates=1)
        trainer.train()
        return torch.cat([p.detach().flatten() for p in trainer.agent.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn():
    """Random taxis earn .58; with 16 updates they earned 2.7 to 3.2 in six runs."""
    at_random, trained = example.main(example.Settings(n_updates=16))
    assert 0.4 < at_random < 0.8
    assert trained > 1.6
