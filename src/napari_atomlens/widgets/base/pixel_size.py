"""The field of the pixel size: it follows the chosen layer, and the user may type another."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari.layers import Layer

from napari_atomlens.widgets.base.fields import number
from napari_atomlens.widgets.base.images import pixel_size_of

if TYPE_CHECKING:
    from napari_atomlens.widgets.base.layer_choice import LayerChoice

L = TypeVar("L", bound=Layer)
DECIMALS = 5


class PixelSizeField:
    """Shows the pixel size that a layer says.

    Parameters
    ----------
    choice : LayerChoice
        Of the layer.

    Attributes
    ----------
    widget : magicgui.widgets.FloatSpinBox
    """

    def __init__(self, choice: LayerChoice[L]) -> None:
        self._layer: Layer | None = None
        self._calibration: tuple[float, float] | None = None
        self.widget = number(
            "pixel_size_nm", "Pixel size", 0, 1000, decimals=DECIMALS, step=0.001, unit="nm",
            special="unknown",
            tip="Size of a pixel, taken from the scale and units of the layer; 0 where it is "
            "unknown",
        )  # fmt: skip
        choice.changed.connect(self._follow)
        self._follow(choice.layer)

    def value(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm: as typed, else exactly as the layer says."""
        typed = float(self.widget.value)
        if self._calibration:
            shown = round(self._calibration[1], DECIMALS)
            if abs(typed - shown) < 10.0 ** -(DECIMALS + 1):
                return self._calibration
        return (typed, typed) if typed > 0 else None

    def close(self) -> None:
        """Let go of the layer."""
        self._follow(None)

    def _follow(self, layer: Layer | None) -> None:
        """Listen to the calibration of a layer, and of no other."""
        old, self._layer = self._layer, layer
        for one, connect in ((old, False), (layer, True)):
            if one is None:
                continue
            for event in (one.events.scale, one.events.units):
                if connect:
                    event.connect(self._read)
                else:
                    event.disconnect(self._read)
        self._read()

    def _read(self, event: object = None) -> None:
        layer = self._layer
        self._calibration = None if layer is None else pixel_size_of(layer)
        self.widget.value = self._calibration[1] if self._calibration else 0.0
