"""The reproduction of the energy market: its figures by hand and by brute force, and a small run."""

import dataclasses
import json

import numpy as np
import pytest
from hand_worked_community import GENERATION, LOAD, four_members, record_of
from numpy.testing import assert_allclose

from baselines.market.planned_equilibrium import planned_equilibrium
from baselines.market.policies import Idle
from benchmarks.__main__ import main as benchmarks_main
from benchmarks.reproduce.energy import (
    command,
    deviation_summary,
    deviations,
    forecasting,
    gain_sections,
    game_sections,
    players,
    protocol,
    summary,
)
from benchmarks.reproduce.energy.gain_steps import steps_of_plan, steps_of_record
from benchmarks.reproduce.energy.played_day import references
from benchmarks.reproduce.energy.players import (
    EQUILIBRIUM,
    EVENING,
    GREEDY,
    IDLE,
    NEURAL,
    PLANNED,
    PLANNER,
    POLICIES,
)
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words
from benchmarks.reproduce.energy.ratios import ratio
from mfenvs.energy.exploitability import market_exploitability
from mfenvs.energy.forecast import Forecast
from mfenvs.energy.forecast_scores import crps, evaluate_forecasters, hac_standard_error, rolling_origin
from mfenvs.energy.linear_forecasters import LinearGaussian, SeasonalNaive
from mfenvs.energy.merit.seasons import season_of
from mfenvs.energy.outcomes import best_plans

# Steps of the gain.


def test_steps_of_a_gain_by_hand(tmp_path):
    """A thrifty consumer takes the surplus at noon, and a battery of efficiency one half moves 3 kWh of it.

    Alone the four import 32 kWh at 0.32 EUR and export 12 at 0.08, and flexible load is worth 3.6: -5.68 EUR.
    With one meter they import 25 and export 5: 1.68 more. Two kWh that are worth 0.2 instead of 0.08: 0.24. The
    battery loses 3 x 0.08 and saves 0.75 x 0.32, and its wear is 0.01 of 3.75 kWh: -0.0375. In the first hour half
    a kWh is bought at 0.32 and sold at 0.08, as errors are settled apart: -0.12.
    """
    flexible = np.array([[2, 2, 1, 0], [2, 0, 1, 0], [2, 0, 0, 0], [2, 0, 0, 0]])
    apart = {"imports": 0.5, "exports": 0.5}, {"imports": 5.0}, {"imports": 12.0}, {"imports": 7.25}
    totals = {name: [[step.get(name, 0.0), 0, 0, 0] for step in apart] for name in ("imports", "exports")}
    wear = np.zeros((4, 4))
    wear[0, 2], wear[3, 2] = 0.03, 0.0075
    utility = flexible * np.array([0.4, 0.2, 0.2, 0.2])
    record = record_of(four_members(tmp_path), flexible=flexible, utility=utility, degradation=wear, **totals)
    assert_allclose(steps_of_record(record), [1.68, 0.24, -0.0375, -0.12], atol=1e-6)


def test_steps_of_the_planner_add_up_to_its_gain(tmp_path):
    record = record_of(four_members(tmp_path))
    (best,) = best_plans(record)
    steps = steps_of_plan(record, best)
    assert sum(steps) == pytest.approx(best.bound + 5.68, rel=1e-6)
    assert steps.netting == pytest.approx(1.68, rel=1e-6)
    assert steps.imbalance == 0.0
    # All that is worth something is served where it gains, and the battery only where it does.
    assert steps.flexible >= 0.24 - 1e-6


def test_the_planner_ends_its_day_with_equal_charge_too(tmp_path):
    """What it imports is all that is used, and what batteries lose of what they deliver, or of what they draw."""
    record = record_of(four_members(tmp_path, efficiency=0.9))
    (best,) = best_plans(record)
    found = references(record, best)["perfect foresight"]
    drawn, delivered = best.charge[:, :4].sum(axis=1), best.discharge[:, :4].sum(axis=1)
    losses = np.where(0.9 * drawn < delivered / 0.9, delivered * (1 / 0.81 - 1), drawn * 0.19).sum()
    assert losses > 0.1
    used = (LOAD.T + best.served[:, :4] - GENERATION.T).sum()
    assert found["metered"].sum() == pytest.approx(used + losses, rel=1e-6)
    assert_allclose(np.diff(found["metered"] - found["net"]), 0, atol=1e-9)
    assert_allclose(found["charge"][0], 0.5)


