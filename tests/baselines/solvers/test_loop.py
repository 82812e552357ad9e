"""Every corner of the loop against its source's formula in plain numpy, and against MFGLib iterate by iterate."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tabulated import Tabulated, optimal_q, random_tabulated, softmax, tabulated_arrays

from baselines.solvers.fixed_point import (
    BoltzmannPolicyIteration,
    DampedFixedPoint,
    FictitiousPlay,
    FixedPoint,
    Munchausen,
    OnlineMirrorDescent,
    PriorDescent,
    SmoothPolicyIteration,
)
from baselines.solvers.population_iteration import GMFV


class Plain:
    """Flows and values of a game of tables, from its description."""

    def __init__(self, game: Tabulated) -> None:
        self.game, self.discount = game, game.discount
        self.uniform = np.full(game.policy_shape, 0.5)

    def tables(self, laws):
        return [np.array(table) for table in zip(*(tabulated_arrays(self.game, mu) for mu in laws), strict=True)]

    def follow(self, policy, p, rho=None):
        """Laws of one agent in frozen dynamics P (T, S, A, S)."""
        rho, laws = self.game.initial_distribution if rho is None else rho, []
        for h, law in enumerate(policy):
            if self.discount < 1:
                for _ in range(3000):
                    rho = np.einsum("s,sa,sat->t", rho, law, p[0])
            laws.append(rho[:, None] * law)
            rho = np.einsum("sa,sat->t", laws[-1], p[h])
        return np.array(laws)

    def flow(self, policy):
        rho, laws = self.game.initial_distribution, []
        for _ in range(3000 if self.discount < 1 else len(policy)):
            mu = rho[:, None] * policy[0 if self.discount < 1 else len(laws)]
            rho = np.einsum("sa,sat->t", mu, tabulated_arrays(self.game, mu)[0])
            laws.append(mu)
        return np.array(laws[-1:] if self.discount < 1 else laws)

    def best(self, laws):
        return optimal_q(*self.tables(laws), self.discount)

    def value(self, policy, laws, tau=0.0):
        """Q^{tau,pi}; with entropy in what follows, and without that of the step itself."""
        p, r = self.tables(laws)
        q = np.zeros(r.shape)
        bonus = -tau * np.sum(policy * np.log(np.maximum(policy, 1e-300)), axis=-1)
        for _ in range(400 if self.discount < 1 else 1):
            for h in reversed(range(len(r))):
                after = 0 if self.discount < 1 else h + 1
                v = (policy[after] * q[after]).sum(-1) + bonus[after] if after < len(r) else np.zeros(3)
                q[h] = r[h] + self.discount * p[h] @ v
        return q


def greedy(q):
    return np.eye(q.shape[-1])[q.argmax(axis=-1)]


def conditional(laws, otherwise):
    mass = laws.sum(-1, keepdims=True)
    return np.where(mass > 0, laws / np.where(mass > 0, mass, 1.0), otherwise)


def fixed_point(plain, n, answer=greedy):
    policy = plain.uniform
    for _ in range(n):
        policy = answer(plain.best(plain.flow(policy)))
        yield policy


def damped(plain, n, step, answer=greedy):
    law = plain.flow(plain.uniform)
    for k in range(n):
        reply = answer(plain.best(law))
        law = (1 - step(k)) * law + step(k) * plain.flow(reply)
        yield conditional(law, reply)


def fictitious(plain, n, step, answer=greedy):
    policy = plain.uniform
    law = plain.flow(policy)
    for k in range(n):
        mu = plain.flow(policy)
        reply = answer(plain.best(mu))
        p, _ = plain.tables(mu)
        law = (1 - step(k)) * law + step(k) * plain.follow(reply, p, mu[0].sum(1) if plain.discount < 1 else None)
        policy = conditional(law, reply)
        yield policy


def smooth(plain, n, step):
    reply, law = plain.uniform, plain.flow(plain.uniform)
    for k in range(n):
        reply = greedy(plain.value(reply, law))
        law = (1 - step(k)) * law + step(k) * plain.flow(reply)
        yield conditional(law, reply)


def boltzmann(plain, n, temperature):
    policy = plain.uniform
    for _ in range(n):
        policy = softmax(plain.value(policy, plain.flow(policy)) / temperature)
        yield policy


def prior_descent(plain, n, eta, n_inner):
    policy = prior = plain.uniform
    for k in range(n):
        weights = prior * np.exp(plain.best(plain.flow(policy)) / eta)
        policy = weights / weights.sum(-1, keepdims=True)
        if n_inner and (k + 1) % n_inner == 0:
            prior = policy
        yield policy


def munchausen(plain, n, tau, alpha):
    """With tau log pi in the reward of the step, as the network of Laurière et al. learns it (equation 6)."""
    policy = plain.uniform
    for _ in range(n):
        p, r = plain.tables(plain.flow(policy))
        q, bonus = np.zeros(r.shape), tau * np.log(policy)
        for _ in range(400 if plain.discount < 1 else 1):
            for h in reversed(range(len(r))):
                after = 0 if plain.discount < 1 else h + 1
                v = (policy[after] * (q[after] - bonus[after])).sum(-1) if after < len(r) else np.zeros(3)
                q[h] = r[h] + alpha * bonus[h] + plain.discount * p[h] @ v
        policy = softmax(q / tau)
        yield policy


def entropic(tau):
    def answer(q):
        return softmax(q / tau)

    return answer


CORNERS = {
    "fixed-point": (FixedPoint, {}, fixed_point, {}),
    "damped": (DampedFixedPoint, {"step_size": 0.3}, damped, {"step": lambda k: 0.3}),
    "damped-harmonic": (
        DampedFixedPoint,
        {"step_size": 1.0, "step_exponent": 1.0},
        damped,
        {"step": lambda k: 1 / (k + 1)},
    ),
    "fictitious": (FictitiousPlay, {}, fictitious, {"step": lambda k: 1 / (k + 2)}),
    "fictitious-forgets-the-first": (
        FictitiousPlay,
        {"step_delay": 1.0},
        fictitious,
        {"step": lambda k: 1 / (k + 1)},
    ),
    "fictitious-constant": (
        FictitiousPlay,
        {"step_size": 0.2, "step_exponent": 0.0},
        fictitious,
        {"step": lambda k: 0.2},
    ),
    "fictitious-slower": (
        FictitiousPlay,
        {"step_size": 1.5, "step_delay": 3.0, "step_exponent": 0.6},
        fictitious,
        {"step": lambda k: min(1.0, 1.5 / (k + 3) ** 0.6)},
    ),
    "smooth": (SmoothPolicyIteration, {}, smooth, {"step": lambda k: 0.4}),
    "policy-iteration": (SmoothPolicyIteration, {"step_size": 1.0}, smooth, {"step": lambda k: 1.0}),
    "boltzmann": (BoltzmannPolicyIteration, {"temperature": 0.3}, boltzmann, {"temperature": 0.3}),
    "prior": (PriorDescent, {"temperature": 0.5}, prior_descent, {"eta": 0.5, "n_inner": None}),
    "prior-3": (PriorDescent, {"temperature": 2.0, "n_inner": 3}, prior_descent, {"eta": 2.0, "n_inner": 3}),
    "munchausen": (Munchausen, {"temperature": 0.8}, munchausen, {"tau": 0.8, "alpha": 1.0}),
    "munchausen-regularised": (
        Munchausen,
        {"temperature": 0.8, "munchausen": 0.7},
        munchausen,
        {"tau": 0.8, "alpha": 0.7},
    ),
}


@pytest.mark.parametrize("discount", [1.0, pytest.param(0.8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CORNERS)
def test_a_corner_is_its_source(name, discount) -> None:
    solver_class, options, formula, arguments = CORNERS[name]
    game = random_tabulated(5, discount=discount, pull=0.4)
    solver = solver_class(game, **options)
    for expected in formula(Plain(game), 6, **arguments):
        solver.run(1)
        assert_allclose(solver.policy.probabilities, expected, atol=1e-9)


@pytest.mark.parametrize("solver_class", [FixedPoint, DampedFixedPoint, FictitiousPlay])
def test_soft_best_responses_are_those_of_the_regularised_game(solver_class) -> None:
    game = random_tabulated(7, discount=1.0)
    constant = {} if solver_class is FixedPoint else {"step_size": 1.0, "step_exponent": 0.0}
    solver = solver_class(game, temperature=0.3, **constant)
    for _ in range(3):
        answer = solver.induced.best_response(solver.induced.flow(solver.policy), temperature=0.3)
        solver.run(1)
        assert_allclose(solver.policy.probabilities, answer, atol=1e-12)


@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("solver_class", [DampedFixedPoint, FictitiousPlay])
def test_step_size_one_is_the_fixed_point_iteration(solver_class, discount) -> None:
    game = random_tabulated(11, discount=discount)
    one, other = FixedPoint(game), solver_class(game, step_size=1.0, step_exponent=0.0)
    for _ in range(8):
        one.run(1)
        other.run(1)
        assert_array_equal(one.policy.probabilities, other.policy.probabilities)


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_munchausen_is_mirror_descent(discount) -> None:
    game = random_tabulated(3, discount=discount)
    for tau, alpha in ((2.0, 1.0), (2.0, 0.9)):
        one = Munchausen(game, temperature=tau, munchausen=alpha)
        other = OnlineMirrorDescent(game, learning_rate=1 / tau, temperature=(1 - alpha) * tau)
        for _ in range(5):
            one.run(8)
            other.run(8)
            assert_allclose(one.policy.probabilities, other.policy.probabilities, atol=1e-12)


def test_log_policies_do_not_run_off() -> None:
    """Of an action that is hopeless the probability is 0 in floating point, and its logarithm still a number."""
    game = Tabulated(pay=((0.0, 400.0),) * 3)
    solver = Munchausen(game, temperature=0.01)
    solver.run(50)
    assert_allclose(np.exp(solver._prior).sum(axis=-1), 1.0, atol=1e-12)
    assert solver._prior.min() > -1e7
    assert_array_equal(solver.policy.probabilities[..., 1], 1.0)


def test_a_prior_that_never_changes_is_gmf_v() -> None:
    game = random_tabulated(2, discount=1.0)
    one, other = PriorDescent(game, temperature=0.5), GMFV(game, inverse_temperature=2.0, net=0)
    for _ in range(5):
        one.run(1)
        other.run(1)
        assert_allclose(one.policy.probabilities, other.policy.probabilities, atol=1e-12)


@pytest.mark.parametrize("solver_class", [FixedPoint, DampedFixedPoint, FictitiousPlay, SmoothPolicyIteration])
def test_ties_are_shared_if_asked(solver_class) -> None:
    game = Tabulated(pay=((0.0, 0.0),) * 3)
    lowest, shared = solver_class(game), solver_class(game, ties="shared")
    lowest.run(2)
    shared.run(2)
    assert_allclose(shared.policy.probabilities, 0.5)
    assert (lowest.policy.probabilities[..., 0] > 0.55).all()


def test_mirror_descent_climbs_the_potential() -> None:
    """Crowding that depends on the own action only has the potential sum mu pay - crowding / 2 sum_a share_a^2."""
    game = random_tabulated(1, discount=1.0, pull=0.0, crowding=1.5)
    solver, plain = OnlineMirrorDescent(game, learning_rate=0.05), Plain(game)
    potentials = []
    for _ in range(200):
        laws = plain.flow(solver.policy.probabilities)
        potentials.append((laws * np.array(game.pay)).sum() - 0.75 * (laws.sum(axis=1) ** 2).sum())
        solver.run(1)
    assert (np.diff(potentials) > 0).all()


@pytest.fixture
def double():
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def theirs(game: Tabulated, torch):
    """The game as an environment of MFGLib, from its description."""
    environment = pytest.importorskip("mfglib.env").Environment

    def tables(law):
        return [torch.from_numpy(table) for table in tabulated_arrays(game, law.numpy())]

    return environment(
        T=game.horizon - 1,
        S=(3,),
        A=(2,),
        mu0=torch.from_numpy(game.initial_distribution),
        r_max=10.0,
        reward_fn=lambda env, t, law: tables(law)[1],
        transition_fn=lambda env, t, law: tables(law)[0].permute(2, 0, 1),
    )


@pytest.mark.parametrize(
    ("solver_class", "options", "name", "their_options", "pull"),
    [
        (OnlineMirrorDescent, {"learning_rate": 0.7}, "OnlineMirrorDescent", {"alpha": 0.7}, 0.5),
        (PriorDescent, {"temperature": 0.6}, "PriorDescent", {"eta": 0.6}, 0.5),
        (PriorDescent, {"temperature": 0.6, "n_inner": 1}, "PriorDescent", {"eta": 0.6, "n_inner": 1}, 0.5),
        (FixedPoint, {}, "FictitiousPlay", {"alpha": 1.0}, 0.5),
        # MFGLib weighs a best response by its own flow, ours by one agent's law in the flow of the others.
        (FictitiousPlay, {}, "FictitiousPlay", {}, 0.0),
        (DampedFixedPoint, {"step_size": 0.25}, "FictitiousPlay", {"alpha": 0.25}, 0.0),
    ],
)
def test_iterates_are_those_of_mfglib(solver_class, options, name, their_options, pull, double) -> None:
    game = random_tabulated(13, discount=1.0, pull=pull)
    algorithm = getattr(pytest.importorskip("mfglib.alg"), name)(**their_options)
    found, _, _ = algorithm.solve(theirs(game, double), max_iter=15, atol=None, rtol=None)
    solver = solver_class(game, **options)
    for expected in itertools.islice(found, 1, None):
        solver.run(1)
        assert_allclose(solver.policy.probabilities, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("solver_class", "options", "message"),
    [
        (FixedPoint, {"temperature": -1.0}, "temperature must be a finite number in"),
        (FixedPoint, {"ties": "first"}, "ties must be one of 'lowest', 'shared', got 'first'"),
        (DampedFixedPoint, {"step_size": 0.0}, r"step_size must be a finite number in \(0, inf\), got 0"),
        (DampedFixedPoint, {"temperature": -1.0}, "temperature must be a finite number in"),
        (FictitiousPlay, {"step_delay": 0.5}, r"step_delay must be a finite number in \[1, inf\), got 0.5"),
        (SmoothPolicyIteration, {"step_exponent": -1.0}, "step_exponent must be a finite number in"),
        (BoltzmannPolicyIteration, {"temperature": 0.0}, "temperature must be a finite number in"),
        (Munchausen, {"temperature": 0.0}, "temperature must be a finite number in"),
        (Munchausen, {"munchausen": 1.5}, r"munchausen must be a finite number in \[0, 1\], got 1.5"),
        (PriorDescent, {"temperature": 0.0}, "temperature must be a finite number in"),
        (PriorDescent, {"n_inner": 0}, "n_inner must be an integer in"),
    ],
)
def test_hyper_parameters_that_are_refused(solver_class, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        solver_class.config_class(**options)
