"""A window as a ``.atomlens`` folder: every layer, every edit, every setting.

The layout is described in ``docs/project_format.md``. Layers are the tuples
``(data, attributes, type)`` of napari, so that nothing here knows napari itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

from napari_atomlens.errors import AtomLensError, FormatError
from napari_atomlens.files import Lock, make_folder
from napari_atomlens.folders import folder_lock
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects import window
from napari_atomlens.io.projects.folder import target_of
from napari_atomlens.io.projects.note import WINDOW_VERSION
from napari_atomlens.progress import ProgressLike
from napari_atomlens.session.edits import Conflict, Corrections
from napari_atomlens.session.result_layers import LayerTuple, layers_of_result

#: Key in the metadata of a layer under which its corrections are.
CORRECTIONS = "napari-atomlens-corrections"
#: Key in the metadata of a layer under which the project is that it came from.
PROJECT = "napari-atomlens-project"
#: Arrays up to this size are copied before they are written: edits go on meanwhile.
OWN_BYTES = 256 << 20
#: Projects that this process has open, by their places.
_HELD: WeakValueDictionary[Path, OpenProject] = WeakValueDictionary()
#: One project is written at a time: two threads of this process may want the same place.
_WRITING = threading.Lock()


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
    version: int = WINDOW_VERSION


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
    lock = folder_lock(target)
    mine = lock.acquire()
    opened = OpenProject(target, lock, read_only=not mine)
    if mine:
        layout.recover(target, lock)
        _HELD[target.resolve()] = opened
    return opened


def held_here(path: str | Path) -> OpenProject | None:
    """Project that this process itself has open, None where it has it not (or another has)."""
    found = _HELD.get(Path(path).resolve())
    return found if found is not None and found.lock.is_held else None


def read_only_sentence(path: Path) -> str:
    """What to say of a project that another window has open."""
    return (
        f"{path.name} is open in another window (or cannot be written to): it is read-only here. "
        "Save under another name to keep changes."
    )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A window at one moment; what is edited later does not change it.

    Attributes
    ----------
    layers : list of SavedLayer
    settings : dict
    """

    layers: list[window.SavedLayer]
    settings: dict[str, Any]


def take_snapshot(
    layers: Sequence[LayerTuple], settings: Mapping[str, Any] | None = None
) -> Snapshot:
    """Copy what a project is to hold, fast enough for the thread of a window.

    Parameters
    ----------
    layers : sequence of tuple
        (data, attributes, type), bottom first.
    settings : mapping, optional
        Of the window and of the widgets.
    """
    taken = []
    for data, attributes, kind in layers:
        metadata = dict(attributes.get("metadata") or {})
        corrections = metadata.pop(CORRECTIONS, None)
        metadata.pop(PROJECT, None)
        mine = {k: _own(v) for k, v in attributes.items() if k != "metadata"}
        if isinstance(data, Sequence):  # scales of a pyramid, parts of a surface, shapes
            data = list(data)
        edits = _edits_of(corrections) if isinstance(corrections, Corrections) else None
        taken.append(
            window.SavedLayer(_own(data), {**mine, "metadata": _own(metadata)}, kind, edits)
        )
    return Snapshot(taken, _own(dict(settings or {})))


def _own(value: Any) -> Any:
    """Copy what may change: arrays in memory, tables and what holds them."""
    kind = type(value)
    if kind is np.ndarray:
        return value.copy() if value.nbytes <= OWN_BYTES else value
    if kind is list or kind is tuple:
        return kind(v if type(v) in (float, int, str) else _own(v) for v in value)
    if kind is dict:
        return {k: _own(v) for k, v in value.items()}
    return value.copy() if isinstance(value, pd.DataFrame) else value


def _edits_of(c: Corrections) -> window.Edits:
    return window.Edits(
        c.machine().copy(), c.atoms().copy(), list(c.journal.entries()), c.journal.user,
        c.spacing_px, [dict(vars(x)) for x in c.conflicts],
    )  # fmt: skip


