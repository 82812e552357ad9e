"""The summary of results that are made up, against numbers worked by hand."""

import math

import pytest
from rich.console import Console

from baselines.sweep.cells import Cell, Length
from baselines.sweep.results import Result
from baselines.sweep.summary import SummarySettings, normalised_score, summarise, summary_table

EXACT = "mean_field_exploitability"


def cell(game: str, algorithm: str, seed: int) -> Cell:
    return Cell(
        game="G-v0",
        module=None,
        constants={},
        algorithm="omd",
        hyper_parameters={},
        seed=seed,
        length=Length(unit="iterations", amount=1),
        measurement={"seed": 0},
        game_label=game,
        algorithm_label=algorithm,
        game_fingerprint=game,
        fingerprint=f"{game} {algorithm} {seed}",
    )


def result(measures: dict, uniform: dict, status: str = "done", **fields) -> Result:
    return Result(
        **{
            "fingerprint": "",
            "status": status,
            "attempt": 1,
            "token": "",
            "host": "",
            "started": "",
            "versions": {"mfenvs": "1"},
            "measures": measures,
            "uniform": uniform,
            **fields,
        }
    )


def summary(runs: dict[tuple[str, str], list[Result | None]], **settings) -> dict:
    """The summary of the results of each (game, algorithm), of seeds 0, 1 ..."""
    cells = [cell(*names, seed) for names, found in runs.items() for seed in range(len(found))]
    results = [one for found in runs.values() for one in found]
    return summarise(cells, results, SummarySettings(resamples=200, **settings))


def exact(*values: float, uniform: float) -> list[Result]:
    return [result({EXACT: value, "return": -1.0}, {EXACT: uniform, "return": -2.0}) for value in values]


def test_scores_are_logarithms_of_shares_of_the_uniform_policys() -> None:
    assert normalised_score(0.5, 0.5) == 0.0
    assert normalised_score(0.02, 2.0) == pytest.approx(-2.0)
    assert normalised_score(20.0, 2.0) == pytest.approx(1.0)
    assert normalised_score(0.0, 2.0) == normalised_score(1e-13, 2.0) == pytest.approx(-12.0)


def test_interquartile_means_by_game_and_over_all_games() -> None:
    found = summary(
        {
            # Shares 0.1, 0.01, 0.1, 0.1 of 2: logarithms -1, -2, -1, -1. The middle two are -1.
            ("A", "x"): exact(0.2, 0.02, 0.2, 0.2, uniform=2.0),
            # Shares 1, 0.001, 0.1, 0.1 of 10: logarithms 0, -3, -1, -1. The middle two are -1.
            ("B", "x"): exact(10.0, 0.01, 1.0, 1.0, uniform=10.0),
            ("A", "y"): exact(2.0, 0.2, 0.2, uniform=2.0),  # 0, -1, -1: none of three is left out
        }
    )
    assert found["measure"] == EXACT
    lines = {(line["algorithm"], *line["games"]): line for line in found["measures"][EXACT]["by_game"]}
    assert lines["x", "A"]["iqm"] == pytest.approx(-1.0)
    assert lines["x", "A"]["share"] == pytest.approx(0.1)
    assert lines["x", "B"]["iqm"] == pytest.approx(-1.0)
    assert lines["y", "A"]["iqm"] == pytest.approx(-2 / 3)
    assert lines["y", "A"]["share"] == pytest.approx(10 ** (-2 / 3))
    assert [line["algorithm"] for line in found["measures"][EXACT]["by_game"]] == ["x", "y", "x"]
    over = {line["algorithm"]: line for line in found["measures"][EXACT]["over_games"]}
    # x: -3, -2, -1, -1, -1, -1, -1, 0 without two on each side.
    assert over["x"]["iqm"] == pytest.approx(-1.0)
    assert over["x"]["n_runs"] == 8
    assert over["x"]["games"] == ["A", "B"]
    assert over["y"]["games"] == ["A"]
    low, high = over["x"]["interval"]
    assert low <= -1.0 <= high
    assert over["x"]["share_interval"] == pytest.approx([10**low, 10**high])


