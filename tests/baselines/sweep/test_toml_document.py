"""The line of a key in a TOML document, and errors that name it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.sweep.toml_document import MOST_BYTES, Document, SpecificationError

TEXT = '''\
# one
seeds = 3

[[games]]
game = "A" # [[games]] in a comment
constants = { n = 1,  m = 2 }

[[games]]
game = """
seeds = 9
[[games]]
"""
[games.grid]
n = [
    1,
    2,
]
"m.x" = 4
a.b.c = 5
[[algorithms]]
algorithm = "x"'''


def document(tmp_path: Path, text: str) -> Document:
    path = tmp_path / "spec.toml"
    path.write_bytes(text.encode())
    return Document(path)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("seeds",), 2),
        (("games",), 4),
        (("games", 0), 4),
        (("games", 0, "game"), 5),
        (("games", 0, "constants", "m"), 6),
        (("games", 1), 8),
        (("games", 1, "game"), 9),
        (("games", 1, "grid"), 13),
        (("games", 1, "grid", "n"), 14),
        (("games", 1, "grid", "n", 1), 14),
        (("games", 1, "grid", "m.x"), 18),
        (("games", 1, "grid", "a", "b", "c"), 19),
        (("algorithms", 0), 20),
        (("algorithms", 0, "algorithm"), 21),
    ],
)
def test_the_line_of_a_key(key, line: int, ends: str, tmp_path) -> None:
    assert document(tmp_path, TEXT.replace("\n", ends)).line(key) == line


@given(gaps=st.lists(st.sampled_from(["", "# k0 = 1", "\n\n", 'x = """\nk0 = 1\n"""']), min_size=1, max_size=6))
def test_lines_between_statements_are_counted(gaps: list[str], tmp_path_factory) -> None:
    """Keys k0, k1 ... with blank lines, comments and texts of several lines between them, counted by hand."""
    text, expected = "", []
    for place, gap in enumerate(gaps):
        text += gap.replace("x =", f"x{place} =") + "\n"
        expected.append(text.count("\n") + 1)
        text += f"k{place} = {place}\n"
    found = document(tmp_path_factory.mktemp("lines"), text)
    assert [found.line((f"k{place}",)) for place in range(len(gaps))] == expected


def test_an_error_names_the_file_the_line_and_the_key(tmp_path) -> None:
    found = document(tmp_path, TEXT)
    with pytest.raises(SpecificationError, match=r"spec\.toml, line 14: games\[2\]\.grid\.n must be odd"):
        found.refuse(("games", 1, "grid", "n"), "must be odd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seeds = 1\nseeds = 2\n", r"spec\.toml is not TOML: .*line 2"),
        (b"seeds = \xff\n", "is not TOML"),
        (b"seeds = " + b"[" * 5000, "is not TOML"),
        (b"#" * (MOST_BYTES + 1), "must have at most"),
    ],
)
def test_what_is_not_toml_is_refused(content: bytes, message: str, tmp_path) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    with pytest.raises(SpecificationError, match=message):
        Document(tmp_path / "spec.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(SpecificationError, match=r"cannot read .*none\.toml: No such file"):
        Document(tmp_path / "none.toml")
    with pytest.raises(SpecificationError, match="cannot read"):
        Document(tmp_path)


def test_keys_that_are_not_allowed_are_refused(tmp_path) -> None:
    table = document(tmp_path, 'name = "a"\nlabl = "b"\n').table()
    assert table.text("name") == "a"
    assert table.text("label", "c") == "c"
    with pytest.raises(SpecificationError, match=r"line 2: labl is an unknown key \(did you mean 'label'\?\)"):
        table.check_names(["name", "label"])
