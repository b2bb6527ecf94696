"""Writing so that a crash or a full disk spoils nothing, locks, folders of the user, digests.

No format is known here: the tables, structures and figures that are written have their own rooms.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import filelock
import platformdirs

from napari_atomlens.errors import FormatError, printable

if TYPE_CHECKING:
    import numpy as np

#: A JSON object: what a note or a record on disk holds.
Json = dict[str, Any]
#: How the names of files and folders end that are being written; a killed writer leaves them.
UNFINISHED = ".tmp"
#: How often a lock is tried whose file is removed at the very moment.
TRIES = 20


def write_whole(path: str | Path, content: str | bytes | Callable[[BinaryIO], object]) -> Path:
    """Write a file beside its place and rename it: it is complete and on the disk, or not there.

    Parameters
    ----------
    path : path
        Its folder is made where it is missing.
    content : str, bytes or callable
        Text becomes UTF-8; a function is given the open binary file to write to.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    OSError
        If it cannot be written; what was there is left as it was.
    """

    def put(file: BinaryIO) -> None:
        if callable(content):
            content(file)
        else:
            file.write(printable(content).encode() if isinstance(content, str) else content)

    target = Path(path)
    if target.exists() and not target.is_file():  # a device: there is nothing to keep
        with target.open("wb") as file:
            put(file)
        return target
    with new_file_beside(target) as fresh, fresh.open("wb") as file:
        put(file)
    return target


@contextlib.contextmanager
def new_file_beside(target: Path, ending: str = UNFINISHED) -> Iterator[Path]:
    """Give a name to write to; the file takes its place once the block ends without an error.

    For libraries that write to a name; else :func:`write_whole`.

    Parameters
    ----------
    target : pathlib.Path
        The place of the file; its folder is made where it is missing.
    ending : str
        How the name ends, for libraries that ask it.

    Raises
    ------
    OSError
        If it cannot be written; what was there is left as it was.
    """
    place = Path(os.path.realpath(target))  # a link stays a link
    make_folder(place.parent)
    # not by tempfile, whose files only their owner may read
    fresh = hidden_beside(place, ending)
    try:
        yield fresh
        sync_file(fresh)
        os.replace(fresh, place)
        sync_folder(place.parent)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


@contextlib.contextmanager
def user_file(path: str | Path) -> Iterator[Path]:
    """Write to a file that the user named: what goes wrong becomes one sentence.

    Parameters
    ----------
    path : path

    Raises
    ------
    FormatError
        If its folder is missing (it may be misspelt), or the block cannot write it.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FormatError(
            f"{target.name} could not be written: there is no folder {target.parent}."
        )
    try:
        yield target
    except OSError as error:
        why = error.strerror or error
        raise FormatError(f"{target.name} could not be written: {why}.") from error


def short_name(name: str) -> str:
    """A name to which some letters can be added: file systems allow 255 bytes."""
    return name if len(os.fsencode(name)) <= 180 else digest_of_text(name)


def digest_of_text(text: str) -> str:
    """SHA-256 of a text; also of the name of a file that is not UTF-8."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def known_as(path: str | Path) -> str:
    """Return a path as a text that any file can hold, and that is of no other path.

    Of names that are not UTF-8 more than one may look the same.
    """
    text = str(path)
    plain = printable(text)
    return plain if plain == text else f"{plain}~{digest_of_text(text)[:8]}"


def hidden_beside(place: Path, ending: str = UNFINISHED) -> Path:
    """A name of its own beside a place."""
    return place.with_name(f".{short_name(place.name)}.{uuid.uuid4().hex}{ending}")


def remnants(place: Path, later: str = "") -> list[Path]:
    """What stands beside a place under names of :func:`hidden_beside`, of whoever wrote there.

    Parameters
    ----------
    place : pathlib.Path
        Of a file or folder; that which holds it must be there.
    later : str
        Regular expression of what may follow such a name.
    """
    known = re.compile(
        rf"\.{re.escape(short_name(place.name))}\.[0-9a-f]{{32}}{re.escape(UNFINISHED)}{later}"
    )
    return sorted(p for p in place.parent.iterdir() if known.fullmatch(p.name))


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk.

    Raises
    ------
    OSError
        If it cannot be written there.
    """
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until what was renamed or made in a folder is on the disk, where a folder can say so.

    Some shares cannot; what was made is there nevertheless.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk.

    Raises
    ------
    OSError
        If it cannot be written there.
    """
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            if stat.S_ISREG((path := Path(where, name)).lstat().st_mode):
                sync_file(path)
        sync_folder(Path(where))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; they are on the disk when this returns.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        sync_folder(one.parent)


class Lock:
    """An exclusive lock on a file, held until :meth:`release` or the end of the process.

    It is one of the operating system, which a crash cannot leave behind.

    Parameters
    ----------
    path : pathlib.Path
        The file; made with its folder where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # any thread may give it back
        self._lock = filelock.FileLock(path, blocking=False, thread_local=False)
        self._file: os.stat_result | None = None  # that is locked

    @property
    def is_held(self) -> bool:
        """Whether this very lock is taken."""
        return bool(self._lock.is_locked)

    def acquire(self) -> bool:
        """Try to take the lock; False where another holds it, or nothing can be written."""
        if self._lock.is_locked:  # taken twice it would have to be given back twice
            return True
        try:
            for _ in range(TRIES):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch()
                before = self.path.stat()
                self._lock.acquire()
                self._file = before
                if self._is_there():
                    return True
                # its last holder removed the file that was locked here: another may lock a new one
                self._lock.release()
        except (OSError, NotImplementedError):  # filelock.Timeout is an OSError
            pass
        return False

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if not self._lock.is_locked:
            return
        # removed while it is held: nobody can hold a lock on a file that is going; where somebody
        # has removed it, another may hold one of that name
        if sys.platform != "win32" and self._is_there():
            self.path.unlink(missing_ok=True)
        self._lock.release()

    def _is_there(self) -> bool:
        """Whether the file that was locked is still there."""
        try:
            return self._file is not None and os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False


def user_folder(kind: Literal["models", "autosave", "library", "settings"]) -> Path:
    """Folder of what a user keeps; the variable ``ATOMLENS_MODELS`` (by kind) overrides it.

    Parameters
    ----------
    kind : str
        What is kept there: "models", "autosave", "library" or "settings".

    Returns
    -------
    pathlib.Path
        Where such things are kept on this system; it may not exist yet.
    """
    override = os.environ.get(f"ATOMLENS_{kind.upper()}")
    if override:
        return Path(override)
    return platformdirs.user_data_path("napari-atomlens", appauthor=False) / kind


def digest(source: np.ndarray | Path) -> str:
    """SHA-256 of an array (its pixels, shape and type), of a file, or of all files of a folder.

    Parameters
    ----------
    source : numpy.ndarray or pathlib.Path

    Returns
    -------
    str
        64 hexadecimal digits. That of a file is what other programs say of it.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    if not isinstance(source, Path):
        import numpy as np  # the command line starts without

        array = np.ascontiguousarray(source)
        total = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.data if array.size else b"")
        return total.hexdigest()
    if source.is_dir():
        total = hashlib.sha256()
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            total.update(f"{path.relative_to(source).as_posix()}\0{digest(path)}\0".encode())
        return total.hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def umask() -> int:
    """Permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
