"""The engine against plain simulations, and against itself where the answer must not depend on how it is asked."""

import dataclasses
import os
import types

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from oracles import random_policy

from mfenvs import Engine, FiniteGame, Game, crowd, rule, share, uniform
from mfenvs.cumulated import cumulative
from mfenvs.engine import engine as engine_module
from mfenvs.engine.random import ACT, ADVANCE, START, agent_key, step_key
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.rules import plain

GAMES = [Epidemic(n_agents=31, horizon=6), RockPaperScissors(n_agents=12, horizon=4)]
TINY = Epidemic(n_agents=5, horizon=3)


def table(game):
    return game.horizon, game.n_states, game.n_actions


def by_game(games=GAMES):
    return pytest.mark.parametrize("game", games, ids=lambda game: type(game).__name__)


@pytest.fixture
def many_threads(monkeypatch):
    """Every call is worth a thread per world."""
    monkeypatch.setattr(engine_module, "AGENT_STEPS_WORTH_A_THREAD", 1)


def draw(seed, world, episode, time, purpose, agent, stream):
    step = step_key(np.uint64(seed), np.uint64(world), np.uint64(episode), time, purpose)
    return uniform(np.uint32(agent_key(np.uint64(step), agent)), stream)


def play(engine, actions, seed=None):
    """States (H + 1, W, N) and rewards (H, W, N) of an episode of given actions (H, W, N)."""
    states, rewards = [engine.reset(seed).copy()], []
    for chosen in actions:
        rewards.append(engine.step(chosen))
        states.append(engine.states.copy())
    return np.array(states), np.array(rewards)


def actions_of(game, n_worlds, seed=0):
    size = (game.horizon, n_worlds, game.n_agents)
    return np.random.default_rng(seed).integers(0, game.n_actions, size)


class TestTheSameWhoeverAsks:
    @by_game()
    @pytest.mark.parametrize("first", [0, 1, 5])
    def test_a_world_does_not_depend_on_its_batch(self, game, first):
        actions = actions_of(game, 8)
        states, rewards = play(Engine(game, 8), actions, seed=9)
        some_states, some_rewards = play(Engine(game, 3, first_world=first), actions[:, first : first + 3], seed=9)
        assert np.array_equal(some_states, states[:, first : first + 3])
        assert np.array_equal(some_rewards, rewards[:, first : first + 3])

    @by_game()
    def test_nor_on_threads(self, game, many_threads):
        actions = actions_of(game, 7)
        one, three = Engine(game, 7, n_threads=1), Engine(game, 7, n_threads=3)
        assert three._threads_for(7, game.n_agents) == 3
        for mine, theirs in zip(play(one, actions, seed=9), play(three, actions, seed=9), strict=True):
            assert np.array_equal(mine, theirs)
        assert np.array_equal(one.counts, three.counts)
        assert np.array_equal(one.observe(), three.observe())
        policy = random_policy(np.random.default_rng(1), *table(game))
        mine, theirs = (e.rollout(policy, seed=4) for e in (one, three))
        for field in dataclasses.fields(mine):
            assert np.array_equal(getattr(mine, field.name), getattr(theirs, field.name)), field.name

    @by_game()
    def test_a_rollout_is_what_steps_and_sampled_actions_do(self, game):
        policy = random_policy(np.random.default_rng(0), *table(game))
        engine = Engine(game, 4, first_world=3)
        engine.reset(seed=11)
        for episode in range(2):
            run = engine.rollout(policy, seed=11, episode=episode)
            for h in range(game.horizon):
                assert np.array_equal(engine.states, run.states[:, h])
                chosen = engine.sample_actions(cumulative(policy[None]))
                assert np.array_equal(chosen, run.actions[:, h])
                assert np.array_equal(engine.step(chosen), run.rewards[:, h])
                assert np.array_equal(engine.counts, run.counts[:, h])
            assert np.array_equal(engine.states, run.states[:, -1])
            assert_allclose(run.returns, run.rewards.astype(float).sum(axis=1), rtol=1e-12)
            engine.reset()

    @by_game()
    def test_of_actions_in_any_dtype(self, game):
        actions = actions_of(game, 2)
        states, rewards = play(Engine(game, 2), actions.astype(np.int32), seed=1)
        for dtype in (np.int64, np.uint8):
            again = play(Engine(game, 2), actions.astype(dtype), seed=1)
            assert np.array_equal(again[0], states)
            assert np.array_equal(again[1], rewards)

    @by_game()
    def test_of_arrays_of_any_layout(self, game):
        """One engine is given arrays of all layouts by turns, of which each is compiled or copied for itself."""
        actions, worlds = actions_of(game, 2).astype(np.int32), (2, game.n_agents)
        states, rewards = play(Engine(game, 2), actions, seed=1)
        odd = np.empty(1 + 4 * actions[0].size, np.uint8)[1:].view(np.int32).reshape(worlds)
        wide, turned = np.full((2, 2 * game.n_agents), np.nan, np.float32), np.empty(worlds[::-1], np.float32)
        engine = Engine(game, 2)
        for round_ in range(3):
            engine.reset(seed=1)
            for h, wanted in enumerate(actions):
                odd[...] = wanted
                kept = wanted.copy()
                kept.flags.writeable = False
                chosen = (wanted, odd, kept, wanted.astype(np.int64), np.asfortranarray(wanted))[(h + round_) % 5]
                out = (None, wide[:, ::2], turned.T, np.empty(worlds, np.float32))[(h // 2 + round_) % 4]
                assert np.array_equal(engine.step(chosen, out), rewards[h])
                assert out is None or np.array_equal(out, rewards[h])
                assert np.array_equal(engine.states, states[h + 1])
        assert np.isnan(wide[:, 1::2]).all()

    def test_by_the_ids_of_worlds(self):
        policy = random_policy(np.random.default_rng(0), *table(TINY))
        run = Engine(TINY, 6).rollout(policy, seed=2)
        some = Engine(TINY, 1).rollout(policy, seed=2, world_ids=[4, 0, 4])
        assert np.array_equal(some.states, run.states[[4, 0, 4]])

    def test_a_rollout_leaves_the_engine_alone(self):
        engine = Engine(TINY, 2)
        engine.reset(seed=3)
        engine.step(actions_of(TINY, 2)[0])
        before = engine.states.copy(), engine.counts.copy(), engine.time, engine.episode
        engine.rollout(np.full(table(TINY), 0.5), seed=0, episode=7)
        after = engine.states, engine.counts, engine.time, engine.episode
        assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))


