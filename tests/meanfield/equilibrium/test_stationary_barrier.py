"""The barrier path of infinite games with the law as an unknown, its derivatives, and the certificate's flow."""

import math

import branching
import numpy as np
import pytest
from local_crowd import LocalCrowd

import mfenvs
from mfenvs import FiniteGame, InducedGame
from mfenvs.games.classic.epidemics import DiscountedEpidemic
from mfenvs.games.classic.linear_quadratic import LinearQuadraticChain
from mfenvs.meanfield.equilibrium.barrier import BarrierProblem, Point, follow
from mfenvs.meanfield.equilibrium.secants import Secants, can_keep
from mfenvs.meanfield.equilibrium.sensitivity import NoDerivatives, Sensitivity
from mfenvs.meanfield.equilibrium.stationary_barrier import StationaryProblem

GAMES = [
    (branching.ByRows(tables=2, discount=0.8), False),
    (branching.ByRows(tables=2, discount=0.8), True),
    (LocalCrowd(discount=0.9), False),
    (DiscountedEpidemic(), False),
]
IDS = [f"{type(game).__name__}-{'sparse' if sparse else 'dense'}" for game, sparse in GAMES]


def problems(game: FiniteGame, sparse: bool) -> tuple[BarrierProblem, StationaryProblem]:
    induced = InducedGame(game, sparse=sparse)
    sensitivity = Sensitivity(induced, np.random.default_rng(0))
    given = induced, sensitivity, induced.uniform_policy()
    return BarrierProblem(*given), StationaryProblem(*given)


