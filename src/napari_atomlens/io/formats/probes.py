"""Files of scanning probe microscopes through libraries: Gwyddion, Igor and Omicron."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import (
    Image,
    make_image,
    number_of,
    pixel_size,
    text_of,
    to_nm,
)
from napari_atomlens.io.formats.facts import (
    about,
    heights_in_nm,
    in_si,
    middle_of,
    number_with_unit,
    when,
)
from napari_atomlens.io.formats.vendors import optional


def read_gwy(path: Path) -> list[Image]:
    """Read every data field of a Gwyddion file."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:4] == b"GWYO":
            raise FormatError(
                f"{path.name} is of Gwyddion 1; open it in Gwyddion 2 or later and save it again."
            )
    gwyfile = optional("gwyfile", path)
    # mark, name of the object, its size; the library never ends with a file that is too short
    after = head.find(b"\0", 4) + 1
    length = int.from_bytes(head[after : after + 4], "little")
    if not after or path.stat().st_size < after + 4 + length:
        raise FormatError(f"{path.name} is truncated or damaged.")
    _check_gwy(path, 4)  # the library goes round for ever in some damaged files
    tree = gwyfile.load(str(path))
    keys = [k for k in tree if k.startswith("/") and k.endswith("/data") and k.count("/") == 2]
    images = []
    for key in sorted(keys, key=lambda k: int(k.split("/")[1]) if k.split("/")[1].isdigit() else 0):
        part = tree[key]
        rows, columns = int(part["yres"]), int(part["xres"])
        data = np.array(part["data"], np.float64).reshape(rows, columns)
        unit = _gwy_unit(part, "si_unit_xy")
        size = pixel_size(
            to_nm(float(part.get("yreal", 0)) / rows, unit),
            to_nm(float(part.get("xreal", 0)) / columns, unit),
        )
        title = text_of(tree.get(f"{key}/title")) or key
        name = path.name if len(keys) == 1 else f"{path.name}: {title}"
        data, unit_z = heights_in_nm(data, _gwy_unit(part, "si_unit_z"))
        sides = [number_of(part.get(k)) for k in ("yoff", "xoff", "yreal", "xreal")]
        offset = middle_of(sides[:2], sides[2:], unit)
        metadata = about(channel=title, unit=unit_z, offset_nm=offset, **_gwy_settings(tree, key))
        images.append(make_image(name, data, size, metadata=metadata, colour=False))
    return images


def _gwy_settings(tree: Mapping[str, object], key: str) -> dict[str, object]:
    """What Gwyddion kept of the settings, of files of programs that call them so."""
    meta = tree.get(f"{key.removesuffix('/data')}/meta")
    if not isinstance(meta, Mapping):
        return {}
    said = {str(k).lower(): text_of(v) for k, v in meta.items()}
    bias, unit = number_with_unit(next((said[k] for k in _BIAS if k in said), ""))
    current, ampere = number_with_unit(next((said[k] for k in _SETPOINT if k in said), ""))
    angle, _ = number_with_unit(next((said[k] for k in _ANGLE if k in said), ""))
    return {
        "bias_V": in_si(bias, unit, "V"), "setpoint_A": in_si(current, ampere, "A"),
        "scan_rotation_deg": angle, "recorded": when(said.get("date"), said.get("time")),
    }  # fmt: skip


#: What programs call the settings, in lower case.
_BIAS = ("bias", "bias voltage", "sample bias", "gap voltage")
_SETPOINT = ("setpoint", "current setpoint", "feedback setpoint", "setpoint current")
_ANGLE = ("scan angle", "angle", "rotation")


def _check_gwy(path: Path, at: int) -> None:
    """Walk through the objects of a Gwyddion file; all of them must lie in the ones above."""
    raw = path.read_bytes()
    sizes = {"b": 1, "c": 1, "i": 4, "q": 8, "d": 8}

    def text(at: int, end: int) -> int:
        stop = raw.find(b"\0", at, end)
        if stop < 0:
            raise FormatError(f"{path.name} is truncated or damaged.")
        return stop + 1

    def count(at: int, end: int) -> tuple[int, int]:
        if at + 4 > end:
            raise FormatError(f"{path.name} is truncated or damaged.")
        return int.from_bytes(raw[at : at + 4], "little"), at + 4

    def body(at: int, end: int, depth: int) -> int:
        size, at = count(text(at, end), end)
        if at + size > end or depth > 50:
            raise FormatError(f"{path.name} is truncated or damaged.")
        end = at + size
        while at < end:
            at = text(at, end)
            kind = chr(raw[at]) if at < end else ""
            n, at = 1, at + 1
            if kind.isupper():
                n, at = count(at, end)
                kind = kind.lower()
            if kind in sizes:
                at += n * sizes[kind]
            elif kind in ("s", "o") and n <= end - at:
                for _ in range(n):
                    at = text(at, end) if kind == "s" else body(at, end, depth + 1)
            else:
                raise FormatError(f"{path.name} is truncated or damaged.")
            if at > end:
                raise FormatError(f"{path.name} is truncated or damaged.")
        return at

    body(at, len(raw), 0)


