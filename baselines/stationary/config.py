"""Hyper-parameters of the policy gradient, and the conditions on its two timescales."""

import dataclasses
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame

from ..config import TrainerConfig
from ..trainer import MOST_EPISODES

MOST_RUNS = 2**20
"""Largest number of runs."""
MOST_STEPS = 2**20
"""Largest number of steps of a trajectory, or of the mean field in an iteration."""
MOST_SAMPLES = 2**31
"""Largest number of transitions that a run samples for one estimate."""
MOST_NUMBERS = 2**27
"""Largest number of entries of all runs' policies, or of their parameters: in double precision a gigabyte."""
MOST_UNITS = 2**12
"""Largest number of units in a layer of a network."""

Policy = Literal["threshold", "network", "tabular"]
Gradient = Literal["likelihood-ratio", "spsa"]

RATES: dict[Policy, float] = {"threshold": 0.01, "network": 0.1, "tabular": 0.1}
"""Default learning rates by the kind of the policy [S for thresholds and networks, O for tables]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StationaryPGConfig(TrainerConfig):
    """Hyper-parameters of two-timescale policy gradient.

    Tags as in :mod:`mfenvs.games`: [S] from Subramanian & Mahajan (AAMAS 2019), [O] ours.
    """

    objective: Literal["equilibrium", "social-welfare"] = "equilibrium"
    """Whether a run looks for a local stationary mean-field equilibrium, where dJ(theta, z)/dtheta = 0 with the
    mean field z held, or for a local social optimum, where dJ(theta, z_theta)/dtheta = 0 with z_theta the mean
    field of theta itself [S]."""
    gradient: Literal["auto", "likelihood-ratio", "spsa"] = "auto"
    """Estimate of the gradient: "likelihood-ratio", for policies with a gradient and the equilibrium only, or
    "spsa", simultaneous perturbation [S]. "auto" is the likelihood ratio wherever it is defined."""
    policy: Literal["auto", "threshold", "network", "tabular"] = "auto"
    """Policies: "threshold", for games with ordered states and 2^d actions, or a "network" [S], or a "tabular"
    softmax [O]. "auto" is "threshold" where possible, else "tabular"."""
    direction: Literal["above", "below"] = "above"
    """Whether threshold policies act, in each coordinate, at levels >= the threshold or at levels below it."""
    hidden_sizes: tuple[int, ...] = (5, 5)
    """Numbers of units in the layers of a network, with tanh [S]."""
    bound: float = 10.0
    """Half-width of the box onto which the parameters of networks and tables are projected [O]. Thresholds are
    projected onto [0, 1] [S]."""
    n_runs: int = 1
    """Number of independent runs. They are simulated together, and none depends on how many there are."""
    n_trajectories: int = 10
    """Number m of trajectories in an estimate of the gradient, or of each of the two values of SPSA [S]."""
    trajectory_length: int = 200
    """Number H of steps of a trajectory [S]."""
    baseline: bool = True
    """Whether the mean return of the other trajectories is subtracted from each trajectory's in the likelihood
    ratio: no bias, and less noise [O]. A single trajectory has no baseline."""
    perturbation: float = 0.1
    """Size c of SPSA's perturbations, c times random signs [S]."""
    common_random_numbers: bool = True
    """Whether SPSA's two values are estimated with the same random numbers: no bias, and less noise [O]."""
    mean_field_start: Literal["initial", "last"] = "initial"
    """Where an iteration's estimate of the mean field begins: at the "initial" law of the state [S], or at the
    "last" estimate, as in the two-timescale recursion [S]. From the initial law, the steps within the iteration
    have the sizes beta_0, beta_1, ...; from the last estimate, all steps of iteration k have size beta_k [O]."""
    mean_field_steps: int = 200
    """Number B of steps of the mean field in an iteration [S]."""
    mean_field_batch: int = 10
    """Number of samples in the minibatch of a step of the mean field [O]."""
    mean_field_rate: float = 1.0
    """Factor b of the mean field's step sizes beta_k = b / (k + 1)^q, 0 < b <= 1 [O]."""
    mean_field_exponent: float = 0.6
    """Exponent q of the mean field's step sizes [O]."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """"adam", with a constant rate, as in the experiments of Subramanian & Mahajan [S]: the conditions of their
    theorem, under which the iterates converge, then do *not* hold. "sgd": steps alpha_k = a / (k + 1)^p along the
    gradient, for which the conditions are checked."""
    learning_rate: float | None = None
    """The rate of ADAM, or the factor a of the step sizes; by default .01 for thresholds, .1 for networks [S] and
    tables [O]."""
    learning_rate_exponent: float = 1.0
    """Exponent p of the step sizes of "sgd" [O]."""
    evaluation_interval: int | None = None
    """Number of iterations from one exact evaluation of all runs to the next; 0 for none. By default 10 in games
    whose transition probabilities S A S are not too many for it, else 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("n_runs", self.n_runs, 1, MOST_RUNS)
        checks.integer("n_trajectories", self.n_trajectories, 1, MOST_EPISODES)
        checks.integer("trajectory_length", self.trajectory_length, 1, MOST_STEPS)
        checks.integer("mean_field_steps", self.mean_field_steps, 1, MOST_STEPS)
        checks.integer("mean_field_batch", self.mean_field_batch, 1, MOST_EPISODES)
        for names in (("n_trajectories", "trajectory_length"), ("mean_field_steps", "mean_field_batch")):
            checks.at_most(" * ".join(names), math.prod(getattr(self, name) for name in names), MOST_SAMPLES)
        if not self.hidden_sizes:
            raise ValueError("hidden_sizes must hold at least one number of units, got ()")
        for place, size in enumerate(self.hidden_sizes):
            checks.integer(f"hidden_sizes[{place}]", size, 1, MOST_UNITS)
        checks.real("bound", self.bound, 0.0, 1e6, exclude_low=True)
        checks.real("perturbation", self.perturbation, 0.0, 1e6, exclude_low=True)
        checks.real("mean_field_rate", self.mean_field_rate, 0.0, 1.0, exclude_low=True)
        checks.real("mean_field_exponent", self.mean_field_exponent, 0.0)
        checks.real("learning_rate_exponent", self.learning_rate_exponent, 0.0)
        if self.learning_rate is not None:
            checks.real("learning_rate", self.learning_rate, 0.0, 1e6, exclude_low=True)
        if self.evaluation_interval is not None:
            checks.integer("evaluation_interval", self.evaluation_interval, 0)
        if self.optimizer == "sgd":
            check_two_timescales(self.learning_rate_exponent, self.mean_field_exponent)

    def mean_field_rates(self, iteration: int) -> NDArray[np.float64]:
        """The step sizes of the mean field in an iteration, shape (mean_field_steps,)."""
        first, n = (0, self.mean_field_steps) if self.mean_field_start == "initial" else (iteration, 1)
        rates = self.mean_field_rate / (first + 1.0 + np.arange(n)) ** self.mean_field_exponent
        return np.resize(rates, self.mean_field_steps)