class TestEpisodes:
    @by_game()
    def test_worlds_episodes_and_seeds_differ(self, game):
        starts = {}
        engine = Engine(game, 5)
        for seed in (0, 1):
            for episode in range(3):
                states = engine.reset(seed if episode == 0 else None)
                assert engine.episode == episode
                starts |= {(seed, episode, w): tuple(states[w]) for w in range(5)}
        assert len(set(starts.values())) == len(starts) == 30

    @by_game()
    def test_reset_with_a_seed_repeats(self, game):
        engine, actions = Engine(game, 2), actions_of(game, 2)
        first = [play(engine, actions, seed=5), play(engine, actions)]
        again = [play(engine, actions, seed=5), play(engine, actions)]
        for (s, r), (t, q) in zip(first, again, strict=True):
            assert np.array_equal(s, t)
            assert np.array_equal(r, q)
        assert not np.array_equal(first[0][0], first[1][0])

    def test_the_default_seed_is_zero(self):
        assert np.array_equal(Engine(TINY, 3).reset(), Engine(TINY, 3).reset(seed=0))

    def test_the_largest_seed(self):
        assert not np.array_equal(Engine(GAMES[0], 3).reset(seed=2**64 - 1), Engine(GAMES[0], 3).reset(seed=0))
        for seed in (-1, 2**64):
            with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 18446744073709551615\], got"):
                Engine(TINY).reset(seed=seed)

    def test_time_and_end(self):
        engine, actions = Engine(TINY, 2), actions_of(TINY, 2)
        with pytest.raises(RuntimeError, match=r"step\(\) was called before reset\(\): call reset\(\) first"):
            engine.step(actions[0])
        engine.reset()
        for h in range(TINY.horizon):
            assert (engine.time, engine.is_playing) == (h, True)
            engine.step(actions[h])
        assert (engine.time, engine.is_playing) == (3, False)
        before = engine.states.copy()
        with pytest.raises(RuntimeError, match=r"step\(\) was called after the end of the episode: call reset"):
            engine.step(actions[0])
        assert np.array_equal(engine.states, before)
        with pytest.raises(RuntimeError, match=r"sample_actions\(\) was called outside an episode"):
            engine.sample_actions(cumulative(np.full((1, *table(TINY)), 0.5)))
        engine.reset()
        assert (engine.time, engine.is_playing, engine.episode) == (0, True, 1)


