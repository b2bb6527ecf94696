"""The plots of the Movie dock: a line marks the frame that is shown, a click goes to a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_atomlens.widgets.base.layout import leave_room
from napari_atomlens.widgets.base.plots import FrameAxis

if TYPE_CHECKING:
    from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
    from qtpy.QtGui import QShowEvent

#: Width and height (px) that a plot asks for.
SIZE = (240, 130)
LOWEST = 110
NOW, GREY, ERROR = "#ffb000", "#808080", "#5a7f8f"
#: Seen on a dark and on a bright ground; the first curve has the colour of the text.
CURVES = ("#2f9fd0", "#ff9f1c", "#2bb673", "#cc79a7", "#b8a800")


class Axes(pg.PlotWidget):
    """Axes that follow the theme of napari.

    Parameters
    ----------
    left, bottom : str
        Labels.

    Attributes
    ----------
    clicked : Signal(int, int)
        The nearest whole x and y to where the user clicked.
    """

    clicked = Signal(int, int)

    def __init__(self, left: str, bottom: str = "frame") -> None:
        axes = {"bottom": FrameAxis()} if bottom == "frame" else None
        super().__init__(enableMenu=False, axisItems=axes)
        self.text = "#d0d0d0"
        for side, text in (("left", left), ("bottom", bottom)):
            self.setLabel(side, text)
            self.getAxis(side).enableAutoSIPrefix(False)
        self.hideButtons()
        leave_room(self)
        self.setMinimumHeight(LOWEST)
        self.scene().sigMouseClicked.connect(self._on_click)

    def sizeHint(self) -> QSize:
        """Ask for little: the dock scrolls, and gives what is left."""
        return QSize(*SIZE)

    def _on_click(self, event: MouseClickEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            where = self.getViewBox().mapSceneToView(event.scenePos())
            self.clicked.emit(round(where.x()), round(where.y()))

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.text = text
        self.setBackground(background)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(GREY)
            axis.setTextPen(text)
            axis.setLabel(axis.labelText, color=text)
        legend = self.getPlotItem().legend
        if legend is not None:
            legend.setLabelTextColor(text)


class LatePlot(QWidget):
    """Room for plots, which are made when they are first seen: each takes long.

    Parameters
    ----------
    n : int
        How many plots there will be, below each other.
    """

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(2)
        self.setMinimumHeight(n * LOWEST + 2 * (n - 1))
        self._n, self.frame, self.is_made = n, 0, False
        self._theme: tuple[str, str] | None = None

    def sizeHint(self) -> QSize:
        """Ask for the same room before and after."""
        return QSize(SIZE[0], SIZE[1] * self._n)

    def make(self) -> None:
        """Make the plots."""
        raise NotImplementedError

    def ready(self) -> None:
        """Make the plots where they are not there yet."""
        if not self.is_made:
            self.is_made = True
            self.make()
            if self._theme is not None:
                self.retheme(*self._theme)

    def showEvent(self, event: QShowEvent) -> None:
        """Make the plots, which are seen now."""
        self.ready()
        super().showEvent(event)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self._theme = (background, text)
        if self.is_made:
            self.retheme(background, text)

    def retheme(self, background: str, text: str) -> None:
        """Draw what is there in the colours of the window."""
        raise NotImplementedError


class TimePlot(LatePlot):
    """One or two plots over the frames, with a line at the current one.

    Attributes
    ----------
    clicked : Signal(int)
        The frame that the user clicked on.
    """

    clicked = Signal(int)

    def __init__(self, *labels: str) -> None:
        super().__init__(len(labels))
        self._labels = labels
        self._plots: list[Axes] = []
        self._now: list[pg.InfiniteLine] = []

    @property
    def plots(self) -> list[Axes]:
        """Axes, from above to below."""
        self.ready()
        return self._plots

    def make(self) -> None:
        """Make axes that share the frames, and the lines."""
        self._plots = [Axes(label) for label in self._labels]
        for plot in self._plots:
            self.column.addWidget(plot)
            line = pg.InfiniteLine(self.frame, 90, pen=pg.mkPen(NOW, width=2))
            line.setZValue(10)
            plot.addItem(line)
            self._now.append(line)
            plot.clicked.connect(self._on_clicked)
        for plot in self._plots[1:]:
            plot.setXLink(self._plots[0])

    def _on_clicked(self, frame: int, height: int) -> None:
        self.clicked.emit(frame)

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        self.frame = frame
        for line in self._now:
            line.setValue(frame)

    def now(self) -> float:
        """Frame that is marked."""
        return float(self._now[0].value() if self._now else self.frame)

    def retheme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        for plot in self.plots:
            plot.set_theme(background, text)

    def clear(self, which: int | None = None) -> None:
        """Take the curves of one plot away, or of all; the line stays."""
        for k, (plot, line) in enumerate(zip(self._plots, self._now, strict=True)):
            if which not in (None, k):
                continue
            plot.clear()
            plot.addItem(line)
            legend = plot.getPlotItem().legend
            if legend is not None:
                legend.clear()

    def set_label(self, which: int, text: str, below: str = "") -> None:
        """Say what a plot shows, and of what below it: a plot is too low for long words."""
        self.plots[which].setLabel("left", text)
        if below:
            self.plots[which].setLabel("bottom", below)

    def show_curves(self, which: int, curves: Mapping[str, np.ndarray]) -> None:
        """Draw curves over all frames in one of the plots, with their names where there are some.

        Parameters
        ----------
        which : int
        curves : mapping of str to ndarray
            One value for each frame; an empty name has no place in the legend.
        """
        self.clear(which)
        plot = self.plots[which]
        if any(curves) and plot.getPlotItem().legend is None:
            plot.addLegend(offset=(8, 4), labelTextColor=plot.text, labelTextSize="8pt")
        for k, (name, values) in enumerate(curves.items()):
            colour = CURVES[(k - 1) % len(CURVES)] if k or which else plot.text
            pen = pg.mkPen(colour, width=1.5)
            plot.plot(np.arange(len(values)), values, pen=pen, name=name or None)
        last = max((len(v) for v in curves.values()), default=1) - 1
        plot.setXRange(0, max(last, 1))
        plot.enableAutoRange("y")

    def show_bars(self, which: int, heights: np.ndarray) -> None:
        """Draw a bar for each frame."""
        self.clear(which)
        self.plots[which].addItem(
            pg.BarGraphItem(
                x=np.arange(len(heights)), height=heights, width=0.8, brush=CURVES[3], pen=None
            )
        )
        self.plots[which].enableAutoRange("y")

    def show_with_noise(
        self, which: int, frames: np.ndarray, values: np.ndarray, noise: np.ndarray
    ) -> None:
        """Draw a curve between lines that noise seldom crosses."""
        self.clear(which)
        plot = self.plots[which]
        plot.plot(frames, values, pen=pg.mkPen(CURVES[2]))
        for sign in (-1, 1):
            plot.plot(frames, sign * noise, pen=pg.mkPen(GREY))
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
        self.clear(which)
        plot = self.plots[which]
        if not len(frames):
            return
        bars = pg.ErrorBarItem(
            x=frames, y=values, height=2 * np.nan_to_num(errors), beam=0, pen=pg.mkPen(ERROR)
        )
        plot.addItem(bars)
        plot.plot(
            frames, values, pen=pg.mkPen(CURVES[0], width=1), symbol="o", symbolSize=4,
            symbolBrush=CURVES[0], symbolPen=None,
        )  # fmt: skip
        base = pg.InfiniteLine(
            float(np.median(values)), 0, pen=pg.mkPen(GREY, style=Qt.PenStyle.DashLine)
        )
        plot.addItem(base)
        for frame in marks:
            plot.addItem(pg.InfiniteLine(float(frame) - 0.5, 90, pen=pg.mkPen("#d62728", width=1)))
        plot.autoRange()


class Kymograph(LatePlot):
    """Deviation along a row of dumbbells (upwards) over time (to the right).

    Attributes
    ----------
    clicked : Signal(int, int)
        Frame and place in the row that the user clicked on.
    """

    clicked = Signal(int, int)

    def make(self) -> None:
        """Make the picture, its colour bar and the line."""
        self.plot = Axes("place in the row")
        self.image = pg.ImageItem(axisOrder="row-major")
        steps = np.linspace(0, 1, 5)
        colours = [(33, 102, 230), (150, 180, 240), (255, 255, 255), (240, 150, 140), (214, 38, 40)]
        self._map = pg.ColorMap(steps, colours)
        self.plot.addItem(self.image)
        self._line = pg.InfiniteLine(self.frame, 90, pen=pg.mkPen(NOW, width=2))
        self.plot.addItem(self._line)
        self.bar = pg.ColorBarItem(values=(-1, 1), colorMap=self._map, width=10, interactive=False)
        self.bar.setImageItem(self.image, insert_in=self.plot.getPlotItem())
        self.column.addWidget(self.plot)
        self.plot.clicked.connect(self.clicked)

    def retheme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.plot.set_theme(background, text)
        self.bar.axis.setPen(GREY)
        self.bar.axis.setTextPen(text)

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        self.frame = frame
        if self.is_made:
            self._line.setValue(frame)

    def now(self) -> float:
        """Frame that is marked."""
        return float(self._line.value() if self.is_made else self.frame)

    def clear(self) -> None:
        """Take the picture away."""
        if self.is_made:
            self.image.clear()

    def show_image(self, image: np.ndarray, limit: float, unit: str) -> None:
        """Draw deviations (members, frames) within +- limit."""
        self.ready()
        if not image.size:
            self.image.clear()
            return
        self.image.setImage(image, autoLevels=False)
        self.image.setRect(-0.5, -0.5, image.shape[1], image.shape[0])
        self.bar.setLevels((-limit, limit))
        self.bar.setLabel("right", unit)
        self.plot.autoRange()


class CurvePlot(LatePlot):
    """Points with error bars, and a line through them."""

    def __init__(self, left: str, bottom: str) -> None:
        super().__init__()
        self._labels = (left, bottom)

    def make(self) -> None:
        """Make the axes."""
        self.plot = Axes(*self._labels)
        self.column.addWidget(self.plot)

    def retheme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.plot.set_theme(background, text)

    def set_labels(self, left: str, bottom: str) -> None:
        """Say what is plotted against what."""
        self.ready()
        self.plot.setLabel("left", left)
        self.plot.setLabel("bottom", bottom)

    def show_points(
        self,
        x: np.ndarray,
        y: np.ndarray,
        error: np.ndarray,
        line: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Draw points, their errors and a line."""
        self.ready()
        self.plot.clear()
        if not len(x):
            return
        self.plot.addItem(
            pg.ErrorBarItem(x=x, y=y, height=2 * np.nan_to_num(error), beam=0, pen=pg.mkPen(ERROR))
        )
        self.plot.plot(
            x, y, pen=None, symbol="o", symbolSize=5, symbolBrush=CURVES[0], symbolPen=None
        )
        if line is not None:
            self.plot.plot(*line, pen=pg.mkPen(NOW, width=1.5))
        self.plot.autoRange()

    def clear(self) -> None:
        """Take the points away."""
        if self.is_made:
            self.plot.clear()
