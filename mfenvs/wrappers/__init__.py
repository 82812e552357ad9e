"""Wrappers: what agents observe beside their own state, and one policy for all seen as one for each."""

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
