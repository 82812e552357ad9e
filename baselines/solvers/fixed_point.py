"""Solvers of the induced mean-field game that are corners of one loop (:mod:`.loop`).

Each fixes the loop's options and does nothing else. In all of them k = 0, 1, ... numbers the iterations, mu^pi is
the flow of a policy, Q^pi are its values against that flow and Q* those of a best response; the first policy is
uniform.

========================== ========== ==================================== =================================
Solver                     values     answer                               next policy and population
========================== ========== ==================================== =================================
fixed-point                Q*         greedy, or softmax                   the answer
damped-fixed-point         Q*         greedy, or softmax                   average of the answers' flows
fictitious-play            Q*         greedy, or softmax                   average of answers; its flow
smooth-policy-iteration    Q^answer   greedy                               average of the answers' flows
boltzmann-policy-iteration Q^pi       softmax(Q / T)                       the answer
prior-descent              Q*         prior * exp(Q / eta), normalised     the answer
omd                        Q^pi       softmax(y), y <- y + alpha Q         the answer
munchausen                 Q^pi       softmax(alpha log pi + Q / tau)      the answer
========================== ========== ==================================== =================================
"""

import dataclasses
from typing import Any, Literal

from mfenvs import checks
from mfenvs.meanfield.loop import ANSWER, AVERAGE, FLOW, GREEDY, LoopOptions

from ..config import TrainerConfig
from ..trainer import MOST_ITERATIONS
from .loop import LoopSolver

