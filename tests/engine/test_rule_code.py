"""Whether a rule's code shows that it depends on the population."""

import pytest

from mfenvs.engine.rule_code import reads_population
from mfenvs.finite_rules import transition_of_branches
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.rules import rule, share


@rule
def from_constants(next_state, state, action, agent, world):
    table, slip = world.constants
    return table[state, next_state] + slip if state != world.constants[0][0] else agent.pull


@rule
def under_another_name(branch, state, action, agent, seen):
    x, y = state + branch, seen.constants
    return x + y[0], action


@rule
def of_nothing(branch, state, action, agent, world):
    return branch, 1.0


@rule
def of_the_time(branch, state, action, agent, world):
    return branch, world.constants[world.time]


@rule
def of_a_share(next_state, state, action, agent, world):
    return world.constants[0] * share(world, 0)


@rule
def of_the_signal(next_state, state, action, agent, world):
    return world.signal[0] + world.constants[0]


@rule
def handed_on(next_state, state, action, agent, world):
    other = world
    return other.constants[0]


def captured():
    @rule
    def outer(next_state, state, action, agent, world):
        def inner():
            return world.constants[0]

        return inner()

    return outer


@pytest.mark.parametrize(
    "function", [from_constants, under_another_name, of_nothing, RockPaperScissors.transition]
)
def test_independent(function):
    assert not reads_population(function)


@pytest.mark.parametrize(
    "function",
    [of_the_time, of_a_share, of_the_signal, handed_on, captured(), Epidemic.transition],
)
def test_dependent_or_not_known(function):
    assert reads_population(function)


def test_a_derived_rule_hands_its_world_on():
    assert reads_population(transition_of_branches(of_nothing, 2))
