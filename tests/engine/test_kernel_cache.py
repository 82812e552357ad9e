"""Files of machine code: which are found, and that nothing that is wrong with them or the disk stops a run."""

import errno
import importlib.util
import logging
import os
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest

from mfenvs.engine import kernel_cache
from mfenvs.engine.kernel_cache import CacheWarning, _read

HEAD = """
import enum
from typing import NamedTuple
import numba
import numpy as np
from numba.extending import intrinsic, overload
from mfenvs.engine.compile import kernel, solver
from mfenvs.rules import rule
"""

DOUBLE = "@kernel\ndef outer(x): return x * 2\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    # A module that is written again within a second, in the same length, would be read from its stale bytecode.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_warned", [])
    return tmp_path


def outer_of(folder: Path, source: str, name: str = "module"):
    """The function ``outer`` of a new module, as another process would have it."""
    path = folder / f"{name}.py"
    path.write_text(HEAD + source)
    specification = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found.outer


def hits(function) -> int:
    return sum(function.stats.cache_hits.values())


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "cache").rglob("*") if path.is_file())


TERMS = "class Terms(NamedTuple):\n    {}: float\n    {}: float\n"


@pytest.mark.parametrize(
    ("source", "before", "after", "calls"),
    [
        ("@kernel\ndef outer(x): return x * {}\n", ("2",), ("3",), [(1,), (2,), (3,)]),
        # A helper that stands below its caller.
        (
            "@kernel\ndef outer(x): return f(x)\n@kernel\ndef f(x): return x * {}\n",
            ("2",),
            ("3",),
            [(1,), (2,), (3,)],
        ),
        # What is reached of named tuples as arguments, nested in others, and as constants.
        (TERMS + "@kernel\ndef outer(t): return t.win\n", ("win", "lose"), ("lose", "win"), ["t", (10,), (-3,)]),
        (
            TERMS + "@kernel\ndef outer(t): return t[0].win\n",
            ("win", "lose"),
            ("lose", "win"),
            ["(t, 1)", (10,), (-3,)],
        ),
        (
            TERMS + "T = Terms(10., -3.)\n@kernel\ndef outer(x): return x + T.win\n",
            ("win", "lose"),
            ("lose", "win"),
            [(0,), (10,), (-3,)],
        ),
        (
            "class Kind(enum.IntEnum):\n    A = {}\n@kernel\ndef outer(x): return x + Kind.A\n",
            ("2",),
            ("3",),
            [(0,), (2,), (3,)],
        ),
        (
            "@numba.vectorize\ndef f(x): return x * {}\n@kernel\ndef outer(x): return f(x)\n",
            ("2",),
            ("3",),
            [(1,), (2,), (3,)],
        ),
        (
            "def f(x): ...\n@overload(f)\ndef given(x): return lambda x: x * {}\n"
            "@kernel\ndef outer(x): return f(x)\n",
            ("2",),
            ("3",),
            [(1,), (2,), (3,)],
        ),
    ],
)
def test_code_of_an_edited_source_is_never_taken(folder, source, before, after, calls):
    argument, *expected = calls
    for edit, (value,) in zip((before, after, before), (*expected, expected[0]), strict=True):
        outer = outer_of(folder, source.format(*edit))
        if isinstance(argument, str):
            arguments = (eval(argument, {"t": outer.py_func.__globals__["Terms"](10.0, -3.0)}),)
        else:
            arguments = argument
        assert outer(*arguments) == value
    assert hits(outer) == 1, "the first source's code is found again"


def test_fields_of_a_record_are_read_where_they_are_now(folder):
    for fields, value, n_hits in ((("a", "b"), 1.0, 0), (("b", "a"), 2.0, 0), (("a", "b"), 1.0, 1)):
        outer = outer_of(folder, "@kernel\ndef outer(records): return records[0].a\n")
        assert outer(np.array([(1.0, 2.0)], [(name, np.float64) for name in fields])) == value
        assert hits(outer) == n_hits


