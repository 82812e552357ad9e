"""Public chains: their declaration, and games of N agents who see them."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.special import bdtr, bdtrc
from weather import MOVES, Weather, WeatherConstants

import mfenvs
from mfenvs import Engine, InducedGame, PublicChain, crowd, public_state, rule
from mfenvs.engine.snapshot import Snapshot
from mfenvs.meanfield.public_tree import public_tree
from mfenvs.wrappers.observations import Observer

ERROR = 1e-9
"""Error rate of each comparison of a frequency with a probability."""


def agrees(count, n, chance):
    return min(bdtr(count, n, chance), bdtrc(count - 1, n, chance)) >= ERROR / 2


def go_out(game):
    """A policy of each public state's own: to go out in good weather, to stay at home in bad."""
    table = np.zeros((game.horizon, 2, 2, 2))
    table[:, 0, :, 1] = table[:, 1, :, 0] = 1.0
    return table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], np.eye(2)), "initial must be probabilities"),
        (([[1.0]], np.eye(1)), r"initial must be the law of the first public state, \(M,\), got shape \(1, 1\)"),
        (([1.0, 0.0], np.eye(3)), r"transition must have shape \(2, 2\)"),
        (([1.0, 0.0], [[0.5, 0.5], [0.1, 0.2]]), r"transition\[1\] must be probabilities"),
        (([1.0], np.zeros((0, 1, 1))), r"transition must have shape \(1, 1\)"),
        (([1.0, np.nan], np.eye(2)), "initial must"),
        ((np.ones(5000) / 5000, np.eye(2)), "the number of public states must be at most 4096"),
    ],
)
def test_what_is_no_chain_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PublicChain(*arguments)


def test_sampled_paths_follow_the_chain():
    chain = PublicChain([0.3, 0.0, 0.7], [[[0, 1, 0], [1, 0, 0], [0.25, 0.25, 0.5]], np.full((3, 3), 1 / 3)])
    n = 20_000
    paths = chain.paths(n, 3, np.random.default_rng(0))
    assert agrees((paths[:, 0] == 2).sum(), n, 0.7)
    assert (paths[paths[:, 0] == 0, 1] == 1).all()
    from_two = paths[paths[:, 0] == 2, 1]
    for state, chance in enumerate((0.25, 0.25, 0.5)):
        assert agrees((from_two == state).sum(), len(from_two), chance)
        assert agrees((paths[:, 2] == state).sum(), n, 1 / 3)


def test_public_states_of_worlds_follow_the_chain():
    """Each world has its own public states; after z = 0 comes 0 with probability .7, after z = 1 with .2."""
    n = 4000
    run = Engine(Weather(n_agents=2, first=(0.6, 0.4)), n).rollout(go_out(Weather()), seed=0)
    seen = run.public_states
    assert seen is not None
    assert seen.shape == (n, 3)
    assert agrees((seen[:, 0] == 0).sum(), n, 0.6)
    for now in (0, 1):
        after = seen[:, 1:][seen[:, :-1] == now]
        assert agrees((after == 0).sum(), len(after), MOVES[now][0])


def test_steps_and_rollouts_see_the_same_public_states():
    game = Weather(n_agents=5, first=(0.6, 0.4))
    policy = np.random.default_rng(1).dirichlet([1, 1], (3, 2, 2))
    table = mfenvs.play.cumulative_policy(game, policy, "policy")
    engine = Engine(game, 6, debug=True)
    run = engine.rollout(policy, seed=4)
    engine.reset(seed=4)
    for time in range(3):
        assert np.array_equal(engine.states, run.states[:, time])
        assert np.array_equal(engine.signal[:, -1], run.public_states[:, time])
        assert np.array_equal(engine.step(engine.sample_actions(table)), run.rewards[:, time])


