"""Asynchronous best responses: equilibria in which hardly anybody mixes."""

import itertools

import numpy as np
import pytest

import mfenvs
from mfenvs import InducedGame
from mfenvs.games.classic.graphon_games import GraphonEpidemic
from mfenvs.meanfield.equilibrium.revisions import can_revise, revise, write_losses


def epidemic_exploitabilities(game: GraphonEpidemic, policy: np.ndarray) -> np.ndarray:
    """What one agent of each population gains, by recursions over the infected x and the values of two states.

    x' = .8 x + (1 - x) .8 G (1 - protected), G = W x / P, for the game's own constants.
    """
    n = game.n_points
    middles = (np.arange(n) + 0.5) / n
    graphon = 1.0 - np.maximum.outer(middles, middles)
    protected = policy[:, ::2, 1], policy[:, 1::2, 1]
    x, caught = np.full(n, game.initial_infected), []
    for h in range(game.horizon):
        caught.append(game.infection * graphon @ x / n)
        x = (1.0 - game.recovery) * x + (1.0 - x) * caught[h] * (1.0 - protected[0][h])
    own, best = np.zeros((2, n)), np.zeros((2, n))
    for h in reversed(range(game.horizon)):
        for values, is_best in ((own, False), (best, True)):
            healthy, ill = values.copy()
            risky, safe = healthy + caught[h] * (ill - healthy), healthy - game.protection_cost
            recovering = (1.0 - game.recovery) * ill + game.recovery * healthy - game.illness_cost
            share, wasted = (0.0, 0.0) if is_best else (protected[0][h], protected[1][h])
            values[0] = np.maximum(risky, safe) if is_best else (1.0 - share) * risky + share * safe
            values[1] = recovering - wasted * game.protection_cost
    starts = np.array([1.0 - game.initial_infected, game.initial_infected])
    gains: np.ndarray = starts @ (best - own)
    return gains


def test_the_graphon_epidemic_is_solved() -> None:
    """It has as many thresholds as populations and times: paths and descents stall far from an equilibrium."""
    game = mfenvs.make("GraphonEpidemic-v0")
    uniform = np.full(game.policy_shape, 0.5)
    np.testing.assert_allclose(
        epidemic_exploitabilities(game, uniform), InducedGame(game).exploitabilities(uniform), rtol=1e-12
    )
    for seed in range(2):
        found = mfenvs.solve(game, tolerance=1e-9, seed=seed)
        assert found.is_solved
        assert found.method == "asynchronous best responses"
        assert epidemic_exploitabilities(game, found.policy).max() <= 1e-9


def test_all_pure_equilibria_of_a_short_epidemic() -> None:
    """Brute force: the walk ends in pure equilibria, and from each of them it does not move."""
    game = mfenvs.make("GraphonEpidemic-v0", n_points=2, horizon=6, infection=1.0, recovery=0.3)
    induced = InducedGame(game)
    never = np.zeros(game.policy_shape)
    never[..., 0] = 1.0
    equilibria = set()
    # In the last step protection is of no use.
    for plan in itertools.product((0, 1), repeat=2 * 5):
        policy = never.copy()
        policy[:5, ::2, 1] = np.reshape(plan, (5, 2))
        policy[..., 0] = 1.0 - policy[..., 1]
        if epidemic_exploitabilities(game, policy).max() < 1e-12:
            equilibria.add(plan)
            (at_rest,) = revise(induced, policy, 0.0, np.random.default_rng(0))
            np.testing.assert_array_equal(at_rest, policy)
    assert len(equilibria) == 2
    ends = set()
    for seed in range(20):
        found = [p for p in revise(induced, never, 0.0, np.random.default_rng(seed)) if p is not None][-1]
        ends.add(tuple(found[:5, ::2, 1].astype(int).ravel()))
    assert ends == equilibria


@pytest.mark.parametrize("name", ["GraphonEpidemic-v0", "BeachBar-v0"])
def test_losses_sum_to_the_exploitability(name: str) -> None:
    """By the performance difference lemma; of several populations, to the mean weighted by their shares."""
    induced = InducedGame(mfenvs.make(name))
    uniform = induced.uniform_policy()
    weights = np.random.default_rng(1).exponential(size=uniform.shape) * uniform
    policy = weights / weights.sum(axis=-1, keepdims=True)
    flow = induced.flow(policy)
    q, losses = induced.optimal_q(flow), np.empty(policy.shape[:2])
    largest = write_losses(policy, flow.mu, q, losses)
    gains = induced.exploitabilities(policy)
    populations = np.arange(len(gains))[:, None] == induced.game.population_of_state
    assert losses.sum() == pytest.approx(populations @ induced.initial @ gains, rel=1e-11)
    assert (losses >= 0.0).all()
    assert largest == np.abs(q.max(axis=-1)).max()


def test_small_losses_stay() -> None:
    """A mixture near an equilibrium is not given up for a pure policy that is farther from it."""
    game = mfenvs.make("LeftRight-v0")
    induced = InducedGame(game)
    mixed = induced.uniform_policy()
    mixed[0, 0] = 2 / 3 + 1e-7, 1 / 3 - 1e-7  # of p = 2 (1 - p)
    gap = induced.exploitability(mixed)
    rounds = revise(induced, mixed, 100.0 * gap, np.random.default_rng(0))
    np.testing.assert_array_equal(next(rounds), mixed)
    assert list(rounds) == []
    moved = list(itertools.islice(revise(induced, mixed, 0.5 * gap, np.random.default_rng(0)), 2))
    assert moved[1] is None
    assert induced.exploitability(mixed) == gap


def test_which_games_can_revise() -> None:
    assert can_revise(InducedGame(mfenvs.make("LeftRight-v0")))
    assert not can_revise(InducedGame(mfenvs.make("RepeatedRockPaperScissors-v0")))
