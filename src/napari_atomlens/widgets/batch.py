"""The Batch dock widget: every image of a folder, into one data set."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_atomlens.errors import AtomLensError
from napari_atomlens.progress import Progress
from napari_atomlens.runs import batch
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.base.old_forms import ParamForm, number_box

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QCloseEvent

#: Rows of the table of failures that are shown; all of them are in the folder.
MOST_ROWS = 500
#: The thread says so often how far it is.
TELL_S = 0.2
#: Frames that are done and known, and what there is to say; the summary at the end.
Told = tuple[int, int, str] | batch.BatchSummary


class BatchWidget(QWidget):
    """Analyses a folder of images and movies and writes one Parquet data set.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it; only its plugins menu needs it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A run has ended, in whatever way.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("batch")
        self._viewer = viewer
        self._closed = False
        self._ending = ""
        self._job = Job(self)
        self._create_fields()
        self._create_layout()
        self._source.textChanged.connect(self._on_source)
        self._choose_source.clicked.connect(self._on_choose_source)
        self._choose_out.clicked.connect(self._on_choose_out)
        self._button.clicked.connect(self._on_clicked)
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def _create_fields(self) -> None:
        self._source, self._out = QLineEdit(), QLineEdit()
        self._choose_source, self._choose_out = QPushButton("…"), QPushButton("…")
        for name, field, button in (
            ("source", self._source, self._choose_source),
            ("out", self._out, self._choose_out),
        ):
            field.setObjectName(name)
            button.setObjectName(f"choose_{name}")
            button.setMaximumWidth(36)
        self._source.setPlaceholderText("folder of images, or a file")
        self._source.setToolTip("Every image and movie in this folder that AtomLens can read")
        self._out.setPlaceholderText("folder of the results")
        self._out.setToolTip("A run that was begun in this folder goes on where it stopped")
        self._pixel_size = number_box(0, 100, decimals=5, step=0.001, unit="nm")
        self._pixel_size.setObjectName("pixel_size")
        self._pixel_size.setSpecialValueText("of the files")
        self._workers = number_box(0, 1024, decimals=0, step=1)
        self._workers.setObjectName("workers")
        self._workers.setSpecialValueText("all cores")
        self._workers.setToolTip("Frames that are analysed side by side")
        self._scheduler = QLineEdit()
        self._scheduler.setObjectName("scheduler")
        self._scheduler.setPlaceholderText("none: this computer")
        self._scheduler.setToolTip("Address of a dask scheduler, such as tcp://host:8786")
        self._form = ParamForm(BatchParams, special={"spacing_px": "auto"})
        self._button = QPushButton("Run")
        self._button.setObjectName("run")
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._failures = QTableWidget(0, 3)
        self._failures.setObjectName("failures")
        self._failures.setHorizontalHeaderLabels(["file", "frame", "why"])
        self._failures.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._failures.verticalHeader().hide()
        self._failures.horizontalHeader().setStretchLastSection(True)
        self._failures.hide()

    def _create_layout(self) -> None:
        form = _form()
        for label, field, button in (
            ("Images", self._source, self._choose_source),
            ("Results", self._out, self._choose_out),
        ):
            row = QHBoxLayout()
            row.addWidget(field, 1)
            row.addWidget(button)
            form.addRow(label, row)
        form.addRow("Pixel size", self._pixel_size)
        form.addRow("Workers", self._workers)
        more = QCollapsible("How to analyse")
        more.setObjectName("more")
        inner = QWidget()
        fields = _form(inner)
        for name in self._form.fields:
            self._form.add_row(fields, name)
        fields.addRow("Scheduler", self._scheduler)
        more.setContent(inner)
        more.collapse(animate=False)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addLayout(form)
        for widget in (more, self._button, self._bar, self._status, self._failures):
            layout.addWidget(widget)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        inside.setMinimumWidth(300)
        self.setMinimumWidth(300 + area.verticalScrollBar().sizeHint().width() + 4)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    # ------------------------------------------------------------------- the run

    @property
    def is_running(self) -> bool:
        """Whether a run is going on."""
        return self._job.is_running

    def run(self) -> None:
        """Start, or say what is missing."""
        source, out = self._source.text().strip(), self._out.text().strip()
        if not source or not out:
            self._status.setText("Choose a folder of images and a folder for the results.")
            return
        try:
            params = self._form.value()
            batch.find_inputs([source])
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        size = self._pixel_size.value() or None
        workers = int(self._workers.value()) or None
        scheduler = self._scheduler.text().strip() or None
        self._ending = ""
        self._failures.hide()
        self._bar.setRange(0, 0)
        self._bar.show()
        self._button.setText("Cancel")
        self._status.setText("Opening the first files…")

        def make(stop: Stop) -> Iterator[Told]:
            return _steps(
                lambda **more: batch.run_batch(
                    [source], out, params, pixel_size_nm=size, workers=workers,
                    scheduler=scheduler, **more,
                ),
                stop,
            )  # fmt: skip

        self._job.start(make)

    def cleanup(self) -> None:
        """Stop the run after the parts in work; what is finished is kept."""
        if self._closed:
            return
        self._closed = True
        was_running = self._job.is_running
        self._job.close()
        if was_running:
            self.finished.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop with the window."""
        self.cleanup()
        super().closeEvent(event)

    def _on_clicked(self) -> None:
        if self._job.is_running:
            self._job.cancel()
            self._button.setEnabled(False)
            self._status.setText("Cancelling; the parts in work are finished first…")
        else:
            self.run()

    def _on_results(self, results: list[Told]) -> None:
        for what in results:
            if isinstance(what, batch.BatchSummary):
                self._show_summary(what)
            else:
                done, known, failed = what
                self._bar.setRange(0, max(known, 1))
                self._bar.setValue(done)
                bad = f", {failed}" if failed else ""
                self._status.setText(f"{done} of {known} frames{bad}")

    def _show_summary(self, found: batch.BatchSummary) -> None:
        how = "Done" if found.complete else "Cancelled; run it again to go on"
        self._ending = (
            f"{how}: {found.n_atoms} atoms in {found.n_frames} frames of {found.n_files} files, "
            f"{found.n_new_frames} frames in {found.seconds:.0f} s. pandas, polars and DuckDB "
            f"open {found.folder / 'atoms'} as one table."
        )
        shown = found.failures.head(MOST_ROWS)
        self._failures.setRowCount(len(shown))
        for r, (file, frame, reason) in enumerate(
            zip(shown["file"], shown["frame"], shown["reason"], strict=True)
        ):
            for c, text in enumerate((file, "all" if frame < 0 else frame, reason)):
                item = QTableWidgetItem(str(text))
                item.setToolTip(str(text))
                self._failures.setItem(r, c, item)
        for c, width in enumerate((110, 50)):
            self._failures.setColumnWidth(c, width)
        self._failures.resizeRowsToContents()
        self._failures.setVisible(len(shown) > 0)

    def _on_failed(self, sentence: str) -> None:
        self._ending = sentence

    def _on_crashed(self, error: Exception) -> None:
        self._ending = f"The batch ended with an error: {type(error).__name__}: {error}"

    def _on_finished(self) -> None:
        self._bar.hide()
        self._button.setText("Run")
        self._button.setEnabled(True)
        self._status.setText(self._ending or "Cancelled; run it again to go on.")
        self.finished.emit()

    # ------------------------------------------------------------------- folders

    def _on_source(self, text: str) -> None:
        """Propose a folder for the results beside the images."""
        before = self._out.property("proposed")
        if text.strip() and self._out.text() in ("", before):
            path = Path(text.strip())
            proposed = str(path.with_name(f"{path.stem}_atoms"))
            self._out.setProperty("proposed", proposed)
            self._out.setText(proposed)

    def _on_choose_source(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of images"):
            self._source.setText(folder)

    def _on_choose_out(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the results"):
            self._out.setText(folder)


def _form(parent: QWidget | None = None) -> QFormLayout:
    form = QFormLayout(parent) if parent is not None else QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setContentsMargins(0, 0, 0, 0)
    return form


class _End:
    """Nothing more will come."""


def _steps(run: Callable[..., batch.BatchSummary], stop: Stop) -> Iterator[Told]:
    """Run a batch in a thread; yield (done, known, said) now and then, and its summary."""
    told: queue.Queue[Told | Exception | _End] = queue.Queue()

    def work() -> None:
        try:
            told.put(run(progress=Progress(lambda *n: told.put(n), stop)))
        except Exception as error:  # it is raised again below, in the thread of the job
            told.put(error)
        told.put(_End())

    thread = threading.Thread(target=work, name="atomlens-batch", daemon=True)
    thread.start()
    latest: Told | None = None
    last = 0.0
    while True:
        what: Told | Exception | _End | None = None
        with contextlib.suppress(queue.Empty):
            what = told.get(timeout=TELL_S)
        if isinstance(what, _End):
            return
        if isinstance(what, Exception):
            raise what
        if isinstance(what, batch.BatchSummary):
            if latest is not None:
                yield latest
            yield what
        elif what is not None:
            latest = what
        if latest is not None and time.monotonic() - last > TELL_S:
            yield latest
            latest, last = None, time.monotonic()
