"""Aarhus ``.mul`` files: many images of one session, each with a label of its own.

Blocks of 128 bytes; the first three are an index of 64 pairs (number of the image, its block).
A label of one block goes before the pixels, which are int16 from the bottom up.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, make_image, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about

#: The first image is number 1 in block 3.
MAGIC = b"\x01\x00\x03\x00\x00\x00"
_BLOCK, _ENTRIES, _INDEX = 128, 64, 3
#: Of a label: numbers up to the current, two texts, then the mode and what follows.
_NUMBERS = (
    "id", "blocks", "columns", "rows", "depth", "year", "month", "day", "hour", "minute",
    "second", "width", "height", "x", "y", "z_scale", "tilt", "speed", "bias", "current",
)  # fmt: skip
_MORE = ("processing", "d1", "mode", "current_factor", "point_scans", "unit", "version")
_HEIGHT, _CURRENT, _DIFFERENCE = 0, 1, 7
#: Nanometres of one count at a scale of one.
_NM_PER_COUNT = -0.1 / 1.36 / 2000


def read_mul(path: Path) -> list[Image]:
    """Read every image, the right way up, heights in nm; spectra between them are left out."""
    raw = path.read_bytes()
    if len(raw) < (_INDEX + 1) * _BLOCK:
        raise FormatError(f"{path.name} is truncated.")
    images, others = [], 0
    for k in range(_ENTRIES):
        number, block = struct.unpack_from("<hi", raw, 6 * k)
        if not number:
            continue
        at = block * _BLOCK
        if block < _INDEX or at + _BLOCK > len(raw):
            raise FormatError(f"{path.name} is truncated or damaged.")
        label = dict(zip(_NUMBERS, struct.unpack_from("<20h", raw, at), strict=True))
        label |= dict(zip(_MORE, struct.unpack_from("<7h", raw, at + 82), strict=True))
        if label["id"] != number:
            raise FormatError(f"{path.name} is damaged: its index does not fit its images.")
        if label["mode"] not in (_HEIGHT, _CURRENT, _DIFFERENCE):
            others += 1
            continue
        title = raw[at + 62 : at + 62 + min(raw[at + 61], 20)].decode("latin-1").strip("\0 ")
        images.append(_image(path, raw, at, label, title))
    if not images:
        raise FormatError(f"{path.name} holds {'spectra' if others else 'nothing'}, no image.")
    return images


def _image(path: Path, raw: bytes, at: int, label: dict[str, int], title: str) -> Image:
    rows, columns = label["rows"], label["columns"]
    start = at + _BLOCK
    if rows < 1 or columns < 1 or start + 2 * rows * columns > len(raw):
        raise FormatError(f"{path.name} is truncated or damaged.")
    counts = np.frombuffer(raw, "<i2", rows * columns, start).reshape(rows, columns)[::-1]
    current = label["mode"] == _CURRENT
    if current:
        factor, unit, channel = label["current_factor"] * 1e-8 / 32768, "A", "Current"
    else:
        factor, unit, channel = _NM_PER_COUNT * label["z_scale"], "nm", "Topography"
    if not factor:
        factor, unit = 1.0, "counts"
    width, height = (to_nm(label[k], "angstrom") for k in ("width", "height"))
    size = pixel_size(height / rows if height else None, width / columns if width else None)
    date = "{year:04d}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}".format(**label)
    metadata = about(
        channel=channel, unit=unit, title=title, recorded=date if label["year"] > 0 else "",
        bias_V=-label["bias"] / 3276.8,
        setpoint_A=abs(label["current"]) * max(label["current_factor"], 1) * 1e-11,
        offset_nm=(-label["y"] / 10, label["x"] / 10),
        scan_time_s=label["speed"] / 100,
    )  # fmt: skip
    name = f"{path.name}: image {label['id']}"
    data = (counts * factor).astype(np.float32)
    return make_image(name, data, size, metadata=metadata, colour=False)
