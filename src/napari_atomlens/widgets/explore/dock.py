"""The Explore dock: plots, table, gallery and viewer as one linked view of the atoms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens import tables
from napari_atomlens.contours.anomalies import AnomalyParams
from napari_atomlens.contours.classbook import COLOURS, ClassBook, populations
from napari_atomlens.contours.classes import Classes, ClassParams, classify_sites
from napari_atomlens.contours.report import describe_all
from napari_atomlens.errors import ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base.jobs import Job, Stop, Work
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import ParamForm, shrinkable_combo
from napari_atomlens.widgets.base.plots import (
    SHADES,
    Curves,
    Histogram,
    Plot,
    Rose,
    Scatter,
    viridis,
)
from napari_atomlens.widgets.base.rows import Gallery, RowTable
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.roles import ATOMS, KEY, PROBABILITY, entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer, Points
    from napari.utils.events import Event
    from numpy.typing import ArrayLike

ANOMALIES = "anomalies"
NOTHING = "one colour"
#: Columns that are measured anew, whatever they were.
ANEW = ("anomaly", "raw_", "site_", "sublattice")
#: Patches that the gallery shows at most.
MOST_PATCHES = 120
#: The current frame is marked when the slider has rested this long.
REST_MS = 80
#: What the plots show first, where it is there.
FIRST_X = ("raw_stretch_x", "area_px2", "x_px")
FIRST_Y = ("raw_strength", "eccentricity", "y_px")
FIRST_ANGLE = ("raw_orientation_rad", "orientation_rad")


#: Frames that are done and in all; the table comes with the last.
Described = tuple[int, int, pd.DataFrame | None]


@dataclass(frozen=True)
class Found:
    """Classes, and the rows of the table that they belong to."""

    classes: Classes
    rows: np.ndarray


class ExploreWidget(DockWidget):
    """Shows what is known of every atom, finds anomalies and classes, and links it all.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("explore")
        self._viewer = viewer
        self._layer: Points | None = None
        self._table = pd.DataFrame()
        self._rows = np.zeros(0, np.int64)
        self._book = ClassBook()
        self._classes: Classes | None = None
        self._class_rows = np.zeros(0, np.int64)
        self._busy = self._closed = False
        self._job = Job(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._on_rested)
        self._create()
        self._connect()
        self._on_theme()
        self._list_layers()

    # -------------------------------------------------------------- the window

    def _create(self) -> None:
        self._combo = self._choice("atoms_layer", "The atoms to look at")
        self._anomaly_form = ParamForm(AnomalyParams)
        self._class_form = ParamForm(ClassParams)
        self._describe = self._button(
            "describe", "Describe and find anomalies",
            "Measure contours and raw image of every site, and flag the unusual",
        )  # fmt: skip
        self._bar = QProgressBar()
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("explore_status")
        self._status.setWordWrap(True)
        self._x, self._y = self._choice("x", "Along x"), self._choice("y", "Along y")
        self._colour = self._choice("colour", "Colour of the points, here and in the viewer")
        self._lasso = QCheckBox("Lasso")
        self._lasso.setObjectName("lasso")
        self._lasso.setToolTip("Draw round points to select them (or hold Shift while dragging)")
        self._column = self._choice("column", "Column of the histogram")
        self._angle = self._choice("angle", "Column of angles (radians)")
        self._flagged_rose = QCheckBox("Flagged only")
        self._flagged_rose.setObjectName("flagged_rose")
        self.scatter, self.histogram = Scatter(), Histogram()
        self.rose, self.curves = Rose(), Curves()
        self.table, self.gallery = RowTable(), Gallery("gallery")
        self.class_gallery = Gallery("class_gallery", 72)
        self._flagged_table = QCheckBox("Flagged first")
        self._flagged_table.setObjectName("flagged_first")
        self._classify = self._button(
            "classify", "Find classes", "Of the flagged sites, or of all where none is"
        )
        self._merge = self._button("merge", "Merge", "Make the selected classes one")
        self._split = self._button("split", "Split", "Split the selected class in two")
        self._rename = self._button("rename", "Rename", "Name the selected class")
        self._recolour = self._button("recolour", "Colour", "Colour of the selected class")
        self._undo = self._button("undo_classes", "Undo", "Take back the last change of classes")
        self._export_plot = self._button("export_plot", "Save plot…", "As PNG or SVG")
        self._export_table = self._button("export_table", "Save table…", "All rows as CSV")

        self.tabs = QTabWidget()
        self.tabs.setObjectName("views")
        self.tabs.addTab(
            self._page(
                self._line(("x", self._x), ("y", self._y), ("colour", self._colour), self._lasso),
                self.scatter,
            ),
            "Scatter",
        )
        self.tabs.addTab(self._page(self._line(("of", self._column)), self.histogram), "Histogram")
        self.tabs.addTab(
            self._page(self._line(("of", self._angle), self._flagged_rose), self.rose), "Rose"
        )
        self.tabs.addTab(self._page(self._line(self._flagged_table), self.table), "Table")
        self.tabs.addTab(self._page(self.gallery), "Gallery")
        options = QFormLayout()
        for name in ("method", "fold", "mirror", "radius", "smallest"):
            self._class_form.add_row(options, name)
        edits = self._line(self._merge, self._split, self._rename, self._recolour, self._undo)
        self.tabs.addTab(self._page(options, self._classify, self.class_gallery, edits), "Classes")
        self.tabs.addTab(self._page(self.curves), "Frames")
        form = QFormLayout()
        form.addRow("Atoms", self._combo)
        self._anomaly_form.add_row(form, "rate")
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self._describe)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(self._line(self._export_plot, self._export_table))
        self.setMinimumWidth(380)

    @staticmethod
    def _choice(name: str, tip: str) -> QComboBox:
        combo = shrinkable_combo(6)
        combo.setObjectName(name)
        combo.setToolTip(tip)
        return combo

    @staticmethod
    def _button(name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setToolTip(tip)
        return button

    @staticmethod
    def _line(*items: QWidget | tuple[str, QWidget]) -> QHBoxLayout:
        row = QHBoxLayout()
        for item in items:
            if isinstance(item, tuple):
                row.addWidget(QLabel(item[0]))
                row.addWidget(item[1], 1)
            else:
                row.addWidget(item)
        return row

    @staticmethod
    def _page(*items: QWidget | QLayout) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(4, 4, 4, 4)
        for item in items:
            if isinstance(item, QWidget):
                layout.addWidget(item, 1 if not isinstance(item, QPushButton) else 0)
            else:
                layout.addLayout(item)
        return page

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._list_layers)
        layers.removed.connect(self._list_layers)
        self._viewer.dims.events.current_step.connect(self._on_slider)
        self._viewer.events.theme.connect(self._on_theme)
        self._combo.currentIndexChanged.connect(self._on_layer_chosen)
        for combo in (self._x, self._y):
            combo.currentTextChanged.connect(self._draw_scatter)
        self._colour.currentTextChanged.connect(self._on_colour)
        self._column.currentTextChanged.connect(self._draw_histogram)
        self._angle.currentTextChanged.connect(self._draw_rose)
        self._flagged_rose.toggled.connect(self._draw_rose)
        self._flagged_table.toggled.connect(self._on_flagged_first)
        self._lasso.toggled.connect(self._on_lasso)
        for view in (self.scatter, self.histogram, self.table, self.gallery):
            view.picked.connect(self.select)
        for view in (self.scatter, self.table, self.gallery):
            view.visited.connect(self.visit)
        self.class_gallery.picked.connect(self._on_class_picked)
        self._describe.clicked.connect(self.describe)
        self._classify.clicked.connect(self.classify)
        self._merge.clicked.connect(self._on_merge)
        self._split.clicked.connect(self._on_split)
        self._rename.clicked.connect(self._on_rename)
        self._recolour.clicked.connect(self._on_recolour)
        self._undo.clicked.connect(self._on_undo)
        self._export_plot.clicked.connect(self._on_export_plot)
        self._export_table.clicked.connect(self._on_export_table)
        self.tabs.currentChanged.connect(self._on_tab)
        self._job.results.connect(self._on_results)
        self._job.failed.connect(self._status.setText)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        self._job.close()
        self._rest.stop()
        self._follow(None)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._list_layers)
        layers.removed.disconnect(self._list_layers)
        self._viewer.dims.events.current_step.disconnect(self._on_slider)
        self._viewer.events.theme.disconnect(self._on_theme)

    def _on_theme(self, event: Event | None = None) -> None:
        from napari.utils.theme import get_theme

        theme = get_theme(self._viewer.theme)
        for plot in (self.scatter, self.histogram, self.rose, self.curves):
            plot.set_theme(theme.background.as_hex("long"), theme.text.as_hex("long"))
        self._draw_rose()

    # -------------------------------------------------------------- the layers

    def _list_layers(self, event: Event | None = None) -> None:
        from napari.layers import Points

        layers = [
            x
            for x in self._viewer.layers
            if isinstance(x, Points) and entry(x).get("role") != ANOMALIES
        ]
        layers.sort(key=lambda x: entry(x).get("role") != ATOMS)
        chosen = self._combo.currentData()
        ids = [str(x.unique_id) for x in layers]
        self._combo.blockSignals(True)
        self._combo.clear()
        for layer in layers:
            self._combo.addItem(layer.name, str(layer.unique_id))
        self._combo.setCurrentIndex(ids.index(chosen) if chosen in ids else (0 if ids else -1))
        self._combo.blockSignals(False)
        if self._combo.currentData() != chosen or self._layer is None:
            self._on_layer_chosen()
        if not layers:
            self._status.setText("Find atoms first, or open a Points layer with features.")

    def _by_id(self, unique_id: str | None) -> Layer | None:
        return next((x for x in self._viewer.layers if str(x.unique_id) == unique_id), None)

    def _on_layer_chosen(self, index: int = 0) -> None:
        self._follow(self._by_id(self._combo.currentData()))
        self._status.setText("" if self._layer is not None else self._status.text())
        self._load_book()
        self.refresh()

    def _follow(self, layer: Points | None) -> None:
        """Listen to the selection, the data and the features of a layer, and to no other."""
        old, self._layer = self._layer, layer
        for one, connect in ((old, False), (layer, True)):
            if one is None:
                continue
            for event, slot in (
                (one.selected_data.events.items_changed, self._on_viewer_selection),
                (one.events.data, self._on_changed), (one.events.features, self._on_changed),
            ):  # fmt: skip
                if connect:
                    event.connect(slot)
                else:
                    event.disconnect(slot)

    def _related(self, role: str) -> Layer | None:
        """Our layer of this role for the image that the atoms were found in."""
        mine = entry(self._layer) if self._layer is not None else {}
        return next(
            (x for x in self._viewer.layers if entry(x).get("role") == role
             and entry(x).get("source_id") == mine.get("source_id")), None,
        )  # fmt: skip

    def image(self) -> Image | None:
        """Return the image layer that the atoms belong to, None where there is none."""
        from napari.layers import Image

        source = entry(self._layer).get("source_id") if self._layer is not None else None
        found = self._by_id(source)
        if found is not None:
            return found
        images = [x for x in self._viewer.layers if isinstance(x, Image) and not entry(x)]
        return images[-1] if images else None

    @property
    def _points(self) -> Points:
        """The layer of the atoms, for what is called only where there is one."""
        assert self._layer is not None
        return self._layer

    def frames(self) -> np.ndarray:
        """Frame of each row."""
        data = np.asarray(self._points.data)
        return (
            np.round(data[:, 0]).astype(np.int64)
            if data.shape[1] == 3
            else np.zeros(len(data), np.int64)
        )

    def _on_changed(self, event: Event | None = None) -> None:
        action = str(getattr(getattr(event, "action", ""), "value", ""))
        if not self._busy and action not in ("adding", "removing", "changing"):
            self._rest.start()
            self._stale = True

    def _on_slider(self, event: Event | None = None) -> None:
        self._rest.start()

    _stale = False

    def _on_rested(self) -> None:
        if self._closed:
            return
        if self._stale:
            self._stale = False
            self.refresh()
        elif self.isVisible():
            self._mark_frame()

    # ------------------------------------------------------------------- views

    def refresh(self) -> None:
        """Read the layer anew and draw all views."""
        layer = self._layer
        if layer is None:
            self._table = pd.DataFrame()
        else:
            features = layer.features.reset_index(drop=True)
            data = np.asarray(layer.data)
            places = {"y_px": data[:, -2], "x_px": data[:, -1]} if len(data) else {}
            self._table = features.assign(**places)
        names = [str(c) for c in self._table if pd.api.types.is_numeric_dtype(self._table[c])
                 and not pd.api.types.is_bool_dtype(self._table[c])]  # fmt: skip
        self._fill(self._x, names, FIRST_X)
        self._fill(self._y, names, FIRST_Y)
        self._fill(self._column, names, FIRST_Y)
        self._fill(self._angle, [n for n in names if n.endswith("_rad")], FIRST_ANGLE)
        self._fill(self._colour, [NOTHING, *map(str, self._table.columns)], (NOTHING,))
        self._rows = self._rows[self._rows < len(self._table)]
        self.table.show_table(self._table)
        self._on_flagged_first()
        self._draw_scatter()
        self._draw_histogram()
        self._draw_rose()
        self._draw_classes()
        self._draw_curves()
        self._mark_selection()
        self._mark_frame()

    @staticmethod
    def _fill(combo: QComboBox, names: list[str], first: tuple[str, ...]) -> None:
        if names == [combo.itemText(i) for i in range(combo.count())]:
            return
        chosen = combo.currentText() if combo.property("touched") else ""
        combo.blockSignals(True)
        combo.clear()
        combo.addItems([str(n) for n in names])
        for name in (chosen, *first):
            if name in names:
                combo.setCurrentText(name)
                break
        combo.blockSignals(False)

    def values(self, name: str) -> np.ndarray:
        """Numbers of a column, NaN where it has none."""
        if name not in self._table:
            return np.full(len(self._table), np.nan)
        return pd.to_numeric(self._table[name], errors="coerce").to_numpy(float)

    def shades(self, name: str) -> tuple[np.ndarray | None, list[str]]:
        """Colour of each row by a column: index and list of colours."""
        if name not in self._table:
            return None, ["#4cc9f0"]
        column = self._table[name]
        if name == "anomaly_class":
            numbers = column.fillna(-1).astype(int).to_numpy()
            names, index = np.unique(numbers, return_inverse=True)
            return index, [self._book.colour(int(k)) for k in names]
        if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
            codes, found = pd.factorize(column.astype(str), sort=True)
            return np.asarray(codes), [COLOURS[k % len(COLOURS)] for k in range(len(found))]
        values = column.to_numpy(float)
        good = values[np.isfinite(values)]
        low, high = np.percentile(good, [1, 99]) if len(good) else (0, 1)
        part = np.nan_to_num((values - low) / max(high - low, 1e-300))
        return np.clip(part * SHADES, 0, SHADES - 1).astype(int), viridis(SHADES)

    def _draw_scatter(self, text: str = "") -> None:
        if text:
            self._x.setProperty("touched", True)
            self._y.setProperty("touched", True)
        x, y = self._x.currentText(), self._y.currentText()
        shade, colours = self.shades(self._colour.currentText())
        self.scatter.show_points(self.values(x), self.values(y), shade, colours)
        self.scatter.setLabel("bottom", x)
        self.scatter.setLabel("left", y)
        self.scatter.mark_selected(self._rows)
        self._mark_frame()

    def _on_colour(self, text: str) -> None:
        self._colour.setProperty("touched", True)
        self._draw_scatter()
        if self._layer is None or not len(self._table):
            return
        shade, colours = self.shades(text)
        with self._own():
            if shade is None or text == NOTHING:
                self._layer.face_color = "transparent"
            else:
                from napari.utils.colormaps.standardize_color import transform_color

                palette = transform_color(colours)
                self._layer.face_color = palette[shade % len(palette)]

    @contextlib.contextmanager
    def _own(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _draw_histogram(self, text: str = "") -> None:
        if text:
            self._column.setProperty("touched", True)
        name = self._column.currentText()
        self.histogram.show_values(self.values(name), name)
        self.histogram.mark_selected(self._rows)

    def _draw_rose(self, _: str | bool | None = None) -> None:
        name = self._angle.currentText()
        values = self.values(name).copy()
        if self._flagged_rose.isChecked() and "anomaly" in self._table:
            values[~self._table["anomaly"].fillna(False).to_numpy(bool)] = np.nan
        self.rose.show_angles(values, self._rows)

    def _on_flagged_first(self, _: bool | None = None) -> None:
        columns = list(self._table.columns)
        if self._flagged_table.isChecked() and "anomaly_score" in columns:
            from qtpy.QtCore import Qt

            self.table.sortByColumn(columns.index("anomaly_score"), Qt.SortOrder.DescendingOrder)
            first = ["anomaly_score", "anomaly_reason", "anomaly_p", "anomaly_q", "kind"]
            header = self.table.horizontalHeader()
            for to, name in enumerate(n for n in first if n in columns):
                header.moveSection(header.visualIndex(columns.index(name)), to)
        self.table.mark_selected(self._rows)

    def _on_lasso(self, on: bool) -> None:
        self.scatter.lasso = on

    def _on_tab(self, index: int) -> None:
        if self.tabs.tabText(index) == "Gallery":
            self._draw_gallery()

    # --------------------------------------------------------------- selection

    def select(self, rows: ArrayLike) -> None:
        """Select rows everywhere: in the viewer, the plots, the table and the gallery."""
        self._rows = np.unique(np.asarray(rows, np.int64))
        if self._layer is not None:
            with self._own():
                self._layer.selected_data = {int(r) for r in self._rows}
                self._layer.refresh()
        self._mark_selection()

    def selected(self) -> np.ndarray:
        """Rows that are selected."""
        return self._rows

    def _on_viewer_selection(self, *_: object) -> None:
        if self._busy or self._layer is None:
            return
        self._rows = np.sort(np.fromiter((int(i) for i in self._layer.selected_data), np.int64))
        self._rows = self._rows[self._rows < len(self._table)]
        self._mark_selection()

    def _mark_selection(self) -> None:
        self.scatter.mark_selected(self._rows)
        self.histogram.mark_selected(self._rows)
        self.table.mark_selected(self._rows)
        if self.tabs.tabText(self.tabs.currentIndex()) == "Rose":
            self._draw_rose()
        if self.tabs.tabText(self.tabs.currentIndex()) == "Gallery" and not self.gallery.hasFocus():
            self._draw_gallery()
        if len(self._rows):
            text = f"{len(self._rows):,} of {len(self._table):,} selected"
            if len(self._rows) == 1 and "anomaly_reason" in self._table:
                reason = str(self._table["anomaly_reason"].iloc[self._rows[0]])
                text += f": {reason}" if reason else ""
            self._status.setText(text)

    def visit(self, row: int) -> None:
        """Show a row in the viewer: its frame, its place in the middle."""
        if self._layer is None or not 0 <= row < len(self._table):
            return
        world = self._layer.data_to_world(np.asarray(self._layer.data[row], float))
        if self._layer.ndim == 3:
            self._viewer.dims.set_point(self._viewer.dims.ndim - 3, float(world[0]))
        self._viewer.scene.camera.center = tuple(float(v) for v in world[-2:])
        self.select([row])

    def _mark_frame(self) -> None:
        if self._layer is None or self._layer.ndim != 3 or not len(self._table):
            self.scatter.mark_current(np.zeros(0, np.int64))
            return
        axis = self._viewer.dims.ndim - 3
        world = float(self._viewer.dims.point[axis])
        frame = round((world - self._layer.translate[0]) / self._layer.scale[0])
        self.scatter.mark_current(np.flatnonzero(self.frames() == frame))
        self.curves.cursor.setValue(frame)

    def _draw_gallery(self) -> None:
        rows = self._rows
        if not len(rows) and "anomaly_score" in self._table:
            score = self.values("anomaly_score")
            rows = np.argsort(-np.nan_to_num(score, nan=-1), kind="stable")
        rows = rows[:MOST_PATCHES]
        image = self.image()
        if image is None or not len(rows):
            self.gallery.clear()
            return
        self.gallery.show_patches(
            self._patches(image, rows), rows, [self._caption(int(r)) for r in rows]
        )

    def _caption(self, row: int) -> str:
        if "anomaly_score" in self._table:
            return f"{row}\n{self.values('anomaly_score')[row]:.1f} σ"
        return str(row)

    def _patches(self, image: Image, rows: np.ndarray) -> np.ndarray:
        data, frames = np.asarray(self._points.data), self.frames()
        spacing = float(entry(self._layer).get("spacing_px", np.nan))
        radius = int(np.clip(1.4 * spacing if np.isfinite(spacing) else 16, 6, 64))
        out = np.full((len(rows), 2 * radius + 1, 2 * radius + 1), np.nan)
        for k, r in enumerate(rows):
            plane = image.data[int(frames[r])] if image.data.ndim == 3 else image.data
            y, x = np.rint(data[r, -2:]).astype(int)
            top, left = max(y - radius, 0), max(x - radius, 0)
            part = np.asarray(plane[top : y + radius + 1, left : x + radius + 1], float)
            t, s = top - (y - radius), left - (x - radius)
            out[k, t : t + part.shape[0], s : s + part.shape[1]] = part
        return out

    # ---------------------------------------------------------------- describe

    def _atoms(self) -> pd.DataFrame:
        image = self.image()
        size = convert.pixel_size_nm(image.scale, image.units) if image is not None else None
        features = self._points.features
        known = [c for c in features if c in tables.ATOMS]
        return convert.atoms_from_points(self._points.data, features[known], size)

    def describe(self) -> None:
        """Measure all sites and flag the unusual, off the thread of the window."""
        if self._job.is_running:
            self._job.cancel()
            return
        image = self.image()
        if self._layer is None or image is None or not len(self._layer.data):
            self._status.setText("There are no atoms with an image to describe.")
            return

        try:
            params = self._anomaly_form.value()
        except ParameterError as error:
            self._status.setText(str(error))
            return
        atoms, data = self._atoms(), image.data
        probability = self._related(PROBABILITY)
        maps = None if probability is None else probability.data
        size = convert.pixel_size_nm(image.scale, image.units)

        def work(stop: Stop) -> Iterator[Described]:
            return describe_all(
                data,
                atoms,
                maps,
                pixel_size_nm=size,
                params=params,
                progress=Progress(stop=stop),
            )

        self._start(work, "Describing…")

    def _start(self, work: Work, text: str) -> None:
        self._describe.setText("Cancel")
        self._classify.setEnabled(False)
        self._bar.setRange(0, 0)
        self._bar.show()
        self._status.setText(text)
        self._job.start(work)

    def _on_results(self, results: list[Found | Described]) -> None:
        if isinstance(results[-1], Found):
            self._take_classes(results[-1])
            return
        done, total, table = results[-1]
        self._bar.setRange(0, total)
        self._bar.setValue(done)
        if table is not None and self._layer is not None:
            self.take(table)

    def take(self, table: pd.DataFrame) -> None:
        """Put described sites into the features of the atoms, and the unusual into a layer."""
        layer = self._points
        ids = (
            layer.features["atom_id"]
            if "atom_id" in layer.features
            else pd.Series(range(len(layer.data)))
        )
        indexed = table.set_index("atom_id")
        features = layer.features.reset_index(drop=True)
        fresh = [
            c
            for c in indexed
            if c not in features or str(c).startswith(("anomaly", "raw_", "site_", "sublattice"))
        ]
        mine = (
            indexed.loc[indexed.index.isin(ids), fresh]
            .reindex(ids.to_numpy())
            .reset_index(drop=True)
        )
        if "anomaly" in mine:
            mine["anomaly"] = mine["anomaly"].map(lambda v: v is True or v == 1).astype(bool)
            mine["anomaly_reason"] = mine["anomaly_reason"].fillna("").astype(str)
        features = pd.concat(
            [features.drop(columns=[c for c in fresh if c in features]), mine], axis=1
        )
        with self._own():
            layer.features = features
        self._show_anomalies(table)
        self.refresh()
        n, vacant = (
            int(table["anomaly"].sum()),
            int((table["anomaly"] & (table["source"] == "lattice")).sum()),
        )
        rate = 100 * self._anomaly_form.value().rate
        text = f"{n:,} of {len(table):,} sites are unusual at a false-discovery rate of {rate:g} %"
        self._status.setText(f"{text}, {vacant:,} of them vacant." if vacant else f"{text}.")

    def _show_anomalies(self, table: pd.DataFrame) -> None:
        from napari.layers import Points

        flagged = table[table["anomaly"].to_numpy(bool)].sort_values(
            "anomaly_score", ascending=False
        )
        ndim = self._points.ndim
        data = np.array(flagged[["frame", "y_px", "x_px"][-ndim:]], float).reshape(-1, ndim)
        names = [
            "frame",
            "atom_id",
            "kind",
            "anomaly_score",
            "anomaly_p",
            "anomaly_q",
            "anomaly_reason",
            "source",
        ]
        features = flagged[names].reset_index(drop=True)
        spacing = float(entry(self._layer).get("spacing_px", np.nan))
        if not np.isfinite(spacing):
            spacing = 12.0
        layer = self._related(ANOMALIES)
        style = {"size": 0.95 * spacing, "face_color": "transparent", "border_width": 0.09}
        if layer is None:
            layer = Points(
                data, ndim=ndim, features=features, symbol="square",
                name=f"anomalies · {self._points.name}",
                scale=self._points.scale, translate=self._points.translate,
                units=self._points.units, axis_labels=self._points.axis_labels,
                metadata={KEY: {**entry(self._layer), "role": ANOMALIES}}, **style,
            )  # fmt: skip
            self._viewer.layers.insert(len(self._viewer.layers), layer)
        else:
            layer.data = data
            layer.features = features
            layer.size = style["size"]
        if len(data):
            layer.border_color = "anomaly_score"
            layer.border_colormap = "plasma"
        self._viewer.layers.selection.active = self._layer

    def _on_crashed(self, error: Exception) -> None:
        self._status.setText(f"Something went wrong: {type(error).__name__}: {error}")

    def _on_finished(self) -> None:
        self._bar.hide()
        self._describe.setText("Describe and find anomalies")
        self._classify.setEnabled(True)

    # ----------------------------------------------------------------- classes

    def classify(self) -> None:
        """Find classes of the flagged sites; of all sites where fewer than ten are flagged."""
        if self._job.is_running:
            return
        image = self.image()
        if self._layer is None or image is None:
            self._status.setText("There are no atoms with an image to classify.")
            return

        sites = self._table.assign(frame=self.frames())
        rows = np.arange(len(sites))
        if "anomaly" in sites and sites["anomaly"].sum() >= 10:
            rows = np.flatnonzero(sites["anomaly"].to_numpy(bool))
        spacing = float(entry(self._layer).get("spacing_px", np.nan))
        if np.isfinite(spacing):
            sites.attrs["spacing_px"] = spacing
        params, data = self._class_form.value(), image.data

        def work(stop: Stop) -> Iterator[Found]:
            yield Found(classify_sites(data, sites, params, rows=rows), rows)

        self._start(work, "Looking for classes…")

    def _take_classes(self, result: Found) -> None:
        found, rows = result.classes, result.rows
        if self._layer is None or (len(rows) and rows.max() >= len(self._table)):
            return  # atoms went while the classes were looked for
        self._classes, self._class_rows, self._book = found, rows, ClassBook()
        self._store_classes()
        if found.bic:
            order = sorted(found.bic.items(), key=lambda kv: kv[1])
            text = ", ".join(f"{k}: {v:.0f}" for k, v in order[:4])
            self._status.setText(f"{order[0][0]} classes have the least BIC ({text} …).")
        else:
            out = int((found.label < 0).sum())
            self._status.setText(
                f"{found.label.max() + 1} classes of {len(rows):,} sites, {out:,} in none."
            )

    def _labels(self) -> np.ndarray:
        """Labels of all rows of the table, after what the user did."""
        out = np.full(len(self._table), -1)
        if self._classes is not None and len(self._class_rows):
            good = self._class_rows < len(out)
            out[self._class_rows[good]] = self._book.apply(self._classes.label)[good]
        return out

    def _store_classes(self) -> None:
        """Put labels into the features, and the book into the metadata of the layer."""
        labels = self._labels()
        with self._own():
            features = self._points.features.copy()
            features["anomaly_class"] = labels
            self._points.features = features
            mine = dict(entry(self._layer))
            mine["classes"] = {
                **self._book.as_dict(),
                "rows": self._class_rows.tolist(),
                "machine": [] if self._classes is None else self._classes.label.tolist(),
            }
            self._points.metadata[KEY] = mine
        self.refresh()

    def _load_book(self) -> None:
        """Take up the classes that were kept with the layer."""
        self._classes, self._book, self._class_rows = None, ClassBook(), np.zeros(0, np.int64)
        kept = entry(self._layer).get("classes") if self._layer is not None else None
        if not kept:
            return
        try:
            self._book = ClassBook.from_dict(kept)
        except ParameterError as error:
            self._status.setText(str(error))
            return
        self._class_rows = np.asarray(kept.get("rows", []), np.int64)
        label = np.asarray(kept.get("machine", []), np.int64)
        nothing = np.zeros((0, 0, 0))
        self._classes = Classes(label, np.zeros((len(label), 0)), nothing, nothing)

    def _draw_classes(self) -> None:
        labels = self._labels()
        numbers = [int(k) for k in np.unique(labels) if k >= 0]
        image = self.image() if self._layer is not None else None
        if not numbers or image is None:
            self.class_gallery.clear()
            return
        pictures = []
        aligned = self._classes is not None and self._classes.patches.size > 0
        for k in numbers:
            if aligned and self._classes is not None:
                inside = self._book.apply(self._classes.label) == k
                pictures.append(np.nanmean(self._classes.patches[inside], axis=0))
            else:
                rows = np.flatnonzero(labels == k)[:60]
                pictures.append(np.nanmean(self._patches(image, rows), axis=0))
        texts = [f"{self._book.name(k)}\n{int((labels == k).sum()):,}" for k in numbers]
        self.class_gallery.show_patches(
            np.stack(pictures), np.array(numbers), texts, [self._book.colour(k) for k in numbers]
        )

    def _draw_curves(self) -> None:
        if self._layer is None or not len(self._table):
            self.curves.show_curves(np.zeros(0), {}, {})
            return
        labels = self._labels()
        if (labels >= 0).any():
            table = populations(self.frames(), labels)
            numbers = [k for k in map(int, table.columns) if k >= 0]
            names = {k: self._book.name(k) for k in numbers}
            curves = {names[k]: table[k].to_numpy() for k in numbers}
            colours = {names[k]: self._book.colour(k) for k in numbers}
        else:
            table = populations(self.frames(), np.zeros(len(self._table), int))
            curves, colours = {"atoms": table[0].to_numpy()}, {"atoms": "#4cc9f0"}
        self.curves.show_curves(table.index.to_numpy(float), curves, colours)

    def _on_class_picked(self, numbers: np.ndarray) -> None:
        self.select(np.flatnonzero(np.isin(self._labels(), numbers)))

    def change_classes(self, book: ClassBook) -> None:
        """Take another book of names, colours, merges and splits."""
        self._book = book
        self._store_classes()

    def _edit(self, action: Callable[[list[int]], ClassBook], fewest: int = 1) -> None:
        numbers = [int(k) for k in self.class_gallery.keys()]  # noqa: SIM118
        if len(numbers) < fewest:
            self._status.setText(
                f"Select {'a class' if fewest == 1 else 'at least two classes'} first."
            )
            return
        try:
            self.change_classes(action(numbers))
        except ParameterError as error:
            self._status.setText(str(error))

    def _on_merge(self) -> None:
        self._edit(lambda k: self._book.merge(min(k), *k), 2)

    def _on_split(self) -> None:
        def split(k: list[int]) -> ClassBook:
            if self._classes is None or not self._classes.embedding.size:
                raise ParameterError("Find the classes anew before you split one.")
            labels = self._book.apply(self._classes.label)
            return self._book.split(k[0], labels, self._classes.embedding)

        self._edit(split)

    def _on_rename(self) -> None:
        numbers = self.class_gallery.keys()
        if len(numbers):
            old = self._book.name(int(numbers[0]))
            text, ok = QInputDialog.getText(self, "Name of the class", "Name", text=old)
            if ok:
                self._edit(lambda k: self._book.rename(k[0], text))

    def _on_recolour(self) -> None:
        numbers = self.class_gallery.keys()
        if len(numbers):
            from qtpy.QtGui import QColor

            colour = QColorDialog.getColor(QColor(self._book.colour(int(numbers[0]))), self)
            if colour.isValid():
                self._edit(lambda k: self._book.recolour(k[0], colour.name()))

    def _on_undo(self) -> None:
        if self._book.journal:
            self.change_classes(self._book.undo())

    # ------------------------------------------------------------------ export

    def _plot(self) -> Plot:
        page = self.tabs.currentWidget()
        for plot in (self.scatter, self.histogram, self.rose, self.curves):
            if page.isAncestorOf(plot):
                return plot
        return self.scatter

    def _on_export_plot(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save plot", "plot.png", "Pictures (*.png *.svg)"
        )
        if name:
            self.export_plot(Path(name))

    def export_plot(self, path: Path) -> None:
        """Save the plot that is shown (the scatter plot where none is)."""
        self._plot().save(path)
        self._status.setText(f"Saved {path.name}.")

    def _on_export_table(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save table", "sites.csv", "Tables (*.csv)")
        if name:
            self.export_table(Path(name))

    def export_table(self, path: Path) -> None:
        """Save all rows as CSV, class names included."""
        table = self._table.copy()
        if "anomaly_class" in table:
            table["class_name"] = [self._book.name(int(k)) for k in table["anomaly_class"]]
        table.to_csv(path, index=False)
        self._status.setText(f"Saved {path.name}.")
