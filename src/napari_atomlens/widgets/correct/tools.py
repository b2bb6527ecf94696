"""The buttons of Correct: the mode, undo and redo, and what is done to selected atoms."""

from __future__ import annotations

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_atomlens.session.edits.journal import Journal
from napari_atomlens.widgets.base import keys
from napari_atomlens.widgets.base.layout import button

#: Buttons from left to right, top to bottom; "seen" is a box to tick elsewhere.
SHOWN = ("undo", "redo", "delete", "accept", "reject", "merge", "split", "next")


class Tools(QWidget):
    """The buttons, two in a row.

    Attributes
    ----------
    mode : QPushButton
        Switches the mouse and the keys of Correct on.
    """

    #: The name of a command whose button was pressed.
    pressed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self.mode = button(
            "mode", "Correct",
            "Click to add an atom, click on one to select it (Shift for several), drag to move; "
            "the keys below work while this is on",
        )  # fmt: skip
        self.mode.setCheckable(True)
        grid.addWidget(self.mode, 0, 0, 1, 2)
        known = {s.command: s for s in keys.CORRECT}
        self._buttons: dict[str, QPushButton] = {}
        for k, name in enumerate(SHOWN):
            text = "Next doubtful" if name == "next" else name.capitalize()
            tip = f"{known[name].text} ({' or '.join(known[name].keys)})"
            made = self._buttons[name] = button(name, text, tip, self._on_pressed)
            grid.addWidget(made, 1 + k // 2, k % 2)

    def _on_pressed(self) -> None:
        self.pressed.emit(self.sender().objectName())

    def show_history(self, journal: Journal | None) -> None:
        """Enable what can be done; nothing where there are no atoms."""
        for one in (self.mode, *self._buttons.values()):
            one.setEnabled(journal is not None)
        if journal is not None:
            self._buttons["undo"].setEnabled(bool(journal.done))
            self._buttons["redo"].setEnabled(bool(journal.undone))
