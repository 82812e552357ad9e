import numpy as np
import pytest

from baselines.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import InducedGame, make

MONOTONE = {"orientation": "cui-koeppl", "n_agents": 100, "horizon": 5}


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
    with pytest.raises(ValueError, match="learning_rate"):
        OnlineMirrorDescent("Epidemic-v0", learning_rate=0.0)
