"""Every argument of the functions on approximate symmetry, replaced by what it cannot be: an error names it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mfenvs import InducedGame, make
from mfenvs.meanfield.black_box import BlackBoxGame, as_black_box, tabulate_black_box
from mfenvs.meanfield.bounds import (
    GameConstants,
    dominance_moduli,
    empirical_distance,
    regularisation_bias,
    theorem_1,
    theorem_2,
    theorem_3,
)
from mfenvs.meanfield.closed_path import RulesAmongOthers
from mfenvs.meanfield.dominance import dominance
from mfenvs.meanfield.extension import (
    Kirszbraun,
    McShaneWhitney,
    McShaneWhitneyRows,
    interpolate_counts,
    lipschitz_modulus,
    project_to_simplex,
)
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.monotonicity import monotonicity
from mfenvs.meanfield.symmetrisation import lift, symmetrise, symmetrise_by_sampling
from mfenvs.meanfield.symmetrised_game import SymmetrisedGame, induced_arrays
from mfenvs.meanfield.symmetry import approximate_symmetry


class Unprintable:
    """An object without a ``repr``, whose array fails."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise OSError


WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    10**400,
    1.5,
    math.nan,
    math.inf,
    "x",
    [],
    [[1], [1, 2]],
    [0.4, 0.4],
    ["0.5", "0.5"],
    {},
    object(),
    Unprintable(),
    1j,
    np.array([]),
    np.array([1.0, math.nan]),
    np.array([0.5 + 1j, 0.5]),
    np.array([True, False]),
    np.array([object(), 1]),
    np.ma.masked_array([0.5, 0.5], [False, True]),
    np.zeros((2, 2, 2)),
    np.datetime64("2020-01-01"),
)

GAME = make("Epidemic-v0", n_agents=4, horizon=2)
RULES = RulesAmongOthers(GAME)
INDUCED = InducedGame(GAME)


def box(**terms: Any) -> BlackBoxGame:
    game = {"transition": lambda *_: [1.0, 0.0], "reward": lambda *_: 0.0}
    sizes = {"n_agents": 3, "n_states": 2, "n_actions": 2, "horizon": 2}
    return BlackBoxGame(**{**game, **sizes, **terms})


def answer(row: Any = (1.0, 0.0), reward: Any = 0.0) -> Any:
    return tabulate_black_box(box(transition=lambda *_: row, reward=lambda *_: reward))


BOX = box()
CONSTANTS = {"n_agents": 9, "n_states": 2, "n_actions": 3, "horizon": 4, "l_pop": 0.5, "k_mu": 0.2, "l_mu": 0.3}
PLAIN = GameConstants(**CONSTANTS)
POINTS = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
NUMBERS, ROWS = [0.0, 1.0, 0.3], [[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]]
COUNTS = np.array([[3, 0], [0, 0]])


def constant(_: Any) -> float:
    return 1.0


FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "approximate_symmetry": (
        approximate_symmetry,
        {"game": BOX, "n_points": 9, "n_permutations": 9, "seed": 0},
    ),
    "most_asymmetric": (approximate_symmetry(BOX).most_asymmetric, {"n": 1, "by": "alpha"}),
    "symmetrise": (functools.partial(symmetrise, x=[1, 2]), {"function": constant}),
    "symmetrise_by_sampling": (
        functools.partial(symmetrise_by_sampling, x=[1, 2]),
        {"function": constant, "n_samples": 3, "seed": 0},
    ),
    "lift": (lift, {"function": constant, "n_outcomes": 2, "n_agents": 2, "sees_counts": False}),
    "a lattice function": (lift(constant, 2, 2), {"counts": [1, 1]}),
    "project_to_simplex": (project_to_simplex, {"vectors": [1.0, 2.0]}),
    "lipschitz_modulus": (lipschitz_modulus, {"points": POINTS, "values": NUMBERS, "norm": "l1"}),
    "McShaneWhitney": (
        McShaneWhitney,
        {"points": POINTS, "values": NUMBERS, "modulus": 9.0, "norm": "l1", "side": "upper"},
    ),
    "an extension": (McShaneWhitney(POINTS, NUMBERS), {"x": POINTS}),
    "McShaneWhitneyRows": (
        McShaneWhitneyRows,
        {"points": POINTS, "rows": ROWS, "norm": "l1", "side": "upper"},
    ),
    "an extension of rows": (McShaneWhitneyRows(POINTS, ROWS), {"x": POINTS}),
    "Kirszbraun": (Kirszbraun, {"points": POINTS, "values": ROWS, "modulus": 9.0}),
    "an extension of vectors": (Kirszbraun(POINTS, ROWS), {"x": POINTS}),
    "interpolate_counts": (interpolate_counts, {"values": [0.0, 1.0], "share": 0.5}),
    "BlackBoxGame": (
        box,
        {
            "transition": constant,
            "reward": constant,
            "n_agents": 3,
            "n_states": 2,
            "n_actions": 2,
            "horizon": 1,
            "initial_distribution": [0.5, 0.5],
            "discount": 1.0,
            "sees_counts": False,
        },
    ),
    "what a black box answers": (answer, {"row": [1.0, 0.0], "reward": 0.0}),
    "responses": (BOX.responses, {"agent": 0, "pairs": [0, 1]}),
    "as_black_box": (as_black_box, {"game": GAME, "time": 0}),
    "tabulate_black_box": (tabulate_black_box, {"game": BOX}),
    "SymmetrisedGame": (SymmetrisedGame, {"black_box": BOX, "norm": "l1", "side": "upper"}),
    "induced_arrays": (
        induced_arrays,
        {"tables": answer(), "mu": np.full((2, 2), 0.25), "extension": "mcshane", "norm": "l2"},
    ),
    "GameConstants": (GameConstants, {**CONSTANTS, "reward_span": 1.0, "alpha": 0.1, "beta": 0.1}),
    "GameConstants.of": (
        GameConstants.of,
        {"game": GAME, "lipschitz": lipschitz_constants(INDUCED), "alpha": 0.1, "beta": 0.1},
    ),
    "theorem_1": (theorem_1, {"game": PLAIN, "equilibrium_error": 0.1, "form": "paper", "l_a": 0.5}),
    "theorem_2": (theorem_2, {"game": PLAIN, "least_visits": 0.5, "n_iterations": 9}),
    "theorem_3": (
        theorem_3,
        {"game": PLAIN, "epsilon": 0.5, "temperature": 0.1, "least_visits": 0.5, "first_divergence": 1.0},
    ),
    "empirical_distance": (empirical_distance, {"game": PLAIN, "form": "paper"}),
    "regularisation_bias": (regularisation_bias, {"temperature": 0.1, "horizon": 2, "n_actions": 2}),
    "dominance_moduli": (dominance_moduli, {"c_1": 0.1, "c_2": 0.1, "n_agents": 3, "sparsity": 1}),
    "lipschitz_constants": (lipschitz_constants, {"induced": INDUCED, "n_populations": 4, "seed": 0}),
    "dominance": (dominance, {"game": GAME, "n_points": 2, "seed": 0}),
    "monotonicity": (
        monotonicity,
        {"induced": INDUCED, "along_flows": False, "n_populations": 1, "seed": 0},
    ),
    "RulesAmongOthers": (RulesAmongOthers, {"game": GAME}),
    "own_tables": (RULES.own_tables, {"agent": 0, "others": np.zeros((3, 2), int), "time": 0}),
    "arrays": (RULES.arrays, {"counts": COUNTS, "time": 0}),
    "deviations": (RULES.deviations, {"counts": COUNTS, "time": 0}),
    "tables_of_kinds": (RULES.tables_of_kinds, {"counts": COUNTS, "time": 0}),
}

ALLOWED: dict[str, tuple[str, ...]] = {
    "by": ("None",),
    "x": ("[0.4, 0.4]", "zeros"),
    "sees_counts": ("True",),
    "along_flows": ("True",),
    "vectors": ("[0.4, 0.4]", "zeros"),
    "values": ("[0.4, 0.4]", "zeros"),
    "modulus": ("None", "1" + 30 * "0", "1.5"),
    "share": ("[]", "[0.4, 0.4]", "array([], dtype=float64)", "zeros"),
    "initial_distribution": ("None", "array([ True, False])"),
    "n_points": ("1" + 30 * "0", "1" + 400 * "0"),
    "n_populations": ("1" + 30 * "0", "1" + 400 * "0"),
    "first_divergence": ("None", "1" + 30 * "0", "1.5"),
    "reward": ("-1", "1" + 30 * "0", "1.5"),
    "epsilon": ("1" + 30 * "0", "1.5"),
    "alpha": ("1.5",),
} | dict.fromkeys(
    ("l_pop", "k_mu", "l_mu", "reward_span", "beta", "equilibrium_error", "l_a", "temperature", "c_1", "c_2"),
    ("1" + 30 * "0", "1.5"),
)
"""What is not wrong for an argument of this name, where it is not."""


def shown(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return "zeros"
    return "Unprintable" if isinstance(value, Unprintable) else str(value) if type(value) is int else repr(value)


def refusal(function: Callable[..., Any], arguments: dict[str, Any]) -> Exception | None:
    try:
        function(**arguments)
    except (TypeError, ValueError) as error:
        return error
    return None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_argument_is_named(name: str) -> None:
    function, right = FUNCTIONS[name]
    function(**right)
    for argument in right:
        for value in WRONG:
            error, what = refusal(function, {**right, argument: value}), f"{name}({argument}={shown(value)})"
            if error is None:
                assert shown(value) in ALLOWED.get(argument, ()), f"{what} is accepted"
            else:
                named = "transition(agent=0" if argument == "row" else argument
                assert named in str(error), f"{what}: {error}"
