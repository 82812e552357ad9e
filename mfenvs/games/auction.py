"""The repeated auction: bidders with budgets meet at random, the highest bid wins at the second-highest price."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.random import uniform
from mfenvs.finite_game import MAX_CELLS, FiniteGame
from mfenvs.rules import individual, rule

ZERO, ONE = np.float32(0.0), np.float32(1.0)
MOST_BIDDERS = 32
"""Largest number of bidders: up to here the products in the law of a round fit into single precision."""
LARGEST = 1e9
"""Largest amount of money: rewards are in single precision."""
ROUND, CONVERSION, FULFILMENT, OPPONENTS = 0, 1, 2, 3
"""Streams of an agent's draws in a step; those of the opponents' bids come last, one for each."""


class Terms(NamedTuple):
    """The terms of the auction, as its rules read them (``world.constants``)."""

    n_budgets: int
    n_bids: int
    n_opponents: int
    """Number M - 1 of bidders in a round beside the agent."""
    penalty: np.float32
    fulfilment: np.float32
    conversions: NDArray[np.float32]
    """The values that the conversion v_t takes, equally likely."""
    mean_conversion: np.float32


# Draws of opponents. `group` is the number of other agents in a group, `one` the number by which a draw reduces
# it: draws are without replacement among N agents (one = 1), with replacement in the mean-field (one = 0, and
# `group` is a mass).


@rule
def one_of_others(world: Any) -> Any:
    """1 / (N - 1) in double precision, so that a sole highest bidder wins for certain; 1 in the mean-field."""
    return 1.0 / math.floor(1.0 / world.per_other + 0.5)


@rule
def all_drawn_from(group: Any, n_draws: Any, one: Any, per_other: Any) -> Any:
    """Probability that ``n_draws`` opponents, drawn from all others, are all of a group."""
    drawn, all_draws = per_other * 0 + 1, per_other * 0 + 1
    for j in range(n_draws):
        drawn *= max(group - j * one, group * 0) * per_other
        all_draws *= 1 - j * one * per_other
    return drawn / all_draws


@rule
def drawn_at(k: Any, here: Any, below: Any, n_draws: Any, one: Any, per_other: Any) -> Any:
    """Probability that of ``n_draws`` opponents exactly k are of the group ``here``, all others of ``below``."""
    drawn, all_draws = per_other * 0 + 1, per_other * 0 + 1
    for j in range(k):
        drawn *= max(here - j * one, here * 0) * per_other * (n_draws - j)
        all_draws *= (1 - j * one * per_other) * (k - j)
    for j in range(k, n_draws):
        drawn *= max(below - (j - k) * one, below * 0) * per_other
        all_draws *= 1 - j * one * per_other
    return drawn / all_draws


# The law of a round, which `aggregate` writes into the signal: below(b) for b < n_bids, then tied(b).


@rule
def below(world: Any, bid: Any) -> Any:
    """Probability that all opponents bid less than ``bid``, for an agent who bids that or more."""
    return world.signal[bid]


@rule
def tied(world: Any, bid: Any) -> Any:
    """Probability that an agent's ``bid`` ties for the highest bid, and that the agent wins the tie."""
    return world.signal[world.constants.n_bids + bid]


@rule
def wins_at(price: Any, bid: Any, world: Any) -> Any:
    """Probability that an agent who bids ``bid`` wins at this price, the second-highest bid."""
    if price > bid:
        return world.signal[0] * 0
    return tied(world, bid) if price == bid else below(world, price + 1) - below(world, price)


@rule
def wins(bid: Any, world: Any) -> Any:
    """Probability that an agent who bids ``bid`` wins."""
    return below(world, bid) + tied(world, bid)


# Reward and budget of the winner of a round.


@rule
def earned(conversion: Any, price: Any, budget: Any, world: Any) -> Any:
    """Reward of the winner: (v - p) - (1 + rho) max(p - s, 0)."""
    return (conversion - price) - (1 + world.constants.penalty) * max(price - budget, 0)


@rule
def left_over(budget: Any, price: Any) -> Any:
    """Budget of the winner after the round, before it is filled up."""
    return max(budget - price, 0)


@rule
def left_with(budget: Any, before: Any, bid: Any, world: Any) -> Any:
    """Probability that a budget ``before`` is ``budget`` after the round, before it is filled up."""
    chance = (1 - wins(bid, world)) if budget == before else world.signal[0] * 0
    if 0 < budget <= before:
        chance += wins_at(before - budget, bid, world)
    elif budget == 0 and bid >= before:
        chance += wins(bid, world) - below(world, before)
    return chance


