"""Files that are to be analysed: those given, and those of folders, by patterns of names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from napari_atomlens.errors import ParameterError
from napari_atomlens.files import Json
from napari_atomlens.io.formats.choice import listed, name_in_file, sentence_of
from napari_atomlens.io.formats.kinds import find_files, is_store
from napari_atomlens.untrusted import path_of


def is_named(name: str, patterns: str) -> bool:
    """Whether the name of a file fits one of several patterns, capitals or not.

    Parameters
    ----------
    name : str
    patterns : str
        Such as ``*HAADF*.tif, *.dm4``; what has no ``*``, ``?`` or ``[`` may stand anywhere in
        the name. Every name fits an empty text.

    Examples
    --------
    >>> is_named("Scan_003_HAADF.tif", "*haadf*.tif, *.dm4"), is_named("Scan_003_ABF.tif", "HAADF")
    (True, False)
    """
    wanted = [p.strip().lower() for p in patterns.split(",") if p.strip()]
    plain = [p if any(c in p for c in "*?[") else f"*{p}*" for p in wanted]
    return not plain or any(fnmatchcase(name.lower(), p) for p in plain)


def find_inputs(inputs: Sequence[str | Path], names: str = "") -> list[Path]:
    """Files to analyse: those given, and all that we can read in the folders given.

    Parameters
    ----------
    inputs : sequence of path
    names : str
        Patterns of the names of files in folders; see :func:`is_named`.

    Returns
    -------
    list of pathlib.Path
        Absolute, in order, each once.

    Raises
    ------
    ParameterError
        If one does not exist, or nothing is left.
    """
    found: dict[Path, None] = {}
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise ParameterError("A batch takes a list of files and folders.")
    for given in inputs:
        path = path_of(given).expanduser().absolute()
        if not path.exists():
            raise ParameterError(f"There is no file {given}.")
        if path.is_dir() and not is_store(path):
            found |= dict.fromkeys(p for p in find_files(path) if is_named(p.name, names))
        else:
            found[path] = None
    if not found:
        which = f" whose name fits {names}" if names.strip() else ""
        raise ParameterError(f"There is no file to analyse{which}.")
    return list(found)


def said_of_images(infos: Sequence[Json]) -> list[str]:
    """Sentences on files that hold several images, one for all of which the same is to be said.

    Parameters
    ----------
    infos : sequence of dict
        What is known of each file: ``file``, ``name`` of the image, ``left_out``, ``asked``.
    """
    unknown: dict[str, list[str]] = {}
    for info in infos:
        if info.get("asked"):
            unknown.setdefault(str(info["asked"]), []).append(str(info["file"]))
    files: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for info in infos:
        if info.get("left_out"):
            key = name_in_file(str(info.get("name", ""))), tuple(info["left_out"])
            files.setdefault(key, []).append(str(info["file"]))
    of_one = [f"{listed(n)}: {sentence_of('', (), asked)}" for asked, n in unknown.items()]
    return of_one + [
        f"{listed(names)}: {taken} is taken; {listed(left)} {'is' if len(left) == 1 else 'are'} "
        "left out."
        for (taken, left), names in files.items()
    ]
