"""A window as a folder: every layer, every edit, every setting; plain parts only.

The layout is described in ``docs/project_format.md``. It holds few files, whatever the layers
hold: the pixels of images and labels in ``arrays.zarr``, all other arrays in one ``arrays.npz``,
tables as Parquet.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json, digest, write_whole
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.io.formats.readers import read
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.encode import Encoder, decode
from napari_atomlens.io.projects.journal_file import JournalFile, read_entries
from napari_atomlens.io.projects.note import WINDOW_VERSION, read_note, reading
from napari_atomlens.io.projects.parts import read_parquet
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.untrusted import inside, read_json

if TYPE_CHECKING:
    import zarr

#: Images with a file of their own are copied into the project up to this size.
COPY_BYTES = 256 << 20
#: Frames of a movie share a file of about this size.
CHUNK_BYTES = 16 << 20
ARRAYS, PIXELS = "arrays.npz", "arrays.zarr"
#: What napari works out by itself, or only gives and does not take.
_DROP = {"properties", "property_choices", "experimental_clipping_planes"}
#: Asked where a file went; returns its new place, or None.
Find = Callable[[str], str | None]


@dataclass(frozen=True, eq=False)
class Edits:
    """What a layer of atoms was corrected to, in plain parts.

    Attributes
    ----------
    machine, atoms : pandas.DataFrame
        As the model gave them, and with all edits.
    entries : list of dict
        The journal.
    user : str
    spacing_px : float
        NaN where it is not known.
    conflicts : list of dict
        Of the latest run.
    """

    machine: pd.DataFrame
    atoms: pd.DataFrame
    entries: list[Json]
    user: str = ""
    spacing_px: float = float("nan")
    conflicts: list[Json] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class SavedLayer:
    """A layer as a project holds it.

    Attributes
    ----------
    data : array, list of array or tuple of array
    attributes : dict
        Of napari.
    kind : str
        Type of the layer: "image", "points" ...
    edits : Edits or None
    """

    data: Any
    attributes: dict[str, Any]
    kind: str
    edits: Edits | None = None


@dataclass(eq=False)
class SavedWindow:
    """What a project of a window holds.

    Attributes
    ----------
    layers : list of SavedLayer
        Bottom first.
    settings : dict
        Of the window and of its docks.
    messages : list of str
        Sentences for the user: what could not be restored.
    version : int
        Format of the file.
    """

    layers: list[SavedLayer]
    settings: Json = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    version: int = WINDOW_VERSION


# Writing ------------------------------------------------------------------------------------


def write_window(
    folder: Path,
    layers: Sequence[SavedLayer],
    settings: Mapping[str, object],
    progress: ProgressLike = None,
) -> None:
    """Write a window into an empty folder.

    Parameters
    ----------
    folder : pathlib.Path
    layers : sequence of SavedLayer
    settings : mapping
    progress : Progress or callable, optional
        Told how many of the layers are written, and at last that the rest is.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import zarr

    pixels = zarr.open_group(folder / PIXELS, mode="w")
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, array: np.ndarray) -> Json:
        arrays[name] = np.asarray(array)
        return {"stored": name}

    encoder, watch = Encoder(folder, keep), as_progress(progress)
    entries = []
    for number, layer in enumerate(layers):
        watch(number, len(layers) + 1)
        where = f"layers/{number}"
        kept = {k: v for k, v in layer.attributes.items() if k not in _DROP}
        metadata = dict(kept.pop("metadata", None) or {})
        entry: Json = {"type": layer.kind}
        if layer.kind in ("image", "labels"):
            entry["data"] = _pixels(partial(_draw, pixels), f"layer-{number}", layer, metadata)
        else:
            entry["data"] = _vectors(keep, f"{where}/data", layer)
        entry["attributes"] = encoder.attributes(where, kept)
        entry["attributes"]["metadata"] = encoder.attributes(f"{where}/metadata", metadata)
        if layer.edits is not None:
            entry["corrections"] = f"corrections/{number}"
            _write_edits(folder / entry["corrections"], layer.edits)
        entries.append(entry)
    watch(len(layers), len(layers) + 1)
    text = {
        "format": "napari-atomlens project", "format_version": WINDOW_VERSION, "kind": "window",
        "atomlens": __version__, "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "layers": entries, "settings": encoder.attributes("settings", settings),
        "left_out": encoder.left_out,
    }  # fmt: skip
    _write_arrays(folder / ARRAYS, arrays)
    write_whole(folder / layout.WINDOW, json.dumps(text, indent=1))


