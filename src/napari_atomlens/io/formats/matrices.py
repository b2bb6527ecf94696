"""Images as text: one line of numbers for each line of pixels.

As Gwyddion, SPIP, WSxM, DigitalMicrograph, ImageJ and numpy write them: numbers with tabs,
semicolons, commas or blanks between them, with decimal points or commas, behind a header or none.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, make_image, number_of, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about, heights_in_nm

#: Narrower tables than this are lists of positions or settings rather than images.
MIN_SIDE = 8
#: So much of a file says whether it is a matrix.
_LOOK_BYTES = 1 << 18
#: A header is never longer.
_MOST_HEADER = 500
_COMMENTS = ("#", "%", "//", "!", "*")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)*|[.,]\d+)([eEdD][-+]?\d+)?|[-+]?(nan|inf)|--", re.I)
#: Names of the sides in headers, and the unit where none is said: SPIP and WSxM, Gwyddion.
_SIDES = (("width", "height"), ("x-length", "y-length"), ("x amplitude", "y amplitude"))


@dataclass(frozen=True)
class _Layout:
    """How the numbers of a file are told apart.

    Attributes
    ----------
    between : str
        What stands between two, "" for blanks.
    comma : bool
        Whether the decimal mark is a comma.
    """

    between: str
    comma: bool

    def cells(self, line: str) -> list[str]:
        """Return the numbers of a line as texts; what stands behind the last mark is none."""
        if not self.between:
            return line.split()
        cells = [c.strip() for c in line.split(self.between)]
        return cells[:-1] if cells and not cells[-1] else cells


def looks_like_matrix(path: Path) -> bool:
    """Whether a text begins, behind its header, with two lines of as many numbers."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LOOK_BYTES)
        text = _decoded(raw)
        if len(raw) == _LOOK_BYTES:  # the last line may be cut
            text = text[: text.rfind("\n") + 1] or text
        _, lines = _parted(text)
    except (OSError, ValueError):
        return False
    if len(lines) == 1:  # very wide
        return path.stat().st_size > _LOOK_BYTES
    layout = _layout(lines[:20])
    widths = {len(layout.cells(line)) for line in lines[:2]}
    return len(lines) > 1 and len(widths) == 1 and widths.pop() >= MIN_SIDE


def read_matrix(path: Path) -> list[Image]:
    """Read a matrix in text; a header of Gwyddion, SPIP or WSxM says size and unit.

    Raises
    ------
    FormatError
        If it holds no matrix, or its lines are not equally long.
    """
    try:
        header, lines = _parted(_decoded(path.read_bytes()))
    except ValueError as error:
        raise FormatError(f"{path.name} is no image in text: it {error}.") from error
    if len(lines) < MIN_SIDE:
        raise FormatError(f"{path.name} holds no table of at least {MIN_SIDE} lines of numbers.")
    layout = _layout(lines[:20])
    data = _numbers(path, lines, layout)
    data = _without_counters(data)
    if min(data.shape) < MIN_SIDE:
        raise FormatError(
            f"{path.name} holds a table of {data.shape[1]} columns, not an image; positions of "
            "atoms are read by al.read_atoms."
        )
    size = _size(header, data.shape)
    channel = header.get("channel", header.get("title", ""))
    unit = _unit(header)
    data, unit = heights_in_nm(data, unit)
    name = path.name if not channel else f"{path.name}: {channel}"
    metadata = {"header": dict(header)} if header else {}
    return [
        make_image(
            name, data, size, colour=False, metadata=metadata | about(channel=channel, unit=unit)
        )
    ]


