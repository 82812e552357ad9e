"""What belongs to a function's content: everything on which its machine code depends, and nothing else."""

import enum
import functools
import math
import types
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.extending import intrinsic, overload, overload_method

from mfenvs import Engine
from mfenvs.engine.fingerprint import UnknownContentError, fingerprint, types_fingerprint
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi
from mfenvs.rules import rule

FIRST = """
@rule
def inner(x):
    return x * FACTOR

@rule
def outer(x):
    return inner(x) + CONSTANT
"""

OUTER = "@rule\ndef outer(x): return "


def make(source: str, name: str = "outer", **scope):
    """A rule from source; every call makes new objects, as another process would."""
    namespace = {"rule": rule, "np": np, "numba": numba, "enum": enum, "NamedTuple": NamedTuple, **scope}
    exec(source, namespace)
    return namespace[name]


def module(**values):
    made = types.ModuleType("users_constants")
    vars(made).update(values)
    return made


def kind(text: str, name: str = "Kind"):
    """A class from source, new in every call."""
    return make(text, name)


class TestContent:
    def test_equal_sources_have_equal_fingerprints(self):
        a, b = (fingerprint(make(FIRST, FACTOR=2.0, CONSTANT=1)) for _ in range(2))
        assert a == b

    @pytest.mark.parametrize(
        ("source", "scope"),
        [
            (FIRST.replace("x * FACTOR", "x / FACTOR"), {}),  # code of a rule that is reached
            (FIRST.replace("+ CONSTANT", "+ CONSTANT + 1"), {}),  # a literal
            (FIRST, {"FACTOR": 2.5}),  # a number that is reached
            (FIRST, {"FACTOR": 2}),  # of another type
            (FIRST, {"FACTOR": np.float32(2)}),
            (FIRST, {"FACTOR": -0.0}),
            (FIRST, {"CONSTANT": True}),
            (FIRST.replace("@rule", "@numba.njit(fastmath=True)", 1), {}),  # how a rule is compiled
        ],
    )
    def test_whatever_is_edited_changes_it(self, source, scope):
        before = fingerprint(make(FIRST, FACTOR=2.0, CONSTANT=1))
        assert fingerprint(make(source, **{"FACTOR": 2.0, "CONSTANT": 1} | scope)) != before

    @pytest.mark.parametrize(("before", "after"), [("p=0.3", "p=0.4"), ("*, p=0.3", "*, p=0.4")])
    def test_defaults_of_helpers_count(self, before, after):
        source = "@numba.njit\ndef inner(x, p=0.3): return x * p\n@rule\ndef outer(x): return inner(x)"
        a, b = (make(source.replace("p=0.3", text)) for text in (before, after))
        assert fingerprint(a) != fingerprint(b)

    def test_names_of_parameters_count(self):
        """The byte code of both helpers is the same, and a call by keywords means another thing."""
        source = "@rule\ndef inner({}): return {}\n@rule\ndef outer(x): return inner(a=x, b=1)"
        a, b = make(source.format("a, b", "a - b")), make(source.format("b, a", "b - a"))
        assert a.py_func.__globals__["inner"].py_func.__code__.co_code == (
            b.py_func.__globals__["inner"].py_func.__code__.co_code
        )
        assert (a(5), b(5)) == (4, -4)
        assert fingerprint(a) != fingerprint(b)

    def test_numbers_in_a_users_module_count(self):
        source = OUTER + "x * constants.RATE"
        a, b, c = (make(source, constants=module(RATE=r, OTHER=o)) for r, o in ((0.3, 1), (0.4, 1), (0.3, 2)))
        assert (a(1.0), b(1.0)) == (0.3, 0.4)
        assert fingerprint(a) != fingerprint(b)
        assert fingerprint(a) == fingerprint(c)
        nested = [make(OUTER + "x * k.sub.RATE", k=module(sub=module(RATE=r))) for r in (0.3, 0.4)]
        assert fingerprint(nested[0]) != fingerprint(nested[1])

    def test_numbers_in_a_module_of_a_closure_count(self):
        source = "def maker(k):\n    @rule\n    def inner(x): return x * k.RATE\n    return inner"
        a, b = (make(source, "maker")(module(RATE=r)) for r in (2, 3))
        assert fingerprint(a) != fingerprint(b)

    def test_a_module_that_computes_its_attributes_is_unknown(self):
        lazy = module(__getattr__=lambda name: 2.0)
        with pytest.raises(UnknownContentError, match="users_constants"):
            fingerprint(make(OUTER + "x * k.RATE", k=lazy))

    def test_modules_that_hold_each_other_end(self):
        a, b = module(RATE=1.0), module()
        a.b, b.a = b, a
        fingerprint(make(OUTER + "x * a.b.a.RATE", a=a))

    def test_which_of_two_reached_rules_is_used_twice_counts(self):
        source = OUTER + "f(x) + g(x) + h(x)"
        f, g = make(OUTER + "x"), make(OUTER + "-x")
        assert fingerprint(make(source, f=f, g=g, h=f)) != fingerprint(make(source, f=f, g=g, h=g))

    def test_closures_count(self):
        source = "def maker(k):\n    @rule\n    def inner(x): return x * k\n    return inner"
        a, b, c = (make(source, "maker")(k) for k in (2, 3, 2))
        assert fingerprint(a) == fingerprint(c) != fingerprint(b)

    def test_recursion_ends(self):
        source = "@rule\ndef outer(x): return x if x < 1 else outer(x - {})"
        a, b, c = (fingerprint(make(source.format(step))) for step in (1, 1, 2))
        assert a == b != c

    def test_rules_that_call_each_other_have_one_content_wherever_it_is_read_from(self):
        f, g = "@rule\ndef f(x): return g(x)\n", "@rule\ndef g(x): return f(x) * 2\n"
        source = f + g + OUTER + "f(x) + g(x)"
        a, b, c = (fingerprint(make(text)) for text in (source, source, source.replace("* 2", "* 3")))
        assert a == b != c

    def test_sets_have_one_order(self):
        """Strings hash, and so are ordered in a set, by chance."""
        sets = [f"x in {{{', '.join(repr(w) for w in words)}}}" for words in (["a", "b", "c"], ["c", "b", "a"])]
        assert len({fingerprint(make(OUTER + text)) for text in sets}) == 1

    def test_libraries_functions_are_told_by_their_names(self):
        library = [math.exp, np.exp, np.clip, np.float32, len, numba.prange, numba.float32, abs, int]
        assert len({fingerprint(make(OUTER + "f(x)", f=f)) for f in library}) == len(library)

    @pytest.mark.parametrize("unknown", [np.ones(2), {"a": 1.0}, [1.0], object(), functools.partial(min, 1)])
    def test_what_cannot_be_told_has_none(self, unknown):
        with pytest.raises(UnknownContentError):
            fingerprint(make(OUTER + "x + table[0]", table=unknown))

    def test_a_variable_without_a_value_is_unknown(self):
        source = "def maker():\n    @rule\n    def outer(x): return x + later\n    yield outer\n    later = 1"
        with pytest.raises(UnknownContentError, match="no value yet"):
            fingerprint(next(make(source, "maker")()))

    def test_a_wrapper_of_a_librarys_function_is_the_users(self):
        found = []
        for factor in (2.0, 3.0):

            @functools.wraps(math.exp)
            def wrapper(x, factor=factor):
                return factor * x

            found.append(fingerprint(make(OUTER + "exp(x)", exp=numba.njit(wrapper))))
        assert found[0] != found[1]

    def test_the_games_of_the_package_can_be_cached(self):
        for game in (Epidemic(n_agents=3), RockPaperScissors(n_agents=3), Taxi(n_agents=3)):
            kernels = Engine(game)._kernels
            for name in ("start", "step", "observe", "occupancy", "act", "rollout"):
                fingerprint(getattr(kernels, name))


