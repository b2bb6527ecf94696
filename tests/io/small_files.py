"""Small files of programs that we cannot run, written by the layout that their makers document."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

RNG = np.random.default_rng(1)
FRAME = RNG.random((32, 40)).astype(np.float32)


def createc(
    path: Path, channels: np.ndarray, *, at: int | None = None, magic: str = "Paramco32",
    more: str = "", kind: str = "<f4",
) -> None:  # fmt: skip
    """Channels (n, rows, columns) as counts; `at` is where the marker stands."""
    n, rows, columns = channels.shape
    head = (
        f"[{magic}]\r\nDAC-Type=20bit\r\nTitel / Titel=LHe\r\n"
        f"Num.X / Num.X={columns}\r\nNum.Y / Num.Y={rows}\r\nChannels / Channels={n}\r\n"
        "Length x[A]=80.0\r\nLength y[A]=32.0\r\nActDriveDir=C:\\DATA\\Jan\r\n" + more
    )
    values = np.concatenate([[0], channels.ravel()]).astype(kind).tobytes()
    packed = zlib.compress(values) if magic == "Paramco32" else values
    if at is None:
        path.write_bytes(head.encode("latin-1").ljust(16384, b"\0") + packed)
    else:
        path.write_bytes(head.encode("latin-1").ljust(at, b"\0") + b"DATA" + packed)


def sxm(
    path: Path, up: bool = True, *,
    channels: Sequence[tuple[str, str, str]] = (("Z", "m", "both"),),
    factor: float = 1e-9, more: str = "", blank: str = "", end: str = "\n", tabs: bool = True,
) -> None:  # fmt: skip
    """Channels (name, unit, direction); what was scanned is FRAME in nm, times 2 in the second.

    `blank` goes between the lines of tables, as some converters do.
    """
    tab = "\t" if tabs else "   "
    rows = [f"{tab}{14 + k}{tab}{tab.join(c)}{tab}1.0E-9{tab}0.0" for k, c in enumerate(channels)]
    table = (end + blank).join([tab + tab.join(("Channel", "Name", "Unit", "Direction",
                                                "Calibration", "Offset")), *rows])  # fmt: skip
    head = end.join([
        ":NANONIS_VERSION:", "2", ":SCANIT_TYPE:", "              FLOAT            MSBFIRST",
        ":REC_DATE:", " 24.09.2021", ":REC_TIME:", "15:28:08", ":ACQ_TIME:", "       13.2",
        ":SCAN_PIXELS:", "       40       32", ":SCAN_RANGE:", "           8.0E-9           3.2E-9",
        ":SCAN_OFFSET:", "             1.0E-7         -2.0E-8", ":SCAN_ANGLE:", "            30.0",
        ":SCAN_DIR:", "up" if up else "down", ":BIAS:", "            -0.5", ":Z-CONTROLLER:",
        "\tName\ton\tSetpoint\tP-gain\tI-gain\tT-const",
        "\tlog\t1\t1E-11 A\t1E-11 m\t1E-7 m/s\t1E-4 s", ":COMMENT:", "", more + ":DATA_INFO:",
        table, "", ":SCANIT_END:", "", "",
    ])  # fmt: skip
    lines = FRAME[::-1] if up else FRAME
    data = []
    for k, (_, unit, direction) in enumerate(channels):
        one = lines * (k + 1) * (factor if unit == "m" else 1.0)
        data += [one] if direction != "backward" else []
        data += [one[:, ::-1]] if direction in ("both", "backward") else []
    path.write_bytes(
        head.encode() + b"\x1a\x04" + np.stack(data).astype(">f4").tobytes()
    )  # fmt: skip


def gsf(path: Path, data: np.ndarray = FRAME, unit: str = "m", more: str = "") -> None:
    head = (
        f"Gwyddion Simple Field 1.0\nXRes = {data.shape[1]}\nYRes = {data.shape[0]}\n"
        f"XReal = 8e-09\nYReal = 3.2e-09\nXYUnits = m\nZUnits = {unit}\nTitle = Z\n{more}"
    ).encode()
    path.write_bytes(head + b"\0" * (4 - len(head) % 4) + data.astype("<f4").tobytes())


def mul(path: Path, images: Sequence[tuple[int, np.ndarray]]) -> None:
    """Images (mode, counts), from the top down."""
    index, blocks, at = [(0, 0)] * 64, b"", 3
    for k, (mode, counts) in enumerate(images):
        raw = counts[::-1].astype("<i2").tobytes()
        raw = raw.ljust(-(-len(raw) // 128) * 128, b"\0")
        n = 1 + len(raw) // 128
        numbers = (k + 1, n, counts.shape[1], counts.shape[0], 0, 2021, 3, 12, 13, 3, 29 + k,
                   80, 32, 282, 6367, 20, 0, 7732, -727, 23)  # fmt: skip
        label = struct.pack("<20h", *numbers) + bytes(21) + b"\x03tip" + bytes(17)
        label += struct.pack("<7h", 3, 0, mode, 1, 0, 1, 27)
        blocks += label.ljust(128, b"\0") + raw
        index[k] = (k + 1, at)
        at += n
    index[len(images)] = (0, at)
    head = b"".join(struct.pack("<hi", *entry) for entry in index)
    path.write_bytes(head.ljust(384, b"\0") + blocks)


def emd1(
    path: Path, data: np.ndarray, steps: Sequence[float] = (), units: Sequence[str] = (),
    *, labels: Sequence[str] = (), python_class: str = "Array", pixels: str = "counts",
) -> None:  # fmt: skip
    """EMD 1.0 as emdfile writes it, with short axes counted from zero."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"emd_group_type": "file", "version_major": 1, "version_minor": 0})
        root = file.create_group("sample_root")
        root.attrs.update({"emd_group_type": "root", "python_class": "Root"})
        bundle = root.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        group = root.create_group("sample")
        group.attrs.update({"emd_group_type": "array", "python_class": python_class})
        group.create_dataset("data", data=data).attrs["units"] = pixels
        for k, (step, unit) in enumerate(zip(steps, units, strict=True)):
            dim = group.create_dataset(f"dim{k}", data=np.array([0.0, step]))
            dim.attrs.update({"name": f"dim{k}", "units": unit})
        if labels:
            dim = group.create_dataset(f"dim{len(steps)}", data=[s.encode() for s in labels])
            dim.attrs["name"] = "_labels_"


