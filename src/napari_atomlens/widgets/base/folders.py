"""Folders that jobs write into: chosen by the user, and each by one job at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QWidget

from napari_atomlens.errors import ParameterError
from napari_atomlens.widgets.base.layout import button

#: Folders into which a thread of this process still writes, its dock closed or not.
_AT_WORK: set[Path] = set()


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Say that something is being written into a folder, until this ends."""
    folder = folder.expanduser().absolute()
    _AT_WORK.add(folder)
    try:
        yield
    finally:
        _AT_WORK.discard(folder)


def check_free(folder: Path) -> None:
    """See whether the last job in a folder has ended; one that was cancelled ends by itself.

    Raises
    ------
    ParameterError
        If it has not.
    """
    if folder.expanduser().absolute() in _AT_WORK:
        raise ParameterError(
            f"What was begun in {folder.name} is being finished; try again in a moment."
        )


class FolderField(QWidget):
    """A field for the path of a folder, with a button that lets one choose it.

    Parameters
    ----------
    name : str
        Of the field; the button is ``choose_NAME``.
    title : str
        Of the dialogue.
    placeholder, tip : str
    """

    changed = Signal(str)

    def __init__(self, name: str, title: str, placeholder: str = "", tip: str = "") -> None:
        super().__init__()
        self._title = title
        self.line = QLineEdit()
        self.line.setObjectName(name)
        self.line.setPlaceholderText(placeholder)
        self.line.setToolTip(tip)
        self.line.textChanged.connect(self.changed)
        choose = button(f"choose_{name}", "…", title, self._on_choose)
        choose.setMaximumWidth(36)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(choose)

    @property
    def text(self) -> str:
        """What the field says."""
        return str(self.line.text().strip())

    def _on_choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._title, self.text)
        if chosen:
            self.line.setText(chosen)
