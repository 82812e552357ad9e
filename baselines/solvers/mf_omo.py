"""MF-OMO: mean-field equilibria as the minimisers, of value zero, of a smooth function of occupation measures."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.population_flow import flow_of

from ..config import TrainerConfig
from ..trainer import LARGEST, MOST_ITERATIONS
from .flow_polytope import constraints
from .model_slopes import STEP, find_pattern, slopes_kernel
from .occupation_measures import policy_of
from .solver import MeanFieldSolver

Array = NDArray[np.float64]

DECAYS = 0.9, 0.999
"""Adam's decay rates of the first and second moments."""
TINY = 1e-8
"""Adam's number in the denominator."""
LARGEST_WEIGHT = 1e3
"""Largest weight that balancing gives to a residual (MFGLib)."""
ROUNDING = 1e-12
"""Residuals below this count as zero in l1 norms, whose slope is undefined there."""
LARGEST_NUMBER = 1e100
"""The largest number that a saved solver may hold: its square is a number."""
LEAST = -1e6
"""Score of what must have no mass: its softmax is 0, and it is far below all others in a projection."""
SMALLEST_SLACK = 1e-8
"""Shares of slack below this begin there in the parameterised form, whose logarithms they are (MFGLib)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MFOMOConfig(TrainerConfig):
    """Hyper-parameters of MF-OMO; the defaults are MFGLib's."""

    learning_rate: float = 0.1
    """Learning rate of Adam, > 0."""
    loss: Literal["l1_l2", "l1", "l2"] = "l1_l2"
    """Norms of the residuals: squared l2 norms and z'L; l1 norms and z'L; or squared l2 norms and (z'L)^2."""
    flow_weight: float = 1.0
    """Weight c1 > 0 of the flow's residual A_L L - b."""
    value_weight: float = 1.0
    """Weight c2 > 0 of the values' residual A_L' y + z + r(L)."""
    slack_weight: float = 1.0
    """Weight c3 > 0 of the complementarity z'L."""
    balancing_period: int | None = None
    """Number of iterations after which the weights c1 and c2 are balanced, >= 1; None for never."""
    balance_above: float = 10.0
    """Ratio m1 of a residual to the larger of the other two above which its weight grows."""
    balance_factor: float = 2.0
    """Factor m2 >= 1 by which a weight grows or shrinks."""
    balance_below: float = 0.1
    """Ratio m3 of a residual to the smaller of the other two below which its weight shrinks."""
    parameterised: bool = False
    """Whether the constraints are met by parameters, L = softmax(u), z = c_v softmax(v) and y = c_w sin(w), in the
    place of projections."""
    first_law: Literal["uniform", "flow"] = "uniform"
    """The first L: equal mass in all states at all times, or the flow of the uniform policy [O]."""
    first_values: Literal["best", "zero"] = "best"
    """The first y and z: from the best response to the first L (the paper's proposition 6), or zeros."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "flow_weight", "value_weight", "slack_weight", "balance_above"):
            checks.real(name, getattr(self, name), 0.0, exclude_low=True)
        checks.real("balance_factor", self.balance_factor, 1.0)
        checks.real("balance_below", self.balance_below, 0.0)
        if self.balancing_period is not None:
            checks.integer("balancing_period", self.balancing_period, 1, MOST_ITERATIONS)


class _Variables(NamedTuple):
    """L (T, S, A), y (T, S) and z (T, S, A)."""

    law: Array
    values: Array
    slack: Array


class _Residuals(NamedTuple):
    """What is zero at an equilibrium."""

    flow: Array
    """A_L L - b, (T, S): at time 0 the initial law, then where the mass goes."""
    value: Array
    """A_L' y + z + r(L), (T, S, A)."""
    complementarity: float
    """z'L."""