def test_policies_know_the_public_state():
    """All go out in good weather only, by a table for all or one each, and a deviator in bad weather only."""
    game = Weather(n_agents=4, first=(0.6, 0.4))
    table = go_out(game)
    each = np.stack([table.reshape(game.policy_shape)] * 4)
    other = table[:, ::-1].reshape(game.policy_shape)
    engine = Engine(game, 50)
    for policy in (table, table.reshape(game.policy_shape), each):
        run = engine.rollout(policy, seed=2, deviators=np.full(50, 3), deviations=np.stack([other] * 50))
        assert np.array_equal(run.actions[:, :, :3] == 1, np.repeat(run.public_states[..., None] == 0, 3, axis=2))
        assert np.array_equal(run.actions[:, :, 3], run.public_states)
    engine.reset(seed=2)
    bad = mfenvs.cumulated.cumulative(each)
    bad[:, 0, 2:] = np.nan
    assert set(engine.signal[:, -1]) == {0.0, 1.0}
    with pytest.raises(ValueError, match=r"policy\[\d, 0, [23]\] must be a cumulated law"):
        engine.sample_actions(bad)


def test_observations_end_with_the_public_state():
    game = Weather(n_agents=3, first=(0.6, 0.4))
    engine = Engine(game, 20)
    engine.reset(seed=0)
    while True:
        seen = engine.observe()
        assert seen.shape == (20, 3, 5)
        assert np.array_equal(seen[..., :2], np.eye(2)[engine.states])
        assert np.allclose(seen[..., 2], engine.time / 3)
        assert np.array_equal(seen[..., 3:], np.repeat(np.eye(2)[engine.signal[:, -1:].astype(int)], 3, axis=1))
        if not engine.is_playing:
            break
        masks = engine.action_masks()
        assert np.array_equal(masks[..., 1], (engine.states == 1) | (engine.signal[:, -1:] == 0))
        engine.step(np.zeros((20, 3), int))


def test_policies_of_observations_are_tabulated_by_public_state():
    class Cautious:
        def action_probabilities(self, observations):
            out = 0.25 + 0.5 * observations[:, 3] * observations[:, 0] * (observations[:, 2] < 0.5)
            return np.stack([1.0 - out, out], axis=1)

    found = mfenvs.tabulate(Weather(), Cautious()).reshape(3, 2, 2, 2)
    expected = np.full((3, 2, 2), 0.25)
    expected[:2, 0, 0] = 0.75
    assert np.allclose(found[..., 1], expected, atol=1e-6)


def test_chain_that_depends_on_time():
    """Good, bad, bad, good for certain; at the horizon the last state stays."""
    moves = np.eye(2)[[[1, 0], [0, 1], [1, 0]]]
    game = Weather(n_agents=2, horizon=4, moves=moves)
    run = Engine(game, 3).rollout(go_out(game), seed=0)
    assert run.public_states.tolist() == [[0, 1, 1, 0]] * 3
    engine = Engine(game, 1)
    engine.reset(seed=0)
    while engine.is_playing:
        engine.step(np.zeros((1, 2), int))
    assert engine.signal[0, -1] == 0
    assert PublicChain(game.first, moves).paths(2, 4, np.random.default_rng(0)).tolist() == [[0, 1, 1, 0]] * 2
    assert public_tree(game.public_chain, 4).history(3, 0) == (0, 1, 1, 0)
    with pytest.raises(ValueError, match=r"must be one matrix, or horizon - 1 = 2 matrices, got 3"):
        Weather(horizon=3, moves=moves)


def test_snapshots_hold_a_public_state():
    game = Weather(n_agents=2)
    engine = Engine(game, 1)
    engine.reset(seed=0)
    for wrong in (2.0, -1.0, 0.5):
        taken = dataclasses.replace(engine.snapshot(), signal=np.array([[0.0, wrong]], np.float32))
        with pytest.raises(ValueError, match=r"snapshot.signal\[0, -1\] must be a public state in \[0, 1\]"):
            engine.restore(taken)
    assert isinstance(engine.snapshot(), Snapshot)


