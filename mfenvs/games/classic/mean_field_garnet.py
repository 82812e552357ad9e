"""Mean-field garnet: random transitions and rewards, both of which depend on the population."""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame
from mfenvs.games.classic.tables import Tables
from mfenvs.rules import crowd, rule

ADDITIVE, MULTIPLICATIVE = "additive", "multiplicative"
POTENTIAL, CYCLIC = "potential", "cyclic"
MOST_COUPLINGS = 2**27
"""Largest number of entries of the coupling: a gigabyte."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MeanFieldGarnetTables(Tables):
    """The random constants of a :class:`MeanFieldGarnet` of n states and m actions."""

    base_factor: float
    """c_p, in [0, 1]."""
    coupling_factor: float
    """rho_p, in [0, 1]."""
    reward_factor: float
    """c_r, in [0, 1]."""
    interaction_factor: float
    """rho_r, in [0, 1]."""
    base: NDArray[np.float64]
    """P_0(s' | s, a), shape (n, m, n), not negative."""
    coupling: NDArray[np.float64]
    """C(s, a, s', y): how the population of y changes the way from s to s', shape (n, m, n, n)."""
    rewards: NDArray[np.float64]
    """R_0(s, a), shape (n, m)."""
    interaction: NDArray[np.float64]
    """M(s, y): the reward in s for the population of y, shape (n, n)."""

    @classmethod
    def drawn(cls, n: int, m: int, b: int, kind: str, reward_scale: float, seed: int) -> "MeanFieldGarnetTables":
        """The source's draws, from the same generator in the same order."""
        rng = np.random.default_rng(seed)
        factors = [float(rng.uniform(0.0, 1.0)) for _ in range(4)]
        base = np.zeros((n, m, n))
        for state, action in np.ndindex(n, m):
            successors = rng.integers(0, n, size=(b,))
            np.add.at(base[state, action], successors, rng.dirichlet(np.ones(b)))
        # In single precision, as in the source.
        coupling = rng.normal(size=(n, m, n, n)).astype(np.float32).astype(np.float64)
        rewards = rng.normal(loc=0.0, scale=reward_scale, size=(n, m))
        interaction = rng.normal(size=(n, n))
        mirrored = interaction.T if kind == POTENTIAL else -interaction.T
        return cls(
            base_factor=factors[0],
            coupling_factor=factors[1],
            reward_factor=factors[2],
            interaction_factor=factors[3],
            base=base,
            coupling=coupling,
            rewards=rewards,
            interaction=0.5 * (interaction + mirrored),
        )


class Network(NamedTuple):
    """The constants of the mean-field garnet, as its rules read them."""

    base_factor: float
    coupling_factor: float
    reward_factor: float
    interaction_factor: float
    base: NDArray[np.float64]
    coupling: NDArray[np.float64]
    rewards: NDArray[np.float64]
    interaction: NDArray[np.float64]
    adds_moves: bool
    adds_rewards: bool


@dataclasses.dataclass(kw_only=True)
class MeanFieldGarnet(StateCountingGame):
    """Mean-field garnet: a random discounted game in which the population changes transitions and rewards.

    ``mf_garnet`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: 0 .. n_nodes - 1. Actions: 0 .. n_choices - 1. mu is the law of states, the agent itself included [R].

    * P(s' | s, a, mu) is proportional to max(0, c_p P_0(s' | s, a) + rho_p sum_y C(s, a, s', y) mu(y)), or with
      ``dynamics="multiplicative"`` to P_0(s' | s, a) max(0, c_p + rho_p sum_y C(s, a, s', y) mu(y)) [S]
    * r = c_r R_0(s, a) + rho_r sum_y M(s, y) mu(y), or with ``rewards="multiplicative"`` R_0(s, a) (c_r + rho_r
      sum_y M(s, y) mu(y)) [S]
    * the first state is uniform [S]

    P_0 gives ``n_successors`` drawn states Dirichlet probabilities; C and R_0 are normal, and so is M, made
    symmetric (``kind="potential"``) or antisymmetric (``"cyclic"``); c_p, rho_p, c_r and rho_r are uniform in
    [0, 1], although the source's files give values for them, which it does not read [S]. Where the sum of a
    multiplicative row is 0, the agent stays [O].

    Of a successor that is drawn twice, the source keeps the last probability; here they are added [R]. It
    rounds transitions to 64 values of its noise; here they are exact [R]. Constants follow from ``game_seed`` as
    in the source, or are given as ``tables`` [O].
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    n_nodes: int = 100
    """Number of states |S| [S]."""
    n_choices: int = 6
    """Number of actions |A| [S]."""
    n_successors: int = 6
    """Number of draws of successors for a state and an action [S]."""
    dynamics: Literal["additive", "multiplicative"] = "additive"
    """How the population enters the transitions [S]."""
    reward_structure: Literal["additive", "multiplicative"] = "additive"
    """How the population enters the rewards [S]."""
    kind: Literal["potential", "cyclic"] = "potential"
    """Whether the interaction in the rewards is symmetric or antisymmetric [S]."""
    reward_scale: float = 1.0
    """Standard deviation of R_0 [S]."""
    game_seed: int = 0
    """Random seed of the constants [S]."""
    tables: MeanFieldGarnetTables | None = None
    """Constants in the place of drawn ones [O]."""

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the transition rows and the interaction of every state into the signal."""
        network = world.constants
        n, m = network.rewards.shape
        for state in range(n):
            for action in range(m):
                row = (state * m + action) * n
                total = 0.0
                for successor in range(n):
                    change = 0.0
                    for place in range(n):
                        change += network.coupling[state, action, successor, place] * crowd(world, place)
                    base = network.base[state, action, successor]
                    added = max(0.0, network.base_factor * base + network.coupling_factor * change)
                    gate = max(0.0, network.base_factor + network.coupling_factor * change)
                    strength = added if network.adds_moves else base * gate
                    signal[row + successor] = strength
                    total += strength
                for successor in range(n):
                    stays = 1.0 if successor == state else 0.0
                    signal[row + successor] = signal[row + successor] / total if total > 0.0 else stays
            interaction = 0.0
            for place in range(n):
                interaction += network.interaction[state, place] * crowd(world, place)
            signal[n * m * n + state] = interaction

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, mu)."""
        n, m = world.constants.rewards.shape
        return world.signal[(state * m + action) * n + next_state]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu)."""
        network = world.constants
        n, m = network.rewards.shape
        base, social = network.rewards[state, action], world.signal[n * m * n + state]
        added = network.reward_factor * base + network.interaction_factor * social
        times = base * (network.reward_factor + network.interaction_factor * social)
        return added if network.adds_rewards else times

    def check(self) -> None:
        """Check sizes, structures and the tables, which are drawn unless they are given."""
        for name, least in (("n_nodes", 2), ("n_choices", 1), ("n_successors", 1)):
            setattr(self, name, checks.integer(name, getattr(self, name), least, 1000))
        checks.at_most("n_nodes^3 * n_choices", self.n_nodes**3 * self.n_choices, MOST_COUPLINGS)
        self.dynamics = checks.choice("dynamics", self.dynamics, (ADDITIVE, MULTIPLICATIVE))
        self.reward_structure = checks.choice(
            "reward_structure", self.reward_structure, (ADDITIVE, MULTIPLICATIVE)
        )
        self.kind = checks.choice("kind", self.kind, (POTENTIAL, CYCLIC))
        self.reward_scale = checks.real("reward_scale", self.reward_scale, 0.0, LARGEST)
        self.game_seed = checks.integer("game_seed", self.game_seed, 0, MAX_SEED)
        self._network = self._drawn()
        super().check()

    def _drawn(self) -> Network:
        n, m, b = self.n_nodes, self.n_choices, self.n_successors
        if self.tables is None:
            tables = MeanFieldGarnetTables.drawn(n, m, b, self.kind, self.reward_scale, self.game_seed)
        else:
            shapes: dict[str, tuple[int, ...]] = {
                "base": (n, m, n),
                "coupling": (n, m, n, n),
                "rewards": (n, m),
                "interaction": (n, n),
            }
            tables = MeanFieldGarnetTables.checked("tables", self.tables, shapes, LARGEST)
            for name in ("base_factor", "coupling_factor", "reward_factor", "interaction_factor"):
                checks.real(f"tables.{name}", getattr(tables, name), 0.0, 1.0)
            if (tables.base < 0.0).any():
                raise ValueError("tables.base must hold numbers that are not negative")
        return Network(
            tables.base_factor,
            tables.coupling_factor,
            tables.reward_factor,
            tables.interaction_factor,
            tables.base,
            tables.coupling,
            tables.rewards,
            tables.interaction,
            self.dynamics == ADDITIVE,
            self.reward_structure == ADDITIVE,
        )

    @property
    def n_states(self) -> int:
        """|S|: nodes."""
        return self.n_nodes

    @property
    def n_actions(self) -> int:
        """|A|: choices."""
        return self.n_choices

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """All entries of the transition rows, and the interaction of every state."""
        return self.n_nodes * self.n_choices * self.n_nodes + self.n_nodes

    @property
    def constants(self) -> Network:
        """The transitions and rewards."""
        return self._network
