"""Writing so that a crash or a full disk spoils nothing, locks, folders of the user, digests.

No format is known here: the tables, structures and figures that are written have their own rooms.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import filelock
import platformdirs

from napari_atomlens.errors import FormatError

if TYPE_CHECKING:
    import numpy as np

#: A JSON object: what a note or a record on disk holds.
Json = dict[str, Any]
#: How the names of files and folders end that are being written; a killed writer leaves them.
UNFINISHED = ".tmp"
#: What is added to the name of a folder that another takes the place of.
REPLACED = ".old"
#: File in a folder of ours that lists what we wrote there: nothing else is ever removed.
WRITTEN = ".written.json"


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
            file.write(content.encode() if isinstance(content, str) else content)

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
    place.parent.mkdir(parents=True, exist_ok=True)
    # not by tempfile, whose files only their owner may read
    fresh = _hidden(place, ending)
    try:
        yield fresh
        _sync(fresh)
        os.replace(fresh, place)
        with contextlib.suppress(OSError):  # some shares cannot; the file is there nevertheless
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


@contextlib.contextmanager
def new_folder_beside(target: Path, ours: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty folder, which takes its place once the block ends without an error.

    What the user put into a folder of ours stays there. Who calls holds the lock of the folder
    (:func:`folder_lock`) where another program could want it.

    Parameters
    ----------
    target : pathlib.Path
        The place of the folder; one that is there is replaced, and only then.
    ours : sequence of str
        Patterns of paths inside (``atoms/part-*.parquet``) that are ours beside those that the
        folder's own list names: of older versions, and what was added later.

    Raises
    ------
    OSError
        If it cannot be written; what was there is left as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(target, ours)
    # not by tempfile, whose folders only their owner may read
    fresh = _hidden(target)
    fresh.mkdir()
    try:
        yield fresh
        swap_folder(fresh, target, ours)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def swap_folder(fresh: Path, target: Path, ours: Sequence[str] = ()) -> None:
    """Put a complete folder in the place of an older one, all of it on the disk.

    Only what we wrote goes with the older one: what else was in it is moved into the new one.

    Parameters
    ----------
    fresh, target : pathlib.Path
    ours : sequence of str
        See :func:`new_folder_beside`.

    Raises
    ------
    OSError
        If that is not possible; the older one is left as it was.
    """
    written = _files(fresh)
    (fresh / WRITTEN).write_text(json.dumps(written, indent=0), encoding="utf-8")
    for folder, _, names in os.walk(fresh):
        for name in names:
            _sync(Path(folder, name))
        with contextlib.suppress(OSError):
            sync_folder(Path(folder))
    with contextlib.suppress(OSError):  # both names are known before one of them goes
        sync_folder(target.parent)
    if not target.exists():
        fresh.rename(target)
        with contextlib.suppress(OSError):
            sync_folder(target.parent)
        return
    old = fresh.with_name(f"{fresh.name}{REPLACED}")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    with contextlib.suppress(OSError):
        sync_folder(target.parent)
    with contextlib.suppress(OSError):  # the new one counts; the next save finishes this
        _take_over(old, target, ours)


def recover_folder(target: Path, ours: Sequence[str] = ()) -> bool:
    """Finish an exchange of folders that a crash cut short, and remove what it left.

    Parameters
    ----------
    target : pathlib.Path
        The place of the folder. Who calls holds its lock.
    ours : sequence of str
        See :func:`new_folder_beside`.

    Returns
    -------
    bool
        Whether the folder was missing and is there again.
    """
    if not target.parent.is_dir():
        return False
    name = rf"\.{re.escape(_short(target.name))}\.[0-9a-f]{{32}}{re.escape(UNFINISHED)}"
    known = re.compile(rf"{name}({re.escape(REPLACED)})?")
    left = sorted(p for p in target.parent.iterdir() if known.fullmatch(p.name) and p.is_dir())
    fresh = [p for p in left if p.name.endswith(UNFINISHED)]
    old = [p for p in left if p.name.endswith(UNFINISHED + REPLACED)]
    back = False
    if not target.exists():
        # both are whole where the older one has gone already; the newer one was meant
        for one in (*filter(_is_whole, fresh), *old):
            one.rename(target)
            back = True
            break
    for one in old:
        if one.exists():
            _take_over(one, target, ours)
    for one in fresh:
        shutil.rmtree(one, ignore_errors=True)
    return back


def folder_lock(target: Path) -> Lock:
    """Return the lock of a folder, a hidden file beside it (writing exchanges the folder)."""
    return Lock(target.with_name(f".{_short(target.name)}.lock"))


def _short(name: str) -> str:
    """A name to which some letters can be added: file systems allow 255 bytes."""
    return name if len(os.fsencode(name)) <= 180 else digest_of_text(name)


def digest_of_text(text: str) -> str:
    """SHA-256 of a text; also of the name of a file that is not UTF-8."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _hidden(place: Path, ending: str = UNFINISHED) -> Path:
    """A name of its own beside a place."""
    return place.with_name(f".{_short(place.name)}.{uuid.uuid4().hex}{ending}")


