"""XML as a tree whose elements know their lines, within limits; document type declarations are refused."""

import io
from collections.abc import Callable, Mapping, Sequence
from xml.parsers import expat

from mfenvs.energy.entsoe.file import MAX_LINE_LENGTH, MAX_STEPS, SourceFile, shown

MAX_ELEMENTS = 4 * MAX_STEPS
"""Most elements that are held at a time: a step has up to four, itself included."""

MAX_DEPTH = 32
"""Most elements within one another; the platform's documents have 6."""

MAX_TEXT_LENGTH = 10_000
"""Most characters of an element's text."""

ENCODINGS = ("utf-8", "utf-16", "us-ascii", "iso-8859-1", "windows-1252")
"""Encodings that a document may declare."""

UNMARKED_UTF_16 = {"utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE"}
"""The parser's names of encodings."""

CHUNK_BYTES = 65_536


class Element:
    """An element: its tag without the namespace, its line, the text before its first child, and its children."""

    __slots__ = ("children", "line", "tag", "text")

    def __init__(self, tag: str, line: int) -> None:
        self.tag, self.line, self.text = tag, line, ""
        self.children: list[Element] = []

    def find(self, path: str) -> "Element | None":
        """The first descendant at a path of tags such as ``timeInterval/start``."""
        tag, _, rest = path.partition("/")
        for child in self.children:
            if child.tag == tag and (not rest or (found := child.find(rest))):
                return found if rest else child
        return None

    def all(self, tag: str) -> "list[Element]":
        """The children with this tag."""
        return [child for child in self.children if child.tag == tag]

    def written(self, path: str, otherwise: str = "") -> str:
        """The text of a descendant, stripped."""
        found = self.find(path)
        return otherwise if found is None else found.text.strip()

    def required(self, source: SourceFile, path: str) -> "tuple[str, int]":
        """Text and line of a descendant, which must be there once and have a text."""
        found = self.find(path)
        above, _, tag = path.rpartition("/")
        parent = self.find(above) if above else self
        if parent is not None and len(parent.all(tag)) > 1:
            raise source.error(
                f"has more than one element {path} within {self.tag}",
                parent.all(tag)[1].line,
                f"{self.tag}/{path}",
            )
        text = "" if found is None else found.text.strip()
        if found is None or not text:
            raise source.error(f"has no element {path} within {self.tag}", self.line, f"{self.tag}/{path}")
        return text, found.line

    def line_of(self, path: str) -> int:
        """The line of a descendant, or of this element if there is none."""
        found = self.find(path)
        return self.line if found is None else found.line


def read_tree(
    source: SourceFile,
    stream: io.BufferedReader,
    encoding: str,
    parents: Mapping[str, Sequence[str]],
    begin_root: Callable[[Element], None],
    take: Callable[[Element], bool],
) -> Element:
    """Read a document.

    Parameters
    ----------
    source:
        The file, for errors.
    stream:
        Its content.
    encoding:
        Its encoding. It holds for UTF-16 without a byte order mark; else what the document declares does.
    parents:
        Tags of the elements that an element of this tag may be in; elements of other tags may be anywhere.
    begin_root:
        Called with the root when it begins.
    take:
        Called with each child of the root when it ends; those that it takes (returns True for) are not kept in the
        tree.

    Returns
    -------
    Element
        The root, with what was not taken.

    Raises
    ------
    EntsoeFormatError
        If the document is not well-formed, has an element in the wrong place, is in an unknown encoding, declares
        a DTD, or exceeds a limit.
    """
    parser = expat.ParserCreate(UNMARKED_UTF_16.get(encoding), "}")
    parser.buffer_text = True
    path: list[Element] = []
    roots: list[Element] = []
    n_elements = n_before = 0

    def refuse(problem: str) -> None:
        raise source.error(problem, parser.CurrentLineNumber)

    def begin(tag: str, _: object) -> None:
        nonlocal n_elements, n_before
        element = Element(tag.rpartition("}")[2], parser.CurrentLineNumber)
        if len(path) == 1:
            n_before = n_elements
        n_elements += 1
        if n_elements > MAX_ELEMENTS:
            refuse(f"has more than {MAX_ELEMENTS} elements in a TimeSeries, or outside of any")
        if len(path) >= MAX_DEPTH:
            refuse(f"has more than {MAX_DEPTH} elements within one another")
        if element.tag in parents and (path[-1].tag if path else "") not in parents[element.tag]:
            refuse(f"{element.tag} must be within {' or '.join(parents[element.tag])}")
        if path:
            path[-1].children.append(element)
        else:
            roots.append(element)
            begin_root(element)
        path.append(element)

    def end(_: str) -> None:
        nonlocal n_elements
        element = path.pop()
        if len(path) == 1 and take(element):
            path[0].children.pop()
            n_elements = n_before

    def characters(text: str) -> None:
        element = path[-1]
        if not element.children:
            element.text += text
            if len(element.text) > MAX_TEXT_LENGTH:
                refuse(f"has a text of more than {MAX_TEXT_LENGTH} characters in {element.tag}")

    def declaration(_: str, declared: str | None, __: int) -> None:
        if declared is not None and declared.lower() not in ENCODINGS:
            refuse(f"must be in one of the encodings {', '.join(ENCODINGS)}, but declares {shown(declared)}")

    parser.XmlDeclHandler = declaration
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = lambda *_: refuse(
        "declares a document type (DTD), which ENTSO-E's files never do"
    )
    n_fed = 0
    try:
        while chunk := stream.read(CHUNK_BYTES):
            parser.Parse(chunk, False)
            n_fed += len(chunk)
            if n_fed - max(parser.CurrentByteIndex, 0) > CHUNK_BYTES + MAX_LINE_LENGTH:
                refuse(f"has a tag or comment of more than {MAX_LINE_LENGTH} bytes")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise source.error(f"is no well-formed XML ({error}); the file may be cut off", error.lineno) from error
    return roots[0]
