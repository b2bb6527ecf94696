"""The Explore widget in a real viewer: one selection in plot, table, gallery and viewer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QComboBox, QPushButton

from napari_atomlens import tables
from napari_atomlens.lattice.sites import complete_sites
from napari_atomlens.simulation.surfaces import manganite
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.roles import KEY

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

    def show(self, tab: str) -> None:
        tabs = self.widget.tabs
        tabs.setCurrentIndex([tabs.tabText(i) for i in range(tabs.count())].index(tab))
        self.qtbot.wait(50)

    def click(self, name: str) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def describe(self) -> None:
        with self.qtbot.waitSignal(self.widget._job.finished, timeout=WAIT):
            self.click("describe")


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
    w = b.widget
    w._x.setCurrentText("x_px")
    w._y.setCurrentText("y_px")
    b.show("Scatter")
    # viewer to plot and table
    b.points.selected_data = {3, 7, 11}
    assert w.scatter.marked() == 3
    assert w.table.selected_rows().tolist() == [3, 7, 11]
    # plot to viewer and table: a click on the point
    place = w.scatter.screen_place(20)
    where = QPoint(round(place.x()), round(place.y()))
    b.qtbot.mouseClick(w.scatter.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert set(b.points.selected_data) == {20}
    assert w.table.selected_rows().tolist() == [20] and w.scatter.marked() == 1
    # table to viewer and plot
    b.show("Table")
    w.table.selectRow(5)
    assert set(b.points.selected_data) == {5} and w.scatter.marked() == 1
    # nowhere near a point: nothing is selected any more
    b.show("Scatter")
    w.scatter.picked.emit(np.zeros(0, np.int64))
    assert not b.points.selected_data and w.scatter.marked() == 0


def test_lasso_selects_what_lies_within(bench: Callable[..., Bench]) -> None:
    b = bench()
    w = b.widget
    w._x.setCurrentText("x_px")
    w._y.setCurrentText("y_px")
    b.show("Scatter")
    w._lasso.setChecked(True)
    rows = [30, 31, 45, 46]
    xy = b.atoms[["x_px", "y_px"]].to_numpy()
    low, high = xy[rows].min(0) - 3, xy[rows].max(0) + 3
    inside = np.flatnonzero(((xy > low) & (xy < high)).all(1))
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    from qtpy.QtCore import QPointF

    view = w.scatter.getViewBox()
    pixels = [w.scatter.mapFromScene(view.mapViewToScene(QPointF(*c))) for c in corners]
    port = w.scatter.viewport()
    b.qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=pixels[0])
    for p in [*pixels[1:], pixels[0]]:
        b.qtbot.mouseMove(port, p)
        b.qtbot.wait(5)
    b.qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=pixels[0])
    assert set(b.points.selected_data) == set(inside.tolist()) and len(inside) >= 4


def test_double_click_centres_and_the_slider_marks_its_frame(bench: Callable[..., Bench]) -> None:
    b = bench(frames=3)
    w = b.widget
    b.show("Scatter")
    row = len(b.atoms) - 4
    w.scatter.visited.emit(row)
    y, x = b.atoms[["y_px", "x_px"]].to_numpy()[row]
    np.testing.assert_allclose(b.viewer.scene.camera.center[-2:], (0.02 * y, 0.02 * x), rtol=1e-6)
    assert b.viewer.dims.current_step[0] == 2
    assert set(b.points.selected_data) == {row}
    b.viewer.dims.set_current_step(0, 1)
    b.qtbot.waitUntil(lambda: w.curves.cursor.value() == 1, timeout=3000)
    assert len(w.scatter._current.data) == int((b.atoms.frame == 1).sum())


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
    w._class_form.fields["method"].setCurrentText("mixture")
    w.select([])
    b.show("Classes")
    with b.qtbot.waitSignal(w._job.finished, timeout=WAIT):
        b.click("classify")
    labels = b.points.features["anomaly_class"].to_numpy()
    assert labels.max() >= 0
    if labels.max() == 0:
        w.class_gallery.item(0).setSelected(True)
        b.click("split")
        labels = b.points.features["anomaly_class"].to_numpy()
    before = len(np.unique(labels[labels >= 0]))
    assert before >= 2 and w.class_gallery.count() == before
    for k in range(2):
        w.class_gallery.item(k).setSelected(True)
    assert set(b.points.selected_data) == set(
        np.flatnonzero(np.isin(labels, w.class_gallery.keys()))
    )
    b.click("merge")
    labels = b.points.features["anomaly_class"].to_numpy()
    assert len(np.unique(labels[labels >= 0])) == before - 1
    w.change_classes(w._book.rename(0, "odd ones").recolour(0, "#123456"))
    w.cleanup()
    from napari_atomlens.widgets.explore.dock import ExploreWidget

    again = ExploreWidget(b.viewer)
    b.qtbot.addWidget(again)
    assert again._book.name(0) == "odd ones" and again._book.colour(0) == "#123456"
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
    dark = w.scatter.backgroundBrush().color().lightness()
    b.viewer.theme = "light"
    assert w.scatter.backgroundBrush().color().lightness() > dark + 100
    b.viewer.layers.remove(b.image)
    b.click("describe")
    assert "no atoms with an image" in w._status.text()
    b.viewer.layers.remove(b.points)
    assert len(w._table) == 0 and w.scatter.marked() == 0


def test_scene_of_the_tests_has_sites() -> None:
    _, atoms = scene()
    assert complete_sites(atoms).site_y_px.notna().mean() > 0.9
