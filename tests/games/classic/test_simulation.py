"""A thousand agents of every classic game move and earn as in the mean field, within the statistical error."""

import numpy as np
import pytest
from classic_names import by_name

from mfenvs import Engine, InducedGame, make
from mfenvs.cumulated import cumulative

N_WORLDS = 40
N_STEPS = 12
"""Number of steps that are simulated of games that go on for long."""

CONSTANTS = {
    # Without ties of the rounding, which the mean of finitely many agents breaks either way.
    "LinearQuadraticChain-v0": {"pull": 0.9},
    "MazeExploration-v0": {"horizon": 30},
    "MeanFieldGarnet-v0": {"n_nodes": 8},
    # Less sensitive to the fluctuations of a thousand agents.
    "RandomLinear-v0": {"scale": 2.0},
    "SusceptibleInfected-v0": {"horizon": N_STEPS},
    # Travel times that are rounded down jump where a few vehicles more enter a link.
    "DynamicRouting-v0": {"rounding": "random", "horizon": 50, "step_length": 0.1},
    "SiouxFallsRouting-v0": {"rounding": "random", "horizon": N_STEPS, "step_length": 4.0},
}

UNSTEADY = {"DynamicRouting-v0", "SiouxFallsRouting-v0"}
"""Games in which fluctuations lead agents to states that the mean field does not reach: other travel times."""

STANDARD_ERRORS = 8
"""Bounds, in standard errors: exceeded with probability 1.3e-15 under the normal law, and with 1e-9 under
Student's with 40 worlds. There are 20 000 bounds, most of them of the first kind. Seeds are fixed."""

MOVES = 2
"""The bias of a share of agents, of the kind 1 / N, is bounded by ``MOVES / N``."""


def flow_of(induced, policy, n_steps):
    """Laws over states (T, S) and mean rewards (T,) of a population that starts from the initial law."""
    mu, laws, rewards = induced.initial, [], []
    for t in range(n_steps):
        law = mu[:, None] * policy[t if len(policy) > 1 else 0]
        p, r = induced.arrays(law, t if len(policy) > 1 else 0)
        laws.append(mu)
        rewards.append((law * r).sum())
        mu = np.einsum("sa,sax->x", law, p)
    return np.array(laws), np.array(rewards)


def played(game, policy, n_steps):
    """Shares of agents in states (W, T, S) and mean rewards (W, T) of simulated worlds."""
    engine = Engine(game, N_WORLDS)
    engine.reset(seed=2024)
    shares, rewards = [], []
    for _ in range(n_steps):
        counts = [np.bincount(states, minlength=game.n_states) for states in engine.states]
        shares.append(np.array(counts) / game.n_agents)
        # Of the type for which test_apis.py compiles the step.
        actions = engine.sample_actions(cumulative(policy[None])).astype(int)
        rewards.append(engine.step(actions).mean(1, dtype=float))
    return np.stack(shares, 1), np.stack(rewards, 1)


@by_name
def test_agents_move_and_earn_as_in_the_mean_field(name):
    game = make(name, **CONSTANTS.get(name, {}))
    n_steps = N_STEPS if game.is_infinite else game.horizon
    policy = np.random.default_rng(5).dirichlet(np.ones(game.n_actions), game.policy_shape[:2])
    induced = InducedGame(game)
    if induced.allowed is not None:
        policy *= induced.allowed
        policy /= policy.sum(-1, keepdims=True)
    laws, rewards = flow_of(induced, policy, n_steps)
    shares, earned = played(game, policy, n_steps)

    n = game.n_agents
    least = np.sqrt(laws * (1 - laws) / (n * N_WORLDS))
    error = np.maximum(shares.std(0, ddof=1) / np.sqrt(N_WORLDS), least)
    excess = np.abs(shares.mean(0) - laws) - STANDARD_ERRORS * error
    assert excess.max() <= MOVES / n, (np.unravel_index(excess.argmax(), laws.shape), excess.max())
    if name not in UNSTEADY:
        assert (shares.mean(0)[:, laws.max(0) == 0] == 0).all()

    # -log of a share has a bias of about (1 - mu) / (2 n mu) in a state, hence of less than S / (2 n) on average.
    error = earned.std(0, ddof=1) / np.sqrt(N_WORLDS)
    excess = np.abs(earned.mean(0) - rewards) - STANDARD_ERRORS * error
    assert excess.max() <= (game.n_states / 2 + MOVES) / n, (excess.argmax(), excess.max())


@pytest.mark.parametrize("name", ["BeachBar-v0", "CrowdModelling-v0", "PeriodicAversion-v0", "FourRooms-v0"])
def test_agents_know_that_they_are_there(name):
    """Among two agents a share is a half at least, so that no logarithm is that of zero."""
    game = make(name, n_agents=2)
    engine = Engine(game, 50)
    engine.reset(seed=1)
    for _ in range(3):
        states = engine.states.astype(int)
        alone = states[:, 0] != states[:, 1]
        rewards = engine.step(np.full((50, 2), game.n_actions // 2)).astype(float)
        assert alone.any()
        assert np.isfinite(rewards).all()
        assert np.abs(rewards).max() < 20
