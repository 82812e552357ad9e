"""What a game declares, and what is said to someone who declares it wrongly."""

import copy
import dataclasses
from collections import namedtuple
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs import Engine, FiniteGame, Game, parallel_env, rule, uniform
from mfenvs.cumulated import cumulative
from mfenvs.game import index_dtype
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.rendering import make_recorder


def test_a_made_game_does_not_change():
    game = Epidemic(n_agents=5)
    with pytest.raises(AttributeError, match=r"n_agents is fixed once a game is made: .*dataclasses\.replace"):
        game.n_agents = 6
    assert game.n_agents == len(game.agents) == 5
    other = dataclasses.replace(game, n_agents=6)
    assert other.n_agents == len(other.agents) == 6
    assert copy.deepcopy(game) == game


@rule
def stay(next_state, state, action, agent, world):
    return np.float32(1.0) if next_state == state else np.float32(0.0)


@rule
def nothing(state, action, agent, world):
    return np.float32(0.0)


@rule
def in_one_cell(state, action, agent):
    return 0


@rule
def start_at_zero(agent, initial, key):
    return 0


@rule
def idle_step(state, action, agent, world, key):
    return state, np.float32(0.0)


@rule
def see_nothing(out, state, agent, public):
    pass


@rule
def where(state):
    return state


@dataclasses.dataclass(kw_only=True)
class Idle(FiniteGame):
    """The least that a finite game must declare."""

    n_agents: int = 4
    horizon: int = 2
    agent_dtype = np.dtype([("unused", np.float32)])
    n_states = 3
    n_actions = 2
    transition = staticmethod(stay)
    reward = staticmethod(nothing)


def variant(base=Idle, **declared):
    return type("Variant", (base,), declared)


def test_what_follows_from_a_finite_game():
    game = Idle()
    assert game.n_cells == 6
    assert game.n_features == 4
    assert game.action_space == gymnasium.spaces.Discrete(2)
    assert game.observation_space == gymnasium.spaces.Box(0.0, 1.0, (4,), np.float32)
    assert game.state_dtype == np.uint8
    assert_allclose(game.initial_distribution, [1 / 3] * 3)
    assert game.counts_state_actions
    assert game.agent_names == ["agent_0", "agent_1", "agent_2", "agent_3"]
    assert game.state_name(2) == "2"
    assert Epidemic(n_agents=2).state_name(0) == "infected"


def test_games_of_one_class_share_their_rules():
    """Equal rules are what lets kernels be compiled once."""
    assert Epidemic(n_agents=5).rules == Epidemic(n_agents=7, heterogeneity=0.5).rules
    assert hash(Epidemic(n_agents=5).rules) == hash(Epidemic(n_agents=7).rules)
    assert Epidemic().rules != RockPaperScissors().rules


@pytest.mark.parametrize(
    "game", [Epidemic(n_agents=9, recovery=0.4), RockPaperScissors(n_agents=5, agents_seed=3)]
)
def test_describe_makes_an_equal_game(game):
    again = type(game)(**game.describe())
    assert again == game
    assert np.array_equal(again.agents, game.agents)


def test_agents_are_read_only():
    game = Epidemic(n_agents=3)
    with pytest.raises(ValueError, match="read-only"):
        game.agents["recovery"][0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        game.agents.recovery[:] = 0.0


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"n_agents": 1}, r"n_agents must be an integer in \[2, 16777216\], got 1"),
        ({"n_agents": 2**24 + 1}, r"n_agents must be an integer in \[2, 16777216\], got 16777217"),
        ({"horizon": 0}, r"horizon must be an integer >= 1, got 0"),
        ({"agents_seed": -1}, r"agents_seed must be an integer >= 0, got -1"),
    ],
)
def test_sizes_out_of_range(constants, message):
    with pytest.raises(ValueError, match=message):
        Idle(**constants)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"n_states": 0}, "n_states must be an integer >= 1, got 0"),
        ({"n_actions": 0}, "n_actions must be an integer >= 1, got 0"),
        ({"initial_distribution": np.array([0.5, 0.5, 0.5])}, "initial_distribution must be probabilities"),
        (
            {"initial_distribution": np.array([0.5, 0.5])},
            r"initial_distribution must have shape \(3,\), got \(2,\)",
        ),
        ({"draw_agents": lambda self, rng: np.zeros(3, self.agent_dtype)}, "draw_agents must return 4 records of"),
        ({"draw_agents": lambda self, rng: np.zeros(4)}, "draw_agents must return 4 records of"),
    ],
)
def test_declarations_of_wrong_value(declared, message):
    with pytest.raises(ValueError, match=message):
        variant(**declared)()


