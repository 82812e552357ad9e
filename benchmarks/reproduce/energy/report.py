"""One self-contained HTML page of figures and tables: what a grid planner reads of the energy market.

Nothing is loaded from anywhere: figures are inline SVG with their text as text, and there are no scripts. The page
can be read on a phone, where wide figures and tables scroll by themselves, and printed.
"""

import dataclasses
import io
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from baselines.versions import versions
from benchmarks.reproduce.energy.tables import Table
from mfenvs.files import replacing

MOST_BYTES = 5_000_000
"""Of a page."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: text, then a figure or a table or both, with a caption.

    Raises
    ------
    ValueError
        If the title is empty, or a figure has neither caption nor alternative text.
    """

    title: str
    text: str = ""
    """Paragraphs are separated by empty lines."""
    figure: Figure | None = None
    table: Table | None = None
    caption: str = ""
    """Of the figure, or of the table if there is none."""
    alt: str = ""
    """What the figure shows, for those who cannot see it; the caption by default."""

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError(f"title must not be empty, got {self.title!r}")
        if self.figure is not None and not (self.caption or self.alt):
            raise ValueError(f"caption or alt must say what the figure of {self.title!r} shows, got neither")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What stands at the top: a few sentences, and the key figures."""

    text: str
    table: Table


def write_report(
    path: str | Path,
    title: str,
    summary: Summary,
    sections: Sequence[Section],
    provenance: Mapping[str, Any],
) -> None:
    """Write the page; it takes the place of ``path`` only when it is complete.

    Parameters
    ----------
    path:
        Where to.
    title:
        Of the page.
    summary:
        What stands at the top.
    sections:
        In their order, at least one, no title twice.
    provenance:
        What stands at the bottom, such as :func:`provenance` returns: texts or numbers, or mappings of them.

    Raises
    ------
    ValueError
        If there is no section, two have one title, or the page is larger than 5 MB.
    """
    titles = [section.title for section in sections]
    if not titles or len(set(titles)) != len(titles):
        raise ValueError(f"sections must be at least one, with different titles, got {titles!r}")
    parts = [
        {
            "id": f"s{number}",
            "number": number,
            "section": section,
            "paragraphs": _paragraphs(section.text),
            "svg": None
            if section.figure is None
            else inline_svg(section.figure, f"s{number}", section.alt or f"{section.title}. {section.caption}"),
        }
        for number, section in enumerate(sections, 1)
    ]
    page = TEMPLATE.render(
        title=title,
        summary=summary,
        summary_paragraphs=_paragraphs(summary.text),
        parts=parts,
        provenance={key: _in_words(value) for key, value in provenance.items()},
        style=Markup(STYLE),
    ).encode()
    if len(page) > MOST_BYTES:
        raise ValueError(f"sections must make a page of at most {MOST_BYTES} bytes, got {len(page)}")
    with replacing(path) as file:
        file.write(page)


def provenance(seeds: Sequence[int], **more: Any) -> dict[str, Any]:
    """Date, git commit, seeds and versions, and what else is given (``device="cpu"``)."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "git commit": git_commit(),
        "seeds": ", ".join(map(str, seeds)),
        **more,
        "versions": versions(),
    }