Ties = Literal["lowest", "shared"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedPointConfig(TrainerConfig):
    """Hyper-parameters of the fixed-point iteration."""

    temperature: float = 0.0
    """Temperature tau >= 0 of the soft best responses; 0 for exact best responses."""
    ties: Ties = "lowest"
    """What an exact best response plays where several actions are best: the ``lowest``, or all, ``shared``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSizeConfig(TrainerConfig):
    """Hyper-parameters of the step sizes a_k = min(1, step_size / (k + step_delay)^step_exponent) of averages.

    They are constant with ``step_exponent`` 0. Those of (1, 1, 1) are 1 / (k + 1): the average of all answers;
    those of (1, 2, 1) are 1 / (k + 2): the average of the first policy and all answers.
    """

    step_size: float = 1.0
    """Factor of the step sizes, > 0; the constant step size if ``step_exponent`` is 0."""
    step_delay: float = 1.0
    """Number >= 1 added to k, the number of iterations done."""
    step_exponent: float = 0.0
    """Exponent >= 0 of the step sizes' decay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("step_size", self.step_size, 0.0, exclude_low=True)
        checks.real("step_delay", self.step_delay, 1.0)
        checks.real("step_exponent", self.step_exponent, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DampedFixedPointConfig(StepSizeConfig, FixedPointConfig):
    """Hyper-parameters of the damped fixed-point iteration."""

    step_size: float = 0.2
    """Factor of the step sizes, > 0; the constant step size if ``step_exponent`` is 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FictitiousPlayConfig(StepSizeConfig, FixedPointConfig):
    """Hyper-parameters of fictitious play."""

    step_delay: float = 2.0
    """Number >= 1 added to k, the number of iterations done; with 2 the uniform policy counts as an answer."""
    step_exponent: float = 1.0
    """Exponent >= 0 of the step sizes' decay; 0 for constant step sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothPolicyIterationConfig(StepSizeConfig):
    """Hyper-parameters of smooth policy iteration."""

    step_size: float = 0.4
    """Factor of the step sizes, > 0; the constant step size if ``step_exponent`` is 0. With the constant 1 the
    law is not damped: plain policy iteration."""
    ties: Ties = "lowest"
    """What a greedy policy plays where several actions are best: the ``lowest``, or all, ``shared``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoltzmannPolicyIterationConfig(TrainerConfig):
    """Hyper-parameters of Boltzmann policy iteration."""

    temperature: float = 0.2
    """Temperature T > 0 of the policy softmax(Q / T)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0, exclude_low=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MirrorDescentConfig(TrainerConfig):
    """Hyper-parameters of online mirror descent."""

    learning_rate: float = 0.1
    """Step size alpha > 0 with which Q values are accumulated; too large a step diverges (A-RPS: at 1)."""
    step_exponent: float = 0.0
    """Exponent >= 0 of the step sizes' decay: alpha_k = alpha / (k + 1)^exponent in iteration k = 0, 1, ... Where
    constant steps go round an equilibrium, decreasing ones come nearer [O]."""
    temperature: float = 0.0
    """Entropy regularisation tau >= 0; alpha tau < 1. With tau > 0 a fixed point is the equilibrium of the
    regularised game, which is at most 2 tau H log|A|-exploitable (Yardim & He, Lemma 11)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("learning_rate", self.learning_rate, 0.0, exclude_low=True)
        checks.real("temperature", self.temperature, 0.0, 1.0 / self.learning_rate, exclude_high=True)
        checks.real("step_exponent", self.step_exponent, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MunchausenConfig(TrainerConfig):
    """Hyper-parameters of tabular Munchausen mirror descent."""

    temperature: float = 1.0
    """Temperature tau > 0 of the policies softmax(Q / tau)."""
    munchausen: float = 1.0
    """Share alpha in [0, 1] of tau log pi that is added to the reward. With 1 the method is online mirror descent
    at the learning rate 1 / tau; with less, that at the entropy regularisation (1 - alpha) tau."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0, exclude_low=True)
        checks.real("munchausen", self.munchausen, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorDescentConfig(TrainerConfig):
    """Hyper-parameters of prior descent."""

    temperature: float = 1.0
    """Temperature eta > 0."""
    n_inner: int | None = None
    """Number of iterations >= 1 after which the policy becomes the prior; None to keep the uniform prior, which is
    GMF-V without a net, or Boltzmann iteration."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0, exclude_low=True)
        if self.n_inner is not None:
            checks.integer("n_inner", self.n_inner, 1, MOST_ITERATIONS)


def _best_response(config: FixedPointConfig) -> dict[str, Any]:
    """Options of exact or soft best responses."""
    tau = config.temperature
    return {
        "temperature": tau,
        "rate": 1.0 / tau if tau > 0.0 else GREEDY,
        "shares_ties": config.ties == "shared",
    }


def _averaging(config: StepSizeConfig, population: int) -> dict[str, Any]:
    """Options of averages of answers."""
    return {
        "averages": True,
        "population": population,
        "step_size": config.step_size,
        "step_delay": config.step_delay,
        "step_exponent": config.step_exponent,
        "adds_up": population == FLOW and config.step_size == config.step_exponent == 1.0,
    }


class FixedPoint(LoopSolver):
    """Fixed-point iteration: pi <- best response to mu^pi.

    It converges where the map is a contraction, as it can be in games with little interaction or at a high
    temperature, and cycles otherwise. Hyper-parameters: :class:`FixedPointConfig`.

    References
    ----------
    Huang, Malhame & Caines, "Large population stochastic dynamic games", Communications in Information and
    Systems 6, 2006.

    Cui & Koeppl, "Approximately solving mean field games via entropy-regularized deep reinforcement learning",
    AISTATS 2021 (tau > 0).
    """

    config_class = FixedPointConfig
    name = "fixed-point"
    config: FixedPointConfig

    @classmethod
    def _loop_options(cls, config: FixedPointConfig) -> LoopOptions:
        return LoopOptions(**_best_response(config))


class DampedFixedPoint(LoopSolver):
    """Damped fixed-point iteration: L <- (1 - a_k) L + a_k mu^br, with br a best response to the law L.

    The policy is that of the law, L(s, a) / L(s). With step size 1 this is :class:`FixedPoint`. Hyper-parameters:
    :class:`DampedFixedPointConfig`.

    References
    ----------
    Perolat et al., "Scaling up mean field games with online mirror descent", AAMAS 2022 (Fictitious Play Damped).

    Lauriere et al., "Learning in mean field games: a survey", arXiv 2205.12944, section 3.
    """

    config_class = DampedFixedPointConfig
    name = "damped-fixed-point"
    config: DampedFixedPointConfig

    @classmethod
    def _loop_options(cls, config: DampedFixedPointConfig) -> LoopOptions:
        return LoopOptions(**_best_response(config), **_averaging(config, AVERAGE))


class FictitiousPlay(LoopSolver):
    """Fictitious play: the average, weighted by state mass, of best responses to the averages so far.

    It solves any finite game. Where the dynamics depend on the population, a best response's mass is that of a
    single agent in the current flow; in an infinite game, the mass of the stationary law that the agent reaches
    there [O]. Hyper-parameters: :class:`FictitiousPlayConfig`.

    References
    ----------
    Perrin et al., "Fictitious play for mean field games", NeurIPS 2020.
    """

    config_class = FictitiousPlayConfig
    name = "fictitious-play"
    config: FictitiousPlayConfig

    @classmethod
    def _loop_options(cls, config: FictitiousPlayConfig) -> LoopOptions:
        return LoopOptions(**_best_response(config), **_averaging(config, FLOW))


class SmoothPolicyIteration(LoopSolver):
    """Smooth policy iteration: improve the last policy once, and damp the law: L <- (1 - a_k) L + a_k mu^pi.

    In place of solving a decision problem, an iteration evaluates the last answer against L and takes the greedy
    policy. The solver's policy is that of the law, L(s, a) / L(s). Hyper-parameters:
    :class:`SmoothPolicyIterationConfig`.

    References
    ----------
    Cacace, Camilli & Goffi, "A policy iteration method for mean field games", ESAIM: COCV 27, 2021 (a_k = 1).

    Tang & Song, "Learning optimal policies in potential mean field games: smoothed policy iteration algorithms",
    SIAM Journal on Control and Optimization 62, 2024.
    """

    config_class = SmoothPolicyIterationConfig
    name = "smooth-policy-iteration"
    config: SmoothPolicyIterationConfig

    @classmethod
    def _loop_options(cls, config: SmoothPolicyIterationConfig) -> LoopOptions:
        return LoopOptions(values=ANSWER, shares_ties=config.ties == "shared", **_averaging(config, AVERAGE))


class BoltzmannPolicyIteration(LoopSolver):
    """Boltzmann policy iteration: pi <- softmax(Q^pi / T), without accumulation.

    Hyper-parameters: :class:`BoltzmannPolicyIterationConfig`.

    References
    ----------
    Cui & Koeppl, "Approximately solving mean field games via entropy-regularized deep reinforcement learning",
    AISTATS 2021; with Q^pi in place of Q* as in OpenSpiel (``boltzmann_policy_iteration.py``).
    """

    config_class = BoltzmannPolicyIterationConfig
    name = "boltzmann-policy-iteration"
    config: BoltzmannPolicyIterationConfig

    @classmethod
    def _loop_options(cls, config: BoltzmannPolicyIterationConfig) -> LoopOptions:
        return LoopOptions(values=ANSWER, rate=1.0 / config.temperature)


class PriorDescent(LoopSolver):
    """Prior descent: pi <- q exp(Q*(mu^pi) / eta) / Z, and the prior q <- pi after every n_inner iterations.

    Hyper-parameters: :class:`PriorDescentConfig`. The prior changes after iterations n_inner, 2 n_inner, ... [R]
    (MFGLib changes it one iteration earlier).

    References
    ----------
    Cui & Koeppl, "Approximately solving mean field games via entropy-regularized deep reinforcement learning",
    AISTATS 2021.
    """

    config_class = PriorDescentConfig
    name = "prior-descent"
    config: PriorDescentConfig

    @classmethod
    def _loop_options(cls, config: PriorDescentConfig) -> LoopOptions:
        return LoopOptions(rate=1.0 / config.temperature, retained=1.0, prior_period=config.n_inner or 0)


class OnlineMirrorDescent(LoopSolver):
    """Online mirror descent: y <- (1 - alpha_k tau) y + alpha_k Q^{tau,pi}, pi = softmax(y).

    It solves any finite game. With tau > 0 it is the exact-model counterpart of Yardim & He's Algorithm 2, without
    its mixing. Hyper-parameters: :class:`MirrorDescentConfig`.

    References
    ----------
    Perolat et al., "Scaling up mean field games with online mirror descent", AAMAS 2022 (tau = 0).

    Yardim & He, arXiv 2408.15173, Algorithm 2.
    """

    config_class = MirrorDescentConfig
    name = "omd"
    config: MirrorDescentConfig

    @classmethod
    def _loop_options(cls, config: MirrorDescentConfig) -> LoopOptions:
        return LoopOptions(
            values=ANSWER,
            temperature=config.temperature,
            rate=config.learning_rate,
            retained=1.0 - config.learning_rate * config.temperature,
            rate_exponent=config.step_exponent,
            prior_period=1,
        )


class Munchausen(LoopSolver):
    """Tabular Munchausen mirror descent: pi <- softmax(Q / tau), with alpha tau log pi added to the reward.

    With the exact model, Q(s, a) = alpha tau log pi(a|s) + Q^pi(s, a), where Q^pi are the values at the entropy
    temperature (1 - alpha) tau; so pi <- pi^alpha exp(Q^pi / tau) / Z.

    Hyper-parameters: :class:`MunchausenConfig`.

    References
    ----------
    Vieillard, Pietquin & Geist, "Munchausen reinforcement learning", NeurIPS 2020.

    Lauriere et al., "Scalable deep reinforcement learning algorithms for mean field games", ICML 2022 (arXiv
    2203.11973), section 4.2.
    """

    config_class = MunchausenConfig
    name = "munchausen"
    config: MunchausenConfig

    @classmethod
    def _loop_options(cls, config: MunchausenConfig) -> LoopOptions:
        return LoopOptions(
            values=ANSWER,
            temperature=(1.0 - config.munchausen) * config.temperature,
            rate=1.0 / config.temperature,
            retained=config.munchausen,
            prior_period=1,
            is_normalised=True,
        )
