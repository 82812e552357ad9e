"""Risk-averse agents: conditional value at risk (CVaR) as rewards that any trainer can maximise.

The loss c of an episode is minus an agent's total reward, and its objective is J = (1 - gamma) E[c] + gamma
CVaR_alpha(c), to be minimised [S] ("Math Deep Dive: Understanding Mean-Field-Type Games"). By Rockafellar and
Uryasev (Journal of Risk 2, 2000) CVaR_alpha(c) is the least of z + E[(c - z)+] / alpha over the budget z, taken at
the (1 - alpha) quantile of c. For a fixed z an agent's problem is a Markov decision problem once it sees what is
left of the budget (Baeuerle and Ott, Mathematical Methods of Operations Research 74, 2011), and z follows the
quantile by stochastic gradients from episode to episode.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv
from mfenvs.engine.compile import kernel
from mfenvs.engine.engine import Engine
from mfenvs.engine.snapshot import Snapshot
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.wrappers.observations import ObservationBlock, Observe, Write, observation_blocks

WARM_UP_SEED = 2**32
"""Random seed of warm-up episodes: above the seeds that people choose, so that training has other episodes."""

WARM_UP_AGENT_STEPS = 2**16
"""Number of agents that are simulated at a time in the warm-up."""


class RiskBudget(ObservationBlock):
    """Observation block of each agent's remaining budget for losses and its risk aversion: two features in [0, 1].

    With y = z + the rewards so far, the first is 1/2 + y / (2 (scale + |y|)): 1/2 when the budget is just used up,
    3/4 when ``scale`` is left [O]. The second is gamma. The object holds everything that is learned
    beside the policy: the environment, which learns z, and the model, which observes it, share the object, and it
    is saved with the model. Two budgets are equal if their risk aversions and tail shares are.

    Parameters
    ----------
    gamma:
        Risk aversion of each agent in [0, 1], shape (n_agents,).
    z:
        Budget z of each agent, in the unit of its rewards (EUR in the energy market), shape (n_agents,).
    scale:
        Spread of each agent's losses in that unit, > 0, shape (n_agents,); it is not learned.
    alpha:
        Tail share of the CVaR in (0, 1]: the share of worst episodes over which losses are averaged.
    step_size:
        Step size of :meth:`learn` relative to ``scale``, > 0 [O]. With W worlds z wanders about the quantile with
        a standard deviation of some 2.4 scale sqrt(step_size / W) for normal losses and alpha = .05 (what this
        costs is of second order); an agent that stays within its budget lowers it by ``scale`` in 1 / step_size
        episodes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    name: ClassVar[str] = "risk-budget"

    def __init__(
        self, gamma: ArrayLike, z: ArrayLike, scale: ArrayLike, *, alpha: float = 0.05, step_size: float = 0.02
    ) -> None:
        shape = np.shape(gamma)
        if len(shape) != 1:
            raise ValueError(f"gamma must have shape (n_agents,), got {shape}")
        self.gamma = _within("gamma", gamma, shape, 0.0, 1.0)
        self.z = _within("z", z, shape)
        self.scale = _within("scale", scale, shape, np.finfo(np.float64).tiny)
        self.alpha = checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
        self.step_size = checks.real("step_size", step_size, 0.0, exclude_low=True)

    @classmethod
    def from_random_play(
        cls,
        game: Game,
        gamma: ArrayLike | None = None,
        *,
        alpha: float = 0.05,
        step_size: float = 0.02,
        n_episodes: int = 64,
        seed: int = WARM_UP_SEED,
    ) -> Self:
        """Make budgets from the losses when all agents act at random, much as untrained networks do [O].

        Parameters
        ----------
        game:
            A game that ends at its horizon.
        gamma:
            Risk aversion in [0, 1], one number or one per agent; by default ``game.agents["risk_aversion"]``.
        alpha, step_size:
            As in :class:`RiskBudget`.
        n_episodes:
            Number of simulated episodes, at least 2. Of their losses ``z`` is the (1 - alpha) quantile and
            ``scale`` the mean distance from the median, or 1 for an agent that always loses the same.
        seed:
            Random seed of the simulations.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or ``gamma`` is not given and agents have no ``risk_aversion``.
        """
        if gamma is None:
            if "risk_aversion" not in (game.agents.dtype.names or ()):
                raise TypeError(
                    f"gamma, the risk aversion, must be given, since agents of {type(game).__name__} have no"
                    " risk_aversion"
                )
            gamma = game.agents["risk_aversion"]
        if np.ndim(gamma) == 0:
            gamma = np.full(game.n_agents, checks.real("gamma", gamma, 0.0, 1.0))
        gamma = _within("gamma", gamma, (game.n_agents,), 0.0, 1.0)
        alpha = checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
        episodes = checks.integer("n_episodes", n_episodes, 2)
        losses = losses_of_random_play(game, episodes, checks.integer("seed", seed, 0))
        z = np.quantile(losses, 1.0 - alpha, axis=0)
        return cls(gamma, z, spread_of(losses), alpha=alpha, step_size=step_size)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RiskBudget)
            and self.alpha == other.alpha
            and bool(np.array_equal(self.gamma, other.gamma))
        )

    __hash__ = None  # type: ignore[assignment]  # z and scale change

    def __repr__(self) -> str:
        mean = self.gamma.mean()
        return f"RiskBudget({len(self.gamma)} agents, mean gamma {mean:.3g}, alpha {self.alpha:g})"

    def width(self, game: Game) -> int:
        """Two features; TypeError or ValueError if the game is infinite or has another number of agents."""
        _check_game(game)
        if game.n_agents != len(self.gamma):
            raise ValueError(f"a risk budget of {len(self.gamma)} agents does not fit a game of {game.n_agents}")
        return 2

    def bind(self, game: Game) -> Write:
        """Return the function that writes the remaining budget at the time of the call, and gamma."""

        def write(out: NDArray[np.float32], engine: Engine) -> None:
            engine.keep_returns()
            write_budgets(out, engine.returns, self.z, self.scale, self.gamma)

        return write

    def tail(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rockafellar and Uryasev's z + (c - z)+ / alpha of losses, both shape (..., n_agents)."""
        return self.z + np.maximum(losses - self.z, 0.0) / self.alpha

    def learn(self, losses: NDArray[np.float64]) -> None:
        """Take a step z <- z - step_size scale (1 - P(c > z) / alpha), from losses (n_episodes, n_agents)."""
        exceeded = (losses > self.z).mean(axis=0)
        self.z = self.z - self.step_size * self.scale * (1.0 - exceeded / self.alpha)

    def measures(self, losses: NDArray[np.float64]) -> dict[str, float]:
        """Risk measures of losses, shape (n_episodes, n_agents), at the present budgets z, averaged over agents.

        ``cvar`` and ``objective`` are Rockafellar and Uryasev's expressions at this z. Their expectations are
        upper bounds on the true values, which they reach if z is the quantile.
        """
        tail = self.tail(losses)
        return {
            "expected_loss": float(losses.mean()),
            "cvar": float(tail.mean()),
            "objective": float(((1.0 - self.gamma) * losses + self.gamma * tail).mean()),
            "z_mean": float(self.z.mean()),
            "exceeded": float((losses > self.z).mean()),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class RiskSnapshot(Snapshot):
    """The state of a :class:`RiskAverseVecEnv` within an episode, and its budgets."""

    z: NDArray[np.float64]
    """The budgets, shape (n_agents,)."""
    scale: NDArray[np.float64]
    """The spreads, shape (n_agents,)."""


class RiskAverseVecEnv(PopulationVecEnv):
    """A VecEnv of all agents, with rewards whose expected total is minus the risk-averse objective.

    The reward of a step is (1 - gamma) times the game's reward, and in the last step - gamma (z + (c - z)+ /
    alpha) in addition, where c is the loss of the episode. The undiscounted total is -((1 - gamma) c + gamma (z +
    (c - z)+ / alpha)). Agents observe their remaining budgets; the block comes last if ``observe`` does not
    contain it. When an episode has ended, z takes a step towards the quantile (:meth:`RiskBudget.learn`), from the
    losses of all worlds.

    Episodes are never truncated before the horizon, since c is the loss of a whole episode.

    Parameters
    ----------
    game:
        A registered name, or a game that ends at its horizon.
    n_worlds:
        Number of worlds.
    observe:
        Observation blocks that agents see beside their own observation. If a :class:`RiskBudget` is among them, it
        is learned; by default one is made by :meth:`RiskBudget.from_random_play`.
    learns_z:
        Whether z is learned; False, for example for evaluation, leaves it as it is.
    render_mode, debug, constants:
        As in :class:`mfenvs.api.sb3.PopulationVecEnv`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(
        self,
        game: str | Game,
        n_worlds: int = 1,
        *,
        observe: Observe = (),
        learns_z: bool = True,
        render_mode: str | None = None,
        debug: bool = False,
        **constants: Any,
    ) -> None:
        made, blocks = make(game, **constants), observation_blocks(observe)
        budgets = [block for block in blocks if isinstance(block, RiskBudget)]
        if len(budgets) > 1:
            raise ValueError(f"observe must hold one RiskBudget at most, got {budgets!r}")
        if not budgets:
            budgets = [RiskBudget.from_random_play(made)]
            blocks = (*blocks, *budgets)
        self.budget = budgets[0]
        """The agents' budgets for losses."""
        self.learns_z = checks.boolean("learns_z", learns_z)
        self.measured: dict[str, float] = {}
        """Results of :meth:`RiskBudget.measures` for the last whole episodes, at the z of these episodes."""
        super().__init__(made, n_worlds, observe=blocks, render_mode=render_mode, debug=debug)
        self.engine.keep_returns()

    def snapshot(self) -> RiskSnapshot:
        """Copy the state of the environments and the budgets."""
        return RiskSnapshot(**vars(self.engine.snapshot()), z=self.budget.z.copy(), scale=self.budget.scale.copy())

    def restore(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """Continue from a snapshot of an environment of the same game and number of worlds.

        Returns
        -------
        Observations, shape (num_envs, width of the space).

        Raises
        ------
        TypeError
            If it is a snapshot of an environment without budgets.
        ValueError
            If the snapshot does not fit, or was taken outside an episode.
        """
        if not isinstance(snapshot, RiskSnapshot):
            raise TypeError(f"snapshot must be a RiskSnapshot, which holds z, got a {type(snapshot).__name__}")
        shape = (self.game.n_agents,)
        z, scale = _within("snapshot.z", snapshot.z, shape), _within("snapshot.scale", snapshot.scale, shape)
        self._population.restore(snapshot)
        self.budget.z, self.budget.scale = z, scale
        return self._population.observe()

    def _begin(self, seed: int | None) -> None:
        if self._population.is_over:
            losses = -self.engine.returns
            self.measured = self.budget.measures(losses)
            if self.learns_z:
                self.budget.learn(losses)
        super()._begin(seed)

    def _advance(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        gamma, by_world = self.budget.gamma, (self.n_worlds, self.game.n_agents)
        rewards = (1.0 - gamma) * super()._advance(actions).reshape(by_world)
        if self._population.is_over:
            rewards -= gamma * self.budget.tail(-self.engine.returns)
        return rewards.astype(np.float32).reshape(-1)


@kernel
def write_budgets(out: Any, returns: Any, z: Any, scale: Any, gamma: Any) -> None:
    """Write the features of :class:`RiskBudget` of every agent of every world."""
    for w in range(out.shape[0]):
        for i in range(out.shape[1]):
            left = z[i] + returns[w, i]
            out[w, i, 0] = 0.5 + 0.5 * left / (scale[i] + abs(left))
            out[w, i, 1] = gamma[i]


def _within(
    name: str, value: ArrayLike, shape: tuple[int, ...], low: float = -np.inf, high: float = np.inf
) -> NDArray[np.float64]:
    """``value`` as a new float64 array of finite numbers in [low, high]."""
    array: NDArray[np.float64] = checks.shaped(name, value, shape, np.float64).copy()
    wrong = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if wrong.any():
        agent = int(np.argmax(wrong))
        checks.real(f"{name}[{agent}]", array[agent], low, high)
    return array


def _check_game(game: Game) -> None:
    if game.is_infinite:
        raise TypeError(
            f"risk is that of the total reward of a game that ends, got a {type(game).__name__} with discount"
            f" {game.discount:g}"
        )


def spread_of(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance of each agent's losses (n_episodes, n_agents) from their median; 1 if all are the same."""
    spread = np.abs(losses - np.median(losses, axis=0)).mean(axis=0)
    return np.where(spread > 0.0, spread, 1.0)


def losses_of_random_play(game: Game, n_episodes: int, seed: int) -> NDArray[np.float64]:
    """Losses (returns with the other sign) of all agents when everyone acts at random.

    Parameters
    ----------
    game:
        The game.
    n_episodes:
        Number of episodes, each in a world of its own.
    seed:
        Random seed of the episodes.

    Returns
    -------
    Losses, shape (n_episodes, n_agents).

    Raises
    ------
    TypeError, ValueError
        If the game cannot be played with risk-averse agents.
    """
    _check_game(game)
    size = max(1, WARM_UP_AGENT_STEPS // game.n_agents)
    losses = []
    for first in range(0, n_episodes, size):
        engine = Engine(game, min(size, n_episodes - first), first_world=first)
        engine.keep_returns()
        engine.reset(seed)
        while engine.is_playing:
            engine.step(engine.random_actions())
        losses.append(-engine.returns)
    return np.concatenate(losses)
