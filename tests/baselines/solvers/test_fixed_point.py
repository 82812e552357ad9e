import numpy as np
import oracles
import pytest

from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import InducedGame, make

MONOTONE = {"orientation": "cui-koeppl", "n_agents": 100, "horizon": 5}


FOREVER = {
    "epidemic": (
        "Epidemic-v0",
        {"n_agents": 30, "discount": 0.9, "recovery": 0.15},
        oracles.epidemic_row,
        oracles.epidemic_reward,
    ),
    "rps": (
        "RockPaperScissors-v0",
        {"n_agents": 20, "discount": 0.7, "orientation": "cui-koeppl"},
        oracles.rps_row,
        oracles.rps_reward,
    ),
}


def plain_exploitability(name: str, policy: np.ndarray) -> float:
    """Of a stationary policy (S, A), in numpy: eigenvectors until the population stays, then linear algebra."""
    game_name, constants, row, reward = FOREVER[name]
    game = make(game_name, **constants)
    law = game.initial_distribution
    for _ in range(200):
        p, r = oracles.mean_arrays(game.agents, row, reward, law[:, None] * policy)
        law = (law + oracles.stationary(oracles.chain(policy, p))) / 2
    assert np.abs(law @ oracles.chain(policy, p) - law).sum() < 1e-10
    best = oracles.best_forever(p, r, game.discount)
    return float(game.initial_distribution @ (best - oracles.forever(policy, p, r, game.discount)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_mirror_descent_is_the_softmax_of_accumulated_values() -> None:
    game = make("Epidemic-v0", n_agents=50, horizon=4)
    induced = InducedGame(game)
    y = np.zeros(induced.policy_shape)
    for _ in range(3):
        y += 0.7 * induced.evaluate(softmax(y))
    solver = OnlineMirrorDescent(game, learning_rate=0.7).learn(3)
    assert solver.policy.probabilities == pytest.approx(softmax(y), abs=1e-12)


def test_decreasing_steps_of_mirror_descent_also_where_it_goes_on_and_is_regularised() -> None:
    game = make("Epidemic-v0", n_agents=50, horizon=4)
    induced = InducedGame(game)
    y, tau = np.zeros(induced.policy_shape), 0.2
    for k in range(5):
        step = 0.7 / (k + 1) ** 0.6
        y = (1 - step * tau) * y + step * induced.evaluate(softmax(y), temperature=tau)
    solver = OnlineMirrorDescent(game, learning_rate=0.7, step_exponent=0.6, temperature=tau).learn(2).learn(3)
    assert solver.policy.probabilities == pytest.approx(softmax(y), abs=1e-12)


def test_decreasing_steps_converge_where_constant_ones_do_not() -> None:
    game = make("RockPaperScissors-v0", **MONOTONE)
    found = [
        InducedGame(game).exploitability(
            OnlineMirrorDescent(game, learning_rate=2.0, step_exponent=e).learn(500).policy
        )
        for e in (0.0, 0.5)
    ]
    assert found[0] > 0.1
    assert found[1] < 0.01


def test_mirror_descent_finds_the_equilibrium_of_a_monotone_game() -> None:
    game = make("RockPaperScissors-v0", **MONOTONE)
    solver = OnlineMirrorDescent(game, learning_rate=0.1).learn(3000, log_interval=3000)
    assert InducedGame(game).exploitability(solver.policy.probabilities) < 1e-6


def test_regularised_mirror_descent_ends_in_a_soft_best_response_to_itself() -> None:
    game = make("Epidemic-v0", n_agents=50)
    solver = OnlineMirrorDescent(game, learning_rate=0.5, temperature=0.05)
    solver.run(4000)
    induced, policy = solver.induced, solver.policy.probabilities
    answer = induced.best_response(induced.flow(policy), temperature=0.05)
    assert policy == pytest.approx(answer, abs=1e-6)
    # Yardim & He, Lemma 11.
    assert induced.exploitability(policy) <= 2 * 0.05 * game.horizon * np.log(2)


def test_fictitious_play_averages_best_responses_by_mass() -> None:
    game = make("RockPaperScissors-v0", **MONOTONE)
    induced = InducedGame(game)
    mass = induced.flow(induced.uniform_policy()).mu
    policy = induced.uniform_policy()
    for _ in range(3):
        flow = induced.flow(policy)
        answer = induced.best_response(flow)
        # In A-RPS the transitions ignore the population: the answer's law is its own flow.
        mass = mass + induced.flow(answer).mu
        policy = mass / mass.sum(axis=-1, keepdims=True)
    solver = FictitiousPlay(game).learn(3)
    assert solver.policy.probabilities == pytest.approx(policy, abs=1e-12)


def test_fictitious_play_converges_on_a_monotone_game() -> None:
    game = make("RockPaperScissors-v0", **MONOTONE)
    induced = InducedGame(game)
    early, late = FictitiousPlay(game).learn(20), FictitiousPlay(game).learn(2000, log_interval=2000)
    gaps = [induced.exploitability(s.policy.probabilities) for s in (early, late)]
    assert gaps[1] < 0.05 * gaps[0]
    assert gaps[1] < 0.01


def test_run_is_learn_without_the_logging() -> None:
    game = make("Epidemic-v0", n_agents=50)
    for solver_class in (OnlineMirrorDescent, FictitiousPlay):
        a, b = solver_class(game), solver_class(game)
        a.run(7)
        b.learn(7)
        assert np.array_equal(a.policy.probabilities, b.policy.probabilities)
        assert a.num_timesteps == b.num_timesteps == 7


def test_too_hot_a_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature must be a finite number in \[0, 2\), got 2"):
        OnlineMirrorDescent("Epidemic-v0", learning_rate=0.5, temperature=2.0)
    with pytest.raises(ValueError, match=r"step_exponent must be a finite number in \[0, inf\), got -1"):
        OnlineMirrorDescent("Epidemic-v0", step_exponent=-1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        OnlineMirrorDescent("Epidemic-v0", learning_rate=0.0)


def test_mirror_descent_of_an_infinite_game_is_the_softmax_of_accumulated_values() -> None:
    induced = InducedGame(make("Epidemic-v0", n_agents=50, discount=0.9))
    y = np.zeros((1, 2, 2))
    for _ in range(3):
        y += 0.7 * (induced.evaluate(softmax(y), temperature=0.1) - 0.1 * y)
    solver = OnlineMirrorDescent(induced.game, learning_rate=0.7, temperature=0.1).learn(3)
    assert solver.policy.probabilities == pytest.approx(softmax(y), abs=1e-9)


@pytest.mark.parametrize(("name", "rate"), [("epidemic", 0.05), ("rps", 0.02)])
def test_mirror_descent_finds_the_equilibrium_of_an_infinite_game(name: str, rate: float) -> None:
    game_name, constants, *_ = FOREVER[name]
    solver = OnlineMirrorDescent(make(game_name, **constants), learning_rate=rate)
    before = plain_exploitability(name, solver.policy.probabilities[0])
    solver.run(2000)
    after = plain_exploitability(name, solver.policy.probabilities[0])
    assert before > 0.1
    assert after < 1e-4
    assert solver.induced.exploitability(solver.policy) == pytest.approx(after, abs=1e-6)


def test_mirror_descent_finds_the_equilibrium_in_closed_form() -> None:
    """Equal agents: the infected go out, and the healthy as often as makes them indifferent."""
    game = make("Epidemic-v0", n_agents=5, heterogeneity=0, discount=0.9)
    alpha, theta, cost = map(float, game.agents[0])
    healthy = -cost / (1 - 0.9)
    infected = (-1 + 0.9 * theta * healthy) / (1 - 0.9 * (1 - theta))
    mass = cost / (0.9 * alpha * (healthy - infected))
    out = theta / (alpha * (1 - mass))
    solver = OnlineMirrorDescent(game, learning_rate=0.05)
    solver.run(2000)
    assert solver.policy.probabilities[0, :, 1] == pytest.approx([1.0, out], abs=1e-4)
    assert solver.induced.flow(solver.policy).mu[0, 0].sum() == pytest.approx(mass, abs=1e-4)


def test_fictitious_play_of_an_infinite_game_averages_best_responses_by_stationary_mass() -> None:
    """In A-RPS the next state is the action: the answer's law is an eigenvector of the answer."""
    game = make("RockPaperScissors-v0", n_agents=10, discount=0.7, orientation="cui-koeppl")
    induced = InducedGame(game)
    tau = 0.5
    policy = induced.uniform_policy()
    mass = induced.flow(policy).mu
    for _ in range(3):
        answer = induced.best_response(induced.flow(policy), temperature=tau)
        mass = mass + oracles.stationary(answer[0])[:, None] * answer
        policy = mass / mass.sum(axis=-1, keepdims=True)
    solver = FictitiousPlay(game, temperature=tau).learn(3)
    assert solver.policy.probabilities == pytest.approx(policy, abs=1e-9)


@pytest.mark.slow
def test_fictitious_play_follows_the_answer_in_the_frozen_population() -> None:
    """In A-SIS who answers does not change whom it meets: its chain is that of the population of before."""
    game = make("Epidemic-v0", n_agents=10, discount=0.9, recovery=0.15)
    induced = InducedGame(game)
    policy = induced.uniform_policy()
    mass = induced.flow(policy).mu
    for _ in range(3):
        flow = induced.flow(policy)
        answer = induced.best_response(flow, temperature=0.5)
        mass = mass + oracles.stationary(oracles.chain(answer[0], flow.transitions[0]))[:, None] * answer
        policy = mass / mass.sum(axis=-1, keepdims=True)
    solver = FictitiousPlay(game, temperature=0.5).learn(3)
    assert solver.policy.probabilities == pytest.approx(policy, abs=1e-9)


@pytest.mark.parametrize("name", FOREVER)
def test_fictitious_play_converges_on_an_infinite_game(name: str) -> None:
    game_name, constants, *_ = FOREVER[name]
    solver = FictitiousPlay(make(game_name, **constants))
    gaps = [plain_exploitability(name, solver.policy.probabilities[0])]
    for n in (20, 980):
        solver.run(n)
        gaps.append(plain_exploitability(name, solver.policy.probabilities[0]))
    assert gaps[2] < 0.2 * gaps[1] < gaps[0]
    assert gaps[2] < 0.01
