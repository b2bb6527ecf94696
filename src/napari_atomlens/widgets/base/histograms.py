"""A histogram and a colour bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGraphicsView, QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_atomlens.widgets.base.layout import leave_room

if TYPE_CHECKING:
    import pyqtgraph as pg

COLOURS = ("#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442", "#7b9ff2")


def bin_edges(values: np.ndarray, most: int = 120) -> np.ndarray:
    """Edges of the bins: Freedman-Diaconis over the middle 99.8 %, at most `most` bins."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.linspace(0, 1, 2)
    low, high = (float(v) for v in np.percentile(finite, [0.1, 99.9]))
    quarter = float(np.subtract(*np.percentile(finite, [75, 25])))
    width = 2 * quarter / max(len(finite), 1) ** (1 / 3)
    if not (high > low and width > 0):
        low, high, width = low - 0.5, high + 0.5, 0.1
    n = int(np.clip(np.ceil((high - low) / width), 5, most))
    return np.linspace(low, high, n + 1)


def bare_plot() -> pg.PlotWidget:
    """Return a plot on the ground of the dock, which it takes from the theme."""
    import pyqtgraph as pg

    plot = pg.PlotWidget(background=None)
    plot.setCacheMode(QGraphicsView.CacheModeFlag.CacheNone)  # it would keep another theme's ground
    plot.setMenuEnabled(False)
    plot.hideButtons()
    leave_room(plot)
    return plot


class Histogram(QWidget):
    """Histogram with one curve per group."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph as pg

        self._pg = pg
        self._plot = bare_plot()
        self._plot.getAxis("left").setWidth(36)
        self._legend = self._plot.addLegend(offset=(-4, 4), labelTextSize="8pt")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        self.setFixedHeight(170)
        self.n_shown = 0

    def show_values(self, groups: dict[str, np.ndarray], title: str) -> None:
        """Show the histogram of each group; without values the plot is empty.

        Parameters
        ----------
        groups : dict of str to ndarray
            Values by the name of the group.
        title : str
            Of the horizontal axis, with its unit.
        """
        self._plot.clear()
        self._legend.clear()
        every = np.concatenate(list(groups.values())) if groups else np.zeros(0)
        self.n_shown = int(np.isfinite(every).sum())
        self._plot.setLabel("bottom", title)
        if not self.n_shown:
            return
        edges = bin_edges(every)
        for k, (name, values) in enumerate(groups.items()):
            counts, _ = np.histogram(values[np.isfinite(values)], edges)
            colour = self._pg.mkColor(COLOURS[k % len(COLOURS)])
            fill = self._pg.mkColor(colour)
            fill.setAlpha(90)
            self._plot.plot(
                edges, counts, stepMode="center", fillLevel=0, brush=fill,
                pen=self._pg.mkPen(colour, width=1.5), name=name if len(groups) > 1 else None,
            )  # fmt: skip
        self._plot.autoRange(padding=0.02)


class ColourBar(QWidget):
    """A strip of a colormap with what its ends and its middle mean; hidden until it is needed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("colour_bar")
        self._strip = QLabel()
        self._strip.setScaledContents(True)
        self._strip.setFixedHeight(12)
        self._strip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._texts = [QLabel() for _ in range(3)]
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(1)
        grid.addWidget(self._strip, 0, 0, 1, 3)
        sides = (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignHCenter,
                 Qt.AlignmentFlag.AlignRight)  # fmt: skip
        for k, (text, side) in enumerate(zip(self._texts, sides, strict=True)):
            text.setAlignment(side)
            grid.addWidget(text, 1, k)
        self.hide()

    def show_map(self, colormap: str, low: float, high: float, unit: str) -> None:
        """Show a colormap of napari between two values."""
        from napari.utils.colormaps import ensure_colormap

        colours = ensure_colormap(colormap).map(np.linspace(0, 1, 256))
        pixels = np.ascontiguousarray((255 * colours[None]).astype(np.uint8))
        image = QImage(pixels.data, 256, 1, 4 * 256, QImage.Format.Format_RGBA8888)
        self._strip.setPixmap(QPixmap.fromImage(image.copy()))
        for text, value in zip(self._texts, (low, (low + high) / 2, high), strict=True):
            text.setText(f"{value:.3g} {unit}".strip())
        self.show()

    def text(self) -> str:
        """Return the numbers that are shown."""
        return " … ".join(t.text() for t in self._texts)
