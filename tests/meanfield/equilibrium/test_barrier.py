"""The log-barrier path: its equations, Newton's directions for them, and the points that are found."""

import math

import branching
import numpy as np
import pytest
from local_crowd import LocalCrowd

from mfenvs import FiniteGame, InducedGame
from mfenvs.games.classic.beach_bar import BeachBar
from mfenvs.games.classic.chains import LasryLionsChain, NoInteractionChain
from mfenvs.games.classic.crowd_modelling import CrowdModelling
from mfenvs.games.classic.epidemics import DiscountedEpidemic
from mfenvs.games.classic.left_right import LeftRight
from mfenvs.games.classic.linear_quadratic import LinearQuadraticChain
from mfenvs.games.classic.rock_paper_scissors import WeightedRockPaperScissors
from mfenvs.games.common_noise.closing_beach_bar import ClosingBeachBar
from mfenvs.meanfield.equilibrium.barrier import BarrierProblem, Point, follow
from mfenvs.meanfield.equilibrium.descent import descend_by_curves
from mfenvs.meanfield.equilibrium.sensitivity import Reads, Sensitivity

RANDOM = branching.ByRows(tables=1)
ENDLESS = branching.ByRows(tables=2, discount=0.8)

GAMES = [
    (RANDOM, False, Reads.PAIRS),
    (RANDOM, True, Reads.PAIRS),
    (ENDLESS, False, Reads.PAIRS),
    (ENDLESS, True, Reads.PAIRS),
    (WeightedRockPaperScissors(), False, Reads.STATES),
    (LinearQuadraticChain(pull=0.9), False, Reads.STATES),  # whose rounding has no ties
    (CrowdModelling(), False, Reads.OWN_STATE),
    (CrowdModelling(), True, Reads.OWN_STATE),
    (LasryLionsChain(), False, Reads.OWN_STATE),
    (DiscountedEpidemic(), False, Reads.STATES),
    (NoInteractionChain(), False, Reads.NOTHING),
]
QUICK = (BeachBar, CrowdModelling, LasryLionsChain, LeftRight, LocalCrowd, NoInteractionChain, branching.ByRows)
"""Games of every kind, for ``make test``: to compile the derivatives of one takes seconds."""


def marks_of(game: FiniteGame, sparse: bool = False) -> tuple[pytest.MarkDecorator, ...]:
    return () if isinstance(game, QUICK) and not sparse else (pytest.mark.slow,)


def name_of(game: FiniteGame) -> str:
    return f"{type(game).__name__}-{game.discount:g}"


by_game = pytest.mark.parametrize(
    ("game", "sparse", "reads"),
    [
        pytest.param(
            *(game, sparse, reads),
            id=f"{name_of(game)}-{'sparse' if sparse else 'dense'}",
            marks=marks_of(game, sparse),
        )
        for game, sparse, reads in GAMES
    ],
)


def problem_of(game: FiniteGame, sparse: bool | None = None, reference=None) -> BarrierProblem:
    induced = InducedGame(game, sparse=sparse)
    sensitivity = Sensitivity(induced, np.random.default_rng(0))
    return BarrierProblem(induced, sensitivity, induced.uniform_policy() if reference is None else reference)


@by_game
def test_what_rows_read_is_found(game: FiniteGame, sparse: bool, reads: Reads) -> None:
    assert Sensitivity(InducedGame(game, sparse=sparse), np.random.default_rng(1)).reads is reads


@by_game
def test_errors_are_those_of_the_smoothed_problem(game: FiniteGame, sparse: bool, reads: Reads) -> None:
    """V = sum pi Q + eps and 1 - pi (V - Q) / (eps rho), by values that the induced game evaluates."""
    rng = np.random.default_rng(3)
    induced = InducedGame(game)
    reference, policy = rng.dirichlet(np.ones(induced.n_actions), (2, *induced.policy_shape[:2]))
    problem, eps = problem_of(game, sparse, reference), 0.3
    q = induced.evaluate(policy)
    # What eps adds to the values that are ahead moves V and Q alike.
    slacks = (policy * q).sum(axis=-1, keepdims=True) + eps - q
    expected = 1.0 - policy * slacks / (eps * reference)
    found = problem.errors(policy, eps)
    np.testing.assert_allclose(found[problem.is_free], expected[problem.is_free], atol=1e-9, rtol=1e-9)


