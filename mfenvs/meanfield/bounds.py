"""What the theory of approximate symmetry promises, as numbers (Yardim & He, arXiv 2408.15173).

Theorem 1 bounds the exploitability, in the N-player game, of an equilibrium of the induced game; Lemma 11 the bias
of entropy regularisation; Theorem 2 the error of TD learning from the N-player game; Theorem 3 gives the samples
that policy mirror descent needs. The constants come from :func:`mfenvs.meanfield.lipschitz.lipschitz_constants`
and from (alpha, beta) of Definition 7.

Where the printed proofs slip, the functions follow the corrected proof [R] and say so; the printed form of Theorem
1 is kept beside it.
"""

import dataclasses
import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import kind_of
from mfenvs.meanfield.lipschitz import LipschitzConstants

Array = NDArray[np.float64]

LARGEST_COUNT = 2**63 - 1
"""Largest number of agents, states, actions or iterations."""
LARGEST_HORIZON = 2**20
"""Largest number of steps: bounds are sums over steps."""
ROUNDING = 1e-6
"""By how much rounding may take alpha above 2, its largest value."""


@dataclasses.dataclass(frozen=True)
class ExploitabilityBound:
    """The bound of Theorem 1, as the sum of its parts."""

    equilibrium_error: float
    """delta, the exploitability of the policy in the induced game."""
    population: float
    """From the empirical distribution of N agents not being the mean field, if alpha and beta were 0."""
    alpha: float
    """What the asymmetry of the transitions adds."""
    beta: float
    """What the asymmetry of the rewards adds: 2 beta H."""

    @property
    def total(self) -> float:
        """The bound on max_i E_i."""
        return self.equilibrium_error + self.population + self.alpha + self.beta

    def summary(self) -> dict[str, float]:
        """The parts and their sum as a dict for JSON."""
        return dataclasses.asdict(self) | {"total": self.total}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GameConstants:
    """The constants that the bounds read."""

    n_agents: int
    """Number N of agents, at least 2."""
    n_states: int
    """Number |S| of states."""
    n_actions: int
    """Number |A| of actions."""
    horizon: int
    """Number H of steps."""
    l_pop: float
    """Lipschitz modulus of the population update in the population (l1)."""
    k_mu: float
    """Lipschitz modulus of the transition rows in the population (l1)."""
    l_mu: float
    """Lipschitz modulus of the rewards in the population (l1)."""
    reward_span: float = 1.0
    """Largest difference D of rewards between two pairs of a state and an action at one population; the paper's
    rewards are in [0, 1], so that D <= 1."""
    alpha: float = 0.0
    """Asymmetry of the transitions (Definition 7), in [0, 2]."""
    beta: float = 0.0
    """Asymmetry of the rewards (Definition 7)."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("n_agents", 2, LARGEST_COUNT),
            ("n_states", 1, LARGEST_COUNT),
            ("n_actions", 1, LARGEST_COUNT),
            ("horizon", 1, LARGEST_HORIZON),
        ):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), least, most))
        for name in ("l_pop", "k_mu", "l_mu", "reward_span", "beta"):
            object.__setattr__(self, name, checks.real(name, getattr(self, name), 0.0))
        object.__setattr__(self, "alpha", checks.real("alpha", self.alpha, 0.0, 2.0))

    @classmethod
    def of(cls, game: FiniteGame, lipschitz: LipschitzConstants, *, alpha: float = 0.0, beta: float = 0.0) -> Self:
        """The constants of a game, from its Lipschitz constants and its asymmetry.

        Parameters
        ----------
        game:
            A finite game.
        lipschitz:
            What :func:`mfenvs.meanfield.lipschitz.lipschitz_constants` found of its induced game.
        alpha, beta:
            Its asymmetry (:func:`mfenvs.meanfield.symmetry.approximate_symmetry`); an alpha that rounding took
            above 2 counts as 2.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or the game has more than 2^20 steps.
        """
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
        if not isinstance(lipschitz, LipschitzConstants):
            raise TypeError(f"lipschitz must be LipschitzConstants, got {checks.shown(lipschitz)}")
        alpha = checks.real("alpha", alpha, 0.0, 2.0 + ROUNDING)
        return cls(
            n_agents=game.n_agents,
            n_states=game.n_states,
            n_actions=game.n_actions,
            horizon=game.horizon,
            l_pop=lipschitz.l_pop.value,
            k_mu=lipschitz.k_mu.value,
            l_mu=lipschitz.l_mu.value,
            reward_span=lipschitz.reward_span.value,
            alpha=min(alpha, 2.0),
            beta=beta,
        )


def _check_constants(game: Any) -> None:
    if not isinstance(game, GameConstants):
        raise TypeError(
            f"game must be GameConstants, got {checks.shown(game)}: GameConstants.of(game, ...) makes them"
        )


def empirical_distance(game: GameConstants, form: Literal["proved", "paper"] = "proved") -> Array:
    """The bounds E(h) on E||mu^N_h - mu_h||_1 for h = 0 ... H - 1, one agent deviating, shape (H,).

    E(h) = (1 - L^{h+1}) / (1 - L) (|S||A| / sqrt(N) + (2 + 3 K_mu) / N + alpha) with L = L_pop,mu, the ratio being
    h + 1 at L = 1 [R: the paper prints h].

    Parameters
    ----------
    game:
        The constants.
    form:
        ``"proved"``: as above. ``"paper"``: 5 K_mu / N in the place of (2 + 3 K_mu) / N, as the paper prints; that
        drops the deviator's own part 2 / N where K_mu < 1.

    References
    ----------
    Yardim & He, arXiv 2408.15173, appendix B.3, inequality (7).
    """
    _check_constants(game)
    form = checks.choice("form", form, ("proved", "paper"))
    n, k_mu = game.n_agents, game.k_mu
    deviator = (2.0 + 3.0 * k_mu) / n if form == "proved" else 5.0 * k_mu / n
    source = game.n_states * game.n_actions / math.sqrt(n) + deviator + game.alpha
    with np.errstate(over="ignore"):
        powers = game.l_pop ** np.arange(game.horizon)
        return source * np.cumsum(powers)


def theorem_1(
    game: GameConstants,
    *,
    equilibrium_error: float = 0.0,
    form: Literal["proved", "paper"] = "proved",
    l_a: float | None = None,
) -> ExploitabilityBound:
    """Theorem 1: a bound on the exploitability of a mean-field equilibrium in the N-player game.

    If all N agents play a policy with exploitability delta in the induced game, no agent gains more than

        delta + 2 sum_h [ L_mu E(h) + (D K_mu / 2) sum_{h'<h} E(h') ] + 6 H L_mu / N + 2 beta H
        + D H (H - 1) / 2 (alpha + 3 K_mu / N)

    by deviating alone, with E(h) of :func:`empirical_distance` and D the span of rewards at one population.

    Parameters
    ----------
    game:
        The constants.
    equilibrium_error:
        delta >= 0, the exploitability of the policy in the induced game.
    form:
        ``"proved"``: as above. It corrects two slips of the printed proof [R]: the laws of an agent's state in the
        two games differ in *states* and actions, so that their difference weighs D <= L_s + L_a, not L_a; and the
        last term is not a multiple of the rewards' unit, as it takes D <= 1.
        ``"paper"``: the printed form, with L_a in the place of D and 2 H^2 (alpha + 3 K_mu / N) at the end; for
        rewards in [0, 1] only.
    l_a:
        L_a, the largest difference of rewards between two actions, for the printed form.

    Returns
    -------
    The bound and its parts. It can be infinite: in the expansive regime it grows as L_pop,mu^H.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or ``l_a`` is missing for the printed form.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Theorem 1 and appendix B.3.
    """
    _check_constants(game)
    form = checks.choice("form", form, ("proved", "paper"))
    delta = checks.real("equilibrium_error", equilibrium_error, 0.0)
    if form == "paper" and l_a is None:
        raise ValueError("l_a must be given for the printed form of the bound")
    if form == "proved" and l_a is not None:
        raise ValueError(f"l_a must be None but for the printed form of the bound, got {checks.shown(l_a)}")
    weight = game.reward_span if l_a is None else checks.real("l_a", l_a, 0.0)
    symmetric = dataclasses.replace(game, alpha=0.0, beta=0.0)
    population = _without_beta(symmetric, weight, form)
    beta = 2.0 * game.beta * game.horizon
    whole = _without_beta(game, weight, form)
    return ExploitabilityBound(
        equilibrium_error=delta,
        population=population,
        alpha=whole - population if math.isfinite(whole) else whole if game.alpha > 0.0 else 0.0,
        beta=beta,
    )


def _without_beta(game: GameConstants, weight: float, form: Literal["proved", "paper"]) -> float:
    n, horizon = game.n_agents, game.horizon
    distance = empirical_distance(game, form)
    before = np.concatenate([[0.0], np.cumsum(distance)[:-1]])
    # A factor of 0 removes a sum that overflows.
    sums = sum(
        2.0 * factor * float(terms.sum())
        for factor, terms in ((game.l_mu, distance), (0.5 * weight * game.k_mu, before))
        if factor > 0.0
    )
    drift = weight * horizon * (horizon - 1) / 2 if form == "proved" else 2.0 * horizon**2
    return sums + 6.0 * horizon * game.l_mu / n + drift * (game.alpha + 3.0 * game.k_mu / n)


def regularisation_bias(temperature: float, horizon: int, n_actions: int) -> float:
    """Lemma 11: 2 tau H log|A| bounds the exploitability of an equilibrium of the entropy-regularised game.

    Half of it bounds the difference |V^tau - V| of the two values of a policy.

    Parameters
    ----------
    temperature:
        tau >= 0.
    horizon:
        Number H of steps.
    n_actions:
        Number |A| of actions.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Lemma 11.
    """
    tau = checks.real("temperature", temperature, 0.0)
    horizon = checks.integer("horizon", horizon, 1, LARGEST_COUNT)
    n_actions = checks.integer("n_actions", n_actions, 1, LARGEST_COUNT)
    return 2.0 * tau * horizon * math.log(n_actions)


def dominance_moduli(c_1: float, c_2: float, n_agents: int, sparsity: int) -> tuple[float, float]:
    """Lemma 2: Lipschitz moduli (l2) of the induced P and R where no other agent matters much.

    Parameters
    ----------
    c_1:
        C_1, the largest change (l1) of a row P^i(. | s, a, others) as another agent changes its state and action.
    c_2:
        C_2, the largest change of a reward R^i(s, a, others) likewise.
    n_agents:
        Number N of agents.
    sparsity:
        kappa: P^i(s, a, .) and R^i(s, a, .) depend on who is in kappa cells (s', a') only (Definition 8).

    Returns
    -------
    C_1 N sqrt(kappa) and C_2 N sqrt(kappa).

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 8 and Lemma 2.
    """
    c_1, c_2 = checks.real("c_1", c_1, 0.0), checks.real("c_2", c_2, 0.0)
    n = checks.integer("n_agents", n_agents, 2, LARGEST_COUNT)
    kappa = checks.integer("sparsity", sparsity, 0, LARGEST_COUNT)
    factor = n * math.sqrt(kappa)
    return c_1 * factor, c_2 * factor


@dataclasses.dataclass(frozen=True)
class TDError:
    """Bounds on the squared errors E||Qhat_h - Q_h||^2 of TD learning, by their sources, shape (H,) each.

    The norm weighs (s, a) by the probability that the learning agent is there at step h.
    """

    sampling: Array
    """From the number M of iterations: of order 1 / M."""
    population: Array
    """From the N agents' empirical distribution, if alpha and beta were 0: of order 1 / N."""
    alpha: Array
    """From the asymmetry of the transitions: of order alpha^2 + alpha / sqrt(N)."""
    beta: Array
    """From the asymmetry of the rewards: of order beta^2."""

    @property
    def total(self) -> Array:
        """Their sums, shape (H,)."""
        return self.sampling + self.population + self.alpha + self.beta

    def summary(self) -> dict[str, Any]:
        """The sums over steps as a dict for JSON."""
        return {field.name: float(getattr(self, field.name).sum()) for field in dataclasses.fields(self)}


