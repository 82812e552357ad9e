"""MFGLib's algorithms on MFGLib's own games, in double precision where they allow it."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.runs import Contest, Recorder
from mfenvs import FiniteGame, make
from mfenvs.games.classic.random_linear import RandomLinearTables

PACKAGE = "mfglib"
GAMES = {
    "BeachBar-v0": "beach_bar",
    "WeightedRockPaperScissors-v0": "rock_paper_scissors",
    "LeftRight-v0": "left_right",
    "SusceptibleInfected-v0": "susceptible_infected",
    "TreasureHunting-v0": "conservative_treasure_hunting",
    "EquilibriumPrice-v0": "equilibrium_price",
    "BuildingEvacuation-v0": "building_evacuation",
    "LinearQuadraticChain-v0": "linear_quadratic",
    "CrowdMotion-v0": "crowd_motion",
    "RandomLinear-v0": "random_linear",
}
"""Our names of MFGLib's games, and theirs."""
SEED = 0
"""Random seed of the games that MFGLib draws."""
HOOKS = (("abc", "expl_score"), ("mf_omo", "exploitability_score"))
"""Where the algorithms compute the exploitability of every policy: modules of ``mfglib.alg`` and functions."""


def contest(name: str) -> Contest:
    """MFGLib's game of one of our names, with its algorithms at their defaults and at a few other parameters."""
    import mfglib.alg as library
    import torch
    from mfglib.env import Environment

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(SEED)
    game = our_game(name, getattr(Environment, GAMES[name])())

    def start(make_algorithm: Callable[[], Any], dtype: Any = torch.float64) -> Callable[[Recorder], None]:
        def run(record: Recorder) -> None:
            torch.set_default_dtype(dtype)
            torch.manual_seed(SEED)
            solve(make_algorithm(), getattr(Environment, GAMES[name])(), record)

        return run

    algorithms = {
        "online mirror descent, alpha 1 (default)": start(library.OnlineMirrorDescent),
        "online mirror descent, alpha 0.1": start(lambda: library.OnlineMirrorDescent(alpha=0.1)),
        "fictitious play (default)": start(library.FictitiousPlay),
        "fixed point iteration": start(lambda: library.FictitiousPlay(alpha=1.0)),
        "prior descent, eta 1, fixed prior (default)": start(library.PriorDescent),
        "prior descent, eta 1, new prior every 10": start(lambda: library.PriorDescent(eta=1.0, n_inner=10)),
        "MF-OMO (default)": start(library.MFOMO),
        # It makes single-precision numbers of its projections.
        "occupation measure inclusion (default)": start(library.OccupationMeasureInclusion, torch.float32),
    }
    return Contest(game, algorithms, warm_up=2)


def solve(algorithm: Any, environment: Any, record: Recorder) -> None:
    """Let an algorithm iterate. Where it would compute exploitability itself the recorder gets the policy."""

    def instead(environment: Any, policy: Any) -> float:
        record(lambda: policy.detach().numpy())
        return 1.0

    modules = [(importlib.import_module(f"mfglib.alg.{module}"), name) for module, name in HOOKS]
    before = [getattr(module, name) for module, name in modules]
    for module, name in modules:
        setattr(module, name, instead)
    try:
        algorithm.solve(environment, max_iter=10**9, atol=None, rtol=None)
    finally:
        for (module, name), function in zip(modules, before, strict=True):
            setattr(module, name, function)


def our_game(name: str, environment: Any) -> FiniteGame:
    """Our game of a name, with what MFGLib drew for its own."""
    constants: dict[str, Any] = {}
    if name == "RandomLinear-v0":
        moves, rewards = environment.transition_fn, environment.reward_fn
        constants["tables"] = RandomLinearTables(
            coupled_moves=moves.p1.numpy(),
            moves=moves.p2.numpy(),
            coupled_rewards=rewards.r1.numpy(),
            rewards=rewards.r2.numpy(),
        )
    if name == "CrowdMotion-v0":
        # Its rewards fall in the distance from the bar.
        nearest = [int(near[..., 0].argmax()) for near in environment.reward_fn.c1s]
        constants["bar"] = [tuple(map(int, np.unravel_index(place, (20, 20)))) for place in nearest]
    if name == "LinearQuadraticChain-v0":
        constants["twice"] = True
    game = make(name, **constants)
    assert isinstance(game, FiniteGame)
    return game
