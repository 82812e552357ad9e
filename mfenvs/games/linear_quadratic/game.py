"""The linear-quadratic game: agents of several types steer a linear diffusion at quadratic costs.

The worked example of "Math Deep Dive: Understanding Mean-Field-Type Games", section 8, as a game of N agents in
discrete time. Its equilibrium in the mean field, the social optimum and the best response among N agents are known
in closed form; they are among the baselines (``continuous.linear_quadratic``).
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_HORIZON, Game, Rules
from mfenvs.games.linear_quadratic.discretisation import TRANSITIONS, Step, check_stability, step_of
from mfenvs.games.linear_quadratic.rules import (
    BINS,
    CONTROL_COST,
    MEAN,
    MEAN_COST,
    N_COLUMNS,
    NOISE,
    PULL,
    PUSH,
    STATE_COST,
    STAY,
    TERMINAL_COST,
    Constants,
    linear_quadratic_rules,
)
from mfenvs.games.squashing import squashed, unsquashed
from mfenvs.games.typed_agents import names_by_type, stratified
from mfenvs.rules import plain

STEPS = 100
"""Number of steps of an episode if neither ``horizon`` nor ``dt`` is given [O]."""
MOST = 1e6
"""Largest size of a parameter."""
MOST_COST = 1e30
"""Largest cost that a step may have in single precision."""
MOST_NORMAL = 5.9
"""Standard normal random numbers are of at most this size: they are drawn from 24 bits."""
ROUNDING = 1e-3
"""Allowance for rounding in single precision over an episode, as a part of the result."""

LIMITS: dict[str, tuple[float, bool]] = {
    "drift": (-MOST, False),
    "control_gain": (-MOST, False),
    "coupling": (-MOST, False),
    "volatility": (0.0, False),
    "state_cost": (-MOST, False),
    "control_cost": (0.0, True),
    "coupling_cost": (-MOST, False),
    "terminal_cost": (-MOST, False),
    "initial_mean": (-MOST, False),
    "initial_variance": (0.0, False),
}
"""Parameters of the types: the least number that is allowed, and whether it is excluded."""


@dataclasses.dataclass(kw_only=True)
class LinearQuadratic(Game):
    """Linear-quadratic game: types of agents steer their states against noise, coupled by the mean state.

    The worked example of "Math Deep Dive: Understanding Mean-Field-Type Games", section 8; tags as in
    :mod:`mfenvs.games`. An agent of type tau has a real state x and a real control u, and minimises
    E[int_0^T L dt + Phi] with

    * dx = (a x + b u + kappa xbar) dt + sigma dW + sigma_0 dW^0 [S; the common noise W^0 is ours, O]
    * L = q x^2 / 2 + r u^2 / 2 + s x xbar, Phi = q_T x(T)^2 / 2 [S]
    * xbar: the mean of all N agents' states; in the limit sum_tau lambda_tau E[x^tau] [S]
    * x(0) ~ N(m_0, V_0) of the agent's type [R: the source has no initial law]

    In each of the H = T / dt steps u and xbar are frozen, and the noise is Gaussian: Euler-Maruyama, or the exact
    transition. The reward is -L dt of the state before the step, and in the last step also -Phi of the state
    after it.

    Parameters of the types are sequences with one number a type; all defaults are ours [O]. Numbers of agents
    follow the proportions, rounded and not drawn. Agents observe their state, their type (one-hot) and the elapsed
    time. ``observe="type-means"`` adds the present mean state of each type, which the equilibrium under common
    noise needs, and ``observe="mean-field"`` the shares of all agents in 20 bins of states.

    Raises
    ------
    TypeError, ValueError
        If a constant is not allowed, the scheme is unstable (it grows where the differential equation decays), or
        costs may be too large for single precision. The message names the constant.
    """

    n_agents: int = 1000
    """Number of agents N, from 2 to 2^24."""
    horizon: int = 0
    """Number of steps H; 0 for ``duration / dt``, or for 100 if ``dt`` is 0 too."""
    duration: float = 2.0
    """T: time at which an episode ends."""
    dt: float = 0.0
    """Length of a step, of which ``duration`` must be a multiple; 0 for ``duration / horizon``."""
    transition: str = "euler"
    """Step of the dynamics: ``euler`` (Euler-Maruyama) or ``exact`` (the linear drift's Gaussian transition)."""
    types: tuple[str, ...] = ("consumer", "pv")
    """Names of the types, identifiers; agents are called ``<type>_<int>``."""
    proportions: tuple[float, ...] = (0.7, 0.3)
    """lambda: shares of the types, which sum to 1."""
    drift: tuple[float, ...] = (-0.2, -0.1)
    """a: rate at which a state grows by itself."""
    control_gain: tuple[float, ...] = (1.0, 1.2)
    """b: effect of the control on the drift."""
    coupling: tuple[float, ...] = (0.15, 0.25)
    """kappa: effect of the mean state on the drift."""
    volatility: tuple[float, ...] = (0.4, 0.6)
    """sigma: volatility of an agent's own noise."""
    state_cost: tuple[float, ...] = (1.0, 0.8)
    """q: running cost of x^2 / 2."""
    control_cost: tuple[float, ...] = (1.0, 0.5)
    """r: running cost of u^2 / 2, above 0."""
    coupling_cost: tuple[float, ...] = (0.3, 0.2)
    """s: running cost of x times the mean state."""
    terminal_cost: tuple[float, ...] = (0.5, 0.5)
    """q_T: cost of x(T)^2 / 2."""
    initial_mean: tuple[float, ...] = (1.0, -0.5)
    """m_0: means of the first states."""
    initial_variance: tuple[float, ...] = (0.09, 0.16)
    """V_0: variances of the first states."""
    common_volatility: float = 0.0
    """sigma_0: volatility of the noise that all agents share."""
    control_bound: float = 10.0
    """Controls are in [-control_bound, control_bound]: finite, as learners need it, and wide, so that the
    equilibrium feedback hardly ever reaches it (with the defaults, beyond 10 standard deviations)."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("type", np.int32)])
    state_dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        self.duration = checks.real("duration", self.duration, 0.0, MOST, exclude_low=True)
        self.dt = checks.real("dt", self.dt, 0.0, self.duration)
        self.horizon = checks.integer("horizon", self.horizon, 0)
        checks.at_most("horizon", self.horizon, MAX_HORIZON)
        if self.dt > 0.0:
            checks.real("dt", self.dt, self.duration / MAX_HORIZON)
            steps = round(self.duration / self.dt)
            if abs(steps * self.dt - self.duration) > 1e-9 * self.duration:
                raise ValueError(f"dt must divide duration = {self.duration!r} into whole steps, got {self.dt!r}")
            if self.horizon not in (0, steps):
                raise ValueError(
                    f"horizon must be duration / dt = {steps}, or 0, if dt is given, got {self.horizon} with"
                    f" dt={self.dt!r}"
                )
            self.horizon = steps
        self.horizon = self.horizon or STEPS
        self.dt = self.duration / self.horizon
        super().__post_init__()

    def check(self) -> None:
        """Check all parameters, and that neither the scheme nor single precision is left by what can happen."""
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as the game ends at its horizon, got {self.discount!r}")
        self.transition = checks.choice("transition", checks.text("transition", self.transition), TRANSITIONS)
        self.types = _names(self.types)
        self.proportions = self._one_a_type("proportions", 0.0, 1.0)
        if abs(sum(self.proportions) - 1.0) > checks.PROBABILITY_TOLERANCE:
            raise ValueError(
                f"proportions must sum to 1, got {self.proportions} with sum {sum(self.proportions)!r}"
            )
        for name, (low, is_excluded) in LIMITS.items():
            setattr(self, name, self._one_a_type(name, low, MOST, is_excluded))
        self.common_volatility = checks.real("common_volatility", self.common_volatility, 0.0, MOST)
        self.control_bound = checks.real("control_bound", self.control_bound, 0.0, MOST, exclude_low=True)
        coefficients = self.step_coefficients
        drift, coupling, shares = (np.array(x) for x in (self.drift, self.coupling, self.proportions))
        check_stability(coefficients, drift, coupling, shares, self.dt, self.types)
        self._check_costs()
        self._check_optional_rules()

    def _one_a_type(self, name: str, low: float, high: float, exclude_low: bool = False) -> tuple[float, ...]:
        """A parameter of the types, as a tuple of numbers in [low, high]."""
        wanted = f"hold {len(self.types)} numbers, one for each of the types {', '.join(self.types)}"
        numbers = checks.sequence(name, getattr(self, name), wanted)
        if len(numbers) != len(self.types):
            raise ValueError(f"{name} must {wanted}, got {checks.shown(numbers)}")
        return tuple(
            checks.real(f"{name}[{k}]", x, low, high, exclude_low=exclude_low) for k, x in enumerate(numbers)
        )

    def _check_costs(self) -> None:
        """Raise a ValueError if a step may cost more than single precision holds."""
        most, n_worst = self.most_state, 0.0
        for q, s, r, last in zip(
            self.state_cost, self.coupling_cost, self.control_cost, self.terminal_cost, strict=True
        ):
            worst = 0.5 * abs(q) * most**2 + abs(s) * most**2 + 0.5 * r * self.control_bound**2
            n_worst = max(n_worst, worst * self.dt + 0.5 * abs(last) * most**2)
        if not n_worst <= MOST_COST:
            raise ValueError(
                f"duration must be shorter, or drift, coupling or control_bound smaller: states may be as large as"
                f" {most:g} and costs {n_worst:g}, beyond single precision, got duration={self.duration!r},"
                f" drift={self.drift}, coupling={self.coupling}"
            )

    @functools.cached_property
    def most_state(self) -> float:
        """A bound on the size of all states at all times, whatever the agents do."""
        step, size = self.step_coefficients, np.abs
        growth = float((size(step.stay) + size(step.pull)).max())
        noise = size(step.noise) + size(step.common).sum(axis=1)
        added = float((size(step.push) * self.control_bound + MOST_NORMAL * noise).max())
        first = float((np.abs(self.initial_mean) + MOST_NORMAL * np.sqrt(self.initial_variance)).max())
        log_growth = self.horizon * math.log(growth) if growth > 0.0 else -math.inf
        if log_growth > 100.0:
            return math.inf
        grown = self.horizon if growth == 1.0 else math.expm1(log_growth) / (growth - 1.0)
        return max(first, math.exp(log_growth) * first + grown * added) * (1.0 + ROUNDING)

    @functools.cached_property
    def scale(self) -> float:
        """Typical size of states, a power of two: the unit of what others see of them."""
        spread = np.array(self.initial_variance) + np.array(self.volatility) ** 2 * min(self.duration, 1.0)
        size = np.sqrt(np.max(np.array(self.initial_mean) ** 2 + spread) + self.common_volatility**2)
        return math.ldexp(1.0, int(np.clip(np.rint(np.log2(max(size, 1e-9))), -20, 20)))

    @functools.cached_property
    def step_coefficients(self) -> Step:
        """Coefficients of a step of the dynamics, in double precision."""
        a, b, kappa, sigma = (np.array(x) for x in (self.drift, self.control_gain, self.coupling, self.volatility))
        return step_of(self.transition, self.dt, a, b, kappa, sigma, self.common_volatility)

    @property
    def rules(self) -> Rules:
        """The rules; they depend on the scale of the states alone."""
        return linear_quadratic_rules(self.scale)

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """The agents' types, in order; nothing is drawn."""
        kinds = np.repeat(np.arange(len(self.types)), stratified(self.proportions, self.n_agents))
        return kinds.astype(np.int32).view(self.agent_dtype)

    @functools.cached_property
    def agent_names(self) -> list[str]:
        """``<type>_<int>``, counted within each type."""
        return names_by_type(self.types, self.agents["type"])

    @functools.cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Number of agents of each type, shape (n_types,)."""
        return np.bincount(self.agents["type"], minlength=len(self.types))

    @functools.cached_property
    def constants(self) -> Constants:
        """Coefficients of a step and its cost."""
        step = self.step_coefficients
        table = np.zeros((len(self.types), N_COLUMNS))
        table[:, STAY], table[:, PUSH], table[:, PULL], table[:, NOISE] = step[:4]
        table[:, STATE_COST] = 0.5 * self.dt * np.array(self.state_cost)
        table[:, CONTROL_COST] = 0.5 * self.dt * np.array(self.control_cost)
        table[:, MEAN_COST] = self.dt * np.array(self.coupling_cost)
        table[:, TERMINAL_COST] = 0.5 * np.array(self.terminal_cost)
        return Constants(table.astype(np.float32), step.common.astype(np.float32), self.horizon - 1)

    @property
    def initial(self) -> NDArray[np.float32]:
        """Mean and standard deviation of the first state of each type in turn, shape (2 n_types,)."""
        return np.stack([self.initial_mean, np.sqrt(self.initial_variance)], axis=1).astype(np.float32).ravel()

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """The mean state, and each type's common noise."""
        return 1 + len(self.types)

    @property
    def n_cells(self) -> int:
        """The types."""
        return len(self.types)

    @property
    def n_places(self) -> int:
        """Bins of states."""
        return BINS

    @property
    def n_features(self) -> int:
        """State, type one-hot, elapsed time."""
        return len(self.types) + 2

    @property
    def reported(self) -> dict[str, int]:
        """The mean state in the last step."""
        return {"mean_state": MEAN}

    @property
    def action_space(self) -> gymnasium.spaces.Box:
        """One control in [-control_bound, control_bound]."""
        return gymnasium.spaces.Box(-self.control_bound, self.control_bound, (1,), np.float32)

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The state within the bounds that it cannot leave, type one-hot and elapsed time in [0, 1]."""
        low, high = np.zeros(self.n_features, np.float32), np.ones(self.n_features, np.float32)
        low[0], high[0] = -self.most_state, self.most_state
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def type_means(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """The mean state of each type, squashed to [0, 1]: what ``observe="type-means"`` shows.

        Parameters
        ----------
        states:
            Shape (n_worlds, n_agents).

        Returns
        -------
        Shape (n_worlds, n_types): 1/2 for a mean of 0 and for a type without agents, 3/4 for a mean of
        :attr:`scale`. :meth:`means_of` turns them into means again.
        """
        sums = np.add.reduceat(
            np.concatenate([states, np.zeros((len(states), 1), states.dtype)], axis=1),
            np.concatenate([[0], np.cumsum(self.numbers)[:-1]]),
            axis=1,
            dtype=np.float64,
        )
        # Where a type has no agents, reduceat returns a single state.
        means = np.where(self.numbers > 0, sums, 0.0) / np.maximum(self.numbers, 1)
        return np.asarray(plain(squashed)(means, self.scale), np.float32)

    def means_of(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """The means of which :meth:`type_means` made features, of any shape."""
        return unsquashed(features, self.scale)

    def place_name(self, place: int) -> str:
        """The interval of states in a bin."""
        edges = [unsquashed(np.array(k / BINS), self.scale) for k in (place, place + 1)]
        low = "-inf" if place == 0 else f"{float(edges[0]):.3g}"
        high = "inf" if place == BINS - 1 else f"{float(edges[1]):.3g}"
        return f"{low} to {high}"

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.Game.check_snapshot`: states must be within the bounds of observations."""
        super().check_snapshot(states, signal)
        outside = np.abs(states) > self.most_state
        if outside.any():
            world, agent = (int(i) for i in np.argwhere(outside)[0])
            raise ValueError(
                f"snapshot.states[{world}, {agent}] must be in [{-self.most_state:g}, {self.most_state:g}], got"
                f" {states[world, agent]}"
            )


def _names(value: Any) -> tuple[str, ...]:
    """Names of types: different identifiers."""
    wanted = "hold one or more different names, which are identifiers"
    names = checks.sequence("types", value, wanted)
    if not names or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise ValueError(f"types must {wanted}, got {checks.shown(value)}")
    if len(set(names)) < len(names):
        raise ValueError(f"types must {wanted}, got {checks.shown(value)}")
    return tuple(map(str, names))
