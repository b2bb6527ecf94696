"""The Measure widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_analysis import FakeAnalysis, lattice
from hand import Hand, beats_of_layers
from napari.layers import Points, Vectors
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QTableWidget,
    QWidget,
)

import napari_atomlens
from napari_atomlens import tables
from napari_atomlens.lattice import measure as core
from napari_atomlens.simulation import crystals
from napari_atomlens.widgets.base.histograms import ColourBar, Histogram, bin_edges
from napari_atomlens.widgets.layers import convert_lattice
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import KEY, STALE
from napari_atomlens.widgets.measure import dock

WAIT = 20_000
needs_canvas = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


def perovskite(side: int = 200, frames: int = 0, missing: int = 1) -> pd.DataFrame:
    """Atoms of a perovskite whose weaker columns move by 0.5 px to the right."""
    rng = np.random.default_rng(5)
    cell = crystals.perovskite(0.5)
    position, index = crystals.fill(cell, (side, side), 10.0, 0.2, (3, 4), margin_px=-4)
    position = position + rng.normal(0, 0.05, position.shape)
    position[index == 1, 1] += 0.5
    middle = np.linalg.norm(position - side / 2, axis=1).argsort()[:missing]
    keep = np.setdiff1d(np.arange(len(position)), middle)
    position, index = position[keep], index[keep]
    n = len(position)
    parts = []
    for f in range(max(frames, 1)):
        parts.append(
            tables.make(
                "atoms",
                {
                    "frame": f, "atom_id": f * tables.IDS_PER_FRAME + np.arange(n),
                    "y_px": position[:, 0], "x_px": position[:, 1] + 0.2 * f,
                    "amplitude": np.where(index == 0, 2.0, 1.0), "species": "column",
                    "probability": 0.9, "y_err_px": 0.05, "x_err_px": 0.05, "source": "fit",
                },
                n,
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def add_atoms(viewer: Any, atoms: pd.DataFrame, ndim: int = 2, **more: Any) -> Any:
    columns = ["frame", "y_px", "x_px"][-ndim:]
    return viewer.add_points(
        atoms[columns].to_numpy(copy=True), features=atoms, name="atoms · gold",
        metadata={KEY: {"role": "atoms", "source_id": "x", "source_name": "gold"}}, **more,
    )  # fmt: skip


class Bench:
    """A viewer with the widget docked, and hands to use it."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.open()

    def open(self) -> None:
        """Open the dock."""
        self.dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-atomlens", "Measure"
        )

    def close(self) -> None:
        """Close the tab of the dock."""
        cross = self.dock.titleBarWidget().close_button
        self.qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self, name: str = "run") -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def run(self) -> None:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()
        assert not self.widget.is_running

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def layers(self, role: str) -> list[Any]:
        return [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]

    def layer(self, role: str) -> Any:
        found = self.layers(role)
        assert len(found) == 1, [x.name for x in self.viewer.layers]
        return found[0]

    def summary(self) -> dict[str, str]:
        table = self.child(QTableWidget, "summary")
        return {
            table.verticalHeaderItem(r).text(): table.item(r, 0).text()
            for r in range(table.rowCount())
        }


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    bench = Bench(make_napari_viewer(), qtbot)
    yield bench
    bench.widget.cleanup()


