"""The Find atoms dock widget: choose an image, press one button, see every atom."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens import __version__
from napari_atomlens.errors import AtomLensError, ImageError
from napari_atomlens.image import source_stack
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.segmentation.zoo import find_model, list_models, role_of
from napari_atomlens.widgets.base.jobs import Job
from napari_atomlens.widgets.base.legend import Legend
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import ParamForm, number_box, shrinkable_combo
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.contours import AUTO, LABELS, NONE, SHAPES
from napari_atomlens.widgets.layers.image_layers import FrameDrawing, ImageLayers, LayerRequest
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ATOMS
from napari_atomlens.widgets.layers.roles import entry as our_entry

if TYPE_CHECKING:
    import napari.viewer

ALL_FRAMES, THIS_FRAME = "all frames", "this frame"
#: Outlines and counts follow the slider when it has rested this long.
REST_MS = 100


def model_names() -> list[str]:
    """Names of the models that there are, from their cards alone."""
    return [m.name for m in list_models()]


def model_hash(name: str) -> str:
    """SHA-256 of the weights of a model, "" where there is no such file."""
    try:
        return str(find_model(name).file_hash())
    except (AtomLensError, OSError):
        return ""


def length_text(pixels: float, pixel_size_nm: float | None) -> str:
    """Write a length in pixels and, where the pixel size is known, in nm."""
    text = f"{pixels:.1f} px"
    return f"{text} = {pixels * pixel_size_nm:.3g} nm" if pixel_size_nm else text


class FindAtomsWidget(DockWidget):
    """Finds every atom in an image layer and shows probabilities, contours and atoms.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A run has ended, in whatever way.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("find_atoms")
        self._viewer = viewer
        self._outputs: dict[str, ImageLayers] = {}
        self._running: ImageLayers | None = None
        self._order: list[int] = []
        self._done = 0
        self._n_atoms = 0
        self._messages: list[str] = []
        self._ending = self._model = self._reason = self._kept = ""
        self._started = 0.0
        self._calibration: tuple[float, float] | None = None
        self._listening: Any = None
        self._closed = False
        self._job = Job(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._on_rested)
        self._create_fields()
        self._create_layout()
        self._connect()
        self._list_images()

    # -------------------------------------------------------------- the window

    def _create_fields(self) -> None:
        self._image = shrinkable_combo()
        self._image.setObjectName("image")
        self._image.setToolTip("The image or movie in which to find atoms")
        self._pixel_size = number_box(0, 1000, decimals=5, step=0.001, unit="nm")
        self._pixel_size.setSpecialValueText("unknown")
        self._pixel_size.setObjectName("pixel_size_nm")
        self._pixel_size.setToolTip(
            "Size of a pixel, taken from the scale and units of the layer; 0 where it is unknown"
        )
        self._frames = shrinkable_combo()
        self._frames.addItems([ALL_FRAMES, THIS_FRAME])
        self._frames.setObjectName("frames")
        self._frames.setToolTip("The frame that is shown comes first, the others follow")

        model = shrinkable_combo()
        model.addItem("auto")
        try:
            model.addItems([n for n in model_names() if n != "auto"])
        except (AtomLensError, OSError) as error:
            model.setToolTip(str(error))
        self._form = ParamForm(
            AnalysisParams,
            special={"spacing_px": "auto"},
            fields={"model": model},
            leave_out=("contours",),
        )
        self._found = QLabel()
        self._found.setObjectName("found_spacing")
        self._found.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._found.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._found.hide()

        self._atoms = self._check("atoms", "Atoms", True, "A Points layer with the whole table")
        self._contours = shrinkable_combo()
        self._contours.addItems([AUTO, SHAPES, LABELS, NONE])
        self._contours.setObjectName("contours")
        self._contours.setToolTip(
            "Outlines of the atoms. Shapes can be edited, of a movie they show the current frame; "
            "Labels stay fluid in movies and with thousands of outlines. Auto chooses."
        )
        self._probability = self._check(
            "probability", "Probability", True, "What the network sees, as a hidden Image layer"
        )
        self._map = shrinkable_combo()
        self._map.addItem("any atom")
        self._map.setObjectName("map")
        self._map.setToolTip("The class that the probability layer shows")
        self._unfamiliar = self._check(
            "unfamiliar", "Unfamiliar regions", True,
            "Where the image is unlike what the model was trained on: trust no atom there",
        )  # fmt: skip

        self._button = QPushButton("Find atoms")
        self._button.setObjectName("run")
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._legend = Legend()

    @staticmethod
    def _check(name: str, text: str, on: bool, tip: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setObjectName(name)
        box.setChecked(on)
        box.setToolTip(tip)
        return box

    def _create_layout(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self._image)
        form.addRow("Pixel size", self._pixel_size)
        form.addRow("Frames", self._frames)
        self._form_layout = form
        for name in self._form.fields:
            self._form.add_row(form, name)
            if name == "spacing_px":
                form.addRow(self._found)
        outputs = QFormLayout()
        outputs.setContentsMargins(0, 0, 0, 0)
        outputs.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        heading = QLabel("<b>Add layers</b>")
        outputs.addRow(heading)
        outputs.addRow(self._atoms)
        outputs.addRow("Contours", self._contours)
        row = QHBoxLayout()
        row.addWidget(self._probability)
        row.addWidget(self._map, 1)
        outputs.addRow(row)
        outputs.addRow(self._unfamiliar)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addLayout(form)
        layout.addLayout(outputs)
        layout.addWidget(self._button)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addWidget(self._legend)
        layout.addStretch(1)
        self.setMinimumWidth(290)

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._on_inserted)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self._on_renamed)
        self._viewer.dims.events.point.connect(self._on_slider)
        self._image.currentIndexChanged.connect(self._on_image_chosen)
        self._pixel_size.valueChanged.connect(self._show_found)
        self._map.currentTextChanged.connect(self._on_map_chosen)
        self._button.clicked.connect(self._on_clicked)
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        was_running = self._running is not None
        self._job.close()
        self._running = None
        self._rest.stop()
        self._listen_to(None)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_inserted)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self._on_renamed)
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self._outputs.clear()
        if was_running:
            self.finished.emit()

    # -------------------------------------------------------------- the layers

    def _list_images(self) -> None:
        from napari.layers import Image

        chosen = self._image.currentData()
        images = [x for x in self._viewer.layers if isinstance(x, Image) and not our_entry(x)]
        self._image.blockSignals(True)
        self._image.clear()
        for layer in images:
            self._image.addItem(layer.name, str(layer.unique_id))
        ids = [str(x.unique_id) for x in images]
        active = self._viewer.layers.selection.active
        if chosen is None and active is not None and str(active.unique_id) in ids:
            chosen = str(active.unique_id)
        self._image.setCurrentIndex(ids.index(chosen) if chosen in ids else len(ids) - 1)
        self._image.blockSignals(False)
        for row, layer in enumerate(images):
            self._image.setItemData(row, layer.name, Qt.ItemDataRole.ToolTipRole)
        if not images and not self.is_running:
            self._status.setText("Open an image or a movie first.")
        elif images and self._status.text() == "Open an image or a movie first.":
            self._status.setText("")
        self._update_button()
        if self._image.currentData() != chosen or self._listening is None:
            self._on_image_chosen()

    def source(self) -> Any:
        """Return the image layer that is chosen, None where there is none."""
        return self._layer(self._image.currentData())

    def _layer(self, unique_id: str | None) -> Any:
        if unique_id is None:
            return None
        return next((x for x in self._viewer.layers if str(x.unique_id) == unique_id), None)

    def _outputs_of(self, layer: Any) -> ImageLayers:
        key = str(layer.unique_id)
        if key not in self._outputs:
            self._outputs[key] = layers_of(self._viewer, layer).part(ImageLayers)
        return self._outputs[key]

    def _listen_to(self, layer: Any) -> None:
        """Follow the calibration of the chosen layer."""
        old, self._listening = self._listening, layer
        for emitter, connect in ((old, False), (layer, True)):
            if emitter is None:
                continue
            for event in (emitter.events.scale, emitter.events.units):
                if connect:
                    event.connect(self._read_pixel_size)
                else:
                    event.disconnect(self._read_pixel_size)

    def _on_inserted(self, event: Any = None) -> None:
        self._list_images()

    def _on_renamed(self, event: Any = None) -> None:
        self._list_images()

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        key = str(gone.unique_id)
        if self._listening is not None and str(self._listening.unique_id) == key:
            self._listen_to(None)
        running = self._running
        if running is not None and not self._job.is_cancelled:
            mine = our_entry(gone)
            if key == running.source_id:
                self._end(f"Stopped: the image {gone.name} was removed.")
            elif mine.get("source_id") == running.source_id and not running.layers.is_busy:
                running.drop(mine["role"])
                if mine["role"] == ATOMS:
                    self._end("Stopped: the layer of the atoms was removed.")
        outputs = self._outputs.get(key)
        if outputs is not None and outputs is not running:
            self._outputs.pop(key)
        self._list_images()

    def _on_image_chosen(self, index: int = 0) -> None:
        layer = self.source()
        self._listen_to(layer)
        self._read_pixel_size()
        movie = layer is not None and layer.ndim >= 3
        self._frames.setVisible(movie)
        self._form_layout.labelForField(self._frames).setVisible(movie)
        if layer is not None:
            self._outputs_of(layer)
        self._show_found()
        self._show_legend()

    def _read_pixel_size(self, event: Any = None) -> None:
        """Show the pixel size that the layer says."""
        layer = self.source()
        self._calibration = None
        if layer is not None and layer.ndim >= 2:
            self._calibration = convert.pixel_size_nm(layer.scale, layer.units)
        self._pixel_size.setValue(self._calibration[1] if self._calibration else 0.0)

    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm: as typed, else exactly as the layer says."""
        typed = self._pixel_size.value()
        if self._calibration:
            shown = round(self._calibration[1], self._pixel_size.decimals())
            if abs(typed - shown) < 10.0 ** -(self._pixel_size.decimals() + 1):
                return self._calibration
        return (typed, typed) if typed > 0 else None

    def current_frame(self, layer: Any) -> int:
        """Index of the frame of a layer that the viewer shows."""
        if layer.ndim < 3:
            return 0
        n_frames = layer.data.shape[0]
        point = self._viewer.dims.point[-layer.ndim :]
        return int(np.clip(round(float(layer.world_to_data(point)[0])), 0, n_frames - 1))

    # ----------------------------------------------------------------- the run

    @property
    def is_running(self) -> bool:
        """Whether a run has not ended yet."""
        return self._running is not None

    def _on_clicked(self) -> None:
        if self.is_running:
            self.cancel()
        else:
            self.run()

    def run(self) -> None:
        """Find the atoms in the chosen layer; :attr:`finished` tells when it is done."""
        if self.is_running:
            return
        layer = self.source()
        try:
            if layer is None:
                raise ImageError("Open an image or a movie first.")
            data = layer.data[0] if layer.multiscale else layer.data
            stack = source_stack(data, bool(layer.rgb), layer.axis_labels)
        except AtomLensError as error:
            self._on_failed(str(error))
            self._status.setText(self._ending)
            self.finished.emit()
            return
        wanted = LayerRequest(
            atoms=self._atoms.isChecked(),
            contours=self._contours.currentText(),
            probability=self._probability.isChecked(),
            unfamiliar=self._unfamiliar.isChecked(),
            map_name=self._map.currentText(),
        )
        params = self._form.value(contours=wanted.contours != NONE)
        frame = self.current_frame(layer)
        self._order = convert.frame_order(frame, stack.shape[0])
        if self._frames.currentText() == THIS_FRAME:
            self._order = self._order[:1]
        order, size = list(self._order), self.pixel_size_nm()
        provenance: dict[str, Any] = {
            "atomlens": __version__,
            "started": datetime.datetime.now(datetime.UTC).isoformat(),
            "parameters": as_dict(params),
            "model_sha256": "",
            "image": str(layer.name),
            "image_shape": list(stack.shape),
            "pixel_size_nm": size,
            "frames": [],
        }

        outputs = self._outputs_of(layer)

        def make(cancelled: Callable[[], bool]) -> Iterator[FrameDrawing]:
            # in the thread: nothing here touches the viewer or a layer
            for result in loop.analyze_frames(
                stack,
                params,
                pixel_size_nm=size,
                frames=order,
                progress=Progress(stop=cancelled),
            ):
                if "model" not in provenance:
                    provenance["model"] = result.model
                    provenance["model_chosen"] = result.model_reason or "given"
                    provenance["model_sha256"] = model_hash(result.model)
                yield outputs.draw(result)

        self._running = outputs
        self._running.begin(wanted, stack.shape, size, provenance)
        self._done, self._n_atoms, self._messages, self._ending = 0, 0, [], ""
        self._model = self._reason = self._kept = ""
        self._started = time.perf_counter()
        self._bar.setRange(0, len(order) if len(order) > 1 else 0)
        self._bar.setFormat("%v of %m frames")
        self._bar.setValue(0)
        self._bar.show()
        self._status.setText("Looking for atoms…")
        self._job.start(make)
        self._update_button()

    def cancel(self) -> None:
        """Stop the run; frames that are done stay."""
        if self.is_running:
            self._end("")

    def _end(self, sentence: str) -> None:
        self._ending = sentence
        self._job.cancel()
        self._status.setText(sentence or "Cancelling…")
        self._update_button()

    def _update_button(self) -> None:
        stopping = self.is_running and self._job.is_cancelled
        self._button.setText(
            "Cancelling…" if stopping else "Cancel" if self.is_running else "Find atoms"
        )
        self._button.setEnabled(not stopping and (self.is_running or self._image.count() > 0))

    def _on_results(self, drawn: list[FrameDrawing]) -> None:
        running = self._running
        if running is None:
            return
        layer = self._layer(running.source_id)
        if layer is None:  # removed: what came too late is not drawn
            return
        many = len(self._order) > 1
        try:
            taken = running.apply(drawn, self.current_frame(layer))
        except ImageError as error:  # other pixels than the run was begun on
            if not self._job.is_cancelled:
                self._end(str(error))
            return
        self._n_atoms, self._kept = self._n_atoms + taken.n_atoms, taken.kept
        for r in (d.result for d in drawn):
            self._done += 1
            self._model, self._reason = r.model, r.model_reason
            if r.message:
                self._messages.append(f"Frame {r.frame}: {r.message}" if many else r.message)
        if many:
            self._bar.setValue(self._done)
            if not self._job.is_cancelled:
                self._status.setText(f"{self._n_atoms:,} atoms so far…")
        self._list_maps(running)
        if self.source() is not None and self._image.currentData() == running.source_id:
            self._show_found()
            self._show_legend()

    def _on_failed(self, sentence: str) -> None:
        from napari.utils.notifications import show_warning

        self._ending = sentence
        show_warning(sentence)

    def _on_crashed(self, error: Exception) -> None:
        from napari.utils.notifications import notification_manager

        what = f"{type(error).__name__}: {error}"
        self._ending = f"Something unexpected went wrong ({what})."
        # napari offers the traceback, ready for a bug report
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        seconds = time.perf_counter() - self._started
        cancelled = self._job.is_cancelled
        running, self._running = self._running, None
        self._bar.hide()
        self._update_button()
        if self._ending:
            text = self._ending
        elif cancelled:
            text = f"Cancelled; {self._done} of {len(self._order)} frames are done."
            if len(self._order) == 1:
                text = "Cancelled."
        else:
            text = self._summary(seconds)
        self._status.setText(text)
        self._status.setToolTip(self._reason)
        if running is not None and self._layer(running.source_id) is None:
            self._outputs.pop(running.source_id, None)
        self.finished.emit()

    def _summary(self, seconds: float) -> str:
        n, frames = self._n_atoms, len(self._order)
        took = f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
        where = f" in {frames} frames" if frames > 1 else ""
        # why it was chosen is in the tool tip; that it was not the usual one is said at once
        own = f", model {self._model}" if self._reason and self._model != "universal" else ""
        kept = f"; {self._kept}" if self._kept else ""
        text = f"{n:,} atom{'' if n == 1 else 's'}{where}{own}, {took}{kept}." if n else ""
        if self._messages:
            text += f" {self._messages[0]}"
            if len(self._messages) > 1:
                rest = len(self._messages) - 1
                text += f" ({rest} more frame{'' if rest == 1 else 's'} with a message.)"
        return text.strip() or "No atom was found."

    # ------------------------------------------------------------- what is shown

    def _shown(self) -> ImageLayers | None:
        key = self._image.currentData()
        return self._outputs.get(key) if key is not None else None

    def _show_found(self, value: float = 0.0) -> None:
        outputs = self._shown()
        known = outputs is not None and bool(np.isfinite(outputs.spacing_px))
        self._found.setVisible(known)
        if outputs is not None and known:
            size = self.pixel_size_nm()
            self._found.setText(
                f"found {length_text(outputs.spacing_px, size[1] if size else None)}"
            )

    def _show_legend(self) -> None:
        """Count the atoms of the frame that is shown."""
        outputs, layer = self._shown(), self.source()
        points = outputs.layer(ATOMS) if outputs is not None else None
        if outputs is None or points is None or layer is None or "species" not in points.features:
            self._legend.show_counts({}, styles.class_colours(()))
            return
        species = points.features["species"].astype(str)
        if layer.ndim == 3:
            frame = np.round(np.asarray(points.data)[:, 0]).astype(int)
            species = species[frame == self.current_frame(layer)]
        counts = species.value_counts()
        names = [*outputs.classes, *(c for c in counts.index if c not in outputs.classes)]
        shown = [n for n in names if role_of(n) == "column" and (n or counts.get(n, 0))]
        self._legend.show_counts(
            {n: int(counts.get(n, 0)) for n in shown},
            styles.class_colours(names),
            "In this frame" if layer.ndim == 3 else "",
        )

    def _list_maps(self, outputs: ImageLayers) -> None:
        names = list(outputs.map_names())
        if names == [self._map.itemText(i) for i in range(self._map.count())]:
            return
        chosen = self._map.currentText()
        self._map.blockSignals(True)
        self._map.clear()
        self._map.addItems(names)
        self._map.setCurrentText(chosen)
        self._map.blockSignals(False)

    def _on_map_chosen(self, name: str) -> None:
        outputs = self._shown()
        if outputs is not None and name:
            outputs.show_map(name)

    def _on_slider(self, event: Any = None) -> None:
        self._rest.start()

    def _on_rested(self) -> None:
        for key, outputs in list(self._outputs.items()):
            layer = self._layer(key)
            if layer is not None and layer.ndim == 3:
                outputs.show_frame(self.current_frame(layer))
        if self.isVisible():
            self._show_legend()
