"""The Correct widget in a real window, used with the mouse and the keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_analysis import SPACING, FakeAnalysis, lattice
from hand import Hand
from napari.layers import Image, Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QListWidget,
    QProgressBar,
    QPushButton,
)
from superqt import QCollapsible

from napari_atomlens.session import autosave
from napari_atomlens.widgets.correct.keys_table import KeysTable
from napari_atomlens.widgets.layers.roles import KEY

WAIT = 20_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


class Desk:
    """A viewer with found atoms and the Correct widget."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.find = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
        self.hand = Hand(viewer)

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def run(self) -> None:
        with self.qtbot.waitSignal(self.find.finished, timeout=WAIT):
            self.find.run()

    def start(self, frames: int = 0, n: int = 6) -> Any:
        """Show an image or a movie, find its atoms, switch Correct mode on."""
        self.viewer.add_image(lattice(n, frames), name="gold")
        if frames:
            self.viewer.dims.set_current_step(0, 0)
        self.run()
        self.viewer.reset_view()
        self.button("mode")
        return self.atoms

    @property
    def atoms(self) -> Any:
        (found,) = [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == "atoms"]
        return found

    def button(self, name: str) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    @property
    def corrections(self) -> Any:
        return self.widget.editor.corrections

    def same(self) -> None:
        """The layer shows what the corrections say."""
        table = self.corrections.atoms().set_index("atom_id").sort_index()
        shown = self.atoms.features.set_index("atom_id").sort_index()
        assert list(table.index) == list(shown.index)
        shown["species"] = shown["species"].astype(object)
        pd.testing.assert_frame_equal(
            shown[table.columns], table, check_dtype=False, check_index_type=False
        )
        places = pd.DataFrame(self.atoms.data[:, -2:], index=self.atoms.features["atom_id"])
        np.testing.assert_array_equal(places.sort_index(), table[["y_px", "x_px"]])


@pytest.fixture
def desk(
    make_napari_viewer: Callable[..., Any], qtbot: Any, fake: FakeAnalysis,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:  # fmt: skip
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path / "autosave"))
    viewer = make_napari_viewer(show=True)
    desk = Desk(viewer, qtbot)
    yield desk
    desk.widget.cleanup()
    desk.find.cleanup()


def test_mouse_and_keys(desk: Desk) -> None:
    atoms = desk.start()
    hand = desk.hand
    assert desk.viewer.layers.selection.active is atoms
    first = desk.corrections.atoms()
    # a click where no atom is adds one, drawn to the peak: remove a real one first
    hand.click(18, 18)
    assert len(atoms.selected_data) == 1
    hand.press("Delete")
    assert len(atoms.data) == 35
    hand.click(19.5, 17)
    assert len(atoms.data) == 36
    new = atoms.features.iloc[-1]
    assert abs(new["y_px"] - 18) < 0.1 and abs(new["x_px"] - 18) < 0.1  # the peak, not the click
    assert new["source"] == "user" and new["edited"] and new["fit_ok"]
    desk.same()
    # species by key
    assert list(atoms.selected_data) == [35]
    hand.press("2")
    assert atoms.features["species"].iloc[35] == "bright column"
    # a drag moves, freely where the drawing to the peak is off
    desk.child(QCheckBox, "snap").setChecked(False)
    centre = desk.viewer.scene.camera.center
    hand.drag((30, 30), (34, 33))
    assert desk.viewer.scene.camera.center == centre  # the image stays
    moved = desk.corrections.journal.edits[-1]
    assert moved.action == "move"
    at = (
        desk.corrections.value(moved.after[0], "y_px"),
        desk.corrections.value(moved.after[0], "x_px"),
    )
    np.testing.assert_allclose(at, (34, 33), atol=0.5)
    desk.same()
    # two atoms are one, one is two
    hand.click(6, 18)
    hand.click(6, 30, shift=True)
    hand.press("M")
    assert len(atoms.data) == 35
    hand.press("B")
    assert len(atoms.data) == 36
    hand.press("X")
    assert len(atoms.data) == 34
    hand.click(54, 54)
    hand.press("Y")
    row = atoms.features[atoms.features["atom_id"] == desk.widget.editor.selected()[0]]
    assert float(row["probability"].iloc[0]) == 1 and bool(row["edited"].iloc[0])
    desk.same()
    n = len(desk.corrections.journal)
    last = desk.corrections.atoms()
    for _ in range(n):
        hand.press("Ctrl+Z")
    pd.testing.assert_frame_equal(desk.corrections.atoms(), first)
    desk.same()
    for _ in range(n):
        hand.press("Ctrl+Shift+Z")
    pd.testing.assert_frame_equal(desk.corrections.atoms(), last)
    desk.same()


