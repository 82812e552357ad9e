"""The interior-point method: its linear systems, the equilibria that it finds, and when it is not for a game."""

import dataclasses

import branching
import numpy as np
import pytest
from local_crowd import LocalCrowd

import mfenvs
from mfenvs import InducedGame
from mfenvs.game import NO_PARAMETERS
from mfenvs.games.classic.beach_bar import BeachBar
from mfenvs.games.classic.crowd_modelling import CrowdModelling
from mfenvs.games.classic.epidemics import DiscountedEpidemic
from mfenvs.games.classic.rock_paper_scissors import WeightedRockPaperScissors
from mfenvs.games.common_noise.closing_beach_bar import ClosingBeachBar
from mfenvs.meanfield.equilibrium.barrier import BarrierProblem, Point, follow
from mfenvs.meanfield.equilibrium.interior_point import NEAR_BOUNDARY, InteriorPoint, can_use_interior_point
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.population_flow import Flow


def method_of(game: mfenvs.FiniteGame, sparse: bool | None = None) -> InteriorPoint:
    induced = InducedGame(game, sparse=sparse)
    return InteriorPoint(induced, Sensitivity(induced, np.random.default_rng(0)))


def closing() -> ClosingBeachBar:
    """Places and times are few, and the bar may close: a tree of two nodes."""
    return ClosingBeachBar(n_places=7, bar=3, horizon=5, closing_time=2)