@by_game
def test_newtons_method_is_of_second_order_near_the_path(game: FiniteGame, sparse: bool, reads: Reads) -> None:
    """A step from a policy at a distance d of the path ends at one of order d^2; so does one along the path."""
    problem = problem_of(game, sparse)
    policy, eps = problem.reference, 3.0 * problem.first_eps()
    for _ in range(20):
        towards, along = problem.directions(policy, eps, problem.errors(policy, eps))
        policy = problem.moved(policy, towards)
    assert np.abs(problem.errors(policy, eps)).max() < 1e-9
    off = np.random.default_rng(4).standard_normal(policy.shape)
    after, beside = [], []
    for distance in (1e-2, 1e-3):
        there = problem.moved(policy, distance * off)
        errors = problem.errors(there, eps)
        assert np.abs(errors).max() > 0.1 * distance
        towards, _ = problem.directions(there, eps, errors)
        after.append(np.abs(problem.errors(problem.moved(there, towards), eps)).max())
        moved = problem.moved(policy, distance * along)
        beside.append(np.abs(problem.errors(moved, eps * math.exp(distance))).max())
    assert after[0] < 2e-2
    assert after[1] < 0.02 * after[0] + 1e-9
    assert beside[0] < 2e-3
    assert beside[1] < 0.02 * beside[0] + 1e-9


@pytest.mark.parametrize(
    "game",
    [
        pytest.param(game, id=name_of(game), marks=marks_of(game))
        for game in (WeightedRockPaperScissors(), CrowdModelling(), LasryLionsChain(), RANDOM, ENDLESS)
    ],
)
def test_points_of_the_path_keep_their_promise(game: FiniteGame) -> None:
    """A smoothed equilibrium is at most H eps exploitable, or eps / (1 - gamma)."""
    problem = problem_of(game)
    induced = problem.induced
    bound = induced.n_times if game.discount == 1.0 else 1.0 / (1.0 - game.discount)
    points = list(follow(problem, Point(induced.uniform_policy(), problem.first_eps()), 1e-7))
    found = [point for point in points if point is not None]
    assert found[-1].eps < 1.02e-7
    for point in found:
        np.testing.assert_allclose(problem.errors(point.policy, point.eps), 0.0, atol=2e-2)
        assert induced.exploitability(point.policy) <= 1.03 * bound * point.eps + 1e-12


@pytest.mark.parametrize(
    "game",
    [
        pytest.param(game, id=name_of(game), marks=marks_of(game))
        for game in (CrowdModelling(), LasryLionsChain(), LinearQuadraticChain(pull=0.9))
    ],
)
def test_a_descent_ends_where_the_path_does(game: FiniteGame) -> None:
    problem = problem_of(game)
    start = Point(problem.induced.uniform_policy(), problem.first_eps())
    *_, below = descend_by_curves(problem, start, 1e-7)
    *_, end = follow(problem, start, 1e-7)
    assert end is not None
    assert below.eps == pytest.approx(1e-7)
    assert problem.induced.exploitability(below.policy) <= 1.03 * problem.bound * 1e-7
    free = problem.is_free
    np.testing.assert_allclose(below.policy[free], end.policy[free], rtol=0.05, atol=1e-4)


def test_the_path_of_left_right_is_known() -> None:
    """A share p goes left: -p and -2 (1 - p) are paid, and p (V - Q(left)) = (1 - p) (V - Q(right)) = eps / 2.

    So (3 p - 2) = eps (1 - 2 p) / (2 p (1 - p)), with the equilibrium p = 2/3 in the limit.
    """
    problem = problem_of(LeftRight())
    start = Point(problem.induced.uniform_policy(), problem.first_eps())
    for point in follow(problem, start, 1e-9):
        if point is not None:
            p, eps = point.policy[0, 0, 0], point.eps
            assert 3.0 * p - 2.0 == pytest.approx(eps * (1.0 - 2.0 * p) / (2.0 * p * (1.0 - p)), abs=2e-2 * eps)
    assert p == pytest.approx(2.0 / 3.0, abs=1e-8)