class OtherConstants(NamedTuple):
    crowding: float


@dataclasses.dataclass(kw_only=True)
class Rude(Weather):
    """Its aggregate writes where the public state is."""

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        signal[0] = 0.0
        signal[1] = 77.0


def test_aggregate_does_not_change_the_public_state():
    game = Rude(n_agents=2, first=(0.6, 0.4))
    run = Engine(game, 2000).rollout(go_out(game), seed=0)
    assert np.array_equal(run.actions[:, :, 0] == 1, run.public_states == 0)
    after = run.public_states[:, 1:][run.public_states[:, :-1] == 0]
    assert agrees((after == 0).sum(), len(after), MOVES[0][0])


@dataclasses.dataclass(kw_only=True)
class FullHouse(Weather):
    """Its aggregate writes when all are at home, which then pays 1."""

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        if crowd(world, 0) + crowd(world, 1) > 0.9:
            signal[0] = 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return world.signal[0]

    arrival = terminal = None
    initial_distribution = np.array([1.0, 0.0])


def test_what_aggregate_wrote_in_the_last_step_is_gone():
    """The weather is always good, and most go out at once."""
    game = FullHouse(n_agents=1000, moves=((1.0, 0.0), (0.0, 1.0)))
    assert InducedGame(game).value(go_out(game)) == pytest.approx(1.0, abs=1e-12)
    engine = Engine(game, 1)
    engine.reset(0)
    rewards = [engine.step(np.ones((1, 1000), np.int32))[0, 0] for _ in range(3)]
    assert rewards == [1.0, 0.0, 0.0]


def variant(**declared):
    return dataclasses.dataclass(kw_only=True)(type("Variant", (Weather,), {"__annotations__": {}, **declared}))()


@pytest.mark.parametrize(
    ("declared", "kind", "message"),
    [
        ({"public_chain": 3}, TypeError, "public_chain must be a PublicChain or None, got 3"),
        ({"n_signals": 0, "aggregate": None}, TypeError, "has a public chain and must declare n_signals"),
        (
            {"constants": OtherConstants(1.0)},
            TypeError,
            r"must be a named tuple with the entry public_chain = self.public_chain.tables, got None there",
        ),
        (
            {"constants": WeatherConstants(PublicChain([1.0, 0.0], np.eye(2)).tables, 1.0)},
            TypeError,
            "must be a named tuple with the entry public_chain",
        ),
        (
            {"publish": staticmethod(rule(lambda signal, constants, time, key: None))},
            TypeError,
            "declares its common noise as public_chain: its rule publish must be left out",
        ),
    ],
)
def test_declarations_that_do_not_fit_are_refused(declared, kind, message):
    with pytest.raises(kind, match=message):
        variant(**declared)


def test_games_that_go_on_for_ever_have_no_chain():
    with pytest.raises(ValueError, match=r"discount must be 1 in a game with a public chain.*, got 0.9"):
        mfenvs.make("SystemicRisk-v0", discount=0.9)


def test_public_state_is_the_last_entry_of_the_signal():
    world = mfenvs.World(np.zeros(1), np.array([7.0, 8.0, 3.0]), (), 0, -1, 0.0, 1.0, 1.0)
    assert public_state(world) == 3


def test_what_knows_no_common_noise_refuses_it():
    game = Weather()
    policy = go_out(game)
    for call in (
        lambda: mfenvs.n_player_exploitability(game, policy),
        lambda: mfenvs.relative_exploitability(game, policy),
        lambda: mfenvs.approximate_symmetry(game),
    ):
        with pytest.raises(TypeError, match="is for games without common noise, got Weather"):
            call()


def test_mean_field_observations_stand_beside_the_public_state():
    game = Weather(n_agents=3)
    assert Observer(game, ("mean-field",)).width == game.n_features + game.n_places
