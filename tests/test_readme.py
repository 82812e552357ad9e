"""The README's code runs as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run_in_order(tmp_path, monkeypatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert (tmp_path / "symm_pmd.npz").exists()


def test_the_custom_game_is_no_longer_than_promised() -> None:
    block = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[-1]
    game = block[block.index("@dataclasses.dataclass") : block.index("register(")]
    assert len([line for line in game.splitlines() if line.strip()]) <= 30


def test_the_tables_name_the_live_games_and_algorithms() -> None:
    from baselines.cli.list import game_row
    from baselines.runs import ALGORITHMS
    from mfenvs import make, registered_games

    text = README.read_text()
    for name, trainer in ALGORITHMS.items():
        assert f"| `{name}` | `{getattr(trainer, 'model_class', trainer).__name__}`" in text
    for name, game_class in registered_games().items():
        if not game_class.__module__.startswith("mfenvs."):
            continue
        game = make(name)
        row = re.search(rf"\| `mfenvs/{name}` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", text)
        assert row is not None, name
        assert row.groups() == game_row(game)[:4]
