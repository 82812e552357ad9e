"""Exploitability of our games in OpenSpiel, and of OpenSpiel's games in ours."""

import re

import numpy as np
import pytest
from classic_oracles import policies

from mfenvs import InducedGame, make
from mfenvs.games.classic.garnet import GarnetTables
from mfenvs.games.classic.routing.data import SIOUX_FALLS_TRIPS
from mfenvs.peers import open_spiel_policy, to_open_spiel

pyspiel = pytest.importorskip("pyspiel")

from open_spiel.python import policy as spiel_policy  # noqa: E402
from open_spiel.python.mfg.algorithms import distribution, nash_conv, policy_value  # noqa: E402
from open_spiel.python.mfg.games import (  # noqa: E402
    crowd_avoidance,  # noqa: F401  # registers the game
    crowd_modelling_2d,
    dynamic_routing,
    factory,
    linear_quadratic,  # noqa: F401  # registers the game
    normal_form_game,  # noqa: F401  # registers the game
    periodic_aversion,  # noqa: F401  # registers the game
    predator_prey,
)

OURS = {
    "BeachBar-v0": {},
    "CrowdModelling2D-v0": {"layout": ("S  ", " # ", "   "), "horizon": 4},
    "TreasureHunting-v0": {"horizon": 3},
    "DynamicRouting-v0": {"horizon": 9, "step_length": 0.5, "rounding": "random"},
    "Epidemic-v0": {"n_agents": 20, "horizon": 5},
    "RockPaperScissors-v0": {"n_agents": 20, "horizon": 3},
}


def legal(spiel_game, policy):
    """A policy without the actions that are not legal."""
    masks = np.zeros(policy.shape)
    for time, by_state in enumerate(spiel_game.legal):
        for state, actions in enumerate(by_state):
            masks[time, state, actions] = 1
    masked = policy * masks
    return masked / masked.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", OURS)
def test_our_games_in_open_spiel(name):
    game = make(name, **OURS[name])
    induced, spiel_game = InducedGame(game), to_open_spiel(game)
    for policy in policies(game.policy_shape, 2):
        ours = legal(spiel_game, policy)
        theirs = open_spiel_policy(spiel_game, ours)
        laws = distribution.DistributionPolicy(spiel_game, theirs)
        value = policy_value.PolicyValue(spiel_game, laws, theirs)
        assert value.value(spiel_game.new_initial_state()) == pytest.approx(induced.value(ours), abs=1e-9)
        found = nash_conv.NashConv(spiel_game, theirs).nash_conv()
        assert found == pytest.approx(induced.exploitability(ours), abs=1e-9)
    uniform = spiel_policy.UniformRandomPolicy(spiel_game)
    expected = induced.exploitability(legal(spiel_game, induced.uniform_policy()))
    assert nash_conv.NashConv(spiel_game, uniform).nash_conv() == pytest.approx(expected, abs=1e-9)


def test_returns_are_sums_of_rewards():
    game = make("BeachBar-v0")
    state, total, rng = to_open_spiel(game).new_initial_state(), 0.0, np.random.default_rng(1)
    while not state.is_terminal():
        total += state.rewards()[0]
        if state.current_player() == pyspiel.PlayerId.MEAN_FIELD:
            state.update_distribution([1 / 12] * 12)
        elif state.is_chance_node():
            outcomes, chances = zip(*state.chance_outcomes(), strict=True)
            state.apply_action(int(rng.choice(outcomes, p=chances)))
        else:
            state.apply_action(int(rng.choice(state.legal_actions())))
    assert state.returns()[0] == pytest.approx(total)
    assert total != 0


def test_what_open_spiel_cannot_have_is_refused():
    with pytest.raises(ValueError, match="game must end, as OpenSpiel's games do"):
        to_open_spiel(make("ContractionGame-v0"))
    spiel_game = to_open_spiel(make("CrowdModelling2D-v0", layout=("S #", "   "), horizon=2))
    with pytest.raises(ValueError, match=r"policy\[0, 0\] must play legal actions only, which are"):
        open_spiel_policy(spiel_game, np.full((2, 5, 5), 0.2))


