"""The names of the classic games as parameters of tests that compile the kernels of each."""

import pytest

from mfenvs import registered_games

QUICK = (
    *("BeachBar-v0", "SusceptibleInfected-v0", "CrowdMotion-v0", "CrowdModelling2D-v0", "EquilibriumPrice-v0"),
    *("NormalForm-v0", "Garnet-v0", "RepeatedRockPaperScissors-v0", "PredatorPrey-v0", "GraphonEpidemic-v0"),
    "DynamicRouting-v0",
)
"""One game of every kind, for ``make test``; all of them would take a minute to compile."""

NAMES = tuple(registered_games("classic"))

by_name = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
