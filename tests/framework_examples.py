"""The examples of other frameworks as modules, and games on which they are compared with the engine."""

from example_files import EXAMPLES, load_example

import mfenvs

FOLDER = EXAMPLES / "frameworks"

ENDS = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3)
"""A game whose episodes terminate."""
GOES_ON = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3, discount=0.9)
"""A game whose episodes are truncated at the horizon."""
MASKED = mfenvs.make("EnergyMarket-v0", actions="discrete", n_agents=9, horizon=4, n_days=1, weather_sd=0.0)
"""A game with action masks."""
BOX = mfenvs.make("LinearQuadratic-v0", n_agents=5, horizon=3)
"""A game of continuous actions."""


def load(name):
    """Import an example from its file."""
    return load_example(f"frameworks/{name}")


def assert_routes_step(example):
    """Every route takes steps over the end of an episode."""
    for game in (ENDS, mfenvs.make("Taxi-v0", n_agents=5, horizon=4)):
        routes = example.stepping(game)
        assert len(routes) > 0
        for take in routes.values():
            take(2 * game.horizon + 1)