def walk(spiel_game, policy, place_of):
    """V of a policy and of the best response in its flow, by walking over OpenSpiel's own states.

    Nodes are told apart by their names *and* the last action, which OpenSpiel's own solvers do not do.
    """

    def key(state, last):
        return str(state), last

    first = spiel_game.new_initial_state()
    layer, layers, laws = {key(first, None): (first, None, 1.0)}, [], []
    while layer:
        layers.append(layer)
        state = next(iter(layer.values()))[0]
        if state.is_terminal():
            break
        ahead = {}
        if state.current_player() == pyspiel.PlayerId.MEAN_FIELD:
            law = {}
            for each, _, mass in layer.values():
                law[str(each)] = law.get(str(each), 0.0) + mass
            laws.append(law)
            for each, last, mass in layer.values():
                after = each.clone()
                after.update_distribution([law.get(name, 0.0) for name in each.distribution_support()])
                ahead[key(after, last)] = (after, last, mass)
        else:
            for each, last, mass in layer.values():
                for action, share in moves(each, policy, place_of):
                    after = each.child(action)
                    now = last if each.is_chance_node() else action
                    known = ahead.get(key(after, now), (after, now, 0.0))
                    ahead[key(after, now)] = (known[0], now, known[2] + mass * share)
        layer = ahead

    own, best = {}, {}
    for depth in reversed(range(len(layers))):
        for name, (state, last, _) in layers[depth].items():
            here = state.rewards()[0]
            if state.is_terminal():
                own[depth, name] = best[depth, name] = here
                continue
            if state.current_player() == pyspiel.PlayerId.MEAN_FIELD:
                after = state.clone()
                law = {}
                for each, _, mass in layers[depth].values():
                    law[str(each)] = law.get(str(each), 0.0) + mass
                after.update_distribution([law.get(each, 0.0) for each in state.distribution_support()])
                ahead = [(key(after, last), 1.0)]
            else:
                ahead = [
                    (key(state.child(action), last if state.is_chance_node() else action), share)
                    for action, share in moves(state, policy, place_of)
                ]
            kept = 0 if state.is_chance_node() else here
            own[depth, name] = kept + sum(share * own[depth + 1, each] for each, share in ahead)
            values = [best[depth + 1, each] for each, _ in ahead]
            if state.current_player() >= 0:
                best[depth, name] = kept + max(values)
            else:
                best[depth, name] = kept + sum(share * v for (_, share), v in zip(ahead, values, strict=True))
    start = 0, next(iter(layers[0]))
    return own[start], best[start]


def moves(state, policy, place_of):
    if state.is_chance_node():
        return state.chance_outcomes()
    time, place = place_of(state)
    return [(action, policy[time, place, action]) for action in state.legal_actions()]


def numbers(state):
    """The integers in a state's name."""
    return [int(word) for word in re.findall(r"\d+", str(state))]


def on_a_ring(state):
    place, time = numbers(state)[:2]
    return time, place


def tables_of(spiel_game, n, m):
    """OpenSpiel's constants of a garnet, read from its states."""
    successors, probabilities, rewards = np.zeros((n, m, 3)), np.zeros((n, m, 3)), np.zeros((n, m))
    for s, a in np.ndindex(n, m):
        start = spiel_game.new_initial_state()
        start.apply_action(s)
        drawn = start.child(a)
        for k, (outcome, probability) in enumerate(drawn.chance_outcomes()):
            after = drawn.child(outcome)
            successors[s, a, k], probabilities[s, a, k] = numbers(after)[0], probability
            after.update_distribution([1 / n] * n)
            rewards[int(successors[s, a, k]), a] = after.rewards()[0] - np.log(n)
    return GarnetTables(successors=successors, probabilities=probabilities, rewards=rewards)


RINGS = {
    "CrowdModelling-v0": "mfg_crowd_modelling",
    "LinearQuadraticRing-v0": "mean_field_lin_quad",
    "PeriodicAversion-v0": "python_mfg_periodic_aversion",
    "Garnet-v0": "mfg_garnet",
}
SMALLER = {"PeriodicAversion-v0": ({"horizon": 2}, {"horizon": 2})}


