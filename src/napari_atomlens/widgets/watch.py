"""The Watch folder dock widget: every new file is analysed, shown and stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens.errors import AtomLensError
from napari_atomlens.progress import Progress
from napari_atomlens.runs.hooks import Event
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.watch import FolderWatch
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import ParamForm
from napari_atomlens.widgets.layers import roles
from napari_atomlens.widgets.layers.roles import entry
from napari_atomlens.widgets.layers.surface import kind_colours, limits

if TYPE_CHECKING:
    import napari.viewer
    import pandas as pd
    from napari.layers import Layer

IMAGE, ATOMS, DEFECTS = "watched image", "watched atoms", "watched defects"
#: So many files stay listed.
MOST_ROWS = 500
COLUMNS = ("file", "what", "score", "found", "wait", "read", "assess", "analyse", "store", "total")
STAGES = COLUMNS[4:]


class WatchWidget(DockWidget):
    """Watches a folder beside the instrument.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        Watching has ended.
    told : Signal(object)
        The event of a file, after it is shown.
    """

    finished = Signal()
    told = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("watch")
        self._viewer = viewer
        self._closed = False
        self._totals: deque[float] = deque(maxlen=200)
        self._job = Job(self)
        self._folder = QLineEdit()
        self._folder.setObjectName("folder")
        self._folder.setPlaceholderText("Folder to which the instrument writes")
        self._choose = QPushButton("…")
        self._choose.setToolTip("Choose the folder")
        self._form = ParamForm(WatchParams, special={"pixel_size_nm": "from the file"})
        self._run = QPushButton("Watch")
        self._run.setObjectName("run")
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._table = QTableWidget(0, len(COLUMNS))
        self._table.setObjectName("events")
        self._table.setHorizontalHeaderLabels(
            [c if c not in STAGES else f"{c} (s)" for c in COLUMNS]
        )
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(22)
        self._table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        top = QFormLayout()
        top.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        row = QHBoxLayout()
        row.addWidget(self._folder, 1)
        row.addWidget(self._choose)
        top.addRow("Folder", row)
        for name in ("analysis", "pixel_size_nm", "min_score", "out", "library", "hook"):
            self._form.add_row(top, name)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(self._run)
        layout.addWidget(self._status)
        layout.addWidget(self._table, 1)
        self.setMinimumWidth(330)
        self._choose.clicked.connect(self._on_choose)
        self._run.clicked.connect(self._on_run)
        self._job.results.connect(self._on_results)
        self._job.failed.connect(self._status.setText)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop watching; layers stay, and the ledger knows what is done."""
        if self._closed:
            return
        self._closed = True
        was_running = self._job.is_running
        self._job.close()
        if was_running:
            self.finished.emit()

    def _on_choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder to watch", self._folder.text())
        if chosen:
            self._folder.setText(chosen)

    def _on_run(self) -> None:
        if self._job.is_running:
            self._status.setText("Stopping…")
            self._job.cancel()
        else:
            self.run()

    def run(self) -> None:
        """Start to watch the folder."""
        text = self._folder.text().strip()
        if not text:
            self._status.setText("Choose a folder first.")
            return
        try:
            watching = FolderWatch(Path(text), self._form.value())
        except AtomLensError as error:
            self._status.setText(str(error))
            return

        def work(stop: Stop) -> Iterator[Event]:
            return watching.run(Progress(stop=stop))

        self._job.start(work)
        self._run.setText("Stop")
        self._status.setText(f"Watching; results go to {watching.out}.")
        self._form_enabled(False)

    def _form_enabled(self, on: bool) -> None:
        for field in (*self._form.fields.values(), self._folder, self._choose):
            field.setEnabled(on)

    def _on_results(self, events: list[Event]) -> None:
        for event in events:
            self._add_row(event)
        shown = [e for e in events if e.result is not None]
        if shown:
            self._show(shown[-1])
        if self._totals:
            self._status.setText(
                f"{len(self._totals)} analysed lately; median {np.median(self._totals):.2f} s from "
                f"complete file to result. Last: {events[-1].name}."
            )
        for event in events:
            self.told.emit(event)

    def _add_row(self, event: Event) -> None:
        found = ", ".join(f"{n} {k}" for k, n in event.counts.items())
        if "total" in event.seconds:
            self._totals.append(event.seconds["total"])
        cells = [
            event.name, event.event + (f" ({event.label})" if event.label else ""),
            f"{event.score:.2f}" if event.score == event.score else "", found or event.message,
            *(f"{event.seconds[s]:.2f}" if s in event.seconds else "" for s in STAGES),
        ]  # fmt: skip
        for row in range(self._table.rowCount()):  # what was tried before is not worth a row
            name, what = self._table.item(row, 0), self._table.item(row, 1)
            if name is None or what is None:
                continue
            if name.text() == event.name and what.text().startswith("skipped"):
                self._table.removeRow(row)
                break
        self._table.insertRow(0)
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(event.message or text)
            if column > 3:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._table.setItem(0, column, item)
        while self._table.rowCount() > MOST_ROWS:
            self._table.removeRow(self._table.rowCount() - 1)

    def _ours(self, role: str) -> Layer | None:
        return next((x for x in self._viewer.layers if entry(x).get("role") == role), None)

    def _show(self, event: Event) -> None:
        """Show the newest file; its layers take the place of those of the one before."""
        from napari.layers import Image, Points

        done = event.result
        if done is None:
            return
        size = done.pixel_size_nm
        scale = size or (1.0, 1.0)
        unit = ("nm", "nm") if size else ("pixel", "pixel")
        image = np.asarray(done.image, np.float32)
        own = {"role": IMAGE, "file": event.name}
        common = {"scale": scale, "units": unit, "axis_labels": ("y", "x")}
        points: list[tuple[str, pd.DataFrame, str | list[str], float]] = []
        atoms = done.tables.get("atoms")
        if atoms is not None:
            points.append((ATOMS, atoms, "#4cc9f0", 3.0 if done.kind == "silicon" else 4.0))
        defects = done.tables.get("defects")
        if defects is not None:
            colours = kind_colours()
            defects = defects[defects["kind"] != "step edge"].reset_index(drop=True)
            points.append(
                (DEFECTS, defects, [colours.get(k, "#ffffff") for k in defects["kind"]], 14.0)
            )
        for role in (DEFECTS, ATOMS, IMAGE):
            old = self._ours(role)
            if old is not None:
                self._viewer.layers.remove(old)
        self._viewer.add_layer(
            Image(
                image, name=event.name, contrast_limits=limits(image), colormap="gray",
                metadata={roles.KEY: own}, **common,
            )
        )  # fmt: skip
        for role, table, colour, width in points:
            self._viewer.add_layer(
                Points(
                    table[["y_px", "x_px"]].to_numpy(float),
                    name=f"{role.split()[1]}: {event.name}",
                    features=table, size=width, face_color="transparent", border_width=0.12,
                    border_color=colour if len(table) else "#ffffff",
                    metadata={roles.KEY: {"role": role, "file": event.name}}, **common,
                )
            )  # fmt: skip

    def _on_crashed(self, error: Exception) -> None:
        self._status.setText(f"Something went wrong: {type(error).__name__}: {error}")

    def _on_finished(self) -> None:
        self._run.setText("Watch")
        self._form_enabled(True)
        if self._status.text() == "Stopping…":
            self._status.setText("Stopped; the next start goes on from here.")
        self.finished.emit()
