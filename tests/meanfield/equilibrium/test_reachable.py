"""Mirror descent over what can be reached: against the flows, values and mirror descent over all states."""

import itertools

import branching
import numpy as np
import pytest

import mfenvs
from mfenvs import FiniteGame, InducedGame
from mfenvs.meanfield.equilibrium import reachable
from mfenvs.meanfield.equilibrium.reachable import ReachableDescent, can_list

CORNER = ["S....", ".....", ".....", "....."]


class Alike(branching.ByBranches):
    """A random game whose agents are all alike."""

    def draw_agents(self, rng: np.random.Generator) -> np.ndarray:
        agents = super().draw_agents(rng)
        agents["pull"] = 0.75
        return agents


def made(name: str) -> FiniteGame:
    """P that varies, counts by a rule and masks; P that does not vary and cells; P that varies and pairs."""
    return {
        "routing": lambda: mfenvs.make("DynamicRouting-v0"),
        "crowd": lambda: mfenvs.make("CrowdModelling2D-v0", horizon=4, layout=CORNER),
        "pairs": lambda: Alike(tables=4, first=2),
    }[name]()


def descended(induced: InducedGame, n: int, rate: float) -> tuple[ReachableDescent, np.ndarray, float]:
    """A descent after n iterations, its policy, and the exploitability that it tells."""
    descent = ReachableDescent(induced)
    done, gap = descent._run(descent.pairs.policy, n, rate, -1.0)
    assert done == n
    policy = induced.uniform_policy()
    reachable.write_policy(descent.pairs, descent.pairs.policy, policy)
    return descent, policy, gap


def by_hand(induced: InducedGame, n: int, rate: float) -> np.ndarray:
    """Mirror descent over all states."""
    policy = induced.uniform_policy()
    is_open, scores = policy > 0.0, np.zeros(policy.shape)
    for _ in range(n):
        scores += rate * induced.evaluate(policy)
        weights = np.where(
            is_open, np.exp(scores - scores.max(axis=-1, keepdims=True, where=is_open, initial=-1e9)), 0
        )
        policy = weights / weights.sum(axis=-1, keepdims=True)
    return policy


@pytest.mark.parametrize(
    "name",
    [pytest.param("routing", marks=pytest.mark.slow), "crowd", pytest.param("pairs", marks=pytest.mark.slow)],
)
def test_it_is_mirror_descent_with_the_exact_exploitability(name: str) -> None:
    induced = InducedGame(made(name), sparse=True)
    for n in (0, 1, 7):
        descent, policy, gap = descended(induced, n, 0.05)
        assert gap == pytest.approx(induced.exploitability(policy), abs=1e-11)
        expected = by_hand(induced, n, 0.05)
        # Where P varies, states may have been reached later than in the first iteration.
        if n <= 1 or not induced.kernels.varies:
            mass = induced.flow(policy).mu.sum(axis=-1)
            np.testing.assert_allclose(policy[mass > 0.0], expected[mass > 0.0], atol=1e-12)
        assert 0 < descent.pairs.sizes.sum() < 0.95 * np.prod(induced.policy_shape[:2])


def test_lists_hold_all_that_can_be_reached_and_each_once() -> None:
    induced = InducedGame(made("crowd"), sparse=True)
    pairs = descended(induced, 0, 1.0)[0].pairs
    expected = induced.flow(induced.uniform_policy()).mu.sum(axis=-1) > 0.0
    for time, row in enumerate(expected):
        assert sorted(pairs.states[time, : pairs.sizes[time]]) == list(np.flatnonzero(row))
    # Every action is allowed: the pairs of a state are one for each.
    assert pairs.total[0] == expected.sum() * induced.n_actions
    begins = sorted(
        (int(pairs.firsts[h, i]), int(pairs.lasts[h, i]))
        for h in range(induced.n_times)
        for i in range(pairs.sizes[h])
    )
    assert begins[0][0] == 0
    assert all(one[1] == other[0] for one, other in itertools.pairwise(begins))


def test_bad_actions_are_left_out_by_their_margin() -> None:
    induced = InducedGame(made("crowd"), sparse=True)
    descent, policy, _ = descended(induced, 3, 0.05)
    q = induced.evaluate(policy)
    for margin in (1e-6, 0.05, 0.3):
        reachable.sharpen(margin, descent.pairs)
        sharp = induced.uniform_policy()
        reachable.write_policy(descent.pairs, descent.pairs.sharp, sharp)
        kept = np.where(q >= q.max(axis=-1, keepdims=True) - margin, policy, 0.0)
        kept /= kept.sum(axis=-1, keepdims=True)
        mass = induced.flow(policy).mu.sum(axis=-1) > 0.0
        np.testing.assert_allclose(sharp[mass], kept[mass], atol=1e-10)
    assert not np.allclose(sharp, policy)


