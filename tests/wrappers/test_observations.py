"""What `observe` appends to an agent's own observation, in every API."""

import re
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mfenvs
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.pettingzoo import env
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.taxi import Taxi
from mfenvs.wrappers import IntegerIdentity, MeanField, ObservationBlock, OneHotIdentity, OwnParameters
from mfenvs.wrappers.observations import Observer, observation_blocks

NAMES = ["one-hot-identity", "integer-identity", "own-parameters", "mean-field"]
GAMES = [
    Epidemic(n_agents=4, horizon=3),
    Taxi(n_agents=3, horizon=3, city=("12", "SS"), jam=0.6, arrival=0.5),
]


class Constant(ObservationBlock):
    """A block of a user's: the time, and a number of the world's and the agent's."""

    name = "constant"

    def __repr__(self):
        return "Constant()"

    def width(self, game):
        return 2

    def bind(self, game):
        def write(out, engine):
            worlds, agents, _ = out.shape
            out[..., 0] = engine.time / 10
            out[..., 1] = np.arange(worlds)[:, None] / 4 + np.arange(agents) / 100

        return write


def places(states):
    return (states["cell"] if states.dtype.names else states).astype(int)


def features(block, engine, w, i):
    """The block's numbers for agent i of world w, one by one."""
    game = engine.game
    if block == "one-hot-identity":
        return [float(j == i) for j in range(game.n_agents)]
    if block == "integer-identity":
        return [i / (game.n_agents - 1)]
    if block == "mean-field":
        here = places(engine.states[w]).tolist()
        return [here.count(place) / game.n_agents for place in range(game.n_places)]
    if isinstance(block, Constant):
        return [engine.time / 10, w / 4 + i / 100]
    names = game.agents.dtype.names
    people = [[float(x) for name in names for x in np.ravel(agent[name])] for agent in game.agents]
    columns = list(zip(*people, strict=True))
    return [(x - min(c)) / (max(c) - min(c)) for x, c in zip(people[i], columns, strict=True)]


def parallel(game, observe):
    api = mfenvs.parallel_env(game, observe=observe)
    seen = [api.reset(seed=3)[0]]

    def step():
        seen[0] = api.step(dict.fromkeys(api.agents, 0))[0]

    def rows():
        return [(0, i, seen[0][name]) for i, name in enumerate(api.possible_agents)]

    return api, api.observation_space(api.possible_agents[0]), step, rows


def turns(game, observe):
    api = env(game, observe=observe)
    api.reset(seed=3)

    def step():
        for _ in game.agent_names:
            api.step(0)

    def rows():
        return [(0, i, api.observe(name)) for i, name in enumerate(game.agent_names)]

    return api.unwrapped, api.observation_space(game.agent_names[0]), step, rows


def rowwise(api, space, first, actions, acting=None):
    """An API whose rows are agents of worlds."""
    seen = [first]

    def step():
        seen[0] = api.step(actions)[0]

    def rows():
        n = api.game.n_agents
        who = [(w, i) for w in range(api.engine.n_worlds) for i in range(n)] if acting is None else acting()
        return [(w, i, row) for (w, i), row in zip(who, np.atleast_2d(seen[0]), strict=True)]

    return api, space, step, rows


def vector(game, observe):
    api = mfenvs.vector_env(game, 2, observe=observe)
    return rowwise(api, api.single_observation_space, api.reset(seed=3)[0], np.zeros(api.num_envs, int))


def vector_buffers(game, observe):
    api = mfenvs.vector_env(game, 2, observe=observe, copy=False)
    return rowwise(api, api.single_observation_space, api.reset(seed=3)[0], np.zeros(api.num_envs, int))


def vec(game, observe):
    api = mfenvs.vec_env(game, 2, observe=observe)
    api.seed(3)
    return rowwise(api, api.observation_space, api.reset(), np.zeros(api.num_envs, int))


def single(game, observe):
    api = RepresentativeAgentEnv(game, agent=1, observe=observe)
    return rowwise(api, api.observation_space, api.reset(seed=3)[0], 0, lambda: [(0, 1)])


def singles(game, observe):
    api = RepresentativeVecEnv(game, n_worlds=3, agents_per_world=2, observe=observe)
    api.seed(3)

    def acting():
        return [(w, i) for w in range(3) for i in api.acting[w]]

    return rowwise(api, api.observation_space, api.reset(), np.zeros(6, int), acting)


