"""The plots of the Movie widget: a line marks the frame that is shown, a click goes to a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyqtgraph as pg
from qtpy.QtCore import QAbstractTableModel, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
    from qtpy.QtCore import QModelIndex, QObject, QPersistentModelIndex

    Index = QModelIndex | QPersistentModelIndex


BACKGROUND, TEXT, NOW = "#262930", "#d0d0d0", "#ffb000"
CURVES = ("#f5f5f5", "#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442")


def _plot(left: str, bottom: str = "frame") -> pg.PlotWidget:
    plot = pg.PlotWidget(background=BACKGROUND)
    for side, text in (("left", left), ("bottom", bottom)):
        plot.getAxis(side).setTextPen(TEXT)
        plot.getAxis(side).setPen("#6a6a6a")
        plot.setLabel(side, text, color=TEXT)
        plot.getAxis(side).enableAutoSIPrefix(False)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.setMinimumHeight(110)
    return plot


class TimePlot(QWidget):
    """One or two plots over the frames, with a line at the current one.

    Attributes
    ----------
    clicked : Signal(int)
        The frame that the user clicked on.
    """

    clicked = Signal(int)

    def __init__(self, *labels: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.plots = [_plot(label) for label in labels]
        self._now = []
        for plot in self.plots:
            layout.addWidget(plot)
            line = pg.InfiniteLine(0, 90, pen=pg.mkPen(NOW, width=2))
            line.setZValue(10)
            plot.addItem(line)
            self._now.append(line)
            plot.scene().sigMouseClicked.connect(self._handler(plot))
        for plot in self.plots[1:]:
            plot.setXLink(self.plots[0])

    def _handler(self, plot: pg.PlotWidget) -> Callable[[MouseClickEvent], None]:
        def on_click(event: MouseClickEvent) -> None:
            if event.button() == Qt.MouseButton.LeftButton:
                where = plot.getViewBox().mapSceneToView(event.scenePos())
                self.clicked.emit(round(where.x()))

        return on_click

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        for line in self._now:
            line.setValue(frame)

    def now(self) -> float:
        """Frame that is marked."""
        return float(self._now[0].value())

    def clear(self) -> None:
        """Take all curves away; the line stays."""
        for plot, line in zip(self.plots, self._now, strict=True):
            plot.clear()
            plot.addItem(line)
            legend = plot.getPlotItem().legend
            if legend is not None:
                legend.clear()

    def show_curves(self, curves: Mapping[str, np.ndarray]) -> None:
        """Draw curves over all frames, the first plot only."""
        self.clear()
        plot = self.plots[0]
        if plot.getPlotItem().legend is None:
            plot.addLegend(offset=(8, 4), labelTextColor=TEXT, labelTextSize="8pt")
        for k, (name, values) in enumerate(curves.items()):
            pen = pg.mkPen(CURVES[k % len(CURVES)], width=1.5)
            plot.plot(np.arange(len(values)), values, pen=pen, name=name)
        last = max((len(v) for v in curves.values()), default=1) - 1
        plot.setXRange(0, max(last, 1))
        plot.enableAutoRange("y")

    def show_more(self, which: int, curves: Mapping[str, np.ndarray]) -> None:
        """Draw curves over all frames in one of the further plots, with their names."""
        plot = self.plots[which]
        plot.clear()
        plot.addItem(self._now[which])
        legend = plot.getPlotItem().legend
        if legend is None:
            plot.addLegend(offset=(8, 4), labelTextColor=TEXT, labelTextSize="8pt")
        else:
            legend.clear()
        for k, (name, values) in enumerate(curves.items()):
            pen = pg.mkPen(CURVES[k % len(CURVES)], width=1.5)
            plot.plot(np.arange(len(values)), values, pen=pen, name=name)
        plot.enableAutoRange("y")

    def show_series(
        self,
        which: int,
        frames: np.ndarray,
        values: np.ndarray,
        errors: np.ndarray,
        marks: np.ndarray,
    ) -> None:
        """Draw one quantity with its errors, its baseline, and lines where it changed."""
        plot = self.plots[which]
        plot.clear()
        plot.addItem(self._now[which])
        if not len(frames):
            return
        bars = pg.ErrorBarItem(
            x=frames, y=values, height=2 * np.nan_to_num(errors), beam=0, pen=pg.mkPen("#5a7f8f")
        )
        plot.addItem(bars)
        plot.plot(
            frames, values, pen=pg.mkPen("#4cc9f0", width=1), symbol="o", symbolSize=4,
            symbolBrush="#4cc9f0", symbolPen=None,
        )  # fmt: skip
        base = pg.InfiniteLine(
            float(np.median(values)), 0, pen=pg.mkPen("#8a8a8a", style=Qt.PenStyle.DashLine)
        )
        plot.addItem(base)
        for frame in marks:
            plot.addItem(pg.InfiniteLine(float(frame) - 0.5, 90, pen=pg.mkPen("#d62728", width=1)))
        plot.autoRange()


class Kymograph(QWidget):
    """Deviation along a row of dumbbells (upwards) over time (to the right).

    Attributes
    ----------
    clicked : Signal(int, int)
        Frame and place in the row that the user clicked on.
    """

    clicked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.plot = _plot("place in the row")
        self.image = pg.ImageItem(axisOrder="row-major")
        steps = np.linspace(0, 1, 5)
        colours = [(33, 102, 230), (150, 180, 240), (255, 255, 255), (240, 150, 140), (214, 38, 40)]
        self._map = pg.ColorMap(steps, colours)
        self.plot.addItem(self.image)
        self._line = pg.InfiniteLine(0, 90, pen=pg.mkPen(NOW, width=2))
        self.plot.addItem(self._line)
        self.bar = pg.ColorBarItem(values=(-1, 1), colorMap=self._map, width=10, interactive=False)
        self.bar.setImageItem(self.image, insert_in=self.plot.getPlotItem())
        layout.addWidget(self.plot)
        self.plot.scene().sigMouseClicked.connect(self._on_click)

    def _on_click(self, event: MouseClickEvent) -> None:
        where = self.plot.getViewBox().mapSceneToView(event.scenePos())
        self.clicked.emit(round(where.x()), round(where.y()))

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        self._line.setValue(frame)

    def show_image(self, image: np.ndarray, limit: float, unit: str) -> None:
        """Draw deviations (members, frames) within +- limit."""
        if not image.size:
            self.image.clear()
            return
        self.image.setImage(image, autoLevels=False)
        self.image.setRect(-0.5, -0.5, image.shape[1], image.shape[0])
        self.bar.setLevels((-limit, limit))
        self.bar.setLabel("right", unit)
        self.plot.autoRange()


class CurvePlot(QWidget):
    """Points with error bars, and a line through them."""

    def __init__(self, left: str, bottom: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.plot = _plot(left, bottom)
        layout.addWidget(self.plot)

    def show_points(
        self,
        x: np.ndarray,
        y: np.ndarray,
        error: np.ndarray,
        line: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Draw points, their errors and a line."""
        self.plot.clear()
        if not len(x):
            return
        self.plot.addItem(
            pg.ErrorBarItem(
                x=x, y=y, height=2 * np.nan_to_num(error), beam=0, pen=pg.mkPen("#5a7f8f")
            )
        )
        self.plot.plot(
            x, y, pen=None, symbol="o", symbolSize=5, symbolBrush="#4cc9f0", symbolPen=None
        )
        if line is not None:
            self.plot.plot(*line, pen=pg.mkPen(NOW, width=1.5))
        self.plot.autoRange()


