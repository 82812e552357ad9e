"""One seed and the same actions give the same game through every API."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from replay import Recording

import mfenvs
from mfenvs import a_rps_v0, a_sis_v0, a_taxi_v0
from mfenvs.api.population import Population
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.games.epidemic import Epidemic

HORIZONS = {"Taxi-v0": 20}
"""Long enough for something to happen; others are played for 3 steps."""


@pytest.fixture(params=list(mfenvs.registered_games("")))
def recording(request):
    game = mfenvs.make(request.param, n_agents=5, horizon=HORIZONS.get(request.param, 3))
    return Recording(game, n_worlds=1, n_episodes=2, seed=11)


def test_recordings_are_worth_comparing(recording):
    assert len(np.unique(recording.rewards)) > 1
    assert len(np.unique(recording.observations.reshape(-1, recording.game.n_features), axis=0)) > 5


def assert_infos(infos, recording, e, t):
    assert data_equivalence(list(infos.values()), [recording.info(e, t, 0, i) for i in range(5)])


def test_parallel_env(recording):
    parallel = mfenvs.parallel_env(recording.game)
    for e in range(2):
        observations, infos = parallel.reset(seed=recording.seed if e == 0 else None)
        for t in range(recording.steps):
            np.testing.assert_array_equal(list(observations.values()), recording.observations[e, t, 0])
            assert_infos(infos, recording, e, t)
            # The order of the dict's keys is the caller's.
            actions = dict(reversed(list(zip(parallel.agents, recording.actions[e, t, 0], strict=True))))
            observations, rewards, _, _, infos = parallel.step(actions)
            assert list(rewards.values()) == recording.rewards[e, t, 0].tolist()
        np.testing.assert_array_equal(list(observations.values()), recording.observations[e, -1, 0])
        assert_infos(infos, recording, e, recording.steps)


def test_aec_env(recording):
    turns = mfenvs.api.pettingzoo.env(recording.game)
    turns.reset(seed=recording.seed)
    for t in range(recording.steps):
        for i, name in enumerate(recording.game.agent_names):
            observation, reward, _, _, info = turns.last()
            assert turns.agent_selection == name
            assert reward == (recording.rewards[0, t - 1, 0, i] if t else 0)
            assert data_equivalence(info, recording.info(0, t, 0, i))
            np.testing.assert_array_equal(observation, recording.observations[0, t, 0, i])
            turns.step(recording.actions[0, t, 0, i])


def test_vector_env_and_vec_env(recording):
    vector = mfenvs.vector_env(recording.game, autoreset_mode="SameStep")
    vec = mfenvs.vec_env(recording.game)
    vec.seed(recording.seed)
    for first in (vector.reset(seed=recording.seed)[0], vec.reset()):
        np.testing.assert_array_equal(first, recording.observations[0, 0, 0])
    for e in range(2):
        for t in range(recording.steps):
            for step in (vector.step(recording.rows(e, t)), vec.step(recording.rows(e, t))):
                np.testing.assert_array_equal(step[1], recording.rewards[e, t, 0])
                if t < recording.steps - 1:
                    np.testing.assert_array_equal(step[0], recording.observations[e, t + 1, 0])


class Replayed:
    """A population that takes the recorded actions."""

    def __init__(self, recording):
        self.actions = recording.actions.reshape(-1, *recording.actions.shape[3:])
        self.calls = 0

    def predict(self, observations):
        self.calls += 1
        return self.actions[self.calls - 1], None


def test_representative_agents(recording):
    single = mfenvs.api.gymnasium.RepresentativeAgentEnv(recording.game, Replayed(recording), agent=3)
    vec = RepresentativeVecEnv(recording.game, Replayed(recording), agent=3)
    vec.seed(recording.seed)
    rows = vec.reset()
    for e in range(2):
        observation, info = single.reset(seed=recording.seed if e == 0 else None)
        for t in range(recording.steps):
            np.testing.assert_array_equal([observation], recording.observations[e, t, 0, 3:4])
            np.testing.assert_array_equal(rows, recording.observations[e, t, 0, 3:4])
            masks = recording.masks[e][t]
            mask = None if masks is None else masks[0, 3]
            assert np.array_equal(info.pop("action_mask", None), mask)
            assert info == {"agent": 3} | recording.told[e][t][0]
            action = recording.actions[e, t, 0, 3]
            observation, reward, _, _, info = single.step(action)
            rows, rewards, _, infos = vec.step([action])
            assert [reward] == rewards.tolist() == [recording.rewards[e, t, 0, 3]]
            assert recording.told[e][t + 1][0].items() <= infos[0].items()
        np.testing.assert_array_equal(observation, recording.observations[e, -1, 0, 3])
        np.testing.assert_array_equal(infos[0]["terminal_observation"], observation)


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
    vector = mfenvs.vector_env("RockPaperScissors-v0", 2, n_agents=4, observe="mean-field")
    vector.reset(seed=0)
    rows = vector.step([0, 0, 1, 0, 2, 2, 2, 1])[0].reshape(2, 4, 7)
    # The next state is the action.
    np.testing.assert_array_equal(rows[0, :, 4:], np.tile([0.75, 0.25, 0.0], (4, 1)))
    np.testing.assert_array_equal(rows[1, :, 4:], np.tile([0.0, 0.25, 0.75], (4, 1)))
    np.testing.assert_array_equal(rows[0, 2, :4], np.array([0, 1, 0, 0.1], np.float32))


class Counted(Epidemic):
    """An epidemic whose infos tell who is infected, which differs from the first observation on."""

    regions = {"infected": (0,), "all": (0, 1), "none": ()}


def test_every_api_reports_the_shares_of_regions_now():
    game = Counted(n_agents=7, horizon=2)
    apis = mfenvs.parallel_env(game), mfenvs.vector_env(game, autoreset_mode="SameStep"), mfenvs.vec_env(game, 2)
    parallel, vector, vec = apis
    infos = [parallel.reset(seed=1)[1], vector.reset(seed=1)[1]]
    vec.seed(1)
    vec.reset()
    seen = []

    def compare():
        now = [float((api.engine.states[0] == 0).mean()) for api in apis]
        assert now == [now[0]] * 3
        expected = {"share_infected": now[0], "share_all": 1.0, "share_none": 0.0}
        assert list(infos[0].values()) == [expected] * 7
        assert all(type(share) is float for share in infos[0]["agent_0"].values())
        for name, share in expected.items():
            assert infos[1][name].tolist() == [share] * 7
        seen.append(now[0])

    def compare_vec(found):
        shares = [float((world == 0).mean()) for world in vec.engine.states]
        assert [info["share_infected"] for info in found] == np.repeat(shares, 7).tolist()

    compare()
    compare_vec(vec.reset_infos)
    actions = np.array([1, 1, 0, 1, 1, 0, 1])
    for t in range(4):
        infos[0] = parallel.step(dict(zip(parallel.agents, actions, strict=True)))[4]
        *_, infos[1] = vector.step(actions)
        found = vec.step(np.tile(actions, 2))[3]
        if t % 2:
            last = list(infos[0].values())
            assert infos[1]["final_info"]["share_infected"].tolist() == [info["share_infected"] for info in last]
            assert [info["share_infected"] for info in found[:7]] == [info["share_infected"] for info in last]
            infos[0] = parallel.reset()[1]
            compare_vec(vec.reset_infos)
        else:
            compare_vec(found)
        compare()
    assert len(set(seen)) > 2


@pytest.mark.parametrize("spread", [1, 9])
@pytest.mark.parametrize("n_agents", [13, 49])
def test_shares_of_regions_are_not_rounded_on_the_way(n_agents, spread):
    """In single precision 7 / 13 * 13 is not 7, and 49 / 49 is not the sum of 1 / 49."""
    population = Population(mfenvs.make("Taxi-v0", n_agents=n_agents), {}, 2)
    population.reset(seed=0)
    for k in range(n_agents + 1):
        places = [i % spread + 12 * (i >= k) for i in range(n_agents)]
        population.engine.states["cell"] = places
        assert {name: shares.tolist() for name, shares in population.region_shares().items()} == {
            "share_zone_1": [k / n_agents] * 2,
            "share_zone_2": [(n_agents - k) / n_agents] * 2,
        }


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
    assert a_taxi_v0.parallel_env(n_agents=3, horizon=4).possible_agents == ["taxi_0", "taxi_1", "taxi_2"]
    turns = a_sis_v0.env(n_agents=3)
    turns.reset(seed=0)
    assert turns.agents == ["agent_0", "agent_1", "agent_2"]
    for module in (a_sis_v0, a_rps_v0, a_taxi_v0):
        assert module.raw_env is module.env
        assert module.env(n_agents=3).unwrapped.game == module.parallel_env(n_agents=3).game


def test_debug_reaches_the_engine():
    assert mfenvs.parallel_env("Epidemic-v0", debug=True).engine.debug
    assert mfenvs.vector_env("Epidemic-v0", debug=True).engine.debug
    assert mfenvs.vec_env("Epidemic-v0", debug=True).engine.debug
    assert gymnasium.make("mfenvs/Epidemic-v0", debug=True).unwrapped.engine.debug
    assert not Population("Epidemic-v0", {}).engine.debug