APIS = [parallel, turns, vector, vector_buffers, vec, single, singles]
PAIRS = [[a, b] for a, b in pairwise(NAMES)]
ASKED = [*NAMES, *PAIRS, NAMES[::-1], (OwnParameters(), "mean-field"), [Constant(), MeanField()]]


def name_of(block):
    return block if isinstance(block, str | Constant) else block.name


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
@pytest.mark.parametrize("observe", ASKED, ids=str)
@pytest.mark.parametrize("api", APIS)
def test_blocks_follow_the_own_observation_in_their_order(api, observe, game):
    made, space, step, rows = api(game, observe)
    blocks = [observe] if isinstance(observe, str) else [*map(name_of, observe)]
    for t in range(3):
        found = rows()
        assert found
        for w, i, row in found:
            expected = [*made.engine.observe()[w, i]]
            for block in blocks:
                expected += features(block, made.engine, w, i)
            assert row.dtype == np.float32
            assert row.shape == space.shape
            assert space.contains(row)
            assert_allclose(row, expected, atol=1e-6, err_msg=f"time {t}, world {w}, agent {i}")
        if t < 2:
            step()
            assert made.engine.time == t + 1


def test_the_mean_field_is_that_of_the_own_world_now():
    game = Taxi(n_agents=4, city=("S12",))
    engine = mfenvs.Engine(game, 2)
    engine.reset(seed=0)
    engine.states["cell"] = [[0, 0, 1, 2], [2, 2, 2, 1]]
    observer = Observer(game, "mean-field")
    assert observer(engine)[:, :, -3:].tolist() == [[[0.5, 0.25, 0.25]] * 4, [[0, 0.25, 0.75]] * 4]
    engine.states["cell"][0] = 2
    assert observer(engine)[0, :, -3:].tolist() == [[0, 0, 1]] * 4


def test_own_parameters_are_scaled_over_the_population_and_a_half_where_all_are_equal():
    class ByHand(Taxi):
        def draw_agents(self, rng):
            agents = np.zeros(3, self.agent_dtype)
            agents["weight"] = 1, 3, 2
            agents["multiplier"] = [[5, 0.5], [5, 1.5], [5, 0.75]]
            return agents

    found = mfenvs.vector_env(ByHand(n_agents=3, city=("1S2",)), observe="own-parameters").reset(seed=0)[0]
    assert found[:, -3:].tolist() == [[0, 0.5, 0], [1, 0.5, 1], [0.5, 0.5, 0.25]]


def test_without_blocks_an_observation_is_the_games_own():
    for observe in ((), []):
        api = mfenvs.vector_env(GAMES[0], observe=observe)
        assert api.single_observation_space == GAMES[0].observation_space
        assert_array_equal(api.reset(seed=0)[0], api.engine.observe()[0])


def test_the_bounds_of_the_own_observation_are_kept():
    class Deep(Epidemic):
        observation_space = gymnasium.spaces.Box(-3.0, 2.0, (3,), np.float32)

    space = mfenvs.vec_env(Deep(n_agents=2), observe=["mean-field", "integer-identity"]).observation_space
    assert space.low.tolist() == [-3] * 3 + [0] * 3
    assert space.high.tolist() == [2] * 3 + [1] * 3
    assert space.dtype == np.float32


MAKERS = [mfenvs.parallel_env, mfenvs.vector_env, mfenvs.vec_env, RepresentativeAgentEnv, RepresentativeVecEnv]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("observe", "error", "message"),
    [
        ("identity", ValueError, "observe must be among one-hot-identity, integer-identity, own-p"),
        (["mean-field", "meanfield"], ValueError, "or ObservationBlocks, got 'meanfield'"),
        (["mean-field", "mean-field"], ValueError, "observe must not hold MeanField() twice"),
        (["mean-field", "integer-identity", MeanField()], ValueError, "observe must not hold MeanField() twice"),
        ([MeanField], TypeError, "observe must be among"),
        ([["mean-field"]], TypeError, "got ['mean-field']"),
        (True, TypeError, "or ObservationBlocks, got True"),
        ({"mean-field"}, TypeError, "or ObservationBlocks, got {'mean-field'}"),
    ],
    ids=str,
)
def test_what_is_no_block_or_is_asked_for_twice(maker, observe, error, message):
    with pytest.raises(error, match=re.escape(message)):
        maker(GAMES[0], observe=observe)


