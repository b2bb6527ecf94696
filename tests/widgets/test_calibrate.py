"""The Calibrate widget in a real viewer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens.widgets.layers.roles import KEY

pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


def open_widget(viewer: Any) -> Any:
    return viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")[1]


def test_scale_bar(viewer: Any, qtbot: Any) -> None:
    image = np.random.default_rng(0).integers(30, 200, (3, 120, 200)).astype(np.uint8)
    image[:, 108:112, 10:60] = 255
    layer = viewer.add_image(image, name="film", scale=(1, 2, 1))
    atoms = viewer.add_points(
        [[0, 4, 5]], name="atoms", metadata={KEY: {"role": "atoms", "source_name": "film"}}
    )
    other = viewer.add_points([[0, 4, 5]], name="other")
    widget = open_widget(viewer)

    def child(kind: type, name: str) -> Any:
        return widget.findChild(kind, name)

    assert "Its pixels" not in child(QLabel, "status").text()
    child(QComboBox, "method").setCurrentText("scale bar")
    child(QDoubleSpinBox, "length_nm").setValue(5)
    qtbot.mouseClick(child(QPushButton, "apply"), Qt.MouseButton.LeftButton)
    assert "Press Find" in child(QLabel, "status").text()
    with qtbot.waitSignal(widget.finished, timeout=20_000):
        qtbot.mouseClick(child(QPushButton, "find"), Qt.MouseButton.LeftButton)
    assert child(QDoubleSpinBox, "length_px").value() == 50
    qtbot.mouseClick(child(QPushButton, "apply"), Qt.MouseButton.LeftButton)
    for one in (layer, atoms):
        np.testing.assert_allclose(one.scale, [1, 0.2, 0.1])  # pixels keep their shape
        assert [str(u) for u in one.units] == ["pixel", "nanometer", "nanometer"]
    assert list(other.scale) == [1, 1, 1]
    widget.cleanup()
    viewer.layers.clear()


def test_material_and_no_image(viewer: Any, qtbot: Any) -> None:
    widget = open_widget(viewer)
    assert "Open an image" in widget.findChild(QLabel, "status").text()
    layer = viewer.add_image(np.random.default_rng(0).random((40, 40)), name="noise")
    widget.findChild(QComboBox, "material").setCurrentText("Si [110]")
    assert widget.findChild(QDoubleSpinBox, "length_nm").value() == pytest.approx(0.1358, abs=1e-4)
    widget.findChild(QDoubleSpinBox, "length_px").setValue(13.58)
    qtbot.mouseClick(widget.findChild(QPushButton, "apply"), Qt.MouseButton.LeftButton)
    np.testing.assert_allclose(layer.scale, [0.01, 0.01], rtol=1e-3)
    assert "0.01 x 0.01 nm now" in widget.findChild(QLabel, "status").text()
