"""What others wrote, read with care: JSON and TOML, names of files in a folder, HDF5 and zarr.

Nothing that a file says makes us read another file outside of its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json

if TYPE_CHECKING:
    import h5py

#: JSON and TOML deeper than this are not ours; what walks through them calls itself as often.
DEEPEST = 100


def parse_json(text: str | bytes, what: str) -> Json:
    """Return a JSON object.

    Parameters
    ----------
    text : str or bytes
    what : str
        What it is called in the sentence of an error.

    Raises
    ------
    FormatError
        If it is no JSON, no object, or nested absurdly deeply.

    Examples
    --------
    >>> parse_json('{"frames": [1, 2]}', "run.json")
    {'frames': [1, 2]}
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise FormatError(f"{what} is damaged: it is nested too deeply.") from None
    except ValueError as error:
        raise FormatError(f"{what} is damaged: it is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise FormatError(f"{what} is damaged: it holds no JSON object.")
    _check_depth(found, what)
    return found


def read_json(path: Path) -> Json:
    """Read a file that holds a JSON object.

    Raises
    ------
    FormatError
        If it cannot be read, or see :func:`parse_json`.
    """
    return parse_json(_bytes_of(path), path.name)


def read_toml(path: Path) -> Json:
    """Read a TOML file.

    Raises
    ------
    FormatError
        If it cannot be read, is no TOML, or nested absurdly deeply.
    """
    raw = _bytes_of(path)
    try:
        found = tomllib.loads(raw.decode("utf-8"))
    except RecursionError:
        raise FormatError(f"{path.name} is no TOML file: it is nested too deeply.") from None
    except ValueError as error:  # of the bytes or of the text
        raise FormatError(f"{path.name} is no TOML file: {error}.") from error
    _check_depth(found, path.name)
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise FormatError(f"{path.name} could not be read: there is no such file.")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a zero byte
        why = getattr(error, "strerror", None) or error
        raise FormatError(f"{path.name} could not be read: {why}.") from error


def _check_depth(tree: Json, what: str) -> None:
    """Refuse what is nested too deeply, level by level: this must not call itself."""
    level: list[object] = [tree]
    for _ in range(DEEPEST):
        inner = [v for v in level if isinstance(v, (dict, list))]
        level = [v for t in inner for v in (t.values() if isinstance(t, dict) else t)]
        if not level:
            return
    raise FormatError(f"{what} is damaged: it is nested too deeply.")


def path_of(given: object) -> Path:
    """Return what the user gave as a path, if it can be one on this system.

    Raises
    ------
    FormatError
        If it is no path, or the system refuses its name.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise FormatError(f"The name of a file or folder is needed, not {type(given).__name__}.")
    try:
        path = Path(given)
        if "\0" in str(path):
            raise ValueError("it has a zero byte")
        path.exists()
    except (OSError, ValueError, TypeError) as error:  # too long, or with a zero byte
        why = getattr(error, "strerror", None) or error
        shown = str(given)[:60].replace("\0", "\ufffd").replace("\n", " ")
        raise FormatError(f"{shown} is no name of a file: {why}.") from error
    return path


def inside(folder: Path, name: object) -> Path:
    """Return the place of a file that a text names, which must lie in the folder of the text.

    Parameters
    ----------
    folder : pathlib.Path
    name : object
        Relative, with ``/`` between its parts, wherever it was written.

    Raises
    ------
    FormatError
        If it is no text, absolute, leads up, or is a link that leads out of the folder.

    Examples
    --------
    >>> inside(Path("scan.atomlens"), "../secret.txt")
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.FormatError: scan.atomlens names '../secret.txt', which lies outside ...
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise FormatError(f"{folder.name} is damaged: {name!r} is not the name of a file.")
    parts = PureWindowsPath(name)  # knows both kinds of separators, and drives
    place = folder / name
    if parts.anchor or ".." in parts.parts or not _is_in(place, folder):
        raise FormatError(f"{folder.name} names {name!r}, which lies outside of it.")
    return place


def _is_in(place: Path, folder: Path) -> bool:
    root = os.path.realpath(folder)
    there = os.path.realpath(place)
    return there == root or there.startswith(os.path.join(root, ""))


def check_links(folder: Path, ours: Sequence[str] = ()) -> None:
    """Refuse a folder of ours in which links lead out of it.

    Parameters
    ----------
    folder : pathlib.Path
    ours : sequence of str
        Patterns of paths that are read; a link with another name is the user's own, and nobody
        follows it. Every link counts where there are none.

    Raises
    ------
    FormatError
        That names the first one.
    """
    # some file systems do not tell A from a
    read = {pattern.split("/")[0].casefold() for pattern in ours}
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            place = Path(where, name)
            if not place.is_symlink() or _is_in(place, folder):
                continue
            if not read or place.relative_to(folder).parts[0].casefold() in read:
                raise FormatError(
                    f"{folder.name} is not read: {place.relative_to(folder).as_posix()} is a link "
                    "to something outside of it."
                )


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, if all that it shows is its own.

    Raises
    ------
    FormatError
        If it takes data from other files: by a link, as external storage, or as the source of a
        virtual data set.
    OSError
        If it is damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        _check_sources(path, file)
        yield file


def _check_sources(path: Path, file: h5py.File) -> None:
    """Look at every link and data set, without following what leads out."""
    import h5py

    seen, groups = set(), [file["/"]]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _foreign(path, f"{group.name}/{name}", link.filename)
            if isinstance(link, h5py.SoftLink):
                continue  # leads to what is looked at, or through a link that is
            try:
                node = group[name]
                address = h5py.h5o.get_info(node.id).addr
            except (KeyError, OSError, RuntimeError):  # damaged: nobody can read it
                continue
            if address in seen:
                continue
            seen.add(address)
            if isinstance(node, h5py.Group):
                groups.append(node)
            elif isinstance(node, h5py.Dataset):
                others = [str(e[0]) for e in node.external or ()]
                if node.is_virtual:  # "." is the file itself
                    others += [s.file_name for s in node.virtual_sources() if s.file_name != "."]
                if others:
                    raise _foreign(path, str(node.name), others[0])


def _foreign(path: Path, where: str, other: str) -> FormatError:
    return FormatError(
        f"{path.name} is not read: its {where.replace('//', '/')} takes data from another file "
        f"({Path(other).name}); open that file instead."
    )
