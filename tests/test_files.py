import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest

from mfenvs import files
from mfenvs.files import ArraySpecification, FileError, SavedArrays, read_json, replacing, write_arrays, write_json

LAW = ArraySpecification(np.float64, (2, 3), low=0.0, total=1.0)
COUNTS = ArraySpecification(np.int32, (4,), low=0, high=9)
SPECIFICATIONS = {"law": LAW, "counts": COUNTS}
ARRAYS = {"law": np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]), "counts": np.arange(4, dtype=np.int32)}


def read(path, specifications=SPECIFICATIONS):
    with SavedArrays(path, "thing") as saved:
        return saved.arrays(specifications)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_zip(path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_arrays_and_header_come_back(tmp_path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS, {"seed": np.int64(3), "rate": np.float32(0.5), "name": "Sørensen"})
    with SavedArrays(path, "thing") as saved:
        assert saved.header() == {"seed": 3, "rate": 0.5, "name": "Sørensen"}
        assert sorted(saved.names) == ["counts", "law"]
        assert saved.shape("law") == (2, 3)
        found = saved.arrays(SPECIFICATIONS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    # numpy reads it too.
    with np.load(path) as arrays:
        assert np.array_equal(arrays["law"], ARRAYS["law"])


def test_scalars_empty_and_transposed_arrays_come_back(tmp_path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"number": np.array(2.5), "none": np.zeros((0, 3)), "turned": np.arange(6.0).reshape(2, 3).T}
    write_arrays(path, arrays)
    shapes = {"number": (), "none": (None, 3), "turned": (3, 2)}
    found = read(path, {name: ArraySpecification(np.float64, shape) for name, shape in shapes.items()})
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("law", ARRAYS["law"][0], r"law must have shape \(2, 3\), got \(3,\)"),
        ("law", np.array(1.0), r"law must have shape \(2, 3\), got \(\)"),
        ("law", np.ascontiguousarray(ARRAYS["law"].T), r"law must have shape \(2, 3\), got \(3, 2\)"),
        ("law", ARRAYS["law"][:, :2], r"law must have shape \(2, 3\), got \(2, 2\)"),
        ("law", ARRAYS["law"].astype(np.float32), r"law must have dtype float64 \(<f8\), got <f4"),
        ("law", ARRAYS["law"].astype(">f8"), r"law must have dtype float64 \(<f8\), got >f8"),
        ("law", ARRAYS["law"].astype("M8[s]"), r"law must have dtype float64 \(<f8\), got <M8\[s\]"),
        ("law", np.full((2, 3), np.nan), r"law\[0, 0\] must be a finite number in \[0, inf\], got nan"),
        ("law", np.array([[0.5, 0.5, 0], [1, np.inf, 0]]), r"law\[1, 1\] must be a finite number .*, got inf"),
        ("law", np.array([[0.5, 0.5, 0], [1.5, -0.5, 0]]), r"law\[1, 1\] must be .* in \[0, inf\], got -0\.5"),
        ("law", np.array([[0.5, 0.5, 0], [0.5, 0.4, 0]]), r"law\[1\] must sum to 1, got 0\.9"),
        ("counts", np.array([0, 1, 10, 2], np.int32), r"counts\[2\] must be a finite number in \[0, 9\], got 10"),
        ("counts", np.array([0, 1, -1, 2], np.int32), r"counts\[2\] must be .* in \[0, 9\], got -1"),
        ("counts", np.arange(4), r"counts must have dtype int32"),
        ("counts", np.array(["a"] * 4), r"counts must have dtype int32 \(<i4\), got <U1"),
        ("counts", np.arange(4).astype("V4"), r"counts must have dtype int32 \(<i4\), got \|V4"),
    ],
)
def test_an_array_that_is_not_as_specified_is_refused(name, array, message, tmp_path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{**ARRAYS, name: array})
    with pytest.raises(FileError, match=rf"a\.npz is not a saved thing: (?:{message})"):
        read(path)


