"""A legend of the classes: a ring in the colour of the class, its name and how many there are."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget


def ring(colour: str, size: int = 14) -> QPixmap:
    """Picture of a ring, as the atoms are drawn."""
    picture = QPixmap(size, size)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(colour), 2.2))
    painter.drawEllipse(2, 2, size - 4, size - 4)
    painter.end()
    return picture


class Legend(QWidget):
    """Rows of ring, name and count; hidden while there is nothing to tell apart."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("legend")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._caption = QLabel()
        self._grid.addWidget(self._caption, 0, 0, 1, 3)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []
        self.hide()

    def show_counts(
        self, counts: Mapping[str, int], colours: Mapping[str, str], caption: str = ""
    ) -> None:
        """Show how many atoms of each class there are.

        Parameters
        ----------
        counts : mapping of str to int
            Atoms by class; "" are those of no class.
        colours : mapping of str to str
            Colour by class.
        caption : str
            What is counted, where that is not plain.
        """
        self._caption.setText(caption)
        self._caption.setVisible(bool(caption))
        while len(self._rows) < len(counts):
            row = (QLabel(), QLabel(), QLabel())
            row[2].setAlignment(Qt.AlignmentFlag.AlignRight)
            for column, label in enumerate(row):
                self._grid.addWidget(label, len(self._rows) + 1, column)
            self._rows.append(row)
        for row, (name, n) in zip(self._rows, counts.items(), strict=False):
            row[0].setPixmap(ring(colours.get(name, colours[""])))
            row[1].setText(name or "no class")
            row[2].setText(f"{n:,}")
        for k, row in enumerate(self._rows):
            for label in row:
                label.setVisible(k < len(counts))
        self.setVisible(bool(counts))

    def text(self) -> str:
        """Return what the legend says, row by row."""
        return "\n".join(
            f"{name.text()} {n.text()}" for _, name, n in self._rows if not name.isHidden()
        )
