"""Every API of a game that goes on for ever: at its horizon an episode is cut, and not over."""

import gymnasium
import numpy as np
import pytest

import mfenvs
from mfenvs.api.sb3 import RepresentativeVecEnv

N, H = 4, 3
FLAGS = [  # discount, limit, (terminated, truncated) in the last step
    (0.9, None, (False, True)),
    (0.9, 2, (False, True)),
    (0.9, 7, (False, True)),
    (1.0, None, (True, False)),
    (1.0, 2, (False, True)),
    (1.0, 7, (True, False)),
]


@pytest.fixture(params=["Epidemic-v0", "Auction-v0"])
def name(request):
    return request.param


@pytest.fixture(params=FLAGS, ids=lambda flags: f"discount={flags[0]}-limit={flags[1]}")
def ending(request):
    """Discount, limit, number of steps and the flags of all of them."""
    discount, limit, last = request.param
    n_steps = min(H, limit or H)
    return discount, limit, [(False, False)] * (n_steps - 1) + [last]


def constants(name, discount):
    few = {"n_bidders": 3, "n_budgets": 4, "n_bids": 5} if name == "Auction-v0" else {}
    return {"n_agents": N, "horizon": H, "discount": discount, **few}


def test_vector_env(name, ending):
    discount, limit, flags = ending
    vector = mfenvs.vector_env(name, n_worlds=2, max_episode_steps=limit, **constants(name, discount))
    vector.reset(seed=0)
    for terminated, truncated in flags:
        _, _, terminations, truncations, _ = vector.step(np.zeros(2 * N, int))
        assert terminations.tolist() == [terminated] * 2 * N
        assert truncations.tolist() == [truncated] * 2 * N


def test_parallel_and_aec_env(name, ending):
    discount, limit, flags = ending
    parallel = mfenvs.parallel_env(name, max_cycles=limit, **constants(name, discount))
    turns = mfenvs.api.pettingzoo.env(name, max_cycles=limit, **constants(name, discount))
    parallel.reset(seed=0)
    turns.reset(seed=0)
    for flag in flags:
        _, _, terminations, truncations, _ = parallel.step(dict.fromkeys(parallel.possible_agents, 1))
        assert set(zip(terminations.values(), truncations.values(), strict=True)) == {flag}
        for _ in range(N):
            turns.step(1)
        assert set(zip(turns.terminations.values(), turns.truncations.values(), strict=True)) == {flag}
    assert parallel.agents == []


def test_vec_env(name, ending):
    discount, limit, flags = ending
    vec = mfenvs.vec_env(name, max_episode_steps=limit, **constants(name, discount))
    vec.reset()
    for terminated, truncated in flags:
        _, _, dones, infos = vec.step(np.zeros(N, int))
        assert dones.tolist() == [terminated or truncated] * N
        assert all(info.get("TimeLimit.truncated", False) is truncated for info in infos)
        assert all(("terminal_observation" in info) is (terminated or truncated) for info in infos)


def test_one_agent(name, ending):
    discount, limit, flags = ending
    single = gymnasium.make(f"mfenvs/{name}", max_episode_steps=limit, **constants(name, discount))
    single.reset(seed=0)
    assert [single.step(0)[2:4] for _ in flags] == flags


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_one_agent_of_each_world(name, discount):
    game = mfenvs.make(name, **constants(name, discount))
    population = np.full(game.policy_shape, 1 / game.n_actions)
    rows = RepresentativeVecEnv(game, population, n_worlds=2)
    rows.reset()
    for t in range(H):
        _, _, dones, infos = rows.step(np.zeros(2, int))
        assert dones.tolist() == [t == H - 1] * 2
    assert all(info["TimeLimit.truncated"] is (discount < 1) for info in infos)


def test_observations_tell_the_time_only_where_it_matters(name):
    for discount in (0.9, 1.0):
        game = mfenvs.make(name, **constants(name, discount))
        engine = mfenvs.Engine(game, 2)
        engine.reset(seed=0)
        for t in range(H):
            expected = np.eye(game.n_states)[engine.states]
            if discount == 1:
                expected = np.dstack([expected, np.full((2, N, 1), t / H)])
            np.testing.assert_allclose(engine.observe(), expected, atol=1e-7)
            engine.step(np.zeros((2, N), int))