def test_states_are_not_ordered_unless_the_game_says_so():
    assert Idle().state_levels is None
    ordered = variant(state_levels=np.array([[0.0, 1.0], [0.5, 0.0], [1.0, 0.25]]))()
    assert_allclose(ordered.state_levels, [[0.0, 1.0], [0.5, 0.0], [1.0, 0.25]])


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        (np.zeros(3), ValueError, r"state_levels must have shape \(3, d\) with d >= 1, or be None, got \(3,\)"),
        (np.zeros((2, 1)), ValueError, r"state_levels must have shape \(3, d\) .*, got \(2, 1\)"),
        (np.zeros((3, 0)), ValueError, r"state_levels must have shape \(3, d\) .*, got \(3, 0\)"),
        (np.zeros((3, 1), np.float32), TypeError, "state_levels must be an array of float64, got dtype float32"),
        (np.array([[0.0], [1.5], [1.0]]), ValueError, r"state_levels\[1, 0\] must be in \[0, 1\], got 1.5"),
        (np.array([[0.0], [0.5], [-1e-9]]), ValueError, r"state_levels\[2, 0\] must be in \[0, 1\], got -1e-09"),
        (np.array([[np.nan], [0.5], [1.0]]), ValueError, r"state_levels\[0, 0\] must be in \[0, 1\], got nan"),
    ],
)
def test_coordinates_of_states_are_checked(levels, error, message):
    with pytest.raises(error, match=message):
        variant(state_levels=levels)()


def lambda_rule(state, action):
    return 0.0


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"transition": None}, r"must declare the rule transition\(next_state, state, action, agent, world\)"),
        ({"reward": staticmethod(lambda_rule)}, "Variant.reward must be compiled: put @rule on it"),
        (
            {"reward": staticmethod(rule(lambda_rule))},
            r"Variant.reward must take reward\(state, action, agent, world\), got reward\(state, action\)",
        ),
        ({"weight": staticmethod(nothing)}, r"Variant.weight must take weight\(state, action, agent\), got"),
        ({"aggregate": staticmethod(nothing)}, r"Variant.aggregate must take aggregate\(world, signal\)"),
        ({"n_states": FiniteGame.n_states}, "Variant must declare n_states"),
    ],
)
def test_declarations_of_wrong_kind(declared, message):
    with pytest.raises(TypeError, match=message):
        variant(**declared)()


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("alowed", staticmethod(nothing), "allowed"),
        ("terminl", staticmethod(nothing), "terminal"),
        ("arrivals", staticmethod(nothing), "arrival"),
        ("aggregat", staticmethod(nothing), "aggregate"),
        ("initial_distributon", property(lambda game: np.ones(2) / 2), "initial_distribution"),
        ("draw_agent", lambda game, rng: None, "draw_agents"),
        ("n_signal", 1, "n_signals"),
    ],
)
def test_a_declaration_that_is_misspelt_is_not_ignored(name, value, meant):
    with pytest.raises(TypeError, match=f"Variant declares {name}, which no game has: did you mean {meant}?"):
        variant(**{name: value})()


def test_a_class_with_constants_that_is_no_dataclass_is_refused():
    class Forgotten(variant()):
        label: ClassVar[str] = "of the class"
        quoted: "ClassVar[str]" = "of the class too"
        bar: int = 3

    with pytest.raises(TypeError, match=r"put @dataclasses\.dataclass\(kw_only=True\) on Forgotten: .* bar$"):
        Forgotten(bar=4)
    with pytest.raises(TypeError, match=r"put .* on Forgotten: .* bar$"):
        dataclasses.dataclass(kw_only=True)(type("Derived", (Forgotten,), {}))()
    assert copy.deepcopy(dataclasses.dataclass(kw_only=True)(Forgotten)(bar=4)).bar == 4


