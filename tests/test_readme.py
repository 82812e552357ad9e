"""The README's code runs as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(10))
def test_every_python_block_runs_by_itself(number, tmp_path, monkeypatch) -> None:
    assert len(blocks()) == 11
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks()[number], str(README), "exec"), {"__name__": "readme"})


def test_the_custom_game_is_no_longer_than_promised() -> None:
    block = blocks()[-1]
    game = block[block.index("@dataclasses.dataclass") : block.index("register(")]
    assert len([line for line in game.splitlines() if line.strip()]) <= 30


def test_the_tables_name_the_live_games_and_algorithms() -> None:
    from baselines.cli.list import game_row
    from baselines.runs import ALGORITHMS
    from mfenvs import make, registered_games

    text = README.read_text()
    for name, trainer in ALGORITHMS.items():
        assert f"| `{name}` | `{getattr(trainer, 'model_class', trainer).__name__}`" in text
    # Of the classic games there is a page for the family.
    for name, game_class in registered_games("").items():
        if not game_class.__module__.startswith("mfenvs."):
            continue
        game = make(name)
        row = re.search(rf"\| `mfenvs/{name}` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", text)
        assert row is not None, name
        assert row.groups() == game_row(game)[:4]
