"""The Correct dock: add, move, delete, rename, merge, split, exclude; undo everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from napari.layers import Image, Layer, Points
from qtpy.QtCore import Signal  # type: ignore[attr-defined]

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session.refining import Refined
from napari_atomlens.session.review import stale_text
from napari_atomlens.widgets.base import keys
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.layout import button, section
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.correct.adapt import AdaptPanel
from napari_atomlens.widgets.correct.adding import Adding
from napari_atomlens.widgets.correct.commands import NO_ATOMS, Commands
from napari_atomlens.widgets.correct.conflicts import ConflictList
from napari_atomlens.widgets.correct.desk import Desk
from napari_atomlens.widgets.correct.keys_table import KeysTable
from napari_atomlens.widgets.correct.mouse import CorrectMouse
from napari_atomlens.widgets.correct.refining import refining
from napari_atomlens.widgets.correct.regions import RegionTool
from napari_atomlens.widgets.correct.review import Review
from napari_atomlens.widgets.correct.tools import Tools
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor, editor_of
from napari_atomlens.widgets.layers.roles import entry, is_atoms, is_given, opened_positions
from napari_atomlens.widgets.open_save.project import ProjectPanel
from napari_atomlens.widgets.open_save.restore import take_restored

if TYPE_CHECKING:
    from napari.utils.events import Event

CHOOSE = "choose a layer…"
READ_ONLY = "This project is open in another window: it is read-only here."
#: What derives from the atoms is made anew when edits have rested this long.
REST_MS = 60


class CorrectWidget(Dock):
    """Corrects the atoms of a Points layer by mouse and keys, with undo over all frames.

    Attributes
    ----------
    edited : Signal()
        Atoms were edited, in whatever way, and the window shows it.
    """

    NAME: ClassVar[str] = "correct"
    NOTHING: ClassVar[str] = NO_ATOMS
    edited = Signal()

    def build(self) -> None:
        """Atoms and image; tools; what new atoms are; looking through; keys, project, model."""
        self._mouse: CorrectMouse | None = None
        self._later: list[Callable[[], bool]] = []
        self._atoms = self.choose(
            Points, "atoms", "Atoms", accepts=is_atoms, prefers=lambda x: bool(entry(x)),
            none=CHOOSE, tip="The layer of atoms to correct",
        )  # fmt: skip
        self._image = self.choose(
            Image, "image", "Image", accepts=is_given, none="none",
            tip="The image on which new and moved atoms are drawn to a peak",
        )  # fmt: skip
        self._desk = Desk(self.viewer, self._image)
        self._tools, self._adding = Tools(), Adding()
        self._review = Review(self._desk, self.say)
        self._regions = RegionTool(self._desk, self.say)
        self._conflicts = ConflictList(self._desk)
        self._commands = Commands(self._desk, self._adding, self._review, self.say)
        self._stale = button(
            "stale", "", "Make anew what was made from atoms that have changed since",
            self._on_refresh,
        )  # fmt: skip
        self._stale.hide()
        self._keys = KeysTable()
        self._project = ProjectPanel(self.viewer, self)
        self._adapt = AdaptPanel(self._desk)
        self._lay_out()
        self._rest = self.timer(REST_MS, self._on_rested)
        self.listen(self.viewer.dims.events.point, self._on_frame)
        self._tools.pressed.connect(self.run)
        self._tools.mode.toggled.connect(self._on_mode)
        self._atoms.changed.connect(self._on_atoms)
        self._show_all()

    def _lay_out(self) -> None:
        self.rows(self._atoms.widget, self._image.widget)
        self.add(
            self._tools,
            self.run_button(
                "Refine", self._refining, name="refine",
                tip="Fit the selected atoms, or all where none is selected, on the pixels of the "
                "image, all columns together; none is added or removed",
            ),
        )  # fmt: skip
        self.rows(self._adding.choice)
        self.add(self._adding.snap, self._regions, self._review, self._stale, self._conflicts)
        self.add_status()
        project = section("Project", self._project, name="project_box")
        self.add(
            section("Keys", self._keys, name="keys_box"), project,
            section("Adapt the model", self._adapt, name="adapt_box"),
        )  # fmt: skip
        project.expand(animate=False)
        self.body.addStretch(1)

    def closed(self) -> None:
        """Let go of the layers; they and their journals stay."""
        self._adapt.cleanup()
        self._project.cleanup()
        self._follow(None)

    # -------------------------------------------------------------- the layers

    @property
    def editor(self) -> Editor | None:
        """The editor of the chosen layer, None where there is none."""
        return self._desk.editor

    def layers_changed(self) -> None:
        """Choose the atoms that were found, and the image in which they were."""
        restored = take_restored(self._atoms.offered())
        if restored is not None:  # whoever asked for their edits goes on with them
            self._atoms.choose(restored)
        elif self._atoms.layer is None:
            # a layer of somebody else gets our columns: not before it is chosen
            ours = [x for x in self._atoms.offered() if entry(x) or opened_positions(x)]
            if ours:
                self._atoms.choose(next((x for x in ours if x.visible), ours[0]))
            elif self._atoms.offered():
                self.say("Choose the layer of the atoms.")
        self._choose_image()

    def removed(self, layer: Layer) -> None:
        """Let go of atoms that are gone; their edits can be restored."""
        gone = layer.metadata.get(EDITOR)
        if isinstance(gone, Editor) and gone.layer_id == str(layer.unique_id):
            gone.autosave.pause()
        if gone is not None and gone is self.editor:
            self._follow(None)
            self._show_all()

    def _choose_image(self) -> None:
        if self.editor is not None and self._image.layer is None:
            likely = self._desk.likely_image()
            if likely is not None:
                self._image.choose(likely)

    def _on_atoms(self, layer: Points | None) -> None:
        known = None if self.editor is None else self.editor.layer_id
        if layer is not None and str(layer.unique_id) == known:
            return
        self.say("")
        try:
            self._follow(None if layer is None else editor_of(layer))
        except AtomLensError as error:
            self._follow(None)
            self.say(str(error))
        likely = self._desk.likely_image()
        if likely is not None:
            self._image.choose(likely)
        self._show_all()

    def _follow(self, editor: Editor | None) -> None:
        """Let go of one layer and follow another."""
        mode = self._tools.mode
        was_on, old = mode.isChecked(), self._desk.editor
        mode.setChecked(False)
        if old is not None:
            old.session.told.disconnect(self._on_edited)
            old.corrections.derived.listeners.remove(self._show_stale)
            old.corrections.derived.later = None
            old.layer.events.set_data.disconnect(self._on_frame)
            old.layer.events.visible.disconnect(self._on_visible)
        self._desk.editor = editor
        self._review.looked_at = None
        self._project.editor = editor
        self._regions.follow()
        if editor is None:
            return
        editor.autosave.resume()
        editor.session.told.connect(self._on_edited)
        editor.corrections.derived.listeners.append(self._show_stale)
        editor.corrections.derived.later = self._do_later
        editor.layer.events.set_data.connect(self._on_frame)  # some edits tell no more
        editor.layer.events.visible.connect(self._on_visible)
        editor.layer.visible = True  # what is edited is seen
        if editor.is_read_only:
            self.say(READ_ONLY)
        elif was_on:
            mode.setChecked(True)

    # ----------------------------------------------------------------- the mode

    def _on_mode(self, on: bool) -> None:
        editor = self.editor
        if editor is None:
            self._tools.mode.setChecked(False)
        elif on:
            editor.layer.visible = True
            self.viewer.layers.selection.active = editor.layer
            editor.layer.mode = "pan_zoom"
            keys.bind(editor.layer, self.run, self._commands.set_species)
            self._mouse = CorrectMouse(
                editor.layer, lambda: editor.spacing_px, self._zoom,
                self._commands.add_at, self._commands.select, self._commands.move,
            )  # fmt: skip
        elif self._mouse is not None:
            self._mouse.close()
            self._mouse = None
            keys.unbind(editor.layer)

    def _zoom(self) -> float:
        return float(self.viewer.scene.camera.zoom)

    def _on_visible(self, event: Event) -> None:
        """Say why nothing can be edited: a click would do nothing on what is not seen."""
        editor = self.editor
        if editor is not None and not editor.layer.visible and self._tools.mode.isChecked():
            self._tools.mode.setChecked(False)
            self.say("The atoms were hidden; press Correct to see and edit them again.")

    def run(self, command: str = "") -> None:
        """Run a command by its name, see :data:`napari_atomlens.widgets.base.keys.CORRECT`."""
        if self.editor is not None:
            self.editor.layer.visible = True
        self._commands.run(command)

    def _refining(self) -> Task[list[Refined]]:
        return refining(self._desk)

    # -------------------------------------------------------------- what is shown

    def _on_edited(self) -> None:
        """Say what has changed; what takes longer waits until edits rest."""
        editor = self.editor
        if editor is None:
            return
        self._tools.show_history(editor.corrections.journal)
        said = editor.problem or editor.session.last_edit()
        if said:
            self.say(said)
        self._regions.show_regions()
        self._rest.start()
        self.edited.emit()

    def _do_later(self, what: Callable[[], bool]) -> None:
        if what not in self._later:
            self._later.append(what)
        self._rest.start()

    def _on_rested(self) -> None:
        if self._later:  # one thing an event: the window paints in between
            if not self._later[0]():
                del self._later[0]
            self._rest.start()
            return
        self._show_stale()
        if self.editor is not None:
            self.editor.check()
        self._review.show_counts()
        self._conflicts.show_conflicts()

    def _show_all(self) -> None:
        editor = self.editor
        self._tools.show_history(None if editor is None else editor.corrections.journal)
        self._adding.show(editor)
        self._keys.show_species(self._adding.names)
        self._review.show_counts()
        self._conflicts.show_conflicts()
        self._show_stale()
        self._regions.show_regions()

    def _show_stale(self) -> None:
        editor = self.editor
        derived = None if editor is None else editor.corrections.derived
        stale = (
            {n: f for n, f in derived.stale().items() if not derived.is_waiting(n)}
            if derived is not None
            else {}
        )
        text = "" if self._later else stale_text(stale)
        self._stale.setVisible(bool(text))
        if text:
            self._stale.setText(text)

    def _on_refresh(self) -> None:
        if self.editor is not None:
            self.editor.corrections.derived.refresh()

    def _on_frame(self, event: Event | None = None) -> None:
        """Follow the slider, and the atoms."""
        self._regions.show_regions()
        self._rest.start()
