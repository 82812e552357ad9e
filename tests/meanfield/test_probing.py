"""Where rules are probed: populations of four kinds, and what counts as affine or constant."""

import numpy as np
import pytest
from random_game import RandomGame

from mfenvs import InducedGame, make
from mfenvs.meanfield import probing


def test_random_populations_are_of_four_kinds():
    induced = InducedGame(make("Congestion-v0", n_agents=4, n_sites=5, n_routes=4))
    laws = probing.random_populations(np.random.default_rng(0), induced, 40)
    assert laws.shape == (40, 5, 4)
    assert laws.min() >= 0
    assert laws.sum(axis=(1, 2)) == pytest.approx(1)
    occupied = (laws > 0).sum(axis=(1, 2))
    assert (occupied[::4] == 3).all()
    assert (occupied[1::4] == 20).all()
    assert (occupied[2::4] == 1).all()
    assert len({law.argmax() for law in laws[2::4]}) > 3  # and not always in the same cell
    assert laws[3::4].max(axis=(1, 2)).mean() > 2 * laws[1::4].max(axis=(1, 2)).mean()


def test_what_is_affine_and_what_is_constant():
    induced = InducedGame(RandomGame(n_agents=3))
    probes = probing.random_populations(np.random.default_rng(1), induced, 8)
    at_points = probing.tables(induced, probing.point_populations(induced), 0)
    found = probing.tables(induced, probes, 0)
    assert probing.is_affine(at_points.rewards, probes, found.rewards)
    assert not probing.is_affine(at_points.rewards**2, probes, found.rewards**2)
    assert not probing.is_constant(found.rewards)
    assert probing.is_constant(np.repeat(found.rewards[:1], 3, axis=0))


def test_tables_of_large_games_are_held_a_few_at_a_time(monkeypatch):
    induced = InducedGame(RandomGame(n_agents=3))
    monkeypatch.setattr(probing, "MOST_NUMBERS", 60)  # A table has 4 * 3 entries.
    assert probing.n_affordable(induced, 48) == 5
    assert probing.n_affordable(induced, 2) == 2
    monkeypatch.setattr(probing, "MOST_WORK", 120)
    assert probing.n_tables(induced, 2) == 5
