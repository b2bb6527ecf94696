"""Folders that are exchanged as a whole: complete or not there, and what is the user's stays.

A folder of ours holds a list of what we wrote into it, with the sizes. Only that is ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from napari_atomlens.files import (
    UNFINISHED,
    Lock,
    hidden_beside,
    make_folder,
    remnants,
    short_name,
    sync_folder,
    sync_tree,
    write_whole,
)

#: What is added to the name of a folder that another takes the place of, until that is there.
REPLACED = ".old"
#: And once it is: what is the user's moves over, the rest goes.
GOING = ".gone"
#: File in a folder of ours that lists what we wrote there: nothing else is ever removed.
WRITTEN = ".written.json"


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
    target = Path(os.path.realpath(target))  # a link stays a link
    make_folder(target.parent)
    recover_folder(target, ours)
    # not by tempfile, whose folders only their owner may read
    fresh = hidden_beside(target)
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
    sizes = {name: (fresh / name).lstat().st_size for name in _files(fresh)}
    sync_tree(fresh)
    # last, so that a folder that has it is whole
    write_whole(fresh / WRITTEN, json.dumps(sizes, indent=0))
    sync_folder(target.parent)  # both names are known before one of them goes
    if not target.exists():
        fresh.rename(target)
        sync_folder(target.parent)
        return
    old = fresh.with_name(f"{fresh.name}{REPLACED}")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    sync_folder(target.parent)
    with contextlib.suppress(OSError):  # the new one counts; the next save finishes this
        _take_over(_going(old), target, ours)


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
    target = Path(os.path.realpath(target))
    left = leftovers(target)
    ending = {e: [p for p in left if p.name.endswith(e)] for e in (UNFINISHED, REPLACED, GOING)}
    back = False
    if not target.exists():
        # both are whole where the older one has gone already; the newer one was meant
        for one in (*filter(is_whole, ending[UNFINISHED]), *ending[REPLACED]):
            one.rename(target)
            back = True
            break
    if target.exists():
        gone = [_going(one) for one in ending[REPLACED] if one.exists()]
        for one in (*ending[GOING], *gone):
            _take_over(one, target, ours)
    for one in ending[UNFINISHED]:
        shutil.rmtree(one, ignore_errors=True)
    if left:
        sync_folder(target.parent)
    return back


def leftovers(target: Path) -> list[Path]:
    """Hidden folders beside a folder that its writers are at work on, or left when they died."""
    target = Path(os.path.realpath(target))
    if not target.parent.is_dir():
        return []
    later = rf"({re.escape(REPLACED)}|{re.escape(GOING)})?"
    return [p for p in remnants(target, later) if p.is_dir()]


def _going(old: Path) -> Path:
    """Give a folder that was replaced the name that says that another is in its place."""
    return old.rename(old.with_name(old.name.removesuffix(REPLACED) + GOING))


def folder_lock(target: Path) -> Lock:
    """Return the lock of a folder, a hidden file beside it (writing exchanges the folder)."""
    target = Path(os.path.realpath(target))
    return Lock(target.with_name(f".{short_name(target.name)}.lock"))


def _files(folder: Path) -> list[str]:
    """Every file in a folder, relative to it; links are files."""
    found = []
    for where, folders, names in os.walk(folder):
        links = [f for f in folders if Path(where, f).is_symlink()]
        found += [Path(where, n).relative_to(folder).as_posix() for n in (*names, *links)]
    return sorted(found)


def _written(folder: Path) -> dict[str, int]:
    """What the list of a folder says that we wrote there, with the sizes."""
    try:
        listed = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
        return {str(name): int(size) for name, size in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def is_whole(folder: Path) -> bool:
    """Whether all that a folder lists is there, in its size: False after a power cut.

    Parameters
    ----------
    folder : pathlib.Path
        Written by :func:`new_folder_beside`, and left as it was since.
    """
    listed = _written(folder)
    try:
        return bool(listed) and all(
            (folder / name).lstat().st_size == size for name, size in listed.items()
        )
    except (OSError, ValueError):
        return False


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
    _remove(folder, _ours(folder, ours), _empty_folders(folder))
    return not folder.exists()


def _ours(folder: Path, patterns: Sequence[str]) -> list[str]:
    listed = _written(folder)
    if listed:
        listed[WRITTEN] = 0
    return [f for f in _files(folder) if f in listed or any(fnmatch(f, p) for p in patterns)]


def _empty_folders(folder: Path) -> list[str]:
    """Folders with nothing in them; we leave none, so that they are the user's."""
    # not those that a removal which a crash cut short has emptied
    ours = {above.as_posix() for name in _written(folder) for above in PurePosixPath(name).parents}
    found = [
        Path(where).relative_to(folder).as_posix()
        for where, folders, names in os.walk(folder)
        if not folders and not names
    ]
    return [name for name in found if name != "." and name not in ours]


def _take_over(old: Path, target: Path, ours: Sequence[str]) -> None:
    """Move what is not ours from a folder that was replaced into the new one; the rest goes."""
    mine = set(_ours(old, ours))
    for name in _empty_folders(old):
        with contextlib.suppress(OSError):  # a file of ours has that name now
            (target / name).mkdir(parents=True, exist_ok=True)
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
    sync_folder(target)
    _remove(old, mine)


def _remove(folder: Path, names: Iterable[str], kept: Sequence[str] = ()) -> None:
    """Remove files of a folder, the list of them last, and the folder as far as it is empty.

    Empty folders stay that are `kept`.
    """
    for name in sorted(names, key=lambda n: n == WRITTEN):
        (folder / name).unlink(missing_ok=True)
    for where, _, _ in os.walk(folder, topdown=False):
        if Path(where).relative_to(folder).as_posix() in kept:
            continue
        with contextlib.suppress(OSError):
            Path(where).rmdir()
