"""Figures of equilibria of classic games: where agents are, and what they do."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mfenvs import FiniteGame, InducedGame
from mfenvs.games.classic.classic_game import ClassicGame, ClassicPopulationGame
from mfenvs.games.classic.routing.game import DynamicRouting
from mfenvs.graphons import GraphonGame
from mfenvs.meanfield.equilibrium.solve import Solution
from mfenvs.meanfield.public_tree import PublicTree
from mfenvs.populations import PopulationGame

Array = NDArray[np.float64]

MOST_NAMES = 12
"""Largest number of states or actions whose names are shown along an axis."""
N_PANELS = 4
"""Number of times that are shown of a map."""
WIDE = 2.5
"""Width of a map, in units of its height, from which on panels stand below each other."""
COLOURS = "viridis"


def draw(game: FiniteGame, solution: Solution, title: str) -> Figure:
    """The figure of a game's solution."""
    if game.public_chain is not None:
        figure = _of_public_histories(game, solution)
    elif isinstance(game, GraphonGame):
        figure = _of_graphon(game, solution)
    elif isinstance(game, ClassicPopulationGame) and game.map_of_states is not None:
        laws = np.nan_to_num(game.laws_by_population(solution.flow.mu))
        names = [population.name for population in game.populations]
        figure = _of_maps(game.map_of_states, laws.sum(axis=-1), names)
    elif isinstance(game, ClassicGame) and game.map_of_states is not None:
        figure = _of_maps(game.map_of_states, solution.flow.mu.sum(axis=-1)[None], [""])
    elif game.is_infinite:
        figure = _of_stationary(game, solution)
    else:
        figure = _over_time(game, solution.flow.mu)
    figure.suptitle(title)
    return figure


