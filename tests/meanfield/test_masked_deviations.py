"""Deviators of the N-player game take allowed actions only, as best responses on the mean-field side do."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tabulated import HOME, RING, Tabulated

from mfenvs import InducedGame, n_player_exploitability, relative_exploitability, rule
from mfenvs.meanfield.joint_enumeration import exact_relative_exploitability


class SomeMay(Tabulated):
    """Action 1 pays 1 and the agent's taste; only agents who have a taste may take it."""

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return action == 0 or agent.taste > 0


class InTheMiddle(Tabulated):
    """Action 1 is allowed in state 1 only."""

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return action == 0 or state == 1


def some_may(**constants: Any) -> SomeMay:
    return SomeMay(moves=HOME, pay=((0.0, 1.0),) * 3, tastes=(0.5, 0.0), **constants)


def idle(game: Tabulated) -> np.ndarray:
    policy = np.zeros(game.policy_shape)
    policy[..., 0] = 1.0
    return policy


def test_n_player_exploitability_by_hand() -> None:
    """Agents 0 and 2 gain 1.5 in each of three steps. The others would gain 1, and may not."""
    game = some_may()
    found = n_player_exploitability(game, idle(game), n_worlds=2)
    assert_allclose(found.per_agent, [4.5, 0.0, 4.5, 0.0])
    assert_array_equal(found.candidates[[1, 3]], 0)
    assert found.max_lower_bound.value == pytest.approx(4.5)
    one = n_player_exploitability(game, idle(game), n_worlds=2, agents=[3])
    assert one.max == one.max_lower_bound.value == 0.0


@pytest.mark.parametrize("influence", [False, True])
def test_relative_exploitability_by_hand(influence) -> None:
    game = some_may()
    found = relative_exploitability(game, idle(game), n_joint_states=8, n_worlds=2, influence=influence)
    assert found.absolute.value == pytest.approx(2.25)
    assert found.best_value.value == pytest.approx(2.25)


def test_exact_relative_exploitability_by_hand() -> None:
    """1.5 in every step at gamma = 1/2."""
    game = some_may(n_agents=2, discount=0.5)
    gains = exact_relative_exploitability(game, idle(game)).gains
    assert_allclose(gains, [[3.0] * 9, [0.0] * 9], atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"responses": "stationary"}, {"responses": "population", "n_bins": 3}], ids=str
)
def test_responses_to_nobody_are_the_best_of_all_allowed_policies(options) -> None:
    """On the ring, gamma 1/4, where state 2 pays 2 for the action that is not allowed there."""
    pay, gamma = np.array([[0.0, 0.5], [0.25, 1.0], [0.0, 2.0]]), 0.25
    game = InTheMiddle(moves=RING, pay=tuple(map(tuple, pay.tolist())), discount=gamma, horizon=30)
    moves, values = np.array(RING), []
    for choice in itertools.product([0], [0, 1], [0]):
        taken = np.arange(3), list(choice)
        values.append(np.linalg.solve(np.eye(3) - gamma * moves[taken], pay[taken]))
    best = np.max(values, axis=0)
    found = relative_exploitability(game, np.full((1, 3, 2), 0.5), n_joint_states=4, n_worlds=2, **options)
    assert found.best_value.value == pytest.approx(best.mean(), abs=1e-9)
    induced = InducedGame(game)
    law = induced.best_response(induced.flow(np.full((1, 3, 2), 0.5)))
    assert induced.value(law) == pytest.approx(best @ game.first, abs=1e-9)
    assert exact_relative_exploitability(
        InTheMiddle(moves=RING, pay=game.pay, discount=gamma, n_agents=2), np.full((1, 3, 2), 0.5)
    ).best_value == pytest.approx(best.mean(), abs=1e-9)


def test_masks_that_read_the_public_signal_are_refused() -> None:
    @rule
    def by_the_signal(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return action == 0 or public.signal[0] > 0.5

    game = type("BySignal", (Tabulated,), {"allowed": staticmethod(by_the_signal), "n_signals": 1})()
    with pytest.raises(TypeError, match="the rule allowed of BySignal reads the public signal"):
        n_player_exploitability(game, idle(game), n_worlds=2)
