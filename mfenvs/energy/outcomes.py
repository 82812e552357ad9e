"""Figures of played days of an energy market: welfare and efficiency, grid and prices, risk, settlement.

Welfare of a day is what the community as a whole gets: the worth of the flexible load served, less wear of the
batteries, less what is paid to the grid, less the settlement of charge that is missing or left at the end of the
day. Payments for local trade are transfers between agents, and settlement fees are transfers to the operator or
to routing nodes: both drop out, so that welfare is the sum of the rewards and the fees.
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy import risk_measures
from mfenvs.energy.record import MarketRecord
from mfenvs.energy.settlement import (
    Ledger,
    PaymentChannels,
    PaymentNetwork,
    Settlement,
    SettlementSummary,
    summary,
)
from mfenvs.energy.welfare import Plan, PlanningProblem, efficiency, no_trade_welfare, plan
from mfenvs.engine.model import in_double_precision
from mfenvs.evaluation import evaluate
from mfenvs.games.energy.market import FEED_IN, RETAIL, EnergyMarket, expected_factor, published, usual
from mfenvs.meanfield.n_player import Estimate
from mfenvs.rules import plain
from mfenvs.wrappers.observations import Observe

Array = NDArray[np.float64]

GRID_CO2 = 0.4
"""Emissions of imported energy, kg/kWh: a round number of ours [O], not a measured one."""

BOUND_TOLERANCE = 1e-6
"""How far a day's welfare may be above its bound, relative to the value of all that was moved: a state of charge
is kept in single precision, and the solver has a tolerance too."""

N_NODES = 300
"""Nodes of the payment-channel network that :func:`settle` draws; the spec asks for 200 to 500."""

HOW = ("ledger", "payment-channels")
"""Ways of settlement by name."""

N_RESAMPLES = 1000
CONFIDENCE = 0.95
"""Of the bootstrap of :func:`risk_outcome`."""


class Interval(NamedTuple):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


# Welfare.


def realised_welfare(record: MarketRecord) -> Array:
    """Welfare W of every day, EUR, shape (n_worlds,).

    The sum over agents and steps of utility - degradation - (retail x imports - feed_in x exports) - terminal,
    which is that of rewards + fees.
    """
    benefit = record.account("utility") - record.account("degradation") - record.account("terminal")
    retail, feed_in = record.signals[:, :, RETAIL], record.signals[:, :, FEED_IN]
    to_grid = retail * record.account("imports").sum(axis=2) - feed_in * record.account("exports").sum(axis=2)
    welfare: Array = benefit.sum(axis=(1, 2)) - to_grid.sum(axis=1)
    return welfare


def planning_problem(
    record: MarketRecord, world: int, *, co2: ArrayLike = GRID_CO2, settles_charge: bool = True
) -> PlanningProblem:
    """A played day as the planner with perfect foresight knows it; no policy played on it can do better.

    Load, generation and tariffs are those that turned out. The flexible load that an agent could have had is what
    the market's own rules offer it: its share of the load in the data, times what the weather of the step before
    lets one expect. What the agents did does not matter.

    The market lets batteries end the day with any charge, and settles the difference to the initial one at the
    last step's tariffs, at once and without wear. A planner that must be back at the initial charge by the end of
    the last step [R] could be beaten by that: by emptying a battery at the evening's peak, say, and refilling it
    at the last step's low price. So steps of settlement are appended [O], in which nobody uses or makes energy:
    first as many as refill every battery, at the retail tariff of the last step less the wear; then as many as
    sell what can be left, at the feed-in tariff plus the wear. The charge *after these* is at least the initial
    one. In them the planner may pass energy from battery to battery, which the market's settlement does not, and
    keep what is left if the feed-in tariff is negative: W* is an upper bound, and for the rest what the market can
    reach.

    Parameters
    ----------
    record:
        The days.
    world:
        Which of them.
    co2:
        Of imported energy, kg/kWh, a number or shape (H,); the default .4 is ours [O], and the series has its own
        (``game.days.co2``). Steps of settlement count as the last step.
    settles_charge:
        Whether steps of settlement are appended. Without them the problem has the day's H steps, batteries end
        it with their initial charge at least, and W* may be below a played day's welfare by what the settlement
        yields: for schedules and Pareto fronts over the peak.

    Returns
    -------
    The problem of N agents in H steps and those of settlement; batteries' power is in kWh per step.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    world = _world(record, world)
    game, constants, n_steps = record.game, record.game.constants, record.accounts.shape[1]
    settles_charge = checks.boolean("settles_charge", settles_charge)
    agents = in_double_precision(game.agents)
    conditions = plain(published)(record.signals[world].T)
    factor = plain(expected_factor)(conditions, constants)
    day, steps = record.day[world], np.arange(n_steps)
    in_data = [plain(usual)(agent, day, steps, constants).flexible for agent in agents.view(np.recarray)]
    intensity = np.asarray(co2)
    intensity = np.full(n_steps, intensity) if intensity.ndim == 0 else intensity
    day_problem = PlanningProblem(
        load=record.account("load")[world].T,
        generation=record.account("generation")[world].T,
        flexible=factor * np.array(in_data),
        flexible_value=agents["flexible_value"],
        capacity=agents["capacity"],
        power=agents["power"] * np.float64(constants.step_hours),
        efficiency=np.full(game.n_agents, constants.efficiency, np.float64),
        soc0=record.charge[world, 0] * agents["capacity"],
        degradation=np.full(game.n_agents, constants.degradation, np.float64),
        retail=conditions.retail,
        feed_in=conditions.feed_in,
        co2=checks.shaped("co2", intensity, (n_steps,), np.float64),
    )
    return _with_settlement(day_problem) if settles_charge else day_problem


