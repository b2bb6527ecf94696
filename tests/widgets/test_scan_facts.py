"""What files say of a scan is shown in the docks; scans of a session are laid side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QToolButton

sys.path.append(str(Path(__file__).parents[1] / "io"))
from small_files import sxm


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    viewer = make_napari_viewer()
    viewer.window._qt_window.show()
    return viewer


def turned(path: Path, offset: bytes, angle: bytes = b"30.0") -> Path:
    """A scan at another place of the session, offsets in m."""
    sxm(path)
    raw = path.read_bytes()
    raw = raw.replace(b"1.0E-7         -2.0E-8", offset).replace(b"            30.0", angle)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", ["STM", "Find atoms"])
def test_a_dock_shows_how_a_scan_was_made(viewer: Any, tmp_path: Path, name: str) -> None:
    sxm(tmp_path / "a.sxm")
    viewer.open(tmp_path / "a.sxm", plugin="napari-atomlens")
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
    line = dock.findChild(QLabel, "facts")
    for part in ("Z forward in nm", "-0.5 V", "10 pA", "turned by -30°", "2021-09-24 15:28:08"):
        assert part in line.text()
    assert "offset_nm: (20" in line.toolTip()
    plain = viewer.add_image(np.zeros((32, 32)), name="plain")
    dock.findChild(QComboBox, "image").setCurrentText(plain.name)
    assert line.text() == "" and not line.isVisible()


def test_scans_of_a_session_are_laid_side_by_side(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    turned(tmp_path / "a.sxm", b"1.0E-7         -2.0E-8", b"0.0")
    turned(tmp_path / "b.sxm", b"1.1E-7         -2.0E-8", b"0.0")
    turned(tmp_path / "c.sxm", b"1.0E-7         -3.0E-8", b"90.0")
    for letter in "abc":
        viewer.open(tmp_path / f"{letter}.sxm", plugin="napari-atomlens")
    viewer.add_image(np.zeros((8, 8)), name="plain")
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "STM")
    dock.findChild(QComboBox, "image").setCurrentText("a.sxm: Z forward")
    for head in dock.findChildren(QToolButton):
        if head.text() == "Pixels, drift, the other trace":
            qtbot.mouseClick(head, Qt.MouseButton.LeftButton)
    button = dock.findChild(QPushButton, "beside")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    layers = {x.name: x for x in viewer.layers}
    np.testing.assert_allclose(layers["a.sxm: Z forward"].translate, 0, atol=1e-9)
    np.testing.assert_allclose(layers["a.sxm: Z backward"].translate, 0, atol=1e-6)
    # 10 nm to the right
    np.testing.assert_allclose(layers["b.sxm: Z forward"].translate, (0, 10), atol=1e-5)
    # 10 nm down, a quarter turn clockwise: its middle lies below that of the first
    turn = layers["c.sxm: Z backward"]
    middle = turn.data_to_world([(s - 1) / 2 for s in turn.data.shape])
    first = layers["a.sxm: Z forward"].data_to_world([15.5, 19.5])
    np.testing.assert_allclose(np.subtract(middle, first), (10, 0), atol=1e-5)
    np.testing.assert_allclose(
        np.subtract(turn.data_to_world([0, 1]), turn.data_to_world([0, 0])), (0.2, 0), atol=1e-6
    )
    assert "5 scans" in dock.findChild(QLabel, "status").text()
