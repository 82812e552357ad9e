"""Exploitability from sampled public paths: bounds against exact values, hand-worked numbers, and large trees."""

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
import weather
from oracles import random_policy
from weather import Weather

from mfenvs import FiniteGame, InducedGame, PublicChain, make, path_exploitability, public_state, rule
from mfenvs.game import NO_PARAMETERS
from mfenvs.meanfield import public_paths

SIGMAS = 6
"""Bounds, in standard errors: exceeded with a probability below 1e-8 at several hundred paths. Seeds are fixed."""


def policy_of(game, seed):
    table = random_policy(np.random.default_rng(seed), game.horizon, 2, 2, 2)
    table[:, 1, 0] = [1.0, 0.0]
    return table


def clairvoyant_value(policy):
    """The value of best responses to the flow of a policy that know all three public states, path by path."""
    first = (0.6, 0.4)
    _, problem = weather.flow(lambda history: policy[len(history) - 1, history[-1]], first, weather.MOVES, 3)
    total = 0.0
    for path, chance in weather.histories(first, weather.MOVES, 3)[-1].items():
        ahead = np.zeros(2)
        for h in (2, 1, 0):
            p, r = problem[path[: h + 1]]
            q = r + p @ ahead
            ahead = np.array(
                [max(q[s, a] for a in (0, 1) if weather.is_allowed(path[: h + 1], s, a)) for s in (0, 1)]
            )
        total += chance * ahead @ [0.75, 0.25]
    return total


@dataclasses.dataclass(kw_only=True)
class Guess(FiniteGame):
    """Choose a side; being on the side of the coin that is thrown next pays 1, and the crowd does not matter."""

    n_agents: int = 10
    horizon: int = 3
    fair: bool = True

    agent_dtype = NO_PARAMETERS
    n_states = 2
    n_actions = 2
    n_signals = 1

    @property
    def public_chain(self):
        return PublicChain([0.5, 0.5], np.full((2, 2), 0.5) if self.fair else [[0.0, 1.0], [1.0, 0.0]])

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 1.0 if state == public_state(world) and world.time > 0 else 0.0


@pytest.mark.parametrize(("n_paths", "n_training_paths"), [(2, 5), (7, 5), (5, 1)])
def test_as_many_paths_are_drawn_as_are_asked_for(n_paths, n_training_paths, monkeypatch):
    drawn, draw = [], PublicChain.paths

    def count(chain, number, *arguments):
        drawn.append(number)
        return draw(chain, number, *arguments)

    monkeypatch.setattr(PublicChain, "paths", count)
    if n_paths == 7:  # in batches of 5, of which the last is not full
        monkeypatch.setattr(public_paths, "NUMBERS_AT_A_TIME", 5 * 3 * 2 * 2 * 2)
    found = path_exploitability(
        Guess(), np.full((3, 2, 2, 2), 0.5), n_paths=n_paths, n_training_paths=n_training_paths
    )
    assert sum(drawn) == n_paths + n_training_paths
    for estimate in (found.value, found.lower, found.upper, found.clairvoyant):
        assert estimate.n_samples == n_paths


def test_repeated_paths_that_fill_a_batch_count_for_nothing(monkeypatch):
    """Two paths part after the first coin, so that no first guess is better, and the first action is taken.

    If the second path counted more than once, guessing its side would be better.
    """
    paths = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 1, 1]])
    monkeypatch.setattr(PublicChain, "paths", lambda chain, number, *_: paths[:number])
    for n_paths in (2, 4):  # Two training paths do not fill a batch of four.
        found = path_exploitability(Guess(), np.full((3, 2, 2, 2), 0.5), n_paths=n_paths, n_training_paths=2)
        assert found.deviation[0, 0, 0].tolist() == [1.0, 0.0]
        assert found.deviation[1, 1, 0].tolist() == [0.0, 1.0]


@pytest.mark.slow
def test_knowing_the_coin_is_worth_more_than_guessing():
    """Hand-worked: a guess is right half of the time, whatever one does; who knows the coins gains .5 a throw."""
    game = Guess()
    uniform = np.full((3, 2, 2, 2), 0.5)
    assert InducedGame(game).exploitability(uniform) == 0.0
    found = path_exploitability(game, uniform, n_paths=200, seed=1)
    # The charge takes off what knowing is worth up to the error of W, whose exact values are all alike.
    assert abs(found.value.value - 1.0) <= SIGMAS * found.value.standard_error + 1e-12
    assert abs(found.clairvoyant.value - 1.0) <= SIGMAS * found.clairvoyant.standard_error + 1e-12
    assert abs(found.lower.value) <= SIGMAS * found.lower.standard_error + 1e-12
    assert found.upper.value < 0.35
    trained = path_exploitability(game, uniform, n_paths=200, n_training_paths=20_000, seed=1)
    assert trained.upper.value < 0.03 < found.clairvoyant.value