def _with_settlement(day: PlanningProblem) -> PlanningProblem:
    """The day with steps behind it in which batteries are brought back to their initial charge."""
    n_refill, n_sale = _settlement_steps(day)
    wear, retail, feed_in = float(day.degradation.max()), day.retail[-1], day.feed_in[-1]
    # Wear on what is drawn and delivered is made up for by the tariffs; the other tariff of each of these steps
    # must not be in the wrong order, and is no better than the market's.
    cheap, dear = retail - wear, feed_in + wear
    idle = ((0, 0), (0, n_refill + n_sale))
    return dataclasses.replace(
        day,
        load=np.pad(day.load, idle),
        generation=np.pad(day.generation, idle),
        flexible=np.pad(day.flexible, idle),
        retail=np.concatenate([day.retail, np.full(n_refill, cheap), np.full(n_sale, max(retail, dear))]),
        feed_in=np.concatenate([day.feed_in, np.full(n_refill, min(feed_in, cheap)), np.full(n_sale, dear)]),
        co2=np.pad(day.co2, (0, n_refill + n_sale), mode="edge"),
    )


def _settlement_steps(day: PlanningProblem) -> tuple[int, int]:
    """How many steps it takes to refill all that can be missing, and to sell all that can be left."""
    works = (day.capacity > 0) & (day.power > 0)
    if not works.any():
        return 0, 0
    efficiency, power = day.efficiency[works], day.power[works]
    start, capacity, most = day.soc0[works], day.capacity[works], day.n_steps * day.power[works]
    missing, left = np.minimum(start, most / efficiency), np.minimum(capacity - start, most * efficiency)
    return math.ceil((missing / efficiency / power).max()), math.ceil((left * efficiency / power).max())


def best_plans(record: MarketRecord) -> list[Plan]:
    """The planner's optimum W* of every day, by :func:`planning_problem` with settlement.

    It does not depend on the policy: the plans of one record serve for all others of the same game, number of
    worlds and seed.
    """
    return [plan(planning_problem(record, world)) for world in range(record.n_worlds)]