class TestClasses:
    TERMS = "class Kind(NamedTuple):\n    {}: float\n    {}: float = {}"

    def test_fields_of_a_named_tuple_count_in_order_and_with_their_defaults(self):
        variants = [("win", "lose", 1.0), ("lose", "win", 1.0), ("win", "loss", 1.0), ("win", "lose", 2.0)]
        classes = [kind(self.TERMS.format(*variant)) for variant in variants]
        for source in ("terms.win", "Kind(x, x)[0]", "within.terms.win"):
            found = {
                fingerprint(make(OUTER + source, terms=c(1.0, 2.0), Kind=c, within=module(terms=(c(1.0, 2.0),))))
                for c in classes
            }
            assert len(found) == 4, source
        again = kind(self.TERMS.format(*variants[0]))
        assert fingerprint(make(OUTER + "terms.win", terms=again(1.0, 2.0))) == fingerprint(
            make(OUTER + "terms.win", terms=classes[0](1.0, 2.0))
        )

    def test_the_order_of_fields_without_defaults_counts(self):
        text = "class Kind(NamedTuple):\n    {}: float\n    {}: float"
        a, b, c = (kind(text.format(*names)) for names in (("win", "lose"), ("lose", "win"), ("win", "lose")))
        contents = [fingerprint(make(OUTER + "terms.win", terms=k(1.0, 2.0))) for k in (a, b, c)]
        assert contents[0] == contents[2] != contents[1]
        assert types_of(a(1.0, 2.0)) == types_of(c(1.0, 2.0)) != types_of(b(1.0, 2.0))

    @pytest.mark.parametrize("base", ["Enum", "IntEnum", "IntFlag"])
    def test_values_of_an_enumeration_count(self, base):
        classes = [kind(f"class Kind(enum.{base}):\n    A = {a}\n    B = 4") for a in (1, 2, 1)]
        for source, scope in (
            ("x + Kind.A.value", lambda c: {"Kind": c}),
            ("x + k.Kind.A.value", lambda c: {"k": module(Kind=c)}),
            ("x + A.value", lambda c: {"A": c.A}),
        ):
            a, b, c = (fingerprint(make(OUTER + source, **scope(c))) for c in classes)
            assert a == c != b, source

    def test_a_class_of_a_users_is_unknown(self):
        with pytest.raises(UnknownContentError, match="Kind"):
            fingerprint(make(OUTER + "isinstance(x, Kind)", Kind=kind("class Kind: pass")))