class MFOMO(MeanFieldSolver):
    """MF-OMO: minimise c1 |A_L L - b|^2 + c2 |A_L' y + z + r(L)|^2 + c3 z'L over laws L, values y, slacks z >= 0.

    A_L L = b says that L is a flow in its own dynamics, A_L' y + z = -r(L) that y bounds the values (y_t =
    V_{t+1}, and the last is -V_0), and z'L = 0 that L takes best actions only. The minimum is 0 exactly at
    equilibria, without any assumption on the game; Adam can end in other stationary points. Derivatives of P(L)
    and R(L) are difference quotients (:mod:`.model_slopes`). For games that end.

    Hyper-parameters: :class:`MFOMOConfig`.

    References
    ----------
    Guo, Hu & Zhang, "MF-OMO: An optimization formulation of mean-field games", SIAM Journal on Control and
    Optimization 62, 2024 (arXiv 2206.09608).
    """

    config_class = MFOMOConfig
    name = "mf-omo"
    config: MFOMOConfig
    needs_horizon = True

    def _set_up(self) -> None:
        super()._set_up()
        self._uniform = self._law
        """The uniform policy: 0 for actions that are not allowed."""
        self._is_open = self._uniform > 0.0
        self._pattern = find_pattern(self.induced)
        self._arrays = self.induced.flow_arrays()
        law = self._law / self.induced.n_states
        if self.config.first_law == "flow":
            law = self.induced.flow(self._law).mu
        rewards = self.induced.frozen(law).rewards
        self._weights = np.array([self.config.flow_weight, self.config.value_weight, float(np.abs(rewards).max())])
        """c1, c2, and the largest absolute reward met so far, which bounds y and z."""
        self._point = self._first_point(law)
        self._mean, self._square = np.zeros_like(self._point), np.zeros_like(self._point)
        """Adam's moments of the gradient."""

    def _compile(self) -> None:
        variables = self._variables()
        self._gradient(variables, self._residuals(variables))

    @property
    def objective(self) -> float:
        """The objective at the present point, with the weights of the configuration; 0 exactly at equilibria."""
        config = self.config
        variables = self._variables()
        return self._loss(self._residuals(variables), config.flow_weight, config.value_weight)

    def _variables(self) -> _Variables:
        """L, y and z of the present point."""
        shape = self.induced.policy_shape
        size = self._law.size
        law, values, slack = np.split(self._point, [size, size + shape[0] * shape[1]])
        if self.config.parameterised:
            flat = law.reshape(shape[0], -1)
            shares = _softmax(flat)
            law, values = shares.ravel(), self._largest_value * np.sin(values)
            slack = self._largest_slack * _softmax(slack[None])[0, :-1]
        return _Variables(law.reshape(shape), values.reshape(shape[:2]), slack.reshape(shape))

    @property
    def _bounds(self) -> tuple[float, float]:
        """Bounds of the sum of z and of the l2 norm of y (the paper's theorem 4 and MFGLib)."""
        n_times, n_states, n_actions = self.induced.policy_shape
        last, largest = n_times - 1, max(float(self._weights[2]), 1e-300)
        return (
            n_states * n_actions * (last**2 + last + 2) * largest,
            n_states * (last + 1) * (last + 2) * largest / 2,
        )

    @property
    def _largest_slack(self) -> float:
        return self._bounds[0]

    @property
    def _largest_value(self) -> float:
        return self._bounds[1] / float(np.sqrt(self._law[:, :, 0].size))

    def _first_point(self, law: Array) -> Array:
        """The point of the first law: values and slacks of its best response, or zeros."""
        shape = self.induced.policy_shape
        values, slack = np.zeros(shape[:2]), np.zeros(shape)
        if self.config.first_values == "best":
            q = self.induced.optimal_q(self.induced.frozen(law))
            best = q.max(axis=-1)
            values = np.concatenate([best[1:], -best[:1]])
            slack = np.where(self._is_open, best[:, :, None] - q, 0.0)
        if not self.config.parameterised:
            return np.concatenate([law.ravel(), values.ravel(), slack.ravel()])
        shares = slack.ravel() / self._largest_slack
        # One share more is what is left.
        shares = np.maximum(np.append(shares, 1.0 - shares.sum()), SMALLEST_SLACK)
        angles = np.arcsin(np.clip(values.ravel() / self._largest_value, -1.0, 1.0))
        return np.concatenate(
            [np.where(law > 0.0, np.log(np.maximum(law, 1e-300)), LEAST).ravel(), angles, np.log(shares)]
        )

    def _residuals(self, variables: _Variables) -> _Residuals:
        """The residuals; P and R of the law are in ``self._arrays`` afterwards."""
        law, values, slack = variables
        _, self._arrays = self.induced.filled(
            lambda arrays: self.induced.kernels.freeze(law, arrays), self._arrays
        )
        self._matrix = constraints(flow_of(self._arrays), self.induced.n_states)
        flow = (self._matrix @ law.ravel()).reshape(values.shape)
        flow[0] -= self.induced.initial
        # The paper's y multiplies the rows of A_L: ours with the other sign, and with the first one last.
        value = slack + self._arrays.rewards + (self._matrix.T @ _multipliers(values).ravel()).reshape(law.shape)
        # What an action that is not allowed is worth does not matter, for nobody takes it.
        value *= self._is_open
        return _Residuals(flow, value, float(np.sum(slack * law)))

    def _loss(self, residuals: _Residuals, flow_weight: float, value_weight: float) -> float:
        flow, value, slack = _sizes(residuals, self.config.loss)
        return flow_weight * flow + value_weight * value + self.config.slack_weight * slack

    def _advance(self, n_before: int, n_iterations: int) -> None:
        for k in range(n_before, n_before + n_iterations):
            variables = self._variables()
            residuals = self._residuals(variables)
            self._weights[2] = max(self._weights[2], float(np.abs(self._arrays.rewards).max()))
            period = self.config.balancing_period
            if period is not None and k > 0 and k % period == 0:
                self._balance(residuals)
            self._step(k, self._gradient(variables, residuals))
            self._law = policy_of(self._variables().law, self._uniform)

    def _gradient(self, variables: _Variables, residuals: _Residuals) -> Array:
        """The derivative of the objective with respect to the point."""
        config, (law, values, slack) = self.config, variables
        flow_weight, value_weight, _ = self._weights
        if config.loss == "l1":
            by_flow, by_value = _signs(residuals.flow), _signs(residuals.value)
        else:
            by_flow, by_value = 2.0 * residuals.flow, 2.0 * residuals.value
        by_flow, by_value = flow_weight * by_flow, value_weight * by_value
        by_slack = config.slack_weight * (2.0 * residuals.complementarity if config.loss == "l2" else 1.0)
        of_law = (self._matrix.T @ by_flow.ravel()).reshape(law.shape) + by_slack * slack
        of_law += self._through_the_model(law, by_value, -by_flow, values)
        of_values = _multipliers_transposed((self._matrix @ by_value.ravel()).reshape(values.shape))
        of_slack = by_value + by_slack * law
        if config.parameterised:
            size = law.size
            shares = law.reshape(len(law), -1)
            of_law = _softmax_slope(shares, of_law.reshape(shares.shape))
            of_values = of_values.ravel() * self._largest_value * np.cos(self._point[size : size + values.size])
            parts = _softmax(self._point[None, size + values.size :])
            of_parts = np.append(self._largest_slack * of_slack.ravel(), 0.0)
            of_slack = _softmax_slope(parts, of_parts[None])
        return np.concatenate([of_law.ravel(), of_values.ravel(), of_slack.ravel()])

    def _through_the_model(self, law: Array, by_value: Array, by_arrival: Array, values: Array) -> Array:
        """The part of the derivative with respect to L that acts through P(L) and R(L), (T, S, A)."""
        pattern, shape = self._pattern, law.shape
        if not len(pattern.members):
            return np.zeros(shape)
        slopes = slopes_kernel(self.induced.kernels.freeze_rule)
        by_group = np.empty((len(law), int(pattern.group.max()) + 1))
        scratch = [np.empty(shape) for _ in range(4)]
        # What arrives at time t + 1 is weighted by the residual there.
        ends = np.concatenate([by_arrival[1:], np.zeros((1, shape[1]))])
        _, self._arrays = self.induced.filled(
            lambda arrays: slopes(
                *(law, by_value, ends, law, values, STEP, pattern.members, pattern.moved, *scratch),
                *(by_group, arrays),
            ),
            self._arrays,
        )
        return by_group[:, pattern.group].reshape(shape)

    def _step(self, k: int, gradient: Array) -> None:
        """Take Adam's step k, and project."""
        first, second = DECAYS
        self._mean = first * self._mean + (1.0 - first) * gradient
        self._square = second * self._square + (1.0 - second) * gradient**2
        mean = self._mean / (1.0 - first ** (k + 1))
        deviation = np.sqrt(self._square / (1.0 - second ** (k + 1)))
        self._point = self._point - self.config.learning_rate * mean / (deviation + TINY)
        if not self.config.parameterised and np.isfinite(self._point).all():
            self._project()

    def _project(self) -> None:
        """Project L to laws, z to the non-negative of bounded sum, and y to a ball."""
        law, values, slack = self._variables()
        most_slack, most_value = self._bounds
        law = _to_simplex(np.where(self._is_open, law, LEAST).reshape(len(law), -1), 1.0)
        slack = np.maximum(slack, 0.0)
        if slack.sum() > most_slack:
            slack = _to_simplex(slack.reshape(1, -1), most_slack)
        norm = float(np.linalg.norm(values))
        values = values * min(1.0, most_value / norm) if norm > 0.0 else values
        self._point = np.concatenate([law.ravel(), values.ravel(), slack.ravel()])

    def _balance(self, residuals: _Residuals) -> None:
        """Balance the weights c1 and c2."""
        config = self.config
        sizes = _sizes(residuals, config.loss)
        for own, others in ((0, (1, 2)), (1, (0, 2))):
            high, low = max(sizes[i] for i in others), min(sizes[i] for i in others)
            weight = self._weights[own]
            if high > 0.0 and sizes[own] > config.balance_above * high:
                weight *= config.balance_factor
            elif low > 0.0 and sizes[own] < config.balance_below * low:
                weight /= config.balance_factor
            self._weights[own] = min(weight, LARGEST_WEIGHT)

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        n_times, n_states, n_actions = game.policy_shape
        size = n_times * n_states * (2 * n_actions + 1) + config.parameterised
        return {
            **super()._state_specification(game, config, iteration),
            "point": ArraySpecification(np.float64, (size,), -LARGEST_NUMBER, LARGEST_NUMBER),
            "mean": ArraySpecification(np.float64, (size,), -LARGEST_NUMBER, LARGEST_NUMBER),
            "square": ArraySpecification(np.float64, (size,), 0.0, LARGEST),
            "weights": ArraySpecification(np.float64, (3,), 0.0, LARGEST_NUMBER),
        }

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            **super()._state(),
            "point": self._point,
            "mean": self._mean,
            "square": self._square,
            "weights": self._weights,
        }

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        super()._set_state(state)
        self._point, self._weights = state["point"], state["weights"]
        self._mean, self._square = state["mean"], state["square"]


