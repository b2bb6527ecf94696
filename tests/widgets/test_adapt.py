"""Adapt model in a real window: learn, look, keep or discard."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel, QLineEdit, QPushButton

from napari_atomlens.segmentation import list_models
from napari_atomlens.segmentation.zoo import BUNDLED
from napari_atomlens.simulation import simulate
from napari_atomlens.training import Adapted
from napari_atomlens.widgets.correct.learning import outside

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
WAIT = 120_000
pytestmark = [
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen",
        reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
    ),
    pytest.mark.needs_model,
]


@pytest.fixture
def desk(
    make_napari_viewer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Any]]:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path / "autosave"))
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path / "models"))
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")
    yield viewer, widget
    widget.cleanup()


def test_learn_look_and_keep(desk: tuple[Any, Any], qtbot: Any, tmp_path: Path) -> None:
    from adapt import bright_field  # of the benchmarks

    viewer, widget = desk
    frames, places = zip(*(bright_field("square", i, (128, 128)) for i in range(2)), strict=True)
    viewer.add_image(np.stack(frames), name="dark")
    inside = np.all((places[0] >= 0) & (places[0] <= 127), axis=1)
    data = np.column_stack([np.zeros(inside.sum()), places[0][inside]])
    viewer.add_points(data, name="corrected", size=4)
    viewer.dims.set_current_step(0, 0)
    panel = widget._adapt
    widget.findChild(QComboBox, "atoms").setCurrentText("corrected")
    widget.findChild(QComboBox, "image").setCurrentText("dark")
    widget.findChild(QDoubleSpinBox, "minutes").setValue(3)
    widget.findChild(QLineEdit, "model_name").setText("dark-square")
    button = widget.findChild(QPushButton, "adapt")
    status = widget.findChild(QLabel, "adapt_status")
    with qtbot.waitSignal(panel._job.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert button.text() == "Stop and judge"
        qtbot.waitUntil(lambda: len(panel._losses) >= 120, timeout=WAIT)
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "F1" in status.text(), status.text()
    assert panel.result.after > panel.result.before
    assert len(panel._plot.losses) >= 120 and button.text() == "Adapt model"
    shown = {x.name for x in viewer.layers}
    assert {"before adapting", "after adapting"} <= shown
    assert viewer.dims.current_step[0] == 1  # the frame that nobody corrected
    assert not (tmp_path / "models").exists()
    qtbot.mouseClick(widget.findChild(QPushButton, "keep"), Qt.MouseButton.LeftButton)
    assert "dark-square" in {m.name for m in list_models()}
    assert {x.name for x in viewer.layers} == {"dark", "corrected"}


def test_an_earlier_model_of_that_name_is_not_replaced_unasked(
    desk: tuple[Any, Any], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = desk
    panel, status = widget._adapt, widget.findChild(QLabel, "adapt_status")
    made = tmp_path / "made" / "mine.safetensors"
    made.parent.mkdir()
    shutil.copyfile(BUNDLED / "graphene.safetensors", made)
    made.with_suffix(".md").write_text("# mine\n")
    (tmp_path / "models").mkdir()
    kept = [tmp_path / "models" / f"mine{end}" for end in (".md", ".safetensors")]
    for file in kept:
        file.write_text("an earlier one")
    panel.result = Adapted(made, "mine", 0.5, 0.9, 0.9, 0.9, 1.0, [1.0], 1.0)
    name, keep = widget.findChild(QLineEdit, "model_name"), widget.findChild(QPushButton, "keep")
    name.setText("mine")
    panel._show_choice(True)

    def press() -> str:
        qtbot.mouseClick(keep, Qt.MouseButton.LeftButton)
        return str(status.text())

    assert "mine already" in press() and keep.text() == "Replace"
    name.setText("mine-2")  # another name in its place: nothing is replaced any more
    assert keep.text() == "Keep"
    name.setText("mine")
    assert "mine already" in press() and keep.text() == "Replace"
    assert {file.read_text() for file in kept} == {"an earlier one"}
    assert "Saved" in press() and panel.result is None
    assert kept[1].read_bytes() == (BUNDLED / "graphene.safetensors").read_bytes()


def test_the_recipe_stop_and_discard(desk: tuple[Any, Any], qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = desk
    image, _ = simulate("square", (128, 128), 11.0, rotation_deg=8, counts=500, seed=3)
    viewer.add_image(image.astype(np.float32), name="film")
    viewer.add_points(np.zeros((0, 2)), name="nothing yet")
    widget.findChild(QComboBox, "atoms").setCurrentText("nothing yet")
    widget.findChild(QComboBox, "learn_from").setCurrentText("Fourier recipe on this frame")
    panel = widget._adapt
    button = widget.findChild(QPushButton, "adapt")
    with qtbot.waitSignal(panel._job.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: len(panel._losses) > 3, timeout=WAIT)
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert panel.result is not None
    path = panel.result.path
    qtbot.mouseClick(widget.findChild(QPushButton, "discard"), Qt.MouseButton.LeftButton)
    assert not path.exists() and not (tmp_path / "models").exists()
    assert [x.name for x in viewer.layers] == ["film", "nothing yet"]


def test_too_little_to_learn_from_is_a_sentence(desk: tuple[Any, Any], qtbot: Any) -> None:
    viewer, widget = desk
    button = widget.findChild(QPushButton, "adapt")
    status = widget.findChild(QLabel, "adapt_status")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "Correct a frame first" in status.text()
    viewer.add_image(np.random.default_rng(0).random((64, 64)))
    viewer.add_points([[3.0, 3.0]], name="one")
    widget.findChild(QComboBox, "atoms").setCurrentText("one")
    with qtbot.waitSignal(widget._adapt._job.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "at least 8 atoms" in status.text()


def test_regions_are_left_out() -> None:
    mask = outside([[(-1, -1), (-1, 4.5), (4.5, 4.5), (4.5, -1)]], (10, 10))
    assert not mask[:4, :4].any() and mask[6:].all() and mask[:, 6:].all()
