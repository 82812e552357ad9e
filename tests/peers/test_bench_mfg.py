"""Bench-MFG's games are ours: their transitions and rewards, tabulated at random populations."""

import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest

from mfenvs import InducedGame, make
from mfenvs.games.classic.mean_field_garnet import MeanFieldGarnetTables

SPEC = importlib.util.find_spec("benchmfg")
pytestmark = pytest.mark.skipif(SPEC is None, reason="Bench-MFG is not installed")


def their_class(module, name):
    """A class of Bench-MFG, without importing the whole package, which needs JAX."""
    if "benchmfg" not in sys.modules:
        package = types.ModuleType("benchmfg")
        package.__path__ = list(SPEC.submodule_search_locations)
        sys.modules["benchmfg"] = package
    return getattr(importlib.import_module(f"benchmfg.envs.{module}"), name)


def theirs(module, name, n, m, noise, **constants):
    sizes = {"horizon": 100, "mean_field": np.full(n, 1 / n), "gamma": 0.9}
    if noise is not None:
        sizes |= {"N_states": n, "N_actions": m, "N_noises": len(noise), "noise_prob": np.array(noise)}
    return their_class(module, name)(**sizes, **constants)


CHAIN = [0.025, 0.95, 0.025]
EXACT = {
    "RepeatedRockPaperScissors-v0": ("rock_paper_scissors.rock_paper_scissors", "RockPaperScissors", [1.0], {}),
    "ContractionGame-v0": (
        "contraction_game.contraction_game",
        "ContractionGame",
        [1.0],
        {"switching_cost": 2.0, "congestion_coefficient": 2.0},
    ),
    "LasryLionsChain-v0": (
        "lasry_lions_chain.lasry_lions_chain",
        "LasryLionsChain",
        CHAIN,
        {"crowd_penalty_coefficient": 40, "movement_penalty": 2, "center_attraction": 3},
    ),
    "NoInteractionChain-v0": (
        "no_interaction.no_interaction",
        "NoInteractionChain",
        CHAIN,
        {"movement_penalty": 0.1},
    ),
    "MultipleEquilibria-v0": (
        "multiple_equilibria.multiple_equilibria",
        "MultipleEquilibria1DGame",
        CHAIN,
        {"alpha": 5, "beta": 20, "movement_penalty": 4, "targets": [2, 4]},
    ),
    "FourRooms-v0": ("four_rooms_obstacles.four_rooms_obstacles", "FourRoomsAversion2D", None, {}),
}
ROUNDED = {
    "DiscountedEpidemic-v0": (
        "sis_epidemic.sis_epidemic",
        "SISEpidemic",
        {"N_actions": 5, "beta": 0.8, "nu": 0.1, "cost_infection": 10.0},
    ),
    "KineticCongestion-v0": (
        "kinetic_congestion.kinetic_congestion",
        "KineticCongestion",
        {"grid_height": 5, "grid_width": 5, "target_state": 24, "movement_cost": 0.1, "capacity_threshold": 0.18},
    ),
}
"""Games whose transitions Bench-MFG rounds to hundredths."""


def tabulated(environment, mu):
    """P and R of one of their games at a population of states."""
    shape = environment.N_states, environment.N_actions
    p, r = np.zeros((*shape, shape[0])), np.zeros(shape)
    for s, a in np.ndindex(shape):
        for noise, weight in enumerate(environment.noise_prob):
            p[s, a, environment.transition(mu, s, a, noise)] += weight
        r[s, a] = environment.reward(mu, s, a)
    return p, r


def populations(n, k=3):
    rng = np.random.default_rng(1)
    return [np.full(n, 1 / n), *rng.dirichlet(np.full(n, 0.3), k)]


@pytest.mark.parametrize("name", EXACT)
def test_their_games_are_ours(name):
    module, kind, noise, constants = EXACT[name]
    game = make(name)
    induced = InducedGame(game)
    environment = theirs(module, kind, game.n_states, game.n_actions, noise, **constants)
    for mu in populations(game.n_states):
        p, r = tabulated(environment, mu)
        ours = induced.arrays(np.repeat(mu[:, None], game.n_actions, 1) / game.n_actions)
        np.testing.assert_allclose(ours[0], p, atol=1e-12)
        np.testing.assert_allclose(ours[1], r, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ROUNDED)
def test_their_games_are_ours_rounded(name):
    module, kind, constants = ROUNDED[name]
    game = make(name)
    induced = InducedGame(game)
    environment = theirs(module, kind, game.n_states, game.n_actions, None, **constants)
    for mu in populations(game.n_states):
        p, r = tabulated(environment, mu)
        ours = induced.arrays(np.repeat(mu[:, None], game.n_actions, 1) / game.n_actions)
        np.testing.assert_allclose(ours[0], p, atol=0.005 + 1e-9)
        np.testing.assert_allclose(ours[1], r, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["potential", "cyclic"])
@pytest.mark.parametrize("structure", ["additive", "multiplicative"])
def test_their_garnet_is_ours(kind, structure):
    """Of the same seed, and equal but for successors that were drawn twice."""
    garnet, sampling = (their_class("mf_garnet.mf_garnet", name) for name in ("MFGarnet", "MFGarnetSampling"))
    drawn = sampling(
        branching_factor=3, seed=4, dynamics_structure=structure, reward_structure=structure, game_type=kind
    )
    n, m = 6, 2
    environment = garnet(n, m, 64, 100, np.full(n, 1 / n), 0.9, drawn)
    sizes = {"n_nodes": n, "n_choices": m, "n_successors": 3, "game_seed": 4, "kind": kind}
    structures = {"dynamics": structure, "reward_structure": structure}
    mine = make("MeanFieldGarnet-v0", **sizes, **structures).constants
    cfg = environment.cfg
    factors = mine.base_factor, mine.coupling_factor, mine.reward_factor, mine.interaction_factor
    assert factors == (cfg.cp, cfg.rho_p, cfg.cr, cfg.rho_r)
    np.testing.assert_array_equal(mine.coupling, environment.C)
    np.testing.assert_array_equal(mine.rewards, environment.R0)
    np.testing.assert_array_equal(mine.interaction, environment.M)
    once = environment.P0_dense.sum(-1) > 1 - 1e-9
    assert not once.all()
    np.testing.assert_allclose(mine.base[once], environment.P0_dense[once])

    names = ("base_factor", "coupling_factor", "reward_factor", "interaction_factor")
    tables = MeanFieldGarnetTables(
        **dict(zip(names, factors, strict=True)),
        base=environment.P0_dense,
        coupling=mine.coupling,
        rewards=mine.rewards,
        interaction=mine.interaction,
    )
    game = make("MeanFieldGarnet-v0", **sizes, **structures, tables=tables)
    induced = InducedGame(game)
    for mu in populations(n):
        p, r = induced.arrays(np.repeat(mu[:, None], m, 1) / m)
        for s, a in np.ndindex(n, m):
            row = environment._transition_distribution(mu, s, a)
            if row.sum() > 0.5:  # Of a row of zeros the source makes no distribution.
                np.testing.assert_allclose(p[s, a], row, atol=1e-9)
            assert r[s, a] == pytest.approx(environment.reward(mu, s, a), abs=1e-12)
