"""The part of the STM dock that mends the geometry of a scan and compares its two traces."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QPushButton, QWidget

from napari_atomlens.widgets.base.old_forms import number_box, shrinkable_combo

#: Lattices by which drift is measured: a, b in nm and the angle between them in degrees.
LATTICES: dict[str, tuple[float, float, float]] = {
    "H-Si(100) 2x1": (0.768, 0.384, 90.0),
    "Si(111)-7x7": (2.69, 2.69, 60.0),
    "Au(111), Ag(111)": (0.289, 0.289, 60.0),
    "Cu(111)": (0.255, 0.255, 60.0),
    "graphite": (0.246, 0.246, 60.0),
    "manganite, square": (0.39, 0.39, 90.0),
}
OWN = "another lattice"


class GeometryPart(QWidget):
    """Buttons for square pixels, drift and the other trace.

    Attributes
    ----------
    asked : Signal(str)
        "square", "drift" or "traces" is to be done.
    """

    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._square = self._button("square", "Make pixels square")
        self._square.setToolTip("Resample to the finer of the two pixel sizes, as a new layer")
        self._lattice = shrinkable_combo()
        self._lattice.setObjectName("lattice")
        self._lattice.addItems([*LATTICES, OWN])
        self._lattice.setToolTip("What the surface is known to be; drift is what differs from it")
        self._a, self._b = (number_box(0.01, 100, decimals=4, step=0.01, unit="nm") for _ in "ab")
        self._angle = number_box(10, 170, decimals=2, step=1, unit="°")
        for name, box in (("a_nm", self._a), ("b_nm", self._b), ("angle", self._angle)):
            box.setObjectName(name)
        self._drift = self._button("drift", "Undo steady drift")
        self._drift.setToolTip("Shear and stretch the scan so that its lattice is the known one")
        self._trace = shrinkable_combo()
        self._trace.setObjectName("trace")
        self._trace.setToolTip("The backward trace of the scan: another layer of the same shape")
        self._compare = self._button("compare", "Compare the traces")
        self._compare.setToolTip("Align them; what differs was changed by the tip or moved")
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self._square)
        form.addRow("Lattice", self._lattice)
        lengths = QHBoxLayout()
        for box in (self._a, self._b, self._angle):
            box.setMinimumWidth(60)
            lengths.addWidget(box)
        form.addRow("a, b, angle", lengths)
        form.addRow(self._drift)
        form.addRow("Other trace", self._trace)
        form.addRow(self._compare)
        self._lattice.currentTextChanged.connect(self._on_lattice)
        for box in (self._a, self._b, self._angle):
            box.valueChanged.connect(self._on_own)
        self._on_lattice(self._lattice.currentText())

    def _button(self, name: str, text: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        what = {"compare": "traces"}.get(name, name)
        button.clicked.connect(lambda: self.asked.emit(what))
        return button

    def _on_lattice(self, name: str) -> None:
        if name not in LATTICES:
            return
        for box, value in zip((self._a, self._b, self._angle), LATTICES[name], strict=True):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)

    def _on_own(self, _: float = 0.0) -> None:
        self._lattice.setCurrentText(OWN)

    def lattice(self) -> tuple[float, float, float]:
        """Return a and b in nm and the angle between them in radians."""
        return self._a.value(), self._b.value(), float(np.radians(self._angle.value()))

    def trace(self) -> str | None:
        """Return the id of the layer of the other trace."""
        chosen = self._trace.currentData()
        return None if chosen is None else str(chosen)

    def list_traces(self, layers: list[tuple[str, str]], like: str) -> None:
        """Offer layers (name, id) as the other trace; one named "backward" comes first.

        Parameters
        ----------
        layers : list of (str, str)
        like : str
            Name of the scan itself.
        """
        from difflib import SequenceMatcher

        def nearness(item: tuple[str, str]) -> tuple[bool, float]:
            name = item[0].lower()
            return ("backw" not in name, -SequenceMatcher(None, like.lower(), name).ratio())

        chosen = self._trace.currentData()
        self._trace.clear()
        for name, unique in sorted(layers, key=nearness):
            self._trace.addItem(name, unique)
        ids = [self._trace.itemData(k) for k in range(self._trace.count())]
        if chosen in ids:
            self._trace.setCurrentIndex(ids.index(chosen))

    def enable(self, *, idle: bool, square: bool, calibrated: bool) -> None:
        """Enable what can be done with the scan.

        Parameters
        ----------
        idle : bool
            There is a scan and no work.
        square : bool
            Its pixels are square already.
        calibrated : bool
            Its pixel size is known.
        """
        self._square.setEnabled(idle and calibrated and not square)
        self._square.setText("Pixels are square" if square else "Make pixels square")
        self._drift.setEnabled(idle and calibrated)
        self._drift.setText("Undo steady drift" if calibrated else "Drift needs the pixel size")
        self._compare.setEnabled(idle and self._trace.count() > 0)
        self._trace.setEnabled(self._trace.count() > 0)
