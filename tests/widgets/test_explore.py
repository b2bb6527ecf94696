"""The Explore widget in a real viewer: one selection in plot, table, gallery and viewer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens import tables
from napari_atomlens.contours.evidence import describe_sites
from napari_atomlens.lattice.sites import complete_sites
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.simulation.surfaces import manganite
from napari_atomlens.widgets.base.plots import Curves, Scatter
from napari_atomlens.widgets.base.rows import Gallery, RowTable
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ANOMALIES, KEY

WAIT = 30_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


def scene(frames: int = 1) -> tuple[np.ndarray, pd.DataFrame]:
    """A surface and its atoms as a perfect finder would give them."""
    images, parts = [], []
    for f in range(frames):
        image, truth = manganite(150, seed=3, anomalous=0.06, aspect=1.6, shift=0.15)
        size = image.shape[0]
        truth = truth[
            (truth[["y_px", "x_px"]] > 4).all(axis=1)
            & (truth[["y_px", "x_px"]] < size - 5).all(axis=1)
        ]
        n = len(truth)
        parts.append(tables.make("atoms", {
            "frame": f, "atom_id": 1000 * f + np.arange(n), "y_px": truth.y_px.to_numpy(),
            "x_px": truth.x_px.to_numpy(), "species": "column", "probability": 0.9,
            "amplitude": 1.0, "source": "fit",
        }, n))  # fmt: skip
        images.append(image)
    return np.squeeze(np.stack(images)), pd.concat(parts, ignore_index=True)


class Bench:
    """A viewer with image, atoms and the docked widget."""

    def __init__(self, viewer: Any, qtbot: Any, frames: int = 1) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        image, self.atoms = scene(frames)
        scale = (0.02, 0.02) if frames == 1 else (0.5, 0.02, 0.02)
        units = ("nm", "nm") if frames == 1 else ("s", "nm", "nm")
        self.image = viewer.add_image(image, name="surface", scale=scale, units=units)
        self.points = viewer.add_points(
            convert.points_from_atoms(self.atoms, image.ndim),
            features=convert.features_from_atoms(self.atoms, ["column"]),
            scale=scale, units=units, size=4, name="atoms",
            metadata={KEY: {"role": "atoms", "source_id": str(self.image.unique_id),
                            "source_name": "surface", "spacing_px": 16.2}},
        )  # fmt: skip
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Explore")
        self.widget.resize(480, 800)

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    @property
    def scatter(self) -> Any:
        return self.child(Scatter, "scatter")

    @property
    def table(self) -> Any:
        return self.child(RowTable, "table")

    @property
    def curves(self) -> Any:
        return self.child(Curves, "populations")

    @property
    def classes(self) -> Any:
        return self.child(Gallery, "class_gallery")

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "explore_status").text())

    def press(self, name: str) -> str:
        """Press a button and wait until the work is done."""
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click(name)
        return self.status

    def show(self, tab: str) -> None:
        tabs = self.widget.tabs
        tabs.setCurrentIndex([tabs.tabText(i) for i in range(tabs.count())].index(tab))
        self.qtbot.wait(50)

    def click(self, name: str) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def describe(self) -> None:
        self.press("describe")


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(frames: int = 1) -> Bench:
        made.append(Bench(make_napari_viewer(show=True), qtbot, frames))
        return made[-1]

    yield make
    for one in made:
        one.widget.cleanup()


def test_selection_goes_both_ways(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.child(QComboBox, "x").setCurrentText("x_px")
    b.child(QComboBox, "y").setCurrentText("y_px")
    b.show("Scatter")
    # viewer to plot and table
    b.points.selected_data = {3, 7, 11}
    assert b.scatter.marked() == 3
    assert b.table.selected_rows().tolist() == [3, 7, 11]
    # plot to viewer and table: a click on the point
    place = b.scatter.screen_place(20)
    where = QPoint(round(place.x()), round(place.y()))
    b.qtbot.mouseClick(b.scatter.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert set(b.points.selected_data) == {20}
    assert b.table.selected_rows().tolist() == [20] and b.scatter.marked() == 1
    # table to viewer and plot
    b.show("Table")
    b.table.selectRow(5)
    assert set(b.points.selected_data) == {5} and b.scatter.marked() == 1
    # nowhere near a point: nothing is selected any more
    b.show("Scatter")
    b.scatter.picked.emit(np.zeros(0, np.int64))
    assert not b.points.selected_data and b.scatter.marked() == 0


def test_lasso_selects_what_lies_within(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.child(QComboBox, "x").setCurrentText("x_px")
    b.child(QComboBox, "y").setCurrentText("y_px")
    b.show("Scatter")
    b.child(QCheckBox, "lasso").click()
    rows = [30, 31, 45, 46]
    xy = b.atoms[["x_px", "y_px"]].to_numpy()
    low, high = xy[rows].min(0) - 3, xy[rows].max(0) + 3
    inside = np.flatnonzero(((xy > low) & (xy < high)).all(1))
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    view = b.scatter.getViewBox()
    pixels = [b.scatter.mapFromScene(view.mapViewToScene(QPointF(*c))) for c in corners]
    port = b.scatter.viewport()
    b.qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=pixels[0])
    for p in [*pixels[1:], pixels[0]]:
        b.qtbot.mouseMove(port, p)
        b.qtbot.wait(5)
    b.qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=pixels[0])
    assert set(b.points.selected_data) == set(inside.tolist()) and len(inside) >= 4


def test_double_click_centres_and_the_slider_marks_its_frame(bench: Callable[..., Bench]) -> None:
    b = bench(frames=3)
    b.show("Scatter")
    row = len(b.atoms) - 4
    b.scatter.visited.emit(row)
    y, x = b.atoms[["y_px", "x_px"]].to_numpy()[row]
    np.testing.assert_allclose(b.viewer.scene.camera.center[-2:], (0.02 * y, 0.02 * x), rtol=1e-6)
    assert b.viewer.dims.current_step[0] == 2
    assert set(b.points.selected_data) == {row}
    b.viewer.dims.set_current_step(0, 1)
    b.show("Frames")
    b.qtbot.waitUntil(lambda: b.curves.cursor.value() == 1, timeout=WAIT)
    assert len(b.scatter._current.data) == int((b.atoms.frame == 1).sum())


def test_describe_flags_and_colours_and_classes_are_kept(
    bench: Callable[..., Bench], tmp_path: Any
) -> None:
    b = bench()
    w = b.widget
    b.describe()
    features = b.points.features
    assert {"raw_strength", "anomaly_p", "anomaly_reason"} <= set(features)
    anomalies = [x for x in b.viewer.layers if x.metadata.get(KEY, {}).get("role") == "anomalies"]
    assert len(anomalies) == 1 and len(anomalies[0].data) == features["anomaly"].sum() > 0
    assert (features.loc[features.anomaly, "anomaly_reason"] != "").all()
    b.child(QComboBox, "colour").setCurrentText("anomaly_score")
    assert len(np.unique(np.asarray(b.points.face_color), axis=0)) > 4
    # classes: found, merged, renamed, and there again when another widget opens the layer
    b.child(QComboBox, "method").setCurrentText("mixture")
    w.select([])
    b.show("Classes")
    b.press("classify")
    labels = b.points.features["anomaly_class"].to_numpy()
    assert labels.max() >= 0
    if labels.max() == 0:
        b.classes.item(0).setSelected(True)
        b.click("split")
        labels = b.points.features["anomaly_class"].to_numpy()
    before = len(np.unique(labels[labels >= 0]))
    assert before >= 2 and b.classes.count() == before
    for k in range(2):
        b.classes.item(k).setSelected(True)
    assert set(b.points.selected_data) == set(np.flatnonzero(np.isin(labels, b.classes.keys())))
    b.click("merge")
    labels = b.points.features["anomaly_class"].to_numpy()
    assert len(np.unique(labels[labels >= 0])) == before - 1
    w.change_classes(w.sites.book.rename(0, "odd ones").recolour(0, "#123456"))
    w.cleanup()
    from napari_atomlens.widgets.explore.dock import ExploreWidget

    again = ExploreWidget(b.viewer)
    b.qtbot.addWidget(again)
    assert again.sites.book.name(0) == "odd ones" and again.sites.book.colour(0) == "#123456"
    np.testing.assert_array_equal(again._labels(), labels)
    again.export_table(tmp_path / "t.csv")
    assert "odd ones" in set(pd.read_csv(tmp_path / "t.csv")["class_name"])
    for suffix in (".png", ".svg"):
        again.export_plot(tmp_path / f"p{suffix}")
        assert (tmp_path / f"p{suffix}").stat().st_size > 500
    again.cleanup()


def test_themes_and_bad_input(bench: Callable[..., Bench]) -> None:
    b = bench()
    w = b.widget
    dark = b.scatter.backgroundBrush().color().lightness()
    b.viewer.theme = "light"
    assert b.scatter.backgroundBrush().color().lightness() > dark + 100
    b.viewer.layers.remove(b.image)
    b.click("describe")
    assert "no atoms with an image" in b.status
    b.viewer.layers.remove(b.points)
    assert len(w.sites) == 0 and b.scatter.marked() == 0


def test_scene_of_the_tests_has_sites() -> None:
    _, atoms = scene()
    assert complete_sites(atoms).site_y_px.notna().mean() > 0.9


def test_contours_are_those_of_any_atom_whatever_map_is_shown(bench: Callable[..., Bench]) -> None:
    b = bench()
    shape = b.image.data.shape
    y, x = np.indices(shape)
    spots = np.zeros(shape, np.float32)
    for at in b.atoms[["y_px", "x_px"]].to_numpy():
        spots = np.maximum(spots, np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 30))
    session = layers_of(b.viewer, b.image).session
    session.results.begin((1, *shape), {})
    result = FrameResult(
        0, np.stack([1 - spots, spots]).astype(np.float16), ("background", "column"),
        tables.empty("atoms"), tables.empty("contours"), [], np.zeros(shape, np.float16), 16.2,
    )  # fmt: skip
    session.results.take([result])
    b.viewer.add_image(
        np.zeros(shape), name="another class",
        metadata={KEY: {"role": "probability", "source_id": str(b.image.unique_id)}},
    )  # fmt: skip
    b.describe()
    areas = b.points.features["area_px2"]
    assert areas.notna().mean() > 0.9 and areas.median() > 20
    b.viewer.layers.remove("another class")
    b.press("describe")  # nor does it matter whether one is shown
    np.testing.assert_allclose(b.points.features["area_px2"], areas)


def test_pyramids_and_colours_are_read_as_the_image_that_they_are(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    b.describe()
    wanted = b.points.features["raw_strength"].to_numpy()
    data = b.image.data
    b.viewer.layers.remove(b.image)
    b.qtbot.wait(200)  # vispy may die where a layer comes before the canvas was drawn without it
    b.viewer.add_image(
        [data, data[::2, ::2], data[::4, ::4]], multiscale=True, name="pyramid",
        scale=(0.02, 0.02), units=("nm", "nm"),
    )  # fmt: skip
    b.describe()
    np.testing.assert_allclose(b.points.features["raw_strength"], wanted)
    b.show("Gallery")
    assert b.child(Gallery, "gallery").count() > 0
    b.viewer.layers.remove("pyramid")
    b.qtbot.wait(200)
    low, high = data.min(), data.max()
    grey = ((data - low) / (high - low)).astype(np.float32)
    b.viewer.add_image(np.stack([grey] * 3, -1), rgb=True, name="photo")
    b.describe()
    np.testing.assert_allclose(b.points.features["raw_strength"], wanted, rtol=1e-2)


def test_what_is_found_is_of_the_session_and_stale_after_an_edit(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    b.describe()
    session = editor_of(b.points).session
    (anomalies,) = [x for x in b.viewer.layers if x.metadata.get(KEY, {}).get("role") == ANOMALIES]
    assert len(session.table("anomalies")) == len(anomalies.data) > 0
    assert session.provenance("anomalies")["parameters"]["rate"] == 0.05
    assert session.state("anomalies") == "fresh"
    b.viewer.window.remove_dock_widget(b.widget)
    b.points.selected_data = {4}
    b.points.remove_selected()
    assert session.is_stale("anomalies") and anomalies.name.endswith("(stale)")
    _, b.widget = b.viewer.window.add_plugin_dock_widget("napari-atomlens", "Explore")
    b.describe()
    assert not anomalies.name.endswith("(stale)") and anomalies in b.viewer.layers
    b.points.add([[30.0, 30.0]])
    assert not b.points.features["anomaly"].iloc[-1]
    assert np.isnan(b.points.features["raw_strength"].iloc[-1])


def test_classes_stay_with_their_atoms_when_others_go(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.child(QComboBox, "method").setCurrentText("mixture")
    b.show("Classes")
    b.press("classify")
    before = b.points.features.set_index("atom_id")["anomaly_class"]
    assert before.nunique() > 1
    b.points.selected_data = {0, 1, 2}
    b.points.remove_selected()
    b.qtbot.waitUntil(lambda: len(b.widget.sites) == len(b.atoms) - 3, timeout=WAIT)
    b.classes.item(0).setSelected(True)
    b.widget.change_classes(b.widget.sites.book.rename(0, "first"))
    after = b.points.features.set_index("atom_id")["anomaly_class"]
    pd.testing.assert_series_equal(after, before[after.index], check_dtype=False)
    assert "first" in set(editor_of(b.points).session.table("classes")["class_name"])


def test_image_removed_or_exchanged_while_it_is_described(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.click("describe")
    b.image.data = b.image.data[::-1].copy()
    b.qtbot.waitUntil(lambda: not b.widget.is_running, timeout=WAIT)
    assert "exchanged while" in b.status and "anomaly" not in b.points.features
    b.click("describe")
    b.viewer.layers.remove(b.image)
    b.qtbot.waitUntil(lambda: not b.widget.is_running, timeout=WAIT)
    assert "surface was removed" in b.status and "anomaly" not in b.points.features


def test_atoms_that_come_while_others_are_described_are_not_measured(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    measured = describe_sites(b.image.data, b.atoms)["raw_strength"].to_numpy()
    b.click("describe")
    b.points.add([[30.0, 30.0]])
    b.points.selected_data = {0}
    b.points.remove_selected()
    b.qtbot.waitUntil(lambda: not b.widget.is_running, timeout=WAIT)
    strength = b.points.features["raw_strength"].to_numpy()
    assert np.isnan(strength[-1])
    np.testing.assert_allclose(strength[:-1], measured[1 : len(b.atoms)])
    assert not b.points.features["anomaly"].iloc[-1]


def test_cancel_is_quick(bench: Callable[..., Bench]) -> None:
    b = bench(frames=6)
    b.click("describe")
    assert b.child(QPushButton, "describe").text() == "Cancel"
    b.qtbot.waitUntil(lambda: b.widget._progress[0] > 0, timeout=WAIT)  # in the middle of it
    start = time.perf_counter()
    with b.qtbot.waitSignal(b.widget.finished, timeout=WAIT):
        b.click("describe")
    assert time.perf_counter() - start < 0.5
    assert b.status.startswith("Cancelled") and "anomaly" not in b.points.features


def test_no_class_is_said_in_a_sentence(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.show("Classes")
    b.child(QDoubleSpinBox, "smallest").setValue(len(b.atoms))
    text = b.press("classify")
    assert text == f"No class: none of the {len(b.atoms)} sites has enough others like it."


def test_a_turned_movie_is_followed(bench: Callable[..., Bench]) -> None:
    b = bench(frames=3)
    for layer in (b.image, b.points):
        layer.translate, layer.rotate = (2.0, 5.0, -3.0), np.diag([1.0, -1.0, -1.0])
    b.viewer.dims.set_current_step(0, 1)
    b.show("Frames")
    b.qtbot.waitUntil(lambda: b.curves.cursor.value() == 1, timeout=WAIT)
    row = len(b.atoms) - 4
    b.scatter.visited.emit(row)
    wanted = b.points.data_to_world(b.points.data[row])
    np.testing.assert_allclose(b.viewer.scene.camera.center[-2:], wanted[-2:], rtol=1e-6)
    assert b.viewer.dims.current_step[0] == 2
    b.describe()
    (anomalies,) = [x for x in b.viewer.layers if x.metadata.get(KEY, {}).get("role") == ANOMALIES]
    np.testing.assert_allclose(anomalies.affine.affine_matrix, b.image.affine.affine_matrix)
    np.testing.assert_allclose(anomalies.rotate, b.image.rotate)


def test_everything_can_be_read_in_a_narrow_dock(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.viewer.window._qt_window.resize(1366, 728)
    b.qtbot.wait(200)
    tabs = b.widget.tabs
    assert tabs.tabBar().width() >= tabs.tabBar().sizeHint().width()
    assert b.widget.minimumSizeHint().width() < 460
    for k in range(tabs.count()):
        tabs.setCurrentIndex(k)
        b.qtbot.wait(20)
        for box in tabs.currentWidget().findChildren(QComboBox):
            assert box.width() > box.fontMetrics().averageCharWidth() * 10, box.objectName()
        for button in tabs.currentWidget().findChildren(QPushButton):
            assert button.width() >= button.sizeHint().width(), button.text()


def test_a_map_of_places_lies_as_in_the_image(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.viewer.window.show()
    along = {k: b.child(QComboBox, k) for k in ("x", "y")}
    assert [along[k].currentText() for k in ("x", "y")] == ["x_px", "y_px"]
    view = b.scatter.getViewBox()

    def on_screen(x: float, y: float) -> QPoint:
        return b.scatter.mapFromScene(view.mapViewToScene(QPointF(x, y)))

    b.qtbot.waitUntil(lambda: 10 < on_screen(100, 0).x() - on_screen(0, 0).x() < 1000, timeout=WAIT)
    corner, right, below = on_screen(0, 0), on_screen(100, 0), on_screen(0, 100)
    assert below.y() - corner.y() == pytest.approx(right.x() - corner.x(), abs=2)
    along["y"].setCurrentText("amplitude")
    assert on_screen(0, 1).y() < on_screen(0, 0).y()  # what is more stands higher