def _new(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _heat(figure: Figure, axes: Axes, table: Array, names: list[str], what: str, label: str) -> None:
    """A table (rows, times) as colours over time."""
    n_rows, n_times = table.shape
    image = axes.imshow(table, aspect="auto", origin="lower", cmap=COLOURS, vmin=0.0)
    axes.set(xlabel="time h (steps)", ylabel=what)
    if n_times <= MOST_NAMES:
        axes.set_xticks(range(n_times))
    if n_rows <= MOST_NAMES:
        axes.set_yticks(range(n_rows), names)
    figure.colorbar(image, ax=axes, label=label)


def _over_time(game: FiniteGame, mu: Array) -> Figure:
    """The law of states, and of actions, over time; mu has shape (H, S, A)."""
    law = mu.sum(axis=-1)
    if isinstance(game, DynamicRouting):
        figure, ((axes,),) = _new(1, 1, 7.0, 4.0)
        _heat(figure, axes, *_on_links(game, law), "link", "share of agents")
        return figure
    figure, ((left, right),) = _new(1, 2, 10.0, 4.0)
    _heat(figure, left, law.T, _state_names(game), "state", "share of agents")
    _heat(figure, right, mu.sum(axis=1).T, _action_names(game), "action", "share of agents")
    return figure


def _on_links(game: DynamicRouting, law: Array) -> tuple[Array, list[str]]:
    """The share of the vehicles on each link over time, shape (n_links, H), and the links' names."""
    links = game.constants.link_of
    states_on = [np.flatnonzero(links == link) for link in range(links.max() + 1)]
    shares = np.stack([law[:, states].sum(axis=1) for states in states_on])
    return shares, [game.state_name(states[0]).partition(",")[0] for states in states_on]


def _of_maps(cells: NDArray[np.int64], laws: Array, names: list[str]) -> Figure:
    """Laws of populations (P, H, S) on a map at some times: a row of panels for each, or a column of wide ones."""
    n_times = laws.shape[1]
    times = np.unique(np.linspace(0, n_times - 1, N_PANELS).round().astype(int))
    height, width = cells.shape
    if width > WIDE * height:
        figure, panels = _new(
            len(times), len(laws), 9.0 * len(laws), 0.8 + (0.8 + 9.0 * height / width) * len(times)
        )
        panels = panels.T
    else:
        wide = max(2.4 * width / height, 1.6)
        figure, panels = _new(len(laws), len(times), 2.0 + wide * len(times), 0.8 + 2.4 * len(laws))
    for row, law, name in zip(panels, laws, names, strict=True):
        # At the start everybody may be in one place.
        largest = law[times[min(1, len(times) - 1) :]].max()
        for axes, time in zip(row, times, strict=True):
            shares = np.where(cells < 0, np.nan, law[time][cells])
            image = axes.imshow(shares, cmap=COLOURS, vmin=0.0, vmax=largest)
            axes.set_facecolor("lightgrey")
            axes.set_title("stationary" if n_times == 1 else f"h = {time}", fontsize="medium")
            axes.set_xlabel("column")
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_major_locator().set_params(integer=True)
        row[0].set_ylabel(f"{name}: row" if name else "row")
        label = "share of the population" if name else "share of agents"
        figure.colorbar(
            image, ax=list(row), label=label, extend="max" if law[times].max() > largest else "neither"
        )
    return figure


def _of_stationary(game: FiniteGame, solution: Solution) -> Figure:
    """The stationary law of states, and the policy in each."""
    figure, (axes,) = _new(1, 2, 10.0, 4.0)
    law, policy = solution.flow.mu[0].sum(axis=-1), solution.policy[0]
    axes[0].bar(range(game.n_states), law, color="#0b6fa4")
    axes[0].set(xlabel="state", ylabel="share of agents, stationary")
    below = np.zeros(game.n_states)
    for action, name in enumerate(_action_names(game)):
        axes[1].bar(range(game.n_states), policy[:, action], bottom=below, label=name)
        below += policy[:, action]
    axes[1].set(xlabel="state", ylabel="probability of the action")
    if game.n_actions <= MOST_NAMES:
        axes[1].legend(title="action", fontsize="small")
    for each in axes:
        if game.n_states <= MOST_NAMES:
            each.set_xticks(range(game.n_states), _state_names(game))
        else:
            each.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _of_graphon(game: GraphonGame, solution: Solution) -> Figure:
    """The mean state, and the law of actions, of each interval of positions over time."""
    figure, panels = _new(1, game.n_actions, 1.0 + 4.4 * game.n_actions, 4.0)
    laws = np.nan_to_num(game.laws_by_population(solution.flow.mu))
    names = [population.name for population in game.populations]
    mean = np.einsum("ptsa,s->pt", laws, np.arange(laws.shape[2]))
    what = f"share in state {_local_name(game, 1)}" if laws.shape[2] == 2 else "mean state"
    _heat(figure, panels[0, 0], mean, names, "interval of positions", what)
    for axes, action in zip(panels[0, 1:], range(1, game.n_actions), strict=True):
        label = f"share who take action {_action_names(game)[action]}"
        _heat(figure, axes, laws[..., action].sum(axis=2), names, "interval of positions", label)
    return figure


def _of_public_histories(game: FiniteGame, solution: Solution) -> Figure:
    """The law of states over time along two public histories: the most likely, and one that leaves it early."""
    tree = InducedGame(game).game.tree  # type: ignore[attr-defined]
    mu = solution.flow.mu.reshape(tree.horizon, tree.width, game.n_states, game.n_actions)
    figure, panels = _new(1, 2, 10.0, 4.0)
    for axes, path in zip(panels[0], _two_histories(tree), strict=True):
        law = np.stack([mu[h, node].sum(axis=-1) / tree.probability[h, node] for h, node in enumerate(path)])
        _heat(figure, axes, law.T, _state_names(game), "state", "share of agents")
        runs = [(z, len(list(run))) for z, run in itertools.groupby(tree.history(tree.horizon - 1, path[-1]))]
        axes.set_title("public state " + ", ".join(f"{z} ({n})" for z, n in runs), fontsize="medium")
    return figure


def _two_histories(tree: PublicTree) -> list[list[int]]:
    """Nodes at each time: of the most likely history, and of one that takes the least likely way at first."""
    found = []
    for leaves in (False, True):
        node = int(tree.probability[0].argmax())
        path = [node]
        for h in range(tree.horizon - 1):
            chances = tree.chances[h, node]
            possible = np.flatnonzero(chances > 0.0)
            unlikely = leaves and len(possible) > 1
            # The last one among equals, whereas the most likely is the first.
            child = possible[::-1][chances[possible[::-1]].argmin()] if unlikely else chances.argmax()
            leaves = leaves and not unlikely
            node = int(tree.children[h, node, child])
            path.append(node)
        found.append(path)
    return found


def _state_names(game: FiniteGame) -> list[str]:
    return [game.state_name(state) for state in range(game.n_states)]


def _local_name(game: PopulationGame, state: int) -> str:
    names = game.populations[0].state_names
    return names[state] if names else str(state)


def _action_names(game: FiniteGame) -> list[str]:
    return list(game.action_names) or [str(action) for action in range(game.n_actions)]
