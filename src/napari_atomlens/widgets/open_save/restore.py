"""Edits that were never saved: offered once, and brought back above their image."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING
from weakref import WeakSet

from napari.layers import Image, Points
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session import autosave
from napari_atomlens.session.autosave import UnsavedSession
from napari_atomlens.session.project import CORRECTIONS
from napari_atomlens.widgets.base.layout import button
from napari_atomlens.widgets.layers import convert, placing, roles, styles
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.registry import all_layers

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import LayerList
    from napari.utils.events import Event

#: Layers of the viewers that were asked.
_ASKED: WeakSet[LayerList] = WeakSet()
#: Restored layers whose image is not there yet.
_WAITING: set[_OnTop] = set()
#: Restored layers that no dock has taken up.
_NEW: WeakSet[Points] = WeakSet()


def offer_restore(viewer: napari.viewer.Viewer) -> RestoreBar | None:
    """Show a bar above the canvas where there are unsaved edits; once in a window.

    Parameters
    ----------
    viewer : napari.viewer.Viewer

    Returns
    -------
    RestoreBar or None
        None where there is nothing to offer, or the window has been asked before.
    """
    layers: LayerList = inspect.unwrap(viewer.layers)
    if layers in _ASKED:
        return None
    _ASKED.add(layers)
    if not (found := autosave.find_unsaved()):
        return None
    bar = RestoreBar(viewer, found)
    viewer.window.add_dock_widget(bar, name="Unsaved edits", area="top", add_vertical_stretch=False)
    return bar


def describe(unsaved: UnsavedSession) -> str:
    """Say what was never saved."""
    one = unsaved.n_edits == 1
    edits, were = f"{unsaved.n_edits} edit{'' if one else 's'}", "was" if one else "were"
    when = unsaved.started[:16].replace("T", " ")
    said = f"{edits} of {unsaved.about.get('layer', 'a layer')} ({when} UTC) {were} never saved."
    return f"{said} {unsaved.damage}".rstrip()


class RestoreBar(QWidget):
    """A line in the window that offers unsaved edits, and waits as long as it takes.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    found : list of UnsavedSession
        Not empty; offered one by one, the latest first.
    """

    def __init__(self, viewer: napari.viewer.Viewer, found: list[UnsavedSession]) -> None:
        super().__init__()
        self.setObjectName("restore_bar")
        self._viewer, self._found = viewer, list(found)
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 2, 8, 2)
        row.addWidget(self._text, 1)
        for name, text, tip, what in (
            ("restore", "Restore", "Show these atoms with all their edits", self._on_restore),
            ("forget", "Discard", "Do away with these edits", self._on_forget),
            ("later", "Later", "They stay; Correct offers them, and the next start", self.leave),
        ):
            row.addWidget(button(name, text, tip, what))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._show()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Take no more height than the text needs: the rest is the image's."""
        super().resizeEvent(event)
        self._keep_low()

    def _say(self, text: str) -> None:
        self._text.setText(text)
        self._keep_low()

    def _keep_low(self) -> None:
        row = self.layout()
        assert row is not None
        self.setMaximumHeight(max(row.heightForWidth(self.width()), row.minimumSize().height()))

    def _show(self) -> None:
        # another window may have answered meanwhile
        self._found = [x for x in self._found if x.folder.is_dir()]
        if self._found:
            self._say(describe(self._found[0]))
        else:
            self.leave()

    def _on_restore(self) -> None:
        try:
            show_restored(self._viewer, self._found[0])
        except AtomLensError as error:
            self._say(str(error))
            return
        self._found.pop(0)
        self._show()

    def _on_forget(self) -> None:
        autosave.forget(self._found.pop(0))
        self._show()

    def leave(self) -> None:
        """Take the bar out of the window."""
        self._viewer.window.remove_dock_widget(self)
        self.deleteLater()


def show_restored(viewer: napari.viewer.Viewer, unsaved: UnsavedSession) -> Points:
    """Show the atoms of an unsaved session with all their edits.

    They lie above their image, also where that is opened later. They are added to what is there:
    a layer of the same name stays, with what was edited in it today.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    unsaved : UnsavedSession

    Returns
    -------
    napari.layers.Points
        The new layer.

    Raises
    ------
    FormatError
        If what was written of the session is damaged.
    """
    corrections = autosave.restore(unsaved)
    about = unsaved.about
    table = corrections.atoms()
    ndim = int(about.get("ndim", 2))
    name, entry = str(about.get("layer", "")), dict(about.get("entry") or {})
    species = [s for s in dict.fromkeys(table["species"].astype(str)) if s]
    style = styles.AtomStyle(
        size=float(about.get("size", 4.0)), border_color_cycle=styles.class_colours(species)
    )
    layer = Points(
        convert.points_from_atoms(table, ndim), ndim=ndim,
        features=convert.features_from_atoms(table, species), name=name,
        scale=about.get("scale"), translate=about.get("translate"), units=about.get("units"),
        axis_labels=about.get("axis_labels"),
        metadata={CORRECTIONS: corrections, **({roles.KEY: entry} if entry else {})},
        **style.as_kwargs(),
    )  # fmt: skip
    editor = editor_of(layer)
    _NEW.add(layer)  # before it is in the window: who hears of it there may take it up
    all_layers(viewer)  # from now on our layers find their images
    viewer.add_layer(layer)
    _OnTop(inspect.unwrap(viewer.layers), layer)
    editor.autosave.write()  # in this session's own folder, before the old one goes
    autosave.forget(unsaved)
    return layer


def take_restored(offered: list[Points]) -> Points | None:
    """Return the first of these layers that was restored and is taken up by nobody; once.

    Parameters
    ----------
    offered : list of napari.layers.Points

    Returns
    -------
    napari.layers.Points or None
    """
    found = next((layer for layer in offered if layer in _NEW), None)
    if found is not None:
        _NEW.discard(found)
    return found


class _OnTop:
    """Keeps a restored layer above what is opened, until its own image is there.

    Parameters
    ----------
    layers : napari.components.LayerList
    layer : napari.layers.Points
    """

    def __init__(self, layers: LayerList, layer: Points) -> None:
        self._layers, self._layer = layers, layer
        if placing.source_of(layer, layers) is None:
            layers.events.inserted.connect(self._on_inserted)
            layers.events.removed.connect(self._on_removed)
            _WAITING.add(self)

    def _on_inserted(self, event: Event) -> None:
        if placing.source_of(self._layer, self._layers) is not None:
            self._leave()
        elif isinstance(event.value, Image) and not roles.entry(event.value):
            now = self._layers.index(self._layer)
            if now < self._layers.index(event.value):
                self._layers.move(now, len(self._layers))

    def _on_removed(self, event: Event) -> None:
        if event.value is self._layer:
            self._leave()

    def _leave(self) -> None:
        self._layers.events.inserted.disconnect(self._on_inserted)
        self._layers.events.removed.disconnect(self._on_removed)
        _WAITING.discard(self)
