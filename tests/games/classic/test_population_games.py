"""The classic games with several populations: exploitabilities are those of their sources' definitions.

The oracles are dense arrays for each population, written from the definitions; they read constants of the games
only.
"""

import numpy as np
import pytest
from classic_names import QUICK

from mfenvs import Engine, InducedGame, make
from mfenvs.graphons import (
    GRAPHONS,
    blocks,
    erdos_renyi,
    ranked_attachment,
    stochastic_block,
    uniform_attachment,
)

STEPS = ((0, 0), (1, 0), (0, 1), (0, -1), (-1, 0))


def gains(model, starts, policies):
    """E_p of each population by dynamic programming; ``model`` gives P and R of each from laws over states."""
    laws, tables = [np.array(start) for start in starts], []
    for t in range(len(policies[0])):
        tables.append(model(laws))
        laws = [
            np.einsum("s,sa,sax->x", law, policy[t], p)
            for law, policy, (p, _) in zip(laws, policies, tables[-1], strict=True)
        ]
    found = []
    for k, (start, policy) in enumerate(zip(starts, policies, strict=True)):
        own = best = np.zeros(len(start))
        for t in reversed(range(len(policy))):
            p, r = tables[t][k]
            own, best = (policy[t] * (r + p @ own)).sum(-1), (r + p @ best).max(-1)
        found.append(start @ (best - own))
    return np.array(found)


def walk(free, size, noise, joined=False):
    """P of moves on a map with two moves a step, the second one by chance; ``free`` are cells (x, y)."""
    number = {cell: k for k, cell in enumerate(free)}

    def after(cell, move):
        x, y = cell[0] + STEPS[move][0], cell[1] + STEPS[move][1]
        target = (x % size, y % size) if joined else (x, y)
        return target if target in number else cell

    p = np.zeros((len(free), 5, len(free)))
    for cell, k in number.items():
        for a in range(5):
            for e in range(5):
                p[k, a, number[after(after(cell, a), e)]] += 1 - noise if e == 0 else noise / 4
    return p


def predator_prey(game):
    cells = [(x, y) for y in range(game.size) for x in range(game.size)]
    p, n = walk(cells, game.size, game.noise, game.torus), len(game.starts)
    attraction = np.array(game.attraction)

    def model(laws):
        found = []
        for k in range(n):
            r = -game.aversion * np.log(laws[k] + game.least) + sum(attraction[k, j] * laws[j] for j in range(n))
            found.append((p, np.repeat(r[:, None], 5, 1)))
        return found

    return model, [np.eye(len(cells))[cells.index(tuple(start))] for start in game.starts]


def crowd_avoidance(game):
    cells = [(x, y) for y, row in enumerate(game.layout) for x, cell in enumerate(row) if cell != "#"]
    p = walk(cells, None, game.noise)

    def model(laws):
        found = []
        for k in range(2):
            r = -game.congestion * sum(game.avoids[k][j] * laws[j] for j in range(2))
            r = r + game.worth * (np.arange(len(cells)) == cells.index(tuple(game.targets[k])))
            found.append((p, np.repeat(r[:, None], 5, 1)))
        return found

    starts = []
    for places in game.starts:
        starts.append(np.zeros(len(cells)))
        for x, y, probability in places:
            starts[-1][cells.index((x, y))] += probability
    return model, starts


def weights(game, graphon):
    middles = (np.arange(game.n_points) + 0.5) / game.n_points
    return np.array([[graphon(x, y) for y in middles] for x in middles]) / game.n_points


def graphon_epidemic(game, graphon):
    w = weights(game, graphon)

    def model(laws):
        found = []
        for k in range(game.n_points):
            caught = game.infection * sum(w[k, j] * laws[j][1] for j in range(game.n_points))
            p = np.empty((2, 2, 2))
            p[0, 0], p[0, 1], p[1, :] = (1 - caught, caught), (1, 0), (game.recovery, 1 - game.recovery)
            cost = game.illness_cost * np.array([[0], [1]]) + game.protection_cost * np.array([[0, 1]])
            found.append((p, -cost))
        return found

    return model, [np.array([1 - game.initial_infected, game.initial_infected])] * game.n_points


def graphon_investment(game, graphon):
    w, n = weights(game, graphon), game.n_qualities
    p = np.zeros((n, 2, n))
    for x in range(n):
        p[x, 0, x] = 1
        p[x, 1, x] += (1 + x) / n
        p[x, 1, min(x + 1, n - 1)] += (n - 1 - x) / n

    def model(laws):
        found = []
        for k in range(game.n_points):
            mean = sum(w[k, j] * (laws[j] @ np.arange(n)) for j in range(game.n_points))
            r = game.payoff * np.arange(n)[:, None] / (1 + mean) - game.cost * np.array([[0, 1]])
            found.append((p, r))
        return found

    return model, [np.eye(n)[0]] * game.n_points


