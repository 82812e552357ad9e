"""How much a file may hold, how it may be packed and encoded, and that a damaged one becomes an error of ours."""

import gzip
import io
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mfenvs.energy.entsoe import MAX_STEPS, EntsoeFormatError, read_entsoe

EXPORT = (
    '"MTU (CET/CEST)","Area","Sequence","Day-ahead Price (EUR/MWh)"\r\n'
    '"29/10/2023 01:00:00 - 29/10/2023 02:00:00","BZN|DE-LU","Sequence 1","1.5"\r\n'
    '"29/10/2023 02:00:00 - 29/10/2023 03:00:00","BZN|DE-LU","Sequence 1","2"\r\n'
    '"29/10/2023 02:00:00 - 29/10/2023 03:00:00","BZN|DE-LU","Sequence 1","-3e1"\r\n'
)
LIBRARY = (
    "DateTime\tResolutionCode\tAreaCode\tAreaTypeCode\tMapCode\tTotalLoadValue\tUpdateTime\n"
    "2023-03-26 00:00:00.000\tPT60M\t10Y1\tCTY\tDE\t1.5\t2023-04-01 00:00:00\n"
    "2023-03-26 01:00:00.000\tPT60M\t10Y1\tCTY\tDE\t2\t2023-04-01 00:00:00\n"
    "2023-03-26 02:00:00.000\tPT60M\t10Y1\tCTY\tDE\t-30\t2023-04-01 00:00:00\n"
)
DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">\n'
    "<TimeSeries><in_Domain.mRID codingScheme='A01'>10Y1</in_Domain.mRID>\n"
    "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>\n"
    "<curveType>A03</curveType><Period><timeInterval><start>2023-10-28T23:00Z</start>\n"
    "<end>2023-10-29T02:00Z</end></timeInterval><resolution>PT60M</resolution>\n"
    "<Point><position>1</position><price.amount>1.5</price.amount></Point>\n"
    "<Point><position>2</position><price.amount>2</price.amount></Point>\n"
    "<Point><position>3</position><price.amount>-30</price.amount></Point>\n"
    "</Period></TimeSeries></Publication_MarketDocument>\n"
)
FILES = {"export": EXPORT, "library": LIBRARY, "document": DOCUMENT}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "prices.file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def declared(text, encoding):
    return text.replace('encoding="UTF-8"', f'encoding="{encoding}"')


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings_and_gzip(file, name, encoding, pack):
    text = declared(FILES[name], "UTF-16") if encoding.startswith("utf-16") else FILES[name]
    assert_array_equal(read_entsoe(file(pack(text.encode(encoding)))).values, [1.5, 2, -30])


def test_utf_16_with_a_mark_of_either_order(file):
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        for text in (EXPORT, LIBRARY, declared(DOCUMENT, "UTF-16"), declared(DOCUMENT, "utf-16")):
            assert_array_equal(read_entsoe(file(mark + text.encode(encoding))).values, [1.5, 2, -30])


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "us-ascii"])
def test_declared_encodings_of_xml(file, encoding):
    text = declared(DOCUMENT, encoding).replace("10Y1", "10Y1" if encoding == "us-ascii" else "Österreich")
    assert_array_equal(read_entsoe(file(text.encode(encoding))).values, [1.5, 2, -30])


@pytest.mark.parametrize("encoding", ["foo", "hex", "utf-7", "rot13", "punycode", "unicode_escape", "x" * 5000])
def test_unknown_encodings_of_xml(file, encoding):
    path = file(declared(DOCUMENT, encoding))
    with pytest.raises(EntsoeFormatError, match="line 1: must be in one of the encodings utf-8, utf-16") as error:
        read_entsoe(path)
    assert str(path) in str(error.value)
    assert encoding[:100] in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_what_is_not_utf_16(file, encoding):
    """An unpaired surrogate in line 3, and half a character at the end."""
    lines = EXPORT.encode(encoding).split(
        "\n".encode(encoding.replace("utf-16", "utf-16-le", encoding == "utf-16"))
    )
    surrogate = b"\xd8\x00" if encoding.endswith("be") else b"\x00\xd8"
    newline = b"\0\n" if encoding.endswith("be") else b"\n\0"
    lines[2] = surrogate * 2 + lines[2]
    with pytest.raises(EntsoeFormatError, match="line 3: must be UTF-16"):
        read_entsoe(file(newline.join(lines)))
    with pytest.raises(EntsoeFormatError, match=r"must be UTF-16.*truncated"):
        read_entsoe(file(EXPORT.encode(encoding)[:-1]))


def test_a_wrong_byte_is_placed_far_behind(file):
    rows = LIBRARY.splitlines(keepends=True)
    content = "".join(rows[:1] + rows[1:2] * 5000).encode()
    with pytest.raises(EntsoeFormatError, match="line 5002: must be UTF-8, but byte 0xff is not"):
        read_entsoe(file(content + b"\xff"))


