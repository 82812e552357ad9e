import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfenvs import checks


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers_of_any_kind_become_int(value):
    found = checks.integer("n", value, 0, 5)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [-1, 6, True, 10**30])
def test_integers_out_of_range(value):
    with pytest.raises(ValueError, match=rf"^n must be an integer in \[0, 5\], got {value}$"):
        checks.integer("n", value, 0, 5)


@pytest.mark.parametrize("value", [1.0, "1", None, [1]])
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match=r"^n must be an integer >= 1, got "):
        checks.integer("n", value, 1)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_reals_become_float(value):
    assert type(checks.real("x", value, 0.0, 1.0)) is float


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_reals_out_of_range(value):
    with pytest.raises(ValueError, match=r"^x must be a finite number in \[0, 1\], got "):
        checks.real("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", ["0.5", b"0.5", None, [0.5, 0.5], 1j])
def test_what_is_no_real(value):
    """Text that reads as a number too: what follows would compute with the text."""
    with pytest.raises(TypeError, match=r"^x must be a finite number in \[0, 1\], got "):
        checks.real("x", value, 0.0, 1.0)


def test_excluded_ends_are_printed_and_refused():
    assert checks.real("x", 0.5, 0, 1, exclude_low=True, exclude_high=True) == 0.5
    for value in (0.0, 1.0):
        with pytest.raises(ValueError, match=rf"in \(0, 1\), got {value}"):
            checks.real("x", value, 0, 1, exclude_low=True, exclude_high=True)
    with pytest.raises(ValueError, match=r"in \[0, inf\), got -1"):
        checks.real("x", -1, 0)


def test_centre_keeps_the_interval_inside():
    assert checks.centre("c", 0.25, 0.25, 0.0, 0.5) == 0.25
    for value in (0.2, 0.3):
        with pytest.raises(ValueError, match=rf"^c must satisfy c - 0.25 >= 0 and c \+ 0.25 <= 0.5, got {value}"):
            checks.centre("c", value, 0.25, 0.0, 0.5)
    with pytest.raises(ValueError, match=r"^c must satisfy c - 1 >= 0, got 0.5"):
        checks.centre("c", 0.5, 1.0, 0.0)


def test_choice_lists_what_is_allowed():
    assert checks.choice("o", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"^o must be one of 'a', 'b', got 'c'$"):
        checks.choice("o", "c", ("a", "b"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shaped_makes_contiguous_what_has_the_right_kind_already(dtype):
    given = np.arange(6, dtype=dtype).reshape(3, 2).T
    found = checks.shaped("m", given, (2, 3), dtype)
    assert found.flags.c_contiguous
    assert (found == given).all()


def test_shaped_aligns_but_does_not_copy_what_must_not_be_written_to():
    odd = np.zeros(33, np.uint8)[1:].view(np.float64)
    assert not odd.flags.aligned
    found = checks.shaped("m", odd, (4,), np.float64)
    assert found.flags.carray
    odd.flags.writeable = False
    kept = np.zeros(4)
    kept.flags.writeable = False
    assert checks.shaped("m", kept, (4,), np.float64).base is kept
    odd = np.zeros(17, np.uint8)[1:].view(np.int32)
    assert checks.actions(odd, (4,)).flags.carray


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(), (1,), (2, 9)])
def test_numbers_that_are_not_finite_are_found_in_arrays_of_any_layout(wrong, shape):
    numbers = np.full(shape, 1.5e308)
    checks.finite("the sum", numbers)
    numbers[(-1,) * len(shape)] = wrong
    single = np.where(np.isfinite(numbers), 1.0, numbers).astype(np.float32)
    for array in (numbers, numbers.T, single, numbers.tolist()):
        with pytest.raises(ValueError, match=r"^the sum must be finite, got (nan|-?inf): the rewards add up"):
            checks.finite("the sum", array)


def test_shaped_converts_and_makes_contiguous():
    found = checks.shaped("m", np.arange(6).reshape(3, 2).T, (2, 3), np.float32)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.array_equal(found, [[0, 2, 4], [1, 3, 5]])
    with pytest.raises(ValueError, match=r"^m must have shape \(2,\), got \(3,\)"):
        checks.shaped("m", [1, 2, 3], (2,), float)
    for kind in (["a", "b"], [1j, 2], [None, 1]):
        with pytest.raises(TypeError, match=r"^m must be an array of numbers"):
            checks.shaped("m", kind, (2,), float)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_normalised_weights_are_probabilities(weights):
    law = np.array(weights) / sum(weights)
    assert np.array_equal(checks.probabilities("p", law, law.shape), law)
    checks.probabilities("p", law.astype(np.float32), law.shape)


