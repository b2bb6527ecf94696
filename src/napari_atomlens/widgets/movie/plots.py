"""The plots of the Movie dock: a line marks the frame that is shown, a click goes to a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent

#: Width and height (px) that a plot asks for.
SIZE = (240, 130)
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
        super().__init__()
        self.text = "#d0d0d0"
        for side, text in (("left", left), ("bottom", bottom)):
            self.setLabel(side, text)
            self.getAxis(side).enableAutoSIPrefix(False)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMinimumHeight(110)
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
        self.plots = [Axes(label) for label in labels]
        self._now = []
        for plot in self.plots:
            layout.addWidget(plot)
            line = pg.InfiniteLine(0, 90, pen=pg.mkPen(NOW, width=2))
            line.setZValue(10)
            plot.addItem(line)
            self._now.append(line)
            plot.clicked.connect(self._on_clicked)
        for plot in self.plots[1:]:
            plot.setXLink(self.plots[0])

    def _on_clicked(self, frame: int, height: int) -> None:
        self.clicked.emit(frame)

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        for line in self._now:
            line.setValue(frame)

    def now(self) -> float:
        """Frame that is marked."""
        return float(self._now[0].value())

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        for plot in self.plots:
            plot.set_theme(background, text)

    def clear(self, which: int | None = None) -> None:
        """Take the curves of one plot away, or of all; the line stays."""
        for k, (plot, line) in enumerate(zip(self.plots, self._now, strict=True)):
            if which not in (None, k):
                continue
            plot.clear()
            plot.addItem(line)
            legend = plot.getPlotItem().legend
            if legend is not None:
                legend.clear()

    def set_label(self, which: int, text: str) -> None:
        """Say what a plot shows."""
        self.plots[which].setLabel("left", text)

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
        self.plot = Axes("place in the row")
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
        self.plot.clicked.connect(self.clicked)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.plot.set_theme(background, text)
        self.bar.axis.setPen(GREY)
        self.bar.axis.setTextPen(text)

    def set_now(self, frame: int) -> None:
        """Mark a frame."""
        self._line.setValue(frame)

    def now(self) -> float:
        """Frame that is marked."""
        return float(self._line.value())

    def clear(self) -> None:
        """Take the picture away."""
        self.image.clear()

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
        self.plot = Axes(left, bottom)
        layout.addWidget(self.plot)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        self.plot.set_theme(background, text)

    def set_labels(self, left: str, bottom: str) -> None:
        """Say what is plotted against what."""
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