def _decoded(raw: bytes) -> str:
    """Text of bytes; a ValueError where they are none."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    if b"\0" in raw:
        raise ValueError("holds zero bytes")
    text = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:  # µ and Å of older programs; of a cut file the last letter, too
        return text.decode("latin-1")


def _is_numbers(line: str) -> bool:
    parts = [p for p in re.split(r"[\t; ]+|,(?!\d)", line.strip()) if p]
    return bool(parts) and all(_NUMBER.fullmatch(p.strip(",")) for p in parts)


def _parted(text: str) -> tuple[dict[str, str], list[str]]:
    """What a header says, and the lines of numbers behind it.

    A ValueError where the file begins with the names of columns, as a table does, or where
    there are no numbers.
    """
    header: dict[str, str] = {}
    lines = text.splitlines()
    first = None
    for k, line in enumerate(lines[:_MOST_HEADER]):
        bare = line.strip()
        if not bare:
            continue
        if _is_numbers(bare):
            first = k
            break
        words = re.match(r"\s*([^:=]+?)\s*[:=]\s*(.*)", bare.lstrip("#%!*/ "))
        if words:
            header.setdefault(words[1].strip().lower(), words[2].strip().strip(";").strip())
        elif not bare.startswith(_COMMENTS) and re.search(r"[\t;,]", bare.strip("\t;, ")):
            raise ValueError("is a table with names of columns")
    if first is None:
        raise ValueError("holds no lines of numbers")
    return header, [
        line for line in lines[first:] if line.strip() and not line.lstrip().startswith(_COMMENTS)
    ]


def _layout(lines: Sequence[str]) -> _Layout:
    """How numbers are told apart in some lines."""
    text = "\n".join(lines)
    for mark in ("\t", ";"):
        if all(mark in line for line in lines):
            # both marks: the last of a number is that of the decimals
            comma = "," in text and not re.search(r",\d+\.", text)
            return _Layout(mark, comma)
    if "," not in text:
        return _Layout("", False)
    parts = text.split()
    blanks = max(len(line.split()) for line in lines) > 1
    if blanks and all(re.fullmatch(r"[-+]?\d*(,\d+)?([eE][-+]?\d+)?", p) for p in parts):
        return _Layout("", True)
    return _Layout(",", False)


def _numbers(path: Path, lines: Sequence[str], layout: _Layout) -> np.ndarray:
    import pandas as pd

    widths = Counter(len(layout.cells(line)) for line in lines)
    width, _ = widths.most_common(1)[0]
    if len(widths) > 1:
        odd = next(k for k, line in enumerate(lines) if len(layout.cells(line)) != width)
        raise FormatError(
            f"{path.name} is no matrix: line {odd + 1} of its numbers has "
            f"{len(layout.cells(lines[odd]))} of them and the others have {width}."
        )
    body = "\n".join(line.strip(" \r") for line in lines)
    try:
        table = pd.read_csv(
            io.StringIO(body), sep=layout.between or r"\s+", header=None, usecols=range(width),
            decimal="," if layout.comma else ".",
            thousands=(("." if layout.comma else ",") if layout.between in ("\t", ";") else None),
            na_values=["--", "1.#QNAN", "-1.#IND", "1.#IND", "NaN", "nan"], skip_blank_lines=True,
            quoting=3,
        )  # fmt: skip
        return table.to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise FormatError(
            f"{path.name} holds text between its numbers; export the image as numbers alone, with "
            "tabs between them."
        ) from error


def _without_counters(data: np.ndarray) -> np.ndarray:
    """Pixels without a first line and a first column that only count them."""
    rows, columns = data.shape
    if rows < 3 or columns < 3:
        return data
    for first in (0, 1):
        top, left = data[0, 1:], data[1:, 0]
        if np.array_equal(top, np.arange(columns - 1) + first) and np.array_equal(
            left, np.arange(rows - 1) + first
        ):
            return np.ascontiguousarray(data[1:, 1:])
        if np.array_equal(data[0], np.arange(columns) + first):
            return np.ascontiguousarray(data[1:])
    return data


def _size(header: dict[str, str], shape: tuple[int, ...]) -> tuple[float, float] | None:
    for across, down in _SIDES:
        if across in header and down in header:
            sides = []
            for key, n in ((down, shape[0]), (across, shape[1])):
                value, _, unit = header[key].partition(" ")
                # SPIP leaves the unit out: nm
                nm = to_nm(value, unit.strip() or ("nm" if "length" in key else ""))
                sides.append(None if nm is None else nm / n)
            return pixel_size(*sides)
    return None


def _unit(header: dict[str, str]) -> str:
    """Unit of the pixels, as Gwyddion and WSxM say it."""
    if said := header.get("value units", header.get("z-unit", header.get("zunit", ""))):
        return said
    value, _, unit = header.get("z amplitude", "").partition(" ")
    return unit.strip() if number_of(value) is not None else ""
