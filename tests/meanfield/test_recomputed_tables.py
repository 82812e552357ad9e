"""Exploitability with tables that are made twice and not kept: as with kept ones, whose oracles are elsewhere."""

import numpy as np
import pytest
from branching import A, ByBranches, ByRows, S
from hunt import Hunt
from numpy.testing import assert_allclose, assert_array_equal
from weather import Weather

from mfenvs import InducedGame
from mfenvs.meanfield import recomputed_tables

GAMES = {
    "branches": lambda: ByBranches(),
    "successors that depend on the population": lambda: ByBranches(crowd=0.6, shift=2),
    "rows": lambda: ByRows(),
    "populations with masks": lambda: Hunt(),
    "a tree with masks": lambda: Weather(),
}


def kept_and_recomputed(game, monkeypatch):
    kept = InducedGame(game, sparse=True)
    with monkeypatch.context() as patched:
        patched.setattr(recomputed_tables, "MOST_KEPT_ENTRIES", 0)
        recomputed = InducedGame(game, sparse=True)
    return kept, recomputed


def allowed_policy(induced, seed):
    weights = np.random.default_rng(seed).exponential(size=induced.policy_shape) * (induced.uniform_policy() > 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "populations with masks" else name for name in GAMES],
)
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_values_are_those_of_kept_tables(name, temperature, monkeypatch):
    kept, recomputed = kept_and_recomputed(GAMES[name](), monkeypatch)
    for seed in range(3):
        policy = allowed_policy(kept, seed)
        expected = kept.exploitabilities(policy, temperature=temperature)
        assert expected.max() > 1e-3
        assert_allclose(recomputed.exploitabilities(policy, temperature=temperature), expected, rtol=1e-13)
        assert recomputed.exploitability(policy, temperature=temperature) == pytest.approx(
            expected.max(), rel=1e-13
        )
        flow = recomputed.flow(policy)
        assert_array_equal(flow.mu, kept.flow(policy).mu)
        assert_array_equal(recomputed.last_population(), flow.mu)
        if temperature == 0.0:
            assert_array_equal(recomputed.last_best_response(), kept.best_response(flow))


def test_no_table_of_all_times_is_made(monkeypatch):
    _, recomputed = kept_and_recomputed(ByBranches(), monkeypatch)

    def refuse(*_, **__):
        raise AssertionError("a table of all times")

    monkeypatch.setattr(recomputed._tables, "new", refuse)
    assert recomputed.exploitability(recomputed.uniform_policy()) > 0.0
    with pytest.raises(AssertionError, match="a table of all times"):
        recomputed.flow(recomputed.uniform_policy())


def test_errors(monkeypatch):
    monkeypatch.setattr(recomputed_tables, "MOST_KEPT_ENTRIES", 0)
    with pytest.raises(ValueError, match=r"branch must return probabilities that sum to 1 over the branches"):
        # The rows of the two kinds of agents are wrong only where many are in state 0.
        InducedGame(ByBranches(crowd=0.6, leak=0.3, beyond=100, shift=1, first=0), sparse=True).exploitability(
            np.full((3, S, A), 0.5)
        )
    induced = InducedGame(ByBranches(), sparse=True)
    with pytest.raises(ValueError, match="start is for infinite games"):
        induced.exploitability(induced.uniform_policy(), start=np.full(S, 1.0 / S))
    with pytest.raises(ValueError, match="policy"):
        induced.exploitability(np.full((3, S, A), 0.4))


def test_small_games_and_constant_tables_are_kept():
    for game in (ByBranches(), ByRows()):
        assert InducedGame(game, sparse=True)._recomputed is None
