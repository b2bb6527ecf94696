"""Plots that are fast at a hundred thousand points: scatter, histogram, rose, curves.

pyqtgraph draws; a k-d tree picks. Rows are those of the table, whatever is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
import scipy
from qtpy.QtCore import (  # type: ignore[attr-defined]
    QBuffer,
    QEvent,
    QIODevice,
    QPointF,
    Qt,
    Signal,
)
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QWidget

from napari_atomlens.files import user_file, write_whole
from napari_atomlens.points import inside_polygon
from napari_atomlens.widgets.base.layout import leave_room

if TYPE_CHECKING:
    from qtpy.QtCore import QObject


#: Colours of a numeric column, dark to bright (viridis), and of the marks.
SHADES = 16
SELECTED, CURRENT, PLAIN = "#ff5d5d", "#ffffff", "#4cc9f0"
#: Symbols get smaller where there are many.
LARGE, SMALL, MANY = 6, 3, 20_000
#: A click further than this many screen pixels from a point picks nothing.
NEAR_PX = 12.0


def viridis(n: int) -> list[str]:
    """Return n colours from dark to bright as "#rrggbb"."""
    table = pg.colormap.get("viridis").getLookupTable(0.0, 1.0, n)
    return ["#{:02x}{:02x}{:02x}".format(*(int(v) for v in row[:3])) for row in table]


class FrameAxis(pg.AxisItem):
    """A lower axis of frames: there is none at 0.5."""

    def __init__(self) -> None:
        super().__init__("bottom")

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """Return the distances of the ticks that are whole."""
        spacings = super().tickSpacing(low, high, size)
        return [s for s in spacings if s[0] >= 1 and float(s[0]).is_integer()] or [(1.0, 0.0)]


class Plot(pg.PlotWidget):
    """A plot that follows the theme of napari and can be saved."""

    def __init__(
        self, parent: QWidget | None = None, axes: Mapping[str, pg.AxisItem] | None = None
    ) -> None:
        super().__init__(parent=parent, axisItems=axes)
        self.setMinimumHeight(160)
        self.getPlotItem().hideButtons()
        leave_room(self)
        self.set_theme("#262930", "#f0f1f2")

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.setBackground(background)
        self._text = text
        for side in ("left", "bottom"):
            axis = self.getPlotItem().getAxis(side)
            axis.setPen(text)
            axis.setTextPen(text)
            axis.enableAutoSIPrefix(False)

    def save(self, path: Path) -> None:
        """Write the plot as PNG or SVG, by the ending of the name.

        Raises
        ------
        FormatError
            If the file cannot be written.
        """
        drawn = QBuffer()
        drawn.open(QIODevice.OpenModeFlag.WriteOnly)
        if path.suffix.lower() == ".svg":
            self._draw_svg(drawn)
        else:
            from pyqtgraph.exporters import ImageExporter

            ImageExporter(self.getPlotItem()).export(toBytes=True).save(drawn, "PNG")
        with user_file(path) as target:
            write_whole(target, bytes(drawn.data().data()))

    def _draw_svg(self, device: QBuffer) -> None:
        # the SVG exporter of pyqtgraph 0.14 stops at some paths; Qt's own does not
        from qtpy.QtCore import QRectF, QSize
        from qtpy.QtGui import QPainter
        from qtpy.QtSvg import QSvgGenerator

        target = QSvgGenerator()
        target.setOutputDevice(device)
        target.setSize(QSize(self.width(), self.height()))
        target.setViewBox(QRectF(0, 0, self.width(), self.height()))
        painter = QPainter(target)
        self.render(painter)
        painter.end()


class Scatter(Plot):
    """Two columns against each other, with click, lasso and double-click.

    Attributes
    ----------
    picked : Signal(object)
        Rows (ndarray of int) that the user chose by click or lasso; empty to choose nothing.
    visited : Signal(int)
        A row was double-clicked.
    """

    picked = Signal(object)
    visited = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("scatter")
        self._xy = np.zeros((0, 2))
        self._rows = np.zeros(0, np.int64)
        self._layers: list[pg.ScatterPlotItem] = []
        self._current = pg.ScatterPlotItem(pen=None, brush=pg.mkBrush(CURRENT), pxMode=True)
        self._selected = pg.ScatterPlotItem(pen=pg.mkPen(SELECTED, width=2), brush=None, size=10)
        for z, item in ((10, self._current), (20, self._selected)):
            item.setZValue(z)
            self.addItem(item)
        self._line = pg.PlotCurveItem(pen=pg.mkPen(SELECTED, width=1.5))
        self._line.setZValue(30)
        self.addItem(self._line)
        self._path: list[tuple[float, float]] = []
        self._pressed, self._moved = QPointF(), 0.0
        self.lasso = False
        self._tree: scipy.spatial.cKDTree | None = None
        self._tree_scale = (0.0, 0.0)
        self.viewport().installEventFilter(self)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        super().set_theme(background, text)
        if hasattr(self, "_current"):
            self._current.setBrush(pg.mkBrush(text))

    def show_points(
        self, x: np.ndarray, y: np.ndarray, shade: np.ndarray | None, colours: Sequence[str]
    ) -> None:
        """Draw points.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Rows where either is not finite are not drawn.
        shade : ndarray of int, shape (n,), optional
            Which colour each row has.
        colours : sequence of str
        """
        good = np.isfinite(x) & np.isfinite(y)
        self._rows = np.flatnonzero(good)
        self._xy = np.c_[x[good], y[good]]
        self._tree = None
        for item in self._layers:
            self.removeItem(item)
        self._layers = []
        which = np.zeros(len(self._xy), int) if shade is None else np.asarray(shade)[good]
        size = LARGE if len(self._xy) < MANY else SMALL
        # one item for each colour: a brush for each point costs far more than its drawing
        for k in np.unique(which):
            part = self._xy[which == k]
            item = pg.ScatterPlotItem(
                x=part[:, 0], y=part[:, 1], size=size, pen=None,
                brush=pg.mkBrush(colours[int(k) % len(colours)]), pxMode=True, useCache=True,
            )  # fmt: skip
            self._layers.append(item)
            self.addItem(item)
        self._current.setSize(size + 1)
        if len(self._xy):
            self.autoRange()

    def lie_as_in_image(self, on: bool) -> None:
        """Let y grow downwards, and be as long as x: the columns are places in the image."""
        view = self.getViewBox()
        view.invertY(on)
        view.setAspectLocked(on)

    def mark(self, item: pg.ScatterPlotItem, rows: np.ndarray) -> None:
        """Move a mark to some rows."""
        at = np.isin(self._rows, rows)
        item.setData(x=self._xy[at, 0], y=self._xy[at, 1])

    def mark_selected(self, rows: np.ndarray) -> None:
        """Mark the selected rows."""
        self.mark(self._selected, rows)

    def mark_current(self, rows: np.ndarray) -> None:
        """Mark the rows of the current frame."""
        self.mark(self._current, rows)

    def marked(self) -> int:
        """Return how many points are marked as selected."""
        return len(self._selected.data)

    def pick(self, x: float, y: float) -> int | None:
        """Row nearest to a place in the plot, None where there is none near on the screen."""
        if not len(self._xy):
            return None
        px, py = self.getViewBox().viewPixelSize()
        if self._tree is None or self._tree_scale != (px, py):
            self._tree, self._tree_scale = scipy.spatial.cKDTree(self._xy / (px, py)), (px, py)
        distance, k = self._tree.query((x / px, y / py))
        return int(self._rows[k]) if distance <= NEAR_PX else None

    def within(self, path: np.ndarray) -> np.ndarray:
        """Rows inside of a closed path (m, 2) of the plot."""
        if len(path) < 3:
            return np.zeros(0, np.int64)
        low, high = path.min(0), path.max(0)
        near = np.flatnonzero(((self._xy >= low) & (self._xy <= high)).all(1))
        return np.asarray(self._rows[near[inside_polygon(self._xy[near], path)]])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Turn clicks, double-clicks and (in lasso mode or with Shift) drags into rows."""
        if watched is not self.viewport() or not isinstance(event, QMouseEvent):
            return super().eventFilter(watched, event)
        kind = event.type()
        left = event.button() == Qt.MouseButton.LeftButton
        if kind == QEvent.Type.MouseButtonDblClick and left:
            row = self.pick(*self._at(event))
            if row is not None:
                self.visited.emit(row)
            return True
        shift = kind in (
            QEvent.Type.MouseButtonPress, QEvent.Type.MouseMove, QEvent.Type.MouseButtonRelease
        ) and bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)  # fmt: skip
        if kind == QEvent.Type.MouseButtonPress and left:
            self._pressed, self._moved = event.position(), 0.0
            if self.lasso or shift:
                self._path = [self._at(event)]
                return True
        if kind == QEvent.Type.MouseMove:
            far = event.position() - self._pressed
            self._moved = max(self._moved, abs(far.x()) + abs(far.y()))
        if kind == QEvent.Type.MouseMove and self._path:
            self._path.append(self._at(event))
            self._line.setData(*np.array(self._path).T)
            return True
        elif kind == QEvent.Type.MouseButtonRelease and left:
            path, self._path = self._path, []
            self._line.setData([], [])
            if self._moved < 4:
                row = self.pick(*self._at(event))
                self.picked.emit(np.array([] if row is None else [row], np.int64))
                return bool(path)
            if path:
                self.picked.emit(self.within(np.array(path)))
                return True
        return super().eventFilter(watched, event)

    def _at(self, event: QMouseEvent) -> tuple[float, float]:
        place = self.getViewBox().mapSceneToView(self.mapToScene(event.position().toPoint()))
        return float(place.x()), float(place.y())

    def screen_place(self, row: int) -> QPointF:
        """Where a row is drawn, in pixels of the viewport (for tests and tours)."""
        k = int(np.flatnonzero(self._rows == row)[0])
        scene = self.getViewBox().mapViewToScene(QPointF(*self._xy[k]))
        return QPointF(self.mapFromScene(scene))


