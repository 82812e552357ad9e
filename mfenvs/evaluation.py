"""Estimates, with their errors, of the returns of a policy and of one agent's gain by deviating from it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.api.population import Population
from mfenvs.engine.engine import Engine
from mfenvs.game import Game
from mfenvs.meanfield.n_player import Estimate
from mfenvs.play import Deviator, Player
from mfenvs.registry import make
from mfenvs.wrappers.observations import Observe


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results of the episodes that :func:`evaluate` played."""

    returns: NDArray[np.float64]
    """Total reward of every agent, discounted by the game's gamma^h, shape (n_worlds, n_agents)."""
    region_shares: dict[str, NDArray[np.float64]]
    """Share of agents in each of the game's regions, shape (n_worlds, horizon + 1), by name."""

    @property
    def mean_return(self) -> Estimate:
        """Expected total reward, averaged over agents, with the standard error between worlds."""
        return Estimate.of(self.returns.mean(axis=1))

    def summary(self) -> dict[str, Any]:
        """The main results as a dict for JSON: mean return, its 95 % interval, shares of regions at the end."""
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
    device: Any = "cpu",
    **constants: Any,
) -> Evaluation:
    """Play one episode in each of ``n_worlds`` worlds in which all agents follow ``policy``.

    The same seed gives the same result, unless the policy draws random numbers from a generator of its own
    (:class:`mfenvs.play.Player`).

    Parameters
    ----------
    game:
        A registered name, or a game.
    policy:
        One policy for all agents, or one for each: of any kind that :class:`mfenvs.play.Player` takes, models of
        Stable-Baselines3 among them. None for uniformly random actions among those that are allowed.
    observe:
        Observation blocks that the policy sees beside agents' own observations. By default its attribute
        ``observe``, or the blocks of a model's training environment; a loaded model does not know them.
    n_worlds:
        Number of independent worlds, at least 2.
    seed:
        Random seed of the simulations.
    device:
        Where the worlds are simulated: ``"cpu"``, or ``"cuda"`` or ``"cuda:<number>"`` for a GPU of NVIDIA (extra
        ``cuda``). Every step copies the rewards, and what the policy sees, from there, and the actions there.
    constants:
        The game's constants, if the game is given by name.

    Returns
    -------
    The returns of all agents, and the shares of agents in the game's regions.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the policy cannot be played (:class:`mfenvs.play.Player`), or a return is
        not finite.
    ImportError, RuntimeError
        If the software for the device is not installed, or there is no such device.
    """
    made = make(game, **constants)
    n_worlds, seed = checks.integer("n_worlds", n_worlds, 2), checks.integer("seed", seed, 0)
    player = Player(made, policy, observe, "policy")
    returns = np.zeros((n_worlds, made.n_agents))
    shares = {f"share_{name}": np.zeros((n_worlds, made.horizon + 1)) for name in made.regions}
    for worlds, population in _batches(made, n_worlds, player.width, device):
        for earned in _episode(population, seed, player.actions):
            for name, now in population.region_shares().items():
                shares[name][worlds, population.engine.time] = now
            returns[worlds] = earned
    _check_finite(returns)
    return Evaluation(returns, shares)


def deviation_gain(
    game: str | Game,
    policy: Any,
    deviation: Any,
    *,
    agent: int | None = None,
    observe: Observe | None = None,
    n_worlds: int = 64,
    seed: int = 0,
    device: Any = "cpu",
    **constants: Any,
) -> Estimate:
    """Estimate one agent's gain from playing ``deviation`` while all others play ``policy``.

    Every world is played twice on the same random numbers: with all agents on ``policy``, and with one deviator.
    If ``agent`` is given, the mean difference of its returns is an unbiased estimate of J_i(deviation, pi^{-i}) -
    J_i(pi), and so of a lower bound on E_i(pi), whatever ``deviation`` is. With agents drawn uniformly, it
    estimates a lower bound on the mean of E_i over the agents. ``deviation`` must not have been chosen by looking
    at simulations with the same seed. With policies that draw random numbers from a generator of their own
    (:func:`evaluate`), the estimate is unbiased too, but neither paired nor the same in every call.

    Parameters
    ----------
    game, policy, device, constants:
        As in :func:`evaluate`.
    deviation:
        The deviator's policy: an object with ``action_probabilities``, a model of Stable-Baselines3, or an object
        with its ``predict``. It is given the deviators' observations only, one row per world.
    agent:
        Index of the agent that deviates; None draws one uniformly in each world.
    observe:
        Observation blocks that the deviator sees beside its own observation; by default as in :func:`evaluate`.
    n_worlds:
        Number of independent worlds, at least 2.
    seed:
        Random seed of the simulations and of the choice of deviators.

    Returns
    -------
    The mean gain, with its standard error between worlds.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, a policy cannot be played (:class:`mfenvs.play.Player`), or a return is not
        finite.
    ImportError, RuntimeError
        If the software for the device is not installed, or there is no such device.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 2 (exploitability E_i of the N-player game).
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
    for worlds, population in _batches(made, n_worlds, max(player.width, deviator.width), device):
        agents = who[worlds]
        *_, without = _episode(population, seed, player.actions)
        *_, with_deviator = _episode(
            population,
            seed,
            lambda engine, agents=agents: deviator.replace(player.actions(engine), engine, agents),  # type: ignore[misc]
        )
        for earned in (without, with_deviator):
            _check_finite(earned)
        gains[worlds] = (with_deviator - without)[np.arange(len(agents)), agents]
    return Estimate.of(gains)


def _check_finite(returns: NDArray[np.float64]) -> None:
    wrong = np.argwhere(~np.isfinite(returns))
    if len(wrong):
        world, agent = wrong[0]
        raise ValueError(
            f"returns must be finite, got {returns[world, agent]} of agent {agent}: the game's rewards are not"
            " finite, or more than single precision holds (3.4e38)"
        )


BATCH_FEATURES = 2**24
"""Number of features that are observed at a time: 64 MB."""


def _batches(game: Game, n_worlds: int, width: int, device: Any) -> Iterator[tuple[slice, Population]]:
    """Worlds that are simulated together, and their population; results do not depend on the grouping."""
    size = max(1, BATCH_FEATURES // (game.n_agents * width))
    for first in range(0, n_worlds, size):
        worlds = slice(first, min(first + size, n_worlds))
        yield worlds, Population(game, {}, worlds.stop - first, first_world=first, device=device)


def _episode(
    population: Population, seed: int, choose: Callable[[Engine], NDArray[Any]]
) -> Iterator[NDArray[np.float64]]:
    """Play an episode in which ``choose`` gives the actions of all agents.

    Yields, before the first step and after every step, the rewards of all agents so far, discounted by gamma^h:
    one array of shape (n_worlds, n_agents).
    """
    engine, discount = population.engine, population.game.discount
    population.reset(seed)
    returns = np.zeros((engine.n_worlds, engine.game.n_agents))
    yield returns
    while not population.is_over:
        worth = np.float64(discount**engine.time)
        actions = choose(engine)
        rewards = population.step(actions.reshape(population.n_rows, *actions.shape[2:]))
        returns += worth * rewards.reshape(returns.shape)
        yield returns
