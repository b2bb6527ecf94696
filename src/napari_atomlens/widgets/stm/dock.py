"""The STM dock: assess, prepare with preview, and analyse a scan in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from napari.layers import Image, Layer

from napari_atomlens import stm
from napari_atomlens.contours.anomalies import AnomalyParams
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.progress import Progress
from napari_atomlens.runs.surface import SurfaceSites, find_on_surface
from napari_atomlens.stm.assessment import Verdict
from napari_atomlens.stm.groups import DefectGroups, GroupParams
from napari_atomlens.stm.levelling import LevelParams
from napari_atomlens.stm.molecules import Film, FilmMovie, MoleculeParams
from napari_atomlens.stm.params import SiliconAnalysisParams
from napari_atomlens.stm.silicon import SiliconResult
from napari_atomlens.stm.traces import Comparison
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.facts_line import FactsLine
from napari_atomlens.widgets.base.forms import ParamForm, rows
from napari_atomlens.widgets.base.images import current_frame, stack_of
from napari_atomlens.widgets.base.layout import button, line, section, sentence
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers import roles, surface
from napari_atomlens.widgets.layers.placing import lay_side_by_side
from napari_atomlens.widgets.layers.registry import all_layers, layers_of
from napari_atomlens.widgets.layers.roles import entry
from napari_atomlens.widgets.layers.surface import Picture, Scan, SurfaceLayers, picture_of
from napari_atomlens.widgets.stm import words
from napari_atomlens.widgets.stm.geometry import LatticeFields, likely_trace, may_be_trace

R = TypeVar("R")
SILICON, FILM = "H-Si(100)", "film of molecules"
CHARGE, OTHER = "charge clouds (manganite)", "another surface"
ABOUT = {
    SILICON: "Terraces, steps, dimers, contaminants, and every defect with its name.",
    FILM: "Molecules up and down, their rotation, order and domains.",
    CHARGE: "Every site measured; those with a cloud unlike the others are framed.",
    OTHER: "Atoms by the universal model on the levelled scan: Si(111)-7x7, oxides, adatoms.",
}
PREVIEW_MS = 250


@dataclass(frozen=True)
class Chosen:
    """The scan that is chosen, with what draws it."""

    layer: Image
    surface: SurfaceLayers
    scan: Scan


class StmWidget(Dock):
    """Assesses, prepares and analyses STM scans.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional

    Attributes
    ----------
    result : SiliconResult, SurfaceSites, Film, FilmMovie or None
        Of the last analysis.
    groups : DefectGroups or None
        Classes of the defects of it.
    """

    NAME = "stm"
    NOTHING = "Open a scan first."

    def build(self) -> None:
        """Fill the page."""
        self.result: SiliconResult | SurfaceSites | Film | FilmMovie | None = None
        self.groups: DefectGroups | None = None
        self._silicon: dict[str, tuple[SiliconResult, Scan]] = {}
        self._wait = self.timer(PREVIEW_MS, self._start_preview)
        self._previewing = False
        self._image = self.choose(
            Image, "image", "Scan", accepts=_is_scan,
            tip="The scan; of a movie the frame that is shown",
        )  # fmt: skip
        self._pixel_size = self.pixel_size_field(self._image)
        self.rows(self._image.widget, self._pixel_size.widget)
        self.add(FactsLine(self._image))
        self._verdict, self._about = sentence("verdict"), sentence("about")
        assess = self.run_button("Is it any good?", self._assessing, name="assess")
        self.add(assess, self._verdict)
        self._build_preparation()
        self._build_geometry()
        self._build_analysis()
        self.add_status()
        self.body.addStretch(1)
        self._image.changed.connect(self._on_image)
        self._pixel_size.widget.changed.connect(self._on_pixel_size)
        self.job.failed.connect(self._on_job_failed)
        self._on_kind(self._kind.value)

    def _build_preparation(self) -> None:
        self._level = ParamForm(LevelParams)
        self._preview = fields.check(
            "preview", "Preview",
            tip="Show what the settings do, as a layer that goes away again",
        )  # fmt: skip
        apply = self.run_button(
            "Make levelled layer", self._levelling, name="apply",
            tip="The scan with these settings as a layer of its own; the raw one stays",
        )  # fmt: skip
        self.add(line("<b>Prepare</b>"), self._level.section(), self._preview, apply)
        self._preview.changed.connect(self._on_preview)
        for field in self._level:
            field.changed.connect(self._on_setting)

    def _build_geometry(self) -> None:
        self._lattice = LatticeFields()
        self._trace = self.choose(
            Image, "trace", "Other trace", starts=self._likely_trace,
            accepts=lambda x: _is_scan(x) and may_be_trace(x, self._image.layer),
            tip="The backward trace of the scan: another layer of the same shape",
        )  # fmt: skip
        self._square = self.run_button(
            "Make pixels square", self._squaring, name="square",
            tip="Resample to the finer of the two pixel sizes, as a new layer",
        )  # fmt: skip
        self._drift = self.run_button(
            "Undo steady drift", self._undrifting, name="drift",
            tip="Shear and stretch the scan so that its lattice is the known one",
        )  # fmt: skip
        self._compare = self.run_button(
            "Compare the traces", self._comparing, name="compare",
            tip="Align them; what differs was changed by the tip or moved",
        )  # fmt: skip
        self._beside = button(
            "beside", "Lay scans side by side",
            "Every scan where the scanner was, by offset and angle in the files; this one stays",
            self._lay_side_by_side,
        )  # fmt: skip
        self.add(
            section(
                "Pixels, drift, the other trace", self._square, rows(*self._lattice.widgets),
                self._drift, rows(self._trace.widget), self._compare, self._beside,
                name="geometry",
            )
        )  # fmt: skip

    def _build_analysis(self) -> None:
        self._kind = fields.choice("kind", "Surface", list(ABOUT), tip="What was scanned")
        silicon = ParamForm(SiliconAnalysisParams, special={"row_px": "auto"})
        film = ParamForm(MoleculeParams, special={"spacing_px": "auto"})
        charge = ParamForm(AnomalyParams, leave_out=("by_frame",))
        self._silicon_form, self._film_form, self._charge_form = silicon, film, charge
        self._group_form = ParamForm(GroupParams, leave_out=("seed",))
        self._flips = self.run_button(
            "Follow flips through the movie", self._following, name="flips",
            tip="Which molecules turn over, and when; drift is measured first",
        )  # fmt: skip
        self._group = self.run_button(
            "Put defects into classes", self._grouping, name="group",
            tip="Mean-shift over what the network says round each defect",
        )  # fmt: skip
        # what belongs to one surface, above and below the button
        above = [
            (SILICON, section("How to analyse", silicon.section(), name="silicon")),
            (FILM, section("How to read the film", film.section(), name="film")),
            (CHARGE, section("What counts as unusual", charge.section(), name="charge")),
        ]
        below = [
            (FILM, self._flips),
            (SILICON, section("Classes of defects", self._group_form.section(), name="groups")),
            (SILICON, self._group),
        ]
        self._of_kind = [*above, *below]
        self.add(line("<b>Analyse the raw scan</b>"))
        self.rows(self._kind)
        self.add(self._about, *(x for _, x in above))
        self.add(self.run_button("Analyse", self._analysing), *(x for _, x in below))
        self._kind.changed.connect(self._on_kind)

    # --------------------------------------------------------------- the fields

    def _likely_trace(self, layers: list[Image]) -> Image:
        return likely_trace(layers, self._image.layer)

    def _on_image(self, layer: Image | None) -> None:
        self._verdict.setText("")
        self._drop_previews()
        self._on_setting()
        self._trace.reset_choices()
        self.update_buttons()

    def _on_kind(self, kind: str) -> None:
        self._about.setText(ABOUT[kind])
        for name, part in self._of_kind:
            part.setVisible(name == kind)

    def _on_pixel_size(self, value: float) -> None:
        self.update_buttons()

    def update_buttons(self) -> None:
        """Let the buttons say what they would do now."""
        super().update_buttons()
        layer = self._image.layer
        if self.is_running or layer is None:
            return
        size = self._pixel_size.value()
        square = size is not None and abs(np.log(size[0] / size[1])) < 1e-3
        self._square.setEnabled(size is not None and not square)
        self._square.setText("Pixels are square" if square else "Make pixels square")
        self._drift.setEnabled(size is not None)
        self._drift.setText("Undo steady drift" if size else "Drift needs the pixel size")
        self._compare.setEnabled(self._trace.layer is not None)
        self._flips.setEnabled(_is_movie(layer))
        self._group.setEnabled(self._image.key in self._silicon)

    def removed(self, layer: Layer) -> None:
        """Forget what was found in a scan that is gone."""
        self._silicon.pop(str(layer.unique_id), None)

    def closed(self) -> None:
        """Take the preview away; results stay."""
        self._drop_previews()
        self._silicon.clear()

    # ----------------------------------------------------------------- the tasks

    def _chosen(self) -> Chosen:
        layer = self._image.layer
        if layer is None:
            raise ImageError(self.NOTHING)
        mine = layers_of(self.viewer, layer).part(SurfaceLayers)
        scan = mine.begin(current_frame(self.viewer, layer), self._pixel_size.value())
        return Chosen(layer, mine, scan)

    def _one(
        self,
        chosen: Chosen,
        work: Callable[[np.ndarray, Progress], R],
        show: Callable[[R], str],
        saying: str,
        *,
        more: tuple[Layer, ...] = (),
        needs_torch: bool = False,
    ) -> Task[R]:
        """One result of the chosen scan, shown unless its pixels were exchanged meanwhile."""
        said = [""]

        def run(progress: Progress) -> Iterator[R]:
            result = work(chosen.scan.read(), progress)
            if not progress.stopped:  # else it is not whole
                yield result

        def shown(results: list[R]) -> None:
            chosen.surface.check(chosen.scan)
            said.append(show(results[-1]))

        return Task(
            run, shown, lambda: said[-1], saying, sources=(chosen.layer, *more),
            needs_torch=needs_torch,
        )  # fmt: skip

    def _assessing(self) -> Task[Verdict]:
        return self._one(
            self._chosen(), lambda image, _: stm.assess(image), self._show_verdict, "Assessing…"
        )

    def _show_verdict(self, verdict: Verdict) -> str:
        self._verdict.setText(words.verdict(verdict))
        return ""

    # ------------------------------------------------------------------ levelling

    def _levelled(self, show: Callable[[Chosen, Picture, LevelParams], str]) -> Task[Picture]:
        chosen, params = self._chosen(), self._level.value()
        size = chosen.scan.pixel_size_nm

        def work(image: np.ndarray, progress: Progress) -> Picture:
            return picture_of(stm.level(image, params, pixel_size_nm=size[1] if size else None))

        return self._one(chosen, work, lambda p: show(chosen, p, params), "Levelling…")

    def _levelling(self) -> Task[Picture]:
        def show(chosen: Chosen, picture: Picture, params: LevelParams) -> str:
            chosen.surface.levelled(picture, params)
            return "The levelled scan is a new layer; the raw one stays."

        return self._levelled(show)

    def _on_preview(self, on: bool) -> None:
        if on:
            self._start_preview()
        else:
            self._drop_previews()

    def _on_setting(self, value: object = None) -> None:
        if self._preview.value:
            self._wait.start()

    def _start_preview(self) -> None:
        if self.is_running:
            self._wait.start()
        elif self._preview.value and self._image.layer is not None:
            self._previewing = True
            self.start(self._levelled(self._show_preview))

    def _show_preview(self, chosen: Chosen, picture: Picture, params: LevelParams) -> str:
        if self._preview.value and chosen.layer is self._image.layer:
            chosen.surface.preview(picture)
        return ""

    def _drop_previews(self) -> None:
        for layers in all_layers(self.viewer):
            layers.remove(roles.PREVIEW)

    def _on_job_failed(self, what: str) -> None:
        if self._previewing:
            self._preview.value = False

    def _on_finished(self) -> None:
        self._previewing = False
        super()._on_finished()

    # ------------------------------------------------------------------- geometry

    def _lay_side_by_side(self) -> None:
        first = self._image.layer
        if first is None:
            self.say(self.NOTHING)
            return
        n = lay_side_by_side(first, [x for x in self._image.offered() if x is not first])
        self.say(
            f"{n} scans lie beside {first.name}, where the scanner was." if n else
            "No other scan has an offset in its file, or this one has none."
        )  # fmt: skip

    def _squaring(self) -> Task[tuple[Picture, float, np.ndarray | None]]:
        chosen = self._chosen()
        size = _known(chosen.scan)

        def work(image: np.ndarray, _: Progress) -> tuple[Picture, float, np.ndarray | None]:
            square, pixel = stm.square_pixels(image, size)
            return picture_of(square), pixel, None

        return self._one(chosen, work, self._show_mended(chosen), "Resampling…")

    def _undrifting(self) -> Task[tuple[Picture, float, np.ndarray | None]]:
        chosen = self._chosen()
        size, (a, b, angle) = _known(chosen.scan), self._lattice.value()

        def work(image: np.ndarray, _: Progress) -> tuple[Picture, float, np.ndarray | None]:
            flat, pixel = stm.square_pixels(image, size)
            matrix = stm.find_drift(flat, a / pixel, b / pixel, angle)
            return picture_of(stm.correct_drift(flat, matrix)), pixel, matrix

        return self._one(chosen, work, self._show_mended(chosen), "Measuring the drift…")

    def _show_mended(
        self, chosen: Chosen
    ) -> Callable[[tuple[Picture, float, np.ndarray | None]], str]:
        def show(found: tuple[Picture, float, np.ndarray | None]) -> str:
            picture, pixel, drift = found
            role = roles.SQUARE if drift is None else roles.UNDRIFTED
            layer = chosen.surface.mended(role, picture, pixel, chosen.scan)
            self._image.choose(layer)
            return words.mended(pixel, drift)

        return show

    def _comparing(self) -> Task[tuple[Comparison, Picture]]:
        chosen, other = self._chosen(), self._trace.layer
        if other is None:
            raise ImageError("Open the backward trace as a layer of the same shape first.")
        back, frame = stack_of(other), chosen.scan.frame

        def work(image: np.ndarray, _: Progress) -> tuple[Comparison, Picture]:
            found = stm.compare_traces(image, back[frame])
            return found, picture_of(found.mean)

        def show(found: tuple[Comparison, Picture]) -> str:
            chosen.surface.traces(*found)
            return words.traces(found[0])

        return self._one(chosen, work, show, "Comparing…", more=(other,))

    # ------------------------------------------------------------------- analysis

    def _analysing(self) -> Task[Any]:
        chosen, kind = self._chosen(), self._kind.value
        if kind == SILICON:
            return self._analysing_silicon(chosen)
        if kind == FILM:
            return self._reading_film(chosen)
        size = chosen.scan.pixel_size_nm
        charge = self._charge_form.value() if kind == CHARGE else None

        def work(image: np.ndarray, progress: Progress) -> SurfaceSites:
            return find_on_surface(image, size, charge, progress=progress)

        def show(found: SurfaceSites) -> str:
            self.result, self.groups = found, None
            chosen.surface.sites(found, chosen.scan)
            return words.sites(found)

        return self._one(chosen, work, show, "Analysing…", needs_torch=True)

    def _analysing_silicon(self, chosen: Chosen) -> Task[Any]:
        params, size = self._silicon_form.value(), chosen.scan.pixel_size_nm

        def work(
            image: np.ndarray, progress: Progress
        ) -> tuple[SiliconResult, surface.SiliconDrawing]:
            found = stm.analyze_silicon(image, size, params, progress=progress)
            return found, surface.draw_silicon(found)

        def show(found: tuple[SiliconResult, surface.SiliconDrawing]) -> str:
            self.result, self.groups = found[0], None
            self._silicon[str(chosen.layer.unique_id)] = found[0], chosen.scan
            chosen.surface.silicon(*found, chosen.scan)
            self._show_verdict(found[0].verdict)
            return words.silicon(found[0])

        return self._one(chosen, work, show, "Analysing…", needs_torch=True)

    def _reading_film(self, chosen: Chosen) -> Task[Any]:
        params = self._film_form.value()

        def show(found: Film) -> str:
            self.result, self.groups = found, None
            chosen.surface.film(found, chosen.scan)
            return words.film(found)

        return self._one(
            chosen, lambda image, _: stm.read_film(image, params), show, "Reading the film…"
        )

    def _following(self) -> Task[FilmMovie]:
        chosen, params = self._chosen(), self._film_form.value()
        movie = chosen.scan.pixels.stack

        def show(found: FilmMovie) -> str:
            self.result, self.groups = found, None
            chosen.surface.flips(found, chosen.scan)
            return words.flips(found)

        return self._one(
            chosen, lambda _, progress: stm.follow_movie(movie, params, progress=progress), show,
            "Following the molecules…",
        )  # fmt: skip

    def _grouping(self) -> Task[tuple[DefectGroups, Picture]]:
        chosen, params = self._chosen(), self._group_form.value()
        known = self._silicon.get(str(chosen.layer.unique_id))
        if known is None:
            raise ImageError("Analyse a scan of H-Si(100) first.")
        result, scan = known

        def work(image: np.ndarray, _: Progress) -> tuple[DefectGroups, Picture]:
            flat = result.terraces.flat
            found = stm.group_defects(flat, result.probabilities, result.defects, params)
            return found, picture_of(surface.gallery_image(found.gallery))

        def show(found: tuple[DefectGroups, Picture]) -> str:
            self.groups = found[0]
            chosen.surface.groups(result, *found, scan)
            return words.defect_classes(found[0], result, params)

        return self._one(chosen, work, show, "Putting defects into classes…")


def _is_scan(layer: Layer) -> bool:
    return layer.ndim >= 2 and entry(layer).get("role") in (None, *roles.SCANS)


def _is_movie(layer: Image) -> bool:
    try:
        return len(stack_of(layer)) > 1
    except ImageError:
        return False


def _known(scan: Scan) -> tuple[float, float]:
    if scan.pixel_size_nm is None:
        raise CalibrationError("This needs the pixel size; type it above.")
    return scan.pixel_size_nm
