import re

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import mfenvs

SMALL = {"n_agents": 5, "horizon": 3}


def make_vec(**kwargs):
    return gymnasium.make_vec("mfenvs/Epidemic-v0", **(SMALL | kwargs))


@pytest.mark.parametrize(
    ("given", "n_worlds"),
    [
        ({}, 1),
        ({"n_worlds": 3}, 3),
        ({"num_envs": 5}, 1),
        ({"num_envs": 15}, 3),
        ({"num_envs": 15, "n_worlds": 3}, 3),
        ({"num_envs": 1, "n_worlds": 2}, 2),
    ],
)
def test_num_envs_counts_agents_of_all_worlds(given, n_worlds):
    vector = make_vec(**given)
    assert (vector.n_worlds, vector.num_envs) == (n_worlds, 5 * n_worlds)
    assert vector.engine.n_worlds == n_worlds


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"num_envs": 7}, ValueError, "got num_envs=7 with n_agents=5"),
        ({"num_envs": 15, "n_worlds": 2}, ValueError, "got num_envs=15 with n_agents=5 and n_worlds=2"),
        ({"num_envs": 0}, ValueError, "num_envs must be an integer >= 1, got 0"),
        ({"n_worlds": 0}, ValueError, "n_worlds must be an integer >= 1, got 0"),
        ({"n_worlds": 1.5}, TypeError, "n_worlds must be an integer >= 1, got 1.5"),
        ({"autoreset_mode": "Never"}, ValueError, "'NextStep', 'SameStep', 'Disabled', got 'Never'"),
        ({"max_episode_steps": 0}, ValueError, "max_episode_steps must be an integer >= 1, got 0"),
        ({"copy": "a"}, TypeError, "copy must be True or False, got 'a'"),
        ({"debug": "no"}, TypeError, "debug must be True or False, got 'no'"),
        ({"n_agent": 3}, TypeError, "did you mean 'n_agents'?"),
        ({"n_agents": 1}, ValueError, "n_agents must be an integer in [2, 16777216], got 1"),
        ({"recovery": -0.5}, ValueError, "recovery must"),
    ],
)
def test_arguments_that_are_not_allowed(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make_vec(**given)


@pytest.mark.parametrize("maker", [mfenvs.parallel_env, mfenvs.vector_env, mfenvs.vec_env])
def test_unknown_games_and_keywords(maker):
    with pytest.raises(ValueError, match=r"unknown game 'Epidemc-v0' \(did you mean 'Epidemic-v0'\?\)"):
        maker("Epidemc-v0")
    with pytest.raises(TypeError, match=r"no constant 'n_agent' \(did you mean 'n_agents'\?\)"):
        maker("Epidemic-v0", n_agent=3)
    with pytest.raises(ValueError, match="cannot be set on a game that is already made"):
        maker(mfenvs.make("Epidemic-v0"), n_agents=3)


@pytest.mark.parametrize("mode", ["SameStep", AutoresetMode.SAME_STEP])
def test_modes_by_name_and_by_value(mode):
    assert make_vec(autoreset_mode=mode).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert make_vec().metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def adapters():
    vector = make_vec()
    vec = mfenvs.vec_env("Epidemic-v0", **SMALL)
    return {"gymnasium": vector, "sb3": vec}


@pytest.mark.parametrize("name", ["gymnasium", "sb3"])
class TestActions:
    @pytest.mark.parametrize(
        ("actions", "error", "message"),
        [
            ([0, 1, 0, 1], ValueError, "actions must have shape (5,), got (4,)"),
            ([[0, 1, 0, 1, 0]], ValueError, "actions must have shape (5,), got (1, 5)"),
            (1, ValueError, "actions must have shape (5,), got ()"),
            ([0, 1, 2, 0, 0], ValueError, "actions[0, 2] must be in [0, 1], got 2"),
            ([0, 1, 0, 0, -1], ValueError, "actions[0, 4] must be in [0, 1], got -1"),
            ([0.0] * 5, TypeError, "actions must be integers, got dtype float64"),
        ],
    )
    def test_wrong_ones_move_nothing(self, name, actions, error, message):
        env = adapters()[name]
        env.reset()
        before = env.engine.states.copy()
        with pytest.raises(error, match=re.escape(message)):
            env.step(actions)
        np.testing.assert_array_equal(env.engine.states, before)
        env.step(np.zeros(5, int))

    def test_none_before_reset(self, name):
        with pytest.raises(RuntimeError, match=r"step\(\) was called before reset\(\): call reset\(\) first"):
            adapters()[name].step(np.zeros(5, int))


@pytest.mark.parametrize(
    "reset",
    [
        lambda seed: make_vec().reset(seed=seed),
        lambda seed: mfenvs.parallel_env("Epidemic-v0", **SMALL).reset(seed=seed),
        lambda seed: mfenvs.vec_env("Epidemic-v0", **SMALL).seed(seed),
        lambda seed: mfenvs.api.gymnasium.RepresentativeAgentEnv("Epidemic-v0", **SMALL).reset(seed=seed),
    ],
)
def test_seeds_that_are_none(reset):
    for seed, error in (
        (-1, ValueError),
        (True, ValueError),
        (2**64, ValueError),
        (1.5, TypeError),
        ("a", TypeError),
    ):
        with pytest.raises(error, match=re.escape(f"seed must be an integer in [0, {2**64 - 1}], got {seed!r}")):
            reset(seed)
    reset(np.int64(3))
    reset(2**64 - 1)


def test_options_are_a_dict():
    with pytest.raises(TypeError, match="options must be a dict or None, got 5"):
        make_vec().reset(options=5)


def test_waiting_without_actions():
    vec = mfenvs.vec_env("Epidemic-v0", **SMALL)
    vec.reset()
    vec.step(np.zeros(5, int))
    with pytest.raises(RuntimeError, match=r"call step_async\(\) first"):
        vec.step_wait()


def test_a_reset_mask_must_select_all_slots():
    vector = make_vec(autoreset_mode="Disabled")
    vector.reset(seed=0, options={"anything": 1})
    for mask in (np.array([True] * 4 + [False]), np.ones(4, bool), np.ones(5, int), True):
        with pytest.raises(ValueError, match=r"options\['reset_mask'\] must be True for all 5 slots"):
            vector.reset(options={"reset_mask": mask})


def test_a_longer_limit_than_the_horizon_changes_nothing():
    vector = make_vec(max_episode_steps=100)
    vector.reset(seed=0)
    for _ in range(3):
        _, _, terminations, truncations, _ = vector.step(np.zeros(5, int))
    assert terminations.all()
    assert not truncations.any()


def test_kept_arrays_do_not_change_unless_asked():
    vector, buffers = make_vec(), make_vec(copy=False)
    for env, keeps in ((vector, True), (buffers, False)):
        first = env.reset(seed=0)[0]
        kept = first.copy()
        for _ in range(2):
            env.step(np.ones(5, int))
        assert np.array_equal(first, kept) is keeps
