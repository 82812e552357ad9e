import contextlib
import io
import re

import gymnasium
import numpy as np
import pytest
import supersuit
from line import Line
from pettingzoo.test import seed_test

import mfenvs


@pytest.fixture
def parallel():
    return mfenvs.parallel_env("Epidemic-v0", n_agents=4, horizon=3)


def all_playing(env, action=0):
    return dict.fromkeys(env.agents, action)


def test_max_cycles_truncates_and_can_be_written(parallel):
    assert parallel.max_cycles == 3
    parallel.max_cycles = 2
    for _ in range(2):
        parallel.reset(seed=0)
        flags = [parallel.step(all_playing(parallel))[2:4] for _ in range(2)]
        assert [set(truncations.values()) for _, truncations in flags] == [{False}, {True}]
        assert not any(any(terminations.values()) for terminations, _ in flags)
        assert parallel.agents == []
    parallel.max_cycles = 1000
    parallel.reset()
    for _ in range(3):
        _, _, terminations, truncations, _ = parallel.step(all_playing(parallel))
    assert set(terminations.values()) == {True}
    assert set(truncations.values()) == {False}
    parallel.max_cycles = None
    assert parallel.max_cycles == 3
    with pytest.raises(ValueError, match="max_cycles must be an integer >= 1, got 0"):
        parallel.max_cycles = 0
    with pytest.raises(ValueError, match="max_cycles must be an integer >= 1, got -1"):
        mfenvs.parallel_env("Epidemic-v0", max_cycles=-1)


def test_agents_share_one_space_each(parallel):
    assert len({id(parallel.observation_space(name)) for name in parallel.possible_agents}) == 1
    assert len({id(parallel.action_space(name)) for name in parallel.possible_agents}) == 1
    with pytest.raises(KeyError):
        parallel.action_space("taxi_0")


def test_metadata_names_the_game(parallel):
    assert parallel.metadata["name"] == "Epidemic-v0"
    assert str(parallel) == "Epidemic-v0"

    class Flu(type(parallel.game)):
        pass

    assert str(mfenvs.parallel_env(Flu(n_agents=3))) == "Flu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("agent_1"), "exactly the 4 live agents: missing agent_1"),
        (lambda a: a.update(taxi_0=0), "exactly the 4 live agents: unknown taxi_0"),
        (lambda a: a.update(taxi_0=a.pop("agent_2")), "missing agent_2; unknown taxi_0"),
        (lambda a: a.update({7: 0}), "unknown 7"),
        (lambda a: a.clear(), "missing agent_0, agent_1, agent_2, agent_3"),
    ],
)
def test_actions_must_name_the_live_agents(parallel, change, message):
    parallel.reset(seed=0)
    actions = all_playing(parallel)
    change(actions)
    with pytest.raises(ValueError, match=f"actions must name {message}$|{message}$"):
        parallel.step(actions)
    assert parallel.engine.time == 0


@pytest.mark.parametrize("actions", [None, 0, [0, 1, 0, 1], "agent_0"])
def test_actions_are_a_mapping(parallel, actions):
    parallel.reset(seed=0)
    message = f"actions must be a mapping from each of the 4 live agents to its action, got {actions!r}"
    with pytest.raises(TypeError, match=re.escape(message)):
        parallel.step(actions)
    assert parallel.engine.time == 0


def test_the_state_is_the_mean_field_and_the_time(parallel):
    with pytest.raises(RuntimeError, match=r"state\(\) was called before reset"):
        parallel.state()
    parallel.reset(seed=0)
    assert parallel.state_space.shape == (3,)
    for t in range(4):
        infected = float((parallel.engine.states[0] == 0).mean())
        assert parallel.state().tolist() == [infected, 1 - infected, np.float32(t / 3)]
        assert parallel.state() in parallel.state_space
        if t < 3:
            parallel.step(all_playing(parallel, t % 2))
    turns = mfenvs.api.pettingzoo.env("Epidemic-v0", n_agents=4, horizon=3)
    turns.reset(seed=0)
    assert turns.state_space == parallel.state_space
    assert turns.state().shape == (3,)


