"""What is said to someone whose rule does not compile."""

import dataclasses

import numpy as np
import pytest

from mfenvs import Engine, FiniteGame, InducedGame, rule


@rule
def stay(next_state, state, action, agent, world):
    return 1.0 if next_state == state else 0.0


@rule
def misspelt(state, action, agent, world):
    return agent.trist


@rule
def allocating(state, action, agent, world):
    table = np.zeros(3)
    table[0] = state
    return table.sum()


@rule
def forgetful(state, action, agent, world):
    if state == 0:
        return 1.0
    return None


@rule
def silent(state, action, agent, world):
    state + action


@rule
def hopeful(state, action, agent, world):
    return price * 2.0  # noqa: F821


@rule
def double(state, action, agent, world):
    return 1.0, 2.0


@rule
def spoken(state, action, agent, world):
    return "much"


@rule
def imaginary(state, action, agent, world):
    return 1j


def price_of(state):
    return 2.0 * state


@rule
def careless(state, action, agent, world):
    if action == 0:
        return 0.0
    return price_of(state)


@dataclasses.dataclass(kw_only=True)
class Draft(FiniteGame):
    n_agents: int = 5
    horizon: int = 2
    agent_dtype = np.dtype([("thirst", np.float32), ("luck", np.float32)])
    n_states = 2
    n_actions = 2
    transition = staticmethod(stay)
    reward = staticmethod(misspelt)

    def draw_agents(self, rng):
        return np.ones(self.n_agents, self.agent_dtype)


def with_reward(function):
    return dataclasses.dataclass(kw_only=True)(type("Mine", (Draft,), {"reward": staticmethod(function)}))()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (misspelt, "^Mine.reward reads an unknown field 'trist'"),
        (allocating, "^Mine.reward does not compile: .*zeros"),
        (forgetful, "^Mine.reward must return a value on every path"),
        (silent, "^Mine.reward must return a value on every path"),
        (hopeful, "^Mine.reward does not compile: NameError: name 'price' is not defined"),
        (double, r"^Mine.reward must return a number, got UniTuple\(float64 x 2\)"),
        (spoken, r"^Mine.reward must return a number, got Literal\[str\]\(much\)"),
        (imaginary, "^Mine.reward must return a number, got complex128"),
        (careless, r"(?s)^Mine.reward does not compile: .*return price_of\(state\)\nPut @rule on price_of, which"),
    ],
)
def test_the_rule_is_named_with_what_is_allowed(function, said):
    game = with_reward(function)
    with pytest.raises(TypeError, match=said) as induced:
        InducedGame(game)
    engine = Engine(game)
    engine.reset(seed=0)
    with pytest.raises(TypeError, match=said) as stepped:
        engine.step(np.zeros((1, 5), int))
    for caught in (induced, stepped):
        assert "Fields of agent: thirst, luck. Fields of world.constants: none." in str(caught.value)
        assert len(str(caught.value)) < 600


@rule
def between_cells(state, action, agent):
    return 0.5


@rule
def perhaps(action, state, agent, public):
    return "perhaps"


@rule
def lonely(branch, state, action, agent, world):
    return 1.0


@rule
def crowded(branch, state, action, agent, world):
    return 0, 0.5, 1.0


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"cell": between_cells, "n_cells": 4}, "^Mine.cell must return an integer, got float64"),
        ({"allowed": perhaps}, "^Mine.allowed must return a number, got"),
        ({"branch": lonely}, "^Mine.branch must return the successor and its probability, got float64"),
        ({"branch": crowded}, "^Mine.branch must return the successor and its probability, got .*Tuple"),
    ],
)
def test_other_rules_must_return_what_they_are_for(declared, said):
    rules = {name: staticmethod(x) if hasattr(x, "py_func") else x for name, x in declared.items()}
    base = type("Base", (Draft,), {"reward": staticmethod(stay_at_home)})
    if "branch" in declared:
        rules |= {"n_branches": 1, "transition": FiniteGame.transition}
    game = dataclasses.dataclass(kw_only=True)(type("Mine", (base,), rules))()
    with pytest.raises(TypeError, match=said):
        InducedGame(game)


def test_a_fault_that_is_not_a_rules_is_left_as_it_is():
    from mfenvs.engine.diagnose import explained

    fault = KeyError("something else")
    assert explained(with_reward(stay_at_home), fault) is fault


@rule
def stay_at_home(state, action, agent, world):
    return -agent.luck