class TestRefusals:
    @pytest.mark.parametrize(("world", "agent", "action"), [(0, 0, 2), (2, 4, -1), (1, 3, 2**31 - 1)])
    @pytest.mark.parametrize("dtype", [np.int32, np.int64])
    @pytest.mark.parametrize("n_threads", [1, 2])
    def test_an_action_out_of_range_is_named_and_no_world_has_moved(
        self, world, agent, action, dtype, n_threads, many_threads
    ):
        engine = Engine(TINY, 3, n_threads=n_threads)
        engine.reset(seed=0)
        good = np.zeros((3, 5), dtype)
        engine.step(good)
        before = engine.states.copy(), engine.counts.copy(), engine.time
        bad = good.copy()
        bad[world, agent] = action
        with pytest.raises(ValueError, match=rf"^actions\[{world}, {agent}\] must be in \[0, 1\], got {action}$"):
            engine.step(bad)
        assert np.array_equal(engine.states, before[0])
        assert np.array_equal(engine.counts, before[1])
        assert engine.time == before[2]
        # And the episode goes on as if nothing had been asked.
        engine.step(good)
        assert np.array_equal(engine.states, play(Engine(TINY, 3), [good, good], seed=0)[0][-1])

    def test_the_first_of_several_is_named_across_threads(self, many_threads):
        engine = Engine(TINY, 4, n_threads=4)
        engine.reset()
        bad = np.zeros((4, 5), int)
        bad[3, 1] = bad[2, 3] = 7
        with pytest.raises(ValueError, match=r"actions\[2, 3\]"):
            engine.step(bad)

    @pytest.mark.parametrize(
        ("actions", "error", "message"),
        [
            (np.zeros((5, 3), int), ValueError, r"actions must have shape \(3, 5\), got \(5, 3\)"),
            (np.zeros(5, int), ValueError, r"actions must have shape \(3, 5\), got \(5,\)"),
            (np.zeros((3, 5)), TypeError, "actions must be integers, got dtype float64"),
            (np.zeros((3, 5), bool), TypeError, "actions must be integers, got dtype bool"),
        ],
    )
    def test_wrong_shapes_and_kinds(self, actions, error, message):
        engine = Engine(TINY, 3)
        before = engine.reset(seed=0).copy()
        with pytest.raises(error, match=message):
            engine.step(actions)
        assert np.array_equal(engine.states, before)
        assert engine.time == 0

    @pytest.mark.parametrize(
        "buffer", [np.zeros((3, 4), np.float32), np.zeros((3, 5)), np.zeros((5, 3), np.float32)]
    )
    def test_buffers_that_do_not_fit(self, buffer):
        """The kernels do not check bounds: writing there would overwrite other memory."""
        engine = Engine(TINY, 3)
        engine.reset()
        with pytest.raises(ValueError, match=r"rewards must be a float32 array of shape \(3, 5\), got shape"):
            engine.step(np.zeros((3, 5), int), buffer)
        with pytest.raises(ValueError, match=r"out must be a float32 array of shape \(3, 5, 3\), got shape"):
            engine.observe(buffer)
        with pytest.raises(ValueError, match=r"policy must have shape .* got \(1, 3, 2\)"):
            engine.sample_actions(np.ones((1, 3, 2), np.float32))
        with pytest.raises(ValueError, match=r"actions must be an int32 .* of shape \(3, 5\), got shape \(3, 4\)"):
            engine.sample_actions(np.ones((1, *table(TINY)), np.float32), np.zeros((3, 4), np.int32))

    def test_buffers_that_fit_are_filled_and_returned(self):
        engine = Engine(TINY, 3)
        engine.reset(seed=0)
        rewards, out = np.full((3, 5), np.nan, np.float32), np.full((3, 5, 3), np.nan, np.float32)
        assert engine.step(np.zeros((3, 5), int), rewards) is rewards
        assert engine.observe(out) is out
        assert np.isfinite(rewards).all()
        assert np.isfinite(out).all()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"game": 5}, TypeError, "game must be a Game or the name of one, got 5"),
            ({"game": "Epidemc-v0"}, ValueError, "unknown game 'Epidemc-v0' .*did you mean 'Epidemic-v0'"),
            ({"debug": "no"}, TypeError, "debug must be True or False, got 'no'"),
            ({"keep_accounts": 1}, TypeError, "keep_accounts must be True or False, got 1"),
            ({"n_worlds": 10**30}, ValueError, "n_worlds must be at most 16777216, got 1000"),
            ({"first_world": 2**64 - 1, "n_worlds": 2}, ValueError, "first_world must be at most 184"),
            ({"n_worlds": 0}, ValueError, "n_worlds must be an integer >= 1, got 0"),
            ({"n_threads": 0}, ValueError, "n_threads must be an integer >= 1, got 0"),
            ({"first_world": -1}, ValueError, "first_world must be an integer >= 0, got -1"),
        ],
    )
    def test_engines_that_cannot_be(self, arguments, error, message):
        with pytest.raises(error, match=message):
            Engine(**{"game": TINY} | arguments)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                {"world_ids": [0.5, 1.5]},
                TypeError,
                "world_ids must be integers in .*, got dtype float64",
            ),
            ({"world_ids": [True, False]}, TypeError, "world_ids must be integers in .*, got dtype bool"),
            ({"world_ids": [-1, 0]}, ValueError, r"world_ids\[0\] must be an integer in \[0, 1844.*, got -1"),
            ({"world_ids": [2**64, 0]}, TypeError, "world_ids must be integers in .*, got dtype object"),
            ({"world_ids": [[0, 1]]}, ValueError, r"at least one world, got shape \(1, 2\)"),
            ({"world_ids": 3}, ValueError, r"at least one world, got shape \(\)"),
            ({"world_ids": []}, ValueError, r"at least one world, got shape \(0,\)"),
            (
                {"world_ids": np.ma.array([0, 1], mask=[0, 1])},
                TypeError,
                "world_ids must be an array",
            ),
            ({"episode": -1}, ValueError, "episode must be an integer in"),
            ({"episode": 2**63}, ValueError, "episode must be an integer in"),
            (
                {"deviators": [0.5, 1.5], "deviations": np.full((2, 3, 2, 2), 0.5)},
                TypeError,
                r"deviators must be integers in \[-1, 4\], got dtype float64",
            ),
            (
                {"starts": np.ma.array(np.zeros((2, 5), int), mask=True)},
                TypeError,
                "starts must be an array without a mask",
            ),
            (
                {"starts": np.full((2, 5), 2)},
                ValueError,
                r"starts\[0, 0\] must be an integer in \[0, 1\], got 2",
            ),
            (
                {"policy": np.ma.array(np.full((3, 2, 2), 0.5))},
                TypeError,
                "policy must be an array",
            ),
        ],
    )
    def test_rollouts_of_wrong_kinds(self, arguments, error, message):
        """Nothing is cast or truncated, and no mask ignored."""
        with pytest.raises(error, match=message):
            Engine(TINY, 2).rollout(**{"policy": np.full((3, 2, 2), 0.5), "seed": 0} | arguments)

    @pytest.mark.parametrize(
        ("row", "shown"),
        [
            ([0.5, 0.5], "0.5, 0.5"),
            ([np.nan, 2.0], "nan"),
            ([-0.5, 2.0], "-0.5"),
            ([2.0, 1.0], "2.0"),
        ],
    )
    def test_a_table_that_is_not_cumulated(self, row, shown):
        """A law in the place of its sums would play (1/3, 0, 2/3), and nan always the first action."""
        engine = Engine(TINY, 3)
        engine.reset(seed=0)
        wrong = np.full((1, *table(TINY)), 2.0, np.float32)
        wrong[0, 0, 1] = row
        with pytest.raises(ValueError, match=rf"^policy\[0, 0, 1\] must be a cumulated law .*, got .*{shown}"):
            engine.sample_actions(wrong)
        own = np.full((5, *table(TINY)), 2.0, np.float32)
        agent = int((engine.states[0] == 1).argmax())
        own[agent, 0, 1] = row
        with pytest.raises(ValueError, match=rf"^policy\[{agent}, 0, 1\] must be a cumulated law"):
            engine.sample_actions(own)
        wrong[0, 0, 1] = 2.0
        wrong[0, 1] = row  # another time: not drawn from now
        engine.sample_actions(wrong)

    def test_masks_of_actions_are_not_ignored(self):
        engine = Engine(TINY, 2)
        engine.reset(seed=0)
        masked = np.ma.array(np.zeros((2, 5), int), mask=np.eye(2, 5))
        before = engine.states.copy()
        with pytest.raises(TypeError, match=r"^actions must be an array without a mask, got a masked array"):
            engine.step(masked)
        with pytest.raises(TypeError, match=r"^actions must be a numpy array to write to, got masked_array"):
            engine.sample_actions(cumulative(np.full((1, *table(TINY)), 0.5)), masked)
        assert np.array_equal(engine.states, before)

    def test_buffers_that_cannot_be_written_to(self):
        engine = Engine(TINY, 2)
        engine.reset(seed=0)
        actions, frozen = np.zeros((2, 5), int), np.zeros((2, 5), np.float32)
        frozen.flags.writeable = False
        for buffer, message in (
            (frozen, "rewards must be an array to write to, got a read-only one"),
            (np.zeros((2, 5), ">f4"), r"rewards must be a float32 array of shape \(2, 5\), got shape .* of >f4"),
        ):
            with pytest.raises(ValueError, match=message):
                engine.step(actions, buffer)
        with pytest.raises(TypeError, match=r"rewards must be a numpy array to write to, got \[\[0.0"):
            engine.step(actions, frozen.tolist())
        assert engine.time == 0
        engine.step(actions.astype(">i4"))  # what is only read is converted

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"policy": np.full((3, 2), 0.5)}, r"policy must have shape \(3, 2, 2\), got \(3, 2\)"),
            ({"policy": np.full((4, 3, 2, 2), 0.5)}, r"policy must have shape \(5, 3, 2, 2\), got \(4, 3, 2, 2\)"),
            ({"policy": np.full((3, 2, 2), 0.6)}, r"policy\[0, 0\] must be probabilities"),
            ({"seed": -1}, "seed must be"),
            ({"deviators": [0, 0]}, "deviators and deviations must be given together"),
            ({"deviations": np.full((2, 3, 2, 2), 0.5)}, "deviators and deviations must be given together"),
            (
                {"deviators": [0, 5], "deviations": np.full((2, 3, 2, 2), 0.5)},
                r"deviators\[1\] must be an integer in \[-1, 4\], got 5",
            ),
            (
                {"deviators": [0], "deviations": np.full((2, 3, 2, 2), 0.5)},
                r"deviators must have shape \(2,\), got \(1,\)",
            ),
            (
                {"deviators": [0, 1], "deviations": np.full((3, 2, 2), 0.5)},
                r"deviations must have shape \(2, 3, 2, 2\)",
            ),
        ],
    )
    def test_rollouts_that_cannot_be(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Engine(TINY, 2).rollout(**{"policy": np.full((3, 2, 2), 0.5), "seed": 0} | arguments)


def test_an_engine_takes_a_registered_name():
    engine = Engine("mfenvs/RockPaperScissors-v0", 2)
    assert engine.game == RockPaperScissors()


class TestObservations:
    @by_game()
    def test_own_state_one_hot_and_elapsed_time(self, game):
        engine, actions = Engine(game, 3), actions_of(game, 3)
        engine.reset(seed=1)
        for h in range(game.horizon + 1):
            expected = np.zeros((3, game.n_agents, game.n_states + 1))
            for (w, i), s in np.ndenumerate(engine.states):
                expected[w, i, s] = 1
                expected[w, i, -1] = h / game.horizon
            found = engine.observe()
            assert found.dtype == np.float32
            assert_allclose(found, expected, rtol=1e-6)
            assert all(game.observation_space.contains(x) for x in found[0])
            shares = [[(row == s).mean() for s in range(game.n_states)] for row in engine.states]
            assert_allclose(engine.occupancy(), shares, rtol=1e-6)
            if h < game.horizon:
                engine.step(actions[h])


class TestPolicies:
    @pytest.mark.parametrize("n_actions", [4, 12])
    @pytest.mark.parametrize("seed", [6, 2**64 - 3])
    def test_the_rollout_draws_actions_by_inversion_of_the_documented_number(self, seed, n_actions):
        """Few actions are compared one and all, many are searched."""
        game = Wheel(n_agents=15, n_actions=n_actions)
        policy = random_policy(np.random.default_rng(3), *table(game))
        run = Engine(game, 2).rollout(policy, seed=seed, episode=2)
        for w, h, i in np.ndindex(2, 3, 15):
            law = np.cumsum(policy[h, run.states[w, h, i]])
            assert run.actions[w, h, i] == (draw(seed, w, 2, h, ACT, i, 0) >= law[:-1]).sum()
            assert run.states[w, 0, i] == (draw(seed, w, 2, 0, START, i, 0) >= np.arange(1, 5) / 5).sum()

    @pytest.mark.parametrize("n_actions", [4, 12])
    def test_a_draw_on_the_edge_belongs_to_the_next_action(self, n_actions):
        """So that a draw of 0 never takes a first action of probability 0."""
        game = Wheel(n_agents=15, n_actions=n_actions)
        policy = np.zeros((15, *table(game)))
        for i, h in np.ndindex(15, 3):
            u = float(draw(3, 0, 0, h, ACT, i, 0))
            policy[i, h, :, 2], policy[i, h, :, 3] = u, 1 - u
        assert (Engine(game).rollout(policy, seed=3).actions == 3).all()

    @by_game()
    def test_frequencies_of_actions(self, game):
        """Pearson's chi-square at 1e-8 for every (h, s), at most 12 of them, seed fixed."""
        policy = random_policy(np.random.default_rng(5), *table(game))
        run = Engine(game, 400).rollout(policy, seed=1)
        for h, s in np.ndindex(game.horizon, game.n_states):
            chosen = run.actions[:, h][run.states[:, h] == s]
            found = np.bincount(chosen, minlength=game.n_actions)
            possible = policy[h, s] > 0
            assert (found[~possible] == 0).all()
            expected = len(chosen) * policy[h, s][possible]
            statistic = ((found[possible] - expected) ** 2 / expected).sum()
            assert statistic < 45  # chi-square with <= 2 degrees of freedom: p < 2e-10

    @by_game()
    def test_every_agent_plays_its_own_policy(self, game):
        """Agent i alone plays action i mod A surely; and equal copies are the same as one for all."""
        own = np.zeros((game.n_agents, *table(game)))
        for i in range(game.n_agents):
            own[i, ..., i % game.n_actions] = 1
        run = Engine(game, 3).rollout(own, seed=0)
        assert (run.actions == np.arange(game.n_agents) % game.n_actions).all()
        policy = random_policy(np.random.default_rng(5), *table(game))
        one = Engine(game, 3).rollout(policy, seed=0)
        copies = Engine(game, 3).rollout(np.stack([policy] * game.n_agents), seed=0)
        assert np.array_equal(one.actions, copies.actions)
        assert np.array_equal(one.rewards, copies.rewards)

    def test_only_the_deviator_deviates(self):
        """In rock-paper-scissors nobody's transition sees the others: all else stays as it was."""
        game = GAMES[1]
        rng = np.random.default_rng(2)
        policy, other = (random_policy(rng, *table(game)) for _ in range(2))
        forced = np.zeros(table(game))
        forced[..., 2] = 1
        engine, who = Engine(game, 4), np.array([3, -1, 0, 11])
        plain = engine.rollout(policy, seed=8)
        run = engine.rollout(policy, seed=8, deviators=who, deviations=[forced, forced, other, policy])
        for w in range(4):
            same = np.ones(game.n_agents, bool)
            if w in (0, 2):
                same[who[w]] = False
            assert np.array_equal(run.actions[w][:, same], plain.actions[w][:, same])
            assert np.array_equal(run.states[w][:, same], plain.states[w][:, same])
        assert (run.actions[0, :, 3] == 2).all()
        assert not np.array_equal(run.actions[2, :, 0], plain.actions[2, :, 0])
        assert np.array_equal(run.rewards[[1, 3]], plain.rewards[[1, 3]])
        # Others meet the deviator in the counts, from the first step on.
        changed = run.actions[0, 0, 3] != plain.actions[0, 0, 3]
        assert changed == (not np.array_equal(run.counts[0, 0], plain.counts[0, 0]))
        # A deviator's actions are drawn on the same random numbers from its own table.
        for h in range(game.horizon):
            law = np.cumsum(other[h, run.states[2, h, 0]])
            assert run.actions[2, h, 0] == (draw(8, 2, 0, h, ACT, 0, 0) >= law[:-1]).sum()


# A finite game of any size, whose rules know how to go wrong.


@rule
def faulty_transition(next_state, state, action, agent, world):
    """To state (action mod S) surely; a faulty agent's row sums to 1.8, is negative, or is no number."""
    right = 1.0 if next_state == action % world.constants[1] else 0.0
    fault = world.constants[0]
    if agent.is_faulty < 0.5 or action != 1 or fault == 0:
        return right
    if fault == 1:
        return right * 1.8
    if fault == 2:
        return 2.0 * right - 0.5 if next_state < 2 else 0.0
    return np.nan


@rule
def where_it_is(state, action, agent, world):
    return float(state)


@dataclasses.dataclass(kw_only=True)
class Wheel(FiniteGame):
    n_agents: int = 40
    horizon: int = 3
    fault: int = 0
    n_states: int = 5
    n_actions: int = 4
    agent_dtype = np.dtype([("is_faulty", np.float32)])
    transition = staticmethod(faulty_transition)
    reward = staticmethod(where_it_is)

    @property
    def constants(self):
        return (self.fault, self.n_states)

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["is_faulty"][3] = 1
        return agents


@rule
def infinite_for_gamblers(state, action, agent, world):
    return np.inf if action == 1 else 0.0


@rule
def stay_at_zero(next_state, state, action, agent, world):
    return 1.0 if next_state == 0 else 0.0


@dataclasses.dataclass(kw_only=True)
class Gambler(FiniteGame):
    n_agents: int = 3
    horizon: int = 3
    n_states = 1
    n_actions = 2
    agent_dtype = np.dtype([("unused", np.float32)])
    transition = staticmethod(stay_at_zero)
    reward = staticmethod(infinite_for_gamblers)


class TestDebug:
    @pytest.mark.parametrize(("fault", "row"), [(1, "0.0, 1.8"), (2, "-0.5, 1.5"), (3, "nan, nan")])
    def test_an_invalid_row_is_named(self, fault, row):
        engine = Engine(Wheel(n_agents=6, fault=fault), 2, debug=True)
        engine.reset(seed=0)
        actions = np.zeros((2, 6), int)
        engine.step(actions)  # no agent is where the rule is wrong
        actions[1, 2:] = 1
        before = engine.states.copy()
        message = (
            r"^Wheel\.transition must return probabilities that sum to 1 over next_state, got"
            rf" \[{row}.*\] with sum .* for agent 3 in state 0 with action 1 at time 1 of world 1$"
        )
        with pytest.raises(ValueError, match=message):
            engine.step(actions)
        assert np.array_equal(engine.states, before)
        assert engine.time == 1

    @by_game([*GAMES, Wheel()])
    def test_a_right_game_passes_and_plays_the_same(self, game):
        actions = actions_of(game, 2)
        debugged, plain = (play(Engine(game, 2, debug=debug), actions, seed=1) for debug in (True, False))
        assert np.array_equal(debugged[0], plain[0])
        assert np.array_equal(debugged[1], plain[1])

    def test_rewards_that_are_not_finite_are_named(self):
        engine = Engine(Gambler(), 2, debug=True)
        engine.reset(seed=0)
        engine.step(np.zeros((2, 3), int))
        actions = np.array([[0, 0, 0], [0, 1, 0]])
        before = engine.states.copy()
        message = r"^the rewards of Gambler must be finite, got inf for agent 1 in state 0 with action 1 at time 1"
        with pytest.raises(ValueError, match=message):
            engine.step(actions)
        assert np.array_equal(engine.states, before)

    def test_an_action_out_of_range_is_still_refused_as_such(self):
        engine = Engine(Wheel(), 1, debug=True)
        engine.reset()
        with pytest.raises(ValueError, match=r"actions\[0, 39\] must be in \[0, 3\], got 4"):
            engine.step(np.r_[np.zeros(39, int), 4][None])


@rule
def almost_certain_thirds(next_state, state, action, agent, world):
    third = np.float32(0.33333331)  # three of them sum to less than one in single precision
    return third if next_state < 3 else np.float32(0.0)


@dataclasses.dataclass(kw_only=True)
class Thirds(FiniteGame):
    n_agents: int = 10
    horizon: int = 1
    n_states = 5
    n_actions = 1
    agent_dtype = np.dtype([("unused", np.float32)])
    transition = staticmethod(almost_certain_thirds)
    reward = staticmethod(where_it_is)


def test_rounding_never_selects_a_state_behind_the_last_possible_one():
    """The largest draw, 1 - 2^-24, is above the sum of the row in single precision."""
    step = plain(Thirds().rules.step)
    draws = np.float32([0.0, 0.5, 1 - 2**-24])
    for draw, expected in zip(draws, (0, 1, 2), strict=True):
        scope = {**step.__globals__, "uniform": lambda key, stream, draw=draw: draw}
        replayed = types.FunctionType(step.__code__, scope, None, None, step.__closure__)
        assert replayed(0, 0, None, None, 0)[0] == expected


class TestCounts:
    @pytest.mark.parametrize("n_states", [2, 5])
    def test_few_cells_and_many_against_bincount(self, n_states):
        """8 cells are counted by a pass per cell, 20 by scattered increments."""
        game = Wheel(n_states=n_states)
        run = Engine(game, 6).rollout(random_policy(np.random.default_rng(0), *table(game)), seed=0)
        cells = run.states[:, :-1].astype(int) * 4 + run.actions
        for w, h in np.ndindex(6, 3):
            assert np.array_equal(run.counts[w, h], np.bincount(cells[w, h], minlength=4 * n_states))


# A small market in the form of the later games: structured state, weights, a price, tables, Box actions.

PLACES = 20


@rule
def market_start(agent, initial, key):
    return int(uniform(key, 0) * np.float32(PLACES)), initial[0] + initial[1] * uniform(key, 1), np.uint32(0)


@rule
def market_cell(state, action, agent):
    return state.place


@rule
def market_weight(state, action, agent):
    return agent.size * action[1]


@rule
def market_price(world, signal):
    slope, worth = world.constants
    total = np.float32(0.0)
    for c in range(PLACES):
        total += world.counts[c] * worth[c]
    signal[0] = slope * total * world.per_agent
    signal[1] = world.own_cell  # -1: the price is everyone's


@rule
def market_step(state, action, agent, world, key):
    """Trade at the common price, suffer one's neighbours, move by one's speed and luck, count the moves."""
    luck, jump = uniform(key, 0), uniform(key, 3)
    here, other = crowd(world, state.place), share(world, state.place)
    reward = agent.taste * world.signal[0] - here + np.float32(0.5) * other + luck
    moved = int(action[0]) + int(jump < np.float32(0.3))
    return (
        (state.place + moved) % PLACES,
        state.cash + reward,
        state.visits | (np.uint32(1) << state.place),
    ), reward


@rule
def market_observe(out, state, agent, public):
    out[0] = state.place / np.float32(PLACES)
    out[1] = public.elapsed
    out[2] = agent.size


@dataclasses.dataclass(kw_only=True)
class Market(Game):
    n_agents: int = 9
    horizon: int = 4
    slope: float = 0.7
    agent_dtype = np.dtype([("size", np.float32), ("taste", np.float32)])
    state_dtype = np.dtype([("place", np.int32), ("cash", np.float32), ("visits", np.uint32)])
    n_cells = PLACES
    n_features = 3
    n_signals = 2
    action_space = gymnasium.spaces.Box(0.0, 3.0, (2,), np.float32)
    start = staticmethod(market_start)
    cell = staticmethod(market_cell)
    weight = staticmethod(market_weight)
    aggregate = staticmethod(market_price)
    step = staticmethod(market_step)
    observe = staticmethod(market_observe)

    @property
    def constants(self):
        return np.float32(self.slope), np.linspace(0, 1, PLACES, dtype=np.float32)

    @property
    def initial(self):
        return np.array([10.0, 5.0], np.float32)

    def draw_agents(self, rng):
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["size"], agents["taste"] = rng.uniform(0.5, 2, (2, self.n_agents))
        return agents


def simulate_market(game, actions, seed, world, episode):
    """The same market for one world, agent by agent in double precision."""
    n, worth = game.n_agents, np.linspace(0, 1, PLACES)
    size, taste = game.agents["size"].astype(float), game.agents["taste"].astype(float)
    place = np.array([int(draw(seed, world, episode, 0, START, i, 0) * PLACES) for i in range(n)])
    cash = np.array([10 + 5 * draw(seed, world, episode, 0, START, i, 1) for i in range(n)])
    visits = [set() for _ in range(n)]
    states, rewards, weights = [(place.copy(), cash.copy(), [0] * n)], [], []
    for h, action in enumerate(actions):
        stake = size * action[:, 1]
        price = 0.7 * (stake * worth[place]).sum() / n
        gain = np.empty(n)
        for i in range(n):
            here = stake[place == place[i]].sum()
            luck = draw(seed, world, episode, h, ADVANCE, i, 0)
            gain[i] = taste[i] * price - here / n + 0.5 * (here - stake[i]) / (n - 1) + luck
        weights.append(np.bincount(place, stake, PLACES))
        for i in range(n):
            visits[i].add(place[i])
            jump = draw(seed, world, episode, h, ADVANCE, i, 3) < np.float32(0.3)
            place[i] = (place[i] + int(action[i, 0]) + jump) % PLACES
        cash = cash + gain
        rewards.append(gain)
        states.append((place.copy(), cash.copy(), [sum(1 << int(p) for p in v) for v in visits]))
    return states, rewards, weights


class TestAGameOfAnotherKind:
    """The contract carries what the taxi, the auction, the linear-quadratic game and the market need."""

    @pytest.mark.parametrize("n_threads", [1, 2])
    def test_against_a_plain_simulation(self, n_threads, many_threads):
        game = Market()
        rng = np.random.default_rng(0)
        actions = rng.uniform(0, 3, (game.horizon, 3, game.n_agents, 2)).astype(np.float32)
        engine = Engine(game, 3, first_world=2, n_threads=n_threads)
        engine.reset(seed=5)
        for episode in (0, 1):
            plain = [simulate_market(game, actions[:, w], 5, w + 2, episode) for w in range(3)]
            for h in range(game.horizon + 1):
                for w, (states, _, _) in enumerate(plain):
                    assert np.array_equal(engine.states["place"][w], states[h][0])
                    assert_allclose(engine.states["cash"][w], states[h][1], rtol=1e-5)
                    assert np.array_equal(engine.states["visits"][w], states[h][2])
                seen = engine.observe()
                assert_allclose(seen[..., 0], engine.states["place"] / PLACES, rtol=1e-6)
                assert_allclose(seen[..., 1], h / game.horizon)
                assert_allclose(seen[..., 2], np.tile(game.agents["size"], (3, 1)))
                if h < game.horizon:
                    rewards = engine.step(actions[h])
                    assert_allclose(rewards, [p[1][h] for p in plain], rtol=1e-4, atol=1e-5)
                    assert_allclose(engine.counts, [p[2][h] for p in plain], rtol=1e-5, atol=1e-5)
                    assert (engine._signal[:, 1] == -1).all()
            engine.reset()

    def test_box_actions_have_the_shape_of_the_box(self):
        engine = Engine(Market(), 2)
        engine.reset()
        with pytest.raises(ValueError, match=r"actions must have shape \(2, 9, 2\), got \(2, 9\)"):
            engine.step(np.zeros((2, 9)))
        with pytest.raises(TypeError, match="actions must be an array of numbers"):
            engine.step(np.full((2, 9, 2), "a"))
        engine.step(np.zeros((2, 9, 2)))
        engine.step(np.zeros((2, 9, 2), int))

    @pytest.mark.parametrize(("value", "shown"), [(3.5, "3.5"), (-0.1, "-0.1"), (np.nan, "nan"), (np.inf, "inf")])
    def test_box_actions_stay_in_the_box(self, value, shown):
        engine = Engine(Market(), 2)
        engine.reset(seed=0)
        before = engine.states.copy()
        actions = np.ones((2, 9, 2))
        actions[1, 4, 0] = value
        with pytest.raises(ValueError, match=rf"actions\[1, 4, 0\] must be in \[0, 3\], got {shown}"):
            engine.step(actions)
        assert np.array_equal(engine.states, before)
        assert engine.time == 0

    def test_what_needs_a_finite_game_says_so(self):
        engine = Engine(Market(), 2)
        engine.reset()
        with pytest.raises(TypeError, match=r"occupancy\(\) needs a game with a rule place, which Market has not"):
            engine.occupancy()
        for call in (
            lambda: engine.rollout(np.ones((4, 1, 1)), seed=0),
            lambda: engine.sample_actions(np.ones((1, 4, 1, 1), np.float32)),
        ):
            with pytest.raises(TypeError, match=r"needs a FiniteGame, got Market"):
                call()


@settings(max_examples=25)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(1, 6),
    st.integers(2, 9),
    st.integers(0, 2**63),
    st.integers(1, 4),
)
def test_population_is_conserved_for_any_seed_and_size(seed, n_worlds, n_agents, first_world, horizon):
    game = Epidemic(n_agents=n_agents, horizon=horizon)
    run = Engine(game, n_worlds, first_world=first_world).rollout(np.full(table(game), 0.5), seed=seed)
    assert (run.counts.sum(axis=-1) == n_agents).all()
    assert run.states.max() <= 1
    assert ((run.rewards <= 0) & (run.rewards >= -1.6001)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_use_threads(many_threads):
    """Its parent's pool has no threads there: waiting for it would never end."""
    engine = Engine(TINY, 4, n_threads=2)
    expected = engine.reset(seed=3).copy()
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(20)
        os._exit(0 if np.array_equal(Engine(TINY, 4, n_threads=2).reset(seed=3), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
