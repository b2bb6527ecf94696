"""The journal as a file: one line of JSON per entry, appended and on the disk before it counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_atomlens.errors import FormatError
from napari_atomlens.files import write_whole


def line_of(entry: Mapping[str, object]) -> bytes:
    """One entry as a line of the file."""
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class JournalFile:
    """A journal that is open for writing; nothing is ever changed, only appended.

    Parameters
    ----------
    path : pathlib.Path
    entries : iterable of mapping
        What it starts with; an older file is replaced once they are all on the disk.

    Raises
    ------
    FormatError
        If it cannot be written.
    """

    def __init__(self, path: Path, entries: Iterable[Mapping[str, object]] = ()) -> None:
        self.path = path
        try:
            write_whole(path, b"".join(map(line_of, entries)))
            self._file = path.open("ab")
        except OSError as error:
            raise FormatError(f"{path.name} could not be written: {error.strerror}.") from error

    def append(self, entry: Mapping[str, object]) -> None:
        """Write an entry; it is on the disk when this returns.

        Raises
        ------
        FormatError
            If the disk is full or gone.
        """
        try:
            self._file.write(line_of(entry))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise FormatError(
                f"The edit could not be written to {self.path.name}: {error.strerror}."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def read_entries(path: Path) -> list[dict[str, object]]:
    """Read a journal; a last line that a crash cut short is left out.

    Raises
    ------
    FormatError
        If it cannot be read, or another line than the last is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FormatError(f"{path.name} could not be read: {error.strerror}.") from error
    entries = []
    # a line counts once its end is written: what follows the last end was cut short
    for number, line in enumerate(lines[:-1]):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("not an entry")
        except ValueError:
            if number == len(lines) - 2:
                break
            raise FormatError(f"{path.name} is damaged in line {number + 1}.") from None
        entries.append(entry)
    return entries