class EventModel(QAbstractTableModel):
    """Events as rows of text."""

    COLUMNS = (("frame", "Frame"), ("what", "What"), ("who", "Who"), ("size", "Size"),
               ("score", "σ"), ("together", "Together"))  # fmt: skip

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.events = pd.DataFrame({c: [] for c, _ in self.COLUMNS})

    def set_events(self, events: pd.DataFrame) -> None:
        """Show other events."""
        self.beginResetModel()
        self.events = events.reset_index(drop=True)
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        """Return the number of events."""
        return len(self.events)

    def columnCount(self, parent: Index | None = None) -> int:
        """Return the number of columns."""
        return len(self.COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> str | None:
        """Text of a cell."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self.events.iloc[index.row()][self.COLUMNS[index.column()][0]]
        if isinstance(value, float):
            return "" if value != value else f"{value:.1f}"
        return str(value)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        """Names of the columns."""
        if role != Qt.ItemDataRole.DisplayRole or orientation != Qt.Orientation.Horizontal:
            return None
        return self.COLUMNS[section][1]


class EventList(QTableView):
    """The list of events.

    Attributes
    ----------
    chosen : Signal(int)
        Row that the user clicked on.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("events")
        self._model = EventModel(self)  # held: Qt does not
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        head = self.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setStretchLastSection(True)
        self.clicked.connect(lambda index: self.chosen.emit(index.row()))

    @property
    def events(self) -> pd.DataFrame:
        """What is listed."""
        return self._model.events

    def show_events(self, events: pd.DataFrame) -> None:
        """List other events."""
        self._model.set_events(events)
