"""OpenSpiel's algorithms on OpenSpiel's own mean-field games.

Some of these do not name the last action in their nodes though it is paid there, so that OpenSpiel's solvers
mistake different nodes for the same and do not find equilibria. Those games are handed over by ``mfenvs.peers`` as
well, in nodes with full names, and the better result counts.
"""

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.runs import Contest, Recorder
from mfenvs import FiniteGame, make
from mfenvs.games.classic.garnet import GarnetTables
from mfenvs.meanfield.induced import InducedGame
from mfenvs.peers import to_open_spiel

PACKAGE = "pyspiel"
Locate = Callable[[Any], tuple[int, int, dict[int, int]] | None]
"""Function of a decision node: its time, our number of its state, and our number of each legal action; None for a
node without a choice."""


@dataclasses.dataclass(frozen=True)
class Theirs:
    """How a game is made there, and here."""

    name: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Parameters in OpenSpiel, besides those of a preset."""
    preset: tuple[str, str] | None = None
    """Module and name of a dictionary of parameters."""
    ours: str | None = None
    """Our registered name, where it is not the key."""
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Constants of our game."""


_MAPS = "crowd_modelling_2d"
GAMES = {
    "CrowdModelling-v0": Theirs("mfg_crowd_modelling"),
    "CrowdModelling2D-v0": Theirs("mfg_crowd_modelling_2d", {"horizon": 10}),
    "FourRoomsExploration-v0": Theirs(
        "mfg_crowd_modelling_2d", {"only_distribution_reward": True, "horizon": 40}, (_MAPS, "FOUR_ROOMS")
    ),
    "MazeExploration-v0": Theirs(
        "mfg_crowd_modelling_2d", {"only_distribution_reward": True, "horizon": 100}, (_MAPS, "MAZE")
    ),
    "Garnet-v0": Theirs("mfg_garnet"),
    "LinearQuadraticRing-v0": Theirs("mean_field_lin_quad"),
    "NormalForm-v0": Theirs("mean_field_nfg", {"reward_function": "coop"}),
    "NormalForm-v0, dominated": Theirs(
        "mean_field_nfg", {"reward_function": "dom"}, None, "NormalForm-v0", {"payoffs": "dominated"}
    ),
    "NormalForm-v0, biased rock-paper-scissors": Theirs(
        "mean_field_nfg",
        {"reward_function": "biased_indirect_rps"},
        None,
        "NormalForm-v0",
        {"payoffs": "biased rock-paper-scissors"},
    ),
    "PeriodicAversion-v0": Theirs("python_mfg_periodic_aversion", {"horizon": 20}),
    "PredatorPrey-v0": Theirs("python_mfg_predator_prey", {"horizon": 10}, ("predator_prey", "THREE_POPULATIONS")),
    "FourPopulationPredatorPrey-v0": Theirs(
        "python_mfg_predator_prey", {"horizon": 20}, ("predator_prey", "FOUR_POPULATIONS")
    ),
    "CrowdAvoidance-v0": Theirs("python_mfg_crowd_avoidance", {"coef_congestion": 1.0, "horizon": 10}),
    "DynamicRouting-v0": Theirs("python_mfg_dynamic_routing", preset=("factory", "braess")),
    "SiouxFallsRouting-v0": Theirs("python_mfg_dynamic_routing", preset=("factory", "sioux_falls_dummy_demand")),
}
"""OpenSpiel's games by our names. Where there are several of a name the constants follow it."""
WITHOUT_LAST_ACTION = {
    "CrowdModelling-v0",
    "CrowdModelling2D-v0",
    "Garnet-v0",
    "LinearQuadraticRing-v0",
    "PeriodicAversion-v0",
}
"""Games whose nodes lack the last action: OpenSpiel's exploitability of a policy is not the game's there."""


