"""The list of places where a new run of the model and the user's edits do not agree."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_atomlens.widgets.correct.desk import Desk

#: More are not listed.
MOST = 500


class ConflictList(QListWidget):
    """Conflicts, each a click away; hidden while there are none.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.setObjectName("conflicts")
        self.setToolTip("Where a new run of the model and your edits do not agree")
        self.setMaximumHeight(110)
        self.setWordWrap(True)
        self.hide()
        self.itemClicked.connect(self._on_clicked)

    def show_conflicts(self) -> None:
        """List the conflicts of the atoms."""
        editor = self._desk.editor
        found = [] if editor is None else editor.corrections.conflicts
        self.setVisible(bool(found))
        self.clear()
        for c in found[:MOST]:
            item = QListWidgetItem(f"Frame {c.frame}: {c.sentence}")
            item.setData(Qt.ItemDataRole.UserRole, (c.frame, c.y_px, c.x_px))
            self.addItem(item)

    def _on_clicked(self, item: QListWidgetItem) -> None:
        frame, y, x = item.data(Qt.ItemDataRole.UserRole)
        self._desk.centre(int(frame), y, x)
