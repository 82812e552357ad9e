"""The examples of other frameworks as modules, and games on which they are compared with the engine."""

import numpy as np
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


def assert_batch_is_the_engines(batch, game, seed, n_before=0):
    """A batch of TorchRL's, shape (n_worlds, n_steps), holds what the engine does if it takes the batch's actions.

    ``n_before`` is the number of episodes of the seed that had begun before; masks are compared if there are any.
    """
    n_worlds, n_steps = batch.shape
    engine = mfenvs.Engine(game, n_worlds)

    def assert_sees(entries):
        np.testing.assert_array_equal(entries["agents", "observation"], engine.observe())
        if game.rules.allowed is not None:
            np.testing.assert_array_equal(entries["agents", "action_mask"], engine.action_masks())

    engine.reset(seed)
    for _ in range(n_before):
        engine.reset()
    for t in range(n_steps):
        step = batch[:, t]
        assert_sees(step)
        rewards = engine.step(step["agents", "action"].numpy())
        np.testing.assert_array_equal(step["next", "agents", "reward"][..., 0], rewards)
        assert_sees(step["next"])  # at the end of an episode, its last observation
        is_over = engine.time == game.horizon
        assert (step["next", "done"] == is_over).all()
        assert (step["next", "terminated"] == (is_over and not game.is_infinite)).all()
        assert (step["next", "truncated"] == (is_over and game.is_infinite)).all()
        if is_over:
            engine.reset()