def test_without_places_the_state_is_what_agents_observe_on_average():
    parallel = mfenvs.parallel_env(Line())
    parallel.reset()
    assert parallel.state_space == gymnasium.spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))
    assert parallel.state().tolist() == [0, 0]
    parallel.step(dict(zip(parallel.agents, np.float32([[1], [-0.5], [0.5]]), strict=True)))
    # 0.25 * 1, 0.625 * -0.5 and 1 * 0.5
    np.testing.assert_allclose(parallel.state(), [0.4375 / 3, 0.5], rtol=1e-6)


def test_random_numbers_for_wrappers_follow_the_seed(parallel):
    parallel.np_random.integers(5)
    drawn = []
    for seed in (3, 3, 4):
        parallel.reset(seed=seed)
        drawn.append(parallel.np_random.integers(10**9))
    assert drawn[0] == drawn[1] != drawn[2]
    parallel.reset()
    assert parallel.np_random.integers(10**9) != drawn[2]
    skipping = supersuit.frame_skip_v0(parallel, 2)
    skipping.reset(seed=0)
    skipping.step(all_playing(parallel))
    assert parallel.engine.time == 2


def test_environments_of_a_game_with_one_space_have_spaces_of_their_own():
    """Line declares one object for its class."""
    makers = [
        lambda: mfenvs.parallel_env(Line()).action_space("agent_0"),
        lambda: mfenvs.vector_env(Line()).single_action_space,
        lambda: mfenvs.vec_env(Line()).action_space,
        lambda: mfenvs.api.gymnasium.RepresentativeAgentEnv(Line()).action_space,
    ]
    Line.action_space.seed(0)
    for maker in makers:
        first, second = maker(), maker()
        assert first is not second
        assert first == second == Line.action_space
        assert first.sample() != second.sample()
        first.seed(1)
        expected = [first.sample() for _ in range(3)]
        first.seed(1)
        found = []
        for _ in range(3):
            found.append(first.sample())
            second.sample()
        assert found == expected
    with contextlib.redirect_stdout(io.StringIO()):
        seed_test(lambda: mfenvs.api.pettingzoo.env(Line()), num_cycles=5)


def test_many_missing_agents_are_not_all_listed():
    parallel = mfenvs.parallel_env("Epidemic-v0", n_agents=100)
    parallel.reset(seed=0)
    with pytest.raises(ValueError, match=r"missing agent_0, .*agent_4 and 95 more$"):
        parallel.step({})


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (2, ValueError, "actions[0, 1] must be in [0, 1], got 2"),
        (-1, ValueError, "actions[0, 1] must be in [0, 1], got -1"),
        (0.5, TypeError, "actions must be integers, got dtype float64"),
        (None, TypeError, "actions must be integers, got dtype object"),
    ],
)
def test_actions_that_are_none(parallel, action, error, message):
    parallel.reset(seed=0)
    before = parallel.engine.states.copy()
    with pytest.raises(error, match=re.escape(message)):
        parallel.step(all_playing(parallel) | {"agent_1": action})
    np.testing.assert_array_equal(parallel.engine.states, before)
    assert parallel.engine.time == 0


def test_steps_outside_an_episode(parallel):
    with pytest.raises(RuntimeError, match=r"before reset\(\): call reset\(\) first"):
        parallel.step({})
    for max_cycles in (None, 1):
        parallel.max_cycles = max_cycles
        parallel.reset(seed=0)
        while parallel.agents:
            parallel.step(all_playing(parallel))
        for actions in ({}, dict.fromkeys(parallel.possible_agents, 0)):
            with pytest.raises(RuntimeError, match=r"after the end of the episode: call reset\(\) first"):
                parallel.step(actions)


def test_returned_dictionaries_are_the_callers(parallel):
    observations, infos = parallel.reset(seed=0)
    kept = {name: row.copy() for name, row in observations.items()}
    infos["agent_0"]["note"] = 1
    assert infos["agent_1"] == {}
    _, _, terminations, truncations, infos = parallel.step(all_playing(parallel))
    assert infos == {name: {} for name in parallel.agents}
    terminations["agent_0"] = truncations["agent_1"] = True
    _, _, terminations, truncations, _ = parallel.step(all_playing(parallel))
    assert not any(terminations.values())
    assert not any(truncations.values())
    for name, row in observations.items():
        np.testing.assert_array_equal(row, kept[name])
