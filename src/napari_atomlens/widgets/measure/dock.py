"""The Measure dock: lattice vectors, strain, polarisation and vacancies of found atoms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from napari.layers import Layer, Points, Shapes
from qtpy.QtWidgets import QFileDialog

from napari_atomlens import lattice
from napari_atomlens.errors import AtomLensError, TableError
from napari_atomlens.lattice.lattice import Lattice, LatticeParams
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.histograms import ColourBar, Histogram
from napari_atomlens.widgets.base.images import current_frame
from napari_atomlens.widgets.base.layout import button, line, section
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers import convert_lattice as drawn
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.convert_lattice import LatticeDrawing, LatticeView
from napari_atomlens.widgets.layers.lattice import MeasuredLayers
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import are_our_atoms, entry, is_atoms
from napari_atomlens.widgets.measure.reference import (
    REFERENCE,
    draw_reference,
    reference_corners,
)
from napari_atomlens.widgets.measure.summary import SummaryTable, save_tables, sentence

MEAN = "mean of each region"
NO_ATOMS = "Find the atoms of an image first."


class MeasureWidget(Dock):
    """Measures the lattice of a layer of atoms and shows strain, displacements and vacancies."""

    NAME, NOTHING = "measure", NO_ATOMS

    def build(self) -> None:
        """Atoms, reference and parameters; what is shown; tables and plots."""
        self._layers: MeasuredLayers | None = None
        self._atoms = self.choose(
            Points, "atoms", "Atoms",
            accepts=is_atoms, prefers=are_our_atoms,
            tip="The layer of atoms to measure, with your corrections",
        )  # fmt: skip
        self._pixel_size = self.pixel_size_field(self._atoms)
        self._reference = self.choose(
            Shapes, "reference", "Reference", none=MEAN,
            accepts=lambda x: entry(x).get("role") in (None, REFERENCE),
            tip="What strain is measured against: the mean lattice, or that of the atoms in a "
            "shape that you draw (the selected one of the layer, else its first)",
        )  # fmt: skip
        self._form = ParamForm(LatticeParams, special={"against": "brightest"})
        self.rows(self._atoms.widget, self._pixel_size.widget, self._reference.widget)
        self.add(
            button(
                "draw", "Draw a reference",
                "Add a Shapes layer and draw a rectangle over a perfect part", self.draw_reference,
            ),
            section("How to measure", self._form.section()),
            self.run_button("Measure", self._measuring),
        )  # fmt: skip
        self.add_status()
        self._build_shown()
        self._save = button(
            "save", "Save tables as CSV…",
            "Writes NAME_atoms.csv, NAME_lattices.csv, NAME_sublattices.csv, NAME_distances.csv, "
            "NAME_holes.csv and NAME_dislocations.csv", self._on_save,
        )  # fmt: skip
        self.add(self._summary, self._histogram, self._save)
        self.body.addStretch(1)
        self._atoms.changed.connect(self._on_atoms)
        self.follow_slider(self._show_found)
        self._on_atoms()

    def _build_shown(self) -> None:
        self._map = fields.choice(
            "map", "Map", [*drawn.QUANTITIES, "none"],
            tip="What the discs on the atoms show by their colour",
        )  # fmt: skip
        self._arrows = fields.choice(
            "arrows", "Arrows", [drawn.FROM_SITES, drawn.POLAR, drawn.NO_ARROWS],
            tip="Displacements from the ideal sites, or of each sublattice from the centre of its "
            "neighbours of another one; the colour tells the direction",
        )  # fmt: skip
        self._factor = fields.number(
            "factor", "Enlarged", 0, 100_000, decimals=1, step=5, prefix="× ", special="auto",
            tip="How many times longer than true the arrows are drawn",
        )  # fmt: skip
        self._vacancies = fields.check(
            "show_vacancies", "Vacancies", True, tip="Crosses on the sites that hold no atom"
        )
        self._cores = fields.check(
            "show_dislocations", "Dislocations", True,
            tip="Rings round the cores of dislocations, and their Burgers vectors as arrows",
        )  # fmt: skip
        self._colours, self._histogram = ColourBar(), Histogram()
        self._summary = SummaryTable()
        self._histogram.setObjectName("histogram")
        self._histogram.hide()
        self.add(line("<b>Show</b>"))
        shown = (self._map, self._arrows, self._factor, self._vacancies, self._cores)
        self.rows(*shown)
        self.add(self._colours)
        for one in shown:
            one.changed.connect(self._on_shown_changed)

    def closed(self) -> None:
        """Let go of the layers, which stay."""
        self._follow(None)

    def _on_atoms(self, layer: Layer | None = None) -> None:
        """Show what is known of the chosen atoms."""
        chosen = self._atoms.layer
        self._follow(
            None if chosen is None else layers_of(self.viewer, chosen).part(MeasuredLayers)
        )
        self._show_found()

    def _follow(self, layers: MeasuredLayers | None) -> None:
        if self._layers is not None:
            self._layers.changed.disconnect(self._on_measured, missing_ok=True)
        self._layers = layers
        if layers is not None:
            layers.changed.connect(self._on_measured)

    def _on_measured(self) -> None:
        self._show_found()

    # --------------------------------------------------------------- reference

    def draw_reference(self) -> None:
        """Add a Shapes layer, ready to draw a rectangle in, and choose it."""
        atoms = self._atoms.layer
        if atoms is None:
            self.say(NO_ATOMS)
            return
        self._reference.choose(draw_reference(self.viewer, atoms))
        self.say("Drag a rectangle over a perfect part, then press Measure.")

    # ----------------------------------------------------------------- the run

    def view(self) -> LatticeView:
        """Which layers the fields ask for."""
        return LatticeView(
            self._arrows.value, self._factor.value, self._map.value, self._vacancies.value,
            self._cores.value,
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Atoms table of the chosen layer, as the user sees it, with the row of each point.

        Raises
        ------
        TableError
            If there is no atom.
        """
        layer = self._atoms.layer
        if layer is None or not len(layer.data):
            raise TableError(NO_ATOMS if layer is None else f"The layer {layer.name} is empty.")
        if layer.ndim > 3:
            raise TableError(
                f"The layer {layer.name} has {layer.ndim} axes, not (y, x) or (t, y, x)."
            )
        editor_of(layer).check()
        return convert.atoms_from_points(layer.data, layer.features, self._pixel_size.value())

    def _measuring(self) -> Task[tuple[Lattice, LatticeDrawing]]:
        atoms, layer, params = self.table(), self._atoms.layer, self._form.value()
        assert layer is not None  # its table was read above
        shapes = self._reference.layer
        reference = "region" if shapes is None else reference_corners(shapes, layer)
        size, view, ndim = self._pixel_size.value(), self.view(), layer.ndim
        layers = layers_of(self.viewer, layer).part(MeasuredLayers)
        revision = editor_of(layer).session.revision

        def work(progress: Progress) -> Iterator[tuple[Lattice, LatticeDrawing]]:
            found = lattice.measure_lattice(
                atoms, params, reference=reference, pixel_size_nm=size, progress=progress
            )
            drawing = drawn.draw_lattice(found, view, ndim)
            if not progress.stopped:  # else nobody waits for it
                yield found, drawing

        def show(results: list[tuple[Lattice, LatticeDrawing]]) -> Iterator[None]:
            found, drawing = results[-1]
            return layers.take(found, view, drawing, revision)

        def done() -> str:
            return "" if layers.found is None else sentence(layers.found, self.seconds)

        n = int(atoms["frame"].nunique())
        return Task(work, show, done, "Measuring…", total=n, sources=(layer,))

    # ------------------------------------------------------------- what is shown

    def _found(self) -> Lattice | None:
        return None if self._layers is None else self._layers.found

    def _frame(self) -> int:
        layer = self._atoms.layer
        return 0 if layer is None else current_frame(self.viewer, layer)

    def _on_shown_changed(self, value: object = None) -> None:
        if self._layers is not None and self._layers.found is not None:
            self._layers.show(self.view())
            self._show_colours()

    def _show_found(self) -> None:
        """Show colours, summary and histogram of the frame that is shown."""
        found = self._found()
        self._save.setEnabled(found is not None)
        self._summary.show_rows([] if found is None else drawn.summary(found, self._frame()))
        self._show_colours()
        self._show_histogram()

    def _show_colours(self) -> None:
        drawing = None if self._layers is None else self._layers.drawing
        found = self._found()
        if drawing is None or found is None or drawing.map is None or not len(found.lattices):
            self._colours.hide()
            return
        self._colours.show_map(drawing.map.colormap, *drawing.map.limits, drawing.map.unit)

    def _show_histogram(self) -> None:
        found = self._found()
        if found is None or not len(found.distances):
            self._histogram.hide()
            return
        table = found.distances
        here = table[(table["frame"] == self._frame()).to_numpy()]
        in_nm = np.isfinite(here["length_nm"].to_numpy(float)).any()
        values = (1000 * here["length_nm"] if in_nm else here["length_px"]).to_numpy(float)
        regions = here["region"].to_numpy()
        groups = {f"region {r}": values[regions == r] for r in np.unique(regions)[:6]}
        unit = "pm" if in_nm else "px"
        self._histogram.show_values(groups, f"distance of nearest atoms ({unit})")
        self._histogram.show()

    # -------------------------------------------------------------------- files

    def _on_save(self) -> None:
        found = self._found()
        if found is None:
            return
        name, _ = QFileDialog.getSaveFileName(self, "Save tables", "lattice.csv", "CSV (*.csv)")
        if not name:
            return
        try:
            written = save_tables(found, name)
        except AtomLensError as error:
            self.refuse(str(error))
            return
        self.say(f"Saved {', '.join(p.name for p in written)}.")