def test_charge_that_a_plan_lacks_is_bought_in_all_hours(tmp_path):
    """One battery lacks 2 kWh, which takes 2 / .9; the other has 1 kWh too much, which gives .9."""
    record = record_of(four_members(tmp_path, efficiency=0.9))
    (best,) = best_plans(record)
    soc = best.soc.copy()
    soc[2:, 4] = soc[2:, 0] + [-2.0, 1.0]
    found = references(record, dataclasses.replace(best, soc=soc))["perfect foresight"]
    assert_allclose(found["metered"] - found["net"], (2 / 0.9 - 0.9) / 4)


def test_steps_of_other_markets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="record must be of a market without vehicles, shifted load, charges"):
        steps_of_record(record_of(four_members(tmp_path, peak_charge=1.0)))


# Sizes and days.


@pytest.mark.parametrize(
    ("label", "words"),
    [("02-14", "14 February"), ("2024-12-01", "1 December 2024"), ("day 3", "day 3"), ("13-01", "13-01")],
)
def test_dates_in_words(label, words):
    assert date_in_words(label) == words


def test_typical_days_by_brute_force():
    """Of 12 test days, one a month, none of the three in a season is nearer to its mean."""
    sizes = Protocol(n_agents=20, n_days=12)
    series = protocol.whole_market(20).days
    months = {"winter": ("12", "01", "02"), "summer": ("06", "07", "08")}
    for season, of_season in months.items():
        found = protocol.typical_day(sizes, season)
        days = [k for k, date in enumerate(series.dates) if date[:2] in of_season]
        assert found in days
        distances = {}
        for k in set(days) & set(protocol.test_days(sizes)):
            far = 0.0
            for array in (series.load, series.pv):
                sums = np.array([array[d].astype(float).sum() for d in days])
                far += ((array[k].astype(float).sum() - sums.mean()) / sums.std()) ** 2
            distances[k] = far
        assert len(distances) == 3
        assert min(distances, key=distances.get) == found


@pytest.mark.parametrize("season", ["winter", "summer"])
def test_typical_days_are_of_their_season_if_a_test_day_is(season):
    series = protocol.whole_market(20).days
    for n_days in range(1, 25):
        sizes = Protocol(n_agents=20, n_days=n_days)
        days = protocol.test_days(sizes)
        found = protocol.typical_day(sizes, season)
        assert found in days
        if any(season_of(series.dates[day]) == season for day in days):
            assert season_of(series.dates[found]) == season


# Figures over days.


def day(date, welfare, no_trade=-10.0, best=-2.0, **more):
    """A day of two members on which all policies are alike but for their welfare."""
    steps = {"netting": 1.0, "flexible": 2.0, "storage": welfare - no_trade - 2.0, "imbalance": -1.0}
    return {
        "date": date,
        "no trade": {"welfare": no_trade},
        "perfect foresight": {"welfare": best, "steps": {**steps, "storage": best - no_trade - 2.0}},
        "policies": {name: {"outcome": {"welfare": welfare}, "steps": steps} | more for name in POLICIES},
    }


def test_gains_are_per_member_and_year():
    rows = summary.gains(Protocol(n_agents=2), [day("01-01", -6.0), day("07-01", -4.0)])
    assert_allclose(rows[IDLE]["netting"], [182.5, 0.0])
    # Gains of 4 and 6 EUR a day: 5 +- 12.706 x sqrt(2) / sqrt(2).
    assert_allclose(rows[IDLE]["total"], [912.5, 182.5 * 12.706204736])
    assert_allclose(rows[IDLE]["missed"], [547.5, 182.5 * 12.706204736])
    assert_allclose(rows["perfect foresight"]["total"], [1460, 0])
    for row in rows.values():
        assert sum(row[step][0] for step in summary.STEPS) == pytest.approx(row["total"][0])


def test_a_ratio_of_sums_and_its_interval():
    """The mean of 400 shares with a whole of 1 has the interval of a mean."""
    rng = np.random.default_rng(0)
    part = rng.random(400)
    found = ratio(part, np.ones(400))
    assert found.value == pytest.approx(part.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * part.std() / 20, rel=0.1)
    assert found.low < found.value < found.high
    assert ratio([1.0, 3.0], [2.0, 6.0]) == pytest.approx((0.5, 0.5, 0.5))
    assert np.isnan(ratio([1.0], [0.0]).value)


def test_prices_and_tariffs():
    hours = {"price": [0.1, 0.2, 0.3, 0.3]}
    days = [day("01-01", -5.0, **hours) | {"retail": [0.3] * 4, "feed_in": [0.1] * 4} for _ in range(2)]
    row = summary.price_table(days)[GREEDY]
    assert_allclose([row["mean"], row["at_feed_in"], row["between"], row["at_retail"]],
                    [(0.225, 0), (0.25, 0), (0.25, 0), (0.5, 0)])  # fmt: skip