@pytest.mark.slow
def test_where_the_future_is_known_the_bounds_meet():
    """A coin that alternates: adapted and clairvoyant best responses gain .5 a throw, exactly."""
    found = path_exploitability(Guess(fair=False), np.full((3, 2, 2, 2), 0.5), n_paths=50, seed=0)
    for estimate in (found.value, found.lower, found.upper, found.clairvoyant):
        assert estimate.value == pytest.approx(1.0, abs=1e-12)
        assert estimate.standard_error < 1e-12
    assert found.interval == pytest.approx((1.0, 1.0), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_estimates_agree_with_the_tree(seed):
    game = Weather(first=(0.6, 0.4))
    policy = policy_of(game, seed)
    induced = InducedGame(game)
    exact = induced.exploitability(policy)
    found = path_exploitability(game, policy, n_paths=600, n_training_paths=600, seed=seed)
    deviation, flow = induced.policy("deviation", found.deviation), induced.flow(policy)
    gain = induced.value(deviation, flow) - induced.value(policy, flow)
    assert abs(found.value.value - induced.value(policy)) <= SIGMAS * found.value.standard_error
    assert abs(found.lower.value - gain) <= SIGMAS * found.lower.standard_error
    assert gain <= exact + 1e-12
    assert found.upper.value >= exact - SIGMAS * found.upper.standard_error
    assert found.upper.value <= exact + 0.02 + SIGMAS * found.upper.standard_error
    knows_all = clairvoyant_value(policy) - induced.value(policy)
    assert abs(found.clairvoyant.value - knows_all) <= SIGMAS * found.clairvoyant.standard_error
    assert knows_all > exact + 0.05
    assert found.lower.value <= found.upper.value + 1e-12
    assert np.array_equal(found.deviation[:, 1, 0], np.tile([1.0, 0.0], (3, 1)))
    # Charges make the values of adapted policies vary less by far.
    assert found.value.standard_error < 0.003


def test_policy_may_be_a_function_of_the_history():
    game = Weather(first=(0.6, 0.4))
    table = policy_of(game, 5)
    by_table = path_exploitability(game, table, n_paths=30, n_training_paths=30, seed=2)
    by_history = path_exploitability(
        game, lambda z: table[len(z) - 1, z[-1]], n_paths=30, n_training_paths=30, seed=2
    )
    assert by_history.upper == by_table.upper
    assert by_history.value == by_table.value
    with pytest.raises(ValueError, match=r"policy\(\(\d,\)\) must have shape \(2, 2\)"):
        path_exploitability(game, lambda z: np.ones(2), n_paths=30, n_training_paths=30)


@pytest.mark.slow
def test_trees_that_are_too_large():
    """2^40 histories: bounds are near each other, and repeat with the seed."""
    game = Weather(first=(0.6, 0.4), horizon=40)
    policy = policy_of(game, 9)
    found = path_exploitability(game, policy, n_paths=100, n_training_paths=400, seed=0)
    assert 0.0 < found.lower.value <= found.upper.value < found.clairvoyant.value
    assert found.upper.value - found.lower.value < 0.02 * found.lower.value
    low, high = found.interval
    assert low < found.lower.value < found.upper.value < high
    again = path_exploitability(game, policy, n_paths=100, n_training_paths=400, seed=0)
    assert again.upper == found.upper


def test_wrong_arguments():
    game = Weather()
    policy = policy_of(game, 0)
    with pytest.raises(TypeError, match="game must be a FiniteGame"):
        path_exploitability(3, policy)
    with pytest.raises(TypeError, match="game must have a public chain, got BeachBar"):
        path_exploitability(make("BeachBar-v0"), policy)
    with pytest.raises(ValueError, match="n_paths must be an integer >= 2"):
        path_exploitability(game, policy, n_paths=1)
    with pytest.raises(ValueError, match="n_training_paths must be an integer >= 1"):
        path_exploitability(game, policy, n_training_paths=0)
    with pytest.raises(ValueError, match="policy must be one policy for all"):
        path_exploitability(game, np.stack([policy.reshape(game.policy_shape)] * 50))


@pytest.mark.slow
def test_memory_does_not_grow_with_pairs_of_public_states():
    """Values of each public state are kept, (T, M, S), and none of pairs of them, (T, M, M, S)."""
    n, horizon = 400, 40
    game = Weather(horizon=horizon, first=np.full(n, 1 / n), moves=np.full((n, n), 1 / n))
    path_exploitability(game, None, n_paths=4, n_training_paths=4)  # Compiles.
    tracemalloc.start()
    path_exploitability(game, None, n_paths=4, n_training_paths=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < horizon * n * n * 8 / 2
