"""Days of an energy market as they were played: all agents' accounts of every step, prices, weather, batteries."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.conditions import DAY
from mfenvs.games.energy.market import ACCOUNTS, EnergyMarket
from mfenvs.play import Player
from mfenvs.wrappers.observations import Observe

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class MarketRecord:
    """One day of a market in each of ``n_worlds`` worlds, H steps of N agents; all in double precision."""

    game: EnergyMarket
    """The market that was played."""
    accounts: Array
    """What each agent's step was made up of, kWh and EUR, shape (n_worlds, H, N, len(ACCOUNTS)); its last axis is
    named by :data:`mfenvs.games.energy.market.ACCOUNTS`."""
    signals: Array
    """The public signal in each step: day, weather and tariffs that were in force, and the price at which that
    step was cleared; shape (n_worlds, H, n_signals)."""
    charge: Array
    """State of charge before each step and at the end, in [0, 1], 0 without a battery, (n_worlds, H + 1, N)."""

    @property
    def n_worlds(self) -> int:
        """Number of days."""
        return len(self.accounts)

    @property
    def day(self) -> NDArray[np.int64]:
        """Which day of the series was played, shape (n_worlds,)."""
        return self.signals[:, 0, DAY].astype(np.int64)

    @property
    def price(self) -> Array:
        """The price of each step, EUR/kWh, shape (n_worlds, H)."""
        return self.signals[:, :, PRICE]

    @property
    def returns(self) -> Array:
        """Total reward of every agent, EUR, shape (n_worlds, N)."""
        total: Array = self.account("reward").sum(axis=1)
        return total

    def account(self, name: str) -> Array:
        """One entry of all accounts, shape (n_worlds, H, N): a view.

        Parameters
        ----------
        name:
            One of :data:`mfenvs.games.energy.market.ACCOUNTS`.

        Raises
        ------
        ValueError
            If there is no such entry.
        """
        return self.accounts[..., ACCOUNTS.index(checks.choice("name", name, ACCOUNTS))]


def record_days(
    game: EnergyMarket, policy: Any = None, *, observe: Observe | None = None, n_worlds: int = 8, seed: int = 0
) -> MarketRecord:
    """Play one day in each of ``n_worlds`` worlds with everyone on ``policy``, and keep all of it.

    Days, weather and forecast errors depend on the seed, the world and the agent only: they are the same whatever
    is played. With the same seed these are the days of :func:`mfenvs.evaluate`. Energy and money are audited in
    every step (:meth:`EnergyMarket.audit`). It takes 3 kB an agent and day of 24 steps.

    Parameters
    ----------
    game:
        The market.
    policy:
        What all play, of any kind that :class:`mfenvs.play.Player` takes; None for uniformly random actions.
    observe:
        What the policy sees beside agents' own observations; by default its attribute ``observe``, if any.
    n_worlds:
        Number of days, at least 1.
    seed:
        Of the worlds.

    Returns
    -------
    The record. Its rewards are those of the accounts, computed anew in double precision; those that the policy
    was paid are the same up to single precision.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the books of a step do not balance.
    """
    if not isinstance(game, EnergyMarket):
        raise TypeError(f"game must be an EnergyMarket, got {game!r}")
    n_worlds, seed = checks.integer("n_worlds", n_worlds, 1), checks.integer("seed", seed, 0)
    player = Player(game, policy, observe, "policy")
    shape = n_worlds, game.horizon
    accounts = np.empty((*shape, game.n_agents, len(ACCOUNTS)))
    signals = np.empty((*shape, game.n_signals))
    charge = np.empty((n_worlds, game.horizon + 1, game.n_agents))

    engine = Engine(game, n_worlds, keep_accounts=True)
    charge[:, 0] = engine.reset(seed)["charge"]
    while engine.is_playing:
        step = engine.time
        engine.step(player.actions(engine))
        accounts[:, step], signals[:, step] = engine.accounts(), engine.audited_signal
        charge[:, step + 1] = engine.states["charge"]
    return MarketRecord(game, accounts, signals, charge)
