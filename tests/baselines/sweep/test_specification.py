"""Specifications of sweeps: their cells, and what is refused."""

import re
from pathlib import Path

import pytest

from baselines.sweep.cells import Length
from baselines.sweep.specification import MOST_CELLS, Specification, read_specification
from baselines.sweep.toml_document import SpecificationError

TEXT = """\
seeds = [4, 2]
iterations = 3

[[games]]
game = "RockPaperScissors-v0"
label = "rps"
constants = { horizon = 3 }
grid = { n_agents = [10, 20] }

[[games]]
game = "mfenvs/Epidemic-v0"

[[algorithms]]
algorithm = "omd"
hyper_parameters = { temperature = 0.5 }
grid = { learning_rate = [0.1, 0.25] }

[[algorithms]]
algorithm = "symm-pmd"
timesteps = 70
games = ["rps"]

[measures]
n_worlds = 2
"""


def read(tmp_path: Path, text: str) -> Specification:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return read_specification(path)


def test_all_combinations_are_cells_the_first_seed_first(tmp_path) -> None:
    cells = read(tmp_path, TEXT).cells
    assert [str(cell) for cell in cells[:8]] == [
        "omd learning_rate=0.1 on rps n_agents=10, seed 4",
        "omd learning_rate=0.25 on rps n_agents=10, seed 4",
        "symm-pmd on rps n_agents=10, seed 4",
        "omd learning_rate=0.1 on rps n_agents=20, seed 4",
        "omd learning_rate=0.25 on rps n_agents=20, seed 4",
        "symm-pmd on rps n_agents=20, seed 4",
        "omd learning_rate=0.1 on Epidemic-v0, seed 4",
        "omd learning_rate=0.25 on Epidemic-v0, seed 4",
    ]
    assert len(cells) == 16
    assert {cell.seed for cell in cells[8:]} == {2}
    first, third = cells[0], cells[2]
    assert first.constants == {"horizon": 3, "n_agents": 10}
    assert first.hyper_parameters == {"temperature": 0.5, "learning_rate": 0.1}
    assert first.length == Length(unit="iterations", amount=3)
    assert third.length == Length(unit="timesteps", amount=70)
    assert first.measurement == {
        "n_worlds": 2,
        "deviators_per_world": 16,
        "best_response_timesteps": 0,
        "seed": 0,
        "device": "cpu",
    }
    assert len({cell.name for cell in cells}) == 16


def test_a_number_of_seeds_counts_from_0(tmp_path) -> None:
    assert [cell.seed for cell in read(tmp_path, TEXT.replace("[4, 2]", "3")).cells[::8]] == [0, 1, 2]