def test_another_reference_policy_leads_elsewhere_and_to_an_equilibrium() -> None:
    rng = np.random.default_rng(5)
    game = BeachBar()
    reference = rng.dirichlet(np.ones(3), InducedGame(game).policy_shape[:2])
    problem = problem_of(game, reference=reference)
    first = problem.errors(reference, 1e9)
    assert np.abs(first).max() < 1e-8  # for large eps the path is the reference policy
    *_, last = follow(problem, Point(reference, problem.first_eps()), 1e-8)
    assert last is not None
    assert problem.induced.exploitability(last.policy) < 1e-7


def test_derivatives_of_crowd_aversion() -> None:
    """R = ... - log mu(s): dQ(s, a) / d mu(s) = -1 / mu(s), and nothing else."""
    problem = problem_of(CrowdModelling())
    policy = np.random.default_rng(6).dirichlet(np.ones(3), problem.induced.policy_shape[:2])
    problem.errors(policy, 1.0)
    sensitivity, arrays = problem._sensitivity, problem._arrays
    slopes = sensitivity.slopes(arrays, problem._values)
    mass = arrays.mu.sum(axis=-1)
    np.testing.assert_allclose(slopes.own, np.broadcast_to(-1.0 / mass[..., None], slopes.own.shape), rtol=1e-6)
    assert len(slopes.pairs) == 0
    np.testing.assert_allclose(sensitivity.reward_slopes(arrays), slopes.own, rtol=1e-4)


@pytest.mark.slow
def test_where_moves_do_not_vary_with_the_population_they_have_no_derivatives() -> None:
    """Tables that could vary, as on a tree of public histories, mostly do not."""
    tree = ClosingBeachBar(n_places=7, bar=3, horizon=5, closing_time=2)
    for game, do_vary in ((LocalCrowd(), True), (tree, False)):
        problem = problem_of(game)
        assert problem.induced.kernels.varies
        problem.errors(problem.reference, 1.0)
        assert (len(problem._slopes().own_shifts) > 0) == do_vary


@pytest.mark.parametrize(
    "game",
    [CrowdModelling(), LasryLionsChain(), NoInteractionChain(), LocalCrowd(), LocalCrowd(discount=0.9)],
    ids=lambda game: f"{type(game).__name__}-{game.discount:g}",
)
def test_the_local_equations_are_the_global_ones(game: FiniteGame) -> None:
    """What reads the mass in its own state only is a special case of what reads it anywhere."""
    problem = problem_of(game)
    policy = np.random.default_rng(7).dirichlet(np.ones(game.n_actions), problem.induced.policy_shape[:2])
    errors = problem.errors(policy, 0.4)
    local = problem.directions(policy, 0.4, errors)
    sensitivity = problem._sensitivity
    assert sensitivity.reads in (Reads.NOTHING, Reads.OWN_STATE)
    sensitivity.reads, sensitivity.n_columns = Reads.STATES, game.n_states
    sensitivity._groups = sensitivity._grouped(np.random.default_rng(8))
    np.testing.assert_allclose(problem.directions(policy, 0.4, errors), local, rtol=1e-6, atol=1e-6)


def test_the_sparse_system_is_the_elimination(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(CrowdModelling())
    policy = np.random.default_rng(7).dirichlet(np.ones(3), problem.induced.policy_shape[:2])
    errors = problem.errors(policy, 0.4)
    module, found = "mfenvs.meanfield.equilibrium.local_directions", []
    # A dense elimination, one with sparse matrices, and a factorised sparse system.
    for cost, many_states in ((0.0, 1000), (0.0, 0), (1e9, 0)):
        monkeypatch.setattr(f"{module}.DENSE_OPERATIONS", cost)
        monkeypatch.setattr(f"{module}.MANY_STATES", many_states)
        found.append(problem.directions(policy, 0.4, errors))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9, atol=1e-9)


def test_what_is_not_kept_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(RANDOM)
    policy, eps = problem.reference, problem.first_eps()
    errors = problem.errors(policy, eps)
    kept = problem.directions(policy, eps, errors)
    assert np.abs(kept).max() > 0.0
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.directions.MOST_KEPT", 0)
    np.testing.assert_array_equal(problem.directions(policy, eps, errors), kept)
