"""Observation blocks, conversions between shared and joint policies, scaled rewards and risk-averse rewards."""

from mfenvs.wrappers.observations import (
    IntegerIdentity,
    MeanField,
    ObservationBlock,
    OneHotIdentity,
    OwnParameters,
)
from mfenvs.wrappers.symmetrise import JointPolicy, SharedPolicy, joint_policy, shared_policy

__all__ = [
    "IntegerIdentity",
    "JointPolicy",
    "MeanField",
    "ObservationBlock",
    "OneHotIdentity",
    "OwnParameters",
    "SharedPolicy",
    "joint_policy",
    "shared_policy",
]