def check_two_timescales(p: float, q: float) -> None:
    """Check Subramanian & Mahajan's conditions on alpha_k = a / (k + 1)^p and beta_k = b / (k + 1)^q.

    Raises
    ------
    ValueError
        If a condition does not hold: the sums of alpha_k and beta_k diverge, those of their squares converge, and
        alpha_k / beta_k goes to 0. All hold if 1/2 < q < p <= 1. The message names the condition.
    """
    for name, symbol, exponent in (("learning_rate_exponent", "alpha", p), ("mean_field_exponent", "beta", q)):
        if exponent > 1.0:
            raise ValueError(f"{name} must be at most 1, so that the sum of {symbol}_k diverges, got {exponent:g}")
        if not exponent > 0.5:
            raise ValueError(
                f"{name} must be above 1/2, so that the sum of {symbol}_k^2 converges, got {exponent:g}"
            )
    if not p > q:
        raise ValueError(
            f"learning_rate_exponent must be above mean_field_exponent, so that alpha_k / beta_k goes to 0, got"
            f" {p:g} and {q:g}"
        )


def policy_of(game: FiniteGame, config: StationaryPGConfig) -> Policy:
    """The kind of policy that a game's runs have; ValueError if the game has no policies of the kind asked for."""
    if config.policy in ("network", "tabular"):
        return config.policy
    levels = game.state_levels
    fits = levels is not None and game.n_actions == 2 ** levels.shape[1]
    if config.policy == "threshold" and not fits:
        states = "no ordered states" if levels is None else f"states with {levels.shape[1]} coordinates"
        raise ValueError(
            "policy 'threshold' needs a game with ordered states (state_levels of d coordinates) and 2^d actions,"
            f" got {type(game).__name__} with {states} and {game.n_actions} actions"
        )
    return "threshold" if fits else "tabular"


def gradient_of(config: StationaryPGConfig, policy: Policy) -> Gradient:
    """The estimate of the gradient that is used; ValueError if the one asked for is not defined."""
    if config.gradient == "likelihood-ratio":
        if policy == "threshold":
            raise ValueError(
                "gradient 'likelihood-ratio' needs policies with a gradient: threshold policies need 'spsa'"
            )
        if config.objective == "social-welfare":
            raise ValueError(
                "gradient 'likelihood-ratio' is the derivative with the mean field held: objective"
                " 'social-welfare' needs 'spsa'"
            )
    if config.gradient != "auto":
        return config.gradient
    return "spsa" if policy == "threshold" or config.objective == "social-welfare" else "likelihood-ratio"
