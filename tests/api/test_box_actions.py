"""A game that is not finite: each agent is on a line, and moves by its action."""

import re

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from line import Line
from pettingzoo.test import parallel_api_test

import mfenvs
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv

PACES = np.array([[0.25], [0.625], [1.0]])
ACTIONS = np.array([[1.0], [-0.5], [0.5]], np.float32)


def test_parallel_env():
    parallel = mfenvs.parallel_env(Line())
    parallel.reset()
    observations, rewards, *_ = parallel.step(dict(zip(parallel.agents, ACTIONS, strict=True)))
    np.testing.assert_array_equal(list(observations.values()), PACES * ACTIONS)
    assert list(rewards.values()) == [-1.0, 0.5, -0.5]
    parallel_api_test(parallel, num_cycles=5)


def test_vector_env_and_vec_env():
    vector, vec = mfenvs.vector_env(Line(), 2), mfenvs.vec_env(Line(), 2)
    assert vector.action_space.shape == (6, 1)
    vector.reset()
    vec.reset()
    twice = np.concatenate([ACTIONS, 0 * ACTIONS])
    for env in (vector, vec):
        observations, rewards, *_ = env.step(twice)
        np.testing.assert_array_equal(observations, np.concatenate([PACES * ACTIONS, 0 * PACES]))
        assert rewards.tolist() == [-1.0, 0.5, -0.5, 0.0, 0.0, 0.0]
        with pytest.raises(ValueError, match=re.escape("actions must have shape (6, 1), got (6,)")):
            env.step(twice[:, 0])


class Forward:
    """Everyone moves by 3/4 at first, then by less the farther it has come."""

    def predict(self, observations):
        return 0.75 - observations / 2, None


def test_representative_agents():
    single = RepresentativeAgentEnv(Line(), Forward(), agent=1)
    vec = RepresentativeVecEnv(Line(), Forward(), n_worlds=2, agents_per_world=2)
    vec.seed(0)
    vec.reset()
    single.reset(seed=0)
    for env, worlds, who, own in (
        (single, 1, [[1]], np.array([0.5], np.float32)),
        (vec, 2, vec.acting, np.array([[0.5], [-0.25], [1.0], [0.0]], np.float32)),
    ):
        row = np.arange(worlds)[:, None]
        moved = np.full((worlds, 3, 1), 0.75)
        moved[row, who] = own.reshape(worlds, -1, 1)
        rewards = env.step(own)[1]
        np.testing.assert_allclose(env.engine.states, (PACES * moved)[..., 0], rtol=1e-6)
        np.testing.assert_allclose(np.ravel(rewards), -own.ravel())
    with pytest.raises(ValueError, match=re.escape("actions must have shape (4, 1), got (4,)")):
        vec.step(np.zeros(4))
    with pytest.raises(ValueError, match=re.escape("must be in [-1, 1], got 2")):
        single.step(np.array([2.0]))


def test_same_step_resets():
    vector = mfenvs.vector_env(Line(horizon=1), autoreset_mode="SameStep")
    vector.reset()
    observations, _, _, _, infos = vector.step(ACTIONS)
    assert not observations.any()
    assert data_equivalence(infos["final_obs"].tolist(), list((PACES * ACTIONS).astype(np.float32)))


@pytest.mark.parametrize(
    ("argument", "value", "what"),
    [("observe", "mean-field", "observing the mean field"), ("render_mode", "ansi", "rendering")],
)
def test_what_needs_places_says_so(argument, value, what):
    for maker in (mfenvs.parallel_env, mfenvs.vector_env, mfenvs.vec_env):
        with pytest.raises(TypeError, match=f"{what} needs a game with a rule place, got Line"):
            maker(Line(), **{argument: value})


def test_tabular_policies_need_a_finite_game():
    with pytest.raises(TypeError, match="population_policy is a table, which needs a FiniteGame, got Line"):
        mfenvs.api.gymnasium.RepresentativeAgentEnv(Line(), np.ones((2, 1, 1)))
