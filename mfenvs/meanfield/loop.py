"""One loop of which most solvers of finite mean-field games are corners: answer, average, move the population.

Iteration k = 0, 1, ... faces a population, computes the values of actions in it, answers them by a policy, and
moves on by a step size:

1. The population is the flow of the policy, or a law L that is kept (:data:`FLOW`, :data:`AVERAGE`, :data:`STEP`).
2. The values Q are those of a best response, those of the last answer, or given (:data:`BEST`, :data:`ANSWER`,
   :data:`GIVEN`), with an entropy bonus of temperature tau.
3. The answer is the greedy policy, or softmax(scores) with scores = retained * prior + rate * Q. The prior becomes
   the scores every ``prior_period`` iterations.
4. The policy is the answer, or an average of answers by mass with step size a_k.

Solvers fix these options (:class:`LoopOptions`); so an update is written here and nowhere else.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mfenvs.engine.compile import kernel
from mfenvs.engine.flow import follow
from mfenvs.engine.model import ModelKernels
from mfenvs.meanfield.bellman import act_optimally, forbid, is_open
from mfenvs.meanfield.dynamic_programming import evaluate, optimise
from mfenvs.meanfield.net import round_within_blocks
from mfenvs.meanfield.responses import respond_rule
from mfenvs.rules import rule

BEST, ANSWER, GIVEN = 0, 1, 2
"""Values of a best response; of the last answer, Q^pi; or values given by the caller (learned ones), which are
compared to those of a best response."""
FLOW, AVERAGE, STEP = 0, 1, 2
"""The population is the flow of the policy; the average of the answers' flows; or the law before, moved by one
step under the answer (:meth:`mfenvs.InducedGame.next_population`) and projected to an eps-net."""
GREEDY = math.inf
"""The rate of the greedy answer."""


class LoopOptions(NamedTuple):
    """What an iteration does."""

    values: int = BEST
    """:data:`BEST`, :data:`ANSWER` or :data:`GIVEN`."""
    temperature: float = 0.0
    """Temperature tau >= 0 of the entropy bonus in the values."""
    rate: float = GREEDY
    """Factor on Q in the scores; :data:`GREEDY` for the greedy answer."""
    retained: float = 0.0
    """Factor on the prior in the scores."""
    rate_exponent: float = 0.0
    """Exponent of the rate's decay: in iteration k the rate, and what is not retained, are those above divided by
    (k + 1)^rate_exponent."""
    prior_period: int = 0
    """Number of iterations after which the scores become the prior; 0 for never."""
    is_normalised: bool = False
    """Whether the prior is normalised to the logarithm of the answer when it is replaced."""
    shares_ties: bool = False
    """Whether the greedy answer plays all best actions; if not, the lowest of them."""
    population: int = FLOW
    """:data:`FLOW`, :data:`AVERAGE` or :data:`STEP`."""
    averages: bool = False
    """Whether the policy is an average of answers; if not, it is the last answer."""
    step_size: float = 1.0
    step_delay: float = 1.0
    step_exponent: float = 0.0
    """The step size a_k = min(1, step_size / (k + step_delay)^step_exponent) of the average."""
    adds_up: bool = False
    """Whether the average is kept as a sum, in which each answer weighs 1: step size 1 / (k + step_delay), without
    the rounding that would break ties."""
    net: int = 0
    """Resolution m of the eps-net of populations; 0 for none. Each of several populations keeps its mass."""


def keeps_population(options: LoopOptions) -> bool:
    """Whether the loop keeps a population from one iteration to the next."""
    return options.averages or options.population != FLOW


def weight_of_population(options: LoopOptions, iteration: int) -> float:
    """The mass of the kept population at every time, after so many iterations."""
    return iteration + options.step_delay - 1.0 if options.adds_up else 1.0


@rule
def _value_best(answer: Any, q: Any, exact_q: Any, temperature: Any, arrays: Any) -> Any:
    """Write the values of a best response against the population whose P and R are in ``arrays``."""
    transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
    optimise(
        *(transitions, successors, rewards, arrays.allowed, temperature),
        *(arrays.discount, q, arrays.values),
    )
    return 0.0


@rule
def _value_answer(answer: Any, q: Any, exact_q: Any, temperature: Any, arrays: Any) -> Any:
    """Write the values of the last answer."""
    transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
    evaluate(answer, transitions, successors, rewards, temperature, arrays.discount, q, arrays.values)
    return 0.0


@rule
def _compare_given(answer: Any, q: Any, exact_q: Any, temperature: Any, arrays: Any) -> Any:
    """Leave the given values; return their relative l2 distance to those of a best response."""
    transitions, successors, rewards = arrays.transitions, arrays.successors, arrays.rewards
    optimise(
        *(transitions, successors, rewards, arrays.allowed, 0.0),
        *(arrays.discount, exact_q, arrays.values),
    )
    error, size = 0.0, 0.0
    for h in range(q.shape[0]):
        for s in range(q.shape[1]):
            for a in range(q.shape[2]):
                if is_open(arrays.allowed, h, s, a):
                    error += (q[h, s, a] - exact_q[h, s, a]) ** 2
                    size += exact_q[h, s, a] ** 2
    return math.sqrt(error / size) if size > 0.0 else 0.0


VALUE_RULES = {BEST: _value_best, ANSWER: _value_answer, GIVEN: _compare_given}


@rule
def _answer_greedily(options: Any, k: Any, q: Any, prior: Any, answer: Any, allowed: Any) -> None:
    """Write the greedy answer to values (T, S, A)."""
    for h in range(len(q)):
        forbid(allowed, h, q[h])
    if options.shares_ties:
        respond_rule(q, GREEDY, answer)
    else:
        act_optimally(q, 0.0, answer)


@rule
def _answer_softly(options: Any, k: Any, q: Any, prior: Any, answer: Any, allowed: Any) -> None:
    """Write the softmax of the scores of allowed actions, and the scores to ``prior`` where it is due."""
    horizon, n_states, n_actions = q.shape
    has_prior = options.prior_period > 0
    decay = (k + 1.0) ** -options.rate_exponent
    rate, retained = decay * options.rate, 1.0 - decay * (1.0 - options.retained)
    is_due = has_prior and (k + 1) % options.prior_period == 0
    for h in range(horizon):
        for s in range(n_states):
            highest = -math.inf
            for a in range(n_actions):
                score = rate * q[h, s, a]
                if has_prior:
                    score += retained * prior[h, s, a]
                    if is_due:
                        prior[h, s, a] = score
                if not is_open(allowed, h, s, a):
                    score = -math.inf
                answer[h, s, a] = score
                highest = max(highest, score)
            total = 0.0
            for a in range(n_actions):
                answer[h, s, a] = math.exp(answer[h, s, a] - highest)
                total += answer[h, s, a]
            for a in range(n_actions):
                answer[h, s, a] /= total
            if is_due and options.is_normalised:
                for a in range(n_actions):
                    prior[h, s, a] -= highest + math.log(total)


@rule
def _mix(kept: Any, added: Any, mu: Any, answer: Any, population: Any, policy: Any) -> None:
    """Add the answer's law ``mu`` to what is kept of a population; the policy is its conditional law.

    Where the population has no mass, the policy is the answer.
    """
    horizon, n_states, n_actions = mu.shape
    for h in range(horizon):
        for s in range(n_states):
            total = 0.0
            for a in range(n_actions):
                population[h, s, a] = kept * population[h, s, a] + added * mu[h, s, a]
                total += population[h, s, a]
            for a in range(n_actions):
                policy[h, s, a] = population[h, s, a] / total if total > 0.0 else answer[h, s, a]


@rule
def _take(mu: Any, answer: Any, population: Any, policy: Any) -> None:
    """Do :func:`_mix` with step size 1, without rounding: the policy is the answer."""
    horizon, n_states, n_actions = mu.shape
    for h in range(horizon):
        for s in range(n_states):
            for a in range(n_actions):
                population[h, s, a] = mu[h, s, a]
                policy[h, s, a] = answer[h, s, a]


@rule
def _average(options: Any, k: Any, arrays: Any, answer: Any, population: Any, policy: Any) -> None:
    """Take the step k of the average towards the answer, whose law is in ``arrays.mu``."""
    n = k + options.step_delay
    if options.adds_up and n > 1.0:
        _mix(1.0, 1.0, arrays.mu, answer, population, policy)
        return
    step = min(1.0, options.step_size / n**options.step_exponent)
    if step == 1.0:
        _take(arrays.mu, answer, population, policy)
    else:
        _mix(1.0 - step, step, arrays.mu, answer, population, policy)


@rule
def _be_the_answer(
    options: Any, k: Any, answer: Any, policy: Any, population: Any, flat: Any, fixed: Any, arrays: Any
) -> Any:
    """Leave the policy, which is the answer; return True."""
    return True


@rule
def _average_policies(
    options: Any, k: Any, answer: Any, policy: Any, population: Any, flat: Any, fixed: Any, arrays: Any
) -> Any:
    """Move the policy towards the answer by the mass of a single agent in the frozen flow; return True."""
    follow(answer, arrays)
    _average(options, k, arrays, answer, population, policy)
    return True


@functools.cache
def _face_rule(tabulate: Callable[..., Any], population: int) -> Callable[..., Any]:
    """Make the rule that finds the population of an iteration, and P and R in it."""
    if population == FLOW:

        @rule
        def face_flow(policy: Any, population: Any, arrays: Any) -> Any:
            """Let the population be the flow of the policy; return whether it could be tabulated."""
            return tabulate(policy, arrays) >= 0.0

        return face_flow

    @rule
    def face_kept(policy: Any, population: Any, arrays: Any) -> Any:
        """Let the population be the one that is kept; return whether it could be tabulated."""
        return tabulate(population, arrays)

    return face_kept


@functools.cache
def _move_rule(move: Callable[..., Any], population: int) -> Callable[..., Any]:
    """Make the rule that moves the population that is kept, by this flow or step."""
    if population == AVERAGE:

        @rule
        def average_laws(
            options: Any,
            k: Any,
            answer: Any,
            policy: Any,
            population: Any,
            flat: Any,
            fixed: Any,
            arrays: Any,
        ) -> Any:
            """Move the population towards the flow of the answer; return whether that could be tabulated."""
            if move(answer, arrays) < 0.0:
                return False
            _average(options, k, arrays, answer, population, policy)
            return True

        return average_laws

    @rule
    def take_a_step(
        options: Any,
        k: Any,
        answer: Any,
        policy: Any,
        population: Any,
        flat: Any,
        fixed: Any,
        arrays: Any,
    ) -> Any:
        """Move the population by one step under the answer, and project it to the net; return whether it could."""
        if not move(answer, population, arrays):
            return False
        if options.net > 0:
            for h in range(len(flat)):
                round_within_blocks(flat[h], options.net, fixed)
        return True

    return take_a_step


def loop_kernel(kernels: ModelKernels, options: LoopOptions) -> Callable[..., Any]:
    """The compiled loop with these options: only the parts that they need are compiled."""
    population = options.population
    face = _face_rule(kernels.flow_rule if population == FLOW else kernels.freeze_rule, population)
    if population == FLOW:
        move = _average_policies if options.averages else _be_the_answer
    else:
        move = _move_rule(kernels.flow_rule if population == AVERAGE else kernels.advance_rule, population)
    respond = _answer_greedily if options.rate == GREEDY else _answer_softly
    return _iterate_kernel(face, VALUE_RULES[options.values], respond, move)


@functools.cache
def _iterate_kernel(
    face: Callable[..., Any],
    find_values: Callable[..., Any],
    respond: Callable[..., Any],
    move_on: Callable[..., Any],
) -> Callable[..., Any]:
    @kernel
    def iterate(
        first: Any,
        last: Any,
        has_answered: Any,
        error: Any,
        options: Any,
        policy: Any,
        answer: Any,
        prior: Any,
        population: Any,
        flat: Any,
        q: Any,
        exact_q: Any,
        fixed: Any,
        arrays: Any,
    ) -> Any:
        """Do the iterations first <= k < last on policy, answer, prior and population (T, S, A) in place.

        ``policy`` and ``answer`` are one array unless answers are averaged; ``flat`` is the population again, as
        (T, S A), and ``fixed`` are :class:`mfenvs.meanfield.net.FixedMasses` where it is projected to a net. ``q``
        is scratch, or the given values. Returns ``last``, False and the distance of given values
        to the exact ones; where a table could not be filled, the iteration's number and whether it has answered
        already, with which to go on.
        """
        for k in range(first, last):
            if k > first or not has_answered:
                if not face(policy, population, arrays):
                    return k, False, error
                error = find_values(answer, q, exact_q, options.temperature, arrays)
                respond(options, k, q, prior, answer, arrays.allowed)
            if not move_on(options, k, answer, policy, population, flat, fixed, arrays):
                return k, True, error
        return last, False, error

    return iterate
