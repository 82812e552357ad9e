"""mfenvs.solve: known equilibria, its certificate, its limits and bad input."""

import itertools

import branching
import numpy as np
import pytest

import mfenvs
from mfenvs import InducedGame, rule
from mfenvs.meanfield.equilibrium.barrier_path import BarrierPath
from mfenvs.meanfield.equilibrium.candidate import Candidate
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.equilibrium.solve import _Search
from mfenvs.meanfield.stopping import Stopped

SOLVED = {
    "LeftRight-v0": "interior point",
    "WeightedRockPaperScissors-v0": "barrier path",
    "BeachBar-v0": "interior point",
    "CrowdModelling-v0": "interior point",
    "LasryLionsChain-v0": "barrier path",
    "DiscountedEpidemic-v0": "barrier path",
    # One action is the best whatever others do.
    "SocialDilemma-v0": "best responses",
    "TreasureHunting-v0": "best responses",
}
"""Games, and the methods that solve them."""


@pytest.mark.parametrize("name", SOLVED)
def test_games_are_solved(name: str) -> None:
    solution = mfenvs.solve(name, tolerance=1e-7)
    assert solution.is_solved
    assert solution.method == SOLVED[name]
    induced = InducedGame(mfenvs.make(name))
    # A stationary law is found again from near by; the search from the initial law may be less accurate.
    start = solution.flow.mu[0].sum(axis=-1) if induced.game.is_infinite else None
    found = induced.exploitability(solution.policy, start=start)
    assert found == pytest.approx(solution.exploitability, abs=1e-12)
    assert induced.exploitability(solution.policy) == pytest.approx(solution.exploitability, abs=1e-9)
    assert solution.exploitability <= 1e-7
    np.testing.assert_allclose(solution.flow.mu, induced.flow(solution.policy, start=start).mu, atol=1e-14)
    np.testing.assert_allclose(solution.flow.mu, induced.flow(solution.policy).mu, atol=1e-9)


def test_known_equilibria() -> None:
    """Left-right: p = 2 (1 - p). Rock-paper-scissors: 2 s - p = 4 r - 2 s = 6 p - 3 r, at r + p + s = 1."""
    left = mfenvs.solve("LeftRight-v0", tolerance=1e-9).policy
    np.testing.assert_allclose(left[0, 0], [2 / 3, 1 / 3], atol=1e-8)
    mixed = mfenvs.solve("WeightedRockPaperScissors-v0", tolerance=1e-9).policy
    np.testing.assert_allclose(mixed[0, 0], np.array([26, 20, 31]) / 77, atol=1e-8)


def test_a_path_that_folds_is_followed() -> None:
    induced = InducedGame(mfenvs.make("Epidemic-v0"))
    sensitivity = Sensitivity(induced, np.random.default_rng(0))
    path = BarrierPath(induced, sensitivity, induced.uniform_policy(), 5e-7)
    down = [induced.exploitability(found.policy) for found in path.by_curves()]
    assert min(down) > 1e-4
    along = [induced.exploitability(found.policy) for found in path.followed() if found is not None]
    assert along[-1] <= 1e-6
    assert path.n_new_steps() > len(down) + len(along) - 1
    assert path.n_new_steps() == 0


def test_where_a_path_folds_a_pure_equilibrium_is_found_before_its_end() -> None:
    solution = mfenvs.solve("Epidemic-v0")
    assert solution.is_solved
    assert solution.method == "asynchronous best responses"


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_random_games(discount: float) -> None:
    for tables in range(3):
        solution = mfenvs.solve(branching.ByRows(tables=tables, discount=discount))
        assert solution.is_solved
        assert solution.exploitability <= 1e-6


