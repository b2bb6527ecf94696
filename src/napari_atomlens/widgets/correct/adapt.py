"""Adapt the model: learn from corrected frames, look at before and after, keep or discard."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens import segmentation, training
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import AtomLensError, TableError
from napari_atomlens.progress import Progress
from napari_atomlens.segmentation.zoo import find_model, list_models
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.base.old_forms import number_box, shrinkable_combo
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.atoms import Editor
from napari_atomlens.widgets.layers.roles import KEY

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_atomlens.widgets.correct.dock import CorrectWidget

    #: A step, the model, and what the old and the new one find in a frame.
    Learned = training.Step | training.Adapted | tuple[int, np.ndarray, np.ndarray]
    import napari.viewer

THIS, SEEN, FOURIER = "this frame", "frames marked as seen", "Fourier recipe on this frame"
BEFORE, AFTER = "before", "after"
COLOURS = {BEFORE: "#ff9f1c", AFTER: "#3ddc97"}


class LossPlot(QWidget):
    """The loss of every step, smoothed a little."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph as pg

        self._plot = pg.PlotWidget(background=None)
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setLabel("bottom", "step")
        self._plot.setLabel("left", "loss")
        self._curve = self._plot.plot(pen=pg.mkPen("#4cc9f0", width=2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        self.setFixedHeight(130)
        self.losses: list[float] = []

    def show_losses(self, losses: list[float]) -> None:
        """Show a curve."""
        self.losses = list(losses)
        values = np.asarray(losses, float)
        n = min(15, max(1, len(values) // 5))
        if len(values) >= n:
            values = np.convolve(values, np.ones(n) / n, "valid")
        self._curve.setData(np.arange(len(values)) + n, values)


class AdaptPanel(QWidget):
    """Teaches a model what the user has corrected.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : CorrectWidget, optional
        Its choice of image is what is learned on.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: CorrectWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._owner = parent
        self.editor: Editor | None = None
        self.result: training.Adapted | None = None
        self._losses: list[float] = []
        self._ending = ""
        self._job = Job(self)
        self._enough = threading.Event()
        self._from = shrinkable_combo()
        self._from.addItems([THIS, SEEN, FOURIER])
        self._from.setObjectName("learn_from")
        self._from.setToolTip(
            "Frames whose atoms are right, all of them; or, without any correction, the labels "
            "of the Fourier-subtraction recipe"
        )
        self._start = shrinkable_combo()
        self._start.addItem("auto")
        self._start.setObjectName("start")
        self._start.setToolTip("The model to start from; it stays as it is")
        self._name = QLineEdit("adapted")
        self._name.setObjectName("model_name")
        self._name.setToolTip("Name of the new model")
        self._minutes = number_box(0.1, 120, decimals=1, step=1, unit="min")
        self._minutes.setValue(5)
        self._minutes.setObjectName("minutes")
        self._minutes.setToolTip("Time at most")
        self._button = QPushButton("Adapt model")
        self._button.setObjectName("adapt")
        self._bar = QProgressBar()
        self._bar.setObjectName("adapt_progress")
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("adapt_status")
        self._status.setWordWrap(True)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._keep, self._discard = QPushButton("Keep"), QPushButton("Discard")
        self._keep.setObjectName("keep")
        self._discard.setObjectName("discard")
        self._plot: LossPlot | None = None
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Learn from", self._from)
        form.addRow("Start from", self._start)
        form.addRow("Name", self._name)
        form.addRow("Time", self._minutes)
        row = QHBoxLayout()
        row.addWidget(self._keep)
        row.addWidget(self._discard)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._button)
        layout.addWidget(self._bar)
        self._layout = layout
        layout.addWidget(self._status)
        layout.addLayout(row)
        self._show_choice(False)
        self._button.clicked.connect(self._on_clicked)
        self._keep.clicked.connect(self._on_keep)
        self._discard.clicked.connect(self._on_discard)
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker; a model that was not kept goes."""
        self._job.close()
        self._drop()

    def showEvent(self, event: QShowEvent) -> None:
        """List the models when they are about to be seen."""
        super().showEvent(event)

        there = [self._start.itemText(i) for i in range(self._start.count())]
        self._start.addItems([m.name for m in list_models() if m.name not in there])

    # --------------------------------------------------------------------- the run

    def _on_clicked(self) -> None:
        if self._job.is_running:
            self._enough.set()  # not a cancel: what it has learned so far is judged
            self._button.setText("Judging…")
            self._button.setEnabled(False)
            return
        try:
            self.run()
        except AtomLensError as error:
            self._status.setText(str(error))

    def frames(self) -> list[int]:
        """Frames to learn from."""
        owner = self._owner
        if self.editor is None or owner is None:
            return []
        if self._from.currentText() == SEEN:
            return sorted(self.editor.corrections.seen())
        return [owner._frame()]

    def run(self) -> None:
        """Start to learn.

        Raises
        ------
        TableError
            If there is nothing to learn from.
        """
        owner, editor = self._owner, self.editor
        frames = self.frames()
        if editor is None or owner is None or not frames:
            raise TableError("Correct a frame first, and mark it as seen.")
        images = {}
        for f in frames:
            image = owner._pixels(f)
            if image is None:
                raise TableError("Choose the image in which the atoms are.")
            images[f] = image
        tables = {f: editor.corrections.table(f) for f in frames}
        regions = {f: list(editor.corrections.regions(f)) for f in frames}
        spacing = float(editor.corrections.spacing_px)
        spacing = spacing if spacing == spacing else 0.0
        preview = (frames[-1] + 1) % max(owner._n_frames(), 1)
        look = owner._pixels(preview)
        fourier = self._from.currentText() == FOURIER
        minutes, name, start = self._minutes.value(), self._name.text(), self._start.currentText()
        self._drop()
        self._losses = []
        enough = self._enough = threading.Event()

        def make(cancelled: Stop) -> Iterator[Learned]:
            # in the thread: nothing here touches the viewer or a layer

            labelled = []
            for f in frames:
                if fourier:
                    labelled.append(
                        training.fourier_labels(
                            images[f], training.FourierParams(spacing_px=spacing)
                        )
                    )
                    continue
                usable = outside(regions[f], images[f].shape)
                labelled.append(training.label_frame(images[f], tables[f], spacing, usable))
            params = training.AdaptParams(name=name, minutes=minutes, start=start, steps=100_000)
            for what in training.adapting(
                labelled, params, Progress(stop=lambda: enough.is_set() or cancelled())
            ):
                yield what
                if isinstance(what, training.Adapted) and look is not None:
                    yield (preview, *previews(what, start, look, labelled[0].spacing_px))

        self._ending = ""
        self._bar.setRange(0, 0)
        self._bar.show()
        self._button.setText("Stop and judge")
        self._status.setText("Preparing…")
        self._job.start(make)

    def _on_results(self, results: list[Learned]) -> None:

        for what in results:
            if isinstance(what, training.Step):
                self._losses.append(what.loss)
            elif isinstance(what, training.Adapted):
                self.result = what
                self._ending = what.sentence
            else:
                self._show_preview(*what)
        if self._losses and self.result is None:
            if self._plot is None:
                self._plot = LossPlot()
                self._layout.insertWidget(3, self._plot)
            self._plot.show_losses(self._losses)
            self._status.setText(f"Step {len(self._losses)}, loss {self._losses[-1]:.3f}")

    def _show_preview(self, frame: int, before: np.ndarray, after: np.ndarray) -> None:
        """Show what both models find in a frame that nobody corrected."""
        from napari.layers import Points

        editor = self.editor
        if editor is None:
            return
        ndim, source = editor.layer.ndim, editor.layer
        for name, places in ((BEFORE, before), (AFTER, after)):
            data = np.column_stack([np.full(len(places), float(frame)), places])[:, -ndim:]
            layer = Points(
                data.reshape(-1, ndim), ndim=ndim, name=f"{name} adapting",
                size=float(source.current_size) * (1.5 if name == BEFORE else 1.0),
                face_color="transparent", border_color=COLOURS[name], border_width=0.15,
                scale=source.scale, translate=source.translate, units=source.units,
                axis_labels=source.axis_labels, metadata={KEY: {"role": f"preview {name}"}},
            )  # fmt: skip
            self._viewer.layers.append(layer)
        if self._owner is not None:
            self._owner._show_frame(frame)

    def _remove_preview(self) -> None:
        for layer in list(self._viewer.layers):
            role = (layer.metadata.get(KEY) or {}).get("role", "")
            if str(role).startswith("preview "):
                self._viewer.layers.remove(layer)

    def _on_failed(self, sentence: str) -> None:
        self._ending = sentence

    def _on_crashed(self, error: Exception) -> None:
        from napari.utils.notifications import notification_manager

        self._ending = f"Something unexpected went wrong ({type(error).__name__}: {error})."
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        self._bar.hide()
        self._button.setText("Adapt model")
        self._button.setEnabled(True)
        self._status.setText(self._ending)
        self._show_choice(self.result is not None)

    # ---------------------------------------------------------------- keep or discard

    def _show_choice(self, on: bool) -> None:
        self._keep.setVisible(on)
        self._discard.setVisible(on)
        if on and self.result is not None:
            # never worse by surprise: what is not better must be asked for
            self._keep.setText("Keep" if self.result.is_better else "Keep all the same")
            self._discard.setDefault(not self.result.is_better)

    def _on_keep(self) -> None:

        if self.result is None:
            return
        try:
            info = training.keep(self.result)
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        self.result = None
        self._show_choice(False)
        self._remove_preview()
        self._status.setText(f"Saved. Choose the model {info.name} in Find atoms.")
        self._tell_find_atoms(info.name)

    def _tell_find_atoms(self, name: str) -> None:
        """Let a Find atoms dock that is open offer the new model."""
        dock = self.window().findChild(QWidget, "find_atoms")
        combo = dock.findChild(QComboBox, "model") if dock is not None else None
        if combo is not None and combo.findText(name) < 0:
            combo.addItem(name)

    def _on_discard(self) -> None:
        self._drop()
        self._show_choice(False)
        self._status.setText("Discarded; the old model stays.")

    def _drop(self) -> None:
        if self.result is not None:
            training.discard(self.result)
            self.result = None
        self._remove_preview()


def outside(polygons: Sequence[Sequence[Sequence[float]]], shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the pixels outside of all polygons (y, x)."""
    from skimage.draw import polygon2mask

    mask = np.ones(shape, bool)
    for corners in polygons:
        mask &= ~polygon2mask(shape, np.asarray(corners, float))
    return mask


def previews(
    adapted: training.Adapted, start: str, image: np.ndarray, spacing_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) that the old and the new model find in a frame."""
    out = []
    for name in (start, str(adapted.path)):
        info = find_model(name)
        p = segmentation.segment(image, info, spacing_px)
        atoms = find_atoms(p, calibration=info.calibration.get("atoms"), refine="off")
        out.append(convert.points_from_atoms(atoms, 2))
    return out[0], out[1]
