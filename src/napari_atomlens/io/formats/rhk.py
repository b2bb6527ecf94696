"""RHK SM4 files, read directly: no library for them installs without a plotting stack.

Layout (RHK Technology, "SM4 file format"; also the docstrings of spym, MIT): a file
header, an index of pages, and for every page a header, its pixels and its strings; each
part is found by a list of objects (id, offset, size).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, make_image, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about, heights_in_nm, when

_INDEX, _PAGES, _HEADER, _DATA, _STRINGS = 1, 2, 3, 4, 10
_IMAGE, _MOVIE = 0, 7
_DIRECTION = {0: "forward", 1: "backward", 2: "up", 3: "down"}
#: Of the page header: two words, then these numbers.
_FIELDS = [
    "page_type",
    "sub_source",
    "line_type",
    "x_corner",
    "y_corner",
    "columns",
    "rows",
    "image_type",
    "direction",
    "group",
    "bytes",
    "z_min",
    "z_max",
    "x_scale",
    "y_scale",
    "z_scale",
    "xy_scale",
    "x_offset",
    "y_offset",
    "z_offset",
    "period",
    "bias",
    "current",
    "angle",
    "colours",
    "grid_x",
    "grid_y",
    "objects",
]
_LAYOUT = "<HH13I11f4I"
_HEADER_BYTES = struct.calcsize(_LAYOUT) + 64
_NAMES = {0: "channel", 5: "date", 6: "time", 7: "x_unit", 8: "y_unit", 9: "unit"}


def _objects(raw: bytes, at: int, n: int) -> dict[int, tuple[int, int]]:
    """Objects of a list, id to (offset, size)."""
    if n > 1000:
        raise struct.error("too many objects")
    out = {}
    for k in range(n):
        kind, offset, size = struct.unpack_from("<III", raw, at + 12 * k)
        if offset and size:
            out[kind] = (offset, size)
    return out


def _strings(raw: bytes, at: int, n: int) -> dict[str, str]:
    """First strings of a page that have a meaning for us."""
    out = {}
    for k in range(min(n, 10)):
        (length,) = struct.unpack_from("<H", raw, at)
        text = raw[at + 2 : at + 2 + 2 * length].decode("utf-16-le", "replace").rstrip("\0")
        at += 2 + 2 * length
        if k in _NAMES:
            out[_NAMES[k]] = text.strip()
    return out


def read_sm4(path: Path) -> list[Image]:
    """Read every image page of an RHK file, the right way up, in physical units."""
    raw = path.read_bytes()
    try:
        return _pages(path, raw)
    except (struct.error, KeyError, OverflowError) as error:
        raise FormatError(f"{path.name} is truncated or damaged.") from error


def _pages(path: Path, raw: bytes) -> list[Image]:
    (size,) = struct.unpack_from("<H", raw)
    (n_objects,) = struct.unpack_from("<I", raw, 42)
    index, _ = _objects(raw, size + 2, n_objects)[_INDEX]
    n_pages, n_objects = struct.unpack_from("<II", raw, index)
    at, _ = _objects(raw, index + 16, n_objects)[_PAGES]
    if n_pages > 100_000:
        raise FormatError(f"{path.name} is truncated or damaged.")
    images: list[Image] = []
    others = 0
    for _ in range(n_pages):
        kind, _, n_objects, _ = struct.unpack_from("<IIII", raw, at + 16)
        objects = _objects(raw, at + 32, n_objects)
        at += 32 + 12 * n_objects
        if kind != _IMAGE:
            others += 1
            continue
        images.append(_page(path, raw, objects))
    if not images:
        what = "spectra or a movie" if others else "no pages"
        raise FormatError(f"{path.name} holds {what}, no image.")
    first = ("Topography", "Current")

    def order(image: Image) -> tuple[int, bool]:
        channel = image.metadata.get("channel")
        place = first.index(channel) if channel in first else len(first)
        return place, image.metadata.get("direction") != "forward"

    return sorted(images, key=order)


def _page(path: Path, raw: bytes, objects: dict[int, tuple[int, int]]) -> Image:
    start, _ = objects[_HEADER]
    _, n_strings, *numbers = struct.unpack_from(_LAYOUT, raw, start)
    page = dict(zip(_FIELDS, numbers, strict=True))
    more = _objects(raw, start + _HEADER_BYTES, page["objects"])
    text = _strings(raw, more[_STRINGS][0], n_strings) if _STRINGS in more else {}
    rows, columns = page["rows"], page["columns"]
    data, _ = objects[_DATA]
    if data + 4 * rows * columns > len(raw):
        raise FormatError(f"{path.name} is truncated.")
    values = np.frombuffer(raw, "<i4", rows * columns, data).reshape(rows, columns)
    image = values * float(page["z_scale"]) + float(page["z_offset"])
    if page["x_scale"] < 0:
        image = image[:, ::-1]
    if page["y_scale"] > 0:  # the first line is the lowest
        image = image[::-1]
    size = pixel_size(
        to_nm(abs(page["y_scale"]), text.get("y_unit")),
        to_nm(abs(page["x_scale"]), text.get("x_unit")),
    )
    direction = _DIRECTION.get(page["direction"], "")
    image, unit = heights_in_nm(image, text.get("unit", ""))
    metadata = about(
        channel=text.get("channel"),
        unit=unit,
        direction=direction,
        bias_V=float(page["bias"]),
        setpoint_A=float(page["current"]),
        scan_rotation_deg=float(page["angle"]),
        recorded=when(text.get("date"), text.get("time")),
        offset_nm=_offset(page, text, image.shape),
    )
    name = f"{path.name}: {text.get('channel') or 'page'} {direction}".strip()
    return make_image(name, np.ascontiguousarray(image), size, metadata=metadata, colour=False)


def _offset(
    page: dict[str, float], text: dict[str, str], shape: tuple[int, ...]
) -> tuple[float, float] | None:
    """Middle of the frame, (y, x) in nm with y down; the offset is that of its first pixel."""
    x = to_nm(page["x_offset"] + page["x_scale"] * (shape[1] - 1) / 2, text.get("x_unit"))
    y = to_nm(page["y_offset"] + page["y_scale"] * (shape[0] - 1) / 2, text.get("y_unit"))
    return None if x is None or y is None else (-y, x)
