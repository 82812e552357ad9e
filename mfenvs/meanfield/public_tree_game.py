"""A finite game with common noise as a game without: its states are pairs of a public history and a local state.

In node n, with the law mu_n of the population given the history, an agent in the state s moves by

    P((n', s') | (n, s), a) = q(n' | n) P(s' | s, a, mu_n),

where q is the probability of the next public state. The mass of node n is its probability, and mu_n the law within
it. What agents do changes nothing in the nodes, so that a best response of this game is the best adapted one.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import int64
from numpy.typing import NDArray

from mfenvs.engine.counting import no_aggregate
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.public_tree import NO_NODE, PublicTree
from mfenvs.rules import Public, World, rule

Rule = Callable[..., Any]


class TreeConstants(NamedTuple):
    """What the rules of the game on the tree read as ``world.constants``."""

    game: Any
    """The constants of the game with common noise."""
    states: Any
    """:attr:`PublicTree.states`."""
    probability: Any
    children: Any
    chances: Any


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Sizes of the blocks that belong to a node."""

    n_states: int
    """Local states S."""
    n_actions: int
    n_cells: int
    n_signals: int
    n_branches: int
    """Branches of a local state and an action; S for a game that declares ``transition``."""

    @property
    def n_public(self) -> int:
        """Entries of a node's part of the signal: the counts given the history, and the game's own signal."""
        return self.n_cells + self.n_signals


@dataclasses.dataclass(kw_only=True)
class PublicTreeGame(FiniteGame):
    """The game on the tree of public histories that a game with a public chain induces.

    The state is ``node * S + s``. Nodes that do not exist hold no mass, pay nothing and are never left.
    """

    n_agents: int = dataclasses.field(init=False)
    """Number of agents, that of the game."""
    horizon: int = dataclasses.field(init=False)
    """Number of steps H, that of the game."""
    agents_seed: int = dataclasses.field(init=False, default=0)
    """Random seed of the agents' parameters, that of the game."""
    discount: float = dataclasses.field(init=False, default=1.0)
    """1: a game with a public chain ends."""
    game: FiniteGame
    """The game with a public chain."""
    tree: PublicTree
    """The tree, or sampled paths."""

    family: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in ("n_agents", "horizon", "agents_seed"):
            setattr(self, name, getattr(self.game, name))
        super().__post_init__()

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """The parameters of the game's agents."""
        return self.game.agents.view(np.ndarray)

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """That of the game."""
        return self.game.agent_dtype

    @property
    def n_states(self) -> int:
        """W S: pairs of a node and a local state."""
        return self.tree.width * self.game.n_states

    @property
    def n_actions(self) -> int:
        """|A|, that of the game."""
        return self.game.n_actions

    @property
    def n_branches(self) -> int:
        """Pairs of a child of a node and a branch of the game."""
        return int(self.tree.children.shape[2]) * self._blocks.n_branches

    @property
    def n_cells(self) -> int:
        """The cells of the game in each node."""
        return self.tree.width * self.game.n_cells

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """The counts and the signal of the game in each node."""
        return self.tree.width * self._blocks.n_public

    @functools.cached_property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The law of the first node and the first local state, which are independent."""
        return np.outer(self.tree.probability[0], self.game.initial_distribution).ravel()

    @property
    def initial(self) -> NDArray[np.float32]:
        """Refused: agents who are simulated must all be in one node."""
        raise TypeError(
            f"a {type(self).__name__} is for the mean-field side: simulate its attribute game, whose agents all"
            " see one public state"
        )

    @functools.cached_property
    def constants(self) -> TreeConstants:
        """The constants of the game, and the tree."""
        tree = self.tree
        return TreeConstants(self.game.constants, tree.states, tree.probability, tree.children, tree.chances)

    @property
    def branch(self) -> Rule:  # type: ignore[override]
        """Where an agent goes, given where the public state goes."""
        game = self.game
        return branch_on_tree(game.branch or game.transition, game.branch is not None, self._blocks)

    @property
    def reward(self) -> Rule:  # type: ignore[override]
        """The game's expected reward, with what is paid on arrival and at the end."""
        return reward_on_tree(self.game.expected_reward, self._blocks)

    @property
    def aggregate(self) -> Rule:  # type: ignore[override]
        """The counts of every node, given its history, and the game's own signal there."""
        return aggregate_on_tree(self.game.rules.aggregate or no_aggregate, self._blocks)

    @property
    def cell(self) -> Rule | None:  # type: ignore[override]
        """The cell in the block of the agent's node, if the game declares cells."""
        game = self.game
        if game.count is not None or (game.cell is None and game.weight is None):
            return None
        assert game.rules.cell is not None
        return cell_on_tree(game.rules.cell, self._blocks)

    @property
    def weight(self) -> Rule | None:  # type: ignore[override]
        """The agent's weight, if the game declares weights."""
        return self.game.weight and weight_on_tree(self.game.weight, self._blocks)

    @property
    def count(self) -> Rule | None:  # type: ignore[override]
        """The game's rule ``count`` in the block of the agent's node, if the game declares it."""
        return self.game.count and count_on_tree(self.game.count, self._blocks)

    @property
    def allowed(self) -> Rule | None:  # type: ignore[override]
        """The actions that the game allows in the public state of the node."""
        return self.game.allowed and allowed_on_tree(self.game.allowed, self._blocks)

    def with_node_masses(self, law: NDArray[np.float64], time: int) -> NDArray[np.float64]:
        """A law over states and actions, (W S, A), with the mass of each node changed to its probability.

        Rules must not be asked about other populations: the counts given a history would then be of no population.
        """
        by_node = law.reshape(self.tree.width, -1)
        wanted, masses = self.tree.probability[time], by_node.sum(axis=1)
        factors = np.divide(wanted, masses, out=np.zeros_like(masses), where=masses > 0.0)
        found: NDArray[np.float64] = (by_node * factors[:, None]).reshape(law.shape)
        return found

    @functools.cached_property
    def _blocks(self) -> Blocks:
        game = self.game
        return Blocks(
            n_states=game.n_states,
            n_actions=game.n_actions,
            n_cells=game.n_cells,
            n_signals=game.n_signals,
            n_branches=game.n_branches if game.branch is not None else game.n_states,
        )


