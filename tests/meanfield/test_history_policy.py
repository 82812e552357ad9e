"""Policies of the nodes of a public tree, played among N agents."""

import numpy as np
import pytest
from oracles import random_policy
from weather import Weather

from baselines import SymmPMD
from mfenvs import Engine, HistoryPolicy, InducedGame, evaluate, make, solve


def of_history(induced, seed):
    """A random policy of the nodes, which keeps to what is allowed."""
    tree = induced.tree
    law = random_policy(np.random.default_rng(seed), tree.horizon, tree.width, 2, 2)
    law[tree.states == 1, 0] = [1.0, 0.0]
    return law.reshape(induced.policy_shape)


@pytest.mark.slow
def test_agents_earn_what_the_policy_is_worth():
    """4000 agents in 200 worlds, given the public states of each world: within 6 standard errors.

    The bias of the number of agents is of the kind 1 / N.
    """
    game = Weather(n_agents=4000, horizon=4)
    induced = InducedGame(game)
    tree, policy = induced.tree, of_history(induced, 3)
    returns = evaluate(game, HistoryPolicy(induced, policy), n_worlds=200, seed=1).returns.mean(axis=1)
    paths = Engine(game, 200).rollout(np.full((4, 2, 2, 2), 0.5), seed=1).public_states

    def differences(law):
        """Returns of the worlds, less those of the flow of a policy along their public states."""
        flow = induced.flow(law)
        earned = (flow.mu * flow.rewards).sum(axis=-1).reshape(4, tree.width, 2).sum(axis=-1)
        earned = np.divide(earned, tree.probability, out=np.zeros_like(earned), where=tree.exists)
        exact = [sum(earned[h, tree.node(path[: h + 1])] for h in range(4)) for path in paths]
        return returns - exact

    apart = differences(policy)
    assert abs(apart.mean()) <= 6 * apart.std(ddof=1) / np.sqrt(200) + 2 / 4000
    # It is not the policy that forgets the history.
    forgetful, _ = tree.by_public_state(policy, induced.flow(policy).mu)
    assert np.abs(differences(forgetful)).mean() > 3 * np.abs(apart).mean()


def test_rows_are_those_of_the_history():
    induced = InducedGame(Weather(n_agents=2, horizon=4))
    tree, table = induced.tree, np.zeros((4, induced.tree.width, 2, 2))
    rng = np.random.default_rng(0)
    table[np.arange(4)[:, None, None], np.arange(tree.width)[:, None], np.arange(2), :] = np.eye(2)[
        rng.integers(2, size=table.shape[:3])
    ]
    policy = HistoryPolicy(induced, table.reshape(induced.policy_shape))
    for node in np.flatnonzero(tree.exists[3]):
        history, memory = tree.history(3, int(node)), None
        for h, z in enumerate(history):
            rows = np.array([[1, 0, h / 4, z == 0, z == 1], [0, 1, h / 4, z == 0, z == 1]], np.float32)
            actions, memory = policy.predict(rows, memory, episode_start=np.full(2, h == 0))
            assert np.array_equal(actions, table[h, tree.node(history[: h + 1])].argmax(axis=1))


def test_one_observation_and_deterministic_actions():
    induced = InducedGame(Weather(horizon=4))
    table = np.full(induced.policy_shape, 0.5)
    table[0, :2] = [[0.4, 0.6], [0.7, 0.3]]
    policy = HistoryPolicy(induced, table, seed=5)
    action, memory = policy.predict(np.array([1, 0, 0, 1, 0]), deterministic=True)
    assert action.shape == ()
    assert action == 1
    assert memory[0].tolist() == [1]
    draws = [int(policy.predict(np.array([1, 0, 0, 1, 0]))[0]) for _ in range(2000)]
    assert abs(np.mean(draws) - 0.6) < 6 * np.sqrt(0.24 / 2000)


def test_wrong_arguments():
    induced = InducedGame(Weather(horizon=4))
    policy = HistoryPolicy(induced, induced.uniform_policy())
    with pytest.raises(ValueError, match=r"must show a possible public state, got 1 at time 0 in row 0"):
        policy.predict(np.array([1, 0, 0, 0, 1]))
    with pytest.raises(ValueError, match=r"observation must have shape \(n, 5\), got \(3,\)"):
        policy.predict(np.zeros(3))
    memory = None
    for _ in range(4):
        _, memory = policy.predict(np.array([1, 0, 0, 1, 0]), memory)
    with pytest.raises(ValueError, match="observation must be of one of the 4 steps"):
        policy.predict(np.array([1, 0, 0, 1, 0]), memory)
    with pytest.raises(TypeError, match="must be the InducedGame of a game with a public chain"):
        HistoryPolicy(InducedGame(make("BeachBar-v0")), np.ones(1))
    with pytest.raises(ValueError, match="policy"):
        HistoryPolicy(induced, np.ones((2, 2)))


def test_who_gives_a_policy_of_histories_as_a_table_is_told_what_plays_it():
    game = make("SystemicRisk-v0", n_agents=20)
    induced = InducedGame(game)
    table = np.full(induced.policy_shape, 1.0 / game.n_actions)
    expected = r"policy must have shape \(4, 51, 9\), got \(4, 136, 9\): .* mfenvs.HistoryPolicy\(mfenvs"
    with pytest.raises(ValueError, match=expected):
        evaluate(game, table)
    assert evaluate(game, HistoryPolicy(induced, table), n_worlds=2).returns.shape == (2, 20)
    solution = solve(game, seconds=1.0)
    with pytest.raises(TypeError, match=r"got Solution\(.*: did you mean its attribute policy\?"):
        evaluate(game, solution)
    with pytest.raises(ValueError, match=r"mfenvs.solve finds its equilibrium, PPO learns it"):
        SymmPMD(game)