class TestImplementationsGivenToNumba:
    def test_the_body_of_a_vectorized_function_counts(self):
        source = "@numba.vectorize\ndef inner(x): return x * {}\n" + OUTER + "inner(x)"
        a, b, c = (fingerprint(make(source.format(k))) for k in (2, 3, 2))
        assert a == c != b

    @pytest.mark.parametrize("factor", ["2", "FACTOR"])
    def test_overloads_of_a_users_function_count(self, factor):
        source = "def stub(x): ...\n@overload(stub)\ndef given(x): return lambda x: x * {}\n" + OUTER + "stub(x)"
        a, b, c = (
            fingerprint(make(source.format(text), overload=overload, FACTOR=value))
            for text, value in ((factor, 2), (factor.replace("2", "3"), 3), (factor, 2))
        )
        assert a == c != b

    def test_an_overload_that_cannot_be_told_is_unknown(self):
        source = "def stub(x): ...\n@overload(stub)\ndef given(x): return TABLE[x]\n" + OUTER + "stub(x)"
        with pytest.raises(UnknownContentError):
            fingerprint(make(source, overload=overload, TABLE={}))

    def test_overloads_of_methods_and_of_libraries_functions_count(self):
        def content():
            return [fingerprint(make(OUTER + text)) for text in ("x.mfenvs_probe()", "np.mintypecode(x)", "x + 1")]

        before = content()

        @overload_method(numba.types.Array, "mfenvs_probe")
        def given_method(x):
            return lambda x: 2

        @overload(np.mintypecode)
        def given_function(x):
            return lambda x: 2

        after = content()
        assert [a != b for a, b in zip(before, after, strict=True)] == [True, True, False]

    def test_intrinsics_count(self):
        source = (
            "@intrinsic\ndef doubled(context, x):\n"
            "    def code(context, builder, signature, arguments):\n"
            "        return builder.{}(*arguments, *arguments)\n"
            "    return x(x), code\n" + OUTER + "doubled(x)"
        )
        a, b, c = (fingerprint(make(source.format(o), intrinsic=intrinsic)) for o in ("fadd", "fmul", "fadd"))
        assert a == c != b


