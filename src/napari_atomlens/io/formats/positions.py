"""Positions of other programs as tables of atoms: x and y in text, with a header or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.image import check_pixel_size, to_nm

if TYPE_CHECKING:
    import pandas as pd

#: Suffixes of texts that may hold positions.
TEXTS = (".csv", ".txt", ".tsv", ".dat")
#: Wider tables without names of columns are no lists of positions.
_MOST_COLUMNS = 7
_LOOK_BYTES = 20_000
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan", re.IGNORECASE)
_AXIS = re.compile(
    r"(?:pos(?:ition)?[ _-]?|coord(?:inate)?[ _-]?)?(?P<axis>[xy]|row|col(?:umn)?|axis-\d)"
    r"(?:[ _-]?(?:pos(?:ition)?|coord(?:inate)?s?|cent(?:er|re)))?"
    r"(?:[ _]*[\[(]?(?P<unit>px|pix|pixels?|nm|pm|å|ang|angstroms?|ångström|µm|um|m)[\])]?)?"
)
Unit = Literal["", "px", "nm", "angstrom", "pm"]


@dataclass(frozen=True)
class _Text:
    """Cells of a text: names of columns where it has them, and lines of cells."""

    names: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Positions:
    """Positions that another program wrote, and what it says of them.

    Attributes
    ----------
    name : str
        Of the file.
    values : ndarray, shape (n, 2)
        y and x, as they are in the file.
    unit : str
        What the names of the columns say, else "".
    ordered : bool
        Whether names say which column is x.
    others : mapping
        Columns besides, by name.
    """

    name: str
    values: np.ndarray
    unit: str
    ordered: bool
    others: Mapping[str, object]

    def places(
        self,
        unit: Unit = "",
        first_pixel: Literal[0, 1] = 0,
        order: Literal["xy", "yx"] = "xy",
        pixel_size_nm: float | tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the positions in pixels, in nm, or both; see :func:`read_positions`.

        Raises
        ------
        FormatError
            If the pixel size is needed and not given.
        ParameterError
            If the options make no sense.
        """
        _check(unit, first_pixel, order)
        values = self.values[:, ::-1] if order == "yx" and not self.ordered else self.values
        return _columns(self.name, values, unit or self.unit, first_pixel, pixel_size_nm)


def looks_like_positions(path: Path) -> bool:
    """Whether a text is a list of positions: it has columns x and y, or two to seven of numbers."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LOOK_BYTES)
        if len(raw) == _LOOK_BYTES:
            raw = raw[: raw.rfind(b"\n") + 1]
        found = _parsed(raw)
    except (OSError, ValueError):
        return False
    if not found.rows:
        return False
    return _places(found) is not None


def read_positions(
    path: Path,
    *,
    unit: Unit = "",
    first_pixel: Literal[0, 1] = 0,
    order: Literal["xy", "yx"] = "xy",
    pixel_size_nm: float | tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Read positions that another program wrote.

    Parameters
    ----------
    path : pathlib.Path
    unit : {"", "px", "nm", "angstrom", "pm"}
        By default what the names of the columns say, else pixels.
    first_pixel : {0, 1}
        Number of the first pixel in that program: 1 in MATLAB and StatSTEM.
    order : {"xy", "yx"}
        Of the first two columns where they have no names.
    pixel_size_nm : float or tuple of float, optional
        (y, x); needed for lengths that count from pixel 1.

    Raises
    ------
    FormatError
        If there are no columns x and y, or no numbers in them.
    ParameterError
        If the options make no sense.
    """
    import pandas as pd  # napari asks this module about files before there is any table

    found = look_at_positions(path)
    table = pd.DataFrame(found.places(unit, first_pixel, order, pixel_size_nm))
    return pd.concat([table, pd.DataFrame(found.others)], axis=1)


def look_at_positions(path: Path) -> Positions:
    """Read positions as they are in a file, before anybody says in what unit they are.

    Raises
    ------
    FormatError
        If there are no columns x and y, or no numbers in them.
    """
    try:
        found = _parsed(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path.name} could not be opened: {error.strerror}.") from error
    except ValueError as error:
        raise FormatError(f"{path.name} is no list of positions: {error}.") from None
    if (places := _places(found)) is None or not found.rows:
        raise FormatError(
            f"{path.name} holds no positions: it needs columns x and y (in pixels or with a unit, "
            "such as x (nm)), or two columns of numbers without names."
        )
    y, x, said = places
    try:
        values = np.array([[float(row[y]), float(row[x])] for row in found.rows])
    except (ValueError, IndexError):
        raise FormatError(f"{path.name} has lines without numbers for x and y.") from None
    if not np.isfinite(values).all():
        raise FormatError(f"{path.name} has positions that are no numbers.")
    return Positions(path.name, values, said, bool(found.names), _others(found, (y, x)))


