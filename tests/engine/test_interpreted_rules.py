"""Wrong indices of a user's rules are errors, not other memory: rules are tried out before they run compiled."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mfenvs import (
    Engine,
    FiniteGame,
    InducedGame,
    Population,
    PopulationGame,
    crowd,
    make,
    n_player_exploitability,
    registered_games,
    rule,
    share,
    share_in,
)
from mfenvs.engine import interpreted_rules
from mfenvs.engine.interpreted_rules import MOST_CALLS, interpreted, try_out
from mfenvs.game import NO_PARAMETERS
from mfenvs.meanfield.joint_enumeration import exact_relative_exploitability
from mfenvs.rules import World


@dataclasses.dataclass(kw_only=True)
class Sound(FiniteGame):
    """Two states and two actions: four cells, as without a rule ``cell`` states and actions are counted."""

    n_agents: int = 3
    horizon: int = 4
    agent_dtype = NO_PARAMETERS
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return -share(world, 2 * state + action)


def with_rules(**declared):
    return type(
        "Wrong", (Sound,), {n: staticmethod(f) if hasattr(f, "py_func") else f for n, f in declared.items()}
    )


@rule
def far(state, action, agent, world):
    return share(world, 10**6)


@rule
def past_the_last_pair(state, action, agent, world):
    return crowd(world, 3 * state + action)


@rule
def before_the_first(state, action, agent, world):
    return share(world, state - 1)


@rule
def by_another_rule(state, action, agent, world):
    return past_the_last_pair(state, action, agent, world)


@rule
def late(state, action, agent, world):
    return share(world, world.time + 1)


@rule
def of_constants(state, action, agent, world):
    return world.constants[0][state + action]


@rule
def unlikely_successor(next_state, state, action, agent, world):
    return 0.5 + 0.0 * share(world, 2 * next_state + 2 * action * state)


@rule
def tenth_cell(state, action, agent):
    return 10 * action


@rule
def negative_cell(state, action, agent):
    return -state


@rule
def fifty_signals(world, signal):
    signal[50] = 1.0


@rule
def never_there(action, state, agent, public):
    return public.signal[3] == 0.0


@rule
def end(state, agent, world):
    return world.counts[3 + state] * 0.0


ABSENT = "asked share or crowd for a cell that is not in"
BEYOND = "uses an index that does not exist"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"reward": far},
            f"^the rule reward of Wrong {ABSENT} .* at state 0 and action 0 and time 0$",
        ),
        ({"reward": past_the_last_pair}, f"reward of Wrong {ABSENT} .* at state 1 and action 1 and time 0"),
        ({"reward": before_the_first}, f"reward of Wrong {ABSENT} .* at state 0 and action 0"),
        ({"reward": by_another_rule}, f"reward of Wrong {ABSENT} .* at state 1 and action 1"),
        ({"reward": late}, f"reward of Wrong {ABSENT} .* and time 3"),
        (
            {"reward": of_constants, "constants": (np.zeros(2),)},
            f"reward of Wrong {BEYOND} .* and action 1",
        ),
        (
            {"transition": unlikely_successor},
            f"transition of Wrong {ABSENT} .* next_state 1 and state 1",
        ),
        ({"cell": tenth_cell, "n_cells": 4}, r"cell of Wrong must return a cell in \[0, 3\], got 10 at"),
        (
            {"cell": negative_cell, "n_cells": 4},
            r"cell of Wrong must return a cell in .*, got -1 at state 1",
        ),
        ({"aggregate": fifty_signals, "n_signals": 1}, f"aggregate of Wrong {BEYOND} .* at time 0"),
        ({"allowed": never_there, "n_signals": 1}, f"allowed of Wrong {BEYOND} .* at action 0 and state 0"),
        ({"terminal": end}, f"terminal of Wrong {BEYOND} .* at state 1"),
    ],
)
@pytest.mark.parametrize("use", [InducedGame, Engine])
def test_wrong_indices_are_refused(use, declared, message) -> None:
    game = with_rules(**declared)()
    with pytest.raises(ValueError, match=message):
        use(game)


def test_joint_states_are_not_enumerated_either() -> None:
    with pytest.raises(ValueError, match=f"reward of Wrong {ABSENT}"):
        exact_relative_exploitability(with_rules(reward=far)(discount=0.9), None)


@rule
def one_ahead(world, signal):
    signal[0] = 1.0


@rule
def by_the_signal(state, action, agent, world):
    return share(world, int(world.signal[0]) - 1)


def test_rules_see_what_aggregate_writes() -> None:
    declared = {"aggregate": one_ahead, "n_signals": 1}
    try_out(with_rules(**declared, reward=by_the_signal)())
    with pytest.raises(ValueError, match=f"reward of Wrong {ABSENT}"):
        try_out(with_rules(n_signals=1, reward=by_the_signal)())


@rule
def smog(world, signal):
    signal[0] = 0.5 * signal[0] + crowd(world, 0)


@rule
def smog_of_the_world(world, signal):
    signal[1] = crowd(world, 0)
    signal[0] = 0.5 * world.signal[0] + signal[1]


@rule
def in_even_steps(world, signal):
    if world.time % 2 == 0:
        signal[1] = crowd(world, 0)


@rule
def what_it_wrote_itself(world, signal):
    signal[0] = crowd(world, 0)
    signal[1] = 2.0 * signal[0]


@rule
def one_of_two(world, signal):
    signal[1] = np.nan if world.time < 0 else crowd(world, 0)


@pytest.mark.parametrize(
    ("aggregate", "time"),
    [(smog, 0), (smog_of_the_world, 0), (in_even_steps, 1)],
    ids=["itself", "world.signal", "even steps"],
)
def test_a_population_that_remembers_is_refused(aggregate, time) -> None:
    game = with_rules(aggregate=aggregate, n_signals=2)()
    said = (
        f"the rule aggregate of Wrong must not use what it wrote in an earlier step, as it does at time {time}: .*"
        "mfenvs.Game$"
    )
    for used in (InducedGame, Engine, lambda game: Engine(game, debug=True), exact_relative_exploitability_of):
        with pytest.raises(ValueError, match=said):
            used(game)


def exact_relative_exploitability_of(game):
    return exact_relative_exploitability(dataclasses.replace(game, discount=0.9), np.full((1, 2, 2), 0.5))


@rule
def pays_the_signals(state, action, agent, world):
    return world.signal[0] + 10.0 * world.signal[1]


@pytest.mark.parametrize("aggregate", [what_it_wrote_itself, one_of_two])
def test_what_aggregate_does_not_write_is_zero(aggregate) -> None:
    """Everyone is in state 0 and takes action 0: all are in cell 0."""
    idle = np.zeros((4, 2, 2))
    idle[:, :, 0] = 1.0
    game = with_rules(
        aggregate=aggregate, n_signals=2, reward=pays_the_signals, initial_distribution=np.array([1.0, 0.0])
    )()
    earned = 21.0 if aggregate is what_it_wrote_itself else 10.0
    induced = InducedGame(game)
    assert [induced.value(idle) for _ in range(2)] == [4 * earned] * 2
    engine = Engine(game, 2)
    for seed in range(2):
        engine.reset(seed)
        for _ in range(4):
            assert (engine.step(np.zeros((2, 3), np.int32)) == earned).all()


@rule
def of_a_full_house(world, signal):
    if crowd(world, 0) > 0.9:
        signal[0] = 1.0


def test_a_memory_that_the_trial_does_not_meet_is_none() -> None:
    """All are in cell 0 in step 0 and in others later: 1 is paid once. The trial's are spread evenly."""
    policy = np.zeros((4, 2, 2))
    policy[0, :, 0] = policy[1:, :, 1] = 1.0
    game = with_rules(
        aggregate=of_a_full_house, n_signals=2, reward=pays_the_signals, initial_distribution=np.array([1.0, 0.0])
    )()
    assert InducedGame(game).value(policy) == 1.0
    run = Engine(game, 2)
    run.reset(0)
    rewards = [run.step(np.full((2, 3), action, np.int32)) for action in (0, 1, 1, 1)]
    assert_array_equal(np.array(rewards)[:, 0, 0], [1, 0, 0, 0])
    found = n_player_exploitability(game, policy, n_worlds=2)
    assert found.mean == found.max_lower_bound.value == 0.0


