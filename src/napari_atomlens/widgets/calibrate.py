"""The Calibrate dock widget: gives a layer the pixel size that its file did not store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_atomlens import calibration, segmentation
from napari_atomlens.errors import AtomLensError, CalibrationError
from napari_atomlens.image import source_stack
from napari_atomlens.widgets.base.forms import number_box, shrinkable_combo
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.layers import convert, roles

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image
    from napari.utils.events import Event
    from qtpy.QtGui import QCloseEvent

MATERIAL, SPACING, BAR = "material", "known spacing", "scale bar"


class CalibrateWidget(QWidget):
    """Sets the pixel size of an image and of what was found in it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        What was looked for in the image is found, or not.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("calibrate")
        self._viewer, self._closed = viewer, False
        self._job = Job(self)
        self._image = shrinkable_combo()
        self._image.setObjectName("image")
        self._method = shrinkable_combo()
        self._method.addItems([MATERIAL, SPACING, BAR])
        self._method.setObjectName("method")
        self._material = shrinkable_combo()
        self._material.addItems(list(calibration.MATERIALS))
        self._material.setObjectName("material")
        self._length = number_box(0, 1e6, decimals=4, step=0.01, unit="nm")
        self._length.setObjectName("length_nm")
        self._pixels = number_box(0, 1e6, decimals=3, step=0.1, unit="px")
        self._pixels.setObjectName("length_px")
        self._pixels.setToolTip("Distance in the image; Find measures it, or type it in")
        self._find = QPushButton("Find")
        self._find.setObjectName("find")
        self._apply = QPushButton("Calibrate")
        self._apply.setObjectName("apply")
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self._image)
        form.addRow("From", self._method)
        form.addRow("Material", self._material)
        form.addRow("True length", self._length)
        row = QHBoxLayout()
        row.addWidget(self._pixels, 1)
        row.addWidget(self._find)
        form.addRow("In the image", row)
        self._rows = form
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self._apply)
        layout.addWidget(self._status)
        layout.addStretch(1)
        events = viewer.layers.events
        events.inserted.connect(self._on_layers)
        events.removed.connect(self._on_layers)
        events.renamed.connect(self._on_layers)
        self._method.currentTextChanged.connect(self._on_method)
        self._material.currentTextChanged.connect(self._on_method)
        self._image.currentIndexChanged.connect(self._on_image)
        self._pixels.valueChanged.connect(self._preview)
        self._length.valueChanged.connect(self._preview)
        self._find.clicked.connect(self.measure)
        self._apply.clicked.connect(self.apply)
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._status.setText)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)
        self._on_layers()
        self._on_method()

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        self._job.close()
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_layers)
        events.removed.disconnect(self._on_layers)
        events.renamed.disconnect(self._on_layers)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Disconnect with the window."""
        self.cleanup()
        super().closeEvent(event)

    def layer(self) -> Image | None:
        """Image that is chosen, None where there is none."""
        name = self._image.currentText()
        return self._viewer.layers[name] if name and name in self._viewer.layers else None

    def _on_layers(self, event: Event | None = None) -> None:
        from napari.layers import Image

        chosen = self._image.currentText()
        names = [x.name for x in self._viewer.layers if isinstance(x, Image) and roles.KEY
                 not in x.metadata]  # fmt: skip
        self._image.blockSignals(True)
        self._image.clear()
        self._image.addItems(names)
        self._image.setCurrentText(chosen if chosen in names else (names[-1] if names else ""))
        self._image.blockSignals(False)
        self._on_image()

    def _on_image(self, index: int = 0) -> None:
        layer = self.layer()
        self._apply.setEnabled(layer is not None)
        self._find.setEnabled(layer is not None and not self._job.is_running)
        if layer is None:
            self._status.setText("Open an image first.")
            return
        size = convert.pixel_size_nm(layer.scale, layer.units)
        self._status.setText(
            "This image has no calibration." if size is None
            else f"Its pixels are {size[0]:.6g} x {size[1]:.6g} nm."
        )  # fmt: skip

    def _on_method(self, text: str = "") -> None:
        method = self._method.currentText()
        self._rows.setRowVisible(self._material, method == MATERIAL)
        if method == MATERIAL:
            self._length.setValue(calibration.MATERIALS[self._material.currentText()])
        self._length.setEnabled(method != MATERIAL)
        self._pixels.setValue(0)
        what = "Length of the bar" if method == BAR else "Distance between nearest columns"
        if method == SPACING:
            what = "Any distance that you know; Find measures that between nearest columns"
        self._length.setToolTip(what)
        self._preview()

    def _preview(self, value: float = 0.0) -> None:
        """Say what Calibrate would do."""
        layer = self.layer()
        if layer is None or self._job.is_running:
            return
        try:
            size = self._size(layer)
        except AtomLensError:
            self._on_image()
            return
        height, width = layer.data.shape[-3:-1] if layer.rgb else layer.data.shape[-2:]
        self._status.setText(
            f"That makes pixels of {size[0]:.5g} × {size[1]:.5g} nm and an image of "
            f"{size[1] * width:.4g} × {size[0] * height:.4g} nm. Press Calibrate."
        )

    def _size(self, layer: Image) -> tuple[float, float]:
        """Pixel size that the fields give an image; its pixels keep their shape."""
        if not self._pixels.value():
            raise CalibrationError("Press Find, or type how many pixels the distance measures.")
        old = np.asarray(layer.scale, float)[-2:]
        aspect = float(old[0] / old[1]) if (old > 0).all() else 1.0
        return calibration.from_length(self._pixels.value(), self._length.value(), aspect)

    def measure(self) -> None:
        """Measure the spacing or the scale bar in the image."""
        layer = self.layer()
        if layer is None or self._job.is_running:
            return
        try:
            stack = source_stack(layer.data, getattr(layer, "rgb", False))
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        frame = int(self._viewer.dims.current_step[-3]) if stack.shape[0] > 1 else 0
        bar = self._method.currentText() == BAR

        def make(stop: Stop) -> Iterator[float]:
            image = np.asarray(stack[min(frame, len(stack) - 1)])
            if bar:
                yield calibration.find_scale_bar(image)
                return

            yield segmentation.find_spacing(image)

        self._find.setEnabled(False)
        self._status.setText("Looking at the image…")
        self._job.start(make, needs_torch=not bar)

    def apply(self) -> None:
        """Give the pixel size to the image and to the layers that were made from it."""
        layer = self.layer()
        if layer is None:
            return
        try:
            size = self._size(layer)
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        for one in self._viewer.layers:
            ours = one.metadata.get(roles.KEY, {})
            # napari hands a plugin proxies, which are new ones every time
            if one.name == layer.name or ours.get("source_name") == layer.name:
                one.scale = [*np.asarray(one.scale, float)[:-2], *size]
                one.units = [*one.units[:-2], "nm", "nm"]
        layer.metadata["pixel_size_nm"] = size
        self._status.setText(
            f"Its pixels are {size[0]:.6g} x {size[1]:.6g} nm now. Tables that exist already keep "
            "the lengths that they have; run again for new ones."
        )

    def _on_results(self, results: list[float]) -> None:
        self._pixels.setValue(float(results[-1]))

    def _on_crashed(self, error: Exception) -> None:
        self._status.setText(f"That ended with an error: {type(error).__name__}: {error}")

    def _on_finished(self) -> None:
        self._find.setEnabled(self.layer() is not None)
        if self._pixels.value():
            self._preview()
        self.finished.emit()
