"""Measures of a learned policy, its return and its exploitability: those of ``mfenvs evaluate``, and of sweeps."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.cuda.device import device_index
from mfenvs.engine.engine import Engine
from mfenvs.evaluation import evaluate
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import Estimate, n_player_exploitability
from mfenvs.meanfield.public_paths import path_exploitability
from mfenvs.meanfield.public_tree import n_histories
from mfenvs.meanfield.relative_exploitability import relative_exploitability
from mfenvs.play import tabulate
from mfenvs.populations import PopulationGame

from .neural.best_response import approximate_best_response

MOST_MOVES_ON_TREE = 2**24
"""Largest number of possible moves on the tree of public histories at which exploitability is exact."""

MEANING_OF_E = "E_i: what agent i could gain by deviating alone, 0 at an equilibrium."


@dataclasses.dataclass(kw_only=True)
class MeasurementSettings:
    """How to measure a policy."""

    n_worlds: int = 64
    """Number of worlds that are simulated, and of public paths where these are sampled, at least 2."""
    deviators_per_world: int = 16
    """For tabular policies: number of agents that deviate in each world, one at a time. Their gains give the lower
    bound on the mean exploitability over agents."""
    best_response_timesteps: int = 0
    """For neural policies: number of timesteps for which a deviator is trained; 0: no deviator is trained.
    The deviator's gain is a lower bound on the exploitability."""
    seed: int = 0
    """Random seed of the simulations."""
    device: str = "cpu"
    """Device on which worlds are simulated: cpu, cuda, cuda:1, ... (a GPU of NVIDIA, with the extra cuda).
    Best responses in the model and sampled public paths, of which there are no agents to simulate, are computed on
    the CPU."""

    def check(self) -> None:
        """Raise a TypeError or ValueError if a number is not allowed."""
        checks.integer("n_worlds", self.n_worlds, 2)
        checks.integer("deviators_per_world", self.deviators_per_world, 1)
        checks.integer("best_response_timesteps", self.best_response_timesteps, 0)
        checks.integer("seed", self.seed, 0, 2**63 - 1)
        device_index(self.device)


@dataclasses.dataclass(frozen=True)
class PolicyMeasures:
    """Measures of a policy, as numbers and as the rows of a table."""

    summary: dict[str, Any]
    """The measures by name, for JSON: numbers, and 95 % intervals as lists of two under ``<name>_95``."""
    rows: list[tuple[str, str, str]]
    """What a table shows: the measure, its value, its 95 % interval."""
    caption: str
    """What the words in the rows mean."""


def measure_policy(game: Game, policy: Any, settings: MeasurementSettings) -> PolicyMeasures:
    """Measure the return and the exploitability of a policy.

    Policies of finite games that do not depend on the other agents are measured as tables: exploitability among N
    agents, and, if all agents share the table, in the induced mean-field game, exactly. In a game with common
    noise it is that of the mean-field game only, and with bounds from sampled public paths where the tree of
    public histories is large. Of other policies the return is measured, and a lower bound on the exploitability if
    ``settings`` asks for it.

    Parameters
    ----------
    game:
        The game.
    policy:
        A policy of any kind that :class:`mfenvs.play.Player` takes; None for uniformly random
        actions among those that are allowed.
    settings:
        Numbers of simulations, and their seed.

    Raises
    ------
    TypeError, ValueError
        If a setting is not allowed or the policy cannot be played in this game.
    ImportError, RuntimeError
        If the software for the device is not installed, or there is no such device.
    """
    settings.check()
    table = _table(game, policy)
    if isinstance(game, FiniteGame) and game.public_chain is None and table is not None:
        return _measure_table(game, table, settings)
    found = _measure_by_play(game, policy, settings)
    if isinstance(game, FiniteGame) and table is not None and table.ndim == 3:
        return _with_common_noise(game, table, settings, found)
    return found


def _table(game: Game, policy: Any) -> NDArray[np.float64] | None:
    """A policy as a table of probabilities; None if it has none, as it depends on what the others do."""
    if not isinstance(game, FiniteGame):
        return None
    try:
        return tabulate(game, policy)
    except TypeError:
        return None


def _measure_by_play(game: Game, policy: Any, settings: MeasurementSettings) -> PolicyMeasures:
    found = evaluate(game, policy, n_worlds=settings.n_worlds, seed=settings.seed, device=settings.device)
    summary = found.summary()
    rows = [("mean return of an agent", f"{found.mean_return.value:.4f}", _interval(found.mean_return))]
    for name, shares in found.region_shares.items():
        rows.append((f"{name} at the end", f"{shares[:, -1].mean():.1%}", ""))
    trains_deviator = settings.best_response_timesteps > 0 and policy is not None
    if trains_deviator:
        best = approximate_best_response(
            game,
            policy,
            total_timesteps=settings.best_response_timesteps,
            evaluation_worlds=settings.n_worlds,
            seed=settings.seed,
            simulation_device=settings.device,
        )
        rows.append(("mean_i E_i >=", f"{best.gain.value:.4f}", _interval(best.gain)))
        summary |= {"mean_lower_bound": best.gain.value, "mean_lower_bound_95": list(best.gain.interval)}
    caption = MEANING_OF_E if trains_deviator else "--best-response-timesteps bounds exploitability from below."
    return PolicyMeasures(summary, rows, caption)


