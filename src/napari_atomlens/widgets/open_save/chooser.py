"""Which images of a file to open: asked for files that hold many, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_atomlens.widgets.open_save import reader
from napari_atomlens.widgets.open_save.beside import beside, main_window

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
    images of a file that holds more than a few are offered by name.
    """
    found = reader.get_reader(path)
    return read_chosen if found is reader.read_layers else found


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
    return text


def ask(layers: list[LayerTuple], parent: Any = None, file: str = "") -> list[LayerTuple]:
    """Show the names of images; return those that were ticked, none where it was cancelled."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import (
        QAbstractItemView,
        QDialog,
        QDialogButtonBox,
        QLabel,
        QLineEdit,
        QTreeWidget,
        QTreeWidgetItem,
        QVBoxLayout,
    )

    dialog = QDialog(parent)
    dialog.setObjectName("choose_images")
    dialog.setWindowTitle("Images in this file")
    tree = QTreeWidget()
    tree.setObjectName("images")
    tree.setHeaderLabels(["image", "size"])
    tree.setRootIsDecorated(False)
    tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    for k, layer in enumerate(layers):
        title = str(layer[1]["name"]).removeprefix(f"{file}: ")
        item = QTreeWidgetItem([title, describe(layer)])
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(0, Qt.CheckState.Checked if k == 0 else Qt.CheckState.Unchecked)
        tree.addTopLevelItem(item)
    tree.resizeColumnToContents(0)
    search = QLineEdit()
    search.setObjectName("search")
    search.setPlaceholderText("part of a name")
    search.setClearButtonEnabled(True)

    def items() -> list[QTreeWidgetItem]:
        every = (tree.topLevelItem(k) for k in range(tree.topLevelItemCount()))
        return [item for item in every if item is not None]

    def filtered(text: str) -> None:
        for item in items():
            item.setHidden(text.lower() not in item.text(0).lower())

    def tick_all() -> None:
        shown = [i for i in items() if not i.isHidden()]
        every = all(i.checkState(0) == Qt.CheckState.Checked for i in shown)
        for item in shown:
            item.setCheckState(0, Qt.CheckState.Unchecked if every else Qt.CheckState.Checked)

    search.textChanged.connect(filtered)
    buttons = QDialogButtonBox(
        QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
    )
    every = buttons.addButton("All or none", QDialogButtonBox.ButtonRole.ActionRole)
    every.setObjectName("all")
    every.clicked.connect(tick_all)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    holder = f"{file} holds" if file else "There are"
    layout.addWidget(QLabel(f"{holder} {len(layers)} images. Which ones shall be opened?"))
    for widget in (search, tree, buttons):
        layout.addWidget(widget)
    dialog.resize(640, 420)
    if dialog.exec() != QDialog.DialogCode.Accepted:
        return []
    return [
        layer
        for layer, item in zip(layers, items(), strict=True)
        if item.checkState(0) == Qt.CheckState.Checked
    ]
