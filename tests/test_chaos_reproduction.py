"""Distances, slopes and simulations of the propagation of chaos, against independent oracles."""

import json

import numpy as np
import pytest
from scipy import stats

from baselines.continuous.linear_quadratic import LinearQuadraticPolicy, competitive_equilibrium
from benchmarks.__main__ import main as run
from benchmarks.reproduce import chaos
from benchmarks.reproduce.feedback_worlds import FeedbackWorlds
from benchmarks.reproduce.slopes import fitted_slope
from benchmarks.reproduce.wasserstein import GaussianMixture, QuantileCells, TwoClusters
from mfenvs import Engine, make

NORMAL = GaussianMixture(np.ones(1), np.array([0.3]), np.array([0.7]))
MIXTURE = GaussianMixture(np.array([0.7, 0.3]), np.array([1.0, -0.5]), np.array([0.3, 0.4]))
FAR = GaussianMixture(np.array([0.2, 0.5, 0.3]), np.array([-40.0, 0.0, 30.0]), np.array([0.1, 1.0, 3.0]))
CLUSTERS = TwoClusters(gap=1.5, width=0.4)


def quantiles(law, u) -> np.ndarray:
    """Quantiles by bisection of scipy's normal laws, or scipy's uniform laws."""
    u = np.asarray(u, float)
    if isinstance(law, TwoClusters):
        left = stats.uniform(-law.gap / 2 - law.width, law.width).ppf(np.minimum(2 * u, 1.0))
        right = stats.uniform(law.gap / 2, law.width).ppf(np.maximum(2 * u - 1, 0.0))
        return np.where(u <= 0.5, left, right)
    low, high = np.full(u.shape, -200.0), np.full(u.shape, 200.0)
    for _ in range(60):
        middle = (low + high) / 2
        mass = sum(
            w * stats.norm.cdf(middle, m, s)
            for w, m, s in zip(law.weights, law.means, law.deviations, strict=False)
        )
        low, high = np.where(mass < u, middle, low), np.where(mass < u, high, middle)
    return high


def samples(law, n: int, seed: int) -> np.ndarray:
    """Sorted samples that are not of the law: shifted and spread."""
    rng = np.random.default_rng(seed)
    return np.sort(0.1 + 1.2 * quantiles(law, rng.random(n)))