def test_keys_are_bound_in_correct_mode_only(desk: Desk) -> None:
    atoms = desk.start()
    assert any("Z" in str(k) for k in atoms.keymap)
    bound = len(atoms.keymap)
    desk.button("mode")
    assert len(atoms.keymap) == 0 < bound and not atoms.mouse_drag_callbacks
    n = len(atoms.data)
    desk.hand.click(12, 12)
    assert len(atoms.data) == n


def test_naparis_own_tools_are_noticed(desk: Desk) -> None:
    atoms = desk.start()
    atoms.add([[12.0, 12.5]])
    atoms.selected_data = {0, 1}
    atoms.remove_selected()
    atoms.features.loc[4, "species"] = "bright column"
    atoms.events.features()
    assert [e.action for e in desk.corrections.journal.holds()] == ["add", "delete", "species"]
    desk.same()
    desk.button("undo")
    desk.button("undo")
    desk.button("undo")
    assert len(atoms.data) == 36 and not atoms.features["edited"].any()
    desk.same()
    # pasted atoms are new ones
    atoms.selected_data = {2, 3}
    atoms._copy_data()
    atoms._paste_data()
    desk.qtbot.waitUntil(lambda: len(desk.corrections.journal) == 1, timeout=WAIT)
    assert atoms.features["atom_id"].is_unique and len(atoms.data) == 38
    desk.same()


def test_a_new_run_keeps_the_edits_and_they_can_be_undone(desk: Desk) -> None:
    atoms = desk.start(frames=3, n=4)
    hand = desk.hand
    hand.click(18, 18)
    hand.press("Delete")
    desk.child(QCheckBox, "snap").setChecked(False)
    hand.click(12, 12)
    desk.viewer.dims.set_current_step(0, 2)
    hand.click(6, 6)
    hand.press("2")
    desk.run()
    assert len(atoms.data) == 48 and len(desk.corrections.journal) == 3
    desk.same()
    desk.viewer.dims.set_current_step(0, 2)
    for _ in range(3):
        desk.button("undo")
    assert desk.viewer.dims.current_step[0] == 0  # undo shows what it undoes
    assert len(atoms.data) == 48 and not atoms.features["edited"].any()
    pd.testing.assert_frame_equal(desk.corrections.atoms(), desk.corrections.machine())


def test_conflicts_are_listed(desk: Desk) -> None:
    desk.start()
    desk.child(QCheckBox, "snap").setChecked(False)
    desk.hand.click(18, 18)
    desk.hand.press("2")
    image = next(x for x in desk.viewer.layers if x.name == "gold")
    data = image.data.copy()
    data[10:26, 10:26] = 0
    image.data = data
    desk.run()
    found = desk.child(QListWidget, "conflicts")
    desk.qtbot.waitUntil(lambda: found.count() == 1, timeout=WAIT)
    assert "no longer finds" in found.item(0).text()
    places = desk.corrections.atoms()[["y_px", "x_px"]].to_numpy()
    assert (np.hypot(*(places - 18).T) < 1).sum() == 1


