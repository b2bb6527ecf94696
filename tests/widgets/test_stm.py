"""The STM dock in a real window: assess, prepare, mend, analyse, classify, cancel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens import stm
from napari_atomlens.image import grey
from napari_atomlens.session.edits import actions
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.simulation.molecules import simulate_film, simulate_flips
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.simulation.surfaces import manganite
from napari_atomlens.widgets.layers import roles
from napari_atomlens.widgets.layers.roles import entry

WAIT = 60_000
SEED = 2**33 + 4_000_000
PIXEL = 0.09


class Bench:
    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "STM")

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def open(
        self, data: np.ndarray, name: str = "scan", pixel: Any = PIXEL, visible: bool = True
    ) -> Any:
        sizes = np.broadcast_to(np.asarray(pixel, float), (2,))
        scale = (*([1.0] * (data.ndim - 2)), *(float(v) for v in sizes))
        units = (*(["s"] * (data.ndim - 2)), "nm", "nm")
        return self.viewer.add_image(data, name=name, scale=scale, units=units, visible=visible)

    def press(self, name: str) -> str:
        """Press a button and wait until the work is done."""
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click(name)
        return self.status

    def click(self, name: str) -> None:
        button = self.child(QPushButton, name)
        assert button.isEnabled(), name
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def surface(self, name: str) -> None:
        self.child(QComboBox, "kind").setCurrentText(name)

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def layers(self, role: str) -> list[Any]:
        return [x for x in self.viewer.layers if entry(x).get("role") == role]


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Bench:
    return Bench(make_napari_viewer(), qtbot)


@pytest.fixture(scope="module")
def scan() -> Any:
    return simulate_silicon(
        SiliconParams(size_px=256, pixel_size_nm=PIXEL, row_angle_rad=0.4, defects_per_nm2=0.09,
                      steps=1, tilt=0.01, seed=SEED)
    )  # fmt: skip


def test_the_whole_way_of_a_silicon_scan(bench: Bench, scan: Any) -> None:
    assert bench.status == "Open a scan first."
    assert not bench.child(QPushButton, "run").isEnabled()
    raw = scan.image.copy()
    layer = bench.open(scan.image)
    assert bench.child(QDoubleSpinBox, "pixel_size_nm").value() == pytest.approx(PIXEL)
    bench.press("assess")
    verdict = bench.child(QLabel, "verdict").text()
    assert "% usable" in verdict and verdict.startswith("<b>")
    bench.press("run")
    found = bench.widget.result
    assert len(bench.layers(roles.SURFACE_DEFECTS)) == len(bench.layers(roles.DIMERS)) == 1
    assert len(bench.layers(roles.EDGES)) == 1
    defects, dimers = bench.layers(roles.SURFACE_DEFECTS)[0], bench.layers(roles.DIMERS)[0]
    assert len(dimers.data) == len(found.atoms) > 500
    assert len(defects.features) == len(defects.data)
    np.testing.assert_allclose(defects.scale, layer.scale)
    assert "terrace(s)" in bench.status
    bench.press("group")
    assert "classes" in bench.status and bench.layers(roles.GALLERY)
    assert "group" in bench.layers(roles.SURFACE_DEFECTS)[0].features
    # once more: our layers are replaced, not doubled; the raw scan is as it was
    before = len(bench.viewer.layers)
    bench.press("run")
    assert len(bench.viewer.layers) == before
    np.testing.assert_array_equal(layer.data, raw)


def test_preview_comes_and_goes_and_the_levelled_layer_stays(bench: Bench, scan: Any) -> None:
    bench.open(scan.image)
    box = bench.child(QCheckBox, "preview")
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        box.setChecked(True)
    assert len(bench.layers(roles.PREVIEW)) == 1
    box.setChecked(False)
    assert not bench.layers(roles.PREVIEW)
    bench.press("apply")
    (levelled,) = bench.layers(roles.PREPARED)
    assert entry(levelled)["parameters"]["surface"]
    assert np.abs(levelled.data.mean(0) - levelled.data.mean()).max() < np.ptp(scan.image)


def test_bad_input_is_a_sentence(bench: Bench) -> None:
    flat = bench.open(np.zeros((64, 64)), "flat")
    assert bench.press("assess").endswith(".") and "constant" in bench.status
    bench.viewer.layers.remove(flat)
    bench.open(np.random.default_rng(0).normal(size=(96, 96)), "noise", (0.1, 0.2))
    text = bench.press("run")
    assert text.count(".") >= 1 and "square" in text
    assert not bench.layers(roles.SURFACE_DEFECTS)
    bench.surface("film of molecules")
    assert bench.press("run").endswith(".")


def test_square_pixels_drift_and_the_other_trace(bench: Bench, scan: Any) -> None:
    bench.open(scan.image[::2], "tall", (2 * PIXEL, PIXEL))
    bench.press("square")
    (square,) = bench.layers(roles.SQUARE)
    assert square.data.shape == (256, 256)
    np.testing.assert_allclose(square.scale, (PIXEL, PIXEL))
    assert not bench.child(QPushButton, "square").isEnabled()  # the new one is chosen, and square
    lattice = simulate_silicon(
        SiliconParams(
            size_px=256, pixel_size_nm=PIXEL, row_angle_rad=0.5, defects_per_nm2=0, seed=SEED
        )
    ).image
    bench.open(lattice, "one terrace")
    bench.child(QComboBox, "image").setCurrentText("one terrace")
    assert "shear" in bench.press("drift"), bench.status
    (straight,) = bench.layers(roles.UNDRIFTED)
    np.testing.assert_allclose(straight.scale, (PIXEL, PIXEL))
    rng = np.random.default_rng(0)
    bench.open(lattice + 0.001 * rng.normal(size=lattice.shape), "scan forward")
    bench.open(np.roll(lattice, 3, 1) + 0.001 * rng.normal(size=lattice.shape), "scan backward")
    bench.child(QComboBox, "image").setCurrentText("scan forward")
    assert bench.child(QComboBox, "trace").currentText() == "scan backward"
    text = bench.press("compare")
    assert "agree" in text and bench.layers(roles.MEAN) and bench.layers(roles.DISAGREE)


def test_charge_clouds_in_one_click(bench: Bench) -> None:
    image, truth = manganite(400, seed=SEED)
    bench.open(image, "manganite", 0.39 / 16.2)
    bench.surface("charge clouds (manganite)")
    text = bench.press("run")
    (sites,) = bench.layers(roles.ATOMS)
    (unusual,) = bench.layers(roles.ANOMALIES)
    assert abs(len(sites.data) - 400) < 60
    assert 0 < len(unusual.data) < 60 and "Explore" in text
    odd = truth.loc[truth["kind"] != "ordinary", ["y_px", "x_px"]].to_numpy(float)
    d = np.hypot(*(unusual.data[:, None] - odd[None]).transpose(2, 0, 1)).min(1)
    assert (d < 5).mean() > 0.7
    bench.surface("another surface")
    bench.press("run")
    assert "anomaly" not in bench.layers(roles.ATOMS)[0].features


def test_a_film_and_its_flips(bench: Bench) -> None:
    image, truth = simulate_film(150, seed=SEED)
    bench.open(image, "film", 0.05)
    bench.surface("film of molecules")
    assert not bench.child(QPushButton, "flips").isEnabled()
    text = bench.press("run")
    assert "molecules" in text and "up" in text
    (points,) = bench.layers(roles.MOLECULES)
    assert 0.9 * 115 < len(points.data) <= truth["inside"].sum()
    movie, up, _ = simulate_flips(6, 150, rate=0.03, seed=SEED)
    bench.open(movie, "movie", 0.05)
    bench.child(QComboBox, "image").setCurrentText("movie")
    text = bench.press("flips")
    assert "flips" in text
    wanted = int((up[1:] != up[:-1]).sum())
    rings = bench.layers(roles.FLIPS)[0]
    assert rings.ndim == 3 and 0.4 * wanted <= len(rings.data) <= 1.3 * wanted


def test_cancel_and_close_while_it_works(bench: Bench, scan: Any) -> None:
    bench.open(scan.image)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click("run")
        assert bench.child(QPushButton, "run").text() == "Cancel"
        bench.click("run")
    assert bench.child(QPushButton, "run").text() == "Analyse"
    bench.click("run")
    bench.widget.cleanup()
    bench.qtbot.wait(50)
    assert not bench.widget.is_running


def test_a_pyramid_is_read_at_its_finest_level(bench: Bench, scan: Any) -> None:
    levels = [scan.image, scan.image[::2, ::2], scan.image[::4, ::4]]
    layer = bench.viewer.add_image(
        levels, multiscale=True, name="pyramid", scale=(PIXEL, PIXEL), units=("nm", "nm")
    )
    bench.press("apply")
    (levelled,) = bench.layers(roles.PREPARED)
    assert levelled.data.shape == scan.image.shape
    np.testing.assert_allclose(levelled.scale, layer.scale)
    bench.press("run")
    rows = bench.widget.result.row_px * PIXEL
    assert rows == pytest.approx(0.768, rel=0.1)  # of the surface, not four times that
    places = bench.layers(roles.DIMERS)[0].data
    assert places.max() > 200  # over the whole scan


def test_colours_have_the_one_grey(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (96, 96, 3)).astype(np.uint8)
    bench.viewer.add_image(colours, rgb=True, name="photo")
    bench.child(QComboBox, "surface").setCurrentText("none")
    bench.child(QComboBox, "lines").setCurrentText("none")
    bench.child(QCheckBox, "scars").setChecked(False)
    bench.press("apply")
    (levelled,) = bench.layers(roles.PREPARED)
    shown, wanted = levelled.data, np.asarray(grey(colours), float)
    np.testing.assert_allclose(shown - shown.mean(), wanted - wanted.mean(), atol=1e-3)


def test_the_list_starts_with_the_scan_that_is_seen(bench: Bench, scan: Any) -> None:
    for name in ("Z forward", "Z backward", "Current forward", "Current backward"):
        bench.open(scan.image, name, visible=name == "Z forward")
    listed = bench.child(QComboBox, "image")
    assert listed.currentText() == "Z forward"
    assert "Current backward (hidden)" in [listed.itemText(k) for k in range(4)]
    assert bench.child(QComboBox, "trace").currentText() == "Z backward (hidden)"
    bench.viewer.add_points([[3, 4]], name="marks")
    bench.press("apply")
    texts = [listed.itemText(k) for k in range(listed.count())]
    assert "marks" not in texts and "prepared scan · Z forward" in texts


def test_no_class_is_said_in_a_sentence(bench: Bench, scan: Any) -> None:
    bench.open(scan.image)
    bench.press("run")
    for name, value in (("quantile", 0.01), ("smallest", 100)):
        bench.child(QDoubleSpinBox, name).setValue(value)
    text = bench.press("group")
    n = len(bench.layers(roles.SURFACE_DEFECTS)[0].data)
    assert text.startswith(f"The {n} defects make no class: fewer than 100 of them are alike.")
    assert not bench.layers(roles.GALLERY)
    assert (bench.widget.groups.label == -1).all()


def test_tables_are_of_the_session_and_other_pixels_make_them_stale(
    bench: Bench, scan: Any
) -> None:
    layer = bench.open(scan.image)
    bench.press("run")
    session = SESSIONS.get(str(layer.unique_id))
    defects = bench.layers(roles.SURFACE_DEFECTS)[0]
    assert len(session.table("dimers")) == len(bench.layers(roles.DIMERS)[0].data)
    assert set(session.table("surface defects")["kind"]) >= set(defects.features["kind"])
    assert session.state("terraces") == "fresh"
    assert session.provenance("dimers") == bench.widget.result.provenance
    session.edit(actions.add, 0, 9.0, 9.0, "Si")  # the dimers do not follow from atoms
    assert session.state("dimers") == "fresh"
    bench.widget.cleanup()
    layer.data = scan.image[::-1].copy()
    session.set_pixels(layer.data)
    assert session.is_stale("surface defects") and defects.name.endswith("(stale)")
    assert not layer.name.endswith("(stale)")


def test_a_scan_removed_or_exchanged_while_it_is_analysed(bench: Bench, scan: Any) -> None:
    layer = bench.open(scan.image, "first")
    bench.click("run")
    layer.data = scan.image[:, ::-1].copy()
    bench.qtbot.waitUntil(lambda: not bench.widget.is_running, timeout=WAIT)
    assert "exchanged while" in bench.status and not bench.layers(roles.DIMERS)
    bench.click("run")
    bench.viewer.layers.remove(layer)
    bench.qtbot.waitUntil(lambda: not bench.widget.is_running, timeout=WAIT)
    assert "first was removed" in bench.status
    assert not bench.viewer.layers
    bench.open(scan.image, "second")
    assert "% usable" not in bench.child(QLabel, "verdict").text()
    bench.press("assess")
    assert "% usable" in bench.child(QLabel, "verdict").text()


def test_layers_lie_on_a_scan_that_is_moved_and_turned(bench: Bench, scan: Any) -> None:
    layer = bench.open(scan.image[::2], "turned", (2 * PIXEL, PIXEL))
    layer.translate, layer.rotate = (3.0, -2.0), 30
    bench.press("apply")
    bench.press("square")
    (levelled,), (square,) = bench.layers(roles.PREPARED), bench.layers(roles.SQUARE)
    h, w = layer.data.shape
    for other, corner in ((levelled, (h - 0.5, w - 0.5)), (square, (2 * h - 0.5, w - 0.5))):
        for mine, its in (((-0.5, -0.5), (-0.5, -0.5)), ((h - 0.5, w - 0.5), corner)):
            np.testing.assert_allclose(
                other.data_to_world(its), layer.data_to_world(mine), atol=1e-9
            )
    layer.translate = (7.0, 0.0)
    np.testing.assert_allclose(levelled.translate, layer.translate)


@pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)
def test_closed_and_opened_again_it_uses_the_same_layers(
    make_napari_viewer: Callable[..., Any], qtbot: Any, scan: Any
) -> None:
    bench = Bench(make_napari_viewer(show=True), qtbot)
    bench.open(scan.image)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.child(QCheckBox, "preview").click()
    assert bench.layers(roles.PREVIEW)
    bench.press("run")
    before = {x.unique_id for x in bench.viewer.layers} - {
        x.unique_id for x in bench.layers(roles.PREVIEW)
    }
    bench.viewer.window.remove_dock_widget(bench.widget)
    bench.qtbot.waitUntil(lambda: not bench.layers(roles.PREVIEW), timeout=3000)
    _, bench.widget = bench.viewer.window.add_plugin_dock_widget("napari-atomlens", "STM")
    bench.press("run")
    assert {x.unique_id for x in bench.viewer.layers} == before


def test_cancel_is_quick(bench: Bench, scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, analyse = threading.Event(), stm.analyze_silicon

    def heard(*args: Any, **keywords: Any) -> Any:
        begun.set()
        return analyse(*args, **keywords)

    monkeypatch.setattr(stm, "analyze_silicon", heard)
    bench.open(np.tile(scan.image, (3, 3)))
    bench.click("run")
    bench.qtbot.waitUntil(begun.is_set, timeout=WAIT)
    start = time.perf_counter()
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click("run")
    assert time.perf_counter() - start < 0.5
    assert bench.status == "Cancelled." and not bench.layers(roles.DIMERS)