def theorem_2(game: GameConstants, *, least_visits: float, n_iterations: int) -> TDError:
    """Theorem 2: error of TD learning (Algorithm 1) of a policy's values from M episodes of the N-player game.

    The paper states the order 1 / M + 1 / N + alpha^2 + beta^2. This is the explicit bound that its recursion
    gives with the learning rates (2 / delta) / (m + 2 / delta); the factors 1 / delta of the steps multiply, so
    that it grows exponentially with H, as the paper says. It holds for rewards in [0, 1] and temperatures in
    [0, 1], from any estimates in [0, Q_max], Q_max = H (1 + log|A|).

    [R] The recursion is that of appendix C.1 with 1 + (H - h + 1)^2 in the place of (H - h + 1)^2, as Young's
    inequality gives it; Lemma 10 is replaced by its l1 form (Minkowski's inequality in the place of Young's).

    Parameters
    ----------
    game:
        The constants, of a game with rewards in [0, 1].
    least_visits:
        delta in (0, 1]: the least positive probability that the learning agent is in (s, a) at step h.
    n_iterations:
        Number M >= 0 of iterations, an episode each.

    Returns
    -------
    Bounds on the squared error of each step, by source.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Theorem 2, Lemma 10 and appendix C.1.
    """
    _check_constants(game)
    m = checks.integer("n_iterations", n_iterations, 0, LARGEST_COUNT)
    growth = _td_growth(game, least_visits)
    u = 2.0 / least_visits
    distance = _distance_of_others(game)
    without_alpha = _distance_of_others(dataclasses.replace(game, alpha=0.0))
    k_mu, l_mu, q_max = game.k_mu, game.l_mu, _largest_value(game)
    return TDError(
        sampling=growth / (m + u - 1.0),
        population=_td_bias(game, least_visits, *_source(without_alpha, k_mu, l_mu, q_max)),
        alpha=_td_bias(
            game,
            least_visits,
            *(
                with_it - without + own
                for with_it, without, own in zip(
                    _source(distance, k_mu, l_mu, q_max),
                    _source(without_alpha, k_mu, l_mu, q_max),
                    (0.0, 0.5 * q_max**2 * game.alpha**2),
                    strict=True,
                )
            ),
        ),
        beta=_td_bias(game, least_visits, 2.0 * game.beta**2, 2.0 * game.beta**2),
    )


