import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from baselines.tabular.mirror_descent import IPMD, SymmPMD, mirror_descent_step, reward_span
from mfenvs import InducedGame, make
from mfenvs.games.epidemic import GO_OUT, Epidemic
from mfenvs.rules import rule

SMALL = {"n_agents": 200, "horizon": 4}


def entropy(u: np.ndarray) -> float:
    return float(-(u * np.log(u)).sum())


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_step_maximises_the_objective_of_algorithm_2(epoch: int) -> None:
    tau = 0.3
    policy, q = np.array([0.2, 0.5, 0.3]), np.array([1.0, -0.5, 0.2])
    xi = 1 / np.sqrt(epoch + 1)

    def loss(x: np.ndarray) -> float:
        u = np.exp(x - x.max())
        u /= u.sum()
        kl = float((u * np.log(u / policy)).sum())
        return -(xi / (1 - tau * xi) * (u @ q + tau * entropy(u)) - kl)

    x = minimize(loss, np.zeros(3), tol=1e-14).x
    expected = np.exp(x) / np.exp(x).sum()
    assert mirror_descent_step(policy, q, epoch, tau) == pytest.approx(expected, abs=1e-5)


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3),
    st.floats(-1e4, 1e4),
    st.integers(0, 50),
    st.floats(0, 0.9),
)
def test_the_step_is_a_law_and_ignores_constants(q: list[float], constant: float, epoch: int, tau: float) -> None:
    policy = np.array([0.2, 0.5, 0.3])
    stepped = mirror_descent_step(policy, np.array(q), epoch, tau)
    assert stepped.sum() == pytest.approx(1.0)
    assert (stepped >= 0).all()
    shifted = mirror_descent_step(policy, np.array(q) + constant, epoch, tau)
    assert shifted == pytest.approx(stepped, abs=1e-6)


@pytest.mark.parametrize(
    ("mixing", "weights"), [("shifted", (1 / 2, 1 / 3)), ("paper", (1, 1 / 2)), ("none", (0, 0))]
)
def test_the_uniform_policy_is_mixed_in(mixing: str, weights: tuple[float, float]) -> None:
    """With enormous rewards the stepped policy is sure, so that the rarest action shows the weight."""
    trainer = SymmPMD("RockPaperScissors-v0", mixing=mixing, reward_scale=1e4, episodes=2)
    for weight in weights:
        trainer.learn(1)
        rarest = trainer.last_policy.probabilities.min()
        assert rarest == pytest.approx(weight / 3, abs=1e-9)


def test_the_output_is_the_average_of_all_iterates() -> None:
    trainer = SymmPMD("Epidemic-v0", episodes=2)
    iterates = [trainer.last_policy.probabilities]
    for _ in range(3):
        trainer.learn(1)
        iterates.append(trainer.last_policy.probabilities)
    assert trainer.policy.probabilities == pytest.approx(np.mean(iterates, axis=0))
    assert trainer.iteration == 3
    assert trainer.num_timesteps == 3 * 2 * 1000 * 20


def test_symm_pmd_approaches_the_equilibrium_of_a_monotone_game() -> None:
    game = make("RockPaperScissors-v0", orientation="cui-koeppl", heterogeneity=0.0, n_agents=1000, horizon=4)
    induced = InducedGame(game)
    start = induced.exploitability(induced.uniform_policy())
    trainer = SymmPMD(game, mixing="none", temperature=0.0)
    trainer.learn(60 * trainer.timesteps_per_iteration)
    end = induced.exploitability(trainer.policy.probabilities)
    assert start > 0.5
    assert end < 0.1 * start


def test_ipmd_gives_every_agent_a_policy_from_its_own_trajectories() -> None:
    """One agent is paid differently: in its own table that shows, in the others' it does not."""
    game = make("Epidemic-v0", n_agents=50, horizon=3, heterogeneity=0.0)
    trainer = IPMD(game, episodes=30, mixing="none")
    trainer.learn(5 * trainer.timesteps_per_iteration)
    tables = trainer.policy.probabilities
    assert tables.shape == (50, 3, 2, 2)
    assert tables.sum(axis=-1) == pytest.approx(np.ones((50, 3, 2)))
    assert len(np.unique(tables[:, 0, 1, 0])) > 10
    # In the last step distance costs and gains nothing: every agent goes out more and more.
    assert (tables[:, 2, :, 1] > 0.5).all()


def test_temperature_must_keep_the_step_valid() -> None:
    with pytest.raises(ValueError, match=r"temperature must be a finite number in \[0, 1\), got 1"):
        SymmPMD("Epidemic-v0", temperature=1.0)
    with pytest.raises(ValueError, match="mixing must be one of"):
        SymmPMD("Epidemic-v0", mixing="some")
    with pytest.raises(ValueError, match="unknown game 'Epidemic'"):
        SymmPMD("Epidemic")


def test_very_large_steps_leave_a_valid_policy() -> None:
    trainer = SymmPMD("RockPaperScissors-v0", reward_scale=1e6, mixing="none", episodes=1)
    trainer.learn(5 * trainer.timesteps_per_iteration)
    table = trainer.policy.probabilities
    assert np.isfinite(table).all()
    assert table.sum(axis=-1) == pytest.approx(np.ones(table.shape[:-1]))


def test_rewards_span_what_those_of_rock_paper_scissors_do() -> None:
    """By hand: 3 for winning with scissors, -3 - 6 for losing with them, all others playing alike; -1.5 to 0."""
    rps = make("RockPaperScissors-v0", heterogeneity=0.0, **SMALL)
    assert SymmPMD(rps).reward_scale == pytest.approx(1.0)
    epidemic = make("Epidemic-v0", heterogeneity=0.0, **SMALL)
    assert IPMD(epidemic).reward_scale == pytest.approx(12.0 / 1.5)
    assert SymmPMD(epidemic, reward_scale=3.0).reward_scale == 3.0


class Unprotected(Epidemic):
    """An epidemic in which nobody may keep their distance."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == GO_OUT


def test_rewards_of_actions_that_nobody_may_take_do_not_count() -> None:
    game = Unprotected(heterogeneity=0.0, **SMALL)
    assert reward_span(InducedGame(game)) == pytest.approx(1.0)


def test_step_sizes_fall_as_they_are_told() -> None:
    policy, q = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    for exponent, step in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.25), (2.0, 0.0625)):
        stepped = mirror_descent_step(policy, q, 3, 0.0, exponent)
        assert np.log(stepped[0] / stepped[1]) == pytest.approx(step)
    with pytest.raises(ValueError, match="step_exponent must be a finite number"):
        SymmPMD("Epidemic-v0", step_exponent=-0.5)


def test_trainers_take_the_steps_that_they_are_told() -> None:
    short, long = (
        SymmPMD(make("Epidemic-v0", **SMALL), episodes=1, mixing="none", temperature=0.0, step_exponent=p)
        for p in (2.0, 0.0)
    )
    for trainer in (short, long):
        trainer.learn(1)
    # The first step is 1 whatever the exponent; from the same policies and episodes the second is a quarter.
    first = short.last_policy.probabilities
    assert long.last_policy.probabilities == pytest.approx(first)
    moves = []
    for trainer in (short, long):
        trainer.learn(1)
        law = trainer.last_policy.probabilities
        moves.append(np.log(law[..., 1] / law[..., 0]) - np.log(first[..., 1] / first[..., 0]))
    assert moves[0] == pytest.approx(moves[1] / 4.0, abs=1e-6)
    assert np.abs(moves[1]).max() > 0.1