@pytest.mark.parametrize("name", RINGS)
def test_their_games_are_ours(name):
    ours, theirs = SMALLER.get(name, ({}, {}))
    spiel_game = pyspiel.load_game(RINGS[name], theirs)
    if name == "Garnet-v0":
        ours = {"tables": tables_of(spiel_game, 10, 3)}
    game = make(name, **ours)
    induced = InducedGame(game)
    for policy in policies(game.policy_shape, 1):
        own, best = walk(spiel_game, policy, on_a_ring)
        assert induced.value(policy) == pytest.approx(own, abs=1e-6)
        assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-6)


MAPS = {
    "CrowdModelling2D-v0": ({"horizon": 4}, {"horizon": 4}),
    "FourRoomsExploration-v0": (
        {"horizon": 12},
        {**crowd_modelling_2d.FOUR_ROOMS, "only_distribution_reward": True, "horizon": 12},
    ),
    "MazeExploration-v0": (
        {"horizon": 12},
        {**crowd_modelling_2d.MAZE, "only_distribution_reward": True, "horizon": 12},
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_their_maps_are_ours(name):
    ours, theirs = MAPS[name]
    game, spiel_game = make(name, **ours), pyspiel.load_game("mfg_crowd_modelling_2d", theirs)
    cells = [(x, y) for y, row in enumerate(game.layout) for x, cell in enumerate(row) if cell != "#"]
    number = {cell: k for k, cell in enumerate(cells)}

    def place_of(state):
        x, y, time = numbers(state)[:3]
        return time, number[x, y]

    induced, is_open = InducedGame(game), game.constants.is_open
    for policy in policies(game.policy_shape, 1):
        policy = policy * is_open
        policy /= policy.sum(-1, keepdims=True)
        own, best = walk(spiel_game, policy, place_of)
        # OpenSpiel's first reward is that of a uniform population, wherever agents start.
        first = 0 if name == "CrowdModelling2D-v0" else 2 * np.log(len(game.layout))
        assert induced.value(policy) == pytest.approx(own - first, abs=1e-6)
        assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("cooperation", "coop"), ("dominated", "dom"), ("biased rock-paper-scissors", "biased_indirect_rps")],
)
def test_their_normal_forms_are_ours(ours, theirs):
    induced = InducedGame(make("NormalForm-v0", payoffs=ours))
    spiel_game = pyspiel.load_game("mean_field_nfg", {"reward_function": theirs})
    for policy in policies((1, 1, 3)):
        own, best = walk(spiel_game, policy, lambda state: (0, 0))
        assert induced.value(policy) == pytest.approx(own, abs=1e-9)
        assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-9)


POPULATIONS = {
    "PredatorPrey-v0": ("python_mfg_predator_prey", {**predator_prey.THREE_POPULATIONS}),
    "FourPopulationPredatorPrey-v0": ("python_mfg_predator_prey", {**predator_prey.FOUR_POPULATIONS}),
    "CrowdAvoidance-v0": ("python_mfg_crowd_avoidance", {"coef_congestion": 1.0}),
}


class PolicyOfPopulations(spiel_policy.Policy):
    """Policies (T, S, A) of populations on a map; ``number`` gives the state of a place (x, y)."""

    def __init__(self, spiel_game, laws, number):
        super().__init__(spiel_game, list(range(len(laws))))
        self.laws, self.number = laws, number

    def action_probabilities(self, state, player_id=None):
        law = self.laws[state.population][state.t, self.number[tuple(state.pos)]]
        return dict(enumerate(law))


@pytest.mark.parametrize("name", POPULATIONS)
def test_their_games_with_populations_are_ours(name):
    theirs, parameters = POPULATIONS[name]
    game, spiel_game = make(name, horizon=4), pyspiel.load_game(theirs, {**parameters, "horizon": 4})
    if name == "CrowdAvoidance-v0":
        cells = [(x, y) for y, row in enumerate(game.layout) for x, cell in enumerate(row) if cell != "#"]
    else:
        cells = [(x, y) for y in range(5) for x in range(5)]
    number = {cell: k for k, cell in enumerate(cells)}
    rng = np.random.default_rng(3)
    laws = [rng.dirichlet(np.ones(5), (4, len(cells))) for _ in range(game.n_populations)]
    found = nash_conv.NashConv(spiel_game, PolicyOfPopulations(spiel_game, laws, number))
    gains = [
        found._br_value.eval_state(root) - found._pi_value.eval_state(root)
        for root in spiel_game.new_initial_states()
    ]
    induced = InducedGame(game)
    assert induced.exploitabilities(game.union_policy(laws)) == pytest.approx(gains, abs=1e-9)