def _largest_value(game: GameConstants) -> float:
    """Q_max = H (1 + log|A|)."""
    return game.horizon * (1.0 + math.log(game.n_actions))


def _distance_of_others(game: GameConstants) -> Array:
    """Bounds B_h on E||sigma(rho^{-i}_h) - mu_h||_1^2 where all play the policy of mu, shape (H,)."""
    n, k_mu = game.n_agents, game.k_mu
    noise = math.sqrt(game.n_states * game.n_actions / n)
    # The first population has no dynamics behind it, and so neither alpha nor K_mu.
    later = noise + game.alpha + 3.0 * k_mu / n
    root = np.empty(game.horizon)
    for h in range(game.horizon):
        root[h] = noise if h == 0 else game.l_pop * root[h - 1] + later
    return np.square(root + 3.0 / n)


def _source(distance: Array, k_mu: float, l_mu: float, q_max: float) -> tuple[Array, Array]:
    """What the distance of the others from the mean field adds to the error of the last and of earlier steps."""
    return 2.0 * l_mu**2 * distance, (0.5 * q_max**2 * k_mu**2 + 2.0 * l_mu**2) * distance


def _carried(game: GameConstants, h: int) -> tuple[float, float]:
    """The factors 1 + 1 / k^2 of the next step's error and 2 (1 + k^2) of this step's sources, k = H - h + 1."""
    k = game.horizon - h + 1
    return 1.0 + 1.0 / k**2, 2.0 * (1.0 + k**2)