def two_blocks(x, y):
    return 0.9 if (x < 0.7) == (y < 0.7) else 0.3


CASES = [
    ("PredatorPrey-v0", {}, predator_prey),
    (
        "PredatorPrey-v0",
        {"size": 4, "torus": True, "noise": 0.3, "starts": ((1, 2), (3, 0)), "attraction": ((0, 2), (-1, 0))}
        | {"aversion": 0.5, "horizon": 6},
        predator_prey,
    ),
    ("FourPopulationPredatorPrey-v0", {}, predator_prey),
    ("CrowdAvoidance-v0", {}, crowd_avoidance),
    (
        "CrowdAvoidance-v0",
        {"layout": ("   #", " #  "), "noise": 0.2, "congestion": 3.0, "avoids": ((0.5, 1), (2, 0)), "worth": 2.0}
        | {"targets": ((3, 1), (0, 0)), "starts": (((0, 0, 1.0),), ((2, 1, 0.5), (0, 1, 0.5)))},
        crowd_avoidance,
    ),
    ("GraphonEpidemic-v0", {}, lambda game: graphon_epidemic(game, lambda x, y: 1 - max(x, y))),
    (
        "GraphonEpidemic-v0",
        {"n_points": 4, "graphon": "ranked attachment", "infection": 0.7, "recovery": 0.3, "horizon": 7}
        | {"initial_infected": 0.2, "illness_cost": 3.0, "protection_cost": 0.1},
        lambda game: graphon_epidemic(game, lambda x, y: 1 - x * y),
    ),
    (
        "GraphonEpidemic-v0",
        {"n_points": 10, "graphon": "stochastic block"},
        lambda game: graphon_epidemic(game, two_blocks),
    ),
    ("GraphonInvestment-v0", {}, lambda game: graphon_investment(game, lambda x, y: 1 - max(x, y))),
    (
        "GraphonInvestment-v0",
        {"n_points": 3, "graphon": "erdos-renyi", "n_qualities": 4, "payoff": 2.0, "cost": 0.5, "horizon": 5},
        lambda game: graphon_investment(game, lambda x, y: 0.5),
    ),
]


@pytest.mark.parametrize(
    ("name", "constants", "oracle"),
    [
        # Many constants that differ from the default ones need kernels of their own.
        pytest.param(
            *case,
            id=f"{case[0]}-{k}",
            marks=() if case[0] in QUICK and len(case[1]) <= 2 else pytest.mark.slow,
        )
        for k, case in enumerate(CASES)
    ],
)
def test_exploitabilities(name, constants, oracle):
    # Whole numbers of agents in every population, so that no rounding changes how large they are.
    game = make(name, **{"n_agents": 1200, **constants})
    induced, rng = InducedGame(game), np.random.default_rng(0)
    model, starts = oracle(game)
    shape = game.policy_shape[0], len(starts[0]), game.n_actions
    uniform = [np.full(shape, 1 / shape[-1])] * len(starts)
    for policies in (uniform, [rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1]) for _ in starts]):
        expected = gains(model, starts, policies)
        found = induced.exploitabilities(game.union_policy(policies))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(1.0, expected.max()))


KNOWN = {
    "PredatorPrey-v0": [12.453971, 12.041921, 12.472492],
    "FourPopulationPredatorPrey-v0": [16.974691] * 4,
    "CrowdAvoidance-v0": [2.711634] * 2,
    "GraphonEpidemic-v0": [
        *(8.080747, 8.064823, 8.046923, 8.039870, 8.076946),
        *(8.202420, 8.496157, 9.062309, 10.099998, 11.611438),
    ],
    "GraphonInvestment-v0": [
        *(33.726102, 33.621174, 33.403457, 33.062677, 32.571469),
        *(31.975259, 31.286886, 30.438751, 29.712233, 29.724762),
    ],
}
"""Exploitability of each population under the uniform policy, as docstrings have it: of predators and prey with
three populations as OpenSpiel's sum consists of them."""


@pytest.mark.parametrize("name", KNOWN)
def test_known_exploitabilities(name):
    """The number of agents does not matter, except for the lengths of intervals."""
    induced = InducedGame(make(name))
    found = induced.exploitabilities(induced.uniform_policy())
    np.testing.assert_allclose(found, KNOWN[name], rtol=0, atol=1e-6)
    if name == "PredatorPrey-v0":
        assert found.sum() == pytest.approx(36.968384, abs=1e-6)


