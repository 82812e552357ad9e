"""Dynamic routing: flows against a simulation by names, Braess's paradox, hand-worked steps, wrong networks."""

import math
from collections import defaultdict

import numpy as np
import pytest

from mfenvs import Engine, InducedGame, make
from mfenvs.files import FileError
from mfenvs.games.classic.routing.data import (
    BRAESS_LINKS,
    SIOUX_FALLS_LINKS,
    SIOUX_FALLS_TRIPS,
    SIOUX_FALLS_TWO_TRIPS,
)
from mfenvs.games.classic.routing.network import with_connectors
from mfenvs.games.classic.routing.tntp import read_tntp

TOWN = {
    "links": [
        ("O", "A", 0.0, 1.0, 0.0, 1.0),
        ("P", "B", 0.5, 1.0, 0.0, 1.0),
        ("A", "B", 1.0, 10.0, 2.0, 2.0),
        ("B", "A", 1.5, 8.0, 0.5, 1.0),
        ("A", "C", 3.0, 20.0, 1.0, 1.0),
        ("B", "C", 1.2, 6.0, 1.0, 4.0),
        ("C", "X", 0.0, 1.0, 0.0, 1.0),
        ("A", "Y", 0.0, 1.0, 0.0, 1.0),
        ("C", "Z", 0.0, 1.0, 0.0, 1.0),
        ("C", "P", 0.5, 0.5, 4.0, 1.0),
    ],
    "trips": [
        ("O", "X", 9.0, 0.0),
        ("P", "Y", 4.0, 1.1),
        ("O", "X", 3.0, 2.0),
        ("P", "X", 2.0, 0.0),
        ("O", "P", 9.0, 0.0),
    ],
    "step_length": 0.47,
    "horizon": 14,
}
"""A town with three destinations, a dead end (Z), ways in circles and three times of departure.

One destination, P, is on the way of other vehicles: those who arrive there do not slow these down.
"""


def vehicles_by_name(links, trips, step_length, horizon, policy, rounds_down=True):
    """The value of a policy and of the best response to it, by names of nodes.

    ``policy(t, start, end, goal)`` are the probabilities of the links that begin at ``end``, by their ends.
    """
    roads = {(start, end): numbers for start, end, *numbers in links}
    ahead, behind = defaultdict(list), defaultdict(list)
    for start, end in roads:
        ahead[start].append(end)
        behind[end].append(start)
    total = sum(vehicles for _, _, vehicles, _ in trips)
    mass, starts = defaultdict(float), defaultdict(float)
    for origin, goal, vehicles, departure in trips:
        place = (origin, ahead[origin][0]), int(departure / step_length), goal
        mass[place] += vehicles / total
        starts[place] += vehicles / total
    lengths = []
    arrived = late = 0.0
    for t in range(horizon):
        after, entering = defaultdict(float), defaultdict(float)
        for (link, left, goal), m in mass.items():
            if left > 0:
                after[link, left - 1, goal] += m
                continue
            for to, p in policy(t, *link, goal).items():
                if to == goal:
                    arrived += m * p
                    late += m * p * t
                elif ahead[to]:
                    entering[(link[1], to), goal] += m * p
        on_link = defaultdict(float)
        for (link, _, _), m in after.items():
            on_link[link] += m
        for (link, _), m in entering.items():
            on_link[link] += m
        length = {}
        for link, (free, capacity, a, b) in roads.items():
            steps = max(1.0, free * (1 + a * (total * on_link[link] / capacity) ** b) / step_length)
            whole = math.floor(steps)
            length[link] = [(whole, 1.0)]
            if not rounds_down:
                length[link] = [(whole, whole + 1 - steps), (whole + 1, steps - whole)]
        lengths.append(length)
        for (link, goal), m in entering.items():
            for steps, p in length[link]:
                after[link, steps - 1, goal] += m * p
        mass = after
    own = -step_length * (late + (1 - arrived) * (horizon + 1))

    memory = {}

    def soonest(t, link, left, goal):
        if t + left >= horizon:
            return horizon + 1
        t += left
        if (t, link, goal) not in memory:
            found = [horizon + 1]
            for to in ahead[link[1]]:
                if to == goal:
                    found.append(t)
                elif ahead[to]:
                    turn = link[1], to
                    ways = lengths[t][turn]
                    found.append(sum(p * soonest(t + 1, turn, steps - 1, goal) for steps, p in ways if p > 0))
            memory[t, link, goal] = min(found)
        return memory[t, link, goal]

    best = -step_length * sum(m * soonest(0, *place) for place, m in starts.items())
    return own, best