@needs_canvas
def test_one_click_makes_all_layers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    def watched(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        return core.measure_lattice(*args, **kwargs)

    monkeypatch.setattr(napari_atomlens.lattice, "measure_lattice", watched)
    assert bench.status == dock.NO_ATOMS
    source = add_atoms(
        bench.viewer, perovskite(), scale=(0.02, 0.02), units=("nm", "nm"), translate=(3, 4)
    )
    assert bench.child(QComboBox, "atoms").currentText() == "atoms · gold"
    assert bench.child(QDoubleSpinBox, "pixel_size_nm").value() == pytest.approx(0.02)
    bench.run()
    assert threads and threading.get_ident() not in threads
    arrows, colours = bench.layer("displacements"), bench.layer("lattice map")
    vacancies = bench.layer("vacancies")
    assert isinstance(arrows, Vectors) and isinstance(colours, Points)
    layers = bench.viewer.layers
    assert layers.index(colours) < layers.index(source) < layers.index(arrows)
    for layer in (arrows, colours, vacancies):
        np.testing.assert_array_equal(layer.scale, source.scale)
        np.testing.assert_array_equal(layer.translate, source.translate)
        assert layer.units == source.units
    assert len(vacancies.data) == 1
    np.testing.assert_allclose(vacancies.data[0], [100, 100], atol=8)
    assert vacancies.features["species"].iloc[0] == "vacancy"
    assert colours.face_contrast_limits == pytest.approx(
        (-colours.face_contrast_limits[1], colours.face_contrast_limits[1])
    )
    assert bench.viewer.layers.selection.active is source
    told = bench.summary()
    assert told["lattice"] == "square" and told["vacant sites"] == "1"
    value, error = told["a"].removesuffix(" pm").split(" ± ")
    assert float(value) == pytest.approx(282.8, rel=1e-3) and 0 < float(error) < 1
    assert "1 region" in bench.status and "1 vacant site" in bench.status
    histogram = bench.child(Histogram, "histogram")
    assert not histogram.isHidden() and histogram.n_shown > 400
    assert bench.child(ColourBar, "colour_bar").text().endswith("%")
    # the atoms know their site, and their species are still a list to choose from
    assert (source.features["sublattice"] >= 0).all()
    weak = source.features["amplitude"] < 1.5
    assert (source.features.loc[weak, "sublattice"] == 1).all()
    assert source.features["polar_dx_px"][weak].mean() == pytest.approx(0.5, abs=0.02)


def dislocated() -> pd.DataFrame:
    """Atoms of a square crystal with an edge dislocation, its vector along +x as drawn."""
    a, core = 10.0, np.array([101.3, 104.7])
    k = np.stack(np.meshgrid(np.arange(-3, 24), np.arange(-3, 24), indexing="ij"), -1)
    places = a * k.reshape(-1, 2).astype(float)
    y, x = (core - places)[:, 0], (places - core)[:, 1]  # y upwards
    r2 = x * x + y * y
    across = -a / 2 / np.pi * (0.143 * np.log(r2) + (x * x - y * y) / 2.8 / r2)
    places += np.c_[-across, a / 2 / np.pi * (np.arctan2(y, x) + x * y / 1.4 / r2)]
    places = places[((places > 2) & (places < 198)).all(1)]
    places = places + np.random.default_rng(1).normal(0, 0.05, places.shape)
    return tables.make(
        "atoms",
        {"atom_id": np.arange(len(places)), "y_px": places[:, 0], "x_px": places[:, 1],
         "frame": 0, "amplitude": 1.0, "species": "column", "probability": 0.9,
         "y_err_px": 0.05, "x_err_px": 0.05, "source": "fit"},
        len(places),
    )  # fmt: skip


@needs_canvas
def test_a_dislocation_is_drawn_and_hidden(bench: Bench) -> None:
    source = add_atoms(bench.viewer, dislocated(), scale=(0.02, 0.02), units=("nm", "nm"))
    bench.run()
    ring, vector = bench.layer("dislocations"), bench.layer("Burgers vectors")
    assert isinstance(ring, Points) and isinstance(vector, Vectors)
    np.testing.assert_allclose(ring.data, [[101.3, 104.7]], atol=5)
    np.testing.assert_allclose(vector.data[0, 1], [0, 10], atol=0.3)
    np.testing.assert_array_equal(ring.scale, source.scale)
    assert ring.features["burgers_nm"].iloc[0] == pytest.approx(0.2, rel=0.02)
    assert bench.summary()["dislocations"] == "1" and "1 dislocation." in bench.status
    bench.child(QCheckBox, "show_dislocations").click()
    assert not bench.layers("dislocations") and not bench.layers("Burgers vectors")
    bench.child(QCheckBox, "show_dislocations").click()
    assert len(bench.layer("dislocations").data) == 1


@needs_canvas
def test_a_second_run_updates_the_layers_in_place(bench: Bench) -> None:
    source = add_atoms(bench.viewer, perovskite())
    bench.run()
    before = {x.unique_id for x in bench.viewer.layers}
    bench.layer("vacancies").name = "mine"
    source.selected_data = {10, 11, 60}
    gone = source.data[[10, 11, 60]].copy()
    source.remove_selected()
    bench.run()
    assert {x.unique_id for x in bench.viewer.layers} == before
    assert bench.layer("vacancies").name == "mine"
    assert len(bench.layer("lattice map").data) in range(len(source.data) - 3, len(source.data) + 1)
    places = bench.layer("vacancies").data
    inner = gone[((gone > 15) & (gone < 185)).all(1)]
    for place in inner:
        assert np.linalg.norm(places - place, axis=1).min() < 1.5
    assert bench.summary()["a"].endswith("px")


@needs_canvas
def test_what_is_shown_can_be_chosen(bench: Bench) -> None:
    add_atoms(bench.viewer, perovskite())
    bench.run()
    arrows = bench.layer("displacements")
    chosen = bench.child(QDoubleSpinBox, "factor")
    assert chosen.text().endswith("auto") and arrows.length > 1
    chosen.setValue(12.0)
    assert arrows.length == 12 and "× 12" in arrows.name
    bench.child(QComboBox, "arrows").setCurrentText(convert_lattice.POLAR)
    polar = bench.layer("displacements")
    assert (polar.features["sublattice"] == 1).all()
    moved = polar.data[:, 1]
    assert np.median(moved, axis=0) == pytest.approx([0, 0.5], abs=0.03)
    assert np.abs(polar.features["angle_rad"]).median() < 0.2
    for name, quantity in convert_lattice.QUANTITIES.items():
        bench.child(QComboBox, "map").setCurrentText(name)
        layer = bench.layer("lattice map")
        assert layer.name.startswith(name)
        assert np.isfinite(layer.features["value"]).all() and len(layer.data) > 100
        low, high = layer.face_contrast_limits
        assert low < high and (not quantity.around_zero or low == -high)
    bench.child(QComboBox, "map").setCurrentText("none")
    bench.child(QComboBox, "arrows").setCurrentText("none")
    bench.child(QCheckBox, "show_vacancies").setChecked(False)
    assert len(bench.viewer.layers) == 1
    bench.child(QComboBox, "arrows").setCurrentText(convert_lattice.FROM_SITES)
    assert len(bench.layer("displacements").data) > 100


@needs_canvas
def test_strain_against_a_drawn_rectangle(bench: Bench) -> None:
    atoms = perovskite()
    x = atoms["x_px"]
    atoms["x_px"] = np.where(x > 100, x + 0.01 * (x - 100), x)
    source = add_atoms(bench.viewer, atoms, scale=(0.02, 0.02), units=("nm", "nm"))
    bench.click("draw")
    shapes = bench.viewer.layers[-1]
    assert shapes.mode == "add_rectangle"
    bench.run()
    assert "Draw a rectangle" in bench.status and not bench.layers("lattice map")
    shapes.add_rectangles(np.array([[0, 0], [0, 90], [200, 90], [200, 0]], float))
    bench.run()
    right = source.features[source.features["x_px"].between(125, 180)]
    assert right["exx"].mean() == pytest.approx(0.01, rel=0.1)
    # a layer of any other place and scale in the same world serves, too
    shapes.visible = False
    other = bench.viewer.add_shapes(
        [np.array([[0, 110], [0, 200], [200, 200], [200, 110]]) * 0.02], name="right"
    )
    bench.child(QComboBox, "reference").setCurrentText("right")
    bench.run()
    left = source.features[source.features["x_px"].between(20, 75)]
    assert left["exx"].mean() == pytest.approx(-0.01, rel=0.1)
    bench.viewer.layers.remove(other)
    assert bench.child(QComboBox, "reference").currentText() == dock.MEAN


@needs_canvas
def test_a_movie_follows_the_slider(bench: Bench) -> None:
    atoms = perovskite(120, frames=3)
    late = (atoms["frame"] == 2) & (atoms["y_px"] < 60)
    add_atoms(bench.viewer, atoms[~late].sample(frac=1, random_state=1).reset_index(drop=True), 3)
    bench.run()
    assert bench.layer("displacements").data.shape[1:] == (2, 3)
    assert bench.layer("lattice map").data.shape[1] == 3
    bench.viewer.dims.set_current_step(0, 0)
    bench.qtbot.wait(200)
    first = bench.summary()["atoms"]
    bench.viewer.dims.set_current_step(0, 2)
    bench.qtbot.waitUntil(lambda: bench.summary()["atoms"] != first, timeout=WAIT)
    assert "3 regions in 3 frames" in bench.status
    features = bench.viewer.layers["atoms · gold"].features
    np.testing.assert_array_equal(
        features["sublattice"], np.where(features["amplitude"] > 1.5, 0, 1)
    )


@needs_canvas
def test_points_of_any_origin_and_nothing_at_all(bench: Bench) -> None:
    rng = np.random.default_rng(2)
    square = 9.0 * np.argwhere(np.ones((8, 8))) + rng.normal(0, 0.05, (64, 2))
    bench.viewer.add_points(square, name="by hand")
    bench.run()
    assert bench.summary()["lattice"] == "square"
    bench.viewer.add_points(rng.uniform(0, 100, (40, 2)), name="chaos")
    bench.child(QComboBox, "atoms").setCurrentText("chaos")
    bench.run()
    assert "No lattice" in bench.status and not bench.summary()
    bench.viewer.add_points(np.zeros((0, 2)), name="empty")
    bench.child(QComboBox, "atoms").setCurrentText("empty")
    bench.run()
    assert bench.status == "The layer empty is empty."


@needs_canvas
def test_a_lattice_that_is_lost_and_found_again(bench: Bench) -> None:
    atoms = perovskite()
    source = add_atoms(bench.viewer, atoms)
    bench.run()
    there = source.data.copy()
    source.data = np.random.default_rng(3).uniform(0, 200, there.shape)
    bench.run()
    assert "No lattice" in bench.status and not bench.layers("displacements")
    assert not len(bench.layer("lattice map").data) and not len(bench.layer("vacancies").data)
    assert (source.features["region"] == -1).all() and not bench.summary()
    source.data = there
    bench.run()
    assert len(bench.layer("displacements").data) == len(there)
    assert len(bench.layer("vacancies").data) == 1 and bench.summary()


@needs_canvas
def test_atoms_found_anew_can_be_measured_anew(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(9), name="gold", scale=(0.02, 0.02), units=("nm", "nm"))
    _, finder = bench.viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")
    for _ in range(2):
        with bench.qtbot.waitSignal(finder.finished, timeout=WAIT):
            finder.run()
        bench.run()
        source = bench.layer("atoms")
        assert len(source.data) == 81 and (source.features["region"] == 0).mean() > 0.9
        assert isinstance(source.features["species"].dtype, pd.CategoricalDtype)
        assert bench.summary()["a"].startswith("24") and bench.summary()["a"].endswith(" pm")
        images = finder.findChild(QComboBox, "image")
        assert [images.itemText(k) for k in range(images.count())] == ["gold"]
    finder.cleanup()


@needs_canvas
def test_tables_are_saved(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_atoms(bench.viewer, perovskite(), scale=(0.02, 0.02), units=("nm", "nm"))
    assert not bench.child(QPushButton, "save").isEnabled()
    bench.run()
    target = tmp_path / "sto.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(target), ""))
    bench.widget._on_save()
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {f"sto_{n}.csv" for n in ("atoms", "lattices", "sublattices", "distances")}
    lattices = pd.read_csv(tmp_path / "sto_lattices.csv")
    assert lattices["a_nm"][0] == pytest.approx(0.2828, rel=1e-3) and lattices["a_err_nm"][0] > 0
    atoms = pd.read_csv(tmp_path / "sto_atoms.csv")
    assert {"exx", "exx_err", "polar_dx_nm", "site_x_px"} <= set(atoms)
    assert (atoms["source"] == "lattice").sum() == 1
    (tmp_path / "no").write_text("a file, not a folder")
    blocked = tmp_path / "no" / "where.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(blocked), ""))
    bench.widget._on_save()
    assert "could not be written" in bench.status


@needs_canvas
def test_the_window_is_free_between_two_layers(bench: Bench) -> None:
    add_atoms(bench.viewer, perovskite())
    with beats_of_layers(bench.viewer) as at:
        bench.run()
    assert len(at) == 3 and at[0] < at[1] < at[2]  # the window is free between two layers


@needs_canvas
def test_cancel_and_removed_layers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        while not hold.wait(0.01) and not kwargs["progress"].stopped:
            pass
        return core.measure_lattice(*args, **kwargs)

    monkeypatch.setattr(napari_atomlens.lattice, "measure_lattice", slow)
    source = add_atoms(bench.viewer, perovskite())
    bench.click()
    assert bench.child(QPushButton, "run").text() == "Cancel"
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click()
    assert bench.status == "Cancelled." and len(bench.viewer.layers) == 1
    bench.click()
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.viewer.layers.remove(source)
    assert "was removed" in bench.status and not len(bench.viewer.layers)
    add_atoms(bench.viewer, perovskite())
    bench.click()
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.widget.cleanup()
    hold.set()


@needs_canvas
def test_layers_are_stale_after_an_edit_though_the_dock_is_closed(bench: Bench) -> None:
    bench.viewer.window.show()
    source = add_atoms(bench.viewer, perovskite(), scale=(0.02, 0.02), units=("nm", "nm"))
    bench.run()
    layers = [bench.layer(r) for r in ("displacements", "lattice map", "vacancies")]
    session = editor_of(source).session
    names = ("lattices", "sublattices", "distances", "vacancies", "sites")
    assert all(session.state(n) == "fresh" for n in names)
    assert len(session.table("vacancies")) == len(layers[2].data) == 1
    assert session.provenance("lattices")["min_atoms"] == 12
    bench.close()
    bench.viewer.layers.selection.active = source
    source.selected_data = {int(np.hypot(*(source.data - [60.0, 60.0]).T).argmin())}
    Hand(bench.viewer).press("Delete")
    assert all(session.is_stale(n) for n in names)
    assert all(x.name.endswith(STALE) for x in layers)
    session.update("lattices")
    assert not any(STALE in x.name for x in layers)
    assert len(session.table("vacancies")) == len(layers[2].data) == 2
    assert tuple(session.provenance("lattices")["pixel_size_nm"]) == (0.02, 0.02)
    bench.open()  # it knows what there is
    assert bench.summary()["vacant sites"] == "2"
    assert len(bench.viewer.layers) == 4


@needs_canvas
def test_only_atoms_are_offered(bench: Bench) -> None:
    add_atoms(bench.viewer, perovskite())
    for role in ("defects", "molecules", "vacancies", "watched defects", "anomalies"):
        bench.viewer.add_points(
            np.zeros((3, 2)), name=f"{role}: scan",
            metadata={KEY: {"role": role, "source_id": "y", "source_name": "scan"}},
        )  # fmt: skip
    bench.viewer.add_points(np.zeros((3, 2)), name="by hand")
    atoms = bench.child(QComboBox, "atoms")
    assert [atoms.itemText(k) for k in range(atoms.count())] == ["atoms · gold", "by hand"]


@needs_canvas
def test_an_atom_edited_while_it_was_measured_gets_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free = threading.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        free.wait(30)
        return core.measure_lattice(*args, **kwargs)

    monkeypatch.setattr(napari_atomlens.lattice, "measure_lattice", slow)
    bench.viewer.window.show()
    source = add_atoms(bench.viewer, perovskite())
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click()
        bench.qtbot.waitUntil(begun.is_set, timeout=WAIT)
        bench.viewer.layers.selection.active = source
        source.selected_data = {7}
        gone = int(source.features["atom_id"].iloc[7])
        Hand(bench.viewer).press("Delete")
        free.set()
    assert gone not in set(source.features["atom_id"])
    both = source.features.merge(
        editor_of(source).session.table("sites")[["atom_id", "exx"]], on="atom_id"
    )
    np.testing.assert_array_equal(both["exx_x"], both["exx_y"])
    assert len(both) == len(source.data)
    assert bench.layer("lattice map").name.endswith(STALE)


def test_errors_are_written_with_two_digits() -> None:
    write = convert_lattice.with_error
    assert write(0.2460123, 0.0000421, "nm") == "0.246012 ± 0.000042 nm"
    assert write(12.345, 2.3, "°") == "12.3 ± 2.3 °"
    assert write(12.345, float("nan"), "px") == "12.345 px"
    assert write(float("nan"), 1.0) == "–"
    assert write(-0.0, 0.0, "°") == "0 °"


def test_bins_and_limits_stand_anything() -> None:
    rng = np.random.default_rng(0)
    edges = bin_edges(np.r_[rng.normal(0, 1, 1000), 1e9, np.nan])
    assert 10 < len(edges) < 122 and edges[-1] < 100
    assert len(bin_edges(np.full(10, 3.0))) > 2 and len(bin_edges(np.zeros(0))) == 2
    assert convert_lattice.limits_of(np.zeros(0), True) == (-1, 1)
    low, high = convert_lattice.limits_of(np.full(5, 2.0), False)
    assert low < 2 < high
    assert convert_lattice.arrow_factor(np.zeros((3, 2, 2)), 10.0) == 1.0
    data = np.zeros((50, 2, 2))
    data[:, 1, 0] = 0.2
    assert convert_lattice.arrow_factor(data, 10.0) == 20.0


@needs_canvas
def test_lengths_are_in_pm_so_that_their_errors_and_units_can_be_read(bench: Bench) -> None:
    add_atoms(bench.viewer, perovskite(), scale=(0.02, 0.02), units=("nm", "nm"))
    bench.run()
    text = bench.summary()["a"]
    value, error = text.removesuffix(" pm").split(" ± ")
    assert float(value) > 100 and 0 < float(error) < 10 and "0.0000" not in error
    table = bench.child(QTableWidget, "summary")
    assert table.item(2, 0).toolTip() == f"a: {text}"
    bench.viewer.window._qt_window.resize(1366, 728)
    bench.viewer.window.show()
    bench.qtbot.waitUntil(table.isVisible, timeout=WAIT)
    assert table.columnWidth(0) >= table.fontMetrics().horizontalAdvance(text)


@needs_canvas
def test_the_histogram_takes_the_ground_of_another_theme(bench: Bench) -> None:
    def ground() -> int:
        picture = bench.child(QWidget, "histogram").grab().toImage()
        return int(picture.pixelColor(picture.width() - 3, 3).lightness())

    bench.viewer.window.show()
    add_atoms(bench.viewer, perovskite())
    bench.run()
    dark = ground()
    bench.viewer.theme = "light"
    bench.qtbot.waitUntil(lambda: ground() > dark + 100, timeout=WAIT)
