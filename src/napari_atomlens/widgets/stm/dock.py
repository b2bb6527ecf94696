"""The STM dock widget: assess, prepare with preview, and analyse a scan in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_atomlens.contours.anomalies import AnomalyParams
from napari_atomlens.errors import AtomLensError, ImageError
from napari_atomlens.params import Params
from napari_atomlens.progress import Progress
from napari_atomlens.runs.surface import SurfaceSites, find_on_surface
from napari_atomlens.stm.assessment import Verdict, assess
from napari_atomlens.stm.geometry import correct_drift, find_drift, square_pixels
from napari_atomlens.stm.groups import DefectGroups, GroupParams, group_defects
from napari_atomlens.stm.levelling import LevelParams, level
from napari_atomlens.stm.molecules import Film, FilmMovie, MoleculeParams, follow_movie, read_film
from napari_atomlens.stm.params import SiliconAnalysisParams
from napari_atomlens.stm.silicon import SiliconResult, analyze_silicon
from napari_atomlens.stm.traces import Comparison, compare_traces
from napari_atomlens.widgets.base.jobs import Job, Stop, Work
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import ParamForm, number_box, shrinkable_combo
from napari_atomlens.widgets.layers import convert, roles
from napari_atomlens.widgets.layers import surface as stm
from napari_atomlens.widgets.layers.roles import entry
from napari_atomlens.widgets.stm.geometry import GeometryPart

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from napari.utils.events import Event

SILICON, FILM = "H-Si(100)", "film of molecules"
CHARGE, OTHER = "charge clouds (manganite)", "another surface"
ABOUT = {
    SILICON: "Terraces, steps, dimers, contaminants, and every defect with its name.",
    FILM: "Molecules up and down, their rotation, order and domains.",
    CHARGE: "Every site measured; those with a cloud unlike the others are framed.",
    OTHER: "Atoms by the universal model on the levelled scan: Si(111)-7x7, oxides, adatoms.",
}
NO_IMAGE = "Open a scan first."
PREVIEW_MS = 250


@dataclass(frozen=True)
class Levelled:
    """A scan that was levelled, and how."""

    image: np.ndarray
    params: LevelParams


@dataclass(frozen=True)
class Mended:
    """A scan with square pixels, and the drift (2, 2) that was undone in it."""

    image: np.ndarray
    pixel_size_nm: float
    drift: np.ndarray | None = None


class StmWidget(DockWidget):
    """Assesses, prepares and analyses STM scans.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A run has ended, in whatever way.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("stm")
        self._viewer = viewer
        self._closed = False
        self._busy = ""
        self._source_id = ""
        self.result: SiliconResult | SurfaceSites | Film | FilmMovie | None = None
        self.groups: DefectGroups | None = None
        self._job = Job(self)
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(PREVIEW_MS)
        self._wait.timeout.connect(self._start_preview)
        self._create_fields()
        self._create_layout()
        self._connect()
        self._list_layers()

    # -------------------------------------------------------------- the window

    def _create_fields(self) -> None:
        self._image = shrinkable_combo()
        self._image.setObjectName("image")
        self._image.setToolTip("The scan; of a movie the frame that is shown")
        self._pixel = number_box(0, 100, decimals=5, step=0.001, unit="nm")
        self._pixel.setSpecialValueText("unknown")
        self._pixel.setObjectName("pixel_size_nm")
        self._pixel.setToolTip("Pixel size, from the layer; type it where the file does not say")
        self._assess = QPushButton("Is it any good?")
        self._assess.setObjectName("assess")
        self._verdict = QLabel()
        self._verdict.setObjectName("verdict")
        self._level = ParamForm(LevelParams)
        self._preview = QCheckBox("Preview")
        self._preview.setObjectName("preview")
        self._preview.setToolTip("Show what the settings do, as a layer that goes away again")
        self._apply = QPushButton("Make levelled layer")
        self._apply.setObjectName("apply")
        self._kind = shrinkable_combo()
        self._kind.addItems(list(ABOUT))
        self._kind.setObjectName("kind")
        self._about = QLabel()
        self._about.setObjectName("about")
        self._geometry = GeometryPart()
        self._charge = ParamForm(AnomalyParams, leave_out=("by_frame",))
        self._flips = QPushButton("Follow flips through the movie")
        self._flips.setObjectName("flips")
        self._flips.setToolTip("Which molecules turn over, and when; drift is measured first")
        self._silicon = ParamForm(SiliconAnalysisParams, special={"row_px": "auto"})
        self._film = ParamForm(MoleculeParams, special={"spacing_px": "auto"})
        self._run = QPushButton("Analyse")
        self._run.setObjectName("run")
        self._groups = ParamForm(GroupParams, leave_out=("seed",))
        self._group = QPushButton("Put defects into classes")
        self._group.setObjectName("group")
        self._group.setEnabled(False)
        self._group.setToolTip("Mean-shift over what the network says round each defect")
        self._bar = QProgressBar()
        self._bar.setRange(0, 0)
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        for label in (self._verdict, self._status, self._about):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def _create_layout(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        top = _form()
        top.addRow("Scan", self._image)
        top.addRow("Pixel size", self._pixel)
        layout.addLayout(top)
        layout.addWidget(self._assess)
        layout.addWidget(self._verdict)
        prepare = _form()
        prepare.addRow(QLabel("<b>Prepare</b>"))
        for name in self._level.fields:
            self._level.add_row(prepare, name)
        layout.addLayout(prepare)
        row = QHBoxLayout()
        row.addWidget(self._preview)
        row.addWidget(self._apply, 1)
        layout.addLayout(row)
        geometry = QCollapsible("Pixels, drift, the other trace")
        geometry.setContent(self._geometry)
        geometry.collapse(animate=False)
        layout.addWidget(geometry)
        analyse = _form()
        analyse.addRow(QLabel("<b>Analyse the raw scan</b>"))
        analyse.addRow("Surface", self._kind)
        layout.addLayout(analyse)
        layout.addWidget(self._about)
        groups = _collapsed("Classes of defects", self._groups)
        self._more = [
            (SILICON, _collapsed("How to analyse", self._silicon)),
            (FILM, _collapsed("How to read the film", self._film)),
            (CHARGE, _collapsed("What counts as unusual", self._charge)),
            (FILM, self._flips), (SILICON, groups), (SILICON, self._group),
        ]  # fmt: skip
        for _, part in self._more[:3]:
            layout.addWidget(part)
        layout.addWidget(self._run)
        for _, part in self._more[3:]:
            layout.addWidget(part)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        bar = area.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(max(320, inside.minimumSizeHint().width()) + bar + 4)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self._on_kind()

    def _connect(self) -> None:
        events = self._viewer.layers.events
        events.inserted.connect(self._on_layers)
        events.removed.connect(self._on_layers)
        events.renamed.connect(self._on_layers)
        self._image.currentIndexChanged.connect(self._on_image)
        self._assess.clicked.connect(self.assess)
        self._apply.clicked.connect(self.prepare)
        self._preview.toggled.connect(self._on_preview)
        self._kind.currentTextChanged.connect(self._on_kind)
        self._run.clicked.connect(self._on_run)
        self._group.clicked.connect(self.classify)
        self._flips.clicked.connect(self.follow)
        self._geometry.asked.connect(self.mend)
        self._pixel.valueChanged.connect(self._update_buttons)
        for field in self._level.fields.values():
            for name in ("currentTextChanged", "valueChanged", "toggled"):
                if hasattr(field, name):
                    getattr(field, name).connect(self._on_setting)
                    break
        self._job.results.connect(self._on_results)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.noted.connect(self._status.setText)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; results stay, the preview goes."""
        if self._closed:
            return
        self._closed = True
        was_running = self._job.is_running
        self._job.close()
        self._wait.stop()
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_layers)
        events.removed.disconnect(self._on_layers)
        events.renamed.disconnect(self._on_layers)
        self._drop_preview()
        if was_running:
            self.finished.emit()

    # -------------------------------------------------------------- the layers

    def _on_layers(self, event: Event | None = None) -> None:
        self._list_layers()

    def _list_layers(self) -> None:
        from napari.layers import Image

        images = [
            x for x in self._viewer.layers
            if isinstance(x, Image) and x.ndim >= 2
            and entry(x).get("role") in (None, roles.PREPARED)
        ]  # fmt: skip
        chosen = self._image.currentData()
        ids = [str(x.unique_id) for x in images]
        self._image.blockSignals(True)
        self._image.clear()
        for layer, unique in zip(images, ids, strict=True):
            self._image.addItem(str(layer.name), unique)
        if ids:
            self._image.setCurrentIndex(ids.index(chosen) if chosen in ids else len(ids) - 1)
        self._image.blockSignals(False)
        if not images:
            self._status.setText(NO_IMAGE)
        elif self._status.text() == NO_IMAGE:
            self._status.setText("")
        if self._image.currentData() != chosen:
            self._on_image()
        self._list_traces(images)
        self._update_buttons()

    def _list_traces(self, images: Sequence[Image]) -> None:
        here = self.source()
        self._geometry.list_traces(
            [(str(x.name), str(x.unique_id)) for x in images
             if here is not None and x is not here and x.data.shape == here.data.shape],
            "" if here is None else str(here.name),
        )  # fmt: skip

    def source(self) -> Image | None:
        """Return the layer of the scan, None where there is none."""
        key = self._image.currentData()
        return next((x for x in self._viewer.layers if str(x.unique_id) == key), None)

    def _on_image(self, index: int = 0) -> None:
        layer = self.source()
        size = None if layer is None else convert.pixel_size_nm(layer.scale, layer.units)
        self._pixel.setValue(size[1] if size else 0.0)
        self._verdict.setText("")
        self._on_setting()
        self._list_traces(
            [x for x in self._viewer.layers
             if entry(x).get("role") in (None, roles.PREPARED) and type(x).__name__ == "Image"]
        )  # fmt: skip
        self._update_buttons()

    def scan(self, layer: Image | None = None) -> np.ndarray:
        """Return the pixels of the scan that is shown, or of another layer.

        Raises
        ------
        ImageError
            If no image is chosen.
        """
        layer = layer or self.source()
        if layer is None:
            raise ImageError(NO_IMAGE)
        data = layer.data[-1] if layer.multiscale else layer.data
        while data.ndim > (3 if layer.rgb else 2):
            here = layer.world_to_data(self._viewer.dims.point[-layer.ndim :])
            axis = layer.data.ndim - data.ndim
            data = data[int(np.clip(round(here[axis]), 0, len(data) - 1))]
        array = np.asarray(data)
        return array[..., :3].mean(-1) if layer.rgb else array

    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x): as the layer says exactly, unless another one is typed."""
        layer, typed = self.source(), self._pixel.value()
        known = None if layer is None else convert.pixel_size_nm(layer.scale, layer.units)
        if known and abs(typed - known[1]) < 0.5 * 10.0 ** -self._pixel.decimals():
            return known
        return (typed, typed) if typed > 0 else None

    def _update_buttons(self, _: float = 0.0) -> None:
        idle = not self._job.is_running
        layer = self.source()
        ready = layer is not None
        size = self.pixel_size_nm()
        square = size is None or abs(np.log(size[0] / size[1])) < 1e-3
        self._geometry.enable(idle=idle and ready, square=square, calibrated=size is not None)
        self._flips.setEnabled(idle and ready and _is_movie(layer))
        for button in (self._assess, self._apply):
            button.setEnabled(idle and ready)
        self._run.setEnabled(ready if idle else True)
        self._run.setText("Analyse" if idle else "Cancel")
        self._group.setEnabled(idle and isinstance(self.result, SiliconResult))

    def _ours(self, role: str) -> Layer | None:
        return next(
            (
                x for x in self._viewer.layers
                if entry(x).get("role") == role and entry(x).get("source_id") == self._source_id
            ),
            None,
        )  # fmt: skip

    def _put(self, layers: list[stm.LayerTuple]) -> None:
        """Replace our layers of the same role and source; the user's visibility stays."""
        from napari.layers import Layer

        for data, kwargs, kind in layers:
            layer = Layer.create(data, kwargs, kind)
            role = entry(layer)["role"]
            old = self._ours(role)
            if old is not None:
                layer.visible, layer.opacity = old.visible, old.opacity
                at = self._viewer.layers.index(old)
                self._viewer.layers.remove(old)
            elif kind in ("image", "labels") and role != roles.GALLERY:
                at = self._above_scan()  # beneath what is marked in it
            else:
                at = len(self._viewer.layers)
            self._viewer.layers.insert(at, layer)

    def _above_scan(self) -> int:
        """Place in the list above the scan and the images that were made of it."""
        from napari.layers import Image, Labels

        mine = [
            k for k, x in enumerate(self._viewer.layers)
            if str(x.unique_id) == self._source_id
            or (isinstance(x, (Image, Labels)) and entry(x).get("source_id") == self._source_id
                and entry(x).get("role") != roles.GALLERY)
        ]  # fmt: skip
        return max(mine, default=len(self._viewer.layers) - 1) + 1

    # ---------------------------------------------------------------- the work

    def _start(self, what: str, make: Work) -> None:
        if self._job.is_running:
            return
        layer = self.source()
        if layer is None:
            self._status.setText(NO_IMAGE)
            return
        self._busy, self._source_id = what, str(layer.unique_id)
        self._bar.show()
        self._job.start(make, needs_torch=what == "analyse")
        self._update_buttons()

    def assess(self) -> None:
        """Assess the scan and say what is wrong with it."""
        image = self._scan_or_say()
        if image is not None:
            self._start("assess", lambda stop: iter([assess(image)]))

    def _scan_or_say(self) -> np.ndarray | None:
        try:
            return self.scan()
        except AtomLensError as error:
            self._status.setText(str(error))
            return None

    def prepare(self) -> None:
        """Make a new layer with the levelled scan."""
        self._level_in_thread("prepare")

    def _on_preview(self, on: bool) -> None:
        if on:
            self._start_preview()
        else:
            self._drop_preview()

    def _on_setting(self, *_: object) -> None:
        if self._preview.isChecked():
            self._wait.start()

    def _start_preview(self) -> None:
        if self._job.is_running:
            self._wait.start()
        elif self._preview.isChecked() and not self._closed:
            self._level_in_thread("preview")

    def _level_in_thread(self, what: str) -> None:

        image = self._scan_or_say()
        if image is None:
            return
        params, size = self._level.value(), self.pixel_size_nm()
        pixel = size[1] if size else None
        self._start(
            what, lambda stop: iter([Levelled(level(image, params, pixel_size_nm=pixel), params)])
        )

    def _drop_preview(self) -> None:
        for layer in [x for x in self._viewer.layers if entry(x).get("role") == roles.PREVIEW]:
            self._viewer.layers.remove(layer)

    def _on_kind(self, text: str = "") -> None:
        self._about.setText(ABOUT[self._kind.currentText()])
        for name, part in self._more:
            part.setVisible(name == self._kind.currentText())

    def _on_run(self) -> None:
        if self._job.is_running:
            self._status.setText("Cancelling…")
            self._job.cancel()
        else:
            self.run()

    def run(self) -> None:
        """Analyse the scan with the settings shown."""
        image, size = self._scan_or_say(), self.pixel_size_nm()
        if image is None:
            return
        if self._kind.currentText() == SILICON:
            params = self._silicon.value()

            def work(stop: Stop) -> Iterator[object]:
                yield analyze_silicon(image, size, params, progress=Progress(stop=stop))
        elif self._kind.currentText() == FILM:
            film = self._film.value()

            def work(stop: Stop) -> Iterator[object]:
                yield read_film(image, film)
        else:
            charge = self._charge.value() if self._kind.currentText() == CHARGE else None

            def work(stop: Stop) -> Iterator[object]:
                yield find_on_surface(image, size, charge, progress=Progress(stop=stop))

        self._status.setText("Analysing…")
        self._start("analyse", work)

    def follow(self) -> None:
        """Follow the molecules of a film through the whole movie."""
        layer = self.source()
        if layer is None or not _is_movie(layer):
            self._status.setText("Flips need a movie: a layer with a time axis.")
            return
        movie, params = layer.data, self._film.value()

        def work(stop: Stop) -> Iterator[FilmMovie]:
            yield follow_movie(movie, params, progress=Progress(stop=stop))

        self._status.setText("Following the molecules…")
        self._start("flips", work)

    def mend(self, what: str) -> None:
        """Make pixels square, undo drift, or compare the traces: "square", "drift", "traces"."""
        image, size = self._scan_or_say(), self.pixel_size_nm()
        if image is None:
            return
        if what == "traces":
            key = self._geometry.trace()
            other = next((x for x in self._viewer.layers if str(x.unique_id) == key), None)
            if other is None:
                self._status.setText("Open the backward trace as a layer of the same shape first.")
                return
            back = self.scan(other)

            def work(stop: Stop) -> Iterator[object]:
                yield compare_traces(image, back)
        elif size is None:
            self._status.setText("This needs the pixel size; type it above.")
            return
        elif what == "square":

            def work(stop: Stop) -> Iterator[object]:
                yield Mended(*square_pixels(image, size))
        else:
            a, b, angle = self._geometry.lattice()

            def work(stop: Stop) -> Iterator[object]:
                flat, pixel = square_pixels(image, size)
                matrix = find_drift(flat, a / pixel, b / pixel, angle)
                yield Mended(correct_drift(flat, matrix), pixel, matrix)

        self._start(what, work)

    def classify(self) -> None:
        """Put the defects of the last analysis into classes by mean-shift."""
        result = self.result
        if not isinstance(result, SiliconResult):
            self._status.setText("Analyse a scan of H-Si(100) first.")
            return
        params = self._groups.value()

        def work(stop: Stop) -> Iterator[DefectGroups]:
            yield group_defects(result.terraces.flat, result.probabilities, result.defects, params)

        self._start("group", work)

    def _on_results(self, results: list[object]) -> None:
        source = self.source()
        if source is None or str(source.unique_id) != self._source_id:
            source = next(
                (x for x in self._viewer.layers if str(x.unique_id) == self._source_id), None
            )
        if source is None:
            self._status.setText("Stopped: the scan was removed.")
            return
        for what in results:
            if isinstance(what, Verdict):
                self._show_verdict(what)
            elif isinstance(what, Levelled):
                image, params = what.image, what.params
                layer = stm.prepared_layer(image, source, params, preview=self._busy == "preview")
                if self._busy == "preview":
                    if self._preview.isChecked():
                        self._put([layer])
                else:
                    from napari.layers import Layer

                    self._viewer.add_layer(Layer.create(*layer))
                    self._status.setText("The levelled scan is a new layer; the raw one stays.")
            elif isinstance(what, DefectGroups):
                self._show_groups(what, source)
            elif isinstance(what, Comparison):
                self._show_traces(what, source)
            elif isinstance(what, Mended):
                self._show_mended(what, source)
            elif isinstance(what, FilmMovie):
                self._put(stm.flip_layers(what, source))
                n, t = what.tracks["track_id"].nunique(), what.tracks["frame"].nunique()
                self.result = what
                self._status.setText(
                    f"{n} molecules in {t} frames, {len(what.events)} flips; drift "
                    f"{np.hypot(*what.drift_px[-1]):.1f} px. A ring marks each flip."
                )
            elif isinstance(what, (SiliconResult, SurfaceSites, Film)):
                self._show_result(what, source)

    def _show_verdict(self, verdict: Verdict) -> None:
        usable = 100 * float(verdict.usable_mask.mean())
        self._verdict.setText(
            f"<b>{verdict.label}</b> ({verdict.score:.2f}), {usable:.0f} % usable. "
            + " ".join(verdict.reasons)
        )

    def _show_result(self, result: SiliconResult | SurfaceSites | Film, source: Image) -> None:
        self.result, self.groups = result, None
        if isinstance(result, SiliconResult):
            self._show_verdict(result.verdict)
            self._put(stm.silicon_layers(result, source))
            kinds = result.defects["kind"].value_counts()
            colours = stm.kind_colours()
            text = ", ".join(
                f'<span style="color:{colours.get(str(k), "#ffffff")}">●</span> {n} {k}'
                for k, n in kinds.items()
            )
            self._status.setText(
                f"{len(result.terraces.table)} terrace(s), {len(result.atoms)} dimers; "
                f"{text or 'no defects'}. " + " ".join(result.messages)
            )
        elif isinstance(result, SurfaceSites):
            self._put(stm.surface_layers(result, source))
            text = f"{len(result.sites)} sites. "
            if "anomaly" in result.sites:
                n = int(result.sites["anomaly"].sum())
                text += f"{n} are unlike the others; the dock Explore says why. "
            self._status.setText(text + " ".join(result.messages))
        else:
            self._put(stm.film_layers(result, source))
            m = result.molecules
            self._status.setText(
                f"{len(m)} molecules, {100 * m['up'].mean():.0f} % up, "
                f"median psi6 {m['psi6'].median():.2f}, {m['domain'].nunique()} domains."
            )

    def _show_traces(self, what: Comparison, source: Image) -> None:
        self._put(stm.trace_layers(what, source))
        self._status.setText(
            f"The traces agree to {100 * what.correlation:.0f} %, {what.shift_px[1]:+.1f} px "
            f"apart; {100 * what.disagree.mean():.1f} % of the scan differs."
        )

    def _show_mended(self, what: Mended, source: Image) -> None:
        from napari.layers import Layer

        name = "square pixels" if what.drift is None else "without drift"
        layer = stm.mended_layer(what.image, what.pixel_size_nm, source, name)
        self._viewer.add_layer(Layer.create(*layer))
        self._image.setCurrentIndex(self._image.count() - 1)
        said = f"The new layer has pixels of {what.pixel_size_nm:.4g} nm."
        if what.drift is not None:
            (p, _), (s, c) = what.drift
            said = (
                f"Undone: {100 * (p / c - 1):+.1f} % stretch and {100 * s / c:+.1f} % shear; "
                f"the calibration along the lines differs by {100 * (c - 1):+.1f} %."
            )
        self._status.setText(said + " The raw scan stays.")

    def _show_groups(self, groups: DefectGroups, source: Image) -> None:
        result = self.result
        if not isinstance(result, SiliconResult):
            return
        self.groups = groups
        result.defects = result.defects.assign(group=groups.label)
        layer = stm.defects_layer(result.defects, source, result.row_px, result.provenance)
        picture = stm.gallery_image(groups.gallery)
        low, high = stm.limits(picture)
        kwargs: dict[str, object] = {
            "name": f"{roles.GALLERY}: {source.name}",
            "contrast_limits": (low, high), "colormap": "gray",
            # beside the scan, in the same units
            "scale": tuple(source.scale[-2:]), "units": tuple(source.units[-2:]),
            "axis_labels": tuple(source.axis_labels[-2:]),
            "translate": (0.0, 1.05 * source.data.shape[-1] * float(source.scale[-1])),
            "metadata": {roles.KEY: {"role": roles.GALLERY, "source_id": self._source_id,
                                       "source_name": str(source.name)}},
        }  # fmt: skip
        self._put([layer, (np.nan_to_num(picture, nan=low), kwargs, "image")])
        self._status.setText(
            f"{len(groups.table)} classes: "
            + ", ".join(f"{r['count']} like {r['kind']}" for _, r in groups.table.iterrows())
            + ". Column group of the defects; each row of the gallery is a class."
        )

    def _on_failed(self, sentence: str) -> None:
        self._status.setText(sentence)
        if self._busy == "preview":
            self._preview.setChecked(False)

    def _on_crashed(self, error: Exception) -> None:
        self._status.setText(f"Something went wrong: {type(error).__name__}: {error}")

    def _on_finished(self) -> None:
        self._bar.hide()
        if self._status.text().endswith("…"):
            self._status.setText("Cancelled." if self._job.is_cancelled else "")
        self._update_buttons()
        self.finished.emit()


def _is_movie(layer: Image | None) -> bool:
    return layer is not None and not layer.rgb and not layer.multiscale and layer.data.ndim == 3


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setContentsMargins(0, 0, 0, 0)
    return form


def _collapsed(title: str, params: ParamForm[Params]) -> QCollapsible:
    part = QCollapsible(title)
    inner = QWidget()
    fields = _form()
    inner.setLayout(fields)
    for name in params.fields:
        params.add_row(fields, name)
    part.setContent(inner)
    part.collapse(animate=False)
    return part
