"""Reproductions on how exploitable mean-field equilibria are by heterogeneity and by N, on small cases."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.__main__ import main
from benchmarks.reproduce import heterogeneity, population_size
from benchmarks.reproduce.equilibrium import find_equilibrium
from benchmarks.reproduce.given_agents import with_agents
from benchmarks.reproduce.promised import promised
from benchmarks.reproduce.weighted_slope import weighted_slope
from mfenvs import Engine, InducedGame, make
from mfenvs.meanfield.symmetry import approximate_symmetry

N = np.array([10.0, 100.0, 1000.0, 10_000.0])


@pytest.mark.parametrize("slope", [-1.0, -0.5, 0.25])
def test_the_slope_of_a_power_law_is_its_exponent(slope: float) -> None:
    y = 3.0 * N**slope
    fit = weighted_slope(N, y, 0.01 * y)
    assert fit.value == pytest.approx(slope, abs=1e-12)
    assert fit.intercept == pytest.approx(math.log(3.0), abs=1e-12)
    # Four equal weights, log x at distances 1.5, 0.5, 0.5, 1.5 times log 10 from the middle; t(2) = 4.302653.
    expected = 4.302653 * 0.01 / (math.log(10.0) * math.sqrt(5.0))
    assert fit.half_width == pytest.approx(expected, rel=1e-6)


def test_scatter_beyond_the_errors_widens_the_interval() -> None:
    y = N**-1.0 * np.exp([0.3, -0.3, -0.3, 0.3])
    narrow, wide = (weighted_slope(N, y, error * y) for error in (1e-3, 1.0))
    assert narrow.value == pytest.approx(-1.0) == wide.value
    # The residuals are +-0.3: their weighted square over n - 2 is 2 (0.3 / error)^2.
    assert narrow.half_width == pytest.approx(
        4.302653 * math.sqrt(2.0) * 0.3 / (math.log(10) * math.sqrt(5.0)), rel=1e-6
    )
    assert wide.half_width == pytest.approx(4.302653 / (math.log(10) * math.sqrt(5.0)), rel=1e-6)


def test_intervals_of_slopes_cover_the_truth() -> None:
    """Of 2000 samples 95 % must cover: less than 92.5 % or more than 97.5 % has a chance below 1e-6."""
    rng = np.random.default_rng(0)
    n = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
    errors = 0.02 * n**-0.5 * np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    fits = [weighted_slope(n, n**-0.5 + errors * rng.standard_normal(5), errors) for _ in range(2000)]
    covered = np.mean([fit.interval[0] <= -0.5 <= fit.interval[1] for fit in fits])
    # Never narrower than by the errors given, so that they cover more often than 95 %.
    assert covered > 0.925
    assert np.mean([fit.value for fit in fits]) == pytest.approx(-0.5, abs=0.005)


@pytest.mark.parametrize(
    ("y", "errors", "message"),
    [
        ([1.0, 0.5], [0.1, 0.1], "at least 3 points, got 2"),
        ([1.0, -0.5, 0.2], [0.1, 0.1, 0.1], "y must be positive"),
        ([1.0, 0.5, 0.2], [0.1, 0.0, 0.1], "standard_errors must be positive"),
        ([1.0, 0.5, 0.2], [0.1, 0.1], "one shape"),
    ],
)
def test_slopes_refuse_bad_points(y: list[float], errors: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_slope(np.arange(1.0, len(y) + 1.0), y, errors)


def rows(gains: np.ndarray, floor: float) -> list[dict]:
    return [
        {
            "n_agents": int(n),
            "gain": gain,
            "gain_standard_error": 1e-4,
            "floor": floor,
            "mean_field_exploitability": 1e-7,
        }
        for n, gain in zip(N, gains, strict=True)
    ]


def test_the_slope_is_that_of_the_excess_over_the_floor() -> None:
    found = population_size.curve(rows(0.4 + 2.0 * N**-0.5, 0.4)[::-1])
    assert [row["n_agents"] for row in found["rows"]] == N.tolist()
    assert found["slope"]["slope"] == pytest.approx(-0.5)
    assert found["slope"]["n_agents"] == N.tolist()


def test_only_resolved_sizes_up_to_the_first_unresolved_one_are_fitted() -> None:
    gains = 0.4 + np.array([0.1, 0.01, 2e-4, 0.1])
    assert population_size.curve(rows(gains, 0.4))["slope"] is None
    gains[2] = 0.4 + 1e-3
    gains[3] = 0.4 + 2e-4
    slope = population_size.curve(rows(gains, 0.4))["slope"]
    assert slope["n_agents"] == [10, 100, 1000]
    assert slope["slope"] == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("name", ["Epidemic-v0", "RockPaperScissors-v0", "Congestion-v0"])
def test_equilibria_are_as_good_as_the_barrier_promises(name: str) -> None:
    game = make(name, n_agents=10)
    found = find_equilibrium(game)
    exact = InducedGame(game).exploitability(found.policy)
    assert found.exploitability == exact
    assert exact <= 1.02 * game.horizon * game.n_actions * 1e-8
    assert found.policy.sum(axis=-1) == pytest.approx(1.0)
    assert (found.policy >= 0.0).all()


def test_given_agents_are_repeated_in_turn() -> None:
    few = make("Epidemic-v0", n_agents=3)
    many = with_agents(few, few.agents, 7)
    assert many.n_agents == 7
    for field in few.agents.dtype.names:
        own = few.agents[field]
        assert many.agents[field].tolist() == [*own, *own, own[0]]
    assert many.horizon == few.horizon
    assert InducedGame(with_agents(few, few.agents, 9)).shares == pytest.approx([1 / 3] * 3)


def test_mirrored_agents_leave_the_induced_game_as_it_is() -> None:
    for sweep in heterogeneity.SWEEPS:
        game = heterogeneity.mirrored_game(sweep, sweep.half_widths[-1], 0, 50)
        equal = heterogeneity.mirrored_game(sweep, 0.0, 0, 50)
        mu = np.array([[0.1, 0.4], [0.2, 0.3]])
        for ours, theirs in zip(InducedGame(game).arrays(mu), InducedGame(equal).arrays(mu), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-7)
        symmetry = approximate_symmetry(game)
        other = {"alpha": "beta", "beta": "alpha"}[sweep.asymmetry]
        assert getattr(symmetry, sweep.asymmetry) > 0.8 * sweep.half_widths[-1]
        assert getattr(symmetry, other) == pytest.approx(0.0, abs=1e-6)


def test_the_floor_of_rock_paper_scissors_is_the_gain_at_its_own_rewards() -> None:
    """The next state is the action and P ignores the others: by hand, a maximum over paths of the rewards."""
    game = make("RockPaperScissors-v0", n_agents=2, horizon=2, agents_seed=3)
    induced = InducedGame(game)
    policy = induced.uniform_policy()
    mu, gains = induced.flow(policy).mu, []
    for kind in np.unique(np.asarray(game.agents)):
        reward = InducedGame(with_agents(game, np.array([kind]), 2)).arrays
        first, second = (reward(law)[1] for law in mu)
        best = np.mean([max(first[s, a] + second[a].max() for a in range(3)) for s in range(3)])
        own = np.mean([first[s, a] + second[a].mean() for s in range(3) for a in range(3)])
        gains.append(best - own)
    assert population_size.floor(game, policy) == pytest.approx(gains)


@pytest.mark.parametrize("in_induced_flow", [True, False])
def test_the_floor_is_in_the_flow_of_all_kinds_together(in_induced_flow: bool) -> None:
    """A-SIS with two kinds, its formula written out, all 256 deterministic policies tried.

    In the flow of the induced game one law is moved by the mean of the kinds' parameters; in that of many agents
    every kind has its own.
    """
    game = make("Epidemic-v0", n_agents=2, horizon=4, agents_seed=1, alpha_width=0.1)
    policy = np.tile([0.3, 0.7], (4, 2, 1))

    def step(agent, law: np.ndarray, going: np.ndarray, out_and_infected: float) -> np.ndarray:
        caught = float(agent["susceptibility"]) * out_and_infected * going[1]
        infected = law[0] * (1.0 - float(agent["recovery"])) + law[1] * caught
        return np.array([infected, 1.0 - infected])

    kinds = np.unique(np.asarray(game.agents))
    movers = [{name: kinds[name].mean(dtype=np.float64) for name in kinds.dtype.names}]
    if not in_induced_flow:
        movers = list(kinds)
    laws, shares = np.full((len(movers), 2), 0.5), []
    for _ in range(4):
        shares.append(laws[:, 0].mean() * 0.7)
        laws = np.stack(
            [step(k, law, np.array([0.7, 0.7]), shares[-1]) for k, law in zip(movers, laws, strict=True)]
        )

    def value(agent, going: np.ndarray) -> float:
        own, total = np.array([0.5, 0.5]), 0.0
        for h in range(4):
            total -= own[0] + float(agent["aversion"]) * float(own @ (1.0 - going[h]))
            own = step(agent, own, going[h], shares[h])
        return total

    gains = [
        max(value(kind, np.array(bits).reshape(4, 2)) for bits in itertools.product((0.0, 1.0), repeat=8))
        - value(kind, np.full((4, 2), 0.7))
        for kind in kinds
    ]
    other = population_size.gains_in_induced_flow, population_size.floor
    measure, elsewhere = other if in_induced_flow else other[::-1]
    assert measure(game, policy) == pytest.approx(gains, abs=1e-7)
    assert np.abs(elsewhere(game, policy) - gains).max() > 1e-6


def test_why_the_induced_game_is_not_the_limit_of_unlike_agents() -> None:
    """A-SIS among 10 kinds of agents: states come to depend on parameters, as a covariance.

    The kinds begin alike, so that both flows agree at steps 0 and 1. From there, the flow of many agents moves by
    the mean of P^k over those who are in a state, the induced one by that over all. They differ by the covariances
    of the kinds' infection rates with their shares of the healthy, and of 1 - theta_k with those of the infected.
    """
    game = make("Epidemic-v0", n_agents=10, horizon=3, alpha_width=0.1)
    policy = np.full(game.policy_shape, 0.5)
    induced, many = InducedGame(game).flow(policy).mu, population_size.flow_of_many_agents(game, policy)
    assert many[:2] == pytest.approx(induced[:2], abs=1e-9)
    caught, theta = (game.agents[name].astype(float) for name in ("susceptibility", "recovery"))
    out = 0.5 * 0.5  # The share of the infected who go out, at the first step.
    infected = 0.5 * (1.0 - theta) + 0.5 * 0.5 * caught * out
    later = 0.5 * infected.mean()
    from_healthy = np.cov(caught, 0.5 * (1.0 - infected), bias=True)[0, 1] * later
    from_infected = np.cov(1.0 - theta, infected, bias=True)[0, 1]
    difference = many[2, 0].sum() - induced[2, 0].sum()
    assert difference == pytest.approx(from_healthy + from_infected, abs=1e-9)
    # Above all, those who recover slowly are infected more often.
    assert from_infected > 1e-3 > 10 * abs(from_healthy)
    # At half of the asymmetry it is a quarter.
    half = dataclasses.replace(game, alpha_width=0.05)
    moved = population_size.flow_of_many_agents(half, policy) - InducedGame(half).flow(policy).mu
    assert moved[2, 0].sum() == pytest.approx(difference / 4, rel=0.01)


def test_many_agents_of_ten_kinds_flow_as_the_limit_says() -> None:
    """2 * 10^5 agents in 8 worlds, each step's share of the infected: to 6.5 standard errors, 160 of them.

    The chance of an error is below 1e-7: the share of N independent agents has a standard error of at most 1 / (2
    sqrt(N)), here 4e-4 in all. The induced game's flow is farther away than that.
    """
    few = make("Epidemic-v0", n_agents=10, horizon=12, alpha_width=0.1)
    game = with_agents(few, few.agents, 200_000)
    policy = np.full(game.policy_shape, 0.5)
    run = Engine(game, 8).rollout(policy, seed=1)
    shares = (run.states[:, : game.horizon] == 0).mean(axis=2)
    many = population_size.flow_of_many_agents(game, policy)[:, 0].sum(axis=1)
    induced = InducedGame(game).flow(policy).mu[:, 0].sum(axis=1)
    error = 0.5 / np.sqrt(8 * 200_000)
    assert np.abs(shares.mean(axis=0) - many).max() < 6.5 * error
    assert np.abs(induced - many).max() > 13 * error


@pytest.mark.slow
def test_the_gain_among_equal_congested_agents_is_the_binomial_one() -> None:
    """Others are independent of the deviator, and their number on its route is binomial."""
    game = population_size.population_of("congestion", "equal", 10, 0)
    equilibrium = find_equilibrium(game)
    induced = InducedGame(game)
    flow = induced.flow(equilibrium.policy)
    agent = game.agents[0]
    k = np.arange(10)
    rewards = np.zeros_like(flow.rewards)
    for h, s, a in np.ndindex(*rewards.shape):
        chances = binom.pmf(k, 9, flow.mu[h, s, a])
        costs = float(agent.cost) * (k / 9.0) ** float(agent.exponent)
        rewards[h, s, a] = float(agent.preference[s, a]) - chances @ costs
    exact = dataclasses.replace(flow, rewards=rewards)
    gain = induced.value(induced.best_response(exact), exact) - induced.value(equilibrium.policy, exact)
    found = population_size.measured("congestion", "equal", 10, repeats=4, agents_at_a_time=50_000, seed=0)
    assert gain > 0.03
    # 5000 worlds have a standard error of 0.0034, four repeats one of 0.0017: this is six of them, 2e-9.
    assert abs(found["gain"] - gain) < 0.0105


def small_sweep() -> tuple[heterogeneity.Sweep, ...]:
    return (dataclasses.replace(heterogeneity.SWEEPS[0], half_widths=(0.05, 0.2)),)


@pytest.mark.slow
def test_exploitability_rises_with_heterogeneity(tmp_path, capsys) -> None:
    words = ["--draws", "2", "--n-agents", "40", "--n-worlds", "8", "--jobs", "1", "--out", str(tmp_path)]
    assert heterogeneity.main(words, small_sweep()) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    (curve,) = results["curves"]
    assert len(curve["rows"]) == 5
    assert all(row["mean_field_exploitability"] < 1e-5 for row in curve["rows"])
    points = curve["points"]
    assert points[0]["asymmetry"] == 0.0
    assert 0.15 < points[2]["asymmetry"] < 0.21
    assert points[2]["max"] > points[1]["max"] + 0.3
    assert (tmp_path / "heterogeneity.png").read_bytes().startswith(b"\x89PNG")
    assert "maximum over agents" in capsys.readouterr().out


def test_an_interrupted_sweep_keeps_what_is_done(tmp_path, monkeypatch) -> None:
    real, calls = heterogeneity.measured, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(heterogeneity, "measured", interrupted)
    words = ["--draws", "2", "--n-agents", "40", "--n-worlds", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert heterogeneity.main(words, small_sweep()) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert len(results["curves"][0]["rows"]) == 1
    assert not (tmp_path / "heterogeneity.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["heterogeneity", "--n-agents", "41"], "n_agents must be even, got 41"),
        (["heterogeneity", "--draws", "1"], "draws"),
        (["population-size", "--sizes", "10", "15"], "multiples of 10, got 15"),
        (["population-size", "--repeats", "1"], "repeats"),
    ],
)
def test_bad_flags_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["reproduce", *words])


POPULATION = ["reproduce", "population-size", "--sizes", "10", "20", "30", "--repeats", "2", "--jobs", "1"]


@pytest.mark.slow
def test_the_sizes_reproduction_writes_results_and_figure(tmp_path, capsys) -> None:
    assert main([*POPULATION, "--agents-at-a-time", "1000", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    for game, of_game in results["curves"].items():
        assert set(of_game) == {"equal", "ten kinds"}
        for population, curve in of_game.items():
            assert [row["n_agents"] for row in curve["rows"]] == [10, 20, 30]
            # What is the same at every N: the induced game.
            assert np.ptp([row["floor"] for row in curve["rows"]]) < 1e-5
            for row in curve["rows"]:
                assert row["theorem_1"]["total"] > row["gain_95"][1]
                assert (row["floor"] < 1e-5) is (population == "equal")
                assert (row["alpha"] < 1e-6) is (population == "equal" or game != "A-SIS")
    assert (tmp_path / "population_size.png").read_bytes().startswith(b"\x89PNG")
    assert "congestion: gain of a best response" in capsys.readouterr().out


def test_an_interrupted_run_over_sizes_keeps_what_is_done(tmp_path, monkeypatch) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(population_size, "measured", interrupted)
    assert main([*POPULATION, "--out", str(tmp_path)]) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert results["curves"]["A-SIS"]["equal"] == {"slope": None, "rows": []}
    assert not (tmp_path / "population_size.png").exists()


def test_the_bound_is_finite_and_contains_the_asymmetry() -> None:
    game = make("Congestion-v0", n_agents=50)
    symmetry = approximate_symmetry(game)
    bound = promised(game, 1e-3, symmetry)
    assert bound.beta == pytest.approx(2.0 * game.horizon * symmetry.beta)
    assert bound.equilibrium_error == 1e-3
    assert bound.alpha == pytest.approx(0.0, abs=1e-6)
