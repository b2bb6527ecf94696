"""Which images of a file to open: asked for files that hold many, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_atomlens import session
from napari_atomlens.io.formats.facts import in_words
from napari_atomlens.widgets.open_save import reader
from napari_atomlens.widgets.open_save.beside import beside, main_window, main_windows

if TYPE_CHECKING:
    from napari_atomlens.widgets.open_save.reader import LayerTuple

#: Files with more images than these are not opened whole without asking.
MANY = 4
#: What a napari reader returns for "read, but there is nothing to show".
NOTHING: Any = [(None,)]


def get_reader(
    path: str | Path | Sequence[str | Path],
) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the function that opens a file in napari, None where the file is not for us.

    As :func:`napari_atomlens.widgets.open_save.reader.get_reader`, but where there is a window, the
    images of a file that holds more than a few are offered by name, and for a project that the
    window has open already it is asked whether to go back to what was saved.
    """
    found = reader.get_reader(path)
    if found is reader.read_project:
        return read_or_revert
    return read_chosen if found is reader.read_layers else found


def read_or_revert(path: str | Path) -> list[LayerTuple]:
    """Open a project for napari; one that this window has open is opened anew only when asked to.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    held, window = session.held_here(path), main_window()
    if held is None or window is None:
        return reader.read_project(path)
    import napari

    viewer = napari.current_viewer()
    layers = [] if viewer is None else list(viewer.layers)
    mine = [x for x in layers if any(v is held for v in x.metadata.values())]
    if not mine and len(main_windows()) > 1:
        return reader.read_project(path)  # another window has it
    if mine and not ask_revert(held.path.name, window):
        return NOTHING
    space = beside(lambda: session.load_opened(path, held))
    for layer in mine:
        if viewer is not None and layer in viewer.layers:
            viewer.layers.remove(layer)
    return reader.layers_of(space)


def ask_revert(name: str, parent: Any = None) -> bool:
    """Ask whether to go back to what was saved of a project that this window has open."""
    from qtpy.QtWidgets import QMessageBox

    box = QMessageBox(parent)
    box.setObjectName("revert_project")
    box.setWindowTitle("Revert project")
    box.setText(
        f"{name} is open in this window already. Revert to what was saved? Its layers are opened "
        "anew; edits made since then are offered as unsaved when napari starts again."
    )
    revert = box.addButton("Revert", QMessageBox.ButtonRole.AcceptRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    return box.clickedButton() is revert


def read_chosen(path: str | Path | Sequence[str | Path]) -> list[LayerTuple]:
    """Read files as layer tuples; ask which ones where there are many and somebody to ask."""
    layers = beside(lambda: reader.read_layers(path))
    window = main_window() if len(layers) > MANY else None
    if window is None:
        return layers
    names = [p.name for p in reader._paths(path)]
    chosen = ask(layers, window, names[0] if len(names) == 1 else "")
    for k, (_, keywords, _) in enumerate(chosen):
        keywords["visible"] = k == 0
    return chosen or NOTHING


def describe(layer: LayerTuple) -> str:
    """Size of an image in pixels and nm, for people."""
    data, keywords, _ = layer
    *frames, height, width = data.shape
    text = f"{width} × {height} px"
    if frames:
        text += f", {frames[0]} frames"
    size = keywords["metadata"].get("pixel_size_nm")
    if size is not None:
        text += f", {size[1] * width:.4g} × {size[0] * height:.4g} nm"
    said = in_words(keywords["metadata"])
    return f"{text}; {said}" if said else text


def ask(layers: list[LayerTuple], parent: Any = None, file: str = "") -> list[LayerTuple]:
    """Show the names of images; return those that were ticked, none where it was cancelled."""
    from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QVBoxLayout

    dialog = QDialog(parent)
    dialog.setObjectName("choose_images")
    dialog.setWindowTitle("Images in this file")
    names = [str(layer[1]["name"]).removeprefix(f"{file}: ") for layer in layers]
    ticks = _Ticks(names, [describe(layer) for layer in layers])
    buttons = QDialogButtonBox(
        QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
    )
    every = buttons.addButton("All or none", QDialogButtonBox.ButtonRole.ActionRole)
    every.setObjectName("all")
    every.clicked.connect(ticks.tick_all)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    holder = f"{file} holds" if file else "There are"
    layout.addWidget(QLabel(f"{holder} {len(layers)} images. Which ones shall be opened?"))
    for widget in (ticks.search, ticks.tree, buttons):
        layout.addWidget(widget)
    dialog.resize(640, 420)
    if dialog.exec() != QDialog.DialogCode.Accepted:
        return []
    return [layer for layer, on in zip(layers, ticks.ticked(), strict=True) if on]


class _Ticks:
    """A list of names to tick, and a field that shows only some of them."""

    def __init__(self, names: Sequence[str], sizes: Sequence[str]) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QAbstractItemView, QLineEdit, QTreeWidget, QTreeWidgetItem

        self._on, self._off = Qt.CheckState.Checked, Qt.CheckState.Unchecked
        self.tree = QTreeWidget()
        self.tree.setObjectName("images")
        self.tree.setHeaderLabels(["image", "size"])
        self.tree.setRootIsDecorated(False)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._items = [QTreeWidgetItem([n, s]) for n, s in zip(names, sizes, strict=True)]
        for k, item in enumerate(self._items):
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(0, self._on if k == 0 else self._off)
        self.tree.addTopLevelItems(self._items)
        self.tree.resizeColumnToContents(0)
        self.search = QLineEdit()
        self.search.setObjectName("search")
        self.search.setPlaceholderText("part of a name")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)

    def ticked(self) -> list[bool]:
        """Whether each is ticked."""
        return [item.checkState(0) == self._on for item in self._items]

    def _filter(self, text: str) -> None:
        for item in self._items:
            item.setHidden(text.lower() not in item.text(0).lower())

    def tick_all(self) -> None:
        """Tick all that are shown, or none where all of them are."""
        shown = [i for i in self._items if not i.isHidden()]
        every = all(i.checkState(0) == self._on for i in shown)
        for item in shown:
            item.setCheckState(0, self._off if every else self._on)