def test_all_kinds_of_returned_values_come_back(folder):
    source = "@solver\ndef outer(kind, x):\n    return {}\n"
    for expression, value in (
        ("(x, (1, True), 1.5)", (2.0, (1, True), 1.5)),
        ("None", None),
        ("-1", -1),
        ("np.full(3, x)", [2.0] * 3),
        ("(np.float32(x), np.full((1, 1), x), 1j)", (2.0, [[2.0]], 1j)),
    ):
        for n_hits in (0, 1):
            outer = outer_of(folder, source.format(expression))
            found = outer(0, 2.0)
            assert hits(outer) == n_hits, expression
            if isinstance(value, tuple):
                assert [np.asarray(v).tolist() if isinstance(v, np.ndarray) else v for v in found] == list(value)
            else:
                assert np.all(found == value) if value is not None else found is None


def test_what_is_bound_to_the_users_classes_is_not_kept(folder):
    source = TERMS.format("win", "lose") + "@kernel\ndef outer(x): return Terms(x, x)\n"
    for _ in range(2):
        outer = outer_of(folder, source)
        assert outer(1.0).lose == 1.0
        assert isinstance(outer(1.0), outer.py_func.__globals__["Terms"])
    assert files(folder) == []


def test_what_cannot_be_told_is_compiled_in_every_process(folder, caplog):
    with caplog.at_level(logging.INFO, "mfenvs"):
        assert outer_of(folder, "table = np.ones(2)\n@solver\ndef outer(x): return x + table[0]")(1.0) == 2.0
    assert "compiled in every process" in caplog.text
    assert files(folder) == []


def test_errors_are_raised_by_code_from_disk(folder):
    source = (
        "@rule\ndef checked(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x\n"
        "@solver\ndef outer(x): return checked(x) + 1\n"
    )
    for n_hits in (0, 1):
        outer = outer_of(folder, source)
        assert outer(1) == 2
        with pytest.raises(ValueError, match="negative"):
            outer(-1)
        assert hits(outer) == n_hits


def test_code_from_disk_is_called_and_inlined_by_other_code(folder):
    assert outer_of(folder, DOUBLE)(1) == 2
    caller = outer_of(folder, DOUBLE.replace("outer", "inner") + "@kernel\ndef outer(x): return inner(x) + 1\n")
    inner = caller.py_func.__globals__["inner"]
    assert inner(1) == 2
    assert caller(1) == 3