def test_a_zip_archive_is_named_so(file):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", EXPORT)
    with pytest.raises(EntsoeFormatError, match="is a zip archive; unpack it"):
        read_entsoe(file(packed.getvalue()))


def test_damaged_gzip(file):
    packed = gzip.compress(EXPORT.encode() * 50)
    for damaged in (
        packed[:-3],
        packed[:40],
        packed[:12] + bytes(40) + packed[52:],
        packed[:-6] + b"abcdef",
        packed + b"x",
    ):
        path = file(damaged)
        with pytest.raises(EntsoeFormatError, match="is a damaged gzip file") as error:
            read_entsoe(path)
        assert str(path) in str(error.value)


def test_most_bytes_count_unpacked(file):
    for content in (EXPORT.encode(), gzip.compress(EXPORT.encode())):
        path = file(content)
        assert len(read_entsoe(path, max_bytes=len(EXPORT)).values) == 3
        with pytest.raises(EntsoeFormatError, match=f"holds more than max_bytes={len(EXPORT) - 1} bytes") as error:
            read_entsoe(path, max_bytes=len(EXPORT) - 1)
        assert str(path) in str(error.value)


def peak_memory(path, words, **arguments):
    tracemalloc.start()
    try:
        with pytest.raises(EntsoeFormatError, match=words) as error:
            read_entsoe(path, **arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 2000
    return peak


def long_document(begin, end, resolution="PT15M"):
    return (
        DOCUMENT.replace("2023-10-28T23:00Z", begin).replace("2023-10-29T02:00Z", end).replace("PT60M", resolution)
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"<GL_MarketDocument>" + b"<!-- a -->" * 2**22), "holds more than max_bytes=16777216"),
        (gzip.compress(EXPORT.encode() + b"1" * 2**25), "at most 65536 characters in a line"),
        (gzip.compress(EXPORT.encode() + b'"a\n",' * 2**22), "line 5: the quotes are wrong"),
        (gzip.compress(b"MTU" + b"," * 2**25), "at most 65536 characters in a line"),
        (gzip.compress(bytes(2**25)), "is no ENTSO-E file"),
        (long_document("1970-01-01T00:00Z", "2099-01-01T00:00Z"), "at most 400000 steps, got 4523232"),
        (long_document("1900-01-01T00:00Z", "2000-01-01T00:00Z"), "must lie in the years 1970 to 2100"),
        (long_document("0001-01-01T00:00Z", "9999-01-01T00:00Z"), "must lie in the years 1970 to 2100"),
        (gzip.compress(b"<GL_MarketDocument>" + b"<a/>" * 2**22), "has more than 5000 elements"),
        (gzip.compress(b"<GL_MarketDocument>" + b"<a>" * 2**22), "has more than 32 elements within one another"),
        (gzip.compress(b"<GL_MarketDocument>" + b"a" * 2**24), "text of more than 10000 characters"),
        (gzip.compress(b"<GL_MarketDocument " + b"a" * 2**24), "tag or comment of more than"),
        (gzip.compress(b"<GL_MarketDocument><!--" + b"a" * 2**24), "tag or comment of more than"),
    ],
)  # fmt: skip
def test_small_files_do_not_take_all_memory(file, monkeypatch, content, words):
    """Each would take hundreds of megabytes or more; a smaller limit of elements saves time here."""
    monkeypatch.setattr("mfenvs.energy.entsoe.xml_tree.MAX_ELEMENTS", 5000)
    assert peak_memory(file(content), words, max_bytes=2**24) < 10e6


def test_many_small_periods(file, monkeypatch):
    """A thousand periods of 4,800 steps each: no more is made of them than the limit, here 5,000."""
    for module in ("rows", "api_xml"):
        monkeypatch.setattr(f"mfenvs.energy.entsoe.{module}.MAX_STEPS", 5000)
    begin, end = "<Period>", "</Period>"
    text = long_document("2020-01-01T00:00Z", "2020-02-20T00:00Z")
    period = text[text.index(begin) : text.index(end) + len(end)]
    path = file(text.replace(period, period * 1000))
    assert peak_memory(path, "holds more than 5000 steps of the series") < 20e6


def test_no_more_rows_are_kept_than_the_limit(file, monkeypatch):
    """Of 50,000 rows, some 20 MB in memory, no more than the limit, here 1,000."""
    monkeypatch.setattr("mfenvs.energy.entsoe.rows.MAX_STEPS", 1000)
    head, row = LIBRARY.splitlines(keepends=True)[:2]
    assert peak_memory(file(head + row * 50_000), "holds more than 1000 steps of the series") < 5e6