def contest(name: str) -> Contest:
    """OpenSpiel's game of one of our names, with its algorithms at their defaults and at other rates."""
    folder = "open_spiel.python.mfg.algorithms"
    descent, play, fixed, boltzmann, munchausen = (
        importlib.import_module(f"{folder}.{module}")
        for module in (
            "mirror_descent",
            "fictitious_play",
            "fixed_point",
            "boltzmann_policy_iteration",
            "munchausen_mirror_descent",
        )
    )
    spiel_game, game = both(name)
    induced = InducedGame(game)

    def on(its: Any, locate: Locate, suffix: str) -> dict[str, Callable[[Recorder], None]]:
        reader = PolicyReader(its, induced, locate)

        def start(make_algorithm: Callable[[Any], Any]) -> Callable[[Recorder], None]:
            def run(record: Recorder) -> None:
                algorithm = make_algorithm(its)
                while True:
                    algorithm.iteration()
                    record(lambda: reader.read(algorithm.get_policy()))

            return run

        by_name = {
            "mirror descent, rate 0.01 (default)": descent.MirrorDescent,
            "mirror descent, rate 1": lambda its: descent.MirrorDescent(its, lr=1.0),
            "fictitious play (default)": play.FictitiousPlay,
            "fixed point (default)": fixed.FixedPoint,
            "Boltzmann policy iteration, rate 1": lambda its: boltzmann.BoltzmannPolicyIteration(its, lr=1.0),
            "Munchausen mirror descent, rate 1": lambda its: munchausen.MunchausenMirrorDescent(its, lr=1.0),
        }
        return {label + suffix: start(make_algorithm) for label, make_algorithm in by_name.items()}

    algorithms = on(spiel_game, locator(name, spiel_game, game), "")
    if name in WITHOUT_LAST_ACTION:
        algorithms |= on(to_open_spiel(game), locate_handed_over, "; game handed over")
    return Contest(game, algorithms)


def both(name: str) -> tuple[Any, FiniteGame]:
    """A game of OpenSpiel, and ours."""
    import pyspiel

    theirs, folder = GAMES[name], "open_spiel.python.mfg.games"
    # Importing a module registers its game.
    for module in ("crowd_avoidance", "dynamic_routing", "linear_quadratic", "normal_form_game", _MAPS):
        importlib.import_module(f"{folder}.{module}")
    for module in ("periodic_aversion", "predator_prey", "factory"):
        importlib.import_module(f"{folder}.{module}")
    game = make(theirs.ours or name, **theirs.constants)
    assert isinstance(game, FiniteGame)
    if theirs.preset is not None and theirs.preset[0] == "factory":
        factory = importlib.import_module(f"{folder}.factory")
        routing = importlib.import_module(f"{folder}.dynamic_routing")
        network, demand = factory.DYNAMIC_ROUTING_NETWORK[theirs.preset[1]]
        length = getattr(game, "step_length")  # noqa: B009  # of games of roads only
        parameters = {"max_num_time_step": game.horizon, "time_step_length": length}
        return routing.MeanFieldRoutingGame(parameters, network=network, od_demand=demand), game
    preset = {}
    if theirs.preset is not None:
        preset = getattr(importlib.import_module(f"{folder}.{theirs.preset[0]}"), theirs.preset[1])
    spiel_game = pyspiel.load_game(theirs.name, {**preset, **theirs.parameters})
    if name == "Garnet-v0":
        tables = garnet_tables(spiel_game, *game.policy_shape[1:])
        game = make("Garnet-v0", tables=tables)
        assert isinstance(game, FiniteGame)
    return spiel_game, game


def numbers(state: Any) -> list[int]:
    """The integers in a state's name."""
    return [int(word) for word in re.findall(r"\d+", str(state))]


def garnet_tables(spiel_game: Any, n_states: int, n_actions: int) -> GarnetTables:
    """The constants that OpenSpiel drew for a garnet, read from its states."""
    shape = n_states, n_actions
    successors, probabilities, rewards = np.zeros((*shape, 3)), np.zeros((*shape, 3)), np.zeros(shape)
    for state, action in np.ndindex(shape):
        start = spiel_game.new_initial_state()
        start.apply_action(state)
        drawn = start.child(action)
        for k, (outcome, probability) in enumerate(drawn.chance_outcomes()):
            after = drawn.child(outcome)
            successors[state, action, k], probabilities[state, action, k] = numbers(after)[0], probability
            after.update_distribution([1 / n_states] * n_states)
            rewards[int(successors[state, action, k]), action] = after.rewards()[0] - np.log(n_states)
    return GarnetTables(successors=successors, probabilities=probabilities, rewards=rewards)


def locator(name: str, spiel_game: Any, game: FiniteGame) -> Locate:
    """The function that finds OpenSpiel's decision nodes among our states."""
    if name.startswith("NormalForm"):
        return lambda state: (0, 0, same(state))
    if name.endswith("Routing-v0"):
        return routing_locator(spiel_game, game)
    if game.n_populations > 1:
        return population_locator(game)
    if hasattr(game, "layout"):
        places = places_of(game.layout)

        def on_a_map(state: Any) -> tuple[int, int, dict[int, int]]:
            x, y, time = numbers(state)[:3]
            return time, places[x, y], same(state)

        return on_a_map

    def on_a_ring(state: Any) -> tuple[int, int, dict[int, int]]:
        place, time = numbers(state)[:2]
        return time, place, same(state)

    return on_a_ring


