"""The policies that are compared: rules of thumb, an equilibrium, a trained network and a planner."""

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np

from baselines import PPO, FictitiousPlay
from baselines.market.binned_equilibrium import binned_equilibrium
from baselines.market.model_predictive import ModelPredictive
from baselines.market.policies import BinnedPolicy, EveningRule, Idle, SelfConsumption
from benchmarks.reproduce.energy.protocol import Protocol, binned_market, day_market
from benchmarks.reproduce.energy_training import Deterministic
from mfenvs.games.energy.market import EnergyMarket

RANDOM, IDLE, GREEDY, EVENING, EQUILIBRIUM, NEURAL, PLANNER = POLICIES = (
    "random",
    "idle batteries",
    "self-consumption",
    "evening rule",
    "mean-field equilibrium",
    "symmetrised PPO",
    "receding horizon",
)
"""Names of the policies."""
PLANNED = "planned equilibrium"
"""A policy for each member (:func:`baselines.market.planned_equilibrium.planned_equilibrium`); of this one, only
gains by deviating are measured."""
DEVIATED_FROM = IDLE, GREEDY, EVENING, EQUILIBRIUM, PLANNED, NEURAL
"""Policies against which gains by deviating are measured; the receding-horizon planner plans for all members
together, a deviator included."""


def find_equilibrium(protocol: Protocol, day: int) -> dict[str, Any]:
    """The policy that fictitious play finds in the binned game of a day, and its exploitability there.

    Returns
    -------
    dict
        ``policy``, shape (H, S, A); ``exploitability``, EUR per member and day; ``method``.
    """
    found = binned_equilibrium(
        binned_market(protocol, day),
        tolerance=protocol.solver_tolerance,
        seconds=protocol.solver_seconds,
        clock=time.process_time,
    )
    return {"policy": found.policy, "exploitability": found.exploitability, "method": FictitiousPlay.name}


@functools.cache
def load_network(path: Path) -> PPO:
    """A trained network; loaded once in a process."""
    model = PPO.load(path, device="cpu")
    assert isinstance(model, PPO)
    return model


def players(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, tuple[EnergyMarket, Any]]:
    """Every policy on one day, with the market in which it is played.

    Parameters
    ----------
    protocol:
        Sizes.
    day:
        Day of the series, counted from 0.
    table:
        Policy of the binned game of that day, shape (H, S, A).
    model:
        File of the trained network.
    """
    box, discrete = (day_market(protocol, day, actions) for actions in ("box", "discrete"))
    found: dict[str, tuple[EnergyMarket, Any]] = {
        RANDOM: (box, None),
        IDLE: (box, Idle(box)),
        GREEDY: (box, SelfConsumption(box)),
        EVENING: (box, EveningRule(box)),
        EQUILIBRIUM: (discrete, BinnedPolicy(binned_market(protocol, day), np.asarray(table), discrete)),
        NEURAL: (discrete, Deterministic(load_network(model))),
        PLANNER: (box, ModelPredictive(box)),
    }
    assert tuple(found) == POLICIES
    return found
