"""What agents observe beside their own state; policies for all and for each; rewards on other scales."""

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
