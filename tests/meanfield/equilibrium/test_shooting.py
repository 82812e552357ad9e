"""Shooting: equilibria of games with two states that end."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

import mfenvs
from mfenvs import FiniteGame, InducedGame, rule
from mfenvs.game import NO_PARAMETERS
from mfenvs.games.classic.epidemics import SusceptibleInfected
from mfenvs.meanfield.equilibrium.shooting import can_shoot, shoot
from mfenvs.rules import share


@dataclasses.dataclass(kw_only=True)
class Inertia(FiniteGame):
    """Random tables of two states and three actions, in which it matters in which state an agent is.

    P(1 | s, a, x) and R(s, a, x) are affine in the share x of agents in state 1; action 2 is masked in state 0.
    """

    n_agents: int = 10
    horizon: int = 12
    tables: int = 0
    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    n_states = 2
    n_actions = 3
    n_cells = 2

    @staticmethod
    @rule
    def cell(state, action, agent):
        return state

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        leave, _ = world.constants
        up = leave[0, state, action] + leave[1, state, action] * share(world, 1)
        return up if next_state == 1 else 1.0 - up

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        _, pay = world.constants
        return pay[0, state, action] + pay[1, state, action] * share(world, 1)

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action != 2 or state == 1

    @property
    def initial_distribution(self):
        return np.array([0.7, 0.3])

    @property
    def constants(self):
        rng = np.random.default_rng(self.tables)
        leave = np.empty((2, 2, 3))
        leave[0, 0], leave[0, 1] = rng.uniform(0.0, 0.2, 3), rng.uniform(0.6, 0.8, 3)
        leave[1] = rng.uniform(0.0, 0.2, (2, 3))
        return leave, rng.normal(size=(2, 2, 3))


@dataclasses.dataclass(kw_only=True)
class Frozen(Inertia):
    """The same with given tables."""

    given: Any = None

    @property
    def constants(self):
        return self.given


@pytest.mark.parametrize("tables", range(12))
def test_random_games_are_solved(tables: int) -> None:
    induced = InducedGame(Inertia(tables=tables))
    policy = shoot(induced)
    assert policy is not None
    np.testing.assert_allclose(policy.sum(axis=-1), 1.0, atol=1e-15)
    assert (policy[:, 0, 2] == 0.0).all()
    assert induced.exploitability(policy) < 1e-8


def test_agents_who_are_indifferent_mix() -> None:
    """In two steps, 1 - 2 x is paid in state 1 and nothing in state 0: nobody cares if x = 1/2 at the end.

    With the share p of those in state 0 who do 1, x = .7 (.9 p + .1 (1 - p)) + .3 .95 = .355 + .56 p there.
    """
    leave, pay = np.zeros((2, 2, 2, 3))
    leave[0] = [[0.1, 0.9, 0.1], [0.95, 0.95, 0.95]]
    pay[0, 1], pay[1, 1] = 1.0, -2.0
    induced = InducedGame(Frozen(horizon=2, given=(leave, pay)))
    policy = shoot(induced)
    assert policy is not None
    np.testing.assert_allclose(policy[0, 0], [1.0 - 0.145 / 0.56, 0.145 / 0.56, 0.0], atol=1e-9)
    assert induced.exploitability(policy) < 1e-9


@pytest.mark.parametrize("constants", [{}, {"initial_infected": 0.1}, {"horizon": 200}, {"isolation_cost": 0.2}])
def test_the_epidemic_that_no_other_method_solves(constants: dict) -> None:
    game = SusceptibleInfected(**constants)
    solution = mfenvs.solve(game, tolerance=1e-9)
    assert solution.is_solved
    assert solution.method == "shooting"
    # Who is infected has no reason to keep distance; the others do it if .81 x (V(0) - V(1)) is above its cost.
    np.testing.assert_array_equal(solution.policy[:, 1, 0], 1.0)
    ahead = 0.0
    infected = solution.flow.mu[:, 1].sum(axis=-1)
    for h in reversed(range(game.horizon)):
        danger = game.infection * infected[h] * ahead
        assert solution.policy[h, 0, 0] == (1.0 if danger < game.isolation_cost else 0.0)
        ahead = 1.0 + (1.0 - game.recovery) * ahead - min(danger, game.isolation_cost)


def test_where_there_is_no_next_delta_nothing_is_found() -> None:
    """With a next state that depends on the action only, the future is the same in both states."""
    game = Inertia()
    leave, pay = game.constants
    leave[:, 1] = leave[:, 0]
    leave[:, :, 1:] = leave[:, :, :1]
    still = InducedGame(Frozen(given=(leave, pay)))
    assert shoot(still) is None
    assert mfenvs.solve(still.game).is_solved


def test_what_can_be_shot_at() -> None:
    assert can_shoot(InducedGame(Inertia()), reads_actions=False)
    assert not can_shoot(InducedGame(Inertia()), reads_actions=True)
    for name in ("BeachBar-v0", "DiscountedEpidemic-v0"):
        assert not can_shoot(InducedGame(mfenvs.make(name)), reads_actions=False)
