"""The energy market's tables, and its page, which is whole, safe and self-contained."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.reproduce.energy import report, tables
from benchmarks.reproduce.energy.figures import market, policies
from benchmarks.reproduce.energy.figures.style import policy_styles
from benchmarks.reproduce.energy.report import Section, Summary, write_report
from benchmarks.reproduce.energy.tables import Column, Table
from mfenvs.energy.forecast_scores import Evaluation
from mfenvs.energy.settlement import Ledger, summary

# Tables.


def test_a_table_as_markdown():
    assert TABLE.markdown() == (
        "| policy | gain (EUR) |\n| --- | ---: |\n| ours <b> | 1.5 ± 0.2 |\n| no trade | 0 |"
    )


def test_figures_with_their_intervals():
    assert tables.mean_text((1.25, 0.5), ".1f", 10) == "12.5 ± 5.0"
    assert tables.mean_text((-0.001, 0.002), ".2f") == "0.00 ± 0.00"
    assert tables.mean_text((-1.0, float("nan")), ".1f") == "−1.0"
    assert tables.interval_text((0.5, 0.25, -0.75), ".0f", 100) == "50 [25, −75]"
    assert tables.interval_text((0.5, float("nan"), float("nan")), ".2f") == "0.50"
    assert tables.interval_text(None, ".2f") == ""


EVALUATION = Evaluation(
    names=("naive", "linear"),
    n_days=91,
    crps=np.array([10.0, 8.0]),
    crps_standard_error=np.array([1.0, 0.5]),
    log_score=np.array([-3.0, 2.5]),
    coverage=np.array([[0.5, 0.9], [0.45, 0.874]]),
    statistic=np.zeros((2, 2)),
    p_value=np.array([[1.0, 0.0004], [0.0004, 1.0]]),
)


def test_the_table_of_forecasts():
    table = tables.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "naive")
    assert table.rows == (
        ("price (EUR/MWh): naive", "10.0 ± 2.0", "", "", "−3.00", "50.0 %", "90.0 %"),
        ("price (EUR/MWh): linear", "8.00 ± 0.98", "−20.0 %", "< 0.001", "2.50", "45.0 %", "87.4 %"),
    )
    assert "91 days" in table.note
    other = tables.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "linear")
    assert other.rows[0][2:4] == ("+25.0 %", "< 0.001")
    with pytest.raises(ValueError, match="units must name 'price'"):
        tables.forecast_table({"price": EVALUATION}, {}, "naive")
    with pytest.raises(ValueError, match="against must be one of 'naive', 'linear', got 'nobody'"):
        tables.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "nobody")


def test_digits():
    assert [tables.three_digits(x) for x in (123.4, 12.0, -1.0, 0.05, 0.0)] == [".0f", ".1f", ".2f", ".4f", ".2f"]


def test_the_table_of_a_settlement():
    settled = Ledger(fee_per_payment=0.5).settle([3.0, -1.0, -2.0])
    table = dict(tables.settlement_table(summary(settled)).rows)
    assert table["transfers"] == "2"
    assert table["settled as they should, of their value"] == "100.0 %"
    assert table["fees (EUR)"] == "1.00"
    assert table["fees per EUR settled (EUR)"] == "0.3333"
    assert table["penalties of failed transfers (EUR)"] == "0.00"


# The page.

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects ids, references, texts and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.texts, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.note(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open
        self.note(tag, attrs)

    def note(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append((self.open[-1], data))


TABLE = Table(
    (Column("policy"), Column("gain", "EUR")), (("ours <b>", "1.5 ± 0.2"), ("no trade", "0")), "n = 3 & more"
)


def merit_order():
    curves = np.array([0.1, 0.2, 0.2, 0.3]), np.array([3.0, 3, 1, 1]), np.array([0.0, 2, 2, 4])
    return market.merit_order(*curves, 0.08, 0.32, 0.2, 2.0)


def gain_by_type(name="ours"):
    return policies.gain_by_type({name: {"all": (1.0, 0.5)}}, policy_styles([name]), "EUR")


def sections():
    return [
        Section(
            "Clearing", "First.\n\nSecond <script>alert(1)</script>.", merit_order(), caption="The & caption."
        ),
        Section("Prices", figure=gain_by_type(), caption="By day.", alt='Lines of a "day".'),
        Section("Numbers", table=TABLE, caption="All numbers"),
        Section("Both", figure=gain_by_type(), table=TABLE, caption="Learning."),
    ]


def written(path, **changes):
    given = {
        "title": "Market <1>",
        "summary": Summary("All is well.", TABLE),
        "sections": sections(),
        "provenance": {"seeds": "0, 1", "versions": {"numpy": "2", "evil": "<i>"}},
    }
    write_report(path, **(given | changes))
    return path.read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report") / "page.html")


def test_the_page_is_well_formed_and_complete(text):
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    references = {value for _, name, value in page.attributes if name == "href"}
    references |= set(re.findall(r"url\(([^)]*)\)", text))
    assert references
    assert {reference[1:] for reference in references} <= set(page.ids)
    assert {"#s1", "#s2", "#s3", "#s4"} <= references
    words = [word for word in map(str.strip, page.texts) if word]
    for word in (
        "1. Clearing",
        "4. Both",
        "First.",
        "The & caption.",
        "Key figures",
        "All numbers",
        "n = 3 & more",
    ):
        assert word in words
    assert words.count("Clearing") == 1
    assert page.cells.count(("td", "1.5 ± 0.2")) == 3
    assert page.cells.count(("th", "ours <b>")) == 3
    assert {"EUR", "numpy 2, evil <i>", "0, 1"} <= set(words)


def test_nothing_of_the_page_comes_from_elsewhere_or_runs(text):
    page = Page(text)
    assert "://" not in text
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _, _ in page.attributes}
    assert not any(name.startswith("on") or name == "src" for _, name, _ in page.attributes)
    assert "<script" not in text
    assert "@import" not in text


def test_figures_are_text_that_screen_readers_and_searches_find(text):
    page = Page(text)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == ["Clearing. The & caption.", 'Lines of a "day".', "Both. Learning."]
    roles = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert roles == ["img"] * 3
    assert "supply of the community" in page.texts
    assert "energy (kWh per member)" in page.texts
    # The reader's fonts, not this machine's.
    assert not re.search(r"style=\"[^\"]*font-family|style=\"[^\"]*font:", text)
    assert "font-size: 10px" in text


def test_names_in_figures_are_escaped_too(tmp_path):
    name = '<script>"&'
    sections = [Section(name, figure=gain_by_type(name), caption=name)]
    text = written(tmp_path / "page.html", sections=sections)
    assert name in Page(text).texts
    assert "<script" not in text


def test_what_a_figure_draws_survives_its_way_to_the_page():
    """The vertices of a line in the SVG, in the picture's points, are those that the axes give."""
    figure = merit_order()
    svg = report.inline_svg(figure, "x", "alt")
    ax = figure.axes[0]
    height = figure.bbox.height * 72 / figure.dpi
    vertices = ax.transData.transform(ax.lines[0].get_xydata()) * 72 / figure.dpi
    paths = [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", d), float) for d in re.findall(r' d="([^"]*)"', svg)]
    expected = np.column_stack([vertices[:, 0], height - vertices[:, 1]])
    assert any(path.shape == expected.shape and np.allclose(path, expected, atol=0.01) for path in paths)


def test_the_same_page_again(text, tmp_path):
    assert written(tmp_path / "again.html") == text


def test_a_page_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("before")
    for wrong in ([], [Section("a"), Section("a")]):
        with pytest.raises(ValueError, match="sections must be at least one, with different titles"):
            written(path, sections=wrong)
    monkeypatch.setattr(report, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a page of at most 1000 bytes"):
        written(path, sections=[Section("a")])
    monkeypatch.undo()

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(path, sections=[Section("a")])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_sections_and_tables_are_checked():
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells, got 1"):
        dataclasses.replace(TABLE, rows=(("a", "1"), ("b",)))
    with pytest.raises(ValueError, match="title must not be empty"):
        Section(" ")
    with pytest.raises(ValueError, match="caption or alt must say what the figure of 'x' shows"):
        Section("x", figure=merit_order())


def test_provenance(monkeypatch):
    found = report.provenance([3, 4], machine="a laptop")
    assert list(found) == ["date", "git commit", "seeds", "machine", "versions"]
    assert found["seeds"] == "3, 4"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert re.fullmatch(r"[0-9a-f]{40}(, with changes)?|unknown", found["git commit"])
    assert found["versions"]["numpy"] == np.__version__
    monkeypatch.setenv("PATH", "")
    assert report.git_commit() == "unknown"
