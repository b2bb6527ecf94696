"""The list of events of the Movie dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtCore import QAbstractTableModel, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    from qtpy.QtCore import QModelIndex, QObject, QPersistentModelIndex

    Index = QModelIndex | QPersistentModelIndex

#: So many rows say how wide the columns are: all of a long list would take seconds.
SIZED = 60


class EventModel(QAbstractTableModel):
    """Events as rows of text."""

    COLUMNS = (("frame", "Frame"), ("what", "What"), ("who", "Who"), ("size", "Size"),
               ("score", "σ"), ("together", "Together"))  # fmt: skip

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.events = pd.DataFrame({c: [] for c, _ in self.COLUMNS})
        self._cells: list[list[object]] = [[] for _ in self.COLUMNS]

    def set_events(self, events: pd.DataFrame) -> None:
        """Show other events."""
        self.beginResetModel()
        self.events = events.reset_index(drop=True)
        self._cells = [self.events[name].tolist() for name, _ in self.COLUMNS]
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        """Return the number of events."""
        return len(self.events)

    def columnCount(self, parent: Index | None = None) -> int:
        """Return the number of columns."""
        return len(self.COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> str | None:
        """Text of a cell."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self._cells[index.column()][index.row()]
        if isinstance(value, float):
            return "" if value != value else f"{value:.1f}"
        return str(value)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        """Names of the columns."""
        if role != Qt.ItemDataRole.DisplayRole or orientation != Qt.Orientation.Horizontal:
            return None
        return self.COLUMNS[section][1]


class EventList(QTableView):
    """The list of events.

    Attributes
    ----------
    chosen : Signal(int)
        Row that the user clicked on.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("events")
        self._model = EventModel(self)  # held: Qt does not
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        head = self.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setResizeContentsPrecision(SIZED)
        head.setStretchLastSection(True)
        self.clicked.connect(self._on_clicked)

    def _on_clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(index.row())

    @property
    def events(self) -> pd.DataFrame:
        """What is listed."""
        return self._model.events

    def show_events(self, events: pd.DataFrame) -> None:
        """List other events."""
        self._model.set_events(events)