def test_regions(desk: Desk) -> None:
    atoms = desk.start(frames=2, n=4)
    desk.child(QComboBox, "region_frames").setCurrentText("all frames")
    desk.button("region")
    shapes = desk.viewer.layers.selection.active
    assert shapes.mode == "add_polygon" and shapes.ndim == 2
    shapes.add_polygons([[0, 0], [0, 24], [24, 24], [24, 0]])
    desk.qtbot.waitUntil(lambda: len(atoms.data) == 2 * 12)
    assert desk.viewer.layers.selection.active is atoms
    desk.run()
    assert len(atoms.data) == 2 * 12
    desk.child(QComboBox, "region_frames").setCurrentText("this frame")
    shapes.add_polygons([[24, 24], [24, 48], [48, 48], [48, 24]])
    desk.qtbot.waitUntil(lambda: len(atoms.data) == 20 and shapes.nshapes == 2)
    desk.viewer.dims.set_current_step(0, 1)
    assert shapes.nshapes == 1
    desk.button("undo")
    desk.button("undo")
    assert len(atoms.data) == 32 and shapes.nshapes == 0
    desk.same()


@pytest.mark.parametrize("end", ["double click", "Escape"])
def test_a_region_is_drawn_once_and_the_mouse_is_free_again(desk: Desk, end: str) -> None:
    atoms = desk.start()
    desk.button("region")
    shapes = desk.viewer.layers.selection.active
    assert shapes.mode == "add_polygon"
    for corner in ((1, 1), (1, 24), (24, 24), (24, 1)):
        desk.hand.move(*corner)
        desk.hand.click(*corner)
    atoms.refresh()  # whoever looks meanwhile does not disturb
    desk.hand.move(12, 1)
    assert len(atoms.data) == 36 and shapes.nshapes == 1
    if end == "Escape":
        desk.hand.press(end)
    else:
        desk.hand.double_click(12, 1)
    desk.qtbot.waitUntil(lambda: shapes.mode == "pan_zoom")
    assert shapes.nshapes == 1 and len(atoms.data) == 36 - 4
    assert desk.viewer.layers.selection.active is atoms and atoms.mode == "pan_zoom"
    assert [e.action for e in desk.corrections.journal.holds()] == ["exclude"]
    desk.hand.click(42, 42)  # selects an atom, and excludes nothing more
    assert len(atoms.selected_data) == 1 and shapes.nshapes == 1
    desk.button("region")
    desk.hand.click(30, 30)
    desk.hand.press("Escape")  # given up
    desk.qtbot.waitUntil(lambda: shapes.mode == "pan_zoom")
    assert shapes.nshapes == 1 and len(desk.corrections.journal) == 1
    desk.button("undo")
    desk.qtbot.waitUntil(lambda: shapes.nshapes == 0 and len(atoms.data) == 36)


