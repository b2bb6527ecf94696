"""Tables and pictures of rows in Qt: a model that sorts a hundred thousand, and a gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QItemSelection, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QTableView, QWidget

if TYPE_CHECKING:
    from qtpy.QtCore import QModelIndex, QObject, QPersistentModelIndex

    Index = QModelIndex | QPersistentModelIndex


class FrameModel(QAbstractTableModel):
    """A pandas table, shown in an order of its own."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._table = pd.DataFrame()
        self.order = np.zeros(0, np.int64)

    def set_table(self, table: pd.DataFrame) -> None:
        """Show another table, in its own order."""
        self.beginResetModel()
        self._table = table
        self.order = np.arange(len(table))
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        """Return the number of rows."""
        return len(self.order)

    def columnCount(self, parent: Index | None = None) -> int:
        """Return the number of columns."""
        return len(self._table.columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> str | int | None:
        """Text of a cell, numbers to five digits."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self._table.iat[int(self.order[index.row()]), index.column()]
        if isinstance(value, (float, np.floating)):
            return "" if np.isnan(value) else f"{value:.5g}"
        return str(value)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        """Name of a column or number of a row."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Horizontal:
            return str(self._table.columns[section])
        return str(int(self.order[section]))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; empty values come last either way."""
        if not 0 <= column < self.columnCount():
            return
        ascending = order == Qt.SortOrder.AscendingOrder
        self.layoutAboutToBeChanged.emit()
        rank = self._table.iloc[:, column].reset_index(drop=True)
        if isinstance(rank.dtype, pd.CategoricalDtype):
            rank = rank.astype(str)
        self.order = rank.sort_values(
            ascending=ascending, kind="stable", na_position="last"
        ).index.to_numpy()
        self.layoutChanged.emit()


class RowTable(QTableView):
    """A table whose rows can be chosen from outside and in.

    Attributes
    ----------
    picked : Signal(object)
        Rows (ndarray of int) that the user selected.
    visited : Signal(int)
        A row was double-clicked.
    """

    picked = Signal(object)
    visited = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("table")
        self.frame_model = FrameModel(self)
        self.setModel(self.frame_model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSortingEnabled(True)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.verticalHeader().setDefaultSectionSize(20)
        self._busy = False
        self.selectionModel().selectionChanged.connect(self._on_selection)
        self.doubleClicked.connect(self._on_double_click)

    def _on_double_click(self, index: QModelIndex) -> None:
        self.visited.emit(int(self.frame_model.order[index.row()]))

    def show_table(self, table: pd.DataFrame) -> None:
        """Show a table."""
        self._busy = True
        self.frame_model.set_table(table)
        self._busy = False

    def mark_selected(self, rows: np.ndarray) -> None:
        """Select rows (at most a few thousand are drawn) and bring the first into sight."""
        self._busy = True
        places = np.flatnonzero(np.isin(self.frame_model.order, rows))
        selection = QItemSelection()
        last = max(self.frame_model.columnCount() - 1, 0)
        for start, end in _runs(places[:5000]):
            selection.select(self.frame_model.index(start, 0), self.frame_model.index(end, last))
        model = self.selectionModel()
        model.select(selection, model.SelectionFlag.ClearAndSelect)
        if len(places):
            self.scrollTo(self.frame_model.index(int(places[0]), 0))
        self._busy = False

    def selected_rows(self) -> np.ndarray:
        """Rows that are selected."""
        places = [i.row() for i in self.selectionModel().selectedRows()]
        return np.sort(self.frame_model.order[np.asarray(places, np.int64)])

    def _on_selection(self, *_: QItemSelection) -> None:
        if not self._busy:
            self.picked.emit(self.selected_rows())


def _runs(places: np.ndarray) -> list[tuple[int, int]]:
    if not len(places):
        return []
    cuts = np.flatnonzero(np.diff(places) > 1)
    return list(
        zip(
            places[np.r_[0, cuts + 1]].tolist(),
            places[np.r_[cuts, len(places) - 1]].tolist(),
            strict=True,
        )
    )


def picture(values: np.ndarray, low: float, high: float, side: int) -> QPixmap:
    """Picture of a patch in grey."""
    grey = np.clip((values - low) / max(high - low, 1e-300) * 255, 0, 255)
    grey = np.ascontiguousarray(np.nan_to_num(grey), np.uint8)
    h, w = grey.shape
    image = QImage(grey.data, w, h, w, QImage.Format.Format_Grayscale8).copy()
    return QPixmap.fromImage(image).scaled(
        side, side, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


class Gallery(QListWidget):
    """Patches with a line of text each.

    Attributes
    ----------
    picked : Signal(object)
        Keys (ndarray of int) of the patches that the user selected.
    visited : Signal(int)
        Key of a patch that was double-clicked.
    """

    picked = Signal(object)
    visited = Signal(int)

    def __init__(self, name: str, side: int = 64, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._side = side
        self._busy = False
        self.setViewMode(QListWidget.ViewMode.IconMode)
        self.setIconSize(QSize(side, side))
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setMovement(QListWidget.Movement.Static)
        self.setSpacing(4)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.itemSelectionChanged.connect(self._on_selection)
        self.itemDoubleClicked.connect(self._on_double_click)

    def show_patches(
        self,
        patches: np.ndarray,
        keys: np.ndarray,
        texts: list[str],
        colours: list[str] | None = None,
    ) -> None:
        """Show patches (n, s, s), all on one scale of grey."""
        self._busy = True
        self.clear()
        good = patches[np.isfinite(patches)]
        low, high = np.percentile(good, [0.5, 99.5]) if len(good) else (0.0, 1.0)
        for k, (patch, key, text) in enumerate(zip(patches, keys, texts, strict=True)):
            item = QListWidgetItem(QIcon(picture(patch, low, high, self._side)), text)
            item.setData(Qt.ItemDataRole.UserRole, int(key))
            if colours is not None:
                from qtpy.QtGui import QColor

                item.setForeground(QColor(colours[k]))
            self.addItem(item)
        self._busy = False

    def keys(self) -> np.ndarray:
        """Keys of the selected patches."""
        chosen = [i.data(Qt.ItemDataRole.UserRole) for i in self.selectedItems()]
        return np.asarray(chosen, np.int64)

    def _on_selection(self) -> None:
        if not self._busy:
            self.picked.emit(self.keys())

    def _on_double_click(self, item: QListWidgetItem) -> None:
        self.visited.emit(int(item.data(Qt.ItemDataRole.UserRole)))
