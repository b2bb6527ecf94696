"""Save and open projects, and restore what was never saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QProgressBar,
    QWidget,
)

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session import autosave
from napari_atomlens.session.project import (
    CORRECTIONS,
    PROJECT,
    OpenProject,
    Workspace,
    hold_open,
    load_workspace,
    missing_files,
    open_project,
    read_only_sentence,
)
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.fields import Setting
from napari_atomlens.widgets.base.layout import button, sentence
from napari_atomlens.widgets.layers.atoms import Editor, editor_of
from napari_atomlens.widgets.open_save import restore
from napari_atomlens.widgets.open_save.beside import beside
from napari_atomlens.widgets.open_save.saving import editors_in, save_window

if TYPE_CHECKING:
    import napari.viewer

FILTER = "AtomLens project (*.atomlens)"
#: Our docks, whose settings a project keeps.
DOCKS = ("find_atoms", "measure", "correct")


class ProjectPanel(QWidget):
    """Buttons to save and open a project and to restore edits that were never saved.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.editor: Editor | None = None
        self._opened: OpenProject | None = None
        self._unsaved: list[autosave.UnsavedSession] = []
        self._save = button(
            "save_project", "Save project…", "All layers, edits and settings", self._on_save
        )
        self._open = button(
            "open_project", "Open project…", "In place of what is shown", self._on_open
        )
        self._restore = button(
            "restore", "Restore", "Bring back edits that were never saved", self._on_restore
        )
        self._forget = button("forget", "Discard", "Do away with them", self._on_forget)
        self._note = sentence("project_status")
        self._bar = QProgressBar()
        self._bar.setObjectName("save_progress")
        self._bar.setFormat("%v of %m layers")
        self._bar.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self._save, 0, 0)
        grid.addWidget(self._open, 0, 1)
        grid.addWidget(self._note, 1, 0, 1, 2)
        grid.addWidget(self._bar, 2, 0, 1, 2)
        grid.addWidget(self._restore, 3, 0)
        grid.addWidget(self._forget, 3, 1)
        self.look_for_unsaved()

    def cleanup(self) -> None:
        """Give the lock of an open project back."""
        if self._opened is not None and not any(
            layer.metadata.get(PROJECT) is self._opened for layer in self._viewer.layers
        ):
            self._opened.lock.release()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self._note.setText(text)

    # ------------------------------------------------------------------- save and open

    def project(self) -> OpenProject | None:
        """Return the project that the layers came from or were saved to."""
        for layer in self._viewer.layers:
            found = layer.metadata.get(PROJECT)
            if isinstance(found, OpenProject):
                return found
        return self._opened

    def _on_save(self) -> None:
        known = self.project()
        start = str(known.path) if known is not None and not known.read_only else ""
        path, _ = QFileDialog.getSaveFileName(self, "Save project", start, FILTER)
        if path:
            self.save(path)

    def save(self, path: str | Path) -> Path | None:
        """Save the window; None, and a sentence, where that is not possible.

        It is written beside the window, where editing goes on.
        """
        opened, mine = self.project(), list(self._viewer.layers)
        self._save.setEnabled(False)
        self._show(0, 0)
        self.say("Saving …")
        try:
            layers = [layer.as_layer_data_tuple() for layer in mine]
            editors = editors_in(layer.metadata for layer in mine)
            target = save_window(path, layers, editors, self.settings(), opened, self._show)
            if opened is None or opened.path.resolve() != target.resolve():
                if opened is not None:
                    opened.lock.release()
                opened = open_project(target)
        except AtomLensError as error:
            self.say(str(error))
            return None
        finally:
            self._save.setEnabled(True)
            self._bar.hide()
        self._opened = opened
        for layer in mine:
            layer.metadata[PROJECT] = opened
        self.say(f"Saved as {target.name}.")
        return target

    def _show(self, done: int, total: int) -> None:
        """Show how many layers are written; the last step is what remains of the project."""
        self._bar.setRange(0, max(0, total - 1))
        self._bar.setValue(done)
        self._bar.show()

    def _on_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open project (a folder NAME.atomlens)")
        if path:
            self.open(path)

    def open(self, path: str | Path) -> bool:
        """Open a project in the place of the layers that there are."""
        from napari.layers import Layer

        def read() -> tuple[Workspace, list[Layer]]:
            space = load_workspace(path, found.get)
            hold_open(space, opened)
            return space, [Layer.create(*one) for one in space.layers]

        opened = open_project(path, known := self.project())
        try:
            found = {name: self._find(name) for name in missing_files(path)}
            space, layers = beside(read)
        except AtomLensError as error:
            if opened is not known:
                opened.lock.release()
            self.say(str(error))
            return False
        self._viewer.layers.clear()
        self._opened = opened
        for layer in layers:
            if CORRECTIONS in layer.metadata:
                editor_of(layer)
            self._viewer.add_layer(layer)
        self.apply(space.settings)
        sentences = [read_only_sentence(opened.path)] if opened.read_only else []
        self.say(" ".join([*sentences, *space.messages]) or f"Opened {opened.path.name}.")
        return True

    def _find(self, path: str) -> str | None:
        """Ask where an image went."""
        name = Path(path).name
        found, _ = QFileDialog.getOpenFileName(self, f"Where is {name}?", "", f"{name};;All (*)")
        return found or None

    # ------------------------------------------------------------------------ settings

    def _docks(self) -> dict[str, QWidget]:
        window = self.window()
        return {n: w for n in DOCKS if (w := window.findChild(QWidget, n)) is not None}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the window and of our docks."""
        viewer = self._viewer
        widgets = {
            name: {
                f.objectName(): fields.shown(f) for f in dock.findChildren(QWidget) if _is_kept(f)
            }
            for name, dock in self._docks().items()
        }
        return {
            "viewer": {
                "center": [float(v) for v in viewer.scene.camera.center],
                "zoom": float(viewer.scene.camera.zoom), "angles": list(viewer.scene.camera.angles),
                "ndisplay": int(viewer.dims.ndisplay),
                "point": [float(p) for p in viewer.dims.point],
                "order": [int(o) for o in viewer.dims.order],
                "active": str(getattr(viewer.layers.selection.active, "name", "")),
                "scale_bar": bool(viewer.canvas.overlays.scale_bar.visible),
                "axes": bool(viewer.scene.overlays.axes.visible),
            },
            "widgets": widgets,
        }  # fmt: skip

    def apply(self, settings: dict[str, Any]) -> None:
        """Set the window and our docks as a project says."""
        viewer, known = self._viewer, settings.get("viewer", {})
        if known:
            if len(known["order"]) == viewer.dims.ndim:
                viewer.dims.order = tuple(known["order"])
            viewer.dims.ndisplay = known["ndisplay"]
            for axis, point in enumerate(known["point"][: viewer.dims.ndim]):
                viewer.dims.set_point(axis, point)
            viewer.scene.camera.center = tuple(known["center"])
            viewer.scene.camera.zoom = known["zoom"]
            viewer.scene.camera.angles = tuple(known["angles"])
            viewer.canvas.overlays.scale_bar.visible, viewer.scene.overlays.axes.visible = (
                known["scale_bar"],
                known["axes"],
            )
            if known["active"] in viewer.layers:
                viewer.layers.selection.active = viewer.layers[known["active"]]
        docks = self._docks()
        for name, values in settings.get("widgets", {}).items():
            dock = docks.get(name)
            if dock is None:
                continue
            for field in dock.findChildren(QWidget):
                if _is_kept(field) and field.objectName() in values:
                    fields.show(field, values[field.objectName()])

    # ------------------------------------------------------------------- unsaved edits

    def look_for_unsaved(self) -> None:
        """Offer the edits of sessions that ended without saving them."""
        self._unsaved = autosave.find_unsaved()
        for one in (self._restore, self._forget):
            one.setVisible(bool(self._unsaved))
        if self._unsaved:
            self.say(restore.describe(self._unsaved[0]))

    def _on_restore(self) -> None:
        if not self._unsaved:
            return
        try:
            restore.show_restored(self._viewer, self._unsaved[0])
        except AtomLensError as error:
            self.say(str(error))
            return
        n = self._unsaved[0].n_edits
        self.look_for_unsaved()
        if not self._unsaved:
            self.say(f"Restored {n} edit{'' if n == 1 else 's'}.")

    def _on_forget(self) -> None:
        if self._unsaved:
            autosave.forget(self._unsaved[0])
            self.say("")
            self.look_for_unsaved()


def _is_kept(widget: QWidget) -> TypeGuard[Setting]:
    """Whether a project keeps what a widget shows; whether a frame was seen is an edit."""
    name = widget.objectName()
    named = bool(name) and not name.startswith("qt_") and name != "seen"
    return named and fields.is_setting(widget)
