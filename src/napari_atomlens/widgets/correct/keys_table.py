"""The shortcuts of Correct as a table."""

from __future__ import annotations

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_atomlens.widgets.base import keys


def as_written(key: str) -> str:
    """Key as the system writes it, for example "Ctrl+Z"."""
    text = key.replace("Control", "Ctrl").replace("-", "+")
    return str(QKeySequence(text).toString(QKeySequence.SequenceFormat.NativeText))


class KeysTable(QWidget):
    """A line for each shortcut: the keys, and what they do.

    The lines are never wrapped: what wraps is cut in a box that folds out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("keys")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._lines: list[tuple[QLabel, QLabel]] = []
        for shortcut in keys.CORRECT:
            self._add(" ".join(as_written(k) for k in shortcut.keys), shortcut.text)
        for k in range(keys.N_SPECIES):  # as many lines as there may be: the box keeps its height
            self._add(str(k + 1), "")

    def _add(self, key: str, text: str) -> None:
        line = QLabel(f"<b>{key}</b>"), QLabel(text)
        for column, label in enumerate(line):
            self._grid.addWidget(label, len(self._lines), column)
        self._lines.append(line)

    def show_species(self, names: list[str]) -> None:
        """Say which number gives which species."""
        for k, line in enumerate(self._lines[len(keys.CORRECT) :]):
            line[1].setText(names[k] if k < len(names) else "")
            for label in line:
                label.setVisible(k < len(names))

    def text(self) -> str:
        """Return what the table says, line by line."""
        return "\n".join(f"{a.text()} {b.text()}" for a, b in self._lines if not a.isHidden())