@dataclasses.dataclass(frozen=True, eq=False)
class MarketOutcome:
    """Figures of each day, all float64 of shape (n_worlds,)."""

    welfare: Array
    """W, EUR."""
    no_trade: Array
    """W_0, EUR: no local trade and idle storage, with perfect foresight of one's own load and generation."""
    best: Array
    """W*, EUR, an upper bound of any policy's W."""
    efficiency: Array
    """(W - W_0) / (W* - W_0) [S]; nan where there is nothing to gain. It may be negative."""
    peak_import: Array
    """Largest net import of the community in a step, kWh.

    What batteries lack at the end of the day counts as money only, here and in all energies below.
    """
    peak_export: Array
    """Largest net export of the community in a step, kWh."""
    imports: Array
    """From the grid, imbalance included, kWh."""
    exports: Array
    """To the grid, likewise."""
    local_share: Array
    """Energy traded locally as a part of what is traded locally or imported; nan if that is nothing."""
    price_mean: Array
    """Mean of the day's prices, EUR/kWh."""
    price_sd: Array
    """Their standard deviation over the steps."""
    price_min: Array
    price_max: Array
    mean_return: Array
    """Total reward, mean over agents, EUR."""

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """The mean of a figure over the days, with a two-sided Student interval; days without it are left out.

        Parameters
        ----------
        name:
            Of the figure.
        level:
            Of confidence, in (0, 1).

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or fewer than two days have the figure.
        """
        names = tuple(field.name for field in dataclasses.fields(self))
        of_days = getattr(self, checks.choice("name", name, names))
        level = checks.real("level", level, 0.0, 1.0, exclude_low=True, exclude_high=True)
        known = of_days[~np.isnan(of_days)]
        if len(known) < 2:
            raise ValueError(f"an interval of {name} needs at least 2 days that have it, got {len(known)}")
        estimate = dataclasses.replace(Estimate.of(known), confidence=level)
        return Interval(estimate.value, *estimate.interval)


def market_outcome(record: MarketRecord, *, plans: Sequence[Plan] | None = None) -> MarketOutcome:
    """The figures of every day of a record.

    Parameters
    ----------
    record:
        The days.
    plans:
        What :func:`best_plans` returned for these days, be it of another policy; by default they are made.

    Raises
    ------
    ValueError
        If ``plans`` are not of these days: their number or shapes differ, one does not balance its day's load and
        generation, or a day's welfare is above its bound.
    """
    welfare = realised_welfare(record)
    problems = [planning_problem(record, world) for world in range(record.n_worlds)]
    made = [plan(problem) for problem in problems] if plans is None else list(plans)
    _check_plans(record, problems, made, welfare)
    no_trade = np.array([no_trade_welfare(problem) for problem in problems])
    best = np.array([one.bound for one in made])
    per_step = {name: record.account(name).sum(axis=2) for name in ("imports", "exports", "local_bought")}
    net = per_step["imports"] - per_step["exports"]
    imports, local = per_step["imports"].sum(axis=1), per_step["local_bought"].sum(axis=1)
    share = np.full(record.n_worlds, np.nan)
    return MarketOutcome(
        welfare=welfare,
        no_trade=no_trade,
        best=best,
        efficiency=np.array([_efficiency(*day) for day in zip(welfare, no_trade, best, strict=True)]),
        peak_import=np.maximum(net, 0.0).max(axis=1),
        peak_export=np.maximum(-net, 0.0).max(axis=1),
        imports=imports,
        exports=per_step["exports"].sum(axis=1),
        local_share=np.divide(local, local + imports, out=share, where=local + imports > 0),
        price_mean=record.price.mean(axis=1),
        price_sd=record.price.std(axis=1),
        price_min=record.price.min(axis=1),
        price_max=record.price.max(axis=1),
        mean_return=record.returns.mean(axis=1),
    )