def test_hours_long_by_month():
    days = [
        day("01-05", -5.0, net=[-1.0] * 3 + [1.0] * 21),
        day("01-06", -5.0, net=[-1.0] + [-1e-9] * 23),
        day("03-01", -5.0, net=[1.0] * 24),
    ]
    found = summary.long_hours(Protocol(n_agents=20), days)
    assert found["played"][PLANNER][:3] == pytest.approx([2.0, np.nan, 0.0], nan_ok=True)
    # By the data alone: nothing is left at night, much in summer.
    assert found["expected"][6] > found["expected"][0] > 0
    assert max(found["expected"]) < 16


def test_bills_and_participation():
    """Two members of one type: one pays 1 EUR a day less than with self-consumption, and gains; one loses."""
    sizes = Protocol(n_agents=2)
    types = protocol.whole_market(2).agents["type"]
    money = {"bill": [1.0, 3.0], "gain over idle": [1.0, 1.0], "gain over self-consumption": [1.0, -1.0]}
    quo = {"status quo": {"idle": [4.0, 4.0], "self-consumption": [2.0, 4.0]}}
    row = summary.member_table(sizes, [day("01-01", -5.0, **money) | quo] * 2)[IDLE]
    named = [summary.TYPE_WORDS[summary.TYPES[kind]] for kind in types]
    for k, name in enumerate(named):
        members = [i for i, other in enumerate(named) if other == name]
        assert row["bills"][name][0] == pytest.approx(365 * np.mean([money["bill"][i] for i in members]))
        saved = np.subtract(quo["status quo"]["self-consumption"], money["bill"])
        assert row["saved"][name][0] == pytest.approx(365 * saved[members].mean())
        assert k in members
    assert row["gained"] == pytest.approx((0.0, 0.0))
    assert row["better_off"]["self_consumption"]["community"].value == 0.5
    assert row["better_off"]["idle"]["community"].value == 1.0
    # |1 - 3| twice over 2 x 1 x 4.
    assert row["gini"].value == pytest.approx(0.5)


# Gains by deviating.


def gains_of_two_days():
    """What the tasks found of three members on each of two days: consumers and battery owners."""
    types = [0, 2, 2], [0, 0, 2]
    binned = [0.0, 0.2, 0.4], [0.1, -0.1, 0.6]
    planned = [0.0, 0.1, 0.1], [0.0, 0.0, 0.3]
    regrets = [0.5, 0.2], [0.3, 0.0005]
    found = {}
    for k, day in enumerate((5, 186)):
        of_others = {
            name: {"gains": [1.0, 2.0, 6.0], "types": types[k]} for name in (IDLE, GREEDY, EVENING, NEURAL)
        }
        found["deviations", day] = {EQUILIBRIUM: {"gains": binned[k], "types": types[k]}, **of_others}
        found["planned", day] = {"gains": planned[k], "types": types[k], "sweep": 2, "regrets": regrets[k]}
    return found


def test_gains_by_deviating_by_hand():
    found = deviation_summary.summarise_deviations(gains_of_two_days())
    rows, less = found["deviations"], found["less_to_gain"]
    assert tuple(rows) == (IDLE, GREEDY, EVENING, EQUILIBRIUM, PLANNED, NEURAL)
    assert found["n_deviation_days"] == 2
    assert_allclose(rows[IDLE]["mean"], [365 * 3, 0])
    assert (rows[IDLE]["median"], rows[IDLE]["largest"], rows[IDLE]["n"]) == (730, 2190, 6)
    # Means of .2 EUR on both days; of 1/15 and 1/10, 12.706 x (1/30) / 2 about their mean; and 2/15 and 1/10.
    half = 365 * 12.706204736 / 60
    assert_allclose(rows[EQUILIBRIUM]["mean"], [73, 0], atol=1e-9)
    assert_allclose(rows[PLANNED]["mean"], [365 / 12, half])
    assert_allclose(less["mean"], [365 * 7 / 60, half])
    # Three owners; resamples of two days are of both, or of one of them twice, each a quarter of the time.
    owners = "battery owners"
    assert_allclose(rows[EQUILIBRIUM]["by_type"][owners], 365 * np.array([0.4, 0.3, 0.6]))
    assert_allclose(rows[PLANNED]["by_type"][owners], 365 * np.array([0.5 / 3, 0.1, 0.3]))
    assert_allclose(less["by_type"][owners], 365 * np.array([0.7 / 3, 0.2, 0.3]))
    assert_allclose(less["by_type"]["consumers"], 0, atol=1e-9)
    assert rows[PLANNED]["n_by_type"] == {"consumers": 3, owners: 3}
    assert found["planned"] == {"n_sweeps": 2, "sweep": [2, 2], "regret": [0.2, 0.0005]}