def test_every_game_is_divided_by_its_own_uniform_policys() -> None:
    """Two games of which the one has rewards a thousand times as large give the same score."""
    found = summary({("A", "x"): exact(0.5, 0.5, uniform=1.0), ("B", "x"): exact(500.0, 500.0, uniform=1000.0)})
    (line,) = found["measures"][EXACT]["over_games"]
    assert line["share"] == pytest.approx(0.5)
    assert line["share_interval"] == pytest.approx([0.5, 0.5])


def test_returns_are_not_mixed_over_games() -> None:
    def runs(*values: float) -> list[Result]:
        return [result({"return": value}, {"return": 0.0}) for value in values]

    found = summary({("A", "x"): runs(1.0, 3.0), ("A", "y"): runs(5.0, 5.0), ("B", "x"): runs(100.0)})
    assert found["measure"] == "return"
    by_game = found["measures"]["return"]["by_game"]
    assert [(line["algorithm"], line["iqm"]) for line in by_game] == [("y", 5.0), ("x", 2.0), ("x", 100.0)]
    assert by_game[2]["interval"] is None
    assert found["measures"]["return"]["over_games"] == []


def test_the_measure_to_show_is_one_that_all_cells_have() -> None:
    both = result({EXACT: 0.1, "max": 0.2, "return": 0.0}, {EXACT: 1.0, "max": 1.0, "return": 0.0})
    joint = result({"max": 0.2, "return": 0.0}, {EXACT: 1.0, "max": 1.0, "return": 0.0})
    assert summary({("A", "x"): [both, both], ("A", "y"): [joint, joint]})["measure"] == "max"
    assert summary({("A", "x"): [both]})["measure"] == EXACT
    assert summary({("A", "x"): [both]}, measure="max")["measure"] == "max"


def test_what_cannot_be_summarised_is_told() -> None:
    equilibrium = result({EXACT: 0.1}, {EXACT: 0.0})
    failed = result({}, {}, status="failed", error="Traceback\n  ...\nValueError: too few\n")
    found = summary({("A", "x"): [equilibrium, equilibrium], ("B", "x"): [failed, None]})
    assert found["measures"] == {}
    assert found["left_out"] == [f"{EXACT} on A: the uniform policy's is 0.0, nothing to divide by"]
    assert found["cells"] == {"all": 4, "done": 2, "failed": 1, "killed": 0, "left": 1}
    assert [(line["status"], line["error"]) for line in found["not_done"]] == [("failed", "ValueError: too few")]
    assert summary_table(found) is None
    not_finite = [result({"return": value}, {}) for value in (math.nan, math.inf, 1.0)]
    found = summary({("A", "x"): not_finite})
    assert found["left_out"] == ["return of x on A, seed 0: nan", "return of x on A, seed 1: inf"]
    assert found["measures"]["return"]["by_game"][0]["n_runs"] == 1


def test_failed_runs_do_not_count() -> None:
    failed = result({}, {}, status="failed", error="no")
    found = summary({("A", "x"): [*exact(0.1, 0.1, uniform=1.0), failed]})
    (line,) = found["measures"][EXACT]["by_game"]
    assert line["n_runs"] == 2
    assert line["share"] == pytest.approx(0.1)


def test_the_table_shows_shares_and_intervals() -> None:
    found = summary({("A", "x"): exact(0.1, 0.1, uniform=1.0), ("B", "x"): exact(0.4, uniform=1.0)})
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(summary_table(found))
    rows = [[part.strip() for part in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    rows = [row for row in rows if row]
    assert rows == [
        ["A", "x", "2", "0.1", "[0.1, 0.1]"],
        ["B", "x", "1", "0.4", "one run a game"],
        ["all games", "x", "3", f"{10 ** ((-2 + math.log10(0.4)) / 3):.3g}", "one run a game"],
    ]


def test_versions_that_differ_are_listed() -> None:
    found = summary({("A", "x"): [*exact(0.1, uniform=1.0), result({}, {}, versions={"mfenvs": "2"})]})
    assert found["versions"] == {"mfenvs": ["1", "2"]}
