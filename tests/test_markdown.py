"""Tables of the benchmarks' pages."""

from benchmarks.markdown import markdown_table


def test_a_table_has_a_line_for_each_row_and_escapes_bars() -> None:
    expected = r"""
| \|S\| | b |
|---|---|
| 1 | two |
| 0.5 | a\|b |
"""
    assert markdown_table(("|S|", "b"), [(1, "two"), [0.5, "a|b"]]) == expected.strip()
    assert markdown_table(("a",), []) == "| a |\n|---|"