def test_a_union_of_populations_in_open_spiel():
    """OpenSpiel sees one population, so that its exploitability is the mean over all agents."""
    game = make("CrowdAvoidance-v0", n_agents=10, horizon=3)
    induced, spiel_game = InducedGame(game), to_open_spiel(game)
    policy = induced.uniform_policy()
    found = nash_conv.NashConv(spiel_game, open_spiel_policy(spiel_game, policy)).nash_conv()
    assert found == pytest.approx(game.tables.shares @ induced.exploitabilities(policy), abs=1e-9)


NETWORKS = {
    "line": ("DynamicRouting-v0", {"horizon": 5, "step_length": 1.0}),
    "braess": ("DynamicRouting-v0", {"horizon": 25, "step_length": 0.2}),
    "braess, finer": ("DynamicRouting-v0", {"horizon": 60, "step_length": 0.073}),
    "sioux_falls_dummy_demand": ("SiouxFallsRouting-v0", {"horizon": 12, "step_length": 2.0}),
    "sioux_falls": ("SiouxFallsRouting-v0", {"horizon": 5, "step_length": 4.0}),
}
"""Networks of OpenSpiel, and our game on each, at other lengths and numbers of steps than the presets."""


class RoutingPolicy(spiel_policy.Policy):
    """A policy (T, S, A) of ours in OpenSpiel's routing game."""

    def __init__(self, spiel_game, game, policy):
        super().__init__(spiel_game, [0])
        self.policy, self.network = policy, spiel_game.network
        self.number = {game.state_name(state): state for state in range(game.n_states)}
        self.ahead = {}
        for start, end, *_ in game.links:
            self.ahead.setdefault(start, []).append(end)

    def action_probabilities(self, state, player_id=None):
        legal = state.legal_actions()
        if legal == [0]:
            return {0: 1.0}
        start, end = state._vehicle_location.split("->")
        goal = state._vehicle_destination.split("->")[1]
        row = self.policy[state.current_time_step, self.number[f"{start} -> {end}, 0 steps to stay, to {goal}"]]
        number = self.network.get_action_id_from_movement
        return {number(end, to): float(p) for to, p in zip(self.ahead[end], row, strict=False)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "sioux_falls" else name for name in NETWORKS]
)
def test_their_roads_are_ours(name):
    ours, constants = NETWORKS[name]
    network, demand = factory.DYNAMIC_ROUTING_NETWORK[name.split(",")[0]]
    if name == "sioux_falls":
        # OpenSpiel does not count vehicles that must wait for as many steps as the game has, or more: let none.
        demand = [type(d)(d.origin, d.destination, 0.0, d.counts / 10) for d in demand]
    params = {"max_num_time_step": constants["horizon"], "time_step_length": constants["step_length"]}
    spiel_game = dynamic_routing.MeanFieldRoutingGame(params, network=network, od_demand=demand)
    if name == "line":
        links = [("bef_O", "O"), ("O", "A"), ("A", "D"), ("D", "aft_D")]
        constants = constants | {"links": [(*nodes, 1.0, 1.0, 0.0) for nodes in links]}
        constants["trips"] = [("bef_O", "aft_D", 100.0)]
    elif name == "sioux_falls":
        constants = constants | {"trips": [(start, end, n / 10) for start, end, n, _ in SIOUX_FALLS_TRIPS]}
    game = make(ours, **constants)
    induced = InducedGame(game)
    uniform = induced.uniform_policy()
    rng = np.random.default_rng(3)
    random = rng.exponential(size=uniform.shape) * (uniform > 0)
    for policy in (uniform, random / random.sum(-1, keepdims=True)):
        theirs = RoutingPolicy(spiel_game, game, policy)
        laws = distribution.DistributionPolicy(spiel_game, theirs)
        value = policy_value.PolicyValue(spiel_game, laws, theirs).value(spiel_game.new_initial_state())
        assert value == pytest.approx(induced.value(policy), abs=1e-6)
        found = nash_conv.NashConv(spiel_game, theirs).nash_conv()
        assert found == pytest.approx(induced.exploitability(policy), abs=1e-6)
        assert found > 0.01 or name == "line"
