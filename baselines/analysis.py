"""One report on a finite game: what the theory of approximate symmetry promises for it, and what is measured.

The theory is that of Yardim & He, "Exploiting approximate symmetry for efficient multi-agent reinforcement
learning" (arXiv 2408.15173); the functions are those of :mod:`mfenvs.meanfield`.
"""

import dataclasses
import time
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.meanfield.bounds import ExploitabilityBound, GameConstants, regularisation_bias, theorem_1
from mfenvs.meanfield.dominance import Dominance, dominance
from mfenvs.meanfield.equilibrium.solve import solve as find_equilibrium
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.lipschitz import LipschitzConstants, lipschitz_constants
from mfenvs.meanfield.monotonicity import Monotonicity, monotonicity
from mfenvs.meanfield.n_player import Exploitability, n_player_exploitability
from mfenvs.meanfield.symmetry import ApproximateSymmetry, approximate_symmetry
from mfenvs.registry import name_of

from .solvers.fixed_point import FictitiousPlay, FictitiousPlayConfig, MirrorDescentConfig, OnlineMirrorDescent
from .solvers.solver import MeanFieldSolver

Array = NDArray[np.float64]

SolverName = Literal["best", "omd", "fictitious-play"]

TOLERANCE = 1e-9
"""Exploitability at which :func:`mfenvs.solve` stops."""
STEP_SIZES = (1.0, 0.1, 0.01)
"""Step sizes of mirror descent that are tried."""
MOST_AGENTS = 64
"""Largest number of agents whose gains are measured; of more, this many are drawn at random."""
LARGEST_PROBLEM = 2**27
"""Largest number of entries H |S|^2 |A| of a decision problem for which exploitability is measured: 1 GB."""
WORK = 2e8
"""Largest number of simulated agent-steps times |S||A| in the measurement of exploitability."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """How to analyse a game."""

    solver: SolverName = "best"
    """Solver that finds the mean-field equilibrium: ``best`` (:func:`mfenvs.solve`), ``omd`` (mirror descent, at
    three step sizes) or ``fictitious-play``."""
    seconds: float = 10.0
    """Time for the solver, in seconds."""
    n_iterations: int = 10_000
    """Number of iterations after which a solver stops."""
    n_worlds: int = 64
    """Number of simulated worlds in which the exploitability among N agents is measured, at least 2; fewer in
    large games."""
    seed: int = 0
    """Random seed of the simulations and of the populations at which rules are probed."""

    def check(self) -> None:
        """Raise a ValueError if a setting is not allowed."""
        checks.choice("solver", self.solver, ("best", "omd", "fictitious-play"))
        checks.real("seconds", self.seconds, 0.0, exclude_low=True)
        checks.integer("n_iterations", self.n_iterations, 1)
        checks.integer("n_worlds", self.n_worlds, 2)
        checks.integer("seed", self.seed, 0, 2**63 - 1)


@dataclasses.dataclass(frozen=True)
class Equilibrium:
    """A policy that a solver found, close to an equilibrium of the induced game."""

    policy: Array
    """Probabilities, shape (T, S, A)."""
    exploitability: float
    """Its exploitability in the induced game, exact."""
    solver: str
    """The solver or method, with its step size if it has one."""
    n_iterations: int
    """Number of iterations that it did."""

    def summary(self) -> dict[str, Any]:
        """All but the policy as a dict for JSON."""
        return {
            "solver": self.solver,
            "n_iterations": self.n_iterations,
            "mean_field_exploitability": self.exploitability,
        }


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Theory and measurements of a game."""

    game: FiniteGame
    constants: LipschitzConstants
    dominance: Dominance | None
    """C_1, C_2 and kappa; None if agents are counted by who they are."""
    symmetry: ApproximateSymmetry | None
    """alpha and beta; None if they cannot be computed for this game."""
    free: Monotonicity
    """Monotonicity over all populations."""
    flows: Monotonicity
    """Monotonicity along the flows of policies."""
    equilibrium: Equilibrium
    bound: ExploitabilityBound | None
    """Theorem 1's bound for the equilibrium; None in an infinite game, or without alpha and beta."""
    printed_bound: ExploitabilityBound | None
    """The same as printed in the paper; None also if rewards are not in an interval of length 1."""
    bound_is_certain: bool
    """Whether all constants in the bound are exact. Else lower estimates stand in it, and it is an estimate."""
    measured: Exploitability | None
    """Exploitability of the equilibrium among N agents, of the agents that were measured; None if a single agent's
    decision problem is too large."""
    missing: tuple[str, ...]
    """What is not in the report, and why."""
    seconds: float
    """Time that the analysis took."""

    def summary(self) -> dict[str, Any]:
        """The whole report as a dict for JSON."""
        return {
            "game": name_of(self.game) or type(self.game).__name__,
            "constants_of_game": self.game.describe(),
            "n_agents": self.game.n_agents,
            "n_states": self.game.n_states,
            "n_actions": self.game.n_actions,
            "horizon": self.game.horizon,
            "discount": self.game.discount,
            "lipschitz": self.constants.summary(),
            "dominance": None if self.dominance is None else self.dominance.summary(),
            "symmetry": None if self.symmetry is None else self.symmetry.summary(),
            "monotonicity": self.free.summary(),
            "monotonicity_along_flows": self.flows.summary(),
            "equilibrium": self.equilibrium.summary(),
            "theorem_1": None if self.bound is None else _finite(self.bound.summary()),
            "theorem_1_as_printed": None if self.printed_bound is None else _finite(self.printed_bound.summary()),
            "theorem_1_is_certain": self.bound_is_certain,
            "regularisation_bias_per_temperature": regularisation_bias(
                1.0, self.game.horizon, self.game.n_actions
            ),
            "n_player_exploitability": None
            if self.measured is None
            else self.measured.summary() | {"n_agents_measured": len(self.measured.agents)},
            "missing": list(self.missing),
            "seconds": self.seconds,
        }


