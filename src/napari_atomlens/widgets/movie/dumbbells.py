"""The tabs of dumbbells: one of them in time, and the row through it."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QSpinBox

from napari_atomlens.session.movie import MovieData
from napari_atomlens.widgets.base.layout import line
from napari_atomlens.widgets.movie.plots import Kymograph, TimePlot
from napari_atomlens.widgets.movie.selection import NONE
from napari_atomlens.widgets.movie.tabs import Tab

#: What a row can show; of a shift the length.
IN_A_ROW = ("length", "angle", "intensity ratio")


class DumbbellTab(Tab):
    """Length and angle of one dumbbell."""

    TITLE = "Dumbbell"

    def build(self) -> None:
        """Its number, and two plots."""
        self.number = QSpinBox()
        self.number.setObjectName("dumbbell")
        self.number.setRange(NONE, NONE)
        self.number.setSpecialValueText("none")
        self.number.setKeyboardTracking(False)
        self.number.setToolTip("The dumbbell that is plotted; or click one in the picture")
        self.number.setEnabled(False)
        self.number.valueChanged.connect(self.selection.choose_dumbbell)
        self.selection.changed.connect(self._on_selected)
        self.plot = TimePlot("length", "angle (°)")
        self.plot.setObjectName("pair")
        self.plot.clicked.connect(self.selection.frame_wanted)
        self.plots = (self.plot,)
        self.column.addLayout(line("Dumbbell", self.number))
        self.column.addWidget(self.plot, 1)

    def fits(self, data: MovieData | None) -> bool:
        """Where the lattice has dumbbells."""
        return data is None or data.has_dumbbells

    def _on_selected(self) -> None:
        """Show the number, whether or not the page is seen."""
        self.number.blockSignals(True)
        self.number.setEnabled(self.selection.data is not None)
        self.number.setRange(NONE, self.selection.last_dumbbell())
        self.number.setValue(self.selection.dumbbell)
        self.number.blockSignals(False)

    def draw(self, data: MovieData) -> None:
        """Draw both, with lines where they changed."""
        who = self.selection.dumbbell
        self.plot.set_label(0, f"length ({data.map_unit('length')})")
        changes = data.followed.changes
        mine = changes[changes["dumbbell_id"] == who]
        for k, quantity in enumerate(("length", "angle")):
            marks = mine.loc[mine["quantity"] == quantity, "frame"].to_numpy()
            self.plot.show_series(k, *data.dumbbell_series(who, quantity), marks)


class RowTab(Tab):
    """The row of the lattice through the dumbbell, over time."""

    TITLE = "Row"

    def build(self) -> None:
        """One picture."""
        self.plot = Kymograph()
        self.plot.setObjectName("row")
        self.plot.clicked.connect(self._on_clicked)
        self.plots = (self.plot,)
        self._members = np.zeros(0, int)
        self.column.addWidget(self.plot)

    def fits(self, data: MovieData | None) -> bool:
        """Where the lattice has dumbbells."""
        return data is None or data.has_dumbbells

    def draw(self, data: MovieData) -> None:
        """Draw the deviations of what the map shows."""
        what = self.selection.what if self.selection.what in IN_A_ROW else IN_A_ROW[0]
        image, self._members = data.kymograph(self.selection.dumbbell, what)
        self.plot.show_image(image, data.map_limit(what), data.map_unit(what))

    def _on_clicked(self, frame: int, place: int) -> None:
        if 0 <= place < len(self._members):
            self.selection.choose_dumbbell(int(self._members[place]))
        self.selection.frame_wanted.emit(frame)