def test_the_page_shows_both_equilibria():
    content = deviation_summary.summarise_deviations(gains_of_two_days())
    content |= {"equilibrium": {"exploitability": [0.1, 0.2]}, "dates": ["01-06", "07-06"]}
    section = game_sections.sections(Protocol(), content)[-1]
    assert section.table.rows == (
        ("all", "6", "73.0 ± 0.0", "0.200 ± 0.000", "30.4 ± 77.3", "0.083 ± 0.212", "42.6 ± 77.3"),
        ("consumers", "3", *["0.0 [0.0, 0.0]", "0.000 [0.000, 0.000]"] * 2, "0.0 [0.0, 0.0]"),
        (
            "battery owners", "3", "146.0 [109.5, 219.0]", "0.400 [0.300, 0.600]", "60.8 [36.5, 109.5]",
            "0.167 [0.100, 0.300]", "85.2 [73.0, 109.5]",
        ),
    )  # fmt: skip
    assert "2 such sweeps are made" in section.text
    assert "sweep 2 at the median" in section.text
    assert "is 0.100 EUR per member and day at the median and 0.200 on the worst day" in section.text
    assert "on 1 of 2 days" in section.text
    assert "gain 30.4 ± 77.3 EUR a year (0.083 ± 0.212 a day) by deviating from the planned" in section.text
    assert "73.0 ± 0.0 EUR a year (0.200 ± 0.000 a day) by deviating from the mean-field" in section.text


def test_deviations_from_plans_are_of_the_same_members_in_the_same_weather():
    """They are what the library measures, and no plan has seen the weather of the replies."""
    sizes = Protocol(n_agents=20, n_sampled=4, n_records=1, n_pairs=2, planning_sweeps=5)
    found = deviations.exploit_planned_day(sizes, 186)
    game = protocol.day_market(sizes, 186, "discrete")
    plans = planned_equilibrium(game, n_iterations=5, seed=1000)
    terms = {"n_sampled": 4, "n_records": 1, "n_worlds": 2, "seed": 186}
    assert_allclose(found["gains"], market_exploitability(game, plans.policy, **terms).gains, rtol=0)
    assert found["sweep"] == plans.regrets[3:].argmin() + 4
    assert_allclose(found["regrets"], plans.regrets, rtol=0)
    other = deviations.gains_against(sizes, 186, game, Idle(game))
    assert found["types"].tolist() == other["types"].tolist()
    assert found["gains"].tolist() != other["gains"].tolist()


# Forecasts.


def test_scores_of_all_hours_are_those_of_the_library():
    rng = np.random.default_rng(0)
    series = 10 + 3 * np.sin(np.arange(24 * 60) * np.pi / 12) + rng.normal(size=24 * 60)
    made = {"naive": SeasonalNaive, "linear": LinearGaussian}
    expected = evaluate_forecasters(series, {name: make() for name, make in made.items()})
    laws = {name: rolling_origin(series, make(), 45) for name, make in made.items()}
    observed = series[24 * 45 :]
    found = forecasting.evaluate(laws, observed, np.ones(len(observed), np.bool_))
    for field in ("n_days", "crps", "crps_standard_error", "log_score", "coverage", "statistic", "p_value"):
        assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-9, err_msg=field)
    assert found.names == expected.names


def test_scores_of_some_hours_leave_out_the_others():
    """What is forecast for hours that do not count, and what happens then, changes nothing."""
    rng = np.random.default_rng(0)
    observed, counts = rng.normal(size=24 * 20), np.tile(np.arange(24) % 3 == 0, 20)
    found = []
    for spoilt in (0.0, 50.0):
        at = np.where(counts, 0.0, spoilt)
        laws = {name: Forecast(at + shift, 1.0, np.inf) for name, shift in (("a", 0.0), ("b", 0.5))}
        found.append(forecasting.evaluate(laws, observed + np.where(counts, 0.0, 2 * spoilt), counts))
    for field in ("crps", "crps_standard_error", "log_score", "coverage", "p_value"):
        assert_allclose(getattr(found[0], field), getattr(found[1], field), err_msg=field)
    loss = crps(Forecast(np.zeros(480), 1.0, np.inf), observed)[counts]
    assert found[0].crps_standard_error[0] == pytest.approx(
        hac_standard_error(loss.reshape(20, 8).mean(axis=1), 7)
    )
    inside = np.abs(observed[counts]) <= 0.6744897501960817
    assert found[0].coverage[0, 0] == pytest.approx(inside.mean())


