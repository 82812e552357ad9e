"""The TorchRL environment: groups, seeds, resets, memory, and TorchRL's own tools on it."""

import inspect
import itertools
import pickle
import re
import sys

import pytest

pytest.importorskip("torchrl")

import cloudpickle
import numpy as np
import torch
from torchrl.collectors import Collector
from torchrl.envs import ParallelEnv, SerialEnv, TransformedEnv
from torchrl.envs.transforms import ActionMask, RewardSum, StepCounter
from torchrl.envs.utils import MarlGroupMapType, check_env_specs

import mfenvs
from mfenvs.api.torchrl import PopulationTorchRLEnv

GAME = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3)
MARKET = mfenvs.make("EnergyMarket-v0", actions="discrete", n_agents=9, n_days=1, weather_sd=0.0, horizon=4)
TRACKING = mfenvs.make("LinearQuadratic-v0", n_agents=6, horizon=4)


def make(game=GAME, n_worlds=2, **kwargs):
    return mfenvs.torchrl_env(game, n_worlds, **{"seed": 0, **kwargs})


def played(env, n_steps):
    """Steps with random actions and resets in between, shape (*batch size, n_steps)."""
    torch.manual_seed(3)
    return env.rollout(n_steps, break_when_any_done=False)


def assert_equal(one, other):
    assert set(one.keys(True, True)) == set(other.keys(True, True))
    for key in one.keys(True, True):
        assert torch.equal(one[key], other[key]), key


class TestGroups:
    @pytest.mark.parametrize("group_map", [None, MarlGroupMapType.ALL_IN_ONE_GROUP, "types"])
    def test_all_agents_are_one_group(self, group_map):
        env = make(group_map=group_map)
        assert env.group_map == {"agents": GAME.agent_names}
        assert_equal(played(env, 7), played(make(), 7))

    def test_types(self):
        names = MARKET.agent_names
        env = make(MARKET, group_map="types")
        prefixes = [name.rpartition("_")[0] for name in names]
        assert list(env.group_map) == list(dict.fromkeys(prefixes))
        assert len(env.group_map) > 1
        check_env_specs(env)

    @pytest.mark.parametrize("game", [GAME, MARKET, TRACKING], ids=["epidemic", "market", "tracking"])
    def test_any_groups_show_the_same_game(self, game):
        """Groups of every third agent, in turned order, and one group each: all as in the engine."""
        names, n = game.agent_names, game.n_agents
        maps = {
            "mixed": {"a": names[2::3], "b": names[1::3][::-1], "c": names[0::3]},
            "each": MarlGroupMapType.ONE_GROUP_PER_AGENT,
        }
        for group_map in maps.values():
            env, engine = make(game, group_map=group_map, seed=4), mfenvs.Engine(game, 2)
            engine.reset(4)
            now = env.reset()
            rng = np.random.default_rng(0)
            for _ in range(game.horizon):
                shape = (2, n, *game.action_space.shape)
                if game is TRACKING:
                    actions = rng.uniform(game.action_space.low, game.action_space.high, shape).astype(np.float32)
                else:
                    actions = rng.integers(0, game.action_space.n, shape)
                for group, members in env.group_map.items():
                    assert now[group].batch_size == (2, len(members))
                    indices = [names.index(name) for name in members]
                    assert np.array_equal(now[group, "observation"], engine.observe()[:, indices])
                    if game is MARKET:
                        assert np.array_equal(now[group, "action_mask"], engine.action_masks()[:, indices])
                    now[group, "action"] = torch.as_tensor(actions[:, indices])
                after = env.step(now)["next"]
                rewards = engine.step(actions)
                for group, members in env.group_map.items():
                    indices = [names.index(name) for name in members]
                    assert np.array_equal(after[group, "reward"][..., 0], rewards[:, indices])
                now = after
            assert now["done"].all()

    @pytest.mark.parametrize(
        ("group_map", "error", "message"),
        [
            ("type", ValueError, "group_map must be one of 'types', got 'type'"),
            (3, TypeError, "group_map must be None, 'types', a MarlGroupMapType or a mapping"),
            ({"a": GAME.agent_names[:4]}, ValueError, "must name each agent once, got 'agent_4' 0 times"),
            (
                {"a": GAME.agent_names, "b": ["agent_1"]},
                ValueError,
                "must name each agent once, got 'agent_1' 2 times",
            ),
            ({"a": [*GAME.agent_names, "x"]}, ValueError, "must name agents of the game, got 'x'"),
            (
                {"a": GAME.agent_names, "b": []},
                ValueError,
                "group_map['b'] must list the names of agents, got none",
            ),
            ({"a": "agent_0"}, TypeError, "group_map['a'] must list the names of agents, got 'agent_0'"),
            ({"device": GAME.agent_names}, ValueError, "must not name a group 'device'"),
            ({"done": GAME.agent_names}, ValueError, "must not name a group 'done'"),
            ({1: GAME.agent_names}, TypeError, "the name of a group in group_map must be a text, got 1"),
        ],
    )
    def test_wrong_ones_are_refused(self, group_map, error, message):
        with pytest.raises(error, match=re.escape(message)):
            make(group_map=group_map)


