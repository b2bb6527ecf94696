"""The library browser: a gallery of the defects in a library file, with search and export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QFileDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens.errors import AtomLensError
from napari_atomlens.graphs.library import DefectLibrary, Entry
from napari_atomlens.io.export import graphs
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base.layout import button, line, sentence
from napari_atomlens.widgets.base.task import Task

#: So many pictures are shown at once; a search finds the others.
MOST_SHOWN = 200
THUMBNAIL = 72


def thumbnail(entry: Entry) -> QIcon:
    """Picture of a defect; one without a patch is grey."""
    patch = entry.patch
    if patch is None or not np.isfinite(patch).any():
        blank = QPixmap(THUMBNAIL, THUMBNAIL)
        blank.fill(Qt.GlobalColor.darkGray)
        return QIcon(blank)
    low, high = np.nanpercentile(patch, [1, 99.7])
    scaled = np.clip((patch - low) / max(float(high - low), 1e-12), 0, 1)
    grey = np.ascontiguousarray(np.nan_to_num(255 * scaled).astype(np.uint8))
    image = QImage(grey.data, grey.shape[1], grey.shape[0], grey.shape[1],
                   QImage.Format.Format_Grayscale8).copy()  # fmt: skip
    return QIcon(QPixmap.fromImage(image).scaled(THUMBNAIL, THUMBNAIL))


class LibraryBrowser(QWidget):
    """Opens a library, shows its defects as pictures, searches and exports.

    Attributes
    ----------
    path : pathlib.Path or None
        The library that is open.
    wanted : Signal(object)
        A :class:`~napari_atomlens.widgets.base.task.Task` that takes long.
    """

    wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path: Path | None = None
        self._open = button("open_library", "Open or make a library…", "", self._on_open)
        self._search, self._notes = QLineEdit(), QLineEdit()
        self._search.setObjectName("search")
        self._search.setPlaceholderText("formula, such as Si3C6 or Si1*, or words of the notes")
        self._notes.setObjectName("notes")
        self._notes.setPlaceholderText("notes of the selected defect")
        self._list = QListWidget()
        self._list.setObjectName("gallery")
        self._list.setViewMode(QListWidget.ViewMode.IconMode)
        self._list.setResizeMode(QListWidget.ResizeMode.Adjust)
        self._list.setMovement(QListWidget.Movement.Static)
        self._list.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self._list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self._list.setMinimumHeight(180)
        self._status = sentence("library_status")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._open)
        layout.addWidget(self._search)
        layout.addWidget(self._list)
        layout.addWidget(
            button("similar", "Show similar ones", "The defects most like the selected one",
                   self._on_similar)
        )  # fmt: skip
        layout.addLayout(
            line(
                button("import", "Import…", "Files of the published HDF5 library",
                       self._on_import),
                button("export", "Export…",
                       "Selected defects as extended XYZ, CIF, GraphML or CSV", self._on_export),
            )
        )  # fmt: skip
        layout.addWidget(self._notes)
        layout.addWidget(self._status)
        self._search.textChanged.connect(self.refresh)
        self._notes.editingFinished.connect(self._on_notes)
        self._list.itemSelectionChanged.connect(self._on_selected)

    def open(self, path: str | Path) -> None:
        """Open the library at `path`; it is made where there is none."""
        try:
            with DefectLibrary(path):
                pass
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        self.path = Path(path)
        self._open.setText(f"Library: {self.path.name}")
        self._open.setToolTip(str(self.path))
        self.refresh()

    def add(self, entries: list[Entry]) -> int:
        """Add entries to the open library; 0 and a sentence where that fails."""
        if self.path is None:
            self._status.setText("Open a library first.")
            return 0
        try:
            with DefectLibrary(self.path) as library:
                n = len(library.add(entries))
        except AtomLensError as error:
            self._status.setText(str(error))
            return 0
        self.refresh()
        return n

    def refresh(self, *_: object) -> None:
        """Show what the search finds, newest first."""
        if self.path is None:
            return
        text = self._search.text().strip()
        try:
            with DefectLibrary(self.path) as library:
                found = library.table(formula=text, limit=MOST_SHOWN)
                if text and not len(found):
                    found = library.table(formula=f"{text}*", limit=MOST_SHOWN)
                if text and not len(found):
                    found = library.table(text=text, limit=MOST_SHOWN)
                self._show(library, found, len(library))
        except AtomLensError as error:
            self._status.setText(str(error))

    def _show(self, library: DefectLibrary, found: pd.DataFrame, in_all: int) -> None:
        self._list.clear()
        for number in found["id"].tolist():
            entry = library.get(int(number))
            item = QListWidgetItem(thumbnail(entry), entry.formula)
            item.setData(Qt.ItemDataRole.UserRole, int(number))
            item.setToolTip(f"{entry.kind}\n{entry.source}\n{entry.created}\n{entry.notes}".strip())
            self._list.addItem(item)
        self._status.setText(f"{len(found)} of {in_all} defects")

    def selected(self) -> list[int]:
        """Ids of the selected defects."""
        return [int(i.data(Qt.ItemDataRole.UserRole)) for i in self._list.selectedItems()]

    def _on_open(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Open or make a library", "defects.aldl",
            "Defect library (*.aldl);;All files (*)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )  # fmt: skip
        if name:
            self.open(name)

    def _on_selected(self) -> None:
        ids = self.selected()
        self._notes.setEnabled(len(ids) == 1)
        if self.path is None or len(ids) != 1:
            self._notes.clear()
            return
        with DefectLibrary(self.path) as library:
            self._notes.setText(library.get(ids[0]).notes)

    def _on_notes(self) -> None:
        ids = self.selected()
        if self.path is None or len(ids) != 1:
            return
        try:
            with DefectLibrary(self.path) as library:
                library.annotate(ids[0], notes=self._notes.text())
        except AtomLensError as error:
            self._status.setText(str(error))

    def _on_similar(self) -> None:
        ids = self.selected()
        if self.path is None or len(ids) != 1:
            self._status.setText("Select one defect first.")
            return
        with DefectLibrary(self.path) as library:
            found = library.similar(library.get(ids[0]), 24)
            self._show(library, found, len(library))

    def _on_export(self) -> None:
        ids = self.selected()
        if self.path is None or not ids:
            self._status.setText("Select the defects to export first.")
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Export defects", "defects.extxyz",
            "Extended XYZ (*.extxyz);;CIF (*.cif);;GraphML (*.graphml);;CSV (*.csv)",
        )  # fmt: skip
        if not name:
            return
        try:
            with DefectLibrary(self.path) as library:
                written = graphs.save([library.get(i) for i in ids], name)
            self._status.setText(f"{len(ids)} defects written to {written[0].name}.")
        except (AtomLensError, OSError) as error:
            self._status.setText(str(error))

    def _on_import(self) -> None:
        if self.path is None:
            self._status.setText("Open a library first.")
            return
        names, _ = QFileDialog.getOpenFileNames(
            self, "Import files of the published library", "", "HDF5 (*.hdf5 *.h5)"
        )
        if not names:
            return
        path, found = self.path, list[int]()

        def work(progress: Progress) -> Iterator[int]:
            with DefectLibrary(path) as library:
                yield library.import_published(names)

        def done() -> str:
            self.refresh()
            return f"{sum(found):,} defects imported."

        self.wanted.emit(Task(work, found.extend, done, "Importing…"))
