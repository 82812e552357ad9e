"""MF-OMO and occupation-measure inclusion: residuals and gradients in plain numpy, equilibria by hand, MFGLib."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tabulated import Tabulated, optimal_q, random_tabulated, tabulated_arrays

from baselines.solvers.fixed_point import OnlineMirrorDescent
from baselines.solvers.flow_polytope import constraints, project_to_flows
from baselines.solvers.mf_omo import MFOMO, _Residuals
from baselines.solvers.occupation_measures import OccupationMeasureInclusion
from mfenvs import InducedGame, make

LEFT_RIGHT = {"pay": ((1 / 3, 0.0),) * 3, "crowding": 1.0, "horizon": 1}
"""Two thirds go left: 1/3 - 2/3 = 0 - 1/3."""
FORMS = [{}, {"parameterised": True}, {"loss": "l1"}, {"loss": "l2"}, {"flow_weight": 3.0, "value_weight": 0.5}]


def random_game(seed: int = 3) -> Tabulated:
    return random_tabulated(seed, discount=1.0, pull=0.5)


def objective(game, law, values, slack, loss="l1_l2", weights=(1.0, 1.0, 1.0)):
    """The paper's objective, with its matrix A_L written out."""
    n_times, (n_states, n_actions) = len(law), law.shape[1:]
    size = n_states * n_actions
    matrix, c = np.zeros((n_times * n_states, n_times * size)), np.zeros((n_times, size))
    z = np.kron(np.eye(n_states), np.ones(n_actions))
    for t in range(n_times):
        p, r = tabulated_arrays(game, law[t])
        c[t] = -r.ravel()
        if t + 1 < n_times:
            rows = slice(t * n_states, (t + 1) * n_states)
            matrix[rows, t * size : (t + 1) * size] = p.reshape(size, n_states).T
            matrix[rows, (t + 1) * size : (t + 2) * size] = -z
    matrix[-n_states:, :size] = z
    b = np.zeros(n_times * n_states)
    b[-n_states:] = game.initial_distribution
    one, two = matrix @ law.ravel() - b, matrix.T @ values.ravel() + slack.ravel() - c.ravel()
    three = float(slack.ravel() @ law.ravel())
    if loss == "l1":
        return weights[0] * np.abs(one).sum() + weights[1] * np.abs(two).sum() + weights[2] * three
    three = three**2 if loss == "l2" else three
    return weights[0] * (one**2).sum() + weights[1] * (two**2).sum() + weights[2] * three


def anywhere(solver: MFOMO, seed: int) -> None:
    """Move the solver to a point that means nothing."""
    solver._point = solver._point + np.random.default_rng(seed).normal(size=solver._point.shape) * 0.05
    if not solver.config.parameterised:
        solver._project()


@pytest.mark.parametrize("options", FORMS)
def test_the_objective_is_the_papers(options) -> None:
    game = random_game()
    solver = MFOMO(game, **options)
    anywhere(solver, 0)
    config = solver.config
    weights = config.flow_weight, config.value_weight, config.slack_weight
    assert solver.objective == pytest.approx(
        objective(game, *solver._variables(), config.loss, weights), rel=1e-12
    )


@pytest.mark.parametrize("options", FORMS)
def test_the_gradient_is_that_of_the_objective(options) -> None:
    solver = MFOMO(random_game(), **options)
    anywhere(solver, 1)
    variables = solver._variables()
    found = solver._gradient(variables, solver._residuals(variables))
    point, quotients = solver._point, []
    for i in range(len(point)):
        values = []
        for move in (1e-6, -1e-6):
            solver._point = point.copy()
            solver._point[i] += move
            values.append(solver.objective)
        quotients.append((values[0] - values[1]) / 2e-6)
    assert_allclose(found, quotients, atol=1e-7)


def test_local_rules_need_few_tabulations() -> None:
    """On congested roads an agent minds those on its own road: all 24 pairs are moved at once."""
    pattern = MFOMO(make("Congestion-v0", n_agents=20))._pattern
    assert len(pattern.members) < 4 < pattern.members.shape[1]
    game = random_game()
    # Here everybody minds everybody.
    assert len(MFOMO(game)._pattern.members) == 6
    assert len(MFOMO(random_tabulated(3, discount=1.0, pull=0.0, crowding=0.0))._pattern.members) == 0