class Histogram(Plot):
    """How often values of a column occur; dragging the region selects rows.

    Attributes
    ----------
    picked : Signal(object)
        Rows whose value lies in the region.
    """

    picked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("histogram")
        self._values = np.zeros(0)
        self._bars = pg.BarGraphItem(x=[0], height=[0], width=1, brush=PLAIN, pen=None)
        self._chosen = pg.BarGraphItem(x=[0], height=[0], width=1, brush=SELECTED, pen=None)
        self.region = pg.LinearRegionItem(brush=(255, 93, 93, 40))
        self.region.setZValue(5)
        for item in (self._bars, self._chosen, self.region):
            self.addItem(item)
        self.region.sigRegionChangeFinished.connect(self._on_region)
        self._busy = False

    def show_values(self, values: np.ndarray, name: str) -> None:
        """Draw the histogram of a column (n,)."""
        self._values = np.asarray(values, float)
        good = self._values[np.isfinite(self._values)]
        self.setLabel("bottom", name, color=self._text)
        self._edges = (
            np.histogram_bin_edges(good, bins=min(80, max(10, int(len(good) ** 0.5))))
            if len(good)
            else np.array([0.0, 1.0])
        )
        self._draw(self._bars, good)
        self._draw(self._chosen, good[:0])
        self._busy = True
        self.region.setRegion((self._edges[0], self._edges[0]))
        self._busy = False
        self.autoRange()

    def _draw(self, item: pg.BarGraphItem, values: np.ndarray) -> None:
        count, _ = np.histogram(values, self._edges)
        width = np.diff(self._edges)
        item.setOpts(x=self._edges[:-1] + width / 2, height=count, width=width)

    def mark_selected(self, rows: np.ndarray) -> None:
        """Show how the selected rows are distributed."""
        if len(self._values):
            values = self._values[rows]
            self._draw(self._chosen, values[np.isfinite(values)])

    def _on_region(self) -> None:
        if self._busy:
            return
        low, high = self.region.getRegion()
        if high > low:
            self.picked.emit(np.flatnonzero((self._values >= low) & (self._values <= high)))


