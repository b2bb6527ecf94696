"""Gwyddion Simple Field (``.gsf``), as the manual of Gwyddion describes it.

Lines ``name = value`` behind a line with the name of the format, one to four zero bytes up to a
multiple of four, then float32, little-endian, from the top left.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, make_image, number_of, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about, heights_in_nm, middle_of

MAGIC = b"Gwyddion Simple Field 1."
#: A header is never longer; what has no zero byte before is none.
_LONGEST = 1 << 20


def read_gsf(path: Path) -> list[Image]:
    """Read the field, heights in nm."""
    with path.open("rb") as file:
        head = file.read(_LONGEST)
        end = head.find(b"\0")
        if end < 0:
            raise FormatError(f"{path.name} is truncated or damaged: its header has no end.")
        fields: dict[str, str] = {}
        for line in head[:end].decode("utf-8", "replace").splitlines()[1:]:
            name, _, value = line.partition("=")
            fields[name.strip().lower()] = value.strip()
        columns, rows = (_side(path, fields.get(f"{a}res")) for a in "xy")
        start = end + 4 - end % 4
        if path.stat().st_size < start + 4 * rows * columns:
            raise FormatError(f"{path.name} is truncated.")
        file.seek(start)
        data = np.fromfile(file, "<f4", rows * columns).reshape(rows, columns)
    unit = fields.get("xyunits", "")
    size = pixel_size(
        *(
            None if real is None else to_nm(real / n, unit)
            for real, n in ((number_of(fields.get("yreal")), rows),
                            (number_of(fields.get("xreal")), columns))
        )
    )  # fmt: skip
    title = fields.get("title", "")
    data, unit_z = heights_in_nm(data, fields.get("zunits", ""))
    sides = [number_of(fields.get(k)) for k in ("yoffset", "xoffset", "yreal", "xreal")]
    metadata = about(
        channel=title, title=title, unit=unit_z, offset_nm=middle_of(sides[:2], sides[2:], unit)
    )
    name = f"{path.name}: {title}" if title else path.name
    return [make_image(name, data, size, metadata=metadata, colour=False)]


def _side(path: Path, text: str | None) -> int:
    value = number_of(text)
    if value is None or not 1 <= value <= 1 << 20 or value != int(value):
        raise FormatError(f"{path.name} is damaged: it does not say how many pixels it has.")
    return int(value)