class Gated(branching.ByRows):
    """A random game in which action 1 is masked in even states."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 0 or state % 2 == 1


@pytest.mark.parametrize("game", ["BeachBar-v0", "RepeatedRockPaperScissors-v0", "PredatorPrey-v0", Gated])
def test_the_certificate_tells_the_best_response(game: str | type) -> None:
    induced = InducedGame(mfenvs.make(game) if isinstance(game, str) else game(tables=3))
    policy = induced.uniform_policy()
    induced.exploitability(policy)
    flow = induced.flow(policy)
    np.testing.assert_array_equal(induced.last_best_response(), induced.best_response(flow))
    np.testing.assert_array_equal(induced.last_population(), flow.mu)


def ticking(step: float):
    """A clock that advances by so many seconds whenever it is asked."""
    ticks = itertools.count()
    return lambda: step * next(ticks)


def test_the_time_limit_is_kept_and_the_best_policy_returned() -> None:
    solution = mfenvs.solve("BeachBar-v0", tolerance=0.0, seconds=50.0, clock=ticking(1.0))
    assert solution.stopped is Stopped.TIME
    assert not solution.is_solved
    assert solution.exploitability == min(report.exploitability for report in solution.history)
    assert solution.exploitability < InducedGame(mfenvs.make("BeachBar-v0")).exploitability(
        InducedGame(mfenvs.make("BeachBar-v0")).uniform_policy()
    )


def test_a_turn_tells_the_exploitability_of_its_own_policies() -> None:
    """Others are evaluated in between, and their exploitability is another one."""
    search = _Search(mfenvs.make("BeachBar-v0"), 0.0, 10.0, None, 0, lambda: 0.0)
    uniform = search.induced.uniform_policy()
    turn = search._turn("own", iter([Candidate(uniform), None]), 1.0)
    while True:
        try:
            _, candidate = next(turn)
        except StopIteration as ended:
            least = ended.value
            break
        search._judge(candidate, "own")
        search._judge(Candidate(search.induced.last_best_response()), "other")
    assert least == search.induced.exploitability(uniform)
    assert least != search.history[-1].exploitability


def test_the_time_is_looked_at_where_no_method_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Search, "_descent", lambda *_: iter([]))
    monkeypatch.setattr(_Search, "_sensitivity", lambda *_: None)
    solution = mfenvs.solve("BeachBar-v0", tolerance=0.0, seconds=500.0, clock=ticking(1.0))
    assert solution.stopped is Stopped.TIME


@pytest.mark.slow
def test_other_methods_take_over_where_the_path_ends_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tolerance of 0 the path ends above it: mirror descent and paths from other policies take turns."""
    methods, judge = set(), _Search._judge
    every = {"best responses", "barrier path", "proximal barrier paths", "mirror descent", "another barrier path"}

    def look(search: _Search, candidate, method: str) -> Stopped | None:
        methods.add(method)
        stopped = judge(search, candidate, method)
        # An exploitability of 0 by luck is no reason to stop here.
        return Stopped.CALLBACK if every <= methods else None if stopped is Stopped.TOLERANCE else stopped

    monkeypatch.setattr(_Search, "_judge", look)
    solution = mfenvs.solve("WeightedRockPaperScissors-v0", tolerance=0.0, seconds=12.0)
    assert solution.exploitability < 1e-10
    assert solution.stopped is Stopped.CALLBACK


@pytest.mark.parametrize("name", ["CrowdModelling-v0", "RandomLinear-v0"])
def test_games_that_end_are_solved_near_the_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or on it, where the descent ends too early."""
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.solve.can_use_interior_point", lambda *_: False)
    solution = mfenvs.solve(name)
    assert solution.is_solved
    assert solution.method == "barrier path"


@pytest.mark.parametrize(
    ("limit", "name"),
    [("solve.OPERATIONS_PER_SECOND", "LeftRight-v0"), ("sensitivity.MOST_SLOPES", "RandomLinear-v0")],
)
def test_mirror_descent_alone_solves_a_game_that_is_too_large_for_newtons_method(
    limit: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"mfenvs.meanfield.equilibrium.{limit}", 0)
    solution = mfenvs.solve(name, tolerance=1e-3, seconds=20.0)
    assert solution.is_solved
    assert solution.method == "mirror descent"


def test_a_callback_ends_the_search_and_so_does_ctrl_c() -> None:
    seen = []

    def stop(report):
        seen.append(report)
        return len(seen) < 3

    solution = mfenvs.solve("BeachBar-v0", callback=stop)
    assert solution.stopped is Stopped.CALLBACK
    assert len(solution.history) == 3 == len(seen)

    def interrupt(report):
        if report.iteration > 6:
            raise KeyboardInterrupt

    solution = mfenvs.solve("BeachBar-v0", callback=interrupt)
    assert solution.stopped is Stopped.INTERRUPTED
    assert solution.exploitability < seen[0].exploitability


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"seconds": 0.0}, "seconds"),
        ({"callback": 3}, "callback"),
        ({"seed": -1}, "seed"),
        ({"clock": 0.0}, "clock"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        mfenvs.solve("LeftRight-v0", **arguments)


def test_games_that_are_not_finite_are_refused() -> None:
    with pytest.raises(TypeError, match="finite"):
        mfenvs.solve("Taxi-v0")
    with pytest.raises(ValueError, match="unknown game"):
        mfenvs.solve("NoSuchGame-v0")


NEAR = {
    "GraphonEpidemic-v0": 0.1,
}
"""Games that are not solved within the time, and the exploitability that is reached."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(mfenvs.registered_games("classic")) - set(SOLVED)))
def test_classic_games(name: str) -> None:
    solution = mfenvs.solve(name, seconds=10.0 if name in NEAR else 120.0)
    assert solution.exploitability <= NEAR.get(name, 1e-6)


def test_masked_actions_are_never_taken() -> None:
    solution = mfenvs.solve(Gated(tables=3))
    assert solution.is_solved
    np.testing.assert_array_equal(solution.policy[:, ::2, 1], 0.0)
    assert (solution.policy[:, 1::2, 1] > 0.0).all()


def test_a_path_that_stalls_is_left_for_others_near_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.solve.STALL", 80)
    monkeypatch.setattr("mfenvs.meanfield.equilibrium.solve.can_revise", lambda _: False)
    judge, least = _Search._judge, {"barrier path": np.inf, "proximal barrier paths": np.inf}

    def look(search: _Search, candidate, method: str) -> Stopped | None:
        stopped = judge(search, candidate, method)
        if candidate is not None and method in least:
            least[method] = min(least[method], candidate.exploitability)
        return Stopped.CALLBACK if least["proximal barrier paths"] < 0.5 * least["barrier path"] else stopped

    monkeypatch.setattr(_Search, "_judge", look)
    solution = mfenvs.solve("Epidemic-v0", seconds=200.0)
    assert solution.stopped is Stopped.CALLBACK
    assert solution.method == "proximal barrier paths"
