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


WORKERS = """
import gymnasium, numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv

def make():
    return gymnasium.make("mfenvs:mfenvs/Epidemic-v0", n_agents=4, horizon=3, observe="mean-field")

if __name__ == "__main__":
    env = SubprocVecEnv([make, make], start_method="spawn")
    print(env.reset().shape, env.step(np.zeros(2, int))[0].shape)
    env.close()
    vector = gymnasium.make_vec("mfenvs:mfenvs/Epidemic-v0", n_agents=4)
    print(type(vector).__name__)
"""


def test_worker_processes_make_environments_by_name_and_module(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["(2, 5) (2, 5)", "PopulationVectorEnv"]
