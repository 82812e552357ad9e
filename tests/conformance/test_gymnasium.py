import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from replay import Recording, masks_of, told_of_worlds

import mfenvs
from mfenvs.conformance import libraries
from mfenvs.conformance.subject import Subject
from mfenvs.game import index_dtype

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Advice, not a fault: prices are in EUR/kWh.
    pytest.mark.filterwarnings("ignore:.*we recommend.* normalized"),
    pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric and normalized"),
    # Older versions are tested too.
    pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning"),
]


@pytest.mark.parametrize("n_worlds", [1, 3])
def test_vector_shapes_dtypes_and_spaces(case, observe, n_worlds):
    vector = gymnasium.make_vec(case.id, n_worlds=n_worlds, observe=observe, **case.constants)
    game = case.game()
    n = n_worlds * game.n_agents
    width = game.n_features + ("mean-field" in observe) * game.n_places + (len(observe) > 1) * game.n_agents
    assert vector.num_envs == n
    assert vector.single_action_space == game.action_space
    assert vector.single_observation_space.shape == (width,)
    assert vector.observation_space.shape == (n, width)
    vector.action_space.seed(0)
    observations, infos = vector.reset(seed=2)
    assert_infos_of_vector(vector, infos)
    for t in range(1, game.horizon + 1):
        assert vector.observation_space.contains(observations)
        assert all(map(vector.single_observation_space.contains, observations))
        observations, rewards, terminations, truncations, infos = vector.step(vector.action_space.sample())
        assert rewards.dtype == np.float32
        assert terminations.dtype == truncations.dtype == np.bool_
        assert rewards.shape == terminations.shape == truncations.shape == (n,)
        ends, goes_on = (truncations, terminations) if game.is_infinite else (terminations, truncations)
        assert ends.tolist() == [t == game.horizon] * n
        assert not goes_on.any()
        assert_infos_of_vector(vector, infos)
    assert vector.observation_space.contains(observations)


def test_vector_walk(case, observe):
    libraries.gymnasium_vector(Subject(case.game(), observe))


def assert_infos_of_vector(vector, infos):
    """Shares of the game's regions, what it reports, masks, and nothing else."""
    engine = vector.unwrapped.engine
    n_agents, by_world, masks = engine.game.n_agents, told_of_worlds(engine), masks_of(engine)
    expected = {name: np.repeat([told[name] for told in by_world], n_agents) for name in by_world[0]}
    if masks is not None:
        expected["action_mask"] = masks.reshape(vector.num_envs, -1)
    assert set(infos) == set(expected) | {f"_{name}" for name in expected}
    for name, values in expected.items():
        np.testing.assert_array_equal(infos[name], values)
        assert infos[f"_{name}"].tolist() == [True] * vector.num_envs


@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
@pytest.mark.parametrize("copy", [True, False], ids=["copy", "buffers"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_is_that_of_gymnasium(case, mode, copy, cut):
    game = case.game()
    if cut and game.horizon == 1:
        pytest.skip("an episode of one step cannot be cut")
    steps = game.horizon - 1 if cut else game.horizon
    recording = Recording(game, n_worlds=2, n_episodes=4, steps=steps)
    expected = SyncVectorEnv(recording.slots(), autoreset_mode=mode)
    vector = gymnasium.make_vec(
        case.id,
        num_envs=2 * game.n_agents,
        autoreset_mode=mode,
        copy=copy,
        max_episode_steps=steps if cut else None,
        **case.constants,
    )
    assert vector.metadata["autoreset_mode"] is mode
    assert data_equivalence(vector.reset(seed=recording.seed), expected.reset(), exact=True)
    ignored = np.zeros(vector.num_envs, int)
    for episode in range(3):
        for t in range(steps):
            ours = vector.step(recording.rows(episode, t))
            theirs = expected.step(recording.rows(episode, t))
            assert_same_step(ours, theirs)
        assert theirs[2].all() or theirs[3].all()
        if mode is AutoresetMode.NEXT_STEP:
            assert_same_step(vector.step(ignored), expected.step(ignored))
        elif mode is AutoresetMode.DISABLED:
            with pytest.raises(RuntimeError, match="after the end of the episode"):
                vector.step(ignored)
            mask = {"reset_mask": np.ones(vector.num_envs, bool)}
            assert data_equivalence(vector.reset(options=mask), expected.reset(options=mask), exact=True)


def assert_same_step(ours, theirs):
    for mine, other in zip(ours[:4], theirs[:4], strict=True):
        np.testing.assert_array_equal(mine, other)
    assert data_equivalence(ours[4], theirs[4], exact=True)


def test_copies_are_the_callers_and_buffers_are_not(case):
    game = case.game()
    copies = mfenvs.vector_env(case.game(), autoreset_mode="SameStep")
    copies.action_space.seed(0)
    calls = [[copies.reset(seed=0)[0]]]
    for _ in range(2 * game.horizon):
        *arrays, infos = copies.step(copies.action_space.sample())
        calls.append(arrays + list(infos.get("final_obs", [])))
    everything = [array for call in calls for array in call]
    for i, array in enumerate(everything):
        for other in everything[i + 1 :]:
            shares_final = array.base is not None and array.base is other.base
            assert shares_final or not np.shares_memory(array, other)
    buffers = mfenvs.vector_env(case.game(), copy=False)
    first = buffers.reset(seed=0)[0]
    second = buffers.step(copies.action_space.sample())
    third = buffers.step(copies.action_space.sample())
    assert first is second[0] is third[0]
    for mine, other in zip(second[1:4], third[1:4], strict=True):
        assert np.shares_memory(mine, other)


def test_gymnasiums_wrappers_work(case):
    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec(case.id, autoreset_mode="SameStep", **case.constants)
    )
    vector.reset(seed=0)
    vector.action_space.seed(0)
    total = np.zeros(vector.num_envs)
    for _ in range(case.game().horizon):
        _, rewards, _, _, infos = vector.step(vector.action_space.sample())
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total, rtol=1e-5)


@pytest.mark.parametrize("agent", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_representative_agent(case, observe, agent):
    single = gymnasium.make(case.id, agent=agent, observe=observe, **case.constants)
    check_env(single.unwrapped)


def test_representative_agent_for_sb3(case):
    from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

    for mode in ("ansi", "rgb_array"):
        check_env_of_sb3(gymnasium.make(case.id, render_mode=mode, **case.constants), skip_render_check=False)


def test_gymnasium_vectorises_representative_agents(case):
    vector = gymnasium.make_vec(case.id, 3, "sync", **case.constants)
    vector.action_space.seed(0)
    observations, infos = vector.reset(seed=0)
    assert infos["agent"].shape == (3,)
    for _ in range(2 * case.game().horizon):
        observations, *_ = vector.step(vector.action_space.sample())
        assert vector.observation_space.contains(observations)


@pytest.mark.slow
def test_narrow_actions_are_actions(case):
    """The step is compiled for each type; in ``make test``, tests of the engine have one game for all types."""
    vector = mfenvs.vector_env(case.game())
    space = case.game().action_space
    if not isinstance(space, gymnasium.spaces.Discrete):
        pytest.skip("a box")
    vector.reset(seed=0)
    actions = np.arange(vector.num_envs) % space.n
    expected = vector.step(actions)[1]
    for kind in (np.int32, index_dtype(space.n)):
        vector.reset(seed=0)
        np.testing.assert_array_equal(vector.step(actions.astype(kind))[1], expected)