def _gwy_unit(part: Mapping[str, Mapping[str, object]], key: str) -> str:
    unit = part.get(key)
    return "" if unit is None else text_of(unit.get("unitstr"))


def read_ibw(path: Path) -> list[Image]:
    """Read an Igor wave; its first axis is x, and y points upwards."""
    igor = optional("igor2.binarywave", path)
    logging.getLogger("igor2").setLevel(logging.CRITICAL + 1)  # it logs all of a damaged file
    try:
        wave = igor.load(str(path))["wave"]
    except BaseException:
        # its structures keep what a damaged file put into them: later files would fail too
        for name in [n for n in sys.modules if n.split(".")[0] == "igor2"]:
            del sys.modules[name]
        raise
    data = np.asarray(wave["wData"])
    if data.ndim not in (2, 3):
        what = "a spectrum" if data.ndim < 2 else f"data with {data.ndim} axes"
        raise FormatError(f"{path.name} holds {what}, not an image.")
    header = wave["wave_header"]
    steps = np.abs(np.asarray(header.get("sfA", [0, 0]), float))
    units = [
        b"".join(np.ravel(u)).decode("latin-1").strip("\0")
        for u in np.asarray(header.get("dimUnits", [[b""], [b""]]))[:2]
    ]
    size = pixel_size(to_nm(steps[1], units[1]), to_nm(steps[0], units[0]))
    title = text_of(header.get("bname"))
    unit = b"".join(np.ravel(header.get("dataUnits", b""))).decode("latin-1").strip("\0")
    if data.dtype.kind in "iuf":
        data, unit = heights_in_nm(data, unit)
    if data.ndim == 2:
        metadata = about(channel=title, unit=unit)
        return [make_image(path.name, _upright(data), size, metadata=metadata, colour=False)]
    labels = wave.get("labels") or []
    names = [text_of(n) for n in labels[2] if text_of(n)] if len(labels) > 2 else []
    images = []
    for k in range(data.shape[2]):
        channel = names[k] if k < len(names) else f"layer {k + 1}"
        name = f"{path.name}: {channel}"
        metadata = about(channel=channel, unit=unit)
        images.append(make_image(name, _upright(data[..., k]), size, metadata=metadata))
    return images


def _upright(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data.T[::-1])


def read_mtrx(path: Path) -> list[Image]:
    """Read every trace of an Omicron MATRIX image; its parameters are in files beside it."""
    matrix = optional("access2thematrix", path)
    if path.suffix.lower() == ".mtrx":
        raise FormatError(
            f"{path.name} holds the parameters of scans; open a scan, such as NAME--1_1.Z_mtrx."
        )
    chain = path.name.rpartition("--")[0]
    if not chain or not path.with_name(f"{chain}_0001.mtrx").exists():
        first = f"{chain or path.stem}_0001.mtrx"
        raise FormatError(f"{path.name} needs {first} beside it, which has its parameters.")
    file = matrix.MtrxData()
    traces, message = file.open(str(path))
    if file.object_type != "image":
        if file.object_type:
            raise FormatError(f"{path.name} holds spectra ({file.object_type}), no image.")
        raise FormatError(f"{path.name} could not be read as an Omicron MATRIX file: {message}")
    images = []
    for trace in traces.values():
        found, _ = file.select_image(trace)
        data = np.asarray(found.data, float)
        if data.ndim != 2 or not data.size:
            continue
        size = pixel_size(
            to_nm(found.height / data.shape[0], "m"), to_nm(found.width / data.shape[1], "m")
        )
        channel, unit = (text_of(t) for t in found.channel_name_and_unit)
        data, unit = heights_in_nm(data, unit)
        # its angle counts counter-clockwise (access2thematrix, "MTRX_IMAGE.angle")
        metadata = about(
            channel=channel,
            unit=unit,
            direction=trace,
            title=file.data_set_name,
            scan_rotation_deg=number_of(getattr(found, "angle", None)),
            offset_nm=_offset(found),
        )
        name = f"{path.name}: {trace}"
        # the first row is the lowest
        upright = np.ascontiguousarray(data[::-1])
        images.append(make_image(name, upright, size, metadata=metadata, colour=False))
    return images


def _offset(found: object) -> tuple[float, float] | None:
    """Middle of an Omicron frame, (y, x) in nm with y down."""
    y, x = (to_nm(getattr(found, f"{a}_offset", None), "m") for a in "yx")
    return None if y is None or x is None else (-y, x)
