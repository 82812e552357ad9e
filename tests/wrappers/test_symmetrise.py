import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import random_policy

import mfenvs
from mfenvs.wrappers.observations import IntegerIdentity, MeanField
from mfenvs.wrappers.symmetrise import JointPolicy, SharedPolicy, joint_policy, shared_policy


class Tilted:
    """Goes for action 1 with probability tilt * (first number observed), and counts how often it is asked."""

    def __init__(self, tilt, observe=None):
        self.tilt, self.calls = tilt, []
        if observe is not None:
            self.observe = observe

    def action_probabilities(self, observations):
        self.calls.append(len(observations))
        p = self.tilt * observations[:, 0]
        return np.stack([1 - p, p], axis=1)


class Table:
    def __init__(self, probabilities):
        self.probabilities = probabilities


OBSERVATIONS = np.array([[0.0, 9], [0.25, 9], [0.5, 9], [0.75, 9], [1.0, 9], [0.5, 9]], np.float32)


def second(laws):
    assert_allclose(laws.sum(axis=1), 1)
    return laws[:, 1].tolist()


def test_every_agent_acts_on_its_own_policy_in_every_world():
    a, b, c = policies = Tilted(1.0), Tilted(0.5), Tilted(0.0)
    assert second(JointPolicy(policies).action_probabilities(OBSERVATIONS)) == [0, 0.125, 0, 0.75, 0.5, 0]
    assert [p.calls for p in policies] == [[2], [2], [2]]
    assert second(JointPolicy([c, b, a]).action_probabilities(OBSERVATIONS)) == [0, 0.125, 0.5, 0, 0.5, 0.5]


def test_rows_of_given_agents():
    joint = JointPolicy([Tilted(1.0), Tilted(0.5), Tilted(0.0)])
    found = joint.action_probabilities(OBSERVATIONS[:5], np.array([1, 1, 0, 0, 2]))
    assert second(found) == [0, 0.125, 0.5, 0.75, 0]


def test_one_object_for_several_agents_is_asked_once():
    a, b = Tilted(1.0), Tilted(0.5)
    joint = JointPolicy([a, b, a])
    assert second(joint.action_probabilities(OBSERVATIONS)) == [0, 0.125, 0.5, 0.75, 0.5, 0.5]
    assert (a.calls, b.calls) == ([4], [2])
    joint.action_probabilities(OBSERVATIONS[:2], np.array([0, 2]))
    assert (a.calls, b.calls) == ([4, 2], [2])
    assert (joint.n_agents, joint.policies) == (3, (a, b, a))


def test_equal_policies_that_are_two_objects_stay_two():
    a, b = Tilted(1.0), Tilted(1.0)
    a.__class__ = type("Equal", (Tilted,), {"__eq__": lambda self, other: True, "__hash__": lambda self: 0})
    b.__class__ = a.__class__
    JointPolicy([a, b]).action_probabilities(OBSERVATIONS)
    assert (a.calls, b.calls) == ([3], [3])


def test_a_joint_policy_observes_what_its_policies_do():
    assert JointPolicy([Tilted(1), Tilted(0)]).observe == ()
    joint = JointPolicy([Tilted(1, "mean-field"), Tilted(0, [MeanField()])])
    assert joint.observe == (MeanField(),)
    assert SharedPolicy(joint).observe == (MeanField(),)
    with pytest.raises(ValueError, match=re.escape("policies[0] observes (MeanField(),), policies[2] ()")):
        JointPolicy([Tilted(1, "mean-field"), Tilted(1, "mean-field"), Tilted(0)])
    with pytest.raises(ValueError, match="policies must observe the same"):
        JointPolicy([Tilted(1, [MeanField(), IntegerIdentity()]), Tilted(1, [IntegerIdentity(), MeanField()])])