def hspy(
    path: Path, data: np.ndarray, axes: Sequence[tuple[bool, float, str]],
    metadata: dict[str, dict[str, Any]] | None = None,
) -> None:  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        group = file.create_group("Experiments/signal")
        group["data"] = data
        for k, (navigate, scale, units) in enumerate(axes):
            axis = group.create_group(f"axis-{k}")
            axis.attrs.update({"navigate": navigate, "scale": scale, "units": units})
        for place, values in (metadata or {"General": {"title": "film"}}).items():
            group.require_group(f"metadata/{place}").attrs.update(values)


def dm5(
    path: Path, data: np.ndarray, axes: Sequence[tuple[float, str]], *, kind: str = "",
) -> None:  # fmt: skip
    """The tags of DigitalMicrograph in HDF5, with a thumbnail and a box drawn on the image."""
    with h5py.File(path, "w") as file:
        for k, pixels in enumerate((np.zeros((8, 8), np.uint8), data)):
            image = file.create_group(f"ImageList/[{k}]")
            image.attrs["Name"] = np.bytes_("" if k == 0 else "film")
            image["ImageData/Data"] = pixels
            image.create_group("ImageData/Calibrations/Brightness").attrs["Units"] = b"e-"
            for n, (scale, unit) in enumerate(axes[::-1]):
                axis = image.create_group(f"ImageData/Calibrations/Dimension/[{n}]")
                axis.attrs.update({"Scale": np.float32(scale), "Origin": 0.0})
                axis.attrs["Units"] = np.bytes_(unit.encode())
            tags = image.create_group("ImageTags")
            tags.create_group("Microscope Info").attrs["Voltage"] = 200000.0
            tags.create_group("DigiScan").attrs["Rotation"] = 12.5
            tags.create_group("DataBar").attrs.update(
                {"Signal Name": b"HAADF", "Acquisition Date": b"3/21/2018",
                 "Acquisition Time": b"7:36:14 PM"}
            )  # fmt: skip
            tags.create_group("Meta Data").attrs["Format"] = np.bytes_(kind.encode())
        file.create_group("ImageSourceList/[0]").attrs["ImageRef"] = 1
        file.create_group("Thumbnails/[0]").attrs["ImageIndex"] = 0
        drawn = file.create_group("DocumentObjectList/[0]/AnnotationGroupList/[0]")
        drawn.attrs.update({"AnnotationType": 5, "Rectangle": np.array([1.0, 2.0, 9.0, 10.0])})


def mat73(path: Path, arrays: dict[str, np.ndarray], objects: Sequence[str] = ()) -> None:
    """MATLAB 7.3: HDF5 behind 512 bytes, axes turned; objects have a mark of their own."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")["a"] = np.zeros((40, 40))
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(b"double")
        for k, kind in enumerate(objects):
            entry = file.create_dataset(f"object{k}", data=np.zeros((1, 6), np.uint32))
            entry.attrs["MATLAB_class"] = np.bytes_(kind.encode())
            entry.attrs["MATLAB_object_decode"] = 3
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
