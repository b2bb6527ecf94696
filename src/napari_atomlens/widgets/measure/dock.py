"""The Measure dock widget: lattice vectors, strain, polarisation and vacancies of found atoms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
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

from napari_atomlens.errors import AtomLensError, FormatError, TableError
from napari_atomlens.lattice.lattice import Lattice, LatticeParams
from napari_atomlens.lattice.measure import measure_lattice
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base.dock import DockWidget
from napari_atomlens.widgets.base.forms import (
    ParamForm,
    fill_combo,
    form_layout,
    number_box,
    shrinkable_combo,
)
from napari_atomlens.widgets.base.histograms import ColourBar, Histogram
from napari_atomlens.widgets.base.jobs import Job
from napari_atomlens.widgets.layers import convert, roles
from napari_atomlens.widgets.layers import convert_lattice as lattice
from napari_atomlens.widgets.layers.lattice import ROLES, ROW, MeasuredLayers, Shown
from napari_atomlens.widgets.layers.roles import entry as our_entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer, Points, Shapes
    from napari.utils.events import Event

MEAN = "mean of each region"
NO_ATOMS = "Find the atoms of an image first."
REST_MS = 100
#: Key of the layer in which the reference region is drawn.
REFERENCE = "reference region"


class MeasureWidget(DockWidget):
    """Measures the lattice of a layer of atoms and shows strain, displacements and vacancies.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A run has ended, in whatever way.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("measure")
        self._viewer = viewer
        self._layers: dict[str, MeasuredLayers] = {}
        self._running: str | None = None
        self._ending = ""
        self._started = 0.0
        self._done = (0, 0)
        self._calibration: tuple[float, float] | None = None
        self._listening: Points | None = None
        self._closed = False
        self._job = Job(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._show_found)
        self._poll = QTimer(self)
        self._poll.setInterval(200)
        self._poll.timeout.connect(self._show_progress)
        self._create_fields()
        self._create_layout()
        self._connect()
        self._list_layers()

    # -------------------------------------------------------------- the window

    def _create_fields(self) -> None:
        self._atoms = shrinkable_combo()
        self._atoms.setObjectName("atoms")
        self._atoms.setToolTip("The layer of atoms to measure, with your corrections")
        self._pixel_size = number_box(0, 1000, decimals=5, step=0.001, unit="nm")
        self._pixel_size.setSpecialValueText("unknown")
        self._pixel_size.setObjectName("pixel_size_nm")
        self._pixel_size.setToolTip(
            "Size of a pixel, taken from the scale and units of the layer; 0 where it is unknown"
        )
        self._reference = shrinkable_combo()
        self._reference.setObjectName("reference")
        self._reference.setToolTip(
            "What strain is measured against: the mean lattice, or that of the atoms in a shape "
            "that you draw (the selected one of the layer, else its first)"
        )
        self._draw = QPushButton("Draw")
        self._draw.setObjectName("draw")
        self._draw.setToolTip("Add a Shapes layer and draw a rectangle over a perfect part")
        self._form = ParamForm(LatticeParams, special={"against": "brightest"})
        self._arrows = shrinkable_combo()
        self._arrows.addItems([lattice.FROM_SITES, lattice.POLAR, lattice.NO_ARROWS])
        self._arrows.setObjectName("arrows")
        self._arrows.setToolTip(
            "Displacements from the ideal sites, or of each sublattice from the centre of its "
            "neighbours of another one; the colour tells the direction"
        )
        self._factor = number_box(0, 100_000, decimals=1, step=5)
        self._factor.setPrefix("× ")
        self._factor.setSpecialValueText("auto")
        self._factor.setObjectName("factor")
        self._factor.setToolTip("How many times longer than true the arrows are drawn")
        self._map = shrinkable_combo()
        self._map.addItems([*lattice.QUANTITIES, "none"])
        self._map.setObjectName("map")
        self._map.setToolTip("What the discs on the atoms show by their colour")
        self._vacancies = QCheckBox("Vacancies")
        self._vacancies.setObjectName("show_vacancies")
        self._vacancies.setChecked(True)
        self._vacancies.setToolTip("Crosses on the sites that hold no atom")
        self._button = QPushButton("Measure")
        self._button.setObjectName("run")
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._colours = ColourBar()
        self._summary = QTableWidget(0, 0)
        self._summary.setObjectName("summary")
        self._summary.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._summary.horizontalHeader().hide()
        self._summary.verticalHeader().setDefaultSectionSize(22)
        self._summary.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._summary.hide()
        self._histogram = Histogram()
        self._histogram.setObjectName("histogram")
        self._histogram.hide()
        self._save = QPushButton("Save tables as CSV…")
        self._save.setObjectName("save")
        self._save.setToolTip(
            "Writes NAME_atoms.csv, NAME_lattices.csv, NAME_sublattices.csv, NAME_distances.csv "
            "and NAME_holes.csv"
        )
        self._save.setEnabled(False)

    def _create_layout(self) -> None:
        form = form_layout()
        form.addRow("Atoms", self._atoms)
        form.addRow("Pixel size", self._pixel_size)
        row = QHBoxLayout()
        row.addWidget(self._reference, 1)
        row.addWidget(self._draw)
        form.addRow("Reference", row)
        more = QCollapsible("How to measure")
        more.setObjectName("more")
        inner = QWidget()
        fields = form_layout(inner)
        for name in self._form.fields:
            self._form.add_row(fields, name)
        more.setContent(inner)
        more.collapse(animate=False)
        show = form_layout()
        show.addRow(QLabel("<b>Show</b>"))
        show.addRow("Map", self._map)
        show.addRow(self._colours)
        show.addRow("Arrows", self._arrows)
        show.addRow("Enlarged", self._factor)
        show.addRow(self._vacancies)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setSpacing(8)
        layout.addLayout(form)
        layout.addWidget(more)
        layout.addWidget(self._button)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addLayout(show)
        layout.addWidget(self._summary)
        layout.addWidget(self._histogram)
        layout.addWidget(self._save)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        # room for the scroll bar: nothing is to be cut off at the right
        bar = area.verticalScrollBar().sizeHint().width()
        inside.setMinimumWidth(325)
        self.setMinimumWidth(max(325, inside.minimumSizeHint().width()) + bar + 4)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._on_layers)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self._on_layers)
        self._viewer.dims.events.point.connect(self._on_slider)
        self._atoms.currentIndexChanged.connect(self._on_atoms_chosen)
        self._draw.clicked.connect(self.draw_reference)
        self._button.clicked.connect(self._on_clicked)
        self._save.clicked.connect(self._on_save)
        self._map.currentTextChanged.connect(self._on_shown_changed)
        self._arrows.currentTextChanged.connect(self._on_shown_changed)
        self._factor.valueChanged.connect(self._on_shown_changed)
        self._vacancies.toggled.connect(self._on_shown_changed)
        self._job.results.connect(self._on_results)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        was_running, self._running = self._running is not None, None
        self._job.close()
        self._rest.stop()
        self._poll.stop()
        self._listen_to(None)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_layers)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self._on_layers)
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self._layers.clear()
        if was_running:
            self.finished.emit()

    # -------------------------------------------------------------- the layers

    def _list_layers(self) -> None:
        from napari.layers import Points, Shapes

        points = [
            x for x in self._viewer.layers
            if isinstance(x, Points) and our_entry(x).get("role") not in ROLES
        ]  # fmt: skip
        # a layer that Find atoms made is what one wants, most likely
        likely = [str(x.unique_id) for x in points if our_entry(x).get("role") == "atoms"]
        chosen = self._atoms.currentData()
        ids = [str(x.unique_id) for x in points]
        if chosen not in ids:
            chosen = likely[-1] if likely else ids[-1] if ids else None
        fill_combo(self._atoms, [(x.name, i) for x, i in zip(points, ids, strict=True)], chosen)
        shapes = [
            x for x in self._viewer.layers
            if isinstance(x, Shapes) and our_entry(x).get("role") in (None, REFERENCE)
        ]  # fmt: skip
        fill_combo(
            self._reference,
            [(MEAN, ""), *((x.name, str(x.unique_id)) for x in shapes)],
            self._reference.currentData() or "",
        )
        if not points and not self.is_running:
            self._status.setText(NO_ATOMS)
        elif points and self._status.text() == NO_ATOMS:
            self._status.setText("")
        self._update_button()
        self._on_atoms_chosen()

    def source(self) -> Points | None:
        """Return the layer of atoms that is chosen, None where there is none."""
        return self._layer(self._atoms.currentData())

    def _layer(self, unique_id: str | None) -> Layer | None:
        if not unique_id:
            return None
        return next((x for x in self._viewer.layers if str(x.unique_id) == unique_id), None)

    def _shown(self) -> MeasuredLayers | None:
        key = self._atoms.currentData()
        return self._layers.get(key) if key else None

    def _listen_to(self, layer: Points | None) -> None:
        """Follow the calibration of the chosen layer."""
        if layer is self._listening:
            return
        old, self._listening = self._listening, layer
        for emitter, connect in ((old, False), (layer, True)):
            if emitter is None:
                continue
            for event in (emitter.events.scale, emitter.events.units):
                if connect:
                    event.connect(self._read_pixel_size)
                else:
                    event.disconnect(self._read_pixel_size)

    def _on_layers(self, event: Event | None = None) -> None:
        self._list_layers()

    def _on_removed(self, event: Event) -> None:
        key = str(event.value.unique_id)
        if self._listening is not None and str(self._listening.unique_id) == key:
            self._listen_to(None)
        self._layers.pop(key, None)
        if self._running == key and not self._job.is_cancelled:
            self._ending = f"Stopped: the layer {event.value.name} was removed."
            self._job.cancel()
        self._list_layers()

    def _on_atoms_chosen(self, index: int = 0) -> None:
        layer = self.source()
        changed = layer is not self._listening
        self._listen_to(layer)
        if changed:
            self._read_pixel_size()
            self._show_found()

    def _read_pixel_size(self, event: Event | None = None) -> None:
        """Show the pixel size that the layer says."""
        layer = self.source()
        self._calibration = None
        if layer is not None and layer.ndim >= 2:
            self._calibration = convert.pixel_size_nm(layer.scale, layer.units)
        self._pixel_size.setValue(self._calibration[1] if self._calibration else 0.0)

    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm: as typed, else exactly as the layer says."""
        typed = self._pixel_size.value()
        if self._calibration:
            shown = round(self._calibration[1], self._pixel_size.decimals())
            if abs(typed - shown) < 10.0 ** -(self._pixel_size.decimals() + 1):
                return self._calibration
        return (typed, typed) if typed > 0 else None

    def current_frame(self) -> int:
        """Frame of the atoms that the viewer shows."""
        layer = self.source()
        if layer is None or layer.ndim < 3:
            return 0
        point = self._viewer.dims.point[-layer.ndim :]
        return round(float(layer.world_to_data(point)[0]))

    # --------------------------------------------------------------- reference

    def draw_reference(self) -> None:
        """Add a Shapes layer, ready to draw a rectangle in, and choose it."""
        from napari.layers import Shapes

        layer = self.source()
        if layer is None:
            self._status.setText(NO_ATOMS)
            return
        old = next(
            (
                x for x in self._viewer.layers
                if our_entry(x).get("role") == REFERENCE
                and our_entry(x).get("source_id") == str(layer.unique_id)
            ),
            None,
        )  # fmt: skip
        if old is None:
            old = Shapes(
                None, ndim=2, name=REFERENCE, scale=layer.scale[-2:],
                translate=layer.translate[-2:], units=layer.units[-2:],
                axis_labels=layer.axis_labels[-2:], edge_color="#f0e442",
                face_color="transparent", edge_width=2,
                metadata={
                    roles.KEY: {"role": REFERENCE, "source_id": str(layer.unique_id),
                                  "source_name": str(layer.name)}
                },
            )  # fmt: skip
            self._viewer.add_layer(old)
        self._viewer.layers.selection.active = old
        old.mode = "add_rectangle"
        _choose(self._reference, str(old.unique_id))
        self._status.setText("Drag a rectangle over a perfect part, then press Measure.")

    def reference(self) -> str | np.ndarray:
        """Return the reference for :func:`measure_lattice`, in pixels of the atoms.

        Raises
        ------
        TableError
            If the chosen Shapes layer holds no area.
        """
        shapes, atoms = self._layer(self._reference.currentData()), self.source()
        if shapes is None or atoms is None:
            return "region"
        picked = sorted(shapes.selected_data) or range(len(shapes.data))
        for k in picked:
            if shapes.shape_type[k] in ("rectangle", "polygon", "ellipse"):
                corners = np.asarray(shapes.data[k], float)
                if shapes.shape_type[k] == "ellipse":
                    corners = _ellipse(corners)
                return _between(shapes, atoms, corners)
        raise TableError("Draw a rectangle or polygon in the reference layer first.")

    # ----------------------------------------------------------------- the run

    @property
    def is_running(self) -> bool:
        """Whether a run has not ended yet."""
        return self._running is not None

    def shown(self) -> Shown:
        """Which layers the fields ask for."""
        return Shown(
            self._arrows.currentText(), self._factor.value(), self._map.currentText(),
            self._vacancies.isChecked(),
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Atoms table of the chosen layer, as the user sees it, with the row of each point.

        Raises
        ------
        TableError
            If there is no atom.
        """
        layer = self.source()
        if layer is None or not len(layer.data):
            raise TableError(NO_ATOMS if layer is None else f"The layer {layer.name} is empty.")
        if layer.ndim > 3:
            raise TableError(
                f"The layer {layer.name} has {layer.ndim} axes, not (y, x) or (t, y, x)."
            )
        known = set(layer.features.columns) & {"atom_id", "amplitude", "species"}
        features = layer.features if known else pd.DataFrame(index=range(len(layer.data)))
        atoms = convert.atoms_from_points(layer.data, features, self.pixel_size_nm())
        return atoms.assign(**{ROW: np.arange(len(atoms))})

    def _on_clicked(self) -> None:
        if self.is_running:
            self.cancel()
        else:
            self.run()

    def run(self) -> None:
        """Measure the chosen atoms; :attr:`finished` tells when it is done."""
        if self.is_running:
            return
        try:
            atoms, reference = self.table(), self.reference()
            params = self._form.value()
        except AtomLensError as error:
            self._on_failed(str(error))
            self._status.setText(self._ending)
            self.finished.emit()
            return
        size = self.pixel_size_nm()
        self._done = (0, int(atoms["frame"].nunique()))

        def report(done: int, n: int, what: str) -> None:
            self._done = (done, n)  # read by the timer of the window

        def make(cancelled: Callable[[], bool]) -> Iterator[Lattice]:
            # in the thread: nothing here touches the viewer or a layer
            found = measure_lattice(
                atoms, params, reference=reference, pixel_size_nm=size,
                progress=Progress(report, cancelled),
            )  # fmt: skip
            if not cancelled():
                yield found

        layer = self.source()
        assert layer is not None  # its table was read above
        key = str(layer.unique_id)
        if key not in self._layers:
            self._layers[key] = MeasuredLayers(self._viewer, layer)
        self._running, self._ending, self._started = key, "", time.perf_counter()
        self._bar.setRange(0, self._done[1] if self._done[1] > 1 else 0)
        self._bar.setFormat("%v of %m frames")
        self._bar.setValue(0)
        self._bar.show()
        self._status.setText("Measuring…")
        self._poll.start()
        self._job.start(make, needs_torch=False)
        self._update_button()

    def cancel(self) -> None:
        """Stop the run; what was shown before stays."""
        if self.is_running:
            self._job.cancel()
            self._status.setText("Cancelling…")
            self._update_button()

    def _update_button(self) -> None:
        stopping = self.is_running and self._job.is_cancelled
        self._button.setText(
            "Cancelling…" if stopping else "Cancel" if self.is_running else "Measure"
        )
        self._button.setEnabled(not stopping and (self.is_running or self._atoms.count() > 0))

    def _show_progress(self) -> None:
        if self._bar.maximum() > 0:
            self._bar.setValue(self._done[0])

    def _on_results(self, results: list[Lattice]) -> None:
        layers = self._layers.get(self._running or "")
        if layers is None or self._layer(self._running) is None:
            return
        layers.apply(results[-1], self.shown())
        self._show_found()

    def _on_failed(self, sentence: str) -> None:
        from napari.utils.notifications import show_warning

        self._ending = sentence
        show_warning(sentence)

    def _on_crashed(self, error: Exception) -> None:
        from napari.utils.notifications import notification_manager

        what = f"{type(error).__name__}: {error}"
        self._ending = f"Something unexpected went wrong ({what})."
        # napari offers the traceback, ready for a bug report
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        key, self._running = self._running, None
        self._poll.stop()
        self._bar.hide()
        self._update_button()
        layers = self._layers.get(key or "")
        if self._ending:
            text = self._ending
        elif self._job.is_cancelled:
            text = "Cancelled."
        elif layers is None or layers.found is None:
            text = ""
        else:
            text = _sentence(layers.found, time.perf_counter() - self._started)
        self._status.setText(text)
        self.finished.emit()

    # ------------------------------------------------------------- what is shown

    def _on_shown_changed(self, value: object = None) -> None:
        layers = self._shown()
        if layers is not None and layers.found is not None:
            layers.show(self.shown())
            self._show_colours()
            self._show_histogram()

    def _on_slider(self, event: Event | None = None) -> None:
        self._rest.start()

    def _show_found(self) -> None:
        """Show colours, summary and histogram of the frame that is shown."""
        layers = self._shown()
        found = None if layers is None else layers.found
        self._save.setEnabled(found is not None)
        rows = [] if found is None else lattice.summary(found, self.current_frame())
        self._summary.setVisible(bool(rows))
        self._summary.setRowCount(len(rows))
        self._summary.setColumnCount(len(rows[0][1]) if rows else 0)
        for k, (name, texts) in enumerate(rows):
            self._summary.setVerticalHeaderItem(k, QTableWidgetItem(name))
            for c, text in enumerate(texts):
                self._summary.setItem(k, c, QTableWidgetItem(text))
        if rows:
            header = self._summary.horizontalHeader()
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(
                mode.Stretch if len(rows[0][1]) == 1 else mode.ResizeToContents
            )
            self._summary.setFixedHeight(22 * min(len(rows), 18) + 16)
        self._show_colours()
        self._show_histogram()

    def _show_colours(self) -> None:
        layers = self._shown()
        on = layers is not None and layers.found is not None and self._map.currentText() != "none"
        if layers is None or not on or not len(layers.found.lattices):  # type: ignore[union-attr]
            self._colours.hide()
            return
        self._colours.show_map(layers.colormap, *layers.limits, layers.unit)

    def _show_histogram(self) -> None:
        layers = self._shown()
        found = None if layers is None else layers.found
        if found is None or not len(found.distances):
            self._histogram.hide()
            return
        here = found.distances[(found.distances["frame"] == self.current_frame()).to_numpy()]
        known = np.isfinite(here["length_nm"].to_numpy(float)).any()
        values = 1000 * here["length_nm"] if known else here["length_px"]
        regions = here["region"].to_numpy()
        groups = {
            f"region {r}": values.to_numpy(float)[regions == r] for r in np.unique(regions)[:6]
        }
        unit = "pm" if known else "px"
        self._histogram.show_values(groups, f"distance of nearest atoms ({unit})")
        self._histogram.show()

    # -------------------------------------------------------------------- files

    def _on_save(self) -> None:
        layers = self._shown()
        if layers is None or layers.found is None:
            return
        name, _ = QFileDialog.getSaveFileName(self, "Save tables", "lattice.csv", "CSV (*.csv)")
        if not name:
            return
        try:
            written = save_tables(layers.found, name)
        except AtomLensError as error:
            self._on_failed(str(error))
            self._status.setText(str(error))
            return
        self._status.setText(f"Saved {', '.join(p.name for p in written)}.")


