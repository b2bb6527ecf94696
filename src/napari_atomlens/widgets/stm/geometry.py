"""The fields of the STM dock that say which lattice a scan shows, and which trace is the other."""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np
from napari.layers import Image

from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.images import finest

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


class LatticeFields:
    """The lattice that a surface is known to have: one of the list, or typed.

    Attributes
    ----------
    widgets : list of magicgui widgets
    """

    def __init__(self) -> None:
        self._name = fields.choice(
            "lattice", "Lattice", [*LATTICES, OWN],
            tip="What the surface is known to be; drift is what differs from it",
        )  # fmt: skip
        length = {"low": 0.01, "high": 100, "decimals": 4, "step": 0.01, "unit": "nm"}
        self._a = fields.number("a_nm", "a", tip="Length of its first vector", **length)  # type: ignore[arg-type]
        self._b = fields.number("b_nm", "b", tip="Length of its second vector", **length)  # type: ignore[arg-type]
        self._angle = fields.number(
            "angle", "Angle", 10, 170, step=1, unit="°", tip="Between the two vectors"
        )
        self._numbers = (self._a, self._b, self._angle)
        self.widgets = [self._name, *self._numbers]
        self._on_lattice(self._name.value)
        self._name.changed.connect(self._on_lattice)
        for one in self._numbers:
            one.changed.connect(self._on_typed)

    def value(self) -> tuple[float, float, float]:
        """Return a and b in nm and the angle between them in radians."""
        return self._a.value, self._b.value, float(np.radians(self._angle.value))

    def _on_lattice(self, name: str) -> None:
        for widget, value in zip(self._numbers, LATTICES.get(name, ()), strict=False):
            with widget.changed.blocked():
                widget.value = value

    def _on_typed(self, value: float) -> None:
        self._name.value = OWN


def may_be_trace(layer: Image, scan: Image | None) -> bool:
    """Whether a layer may be the other trace of a scan: another one of the same shape."""
    return scan is not None and layer is not scan and finest(layer).shape == finest(scan).shape


def likely_trace(layers: list[Image], scan: Image | None) -> Image:
    """Layer that is most likely the other trace: named "backward", and much like the scan."""
    like = "" if scan is None else str(scan.name).lower()

    def likeness(layer: Image) -> tuple[bool, float]:
        name = str(layer.name).lower()
        return "backw" in name, SequenceMatcher(None, like, name).ratio()

    return max(layers, key=likeness)
