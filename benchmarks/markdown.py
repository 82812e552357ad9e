"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table, without a line break at its end; bars within cells are escaped."""
    above, *below = (f"| {' | '.join(map(_escaped, cells))} |" for cells in (head, *rows))
    return "\n".join([above, "|" + "---|" * len(head), *below])


def _escaped(cell: object) -> str:
    return str(cell).replace("|", r"\|")
