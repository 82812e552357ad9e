"""The examples run, and what they teach can be learned."""

import importlib.util
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str):
    specification = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_flock_is_learned() -> None:
    """Who stays where it began, uniform in [-1, 1], is 1/3 squared away from the mean: 20 steps cost 6.7."""
    at_random, trained = load("box_actions").main(n_iterations=15)
    assert at_random < -20 / 3
    assert trained > -3.0


def test_crowds_that_change_places() -> None:
    """Without congestion v is quadratic: dx = u dt + noise, cost u^2 / 2 and at last 5 (x - goal)^2."""
    found = load("congestion").main(n_cells=80, n_steps=40)
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


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"box_actions", "congestion"}
