"""Adapt the model: learn from corrected frames, look at before and after, keep or discard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from magicgui.widgets import LineEdit
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_atomlens import training
from napari_atomlens.errors import AtomLensError
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.jobs import Job, Stop, report_crash
from napari_atomlens.widgets.base.layout import button, sentence
from napari_atomlens.widgets.base.models import model_names
from napari_atomlens.widgets.correct.desk import Desk
from napari_atomlens.widgets.correct.learning import FOURIER, SEEN, THIS, Preview, read_lesson
from napari_atomlens.widgets.correct.loss_plot import LossPlot
from napari_atomlens.widgets.layers.previews import AFTER, BEFORE, remove_previews, show_previews

if TYPE_CHECKING:
    Learned = training.Step | training.Adapted | Preview


class AdaptPanel(QWidget):
    """Teaches a model what the user has corrected.

    Parameters
    ----------
    desk : Desk
        The atoms and the image to learn from.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.result: training.Adapted | None = None
        self._losses: list[float] = []
        self._ending = self._asked = ""
        self._enough = threading.Event()
        self._job = Job(self)
        self._create_fields()
        self._keep = button("keep", "Keep", "", self._on_keep)
        self._discard = button("discard", "Discard", "", self._on_discard)
        self._button = button("adapt", "Adapt model", "", self._on_clicked)
        self._bar, self._status = QProgressBar(), sentence("adapt_status")
        self._bar.setObjectName("adapt_progress")
        self._bar.hide()
        self._plot: LossPlot | None = None
        choice = QHBoxLayout()
        choice.addWidget(self._keep)
        choice.addWidget(self._discard)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        form = rows(self._from, self._start, self._name, self._minutes)
        for widget in (form.native, self._button, self._bar, self._status):
            self._column.addWidget(widget)
        self._column.addLayout(choice)
        self._show_choice(False)
        self._name.changed.connect(lambda: self._show_choice(self.result is not None))
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def _create_fields(self) -> None:
        self._from = fields.choice(
            "learn_from", "Learn from", [THIS, SEEN, FOURIER],
            tip="Frames whose atoms are right, all of them; or, without any correction, the "
            "labels of the Fourier-subtraction recipe",
        )  # fmt: skip
        self._start = fields.choice(
            "start", "Start from", ["auto"], tip="The model to start from; it stays as it is"
        )
        fields.offer_anew(self._start, model_names)
        self._name = LineEdit(
            name="model_name", label="Name", value="adapted", tooltip="Name of the new model"
        )
        fields.groomed(self._name)
        self._minutes = fields.number(
            "minutes", "Time", 0.1, 120, value=5, decimals=1, step=1, unit="min",
            tip="Time at most",
        )  # fmt: skip

    def cleanup(self) -> None:
        """Stop the worker; a model that was not kept goes."""
        self._job.close()
        self._drop()

    # --------------------------------------------------------------------- the run

    def _on_clicked(self) -> None:
        if self._job.is_running:
            self._enough.set()  # not a cancel: what it has learned so far is judged
            self._button.setText("Judging…")
            self._button.setEnabled(False)
            return
        try:
            self.run()
        except AtomLensError as error:
            self._status.setText(str(error))

    def run(self) -> None:
        """Start to learn.

        Raises
        ------
        TableError
            If there is nothing to learn from.
        """
        lesson = read_lesson(self._desk, str(self._from.value))
        params = training.AdaptParams(
            name=str(self._name.value), minutes=float(self._minutes.value),
            start=str(self._start.value), steps=100_000,
        )  # fmt: skip
        self._drop()
        self._losses = []
        enough = self._enough = threading.Event()

        def make(stop: Stop) -> Iterator[Learned]:
            until = Progress(stop=lambda: enough.is_set() or stop())
            return lesson.learn(params, until, Progress(stop=stop))

        self._ending = ""
        self._bar.setRange(0, 0)
        self._bar.show()
        self._button.setText("Stop and judge")
        self._status.setText("Preparing…")
        self._job.start(make)

    def _on_results(self, results: list[Learned]) -> None:
        for what in results:
            if isinstance(what, Preview):
                self._show_preview(what)
            elif isinstance(what, training.Adapted):
                self.result, self._ending = what, what.sentence
            else:
                self._losses.append(what.loss)
        if self._losses and self.result is None:
            if self._plot is None:
                self._plot = LossPlot()
                self._column.insertWidget(3, self._plot)
            self._plot.show_losses(self._losses)
            self._status.setText(f"Step {len(self._losses)}, loss {self._losses[-1]:.3f}")

    def _show_preview(self, seen: Preview) -> None:
        """Show what both models find in a frame that nobody corrected."""
        editor = self._desk.editor
        if editor is not None:
            found = {BEFORE: seen.before, AFTER: seen.after}
            show_previews(self._desk.viewer, editor.layer, seen.frame, found)
            self._desk.show_frame(seen.frame)

    def _on_failed(self, what: str) -> None:
        self._ending = what

    def _on_crashed(self, error: Exception) -> None:
        self._ending = report_crash(error)

    def _on_finished(self) -> None:
        self._bar.hide()
        self._button.setText("Adapt model")
        self._button.setEnabled(True)
        self._status.setText(self._ending)
        self._show_choice(self.result is not None)

    # ---------------------------------------------------------------- keep or discard

    def _show_choice(self, on: bool) -> None:
        self._asked = ""
        self._keep.setVisible(on)
        self._discard.setVisible(on)
        if on and self.result is not None:
            # never worse by surprise: what is not better must be asked for
            self._keep.setText("Keep" if self.result.is_better else "Keep all the same")
            self._discard.setDefault(not self.result.is_better)

    def _on_keep(self) -> None:
        if self.result is None:
            return
        name = str(self._name.value)
        if training.is_kept(name) and self._asked != name:
            self._asked = name
            self._keep.setText("Replace")
            self._status.setText(
                f"There is a model {name} already. Give the new one another name, or press Replace."
            )
            return
        try:
            info = training.keep(self.result, name, replace=self._asked == name)
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        self.result = None
        self._show_choice(False)
        remove_previews(self._desk.viewer)
        self._status.setText(f"Saved. Choose the model {info.name} in Find atoms.")

    def _on_discard(self) -> None:
        self._drop()
        self._show_choice(False)
        self._status.setText("Discarded; the old model stays.")

    def _drop(self) -> None:
        if self.result is not None:
            training.discard(self.result)
            self.result = None
        remove_previews(self._desk.viewer)
