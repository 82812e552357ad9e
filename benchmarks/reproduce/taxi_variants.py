"""The curves of the figure on A-Taxi: what agents observe, and who shares a network."""

import dataclasses
from typing import Any

from benchmarks.reproduce.taxi_training import ScaledIdentity, Setting


@dataclasses.dataclass(frozen=True)
class Variant(Setting):
    """One curve of the figure."""

    colour: str = "black"
    paper: dict[int, float] = dataclasses.field(default_factory=dict)
    """The paper's curve: total reward an episode by epoch."""


VARIANTS = {
    "Symm-NN": Variant(colour="#0b6fa4", paper={100: 20.9, 200: 22.6, 590: 23.1}),
    "OH-NN": Variant(("one-hot-identity",), colour="#2b8a3e", paper={100: 18.9, 200: 21.7, 590: 22.6}),
    "ID-NN": Variant(("integer-identity",), colour="#8d5a97", paper={100: 19.5, 200: 21.0, 590: 21.6}),
    "Ind-NN": Variant(independent=True, colour="#c2571a", paper={100: 0.95, 200: 1.04, 590: 4.0}),
    "Symm-NN-NR": Variant(hyper_parameters={"ent_coef": 0.0}, colour="#777777"),
}

FITTED: dict[str, Any] = {"jam": 7.5}
"""The constants with which Symm-NN comes nearest to the paper's curve in the study [O]."""
FITTED_IDENTITY = ScaledIdentity(10.0)
"""The integer identity with which ID-NN does."""


def variants(setting: str) -> dict[str, Variant]:
    """The curves of a setting: ``default``, or ``fitted`` to the paper's curves."""
    if setting == "default":
        return VARIANTS
    fitted = {name: dataclasses.replace(variant, constants=FITTED) for name, variant in VARIANTS.items()}
    return fitted | {"ID-NN": dataclasses.replace(fitted["ID-NN"], observe=(FITTED_IDENTITY,))}
