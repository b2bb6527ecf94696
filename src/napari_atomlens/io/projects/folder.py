"""The one layout of results on disk: a folder of open formats (Parquet, zarr, JSON).

::

    NAME/run.json             what made it, and what it holds
    NAME/atoms/part-*.parquet, contours/, outlines/, frames/    tables of the frames, in parts
    NAME/maps.zarr            probabilities, unfamiliar: (frames of the source, ...)
    NAME/tables/*.parquet     later tables, as far as they were made: bonds, tracks, ...

A folder of many files (a batch) has ``batch.json``, one ``files/FILE.json`` for each in the place
of ``run.json``, partitions ``file=FILE`` in every table, and ``maps/FILE.zarr``. Windows with all
their layers are saved by :mod:`napari_atomlens.session.project`, which puts the corrected atoms of
every layer beside them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import FormatError
from napari_atomlens.files import Lock, make_folder
from napari_atomlens.folders import folder_lock, leftovers, new_folder_beside, recover_folder
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.io.projects import old
from napari_atomlens.io.projects.note import (
    VERSION,
    WINDOW_VERSION,
    read_note,
    reading,
    write_note,
)
from napari_atomlens.io.projects.parts import Parts, read_parquet
from napari_atomlens.untrusted import inside, path_of

FORMAT = "napari-atomlens run"
NOTE, BATCH, WINDOW = "run.json", "batch.json", "project.json"
FRAME_TABLES = ("atoms", "contours", "outlines")
MAPS = ("probabilities", "unfamiliar")
#: Maps up to this size are read at once, larger ones when they are needed.
IN_MEMORY_BYTES = 256 << 20
WHOLE = "00000000"
#: Patterns of what a folder of results may hold that we wrote, in any version.
OURS = (
    NOTE, BATCH, WINDOW, "result.json", "files/*.json",
    *(f"{table}/{where}part-*.parquet" for table in (*FRAME_TABLES, "frames")
      for where in ("", "file=*/")),
    *(f"tables/{table}.parquet" for table in tables.TABLES), "tables/[0-9]*.parquet",
    "maps.zarr/*", "maps/*.zarr/*", "maps.npz", "arrays.npz", "arrays.zarr/*",
    "corrections/*/machine.parquet", "corrections/*/atoms.parquet",
    "corrections/*/journal.jsonl", "corrections/*/about.json",
    "atoms.parquet", "contours.parquet", "outlines.parquet",
)  # fmt: skip


@dataclass(eq=False)
class Saved:
    """What a folder of results holds.

    Attributes
    ----------
    atoms, contours : pandas.DataFrame
    outlines : dict of int to list of ndarray, each (n_vertices, 2)
        By frame, in the order of the contours.
    probabilities : array of float16, shape (t, n_classes, H, W)
        Without frames where the maps were not kept.
    unfamiliar : array of float16, shape (t, H, W)
    classes : tuple of str
    frames : list of int
        Frames that were analysed; the first axis of the maps follows them.
    provenance : dict
    messages : list of str
    seconds : dict of str to float
    later : dict of str to pandas.DataFrame
        Later tables.
    rows : pandas.DataFrame or None
        The table of frames.
    """

    atoms: pd.DataFrame
    contours: pd.DataFrame
    outlines: dict[int, list[np.ndarray]]
    probabilities: np.ndarray
    unfamiliar: np.ndarray
    classes: tuple[str, ...]
    frames: list[int]
    provenance: dict[str, object]
    messages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    later: dict[str, pd.DataFrame] = field(default_factory=dict)
    rows: pd.DataFrame | None = None


def no_maps(n_classes: int, shape: Sequence[int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Maps of no frame: probabilities and unfamiliar."""
    size = tuple(int(s) for s in shape)
    return np.zeros((0, n_classes, *size), np.float16), np.zeros((0, *size), np.float16)


# Where things are ---------------------------------------------------------------------------


def note_path(root: Path, file: str = "") -> Path:
    """File that says what is known of a source."""
    return inside(root / "files", f"{file}.json") if file else root / NOTE


