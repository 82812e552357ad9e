"""Constants of games: numbers of numpy's and of tensors are kept as Python's, and arrays are refused."""

import dataclasses
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from mfenvs import checks, make
from mfenvs.field_values import as_python, declared_kinds, in_kind
from mfenvs.game import NO_PARAMETERS
from mfenvs.games.auction import Auction
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi


@pytest.mark.parametrize(
    ("annotation", "kinds"),
    [
        (int, {int}),
        ("float", {float}),
        (int | None, {int}),
        ("float | None", {float}),
        (bool, {bool}),
        (int | float, {int, float}),
        (str, set()),
        (str | int, set()),
        (tuple[float, ...], set()),
        ("tuple[float, ...]", set()),
    ],
)
def test_kinds_of_annotations(annotation, kinds):
    assert declared_kinds(annotation) == kinds


@pytest.mark.parametrize("given", [np.uint8(200), np.int16(200), np.array(200, np.uint8), np.array(200)])
def test_integers_of_numpy_become_pythons(given):
    found = as_python("n", int, given)
    assert found == 200
    assert type(found) is int


HALVES = [np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")]


@pytest.mark.parametrize("given", HALVES)
def test_numbers_become_floats(given):
    found = in_kind("x", float, as_python("x", float, given))
    assert found == 0.5
    assert type(found) is float


class Tensor:
    """What PyTorch's and JAX's arrays have in common with numpy's; their dtypes have no ``kind``."""

    dtype = object()

    def __init__(self, value, ndim):
        self.value, self.ndim = value, ndim

    def item(self):
        return self.value

    def __index__(self):
        return self.value

    def __float__(self):
        return float(self.value)

    def __repr__(self):
        return f"tensor({self.value})"


def test_tensors_become_pythons():
    assert type(as_python("n", int, Tensor(3, 0))) is int
    assert type(checks.integer("n", Tensor(3, 0), 0)) is int
    assert type(checks.real("x", Tensor(0.5, 0))) is float
    with pytest.raises(TypeError, match=r"^n must be one number, got an array or tensor: tensor\(3\)"):
        as_python("n", int, Tensor(3, 1))
    for check in (lambda: checks.integer("n", Tensor(3, 1), 0), lambda: checks.real("n", Tensor(3, 1))):
        with pytest.raises(TypeError, match=r"^n must be .*, got tensor\(3\)"):
            check()


def test_integers_in_the_place_of_floats_become_floats():
    assert type(in_kind("x", float, 1)) is float
    assert in_kind("x", float | None, None) is None
    assert in_kind("x", int | float, 1) == 1
    assert type(in_kind("x", int | float, 1)) is int
    assert in_kind("flag", bool, True) is True


@pytest.mark.parametrize("given", [np.array([3]), np.zeros((1, 1)), np.ma.array(3, mask=True), np.ma.masked])
def test_arrays_are_no_numbers(given):
    with pytest.raises(TypeError, match=r"^n must be one number, got an array or tensor"):
        as_python("n", int, given)


@pytest.mark.parametrize(
    ("annotation", "value", "error", "message"),
    [
        (int, 1.5, TypeError, "^n must be an integer, got 1.5"),
        (int, True, TypeError, "^n must be an integer, got True"),
        (float, "1", TypeError, "^n must be a number, got '1'"),
        (float, 1j, TypeError, "^n must be a number, got 1j"),
        (bool, 1, TypeError, "^n must be True or False, got 1"),
        (int, 2**63, ValueError, "^n must be an integer in "),
        (float, 10**400, ValueError, "^n must be a number that is a float, got 1000"),
    ],
)
def test_other_kinds_are_refused(annotation, value, error, message):
    with pytest.raises(error, match=message):
        in_kind("n", annotation, value)


def test_sizes_do_not_wrap():
    """200 bids have a signal of 400 numbers; in eight bits it would be one of 144, written beyond."""
    small = {"n_agents": 50, "horizon": 2}
    game = make("Auction-v0", n_bids=np.uint8(200), n_budgets=np.array(100, np.int8), **small)
    assert (game.n_signals, game.n_cells, game.n_states) == (400, 200, 100)
    assert game == Auction(n_bids=200, n_budgets=100, **small)


@pytest.mark.parametrize("game_class", [Auction, Epidemic, RockPaperScissors, Taxi])
def test_every_number_of_a_game_is_kept_as_pythons(game_class):
    """Given as numpy's, in single precision where that is exact."""
    game = game_class(n_agents=8, horizon=3)
    numbers = {name: value for name, value in game.describe().items() if isinstance(value, int | float)}
    assert len(numbers) > 4
    wrapped = {name: np.asarray(value) for name, value in numbers.items()}
    again = dataclasses.replace(game, **wrapped)
    assert again == game
    for name, value in numbers.items():
        assert type(getattr(again, name)) is type(value), name
        with pytest.raises(TypeError, match=rf"^{name} must be one number, got an array or tensor"):
            dataclasses.replace(game, **{name: np.array([value])})
    assert type(dataclasses.replace(game, n_agents=np.uint8(200)).n_agents) is int


@dataclasses.dataclass(kw_only=True)
class Own(Epidemic):
    """A user's game with constants that it does not check itself."""

    capacity: int = 3
    slope: float = 0.5
    is_open: bool = True


def test_a_users_own_game_gets_it_too():
    game = Own(n_agents=4, capacity=np.uint8(200), slope=np.float32(0.25), is_open=np.True_)
    assert [type(value) for value in (game.capacity, game.slope, game.is_open)] == [int, float, bool]
    assert game.capacity * 2 == 400
    assert type(Own(n_agents=4, slope=1).slope) is float
    for name, value in (("capacity", 1.5), ("capacity", [1]), ("slope", "a"), ("is_open", "no")):
        with pytest.raises(TypeError, match=rf"^{name} must be "):
            Own(n_agents=4, **{name: value})
    with pytest.raises(ValueError, match=r"^capacity must be an integer in"):
        Own(n_agents=4, capacity=10**30)


@pytest.mark.parametrize("name", ["n_states", "n_actions", "n_cells", "n_places"])
def test_declared_sizes_are_pythons(name):
    wrapped = type("Wrapped", (Epidemic,), {name: np.uint8(2)})
    with pytest.raises(TypeError, match=rf"^{name} must be a Python int, got np\.uint8\(2\)"):
        wrapped(n_agents=4)


def test_sizes_have_an_upper_end():
    with pytest.raises(ValueError, match=r"^n_budgets \* n_bids must be at most 67108864, got 1000000000"):
        Auction(n_budgets=10**8)
    with pytest.raises(ValueError, match=r"^n_states \* n_actions must be at most 67108864, got 200000000"):
        type("Vast", (Epidemic,), {"n_states": 10**8})(n_agents=3)
    with pytest.raises(ValueError, match=r"^horizon must be at most 2147483647, got 1000000000000"):
        Epidemic(n_agents=3, horizon=10**12)
    with pytest.raises(ValueError, match=r"^agents_seed must be at most 18446744073709551615"):
        Epidemic(n_agents=3, agents_seed=2**64)


def test_parameters_must_be_drawn():
    undrawn = type("Undrawn", (Epidemic,), {"draw_agents": Epidemic.__mro__[2].draw_agents})
    with pytest.raises(TypeError, match=r"^Undrawn declares agent_dtype .* and must declare draw_agents\(rng\)"):
        undrawn(n_agents=3)
    assert np.zeros(1, NO_PARAMETERS).dtype.names == ("unused",)


@pytest.mark.parametrize("value", [1e39, 1e308])
def test_agents_are_finite(value):
    """Beyond single precision: the crowding of every agent would be infinite."""
    with pytest.raises(ValueError, match=r"draw_agents must return finite numbers, got inf as crowding"):
        RockPaperScissors(n_agents=3, crowding=value)
    assert math.isfinite(RockPaperScissors(n_agents=3, crowding=1e38).agents.crowding[0])