class Rose(Plot):
    """Directions of axes, drawn both ways; an axis has no head."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("rose")
        self.setAspectLocked(True)
        self.getPlotItem().hideAxis("left")
        self.getPlotItem().hideAxis("bottom")
        self._items: list[pg.PlotCurveItem] = []
        self.mean_rad = float("nan")
        self.strength = float("nan")

    def show_angles(
        self, angle: np.ndarray, chosen: np.ndarray | None = None, bins: int = 36
    ) -> None:
        """Draw a rose of angles (radians, counter-clockwise from +x), modulo pi.

        Parameters
        ----------
        angle : ndarray, shape (n,)
        chosen : ndarray of int, optional
            Rows that are drawn on top.
        bins : int
            Of the full circle.
        """
        for item in self._items:
            self.removeItem(item)
        self._items = []
        values = np.asarray(angle, float)
        good = values[np.isfinite(values)]
        count = rose_counts(good, bins)
        top = max(count.max(initial=0), 1)
        t = np.linspace(0, 2 * np.pi, 181)
        thin = pg.mkPen(self._text, width=0.5)
        for r in (0.5, 1.0):
            self._add(pg.PlotCurveItem(r * np.cos(t), r * np.sin(t), pen=thin))
        self._petals(count / top, PLAIN)
        if chosen is not None and len(chosen):
            some = values[chosen]
            part = rose_counts(some[np.isfinite(some)], bins)
            self._petals(part / top, SELECTED)
        self.mean_rad, self.strength = axial_mean(good)
        if np.isfinite(self.mean_rad):
            x, y = self.strength * np.cos(self.mean_rad), self.strength * np.sin(self.mean_rad)
            self._add(pg.PlotCurveItem([-x, x], [-y, y], pen=pg.mkPen(self._text, width=2)))
            self.setTitle(
                f"mean axis {np.rad2deg(self.mean_rad):.1f}°, order {self.strength:.2f}, "
                f"{len(good):,} sites", color=self._text, size="9pt",
            )  # fmt: skip
        self.setRange(xRange=(-1.05, 1.05), yRange=(-1.05, 1.05))

    def _petals(self, radius: np.ndarray, colour: str) -> None:
        bins = len(radius)
        xs, ys = [], []
        for k, r in enumerate(radius):
            t = np.linspace(k, k + 1, 6) * 2 * np.pi / bins
            xs.append(np.r_[0, r * np.cos(t), 0])
            ys.append(np.r_[0, r * np.sin(t), 0])
        item = pg.PlotCurveItem(
            np.concatenate(xs), np.concatenate(ys), pen=pg.mkPen(colour, width=1),
            brush=pg.mkBrush(colour + "aa"), fillLevel=0,
        )  # fmt: skip
        self._add(item)

    def _add(self, item: pg.PlotCurveItem) -> None:
        self.addItem(item)
        self._items.append(item)


def rose_counts(angle: np.ndarray, bins: int) -> np.ndarray:
    """Count axes in `bins` sectors of the full circle, each axis both ways."""
    both = np.r_[angle, angle + np.pi] % (2 * np.pi)
    return np.histogram(both, bins=bins, range=(0, 2 * np.pi))[0]


def axial_mean(angle: np.ndarray) -> tuple[float, float]:
    """Mean axis (radians, modulo pi) and order (0 to 1) of directions without head."""
    if not len(angle):
        return float("nan"), float("nan")
    z = np.exp(2j * angle).mean()
    return float(np.angle(z) / 2), float(np.abs(z))


class Curves(Plot):
    """Populations of classes against frame, with a line at the current one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, {"bottom": FrameAxis()})
        self.setObjectName("populations")
        self._lines: list[pg.PlotDataItem] = []
        self.cursor = pg.InfiniteLine(0, pen=pg.mkPen(SELECTED))
        self.addItem(self.cursor)
        self.setLabel("bottom", "frame")
        self.setLabel("left", "sites")

    def show_curves(
        self, x: np.ndarray, curves: Mapping[str, np.ndarray], colours: Mapping[str, str]
    ) -> None:
        """Draw named curves over x."""
        for item in self._lines:
            self.removeItem(item)
        self._lines = []
        for name, y in curves.items():
            item = self.plot(x, y, pen=pg.mkPen(colours[name], width=2), name=name)
            if len(x) < 40:
                item.setSymbol("o")
                item.setSymbolSize(5)
                item.setSymbolBrush(colours[name])
            self._lines.append(item)
        self.autoRange()
        if len(x) == 1:  # an image: its only frame, not 500 on each side
            self.setXRange(x[0] - 1, x[0] + 1)