class TestSeeds:
    def test_of_the_constructor_of_set_seed_and_of_reset(self):
        one = played(make(seed=7), 7)
        other = make(seed=1)
        assert not torch.equal(one["agents", "observation"], played(other, 7)["agents", "observation"])
        other.set_seed(7)
        assert_equal(one, played(other, 7))
        again = make(seed=1)
        assert torch.equal(again.reset(seed=7)["agents", "observation"], one["agents", "observation"][:, 0])
        second = again.reset()["agents", "observation"]
        assert torch.equal(second, one["agents", "observation"][:, 3])
        assert not torch.equal(second, one["agents", "observation"][:, 0])

    def test_without_one_they_are_drawn(self):
        big = mfenvs.make("Epidemic-v0", n_agents=100, horizon=3)
        unseeded = [mfenvs.torchrl_env(big) for _ in range(2)]
        fresh = make(big, n_worlds=1)
        fresh.set_seed(None)
        first = [env.reset()["agents", "observation"] for env in (*unseeded, fresh, make(big, n_worlds=1))]
        for one, other in itertools.combinations(first, 2):
            assert not torch.equal(one, other)  # wrong with probability 6 * 2^-100

    @pytest.mark.parametrize(
        ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (True, ValueError), (0.5, TypeError)]
    )
    def test_wrong_ones_are_refused(self, seed, error):
        for call in (lambda: make(seed=seed), lambda: make()._set_seed(seed), lambda: make().reset(seed=seed)):
            with pytest.raises(
                error, match=re.escape(f"seed must be an integer in [0, {2**64 - 1}], got {seed!r}")
            ):
                call()