@pytest.mark.parametrize(
    ("constants", "got"),
    [
        ({"bar": 1}, r"got \{'bar': 1\}"),
        ([1.0, 2.0], r"got \[1.0, 2.0\]"),
        ((1.0, {"bar": 1}), r"got \{'bar': 1\} as 1"),
        (namedtuple("Constants", "width bars")(1.0, [2, 3]), r"got \[2, 3\] as bars"),
        ((1.0, (2.0, [3])), r"got \(2.0, \[3\]\) as 1"),
    ],
)
def test_constants_must_be_what_rules_can_read(constants, got):
    with pytest.raises(
        TypeError, match=rf"Variant.constants must be a \(named\) tuple of numbers and arrays, {got}$"
    ):
        variant(constants=constants)()
    nested = namedtuple("Constants", "width bars more")(1, np.ones(3), (True, np.float32(2.0)))
    assert variant(constants=nested)().constants is nested


def test_helpers_and_constants_may_be_called_nearly_like_rules():
    variant(_arrivals=staticmethod(nothing), weights=property(lambda game: 1.0))()
    variant(allow=staticmethod(nothing), terminate=staticmethod(nothing))()
    # The rule that it is like is declared: so it is not that one misspelt.
    variant(rewards=staticmethod(nothing))()

    @dataclasses.dataclass(kw_only=True)
    class OfWeights(variant()):
        n_signal: int = 3

    assert OfWeights().n_signal == 3


def test_a_general_game_must_declare_its_own_rules():
    @dataclasses.dataclass(kw_only=True)
    class Empty(Game):
        agent_dtype = np.dtype([("unused", np.float32)])

    with pytest.raises(TypeError, match=r"Empty must declare the rule start\(agent, initial, key\)"):
        Empty(n_agents=2, horizon=1)
    for name in ("state_dtype", "n_cells", "n_features", "action_space"):
        with pytest.raises(TypeError, match=f"Game must declare {name}"):
            getattr(Game.__new__(Game), name)


def test_declared_rules_replace_the_ones_that_follow():
    game = variant(cell=staticmethod(in_one_cell), n_cells=1)()
    assert game.rules.cell is in_one_cell
    assert not game.counts_state_actions
    assert not variant(weight=staticmethod(in_one_cell))().counts_state_actions


def test_index_dtype_holds_the_largest_index():
    for size in (1, 2, 256, 257, 70_000):
        assert index_dtype(size).type(size - 1) == size - 1
    assert index_dtype(256) == np.uint8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(lambda w: sum(w) > 1e-3))
def test_sampling_from_cumulative_never_takes_what_has_no_probability(weights):
    """By inversion: index = number of entries not above the draw, at the ends of the draws' range too."""
    law = np.array(weights) / sum(weights)
    table = cumulative(law)
    assert table.dtype == np.float32
    for draw in (np.float32(0.0), np.float32(0.5), np.float32(1 - 2.0**-24)):
        index = int((draw >= table[:-1]).sum())
        # A law below single precision may be rounded away, but nothing impossible is ever drawn.
        assert law[index] > 0


def test_rounding_in_the_sum_goes_to_the_last_possible_outcome():
    """A sum below one leaves draws above it: they must not take the impossible last outcome."""
    table = cumulative(np.array([0.3, 0.7 - 9e-7, 0.0]))
    assert (np.float32(1 - 2.0**-24) >= table[:-1]).sum() == 1


def test_cumulative_inverts_the_law_exactly():
    table = cumulative(np.array([[0.25, 0.0, 0.5, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]]))
    drawn = (np.arange(1000, dtype=np.float32) / 1000)[None, :, None] >= table[:, None, :-1]
    counts = [np.bincount(x, minlength=5) for x in drawn.sum(axis=-1)]
    assert np.array_equal(counts, [[250, 0, 500, 250, 0], [0, 0, 1000, 0, 0]])


