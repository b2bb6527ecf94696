"""The journal as a file: one line of JSON per entry, appended and on the disk before it counts."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_atomlens.errors import FormatError
from napari_atomlens.files import write_whole
from napari_atomlens.untrusted import parse_json


def line_of(entry: Mapping[str, object]) -> bytes:
    """One entry as a line of the file."""
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


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
            start = b"".join(map(line_of, entries))
            write_whole(path, start)
            self._good = len(start)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise FormatError(f"{path.name} could not be written: {error.strerror}.") from error

    def append(self, entry: Mapping[str, object]) -> None:
        """Write an entry; it is on the disk when this returns.

        Raises
        ------
        FormatError
            If the disk is full or gone, or the file was removed; what was written before is
            whole.
        """
        line = line_of(entry)
        try:
            if not self.path.exists():  # the open file would take it, and nobody could find it
                raise FileNotFoundError(errno.ENOENT, "the file was removed")
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # half a line would hide those that follow
                os.ftruncate(self._file.fileno(), self._good)
            raise FormatError(
                f"The edit could not be written to {self.path.name}: {error.strerror}."
            ) from error
        self._good += len(line)

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
    entries, damage = read_sound(path)
    if damage:
        raise FormatError(damage)
    return entries


def read_sound(path: Path) -> tuple[list[dict[str, object]], str]:
    """Read a journal as far as it is sound.

    Returns
    -------
    entries : list of dict
        Those before the first damage.
    damage : str
        A sentence that says where it is; "" where there is none. A last line that a crash cut
        short is none.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FormatError(f"{path.name} could not be read: {error.strerror}.") from error
    entries: list[dict[str, object]] = []
    # a line counts once its end is written: what follows the last end was cut short
    for number, line in enumerate(lines[:-1]):
        try:
            entry = parse_json(line, path.name)
        except FormatError:
            if number == len(lines) - 2:
                break
            lost = len(lines) - 1 - number
            return entries, (
                f"{path.name} is damaged in line {number + 1}: {lost} "
                f"entr{'y' if lost == 1 else 'ies'} from there on cannot be read."
            )
        entries.append(entry)
    return entries, ""