def git_commit() -> str:
    """Hash of this repository's commit, with ``, with changes`` if files differ from it; ``unknown`` outside."""
    folder = Path(__file__).parent

    def told(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        commit = told("rev-parse", "HEAD")
        return f"{commit}, with changes" if told("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def inline_svg(figure: Figure, prefix: str, alt: str) -> Markup:
    """A figure as an SVG element for HTML: text as text, every id with this prefix, ``alt`` for screen readers."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    texts = "".join(node.get(name, "") for node in root.iter() for name in node.keys())  # noqa: SIM118
    used = set(re.findall(r"url\(#([^)]+)\)", texts))
    used |= {value[1:] for node in root.iter() if (value := node.get(f"{{{XLINK}}}href", "")).startswith("#")}
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        attributes = {_local(name): value for name, value in node.attrib.items()}
        node.attrib.clear()
        for name, value in attributes.items():
            if name == "id":
                if value in used:
                    node.set("id", f"{prefix}-{value}")
            elif name == "href":
                node.set("href", value.replace("#", f"#{prefix}-", 1))
            elif name == "style":
                # The family is the page's: the fonts of this machine need not be the reader's.
                without = re.sub(r"font-family: [^;]*;? ?", "", value)
                node.set("style", without.replace("url(#", f"url(#{prefix}-"))
            else:
                node.set(name, value.replace("url(#", f"url(#{prefix}-"))
        node.tag = _local(node.tag)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", alt)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


XLINK = "http://www.w3.org/1999/xlink"


def _local(name: str) -> str:
    """A name without its namespace: HTML knows what is SVG."""
    return name.rpartition("}")[2]


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(item)}" for key, item in value.items())
    return str(value)


STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 66rem; background: #fff; color: #1f2328;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.75rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid #dcdfe3; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: #0b5c8f; }
nav ol { margin: .5rem 0; padding-left: 2rem; columns: 22rem; column-gap: 3rem; }
nav h2, .summary h2 { border: 0; margin-top: 1.5rem; padding: 0; }
figure { margin: 1rem 0 0; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #0b5c8f; }
svg { display: block; width: 100%; max-width: 56.25rem; min-width: 40rem; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; white-space: pre; }
figcaption, .note { color: #545b64; font-size: .9rem; max-width: 46rem; margin: .35rem 0 0; }
table { border-collapse: collapse; margin: 1rem 0 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; color: #545b64; font-size: .9rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e6e8eb; vertical-align: baseline; }
td, thead th { text-align: right; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; min-width: 3.5rem; border-bottom: 1.5px solid #8c9199; font-weight: 600; }
thead th:first-child, tbody th { text-align: left; }
tbody th { font-weight: 400; min-width: 7rem; }
td:last-child, th:last-child { padding-right: 0; }
.unit { display: block; font-weight: 400; color: #545b64; font-size: .85em; }
footer { margin-top: 3rem; border-top: 1px solid #dcdfe3; padding-top: .5rem; color: #545b64; font-size: .85rem; }
footer h2 { border: 0; margin: 0; padding: 0; font-size: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
@media (min-width: 48rem) { tbody th { white-space: nowrap; } }
@media (max-width: 30rem) { body { padding: 1rem .75rem 2rem; } h1 { font-size: 1.4rem; } }
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; } .scroll { overflow: visible; } svg { min-width: 0; }
  figure, table, tr { break-inside: avoid; } h2 { break-after: avoid; }
  table { font-size: 8pt; } thead th { white-space: normal; } th, td { padding-right: .6rem; }
}
"""

PAGE = """\
{%- macro tabulate(table, caption) %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ caption or 'table' }}">
<table>
{%- if caption %}<caption>{{ caption }}</caption>{% endif %}
<thead><tr>
{%- for column in table.columns %}<th scope="col">{{ column.name }}
{%- if column.unit %}<span class="unit">{{ column.unit }}</span>{% endif %}</th>{% endfor -%}
</tr></thead>
<tbody>
{%- for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- if table.note %}<p class="note">{{ table.note }}</p>{% endif %}
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<header class="summary">
<h1>{{ title }}</h1>
{%- for paragraph in summary_paragraphs %}
<p>{{ paragraph }}</p>
{%- endfor %}
{{ tabulate(summary.table, "Key figures") }}
</header>
<nav aria-label="Contents">
<h2>Contents</h2>
<ol>
{%- for part in parts %}
<li><a href="#{{ part.id }}">{{ part.section.title }}</a></li>
{%- endfor %}
</ol>
</nav>
<main>
{%- for part in parts %}
<section id="{{ part.id }}">
<h2>{{ part.number }}. {{ part.section.title }}</h2>
{%- for paragraph in part.paragraphs %}
<p>{{ paragraph }}</p>
{%- endfor %}
{%- if part.svg %}
<figure>
<div class="scroll" tabindex="0" role="region" aria-label="Figure {{ part.number }}">{{ part.svg }}</div>
{%- if part.section.caption %}<figcaption>{{ part.section.caption }}</figcaption>{% endif %}
</figure>
{%- endif %}
{%- if part.section.table %}
{{ tabulate(part.section.table, "" if part.svg else part.section.caption) }}
{%- endif %}
</section>
{%- endfor %}
</main>
<footer>
<h2>Provenance</h2>
<dl>
{%- for key, value in provenance.items() %}
<dt>{{ key }}</dt><dd>{{ value }}</dd>
{%- endfor %}
</dl>
</footer>
</body>
</html>
"""

TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