def by_name(game, table):
    """A table (T, S, A) as a policy by names."""
    number = {game.state_name(state): state for state in range(game.n_states)}
    ahead = defaultdict(list)
    for start, end, *_ in game.links:
        ahead[start].append(end)

    def policy(t, start, end, goal):
        row = table[t, number[f"{start} -> {end}, 0 steps to stay, to {goal}"]]
        return dict(zip(ahead[end], row, strict=False))

    return policy


def random_policy(induced, seed):
    uniform = induced.uniform_policy()
    weights = np.random.default_rng(seed).exponential(size=uniform.shape) ** 2 * (uniform > 0)
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("rounding", [pytest.param("down", marks=pytest.mark.slow), "random"])
@pytest.mark.parametrize(
    "town",
    [
        pytest.param(TOWN, id="town"),
        pytest.param({"step_length": 0.131, "horizon": 37}, id="braess", marks=pytest.mark.slow),
    ],
)
def test_values_are_those_of_vehicles_followed_by_name(town, rounding):
    game = make("DynamicRouting-v0", rounding=rounding, **town)
    induced = InducedGame(game)
    network = game.links, game.trips, game.step_length, game.horizon
    for policy in (induced.uniform_policy(), random_policy(induced, 1), random_policy(induced, 2)):
        own, best = vehicles_by_name(*network, by_name(game, policy), rounding == "down")
        assert induced.value(policy) == pytest.approx(own, abs=1e-9)
        assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-9)
        assert best - own > 0.01


def table_of(game, shares):
    """The policy that takes the first turn with these probabilities at the ends of links; elsewhere uniform."""
    policy = InducedGame(game).uniform_policy()
    for state in range(game.n_states):
        link, left = game.state_name(state).split(", ")[:2] if "->" in game.state_name(state) else ("", "")
        if link in shares and left.startswith("0 "):
            policy[:, state] = shares[link], 1 - shares[link]
    return policy


@pytest.mark.slow
@pytest.mark.parametrize("step_length", [0.05, 0.25])
def test_a_link_more_makes_everybody_slower(step_length):
    """Equilibria of Braess's network in closed form: 3.75 on all ways with the link B-C, 3.5 without it.

    With shares p on A-B and r on B-C: p = 3/4 brings those over B and those over C to C-D at the same time, 2,
    where 1 + r + (1 - p) is the time; r = 1/2 makes it equal to that of B-D.
    """
    sizes = {"step_length": step_length, "horizon": round(5 / step_length)}
    game = make("DynamicRouting-v0", **sizes)
    policy, induced = table_of(game, {"O -> A": 3 / 4, "A -> B": 2 / 3}), InducedGame(game)
    assert induced.exploitability(policy) < 1e-12
    assert induced.value(policy) == pytest.approx(-3.75, abs=1e-12)
    away = table_of(game, {"O -> A": 1 / 2, "A -> B": 2 / 3})
    assert induced.exploitability(away) > 0.1

    links = [link for link in BRAESS_LINKS if link[:2] != ("B", "C")]
    game = make("DynamicRouting-v0", links=links, **sizes)
    policy, induced = table_of(game, {"O -> A": 1 / 2}), InducedGame(game)
    assert induced.exploitability(policy) < 1e-12
    assert induced.value(policy) == pytest.approx(-3.5, abs=1e-12)
    assert induced.exploitability(table_of(game, {"O -> A": 3 / 4})) == pytest.approx(0.375)


def states_of(engine):
    return [engine.game.state_name(int(state)) for state in engine.states[0]]


TWO_WAYS = {
    "links": [
        ("O", "A", 0.0, 1.0, 0.0, 1.0),
        ("A", "B", 2.0, 4.0, 1.0, 1.0),
        ("A", "C", 1.5, 4.0, 0.0, 1.0),
        ("C", "B", 1.0, 4.0, 0.0, 1.0),
        ("B", "X", 0.0, 1.0, 0.0, 1.0),
    ],
    "trips": [("O", "X", 4.0, 0.0)],
    "step_length": 1.0,
    "horizon": 6,
}