SIGNALLING = [
    name
    for name, kind in registered_games().items()
    if issubclass(kind, FiniteGame) and make(name).aggregate is not None
]


@pytest.mark.parametrize("name", SIGNALLING)
def test_no_game_of_the_package_remembers(name) -> None:
    game = make(name)
    rng = np.random.default_rng(0)
    counts, n_written = rng.random(game.n_cells), game.n_signals - (game.public_chain is not None)
    befores = np.array([0.0, 0.375, -3.0])
    never_written = []
    for time in sorted({0, 1, game.horizon - 1}):
        found = np.zeros((3, game.n_signals))
        found[:, :n_written] = befores[:, None]
        for signal in found:
            game.aggregate(World(counts, signal, game.constants, time, -1, 0.0, 1.0, 1.0), signal)
        never_written.append((found == befores[:, None]).all(axis=0))
        assert_array_equal(found[:, ~never_written[0]], found[:1, ~never_written[0]].repeat(3, axis=0))
    assert_array_equal(never_written, never_written[:1] * len(never_written))


@rule
def stays_nearly(next_state, state, action, agent, world):
    return 0.9 if next_state == state else 0.0


@rule
def two_halves(branch, state, action, agent, world):
    return state, 0.5 if state == 0 else 0.75


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (
            {"transition": stays_nearly},
            r"Wrong.transition must return probabilities that sum to 1 over next_state, got \[0.9, 0.0\]"
            r" for an agent with parameters \(.*\) in state 0 with action 0$",
        ),
        (
            {"branch": two_halves, "n_branches": 2, "transition": FiniteGame.transition},
            r"Wrong.branch must return probabilities .* the branches, got \[0.75, 0.75\] .* in state 1 ",
        ),
    ],
)
def test_rows_that_do_not_sum_to_one_are_not_simulated(declared, said) -> None:
    with pytest.raises(ValueError, match=said):
        Engine(with_rules(**declared)())
    with pytest.raises(ValueError, match="must return probabilities"):
        InducedGame(with_rules(**declared)())


