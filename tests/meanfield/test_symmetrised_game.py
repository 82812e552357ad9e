"""Black boxes of explicit others, their induced games, and registered games in the disguise of a black box."""

import doctest
import itertools

import numpy as np
import pytest
from black_boxes import definition_6, from_tables, random_tables
from ferry import Ferry, earned, row
from numpy.testing import assert_allclose
from oracles import deterministic_policies, random_policy, value
from random_game import RandomGame, arrays

from mfenvs import Engine, FiniteGame, InducedGame, make
from mfenvs.engine.model import in_double_precision, model_kernels
from mfenvs.meanfield import black_box
from mfenvs.meanfield.black_box import BlackBoxGame, as_black_box, tabulate_black_box
from mfenvs.meanfield.closed_path import RulesAmongOthers
from mfenvs.meanfield.extension import McShaneWhitney, McShaneWhitneyRows, project_to_simplex
from mfenvs.meanfield.symmetrised_game import SymmetrisedGame, induced_arrays, threshold_of_projection
from mfenvs.registry import registered_games

TINY = {
    "Epidemic-v0": {"n_agents": 5, "horizon": 2},
    "RockPaperScissors-v0": {"n_agents": 5, "horizon": 2, "beta": 0.5},
    "Auction-v0": {"n_agents": 5, "n_budgets": 3, "n_bids": 2, "n_bidders": 3, "heterogeneity": 0.5},
}
"""Registered finite games at sizes at which all joint vectors of others are enumerated."""
READ_SHARES_ONLY = ("Epidemic-v0", "RockPaperScissors-v0")
OTHERS = [n for n, kind in registered_games("").items() if issubclass(kind, FiniteGame) and n not in TINY]


def two_agents() -> BlackBoxGame:
    """Agents 0 and 1 move to 1 with .5 and .3 if the other is there, else with .1; agent 0 earns 1."""

    def transition(agent, state, action, others):
        one = (0.5, 0.3)[agent] if others[0, 0] == 1 else 0.1
        return [1 - one, one]

    return BlackBoxGame(
        transition, lambda agent, *_: float(agent == 0), n_agents=2, n_states=2, n_actions=1, horizon=2
    )


def test_two_agents_by_hand():
    """At the lattice's two points, and half-way: .25 is the mean of .1 and .4, whatever the norm."""
    for norm in ("l1", "l2", "largest"):
        induced = InducedGame(SymmetrisedGame(black_box=two_agents(), norm=norm))
        for in_one, chance in ((0.0, 0.1), (1.0, 0.4), (0.5, 0.25)):
            p, r = induced.arrays([[1 - in_one], [in_one]])
            assert_allclose(p[..., 1], chance, atol=1e-12)
            assert_allclose(r, 0.5, atol=1e-12)


def test_the_example_of_the_docstring():
    assert doctest.testmod(black_box).attempted > 5
    assert doctest.testmod(black_box).failed == 0