@pytest.mark.parametrize(
    "row", [[0.9, 0.9], [1.5, -0.5], [math.nan, 1.0], [0.0, 0.0], [1.0, 1e-5], [math.inf, 0.0]]
)
def test_rows_that_are_no_probabilities_are_named(row):
    table = np.full((2, 3, 2), 0.5)
    table[1, 2] = row
    with pytest.raises(ValueError, match=r"^p\[1, 2\] must be probabilities .*got \[.*\] with sum "):
        checks.probabilities("p", table, (2, 3, 2))


def test_a_single_law_is_named_without_an_index():
    with pytest.raises(ValueError, match=r"^p must be probabilities"):
        checks.probabilities("p", [0.5, 0.6], (2,))


@pytest.mark.parametrize(
    ("given_dtype", "found"),
    [("i1", "i4"), ("u1", "i4"), ("i2", "i4"), ("i4", "i4"), ("i8", "i8"), ("u4", "i8"), ("u8", "i8")],
)
def test_actions_of_any_integer_dtype(given_dtype, found):
    values = checks.actions(np.array([[1, 0], [2, 1]], given_dtype).T, (2, 2))
    assert values.dtype == found
    assert values.flags.c_contiguous
    assert values.tolist() == [[1, 2], [0, 1]]


def test_actions_of_another_kind_or_shape():
    for wrong in ([[0.0, 1.0]], [[True, False]], [["a", "b"]]):
        with pytest.raises(TypeError, match=r"^actions must be integers, got dtype"):
            checks.actions(wrong, (1, 2))
    with pytest.raises(ValueError, match=r"^actions must have shape \(1, 2\), got \(2,\)"):
        checks.actions([0, 1], (1, 2))


def test_booleans_are_no_numbers_and_numbers_no_booleans():
    assert checks.boolean("flag", np.True_) is True
    with pytest.raises(TypeError, match="flag must be True or False, got 1"):
        checks.boolean("flag", 1)
    with pytest.raises(TypeError, match=r"share must be a finite number in \[0, 1\], got True"):
        checks.real("share", True, 0.0, 1.0)


def test_a_law_over_all_axes():
    assert checks.whole_law("law", [[0.25, 0.25], [0.5, 0.0]]).tolist() == [0.25, 0.25, 0.5, 0.0]
    with pytest.raises(ValueError, match=r"law must hold probabilities .*, got a least of 0.25 and a sum of 0.75"):
        checks.whole_law("law", [[0.25], [0.5]])


@pytest.mark.parametrize(
    "value", [np.array([0.5]), np.ma.masked, np.array("0.5"), np.timedelta64(1, "s"), np.array(1j)]
)
def test_what_numpy_would_make_a_real(value):
    with pytest.raises(TypeError, match=r"^x must be a finite number in \[0, 1\], got "):
        checks.real("x", value, 0.0, 1.0)


def test_integers_beyond_all_floats_and_beyond_what_python_prints():
    with pytest.raises(ValueError, match=r"^x must be a finite number in \[0, 1\], got 1000"):
        checks.real("x", 10**400, 0.0, 1.0)
    for check in (lambda value: checks.real("x", value), lambda value: checks.integer("x", value, 0, 5)):
        with pytest.raises(ValueError, match=r"^x must be .*, got a value of type int$"):
            check(10**5000)
    assert len(checks.shown(list(range(10**4)))) < 250
    assert checks.shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"


@pytest.mark.parametrize("value", [np.array([3]), np.ma.array(3, mask=True), np.array([[3]])])
def test_arrays_are_no_integers(value):
    with pytest.raises(TypeError, match=r"^n must be an integer >= 0, got "):
        checks.integer("n", value, 0)


@pytest.mark.parametrize("value", [np.array(["a", "b"]), np.array([60, 15]), [60], {}, None, True, 1.5])
def test_choices_of_any_kind_are_compared_safely(value):
    for allowed in (("a", "b"), (60, 15), (1, 60)):
        with pytest.raises(ValueError, match=r"^o must be one of "):
            checks.choice("o", value, allowed)


def test_the_allowed_value_itself_is_chosen():
    assert type(checks.choice("o", np.str_("a"), ("a", "b"))) is str
    assert type(checks.choice("o", np.int64(15), (60, 15))) is int
    assert type(checks.choice("o", 1, (0.25, 1.0))) is float
    assert checks.choice("o", np.True_, (False, True)) is True
    assert checks.choice("o", None, (None, "a")) is None


MASKED = np.ma.array([[0, 1]], mask=[[False, True]])