def test_a_fingerprint_depends_on_what_the_result_depends_on(tmp_path) -> None:
    """Labels, order and defaults that are written out change nothing; every setting does."""
    before = {(cell.name, cell.fingerprint) for cell in read(tmp_path, TEXT).cells}

    def after(old: str, new: str) -> set:
        assert old in TEXT
        return {(cell.name, cell.fingerprint) for cell in read(tmp_path, TEXT.replace(old, new)).cells}

    assert (
        after('game = "RockPaperScissors-v0"\nlabel = "rps"', 'label = "rps"\ngame = "RockPaperScissors-v0"')
        == before
    )
    assert after('label = "rps"', 'label = "rps"\n#') == before
    assert after("horizon = 3", "horizon = 3, crowding = 3.0") == before
    assert after("n_worlds = 2", "n_worlds = 2\ndeviators_per_world = 16\n[summary]\nconfidence = 0.5") == before
    assert after("0.25", "0.25, 0.5") > before
    assert after("[4, 2]", "[2, 4, 5]") > before
    for old, new in (
        ("temperature = 0.5", "temperature = 0.25"),
        ("iterations = 3", "iterations = 4"),
        ("iterations = 3", "timesteps = 3"),
        ("n_worlds = 2", "n_worlds = 4"),
    ):
        changed = after(old, new) - before
        assert len(changed) >= 12, new
    assert not after("horizon = 3", "horizon = 4").isdisjoint(before)  # the epidemic is the same


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds", "seed", "line 1: seed is an unknown key (did you mean 'seeds'?)"),
        ("seeds = [4, 2]\n", "", "it must have the key 'seeds'"),
        ("[4, 2]", "[4, 4]", "line 1: seeds must hold at least one seed, and none twice"),
        ("[4, 2]", "[]", "line 1: seeds must hold at least one seed"),
        ("[4, 2]", "[4, -1]", "seed 2 must be an integer in [0, 9223372036854775807], got -1"),
        ("[4, 2]", "0", "line 1: seeds must be a number of seeds"),
        ("[4, 2]", "true", "line 1: seeds must be a number of seeds"),
        ("iterations = 3\n", "", "it must have one of the keys iterations, timesteps, seconds"),
        ("iterations = 3", "iterations = 0", "line 2: iterations must be an integer in [1,"),
        ("iterations = 3", "iterations = 1.5", "line 2: iterations must be an integer in [1,"),
        ("iterations = 3", "seconds = 0.0", "line 2: seconds must be a finite number in (0,"),
        ("iterations = 3", "seconds = inf", "line 2: seconds must be a finite number in (0,"),
        ("iterations = 3", "iterations = 3\nseconds = 4", "line 3: seconds and iterations are both given"),
        ("timesteps = 70", "timesteps = 70\niterations = 2", "line 21: algorithms[2].iterations and timesteps"),
        ("horizon = 3", "horizn = 3", "line 7: games[1].constants.horizn is an unknown constant (did you mean"),
        ("horizon = 3", "horizon = 0", "line 7: games[1].constants.horizon must be an integer >= 1, got 0"),
        ("[10, 20]", "[10, 1]", "line 8: games[1].grid.n_agents must be an integer in [2,"),
        ("[10, 20]", "10", "line 8: games[1].grid.n_agents must be a list of the values to try, got 10"),
        ("[10, 20]", "[]", "line 8: games[1].grid.n_agents must be a list of the values to try"),
        ("[10, 20]", "[10, 10]", "line 8: games[1].grid.n_agents must hold no value twice"),
        ("[10, 20]", "[2001-01-01]", "line 8: games[1].grid.n_agents must be a number, a text,"),
        ("horizon = 3", "n_agents = 3", "line 8: games[1].grid.n_agents is set in constants too"),
        ("{ horizon = 3 }", "3", "line 7: games[1].constants must be a table, got 3"),
        ('label = "rps"', "label = 3", "line 6: games[1].label must be a text, got 3"),
        ('label = "rps"', 'label = "Epidemic-v0"', "line 11: games[2].game begins a second entry"),
        ('label = "rps"', 'lable = "rps"\nlabel = "rps"', "line 6: games[1].lable is an unknown key"),
        ('"mfenvs/Epidemic-v0"', '"Epidemik-v0"', "line 11: games[2].game cannot be used: unknown game 'Ep"),
        ('"mfenvs/Epidemic-v0"', '"no_module:X-v0"', "line 11: games[2].game cannot be used: no module"),
        ('game = "mfenvs/Epidemic-v0"', "", "line 10: games[2] must have the key 'game'"),
        ('"omd"', '"omdd"', "line 14: algorithms[1].algorithm is an unknown one, 'omdd'; known: symm-pmd"),
        ("temperature = 0.5", "temperature = -0.5", "line 15: algorithms[1].hyper_parameters.temperature must be"),
        ("temperature = 0.5", "seed = 5", "line 15: algorithms[1].hyper_parameters.seed must not be here"),
        ("temperature = 0.5", "temp = 5", "line 15: algorithms[1].hyper_parameters.temp is an unknown hyper-"),
        ("0.25]", '"much"]', "line 16: algorithms[1].grid.learning_rate must be a number, got 'much'"),
        ('["rps"]', '["rsp"]', "line 21: algorithms[2].games must be a list of labels among 'Epidemic-v0', 'rps'"),
        ('["rps"]', "[]", "line 21: algorithms[2].games must be a list of labels"),
        ("n_worlds = 2", "n_world = 2", "line 24: measures.n_world is an unknown key (did you mean 'n_worlds'?)"),
        ("n_worlds = 2", "n_worlds = 1", "line 24: measures.n_worlds must be an integer >= 2, got 1"),
        ("[measures]\nn_worlds = 2", "[summary]\nconfidence = 1", "line 24: summary.confidence must be a finite"),
        ("[measures]\nn_worlds = 2", '[summary]\nmeasure = "maxx"', "line 24: summary.measure must be one of"),
        ("[measures]\n", "[extra]\n", "line 23: extra is an unknown key"),
        ("algorithms", "algoritms", "line 13: algoritms is an unknown key"),
        (
            'games = ["rps"]',
            'games = ["rps"]\n[[algorithms]]\nalgorithm = "stationary-pg"',
            "line 23: algorithms[3].algorithm cannot learn",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_line_and_the_key(old: str, new: str, message: str, tmp_path) -> None:
    assert old in TEXT
    with pytest.raises(SpecificationError) as refused:
        read(tmp_path, TEXT.replace(old, new, 2 if old == "algorithms" else 1))
    assert message in str(refused.value)
    assert str(tmp_path / "spec.toml") in str(refused.value)


def test_cells_that_are_the_same_training_are_refused(tmp_path) -> None:
    text = TEXT + '[[algorithms]]\nalgorithm = "symm-pmd"\nlabel = "again"\ntimesteps = 70\n'
    with pytest.raises(
        SpecificationError, match="again on rps n_agents=10, seed 4 is the same training as symm-pmd on"
    ):
        read(tmp_path, text)


def test_too_many_cells_are_refused_before_they_are_made(tmp_path) -> None:
    text = re.sub(r"\[4, 2\]", str(MOST_CELLS), TEXT)
    with pytest.raises(SpecificationError, match=f"at most {MOST_CELLS} cells, got {8 * MOST_CELLS}"):
        read(tmp_path, text)


def test_lists_are_values_of_hyper_parameters_that_are_tuples(tmp_path) -> None:
    text = TEXT + '[[algorithms]]\nalgorithm = "ppo"\nhyper_parameters = { observe = ["mean-field"] }\n'
    text += "grid = { hidden = [[8], [4, 4]] }\n"
    found = {cell.algorithm_label: cell for cell in read(tmp_path, text).cells if cell.algorithm == "ppo"}
    assert list(found) == ["ppo hidden=[8]", "ppo hidden=[4, 4]"]
    assert found["ppo hidden=[4, 4]"].hyper_parameters == {"observe": ["mean-field"], "hidden": [4, 4]}