def test_blocks_by_name_are_their_classes():
    expected = (OneHotIdentity(), IntegerIdentity(), OwnParameters(), MeanField())
    assert observation_blocks(NAMES) == expected
    assert observation_blocks("mean-field") == observation_blocks(MeanField()) == (MeanField(),)
    assert mfenvs.vec_env(GAMES[0], observe=NAMES).observe == expected


def test_an_observer_writes_to_the_callers_array():
    observer, engine = Observer(GAMES[0], NAMES), mfenvs.Engine(GAMES[0], 2)
    engine.reset(seed=1)
    expected = observer(engine)
    out = np.full(expected.shape, np.nan, np.float32)
    assert observer(engine, out) is out
    assert_array_equal(out, expected)


@pytest.mark.parametrize("observe", [(), ["own-parameters", "one-hot-identity", "mean-field"], "integer-identity"])
def test_observations_of_some_agents_are_their_rows(observe):
    game = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3)
    engine, observer = mfenvs.Engine(game, 3), Observer(game, observe)
    engine.reset(4)
    engine.step(np.arange(15).reshape(3, 5) % 2)
    agents = np.array([[4, 0], [1, 3], [2, 2]])
    everyone = observer(engine)
    found = observer.of_agents(engine, agents)
    assert found.dtype == np.float32
    assert not np.shares_memory(found, everyone)
    for world, row in np.ndindex(3, 2):
        np.testing.assert_array_equal(found[world, row], everyone[world, agents[world, row]])


def test_single_agents_without_the_identity_lack_its_columns_and_are_named():
    names = ["own-parameters", "one-hot-identity", "mean-field"]
    constants = {"agents_per_world": 3, "n_agents": 5, "horizon": 3, "observe": names}
    less, whole = (RepresentativeVecEnv("Epidemic-v0", None, None, 2, **constants) for _ in range(2))
    for each in (less, whole):
        each.seed(3)
        each.reset()
    columns, who = whole.identity_columns, []
    with less.without_identity():
        for _ in range(7):
            found, *_ = less.step(np.arange(6) % 2)
            expected, *_ = whole.step(np.arange(6) % 2)
            np.testing.assert_array_equal(found, np.delete(expected, columns, axis=1))
            np.testing.assert_array_equal(expected[:, columns].argmax(axis=1), less.row_agents)
            np.testing.assert_array_equal(expected[:, columns].sum(axis=1), 1.0)
            who.append(less.row_agents)
    assert len({agents.tobytes() for agents in who}) > 1  # others act in every episode
    np.testing.assert_array_equal(less.observe_rows(), whole.observe_rows())
    assert mfenvs.vec_env("Epidemic-v0", 2, n_agents=3).row_agents.tolist() == [0, 1, 2, 0, 1, 2]


def test_steps_without_the_identity_lack_its_columns():
    names = ["own-parameters", "one-hot-identity", "mean-field"]
    envs = [mfenvs.vec_env("Epidemic-v0", 2, n_agents=5, horizon=3, observe=names) for _ in range(2)]
    before = envs[0].game.n_features + len(envs[0].game.agents.dtype.names)
    assert envs[0].identity_columns == slice(before, before + 5)
    assert mfenvs.vec_env("Epidemic-v0", observe="mean-field").identity_columns is None
    for each in envs:
        each.seed(3)
        each.reset()
    columns = envs[0].identity_columns
    with envs[0].without_identity():
        for step in range(4):
            actions = np.arange(10) % 2
            (less, *_, infos), (whole, *_, whole_infos) = (each.step(actions) for each in envs)
            np.testing.assert_array_equal(less, np.delete(whole, columns, axis=1))
            if step == 2:
                for info, whole_info in zip(infos, whole_infos, strict=True):
                    expected = np.delete(whole_info["terminal_observation"], columns)
                    np.testing.assert_array_equal(info["terminal_observation"], expected)
    np.testing.assert_array_equal(envs[0].observe_rows(), envs[1].observe_rows())
    np.testing.assert_array_equal(envs[0].reset(), envs[1].reset())