def test_three_agents_by_hand():
    """R^i = 1 if the first other plays 1: Sym(R) is the share of others who do, and so is its extension."""
    game = BlackBoxGame(
        lambda *_: [1.0],
        lambda i, s, a, others: float(others[0, 1]),
        n_agents=3,
        n_states=1,
        n_actions=2,
        horizon=1,
    )
    tables = tabulate_black_box(game)
    assert tables.points.tolist() == [[0, 2], [1, 1], [2, 0]]
    assert_allclose(tables.symmetrised_rewards[:, :, 0, 0], [[1.0, 0.5, 0.0]] * 3)
    induced = InducedGame(SymmetrisedGame(black_box=game))
    for playing in (0.0, 0.25, 0.5, 0.9):
        assert_allclose(induced.arrays([[1 - playing, playing]])[1], playing, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_games_induce_what_definition_6_says(n, seed):
    """At all points of the lattice, by the compiled game and by both extensions in numpy."""
    p, r = random_tables(np.random.default_rng(seed), n, 2, 2)
    box = from_tables(p, r)
    tables, induced = tabulate_black_box(box), InducedGame(SymmetrisedGame(black_box=box))
    for others, (rows, rewards) in definition_6(p, r).items():
        mu = np.bincount(others, minlength=4).reshape(2, 2) / (n - 1)
        for found in (
            induced.arrays(mu),
            induced_arrays(tables, mu),
            induced_arrays(tables, mu, extension="mcshane", norm="l1"),
        ):
            assert_allclose(found[0], rows, atol=1e-9)
            assert_allclose(found[1], rewards, atol=1e-9)


def test_five_agents_induce_what_definition_6_says():
    p, r = random_tables(np.random.default_rng(5), 5, 2, 2)
    tables = tabulate_black_box(from_tables(p, r))
    for others, (rows, rewards) in definition_6(p, r).items():
        k = int(np.flatnonzero((tables.points == np.bincount(others, minlength=4)).all(axis=1))[0])
        assert_allclose(tables.symmetrised_transitions[:, k].mean(axis=0), rows, atol=1e-12)
        assert_allclose(tables.symmetrised_rewards[:, k].mean(axis=0), rewards, atol=1e-12)


@pytest.mark.parametrize("norm", ["l1", "l2", "largest"])
@pytest.mark.parametrize("side", ["middle", "upper", "lower"])
def test_compiled_extensions_are_those_in_numpy(norm, side):
    """Between the points of the lattice: agents' own extensions, each projected, then their mean."""
    rng = np.random.default_rng(7)
    p, r = random_tables(rng, 3, 2, 2)
    box = from_tables(p, r)
    tables, induced = tabulate_black_box(box), InducedGame(SymmetrisedGame(black_box=box, norm=norm, side=side))
    points = tables.points / 2
    for _ in range(3):
        mu = rng.dirichlet(np.ones(4)).reshape(2, 2)
        found = induced.arrays(mu)
        for s, a in itertools.product(range(2), range(2)):
            rows = [
                McShaneWhitneyRows(points, own[:, s, a], norm=norm, side=side)(mu.ravel())
                for own in tables.symmetrised_transitions
            ]
            rewards = [
                McShaneWhitney(points, own[:, s, a], norm=norm, side=side)(mu.ravel())
                for own in tables.symmetrised_rewards
            ]
            assert_allclose(found[0][s, a], np.mean(rows, axis=0), atol=1e-12)
            assert_allclose(found[1][s, a], np.mean(rewards), atol=1e-12)


def test_three_states_are_projected_onto_the_simplex():
    """Sums of three extended probabilities are not one by themselves, as with two."""
    rng = np.random.default_rng(8)
    p, r = random_tables(rng, 3, 3, 1)
    box = from_tables(p, r)
    tables, induced = tabulate_black_box(box), InducedGame(SymmetrisedGame(black_box=box))
    for _ in range(5):
        mu = rng.dirichlet(np.ones(3)).reshape(3, 1)
        rows, rewards = induced.arrays(mu)
        assert_allclose(rows.sum(axis=-1), 1.0, atol=1e-12)
        plain = induced_arrays(tables, mu, extension="mcshane")
        assert_allclose(rows, plain[0], atol=1e-12)
        assert_allclose(rewards, plain[1], atol=1e-12)
        exact = induced_arrays(tables, mu)
        assert_allclose(exact[0].sum(axis=-1), 1.0, atol=1e-12)
        assert exact[0].min() >= 0.0


def test_compiled_projections_are_those_in_numpy():
    rng = np.random.default_rng(9)
    for vector in rng.normal(0.3, 0.5, size=(50, 5)):
        sorted_ = np.concatenate([[7.0], vector, [7.0]])
        threshold = threshold_of_projection(sorted_, 1, 5)
        assert_allclose(np.maximum(vector - threshold, 0.0), project_to_simplex(vector), atol=1e-12)
        assert sorted_[0] == sorted_[-1] == 7.0


@pytest.mark.slow
def test_the_symmetrised_game_is_its_own_symmetrisation():
    """Among N agents too it has the rules of Definition 6, the agent itself not being one of the others."""
    p, r = random_tables(np.random.default_rng(2), 3, 2, 2)
    box = from_tables(p, r)
    game, expected = SymmetrisedGame(black_box=box), definition_6(p, r)
    disguised = as_black_box(game)
    for others in itertools.product(range(4), repeat=2):
        for agent in range(3):
            rows, rewards = disguised.responses(agent, np.array(others))
            assert_allclose(rows, expected[tuple(sorted(others))][0], atol=1e-12)
            assert_allclose(rewards, expected[tuple(sorted(others))][1], atol=1e-12)
    run = Engine(game, 3, debug=True).rollout(np.full((3, 2, 2), 0.5), seed=1)
    for world, h in itertools.product(range(3), range(game.horizon)):
        pairs = run.states[world, h].astype(int) * 2 + run.actions[world, h]
        for i in range(3):
            earned_ = expected[tuple(sorted(np.delete(pairs, i).tolist()))][1]
            s, a = divmod(int(pairs[i]), 2)
            assert run.rewards[world, h, i] == pytest.approx(earned_[s, a], abs=1e-5)


def test_exploitability_in_an_induced_game_is_that_of_the_best_deterministic_policy():
    p, r = random_tables(np.random.default_rng(3), 3, 2, 2)
    box = from_tables(p, r, initial_distribution=[0.3, 0.7])
    tables, induced = tabulate_black_box(box), InducedGame(SymmetrisedGame(black_box=box))
    policy = random_policy(np.random.default_rng(4), 3, 2, 2)
    mu, rows, rewards = np.array([0.3, 0.7])[:, None] * policy[0], [], []
    for h in range(3):
        arrays = induced_arrays(tables, mu, extension="mcshane")
        rows.append(arrays[0])
        rewards.append(arrays[1])
        if h < 2:
            mu = np.einsum("sa,sat->t", mu, arrays[0])[:, None] * policy[h + 1]
    problem = np.stack(rows), np.stack(rewards)
    own = value([0.3, 0.7], policy, *problem)
    best = max(value([0.3, 0.7], other, *problem) for other in deterministic_policies(3, 2, 2))
    assert induced.exploitability(policy) == pytest.approx(best - own, abs=1e-10)
    assert best - own > 1e-3


def test_an_infinite_black_box_has_a_stationary_flow():
    p, r = random_tables(np.random.default_rng(6), 2, 2, 2)
    induced = InducedGame(SymmetrisedGame(black_box=from_tables(p, r, discount=0.8)))
    flow = induced.flow(induced.uniform_policy())
    assert induced.policy_shape == (1, 2, 2)
    assert_allclose(induced.next_population(induced.uniform_policy(), flow.mu), flow.mu, atol=1e-10)


# Registered games in disguise.


@pytest.mark.parametrize("name", TINY)
def test_a_game_in_disguise_has_the_rules_of_the_simulator(name):
    """P^i against the kernel that debug mode uses, which counts everybody."""
    game = make(name, **TINY[name])
    n, rng, box = game.n_agents, np.random.default_rng(0), as_black_box(game)
    scratch = np.empty(game.n_cells), np.empty(game.n_signals)
    for _ in range(20):
        pairs = rng.integers(game.n_states * game.n_actions, size=n)
        states, actions = np.divmod(pairs, game.n_actions)
        expected = np.empty((n, game.n_states))
        model_kernels(game).rows(
            states, actions, in_double_precision(game.agents), game.constants, *scratch, 0, expected
        )
        for i in range(n):
            rows, _ = box.responses(i, np.delete(pairs, i))
            assert_allclose(rows[states[i], actions[i]], expected[i], atol=1e-12)


def test_agents_who_are_counted_by_who_they_are_are_told_apart():
    """The ferry weighs its passengers, and its price falls with time; its formulas stand in the tests."""
    game = Ferry(n_agents=4)
    rng = np.random.default_rng(1)
    assert not RulesAmongOthers(game).counts_everyone_alike
    assert RulesAmongOthers(game).times == range(3)
    for time in (0, 2):
        box = as_black_box(game, time)
        for _ in range(10):
            pairs = rng.integers(4, size=4)
            states, actions = np.divmod(pairs, 2)
            for i in range(4):
                rows, rewards = box.responses(i, np.delete(pairs, i))
                own = states[i], actions[i]
                assert_allclose(rows[own], row(game, i, states, actions, time), atol=1e-6)
                assert rewards[own] == pytest.approx(earned(game, i, states, actions, time), abs=1e-6)
    with pytest.raises(TypeError, match="Ferry counts agents by who they are"):
        RulesAmongOthers(game).arrays(np.array([[3, 0], [0, 0]]))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "Auction-v0" else name for name in TINY]
)
def test_the_closed_path_is_the_construction_from_a_black_box(name):
    """At every point of the lattice: all joint vectors, each on its own, against one look at the counts."""
    game = make(name, **TINY[name])
    tables, rules = tabulate_black_box(as_black_box(game)), RulesAmongOthers(game)
    induced, shape = InducedGame(game), (game.n_states, game.n_actions)
    for k, counts in enumerate(tables.points):
        rows = tables.symmetrised_transitions[:, k].mean(axis=0)
        rewards = tables.symmetrised_rewards[:, k].mean(axis=0)
        found = [rules.arrays(counts.reshape(shape))]
        if name in READ_SHARES_ONLY:
            found.append(induced.arrays(counts.reshape(shape) / (game.n_agents - 1)))
        for p, r in found:
            assert_allclose(p, rows, atol=1e-12)
            assert_allclose(r, rewards, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_closed_path_of_random_games_is_definition_6(n):
    """Tables of every agent for all others, from the games' formulas, and all permutations of these."""
    game = RandomGame(n_agents=n, tables=n, pull=0.6, interest=0.7, heterogeneity=0.8)
    shape = (n, 2, 2) + (4,) * (n - 1)
    p, r = np.empty((*shape, 2)), np.empty(shape)
    for i, *others in itertools.product(range(n), *[range(4)] * (n - 1)):
        sigma = np.bincount(others, minlength=4).reshape(2, 2) / (n - 1)
        p[(i, slice(None), slice(None), *others)], r[(i, slice(None), slice(None), *others)] = arrays(
            game, i, sigma
        )
    closed, induced = RulesAmongOthers(game), InducedGame(game)
    for others, (rows, rewards) in definition_6(p, r).items():
        counts = np.bincount(others, minlength=4).reshape(2, 2)
        for found in (closed.arrays(counts), induced.arrays(counts / (n - 1))):
            assert_allclose(found[0], rows, atol=1e-7)
            assert_allclose(found[1], rewards, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_closed_path_of_other_registered_games(name):
    """Games that are too large to enumerate: at random joint vectors, in two orders."""
    game = make(name, n_agents=4)
    rules, rng = RulesAmongOthers(game), np.random.default_rng(0)
    assert rules.counts_everyone_alike
    n_pairs, shape = game.n_states * game.n_actions, (game.n_states, game.n_actions)
    for time in {0, len(rules.times) // 2, len(rules.times) - 1}:
        box = as_black_box(game, time)
        for _ in range(3):
            pairs = rng.integers(n_pairs, size=3)
            own = [box.responses(i, order) for i in range(4) for order in (pairs, pairs[::-1])]
            found = rules.arrays(np.bincount(pairs, minlength=n_pairs).reshape(shape), time)
            for k in (0, 1):
                assert_allclose(found[k], np.mean([tables[k] for tables in own], axis=0), atol=1e-9)


def test_rules_that_draw_without_replacement_come_to_the_mean_field_with_the_number_of_agents():
    """The auction among N agents: opponents drawn from finitely many. The difference falls as 1 / N."""
    gaps = []
    for n in (20, 200, 2000):
        game = make("Auction-v0", **{**TINY["Auction-v0"], "n_agents": n + 1, "heterogeneity": 0.0})
        counts = np.array([[0.1, 0.2], [0.2, 0.15], [0.25, 0.1]]) * n
        p, r = RulesAmongOthers(game).arrays(np.rint(counts).astype(int))
        mean_field = InducedGame(game).arrays(counts / n)
        gaps.append(max(np.abs(p - mean_field[0]).max(), np.abs(r - mean_field[1]).max()))
    assert gaps[0] > 1e-4
    assert_allclose([gaps[0] / gaps[1], gaps[1] / gaps[2]], 10.0, rtol=0.2)


def test_the_population_is_that_of_the_others_at_any_number_of_agents():
    game = make("Epidemic-v0", n_agents=10_001)
    counts = np.array([[1000, 4000], [2000, 3000]])
    for mine, plain in zip(
        RulesAmongOthers(game).arrays(counts), InducedGame(game).arrays(counts / 10_000), strict=True
    ):
        assert_allclose(mine, plain, atol=1e-11)


# Bad input.


def box(transition=lambda *_: [1.0, 0.0], reward=lambda *_: 0.0, **terms):
    return BlackBoxGame(
        transition, reward, **{"n_agents": 3, "n_states": 2, "n_actions": 2, "horizon": 1, **terms}
    )


def at(wrong, right):
    """``right``, but ``wrong`` for agent 1 in state 0 with action 1 among others (1, 0) and (0, 1)."""

    def rule_(agent, state, action, others):
        is_there = (agent, state, action, others.tolist()) == (1, 0, 1, [[1, 0], [0, 1]])
        return wrong if is_there else right

    return rule_


def disguised():
    return as_black_box(make("Epidemic-v0", n_agents=3, horizon=2))


def among():
    return RulesAmongOthers(make("Epidemic-v0", n_agents=3, horizon=2))


WHERE = r"\(agent=1, state=0, action=1, others=\[\[1, 0\], \[0, 1\]\]\)"


@pytest.mark.parametrize(
    "row", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [1.0], [[0.5, 0.5]], "half", None, [0.5, "x"], [1j, 0]]
)
def test_rows_that_are_no_probabilities_are_named(row):
    with pytest.raises(ValueError, match=f"transition{WHERE} must return 2 probabilities that sum to 1, got "):
        tabulate_black_box(box(transition=at(row, [1.0, 0.0])))


@pytest.mark.parametrize("earned", [np.nan, np.inf, "much", None, [1.0], True])
def test_rewards_that_are_not_finite_are_named(earned):
    with pytest.raises(ValueError, match=f"reward{WHERE} must return a finite number, got "):
        tabulate_black_box(box(reward=at(earned, 0.0)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: box(transition=3), TypeError, "transition must be a callable transition"),
        (lambda: box(n_agents=1), ValueError, "n_agents must be an integer in"),
        (lambda: box(n_states=0), ValueError, "n_states"),
        (lambda: box(discount=0.0), ValueError, "discount"),
        (lambda: box(sees_counts=1), TypeError, "sees_counts must be True or False"),
        (lambda: box(initial_distribution=[0.5, 0.6]), ValueError, "initial_distribution must be probabilities"),
        (lambda: SymmetrisedGame(black_box=3), TypeError, "black_box must be a BlackBoxGame, got 3"),
        (lambda: SymmetrisedGame(black_box=box(), norm="l3"), ValueError, "norm must be one of"),
        (lambda: SymmetrisedGame(black_box=box(), side="up"), ValueError, "side must be one of"),
        (
            lambda: tabulate_black_box(box(n_agents=12)),
            ValueError,
            r"12 agents with 2 states and 2 actions takes 201326592 evaluations, more than 1000000 \(39916800"
            r" permutations of the others\): take fewer agents, say sees_counts=True .* or estimate by sampling",
        ),
        (
            lambda: as_black_box(make("Epidemic-v0", horizon=2), 2),
            ValueError,
            r"time must be an integer in \[0, 1\]",
        ),
        (lambda: as_black_box(box()), TypeError, "game must be a FiniteGame"),
        (lambda: box().responses(3, np.zeros(2, int)), ValueError, r"agent must be an integer in \[0, 2\], got 3"),
        (lambda: box().responses(0, np.array([0, 4])), ValueError, r"pairs\[1\] must be an integer in \[0, 3\]"),
        (
            lambda: disguised().responses(0, np.array([0, 4])),
            ValueError,
            r"pairs\[1\] must be an integer in \[0, 3\]",
        ),
        (lambda: disguised().responses(0, np.zeros(3, int)), ValueError, r"pairs must have shape \(2,\)"),
        (lambda: disguised().reward(0, 0, 0, np.array([[0, 2], [0, 0]])), ValueError, "others"),
        (lambda: disguised().reward(3, 0, 0, np.zeros((2, 2), int)), ValueError, "agent must be an integer"),
        (
            lambda: among().arrays(np.array([[1, 0], [0, 0]])),
            ValueError,
            "counts must sum to N - 1 = 2, got a sum of 1",
        ),
        (lambda: among().arrays(np.array([[3, 0], [0, -1]])), ValueError, r"counts\[0, 0\] must be an integer in"),
        (lambda: among().arrays(np.array([[2, 0]])), ValueError, "counts must have shape"),
        (lambda: among().arrays(np.array([[2, 0], [0, 0]]), 2), ValueError, "time must be an integer in"),
        (
            lambda: tabulate_black_box(box(reward=lambda i, s, a, o: float(o[0, 1]), sees_counts=True)),
            ValueError,
            "sees_counts must be False: agent",
        ),
        (
            lambda: induced_arrays(tabulate_black_box(box()), np.full((2, 2), 0.25), norm="l1"),
            ValueError,
            "norm must be 'l2' for Kirszbraun's theorem",
        ),
        (lambda: induced_arrays(tabulate_black_box(box()), np.full((2, 2), 0.3)), ValueError, "mu must hold"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_others_cannot_be_changed():
    def transition(agent, state, action, others):
        others[0] = 0
        return [1.0, 0.0]

    with pytest.raises(ValueError, match="read-only"):
        tabulate_black_box(box(transition=transition))


def test_counts_are_enough_for_a_game_that_reads_counts():
    """One evaluation for each point of the lattice, and the same tables."""

    def reward(i, s, a, others):
        return (i + 1) * float((others[:, 1] == a).mean()) ** 2

    full, short = (tabulate_black_box(box(reward=reward, n_agents=4, sees_counts=c)) for c in (False, True))
    assert short.rewards.shape[1] == len(short.points) == 20
    assert full.rewards.shape[1] == 64
    assert_allclose(short.symmetrised_rewards, full.symmetrised_rewards, atol=1e-15)


def test_a_rule_that_returns_a_bad_row_for_one_agent_is_named():
    game = make("Epidemic-v0", n_agents=4, horizon=2)
    game.agents.flags.writeable = True
    game.agents["recovery"][2] = 1.25
    with pytest.raises(ValueError, match=r"Epidemic\.transition must return .* for agent 2 among others"):
        RulesAmongOthers(game).arrays(np.array([[2, 0], [1, 0]]))
    with pytest.raises(ValueError, match=r"Epidemic\.transition .* for agent 2 among others \[\[0, 0\], \[1, 0\]"):
        as_black_box(game).responses(2, np.array([0, 2, 0]))


def test_weights_that_are_all_equal_count_everyone_alike():
    """The ferry's rule reads its passengers' sizes, but here they all have one."""
    game = Ferry(n_agents=4)
    game.agents.flags.writeable = True
    game.agents["size"] = 0.75
    rules = RulesAmongOthers(game)
    assert rules.counts_everyone_alike
    tables = tabulate_black_box(as_black_box(game, 1))
    for k, counts in enumerate(tables.points):
        p, r = rules.arrays(counts.reshape(2, 2), 1)
        assert_allclose(p, tables.symmetrised_transitions[:, k].mean(axis=0), atol=1e-12)
        assert_allclose(r, tables.symmetrised_rewards[:, k].mean(axis=0), atol=1e-12)