@functools.cache
def _world_in_rule(blocks: Blocks) -> Rule:
    """Make the rule that shows the world of a node to a rule of the game."""
    n_cells, n_public = blocks.n_cells, blocks.n_public

    @rule
    def world_in(node: Any, world: Any) -> Any:
        first = node * n_public
        counts, signal = world.signal[first : first + n_cells], world.signal[first + n_cells : first + n_public]
        return World(counts, signal, world.constants.game, world.time, -1, 0.0, 1.0, 1.0)

    return world_in


@functools.cache
def branch_on_tree(move: Rule, has_branches: bool, blocks: Blocks) -> Rule:
    """Make the rule ``branch`` from the game's ``branch`` or ``transition``."""
    n_states, n_own, world_in = blocks.n_states, blocks.n_branches, _world_in_rule(blocks)

    if has_branches:

        @rule
        def branch_within(k: Any, s: Any, action: Any, agent: Any, world: Any) -> Any:
            given, probability = move(k, s, action, agent, world)
            successor = int64(given)
            exists = successor == given and successor >= 0 and successor < n_states
            return successor if exists else int64(NO_NODE), probability

    else:

        @rule
        def branch_within(k: Any, s: Any, action: Any, agent: Any, world: Any) -> Any:
            return int64(k), move(k, s, action, agent, world)

    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        node, tree, h = state // n_states, world.constants, world.time
        child = k // n_own
        chance = tree.chances[h, node, child]
        if tree.states[h, node] == NO_NODE or chance == 0.0:
            return int64(state), 1.0 if k == 0 and chance > 0.0 else 0.0
        s, own = state - node * n_states, k - child * n_own
        successor, probability = branch_within(own, s, action, agent, world_in(node, world))
        # What is no state of the game must not become one of another node.
        reached = tree.children[h, node, child] * n_states + successor if successor >= 0 else int64(NO_NODE)
        return int64(reached), chance * probability

    return branch