@rule
def tie_weight(k: Any, is_tie: Any, won: Any) -> Any:
    """Probability of the agent's outcome in a tie with k opponents at the highest bid: 1 / (k + 1) for a win."""
    if not is_tie:
        return ONE
    return np.float32(1 if won else k) / np.float32(k + 1)


@dataclasses.dataclass(kw_only=True)
class Auction(FiniteGame):
    """Repeated Vickrey auction: bidders with budgets, random opponents, second price.

    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585); tags as in :mod:`mfenvs.games`.

    States: budget s in 0..|S|-1. Actions: bid a in 0..|A|-1 [O on the grid]. In each round every agent meets M-1
    opponents, drawn from the N-1 others without replacement, each agent its own [S; R on the replacement].
    It wins if its bid is the highest, ties being broken uniformly [O], and pays the second-highest bid p among
    the M:

    * r = 1{win} [(v - p) - (1 + rho) 1{s < p} (p - s)] [S]
    * the budget stays s if it lost, else becomes max(s - p, 0) [S], and is then filled up by 1 with
      probability ``fulfilment``, up to |S|-1 [S; O on the law]
    * v, the conversion, is uniform on ``conversions`` in each round and not known when bidding [S; O on the law]

    The horizon is infinite, with discounting [S]. The population matters through the bids only: in the mean-field
    the price is distributed as the highest of M-1 independent bids.

    Agents (``game.agents``): ``appeal``, a factor on the agent's conversions, uniform in 1 -+ heterogeneity
    [O; 1 for all by default, as in the paper]. First budgets are i.i.d. uniform [O].
    """

    n_agents: int = 20
    """Number of agents N [S: 20 or 40]."""
    n_budgets: int = 10
    """Number of budgets |S| [S: 10 or 20]."""
    n_bids: int = 10
    """Number of bids |A| [S: as many as budgets]."""
    n_bidders: int = 5
    """Number M of bidders in a round, the agent included, 2 <= M <= min(N, 32) [O]."""
    penalty: float = 0.2
    """Penalty rho per unit of money that is paid beyond the budget [O]."""
    conversions: Sequence[float] = (1.0, 2.0, 3.0, 4.0)
    """Values of the conversion v, equally likely [O]."""
    fulfilment: float = 0.5
    """Probability that a budget is filled up by one after a round [O]."""
    heterogeneity: float = 0.0
    """Half-width of the agents' appeal around 1, in [0, 1] [O]."""
    discount: float = 0.8
    """Discount factor gamma [O]. With 1 the game ends after ``horizon`` rounds."""
    horizon: int = 50
    """Number of rounds in a simulated episode [O]: a later round is worth at most 0.8^50 = 1e-5 of the first."""

    agent_prefix: ClassVar[str] = "bidder"
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("appeal", np.float32)])

    @staticmethod
    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        """The cell of an agent is its bid."""
        return action

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Compute the law of a round from the histogram of bids: order statistics of M-1 drawn bids.

        An agent's own bid is not among its opponents': where others bid the same, one of them is the agent.
        """
        n_draws, n_bids = world.constants.n_opponents, world.constants.n_bids
        one, per_other = individual(world), one_of_others(world)
        lower = world.counts[0] * 0
        for bid in range(n_bids):
            signal[bid] = all_drawn_from(lower, n_draws, one, per_other)
            others = max(world.counts[bid] - one, world.counts[bid] * 0)
            win = signal[bid] * 0
            for k in range(1, n_draws + 1):
                win += drawn_at(k, others, lower, n_draws, one, per_other) / (k + 1)
            signal[n_bids + bid] = win
            lower += world.counts[bid]

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, others): the budget after the round, filled up."""
        filled = world.constants.fulfilment
        if next_state > state + 1:
            return filled * 0
        chance = (1 - filled) * left_with(next_state, state, action, world)
        if next_state > 0:
            chance += filled * left_with(next_state - 1, state, action, world)
        if next_state == world.constants.n_budgets - 1:
            chance += filled * left_with(next_state, state, action, world)
        return chance

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The expected reward, over opponents, ties and the conversion."""
        conversion = agent.appeal * world.constants.mean_conversion
        total = world.signal[0] * 0
        for price in range(action + 1):
            total += wins_at(price, action, world) * earned(conversion, price, state, world)
        return total

    @staticmethod
    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        """One round: one draw against the law of the price, one for the conversion, one for the budget."""
        terms = world.constants
        draw = uniform(key, ROUND)
        budget, reward = np.int32(state), ZERO
        if draw < wins(action, world):
            price = np.int32(action)
            while price > 0 and draw < below(world, price):
                price -= 1
            drawn = np.int32(uniform(key, CONVERSION) * np.float32(len(terms.conversions)))
            reward = np.float32(earned(agent.appeal * terms.conversions[drawn], price, budget, world))
            budget = left_over(budget, price)
        if uniform(key, FULFILMENT) < terms.fulfilment:
            budget = min(budget + 1, terms.n_budgets - 1)
        return budget, reward

    @staticmethod
    @rule
    def met(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        """The mean bid of the opponents in this round, drawn given the outcome of the round in ``step``."""
        n_draws = world.constants.n_opponents
        one, per_other = individual(world), one_of_others(world)
        draw = uniform(key, ROUND)
        # The highest of the opponents' bids, by inversion of the draw that decided the round.
        lower = world.counts[0] * 0
        for bid in range(action):
            lower += world.counts[bid]
        top = np.int32(action)
        here = max(world.counts[action] - one, lower * 0)
        is_tie = False
        if draw < below(world, action):
            while draw < below(world, top):
                top -= 1
                here = world.counts[top]
                lower -= here
        elif draw < all_drawn_from(lower + here, n_draws, one, per_other):
            is_tie = True
        else:
            while top < world.constants.n_bids - 1 and draw >= all_drawn_from(
                lower + here, n_draws, one, per_other
            ):
                top += 1
                lower += here
                here = world.counts[top]
        won = draw < wins(action, world)
        # The number of opponents at that bid: at least one, and in a tie the fewer the better for the agent.
        total = per_other * 0
        for k in range(1, n_draws + 1):
            total += tie_weight(k, is_tie, won) * drawn_at(k, here, lower, n_draws, one, per_other)
        draw = uniform(key, OPPONENTS) * total
        at_top, reached = np.int32(0), per_other * 0
        while at_top < n_draws and (at_top == 0 or draw >= reached):
            at_top += 1
            reached += tie_weight(at_top, is_tie, won) * drawn_at(at_top, here, lower, n_draws, one, per_other)
        # The others, level by level: each of them is at this bid, or below.
        total_bid, remaining = at_top * top, n_draws - at_top
        while remaining > 0 and top > 0:
            top -= 1
            here = world.counts[top] - (one if top == action else one * 0)
            group, at_bid = here, np.int32(0)
            pool = lower
            for j in range(remaining):
                if uniform(key, OPPONENTS + 1 + top * n_draws + j) * pool < group:
                    at_bid += 1
                    group -= one
                pool -= one
            lower -= here
            total_bid += at_bid * top
            remaining -= at_bid
        return np.float32(total_bid) / n_draws

    def check(self) -> None:
        """Check the terms of the auction."""
        self.n_budgets = checks.integer("n_budgets", self.n_budgets, 1)
        self.n_bids = checks.integer("n_bids", self.n_bids, 1)
        checks.at_most("n_budgets * n_bids", self.n_budgets * self.n_bids, MAX_CELLS)
        self.n_bidders = checks.integer("n_bidders", self.n_bidders, 2, min(self.n_agents, MOST_BIDDERS))
        self.penalty = checks.real("penalty", self.penalty, 0.0, LARGEST)
        self.fulfilment = checks.real("fulfilment", self.fulfilment, 0.0, 1.0)
        self.heterogeneity = checks.real("heterogeneity", self.heterogeneity, 0.0, 1.0)
        conversions = checks.sequence("conversions", self.conversions, "be a sequence of at least one number")
        if not conversions:
            raise ValueError(
                f"conversions must be a sequence of at least one number, got {checks.shown(self.conversions)}"
            )
        self.conversions = tuple(
            checks.real(f"conversions[{i}]", value, -LARGEST, LARGEST) for i, value in enumerate(conversions)
        )
        super().check()

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw every agent's appeal."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["appeal"] = 1.0 + self.heterogeneity * rng.uniform(-1.0, 1.0, self.n_agents)
        return agents

    @property
    def n_states(self) -> int:
        """|S|: budgets."""
        return self.n_budgets

    @property
    def state_levels(self) -> NDArray[np.float64]:
        """Budgets as parts of the largest one, s / (|S| - 1), shape (|S|, 1)."""
        return np.arange(self.n_budgets)[:, None] / max(self.n_budgets - 1, 1)

    @property
    def n_actions(self) -> int:
        """|A|: bids."""
        return self.n_bids

    @property
    def n_cells(self) -> int:
        """|A|: agents are counted by their bids."""
        return self.n_bids

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """2 |A|: the law of a round is two probabilities for every bid."""
        return 2 * self.n_bids

    @property
    def constants(self) -> Terms:
        """The terms of the auction."""
        conversions = np.array(self.conversions, np.float32)
        return Terms(
            self.n_budgets,
            self.n_bids,
            self.n_bidders - 1,
            np.float32(self.penalty),
            np.float32(self.fulfilment),
            conversions,
            np.float32(conversions.mean()),
        )
