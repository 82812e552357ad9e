"""The example of TorchRL learns, and both of its routes step."""

import pytest

pytest.importorskip("torchrl")

from example_files import load_example

import mfenvs

example = load_example("frameworks/torchrl_env")


@pytest.mark.slow
def test_taxis_learn(capsys):
    at_random, trained = example.main(n_iterations=15)
    assert trained > 3.0 * at_random > 0.0
    out = capsys.readouterr().out
    assert f"earns {at_random:.2f} in an episode at random, {trained:.2f} after training" in out
    assert "agent-steps per second" in out


@pytest.mark.parametrize("name", ["Epidemic-v0", "Taxi-v0"])
def test_steps_go_on_over_the_end_of_episodes(name):
    game = mfenvs.make(name, n_agents=4, horizon=3)
    routes = example.stepping(game)
    assert len(routes) == 2
    for take in routes.values():
        take(2 * game.horizon + 1)
