"""The code of the pages in ``docs`` runs as it stands there, from the root of the repository."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "energy_market.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(3))
def test_every_python_block_of_the_energy_market_runs_by_itself(number, tmp_path, monkeypatch) -> None:
    assert len(blocks("python")) == 3
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[number], str(PAGE), "exec"), {"__name__": "page"})


def test_a_village_is_no_longer_than_promised() -> None:
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 15


def test_the_page_quotes_the_files() -> None:
    (scenario,) = blocks("toml")
    assert scenario == (ROOT / "docs" / "village" / "village.toml").read_text()
    quoted = re.findall(r"\n```\n((?:name|time),.*?)```\n", PAGE.read_text(), re.DOTALL)
    for block, name in zip(quoted, ("members.csv", "series.csv"), strict=True):
        lines = (ROOT / "docs" / "village" / name).read_text().splitlines()
        assert block.splitlines()[0] == lines[0]
        assert set(block.splitlines()) <= set(lines)


def test_the_page_names_all_columns_of_members() -> None:
    from mfenvs.energy.members import COLUMNS

    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert set(COLUMNS) <= named