def test_the_objective_is_zero_at_an_equilibrium_and_nowhere_else() -> None:
    solver = MFOMO(Tabulated(**LEFT_RIGHT))
    for share, expected in ((2 / 3, 0.0), (0.5, 1 / 6), (1.0, 2 / 3)):
        policy = np.broadcast_to([share, 1 - share], (1, 3, 2)).copy()
        solver._point = solver._first_point(solver.induced.flow(policy).mu)
        # With the best response's values, what is left is z'L: the exploitability.
        assert solver.objective == pytest.approx(expected, abs=1e-12)
        assert solver.objective == pytest.approx(solver.induced.exploitability(policy), abs=1e-12)
    best = OnlineMirrorDescent(random_tabulated(1, discount=1.0, pull=0.0, crowding=1.5), learning_rate=0.5)
    best.run(20_000)
    solver = MFOMO(best.game)
    solver._point = solver._first_point(best.induced.flow(best.policy).mu)
    assert solver.objective < 1e-8
    for seed in range(10):
        anywhere(solver, seed)
        assert solver.objective > 1e-3


def test_the_first_objective_is_the_exploitability_of_the_first_flow() -> None:
    solver = MFOMO(random_game(), first_law="flow")
    assert solver.objective == pytest.approx(solver.induced.exploitability(solver.policy), abs=1e-12)


@pytest.mark.parametrize("options", [{"learning_rate": 0.01}, {"parameterised": True}, {"balancing_period": 20}])
def test_mf_omo_finds_the_equilibrium(options) -> None:
    solver = MFOMO(Tabulated(**LEFT_RIGHT), **options)
    solver.run(1500)
    assert solver.induced.flow(solver.policy).mu[0, :, 0].sum() == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("flow", "value", "slack", "weights"),
    [
        (100.0, 1.0, 1.0, (2.0, 1.0)),
        (0.01, 1.0, 1.0, (0.5, 1.0)),
        (1.0, 100.0, 2.0, (1.0, 2.0)),
        (1.0, 0.01, 2.0, (1.0, 0.5)),
        (1.0, 2.0, 3.0, (1.0, 1.0)),
        (5.0, 1.0, 0.0, (1.0, 1.0)),
    ],
)
def test_weights_are_balanced(flow, value, slack, weights) -> None:
    """By 2 where a residual is above 10 times the larger or below a tenth of the smaller of the others."""
    solver = MFOMO(random_game())
    first, second = np.zeros((3, 3)), np.zeros((3, 3, 2))
    first[0, 0], second[1, 1, 1] = np.sqrt(flow), np.sqrt(value)
    solver._balance(_Residuals(first, second, slack))
    assert tuple(solver._weights[:2]) == weights


def nearest_flow(point, matrix, b):
    """Dykstra's alternating projections onto A x = b and x >= 0."""
    inverse = np.linalg.pinv(matrix)
    x, p = point.copy(), np.zeros(len(point))
    for _ in range(20_000):
        y = x - inverse @ (matrix @ x - b)
        x = np.maximum(y + p, 0.0)
        p = y + p - x
    return x


@pytest.mark.parametrize("seed", range(3))
def test_the_projection_is_the_nearest_flow(seed) -> None:
    game, rng = random_game(seed), np.random.default_rng(seed)
    induced = InducedGame(game)
    flow = induced.flow(rng.dirichlet(np.ones(2), (3, 3)))
    matrix = constraints(flow, 3)
    assert_allclose(matrix @ flow.mu.ravel(), [*game.initial_distribution, *[0.0] * 6], atol=1e-12)
    point = flow.mu + rng.normal(size=flow.mu.shape) * 0.5
    found, _ = project_to_flows(point, matrix, induced.initial, np.zeros((3, 3)))
    b = np.zeros(9)
    b[:3] = game.initial_distribution
    assert (found >= 0).all()
    assert (found == 0).any()
    assert_allclose(matrix @ found.ravel(), b, atol=1e-12)
    assert_allclose(found.ravel(), nearest_flow(point.ravel(), matrix.toarray(), b), atol=1e-6)


def test_a_point_that_is_not_finite_is_refused() -> None:
    induced = InducedGame(random_game())
    matrix = constraints(induced.flow(induced.uniform_policy()), 3)
    with pytest.raises(ValueError, match="the point to project must be finite"):
        project_to_flows(np.full((3, 3, 2), np.nan), matrix, induced.initial, np.zeros((3, 3)))


def test_inclusion_moves_nothing_at_an_equilibrium() -> None:
    games = [Tabulated(**LEFT_RIGHT), random_tabulated(1, discount=1.0, pull=0.0, crowding=1.5)]
    for game in games:
        best = OnlineMirrorDescent(game, learning_rate=0.5)
        best.run(20_000)
        law = best.induced.flow(best.policy).mu
        solver = OccupationMeasureInclusion(game, step_size=0.5)
        solver._measure = law.copy()
        solver.run(5)
        assert_allclose(solver._measure, law, atol=1e-6)
        solver._measure = solver.induced.flow(solver.induced.uniform_policy()).mu
        solver.run(1)
        assert np.abs(solver._measure - law).max() > 1e-3