def _check(unit: str, first_pixel: int, order: str) -> None:
    if unit not in ("", "px", "nm", "angstrom", "pm"):
        raise ParameterError(f"unit is {unit!r}, but must be px, nm, angstrom or pm.")
    if first_pixel not in (0, 1):
        raise ParameterError(f"first_pixel is {first_pixel!r}, but must be 0 or 1.")
    if order not in ("xy", "yx"):
        raise ParameterError(f"order is {order!r}, but must be xy or yx.")


def _columns(
    name: str,
    values: np.ndarray,
    unit: str,
    first_pixel: int,
    pixel_size_nm: float | tuple[float, float] | None,
) -> dict[str, np.ndarray]:
    """Positions in pixels, in nm, or both."""
    size = check_pixel_size(pixel_size_nm)
    if unit in ("", "px", "pix", "pixel", "pixels"):
        pixels = values - first_pixel
        lengths = None if size is None else pixels * size
        out = {"y_px": pixels[:, 0], "x_px": pixels[:, 1]}
        return out if lengths is None else out | {"y_nm": lengths[:, 0], "x_nm": lengths[:, 1]}
    lengths = values * (to_nm(1.0, unit) or 1.0)
    if size is None:
        if first_pixel:
            raise FormatError(
                f"{name} has lengths that count from pixel 1: the pixel size is needed."
            )
        return {"y_nm": lengths[:, 0], "x_nm": lengths[:, 1]}
    pixels = lengths / size - first_pixel
    lengths = pixels * size
    return {"y_px": pixels[:, 0], "x_px": pixels[:, 1],
            "y_nm": lengths[:, 0], "x_nm": lengths[:, 1]}  # fmt: skip


def _others(found: _Text, places: tuple[int, int]) -> dict[str, object]:
    """Other named columns, as they are; a number of a slice or frame as ``frame``, from 0."""
    import pandas as pd

    out: dict[str, object] = {}
    for k, name in enumerate(found.names):
        key = name.strip().lower()
        if k in places or not key:
            continue
        cells = [row[k] if k < len(row) else "" for row in found.rows]
        numbers = pd.to_numeric(pd.Series(cells), errors="coerce")
        if key in ("slice", "frame", "axis-0") and numbers.notna().all():
            out["frame"] = numbers.astype(int).to_numpy() - (key == "slice")
        elif key not in ("frame", "slice", "index", "y_px", "x_px", "y_nm", "x_nm", "atom_id"):
            out[name.strip()] = numbers.to_numpy() if numbers.notna().all() else cells
    return out


def _places(found: _Text) -> tuple[int, int, str] | None:
    """Columns of y and x, and the unit that their names say; None where there are none."""
    width = len(found.rows[0]) if found.rows else 0
    if not found.names:
        return (1, 0, "") if 2 <= width <= _MOST_COLUMNS else None
    at: dict[str, tuple[int, str]] = {}
    for k, name in enumerate(found.names):
        if match := _AXIS.fullmatch(name.strip().strip('"').lower()):
            at.setdefault(match["axis"], (k, match["unit"] or ""))
    axes = sorted(a for a in at if a.startswith("axis-"))
    for down, across in (
        ("y", "x"),
        ("row", "col"),
        ("row", "column"),
        tuple(axes[-2:]) or ("", ""),
    ):
        if down in at and across in at:
            return at[down][0], at[across][0], at[across][1]
    return None


def _parsed(raw: bytes) -> _Text:
    """Cells of a text; a ValueError where it is none, or has lines of several lengths."""
    if b"\0" in raw:
        raise ValueError("it is no text")
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    comments = [line.lstrip("#%/! \t") for line in lines if line.lstrip()[0] in "#%!/"]
    lines = [line for line in lines if line.lstrip()[0] not in "#%!/"]
    if not lines:
        raise ValueError("it is empty")
    split = _splitter(lines[:50])
    rows = [split(line) for line in lines]
    names: list[str] = []
    if not all(_NUMBER.fullmatch(cell) for cell in rows[0] if cell):
        names, rows = rows[0], rows[1:]
    elif comments and len(found := split(comments[-1])) == len(rows[0]):
        names = found
    if rows and max(map(len, rows)) != min(map(len, rows)):
        raise ValueError("its lines are not equally long")
    return _Text([n.strip().strip('"') for n in names], rows)


def _splitter(lines: list[str]) -> Callable[[str], list[str]]:
    """How the cells of lines are told apart: by semicolons, tabs, commas or blanks."""
    last = lines[-1]
    text = "\n".join(lines)
    mark = next((m for m in ";\t" if m in text), "")
    comma = bool(mark) and "," in last and "." not in last
    if not mark and "," in text:
        # 1,5 2,5: decimal commas between blanks
        comma = all(re.fullmatch(r"[-+]?\d+,\d+", part) for part in last.split())
        comma = comma and len(last.split()) > 1
        mark = "" if comma else ","

    def split(line: str) -> list[str]:
        cells = line.split(mark) if mark else line.split()
        cells = [cell.strip().strip('"') for cell in cells]
        return [cell.replace(",", ".") for cell in cells] if comma else cells

    return split