class TestResetsAndSteps:
    def test_worlds_are_reset_together(self):
        env = make()
        now = played(env, 2)[:, -1]["next"]
        now["_reset"] = torch.tensor([[True], [False]])
        with pytest.raises(
            ValueError, match=r"'_reset' must select all 2 worlds or none.*\(2, 1\) with 1 selected"
        ):
            env.reset(now.clone())
        assert env.engine.time == 2
        now["_reset"] = torch.tensor([[False], [False]])
        same = env.reset(now.clone())
        assert env.engine.time == 2
        assert torch.equal(same["agents", "observation"], now["agents", "observation"])
        now["_reset"] = torch.tensor([[True], [True]])
        env.reset(now.clone())
        assert (env.engine.time, env.engine.episode) == (0, 1)

    def test_worlds_are_stepped_together(self):
        env = make()
        now = env.rand_action(env.reset())
        now["_step"] = torch.tensor([[True], [False]])
        with pytest.raises(ValueError, match=r"'_step' must select all 2 worlds or none"):
            env.step(now)
        assert env.engine.time == 0

    def test_no_step_outside_of_episodes(self):
        env = make()
        action = env.full_action_spec.rand()
        with pytest.raises(RuntimeError, match=r"step\(\) was called before reset\(\)"):
            env.step(action.clone())
        env.rollout(10)
        with pytest.raises(RuntimeError, match=r"step\(\) was called after the end of the episode"):
            env.step(action.clone())

    def test_rollouts_stop_when_all_are_done(self):
        assert make().rollout(10).shape == (2, 3)
        assert make().rollout(10, break_when_any_done=False, break_when_all_done=True).shape == (2, 3)

    @pytest.mark.parametrize(
        ("action", "error", "message"),
        [
            (torch.full((2, 5), 2), ValueError, "actions[0, 0] must be in [0, 1], got 2"),
            (torch.zeros(2, 5), TypeError, "actions must be integers, got dtype float32"),
            (torch.zeros(2, 5, 2, dtype=torch.int64), ValueError, "actions must have shape (10,), got (10, 2)"),
        ],
    )
    def test_wrong_actions_move_nothing(self, action, error, message):
        for group_map in (None, {"a": GAME.agent_names[::2], "b": GAME.agent_names[1::2]}):
            env = make(group_map=group_map)
            now = env.reset()
            before = env.engine.states.copy()
            for group, members in env.group_map.items():
                now[group, "action"] = action[:, : len(members)]
            with pytest.raises(error, match=re.escape(message)):
                env.step(now)
            assert np.array_equal(env.engine.states, before)

    def test_actions_of_a_box_outside_their_bounds(self):
        env = make(TRACKING)
        now = env.reset()
        now["agents", "action"] = env.action_spec["agents", "action"].space.high + 1.0
        with pytest.raises(ValueError, match=r"actions\[0, 0, 0\] must be in \[-10, 10\], got 11"):
            env.step(now)

    def test_actions_with_a_gradient(self):
        env = make(TRACKING)
        now = env.rand_action(env.reset())
        now["agents", "action"].requires_grad_()
        assert not env.step(now)["next", "agents", "reward"].requires_grad

    def test_missing_actions_are_named(self):
        env = make()
        with pytest.raises(KeyError, match="action"):
            env.step(env.reset())


