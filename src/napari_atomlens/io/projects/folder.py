"""Analysed images as ``.atomlens`` folders of open formats: Parquet, zarr, JSON.

Windows with all their layers are saved by :mod:`napari_atomlens.session.project`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError
from napari_atomlens.files import swap, umask

#: Raised when a later version can no longer be read by this one.
VERSION = 2
_TABLES = ("atoms", "contours")
_MAPS = ("probabilities", "unfamiliar")
_TEXT = ("classes", "frames", "provenance", "messages", "seconds")


def save_tables(path: str | Path, payload: dict[str, Any]) -> Path:
    """Write an analysed image to a ``.atomlens`` folder.

    The folder is complete or not there at all: it is written beside its place and then
    renamed, and a project that was there is replaced only once the new one is complete.

    Parameters
    ----------
    path : path
        ``.atomlens`` is added where it is missing.
    payload : dict
        The fields of ``napari_atomlens.runs.result.Result``.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    FormatError
        If something else than a project is there, or it cannot be written.
    """
    target = target_of(path)
    missing = sorted({*_TABLES, *_MAPS, *_TEXT, "outlines"} - set(payload))
    if missing:
        raise FormatError(f"A project needs {', '.join(missing)}.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    try:
        _write(temporary, payload)
        temporary.chmod(0o777 & ~umask())
        swap(temporary, target)
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def load_tables(path: str | Path) -> dict[str, Any]:
    """Read a ``.atomlens`` folder that :func:`save_tables` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        The fields of ``napari_atomlens.runs.result.Result``.

    Raises
    ------
    FormatError
        If it is missing, not a project, damaged or of a later version.
    """
    folder = Path(path)
    if not folder.exists():
        raise FormatError(f"{folder.name} does not exist.")
    if not (folder / "result.json").is_file():
        raise FormatError(f"{folder.name} is not an AtomLens project.")
    try:
        text = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        version = int(text["format_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder.name} is damaged: its result.json cannot be read ({error})."
        ) from error
    if version > VERSION:
        raise FormatError(
            f"{folder.name} was written by a later version of napari-atomlens; please update."
        )
    try:
        return _read(folder, text)
    except Exception as error:  # damaged files raise errors of every type
        raise FormatError(
            f"{folder.name} is damaged: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def target_of(path: str | Path) -> Path:
    """Where a project is written.

    Raises
    ------
    FormatError
        If something else than a project is there.
    """
    target = Path(path)
    if target.suffix != ".atomlens":
        target = target.with_name(target.name + ".atomlens")
    if target.exists() and not _replaceable(target):
        raise FormatError(f"{target.name} exists and is not a project; it was left as it is.")
    return target


def _replaceable(target: Path) -> bool:
    known = any((target / name).is_file() for name in ("result.json", "project.json"))
    return target.is_dir() and (known or not any(target.iterdir()))


def _plain(value: Any) -> Any:
    """Return what JSON cannot hold (numpy numbers, arrays, paths) as what it can."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _write(folder: Path, payload: dict[str, Any]) -> None:
    for name in _TABLES:
        payload[name].to_parquet(folder / f"{name}.parquet", index=False)
    rows = [
        (int(frame), index, np.asarray(points, np.float64).ravel())
        for frame, outlines in payload["outlines"].items()
        for index, points in enumerate(outlines)
    ]
    _outline_table(rows).to_parquet(folder / "outlines.parquet", index=False)
    save_maps(folder / "maps.zarr", {name: payload[name] for name in _MAPS})
    text = {"format": "napari-atomlens project", "format_version": VERSION}
    text |= {name: payload[name] for name in _TEXT}
    text["outline_frames"] = [int(frame) for frame in payload["outlines"]]
    (folder / "result.json").write_text(
        json.dumps(text, indent=1, default=_plain, ensure_ascii=False), encoding="utf-8"
    )


def save_maps(path: Path, maps: Mapping[str, Any]) -> None:
    """Write stacks of maps as a zarr group, frame by frame: movies need not fit in memory."""
    import zarr

    group = zarr.open_group(path, mode="w")
    for name, stack in maps.items():
        array = group.create_array(
            name, shape=stack.shape, dtype=stack.dtype,
            chunks=(1, *(max(1, s) for s in stack.shape[1:])),
        )  # fmt: skip
        for k in range(stack.shape[0]):
            array[k] = np.asarray(stack[k])


def _load_maps(folder: Path) -> dict[str, np.ndarray]:
    if (folder / "maps.npz").is_file():  # version 1
        with np.load(folder / "maps.npz", allow_pickle=False) as maps:
            return {name: maps[name] for name in _MAPS}
    import zarr

    group = zarr.open_group(folder / "maps.zarr", mode="r")
    arrays: dict[str, Any] = {name: group[name] for name in _MAPS}
    return {name: np.asarray(array[...]) for name, array in arrays.items()}


def _outline_table(rows: list[tuple[int, int, np.ndarray]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "frame": pd.Series([r[0] for r in rows], dtype="int64"),
            "index": pd.Series([r[1] for r in rows], dtype="int64"),
            "vertices": pd.Series([r[2] for r in rows], dtype="object"),
        }
    )


def _read(folder: Path, text: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = {n: pd.read_parquet(folder / f"{n}.parquet") for n in _TABLES}
    for table in payload.values():
        for column in table.columns:
            if table[column].dtype == "str":  # pandas 3 reads text back as its own type
                table[column] = table[column].astype(object)
    outlines: dict[int, list[np.ndarray]] = {int(f): [] for f in text["outline_frames"]}
    stored = pd.read_parquet(folder / "outlines.parquet").sort_values(["frame", "index"])
    for frame, vertices in zip(stored["frame"], stored["vertices"], strict=True):
        outlines[int(frame)].append(np.asarray(vertices, np.float64).reshape(-1, 2))
    payload["outlines"] = outlines
    payload |= _load_maps(folder)
    for name in _TEXT:
        payload[name] = text[name]
    payload["classes"] = tuple(payload["classes"])
    payload["frames"] = [int(f) for f in payload["frames"]]
    pixel = payload["provenance"].get("pixel_size_nm")
    with contextlib.suppress(TypeError):
        payload["provenance"]["pixel_size_nm"] = tuple(pixel)
    if not len(payload["frames"]) == len(payload["probabilities"]) == len(payload["unfamiliar"]):
        raise ValueError("the maps do not fit the frames")
    return payload