class TestNumbersThatChangeAfterCompilation:
    """numba freezes them: code of a rule is what it was compiled from, which may not be what it says now."""

    @pytest.mark.parametrize("decorator", ["rule", "numba.njit"])
    def test_a_compiled_rule_whose_number_changed_is_unknown(self, decorator):
        source = f"@{decorator}\ndef inner(x): return x * FACTOR\n@rule\ndef outer(x): return inner(x)"
        outer = make(source, FACTOR=2.0)
        before = fingerprint(outer)
        assert outer(1.0) == 2.0
        assert fingerprint(outer) == before
        outer.py_func.__globals__["FACTOR"] = 3.0
        assert outer(1.0) == 2.0
        with pytest.raises(UnknownContentError, match="inner"):
            fingerprint(outer)


def types_of(*values):
    return types_fingerprint(tuple(numba.typeof(value) for value in values))


class TestTypes:
    def test_types_differ_by_what_code_reads_in_them(self):
        pair = [("a", np.float32), ("b", np.float32)]
        a_first, b_first = (kind(TestClasses.TERMS.format(*names, 1.0)) for names in (("a", "b"), ("b", "a")))
        colour, other = (kind(f"class Kind(enum.IntEnum):\n    A = {a}") for a in (1, 2))
        values = [
            *(1, 1.0, True, 1j, np.float32(1), np.uint8(1), None, "text"),
            *(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)).T, np.zeros(2, np.float32), np.zeros(4)[::2]),
            *((1, 1), (1, 1, 1), (1, 1.0), (1, (1, 1)), a_first(1.0, 1.0), b_first(1.0, 1.0), a_first(1.0, 1)),
            *(a_first((1.0, 1.0), 1.0), a_first(a_first(1.0, 1.0), 1.0), a_first(b_first(1.0, 1.0), 1.0)),
            *(np.zeros(1, pair), np.zeros(1, pair[::-1]), np.zeros(1, pair)[0], np.zeros(1, [("a", "f4", 2)])),
            *(np.zeros(1, np.dtype({"names": ["a"], "formats": ["f4"], "offsets": [o]})) for o in (0, 4)),
            *(colour.A, other.A, make(OUTER + "x"), make(OUTER + "-x")),
        ]
        read_only = np.zeros(2)
        read_only.setflags(write=False)
        values.append(read_only)
        assert len({types_of(value) for value in values}) == len(values)
        assert types_of(1, 2.0) != types_of(2.0, 1)

    def test_equal_classes_of_two_processes_are_alike(self):
        a, b = (kind(TestClasses.TERMS.format("win", "lose", 1.0)) for _ in range(2))
        assert types_of(a(1.0, 1.0)) == types_of(b(2.0, 3.0))
        assert types_of(make(OUTER + "x")) == types_of(make(OUTER + "x"))

    @pytest.mark.parametrize("unknown", [numba.typed.List([1]), numba.types.voidptr])
    def test_other_types_are_unknown(self, unknown):
        found = unknown if isinstance(unknown, numba.types.Type) else numba.typeof(unknown)
        with pytest.raises(UnknownContentError, match="the type"):
            types_fingerprint((found,))