def _td_bias(game: GameConstants, least_visits: float, last: Any, earlier: Any) -> Array:
    """Errors that do not vanish with M, shape (H,): e_h = [(1 + 1/k^2) e_{h+1} + 2 (1 + k^2) source_h] / delta."""
    horizon = game.horizon
    last, earlier = np.broadcast_to(last, horizon), np.broadcast_to(earlier, horizon)
    errors = np.empty(horizon)
    with np.errstate(over="ignore"):
        for h in reversed(range(horizon)):
            if h == horizon - 1:
                errors[h] = last[h] / least_visits
            else:
                next_, own = _carried(game, h)
                errors[h] = (next_ * errors[h + 1] + own * earlier[h]) / least_visits
    return errors


def _td_growth(game: GameConstants, least_visits: float) -> Array:
    """G_h with a sampling error of at most G_h / (M + u - 1) after M iterations, u = 2 / delta, shape (H,)."""
    delta = checks.real("least_visits", least_visits, 0.0, 1.0, exclude_low=True)
    u, q_max = 2.0 / delta, _largest_value(game)
    growth = np.empty(game.horizon)
    with np.errstate(over="ignore"):
        for h in reversed(range(game.horizon)):
            if h == game.horizon - 1:
                growth[h] = (u - 1.0) * q_max**2 + u**2 * (1.0 + q_max**2)
            else:
                next_, _ = _carried(game, h)
                growth[h] = (u - 1.0) * q_max**2 + 2.0 * u**2 * q_max**2 + u * next_ * growth[h + 1]
    return growth