def test_four_vehicles_by_hand():
    """Three of four take A-B, which takes 2 (1 + 3/4) = 3.5, hence 3 steps; the other A-C: 1.5, hence 1."""
    engine = Engine(make("DynamicRouting-v0", n_agents=4, **TWO_WAYS), 1)
    engine.reset(seed=0)
    assert states_of(engine) == ["O -> A, 0 steps to stay, to X"] * 4
    assert engine.action_masks()[0, 0].tolist() == [True, True]
    engine.step([[0, 0, 0, 1]])
    assert states_of(engine) == ["A -> B, 2 steps to stay, to X"] * 3 + ["A -> C, 0 steps to stay, to X"]
    assert engine.action_masks()[0].tolist() == [[True, False]] * 4
    engine.step([[0, 0, 0, 1]])  # The last takes a masked action, which stays.
    assert states_of(engine)[3] == "A -> C, 0 steps to stay, to X"
    rewards = engine.step([[0, 0, 0, 0]])
    assert states_of(engine) == ["A -> B, 0 steps to stay, to X"] * 3 + ["C -> B, 0 steps to stay, to X"]
    assert rewards[0].tolist() == [-1.0] * 4
    rewards = engine.step([[0, 0, 0, 0]])
    assert states_of(engine) == ["arrived"] * 4
    assert rewards[0].tolist() == [0.0] * 4
    assert engine.step([[0, 0, 0, 0]])[0].tolist() == [0.0] * 4


def test_who_does_not_arrive_pays_once_more():
    game = make("DynamicRouting-v0", n_agents=4, **TWO_WAYS | {"horizon": 3})
    engine = Engine(game, 1)
    engine.reset(seed=0)
    totals = sum(np.asarray(engine.step([[0, 0, 0, 0]])[0]) for _ in range(3))
    assert totals.tolist() == [-4.0] * 4


def test_fractions_of_a_step_are_probabilities():
    """With all on A-B: 2 (1 + 1) = 4 steps; with a quarter: 2.5 steps, that is 2 or 3 with equal chances."""
    game = make("DynamicRouting-v0", **TWO_WAYS, rounding="random")
    induced, names = InducedGame(game), [game.state_name(s) for s in range(game.n_states)]
    start = names.index("O -> A, 0 steps to stay, to X")
    for share, expected in ((1.0, {3: 1.0}), (0.25, {1: 0.5, 2: 0.5}), (0.8, {2: 0.4, 3: 0.6})):
        law = np.zeros((game.n_states, 2))
        law[start] = share, 1 - share
        row = induced.arrays(law)[0][start, 0]
        found = {int(names[s].split()[3]): row[s] for s in np.flatnonzero(row > 1e-12)}
        assert {names[s].split(",")[0] for s in np.flatnonzero(row)} == {"A -> B"}
        assert found == pytest.approx(expected)


def test_what_agents_see():
    game = make("DynamicRouting-v0", n_agents=4, **TWO_WAYS)
    engine = Engine(game, 1)
    engine.reset(seed=0)
    engine.step([[0, 0, 0, 1]])
    seen = engine.observe()[0]
    # Five links, one destination, arrived, steps to stay, time.
    np.testing.assert_allclose(seen[0], [0, 1, 0, 0, 0, 1, 0, 2 / 6, 1 / 6], rtol=1e-6)
    np.testing.assert_allclose(seen[3], [0, 0, 1, 0, 0, 1, 0, 0, 1 / 6], rtol=1e-6)
    levels = game.state_levels[engine.states[0]]
    np.testing.assert_allclose(seen[:, :-1], levels, rtol=1e-6)
    assert len(np.unique(game.state_levels, axis=0)) == game.n_states


def test_sioux_falls():
    """Sums of the tables of LeBlanc et al. as OpenSpiel has them, and single entries."""
    roads = [link for link in SIOUX_FALLS_LINKS if "_" not in link.start + link.end]
    assert len(roads) == 76
    assert len({link.start for link in roads}) == 24
    assert {(link.end, link.start, *link[2:]) for link in roads} == {tuple(link) for link in roads}
    assert sum(trip.vehicles for trip in SIOUX_FALLS_TRIPS) == 360_600
    assert len(SIOUX_FALLS_TRIPS) == 528
    numbers = {link[:2]: link for link in SIOUX_FALLS_LINKS}
    assert numbers["8", "9"] == ("8", "9", 10.0, 1.0, 2306e-18, 4.0)
    assert numbers["bef_7", "7"] == ("bef_7", "7", 0.0, 1.0, 0.0, 4.0)
    vehicles = {trip[:2]: trip.vehicles for trip in SIOUX_FALLS_TRIPS}
    assert (vehicles["bef_10", "aft_11"], vehicles["bef_11", "aft_10"]) == (3900.0, 4000.0)
    game = make("SiouxFallsRouting-v0")
    assert game.trips == SIOUX_FALLS_TWO_TRIPS
    assert sorted(game.initial_distribution[game.initial_distribution > 0]) == [0.5, 0.5]