@pytest.mark.parametrize(
    "how", ["click", "napari's tool", "paste", "drag", "napari drags", "merge", "split", "species"]
)
def test_no_atom_carries_what_was_measured_on_another(desk: Desk, how: str) -> None:
    atoms = desk.start()
    n = len(atoms.data)
    atoms.features = atoms.features.assign(
        anomaly=True, anomaly_score=35.0, exx=0.02, region=7, anomaly_reason="stretched",
    )  # fmt: skip
    atoms.selected_data = {7}  # napari copies the features of the selected one
    before = set(atoms.features["atom_id"])
    touched = [int(atoms.features["atom_id"].iloc[7])]
    desk.hand.canvas.setFocus()
    y, x = (float(v) for v in atoms.data[7])
    if how == "click":
        desk.child(QCheckBox, "snap").setChecked(False)
        desk.hand.click(y + 5, x + 5)
    elif how == "napari's tool":
        atoms.mode = "add"
        desk.hand.click(y + 5, x + 5)
    elif how == "paste":
        atoms.mode = "select"
        desk.hand.press("Ctrl+C")
        desk.hand.press("Ctrl+V")
        desk.qtbot.waitUntil(lambda: len(desk.corrections.atoms()) == n + 1)
    elif how == "drag":
        desk.child(QCheckBox, "snap").setChecked(False)
        desk.hand.drag((y, x), (y + 4, x + 4))
    elif how == "napari drags":
        atoms.mode = "select"
        desk.hand.drag((y, x), (y + 4, x + 4))
    elif how == "merge":
        atoms.selected_data = {7, 8}
        desk.button("merge")
        touched = [int(i) for i in desk.widget.editor.selected()]
    elif how == "split":
        desk.button("split")
    else:
        desk.button("delete")
        desk.button("undo")  # it comes back as it was, but for what is not in the journal
        row = atoms.features.set_index("atom_id").loc[touched[0]]
        assert row["anomaly_score"] != 35.0
        atoms.selected_data = set(np.flatnonzero(atoms.features["atom_id"] == touched[0]).tolist())
        desk.hand.press("2")
        assert atoms.features.set_index("atom_id").loc[touched[0], "species"] == "bright column"
    new = sorted(set(atoms.features["atom_id"]) - before) or touched
    assert desk.corrections.journal.log, how
    rows = atoms.features.set_index("atom_id").loc[new]
    assert not rows["anomaly"].any() and not (rows["anomaly_score"] == 35).any(), how
    assert not rows["exx"].notna().any() or how == "species", how
    assert not (rows["region"] == 7).any() or how == "species", how
    rest = atoms.features.set_index("atom_id").drop(index=new)
    assert (rest["anomaly_score"] == 35).all(), "the others keep what was measured on them"
    desk.same()


def test_next_doubtful_and_marks(desk: Desk) -> None:
    desk.viewer.add_image(lattice(4, 2), name="gold")
    desk.viewer.dims.set_current_step(0, 0)
    desk.run()
    editor = desk.widget.editor
    machine = editor.corrections.machine()
    machine.loc[machine["frame"] == 0, "probability"] = 0.99
    machine.loc[machine["frame"] == 1, "probability"] = 0.95
    machine.loc[3, "probability"], machine.loc[20, "probability"] = 0.6, 0.7
    editor.rerun(machine, [0, 1], float(SPACING))
    desk.button("mode")
    desk.viewer.scene.camera.zoom = 0.01
    desk.hand.press("N")
    assert editor.selected() == [int(machine["atom_id"][3])]
    assert desk.viewer.scene.camera.zoom > 1  # the atom can be seen
    desk.hand.press("N")
    assert editor.selected() == [int(machine["atom_id"][20])]
    assert desk.viewer.dims.current_step[0] == 1
    desk.hand.press("Y")  # accepted: on to the next, which is in frame 0
    assert desk.viewer.dims.current_step[0] == 0
    desk.hand.press("X")
    assert "No atom is doubtful" in desk.status
    desk.hand.press("E")
    bar = desk.child(QProgressBar, "seen_progress")
    desk.qtbot.waitUntil(lambda: bar.value() == 1, timeout=WAIT)
    assert bar.maximum() == 2 and desk.viewer.dims.current_step[0] == 1
    assert not desk.child(QCheckBox, "seen").isChecked()


def test_contours_follow(desk: Desk) -> None:
    desk.start()
    contours = next(
        x for x in desk.viewer.layers if x.metadata.get(KEY, {}).get("role") == "contours"
    )
    assert contours.nshapes == 36
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    desk.qtbot.waitUntil(lambda: contours.nshapes == 35, timeout=WAIT)
    desk.button("undo")
    desk.qtbot.waitUntil(lambda: contours.nshapes == 36, timeout=WAIT)
    assert set(contours.features["atom_id"]) == set(desk.atoms.features["atom_id"])


