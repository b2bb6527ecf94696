"""Looking through the atoms: how many are doubtful, the next one, which frames were seen."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.doubt import CERTAIN, next_doubtful
from napari_atomlens.session.review import atom_text, doubtful_text, n_seen
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.layout import sentence
from napari_atomlens.widgets.correct.desk import Desk


class Review(QWidget):
    """Goes from doubtful atom to doubtful atom, and marks the frames that were seen.

    Parameters
    ----------
    desk : Desk
    say : callable
        Called with a sentence.

    Attributes
    ----------
    looked_at : int or None
        Id of the doubtful atom that is looked at.
    """

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        super().__init__()
        self._desk, self._say = desk, say
        self.looked_at: int | None = None
        self._certain = fields.number(
            "certain", "Doubtful below", 0, 1, value=CERTAIN, step=0.05,
            tip="Atoms below this probability are doubtful",
        )  # fmt: skip
        self._doubtful = sentence("doubtful")
        self._seen = QCheckBox("Frame seen")
        self._seen.setObjectName("seen")
        self._bar = QProgressBar()
        self._bar.setObjectName("seen_progress")
        self._bar.setFormat("%v of %m frames seen")
        marks = QHBoxLayout()
        marks.addWidget(self._seen)
        marks.addWidget(self._bar, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(rows(self._certain).native)
        column.addWidget(self._doubtful)
        column.addLayout(marks)
        self._certain.changed.connect(self._show_doubtful)
        self._seen.clicked.connect(self.mark_seen)

    # ------------------------------------------------------------------ what is shown

    def show_counts(self) -> None:
        """Count the doubtful atoms and the frames that were seen."""
        self._show_doubtful()
        desk, editor = self._desk, self._desk.editor
        n = desk.n_frames
        self._seen.setEnabled(editor is not None)
        self._seen.setChecked(editor is not None and desk.frame in editor.corrections.seen())
        self._bar.setVisible(desk.is_movie)
        self._bar.setMaximum(n)
        self._bar.setValue(0 if editor is None else n_seen(editor.corrections, n))

    def _show_doubtful(self, value: float = 0.0) -> None:
        desk, editor = self._desk, self._desk.editor
        text = ""
        if editor is not None:
            text = doubtful_text(
                editor.corrections, desk.frame, float(self._certain.value),
                len(editor.layer.data), desk.is_movie,
            )  # fmt: skip
        self._doubtful.setText(text)

    # ----------------------------------------------------------------- looking about

    def next(self) -> None:
        """Go to the next doubtful atom."""
        editor = self._desk.editor
        if editor is None:
            return
        self.looked_at = next_doubtful(
            editor.corrections.atoms(), self._desk.frame, self.looked_at, float(self._certain.value)
        )
        if self.looked_at is None:
            self._say("No atom is doubtful.")
        else:
            self.look_at(self.looked_at)

    def look_at(self, atom_id: int) -> None:
        """Select an atom and bring it to the middle of the window."""
        editor = self._desk.editor
        if editor is None:
            return
        c = editor.corrections
        row = c.rows([atom_id])[0]
        frame, y, x = (float(c.value(row, n)) for n in ("frame", "y_px", "x_px"))
        self._desk.centre(int(frame), y, x, near=True)
        editor.select([atom_id])
        self._say(atom_text(c, atom_id))

    def mark_seen(self, on: bool) -> None:
        """Mark the frame that is shown as seen, or not."""
        editor, frame = self._desk.editor, self._desk.frame
        if editor is not None and (frame in editor.corrections.seen()) != on:
            editor.perform(actions.mark_seen, frame, on)

    def step(self) -> None:
        """Go to the next frame."""
        if self._desk.frame + 1 < self._desk.n_frames:
            self._desk.show_frame(self._desk.frame + 1)
