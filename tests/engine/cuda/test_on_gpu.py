"""The CUDA engine on a GPU, where there is one, does what the CPU's engine does: see also test_apis.py."""

import dataclasses

import cuda_plays
import numpy as np
import pytest
from cuda_plays import BY_ONE_BLOCK, IN_PARTS, compare, needs_a_gpu, on_host

from mfenvs import Engine, make, registered_games

pytestmark = needs_a_gpu
NAMES = [*registered_games(), *cuda_plays.VARIANTS]


@pytest.mark.parametrize("most", [IN_PARTS, BY_ONE_BLOCK])
@pytest.mark.parametrize("name", NAMES)
def test_trajectories_and_errors_are_those_of_the_cpu(name, most, monkeypatch):
    monkeypatch.setattr("mfenvs.engine.cuda.engine.MOST_AGENTS_OF_BLOCK", most)
    game = cuda_plays.small(name)
    compare(cuda_plays.play(game, "cpu"), cuda_plays.play(game, "cuda"), name)


@pytest.mark.parametrize(
    ("name", "n_agents", "n_worlds"),
    [
        (name, n_agents, n_worlds)
        for name in ("Epidemic-v0", "RockPaperScissors-v0", "Taxi-v0", "Auction-v0", "EnergyMarket-v0")
        for n_agents, n_worlds in ((100_000, 2), (1000, 64))
    ],
)
def test_large_worlds_are_those_of_the_cpu_but_for_rounding(name, n_agents, n_worlds):
    """Few agents draw a number so near to a threshold that the rounding of a fused multiplication decides."""
    game = dataclasses.replace(make(name), n_agents=n_agents)
    engines = [Engine(game, n_worlds, device=device) for device in ("cpu", "cuda")]
    for engine in engines:
        engine.reset(7)
    for _ in range(min(3, game.horizon)):
        actions = engines[0].random_actions()
        paid = [on_host(engine.step(actions)) for engine in engines]
        states, others = (on_host(engine.states) for engine in engines)
        differ = np.zeros(states.shape, bool)
        for field in states.dtype.names or (...,):
            one, other = states[field], others[field]
            differ |= ~np.isclose(one, other, 1e-3, 1e-3) if one.dtype.kind == "f" else one != other
        assert differ.mean() < 1e-3
        assert np.mean(~np.isclose(*paid, 1e-3, 1e-3)) < 1e-3


def test_a_sum_over_a_million_agents_is_exact():
    """Counts are sums of atomic additions from thousands of blocks: none may be lost."""
    engine = Engine(make("Epidemic-v0", n_agents=1_000_000), device="cuda")
    engine.reset(0)
    for _ in range(20):
        actions = engine.random_actions()
        drawn = np.bincount(2 * on_host(engine.states).ravel() + on_host(actions).ravel(), minlength=4)
        engine.step(actions)
        np.testing.assert_array_equal(on_host(engine.counts).ravel(), drawn)
