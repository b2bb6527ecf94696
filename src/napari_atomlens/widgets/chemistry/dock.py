"""The Chemistry dock: rules, bonds, rings, defects, and the defect library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from napari.layers import Image, Layer, Points
from qtpy.QtWidgets import QFileDialog

from napari_atomlens import graphs
from napari_atomlens.errors import AtomLensError, ParameterError, TableError
from napari_atomlens.graphs.library import entries_of
from napari_atomlens.graphs.rules import GENERIC, Rules, preset, presets
from napari_atomlens.progress import Progress
from napari_atomlens.session.follows import bonded_tables
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.images import current_frame, pixel_size_of, stack_or_none
from napari_atomlens.widgets.base.layout import button, line, section
from napari_atomlens.widgets.base.looking import look_at
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.chemistry.crystal_section import CrystalSection
from napari_atomlens.widgets.chemistry.defect_list import DefectList, TypeRow, type_rows
from napari_atomlens.widgets.chemistry.library_browser import LibraryBrowser
from napari_atomlens.widgets.chemistry.rules_table import RulesTable
from napari_atomlens.widgets.layers import convert, placing
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.bonds import BondLayers
from napari_atomlens.widgets.layers.convert_bonds import BondDrawing, draw_bonds
from napari_atomlens.widgets.layers.crystal import show_crystal
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import (
    BONDS,
    DEFECTS,
    KEY,
    RINGS,
    are_our_atoms,
    entry,
    is_atoms,
)

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.graphs.crystal_match import CrystalMatch
    from napari_atomlens.graphs.library import Entry

AUTO = "auto"
NO_ATOMS = "Find atoms first, or open a Points layer."
#: A defect that one goes to fills the canvas with so many lengths of a bond.
SPAN = 16
#: Rules that were fitted to the atoms, and whether the pixel size is known.
Learned = tuple[Rules, bool]
SHOWN = {BONDS: "Bonds", RINGS: "Rings", DEFECTS: "Defects"}


@dataclass(frozen=True)
class Bonded:
    """What the thread hands over to the window."""

    graph: BondGraph
    tables: dict[str, pd.DataFrame]
    drawing: BondDrawing
    rows: list[TypeRow]
    why: str


@dataclass(frozen=True)
class AtomsOf:
    """Atoms of a layer, as they were when a job was started."""

    points: np.ndarray
    features: pd.DataFrame
    pixel_size_nm: tuple[float, float] | None

    def table(self) -> pd.DataFrame:
        """Atoms table with the edits of the user, in nanometres where these are known."""
        size = self.pixel_size_nm
        atoms = convert.atoms_from_points(self.points, self.features, size)
        if not (atoms["species"] != "").any():
            atoms["species"] = "column"
        for axis, step in zip(("y", "x"), size or (), strict=False):
            known = atoms[f"{axis}_nm"].notna()
            atoms[f"{axis}_nm"] = atoms[f"{axis}_nm"].where(known, atoms[f"{axis}_px"] * step)
        return atoms


class ChemistryWidget(Dock):
    """Turns atoms into bonds, rings and named defects."""

    NAME, NOTHING = "chemistry", NO_ATOMS

    def build(self) -> None:
        """Atoms and rules, what is shown, the defects, the library."""
        self._layers: BondLayers | None = None
        self._edited = False
        self._atoms = self.choose(
            Points, "atoms", "Atoms",
            accepts=is_atoms, prefers=are_our_atoms,
            tip="The layer of atoms, with your corrections",
        )  # fmt: skip
        self._preset = fields.choice(
            "preset", "Rules", [AUTO, *presets()],
            tip="Chemical rules; auto chooses by lattice, scale and species",
        )  # fmt: skip
        self._table, self._list, self.browser = RulesTable(), DefectList(), LibraryBrowser()
        self._show = {role: fields.check(f"show_{role}", t, True) for role, t in SHOWN.items()}
        build = self.run_button("Find bonds and defects", self._building, name="build")
        self.rows(self._atoms.widget, self._preset)
        self.add(
            section("Bond lengths and coordination", self._table, name="rules_section"),
            self.run_button(
                "Learn the rules from these atoms", self._learning, name="learn",
                tip="Fit the bounds to the distances between the atoms",
            ),
            line(
                button("load", "Load rules…", "Rules from a TOML file", self._on_load),
                button("save", "Save rules…", "These rules as a TOML file", self._on_save),
            ),
            line(*self._show.values()),
            build,
        )  # fmt: skip
        self._crystal = CrystalSection(
            self,
            self.run_button(
                "Match", self._matching, name="match",
                tip="Zone axis, sites, defects and polarity of the crystal in these atoms",
            ),
        )  # fmt: skip
        self.add(self._crystal.box)
        self.add_status()
        self.add(self._list)
        self.add(
            self.run_button(
                "Add to library", self._adding, name="add",
                tip="The selected defects, or all, with picture and graph",
            ),
            section("Library", self.browser, name="library_section"),
        )  # fmt: skip
        self.body.addStretch(1)
        self._atoms.changed.connect(self._on_atoms)
        self._preset.changed.connect(self._on_preset)
        self._table.edited.connect(self._on_edited)
        self.browser.wanted.connect(self.start)
        self._list.visited.connect(self.go_to)
        for box in self._show.values():
            box.changed.connect(self._on_wanted)
        self.follow_slider(self._on_rest)
        self._on_atoms()

    def closed(self) -> None:
        """Let go of the layers, which follow the atoms without us."""
        self._follow(None)

    # ----------------------------------------------------------------- the layers

    def _on_atoms(self, layer: Layer | None = None) -> None:
        """Show what is known of the chosen atoms."""
        chosen = self._atoms.layer
        self._follow(None if chosen is None else layers_of(self.viewer, chosen).part(BondLayers))

    def _follow(self, layers: BondLayers | None) -> None:
        if self._layers is not None:
            self._layers.changed.disconnect(self._on_changed, missing_ok=True)
        self._layers = layers
        if layers is None:
            self._list.show_rows([])
            return
        layers.changed.connect(self._on_changed)
        for role, box in self._show.items():
            with box.changed.blocked():
                box.value = layers.wanted[role]
        self._show_list()

    def _on_changed(self) -> None:
        """Hear that bonds and defects were made anew, after an edit or by somebody else."""
        layers = self._layers
        if layers is None or self.is_running:
            return
        self._show_list()
        n, m = len(layers.table(BONDS)), len(layers.table(DEFECTS))
        self.say(layers.problem or f"After your edits: {n:,} bonds, {m:,} defects.")

    def _show_list(self) -> None:
        layers, atoms = self._layers, self._atoms.layer
        defects = pd.DataFrame() if layers is None else layers.table(DEFECTS)
        movie = atoms is not None and atoms.ndim > 2
        self._list.show_rows(type_rows(defects, movie) if len(defects) else [])

    def _on_wanted(self, on: bool) -> None:
        """Show or hide what a box was ticked for."""
        for role, box in self._show.items():
            if self._layers is not None and self._layers.wanted[role] != box.value:
                self._layers.want(role, box.value)

    def _on_rest(self) -> None:
        """Show the rings of the frame that is shown."""
        atoms = self._atoms.layer
        if self._layers is not None and atoms is not None and atoms.ndim > 2:
            self._layers.show_frame(current_frame(self.viewer, atoms))

    # ------------------------------------------------------------------- the rules

    def _on_preset(self, name: str) -> None:
        self._edited = False
        if name != AUTO:
            self._table.set_rules(preset(name))

    def _on_edited(self) -> None:
        self._edited = True

    def _rules(self) -> Rules | None:
        """Return the rules as they are in the table, None where they are still to be chosen."""
        auto = self._preset.value == AUTO and not self._edited
        return None if auto else self._table.rules()

    def _show_rules(self, rules: Rules, calibrated: bool) -> None:
        self._table.set_rules(rules, in_pixels=rules.name == GENERIC and not calibrated)

    def _take_rules(self, rules: Rules, calibrated: bool = True) -> None:
        self._show_rules(rules, calibrated)
        self._edited = True

    def _on_load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load rules", "", "Rules (*.toml)")
        if not name:
            return
        try:
            rules = Rules.load(name)
        except AtomLensError as error:
            self.refuse(str(error))
            return
        self._take_rules(rules)
        self.say(f"Rules {rules.name}.")

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save rules", "rules.toml", "Rules (*.toml)")
        if not name:
            return
        try:
            written = self._table.rules().save(name)
        except AtomLensError as error:
            self.refuse(str(error))
            return
        self.say(f"Saved {written.name}.")

    def _learning(self) -> Task[Learned]:
        """Fit the bounds of the rules to the atoms."""
        layer, rules, atoms = self._chosen(), self._rules(), self._atoms_now()

        def work(progress: Progress) -> Iterator[Learned]:
            table = atoms.table()
            learned = graphs.learn_bounds(table, rules or graphs.choose_rules(table)[0])
            yield learned, bool(np.isfinite(table[["y_nm", "x_nm"]].to_numpy(float)).all())

        return Task(
            work, lambda found: self._take_rules(*found[-1]),
            lambda: "The bounds are those of the distances in this image.",
            "Measuring distances…", sources=(layer,),
        )  # fmt: skip

    # ------------------------------------------------------------------- the build

    def _chosen(self) -> Points:
        layer = self._atoms.layer
        if layer is None:
            raise TableError(NO_ATOMS)
        if not len(layer.data):
            raise TableError(f"The layer {layer.name} is empty.")
        if layer.ndim > 3:
            raise TableError(f"The layer {layer.name} has {layer.ndim} axes, not 2 or 3.")
        return layer

    def _atoms_now(self) -> AtomsOf:
        layer = self._chosen()
        return AtomsOf(np.array(layer.data), layer.features.copy(), pixel_size_of(layer))

    def _building(self) -> Task[Bonded]:
        """Find bonds, rings and defects, and draw them."""
        layer, rules = self._chosen(), self._rules()
        editor = editor_of(layer)
        editor.check()
        atoms, shape = self._atoms_now(), self._shape_px(layer)
        layers = layers_of(self.viewer, layer).part(BondLayers)
        revision, ndim = editor.session.revision, layer.ndim
        frame = current_frame(self.viewer, layer)
        ending: list[str] = []

        def work(progress: Progress) -> Iterator[Bonded]:
            table, why, chosen = atoms.table(), "", rules
            if chosen is None:
                chosen, why = graphs.choose_rules(table)
            graph = graphs.bond(table, chosen, shape_px=shape)
            if progress.stopped:
                return
            made = bonded_tables(graph, graphs.find_defects(graph))
            drawing = draw_bonds(made, table, frame, ndim)
            rows = type_rows(made[DEFECTS], ndim > 2)
            if not progress.stopped:  # else nobody waits for it
                yield Bonded(graph, made, drawing, rows, why)

        def show(results: list[Bonded]) -> Iterator[None]:
            found = results[-1]
            if found.why:
                self._show_rules(found.graph.rules, found.graph.calibrated)
            yield from layers.take(found.graph, found.tables, found.drawing, revision)
            if self._layers is layers:
                self._list.show_rows(found.rows)
            ending.append(sentence(found, self.seconds))

        return Task(
            work, show, lambda: ending[-1] if ending else "", "Looking for bonds and defects…",
            sources=(layer,),
        )  # fmt: skip

    def _matching(self) -> Task[CrystalMatch]:
        """Match the chosen crystal with the atoms, and draw its columns over them."""
        layer, crystal, axis = self._chosen(), self._crystal.chosen(), self._crystal.zone_axis()
        editor = editor_of(layer)
        editor.check()
        atoms, layers = self._atoms_now(), layers_of(self.viewer, layer)
        revision = editor.session.revision
        ending: list[str] = []

        def work(progress: Progress) -> Iterator[CrystalMatch]:
            found = graphs.match_crystal(
                atoms.table(), crystal, axis, pixel_size_nm=atoms.pixel_size_nm, progress=progress
            )
            if not progress.stopped:
                yield found

        def show(results: list[CrystalMatch]) -> Iterator[None]:
            found = results[-1]
            yield from show_crystal(layers, found, revision)
            ending.append(" ".join([found.sentence, *found.messages]))

        return Task(
            work, show, lambda: ending[-1] if ending else "", "Matching the crystal…",
            sources=(layer,),
        )  # fmt: skip

    def _image_of(self, layer: Points) -> Image | None:
        return placing.image_under(self.viewer.layers, layer)

    def _shape_px(self, layer: Points) -> tuple[int, int] | None:
        """Rows and columns of the image of the atoms, None where they lie on another."""
        stack = stack_or_none(self._image_of(layer))
        if stack is None:
            return None
        height, width = stack.shape[1:]
        far = np.asarray(layer.data)[:, -2:].max(axis=0)
        return (int(height), int(width)) if far[0] <= height and far[1] <= width else None

    # ------------------------------------------------------------------ the defects

    def go_to(self, row: int) -> None:
        """Move the camera to a defect and select it."""
        atoms, layers = self._atoms.layer, self._layers
        if atoms is None or layers is None or row >= len(layers.table(DEFECTS)):
            return
        look_at(self.viewer, atoms, layers.place(row))
        length = layers.width() / 0.06 * float(np.mean(np.abs(atoms.scale[-2:])))
        self.viewer.scene.camera.zoom = 500 / (SPAN * length)
        layers.select(row)

    def _adding(self) -> Task[list[Entry]]:
        """Put the selected defects, or all, into the library."""
        layers, atoms = self._layers, self._atoms.layer
        defects = pd.DataFrame() if layers is None else layers.table(DEFECTS)
        if layers is None or atoms is None or not len(defects):
            raise ParameterError("There are no defects to add yet.")
        if self.browser.path is None:
            raise ParameterError("Open a library below first.")
        graph = layers.graph
        if graph is None:
            raise ParameterError("Press Find bonds and defects first.")
        chosen = defects.iloc[self._list.chosen() or list(range(len(defects)))]
        image = self._image_of(atoms)
        pixels = stack_or_none(image)
        known = {} if image is None else image.metadata
        about = {k: v for k, v in known.items() if k != KEY and isinstance(v, (str, int, float))}
        source = atoms.name if image is None else image.name
        provenance = {"rules": graph.rules.as_dict(), "atoms": entry(atoms)}
        added: list[int] = []

        def work(progress: Progress) -> Iterator[list[Entry]]:
            yield entries_of(
                graph, chosen, pixels, source=source, provenance=provenance, instrument=about
            )

        def done() -> str:
            n, path = sum(added), self.browser.path
            what = "1 defect" if n == 1 else f"{n} defects"
            return f"{what} added to {path.name}." if n and path is not None else ""

        return Task(
            work, lambda found: added.append(self.browser.add(found[-1])), done,
            "Cutting the defects out…", sources=(atoms,),
        )  # fmt: skip


def sentence(found: Bonded, seconds: float) -> str:
    """Say what was found."""
    types = len(found.rows)
    new = sum(row.texts[-1] == "new" for row in found.rows)
    text = (
        f"{len(found.graph):,} bonds, {len(found.tables[RINGS]):,} rings, "
        f"{len(found.tables[DEFECTS]):,} defects of {types:,} types"
        + (f", {new} of them new" if new else "")
    )
    if not found.graph.calibrated:
        text += "; the pixel size is unknown, so the lattice is the measure of lengths"
    return f"{text} ({seconds:.2f} s). {found.why}".strip()