def _sizes(residuals: _Residuals, loss: str) -> tuple[float, float, float]:
    """The three terms of the objective, without their weights."""
    flow, value, slack = residuals
    if loss == "l1":
        return float(np.abs(flow).sum()), float(np.abs(value).sum()), slack
    return float((flow**2).sum()), float((value**2).sum()), slack**2 if loss == "l2" else slack


def _signs(numbers: Array) -> Array:
    """Signs of numbers; 0 where they are a rounding error."""
    signs: Array = np.sign(numbers) * (np.abs(numbers) > ROUNDING)
    return signs


def _multipliers(values: Array) -> Array:
    """The multipliers of the rows of our A, from the paper's y (T, S): first those of the initial law, then -y."""
    multipliers = -np.roll(values, 1, axis=0)
    multipliers[0] *= -1.0
    return multipliers


def _multipliers_transposed(by_multiplier: Array) -> Array:
    """The derivative with respect to y from that with respect to :func:`_multipliers`."""
    signed = -by_multiplier
    signed[0] *= -1.0
    return np.roll(signed, -1, axis=0)


def _softmax(scores: Array) -> Array:
    """Softmax of the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _softmax_slope(shares: Array, slope: Array) -> Array:
    """The derivative with respect to the scores of a softmax, from that with respect to its shares."""
    moved: Array = shares * (slope - (shares * slope).sum(axis=-1, keepdims=True))
    return moved


def _to_simplex(points: Array, total: float) -> Array:
    """Project rows to {x >= 0, sum x = total} (Duchi et al., ICML 2008)."""
    descending = -np.sort(-points, axis=-1)
    shift = (np.cumsum(descending, axis=-1) - total) / np.arange(1, points.shape[-1] + 1)
    last = (descending > shift).sum(axis=-1) - 1
    projected = np.maximum(points - np.take_along_axis(shift, last[:, None], axis=-1), 0.0)
    scaled: Array = projected * (total / projected.sum(axis=-1, keepdims=True))
    return scaled
