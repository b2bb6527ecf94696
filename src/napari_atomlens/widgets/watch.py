"""The Watch folder dock: every new file is analysed, shown and stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)

from napari_atomlens.errors import ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.runs.hooks import Event
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.watch import FolderWatch
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.folders import FolderField, at_work, check_free
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers.watched import show_watched

#: So many files stay listed.
MOST_ROWS = 500
COLUMNS = ("file", "what", "score", "found", "wait", "read", "assess", "analyse", "store", "total")
STAGES = COLUMNS[4:]
SHOWN = (
    "analysis", "pixel_size_nm", "min_score", "subfolders", "newest_first", "out", "library",
    "hook",
)  # fmt: skip


class WatchWidget(Dock):
    """Watches a folder beside the instrument.

    Attributes
    ----------
    told : Signal(object)
        The event of a file, after it is shown.
    """

    NAME = "watch"
    told = Signal(object)

    def build(self) -> None:
        """Folder, parameters, and what happened to each file."""
        self._folder = FolderField(
            "folder", "Folder to watch", "Folder to which the instrument writes"
        )
        self._form = ParamForm(WatchParams, special={"pixel_size_nm": "from the file"})
        self._fields = self._form.section(*SHOWN)
        self._run = self.run_button("Watch", self._watching)
        self._table = EventTable()
        row = QFormLayout()
        row.addRow("Folder", self._folder)
        self.add(row, self._fields, self._run)
        self.add_status()
        self.add(self._table, stretch=1)

    def update_buttons(self) -> None:
        """While it watches the button stops it, and what is watched stays."""
        super().update_buttons()
        if self.is_running and not self.job.is_cancelled:
            self._run.setText("Stop")
        self._folder.setEnabled(not self.is_running)
        self._fields.enabled = not self.is_running

    def _watching(self) -> Task[Event]:
        """Watch the folder until somebody stops it."""
        if not self._folder.text:
            raise ParameterError("Choose a folder first.")
        watching = FolderWatch(Path(self._folder.text), self._form.value())
        check_free(watching.out)

        def work(progress: Progress) -> Iterator[Event]:
            events = watching.run(progress)
            while True:
                # what is written when it is stopped is finished, though nobody waits for it
                with at_work(watching.out):
                    event = next(events, None)
                if event is None:
                    return
                yield event

        return Task(
            work, self._show, lambda: "", f"Watching; results go to {watching.out}.",
            noun="files", after_cancel="The next start goes on from here.",
        )  # fmt: skip

    def _show(self, events: list[Event]) -> None:
        for event in events:
            self._table.add(event)
        shown = [e for e in events if e.result is not None]
        if shown:
            show_watched(self.viewer, shown[-1])
        totals = self._table.totals
        if totals:
            self.say(
                f"{len(totals)} analysed lately; median {np.median(totals):.2f} s from "
                f"complete file to result. Last: {events[-1].name}."
                + (f" {behind} files wait." if (behind := events[-1].behind) > 1 else "")
            )
        for event in events:
            self.told.emit(event)


class EventTable(QTableWidget):
    """Files that came, the newest first, with the time that each stage took.

    Attributes
    ----------
    totals : deque of float
        Seconds from the complete file to the result, of the latest files.
    """

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.totals: deque[float] = deque(maxlen=200)
        self.setObjectName("events")
        self.setHorizontalHeaderLabels([c if c not in STAGES else f"{c} (s)" for c in COLUMNS])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setMinimumHeight(160)

    def add(self, event: Event) -> None:
        """List a file on top; what was tried before is not worth a row."""
        if "total" in event.seconds:
            self.totals.append(event.seconds["total"])
        self._forget_skipped(event.name)
        found = ", ".join(f"{n} {k}" for k, n in event.counts.items())
        cells = [
            event.name, event.event + (f" ({event.label})" if event.label else ""),
            f"{event.score:.2f}" if event.score == event.score else "", found or event.message,
            *(f"{event.seconds[s]:.2f}" if s in event.seconds else "" for s in STAGES),
        ]  # fmt: skip
        self.insertRow(0)
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(event.message or text)
            if column > 3:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(0, column, item)
        while self.rowCount() > MOST_ROWS:
            self.removeRow(self.rowCount() - 1)

    def _forget_skipped(self, file: str) -> None:
        for row in range(self.rowCount()):
            name, what = self.item(row, 0), self.item(row, 1)
            if name is None or what is None:
                continue
            if name.text() == file and what.text().startswith("skipped"):
                self.removeRow(row)
                return
