"""What a policy earns when everyone plays it: returns and whereabouts of all agents, with their errors."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.api.population import Population
from mfenvs.game import Game
from mfenvs.meanfield.n_player import Estimate
from mfenvs.play import Deviator, Player
from mfenvs.registry import make
from mfenvs.wrappers.observations import Observe


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found."""

    returns: NDArray[np.float64]
    """Total reward of every agent, discounted by the game's gamma^h, shape (n_worlds, n_agents)."""
    region_shares: dict[str, NDArray[np.float64]]
    """Share of agents in each of the game's regions, shape (n_worlds, horizon + 1), by name."""

    @property
    def mean_return(self) -> Estimate:
        """An agent's expected total reward, averaged over agents; its error is that between worlds."""
        return Estimate.of(self.returns.mean(axis=1))

    def summary(self) -> dict[str, Any]:
        """The main numbers: mean return with its interval, the least and the best agent's, regions' shares."""
        found, per_agent = self.mean_return, self.returns.mean(axis=0)
        return {
            "return": found.value,
            "return_95": list(found.interval),
            "return_least_agent": float(per_agent.min()),
            "return_best_agent": float(per_agent.max()),
            "n_worlds": len(self.returns),
            **{name: float(shares[:, -1].mean()) for name, shares in self.region_shares.items()},
        }


def evaluate(
    game: str | Game,
    policy: Any = None,
    *,
    observe: Observe | None = None,
    n_worlds: int = 8,
    seed: int = 0,
    **constants: Any,
) -> Evaluation:
    """Play one episode in each of ``n_worlds`` worlds with everyone on ``policy``.

    Parameters
    ----------
    game:
        A registered name, or a game.
    policy:
        One for all, or one for each: of any kind that :class:`mfenvs.play.Player` takes. With one that only has
        SB3's ``predict`` the result differs from call to call: it draws numbers of its own.
    observe:
        What the policy sees beside agents' own observations; by default its attribute ``observe``, if any.
    n_worlds:
        Number of independent worlds, at least 2.
    seed:
        Of the worlds.
    constants:
        The game's constants, if it is given by name.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    made = make(game, **constants)
    n_worlds, seed = checks.integer("n_worlds", n_worlds, 2), checks.integer("seed", seed, 0)
    player = Player(made, policy, observe, "policy")
    returns = np.zeros((n_worlds, made.n_agents))
    shares = {f"share_{name}": np.zeros((n_worlds, made.horizon + 1)) for name in made.regions}
    for worlds in _batches(n_worlds, made, player.width):
        population = Population(made, {}, worlds.stop - worlds.start, first_world=worlds.start)
        population.reset(seed)
        while True:
            for name, now in population.region_shares().items():
                shares[name][worlds, population.engine.time] = now
            if population.is_over:
                break
            worth = np.float64(made.discount**population.engine.time)
            returns[worlds] += worth * _step(population, player.actions(population.engine))
    return Evaluation(returns, shares)


BATCH_FEATURES = 2**24
"""So many numbers are observed at a time: 64 MB."""


def _batches(n_worlds: int, game: Game, width: int) -> list[slice]:
    """Consecutive worlds that are simulated together; which they are does not change what happens in them."""
    size = max(1, BATCH_FEATURES // (game.n_agents * width))
    return [slice(first, min(first + size, n_worlds)) for first in range(0, n_worlds, size)]


def _step(population: Population, actions: NDArray[Any]) -> NDArray[np.float32]:
    """Take one step; return the rewards, shape (n_worlds, n_agents)."""
    rewards = population.step(actions.reshape(population.n_rows, *actions.shape[2:]))
    return rewards.reshape(actions.shape[:2])


def deviation_gain(
    game: str | Game,
    policy: Any,
    deviation: Any,
    *,
    agent: int | None = None,
    observe: Observe | None = None,
    n_worlds: int = 64,
    seed: int = 0,
    **constants: Any,
) -> Estimate:
    """What one agent gains by playing ``deviation`` while all others play ``policy``, in paired simulations.

    Every world is played twice on the same random numbers: by all on ``policy``, and with one deviator. With
    an agent of its own, the mean difference of its returns estimates J_i(deviation, pi^{-i}) - J_i(pi) without
    bias (Yardim & He, arXiv 2408.15173, Definition 2), and so a lower bound on E_i(pi) for whatever ``deviation``;
    with agents drawn uniformly, a lower bound on the mean of E_i over the agents. ``deviation`` must not have been
    chosen by looking at the same seed. Policies that only ``predict`` draw numbers of their own: the estimate is
    then unbiased too, but neither paired nor the same in every call.

    Parameters
    ----------
    game, policy, constants:
        As in :func:`evaluate`.
    deviation:
        The deviator's policy: an object with ``action_probabilities`` or SB3's ``predict``, which sees the
        deviators' observations only, one row per world.
    agent:
        Who deviates; None draws an agent in each world.
    observe:
        What the deviator sees beside its own observation; by default the deviation's attribute ``observe``, if
        any.
    n_worlds:
        Number of independent worlds, at least 2.
    seed:
        Of the worlds.

    Returns
    -------
    The mean gain, with its standard error between worlds.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    n_worlds = checks.integer("n_worlds", n_worlds, 2)
    seed = checks.integer("seed", seed, 0)
    made = make(game, **constants)
    player = Player(made, policy, name="policy")
    deviator = Deviator(made, deviation, observe)
    if agent is None:
        who = np.random.default_rng(seed).integers(made.n_agents, size=n_worlds)
    else:
        who = np.full(n_worlds, checks.integer("agent", agent, 0, made.n_agents - 1))
    gains = np.zeros(n_worlds)
    for worlds in _batches(n_worlds, made, max(player.width, deviator.width)):
        population = Population(made, {}, worlds.stop - worlds.start, first_world=worlds.start)
        agents = who[worlds]
        for sign in (-1.0, 1.0):
            population.reset(seed)
            while not population.is_over:
                actions = player.actions(population.engine)
                worth = np.float64(sign * made.discount**population.engine.time)
                if sign > 0.0:
                    actions = deviator.replace(actions, population.engine, agents)
                gains[worlds] += worth * _step(population, actions)[np.arange(len(agents)), agents]
    return Estimate.of(gains)
