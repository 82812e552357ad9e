"""Predictions from estimates, with their errors: the return of a policy, and how exploitable it may be."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mfenvs.estimation.estimates import Estimates
from mfenvs.estimation.fitted_game import FittedGame
from mfenvs.meanfield.extension import project_to_simplex
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import Estimate
from mfenvs.meanfield.population_flow import Flow

Array = NDArray[np.float64]


def games_without(game: FittedGame, estimates: Estimates) -> list[FittedGame]:
    """The fitted games of all episodes but each group."""
    tables = zip(estimates.without, estimates.first_states_without, strict=True)
    return [dataclasses.replace(game, values=values, first_states=law) for values, law in tables]


def predicted_return(game: FittedGame, estimates: Estimates, policy: Array) -> Estimate:
    """Expected return of a policy (T, S, A) in the mean-field game, with its jackknife standard error."""
    found = [InducedGame(g).value(policy) for g in (game, *games_without(game, estimates))]
    error = float(estimates.errors_of(np.array(found)))
    return Estimate(found[0], error, len(found) - 1)


def exploitability_draws(
    game: FittedGame, estimates: Estimates, policy: Array, n_draws: int, rng: np.random.Generator
) -> Array:
    """Exploitabilities of a policy in games drawn around the estimates: ``EstimatedGame.exploitability_draws``."""
    induced = InducedGame(game)
    flow = induced.flow(policy).dense()
    known, _ = _known_along(estimates, flow)
    if not (known | ~_reachable(induced, flow)[..., None]).all():
        return np.full(n_draws, math.inf)
    n_groups = len(estimates.without)
    away = estimates.without - estimates.values
    away_at_start = estimates.first_states_without - estimates.first_states
    found = np.empty(n_draws)
    for k in range(n_draws):
        scale = math.sqrt((n_groups - 1) / n_groups * (n_groups - 1) / rng.chisquare(n_groups - 1))
        draws = scale * rng.standard_normal(n_groups)
        values = estimates.values + np.tensordot(draws, away, 1)
        law = project_to_simplex(estimates.first_states + draws @ away_at_start)
        found[k] = InducedGame(dataclasses.replace(game, values=values, first_states=law)).exploitability(policy)
    return found


def exploitability_bound(game: FittedGame, estimates: Estimates, policy: Array, confidence: float) -> float:
    """Upper bound on the exploitability of a policy (T, S, A): ``EstimatedGame.exploitability_bound``."""
    induced = InducedGame(game)
    flow = induced.flow(policy).dense()
    best_q, own_q = induced.optimal_q(flow), induced.evaluate(policy, flow)
    best_v, own_v = best_q.max(axis=-1), (policy * own_q).sum(axis=-1)
    backups = [np.stack([_backup(game, flow, v) for v in (best_v, own_v)])]
    starts = [induced.initial]
    for other in games_without(game, estimates):
        alone = InducedGame(other)
        flow_there = alone.flow(policy).dense()
        backups.append(np.stack([_backup(game, flow_there, v) for v in (best_v, own_v)]))
        starts.append(alone.initial)
    errors = estimates.errors_of(np.array(backups))
    error_of_start = float(estimates.errors_of(np.array([law @ (best_v[0] - own_v[0]) for law in starts])))
    known, least = _known_along(estimates, flow)
    for which, v in enumerate((best_v, own_v)):
        ahead = _next(game, v)
        spans = ahead.max(axis=-1) - ahead.min(axis=-1)
        errors[which] = np.maximum(errors[which], least * spans[:, None, None])
    reached = _reachable(induced, flow)
    if not (known | ~reached[..., None]).all():
        return math.inf
    degrees = np.where(known, _episode_groups(estimates, len(known)) - 1.0, 1.0)
    level = (1.0 - confidence) / (errors.size + 1)
    radii = errors * stdtrit(degrees, 1.0 - level / 2)
    surplus = induced.optimal_q(dataclasses.replace(flow, rewards=np.ascontiguousarray(radii[0])))
    loss = induced.evaluate(policy, dataclasses.replace(flow, rewards=np.ascontiguousarray(radii[1])))
    gain = induced.initial @ (best_v[0] - own_v[0] + surplus[0].max(axis=-1) + (policy[0] * loss[0]).sum(axis=-1))
    return float(gain + error_of_start * stdtrit(len(starts) - 2, 1.0 - level / 2))


def _next(game: FittedGame, v: Array) -> Array:
    """Values (T, S) one step later: in a game that ends, 0 after the last step."""
    return v if game.is_infinite else np.concatenate([v[1:], np.zeros_like(v[:1])])


def _backup(game: FittedGame, flow: Flow, v: Array) -> Array:
    """R + gamma P v of the next step, shape (T, S, A)."""
    found: Array = flow.rewards + game.discount * np.einsum("hsat,ht->hsa", flow.transitions, _next(game, v))
    return found


def _known_along(estimates: Estimates, flow: Flow) -> tuple[NDArray[np.bool_], Array]:
    """Whether P and R are known at every time of a flow, and the least error of a probability, (T, S, A) each."""
    last = len(estimates.values) - 1
    times = [min(h, last) for h in range(len(flow.mu))]
    known = [estimates.covers(estimates.shares(mu), time) for mu, time in zip(flow.mu, times, strict=True)]
    least = 1.0 / (estimates.visits[times].astype(np.float64) + 2.0)
    return np.stack(known), least


def _episode_groups(estimates: Estimates, n_times: int) -> NDArray[np.int64]:
    return np.broadcast_to(estimates.episode_groups, (n_times, *estimates.episode_groups.shape[1:]))


def _reachable(induced: InducedGame, flow: Flow) -> NDArray[np.bool_]:
    """States that an agent can reach by any actions, shape (T, S)."""
    possible = np.asarray((flow.transitions > 0.0).any(axis=2))
    reached = np.zeros(flow.mu.shape[:2], np.bool_)
    present: NDArray[np.bool_] = induced.initial > 0.0
    for h in range(len(reached)):
        if induced.game.is_infinite:
            while (ahead := present | _ahead(present, possible[h])).sum() > present.sum():
                present = ahead
        reached[h] = present
        present = _ahead(present, possible[h])
    return reached


def _ahead(present: NDArray[np.bool_], possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """States (S,) one step after any of those that are ``present``."""
    return np.asarray(possible[present].any(axis=0))