def told(descent: ReachableDescent, rate: float, tolerance: float) -> tuple[int, np.ndarray]:
    """The number of iterations until a policy is told, and the policy."""
    done = 0
    for n, policy in itertools.islice(descent.candidates(rate, tolerance, lambda: 0.0), 100):
        done += n
        if policy is not None:
            return done, policy
    raise AssertionError("no policy is told")


def test_policies_are_told_when_they_are_good_enough() -> None:
    induced = InducedGame(made("routing"), sparse=True)
    _, policy = told(ReachableDescent(induced), 2.0, 1e-9)
    assert induced.exploitability(policy) <= 1e-9


def test_policies_without_bad_actions_are_tried() -> None:
    """Where nobody minds others, one action is better by a margin, and mirror descent never quite plays it."""
    game = mfenvs.make("CrowdModelling2D-v0", horizon=4, layout=CORNER, aversion=0.0)
    induced = InducedGame(game, sparse=True)
    _, policy = told(descent := ReachableDescent(induced), 3.0, 1e-9)
    assert induced.exploitability(policy) <= 1e-9
    itself = induced.uniform_policy()
    reachable.write_policy(descent.pairs, descent.pairs.policy, itself)
    assert induced.exploitability(itself) > 1e-8


def test_other_policies_are_told_after_a_while() -> None:
    clock = itertools.count()
    found = ReachableDescent(InducedGame(made("crowd"), sparse=True)).candidates(1.0, 0.0, lambda: next(clock))
    steps = [policy for _, policy in itertools.islice(found, 40)]
    assert 2 < sum(policy is not None for policy in steps) < 40


def test_a_run_that_cannot_get_better_takes_smaller_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps that are far too large alone, nothing is solved."""
    induced = InducedGame(made("routing"), sparse=True)

    def least(n: int) -> float:
        found = ReachableDescent(induced).candidates(100.0, 1e-9, lambda: next(ticks))
        gaps = [induced.exploitability(p) for _, p in itertools.islice(found, n) if p is not None]
        return min(gaps)

    ticks = itertools.count()
    adapted = least(100)
    monkeypatch.setattr(reachable, "PATIENCE", 10**9)
    assert adapted < 0.5 * least(100)


def test_rows_that_are_no_laws_end_the_run() -> None:
    """Where more than .6 do 0 in state 0, a branch leads to no state."""
    descent = ReachableDescent(InducedGame(Alike(tables=4, first=0, crowd=0.6, beyond=5), sparse=True))
    assert descent._run(descent.pairs.policy, 0, 1.0, 0.0)[0] == 0
    leaking = Alike(tables=4, first=0, crowd=0.6, leak=0.1)
    arrays, descent._arrays = descent._arrays, descent._arrays._replace(constants=leaking.constants)
    assert descent._run(descent.pairs.policy, 0, 1.0, 0.0)[0] == -1
    descent._arrays = arrays
    descent.pairs.policy[:2] = 1.0, 0.0
    assert descent._run(descent.pairs.policy, 0, 1.0, 0.0)[0] == -1
    descent.pairs.scores[:2] = 9.0, 0.0
    [(_, policy)] = descent.candidates(1e-6, 0.0, lambda: 0.0)
    assert policy is not None
    with pytest.raises(ValueError, match="branch must return a next_state"):  # which is what the caller is told
        descent.induced.exploitability(policy)


def test_only_large_games_of_which_little_is_reached_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "LARGE", 1)
    for name, few, expected in (("routing", 0.9, True), ("routing", 1e-3, False)):
        monkeypatch.setattr(reachable, "FEW", few)
        induced = InducedGame(made(name), sparse=True)
        induced.exploitability(induced.uniform_policy())
        assert can_list(induced) is expected
    monkeypatch.setattr(reachable, "FEW", 1.0)
    dense = InducedGame(made("crowd"), sparse=False)
    dense.exploitability(dense.uniform_policy())
    assert not can_list(dense)
    # Agents who differ, where P varies, need rows that are merged.
    differing = InducedGame(branching.ByBranches(), sparse=True)
    differing.exploitability(differing.uniform_policy())
    assert not can_list(differing)


def test_solve_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "LARGE", 1)
    monkeypatch.setattr(reachable, "FEW", 1.0)
    solution = mfenvs.solve(made("routing"))
    assert solution.is_solved
    assert solution.method == "mirror descent"
    assert len(solution.history) == 2
    assert solution.exploitability == InducedGame(made("routing")).exploitability(solution.policy)
