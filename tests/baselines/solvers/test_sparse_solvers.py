"""Solvers on sparse tables, one of which gets too small on the way, and on games with masked actions."""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose

from baselines.solvers import solver as base
from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent, SmoothPolicyIteration
from baselines.solvers.mf_omo import MFOMO
from baselines.solvers.occupation_measures import OccupationMeasureInclusion
from baselines.solvers.population_iteration import GMFV
from mfenvs import FiniteGame, InducedGame, rule, share


@dataclasses.dataclass(kw_only=True)
class Spreading(FiniteGame):
    """Where an action leads is certain, until more than six in ten take action 0: then it may lead anywhere."""

    n_agents: int = 4
    horizon: int = 3
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_states = 3
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        crowded = share(world, 0) + share(world, 2) + share(world, 4) > 0.6
        return (
            (0.25 if crowded else 0.0) + ((0.25 if crowded else 1.0) if next_state == state - action else 0.0)
            if (state >= action)
            else (1.0 if next_state == 2 else 0.0)
        )

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return (0.5 if action == 0 else 0.0) + 0.1 * state - share(world, 2 * state + action)

    @property
    def initial_distribution(self) -> np.ndarray:
        return np.array([0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("solver_class", "options"),
    [
        (OnlineMirrorDescent, {"learning_rate": 2.0}),
        pytest.param(FictitiousPlay, {}, marks=pytest.mark.slow),
        pytest.param(SmoothPolicyIteration, {}, marks=pytest.mark.slow),
        pytest.param(GMFV, {"net": 0}, marks=pytest.mark.slow),
    ],
)
def test_sparse_tables_give_the_same_and_grow(solver_class, options, monkeypatch) -> None:
    dense = solver_class(Spreading(), **options)
    monkeypatch.setattr(base, "InducedGame", functools.partial(InducedGame, sparse=True))
    sparse = solver_class(Spreading(), **options)
    narrow = sparse._work[1].transitions.shape[-1]
    assert narrow < 3
    for _ in range(8):
        dense.run(2)
        sparse.run(2)
        assert_allclose(sparse.policy.probabilities, dense.policy.probabilities, atol=1e-12)
        for name, array in dense._state().items():
            assert_allclose(sparse._state()[name], array, atol=1e-12, err_msg=name)
    assert sparse._work[1].transitions.shape[-1] > narrow


@pytest.mark.parametrize("solver_class", [OccupationMeasureInclusion, pytest.param(MFOMO, marks=pytest.mark.slow)])
def test_occupation_measures_on_sparse_tables(solver_class, monkeypatch) -> None:
    dense = solver_class(Spreading())
    monkeypatch.setattr(base, "InducedGame", functools.partial(InducedGame, sparse=True))
    sparse = solver_class(Spreading())
    assert sparse.induced.is_sparse
    for _ in range(8):
        dense.run(2)
        sparse.run(2)
        assert_allclose(sparse.policy.probabilities, dense.policy.probabilities, atol=1e-6)


@dataclasses.dataclass(kw_only=True)
class Masked(Spreading):
    """In state 2 action 0, which pays more, is not allowed."""

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return not (state == 2 and action == 0)


@pytest.mark.parametrize(
    ("solver_class", "options"),
    [
        (OnlineMirrorDescent, {}),
        pytest.param(FictitiousPlay, {}, marks=pytest.mark.slow),
        pytest.param(SmoothPolicyIteration, {}, marks=pytest.mark.slow),
        pytest.param(GMFV, {"net": 0}, marks=pytest.mark.slow),
        (OccupationMeasureInclusion, {}),
        (MFOMO, {"learning_rate": 0.02}),
        (MFOMO, {"learning_rate": 0.02, "parameterised": True}),
    ],
)
def test_masked_actions_are_never_taken(solver_class, options) -> None:
    solver = solver_class(Masked(horizon=2), **options)
    before = solver.induced.exploitability(solver.policy)
    for n in (1, 2, 57):
        solver.run(n)
        law = solver.policy.probabilities
        assert not law[:, 2, 0].any()
        assert_allclose(law[:, 2, 1], 1.0)
        assert law[:, :2].min() > 0 or solver_class not in (OnlineMirrorDescent, GMFV)
    # GMF-V answers at a temperature, and cycles here.
    assert solver.induced.exploitability(solver.policy) < 0.5 * before or solver_class is GMFV
