"""A dock widget that cleans up after itself however it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent


class DockWidget(QWidget):
    """A widget of a dock; :meth:`cleanup` is called when it is closed or taken out of it.

    What derives from it says in :meth:`cleanup` what to stop and to disconnect; it may be
    called more than once.
    """

    _docked = False

    def cleanup(self) -> None:
        """Stop the work and disconnect from the viewer."""
        raise NotImplementedError

    def closeEvent(self, event: QCloseEvent) -> None:
        """Clean up when the widget is closed."""
        self.cleanup()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Clean up when napari takes the widget out of its dock: it never closes it."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                QTimer.singleShot(0, self._on_undocked)

    def _on_undocked(self) -> None:
        if self.parent() is None:
            self.cleanup()