def test_masks_are_not_lost():
    for check in (
        lambda: checks.actions(MASKED, (1, 2)),
        lambda: checks.shaped("actions", MASKED, (1, 2), float),
        lambda: checks.indices("actions", MASKED, (1, 2), 0, 5),
        lambda: checks.buffer("actions", MASKED.astype(np.float32), (1, 2), (np.dtype(np.float32),)),
    ):
        with pytest.raises(TypeError, match=r"^actions must be .*masked"):
            check()
    with pytest.raises(TypeError, match=r"^p must be an array without a mask"):
        checks.probabilities("p", np.ma.array([0.5, 0.5], mask=[0, 1]), (2,))


def test_what_makes_no_array():
    with pytest.raises(TypeError, match=r"^m must be an array, got \[\[1, 2\], \[3\]\]"):
        checks.shaped("m", [[1, 2], [3]], (2, 2), float)


def test_shaped_never_truncates_or_wraps():
    with pytest.raises(TypeError, match=r"^m must be an array of integers, got dtype float64"):
        checks.shaped("m", [0.5, 1.0], (2,), np.int64)
    with pytest.raises(ValueError, match=r"^m must hold integers in \[0, 255\], got 0 to 256"):
        checks.shaped("m", [0, 256], (2,), np.uint8)


def test_indices_name_the_first_that_is_out_of_range():
    found = checks.indices("ids", np.array([3, 0], np.uint8), (2,), 0, 3)
    assert found.dtype == np.int64
    assert found.tolist() == [3, 0]
    largest = checks.indices("ids", [2**64 - 1], (1,), 0, 2**64 - 1)
    assert largest.dtype == np.uint64
    assert largest.tolist() == [2**64 - 1]
    with pytest.raises(ValueError, match=r"^ids\[1\] must be an integer in \[0, 3\], got 4"):
        checks.indices("ids", [3, 4, -1], (3,), 0, 3)
    with pytest.raises(ValueError, match=r"^ids must have shape \(2,\), got \(3,\)"):
        checks.indices("ids", [3, 4, -1], (2,), 0, 3)
    for wrong in ([0.5], [True], [10**30], ["a"]):
        with pytest.raises(TypeError, match=r"^ids must be integers in \[0, 3\], got dtype "):
            checks.indices("ids", wrong, (1,), 0, 3)


def test_buffers_to_write_to():
    single = (np.dtype(np.float32),)
    fits = np.zeros((2, 3), np.float32)
    assert checks.buffer("out", fits, (2, 3), single) is fits
    for wrong in (fits.astype(">f4"), fits[:1], fits.astype(float)):
        with pytest.raises(ValueError, match=r"^out must be a float32 array of shape \(2, 3\), got shape"):
            checks.buffer("out", wrong, (2, 3), single)
    fits.flags.writeable = False
    with pytest.raises(ValueError, match=r"^out must be an array to write to, got a read-only one"):
        checks.buffer("out", fits, (2, 3), single)
    with pytest.raises(TypeError, match=r"^out must be a numpy array to write to, got \[\]"):
        checks.buffer("out", [], (2, 3), single)


def test_sequences():
    assert checks.sequence("s", np.array([1.0, 2.0]), "hold numbers") == (1.0, 2.0)
    for wrong in (3, "abc", np.zeros((2, 2)), np.array(3), {1, 2}, None):
        with pytest.raises(TypeError, match=r"^s must hold numbers, got "):
            checks.sequence("s", wrong, "hold numbers")


def test_what_is_no_text():
    assert checks.text("name", "a") == "a"
    for value in (3, None, b"a", ["a"]):
        with pytest.raises(TypeError, match=r"^name must be a text, got "):
            checks.text("name", value)


def test_numbers_of_any_shape():
    given = np.array([[1.0, math.inf], [math.nan, 2.0]])
    np.testing.assert_array_equal(checks.numbers("x", given), given)
    np.testing.assert_array_equal(checks.numbers("x", [1, 2], (2,), np.float32), np.float32([1, 2]))
    assert checks.numbers("x", 3).shape == ()
    with pytest.raises(ValueError, match=r"^x must have shape \(3,\), got \(2,\)"):
        checks.numbers("x", [1, 2], (3,))
    for value in ([True, False], ["1"], [[1], [1, 2]], None, 1j):
        with pytest.raises(TypeError, match=r"^x must be an array"):
            checks.numbers("x", value)


def test_numbers_that_are_not_finite_are_named():
    np.testing.assert_array_equal(checks.finite_numbers("x", [[1, 2]]), [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^x\[1, 0\] must be finite, got nan"):
        checks.finite_numbers("x", [[1.0, 2.0], [math.nan, math.inf]])
    with pytest.raises(ValueError, match=r"^x must be finite, got inf"):
        checks.finite_numbers("x", math.inf)
