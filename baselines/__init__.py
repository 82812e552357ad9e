"""Trainers and solvers for the games of :mod:`mfenvs`, in the manner of Stable-Baselines3.

At the top are the contract (``trainer``, ``config``, ``policies``) and what handles runs (``runs``, ``callbacks``,
``logging``). Then one folder a kind: ``solvers`` read the mean-field model, ``tabular`` learners have tables,
``neural`` learners networks, ``deep`` solvers learn networks that are mean-field equilibria, ``stationary`` learns
stationary equilibria and optima, ``continuous`` solves and learns typed games with continuous states, ``market``
holds policies of the energy market, ``taxi`` plans and bounds for A-Taxi, and ``cli`` is the command line.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfenvs.meanfield.stopping import Stopped

    from .callbacks import ExploitabilityCallback
    from .continuous.actor_critic.actor_critic import ActorCritic
    from .deep.fictitious_play import AverageNetworkFictitiousPlay
    from .deep.mirror_descent import DeepMirrorDescent
    from .neural.best_response import BestResponse, approximate_best_response
    from .neural.independent_ppo import IndependentPPO
    from .neural.ppo import PPO
    from .neural.risk_ppo import RiskAversePPO
    from .neural.wasserstein import WassersteinCallback, WassersteinSchedule
    from .policies import TabularPolicy
    from .solvers.correlated import CorrelatedEquilibrium, mean_field_psro
    from .solvers.fixed_point import (
        BoltzmannPolicyIteration,
        DampedFixedPoint,
        FictitiousPlay,
        FixedPoint,
        Munchausen,
        OnlineMirrorDescent,
        PriorDescent,
        SmoothPolicyIteration,
    )
    from .solvers.mf_omo import MFOMO
    from .solvers.occupation_measures import OccupationMeasureInclusion
    from .solvers.population_iteration import GMFV, ThreeStepFixedPoint
    from .solvers.result import SolverResult
    from .stationary.policy_gradient import StationaryPolicyGradient
    from .tabular.gmf_q import GMFQ, NaiveQ
    from .tabular.independent_q import MFQ, IndependentQ
    from .tabular.mirror_descent import IPMD, SymmPMD
    from .tabular.temporal_difference import TDLearning

_HOME = {
    "ActorCritic": "continuous.actor_critic.actor_critic",
    "AverageNetworkFictitiousPlay": "deep.fictitious_play",
    "BestResponse": "neural.best_response",
    "BoltzmannPolicyIteration": "solvers.fixed_point",
    "CorrelatedEquilibrium": "solvers.correlated",
    "DampedFixedPoint": "solvers.fixed_point",
    "DeepMirrorDescent": "deep.mirror_descent",
    "ExploitabilityCallback": "callbacks",
    "FictitiousPlay": "solvers.fixed_point",
    "FixedPoint": "solvers.fixed_point",
    "GMFQ": "tabular.gmf_q",
    "GMFV": "solvers.population_iteration",
    "IPMD": "tabular.mirror_descent",
    "IndependentPPO": "neural.independent_ppo",
    "IndependentQ": "tabular.independent_q",
    "MFOMO": "solvers.mf_omo",
    "MFQ": "tabular.independent_q",
    "Munchausen": "solvers.fixed_point",
    "NaiveQ": "tabular.gmf_q",
    "OccupationMeasureInclusion": "solvers.occupation_measures",
    "OnlineMirrorDescent": "solvers.fixed_point",
    "PPO": "neural.ppo",
    "PriorDescent": "solvers.fixed_point",
    "RiskAversePPO": "neural.risk_ppo",
    "SmoothPolicyIteration": "solvers.fixed_point",
    "SolverResult": "solvers.result",
    "StationaryPolicyGradient": "stationary.policy_gradient",
    "Stopped": "solvers.result",
    "SymmPMD": "tabular.mirror_descent",
    "TDLearning": "tabular.temporal_difference",
    "TabularPolicy": "policies",
    "ThreeStepFixedPoint": "solvers.population_iteration",
    "WassersteinCallback": "neural.wasserstein",
    "WassersteinSchedule": "neural.wasserstein",
    "approximate_best_response": "neural.best_response",
    "mean_field_psro": "solvers.correlated",
}

__all__ = [
    "GMFQ",
    "GMFV",
    "IPMD",
    "MFOMO",
    "MFQ",
    "PPO",
    "ActorCritic",
    "AverageNetworkFictitiousPlay",
    "BestResponse",
    "BoltzmannPolicyIteration",
    "CorrelatedEquilibrium",
    "DampedFixedPoint",
    "DeepMirrorDescent",
    "ExploitabilityCallback",
    "FictitiousPlay",
    "FixedPoint",
    "IndependentPPO",
    "IndependentQ",
    "Munchausen",
    "NaiveQ",
    "OccupationMeasureInclusion",
    "OnlineMirrorDescent",
    "PriorDescent",
    "RiskAversePPO",
    "SmoothPolicyIteration",
    "SolverResult",
    "StationaryPolicyGradient",
    "Stopped",
    "SymmPMD",
    "TDLearning",
    "TabularPolicy",
    "ThreeStepFixedPoint",
    "WassersteinCallback",
    "WassersteinSchedule",
    "approximate_best_response",
    "mean_field_psro",
]


def __dir__() -> list[str]:
    """What the package offers, also what has not been imported yet: Python suggests names from here."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a trainer when it is asked for: the trainers need torch, the command line's help does not."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: the trainers need the extra packages of `pip install mfenvs[baselines]`"
        ) from error
