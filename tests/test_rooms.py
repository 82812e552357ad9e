"""What may import what: the data flows one way, and nothing imports in a circle, not even inside a function."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mfenvs", "baselines", "benchmarks")
ALIAS = "mfenvs.baselines"
"""In a clone the module that gives the trainers their installed name: the one place that looks the other way."""


def _modules(root: Path) -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(root: Path = ROOT) -> dict[str, set[str]]:
    """The project's modules that each module imports anywhere in its text, those for type checkers included."""
    modules = _modules(root)
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names if alias.name in modules}
            elif isinstance(node, ast.ImportFrom):
                parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*parts, *([node.module] if node.module else [])])
                for alias in node.names:
                    member = f"{base}.{alias.name}"
                    graph[name].add(member if member in modules else base)
        graph[name] = {other for other in graph[name] if other in modules and other != name}
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    graphlib.TopologicalSorter(imports()).prepare()


@pytest.mark.parametrize(
    ("room", "never"), [("mfenvs", "baselines"), ("mfenvs", "benchmarks"), ("baselines", "benchmarks")]
)
def test_data_flow_one_way(room: str, never: str) -> None:
    wrong = {
        (name, other)
        for name, others in imports().items()
        for other in others
        if name.partition(".")[0] == room and other.partition(".")[0] == never and name != ALIAS
    }
    assert not wrong


def test_the_energy_game_imports_nothing_but_data_of_what_surrounds_it() -> None:
    imported = {
        other
        for name, others in imports().items()
        for other in others
        if name.startswith("mfenvs.games.") and other.startswith("mfenvs.energy")
    }
    assert imported == {f"mfenvs.energy.{name}" for name in ("calendar", "members", "series", "tables", "tariffs")}


def test_trainers_do_not_hang_on_the_name_that_they_are_imported_by() -> None:
    """Installed they are ``mfenvs.baselines``, in a clone ``baselines``: they import each other relatively."""
    for name, path in _modules(ROOT).items():
        if name.partition(".")[0] == "baselines":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert not [n for n in names if n.partition(".")[0] == "baselines" or n.startswith(ALIAS)], name


def test_a_circle_inside_functions_and_for_type_checkers_is_seen(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "mfenvs" / "a.py").write_text("def f():\n    from mfenvs.b import g\n")
    (tmp_path / "mfenvs" / "b.py").write_text("if TYPE_CHECKING:\n    from .a import f\n")
    assert imports(tmp_path)["mfenvs.a"] == {"mfenvs.b"}
    assert imports(tmp_path)["mfenvs.b"] == {"mfenvs.a"}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(imports(tmp_path)).prepare()