def maps_path(root: Path, file: str = "") -> Path:
    """Store of the maps of a source."""
    return inside(root / "maps", f"{file}.zarr") if file else root / "maps.zarr"


def target_of(path: str | Path) -> Path:
    """Where a project is written: ``.atomlens`` is added where it is missing.

    Raises
    ------
    FormatError
        If something else than a project is there.
    """
    target = path_of(path)
    if target.suffix != ".atomlens" and target.name:
        target = path_of(target.with_name(target.name + ".atomlens"))
    if target.exists() and not _replaceable(target):
        raise FormatError(f"{target.name} exists and is not a project; it was left as it is.")
    return target


def _replaceable(target: Path) -> bool:
    known = any((target / name).is_file() for name in (NOTE, "result.json", WINDOW))
    return target.is_dir() and (known or not any(target.iterdir()))


# Outlines -----------------------------------------------------------------------------------


def outline_table(outlines: Mapping[int, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Outlines by frame as a table, one row for each, its vertices as a list y, x, y, x ..."""
    rows = [
        (int(frame), index, np.asarray(points, np.float64).ravel())
        for frame, group in outlines.items()
        for index, points in enumerate(group)
    ]
    return pd.DataFrame(
        {
            "frame": pd.Series([r[0] for r in rows], dtype="int64"),
            "index": pd.Series([r[1] for r in rows], dtype="int64"),
            "vertices": pd.Series([r[2] for r in rows], dtype="object"),
        }
    )


def outlines_of(table: pd.DataFrame, frames: Sequence[int]) -> dict[int, list[np.ndarray]]:
    """Outlines by frame from their table; frames without any have an empty list."""
    outlines: dict[int, list[np.ndarray]] = {int(f): [] for f in frames}
    if len(table):
        ordered = table.sort_values(["frame", "index"], kind="stable")
        for frame, vertices in zip(ordered["frame"], ordered["vertices"], strict=True):
            points = np.asarray(vertices, np.float64).reshape(-1, 2)
            outlines.setdefault(int(frame), []).append(points)
    return outlines


# Writing ------------------------------------------------------------------------------------


def save_saved(path: str | Path, saved: Saved) -> Path:
    """Write results to a ``.atomlens`` folder.

    The folder is complete or not there at all: it is written beside its place and then
    renamed, and a project that was there is replaced only once the new one is complete.

    Parameters
    ----------
    path : path
        ``.atomlens`` is added where it is missing.
    saved : Saved

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
    try:
        with writing_folder(target) as fresh:
            write(fresh, saved)
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error}.") from error
    return target


@contextlib.contextmanager
def writing_folder(
    target: Path, lock: Lock | None = None, more: Sequence[str] = ()
) -> Iterator[Path]:
    """Give an empty folder for results that then takes the place of those of a folder.

    What the user put there stays.

    Parameters
    ----------
    target : pathlib.Path
    lock : Lock, optional
        Of the folder, where who calls holds it already.
    more : sequence of str
        Patterns of what an earlier version wrote there, too.

    Raises
    ------
    FormatError
        If another program holds the folder.
    OSError
        If it cannot be written.
    """
    make_folder(target.parent)
    own = None if lock is not None else folder_lock(target)
    if own is not None and not own.acquire():
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        raise FormatError(f"{target.name} is open in another program; it was left as it is.")
    try:
        recover_folder(target, (*OURS, *more))
        # in a folder that holds no results nothing is ours
        ours = (*OURS, *more) if is_results(target) else ()
        with new_folder_beside(target, ours) as fresh:
            yield fresh
    finally:
        if own is not None:
            own.release()


def recover(target: Path, held: Lock | None = None) -> bool:
    """Bring a folder of results back whose writer was killed between two steps.

    Hidden copies of it that killed writers left go.

    Parameters
    ----------
    target : pathlib.Path
    held : Lock, optional
        Of the folder, where who calls has it already.

    Returns
    -------
    bool
        Whether it was missing and is there again.
    """
    if not leftovers(target):
        return False
    lock = held or folder_lock(target)
    if not lock.acquire():  # its writer lives, or nothing can be written here
        return False
    try:
        with contextlib.suppress(OSError):
            return recover_folder(target, OURS)
        return False
    finally:
        if held is None:
            lock.release()


def write(root: Path, saved: Saved) -> None:
    """Write results into an empty folder, ``run.json`` last."""
    frames = pd.DataFrame({"frame": np.asarray(saved.frames, np.int64)})
    outlines = outline_table(saved.outlines)
    parts = {"atoms": saved.atoms, "contours": saved.contours, "outlines": outlines}
    Parts(root).write(WHOLE, {**parts, "frames": frames})
    kept = []
    for name in MAPS:
        if len(maps := getattr(saved, name)):
            save_maps(maps_path(root), name, maps, saved.frames)
            kept.append(name)
    for name, table in saved.later.items():
        write_later(root, name, table)
    note = {
        "format": FORMAT, "format_version": VERSION, "classes": saved.classes, "maps": kept,
        "rows": {name: len(table) for name, table in parts.items()},
        "tables": {name: list(map(str, parts[name].columns)) for name in ("atoms", "contours")},
        "outline_frames": [int(f) for f in saved.outlines],
        "messages": saved.messages, "seconds": saved.seconds, "provenance": saved.provenance,
    }  # fmt: skip
    write_note(note_path(root), note)


def save_maps(path: Path, name: str, maps: np.ndarray, frames: Sequence[int]) -> None:
    """Write a stack of maps frame by frame, each in the place of its frame in the source."""
    import zarr

    group = zarr.open_group(path, mode="a")
    n = max((int(f) for f in frames), default=-1) + 1
    array = group.create_array(
        name, shape=(n, *maps.shape[1:]), dtype=maps.dtype,
        chunks=(1, *(max(1, s) for s in maps.shape[1:])),
    )  # fmt: skip
    for k, f in enumerate(frames):
        array[int(f)] = np.asarray(maps[k])


# Reading ------------------------------------------------------------------------------------


def is_results(root: Path) -> bool:
    """Whether a folder holds results of ours, of any version."""
    return any((root / n).is_file() for n in (NOTE, BATCH, WINDOW)) or old.is_old(root)


def read_saved(path: str | Path, file: str = "") -> Saved:
    """Read a folder of results: a project, an analysed movie, a scan of a watch, a file of a batch.

    Parameters
    ----------
    path : path
    file : str
        Which file of a batch; not needed where there is one.

    Returns
    -------
    Saved

    Raises
    ------
    FormatError
        If it is missing, not of ours, damaged or of a later version.
    """
    root = path_of(path)
    recover(root)
    if not root.exists():
        raise FormatError(f"{root.name} does not exist.")
    if not is_results(root):
        raise FormatError(f"{root.name} is not an AtomLens project.")
    with reading(root, OURS):
        if old.is_old(root):
            return checked(Saved(**old.read_old(root)))  # type: ignore[arg-type]
        if (root / NOTE).is_file():
            return checked(_read(root, ""))
        if (root / BATCH).is_file():
            return checked(_read(root, file or _only_file(root)))
        return _window(root)


def _only_file(root: Path) -> str:
    names = [p.stem for p in sorted((root / "files").glob("*.json"))]
    if len(names) == 1:
        return names[0]
    some = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    raise FormatError(f"{root.name} holds {len(names)} files; say which: {some or 'none yet'}.")


def checked(saved: Saved) -> Saved:
    """Return what was read with the types that JSON does not keep."""
    saved.classes = tuple(saved.classes)
    saved.frames = [int(f) for f in saved.frames]
    size = saved.provenance.get("pixel_size_nm")
    if isinstance(size, list):
        saved.provenance["pixel_size_nm"] = tuple(size)
    n = {len(saved.probabilities), len(saved.unfamiliar)}
    if n != {len(saved.frames)} and n != {0}:
        raise ValueError("the maps do not fit the frames")
    return saved


def _read(root: Path, file: str) -> Saved:
    note = read_note(note_path(root, file))
    if note.get("error"):
        raise FormatError(f"{file or root.name} could not be analysed: {note['error']}")
    parts = Parts(root, file)
    found = {name: parts.read(name) for name in (*FRAME_TABLES, "frames")}
    rows = found["frames"]
    expected = note.get("rows")
    if not isinstance(expected, dict):  # as it grew: the frames say it
        counted = {"atoms": "n_atoms", "contours": "n_contours", "outlines": "n_outlines"}
        expected = {t: int(rows[c].sum()) for t, c in counted.items() if c in rows}
    for name, n in expected.items():
        if len(found[name]) != n:
            raise FormatError(f"{root.name} is damaged: some of its {name} are missing.")
    for name in ("atoms", "contours"):
        columns = dict(note.get("tables") or {}).get(name)
        if not len(found[name]) and columns:
            found[name] = found[name].reindex(columns=columns)
    frames = sorted(int(f) for f in rows["frame"]) if len(rows) else []
    if "error" in rows:  # frames that could not be analysed are not there
        frames = sorted(int(f) for f in rows.loc[rows["error"] == "", "frame"])
    probabilities, unfamiliar = _load_maps(root, file, note, frames)
    later = {name: read_later(root, name) for name in later_names(root) if not file}
    named = note.get("outline_frames")
    order = [int(f) for f in named] if isinstance(named, list) else frames
    return Saved(
        found["atoms"], found["contours"], outlines_of(found["outlines"], order), probabilities,
        unfamiliar, tuple(note.get("classes") or ()), frames,
        dict(note["provenance"]), list(note.get("messages") or ()),
        dict(note.get("seconds") or {}), later, rows,
    )  # fmt: skip


def later_names(root: Path) -> list[str]:
    """Names of the later tables of a folder."""
    return sorted(p.stem for p in (root / "tables").glob("*.parquet"))


def write_later(root: Path, name: str, table: pd.DataFrame) -> None:
    """Write a later table."""
    write_table(root / "tables" / f"{name}.parquet", table)


def read_later(root: Path, name: str) -> pd.DataFrame:
    """Read a later table."""
    table = read_parquet(root / "tables" / f"{name}.parquet")
    if "atom_ids" in table:  # a tuple in one cell
        table["atom_ids"] = [tuple(int(i) for i in ids) for ids in table["atom_ids"]]
    return table


def _load_maps(
    root: Path, file: str, note: Mapping[str, object], frames: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of the frames; large ones stay on the disk until they are looked at."""
    kept = note.get("maps") or []
    nothing = no_maps(len(note.get("classes") or ()))  # type: ignore[arg-type]
    if not kept:
        return nothing
    import dask.array as da
    import zarr

    group = zarr.open_group(maps_path(root, file), mode="r")
    out = []
    for k, name in enumerate(MAPS):
        if name not in kept:  # type: ignore[operator]
            out.append(nothing[k])
            continue
        array = group[name]
        if not isinstance(array, zarr.Array):
            raise FormatError(f"{root.name} is damaged: its {name} are no array.")
        all_of_it = list(frames) == list(range(array.shape[0]))
        if array.nbytes <= IN_MEMORY_BYTES:
            out.append(
                np.asarray(array[...] if all_of_it else array.oindex[np.asarray(frames, int)])
            )
        else:
            lazy = da.from_zarr(array)
            out.append(lazy if all_of_it else lazy[list(frames)])
    return out[0], out[1]


def _window(root: Path) -> Saved:
    """Corrected atoms of a window that was saved; maps and contours are layers there."""
    note = read_note(root / WINDOW, WINDOW_VERSION)
    parts, runs = [], []
    for entry in note["layers"]:
        if "corrections" not in entry:
            continue
        parts.append(read_parquet(inside(root, entry["corrections"]) / "atoms.parquet"))
        ours = dict(entry["attributes"].get("metadata") or {}).get("napari-atomlens") or {}
        runs += ours.get("runs", [])
    full = [p for p in parts if len(p)]
    atoms = pd.concat(full, ignore_index=True) if full else tables.empty("atoms")
    return Saved(
        atoms, tables.empty("contours"), {}, *no_maps(0), (), [],
        dict(runs[-1]) if runs else {},
    )  # fmt: skip