def _efficiency(welfare: float, no_trade: float, best: float) -> float:
    with contextlib.suppress(ValueError):  # Nothing to gain.
        return efficiency(welfare, no_trade, best)
    return math.nan


def _check_plans(
    record: MarketRecord, problems: Sequence[PlanningProblem], plans: Sequence[Plan], welfare: Array
) -> None:
    if len(plans) != record.n_worlds:
        raise ValueError(f"plans must be one for each of the {record.n_worlds} days, got {len(plans)}")
    money = ("utility", "degradation", "trade_payment", "imbalance_payment", "terminal")
    moved = np.sum([np.abs(record.account(name)).sum(axis=(1, 2)) for name in money], axis=0)
    for world, (problem, one) in enumerate(zip(problems, plans, strict=True)):
        if one.served.shape != problem.load.shape:
            raise ValueError(
                f"plans[{world}] must be of {problem.n_agents} agents in {problem.n_steps} steps, got one of shape"
                f" {one.served.shape}"
            )
        net = problem.load + one.served + one.charge - one.discharge - problem.generation
        missing = net.sum(axis=0) + one.curtailed - one.imported + one.exported
        if not np.abs(missing).max() <= BOUND_TOLERANCE * (problem.load.sum() + problem.generation.sum() + 1.0):
            raise ValueError(
                f"plans[{world}] must be of the day of world {world}, but it does not balance that day's load and"
                f" generation: {np.abs(missing).max():g} kWh are missing"
            )
        if not welfare[world] <= one.bound + BOUND_TOLERANCE * moved[world]:
            raise ValueError(
                f"plans[{world}] must be of the day of world {world}, but that day's welfare {welfare[world]!r} is"
                f" above the plan's bound {one.bound!r}"
            )


# Risk.


@dataclasses.dataclass(frozen=True)
class RiskOutcome:
    """Risk of the agents' daily losses, mean over agents, EUR; each with a 95 % interval over days."""

    expected: Interval
    """E[c]."""
    cvar: Interval
    """CVaR_alpha(c), each agent's own tail."""
    adjusted: Interval
    """(1 - gamma_i) E[c] + gamma_i CVaR_alpha(c) [S]."""


def losses(
    game: EnergyMarket, policy: Any, *, observe: Observe | None = None, n_worlds: int = 200, seed: int = 0
) -> Array:
    """Every agent's loss of every day, which is minus its return: EUR, shape (n_worlds, N).

    Parameters are those of :func:`mfenvs.evaluate`, which plays the days.
    """
    return -evaluate(game, policy, observe=observe, n_worlds=n_worlds, seed=seed).returns


