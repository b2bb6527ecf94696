"""The Chemistry widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand import Hand, beats_of_layers
from napari.layers import Points, Shapes, Vectors
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QTableWidget,
    QTreeWidget,
)

import napari_atomlens
from napari_atomlens import graphs
from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.choose import generic
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.graphs.library import DefectLibrary
from napari_atomlens.graphs.rules import Rules, preset
from napari_atomlens.session.edits import actions, derived
from napari_atomlens.simulation.graphene_defects import Sheet, graphene_sheet
from napari_atomlens.widgets.chemistry.rules_table import RulesTable
from napari_atomlens.widgets.layers.atoms import Editor, editor_of
from napari_atomlens.widgets.layers.roles import KEY, STALE

WAIT = 20_000
PIXEL = 0.01  # nm
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    return graphene_sheet(
        (4.2, 4.2), [("Si1C3", (1, 1)), ("Si3C6", (3.2, 1)), ("Stone-Wales", (2.2, 3.2))], seed=1
    )


class Bench:
    """A viewer with an image, its atoms, and the widget."""

    def __init__(
        self, viewer: Any, qtbot: Any, sheet: Sheet, frames: int = 0, pyramid: bool = False
    ) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        side = 420
        image = np.zeros((side, side), np.float32)
        rows, cols = np.clip(np.rint(sheet.places_nm / PIXEL), 0, side - 1).astype(int).T
        image[rows, cols] = np.where(sheet.species == "Si", 5, 1)
        places = sheet.places_nm / PIXEL
        scale: tuple[float, ...] = (PIXEL, PIXEL)
        units: tuple[str, ...] = ("nm", "nm")
        if frames:
            image = np.stack([image] * frames)
            places = np.vstack([np.c_[np.full(len(places), f), places] for f in range(frames)])
            scale, units = (1.0, *scale), ("s", *units)
        species = np.tile(np.where(sheet.species == "Si", "bright column", "column"), frames or 1)
        self.image = image
        data = [image, image[::4, ::4]] if pyramid else image
        viewer.add_image(data, name="film", scale=scale, units=units, multiscale=pyramid)
        self.points = viewer.add_points(
            places, name="atoms", scale=scale, units=units,
            features={"species": species, "probability": np.full(len(places), 0.99)},
        )  # fmt: skip
        self.open()

    def open(self) -> None:
        """Open the dock."""
        self.dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-atomlens", "Chemistry"
        )

    def close(self) -> None:
        """Close the tab of the dock."""
        cross = self.dock.titleBarWidget().close_button
        self.qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def press(self, name: str) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def build(self) -> None:
        self.do("build")

    def do(self, name: str) -> None:
        """Press a button and wait until its job has ended."""
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.press(name)

    def delete(self, place: np.ndarray) -> None:
        """Select the atom nearest to a place and press Delete in the canvas."""
        self.viewer.layers.selection.active = self.points
        self.points.mode = "select"
        self.points.selected_data = {int(np.hypot(*(self.points.data - place).T).argmin())}
        Hand(self.viewer).press("Delete")

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def layer(self, role: str) -> Any:
        found = [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]
        assert len(found) == 1, [x.name for x in self.viewer.layers]
        return found[0]


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any, sheet: Sheet) -> Iterator[Bench]:
    made = Bench(make_napari_viewer(), qtbot, sheet)
    yield made
    made.widget.cleanup()


def test_one_click_gives_bonds_rings_and_defects(bench: Bench, sheet: Sheet) -> None:
    bench.build()
    bonds, rings, defects = (bench.layer(r) for r in ("bonds", "rings", "defects"))
    assert isinstance(bonds, Vectors) and isinstance(rings, Shapes) and isinstance(defects, Points)
    assert len(bonds.data) == len(sheet.bonds) and set(bonds.features) >= {"atom_a", "length_nm"}
    start, way = bonds.data[:, 0], bonds.data[:, 1]
    ends = np.vstack([start, start + way])
    gap = np.linalg.norm(ends[:, None] - sheet.places_nm / PIXEL, axis=2).min(axis=1)
    assert gap.max() < 1e-3
    sizes = np.bincount(rings.features["atoms"])
    assert sizes[7] >= 2 and sizes[6] > 100
    assert sorted(defects.features["formula"]) == ["5-7-7-5", "Si1C3", "Si3C6"]
    tree = bench.child(QTreeWidget, "types")
    assert tree.topLevelItemCount() == 3
    assert "3 defects of 3 types" in bench.status and "graphene" in bench.status
    for layer in (bonds, rings, defects):
        np.testing.assert_array_equal(layer.scale, bench.points.scale)
        assert layer.units == bench.points.units
    before = {x.unique_id for x in bench.viewer.layers}
    bench.build()
    assert {x.unique_id for x in bench.viewer.layers} == before


def test_bonds_and_defects_follow_corrections(bench: Bench, sheet: Sheet) -> None:
    editor = editor_of(bench.points)
    bench.build()
    before = len(bench.layer("bonds").data)
    silicon = sheet.centres_nm[0] / PIXEL
    ids = editor.corrections.columns(0).ids
    nearest = int(np.hypot(*(editor.corrections.columns(0).positions - silicon).T).argmin())
    editor.perform(actions.set_species, [int(ids[nearest])], "column")
    editor.corrections.derived.refresh()
    assert sorted(bench.layer("defects").features["formula"]) == ["5-7-7-5", "Si3C6"]
    assert bench.child(QTreeWidget, "types").topLevelItemCount() == 2
    editor.undo()
    editor.corrections.derived.refresh()
    assert "Si1C3" in set(bench.layer("defects").features["formula"])
    editor.perform(actions.delete, [int(ids[nearest])])
    editor.corrections.derived.refresh()  # on a slow machine it waits for the button
    assert len(bench.layer("bonds").data) == before - 3
    assert not editor.corrections.derived.stale()
    rings = bench.layer("rings")
    n_rings = len(editor.session.table("rings"))
    bench.qtbot.waitUntil(lambda: len(rings.data) == n_rings, timeout=WAIT)


def correcting(bench: Bench) -> Editor:
    """The atoms, which the dock Correct follows, too."""
    _, correct = bench.viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    correct.findChild(QComboBox, "atoms").setCurrentText("atoms")
    assert correct.editor is not None
    return correct.editor


def test_bonds_follow_beside_the_window_and_the_last_edit_counts(
    bench: Bench, sheet: Sheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = correcting(bench)
    bench.build()
    before = len(bench.layer("bonds").data)
    free, threads, rebuild = threading.Event(), [], graphs.rebuild_frames

    def slow(*args: Any) -> Any:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            free.wait(WAIT / 1000)
        return rebuild(*args)

    monkeypatch.setattr(graphs, "rebuild_frames", slow)
    middle = np.array([1.0, 2.6]) / PIXEL
    bench.delete(middle)
    bench.qtbot.waitUntil(lambda: len(threads) == 1, timeout=WAIT)
    derived = editor.corrections.derived
    assert derived.is_stale("bonds and defects") and not editor.session.stale()
    bench.delete(middle)  # another one, while the bonds are at work
    bench.qtbot.waitUntil(lambda: len(threads) == 2, timeout=WAIT)
    free.set()
    bench.qtbot.waitUntil(lambda: not derived.stale(), timeout=WAIT)
    assert threading.main_thread() not in threads
    graph = bond(
        editor.session.atoms(), Rules.from_dict(editor.session.provenance("bonds")["rules"])
    )
    bonds, rings = bench.layer("bonds"), bench.layer("rings")
    assert len(bonds.data) == len(graph.bonds) < before - 3
    bench.qtbot.waitUntil(lambda: len(rings.data) == len(graph.rings), timeout=WAIT)
    assert len(editor.session.table("defects")) == len(find_defects(graph)) > 3


def test_a_graph_that_is_built_meanwhile_is_not_replaced_by_one_of_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = correcting(bench)
    bench.build()
    free, begun, rebuild = threading.Event(), threading.Event(), graphs.rebuild_frames

    def slow(*args: Any) -> Any:
        begun.set()
        free.wait(WAIT / 1000)
        return rebuild(*args)

    monkeypatch.setattr(graphs, "rebuild_frames", slow)
    bench.delete(np.array([1.0, 2.6]) / PIXEL)
    bench.qtbot.waitUntil(begun.is_set, timeout=WAIT)
    bench.build()
    built = editor.session.table("bonds")
    free.set()
    bench.qtbot.wait(500)
    assert editor.session.table("bonds") is built and not editor.session.is_stale("bonds")


def test_an_edit_that_leaves_no_bonds_says_so_from_beside_the_window(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = correcting(bench)
    bench.build()

    def refuse(*args: Any) -> Any:
        raise ParameterError("These atoms cannot be bonded.")

    monkeypatch.setattr(graphs, "rebuild_frames", refuse)
    bench.delete(np.array([1.0, 2.6]) / PIXEL)
    bench.qtbot.waitUntil(lambda: "cannot be bonded" in bench.status, timeout=WAIT)
    assert editor.session.is_stale("bonds") and bench.layer("bonds").name.endswith(STALE)


def test_a_click_goes_to_the_defect(bench: Bench, sheet: Sheet) -> None:
    bench.build()
    tree = bench.child(QTreeWidget, "types")
    tops = [tree.topLevelItem(i) for i in range(3)]
    top = next(t for t in tops if t.text(0) == "Si3C6")
    tree.itemClicked.emit(top, 0)
    target = sheet.centres_nm[1]
    np.testing.assert_allclose(bench.viewer.scene.camera.center[-2:], target, atol=0.05)
    assert len(bench.layer("defects").selected_data) == 1


def test_rules_are_edited_saved_and_learned(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.child(QComboBox, "preset").setCurrentText("graphene-si")
    table = bench.child(QTableWidget, "bond_rules")
    row = next(
        r for r in range(table.rowCount())
        if {table.item(r, 0).text(), table.item(r, 1).text()} == {"Si", "C"}
    )  # fmt: skip
    table.item(row, 3).setText("120")  # no Si-C bond is that short
    bench.build()
    assert "Si3" in set(bench.layer("defects").features["formula"])
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "r.toml"), "")
    )
    bench.press("save")
    assert Rules.load(tmp_path / "r.toml").bounds(("Si", "C"))[1][0, 1] == pytest.approx(0.12)
    table.item(row, 3).setText("nonsense")
    bench.build()
    assert "not a number" in bench.status
    bench.child(QComboBox, "preset").setCurrentText("auto")
    bench.child(QComboBox, "preset").setCurrentText("graphene-si")
    bench.do("learn")
    assert "distances in this image" in bench.status
    bench.build()
    assert "Si3C6" in set(bench.layer("defects").features["formula"])


def test_defects_go_to_a_library_and_are_found_there(bench: Bench, tmp_path: Path) -> None:
    bench.do("add")
    assert "no defects" in bench.status
    bench.build()
    bench.do("add")
    assert "Open a library" in bench.status
    bench.widget.browser.open(tmp_path / "group.aldl")
    bench.do("add")
    assert "3 defects added" in bench.status
    gallery = bench.child(QListWidget, "gallery")
    assert gallery.count() == 3
    bench.child(QLineEdit, "search").setText("Si3")
    assert gallery.count() == 1 and gallery.item(0).text() == "Si3C6"
    gallery.item(0).setSelected(True)
    notes = bench.child(QLineEdit, "notes")
    notes.setText("seen twice")
    notes.editingFinished.emit()
    with DefectLibrary(tmp_path / "group.aldl") as library:
        found = library.get(int(library.table(formula="Si3C6")["id"][0]))
    assert found.notes == "seen twice" and found.source == "film"
    assert found.patch is not None and found.patch.shape[0] >= 160
    assert found.provenance["rules"]["name"] == "graphene-si"
    bench.press("similar")
    assert gallery.count() == 2


def test_a_movie_shows_the_rings_of_its_frame(
    make_napari_viewer: Callable[..., Any], qtbot: Any, sheet: Sheet
) -> None:
    bench = Bench(make_napari_viewer(), qtbot, sheet, frames=3)
    bench.build()
    assert len(bench.layer("bonds").data) == 3 * len(sheet.bonds)
    assert len(bench.layer("defects").data) == 9
    bench.viewer.dims.set_current_step(0, 2)
    rings = bench.layer("rings")
    qtbot.waitUntil(lambda: set(rings.features["frame"]) == {2}, timeout=WAIT)
    bench.widget.go_to(0)
    assert bench.viewer.dims.current_step[0] == 0
    bench.widget.cleanup()


def test_layers_can_be_hidden_and_removed(bench: Bench) -> None:
    bench.build()
    box = bench.child(QCheckBox, "show_rings")
    box.setChecked(False)
    assert not bench.layer("rings").visible
    bench.viewer.layers.remove(bench.layer("bonds"))
    bench.build()
    assert len(bench.layer("bonds").data)
    bench.viewer.layers.remove(bench.points)
    assert "Find atoms first" in bench.status
    assert not bench.child(QPushButton, "build").isEnabled()


# ---------------------------------------------------- the dock is closed, the layers stay true


def test_bonds_follow_the_atoms_when_the_dock_is_closed(bench: Bench, sheet: Sheet) -> None:
    bench.viewer.window.show()
    bench.build()
    bonds, defects = bench.layer("bonds"), bench.layer("defects")
    before, n_defects = len(bonds.data), len(defects.data)
    bench.close()
    bench.delete(np.array([100.0, 250.0]))  # inside the perfect crystal
    bench.qtbot.waitUntil(lambda: len(bonds.data) == before - 3, timeout=WAIT)
    ends = np.vstack([bonds.data[:, 0], bonds.data.sum(axis=1)])
    gap = np.linalg.norm(ends[:, None] - bench.points.data, axis=2).min(axis=1)
    assert gap.max() < 1e-3  # every bond ends at an atom that is there
    assert len(defects.data) == n_defects + 1 and STALE not in bonds.name
    session = editor_of(bench.points).session
    assert len(session.table("bonds")) == before - 3 and not session.is_stale("bonds")
    bench.qtbot.waitUntil(
        lambda: len(bench.layer("rings").data) == len(session.table("rings")), timeout=WAIT
    )


def test_what_is_not_made_anew_is_marked_until_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "AT_ONCE_S", 0.0)  # a slow machine
    bench.viewer.window.show()
    bench.child(QComboBox, "preset").setCurrentText("graphene-si-published")
    bench.build()
    layers = [bench.layer(r) for r in ("bonds", "rings", "defects")]
    before = len(layers[0].data)
    bench.close()
    bench.delete(np.array([100.0, 250.0]))
    session = editor_of(bench.points).session
    assert session.state("bonds") == session.state("defects") == "stale"
    assert all(x.name.endswith(STALE) for x in layers)
    session.update("bonds")  # by the rules of before
    assert session.provenance("bonds")["rules"]["name"] == "graphene-si-published"
    assert len(layers[0].data) == before - 3 == len(session.table("bonds"))
    bench.qtbot.waitUntil(lambda: len(layers[1].data) == len(session.table("rings")), timeout=WAIT)
    assert not any(STALE in x.name for x in layers)


def test_bonds_and_rings_of_an_atom_that_is_gone_are_not_drawn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """napari stopped with an error where a bond ended nowhere, and was shown."""
    monkeypatch.setattr(derived, "AT_ONCE_S", 0.0)  # a slow machine: they stay as they are
    bench.viewer.window.show()
    for name in ("bonds", "rings"):
        bench.child(QCheckBox, f"show_{name}").setChecked(False)
    bench.build()
    bench.delete(np.array([100.0, 250.0]))
    session = editor_of(bench.points).session
    assert session.state("bonds") == session.state("rings") == "stale"
    for name, fewest in (("bonds", 1), ("rings", 1)):
        bench.child(QCheckBox, f"show_{name}").setChecked(True)
        n = len(session.table(name))
        bench.qtbot.waitUntil(
            lambda name=name, n=n: 0 < len(bench.layer(name).data) <= n - 1, timeout=WAIT
        )
        layer = bench.layer(name)
        assert len(layer.data) <= n - fewest and np.isfinite(np.concatenate(layer.data)).all()
        assert len(layer.features) == len(layer.data)
        layer.refresh()  # as when the slider moves
    for name in ("bonds", "rings"):
        bench.child(QCheckBox, f"show_{name}").setChecked(False)
        bench.child(QCheckBox, f"show_{name}").setChecked(True)


def test_a_dock_that_is_opened_again_knows_what_there_is(bench: Bench, tmp_path: Path) -> None:
    bench.viewer.window.show()
    emitters = [
        bench.viewer.layers.events.removed, bench.viewer.dims.events.point,
        bench.points.events.data, bench.points.events.scale,
    ]  # fmt: skip
    bench.build()
    before = [len(e.callbacks) for e in emitters]
    bench.close()
    n_open = before
    bench.qtbot.waitUntil(lambda: [len(e.callbacks) for e in emitters] != n_open, timeout=WAIT)
    before = [len(e.callbacks) for e in emitters]
    for _ in range(3):
        bench.open()
        assert bench.child(QTreeWidget, "types").topLevelItemCount() == 3
        assert len(bench.viewer.layers) == 5
        bench.close()
    bench.qtbot.waitUntil(lambda: [len(e.callbacks) for e in emitters] == before, timeout=WAIT)
    bench.open()
    bench.widget.browser.open(tmp_path / "group.aldl")
    bench.do("add")
    assert "3 defects added" in bench.status


def test_two_sets_of_atoms_have_bonds_of_their_own(bench: Bench, sheet: Sheet) -> None:
    bench.build()
    other = bench.viewer.add_points(
        bench.points.data[:200], name="other", scale=bench.points.scale, units=bench.points.units
    )
    assert bench.child(QComboBox, "atoms").currentText() == "other"
    assert not bench.child(QTreeWidget, "types").topLevelItemCount()
    bench.build()
    owners = [x.metadata[KEY]["source_id"] for x in bench.viewer.layers if "bonds" in x.name]
    assert set(owners) == {str(bench.points.unique_id), str(other.unique_id)}
    bench.child(QComboBox, "atoms").setCurrentText("atoms")
    assert bench.child(QTreeWidget, "types").topLevelItemCount() == 3
    bench.viewer.layers.remove(other)
    bench.delete(sheet.centres_nm[0] / PIXEL)
    session = editor_of(bench.points).session
    bench.qtbot.waitUntil(lambda: not session.is_stale("bonds"), timeout=WAIT)


def test_the_finest_level_of_a_pyramid_counts(
    make_napari_viewer: Callable[..., Any], qtbot: Any, sheet: Sheet, tmp_path: Path
) -> None:
    bench = Bench(make_napari_viewer(), qtbot, sheet, pyramid=True)
    bench.build()
    assert "3 defects" in bench.status
    bench.widget.browser.open(tmp_path / "group.aldl")
    bench.do("add")
    with DefectLibrary(tmp_path / "group.aldl") as library:
        found = [library.get(int(i)) for i in library.table()["id"]]
    assert len(found) == 3
    for one in found:
        assert one.pixel_size_nm == pytest.approx(PIXEL, rel=0.02)
        assert one.patch is not None and one.patch.max() >= 1  # the atoms of the finest level
    bench.widget.cleanup()


def test_the_work_is_done_in_a_thread_and_cancelled_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    free = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        free.wait(30)
        return bond(*args, **kwargs)

    monkeypatch.setattr(napari_atomlens.graphs, "bond", slow)
    bench.press("build")
    bench.qtbot.waitUntil(lambda: bool(threads), timeout=WAIT)
    assert threading.get_ident() not in threads
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=2_000):  # slack: others work, too
        bench.press("build")
    assert bench.status == "Cancelled." and len(bench.viewer.layers) == 2
    free.set()
    with beats_of_layers(bench.viewer) as at:
        bench.build()
    assert len(at) == 3 and at[0] < at[1] < at[2]  # the window is free between two layers
    assert "3 defects of 3 types" in bench.status


def test_lengths_of_an_image_without_pixel_size_are_not_called_pm(qtbot: Any) -> None:
    """Columns 12 px apart were bonded from 6000 to 15600 pm."""
    table = RulesTable()
    qtbot.addWidget(table)
    rules = generic(12.0, ("column",))
    table.set_rules(rules, in_pixels=True)
    bonds = table.findChild(QTableWidget, "bond_rules")
    assert [bonds.horizontalHeaderItem(c).text() for c in (2, 3)] == ["min px", "max px"]
    assert [bonds.item(0, c).text() for c in (2, 3)] == ["6.0", "15.6"]
    assert table.rules() == rules
    bonds.item(0, 3).setText("14.5")
    assert table.rules().bonds[0].max_nm == 14.5
    table.set_rules(preset("graphene"))
    assert bonds.horizontalHeaderItem(2).text() == "min pm" and table.rules() == preset("graphene")


def test_the_table_of_rules_says_px_where_nobody_knows_the_pixel_size(
    make_napari_viewer: Callable[..., Any], qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    places = 12.0 * np.argwhere(np.ones((6, 6))) + 6  # three neighbours as often as four
    viewer.add_image(np.zeros((96, 96), np.float32), name="image")
    viewer.add_points(places, name="columns")
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Chemistry")
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(dock.findChild(QPushButton, "build"), Qt.MouseButton.LeftButton)
    bonds = dock.findChild(QTableWidget, "bond_rules")
    assert bonds.horizontalHeaderItem(2).text() == "min px", dock.status.text()
    assert float(bonds.item(0, 2).text()) == pytest.approx(6, abs=0.1)