def _files(folder: Path) -> list[str]:
    """Every file in a folder, relative to it; links are files."""
    found = []
    for where, folders, names in os.walk(folder):
        links = [f for f in folders if Path(where, f).is_symlink()]
        found += [Path(where, n).relative_to(folder).as_posix() for n in (*names, *links)]
    return sorted(found)


def _written(folder: Path) -> set[str]:
    """What the list of a folder says that we wrote there."""
    try:
        listed = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
        return {WRITTEN, *map(str, listed)} if isinstance(listed, list) else set()
    except (OSError, ValueError):
        return set()


def _is_whole(folder: Path) -> bool:
    """Whether all that a folder lists is there: the list is written last."""
    listed = _written(folder)
    return bool(listed) and all((folder / name).exists() for name in listed)


def remove_written(folder: Path, ours: Sequence[str] = ()) -> bool:
    """Remove from a folder what we wrote, and the folder where nothing else is in it.

    Parameters
    ----------
    folder : pathlib.Path
    ours : sequence of str
        See :func:`new_folder_beside`.

    Returns
    -------
    bool
        Whether the folder is gone.

    Raises
    ------
    OSError
        If something cannot be removed.
    """
    for name in _ours(folder, ours):
        (folder / name).unlink(missing_ok=True)
    _remove_empty(folder)
    return not folder.exists()


def _ours(folder: Path, patterns: Sequence[str]) -> list[str]:
    listed = _written(folder)
    return [f for f in _files(folder) if f in listed or any(fnmatch(f, p) for p in patterns)]


def _take_over(old: Path, target: Path, ours: Sequence[str]) -> None:
    """Move what is not ours from a folder that was replaced into the new one; the rest goes."""
    mine = set(_ours(old, ours))
    for name in _files(old):
        if name in mine:
            continue
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        n = 1
        while place.exists() or place.is_symlink():
            n += 1
            place = target / f"{Path(name).with_suffix('')} ({n}){Path(name).suffix}"
        (old / name).rename(place)
    for name in mine:
        (old / name).unlink(missing_ok=True)
    _remove_empty(old)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those in it as far as they are empty."""
    for where, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(where).rmdir()


def _sync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make sure that what was renamed or made in a folder is on the disk."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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

    def acquire(self) -> bool:
        """Try to take the lock; False where another holds it, or nothing can be written."""
        if self._lock.is_locked:  # taken twice it would have to be given back twice
            return True
        try:
            self._lock.acquire()
        except (OSError, NotImplementedError):  # filelock.Timeout is an OSError
            return False
        return True

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if not self._lock.is_locked:
            return
        # removed while it is held: nobody can hold a lock on a file that is going
        if sys.platform != "win32":
            self.path.unlink(missing_ok=True)
        self._lock.release()


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