@pytest.mark.parametrize("law", [NORMAL, MIXTURE, FAR, CLUSTERS])
def test_quantiles_and_partial_means_are_those_of_numerical_integration(law) -> None:
    probabilities = np.array([1e-7, 0.01, 0.19, 0.37, 0.6999, 0.95, 1 - 1e-7])
    expected = quantiles(law, probabilities)
    np.testing.assert_allclose(law.quantiles(probabilities), expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(law.cdf(law.quantiles(probabilities)), probabilities, atol=1e-14)
    u = (np.arange(20_000) + 0.5) / 20_000
    values = quantiles(law, u)
    for p in (0.2, 0.6, 1.0):
        x = law.quantiles(np.array([p])) if p < 1.0 else np.array([np.inf])
        assert law.partial_mean(x)[0] == pytest.approx((values * (u < p)).mean(), abs=2e-3)
    assert law.mean_square == pytest.approx((values**2).mean(), rel=1e-3)


@pytest.mark.parametrize("law", [NORMAL, MIXTURE, CLUSTERS])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_w2_is_the_integral_over_quantiles(law, n) -> None:
    """The integral over each of the n cells by the midpoints of 6000 parts."""
    for seed in range(2):
        x = samples(law, n, seed)
        u = (np.arange(6000 * n) + 0.5) / (6000 * n)
        costs = np.repeat(x, 6000) - quantiles(law, u)
        _, found = QuantileCells(law, n).distances(x[None])
        assert found[0] == pytest.approx(np.sqrt((costs**2).mean()), rel=3e-4)


@pytest.mark.parametrize("law", [NORMAL, MIXTURE, CLUSTERS])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_w1_is_that_of_scipy(law, n) -> None:
    """Scipy's distance between samples: the law is represented by many of its quantiles."""
    many = law.quantiles((np.arange(200_000) + 0.5) / 200_000)
    for seed in range(3):
        x = samples(law, n, seed)
        found, _ = QuantileCells(law, n).distances(x[None])
        assert found[0] == pytest.approx(stats.wasserstein_distance(x, many), rel=1e-4)


def test_rows_are_worlds_and_single_precision_is_taken() -> None:
    rows = np.stack([samples(MIXTURE, 30, seed) for seed in range(4)])
    cells = QuantileCells(MIXTURE, 30)
    both = cells.distances(rows)
    for row in range(4):
        np.testing.assert_allclose([part[row] for part in both], [p[0] for p in cells.distances(rows[[row]])])
    np.testing.assert_allclose(both, cells.distances(rows.astype(np.float32)), rtol=1e-5)


def test_a_shifted_law_is_as_far_as_it_was_shifted() -> None:
    """Samples in the middle of 10^5 cells: the quantisation is far below the shift."""
    n = 100_000
    x = MIXTURE.quantiles((np.arange(n) + 0.5) / n)[None] + 0.25
    first, second = QuantileCells(MIXTURE, n).distances(x)
    assert first[0] == pytest.approx(0.25, abs=1e-6)
    assert second[0] == pytest.approx(0.25, abs=1e-5)


def test_the_slope_of_a_power_is_found_and_its_interval_holds_it() -> None:
    """With a known slope: exact without noise; with noise, 95 % intervals hold it in 170 of 200 cases or more.

    A binomial number of 200 with chance .93 (percentile intervals are a little short) is below 160 once in 10^8.
    """
    sizes = [10, 100, 1000, 10_000]
    exact = fitted_slope(sizes, [np.full(k, 3.0 * n**-0.37) for k, n in enumerate(sizes, start=3)])
    assert (exact.value, exact.low, exact.high) == pytest.approx((-0.37,) * 3)
    rng, held, narrow = np.random.default_rng(5), 0, []
    for seed in range(200):
        drawn = [rng.exponential(n**-0.5, 100) for n in sizes]
        found = fitted_slope(sizes, drawn, resamples=200, seed=seed)
        held += found.low <= -0.5 <= found.high
        narrow.append(found.high - found.low)
    assert 160 <= held <= 199
    # The error of a log mean is 100^(-1/2), that of the slope this over sqrt(sum of squares of centred logs).
    logs = np.log(sizes)
    assert np.mean(narrow) == pytest.approx(2 * 1.96 / np.sqrt(100 * ((logs - logs.mean()) ** 2).sum()), rel=0.1)
    with pytest.raises(ValueError, match="two sizes or more"):
        fitted_slope([10], [np.ones(3)])


def test_two_clusters_decay_with_a_fourth_root() -> None:
    """E W2 tends to gap (1/4)^(1/4) E|Z|^(1/2) n^(-1/4), and W1 to n^(-1/2): 6 standard errors, and the next term.

    The width adds a cost of the order of 1 / n to W2^2, whose leading term is n^(-1/2).
    """
    law = TwoClusters(gap=1.0, width=0.1)
    z = np.random.default_rng(1).normal(size=10**6)
    assert law.limit_of_w2 == pytest.approx(0.25**0.25 * np.mean(np.sqrt(np.abs(z))), abs=6e-3)
    rng, w1, w2, sizes = np.random.default_rng(2), [], [], [200, 800, 3200, 12_800]
    for n in sizes:
        found = QuantileCells(law, n).distances(np.sort(law.draw(rng, (600, n)), axis=1))
        w1.append(found[0])
        w2.append(found[1])
    assert fitted_slope(sizes, w2).value == pytest.approx(-0.25, abs=0.03)
    assert fitted_slope(sizes, w1).value == pytest.approx(-0.5, abs=0.05)
    scaled = sizes[-1] ** 0.25 * w2[-1]
    assert scaled.mean() == pytest.approx(law.limit_of_w2, abs=6 * scaled.std() / np.sqrt(600) + 0.01)


def test_worlds_play_the_policy_of_the_closed_form() -> None:
    game = make("LinearQuadratic-v0", n_agents=10, horizon=4)
    solution = competitive_equilibrium(game)
    policy, engine, other = LinearQuadraticPolicy(solution), Engine(game, 3), Engine(game, 3)
    other.reset(7)
    for step, states in enumerate(FeedbackWorlds(solution, game).play(engine, 7)):
        np.testing.assert_allclose(states, other.states, atol=2e-6)
        if step < game.horizon:
            observations = other.observe().reshape(30, -1)
            other.step(policy.predict(observations)[0].reshape(3, 10, 1))
    assert step == game.horizon


def test_batches_are_the_same_worlds_however_they_are_cut() -> None:
    protocol = chaos.Protocol(sizes=(20,), n_steps=3, agents_at_a_time=60)
    whole = chaos.game_distances(protocol, 20, range(7), 3)
    parts = [chaos.game_distances(protocol, 20, part, 3) for part in (range(2), range(2, 7))]
    for group, measures in whole.items():
        for measure, values in measures.items():
            assert values == pytest.approx(parts[0][group][measure] + parts[1][group][measure])
    other = chaos.game_distances(protocol, 20, range(7), 4)
    assert other["population"]["W1"] != whole["population"]["W1"]


def test_the_distance_at_one_time_is_that_of_scipy() -> None:
    """The law of the types and the population at the start, where it is the game's own initial law."""
    game = make("LinearQuadratic-v0", n_agents=20, horizon=3)
    solution = competitive_equilibrium(game)
    worlds = FeedbackWorlds(solution, game)
    states = next(worlds.play(Engine(game, 2), 0))
    cells, deviations, means = next(chaos.limit_laws(solution))
    found = chaos.distances_now(states, worlds.of_type, cells, means, deviations)
    u = (np.arange(200_000) + 0.5) / 200_000
    consumers, pv = 1.0 + 0.3 * stats.norm.ppf(u), -0.5 + 0.4 * stats.norm.ppf(u)
    weights = np.repeat([0.7, 0.3], 200_000)
    for world in range(2):
        x = states[world].astype(np.float64)
        expected = [
            (stats.wasserstein_distance(x[:14], consumers), abs(x[:14].mean() - 1.0)),
            (stats.wasserstein_distance(x[14:], pv), abs(x[14:].mean() + 0.5)),
            (
                stats.wasserstein_distance(x, np.concatenate([consumers, pv]), v_weights=weights),
                abs(x.mean() - 0.55),
            ),
        ]
        np.testing.assert_allclose(found[world][:, [0, 2]], expected, rtol=2e-4)


SMALL = chaos.Protocol(
    sizes=(20, 80, 320), n_steps=4, most_agents=12_800, agents_at_a_time=2000, large=80, resamples=50
)


def test_the_reproduction_writes_results_and_figure(tmp_path, capsys) -> None:
    assert chaos.main(["--repetitions", "60", "--jobs", "1", "--out", str(tmp_path)], SMALL) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    assert results["seed"] == 0
    assert "numba" in results["versions"]
    assert results["sizes"] == [20, 80, 320]
    assert results["distances"]["320"]["pv"]["W2"]["repetitions"] == 40
    for name, fitted in results["slopes"].items():
        assert set(fitted) == {"consumer", "pv", "population", "two clusters"}, name
        for group, measures in fitted.items():
            for measure, slope in measures.items():
                assert slope["low"] <= slope["value"] <= slope["high"]
                assert -0.9 < slope["value"] < -0.05, (group, measure)
    assert (tmp_path / "chaos.png").read_bytes().startswith(b"\x89PNG")
    assert "Slopes of log E sup_t" in capsys.readouterr().out


def test_an_interrupted_reproduction_keeps_what_is_complete(tmp_path, monkeypatch) -> None:
    calls, real = [], chaos.game_distances

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(chaos, "game_distances", interrupted)
    assert chaos.main(["--repetitions", "60", "--jobs", "1", "--out", str(tmp_path)], SMALL) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert results["sizes"] == [80, 320]
    assert not (tmp_path / "chaos.png").exists()


def test_the_reproduction_has_a_name(monkeypatch) -> None:
    given = []
    monkeypatch.setattr(chaos, "main", lambda words: given.append(words) or 0)
    assert run(["reproduce", "chaos", "--jobs", "1"]) == 0
    assert given == [["--jobs", "1"]]
