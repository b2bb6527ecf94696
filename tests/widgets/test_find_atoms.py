"""The Find atoms widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_analysis import SPACING, FakeAnalysis, lattice
from napari.layers import Image, Labels, Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDockWidget, QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens import tables
from napari_atomlens.widgets.base import images
from napari_atomlens.widgets.base.legend import Legend
from napari_atomlens.widgets.layers.roles import KEY

WAIT = 60_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


class Bench:
    """A viewer with the widget docked, and hands to use it."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, "run"), Qt.MouseButton.LeftButton)

    def run(self) -> None:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()
        assert not self.widget.is_running

    def choose(self, name: str, text: str) -> None:
        self.child(QComboBox, name).setCurrentText(text)

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def layers(self, role: str) -> list[Any]:
        return [
            layer for layer in self.viewer.layers if layer.metadata.get(KEY, {}).get("role") == role
        ]

    def layer(self, role: str) -> Any:
        found = self.layers(role)
        assert len(found) == 1, [layer.name for layer in self.viewer.layers]
        return found[0]


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    viewer = make_napari_viewer()
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(viewer, qtbot))
        return made[-1]

    bench = make()
    yield bench
    bench.widget.cleanup()


def test_one_click_makes_all_layers(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(
        lattice(), name="gold", scale=(0.02, 0.02), units=("nm", "nm"), translate=(3, 4)
    )
    bench.run()
    atoms, contours = bench.layer("atoms"), bench.layer("contours")
    probability, unfamiliar = bench.layer("probability"), bench.layer("unfamiliar")
    assert isinstance(atoms, Points) and isinstance(contours, Shapes)
    assert isinstance(probability, Image) and isinstance(unfamiliar, Image)
    assert bench.viewer.layers.index(atoms) == len(bench.viewer.layers) - 1
    assert not probability.visible and tuple(probability.contrast_limits) == (0, 1)
    assert probability.data.dtype == np.float16
    assert atoms.data.shape == (36, 2) and contours.nshapes == 36
    for layer in (atoms, contours, probability, unfamiliar):
        np.testing.assert_array_equal(layer.scale, source.scale)
        np.testing.assert_array_equal(layer.translate, source.translate)
        assert layer.units == source.units and layer.axis_labels == source.axis_labels
    assert set(tables.ATOMS) <= set(atoms.features)
    assert atoms.features["species"].value_counts().to_dict() == {
        "column": 35,
        "bright column": 1,
        "": 0,
    }
    colour = dict(zip(atoms.features["species"], map(tuple, atoms.border_color), strict=True))
    assert colour["column"] != colour["bright column"]
    assert "36 atoms" in bench.status
    assert "Quality: short pairs 0.0 %, gaps in the lattice 0.0 %, atoms off" in bench.status
    assert bench.widget.findChild(QLabel, "found_spacing").text() == "12.0 px = 0.24 nm"
    assert bench.child(Legend, "legend").text() == "column 35\nbright column 1"
    assert threading.get_ident() not in fake.threads
    run = atoms.metadata[KEY]["runs"][0]
    assert run["quality"]["0"]["short_pairs"] == 0
    assert run["parameters"]["min_probability"] == 0.5 and run["frames"] == [0]


def test_a_second_run_updates_the_layers_in_place(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(lattice())
    bench.run()
    before = {layer.unique_id for layer in bench.viewer.layers}
    bench.layer("atoms").name = "mine"  # known by its metadata, not by its name
    source.name = "renamed"
    assert bench.child(QComboBox, "image").currentText() == "renamed"
    bench.child(QDoubleSpinBox, "min_probability").setValue(0.3)
    source.data = lattice(5)
    bench.run()
    assert {layer.unique_id for layer in bench.viewer.layers} == before
    assert bench.layer("atoms").data.shape == (25, 2)
    assert len(bench.layer("atoms").features) == 25
    assert bench.layer("contours").nshapes == 25
    assert bench.layer("probability").data.shape == (60, 60)
    assert fake.params is not None and fake.params.min_probability == 0.3
    runs = bench.layer("atoms").metadata[KEY]["runs"]
    assert len(runs) == 1 and runs[0]["parameters"]["min_probability"] == 0.3


def test_parameters_come_from_the_form(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    spacing = bench.child(QDoubleSpinBox, "spacing_px")
    assert spacing.text() == "auto" and spacing.toolTip()
    spacing.setValue(11.5)
    bench.choose("refine", "off")
    bench.choose("contours", "none")
    for name in ("probability", "unfamiliar"):
        bench.child(QCheckBox, name).setChecked(False)
    bench.run()
    assert fake.params is not None
    assert (fake.params.spacing_px, fake.params.refine, fake.params.contours) == (
        11.5,
        "off",
        False,
    )
    assert len(bench.viewer.layers) == 2 and bench.layer("atoms")
    bench.viewer.layers.remove(bench.layer("atoms"))
    bench.child(QCheckBox, "atoms").setChecked(False)
    bench.run()
    assert len(bench.viewer.layers) == 1 and bench.status.startswith("36 atoms")


def test_the_users_atoms_are_kept(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(), scale=(0.1, 0.1), units=("nm", "nm"))
    bench.run()
    atoms = bench.layer("atoms")
    atoms.selected_data = {3}
    atoms.add([[36.0, 37.0]])
    new = atoms.features.iloc[-1]
    assert new["source"] == "user" and new["edited"] and np.isnan(new["probability"])
    assert new["species"] == "column" and (new["y_px"], new["x_px"]) == (36, 37)
    assert new["y_nm"] == pytest.approx(3.6)
    atoms.add([[48.0, 49.0]])
    assert atoms.features["atom_id"].is_unique
    moved = int(atoms.features["atom_id"][0])
    data = atoms.data.copy()
    data[0] += 1.0
    with atoms.events.data.blocker():
        atoms.data = data  # even where no event tells of it
    bench.run()
    features = bench.layer("atoms").features
    users = features[features["source"] == "user"]
    assert len(features) == 38 and len(users) == 3
    assert moved in set(users["atom_id"]) and features["atom_id"].is_unique
    np.testing.assert_allclose(
        bench.layer("atoms").data, features[["y_px", "x_px"]].to_numpy(float)
    )
    bench.run()
    assert len(bench.layer("atoms").features) == 38


def test_deleted_atoms_do_not_come_back(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    atoms = bench.layer("atoms")
    place = atoms.data[7].copy()
    atoms.selected_data = {7, 20}
    atoms.remove_selected()
    atoms.features.loc[3, "species"] = "bright column"
    atoms.events.features()
    bench.run()
    assert len(atoms.data) == 34 and len(atoms.features) == 34
    assert not (np.abs(atoms.data - place).max(1) < 1).any()
    assert (atoms.features["species"] == "bright column").sum() == 2
    assert bench.layer("contours").nshapes == 34
    assert set(bench.layer("contours").features["atom_id"]) == set(atoms.features["atom_id"])


def test_an_atom_added_while_the_movie_runs_is_kept(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(4, frames=4))
    bench.viewer.dims.set_current_step(0, 0)
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bool(bench.layers("atoms")), timeout=WAIT)
    atoms = bench.layer("atoms")
    atoms.add([[0, 12.0, 12.0]])
    atoms.add([[2, 12.0, 12.0]])  # in a frame that is still to come
    assert atoms.features["species"][3] == "column"
    atoms.features.loc[3, "species"] = "bright column"
    atoms.events.features()
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        fake.hold.set()
    assert len(atoms.data) == 66 and atoms.features["atom_id"].is_unique
    users = atoms.features[atoms.features["source"] == "user"]
    assert sorted(users["frame"]) == [0, 0, 2] and list(users["species"]).count("column") == 2


def test_dragging_an_atom_marks_it(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    atoms = bench.layer("atoms")
    atoms.data[5] += 0.7  # what a drag does
    atoms.events.data(value=atoms.data, action="changed", data_indices=(5,), vertex_indices=((),))
    row = atoms.features.iloc[5]
    assert row["edited"] and row["source"] == "user" and row["y_px"] == atoms.data[5, 0]
    assert np.isnan(row["amplitude"]) and not row["fit_ok"]
    assert not atoms.features["edited"].drop(5).any()


def test_the_current_frame_of_a_movie_comes_first(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(lattice(4, frames=5), scale=(1, 0.5, 0.5))
    bench.viewer.dims.set_current_step(0, 3)
    assert bench.child(QComboBox, "frames").isVisibleTo(bench.widget)
    bench.run()
    assert fake.frames == [3, 4, 0, 1, 2]
    atoms, contours = bench.layer("atoms"), bench.layer("contours")
    assert atoms.data.shape == (5 * 16, 3)
    np.testing.assert_array_equal(np.bincount(atoms.data[:, 0].astype(int)), [16] * 5)
    assert isinstance(contours, Labels) and contours.contour > 0
    zoom = contours.data.shape[1] // source.data.shape[1]
    assert zoom == 4 and contours.data.shape == (5, 4 * 48, 4 * 48)
    assert [len(np.unique(frame)) for frame in contours.data] == [17] * 5
    # the finer labels lie where the image does: edges of the first and of the last pixel
    for corner in (-0.5, 47.5):
        fine = zoom * corner + (zoom - 1) / 2
        np.testing.assert_allclose(
            contours.data_to_world((0, fine, fine)), source.data_to_world((0, corner, corner))
        )
    label = contours.data[(0, *(4 * atoms.data[0, 1:].astype(int) + 1))]
    assert label > 0
    assert bench.layer("probability").data.shape == source.data.shape
    assert (bench.layer("probability").data.max(axis=(1, 2)) > 0.5).all()
    assert "80 atoms in 5 frames" in bench.status


def test_one_frame_of_a_movie_leaves_the_others(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(4, frames=3))
    bench.viewer.dims.set_current_step(0, 0)
    bench.run()
    bench.viewer.dims.set_current_step(0, 1)
    bench.choose("frames", "this frame")
    bench.run()
    assert fake.frames == [1]
    assert bench.layer("atoms").data.shape == (48, 3)
    runs = bench.layer("atoms").metadata[KEY]["runs"]
    assert [run["frames"] for run in runs] == [[0, 2], [1]]


def test_shapes_of_a_movie_follow_the_slider(bench: Bench, fake: FakeAnalysis) -> None:
    movie = lattice(4, frames=3)
    movie[2, :, :24] = 0
    bench.viewer.add_image(movie)
    bench.viewer.dims.set_current_step(0, 0)
    bench.choose("contours", "Shapes")
    bench.run()
    shapes = bench.layer("contours")
    assert isinstance(shapes, Shapes) and shapes.nshapes == 16
    assert {float(s[0, 0]) for s in shapes.data} == {0.0}
    bench.viewer.dims.set_current_step(0, 2)
    bench.qtbot.waitUntil(lambda: shapes.nshapes != 16, timeout=WAIT)
    assert {float(s[0, 0]) for s in shapes.data} == {2.0}
    drawn = shapes.nshapes
    shapes.add(shapes.data[0] + [0, 1, 1], shape_type="polygon")
    bench.viewer.dims.set_current_step(0, 0)
    bench.qtbot.waitUntil(lambda: shapes.nshapes == 16, timeout=WAIT)
    bench.viewer.dims.set_current_step(0, 2)
    bench.qtbot.waitUntil(lambda: shapes.nshapes == drawn + 1, timeout=WAIT)
    assert list(shapes.features["edited"]) == [False] * drawn + [True]
    bench.choose("frames", "this frame")
    bench.run()
    assert list(shapes.features["edited"]).count(True) == 1


def test_many_outlines_become_labels(
    bench: Bench, fake: FakeAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_atomlens.widgets.layers import contours

    bench.viewer.add_image(lattice())
    bench.run()
    assert isinstance(bench.layer("contours"), Shapes)
    monkeypatch.setattr(contours, "MAX_SHAPES", 10)
    bench.run()
    labels = bench.layer("contours")
    assert isinstance(labels, Labels) and labels.data.max() == 36
    assert len(labels.features) == 36


def test_cancel_keeps_the_frames_that_are_done(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(4, frames=6))
    bench.viewer.dims.set_current_step(0, 0)
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bool(bench.layers("atoms")), timeout=WAIT)
    button = bench.child(QPushButton, "run")
    assert bench.widget.is_running and button.text() == "Cancel"
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click()
        assert button.text() == "Cancelling…" and not button.isEnabled()
    assert button.text() == "Find atoms" and button.isEnabled()
    assert bench.layer("atoms").data.shape == (16, 3)
    assert bench.status == "Cancelled; 1 of 6 frames are done."
    fake.hold = None
    bench.run()
    assert bench.layer("atoms").data.shape == (96, 3)


@pytest.mark.parametrize("which", ["source", "atoms", "probability"])
def test_a_layer_removed_while_running(bench: Bench, fake: FakeAnalysis, which: str) -> None:
    source = bench.viewer.add_image(lattice(4, frames=4), name="gold")
    bench.viewer.dims.set_current_step(0, 0)
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bool(bench.layers("atoms")), timeout=WAIT)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.viewer.layers.remove(source if which == "source" else bench.layer(which))
        fake.hold.set()
    if which == "source":
        assert bench.status == "Stopped: the layer gold was removed."
        assert bench.layer("atoms").data.shape == (16, 3)
    elif which == "atoms":
        assert bench.status == "Stopped: the layer of the atoms was removed."
        assert not bench.layers("atoms")
    else:
        assert not bench.layers("probability")
        assert bench.layer("atoms").data.shape == (64, 3)


def test_a_constant_image_gives_an_empty_table_and_a_sentence(
    bench: Bench, fake: FakeAnalysis
) -> None:
    source = bench.viewer.add_image(lattice())
    bench.run()
    source.data = np.ones((40, 40))
    bench.run()
    assert bench.status == "The image is constant: every pixel has the same value."
    atoms = bench.layer("atoms")
    assert atoms.data.shape == (0, 2) and set(tables.ATOMS) <= set(atoms.features)
    assert bench.layer("contours").nshapes == 0
    atoms.add([[5.0, 6.0]])
    assert atoms.features["source"].iloc[0] == "user" and atoms.features["atom_id"].iloc[0] > 0
    source.data = lattice()
    bench.run()
    assert len(bench.layer("atoms").data) in (36, 37)


def test_where_nothing_is_found_no_layer_is_made(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(np.ones((3, 40, 40)))
    bench.run()
    assert list(bench.viewer.layers) == [source]
    assert "Frame" in bench.status and "constant" in bench.status
    source.data = lattice(6, frames=3)[:, :40, :40]
    bench.run()
    assert len(bench.viewer.layers) == 5 and len(bench.layer("atoms").data) > 0


def test_a_new_run_says_what_the_layer_holds_and_how_many_edits_it_kept(
    bench: Bench, fake: FakeAnalysis
) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    assert bench.status.startswith("36 atoms") and "kept" not in bench.status
    atoms = bench.layer("atoms")
    for row in (3, 7):
        atoms.selected_data = {row}
        atoms.remove_selected()
    atoms.add([[3.0, 2.0]])
    bench.run()
    assert len(atoms.data) == 35
    assert bench.status.startswith("35 atoms") and "; 3 edits kept." in bench.status


def test_errors_are_sentences(bench: Bench, fake: FakeAnalysis) -> None:
    from napari.utils.notifications import notification_manager

    bench.viewer.add_image(np.full((40, 40), np.nan), contrast_limits=(0, 1))
    before = len(notification_manager.records)
    bench.run()
    assert bench.status == "The image holds no finite number."
    told = [r.message for r in notification_manager.records[before:]]
    assert told == [bench.status]
    assert len(bench.viewer.layers) == 1


def test_four_axes_are_refused(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(np.zeros((2, 2, 20, 20)), contrast_limits=(0, 1))
    bench.run()
    assert "4 axes" in bench.status and not fake.frames


def test_colour_pictures_are_made_grey(bench: Bench, fake: FakeAnalysis) -> None:
    grey = (100 * lattice() / lattice().max()).astype(np.uint8)
    bench.viewer.add_image(np.repeat(grey[..., None], 3, axis=-1), rgb=True)
    bench.run()
    assert bench.layer("atoms").data.shape == (36, 2)
    bench.viewer.layers.clear()
    bench.viewer.add_image(np.repeat(grey[None, ..., None], 3, axis=-1), rgb=True)
    bench.run()
    assert bench.layer("atoms").data.shape == (36, 3)


def test_dask_movies_are_read_in_the_thread(bench: Bench, fake: FakeAnalysis) -> None:
    import dask.array as da

    bench.viewer.add_image(da.from_array(lattice(4, frames=3), chunks=(1, -1, -1)))
    bench.run()
    assert bench.layer("atoms").data.shape == (48, 3)


def test_pixel_size_comes_from_the_layer(bench: Bench, fake: FakeAnalysis) -> None:
    box = bench.child(QDoubleSpinBox, "pixel_size_nm")
    first = bench.viewer.add_image(lattice())
    assert box.text() == "unknown"
    bench.run()
    assert fake.pixel_size is None
    first.scale, first.units = (0.21, 0.2), ("angstrom", "angstrom")
    assert box.value() == pytest.approx(0.02)
    bench.run()
    assert fake.pixel_size == pytest.approx((0.021, 0.02))
    np.testing.assert_allclose(bench.layer("atoms").scale, first.scale)
    assert bench.layer("atoms").units == first.units
    assert bench.layer("atoms").features["x_nm"].notna().all()
    box.setValue(0.05)
    bench.run()
    assert fake.pixel_size == (0.05, 0.05)
    np.testing.assert_allclose(first.scale, (0.21, 0.2))  # the layer is the user's


def test_the_choice_follows_the_layer_list(bench: Bench, fake: FakeAnalysis) -> None:
    combo, button = bench.child(QComboBox, "image"), bench.child(QPushButton, "run")
    assert combo.count() == 0 and not button.isEnabled()
    a = bench.viewer.add_image(lattice(), name="a")
    bench.viewer.add_labels(np.zeros((5, 5), int))
    bench.viewer.add_points([[1, 1]])
    assert [combo.itemText(i) for i in range(combo.count())] == ["a"] and button.isEnabled()
    bench.viewer.add_image(lattice(), name="b")
    assert combo.currentText() == "b"  # what was just opened ...
    combo.setCurrentText("a")
    c = bench.viewer.add_image(lattice(), name="c")
    assert combo.currentText() == "a"  # ... until the user has chosen
    bench.viewer.layers.remove(c)
    bench.run()
    assert [combo.itemText(i) for i in range(combo.count())] == ["b", "a"]  # no maps of ours
    combo.setCurrentText("b")
    bench.run()
    assert len(bench.layers("atoms")) == 2
    bench.viewer.layers.remove(a)
    assert [combo.itemText(i) for i in range(combo.count())] == ["b"]


def test_the_map_can_show_each_class(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    combo = bench.child(QComboBox, "map")
    names = [combo.itemText(i) for i in range(combo.count())]
    assert names == ["any atom", "column", "bright column", "contamination"]
    assert bench.layer("probability").data.max() > 0.5
    combo.setCurrentText("contamination")
    assert bench.layer("probability").data.max() == 0
    bench.run()
    assert combo.currentText() == "contamination"
    assert bench.layer("probability").data.max() == 0


def test_closing_the_dock_stops_the_worker(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(4, frames=4))
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bool(bench.layers("atoms")), timeout=WAIT)
    gone: list[bool] = []
    bench.widget.destroyed.connect(lambda: gone.append(True))
    bench.viewer.window.remove_dock_widget(bench.widget)
    bench.qtbot.waitUntil(fake.ended.is_set, timeout=WAIT)
    bench.qtbot.waitUntil(lambda: bool(gone), timeout=WAIT)
    bench.qtbot.waitUntil(lambda: not bench.widget.is_running, timeout=WAIT)
    assert len(bench.layer("atoms").data) == 16
    bench.viewer.add_image(lattice(), name="later")  # and it listens no more
    assert len(bench.layer("atoms").data) == 16
    bench.layer("atoms").add([[0.0, 1.0, 2.0]])
    again = Bench(bench.viewer, bench.qtbot)
    assert again.widget is not bench.widget
    fake.hold = None
    again.choose("image", bench.layer("atoms").metadata[KEY]["source_name"])
    again.run()
    atoms = again.layer("atoms")
    assert len(atoms.data) == 65 and atoms.features["atom_id"].is_unique
    assert (atoms.features["source"] == "user").sum() == 1
    again.widget.cleanup()


def test_a_closed_dock_is_destroyed_by_the_window(bench: Bench, fake: FakeAnalysis) -> None:
    """Left to Python, it was destroyed in a thread that happened to tidy up: the process died."""
    bench.viewer.add_image(lattice(), name="gold")
    bench.run()
    threads: list[int] = []
    bench.widget.destroyed.connect(lambda: threads.append(threading.get_ident()))
    (outer,) = [
        x for x in bench.viewer.window._qt_window.findChildren(QDockWidget)
        if x.isAncestorOf(bench.widget)
    ]  # fmt: skip
    bench.qtbot.mouseClick(outer.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
    bench.qtbot.waitUntil(lambda: bool(threads), timeout=WAIT)
    assert threads == [threading.get_ident()]


def test_closing_the_viewer_stops_the_worker(
    make_napari_viewer: Callable[..., Any], qtbot: Any, fake: FakeAnalysis
) -> None:
    bench = Bench(make_napari_viewer(), qtbot)
    bench.viewer.add_image(lattice(4, frames=4))
    fake.hold = threading.Event()
    bench.click()
    qtbot.waitUntil(lambda: bool(fake.frames), timeout=WAIT)
    bench.viewer.close()
    qtbot.waitUntil(fake.ended.is_set, timeout=WAIT)


def test_unexpected_errors_end_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari.utils.notifications import notification_manager

    from napari_atomlens.runs import frame as loop

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("oops")
        yield

    monkeypatch.setattr(loop, "analyze_frames", broken)
    shown: list[Any] = []
    monkeypatch.setattr(notification_manager, "receive_error", lambda *a: shown.append(a))
    bench.viewer.add_image(lattice())
    bench.run()
    assert "unexpected" in bench.status and "KeyError" in bench.status
    assert len(shown) == 1


def test_many_small_frames_are_drawn_in_batches(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(3, frames=60))
    bench.viewer.dims.set_current_step(0, 0)
    draws: list[int] = []
    bench.widget.job.results.connect(lambda results: draws.append(len(results)))
    bench.run()
    assert draws[0] == 1 and sum(draws) == 60 and len(draws) < 20
    assert bench.layer("atoms").data.shape == (540, 3)


def test_a_model_that_the_list_leaves_out_is_named(
    make_napari_viewer: Callable[..., Any],
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    (tmp_path / "gold.safetensors").write_bytes(b"no model")
    bench = Bench(make_napari_viewer(), qtbot)
    assert "gold.safetensors" in bench.child(QLabel, "models_left_out").text()
    models = bench.child(QComboBox, "model")
    assert "gold" not in [models.itemText(k) for k in range(models.count())]
    bench.widget.cleanup()
    (tmp_path / "gold.safetensors").unlink()
    bench = Bench(make_napari_viewer(), qtbot)
    assert bench.widget.findChild(QLabel, "models_left_out") is None
    bench.widget.cleanup()


def test_opening_the_widget_does_not_load_torch(bench: Bench) -> None:
    bench.viewer.add_image(lattice())
    if "torch" in sys.modules:
        pytest.skip("another test has loaded it")
    assert bench.child(QComboBox, "model").itemText(0) == "auto"


def test_nobody_needs_the_spacing(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    assert bench.layer("atoms").metadata[KEY]["spacing_px"] == SPACING
    assert images.pixel_size_nm((1, 1), bench.layer("atoms").units) is None


def test_auto_says_which_model_it_took_and_why(bench: Bench) -> None:
    from napari_atomlens import simulate

    image, _ = simulate("honeycomb", (160, 160), 12.0, counts=3000)
    size = 0.142 / 12
    layer = bench.viewer.add_image(image, name="graphene", scale=(size, size), units=("nm", "nm"))
    bench.run()
    assert "model graphene" in bench.status
    assert "honeycomb" in bench.child(QLabel, "status").toolTip()
    assert set(bench.layer("atoms").features["species"].astype(str)) >= {"C"}
    run = bench.layer("atoms").metadata[KEY]["runs"][-1]
    assert run["model"] == "graphene" and len(run["model_sha256"]) == 64
    assert "honeycomb" in run["model_chosen"]
    layer.scale, layer.units = (1, 1), ("pixel", "pixel")  # the pixel size is unknown again
    bench.run()
    assert "model" not in bench.status
    assert "pixel size" in bench.child(QLabel, "status").toolTip()


def test_the_visible_image_is_chosen_not_the_last_one(bench: Bench, fake: FakeAnalysis) -> None:
    # as a scan is opened: four images, only the first of them visible
    names = ["Z forward", "Z backward", "Current forward", "Current backward"]
    for k, name in enumerate(names):
        bench.viewer.add_image(lattice(), name=name, visible=k == 0)
    combo = bench.child(QComboBox, "image")
    assert combo.currentText() == "Z forward"
    bench.run()
    assert bench.layer("atoms").metadata[KEY]["source_name"] == "Z forward"
    bench.viewer.layers.clear()
    assert combo.count() == 0
    bench.viewer.window.remove_dock_widget(bench.widget)
    for k, name in enumerate(names):
        bench.viewer.add_image(lattice(), name=name, visible=k == 0)
    again = Bench(bench.viewer, bench.qtbot)  # and where the dock comes later
    again.run()
    assert again.layer("atoms").metadata[KEY]["source_name"] == "Z forward"
    again.widget.cleanup()


def test_one_click_turns_outlines_into_labels_and_back(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(4, frames=2))
    bench.viewer.dims.set_current_step(0, 0)
    bench.run()
    atoms, runs = bench.layer("atoms"), len(fake.frames)
    assert isinstance(bench.layer("contours"), Labels)
    bench.choose("contours", "Shapes")
    shapes = bench.layer("contours")
    assert isinstance(shapes, Shapes) and shapes.nshapes == 16
    bench.viewer.dims.set_current_step(0, 1)
    bench.qtbot.waitUntil(lambda: {float(s[0, 0]) for s in shapes.data} == {1.0}, timeout=WAIT)
    shapes.visible = False
    bench.choose("contours", "Labels")
    labels = bench.layer("contours")
    assert isinstance(labels, Labels) and not labels.visible
    assert [len(np.unique(frame)) for frame in labels.data] == [17, 17]
    bench.choose("contours", "none")
    assert bench.layer("contours") is labels
    assert len(fake.frames) == runs and bench.layer("atoms") is atoms  # nothing was found again


def test_places_of_turned_and_scaled_pyramids(bench: Bench, fake: FakeAnalysis) -> None:
    fine = lattice()
    source = bench.viewer.add_image(
        [fine, fine[::2, ::2]], multiscale=True, scale=(0.03, 0.02), units=("nm", "nm"),
        translate=(3, 4), rotate=20,
    )  # fmt: skip
    bench.run()
    atoms = bench.layer("atoms")
    assert len(atoms.data) == 36 and fake.pixel_size == pytest.approx((0.03, 0.02))
    for role in ("atoms", "contours", "probability", "unfamiliar"):
        np.testing.assert_allclose(
            bench.layer(role).data_to_world((30, 40)), source.data_to_world((30, 40))
        )
    bench.choose("contours", "Labels")
    labels = bench.layer("contours")
    at = labels.world_to_data(source.data_to_world(atoms.data[7]))
    assert labels.data[tuple(np.round(at).astype(int))] > 0


def test_pixels_exchanged_while_running(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(lattice(4, frames=4), name="gold")
    bench.viewer.dims.set_current_step(0, 0)
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bool(bench.layers("atoms")), timeout=WAIT)
    source.data = lattice(4, frames=4, seed=3)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        fake.hold.set()
    assert "exchanged" in bench.status
    assert len(bench.layer("atoms").data) == 16
    bench.run()
    assert len(bench.layer("atoms").data) == 64


def test_the_legend_follows_edits(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    bench.run()
    legend, atoms = bench.child(Legend, "legend"), bench.layer("atoms")
    atoms.selected_data = {0, 5}  # the bright one and another
    atoms.remove_selected()
    bench.qtbot.waitUntil(lambda: legend.text() == "column 34\nbright column 0", timeout=WAIT)
    bench.viewer.layers.remove(atoms)


def test_two_docks_on_one_image(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice())
    _, other = bench.viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    bench.run()
    editor = other.editor
    assert editor is not None and editor.layer is bench.layer("atoms")
    editor.select([int(editor.ids()[4])])
    other.run("delete")
    assert len(editor.layer.data) == 35
    contours = bench.layer("contours")
    bench.qtbot.waitUntil(lambda: contours.nshapes == 35, timeout=WAIT)
    other.cleanup()
    bench.layer("atoms").selected_data = {4}
    bench.layer("atoms").remove_selected()
    bench.qtbot.waitUntil(lambda: contours.nshapes == 34, timeout=WAIT)
    bench.run()
    assert len(bench.layer("atoms").data) == 34 and "; 2 edits kept." in bench.status


def test_provenance_is_that_of_every_run(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(), name="gold", scale=(0.1, 0.1), units=("nm", "nm"))
    bench.run()
    run = bench.layer("atoms").metadata[KEY]["runs"][-1]
    assert {"atomlens", "started", "model", "model_sha256", "image_sha256", "precision"} <= set(run)
    assert run["image"] == "gold" and len(run["image_sha256"]) == 64
    assert run["model"] == "universal" and tuple(run["pixel_size_nm"]) == (0.1, 0.1)


@pytest.mark.needs_model
def test_cancel_of_the_network_takes_half_a_second(bench: Bench) -> None:
    y, x = np.mgrid[:1100, :1100] * 2 * np.pi / 11
    image = np.exp(3 * (np.cos(y) + np.cos(x + 0.2 * y) - 2)).astype(np.float32)
    bench.viewer.add_image(image, name="large")
    button = bench.child(QPushButton, "run")
    bench.click()
    bench.qtbot.waitUntil(lambda: "PyTorch" not in bench.status, timeout=WAIT)
    bench.qtbot.wait(1500)  # in the middle of it
    assert bench.widget.is_running
    worker = bench.widget.job._worker
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=2_000):  # slack: a loaded machine
        bench.click()
    assert bench.status == "Cancelled." and button.text() == "Find atoms"
    # and the thread does not go on in secret
    bench.qtbot.waitUntil(lambda: not worker.is_running, timeout=10_000)
