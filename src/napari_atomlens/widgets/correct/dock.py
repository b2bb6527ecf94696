"""The Correct dock widget: add, move, delete, rename, merge, split, exclude; undo everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation.zoo import role_of
from napari_atomlens.session.by_hand import Hand
from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.edits.doubt import CERTAIN, next_doubtful
from napari_atomlens.session.pixels import KnownPixels
from napari_atomlens.session.review import atom_text, doubtful_text, n_seen, stale_text
from napari_atomlens.widgets.base import keys
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import (
    fill_combo,
    form_layout,
    number_box,
    shrinkable_combo,
)
from napari_atomlens.widgets.correct.adapt import AdaptPanel
from napari_atomlens.widgets.correct.mouse import CorrectMouse
from napari_atomlens.widgets.layers.atoms import Editor, editor_of
from napari_atomlens.widgets.layers.regions import Regions
from napari_atomlens.widgets.layers.roles import entry as our_entry
from napari_atomlens.widgets.open_save.project import ProjectPanel

if TYPE_CHECKING:
    import napari.viewer

NO_ATOMS = "Find the atoms of an image first, or add a Points layer."
CHOOSE = "choose a layer…"
#: A doubtful atom is shown with about so many others across a canvas of usual size.
NEIGHBOURS, CANVAS_PX = 16, 600
THIS_FRAME, ALL_FRAMES = "this frame", "all frames"
#: What derives from the atoms is made anew when edits have rested this long.
REST_MS = 60
PREFERRED_SPECIES = ("column", "bright column")


class CorrectWidget(DockWidget):
    """Corrects the atoms of a Points layer by mouse and keys, with undo over all frames.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    edited : Signal()
        Atoms were edited, in whatever way, and the window shows it.
    """

    edited = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("correct")
        self._viewer = viewer
        self._editor: Editor | None = None
        self._mouse: CorrectMouse | None = None
        self._regions: Regions | None = None
        self._closed = False
        self._looked_at: int | None = None
        self._adding = ""
        self._image_pixels: KnownPixels | None = None
        self._later: list[Callable[[], None]] = []
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._on_rested)
        self._create_fields()
        self._create_layout()
        self._connect()
        self._list_layers()

    # -------------------------------------------------------------- the window

    def _create_fields(self) -> None:
        self._atoms = shrinkable_combo()
        self._atoms.setObjectName("atoms")
        self._atoms.setToolTip("The layer of atoms to correct")
        self._image = shrinkable_combo()
        self._image.setObjectName("image")
        self._image.setToolTip("The image on which new and moved atoms are drawn to a peak")
        self._mode = QPushButton("Correct")
        self._mode.setObjectName("mode")
        self._mode.setCheckable(True)
        self._mode.setToolTip(
            "Click to add an atom, click on one to select it (Shift for several), drag to move; "
            "the keys below work while this is on"
        )
        self._snap = QCheckBox("Draw to the local peak and fit")
        self._snap.setObjectName("snap")
        self._snap.setChecked(True)
        self._snap.setToolTip("Off: atoms are exactly where you click")
        self._species = shrinkable_combo()
        self._species.setObjectName("species")
        self._species.setToolTip("Species of the atoms that you add")
        self._undo, self._redo = QPushButton("Undo"), QPushButton("Redo")
        self._certain = number_box(0, 1, decimals=2, step=0.05)
        self._certain.setValue(CERTAIN)
        self._certain.setObjectName("certain")
        self._certain.setToolTip("Atoms below this probability are doubtful")
        self._doubtful = QLabel()
        self._doubtful.setObjectName("doubtful")
        self._seen = QCheckBox("Frame seen")
        self._seen.setObjectName("seen")
        self._progress = QProgressBar()
        self._progress.setObjectName("seen_progress")
        self._progress.setFormat("%v of %m frames seen")
        self._region = QPushButton("Exclude region…")
        self._region.setObjectName("region")
        self._region.setToolTip("Draw a polygon: its atoms go, and no later run brings any there")
        self._region_frames = shrinkable_combo()
        self._region_frames.addItems([THIS_FRAME, ALL_FRAMES])
        self._region_frames.setObjectName("region_frames")
        self._stale = QPushButton()
        self._stale.setObjectName("stale")
        self._stale.setToolTip("Make anew what was made from atoms that have changed since")
        self._stale.hide()
        self._conflicts = QListWidget()
        self._conflicts.setObjectName("conflicts")
        self._conflicts.setMaximumHeight(110)
        self._conflicts.setToolTip("Where a new run of the model and your edits do not agree")
        self._conflicts.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._keys = QLabel()
        self._keys.setObjectName("keys")
        self._keys.setWordWrap(True)
        self._project = ProjectPanel(self._viewer, self)
        self._adapt = AdaptPanel(self._viewer, self)
        self._buttons: dict[str, QPushButton] = {"undo": self._undo, "redo": self._redo}
        for shortcut in keys.CORRECT:
            button = self._buttons.setdefault(
                shortcut.command, QPushButton(shortcut.command.capitalize())
            )
            button.setObjectName(shortcut.command)
            button.setToolTip(f"{shortcut.text} ({' or '.join(shortcut.keys)})")
        self._buttons["next"].setText("Next doubtful")

    def _create_layout(self) -> None:
        form = form_layout()
        form.addRow("Atoms", self._atoms)
        form.addRow("Image", self._image)
        tools = QGridLayout()
        tools.addWidget(self._mode, 0, 0, 1, 2)
        tools.addWidget(self._undo, 1, 0)
        tools.addWidget(self._redo, 1, 1)
        for k, name in enumerate(("delete", "accept", "reject", "merge", "split", "next")):
            tools.addWidget(self._buttons[name], 2 + k // 2, k % 2)
        new = form_layout()
        new.addRow("Add", self._species)
        new.addRow(self._snap)
        row = QHBoxLayout()
        row.addWidget(self._region, 1)
        row.addWidget(self._region_frames)
        review = form_layout()
        review.addRow("Doubtful below", self._certain)
        review.addRow(self._doubtful)
        marks = QHBoxLayout()
        marks.addWidget(self._seen)
        marks.addWidget(self._progress, 1)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setSpacing(8)
        layout.addLayout(form)
        layout.addLayout(tools)
        layout.addLayout(new)
        layout.addLayout(row)
        layout.addLayout(review)
        layout.addLayout(marks)
        layout.addWidget(self._stale)
        layout.addWidget(self._conflicts)
        layout.addWidget(self._status)
        for title, name, content in (
            ("Keys", "keys_box", self._keys),
            ("Project", "project_box", self._project),
            ("Adapt the model", "adapt_box", self._adapt),
        ):
            box = QCollapsible(title)
            box.setObjectName(name)
            box.setContent(content)
            box.collapse(animate=False)
            layout.addWidget(box)
            if name == "project_box":
                box.expand(animate=False)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        bar = area.verticalScrollBar().sizeHint().width()
        # as wide as what the boxes hold once they are open: nothing is cut off at the right
        wide = [x.minimumSizeHint().width() for x in (inside, self._project, self._adapt)]
        inside.setMinimumWidth(max(315, *(w + 24 for w in wide)))
        self.setMinimumWidth(inside.minimumWidth() + bar + 4)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._on_layers)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self._on_layers)
        self._viewer.dims.events.point.connect(self._on_slider)
        self._atoms.currentIndexChanged.connect(self._on_atoms_chosen)
        self._image.currentIndexChanged.connect(self._on_image_chosen)
        self._species.currentTextChanged.connect(self._on_species_chosen)
        self._mode.toggled.connect(self._on_mode)
        self._region.clicked.connect(self._on_region)
        self._certain.valueChanged.connect(self._show_doubtful)
        self._seen.clicked.connect(self._on_seen)
        self._stale.clicked.connect(self._on_refresh)
        self._conflicts.itemClicked.connect(self._on_conflict)
        for name, button in self._buttons.items():
            button.clicked.connect(_Run(self.run, name))

    def cleanup(self) -> None:
        """Disconnect from the viewer; the layers and their journals stay."""
        if self._closed:
            return
        self._closed = True
        self._rest.stop()
        self._adapt.cleanup()
        self._project.cleanup()
        self._follow(None)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_layers)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self._on_layers)
        self._viewer.dims.events.point.disconnect(self._on_slider)

    # -------------------------------------------------------------- the layers

    def _list_layers(self) -> None:
        from napari.layers import Image, Points

        points = [
            x for x in self._viewer.layers
            if isinstance(x, Points) and our_entry(x).get("role", "atoms") == "atoms"
        ]  # fmt: skip
        chosen = self._atoms.currentData()
        ids = [str(x.unique_id) for x in points]
        ours = [i for x, i in zip(points, ids, strict=True) if our_entry(x)]
        if chosen not in ids:
            chosen = ours[-1] if ours else ""
        # a layer of somebody else gets our columns: not before it is chosen
        ask = [] if chosen or not points else [(CHOOSE, "")]
        fill_combo(
            self._atoms, ask + [(x.name, i) for x, i in zip(points, ids, strict=True)], chosen
        )
        images = [x for x in self._viewer.layers if isinstance(x, Image) and not our_entry(x)]
        likely = self._image.currentData()
        if likely not in [str(x.unique_id) for x in images]:
            likely = self._likely_image(images)
        fill_combo(
            self._image, [*((x.name, str(x.unique_id)) for x in images), ("none", "")], likely or ""
        )
        if not points:
            self._status.setText(NO_ATOMS)
        elif ask:
            self._status.setText("Choose the layer of the atoms.")
        elif self._status.text() == NO_ATOMS:
            self._status.setText("")
        self._on_atoms_chosen()

    def _likely_image(self, images: list[Any]) -> str:
        """Return the image in which the atoms were found."""
        layer = self._layer(self._atoms.currentData())
        if layer is None:
            return ""
        entry = our_entry(layer)
        for image in images:
            if str(image.unique_id) == entry.get("source_id"):
                return str(image.unique_id)
        for image in images:
            if image.name == entry.get("source_name"):
                return str(image.unique_id)
        same = [x for x in images if x.ndim == layer.ndim]
        return str(same[-1].unique_id) if same else ""

    def _layer(self, unique_id: str | None) -> Any:
        return next((x for x in self._viewer.layers if str(x.unique_id) == unique_id), None)

    def _on_layers(self, event: Any = None) -> None:
        self._list_layers()

    def _on_removed(self, event: Any) -> None:
        if self._editor is not None and str(event.value.unique_id) == self._editor.layer_id:
            self._editor.autosave.pause()  # its edits can be restored
            self._follow(None)
        self._list_layers()

    def _on_atoms_chosen(self, index: int = 0) -> None:
        if self._atoms.currentData() and self._atoms.findText(CHOOSE) >= 0:
            self._list_layers()
            return
        layer = self._layer(self._atoms.currentData())
        if layer is None:
            self._follow(None)
        elif self._editor is None or self._editor.layer_id != str(layer.unique_id):
            try:
                self._follow(editor_of(layer))
            except AtomLensError as error:
                self._follow(None)
                self._status.setText(str(error))
        self._show_all()

    def _on_image_chosen(self, index: int = 0) -> None:
        self._image_pixels = None

    def _follow(self, editor: Editor | None) -> None:
        """Let go of one layer and follow another."""
        was_on = self._mode.isChecked()
        self._mode.setChecked(False)
        if self._editor is not None:
            self._editor.session.told.disconnect(self._on_edited)
            self._editor.corrections.derived.listeners.remove(self._show_stale)
            self._editor.corrections.derived.later = None
            self._editor.layer.events.set_data.disconnect(self._on_slider)
        if self._regions is not None:
            self._regions.close()
            self._regions = None
        self._editor = editor
        self._looked_at = None
        self._adapt.editor = editor
        self._project.editor = editor
        if editor is not None:
            editor.autosave.resume()
            editor.session.told.connect(self._on_edited)
            editor.corrections.derived.listeners.append(self._show_stale)
            editor.corrections.derived.later = self._do_later
            editor.layer.events.set_data.connect(self._on_slider)  # some edits tell no more
            self._regions = Regions(self._viewer, editor.layer, self._on_region_drawn)
            if editor.is_read_only:
                self._status.setText(
                    "This project is open in another window: it is read-only here."
                )
            elif was_on:
                self._mode.setChecked(True)

    @property
    def editor(self) -> Editor | None:
        """The editor of the chosen layer, None where there is none."""
        return self._editor

    # ----------------------------------------------------------------- the mode

    def _on_mode(self, on: bool) -> None:
        editor = self._editor
        if editor is None:
            if on:
                self._mode.setChecked(False)
            return
        layer = editor.layer
        if on:
            self._viewer.layers.selection.active = layer
            layer.mode = "pan_zoom"
            keys.bind(layer, self.run, self.set_species)
            self._mouse = CorrectMouse(
                layer, lambda: editor.spacing_px, lambda: float(self._viewer.scene.camera.zoom),
                self.add_at, self._on_select, self._on_move,
            )  # fmt: skip
        elif self._mouse is not None:
            self._mouse.close()
            self._mouse = None
            keys.unbind(layer)

    def run(self, command: str) -> None:
        """Run a command by its name, see :data:`napari_atomlens.widgets.base.keys.CORRECT`."""
        editor = self._editor
        if editor is None:
            self._status.setText(NO_ATOMS)
            return
        if command == "undo":
            self._go_to(editor.undo())
        elif command == "redo":
            self._go_to(editor.redo())
        elif command == "next":
            self._next()
        elif command == "seen":
            self._toggle_seen(True)
            self._step_frame()
        elif command == "merge":
            self._merge()
        elif command == "split":
            self._split()
        else:
            chosen = editor.selected()
            if not chosen:
                self._status.setText("Select atoms first: click on one.")
                return
            do = {"delete": actions.delete, "accept": actions.accept, "reject": actions.reject}
            editor.perform(do[command], chosen)
            if command in ("accept", "reject") and self._looked_at in chosen:
                self._next()

    # ----------------------------------------------------------------- the edits

    def _hand(self, frame: int) -> Hand:
        """Return what edits a frame by hand, with the image beneath it."""
        editor = self._editor
        assert editor is not None
        return Hand(
            editor.session, frame, editor.spacing_px, self._pixels(frame),
            self._snap.isChecked(), editor.pixel_size,
        )  # fmt: skip

    def add_at(self, frame: int, y: float, x: float) -> None:
        """Add an atom at a place in pixels, drawn to the peak there where that is wished."""
        if self._editor is None:
            return
        change = self._hand(frame).add(y, x, self._adding)
        if change is not None:
            self._editor.select_rows(change)

    def _on_select(self, row: int, more: bool) -> None:
        editor = self._editor
        if editor is None:
            return
        chosen = set(editor.layer.selected_data) if more else set()
        editor.layer.selected_data = chosen ^ {row} if more else {row}

    def _on_move(self, row: int, y: float, x: float) -> None:
        editor = self._editor
        if editor is None:
            return
        atom_id = int(editor.ids()[row])
        if self._hand(editor.corrections.frame_of(atom_id)).move(atom_id, y, x) is None:
            editor.layer.refresh()

    def set_species(self, number: int) -> None:
        """Give the selected atoms a species by its number; without any, to those to come."""
        editor = self._editor
        names = self._names()
        if editor is None or number >= len(names):
            self._status.setText(f"There is no species {number + 1}.")
            return
        chosen = editor.selected()
        if chosen:
            editor.perform(actions.set_species, chosen, names[number])
        else:
            self._species.setCurrentText(names[number])

    def _merge(self) -> None:
        editor = self._editor
        if editor is None:
            return
        chosen = editor.selected()
        frame = editor.corrections.frame_of(chosen[0]) if chosen else 0
        change = self._hand(frame).merge(chosen)
        if change is not None:
            editor.select_rows(change)

    def _split(self) -> None:
        editor = self._editor
        if editor is None:
            return
        chosen = editor.selected()
        if len(chosen) != 1:
            self._status.setText("Select one atom to split.")
            return
        change = self._hand(editor.corrections.frame_of(chosen[0])).split(chosen[0])
        if change is not None:
            editor.select_rows(change)

    def _on_region(self) -> None:
        if self._regions is not None:
            self._status.setText("Click the corners of the region; Escape or Enter ends it.")
            self._regions.draw()

    def _on_region_drawn(self, corners: np.ndarray) -> None:
        editor = self._editor
        if editor is None:
            return
        one = self._region_frames.currentText() == THIS_FRAME
        editor.perform(actions.exclude, corners, self._frame() if one else None)
        self._viewer.layers.selection.active = editor.layer

    def _on_seen(self, on: bool) -> None:
        self._toggle_seen(on)

    def _toggle_seen(self, on: bool) -> None:
        editor = self._editor
        if editor is not None and (self._frame() in editor.corrections.seen()) != on:
            editor.perform(actions.mark_seen, self._frame(), on)

    # ------------------------------------------------------------------ the image

    def _pixels(self, frame: int) -> np.ndarray | None:
        """Return one frame of the image, None where there is no image."""
        layer = self._layer(self._image.currentData())
        if layer is None:
            return None
        data = layer.data[0] if layer.multiscale else layer.data
        known = self._image_pixels
        if known is None or not known.are_of(data):
            try:
                known = KnownPixels(data, bool(layer.rgb), layer.axis_labels)
            except AtomLensError:
                return None
            self._image_pixels = known
        return known.frame(frame)

    # --------------------------------------------------------------- looking about

    def _frame(self) -> int:
        """Frame that the viewer shows."""
        editor = self._editor
        if editor is None or editor.layer.ndim < 3:
            return 0
        point = self._viewer.dims.point[-editor.layer.ndim :]
        return round(float(editor.layer.world_to_data(point)[0]))

    def _n_frames(self) -> int:
        editor = self._editor
        if editor is None or editor.layer.ndim < 3:
            return 1
        image = self._layer(self._image.currentData())
        if image is not None and image.ndim == editor.layer.ndim:
            return int((image.data[0] if image.multiscale else image.data).shape[0])
        return max(editor.corrections.frames(), default=0) + 1

    def _show_frame(self, frame: int) -> None:
        editor = self._editor
        if editor is None or editor.layer.ndim < 3 or frame == self._frame():
            return
        axis = self._viewer.dims.ndim - 3
        world = editor.layer.data_to_world((frame, 0, 0))[0]
        self._viewer.dims.set_point(axis, float(world))

    def _step_frame(self) -> None:
        if self._frame() + 1 < self._n_frames():
            self._show_frame(self._frame() + 1)

    def _next(self) -> None:
        """Go to the next doubtful atom."""
        editor = self._editor
        if editor is None:
            return
        atom = next_doubtful(
            editor.corrections.atoms(), self._frame(), self._looked_at, self._certain.value()
        )
        self._looked_at = atom
        if atom is None:
            self._status.setText("No atom is doubtful.")
            return
        self.look_at(atom)

    def look_at(self, atom_id: int) -> None:
        """Select an atom and bring it to the middle of the window."""
        editor = self._editor
        if editor is None:
            return
        c = editor.corrections
        row = c.rows([atom_id])[0]
        self._show_frame(int(c.value(row, "frame")))
        at = [float(c.value(row, n)) for n in ("frame", "y_px", "x_px")][-editor.layer.ndim :]
        world = editor.layer.data_to_world(at)
        camera = self._viewer.scene.camera
        camera.center = (0.0, float(world[-2]), float(world[-1]))
        # near enough to judge it; who is nearer already stays there
        span = NEIGHBOURS * editor.spacing_px * float(np.mean(editor.layer.scale[-2:]))
        camera.zoom = max(camera.zoom, CANVAS_PX / span)
        editor.select([atom_id])
        self._status.setText(atom_text(c, atom_id))

    def _go_to(self, change: Change | None) -> None:
        """Show the frame of what was undone or redone: nothing changes unseen."""
        if change is None:
            said = self._editor.problem if self._editor is not None else ""
            self._status.setText(said or "There is nothing more.")
            return
        verb = "Undone" if change.undone else "Done again"
        self._status.setText(f"{verb}: {change.edit.action}.")
        if change.edit.frame >= 0:
            self._show_frame(change.edit.frame)

    def _on_conflict(self, item: QListWidgetItem) -> None:
        frame, y, x = item.data(Qt.ItemDataRole.UserRole)
        editor = self._editor
        if editor is None:
            return
        self._show_frame(int(frame))
        world = editor.layer.data_to_world([frame, y, x][-editor.layer.ndim :])
        self._viewer.scene.camera.center = (0.0, float(world[-2]), float(world[-1]))

    # -------------------------------------------------------------- what is shown

    def _on_edited(self) -> None:
        """Say what has changed; what takes longer waits until edits rest."""
        editor = self._editor
        if editor is None:
            return
        journal = editor.corrections.journal
        self._undo.setEnabled(bool(journal.done))
        self._redo.setEnabled(bool(journal.undone))
        said = editor.problem or editor.session.last_edit()
        if said:
            self._status.setText(said)
        if self._regions is not None:
            self._regions.show(editor.corrections.regions(self._frame()))
        self._rest.start()
        self.edited.emit()

    def _do_later(self, what: Callable[[], None]) -> None:
        if what not in self._later:
            self._later.append(what)
        self._rest.start()

    def _on_rested(self) -> None:
        later, self._later = self._later, []
        for what in later:
            what()
        if self._editor is not None:
            self._editor.check()
        self._show_doubtful()
        self._show_seen()
        self._show_conflicts()

    def _show_all(self) -> None:
        on = self._editor is not None
        for widget in (self._mode, self._region, self._seen, *self._buttons.values()):
            widget.setEnabled(on)
        names = self._names()
        fill_combo(self._species, [(n, n) for n in names], self._adding if on else "")
        self._adding = self._species.currentText()
        self._keys.setText(keys.summary(names))
        self._show_doubtful()
        self._show_seen()
        self._show_conflicts()
        self._show_stale()
        if self._editor is not None:
            journal = self._editor.corrections.journal
            self._undo.setEnabled(bool(journal.done))
            self._redo.setEnabled(bool(journal.undone))
            if self._regions is not None:
                self._regions.show(self._editor.corrections.regions(self._frame()))

    def _names(self) -> list[str]:
        if self._editor is None:
            return []
        names = self._editor.species()
        return names or [n for n in PREFERRED_SPECIES if role_of(n) == "column"]

    def _on_species_chosen(self, name: str) -> None:
        self._adding = name

    def _show_doubtful(self, value: float = 0.0) -> None:
        editor = self._editor
        if editor is None:
            self._doubtful.setText("")
            return
        self._doubtful.setText(
            doubtful_text(
                editor.corrections, self._frame(), self._certain.value(),
                len(editor.layer.data), editor.layer.ndim == 3,
            )
        )  # fmt: skip

    def _show_seen(self) -> None:
        editor = self._editor
        movie = editor is not None and editor.layer.ndim >= 3
        self._progress.setVisible(movie)
        seen = editor.corrections.seen() if editor is not None else set()
        self._seen.setChecked(self._frame() in seen)
        n = self._n_frames()
        self._progress.setMaximum(n)
        self._progress.setValue(n_seen(editor.corrections, n) if editor is not None else 0)

    def _show_conflicts(self) -> None:
        editor = self._editor
        found = editor.corrections.conflicts if editor is not None else []
        self._conflicts.setVisible(bool(found))
        self._conflicts.clear()
        for c in found[:500]:
            item = QListWidgetItem(f"Frame {c.frame}: {c.sentence}")
            item.setData(Qt.ItemDataRole.UserRole, (c.frame, c.y_px, c.x_px))
            self._conflicts.addItem(item)

    def _show_stale(self) -> None:
        editor = self._editor
        stale = editor.corrections.derived.stale() if editor is not None else {}
        text = "" if self._later else stale_text(stale)
        self._stale.setVisible(bool(text))
        if text:
            self._stale.setText(text)

    def _on_refresh(self) -> None:
        if self._editor is not None:
            self._editor.corrections.derived.refresh()

    def _on_slider(self, event: Any = None) -> None:
        if self._editor is not None and self._regions is not None:
            self._regions.show(self._editor.corrections.regions(self._frame()))
        self._rest.start()


class _Run:
    """A button's command (a lambda would keep the widget alive)."""

    def __init__(self, run: Callable[[str], None], command: str) -> None:
        self._run, self._command = run, command

    def __call__(self, checked: bool = False) -> None:
        self._run(self._command)