@dataclasses.dataclass(frozen=True)
class SampleSizes:
    """Lengths of policy mirror descent (Algorithm 2); they can be infinite where a bound overflows."""

    n_epochs: float
    """Number T of epochs: of order epsilon^-4, up to logarithms."""
    n_iterations: float
    """Number M of TD iterations, an episode each, in an epoch: of order epsilon^-2."""

    @property
    def n_episodes(self) -> float:
        """Number T M of episodes of the N-player game: of order epsilon^-6."""
        return self.n_epochs * self.n_iterations

    def summary(self) -> dict[str, float]:
        """All numbers as a dict for JSON."""
        return dataclasses.asdict(self) | {"n_episodes": self.n_episodes}


def theorem_3(
    game: GameConstants,
    *,
    epsilon: float,
    temperature: float,
    least_visits: float,
    first_divergence: float | None = None,
) -> SampleSizes:
    """Theorem 3: how long policy mirror descent must run in a monotone-extendable game.

    With these lengths the averaged policy is an O(epsilon / tau + (alpha + beta + 1 / sqrt(N)) / tau + tau)
    equilibrium of the N-player game in expectation. T is the least number of epochs for which the proof's
    optimisation term, (4 Delta_1 / tau + 4 H^2 / tau + 4 tau H log|A| + 4 tau log^2(T + 1)) / sqrt(T), is at most
    (epsilon / tau)^2. M is the least number of iterations for which the sampling errors of :func:`theorem_2`,
    summed over steps, are at most epsilon^2.

    Parameters
    ----------
    game:
        The constants, of a game with rewards in [0, 1].
    epsilon:
        The accuracy, > 0.
    temperature:
        The entropy regularisation tau, in (0, 1/2).
    least_visits:
        delta in (0, 1], as for :func:`theorem_2`, over all policies that occur.
    first_divergence:
        Delta_1 >= 0, the expected Kullback-Leibler divergence of the regularised equilibrium from the first
        policy, summed over steps; by default its largest value for a uniform first policy, H log|A|.

    Returns
    -------
    The numbers of epochs and iterations.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Theorem 3 and appendix D.3.
    """
    _check_constants(game)
    epsilon = checks.real("epsilon", epsilon, 0.0, exclude_low=True)
    tau = checks.real("temperature", temperature, 0.0, 0.5, exclude_low=True, exclude_high=True)
    horizon, log_actions = game.horizon, math.log(game.n_actions)
    if first_divergence is None:
        first_divergence = horizon * log_actions
    first_divergence = checks.real("first_divergence", first_divergence, 0.0)
    growth = float(_td_growth(game, least_visits).sum())
    iterations = growth / epsilon**2 - (2.0 / least_visits - 1.0)

    def is_enough(epochs: float) -> bool:
        term = 4.0 * (first_divergence + horizon**2) / tau
        term += 4.0 * tau * (horizon * log_actions + math.log(epochs + 1.0) ** 2)
        return tau**2 * term <= epsilon**2 * math.sqrt(epochs)

    return SampleSizes(
        _least(is_enough), max(1.0, math.ceil(iterations)) if math.isfinite(iterations) else math.inf
    )


def _least(is_enough: Any) -> float:
    """The least whole number that is enough, all larger ones being so too; exact below 2^53."""
    high = 1.0
    while not is_enough(high):
        high *= 2.0
        if high > 1e300:
            return math.inf
    low = high / 2.0
    while high - low > max(1.0, high * 1e-15):
        middle = math.floor((low + high) / 2.0)
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return float(high)
