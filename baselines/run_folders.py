"""Run folders on disk: each is made by one process, and written by one process at a time."""

import contextlib
import errno
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

RUN_FILES = ("config.json", "metrics.csv", "policy.npz", "checkpoint.npz", "checkpoint.zip")
"""Files that training writes; which of the last three are written depends on the algorithm."""

LOCK_FILE = ".lock"


def make_folder(parent: Path, name: str) -> Path:
    """Make a new folder in ``parent``: ``name``, or ``name-2``, ``name-3`` ... if these names are taken."""
    parent.mkdir(parents=True, exist_ok=True)
    folder, number = parent / name, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = parent / f"{name}-{number}"
        else:
            return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder against other processes that train into it; a missing folder is made.

    The operating system releases the lock when the process ends, however it ends.

    Raises
    ------
    ValueError
        If another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("ab") as file:
        if not _take_lock(file):
            raise ValueError(f"folder {folder} belongs to a run that is going on: wait for it or choose another")
        yield


def check_is_unused(folder: Path) -> None:
    """Raise a ValueError if training has already written into a folder."""
    found = [name for name in RUN_FILES if (folder / name).exists()]
    if found:
        raise ValueError(
            f"folder {folder} already holds a run ({', '.join(found)}): choose another, or continue it with"
            " --resume"
        )


if sys.platform == "win32":
    import msvcrt

    def _take_lock(file: BinaryIO) -> bool:
        """Lock an open file for this process without waiting; whether it worked."""
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take_lock(file: BinaryIO) -> bool:
        """Lock an open file for this process without waiting; whether it worked."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
            warnings.warn(
                f"{file.name} cannot be locked ({error.strerror}): let no other run use it", stacklevel=4
            )
        return True
