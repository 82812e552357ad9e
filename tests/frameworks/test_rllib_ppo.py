"""RLlib: the episodes of both of its runners are the engine's, and one module learns for all agents."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("ray.rllib", exc_type=ImportError)

from framework_examples import ENDS, GOES_ON, MASKED, assert_routes_step, load
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

import mfenvs
from mfenvs import Engine
from mfenvs.api.rllib import PopulationMultiAgentEnv
from mfenvs.registry import name_of

example = load("rllib_ppo")

CONSTANTS = {
    "ends": (ENDS, {"n_agents": 5, "horizon": 3}),
    "goes-on": (GOES_ON, {"n_agents": 5, "horizon": 3, "discount": 0.9}),
    "masked": (
        MASKED,
        {"n_agents": 9, "horizon": 4, "actions": "discrete", "n_days": 1, "weather_sd": 0.0},
    ),
}
SEED = 7


def runner_of(route, game, constants):
    config = example.ROUTES[route](name_of(game), 2, **constants).debugging(seed=SEED)
    return example.runner_of(config)


def assert_is_engines(agents, engine, world):
    """The agents' episodes, all of one world, are what the engine does if it takes their actions."""
    game = engine.game
    actions = np.array([[agent.get_actions(t) for agent in agents] for t in range(game.horizon)])
    for t in range(game.horizon + 1):
        np.testing.assert_array_equal([agent.get_observations(t) for agent in agents], engine.observe()[world])
        if game is MASKED:
            masks = [agent.get_infos(t)["action_mask"] for agent in agents]
            np.testing.assert_array_equal(masks, engine.action_masks()[world])
        if t < game.horizon:
            everyone = np.zeros((engine.n_worlds, game.n_agents), int)
            everyone[world] = actions[t]
            rewards = engine.step(everyone)
            np.testing.assert_array_equal(np.float32([agent.get_rewards(t) for agent in agents]), rewards[world])
    for agent in agents:
        assert len(agent) == game.horizon
        assert bool(agent.is_terminated) == (game is not GOES_ON)
        assert bool(agent.is_truncated) == (game is GOES_ON)


@pytest.mark.parametrize("kind", CONSTANTS)
def test_episodes_of_the_vector_are_the_engines(kind):
    game, constants = CONSTANTS[kind]
    n = game.n_agents
    episodes = runner_of("vector", game, constants).sample(
        num_timesteps=2 * 2 * n * game.horizon, random_actions=True
    )
    assert len(episodes) == 2 * 2 * n
    for k in range(2):
        for world in range(2):
            engine = Engine(game, 2)
            engine.reset(SEED)
            if k == 1:
                engine.reset()
            first = (2 * k + world) * n
            assert_is_engines(episodes[first : first + n], engine, world)


@pytest.mark.parametrize("kind", CONSTANTS)
def test_episodes_of_agents_by_name_are_the_engines(kind):
    game, constants = CONSTANTS[kind]
    n = game.n_agents
    runner = runner_of("multi-agent", game, constants)
    episodes = runner.sample(num_timesteps=2 * 2 * n * game.horizon, random_actions=True)
    assert len(episodes) == 4
    assert set(runner.module.keys()) == {"shared"}
    for k in range(4):
        # Worlds take turns; each has a seed of its own.
        engine = Engine(game, 1)
        engine.reset(SEED + k % 2)
        if k >= 2:
            engine.reset()
        agents = episodes[k].agent_episodes
        assert set(agents) == set(game.agent_names)
        assert {episodes[k].module_for(name) for name in agents} == {"shared"}
        assert_is_engines([agents[name] for name in game.agent_names], engine, 0)


def test_what_the_adapter_says_of_rllibs_wrapper():
    """RLlib's own wrapper makes a truncated episode one that terminated, too."""

    def last_flags(env):
        episode = MultiAgentEpisode()
        episode.add_env_reset(observations=env.reset(seed=0)[0], infos={})
        actions = dict.fromkeys(GOES_ON.agent_names, 1)
        for _ in range(3):
            observations, rewards, terminateds, truncateds, infos = env.step(actions)
            episode.add_env_step(
                observations, actions, rewards, infos, terminateds=terminateds, truncateds=truncateds
            )
        agent = episode.agent_episodes["agent_2"]
        return bool(agent.is_terminated), bool(agent.is_truncated)

    assert last_flags(ParallelPettingZooEnv(mfenvs.parallel_env(GOES_ON))) == (True, True)
    assert last_flags(PopulationMultiAgentEnv(GOES_ON)) == (False, True)


def test_the_pinned_gymnasium_is_what_this_runs_with():
    assert gymnasium.__version__ == "1.2.2"


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn_over_both_routes():
    """Random taxis earn .58, trained ones about 4."""
    found = example.main(16)
    assert found.keys() == example.ROUTES.keys()
    for at_random, trained in found.values():
        assert 0.4 < at_random < 0.8
        assert trained > 1.6