def test_objects_are_never_unpickled(tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    np.savez(tmp_path / "a.npz", law=np.array([Bomb()], object), counts=ARRAYS["counts"])
    with pytest.raises(FileError, match=r"law must have dtype float64 \(<f8\), got \|O"):
        read(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(TypeError, match="law must be an array of numbers, got dtype object"):
        write_arrays(tmp_path / "b.npz", {"law": np.array([Bomb()], object)})


def test_sums_may_run_over_several_axes_and_infinities_may_be_allowed(tmp_path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.full((3, 2, 2), 0.25), "y": np.array([np.inf])})
    over = {"x": ArraySpecification(np.float64, (3, 2, 2), total=1.0, summed_axes=2)}
    read(path, {**over, "y": ArraySpecification(np.float64, (1,), may_be_infinite=True)})
    with pytest.raises(FileError, match=r"y\[0\] must be a finite number"):
        read(path, {**over, "y": ArraySpecification(np.float64, (1,))})
    write_arrays(path, {"y": np.array([np.nan])})
    with pytest.raises(FileError, match=r"y\[0\] must be a number in \[-inf, inf\], got nan"):
        read(path, {"y": ArraySpecification(np.float64, (1,), may_be_infinite=True)})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"law.npy": npy(ARRAYS["law"])}, r"it must hold the arrays 'counts', 'law', got 'law'"),
        ({}, r"it must hold the arrays 'counts', 'law', got none"),
        ({"law.txt": b"x"}, r"'law\.txt' in it is no array"),
        ({"law.npy": b"", "counts.npy": b""}, r"an array in it begins with b''"),
        ({"law.npy": b"\x93NUMPY\x01\x00", "counts.npy": b""}, r"an array in it is described by b''"),
        (
            {"law.npy": npy(ARRAYS["law"])[:-1], "counts.npy": npy(ARRAYS["counts"])},
            r"law does not have the length",
        ),
        (
            {"law.npy": npy(ARRAYS["law"]) + b"\0", "counts.npy": npy(ARRAYS["counts"])},
            r"law does not have the length",
        ),
        ({"law.npy": npy(np.asfortranarray(ARRAYS["law"])), "counts.npy": b""}, r"an array in it is described by"),
    ],
)
def test_a_file_with_other_members_is_refused(members, message, tmp_path) -> None:
    write_zip(tmp_path / "a.npz", members)
    with pytest.raises(FileError, match=rf"a\.npz is not a saved thing: (?:{message})"):
        read(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_and_other_compressions_are_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("law.npy", npy(ARRAYS["law"]))
        file.writestr("law.npy", npy(ARRAYS["law"]))
    with pytest.raises(FileError, match="not the only one of this name"):
        read(tmp_path / "a.npz")
    write_zip(tmp_path / "a.npz", {"law.npy": npy(ARRAYS["law"])}, zipfile.ZIP_LZMA)
    with pytest.raises(FileError, match="compressed by another method"):
        read(tmp_path / "a.npz")


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }\n"
FREE = {"x": ArraySpecification(np.float64, (None,))}


def promise(shape: str) -> bytes:
    header = (HEADER % shape).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("shape", ["500000000", "999999999999999999", "0, 999999999999999999"])
def test_a_header_that_promises_much_allocates_nothing(shape: str, tmp_path, monkeypatch) -> None:
    write_zip(tmp_path / "a.npz", {"x.npy": promise(shape) + bytes(64)})
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("allocated"))
    with pytest.raises(FileError, match=r"a\.npz is not a saved thing: x (must have shape|of shape)"):
        read(tmp_path / "a.npz", FREE)


def test_a_zip_bomb_is_refused_by_its_sizes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "COMPRESSED_BYTES", 2**16)
    content = promise("1000000") + bytes(8_000_000)
    write_zip(tmp_path / "a.npz", {"x.npy": content})
    assert (tmp_path / "a.npz").stat().st_size < 2**14
    with pytest.raises(FileError, match=r"its content would take 8000\d* bytes"):
        read(tmp_path / "a.npz", FREE)
    # A file that is as large as what it holds is fine, and so are large arrays written here.
    write_zip(tmp_path / "a.npz", {"x.npy": content}, zipfile.ZIP_STORED)
    assert read(tmp_path / "a.npz", FREE)["x"].size == 1_000_000
    write_arrays(tmp_path / "b.npz", {"x": np.zeros(1_000_000)})
    assert read(tmp_path / "b.npz", FREE)["x"].size == 1_000_000


def test_a_member_that_lies_about_its_size_is_refused(tmp_path) -> None:
    path = tmp_path / "a.npz"
    write_zip(path, {"x.npy": npy(np.zeros(1000))})
    size = len(npy(np.zeros(1000)))
    damaged = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", size - 800))
    path.write_bytes(damaged)
    with pytest.raises(FileError, match=r"a\.npz is not a saved thing"):
        read(path, FREE)