def _with_common_noise(
    game: FiniteGame, table: NDArray[np.float64], settings: MeasurementSettings, found: PolicyMeasures
) -> PolicyMeasures:
    """Add the exploitability in the mean-field game with common noise to other measures."""
    assert game.public_chain is not None
    width = max(*n_histories(game.public_chain, game.horizon), game.n_public_states)
    n_moves = game.n_states * game.n_actions * (game.n_branches or game.n_states)
    name = "mean-field exploitability"
    if game.horizon * width * n_moves <= MOST_MOVES_ON_TREE:
        exact = InducedGame(game).exploitability(table)
        summary: dict[str, Any] = {"mean_field_exploitability": exact}
        rows = [(name, f"{exact:.4f}", "exact")]
    else:
        bounds = path_exploitability(game, table, n_paths=settings.n_worlds, seed=settings.seed)
        summary, rows = {}, []
        for key, sign, bound in (("lower", ">=", bounds.lower), ("upper", "<=", bounds.upper)):
            summary[f"mean_field_exploitability_{key}_bound"] = bound.value
            summary[f"mean_field_exploitability_{key}_bound_95"] = list(bound.interval)
            rows.append((f"{name} {sign}", f"{bound.value:.4f}", _interval(bound)))
    caption = (
        "Exploitability: what an agent could gain by deviating alone, knowing the public states so far; 0 at an"
        " equilibrium."
    )
    return PolicyMeasures(found.summary | summary, found.rows + rows, caption)


def _measure_table(game: FiniteGame, table: NDArray[np.float64], settings: MeasurementSettings) -> PolicyMeasures:
    found = n_player_exploitability(
        game,
        table,
        n_worlds=settings.n_worlds,
        deviators_per_world=min(settings.deviators_per_world, game.n_agents),
        seed=settings.seed,
        device=settings.device,
    )
    worlds = Engine(game, settings.n_worlds, device=settings.device).rollout(table, seed=settings.seed)
    mean_return = Estimate.of(worlds.returns.mean(axis=1))
    summary: dict[str, Any] = {
        **found.summary(),
        "return": mean_return.value,
        "return_95": list(mean_return.interval),
    }
    rows = [
        ("mean return of an agent", f"{mean_return.value:.4f}", _interval(mean_return)),
        ("max_i E_i, estimate", f"{found.max:.4f}", ""),
        ("max_i E_i >=", f"{found.max_lower_bound.value:.4f}", _interval(found.max_lower_bound)),
        ("mean_i E_i, estimate", f"{found.mean:.4f}", ""),
        ("mean_i E_i >=", f"{found.mean_lower_bound.value:.4f}", _interval(found.mean_lower_bound)),
    ]
    if isinstance(game, PopulationGame):
        returns = {
            population.name: Estimate.of(worlds.returns[:, game.population_of_agent == p].mean(axis=1))
            for p, population in enumerate(game.populations)
        }
        summary["return_by_population"] = {name: mean.value for name, mean in returns.items()}
        rows[1:1] = [(f"... of {name}", f"{mean.value:.4f}", _interval(mean)) for name, mean in returns.items()]
    if game.is_infinite:
        relative = relative_exploitability(game, table, seed=settings.seed, device=settings.device)
        summary |= {f"C_{name}": value for name, value in relative.summary().items()}
        rows += [
            ("C(pi), relative", f"{relative.relative.value:.4f}", _interval(relative.relative)),
            ("C(pi), absolute gap", f"{relative.absolute.value:.4f}", _interval(relative.absolute)),
        ]
    if table.ndim == 3:
        each = InducedGame(game).exploitabilities(table).tolist()
        summary["mean_field_exploitability"] = max(each)
        meaning = "exact" if len(each) == 1 else "exact, largest of the populations'"
        rows.append(("mean-field exploitability", f"{max(each):.4f}", meaning))
        if isinstance(game, PopulationGame):
            names = [population.name for population in game.populations]
            summary["mean_field_exploitability_by_population"] = dict(zip(names, each, strict=True))
            rows += [(f"... of {name}", f"{gap:.4f}", "exact") for name, gap in zip(names, each, strict=True)]
    caption = (
        f"{MEANING_OF_E} Estimates average simulated worlds (error O(1/N) and noise); lower bounds are gains of"
        " found deviations in fresh simulations."
    )
    return PolicyMeasures(summary, rows, caption)


def _interval(estimate: Any) -> str:
    low, high = estimate.interval
    return f"[{low:.4f}, {high:.4f}]"
