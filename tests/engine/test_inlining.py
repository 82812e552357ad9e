"""Rules: compiled as far as other code needs them, and called from Python like any function."""

import copy
import pickle

import numba
import numpy as np
import pytest

from mfenvs.engine.compile import kernel
from mfenvs.engine.fingerprint import fingerprint
from mfenvs.engine.inlining import RuleDispatcher
from mfenvs.engine.random import uniform
from mfenvs.rules import plain, rule


@rule
def scaled(x, factor=3):
    return x * factor


@rule
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


@rule
def checked(x):
    if x < 0:
        raise ValueError("must not be negative")
    return scaled(x) + scaled(x, 2) + scaled(x, factor=np.float32(1))


@kernel
def checked_kernel(x):
    return checked(x)


@kernel
def factorial_kernel(n):
    return factorial(n)


def test_python_kernels_and_the_plain_function_agree():
    for call in (checked, plain(checked), checked_kernel):
        assert call(2) == 12
        with pytest.raises(ValueError, match="must not be negative"):
            call(-1)


def test_a_rule_takes_keywords_and_defaults_from_python():
    assert (scaled(2), scaled(2, 5), scaled(factor=5, x=2), scaled(x=2)) == (6, 10, 10, 6)
    with pytest.raises(TypeError):
        scaled()


def test_a_rule_may_call_itself():
    assert factorial(5) == factorial_kernel(5) == 120


def test_users_compiled_functions_may_call_rules():
    @numba.njit
    def total(n):
        found = 0
        for i in range(n):
            found += scaled(i)
        return found

    @numba.vectorize
    def tripled(x):
        return scaled(x)

    assert total(4) == 18
    assert tripled(np.arange(3)).tolist() == [0, 3, 6]


def test_code_for_kernels_is_not_what_python_calls():
    """Else every rule would be made machine code of its own, of which nobody calls most."""

    @rule
    def inner(x):
        return x + 1

    inner.compile((numba.int64,))
    (compiled,) = inner.overloads.values()
    name, engine = compiled.fndesc.llvm_func_name, compiled.library.codegen._engine
    assert name in compiled.library.get_llvm_str()
    assert not engine.is_symbol_defined(name)
    assert inner(1) == 2
    (whole,) = inner._for_python.overloads.values()
    assert engine.is_symbol_defined(whole.fndesc.llvm_func_name)


def test_rules_are_copied_and_pickled():
    for found in (pickle.loads(pickle.dumps(uniform)), copy.deepcopy(uniform)):
        assert found(7, 0) == uniform(7, 0)


def test_a_rule_that_came_to_another_process_is_cached_there_too():
    """As workers get the rules of the main script: by value, to be made anew."""

    @rule
    def inner(x):
        return scaled(x)

    there = RuleDispatcher._rebuild(**inner._reduce_states() | {"uuid": "of another process"})
    assert there is not inner
    assert there(2) == 6

    @rule
    def outer(x):
        return there(x)

    assert outer(2) == 6
    assert fingerprint(outer)