def test_many_rows(file, monkeypatch):
    """With a smaller limit, for speed: five steps are too many, whether they are one series or two."""
    monkeypatch.setattr("mfenvs.energy.entsoe.rows.MAX_STEPS", 4)
    assert len(read_entsoe(file(LIBRARY)).values) == 3
    rows = LIBRARY.splitlines(keepends=True)
    with pytest.raises(EntsoeFormatError, match="holds more than 4 steps of the series, the most"):
        read_entsoe(file("".join(rows + rows[1:])))
    others = [row.replace("10Y1", "10Y2") for row in rows[1:]]
    with pytest.raises(EntsoeFormatError, match=r"line 5: has more than one area"):
        read_entsoe(file("".join(rows + others)))


def test_interpolation_makes_no_more_steps_than_the_limit(file):
    rows = LIBRARY.replace("2023-03-26 02", "2099-03-26 02")
    with pytest.raises(EntsoeFormatError, match=r"would make 666219 steps .* more than 400000"):
        read_entsoe(file(rows), missing="interpolate", max_gap=10**9)
    with pytest.raises(EntsoeFormatError, match="more than max_gap=180"):
        read_entsoe(file(rows), missing="interpolate")


@pytest.mark.parametrize("year", ["0001", "1969", "2101", "9999"])
def test_years(file, year):
    for text in (EXPORT, LIBRARY, DOCUMENT):
        with pytest.raises(EntsoeFormatError, match=r"line .*must lie in the years 1970 to 2100, got"):
            read_entsoe(file(text.replace("2023", year)))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("number", ["1" * 5000, "1" * 60_000 + "x", "1e400", "-" * 60_000, "9" * 400])
def test_huge_numbers(file, name, number):
    with pytest.raises(EntsoeFormatError) as error:
        read_entsoe(file(FILES[name].replace("1.5", number)))
    assert len(str(error.value)) < 500


def test_huge_numbers_of_sequences_and_positions(file):
    with pytest.raises(EntsoeFormatError, match=r"line 2, column 'Sequence': must be Sequence and a number"):
        read_entsoe(file(EXPORT.replace("Sequence 1", "Sequence " + "1" * 5000)))
    with pytest.raises(EntsoeFormatError, match=r"Point/position': must be an integer in \[1, 3\]"):
        read_entsoe(file(DOCUMENT.replace("<position>1<", f"<position>{'1' * 5000}<")))


SPLICES = [
    b"",
    b'"',
    b"\n",
    b"\t",
    b",",
    b"\0",
    b"\xff",
    b"<",
    b"&",
    b"]]>",
    b"9" * 30,
    b"-",
    b"e9",
    b"\xef\xbb\xbf",
    b"PT15M",
    b"n/e",
]

damages = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, 999), st.integers(0, 999)),
        st.tuples(st.just("flip"), st.integers(0, 999), st.integers(0, 7)),
        st.tuples(st.just("swap"), st.integers(0, 999), st.integers(0, 999)),
        st.tuples(st.just("splice"), st.integers(0, 999), st.integers(0, len(SPLICES) - 1)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content, steps):
    content = bytearray(content)
    for kind, at, by in steps:
        if not content:
            break
        at %= len(content)
        if kind == "cut":
            del content[at : at + by]
        elif kind == "flip":
            content[at] ^= 1 << by
        elif kind == "swap":
            by %= len(content)
            content[at], content[by] = content[by], content[at]
        else:
            content[at : at + 1] = SPLICES[by]
    return bytes(content)


def outcome(path, **arguments):
    """The series, or what the reader's own error says; any other error goes through."""
    try:
        return read_entsoe(path, **arguments), ""
    except EntsoeFormatError as error:
        return None, str(error)


@settings(max_examples=400)
@given(
    st.sampled_from(sorted(FILES)),
    st.sampled_from(["utf-8", "utf-16"]),
    st.booleans(),
    damages,
    st.sampled_from(["error", "interpolate"]),
)
def test_damaged_files_are_read_or_refused(tmp_path_factory, name, encoding, is_packed, steps, missing):
    """Bytes cut, flipped, swapped and put in: a series of finite numbers, or an error that names the file."""
    text = FILES[name] if encoding == "utf-8" else declared(FILES[name], "UTF-16")
    content = text.encode(encoding)
    path = tmp_path_factory.getbasetemp() / "damaged.file"
    path.write_bytes(damaged(gzip.compress(content), steps) if is_packed else damaged(content, steps))
    found, said = outcome(path, missing=missing)
    if found is None:
        assert str(path) in said
    else:
        assert np.isfinite(found.values).all()
        assert 1 <= len(found.values) <= MAX_STEPS


@settings(max_examples=150)
@given(st.binary(max_size=300), st.sampled_from([None, "gui-csv", "file-library", "xml"]))
def test_arbitrary_bytes(tmp_path_factory, content, form):
    path = tmp_path_factory.getbasetemp() / "arbitrary.file"
    path.write_bytes(content)
    with pytest.raises(EntsoeFormatError, match=re.escape(str(path))):
        read_entsoe(path, format=form)