def risk_outcome(losses: ArrayLike, gamma: ArrayLike, alpha: float = 0.05, seed: int = 0) -> RiskOutcome:
    """Expected loss, CVaR and risk-adjusted loss of a population, with bootstrap intervals.

    Days are the independent units: agents of one day share its weather and its prices, so that a day is resampled
    with all of them (basic bootstrap, 1,000 resamples). CVaR is that of each agent's own losses over the days,
    from the worst alpha n of n days. It is too low if they are few, and its interval is too narrow: in simulations
    with alpha = .05 it held the true CVaR of normal losses in 92 % of samples of 200 days and in 85 % of 50 days,
    of Student-t losses with 4 degrees of freedom in 82 % and 63 %. The interval of E[c] held in 93 to 95 %.

    Parameters
    ----------
    losses:
        Of every day and agent, EUR, shape (n_days, N), n_days >= 2; or (n_days, n_repeats, N) where each day was
        played several times: then what is resampled is a day with all its repeats.
    gamma:
        Risk aversion, in [0, 1], one number or shape (N,); ``game.agents["risk_aversion"]``.
    alpha:
        Tail share, in (0, 1].
    seed:
        Of the resamples.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    sample = np.asarray(losses)
    if sample.ndim not in (2, 3) or len(sample) < 2 or 0 in sample.shape:
        raise ValueError(
            f"losses must have shape (n_days, N) or (n_days, n_repeats, N) with n_days >= 2, got {sample.shape}"
        )
    n_agents = sample.shape[-1]
    aversion = np.broadcast_to(gamma, n_agents) if np.ndim(gamma) == 0 else gamma
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    found = _risks(sample.reshape(-1, n_agents).T, aversion, alpha)
    draws = rng.integers(len(sample), size=(N_RESAMPLES, len(sample)))
    resampled = [_risks(sample[days].reshape(-1, n_agents).T, aversion, alpha) for days in draws]
    below, above = np.quantile(resampled, (0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2), axis=0)
    # Reflected: a resample's tail is less bad than the sample's as the sample's is less bad than the law's.
    low, high = 2 * np.array(found) - below, 2 * np.array(found) - above
    return RiskOutcome(*(Interval(*row) for row in zip(found, low.tolist(), high.tolist(), strict=True)))


def _risks(sample: NDArray[Any], gamma: ArrayLike, alpha: float) -> tuple[float, float, float]:
    """Means over agents of E[c], CVaR_alpha(c) and the risk-adjusted loss; ``sample`` is (N, n_days)."""
    cvar = risk_measures.cvar(sample, alpha)
    adjusted = risk_measures.risk_adjusted(sample, gamma, alpha)
    return float(sample.mean()), float(cvar.mean()), float(adjusted.mean())


# Settlement.


def local_payments(record: MarketRecord, world: int) -> Array:
    """What each agent owes (> 0) or is owed for local trade in each step of a day, EUR, shape (H, N).

    Price x (bought - sold locally): zero in sum over the agents, up to rounding.

    Raises
    ------
    TypeError, ValueError
        If ``world`` is not one of the record's.
    """
    world = _world(record, world)
    net: Array = record.account("local_bought")[world] - record.account("local_sold")[world]
    return record.price[world, :, None] * net


def settle(
    record: MarketRecord, world: int, how: str | Ledger | PaymentChannels = "ledger", *, seed: int = 0
) -> tuple[list[Settlement], SettlementSummary]:
    """Settle the local trade of a played day, step by step.

    Parameters
    ----------
    record:
        The days.
    world:
        Which of them.
    how:
        ``ledger``; or ``payment-channels`` for a fresh scale-free network of 300 nodes, with each agent at
        ``agents["node"] % 300``; or a settlement of one's own, whose balances go on from where they are.
    seed:
        Of the network and its latencies.

    Returns
    -------
    The settlement of each step, and their figures together. What failed to be paid became credit of the retailer
    with a penalty; :func:`settlement_charges` tells what the agents pay for all that.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    AssertionError
        If money was not conserved (:meth:`Settlement.check_conservation`).
    """
    payments, seed = local_payments(record, world), checks.integer("seed", seed, 0)
    if isinstance(how, Ledger | PaymentChannels):
        books = how
    elif checks.choice("how", how, HOW) == "ledger":
        books = Ledger()
    else:
        network = PaymentNetwork.scale_free(N_NODES, seed=seed)
        books = PaymentChannels(network, record.game.agents["node"] % N_NODES, seed=seed)
    settlements = [books.settle(of_step) for of_step in payments]
    for one in settlements:
        one.check_conservation()
    return settlements, summary(settlements)


def settlement_charges(settlements: Sequence[Settlement]) -> Array:
    """What each agent pays for settlement, fees and penalties of all the steps: EUR, shape (N,).

    Raises
    ------
    ValueError
        If there is no settlement.
    """
    if not settlements:
        raise ValueError("settlements must be at least one, got none")
    charged: Array = np.sum([one.net_eur - one.payments_eur for one in settlements], axis=0)
    return charged


def _world(record: MarketRecord, world: int) -> int:
    return checks.integer("world", world, 0, record.n_worlds - 1)
