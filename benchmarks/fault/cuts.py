"""Power cuts: what is on a disk some time after a call has returned.

As root a file system in a file is copied while it is mounted: what has not yet been written to the
disk is not in the copy. Else every file is cut down to what was last synchronised, which is what
a file system leaves that writes names at once and contents later.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _run(*command: str | Path) -> bool:
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False)
    return done.returncode == 0


class Disk:
    """A file system of its own in a file; needs root.

    Parameters
    ----------
    place : pathlib.Path
        An empty folder for the file and the mount point.
    megabytes : int
    """

    def __init__(self, place: Path, megabytes: int = 48) -> None:
        self.file, self.folder = place / "disk", place / "mounted"
        self.folder.mkdir(parents=True)
        with self.file.open("wb") as file:
            file.truncate(megabytes << 20)
        if not (_run("mkfs.ext4", "-q", "-F", self.file) and mount(self.file, self.folder)):
            raise OSError("no file system can be mounted here")

    def close(self) -> None:
        """Unmount it."""
        unmount(self.folder)

    @contextmanager
    def cut(self, place: Path) -> Iterator[Path]:
        """Give the disk as it would be after a power cut now."""
        place.mkdir()
        copy, folder = place / "disk", place / "mounted"
        folder.mkdir()
        _run("cp", "--sparse=always", self.file, copy)
        if not mount(copy, folder):
            raise OSError("the disk cannot be mounted after the cut")
        try:
            yield folder
        finally:
            unmount(folder)
            shutil.rmtree(place, ignore_errors=True)


def mount(file: Path, folder: Path) -> bool:
    """Mount a file system that is a file."""
    return _run("mount", "-o", "loop", file, folder)


def unmount(folder: Path) -> None:
    """Unmount a file system, whoever still looks at it."""
    if not _run("umount", folder):
        _run("umount", "-l", folder)


def can_mount(place: Path) -> bool:
    """Whether file systems can be mounted here."""
    if os.geteuid() != 0:
        return False
    place.mkdir(parents=True)
    try:
        Disk(place, 8).close()
    except OSError:
        return False
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return True


class Synced:
    """Remembers what was synchronised in this process, in a folder beside.

    SQLite synchronises by itself, and is taken as it is.
    """

    def __init__(self, shadow: Path) -> None:
        self.shadow = shadow
        shadow.mkdir(parents=True)
        self._sync = os.fsync
        os.fsync = self._note  # type: ignore[assignment]

    def _note(self, handle: int) -> None:
        self._sync(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_file():
            shutil.copyfile(path, self.shadow / _mark(path))


def _mark(path: Path) -> str:
    """A file whatever its name; the times tell files that have one number after another."""
    known = path.stat()
    return f"{known.st_dev}-{known.st_ino}"


def cut_down(folder: Path, shadow: Path, place: Path) -> Path:
    """Copy a folder as it is after a power cut: with what was synchronised, and no more."""
    shutil.copytree(folder, place, symlinks=True)
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or path.suffix in SQLITE:
            continue
        kept = shadow / _mark(path)
        content = kept.read_bytes() if kept.exists() else b""
        (place / path.relative_to(folder)).write_bytes(content)
    return place


SQLITE = {".db", ".sqlite", ".atomlib", ".db-wal", ".db-shm", ".sqlite-wal", ".sqlite-shm"}
Check = Callable[[Path, list[str]], list[str]]
