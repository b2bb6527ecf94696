"""Createc scans (``.dat``).

A header in text up to the word ``DATA`` (older programs: up to byte 16384), then the channels one
after the other, of each direction, in counts of the converter: float32 in zlib ("Paramco32"),
float32 ("Paramet32") or int16 ("Parameter"). One word goes before the pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, make_image, number_of, pixel_size, to_nm
from napari_atomlens.io.formats.facts import about

_HEADER = 16384
_MARKER = b"DATA"
_PACKED, _FLOATS, _WHOLE = b"[Paramco32]", b"[Paramet32]", b"[Parameter]"
#: Volts between the ends of the converters.
_RANGE_V = 20.0
#: Names of the bits of "Channelselectval"; others of the many are inputs of the converter.
_CHANNELS = ("Topography", "Current")


def read_createc(path: Path) -> list[Image]:
    """Read a Createc scan: heights in nm, currents in A, other channels in counts.

    Lines that were not recorded, which the program fills with zeros, become not-a-number.
    """
    raw = path.read_bytes()
    start = _start(raw)
    header = _header(raw[:start])
    columns, rows = (_whole(path, header, f"Num.{a}") for a in "XY")
    values = _counts(path, raw, start, columns * rows)
    n = min(values.size // (rows * columns), int(number_of(header.get("Channels")) or 99))
    if n < 1:
        raise FormatError(f"{path.name} is truncated.")
    channels = values[: n * rows * columns].reshape(n, rows, columns).astype(np.float32)
    recorded = channels.any(axis=(0, 2))
    last = int(np.flatnonzero(recorded).max(initial=-1)) + 1
    if not last:
        raise FormatError(f"{path.name} holds no line that was recorded.")
    channels[:, last:] = np.nan
    width, height = (to_nm(header.get(f"Length {a}[A]"), "angstrom") for a in "xy")
    size = pixel_size(height / rows if height else None, width / columns if width else None)
    per_direction = int(number_of(_first(header, "Chan(1,2,4)", "ScanChannels")) or 0)
    if not 0 < per_direction <= n or n % per_direction:
        per_direction = n
    known = _settings(header)
    images = []
    for k, counts in enumerate(channels):
        direction = "backward" if k >= per_direction else "forward"
        title = _title(header, k % per_direction)
        data, unit = _scaled(counts, title, header)
        metadata = about(channel=title, direction=direction, unit=unit, **known)
        name = f"{path.name}: {title} {direction}"
        images.append(make_image(name, data, size, metadata=metadata, colour=False))
    return images


def _start(raw: bytes) -> int:
    """Where the pixels begin."""
    at = raw.find(_MARKER, 0, _HEADER + 256)
    while at >= 0:
        after = at + len(_MARKER)
        packed = raw.startswith(_PACKED)
        # a path in the header may hold the word, too: a stream of zlib begins with 0x78
        if (raw[after : after + 1] == b"\x78") if packed else raw[at - 1 : at] in b"\0\n":
            return after
        at = raw.find(_MARKER, after, _HEADER + 256)
    return _HEADER


def _header(raw: bytes) -> dict[str, str]:
    header: dict[str, str] = {}
    for line in raw.decode("latin-1").splitlines():
        names, equals, value = line.partition("=")
        if equals:
            for name in (names.strip(), *names.split(" / ")):
                header.setdefault(name.strip(), value.strip("\0 \r"))
    return header


def _first(header: Mapping[str, str], *names: str) -> str | None:
    return next((header[n] for n in names if header.get(n)), None)


def _whole(path: Path, header: Mapping[str, str], name: str) -> int:
    value = number_of(header.get(name))
    if value is None or not 1 <= value <= 1 << 16:
        raise FormatError(f"{path.name} is damaged: it does not say how many pixels it has.")
    return int(value)


def _counts(path: Path, raw: bytes, start: int, pixels: int) -> np.ndarray:
    """Counts of all channels, one after the other."""
    if raw.startswith(_PACKED):
        unpack = zlib.decompressobj()
        # more channels than the converter has inputs are none
        data = unpack.decompress(raw[start:], 4 * (1 + 64 * pixels))
        if not unpack.eof:
            raise FormatError(f"{path.name} is truncated.")
        return np.frombuffer(data[: len(data) // 4 * 4], "<f4")[1:]
    kind = np.dtype("<i2" if raw.startswith(_WHOLE) else "<f4")
    data = raw[start:]
    return np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)[1:]


def _title(header: Mapping[str, str], number: int) -> str:
    """What the channel of a number holds: the bits of a mask say which were recorded."""
    mask = int(number_of(header.get("Channelselectval")) or 0)
    bits = [bit for bit in range(32) if mask >> bit & 1] or list(range(len(_CHANNELS)))
    bit = bits[number] if number < len(bits) else number
    return _CHANNELS[bit] if bit < len(_CHANNELS) else f"channel {bit + 1}"


def _per_count(header: Mapping[str, str]) -> float:
    """Volts of one count of the converter."""
    bits = "".join(c for c in header.get("DAC-Type", "") if c.isdigit())
    return float(_RANGE_V / 2 ** (int(bits) if bits and int(bits) <= 64 else 20))


def _piezo(header: Mapping[str, str], axis: str, constant: str, gain: str) -> float | None:
    """Nanometres of one count: ångström at gain 1, times the gain of the amplifier.

    The header has them to two digits (``Dacto``), and the constant of the piezo, in ångström per
    volt, of which that is the rounded product; where it is not, the constant is of another setting.
    """
    amplified = number_of(header.get(gain)) or 1.0
    said = header.get(f"Dacto[A]{axis}", "")
    rounded = number_of(said) or 0.0
    volts = number_of(_first(header, constant, constant.lower().capitalize()))
    angstrom = _per_count(header) * (volts or 0.0)
    digits = len(said.strip().partition(".")[2])
    if rounded and not (angstrom and abs(angstrom - rounded) <= 0.51 * 10.0**-digits):
        angstrom = rounded
    return angstrom * amplified / 10 if angstrom else None


def _scaled(counts: np.ndarray, title: str, header: Mapping[str, str]) -> tuple[np.ndarray, str]:
    factor, unit = None, ""
    if title == "Topography":
        factor, unit = _piezo(header, "z", "ZPiezoconst", "GainZ"), "nm"
    elif title == "Current":
        gain = number_of(_first(header, "Gainpreamp", "GainPre 10^"))
        factor, unit = None if gain is None else _per_count(header) * 10.0**-gain, "A"
    if not factor:
        return counts, "counts"
    return (counts * np.float64(factor)).astype(np.float32), unit


def _settings(header: Mapping[str, str]) -> dict[str, object]:
    bias = number_of(_first(header, "BiasVolt.[mV]", "Biasvolt[mV]", "BiasVoltage"))
    picoampere = number_of(header.get("FBLogIset"))
    setpoint = picoampere * 1e-12 if picoampere else number_of(header.get("Current[A]"))
    counts = [number_of(header.get(f"Scanrotoff{a}")) for a in "yx"]
    scales = [
        _piezo(header, "xy", constant, gain)
        for constant, gain in (("YPiezoconst", "GainY"), ("Xpiezoconst", "GainX"))
    ]
    offset = None
    if None not in counts and None not in scales:
        # the offset is that of the middle of the first line, and both axes run backwards
        y, x = (-c * s for c, s in zip(counts, scales, strict=True))  # type: ignore[operator]
        height = to_nm(header.get("Length y[A]"), "angstrom") or 0.0
        middle = 0.0 if number_of(header.get("Scancentermode")) else height / 2
        offset = (y + middle, x)
    return {
        "bias_V": None if bias is None else bias / 1000,
        "setpoint_A": setpoint,
        "scan_rotation_deg": number_of(header.get("Rotation")),
        "offset_nm": offset,
        "scan_time_s": number_of(header.get("Sec/Image:")),
        "title": _first(header, "Titel", "Titel(File)"),
    }
