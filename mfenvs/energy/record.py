"""Records of played days of an energy market: all agents' accounts of every step, prices, weather, batteries."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.conditions import DAY
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_accounts import ACCOUNTS
from mfenvs.play import Player
from mfenvs.wrappers.observations import Observe

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class MarketRecord:
    """Record of one played day in each of ``n_worlds`` worlds, H steps of N agents, in double precision.

    Raises
    ------
    TypeError, ValueError
        If ``game`` is no energy market, or an array has another shape than below or is not finite.
    """

    game: EnergyMarket
    """The market that was played."""
    accounts: Array
    """Account of each agent in each step: energies in kWh and money in EUR, shape (n_worlds, H, N, len(ACCOUNTS));
    its last axis is named by :data:`mfenvs.games.energy.market_accounts.ACCOUNTS`."""
    signals: Array
    """Public signal in each step, shape (n_worlds, H, n_signals): day, weather and tariffs in force, and the price
    at which that step was cleared."""
    charge: Array
    """State of charge before each step and at the end, as a share of the capacity in [0, 1], 0 without a battery,
    shape (n_worlds, H + 1, N)."""

    def __post_init__(self) -> None:
        if not isinstance(self.game, EnergyMarket):
            raise TypeError(f"game must be an EnergyMarket, got {self.game!r}")
        given = checks.numbers("accounts", self.accounts).shape
        n_worlds, n_steps, n_agents = given[0] if given else 0, self.game.horizon, self.game.n_agents
        for name, shape in (
            ("accounts", (n_worlds, n_steps, n_agents, len(ACCOUNTS))),
            ("signals", (n_worlds, n_steps, self.game.n_signals)),
            ("charge", (n_worlds, n_steps + 1, n_agents)),
        ):
            object.__setattr__(self, name, checks.finite_numbers(name, getattr(self, name), shape))

    @property
    def n_worlds(self) -> int:
        """Number of days."""
        return len(self.accounts)

    @property
    def day(self) -> NDArray[np.int64]:
        """Index of the day of the series that was played, shape (n_worlds,)."""
        return self.signals[:, 0, DAY].astype(np.int64)

    @property
    def price(self) -> Array:
        """Local price at which each step was cleared, EUR/kWh, shape (n_worlds, H)."""
        return self.signals[:, :, PRICE]

    @property
    def returns(self) -> Array:
        """Return (total reward of the day) of every agent, EUR, shape (n_worlds, N)."""
        total: Array = self.account("reward").sum(axis=1)
        return total

    def account(self, name: str) -> Array:
        """One entry of all accounts, a view of shape (n_worlds, H, N), in kWh or EUR.

        Parameters
        ----------
        name:
            One of :data:`mfenvs.games.energy.market_accounts.ACCOUNTS`.

        Raises
        ------
        ValueError
            If there is no such entry.
        """
        return self.accounts[..., ACCOUNTS.index(checks.choice("name", name, ACCOUNTS))]


def world_of(record: MarketRecord, world: int) -> int:
    """``world`` as an index into ``record``; TypeError or ValueError if either is not one."""
    check_record(record)
    return checks.integer("world", world, 0, record.n_worlds - 1)


def check_record(record: object) -> None:
    """Raise a TypeError unless ``record`` is a :class:`MarketRecord`."""
    if not isinstance(record, MarketRecord):
        raise TypeError(f"record must be a MarketRecord, got {record!r}")


def record_days(
    game: EnergyMarket, policy: Any = None, *, observe: Observe | None = None, n_worlds: int = 8, seed: int = 0
) -> MarketRecord:
    """Play one day in each of ``n_worlds`` worlds with all agents on ``policy``, and record everything.

    Days, weather and forecast errors depend on the seed, the world and the agent only: they are the same whatever
    is played. With the same seed these are the days of :func:`mfenvs.evaluate`. The conservation of energy and
    money is audited in every step (:meth:`EnergyMarket.audit`). A record takes 3 kB an agent and day of 24 steps.

    Parameters
    ----------
    game:
        The market.
    policy:
        Policy that all agents play, of any kind that :class:`mfenvs.play.Player` takes; None for uniformly random
        actions among those that are allowed.
    observe:
        Blocks that the policy sees beside agents' own observations; by default its attribute ``observe``, if any.
    n_worlds:
        Number of days, at least 1.
    seed:
        Random seed of the worlds, >= 0.

    Returns
    -------
    MarketRecord
        Its rewards are those of the accounts, computed anew in double precision; the rewards of the simulation are
        the same up to single precision.

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