def _draw(pixels: zarr.Group, name: str, array: Any) -> Json:
    """Write pixels, block by block: movies need not fit in memory."""
    shape = tuple(int(s) for s in array.shape)
    plane = int(np.prod(shape[1:])) * np.dtype(array.dtype).itemsize if len(shape) > 2 else 0
    step = max(1, CHUNK_BYTES // max(plane, 1)) if plane else max(1, shape[0])
    chunks = (min(step, max(1, shape[0])), *(max(1, s) for s in shape[1:]))
    made = pixels.create_array(name, shape=shape, dtype=array.dtype, chunks=chunks)
    for k in range(0, shape[0], step):
        made[k : k + step] = np.asarray(array[k : k + step])
    return {"zarr": name}


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as one file that numpy loads; a name may be any (``savez`` takes keywords)."""

    def put(whole: BinaryIO) -> None:
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    write_whole(path, put)


def _pixels(
    draw: Callable[[str, Any], Json], name: str, layer: SavedLayer, metadata: Mapping[str, Any]
) -> Json:
    data = layer.data
    if isinstance(data, Sequence):  # of several scales
        return {"parts": [draw(f"{name}-{k}", part)["zarr"] for k, part in enumerate(data)]}
    source = dict(metadata.get("file") or {}).get("path") if layer.kind == "image" else None
    if source and data.nbytes > COPY_BYTES:
        return {
            "file": str(source), "sha256": first_frame_hash(data),
            "name": str(metadata.get("image_name", "")), "shape": list(data.shape),
        }  # fmt: skip
    return draw(name, data)


def _vectors(keep: Callable[[str, np.ndarray], Json], where: str, layer: SavedLayer) -> Json:
    """Positions of points, vertices of shapes ... in as few arrays as they can be."""
    data = layer.data
    if layer.kind == "shapes":  # all vertices, and how many each shape has
        vertices = [np.asarray(v, float) for v in data]
        lengths = np.array([len(v) for v in vertices], np.int64)
        keep(f"{where}/lengths", lengths)
        keep(f"{where}/vertices", np.concatenate(vertices) if vertices else np.zeros((0, 2)))
        return {"ragged": where}
    if isinstance(data, (tuple, list)):  # of a surface
        return {
            "stored parts": [keep(f"{where}-{k}", part)["stored"] for k, part in enumerate(data)]
        }
    return keep(where, data)


def _write_edits(folder: Path, edits: Edits) -> None:
    write_table(folder / "machine.parquet", edits.machine)
    write_table(folder / "atoms.parquet", edits.atoms)
    JournalFile(folder / "journal.jsonl", edits.entries).close()
    about = {
        "user": edits.user,
        "spacing_px": edits.spacing_px if np.isfinite(edits.spacing_px) else None,
        "conflicts": edits.conflicts,
    }
    write_whole(folder / "about.json", json.dumps(about, indent=1))


def first_frame_hash(data: Any) -> str:
    """SHA-256 of the first frame of an image or movie, to know a file again."""
    frame = data
    while getattr(frame, "ndim", 2) > 2 and frame.shape[-1] not in (3, 4):
        frame = frame[0]
    return digest(np.asarray(frame))


# Reading ------------------------------------------------------------------------------------


def read_window(folder: Path, find: Find | None = None) -> SavedWindow:
    """Read what :func:`write_window` wrote, of any version.

    Parameters
    ----------
    folder : pathlib.Path
    find : callable, optional
        Asked where an image file went that is no longer in its place.

    Raises
    ------
    FormatError
        If it is damaged or of a later version.
    """
    text = _text(folder)
    with reading(folder, layout.OURS):
        return _read(folder, text, find)


def missing_images(folder: Path) -> list[str]:
    """Files of images that are no longer in their places.

    Raises
    ------
    FormatError
        If the project is damaged or of a later version.
    """
    with reading(folder, layout.OURS):
        named = (entry["data"].get("file") for entry in _text(folder)["layers"])
        return [str(n) for n in named if n and not Path(n).exists()]


def _text(folder: Path) -> Json:
    needs = ("format_version", "layers", "settings")
    return read_note(folder / layout.WINDOW, WINDOW_VERSION, needs)


class _Stored:
    """The arrays of a project by their names, from wherever its version has them."""

    def __init__(self, folder: Path, version: int) -> None:
        import zarr

        self._pixels = zarr.open_group(folder / PIXELS, mode="r")
        self._arrays: Mapping[str, np.ndarray] = {}
        if version > 3:
            with np.load(folder / ARRAYS, allow_pickle=False) as found:
                self._arrays = {name: found[name] for name in found.files}

    def pixels(self, name: str) -> np.ndarray:
        """Pixels of an image."""
        array: Any = self._pixels[name]
        return np.asarray(array[...])

    def array(self, name: str) -> np.ndarray:
        """Array of anything; up to version 3 they were among the pixels."""
        return self._arrays[name] if name in self._arrays else self.pixels(name)


def _read(folder: Path, text: Json, find: Find | None) -> SavedWindow:
    version = int(text["format_version"])
    stored = _Stored(folder, version)
    settings = decode(text["settings"], folder, stored.array)
    out = SavedWindow([], settings, [], version)
    for entry in text["layers"]:
        attributes = decode(entry["attributes"], folder, stored.array)
        try:
            data = _data(entry["data"], folder, stored, find)
        except FormatError as error:
            out.messages.append(f"{attributes.get('name', 'A layer')}: {error}")
            continue
        edits = (
            _read_edits(inside(folder, entry["corrections"])) if "corrections" in entry else None
        )
        out.layers.append(SavedLayer(data, attributes, entry["type"], edits))
    return out


def _read_edits(folder: Path) -> Edits:
    about = read_json(folder / "about.json")
    spacing = about["spacing_px"]
    return Edits(
        read_parquet(folder / "machine.parquet"), read_parquet(folder / "atoms.parquet"),
        read_entries(folder / "journal.jsonl"), str(about["user"]),
        float("nan") if spacing is None else float(spacing), list(about["conflicts"]),
    )  # fmt: skip


def _data(entry: Json, folder: Path, stored: _Stored, find: Find | None) -> Any:
    if "zarr" in entry:
        return stored.pixels(entry["zarr"])
    if "parts" in entry:
        return tuple(stored.pixels(p) for p in entry["parts"])
    if "stored" in entry:
        return stored.array(entry["stored"])
    if "stored parts" in entry:
        return tuple(stored.array(p) for p in entry["stored parts"])
    if "ragged" in entry:
        where = entry["ragged"]
        return _split(stored.array(f"{where}/vertices"), stored.array(f"{where}/lengths"))
    if "shapes" in entry:  # up to version 3 a table
        table = read_parquet(inside(folder, entry["shapes"]["!table"]))
        axes = [c for c in table.columns if c.startswith("axis-")]
        lengths = np.bincount(table["shape"].to_numpy(int), minlength=entry["n"])
        return _split(table[axes].to_numpy(float), lengths)
    return _from_file(entry, find)


def _split(vertices: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Vertices shape by shape, each in an array of its own."""
    counts = np.asarray(lengths, int)
    stops = np.cumsum(counts)
    return [vertices[a:b].copy() for a, b in zip(stops - counts, stops, strict=True)]


def _from_file(entry: Json, find: Find | None) -> Any:
    """Read the pixels of an image that lives in a file of its own, if it is still that file."""
    given: str | None = entry["file"]
    if not Path(str(given)).exists():
        given = find(entry["file"]) if find is not None else None
    if not given:
        raise FormatError(f"the image file {Path(entry['file']).name} is not where it was.")
    for image in read(given):
        if list(image.data.shape) == entry["shape"] and (
            first_frame_hash(image.data) == entry["sha256"]
        ):
            return image.data
    raise FormatError(f"{Path(given).name} is not the image that was analysed (its hash differs).")
