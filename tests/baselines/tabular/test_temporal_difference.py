import numpy as np
import pytest

from baselines.tabular.temporal_difference import QEstimate, TDLearning, td_update
from mfenvs import InducedGame, Trajectories, make


def trajectories(states, actions, rewards) -> Trajectories:
    """Arrays given as [world][time][agent]."""
    return Trajectories(
        np.array(states, np.uint8),
        np.array(actions, np.uint8),
        np.array(rewards, np.float32),
        np.zeros((len(states), len(actions[0]), 4), np.float32),
    )


# One world, two steps, two agents: agent 0 goes (0, 1) -> (1, 0), agent 1 goes (0, 1) -> (1, 1).
RUN = trajectories([[[0, 0], [1, 1], [0, 0]]], [[[1, 1], [0, 1]]], [[[1.0, 3.0], [10.0, 20.0]]])
UNIFORM = np.full((1, 2, 2, 2), 0.5)


def test_one_agents_update_by_hand() -> None:
    first = td_update(QEstimate.zeros((1, 2, 2, 2)), RUN, UNIFORM, temperature=0.0, agents="first")
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 1] = 1.0  # r + Q_1(1, 0), which is still 0
    expected[1, 1, 0] = 10.0
    assert np.array_equal(first.q[0], expected)
    again = td_update(first, RUN, UNIFORM, temperature=0.0, agents="first")
    expected[0, 0, 1] = 1.0 + ((1.0 + 10.0) - 1.0) / 2  # second visit: step 1/2, and Q_1 is 10 by now
    assert np.array_equal(again.q[0], expected)
    assert again.visits[0, 0, 0, 1] == 2
    assert again.n_trajectories == 2
    assert np.array_equal(first.q[0, 1], expected[1])  # the first estimate was left alone


def test_all_agents_follow_each_other_in_a_shared_table() -> None:
    both = td_update(QEstimate.zeros((1, 2, 2, 2)), RUN, UNIFORM, temperature=0.0)
    # Agent 1's step at time 0 is the second visit of (0, 0, 1): 1 + (3 + 0 - 1) / 2.
    assert both.q[0, 0, 0, 1] == pytest.approx(2.0)
    assert both.q[0, 1, 1, 1] == pytest.approx(20.0)
    assert both.n_trajectories == 2


def test_own_tables_take_own_trajectories_only() -> None:
    own = td_update(QEstimate.zeros((2, 2, 2, 2)), RUN, np.tile(UNIFORM, (2, 1, 1, 1)), temperature=0.0)
    assert own.q[0, 1, 1, 0] == 10.0
    assert own.q[0, 1, 1, 1] == 0.0
    assert own.q[1, 1, 1, 1] == 20.0
    assert own.q[1, 0, 0, 1] == 3.0


def test_the_papers_schedule() -> None:
    # delta = 1/2: eta_m = 4 / (m + 4), so 1 at m = 0 and 4/5 at m = 1.
    once = td_update(QEstimate.zeros((1, 2, 2, 2)), RUN, UNIFORM, temperature=0.0, agents="first", delta=0.5)
    twice = td_update(once, RUN, UNIFORM, temperature=0.0, agents="first", delta=0.5)
    assert once.q[0, 0, 0, 1] == pytest.approx(1.0)
    assert twice.q[0, 0, 0, 1] == pytest.approx(1.0 + 0.8 * (11.0 - 1.0))


def test_entropy_is_added_with_its_temperature_and_rewards_are_scaled() -> None:
    q = td_update(
        QEstimate.zeros((1, 2, 2, 2)), RUN, UNIFORM, temperature=0.5, agents="first", reward_scale=2.0
    ).q[0]
    assert q[1, 1, 0] == pytest.approx(2.0 * 10.0 + 0.5 * np.log(2.0))
    sure = np.zeros((1, 2, 2, 2))
    sure[..., 0] = 1.0
    q = td_update(QEstimate.zeros((1, 2, 2, 2)), RUN, sure, temperature=0.5, agents="first").q[0]
    assert q[1, 1, 0] == pytest.approx(10.0)  # a sure action has no entropy, and 0 log 0 is 0


def test_td_learns_the_mean_field_q_values() -> None:
    """Yardim & He, Theorem 2, on a symmetric game: what TD learns from trajectories is Q of the induced game."""
    game = make("Epidemic-v0", n_agents=2000, horizon=3, heterogeneity=0.0)
    policy = np.array([[0.3, 0.7], [0.6, 0.4]])
    policy = np.tile(policy, (3, 1, 1))
    trainer = TDLearning(game, evaluated=policy, temperature=0.1, episodes=50)
    trainer.learn(2 * trainer.timesteps_per_iteration)
    exact = InducedGame(game).evaluate(policy, temperature=0.1)
    # Standard error: 200,000 trajectories of which a fifth visits the rarest cell, returns of spread < 1.2; the
    # bias of the running averages is below 3 log(n) / n. Allowed are 7 standard errors of 0.006.
    assert np.abs(trainer.q - exact).max() < 0.042
    # It does not just stay near its start.
    assert np.abs(exact).max() > 1.0


def test_unknown_hyper_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown hyper-parameter 'tau'; allowed: seed, device, temperature"):
        TDLearning("Epidemic-v0", tau=0.1)
    with pytest.raises(ValueError, match=r"delta must be a finite number in \(0, 1\], got 0"):
        TDLearning("Epidemic-v0", delta=0.0)
    with pytest.raises(ValueError, match="agents must be one of 'all', 'first', got 'some'"):
        TDLearning("Epidemic-v0", agents="some")
