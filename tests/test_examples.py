"""The examples run, and what they teach can be learned."""

import numpy as np
import pytest
from example_files import EXAMPLES, load_example


@pytest.mark.slow
def test_a_flock_is_learned() -> None:
    """Who stays where it began, uniform in [-1, 1], is 1/3 squared away from the mean: 20 steps cost 6.7."""
    at_random, trained = load_example("box_actions").main(n_iterations=15)
    assert at_random < -20 / 3
    assert trained > -3.0


def test_crowds_that_change_places() -> None:
    """Without congestion v is quadratic: dx = u dt + noise, cost u^2 / 2 and at last 5 (x - goal)^2."""
    found = load_example("congestion").main(n_cells=80, n_steps=40)
    for result in found:
        assert result.converged
        np.testing.assert_allclose(result.densities[0], result.densities[1, :, ::-1], atol=1e-5)
        assert (np.diff(result.means[0]) > 0.0).all()
    # P = 10 / (1 + 10 (T - t)); the cost is P(0) (1 + variance) / 2 + noise^2 log(1 + 10 T) / 2.
    exact = 10 / 11 * (1.0 + 0.1**2) / 2 + 0.3**2 * np.log(11) / 2
    free = found[0]
    assert abs(free.costs[0] - exact) < free.error.costs[0] < 0.06
    assert abs(free.means[0, -1] - (0.5 - 1 / 11)) < 0.01
    costs = [result.costs[0] for result in found]
    assert (np.diff(costs) > 0.1).all()


@pytest.mark.slow
def test_payoffs_of_rock_paper_scissors_are_found_from_play_alone() -> None:
    pytest.importorskip("pygame", reason="PettingZoo's environments need pygame")
    exploitability, payoffs = load_example("black_box_pettingzoo").rock_paper_scissors(n_episodes=40)
    np.testing.assert_allclose(payoffs, [[0, -1, 1], [1, 0, -1], [-1, 1, 0]], atol=1e-9)
    assert exploitability < 1e-6


@pytest.mark.slow
def test_pursuers_learn_to_follow_evaders() -> None:
    pytest.importorskip("pygame", reason="PettingZoo's environments need pygame")
    at_random, solved = load_example("black_box_pettingzoo").pursuit(n_episodes=8, n_steps=10)
    assert solved > 1.15 * at_random > 0


@pytest.mark.slow
def test_predators_learn_to_tag_prey() -> None:
    """Who does not tag earns 0; random tagging costs .2 each; prey beside a predator is worth .8 a step."""
    pytest.importorskip("magent2")
    at_random, solved = load_example("black_box_magent2").main(n_episodes=60, n_steps=15)
    assert at_random < 0 < 1 < solved


def test_every_example_is_tested() -> None:
    names = {"box_actions", "black_box_magent2", "black_box_pettingzoo", "congestion"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == names