@pytest.mark.parametrize(
    ("policies", "error", "message"),
    [
        ([], ValueError, "number of policies must be an integer >= 2, got 0"),
        ([Tilted(1)], ValueError, "number of policies must be an integer >= 2, got 1"),
        ([Tilted(1), "best"], TypeError, "policies[1] must have a method action_probabilities, got 'best'"),
        ([np.ones((1, 1, 1)), Tilted(1)], TypeError, "policies[0] must have a method action_probabilities"),
    ],
)
def test_policies_that_are_not_allowed(policies, error, message):
    for maker in (JointPolicy, joint_policy):
        with pytest.raises(error, match=re.escape(message)):
            maker(policies)


@pytest.mark.parametrize(
    ("n_rows", "agents", "message"),
    [
        (5, None, "observations must hold a multiple of n_agents = 2 rows, got 5"),
        (3, [0, 1], "agents must be 3 integers in [0, 1]"),
        (2, [0, 2], "agents must be 2 integers in [0, 1], got array([0, 2])"),
        (2, [-1, 0], "agents must be 2 integers in [0, 1], got array([-1,  0])"),
        (2, [0.0, 1.0], "agents must be 2 integers in [0, 1], got array([0., 1.])"),
    ],
)
def test_rows_that_are_not_allowed(n_rows, agents, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        JointPolicy([Tilted(1), Tilted(0)]).action_probabilities(
            OBSERVATIONS[:n_rows], None if agents is None else np.array(agents)
        )


def test_a_shared_policy_is_the_average_over_agents_whatever_the_row():
    shared = SharedPolicy(JointPolicy([Tilted(1.0), Tilted(0.5), Tilted(0.0)]))
    assert_allclose(second(shared.action_probabilities(OBSERVATIONS)), OBSERVATIONS[:, 0] / 2)
    a = Tilted(1.0)
    shared = shared_policy(joint_policy([a, a, Tilted(0.25), a]))
    assert isinstance(shared, SharedPolicy)
    assert_allclose(second(shared.action_probabilities(OBSERVATIONS[:1] + 1)), [3.25 / 4])


def test_a_trainer_of_independent_policies_is_a_joint_policy():
    class Trainer:
        n_agents = 3
        observe = "integer-identity"

        def action_probabilities(self, observations, agents=None):
            assert agents.shape == (len(observations),)
            return np.eye(3, dtype=np.float32)[agents]

    shared = shared_policy(Trainer())
    assert shared.observe == "integer-identity"
    assert_allclose(shared.action_probabilities(OBSERVATIONS), np.full((6, 3), 1 / 3))


def test_tables():
    each = random_policy(np.random.default_rng(0), 4, 3, 2, 5)
    joint = joint_policy([*each[:2], Table(each[2]), each[3]])
    assert_array_equal(joint, each)
    for given in (joint, Table(joint)):
        assert_allclose(shared_policy(given), sum(each) / 4, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: joint_policy([np.ones((3, 2, 1)), np.ones((2, 2, 1))]), ValueError, "got [(2, 2, 1), (3, 2, 1)]"),
        (lambda: joint_policy([np.ones((2, 1))] * 2), ValueError, "must be tables of one shape (T, S, A)"),
        (lambda: shared_policy(np.ones((3, 2, 1))), ValueError, "(n_agents, T, S, A), got (3, 2, 1)"),
        (lambda: shared_policy(Tilted(1)), TypeError, "joint must have n_agents and action_probabilities"),
        (lambda: SharedPolicy("best"), TypeError, "got 'best'"),
    ],
)
def test_what_is_neither(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_a_joint_policy_of_another_number_of_agents_is_refused():
    class Up:
        def action_probabilities(self, observations):
            return np.tile(np.eye(5, dtype=np.float32)[0], (len(observations), 1))

    taxis = mfenvs.make("Taxi-v0", n_agents=4, horizon=2)
    joint = JointPolicy([Up(), Up(), Up()])
    with pytest.raises(ValueError, match="policy must be of the game's 4 agents, got one of 3"):
        mfenvs.evaluate(taxis, joint, n_worlds=3)
    with pytest.raises(ValueError, match="deviation must be of the game's 4 agents, got one of 3"):
        mfenvs.deviation_gain(taxis, Up(), joint, n_worlds=3)
    with pytest.raises(TypeError, match="policies must be a sequence with one policy per agent, got 3"):
        joint_policy(3)
