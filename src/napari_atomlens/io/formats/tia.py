"""Large TIA series (``.ser``) frame by frame; RosettaSciIO, which reads the small ones, cannot.

The layout is that of C. Boothroyd's description of the format ("ESVision / TIA .ser and .emi
file format"): a header, an array of the places of the frames, and before each frame its own
calibration.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, lazy_frames, make_image, pixel_size, to_nm, to_seconds

_TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
#: Kind of data: frames rather than spectra.
_FRAMES = 0x4122
#: Bytes before the pixels of a frame.
_HEAD = 50


def _take(file: BinaryIO, layout: str) -> tuple:  # type: ignore[type-arg]
    raw = file.read(struct.calcsize(layout))
    if len(raw) < struct.calcsize(layout):
        raise FormatError(f"{Path(file.name).name} is truncated.")
    return struct.unpack(layout, raw)


def read_series(path: Path, emi: Path | None = None) -> Image:
    """Read a series of frames, each when it is needed.

    Parameters
    ----------
    path : path
        The ``.ser`` file.
    emi : path, optional
        The ``.emi`` file that belongs to it, which says how the microscope was set.

    Returns
    -------
    Image

    Raises
    ------
    FormatError
        If it holds spectra or diffraction patterns, or is damaged.
    """
    metadata = _settings(path, emi)
    total = path.stat().st_size
    with path.open("rb") as file:
        _, _, version, kind, _, _, n = _take(file, "<HHHIIII")
        if kind != _FRAMES:
            raise FormatError(f"{path.name} holds spectra, no image.")
        wide = version > 528
        (places_at, n_axes) = _take(file, "<QI" if wide else "<II")
        step: float | None = None
        if n_axes:
            _, _, delta, _, length = _take(file, "<IddII")
            file.seek(length, 1)
            (length,) = _take(file, "<I")
            step = to_seconds(delta, file.read(min(length, 64)))
        if not 0 < n <= total // _HEAD:
            raise FormatError(f"{path.name} holds no frame, or is damaged.")
        file.seek(places_at)
        places = np.array(_take(file, f"<{n}{'Q' if wide else 'I'}"), np.int64)
        file.seek(int(places[0]))
        _, dx, _, _, dy, _, number, width, height = _take(file, "<ddIddIHII")
    if number not in _TYPES:
        raise FormatError(f"{path.name} holds complex numbers, not an image.")
    dtype = np.dtype(_TYPES[number])
    size = width * height * dtype.itemsize
    if not size or places.min() < 0 or places.max() + _HEAD + size > total:
        raise FormatError(f"{path.name} is truncated or damaged.")

    def frame(i: int) -> np.ndarray:
        where = int(places[i]) + _HEAD
        pixels = np.fromfile(path, dtype, width * height, offset=where).reshape(height, width)
        return pixels[::-1]  # from the bottom up

    return make_image(
        path.name, lazy_frames(frame, (n, height, width), dtype) if n > 1 else frame(0),
        pixel_size(to_nm(abs(dy), "m"), to_nm(abs(dx), "m")), step, metadata, colour=False,
    )  # fmt: skip


def _settings(path: Path, emi: Path | None) -> dict[str, object]:
    """What the .emi file says of the microscope; diffraction is refused."""
    if emi is None:
        return {}
    text = emi.read_bytes().decode("latin-1")
    mode = "".join(re.findall(r"<Mode>([^<]*)</Mode>", text)[:1])
    camera = "<CameraNamePath>" in text
    if "Diffraction" in mode or ("STEM" in mode and camera):
        raise FormatError(f"{path.name} holds diffraction, no image.")
    found: dict[str, object] = {"mode": mode} if mode else {}
    volts = re.search(r"<Label>High tension</Label>\s*<Value>([\d.]+)</Value>", text)
    return found | ({"beam_energy_keV": float(volts[1])} if volts else {})