class TestEntries:
    def test_specs(self):
        """By hand: two worlds of five agents in two states, who see them one-hot and the time."""
        env = make()
        seen, acted = env.observation_spec["agents", "observation"], env.action_spec["agents", "action"]
        assert (seen.shape, seen.dtype) == ((2, 5, 3), torch.float32)
        assert (seen.space.low == 0.0).all()
        assert (seen.space.high == 1.0).all()
        assert (acted.shape, acted.dtype, acted.space.n) == ((2, 5), torch.int64, 2)
        assert env.reward_spec["agents", "reward"].shape == (2, 5, 1)
        for key in ("done", "terminated", "truncated"):
            assert (env.full_done_spec[key].shape, env.full_done_spec[key].dtype) == ((2, 1), torch.bool)
        assert len(list(env.full_done_spec.keys(True, True))) == 3

    def test_specs_of_a_box_and_of_masks(self):
        env, market = make(TRACKING), make(MARKET)
        acted, space = env.action_spec["agents", "action"], TRACKING.action_space
        assert (acted.shape, acted.dtype) == ((2, 6, *space.shape), torch.float32)
        assert np.array_equal(acted.space.low, np.broadcast_to(space.low, (2, 6, *space.shape)))
        assert np.array_equal(acted.space.high, np.broadcast_to(space.high, (2, 6, *space.shape)))
        masks = market.observation_spec["agents", "action_mask"]
        assert (masks.shape, masks.dtype) == ((2, 9, MARKET.action_space.n), torch.bool)

    def test_the_state_is_that_of_pettingzoo(self):
        env = make(n_worlds=1, return_state=True)
        parallel = mfenvs.parallel_env(GAME)
        parallel.reset(seed=0)
        now = env.reset()
        assert np.array_equal(now["state"][0], parallel.state())
        now["agents", "action"] = torch.ones(1, 5, dtype=torch.int64)
        parallel.step(dict.fromkeys(parallel.agents, 1))
        assert np.array_equal(env.step(now)["next", "state"][0], parallel.state())
        low, high = env.observation_spec["state"].space.low[0], env.observation_spec["state"].space.high[0]
        assert np.array_equal(low, parallel.state_space.low)
        assert np.array_equal(high, parallel.state_space.high)

    def test_infos_can_be_left_out(self):
        taxi = mfenvs.make("Taxi-v0", n_agents=4, horizon=3)
        assert set(make(taxi).reset()["info"].keys()) == {f"share_{name}" for name in taxi.regions}
        assert "info" not in make(taxi, return_infos=False).reset().keys()  # noqa: SIM118  # TensorDict has no `in`

    def test_blocks_are_appended(self):
        env = make(observe=["mean-field", "one-hot-identity"])
        assert env.observation_spec["agents", "observation"].shape == (2, 5, 3 + 2 + 5)
        assert torch.equal(env.reset()["agents", "observation"][0, :, 5:], torch.eye(5))

    @pytest.mark.parametrize("group_map", [None, {"a": GAME.agent_names[:2], "b": GAME.agent_names[2:]}])
    def test_nothing_is_written_to_again(self, group_map):
        env = make(MARKET if group_map is None else GAME, group_map=group_map, return_state=True)
        seen = []
        now = env.reset()
        for _ in range(2 * env.max_steps):
            done, now = env.step_and_maybe_reset(env.rand_action(now))
            seen += [(done.clone(), done), (now.clone(), now.copy())]
        for then, still in seen:
            assert_equal(then, still)

    def test_no_two_entries_share_memory(self):
        env = make(MARKET, return_state=True)
        now = env.reset()
        after = env.step(env.rand_action(now))
        places = [tensor.untyped_storage().data_ptr() for tensor in after.values(True, True)]
        assert len(set(places)) == len(places)

    @pytest.mark.parametrize(
        ("kwargs", "error", "message"),
        [
            ({"return_state": 1}, TypeError, "return_state must be True or False, got 1"),
            ({"return_infos": "no"}, TypeError, "return_infos must be True or False, got 'no'"),
            ({"n_worlds": 0}, ValueError, "n_worlds must be an integer >= 1, got 0"),
            ({"max_episode_steps": 0}, ValueError, "max_episode_steps must be an integer >= 1, got 0"),
            ({"n_agents": 5}, ValueError, "cannot be set on a game that is already made"),
            ({"observe": "nothing"}, ValueError, "observe must be among"),
        ],
    )
    def test_arguments_that_are_not_allowed(self, kwargs, error, message):
        with pytest.raises(error, match=re.escape(message)):
            make(**kwargs)

    def test_render_and_repr(self):
        env = make(render_mode="rgb_array")
        env.reset()
        frame = env.render()
        assert frame.dtype == np.uint8
        assert frame.ndim == 3
        assert "Epidemic-v0, n_worlds=2, n_agents=5, device=cpu" in repr(env)

    def test_rules_are_checked_in_debug_mode(self):
        assert make(debug=True).engine.debug