def test_inclusion_finds_the_equilibrium_of_a_monotone_game() -> None:
    solver = OccupationMeasureInclusion(random_tabulated(1, discount=1.0, pull=0.0, crowding=1.5), step_size=0.5)
    assert solver.solve(tolerance=1e-6, iterations=200).is_solved


def test_damping_moves_the_limit() -> None:
    """With eta the left-right game becomes 1/3 - x - eta x = -(1 - x) - eta (1 - x)."""
    solver = OccupationMeasureInclusion(Tabulated(**LEFT_RIGHT, first=(1.0, 0.0, 0.0)), step_size=0.3, damping=1.0)
    solver.run(200)
    assert solver._measure[0, 0, 0] == pytest.approx((1 / 3 + 2) / 4, abs=1e-9)


@pytest.fixture
def double():
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def torch_tables(game, law, torch):
    """P (S, A, S) and R (S, A) of a game of tables, with their gradients."""
    doing = law.sum(dim=0)
    home = torch.zeros(3)
    home[0] = 1.0
    p = (1 - game.pull * doing[1]) * torch.tensor(game.moves) + game.pull * doing[1] * home
    return p, torch.tensor(game.pay) - game.crowding * doing


def theirs(game, torch):
    environment = pytest.importorskip("mfglib.env").Environment
    return environment(
        T=game.horizon - 1,
        S=(3,),
        A=(2,),
        mu0=torch.from_numpy(game.initial_distribution),
        r_max=10.0,
        reward_fn=lambda env, t, law: torch_tables(game, law, torch)[1],
        transition_fn=lambda env, t, law: torch_tables(game, law, torch)[0].permute(2, 0, 1),
    )


@pytest.mark.parametrize(("loss", "first"), [("l1_l2", "best"), ("l2", "best"), ("l1", "zero")])
def test_mf_omo_iterates_are_those_of_mfglib(loss, first, double) -> None:
    game = random_game(13)
    algorithm = pytest.importorskip("mfglib.alg").MFOMO(loss=loss, hat_init=first == "best")
    found, _, _ = algorithm.solve(theirs(game, double), max_iter=20, atol=None, rtol=None)
    solver = MFOMO(game, loss=loss, first_values=first)
    for expected in itertools.islice(found, 1, None):
        solver.run(1)
        assert_allclose(solver.policy.probabilities, expected.numpy(), atol=1e-6)


def test_inclusion_iterates_are_those_of_mfglib(double) -> None:
    pytest.importorskip("osqp")
    game = random_game(13)
    algorithm = pytest.importorskip("mfglib.alg").OccupationMeasureInclusion(
        alpha=0.1, osqp_atol=1e-8, osqp_rtol=1e-8
    )
    found, _, _ = algorithm.solve(theirs(game, double), max_iter=6, atol=None, rtol=None)
    solver = OccupationMeasureInclusion(game, step_size=0.1)
    for expected in itertools.islice(found, 1, None):
        solver.run(1)
        # Theirs are rounded to single precision.
        assert_allclose(solver.policy.probabilities, expected.numpy(), atol=1e-4)


def test_hat_values_are_those_of_the_best_response() -> None:
    game = random_game()
    solver = MFOMO(game)
    law, values, slack = solver._variables()
    assert_allclose(law, 1 / 6)
    q = optimal_q(*(np.array(t) for t in zip(*(tabulated_arrays(game, mu) for mu in law), strict=True)), 1.0)
    best = q.max(axis=-1)
    assert_allclose(slack, best[..., None] - q, atol=1e-12)
    assert_allclose(values, [*best[1:], -best[0]], atol=1e-12)
    assert not MFOMO(game, first_values="zero")._variables().slack.any()


@pytest.mark.parametrize(
    ("solver_class", "options", "message"),
    [
        (MFOMO, {"learning_rate": 0.0}, "learning_rate must be a finite number in"),
        (MFOMO, {"loss": "l3"}, "loss must be one of 'l1_l2', 'l1', 'l2', got 'l3'"),
        (MFOMO, {"balance_factor": 0.5}, "balance_factor must be a finite number in"),
        (MFOMO, {"balancing_period": 0}, "balancing_period must be an integer in"),
        (OccupationMeasureInclusion, {"step_size": 0.0}, "step_size must be a finite number in"),
        (OccupationMeasureInclusion, {"damping": -1.0}, "damping must be a finite number in"),
    ],
)
def test_hyper_parameters_that_are_refused(solver_class, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        solver_class.config_class(**options)


@pytest.mark.parametrize("solver_class", [MFOMO, OccupationMeasureInclusion])
def test_games_without_an_end_are_refused(solver_class) -> None:
    with pytest.raises(ValueError, match="needs a game that ends"):
        solver_class(random_tabulated(3))
