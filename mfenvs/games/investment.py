"""Investments in product quality: firms that improve their products, and suffer from the others' quality."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import Rule
from mfenvs.games.levels.level_game import (
    CONTINUOUS,
    GRID,
    LARGEST,
    MOST_COMPONENTS,
    LevelGame,
    check_component_rule,
)
from mfenvs.games.levels.rules import ONE, ZERO
from mfenvs.rules import rule

PAYOFF_ARGUMENTS = {"product": 0, "quality": ONE, "invests": 0, "mean": ONE}
"""The arguments of a rule ``payoff``, with examples."""
TIE = 1e-6
"""A mean quality that is below the threshold by less than this counts as equal to it: the rest is rounding."""


class InvestmentConstants(NamedTuple):
    """The constants of the investment game, as its rules read them (``world.constants``)."""

    n_levels: int
    """Number of levels of the grid of a product."""
    top: np.float32
    """The highest cell, n_levels - 1."""
    threshold: np.float32
    growth: np.float32
    crowded_growth: np.float32
    benefits: NDArray[np.float32]
    """d_j, shape (n_products,)."""
    crowding_costs: NDArray[np.float32]
    """c_j, shape (n_products,)."""
    investment_costs: NDArray[np.float32]
    """lambda_j, shape (n_products,)."""


@rule
def invests_in(product: Any, action: Any) -> Any:
    """Whether an action invests in a product: its bit, 0 or 1."""
    return (action >> product) & 1


@rule
def profit(product: Any, quality: Any, invests: Any, mean: Any, constants: Any) -> Any:
    """d_j X_j - c_j <Z_j> - lambda_j A_j."""
    paid = constants.investment_costs[product] if invests else ZERO
    return constants.benefits[product] * quality - constants.crowding_costs[product] * mean - paid


@functools.cache
def of_one_product(reward: Rule) -> Rule:
    """Make the rule ``component_reward`` of a game with this reward for a product."""

    @rule
    def component_reward(component: Any, level: Any, action: Any, mean: Any, constants: Any) -> Any:
        return reward(component, level, invests_in(component, action), mean, constants)

    return component_reward


@dataclasses.dataclass(kw_only=True)
class Investment(LevelGame):
    """Investments in the quality of products: better products earn more, and less the better those of all others.

    Subramanian & Mahajan, "Reinforcement learning in stationary mean-field games" (AAMAS 2019), section 4.2; tags
    as in :mod:`mfenvs.games`.

    The state is the quality X_j in [0, 1] of each product j. Action a invests in product j if its bit j is set: 0
    in none, 2^n_products - 1 in all [S].

    * invested in: X_j' = X_j + w (1 - X_j) with w uniform on [0, 1] if <Z_j> < q, else on [0, 1/2]; otherwise the
      quality stays [S; R: the printed equation lacks its first X_j]. <Z_j> is the mean quality of all agents.
    * r = sum_j d_j X_j - c_j <Z_j> - lambda_j A_j [S]
    * first qualities i.i.d. uniform [S]

    With ``states="continuous"``, the default, qualities are numbers in single precision, as in the paper. With
    ``states="grid"`` the game is finite: qualities 0, 1/(n_levels - 1), ..., 1, and a new quality is the nearest
    one [R]. Products do not affect each other, so that a solution of the whole game consists of one of each
    product: see :meth:`one_product`.

    The horizon is infinite, with discounting [S]. Agents are all alike, and see their own qualities. No quality
    ever falls, so the stationary law of the mean field is that which is reached from the first one.
    """

    n_agents: int = 100
    """Number of agents N [S]."""
    horizon: int = 200
    """Number of steps of a simulated episode [O: a later reward is worth at most .9^200 = 1e-9 of the first]."""
    discount: float = 0.9
    """Discount factor gamma [S]. With 1 the game ends after ``horizon`` steps, and agents see the elapsed time."""
    states: str = CONTINUOUS
    """Qualities on a ``grid``, for the exact side, or ``continuous``."""
    n_levels: int = 11
    """Number of levels of the grid of each product [O]."""
    threshold: float = 0.4
    """Mean quality q from which on investments are worth less [S]."""
    growth: float = 1.0
    """Largest share of the way to quality 1 that an investment gains while <Z_j> < q [S]."""
    crowded_growth: float = 0.5
    """The same while <Z_j> >= q [S]."""
    benefits: Sequence[float] = (0.31, 0.32, 0.33)
    """Benefits d_j of a quality of 1, for every product [S]."""
    crowding_costs: Sequence[float] = (0.21, 0.22, 0.23)
    """Costs c_j of a mean quality of 1, for every product [S]."""
    investment_costs: Sequence[float] = (0.20, 0.21, 0.22)
    """Costs lambda_j of an investment, for every product [S]."""
    payoff: Rule | None = None
    """Another reward for a product in the place of d_j X_j - c_j <Z_j> - lambda_j A_j: a rule
    ``payoff(product, quality, invests, mean, constants)``, whose ``invests`` is 0 or 1 and whose
    ``constants`` are :class:`InvestmentConstants`. The rewards for all products are added up."""

    agent_prefix: ClassVar[str] = "firm"
    offset = np.float32(0.5)
    remedy = "fewer levels, a product alone (one_product), or states='continuous'"

    @staticmethod
    @rule
    def rise(component: Any, action: Any, mean: Any, constants: Any) -> Any:
        """A quality rises by an investment only, and faster while the mean is below the threshold."""
        growth = constants.growth if mean < constants.threshold else constants.crowded_growth
        return growth if invests_in(component, action) else ZERO

    def check(self) -> None:
        """Check the constants."""
        self.threshold = checks.real("threshold", self.threshold)
        self.growth = checks.real("growth", self.growth, 0.0, 1.0)
        self.crowded_growth = checks.real("crowded_growth", self.crowded_growth, 0.0, 1.0)
        names = ("benefits", "crowding_costs", "investment_costs")
        for name in names:
            setattr(self, name, _numbers(name, getattr(self, name)))
        lengths = [len(getattr(self, name)) for name in names]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"{', '.join(names)} must have one number for each product, got"
                f" {', '.join(map(str, lengths))} numbers"
            )
        super().check()
        check_component_rule(self, "payoff", PAYOFF_ARGUMENTS)

    def one_product(self, product: int, n_levels: int = 401) -> "Investment":
        """The game of one product alone, on a grid.

        The product's quality moves and earns as in the whole game, so that best responses and equilibria are those
        of the whole game, as far as they concern the product.

        Parameters
        ----------
        product:
            Index of the product, from 0.
        n_levels:
            Number of levels of the grid.

        Returns
        -------
        A finite game of two actions: 0 not to invest, 1 to invest.

        Raises
        ------
        TypeError, ValueError
            If there is no such product or grid, or the game has a ``payoff``, which is given the index of
            the product.
        """
        index = checks.integer("product", product, 0, self.n_components - 1)
        return dataclasses.replace(
            self,
            states=GRID,
            n_levels=n_levels,
            benefits=self.benefits[index : index + 1],
            crowding_costs=self.crowding_costs[index : index + 1],
            investment_costs=self.investment_costs[index : index + 1],
        )

    @property
    def n_components(self) -> int:
        """Number of products."""
        return len(self.benefits)

    @property
    def n_actions(self) -> int:
        """2 to the power of the number of products."""
        return int(2**self.n_components)

    @property
    def component_names(self) -> tuple[str, ...]:
        """The products."""
        return tuple(f"quality {product}" for product in range(self.n_components))

    @property
    def component_reward(self) -> Rule:
        """The reward for a product."""
        return of_one_product(self.payoff or profit)

    @property
    def constants(self) -> InvestmentConstants:
        """The constants that rules read."""
        return InvestmentConstants(
            self.n_levels,
            np.float32(self.n_levels - 1),
            np.float32(self.threshold - TIE),
            np.float32(self.growth),
            np.float32(self.crowded_growth),
            np.array(self.benefits, np.float32),
            np.array(self.crowding_costs, np.float32),
            np.array(self.investment_costs, np.float32),
        )


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    wanted = f"be a sequence of 1 to {MOST_COMPONENTS} numbers, one for each product"
    found = checks.sequence(name, value, wanted)
    if not 1 <= len(found) <= MOST_COMPONENTS:
        raise ValueError(f"{name} must {wanted}, got {checks.shown(value)}")
    return tuple(checks.real(f"{name}[{i}]", number, -LARGEST, LARGEST) for i, number in enumerate(found))
