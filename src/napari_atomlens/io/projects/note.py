"""The text of a project: what made it and what it holds, checked in one place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json, write_whole
from napari_atomlens.untrusted import check_links, read_json

#: Latest versions of the layouts that this version of the package can read.
VERSION, WINDOW_VERSION = 3, 4


def for_json(value: object) -> object:
    """Return what JSON cannot hold (numpy numbers, arrays, paths) as what it can."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def write_note(path: Path, note: Mapping[str, object]) -> None:
    """Write a text of what is known, whole or not at all."""
    write_whole(path, json.dumps(note, indent=1, default=for_json) + "\n")


def read_note(path: Path, latest: int = VERSION, needs: tuple[str, ...] = ()) -> Json:
    """Read a text that says what a folder holds.

    Parameters
    ----------
    path : pathlib.Path
    latest : int
        The latest version of this text that can be read.
    needs : tuple of str
        What it must say.

    Raises
    ------
    FormatError
        If it is damaged, or of a later version.
    """
    name = path.parent.name
    try:
        note = read_json(path)
        version = int(note.get("format_version", latest))
        if lacking := [key for key in needs if key not in note]:
            raise ValueError(f"it does not say {lacking[0]}")
    except (ValueError, TypeError, OverflowError) as error:  # a FormatError is one
        raise FormatError(
            f"{name} is damaged: its {path.name} cannot be read ({error})."
        ) from error
    if version > latest:
        raise FormatError(
            f"{name} was written by a later version of napari-atomlens; please update."
        )
    return note


@contextlib.contextmanager
def reading(folder: Path, ours: Sequence[str]) -> Iterator[None]:
    """Read inside, and nothing outside; whatever damaged files raise becomes one sentence.

    Parameters
    ----------
    folder : pathlib.Path
    ours : sequence of str
        Patterns of what is read there, see :func:`~napari_atomlens.untrusted.check_links`.

    Raises
    ------
    FormatError
        If anything goes wrong, or a link leads out of the folder.
    """
    check_links(folder, ours)
    try:
        yield
    except FormatError:
        raise
    except Exception as error:  # damaged files raise errors of every type
        first = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        raise FormatError(f"{folder.name} is damaged: {type(error).__name__}: {first}.") from error