def save_tables(found: Lattice, path: str | Path) -> list[Path]:
    """Write the tables of a measured lattice next to each other as CSV files.

    Parameters
    ----------
    found : Lattice
    path : path
        ``lattice.csv`` makes ``lattice_atoms.csv``, ``lattice_lattices.csv`` ...

    Returns
    -------
    list of pathlib.Path
        The files; tables without a row are left out, but for that of the atoms.

    Raises
    ------
    FormatError
        If a file cannot be written.
    """
    base = Path(path)
    base = base.with_suffix("") if base.suffix.lower() == ".csv" else base
    written = []
    for name in ("atoms", "lattices", "sublattices", "distances", "holes"):
        table: pd.DataFrame = getattr(found, name).drop(columns=[ROW], errors="ignore")
        if not len(table) and name != "atoms":
            continue
        target = base.with_name(f"{base.name}_{name}.csv")
        try:
            table.to_csv(target, index=False)
        except OSError as error:
            raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
        written.append(target)
    return written


def _sentence(found: Lattice, seconds: float) -> str:
    """Say what was found."""
    n, frames = len(found.lattices), found.atoms["frame"].nunique()
    vacant = int((found.atoms["source"].astype(str) == "lattice").sum())
    said = []
    if n:
        where = f" in {frames} frames" if frames > 1 else ""
        said.append(
            f"{n} region{'' if n == 1 else 's'}{where}, {vacant:,} vacant "
            f"site{'' if vacant == 1 else 's'}, {seconds:.1f} s."
        )
    said += found.messages[:1]
    if len(found.messages) > 1:
        said.append(f"({len(found.messages) - 1} more frames with a message.)")
    return " ".join(said)


def _choose(combo: QComboBox, key: str) -> None:
    for k in range(combo.count()):
        if combo.itemData(k) == key:
            combo.setCurrentIndex(k)


def _ellipse(corners: np.ndarray) -> np.ndarray:
    """Vertices of the ellipse in four corners (4, n)."""
    centre = corners.mean(0)
    u, v = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * u + np.sin(angle) * v)


def _between(shapes: Shapes, atoms: Points, corners: np.ndarray) -> np.ndarray:
    """Vertices (k, 2) in pixels of the atoms layer, wherever the shapes layer lies."""
    found = []
    for corner in corners:
        world = np.asarray(shapes.data_to_world(corner), float)[-2:]
        whole = np.r_[np.zeros(atoms.ndim - 2), world]
        found.append(np.asarray(atoms.world_to_data(whole), float)[-2:])
    return np.array(found)
