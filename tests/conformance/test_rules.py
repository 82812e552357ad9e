"""The rules of every registered game pass the tests that its users' own games get from ``mfenvs.check``."""

import pytest

from mfenvs.conformance import rules
from mfenvs.conformance.subject import Subject


@pytest.mark.slow
def test_debug_mode(case):
    rules.debug_mode(Subject(case.game()))


def test_seeds(case):
    rules.seeds(Subject(case.game()))


def test_action_masks(case):
    game = case.game()
    if game.rules.allowed is not None:
        rules.action_masks(Subject(game))


def test_steps_follow_their_law(finite_case):
    """13 cases, each wrong with a probability of 1e-7."""
    rules.step_follows_its_law(Subject(finite_case.game()))
