"""Bench-MFG's algorithms on Bench-MFG's own games: stationary and discounted, in double precision."""

import contextlib
import functools
import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.runs import Contest, Recorder
from mfenvs import FiniteGame, make
from mfenvs.games.classic.mean_field_garnet import MeanFieldGarnetTables

PACKAGE = "benchmfg"
GAMES = {
    "RepeatedRockPaperScissors-v0": "rock_paper_scissors",
    "DiscountedEpidemic-v0": "sis_epidemic",
    "ContractionGame-v0": "contraction_game",
    "LasryLionsChain-v0": "lasry_lions_chain",
    "NoInteractionChain-v0": "no_interaction_game",
    "MultipleEquilibria-v0": "multiple_equilibria",
    "KineticCongestion-v0": "kinetic_congestion",
    "FourRooms-v0": "four_rooms_obstacles",
    "MeanFieldGarnet-v0": "mf_garnet",
}
"""Our names of Bench-MFG's games, and theirs."""
ROUNDED = {"DiscountedEpidemic-v0", "KineticCongestion-v0", "MeanFieldGarnet-v0"}
"""Games whose probabilities Bench-MFG rounds to multiples of 1/100 or 1/64."""
SEED = 42
"""Bench-MFG's default random seed, of initial policies and swarms."""
ENOUGH = 10**6
"""Number of iterations that no run completes."""
ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mirror descent, rate 0.005 (default)": ("omd", {}),
    "mirror descent, rate 0.5": ("omd", {"learning_rate": 0.5}),
    "fictitious play (default)": ("damped_fixed_point", {}),
    "fixed point, damped by 0.2": ("damped_fixed_point", {"lambda_schedule": "damped"}),
    "policy iteration (default)": ("pi", {}),
    "smooth policy iteration": ("pi", {"variant": "smooth_policy_iteration"}),
    "Boltzmann policy iteration": ("pi", {"variant": "boltzmann_policy_iteration"}),
    "particle swarm (default)": ("pso", {}),
}
"""By name the configuration of an algorithm, and what is changed in it. The rates are of Bench-MFG's sweep."""
SECTIONS = {"omd": "omd", "damped_fixed_point": "dampedfp", "pi": "pi", "pso": "pso"}
"""Names of the parameters' sections."""
HOOKS = {
    "omd": ("omd_jax", "exploitability_jax"),
    "damped_fixed_point": ("fp_jax", "exploitability_jax"),
    "pi": ("pi_jax", "exploitability_jax"),
    "pso": ("pso_jax", "mean_field_by_transition_kernel_multi_jax"),
}
"""The module of an algorithm, and the function that it calls with its policy once an iteration."""


def contest(name: str) -> Contest:
    """Bench-MFG's game of one of our names, with its algorithms."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    benchmfg = importlib.import_module("benchmfg")
    environment, _ = benchmfg.make_environment([f"environment={GAMES[name]}"])
    start = environment.stationary_mean_field.copy()
    algorithms: dict[str, Callable[[Recorder], None]] = {
        label: functools.partial(_run, GAMES[name], environment, start, kind, parameters)
        for label, (kind, parameters) in ALGORITHMS.items()
    }
    return Contest(our_game(name, environment), algorithms, rounded=name in ROUNDED, warm_up=3)


def _run(game: str, environment: Any, start: Any, kind: str, parameters: dict[str, Any], record: Recorder) -> None:
    """Run an algorithm from a random policy; the environment keeps the last population: reset it."""
    record.stop()
    benchmfg = importlib.import_module("benchmfg")
    environment.stationary_mean_field = start
    chosen = {"num_iterations": ENOUGH, **parameters}
    overrides = [f"algorithm.{SECTIONS[kind]}.{key}={value}" for key, value in chosen.items()]
    configuration = benchmfg.load_config([f"environment={game}", f"algorithm={kind}", *overrides])
    np.random.seed(SEED)  # noqa: NPY002  # what Bench-MFG draws from
    _, policy = benchmfg.make_environment(configuration)
    solver = benchmfg.make_solver(configuration, environment=environment, initial_policy=policy)
    module_name, function = HOOKS[kind]
    module = importlib.import_module(f"benchmfg.learner.jax.{module_name}")
    original = getattr(module, function)

    def instead(policy: Any, *others: Any, **named: Any) -> Any:
        # JAX computes in the background: wait for it while the clock runs.
        law, _ = np.asarray(policy), np.asarray(named["initial_mean_field"])
        record(lambda: law)
        return original(policy, *others, **named) if kind == "pso" else np.nan

    setattr(module, function, instead)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            record.start()
            solver.eval()
    finally:
        setattr(module, function, original)


def our_game(name: str, environment: Any) -> FiniteGame:
    """Our game of a name, with the tables that Bench-MFG drew."""
    constants: dict[str, Any] = {}
    if name == "MeanFieldGarnet-v0":
        drawn = environment.cfg
        constants["tables"] = MeanFieldGarnetTables(
            base_factor=drawn.cp,
            coupling_factor=drawn.rho_p,
            reward_factor=drawn.cr,
            interaction_factor=drawn.rho_r,
            base=environment.P0_dense,
            coupling=environment.C,
            rewards=environment.R0,
            interaction=environment.M,
        )
    game = make(name, **constants)
    assert isinstance(game, FiniteGame)
    return game
