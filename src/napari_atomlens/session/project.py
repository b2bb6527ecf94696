"""A window as a ``.atomlens`` folder: every layer, every edit, every setting.

The layout is described in ``docs/project_format.md``. Layers are the tuples
``(data, attributes, type)`` of napari, so that nothing here knows napari itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.errors import AtomLensError, FormatError
from napari_atomlens.files import Lock, digest, new_folder_beside
from napari_atomlens.io.formats.readers import read
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.encode import Encoder, decode
from napari_atomlens.io.projects.folder import VERSION, target_of
from napari_atomlens.io.projects.journal_file import JournalFile, read_entries
from napari_atomlens.session.autosave import read_table, write_table
from napari_atomlens.session.edits import Conflict, Corrections
from napari_atomlens.session.result_layers import LayerTuple, layers_of_result

#: Key in the metadata of a layer under which its corrections are.
CORRECTIONS = "napari-atomlens-corrections"
#: Key in the metadata of a layer under which the project is that it came from.
PROJECT = "napari-atomlens-project"
#: Images with a file of their own are copied into the project up to this size.
COPY_BYTES = 256 << 20
#: What napari works out by itself, or only gives and does not take.
_DROP = {"properties", "property_choices", "experimental_clipping_planes"}


@dataclass
class OpenProject:
    """A project that this window has open.

    Attributes
    ----------
    path : pathlib.Path
    lock : Lock
    read_only : bool
        Another window has it open.
    """

    path: Path
    lock: Lock
    read_only: bool

    def __deepcopy__(self, memo: Any) -> OpenProject:
        return self  # a copied layer is of the same project


@dataclass
class Workspace:
    """What a project holds.

    Attributes
    ----------
    layers : list of tuple
        (data, attributes, type), bottom first; corrections in the metadata of their layers.
    settings : dict
        Of the window and of the widgets.
    messages : list of str
        Sentences for the user: what could not be restored.
    version : int
        Format of the file.
    """

    layers: list[LayerTuple]
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    version: int = VERSION


def lock_of(path: Path) -> Lock:
    """Return the lock of a project, a hidden file beside it (saving exchanges the folder)."""
    return Lock(path.with_name(f".{path.name}.lock"))


def open_project(path: str | Path, known: OpenProject | None = None) -> OpenProject:
    """Take the lock of a project; it is read-only where another window has it.

    Parameters
    ----------
    path : path
    known : OpenProject, optional
        What this window has open; a window does not lock itself out.
    """
    target = target_of(path)
    mine = known is not None and not known.read_only and known.path.resolve() == target.resolve()
    if known is not None and mine and known.lock.acquire():
        return known
    lock = lock_of(target)
    return OpenProject(target, lock, read_only=not lock.acquire())


def read_only_sentence(path: Path) -> str:
    """What to say of a project that another window has open."""
    return (
        f"{path.name} is open in another window (or cannot be written to): it is read-only here. "
        "Save under another name to keep changes."
    )


def save_workspace(
    path: str | Path,
    layers: Sequence[LayerTuple],
    settings: Mapping[str, Any] | None = None,
    opened: OpenProject | None = None,
) -> Path:
    """Write the layers of a window, their edits and the settings.

    The folder is complete or not there at all.

    Parameters
    ----------
    path : path
        ``.atomlens`` is added where it is missing.
    layers : sequence of tuple
        (data, attributes, type), bottom first.
    settings : mapping, optional
        Of the window and of the widgets.
    opened : OpenProject, optional
        The project that this window has open; its lock is the right to write there.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    FormatError
        If another window has the project open, something else is in its place, or it
        cannot be written.
    """
    target = target_of(path)
    mine = opened is not None and opened.path.resolve() == target.resolve()
    lock = opened.lock if mine and opened is not None else lock_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            raise FormatError(read_only_sentence(target))
        with new_folder_beside(target) as folder:
            _write(folder, layers, settings or {})
    except OSError as error:
        raise FormatError(
            f"{target.name} could not be written: {error.strerror or error}."
        ) from error
    finally:
        if not mine:
            lock.release()
    return target


def _write(folder: Path, layers: Sequence[LayerTuple], settings: Mapping[str, Any]) -> None:
    import zarr

    store = zarr.open_group(folder / "arrays.zarr", mode="w")

    def put(name: str, array: np.ndarray) -> None:
        chunks = (1,) * max(0, array.ndim - 2) + array.shape[-2:]
        made = store.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=tuple(max(1, c) for c in chunks)
        )
        for k in range(array.shape[0]) if array.ndim > 2 else [...]:
            made[k] = np.asarray(array[k])  # frame by frame: movies need not fit in memory

    encoder = Encoder(folder, put)
    entries = []
    for number, (data, attributes, kind) in enumerate(layers):
        where = f"layers/{number}"
        kept = {k: v for k, v in attributes.items() if k not in _DROP}
        metadata = dict(kept.pop("metadata", None) or {})
        corrections = metadata.pop(CORRECTIONS, None)
        metadata.pop(PROJECT, None)
        entry: dict[str, Any] = {"type": kind}
        entry["data"] = _data(encoder, put, where, data, kind, metadata)
        entry["attributes"] = encoder.attributes(where, kept)
        entry["attributes"]["metadata"] = encoder.attributes(f"{where}/metadata", metadata)
        if isinstance(corrections, Corrections):
            entry["corrections"] = f"corrections/{number}"
            _write_corrections(folder / entry["corrections"], corrections)
        entries.append(entry)
    text = {
        "format": "napari-atomlens project", "format_version": VERSION, "kind": "window",
        "atomlens": __version__, "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "layers": entries, "settings": encoder.attributes("settings", settings),
        "left_out": encoder.left_out,
    }  # fmt: skip
    whole = json.dumps(text, indent=1, ensure_ascii=False)
    (folder / "project.json").write_text(whole, encoding="utf-8")


def _write_corrections(folder: Path, c: Corrections) -> None:
    folder.mkdir(parents=True)
    write_table(c.machine(), folder / "machine.parquet")
    write_table(c.atoms(), folder / "atoms.parquet")
    JournalFile(folder / "journal.jsonl", c.journal.entries()).close()
    about = {
        "user": c.journal.user,
        "spacing_px": c.spacing_px if np.isfinite(c.spacing_px) else None,
        "conflicts": [vars(x) for x in c.conflicts],
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def first_frame_hash(data: Any) -> str:
    """SHA-256 of the first frame of an image or movie, to know a file again."""
    frame = data
    while getattr(frame, "ndim", 2) > 2 and frame.shape[-1] not in (3, 4):
        frame = frame[0]
    return digest(np.asarray(frame))


def _data(
    encoder: Encoder,
    put: Callable[[str, np.ndarray], None],
    where: str,
    data: Any,
    kind: str,
    metadata: Mapping[str, Any],
) -> Any:
    if kind == "shapes":
        vertices = [np.asarray(v, float) for v in data]
        table = pd.DataFrame(
            {
                "shape": np.repeat(np.arange(len(vertices)), [len(v) for v in vertices]),
                **{
                    f"axis-{k}": np.concatenate([v[:, k] for v in vertices])
                    for k in range(vertices[0].shape[1] if vertices else 0)
                },
            }
        )
        return {"shapes": encoder.encode(where, table), "n": len(vertices)}
    if isinstance(data, (tuple, list)):  # surfaces and multiscale images
        parts = []
        for k, part in enumerate(data):
            put(f"{where}/data-{k}", np.asarray(part))
            parts.append(f"{where}/data-{k}")
        return {"parts": parts}
    source = dict(metadata.get("file") or {}).get("path") if kind == "image" else None
    if source and data.nbytes > COPY_BYTES:
        return {
            "file": str(source), "sha256": first_frame_hash(data),
            "name": str(metadata.get("image_name", "")), "shape": list(data.shape),
        }  # fmt: skip
    put(f"{where}/data", data)
    return {"zarr": f"{where}/data"}


def load_workspace(path: str | Path, find: Callable[[str], str | None] | None = None) -> Workspace:
    """Read a project of any version.

    Parameters
    ----------
    path : path
    find : callable, optional
        Asked where an image file went that is no longer in its place; returns the new
        path or None.

    Returns
    -------
    Workspace

    Raises
    ------
    FormatError
        If it is missing, not a project, damaged or of a later version.
    """
    folder = Path(path)
    if not folder.exists():
        raise FormatError(f"{folder.name} does not exist.")
    if not (folder / layout.WINDOW).is_file():
        payload = vars(layout.read_saved(folder))
        return Workspace(layers_of_result(payload, folder.stem), version=1)
    try:
        text = json.loads((folder / "project.json").read_text(encoding="utf-8"))
        version = int(text["format_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder.name} is damaged: its project.json cannot be read ({error})."
        ) from error
    if version > VERSION:
        raise FormatError(
            f"{folder.name} was written by a later version of napari-atomlens; please update."
        )
    try:
        return _read(folder, text, find)
    except FormatError:
        raise
    except Exception as error:  # damaged files raise errors of every type
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise FormatError(f"{folder.name} is damaged: {type(error).__name__}: {first}") from error


def _read(
    folder: Path, text: dict[str, Any], find: Callable[[str], str | None] | None
) -> Workspace:
    import zarr

    store = zarr.open_group(folder / "arrays.zarr", mode="r")

    def get(name: str) -> np.ndarray:
        array: Any = store[name]
        return np.asarray(array[...])

    out = Workspace([], decode(text["settings"], folder, get), [], int(text["format_version"]))
    for entry in text["layers"]:
        attributes = decode(entry["attributes"], folder, get)
        try:
            data = _read_data(entry["data"], folder, get, find)
        except FormatError as error:
            out.messages.append(f"{attributes.get('name', 'A layer')}: {error}")
            continue
        if "corrections" in entry:
            attributes["metadata"][CORRECTIONS] = _read_corrections(folder / entry["corrections"])
        out.layers.append((data, attributes, entry["type"]))
    return out


def _read_corrections(folder: Path) -> Corrections:

    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    spacing = about["spacing_px"]
    c = Corrections.restore(
        read_table(folder / "machine.parquet"), read_entries(folder / "journal.jsonl"), "",
        float("nan") if spacing is None else float(spacing),
    )  # fmt: skip
    c.conflicts = [Conflict(**x) for x in about["conflicts"]]
    return c


def _read_data(
    entry: dict[str, Any],
    folder: Path,
    get: Callable[[str], np.ndarray],
    find: Callable[[str], str | None] | None,
) -> Any:
    if "zarr" in entry:
        return get(entry["zarr"])
    if "parts" in entry:
        return tuple(get(p) for p in entry["parts"])
    if "shapes" in entry:
        table = read_table(folder / entry["shapes"]["!table"])
        axes = [c for c in table.columns if c.startswith("axis-")]
        values, which = table[axes].to_numpy().copy(), table["shape"].to_numpy()
        cuts = np.searchsorted(which, np.arange(1, entry["n"]))
        return np.split(values, cuts) if entry["n"] else []
    return _from_file(entry, find)


def _from_file(entry: dict[str, Any], find: Callable[[str], str | None] | None) -> Any:
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


def read_project(path: str | Path) -> list[LayerTuple]:
    """Open a project for napari: its layers, and the lock that they hold together.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    import warnings

    opened = open_project(path)
    try:
        space = load_workspace(path)
    except AtomLensError:
        opened.lock.release()
        raise
    if opened.read_only:
        warnings.warn(read_only_sentence(opened.path), stacklevel=2)
    for message in space.messages:
        warnings.warn(message, stacklevel=2)
    for _, attributes, _kind in space.layers:
        attributes.setdefault("metadata", {})[PROJECT] = opened
    return space.layers


def write_project(path: str, layers: Sequence[LayerTuple]) -> list[str]:
    """Save layers for napari (File > Save) as a project, without the settings of the window."""
    opened = next(
        (p for _, a, _ in layers if isinstance(p := (a.get("metadata") or {}).get(PROJECT),
                                              OpenProject)), None,
    )  # fmt: skip
    return [str(save_workspace(path, layers, opened=opened))]
