"""Equilibrium price: firms that sell from stock at a price that falls in what all of them sell."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, ClassicGame
from mfenvs.rules import crowd, rule


class Firms(NamedTuple):
    """The constants of the game of firms, as its rules read them."""

    n_stocks: int
    n_orders: int
    n_actions: int
    demand: float
    least_supply: float
    elasticity: float
    unit_cost: float
    quadratic_cost: float
    order_cost: float
    shortage_cost: float
    storage_cost: float


@dataclasses.dataclass(kw_only=True)
class EquilibriumPrice(ClassicGame):
    """Equilibrium price: firms sell, order and store goods; the more they sell, the lower the price.

    ``equilibrium_price`` of MFGLib, which cites Guo et al. (2022); tags as in :mod:`mfenvs.games`.

    States: stock s = 0 .. most_stock. Actions: sales q and orders h, numbered q (most_ordered + 1) + h.

    * s' = min(s - min(q, s) + h, most_stock) [S]
    * price p = (demand / (E q + least_supply))^(1 / elasticity), E q being the mean sales of all firms [S]
    * r = (p - unit_cost) q - quadratic_cost q^2 - order_cost h - (order_cost + shortage_cost) max(q - s, 0)
      - storage_cost s [S]: what is sold beyond the stock is bought at once
    * the first stock is uniform [S]

    Known: the uniform policy has value -26.965186 and exploitability 22.215186.

    The price is reported as ``info["price"]``.
    """

    horizon: int = 5
    """Number of steps H [S]."""
    most_stock: int = 3
    """Largest stock [S]."""
    most_sold: int = 2
    """Largest sales in a step [S]."""
    most_ordered: int = 2
    """Largest order in a step [S]."""
    demand: float = 1.0
    """Scale d of the demand [S]."""
    least_supply: float = 1.0
    """Supply e_0 from outside [S]."""
    elasticity: float = 1.0
    """Elasticity sigma of the demand [S]."""
    unit_cost: float = 1.0
    """Production cost c_0 per unit sold [S]."""
    quadratic_cost: float = 1.0
    """Cost c_1 per squared unit sold [S]."""
    order_cost: float = 1.0
    """Cost c_2 per unit ordered [S]."""
    shortage_cost: float = 1.0
    """Additional cost c_3 per unit that is sold without being in stock [S]."""
    storage_cost: float = 1.0
    """Cost c_4 per unit in stock [S]."""

    n_signals = 1

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the price into the signal."""
        firms = world.constants
        sales = 0.0
        for cell in range(len(world.counts)):
            sales += (cell % firms.n_actions) // firms.n_orders * crowd(world, cell)
        signal[0] = (firms.demand / (sales + firms.least_supply)) ** (1.0 / firms.elasticity)

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action): the stock after sales and orders."""
        firms = world.constants
        sold, ordered = action // firms.n_orders, action % firms.n_orders
        left = state - min(sold, state)
        return 1.0 if next_state == min(left + ordered, firms.n_stocks - 1) else 0.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, price)."""
        firms = world.constants
        sold, ordered = action // firms.n_orders, action % firms.n_orders
        margin = (world.signal[0] - firms.unit_cost) * sold - firms.quadratic_cost * sold * sold
        bought = firms.order_cost * ordered + (firms.order_cost + firms.shortage_cost) * max(sold - state, 0)
        return margin - bought - firms.storage_cost * state

    def check(self) -> None:
        """Check that sizes are sizes and the price is defined for every supply."""
        for name, least in (("most_stock", 0), ("most_sold", 0), ("most_ordered", 0)):
            setattr(self, name, checks.integer(name, getattr(self, name), least, 1000))
        for name in ("demand", "least_supply", "elasticity"):
            setattr(self, name, checks.real(name, getattr(self, name), 1e-6, LARGEST))
        for name in ("unit_cost", "quadratic_cost", "order_cost", "shortage_cost", "storage_cost"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, LARGEST))
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: stocks."""
        return self.most_stock + 1

    @property
    def n_actions(self) -> int:
        """|A|: pairs of sales and orders."""
        return (self.most_sold + 1) * (self.most_ordered + 1)

    @property
    def reported(self) -> dict[str, int]:
        """The price."""
        return {"price": 0}

    @property
    def constants(self) -> Firms:
        """The market and the costs of a firm."""
        return Firms(
            self.most_stock + 1,
            self.most_ordered + 1,
            self.n_actions,
            self.demand,
            self.least_supply,
            self.elasticity,
            self.unit_cost,
            self.quadratic_cost,
            self.order_cost,
            self.shortage_cost,
            self.storage_cost,
        )