class TestToolsOfTorchRL:
    def test_batched_environments(self):
        """Two workers of two worlds each: as two environments with the seeds that TorchRL gives them."""
        single = make()
        seeds = [5, single.set_seed(5)]
        for kind, kwargs in ((SerialEnv, {}), (ParallelEnv, {"mp_start_method": "fork"})):
            batched = kind(2, make, **kwargs)
            batched.set_seed(5)
            batch = played(batched, 7)
            batched.close()
            assert batch.shape == (2, 2, 7)
            assert batch["next", "done"][0, 0, :, 0].tolist() == [False, False, True] * 2 + [False]
            for worker, seed in enumerate(seeds):
                engine = mfenvs.Engine(GAME, 2)
                for step in range(7):
                    if step % 3 == 0:
                        engine.reset(seed if step == 0 else None)
                    now = batch[worker, :, step]
                    assert np.array_equal(now["agents", "observation"], engine.observe())
                    rewards = engine.step(now["agents", "action"].numpy())
                    assert np.array_equal(now["next", "agents", "reward"][..., 0], rewards)

    def test_collector(self):
        """Batches of 4 steps of episodes of 3: what is collected is what is played."""
        collector = Collector(make(seed=5), None, frames_per_batch=8, total_frames=24)
        torch.manual_seed(3)
        batches = torch.cat([batch.clone() for batch in collector], dim=1)
        collector.shutdown()
        engine = mfenvs.Engine(GAME, 2)
        assert batches.shape == (2, 12)
        for step in range(12):
            if step % 3 == 0:
                engine.reset(5 if step == 0 else None)
            now = batches[:, step]
            assert np.array_equal(now["agents", "observation"], engine.observe())
            rewards = engine.step(now["agents", "action"].numpy())
            assert np.array_equal(now["next", "agents", "reward"][..., 0], rewards)
            assert now["next", "done"].tolist() == [[step % 3 == 2]] * 2

    def test_transforms(self):
        sums = RewardSum(in_keys=[("agents", "reward")], out_keys=[("agents", "total")])
        env = TransformedEnv(make(), sums)
        check_env_specs(env)
        batch = played(env, 6)
        rewards = batch["next", "agents", "reward"].reshape(2, 2, 3, 5, 1)
        expected = rewards.cumsum(dim=2).reshape(2, 6, 5, 1)
        assert torch.equal(batch["next", "agents", "total"], expected)
        cut = TransformedEnv(make(), StepCounter(max_steps=2))
        assert played(cut, 4)["next", "truncated"][0, :, 0].tolist() == [False, True] * 2

    def test_random_policies_keep_to_action_masks(self):
        env = make(MARKET)
        masked = TransformedEnv(
            make(MARKET), ActionMask(action_key=("agents", "action"), mask_key=("agents", "action_mask"))
        )
        for tried, allowed in ((env, False), (masked, True)):
            batch = played(tried, 4)
            chosen = batch["agents", "action_mask"].gather(-1, batch["agents", "action"].unsqueeze(-1))
            assert bool(chosen.all()) is allowed

    def test_type_checks(self):
        env = make()
        env.run_type_checks = True
        assert_equal(played(env, 4), played(make(), 4))

    @pytest.mark.parametrize(
        "copied", [lambda env: pickle.loads(pickle.dumps(env)), lambda env: pickle.loads(cloudpickle.dumps(env))]
    )
    def test_environments_can_be_pickled(self, copied):
        env = make(observe=["one-hot-identity", "mean-field"], group_map="types")
        now = env.rand_action(env.reset())
        twin = copied(env)
        assert_equal(env.step(now.clone()), twin.step(now.clone()))


def test_every_parameter_is_described():
    lines = inspect.getdoc(PopulationTorchRLEnv).splitlines()
    section = lines[lines.index("Parameters") + 2 : lines.index("Raises") - 1]
    named = [line.removesuffix(":") for line in section if not line.startswith(" ")]
    assert named == list(inspect.signature(PopulationTorchRLEnv.__init__).parameters)[1:]
    assert max(map(len, lines)) <= 115
    assert "{" not in "".join(lines)


def test_without_torchrl_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchrl.data", None)
    monkeypatch.delitem(sys.modules, "mfenvs.api.torchrl")
    with pytest.raises(ImportError, match="torchrl_env needs torchrl: pip install torchrl"):
        mfenvs.torchrl_env(GAME)
