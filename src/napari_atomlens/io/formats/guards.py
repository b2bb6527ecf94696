"""Look for damage that sends the libraries into loops without end, before they meet it."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from napari_atomlens.errors import FormatError

#: Of larger files only so much of both ends is looked at: metadata are small.
LOOK_BYTES = 16 << 20


def check_hdf5(path: Path) -> None:
    """Refuse a file whose heaps of texts would make the HDF5 library go round for ever.

    A global heap collection is a list of objects, each of which says how long it is; one of
    length zero is its own successor (HDF5 File Format Specification, III.E). A type of variable
    length that is neither a list nor a text ends the process.

    Raises
    ------
    FormatError
        If an object of a heap leads nowhere, or out of its heap, or a type is none.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        for at in _each(raw, b"GCOL\x01"):
            if at + 16 > len(raw):
                continue
            (size,) = struct.unpack_from("<Q", raw, at + 8)
            end = min(at + size, len(raw))
            at += 16
            while at + 16 <= end:
                index, _, _, length = struct.unpack_from("<HHIQ", raw, at)
                # the length of the free space counts its own head
                step = length if index == 0 else 16 + (length + 7) // 8 * 8
                if step < 16 or at + step > end + 7:
                    raise FormatError(f"{path.name} is damaged: a list of texts in it has no end.")
                at += step
        for kind in _texts(raw):
            if kind & 0x0F > 1:
                raise FormatError(f"{path.name} is damaged: a text in it is of no known type.")


#: Type of texts and lists of any length: class 9, what it is, 16 bytes, then the type of its parts
#: (HDF5 File Format Specification, IV.A.2.d).
_VARIABLE = re.compile(
    rb"[\x19\x29\x39](.)[\x00-\x0f]\x00\x10\x00\x00\x00"
    rb"[\x10\x13\x17\x20\x23\x27\x30\x33\x37]...[\x01-\x10]\x00\x00\x00",
    re.DOTALL,
)


def _texts(raw: mmap.mmap) -> Iterator[int]:
    """Types of variable length in a file: 0 a list, 1 a text.

    The library knows no other, and reads on in memory that is not its own.
    """
    for first, last in ((0, LOOK_BYTES), (max(LOOK_BYTES, len(raw) - LOOK_BYTES), len(raw))):
        for found in _VARIABLE.finditer(raw, first, last):
            yield found[1][0]


def check_dm(path: Path) -> None:
    """Refuse a DigitalMicrograph file that announces more structures than it has bytes.

    Raises
    ------
    FormatError
        If an array of structures is longer than the file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        word = 8 if raw[:4] == b"\0\0\0\x04" else 4

        def number(at: int) -> int:
            return int.from_bytes(raw[at : at + word], "big")

        for at in _each(raw, b"%%%%"):
            # length of the list; an array (20) of structures (15); length of the name, number
            # of fields, two numbers for each, and how many structures there are
            about = [number(at + 4 + k * word) for k in range(5)]
            if about[1:3] != [20, 15] or about[4] > len(raw):
                continue
            n = number(at + 4 + (5 + 2 * about[4]) * word)
            if n > len(raw):
                raise FormatError(
                    f"{path.name} is damaged: it announces {n} entries in {len(raw)} bytes."
                )


def _each(raw: mmap.mmap, mark: bytes) -> Iterator[int]:
    """Places of a mark in the first and last bytes of a file."""
    for first, last in ((0, LOOK_BYTES), (max(LOOK_BYTES, len(raw) - LOOK_BYTES), len(raw))):
        at = raw.find(mark, first, last)
        while at >= 0:
            yield at
            at = raw.find(mark, at + 1, last)
