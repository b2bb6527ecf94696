"""The loss of a model that is being adapted."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_atomlens.widgets.base.histograms import bare_plot


class LossPlot(QWidget):
    """The loss of every step, smoothed a little."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph as pg

        self._plot = bare_plot()
        self._plot.setLabel("bottom", "step")
        self._plot.setLabel("left", "loss")
        self._curve = self._plot.plot(pen=pg.mkPen("#4cc9f0", width=2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        self.setFixedHeight(130)
        self.losses: list[float] = []

    def show_losses(self, losses: list[float]) -> None:
        """Show a curve; hidden while there is none."""
        self.losses = list(losses)
        self.setVisible(bool(losses))
        values = np.asarray(losses, float)
        n = min(15, max(1, len(values) // 5))
        if len(values) >= n:
            values = np.convolve(values, np.ones(n) / n, "valid")
        self._curve.setData(np.arange(len(values)) + n, values)