def test_uniform_is_exported_for_rules():
    assert 0 <= uniform(np.uint32(5), 0) < 1


@rule
def swapped(action, state, agent, world):
    return 0.0


@rule
def renamed(s, a, i, w):
    return 0.0


@rule
def writes(world, signal):
    signal[0] = 1.0


def idle_with(**attributes):
    return dataclasses.dataclass(kw_only=True)(type("Altered", (Idle,), attributes))


def test_arguments_in_another_order_are_refused_but_other_names_are_not():
    with pytest.raises(TypeError, match=r"Altered.reward is called as reward\(state, action, agent, world\): its"):
        idle_with(reward=staticmethod(swapped))()
    assert idle_with(reward=staticmethod(renamed))().n_states == 3


def test_an_aggregate_needs_room_for_its_signal():
    with pytest.raises(TypeError, match="Altered must declare n_signals"):
        idle_with(aggregate=staticmethod(writes))()


def test_names_must_be_as_many_as_states():
    with pytest.raises(ValueError, match=r"state_names must hold 3 names or none, got \('a', 'b'\)"):
        idle_with(state_names=("a", "b"))()


@dataclasses.dataclass(kw_only=True)
class Plain(Game):
    """The least that a game of any kind must declare."""

    n_agents: int = 4
    horizon: int = 2
    agent_dtype = np.dtype([("unused", np.float32)])
    state_dtype = np.dtype(np.uint8)
    n_cells = 1
    n_features = 1
    action_space = gymnasium.spaces.Discrete(2)
    start = staticmethod(start_at_zero)
    cell = staticmethod(in_one_cell)
    step = staticmethod(idle_step)
    observe = staticmethod(see_nothing)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        *((Idle, name) for name in ("agent_dtype", "n_states", "n_actions")),
        *((Plain, name) for name in ("agent_dtype", "state_dtype", "n_cells", "action_space")),
    ],
)
def test_what_is_not_declared_is_named(base, name):
    kind = FiniteGame if base is Idle else Game
    declared = {key: value for key, value in vars(base).items() if key not in ("__dict__", "__weakref__", name)}
    made = dataclasses.dataclass(kw_only=True)(type("Bare", (kind,), declared))
    with pytest.raises(TypeError, match=f"Bare must declare {name}"):
        Engine(made())


def test_features_are_declared_before_they_are_observed():
    made = type("Bare", (Plain,), {"n_features": Game.n_features})()
    with pytest.raises(TypeError, match="Bare must declare n_features"):
        parallel_env(made)


def test_what_is_seen_of_a_game_of_any_kind():
    game = Plain()
    assert (game.n_places, game.regions, game.rules.place) == (0, {}, None)
    assert game.observation_space == gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    assert Idle().n_places == 3
    assert Idle().place_name(1) == "1"
    assert Epidemic().place_name(1) == "healthy"
    with pytest.raises(TypeError, match="rendering needs a game with a rule place, got Plain"):
        make_recorder(game)


@pytest.mark.parametrize(
    ("declared", "error", "message"),
    [
        ({"place": staticmethod(in_one_cell)}, TypeError, r"Seen.place must take place\(state\), got place\(st"),
        ({"place": staticmethod(where), "n_places": 0}, TypeError, "Seen must declare n_places, the number"),
        ({"place": lambda state: 0}, TypeError, "Seen.place must be compiled: put @rule on it"),
        (
            {"place": staticmethod(where), "n_places": 2, "regions": {"east": (0, 2)}},
            ValueError,
            r"a place of region 'east' must be an integer in \[0, 1\], got 2",
        ),
        ({"regions": {"east": (0,)}}, TypeError, "Seen has regions and must declare the rule place"),
    ],
)
def test_places_and_regions_that_are_not_allowed(declared, error, message):
    made = dataclasses.dataclass(kw_only=True)(type("Seen", (Plain,), declared))
    with pytest.raises(error, match=message):
        made()