def test_congestion_is_switched_on():
    """Without it, as by default in the source, the populations do not affect each other."""
    off = make("CrowdAvoidance-v0", congestion=0.0)
    rng = np.random.default_rng(2)
    policies = [rng.dirichlet(np.ones(5), (10, off.tables.n_states[0])) for _ in range(3)]
    found = []
    for game in (off, make("CrowdAvoidance-v0")):
        induced = InducedGame(game)
        for other in policies[1:]:
            found.append(induced.exploitabilities(game.union_policy([policies[0], other]))[0])
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    assert abs(found[2] - found[3]) > 1e-3


def test_neighbours_among_few_agents():
    """A firm earns by the qualities of the others, weighted by the graphon, and not by its own."""
    game = make("GraphonInvestment-v0", n_agents=6, n_points=2, n_qualities=3, graphon=[[1.0, 0.25], [0.25, 0.5]])
    engine = Engine(game, 5)
    engine.reset(seed=4)
    rng = np.random.default_rng(3)
    w, whose = np.array(game.graphon), game.population_of_agent
    for _ in range(6):
        quality = engine.states.astype(int) - 3 * whose
        actions = rng.integers(0, 2, (5, 6))
        rewards = engine.step(actions)
        for world, i in np.ndindex(5, 6):
            mean = sum(w[whose[i], whose[j]] * quality[world, j] for j in range(6) if j != i) / 5
            expected = 0.3 * quality[world, i] / (1 + mean) - 2 * actions[world, i]
            assert rewards[world, i] == pytest.approx(expected, abs=1e-5)
    assert quality.max() > 0


def test_graphons():
    assert uniform_attachment(0.2, 0.7) == pytest.approx(0.3)
    assert ranked_attachment(0.2, 0.7) == pytest.approx(0.86)
    assert erdos_renyi(0.2)(0.1, 0.9) == 0.2
    assert [stochastic_block()(x, y) for x, y in ((0.1, 0.6), (0.6, 0.71), (0.8, 0.9))] == [0.9, 0.3, 0.9]
    np.testing.assert_allclose(blocks("uniform attachment", 2), [[0.75, 0.25], [0.25, 0.25]])
    np.testing.assert_allclose(blocks(lambda x, y: x + y, 2), [[0.5, 1.0], [1.0, 1.5]])
    for graphon in GRAPHONS.values():
        np.testing.assert_array_equal(blocks(graphon, 5), blocks(graphon, 5).T)


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("PredatorPrey-v0", {"starts": ((0, 0), (5, 0), (0, 4))}, "starts"),
        ("PredatorPrey-v0", {"starts": ((0, 0), (4, 0))}, r"attraction must have shape \(2, 2\)"),
        ("PredatorPrey-v0", {"torus": 2}, "torus must be"),
        ("PredatorPrey-v0", {"n_agents": 2}, "every population has an agent, got 2 and no blue"),
        (
            "CrowdAvoidance-v0",
            {"targets": ((0, 0), (1, 3))},
            r"targets\[0\] must be column and row of a free cell",
        ),
        ("CrowdAvoidance-v0", {"starts": (((1, 2, 0.4),), ((5, 2, 1.0),))}, r"the probabilities of starts\[0\]"),
        (
            "CrowdAvoidance-v0",
            {"starts": (((1, 2, 1.0),),)},
            "starts must hold the starts of 2 populations, got 1",
        ),
        ("GraphonEpidemic-v0", {"graphon": "star"}, "graphon must be one of 'uniform attachment'"),
        ("GraphonEpidemic-v0", {"graphon": np.ones((2, 2))}, r"graphon must have shape \(10, 10\)"),
        ("GraphonEpidemic-v0", {"graphon": lambda x, y: x}, "graphon must be symmetric"),
        (
            "GraphonEpidemic-v0",
            {"graphon": 2 * np.ones((10, 10))},
            "largest degree of the graphon must be at most",
        ),
        (
            "GraphonEpidemic-v0",
            {"graphon": ((0, 2), (2, 0)), "n_points": 2, "n_agents": 2, "infection": 1.0},
            "largest degree of the graphon must be at most 1, got 2",
        ),
        ("GraphonEpidemic-v0", {"n_points": 0}, "n_points must be an integer"),
    ],
)
def test_wrong_constants(name, constants, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(name, **constants)


@pytest.mark.parametrize(
    "probabilities", [((0.9, 0.3), (0.2, 0.9)), ((0.9, 1.3), (1.3, 0.9)), ((0.9, np.nan), (np.nan, 0.9))]
)
def test_wrong_probabilities_of_edges(probabilities):
    with pytest.raises(ValueError, match="probabilities"):
        stochastic_block((0.5, 0.5), probabilities)


def test_wrong_sizes_of_communities():
    with pytest.raises(TypeError, match="sizes must hold the length of each community, got 3"):
        stochastic_block(3, 4)
