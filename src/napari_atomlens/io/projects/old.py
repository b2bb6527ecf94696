"""Projects of earlier versions: one converter, from their layouts to what a project holds now.

Versions 1 and 2 had one file per table beside ``result.json``; version 1 had its maps in one
``.npz``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_atomlens.io.projects.note import read_note
from napari_atomlens.io.projects.parts import read_parquet

#: The latest version that had ``result.json``.
LAST_VERSION = 2
_MAPS = ("probabilities", "unfamiliar")


def is_old(folder: Path) -> bool:
    """Whether a folder is a project of an earlier version."""
    return (folder / "result.json").is_file()


def read_old(folder: Path) -> dict[str, object]:
    """Read a project of an earlier version; the fields are those of `folder.load_tables`.

    Raises
    ------
    FormatError
        If it is of a later version, or its text cannot be read.
    """
    text = read_note(folder / "result.json", LAST_VERSION, needs=("format_version",))
    payload: dict[str, object] = {
        name: read_parquet(folder / f"{name}.parquet") for name in ("atoms", "contours")
    }
    outlines: dict[int, list[np.ndarray]] = {int(f): [] for f in text["outline_frames"]}
    stored = read_parquet(folder / "outlines.parquet").sort_values(["frame", "index"])
    for frame, vertices in zip(stored["frame"], stored["vertices"], strict=True):
        outlines[int(frame)].append(np.asarray(vertices, np.float64).reshape(-1, 2))
    payload["outlines"] = outlines
    payload |= _maps(folder)
    for name in ("classes", "frames", "provenance", "messages", "seconds"):
        payload[name] = text[name]
    return payload


def _maps(folder: Path) -> dict[str, np.ndarray]:
    if (folder / "maps.npz").is_file():  # version 1
        with np.load(folder / "maps.npz", allow_pickle=False) as maps:
            return {name: maps[name] for name in _MAPS}
    import zarr

    group = zarr.open_group(folder / "maps.zarr", mode="r")
    return {name: np.asarray(group[name]) for name in _MAPS}
