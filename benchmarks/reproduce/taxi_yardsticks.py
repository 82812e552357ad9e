"""What a taxi could earn: lines beside the learning curves on A-Taxi."""

import functools
import json
from pathlib import Path
from typing import Any

from baselines.taxi.dispatcher import Dispatcher
from baselines.taxi.exploitability import attainable_return
from baselines.versions import versions
from benchmarks.reproduce.tasks import file_name, kept_result
from benchmarks.reproduce.taxi_training import GAME
from mfenvs import make
from mfenvs.evaluation import evaluate

SHARES_OF_ZONE_1 = (0.4, 0.5, 0.6)
"""The shares of zone 1 that a dispatcher tries, if all taxis follow it [O]."""


def yardsticks(
    constants: dict[str, Any], n_agents: int, n_alone: int, n_worlds: int, folder: Path
) -> dict[str, Any]:
    """What a lone taxi and what taxis who follow a dispatcher's rule earn in a game; kept in a file of ``folder``.

    Parameters
    ----------
    constants:
        Constants of the game that differ from its defaults.
    n_agents:
        Number of taxis.
    n_alone:
        Number of taxis whose problem alone in the city is solved.
    n_worlds:
        Number of worlds in which the dispatcher's rule is played, for each share of zone 1.
    folder:
        Where the results are kept.
    """
    played = {name: value for name, value in constants.items() if name != "observation"}
    key: list[Any] = json.loads(json.dumps([played, n_agents, n_alone, n_worlds, SHARES_OF_ZONE_1]))
    path = folder / file_name(tuple(key))
    task = functools.partial(_computed, played, n_agents, n_alone, n_worlds)
    found: dict[str, Any] = kept_result(path, key, versions(), task)
    return found


def _computed(constants: dict[str, Any], n_agents: int, n_alone: int, n_worlds: int) -> dict[str, Any]:
    game = make(GAME, n_agents=n_agents, **constants)
    alone = attainable_return(game, n_taxis=n_alone)
    rules = []
    for share in SHARES_OF_ZONE_1:
        found = evaluate(game, Dispatcher(game, (share, 1.0 - share)), n_worlds=n_worlds, seed=1_000_000)
        rules.append({"share_zone_1": share, **found.summary()})
    return {
        "constants": constants,
        "alone_without_jams": {"value": alone.value, "interval_95": list(alone.interval), "n_taxis": n_alone},
        "dispatcher": max(rules, key=lambda rule: rule["return"]),
        "dispatchers": rules,
    }
