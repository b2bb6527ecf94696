"""The Calibrate dock: gives a layer the pixel size that its file did not store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from napari.layers import Image

from napari_atomlens import calibration, segmentation
from napari_atomlens.errors import AtomLensError, CalibrationError
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.images import current_frame, pixel_size_of, stack_of
from napari_atomlens.widgets.base.layout import button
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers.roles import entry, is_given

MATERIAL, SPACING, BAR = "material", "known spacing", "scale bar"
#: What the true length is, by what it is taken from.
LENGTHS = {
    MATERIAL: "Distance between nearest columns",
    SPACING: "Any distance that you know; Find measures that between nearest columns",
    BAR: "Length of the bar",
}


class CalibrateWidget(Dock):
    """Sets the pixel size of an image and of what was found in it."""

    NAME = "calibrate"

    def build(self) -> None:
        """Image, what the length is taken from, and both lengths."""
        self._image = self.choose(Image, "image", "Image", accepts=is_given)
        self._method = fields.choice("method", "From", [MATERIAL, SPACING, BAR])
        self._material = fields.choice("material", "Material", list(calibration.MATERIALS))
        self._length = fields.number(
            "length_nm", "True length", 0, 1e6, decimals=4, step=0.01, unit="nm"
        )
        self._pixels = fields.number(
            "length_px", "In the image", 0, 1e6, decimals=3, step=0.1, unit="px",
            tip="Distance in the image; Find measures it, or type it in",
        )  # fmt: skip
        self.rows(self._image.widget, self._method, self._material, self._length, self._pixels)
        self.add(self.run_button("Find in the image", self._finding, name="find"))
        self._apply = button("apply", "Calibrate", "", self.apply)
        self.add(self._apply)
        self.add_status()
        self.body.addStretch(1)
        self._image.changed.connect(self._on_image)
        for chosen in (self._method, self._material):
            chosen.changed.connect(self._on_method)
        for length in (self._pixels, self._length):
            length.changed.connect(self._preview)
        self._on_method()

    def layers_changed(self) -> None:
        """Say what is known of the image."""
        if not self.is_running:
            self._preview()

    def _on_image(self, layer: Image | None = None) -> None:
        self._apply.setEnabled(self._image.layer is not None)
        if layer is not None:
            size = pixel_size_of(layer)
            self.say(
                "This image has no calibration." if size is None
                else f"Its pixels are {size[0]:.6g} x {size[1]:.6g} nm."
            )  # fmt: skip

    def _on_method(self, text: str = "") -> None:
        method = self._method.value
        self._material.visible = method == MATERIAL
        if method == MATERIAL:
            self._length.value = calibration.MATERIALS[self._material.value]
        self._length.enabled = method != MATERIAL
        self._length.native.setToolTip(LENGTHS[method])
        self._pixels.value = 0
        self._preview()

    def _preview(self, value: float = 0.0) -> None:
        """Say what Calibrate would do."""
        layer = self._image.layer
        if layer is None or self.is_running:
            self._apply.setEnabled(layer is not None)
            return
        try:
            size = self._size(layer)
        except AtomLensError:
            self._on_image(layer)
            return
        height, width = stack_of(layer).shape[1:]
        self.say(
            f"That makes pixels of {size[0]:.5g} × {size[1]:.5g} nm and an image of "
            f"{size[1] * width:.4g} × {size[0] * height:.4g} nm. Press Calibrate."
        )

    def _size(self, layer: Image) -> tuple[float, float]:
        """Pixel size that the fields give an image; its pixels keep their shape."""
        if not self._pixels.value:
            raise CalibrationError("Press Find, or type how many pixels the distance measures.")
        old = np.asarray(layer.scale, float)[-2:]
        aspect = float(old[0] / old[1]) if (old > 0).all() else 1.0
        return calibration.from_length(self._pixels.value, self._length.value, aspect)

    def _finding(self) -> Task[float]:
        """Measure the spacing or the scale bar in the image."""
        layer = self._image.layer
        if layer is None:
            raise CalibrationError(self.NOTHING)
        stack, frame = stack_of(layer), current_frame(self.viewer, layer)
        bar = self._method.value == BAR

        def work(progress: Progress) -> Iterator[float]:
            image = np.asarray(stack[frame])
            yield calibration.find_scale_bar(image) if bar else segmentation.find_spacing(image)

        return Task(
            work, self._show, self._found, "Looking at the image…",
            sources=(layer,), needs_torch=not bar,
        )  # fmt: skip

    def _show(self, results: list[float]) -> None:
        self._pixels.value = results[-1]

    def _found(self) -> str:
        self._preview()
        return self.status.text()

    def apply(self) -> None:
        """Give the pixel size to the image and to the layers that were made from it."""
        layer = self._image.layer
        if layer is None:
            return
        try:
            size = self._size(layer)
        except AtomLensError as error:
            self.say(str(error))
            return
        for one in self.viewer.layers:
            if one == layer or entry(one).get("source_name") == layer.name:
                one.scale = [*np.asarray(one.scale, float)[:-2], *size]
                one.units = [*one.units[:-2], "nm", "nm"]
        layer.metadata["pixel_size_nm"] = size
        self.say(
            f"Its pixels are {size[0]:.6g} x {size[1]:.6g} nm now. Tables that exist already keep "
            "the lengths that they have; run again for new ones."
        )