def write_snapshot(
    path: str | Path,
    snapshot: Snapshot,
    opened: OpenProject | None = None,
    progress: ProgressLike = None,
) -> Path:
    """Write a window as it was; the folder is complete or not there at all.

    Any thread may do so.

    Parameters
    ----------
    path : path
        ``.atomlens`` is added where it is missing.
    snapshot : Snapshot
    opened : OpenProject, optional
        The project that this window has open; its lock is the right to write there.
    progress : Progress or callable, optional
        Told how many of the layers are written.

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
    lock = opened.lock if mine and opened is not None else folder_lock(target)
    with _WRITING:
        try:
            make_folder(target.parent)
            if not lock.acquire():
                raise FormatError(read_only_sentence(target))
            with layout.writing_folder(target, lock) as folder:
                window.write_window(folder, snapshot.layers, snapshot.settings, progress)
        except OSError as error:
            raise FormatError(
                f"{target.name} could not be written: {error.strerror or error}."
            ) from error
        finally:
            if not mine:
                lock.release()
    return target


def save_workspace(
    path: str | Path,
    layers: Sequence[LayerTuple],
    settings: Mapping[str, Any] | None = None,
    opened: OpenProject | None = None,
) -> Path:
    """Write the layers of a window, their edits and the settings, all in this thread.

    See :func:`take_snapshot` and :func:`write_snapshot`.
    """
    return write_snapshot(path, take_snapshot(layers, settings), opened)


def load_workspace(path: str | Path, find: window.Find | None = None) -> Workspace:
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
    layout.recover(folder)
    if not folder.exists():
        raise FormatError(f"{folder.name} does not exist.")
    if not (folder / layout.WINDOW).is_file():
        payload = vars(layout.read_saved(folder))
        return Workspace(layers_of_result(payload, folder.stem), version=1)
    found = window.read_window(folder, find)
    layers: list[LayerTuple] = []
    for layer in found.layers:
        if layer.edits is not None:
            layer.attributes["metadata"][CORRECTIONS] = _corrections_of(layer.edits)
        layers.append((layer.data, layer.attributes, layer.kind))
    return Workspace(layers, found.settings, found.messages, found.version)


def missing_files(path: str | Path) -> list[str]:
    """Image files that a project names and that are no longer in their places.

    Raises
    ------
    FormatError
        If it is damaged or of a later version.
    """
    folder = Path(path)
    return window.missing_images(folder) if (folder / layout.WINDOW).is_file() else []


def _corrections_of(edits: window.Edits) -> Corrections:
    c = Corrections.restore(edits.machine, edits.entries, "", edits.spacing_px)
    c.conflicts = [Conflict(**x) for x in edits.conflicts]
    return c


def load_opened(path: str | Path, known: OpenProject | None = None) -> Workspace:
    """Read a project that the layers then hold open together; what to say is in its messages.

    Parameters
    ----------
    path : path
    known : OpenProject, optional
        What this window has open; a window does not lock itself out.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    opened = open_project(path, known)
    try:
        space = load_workspace(path)
    except AtomLensError:
        if opened is not known:
            opened.lock.release()
        raise
    if opened.read_only:
        space.messages.insert(0, read_only_sentence(opened.path))
    hold_open(space, opened)
    return space


def hold_open(space: Workspace, opened: OpenProject) -> None:
    """Let the layers of a project say that they came from it: its lock lives as long as they."""
    for _, attributes, _kind in space.layers:
        attributes.setdefault("metadata", {})[PROJECT] = opened


def opened_by(layers: Sequence[LayerTuple]) -> OpenProject | None:
    """Project that layers came from, None where they came from none."""
    for _, attributes, _kind in layers:
        found = (attributes.get("metadata") or {}).get(PROJECT)
        if isinstance(found, OpenProject):
            return found
    return None