def test_contours_are_fixed_and_undone(desk: Desk) -> None:
    desk.start()
    contours = desk.viewer.layers["contours · gold"]
    ids = list(contours.features["atom_id"])
    old = contours.data[5].copy()
    data = list(contours.data)
    data[5] = old * 1.01
    table = contours.features
    with contours.events.data.blocker():
        contours.data = data  # what a drag of a vertex ends in
        contours.features = table
    contours.events.data(value=data, action="changed", data_indices=(5,), vertex_indices=((),))
    contours.selected_data = {7}
    contours.remove_selected()
    contours.add([[12, 12], [12, 24], [24, 24], [24, 12]], shape_type="polygon")
    edits = [e for e in desk.corrections.journal.holds() if e.action == "contour"]
    assert [e.detail["atom_id"] for e in edits[:2]] == [ids[5], ids[7]]
    assert contours.nshapes == 36 and set(desk.corrections.contours(0)) >= {ids[5], ids[7]}
    desk.run()  # a new run of the model leaves them
    assert ids[7] not in set(contours.features["atom_id"]) or edits[2].detail["atom_id"] == ids[7]
    fixed = contours.data[list(contours.features["atom_id"]).index(ids[5])]
    np.testing.assert_allclose(fixed, old * 1.01, atol=2e-3)
    for _ in range(len(edits)):
        desk.button("undo")
    assert sorted(contours.features["atom_id"]) == sorted(ids)
    again = contours.data[list(contours.features["atom_id"]).index(ids[5])]
    np.testing.assert_allclose(again, old, atol=2e-3)
    assert not contours.features["edited"].any()


def test_what_is_slow_waits_for_the_button(desk: Desk) -> None:
    desk.start()
    made: list[frozenset[int]] = []
    desk.corrections.derived.subscribe("tracks")
    desk.corrections.derived.subscribe("bonds", made.append)
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    stale = desk.child(QPushButton, "stale")
    desk.qtbot.waitUntil(lambda: stale.isVisible(), timeout=WAIT)
    assert "tracks" in stale.text() and made == [frozenset({0})]


def test_save_open_and_read_only(desk: Desk, tmp_path: Path) -> None:
    desk.start(frames=2, n=4)
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    desk.child(QCheckBox, "snap").setChecked(False)
    desk.viewer.scene.camera.zoom = 7.5
    desk.viewer.dims.set_current_step(0, 1)
    table = desk.corrections.atoms()
    panel = desk.widget._project
    assert autosave.find_unsaved() == [] and len(list((tmp_path / "autosave").iterdir())) == 1
    path = panel.save(tmp_path / "work")
    assert path == tmp_path / "work.atomlens", panel._note.text()
    assert list((tmp_path / "autosave").iterdir()) == []
    names = [x.name for x in desk.viewer.layers]
    desk.child(QCheckBox, "snap").setChecked(True)
    desk.viewer.dims.set_current_step(0, 0)
    desk.viewer.scene.camera.zoom = 1
    assert panel.open(path)
    assert [x.name for x in desk.viewer.layers] == names
    assert desk.viewer.scene.camera.zoom == 7.5 and desk.viewer.dims.current_step[0] == 1
    assert not desk.child(QCheckBox, "snap").isChecked()
    pd.testing.assert_frame_equal(desk.corrections.atoms(), table)
    desk.same()
    desk.button("undo")
    assert len(desk.atoms.data) == 32
    # colours follow the species again
    desk.widget.editor.select([0])
    desk.button("mode")
    desk.hand.press("2")
    colour = {s: tuple(c) for s, c in zip(
        desk.atoms.features["species"], desk.atoms.border_color, strict=True)}  # fmt: skip
    assert colour["column"] != colour["bright column"]
    assert "species" in desk.status  # what this window has saved it may go on editing
    # another window
    from napari_atomlens.session.project import PROJECT, open_project

    second = open_project(path)
    assert second.read_only
    desk.atoms.metadata[PROJECT] = second
    n = len(desk.atoms.data)
    desk.atoms.selected_data = {0}
    desk.hand.press("Delete")
    assert len(desk.atoms.data) == n and "read-only" in desk.status
    desk.atoms.add([[0, 1.0, 1.0]])
    assert len(desk.atoms.data) == n
    done = len(desk.corrections.journal)
    desk.button("undo")
    assert len(desk.corrections.journal) == done and "read-only" in desk.status
    panel._opened.lock.release()