def analyse(game: FiniteGame, settings: AnalysisSettings | None = None) -> Analysis:
    """Compute the constants and bounds of a game, solve its mean-field game, and measure the equilibrium.

    Parameters
    ----------
    game:
        A finite game.
    settings:
        How to do it; by default :class:`AnalysisSettings` as it is.

    Returns
    -------
    The report.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the game is not finite, or its rules return bad values.
    """
    settings = AnalysisSettings() if settings is None else settings
    settings.check()
    check_is_finite(game)
    begin, seed, missing = time.perf_counter(), settings.seed, []
    induced = InducedGame(game)
    constants = lipschitz_constants(induced, seed=seed)
    try:
        one_agent = dominance(game, seed=seed)
    except TypeError as error:
        one_agent = None
        missing.append(f"C_1, C_2 and kappa: {error}")
    try:
        symmetry = approximate_symmetry(game, seed=seed)
    except ValueError as error:
        symmetry = None
        missing.append(f"alpha and beta: {error}")
    parts = constants.k_mu, constants.l_mu, constants.l_pop, constants.reward_span
    is_certain = all(one.is_exact for one in parts) and symmetry is not None and symmetry.kind == "exact"
    free = monotonicity(induced, seed=seed)
    flows = monotonicity(induced, along_flows=True, seed=seed)
    equilibrium = solve(game, settings)
    bound, printed = _bounds(game, constants, symmetry, equilibrium, missing)
    measured = _measured(game, equilibrium.policy, settings, missing)
    return Analysis(
        game=game,
        constants=constants,
        dominance=one_agent,
        symmetry=symmetry,
        free=free,
        flows=flows,
        equilibrium=equilibrium,
        bound=bound,
        printed_bound=printed,
        bound_is_certain=is_certain,
        measured=measured,
        missing=tuple(missing),
        seconds=time.perf_counter() - begin,
    )


def check_is_finite(game: Game) -> None:
    """Raise a ValueError unless a game is finite, has one population and no common noise, as analyses need."""
    if not isinstance(game, FiniteGame):
        raise ValueError(
            f"{name_of(game) or type(game).__name__} is not a finite game: its agents have other states or actions"
            " than a few numbered ones, so that there are no tables of transitions and rewards to analyse"
        )
    if game.public_chain is not None:
        raise ValueError(
            f"{name_of(game) or type(game).__name__} has a public chain: only games without one are analysed"
        )
    if game.n_populations > 1:
        raise ValueError(
            f"{name_of(game) or type(game).__name__} has {game.n_populations} populations: only games with one are"
            " analysed"
        )