@rule
def free(state, action, agent, world):
    return 0.0


@rule
def in_one_cell(state, action, agent):
    return 0


@rule
def by_half(state, action, agent):
    return 0.5


@rule
def twice_the_share(next_state, state, action, agent, world):
    found = 2.0 * share(world, 0)
    return found if next_state == 0 else 1.0 - found


@dataclasses.dataclass(kw_only=True)
class Unequal(PopulationGame):
    """An eighth of the agents, and the others; each meets its own kind."""

    n_agents: int = 16
    horizon: int = 2
    populations = tuple(
        Population(name=name, share=x, n_states=2, n_actions=2) for name, x in (("a", 0.125), ("b", 0.875))
    )

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        found = share_in(world, agent.population, 0)
        return found if next_state == 0 else 1.0 - found

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 0.0


@pytest.mark.parametrize(
    "game",
    [
        with_rules(cell=in_one_cell, weight=by_half, n_cells=1, transition=twice_the_share, reward=free)(),
        Unequal(),
    ],
    ids=["weights", "populations"],
)
def test_rows_are_not_asked_at_counts_of_no_population(game) -> None:
    """Half a unit is in the one cell, and never a whole one; an eighth in the first population, and not a half."""
    with pytest.raises(AssertionError):
        assert_rows_at_even_counts(game)
    Engine(game, 2).reset(0)


def assert_rows_at_even_counts(game):
    counts = np.full(game.n_cells, 1.0 / game.n_cells)
    world = World(counts, np.zeros(0), game.constants, 0, -1, 0.0, 1.0, 1.0)
    assert 0.0 <= game.transition(0, 0, 0, game.agents[0], world) <= 1.0


def test_games_of_the_package_are_tested_already(monkeypatch) -> None:
    monkeypatch.setattr(interpreted_rules, "MOST_AGENTS", None)  # A trial would fail.
    try_out(make("Epidemic-v0"))
    with pytest.raises(TypeError):
        try_out(Sound())


def test_sound_rules_are_not() -> None:
    try_out(Sound())
    InducedGame(Sound())


@rule
def of_large_states(state, action, agent, world):
    return share(world, 2 * state + action + (1 if state == 99_999 else 0))


def test_of_many_states_the_last_is_tried_and_not_all() -> None:
    calls = []
    large = with_rules(n_states=100_000)
    original = interpreted(large.reward)
    assert original(0, 1, None, world_of(4)) == -0.25
    with pytest.raises(ValueError, match=f"{ABSENT} .* at state 99999 and action 1 and time 3"):
        try_out(with_rules(n_states=100_000, reward=of_large_states)())

    @rule
    def counting(state, action, agent, world):
        calls.append(state)
        return 0.0

    try_out(with_rules(n_states=100_000, reward=counting)())
    assert MOST_CALLS // 2 < len(calls) <= MOST_CALLS


def world_of(n_cells):
    return World(np.full(n_cells, 1.0 / n_cells), np.zeros(0), (), 0, -1, 0.0, 1.0, 1.0)


def test_what_python_cannot_run_is_left_to_the_compiler() -> None:
    @rule
    def wrong_in_python_only(state, action, agent, world):
        return world.no_such_field

    try_out(with_rules(reward=wrong_in_python_only)())