def test_lost_edits_are_offered(desk: Desk, tmp_path: Path) -> None:
    desk.start()
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    table = desk.corrections.atoms()
    desk.widget.editor.autosave.pause()  # what a crash does
    desk.viewer.layers.remove(desk.atoms)
    panel = desk.widget._project
    panel.look_for_unsaved()
    assert "1 edit of" in panel._note.text() and panel._restore.isVisible()
    desk.button("restore")
    pd.testing.assert_frame_equal(desk.corrections.atoms(), table)
    desk.same()
    desk.button("undo")
    assert len(desk.atoms.data) == 36
    assert len(list((tmp_path / "autosave").iterdir())) == 1


def test_points_of_somebody_else(desk: Desk) -> None:
    points = desk.viewer.add_points(np.random.default_rng(0).uniform(0, 60, (20, 2)), size=3)
    desk.viewer.add_image(lattice(), name="gold")
    # nothing is done to it before it is chosen
    assert desk.widget.editor is None and len(points.features.columns) == 0
    assert "Choose" in desk.status
    desk.child(QComboBox, "atoms").setCurrentText(points.name)
    assert desk.widget.editor.layer is points
    assert len(desk.corrections.atoms()) == 20 and points.features["atom_id"].is_unique
    desk.button("mode")
    desk.viewer.layers.selection.active = points
    points.selected_data = {0}
    desk.hand.press("Delete")
    assert len(points.data) == 19
    desk.button("undo")
    assert len(points.data) == 20


def test_no_atoms_is_a_sentence(desk: Desk) -> None:
    assert "Find the atoms" in desk.status
    assert not desk.child(QPushButton, "mode").isEnabled()
    desk.viewer.add_image(lattice())
    assert not desk.child(QPushButton, "mode").isEnabled()
    assert not any(isinstance(x, Points) for x in desk.viewer.layers)
    assert isinstance(desk.viewer.layers[0], Image)


def test_what_is_edited_is_seen(desk: Desk) -> None:
    atoms = desk.start()
    desk.button("mode")
    atoms.visible = False  # as where a movie is followed
    desk.button("mode")
    assert atoms.visible
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    assert len(atoms.data) == 35
    atoms.visible = False  # in the middle of editing: it says so, and does not go deaf
    mode = desk.child(QPushButton, "mode")
    assert not mode.isChecked() and "hidden" in desk.status
    desk.button("mode")
    assert atoms.visible and mode.isChecked()
    desk.hand.click(30, 30)
    desk.hand.press("Delete")
    assert len(atoms.data) == 34
    desk.same()


def test_a_hidden_layer_that_is_chosen_appears(desk: Desk) -> None:
    desk.viewer.add_image(lattice(), name="gold")
    points = desk.viewer.add_points(np.full((3, 2), 5.0), name="mine", visible=False)
    combo = desk.child(QComboBox, "atoms")
    k = next(k for k in range(combo.count()) if combo.itemText(k).startswith("mine"))
    combo.setCurrentIndex(k)
    assert points.visible and desk.widget.editor.layer is points