def solve(game: FiniteGame, settings: AnalysisSettings) -> Equilibrium:
    """The policy of least exploitability that a solver finds in the time it is given."""
    if settings.solver == "best":
        found = find_equilibrium(
            game,
            tolerance=TOLERANCE,
            seconds=settings.seconds,
            callback=lambda report: report.iteration < settings.n_iterations,
            seed=settings.seed,
        )
        return Equilibrium(found.policy, found.exploitability, found.method, found.iterations)
    trials: list[tuple[str, MeanFieldSolver]] = []
    if settings.solver == "omd":
        trials += [
            (f"omd, step size {size:g}", OnlineMirrorDescent(game, MirrorDescentConfig(learning_rate=size)))
            for size in STEP_SIZES
        ]
    else:
        trials.append(("fictitious-play", FictitiousPlay(game, FictitiousPlayConfig())))
    induced = trials[0][1].induced
    uniform = induced.uniform_policy()
    best = Equilibrium(uniform, induced.exploitability(uniform), "uniform policy", 0)
    for name, solver in trials:
        end = time.perf_counter() + settings.seconds / len(trials)
        n = 1
        while solver.iteration < settings.n_iterations and best.exploitability > 0.0:
            solver.run(min(n, settings.n_iterations - solver.iteration))
            policy = solver.policy.probabilities
            gap = induced.exploitability(policy)
            if gap < best.exploitability:
                best = Equilibrium(policy.copy(), gap, name, solver.iteration)
            if time.perf_counter() > end:
                break
            n = min(2 * n, 256)
    return best


def _bounds(
    game: FiniteGame,
    constants: LipschitzConstants,
    symmetry: ApproximateSymmetry | None,
    equilibrium: Equilibrium,
    missing: list[str],
) -> tuple[ExploitabilityBound | None, ExploitabilityBound | None]:
    """Theorem 1's bound as proved and as printed; what cannot be had goes into ``missing``."""
    if game.is_infinite:
        missing.append("Theorem 1: it is about games that end, and this one has a discount below 1")
        return None, None
    if symmetry is None:
        missing.append("Theorem 1: it needs alpha and beta")
        return None, None
    known = GameConstants.of(game, constants, alpha=symmetry.alpha, beta=symmetry.beta)
    delta = equilibrium.exploitability
    bound = theorem_1(known, equilibrium_error=delta)
    if constants.reward_span.value > 1.0:
        missing.append(
            "Theorem 1 as printed: it takes rewards in [0, 1], and these span"
            f" {constants.reward_span.value:.4g} at one population"
        )
        return bound, None
    return bound, theorem_1(known, equilibrium_error=delta, form="paper", l_a=constants.l_a.value)


def _measured(
    game: FiniteGame, policy: Array, settings: AnalysisSettings, missing: list[str]
) -> Exploitability | None:
    """Exploitability among N agents: of all kinds of agents if these are few, else of some drawn at random."""
    tables = game.horizon * game.n_states**2 * game.n_actions
    if tables > LARGEST_PROBLEM:
        missing.append(
            f"exploitability among N agents: an agent's transitions in {game.horizon} steps have {tables} entries,"
            f" more than {LARGEST_PROBLEM}"
        )
        return None
    kinds = np.unique(game.agents.view(np.ndarray), return_index=True)[1]
    if len(kinds) > MOST_AGENTS:
        rng = np.random.default_rng(settings.seed)
        kinds = rng.choice(game.n_agents, MOST_AGENTS, replace=False)
    work = game.horizon * game.n_agents + len(kinds) * tables
    n_worlds = max(2, min(settings.n_worlds, int(WORK / work)))
    return n_player_exploitability(
        game, policy, n_worlds=n_worlds, agents=np.sort(kinds), deviators_per_world=1, seed=settings.seed
    )


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    """The numbers, None in the place of infinite ones: JSON has no infinity."""
    return {name: number if np.isfinite(number) else None for name, number in numbers.items()}
