"""Nanonis scans (``.sxm``), also with one direction, and of programs that convert to them.

The header is a list of ``:NAME:`` lines, each followed by lines with its value, up to
``:SCANIT_END:``; after the bytes 1A 04 the channels follow as 32 bit numbers, each line by line,
forward and, where it was recorded, backward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, PixelSize, make_image, number_of, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about, heights_in_nm, number_with_unit, when

_END = b":SCANIT_END:"
_MARK = b"\x1a\x04"
#: Channels that show atoms, best first; the others keep the order of the file.
_FIRST = ("Z", "Frequency_Shift", "OC_M1_Freq._Shift", "Current")
_BOTH = ("forward", "backward")


@dataclass(frozen=True)
class _Trace:
    """One channel in one direction."""

    channel: str
    unit: str
    direction: str


def read_sxm(path: Path) -> list[Image]:
    """Read a Nanonis scan, every channel and direction as an image that is the right way up."""
    raw = path.read_bytes()
    end = raw.find(_END)
    if end < 0:
        raise FormatError(f"{path.name} is truncated: its header has no end.")
    header = _header(raw[:end].decode("utf-8", "replace"))
    columns, rows = _two(path, header, "SCAN_PIXELS")
    mark = raw.find(_MARK, end, end + 64)
    start = mark + len(_MARK) if mark >= 0 else raw.find(b"\n", end) + 1
    traces, whole = _traces(path, header), rows * columns * 4
    if not 0 < whole <= len(raw) - start or not traces:
        raise FormatError(f"{path.name} is truncated.")
    n, rest = divmod(len(raw) - start, whole)
    if n < len(traces):
        # some programs say "both" and write one direction
        single = [t for t in traces if t.direction != "backward"]
        if n != len(single) or rest:
            raise FormatError(
                f"{path.name} is truncated: it announces {len(traces)} images and holds {n}."
            )
        traces = single
    little = "LSBFIRST" in " ".join(header.get("SCANIT_TYPE", ())).upper()
    kind = np.dtype("<f4" if little else ">f4")
    pixels = np.frombuffer(raw, kind, len(traces) * rows * columns, start)
    frames = pixels.reshape(len(traces), rows, columns)
    return _ordered(path, header, traces, frames)


def _ordered(
    path: Path, header: Mapping[str, Sequence[str]], traces: Sequence[_Trace], frames: np.ndarray
) -> list[Image]:
    size, known = _size(header, frames.shape[1:]), _settings(header)
    up = _value(header, "SCAN_DIR").lower() == "up"
    found: list[tuple[tuple[int, int], Image]] = []
    for trace, data in zip(traces, frames, strict=True):
        if up:  # the first line was the lowest
            data = data[::-1]
        if trace.direction == "backward":
            data = data[:, ::-1]
        native = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
        native, unit = heights_in_nm(native, trace.unit)
        metadata = about(channel=trace.channel, direction=trace.direction, unit=unit, **known)
        name = f"{path.name}: {trace.channel} {trace.direction}"
        image = make_image(name, native, size, metadata=metadata, colour=False)
        finite = native[np.isfinite(native)]
        flat = not finite.size or finite.min() == finite.max()
        order = _FIRST.index(trace.channel) if trace.channel in _FIRST else len(_FIRST)
        found.append(((int(flat), order), image))
    return [image for _, image in sorted(found, key=lambda f: f[0])]


def _header(text: str) -> dict[str, list[str]]:
    """Lines of every entry; empty ones are left out, of which converters write many."""
    header: dict[str, list[str]] = {}
    entry: list[str] = []
    for line in text.splitlines():
        if named := re.fullmatch(r":(.+):\s*", line):
            entry = header.setdefault(named[1].strip().upper(), [])
        elif line.strip():
            entry.append(line.strip("\r\n"))
    return header


def _value(header: Mapping[str, Sequence[str]], name: str) -> str:
    lines = header.get(name.upper(), ())
    return lines[0].strip() if lines else ""


def _numbers(header: Mapping[str, Sequence[str]], name: str) -> list[float]:
    return [n for part in _value(header, name).split() if (n := number_of(part)) is not None]


def _two(path: Path, header: Mapping[str, Sequence[str]], name: str) -> tuple[int, int]:
    numbers = _numbers(header, name)
    if len(numbers) < 2 or not all(1 <= n <= 1 << 16 for n in numbers[:2]):
        raise FormatError(f"{path.name} is damaged: it does not say how many pixels it has.")
    return int(numbers[0]), int(numbers[1])


def _rows(lines: Sequence[str]) -> list[dict[str, str]]:
    """A table: names of the columns, then the rows, with tabs or with several blanks."""
    bare = [x.strip() for x in lines]
    cells = [[c.strip() for c in re.split(r"\t+", x)] if "\t" in x else x.split() for x in bare]
    return [dict(zip(cells[0], row, strict=False)) for row in cells[1:]] if cells else []


def _traces(path: Path, header: Mapping[str, Sequence[str]]) -> list[_Trace]:
    """Every channel and direction, in the order of the file."""
    traces = []
    for row in _rows(header.get("DATA_INFO", ())):
        named = {k.lower(): v for k, v in row.items()}
        channel = named.get("name", "")
        said = named.get("direction", "both").lower()
        directions = [d for d in _BOTH if d.startswith(said[:3])] if said[:3] in (
            "for", "bac",
        ) else list(_BOTH)  # fmt: skip
        traces += [_Trace(channel, named.get("unit", ""), d) for d in directions if channel]
    if not traces:
        raise FormatError(f"{path.name} is damaged: it does not say which channels it holds.")
    return traces


def _size(header: Mapping[str, Sequence[str]], shape: tuple[int, ...]) -> PixelSize | None:
    span = [to_nm(v, "m") for v in _numbers(header, "SCAN_RANGE")]
    if len(span) < 2 or None in span:
        return None
    width, height = span[0], span[1]
    return pixel_size(height / shape[0] if height else None, width / shape[1] if width else None)


def _settings(header: Mapping[str, Sequence[str]]) -> dict[str, object]:
    bias = number_of(_value(header, "BIAS").partition(" ")[0])
    if bias is None:
        bias = number_of(_value(header, "Bias>Bias (V)"))
    setpoint, unit = None, ""
    for row in _rows(header.get("Z-CONTROLLER", ())):
        setpoint, unit = number_with_unit(row.get("Setpoint", ""))
        break
    if setpoint is None:
        setpoint = number_of(_value(header, "Z-Controller>Setpoint"))
        unit = _value(header, "Z-Controller>Setpoint unit")
    angle = number_of(_value(header, "SCAN_ANGLE").partition(" ")[0])
    offset = [to_nm(v, "m") for v in _numbers(header, "SCAN_OFFSET")]
    middle = None
    if len(offset) > 1 and offset[0] is not None and offset[1] is not None:
        middle = (-offset[1], offset[0])  # y of the instrument points upwards
    comment = [line.strip() for line in header.get("COMMENT", ())]
    return {
        "bias_V": bias,
        "setpoint_A": setpoint if unit == "A" else None,
        # the instrument counts clockwise
        "scan_rotation_deg": None if angle is None else -angle if angle else 0.0,
        "offset_nm": middle,
        "recorded": when(_value(header, "REC_DATE"), _value(header, "REC_TIME")),
        "scan_time_s": number_of(_value(header, "ACQ_TIME").partition(" ")[0]),
        "title": " ".join(comment),
    }
