"""Trainers and solvers for the games of :mod:`mfenvs`, in the manner of Stable-Baselines3."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baselines.best_response import BestResponse, approximate_best_response
    from baselines.callbacks import ExploitabilityCallback
    from baselines.fixed_point import FictitiousPlay, OnlineMirrorDescent
    from baselines.gmf_q import GMFQ, GMFV, NaiveQ, ThreeStepFixedPoint
    from baselines.independent_ppo import IndependentPPO
    from baselines.independent_q import MFQ, IndependentQ
    from baselines.mirror_descent import IPMD, SymmPMD
    from baselines.policies import TabularPolicy
    from baselines.ppo import PPO
    from baselines.risk_ppo import RiskAversePPO
    from baselines.temporal_difference import TDLearning

_HOME = {
    "BestResponse": "best_response",
    "ExploitabilityCallback": "callbacks",
    "FictitiousPlay": "fixed_point",
    "GMFQ": "gmf_q",
    "GMFV": "gmf_q",
    "IPMD": "mirror_descent",
    "IndependentPPO": "independent_ppo",
    "IndependentQ": "independent_q",
    "MFQ": "independent_q",
    "NaiveQ": "gmf_q",
    "OnlineMirrorDescent": "fixed_point",
    "PPO": "ppo",
    "RiskAversePPO": "risk_ppo",
    "SymmPMD": "mirror_descent",
    "TDLearning": "temporal_difference",
    "TabularPolicy": "policies",
    "ThreeStepFixedPoint": "gmf_q",
    "approximate_best_response": "best_response",
}

__all__ = [
    "GMFQ",
    "GMFV",
    "IPMD",
    "MFQ",
    "PPO",
    "BestResponse",
    "ExploitabilityCallback",
    "FictitiousPlay",
    "IndependentPPO",
    "IndependentQ",
    "NaiveQ",
    "OnlineMirrorDescent",
    "RiskAversePPO",
    "SymmPMD",
    "TDLearning",
    "TabularPolicy",
    "ThreeStepFixedPoint",
    "approximate_best_response",
]


def __getattr__(name: str) -> Any:
    """Import a trainer when it is asked for: the trainers need torch, the command line's help does not."""
    if name not in _HOME:
        raise AttributeError(f"module 'baselines' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"baselines.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: the trainers need the extra packages of `pip install mfenvs[baselines]`"
        ) from error
