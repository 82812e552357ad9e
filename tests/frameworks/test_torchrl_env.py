"""TorchRL: its collectors hold what the engine did; the environment has tests of its own beside those of APIs."""

import pytest

pytest.importorskip("torchrl")

from framework_examples import BOX, ENDS, GOES_ON, MASKED, assert_batch_is_the_engines, assert_routes_step, load
from torchrl.collectors import Collector
from torchrl.envs import TransformedEnv
from torchrl.envs.transforms import ActionMask
from torchrl.modules import MaskedCategorical, ProbabilisticActor

import mfenvs

example = load("torchrl_env")


@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED, BOX], ids=["ends", "goes-on", "masked", "box"])
def test_a_collector_holds_what_the_engine_did(game):
    env = mfenvs.torchrl_env(game, 2, seed=7)
    n_frames = 2 * 2 * game.horizon
    (batch,) = Collector(env, None, frames_per_batch=n_frames, total_frames=n_frames)
    assert batch.shape == (2, 2 * game.horizon)
    assert_batch_is_the_engines(batch, game, seed=7)


def allowed(batch):
    """Whether each action of a batch had a use."""
    return batch["agents", "action_mask"].gather(-1, batch["agents", "action"].unsqueeze(-1))


def masking_policy(env):
    actor, _ = example.make_networks(env)
    return ProbabilisticActor(
        actor[0],
        in_keys={"logits": example.LOGITS, "mask": ("agents", "action_mask")},
        out_keys=[example.ACTION],
        distribution_class=MaskedCategorical,
    )


def test_a_policy_that_reads_masks_takes_no_masked_action():
    env = mfenvs.torchrl_env(MASKED, 2, seed=7)
    (batch,) = Collector(env, masking_policy(env), frames_per_batch=16, total_frames=16)
    assert_batch_is_the_engines(batch, MASKED, seed=7)
    assert allowed(batch).all()
    # Uniformly random actions would be masked more often than not.
    assert 0 < batch["agents", "action_mask"].float().mean() < 0.5


def test_random_actions_of_rollouts_keep_to_masks_by_a_transform():
    keys = {"action_key": ("agents", "action"), "mask_key": ("agents", "action_mask")}
    env = TransformedEnv(mfenvs.torchrl_env(MASKED, 2, seed=7), ActionMask(**keys))
    batch = env.rollout(8, break_when_any_done=False)
    assert_batch_is_the_engines(batch, MASKED, seed=7)
    assert allowed(batch).all()


def test_an_episode_that_is_cut_is_truncated():
    env = mfenvs.torchrl_env(ENDS, 2, seed=7, max_episode_steps=2)
    last = env.rollout(5)[:, -1]
    assert env.rollout(5).shape == (2, 2)
    assert last["next", "truncated"].all()
    assert not last["next", "terminated"].any()


@pytest.mark.slow
def test_taxis_learn(capsys):
    at_random, trained = example.main(n_iterations=15)
    assert trained > 3.0 * at_random > 0.0
    out = capsys.readouterr().out
    assert f"earns {at_random:.2f} in an episode at random, {trained:.2f} after training" in out
    assert "agent-steps per second" in out


def test_all_routes_step():
    assert_routes_step(example)
