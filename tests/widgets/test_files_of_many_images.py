"""Files of several images of which one is shown, opened by napari's own reader, and the docks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fake_analysis import FakeAnalysis, lattice
from movie_bench import WAIT, needs_canvas
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton

pytestmark = needs_canvas
DOCKS = ("Find atoms", "STM", "Calibrate", "Movie")
HEAD = """:NANONIS_VERSION:
2
:SCANIT_TYPE:
              FLOAT            MSBFIRST
:REC_DATE:
 01.01.2020
:REC_TIME:
00:00:00
:REC_TEMP:
      290.0000000000
:ACQ_TIME:
       1.0
:SCAN_PIXELS:
       {n}       {n}
:SCAN_FILE:
x
:SCAN_TIME:
             1.0             1.0
:SCAN_RANGE:
           8.0E-9           8.0E-9
:SCAN_OFFSET:
             0.0         0.0
:SCAN_ANGLE:
            0.0
:SCAN_DIR:
down
:BIAS:
            1.0
:Z-CONTROLLER:
	Name	on	Setpoint	P-gain	I-gain	T-const
	log	1	1E-11 A	1E-11 m	1E-7 m/s	1E-4 s
:COMMENT:

:DATA_INFO:
	Channel	Name	Unit	Direction	Calibration	Offset
	14	Z	m	both	1.0E-9	0.0
	0	Current	A	both	1.0E-9	0.0

:SCANIT_END:


"""


def scan(folder: Path) -> Path:
    """Write a scan of two channels, there and back."""
    forward = lattice(8)
    data = np.stack([forward, forward[:, ::-1]] * 2).astype(">f4")
    path = folder / "scan.sxm"
    path.write_bytes(HEAD.format(n=forward.shape[0]).encode() + b"\x1a\x04" + data.tobytes())
    return path


def movies(folder: Path) -> Path:
    """Write a file of three movies."""
    path = folder / "day.h5"
    with h5py.File(path, "w") as file:
        for k in range(3):
            file.create_dataset(f"run {k}/haadf", data=lattice(8, frames=3, seed=k))
    return path


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer(show=True)


def chosen(viewer: Any, name: str) -> str:
    """Image with which a dock starts."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
    box = dock.findChild(QComboBox, "image")
    assert box is not None and box.count() > 1
    return str(box.currentText())


@pytest.mark.parametrize("name", DOCKS)
@pytest.mark.parametrize("dock_first", [False, True])
def test_a_dock_starts_with_the_image_that_is_seen(
    viewer: Any, tmp_path: Path, name: str, dock_first: bool
) -> None:
    path = movies(tmp_path) if name == "Movie" else scan(tmp_path)
    if dock_first:
        _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
    viewer.open(path, plugin="napari-atomlens")
    seen = [x.name for x in viewer.layers if x.visible]
    assert len(seen) == 1 < len(viewer.layers)
    if dock_first:
        assert dock.findChild(QComboBox, "image").currentText() == seen[0]
    else:
        assert chosen(viewer, name) == seen[0]


def test_find_atoms_says_which_image_of_the_file_it_takes(viewer: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", ABF=lattice(8), HAADF=lattice(8))
    viewer.open(tmp_path / "two.npz", plugin="napari-atomlens")
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")
    line = dock.findChild(QLabel, "facts")
    assert "ABF, one of 2 images of the file; not analysed: HAADF." in line.text()
    dock.findChild(QComboBox, "image").setCurrentText("two.npz: HAADF (hidden)")
    dock.findChild(QComboBox, "image").setCurrentText("two.npz: HAADF")
    assert "HAADF, one of 2 images of the file; not analysed: ABF." in line.text()


def test_docks_of_atoms_work_on_the_image_that_is_seen(
    viewer: Any, qtbot: Any, tmp_path: Path, fake: FakeAnalysis
) -> None:
    viewer.open(scan(tmp_path), plugin="napari-atomlens")
    (seen,) = [x.name for x in viewer.layers if x.visible]
    _, find = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")
    with qtbot.waitSignal(find.finished, timeout=WAIT):
        qtbot.mouseClick(find.findChild(QPushButton, "run"), Qt.MouseButton.LeftButton)
    assert f"atoms · {seen}" in [x.name for x in viewer.layers]
    for name in ("Correct", "Measure", "Explore", "Chemistry"):
        _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
        shown = [b.currentText() for b in dock.findChildren(QComboBox)]
        assert f"atoms · {seen}" in shown, name
        # of the images none that is hidden is chosen
        assert not any(text.endswith("(hidden)") for text in shown), name
