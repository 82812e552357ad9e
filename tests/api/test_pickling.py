"""Environments go to other processes: by pickle, and made there by name."""

import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest

import mfenvs
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.wrappers.risk import RiskAverseVecEnv

GAME = mfenvs.make("Epidemic-v0", n_agents=4, horizon=6)
SEEN = ["one-hot-identity", "integer-identity", "own-parameters", "mean-field"]


def rows(env):
    return lambda: env.step(np.arange(env.num_envs) % 2)[:2]


def single(env):
    return lambda: env.step(1)[:2]


def by_agent(env):
    def step():
        observations, rewards, *_ = env.step(dict.fromkeys(env.agents, 1))
        return list(observations.values()), list(rewards.values())

    return step


MAKERS = {
    "vec env": (lambda: mfenvs.vec_env(GAME, 2, observe=SEEN), rows),
    "vector env": (lambda: mfenvs.vector_env(GAME, 2, observe=SEEN), rows),
    "representative": (lambda: RepresentativeVecEnv(GAME, n_worlds=2, observe=SEEN), rows),
    "one agent": (lambda: RepresentativeAgentEnv(GAME, observe=SEEN, render_mode="ansi"), single),
    "parallel env": (lambda: mfenvs.parallel_env(GAME, observe=SEEN), by_agent),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_a_copy_goes_on_as_the_original_does(name, module):
    maker, steps_of = MAKERS[name]
    env = maker()
    env.reset()
    steps_of(env)()
    twin = pickle.loads(module.dumps(env))
    assert twin.render() == env.render() if name == "one agent" else True
    for _ in range(3):
        for mine, other in zip(steps_of(env)(), steps_of(twin)(), strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_the_budgets_of_a_copy_are_one_object():
    market = mfenvs.make("EnergyMarket-v0", actions="discrete", n_agents=9, horizon=4, n_days=1, weather_sd=0.0)
    env = RiskAverseVecEnv(market, observe="own-parameters")
    env.reset()
    twin = pickle.loads(pickle.dumps(env))
    twin.budget.z[:] = 7.0
    assert twin.observe[-1] is twin.budget
    before, after = (copy.step(np.zeros(9, int))[0] for copy in (env, twin))
    np.testing.assert_array_equal(before[:, :-2], after[:, :-2])
    assert not np.array_equal(before[:, -2], after[:, -2])


WORKER = """
import gymnasium, sys
assert "mfenvs" not in sys.modules
env = gymnasium.make("mfenvs:mfenvs/Epidemic-v0", n_agents=4, horizon=3, observe="mean-field")
print(env.reset(seed=0)[0].shape, env.step(1)[0].shape)
print(type(gymnasium.make_vec("mfenvs:mfenvs/Epidemic-v0", n_agents=4)).__name__)
"""


def test_a_process_that_has_not_imported_mfenvs_makes_environments_by_module_and_name():
    """As the workers of SB3's SubprocVecEnv are, whose functions name an environment."""
    out = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["(5,) (5,)", "PopulationVectorEnv"]
