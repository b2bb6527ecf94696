"""The Chemistry dock widget: rules, bonds, rings, defects, and the defect library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_atomlens.errors import AtomLensError
from napari_atomlens.graphs.bonds import BondGraph, bond
from napari_atomlens.graphs.choose import choose_rules, learn_bounds
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.graphs.library import entries_of
from napari_atomlens.graphs.rules import Rules, preset, presets
from napari_atomlens.graphs.types import count_types
from napari_atomlens.graphs.update import rebuild_frames
from napari_atomlens.image import Stack
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import shrinkable_combo
from napari_atomlens.widgets.chemistry.library_browser import LibraryBrowser
from napari_atomlens.widgets.chemistry.rules_table import RulesTable
from napari_atomlens.widgets.layers import bonds as shown
from napari_atomlens.widgets.layers import convert, roles
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor
from napari_atomlens.widgets.layers.roles import ATOMS, KEY, entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer, Points
    from napari.utils.events import Event

AUTO = "auto"
REST_MS = 120
#: Children listed below one type; the layer holds all.
MOST_LISTED = 500
ROLES = (roles.RINGS, roles.BONDS, roles.DEFECTS)


class ChemistryWidget(DockWidget):
    """Turns atoms into bonds, rings and named defects.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A build has ended, in whatever way.
    graph : BondGraph or None
        What the last build gave.
    defects : pandas.DataFrame or None
        Its defects table.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("chemistry")
        self._viewer = viewer
        self.graph: BondGraph | None = None
        self.defects: pd.DataFrame | None = None
        self._reason = ""
        self._built_from: Points | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._editor: Editor | None = None
        self._layers: dict[str, Layer] = {}
        self._drawn_frame = -1
        self._closed = False
        self._edited = False
        self._started = 0.0
        self._job = Job(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._draw_rings)
        self._create()
        self._connect()
        self._list_layers()

    # ------------------------------------------------------------ the window

    def _create(self) -> None:
        self._source = shrinkable_combo()
        self._source.setObjectName("atoms")
        self._source.setToolTip("The Points layer with the atoms, such as Find atoms makes")
        self._preset = shrinkable_combo()
        self._preset.setObjectName("preset")
        self._preset.addItems([AUTO, *presets()])
        self._preset.setToolTip("Chemical rules; auto chooses by lattice, scale and species")
        self._table = RulesTable()
        self._load = self._button("load", "Load…", "Rules from a TOML file")
        self._save = self._button("save", "Save…", "These rules as a TOML file")
        self._learn = self._button(
            "learn", "Learn", "Fit the bounds to the distances between the atoms"
        )
        self._show = {
            roles.BONDS: self._check("Bonds", roles.BONDS),
            roles.RINGS: self._check("Rings", roles.RINGS),
            roles.DEFECTS: self._check("Defects", roles.DEFECTS),
        }
        self._build = self._button("build", "Find bonds and defects", "")
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._types = QTreeWidget()
        self._types.setObjectName("types")
        self._types.setHeaderLabels(["defect", "count", "score", ""])
        self._types.setColumnWidth(0, 120)
        self._types.setMinimumHeight(160)
        self._types.setToolTip("Click a defect to go there")
        self._add = self._button(
            "add", "Add to library", "The selected defects, or all, with picture and graph"
        )
        self.browser = LibraryBrowser()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Atoms", self._source)
        form.addRow("Rules", self._preset)
        files, layers = QHBoxLayout(), QHBoxLayout()
        for button in (self._learn, self._load, self._save):
            files.addWidget(button)
        for box in self._show.values():
            layers.addWidget(box)
        rules = self._section("rules_section", "Bond lengths and coordination", self._table)
        library = self._section("library_section", "Library", self.browser)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(rules)
        layout.addLayout(files)
        layout.addLayout(layers)
        for widget in (self._build, self._status, self._types, self._add, library):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setMinimumWidth(300)

    @staticmethod
    def _section(name: str, title: str, widget: QWidget) -> QCollapsible:
        section = QCollapsible(title)
        section.setObjectName(name)
        section.setDuration(0)
        section.addWidget(widget)
        return section

    @staticmethod
    def _button(name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setToolTip(tip)
        return button

    @staticmethod
    def _check(text: str, role: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setObjectName(f"show_{role}")
        box.setChecked(True)
        return box

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._list_layers)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self._list_layers)
        self._viewer.dims.events.point.connect(self._on_slider)
        self._preset.currentTextChanged.connect(self._on_preset)
        self._table.edited.connect(self._on_edited)
        self._load.clicked.connect(self._on_load)
        self._save.clicked.connect(self._on_save)
        self._learn.clicked.connect(self._on_learn)
        self._build.clicked.connect(self._on_build)
        self._types.itemClicked.connect(self._on_type)
        self._add.clicked.connect(self._on_add)
        for box in self._show.values():
            box.toggled.connect(self._on_show)
        self._job.results.connect(self._on_results)
        self._job.failed.connect(self._status.setText)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        self._follow_edits(None)
        self._job.close()
        self._rest.stop()
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._list_layers)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self._list_layers)
        self._viewer.dims.events.point.disconnect(self._on_slider)

    # ------------------------------------------------------------ the layers

    def _list_layers(self, event: Event | None = None) -> None:
        from napari.layers import Points

        chosen = self._source.currentData()
        points = [
            x for x in self._viewer.layers
            if isinstance(x, Points) and entry(x).get("role", ATOMS) == ATOMS
        ]  # fmt: skip
        # ours first
        points.sort(key=lambda x: entry(x).get("role") != ATOMS)
        self._source.blockSignals(True)
        self._source.clear()
        for layer in points:
            self._source.addItem(layer.name, str(layer.unique_id))
        ids = [str(x.unique_id) for x in points]
        self._source.setCurrentIndex(ids.index(chosen) if chosen in ids else min(0, len(ids) - 1))
        self._source.blockSignals(False)
        self._build.setEnabled(bool(points))
        if not points:
            self._status.setText("Find atoms first, or open a Points layer.")
        elif self._status.text().startswith("Find atoms first"):
            self._status.setText("")

    def _on_removed(self, event: Event) -> None:
        self._layers = {k: v for k, v in self._layers.items() if v is not event.value}
        if event.value is self._built_from:
            self._follow_edits(None)
        self._list_layers()

    def source(self) -> Points | None:
        """Return the Points layer that is chosen, None where there is none."""
        wanted = self._source.currentData()
        return next((x for x in self._viewer.layers if str(x.unique_id) == wanted), None)

    def atoms(self) -> pd.DataFrame:
        """Atoms table of the chosen layer, the user's edits included."""
        layer = self.source()
        assert layer is not None  # asked for where there is one
        size = convert.pixel_size_nm(layer.scale, layer.units)
        table = convert.atoms_from_points(layer.data, layer.features, size)
        if "species" not in layer.features:
            table["species"] = "column"
        return _with_nm(table, size)

    def _image_of(self, layer: Points) -> Image | None:
        """Image under the atoms: the one that they were found in, else the lowest."""
        from napari.layers import Image

        wanted = entry(layer).get("source_id")
        images = [x for x in self._viewer.layers if isinstance(x, Image) and not entry(x)]
        return next(
            (x for x in images if str(x.unique_id) == wanted), images[0] if images else None
        )

    # ------------------------------------------------------------- the rules

    def _on_preset(self, name: str) -> None:
        self._edited = False
        if name != AUTO and name in presets():
            self._table.set_rules(preset(name))

    def _on_edited(self) -> None:
        self._edited = True

    def rules(self) -> Rules:
        """Return the rules to build with.

        Raises
        ------
        AtomLensError
            With one sentence, where the table holds nonsense.
        """
        if self._preset.currentText() == AUTO and not self._edited:
            rules, self._reason = choose_rules(self.atoms())
            self._table.set_rules(rules)
            return rules
        self._reason = ""
        return self._table.rules()

    def _on_load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load rules", "", "Rules (*.toml)")
        if name:
            self._try(lambda: self._take(Rules.load(name)))

    def _take(self, rules: Rules) -> None:
        self._table.set_rules(rules)
        self._edited = True
        self._status.setText(f"Rules {rules.name}.")

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save rules", "rules.toml", "Rules (*.toml)")
        if name:
            self._try(lambda: self._table.rules().save(name))

    def _on_learn(self) -> None:
        def learn() -> None:
            self._take(learn_bounds(self.atoms(), self.rules()))
            self._status.setText("The bounds are those of the distances in this image.")

        if self.source() is not None:
            self._try(learn)

    def _try(self, what: Callable[[], object]) -> None:
        try:
            what()
        except AtomLensError as error:
            self._status.setText(str(error))

    # ------------------------------------------------------------- the build

    def _on_build(self) -> None:
        if self._job.is_running or self.source() is None:
            return
        try:
            atoms, rules = self.atoms(), self.rules()
        except AtomLensError as error:
            self._status.setText(str(error))
            self.finished.emit()
            return
        self._built_from = self.source()
        image = self._image_of(self._built_from)
        shape = None
        if image is not None:
            height, width = image.data.shape[image.ndim - 2 : image.ndim]
            far = atoms[["y_px", "x_px"]].max()
            if far["y_px"] <= height and far["x_px"] <= width:  # their own image, not another
                shape = (int(height), int(width))
        self._started = time.perf_counter()

        def work(stop: Stop) -> Iterator[tuple[BondGraph, pd.DataFrame]]:
            graph = bond(atoms, rules, shape_px=shape)
            _ = graph.rings
            if not stop():
                yield graph, find_defects(graph)

        self._build.setEnabled(False)
        self._status.setText("Looking for bonds and defects…")
        self._job.start(work)

    def _on_results(self, results: list[tuple[BondGraph, pd.DataFrame]]) -> None:
        self.graph, self.defects = results[-1]
        self._follow_edits(self._built_from)
        self._draw()
        self._list_defects()
        graph, defects = self.graph, self.defects
        assert graph is not None and defects is not None
        new = count_types(defects)
        n_new = int((~new["known"].astype(bool)).sum()) if len(new) else 0
        spent = time.perf_counter() - self._started
        text = (
            f"{len(graph):,} bonds, {len(graph.rings):,} rings, {len(defects):,} defects of "
            f"{len(new):,} types" + (f", {n_new} of them new" if n_new else "")
        )
        if not graph.calibrated:
            text += "; the pixel size is unknown, so the lattice is the measure of lengths"
        self._status.setText(f"{text} ({spent:.2f} s). {self._reason}".strip())

    # ------------------------------------------------------------- the edits

    def _follow_edits(self, layer: Points | None) -> None:
        """Hear of corrections of the atoms of a layer; of none with None."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        editor = None if layer is None else layer.metadata.get(EDITOR)
        self._editor = editor if isinstance(editor, Editor) else None
        if self._editor is not None:
            self._unsubscribe = self._editor.corrections.derived.subscribe(
                "bonds and defects", self._on_atoms_edited
            )

    def _on_atoms_edited(self, frames: frozenset[int]) -> None:
        """Make the bonds and defects of the changed frames anew."""
        editor = self._editor
        if editor is None or self.graph is None or self.defects is None or self._job.is_running:
            return
        # of the journal: the layer may not show the edit yet
        parts = [editor.corrections.table(f) for f in sorted(frames)]
        atoms = _with_nm(pd.concat(parts, ignore_index=True), editor.pixel_size)
        try:
            self.graph, self.defects = rebuild_frames(self.graph, self.defects, atoms, frames)
        except AtomLensError as error:
            self._status.setText(str(error))
            return
        self._draw()
        self._list_defects()
        self._status.setText(
            f"After your edits: {len(self.graph):,} bonds, {len(self.defects):,} defects."
        )

    def _on_crashed(self, error: Exception) -> None:
        from napari.utils.notifications import notification_manager

        self._status.setText(f"Something unexpected went wrong ({type(error).__name__}: {error}).")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        self._build.setEnabled(self._source.count() > 0)
        self.finished.emit()

    # -------------------------------------------------------------- drawing

    @property
    def _built(self) -> Points:
        """The layer of the atoms that the graph was made of."""
        assert self._built_from is not None
        return self._built_from

    def _place(self, role: str) -> dict[str, object]:
        source = self._built
        names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
        tag = {"role": role, "source_id": str(source.unique_id)}
        return {n: getattr(source, n) for n in names} | {
            "name": f"{role} · {source.name.split(' · ')[-1]}", "metadata": {KEY: tag},
        }  # fmt: skip

    def _existing(self, role: str) -> Layer | None:
        """Our layer of this role for the same atoms, also one of an earlier widget."""
        layer = self._layers.get(role)
        if layer is not None and layer in self._viewer.layers:
            mine = entry(layer).get("source_id") == str(self._built.unique_id)
            if mine:
                return layer
        wanted = {"role": role, "source_id": str(self._built.unique_id)}
        return next((x for x in self._viewer.layers if entry(x) == wanted), None)

    def _width(self) -> float:
        """Width of a bond in image pixels."""
        assert self.graph is not None
        bonds = self.graph.bonds["length_px"]
        return 0.06 * float(bonds.median()) if len(bonds) else 1.0

    def _draw(self) -> None:
        from napari.layers import Points, Vectors

        assert self.graph is not None and self.defects is not None
        ndim = self._built.ndim
        self._drawn_frame = -1
        for role in ROLES:
            if not self._show[role].isChecked():
                continue
            layer = self._existing(role)
            if role == roles.RINGS:
                if layer is None:
                    self._draw_rings()
                else:  # many polygons take longer than all the rest
                    self._rest.start()
                continue
            if role == roles.BONDS:
                data = shown.vectors_from_bonds(self.graph, ndim)
                if layer is None:
                    layer = Vectors(
                        data, ndim=ndim, features=self.graph.bonds, vector_style="line",
                        edge_width=self._width(), edge_color="#3ddc97", opacity=0.8,
                        **self._place(role),
                    )  # fmt: skip
                    self._viewer.add_layer(layer)
                else:
                    layer.data = data
                    layer.features = self.graph.bonds
            else:
                data = shown.points_from_defects(self.defects, ndim)
                features = shown.features_of_defects(self.defects)
                colours = shown.defect_colours(features["formula"])
                each = [colours[f] for f in features["formula"]] or "white"
                if layer is None:
                    layer = Points(
                        data, ndim=ndim, features=features, size=40 * self._width(),
                        symbol="disc", face_color="transparent", border_color=each,
                        border_width=0.06, **self._place(role),
                    )  # fmt: skip
                    self._viewer.add_layer(layer)
                else:
                    layer.selected_data = set()
                    layer.data = data
                    layer.features = features
                    if len(data):
                        layer.border_color = each
            self._layers[role] = layer

    def frame(self) -> int:
        """Frame that is shown."""
        layer = self._built_from
        if layer is None or layer.ndim < 3 or self._viewer.dims.ndim < 3:
            return 0
        world = np.array(self._viewer.dims.point[-layer.ndim :], float)
        return round(float(layer.world_to_data(world)[0]))

    def _draw_rings(self) -> None:
        from napari.layers import Shapes

        graph, source = self.graph, self._built_from
        if graph is None or source is None or not self._show[roles.RINGS].isChecked():
            return
        frame = self.frame()
        layer = self._existing(roles.RINGS)
        if layer is not None and frame == self._drawn_frame:
            return
        polygons, sizes = shown.polygons_from_rings(graph, frame, source.ndim)
        if layer is None:
            layer = Shapes(None, ndim=source.ndim, opacity=0.45, **self._place(roles.RINGS))
            self._viewer.add_layer(layer)
            above = [i for i, x in enumerate(self._viewer.layers) if x is source]
            self._viewer.layers.move(len(self._viewer.layers) - 1, above[0] if above else 0)
        layer.data = []
        if polygons:
            colours = [shown.ring_colour(s) for s in sizes]
            layer.add(polygons, shape_type="polygon", edge_width=0, face_color=colours,
                      edge_color="transparent")  # fmt: skip
            layer.features = pd.DataFrame({"atoms": sizes, "frame": frame})
            layer.selected_data = set()
        self._layers[roles.RINGS] = layer
        self._drawn_frame = frame

    def _on_slider(self, event: Event | None = None) -> None:
        if self.graph is not None and self._built_from is not None and self._built_from.ndim > 2:
            self._rest.start()

    def _on_show(self, on: bool) -> None:
        for role, box in self._show.items():
            layer = self._layers.get(role)
            if layer is not None:
                layer.visible = box.isChecked()
        missing = any(b.isChecked() and self._layers.get(r) is None for r, b in self._show.items())
        if on and missing and self.graph is not None and self._built_from in self._viewer.layers:
            self._draw()

    # -------------------------------------------------------------- the list

    def _list_defects(self) -> None:
        assert self.defects is not None
        self._types.clear()
        rows = self.defects.reset_index(drop=True)
        for t in count_types(rows).to_dict("records"):
            mark = "" if t["known"] else "new"
            top = QTreeWidgetItem(
                [str(t["formula"]), f"{t['count']:,}", f"{t['mean_score']:.2f}", mark]
            )
            top.setToolTip(0, str(t["kind"]))
            same = rows[(rows["graph_hash"] == t["graph_hash"]) & (rows["formula"] == t["formula"])]
            for row in same.index[:MOST_LISTED]:
                d = rows.loc[row]
                where = f"({d['y_px']:.0f}, {d['x_px']:.0f})"
                if self._built.ndim > 2:
                    where = f"frame {d['frame']} {where}"
                flag = "distorted" if d["distorted"] else ""
                child = QTreeWidgetItem([where, "", f"{d['score']:.2f}", flag])
                child.setData(0, Qt.ItemDataRole.UserRole, int(row))
                top.addChild(child)
            self._types.addTopLevelItem(top)

    def _on_type(self, item: QTreeWidgetItem, column: int = 0) -> None:
        row = item.data(0, Qt.ItemDataRole.UserRole)
        if row is None:
            item.setExpanded(not item.isExpanded())
            only = item.child(0) if item.childCount() == 1 else None
            row = only.data(0, Qt.ItemDataRole.UserRole) if only is not None else None
        if row is not None:
            self.go_to(int(row))

    def go_to(self, row: int) -> None:
        """Move the camera to a defect and select it."""
        if self.defects is None or self.graph is None or self._built_from is None:
            return
        layer = self._built_from
        place = shown.points_from_defects(self.defects.iloc[[row]], layer.ndim)[0]
        world = np.asarray(layer.data_to_world(place))
        if layer.ndim > 2:
            axis = self._viewer.dims.ndim - layer.ndim
            self._viewer.dims.set_point(axis, float(world[0]))
        camera = getattr(self._viewer, "scene", self._viewer).camera  # scene: since napari 0.9
        camera.center = (0.0, float(world[-2]), float(world[-1]))
        span = 16 * self._width() / 0.06 * float(np.mean(layer.scale[-2:]))
        camera.zoom = 500 / span
        marks = self._layers.get(roles.DEFECTS)
        if marks is not None and row < len(marks.data):
            marks.selected_data = {row}

    def selected(self) -> list[int]:
        """Rows of the defects table that are selected in the list."""
        rows: list[int] = []
        for item in self._types.selectedItems():
            row = item.data(0, Qt.ItemDataRole.UserRole)
            if row is not None:
                rows.append(int(row))
            else:
                children = [item.child(i) for i in range(item.childCount())]
                rows += [int(c.data(0, Qt.ItemDataRole.UserRole)) for c in children if c]
        return list(dict.fromkeys(rows))

    def _on_add(self) -> None:
        if self.graph is None or self.defects is None or not len(self.defects):
            self._status.setText("There are no defects to add yet.")
            return
        rows = self.selected() or list(range(len(self.defects)))
        image = self._image_of(self._built)
        pixels = None
        if image is not None:
            stack = Stack(image.data, image.rgb) if image.ndim in (2, 3) else None
            pixels = np.stack([stack[f] for f in range(len(stack))]) if stack is not None else None
        metadata = {} if image is None else {
            k: v for k, v in image.metadata.items() if k != KEY and isinstance(v, (str, int, float))
        }  # fmt: skip
        entries = entries_of(
            self.graph, self.defects.iloc[rows], pixels,
            source=image.name if image is not None else self._built.name,
            provenance={"rules": self.graph.rules.as_dict(), "atoms": entry(self._built)},
            instrument=metadata,
        )  # fmt: skip
        n = self.browser.add(entries)
        if n:
            what = "1 defect" if n == 1 else f"{n} defects"
            self._status.setText(f"{what} added to {self.browser.path.name}.")  # type: ignore[union-attr]
        elif self.browser.path is None:
            self._status.setText("Open a library below first.")


def _with_nm(atoms: pd.DataFrame, size: tuple[float, float] | None) -> pd.DataFrame:
    """Fill positions in nm in where they are missing and the pixel size is known."""
    if size is not None:
        for axis, step in zip(("y", "x"), size, strict=True):
            known = atoms[f"{axis}_nm"].notna()
            atoms[f"{axis}_nm"] = atoms[f"{axis}_nm"].where(known, atoms[f"{axis}_px"] * step)
    return atoms
