"""Continuous actions of the energy market: what is written is what the rules read."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mfenvs.games.energy.actions import box_actions, reader
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.version_0 import EnergyMarketV0
from mfenvs.rules import plain

WRITTEN = {
    "battery": [-1.0, 0.25],
    "battery_price": [0.1, 0.2],
    "flexible": [0.0, 0.75],
    "flexible_price": [0.15, 0.3],
    "vehicle": [1.0, 0.5],
    "vehicle_price": [0.3, 0.1],
}


@pytest.mark.parametrize(
    ("game", "shape", "read"),
    [
        (EnergyMarketV0(n_agents=5), (2, 3), [[-1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.25, 0.5, 0.75, 0.5, 0.0, 0.0]]),
        (EnergyMarket(n_agents=5), (2, 4), [[-1.0, 0.0, 0.0, 0.25, 0.0, 0.0], [0.25, 0.5, 0.75, 1.0, 0.0, 0.0]]),
        (
            EnergyMarket(n_agents=5, ev_share=1.0),
            (2, 6),
            [[-1.0, 0.0, 0.0, 0.25, 1.0, 1.0], [0.25, 0.5, 0.75, 1.0, 0.5, 0.0]],
        ),
    ],
    ids=["one price", "separate prices", "vehicles"],
)
def test_what_is_written_is_read(game, shape, read) -> None:
    """Between tariffs of .1 and .3 EUR/kWh."""
    actions = box_actions(game.traits, *(np.array(column) for column in WRITTEN.values()))
    assert actions.shape == shape == (2, *game.action_space.shape)
    found = [plain(reader(game.traits))(row, 0.1, 0.3) for row in actions]
    assert_allclose(found, read, atol=1e-6)