def test_every_truncation_and_many_flips_are_refused_or_change_nothing(tmp_path) -> None:
    """A flip may hit a byte of the zip format that nobody reads, such as a date."""
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS, {"seed": 1})
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(FileError, match=r"a\.npz"):
            read(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        found = ARRAYS
        with contextlib.suppress(FileError):
            found = read(path)
        assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


def test_damaged_deflate_streams_are_named(tmp_path) -> None:
    """zlib.error is no ValueError."""
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.random.default_rng(0).random(100)})
    whole = bytearray(path.read_bytes())
    start = 30 + len("x.npy") + 20
    whole[start : start + 8] = b"\xff" * 8
    path.write_bytes(whole)
    with pytest.raises(FileError, match=r"a\.npz is not a saved thing") as caught:
        read(path, FREE)
    assert isinstance(caught.value.__cause__, zlib.error | ValueError | EOFError | zipfile.BadZipFile)


@pytest.mark.parametrize(
    "header", [b"", b"{", b"[" * 100_000, b'{"a": 1, "a": 2}', b"\xff", b"1" * 5000, b'{"a": "\xe9"}']
)
def test_headers_that_are_no_json_are_refused(header: bytes, tmp_path) -> None:
    write_zip(tmp_path / "a.npz", {"header.npy": npy(np.frombuffer(header, np.uint8))})
    with SavedArrays(tmp_path / "a.npz", "thing") as saved:
        with pytest.raises(FileError, match=r"a\.npz is not a saved thing: "):
            saved.header()
        with pytest.raises(FileError, match="it has no array 'law'"):
            saved.shape("law")
    write_arrays(tmp_path / "a.npz", {})
    with SavedArrays(tmp_path / "a.npz", "thing") as saved, pytest.raises(FileError, match="it has no header"):
        saved.header()


def test_long_headers_are_refused(tmp_path, monkeypatch) -> None:
    header = b"[" + b"[]," * 40_000 + b"[]]"
    write_zip(tmp_path / "a.npz", {"header.npy": npy(np.frombuffer(header, np.uint8))})
    monkeypatch.setattr(files, "JSON_BYTES", 1000)
    monkeypatch.setattr(json, "loads", lambda *_args, **_options: pytest.fail("parsed"))
    with (
        SavedArrays(tmp_path / "a.npz", "thing") as saved,
        pytest.raises(FileError, match="than 1000 bytes"),
    ):
        saved.header()
    with pytest.raises(ValueError, match="the header must have at most 1000 bytes, got 1002"):
        write_arrays(tmp_path / "b.npz", {}, "x" * 1000)
    assert not (tmp_path / "b.npz").exists()


def test_what_is_no_file_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="pipe is not a saved thing: it is not a file"):
        read(tmp_path / "pipe")
    with pytest.raises(FileError, match="it is not a file"):
        read(tmp_path)
    with pytest.raises(FileError, match="pipe is not JSON: it is not a file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(FileError, match=r"cannot read .*absent\.npz: No such file"):
        read(tmp_path / "absent.npz")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": 1, "a": 2}', b"1" * 5000])
def test_what_is_no_json_is_refused(content: bytes, tmp_path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.json is not JSON: ."):
        read_json(tmp_path / "a.json")


def test_json_comes_back_and_is_bounded(tmp_path, monkeypatch) -> None:
    write_json(tmp_path / "a.json", {"x": np.arange(3), "y": np.float32(0.5), "z": np.bool_(True)})
    assert read_json(tmp_path / "a.json") == {"x": [0, 1, 2], "y": 0.5, "z": True}
    monkeypatch.setattr(files, "JSON_BYTES", 20)
    with pytest.raises(FileError, match=r"a\.json is not JSON: it is larger than 20 bytes"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileError, match=r"cannot read .*absent\.json: No such file"):
        read_json(tmp_path / "absent.json")


def test_json_that_cannot_be_written_leaves_nothing(tmp_path) -> None:
    with pytest.raises(TypeError, match="cannot write"):
        write_json(tmp_path / "x.json", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_not_replaced_and_that_is_told_first(tmp_path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)), replacing(tmp_path):
        pytest.fail("the block has begun")
    assert not list(tmp_path.parent.glob(".*.part"))


def test_the_umask_decides_who_may_read(tmp_path) -> None:
    before = os.umask(0o077)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


KILLED = """
import os, sys
from mfenvs.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def test_what_killed_processes_leave_is_removed_by_the_next_write(tmp_path) -> None:
    path = tmp_path / "a.json"
    process = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert process.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(path) as file:
        # Another write at the same time, by a process that lives, loses nothing.
        write_json(path, {"a": 1})
        file.write(json.dumps({"a": 2}).encode())
    assert read_json(path) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
