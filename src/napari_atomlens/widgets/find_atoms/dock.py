"""The Find atoms dock: choose an image, press one button, see every atom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from magicgui.widgets import Label
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_atomlens.errors import AtomLensError, ImageError
from napari_atomlens.io.formats.choice import images_left_out
from napari_atomlens.progress import Progress
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs import provenance
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.source import Source
from napari_atomlens.session.review import Tally, species_counts
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.facts_line import FactsLine
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.images import current_frame, length_text, stack_of
from napari_atomlens.widgets.base.layout import line, sentence
from napari_atomlens.widgets.base.legend import Legend
from napari_atomlens.widgets.base.models import model_names, models_left_out
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.contours import AUTO, LABELS, NONE, SHAPES
from napari_atomlens.widgets.layers.image_layers import FrameDrawing, ImageLayers, LayerRequest
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ATOMS, entry, is_given

if TYPE_CHECKING:
    from psygnal import SignalInstance

ALL_FRAMES, THIS_FRAME = "all frames", "this frame"
NO_IMAGE = "Open an image or a movie first."


class FindAtomsWidget(Dock):
    """Finds every atom in an image layer and shows probabilities, contours and atoms."""

    NAME, NOTHING = "find_atoms", NO_IMAGE

    def build(self) -> None:
        """Image and parameters; which layers to make; the legend."""
        self._running: ImageLayers | None = None
        self._heard: list[SignalInstance] = []
        self._legend = Legend()
        self._count = self.timer(50, self._show_counts)
        self._image = self.choose(
            Image, "image", "Image", accepts=is_given,
            tip="The image or movie in which to find atoms",
        )  # fmt: skip
        self._pixel_size = self.pixel_size_field(self._image)
        self._frames = fields.choice(
            "frames", "Frames", [ALL_FRAMES, THIS_FRAME],
            tip="The frame that is shown comes first, the others follow",
        )  # fmt: skip
        self._form = ParamForm(
            AnalysisParams, special={"spacing_px": "auto"}, choices={"model": model_names()},
            leave_out=("contours",),
        )  # fmt: skip
        fields.offer_anew(self._form["model"], model_names)
        self._found = Label(name="found_spacing", label="Found")
        self._build_form()
        self._build_layers()
        self.add(self.run_button("Find atoms", self._finding))
        self.add_status()
        self.add(self._legend)
        self.body.addStretch(1)
        self._image.changed.connect(self._on_image)
        self._pixel_size.widget.changed.connect(self._show_spacing)
        self._map.changed.connect(self._on_map)
        self._contours.changed.connect(self._on_contours)
        self.follow_slider(self._on_rested)
        self._on_image()

    def _build_form(self) -> None:
        found: QLabel = self._found.native
        found.setObjectName("found_spacing")
        found.setAlignment(Qt.AlignmentFlag.AlignRight)
        found.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._form["spacing_px"].changed.connect(self._show_spacing)
        rest = [w for n, w in self._form.fields.items() if n not in ("model", "spacing_px")]
        self.rows(
            self._image.widget, self._pixel_size.widget, self._frames, self._form["model"],
            self._form["spacing_px"], self._found, *rest,
        )  # fmt: skip
        self.add(FactsLine(self._image))
        if left := models_left_out():  # a model that the user made and misses in the list
            note = sentence("models_left_out")
            note.setText(left)
            self.add(note)

    def _build_layers(self) -> None:
        self._atoms = fields.check(
            "atoms", "Atoms", True, tip="A Points layer with the whole table"
        )
        self._contours = fields.choice(
            "contours", "Contours", [AUTO, SHAPES, LABELS, NONE],
            tip="Outlines of the atoms. Shapes can be edited, of a movie they show the current "
            "frame; Labels stay fluid in movies and with thousands of outlines. Auto chooses. "
            "Outlines that are there are turned into the other kind at once.",
        )  # fmt: skip
        self._probability = fields.check(
            "probability", "Probability", True, tip="What the network sees, as a hidden Image layer"
        )
        self._map = fields.choice(
            "map", "", ["any atom"], tip="The class that the probability layer shows"
        )
        self._unfamiliar = fields.check(
            "unfamiliar", "Unfamiliar regions", True,
            tip="Where the image is unlike what the model was trained on: trust no atom there",
        )  # fmt: skip
        self.add(line("<b>Add layers</b>"), self._atoms)
        self.rows(self._contours)
        self.add(line(self._probability, self._map), self._unfamiliar)

    def closed(self) -> None:
        """Let go of layers and sessions; they stay."""
        self._listen_to(None)

    # -------------------------------------------------------------- the layers

    def _layers_of(self, layer: Image) -> ImageLayers:
        return layers_of(self.viewer, layer).part(ImageLayers)

    def _shown(self) -> ImageLayers | None:
        layer = self._image.layer
        return None if layer is None else self._layers_of(layer)

    def removed(self, layer: Layer) -> None:
        """Make no layer again that the user removes while it runs."""
        running = self._running if self.is_running else None
        if running is not None and not running.layers.is_busy and entry(layer):
            mine = entry(layer)
            if mine.get("source_id") == running.source_id:
                running.drop(mine["role"])
                if mine["role"] == ATOMS:
                    self.stop("Stopped: the layer of the atoms was removed.")

    def _on_image(self, layer: Image | None = None) -> None:
        layer = self._image.layer
        self._frames.visible = layer is not None and layer.ndim >= 3
        outputs = self._shown()
        self._listen_to(None if outputs is None else outputs.session)
        if outputs is not None:
            fields.set_choices(self._map, outputs.map_names())
        self._show_spacing()
        self._show_counts()

    def _listen_to(self, session: Session | None) -> None:
        """Count again when the atoms of a session change, and of no other."""
        for signal in self._heard:
            signal.disconnect(self._on_atoms)
        self._heard = [] if session is None else [session.table_changed, session.atoms_reset]
        for signal in self._heard:
            signal.connect(self._on_atoms)

    # ----------------------------------------------------------------- the run

    def wanted(self) -> LayerRequest:
        """Which layers the fields ask for."""
        return LayerRequest(
            self._atoms.value, self._contours.value, self._probability.value,
            self._unfamiliar.value, self._map.value,
        )  # fmt: skip

    def _finding(self) -> Task[FrameDrawing]:
        """Find the atoms in the chosen layer."""
        layer = self._image.layer
        if layer is None:
            raise ImageError(NO_IMAGE)
        stack, size, wanted = stack_of(layer), self._pixel_size.value(), self.wanted()
        params = self._form.value(contours=wanted.contours != NONE)
        order = convert.frame_order(current_frame(self.viewer, layer), stack.shape[0])
        if layer.ndim >= 3 and self._frames.value == THIS_FRAME:
            order = order[:1]
        left_out = images_left_out(layer.metadata)
        source = Source(stack, str(layer.name), size, left_out=left_out)
        record = dict[str, object]()
        outputs, tally = self._layers_of(layer), Tally(len(order) > 1, wanted.atoms)

        def work(progress: Progress) -> Iterator[FrameDrawing]:
            stop = Progress(stop=lambda: progress.stopped)
            n = 0
            for k, result in enumerate(
                loop.analyze_frames(
                    stack, params, pixel_size_nm=size, frames=order, progress=stop
                )
            ):  # fmt: skip
                if result.plan is not None and not k:
                    record.update(provenance.begin(result.plan, source))
                n += len(result.atoms)
                drawn = outputs.draw(result)
                progress(k + 1, len(order), f"{n:,} atoms so far…" if len(order) > 1 else "")
                yield drawn

        def show(drawn: list[FrameDrawing]) -> Iterator[None]:
            taken = yield from outputs.apply_in_steps(
                drawn, lambda: current_frame(self.viewer, layer)
            )
            tally.take([d.result for d in drawn], taken)
            self._show_results(outputs)

        def done() -> str:
            self.status.setToolTip(tally.reason)
            return tally.sentence(self.seconds)

        self._running = outputs
        outputs.begin(wanted, stack.shape, size, record)
        self.status.setToolTip("")
        return Task(
            work, show, done, "Looking for atoms…", len(order), sources=(layer,), needs_torch=True
        )

    def _show_results(self, outputs: ImageLayers) -> None:
        """Show what a run has found, where its image is still the chosen one."""
        if outputs is self._shown():
            self._listen_to(outputs.session)
            fields.set_choices(self._map, outputs.map_names())
            self._show_spacing()
            self._show_counts()

    # ------------------------------------------------------------- what is shown

    def _show_spacing(self, value: float = 0.0) -> None:
        outputs, size = self._shown(), self._pixel_size.value()
        spacing = float("nan") if outputs is None else outputs.spacing_px
        self._found.visible = spacing == spacing
        if spacing == spacing:
            self._found.value = length_text(spacing, size[1] if size else None)

    def _on_atoms(self, what: object = None) -> None:
        self._count.start()

    def _show_counts(self) -> None:
        """Count the atoms of the frame that is shown."""
        outputs, layer = self._shown(), self._image.layer
        if outputs is None or layer is None:
            self._legend.show_counts({}, styles.class_colours(()))
            return
        c, frame = outputs.session.corrections, current_frame(self.viewer, layer)
        counts = species_counts(c, frame, outputs.classes) if outputs.session.has_atoms else {}
        self._legend.show_counts(
            counts, styles.class_colours([*outputs.classes, *counts]),
            "In this frame" if layer.ndim == 3 else "",
        )  # fmt: skip

    def _on_map(self, name: str) -> None:
        outputs = self._shown()
        if outputs is not None and name:
            outputs.show_map(name)

    def _on_contours(self, kind: str) -> None:
        """Turn the outlines that are there into the other kind at once."""
        outputs = self._shown()
        if outputs is None or self.is_running or outputs.contours.kind == NONE:
            return
        try:
            if kind in (SHAPES, LABELS):
                outputs.contours.convert(kind)
        except AtomLensError as error:
            self.say(str(error))

    def _on_rested(self) -> None:
        for layer in self._image.offered():
            self._layers_of(layer).show_frame(current_frame(self.viewer, layer))
        if self.isVisible():
            self._show_counts()
