"""One seed and the same actions give the same game through every API."""

import gymnasium
import numpy as np
import pytest
from replay import Recording

import mfenvs
from mfenvs import a_rps_v0, a_sis_v0
from mfenvs.api.population import Population


@pytest.fixture(params=list(mfenvs.registered_games()))
def recording(request):
    return Recording(mfenvs.make(request.param, n_agents=5, horizon=3), n_worlds=1, n_episodes=2, seed=11)


def test_parallel_env(recording):
    parallel = mfenvs.parallel_env(recording.game)
    for e in range(2):
        observations, _ = parallel.reset(seed=recording.seed if e == 0 else None)
        for t in range(3):
            np.testing.assert_array_equal(list(observations.values()), recording.observations[e, t, 0])
            # The order of the dict's keys is the caller's.
            actions = dict(reversed(list(zip(parallel.agents, recording.actions[e, t, 0], strict=True))))
            observations, rewards, *_ = parallel.step(actions)
            assert list(rewards.values()) == recording.rewards[e, t, 0].tolist()
        np.testing.assert_array_equal(list(observations.values()), recording.observations[e, 3, 0])


def test_aec_env(recording):
    turns = mfenvs.api.pettingzoo.env(recording.game)
    turns.reset(seed=recording.seed)
    for t in range(3):
        for i, name in enumerate(recording.game.agent_names):
            observation, reward, *_ = turns.last()
            assert turns.agent_selection == name
            assert reward == (recording.rewards[0, t - 1, 0, i] if t else 0)
            np.testing.assert_array_equal(observation, recording.observations[0, t, 0, i])
            turns.step(recording.actions[0, t, 0, i])


def test_vector_env_and_vec_env(recording):
    vector = mfenvs.vector_env(recording.game, autoreset_mode="SameStep")
    vec = mfenvs.vec_env(recording.game)
    vec.seed(recording.seed)
    for first in (vector.reset(seed=recording.seed)[0], vec.reset()):
        np.testing.assert_array_equal(first, recording.observations[0, 0, 0])
    for e in range(2):
        for t in range(3):
            for step in (vector.step(recording.rows(e, t)), vec.step(recording.rows(e, t))):
                np.testing.assert_array_equal(step[1], recording.rewards[e, t, 0])
                if t < 2:
                    np.testing.assert_array_equal(step[0], recording.observations[e, t + 1, 0])


def test_worlds_of_a_batch_are_rows_in_order():
    wide = Recording(mfenvs.make("Epidemic-v0", n_agents=4, horizon=3), n_worlds=3, n_episodes=1)
    vector = mfenvs.vector_env(wide.game, 3)
    vector.reset(seed=wide.seed)
    for t in range(3):
        observations, rewards, *_ = vector.step(wide.rows(0, t))
        np.testing.assert_array_equal(rewards.reshape(3, 4), wide.rewards[0, t])
        np.testing.assert_array_equal(observations.reshape(3, 4, -1), wide.observations[0, t + 1])


def test_an_observation_is_the_own_state_and_the_time():
    vector = mfenvs.vector_env("Epidemic-v0", n_agents=4, horizon=8, max_episode_steps=2)
    for t, rows in enumerate([vector.reset(seed=0)[0], vector.step([0, 1, 0, 1])[0]]):
        for row, state in zip(rows, vector.engine.states[0], strict=True):
            assert row.tolist() == [state == 0, state == 1, t / 8]


def test_the_population_block_counts_the_own_world():
    vector = mfenvs.vector_env("RockPaperScissors-v0", 2, n_agents=4, observe_population=True)
    vector.reset(seed=0)
    rows = vector.step([0, 0, 1, 0, 2, 2, 2, 1])[0].reshape(2, 4, 7)
    # The next state is the action.
    np.testing.assert_array_equal(rows[0, :, 4:], np.tile([0.75, 0.25, 0.0], (4, 1)))
    np.testing.assert_array_equal(rows[1, :, 4:], np.tile([0.0, 0.25, 0.75], (4, 1)))
    np.testing.assert_array_equal(rows[0, 2, :4], np.array([0, 1, 0, 0.1], np.float32))


def test_without_a_seed_a_first_reset_is_random_and_tells_its_seed():
    makers = [
        lambda: mfenvs.vector_env("Epidemic-v0", n_agents=64),
        lambda: gymnasium.make("mfenvs/Epidemic-v0", n_agents=64).unwrapped,
    ]
    for maker in makers:
        first, second = maker(), maker()
        first.reset()
        second.reset()
        assert not np.array_equal(first.engine.states, second.engine.states)
        second.reset(seed=first.np_random_seed)
        np.testing.assert_array_equal(first.engine.states, second.engine.states)
    for first, second in (
        [mfenvs.parallel_env("Epidemic-v0", n_agents=64) for _ in range(2)],
        [mfenvs.vec_env("Epidemic-v0", n_agents=64) for _ in range(2)],
    ):
        first.reset()
        second.reset()
        assert not np.array_equal(first.engine.states, second.engine.states)


def test_unseeded_resets_go_on_with_the_last_seed():
    vector = mfenvs.vector_env("Epidemic-v0", n_agents=64)
    runs = []
    for _ in range(2):
        runs.append([vector.reset(seed=1)[0], vector.reset()[0], vector.reset()[0]])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert len({run.tobytes() for run in runs[0]}) == 3


def test_pettingzoo_modules_are_the_games():
    assert type(a_sis_v0.parallel_env(n_agents=3).game).__name__ == "Epidemic"
    assert type(a_rps_v0.parallel_env(n_agents=3).game).__name__ == "RockPaperScissors"
    turns = a_sis_v0.env(n_agents=3)
    turns.reset(seed=0)
    assert turns.agents == ["agent_0", "agent_1", "agent_2"]
    assert a_rps_v0.raw_env is a_rps_v0.env


def test_debug_reaches_the_engine():
    assert mfenvs.parallel_env("Epidemic-v0", debug=True).engine.debug
    assert mfenvs.vector_env("Epidemic-v0", debug=True).engine.debug
    assert mfenvs.vec_env("Epidemic-v0", debug=True).engine.debug
    assert gymnasium.make("mfenvs/Epidemic-v0", debug=True).unwrapped.engine.debug
    assert not Population("Epidemic-v0", {}).engine.debug
