"""Save a window as a project while it goes on; what is edited meanwhile stays unsaved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari import current_viewer

from napari_atomlens.progress import Progress
from napari_atomlens.session.project import (
    OpenProject,
    opened_by,
    take_snapshot,
    write_snapshot,
)
from napari_atomlens.session.result_layers import LayerTuple
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor
from napari_atomlens.widgets.open_save.beside import beside
from napari_atomlens.widgets.open_save.writer import saying_why

#: Called in the window with how much is done, of how much.
Show = Callable[[int, int], object]


def write_project(path: str, layers: Sequence[LayerTuple]) -> list[str]:
    """Save layers for napari (File > Save) as a project, without the settings of the window.

    Raises
    ------
    AtomLensError
        If another window has the project open, something else is in its place, or it
        cannot be written.
    """
    editors = editors_in(attributes.get("metadata") or {} for _, attributes, _ in layers)
    show = shown_in_status(Path(path).name)
    with saying_why():
        return [str(save_window(path, layers, editors, opened=opened_by(layers), show=show))]


def shown_in_status(name: str) -> Show:
    """Return a function that says in the status bar of napari how far the saving is."""
    viewer = current_viewer()

    def show(done: int, total: int) -> None:
        said = f"Saving {name}: {done} of {total - 1} layers are written"
        if viewer is not None and total and viewer.status != said:
            with contextlib.suppress(RuntimeError):  # of a window that was closed
                viewer.status = said

    return show


def editors_in(metadata: Iterable[Mapping[str, Any]]) -> list[Editor]:
    """Editors of the layers that have this metadata."""
    found = (m.get(EDITOR) for m in metadata)
    return [e for e in found if isinstance(e, Editor)]


def save_window(
    path: str | Path,
    layers: Sequence[LayerTuple],
    editors: Sequence[Editor],
    settings: Mapping[str, Any] | None = None,
    opened: OpenProject | None = None,
    show: Show | None = None,
) -> Path:
    """Write a project beside the window and return where it is.

    Parameters
    ----------
    path : path
    layers : sequence of tuple
        (data, attributes, type), bottom first.
    editors : sequence of Editor
        Of those that are atoms: what is saved of them need not be restored after a crash.
    settings : mapping, optional
        Of the window and of its docks.
    opened : OpenProject, optional
        The project that this window has open.
    show : callable, optional
        Called in the window with how many layers are written, of how many.

    Raises
    ------
    FormatError
        If it cannot be written.
    """
    for editor in editors:
        editor.sync()
    states = [_state(editor) for editor in editors]
    snapshot = take_snapshot(layers, settings)
    far = (0, 0)

    def report(done: int, total: int, what: str) -> None:
        nonlocal far
        far = (done, total)  # by the thread; the window reads it

    target = beside(
        lambda: write_snapshot(path, snapshot, opened, Progress(report)),
        lambda: show(*far) if show is not None else None,
    )
    for editor, state in zip(editors, states, strict=True):
        if _state(editor) == state:
            editor.autosave.done()
    return target


def _state(editor: Editor) -> tuple[int, int, int]:
    """What differs once anything was edited or computed anew."""
    c = editor.corrections
    return id(c), len(c.journal.log), editor.session.revision