def same(state: Any) -> dict[int, int]:
    """Legal actions, which have the same numbers in our game."""
    return {action: action for action in state.legal_actions()}


def places_of(layout: Any) -> dict[tuple[int, int], int]:
    """Numbers of the cells (x, y) of a map that are no walls."""
    cells = [(x, y) for y, row in enumerate(layout) for x, cell in enumerate(row) if cell != "#"]
    return {cell: number for number, cell in enumerate(cells)}


def population_locator(game: FiniteGame) -> Locate:
    """For games of several populations on a map, whose states are numbered one population after the other."""
    side = round((game.n_states / game.n_populations) ** 0.5)
    places = places_of(getattr(game, "layout", [" " * side] * side))

    def locate(state: Any) -> tuple[int, int, dict[int, int]]:
        return state.t, state.population * len(places) + places[tuple(state.pos)], same(state)

    return locate


def routing_locator(spiel_game: Any, game: Any) -> Locate:
    """For roads: a vehicle at the end of a link chooses the next one."""
    number = {game.state_name(state): state for state in range(game.n_states)}
    ahead: dict[str, list[str]] = {}
    for begin, end, *_ in game.links:
        ahead.setdefault(begin, []).append(end)
    action_of = spiel_game.network.get_action_id_from_movement

    def locate(state: Any) -> tuple[int, int, dict[int, int]] | None:
        if state.legal_actions() == [0]:
            return None
        begin, end = state._vehicle_location.split("->")
        goal = state._vehicle_destination.split("->")[1]
        place = number[f"{begin} -> {end}, 0 steps to stay, to {goal}"]
        return state.current_time_step, place, {action_of(end, to): k for k, to in enumerate(ahead[end])}

    return locate


def locate_handed_over(state: Any) -> tuple[int, int, dict[int, int]] | None:
    """For games that :func:`mfenvs.peers.to_open_spiel` handed over: nodes of payment leave no choice."""
    return (state.time, state.place, same(state)) if state.node == "act" else None


class PolicyReader:
    """Reads policies of OpenSpiel as arrays of ours, at the decision nodes that can be reached.

    Which these are depends on the population on roads only, where they are looked for again for each policy.
    """

    def __init__(self, spiel_game: Any, induced: InducedGame, locate: Locate) -> None:
        self.spiel_game, self.induced, self.locate = spiel_game, induced, locate
        self.is_routing = hasattr(spiel_game, "network")
        self.nodes = [] if self.is_routing else list(self._decision_nodes(None))

    def read(self, policy: Any) -> NDArray[np.float64]:
        """A policy (T, S, A); uniform where it is not defined."""
        law = self.induced.uniform_policy()
        for state in self._decision_nodes(policy) if self.is_routing else self.nodes:
            found = self.locate(state)
            if found is None:
                continue
            time, place, ours = found
            law[time, place] = 0.0
            for action, probability in policy.action_probabilities(state).items():
                if action in ours:
                    law[time, place, ours[action]] = probability
        return law

    def _decision_nodes(self, policy: Any) -> Iterator[Any]:
        """The nodes at which the player acts, in the policy's population, or in the uniform one."""
        layer = {str(root): (root, 1.0) for root in self.spiel_game.new_initial_states()}
        while layer:
            ahead: dict[str, tuple[Any, float]] = {}
            law = {name: mass for name, (_, mass) in layer.items()}
            for state, mass in layer.values():
                for after, share in self._successors(state, law, policy):
                    name = str(after)
                    known = ahead.get(name, (after, 0.0))
                    ahead[name] = known[0], known[1] + mass * share
            for state, _ in layer.values():
                if state.current_player() >= 0:
                    yield state
            layer = ahead

    @staticmethod
    def _successors(state: Any, law: dict[str, float], policy: Any) -> Iterator[tuple[Any, float]]:
        import pyspiel

        if state.is_terminal():
            return
        if state.current_player() == pyspiel.PlayerId.MEAN_FIELD:
            support = state.distribution_support()
            after = state.clone()
            after.update_distribution(
                [1.0 / len(support) if policy is None else law.get(name, 0.0) for name in support]
            )
            yield after, 1.0
        elif state.is_chance_node():
            for outcome, probability in state.chance_outcomes():
                yield state.child(outcome), probability
        else:
            shares = {} if policy is None else policy.action_probabilities(state)
            for action in state.legal_actions():
                yield state.child(action), shares.get(action, 0.0)
