"""Wrong values of every kind for every argument of games and engines: each is refused by name, none crashes."""

import dataclasses
import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import mfenvs
from mfenvs import Engine
from mfenvs.cumulated import cumulative
from mfenvs.engine.snapshot import Snapshot
from mfenvs.games.epidemic import Epidemic

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 300, 2**31, 2**63, 2**64, -(2**63), 10**400, -(10**400), 10**5000),
    *(0.5, -0.5, 1.5, 1e-300, 1e300, -1e300, 1e39, float("nan"), float("inf"), -float("inf"), 1j),
    *("", "a", "1", b"1", bytearray(b"1"), Fraction(1, 3), Decimal("0.5"), Decimal("nan")),
    *(np.uint8(200), np.int8(-1), np.float16(0.5), np.float32(np.nan), np.longdouble(0.5), np.bool_(True)),
    *(np.str_("a"), np.datetime64("2024-01-01"), np.timedelta64(1, "s"), datetime.date(2024, 1, 1), np.ma.masked),
    *(np.array(3), np.array(0.5), np.array("a"), np.array([1.0]), np.zeros((2, 2)), np.zeros(0), np.array([None])),
    *(
        np.ma.array([1, 2], mask=[0, 1]),
        [],
        (),
        (1,),
        [0.5, 0.5],
        [[1], [1, 2]],
        {},
        {1},
        object(),
        int,
        len,
        range(3),
    ),
]
"""What may be given in the place of a number, a choice or an array."""

values = st.sampled_from(VALUES)
GAMES = mfenvs.registered_games()
FIELDS = [
    (name, field.name)
    for name, game_class in GAMES.items()
    for field in dataclasses.fields(game_class)
    # Those of the energy market have tests of their own.
    if field.init and "EnergyMarket" not in name
]


def assert_named(error, *names):
    assert any(name in str(error) for name in names), f"{names[0]} is not named in: {error}"
    assert len(str(error)) < 2000


@settings(max_examples=600)
@given(st.sampled_from(FIELDS), values)
def test_constants_of_games(field, value):
    name, constant = field
    # Small, unless it is the size itself that is asked for.
    small = {} if constant == "n_agents" else {"n_agents": 40}
    try:
        game = mfenvs.make(name, **small | {constant: value})
    except (TypeError, ValueError) as error:
        # A value that does not go with the other constants may be refused in one of their names.
        assert_named(error, constant, *GAMES[name].__dataclass_fields__)
    else:
        for each in dataclasses.fields(game):
            assert not isinstance(getattr(game, each.name), np.generic | np.ndarray), each.name


GAME = Epidemic(n_agents=5, horizon=3)
POLICY = np.full((3, 2, 2), 0.5)
ARRAYS = [
    *(np.full((2, 5), k, dtype) for k in (0, 1, 2, 255) for dtype in (np.uint8, np.int64, np.float32, ">i4")),
    *(np.zeros(shape) for shape in ((2, 5, 3), (5, 2), (2, 5, 2), (1, 3, 2, 2), (5, 3, 2, 2), (3, 2, 2))),
    *(np.full(POLICY.shape, number) for number in (0.5, 0.6, -0.5, np.nan, 1.0, 2.0)),
    *(np.full((1, *POLICY.shape), number, np.float32) for number in (0.5, 2.0, np.nan)),
    *(np.ma.array(np.zeros((2, 5), int), mask=True), np.ma.array(POLICY, mask=True), np.zeros((2, 5), "U1")),
    *(np.zeros((2, 5), bool), np.zeros((2, 5), object), np.array([0, 1]), np.array([-1, 4]), np.array([7, 5])),
]
RESTORED = ("seed", "episode", "time", "states", "signal", "returns")
CALLS = {
    "reset": ("seed",),
    "step": ("actions", "rewards"),
    "observe": ("out",),
    "occupancy": ("out",),
    "draw_actions": ("probabilities",),
    "sample_actions": ("policy", "actions"),
    "rollout": ("policy", "seed", "episode", "world_ids", "deviators", "deviations", "starts"),
    "restore": RESTORED,
}
RIGHT = {
    "step": {"actions": np.zeros((2, 5), int)},
    "sample_actions": {"policy": cumulative(POLICY[None])},
    "rollout": {"policy": POLICY, "seed": 0, "deviators": [0, 1], "deviations": np.full((2, 3, 2, 2), 0.5)},
}
ENGINE = Engine(GAME, 2)


def now(engine):
    return (*dataclasses.astuple(engine.snapshot()), engine.is_playing)


def assert_the_same(before, after):
    for one, other in zip(before, after, strict=True):
        assert_array_equal(one, other)


@settings(max_examples=600)
@given(
    st.sampled_from([(call, argument) for call, arguments in CALLS.items() for argument in arguments]),
    st.one_of(values, st.sampled_from(ARRAYS)),
)
def test_arguments_of_an_engine(asked, value):
    """What is refused has moved nothing."""
    call, argument = asked
    ENGINE.reset(seed=0)
    before = now(ENGINE)
    try:
        if call == "restore":
            ENGINE.restore(dataclasses.replace(ENGINE.snapshot(), **{argument: value}))
        else:
            # Ids of other worlds than two go without the two deviators.
            right = {"policy": POLICY, "seed": 0} if argument == "world_ids" else RIGHT.get(call, {})
            getattr(ENGINE, call)(**right | {argument: value})
    except (TypeError, ValueError) as error:
        assert_named(error, argument)
        assert_the_same(now(ENGINE), before)


@settings(max_examples=150)
@given(st.sampled_from(["n_worlds", "first_world", "n_threads", "debug", "keep_accounts"]), values)
@example("n_worlds", 2**24 + 1)
def test_arguments_of_an_engines_making(argument, value):
    try:
        engine = Engine(GAME, **{argument: value})
    except (TypeError, ValueError) as error:
        assert_named(error, argument)
    else:
        assert engine.reset(seed=0).shape == (engine.n_worlds, 5)


@pytest.mark.parametrize("value", [*VALUES, *ARRAYS], ids=lambda value: type(value).__name__)
def test_what_is_no_game_and_no_snapshot(value):
    with pytest.raises((TypeError, ValueError), match="game"):
        Engine(value)
    with pytest.raises(TypeError, match=r"^snapshot must be a Snapshot"):
        ENGINE.restore(value)
    with pytest.raises((TypeError, ValueError), match=r"name|game"):
        mfenvs.make(value)


def test_every_part_of_a_snapshot_is_tried():
    assert tuple(field.name for field in dataclasses.fields(Snapshot)) == RESTORED