def test_daylight_is_of_the_calendar():
    """Of ten days in August and September with sun from 6 to 18 h, and one hour later in September."""
    hours = np.zeros((62, 24))
    hours[:31, 6:18], hours[31:, 7:18] = 1.0, 1.0
    hours[3] = 0.0
    hours[:, 18] = 0.001
    light = forecasting.daylight(hours.ravel()).reshape(62, 24)
    assert light[:31].sum() == 31 * 12
    assert light[31:61].sum() == 30 * 11
    assert light[3, 6]
    assert not light[:, 18].any()


# The command.

SMALL = Protocol(
    n_agents=40, n_days=4, solver_seconds=0.5, ppo_updates=2, exploited_days=1, n_sampled=3, n_records=1,
    n_pairs=2, planning_sweeps=5, front_points=3, settled_days=1,
)  # fmt: skip


@pytest.fixture
def few_hours(monkeypatch) -> None:
    """Ten weeks of the real series."""
    weeks = {name: series[: 24 * 70] for name, series in forecasting.real_series().items()}
    monkeypatch.setattr(forecasting, "real_series", lambda: weeks)


def one_job_in(folder) -> list[str]:
    """Flags of a run that keeps everything in a folder."""
    return f"--jobs 1 --out {folder} --models {folder}/models --kept {folder}/kept".split()


@pytest.mark.slow
def test_a_small_run_writes_a_page_and_results(few_hours, tmp_path, monkeypatch, capsys) -> None:
    flags = one_job_in(tmp_path)
    assert command.main(flags, SMALL) == 0
    assert "What each policy earns" in capsys.readouterr().out
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["complete"] is True
    assert len(content["dates"]) == 4
    for name in POLICIES:
        steps = content["gain"][name]
        assert sum(steps[step][0] for step in summary.STEPS) == pytest.approx(steps["total"][0], abs=0.01)
        # Nobody beats who knows the day, and netting asks nothing of a policy.
        assert steps["missed"][0] > 0
        assert steps["netting"] == pytest.approx(content["gain"][IDLE]["netting"], rel=1e-6)
        assert steps["imbalance"][0] < 0
        shares = [content["prices"][name][key][0] for key in ("at_feed_in", "between", "at_retail")]
        assert sum(shares) == pytest.approx(1.0)
        assert 0 < content["grid"][name]["self_sufficiency"][0] < 1
    assert content["gain"][IDLE]["storage"][0] == pytest.approx(0.0, abs=1e-3)
    assert content["efficiency"][PLANNER]["of planner"][0] == 1
    assert set(content["deviations"]) == set(POLICIES) - {"random", PLANNER} | {PLANNED}
    assert content["planned"]["n_sweeps"] == 5
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in POLICIES)
    assert page.count("<svg") == 13
    assert "day 1" not in page
    assert (tmp_path / "tables.md").read_text().count("## ") == 9
    # A run after one that was broken off plays nothing that is kept.
    (tmp_path / "report.html").unlink()
    monkeypatch.setattr(players, "binned_equilibrium", None)
    monkeypatch.setattr(command, "forecasts", None)
    assert command.main(flags, SMALL) == 0
    again = json.loads((tmp_path / "results.json").read_text())
    assert {key: again[key] for key in again if key != "seconds"} == {
        key: content[key] for key in content if key != "seconds"
    }
    assert (tmp_path / "report.html").exists()
    # Other plans are no reason to measure once more what is to be gained against other policies.
    monkeypatch.setattr(deviations, "players", None)
    assert command.main(flags, dataclasses.replace(SMALL, planning_sweeps=4)) == 0
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["planned"]["n_sweeps"] == 4
    assert {name: row for name, row in again["deviations"].items() if name != PLANNED} == {
        name: row for name, row in content["deviations"].items() if name != PLANNED
    }


def test_an_interrupted_run_says_so(tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.energy_policies, "train", interrupted)
    flags = one_job_in(tmp_path)
    assert benchmarks_main(["reproduce", "energy", *flags]) == 130
    assert json.loads((tmp_path / "results.json").read_text())["complete"] is False
    assert not (tmp_path / "report.html").exists()
    assert "interrupted" in capsys.readouterr().out


def test_words_of_steps_are_those_of_the_figure() -> None:
    assert tuple(gain_sections.STEP_WORDS) == summary.STEPS
