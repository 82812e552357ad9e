import contextlib
import io
import warnings

import numpy as np
import pettingzoo
import pettingzoo.test  # its import warns, which must not be an error of the tests that use it
import pytest
from replay import random_actions

import mfenvs
from mfenvs.conformance import libraries
from mfenvs.conformance.subject import Subject

pytestmark = pytest.mark.filterwarnings("error")

SEE_THEIR_LEVEL = ("Investment-v0", "Malware-v0")
"""Games whose agents observe one or few numbers in [0, 1], often 0."""


@pytest.fixture(autouse=True)
def _quiet():
    with contextlib.redirect_stdout(io.StringIO()):  # PettingZoo's tests print
        yield


def test_parallel_api(case, observe):
    libraries.pettingzoo_parallel_api(Subject(case.game(), observe))


def test_parallel_seeds(case):
    libraries.pettingzoo_parallel_seed(Subject(case.game()))


def test_aec_api(case, observe):
    with warnings.catch_warnings():
        # Remarks about spaces that are not images, not about contracts.
        warnings.filterwarnings("ignore", message="Observation space for each agent probably should be")
        warnings.filterwarnings("ignore", message="Action space for each agent probably should be")
        if case.name in SEE_THEIR_LEVEL:
            warnings.filterwarnings("ignore", message="Observation is a single number")
            warnings.filterwarnings("ignore", message="Observation numpy array is all zeros")
        libraries.pettingzoo_api(Subject(case.game(), observe))


def test_states(case):
    libraries.pettingzoo_state(Subject(case.game()))


def test_aec_seeds(case):
    libraries.pettingzoo_seed(Subject(case.game()))


def test_dictionaries_hold_plain_values_within_the_spaces(case, observe):
    parallel = mfenvs.parallel_env(case.name, observe=observe, **case.constants)
    names = set(parallel.possible_agents)
    observations, infos = parallel.reset(seed=3)
    for t in range(case.game().horizon):
        assert parallel.agents == parallel.possible_agents
        assert set(observations) == set(infos) == names
        for name, observation in observations.items():
            assert observation.dtype == np.float32
            assert parallel.observation_space(name).contains(observation)
        last = t == case.game().horizon - 1
        actions = {name: parallel.action_space(name).sample() for name in parallel.agents}
        observations, rewards, terminations, truncations, infos = parallel.step(actions)
        assert set(rewards) == set(terminations) == set(truncations) == names
        assert all(type(reward) is float for reward in rewards.values())
        is_infinite = case.game().is_infinite
        assert all(flag is (last and not is_infinite) for flag in terminations.values())
        assert all(flag is (last and is_infinite) for flag in truncations.values())
    assert parallel.agents == []
    assert set(observations) == names


def test_whole_episodes_follow_the_seed(case):
    def play(seed):
        parallel = mfenvs.parallel_env(case.name, **case.constants)
        rng, rows = np.random.default_rng(1), []
        for reset in ({"seed": seed}, {}):
            observations, _ = parallel.reset(**reset)
            while parallel.agents:
                rows.append(np.stack(list(observations.values())))
                drawn = random_actions(rng, case.game().action_space, (len(parallel.agents),))
                drawn = dict(zip(parallel.agents, drawn, strict=True))
                observations, rewards, *_ = parallel.step(drawn)
                rows.append(np.array(list(rewards.values())))
            rows.append(np.stack(list(observations.values())))
        return np.concatenate([row.ravel() for row in rows])

    np.testing.assert_array_equal(play(7), play(7))
    assert len(set(map(bytes, map(play, range(8))))) > 1


@pytest.mark.skipif(not hasattr(pettingzoo, "make"), reason="this PettingZoo has no registry")
def test_pettingzoos_registry_makes_it(case):
    parallel = pettingzoo.make("parallel", case.id, max_cycles=1, **case.constants)
    assert isinstance(parallel, mfenvs.api.pettingzoo.PopulationParallelEnv)
    assert parallel.max_cycles == 1
    assert pettingzoo.make("aec", case.id, **case.constants).possible_agents == case.game().agent_names