@pytest.mark.parametrize(("game", "sparse"), GAMES, ids=IDS)
def test_the_path_is_that_of_the_policy_with_its_flow(game: FiniteGame, sparse: bool) -> None:
    of_policy, joint = problems(game, sparse)
    induced, uniform = of_policy.induced, of_policy.reference
    first_eps = of_policy.first_eps()
    assert joint.first_eps() == pytest.approx(first_eps, rel=1e-12)
    *_, there = follow(of_policy, Point(uniform, first_eps), 1e-4)
    *_, here = follow(joint, Point(joint.unknowns(uniform), first_eps), 1e-4)
    assert there is not None
    assert here is not None
    policy = joint.policy_of(here.policy)
    # Both ends are near eps = 1e-4 and near the path.
    np.testing.assert_allclose(policy, there.policy, rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(joint.law_of(here.policy), induced.flow(policy).mu[0].sum(axis=-1), atol=1e-9)
    assert induced.exploitability(policy) <= 1.03 * joint.bound * here.eps


@pytest.mark.parametrize(("game", "sparse"), GAMES, ids=IDS)
def test_newtons_method_is_of_second_order_in_the_policy_and_the_law(game: FiniteGame, sparse: bool) -> None:
    _, joint = problems(game, sparse)
    unknowns, eps = joint.unknowns(joint.reference), 3.0 * joint.first_eps()
    for _ in range(20):
        towards, along = joint.directions(unknowns, eps, joint.errors(unknowns, eps))
        unknowns = joint.moved(unknowns, towards)
    assert np.abs(joint.errors(unknowns, eps)).max() < 1e-9
    off = np.random.default_rng(4).standard_normal(unknowns.shape)
    after, beside = [], []
    for distance in (1e-2, 1e-3):
        there = joint.moved(unknowns, distance * off)
        errors = joint.errors(there, eps)
        assert np.abs(errors[..., -1]).max() > 0.1 * distance  # the law is off as well
        towards, _ = joint.directions(there, eps, errors)
        after.append(np.abs(joint.errors(joint.moved(there, towards), eps)).max())
        moved = joint.moved(unknowns, distance * along)
        beside.append(np.abs(joint.errors(moved, eps * math.exp(distance))).max())
    assert after[1] < 0.02 * after[0] + 1e-9
    assert beside[1] < 0.02 * beside[0] + 1e-9


@pytest.mark.parametrize(("game", "sparse"), GAMES, ids=IDS)
def test_how_the_law_moves_under_the_same_policy(game: FiniteGame, sparse: bool) -> None:
    """Columns are derivatives of s' -> sum over s, a of m(s) pi(a | s) P(s' | s, a, m pi), which is evaluated."""
    _, joint = problems(game, sparse)
    rng, induced = np.random.default_rng(5), joint.induced
    policy = rng.dirichlet(np.ones(game.n_actions), (1, game.n_states))
    mass = rng.dirichlet(np.ones(game.n_states))

    def step(law: np.ndarray) -> np.ndarray:
        pairs = law[:, None] * policy[0]
        transitions, rewards = np.empty((*pairs.shape, game.n_states)), np.empty(pairs.shape)
        arrays = induced.flow_arrays(dense=True)
        induced.filled(lambda tables: induced.kernels.freeze(pairs[None], tables), arrays)
        transitions, rewards = arrays.transitions[0], arrays.rewards
        assert np.isfinite(rewards).all()
        return np.einsum("sa,sat->t", pairs, transitions)

    unknowns = np.concatenate((policy, mass[None, :, None]), axis=-1)
    joint.directions(unknowns, 1.0, joint.errors(unknowns, 1.0))
    assert joint._last is not None
    found = joint._last.moves()
    for s in range(game.n_states):
        change = 1e-6 * np.eye(game.n_states)[s]
        column = (step(mass + change) - step(mass - change)) / 2e-6
        np.testing.assert_allclose(found[:, s], column, atol=1e-7)


def test_kept_derivatives_agree_with_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MANY_TABULATIONS", 1)
    _, joint = problems(*GAMES[0])
    induced, sensitivity = joint.induced, joint._sensitivity
    assert can_keep(induced, sensitivity)
    kept, rng = Secants(induced, sensitivity), np.random.default_rng(6)
    laws = rng.dirichlet(np.ones(induced.n_states), 2)
    policy, values, slopes, tables = joint.reference, rng.standard_normal((1, induced.n_states)), [], []
    for law in laws:
        joint._tabulate(policy, law)
        tables.append((joint._arrays.transitions[0].copy(), joint._arrays.rewards[0].copy()))
        exact = sensitivity.slopes(joint._arrays, values)
        slopes.append((kept.slopes(joint._arrays, values), exact))
    # Computed at first, and then only corrected: exactly along the way that the law has gone.
    found, exact = slopes[0]
    np.testing.assert_allclose(found.pairs, exact.pairs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.shifts, exact.shifts, rtol=1e-4, atol=1e-5)
    move = ((laws[1] - laws[0])[:, None] * policy[0]).ravel()
    (before, earned_before), (after, earned_after) = tables
    values_change = (after - before) @ values[0] * induced.game.discount + earned_after - earned_before
    np.testing.assert_allclose(slopes[1][0].pairs[0] @ move, values_change, atol=1e-8)
    arrived = np.einsum("sa,sat->t", laws[1][:, None] * policy[0], after - before)
    np.testing.assert_allclose(slopes[1][0].shifts[0] @ move, arrived, atol=1e-8)
    # When steps gain little, derivatives of some age are computed anew.
    for _ in range(5):
        joint._tabulate(policy, rng.dirichlet(np.ones(induced.n_states)))
        kept.slopes(joint._arrays, values)
    kept.doubt()
    exact = sensitivity.slopes(joint._arrays, values)
    np.testing.assert_allclose(kept.slopes(joint._arrays, values).pairs, exact.pairs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept_apart", [30, 1, 2])
def test_corrections_agree_with_the_last_change_of_curved_rules(
    kept_apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of them, also where earlier ones say something else."""
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MOST_CORRECTIONS", kept_apart)
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MANY_TABULATIONS", 1)
    induced = InducedGame(mfenvs.make("KineticCongestion-v0", success="exponential"))
    sensitivity, rng = Sensitivity(induced, np.random.default_rng(0)), np.random.default_rng(7)
    assert can_keep(induced, sensitivity)
    kept, arrays = Secants(induced, sensitivity), induced.flow_arrays()
    values, before = rng.standard_normal((1, induced.n_states)), None
    for _ in range(4):
        law = rng.dirichlet(np.ones(induced.n_states))
        arrays.mu[0] = law[:, None] / induced.n_actions
        induced.kernels.freeze(arrays.mu, arrays)
        found, transitions = kept.slopes(arrays, values), arrays.transitions[0].copy()
        if before is not None:
            move, change = law - before[0], transitions - before[1]
            np.testing.assert_allclose(
                found.pairs[0] @ move, induced.game.discount * change @ values[0], atol=1e-10
            )
            arrived = np.einsum("sa,sat->t", arrays.mu[0], change)
            np.testing.assert_allclose(found.shifts[0] @ move, arrived, atol=1e-10)
        before = law, transitions


def test_games_are_solved_with_kept_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = mfenvs.solve("DiscountedEpidemic-v0")
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MANY_TABULATIONS", 1)
    solution = mfenvs.solve("DiscountedEpidemic-v0")
    assert solution.is_solved
    np.testing.assert_allclose(solution.policy, exact.policy, atol=1e-4)


def test_kept_derivatives_of_a_game_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the exact ones at first, wherever anybody can be, and then agree with the change of rewards."""
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MANY_TABULATIONS", 1)
    for game in (LinearQuadraticChain(pull=0.9), mfenvs.make("GraphonEpidemic-v0", horizon=6)):
        induced = InducedGame(game)
        sensitivity = Sensitivity(induced, np.random.default_rng(0))
        assert can_keep(induced, sensitivity)
        kept, arrays, rng = Secants(induced, sensitivity), induced.flow_arrays(), np.random.default_rng(1)
        values = rng.standard_normal((induced.n_times + 1, induced.n_states))
        weights = rng.exponential(size=(2, *induced.policy_shape))
        laws, q = [], []
        for policy in weights / weights.sum(axis=-1, keepdims=True):
            induced.kernels.flow(policy, arrays)
            laws.append(arrays.mu.sum(axis=-1))
            transitions = np.broadcast_to(arrays.transitions, (*induced.policy_shape, induced.n_states))
            q.append(arrays.rewards + np.einsum("hsak,hk->hsa", transitions, values[1:]))
            found, exact = kept.slopes(arrays, values), sensitivity.slopes(arrays, values)
            assert found.shifts.shape == exact.shifts.shape
            if len(laws) == 1:
                for h in range(induced.n_times):
                    there = laws[0][h] > 0.0
                    pairs = found.pairs[h][..., there], exact.pairs[h][..., there]
                    np.testing.assert_allclose(*pairs, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(found.shifts, exact.shifts, rtol=1e-4, atol=1e-5)
        move = laws[1] - laws[0]
        np.testing.assert_allclose(np.einsum("hsac,hc->hsa", found.pairs, move), q[1] - q[0], atol=1e-9)
        assert mfenvs.solve(game).is_solved


def test_derivatives_that_never_help_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.secants.MANY_TABULATIONS", 1)
    _, joint = problems(*GAMES[0])
    unknowns = joint.unknowns(joint.reference)
    for _ in range(20):
        for _ in range(6):
            joint.directions(unknowns, 1.0, joint.errors(unknowns, 1.0))
        joint.doubt()
    assert joint._secants is None


def test_a_crowd_that_gets_in_its_own_way() -> None:
    """The population of a kinetic congestion moves ever more slowly, and its law is solved for."""
    solution = mfenvs.solve("KineticCongestion-v0", seconds=20.0)
    assert solution.is_solved
    assert solution.method == "barrier path"
    assert solution.flow.residual <= 1e-13
    induced = InducedGame(mfenvs.make("KineticCongestion-v0"))
    start = solution.flow.mu[0].sum(axis=-1)
    assert induced.exploitability(solution.policy, start=start) == pytest.approx(solution.exploitability, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "constants"), [("NoInteractionChain-v0", {}), ("Epidemic-v0", {"discount": 0.95})]
)
def test_states_that_are_left_for_good_do_not_hold_up_the_path(name: str, constants: dict) -> None:
    """Their mass falls by orders of magnitude more than the barrier parameter, and decides nothing."""
    solution = mfenvs.solve(name, **constants)
    assert solution.is_solved
    assert solution.flow.mu[0].sum(axis=-1).min() < 1e-12
    assert solution.iterations < 100


@pytest.mark.slow
def test_rules_that_jump_have_no_derivatives() -> None:
    """Travel times of the routing games are rounded down: mirror descent is left to itself."""
    induced = InducedGame(mfenvs.make("DynamicRouting-v0"))
    with pytest.raises(NoDerivatives, match="jumps"):
        Sensitivity(induced, np.random.default_rng(0))
    solution = mfenvs.solve("DynamicRouting-v0", seconds=30.0)
    assert solution.is_solved
    assert solution.method == "mirror descent"