def dense_step(
    flow: Flow, x: np.ndarray, z: np.ndarray, values: np.ndarray, slopes: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linearised conditions as they stand, solved at once for dx, dz (T, S, A), dm and dV (T, S)."""
    n_times, n_states, _ = x.shape
    p, n_pairs, n = flow.dense().transitions, x.size, n_times * n_states
    system, known = np.zeros((2 * n_pairs + 2 * n, 2 * n_pairs + 2 * n)), np.zeros(2 * n_pairs + 2 * n)
    of_x = np.arange(n_pairs).reshape(x.shape)
    of_z, of_m = n_pairs + of_x, 2 * n_pairs + np.arange(n).reshape(n_times, n_states)
    of_v = n + of_m
    row = 0
    for t, s, a in np.ndindex(x.shape):
        # z dx + x dz = target
        system[row, of_x[t, s, a]], system[row, of_z[t, s, a]] = z[t, s, a], x[t, s, a]
        known[row] = target[t, s, a]
        # z + dz = V + dV - R - c dm - P (V' + dV')
        row += 1
        system[row, of_z[t, s, a]], system[row, of_v[t, s]] = 1.0, -1.0
        system[row, of_m[t, s]] = slopes[t, s, a]
        known[row] = values[t, s] - flow.rewards[t, s, a] - z[t, s, a]
        if t + 1 < n_times:
            system[row, of_v[t + 1]] = p[t, s, a]
            known[row] -= p[t, s, a] @ values[t + 1]
        row += 1
    for t, s in np.ndindex(n_times, n_states):
        # sum_a dx = dm, and dm is what arrives, or nothing at first.
        system[row, of_x[t, s]], system[row, of_m[t, s]] = 1.0, -1.0
        row += 1
        system[row, of_m[t, s]] = 1.0
        if t > 0:
            system[row, of_x[t - 1].ravel()] -= p[t - 1, :, :, s].ravel()
        row += 1
    found = np.linalg.solve(system, known)
    return found[of_x], found[of_z], found[of_v]


@pytest.mark.parametrize("sparse", [False, True])
def test_steps_solve_the_linearised_conditions(sparse: bool) -> None:
    """With derivatives that differ between actions, and slacks that are not those of the values."""
    rng = np.random.default_rng(5)
    method = method_of(BeachBar(), sparse)
    induced, shape = method.induced, method.induced.policy_shape
    flow = induced.flow(rng.dirichlet(np.ones(shape[2]), shape[:2]))
    x, z = flow.mu, rng.uniform(0.1, 2.0, shape)
    slopes, values = -rng.uniform(0.0, 3.0, shape), rng.normal(size=shape[:2])
    given = x.ravel(), z.ravel(), values.ravel(), flow.rewards.ravel(), slopes.ravel()
    by_first_order = method._step(*given)
    dx, dz, dv, share = method._step(*given)
    # From the second system on, states are in an order that was found for the first.
    for first, second in zip(by_first_order, (dx, dz, dv, share), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)

    def farthest(one: np.ndarray, other: np.ndarray) -> float:
        ratios = np.concatenate([(-x / one)[one < 0.0], (-z / other)[other < 0.0], [1.0 / NEAR_BOUNDARY]])
        return NEAR_BOUNDARY * float(ratios.min())

    first_x, first_z, _ = dense_step(flow, x, z, values, slopes, -x * z)
    step, mean = farthest(first_x, first_z), (x * z).mean()
    ahead = ((x + step * first_x) * (z + step * first_z)).mean()
    target = (ahead / mean) ** 3 * mean - x * z - first_x * first_z
    expected = dense_step(flow, x, z, values, slopes, target)
    for found, wanted in zip((dx, dz, dv), expected, strict=True):
        np.testing.assert_allclose(found, wanted.ravel(), atol=1e-9)
    assert share == pytest.approx(farthest(*expected[:2]), abs=1e-9)


@pytest.mark.parametrize(
    "game",
    [BeachBar(), CrowdModelling(), pytest.param(closing(), marks=pytest.mark.slow)],
    ids=lambda g: type(g).__name__,
)
def test_equilibria_are_those_of_the_barrier_path(game: mfenvs.FiniteGame) -> None:
    """Where crowds are avoided the masses of an equilibrium are unique."""
    method = method_of(game)
    induced = method.induced
    assert can_use_interior_point(induced, method._sensitivity, np.random.default_rng(1))
    policy = min(method.policies(), key=induced.exploitability)
    assert induced.exploitability(policy) < 1e-9
    uniform = induced.uniform_policy()
    problem = BarrierProblem(induced, method._sensitivity, uniform)
    *_, last = follow(problem, Point(uniform, problem.first_eps()), 1e-9)
    assert last is not None
    masses = [induced.flow(found).mu.sum(axis=-1) for found in (policy, last.policy)]
    np.testing.assert_allclose(*masses, atol=1e-6)


def test_policies_come_nearer() -> None:
    method = method_of(closing())
    gaps = [method.induced.exploitability(policy) for policy in method.policies()]
    assert gaps[-1] < 1e-6 * gaps[0]
    assert len(gaps) < 60


def test_states_from_which_no_reward_reads_the_crowd_are_solved_once() -> None:
    """After the bar has closed. All other states read the crowd, or lead to some that do."""
    method = method_of(closing())
    induced, pairs = method.induced, method._pairs
    tree = induced.tree
    assert tree is not None
    is_open = np.repeat(tree.states == 1, 7, axis=1)
    is_open[:, 3::7] = False  # nobody is at the bar
    expected = list(zip(*np.nonzero(is_open), strict=True))
    times, states, _ = pairs.index
    assert list(zip(times[pairs.firsts], states[pairs.firsts], strict=True)) == expected
    # The closed bar by backward induction in the game's dense tables.
    flow = induced.flow(induced.uniform_policy()).dense()
    ahead = np.zeros(induced.n_states)
    known = {}
    for h in reversed(range(5)):
        q = flow.rewards[h] + flow.transitions[h] @ ahead
        known[h] = flow.transitions[h] @ ahead
        ahead = np.where(is_open[h], 0.0, q.max(axis=-1))
        is_closed = np.repeat(tree.states[h] == 0, 7) & (flow.mu[h].sum(axis=-1) > 0.0)
        played = (method._policy_elsewhere[h] * q).sum(axis=-1)
        np.testing.assert_allclose(played[is_closed], q.max(axis=-1)[is_closed], atol=1e-12)
    found = [known[h][s, a] for h, s, a in zip(*pairs.index, strict=True)]
    np.testing.assert_allclose(method._known_ahead, found, atol=1e-12)
    assert min(found) < -0.1


@pytest.mark.slow
def test_a_closed_bar_takes_no_more_systems_than_one_that_stays_open() -> None:
    """Half of the horizon is after closing time, when all ways of some cost are as good as others."""
    n_systems = []
    for closing_time in (6, 12):
        game = ClosingBeachBar(n_places=7, bar=3, horizon=12, closing_time=closing_time)
        policies = method_of(game).policies()
        gap = InducedGame(game).exploitability
        n_systems.append(next(n for n, policy in enumerate(policies) if gap(policy) < 1e-6))
    assert n_systems[0] <= n_systems[1] + 3


def test_rewards_that_differ_between_crowds_are_read_although_they_have_no_slopes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sensitivity, "reward_slopes", lambda self, arrays: np.zeros_like(arrays.mu))
    assert method_of(BeachBar())._pairs.n == 4 * 3


def test_games_without_a_crowd_are_solved_at_once() -> None:
    method = method_of(ClosingBeachBar(n_places=7, bar=3, horizon=5, closing_time=2, aversion=0.0))
    (policy,) = method.policies()
    assert policy is not None
    assert method.induced.exploitability(policy) < 1e-12


def test_most_policies_far_from_what_is_wanted_are_not_shown() -> None:
    method = method_of(closing())
    everything, shown = list(method.policies()), list(method_of(closing()).policies(1e-6))
    assert len(shown) == len(everything)
    gaps = [method.induced.exploitability(policy) for policy in everything]
    n_hidden = 0
    for one, other, gap in zip(everything, shown, gaps, strict=True):
        if other is None:
            n_hidden += 1
            assert gap > 1e-6
        else:
            np.testing.assert_array_equal(one, other)
    assert 2 <= n_hidden < len(shown) - 3
    assert shown[0] is not None
    # Far from it, some are: the sum of x z falls by more than a dozen powers of ten.
    far = list(method_of(closing()).policies(0.0))
    assert far[-1] is not None
    assert 5 < sum(policy is not None for policy in far) < len(far)


def test_the_last_policy_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here after two steps, which are taken to be short, although the sum of x z hardly falls in the second."""
    for name, value in (("SHORTEST", 2.0), ("MOST_SHORT", 2)):
        monkeypatch.setattr(f"mfenvs.meanfield.equilibrium.interior_point.{name}", value)
    assert [policy is None for policy in method_of(closing()).policies(0.0)] == [False, False]


def test_common_noise_is_no_obstacle() -> None:
    solution = mfenvs.solve(closing())
    assert solution.is_solved
    assert solution.method == "interior point"


def test_rewards_that_rise_with_the_crowd_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_of(CrowdModelling())
    at = method._at
    monkeypatch.setattr(method, "_at", lambda x: (at(x)[0], -100.0 * at(x)[1]))
    assert list(method.policies()) == []


@pytest.mark.parametrize(
    "game",
    [
        DiscountedEpidemic(),  # goes on for ever
        WeightedRockPaperScissors(),  # reads all states
        branching.ByRows(tables=1),  # reads pairs
        LocalCrowd(),  # has a P that changes with the crowd
    ],
    ids=lambda g: type(g).__name__,
)
def test_it_is_not_for_all_games(game: mfenvs.FiniteGame) -> None:
    induced = InducedGame(game)
    sensitivity = Sensitivity(induced, np.random.default_rng(0))
    assert not can_use_interior_point(induced, sensitivity, np.random.default_rng(1))


def test_other_methods_take_over_where_its_system_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.value_system.MOST_ENTRIES", 10)
    solution = mfenvs.solve("BeachBar-v0")
    assert solution.is_solved
    assert solution.method == "barrier path"


@dataclasses.dataclass(kw_only=True)
class Leaking(mfenvs.FiniteGame):
    """Nobody reaches state 2 but by rounding: a probability of -2.8e-17."""

    n_agents: int = 10
    horizon: int = 3
    n_states = 3
    n_actions = 2
    agent_dtype = NO_PARAMETERS
    moves = np.array(
        [
            [[0.9, 0.1, 1.0 - 0.9 - 0.1], [0.1, 0.9, 0.0]],
            [[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]],
            [[0, 0, 1], [0, 0, 1]],
        ]
    )
    initial_distribution = np.array([1.0, 0.0, 0.0])
    constants = (moves,)

    @staticmethod
    @mfenvs.rule
    def transition(next_state, state, action, agent, world):
        return world.constants[0][state, action, next_state]

    @staticmethod
    @mfenvs.rule
    def reward(state, action, agent, world):
        crowd = mfenvs.share(world, 2 * state) + mfenvs.share(world, 2 * state + 1)
        return (0.3 if state == 0 and action == 0 else 0.5 if state == 1 and action == 1 else 0.0) - 2.0 * crowd


def test_states_that_only_rounding_reaches_have_no_place() -> None:
    assert Leaking.moves[0, 0, 2] < 0.0
    solution = mfenvs.solve(Leaking(), seconds=20.0)
    assert solution.is_solved
    assert solution.exploitability == InducedGame(Leaking()).exploitability(solution.policy)


def test_games_with_states_that_next_to_nobody_reaches_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the uniform policy; the limit is set just below and above the least mass of a place."""
    method, rng = method_of(BeachBar()), np.random.default_rng(0)
    least = InducedGame(BeachBar()).flow(InducedGame(BeachBar()).uniform_policy()).mu.sum(axis=-1).min()
    for limit, expected in ((0.9 * least, True), (1.1 * least, False)):
        monkeypatch.setattr("mfenvs.meanfield.equilibrium.interior_point.LEAST_MASS", limit)
        assert can_use_interior_point(method.induced, method._sensitivity, rng) == expected


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_linear_systems_that_cannot_be_factorised_end_the_method(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("no factors")

    monkeypatch.setattr("mfenvs.meanfield.equilibrium.value_system.splu", fail)
    assert list(method_of(BeachBar()).policies()) == []
    assert mfenvs.solve(BeachBar()).method == "barrier path"
