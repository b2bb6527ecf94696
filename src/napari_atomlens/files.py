"""One writer per folder: a lock of the operating system, which a crash cannot leave behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import pandas as pd


class Lock:
    """An exclusive lock on a file, held until :meth:`release` or the end of the process.

    Parameters
    ----------
    path : pathlib.Path
        The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    @property
    def is_held(self) -> bool:
        """Whether we hold the lock."""
        return self._file is not None

    def acquire(self) -> bool:
        """Try to take the lock; False where another window holds it, or nothing can be written."""
        if self._file is not None:
            return True
        try:
            file = self.path.open("a+b")
        except OSError:
            return False
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._file is None:
            return
        file, self._file = self._file, None
        # removed while it is held: nobody can hold a lock on a file that is going
        with contextlib.suppress(OSError):
            if sys.platform != "win32":
                self.path.unlink()
        file.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()


def sync_folder(folder: Path) -> None:
    """Make sure that what was renamed or made in a folder is on the disk."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, write: str | bytes | pd.DataFrame) -> None:
    """Write a file beside its place and rename it: it is complete, or not there.

    Raises
    ------
    OSError
        If it cannot be written; what was there is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not by tempfile, whose files only their owner may read
    name = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with name.open("wb") as file:
            if isinstance(write, pd.DataFrame):
                write.to_parquet(file, index=False)
            else:
                file.write(write.encode() if isinstance(write, str) else write)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def umask() -> int:
    """Permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def swap(temporary: Path, target: Path) -> None:
    """Put a complete folder in the place of an older one."""
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_name(temporary.name + ".old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