def test_connectors():
    links, trips = with_connectors([("1", "2", 3.0, 1.0)], [("1", "2", 5.0)])
    assert [link[:2] for link in links] == [("1", "2"), ("bef_1", "1"), ("2", "aft_2")]
    assert trips == (("bef_1", "aft_2", 5.0, 0.0),)
    game = make("DynamicRouting-v0", links=links, trips=trips, step_length=1.0, horizon=6)
    induced = InducedGame(game)
    # 3 (1 + .15 5^4) is beyond the horizon: nobody arrives.
    assert induced.value(induced.uniform_policy()) == pytest.approx(-7.0)


FINE = {"links": SIOUX_FALLS_LINKS, "trips": SIOUX_FALLS_TWO_TRIPS, "horizon": 90_000, "step_length": 1e-5}
"""So many steps that there are millions of states."""
ROAD = ("A", "B", 1.0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"links": 3}, "links must hold an entry for each link, got 3"),
        ({"links": []}, "links must hold from 1 to 100000 entries, got 0"),
        ({"links": ["AB"]}, r"links\[0\] must hold start, end, free_flow_time"),
        ({"links": [("A", "B")]}, r"links\[0\] must hold start, end, free_flow_time"),
        ({"links": [(*ROAD, 1.0)]}, r"links\[0\] must hold start, end, free_flow_time"),
        ({"links": [(1, "B", 1.0, 1.0)]}, r"links\[0\].start must be a text, got 1"),
        ({"links": [("", "B", 1.0, 1.0)]}, r"links\[0\].start must be the name of a node"),
        ({"links": [("B", "B", 1.0, 1.0)]}, r"links\[0\] must lead to another node"),
        ({"links": [ROAD, ROAD]}, r"links\[1\] must not go from 'A' to 'B' as links\[0\] does"),
        ({"links": [("A", "B", -1.0, 1.0)]}, r"links\[0\].free_flow_time must be a finite number in \[0"),
        ({"links": [("A", "B", math.nan, 1.0)]}, r"links\[0\].free_flow_time must be a finite number in \[0"),
        ({"links": [("A", "B", 1.0, 0.0)]}, r"links\[0\].capacity must be a finite number in \(0"),
        ({"links": [("A", "B", 1.0, 1.0, -1.0)]}, r"links\[0\].coefficient must be a finite number in \[0"),
        (
            {"links": [("A", "B", 1.0, 1.0, 1.0, 1000.0)]},
            r"links\[0\].power must be a finite number in \[0, 100",
        ),
        (
            {"links": [("O", "E", 0.0, 1.0), ("E", "X", 1e20, 1e-20, 1.0, 100.0)], "trips": [("O", "X", 1.0)]},
            r"links\[1\] must have a travel time below 1e\+30 with all 1 vehicles",
        ),
        ({"trips": []}, "trips must hold from 1 to 100000 entries, got 0"),
        ({"trips": [("O", "E")]}, r"trips\[0\] must hold origin, destination, vehicles, departure"),
        (
            {"trips": [("A", "E", 1.0)]},
            r"trips\[0\].origin must be a node with exactly one link out of it, got",
        ),
        ({"trips": [("Q", "E", 1.0)]}, r"trips\[0\].origin must be .* got 'Q' with 0"),
        ({"trips": [("O", "D", 1.0)]}, r"trips\[0\].destination must be a node with exactly one link into it"),
        ({"trips": [("O", "E", 0.0)]}, r"trips\[0\].vehicles must be a finite number in \(0"),
        ({"trips": [("O", "E", 1.0, -1.0)]}, r"trips\[0\].departure must be a finite number in \[0"),
        ({"trips": [("O", "E", 1.0, 5.0)]}, r"trips\[0\].departure must be before the end, at 5, got 5"),
        (
            {"trips": [("O", "E", 1.0), ("O", "E", 2.0, 0.0)]},
            r"trips\[1\] must not be the same trip as trips\[0",
        ),
        ({"trips": [("C", "B", 1.0)]}, r"trips\[0\] must be possible: no way leads from 'C' to 'B'"),
        (
            {"links": [("O", "A", 1.0, 1.0), ("A", "O", 1.0, 1.0)], "trips": [("O", "A", 1.0)]},
            r"trips\[0\] must lead to another link, got 'O' to 'A'",
        ),
        (FINE, "states times that of links and destinations must be at most"),
        ({"rounding": "up"}, "rounding must be one of 'down', 'random'"),
        ({"step_length": 0.0}, "step_length must be a finite number in"),
        ({"horizon": 10**6}, "horizon must be at most 100000"),
    ],
)
def test_wrong_networks_are_named(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make("DynamicRouting-v0", **changed)


NET = """<NUMBER OF ZONES> 3
<NUMBER OF NODES> 4
<FIRST THRU NODE> 3
<NUMBER OF LINKS> 4
<END OF METADATA>

~ \tinit_node\tterm_node\tcapacity\tlength\tfree_flow_time\tb\tpower\tspeed\ttoll\tlink_type\t;
\t1\t3\t25.5\t6\t2\t0.15\t4\t0\t0\t1\t;
\t3\t2\t10\t6\t1.5\t0.3\t1\t0\t0\t1\t;

\t3\t4\t10\t6\t1\t0\t1\t0\t0\t1\t;
\t4\t2\t10\t6\t1\t0\t1\t0\t0\t1\t;
"""
DEMAND = """<NUMBER OF ZONES> 3
<TOTAL OD FLOW> 12.5
<END OF METADATA>

Origin  1
    1 :  2.0;   2 :  7.5;
    4 :  0.0;
Origin 3
    2 :  3.0;
"""


def written(folder, net=NET, demand=DEMAND):
    (folder / "net.tntp").write_text(net)
    (folder / "trips.tntp").write_text(demand)
    return folder / "net.tntp", folder / "trips.tntp"


def test_a_network_from_files(tmp_path):
    """Node 1 and 2 are not driven through; the trip from 1 to itself and the empty one are left out."""
    links, trips = read_tntp(*written(tmp_path))
    assert links == (
        ("1:out", "3", 2.0, 25.5, 0.15, 4.0),
        ("3", "2:in", 1.5, 10.0, 0.3, 1.0),
        ("3", "4", 1.0, 10.0, 0.0, 1.0),
        ("4", "2:in", 1.0, 10.0, 0.0, 1.0),
        ("bef_1:out", "1:out", 0.0, 1.0, 0.0, 4.0),
        ("bef_3", "3", 0.0, 1.0, 0.0, 4.0),
        ("2:in", "aft_2:in", 0.0, 1.0, 0.0, 4.0),
    )
    assert trips == (("bef_1:out", "aft_2:in", 7.5, 0.0), ("bef_3", "aft_2:in", 3.0, 0.0))
    game = make("DynamicRouting-v0", links=links, trips=trips, step_length=0.5, horizon=12)
    induced = InducedGame(game)
    own, best = vehicles_by_name(links, trips, 0.5, 12, by_name(game, induced.uniform_policy()))
    assert induced.value(induced.uniform_policy()) == pytest.approx(own)
    assert induced.exploitability(induced.uniform_policy()) == pytest.approx(best - own, abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"net": "no metadata"}, "net.tntp: it must have a line <END OF METADATA>"),
        ({"net": NET.replace("LINKS> 4", "LINKS> 5")}, "net.tntp: it must hold 5 links, as it says, got 4"),
        (
            {"net": NET.replace("25.5", "nan")},
            "net.tntp: an entry of line 8 must be a finite number >= 0, got 'nan'",
        ),
        ({"net": NET.replace("\t1\t3", "\tx\t3")}, "net.tntp: an entry of line 8 must be a number of a node"),
        (
            {"net": NET.replace("THRU NODE> 3", "THRU NODE> -3")},
            "net.tntp: an entry of the metadata must be a number",
        ),
        ({"net": NET + "1 2;\n"}, "net.tntp: line 13 must hold at least 7 numbers"),
        (
            {"demand": DEMAND.replace("12.5", "13")},
            "trips.tntp: its trips must add up to 13 vehicles, .* got 12.5",
        ),
        ({"demand": DEMAND.replace("Origin  1", "")}, "trips.tntp: line 6 must hold 'node : vehicles;' after an"),
        ({"demand": DEMAND.replace("2 :  3.0", "2 - 3.0")}, "trips.tntp: line 9 must hold 'node : vehicles;'"),
        ({"demand": DEMAND.replace("3.0", "-3.0")}, "trips.tntp: an entry of line 9 must be a finite number >= 0"),
    ],
)
def test_wrong_files_are_named(changed, message, tmp_path):
    with pytest.raises(FileError, match=message):
        read_tntp(*written(tmp_path, **changed))


def test_missing_files_and_other_bytes_are_named(tmp_path):
    net, trips = written(tmp_path)
    with pytest.raises(FileError, match=r"none\.tntp"):
        read_tntp(tmp_path / "none.tntp", trips)
    trips.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"trips\.tntp"):
        read_tntp(net, trips)