@functools.cache
def reward_on_tree(expected_reward: Rule, blocks: Blocks) -> Rule:
    """Make the rule ``reward`` from the game's expected reward."""
    n_states, world_in = blocks.n_states, _world_in_rule(blocks)

    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        node = state // n_states
        if world.constants.states[world.time, node] == NO_NODE:
            return 0.0
        return np.float64(expected_reward(state - node * n_states, action, agent, world_in(node, world)))

    return reward


@functools.cache
def aggregate_on_tree(aggregate: Rule, blocks: Blocks) -> Rule:
    """Make the rule that writes the counts given the history, and calls the game's ``aggregate``, in each node."""
    n_cells, n_public, world_in = blocks.n_cells, blocks.n_public, _world_in_rule(blocks)

    @rule
    def aggregate_nodes(world: Any, signal: Any) -> None:
        tree, h = world.constants, world.time
        for node in range(tree.states.shape[1]):
            if tree.states[h, node] != NO_NODE:
                first, mass = node * n_public, tree.probability[h, node]
                for c in range(n_cells):
                    signal[first + c] = world.counts[node * n_cells + c] / mass
                signal[first + n_public - 1] = tree.states[h, node]
                aggregate(world_in(node, world), signal[first + n_cells : first + n_public])

    return aggregate_nodes


@functools.cache
def cell_on_tree(cell: Rule, blocks: Blocks) -> Rule:
    """Make the rule ``cell`` from the game's."""
    n_states, n_cells = blocks.n_states, blocks.n_cells

    @rule
    def cell_of_node(state: Any, action: Any, agent: Any) -> Any:
        node = state // n_states
        return node * n_cells + cell(state - node * n_states, action, agent)

    return cell_of_node


@functools.cache
def weight_on_tree(weight: Rule, blocks: Blocks) -> Rule:
    """Make the rule ``weight`` from the game's."""
    n_states = blocks.n_states

    @rule
    def weight_of_state(state: Any, action: Any, agent: Any) -> Any:
        return weight(state % n_states, action, agent)

    return weight_of_state


@functools.cache
def count_on_tree(count: Rule, blocks: Blocks) -> Rule:
    """Make the rule ``count`` from the game's."""
    n_states, n_cells, n_public, world_in = (
        blocks.n_states,
        blocks.n_cells,
        blocks.n_public,
        _world_in_rule(blocks),
    )

    @rule
    def count_in_node(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        node, tree = state // n_states, world.constants
        public = tree.states[world.time, node]
        if public != NO_NODE:
            world.signal[node * n_public + n_public - 1] = public
            own = counts[node * n_cells : (node + 1) * n_cells]
            count(own, mass, state - node * n_states, action, agent, world_in(node, world))

    return count_in_node


@functools.cache
def allowed_on_tree(allowed: Rule, blocks: Blocks) -> Rule:
    """Make the rule ``allowed`` from the game's."""
    n_states, n_cells, n_public = blocks.n_states, blocks.n_cells, blocks.n_public

    @rule
    def allowed_in_node(action: Any, state: Any, agent: Any, public: Any) -> Any:
        node, tree = state // n_states, public.constants
        now = tree.states[public.time, node]
        if now == NO_NODE:
            return True
        signal = public.signal[node * n_public + n_cells : (node + 1) * n_public]
        signal[n_public - n_cells - 1] = now
        told = Public(signal, tree.game, public.time, public.elapsed)
        return allowed(action, state - node * n_states, agent, told)

    return allowed_in_node
