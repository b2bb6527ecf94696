"""The Batch dock: every image of a folder, into one data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from qtpy.QtWidgets import QFormLayout, QHeaderView, QLineEdit, QTableWidget, QTableWidgetItem

from napari_atomlens.errors import ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.runs import batch
from napari_atomlens.runs.inputs import find_inputs
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.folders import FolderField, at_work, check_free
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.layout import section
from napari_atomlens.widgets.base.task import Task

#: Rows of the table of failures that are shown; all of them are in the folder.
MOST_ROWS = 500
GO_ON = "Run it again to go on."


class BatchWidget(Dock):
    """Analyses a folder of images and movies and writes one Parquet data set."""

    NAME = "batch"

    def build(self) -> None:
        """Folders, workers, parameters, and what failed."""
        self._source = FolderField(
            "source", "Folder of images", "folder of images, or a file",
            "Every image and movie in this folder that AtomLens can read",
        )  # fmt: skip
        self._out = FolderField(
            "out", "Folder of the results", "folder of the results",
            "A run that was begun in this folder goes on where it stopped",
        )  # fmt: skip
        self._pixel_size = fields.number(
            "pixel_size", "Pixel size", 0, 100, decimals=5, step=0.001, unit="nm",
            special="of the files",
        )  # fmt: skip
        self._workers = fields.number(
            "workers", "Workers", 0, 1024, decimals=0, step=1, special="all cores",
            tip="Frames that are analysed side by side",
        )  # fmt: skip
        self._form = ParamForm(BatchParams, special={"spacing_px": "auto"})
        self._scheduler = QLineEdit()
        self._scheduler.setObjectName("scheduler")
        self._scheduler.setPlaceholderText("none: this computer")
        self._scheduler.setToolTip("Address of a dask scheduler, such as tcp://host:8786")
        self._failures = FailuresTable()
        folders, cluster = QFormLayout(), QFormLayout()
        folders.addRow("Images", self._source)
        folders.addRow("Results", self._out)
        cluster.addRow("Scheduler", self._scheduler)
        self.add(folders)
        self.rows(self._pixel_size, self._workers)
        self.add(section("How to analyse", self._form.section(), cluster))
        self.add(self.run_button("Run", self._running))
        self.add_status()
        self.add(self._failures)
        self.body.addStretch(1)
        self._proposed = ""
        self._source.changed.connect(self._on_source)

    def _on_source(self, text: str) -> None:
        """Propose a folder for the results beside the images."""
        if text.strip() and self._out.text in ("", self._proposed):
            path = Path(text.strip())
            self._proposed = str(path.with_name(f"{path.stem}_atoms"))
            self._out.line.setText(self._proposed)

    def _running(self) -> Task[batch.BatchSummary]:
        """Analyse what is left to do."""
        source, out = self._source.text, self._out.text
        if not source or not out:
            raise ParameterError("Choose a folder of images and a folder for the results.")
        params = self._form.value()
        find_inputs([source], params.names)
        check_free(Path(out))
        size, workers = self._pixel_size.value or None, int(self._workers.value) or None
        scheduler = self._scheduler.text().strip() or None
        self._failures.hide()
        ending: list[str] = []

        def work(progress: Progress) -> Iterator[batch.BatchSummary]:
            # what is in work when it is cancelled is finished here, though nobody waits for it
            with at_work(Path(out)):
                found = batch.run_batch(
                    [source], out, params, pixel_size_nm=size, workers=workers,
                    scheduler=scheduler, progress=progress,
                )  # fmt: skip
            yield found

        def show(results: list[batch.BatchSummary]) -> None:
            self._failures.show_table(results[-1].failures)
            ending.append(sentence(results[-1]))

        return Task(
            work, show, lambda: ending[-1] if ending else "", "Opening the first files…",
            needs_torch=True, after_cancel=GO_ON,
        )  # fmt: skip


class FailuresTable(QTableWidget):
    """Files and frames that could not be analysed, and why."""

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setObjectName("failures")
        self.setHorizontalHeaderLabels(["file", "frame", "why"])
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.hide()

    def show_table(self, failures: pd.DataFrame) -> None:
        """Show what failed; hidden where nothing did."""
        shown = failures.head(MOST_ROWS)
        self.setRowCount(len(shown))
        for r, (file, frame, why) in enumerate(
            zip(shown["file"], shown["frame"], shown["reason"], strict=True)
        ):
            for c, text in enumerate((file, "all" if frame < 0 else frame, why)):
                item = QTableWidgetItem(str(text))
                item.setToolTip(str(text))
                self.setItem(r, c, item)
        for c, width in enumerate((110, 50)):
            self.setColumnWidth(c, width)
        self.resizeRowsToContents()
        self.setVisible(len(shown) > 0)


def sentence(found: batch.BatchSummary) -> str:
    """Say what a run gave."""
    said = (
        f"{found.n_atoms} atoms in {found.n_frames} frames of {found.n_files} files, "
        f"{found.n_new_frames} frames in {found.seconds:.0f} s. pandas, polars and DuckDB "
        f"open {found.folder / 'atoms'} as one table."
    )
    if found.messages:
        said += "\n" + "\n".join(found.messages)
    return f"Done: {said}" if found.complete else f"Cancelled: {said} {GO_ON}"
