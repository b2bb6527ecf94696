"""Lists of other programs, dropped into a real window: asked, laid on their image, refined."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_analysis import lattice
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QPushButton,
)

WAIT = 60_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)
#: (y, x) of the columns of the image, and a guess of them.
TRUTH = 12.0 * np.mgrid[:6, :6].reshape(2, -1).T + 6
GUESS = TRUTH + np.random.default_rng(3).uniform(-1.5, 1.5, TRUTH.shape)
SIZE = 0.02


def write(path: Path, places: np.ndarray, head: str = "") -> Path:
    path.write_text(head + "".join(f"{x:.5f}\t{y:.5f}\n" for y, x in places))
    return path


@pytest.fixture
def viewer(
    make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path / "autosave"))
    made = make_napari_viewer(show=True)
    made.add_image(lattice(6) * 100, name="gold", scale=(SIZE, SIZE), units=("nm", "nm"))
    yield made
    for widget in list(made.window.dock_widgets.values()):
        widget.cleanup()


class Answer:
    """Answers the window that asks, with the mouse and the keys, and notes what it said."""

    kept: ClassVar[list[Answer]] = []  # Qt does not keep what it calls

    def __init__(self, button: Any = QDialogButtonBox.StandardButton.Open, **chosen: str) -> None:
        self.button, self.chosen = button, chosen
        self.before = self.after = ""
        self.start: dict[str, str] = {}
        self.kept[:] = [self]
        QTimer.singleShot(50, self.look)

    def look(self) -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QDialog) or dialog.objectName() != "own_positions":
            QTimer.singleShot(50, self.look)
            return
        try:
            self.answer(dialog)
        except BaseException:
            dialog.reject()  # else the test would wait for ever
            raise

    def answer(self, dialog: QDialog) -> None:
        said = dialog.findChild(QLabel, "said")
        self.start = {b.objectName(): b.currentText() for b in dialog.findChildren(QComboBox)}
        self.before = said.text()
        for name, text in self.chosen.items():
            box = dialog.findChild(QComboBox, name)
            while text not in box.currentText():  # as with the arrow keys
                before = box.currentIndex()
                QTest.keyClick(box, Qt.Key.Key_Down)
                assert box.currentIndex() != before, f"{name} offers no {text}"
        self.after = said.text()
        QTest.mouseClick(
            dialog.findChild(QDialogButtonBox).button(self.button), Qt.MouseButton.LeftButton
        )


def test_positions_are_asked_laid_on_their_image_and_refined(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    # as MATLAB counts: the first pixel is 1
    path = write(tmp_path / "statstem.txt", GUESS + 1)
    answer = Answer(first_pixel="MATLAB")
    viewer.open(path, plugin="napari-atomlens")
    assert answer.start["unit"] == "pixels" and answer.start["image"] == "gold"
    assert answer.after == "All 36 lie in gold (72 × 72 px)."
    layer = viewer.layers["statstem.txt"]
    np.testing.assert_allclose(layer.data, GUESS, atol=1e-4)
    np.testing.assert_allclose(layer.scale, (SIZE, SIZE))
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    assert dock.editor.layer is layer  # nothing else is to be chosen
    assert dock.findChild(QComboBox, "image").currentText() == "gold"
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(dock.findChild(QPushButton, "refine"), Qt.MouseButton.LeftButton)
    said = dock.findChild(QLabel, "status").text()
    assert said.startswith("36 of 36 atoms refined, moved by 1."), said
    np.testing.assert_allclose(layer.data, TRUTH, atol=0.05)
    assert layer.features["fit_ok"].mean() > 0.9 and (layer.features["y_err_px"] < 0.1).all()
    np.testing.assert_allclose(layer.features["x_nm"], layer.data[:, 1] * SIZE)
    # one edit, taken back as one; the positions themselves are no edit
    qtbot.mouseClick(dock.findChild(QPushButton, "undo"), Qt.MouseButton.LeftButton)
    np.testing.assert_allclose(layer.data, GUESS, atol=1e-4)
    assert not dock.findChild(QPushButton, "undo").isEnabled()


def test_selected_positions_alone_are_refined_beside_the_others(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    Answer()
    viewer.open(write(tmp_path / "a.csv", GUESS, "x\ty\n"), plugin="napari-atomlens")
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    layer = viewer.layers["a.csv"]
    layer.selected_data = {3, 7}
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(dock.findChild(QPushButton, "refine"), Qt.MouseButton.LeftButton)
    off = np.abs(layer.data - TRUTH).max(1)
    assert (off[[3, 7]] < 0.05).all()
    rest = np.delete(np.arange(36), [3, 7])
    np.testing.assert_allclose(layer.data[rest], GUESS[rest], atol=1e-4)


def test_the_unit_in_which_they_fit_the_image_is_proposed(viewer: Any, tmp_path: Path) -> None:
    answer = Answer()
    viewer.open(write(tmp_path / "nm.txt", GUESS * SIZE), plugin="napari-atomlens")
    assert answer.start["unit"] == "nm" and answer.before.startswith("All 36 lie in gold")
    np.testing.assert_allclose(viewer.layers["nm.txt"].data, GUESS, atol=1e-3)
    answer = Answer(unit="pixels")  # told else: what is wrong is seen
    viewer.open(write(tmp_path / "far.txt", 100 * GUESS), plugin="napari-atomlens")
    assert "Only 0 of 36 lie in gold" in answer.after


def test_without_an_image_and_after_cancel(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    Answer(QDialogButtonBox.StandardButton.Cancel)
    viewer.open(write(tmp_path / "a.txt", GUESS), plugin="napari-atomlens")
    assert [x.name for x in viewer.layers] == ["gold"]
    answer = Answer(image="none", unit="nm")
    viewer.open(write(tmp_path / "b.txt", GUESS * SIZE), plugin="napari-atomlens")
    assert "Open their image first" in answer.after
    assert [str(u) for u in viewer.layers["b.txt"].units] == ["nanometer", "nanometer"]
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    dock.findChild(QComboBox, "image").setCurrentText("gold")
    qtbot.mouseClick(dock.findChild(QPushButton, "refine"), Qt.MouseButton.LeftButton)
    assert "not on the pixels of gold" in dock.findChild(QLabel, "status").text()


def test_positions_in_a_movie_are_of_the_frame_that_is_shown(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    viewer.layers.clear()
    viewer.add_image(lattice(6, frames=4) * 100, name="film")
    viewer.dims.set_current_step(0, 2)
    Answer()
    viewer.open(write(tmp_path / "a.txt", GUESS), plugin="napari-atomlens")
    layer = viewer.layers["a.txt"]
    np.testing.assert_allclose(layer.data[:, 0], 2)
    _, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(dock.findChild(QPushButton, "refine"), Qt.MouseButton.LeftButton)
    np.testing.assert_allclose(layer.data[:, 1:], TRUTH, atol=0.1)
    assert (layer.data[:, 0] == 2).all()


def test_a_table_of_ours_is_not_asked_about(viewer: Any, tmp_path: Path) -> None:
    (tmp_path / "atoms.csv").write_text("frame,y_px,x_px\n0,3,4\n0,5,6\n")
    viewer.open(tmp_path / "atoms.csv", plugin="napari-atomlens")
    np.testing.assert_allclose(viewer.layers["atoms.csv"].data, [[3, 4], [5, 6]])