class TestDamage:
    @pytest.fixture
    def kept(self, folder):
        assert outer_of(folder, DOUBLE)(21) == 42
        (path,) = files(folder)
        return path

    def key(self, content: bytes) -> str:
        return content[len(kernel_cache.MAGIC) :][:32].hex()

    def heals(self, folder, path):
        """The file is not taken, the code is compiled, and the next process finds it."""
        outer = outer_of(folder, DOUBLE)
        assert (outer(21), hits(outer)) == (42, 0)
        again = outer_of(folder, DOUBLE)
        assert (again(21), hits(again)) == (42, 1)
        assert files(folder) == [path]

    @pytest.mark.parametrize("length", [0, 1, 40, 93, 200, -1])
    def test_a_file_that_is_cut_short_is_replaced(self, folder, kept, length):
        content = kept.read_bytes()
        kept.write_bytes(content[:length])
        self.heals(folder, kept)

    def test_no_flipped_bit_passes(self, folder, kept):
        content = kept.read_bytes()
        key = self.key(content)
        assert _read(kept, key) is not None
        places = [*range(0, 8 * 120, 19), *range(8 * 120, 8 * len(content), 8 * len(content) // 50)]
        for place in places:
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << place % 8
            kept.write_bytes(damaged)
            assert _read(kept, key) is None, place
        self.heals(folder, kept)

    def test_bytes_too_many_are_seen(self, folder, kept):
        kept.write_bytes(kept.read_bytes() + b"\0")
        self.heals(folder, kept)

    def test_another_kernels_file_under_this_name_is_seen(self, folder, kept):
        content = kept.read_bytes()
        assert outer_of(folder, DOUBLE.replace("2", "3"))(1) == 3
        (other,) = (path for path in files(folder) if path != kept)
        other.replace(kept)
        assert kept.read_bytes() != content
        self.heals(folder, kept)

    def test_a_whole_file_whose_content_makes_no_sense_is_replaced(self, folder, kept):
        """As another version of this package might write it."""
        key = self.key(kept.read_bytes())
        kernel_cache._write(kept, key, b"\x02\0\0\0{}")
        assert _read(kept, key) is not None
        self.heals(folder, kept)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_in_the_place_of_a_file_does_not_hang(self, folder, kept):
        kept.unlink()
        os.mkfifo(kept)
        self.heals(folder, kept)

    def test_a_huge_file_is_not_read(self, folder, kept):
        with kept.open("r+b") as file:
            file.truncate(2**40)
        self.heals(folder, kept)

    def test_another_users_private_file_is_replaced(self, folder, kept, monkeypatch):
        read_bytes = Path.read_bytes

        def forbidden(path):
            if path == kept:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return read_bytes(path)

        before = kept.stat().st_ino
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", forbidden)
            assert outer_of(folder, DOUBLE)(21) == 42
        assert kept.stat().st_ino != before
        outer = outer_of(folder, DOUBLE)
        assert (outer(21), hits(outer)) == (42, 1)

    def test_a_directory_in_the_place_of_a_file_is_left_alone(self, folder, kept):
        kept.unlink()
        kept.mkdir()
        with pytest.warns(CacheWarning, match="NUMBA_CACHE_DIR"):
            assert outer_of(folder, DOUBLE)(21) == 42
        assert files(folder) == []


class TestNowhereToWrite:
    @staticmethod
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def test_a_full_disk_is_said_once_and_leaves_nothing(self, folder, monkeypatch):
        monkeypatch.setattr(Path, "write_bytes", self.full)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for factor in (2, 3):
                assert outer_of(folder, DOUBLE.replace("2", str(factor)))(1) == factor
        (warning,) = said
        assert warning.category is CacheWarning
        assert str(folder / "cache") in str(warning.message)
        assert "No space left on device" in str(warning.message)
        assert "NUMBA_CACHE_DIR" in str(warning.message)
        assert files(folder) == []

    def test_where_warnings_are_errors_the_run_goes_on(self, folder, monkeypatch, caplog):
        monkeypatch.setattr(Path, "write_bytes", self.full)
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "mfenvs"):
            warnings.simplefilter("error")
            assert outer_of(folder, DOUBLE)(1) == 2
        assert "NUMBA_CACHE_DIR" in caplog.text

    def test_without_any_directory_kernels_compile_and_what_is_there_is_read(self, folder, monkeypatch):
        assert outer_of(folder, DOUBLE)(1) == 2

        def nowhere(function):
            raise RuntimeError("cannot cache function: no locator available")

        monkeypatch.setattr(kernel_cache, "CompileResultCacheImpl", nowhere)
        monkeypatch.setattr(kernel_cache, "_directories", {})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            outer = outer_of(folder, DOUBLE)
            assert (outer(1), hits(outer)) == (2, 1)
        with pytest.warns(CacheWarning, match="no directory can be written to"):
            assert outer_of(folder, DOUBLE.replace("2", "3"))(1) == 3
        assert len(files(folder)) == 1

    def test_a_cache_that_is_deleted_during_a_run_is_made_again(self, folder):
        assert outer_of(folder, DOUBLE)(1) == 2
        (path,) = files(folder)
        path.unlink()
        path.parent.rmdir()
        assert outer_of(folder, DOUBLE)(1) == 2
        assert files(folder) == [path]

    def test_another_processs_file_is_as_good(self, folder, monkeypatch):
        """On Windows a file that another process reads cannot be replaced."""
        write = kernel_cache._write

        def raced(path, key, content):
            write(path, key, content)
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(kernel_cache, "_write", raced)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert outer_of(folder, DOUBLE)(1) == 2


def test_settings_of_the_compiler_are_part_of_the_key(folder, monkeypatch):
    assert outer_of(folder, DOUBLE)(1) == 2
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    outer = outer_of(folder, DOUBLE)
    assert (outer(1), hits(outer)) == (2, 0)
    assert len(files(folder)) == 2
