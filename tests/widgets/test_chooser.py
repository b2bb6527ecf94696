"""Files of many images, opened in a real viewer: their images are offered by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QLineEdit,
    QPushButton,
    QTreeWidget,
)

from napari_atomlens.widgets.open_save import chooser

pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "day.h5", "w") as file:
        for k in range(6):
            data = file.create_dataset(f"run {k}/haadf", data=rng.random((3, 20, 30)))
            data.attrs["pixel_size_nm"] = 0.02
    return tmp_path / "day.h5"


def later(act: Callable[[QDialog], None]) -> list[list[str]]:
    """Do something with the dialog once it is there; return what it offered."""
    offered: list[list[str]] = []

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QDialog):
            QTimer.singleShot(50, look)
            return
        tree = dialog.findChild(QTreeWidget, "images")
        rows = [tree.topLevelItem(k) for k in range(tree.topLevelItemCount())]
        offered.append([f"{r.text(0)} | {r.text(1)}" for r in rows])
        act(dialog)

    QTimer.singleShot(50, look)
    return offered


def press(dialog: QDialog, which: Any) -> None:
    dialog.findChild(QDialogButtonBox).button(which).click()


def test_the_ones_that_were_ticked(make_napari_viewer: Callable[..., Any], many: Path) -> None:
    viewer = make_napari_viewer(show=True)

    def act(dialog: QDialog) -> None:
        tree = dialog.findChild(QTreeWidget, "images")
        tree.topLevelItem(4).setCheckState(0, Qt.CheckState.Checked)
        press(dialog, QDialogButtonBox.StandardButton.Open)

    offered = later(act)
    viewer.open(many, plugin="napari-atomlens")
    assert offered[0][4] == "run 4/haadf | 30 × 20 px, 3 frames, 0.6 × 0.4 nm"
    assert [x.name for x in viewer.layers] == ["day.h5: run 0/haadf", "day.h5: run 4/haadf"]
    assert [x.visible for x in viewer.layers] == [True, False]
    assert list(viewer.layers[1].scale) == [1, 0.02, 0.02]


def test_search_all_and_cancel(make_napari_viewer: Callable[..., Any], many: Path) -> None:
    viewer = make_napari_viewer(show=True)

    def act(dialog: QDialog) -> None:
        dialog.findChild(QLineEdit, "search").setText("RUN 3")
        dialog.findChild(QPushButton, "all").click()
        press(dialog, QDialogButtonBox.StandardButton.Open)

    later(act)
    viewer.open(many, plugin="napari-atomlens")
    assert [x.name for x in viewer.layers] == ["day.h5: run 0/haadf", "day.h5: run 3/haadf"]
    later(lambda dialog: press(dialog, QDialogButtonBox.StandardButton.Cancel))
    viewer.open(many, plugin="napari-atomlens")
    assert len(viewer.layers) == 2


def test_few_images_and_no_window_ask_nobody(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chooser, "ask", lambda *a: pytest.fail("asked"))
    reader = chooser.get_reader(many)
    assert reader is not None and len(reader(many)) == 6  # no window
    monkeypatch.setattr(chooser, "main_window", lambda: object())
    np.savez(tmp_path / "a.npz", a=np.eye(20), b=np.eye(20))
    assert len(chooser.read_chosen(tmp_path / "a.npz")) == 2
    (tmp_path / "notes.txt").write_text("Buy milk.")
    assert chooser.get_reader(tmp_path / "notes.txt") is None