@pytest.mark.parametrize("how", ["scaled", "turned", "pyramid", "rgb"])
def test_the_mouse_finds_its_place_on_any_layer(desk: Desk, how: str) -> None:
    data: Any = lattice()
    place: dict[str, Any] = {"scale": (0.03, 0.02), "translate": (4, -3)}
    if how == "turned":
        place["rotate"] = 25
    if how == "pyramid":
        data, place["multiscale"] = [data, data[::2, ::2]], True
    if how == "rgb":
        data = np.repeat((127 * data / data.max()).astype(np.uint8)[..., None], 3, axis=-1)
        place["rgb"] = True
    source = desk.viewer.add_image(data, name="gold", **place)
    desk.run()
    desk.viewer.reset_view()
    desk.button("mode")
    atoms, hand = desk.atoms, desk.hand

    def world(y: float, x: float) -> tuple[float, float]:
        at = source.data_to_world((y, x))
        return float(at[0]), float(at[1])

    hand.click(*world(18, 30))
    (row,) = atoms.selected_data
    np.testing.assert_allclose(atoms.data[row], (18, 30), atol=1)
    hand.press("Delete")
    hand.click(*world(19, 29))  # beside the peak: drawn to it
    assert len(atoms.data) == 36
    np.testing.assert_allclose(atoms.data[-1], (18, 30), atol=0.3)
    desk.child(QCheckBox, "snap").setChecked(False)
    hand.drag(world(42, 42), world(45, 38))
    assert desk.corrections.journal.edits[-1].action == "move"
    np.testing.assert_allclose(
        desk.corrections.journal.edits[-1].after[0][
            desk.corrections.journal.columns.index("y_px")
        ], 45, atol=0.7,
    )  # fmt: skip
    desk.same()


def test_closed_and_opened_again_while_editing(desk: Desk) -> None:
    atoms = desk.start()
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    assert atoms.keymap and atoms.mouse_drag_callbacks
    desk.viewer.window.remove_dock_widget(desk.widget)
    desk.qtbot.waitUntil(lambda: not atoms.mouse_drag_callbacks, timeout=WAIT)
    assert not atoms.keymap
    atoms.selected_data = {0}
    atoms.remove_selected()  # with napari's own tool, while it is closed
    _, desk.widget = desk.viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    assert len(desk.corrections.journal) == 2 and desk.widget.editor.layer is atoms
    desk.button("undo")
    desk.button("undo")
    assert len(atoms.data) == 36
    desk.same()


def test_atoms_of_another_image_come_with_it(desk: Desk) -> None:
    desk.start()
    desk.viewer.add_image(lattice(4), name="silver")
    desk.run()
    combo, image = desk.child(QComboBox, "atoms"), desk.child(QComboBox, "image")
    for name in ("silver", "gold"):
        combo.setCurrentText(f"atoms · {name}")
        assert image.currentText() == name
    gold = desk.viewer.layers["atoms · gold"]
    desk.viewer.layers.remove(gold)
    assert desk.widget.editor.layer.name == "atoms · silver"
    assert not gold.mouse_drag_callbacks and not gold.keymap
    desk.viewer.layers.clear()
    assert desk.widget.editor is None and "Find the atoms" in desk.status
    assert not desk.child(QPushButton, "mode").isEnabled()


def test_pixels_exchanged_while_editing(desk: Desk) -> None:
    desk.start()
    desk.hand.click(18, 18)
    desk.hand.press("Delete")
    image = desk.viewer.layers["gold"]
    shifted = np.roll(image.data, 3, axis=1)
    image.data = shifted
    desk.hand.click(18, 20)
    np.testing.assert_allclose(desk.atoms.data[-1], (18, 21), atol=0.3)  # the peak of now


def test_the_keys_are_all_to_be_read(desk: Desk) -> None:
    box = desk.child(QCollapsible, "keys_box")
    box.expand(animate=False)
    desk.start()  # its species come while the box is open
    table = desk.child(KeysTable, "keys")
    lines = table.text().splitlines()
    assert any("Ctrl+Z" in line and "Undo" in line for line in lines)
    assert [line for line in lines if "bright column" in line] == ["<b>2</b> bright column"]
    desk.qtbot.wait(50)
    for label in table.findChildren(QLabel):
        if label.isVisible():
            assert label.width() >= label.sizeHint().width(), label.text()
            assert label.height() >= label.fontMetrics().height(), label.text()
    shown = [x for x in table.findChildren(QLabel) if x.isVisible()]
    assert len(shown) == 2 * len(lines) and table.height() >= table.sizeHint().height()
