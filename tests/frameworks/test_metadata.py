"""What the examples of other frameworks say that they need, and that each has what the page promises."""

import ast
import re
import tomllib

import pytest
from framework_examples import FOLDER

from benchmarks import frameworks

EXAMPLES = sorted(FOLDER.glob("*.py"))
TESTS = FOLDER.parents[1] / "tests" / "frameworks"
BLOCK = re.compile(r"(?m)^# /// script\n(?P<content>(^#(| .*)\n)+)^# ///\n")
"""An inline block of metadata, as PEP 723 has it."""


def metadata_of(path):
    (block,) = BLOCK.finditer(path.read_text("utf-8"))
    lines = block["content"].splitlines()
    return tomllib.loads("\n".join(line[2:] for line in lines))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_needs(path):
    metadata = metadata_of(path)
    assert metadata["requires-python"] == ">=3.11"
    first, *others = metadata["dependencies"]
    assert first == "torch==2.13.0"
    assert "mfenvs" in others
    assert metadata["tool"]["uv"]["sources"]["mfenvs"] == {"path": "../.."}
    main_package = path.stem.split("_")[0]
    everything = [*others, *metadata["tool"].get("mfenvs", {}).get("without-dependencies", [])]
    pinned = [name for name in everything if "==" in name]
    if main_package != "cleanrl":
        assert any(main_package.replace("rllib", "ray[rllib]") in name.replace("-", "") for name in pinned)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_complete(path):
    module = ast.parse(path.read_text("utf-8"))
    defined = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert {"main", "stepping"} <= defined
    assert "parameter sharing" in ast.get_docstring(module)
    assert (TESTS / f"test_{path.stem}.py").exists()
    # A script's folder is searched first: it must not hide the package that it imports.
    imported = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    assert not {other.stem for other in EXAMPLES} & {name.split(".")[0] for name in imported}


def test_the_page_names_every_example():
    page = (FOLDER / "README.md").read_text("utf-8")
    for path in EXAMPLES:
        assert f"({path.name})" in page
        for name in metadata_of(path)["dependencies"]:
            package, _, version = name.partition("==")
            if package in ("mfenvs", "rich", "rich-argparse", "psutil", "pyro-ppl", "pettingzoo"):
                continue
            assert version in page, f"{package} {version}"


def test_a_speed_is_measured_beside_the_engines(capsys):
    assert frameworks.main(["nothing"]) == 2
    assert "NAME: " in capsys.readouterr().err
    assert frameworks.main([]) == 2


def test_ratios_are_of_processor_time(monkeypatch):
    """By a clock that moves a second for each step of the engine, and three for each of the route."""
    now = [0.0]
    monkeypatch.setattr(frameworks.time, "process_time", lambda: now[0])

    def stepper(seconds):
        def take(n_steps):
            now[0] += seconds * n_steps

        return take

    monkeypatch.setattr(frameworks, "engine_stepper", lambda game: stepper(1.0))
    game = frameworks.make("Epidemic-v0", n_agents=6)
    (speed,) = frameworks.speeds("a", "A-SIS", game, lambda game: {"route": stepper(3.0)})
    assert speed == frameworks.Speed("a", "route", "A-SIS", 6, 2.0, 3.0)


def test_the_table_has_a_row_for_each_route(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frameworks, "RESULTS", tmp_path)
    speeds = {
        ("A-SIS", 20): 2_249_000.0,
        ("A-SIS", 1000): 59.4e6,
        ("A-Taxi", 20): 999_400.0,
        ("A-Taxi", 1000): 9_960.0,
    }
    for name, routes, load in (("rllib_ppo", ["vector"], 0.26), ("cleanrl_ppo", ["slow", "fast"], 1.5)):
        rows = [
            {
                "framework": name,
                "route": route,
                "game": game,
                "n_agents": n_agents,
                "agent_steps_per_second": speed,
                "engine_over_route": 9.96 if route == "slow" else 1_649.0,
            }
            for (game, n_agents), speed in speeds.items()
            for route in routes
        ]
        frameworks.write_json(tmp_path / f"{name}.json", {"rows": rows, "load_average": load})
    assert frameworks.main(["table"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| route | A-SIS, N = 20 | A-SIS, N = 1,000 | A-Taxi, N = 20 | A-Taxi, N = 1,000 |",
        "|---|---|---|---|---|",
        "| gymnasium, slow | 2.2 M (10) | 59 M (10) | 1.0 M (10) | 10 k (10) |",
        "| gymnasium, fast | 2.2 M (1,600) | 59 M (1,600) | 1.0 M (1,600) | 10 k (1,600) |",
        "| RLlib, vector | 2.2 M (1,600) | 59 M (1,600) | 1.0 M (1,600) | 10 k (1,600) |",
        "",
        "Load averages of the machine: 0.3 to 1.5.",
    ]


def test_every_example_has_a_name_in_the_table():
    assert set(frameworks.LABELS) == {path.stem for path in EXAMPLES}


def test_the_engines_stepper_plays_over_the_end_of_episodes():
    game = frameworks.make("Epidemic-v0", n_agents=6, horizon=3)
    frameworks.engine_stepper(game)(7)
    assert frameworks.steps_in(1e-9, frameworks.engine_stepper(game)) >= 1
