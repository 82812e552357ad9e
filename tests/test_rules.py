import random
from random import choice as choice_of_python

import numba
import numpy as np
import pytest
from numpy import random as numpy_random
from numpy.random import gamma as gamma_of_numpy
from numpy.testing import assert_allclose

from mfenvs import World, crowd, rule, share
from mfenvs.rules import plain


def world(counts, own_cell, own_weight=1.0):
    """A world of as many agents as are counted."""
    n = 4
    return World(
        np.array(counts, np.float32), np.zeros(0, np.float32), (), 0, own_cell, own_weight, 1 / (n - 1), 1 / n
    )


@pytest.mark.parametrize("read", [share, plain(share)], ids=["compiled", "plain"])
def test_share_leaves_out_the_agent_itself(read):
    """Four agents, two in cell 0 with the agent, one each in cells 1 and 3."""
    assert_allclose([read(world([2, 1, 0, 1], 0), c) for c in range(4)], [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("read", [crowd, plain(crowd)], ids=["compiled", "plain"])
def test_crowd_counts_the_agent_itself(read):
    assert_allclose([read(world([2, 1, 0, 1], 0), c) for c in range(4)], [2 / 4, 1 / 4, 0, 1 / 4], rtol=1e-6)


def test_share_takes_off_the_weight_and_not_one():
    """Weights 2.5 (own) + 1.5 in cell 1: the other's weight over N - 1 = 3."""
    assert share(world([0, 4.0, 0, 0], 1, 2.5), 1) == pytest.approx(1.5 / 3)


def test_in_the_mean_field_a_share_is_the_mass():
    mean_field = World(np.array([0.2, 0.8]), np.zeros(0), (), 0, -1, 0.0, 1.0, 1.0)
    assert share(mean_field, 1) == 0.8
    assert crowd(mean_field, 1) == 0.8


def test_a_rule_can_be_called_compiled_and_plain():
    @rule
    def square(x):
        return x * x

    assert square(3) == plain(square)(3) == square.py_func(3) == 9
    assert plain(plain(square)) is plain(square)


def test_only_functions_become_rules():
    with pytest.raises(TypeError, match=r"function must be a plain Python function, got 3"):
        rule(3)
    for function in (share, len, World, [].append):
        with pytest.raises(TypeError, match="function must be a plain Python function"):
            rule(function)


def of_the_module(x):
    return x + random.random()


def of_a_function(x):
    return choice_of_python(x)


def of_numpy(x):
    return np.float32(x) + np.random.normal()  # noqa: NPY002


def of_numpys_module(x):
    return numpy_random.uniform(0.0, x)  # noqa: NPY002


def of_numpys_function(x):
    return gamma_of_numpy(x)  # noqa: NPY002


@pytest.mark.parametrize(
    ("function", "source"),
    [
        (of_the_module, "random"),
        (of_a_function, "random"),
        (of_numpy, "numpy.random"),
        (of_numpys_module, "numpy.random"),
        (of_numpys_function, "numpy.random"),
    ],
)
def test_a_rule_draws_by_its_key_only(function, source):
    said = rf"the rule {function.__name__} draws from {source}, .* mfenvs\.uniform\(key, 0\)$"
    with pytest.raises(TypeError, match=said):
        rule(function)


def test_a_field_may_be_called_random():
    @rule
    def moves(agent):
        return np.float32(0.5) < agent.random

    agents = np.zeros(1, [("random", "f4")])
    assert not moves(agents[0])


def test_division_by_zero_in_a_rule_is_as_in_numpy():
    @rule
    def divide(x, y):
        return x / y

    assert divide(1.0, 0.0) == np.inf
    assert np.isnan(divide(0.0, 0.0))


def an_array(x):
    return np.zeros(3)[0] + x


def a_list(x):
    items = [x, x]
    items.append(x)
    return items[2]


def an_array_expression(x):
    return (x + x)[0]


def a_text(x):
    return len(str(int(x)))


@pytest.mark.parametrize(
    ("function", "argument"),
    [(an_array, 1.0), (a_list, 1.0), (an_array_expression, np.ones(3)), (a_text, 12.0)],
)
def test_a_rule_that_allocates_is_refused(function, argument):
    assert function(argument) is not None
    with pytest.raises(numba.core.errors.NumbaError, match=r"(?s)NRT|Only accept returning of array passed"):
        rule(function)(argument)
