"""Games whose P and R are linear in the population, against plain numpy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from baselines.analysis import AnalysisSettings, analyse
from mfenvs import Engine, InducedGame
from mfenvs.engine.model import in_double_precision, model_kernels
from mfenvs.estimation.estimates import pair_groups
from mfenvs.estimation.fitted_game import FittedGame
from mfenvs.meanfield.extension import project_to_simplex
from mfenvs.meanfield.symmetry import approximate_symmetry

PAIRS = pair_groups("state-action", 2, 2)


def random_game(n_times=1, groups=PAIRS, **constants):
    """Tables whose rows leave the simplex at most populations."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.6, (n_times, 2, 2, 3, np.max(groups) + 1))
    return FittedGame(
        **{
            "n_agents": 4,
            "horizon": 3,
            "values": values,
            "groups": groups,
            "first_states": [0.25, 0.75],
            **constants,
        }
    )


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_the_projection_is_the_nearest_law(numbers) -> None:
    """It is a law, and no corner of the simplex lies on the other side of it: the variational inequality."""
    point = np.array(numbers)
    law = project_to_simplex(point)
    assert law.min() >= 0
    assert_allclose(law.sum(), 1.0, atol=1e-12)
    assert ((np.eye(len(point)) - law) @ (point - law)).max() <= 1e-12


@pytest.mark.parametrize("features", ["state-action", "state", "action", "none"])
def test_the_induced_game_is_the_linear_function_projected(features) -> None:
    game = random_game(groups=pair_groups(features, 2, 2))
    induced, rng = InducedGame(game), np.random.default_rng(1)
    for _ in range(5):
        mu = rng.dirichlet(np.ones(4)).reshape(2, 2)
        shares = {
            "state-action": mu.ravel(),
            "state": mu.sum(axis=1),
            "action": mu.sum(axis=0),
            "none": np.ones(1),
        }
        found = game.values[0] @ shares[features]
        transitions, rewards = induced.arrays(mu)
        assert_allclose(transitions, project_to_simplex(found[..., :-1]), atol=1e-12)
        assert_allclose(rewards, found[..., -1], atol=1e-12)


def test_tables_of_each_time_are_used_at_that_time() -> None:
    game = random_game(n_times=3)
    mu = np.full((2, 2), 0.25)
    for time in range(3):
        transitions, rewards = InducedGame(game).arrays(mu, time)
        assert_allclose(transitions, project_to_simplex(game.values[time, ..., :-1, :] @ mu.ravel()), atol=1e-12)
        assert_allclose(rewards, game.values[time, ..., -1, :] @ mu.ravel(), atol=1e-12)


@pytest.mark.slow
def test_agents_do_not_count_themselves() -> None:
    """Rows of all agents in all joint pairs, and rewards of a step, at the population of the N - 1 others."""
    game = random_game(groups=np.array([[0, 1], [2, 1]]))
    rows = model_kernels(game).rows
    counts, signal, out = np.empty(4), np.empty(game.n_signals), np.empty((4, 2))
    agents = in_double_precision(game.agents)
    for cells in itertools.product(range(4), repeat=3):
        pairs = np.array([*cells, 3])
        states, actions = pairs // 2, pairs % 2
        rows(states, actions, agents, game.constants, counts, signal, 0, out)
        for i, (s, a) in enumerate(zip(states, actions, strict=True)):
            others = np.delete(pairs, i)
            phi = np.bincount(game.groups.ravel()[others], minlength=3) / 3
            assert_allclose(out[i], project_to_simplex(game.values[0, s, a, :2] @ phi), atol=1e-12)
    engine = Engine(game, 5, debug=True)  # debug mode checks that what is drawn has its probability
    engine.reset(seed=0)
    before = engine.states.copy()
    actions = np.random.default_rng(0).integers(2, size=(5, 4))
    rewards = engine.step(actions)
    for world, i in np.ndindex(5, 4):
        others = np.delete(before[world] * 2 + actions[world], i)
        phi = np.bincount(game.groups.ravel()[others], minlength=3) / 3
        expected = game.values[0, before[world, i], actions[world, i], 2] @ phi
        assert_allclose(rewards[world, i], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("constants", "match"),
    [
        ({"values": np.zeros((2, 2, 2, 3, 4))}, r"T = 1, or T = horizon = 3 in a game that ends, got T = 2"),
        ({"values": np.zeros((3, 2, 2, 3, 4)), "discount": 0.9}, "in a game that ends, got T = 3"),
        ({"values": np.zeros((1, 2, 2, 2, 4))}, r"shape \(T, S, A, S \+ 1, F\), got \(1, 2, 2, 2, 4\)"),
        ({"values": np.full((1, 2, 2, 3, 4), np.nan)}, r"values\[0, 0, 0, 0, 0\] must be finite, got nan"),
        (
            {"values": np.zeros((1, 2, 2, 3, 4)), "groups": [[0, 1], [2, 4]]},
            r"groups\[1, 1\] must be an integer in \[0, 3\], got 4",
        ),
        ({"groups": [0, 1]}, r"groups must have shape \(2, 2\), got \(2,\)"),
        ({"first_states": [0.5, 0.6]}, "first_states must be probabilities"),
    ],
)
def test_wrong_tables_are_refused(constants, match) -> None:
    with pytest.raises(ValueError, match=match):
        random_game(**constants)


def test_how_much_agents_differ_is_not_in_an_average_over_them() -> None:
    with pytest.raises(ValueError, match="rules of FittedGame are an average over all agents: how much"):
        approximate_symmetry(random_game())
    found = analyse(random_game(), AnalysisSettings(seconds=0.2))
    assert found.symmetry is None
    assert found.bound is None
    assert not found.bound_is_certain
    assert any(line.startswith("alpha and beta: the rules of FittedGame are an average") for line in found.missing)
